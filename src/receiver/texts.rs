//! Texts of notes and bookmarks, in `state_dir/notes/`: a file each (mode 0600), named by the digest
//! that the journal holds. Blocking.
//!
//! A file is written beside its place and moved there, so that a crash leaves none or a whole one. One
//! that its digest does not name is not read. They are no part of the journal and of no copy of it:
//! they go with their record ([`crate::policy::record::KEPT`]).

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::format::ids::Sha256;
use crate::policy::record::{TEXT, Text};

/// The directory in `state_dir`.
const DIRECTORY: &str = "notes";
/// Bytes of a salt.
const SALT: usize = 16;
/// Largest file: a character has at most four bytes.
const FILE_LIMIT: usize = SALT + 4 * TEXT;

/// Where they are.
#[derive(Clone, Debug)]
pub(super) struct Texts(PathBuf);

impl Texts {
    /// Makes the directory where it is missing.
    ///
    /// # Errors
    /// It can't be made; the text names it.
    pub(super) fn open(state_dir: &Path) -> Result<Self, String> {
        let path = state_dir.join(DIRECTORY);
        let made = std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path);
        made.map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self(path))
    }

    /// Reads those with these digests; where they are all that the journal names (`is_whole`), removes
    /// every other file.
    pub(super) fn sweep(&self, digests: &BTreeSet<Sha256>, is_whole: bool) -> Vec<Text> {
        let names: BTreeSet<String> = digests.iter().map(Sha256::to_string).collect();
        let files = is_whole.then(|| std::fs::read_dir(&self.0));
        for entry in files.into_iter().flatten().flatten().flatten() {
            let known = entry
                .file_name()
                .to_str()
                .is_some_and(|name| names.contains(name));
            if !known && let Err(error) = std::fs::remove_file(entry.path()) {
                tracing::warn!(file = %entry.path().display(), %error, "an old note is not removed");
            }
        }
        digests
            .iter()
            .filter_map(|digest| self.read(*digest))
            .collect()
    }

    fn read(&self, digest: Sha256) -> Option<Text> {
        let path = self.0.join(digest.to_string());
        let read = std::fs::File::open(&path).and_then(|file| {
            let mut bytes = Vec::new();
            file.take(FILE_LIMIT as u64 + 1).read_to_end(&mut bytes)?;
            Ok(bytes)
        });
        let text = read.map_err(|error| error.to_string()).and_then(|bytes| {
            let (salt, text) = bytes.split_first_chunk::<SALT>().ok_or("is too short")?;
            let text = String::from_utf8(text.to_vec()).map_err(|error| error.to_string())?;
            let text = Text { salt: *salt, text };
            let is_whole = text.digest() == digest;
            is_whole
                .then_some(text)
                .ok_or_else(|| "is not what its digest says".to_owned())
        });
        match text {
            Ok(text) => Some(text),
            Err(error) => {
                tracing::warn!(file = %path.display(), %error, "the text of a note is lost; the journal has its digest");
                None
            }
        }
    }

    /// Writes a text with a new salt; durable when it returns.
    ///
    /// # Errors
    /// The disk does not take it.
    pub(super) fn keep(&self, text: String) -> Result<Text, String> {
        let mut salt = [0; SALT];
        getrandom::fill(&mut salt).map_err(|error| error.to_string())?;
        let text = Text { salt, text };
        let path = self.0.join(text.digest().to_string());
        let new = path.with_extension("new");
        let write = || {
            let mut file = std::fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&new)?;
            file.write_all(&text.salt)?;
            file.write_all(text.text.as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&new, &path)?;
            std::fs::File::open(&self.0)?.sync_all()
        };
        let written: std::io::Result<()> = write();
        written.map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(text)
    }

    /// Removes these.
    pub(super) fn remove(&self, digests: &[Sha256]) {
        for digest in digests {
            let path = self.0.join(digest.to_string());
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    tracing::warn!(file = %path.display(), %error, "the text of a note is not removed");
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn texts_read_back_and_what_is_torn_or_named_by_nothing_goes() {
        let directory = std::env::temp_dir().join(format!("fanal-texts-{}", std::process::id()));
        let texts = Texts::open(&directory).unwrap();
        let one = texts.keep("porte arrière".to_owned()).unwrap();
        let same = texts.keep("porte arrière".to_owned()).unwrap();
        assert_ne!(one.digest(), same.digest(), "each has its own salt");
        let path = directory.join("notes").join(one.digest().to_string());
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let torn = texts.keep("perdue".to_owned()).unwrap();
        let file = directory.join("notes").join(torn.digest().to_string());
        std::fs::write(&file, b"short").unwrap();
        std::fs::write(file.with_extension("new"), b"half").unwrap();
        let digests = BTreeSet::from([one.digest(), torn.digest(), Sha256::ZERO]);
        assert!(texts.sweep(&BTreeSet::new(), false).is_empty());
        assert_eq!(texts.sweep(&digests, true), std::slice::from_ref(&one));
        let left = std::fs::read_dir(directory.join("notes")).unwrap();
        assert_eq!(
            left.count(),
            2,
            "the torn one is kept for who looks into it"
        );
        texts.remove(&[one.digest(), torn.digest(), Sha256::ZERO]);
        assert!(texts.sweep(&digests, true).is_empty());
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
