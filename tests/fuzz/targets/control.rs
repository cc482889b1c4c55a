#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| earthdog_tests::fuzz::control(data));
