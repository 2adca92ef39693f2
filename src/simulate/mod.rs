//! Simulated cameras: RTSP over a picture of our own making, with a visible clock
//! and frame counter, 25 pictures a second.
//!
//! Every camera shows the same scene under its own name, so what is coded once
//! serves all: 200 cameras of 2 Mbit/s cost a small part of a core. They are
//! staggered in groups inside the 40 ms of a picture, and their key frames fall on
//! different pictures, as those of real cameras do.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::connect::listen::Listener;
use crate::media::unit::Codec;
use crate::rtsp::server::{self, Limits, Notice, Observer, SentBytes};
use crate::secret::Secret;

mod camera;
mod clip;
pub mod field;
mod jpeg;
pub mod scene;

use camera::{Camera, Cameras};
use clip::{Clip, Name, Settings};
use scene::SUB_ROWS;

use crate::media::drawn::ROWS;

/// Most cameras of one simulator.
pub const CAMERAS_LIMIT: usize = 2_000;

/// Bits per second of a camera unless set.
pub const DEFAULT_BITRATE: u64 = 2_000_000;

/// A camera's sub-stream is at its name with this behind it.
pub const SUB_PATH: &str = "/sub";

/// Pictures from one key frame to the next unless set: 2 s.
pub const DEFAULT_GOP: u64 = 50;

/// Sessions that are set up within this time count as one burst.
pub const BURST: Duration = Duration::from_millis(100);

/// With what a session begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With the next picture, whatever it is: most cameras.
    Live,
    /// With a key frame at once: cameras that code one for each new session.
    KeyFrame,
}

/// What the simulated cameras are like.
#[derive(Clone, Debug)]
pub struct Options {
    /// Their names; a camera's path is its name. See [`names`].
    pub cameras: Vec<String>,
    /// Where to listen; port 0: any.
    pub listen: SocketAddr,
    /// H.264 or MJPEG. (H.265 is not coded; it counts as H.264.)
    pub codec: Codec,
    /// Bits per second of video: of H.264 from 80 kbit/s to 9.5 Mbit/s, of MJPEG
    /// from 3 to 60 Mbit/s; outside these it is what is nearest.
    pub bitrate: u64,
    /// Bits per second of a smaller second stream, H.264 of 1280x512 whatever the
    /// main one's codec, from 80 kbit/s to 1.8 Mbit/s; `None`: there is none.
    pub sub_bitrate: Option<u64>,
    /// Pictures from one key frame to the next, in both streams.
    pub gop: u64,
    /// With what a session begins.
    pub start: Start,
    /// User and password for Digest; `None`: open to all.
    pub credentials: Option<(String, Secret)>,
    /// Whose time the pictures show.
    pub clock: Clock,
}

impl Options {
    /// Open cameras of these names on a free port of 127.0.0.1, H.264 of 2 Mbit/s,
    /// a key frame every 2 s and at the start of each session.
    pub fn new(cameras: Vec<String>) -> Self {
        Self {
            cameras,
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            codec: Codec::H264,
            bitrate: DEFAULT_BITRATE,
            sub_bitrate: None,
            gop: DEFAULT_GOP,
            start: Start::KeyFrame,
            credentials: None,
            clock: Clock::system(),
        }
    }
}

/// Names of `count` cameras: `cam-001` and so on.
pub fn names(count: usize) -> Vec<String> {
    (1..=count)
        .map(|number| format!("cam-{number:03}"))
        .collect()
}

/// What happened at a camera, or at all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Sessions set up.
    pub set_up: u64,
    /// Times a session began to play.
    pub played: u64,
    /// Keep-alives seen.
    pub keep_alives: u64,
    /// Sessions ended by TEARDOWN.
    pub torn_down: u64,
    /// Sessions that ended otherwise.
    pub gone: u64,
}

impl Count {
    /// Sessions open now.
    pub const fn open(&self) -> u64 {
        self.set_up - self.torn_down - self.gone
    }

    fn note(&mut self, notice: Notice) {
        let field = match notice {
            Notice::SetUp => &mut self.set_up,
            Notice::Playing => &mut self.played,
            Notice::KeepAlive => &mut self.keep_alives,
            Notice::TearDown => &mut self.torn_down,
            Notice::Gone => &mut self.gone,
        };
        *field += 1;
    }
}

/// What happened so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// At all cameras.
    pub total: Count,
    /// By path: a camera's name, with [`SUB_PATH`] for its sub-stream; those never
    /// asked for are missing.
    pub by_camera: BTreeMap<String, Count>,
    /// Most sessions set up within [`BURST`]: what a network of cameras feels of a start.
    pub most_in_burst: u64,
}

impl Counters {
    /// What happened at one camera's path.
    pub fn camera(&self, name: &str) -> Count {
        self.by_camera.get(name).copied().unwrap_or_default()
    }
}

/// Counts, and remembers when the sessions of the last [`BURST`] were set up.
#[derive(Debug)]
struct Counting {
    counters: watch::Sender<Counters>,
    recent: Mutex<VecDeque<Instant>>,
}

