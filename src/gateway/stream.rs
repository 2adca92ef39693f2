//! The task of one camera stream: carries out what [`Life`] decides, numbers
//! groups and epochs, places pictures on the relay's time line and hands them on.

mod key_frames;
mod log;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::Notify;
use tokio::time::{Instant, Interval, MissedTickBehavior};

use super::camera::{Counters, Inner, Settled};
use super::front::Learned;
use super::onvif;
use super::session::{Opening, Picture, Progress, Session, Target};
use crate::clock::Boot;
use crate::format::backoff::Backoff;
use crate::format::ids::CameraId;
use crate::media::kept::Kept;
use crate::media::relay::Profile;
use crate::media::sink::Sink;
use crate::media::sink::State;
use crate::media::splice::Numbers;
use crate::media::timeline::Timeline;
use crate::media::unit::{AccessUnit, Configuration, Frame, Group, UnitFlags};
use crate::policy::camera::{Command, Failure, Life, Phase, Step};
use crate::policy::key_frames::KeyFrames;
use crate::reason::{Reason, Refusal};
use key_frames::Asking;
use log::Line;

/// One stream of a camera: known to the pool as soon as it was asked for, with a
/// task only while it is wanted.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) camera: CameraId,
    pub(super) profile: Profile,
    counters: Arc<Counters>,
    /// What its sessions learned of the camera; forgotten when its settings change.
    learned: Learned,
    shared: Mutex<Shared>,
    wake: Notify,
    /// What the log was told; outlives the task, or each new request told it again.
    log: Mutex<log::Log>,
}

/// What others leave for the task.
struct Shared {
    target: Arc<Target>,
    settled: Settled,
    /// What the task before left, while none runs.
    left: Option<(Life, Timeline)>,
    /// All who are attached.
    attached: Vec<(u64, Arc<dyn Sink>)>,
    /// Those of them whom the task has not seen.
    joining: Vec<(u64, Arc<dyn Sink>)>,
    leaving: Vec<u64>,
    changes: VecDeque<Change>,
    warm: bool,
    running: bool,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("attached", &self.attached.len())
            .field("leaving", &self.leaving)
            .field("changes", &self.changes)
            .field("warm", &self.warm)
            .field("running", &self.running)
            .finish_non_exhaustive()
    }
}

/// What a stream is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// A joiner found no kept group.
    WantKeyFrame,
    /// Settings were reloaded.
    Settings(Arc<Target>, Settled),
    /// It ends for good.
    Stop(Refusal),
}

impl Stream {
    pub(super) fn new(
        (camera, profile): (CameraId, Profile),
        target: Arc<Target>,
        settled: Settled,
        counters: Arc<Counters>,
    ) -> Self {
        Self {
            camera,
            profile,
            counters,
            learned: Learned::default(),
            shared: Mutex::new(Shared {
                target,
                settled,
                left: None,
                attached: Vec::new(),
                joining: Vec::new(),
                leaving: Vec::new(),
                changes: VecDeque::new(),
                warm: false,
                running: false,
            }),
            wake: Notify::new(),
            log: Mutex::default(),
        }
    }

    /// A sink joins. `true`: the caller must run the task.
    #[must_use]
    pub(super) fn join(&self, id: u64, sink: Arc<dyn Sink>) -> bool {
        let mut shared = self.lock();
        shared.attached.push((id, sink.clone()));
        shared.joining.push((id, sink));
        let idle = !std::mem::replace(&mut shared.running, true);
        drop(shared);
        self.wake.notify_one();
        idle
    }

    /// A sink leaves; nothing is pushed to it once the task has seen it.
    pub(super) fn leave(&self, id: u64) {
        let mut shared = self.lock();
        shared.attached.retain(|(attached, _)| *attached != id);
        shared.leaving.push(id);
        drop(shared);
        self.wake.notify_one();
    }

    /// Whether to keep the stream open alone. `true`: the caller must run the task.
    #[must_use]
    pub(super) fn warm(&self, warm: bool) -> bool {
        let mut shared = self.lock();
        shared.warm = warm;
        let start = warm && !shared.running;
        shared.running |= warm;
        drop(shared);
        self.wake.notify_one();
        start
    }

