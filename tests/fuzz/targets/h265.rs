#![no_main]

use libfuzzer_sys::fuzz_target;
use fanal::gateway::front::fuzzing;
use fanal::media::unit::Codec;

fuzz_target!(|data: &[u8]| {
    fuzzing::pictures(Codec::H265, data);
});
