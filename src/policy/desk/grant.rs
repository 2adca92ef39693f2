//! Grants as the centre holds them: from the verified proof to their end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::held::Held;
use super::request::Denial;
use super::shown::{Grant, GrantCamera};
use super::{Command, Desk, Pending, Permit};
use crate::clock::{Boot, Now, Wall};
use crate::format::cause::Cause;
use crate::format::control::{RelayState, ToGateway};
use crate::format::designation::{Rules, Verified};
use crate::format::ids::{CameraId, CommuneId, GrantId, Sha256};
use crate::format::statement::{GRANT_TYPE, GrantClaims, RequestClaims};
use crate::journal::Receipt;
use crate::journal::entry::{Entry, GrantEntry};
use crate::media::relay::{Profile, RelayId};
use crate::reason::{Reason, Refusal};

/// At the centre only what the authority itself says counts; the agreements'
/// own rules are the gateway's to know.
pub(super) const RULES: Rules = Rules {
    max_designation: None,
    require_fresh_revocation: false,
};

/// A gateway's grant statement that fits its request. Made only by verifying.
#[derive(Clone, Debug)]
pub(super) struct Proof {
    text: Arc<str>,
    claims: GrantClaims,
}

impl Proof {
    pub(super) fn claims(&self) -> &GrantClaims {
        &self.claims
    }
}

/// A grant, renewal or resumption on its way through the journal.
#[derive(Debug)]
pub(super) struct Recording {
    pub(super) commune: CommuneId,
    pub(super) request: Verified<RequestClaims>,
    pub(super) proof: Proof,
    pub(super) relays: BTreeMap<CameraId, RelayId>,
    pub(super) asked: Boot,
    /// Who waits for the answer.
    pub(super) caller: Option<u64>,
    pub(super) until: Wall,
    pub(super) deadline: Boot,
    pub(super) first_start: i64,
    /// Known before: renewed, or gone on with after a restart.
    pub(super) known: bool,
    /// It ended before it was recorded.
    pub(super) ended: Option<Refusal>,
    /// Its pictures went to this receiver before it was recorded.
    pub(super) elsewhere: Option<Sha256>,
}

/// The state of a relay, as its gateway tells it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct News {
    pub(super) relay: RelayId,
    pub(super) state: RelayState,
    pub(super) refusal: Option<Refusal>,
    pub(super) profile: Profile,
    pub(super) profile_cause: Option<Cause>,
}

impl Desk {
    /// Verifies a proof against the request it answers.
    pub(super) fn verify_proof(
        &self,
        commune: &CommuneId,
        request: &Verified<RequestClaims>,
        text: String,
        now: Now,
    ) -> Result<Proof, Refusal> {
        let rules = self.rules.communes.get(commune);
        let rules = rules.ok_or_else(|| Refusal::from(Reason::CommuneUnknown))?;
        let claims: GrantClaims = rules
            .authority
            .verify(&text, GRANT_TYPE, commune.as_str(), now.wall)
            .map_err(|refusal| broken(commune, &refusal.to_string()))?;
        let asked = request.claims();
        let fault = if &asked.aud != commune {
            Some("the request is for another commune")
        } else if &claims.iss != commune {
            Some("it is issued by another commune")
        } else if claims.aud != self.rules.centre {
            Some("it is for another centre")
        } else if claims.request != request.hash() {
            Some("it answers another request")
        } else if asked.renews.is_some_and(|renewed| renewed != claims.grant) {
            Some("it renews another grant")
        } else if claims.granted.is_empty() {
            Some("it grants nothing")
        } else if !is_part(&claims.granted, &asked.cameras) {
            Some("it grants cameras that were not asked for")
        } else if claims.expires <= claims.start {
            Some("it ends before it begins")
        } else if claims.expires.saturating_sub(claims.start) > i64::from(asked.duration) {
            Some("it lasts longer than was asked")
        } else {
            None
        };
        match fault {
            Some(fault) => Err(broken(commune, fault)),
            None => Ok(Proof {
                text: text.into(),
                claims,
            }),
        }
    }

    /// The ends by both clocks of a grant whose proof came now.
    pub(super) fn ends(
        request: &Verified<RequestClaims>,
        claims: &GrantClaims,
        now: Now,
    ) -> (Wall, Boot) {
        let seconds = claims
            .expires
            .saturating_sub(claims.start)
            .min(i64::from(request.claims().duration));
        let length = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        let until = now.wall.plus(length).min(request.designation().not_after);
        let left = until.since(now.wall).min(length);
        (until, now.boot.plus(left))
    }

