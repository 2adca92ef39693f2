#![no_main]

use libfuzzer_sys::fuzz_target;
use fanal::gateway::front::fuzzing;

fuzz_target!(|data: &[u8]| {
    fuzzing::onvif(data);
});
