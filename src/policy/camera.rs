//! The life of a camera's stream: opened when somebody asks, kept a little
//! after the last one went, tried again when it fails. Pure.
//!
//! ```text
//!            attach                 key frame
//!     Idle ─────────▶ Starting ─────────────────▶ Live
//!      ▲                 │ ▲                       │ │
//!      │          failure│ │wait is over    failure│ │last one went
//!      │                 ▼ │                       │ ▼
//!      │               Retrying ◀──────────────────┘ Closing ──attach──▶ Live
//!      │                 │                              │
//!      └──last one went──┴──────close_after is over─────┘
//! ```
//!
//! A failure that trying again would make worse (a refused password) ends in
//! *Held* until settings change. A start is single-flight: there is one for all
//! who attach meanwhile, and each of them is told of every outcome.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::Boot;
use crate::format::backoff::Backoff;
use crate::media::sink::State;
use crate::reason::{Reason, Refusal};

/// Where a stream is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Nobody asks; no session.
    Idle,
    /// The session is being opened, or no key frame came yet.
    Starting,
    /// Frames come.
    Live,
    /// It failed; the next try waits.
    Retrying,
    /// It failed and is not tried again until settings change.
    Held,
    /// Nobody asks any more; the session is kept a little.
    Closing,
}

/// What may be tried after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Again after the ordinary wait.
    Backoff,
    /// Again after at least this long: the camera must first forget a session.
    After(Duration),
    /// Not before settings change.
    Hold,
}

/// Why a session could not be opened, or ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// For people.
    pub refusal: Refusal,
    /// For the machine.
    pub retry: Retry,
}

/// How far a start has come: names the cause when it takes too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Step {
    /// Waits for its turn at this host; the time for the start does not run yet.
    Waiting = 0,
    /// The TCP connection is being made.
    Connecting = 1,
    /// DESCRIBE was sent.
    Describing = 2,
    /// SETUP was sent.
    SettingUp = 3,
    /// PLAY was sent.
    Playing = 4,
    /// PLAY was answered; no picture yet.
    NoPicture = 5,
    /// Packets come, and no picture can be made of them.
    Unreadable = 6,
    /// Pictures come, no key frame yet.
    NoKeyFrame = 7,
}

impl Step {
    /// The step with this number; the last for numbers beyond.
    pub const fn from_number(number: u8) -> Self {
        match number {
            0 => Self::Waiting,
            1 => Self::Connecting,
            2 => Self::Describing,
            3 => Self::SettingUp,
            4 => Self::Playing,
            5 => Self::NoPicture,
            6 => Self::Unreadable,
            _ => Self::NoKeyFrame,
        }
    }

    /// Why a start that got no further within `timeout` failed.
    pub fn too_slow(self, timeout: Duration) -> Refusal {
        let timeout = timeout.as_secs_f64();
        match self {
            Self::Waiting | Self::Connecting => Refusal::new(
                Reason::CameraUnreachable,
                format!("no connection and no answer within {timeout} s"),
            ),
            Self::Describing => Refusal::new(
                Reason::CameraUnreachable,
                format!("connected, but no answer to DESCRIBE within {timeout} s"),
            ),
            Self::SettingUp => Refusal::new(
                Reason::CameraRefused,
                format!("no answer to SETUP within {timeout} s"),
            ),
            Self::Playing => Refusal::new(
                Reason::CameraRefused,
                format!("no answer to PLAY within {timeout} s"),
            ),
            Self::NoPicture => Refusal::new(
                Reason::CameraStalled,
                format!(
                    "PLAY was accepted, but no picture came within {timeout} s; with transport udp, see whether a firewall drops it"
                ),
            ),
            Self::Unreadable => Refusal::new(
                Reason::CodecUnsupported,
                format!(
                    "packets come, but no picture could be made of them within {timeout} s; set the camera's codec again or restart it, and report this with fanal check --trace"
                ),
            ),
            Self::NoKeyFrame => Refusal::new(
                Reason::CameraNoKeyFrame,
                format!(
                    "pictures come, but no key frame within {timeout} s; shorten the camera's key frame interval, turn its smart codec and intra refresh off, set onvif so that it can be asked for one, or raise start_timeout"
                ),
            ),
        }
    }
}

