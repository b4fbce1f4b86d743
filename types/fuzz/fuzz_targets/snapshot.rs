//! The fuzzer's entry to `targets::checks::snapshot`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::checks::snapshot(data));
