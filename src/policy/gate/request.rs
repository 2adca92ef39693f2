//! The check of a request, from its first character to its grant.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::grant::Terms;
use super::record::Recording;
use super::{Gate, Pending};
use crate::clock::{Boot, Now, Wall};
use crate::config::settings::{Agreement, Approval};
use crate::format::control::ToReceiver;
use crate::format::designation::{Rules, Verified};
use crate::format::ids::{CameraId, CentreId, GrantId, ReceiverId, RequestId, Sha256};
use crate::format::statement::{Operator, RefusedCamera, RequestClaims};
use crate::journal::entry::Entry;
use crate::policy::agreement::{Renewal, Verdict, judge};
use crate::policy::peer::rates::UNVERIFIED_PER_SECOND;
use crate::policy::peer::{envelope, pace};
use crate::reason::{Reason, Refusal};

/// How long a refused request is remembered as written: longer than it can be fresh.
pub(super) const REMEMBERED: Duration = Duration::from_secs(600);
/// Most refused requests remembered as written.
const REMEMBERED_LIMIT: usize = 65_536;

/// Random values of a request, drawn by the driver.
#[derive(Clone, Copy, Debug)]
pub struct Fresh {
    /// The id of the grant, should it be granted.
    pub grant: GrantId,
}

/// An answer that refuses.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) receiver: ReceiverId,
    pub(super) id: u64,
    pub(super) session: u64,
    pub(super) refusal: Refusal,
    pub(super) cameras: Vec<RefusedCamera>,
    /// The request, where it waited for approval: the answer then goes out on
    /// whichever link is up.
    pub(super) waited: Option<RequestId>,
}

/// What an agreement that fits says.
pub(super) struct Examined {
    pub(super) verified: Verified<RequestClaims>,
    pub(super) agreement: String,
    pub(super) settings: Sha256,
    pub(super) verdict: Verdict,
    /// How long the commune may take to approve it, where it must.
    pub(super) approval: Option<Duration>,
}

/// What is asked of the agreements.
pub(super) struct Question<'a> {
    pub(super) receiver: &'a ReceiverId,
    pub(super) cameras: &'a [CameraId],
    /// Seconds.
    pub(super) duration: u32,
    /// The grant whose own cameras do not count.
    pub(super) except: Option<GrantId>,
    /// The only grants whose cameras count, where not all do.
    pub(super) among: Option<&'a BTreeSet<GrantId>>,
    pub(super) renewal: Option<Renewal>,
    /// Cuts and the uplink count.
    pub(super) new: bool,
}

/// A request that passed all checks.
enum Allowed {
    /// It is granted once that is recorded.
    Now(Box<(Recording, Verified<RequestClaims>)>),
    /// The commune must approve it within this time.
    Waits(Box<Examined>, Duration),
}

/// A request that no agreement allows; `verified` where one knows its signer.
pub(super) struct Denied {
    pub(super) verified: Option<Box<Verified<RequestClaims>>>,
    pub(super) refusal: Refusal,
    pub(super) cameras: Vec<RefusedCamera>,
    /// One more than its operator may send: counted, not stored.
    is_excess: bool,
}

impl Denied {
    pub(super) fn new(
        verified: Option<Verified<RequestClaims>>,
        refusal: impl Into<Refusal>,
    ) -> Self {
        Self {
            verified: verified.map(Box::new),
            refusal: refusal.into(),
            cameras: Vec::new(),
            is_excess: false,
        }
    }
}

