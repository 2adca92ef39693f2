//! Stills: recorded here before the centre gives one.

use std::time::Duration;

use super::{Gate, Pending};
use crate::clock::{Now, Wall};
use crate::format::control::{SnapshotAsked, ToReceiver};
use crate::format::ids::{ReceiverId, SnapshotId};
use crate::journal::Receipt;
use crate::journal::entry::Entry;
use crate::policy::snapshot::PER_MINUTE;
use crate::reason::{Reason, Refusal};

/// A still may be of a picture this much older than its grant: the group that is
/// kept of a camera that others watched already.
const KEPT_BEFORE: Duration = Duration::from_secs(60);
/// And this much ahead of now: cameras' and readers' rounding.
const AHEAD: Duration = Duration::from_secs(5);

impl Gate {
    /// A centre is about to give a still.
    pub(super) fn handle_snapshot(&mut self, from: &ReceiverId, asked: SnapshotAsked, now: Now) {
        match self.check_snapshot(from, &asked, now) {
            Ok(entry) => self.record(
                Box::new(entry),
                Pending::Snapshot(from.clone(), asked.snapshot),
            ),
            Err(refusal) => self.refuse_snapshot(from, asked.snapshot, refusal),
        }
    }

    fn check_snapshot(
        &mut self,
        from: &ReceiverId,
        asked: &SnapshotAsked,
        now: Now,
    ) -> Result<Entry, Refusal> {
        let centre = &from.centre;
        let not_allowed = |detail: String| Refusal::new(Reason::SnapshotNotAllowed, detail);
        let live = self.grants.get(&asked.grant);
        let Some(live) = live.filter(|live| &live.terms.centre == centre) else {
            let ended = self.ended.get(&asked.grant);
            let ended = ended.filter(|ended| &ended.centre == centre);
            return Err(ended.map_or_else(
                || Reason::GrantUnknown.into(),
                |ended| ended.refusal.clone(),
            ));
        };
        let terms = &live.terms;
        if !terms.granted.contains(&asked.camera) {
            let detail = format!("{} is not a camera of this grant", asked.camera);
            return Err(not_allowed(detail));
        }
        let agreements = &self.rules.settings.agreements;
        let allowed = agreements
            .iter()
            .any(|one| &one.centre == centre && one.reference == terms.agreement && one.snapshots);
        if !allowed {
            let detail = format!("{} does not allow stills", terms.agreement);
            return Err(not_allowed(detail));
        }
        let captured = Wall(asked.captured);
        let early = captured.plus(KEPT_BEFORE) < terms.first_start;
        if early || captured > now.wall.plus(AHEAD) {
            let detail = "the picture is not of the grant's time".to_owned();
            return Err(not_allowed(detail));
        }
        let entry = Entry::Snapshot {
            snapshot: asked.snapshot,
            grant: asked.grant,
            commune: self.rules.settings.commune.clone(),
            camera: asked.camera.clone(),
            captured: captured.rfc3339(),
            operator: terms.request.designation().operator.clone(),
            sha256: asked.sha256,
        };
        if self.ledger.is_blocked() {
            return Err(self.journal_refusal());
        }
        if !self.stills.may_take(asked.grant, now.boot) {
            let detail = format!("{PER_MINUTE} stills of a grant in a minute");
            return Err(Refusal::new(Reason::TooManyAttempts, detail));
        }
        Ok(entry)
    }

    /// The journal's answer to a still.
    pub(super) fn snapshot_recorded(
        &mut self,
        from: &ReceiverId,
        snapshot: SnapshotId,
        result: Result<Receipt, String>,
    ) {
        match result {
            Ok(receipt) => {
                let head = self.head_for(&from.centre, receipt.head());
                self.send(from, ToReceiver::SnapshotRecorded { snapshot, head });
            }
            Err(cause) => {
                tracing::error!(%cause, "a still could not be recorded");
                let refusal = self.journal_refusal();
                self.refuse_snapshot(from, snapshot, refusal);
            }
        }
    }

    fn journal_refusal(&self) -> Refusal {
        let commune = &self.rules.settings.commune;
        let detail = format!("the journal of {commune} can't be written");
        Refusal::new(Reason::JournalUnavailable, detail)
    }

    fn refuse_snapshot(&mut self, from: &ReceiverId, snapshot: SnapshotId, refusal: Refusal) {
        self.send(from, ToReceiver::SnapshotRefused { snapshot, refusal });
    }
}
