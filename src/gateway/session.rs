//! One session with a camera: opened in steps with a timeout each, then pictures,
//! then TEARDOWN. The [`Front`] speaks with the camera, retina with the front.
//!
//! Only the video track is set up, ever: audio is not asked for (code de la
//! sécurité intérieure, R253-1).

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt;
use retina::client::{Demuxed, InitialTimestampPolicy, PlayOptions, SessionOptions, SetupOptions};
use retina::codec::{CodecItem, FrameFormat};
use tokio_util::task::TaskTracker;

use super::cause;
use super::drawn::Drawing;
use super::front::trace::Trace;
use super::front::{self, Front, Learned, Note, Sessions};
use super::host::{Hosts, Place, Start, Turn};
use super::onvif::Device;
use crate::clock::Clock;
use crate::config::settings;
use crate::media::unit::{Codec, Configuration};
use crate::policy::camera::{Failure, StartStep, Step};
use crate::reason::Reason;

/// How long things may take that no setting names. Tests shorten them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connection and DESCRIBE together.
    pub describe: Duration,
    /// SETUP and PLAY together.
    pub setup: Duration,
    /// Longest time between two pictures.
    pub stall: Duration,
    /// How often a session is looked at though nothing came: retina answers
    /// nothing and delivers nothing after a request of the camera's until it is
    /// polled again.
    pub tick: Duration,
    /// How long a TEARDOWN is waited for.
    pub teardown: Duration,
    /// How long a camera without room for a session is left alone: the usual
    /// lifetime of a session that was not torn down.
    pub busy: Duration,
    /// How long a start waits for another camera of a full host to close.
    pub place: Duration,
    /// A key frame that is due sooner than this is waited for.
    pub key_frame_near: Duration,
    /// A camera is not asked for a key frame, nor its session opened again for one,
    /// more often than this.
    pub key_frame_every: Duration,
    /// First wait before a failed camera is tried again.
    pub retry_floor: Duration,
    /// Longest wait.
    pub retry_cap: Duration,
    /// A session must have lived this long for the wait to begin at the floor again.
    pub retry_stable: Duration,
}

impl Limits {
    /// What is right for cameras on a LAN.
    pub const LAN: Self = Self {
        describe: Duration::from_secs(5),
        setup: Duration::from_secs(5),
        stall: Duration::from_secs(8),
        tick: Duration::from_millis(250),
        teardown: Duration::from_secs(2),
        busy: Duration::from_secs(60),
        place: Duration::from_secs(3),
        key_frame_near: Duration::from_secs(2),
        key_frame_every: Duration::from_secs(5),
        retry_floor: Duration::from_secs(1),
        retry_cap: Duration::from_secs(30),
        retry_stable: Duration::from_secs(30),
    };
}

/// What to open and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) url: url::Url,
    pub(crate) credential: Option<settings::Credential>,
    pub(crate) transport: settings::Transport,
    /// Its ONVIF device service, without credentials.
    pub(crate) onvif: Option<url::Url>,
}

impl Target {
    /// The name or address in the URL: what `[[host]]` goes by.
    pub(crate) fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }
}

/// How far a start has come, seen from outside the future that makes it.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    step: AtomicU8,
    unreadable: AtomicBool,
    reached: Mutex<Vec<(Step, Instant)>>,
}

impl Progress {
    pub(crate) fn reach(&self, step: Step) {
        self.step.store(step as u8, Ordering::Relaxed);
        let mut reached = self.reached.lock().unwrap_or_else(PoisonError::into_inner);
        reached.push((step, Instant::now()));
    }

    /// Packets come, and no picture can be made of them.
    pub(crate) fn note_unreadable(&self) {
        self.unreadable.store(true, Ordering::Relaxed);
    }

    pub(crate) fn step(&self) -> Step {
        match Step::from_number(self.step.load(Ordering::Relaxed)) {
            Step::NoPicture if self.unreadable.load(Ordering::Relaxed) => Step::Unreadable,
            step => step,
        }
    }

    /// When each step began, in order.
    pub(crate) fn reached(&self) -> Vec<(Step, Instant)> {
        let reached = self.reached.lock().unwrap_or_else(PoisonError::into_inner);
        reached.clone()
    }

    /// How long each step took of a start that was ordered and has its key frame
    /// at these times.
    pub(crate) fn durations(&self, ordered: Instant, key: Instant) -> Vec<(StartStep, Duration)> {
        let mut reached = vec![(Step::Waiting, ordered)];
        reached.extend(self.reached());
        let mut took = Vec::with_capacity(reached.len());
        for (at, (step, from)) in reached.iter().enumerate() {
            let next = reached.get(at + 1);
            let until = next.map_or(key, |(_, until)| *until);
            let step = StartStep::of(*step);
            took.push((step, until.saturating_duration_since(*from)));
        }
        took
    }
}

