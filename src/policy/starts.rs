//! How many cameras may be opened at the same moment, over all hosts: a whole
//! commune asked for at once must not shake hands in the same millisecond. Pure.
//!
//! Places are given in the order of asking. A start gives its place back when its
//! session plays or has failed, and loses it after [`LEASE`]: a host that does not
//! answer holds nobody up for longer, and the start itself goes on. So at worst (no
//! camera answers at all) 200 starts are under way within [`LEASE`] × 200 / [`PLACES`],
//! some three seconds.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::clock::Boot;

/// Starts under way at once.
pub const PLACES: usize = 32;
/// How long a start holds its place; a camera on a LAN is open in a tenth of it.
pub const LEASE: Duration = Duration::from_millis(500);

/// Names a start from asking to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

/// Who has a place and who waits for one.
#[derive(Clone, Debug, Default)]
pub struct Starts {
    next: u64,
    /// Who has a place, and until when.
    held: BTreeMap<Ticket, Boot>,
    waiting: VecDeque<Ticket>,
}

impl Starts {
    /// A start wants a place; [`Starts::poll_admitted`] says when it has one.
    pub fn handle_asked(&mut self) -> Ticket {
        let ticket = Ticket(self.next);
        self.next += 1;
        self.waiting.push_back(ticket);
        ticket
    }

    /// A start is over, plays, or is not wanted any more, waiting or not.
    pub fn handle_over(&mut self, ticket: Ticket) {
        if self.held.remove(&ticket).is_none() {
            self.waiting.retain(|waiting| *waiting != ticket);
        }
    }

    /// Takes places back whose time is up.
    pub fn handle_timeout(&mut self, now: Boot) {
        self.held.retain(|_, until| *until > now);
    }

    /// The next start that has a place from now on.
    pub fn poll_admitted(&mut self, now: Boot) -> Option<Ticket> {
        if self.held.len() >= PLACES {
            return None;
        }
        let ticket = self.waiting.pop_front()?;
        self.held.insert(ticket, now.plus(LEASE));
        Some(ticket)
    }

    /// When [`Starts::handle_timeout`] would let somebody in who waits.
    pub fn poll_timeout(&self) -> Option<Boot> {
        let first = self.held.values().min().copied();
        first.filter(|_| !self.waiting.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(ms: u64) -> Boot {
        Boot(Duration::from_millis(1_000 + ms))
    }

    fn admitted(starts: &mut Starts, now: Boot) -> Vec<Ticket> {
        std::iter::from_fn(|| starts.poll_admitted(now)).collect()
    }

    #[test]
    fn places_are_given_in_order_and_come_back() {
        let mut starts = Starts::default();
        let asked: Vec<Ticket> = (0..200).map(|_| starts.handle_asked()).collect();
        assert_eq!(admitted(&mut starts, at(0)), asked[..PLACES]);
        starts.handle_over(asked[3]);
        starts.handle_over(asked[PLACES]); // it waits, and is not wanted any more
        starts.handle_over(asked[3]);
        assert_eq!(admitted(&mut starts, at(1)), [asked[PLACES + 1]]);
    }

    #[test]
    fn hosts_that_do_not_answer_hold_nobody_up() {
        let mut starts = Starts::default();
        let asked: Vec<Ticket> = (0..200).map(|_| starts.handle_asked()).collect();
        let mut now = at(0);
        let mut begun = admitted(&mut starts, now);
        while let Some(due) = starts.poll_timeout() {
            now = due;
            starts.handle_timeout(now);
            begun.extend(admitted(&mut starts, now));
        }
        assert_eq!(begun, asked);
        assert_eq!(now.since(at(0)), LEASE * 6);
        assert_eq!(
            starts.poll_timeout(),
            None,
            "nobody waits, so nothing is due"
        );
    }

    proptest! {
        /// Whatever happens: never more than the places, in the order of asking, each
        /// once, and nobody waits beside a free place.
        #[test]
        fn never_too_many_and_nobody_forgotten(steps in proptest::collection::vec((0_u8..4, 0_usize..64), 1..300)) {
            let mut starts = Starts::default();
            let mut now = 0;
            let (mut asked, mut begun) = (Vec::new(), Vec::new());
            for (kind, n) in steps {
                match kind {
                    0 | 1 => asked.push(starts.handle_asked()),
                    2 => {
                        if let Some(ticket) = asked.get(n).copied() {
                            starts.handle_over(ticket);
                        }
                    }
                    _ => {
                        now += n as u64 * 20;
                        starts.handle_timeout(at(now));
                    }
                }
                begun.extend(admitted(&mut starts, at(now)));
                prop_assert!(starts.held.len() <= PLACES);
                prop_assert!(starts.waiting.is_empty() || starts.held.len() == PLACES);
                prop_assert!(starts.poll_timeout().is_some() || starts.waiting.is_empty());
            }
            prop_assert!(begun.windows(2).all(|pair| pair[0] < pair[1]));
        }
    }
}
