//! Requests that wait for somebody at the commune.
//!
//! The gateway says that a request waits, and how long; the one who sent it is then
//! answered 202. How it ends comes on whichever link is up then: a grant as a
//! `Resume`, a refusal as a `WaitEnded`. Neither a lost link nor a restart of the
//! receiver ends a wait; without any word the centre gives it up a while after its
//! time. A grant that comes all the same is taken: it is the commune's to give.

use std::time::Duration;

use super::request::Forwarded;
use super::{Command, Denial, Desk};
use crate::clock::Now;
use crate::format::control::{ToGateway, ToReceiver};
use crate::format::designation::Designation;
use crate::format::ids::{CommuneId, RequestId};
use crate::format::statement::{Operator, RequestClaims};
use crate::reason::{Reason, Refusal};

/// The longest wait that is believed: the longest an agreement can set.
const WAIT_LIMIT: Duration = Duration::from_secs(3_600);
/// A wait is given up this long after its time, so that the commune's own word
/// of its end comes first.
const GRACE: Duration = Duration::from_secs(30);
/// Requests of one commune that wait for approval; a gateway allows as many in all.
const APPROVALS_LIMIT: usize = 64;

impl Desk {
    /// A request waits for the commune, or still waits after a lost link.
    pub(super) fn handle_waiting(
        &mut self,
        commune: &CommuneId,
        text: &str,
        seconds: u32,
        now: Now,
    ) {
        let checked = self
            .verify_any(text, now)
            .and_then(|request| self.check_names(&request).map(|()| request));
        let request = match checked {
            Ok(request) if &request.claims().aud == commune => request,
            Ok(_) => {
                tracing::warn!(%commune, "a request of another commune can't wait there");
                return;
            }
            Err(refusal) => {
                tracing::warn!(%commune, %refusal, "a request that waits is not valid");
                return;
            }
        };
        let jti = request.claims().jti;
        if self.forwarded.is_cancelled(jti, commune) {
            // The gateway did not hear of it.
            let by = request.designation().operator.number.clone();
            return self.send(commune, ToGateway::Cancel { request: jti, by });
        }
        let wait = Duration::from_secs(seconds.into()).min(WAIT_LIMIT);
        let approve_by = now.wall.plus(wait);
        let deadline = now.boot.plus(wait + GRACE);
        if let Some(forwarded) = self.waiting_for(commune, jti) {
            forwarded.deadline = deadline;
            forwarded.approval = true;
            if let Some(caller) = forwarded.caller.take() {
                self.commands.push_back(Command::Wait {
                    caller,
                    request: jti,
                    commune: commune.clone(),
                    approve_by,
                });
            }
        } else {
            let waiting = self.waiting.values();
            let many = waiting.filter(|held| held.approval && &held.commune == commune);
            let is_open = self.forwarded.is_open(jti, commune);
            if !is_open || many.count() >= APPROVALS_LIMIT {
                tracing::warn!(%commune, request = %jti, "a wait that can't be: never forwarded, answered, or too many");
                return;
            }
            // Sent before this receiver started, or given up too early.
            self.note_waiting(&request, now);
            let id = self.next_request;
            self.next_request += 1;
            self.waiting.insert(
                id,
                Forwarded {
                    commune: commune.clone(),
                    request,
                    arrived: now.boot,
                    deadline,
                    caller: None,
                    approval: true,
                },
            );
        }
        self.note_approve_by(jti, approve_by);
    }

    /// A request that waited was refused: by a person, or by time.
    pub(super) fn handle_wait_ended(
        &mut self,
        commune: &CommuneId,
        request: RequestId,
        message: ToReceiver,
        now: Now,
    ) {
        let ToReceiver::WaitEnded {
            refusal,
            mut cameras,
            head,
            ..
        } = message
        else {
            return;
        };
        if let Some(head) = head {
            self.handle_head(commune, &head, now);
        }
        let Some(forwarded) = self.take_waiting(commune, request) else {
            return;
        };
        cameras.truncate(forwarded.request.claims().cameras.len());
        self.forwarded.refused(request, refusal.reason);
        self.count_waited(&forwarded, Some(refusal.reason));
        let denial = Denial { refusal, cameras };
        let caller = forwarded.caller;
        self.refuse(&forwarded.request, commune.clone(), caller, denial);
    }

