//! Which of a camera's two streams go to a centre, and how they are.
//!
//! A relay carries one stream at a time; placement moves it to the other within one codec. Where
//! the codecs differ, a viewer who can't decode the one needs the other: his centre says so, and
//! the other goes as a relay of its own, under the same grants, counted and ended with the first.
//! While nobody needs the first it is parked.

use std::collections::BTreeSet;
use std::time::Duration;

use super::grant::Relay;
use super::{Command, Gate, Permit};
use crate::allowance::Allowance;
use crate::clock::Now;
use crate::format::cause::Cause;
use crate::format::control::{RelayState, ToReceiver};
use crate::format::ids::{CameraId, ProfileWish, ReceiverId};
use crate::media::relay::{Profile, RelayId};
use crate::reason::{Reason, Refusal};

/// A relay's streams are changed so often at once, and then with such pauses: each change opens
/// or closes a session with the camera.
const CHANGES: (u32, Duration) = (8, Duration::from_secs(2));

/// How often a new relay's streams may be changed.
pub(super) const fn changes() -> Allowance {
    Allowance::every(CHANGES.0, CHANGES.1)
}

/// The camera's other stream on its way to a centre.
#[derive(Debug)]
pub(super) struct Other {
    pub(super) id: RelayId,
    profile: Profile,
    state: RelayState,
    refusal: Option<Refusal>,
}

impl Relay {
    /// The relays that run for it now.
    pub(super) fn running(&self) -> impl Iterator<Item = RelayId> + use<> {
        let first = (!self.is_parked).then_some(self.id);
        first
            .into_iter()
            .chain(self.other.as_ref().map(|other| other.id))
    }

    fn other_message(&self, camera: &CameraId) -> Option<ToReceiver> {
        let other = self.other.as_ref()?;
        Some(ToReceiver::Other {
            of: self.id,
            relay: Some(other.id),
            camera: camera.clone(),
            state: other.state,
            refusal: other.refusal.clone(),
        })
    }

    /// What a receiver that was away must know of it; `here`: it has the pictures.
    pub(super) fn messages(
        &self,
        camera: &CameraId,
        here: bool,
    ) -> impl Iterator<Item = ToReceiver> + use<> {
        let other = here.then(|| self.other_message(camera)).flatten();
        [Some(self.message(camera)), other].into_iter().flatten()
    }

    /// The camera's state is that of the stream that goes.
    fn mirror_other(&mut self) {
        if let (true, Some(other)) = (self.is_parked, &self.other) {
            self.state = other.state;
            self.refusal.clone_from(&other.refusal);
            self.profile = other.profile;
            self.cause = Some(Cause::Decoder);
        }
    }
}

impl Gate {
    /// Stops all that runs for a relay that is over.
    pub(super) fn stop_relay(
        &mut self,
        receiver: &ReceiverId,
        camera: &CameraId,
        relay: &Relay,
        reason: Reason,
    ) {
        for relay in relay.running() {
            self.stop_stream(receiver, camera, relay, reason);
        }
    }

    fn stop_stream(
        &mut self,
        receiver: &ReceiverId,
        camera: &CameraId,
        relay: RelayId,
        reason: Reason,
    ) {
        self.commands.push_back(Command::StopRelay {
            receiver: receiver.clone(),
            relay,
            camera: camera.clone(),
            reason,
        });
    }

    /// Which of a camera's streams a centre's viewers need now.
    pub(super) fn handle_streams(
        &mut self,
        receiver: &ReceiverId,
        relay: RelayId,
        first: bool,
        other: bool,
        now: Now,
    ) {
        let found = self
            .relays
            .iter()
            .find(|((of, _), held)| of == receiver && held.id == relay);
        let Some((key, held)) = found else {
            return;
        };
        let key = key.clone();
        // A relay carries something as long as its grants live.
        let parks = other && !first;
        if other && held.other.is_none() {
            match self.may_carry_other(receiver, held, &key.1, parks) {
                Ok(_) if !self.may_change(&key, now) => self.tell_streams(&key),
                Ok(profile) => self.start_other(&key, profile, parks),
                Err(refusal) => {
                    let message = ToReceiver::Other {
                        of: relay,
                        relay: None,
                        camera: key.1,
                        state: RelayState::Failed,
                        refusal: Some(refusal),
                    };
                    self.send(receiver, message);
                }
            }
        } else {
            let changes = held.is_parked != parks || (!other && held.other.is_some());
            if changes && self.may_change(&key, now) {
                self.park(&key, parks);
                if !other {
                    self.stop_other(&key);
                }
            }
            // Also where nothing changed: the centre may have missed it.
            self.tell_streams(&key);
        }
    }

    /// Whether a relay's streams may be changed now.
    fn may_change(&mut self, key: &(ReceiverId, CameraId), now: Now) -> bool {
        let held = self.relays.get_mut(key);
        held.is_some_and(|held| held.changes.take(1, now.boot.0))
    }

    /// The stream that would go besides or instead.
    fn may_carry_other(
        &self,
        receiver: &ReceiverId,
        held: &Relay,
        camera: &CameraId,
        parks: bool,
    ) -> Result<Profile, Refusal> {
        if !self.has_sub(camera) {
            let detail = "the camera has one stream; the commune can add a sub-stream in H.264";
            return Err(Refusal::new(Reason::CodecUnsupported, detail));
        }
        if !parks && let Some(full) = self.no_room_for_one_more(receiver) {
            return Err(full);
        }
        Ok(match held.profile {
            Profile::Main => Profile::Sub,
            Profile::Sub => Profile::Main,
        })
    }

