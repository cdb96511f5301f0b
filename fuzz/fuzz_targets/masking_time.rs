//! See `otas_proxy::fuzzing::masking_time`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| otas_proxy::fuzzing::masking_time(data));