impl Counting {
    /// Sessions set up within [`BURST`], this one included.
    fn burst(&self) -> u64 {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        while recent.front().is_some_and(|at| now - *at >= BURST) {
            recent.pop_front();
        }
        recent.push_back(now);
        recent.len() as u64
    }
}

impl Observer for Counting {
    fn notice(&self, path: &str, notice: Notice) {
        let burst = match notice {
            Notice::SetUp => self.burst(),
            Notice::Playing | Notice::KeepAlive | Notice::TearDown | Notice::Gone => 0,
        };
        self.counters.send_modify(|counters| {
            counters.total.note(notice);
            counters.most_in_burst = counters.most_in_burst.max(burst);
            counters
                .by_camera
                .entry(path.to_owned())
                .or_default()
                .note(notice);
        });
    }
}

/// Bound simulated cameras. Nothing is answered before [`Server::run`].
#[allow(missing_debug_implementations)] // the RTSP server has none
pub struct Server {
    server: server::Server,
    clips: Vec<Arc<Clip>>,
    names: Vec<String>,
    address: SocketAddr,
    counters: watch::Receiver<Counters>,
}

impl Server {
    /// Binds the cameras' listener.
    ///
    /// # Errors
    ///
    /// The address is taken or not of this machine.
    pub async fn bind(options: Options) -> io::Result<Self> {
        if options.cameras.is_empty() || options.cameras.len() > CAMERAS_LIMIT {
            let message = format!("the number of cameras must be from 1 to {CAMERAS_LIMIT}");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let main = clip(&options, options.codec, ROWS, options.bitrate)?;
        let sub = options
            .sub_bitrate
            .map(|bitrate| clip(&options, Codec::H264, SUB_ROWS, bitrate))
            .transpose()?;
        let mut by_path = BTreeMap::new();
        for (index, name) in options.cameras.iter().enumerate() {
            let shown = Arc::new(Name::new(name));
            let mut add = |path: String, clip: &Arc<Clip>| {
                let camera = Camera {
                    index,
                    name: Arc::clone(&shown),
                    start: options.start,
                    clip: Arc::clone(clip),
                };
                by_path.insert(path, Arc::new(camera));
            };
            add(name.clone(), &main);
            if let Some(sub) = &sub {
                add(format!("{name}{SUB_PATH}"), sub);
            }
        }
        let streams = by_path.len();
        let library = Cameras {
            by_path,
            credentials: options.credentials,
        };
        let (counting, counters) = watch::channel(Counters::default());
        let connections = 2 * streams + 64;
        let listener = Listener::bind(options.listen, None)
            .await
            .map_err(|error| {
                let address = options.listen;
                let text = format!("can't listen for RTSP on {address}: {error}");
                io::Error::new(error.kind(), text)
            })?;
        let address = listener.local_addr()?;
        let server = server::Server::new(
            server::Options {
                listeners: vec![listener],
                // All cameras are at one address, and so may be all who watch them.
                limits: Limits {
                    connections,
                    per_address: connections,
                    ..Limits::default()
                },
                udp: Arc::new(true.into()),
                clock: options.clock,
                observer: Some(Arc::new(Counting {
                    counters: counting,
                    recent: Mutex::default(),
                })),
            },
            Arc::new(library),
        );
        Ok(Self {
            server,
            clips: std::iter::once(main).chain(sub).collect(),
            names: options.cameras,
            address,
            counters,
        })
    }

    /// Where it listens.
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// The cameras' names and RTSP URLs, without credentials.
    pub fn urls(&self) -> Vec<(String, String)> {
        let url = |name: &String| (name.clone(), format!("rtsp://{}/{name}", self.address));
        self.names.iter().map(url).collect()
    }

    /// As [`Server::urls`], of the sub-streams; empty where there are none.
    pub fn sub_urls(&self) -> Vec<(String, String)> {
        if self.clips.len() < 2 {
            return Vec::new();
        }
        let urls = self.urls().into_iter();
        urls.map(|(name, url)| (name, format!("{url}{SUB_PATH}")))
            .collect()
    }

    /// What happened so far, and a way to wait for more.
    pub fn counters(&self) -> watch::Receiver<Counters> {
        self.counters.clone()
    }

    /// Bytes of pictures sent so far.
    pub fn sent_bytes(&self) -> SentBytes {
        self.server.sent_bytes()
    }

    /// Serves until `token` is cancelled.
    pub async fn run(self, token: CancellationToken) {
        let stopped = token.child_token();
        let serving = async {
            self.server.run(token).await;
            stopped.cancel();
        };
        let running = self.clips.iter().map(|clip| clip.run(stopped.clone()));
        tokio::join!(serving, join_all(running));
    }
}

/// A clip for all cameras, not running yet.
fn clip(options: &Options, codec: Codec, rows: usize, bitrate: u64) -> io::Result<Arc<Clip>> {
    let settings = Settings {
        codec,
        rows,
        bitrate,
        gop: options.gop,
        cameras: options.cameras.len(),
        clock: options.clock.clone(),
    };
    Clip::new(&settings).map(Arc::new).map_err(io::Error::other)
}
