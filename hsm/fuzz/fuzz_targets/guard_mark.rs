//! The fuzzer's entry to `targets::checks::guard_mark`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::checks::guard_mark(data));
