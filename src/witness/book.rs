//! The journal as a log: its key, its tree, and the checkpoints made of them. Blocking: reads
//! and writes files.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use crate::format::ids::Sha256;
use crate::format::merkle::{Frontier, Tree};
use crate::format::note::{self, Checkpoint, Kind, NoteSigner, VerifierKey};
use crate::journal::writer::Writer;
use crate::policy::cosigning::Due;

/// The key's file in `state_dir`.
const FILE: &str = "log.key";
/// Largest file of a key.
const FILE_LIMIT: u64 = 1024;

/// One journal's key and tree.
#[derive(Debug)]
pub(super) struct Book {
    pub(super) journal: String,
    signer: NoteSigner,
    tree: Tree,
}

/// A checkpoint for one witness.
#[derive(Clone, Debug)]
pub(super) struct Submission {
    pub(super) witness: VerifierKey,
    pub(super) checkpoint: Checkpoint,
    /// The checkpoint's text and the log's signature line.
    pub(super) text: String,
    pub(super) signature: String,
    pub(super) old: u64,
    /// None where lines that it takes are not here any more.
    pub(super) proof: Option<Vec<Sha256>>,
}

impl Book {
    /// Takes the key of this journal from `state_dir/log.key`, or makes one (mode 0600) where
    /// the file is missing or of another journal. `pruned` is the tree of the lines that are gone.
    ///
    /// # Errors
    /// The file can't be read or made, or is no key; the text names it.
    pub(super) fn open(
        state_dir: &Path,
        owner: &str,
        journal: &str,
        pruned: Option<Frontier>,
    ) -> Result<Self, String> {
        let path = state_dir.join(FILE);
        let wrong = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let origin = note::origin(owner, journal);
        let kept = read(&path).map_err(|error| wrong(&error))?;
        let kept = kept.map(|text| NoteSigner::from_secret(text.trim_end()));
        let kept = kept.transpose().map_err(|error| {
            wrong(&format!(
                "{error}; remove it, and a new one is made (witnesses must then be given the new verifier key)"
            ))
        })?;
        let signer = match kept.filter(|signer| signer.verifier().name() == origin) {
            Some(signer) => signer,
            None => make(state_dir, &origin).map_err(|error| wrong(&error))?,
        };
        Ok(Self {
            journal: journal.to_owned(),
            signer,
            tree: pruned.map(Tree::resume).unwrap_or_default(),
        })
    }

    /// Verifies its checkpoints.
    pub(super) fn verifier(&self) -> &VerifierKey {
        self.signer.verifier()
    }

    /// Brings the tree up to line `seq`, and makes a checkpoint of it for each that is due.
    ///
    /// # Errors
    /// Lines can't be read, or are another journal's by now.
    pub(super) fn checkpoints(
        &mut self,
        writer: &Writer,
        seq: u64,
        due: &[Due],
        token: &CancellationToken,
    ) -> Result<Vec<Submission>, String> {
        self.grow(writer, seq, token)?;
        let checkpoint = Checkpoint {
            origin: self.verifier().name().to_owned(),
            size: self.tree.size(),
            root: self.tree.root(),
        };
        let text = checkpoint.text();
        let signature = self.signer.sign(&text, 0);
        let submissions = due.iter().map(|due| Submission {
            witness: due.witness.clone(),
            checkpoint: checkpoint.clone(),
            text: text.clone(),
            signature: signature.clone(),
            old: due.old,
            proof: self.proof(writer, due.old),
        });
        Ok(submissions.collect())
    }

    fn proof(&self, writer: &Writer, old: u64) -> Option<Vec<Sha256>> {
        // A witness that holds more than there is says so by itself.
        let old = if old > self.tree.size() { 0 } else { old };
        self.tree.consistency(old, &mut |range| {
            let mut links = Vec::new();
            let read = writer.links(range.start() - 1, *range.end(), |_, link| {
                links.push(link);
                true
            });
            read.ok().map(|()| links)
        })
    }

    fn grow(&mut self, writer: &Writer, seq: u64, token: &CancellationToken) -> Result<(), String> {
        let tree = &mut self.tree;
        let read = writer.links(tree.size(), seq, |number, link| {
            let follows = number == tree.size() + 1;
            if follows {
                tree.push(link);
            }
            follows && !token.is_cancelled()
        });
        read.map_err(|error| format!("reading the journal: {error}"))?;
        // Lines of another journal would be a tree that nobody ever had.
        if writer.journal().as_ref() != Some(&self.journal) {
            return Err("another journal has begun".to_owned());
        }
        if tree.size() < seq {
            let missing = tree.size() + 1;
            return Err(format!("line {missing} is not in the journal's files"));
        }
        Ok(())
    }
}

fn read(path: &Path) -> io::Result<Option<Zeroizing<String>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut text = Zeroizing::new(String::new());
    file.take(FILE_LIMIT).read_to_string(&mut text)?;
    Ok(Some(text))
}

/// Writes a new key beside its place and moves it there, so that a crash leaves the old one or
/// a whole one.
fn make(state_dir: &Path, origin: &str) -> io::Result<NoteSigner> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(io::Error::other)?;
    let signer = NoteSigner::new(origin, Kind::Log, seed).map_err(io::Error::other)?;
    let path = state_dir.join(FILE);
    let new = path.with_extension("new");
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)?;
    file.write_all(signer.secret().as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    File::open(state_dir)?.sync_all()?;
    Ok(signer)
}
