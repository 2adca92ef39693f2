//! Tries a camera once, for `fanal check --cameras`: opens it as a relay would,
//! looks at what comes, closes it, and reports what a technician can act on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::front::fix::Fix;
use super::front::trace::Trace;
use super::front::{Learned, Sessions};
use super::host::Hosts;
use super::onvif::{Device, Devices};
use super::session::{Limits, Opening, Picture, Progress, Session, Target};
use crate::clock::Clock;
use crate::config::settings;
use crate::media::relay::Profile;
use crate::media::timeline::TICKS_PER_SECOND;
use crate::media::unit::{Codec, Configuration};
use crate::policy::camera::Step;
use crate::reason::{Reason, Refusal};

/// How long a key frame that was asked for is waited for.
const ASKED_WATCH: Duration = Duration::from_secs(3);
/// The longest that asking may take besides.
const ASKING: Duration = Duration::from_secs(15);

/// Tries cameras; those of one host share its limits, and a refused password is
/// tried once for all that have it.
#[derive(Clone, Debug)]
pub struct Prober {
    hosts: Arc<Hosts>,
    devices: Arc<Devices>,
    limits: Limits,
    clock: Clock,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// What came of trying a stream.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Why it can't be relayed as it is; `None`: it can.
    pub cause: Option<Refusal>,
    /// How long each step took.
    pub steps: Steps,
    /// What it sends, as far as it came.
    pub picture: Option<PictureReport>,
    /// What came of asking for a key frame; `None`: `onvif` is not set, or nothing plays.
    pub asked: Option<Asked>,
    /// What the front made up for.
    pub fixes: Vec<Fix>,
    /// The camera's clock less ours by its own reports; `None`: it sent none.
    pub clock_offset: Option<jiff::SignedDuration>,
    /// What works but could be better, with what to set.
    pub remarks: Vec<String>,
}

impl Report {
    /// Of a stream that was not tried.
    pub fn untried(cause: Option<Refusal>) -> Self {
        Self {
            cause,
            steps: Steps::default(),
            picture: None,
            asked: None,
            fixes: Vec::new(),
            clock_offset: None,
            remarks: Vec::new(),
        }
    }
}

/// What came of asking for a key frame over ONVIF.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// One came, so long after.
    KeyFrame(Duration),
    /// The question was answered, and none came.
    Nothing,
    /// It could not be asked: the cause and the remedy.
    Failed(String),
}

impl Asked {
    /// For programs.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::KeyFrame(_) => "key_frame",
            Self::Nothing => "nothing",
            Self::Failed(_) => "failed",
        }
    }
}

impl std::fmt::Display for Asked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::KeyFrame(after) => write!(
                f,
                "a key frame came {:.2} s after it was asked for over ONVIF",
                after.as_secs_f64()
            ),
            Self::Nothing => write!(
                f,
                "asked for a key frame over ONVIF, it sent none within {} s: update the camera, or leave onvif out",
                ASKED_WATCH.as_secs()
            ),
            Self::Failed(error) => write!(f, "no key frame over ONVIF: {error}"),
        }
    }
}

/// How long each step of a start took; `None`: it was not reached or not finished.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Steps {
    /// TCP connection, and the name looked up.
    pub connect: Option<Duration>,
    /// DESCRIBE, with the password where one is asked for.
    pub describe: Option<Duration>,
    /// SETUP of the video track.
    pub setup: Option<Duration>,
    /// PLAY.
    pub play: Option<Duration>,
    /// From PLAY's answer to the first picture.
    pub first_picture: Option<Duration>,
    /// From the first packet to the first key frame: what an operator waits.
    pub first_key_frame: Option<Duration>,
}

