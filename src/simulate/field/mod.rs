//! Cameras with the faults of the field, for `fanal simulate --fault` and the tests.
//!
//! A camera here is data: a [`Fault`] is a name, a sentence, the right result and a
//! [`Script`], the list of ways in which it differs from a well-behaved camera. So a
//! new row of the table needs no code unless it shows a new *kind* of fault:
//!
//! 1. choose the kind's file in `table/` and add a row,
//!    `shown("name", "It does so and so.", Script { …, ..PLAIN })`;
//! 2. a fault that no field of [`Script`] can say gets a field or a [`Law`](script::Law) in
//!    `script.rs`, followed in `connection.rs` (dialogue) or `stream.rs` (packets);
//! 3. `cargo test --test it field` plays it, open and with Digest.
//!
//! | file | what it holds |
//! |---|---|
//! | `script.rs` | what can differ |
//! | `table/` | the rows, a file for each kind |
//! | `connection.rs`, `answer.rs`, `request.rs` | dialogue, interleaved packets, UDP |
//! | `stream.rs` | pictures to packets, pure |
//! | `pictures.rs` | the pictures: of our own encoders, and H.265 clips |
//! | `auth.rs` | checks Digest answers; its own code, so that an error of the client's is not repeated |
//!
//! The pictures are known beforehand ([`clip`]), so a test can tell which picture
//! it was given and whether it is whole.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::media::unit::Codec;
use crate::reason::Reason;
use crate::secret::Secret;

mod answer;
mod auth;
mod connection;
mod pictures;
mod request;
pub mod script;
mod stream;
mod table;

pub use pictures::{Clip, Picture, clip};
pub use script::Script;
pub use table::{PLAIN_CAMERA, all, named, of};

/// Most connections at the same time.
const CONNECTIONS_LIMIT: usize = 1_024;

/// Requests that are remembered of each camera.
const REQUESTS_LIMIT: usize = 64;

/// Pictures a second unless set: what the table's periods are meant for.
pub const RATE: u32 = 10;

/// Where a camera differs; each has a file in `table/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// RTSP messages and URLs.
    Dialogue,
    /// Where the track is.
    Location,
    /// SETUP, PLAY, the camera's own requests, keep-alives.
    Session,
    /// How a password is asked for and checked.
    Digest,
    /// The session description (SDP).
    Description,
    /// Reports, from the camera and to it.
    Rtcp,
    /// Packets: numbers, times, fragments, framing.
    Rtp,
    /// Access units, parameter sets, slices.
    Pictures,
    /// Motion JPEG.
    Jpeg,
    /// RTP over UDP.
    Udp,
}

impl Kind {
    /// All, in the order of the table.
    pub const ALL: [Self; 10] = [
        Self::Dialogue,
        Self::Location,
        Self::Session,
        Self::Digest,
        Self::Description,
        Self::Rtcp,
        Self::Rtp,
        Self::Pictures,
        Self::Jpeg,
        Self::Udp,
    ];

    /// As a heading.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Dialogue => "Dialogue: RTSP messages",
            Self::Location => "Location: base and control URLs",
            Self::Session => "Session: SETUP, PLAY, own requests, keep-alives",
            Self::Digest => "Digest: how a password is asked for and checked",
            Self::Description => "Description (SDP)",
            Self::Rtcp => "Reports (RTCP)",
            Self::Rtp => "Packets (RTP)",
            Self::Pictures => "Pictures: access units, parameter sets, slices",
            Self::Jpeg => "Motion JPEG",
            Self::Udp => "RTP over UDP",
        }
    }
}

/// What is right to happen with a camera.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Its pictures are shown, whole.
    Shown,
    /// It is refused for one of these reasons, with these words in the detail.
    Refused(&'static [Reason], &'static str),
    /// Either: some decoders can, and who can't must say why.
    ShownOr(Reason, &'static str),
}

/// A row of the table: one camera.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// In lower case with hyphens; also the camera's name and path.
    pub name: &'static str,
    /// What the camera does, in one sentence.
    pub about: &'static str,
    /// What is right to happen.
    pub expect: Expect,
    /// How much of its pictures must be shown, in percent.
    pub share: u8,
    /// How many pictures show that it is right.
    pub pictures: u32,
    /// Its periods are in seconds: it can't be played faster than [`RATE`].
    pub real_time: bool,
    /// It sends nothing at which decoding starts by the standards: any picture may be the start.
    pub keyless: bool,
    /// Most connections that it takes to get the pictures.
    pub connections: u64,
    /// How it differs.
    pub script: Script,
}

impl Fault {
    /// The codec that is played where `wish` is wished for: rows made for one codec
    /// keep it.
    pub fn codec(&self, wish: Codec) -> Codec {
        self.script.codec.unwrap_or(wish)
    }

    /// The path of its URL, with `/` in front.
    fn path(&self, name: &str) -> String {
        format!("/{name}{}", self.script.suffix)
    }
}