    /// The operator who signed a request that waits for the commune gives it up: it is refused here at
    /// once, and the commune told; an answer that is on its way comes too late.
    ///
    /// # Errors
    /// Nothing of his waits under this id: `None` where his unit has no such request, else why it
    /// waits no more.
    pub fn handle_cancel(
        &mut self,
        request: RequestId,
        who: &Designation,
    ) -> Result<(), Option<Refusal>> {
        let asked = self.asked(request, &who.unit()).ok_or(None)?;
        let commune = asked.commune.clone();
        let answered = asked.result.clone();
        let mut waiting = self.waiting.iter();
        let found = waiting.find(|(_, held)| {
            held.approval
                && held.request.claims().jti == request
                && held.request.designation().is_same_operator(who)
        });
        let Some(id) = found.map(|(id, _)| *id) else {
            return Err(match answered {
                Some(Err(denial)) if denial.refusal.reason == Reason::RequestCancelled => {
                    return Ok(());
                }
                Some(Err(denial)) => Some(denial.refusal),
                Some(Ok(_)) | None => None,
            });
        };
        let Some(forwarded) = self.waiting.remove(&id) else {
            return Err(None);
        };
        let Operator { name, number, .. } = &who.operator;
        let detail = format!("cancelled by {name} ({number})");
        let refusal = Refusal::new(Reason::RequestCancelled, detail);
        self.forwarded.cancelled(request);
        let by = number.clone();
        self.send(&commune, ToGateway::Cancel { request, by });
        self.count_waited(&forwarded, Some(refusal.reason));
        let caller = forwarded.caller;
        self.refuse(&forwarded.request, commune, caller, refusal.into());
        Ok(())
    }

    /// Nobody said in time how the wait ended.
    pub(super) fn give_up_approval(&mut self, forwarded: Forwarded) {
        let commune = forwarded.commune.clone();
        let detail = format!("{commune} did not say in time how it decided");
        let refusal = Refusal::new(Reason::ApprovalTimedOut, detail);
        self.count_waited(&forwarded, Some(refusal.reason));
        self.refuse(&forwarded.request, commune, None, refusal.into());
    }

    /// The commune approved: its grant is on its way through the journal. Gives who waits
    /// for that answer.
    pub(super) fn wait_granted(&mut self, commune: &CommuneId, request: RequestId) -> Option<u64> {
        let forwarded = self.take_waiting(commune, request)?;
        self.count_waited(&forwarded, None);
        forwarded.caller
    }

    /// Who waited by himself counts with his answer.
    fn count_waited(&mut self, forwarded: &Forwarded, refused: Option<Reason>) {
        if forwarded.caller.is_none() {
            self.commands.push_back(Command::Count { refused });
        }
    }

    /// A request that waits for its commune's approval, and who signed it.
    pub fn waits(&self, request: RequestId) -> Option<(&RequestClaims, &Operator)> {
        let mut waiting = self.waiting.values();
        let held = waiting.find(|held| held.request.claims().jti == request)?;
        let operator = &held.request.designation().operator;
        Some((held.request.claims(), operator))
    }

    fn waiting_for(&mut self, commune: &CommuneId, request: RequestId) -> Option<&mut Forwarded> {
        let mut waiting = self.waiting.values_mut();
        waiting.find(|held| &held.commune == commune && held.request.claims().jti == request)
    }

    fn take_waiting(&mut self, commune: &CommuneId, request: RequestId) -> Option<Forwarded> {
        let id = self
            .waiting
            .iter()
            .find(|(_, held)| &held.commune == commune && held.request.claims().jti == request);
        let id = *id?.0;
        self.waiting.remove(&id)
    }
}
