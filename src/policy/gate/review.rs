//! Grants under new rules: after a reload, a revocation or a restart.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Gate;
use super::grant::Terms;
use super::request::Question;
use crate::clock::{Now, Wall};
use crate::format::control::ToReceiver;
use crate::format::ids::{CameraId, GrantId, Sha256};
use crate::policy::agreement::{Renewal, in_force_until};
use crate::policy::peer::expiry;
use crate::reason::{Mark, Reason, Refusal};

/// What is left of a grant after a review.
pub(super) struct Standing {
    pub(super) granted: Vec<CameraId>,
    pub(super) expires: Wall,
    /// The agreement that allows it now.
    pub(super) agreement: String,
    pub(super) settings: Sha256,
}

impl Gate {
    /// Judges all that lives again: after a reload or a revocation.
    pub(super) fn review(&mut self, now: Now) {
        self.generation += 1;
        let live = self
            .grants
            .iter()
            .map(|(id, live)| (*id, live.terms.clone()));
        let resuming = self.resuming.iter();
        let all: Vec<(GrantId, Terms)> = live
            .chain(resuming.map(|(id, held)| (*id, held.terms.clone())))
            .collect();
        // In turn: each counts against those that stand already, so that fewer
        // relays than before are fewer, however the grants share cameras.
        let mut reviewed = BTreeSet::new();
        for (grant, terms) in all {
            match self.review_terms(grant, &terms, false, Some(&reviewed), now) {
                Err(refusal) => self.end(grant, refusal, None, now),
                Ok(standing) => {
                    self.narrow(grant, &terms, &standing, now);
                    reviewed.insert(grant);
                }
            }
        }
        self.review_waiting(now);
    }

    /// Why a grant's time is up.
    pub(super) fn expired(&self, terms: &Terms) -> Refusal {
        let span = expiry::Span {
            start: terms.start,
            expires: terms.expires,
            not_after: terms.request.designation().not_after,
        };
        let in_force = self.was_in_force(&terms.agreement, span.expires);
        expiry::cause(terms.claims(), &span, in_force)
    }

    /// Whether an agreement is in force at that time; `None`: the settings have it no more.
    pub(super) fn was_in_force(&self, reference: &str, at: Wall) -> Option<bool> {
        let mut agreements = self.rules.settings.agreements.iter();
        let agreement = agreements.find(|agreement| agreement.reference == reference)?;
        Some(in_force_until(agreement, at).is_some())
    }

    pub(super) fn narrow(&mut self, grant: GrantId, before: &Terms, standing: &Standing, now: Now) {
        for camera in &before.granted {
            if !standing.granted.contains(camera) {
                let refusal = Refusal::new(
                    Reason::AgreementChanged,
                    format!("the agreement no longer covers {camera}"),
                );
                self.drop_camera(grant, camera, &refusal, None, now);
            }
        }
        let terms = match self.grants.get_mut(&grant) {
            Some(live) => &mut live.terms,
            None => match self.resuming.get_mut(&grant) {
                Some(resuming) => &mut resuming.terms,
                None => return,
            },
        };
        let is_other = terms.agreement != standing.agreement;
        terms.agreement.clone_from(&standing.agreement);
        terms.settings = standing.settings;
        if standing.expires < terms.expires {
            terms.expires = standing.expires;
            let left = standing.expires.since(now.wall);
            terms.deadline = terms.deadline.min(now.boot.plus(left));
            for camera in &standing.granted {
                self.adjust(&before.receiver, camera);
            }
        }
        if is_other {
            let agreement = standing.agreement.clone();
            self.send_all(
                &before.centre,
                ToReceiver::GrantAgreement { grant, agreement },
            );
        }
    }

    /// What today's rules leave of a grant. `new`: cuts and approval count, as
    /// for a request; they do not take from a grant that lives.
    pub(super) fn review_terms(
        &self,
        grant: GrantId,
        terms: &Terms,
        new: bool,
        among: Option<&BTreeSet<GrantId>>,
        now: Now,
    ) -> Result<Standing, Refusal> {
        if let Some(lost) = self.loss(&terms.centre) {
            return Err(lost);
        }
        let told = |refusal| if new { refusal } else { changed(refusal) };
        let verified = self
            .verify(&terms.centre, terms.request.text(), now)
            .map_err(told)?;
        let left = u32::try_from(terms.left(now).as_secs()).unwrap_or(u32::MAX);
        let question = Question {
            receiver: &terms.receiver,
            cameras: &terms.granted,
            duration: left.max(1),
            except: Some(grant),
            among,
            renewal: Some(Renewal {
                first_start: terms.first_start,
            }),
            new,
        };
        let examined = self
            .examine(&question, verified, now)
            .map_err(|denied| told(denied.refusal))?;
        if new && examined.approval.is_some() && terms.approved_by.is_none() {
            let detail = "the commune began to approve each request: sign a new one";
            return Err(Refusal::new(Reason::ApprovalPending, detail));
        }
        // `left` is in whole seconds: only a real cut of time counts.
        let shortened = examined.verdict.expires.plus(Duration::from_secs(1)) < terms.expires;
        Ok(Standing {
            granted: examined.verdict.granted,
            expires: if shortened {
                examined.verdict.expires
            } else {
                terms.expires
            },
            agreement: examined.agreement,
            settings: examined.settings,
        })
    }
}

/// Why a grant can't stand any more, where a request would be refused so.
pub(super) fn changed(refusal: Refusal) -> Refusal {
    if refusal.reason.has(Mark::EndsGrants) {
        return refusal;
    }
    let detail = format!("{}: {}", refusal.reason, refusal.detail);
    Refusal::new(Reason::AgreementChanged, detail)
}
