//! Requests that wait for somebody at the commune, where the agreement says
//! `approval = "commune"`.
//!
//! A request that passed all checks is journalled as waiting, and then told to
//! its centre and shown by `fanal relays`. Nothing is opened for it. It ends
//! once, in the order of what comes first: a person approves it, which makes all
//! checks again and then records the grant as usual, its time counted from there;
//! a person refuses it; its time is up; a cut, a reload or a revocation no longer
//! allows it; or the gateway stops: a restart revives no request.
//!
//! A lost link ends no wait: the centre hears of the wait and of its end on
//! whichever link is up. A renewal needs no new approval where the grant that it
//! carries on was approved, for the same grounds and no other cameras.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::record::Recording;
use super::request::{Answer, Denied, Examined, Question};
use super::{Fresh, Gate, Pending};
use crate::clock::{Boot, Now, Wall};
use crate::format::control::ToReceiver;
use crate::format::designation::Verified;
use crate::format::ids::{CameraId, CentreId, GrantId, Incident, ReceiverId, RequestId};
use crate::format::statement::{Operator, RefusedCamera, RequestClaims};
use crate::format::text;
use crate::journal::Receipt;
use crate::journal::entry::{Entry, WaitEnded};
use crate::policy::agreement::Renewal;
use crate::reason::{Reason, Refusal};

/// Requests that wait at once, all centres together; one more is refused,
/// `approval_pending`.
pub const WAITING_LIMIT: usize = 64;
/// Those of one unit.
pub const WAITING_PER_UNIT: usize = 8;
/// How long a refusal is told to its centre again at each new link.
const DECIDED_KEPT: Duration = Duration::from_secs(600);
/// Most refusals kept for that.
const DECIDED_LIMIT: usize = 2 * WAITING_LIMIT;

/// A request that waits.
#[derive(Debug)]
pub(super) struct Held {
    /// Through which receiver it came: that one hears of it.
    receiver: ReceiverId,
    /// Number of the request on the link that brought it, and that link.
    id: u64,
    session: u64,
    fresh: Fresh,
    request: Verified<RequestClaims>,
    agreement: String,
    /// What would be granted; an approval gives no more than was shown.
    cameras: Vec<CameraId>,
    refused: Vec<RefusedCamera>,
    since: Wall,
    approve_by: Wall,
    deadline: Boot,
    /// The centre was told that it waits.
    told: bool,
}

impl Held {
    /// Whether its time is up, by either clock.
    fn is_over(&self, now: Now) -> bool {
        self.deadline <= now.boot || self.approve_by <= now.wall
    }
}

/// A refusal that the centre may not have heard.
#[derive(Debug)]
struct Decided {
    centre: CentreId,
    request: RequestId,
    refusal: Refusal,
    cameras: Vec<RefusedCamera>,
    /// Since when it is kept.
    at: Option<Boot>,
}

impl Decided {
    fn message(&self, head: Option<String>) -> ToReceiver {
        ToReceiver::WaitEnded {
            request: self.request,
            refusal: self.refusal.clone(),
            cameras: self.cameras.clone(),
            head,
        }
    }
}

/// What waits, and what waited a short while ago.
#[derive(Debug, Default)]
pub(super) struct Approvals {
    held: BTreeMap<RequestId, Held>,
    decided: VecDeque<Decided>,
}

impl Approvals {
    /// When the first wait ends.
    pub(super) fn due(&self) -> Option<Boot> {
        self.held.values().map(|held| held.deadline).min()
    }

    pub(super) fn forget(&mut self, now: Now) {
        self.decided.retain_mut(|decided| {
            let at = *decided.at.get_or_insert(now.boot);
            now.boot.since(at) < DECIDED_KEPT
        });
    }

    fn keep(&mut self, decided: Decided) {
        if self.decided.len() >= DECIDED_LIMIT {
            self.decided.pop_front();
        }
        self.decided.push_back(decided);
    }
}

