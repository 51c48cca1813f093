#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| moat::fuzzing::env_file(bytes));
