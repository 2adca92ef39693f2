//! Writes the journal: own thread, group commit, fsync.

use std::path::PathBuf;
use std::sync::Arc;

use super::Receipt;
use super::entry::Entry;
use crate::clock::{Clock, Wall};
use crate::proto::jws::Signer;

/// What the writer needs.
#[derive(Debug)]
pub struct Options {
    /// `state_dir`; the journal is in `journal/` below it. Locked (`flock`).
    pub state_dir: PathBuf,
    /// The commune's or centre's id: `iss` of heads.
    pub owner: String,
    /// Signs heads.
    pub signer: Arc<Signer>,
    /// The time.
    pub clock: Clock,
}

/// What the journal held at start, for the machines to go on from.
#[derive(Debug)]
pub struct Recovered {
    /// All entries of the last `24 h + 2 months' files` that could matter, oldest first.
    pub entries: Vec<(u64, Wall, Entry)>,
    /// The newest time in the journal: a clock behind it is wrong.
    pub newest: Option<Wall>,
    /// The newest head, signed again.
    pub head: Option<String>,
}

/// A handle to the writer's thread. Cheap to clone; the thread ends with the last one.
#[derive(Clone, Debug)]
pub struct Writer {}

/// Why the journal could not be opened or written.
#[derive(Debug, thiserror::Error)]
#[error("journal: {0}")]
pub struct Error(pub String);

impl Writer {
    /// Opens or creates the journal, recovers it, and starts the thread.
    pub fn open(_options: Options) -> Result<(Self, Recovered), Error> {
        todo!("JOURNAL")
    }

    /// Appends an entry; returns once it is durable.
    pub async fn append(&self, _entry: Entry) -> Result<Receipt, Error> {
        todo!("JOURNAL")
    }

    /// The newest durable line's head statement.
    pub fn head(&self) -> Option<String> {
        todo!("JOURNAL")
    }

    /// The body-less lines after `seq`, oldest first, at most `limit`.
    pub fn lines_after(&self, _seq: u64, _limit: usize) -> Vec<String> {
        todo!("JOURNAL")
    }

    /// Whether the last write succeeded, and if not why.
    pub fn health(&self) -> Result<(), String> {
        todo!("JOURNAL")
    }

    /// Flushes, ends the thread and waits for it.
    pub async fn close(self) {
        todo!("JOURNAL")
    }
}
