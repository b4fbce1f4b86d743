//! The fuzzer's entry to `targets::sequence::run`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    targets::sequence::run(data);
});
