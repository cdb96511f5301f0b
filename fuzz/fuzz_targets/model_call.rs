//! See `otas_proxy::fuzzing::model_call`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| otas_proxy::fuzzing::model_call(data));
