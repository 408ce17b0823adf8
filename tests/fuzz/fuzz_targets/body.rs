//! For cargo-fuzz: `fd3_fuzz::body`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fd3_fuzz::body(bytes));
