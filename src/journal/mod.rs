//! The journal: append-only JSON Lines by month, hash-chained, fsynced, signed
//! (interfaces.md 9).
//!
//! | question | where |
//! |---|---|
//! | what bytes is a line, what is its link? | [`crate::format::chain`] |
//! | what is in a body? | [`entry`], of an attestation [`attestation`] |
//! | how is it written, and repaired after a failure? | [`log`], on [`store`] |
//! | who waits for whom? | [`writer`]: own thread, group commit, the only maker of a [`Receipt`] |
//! | what is still in force at start? | [`recover`] |
//! | which months go, and what names them then? | [`retention`] |
//! | is it intact? | [`verify`]; while the daemon runs, [`looks`] by `sums` |
//! | how does an export of a copy become a journal again? | [`collect`](mod@collect) |
//! | what comes next, for copies? | [`tail`] |
//! | which entries of a month name a camera, a person, an incident? | [`search`] |
//! | what happened in a month, for people? | [`report`](mod@report) |
//! | which part may somebody else see? | [`export`] |
//! | do both sides say the same? | [`compare`](mod@compare) |
//! | is it what witnesses saw? | [`checkpoints`] |
//!
//! Every body begins with `v` and a random 128-bit `salt` (so that the digest in
//! a body-less copy tells nothing of the body); the first line's also has
//! `journal_id`, the random id that heads name, so that a copy of the files is
//! all one needs to verify heads against.
//!
//! A line has happened when the fsync after it returned: only then is it
//! acknowledged, chained on, told to peers and covered by a signed head.
//! Three kinds of line are the journal's own: `torn_line` (an unterminated last
//! line was cut at start), `interrupted` (it could not be written for a time),
//! `continues` (durable lines were lost; a new journal begins with `seq` 1 in the
//! same file and names the old one's id, last number and link).

pub mod attestation;
pub mod checkpoints;
pub mod collect;
pub mod compare;
pub mod entry;
pub mod export;
mod fit;
pub mod log;
pub mod log_key;
pub mod looks;
pub mod reader;
pub mod recover;
pub mod report;
pub mod retention;
pub mod search;
#[cfg(test)]
pub(crate) mod sim;
pub mod store;
mod sums;
pub mod tail;
pub mod verify;
pub mod writer;

use std::fs::File;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use crate::clock::Wall;
use crate::format::ids::Sha256;

/// Proof that an entry is durable: made only by the writer, after fsync returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    pub(in crate::journal) seq: u64,
    pub(in crate::journal) link: Sha256,
    pub(in crate::journal) time: Wall,
    pub(in crate::journal) head: String,
}

impl Receipt {
    /// Number of the line.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// The line's link.
    pub fn link(&self) -> Sha256 {
        self.link
    }

    /// The time written in the line.
    pub fn time(&self) -> Wall {
        self.time
    }

    /// A head statement (`fanal-head+jwt`) that covers the line, signed after fsync.
    pub fn head(&self) -> &str {
        &self.head
    }

    /// A receipt without a journal, for the tests of pure decisions.
    #[cfg(test)]
    pub(crate) fn for_test(seq: u64) -> Self {
        Self {
            seq,
            link: Sha256::ZERO,
            time: Wall(0),
            head: format!("head-{seq}"),
        }
    }

    /// The same under a head that was signed.
    #[cfg(test)]
    pub(crate) fn for_test_signed(seq: u64, time: Wall, head: String) -> Self {
        Self {
            head,
            ..Self::for_test_at(seq, time)
        }
    }

    /// The same, written at this time.
    #[cfg(test)]
    pub(crate) fn for_test_at(seq: u64, time: Wall) -> Self {
        Self {
            time,
            ..Self::for_test(seq)
        }
    }
}

/// A `state_dir` that no other daemon works in. The lock is the system's
/// (`flock`) and goes with the process, however it ends.
#[derive(Debug)]
pub(in crate::journal) struct LockedDirectory {
    _file: File,
}

impl LockedDirectory {
    /// Makes the directory (for its owner alone) if only it is missing, and takes
    /// the lock, or says who may have it.
    pub(in crate::journal) fn lock(directory: &Path) -> Result<Self, writer::Error> {
        let name = directory.display();
        // Only the last part: a missing parent is a path that was mistyped.
        match std::fs::DirBuilder::new().mode(0o700).create(directory) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                tracing::debug!(%error, %name, "state_dir not made");
            }
            _ => {}
        }
        let file = File::open(directory).map_err(|error| {
            writer::Error(format!(
                "state_dir {name}: {error}; make the directory and give it to the daemon's user"
            ))
        })?;
        flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|error| {
            writer::Error(if error == rustix::io::Errno::WOULDBLOCK {
                format!("state_dir {name} is in use by another fanal; stop that one or set another state_dir")
            } else {
                format!("locking state_dir {name}: {error}")
            })
        })?;
        Ok(Self { _file: file })
    }
}
