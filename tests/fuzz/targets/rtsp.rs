#![no_main]

use libfuzzer_sys::fuzz_target;
use bytes::BytesMut;
use fanal::rtsp::message;

fuzz_target!(|data: &[u8]| {
    // A player's bytes.
    let mut buffer = BytesMut::from(data);
    while let Ok(Some(_)) = message::take(&mut buffer) {}
});
