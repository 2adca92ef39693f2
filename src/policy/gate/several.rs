//! Several receivers of one centre: which of them has a grant's pictures, and how those move.
//!
//! | what | where it is |
//! |---|---|
//! | the grant | here, once, of the centre; every linked receiver is told of it ([`ToReceiver::Grant`]) |
//! | which receiver has its pictures | `Terms::receiver`, in the journal with the grant (`grant`, `moved`) |
//! | a relay | one for each receiver and camera; grants whose pictures go there share it |
//! | whether a receiver is lost | its link: down, or silent while another one's is not |
//!
//! A receiver that is lost for [`LOST_AFTER`] loses its grants' pictures to another one, of those
//! that can take them the one with the fewest grants. First the gateway's journal holds the
//! move, then the other receiver is asked, and once it has confirmed that its own journal holds the grant,
//! the relay goes there: under the same grant, URL and password. One that does not confirm
//! within [`MOVE_TIMEOUT`] is passed over, and each try is followed by a longer pause. Where every link is silent the path of the commune
//! itself is cut, and nothing moves.
//!
//! A centre with one address has one receiver: whatever key that shows, it is the one.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Command, Gate, Pending};
use crate::allowance::Allowance;
use crate::clock::{Boot, Now};
use crate::format::control::{GrantTold, SEVERAL_RECEIVERS, ToReceiver};
use crate::format::ids::{CameraId, CentreId, GrantId, ReceiverId};
use crate::format::jws;
use crate::format::statement::HeadClaims;
use crate::journal::Receipt;
use crate::journal::entry::Entry;
use crate::media::relay::RelayId;
use crate::reason::Reason;
use crate::secret::Secret;

/// How long a receiver is down or silent before its grants' pictures go to another one.
pub const LOST_AFTER: Duration = Duration::from_secs(2);
/// A receiver that was not heard for so long, now or within [`HEARD_FOR`], takes none: where the
/// commune's own line is cut all are silent, but not from the same moment on, nor to the same.
const HEARD_WITHIN: Duration = Duration::from_secs(1);
/// How long it must have been heard.
const HEARD_FOR: Duration = Duration::from_secs(1);
/// How long a receiver that is to take them may take to confirm.
const MOVE_TIMEOUT: Duration = Duration::from_secs(2);
/// The pause between two tries to move a grant's pictures doubles with each, so often at most:
/// each try is a line in the journal.
const DOUBLINGS: u32 = 5;
/// Receivers of one centre that are remembered, links that are up apart.
const REMEMBERED: usize = 64;

/// A grant's password is told to the other receivers so often at once when it changes, and then
/// with such pauses: each time costs as much as telling the grant.
const PASSWORDS: (u32, Duration) = (16, Duration::from_secs(60));

/// How often the others are told of a grant's password.
pub(super) const fn passwords() -> Allowance {
    Allowance::every(PASSWORDS.0, PASSWORDS.1)
}

/// What is known of receivers beside their links.
#[derive(Debug, Default)]
pub(super) struct Several {
    /// Since when those that have pictures are not linked.
    lost: BTreeMap<ReceiverId, Boot>,
    /// Numbers that a receiver was told for relays that have not begun.
    pub(super) reserved: BTreeMap<(ReceiverId, CameraId), RelayId>,
    /// Why journals do not verify, as their receivers say.
    damaged: BTreeMap<ReceiverId, String>,
}

impl Several {
    pub(super) fn linked(&mut self, receiver: &ReceiverId) {
        self.lost.remove(receiver);
    }

    pub(super) fn lost(&mut self, receiver: &ReceiverId, now: Now) {
        self.lost.entry(receiver.clone()).or_insert(now.boot);
        self.reserved.retain(|(of, _), _| of != receiver);
    }

    /// A receiver says whether its journal verifies; why one of the centre's does not, if so.
    pub(super) fn damaged(&mut self, from: &ReceiverId, told: Option<&str>) -> Option<String> {
        match told {
            Some(told) if self.damaged.len() < REMEMBERED => {
                self.damaged.insert(from.clone(), told.to_owned());
            }
            Some(_) => {}
            None => drop(self.damaged.remove(from)),
        }
        let mut of_centre = self.damaged.iter();
        let other = of_centre.find(|(of, _)| of.centre == from.centre);
        told.map(str::to_owned)
            .or_else(|| other.map(|(_, cause)| cause.clone()))
    }
}

/// A grant's pictures are on their way to another receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Moving {
    to: ReceiverId,
    /// When another one is tried.
    until: Boot,
    /// The own journal holds it, and the receiver was asked.
    is_asked: bool,
}

impl Moving {
    /// Whether this receiver's confirmation is waited for.
    pub(super) fn awaits(&self, from: &ReceiverId) -> bool {
        self.is_asked && &self.to == from
    }
}

