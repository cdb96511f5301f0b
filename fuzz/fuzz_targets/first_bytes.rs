//! See `otas_proxy::fuzzing::first_bytes`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| otas_proxy::fuzzing::first_bytes(data));
