//! Removes the oldest month: see [`crate::journal::retention`].

use super::{Log, encode, explain};
use crate::format::note::{self, Checkpoint, NoteSigner};
use crate::format::statement::HeadClaims;
use crate::journal::entry::Entry;
use crate::journal::retention::{Outcome, Plan, Rule, Scan, Segment};
use crate::journal::store::Month;

impl Log {
    /// Removes the oldest month, if its time is over and nothing needs it: first what names it
    /// is made durable, then the file goes. `key` gives the key that signs checkpoints of the log of
    /// this origin.
    ///
    /// # Errors
    /// What could not be read, written or removed; the next run goes on from there.
    pub fn prune(
        &mut self,
        mut scan: Scan,
        rule: Rule,
        key: impl Fn(&str) -> Option<NoteSigner>,
    ) -> Result<Outcome, String> {
        self.repair()?;
        let Some(file) = self.file else {
            return Ok(Outcome::Nothing);
        };
        let store = self.parts.store.as_mut();
        let caught_up = scan.catch_up(store, file, self.end);
        caught_up.map_err(|error| explain("reading", "the journal", &error))?;
        let now = self.parts.clock.now().wall;
        let (month, carried, segments) = match scan.plan(rule, now) {
            Plan::Nothing => return Ok(Outcome::Nothing),
            Plan::Wait => return Ok(Outcome::Wait),
            Plan::Held(month, why) => return Ok(Outcome::Held { month, why }),
            Plan::Remove {
                month,
                carried,
                segments,
            } => (month, carried, segments),
        };
        let extents = scan.extents().iter();
        let lines = extents
            .filter(|extent| extent.month == month)
            .map(|extent| extent.lines)
            .sum();
        let anchors = segments.iter().map(|segment| {
            let checkpoint = self.checkpoint(&scan, segment, &key);
            self.anchor(month, segment, checkpoint)
        });
        let mut entries = carried;
        entries.extend(anchors);
        if !entries.is_empty() {
            let bodies: Result<Vec<Vec<u8>>, String> = entries.iter().map(encode).collect();
            self.commit(&bodies?)?;
        }
        let removed = self.sums.remove(self.parts.store.as_mut(), month);
        removed.map_err(|error| explain("removing", &month.file_name(), &error))?;
        let synced = self.parts.store.sync_directory();
        synced.map_err(|error| explain("fsync of", "the journal's directory", &error))?;
        self.forget_month(month, scan.extents().get(1).map(|next| next.month), &scan);
        tracing::info!(
            %month, lines, keep = %rule.keep,
            "journal: the oldest month was removed, its time is over; the journal names it and still verifies"
        );
        Ok(Outcome::Removed { month, lines })
    }

    /// The newest note over these lines that a witness cosigned; else one over exactly these that
    /// the log's own key signs.
    fn checkpoint(
        &self,
        scan: &Scan,
        segment: &Segment,
        key: impl Fn(&str) -> Option<NoteSigner>,
    ) -> Option<String> {
        let cosigned = scan.cosigned(&segment.journal);
        if let Some((_, note)) = cosigned.filter(|(size, _)| *size >= segment.end.seq) {
            return Some(note.to_owned());
        }
        let origin = note::origin(&self.parts.owner, &segment.journal);
        let signer = key(&origin)?;
        let checkpoint = Checkpoint {
            origin,
            size: segment.end.seq,
            root: segment.tree.root(),
        };
        let text = checkpoint.text();
        Some(format!("{text}\n{}", signer.sign(&text, 0)))
    }

    fn anchor(&self, month: Month, segment: &Segment, checkpoint: Option<String>) -> Entry {
        let (seq, link) = (segment.end.seq, segment.end.link);
        let head = (self.parts.sign)(&HeadClaims {
            iss: self.parts.owner.clone(),
            journal: segment.journal.clone(),
            seq,
            link,
            iat: self.parts.clock.now().wall.seconds(),
        });
        Entry::Pruned {
            months: vec![month.to_string()],
            journal: segment.journal.clone(),
            first: segment.first,
            last: seq,
            link,
            tree: segment.tree.nodes().to_vec(),
            head,
            checkpoint,
        }
    }

    /// What is told of the journal's beginning.
    fn forget_month(&mut self, month: Month, next: Option<Month>, scan: &Scan) {
        let extents = scan.extents().iter().filter(|extent| extent.month == month);
        let own = extents
            .flat_map(|extent| &extent.segments)
            .filter(|segment| Some(&segment.journal) == self.journal.as_ref())
            .map(|segment| segment.end.seq)
            .max();
        let (Some(last), Some(begun), Some(next)) = (own, &mut self.begun, next) else {
            return;
        };
        self.pruned = self.pruned.max(last);
        self.first = None;
        *begun = crate::journal::recover::Begun {
            month: next,
            offset: 0,
        };
    }

    /// The journal's last line that was pruned; 0: none was.
    pub fn pruned(&self) -> u64 {
        self.pruned
    }
}
