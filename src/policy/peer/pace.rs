//! What one operator may cause in a time, so that a greedy one, or a stolen key, can use up
//! neither a judge, nor its journal, nor the others' room. Pure.
//!
//! | what | at once | then | beyond |
//! |---|---|---|---|
//! | requests that verify, renewals too | [`REQUESTS`] | one each [`REQUEST_EVERY`] | `too_many_requests`, counted in one line a minute |
//! | live grants | [`GRANTS`] | | `too_many_relays` |
//! | viewings (the centre) | [`VIEWINGS`] | one each [`VIEWING_EVERY`] | `too_many_requests` |
//! | stills (the centre) | [`STILLS`] | one each [`STILL_EVERY`] | `too_many_requests` |
//!
//! An operator is number, unit and authority. Requests that are only counted are not in the
//! journal, so a restart would forget that they were used. Therefore the first one of a time of
//! excess is written at once ([`Entry::Excess`]), and after a restart that follows such a line
//! closely, requests that this operator signed before the restart are refused: he signs again.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::{Boot, Now, Wall};
use crate::format::designation::Designation;
use crate::format::ids::Sha256;
use crate::format::statement::{FRESH_SECONDS, Operator};
use crate::journal::entry::Entry;
use crate::reason::{Reason, Refusal};

/// Requests at once: a crisis, or a wall of grants that are renewed in the same minute.
pub const REQUESTS: u32 = 120;
/// Then one in this time.
pub const REQUEST_EVERY: Duration = Duration::from_secs(2);
/// Live grants of one operator, of [`crate::policy::desk::GRANT_LIMIT`] in all.
pub const GRANTS: usize = 128;
/// Viewings at once: a wall of 64 pictures that comes back thirty times.
pub const VIEWINGS: u32 = 2_000;
/// Then one in this time.
pub const VIEWING_EVERY: Duration = Duration::from_millis(500);
/// Stills at once, all grants together.
pub const STILLS: u32 = 60;
/// Then one in this time.
pub const STILL_EVERY: Duration = Duration::from_secs(1);
/// A line of counted requests is written this often at most.
const EXCESS_EVERY: Duration = Duration::from_secs(60);
/// Operators remembered; beyond it those who have been quiet the longest go.
const OPERATORS_LIMIT: usize = 4_096;

/// Who: number, unit, authority.
type Key = (String, String, Sha256);

fn key(operator: &Operator, authority: Sha256) -> Key {
    (operator.number.clone(), operator.unit.clone(), authority)
}

/// A token bucket, kept as the moment at which it will be full again.
#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    full: Option<Boot>,
}

impl Bucket {
    /// Takes one of `burst`, of which one comes back in each `every`; else after how long one
    /// will be there.
    fn take(&mut self, burst: u32, every: Duration, now: Boot) -> Result<(), Duration> {
        let full = self.full.map_or(now, |full| full.max(now));
        let missing = full.since(now);
        let room = every * (burst - 1);
        if missing > room {
            return Err(missing - room);
        }
        self.full = Some(full.plus(every));
        Ok(())
    }

    fn is_full(self, now: Boot) -> bool {
        self.full.is_none_or(|full| full <= now)
    }
}

/// What is counted for one operator.
#[derive(Debug)]
struct Account {
    operator: Operator,
    requests: Bucket,
    viewings: Bucket,
    stills: Bucket,
    /// Requests that were counted and are in no line yet, and the last one's peer.
    excess: u64,
    peer: String,
    /// When the next line may be written.
    line_due: Option<Boot>,
}

impl Account {
    fn is_idle(&self, now: Boot) -> bool {
        let buckets = [self.requests, self.viewings, self.stills];
        self.line_due.is_none() && buckets.iter().all(|bucket| bucket.is_full(now))
    }
}

/// All operators' pace at one judge.
#[derive(Debug, Default)]
pub struct Paces {
    accounts: BTreeMap<Key, Account>,
    /// By number and unit: requests signed no later than this may have been counted before a
    /// restart.
    restarted: BTreeMap<(String, String), Wall>,
}

impl Paces {
    fn account(&mut self, who: &Designation, now: Boot) -> &mut Account {
        self.account_of(&who.operator, who.authority, now)
    }

    fn account_of(&mut self, operator: &Operator, authority: Sha256, now: Boot) -> &mut Account {
        let key = key(operator, authority);
        if self.accounts.len() >= OPERATORS_LIMIT && !self.accounts.contains_key(&key) {
            self.make_room(now);
        }
        self.accounts.entry(key).or_insert_with(|| Account {
            operator: operator.clone(),
            requests: Bucket::default(),
            viewings: Bucket::default(),
            stills: Bucket::default(),
            excess: 0,
            peer: String::new(),
            line_due: None,
        })
    }

