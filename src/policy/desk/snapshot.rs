//! Stills: given only once both ends have recorded them.
//!
//! In this order: the checks, this journal, the commune's answer that its own
//! journal holds it too. Where that does not come in time nothing is given, and
//! this journal says so (`snapshot_refused`).

use std::collections::BTreeMap;

use super::{Command, Desk, Pending};
use crate::clock::{Boot, Now, Wall};
use crate::format::control::{SnapshotAsked, ToGateway};
use crate::format::designation::Designation;
use crate::format::ids::{CameraId, CommuneId, GrantId, Sha256, SnapshotId};
use crate::journal::Receipt;
use crate::journal::entry::Entry;
use crate::policy::snapshot::{self, CONFIRM_TIMEOUT, PER_MINUTE};
use crate::reason::{Reason, Refusal};

/// Stills that wait for their communes at once, all together.
const WAITING_LIMIT: usize = 256;

/// A still that an operator wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Still {
    /// Its id: random, drawn by the driver.
    pub snapshot: SnapshotId,
    /// Under which grant.
    pub grant: GrantId,
    /// The camera's commune.
    pub commune: CommuneId,
    /// The camera.
    pub camera: CameraId,
    /// When the picture was captured, by the gateway's clock.
    pub captured: Wall,
    /// Of the PNG's image data: its IDAT chunks' contents in order.
    pub sha256: Sha256,
}

/// A still on its way.
#[derive(Debug)]
pub(super) struct Waiting {
    caller: u64,
    still: Still,
    deadline: Boot,
}

/// All that are on their way.
#[derive(Debug, Default)]
pub(super) struct Stills {
    waiting: BTreeMap<SnapshotId, Waiting>,
    pace: snapshot::Pace,
}

impl Stills {
    /// When the first is given up.
    pub(super) fn due(&self) -> Option<Boot> {
        self.waiting.values().map(|waiting| waiting.deadline).min()
    }
}

impl Desk {
    /// An operator wants a still; [`Command::Snapshot`] with `caller` follows, at
    /// the latest [`CONFIRM_TIMEOUT`] after the journal has it.
    pub fn handle_snapshot(&mut self, caller: u64, still: Still, who: &Designation, now: Now) {
        if let Err(refusal) = self.check_still(&still, who, now) {
            return self.answer_still(caller, Err(refusal));
        }
        let entry = Entry::Snapshot {
            snapshot: still.snapshot,
            grant: still.grant,
            commune: still.commune.clone(),
            camera: still.camera.clone(),
            captured: still.captured.rfc3339(),
            operator: who.operator.clone(),
            sha256: Some(still.sha256),
        };
        let waiting = Waiting {
            caller,
            still,
            deadline: now.boot.plus(CONFIRM_TIMEOUT),
        };
        self.record(Box::new(entry), Pending::Snapshot(Box::new(waiting)));
    }

    fn check_still(&mut self, still: &Still, who: &Designation, now: Now) -> Result<(), Refusal> {
        let not_allowed = |detail: String| Err(Refusal::new(Reason::SnapshotNotAllowed, detail));
        if self.stopping {
            return Err(Reason::ShuttingDown.into());
        }
        let view = self.grant(still.grant);
        let Some(view) = view.filter(|view| view.is_of_unit(who)) else {
            return Err(Reason::GrantUnknown.into());
        };
        if let Some(end) = &view.end {
            return Err(end.refusal.clone());
        }
        if view.elsewhere {
            return Err(Reason::OtherReceiver.into());
        }
        if !view.is_of(who) {
            let detail = "only who signed the grant's newest request may take stills: renew it with your own key";
            return not_allowed(detail.to_owned());
        }
        let open = view
            .camera(&still.camera)
            .is_some_and(super::GrantCamera::is_open);
        if view.commune != still.commune || !open {
            let detail = format!(
                "{}/{} is not a camera of this grant",
                still.commune, still.camera
            );
            return not_allowed(detail);
        }
        let peer = self.communes.get(&still.commune);
        let agreements = peer.and_then(|peer| peer.view.agreements.as_ref());
        // Which of several counts is for the gateway to say.
        if agreements.is_some_and(|all| all.iter().all(|one| !one.snapshots)) {
            let detail = format!("no agreement with {} allows stills", still.commune);
            return not_allowed(detail);
        }
        if self.session(&still.commune).is_none() {
            return Err(self.still_lost(&still.commune));
        }
        if let Some(refusal) = self.journal_trouble() {
            return Err(refusal);
        }
        let room = self.stills.waiting.len() < WAITING_LIMIT;
        if !room || !self.stills.pace.may_take(still.grant, now.boot) {
            let detail = format!("{PER_MINUTE} stills of a grant in a minute");
            return Err(Refusal::new(Reason::TooManyAttempts, detail));
        }
        self.paces.still(who, now)
    }

