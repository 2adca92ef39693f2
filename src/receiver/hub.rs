//! The hub: each relayed camera once, to many viewers.
//!
//! Groups come in from links, viewers hang on cameras under a grant each. The
//! control plane says which relays are allowed and when grants end.
//!
//! | what waits | bound | when full |
//! |---|---|---|
//! | streams of a relay that is not allowed yet | 2 s, and the link's windows | STOP_SENDING |
//! | a viewer's pictures | 8 MiB, 4096, 1.5 s where there is a newer key frame | jump to the newest key frame, counted |
//! | the kept group | 16 MiB, 30 s | dropped until the next |
//! | unfinished pictures of a commune | 64 MiB, and 256 KiB a relay | the group that wants more ends |
//! | kept groups of a commune | 64 MiB, and 4 MiB a relay | the one that wants more is dropped |
//! | an unfinished picture of which nothing comes | 5 s, unless the link is silent | the group ends |
//!
//! The hub keeps `relays_active`, `viewers`, `viewer_skips_total`, `frames_total`,
//! `relay_bytes_total`, `transit_seconds` and `newest_frame_age_seconds`.

mod other;
mod reading;
mod view;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::pin::Pin;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use quinn::RecvStream;
use tokio::sync::{Notify, mpsc};

use super::camera::Camera;
use super::outbox::Outbox;
use super::viewer::Viewer;
use super::viewing::{Event, Waits};
use crate::clock::{Clock, Wall};
use crate::format::ids::{CameraId, CommuneId, GrantId};
use crate::format::statement::Received;
use crate::link::group::{Budget, GroupReader, ReadError};
use crate::link::meter::Meter;
use crate::link::transport::Transport;
use crate::link::{Link, TakesGroups};
use crate::media::relay::RelayId;
use crate::media::unit::Codec;
use crate::media::wire::{DecodeError, UNGRANTED, UNKNOWN_KIND};
use crate::metrics;
use crate::policy::desk::{Figures, Permit};
use crate::policy::seldom::Seldom;
use crate::reason::Reason;

/// How long a stream has for its header.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a stream waits for its relay to be allowed: the gateway may open the
/// camera while our journal still writes.
const ALLOW_TIMEOUT: Duration = Duration::from_secs(2);
/// Least time a group waits for the tail of the one before.
const LEAST_GRACE: Duration = Duration::from_millis(150);
/// Relays of a commune that ended, whose late streams are refused at once.
const ENDED_KEPT: usize = 256;
/// Refused streams of a commune have a line in the log this often at most, for each
/// cause; all of them are counted.
const REFUSED_EVERY: Duration = Duration::from_secs(60);
/// Causes for which streams are refused.
const REFUSED_CAUSES: usize = 4;
/// Bytes of pictures that have begun and are not whole, of a commune: at least, and for each
/// relay that is allowed.
const UNFINISHED: (usize, usize) = (64 * 1024 * 1024, 256 * 1024);
/// Bytes of a commune's kept groups, likewise: 4 s of the largest cameras.
const KEPT: (usize, usize) = (64 * 1024 * 1024, 4 * 1024 * 1024);
/// Streams a gateway may open: besides those of its relays, per relay, and more
/// for one whose every picture is a stream.
const STREAMS: (u32, u32, u32) = (256, 4, 25);

/// The hub. Cheap to clone, usable from any thread.
#[derive(Clone, Debug)]
pub struct Hub {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    clock: Clock,
    waits: Waits,
    metrics: Arc<metrics::Receiver>,
    outbox: Arc<Outbox>,
    state: Mutex<State>,
    /// Told when a relay is allowed.
    allowed: Notify,
    viewings: AtomicU64,
    /// Viewers by number, until they are admitted or gone.
    joining: Mutex<HashMap<u64, Weak<Viewer>>>,
    /// Why no viewer is let in now.
    refused: Mutex<Option<Reason>>,
}

#[derive(Debug, Default)]
struct State {
    communes: HashMap<CommuneId, Commune>,
    grants: HashMap<GrantId, Arc<Grant>>,
    stopped: Option<Reason>,
}

#[derive(Debug)]
struct Commune {
    link: Option<Link>,
    cameras: HashMap<CameraId, Arc<Camera>>,
    relays: HashMap<RelayId, Arc<Camera>>,
    /// Relays whose every picture is a stream.
    jpegs: HashSet<RelayId>,
    ended: VecDeque<RelayId>,
    unfinished: Arc<Budget>,
    kept: Arc<Budget>,
    /// What the log was told of refused streams.
    refused: Seldom<&'static str>,
}

