//! Live grants and their relays: how they begin, narrow and end.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{CONFIRM_TIMEOUT, Command, Gate, Permit};
use crate::allowance::Allowance;
use crate::clock::{Boot, Now, Wall};
use crate::format::cause::Cause;
use crate::format::control::{RelayState, ToReceiver};
use crate::format::designation::Verified;
use crate::format::ids::{CameraId, CentreId, GrantId, ProfileWish, ReceiverId, Sha256};
use crate::format::statement::{RefusedCamera, RequestClaims};
use crate::format::text;
use crate::journal::Receipt;
use crate::journal::entry::Entry;
use crate::media::relay::{Profile, RelayId};
use crate::reason::{Mark, Reason, Refusal};
use crate::secret::Secret;

/// Most ended grants remembered.
const ENDED_LIMIT: usize = 4_096;

/// What was granted, as recorded.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    pub(super) centre: CentreId,
    /// Which of the centre's receivers has its pictures.
    pub(super) receiver: ReceiverId,
    /// The agreement's reference.
    pub(super) agreement: String,
    pub(super) settings: Sha256,
    pub(super) granted: Vec<CameraId>,
    /// Cameras that were taken from it, and why: a centre that was away is told.
    pub(super) dropped: BTreeMap<CameraId, Refusal>,
    /// What the newest request named besides, for the proof.
    pub(super) refused: Vec<RefusedCamera>,
    pub(super) first_start: Wall,
    pub(super) start: Wall,
    pub(super) expires: Wall,
    pub(super) deadline: Boot,
    /// Journal and number of the newest head held of the centre when it was
    /// recorded: a head that confirms must be newer.
    pub(super) head_held: Option<(String, u64)>,
    /// Who approved it, where the agreement wants that.
    pub(super) approved_by: Option<String>,
    pub(super) request: Verified<RequestClaims>,
}

impl Terms {
    pub(super) fn claims(&self) -> &RequestClaims {
        self.request.claims()
    }

    /// Time left by both clocks.
    pub(super) fn left(&self, now: Now) -> Duration {
        self.expires
            .since(now.wall)
            .min(self.deadline.since(now.boot))
    }
}

/// A recorded grant.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) terms: Terms,
    pub(super) proof: String,
    pub(super) receipt: Receipt,
    /// The move of its pictures to another receiver that is under way.
    pub(super) moving: Option<super::several::Moving>,
    pub(super) tries: super::several::Tries,
    /// Its RTSP password, once the receiver that has its pictures has told it.
    pub(super) password: Option<Secret>,
    /// How often the other receivers may still be told of another one.
    pub(super) passwords: Allowance,
    /// `None` once the centre has confirmed.
    pub(super) confirmation: Option<Confirmation>,
}

/// The wait for the centre's head; it runs while the link is up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Confirmation {
    left: Duration,
    since: Option<Boot>,
}

impl Confirmation {
    fn new(linked: bool, now: Now) -> Self {
        Self {
            left: CONFIRM_TIMEOUT,
            since: linked.then_some(now.boot),
        }
    }

    pub(super) fn link_up(&mut self, now: Now) {
        self.since.get_or_insert(now.boot);
    }

    pub(super) fn link_down(&mut self, now: Now) {
        if let Some(since) = self.since.take() {
            self.left = self.left.saturating_sub(now.boot.since(since));
        }
    }

    fn due(&self) -> Option<Boot> {
        self.since.map(|since| since.plus(self.left))
    }
}

impl Live {
    /// When it ends by itself if nothing happens.
    pub(super) fn due(&self) -> Boot {
        let unconfirmed = self.confirmation.and_then(|wait| wait.due());
        unconfirmed.map_or(self.terms.deadline, |at| at.min(self.terms.deadline))
    }
}

/// A grant of before the restart whose `Resumed` line is not durable yet.
#[derive(Debug)]
pub(super) struct Resuming {
    pub(super) terms: Terms,
    pub(super) confirmed: bool,
}

/// A grant that is over.
#[derive(Clone, Debug)]
pub(super) struct Ended {
    pub(super) centre: CentreId,
    pub(super) refusal: Refusal,
    pub(super) expires: Wall,
    /// What came of the list of who watched.
    pub(super) viewings: super::viewings::Taken,
}