impl Gate {
    pub(super) fn handle_request(
        &mut self,
        from: &ReceiverId,
        id: u64,
        text: &str,
        fresh: Fresh,
        now: Now,
    ) {
        let session = self.links.get(from).map_or(0, |up| up.session);
        let answer = |denied: Denied| Answer {
            receiver: from.clone(),
            id,
            session,
            refusal: denied.refusal,
            cameras: denied.cameras,
            waited: None,
        };
        if self.stopping {
            let denied = Denied::new(None, Reason::ShuttingDown);
            return self.answer(answer(denied), None);
        }
        let peer = self.peers.entry(from.clone()).or_default();
        if !peer.looked.below(UNVERIFIED_PER_SECOND, now) {
            peer.unverified.count(Reason::TooManyAttempts, now);
            let denied = Denied::new(None, Reason::TooManyAttempts);
            return self.answer(answer(denied), None);
        }
        let (recording, verified) = match self.check(from, text, fresh, now) {
            Ok(Allowed::Now(granted)) => *granted,
            Ok(Allowed::Waits(examined, timeout)) => {
                let held = self.hold(from, *examined, (id, session, fresh), timeout, now);
                return match held {
                    Ok(held) => self.record_waiting(held),
                    Err(denied) => self.deny(denied, answer, now),
                };
            }
            Err(denied) => return self.deny(denied, answer, now),
        };
        let recording = Recording {
            id,
            session,
            ..recording
        };
        let entry = self.grant_entry(&recording, &verified);
        self.record(
            Box::new(Entry::Grant(Box::new(entry))),
            Pending::Grant(Box::new(recording)),
        );
    }

    /// Refuses: what verified is journalled, once; what did not is counted.
    fn deny(&mut self, denied: Denied, answer: impl Fn(Denied) -> Answer, now: Now) {
        let Some(verified) = denied.verified.clone() else {
            let answer = answer(denied);
            let peer = self.peers.entry(answer.receiver.clone()).or_default();
            peer.looked.count(now);
            peer.unverified.count(answer.refusal.reason, now);
            return self.answer(answer, None);
        };
        let is_excess = denied.is_excess;
        let answer = answer(denied);
        if is_excess {
            let centre = answer.receiver.centre.as_str();
            let line = self.paces.excess(verified.designation(), centre, now);
            if let Some(line) = line {
                self.owe_entry(line, None);
            }
            return self.answer(answer, None);
        }
        let jti = verified.claims().jti;
        let known = self.written_refusals.contains_key(&jti);
        if known || self.written_refusals.len() >= REMEMBERED_LIMIT {
            // It is in the journal; again and again would only fill the disk.
            let peer = self.peers.entry(answer.receiver.clone()).or_default();
            peer.looked.count(now);
            peer.unverified.count(answer.refusal.reason, now);
            return self.answer(answer, None);
        }
        self.written_refusals.insert(jti, now.boot);
        let refusal = answer.refusal.clone();
        let entry = Box::new(Entry::refused(&verified, &answer.receiver.centre, refusal));
        self.record(entry.clone(), Pending::Refusal(Box::new(answer), entry));
    }

    /// Tells a refusal.
    pub(super) fn answer(&mut self, answer: Answer, head: Option<String>) {
        self.commands.push_back(super::Command::Count {
            centre: answer.receiver.centre.clone(),
            refused: Some(answer.refusal.reason),
        });
        if let Some(request) = answer.waited {
            return self.tell_wait_ended(request, answer, head);
        }
        let current = self.links.get(&answer.receiver).map(|up| up.session);
        if current == Some(answer.session) {
            self.send(
                &answer.receiver,
                ToReceiver::Refused {
                    id: answer.id,
                    refusal: answer.refusal,
                    cameras: answer.cameras,
                    head,
                },
            );
        }
    }

