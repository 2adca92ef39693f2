//! Wrong credentials, counted by address and user, so that guessing is slow and
//! one wrong client harms nobody else at its address. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::clock::Boot;
use crate::connect::place;

/// Wrong credentials that a player's user at an address may send in [`ATTEMPTS_WINDOW`].
pub const ATTEMPTS_LIMIT: u32 = 10;

/// See [`ATTEMPTS_LIMIT`].
pub const ATTEMPTS_WINDOW: Duration = Duration::from_secs(60);

/// Pairs of address and user remembered at once.
const PAIRS_LIMIT: usize = 4_096;

/// Bytes of a user name that tell it from others: a grant's id has 36.
const USER_LIMIT: usize = 64;

/// What was tried, by address (of IPv6: its /64 network) and user.
#[derive(Debug)]
pub struct Attempts {
    limit: u32,
    by_pair: BTreeMap<(IpAddr, String), (Boot, u32)>,
}

impl Attempts {
    /// None tried yet; `limit` is how many wrong ones a user at an address may send in
    /// [`ATTEMPTS_WINDOW`].
    pub const fn new(limit: u32) -> Self {
        Self {
            limit,
            by_pair: BTreeMap::new(),
        }
    }

    /// Notes wrong credentials. Whether it is worth a line in the log: the first
    /// few of an address in a window, whatever the users.
    pub fn failed(&mut self, address: IpAddr, user: &str, now: Boot) -> bool {
        self.count(address, bounded(user), now);
        // A name that no player can send: the address as a whole.
        let of_address = self.count(address, "\n".to_owned(), now);
        (1..=self.limit).contains(&of_address)
    }

    /// Attempts of this pair in its window, this one included; 0 where there is
    /// no room to remember it.
    fn count(&mut self, address: IpAddr, user: String, now: Boot) -> u32 {
        let pair = (place(address), user);
        if self.by_pair.len() >= PAIRS_LIMIT && !self.by_pair.contains_key(&pair) {
            self.by_pair
                .retain(|_, (since, _)| now.since(*since) < ATTEMPTS_WINDOW);
            // Still full: nobody who tries from that many addresses is stopped
            // by this table, and it must not grow.
            if self.by_pair.len() >= PAIRS_LIMIT {
                return 0;
            }
        }
        let entry = self.by_pair.entry(pair).or_insert((now, 0));
        if now.since(entry.0) >= ATTEMPTS_WINDOW {
            *entry = (now, 0);
        }
        entry.1 = entry.1.saturating_add(1);
        entry.1
    }

    /// Whether further wrong credentials of this user at this address are
    /// refused outright (`too_many_attempts`). Right ones never are.
    pub fn is_blocked(&self, address: IpAddr, user: &str, now: Boot) -> bool {
        let entry = self.by_pair.get(&(place(address), bounded(user)));
        entry.is_some_and(|(since, count)| {
            *count >= self.limit && now.since(*since) < ATTEMPTS_WINDOW
        })
    }
}

fn bounded(user: &str) -> String {
    user.chars()
        .filter(|c| !c.is_control())
        .take(USER_LIMIT)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Boot = Boot(Duration::from_secs(100));

    fn later(seconds: u64) -> Boot {
        START.plus(Duration::from_secs(seconds))
    }

    #[test]
    fn guessing_is_slow_for_one_user_of_one_address() {
        let mut attempts = Attempts::new(ATTEMPTS_LIMIT);
        let address = IpAddr::from([10, 0, 0, 1]);
        for _ in 0..ATTEMPTS_LIMIT {
            assert!(!attempts.is_blocked(address, "a", START));
            assert!(attempts.failed(address, "a", START));
        }
        assert!(attempts.is_blocked(address, "a", later(59)));
        assert!(!attempts.is_blocked(address, "a", later(60)));
        assert!(!attempts.is_blocked(address, "b", START));
        let other = IpAddr::from([10, 0, 0, 2]);
        assert!(!attempts.is_blocked(other, "a", START));
        // A host with one IPv6 address has its whole network.
        let v6 = |text: &str| text.parse::<IpAddr>().unwrap();
        for host in 0..ATTEMPTS_LIMIT {
            attempts.failed(v6(&format!("2001:db8::{host}")), "a", START);
        }
        assert!(attempts.is_blocked(v6("2001:db8::99"), "a", START));
        assert!(!attempts.is_blocked(v6("2001:db8:0:1::1"), "a", START));
        // The log was told often enough, by whatever name it goes on.
        assert!(!attempts.failed(address, "b", START));
    }

    #[test]
    fn the_table_is_bounded() {
        let mut attempts = Attempts::new(ATTEMPTS_LIMIT);
        for number in 0..20_000_u32 {
            attempts.failed(IpAddr::from(number.to_be_bytes()), "x", START);
            attempts.failed(IpAddr::from([10, 0, 0, 1]), &number.to_string(), START);
        }
        assert!(attempts.by_pair.len() <= PAIRS_LIMIT);
        attempts.failed(IpAddr::from([192, 0, 2, 1]), &"é".repeat(9_999), later(61));
        assert!(attempts.by_pair.len() <= 2, "what is over makes room");
        assert!(
            attempts
                .by_pair
                .keys()
                .all(|(_, user)| user.len() <= 4 * USER_LIMIT)
        );
    }
}
