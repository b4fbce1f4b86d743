//! The fuzzer's entry to `targets::frames::log_records`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::frames::log_records(data));
