//! How many TCP connections may be on the way to a link at once, before the
//! peer's certificate is known to be good.
//!
//! QUIC makes a client prove its address first under pressure; over TCP the
//! address is proven, so one place is held to its share and can keep nobody
//! else out.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Of all places together.
const LIMIT: usize = 128;
/// Of one place: an IPv4 address, or the /64 around an IPv6 address.
const PLACE_LIMIT: usize = 16;

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

    /// One more from this address, if there may be.
    pub(super) fn admit(&self, address: SocketAddr) -> Option<Handshake> {
        let place = place(address.ip());
        let mut places = self.lock();
        if places.values().sum::<usize>() >= LIMIT {
            return None;
        }
        let count = places.entry(place).or_default();
        if *count >= PLACE_LIMIT {
            return None;
        }
        *count += 1;
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

/// What one attacker has at no cost: an address, or the network around it.
fn place(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.into(),
        IpAddr::V6(v6) => {
            let network = v6.to_bits() & !u128::from(u64::MAX);
            Ipv6Addr::from_bits(network).into()
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
