//! The journal as a log: its key, its tree, and the checkpoints made of them. Blocking: reads
//! and writes files.

use std::path::Path;

use tokio_util::sync::CancellationToken;

use crate::format::ids::Sha256;
use crate::format::merkle::{Frontier, Tree};
use crate::format::note::{self, Checkpoint, NoteSigner, VerifierKey};
use crate::journal::log_key;
use crate::journal::writer::Writer;
use crate::policy::cosigning::Due;

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
        let origin = note::origin(owner, journal);
        let signer = match log_key::kept(state_dir, &origin)? {
            Some(signer) => signer,
            None => log_key::make(state_dir, &origin)?,
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
