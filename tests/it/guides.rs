//! Guides and units, as far as they can be judged without a machine of their own;
//! `deploy/package/try.py` boots one and follows the guides to the letter.

use std::path::{Path, PathBuf};
use std::process::Command;

use fanal::certs::trial::Trial;
use fanal::clock::Clock;
use fanal::config;

use crate::support::site::{CENTRE, COMMUNE, Place};

/// Guides whose commands are run; each in English (`.md`) and French (`.fr.md`).
const FOLLOWED: [&str; 4] = ["start", "drill", "lost-key", "keeping"];
/// Most that `systemd-analyze security` may find, in tenths.
const EXPOSURE_LIMIT: &str = "15";

fn tree(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The marks of a guide and the block below each.
fn marked(guide: &str) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(tree("deploy/guide").join(guide)).unwrap();
    let mut found = Vec::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let Some(mark) = line.strip_prefix("<!-- ") else {
            continue;
        };
        let mut block = String::new();
        while let Some(line) = lines.next_if(|line| line.is_empty() || line.starts_with("    ")) {
            block.push_str(line.strip_prefix("    ").unwrap_or(line));
            block.push('\n');
        }
        found.push((mark.to_owned(), block.trim().to_owned()));
    }
    found
}

#[test]
fn both_languages_have_the_same_commands() {
    let trial = std::fs::read_to_string(tree("deploy/package/try.py")).unwrap();
    for guide in FOLLOWED {
        let english = marked(&format!("{guide}.md"));
        assert!(english.len() > 5, "{guide}: {english:?}");
        assert_eq!(english, marked(&format!("{guide}.fr.md")), "{guide}");
        let follows = format!("self.follow(\"{guide}\")");
        assert!(trial.contains(&follows), "nobody follows {guide}");
        for (mark, block) in english {
            let is_wait = mark.starts_with("wait: ");
            assert_eq!(block.is_empty(), is_wait, "{guide}: {mark}");
        }
    }
}

#[test]
fn the_settings_of_the_guide_are_right() {
    let trial = Trial::new(Clock::system().now().wall).unwrap();
    let place = Place::of_trial(&trial, &[COMMUNE, CENTRE]);
    place.identity("corg13.example", &trial.machine("corg13").unwrap());
    for (mark, block) in marked("start.md") {
        if let Some(path) = mark.strip_prefix("write: ") {
            let name = path.trim_end_matches(" -->").rsplit('/').next().unwrap();
            // The guide leaves state_dir at its default, which is not to be touched here.
            let state = match name.ends_with(".toml") {
                true => "state_dir = \"state\"\n",
                false => "",
            };
            place.write(name, format!("{state}{block}\n"));
        }
    }
    let gateway = config::load_gateway(&place.path("gateway.toml")).unwrap();
    assert_eq!(gateway.settings.cameras.len(), 2);
    assert!(
        gateway
            .settings
            .cameras
            .values()
            .all(|camera| camera.streams.is_ok())
    );
    let receiver = config::load_receiver(&place.path("receiver.toml")).unwrap();
    assert_eq!(receiver.settings.communes.len(), 1);
}

#[test]
fn the_units_are_hardened() {
    for unit in ["gateway", "receiver"] {
        let file = tree(&format!("deploy/fanal-{unit}.service"));
        let text = std::fs::read_to_string(&file).unwrap();
        for key in [
            "Documentation=man:",
            "WatchdogSec=",
            "MemoryMax=",
            "ExecReload=/usr/local/bin/fanal reload ",
        ] {
            assert!(text.contains(key), "{unit}: {key}");
        }
        let judged = Command::new("systemd-analyze")
            .args(["security", "--no-pager", "--offline=true"])
            .arg(format!("--threshold={EXPOSURE_LIMIT}"))
            .arg(&file)
            .output();
        match judged {
            Ok(judged) => {
                let said = String::from_utf8_lossy(&judged.stdout).into_owned();
                assert!(judged.status.success(), "{unit}: {said}");
                assert!(said.contains("Overall exposure level"), "{unit}: {said}");
            }
            Err(error) => {
                assert!(std::env::var_os("CI").is_none(), "systemd-analyze: {error}");
                crate::tools::skipped(format_args!("systemd-analyze not found"));
            }
        }
    }
}
