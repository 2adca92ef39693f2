#![no_main]

use libfuzzer_sys::fuzz_target;
use fanal::media::wire::{Fixed, UnitHeader};

fuzz_target!(|data: &[u8]| {
    // Both headers of a group's stream.
    if let Some(bytes) = data.first_chunk() {
        let _ = Fixed::decode(bytes);
    }
    if let Some(bytes) = data.first_chunk() {
        let _ = UnitHeader::decode(bytes);
    }
});
