//! The designations that `[[operators]] designations` names: which is the newest for a key.
//!
//! Of each file only key, end and place are remembered, by its time of change and length; the
//! file itself is read again when it is asked for, and judged then: signed by that entry's
//! authority, valid now, not revoked. All on a blocking thread, one search at a time.
//!
//! | bound | value | over it |
//! |---|---|---|
//! | files of a directory | [`FILES`] | the rest is not looked at, and a warning says so |
//! | a file | [`FILE_LIMIT`] | not looked at |
//! | looks at the directories | one each [`FRESH`] | what was seen last counts |

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::pki_types::CertificateDer;
use tokio::sync::Mutex;

use super::control::Shared;
use crate::clock::{Boot, Now, Wall};
use crate::format::designation::{self, Authority, Rules};
use crate::format::ids::Sha256;
use crate::format::jws::CHAIN_LIMIT;
use crate::format::pem;

/// Most files of a directory.
pub const FILES: usize = 10_000;
/// Largest file, in bytes.
pub const FILE_LIMIT: u64 = 64 * 1024;
/// How long what was seen of the directories counts.
pub const FRESH: Duration = Duration::from_secs(2);

/// A file as it was read last.
#[derive(Clone, Copy, Debug)]
struct Seen {
    modified: Option<SystemTime>,
    length: u64,
    /// Its key and end; `None`: no designation.
    holds: Option<(Sha256, Wall)>,
}

/// The files of one directory.
#[derive(Debug, Default)]
struct Directory {
    files: HashMap<PathBuf, Seen>,
    /// Whether it was told that it can't be read, or holds too much.
    is_told: bool,
}

#[derive(Debug, Default)]
struct Cache {
    /// When the directories were looked at, and under which settings.
    looked: Option<(Boot, u64)>,
    directories: HashMap<PathBuf, Directory>,
}

/// Finds designations by their key.
#[derive(Debug, Default)]
pub struct Designations(Arc<Mutex<Cache>>);

impl Designations {
    /// The newest designation for this key that is valid now: PEM, leaf first.
    pub async fn newest(&self, key: Sha256, shared: &Arc<Shared>, now: Now) -> Option<String> {
        let mut cache = Arc::clone(&self.0).lock_owned().await;
        let shared = Arc::clone(shared);
        let found = tokio::task::spawn_blocking(move || cache.newest(key, &shared, now));
        match found.await {
            Ok(found) => found,
            Err(error) => {
                tracing::error!(%error, "the search for a designation failed");
                None
            }
        }
    }
}

impl Cache {
    fn newest(&mut self, key: Sha256, shared: &Shared, now: Now) -> Option<String> {
        let is_fresh = self.looked.is_some_and(|(at, generation)| {
            generation == shared.generation && now.boot.since(at) < FRESH
        });
        if !is_fresh {
            self.look(shared);
            self.looked = Some((now.boot, shared.generation));
        }
        let mut found = Vec::new();
        // Authorities stand in the order of the settings' entries.
        for (entry, authority) in shared
            .settings
            .operators
            .iter()
            .zip(shared.authorities.iter())
        {
            let directory = entry.designations.as_ref();
            let Some(directory) = directory.and_then(|path| self.directories.get(path)) else {
                continue;
            };
            for (path, seen) in &directory.files {
                if let Some((of, until)) = seen.holds
                    && of == key
                    && until >= now.wall
                {
                    found.push((until, path, authority));
                }
            }
        }
        found.sort_by(|one, other| other.0.cmp(&one.0).then_with(|| one.1.cmp(other.1)));
        found
            .into_iter()
            .find_map(|(_, path, authority)| valid(path, key, authority, now.wall))
    }

    fn look(&mut self, shared: &Shared) {
        let entries = shared.settings.operators.iter();
        let wanted: Vec<&PathBuf> = entries
            .filter_map(|entry| entry.designations.as_ref())
            .collect();
        self.directories.retain(|path, _| wanted.contains(&path));
        for path in wanted {
            self.directories.entry(path.clone()).or_default().look(path);
        }
    }
}

impl Directory {
    /// Reads what is new or changed; forgets what is gone.
    fn look(&mut self, path: &Path) {
        let mut entries = match std::fs::read_dir(path) {
            Ok(entries) => entries,
            Err(error) => {
                self.files.clear();
                self.tell(path, &error.to_string());
                return;
            }
        };
        let mut files = HashMap::new();
        for entry in entries.by_ref().take(FILES).filter_map(Result::ok) {
            let file = entry.path();
            // Follows links; pipes and the like would never end.
            let Ok(about) = std::fs::metadata(&file) else {
                continue;
            };
            if !about.is_file() || about.len() > FILE_LIMIT {
                continue;
            }
            let (modified, length) = (about.modified().ok(), about.len());
            let known = self.files.get(&file).copied();
            let seen = known
                .filter(|seen| seen.modified == modified && seen.length == length)
                .unwrap_or_else(|| Seen {
                    modified,
                    length,
                    holds: read(&file).and_then(|chain| holds(&chain)),
                });
            files.insert(file, seen);
        }
        self.files = files;
        if entries.next().is_some() {
            self.tell(path, "holds too many files; take old designations away");
        } else {
            self.is_told = false;
        }
    }

    fn tell(&mut self, path: &Path, cause: &str) {
        if !std::mem::replace(&mut self.is_told, true) {
            tracing::warn!(directory = %path.display(), cause, "designations are not all found");
        }
    }
}

/// The certificates of a file, leaf first.
fn read(path: &Path) -> Option<Vec<CertificateDer<'static>>> {
    use std::io::Read;
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).ok()?;
    file.take(FILE_LIMIT).read_to_end(&mut bytes).ok()?;
    pem::certificates(&bytes)
        .ok()
        .filter(|chain| (1..=CHAIN_LIMIT).contains(&chain.len()))
}

fn holds(chain: &[CertificateDer<'_>]) -> Option<(Sha256, Wall)> {
    let leaf = chain.first()?;
    let until = designation::read(leaf).ok()?.not_after;
    Some((designation::key_thumbprint(leaf)?, until))
}

/// The file's certificates, alone and in PEM, if they are a valid designation for the key.
fn valid(path: &Path, key: Sha256, authority: &Authority, now: Wall) -> Option<String> {
    let rules = Rules {
        max_designation: None,
        require_fresh_revocation: false,
    };
    let chain = read(path)?;
    if designation::key_thumbprint(chain.first()?)? != key {
        return None;
    }
    match designation::designate(&chain, authority, rules, now) {
        Ok(_) => Some(
            chain
                .iter()
                .map(|one| pem::encode("CERTIFICATE", one))
                .collect(),
        ),
        Err(refusal) => {
            tracing::debug!(file = %path.display(), %refusal, "a designation is passed over");
            None
        }
    }
}
