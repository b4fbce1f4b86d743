//! The fuzzer's entry to `targets::checks::quote`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::checks::quote(data));