    /// The whole check of a new request.
    #[allow(clippy::result_large_err)] // a refusal is rare and moved once
    fn check(
        &mut self,
        from: &ReceiverId,
        text: &str,
        fresh: Fresh,
        now: Now,
    ) -> Result<Allowed, Denied> {
        let centre = &from.centre;
        let clock = self.clock_wrong(now);
        let verified = self.verify(centre, text, now).map_err(|refusal| {
            // With a wrong clock, what it says of validity is worth nothing.
            Denied::new(None, clock.clone().unwrap_or(refusal))
        })?;
        let first = verified.values().next().cloned();
        let Some(first) = first else {
            return Err(Denied::new(None, Reason::NoAgreement));
        };
        let claims = first.claims().clone();
        let deny = |refusal: Refusal| Denied::new(Some(first.clone()), refusal);
        let unused = self
            .used
            .mark(claims.jti, Wall::from_seconds(claims.iat), now.wall);
        if unused && let Err(refusal) = self.paces.request(first.designation(), claims.iat, now) {
            return Err(Denied {
                is_excess: true,
                ..deny(refusal)
            });
        }
        if let Some(clock) = clock {
            return Err(deny(clock));
        }
        if !unused {
            return Err(deny(Reason::ReplayedRequest.into()));
        }
        let iat = Wall::from_seconds(claims.iat);
        let commune = &self.rules.settings.commune;
        if let Some(refusal) = self.used.doubt(iat, commune, now.wall) {
            return Err(deny(refusal));
        }
        self.check_envelope(centre, &claims, now).map_err(deny)?;
        let first_start = self.room_for(centre, &first, now).map_err(deny)?;
        let question = Question {
            receiver: from,
            cameras: &claims.cameras,
            duration: claims.duration,
            except: claims.renews,
            among: None,
            renewal: claims.renews.map(|_| Renewal { first_start }),
            new: true,
        };
        let examined = self.examine(&question, verified, now)?;
        let approved_by = self.approved_before(&examined);
        match examined.approval {
            Some(timeout) if approved_by.is_none() => {
                Ok(Allowed::Waits(Box::new(examined), timeout))
            }
            _ => {
                let granted = self
                    .terms(from, examined, fresh, first_start, approved_by, now)
                    .map_err(deny)?;
                Ok(Allowed::Now(Box::new(granted)))
            }
        }
    }

    /// The clock's refusal, where it is behind the journal.
    pub(super) fn clock_wrong(&self, now: Now) -> Option<Refusal> {
        self.clock.refusal(&self.rules.settings.commune, now)
    }

    /// Whether a grant could be written and held, and when it began first: now, or
    /// when the grant began that it carries on.
    pub(super) fn room_for(
        &self,
        centre: &CentreId,
        request: &Verified<RequestClaims>,
        now: Now,
    ) -> Result<Wall, Refusal> {
        if self.ledger.is_blocked() {
            let detail = format!(
                "the journal of {} can't be written",
                self.rules.settings.commune
            );
            return Err(Refusal::new(Reason::JournalUnavailable, detail));
        }
        if let Some(lost) = self.loss(centre) {
            return Err(lost);
        }
        match request.claims().renews {
            Some(renewed) => self.renewable(centre, renewed, request, now),
            None if self.grants.len() >= super::GRANT_LIMIT => Err(Refusal::new(
                Reason::TooManyRelays,
                "too many grants live at this commune",
            )),
            None => {
                let who = request.designation();
                let live = self.grants.values().filter(|live| {
                    &live.terms.centre == centre
                        && live.terms.request.designation().is_same_operator(who)
                });
                if live.count() < pace::GRANTS {
                    return Ok(now.wall);
                }
                let Operator { name, number, .. } = &who.operator;
                let detail = format!(
                    "{name} ({number}) has {} grants at this commune already: release one first",
                    pace::GRANTS
                );
                Err(Refusal::new(Reason::TooManyRelays, detail))
            }
        }
    }

    /// Verifies under each agreement with the centre, by its number in the file.
    pub(super) fn verify(
        &self,
        centre: &CentreId,
        text: &str,
        now: Now,
    ) -> Result<BTreeMap<usize, Verified<RequestClaims>>, Refusal> {
        let agreements = self.rules.settings.agreements.iter().enumerate();
        let authorities = agreements.zip(&self.rules.authorities);
        let of_centre = authorities.filter(|((_, agreement), _)| &agreement.centre == centre);
        let asked = of_centre.map(|((number, agreement), authority)| {
            let rules = Rules {
                max_designation: Some(agreement.max_designation),
                require_fresh_revocation: agreement.require_fresh_revocation,
            };
            (number, authority, rules)
        });
        let opened = envelope::open(text, asked, usize::MAX, Reason::NoAgreement, now)?;
        Ok(opened.into_iter().collect())
    }

