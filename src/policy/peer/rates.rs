//! How much of what a peer sends is looked at, and how seldom that is written down. Pure.

use std::time::Duration;

use crate::clock::{Boot, Now};
use crate::journal::entry::Entry;
use crate::reason::Reason;

/// Requests of one peer that do not verify and are looked at, a second.
pub const UNVERIFIED_PER_SECOND: u32 = 10;
/// Heads, lists and viewings of one peer that are looked at, a second: each costs two
/// signature checks, and the next one of its kind tells the same.
pub const STATEMENTS_PER_SECOND: u32 = 50;
/// Requests that did not verify are written down this often at most.
pub const UNVERIFIED_EVERY: Duration = Duration::from_secs(60);

/// How many things happened in the second that runs.
#[derive(Clone, Copy, Debug, Default)]
pub struct PerSecond {
    start: Option<Boot>,
    count: u32,
}

impl PerSecond {
    /// Whether fewer than `limit` were counted.
    pub fn below(&mut self, limit: u32, now: Now) -> bool {
        self.turn(now);
        self.count < limit
    }

    /// Counts one.
    pub fn count(&mut self, now: Now) {
        self.turn(now);
        self.count = self.count.saturating_add(1);
    }

    /// Counts one, and whether it was below `limit`.
    pub fn take(&mut self, limit: u32, now: Now) -> bool {
        let below = self.below(limit, now);
        self.count(now);
        below
    }

    fn turn(&mut self, now: Now) {
        let over = self
            .start
            .is_none_or(|start| now.boot.since(start) >= Duration::from_secs(1));
        if over {
            self.start = Some(now.boot);
            self.count = 0;
        }
    }
}

/// Requests that did not verify: counted in one line a minute, never stored.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unverified {
    count: u64,
    /// Why the newest was refused.
    reason: Option<Reason>,
    due: Option<Boot>,
}

impl Unverified {
    /// Counts one.
    pub fn count(&mut self, reason: Reason, now: Now) {
        self.count = self.count.saturating_add(1);
        self.reason = Some(reason);
        self.due
            .get_or_insert_with(|| now.boot.plus(UNVERIFIED_EVERY));
    }

    /// When their line is to be written.
    pub fn due(&self) -> Option<Boot> {
        self.due
    }

    /// Their line, once it is due; `peer` is who sent them.
    pub fn line(&mut self, peer: &str, now: Now) -> Option<Entry> {
        self.due.take_if(|at| *at <= now.boot)?;
        Some(Entry::Unverified {
            peer: peer.to_owned(),
            count: std::mem::take(&mut self.count),
            reason: self.reason.take().unwrap_or(Reason::MalformedRequest),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Wall;

    fn at(milliseconds: u64) -> Now {
        Now {
            boot: Boot(Duration::from_millis(milliseconds)),
            wall: Wall(0),
        }
    }

    #[test]
    fn a_second_has_room_for_so_many_and_the_next_one_again() {
        let mut rate = PerSecond::default();
        let taken = (0..10).filter(|n| rate.take(4, at(500 + 50 * n))).count();
        assert_eq!(taken, 4);
        assert!(!rate.below(4, at(1_499)));
        assert!(rate.below(4, at(1_500)));
    }

    #[test]
    fn requests_that_did_not_verify_make_one_line_a_minute() {
        let mut unverified = Unverified::default();
        assert_eq!(unverified.due(), None);
        for n in 0..1_000 {
            unverified.count(Reason::BadSignature, at(n));
        }
        unverified.count(Reason::TooManyAttempts, at(1_000));
        assert_eq!(unverified.line("corg-13", at(59_999)), None);
        let line = Entry::Unverified {
            peer: "corg-13".to_owned(),
            count: 1_001,
            reason: Reason::TooManyAttempts,
        };
        assert_eq!(unverified.line("corg-13", at(60_000)), Some(line));
        assert_eq!(unverified.line("corg-13", at(200_000)), None);
    }
}
