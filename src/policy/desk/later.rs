//! Resumes and waits that a gateway tells faster than they are looked at: they wait in
//! their order, and are looked at when the pace allows. What ends one of them acts at once, and once
//! more behind it.
//!
//! | bound | value | beyond |
//! |---|---|---|
//! | what waits of one commune | [`BYTES`] | all of it is dropped; the gateway tells it again on its next link |

use std::collections::VecDeque;

use super::Desk;
use crate::clock::{Boot, Now};
use crate::format::control::ToReceiver;
use crate::format::ids::CommuneId;

/// Bytes of messages that wait: some hundred grants of a gateway whose link comes and goes.
const BYTES: usize = 2 * 1024 * 1024;
/// What a message takes beside its texts, roughly.
const EACH: usize = 256;

/// What waits of one commune.
#[derive(Debug, Default)]
pub(super) struct Later {
    queue: VecDeque<ToReceiver>,
    bytes: usize,
}

impl Later {
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Whether there was room.
    fn push(&mut self, message: ToReceiver) -> bool {
        self.bytes += bytes(&message);
        self.queue.push_back(message);
        let has_room = self.bytes <= BYTES;
        if !has_room {
            self.clear();
        }
        has_room
    }

    fn pop(&mut self) -> Option<ToReceiver> {
        let message = self.queue.pop_front()?;
        self.bytes = self.bytes.saturating_sub(bytes(&message));
        Some(message)
    }
}

/// What a message takes in memory, roughly.
fn bytes(message: &ToReceiver) -> usize {
    let own = match message {
        ToReceiver::Resume {
            request,
            proof,
            relays,
        } => {
            let relays = relays.keys().map(|camera| camera.as_str().len() + 64);
            request.len() + proof.len() + relays.sum::<usize>()
        }
        ToReceiver::Grant(told) => {
            let relays = told.relays.keys();
            let relays = relays.map(|camera| camera.as_str().len() + 64);
            told.request.len() + told.proof.len() + relays.sum::<usize>()
        }
        ToReceiver::Waiting { request, .. } => request.len(),
        ToReceiver::WaitEnded { cameras, head, .. } => {
            let cameras = cameras
                .iter()
                .map(|camera| EACH + camera.camera.as_str().len() + camera.refusal.detail.len());
            cameras.sum::<usize>() + head.as_ref().map_or(0, String::len)
        }
        _ => 0,
    };
    EACH + own
}

impl Desk {
    /// A resume or a wait, when its turn has come.
    pub(super) fn handle_paced(&mut self, commune: &CommuneId, message: ToReceiver, now: Now) {
        let Some(peer) = self.communes.get_mut(commune) else {
            return;
        };
        if peer.later.is_empty() && peer.resumes.take(1, now.boot.0) {
            return self.look_at(commune, message, now);
        }
        if !peer.later.push(message) {
            tracing::warn!(%commune, "grants that go on came too fast: the commune's gateway tells them again on its next link");
        }
        self.late_communes.insert(commune.clone());
    }

    /// An end that was acted on: what waits must not come to life behind it.
    pub(super) fn end_later(&mut self, commune: &CommuneId, message: ToReceiver) {
        let peer = self.communes.get_mut(commune);
        if let Some(peer) = peer.filter(|peer| !peer.later.is_empty()) {
            peer.later.push(message);
        }
    }

    /// Looks at what waits, as far as the pace allows.
    pub(super) fn take_later(&mut self, now: Now) {
        for commune in std::mem::take(&mut self.late_communes) {
            while let Some(peer) = self.communes.get_mut(&commune)
                && !peer.later.is_empty()
                && peer.resumes.take(1, now.boot.0)
                && let Some(message) = peer.later.pop()
            {
                self.look_at(&commune, message, now);
            }
            let peer = self.communes.get(&commune);
            if peer.is_some_and(|peer| !peer.later.is_empty()) {
                self.late_communes.insert(commune);
            }
        }
    }

    /// When something that waits may be looked at.
    pub(super) fn later_due(&self, now: Now) -> Option<Boot> {
        let late = self.late_communes.iter();
        let peers = late.filter_map(|commune| self.communes.get(commune));
        let peers = peers.filter(|peer| !peer.later.is_empty());
        let waits = peers.map(|peer| now.boot.plus(peer.resumes.wait(1, now.boot.0)));
        waits.min()
    }

    fn look_at(&mut self, commune: &CommuneId, message: ToReceiver, now: Now) {
        match message {
            ToReceiver::Waiting { request, seconds } => {
                self.handle_waiting(commune, &request, seconds, now);
            }
            ToReceiver::Resume {
                request,
                proof,
                relays,
            } => self.handle_resume(commune, &request, proof, relays, now),
            ToReceiver::Grant(told) => self.handle_grant_told(commune, *told, now),
            ToReceiver::Ended { grant, refusal, .. } => {
                self.handle_ended(commune, grant, refusal, now);
            }
            ToReceiver::WaitEnded { request, .. } => {
                self.handle_wait_ended(commune, request, message, now);
            }
            _ => {}
        }
    }
}
