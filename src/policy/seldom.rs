//! What could be said again and again: said when it is new, then seldom. Pure.
//!
//! For log lines whose cause lies outside: a camera that fails at each try, a peer
//! that opens streams without a right to. Their number is bounded by time, not by
//! what others do; what was left unsaid is counted and told with the next line.

use std::time::Duration;

use crate::clock::Boot;

/// When each of a few things was said last.
#[derive(Clone, Debug)]
pub struct Seldom<T> {
    /// Most things at a time; beyond them nothing new is said.
    limit: usize,
    /// A thing is said again after this.
    every: Duration,
    said: Vec<Said<T>>,
}

#[derive(Clone, Debug)]
struct Said<T> {
    what: T,
    at: Boot,
    unsaid: u64,
}

impl<T: PartialEq> Seldom<T> {
    /// At most `limit` different things in each `every`, each of them once.
    pub const fn new(limit: usize, every: Duration) -> Self {
        Self {
            limit,
            every,
            said: Vec::new(),
        }
    }

    /// Whether `what` is said now; if so, how often it was left unsaid since the last time.
    pub fn may_say(&mut self, what: T, now: Boot) -> Option<u64> {
        let every = self.every;
        let is_old = |said: &Said<T>| now.since(said.at) >= every;
        if let Some(said) = self.said.iter_mut().find(|said| said.what == what) {
            if is_old(said) {
                said.at = now;
                return Some(std::mem::take(&mut said.unsaid));
            }
            said.unsaid = said.unsaid.saturating_add(1);
            return None;
        }
        if self.said.len() >= self.limit {
            self.said.retain(|said| !is_old(said));
        }
        if self.said.len() >= self.limit {
            return None;
        }
        self.said.push(Said {
            what,
            at: now,
            unsaid: 0,
        });
        Some(0)
    }

    /// All of it is new again.
    pub fn forget(&mut self) {
        self.said.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_thing_is_said_once_in_its_time_and_the_rest_is_counted() {
        let at = |seconds| Boot(Duration::from_secs(seconds));
        let mut seldom = Seldom::new(2, Duration::from_secs(60));
        assert_eq!(seldom.may_say("a", at(0)), Some(0));
        for second in 1..60 {
            assert_eq!(seldom.may_say("a", at(second)), None);
        }
        assert_eq!(seldom.may_say("b", at(59)), Some(0));
        assert_eq!(seldom.may_say("c", at(59)), None, "too many things");
        assert_eq!(seldom.may_say("a", at(60)), Some(59));
        assert_eq!(seldom.may_say("c", at(119)), Some(0), "b is old");
        seldom.forget();
        assert_eq!(seldom.may_say("a", at(119)), Some(0));
    }
}
