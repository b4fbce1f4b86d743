//! The fuzzer's entry to `targets::checks::signer_frames`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::checks::signer_frames(data));