/// What a stream sends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PictureReport {
    /// The codec.
    pub codec: Codec,
    /// Pixels; 0 where unknown.
    pub width: u16,
    /// Pixels; 0 where unknown.
    pub height: u16,
    /// Pictures a second, by the camera's own clock; `None`: too few were seen.
    pub rate: Option<f64>,
    /// Bits a second; `None`: too little was seen.
    pub bitrate: Option<f64>,
    /// Time from key frame to key frame; `None`: no second one was seen.
    pub key_frame_interval: Option<Duration>,
}

impl Prober {
    /// A prober with the gateway's host limits.
    pub fn new(settings: &settings::Gateway, limits: Limits) -> Self {
        let hosts = Arc::new(Hosts::default());
        hosts.configure(&settings.hosts);
        let clock = Clock::system();
        Self {
            hosts,
            devices: Arc::new(Devices::new(clock.clone(), CancellationToken::new())),
            limits,
            clock,
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        }
    }

    /// Ends every trial, each camera's session in order, once `stop` is cancelled.
    #[must_use]
    pub fn until(self, stop: CancellationToken) -> Self {
        Self { stop, ..self }
    }

    /// Tries one stream of a camera. After the first key frame it is watched
    /// until the second, for at most `watch`. `None`: the camera has no such stream, or
    /// the end came first ([`until`](Self::until)); the camera's session is ended in order then too.
    /// The dialogue is written to `trace`.
    pub async fn probe(
        &self,
        streams: &settings::Streams,
        profile: Profile,
        watch: Duration,
        trace: Option<&Trace>,
    ) -> Option<Report> {
        let url = match profile {
            Profile::Main => &streams.main,
            Profile::Sub => streams.sub.as_ref()?,
        };
        let device = streams.onvif.as_ref();
        let device = device.map(|url| self.devices.at(url, streams.credential.as_ref()));
        let opening = Opening {
            target: Arc::new(Target {
                url: url.clone(),
                credential: streams.credential.clone(),
                transport: streams.transport,
                onvif: streams.onvif.clone(),
            }),
            hosts: self.hosts.clone(),
            sessions: Sessions::default(),
            limits: self.limits,
            progress: Arc::new(Progress::default()),
            onvif: device.clone(),
            learned: Learned::default(),
            trace: trace.cloned(),
            clock: self.clock.clone(),
            tasks: self.tasks.clone(),
        };
        let (sessions, progress) = (opening.sessions.clone(), opening.progress.clone());
        let learned = opening.learned.clone();
        let mut seen = Seen::default();
        let asking = device_time(streams.onvif.is_some());
        let patience = streams.start_timeout + watch + self.limits.place + asking;
        let look = seen.look(opening, streams.start_timeout, watch);
        let looked = tokio::select! {
            biased;
            () = self.stop.cancelled() => None,
            looked = tokio::time::timeout(patience, look) => Some(looked),
        };
        sessions.wait_over(self.limits.teardown).await;
        let cause = match looked? {
            Ok(Ok(())) => None,
            Ok(Err(refusal)) => Some(refusal),
            Err(_) => Some(progress.step().too_slow(patience)),
        };
        seen.fixes = learned.fixes().needed();
        Some(seen.report(cause, &progress))
    }
}

/// How long asking for a key frame may take.
const fn device_time(has_onvif: bool) -> Duration {
    if has_onvif {
        ASKING.saturating_add(ASKED_WATCH)
    } else {
        Duration::ZERO
    }
}

/// What was seen of a stream.
#[derive(Debug, Default)]
struct Seen {
    configuration: Option<Arc<Configuration>>,
    first: Option<Instant>,
    key: Option<Instant>,
    key_frame_interval: Option<Duration>,
    /// RTP times of the first and newest picture since the first key frame.
    span: Option<(u32, u32)>,
    pictures: u32,
    bytes: usize,
    newest: Option<Instant>,
    begins_with_key: bool,
    asked: Option<Asked>,
    has_onvif: bool,
    fixes: Vec<Fix>,
    /// µs.
    clock_offset: Option<i64>,
}

