//! What is told, and how it reads: from a journal entry to a notice's JSON. Pure.

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;

use crate::clock::Wall;
use crate::config::settings::NoticeKind;
use crate::format::ids::{CameraId, CentreId, CommuneId, GrantId, Incident};
use crate::format::jws;
use crate::format::statement::{Operator, REQUEST_TYPE, RequestClaims};
use crate::journal::entry::Entry;
use crate::reason::Reason;

/// Grants that are remembered, so that their ends can be told in full.
const GRANTS: usize = 4_096;

/// Something happened that somebody wants to hear of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Notice {
    /// What.
    #[serde(rename = "type")]
    pub kind: NoticeKind,
    /// When, RFC 3339.
    pub time: String,
    /// The same at each attempt.
    pub id: String,
    /// Of whom and what it tells.
    #[serde(flatten)]
    pub about: About,
    /// The code of a refusal, end or alarm.
    pub reason: Option<Reason>,
}

/// Of whom and what a notice tells, as far as that is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct About {
    /// The centre.
    pub centre: Option<CentreId>,
    /// The commune.
    pub commune: Option<CommuneId>,
    /// The grant.
    pub grant: Option<GrantId>,
    /// The cameras.
    pub cameras: Vec<CameraId>,
    /// Who signed; told where the settings want details.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operator: Option<Operator>,
    /// The intervention; told where the settings want details.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub incident: Option<Incident>,
}

impl About {
    /// What a request asks for.
    pub fn request(claims: &RequestClaims, operator: &Operator) -> Self {
        Self {
            centre: Some(claims.centre.clone()),
            commune: Some(claims.aud.clone()),
            grant: claims.renews,
            cameras: claims.cameras.clone(),
            operator: Some(operator.clone()),
            incident: Some(claims.incident.clone()),
        }
    }
}

impl Notice {
    /// Without what only some may read.
    #[must_use]
    pub fn without_details(mut self) -> Self {
        (self.about.operator, self.about.incident) = (None, None);
        self
    }
}

/// Whose machine it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A commune's gateway.
    Commune(CommuneId),
    /// A centre's receiver.
    Centre(CentreId),
}

impl Owner {
    fn about(&self, peer: Option<&str>) -> About {
        let mut about = About::default();
        match self {
            Self::Commune(own) => {
                about.commune = Some(own.clone());
                about.centre = peer.and_then(|peer| CentreId::new(peer).ok());
            }
            Self::Centre(own) => {
                about.centre = Some(own.clone());
                about.commune = peer.and_then(|peer| CommuneId::new(peer).ok());
            }
        }
        about
    }
}

/// What is told of the journal's entries.
#[derive(Debug)]
pub struct Teller {
    owner: Owner,
    grants: BTreeMap<GrantId, About>,
    order: VecDeque<GrantId>,
}

impl Teller {
    /// Of this machine's journal.
    pub fn new(owner: Owner) -> Self {
        Self {
            owner,
            grants: BTreeMap::new(),
            order: VecDeque::new(),
        }
    }

    /// An entry of before this start: its grant may end now.
    pub fn recover(&mut self, entry: &Entry) {
        if let Entry::Grant(_) = entry {
            self.tell(entry);
        }
    }

    /// What an entry tells; most tell nothing.
    pub fn tell(&mut self, entry: &Entry) -> Option<(NoticeKind, About, Option<Reason>)> {
        Some(match entry {
            Entry::Grant(entry) => {
                let about = About {
                    centre: Some(entry.centre.clone()),
                    commune: Some(entry.commune.clone()),
                    grant: Some(entry.grant),
                    cameras: entry.granted.clone(),
                    operator: Some(entry.operator.clone()),
                    incident: Some(entry.incident.clone()),
                };
                self.remember(entry.grant, about.clone());
                (NoticeKind::Grant, about, None)
            }
            Entry::Ended { grant, reason, .. } => {
                let known = self.grants.remove(grant);
                let about = known.unwrap_or_else(|| About {
                    grant: Some(*grant),
                    ..self.owner.about(None)
                });
                (NoticeKind::End, about, Some(*reason))
            }
            Entry::Refused {
                request,
                operator,
                refusal,
                peer,
                ..
            } => {
                let claims = jws::open::<RequestClaims>(request, REQUEST_TYPE).ok();
                let about = claims.map_or_else(
                    || self.owner.about(Some(peer)),
                    |signed| About::request(&signed.claims, operator),
                );
                (NoticeKind::Refused, about, Some(refusal.reason))
            }
            Entry::Waiting {
                request,
                operator,
                peer,
                ..
            } => {
                let claims = jws::open::<RequestClaims>(request, REQUEST_TYPE).ok();
                let about = claims.map_or_else(
                    || self.owner.about(Some(peer.as_str())),
                    |signed| About::request(&signed.claims, operator),
                );
                (NoticeKind::Waiting, about, Some(Reason::ApprovalPending))
            }
            Entry::PeerContradiction { peer, .. } | Entry::JournalWentBack { peer, .. } => {
                let about = self.owner.about(Some(peer));
                (NoticeKind::Alarm, about, Some(Reason::JournalWentBack))
            }
            // Without a detail it says that the damage was accepted.
            Entry::PeerDamaged { peer, detail, .. } if detail.is_some() => {
                let about = self.owner.about(Some(peer));
                (NoticeKind::Alarm, about, Some(Reason::JournalWentBack))
            }
            // Nothing is ever to be counted there: it is a fault of fanal's own.
            Entry::Attestation(told) if told.ungranted > 0 => {
                let about = self.owner.about(Some(told.centre.as_str()));
                (NoticeKind::Alarm, about, Some(Reason::Internal))
            }
            Entry::Interrupted { .. } => {
                let about = self.owner.about(None);
                (NoticeKind::Alarm, about, Some(Reason::JournalUnavailable))
            }
            _ => return None,
        })
    }