/// A step of a start as the metrics name it: all that lies between the order to
/// open a camera and its first key frame, without a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StartStep {
    /// The wait for a place and a turn: the host's, and that of all starts.
    Queue,
    /// The name looked up and the TCP connection.
    Connect,
    /// DESCRIBE with its answer.
    Describe,
    /// SETUP with its answer.
    Setup,
    /// PLAY with its answer.
    Play,
    /// From PLAY's answer to the first whole picture.
    FirstPicture,
    /// From the first picture to the first key frame; nothing where they are one.
    KeyFrame,
}

impl StartStep {
    /// In the order of a start.
    pub const ALL: [Self; 7] = [
        Self::Queue,
        Self::Connect,
        Self::Describe,
        Self::Setup,
        Self::Play,
        Self::FirstPicture,
        Self::KeyFrame,
    ];

    /// The label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Connect => "connect",
            Self::Describe => "describe",
            Self::Setup => "setup",
            Self::Play => "play",
            Self::FirstPicture => "first_picture",
            Self::KeyFrame => "key_frame",
        }
    }

    /// What passes from reaching `step` until the next is reached.
    pub const fn of(step: Step) -> Self {
        match step {
            Step::Waiting => Self::Queue,
            Step::Connecting => Self::Connect,
            Step::Describing => Self::Describe,
            Step::SettingUp => Self::Setup,
            Step::Playing => Self::Play,
            Step::NoPicture | Step::Unreadable => Self::FirstPicture,
            Step::NoKeyFrame => Self::KeyFrame,
        }
    }
}

/// How long things may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// From the first packet to the first key frame.
    pub start_timeout: Duration,
    /// How long the session stays after the last one went.
    pub close_after: Duration,
    /// Longest time between two pictures.
    pub stall: Duration,
}

/// What the owner of the session must do, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Open a session.
    Open,
    /// Close the session, with TEARDOWN, or give up opening it.
    Close,
    /// Tell all who are attached.
    Tell(State),
}

/// The machine. Feed it with `handle_*`, then take its commands until there are none.
#[derive(Clone, Debug)]
pub struct Life {
    timing: Timing,
    warm: bool,
    attached: usize,
    phase: Inner,
    /// When the session closes because nobody asks for it.
    linger: Option<Boot>,
    backoff: Backoff,
    /// The last failure, shown until the stream is live again.
    failure: Option<Refusal>,
    /// When the next try would have been, had the last one not gone: who comes
    /// sooner waits for it, so that asking again and again cannot flood a camera.
    resting: Option<(Boot, Refusal)>,
    stopped: bool,
    commands: VecDeque<Command>,
}

#[derive(Clone, Debug)]
enum Inner {
    Idle,
    Starting { deadline: Option<Boot> },
    Live { since: Boot, stalls: Boot },
    Retrying { at: Boot },
    Held,
}

impl Life {
    /// A stream that nobody has asked for.
    pub const fn new(timing: Timing, warm: bool, backoff: Backoff) -> Self {
        Self {
            timing,
            warm,
            attached: 0,
            phase: Inner::Idle,
            linger: None,
            backoff,
            failure: None,
            resting: None,
            stopped: false,
            commands: VecDeque::new(),
        }
    }

    /// Where the stream is in its life.
    pub const fn phase(&self) -> Phase {
        match (&self.phase, self.linger.is_some()) {
            (Inner::Idle, _) => Phase::Idle,
            (_, true) => Phase::Closing,
            (Inner::Starting { .. }, false) => Phase::Starting,
            (Inner::Live { .. }, false) => Phase::Live,
            (Inner::Retrying { .. }, false) => Phase::Retrying,
            (Inner::Held, false) => Phase::Held,
        }
    }

    /// What one who attaches now is told first.
    pub fn state(&self) -> State {
        match (&self.phase, &self.failure) {
            (Inner::Live { .. }, _) => State::Live,
            (Inner::Held, Some(refusal)) => State::Failed(refusal.clone()),
            (_, Some(refusal)) => State::Retrying(refusal.clone()),
            (_, None) => State::Starting,
        }
    }

