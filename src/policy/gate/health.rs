//! What probes found of the cameras, told to the centres with the camera list.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Gate;
use crate::clock::{Boot, Now};
use crate::format::ids::{CameraId, ReceiverId};
use crate::reason::Reason;

/// A list that only differs in what probes found is sent at most this often: cameras that come and
/// go must not fill an idle line.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// Which cameras failed their newest probe, as the centres were told.
#[derive(Debug, Default)]
pub(super) struct Probed {
    failed: BTreeMap<CameraId, Reason>,
    told: Option<Boot>,
}

impl Probed {
    /// Why the camera failed its newest probe, if so.
    pub(super) fn failed(&self, camera: &CameraId) -> Option<Reason> {
        self.failed.get(camera).copied()
    }
}

impl Gate {
    /// All cameras that failed their newest probe. What the driver brings too early is dropped: it
    /// brings all again each second.
    pub fn handle_probed(&mut self, failed: &BTreeMap<CameraId, Reason>, now: Now) {
        let is_early = |told: Boot| now.boot.since(told) < TELL_EVERY;
        if *failed == self.probed.failed || self.probed.told.is_some_and(is_early) {
            return;
        }
        self.probed = Probed {
            failed: failed.clone(),
            told: Some(now.boot),
        };
        let linked: Vec<ReceiverId> = self.links.keys().cloned().collect();
        for receiver in linked {
            self.send_cameras(&receiver);
        }
    }
}
