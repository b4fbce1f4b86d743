//! The fuzzer's entry to `targets::checks::certificate`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::checks::certificate(data));
