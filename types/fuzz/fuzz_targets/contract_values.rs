//! The fuzzer's entry to `targets::checks::contract_values`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::checks::contract_values(data));
