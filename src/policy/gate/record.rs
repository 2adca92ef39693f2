//! A grant on its way through the journal, and the moment at which it is granted.

use std::collections::{BTreeMap, BTreeSet};

use super::Gate;
use super::grant::Terms;
use super::request::Answer;
use super::review::Standing;
use crate::clock::Now;
use crate::format::control::ToReceiver;
use crate::format::designation::Verified;
use crate::format::ids::{CameraId, GrantId};
use crate::format::statement::{GRANT_TYPE, GrantClaims, RequestClaims};
use crate::journal::Receipt;
use crate::journal::entry::{Entry, GrantEntry, WaitEnded};
use crate::media::relay::RelayId;
use crate::reason::{Reason, Refusal};

/// A grant or renewal on its way through the journal.
#[derive(Debug)]
pub(super) struct Recording {
    pub(super) grant: GrantId,
    pub(super) terms: Terms,
    pub(super) renewal: bool,
    pub(super) id: u64,
    pub(super) session: u64,
    /// It waited for approval: its answer is a `Resume`, on whichever link is up.
    pub(super) waited: bool,
    pub(super) generation: u64,
}

impl Gate {
    pub(super) fn grant_entry(
        &self,
        recording: &Recording,
        verified: &Verified<RequestClaims>,
    ) -> GrantEntry {
        let claims = verified.claims();
        let operator = verified.designation().operator.clone();
        let terms = &recording.terms;
        let mut recipients = vec![operator.unit.clone()];
        recipients.extend(claims.present.iter().cloned());
        GrantEntry {
            grant: recording.grant,
            request: verified.text().to_owned(),
            jti: claims.jti,
            proof: None,
            commune: self.rules.settings.commune.clone(),
            centre: terms.centre.clone(),
            operator,
            grounds: claims.grounds.clone(),
            incident: claims.incident.clone(),
            recipients,
            granted: terms.granted.clone(),
            refused: terms.refused.clone(),
            renewal: recording.renewal,
            first_start: terms.first_start.seconds(),
            start: terms.start.seconds(),
            expires: terms.expires.seconds(),
            approved_by: terms.approved_by.clone(),
            agreement: terms.agreement.clone(),
            settings: terms.settings,
            peer_head: self
                .witnesses
                .head(&terms.receiver)
                .map(|(_, text)| text.clone()),
            receiver: Some(terms.receiver.key),
        }
    }

    /// The journal's answer to a grant: the point at which it is granted.
    pub(super) fn grant_recorded(
        &mut self,
        recording: Recording,
        result: Result<Receipt, String>,
        now: Now,
    ) {
        let refuse = |refusal: Refusal| Answer {
            receiver: recording.terms.receiver.clone(),
            id: recording.id,
            session: recording.session,
            refusal,
            cameras: Vec::new(),
            waited: recording.waited.then(|| recording.terms.claims().jti),
        };
        if recording.renewal {
            // Who was judged meanwhile reckoned with it as it was being recorded;
            // what it leaves or takes must not add up to more than is allowed.
            self.generation += 1;
        }
        let (refusal, head) = match result {
            Err(cause) => {
                tracing::error!(%cause, "a grant could not be recorded");
                let detail = format!(
                    "the journal of {} can't be written",
                    self.rules.settings.commune
                );
                (Refusal::new(Reason::JournalUnavailable, detail), None)
            }
            Ok(receipt) => match self.still_standing(&recording, now) {
                Ok(standing) => {
                    // As with a renewal: others may have shared what is gone now.
                    let narrowed = standing.granted != recording.terms.granted;
                    self.generation += u64::from(narrowed);
                    return self.granted(recording, standing, receipt, now);
                }
                Err(refusal) => {
                    let head = self.head_for(&recording.terms.centre, receipt.head());
                    (refusal, Some(head))
                }
            },
        };
        self.generation += 1;
        self.void(&recording, &refusal, now);
        let answer = refuse(refusal);
        self.answer(answer, head);
    }

    /// A recorded grant or renewal is not to be. Even after a failed write the
    /// entry may stand in the journal: nothing of it must resume at the next start.
    fn void(&mut self, recording: &Recording, refusal: &Refusal, now: Now) {
        let terms = &recording.terms;
        if !recording.renewal {
            self.note_end(recording.grant, terms, refusal, None, now);
            if !recording.waited {
                return;
            }
        }
        let entry = Entry::refused(&terms.request, &terms.centre, refusal.clone());
        let voids = recording.renewal.then_some(recording.grant);
        let ended = recording.waited.then(WaitEnded::default);
        self.owe_entry(entry.undoing(voids, ended), None);
    }

