//! How live grants go on at the centre after a restart or a lost link.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::grant::{Proof, Recording, ended_camera};
use super::{Command, Desk, GRANT_LIMIT, Pending};
use crate::clock::{Now, Wall};
use crate::format::control::RelayState;
use crate::format::designation::Verified;
use crate::format::ids::{CameraId, CommuneId, GrantId};
use crate::format::jws;
use crate::format::statement::{GRANT_TYPE, GrantClaims, RequestClaims};
use crate::journal::entry::Entry;
use crate::media::relay::RelayId;
use crate::reason::{Reason, Refusal};

impl Desk {
    /// A live grant goes on after a restart or a lost link.
    pub(super) fn handle_resume(
        &mut self,
        commune: &CommuneId,
        request: &str,
        proof: String,
        relays: BTreeMap<CameraId, RelayId>,
        now: Now,
    ) {
        let named = jws::open::<GrantClaims>(&proof, GRANT_TYPE).map(|signed| signed.claims.grant);
        let checked = self
            .verify_any(request, now)
            .and_then(|request| self.check_names(&request).map(|()| request))
            .and_then(|request| {
                let proof = self.verify_proof(commune, &request, proof, now)?;
                Ok((request, proof))
            });
        let (request, proof) = match checked {
            Ok(checked) => checked,
            Err(refusal) => {
                tracing::warn!(%commune, %refusal, "a grant that should go on is not valid");
                // It ended here for the same cause while the gateway was away.
                if let Some((grant, reason)) = named.ok().and_then(|grant| {
                    // Of this commune: another's is not its business.
                    self.ended.operator(grant, commune)?;
                    Some((grant, self.ended.refusal(grant)?.reason))
                }) {
                    let by = self.rules.centre.to_string();
                    self.send_release(commune, grant, by, reason);
                }
                return;
            }
        };
        let grant = proof.claims().grant;
        if let Some(ended) = self.ended.refusal(grant) {
            // What ended here stays ended; the gateway did not hear of it.
            let (reason, by) = (ended.reason, self.ended_by(grant, commune));
            return self.send_release(commune, grant, by, reason);
        }
        if let Some(lost) = self.loss(commune) {
            let by = self.rules.centre.to_string();
            return self.send_release(commune, grant, by, lost.reason);
        }
        if self.join_pending(&request, &relays) {
            return;
        }
        let held = self
            .grants
            .get(&grant)
            .filter(|held| &held.view.commune == commune && held.request.hash() == request.hash());
        let is_held = held.is_some();
        if held.is_some_and(|held| held.is_recorded_under(request.hash())) {
            return self.resume_known(grant, proof, relays, now);
        }
        // Recorded there but not here: the answer was lost on its way, or its pictures went to
        // another receiver of the centre so far.
        if is_held && !self.may_come(commune, grant, now) {
            return;
        }
        if !is_held && let Err(refusal) = self.check_resumed(commune, &request, grant) {
            tracing::warn!(%commune, %grant, %refusal, "a grant that can't go on here");
            return self.send_release(
                commune,
                grant,
                self.rules.centre.to_string(),
                refusal.reason,
            );
        }
        let known = self.grants.get(&grant).map(|held| held.first_start);
        let (until, deadline) = Self::ends(&request, proof.claims(), now);
        let until = until.min(Wall::from_seconds(proof.claims().expires));
        self.used.mark(
            request.claims().jti,
            Wall::from_seconds(request.claims().iat),
            now.wall,
        );
        // An operator may still wait for the answer, which comes in this way.
        let caller = self.wait_granted(commune, request.claims().jti);
        self.record_grant(Recording {
            commune: commune.clone(),
            relays,
            asked: now.boot,
            caller,
            until,
            deadline: deadline.min(now.boot.plus(until.since(now.wall))),
            first_start: known.unwrap_or_else(|| proof.claims().start),
            known: true,
            ended: None,
            elsewhere: None,
            request,
            proof,
        });
    }

