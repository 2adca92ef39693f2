//! Stills that an operator takes of a picture he sees: recorded at both ends
//! before he gets one, where the agreement allows it. Pure.
//!
//! The centre journals it, asks the commune's machine, and gives the still only
//! once that has journalled it too. What is written is who, of which camera and
//! of what moment; never the picture.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::clock::Boot;
use crate::format::ids::GrantId;

/// Stills of one grant in a [`MINUTE`], at either end.
pub const PER_MINUTE: usize = 10;
/// The time they are counted over.
pub const MINUTE: Duration = Duration::from_secs(60);
/// How long the commune may take to say that it recorded one.
pub const CONFIRM_TIMEOUT: Duration = Duration::from_secs(5);

/// Counts stills of each grant.
#[derive(Debug, Default)]
pub struct Pace {
    taken: BTreeMap<GrantId, VecDeque<Boot>>,
}

impl Pace {
    /// Whether one more may be taken, which counts it.
    pub fn may_take(&mut self, grant: GrantId, now: Boot) -> bool {
        self.forget(now);
        let taken = self.taken.entry(grant).or_default();
        let below = taken.len() < PER_MINUTE;
        if below {
            taken.push_back(now);
        }
        below
    }

    /// Forgets what counts no more: memory is bounded by the live grants.
    fn forget(&mut self, now: Boot) {
        self.taken.retain(|_, taken| {
            taken.retain(|at| now.since(*at) < MINUTE);
            !taken.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_a_minute_for_each_grant() {
        let mut pace = Pace::default();
        let grant = |number| GrantId(uuid::Uuid::from_u128(number));
        let at = |seconds: u64| Boot(Duration::from_secs(1_000 + seconds));
        for second in 0..10 {
            assert!(pace.may_take(grant(1), at(second)));
        }
        assert!(!pace.may_take(grant(1), at(59)));
        assert!(pace.may_take(grant(2), at(59)), "another grant");
        assert!(pace.may_take(grant(1), at(60)), "the first is a minute old");
        assert!(!pace.may_take(grant(1), at(60)));
        pace.forget(at(200));
        assert!(pace.taken.is_empty());
    }
}