/// What was tried since a grant's receiver was lost.
#[derive(Clone, Debug, Default)]
pub(super) struct Tries {
    count: u32,
    /// When another one may begin.
    next: Option<Boot>,
    /// The receiver that did not confirm last.
    failed: Option<ReceiverId>,
}

impl Tries {
    fn may_try(&self, now: Now) -> bool {
        self.next.is_none_or(|next| next <= now.boot)
    }

    /// One begins.
    fn begin(&mut self, now: Now) {
        let pause = MOVE_TIMEOUT * (1 << self.count.min(DOUBLINGS));
        self.next = Some(now.boot.plus(pause));
        self.count = self.count.saturating_add(1);
    }
}

impl Gate {
    /// Whether a centre has one receiver: the one that is linked, whatever its key.
    pub(super) fn is_lone(&self, centre: &CentreId) -> bool {
        let agreements = self.rules.settings.agreements.iter();
        let of_centre = agreements.filter(|agreement| &agreement.centre == centre);
        let mut addresses = of_centre.flat_map(|agreement| &agreement.addresses);
        let first = addresses.next();
        addresses.all(|address| Some(address) == first)
    }

    /// The receivers of a centre whose links are up.
    pub(super) fn linked_of(&self, centre: &CentreId) -> Vec<ReceiverId> {
        let linked = self.links.keys();
        linked.filter(|of| &of.centre == centre).cloned().collect()
    }

    /// Sends a message to a receiver that is linked.
    pub(super) fn send(&mut self, receiver: &ReceiverId, message: ToReceiver) {
        if self.links.contains_key(receiver) {
            self.commands.push_back(Command::Send {
                receiver: receiver.clone(),
                message: Box::new(message),
            });
        }
    }

    /// A number that no relay of this process has had.
    pub(super) fn new_relay(&mut self) -> RelayId {
        let id = RelayId(self.next_relay);
        self.next_relay = self.next_relay.wrapping_add(1);
        id
    }

    /// Tells the centre's receivers how a grant's relays are.
    pub(super) fn tell_states(&mut self, grant: GrantId) {
        let relays = self.relays.iter();
        let of_grant = relays.filter(|(_, relay)| relay.grants.contains(&grant));
        let states: Vec<(CentreId, ToReceiver)> = of_grant
            .map(|((to, camera), relay)| (to.centre.clone(), relay.message(camera)))
            .collect();
        for (centre, message) in states {
            self.send_all(&centre, message);
        }
    }

    /// Sends a message to every linked receiver of a centre.
    pub(super) fn send_all(&mut self, centre: &CentreId, message: ToReceiver) {
        for receiver in self.linked_of(centre) {
            self.send(&receiver, message.clone());
        }
    }

    /// The only receiver of its centre is linked, maybe under a new key: all that was the
    /// former's is its own.
    pub(super) fn is_the_one(&mut self, receiver: &ReceiverId) {
        let held = self.witnesses.held();
        let of_centre = held.filter(|(of, _)| of.centre == receiver.centre);
        let newest = of_centre.max_by_key(|(_, head)| head.iat);
        if let Some(former) = newest.map(|(of, _)| of.clone()) {
            self.witnesses.rename(&former, receiver);
        }
        let stale = |of: &ReceiverId| of.centre == receiver.centre && of != receiver;
        self.several.damaged.retain(|of, _| !stale(of));
        self.peers.retain(|of, _| !stale(of));
        for held in self.resuming.values_mut() {
            if stale(&held.terms.receiver) {
                held.terms.receiver.clone_from(receiver);
            }
        }
        let elsewhere = self.grants.iter();
        let elsewhere: Vec<GrantId> = elsewhere
            .filter(|(_, live)| stale(&live.terms.receiver))
            .map(|(id, _)| *id)
            .collect();
        for grant in elsewhere {
            self.move_to(grant, receiver);
        }
    }

    /// A receiver whose key is new is known again by its journal.
    pub(super) fn know_again(&mut self, from: &ReceiverId, head: &str) {
        if self.witnesses.head(from).is_some() {
            return;
        }
        let Ok(claims) = jws::read_unverified::<HeadClaims>(head) else {
            return;
        };
        let former = self.witnesses.held().find(|(of, held)| {
            of.centre == from.centre
                && held.journal == claims.journal
                && !self.links.contains_key(*of)
        });
        if let Some(former) = former.map(|(of, _)| of.clone()) {
            tracing::info!(%former, receiver = %from, "a receiver has a new key");
            self.witnesses.rename(&former, from);
            self.peers.remove(&former);
        }
    }

