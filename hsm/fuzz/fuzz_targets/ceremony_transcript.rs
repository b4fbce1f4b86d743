//! The fuzzer's entry to `targets::checks::transcript`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::checks::transcript(data));
