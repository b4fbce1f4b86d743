//! The fuzzer's entry to `targets::checks::genesis`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::checks::genesis(data));
