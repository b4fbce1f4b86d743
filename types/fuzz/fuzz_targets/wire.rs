//! The fuzzer's entry to `targets::frames::wire`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::frames::wire(data));
