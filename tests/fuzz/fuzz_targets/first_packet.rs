#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| skein_fuzz::targets::first_packet(data));