    fn make_room(&mut self, now: Boot) {
        self.accounts.retain(|_, account| !account.is_idle(now));
        if self.accounts.len() >= OPERATORS_LIMIT {
            let first = self
                .accounts
                .iter()
                .min_by_key(|(_, account)| (account.line_due, account.requests.full));
            if let Some(first) = first.map(|(key, _)| key.clone()) {
                self.accounts.remove(&first);
            }
        }
    }

    /// Counts a request of this operator, signed at `iat` (seconds).
    ///
    /// # Errors
    /// `too_many_requests` with the seconds to wait; `replayed_request` where it may have been
    /// used before a restart. Both belong to [`Paces::excess`].
    pub fn request(&mut self, who: &Designation, iat: i64, now: Now) -> Result<(), Refusal> {
        let Operator { number, unit, .. } = &who.operator;
        let before = self.restarted.get(&(number.clone(), unit.clone()));
        if before.is_some_and(|at| iat <= at.seconds()) {
            let detail = "it was signed before a restart, when this operator's requests were only counted, so it may have been used: sign a new one";
            return Err(Refusal::new(Reason::ReplayedRequest, detail));
        }
        let taken = self
            .account(who, now.boot)
            .requests
            .take(REQUESTS, REQUEST_EVERY, now.boot);
        taken.map_err(|wait| too_many(&who.operator, "requests", REQUESTS, REQUEST_EVERY, wait))
    }

    /// Counts a viewing of this operator, whom this authority designates.
    ///
    /// # Errors
    /// `too_many_requests` with the seconds to wait.
    pub fn viewing(&mut self, who: &Operator, authority: Sha256, now: Now) -> Result<(), Refusal> {
        let account = self.account_of(who, authority, now.boot);
        let taken = account.viewings.take(VIEWINGS, VIEWING_EVERY, now.boot);
        taken.map_err(|wait| too_many(who, "viewings", VIEWINGS, VIEWING_EVERY, wait))
    }

    /// Counts a still of this operator.
    ///
    /// # Errors
    /// `too_many_requests` with the seconds to wait.
    pub fn still(&mut self, who: &Designation, now: Now) -> Result<(), Refusal> {
        let taken = self
            .account(who, now.boot)
            .stills
            .take(STILLS, STILL_EVERY, now.boot);
        taken.map_err(|wait| too_many(&who.operator, "stills", STILLS, STILL_EVERY, wait))
    }

    /// Counts a request that is refused without a line of its own. The line that says so now, if
    /// it is the first in a while.
    pub fn excess(&mut self, who: &Designation, peer: &str, now: Now) -> Option<Entry> {
        let account = self.account(who, now.boot);
        account.excess += 1;
        peer.clone_into(&mut account.peer);
        if account.line_due.is_some() {
            return None;
        }
        account.line_due = Some(now.boot.plus(EXCESS_EVERY));
        Some(line(account))
    }

    /// When [`Paces::lines`] is due.
    pub fn due(&self) -> Option<Boot> {
        let lines = self.accounts.values();
        lines.filter_map(|account| account.line_due).min()
    }

    /// The lines that are due. An operator who has kept his pace for a minute has none more.
    pub fn lines(&mut self, now: Now) -> Vec<Entry> {
        let mut lines = Vec::new();
        for account in self.accounts.values_mut() {
            let due = account.line_due.take_if(|at| *at <= now.boot);
            if due.is_some() && account.excess > 0 {
                account.line_due = Some(now.boot.plus(EXCESS_EVERY));
                lines.push(line(account));
            }
        }
        self.restarted
            .retain(|_, at| now.wall.seconds() <= at.seconds() + 2 * FRESH_SECONDS);
        lines
    }

    /// A line of before this start: a request of the minute that it counts, and of the one
    /// after it, may have been used.
    pub fn recover(&mut self, operator: &Operator, written: Wall, now: Wall) {
        let seconds = EXCESS_EVERY.as_secs().cast_signed() + 2 * FRESH_SECONDS;
        if now.seconds() <= written.seconds() + seconds {
            let key = (operator.number.clone(), operator.unit.clone());
            self.restarted.insert(key, now);
        }
    }
}

fn line(account: &mut Account) -> Entry {
    Entry::Excess {
        peer: account.peer.clone(),
        operator: account.operator.clone(),
        count: std::mem::take(&mut account.excess),
    }
}

