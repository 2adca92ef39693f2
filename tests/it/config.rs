//! The settings as files on disk: the samples in `deploy/`, and a corpus of
//! good and bad files in `data/config`. A bad file's first lines say what must
//! be told about it: `# expect: LINE: WORDS`.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use fanal::certs::trial::Trial;
use fanal::clock::Wall;
use fanal::config::{self, Disk, Errors, Files, KEYS};
use fanal::secret::Secret;

use crate::support::site::Place;

/// The disk, with certificates and passwords that no repository should hold.
struct WithSecrets {
    made: BTreeMap<&'static str, String>,
}

impl WithSecrets {
    fn new() -> Self {
        let trial = Trial::new(Wall::from_seconds(1_790_000_000)).unwrap();
        let mut made = BTreeMap::from([
            ("link-ca.pem", trial.link_authority().to_owned()),
            (
                "designation-ca.pem",
                trial.designation_authority().to_owned(),
            ),
            ("link.crl.pem", trial.link_list().to_owned()),
            ("designation.crl.pem", trial.designation_list().to_owned()),
            ("hik.txt", "a password\n".to_owned()),
            ("vms", "another\n".to_owned()),
            (
                "notify.txt",
                "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n".to_owned(),
            ),
            ("adresses-13.csv.gz", String::new()),
            ("fond.pmtiles", String::new()),
        ]);
        for (id, pem, key) in [
            ("berre-l-etang", "berre-l-etang.pem", "berre-l-etang.key"),
            ("corg-13", "corg-13.pem", "corg-13.key"),
        ] {
            let identity = trial.machine(id).unwrap();
            made.insert(key, identity.key.expose().to_owned());
            made.insert(pem, identity.certificate);
        }
        Self { made }
    }

    fn made(&self, path: &Path) -> Option<&String> {
        self.made.get(path.file_name()?.to_str()?)
    }
}

impl Files for WithSecrets {
    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        match self.made(path) {
            Some(text) => Ok(text.as_bytes().to_vec()),
            None => Disk::reading().read(path, limit),
        }
    }
    fn mode(&self, path: &Path) -> Option<u32> {
        self.made(path).map(|_| 0o600)
    }
    fn variable(&self, name: &str) -> Option<String> {
        (name == "CREDENTIALS_DIRECTORY").then(|| "/run/credentials".to_owned())
    }
    fn keep_secret(&self, _path: &Path, _secret: &Secret) -> io::Result<bool> {
        Ok(false)
    }
}

fn tree(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn corpus(kind: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(tree("tests/it/data/config").join(kind))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "toml"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{kind}");
    files
}

fn load(path: &Path) -> Result<Vec<config::Problem>, Errors> {
    let files = WithSecrets::new();
    match config::detect(path, &files)? {
        config::Daemon::Gateway => {
            config::load_gateway_from(path, &files).map(|loaded| loaded.settings.warnings)
        }
        config::Daemon::Receiver => {
            config::load_receiver_from(path, &files).map(|loaded| loaded.settings.warnings)
        }
    }
}

#[test]
fn good_files_are_accepted() {
    for path in [corpus("gateway/valid"), corpus("receiver/valid")].concat() {
        if let Err(errors) = load(&path) {
            panic!("{errors}");
        }
    }
}

#[test]
fn bad_files_are_refused_with_line_and_mend() {
    for path in [corpus("gateway/invalid"), corpus("receiver/invalid")].concat() {
        let text = std::fs::read_to_string(&path).unwrap();
        let expected: Vec<String> = text
            .lines()
            .filter_map(|line| line.strip_prefix("# expect: "))
            .map(|said| match said.split_once(": ") {
                Some((line, words)) if line.parse::<u32>().is_ok() => {
                    format!("{}:{line}: {words}", path.display())
                }
                _ => said.to_owned(),
            })
            .collect();
        assert!(!expected.is_empty(), "{} expects nothing", path.display());
        let errors = load(&path).expect_err(&path.display().to_string());
        let said = errors.to_string();
        for words in &expected {
            assert!(said.contains(words), "{words}\nnot in\n{said}");
        }
        assert_eq!(errors.0.len(), expected.len(), "{said}");
    }
}

#[test]
fn the_samples_are_right_and_complete() {
    let mut samples = String::new();
    for (name, odd) in [("gateway.toml", 0), ("receiver.toml", 0)] {
        let path = tree("deploy").join(name);
        let warnings = load(&path).unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(warnings.len(), odd, "{warnings:?}");
        samples.push_str(&std::fs::read_to_string(&path).unwrap());
    }
    for (section, keys) in KEYS {
        // A password in the settings is only read to be refused with a remedy.
        for key in keys.iter().filter(|key| **key != "password") {
            let sample = if section.ends_with(".toml") {
                std::fs::read_to_string(tree("deploy").join(section)).unwrap()
            } else {
                part_of(&samples, section)
            };
            let there = sample.lines().any(|line| {
                let line = line.trim_start_matches(['#', ' ']);
                let line = line.strip_prefix("or: ").unwrap_or(line);
                line.strip_prefix(key)
                    .is_some_and(|rest| rest.trim_start().starts_with('='))
            });
            assert!(there, "{section} {key} is not in the sample");
        }
    }
}

/// All lines of the sections with this header, commented out or not.
fn part_of(samples: &str, header: &str) -> String {
    let mut part = String::new();
    let mut inside = false;
    for line in samples.lines() {
        let bare = line.trim_start_matches('#');
        if bare.starts_with('[') {
            inside = bare == header;
        } else if inside {
            part.push_str(line);
            part.push('\n');
        }
    }
    assert!(!part.is_empty(), "{header} is not in the samples");
    part
}

#[test]
fn the_sample_table_is_read() {
    let directory = Place::new();
    let sample = std::fs::read_to_string(tree("deploy/gateway.toml")).unwrap();
    let sample = sample.replacen("#cameras_file", "cameras_file", 1);
    let file = directory.write("gateway.toml", sample);
    std::fs::copy(tree("deploy/cameras.csv"), directory.path("cameras.csv")).unwrap();
    let files = WithSecrets::new();
    let loaded = config::load_gateway_from(&file, &files).unwrap();
    assert_eq!(loaded.settings.warnings, Vec::new());
    assert_eq!(loaded.settings.cameras.len(), 6);
    let ids: Vec<&str> = loaded
        .settings
        .cameras
        .keys()
        .map(|id| id.as_str())
        .collect();
    assert!(ids.contains(&"ecole-maternelle"), "{ids:?}");
}

#[test]
fn split_off_passwords_are_for_the_daemon_alone() {
    use std::os::unix::fs::PermissionsExt;
    let directory = Place::new();
    let path = directory.path("state/camera-credentials/quai.json");
    let secret = Secret::new("{\"password\":\"x\"}");
    assert!(!Disk::reading().keep_secret(&path, &secret).unwrap());
    assert!(!path.exists());
    assert!(Disk::writing().keep_secret(&path, &secret).unwrap());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), secret.expose());
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    let changed = Secret::new("{}");
    assert!(Disk::writing().keep_secret(&path, &changed).unwrap());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "{}");
}
