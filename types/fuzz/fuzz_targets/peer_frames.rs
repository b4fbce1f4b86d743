//! The fuzzer's entry to `targets::frames::peer_frames`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::frames::peer_frames(data));
