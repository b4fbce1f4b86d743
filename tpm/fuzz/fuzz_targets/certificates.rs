//! The fuzzer's entry to `targets::certificates::certificates`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::certificates::certificates(data));
