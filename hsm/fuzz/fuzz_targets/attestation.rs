//! The fuzzer's entry to `targets::checks::attestation`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::checks::attestation(data));
