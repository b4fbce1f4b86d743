//! The fuzzer's entry to `targets::checks::transaction`, from a corpus of calls.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::checks::transaction(data));
