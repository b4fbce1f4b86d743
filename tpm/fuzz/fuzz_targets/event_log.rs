//! The fuzzer's entry to `targets::checks::event_log`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::checks::event_log(data));
