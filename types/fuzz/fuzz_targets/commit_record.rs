//! The fuzzer's entry to `targets::checks::commit_record`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::checks::commit_record(data));
