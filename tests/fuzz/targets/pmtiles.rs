#![no_main]

use libfuzzer_sys::fuzz_target;
use fanal::tiles::Source;

fuzz_target!(|data: &[u8]| {
    let path = std::env::temp_dir().join(format!("fanal-fuzz-{}.pmtiles", std::process::id()));
    if std::fs::write(&path, data).is_err() {
        return;
    }
    if let Ok(tiles) = Source::open(&path) {
        let (least, most) = tiles.zooms();
        for zoom in [least, most] {
            let _ = tiles.tile(zoom, 0, 0);
            let _ = tiles.tile(zoom, 1, 1);
        }
    }
});