    /// How many are attached.
    pub const fn attached(&self) -> usize {
        self.attached
    }

    /// The next thing to do.
    pub fn poll_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// When [`Life::handle_timeout`] is to be called; `None`: not before another input.
    pub fn poll_timeout(&self) -> Option<Boot> {
        let own = match self.phase {
            Inner::Idle | Inner::Held => None,
            Inner::Starting { deadline } => deadline,
            Inner::Live { stalls, .. } => Some(stalls),
            Inner::Retrying { at } => Some(at),
        };
        match (own, self.linger) {
            (Some(own), Some(linger)) => Some(own.min(linger)),
            (own, linger) => own.or(linger),
        }
    }

    /// One more is attached. A lingering session is kept; a start under way is shared.
    pub fn handle_attach(&mut self, now: Boot) {
        self.attached += 1;
        self.linger = None;
        self.wake(now);
    }

    /// One went.
    pub fn handle_detach(&mut self, now: Boot) {
        self.attached = self.attached.saturating_sub(1);
        if !self.wanted() {
            match self.phase {
                Inner::Starting { .. } | Inner::Live { .. } => {
                    self.linger = Some(now.plus(self.timing.close_after));
                }
                Inner::Retrying { at } => {
                    let failure = self.failure.take();
                    self.rest();
                    self.resting = failure.map(|refusal| (at, refusal));
                }
                Inner::Held => self.rest(),
                Inner::Idle => {}
            }
        }
    }

    /// Whether the stream is to be kept open though nobody is attached.
    pub fn handle_warm(&mut self, now: Boot, warm: bool) {
        self.warm = warm;
        if self.wanted() {
            self.linger = None;
            self.wake(now);
        } else if self.linger.is_none() {
            self.attached += 1;
            self.handle_detach(now);
        }
    }

    /// The start got its turn: its time runs from now.
    pub fn handle_started(&mut self, now: Boot) {
        if let Inner::Starting { deadline } = &mut self.phase {
            *deadline = Some(now.plus(self.timing.start_timeout));
        }
    }

    /// The machine did not run for so long: what came meanwhile was not looked at, so the
    /// time counts against no camera.
    pub fn handle_held_up(&mut self, by: Duration) {
        match &mut self.phase {
            Inner::Starting {
                deadline: Some(deadline),
            } => *deadline = deadline.plus(by),
            Inner::Live { stalls, .. } => *stalls = stalls.plus(by),
            Inner::Starting { deadline: None }
            | Inner::Idle
            | Inner::Retrying { .. }
            | Inner::Held => {}
        }
    }

    /// A picture came.
    pub fn handle_picture(&mut self, now: Boot, key: bool) {
        match &mut self.phase {
            Inner::Live { stalls, .. } => *stalls = now.plus(self.timing.stall),
            Inner::Starting { .. } if key => {
                self.phase = Inner::Live {
                    since: now,
                    stalls: now.plus(self.timing.stall),
                };
                self.failure = None;
                self.commands.push_back(Command::Tell(State::Live));
            }
            Inner::Starting { .. } | Inner::Idle | Inner::Retrying { .. } | Inner::Held => {}
        }
    }

    /// The session could not be opened, or ended by itself; it is closed already.
    /// `random` in 0..1 spreads the next try.
    pub fn handle_failure(&mut self, now: Boot, failure: Failure, random: f64) {
        let up = match self.phase {
            Inner::Live { since, .. } => now.since(since),
            Inner::Starting { .. } => Duration::ZERO,
            Inner::Idle | Inner::Retrying { .. } | Inner::Held => return,
        };
        let wait = self.backoff.failed(up, random);
        if !self.wanted() {
            self.rest();
            self.resting = Some((now.plus(wait), failure.refusal));
            return;
        }
        self.failure = Some(failure.refusal.clone());
        let state = match failure.retry {
            Retry::Hold => {
                self.phase = Inner::Held;
                State::Failed(failure.refusal)
            }
            Retry::Backoff | Retry::After(_) => {
                let least = match failure.retry {
                    Retry::After(least) => least,
                    Retry::Backoff | Retry::Hold => Duration::ZERO,
                };
                self.phase = Inner::Retrying {
                    at: now.plus(wait.max(least)),
                };
                State::Retrying(failure.refusal)
            }
        };
        self.commands.push_back(Command::Tell(state));
    }

