//! The fuzzer's entry to `targets::checks::signature`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::checks::signature(data));
