//! Requests that went to their gateway and have no recorded answer: the only ones for which
//! a grant, or a wait for approval, may come later.
//!
//! A gateway sees every request that its commune was ever asked, and could send each of them
//! as granted at any time, under any id. So the centre takes a grant that it does not hold
//! for a request that it forwarded itself, once: the grant's entry closes the request. The
//! journal has a line of each (`forwarded`), so that this holds across a restart. Requests that
//! other receivers of the centre forwarded are not among them ([`super::several`]).

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::{Boot, Now, Wall};
use crate::format::ids::{CommuneId, RequestId};
use crate::reason::Reason;

/// How long a grant may come for a request: the longest wait for approval, and the longest
/// grant after it.
const KEPT: Duration = Duration::from_secs(25 * 3_600);
/// Most of one commune, some 100 bytes each; beyond them its oldest goes.
const LIMIT: usize = 1_024;

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Forwarded {
    requests: BTreeMap<RequestId, Request>,
    /// Those of other receivers.
    pub(super) told: super::told::Told,
}

#[derive(Debug)]
struct Request {
    commune: CommuneId,
    until: Boot,
    answer: Answer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Answer {
    /// None yet.
    Open,
    /// Its operator gave it up while it waited: its gateway may not know it yet.
    Cancelled,
    /// It has one.
    Given,
}

impl Forwarded {
    /// A request goes to its gateway.
    pub(super) fn open(&mut self, request: RequestId, commune: &CommuneId, now: Now) {
        self.insert(request, commune, now.boot.plus(KEPT));
    }

    /// Takes one that the journal tells of, written at `time`.
    pub(super) fn recover(
        &mut self,
        request: RequestId,
        commune: &CommuneId,
        time: Wall,
        now: Now,
    ) {
        let left = KEPT.saturating_sub(now.wall.since(time));
        if !left.is_zero() {
            self.insert(request, commune, now.boot.plus(left));
        }
    }

    /// Whether this commune may still grant it.
    pub(super) fn is_open(&self, request: RequestId, commune: &CommuneId) -> bool {
        let open = self.requests.get(&request);
        open.is_some_and(|open| &open.commune == commune && open.answer == Answer::Open)
    }

    /// Whether it was forwarded here and has its answer.
    pub(super) fn is_closed(&self, request: RequestId) -> bool {
        let known = self.requests.get(&request);
        known.is_some_and(|known| known.answer != Answer::Open)
    }

    /// It was granted.
    pub(super) fn granted(&mut self, request: RequestId) {
        self.answered(request, Answer::Given);
    }

    /// It was refused. A wait that this centre gave up, for want of a word, the commune
    /// may still end with a grant.
    pub(super) fn refused(&mut self, request: RequestId, reason: Reason) {
        match reason {
            Reason::ApprovalTimedOut => {}
            Reason::RequestCancelled => self.cancelled(request),
            _ => self.granted(request),
        }
    }

    /// Its operator gave it up.
    pub(super) fn cancelled(&mut self, request: RequestId) {
        self.answered(request, Answer::Cancelled);
    }

    fn answered(&mut self, request: RequestId, answer: Answer) {
        if let Some(known) = self.requests.get_mut(&request) {
            known.answer = answer;
        }
    }

    /// Whether its operator gave up a request to this commune.
    pub(super) fn is_cancelled(&self, request: RequestId, commune: &CommuneId) -> bool {
        let known = self.requests.get(&request);
        known.is_some_and(|one| &one.commune == commune && one.answer == Answer::Cancelled)
    }

    /// Forgets those that are too old.
    pub(super) fn forget(&mut self, now: Now) {
        self.requests.retain(|_, known| known.until > now.boot);
        self.told.forget(now);
    }

    fn insert(&mut self, request: RequestId, commune: &CommuneId, until: Boot) {
        let of_commune = self.requests.iter();
        let of_commune = of_commune.filter(|(_, known)| &known.commune == commune);
        if of_commune.clone().count() >= LIMIT {
            // What has its answer goes first.
            let first = of_commune.min_by_key(|(_, known)| (Reverse(known.answer), known.until));
            if let Some(first) = first.map(|(id, _)| *id) {
                self.requests.remove(&first);
            }
        }
        let known = Request {
            commune: commune.clone(),
            until,
            answer: Answer::Open,
        };
        self.requests.insert(request, known);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Now {
        Now {
            boot: Boot(Duration::from_secs(seconds)),
            wall: Wall::from_seconds(1_795_400_000 + i64::try_from(seconds).unwrap()),
        }
    }

    fn id(n: usize) -> RequestId {
        RequestId(uuid::Uuid::from_u128(n as u128))
    }

    #[test]
    fn each_is_open_to_its_commune_until_it_is_answered_or_too_old() {
        let (a, b) = (CommuneId::new("a").unwrap(), CommuneId::new("b").unwrap());
        let mut forwarded = Forwarded::default();
        for n in 0..4 {
            forwarded.open(id(n), &a, at(0));
        }
        assert!(forwarded.is_open(id(0), &a) && !forwarded.is_open(id(0), &b));
        assert!(!forwarded.is_open(id(9), &a));
        forwarded.granted(id(0));
        forwarded.refused(id(1), Reason::CommuneRefused);
        forwarded.refused(id(2), Reason::ApprovalTimedOut);
        assert!(!forwarded.is_open(id(0), &a) && !forwarded.is_open(id(1), &a));
        assert!(forwarded.is_open(id(2), &a) && !forwarded.is_closed(id(2)));
        assert!(forwarded.is_closed(id(0)) && forwarded.is_closed(id(1)));
        forwarded.forget(at(KEPT.as_secs() - 1));
        assert!(forwarded.is_open(id(3), &a));
        forwarded.forget(at(KEPT.as_secs()));
        assert!(forwarded.requests.is_empty());
        forwarded.recover(id(5), &a, at(0).wall, at(KEPT.as_secs()));
        assert!(forwarded.requests.is_empty());
    }

    #[test]
    fn one_commune_fills_only_its_own_share() {
        let (a, b) = (CommuneId::new("a").unwrap(), CommuneId::new("b").unwrap());
        let mut forwarded = Forwarded::default();
        forwarded.open(id(1_000_000), &b, at(0));
        for n in 0..LIMIT + 3 {
            forwarded.open(id(n), &a, at(1 + n as u64));
        }
        assert_eq!(forwarded.requests.len(), LIMIT + 1);
        assert!(forwarded.is_open(id(1_000_000), &b));
        assert!(!forwarded.is_open(id(2), &a) && forwarded.is_open(id(3), &a));
    }
}
