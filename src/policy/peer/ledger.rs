//! Entries on their way to the journal, and those that it could not take yet. Pure.
//!
//! A judge submits entries in their order, and the journal answers each of them. An
//! entry is one of three: the judge waits for its answer and then decides
//! ([`Ledger::record`]); it must get written in the end ([`Ledger::must_write`]); or it
//! may be lost ([`Ledger::note`]). Those that must get written and were not are *owed*:
//! the ledger submits them again until the journal takes them, and while it owes one,
//! new ones queue behind it, so that the journal tells them in the order in which they
//! happened.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::clock::{Boot, Now};
use crate::journal::entry::Entry;

/// Entries in flight, and entries owed: past it a judge refuses requests,
/// `journal_unavailable`, and of the owed ones the oldest is lost.
pub const PENDING_LIMIT: usize = 4_096;
/// Pause before owed entries are submitted again.
pub const OWED_RETRY: Duration = Duration::from_secs(1);

/// Numbers an entry that was submitted to the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// An entry to submit to the journal.
pub type Submission = (Ticket, Box<Entry>);

/// An entry that must get written, and the peer that is then sent heads.
type Owed<W> = (Box<Entry>, Option<W>);

#[derive(Debug)]
enum InFlight<P, W> {
    Decision(P),
    Owed(Owed<W>),
    Note,
}

/// What is left to do once the journal answered.
#[derive(Debug, PartialEq, Eq)]
pub enum Answered<P, W> {
    /// The judge decides.
    Decision(P),
    /// An entry that this peer must hear of is written.
    Tell(W),
    /// Nothing.
    Done,
}

/// The entries of one judge. `P` is what waits for an answer, `W` names a peer.
#[derive(Debug)]
pub struct Ledger<P, W> {
    in_flight: BTreeMap<Ticket, InFlight<P, W>>,
    next: u64,
    owed: VecDeque<Owed<W>>,
    retry: Option<Boot>,
}

impl<P, W> Default for Ledger<P, W> {
    fn default() -> Self {
        Self {
            in_flight: BTreeMap::new(),
            next: 0,
            owed: VecDeque::new(),
            retry: None,
        }
    }
}

impl<P, W> Ledger<P, W> {
    /// Takes what waits for the answer to an entry; the entry is submitted under this
    /// ticket.
    pub fn record(&mut self, pending: P) -> Ticket {
        self.take_off(InFlight::Decision(pending))
    }

    /// A ticket for an entry that may be lost.
    pub fn note(&mut self) -> Ticket {
        self.take_off(InFlight::Note)
    }

    /// Takes an entry that must get written in the end; once it is, `tell` is sent heads.
    /// `None`: it waits behind others.
    pub fn must_write(&mut self, entry: Entry, tell: Option<W>) -> Option<Submission>
    where
        W: Clone,
    {
        let owed = (Box::new(entry), tell);
        if self.owed.is_empty() {
            return Some(self.submit(owed));
        }
        self.push(owed);
        None
    }

    /// Takes an entry that was submitted in another way, could not be written, and must be.
    pub fn owe(&mut self, entry: Box<Entry>, tell: Option<W>, now: Now) {
        self.push((entry, tell));
        self.retry_soon(now);
    }

    /// [`Ledger::retry`] is due after a pause, if it is not before.
    pub fn retry_soon(&mut self, now: Now) {
        self.retry.get_or_insert_with(|| now.boot.plus(OWED_RETRY));
    }

    /// All that is owed, to be submitted again; `None` before the pause is over.
    pub fn retry(&mut self, now: Now) -> Option<Vec<Submission>>
    where
        W: Clone,
    {
        self.retry.take_if(|at| *at <= now.boot)?;
        let owed = std::mem::take(&mut self.owed);
        Some(owed.into_iter().map(|owed| self.submit(owed)).collect())
    }

    /// The journal's answer to a submission.
    pub fn answered(&mut self, ticket: Ticket, is_written: bool, now: Now) -> Answered<P, W> {
        match self.in_flight.remove(&ticket) {
            Some(InFlight::Decision(pending)) => return Answered::Decision(pending),
            Some(InFlight::Owed((_, Some(peer)))) if is_written => return Answered::Tell(peer),
            Some(InFlight::Owed((entry, tell))) if !is_written => self.owe(entry, tell, now),
            Some(InFlight::Owed(_) | InFlight::Note) | None => {}
        }
        Answered::Done
    }