    /// For whom, through whom, when.
    fn check_envelope(
        &self,
        centre: &CentreId,
        claims: &RequestClaims,
        now: Now,
    ) -> Result<(), Refusal> {
        let commune = &self.rules.settings.commune;
        if &claims.aud != commune || &claims.centre != centre {
            let detail = format!(
                "the request is for {} through {}, not for {commune} through {centre}",
                claims.aud, claims.centre
            );
            return Err(Refusal::new(Reason::WrongAudience, detail));
        }
        envelope::check_fresh(claims.iat, commune, now)
    }

    /// When the grant to renew began, if this request may carry it on.
    fn renewable(
        &self,
        centre: &CentreId,
        renewed: GrantId,
        request: &Verified<RequestClaims>,
        now: Now,
    ) -> Result<Wall, Refusal> {
        let Some(live) = self.grants.get(&renewed) else {
            return Err(Refusal::new(
                Reason::GrantUnknown,
                format!("grant {renewed} is not live"),
            ));
        };
        let terms = &live.terms;
        let same = &terms.centre == centre
            && terms.claims().incident == request.claims().incident
            && self.is_same_unit(centre, &terms.request, request, now);
        if same {
            Ok(terms.first_start)
        } else {
            // Not a word of whose it is: another unit need not know.
            Err(Refusal::new(
                Reason::GrantUnknown,
                format!("grant {renewed} is not one of this unit and incident"),
            ))
        }
    }

    /// Whether both were signed in one unit of one authority. Both are verified as of now: the
    /// authority may go on under other keys, or be that of several agreements.
    fn is_same_unit(
        &self,
        centre: &CentreId,
        one: &Verified<RequestClaims>,
        other: &Verified<RequestClaims>,
        now: Now,
    ) -> bool {
        if one.designation().unit() == other.designation().unit() {
            return true;
        }
        if one.designation().operator.unit != other.designation().operator.unit {
            return false;
        }
        let verified = [one, other].map(|request| self.verify(centre, request.text(), now));
        let [Ok(one), Ok(other)] = verified else {
            return false;
        };
        one.iter().any(|(agreement, one)| {
            let other = other.get(agreement);
            other.is_some_and(|other| one.designation().unit() == other.designation().unit())
        })
    }

    /// The best verdict of the agreements under which a request verified.
    #[allow(clippy::result_large_err)] // a refusal is rare and moved once
    pub(super) fn examine(
        &self,
        question: &Question<'_>,
        verified: BTreeMap<usize, Verified<RequestClaims>>,
        now: Now,
    ) -> Result<Examined, Denied> {
        let mut best: Option<Examined> = None;
        let mut worst: Option<Denied> = None;
        for (number, verified) in verified {
            let Some(agreement) = self.rules.settings.agreements.get(number) else {
                continue;
            };
            let judged = self.judge_under(agreement, question, &verified, now);
            match judged {
                Ok(verdict) => {
                    let exempt = &agreement.approval_exempt;
                    let exempt = exempt.contains(&verified.claims().grounds);
                    let approval = (agreement.approval == Approval::Commune && !exempt)
                        .then_some(agreement.approval_timeout);
                    let better = best.as_ref().is_none_or(|best| {
                        // What needs nobody's approval comes first.
                        (approval.is_none(), verdict.granted.len(), verdict.expires)
                            > (
                                best.approval.is_none(),
                                best.verdict.granted.len(),
                                best.verdict.expires,
                            )
                    });
                    if better {
                        best = Some(Examined {
                            verified,
                            agreement: agreement.reference.clone(),
                            settings: agreement.settings_hash,
                            verdict,
                            approval,
                        });
                    }
                }
                Err((refusal, cameras)) => {
                    let further = worst
                        .as_ref()
                        .is_none_or(|worst| refusal.reason.stage() > worst.refusal.reason.stage());
                    if further {
                        worst = Some(Denied {
                            verified: Some(Box::new(verified)),
                            refusal,
                            cameras,
                            is_excess: false,
                        });
                    }
                }
            }
        }
        best.ok_or_else(|| worst.unwrap_or_else(|| Denied::new(None, Reason::NoAgreement)))
    }

