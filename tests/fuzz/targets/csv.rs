#![no_main]

use libfuzzer_sys::fuzz_target;
use std::path::Path;

use fanal::config;
use files::Files;

#[path = "files.rs"]
mod files;

const SETTINGS: &[u8] = b"commune = \"berre-l-etang\"\ncameras_file = \"cameras.csv\"\n";

fuzz_target!(|data: &[u8]| {
    let list: &[(&str, &[u8])] = &[("settings.toml", SETTINGS), ("cameras.csv", data)];
    let files = Files::new(list);
    let _ = config::load_gateway_from(Path::new("settings.toml"), &files);
});