/// One camera on its way to one receiver, shared by grants.
#[derive(Debug)]
pub(super) struct Relay {
    pub(super) id: RelayId,
    pub(super) profile: Profile,
    /// Why it carries that one; `None` until it was decided.
    pub(super) cause: Option<Cause>,
    /// What its grants want, as the driver knows it.
    pub(super) wish: ProfileWish,
    pub(super) grants: BTreeSet<GrantId>,
    /// The first of them, as the driver knows it.
    counts_for: GrantId,
    /// The latest of its grants' deadlines, as the driver knows it.
    pub(super) until: Boot,
    pub(super) state: RelayState,
    pub(super) refusal: Option<Refusal>,
    /// The camera's other stream, which some viewers need besides or instead.
    pub(super) other: Option<super::streams::Other>,
    /// Nobody needs the stream of this relay: the other one alone goes.
    pub(super) is_parked: bool,
    /// How often its streams may still be changed.
    pub(super) changes: Allowance,
}

impl Relay {
    pub(super) fn message(&self, camera: &CameraId) -> ToReceiver {
        ToReceiver::Relay {
            relay: self.id,
            camera: camera.clone(),
            state: self.state,
            refusal: self.refusal.clone(),
            profile: self.profile,
            profile_cause: self.cause,
        }
    }
}

/// One camera of one grant, for `fanal relays`.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The grant.
    pub grant: GrantId,
    /// The camera.
    pub camera: CameraId,
    /// The centre that gets it.
    pub centre: CentreId,
    /// The relay's number on the link.
    pub relay: RelayId,
    /// Who signed.
    pub operator: crate::format::statement::Operator,
    /// The intervention.
    pub incident: crate::format::ids::Incident,
    /// Why.
    pub grounds: String,
    /// Since when, by the wall clock.
    pub since: Wall,
    /// Until when, by the wall clock.
    pub until: Wall,
    /// How long it goes on.
    pub left: Duration,
    /// How the camera is.
    pub state: RelayState,
    /// Why it is not live.
    pub refusal: Option<Refusal>,
    /// Which of the camera's streams it carries.
    pub profile: Profile,
    /// Why that one; `None` until it was decided.
    pub cause: Option<Cause>,
}

impl Gate {
    /// Every camera of every live grant.
    pub fn rows(&self, now: Now) -> Vec<Row> {
        let mut rows = Vec::new();
        for (grant, live) in &self.grants {
            let terms = &live.terms;
            for camera in &terms.granted {
                let Some(relay) = self.relays.get(&(terms.receiver.clone(), camera.clone())) else {
                    continue;
                };
                rows.push(Row {
                    grant: *grant,
                    camera: camera.clone(),
                    centre: terms.centre.clone(),
                    relay: relay.id,
                    operator: terms.request.designation().operator.clone(),
                    incident: terms.claims().incident.clone(),
                    grounds: terms.claims().grounds.clone(),
                    since: terms.first_start,
                    until: terms.expires,
                    left: terms.left(now),
                    state: relay.state,
                    refusal: relay.refusal.clone(),
                    profile: relay.profile,
                    cause: relay.cause,
                });
            }
        }
        rows
    }

    /// Puts a recorded grant or renewal in force.
    pub(super) fn install(
        &mut self,
        grant: GrantId,
        terms: Terms,
        proof: String,
        receipt: Receipt,
        now: Now,
    ) {
        let linked = self.links.contains_key(&terms.receiver);
        let confirmation = Some(Confirmation::new(linked, now));
        let before = self.grants.get(&grant);
        let live = Live {
            terms,
            proof,
            receipt,
            moving: None,
            tries: super::several::Tries::default(),
            password: before.and_then(|before| before.password.clone()),
            passwords: before.map_or_else(super::several::passwords, |before| before.passwords),
            confirmation,
        };
        let wanted = live.terms.granted.clone();
        let before = self.grants.insert(grant, live);
        for camera in wanted {
            self.join(grant, &camera);
        }
        // After joining: a camera that stays must not be closed in between.
        if let Some(before) = before {
            let terms = &before.terms;
            for camera in &terms.granted {
                let now = self.grants.get(&grant).map(|live| &live.terms);
                let reason = match now {
                    Some(now) if now.receiver != terms.receiver => Reason::OtherReceiver,
                    Some(now) if now.granted.contains(camera) => continue,
                    _ => Reason::GrantReleased,
                };
                self.detach(grant, &terms.receiver, camera, reason);
            }
        }
    }