    /// How long answers of a receiver's link are overdue.
    pub fn handle_silence(&mut self, receiver: &ReceiverId, silent_for: Duration, now: Now) {
        if let Some(up) = self.links.get_mut(receiver) {
            up.silent_for = silent_for;
            if silent_for >= HEARD_WITHIN {
                up.doubted = Some(now.boot);
            }
        }
    }

    /// Whether grants of a centre live: a link to it that carries none of their pictures must
    /// tell whether it is heard, too.
    pub fn has_grants_of(&self, centre: &CentreId) -> bool {
        let mut live = self.grants.values();
        live.any(|live| &live.terms.centre == centre)
    }

    /// Whether a receiver is lost: since when its link is down, or how long it is silent.
    fn is_lost(&mut self, receiver: &ReceiverId, now: Now) -> bool {
        match self.links.get(receiver) {
            Some(up) => up.silent_for >= LOST_AFTER,
            None => {
                let since = self.several.lost.entry(receiver.clone());
                now.boot.since(*since.or_insert(now.boot)) >= LOST_AFTER
            }
        }
    }

    /// Who could take the pictures of a grant: linked, heard, and of a version that knows of
    /// others beside it; of several the one with the fewest grants.
    fn successor(&self, of: &ReceiverId, but: Option<&ReceiverId>, now: Now) -> Option<ReceiverId> {
        let able = self.links.iter().filter(|(receiver, up)| {
            receiver.centre == of.centre
                && *receiver != of
                && up.silent_for < HEARD_WITHIN
                && up.doubted.is_none_or(|at| now.boot.since(at) >= HEARD_FOR)
                && up.minor.is_some_and(|minor| minor >= SEVERAL_RECEIVERS)
        });
        let busy = |receiver: &ReceiverId| {
            let grants = self.grants.values().filter(|live| {
                let to = live
                    .moving
                    .as_ref()
                    .map_or(&live.terms.receiver, |one| &one.to);
                to == receiver
            });
            grants.count()
        };
        // The one that did not answer comes last.
        let able = able.map(|(receiver, _)| receiver);
        able.min_by_key(|receiver| (but == Some(*receiver), busy(receiver)))
            .cloned()
    }

    /// Moves the pictures of grants whose receiver is lost.
    pub(super) fn move_on(&mut self, now: Now) {
        if self.stopping || self.links.is_empty() || self.ledger.is_blocked() {
            return;
        }
        let homes: Vec<(GrantId, ReceiverId, Option<Moving>)> = self
            .grants
            .iter()
            .map(|(id, live)| (*id, live.terms.receiver.clone(), live.moving.clone()))
            .collect();
        let mut lost: BTreeMap<ReceiverId, bool> = BTreeMap::new();
        for (grant, home, moving) in homes {
            let is_lost = match lost.get(&home) {
                Some(known) => *known,
                None => {
                    let is_lost = self.is_lost(&home, now);
                    lost.insert(home.clone(), is_lost);
                    is_lost
                }
            };
            match moving {
                Some(moving) if moving.until > now.boot => continue,
                Some(moving) => self.give_up_move(grant, &moving, is_lost),
                None => {}
            }
            let Some(live) = self.grants.get_mut(&grant) else {
                continue;
            };
            if !is_lost {
                live.tries = Tries::default();
                continue;
            }
            if !live.tries.may_try(now) {
                continue;
            }
            let failed = live.tries.failed.clone();
            if let Some(to) = self.successor(&home, failed.as_ref(), now) {
                self.begin_move(grant, to, now);
            }
        }
        let homes = self.grants.values().map(|live| &live.terms.receiver);
        let homes: Vec<ReceiverId> = homes.cloned().collect();
        self.several.lost.retain(|of, _| homes.contains(of));
    }

    fn begin_move(&mut self, grant: GrantId, to: ReceiverId, now: Now) {
        let Some(live) = self.grants.get_mut(&grant) else {
            return;
        };
        tracing::warn!(%grant, from = %live.terms.receiver, %to, "the receiver is lost: its pictures go to another one");
        live.moving = Some(Moving {
            to: to.clone(),
            until: now.boot.plus(MOVE_TIMEOUT),
            is_asked: false,
        });
        live.tries.begin(now);
        let entry = Entry::Moved {
            grant,
            centre: to.centre.clone(),
            receiver: to.key,
        };
        self.record(Box::new(entry), Pending::Moved(grant, to));
    }

    /// The journal's answer to a move: the other receiver is asked.
    pub(super) fn move_recorded(
        &mut self,
        grant: GrantId,
        to: &ReceiverId,
        result: Result<Receipt, String>,
        now: Now,
    ) {
        if let Err(cause) = &result {
            tracing::error!(%cause, %grant, "a move to another receiver could not be recorded");
            self.ledger.retry_soon(now);
        }
        let live = self.grants.get_mut(&grant);
        let moving = live.and_then(|live| live.moving.as_mut().filter(|moving| &moving.to == to));
        let Some(moving) = moving else {
            return;
        };
        moving.is_asked = result.is_ok();
        if result.is_err() || !self.links.contains_key(to) {
            moving.until = now.boot;
            return;
        }
        moving.until = now.boot.plus(MOVE_TIMEOUT);
        self.tell_grant(grant, to);
    }

