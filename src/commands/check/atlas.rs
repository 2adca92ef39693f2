//! What the console reads from files: addresses, and the map's tiles.

use std::fs::File;
use std::sync::atomic::AtomicBool;

use super::Line;
use crate::commands::Usage;
use crate::config::settings;
use crate::places::{Builder, ban};
use crate::tiles::Source;

/// Reads both as the receiver will.
///
/// # Errors
/// One of them can't be used.
pub(super) fn lines(console: &settings::Console) -> Result<Vec<Line>, Usage> {
    let mut lines = Vec::new();
    if let Some(path) = &console.addresses {
        let wrong = |error: String| Usage(format!("addresses {}: {error}", path.display()));
        let file = File::open(path).map_err(|error| wrong(error.to_string()))?;
        let never = AtomicBool::new(false);
        let read = ban::read(file, Builder::default(), &never).map_err(wrong)?;
        let (rows, streets) = (read.index.rows(), read.index.streets());
        let mut said = format!("{rows} in {streets} streets");
        if read.is_cut {
            said.push_str(", the rest left out: too many");
        }
        if read.bad > 0 {
            let examples = read.examples.join("; ");
            said.push_str(&format!(", {} rows are wrong: {examples}", read.bad));
        }
        lines.push(("addresses", said));
    }
    if let Some(path) = &console.tiles {
        let source = Source::open(path).map_err(Usage)?;
        let (least, most) = source.zooms();
        lines.push(("tiles", format!("zoom {least} to {most}")));
    }
    Ok(lines)
}
