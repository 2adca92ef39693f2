//! The checkpoints that witnesses cosigned, held against a journal's lines as they are read.

use super::statements::Depth;
use super::{Options, Report, Walk, What};
use crate::format::chain::Line;
use crate::format::merkle::{Frontier, leaf};
use crate::journal::checkpoints::Checkpoints;
use crate::journal::entry::Entry;

/// The tree of the journal that is read.
#[derive(Debug, Default)]
pub(super) struct Follower {
    frontier: Frontier,
    /// Whether lines are missing at its beginning or between, so that there is no tree.
    is_broken: bool,
    /// The last line that is anything but a cosignature.
    last_told: u64,
    /// Whether a contradiction was told: one is enough, and one more if only that convicts.
    told: Option<bool>,
}

impl Follower {
    /// Of a journal whose first lines were pruned: their tree goes on.
    pub(super) fn after(frontier: Frontier) -> Self {
        Self {
            frontier,
            ..Self::default()
        }
    }
}

impl Walk<'_> {
    /// Takes the next line, and holds the tree of all up to it against the checkpoints of as many.
    pub(super) fn compare_with_checkpoints(&mut self, line: &Line<'_>, entry: Option<&Entry>) {
        let seq = line.header.seq;
        let follower = &mut self.follower;
        if !matches!(entry, Some(Entry::Cosigned { .. })) {
            follower.last_told = follower.last_told.max(seq);
        }
        follower.is_broken |= seq != follower.frontier.size() + 1;
        let Some(journal) = self.journal.as_deref() else {
            return;
        };
        let seen = self.checkpoints.of(journal);
        if follower.is_broken || seen.is_empty() {
            return;
        }
        follower.frontier.push(leaf(&line.link.0));
        let from = seen.partition_point(|one| one.size < seq);
        let here = seen[from..].iter().take_while(|one| one.size == seq);
        let mut root = None;
        let mut found = Vec::new();
        for one in here {
            self.report.checkpoints += 1;
            let root = *root.get_or_insert_with(|| follower.frontier.root());
            let is_new = follower
                .told
                .is_none_or(|by_owner| one.is_owners && !by_owner);
            if one.root != root && is_new {
                follower.told = Some(one.is_owners);
                found.push(What::Witnessed {
                    what: format!("changed: the lines up to it are not {}", one.told),
                    missing: false,
                    by_owner: one.is_owners,
                });
            }
        }
        found
            .into_iter()
            .for_each(|what| self.tell(Some(seq), what));
    }

    /// At a journal's end: what its checkpoints say was there after it, and the lines that none
    /// of them covers.
    pub(super) fn end_checkpoints(&mut self, journal: Option<&str>) -> Option<(u64, u64)> {
        let follower = std::mem::take(&mut self.follower);
        let seen = self.checkpoints.of(journal?);
        let (last, covered) = (self.highest.0, seen.last().map_or(0, |one| one.size));
        // Who compares journals knows whether another copy reaches as far.
        if covered > last && self.depth == Depth::Full {
            let beyond = || seen.iter().rev().take_while(|one| one.size > last);
            let by_owner = beyond().find(|one| one.is_owners);
            if let Some(one) = by_owner.or_else(|| beyond().next()) {
                let what = What::Witnessed {
                    what: format!("removed: lines after it are missing, by {}", one.told),
                    missing: true,
                    by_owner: one.is_owners,
                };
                self.tell(Some(last), what);
            }
        }
        if follower.is_broken && !seen.is_empty() {
            self.report.notes.push(format!(
                "journal {}: lines are missing, so the checkpoints after them can't be compared",
                journal?
            ));
        }
        (follower.last_told > covered).then_some((covered + 1, follower.last_told))
    }
}

impl Report {
    /// Notes which lines no witness saw.
    pub(super) fn tell_unwitnessed(&mut self, options: &Options, checkpoints: &Checkpoints) {
        if options.witnesses.is_empty() {
            return;
        }
        if checkpoints.more > 0 {
            let more = checkpoints.more;
            let note = format!("{more} more checkpoints were not looked at");
            self.notes.push(note);
        }
        for journal in &self.journals {
            let Some(id) = &journal.id else { continue };
            self.notes.push(match journal.unwitnessed {
                None => format!("journal {id}: witnesses cosigned all of it"),
                Some((1, to)) => {
                    format!("journal {id}: unwitnessed: no witness that was named cosigned its lines 1 to {to}")
                }
                Some((from, to)) => format!(
                    "journal {id}: unwitnessed: lines {from} to {to} came after the last cosignature"
                ),
            });
        }
    }
}
