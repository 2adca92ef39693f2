//! The other stream of a camera whose first one some viewer can't decode.

use std::sync::Arc;

use super::{Commune, Hub};
use crate::format::control::RelayState;
use crate::format::ids::{CameraId, CommuneId};
use crate::media::relay::RelayId;
use crate::media::unit::Configuration;
use crate::reason::Reason;
use crate::receiver::camera::Camera;

impl Hub {
    /// The gateway tells how the other stream is of the camera whose first one is relay `of`.
    /// One that nobody asked for is not taken.
    pub(crate) fn handle_other(
        &self,
        commune: &CommuneId,
        of: RelayId,
        relay: Option<RelayId>,
        (state, reason): (RelayState, Option<Reason>),
    ) {
        let mut all = self.shared.lock();
        let Some(place) = all.communes.get_mut(commune) else {
            return;
        };
        let first = place.relays.get(&of).filter(|camera| camera.relay() == of);
        let Some(camera) = first.filter(|camera| camera.streams.wants_other()).cloned() else {
            return;
        };
        let known = camera.streams.other().map(|other| other.relay());
        if known != relay {
            if relay.is_some_and(|relay| place.relays.contains_key(&relay)) {
                tracing::warn!(%commune, camera = %camera.id, "the gateway gives one relay to two streams");
                return;
            }
            place.end_other(&camera);
            if let Some(relay) = relay {
                let other = Arc::new(camera.beside(relay));
                place.ended.retain(|ended| *ended != relay);
                place.relays.insert(relay, Arc::clone(&other));
                camera.streams.set_other(Some(other));
            }
            place.permit_streams();
        }
        self.shared.count_relays(&all);
        drop(all);
        let now = camera.now();
        camera
            .streams
            .handle_state(state, reason, relay.is_some(), now);
        camera.tell_streams();
        self.shared.allowed.notify_waiters();
    }

    /// Tells the gateway what is needed, and lets go what is not. Called once a second.
    pub(super) fn settle_streams(&self, camera: &Camera) {
        camera.tell_streams();
        if camera.streams.wants_other() || camera.streams.other().is_none() {
            return;
        }
        let mut all = self.shared.lock();
        if let Some(place) = all.communes.get_mut(&camera.commune) {
            place.end_other(camera);
            place.permit_streams();
        }
        self.shared.count_relays(&all);
    }

    /// What a camera's first stream is, and why the other one does not come, where that was said.
    pub fn first(
        &self,
        commune: &CommuneId,
        camera: &CameraId,
    ) -> Option<(Arc<Configuration>, Option<Reason>)> {
        let state = self.shared.lock();
        let camera = state.communes.get(commune)?.cameras.get(camera)?;
        Some((camera.known_configuration()?, camera.streams.reason()))
    }
}

impl Commune {
    /// The other stream of a camera is over.
    pub(super) fn end_other(&mut self, camera: &Camera) {
        if let Some(other) = camera.streams.set_other(None) {
            self.end_relay(other.relay());
            other.shut(Reason::StreamChanged);
        }
    }
}