    /// Whether a grant that is not recorded here may be: for a request of this centre's own
    /// that nobody has answered, and as any other grant.
    fn check_resumed(
        &self,
        commune: &CommuneId,
        request: &Verified<RequestClaims>,
        grant: GrantId,
    ) -> Result<(), Refusal> {
        let claims = request.claims();
        if self.forwarded.is_cancelled(claims.jti, commune) {
            let detail = "its operator gave it up while it waited";
            return Err(Refusal::new(Reason::RequestCancelled, detail));
        }
        if !self.forwarded.is_open(claims.jti, commune) {
            let detail = format!(
                "the request {} was not forwarded to {commune}, or is answered",
                claims.jti.0
            );
            return Err(Refusal::new(Reason::ProtocolError, detail));
        }
        if claims.renews.is_none() && self.grants.len() >= GRANT_LIMIT {
            let detail = format!("{GRANT_LIMIT} grants live at this centre");
            return Err(Refusal::new(Reason::TooManyRelays, detail));
        }
        self.check_id(commune, request, grant)
    }

    /// A grant that is recorded here under the same request.
    pub(super) fn resume_known(
        &mut self,
        grant: GrantId,
        proof: Proof,
        relays: BTreeMap<CameraId, RelayId>,
        now: Now,
    ) {
        let Some(mut held) = self.let_go(grant) else {
            return;
        };
        if held.permit.is_none() {
            // After a restart: the line that says so is the new receipt.
            let recording = Recording {
                commune: held.view.commune.clone(),
                request: held.request.clone(),
                proof,
                relays,
                asked: now.boot,
                caller: None,
                until: held.view.until,
                deadline: held.view.deadline,
                first_start: held.first_start,
                known: true,
                ended: None,
                elsewhere: None,
            };
            self.hold(grant, held);
            return self.record(
                Box::new(Entry::Resumed { grant }),
                Pending::Grant(Box::new(recording)),
            );
        }
        let peer = self.communes.get(&held.view.commune);
        let commune = held.view.commune.clone();
        let mut gone = Vec::new();
        for camera in &mut Arc::make_mut(&mut held.view).cameras {
            let was_open = camera.is_open();
            camera.relay = relays.get(&camera.camera).copied();
            let told = camera.relay.and_then(|relay| peer?.relays.get(&relay));
            (camera.state, camera.refusal) = match (told, camera.relay) {
                (Some(told), _) => (told.state, told.refusal.clone()),
                (None, Some(_)) => (RelayState::Starting, None),
                (None, None) => ended_camera(Some(camera)),
            };
            if was_open && !camera.is_open() {
                let refusal = camera.refusal.as_ref();
                let reason = refusal.map_or(Reason::GrantCut, |refusal| refusal.reason);
                gone.push(Command::EndCamera {
                    grant,
                    commune: commune.clone(),
                    camera: camera.camera.clone(),
                    reason,
                });
            }
        }
        self.commands.extend(gone);
        let receiver = self.communes.get(&commune).and_then(|peer| peer.receiver);
        Arc::make_mut(&mut held.view).receiver = receiver;
        self.allow(&held);
        self.tell_password(&held);
        self.confirm(&held);
        self.notify_grant(&held.view);
        self.hold(grant, held);
    }

    /// Gives a recording that is under way the newest relay numbers.
    pub(super) fn join_pending(
        &mut self,
        request: &Verified<RequestClaims>,
        relays: &BTreeMap<CameraId, RelayId>,
    ) -> bool {
        let hash = request.hash();
        let mut recordings = self
            .ledger
            .pending_mut()
            .filter_map(|pending| match pending {
                Pending::Grant(recording) => Some(recording),
                _ => None,
            });
        match recordings.find(|recording| recording.request.hash() == hash) {
            Some(recording) => {
                recording.relays.clone_from(relays);
                true
            }
            None => false,
        }
    }
}
