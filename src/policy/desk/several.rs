//! Grants of the centre whose pictures go to another of its receivers.
//!
//! Receivers share nothing. A gateway tells each of them of every live grant
//! ([`ToReceiver::Grant`](crate::format::control::ToReceiver::Grant)), so that each shows the
//! same. A grant whose pictures go elsewhere has no [`super::Permit`] here: nothing of it is
//! taken, nobody views it, and it is in this journal only where its pictures came here once.
//!
//! When the receiver that has them is lost, the gateway asks this one: it records the grant,
//! confirms it, and only then do its pictures come. A receiver that had them and hears that
//! they go elsewhere ends its viewers (`other_receiver`) and keeps what it owes: its own list
//! of viewings, and what it received, which the commune gets at the grant's end.
//!
//! A grant of a request that this receiver did not forward is believed where an operator
//! signed the request shortly before the gateway granted it. Of its own requests it
//! knows how they were answered, and takes none twice ([`super::forwarded`]).

use std::time::Duration;

use super::grant::{Proof, Recording};
use super::held::Held;
use super::{Command, Desk, GRANT_LIMIT};
use crate::clock::{Now, Wall};
use crate::format::control::GrantTold;
use crate::format::designation::Verified;
use crate::format::ids::{CommuneId, GrantId, Sha256};
use crate::format::statement::RequestClaims;
use crate::journal::entry::Entry;
use crate::reason::{Reason, Refusal};
use crate::secret::Secret;

/// The longest from a request to its grant: the longest wait for approval, and what clocks and
/// journals take.
const GRANTED_WITHIN: Duration = Duration::from_secs(3_600 + 120);

impl Desk {
    /// A gateway tells of a live grant: its pictures go elsewhere, or are to come here.
    pub(super) fn handle_grant_told(&mut self, commune: &CommuneId, told: GrantTold, now: Now) {
        let checked = self
            .verify_any(&told.request, now)
            .and_then(|request| self.check_names(&request).map(|()| request))
            .and_then(|request| {
                let proof = self.verify_proof(commune, &request, told.proof.clone(), now)?;
                Ok((request, proof))
            });
        let (request, proof) = match checked {
            Ok(checked) => checked,
            Err(refusal) => {
                tracing::warn!(%commune, %refusal, "a grant of another receiver is not valid");
                return;
            }
        };
        let grant = proof.claims().grant;
        if let Some(ended) = self.ended.refusal(grant) {
            // Somebody gave it back here, and the gateway did not hear of it.
            if ended.reason == Reason::GrantReleased {
                let by = self.ended_by(grant, commune);
                self.send_release(commune, grant, by, Reason::GrantReleased);
            }
            return;
        }
        if self.forwarded.is_cancelled(request.claims().jti, commune) {
            // Its operator gave the request up here, and another receiver brought the answer.
            let by = request.designation().operator.number.clone();
            return self.send_release(commune, grant, by, Reason::RequestCancelled);
        }
        if let Err(refusal) = self.check_told(commune, &request, &proof, now) {
            tracing::warn!(%commune, %grant, %refusal, "a grant of another receiver that can't be");
            return;
        }
        let recording = self.recording_of(commune, request, proof, &told, now);
        if told.here {
            self.take_here(grant, recording, &told, now);
        } else {
            self.leave_there(grant, recording, &told, now);
        }
    }

    /// Whether a grant may be told of.
    fn check_told(
        &mut self,
        commune: &CommuneId,
        request: &Verified<RequestClaims>,
        proof: &Proof,
        now: Now,
    ) -> Result<(), Refusal> {
        let broken = |detail: &str| Err(Refusal::new(Reason::ProtocolError, detail));
        let (claims, granted) = (request.claims(), proof.claims());
        if Wall::from_seconds(granted.expires) <= now.wall {
            return Err(Reason::GrantExpired.into());
        }
        if let Some(lost) = self.loss(commune) {
            return Err(lost);
        }
        match self.grants.get(&granted.grant) {
            Some(held) if held.request.hash() == request.hash() => {
                if &held.view.commune != commune {
                    return broken("it is another commune's");
                }
                return Ok(());
            }
            Some(held) if !held.is_renewed_by(commune, request) => {
                return broken("it is in the place of another one");
            }
            Some(_) => {}
            None if self.grants.len() >= GRANT_LIMIT => {
                let detail = format!("{GRANT_LIMIT} grants live at this centre");
                return Err(Refusal::new(Reason::TooManyRelays, detail));
            }
            None => {}
        }
        // Its own requests it has an answer to, or waits for one.
        if self.forwarded.is_closed(claims.jti) {
            return broken("its request is answered");
        }
        let signed = Wall::from_seconds(claims.iat);
        let (grant, granted) = (granted.grant, Wall::from_seconds(granted.start));
        if granted.since(signed) > GRANTED_WITHIN || signed.since(granted) > GRANTED_WITHIN {
            return broken("its request is too old");
        }
        // The latest end that a grant of it may have.
        let length = Duration::from_secs(claims.duration.into());
        let over = signed.plus(GRANTED_WITHIN).plus(length);
        let until = now.boot.plus(over.since(now.wall));
        self.take_told(commune, claims.jti, grant, until)
    }

    fn recording_of(
        &self,
        commune: &CommuneId,
        request: Verified<RequestClaims>,
        proof: Proof,
        told: &GrantTold,
        now: Now,
    ) -> Recording {
        let (until, deadline) = Self::ends(&request, proof.claims(), now);
        let until = until.min(Wall::from_seconds(proof.claims().expires));
        Recording {
            commune: commune.clone(),
            relays: told.relays.clone(),
            asked: now.boot,
            caller: None,
            until,
            deadline: deadline.min(now.boot.plus(until.since(now.wall))),
            first_start: told.first_start,
            known: true,
            ended: None,
            elsewhere: None,
            request,
            proof,
        }
    }

