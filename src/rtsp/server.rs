//! Sockets, limits, TLS: who may connect, and how many.
//!
//! | bound | value | when reached |
//! |---|---|---|
//! | connections in all | [`Limits::connections`] | the oldest without a picture is closed, or the new one |
//! | connections of an address | [`Limits::per_address`] | the same, among its own |
//! | TLS handshake, first request, any request begun | [`Limits::request_timeout`] | closed |
//! | no picture opened, or none since the last | [`Limits::guest_timeout`] | closed |
//! | silence without a picture over TCP; over UDP while pictures are sent | [`Limits::session_timeout`] | closed |
//! | request, interleaved packet | 16 KiB, 8 KiB | closed |
//! | answers that wait to be taken | 64 KiB | nothing more is read |
//! | pictures that wait to be taken | one; the subscription's queue does the skipping | |
//! | a viewer that takes nothing | [`Limits::stall_timeout`] | closed |

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::Library;
use super::admission::{Admission, Id};
use super::connection::{Connection, Peer};
use super::out_tcp::SEND_BUFFER;
use super::rtcp::REPORT_INTERVAL;
use super::session::TIMEOUT_SECONDS;
use crate::attempts::{ATTEMPTS_LIMIT, Attempts};
use crate::clock::Clock;
use crate::connect;
use crate::connect::listen::{Incoming, Listener};

/// Pause after a failed accept (out of descriptors, as a rule).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long connections may take to say good-bye.
const STOP_GRACE: Duration = Duration::from_secs(3);

/// How many connections are taken, and how long they may keep us waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections in all.
    pub connections: usize,
    /// Connections from one address (of IPv6: its /64 network); a VMS opens one for each
    /// camera it shows.
    pub per_address: usize,
    /// How long the TLS handshake, the first request, and any request that has
    /// begun may take to come in.
    pub request_timeout: Duration,
    /// Silence after which a connection without a picture over TCP is closed; a
    /// little more than is told to players. Over UDP it counts only while pictures
    /// are sent: some players keep alive between packets only.
    pub session_timeout: Duration,
    /// How long a connection may stay without an open picture, whatever it says.
    pub guest_timeout: Duration,
    /// How long a viewer may take nothing at all.
    pub stall_timeout: Duration,
    /// Pause between two sender reports, pictures or not.
    pub report_interval: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1_024,
            per_address: 256,
            request_timeout: Duration::from_secs(10),
            session_timeout: Duration::from_secs(TIMEOUT_SECONDS + 5),
            guest_timeout: Duration::from_secs(TIMEOUT_SECONDS + 5),
            stall_timeout: Duration::from_secs(20),
            report_interval: REPORT_INTERVAL,
        }
    }
}

/// What a server is made of.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it listens: RTSPS where a listener speaks TLS.
    pub listeners: Vec<Listener>,
    /// How many connections are taken, and how long they may keep us waiting.
    pub limits: Limits,
    /// Whether RTP goes over UDP where a player asks for it; it never does beside TLS.
    /// New connections see a change.
    pub udp: Arc<AtomicBool>,
    /// Where the time comes from.
    pub clock: Clock,
    /// Who is told of sessions.
    pub observer: Option<Arc<dyn Observer>>,
}

/// What happened to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// SETUP was answered.
    SetUp,
    /// PLAY was answered.
    Playing,
    /// A request that only keeps the session alive.
    KeepAlive,
    /// The client ended it as it should.
    TearDown,
    /// It ended in another way: the connection broke, or the picture is over.
    Gone,
}

/// Is told of sessions; must not block.
pub trait Observer: Send + Sync + std::fmt::Debug {
    /// Something happened to a session on this path.
    fn notice(&self, path: &str, notice: Notice);

    /// A request or a connection was refused: a reason's code, or one of
    /// the labels that deploy/reference/metrics.md tells with the metric.
    fn refused(&self, _why: &'static str) {}
}

/// A bound server. Nothing is answered before [`Server::run`].
#[allow(missing_debug_implementations)] // libraries have none
pub struct Server {
    listeners: Vec<Listener>,
    shared: Arc<Shared>,
}

/// What all connections share.
pub(super) struct Shared {
    pub(super) library: Arc<dyn Library>,
    pub(super) clock: Clock,
    pub(super) observer: Option<Arc<dyn Observer>>,
    pub(super) token: CancellationToken,
    pub(super) sent_bytes: Arc<AtomicU64>,
    attempts: Mutex<Attempts>,
    pub(super) limits: Limits,
    pub(super) udp: Arc<AtomicBool>,
    places: Mutex<Places>,
}

/// Who has a place, and how each is told that it must give it up.
struct Places {
    admission: Admission,
    displaced: HashMap<Id, CancellationToken>,
}

impl Shared {
    /// Wrong credentials so far. The lock is held for a look or a change only.
    pub(super) fn attempts(&self) -> MutexGuard<'_, Attempts> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn notice(&self, path: &str, notice: Notice) {
        if let Some(observer) = &self.observer {
            observer.notice(path, notice);
        }
    }

    pub(super) fn refused(&self, why: &'static str) {
        if let Some(observer) = &self.observer {
            observer.refused(why);
        }
    }

