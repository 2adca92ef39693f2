//! Whether the wall clock can be believed: it never is behind the own journal. Pure.
//!
//! A clock set back would make grants, designations and requests valid again whose time
//! is over. So while it is more than [`CLOCK_TOLERANCE`] behind the newest time in
//! the journal, requests are refused (`clock_wrong`), until it has caught up or an
//! administrator accepts it as it is.

use std::fmt::Display;
use std::time::Duration;

use crate::clock::{Now, Wall};
use crate::journal::entry::Entry;
use crate::reason::{Reason, Refusal};

/// How far the clock may stand behind the journal's newest time.
pub const CLOCK_TOLERANCE: Duration = Duration::from_secs(5);

/// The newest time that the journal holds.
#[derive(Clone, Copy, Debug)]
pub struct ClockGuard {
    newest: Wall,
}

impl Default for ClockGuard {
    fn default() -> Self {
        Self {
            newest: Wall(i64::MIN),
        }
    }
}

impl ClockGuard {
    /// Takes the times of the journal's entries at a start, oldest first; `newest` is the
    /// newest of all, entries left out included. After an accepted clock, times of before
    /// it count no more.
    pub fn recover(&mut self, entries: &[(u64, Wall, Entry)], newest: Option<Wall>) {
        let mut accepted = false;
        for (_, time, entry) in entries {
            if matches!(entry, Entry::ClockAccepted { .. }) {
                accepted = true;
                self.newest = *time;
            }
            self.written(*time);
        }
        if let (false, Some(newest)) = (accepted, newest) {
            self.written(newest);
        }
    }

    /// The newest time, if the journal holds one.
    pub fn newest(&self) -> Option<Wall> {
        (self.newest != Self::default().newest).then_some(self.newest)
    }

    /// The journal took an entry at this time.
    pub fn written(&mut self, time: Wall) {
        self.newest = self.newest.max(time);
    }

    /// By how much the clock is behind, where that is more than [`CLOCK_TOLERANCE`].
    pub fn behind(&self, now: Now) -> Option<Duration> {
        let behind = self.newest.since(now.wall);
        (behind > CLOCK_TOLERANCE).then_some(behind)
    }

    /// Why no request can be judged now, if so; `whose` clock it is.
    pub fn refusal(&self, whose: impl Display, now: Now) -> Option<Refusal> {
        let behind = self.behind(now)?.as_secs();
        let detail = format!("the clock of {whose} is {behind} s behind its journal");
        Some(Refusal::new(Reason::ClockWrong, detail))
    }

    /// An administrator accepts the clock as it is; the entry that says so, if it stands
    /// behind.
    pub fn accept(&mut self, by: String, now: Now) -> Option<Entry> {
        self.behind(now)?;
        let newest = std::mem::replace(&mut self.newest, now.wall).rfc3339();
        Some(Entry::ClockAccepted { newest, by })
    }

    /// What is left until then, at a start: the clock may have gone back while nobody
    /// looked, so no more than from the journal's newest time.
    pub fn left(&self, until: Wall, now: Now) -> Duration {
        until.since(now.wall.max(self.newest))
    }
}

/// Whether the clock can be believed beside a journal whose newest time is this.
pub fn is_plausible(newest: Option<Wall>, now: Now) -> bool {
    let mut guard = ClockGuard::default();
    guard.recover(&[], newest);
    guard.behind(now).is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Boot;

    fn at(seconds: i64) -> Now {
        Now {
            boot: Boot(Duration::ZERO),
            wall: Wall::from_seconds(seconds),
        }
    }

    fn accepted() -> Entry {
        Entry::ClockAccepted {
            newest: String::new(),
            by: "root".to_owned(),
        }
    }

    #[test]
    fn a_clock_behind_refuses_until_it_is_accepted() {
        let mut guard = ClockGuard::default();
        assert_eq!(guard.behind(at(-1_000_000)), None, "an empty journal");
        guard.written(Wall::from_seconds(100));
        guard.written(Wall::from_seconds(90));
        assert_eq!(guard.behind(at(95)), None);
        assert_eq!(guard.behind(at(94)), Some(Duration::from_secs(6)));
        let refusal = guard.refusal("corg-13", at(94)).unwrap();
        assert_eq!(refusal.reason, Reason::ClockWrong);
        assert_eq!(
            refusal.detail,
            "the clock of corg-13 is 6 s behind its journal"
        );
        assert_eq!(
            guard.left(Wall::from_seconds(130), at(94)),
            Duration::from_secs(30)
        );
        assert_eq!(guard.accept("root".to_owned(), at(95)), None);
        let entry = guard.accept("root".to_owned(), at(50));
        assert!(
            matches!(entry, Some(Entry::ClockAccepted { newest, .. }) if newest == Wall::from_seconds(100).rfc3339())
        );
        assert_eq!(guard.behind(at(50)), None);
    }

    #[test]
    fn times_of_before_an_accepted_clock_count_no_more_after_a_restart() {
        let time = Wall::from_seconds;
        let entries = [
            (1, time(900), Entry::Stopped {}),
            (2, time(100), accepted()),
        ];
        let mut guard = ClockGuard::default();
        guard.recover(&entries[..1], Some(time(950)));
        assert_eq!(guard.behind(at(900)), Some(Duration::from_secs(50)));
        let mut guard = ClockGuard::default();
        guard.recover(&entries, Some(time(950)));
        assert_eq!(guard.behind(at(100)), None);
        assert_eq!(guard.behind(at(90)), Some(Duration::from_secs(10)));
    }
}
