#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| moat::fuzzing::moat_yaml(bytes));
