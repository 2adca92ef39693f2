//! What the journal held at start: the gate goes on from it.

use std::collections::BTreeMap;

use super::cut::{Block, Scope, Shape};
use super::grant::{Ended, Resuming, Terms};
use super::{Gate, Pending};
use crate::clock::{Boot, Now, Wall};
use crate::format::designation::key_thumbprint;
use crate::format::ids::{CameraId, CentreId, GrantId, ReceiverId, RequestId, Sha256};
use crate::format::jws;
use crate::format::statement::{HEAD_TYPE, HeadClaims, ViewingsClaims};
use crate::journal::entry::{Entry, GrantEntry};
use crate::policy::peer::expiry;
use crate::reason::{Reason, Refusal};

/// A grant as the entries tell it so far.
struct Past {
    entry: GrantEntry,
    confirmed: bool,
    /// The receiver that was asked to take its pictures, until it confirmed.
    asked: Option<Sha256>,
    cut: Option<(Scope, String)>,
    /// Cameras that were cut from it.
    dropped: BTreeMap<CameraId, Refusal>,
    /// What a renewal replaced.
    before: Option<Box<Past>>,
}

impl Past {
    /// A receiver confirmed that its journal holds the grant: one that was asked to take the
    /// pictures has them only from then on.
    fn confirmed_by(&mut self, receiver: Option<&ReceiverId>) {
        self.confirmed = true;
        if let Some(receiver) = receiver
            && self.asked == Some(receiver.key)
        {
            self.entry.receiver = self.asked.take();
        }
    }

    fn cut_by(&mut self, id: GrantId, scope: &Scope, by: &str) {
        let touched = match scope {
            Scope::Grant(grant) => &id == grant,
            Scope::Centre(centre) => &self.entry.centre == centre,
            Scope::All => true,
            Scope::Camera(camera) => {
                let before = self.entry.granted.len();
                self.entry.granted.retain(|granted| granted != camera);
                if self.entry.granted.len() < before {
                    self.dropped.insert(camera.clone(), scope.refusal());
                }
                self.entry.granted.is_empty()
            }
        };
        if touched {
            self.cut = Some((scope.clone(), by.to_owned()));
        }
        if let Some(before) = &mut self.before {
            before.cut_by(id, scope, by);
        }
    }
}

/// What is gathered while reading.
#[derive(Default)]
struct Reading {
    grants: BTreeMap<GrantId, Past>,
    shapes: BTreeMap<GrantId, Shape>,
    /// Requests that waited for approval.
    waits: BTreeMap<RequestId, Entry>,
}

impl Gate {
    /// Takes up the journal's entries, oldest first, before any other input.
    /// `newest` is the newest time in the journal, entries left out included.
    pub fn handle_recovered(
        &mut self,
        entries: &[(u64, Wall, Entry)],
        newest: Option<Wall>,
        now: Now,
    ) {
        self.clock.recover(entries, newest);
        let mut reading = Reading::default();
        for (_, time, entry) in entries {
            self.read_entry(&mut reading, *time, entry, now);
        }
        for wait in reading.waits.into_values() {
            self.end_past_wait(wait, now);
        }
        for (grant, past) in reading.grants {
            self.take_up(grant, past, now);
        }
    }

