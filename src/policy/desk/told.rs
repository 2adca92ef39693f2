//! Grants of other receivers that a gateway tells of: what they may cost here.
//!
//! | bound | value | beyond |
//! |---|---|---|
//! | grants of a request that was not forwarded here | one | another id is not believed |
//! | requests remembered of a commune | [`LIMIT`] | its oldest goes |
//! | such grants of a commune that live | [`SHARE`] | no more of them are taken |
//! | those that come here and are written to the journal | [`COMES`] | the gateway tries again, or elsewhere |

use std::collections::BTreeMap;
use std::time::Duration;

use super::Desk;
use crate::clock::{Boot, Now};
use crate::format::ids::{CommuneId, GrantId, RequestId};
use crate::reason::{Reason, Refusal};

/// Requests of one commune that are remembered, some 100 bytes each.
const LIMIT: usize = 1_024;
/// Grants of one commune that other receivers brought: a part of what may live here.
pub(super) const SHARE: usize = 256;
/// Grants of one commune that come here are recorded so often at once, and then with such
/// pauses.
pub(super) const COMES: (u32, Duration) = (64, Duration::from_secs(10));

/// Which grant each request was told to have become.
#[derive(Debug, Default)]
pub(super) struct Told {
    requests: BTreeMap<RequestId, Request>,
}

#[derive(Debug)]
struct Request {
    commune: CommuneId,
    grant: GrantId,
    until: Boot,
}

impl Told {
    /// Whether a request was told to be another grant.
    fn is_other(&self, request: RequestId, grant: GrantId) -> bool {
        let known = self.requests.get(&request);
        known.is_some_and(|known| known.grant != grant)
    }

    /// Remembers which grant a request is, for as long as the request may become one.
    fn note(&mut self, request: RequestId, commune: &CommuneId, grant: GrantId, until: Boot) {
        if self.requests.contains_key(&request) {
            return;
        }
        let of_commune = self.requests.iter();
        let of_commune = of_commune.filter(|(_, known)| &known.commune == commune);
        if of_commune.clone().count() >= LIMIT
            && let Some(oldest) = of_commune.min_by_key(|(_, known)| known.until)
        {
            let oldest = *oldest.0;
            self.requests.remove(&oldest);
        }
        let known = Request {
            commune: commune.clone(),
            grant,
            until,
        };
        self.requests.insert(request, known);
    }

    /// Forgets those that can be granted no more.
    pub(super) fn forget(&mut self, now: Now) {
        self.requests.retain(|_, known| known.until > now.boot);
    }
}

impl Desk {
    /// Forgets what can matter no more.
    pub(super) fn forget(&mut self, now: Now) {
        if self.ended.forget(now) {
            self.version += 1;
        }
        super::request::forget(&mut self.asked, now);
        self.forwarded.forget(now);
    }

    /// Whether a request of another receiver may be this grant, and one more of its commune;
    /// `until`: when it can be granted no more.
    pub(super) fn take_told(
        &mut self,
        commune: &CommuneId,
        request: RequestId,
        grant: GrantId,
        until: Boot,
    ) -> Result<(), Refusal> {
        let mut live = self.grants.iter();
        let is_other = self.forwarded.told.is_other(request, grant)
            || live.any(|(id, held)| *id != grant && held.request.claims().jti == request);
        if is_other {
            let detail = "its request is another grant";
            return Err(Refusal::new(Reason::ProtocolError, detail));
        }
        if !self.grants.contains_key(&grant) {
            // Its own ones it asked for: they are bounded where they are asked.
            let told = self.grants.values().filter(|held| {
                &held.view.commune == commune
                    && !self.forwarded.is_closed(held.request.claims().jti)
            });
            if told.count() >= SHARE {
                let detail = format!("{SHARE} grants of {commune} at other receivers");
                return Err(Refusal::new(Reason::TooManyRelays, detail));
            }
        }
        self.forwarded.told.note(request, commune, grant, until);
        Ok(())
    }

    /// Whether a grant of this commune that comes here may be written now.
    pub(super) fn may_come(&mut self, commune: &CommuneId, grant: GrantId, now: Now) -> bool {
        let peer = self.communes.get_mut(commune);
        let may = peer.is_some_and(|peer| peer.comes.take(1, now.boot.0));
        if !may {
            tracing::warn!(%commune, %grant, "too many grants of the commune come here at once");
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: usize) -> RequestId {
        RequestId(uuid::Uuid::from_u128(n as u128))
    }

    #[test]
    fn one_commune_fills_only_its_own_share_and_the_oldest_goes() {
        let (a, b) = (CommuneId::new("a").unwrap(), CommuneId::new("b").unwrap());
        let (one, two) = (
            GrantId(uuid::Uuid::from_u128(1)),
            GrantId(uuid::Uuid::from_u128(2)),
        );
        let at = |seconds: usize| Boot(Duration::from_secs(seconds as u64));
        let mut told = Told::default();
        told.note(id(1_000_000), &b, one, at(1));
        for n in 0..LIMIT + 1 {
            told.note(id(n), &a, one, at(10 + n));
        }
        assert_eq!(told.requests.len(), LIMIT + 1);
        assert!(told.is_other(id(1_000_000), two) && !told.is_other(id(1), one));
        assert!(!told.is_other(id(0), two) && told.is_other(id(1), two));
        // Told again, it stays what it was.
        told.note(id(1), &a, two, at(9_999));
        assert!(told.is_other(id(1), two));
        told.forget(Now {
            boot: at(11),
            wall: crate::clock::Wall(0),
        });
        assert_eq!(told.requests.len(), LIMIT - 1);
    }
}