/// A request that waits, with all that a person needs to decide.
#[derive(Clone, Debug, PartialEq)]
pub struct Waiting {
    /// Its id, for `fanal approve`.
    pub request: RequestId,
    /// Through whom it came.
    pub centre: CentreId,
    /// Who signed.
    pub operator: Operator,
    /// The intervention.
    pub incident: Incident,
    /// Why: the id of the grounds.
    pub grounds: String,
    /// Who else is said to be present.
    pub present: Vec<String>,
    /// What would be granted.
    pub cameras: Vec<CameraId>,
    /// What would not.
    pub refused: Vec<RefusedCamera>,
    /// For how long, seconds from the approval.
    pub duration: u32,
    /// The live grant that it carries on, if it does.
    pub renews: Option<GrantId>,
    /// The agreement's reference.
    pub agreement: String,
    /// Since when it waits.
    pub since: Wall,
    /// Until when it waits.
    pub approve_by: Wall,
    /// How long it still waits.
    pub left: Duration,
}

/// What an approval did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approved {
    /// The grant, which is being recorded.
    pub grant: GrantId,
    /// Its cameras.
    pub cameras: Vec<CameraId>,
    /// Until when.
    pub until: Wall,
}

/// Why a decision on a request had no effect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecisionError {
    /// Nothing waits under this id.
    #[error("no request {0} waits; `fanal relays` lists those that do")]
    Unknown(RequestId),
    /// It waited a short while ago, and its operator gave it up.
    #[error("the request {0} waits no more: {1}")]
    Over(RequestId, Refusal),
    /// All checks were made again, and one did not pass: it is refused.
    #[error("the request is no longer allowed and was refused: {0}")]
    NotAllowed(Refusal),
    /// It can't be granted at this moment; it goes on waiting.
    #[error("the request can't be granted now and goes on waiting: {0}")]
    NotNow(Refusal),
}

impl DecisionError {
    /// Its stable code.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Unknown(_) => Reason::GrantUnknown,
            Self::Over(_, refusal) | Self::NotAllowed(refusal) | Self::NotNow(refusal) => {
                refusal.reason
            }
        }
    }
}

impl Gate {
    /// How many requests wait for the commune.
    pub fn approvals_waiting(&self) -> usize {
        self.approvals.held.len()
    }

    /// The request that waits under this id.
    pub(super) fn waits(&self, request: RequestId) -> Option<&Verified<RequestClaims>> {
        self.approvals.held.get(&request).map(|held| &held.request)
    }

    /// Every request that waits, the soonest to end first.
    pub fn waiting(&self, now: Now) -> Vec<Waiting> {
        let mut rows: Vec<Waiting> = self
            .approvals
            .held
            .iter()
            .map(|(request, held)| {
                let claims = held.request.claims();
                Waiting {
                    request: *request,
                    centre: held.receiver.centre.clone(),
                    operator: held.request.designation().operator.clone(),
                    incident: claims.incident.clone(),
                    grounds: claims.grounds.clone(),
                    present: claims.present.clone(),
                    cameras: held.cameras.clone(),
                    refused: held.refused.clone(),
                    duration: claims.duration,
                    renews: claims.renews,
                    agreement: held.agreement.clone(),
                    since: held.since,
                    approve_by: held.approve_by,
                    left: held.deadline.since(now.boot),
                }
            })
            .collect();
        rows.sort_by_key(|row| (row.left, row.request));
        rows
    }

    /// Somebody at the commune approves a request: all checks are made again, and
    /// the grant goes its usual way. `by` is who did it, as the socket knows.
    ///
    /// # Errors
    /// It does not wait, or is not allowed any more, or not at this moment.
    pub fn handle_approve(
        &mut self,
        request: RequestId,
        by: &str,
        now: Now,
    ) -> Result<Approved, DecisionError> {
        self.end_waits(now);
        let Some(held) = self.approvals.held.remove(&request) else {
            return Err(self.no_wait(request));
        };
        match self.judge_again(&held, by, now) {
            Ok((recording, verified)) => {
                let approved = Approved {
                    grant: recording.grant,
                    cameras: recording.terms.granted.clone(),
                    until: recording.terms.expires,
                };
                let entry = self.grant_entry(&recording, &verified);
                self.record(
                    Box::new(Entry::Grant(Box::new(entry))),
                    Pending::Grant(Box::new(recording)),
                );
                Ok(approved)
            }
            Err(denied) if denied.refusal.reason.passes() => {
                self.approvals.held.insert(request, held);
                Err(DecisionError::NotNow(denied.refusal))
            }
            Err(denied) => {
                let refusal = denied.refusal.clone();
                self.refuse_waiting(held, denied, Some(by.to_owned()), now);
                Err(DecisionError::NotAllowed(refusal))
            }
        }
    }

