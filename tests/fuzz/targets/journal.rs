#![no_main]

use libfuzzer_sys::fuzz_target;
use fanal::format::chain::Line;
use fanal::journal::reader::{self, Lines};

fuzz_target!(|data: &[u8]| {
    let mut lines = Lines::new(data);
    while let Ok(Some(_)) = lines.next_line() {}
    for line in data.split(|byte| *byte == b'\n') {
        let _ = Line::parse(line);
        let _ = reader::frame(line);
        let _ = reader::entry(line);
    }
});
