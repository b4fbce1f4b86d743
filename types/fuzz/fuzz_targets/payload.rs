//! The fuzzer's entry to `targets::checks::payload`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::checks::payload(data));