    /// Somebody at the commune refuses a request.
    ///
    /// # Errors
    /// It does not wait.
    pub fn handle_refuse(
        &mut self,
        request: RequestId,
        by: &str,
        now: Now,
    ) -> Result<(), DecisionError> {
        self.end_waits(now);
        let Some(held) = self.approvals.held.remove(&request) else {
            return Err(self.no_wait(request));
        };
        let refusal = Refusal::new(
            Reason::CommuneRefused,
            "somebody at the commune looked at the request and refused it",
        );
        self.refuse_waiting(held, Denied::new(None, refusal), Some(by.to_owned()), now);
        Ok(())
    }

    /// Why a request can't be decided: its operator gave it up, or nothing waits.
    fn no_wait(&self, request: RequestId) -> DecisionError {
        let mut decided = self.approvals.decided.iter().rev();
        let is_cancelled = |decided: &&Decided| {
            decided.request == request && decided.refusal.reason == Reason::RequestCancelled
        };
        match decided.find(is_cancelled) {
            Some(decided) => DecisionError::Over(request, decided.refusal.clone()),
            None => DecisionError::Unknown(request),
        }
    }

    /// The operator gave a request up, as his centre says. One that does not wait, or not for this
    /// centre, is as it is: a grant of it is released by its id.
    pub(super) fn handle_cancel(
        &mut self,
        from: &ReceiverId,
        request: RequestId,
        by: &str,
        now: Now,
    ) {
        let held = self.approvals.held.get(&request);
        if held.is_none_or(|held| held.receiver.centre != from.centre) {
            return;
        }
        if let Some(held) = self.approvals.held.remove(&request) {
            let detail = format!("cancelled by {}", text::shown(by, text::TEXT_LIMIT));
            let refusal = Refusal::new(Reason::RequestCancelled, detail);
            self.refuse_waiting(held, Denied::new(None, refusal), None, now);
        }
    }

    /// Who approved the grant that a request carries on, where that covers it: the
    /// same grounds and no other cameras.
    pub(super) fn approved_before(&self, examined: &Examined) -> Option<String> {
        let claims = examined.verified.claims();
        let terms = &self.grants.get(&claims.renews?)?.terms;
        let known = |camera: &CameraId| terms.granted.contains(camera);
        let covered =
            terms.claims().grounds == claims.grounds && examined.verdict.granted.iter().all(known);
        covered.then(|| terms.approved_by.clone()).flatten()
    }

    /// A request that passed all checks, as it is to wait.
    #[allow(clippy::result_large_err)] // a refusal is rare and moved once
    pub(super) fn hold(
        &self,
        receiver: &ReceiverId,
        examined: Examined,
        (id, session, fresh): (u64, u64, Fresh),
        timeout: Duration,
        now: Now,
    ) -> Result<Held, Denied> {
        let unit = examined.verified.designation().unit();
        let recording = self.ledger.pending().filter_map(|pending| match pending {
            Pending::Waiting(held) => Some(&**held),
            _ => None,
        });
        let waiting: Vec<&Held> = self.approvals.held.values().chain(recording).collect();
        let of_unit = waiting.iter().filter(|held| {
            held.receiver.centre == receiver.centre && held.request.designation().unit() == unit
        });
        let over = if of_unit.count() >= WAITING_PER_UNIT {
            Some(format!(
                "{WAITING_PER_UNIT} requests of {} wait for the commune already",
                unit.name
            ))
        } else if waiting.len() >= WAITING_LIMIT {
            Some(format!(
                "{WAITING_LIMIT} requests wait for the commune already"
            ))
        } else {
            None
        };
        if let Some(detail) = over {
            let refusal = Refusal::new(Reason::ApprovalPending, detail);
            return Err(Denied::new(Some(examined.verified), refusal));
        }
        Ok(Held {
            receiver: receiver.clone(),
            id,
            session,
            fresh,
            agreement: examined.agreement,
            cameras: examined.verdict.granted,
            refused: examined.verdict.refused,
            since: now.wall,
            approve_by: now.wall.plus(timeout),
            deadline: now.boot.plus(timeout),
            told: false,
            request: examined.verified,
        })
    }

