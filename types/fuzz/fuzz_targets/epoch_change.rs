//! The fuzzer's entry to `targets::checks::epoch_change`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::checks::epoch_change(data));
