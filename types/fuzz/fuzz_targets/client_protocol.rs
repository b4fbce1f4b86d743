//! The fuzzer's entry to `targets::frames::client_protocol`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::frames::client_protocol(data));