/// What the cameras are like.
#[derive(Clone, Debug)]
pub struct Options {
    /// Names and rows; a camera's path begins with its name.
    pub cameras: Vec<(String, &'static Fault)>,
    /// Where to listen; port 0: any.
    pub listen: SocketAddr,
    /// The codec of rows that don't name one.
    pub codec: Codec,
    /// User and password; `None`: open, but for rows that ask by themselves.
    pub credentials: Option<(String, Secret)>,
    /// Pictures a second.
    pub rate: u32,
    /// A camera loses patience (reports, keep-alives) after this long at most, to
    /// shorten tests.
    pub patience: Duration,
}

impl Options {
    /// These faults as cameras of their names, on a free port of 127.0.0.1.
    pub fn new(faults: impl IntoIterator<Item = &'static Fault>) -> Self {
        Self {
            cameras: faults
                .into_iter()
                .map(|fault| (fault.name.to_owned(), fault))
                .collect(),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            codec: Codec::H264,
            credentials: None,
            rate: RATE,
            patience: Duration::MAX,
        }
    }
}

/// What happened at a camera.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Connections with at least one request.
    pub connections: u64,
    /// Requests by method, refused ones too.
    pub requests: BTreeMap<String, u64>,
    /// PLAYs that were granted.
    pub played: u64,
    /// Answers of 401 and 407 to requests that had an `Authorization`.
    pub refused: u64,
    /// Receiver reports (RTCP type 201).
    pub reports: u64,
    /// Pictures sent, in all sessions together.
    pub pictures: u64,
    /// The latest requests: method, URI and the answer's status.
    pub latest: VecDeque<(String, String, u16)>,
}

/// What happened so far, by camera.
pub type Counts = BTreeMap<String, Count>;

/// A camera as connections see it.
#[derive(Debug)]
struct Camera {
    name: String,
    path: String,
    fault: &'static Fault,
    clip: Arc<Clip>,
    nonce: Mutex<auth::Nonce>,
}

/// What all connections share.
#[derive(Debug)]
struct Shared {
    cameras: Vec<Arc<Camera>>,
    address: SocketAddr,
    credentials: Option<(String, Secret)>,
    rate: u32,
    patience: Duration,
    counts: watch::Sender<Counts>,
}

impl Shared {
    /// The camera whose path the URI begins with; the longest where several do.
    fn camera(&self, uri: &str) -> Option<&Arc<Camera>> {
        let path = uri
            .find("://")
            .and_then(|at| uri.get(at + 3..))
            .and_then(|rest| rest.find('/').and_then(|at| rest.get(at..)))
            .unwrap_or(uri);
        let name = path
            .trim_start_matches('/')
            .split(['/', '?', ';'])
            .next()
            .unwrap_or_default();
        self.cameras.iter().find(|camera| camera.name == name)
    }

    fn count(&self, camera: &Camera, change: impl FnOnce(&mut Count)) {
        self.counts
            .send_modify(|counts| change(counts.entry(camera.name.clone()).or_default()));
    }
}

/// Bound cameras. Nothing is answered before [`Server::run`].
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    shared: Arc<Shared>,
}

impl Server {
    /// Binds the cameras' listener.
    ///
    /// # Errors
    /// The address can't be had, there is no camera, or its pictures can't be made.
    pub async fn bind(options: Options) -> io::Result<Self> {
        if options.cameras.is_empty() || options.rate == 0 {
            let message = "at least one camera and one picture a second are needed";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let cameras = options.cameras.into_iter().map(|(name, fault)| {
            Arc::new(Camera {
                path: fault.path(&name),
                clip: clip(fault, options.codec),
                name,
                fault,
                nonce: Mutex::default(),
            })
        });
        let cameras = cameras.collect();
        let listener = TcpListener::bind(options.listen).await?;
        Ok(Self {
            shared: Arc::new(Shared {
                cameras,
                address: listener.local_addr()?,
                credentials: options.credentials,
                rate: options.rate,
                patience: options.patience,
                counts: watch::Sender::new(Counts::new()),
            }),
            listener,
        })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.shared.address
    }

    /// The cameras' names and RTSP URLs, without credentials.
    pub fn urls(&self) -> Vec<(String, String)> {
        let url = |camera: &Arc<Camera>| {
            let url = format!("rtsp://{}{}", self.shared.address, camera.path);
            (camera.name.clone(), url)
        };
        self.shared.cameras.iter().map(url).collect()
    }

    /// What happened so far, and a way to wait for more.
    pub fn counts(&self) -> watch::Receiver<Counts> {
        self.shared.counts.subscribe()
    }

    /// Serves until `token` is cancelled.
    pub async fn run(self, token: CancellationToken) {
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                biased;
                () = token.cancelled() => break,
                Some(_) = connections.join_next() => continue,
                accepted = self.listener.accept(), if connections.len() < CONNECTIONS_LIMIT => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let shared = Arc::clone(&self.shared);
                    connections.spawn(async move {
                        if let Err(error) = connection::serve(&shared, stream, peer).await {
                            tracing::debug!(%error, "a client's connection ended");
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "no connection can be taken");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
        connections.shutdown().await;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
