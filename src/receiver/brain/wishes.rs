//! What viewers need of the gateways: focus, and which of a camera's streams.

use std::collections::BTreeMap;

use super::Brain;
use crate::format::control::{RelayState, ToGateway, ToReceiver};
use crate::format::ids::CommuneId;
use crate::media::relay::RelayId;
use crate::reason::Reason;

impl Brain {
    /// Tells each commune which of its relays somebody looks at closely.
    pub(super) fn send_focus(&mut self) {
        if self.state.focus.is_empty() && self.state.focused.is_empty() {
            return;
        }
        let mut wanted: BTreeMap<CommuneId, Vec<RelayId>> = BTreeMap::new();
        for (commune, camera) in self.state.focus.values().flatten() {
            let relay = self.desk.relay_of(commune, camera);
            let list = wanted.entry(commune.clone()).or_default();
            if let Some(relay) = relay.filter(|relay| !list.contains(relay)) {
                list.push(relay);
            }
        }
        for commune in self.state.focused.keys() {
            wanted.entry(commune.clone()).or_default();
        }
        for (commune, relays) in wanted {
            let known = self.state.focused.get(&commune);
            if known.map_or(relays.is_empty(), |known| known == &relays) {
                continue;
            }
            self.send(
                &commune,
                &ToGateway::Focus {
                    relays: relays.clone(),
                },
            );
            if relays.is_empty() {
                self.state.focused.remove(&commune);
            } else {
                self.state.focused.insert(commune, relays);
            }
        }
    }

    /// Tells a gateway which of a camera's streams its viewers need.
    pub(super) fn want_streams(
        &self,
        commune: &CommuneId,
        relay: RelayId,
        first: bool,
        other: bool,
    ) {
        let refused = match self.desk.gives_other_streams(commune) {
            Some(true) => {
                let message = ToGateway::Streams {
                    relay,
                    first,
                    other,
                };
                return self.send(commune, &message);
            }
            // One that is too old gives the first alone, unasked.
            Some(false) if first && !other => return,
            Some(false) => (RelayState::Failed, Some(Reason::CodecUnsupported)),
            None => (RelayState::Retrying, Some(Reason::LinkLost)),
        };
        self.hub.handle_other(commune, relay, None, refused);
    }

    /// A gateway tells how a camera's other stream is.
    pub(super) fn other_stream(&self, commune: &CommuneId, session: u64, message: &ToReceiver) {
        let ToReceiver::Other {
            of,
            relay,
            state,
            refusal,
            ..
        } = message
        else {
            return;
        };
        let link = self.state.links.get(commune);
        if link.is_some_and(|(known, _)| *known == session) {
            let reason = refusal.as_ref().map(|refusal| refusal.reason);
            self.hub
                .handle_other(commune, *of, *relay, (*state, reason));
        }
    }
}
