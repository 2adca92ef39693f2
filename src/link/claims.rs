//! Which address has the link to a receiver: two addresses of one machine must not each have
//! one, for the receiver would end the older link with each new one.
//!
//! A receiver is known by the key of its certificate as soon as the handshake is done, before
//! it learns that anybody wants a link. The first address that reaches it claims it; another
//! address that reaches the same waits as its alternative, until the link is lost or has been
//! silent for long.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;

use crate::format::ids::{CentreId, ReceiverId, Sha256};

/// An address of a centre, as the settings name it.
pub(super) type Place = (CentreId, String);

/// All claims. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Claims(Arc<watch::Sender<BTreeMap<ReceiverId, Claim>>>);

/// Changes of claims.
#[derive(Debug)]
pub(super) struct Changes(watch::Receiver<BTreeMap<ReceiverId, Claim>>);

impl Changes {
    /// Waits for the next one.
    pub(super) async fn next(&mut self) {
        // An error: the dialler is gone, and so is who waits.
        let _ = self.0.changed().await;
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Claim {
    address: String,
    /// Another address may take it over: nothing has been heard for long.
    is_open: bool,
}

impl Claims {
    /// Claims a receiver for an address.
    ///
    /// # Errors
    /// Another address has it; names that one.
    pub(super) fn claim(&self, place: &Place, key: Sha256) -> Result<(), String> {
        let (centre, address) = place;
        let receiver = ReceiverId {
            centre: centre.clone(),
            key,
        };
        let mut result = Ok(());
        self.0
            .send_if_modified(|claims| match claims.get(&receiver) {
                Some(known) if &known.address != address && !known.is_open => {
                    result = Err(known.address.clone());
                    false
                }
                Some(known) if &known.address == address => false,
                _ => {
                    let claim = Claim {
                        address: address.clone(),
                        is_open: false,
                    };
                    claims.insert(receiver.clone(), claim);
                    true
                }
            });
        result
    }

    /// The link of an address is lost, or never came about: others may have its receiver.
    pub(super) fn release(&self, place: &Place) {
        self.keep(place, None);
    }

    /// Whether other addresses may take over what this one has.
    pub(super) fn open(&self, (centre, address): &Place, is_open: bool) {
        self.0.send_if_modified(|claims| {
            let own = claims
                .iter_mut()
                .filter(|(of, claim)| &of.centre == centre && &claim.address == address);
            let mut is_changed = false;
            for (_, claim) in own {
                is_changed |= std::mem::replace(&mut claim.is_open, is_open) != is_open;
            }
            is_changed
        });
    }

    /// Of all that an address has claimed while it was dialled, it keeps this receiver alone.
    pub(super) fn keep(&self, (centre, address): &Place, key: Option<Sha256>) {
        self.0.send_if_modified(|claims| {
            let before = claims.len();
            claims.retain(|of, claim| {
                let own = &of.centre == centre && &claim.address == address;
                !own || Some(of.key) == key
            });
            claims.len() < before
        });
    }

    /// Told of each change from now on.
    pub(super) fn listen(&self) -> Changes {
        Changes(self.0.subscribe())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_has_a_receiver_until_it_lets_it_go_or_hears_nothing() {
        let claims = Claims::default();
        let place =
            |centre: &str, address: &str| (CentreId::new(centre).unwrap(), address.to_owned());
        let (one, other) = (place("corg-13", "a:1"), place("corg-13", "b:1"));
        let (first, second) = (Sha256([1; 32]), Sha256([2; 32]));
        assert_eq!(claims.claim(&one, first), Ok(()));
        assert_eq!(claims.claim(&one, first), Ok(()), "its own, again");
        assert_eq!(claims.claim(&other, first), Err("a:1".to_owned()));
        assert_eq!(claims.claim(&other, second), Ok(()), "another receiver");
        let far = place("corg-84", "b:1");
        assert_eq!(claims.claim(&far, first), Ok(()), "another centre's");
        claims.open(&one, true);
        claims.open(&one, false);
        assert!(claims.claim(&other, first).is_err(), "heard again");
        claims.open(&one, true);
        assert_eq!(claims.claim(&other, first), Ok(()));
        assert_eq!(claims.claim(&one, first), Err("b:1".to_owned()));
        claims.release(&other);
        assert_eq!(claims.claim(&one, first), Ok(()));
        assert_eq!(claims.claim(&one, second), Ok(()));
        assert!(claims.claim(&place("corg-84", "c:1"), first).is_err());
        claims.keep(&one, Some(first));
        assert_eq!(claims.claim(&other, second), Ok(()), "the name led to two");
        assert!(claims.claim(&other, first).is_err());
    }
}