    /// Journals that a request waits; the centre is told once that is durable.
    pub(super) fn record_waiting(&mut self, held: Held) {
        let entry = Entry::Waiting {
            request: held.request.text().to_owned(),
            jti: held.request.claims().jti,
            peer: held.receiver.centre.clone(),
            operator: held.request.designation().operator.clone(),
            agreement: held.agreement.clone(),
            cameras: held.cameras.clone(),
            approve_by: held.approve_by.rfc3339(),
        };
        self.record(Box::new(entry), Pending::Waiting(Box::new(held)));
    }

    /// The journal's answer to a wait: the point at which it begins.
    pub(super) fn waiting_recorded(
        &mut self,
        mut held: Held,
        result: Result<Receipt, String>,
        now: Now,
    ) {
        let refusal = match result {
            Err(cause) => {
                tracing::error!(%cause, "a request that is to wait could not be recorded");
                let commune = &self.rules.settings.commune;
                let detail = format!("the journal of {commune} can't be written");
                Some(Refusal::new(Reason::JournalUnavailable, detail))
            }
            Ok(_) if self.stopping => Some(Reason::ShuttingDown.into()),
            // A journal so slow that the time is up already.
            Ok(_) if held.is_over(now) => Some(self.timed_out(&held)),
            Ok(_) => None,
        };
        if let Some(refusal) = refusal {
            return self.refuse_waiting(held, Denied::new(None, refusal), None, now);
        }
        held.told = true;
        self.tell_waiting(&held, now);
        self.approvals.held.insert(held.request.claims().jti, held);
    }

    fn tell_waiting(&mut self, held: &Held, now: Now) {
        let left = held.deadline.since(now.boot).as_secs();
        let message = ToReceiver::Waiting {
            request: held.request.text().to_owned(),
            seconds: u32::try_from(left).unwrap_or(u32::MAX),
        };
        self.send(&held.receiver, message);
    }

    /// What a receiver whose link is new must know of requests that came through it.
    pub(super) fn tell_waits(&mut self, receiver: &ReceiverId, now: Now) {
        let mut held = std::mem::take(&mut self.approvals.held);
        let is_lone = self.is_lone(&receiver.centre);
        for held in held.values_mut() {
            if is_lone && held.receiver.centre == receiver.centre {
                // The same machine, maybe with a new key.
                held.receiver.clone_from(receiver);
            }
            if &held.receiver == receiver {
                self.tell_waiting(held, now);
            }
        }
        self.approvals.held = held;
        let ended: Vec<ToReceiver> = self
            .approvals
            .decided
            .iter()
            .filter(|decided| decided.centre == receiver.centre)
            .map(|decided| decided.message(None))
            .collect();
        for message in ended {
            self.send(receiver, message);
        }
    }

    /// Tells that a wait ended without a grant, now or when the link is back.
    pub(super) fn tell_wait_ended(
        &mut self,
        request: RequestId,
        answer: Answer,
        head: Option<String>,
    ) {
        let decided = Decided {
            centre: answer.receiver.centre,
            request,
            refusal: answer.refusal,
            cameras: answer.cameras,
            at: None,
        };
        let message = decided.message(head);
        self.send_all(&decided.centre, message);
        self.approvals.keep(decided);
    }

    /// All checks but freshness and use, which were made when it came.
    #[allow(clippy::result_large_err)] // a refusal is rare and moved once
    fn judge_again(
        &self,
        held: &Held,
        by: &str,
        now: Now,
    ) -> Result<(Recording, Verified<RequestClaims>), Denied> {
        let deny = |refusal: Refusal| Denied::new(None, refusal);
        if self.stopping {
            return Err(deny(Reason::ShuttingDown.into()));
        }
        if let Some(clock) = self.clock_wrong(now) {
            return Err(deny(clock));
        }
        let verified = self
            .verify(&held.receiver.centre, held.request.text(), now)
            .map_err(deny)?;
        let first_start = self
            .room_for(&held.receiver.centre, &held.request, now)
            .map_err(deny)?;
        let claims = held.request.claims();
        let question = Question {
            receiver: &held.receiver,
            cameras: &held.cameras,
            duration: claims.duration,
            except: claims.renews,
            among: None,
            renewal: claims.renews.map(|_| Renewal { first_start }),
            new: true,
        };
        let examined = self.examine(&question, verified, now)?;
        let approved_by = Some(by.to_owned());
        let (mut recording, verified) = self
            .terms(
                &held.receiver,
                examined,
                held.fresh,
                first_start,
                approved_by,
                now,
            )
            .map_err(deny)?;
        recording.waited = true;
        let left_out = held.refused.iter().cloned();
        recording.terms.refused.extend(left_out);
        Ok((recording, verified))
    }