    /// Its pictures are to come here: it is recorded, and then confirmed.
    fn take_here(&mut self, grant: GrantId, recording: Recording, told: &GrantTold, now: Now) {
        if self.join_pending(&recording.request, &recording.relays) {
            return;
        }
        // One that was changed here, for somebody who lost his right, may not have reached the gateway.
        let is_changed_here = self
            .grants
            .get(&grant)
            .is_some_and(|held| !held.view.elsewhere && held.view.credentials > 0);
        if !is_changed_here {
            self.take_password(grant, told.password.as_ref());
        }
        let held = self.grants.get(&grant);
        let is_recorded = held.is_some_and(|held| held.is_recorded_under(recording.request.hash()));
        if is_recorded {
            return self.resume_known(grant, recording.proof, recording.relays, now);
        }
        if !self.may_come(&recording.commune, grant, now) {
            return;
        }
        let held = self.grants.get(&grant);
        tracing::info!(%grant, commune = %recording.commune, "another receiver's grant comes here");
        if held.is_none() {
            // Shown, with its password, while the journal writes.
            let held = self.held_elsewhere(&recording, told, None);
            self.hold(grant, held);
        }
        self.record_grant(recording);
    }

    /// Its pictures go elsewhere.
    fn leave_there(&mut self, grant: GrantId, recording: Recording, told: &GrantTold, now: Now) {
        self.unrecorded
            .retain(|other| other.proof.claims().grant != grant);
        let mut is_pending = false;
        for other in self.recordings_of(&recording.commune) {
            if other.proof.claims().grant == grant {
                other.elsewhere = Some(told.receiver);
                is_pending = true;
            }
        }
        if is_pending {
            return;
        }
        let jti = recording.request.claims().jti;
        let waited = self.waits(jti).is_some();
        if let Some(caller) = self.wait_granted(&recording.commune, jti) {
            self.commands.push_back(Command::Count { refused: None });
            self.commands.push_back(Command::Answer {
                caller,
                result: Ok(grant),
            });
        }
        if waited {
            // It waited for the commune here, and is shown as the others are.
            self.note_asked(jti, &Ok(grant));
            self.forwarded.granted(jti);
        }
        let before = self.let_go(grant);
        let held = self.held_elsewhere(&recording, told, before.as_ref());
        self.hold(grant, held);
        if let Some(before) = before {
            self.left(&before, told.receiver);
        }
        self.notify_held(grant);
        self.end_expired(now);
    }

    /// A grant that is recorded here goes to another receiver at once.
    pub(super) fn leave_after_recording(&mut self, grant: GrantId, receiver: Sha256) {
        let Some(before) = self.let_go(grant) else {
            return;
        };
        let held = Held {
            view: std::sync::Arc::clone(&before.view),
            request: before.request.clone(),
            first_start: before.first_start,
            former: before.former.clone(),
            permit: None,
            head: before.head.clone(),
            recorded: before.recorded,
        };
        let mut held = held;
        let view = std::sync::Arc::make_mut(&mut held.view);
        (view.elsewhere, view.receiver) = (true, Some(receiver));
        self.hold(grant, held);
        self.left(&before, receiver);
        self.notify_held(grant);
    }

    /// What ends here where a grant's pictures have gone.
    fn left(&mut self, before: &Held, receiver: Sha256) {
        let grant = before.view.id;
        if before.permit.is_some() {
            self.commands.push_back(Command::EndGrant {
                grant,
                reason: Reason::OtherReceiver,
            });
        }
        if before.recorded.is_some() && !before.view.elsewhere {
            let centre = self.rules.centre.clone();
            let entry = Entry::Moved {
                grant,
                centre,
                receiver,
            };
            self.owe_entry(entry, None);
        }
    }

    fn held_elsewhere(
        &self,
        recording: &Recording,
        told: &GrantTold,
        before: Option<&Held>,
    ) -> Held {
        let mut view = self.view_of(recording, before);
        view.elsewhere = true;
        view.receiver = Some(told.receiver);
        if told.password.is_some() {
            view.password.clone_from(&told.password);
        }
        let designation = recording.request.designation();
        Held {
            view: std::sync::Arc::new(view),
            request: recording.request.clone(),
            first_start: recording.first_start,
            former: before.map_or_else(Vec::new, |before| before.former_of(designation)),
            permit: None,
            head: before.and_then(|before| before.head.clone()),
            recorded: before.and_then(|before| before.recorded),
        }
    }

    /// The password that the centre's other receivers show, too.
    fn take_password(&mut self, grant: GrantId, told: Option<&Secret>) {
        if let (Some(held), Some(told)) = (self.grants.get_mut(&grant), told)
            && held.view.password.as_ref() != Some(told)
        {
            std::sync::Arc::make_mut(&mut held.view).password = Some(told.clone());
            self.version += 1;
        }
    }

    /// Tells the gateway a grant's RTSP password, for the centre's other receivers.
    pub(super) fn tell_password(&mut self, held: &Held) {
        let commune = held.view.commune.clone();
        let peer = self.communes.get(&commune);
        // It has said what it calls this receiver: it knows of others.
        if peer.is_some_and(|peer| peer.receiver.is_some()) {
            let grant = held.view.id;
            self.commands
                .push_back(Command::TellPassword { commune, grant });
        }
    }
}