impl Default for Commune {
    fn default() -> Self {
        Self {
            link: None,
            cameras: HashMap::new(),
            relays: HashMap::new(),
            jpegs: HashSet::new(),
            ended: VecDeque::new(),
            unfinished: Arc::new(Budget::new(UNFINISHED.0)),
            kept: Arc::new(Budget::new(KEPT.0)),
            refused: Seldom::new(REFUSED_CAUSES, REFUSED_EVERY),
        }
    }
}

/// A live grant, as far as the hub knows; sources keep it to tell why it ended.
#[derive(Debug)]
struct Grant {
    cameras: Mutex<HashSet<(CommuneId, CameraId)>>,
    /// What was received of each camera, those that left it included, and since when.
    meters: Mutex<BTreeMap<CameraId, Arc<Meter>>>,
    since: Wall,
    ended: OnceLock<Reason>,
}

impl Grant {
    fn new(since: Wall) -> Self {
        Self {
            cameras: Mutex::default(),
            meters: Mutex::default(),
            since,
            ended: OnceLock::new(),
        }
    }

    fn meter(&self, camera: &CameraId) -> Arc<Meter> {
        Arc::clone(lock_of(&self.meters).entry(camera.clone()).or_default())
    }

    fn figures(&self) -> Figures {
        let received = |(camera, meter): (&CameraId, &Arc<Meter>)| Received {
            camera: camera.clone(),
            bytes: meter.counted().passed,
        };
        Figures {
            since: self.since,
            cameras: lock_of(&self.meters).iter().map(received).collect(),
        }
    }