    pub(super) fn join(&mut self, grant: GrantId, camera: &CameraId) {
        let Some(live) = self.grants.get(&grant) else {
            return;
        };
        let receiver = live.terms.receiver.clone();
        let key = (receiver.clone(), camera.clone());
        let until = live.terms.deadline;
        if let Some(relay) = self.relays.get_mut(&key) {
            relay.grants.insert(grant);
            self.count(&receiver, camera);
            return self.adjust(&receiver, camera);
        }
        let permit = Permit::new(grant, &live.terms.request, &live.receipt);
        let wish = live.terms.claims().profile;
        let profile = self.profile(wish, camera);
        let id = match self.several.reserved.remove(&key) {
            Some(id) => id,
            None => self.new_relay(),
        };
        self.relays.insert(
            key,
            Relay {
                id,
                profile,
                cause: None,
                wish,
                grants: BTreeSet::from([grant]),
                counts_for: grant,
                until,
                state: RelayState::Starting,
                refusal: None,
                other: None,
                is_parked: false,
                changes: super::streams::changes(),
            },
        );
        self.commands.push_back(Command::StartRelay {
            permit,
            receiver,
            relay: id,
            camera: camera.clone(),
            wish,
            until,
        });
    }

    /// Tells the driver when the latest of a relay's deadlines has moved, and when
    /// its grants want another stream.
    pub(super) fn adjust(&mut self, receiver: &ReceiverId, camera: &CameraId) {
        let Some(relay) = self.relays.get_mut(&(receiver.clone(), camera.clone())) else {
            return;
        };
        let grants = || relay.grants.iter().filter_map(|id| self.grants.get(id));
        let Some(until) = grants().map(|live| live.terms.deadline).max() else {
            return;
        };
        let wish = grants()
            .map(|live| live.terms.claims().profile)
            .max_by_key(most);
        if let Some(wish) = wish.filter(|wish| *wish != relay.wish) {
            relay.wish = wish;
            if !relay.is_parked {
                self.commands.push_back(Command::RelayWish {
                    receiver: receiver.clone(),
                    relay: relay.id,
                    wish,
                });
            }
        }
        if relay.until != until {
            relay.until = until;
            for relay in relay.running() {
                self.commands.push_back(Command::RelayUntil {
                    receiver: receiver.clone(),
                    relay,
                    until,
                });
            }
        }
    }

    /// The stream that serves a wish. A camera without a smaller one shows the full one.
    fn profile(&self, wish: ProfileWish, camera: &CameraId) -> Profile {
        match wish {
            ProfileWish::Sub if self.has_sub(camera) => Profile::Sub,
            ProfileWish::Auto | ProfileWish::Main | ProfileWish::Sub => Profile::Main,
        }
    }

    /// Whether a camera has a smaller stream.
    pub(super) fn has_sub(&self, camera: &CameraId) -> bool {
        let camera = self.rules.settings.camera(camera);
        camera
            .and_then(|camera| camera.streams.as_ref().ok())
            .is_some_and(|streams| streams.sub.is_some())
    }

    /// Takes a grant off a relay; the relay of nobody stops at once.
    pub(super) fn detach(
        &mut self,
        grant: GrantId,
        receiver: &ReceiverId,
        camera: &CameraId,
        reason: Reason,
    ) {
        let key = (receiver.clone(), camera.clone());
        let Some(relay) = self.relays.get_mut(&key) else {
            return;
        };
        relay.grants.remove(&grant);
        if relay.grants.is_empty() {
            if let Some(relay) = self.relays.remove(&key) {
                self.stop_relay(receiver, camera, &relay, reason);
            }
        } else {
            self.count(receiver, camera);
            self.adjust(receiver, camera);
        }
    }

    /// Tells the driver which grant a relay's bytes count for, where that has changed.
    fn count(&mut self, receiver: &ReceiverId, camera: &CameraId) {
        let relay = self.relays.get_mut(&(receiver.clone(), camera.clone()));
        if let Some(relay) = relay
            && let Some(first) = relay.grants.first().copied()
            && std::mem::replace(&mut relay.counts_for, first) != first
        {
            for relay in relay.running() {
                self.commands.push_back(Command::CountRelay {
                    receiver: receiver.clone(),
                    relay,
                    camera: camera.clone(),
                    grant: first,
                });
            }
        }
    }

