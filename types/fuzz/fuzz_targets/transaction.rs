//! The fuzzer's entry to `targets::checks::transaction`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::checks::transaction(data));
