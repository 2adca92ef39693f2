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
use crate::format::control::ToReceiver;
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
