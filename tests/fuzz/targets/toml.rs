#![no_main]

use libfuzzer_sys::fuzz_target;
use std::path::Path;

use fanal::config;
use files::Files;

#[path = "files.rs"]
mod files;

fuzz_target!(|data: &[u8]| {
    let list: &[(&str, &[u8])] = &[("settings.toml", data)];
    let files = Files::new(list);
    let path = Path::new("settings.toml");
    let _ = config::load_gateway_from(path, &files);
    let _ = config::load_receiver_from(path, &files);
    let _ = config::detect(path, &files);
});
