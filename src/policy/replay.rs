//! A request is used once: a `jti` counts as used as soon as its signature has
//! verified. Bounded: what is older than the freshness window can't come again, unless
//! the clock goes back; so the newest time of what was forgotten is remembered.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::time::Duration;

use serde::Deserialize;

use crate::clock::Wall;
use crate::format::ids::RequestId;
use crate::format::jws;
use crate::format::statement::FRESH_SECONDS;
use crate::reason::{Reason, Refusal};

/// How long after its `iat` an id is remembered: the freshness window, and as
/// much again for a clock that is set back a little.
const KEPT: Duration = Duration::from_secs(2 * FRESH_SECONDS.unsigned_abs());
/// Most ids remembered. Ten requests a second on each of many links fit; only
/// statements dated into the future could fill it.
pub const USED_LIMIT: usize = 65_536;

/// When a statement was signed, whatever it is.
#[derive(Deserialize)]
struct Dated {
    iat: i64,
}

/// The used request ids of the last minutes.
#[derive(Clone, Debug, Default)]
pub struct Used {
    seen: BTreeMap<RequestId, Wall>,
    by_time: BTreeSet<(Wall, RequestId)>,
    /// The newest `iat` of those forgotten.
    forgotten: Option<Wall>,
}

impl Used {
    /// Why a request that counts as fresh may have been used all the same: others as new
    /// as it were forgotten, as the clock of `whose` was ahead and went back. `None`: it
    /// was not, or the request is not fresh, which has its own reason.
    pub fn doubt(&self, iat: Wall, whose: impl Display, now: Wall) -> Option<Refusal> {
        let forgotten = self.forgotten.filter(|newest| iat <= *newest)?;
        let away = now.seconds().saturating_sub(iat.seconds());
        if away.abs() > FRESH_SECONDS {
            return None;
        }
        let until = forgotten.rfc3339();
        // A restart reads the used ones out of the journal again.
        Some(if forgotten < now {
            let detail = format!(
                "the clock of {whose} was ahead and went back; requests signed up to {until} may have been used: sign it again"
            );
            Refusal::new(Reason::StaleRequest, detail)
        } else {
            let detail = format!(
                "the clock of {whose} was ahead and went back; requests signed up to {until} may have been used: restart the daemon there"
            );
            Refusal::new(Reason::ClockWrong, detail)
        })
    }

    /// Marks an id as used; `false` if it was used before. `iat` decides when it
    /// may be forgotten (freshness window and a margin past it). When too many
    /// are held, the one dated farthest into the future goes: those within the
    /// window never do.
    pub fn mark(&mut self, id: RequestId, iat: Wall, now: Wall) -> bool {
        self.forget(now);
        if let Some(known) = self.seen.get(&id).copied() {
            // Another statement with the same id must not become usable when
            // the first one is forgotten.
            if iat > known {
                self.by_time.remove(&(known, id));
                self.insert(id, iat);
            }
            return false;
        }
        self.insert(id, iat);
        if self.seen.len() > USED_LIMIT
            && let Some((_, farthest)) = self.by_time.pop_last()
        {
            self.seen.remove(&farthest);
        }
        true
    }

    /// Marks a statement that the journal tells of, written at `time`: used before the restart.
    pub fn recover(&mut self, id: RequestId, statement: &str, time: Wall, now: Wall) {
        // It verified when it was written, so it parses; if not, the latest
        // signing time that was fresh then is the safe one.
        let latest = time.seconds().saturating_add(FRESH_SECONDS);
        let iat = jws::read_unverified(statement).map_or(latest, |Dated { iat }| iat);
        let iat = Wall::from_seconds(iat);
        if iat.plus(KEPT) >= now {
            self.mark(id, iat, now);
        } else {
            self.forgotten = self.forgotten.max(Some(iat));
        }
    }

    /// How many ids are remembered.
    pub fn len(&self) -> usize {
        self.seen.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }

