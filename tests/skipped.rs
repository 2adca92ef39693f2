//! The last word of `cargo test`: how many tests were skipped, and why. It is a program of
//! its own because the test harness has no place for it; `tools::skipped` of the
//! integration tests leaves a note for each.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

use std::collections::BTreeMap;
use std::path::Path;

fn main() {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let own = format!("skipped-{}", std::os::unix::process::parent_id());
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    for file in std::fs::read_dir(directory).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name == own {
            for why in std::fs::read_to_string(&path).unwrap().lines() {
                *reasons.entry(why.to_owned()).or_default() += 1;
            }
        }
        // Those of earlier runs of the integration tests alone go too.
        if name.starts_with("skipped-") {
            std::fs::remove_file(path).unwrap();
        }
    }
    let total: usize = reasons.values().sum();
    if total == 0 {
        println!("no test was skipped");
        return;
    }
    let reasons = reasons
        .iter()
        .map(|(why, count)| format!("{count} × {why}"));
    let reasons = reasons.collect::<Vec<_>>().join("; ");
    println!("tests skipped: {total} ({reasons})");
}
