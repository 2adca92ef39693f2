//! Which relays somebody looks at closely, told to their communes.

use std::collections::BTreeMap;

use super::Brain;
use crate::format::control::ToGateway;
use crate::format::ids::CommuneId;
use crate::media::relay::RelayId;

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
}