    /// That this machine's own journal lost lines, or is not what a witness saw.
    pub fn own_loss(&self) -> (NoticeKind, About, Option<Reason>) {
        let about = self.owner.about(None);
        (NoticeKind::Alarm, about, Some(Reason::JournalWentBack))
    }

    fn remember(&mut self, grant: GrantId, about: About) {
        if self.grants.insert(grant, about).is_none() {
            self.order.push_back(grant);
        }
        while self.order.len() > GRANTS
            && let Some(oldest) = self.order.pop_front()
        {
            self.grants.remove(&oldest);
        }
    }
}

/// A notice of this moment.
pub fn notice(
    (kind, about, reason): (NoticeKind, About, Option<Reason>),
    id: String,
    now: Wall,
) -> Notice {
    Notice {
        kind,
        time: now.rfc3339(),
        id,
        about,
        reason,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn grant(number: u128) -> serde_json::Value {
        json!({
            "kind": "grant", "grant": uuid::Uuid::from_u128(number), "request": "a.b.c",
            "jti": uuid::Uuid::from_u128(number), "commune": "berre", "centre": "corg-13",
            "operator": { "name": "Anne Martin", "number": "4711", "unit": "CORG 13" },
            "grounds": "assault", "incident": "2026-42", "recipients": ["CORG 13"],
            "granted": ["quai"], "refused": [], "renewal": false,
            "first_start": 1, "start": 1, "expires": 2,
            "agreement": "A", "settings": "00".repeat(32),
        })
    }

    fn entry(json: serde_json::Value) -> Entry {
        serde_json::from_value(json).unwrap()
    }

    fn told(teller: &mut Teller, json: serde_json::Value) -> Option<serde_json::Value> {
        let told = teller.tell(&entry(json))?;
        let notice = notice(told, "n-1".to_owned(), Wall(0));
        Some(serde_json::to_value(notice).unwrap())
    }

    #[test]
    fn a_grant_and_its_end_are_told_in_full_and_details_only_where_wanted() {
        let mut teller = Teller::new(Owner::Commune(CommuneId::new("berre").unwrap()));
        let id = uuid::Uuid::from_u128(1);
        let all = told(&mut teller, grant(1)).unwrap();
        assert_eq!(
            all,
            json!({
                "type": "grant", "time": "1970-01-01T00:00:00.000Z", "id": "n-1",
                "centre": "corg-13", "commune": "berre", "grant": id, "cameras": ["quai"],
                "reason": null, "incident": "2026-42",
                "operator": { "name": "Anne Martin", "number": "4711", "unit": "CORG 13" },
            })
        );
        let bare = teller.tell(&entry(grant(1))).unwrap();
        let bare = notice(bare, "n-1".to_owned(), Wall(0)).without_details();
        let bare = serde_json::to_string(&bare).unwrap();
        for word in [
            "Martin", "4711", "2026-42", "CORG 13", "operator", "incident",
        ] {
            assert!(!bare.contains(word), "{word}: {bare}");
        }
        let ended = json!({ "kind": "ended", "grant": id, "reason": "grant_cut", "at": "x" });
        let end = told(&mut teller, ended.clone()).unwrap();
        assert_eq!(
            (&end["type"], &end["reason"]),
            (&json!("end"), &json!("grant_cut"))
        );
        assert_eq!(
            (&end["cameras"], &end["centre"]),
            (&json!(["quai"]), &json!("corg-13"))
        );
        // Of one that nobody remembers, what is known.
        let end = told(&mut teller, ended).unwrap();
        assert_eq!(
            (&end["cameras"], &end["centre"]),
            (&json!([]), &json!(null))
        );
        assert_eq!(end["commune"], "berre");
    }

    #[test]
    fn alarms_name_the_peer_and_most_entries_tell_nothing() {
        let mut teller = Teller::new(Owner::Centre(CentreId::new("corg-13").unwrap()));
        let back =
            json!({ "kind": "journal_went_back", "peer": "berre", "detail": "d", "head": "h" });
        let alarm = told(&mut teller, back).unwrap();
        assert_eq!(
            (
                &alarm["type"],
                &alarm["reason"],
                &alarm["commune"],
                &alarm["centre"]
            ),
            (
                &json!("alarm"),
                &json!("journal_went_back"),
                &json!("berre"),
                &json!("corg-13")
            )
        );
        assert_eq!(told(&mut teller, json!({ "kind": "stopped" })), None);
    }

    #[test]
    fn bytes_outside_a_grant_are_an_alarm() {
        let mut teller = Teller::new(Owner::Commune(CommuneId::new("berre").unwrap()));
        let attestation = |ungranted: u64| {
            json!({
                "kind": "attestation", "from": "2026-11-18T00:00:00.000Z",
                "to": "2026-11-19T00:00:00.000Z", "centre": "corg-13", "link_sent": 9,
                "control_sent": 1, "media": [], "ungranted": ungranted, "idle_seconds": 0,
                "camera_sessions": [],
            })
        };
        assert_eq!(told(&mut teller, attestation(0)), None);
        let alarm = told(&mut teller, attestation(1)).unwrap();
        assert_eq!(
            (&alarm["type"], &alarm["reason"], &alarm["centre"]),
            (&json!("alarm"), &json!("internal"), &json!("corg-13"))
        );
    }

    #[test]
    fn grants_that_are_remembered_are_bounded() {
        let mut teller = Teller::new(Owner::Centre(CentreId::new("corg-13").unwrap()));
        for number in 0..5_000 {
            teller.recover(&entry(grant(number)));
        }
        assert_eq!((teller.grants.len(), teller.order.len()), (GRANTS, GRANTS));
    }
}
