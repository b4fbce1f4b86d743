//! The fuzzer's entry to `targets::checks::script`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::checks::script(data));