    /// Ends a grant, whatever its state: acts, tells, journals.
    pub(super) fn end(&mut self, grant: GrantId, refusal: Refusal, by: Option<String>, now: Now) {
        let terms = match self.grants.remove(&grant) {
            Some(live) => live.terms,
            None => match self.resuming.remove(&grant) {
                Some(resuming) => resuming.terms,
                None => return,
            },
        };
        for camera in &terms.granted {
            self.detach(grant, &terms.receiver, camera, refusal.reason);
        }
        self.send_all(
            &terms.centre,
            ToReceiver::Ended {
                grant,
                refusal: refusal.clone(),
                head: None,
            },
        );
        self.note_end(grant, &terms, &refusal, by, now);
    }

    /// Journals an end and remembers it.
    pub(super) fn note_end(
        &mut self,
        grant: GrantId,
        terms: &Terms,
        refusal: &Refusal,
        by: Option<String>,
        now: Now,
    ) {
        let ended = Ended {
            centre: terms.centre.clone(),
            refusal: refusal.clone(),
            expires: terms.expires,
            viewings: super::viewings::Taken::default(),
        };
        self.remember_end(grant, ended);
        self.owe_entry(
            Entry::Ended {
                grant,
                reason: refusal.reason,
                at: now.wall.rfc3339(),
                by,
            },
            Some(terms.centre.clone()),
        );
    }

    pub(super) fn remember_end(&mut self, grant: GrantId, ended: Ended) {
        if self.ended.len() >= ENDED_LIMIT {
            let oldest = self.ended.iter().min_by_key(|(_, ended)| ended.expires);
            if let Some(oldest) = oldest.map(|(id, _)| *id) {
                self.ended.remove(&oldest);
            }
        }
        self.ended.insert(grant, ended);
    }

    /// Takes one camera from a grant; a grant without cameras ends.
    pub(super) fn drop_camera(
        &mut self,
        grant: GrantId,
        camera: &CameraId,
        refusal: &Refusal,
        by: Option<String>,
        now: Now,
    ) {
        let terms = match self.grants.get_mut(&grant) {
            Some(live) => &mut live.terms,
            None => match self.resuming.get_mut(&grant) {
                Some(resuming) => &mut resuming.terms,
                None => return,
            },
        };
        if !terms.granted.contains(camera) {
            return;
        }
        if terms.granted.len() == 1 {
            return self.end(grant, refusal.clone(), by, now);
        }
        terms.granted.retain(|granted| granted != camera);
        terms.dropped.insert(camera.clone(), refusal.clone());
        let receiver = terms.receiver.clone();
        let key = (receiver.clone(), camera.clone());
        let told = self.relays.get(&key).map(|relay| (relay.id, relay.profile));
        self.detach(grant, &receiver, camera, refusal.reason);
        let Some((relay, profile)) = told else {
            return;
        };
        let message = if self.relays.contains_key(&key) {
            ToReceiver::CameraEnded {
                grant,
                camera: camera.clone(),
                refusal: refusal.clone(),
            }
        } else {
            ToReceiver::Relay {
                relay,
                camera: camera.clone(),
                state: RelayState::Ended,
                refusal: Some(refusal.clone()),
                profile,
                profile_cause: None,
            }
        };
        self.send_all(&receiver.centre, message);
    }

    /// Ends what has no time left and what no centre confirmed.
    pub(super) fn end_expired(&mut self, now: Now) {
        let over = |terms: &Terms| terms.left(now).is_zero();
        let live = self.grants.iter().filter(|(_, live)| over(&live.terms));
        let resuming = self.resuming.iter().filter(|(_, held)| over(&held.terms));
        let expired: Vec<(GrantId, Refusal)> = live
            .map(|(id, live)| (*id, self.expired(&live.terms)))
            .chain(resuming.map(|(id, held)| (*id, self.expired(&held.terms))))
            .collect();
        for (grant, refusal) in expired {
            self.end(grant, refusal, None, now);
        }
        let unconfirmed: Vec<(GrantId, CentreId)> = self
            .grants
            .iter()
            .filter(|(_, live)| {
                let due = live.confirmation.and_then(|wait| wait.due());
                due.is_some_and(|at| at <= now.boot)
            })
            .map(|(id, live)| (*id, live.terms.centre.clone()))
            .collect();
        for (grant, centre) in unconfirmed {
            let detail = format!(
                "{centre} did not confirm within {} s that it recorded the grant",
                CONFIRM_TIMEOUT.as_secs()
            );
            self.end(
                grant,
                Refusal::new(Reason::CentreUnconfirmed, detail),
                None,
                now,
            );
        }
    }