    /// Records a verified grant; what follows is [`Desk::grant_recorded`].
    pub(super) fn record_grant(&mut self, mut recording: Recording) {
        let granted = &recording.proof.claims.granted;
        recording
            .relays
            .retain(|camera, _| granted.contains(camera));
        let entry = self.grant_entry(&recording);
        self.record(
            Box::new(Entry::Grant(Box::new(entry))),
            Pending::Grant(Box::new(recording)),
        );
    }

    fn grant_entry(&self, recording: &Recording) -> GrantEntry {
        let claims = recording.request.claims();
        let operator = recording.request.designation().operator.clone();
        let proof = &recording.proof;
        let mut recipients = vec![operator.unit.clone()];
        recipients.extend(claims.present.iter().cloned());
        let told = self.agreement_of(&recording.commune, proof.claims.grant);
        let agreement = told.cloned().or_else(|| {
            let peer = self.communes.get(&recording.commune)?;
            let who = recording.request.designation();
            let likely = peer.view.agreement_for(who, &claims.grounds)?;
            Some(likely.reference.clone())
        });
        GrantEntry {
            grant: proof.claims.grant,
            request: recording.request.text().to_owned(),
            jti: claims.jti,
            proof: Some(proof.text.to_string()),
            commune: recording.commune.clone(),
            centre: self.rules.centre.clone(),
            operator,
            grounds: claims.grounds.clone(),
            incident: claims.incident.clone(),
            recipients,
            granted: proof.claims.granted.clone(),
            refused: proof.claims.refused.clone(),
            renewal: claims.renews.is_some(),
            first_start: recording.first_start,
            start: proof.claims.start,
            expires: proof.claims.expires,
            approved_by: None,
            agreement: agreement.unwrap_or_default(),
            // The settings are the commune's; its own entry holds their hash.
            settings: Sha256::ZERO,
            peer_head: Some(proof.claims.head.clone()),
            receiver: None,
        }
    }

    /// The journal's answer to a grant: the point at which it may be seen.
    pub(super) fn grant_recorded(
        &mut self,
        recording: Recording,
        result: Result<Receipt, String>,
        now: Now,
    ) {
        let grant = recording.proof.claims.grant;
        let receipt = match result {
            Ok(receipt) => receipt,
            Err(cause) => {
                tracing::error!(%cause, %grant, "a grant could not be recorded");
                if !recording.known {
                    // The gateway need not wait for a confirmation that can't come.
                    let by = self.rules.centre.to_string();
                    let reason = Reason::JournalUnavailable;
                    self.send_release(&recording.commune, grant, by, reason);
                }
                if recording.known && recording.caller.is_none() {
                    self.ledger.retry_soon(now);
                    self.unrecorded.push(recording);
                    return;
                }
                let refusal = self.journal_unavailable();
                return self.answer_recording(&recording, Err(refusal.into()));
            }
        };
        let over = recording.deadline <= now.boot || recording.until <= now.wall;
        let ended = recording
            .ended
            .clone()
            .or_else(|| {
                over.then(|| {
                    self.expired(
                        &recording.commune,
                        &recording.request,
                        &recording.proof.text,
                    )
                })
            })
            .or_else(|| self.ended.refusal(grant).cloned());
        self.forwarded.granted(recording.request.claims().jti);
        if let Some(refusal) = ended {
            if !self.ended.contains(grant) && !self.grants.contains_key(&grant) {
                self.note_end(grant, &recording.commune, refusal.reason, None, now);
            }
            return self.answer_recording(&recording, Err(refusal.into()));
        }
        self.install(recording, receipt, now);
    }

    /// A grant that goes on is recorded once the journal can be written again.
    pub(super) fn record_again(&mut self, recording: Recording, now: Now) {
        if recording.deadline <= now.boot || recording.ended.is_some() {
            return;
        }
        let grant = recording.proof.claims.grant;
        let held = self.grants.get(&grant);
        if held.is_some_and(|held| held.is_recorded_under(recording.request.hash())) {
            let entry = Box::new(Entry::Resumed { grant });
            self.record(entry, Pending::Grant(Box::new(recording)));
        } else {
            self.record_grant(recording);
        }
    }

    fn answer_recording(&mut self, recording: &Recording, result: Result<GrantId, Denial>) {
        let jti = recording.request.claims().jti;
        self.note_asked(jti, &result);
        let Some(caller) = recording.caller else {
            return;
        };
        self.commands.push_back(Command::Count {
            refused: result.as_ref().err().map(|denial| denial.refusal.reason),
        });
        self.commands.push_back(Command::Answer { caller, result });
    }

