//! For cargo-fuzz: `fd3_fuzz::exchange`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fd3_fuzz::exchange(bytes));
