//! See `otas_proxy::fuzzing::content_codings`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| otas_proxy::fuzzing::content_codings(data));