    /// A recorded grant lives.
    fn install(&mut self, recording: Recording, receipt: Receipt, now: Now) {
        let held = self.grants.get(&recording.proof.claims.grant);
        let request = &recording.request;
        if held.is_some_and(|held| {
            held.request.hash() != request.hash()
                && !held.is_renewed_by(&recording.commune, request)
        }) {
            // Checked before it was recorded; nothing may take a live grant's place.
            let grant = recording.proof.claims.grant;
            tracing::error!(%grant, commune = %recording.commune, "a grant in the place of another one");
            let refusal = Refusal::from(Reason::ProtocolError);
            return self.answer_recording(&recording, Err(refusal.into()));
        }
        let permit = Permit::new(&recording.request, &recording.proof, &receipt);
        let claims = recording.proof.claims.clone();
        let request = recording.request.claims().clone();
        let before = self.let_go(claims.grant);
        let designation = recording.request.designation().clone();
        let former = before.as_ref().map(|held| held.former_of(&designation));
        let is_taken_over = before
            .as_ref()
            .is_some_and(|held| !held.request.designation().is_same_operator(&designation));
        let commune = recording.commune.clone();
        let view = self.view_of(&recording, before.as_ref());
        let left_out = before.iter().flat_map(|held| &held.view.cameras);
        let left_out: Vec<GrantCamera> = left_out
            .filter(|camera| !claims.granted.contains(&camera.camera))
            .cloned()
            .collect();
        for camera in left_out.into_iter().filter(GrantCamera::is_open) {
            let mut refused = view.refused.iter();
            let refused = refused.find(|refused| refused.camera == camera.camera);
            let reason = match refused {
                Some(refused) => refused.refusal.reason,
                // A renewal for fewer cameras gives the others back.
                None if !request.cameras.contains(&camera.camera) => Reason::GrantReleased,
                None => Reason::AgreementChanged,
            };
            self.commands.push_back(Command::EndCamera {
                grant: view.id,
                commune: commune.clone(),
                camera: camera.camera,
                reason,
            });
        }
        let held = Held {
            view: Arc::new(view),
            request: recording.request.clone(),
            first_start: recording.first_start,
            former: former.unwrap_or_default(),
            permit: Some(permit),
            head: Some(receipt.head().to_owned()),
            recorded: Some(recording.request.hash()),
        };
        self.allow(&held);
        self.tell_password(&held);
        self.confirm(&held);
        self.notify_grant(&held.view);
        self.hold(claims.grant, held);
        // One who was revoked while the pictures went elsewhere has no URL here.
        self.review_former(claims.grant, now);
        if is_taken_over {
            self.bound_former(claims.grant);
            self.take_over_viewings(claims.grant, &designation.operator.number, now);
        }
        self.answer_recording(&recording, Ok(claims.grant));
        if let Some(receiver) = recording.elsewhere {
            self.leave_after_recording(claims.grant, receiver);
        }
    }

    /// A grant as it is shown, with its pictures here; `before`: as it was held.
    pub(super) fn view_of(&self, recording: &Recording, before: Option<&Held>) -> Grant {
        let claims = recording.proof.claims.clone();
        let request = recording.request.claims().clone();
        let designation = recording.request.designation();
        let cameras = claims.granted.iter().map(|camera| {
            let known = before.and_then(|held| held.view.camera(camera));
            self.granted_camera(recording, camera, known)
        });
        // Cameras that the grant lost are shown until another request takes its place.
        let same = before.map(|held| held.request.hash()) == Some(recording.request.hash());
        let lost = before.into_iter().flat_map(|held| &held.view.cameras);
        let lost = lost
            .filter(|camera| same && !camera.is_open() && !claims.granted.contains(&camera.camera))
            .cloned();
        let peer = self.communes.get(&recording.commune);
        Grant {
            id: claims.grant,
            commune: recording.commune.clone(),
            incident: request.incident,
            grounds: request.grounds,
            operator: designation.operator.clone(),
            present: request.present,
            start: Wall::from_seconds(recording.first_start),
            authority: designation.authority,
            agreement: self.agreement_of(&recording.commune, claims.grant).cloned(),
            credentials: before.map_or(0, |held| held.view.credentials),
            expires: Wall::from_seconds(claims.expires),
            until: recording.until,
            deadline: recording.deadline,
            cameras: cameras.chain(lost).collect(),
            refused: claims.refused,
            proof: Arc::clone(&recording.proof.text),
            receiver: peer.and_then(|peer| peer.receiver),
            elsewhere: false,
            password: before.and_then(|held| held.view.password.clone()),
            end: None,
        }
    }

