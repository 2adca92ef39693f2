//! The uplink's part in a request: a relay that would have less than
//! `[uplink] min_per_relay` is not begun.

use std::collections::{BTreeMap, BTreeSet};

use super::{Gate, Pending};
use crate::format::ids::{CameraId, ReceiverId};
use crate::format::statement::RefusedCamera;
use crate::policy::uplink::HEADERS;
use crate::reason::{Reason, Refusal};

impl Gate {
    /// Takes out of `granted` what the uplink has no room for, youngest first in
    /// the request's order. A camera that goes to that centre already costs
    /// nothing, and the first relay of all is always let in: only then can a link
    /// that was measured on a bad day be measured again.
    pub(super) fn fit(
        &self,
        receiver: &ReceiverId,
        granted: &mut Vec<CameraId>,
    ) -> Vec<RefusedCamera> {
        let Some((capacity, room)) = self.room() else {
            return Vec::new();
        };
        let mut going = self.going();
        let mut refused = Vec::new();
        granted.retain(|camera| {
            let key = (receiver.clone(), camera.clone());
            if going.contains(&key) || going.len() + self.others() < room {
                going.insert(key);
                return true;
            }
            refused.push(RefusedCamera {
                camera: camera.clone(),
                refusal: Refusal::new(Reason::UplinkFull, self.full(receiver, capacity, room)),
            });
            false
        });
        refused
    }

    /// Why the uplink has no room for one more stream of a camera that goes already.
    pub(super) fn no_room_for_one_more(&self, receiver: &ReceiverId) -> Option<Refusal> {
        let (capacity, room) = self.room()?;
        let is_full = self.going().len() + self.others() >= room;
        is_full.then(|| Refusal::new(Reason::UplinkFull, self.full(receiver, capacity, room)))
    }

    /// What the uplink carries, and for how many streams that is enough; `None` while that is
    /// not known.
    fn room(&self) -> Option<(u64, usize)> {
        let settings = &self.rules.settings.uplink;
        let capacity = match (settings.max_bitrate, self.capacity) {
            (Some(limit), Some(measured)) => limit.min(measured),
            (limit, measured) => limit.or(measured)?,
        };
        let room = capacity / 100 * (100 - HEADERS) / settings.min_per_relay.max(1);
        Some((capacity, usize::try_from(room).unwrap_or(usize::MAX).max(1)))
    }

    /// Streams that go besides their cameras' first ones.
    fn others(&self) -> usize {
        let besides = |relay: &&super::grant::Relay| relay.running().count() > 1;
        self.relays.values().filter(besides).count()
    }

    /// What goes, or is about to go, to whom.
    fn going(&self) -> BTreeSet<(ReceiverId, CameraId)> {
        let recording = self.ledger.pending().filter_map(|pending| match pending {
            Pending::Grant(recording) => Some(&recording.terms),
            _ => None,
        });
        let resuming = self.resuming.values().map(|held| &held.terms);
        let coming = recording.chain(resuming).flat_map(|terms| {
            let cameras = terms.granted.iter();
            cameras.map(|camera| (terms.receiver.clone(), camera.clone()))
        });
        self.relays.keys().cloned().chain(coming).collect()
    }

    /// What is in the way. Another centre's units are none of this one's business.
    fn full(&self, receiver: &ReceiverId, capacity: u64, room: usize) -> String {
        let centre = &receiver.centre;
        let mut holders: BTreeMap<String, usize> = BTreeMap::new();
        for (of, _) in self.relays.keys().filter(|(of, _)| &of.centre != centre) {
            *holders.entry(of.centre.to_string()).or_default() += 1;
        }
        for live in self.grants.values() {
            if &live.terms.centre == centre {
                let unit = &live.terms.request.designation().operator.unit;
                *holders.entry(unit.clone()).or_default() += live.terms.granted.len();
            }
        }
        let holders: Vec<String> = holders
            .into_iter()
            .take(5)
            .map(|(who, count)| format!("{who}: {count}"))
            .collect();
        let held = match holders.join(", ") {
            none if none.is_empty() => "this request alone asks for more".to_owned(),
            holders => format!("cameras held by {holders}"),
        };
        format!(
            "the uplink of {} gives {}.{} Mbit/s, enough for {room} cameras of at least {} kbit/s; {held}",
            self.rules.settings.commune,
            capacity / 1_000_000,
            capacity / 100_000 % 10,
            self.rules.settings.uplink.min_per_relay / 1_000,
        )
    }
}