    fn admit(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let displaced = CancellationToken::new();
        let mut places = self.places();
        let admitted = places.admission.admit(address)?;
        places.displaced.insert(admitted.id, displaced.clone());
        let gone = admitted.displaced.map(|id| places.displaced.remove(&id));
        drop(places);
        if let Some(token) = gone {
            tracing::warn!(%address, "many RTSP connections; the oldest without a picture is closed");
            self.refused("too_many_connections");
            if let Some(token) = token {
                token.cancel();
            }
        }
        Some(Place {
            id: admitted.id,
            shared: Arc::clone(self),
            displaced,
        })
    }
}

/// A connection's place among the admitted; given back when dropped.
pub(super) struct Place {
    id: Id,
    shared: Arc<Shared>,
    displaced: CancellationToken,
}

impl Place {
    /// A picture was opened by right credentials: nobody takes the place away.
    pub(super) fn keep(&self) {
        self.shared.places().admission.view(self.id);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut places = self.shared.places();
        places.admission.leave(self.id);
        places.displaced.remove(&self.id);
    }
}

impl Server {
    /// A server that takes connections from these listeners once it runs.
    pub fn new(options: Options, library: Arc<dyn Library>) -> Self {
        Self {
            listeners: options.listeners,
            shared: Arc::new(Shared {
                library,
                clock: options.clock,
                observer: options.observer,
                token: CancellationToken::new(),
                sent_bytes: Arc::new(AtomicU64::new(0)),
                attempts: Mutex::new(Attempts::new(ATTEMPTS_LIMIT)),
                places: Mutex::new(Places {
                    admission: Admission::new(
                        options.limits.connections,
                        options.limits.per_address,
                    ),
                    displaced: HashMap::new(),
                }),
                limits: options.limits,
                udp: options.udp,
            }),
        }
    }

    /// Counts bytes of pictures handed to viewers' sockets.
    pub fn sent_bytes(&self) -> SentBytes {
        SentBytes(Arc::clone(&self.shared.sent_bytes))
    }

    /// Serves until `token` is cancelled; then says good-bye to all viewers
    /// (`shutting_down`) and returns.
    pub async fn run(self, token: CancellationToken) {
        let Self { listeners, shared } = self;
        let stop = shared.token.clone();
        let serving = join_all(
            listeners
                .into_iter()
                .map(|listener| accept(listener.incoming(), Arc::clone(&shared))),
        );
        let stopping = async {
            token.cancelled().await;
            stop.cancel();
        };
        // Also when this future is dropped, connections end with their JoinSet.
        tokio::join!(serving, stopping);
    }
}

/// Reads the number of bytes sent by a [`Server`].
#[derive(Clone, Debug)]
pub struct SentBytes(Arc<AtomicU64>);

impl SentBytes {
    /// Bytes so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

async fn accept(mut incoming: Incoming, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = shared.token.cancelled() => break,
            accepted = incoming.accept() => accepted,
            Some(ended) = connections.join_next(), if !connections.is_empty() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "an RTSP connection's task failed");
                }
                continue;
            }
        };
        match accepted {
            Ok((stream, address, tls)) => match shared.admit(connect::place(address.ip())) {
                Some(place) => {
                    let displaced = place.displaced.clone();
                    let serving = serve(stream, address, tls, Arc::clone(&shared), place);
                    connections.spawn(async move {
                        tokio::select! {
                            biased;
                            () = displaced.cancelled() => {}
                            () = serving => {}
                        }
                    });
                }
                None => {
                    shared.refused("too_many_connections");
                    tracing::warn!(%address, "too many RTSP connections, one more refused");
                }
            },
            Err(error) => {
                tracing::warn!(%error, "can't accept an RTSP connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(incoming);
    let ended = async { while connections.join_next().await.is_some() {} };
    if timeout(STOP_GRACE, ended).await.is_err() {
        tracing::warn!("RTSP connections did not end in time and are cut");
    }
}

async fn serve(
    stream: TcpStream,
    address: SocketAddr,
    tls: Option<TlsAcceptor>,
    shared: Arc<Shared>,
    place: Place,
) {
    let Ok(local) = stream.local_addr() else {
        return;
    };
    // Without these, pictures are late; not worth refusing the viewer.
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(&stream).set_send_buffer_size(SEND_BUFFER);
    let peer = Peer {
        address,
        local,
        encrypted: tls.is_some(),
    };
    let outcome = match tls {
        None => run(stream, peer, shared, place).await,
        Some(acceptor) => {
            let token = shared.token.clone();
            let handshake = tokio::select! {
                biased;
                () = token.cancelled() => return,
                handshake = timeout(shared.limits.request_timeout, acceptor.accept(stream)) => handshake,
            };
            match handshake {
                Ok(Ok(stream)) => run(stream, peer, shared, place).await,
                Ok(Err(error)) => Err(error),
                Err(_) => Err(io::ErrorKind::TimedOut.into()),
            }
        }
    };
    match outcome {
        Ok(()) => tracing::debug!(peer = %address, "RTSP connection ended"),
        Err(error) => tracing::debug!(peer = %address, %error, "RTSP connection ended"),
    }
}

async fn run<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    peer: Peer,
    shared: Arc<Shared>,
    place: Place,
) -> io::Result<()> {
    Connection::new(stream, peer, shared, place)?.run().await
}
