//! See `otas_proxy::fuzzing::connect_target`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| otas_proxy::fuzzing::connect_target(data));