    fn cameras(&self) -> MutexGuard<'_, HashSet<(CommuneId, CameraId)>> {
        self.cameras.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hub {
    /// A hub with nothing in it; events go to `events` (bounded; never awaited).
    pub fn new(clock: Clock, metrics: Arc<metrics::Receiver>, events: mpsc::Sender<Event>) -> Self {
        Self::with_waits(clock, metrics, events, Waits::default())
    }

    /// As [`Hub::new`], with times of its own.
    pub fn with_waits(
        clock: Clock,
        metrics: Arc<metrics::Receiver>,
        events: mpsc::Sender<Event>,
        waits: Waits,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                clock,
                waits,
                metrics,
                outbox: Arc::new(Outbox::new(events)),
                state: Mutex::default(),
                allowed: Notify::new(),
                viewings: AtomicU64::new(1),
                joining: Mutex::default(),
                refused: Mutex::default(),
            }),
        }
    }

    /// Allows a relay under a recorded grant: its groups are taken from now on.
    /// Called again for each further grant on the same camera and at each resume.
    pub fn allow(&self, permit: &Permit, commune: &CommuneId, camera: &CameraId, relay: RelayId) {
        let shared = &self.shared;
        let mut state = shared.lock();
        if state.stopped.is_some() {
            return;
        }
        let since = shared.clock.now().wall;
        let grant = state.grants.entry(permit.grant());
        let grant = grant.or_insert_with(|| Arc::new(Grant::new(since)));
        grant.cameras().insert((commune.clone(), camera.clone()));
        let meter = grant.meter(camera);
        let place = state.communes.entry(commune.clone()).or_default();
        let known = place.cameras.entry(camera.clone()).or_insert_with(|| {
            Arc::new(Camera::new(
                (commune, camera),
                relay,
                (&shared.clock, &shared.metrics, &shared.outbox),
                (shared.waits, &place.kept),
            ))
        });
        let known = Arc::clone(known);
        let before = known.relay();
        if before != relay {
            place.end_relay(before);
            place.end_other(&known);
            known.streams.forget();
        }
        place.ended.retain(|ended| *ended != relay);
        place.relays.insert(relay, Arc::clone(&known));
        place.permit_streams();
        known.allow(permit.grant(), relay, meter);
        shared.count_relays(&state);
        drop(state);
        shared.allowed.notify_waiters();
    }

    /// Ends a grant: its viewers are told why and end; a camera without a grant
    /// left is forgotten at once, kept group and all. Says what was received under it.
    pub fn end_grant(&self, grant: GrantId, reason: Reason) -> Figures {
        let mut state = self.shared.lock();
        let Some(ended) = state.grants.remove(&grant) else {
            return Figures::default();
        };
        // Only this call ends it: it was taken out of the map.
        let _ = ended.ended.set(reason);
        let cameras: Vec<_> = ended.cameras().drain().collect();
        for (commune, camera) in cameras {
            self.leave(&mut state, grant, &commune, &camera, reason);
        }
        self.shared.count_relays(&state);
        ended.figures()
    }

    /// One camera of a grant is over (the commune cut it, or a renewal leaves it
    /// out): its viewers under this grant are told why and end.
    pub fn end_camera(
        &self,
        grant: GrantId,
        commune: &CommuneId,
        camera: &CameraId,
        reason: Reason,
    ) {
        let mut state = self.shared.lock();
        let place = (commune.clone(), camera.clone());
        let covered = state
            .grants
            .get(&grant)
            .is_some_and(|known| known.cameras().remove(&place));
        if covered {
            self.leave(&mut state, grant, commune, camera, reason);
            self.shared.count_relays(&state);
        }
    }

    /// Ends a grant's viewers of one kind (players with its URL, or sockets with a token).
    pub fn end_viewers(&self, grant: GrantId, players: bool, reason: Reason) {
        let state = self.shared.lock();
        let Some(known) = state.grants.get(&grant) else {
            return;
        };
        for (commune, camera) in known.cameras().iter() {
            let place = state.communes.get(commune);
            if let Some(camera) = place.and_then(|place| place.cameras.get(camera)) {
                camera.end_viewers(grant, players, reason);
            }
        }
    }

    /// A viewer that waits gets its pictures: the journal holds its start.
    pub fn admit(&self, number: u64) {
        if let Some(viewer) = self.shared.take_joining(number) {
            viewer.admit();
        }
    }

    /// A viewer that waits gets none.
    pub fn refuse(&self, number: u64, reason: Reason) {
        if let Some(viewer) = self.shared.take_joining(number) {
            viewer.end(reason);
        }
    }

    /// Lets no viewer in for this reason, or lets them in again. Those who are in go on.
    pub fn refuse_viewers(&self, reason: Option<Reason>) {
        *lock_of(&self.shared.refused) = reason;
    }

    /// Why no viewer is let in now: asked before anybody waits for a picture.
    pub fn viewers_refused(&self) -> Option<Reason> {
        *lock_of(&self.shared.refused)
    }

    /// A grant no longer holds a camera; the camera of nobody is forgotten at
    /// once, kept group and all.
    fn leave(
        &self,
        state: &mut State,
        grant: GrantId,
        commune: &CommuneId,
        camera: &CameraId,
        reason: Reason,
    ) {
        let Some(place) = state.communes.get_mut(commune) else {
            return;
        };
        let Some(known) = place.cameras.get(camera).map(Arc::clone) else {
            return;
        };
        if known.end_grant(grant, reason) {
            place.cameras.remove(camera);
            place.end_relay(known.relay());
            place.end_other(&known);
            place.permit_streams();
            self.shared.metrics.forget_camera(commune, camera);
        }
    }

    /// What carries the commune's link, while there is one.
    pub(crate) fn transport(&self, commune: &CommuneId) -> Option<Transport> {
        let state = self.shared.lock();
        let link = state.communes.get(commune)?.link.as_ref()?;
        Some(link.transport())
    }

    /// How far a linked commune's clock is ahead of this one, in µs.
    pub(crate) fn clock_offset_us(&self, commune: &CommuneId) -> Option<i64> {
        let state = self.shared.lock();
        let link = state.communes.get(commune)?.link.as_ref()?;
        Some(link.clock_offset_us())
    }

    /// Brings the age of each camera's newest picture up to date, and sends
    /// events that found no room. Called once a second.
    pub(crate) fn record_ages(&self) {
        self.shared.outbox.retry();
        lock_of(&self.shared.joining).retain(|_, viewer| viewer.strong_count() > 0);
        let cameras: Vec<Arc<Camera>> = {
            let state = self.shared.lock();
            let communes = state.communes.values();
            communes
                .flat_map(|place| place.cameras.values().cloned())
                .collect()
        };
        for camera in cameras {
            camera.record_age();
            self.settle_streams(&camera);
        }
    }

    /// A commune's media: takes one unidirectional stream's group.
    async fn take(&self, commune: &CommuneId, stream: RecvStream, clock_offset_us: i64) {
        let mut reader = GroupReader::within(stream, self.unfinished(commune));
        let header = match tokio::time::timeout(HEADER_TIMEOUT, reader.header()).await {
            Ok(Ok(header)) => header,
            Ok(Err(ReadError::Decode(error))) => {
                let (code, cause) = match error {
                    DecodeError::UnknownKind(_)
                    | DecodeError::UnknownCodec(_)
                    | DecodeError::UnknownProfile(_) => (UNKNOWN_KIND, "unknown_kind"),
                    DecodeError::ShortHeader(_)
                    | DecodeError::ConfigurationTooLong(_)
                    | DecodeError::UnitLength(_) => (Reason::ProtocolError.number(), "malformed"),
                };
                reader.stop(code);
                self.shared.refused(commune, cause, &error);
                return;
            }
            Ok(Err(error)) => {
                tracing::debug!(%commune, %error, "stream without a header");
                return;
            }
            Err(_) => {
                reader.stop(Reason::ProtocolError.number());
                self.shared
                    .refused(commune, "malformed", &"no header in time");
                return;
            }
        };
        let Some(camera) = self.allowed(commune, header.relay).await else {
            reader.stop(UNGRANTED);
            self.shared.refused_relay(commune, header.relay);
            return;
        };
        if let Some(meter) = camera.meter() {
            reader.set_meter(meter);
        }
        if header.group.configuration.codec == Codec::Jpeg {
            self.expect_jpeg(commune, header.relay);
            self.read_picture(&camera, &header, &mut reader, clock_offset_us)
                .await;
        } else {
            let grace = LEAST_GRACE.max(3 * self.rtt(commune));
            self.read_group(&camera, &header, &mut reader, (grace, clock_offset_us))
                .await;
        }
    }

    /// The camera of an allowed relay; waits a moment for it to be allowed.
    async fn allowed(&self, commune: &CommuneId, relay: RelayId) -> Option<Arc<Camera>> {
        let wait = async {
            loop {
                let allowed = self.shared.allowed.notified();
                {
                    let state = self.shared.lock();
                    if state.stopped.is_some() {
                        return None;
                    }
                    if let Some(place) = state.communes.get(commune) {
                        if let Some(camera) = place.relays.get(&relay) {
                            return Some(Arc::clone(camera));
                        }
                        if place.ended.contains(&relay) {
                            return None;
                        }
                    }
                }
                allowed.await;
            }
        };
        tokio::time::timeout(ALLOW_TIMEOUT, wait)
            .await
            .ok()
            .flatten()
    }

    fn unfinished(&self, commune: &CommuneId) -> Arc<Budget> {
        let mut state = self.shared.lock();
        let place = state.communes.entry(commune.clone()).or_default();
        Arc::clone(&place.unfinished)
    }

    fn is_silent(&self, commune: &CommuneId) -> bool {
        let state = self.shared.lock();
        let place = state.communes.get(commune);
        let link = place.and_then(|place| place.link.as_ref());
        link.is_some_and(Link::is_silent)
    }

    fn rtt(&self, commune: &CommuneId) -> Duration {
        let state = self.shared.lock();
        let link = state
            .communes
            .get(commune)
            .and_then(|place| place.link.as_ref());
        link.map_or(Duration::ZERO, Link::rtt)
    }

    fn expect_jpeg(&self, commune: &CommuneId, relay: RelayId) {
        let mut state = self.shared.lock();
        if let Some(place) = state.communes.get_mut(commune)
            && place.jpegs.insert(relay)
        {
            place.permit_streams();
        }
    }

    /// How long DESCRIBE and PLAY wait.
    pub(super) fn waits(&self) -> Waits {
        self.shared.waits
    }

    fn why_silent(&self, commune: &CommuneId, camera: &Camera) -> Reason {
        let state = self.shared.lock();
        let link = state
            .communes
            .get(commune)
            .and_then(|place| place.link.as_ref());
        if link.is_none_or(Link::is_silent) {
            Reason::LinkLost
        } else if camera.known_configuration().is_some() {
            Reason::CameraStalled
        } else {
            Reason::CameraNoKeyFrame
        }
    }

    /// Ends all viewers, telling them why.
    pub fn shutdown(&self, reason: Reason) {
        let mut state = self.shared.lock();
        state.stopped = Some(reason);
        for (_, grant) in state.grants.drain() {
            // Taken out of the map: nobody else ends it.
            let _ = grant.ended.set(reason);
        }
        for place in state.communes.values_mut() {
            for camera in place.cameras.values() {
                camera.shut(reason);
            }
            place.cameras.clear();
            place.relays.clear();
        }
        self.shared.count_relays(&state);
        drop(state);
        self.shared.allowed.notify_waiters();
    }
}