    /// Tells the task something. What an idle stream must remember is noted.
    pub(super) fn tell(&self, change: Change) {
        let mut shared = self.lock();
        if shared.running {
            // The same wish twice is one wish: so few kinds wait at a time.
            if !shared.changes.contains(&change) {
                shared.changes.push_back(change);
            }
            drop(shared);
            self.wake.notify_one();
        } else if let Change::Settings(target, settled) = change {
            shared.target = target;
            shared.settled = settled;
            if let Some((life, _)) = &mut shared.left {
                life.handle_reopen();
            }
        }
    }

    /// The task. Ends when nobody wants the stream and its session is closed.
    ///
    /// A panic (there are `expect`s behind what a camera may send) costs this
    /// stream's session and nobody else's; it is opened again after the longest wait.
    pub(super) async fn run(self: Arc<Self>, pool: Arc<Inner>) {
        while AssertUnwindSafe(self.clone().serve(pool.clone()))
            .catch_unwind()
            .await
            .is_err()
        {
            tracing::error!(camera = %self.camera, profile = self.profile.as_str(), "the camera's task panicked; this is a fault of fanal's or retina's: please report it");
            self.begin_again();
            tokio::time::sleep(pool.limits.retry_cap).await;
        }
    }

    /// After a panic: all who are attached join again.
    fn begin_again(&self) {
        let mut shared = self.lock();
        shared.leaving.clear();
        shared.left = None;
        shared.joining = shared.attached.clone();
        let attached = shared.attached.clone();
        drop(shared);
        let refusal = Refusal::new(Reason::Internal, "its task failed and begins again");
        for (_, sink) in attached {
            sink.state(&State::Retrying(refusal.clone()));
        }
    }

    async fn serve(self: Arc<Self>, pool: Arc<Inner>) {
        let mut task = Task::new(self.clone(), pool);
        loop {
            task.take_inputs();
            task.carry_out().await;
            if task.life.phase() == Phase::Idle && self.rest(&task) {
                return;
            }
            task.wait().await;
        }
    }

