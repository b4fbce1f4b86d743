//! The fuzzer's entry to `targets::checks::block_header`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::checks::block_header(data));