    fn start_other(&mut self, key: &(ReceiverId, CameraId), profile: Profile, parks: bool) {
        // Before the other one: a camera may allow one session alone.
        self.park_first(key, parks);
        let id = self.new_relay();
        let Some(held) = self.relays.get_mut(key) else {
            return;
        };
        held.other = Some(Other {
            id,
            profile,
            state: RelayState::Starting,
            refusal: None,
        });
        held.mirror_other();
        let wish = match profile {
            Profile::Main => ProfileWish::Main,
            Profile::Sub => ProfileWish::Sub,
        };
        self.start_stream(key, id, wish);
        self.tell_streams(key);
    }

    fn stop_other(&mut self, key: &(ReceiverId, CameraId)) {
        let other = self.relays.get_mut(key).and_then(|held| held.other.take());
        if let Some(other) = other {
            self.stop_stream(&key.0, &key.1, other.id, Reason::StreamChanged);
        }
    }

    /// Stops the first stream while the other one goes, or starts it again.
    fn park(&mut self, key: &(ReceiverId, CameraId), parks: bool) {
        self.park_first(key, parks);
        if let Some(held) = self.relays.get_mut(key) {
            held.mirror_other();
        }
    }

    fn park_first(&mut self, key: &(ReceiverId, CameraId), parks: bool) {
        let held = self.relays.get_mut(key);
        let Some(held) = held.filter(|held| held.is_parked != parks) else {
            return;
        };
        held.is_parked = parks;
        let (id, wish) = (held.id, held.wish);
        if parks {
            self.stop_stream(&key.0, &key.1, id, Reason::StreamChanged);
        } else {
            // Its stream is told once it is placed.
            (held.state, held.refusal, held.cause) = (RelayState::Starting, None, None);
            self.start_stream(key, id, wish);
        }
    }

    /// Starts a stream under the grant that its bytes count for.
    fn start_stream(&mut self, key: &(ReceiverId, CameraId), relay: RelayId, wish: ProfileWish) {
        let Some(held) = self.relays.get(key) else {
            return;
        };
        let first = held.grants.first();
        let Some((grant, live)) = first.and_then(|id| Some((*id, self.grants.get(id)?))) else {
            return;
        };
        self.commands.push_back(Command::StartRelay {
            permit: Permit::new(grant, &live.terms.request, &live.receipt),
            receiver: key.0.clone(),
            relay,
            camera: key.1.clone(),
            wish,
            until: held.until,
        });
    }

    fn tell_streams(&mut self, key: &(ReceiverId, CameraId)) {
        let Some(held) = self.relays.get(key) else {
            return;
        };
        let (message, other) = (held.message(&key.1), held.other_message(&key.1));
        self.send_all(&key.0.centre, message);
        if let Some(other) = other {
            self.send(&key.0, other);
        }
    }

    /// The state of a stream's camera.
    pub fn handle_relay_state(
        &mut self,
        receiver: &ReceiverId,
        relay: RelayId,
        state: RelayState,
        refusal: Option<Refusal>,
    ) {
        let found = self.relays.iter_mut().find_map(|((of, camera), held)| {
            let runs = of == receiver && held.running().any(|id| id == relay);
            runs.then_some((camera, held))
        });
        let Some((camera, held)) = found else {
            return;
        };
        let (known, why) = match &mut held.other {
            Some(other) if other.id == relay => (&mut other.state, &mut other.refusal),
            _ => (&mut held.state, &mut held.refusal),
        };
        if *known == state && *why == refusal {
            return;
        }
        (*known, *why) = (state, refusal);
        held.mirror_other();
        let key = (receiver.clone(), camera.clone());
        if held.id == relay {
            let message = held.message(camera);
            return self.send_all(&receiver.centre, message);
        }
        self.tell_streams(&key);
    }

    /// The stream that a relay carries now, and why. That of another codec is as its viewers
    /// need it, and stays.
    pub fn handle_relay_profile(
        &mut self,
        receiver: &ReceiverId,
        relay: RelayId,
        profile: Profile,
        cause: Cause,
    ) {
        let found = self
            .relays
            .iter_mut()
            .find(|((of, _), held)| of == receiver && held.id == relay && !held.is_parked);
        let Some(((_, camera), held)) = found else {
            return;
        };
        if held.profile == profile && held.cause == Some(cause) {
            return;
        }
        held.profile = profile;
        held.cause = Some(cause);
        let message = held.message(camera);
        self.send_all(&receiver.centre, message);
    }

    /// Which cameras a centre's operators look at, most closely first.
    pub(super) fn handle_focus(&mut self, receiver: &ReceiverId, relays: &[RelayId]) {
        let held: Vec<&Relay> = self
            .relays
            .iter()
            .filter(|((of, _), _)| of == receiver)
            .map(|(_, relay)| relay)
            .collect();
        let known: BTreeSet<RelayId> = held.iter().map(|held| held.id).collect();
        let relays = relays
            .iter()
            .filter(|relay| known.contains(relay))
            .take(known.len())
            .flat_map(|relay| held.iter().filter(move |held| held.id == *relay))
            .flat_map(|held| held.running())
            .collect();
        self.commands.push_back(Command::Focus {
            receiver: receiver.clone(),
            relays,
        });
    }

    /// A viewer joined and nothing is kept.
    pub(super) fn handle_key_frame(&mut self, receiver: &ReceiverId, relay: RelayId) {
        let found = self.relays.iter().find_map(|((of, camera), held)| {
            let other = held.other.as_ref().filter(|other| other.id == relay);
            let profile = match other {
                Some(other) => other.profile,
                None if held.id == relay => held.profile,
                None => return None,
            };
            (of == receiver).then(|| (camera.clone(), profile))
        });
        if let Some((camera, profile)) = found {
            self.commands
                .push_back(Command::WantKeyFrame { camera, profile });
        }
    }
}