    /// Refuses what waits and is not allowed any more: after a reload, a
    /// revocation or a cut.
    pub(super) fn review_waiting(&mut self, now: Now) {
        let refused: Vec<(RequestId, Denied)> = self
            .approvals
            .held
            .iter()
            .filter_map(|(request, held)| {
                let denied = self.judge_again(held, "", now).err()?;
                (!denied.refusal.reason.passes()).then_some((*request, denied))
            })
            .collect();
        for (request, denied) in refused {
            if let Some(held) = self.approvals.held.remove(&request) {
                self.refuse_waiting(held, denied, None, now);
            }
        }
    }

    /// Ends waits whose time is up, by either clock.
    pub(super) fn end_waits(&mut self, now: Now) {
        let over: Vec<RequestId> = self
            .approvals
            .held
            .iter()
            .filter(|(_, held)| held.is_over(now))
            .map(|(request, _)| *request)
            .collect();
        for request in over {
            if let Some(held) = self.approvals.held.remove(&request) {
                let refusal = self.timed_out(&held);
                self.refuse_waiting(held, Denied::new(None, refusal), None, now);
            }
        }
    }

    fn timed_out(&self, held: &Held) -> Refusal {
        let waited = held.approve_by.since(held.since).as_secs();
        let commune = &self.rules.settings.commune;
        let detail = format!("nobody at {commune} approved within {waited} s");
        Refusal::new(Reason::ApprovalTimedOut, detail)
    }

    /// The daemon stops: what waits is refused.
    pub(super) fn refuse_all_waiting(&mut self, now: Now) {
        for (_, held) in std::mem::take(&mut self.approvals.held) {
            let denied = Denied::new(None, Reason::ShuttingDown);
            self.refuse_waiting(held, denied, None, now);
        }
    }

    /// Journals the end of a wait; then it is told.
    fn refuse_waiting(&mut self, held: Held, denied: Denied, by: Option<String>, now: Now) {
        let jti = held.request.claims().jti;
        self.mark_written(jti, now.boot);
        let refused = Entry::refused(&held.request, &held.receiver.centre, denied.refusal.clone());
        let entry = Box::new(refused.undoing(None, Some(WaitEnded { by })));
        let answer = Answer {
            receiver: held.receiver,
            id: held.id,
            session: held.session,
            refusal: denied.refusal,
            cameras: denied.cameras,
            waited: held.told.then_some(jti),
        };
        self.record(entry.clone(), Pending::Refusal(Box::new(answer), entry));
    }

    /// A refusal of before the restart that its centre may not have heard.
    pub(super) fn read_wait_ended(
        &mut self,
        request: RequestId,
        peer: &str,
        refusal: &Refusal,
        time: Wall,
        now: Now,
    ) {
        if let (true, Ok(centre)) = (
            now.wall.since(time) < DECIDED_KEPT,
            CentreId::new(peer.to_owned()),
        ) {
            self.approvals.keep(Decided {
                centre,
                request,
                refusal: refusal.clone(),
                cameras: Vec::new(),
                at: Some(now.boot),
            });
        }
    }

    /// A request that waited when the gateway went down: it is not revived, for
    /// nobody was there to be asked.
    pub(super) fn end_past_wait(&mut self, entry: Entry, now: Now) {
        let Entry::Waiting {
            request,
            jti,
            peer,
            operator,
            approve_by,
            ..
        } = entry
        else {
            return;
        };
        let over = approve_by
            .parse::<jiff::Timestamp>()
            .is_ok_and(|time| Wall(time.as_microsecond()) <= now.wall);
        let refusal = if over {
            Reason::ApprovalTimedOut.into()
        } else {
            let commune = &self.rules.settings.commune;
            let detail = format!(
                "the gateway of {commune} restarted while the request waited: sign a new one"
            );
            Refusal::new(Reason::ShuttingDown, detail)
        };
        self.mark_written(jti, now.boot);
        self.read_wait_ended(jti, peer.as_str(), &refusal, now.wall, now);
        self.owe_entry(
            Entry::Refused {
                request,
                jti,
                peer: peer.to_string(),
                operator,
                refusal,
                voids: None,
                wait_ended: Some(WaitEnded::default()),
            },
            None,
        );
    }
}