/// Everything a start needs.
#[derive(Clone)]
pub(crate) struct Opening {
    pub(crate) target: Arc<Target>,
    pub(crate) hosts: Arc<Hosts>,
    pub(crate) sessions: Sessions,
    pub(crate) limits: Limits,
    pub(crate) progress: Arc<Progress>,
    /// Where a key frame can be asked for.
    pub(crate) onvif: Option<Arc<Device>>,
    /// What sessions before learned of the camera.
    pub(crate) learned: Learned,
    /// Where the dialogue is written.
    pub(crate) trace: Option<Trace>,
    pub(crate) clock: Clock,
    /// Owns the session's task and the look-up over ONVIF.
    pub(crate) tasks: TaskTracker,
}

/// A session that plays. Dropping it sends TEARDOWN in the background;
/// [`Session::close`] waits for it.
#[derive(Debug)]
pub(crate) enum Session {
    /// With a camera.
    Camera(Box<Played>),
    /// With the test camera, which is drawn here.
    Drawn(Box<Drawing>),
}

/// A session with a camera.
pub(crate) struct Played {
    demuxed: Pin<Box<Demuxed>>,
    front: Front,
    codec: Codec,
    /// A picture did not come through retina.
    missed: bool,
    sessions: Sessions,
    teardown: Duration,
    _place: Place,
}

impl std::fmt::Debug for Played {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Played")
            .field("codec", &self.codec)
            .finish_non_exhaustive()
    }
}

/// A picture as it came from the camera.
#[derive(Debug)]
pub(crate) struct Picture {
    /// RTP time, 90 kHz, wrapping.
    pub(crate) rtp: u32,
    /// When its last byte came.
    pub(crate) arrived: Instant,
    pub(crate) key: bool,
    /// Leading pictures may need the group before.
    pub(crate) open_group: bool,
    pub(crate) disposable: bool,
    pub(crate) loss_before: bool,
    pub(crate) data: Bytes,
    /// What a decoder needs for it; known at the latest with the first key frame.
    pub(crate) configuration: Option<Arc<Configuration>>,
}

impl Session {
    /// Opens a session: waits for the host's turn, for the right to try the password
    /// and for a place among all starts; then DESCRIBE, SETUP of the video track and
    /// PLAY through the [`Front`].
    pub(crate) async fn open(opening: Opening) -> Result<Self, Failure> {
        if let Some(drawing) = Drawing::open(&opening.target.url, &opening.clock) {
            opening.progress.reach(Step::NoPicture);
            return Ok(Self::Drawn(Box::new(drawing)));
        }
        let played = Played::open(opening).await?;
        Ok(Self::Camera(Box::new(played)))
    }

    /// The next picture. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Result<Picture, Failure> {
        match self {
            Self::Camera(played) => played.next().await,
            Self::Drawn(drawing) => Ok(drawing.next().await),
        }
    }

    /// Ends the session and waits a little for the camera to confirm it.
    pub(crate) async fn close(self) {
        match self {
            Self::Camera(played) => played.close().await,
            Self::Drawn(_) => {}
        }
    }

    /// The camera's clock less ours in µs, by its last sender report.
    pub(crate) fn clock_offset(&self) -> Option<i64> {
        match self {
            Self::Camera(played) => played.front.clock_offset(),
            Self::Drawn(_) => None,
        }
    }
}

impl Played {
    async fn open(opening: Opening) -> Result<Self, Failure> {
        let limits = opening.limits;
        let place = opening
            .hosts
            .enter(opening.target.host(), limits.place, limits.busy)
            .await?;
        let turn = opening.turn().await?;
        // Held until it plays or has failed. After the turn: who waits for that takes
        // no place from others.
        let start = opening.begin().await;
        let front = opening.front(turn);
        let front = Front::open(front, &opening.sessions, &opening.tasks).await?;
        let demuxed = match play(&front).await {
            Ok(demuxed) => demuxed,
            Err(error) => {
                return Err(front.verdict().unwrap_or_else(|| {
                    tracing::error!(%error, "retina does not play what it is given");
                    cause::again(Reason::Internal, "its pictures can't be read")
                }));
            }
        };
        drop(start);
        opening.progress.reach(Step::NoPicture);
        Ok(Self {
            demuxed: Box::pin(demuxed),
            codec: front.codec(),
            front,
            missed: false,
            sessions: opening.sessions,
            teardown: limits.teardown,
            _place: place,
        })
    }

    async fn next(&mut self) -> Result<Picture, Failure> {
        loop {
            let (stamp, data) = match self.demuxed.next().await {
                Some(Ok(CodecItem::VideoFrame(frame))) => (
                    frame.timestamp().timestamp(),
                    Bytes::from(frame.into_data()),
                ),
                Some(Ok(CodecItem::MessageFrame(message))) => (
                    message.timestamp().timestamp(),
                    Bytes::copy_from_slice(message.data()),
                ),
                Some(Ok(_)) => continue,
                Some(Err(error)) => {
                    if let Some(failure) = self.front.verdict() {
                        return Err(failure);
                    }
                    // The picture is lost, the session goes on.
                    tracing::warn!(%error, "retina refuses a picture of the front's");
                    self.missed = true;
                    continue;
                }
                None => return Err(self.front.verdict().unwrap_or_else(cause::ended)),
            };
            // RTP times on the loopback are 32 bits wide; retina unwraps them.
            let (note, missed) = self.front.notes().take((stamp & 0xffff_ffff) as u32);
            self.missed |= missed;
            if let Some(note) = note {
                return Ok(self.picture(note, data));
            }
            self.missed = true;
        }
    }