    fn insert(&mut self, id: RequestId, iat: Wall) {
        self.seen.insert(id, iat);
        self.by_time.insert((iat, id));
    }

    fn forget(&mut self, now: Wall) {
        while let Some(&(iat, id)) = self.by_time.first()
            && iat.plus(KEPT) < now
        {
            self.by_time.pop_first();
            self.seen.remove(&id);
            self.forgotten = self.forgotten.max(Some(iat));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: usize) -> RequestId {
        RequestId(uuid::Uuid::from_u128(n as u128))
    }

    const NOW: Wall = Wall::from_seconds(1_000_000);

    #[test]
    fn an_id_is_used_once_while_its_statement_could_be_fresh() {
        let mut used = Used::default();
        assert!(used.mark(id(1), NOW, NOW));
        assert!(!used.mark(id(1), NOW, NOW));
        let late = NOW.plus(KEPT);
        assert!(!used.mark(id(1), NOW, late));
        assert!(used.mark(id(2), late, late));
    }

    #[test]
    fn an_id_signed_twice_is_remembered_for_the_later_statement() {
        let mut used = Used::default();
        let later = NOW.plus(Duration::from_secs(50));
        assert!(used.mark(id(1), NOW, NOW));
        assert!(!used.mark(id(1), later, NOW));
        assert!(!used.mark(id(1), later, later.plus(KEPT)));
        assert_eq!(used.len(), 1);
    }

    /// An attacker who sets the clock forward and back must not make used requests good again.
    #[test]
    fn a_clock_that_goes_forward_and_back_makes_nothing_usable_again() {
        let hour = Duration::from_secs(3_600);
        let mut used = Used::default();
        assert!(used.mark(id(1), NOW, NOW));
        assert_eq!(used.doubt(NOW, "here", NOW), None);
        used.mark(id(2), NOW.plus(hour), NOW.plus(hour));
        assert!(used.mark(id(1), NOW, NOW), "it was forgotten");
        let told = |used: &Used, iat: Wall, now: Wall| {
            used.doubt(iat, "here", now).map(|refusal| refusal.reason)
        };
        let second = Duration::from_secs(1);
        assert_eq!(told(&used, NOW, NOW), Some(Reason::ClockWrong));
        let later = NOW.plus(second);
        assert_eq!(told(&used, NOW, later), Some(Reason::StaleRequest));
        assert_eq!(told(&used, later, later), None);
        // What is not fresh is told by how far the clocks are apart.
        assert_eq!(told(&used, NOW, NOW.plus(61 * second)), None);

        // A restart while the clock is ahead forgets as much.
        let mut restarted = Used::default();
        restarted.recover(id(1), "unreadable", NOW, NOW.plus(hour));
        assert!(restarted.is_empty());
        assert_eq!(told(&restarted, NOW, NOW), Some(Reason::ClockWrong));
        // One after it has gone back knows all that the journal tells, future ones too.
        let mut restarted = Used::default();
        restarted.recover(id(2), "unreadable", NOW.plus(hour), NOW);
        assert_eq!(told(&restarted, NOW, NOW), None);
        assert!(!restarted.mark(id(2), NOW.plus(hour), NOW.plus(hour)));
    }

    #[test]
    fn what_is_remembered_stays_bounded() {
        let mut used = Used::default();
        for n in 0..2_000 {
            let now = NOW.plus(Duration::from_secs(n as u64));
            assert!(used.mark(id(n), now, now));
            assert!(used.len() <= 122, "{n}");
        }
        let now = NOW.plus(Duration::from_secs(5_000));
        assert!(used.mark(id(1_000_000), now, now));
        for n in 0..USED_LIMIT + 10 {
            let future = now.plus(Duration::from_secs(3_600 + n as u64));
            assert!(used.mark(id(n), future, now));
            assert!(used.len() <= USED_LIMIT);
        }
        assert!(!used.mark(id(1_000_000), now, now), "a fresh id stays");
    }
}