impl Seen {
    async fn look(
        &mut self,
        opening: Opening,
        start_timeout: Duration,
        watch: Duration,
    ) -> Result<(), Refusal> {
        let progress = opening.progress.clone();
        let tick = opening.limits.tick;
        let stall = opening.limits.stall;
        let (device, url) = (opening.onvif.clone(), opening.target.url.clone());
        self.has_onvif = device.is_some();
        let mut session = Session::open(opening).await.map_err(|f| f.refusal)?;
        let begun = Instant::now();
        let mut last = begun;
        let done = loop {
            // retina wants to be asked now and then though nothing came.
            match tokio::time::timeout(tick, session.next()).await {
                Ok(Ok(picture)) => {
                    last = Instant::now();
                    self.note(&picture);
                    progress.reach(Step::NoKeyFrame);
                }
                Ok(Err(failure)) => break Err(failure.refusal),
                Err(_) => {}
            }
            if let (Some(_), None, None, Some(device)) =
                (self.first, self.key, &self.asked, &device)
            {
                // As a relay does, for which the next may be a minute away.
                self.asked = Some(self.ask(&mut session, device, &url, tick).await);
            }
            match self.key {
                None if begun.elapsed() > start_timeout => {
                    break Err(progress.step().too_slow(start_timeout));
                }
                Some(_) if self.key_frame_interval.is_some() => break Ok(()),
                Some(key) if key.elapsed() > watch => break Ok(()),
                Some(_) if last.elapsed() > stall => {
                    break Err(Reason::CameraStalled.into());
                }
                None | Some(_) => {}
            }
        };
        if let (Ok(()), None, Some(device), false) = (&done, &self.asked, device, self.is_jpeg()) {
            self.asked = Some(self.ask(&mut session, &device, &url, tick).await);
        }
        self.clock_offset = session.clock_offset();
        session.close().await;
        done
    }

    /// Asks for a key frame, and waits for it.
    async fn ask(
        &mut self,
        session: &mut Session,
        device: &Device,
        url: &url::Url,
        tick: Duration,
    ) -> Asked {
        let begun = Instant::now();
        let mut answered = None;
        // The camera may send it before it answers.
        let mut key = None;
        let asking = device.ask(url);
        tokio::pin!(asking);
        loop {
            tokio::select! {
                biased;
                answer = &mut asking, if answered.is_none() => match answer {
                    Ok(()) => answered = Some(Instant::now()),
                    Err(error) => return Asked::Failed(error.to_string()),
                },
                next = tokio::time::timeout(tick, session.next()) => match next {
                    Ok(Ok(picture)) => {
                        if picture.key {
                            key.get_or_insert(picture.arrived);
                        }
                        if self.key.is_none() {
                            self.note(&picture);
                        }
                    }
                    Ok(Err(failure)) => return Asked::Failed(failure.refusal.to_string()),
                    Err(_) => {}
                },
            }
            match (answered, key) {
                (Some(_), Some(key)) => return Asked::KeyFrame(key - begun),
                (Some(at), None) if at.elapsed() > ASKED_WATCH => return Asked::Nothing,
                (Some(_) | None, _) => {}
            }
        }
    }

    fn note(&mut self, picture: &Picture) {
        if self.first.is_none() {
            self.first = Some(picture.arrived);
            self.begins_with_key = picture.key;
        }
        if let Some(configuration) = &picture.configuration {
            self.configuration = Some(configuration.clone());
        }
        match self.key {
            None if picture.key && picture.configuration.is_some() => {
                self.key = Some(picture.arrived);
                self.span = Some((picture.rtp, picture.rtp));
            }
            Some(key) if picture.key && !self.is_jpeg() => {
                self.key_frame_interval = Some(picture.arrived - key);
            }
            // A still picture each time: two seconds show the rate.
            Some(key) if self.is_jpeg() && key.elapsed() > Duration::from_secs(2) => {
                self.key_frame_interval = Some(Duration::ZERO);
            }
            None | Some(_) => {}
        }
        if let Some((first, newest)) = &mut self.span {
            // B-frames lie before pictures that came earlier.
            if picture.rtp.wrapping_sub(*first) > newest.wrapping_sub(*first)
                && picture.rtp.wrapping_sub(*first) < u32::MAX / 2
            {
                *newest = picture.rtp;
            }
            self.pictures += 1;
            self.bytes += picture.data.len();
            self.newest = Some(picture.arrived);
        }
    }

