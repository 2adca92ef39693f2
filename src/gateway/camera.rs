//! Pulls cameras with retina, on demand.
//!
//! One session per stream (a camera's main or sub picture) however many ask; a
//! start is single-flight; the session closes `close_after` the last relay went.
//! [`crate::policy::camera`] decides, a task per stream that is wanted ([`super::stream`])
//! carries it out, [`super::session`] speaks RTSP through retina, [`super::host`]
//! holds what the cameras of one recorder share. A camera that nobody wants has
//! no task, no session and no memory but its counters.
//!
//! | what waits | bound | when full |
//! |---|---|---|
//! | pictures | none waits here: each goes to every [`Sink`] at once, which must not block | the sink's queue decides |
//! | kept group | 16 MiB and 30 s, only while somebody is attached or the camera is `warm` | dropped; the next joiner needs a key frame, see [`Pool::want_key_frame`] |
//! | starts that wait for a place | one per stream | they wait their turn, [`crate::policy::starts`] |
//! | who joins and leaves | one entry per relay | – |

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::front::Sessions;
use super::health::Health;
use super::host::Hosts;
use super::onvif::Devices;
pub use super::session::Limits;
use super::session::Target;
use super::sessions::SessionLog;
use super::stream::{Change, Stream};
use crate::clock::Clock;
use crate::config::settings;
use crate::format::ids::{CameraId, GrantId};
use crate::media::relay::Profile;
use crate::media::sink::Sink;
use crate::media::splice::Numbers;
use crate::metrics::{self, CameraState};
use crate::policy::camera::{Phase, Timing};
use crate::policy::gate::Permit;
use crate::reason::{Reason, Refusal};

/// All cameras of the commune. Lives on the frames thread; cheap to clone.
#[derive(Clone, Debug)]
pub struct Pool {
    inner: Arc<Inner>,
}

/// A relay's hold on a camera: the camera closes some time after the last is dropped.
#[derive(Debug)]
pub struct Attachment {
    stream: Arc<Stream>,
    id: u64,
}

/// What all streams of the pool share.
#[derive(Debug)]
pub(super) struct Inner {
    pub(super) clock: Clock,
    pub(super) metrics: Arc<metrics::Gateway>,
    pub(super) limits: Limits,
    pub(super) hosts: Arc<Hosts>,
    pub(super) devices: Devices,
    /// Where the time lines of all streams begin.
    pub(super) origin: Instant,
    pub(super) tasks: TaskTracker,
    /// Which cameras are open.
    pub(super) log: SessionLog,
    /// The results of probes.
    pub(super) health: Health,
    /// Told of new settings.
    changed: Arc<Notify>,
    stop: CancellationToken,
    state: Mutex<PoolState>,
    next_attachment: AtomicU64,
}

#[derive(Debug)]
struct PoolState {
    settings: Arc<settings::Gateway>,
    /// Warm cameras are kept open.
    warm: bool,
    streams: HashMap<(CameraId, Profile), Arc<Stream>>,
    cameras: HashMap<CameraId, Arc<Counters>>,
    /// Streams that are not idle, for the metrics.
    phases: HashMap<(CameraId, Profile), Phase>,
}

/// What goes on through all sessions of a camera, main and sub.
#[derive(Default)]
pub(super) struct Counters {
    groups: AtomicU64,
    epochs: AtomicU32,
    /// Those that are not over.
    pub(super) sessions: Sessions,
}

impl std::fmt::Debug for Counters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Counters")
            .field("groups", &self.groups)
            .field("epochs", &self.epochs)
            .finish_non_exhaustive()
    }
}

impl Numbers for Counters {
    fn next_group(&self) -> u64 {
        self.groups.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn next_epoch(&self) -> u32 {
        self.epochs.fetch_add(1, Ordering::Relaxed) + 1
    }
}

impl Pool {
    /// A pool over these cameras. Nothing is opened yet; warm cameras are while [`Pool::run_warm`] runs.
    pub fn new(
        settings: Arc<settings::Gateway>,
        clock: Clock,
        metrics: Arc<metrics::Gateway>,
    ) -> Self {
        Self::with_limits(settings, clock, metrics, Limits::LAN, SessionLog::default())
    }

    /// A pool with other limits than [`Limits::LAN`], which tells this log what is open.
    pub fn with_limits(
        settings: Arc<settings::Gateway>,
        clock: Clock,
        metrics: Arc<metrics::Gateway>,
        limits: Limits,
        log: SessionLog,
    ) -> Self {
        Self::watched(settings, clock, metrics, limits, (log, Health::default()))
    }