    /// The journal's answer to a resumption.
    pub(super) fn resumed(&mut self, grant: GrantId, result: Result<Receipt, String>, now: Now) {
        let receipt = match result {
            Ok(receipt) => receipt,
            Err(cause) => {
                tracing::error!(%cause, %grant, "a grant can't resume: the journal can't be written");
                self.resume_again.insert(grant);
                self.ledger.retry_soon(now);
                return;
            }
        };
        if self.stopping {
            return;
        }
        // Gone: it was ended while the line was written, and that is journalled.
        let Some(held) = self.resuming.remove(&grant) else {
            return;
        };
        let proof = self.proof(grant, &held.terms, &receipt);
        let receiver = held.terms.receiver.clone();
        self.install(grant, held.terms, proof, receipt, now);
        if held.confirmed
            && let Some(live) = self.grants.get_mut(&grant)
        {
            live.confirmation = None;
        }
        if self.links.contains_key(&receiver) {
            self.send_resume(grant);
        }
        self.tell_others(grant);
    }

    /// The centre's entry of a grant is durable.
    pub(super) fn handle_confirm(
        &mut self,
        from: &ReceiverId,
        grant: GrantId,
        request: Sha256,
        head: &str,
        now: Now,
    ) {
        let Some(live) = self.grants.get(&grant) else {
            return;
        };
        if live.terms.request.hash() != request {
            return;
        }
        let is_move = live.moving.as_ref().is_some_and(|move_| move_.awaits(from));
        let due = &live.terms.receiver == from && live.confirmation.is_some();
        // A receiver that had its pictures before need not write a line.
        let held = live.terms.head_held.clone().filter(|_| !is_move);
        let centre = &from.centre;
        if !(due || is_move) || !self.may_confirm(from, now) {
            return;
        }
        let claims = match self.take_head(from, head, now) {
            Ok(claims) => claims,
            Err(refusal) => {
                tracing::warn!(%centre, %grant, %refusal, "a confirmation is not valid");
                return;
            }
        };
        if held.is_some_and(|(journal, seq)| journal == claims.journal && claims.seq <= seq) {
            tracing::warn!(%centre, %grant, "a confirmation names a head of before the grant");
            return;
        }
        if let Some(live) = self.grants.get_mut(&grant) {
            live.confirmation = None;
        }
        self.owe_entry(
            Entry::Confirmed {
                grant,
                centre: centre.clone(),
                head: head.to_owned(),
            },
            None,
        );
        if is_move {
            self.move_to(grant, from);
        }
        self.tell_others(grant);
        self.tell_states(grant);
    }

    /// An operator or the centre gives a grant back. Anyone who asks, it only narrows.
    pub(super) fn handle_release(
        &mut self,
        from: &ReceiverId,
        grant: GrantId,
        by: &str,
        reason: Option<Reason>,
        now: Now,
    ) {
        let of_centre = |terms: &Terms| terms.centre == from.centre;
        if self.held_terms(grant).is_some_and(of_centre) {
            // The centre's word for it: kept as said, but fit to be read.
            let by = text::shown(by, text::TEXT_LIMIT);
            let told = reason.filter(|reason| reason.has(Mark::GivenBack));
            let reason = told.unwrap_or(Reason::GrantReleased);
            let refusal = Refusal::new(reason, format!("released by {by}"));
            self.end(grant, refusal, Some(by), now);
        }
    }

    /// The terms of a grant, live or about to go on after a restart.
    pub(super) fn held_terms(&self, grant: GrantId) -> Option<&Terms> {
        let resuming = || Some(&self.resuming.get(&grant)?.terms);
        let live = self.grants.get(&grant).map(|live| &live.terms);
        live.or_else(resuming)
    }
}

/// Of several wishes the one for most counts.
const fn most(wish: &ProfileWish) -> u8 {
    match wish {
        ProfileWish::Sub => 0,
        ProfileWish::Auto => 1,
        ProfileWish::Main => 2,
    }
}