    async fn close(self) {
        let Self {
            demuxed,
            front,
            sessions,
            teardown,
            _place,
            ..
        } = self;
        drop((demuxed, front));
        sessions.wait_over(teardown).await;
    }

    fn picture(&mut self, note: Note, data: Bytes) -> Picture {
        let missed = std::mem::take(&mut self.missed);
        let data = if note.sets.is_empty() {
            data
        } else {
            [&note.sets[..], &data].concat().into()
        };
        Picture {
            rtp: note.time,
            arrived: note.arrived,
            key: note.key,
            open_group: note.open_group,
            disposable: note.disposable,
            loss_before: note.loss_before || missed,
            data,
            configuration: note.configuration,
        }
    }
}

/// Asks a camera for its description: OPTIONS and DESCRIBE, never SETUP. It takes no place at the
/// host and none among the starts, for a relay may want them meanwhile; where the host has no
/// session left it is not asked at all.
pub(crate) async fn look(opening: Opening) -> Result<(), Failure> {
    let Some(begin) = opening.hosts.look(opening.target.host()) else {
        return Err(cause::busy(
            "its host has no session left",
            opening.limits.busy,
        ));
    };
    tokio::time::sleep_until(begin).await;
    let turn = opening.turn().await?;
    front::look(opening.front(turn)).await
}

impl Opening {
    /// What the front needs of it.
    fn front(&self, turn: Option<Turn>) -> front::Opening {
        front::Opening {
            target: self.target.clone(),
            turn,
            limits: self.limits,
            progress: self.progress.clone(),
            learned: self.learned.clone(),
            trace: self.trace.clone(),
            clock: self.clock.clone(),
        }
    }

    /// Waits for a place among all starts that are under way.
    async fn begin(&self) -> Start {
        let start = self.hosts.start().await;
        if let Some(device) = &self.onvif {
            // Beside DESCRIBE and what follows: found out by the time that pictures come.
            let stream = Arc::new(self.target.url.clone());
            self.tasks.spawn(device.clone().prepare(stream));
        }
        self.progress.reach(Step::Connecting);
        start
    }

    /// Waits for the right to try the password, where there is one, while other cameras of the host try it.
    async fn turn(&self) -> Result<Option<Turn>, Failure> {
        let Some(credential) = &self.target.credential else {
            return Ok(None);
        };
        let login = self.hosts.login(self.target.host(), &credential.username);
        match tokio::time::timeout(self.limits.describe + self.limits.place, login).await {
            Ok(turn) => turn.map(Some),
            Err(_) => Err(cause::again(
                Reason::CameraUnreachable,
                "another camera of the same host and user does not answer; passwords are tried one at a time until one was right",
            )),
        }
    }
}

/// retina's session with the front: DESCRIBE, SETUP, PLAY. Each waits for the front,
/// which has limits of its own.
async fn play(front: &Front) -> Result<Demuxed, retina::Error> {
    let options = SessionOptions::default();
    let mut described = retina::client::Session::describe(front.url(), options).await?;
    let options = SetupOptions::default().frame_format(FrameFormat::MP4);
    described.setup(0, options).await?;
    let options = PlayOptions::default().initial_timestamp(InitialTimestampPolicy::Permissive);
    described.play(options).await?.demuxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steps_of_a_start_leave_no_gap() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let took = |reached: &[(Step, u64)], key| {
            let progress = Progress::default();
            *progress.reached.lock().unwrap() =
                reached.iter().map(|(step, ms)| (*step, at(*ms))).collect();
            let took = progress.durations(start, at(key));
            assert_eq!(took.iter().map(|t| t.1).sum::<Duration>(), at(key) - start);
            took
        };
        let plain = [
            (Step::Connecting, 3),
            (Step::Describing, 5),
            (Step::SettingUp, 8),
            (Step::Playing, 10),
            (Step::NoPicture, 13),
            (Step::NoKeyFrame, 20),
        ];
        let ms = Duration::from_millis;
        assert_eq!(
            took(&plain, 20),
            [
                (StartStep::Queue, ms(3)),
                (StartStep::Connect, ms(2)),
                (StartStep::Describe, ms(3)),
                (StartStep::Setup, ms(2)),
                (StartStep::Play, ms(3)),
                (StartStep::FirstPicture, ms(7)),
                (StartStep::KeyFrame, ms(0)),
            ]
        );
    }
}