    /// The receiver that was asked did not confirm.
    fn give_up_move(&mut self, grant: GrantId, moving: &Moving, is_lost: bool) {
        let Some(live) = self.grants.get_mut(&grant) else {
            return;
        };
        live.moving = None;
        live.tries.failed = Some(moving.to.clone());
        let home = live.terms.receiver.clone();
        let is_pending = self.grants.values().any(|live| live.moving.is_some());
        if !is_pending {
            self.several.reserved.clear();
        }
        tracing::warn!(%grant, to = %moving.to, "the other receiver did not confirm that it recorded the grant");
        if !is_lost {
            // The first one is back, and has the pictures as before.
            self.owe_entry(
                Entry::Moved {
                    grant,
                    centre: home.centre.clone(),
                    receiver: home.key,
                },
                None,
            );
            self.tell_grant(grant, &moving.to);
        }
    }

    /// A grant's pictures go to this receiver from now on: both journals hold it.
    pub(super) fn move_to(&mut self, grant: GrantId, to: &ReceiverId) {
        let Some(live) = self.grants.get_mut(&grant) else {
            return;
        };
        live.moving = None;
        live.tries = Tries::default();
        let from = std::mem::replace(&mut live.terms.receiver, to.clone());
        let cameras = live.terms.granted.clone();
        if &from == to {
            return;
        }
        // The camera stays open: it is let go behind.
        for camera in &cameras {
            self.join(grant, camera);
        }
        for camera in &cameras {
            self.detach(grant, &from, camera, Reason::OtherReceiver);
        }
    }

    /// Tells the receivers that do not have a grant's pictures of it.
    pub(super) fn tell_others(&mut self, grant: GrantId) {
        let Some(live) = self.grants.get(&grant) else {
            return;
        };
        let home = live.terms.receiver.clone();
        let moving = live.moving.as_ref().map(|moving| moving.to.clone());
        for receiver in self.linked_of(&home.centre) {
            if receiver != home && Some(&receiver) != moving.as_ref() {
                self.tell_grant(grant, &receiver);
            }
        }
    }

    /// Tells one receiver of a grant whose pictures go elsewhere, or are to come to it.
    pub(super) fn tell_grant(&mut self, grant: GrantId, receiver: &ReceiverId) {
        let Some(live) = self.grants.get(&grant) else {
            return;
        };
        let here = live
            .moving
            .as_ref()
            .is_some_and(|moving| moving.awaits(receiver));
        let terms = &live.terms;
        let (home, granted) = (terms.receiver.clone(), terms.granted.clone());
        let agreement = terms.agreement.clone();
        let told = GrantTold {
            request: terms.request.text().to_owned(),
            proof: live.proof.clone(),
            relays: BTreeMap::new(),
            receiver: if here { receiver.key } else { home.key },
            here,
            first_start: terms.first_start.seconds(),
            password: live.password.clone(),
        };
        let relays = if here {
            let numbers = granted.into_iter().map(|camera| {
                let key = (receiver.clone(), camera.clone());
                let running = self.relays.get(&key).map(|relay| relay.id);
                let id = running.or_else(|| self.several.reserved.get(&key).copied());
                let id = id.unwrap_or_else(|| {
                    let id = self.new_relay();
                    self.several.reserved.insert(key, id);
                    id
                });
                (camera, id)
            });
            numbers.collect()
        } else {
            self.relays_of(grant)
        };
        let told = GrantTold { relays, ..told };
        self.send(receiver, ToReceiver::GrantAgreement { grant, agreement });
        self.send(receiver, ToReceiver::Grant(Box::new(told)));
    }

    /// The RTSP password of a grant, for the centre's other receivers.
    pub(super) fn handle_password(
        &mut self,
        from: &ReceiverId,
        grant: GrantId,
        told: Secret,
        now: Now,
    ) {
        let Some(live) = self.grants.get_mut(&grant) else {
            return;
        };
        let is_its_own = &live.terms.receiver == from
            || live
                .moving
                .as_ref()
                .is_some_and(|moving| moving.awaits(from));
        if !is_its_own || live.password.as_ref() == Some(&told) {
            return;
        }
        live.password = Some(told);
        // Else the confirmation that follows tells of both. One that changes too often is kept
        // all the same: the receiver that is told of the grant next must not bring a former one back.
        if live.confirmation.is_none()
            && live.moving.is_none()
            && live.passwords.take(1, now.boot.0)
        {
            self.tell_others(grant);
        }
    }
}