    /// The state of a camera of a recorded grant.
    fn granted_camera(
        &self,
        recording: &Recording,
        camera: &CameraId,
        known: Option<&GrantCamera>,
    ) -> GrantCamera {
        let peer = self.communes.get(&recording.commune);
        let relay = recording.relays.get(camera).copied();
        let told = relay.and_then(|relay| peer?.relays.get(&relay));
        let linked = peer.is_some_and(super::commune::Peer::is_up);
        let (state, refusal) = match (told, relay) {
            _ if !linked => (RelayState::Retrying, Some(Reason::LinkLost.into())),
            (Some(told), _) => (told.state, told.refusal.clone()),
            (None, Some(_)) => (RelayState::Starting, None),
            // Granted once, but the gateway no longer relays it.
            (None, None) => ended_camera(known),
        };
        GrantCamera {
            camera: camera.clone(),
            state,
            refusal,
            profile: told.map_or_else(
                || known.map_or_else(Profile::default, |known| known.profile),
                |told| told.profile,
            ),
            profile_cause: told.map_or_else(
                || known.and_then(|known| known.profile_cause),
                |told| told.profile_cause,
            ),
            relay,
            asked: known.map_or(recording.asked, |known| known.asked),
            pictured: known.is_some_and(|known| known.pictured),
        }
    }

    /// Lets the relays of a grant in.
    pub(super) fn allow(&mut self, held: &Held) {
        let Some(permit) = &held.permit else {
            return;
        };
        let open = held.view.cameras.iter().filter(|camera| camera.is_open());
        for (camera, relay) in open.filter_map(|held| Some((&held.camera, held.relay?))) {
            self.commands.push_back(Command::Allow {
                permit: permit.clone(),
                commune: held.view.commune.clone(),
                camera: camera.clone(),
                relay,
            });
        }
    }

    /// Tells the gateway that a grant is recorded here.
    pub(super) fn confirm(&mut self, held: &Held) {
        let commune = held.view.commune.clone();
        if let Some(head) = &held.head {
            let message = ToGateway::Confirm {
                grant: held.view.id,
                request: held.request.hash(),
                head: self.head_for(&commune, head),
            };
            self.send(&commune, message);
        }
    }

    /// The gateway ended a grant.
    pub(super) fn handle_ended(
        &mut self,
        commune: &CommuneId,
        grant: GrantId,
        refusal: Refusal,
        now: Now,
    ) {
        for recording in self.recordings_of(commune) {
            if recording.proof.claims.grant == grant {
                recording.ended = Some(refusal.clone());
            }
        }
        self.unrecorded.retain(|recording| {
            recording.proof.claims.grant != grant || &recording.commune != commune
        });
        let ours = self
            .grants
            .get(&grant)
            .is_some_and(|held| &held.view.commune == commune);
        if ours {
            self.end(grant, refusal, None, now);
        }
    }

