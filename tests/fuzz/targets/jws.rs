#![no_main]

use libfuzzer_sys::fuzz_target;
use fanal::format::jws;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let _ = jws::open_envelope(text, "fanal-request+jws");
});