    /// What is left of a verdict once it is recorded: cuts, reloads, revocations
    /// and a lost link may have come between.
    fn still_standing(&self, recording: &Recording, now: Now) -> Result<Standing, Refusal> {
        let terms = &recording.terms;
        let up = self.links.get(&terms.receiver);
        if self.stopping {
            return Err(Reason::ShuttingDown.into());
        }
        if recording.renewal && !self.grants.contains_key(&recording.grant) {
            let ended = self.ended.get(&recording.grant);
            return Err(ended.map_or_else(
                || Reason::GrantUnknown.into(),
                |ended| ended.refusal.clone(),
            ));
        }
        // One that waited is told on whichever link is up.
        let bound = !recording.renewal && !recording.waited;
        if bound && up.is_none_or(|up| up.session != recording.session) {
            return Err(Refusal::new(
                Reason::LinkLost,
                "the link was lost before the grant could be told",
            ));
        }
        if terms.expires <= now.wall || terms.deadline <= now.boot {
            return Err(Reason::GrantExpired.into());
        }
        // The bump of its own answer aside, nothing changed since it was judged.
        let judged = recording.generation + u64::from(recording.renewal);
        if judged == self.generation {
            return Ok(Standing {
                granted: terms.granted.clone(),
                expires: terms.expires,
                agreement: terms.agreement.clone(),
                settings: terms.settings,
            });
        }
        // Others that are being recorded are judged again in their turn.
        let standing: BTreeSet<GrantId> = self
            .grants
            .keys()
            .chain(self.resuming.keys())
            .copied()
            .collect();
        self.review_terms(recording.grant, terms, true, Some(&standing), now)
    }

    fn granted(
        &mut self,
        mut recording: Recording,
        standing: Standing,
        receipt: Receipt,
        now: Now,
    ) {
        recording.terms.granted = standing.granted;
        recording.terms.agreement = standing.agreement;
        recording.terms.settings = standing.settings;
        if standing.expires < recording.terms.expires {
            recording.terms.expires = standing.expires;
            let left = standing.expires.since(now.wall);
            recording.terms.deadline = now.boot.plus(left);
        }
        let (grant, id, waited) = (recording.grant, recording.id, recording.waited);
        let (receiver, session) = (recording.terms.receiver.clone(), recording.session);
        let proof = self.proof(grant, &recording.terms, &receipt);
        let agreement = recording.terms.agreement.clone();
        self.install(grant, recording.terms, proof.clone(), receipt, now);
        self.commands.push_back(super::Command::Count {
            centre: receiver.centre.clone(),
            refused: None,
        });
        if waited {
            self.send_resume(grant);
        } else if self.links.get(&receiver).map(|up| up.session) == Some(session) {
            let relays = self.relays_of(grant);
            self.send(&receiver, ToReceiver::GrantAgreement { grant, agreement });
            self.send(&receiver, ToReceiver::Granted { id, proof, relays });
        }
        // One that it renews may have had its pictures elsewhere.
        self.tell_others(grant);
    }

    /// The signed grant.
    pub(super) fn proof(&self, grant: GrantId, terms: &Terms, receipt: &Receipt) -> String {
        let claims = GrantClaims {
            iss: self.rules.settings.commune.clone(),
            aud: terms.centre.clone(),
            grant,
            request: terms.request.hash(),
            granted: terms.granted.clone(),
            refused: terms.refused.clone(),
            start: terms.start.seconds(),
            expires: terms.expires.seconds(),
            head: self.head_for(&terms.centre, receipt.head()),
        };
        self.rules
            .centres
            .get(&terms.centre)
            .map_or_else(String::new, |centre| {
                centre.signer.sign(GRANT_TYPE, &claims)
            })
    }

    /// How each camera of a grant travels.
    pub(super) fn relays_of(&self, grant: GrantId) -> BTreeMap<CameraId, RelayId> {
        self.relays
            .iter()
            .filter(|(_, relay)| relay.grants.contains(&grant))
            .map(|((_, camera), relay)| (camera.clone(), relay.id))
            .collect()
    }
}