fn too_many(
    operator: &Operator,
    what: &str,
    burst: u32,
    every: Duration,
    wait: Duration,
) -> Refusal {
    let seconds = u32::try_from(wait.as_millis().div_ceil(1_000)).unwrap_or(u32::MAX);
    let detail = format!(
        "{} ({}) may cause {burst} {what} at once and then one in {} s: wait {seconds} s",
        operator.name,
        operator.number,
        every.as_secs_f32()
    );
    Refusal::new(Reason::TooManyRequests, detail).after(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> Now {
        Now {
            boot: Boot(Duration::from_millis(milliseconds)),
            wall: Wall::from_seconds(1_000).plus(Duration::from_millis(milliseconds)),
        }
    }

    fn who(number: &str, authority: u8) -> Designation {
        Designation {
            operator: Operator {
                name: "Martin".to_owned(),
                number: number.to_owned(),
                unit: "CORG 13".to_owned(),
            },
            not_after: Wall::from_seconds(10_000),
            fingerprint: Sha256::ZERO,
            authority: Sha256([authority; 32]),
            path: Vec::new(),
        }
    }

    fn counts(entries: &[Entry]) -> Vec<u64> {
        let counts = entries.iter().map(|entry| match entry {
            Entry::Excess { count, .. } => *count,
            other => panic!("{other:?}"),
        });
        counts.collect()
    }

    #[test]
    fn a_burst_then_one_in_a_time_and_each_operator_by_himself() {
        let mut paces = Paces::default();
        let iat = at(0).wall.seconds();
        let mut ask = |who: &Designation, now| paces.request(who, iat, now);
        for n in 0..u64::from(REQUESTS) {
            assert!(ask(&who("4711", 1), at(n)).is_ok());
        }
        let refusal = ask(&who("4711", 1), at(500)).unwrap_err();
        assert_eq!(refusal.reason, Reason::TooManyRequests);
        assert_eq!(refusal.wait, Some(2), "{refusal}");
        assert!(ask(&who("4712", 1), at(500)).is_ok());
        assert!(
            ask(&who("4711", 2), at(500)).is_ok(),
            "of another authority"
        );
        assert!(ask(&who("4711", 1), at(2_000)).is_ok());
        assert!(ask(&who("4711", 1), at(2_001)).is_err());
        // An hour later all of it is there again.
        let later = (0..400).filter(|n| ask(&who("4711", 1), at(3_600_000 + n)).is_ok());
        assert_eq!(later.count(), REQUESTS as usize);
    }

    #[test]
    fn excess_makes_one_line_at_once_and_one_a_minute() {
        let mut paces = Paces::default();
        let mut lines: Vec<Entry> = Vec::new();
        for n in 0..180 {
            let now = at(n * 1_000);
            lines.extend(paces.lines(now));
            if n < 100 {
                lines.extend(paces.excess(&who("4711", 1), "a", now));
            }
        }
        assert_eq!(counts(&lines), [1, 59, 40]);
        assert_eq!(paces.due(), Some(at(180_000).boot));
        assert_eq!((paces.lines(at(180_000)), paces.due()), (Vec::new(), None));
    }

    #[test]
    fn after_a_restart_in_a_time_of_excess_older_requests_are_used() {
        let mut paces = Paces::default();
        let operator = who("4711", 1).operator;
        paces.recover(&operator, at(0).wall, at(60_000).wall);
        let before = at(59_000).wall.seconds();
        let refusal = paces.request(&who("4711", 1), before, at(61_000));
        assert_eq!(refusal.unwrap_err().reason, Reason::ReplayedRequest);
        let fresh = at(61_000).wall.seconds();
        assert!(paces.request(&who("4711", 1), fresh, at(61_000)).is_ok());
        assert!(paces.request(&who("4712", 1), before, at(61_000)).is_ok());
        let mut long_ago = Paces::default();
        long_ago.recover(&operator, at(0).wall, at(600_000).wall);
        assert!(long_ago.restarted.is_empty());
    }

    #[test]
    fn as_many_operators_as_there_are_cost_bounded_memory() {
        let mut paces = Paces::default();
        for number in 0..OPERATORS_LIMIT + 50 {
            let who = who(&number.to_string(), 1);
            let (operator, authority) = (&who.operator, who.authority);
            assert!(paces.viewing(operator, authority, at(0)).is_ok());
            assert!(paces.still(&who, at(0)).is_ok());
        }
        assert_eq!(paces.accounts.len(), OPERATORS_LIMIT);
    }
}
