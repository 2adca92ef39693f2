//! Removes the oldest month: see [`crate::journal::retention`].

use super::{Log, encode, explain};
use crate::format::keep::Keep;
use crate::format::statement::HeadClaims;
use crate::journal::entry::Entry;
use crate::journal::retention::{Outcome, Plan, Scan, Segment};
use crate::journal::store::Month;

impl Log {
    /// Removes the oldest month, if its time is over and nothing needs it: first what names it
    /// is made durable, then the file goes. `at_once`: also where one went today.
    ///
    /// # Errors
    /// What could not be read, written or removed; the next run goes on from there.
    pub fn prune(&mut self, mut scan: Scan, keep: Keep, at_once: bool) -> Result<Outcome, String> {
        self.repair()?;
        let Some(file) = self.file else {
            return Ok(Outcome::Nothing);
        };
        let store = self.parts.store.as_mut();
        let caught_up = scan.catch_up(store, file, self.end);
        caught_up.map_err(|error| explain("reading", "the journal", &error))?;
        let now = self.parts.clock.now().wall;
        let (month, carried, segments) = match scan.plan(keep, at_once, now) {
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
        let anchors = segments.iter().map(|segment| self.anchor(month, segment));
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
            %month, lines, %keep,
            "journal: the oldest month was removed, its time is over; the journal names it and still verifies"
        );
        Ok(Outcome::Removed { month, lines })
    }

    fn anchor(&self, month: Month, segment: &Segment) -> Entry {
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
            checkpoint: None,
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