    fn is_jpeg(&self) -> bool {
        self.configuration
            .as_ref()
            .is_some_and(|configuration| configuration.codec == Codec::Jpeg)
    }

    fn report(&self, cause: Option<Refusal>, progress: &Progress) -> Report {
        let reached = progress.reached();
        let at = |step| reached.iter().find(|(s, _)| *s == step).map(|(_, at)| *at);
        let between = |from: Option<Instant>, to: Option<Instant>| Some(to? - from?);
        let steps = Steps {
            connect: between(at(Step::Connecting), at(Step::Describing)),
            describe: between(at(Step::Describing), at(Step::SettingUp)),
            setup: between(at(Step::SettingUp), at(Step::Playing)),
            play: between(at(Step::Playing), at(Step::NoPicture)),
            first_picture: between(at(Step::NoPicture), self.first),
            first_key_frame: between(at(Step::Connecting), self.key),
        };
        Report {
            remarks: self.remarks(&steps),
            picture: self.picture(),
            asked: self.asked.clone(),
            fixes: self.fixes.clone(),
            clock_offset: self.clock_offset.map(jiff::SignedDuration::from_micros),
            cause,
            steps,
        }
    }

    fn picture(&self) -> Option<PictureReport> {
        let configuration = self.configuration.as_ref()?;
        let span = self.span.map(|(first, newest)| newest.wrapping_sub(first));
        let span = span.filter(|span| *span > 0).map(f64::from);
        let seconds = span.map(|span| span / TICKS_PER_SECOND as f64);
        let steps = f64::from(self.pictures.saturating_sub(1));
        let arrived = self
            .newest
            .zip(self.key)
            .map(|(to, from)| (to - from).as_secs_f64());
        let long_enough = arrived.filter(|seconds| *seconds > 0.5);
        Some(PictureReport {
            codec: configuration.codec,
            width: configuration.width,
            height: configuration.height,
            rate: seconds.map(|seconds| steps / seconds),
            bitrate: long_enough.map(|seconds| self.bytes as f64 * 8.0 / seconds),
            key_frame_interval: self
                .key_frame_interval
                .filter(|interval| !interval.is_zero()),
        })
    }

    fn remarks(&self, steps: &Steps) -> Vec<String> {
        let mut remarks: Vec<String> = self.asked.iter().map(Asked::to_string).collect();
        if self.is_jpeg() || self.key.is_none() {
            return remarks;
        }
        match self.key_frame_interval {
            Some(interval) if interval > Duration::from_secs(5) => remarks.push(format!(
                "a key frame only every {:.0} s: set 2 s, and turn a \"smart\" codec off, so that operators see a picture sooner",
                interval.as_secs_f64()
            )),
            None => remarks.push(
                "no second key frame while it was watched: set a key frame interval of 2 s, and turn a \"smart\" codec off".to_owned(),
            ),
            Some(_) => {}
        }
        let long = self
            .key_frame_interval
            .is_none_or(|interval| interval > Duration::from_secs(5));
        if long && !self.has_onvif {
            remarks.push(
                "if it has ONVIF, set onvif, so that it can be asked for a key frame".to_owned(),
            );
        }
        if !self.begins_with_key && steps.first_key_frame > Some(Duration::from_secs(3)) {
            remarks.push(
                "it does not begin with a key frame: the first picture waits for the next"
                    .to_owned(),
            );
        }
        remarks
    }
}
