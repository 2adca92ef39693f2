#![no_main]

use libfuzzer_sys::fuzz_target;
use fanal::format::control::{ToGateway, ToReceiver};

fuzz_target!(|data: &[u8]| {
    let _ = serde_json::from_slice::<ToGateway>(data);
    let _ = serde_json::from_slice::<ToReceiver>(data);
});