    /// The same, which leaves the results of probes in `health`.
    pub(super) fn watched(
        settings: Arc<settings::Gateway>,
        clock: Clock,
        metrics: Arc<metrics::Gateway>,
        limits: Limits,
        (log, health): (SessionLog, Health),
    ) -> Self {
        let hosts = Arc::new(Hosts::default());
        hosts.configure(&settings.hosts);
        let stop = CancellationToken::new();
        let devices = Devices::new(clock.clone(), stop.clone());
        let pool = Self {
            inner: Arc::new(Inner {
                clock,
                metrics,
                limits,
                hosts,
                devices,
                origin: Instant::now(),
                tasks: TaskTracker::new(),
                log,
                health,
                changed: Arc::default(),
                stop,
                state: Mutex::new(PoolState {
                    settings,
                    warm: false,
                    streams: HashMap::new(),
                    cameras: HashMap::new(),
                    phases: HashMap::new(),
                }),
                next_attachment: AtomicU64::new(1),
            }),
        };
        let inner = &pool.inner;
        inner.lock().count(&inner.health, &inner.metrics);
        pool
    }

    /// Attaches a relay's sink to a camera's stream, opening it if need be. The
    /// sink is told the state first; then the kept group, if there is one, is
    /// pushed (marked kept). A camera without a sub stream gives its main one.
    ///
    /// Must be called within the frames runtime.
    ///
    /// # Errors
    /// `camera_unknown`, `camera_invalid`, `shutting_down`.
    pub fn attach(
        &self,
        permit: &Permit,
        camera: &CameraId,
        profile: Profile,
        sink: Arc<dyn Sink>,
    ) -> Result<Attachment, Refusal> {
        self.held_by(camera, permit.grant());
        self.new_dangerous_attachment(camera, profile, sink)
    }

    /// A relay of this grant holds the camera: if it is open, it is for that.
    pub(super) fn held_by(&self, camera: &CameraId, grant: GrantId) {
        let now = self.inner.clock.now().wall;
        self.inner.log.held_by(camera, grant, now);
    }

    /// As [`Pool::attach`], without the proof that a recorded grant allows it:
    /// for trials of the pool alone, where no picture leaves the process.
    ///
    /// # Errors
    ///
    /// As [`Pool::attach`].
    #[doc(hidden)]
    pub fn new_dangerous_attachment(
        &self,
        camera: &CameraId,
        profile: Profile,
        sink: Arc<dyn Sink>,
    ) -> Result<Attachment, Refusal> {
        if self.inner.stop.is_cancelled() {
            return Err(Reason::ShuttingDown.into());
        }
        let stream = self.inner.lock().stream(camera, profile)?;
        let id = self.inner.next_attachment.fetch_add(1, Ordering::Relaxed);
        if stream.join(id, sink) {
            self.spawn(&stream);
        }
        Ok(Attachment { stream, id })
    }

    /// Asks for a key frame soon. Where none is due, the camera is asked over ONVIF
    /// if its settings name that, and otherwise its session is opened again if it is
    /// known to begin with one: at most every five seconds, and a wish that comes
    /// sooner waits ([`crate::policy::key_frames`]). RTSP has no way to ask.
    pub fn want_key_frame(&self, camera: &CameraId, profile: Profile) {
        let stream = self.inner.lock().stream(camera, profile);
        if let Ok(stream) = stream {
            stream.tell(Change::WantKeyFrame);
        }
    }

    /// Whether the camera has a sub-stream.
    pub(super) fn has_sub(&self, camera: &CameraId) -> bool {
        let state = self.inner.lock();
        let entry = state.settings.camera(camera);
        entry
            .and_then(|entry| entry.streams.as_ref().ok())
            .is_some_and(|streams| streams.sub.is_some())
    }

    /// How long the camera may take for its first key frame.
    pub(super) fn start_timeout(&self, camera: &CameraId) -> std::time::Duration {
        let state = self.inner.lock();
        let target = state.target(camera, Profile::Main);
        target.map_or(std::time::Duration::ZERO, |(_, settled, _)| {
            settled.start_timeout
        })
    }

    /// Whether one of the camera's streams is open, or its host has room for one
    /// more session.
    pub(super) fn has_room(&self, camera: &CameraId, profile: Profile) -> bool {
        let state = self.inner.lock();
        let Ok((target, _, profile)) = state.target(camera, profile) else {
            return false;
        };
        state.phases.contains_key(&(camera.clone(), profile))
            || self.inner.hosts.has_room(target.host())
    }

    /// What goes on through all streams of a camera.
    pub(super) fn counters(&self, camera: &CameraId) -> Arc<Counters> {
        let mut state = self.inner.lock();
        state.cameras.entry(camera.clone()).or_default().clone()
    }

