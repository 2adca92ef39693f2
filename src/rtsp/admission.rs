//! Who has a place among the connections. Pure.
//!
//! A connection begins as a *guest*; once a picture was opened on it by right
//! credentials it is a *viewer*. Where there is no place for a new connection, the
//! oldest guest gives its own up: it has asked for nothing yet, or shown nothing that
//! opens a picture. So whatever somebody without credentials opens, a viewer gets in,
//! and a VMS may open as many pictures at once as there are places.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

/// A connection's number.
pub(super) type Id = u64;

/// Places of one address, or of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    guests: usize,
    viewers: usize,
}

impl Count {
    const fn is_full(self, places: usize) -> bool {
        self.guests + self.viewers >= places
    }
}

/// The places.
#[derive(Debug)]
pub(super) struct Admission {
    places: usize,
    places_of_address: usize,
    next: Id,
    all: Count,
    addresses: HashMap<IpAddr, Count>,
    /// By number, so the oldest first.
    guests: BTreeMap<Id, IpAddr>,
    viewers: BTreeMap<Id, IpAddr>,
}

/// A connection that may stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Admitted {
    pub(super) id: Id,
    /// The guest that must go for it; its place is given up already.
    pub(super) displaced: Option<Id>,
}

impl Admission {
    pub(super) fn new(places: usize, places_of_address: usize) -> Self {
        Self {
            places,
            places_of_address,
            next: 0,
            all: Count::default(),
            addresses: HashMap::new(),
            guests: BTreeMap::new(),
            viewers: BTreeMap::new(),
        }
    }

    /// A new connection; `None` where all places are viewers'.
    pub(super) fn admit(&mut self, address: IpAddr) -> Option<Admitted> {
        let of_address = self.addresses.get(&address).copied().unwrap_or_default();
        let displaced = if of_address.is_full(self.places_of_address) {
            let oldest = self.guests.iter().find(|(_, there)| **there == address);
            Some(*oldest?.0)
        } else if self.all.is_full(self.places) {
            Some(self.oldest_of_the_most()?)
        } else {
            None
        };
        if let Some(id) = displaced {
            self.leave(id);
        }
        let id = self.next;
        self.next += 1;
        self.guests.insert(id, address);
        self.all.guests += 1;
        self.addresses.entry(address).or_default().guests += 1;
        Some(Admitted { id, displaced })
    }

    /// The oldest guest of the address that has the most.
    fn oldest_of_the_most(&self) -> Option<Id> {
        let count = |address: &IpAddr| self.addresses.get(address).map_or(0, |count| count.guests);
        let most = self.guests.values().map(count).max()?;
        let oldest = self.guests.iter().find(|(_, there)| count(there) == most);
        oldest.map(|(id, _)| *id)
    }

    /// A guest has opened a picture.
    pub(super) fn view(&mut self, id: Id) {
        let Some(address) = self.guests.remove(&id) else {
            return;
        };
        self.viewers.insert(id, address);
        self.all.guests -= 1;
        self.all.viewers += 1;
        if let Some(count) = self.addresses.get_mut(&address) {
            count.guests -= 1;
            count.viewers += 1;
        }
    }

    /// A connection is over, or gives its place up.
    pub(super) fn leave(&mut self, id: Id) {
        let guest = self.guests.remove(&id);
        let viewer = self.viewers.remove(&id);
        let (guests, viewers) = (usize::from(guest.is_some()), usize::from(viewer.is_some()));
        let Some(address) = guest.or(viewer) else {
            return;
        };
        self.all.guests -= guests;
        self.all.viewers -= viewers;
        if let Some(count) = self.addresses.get_mut(&address) {
            count.guests -= guests;
            count.viewers -= viewers;
            if *count == Count::default() {
                self.addresses.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    #[test]
    fn guests_of_an_address_give_way_to_its_new_connections() {
        let mut admission = Admission::new(100, 4);
        let first = admission.admit(address(1)).unwrap();
        assert_eq!((first.id, first.displaced), (0, None));
        for _ in 0..3 {
            assert_eq!(admission.admit(address(1)).unwrap().displaced, None);
        }
        let fifth = admission.admit(address(1)).unwrap();
        assert_eq!(fifth.displaced, Some(0), "the oldest");
        // Viewers keep their places, up to the last.
        for id in [1, 2, 3, fifth.id] {
            admission.view(id);
        }
        assert_eq!(admission.admit(address(1)), None);
        assert!(admission.admit(address(2)).is_some());
        admission.leave(fifth.id);
        assert!(admission.admit(address(1)).is_some());
    }

    #[test]
    fn the_address_with_the_most_guests_gives_way_to_another() {
        let mut admission = Admission::new(8, 8);
        let one = admission.admit(address(1)).unwrap().id;
        for _ in 0..7 {
            admission.admit(address(2)).unwrap();
        }
        let new = admission.admit(address(3)).unwrap();
        assert_eq!(new.displaced, Some(one + 1), "the oldest of address 2");
        admission.view(new.id);
        let next = admission.admit(address(3)).unwrap();
        assert_eq!(next.displaced, Some(one + 2), "never a viewer");
    }

    proptest! {
        #[test]
        fn counts_are_right_and_bounded(
            steps in prop::collection::vec((0_u8..4, 0_u8..3, 0_u64..60), 0..200)
        ) {
            let mut admission = Admission::new(10, 5);
            for (step, last, id) in steps {
                match step {
                    0 | 1 => {
                        admission.admit(address(last));
                    }
                    2 => admission.view(id),
                    _ => admission.leave(id),
                }
                let (guests, viewers) = (admission.guests.len(), admission.viewers.len());
                prop_assert_eq!(admission.all, Count { guests, viewers });
                prop_assert!(guests + viewers <= 10);
                for last in 0..3 {
                    let of = |map: &BTreeMap<Id, IpAddr>| {
                        map.values().filter(|there| **there == address(last)).count()
                    };
                    let count = Count { guests: of(&admission.guests), viewers: of(&admission.viewers) };
                    let known = admission.addresses.get(&address(last)).copied();
                    prop_assert_eq!(known.unwrap_or_default(), count);
                    prop_assert!(count.guests + count.viewers <= 5);
                }
            }
        }
    }
}
