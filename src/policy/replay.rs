//! A request is used once: a `jti` counts as used as soon as its signature has
//! verified. Bounded: what is older than the freshness window can't come again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::clock::Wall;
use crate::format::ids::RequestId;
use crate::format::jws;
use crate::format::statement::{FRESH_SECONDS, REQUEST_TYPE, RequestClaims};

/// How long after its `iat` an id is remembered: the freshness window, and as
/// much again for a clock that is set back a little.
const KEPT: Duration = Duration::from_secs(2 * FRESH_SECONDS.unsigned_abs());
/// Most ids remembered. Ten requests a second on each of many links fit; only
/// statements dated into the future could fill it.
pub const USED_LIMIT: usize = 65_536;

/// The used request ids of the last minutes.
#[derive(Clone, Debug, Default)]
pub struct Used {
    seen: BTreeMap<RequestId, Wall>,
    by_time: BTreeSet<(Wall, RequestId)>,
}

impl Used {
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

    /// Marks a request that the journal tells of, written at `time`: used before the restart.
    pub fn recover(&mut self, id: RequestId, request: &str, time: Wall, now: Wall) {
        // It verified when it was written, so it parses; if not, the latest
        // signing time that was fresh then is the safe one.
        let latest = time.seconds().saturating_add(FRESH_SECONDS);
        let iat = jws::open::<RequestClaims>(request, REQUEST_TYPE)
            .map_or(latest, |signed| signed.claims.iat);
        if iat.saturating_add(2 * FRESH_SECONDS) >= now.seconds() {
            self.mark(id, Wall::from_seconds(iat), now);
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