    fn read_entry(&mut self, reading: &mut Reading, time: Wall, entry: &Entry, now: Now) {
        self.losses.recover(entry);
        match entry {
            Entry::PeerContradiction {
                peer,
                found: Some(found),
                ..
            } => {
                if let Some(receiver) = signer_of(peer, found) {
                    self.witnesses.recover_contradiction(&receiver, found);
                }
            }
            Entry::Grant(entry) => {
                reading.waits.remove(&entry.jti);
                self.used.recover(entry.jti, &entry.request, time, now.wall);
                reading.shapes.insert(entry.grant, shape(entry));
                let mut before = reading.grants.remove(&entry.grant).map(Box::new);
                if let Some(before) = &mut before {
                    before.before = None;
                }
                let past = Past {
                    entry: (**entry).clone(),
                    confirmed: false,
                    asked: None,
                    cut: None,
                    dropped: BTreeMap::new(),
                    before,
                };
                reading.grants.insert(entry.grant, past);
            }
            Entry::Refused {
                jti,
                request,
                voids,
                wait_ended,
                peer,
                refusal,
                ..
            } => {
                self.used.recover(*jti, request, time, now.wall);
                self.mark_written(*jti, now.boot);
                if wait_ended.is_some() {
                    reading.waits.remove(jti);
                    self.read_wait_ended(*jti, peer, refusal, time, now);
                }
                // A renewal that was recorded and refused all the same: the
                // grant is as it was before.
                if let Some(grant) = voids
                    && let Some(past) = reading.grants.get(grant)
                    && past.entry.renewal
                    && past.entry.jti == *jti
                    && let Some(past) = reading.grants.remove(grant)
                    && let Some(before) = past.before
                {
                    reading.grants.insert(*grant, *before);
                }
            }
            Entry::Waiting { jti, request, .. } => {
                self.used.recover(*jti, request, time, now.wall);
                reading.waits.insert(*jti, entry.clone());
            }
            Entry::Confirmed {
                grant,
                centre,
                head,
            } => {
                let receiver = signer_of(centre.as_str(), head);
                if let Some(receiver) = &receiver {
                    self.witnesses.recover(receiver, head);
                }
                let past = reading.grants.get_mut(grant);
                if let Some(past) = past.filter(|past| &past.entry.centre == centre) {
                    past.confirmed_by(receiver.as_ref());
                }
            }
            Entry::PeerHead { peer, head } => {
                if let Some(receiver) = signer_of(peer, head) {
                    self.witnesses.recover(&receiver, head);
                }
            }
            Entry::Ended { grant, reason, .. } => {
                if let Some(past) = reading.grants.remove(grant) {
                    let refusal = Refusal::from(*reason);
                    self.remember_end(*grant, ended(&past.entry, refusal));
                }
            }
            Entry::Viewings {
                grant,
                part,
                parts,
                statement,
                ..
            } => {
                if let Some(ended) = self.ended.get_mut(grant) {
                    let claims = jws::read_unverified::<ViewingsClaims>(statement);
                    let journal = claims.ok().and_then(|claims| claims.journal);
                    let numbers = part.zip(*parts);
                    let numbers = numbers.map(|(part, parts)| (journal, part, parts));
                    ended.viewings.note(numbers);
                }
            }
            Entry::Moved {
                grant, receiver, ..
            } => {
                if let Some(past) = reading.grants.get_mut(grant) {
                    // A move to where they are is one that was given up.
                    let is_home = past.entry.receiver == Some(*receiver);
                    past.asked = (!is_home).then_some(*receiver);
                }
            }
            Entry::Decision { jti, statement, .. } => {
                self.orders.recover(*jti, statement, time, now.wall);
            }
            Entry::Excess { operator, .. } => self.paces.recover(operator, time, now.wall),
            Entry::Cut { scope, until, by } => self.read_cut(reading, scope, until, by, now),
            Entry::Allowed { scope, .. } => match scope.parse() {
                Ok(Scope::All) => self.blocks.clear(),
                Ok(scope) => drop(self.blocks.remove(&scope)),
                Err(_) => {}
            },
            _ => {}
        }
    }

    fn read_cut(&mut self, reading: &mut Reading, scope: &str, until: &str, by: &str, now: Now) {
        let Ok(scope) = scope.parse::<Scope>() else {
            return;
        };
        let shape = match &scope {
            Scope::Grant(grant) => reading.shapes.get(grant).cloned(),
            Scope::Camera(_) | Scope::Centre(_) | Scope::All => None,
        };
        let until = until
            .parse::<jiff::Timestamp>()
            .map_or(now.wall, |time| Wall(time.as_microsecond()));
        if until > now.wall {
            let block = Block {
                until,
                deadline: now.boot.plus(until.since(now.wall)),
                shape,
            };
            self.blocks.insert(scope.clone(), block);
        }
        for (id, past) in &mut reading.grants {
            past.cut_by(*id, &scope, by);
        }
    }