    /// New settings: changed cameras are reopened, held ones tried again, those
    /// that are gone or invalid now end (`camera_unknown`, `camera_invalid`).
    pub fn reload(&self, settings: Arc<settings::Gateway>) {
        self.inner.hosts.configure(&settings.hosts);
        self.inner.devices.forget();
        let mut state = self.inner.lock();
        state.settings = settings;
        for camera in self.inner.health.keep(&state.settings) {
            if !state.is_open(&camera) {
                // An error says that there was no such series.
                let _ = self
                    .inner
                    .metrics
                    .camera_up
                    .remove_label_values(&[camera.as_str()]);
            }
        }
        for ((camera, profile), stream) in &state.streams {
            stream.tell(match state.target(camera, *profile) {
                Ok((target, timing, _)) => Change::Settings(target, timing),
                Err(refusal) => Change::Stop(refusal),
            });
        }
        let gone: Vec<_> = state
            .streams
            .keys()
            .filter(|(camera, profile)| state.target(camera, *profile).is_err())
            .cloned()
            .collect();
        for key in gone {
            state.streams.remove(&key);
        }
        state.count(&self.inner.health, &self.inner.metrics);
        drop(state);
        self.inner.changed.notify_waiters();
        self.warm_up();
    }

    /// Probes cameras that nobody watches, as the settings want it, until [`Pool::shutdown`].
    pub(super) async fn run_probes(&self) {
        let probing = super::health::run(self.clone());
        tokio::select! {
            () = self.inner.stop.cancelled() => {}
            () = probing => {}
        }
    }

    /// Told of new settings.
    pub(super) fn changed(&self) -> Arc<Notify> {
        Arc::clone(&self.inner.changed)
    }

    /// The settings that hold now.
    pub(super) fn settings(&self) -> Arc<settings::Gateway> {
        Arc::clone(&self.inner.lock().settings)
    }

    /// The cameras that nobody has open.
    pub(super) fn idle_targets(&self) -> Vec<(CameraId, Arc<Target>)> {
        let state = self.inner.lock();
        let idle = state
            .settings
            .cameras
            .keys()
            .filter(|id| !state.is_open(id));
        idle.filter_map(|id| Some((id.clone(), state.target(id, Profile::Main).ok()?.0)))
            .collect()
    }

    /// Whether nobody has the camera open.
    pub(super) fn is_idle(&self, camera: &CameraId) -> bool {
        !self.inner.lock().is_open(camera)
    }

    /// What a probe needs.
    pub(super) fn parts(&self) -> &Inner {
        &self.inner
    }

    /// The results of probes.
    pub(super) fn health(&self) -> &Health {
        &self.inner.health
    }

    /// A probe has a result.
    pub(super) fn show_health(&self, camera: &CameraId) {
        let state = self.inner.lock();
        let metrics = &self.inner.metrics;
        let known = self.inner.health.is_well(camera);
        if let Some(is_well) = known.filter(|_| !state.is_open(camera)) {
            let gauge = metrics.camera_up.with_label_values(&[camera.as_str()]);
            gauge.set(i64::from(is_well));
        }
        state.count(&self.inner.health, metrics);
    }

    /// Keeps the warm cameras open until [`Pool::shutdown`], and the newest group
    /// of each in memory, so that a relay has its first picture at once. Nothing
    /// of theirs leaves the LAN without a relay; what was kept when the last
    /// relay went is dropped.
    pub async fn run_warm(&self) {
        self.inner.lock().warm = true;
        self.warm_up();
        self.inner.stop.cancelled().await;
    }

    /// Closes all sessions with TEARDOWN, within a grace of a few seconds.
    pub async fn shutdown(&self) {
        self.inner.stop.cancel();
        let streams: Vec<_> = self.inner.lock().streams.values().cloned().collect();
        for stream in streams {
            stream.tell(Change::Stop(Reason::ShuttingDown.into()));
        }
        self.inner.tasks.close();
        let grace = self.inner.limits.teardown * 2;
        if tokio::time::timeout(grace, self.inner.tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!("some cameras did not confirm TEARDOWN in time");
        }
    }

    fn warm_up(&self) {
        let mut state = self.inner.lock();
        let on = state.warm && !self.inner.stop.is_cancelled();
        let wanted: Vec<_> = state
            .settings
            .cameras
            .values()
            .filter_map(|camera| Some((camera.id.clone(), camera.streams.as_ref().ok()?.warm)))
            .collect();
        for (camera, warm) in wanted {
            let known = state.streams.contains_key(&(camera.clone(), Profile::Main));
            let stream = match state.stream(&camera, Profile::Main) {
                Ok(stream) if warm || known => stream,
                Ok(_) | Err(_) => continue,
            };
            if stream.warm(warm && on) {
                self.spawn(&stream);
            }
        }
    }