    /// The grants of a commune that are on their way through the journal.
    pub(super) fn recordings_of<'a>(
        &'a mut self,
        commune: &'a CommuneId,
    ) -> impl Iterator<Item = &'a mut Recording> {
        let pending = self.ledger.pending_mut();
        let recordings = pending.filter_map(|pending| match pending {
            Pending::Grant(recording) => Some(&mut **recording),
            _ => None,
        });
        let waiting = self.unrecorded.iter_mut();
        let all = recordings.chain(waiting);
        all.filter(move |recording| &recording.commune == commune)
    }

    /// The state of a relay changed.
    pub(super) fn handle_relay(&mut self, commune: &CommuneId, camera: &CameraId, news: News) {
        if let Some(peer) = self.communes.get_mut(commune) {
            peer.take_news(news.clone());
        }
        let mut touched = Vec::new();
        for grant in self.grants_of(commune, camera) {
            let Some(held) = self.grants.get_mut(&grant) else {
                continue;
            };
            let at = held.view.cameras.iter().position(|part| {
                &part.camera == camera && part.relay == Some(news.relay) && part.is_open()
            });
            let at = at.filter(|_| &held.view.commune == commune);
            let Some(at) = at else {
                continue;
            };
            let view = Arc::make_mut(&mut held.view);
            let Some(part) = view.cameras.get_mut(at) else {
                continue;
            };
            if part.state == news.state
                && part.refusal == news.refusal
                && (part.profile, part.profile_cause) == (news.profile, news.profile_cause)
            {
                continue;
            }
            part.state = news.state;
            part.refusal.clone_from(&news.refusal);
            part.profile = news.profile;
            part.profile_cause = news.profile_cause;
            let ended = (!part.is_open()).then(|| {
                let refusal = part.refusal.as_ref();
                refusal.map_or(Reason::GrantCut, |refusal| refusal.reason)
            });
            touched.push((view.id, ended));
        }
        for (grant, ended) in touched {
            if let Some(reason) = ended {
                self.commands.push_back(Command::EndCamera {
                    grant,
                    commune: commune.clone(),
                    camera: camera.clone(),
                    reason,
                });
            }
            self.notify_held(grant);
        }
    }

    /// The gateway takes one camera from one grant; the relay goes on for others.
    pub(super) fn handle_camera_ended(
        &mut self,
        commune: &CommuneId,
        grant: GrantId,
        camera: &CameraId,
        refusal: Refusal,
    ) {
        let held = self.grants.get_mut(&grant);
        let part = held
            .filter(|held| &held.view.commune == commune)
            .and_then(|held| {
                let mut parts = Arc::make_mut(&mut held.view).cameras.iter_mut();
                parts.find(|part| &part.camera == camera && part.is_open())
            });
        let Some(part) = part else { return };
        let reason = refusal.reason;
        part.state = RelayState::Ended;
        part.refusal = Some(refusal);
        self.commands.push_back(Command::EndCamera {
            grant,
            commune: commune.clone(),
            camera: camera.clone(),
            reason,
        });
        self.notify_held(grant);
    }

    /// The first complete key frame of a relay came: how long each grant on it
    /// had waited, from its request's arrival.
    pub fn handle_first_picture(
        &mut self,
        commune: &CommuneId,
        camera: &CameraId,
        now: Now,
    ) -> Vec<Duration> {
        let mut waited = Vec::new();
        let mut touched = Vec::new();
        for grant in self.grants_of(commune, camera) {
            let Some(held) = self.grants.get_mut(&grant) else {
                continue;
            };
            let news = |part: &GrantCamera| {
                let waits = !part.pictured || part.state == RelayState::Starting;
                &part.camera == camera && waits
            };
            if &held.view.commune != commune || !held.view.cameras.iter().any(news) {
                continue;
            }
            let view = Arc::make_mut(&mut held.view);
            for part in view
                .cameras
                .iter_mut()
                .filter(|part| &part.camera == camera)
            {
                if !part.pictured {
                    part.pictured = true;
                    waited.push(now.boot.since(part.asked));
                }
                if part.state == RelayState::Starting {
                    part.state = RelayState::Live;
                    touched.push(view.id);
                }
            }
        }
        for grant in touched {
            self.notify_held(grant);
        }
        waited
    }

    pub(super) fn send_release(
        &mut self,
        commune: &CommuneId,
        grant: GrantId,
        by: String,
        reason: Reason,
    ) {
        let reason = Some(reason);
        self.send(commune, ToGateway::Release { grant, by, reason });
    }

    pub(super) fn notify_held(&mut self, grant: GrantId) {
        let unit = self.grants.get(&grant).map(|held| held.view.unit());
        if let Some(unit) = unit {
            self.version += 1;
            self.commands
                .push_back(Command::Notify(super::Notice::Grant { grant, unit }));
        }
    }
}

/// How a camera ended that was granted once and that the gateway no longer relays: as the
/// gateway told, else the commune cut it.
pub(super) fn ended_camera(known: Option<&GrantCamera>) -> (RelayState, Option<Refusal>) {
    let known = known.filter(|camera| !camera.is_open());
    let told = known.and_then(|camera| camera.refusal.clone());
    let refusal = told.unwrap_or_else(|| Reason::GrantCut.into());
    (RelayState::Ended, Some(refusal))
}

fn broken(commune: &CommuneId, detail: &str) -> Refusal {
    let detail = format!("the grant statement of {commune} is not valid: {detail}");
    Refusal::new(Reason::ProtocolError, detail)
}

/// Whether `part` holds nothing that `whole` does not, and nothing twice.
fn is_part(part: &[CameraId], whole: &[CameraId]) -> bool {
    let mut seen = std::collections::BTreeSet::new();
    part.iter()
        .all(|camera| whole.contains(camera) && seen.insert(camera))
}