    /// One agreement's verdict, cuts included.
    fn judge_under(
        &self,
        agreement: &Agreement,
        question: &Question<'_>,
        verified: &Verified<RequestClaims>,
        now: Now,
    ) -> Result<Verdict, (Refusal, Vec<RefusedCamera>)> {
        let (centre, new) = (&question.receiver.centre, question.new);
        if let (true, Some(refusal)) = (new, self.blocked_whole(centre)) {
            return Err((refusal, Vec::new()));
        }
        let operator = &verified.designation().operator;
        let incident = &verified.claims().incident;
        let mut claims = RequestClaims {
            cameras: question.cameras.to_vec(),
            duration: question.duration,
            ..verified.claims().clone()
        };
        let mut cut = Vec::new();
        claims.cameras.retain(|camera| {
            let blocked = new.then(|| self.blocked_camera(centre, incident, operator, camera));
            match blocked.flatten() {
                None => true,
                Some(refusal) => {
                    cut.push(RefusedCamera {
                        camera: camera.clone(),
                        refusal,
                    });
                    false
                }
            }
        });
        if let (true, Some(first)) = (claims.cameras.is_empty(), cut.first()) {
            return Err((first.refusal.clone(), cut));
        }
        let in_use = self.cameras_in_use(
            centre,
            &agreement.reference,
            question.except,
            question.among,
        );
        let camera = |id: &CameraId| self.rules.settings.camera(id).cloned();
        let mut verdict = judge(
            agreement,
            &claims,
            &operator.unit,
            &camera,
            &in_use,
            question.renewal,
            now.wall,
        )
        .map_err(|refusal| (refusal, cut.clone()))?;
        verdict.refused.extend(cut);
        if new {
            let full = self.fit(question.receiver, &mut verdict.granted);
            verdict.refused.extend(full);
            if let (true, Some(last)) = (verdict.granted.is_empty(), verdict.refused.last()) {
                return Err((last.refusal.clone(), verdict.refused));
            }
        }
        Ok(verdict)
    }

    /// The terms that will be recorded.
    pub(super) fn terms(
        &self,
        receiver: &ReceiverId,
        examined: Examined,
        fresh: Fresh,
        first_start: Wall,
        approved_by: Option<String>,
        now: Now,
    ) -> Result<(Recording, Verified<RequestClaims>), Refusal> {
        let Examined {
            verified,
            agreement,
            settings,
            verdict,
            approval: _,
        } = examined;
        let not_after = verified.designation().not_after;
        let expires = Wall::from_seconds(verdict.expires.min(not_after).seconds());
        if expires <= now.wall {
            let reason = if not_after < verdict.expires {
                Reason::DesignationExpired
            } else {
                Reason::AgreementNotInForce
            };
            return Err(Refusal::new(reason, "no whole second is left of it"));
        }
        let renews = verified.claims().renews;
        let terms = Terms {
            centre: receiver.centre.clone(),
            receiver: receiver.clone(),
            agreement,
            settings,
            granted: verdict.granted,
            dropped: BTreeMap::new(),
            refused: verdict.refused,
            first_start,
            start: now.wall,
            expires,
            deadline: now.boot.plus(expires.since(now.wall)),
            head_held: self
                .witnesses
                .head(receiver)
                .map(|(head, _)| (head.journal.clone(), head.seq)),
            approved_by,
            request: verified.clone(),
        };
        let recording = Recording {
            grant: renews.unwrap_or(fresh.grant),
            terms,
            renewal: renews.is_some(),
            id: 0,
            session: 0,
            waited: false,
            generation: self.generation,
        };
        Ok((recording, verified))
    }

    /// Remembers that a refusal is in the journal.
    pub(super) fn mark_written(&mut self, id: RequestId, at: Boot) {
        if self.written_refusals.len() < REMEMBERED_LIMIT {
            self.written_refusals.insert(id, at);
        }
    }
}
