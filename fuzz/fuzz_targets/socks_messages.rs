//! See `otas_proxy::fuzzing::socks_messages`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| otas_proxy::fuzzing::socks_messages(data));
