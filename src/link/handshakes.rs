//! How many connections of one transport may be on the way to a link at once, before the
//! peer's certificate is known to be good.
//!
//! One place is held to its share and can keep nobody else out. Over TCP its address is
//! proven; QUIC makes a client prove it where many are under way, in all or of its place,
//! so that nobody takes a share under another's address.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::connect::place;

/// Of all places together.
const LIMIT: usize = 128;
/// Of one place: an IPv4 address, or the /64 around an IPv6 address.
const PLACE_LIMIT: usize = 16;
/// From so many on, in all or of one place, a client must first prove its address.
const UNPROVEN: usize = 32;
const PLACE_UNPROVEN: usize = 4;

/// Counts them. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Handshakes(Arc<Mutex<BTreeMap<IpAddr, usize>>>);

/// One that is under way, until it is dropped.
#[derive(Debug)]
pub(super) struct Handshake {
    all: Handshakes,
    place: IpAddr,
}

impl Handshakes {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<IpAddr, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the next one from this address should first prove that it is its own.
    pub(super) fn needs_proof(&self, address: SocketAddr) -> bool {
        let places = self.lock();
        let of_place = places.get(&place(address.ip())).copied();
        places.values().sum::<usize>() >= UNPROVEN
            || of_place.is_some_and(|count| count >= PLACE_UNPROVEN)
    }

    /// One more from this address, if there may be.
    pub(super) fn admit(&self, address: SocketAddr) -> Option<Handshake> {
        let place = place(address.ip());
        let mut places = self.lock();
        if places.values().sum::<usize>() >= LIMIT {
            return None;
        }
        let count = places.get(&place).copied().unwrap_or(0);
        if count >= PLACE_LIMIT {
            return None;
        }
        places.insert(place, count + 1);
        drop(places);
        Some(Handshake {
            all: self.clone(),
            place,
        })
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        let mut places = self.all.lock();
        if let Some(count) = places.get_mut(&self.place) {
            *count -= 1;
            if *count == 0 {
                places.remove(&self.place);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        SocketAddr::new(text.parse().unwrap(), 1)
    }

    #[test]
    fn a_place_has_its_share_and_all_have_a_limit() {
        let handshakes = Handshakes::default();
        let one = address("10.0.0.1");
        let mut held: Vec<Handshake> = (0..PLACE_LIMIT)
            .map(|_| handshakes.admit(one).unwrap())
            .collect();
        // The same written as IPv6.
        assert!(handshakes.admit(address("::ffff:10.0.0.1")).is_none());
        drop(held.pop());
        held.push(handshakes.admit(one).unwrap());
        let mut other = 0;
        while let Some(more) = handshakes.admit(address(&format!("2001:db8:0:{other}::1"))) {
            held.push(more);
            other += 1;
        }
        assert_eq!(held.len(), LIMIT);
        drop(held);
        assert!(handshakes.lock().is_empty());
    }

    #[test]
    fn a_crowd_and_a_crowded_place_prove_their_addresses() {
        let handshakes = Handshakes::default();
        let (one, other) = (address("10.0.0.1"), address("10.0.0.2"));
        let held: Vec<_> = (0..PLACE_UNPROVEN)
            .map(|_| handshakes.admit(one).unwrap())
            .collect();
        assert!(handshakes.needs_proof(one) && !handshakes.needs_proof(other));
        let more: Vec<_> = (PLACE_UNPROVEN..UNPROVEN)
            .map(|n| handshakes.admit(address(&format!("10.0.1.{n}"))).unwrap())
            .collect();
        assert!(handshakes.needs_proof(other));
        drop((held, more));
        assert!(!handshakes.needs_proof(one));
    }

    #[test]
    fn a_network_of_ipv6_is_one_place() {
        let handshakes = Handshakes::default();
        let held: Vec<_> = (0..PLACE_LIMIT)
            .map(|n| handshakes.admit(address(&format!("2001:db8::{n}"))))
            .collect();
        assert!(held.iter().all(Option::is_some));
        assert!(handshakes.admit(address("2001:db8::ffff:1")).is_none());
        assert!(handshakes.admit(address("2001:db8:0:1::1")).is_some());
    }
}