    /// When [`Ledger::retry`] is due.
    pub fn due(&self) -> Option<Boot> {
        self.retry
    }

    /// Entries that the journal could not take yet.
    pub fn owed(&self) -> usize {
        self.owed.len()
    }

    /// Whether nothing that rests on a new entry may be begun now.
    pub fn is_blocked(&self) -> bool {
        self.in_flight.len() >= PENDING_LIMIT || !self.owed.is_empty()
    }

    /// What waits for answers, in the order in which it was submitted.
    pub fn pending(&self) -> impl Iterator<Item = &P> {
        self.in_flight.values().filter_map(|entry| match entry {
            InFlight::Decision(pending) => Some(pending),
            InFlight::Owed(_) | InFlight::Note => None,
        })
    }

    /// The same, to change it.
    pub fn pending_mut(&mut self) -> impl Iterator<Item = &mut P> {
        self.in_flight.values_mut().filter_map(|entry| match entry {
            InFlight::Decision(pending) => Some(pending),
            InFlight::Owed(_) | InFlight::Note => None,
        })
    }

    fn take_off(&mut self, entry: InFlight<P, W>) -> Ticket {
        let ticket = Ticket(self.next);
        self.next += 1;
        self.in_flight.insert(ticket, entry);
        ticket
    }

    fn submit(&mut self, owed: Owed<W>) -> Submission
    where
        W: Clone,
    {
        let entry = owed.0.clone();
        (self.take_off(InFlight::Owed(owed)), entry)
    }

    /// Over the limit the oldest goes: the newest ends and cuts matter most after a restart.
    fn push(&mut self, owed: Owed<W>) {
        if self.owed.len() >= PENDING_LIMIT {
            tracing::error!("the journal can't be written and owes too many entries: one is lost");
            self.owed.pop_front();
        }
        self.owed.push_back(owed);
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

    fn entry(number: usize) -> Entry {
        Entry::Allowed {
            scope: number.to_string(),
            by: "x".to_owned(),
        }
    }

    fn number(entry: &Entry) -> usize {
        match entry {
            Entry::Allowed { scope, .. } => scope.parse().unwrap(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_entry_that_must_get_written_is_submitted_until_it_is_and_in_its_order() {
        let mut ledger: Ledger<(), &str> = Ledger::default();
        let (first, _) = ledger.must_write(entry(1), Some("peer")).unwrap();
        assert_eq!(ledger.answered(first, false, at(0)), Answered::Done);
        assert_eq!(ledger.must_write(entry(2), None), None);
        assert!(ledger.is_blocked() && ledger.owed() == 2);
        assert_eq!(ledger.due(), Some(at(1_000).boot));
        assert_eq!(ledger.retry(at(999)), None);
        let again = ledger.retry(at(1_000)).unwrap();
        let order: Vec<usize> = again.iter().map(|(_, entry)| number(entry)).collect();
        assert_eq!(order, [1, 2]);
        assert!(!ledger.is_blocked() && ledger.due().is_none());
        let told = ledger.answered(again[0].0, true, at(1_001));
        assert_eq!(told, Answered::Tell("peer"));
        let silent = ledger.answered(again[1].0, true, at(1_001));
        assert_eq!(silent, Answered::Done);
        assert_eq!(ledger.owed(), 0);
    }

    #[test]
    fn a_decision_comes_back_once_and_a_note_never() {
        let mut ledger: Ledger<u8, ()> = Ledger::default();
        let (decision, note) = (ledger.record(7), ledger.note());
        assert_eq!(ledger.pending().copied().collect::<Vec<_>>(), [7]);
        assert_eq!(ledger.answered(note, false, at(0)), Answered::Done);
        let answered = ledger.answered(decision, false, at(0));
        assert_eq!(answered, Answered::Decision(7));
        assert_eq!(ledger.answered(decision, true, at(0)), Answered::Done);
        assert_eq!((ledger.owed(), ledger.due()), (0, None));
    }

    #[test]
    fn what_is_owed_stays_bounded_and_the_newest_stay() {
        let mut ledger: Ledger<(), ()> = Ledger::default();
        for number in 0..PENDING_LIMIT + 3 {
            ledger.owe(Box::new(entry(number)), None, at(0));
        }
        assert_eq!(ledger.owed(), PENDING_LIMIT);
        let again = ledger.retry(at(1_000)).unwrap();
        assert_eq!(number(&again[0].1), 3);
        assert!(ledger.is_blocked(), "as many are in flight");
    }
}