    fn spawn(&self, stream: &Arc<Stream>) {
        let task = stream.clone().run(self.inner.clone());
        self.inner.tasks.spawn(task);
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, PoolState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a stream's phase for the metrics.
    pub(super) fn note_phase(&self, camera: &CameraId, profile: Profile, phase: Phase) {
        let mut state = self.lock();
        let is_test = camera == &state.settings.test_camera.id;
        if phase == Phase::Live {
            self.health.is_live(camera, self.clock.now().boot);
        }
        let before = state.camera_state(camera, &self.health);
        let was_open = state.is_open(camera);
        let key = (camera.clone(), profile);
        if phase == Phase::Idle {
            state.phases.remove(&key);
        } else {
            state.phases.insert(key, phase);
        }
        let after = state.camera_state(camera, &self.health);
        let is_open = state.is_open(camera);
        let entry = state.settings.camera(camera);
        let is_warm = entry.is_some_and(|entry| entry.streams.as_ref().is_ok_and(|s| s.warm));
        let now = self.clock.now().wall;
        // Under the lock, for main and sub streams have tasks of their own.
        match (was_open, is_open) {
            (false, true) => self.log.opened(camera, is_warm, now),
            (true, false) => self.log.closed(camera, now),
            _ => {}
        }
        drop(state);
        // The test camera is none of those that are counted.
        if before != after && !is_test {
            let gauge =
                |state: CameraState| self.metrics.cameras.with_label_values(&[state.as_str()]);
            gauge(before).dec();
            gauge(after).inc();
        }
    }
}

impl PoolState {
    /// The stream that serves this profile, made known if it was not.
    fn stream(&mut self, camera: &CameraId, profile: Profile) -> Result<Arc<Stream>, Refusal> {
        let (target, timing, profile) = self.target(camera, profile)?;
        let key = (camera.clone(), profile);
        if let Some(stream) = self.streams.get(&key) {
            return Ok(stream.clone());
        }
        let counters = self.cameras.entry(camera.clone()).or_default().clone();
        let stream = Arc::new(Stream::new(key.clone(), target, timing, counters));
        self.streams.insert(key, stream.clone());
        Ok(stream)
    }

    fn target(
        &self,
        camera: &CameraId,
        profile: Profile,
    ) -> Result<(Arc<Target>, Settled, Profile), Refusal> {
        let Some(entry) = self.settings.camera(camera) else {
            return Err(Reason::CameraUnknown.into());
        };
        let Ok(streams) = &entry.streams else {
            // What is wrong with the entry may name its address: it stays at the commune.
            return Err(Reason::CameraInvalid.into());
        };
        let (url, profile) = match (profile, &streams.sub) {
            (Profile::Sub, Some(sub)) => (sub, Profile::Sub),
            (Profile::Sub, None) | (Profile::Main, _) => (&streams.main, Profile::Main),
        };
        let target = Target {
            url: url.clone(),
            credential: streams.credential.clone(),
            transport: streams.transport,
            onvif: streams.onvif.clone(),
        };
        let settled = Settled {
            start_timeout: streams.start_timeout,
            close_after: streams.close_after,
        };
        Ok((Arc::new(target), settled, profile))
    }

    /// Whether one of the camera's streams has a session, or tries to.
    fn is_open(&self, camera: &CameraId) -> bool {
        let is = |profile| self.phases.contains_key(&(camera.clone(), profile));
        is(Profile::Main) || is(Profile::Sub)
    }

    fn camera_state(&self, camera: &CameraId, health: &Health) -> CameraState {
        let of = |profile| match self.phases.get(&(camera.clone(), profile)) {
            None | Some(Phase::Idle) => CameraState::Idle,
            Some(Phase::Starting) => CameraState::Starting,
            Some(Phase::Live | Phase::Closing) => CameraState::Live,
            Some(Phase::Retrying) => CameraState::Retrying,
            Some(Phase::Held) => CameraState::Failed,
        };
        match (self.settings.camera(camera), of(Profile::Main)) {
            (Some(entry), _) if entry.streams.is_err() => CameraState::Invalid,
            (_, CameraState::Idle) => match of(Profile::Sub) {
                CameraState::Idle if health.is_well(camera) == Some(false) => CameraState::Failed,
                sub => sub,
            },
            (_, main) => main,
        }
    }

    /// Counts the cameras of all states again.
    fn count(&self, health: &Health, metrics: &metrics::Gateway) {
        for state in CameraState::ALL {
            let count = self
                .settings
                .cameras
                .keys()
                .filter(|camera| self.camera_state(camera, health) == state)
                .count();
            metrics
                .cameras
                .with_label_values(&[state.as_str()])
                .set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }
}

/// What a camera's settings say about time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Settled {
    start_timeout: std::time::Duration,
    close_after: std::time::Duration,
}

impl Settled {
    /// Together with the pool's own limits.
    pub(super) const fn timing(self, limits: &Limits) -> Timing {
        Timing {
            start_timeout: self.start_timeout,
            close_after: self.close_after,
            stall: limits.stall,
        }
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        self.stream.leave(self.id);
    }
}
