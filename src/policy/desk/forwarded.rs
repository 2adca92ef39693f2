//! Requests that went to their gateway and have no recorded answer: the only ones for which
//! a grant, or a wait for approval, may come later.
//!
//! A gateway sees every request that its commune was ever asked, and could send each of them
//! as granted at any time, under any id. So the centre takes a grant that it does not hold
//! for a request that it forwarded itself, once: the grant's entry closes the request. The
//! journal has a line of each (`forwarded`), so that this holds across a restart.

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
    requests: BTreeMap<RequestId, (CommuneId, Boot)>,
    /// Those that their operator gave up while they waited: their gateways may not know it yet.
    cancelled: BTreeMap<RequestId, (CommuneId, Boot)>,
}

impl Forwarded {
    /// A request goes to its gateway.
    pub(super) fn open(&mut self, request: RequestId, commune: &CommuneId, now: Now) {
        insert(&mut self.requests, request, commune, now.boot.plus(KEPT));
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
            insert(&mut self.requests, request, commune, now.boot.plus(left));
        }
    }

    /// Whether this commune may still grant it.
    pub(super) fn is_open(&self, request: RequestId, commune: &CommuneId) -> bool {
        let open = self.requests.get(&request);
        open.is_some_and(|(of, _)| of == commune)
    }

    /// It was granted.
    pub(super) fn granted(&mut self, request: RequestId) {
        self.requests.remove(&request);
    }

    /// It was refused. A wait that this centre gave up, for want of a word, the commune
    /// may still end with a grant.
    pub(super) fn refused(&mut self, request: RequestId, reason: Reason) {
        match reason {
            Reason::ApprovalTimedOut => {}
            Reason::RequestCancelled => self.cancelled(request),
            _ => {
                self.requests.remove(&request);
            }
        }
    }

    /// Its operator gave it up.
    pub(super) fn cancelled(&mut self, request: RequestId) {
        if let Some((commune, until)) = self.requests.remove(&request) {
            insert(&mut self.cancelled, request, &commune, until);
        }
    }

    /// Whether its operator gave up a request to this commune.
    pub(super) fn is_cancelled(&self, request: RequestId, commune: &CommuneId) -> bool {
        let cancelled = self.cancelled.get(&request);
        cancelled.is_some_and(|(of, _)| of == commune)
    }

    /// Forgets those that are too old.
    pub(super) fn forget(&mut self, now: Now) {
        self.requests.retain(|_, (_, until)| *until > now.boot);
        self.cancelled.retain(|_, (_, until)| *until > now.boot);
    }
}

fn insert(
    all: &mut BTreeMap<RequestId, (CommuneId, Boot)>,
    request: RequestId,
    commune: &CommuneId,
    until: Boot,
) {
    let of_commune = all.iter().filter(|(_, (of, _))| of == commune);
    let (count, oldest) = of_commune.fold((0, None), |(count, oldest), (id, (_, until))| {
        let older = oldest.is_none_or(|(_, before)| *until < before);
        (count + 1, if older { Some((*id, *until)) } else { oldest })
    });
    if let Some((oldest, _)) = oldest.filter(|_| count >= LIMIT) {
        all.remove(&oldest);
    }
    all.insert(request, (commune.clone(), until));
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
        assert!(forwarded.is_open(id(2), &a));
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
