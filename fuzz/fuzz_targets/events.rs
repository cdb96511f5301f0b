//! See `otas_proxy::fuzzing::events`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| otas_proxy::fuzzing::events(data));
