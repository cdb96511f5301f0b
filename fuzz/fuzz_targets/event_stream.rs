//! See `otas_proxy::fuzzing::event_stream`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| otas_proxy::fuzzing::event_stream(data));