    /// Ends the task unless something came in meanwhile.
    fn rest(&self, task: &Task) -> bool {
        let mut shared = self.lock();
        let idle = shared.joining.is_empty() && shared.changes.is_empty() && !shared.warm;
        if idle {
            shared.leaving.clear();
            shared.left = Some((task.life.clone(), task.line.clone()));
            shared.running = false;
        }
        idle
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The running part of a stream.
struct Task {
    stream: Arc<Stream>,
    pool: Arc<Inner>,
    life: Life,
    sinks: Vec<Attached>,
    line: Timeline,
    kept: Kept,
    /// Open, and its newest group kept, though nobody is attached.
    warm: bool,
    session: Option<Session>,
    opening: Option<Open>,
    /// From the order to open to the first key frame.
    start: Option<Start>,
    ticker: Interval,
    pressure: Arc<Notify>,
    /// Phase and whether somebody is attached, as the metrics have it.
    noted: (Phase, bool),
    /// Of the session: no picture came yet.
    fresh: bool,
    /// The time line was broken: the next group starts an epoch.
    broken: bool,
    epoch: u32,
    configuration: Option<Arc<Configuration>>,
    /// When its inputs were taken last: every tick, unless the machine was held up.
    looked: Boot,
    keys: KeyFrames,
    /// A key frame is being asked for.
    asking: Option<Asking>,
}

struct Attached {
    id: u64,
    sink: Arc<dyn Sink>,
    /// It has seen the start of the group that runs.
    in_group: bool,
}

type Open = Pin<Box<dyn Future<Output = Result<Session, Failure>> + Send>>;

/// A start under way.
struct Start {
    progress: Arc<Progress>,
    ordered: Instant,
    /// The machine knows that the start has its turn at the host.
    begun: bool,
}

enum Happened {
    Woken,
    Pressed,
    Opened(Result<Session, Failure>),
    Came(Result<Picture, Failure>),
    Asked(Result<(), onvif::Error>),
    Ticked,
}

impl Task {
    fn new(stream: Arc<Stream>, pool: Arc<Inner>) -> Self {
        let limits = pool.limits;
        let backoff = Backoff::new(limits.retry_floor, limits.retry_cap, limits.retry_stable);
        let mut shared = stream.lock();
        let timing = shared.settled.timing(&limits);
        let (mut life, line) = shared
            .left
            .take()
            .unwrap_or_else(|| (Life::new(timing, false, backoff), Timeline::new()));
        life.handle_timing(timing);
        let pressure = pool.hosts.pressure(shared.target.host());
        let looked = Boot(pool.origin.elapsed());
        drop(shared);
        let mut ticker = tokio::time::interval(limits.tick);
        ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            stream,
            pool,
            life,
            sinks: Vec::new(),
            line,
            kept: Kept::new(),
            warm: false,
            session: None,
            opening: None,
            start: None,
            ticker,
            pressure,
            noted: (Phase::Idle, false),
            fresh: true,
            broken: true,
            epoch: 0,
            configuration: None,
            looked,
            keys: KeyFrames::default(),
            asking: None,
        }
    }

    fn now(&self) -> Boot {
        Boot(self.pool.origin.elapsed())
    }

    fn take_inputs(&mut self) {
        let (joining, leaving, changes, warm) = {
            let mut shared = self.stream.lock();
            (
                std::mem::take(&mut shared.joining),
                std::mem::take(&mut shared.leaving),
                std::mem::take(&mut shared.changes),
                shared.warm,
            )
        };
        let now = self.now();
        let before = std::mem::replace(&mut self.looked, now);
        let held_up = now.since(before).saturating_sub(2 * self.pool.limits.tick);
        self.life.handle_held_up(held_up);
        for (id, sink) in joining {
            self.join(id, sink);
        }
        for id in leaving {
            let before = self.sinks.len();
            self.sinks.retain(|attached| attached.id != id);
            if self.sinks.len() < before {
                self.life.handle_detach(now);
                if self.sinks.is_empty() {
                    // What was shown under a grant is not kept beyond it; a warm
                    // camera keeps again from its next key frame on.
                    self.kept.clear();
                }
            }
        }
        if std::mem::replace(&mut self.warm, warm) && !warm && self.sinks.is_empty() {
            self.kept.clear();
        }
        self.life.handle_warm(now, warm);
        for change in changes {
            self.change(change);
        }
        if self.sinks.is_empty() {
            self.keys.handle_nobody();
        }
        self.seek_key_frame(now);
        self.note_start(now);
        while self.life.poll_timeout().is_some_and(|at| at <= now) {
            let start = self.start.as_ref();
            let step = start.map_or(Step::NoKeyFrame, |start| start.progress.step());
            if self.life.phase() == Phase::Starting {
                self.count_failure(step.too_slow(Duration::ZERO).reason);
            }
            self.life.handle_timeout(now, step, random());
        }
    }

    fn change(&mut self, change: Change) {
        match change {
            Change::WantKeyFrame => self.want_key_frame(),
            Change::Settings(target, settled) => {
                let changed = {
                    let mut shared = self.stream.lock();
                    let changed = shared.target != target;
                    shared.target = target;
                    shared.settled = settled;
                    changed
                };
                self.life.handle_timing(settled.timing(&self.pool.limits));
                if changed {
                    self.stream.learned.forget();
                }
                self.keys.handle_settings();
                if changed || matches!(self.life.phase(), Phase::Held | Phase::Retrying) {
                    self.life.handle_reopen();
                }
            }
            Change::Stop(refusal) => {
                self.stream.lock().warm = false;
                self.life.handle_stop(refusal);
            }
        }
    }

    /// A start's time runs from its turn at the host.
    fn note_start(&mut self, now: Boot) {
        if let Some(start) = &mut self.start
            && !start.begun
            && start.progress.step() > Step::Waiting
        {
            start.begun = true;
            self.life.handle_started(now);
        }
    }

    /// The state first, then the kept group.
    fn join(&mut self, id: u64, sink: Arc<dyn Sink>) {
        if self.life.phase() != Phase::Idle {
            sink.state(&self.life.state());
        }
        let frames = self.kept.frames();
        let in_group = !frames.is_empty();
        for frame in &frames {
            sink.push(frame);
        }
        self.sinks.push(Attached { id, sink, in_group });
        self.life.handle_attach(self.now());
        if !in_group && self.life.phase() == Phase::Live {
            self.want_key_frame();
        }
    }

    async fn carry_out(&mut self) {
        while let Some(command) = self.life.poll_command() {
            match command {
                Command::Open => self.open(),
                Command::Close => self.close().await,
                Command::Tell(state) => self.tell(&state),
            }
        }
        self.note_phase();
    }

    fn open(&mut self) {
        let progress = Arc::new(Progress::default());
        let target = self.stream.lock().target.clone();
        let opening = Opening {
            onvif: self.device(&target),
            target,
            hosts: self.pool.hosts.clone(),
            sessions: self.stream.counters.sessions.clone(),
            limits: self.pool.limits,
            progress: progress.clone(),
            learned: self.stream.learned.clone(),
            trace: None,
            clock: self.pool.clock.clone(),
            tasks: self.pool.tasks.clone(),
        };
        self.pressure = self.pool.hosts.pressure(opening.target.host());
        self.opening = Some(Box::pin(Session::open(opening)));
        self.start = Some(Start {
            progress,
            ordered: Instant::now(),
            begun: false,
        });
        self.fresh = true;
    }

    async fn close(&mut self) {
        self.kept.clear();
        self.asking = None;
        let limit = self.pool.limits.teardown;
        self.start = None;
        if let Some(session) = self.session.take() {
            session.close().await;
        } else if self.opening.take().is_some() {
            self.stream.counters.sessions.wait_over(limit).await;
        }
        self.line.restart();
        self.broken = true;
    }

    fn tell(&self, state: &State) {
        let stream = &self.stream;
        let line = {
            let mut log = stream.log.lock().unwrap_or_else(PoisonError::into_inner);
            log.line(state, self.now())
        };
        let profile = stream.profile.as_str();
        match (line, state) {
            (Some(Line::Failed(unsaid)), State::Retrying(refusal) | State::Failed(refusal)) => {
                tracing::warn!(camera = %stream.camera, profile, %refusal, unsaid, "camera failed");
            }
            (Some(_), _) => {
                tracing::info!(camera = %stream.camera, profile, ?state, "camera");
            }
            (None, _) => {
                tracing::debug!(camera = %stream.camera, profile, ?state, "camera");
            }
        }
        for attached in &self.sinks {
            attached.sink.state(state);
        }
    }

    fn note_phase(&mut self) {
        let phase = self.life.phase();
        let noted = (phase, !self.sinks.is_empty());
        if std::mem::replace(&mut self.noted, noted) == noted {
            return;
        }
        let camera = &self.stream.camera;
        self.pool.note_phase(camera, self.stream.profile, phase);
        let labels = [camera.as_str()];
        let up = &self.pool.metrics.camera_up;
        if self.sinks.is_empty() {
            match self.pool.health.is_well(camera) {
                Some(is_well) => up.with_label_values(&labels).set(i64::from(is_well)),
                // An error says that there was no such series.
                None => drop(up.remove_label_values(&labels)),
            }
        } else {
            up.with_label_values(&labels)
                .set(i64::from(phase == Phase::Live));
        }
    }

    fn count_failure(&self, reason: Reason) {
        self.pool.metrics.count_camera_start(Err(reason));
    }

    async fn wait(&mut self) {
        match self.happening().await {
            Happened::Woken | Happened::Ticked => {}
            Happened::Pressed => self.life.handle_pressure(),
            Happened::Opened(Ok(session)) => {
                let now = self.now();
                self.note_start(now);
                self.opening = None;
                self.session = Some(session);
                self.configuration = None;
            }
            Happened::Came(Ok(picture)) => self.hand_on(picture),
            Happened::Asked(asked) => {
                self.asking = None;
                if asked.is_err() {
                    let now = self.now();
                    self.keys.handle_failed(now);
                }
            }
            Happened::Opened(Err(failure)) | Happened::Came(Err(failure)) => {
                if self.start.is_some() {
                    self.count_failure(failure.refusal.reason);
                }
                self.failed(failure).await;
            }
        }
    }

    async fn failed(&mut self, failure: Failure) {
        self.close().await;
        let now = self.now();
        self.life.handle_failure(now, failure, random());
    }

    /// Waits for the next thing to happen. Cancel-safe in all its parts.
    async fn happening(&mut self) -> Happened {
        let lingering = self.life.phase() == Phase::Closing;
        tokio::select! {
            biased;
            () = self.stream.wake.notified() => Happened::Woken,
            () = self.pressure.notified(), if lingering => Happened::Pressed,
            opened = opened(self.opening.as_mut()) => Happened::Opened(opened),
            came = next(self.session.as_mut()) => Happened::Came(came),
            asked = key_frames::asked(self.asking.as_mut()) => Happened::Asked(asked),
            _ = self.ticker.tick() => Happened::Ticked,
        }
    }

    fn hand_on(&mut self, picture: Picture) {
        let now = self.now();
        let first = std::mem::replace(&mut self.fresh, false);
        if first {
            self.keys.handle_first(picture.key);
            if let Some(start) = &self.start {
                start.progress.reach(Step::NoKeyFrame);
            }
        }
        let age = picture.arrived.elapsed();
        let arrival = self.pool.origin.elapsed().saturating_sub(age);
        let placed = self.line.place(picture.rtp, arrival, picture.key);
        self.broken |= placed.broken;
        let known = picture.configuration.as_ref();
        let starts = picture.key && known.is_some();
        if self.life.phase() == Phase::Starting && starts {
            self.count_success();
        }
        if let (true, Some(configuration)) = (starts, known) {
            self.begin_group(configuration, picture.open_group);
        }
        self.life.handle_picture(now, starts);
        if self.configuration.is_none() {
            return; // No key frame yet: nothing can be decoded.
        }
        let captured = self.pool.clock.now().wall.0 - i64::try_from(age.as_micros()).unwrap_or(0);
        let unit = Arc::new(AccessUnit {
            flags: UnitFlags {
                key: picture.key,
                disposable: picture.disposable,
                loss_before: picture.loss_before,
            },
            pts: placed.pts,
            captured,
            data: picture.data,
        });
        self.kept.push(&unit);
        let frame = Frame::Unit(unit);
        for attached in self.sinks.iter().filter(|attached| attached.in_group) {
            attached.sink.push(&frame);
        }
    }

    fn count_success(&mut self) {
        let metrics = &self.pool.metrics;
        metrics.count_camera_start(Ok(()));
        let Some(start) = self.start.take() else {
            return;
        };
        let (ordered, now) = (start.ordered.into_std(), Instant::now().into_std());
        let took = now.saturating_duration_since(ordered);
        metrics.camera_start_seconds.observe(took.as_secs_f64());
        for (step, took) in start.progress.durations(ordered, now) {
            metrics
                .camera_start_step_seconds
                .with_label_values(&[step.as_str()])
                .observe(took.as_secs_f64());
        }
    }

    fn begin_group(&mut self, configuration: &Arc<Configuration>, open: bool) {
        let changed = self
            .configuration
            .as_ref()
            .is_none_or(|known| known != configuration);
        let first_of_epoch = std::mem::replace(&mut self.broken, false) || changed;
        if first_of_epoch {
            self.epoch = self.stream.counters.next_epoch();
            self.configuration = Some(configuration.clone());
        }
        self.keys.handle_key(self.now());
        let group = Arc::new(Group {
            number: self.stream.counters.next_group(),
            epoch: self.epoch,
            first_of_epoch,
            open,
            kept: false,
            profile: self.stream.profile,
            configuration: configuration.clone(),
        });
        if self.warm || !self.sinks.is_empty() {
            self.kept.start(group.clone());
        }
        let frame = Frame::Group(group);
        for attached in &mut self.sinks {
            attached.in_group = true;
            attached.sink.push(&frame);
        }
    }
}

/// The session being opened; never, where there is none.
async fn opened(opening: Option<&mut Open>) -> Result<Session, Failure> {
    match opening {
        Some(opening) => opening.await,
        None => poll_fn(|_| Poll::Pending).await,
    }
}

/// The session's next picture; never, where there is none.
async fn next(session: Option<&mut Session>) -> Result<Picture, Failure> {
    match session {
        Some(session) => session.next().await,
        None => poll_fn(|_| Poll::Pending).await,
    }
}

/// A number in 0..1 for jitter; the middle where the system has no randomness.
fn random() -> f64 {
    getrandom::u32().map_or(0.5, |number| f64::from(number) / f64::from(u32::MAX))
}