fn lock_of<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl TakesGroups for Hub {
    /// The commune has a new link, which may open as many streams as its relays need.
    fn link_up(&self, commune: &CommuneId, link: &Link) {
        let mut state = self.shared.lock();
        let place = state.communes.entry(commune.clone()).or_default();
        place.link = Some(link.clone());
        for camera in place.cameras.values() {
            camera.streams.forget();
        }
        place.permit_streams();
    }

    /// The commune's link is gone: viewers stay, groups of it are over.
    ///
    /// The groups themselves end with their streams; a link that is up is left
    /// alone, so a call that comes late does no harm.
    fn link_down(&self, commune: &CommuneId) {
        let mut state = self.shared.lock();
        if let Some(place) = state.communes.get_mut(commune) {
            place
                .link
                .take_if(|link| link.connection.close_reason().is_some());
        }
    }

    fn take_group(
        &self,
        commune: CommuneId,
        stream: RecvStream,
        clock_offset_us: i64,
    ) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let hub = self.clone();
        Box::pin(async move { hub.take(&commune, stream, clock_offset_us).await })
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_joining(&self, number: u64) -> Option<Arc<Viewer>> {
        lock_of(&self.joining).remove(&number)?.upgrade()
    }

    fn count_refused(&self, commune: &CommuneId, cause: &str) {
        self.metrics
            .streams_refused_total
            .with_label_values(&[commune.as_str(), cause])
            .inc();
    }

    /// Counts a refused stream, and tells the log at times.
    fn refused(&self, commune: &CommuneId, cause: &'static str, error: &dyn std::fmt::Display) {
        self.count_refused(commune, cause);
        let now = self.clock.now().boot;
        let unsaid = {
            let mut state = self.lock();
            let place = state.communes.get_mut(commune);
            place.and_then(|place| place.refused.may_say(cause, now))
        };
        if let Some(unsaid) = unsaid {
            tracing::warn!(%commune, %error, unsaid, "stream refused");
        }
    }

    /// A stream of a relay that no live grant allows. Of one that ended a moment ago
    /// some are always under way.
    fn refused_relay(&self, commune: &CommuneId, relay: RelayId) {
        let ended = {
            let state = self.lock();
            let place = state.communes.get(commune);
            place.is_some_and(|place| place.ended.contains(&relay))
        };
        if ended {
            self.count_refused(commune, "no_grant");
            tracing::debug!(%commune, %relay, "stream of an ended relay");
        } else {
            let error = format!("no live grant for relay {relay}");
            self.refused(commune, "no_grant", &error);
        }
    }

    fn count_relays(&self, state: &State) {
        let count: usize = state
            .communes
            .values()
            .map(|place| place.relays.len())
            .sum();
        self.metrics
            .relays_active
            .set(i64::try_from(count).unwrap_or(i64::MAX));
    }
}

impl Commune {
    /// Late streams of a relay that is over are refused at once.
    fn end_relay(&mut self, relay: RelayId) {
        self.relays.remove(&relay);
        self.jpegs.remove(&relay);
        if self.ended.len() == ENDED_KEPT {
            self.ended.pop_front();
        }
        self.ended.push_back(relay);
    }

    /// Lets the gateway open the streams that its relays need.
    fn permit_streams(&self) {
        let (base, each, jpeg) = STREAMS;
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let streams = base
            .saturating_add(each.saturating_mul(count(self.relays.len())))
            .saturating_add(jpeg.saturating_mul(count(self.jpegs.len())));
        let relays = self.relays.len();
        self.unfinished
            .set_limit(UNFINISHED.0 + relays * UNFINISHED.1);
        self.kept.set_limit(KEPT.0 + relays * KEPT.1);
        if let Some(link) = &self.link {
            link.connection
                .set_max_concurrent_uni_streams(streams.into());
            link.set_relays(self.relays.len());
        }
    }
}

#[cfg(test)]
mod tests;