    /// A grant without an end: it goes on once `Resumed` is durable, or ends
    /// with its true cause.
    fn take_up(&mut self, grant: GrantId, past: Past, now: Now) {
        let entry = &past.entry;
        let expires = Wall::from_seconds(entry.expires);
        let left = self.clock.left(expires, now);
        if let Some((scope, by)) = &past.cut {
            let refusal = scope.refusal();
            return self.note_past_end(grant, entry, refusal, Some(by.clone()), now);
        }
        if left.is_zero() {
            let in_force = self.was_in_force(&entry.agreement, expires);
            let refusal = expiry::of_entry(entry, in_force);
            return self.note_past_end(grant, entry, refusal, None, now);
        }
        let verified = match self.verify(&entry.centre, &entry.request, now) {
            Ok(verified) => verified,
            Err(refusal) => {
                let refusal = super::review::changed(refusal);
                return self.note_past_end(grant, entry, refusal, None, now);
            }
        };
        let Some(request) = verified.into_values().next() else {
            return self.note_past_end(grant, entry, Reason::AgreementChanged.into(), None, now);
        };
        let head_held = entry.peer_head.as_ref().and_then(|head| {
            let signed = jws::open::<HeadClaims>(head, HEAD_TYPE).ok()?;
            Some((signed.claims.journal, signed.claims.seq))
        });
        let terms = Terms {
            centre: entry.centre.clone(),
            receiver: ReceiverId {
                centre: entry.centre.clone(),
                // Older versions knew of one: the first to link is it.
                key: entry.receiver.unwrap_or(Sha256::ZERO),
            },
            agreement: entry.agreement.clone(),
            settings: entry.settings,
            granted: entry.granted.clone(),
            dropped: past.dropped,
            refused: entry.refused.clone(),
            first_start: Wall::from_seconds(entry.first_start),
            start: Wall::from_seconds(entry.start),
            expires,
            deadline: Boot(now.boot.0.saturating_add(left)),
            head_held,
            approved_by: entry.approved_by.clone(),
            request,
        };
        match self.review_terms(grant, &terms, false, None, now) {
            Err(refusal) => self.note_past_end(grant, entry, refusal, None, now),
            Ok(standing) => {
                let confirmed = past.confirmed;
                self.resuming.insert(
                    grant,
                    Resuming {
                        terms: terms.clone(),
                        confirmed,
                    },
                );
                self.narrow(grant, &terms, &standing, now);
                if self.resuming.contains_key(&grant) {
                    self.record(Box::new(Entry::Resumed { grant }), Pending::Resumed(grant));
                }
            }
        }
    }

    fn note_past_end(
        &mut self,
        grant: GrantId,
        entry: &GrantEntry,
        refusal: Refusal,
        by: Option<String>,
        now: Now,
    ) {
        self.remember_end(grant, ended(entry, refusal.clone()));
        // While the daemon was down nothing was relayed: it ended at its time.
        let expires = Wall::from_seconds(entry.expires);
        let at = expires.min(now.wall).rfc3339();
        self.owe_entry(
            Entry::Ended {
                grant,
                reason: refusal.reason,
                at,
                by,
            },
            Some(entry.centre.clone()),
        );
    }
}

/// Which receiver of a centre signed a head that the journal holds.
fn signer_of(centre: &str, head: &str) -> Option<ReceiverId> {
    let centre = CentreId::new(centre.to_owned()).ok()?;
    let key = key_thumbprint(jws::chain(head).ok()?.first()?)?;
    Some(ReceiverId { centre, key })
}

fn shape(entry: &GrantEntry) -> Shape {
    Shape {
        centre: entry.centre.clone(),
        incident: entry.incident.clone(),
        operator: entry.operator.number.clone(),
        cameras: entry.granted.clone(),
    }
}

fn ended(entry: &GrantEntry, refusal: Refusal) -> Ended {
    Ended {
        centre: entry.centre.clone(),
        refusal,
        expires: Wall::from_seconds(entry.expires),
        viewings: super::viewings::Taken::default(),
    }
}
