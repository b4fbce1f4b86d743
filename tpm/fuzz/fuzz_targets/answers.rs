//! The fuzzer's entry to `targets::checks::answers`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::checks::answers(data));