    /// The own journal's answer to a still: now the commune is asked.
    pub(super) fn still_recorded(&mut self, waiting: Waiting, result: Result<Receipt, String>) {
        let refusal = match result {
            Err(cause) => {
                tracing::error!(%cause, "a still could not be recorded");
                Some(self.journal_unavailable())
            }
            Ok(_) if self.stopping => Some(Reason::ShuttingDown.into()),
            Ok(_) => {
                let linked = self.session(&waiting.still.commune).is_some();
                (!linked).then(|| self.still_lost(&waiting.still.commune))
            }
        };
        if let Some(refusal) = refusal {
            return self.refuse_still(waiting, refusal);
        }
        let still = &waiting.still;
        let asked = SnapshotAsked {
            snapshot: still.snapshot,
            grant: still.grant,
            camera: still.camera.clone(),
            captured: still.captured.0,
            sha256: Some(still.sha256),
        };
        let (commune, snapshot) = (still.commune.clone(), still.snapshot);
        self.stills.waiting.insert(snapshot, waiting);
        self.send(&commune, ToGateway::Snapshot(asked));
    }

    /// The commune's journal holds it too.
    pub(super) fn handle_snapshot_recorded(
        &mut self,
        commune: &CommuneId,
        snapshot: SnapshotId,
        head: &str,
        now: Now,
    ) {
        self.handle_head(commune, head, now);
        if let Some(waiting) = self.take_still(commune, snapshot) {
            self.answer_still(waiting.caller, Ok(waiting.still));
        }
    }

    /// The commune refused it.
    pub(super) fn handle_snapshot_refused(
        &mut self,
        commune: &CommuneId,
        snapshot: SnapshotId,
        refusal: Refusal,
    ) {
        if let Some(waiting) = self.take_still(commune, snapshot) {
            self.refuse_still(waiting, refusal);
        }
    }

    /// Gives up stills whose commune does not answer.
    pub(super) fn give_up_stills(&mut self, now: Now) {
        let due = |waiting: &Waiting| waiting.deadline <= now.boot;
        self.refuse_stills(due, |still| {
            let detail = format!(
                "{} did not say within {} s that it recorded the still, so it is not given; gateways before this version can't",
                still.commune,
                CONFIRM_TIMEOUT.as_secs()
            );
            Refusal::new(Reason::CommuneOffline, detail)
        });
    }

    /// The link is gone: no answer will come.
    pub(super) fn lose_stills(&mut self, commune: &CommuneId) {
        let refusal = self.still_lost(commune);
        let lost = |waiting: &Waiting| &waiting.still.commune == commune;
        self.refuse_stills(lost, |_| refusal.clone());
    }

    /// The daemon stops.
    pub(super) fn stop_stills(&mut self) {
        self.refuse_stills(|_| true, |_| Reason::ShuttingDown.into());
    }

    fn refuse_stills(&mut self, which: impl Fn(&Waiting) -> bool, why: impl Fn(&Still) -> Refusal) {
        let waiting = std::mem::take(&mut self.stills.waiting);
        let (refused, kept) = waiting
            .into_iter()
            .partition(|(_, waiting): &(SnapshotId, Waiting)| which(waiting));
        self.stills.waiting = kept;
        let refused: BTreeMap<SnapshotId, Waiting> = refused;
        for waiting in refused.into_values() {
            let refusal = why(&waiting.still);
            self.refuse_still(waiting, refusal);
        }
    }

    /// Nothing is given, and the journal says so.
    fn refuse_still(&mut self, waiting: Waiting, refusal: Refusal) {
        let Waiting { caller, still, .. } = waiting;
        self.owe_entry(
            Entry::SnapshotRefused {
                snapshot: still.snapshot,
                grant: still.grant,
                refusal: refusal.clone(),
            },
            None,
        );
        self.answer_still(caller, Err(refusal));
    }

    fn answer_still(&mut self, caller: u64, result: Result<Still, Refusal>) {
        self.commands
            .push_back(Command::Snapshot { caller, result });
    }

    fn still_lost(&self, commune: &CommuneId) -> Refusal {
        let detail = format!("the link to {commune} is lost, so it can't record the still");
        Refusal::new(Reason::LinkLost, detail)
    }

    fn take_still(&mut self, commune: &CommuneId, snapshot: SnapshotId) -> Option<Waiting> {
        let waiting = self.stills.waiting.get(&snapshot)?;
        let ours = &waiting.still.commune == commune;
        ours.then(|| self.stills.waiting.remove(&snapshot))
            .flatten()
    }
}