    /// A deadline passed. `step` is how far a start under way has come.
    pub fn handle_timeout(&mut self, now: Boot, step: Step, random: f64) {
        if self.linger.is_some_and(|at| at <= now) {
            self.commands.push_back(Command::Close);
            self.rest();
            return;
        }
        match self.phase {
            Inner::Starting {
                deadline: Some(deadline),
            } if deadline <= now => {
                self.commands.push_back(Command::Close);
                let refusal = step.too_slow(self.timing.start_timeout);
                self.retry(now, refusal, random);
            }
            Inner::Live { stalls, .. } if stalls <= now => {
                self.commands.push_back(Command::Close);
                let refusal = Refusal::new(
                    Reason::CameraStalled,
                    format!("no picture for {} s", self.timing.stall.as_secs_f64()),
                );
                self.retry(now, refusal, random);
            }
            Inner::Retrying { at } if at <= now => {
                self.phase = Inner::Starting { deadline: None };
                self.commands.push_back(Command::Open);
            }
            Inner::Idle
            | Inner::Held
            | Inner::Starting { .. }
            | Inner::Live { .. }
            | Inner::Retrying { .. } => {}
        }
    }

    /// The session is to be opened again at once: its settings changed, or the
    /// camera begins with a key frame and one is wanted. A held stream is tried again.
    pub fn handle_reopen(&mut self) {
        self.resting = None;
        match self.phase {
            Inner::Idle => {}
            Inner::Starting { .. } | Inner::Live { .. } => {
                self.commands.push_back(Command::Close);
                self.phase = Inner::Starting { deadline: None };
                self.commands.push_back(Command::Open);
            }
            Inner::Retrying { .. } | Inner::Held => self.open(),
        }
    }

    /// New timing, for what comes.
    pub const fn handle_timing(&mut self, timing: Timing) {
        self.timing = timing;
    }

    /// The host needs the session for another camera: a lingering one is closed at once.
    pub fn handle_pressure(&mut self) {
        if self.linger.is_some() {
            self.commands.push_back(Command::Close);
            self.rest();
        }
    }

    /// The daemon stops, or the camera is no longer in the settings: the session
    /// is closed and never opened again; those attached are told.
    pub fn handle_stop(&mut self, refusal: Refusal) {
        self.stopped = true;
        if !matches!(self.phase, Inner::Idle) {
            self.commands.push_back(Command::Close);
        }
        self.commands
            .push_back(Command::Tell(State::Failed(refusal)));
        self.rest();
    }

    /// Opens an idle stream, at once or when its next try is due.
    fn wake(&mut self, now: Boot) {
        if !matches!(self.phase, Inner::Idle) || self.stopped {
            return;
        }
        match self.resting.take() {
            Some((at, refusal)) if at > now => {
                self.phase = Inner::Retrying { at };
                self.failure = Some(refusal.clone());
                self.commands
                    .push_back(Command::Tell(State::Retrying(refusal)));
            }
            Some(_) | None => self.open(),
        }
    }

    const fn wanted(&self) -> bool {
        (self.attached > 0 || self.warm) && !self.stopped
    }

    fn open(&mut self) {
        if self.stopped {
            return;
        }
        self.failure = None;
        self.phase = Inner::Starting { deadline: None };
        self.commands.push_back(Command::Tell(State::Starting));
        self.commands.push_back(Command::Open);
    }

    fn rest(&mut self) {
        self.phase = Inner::Idle;
        self.linger = None;
        self.failure = None;
    }

    fn retry(&mut self, now: Boot, refusal: Refusal, random: f64) {
        let retry = Retry::Backoff;
        self.handle_failure(now, Failure { refusal, retry }, random);
    }
}

#[cfg(test)]
mod tests;
