//! Accepts gateways at the receiver, over UDP and over TCP on the same port number: one
//! live link per commune, the newest wins, whatever carries it.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quinn::SendStream;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::endpoint::{self, Carrier, Error};
use super::handshakes::{Handshake, Handshakes};
use super::session::{self, Accepted, SETUP_TIMEOUT, Session, Side};
use super::socket::{Parity, Taking};
use super::tls::{self, Peers};
use super::transport::{Closed, Connection};
use super::{Event, Link, TakesGroups, control, priority, tunnel};
use crate::allowance::Allowance;
use crate::clock::{Boot, Clock};
use crate::config::settings;
use crate::format::control::{ToGateway, ToReceiver};
use crate::format::ids::CommuneId;
use crate::metrics;
use crate::reason::Reason;

/// Ports tried where any would do, until one is free for both transports.
const PORTS: usize = 16;
/// How long nobody is taken after the system could not give us a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long a link that was replaced has to say good-bye to the control plane.
const REPLACE_TIMEOUT: Duration = Duration::from_secs(2);
/// How often a link that brings pictures is looked at.
const TICK: Duration = Duration::from_millis(250);
/// How often a quiet one is: a thousand of them cost next to nothing.
const QUIET_TICK: Duration = Duration::from_secs(1);
/// What comes between two looks at a quiet link, at most.
const QUIET_DATAGRAMS: u64 = 16;
/// A gateway is told of packets made again this often at most.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// The clocks are compared at once, and so often again soon after.
const EARLY_COMPARISONS: u32 = 2;
/// Pause between the early comparisons.
const EARLY_COMPARISON: Duration = Duration::from_secs(1);
/// Pause between comparisons later on.
const COMPARISON: Duration = Duration::from_secs(30);
/// Comparisons of which the one with the shortest way counts.
const COMPARISONS_KEPT: usize = 8;

/// Streams that are taken for each relay at once, and in each second after that: a camera
/// whose every picture is a stream gives some 60. One without relays has as many.
const STREAMS: (u32, u32) = (512, 120);
/// Parts of a stream's share, so that it can be divided among many relays.
const SHARE: u32 = 1_024;

/// What an acceptor works with.
#[derive(Clone, Debug)]
pub struct Parts {
    /// For certificates and the clock offset.
    pub clock: Clock,
    /// The receiver's metrics.
    pub metrics: Arc<metrics::Receiver>,
    /// Where events go.
    pub events: mpsc::Sender<Event<ToReceiver>>,
    /// Who takes the media.
    pub taker: Arc<dyn TakesGroups>,
}

/// What new settings name, read and bound: see [`Acceptor::read`].
#[derive(Debug)]
pub struct Read {
    config: quinn::ServerConfig,
    tunnels: tunnel::Server,
    accepted: Accepted,
    sockets: Vec<Pair>,
}

/// The receiver's end of all links. Cheap to clone, usable from any thread;
/// [`Acceptor::bind`] and [`Acceptor::run`] belong on the frames runtime.
#[derive(Clone, Debug)]
pub struct Acceptor {
    parts: Parts,
    /// Those that take links now.
    sockets: Arc<watch::Sender<Vec<Pair>>>,
    /// That which serves the links.
    runtime: Handle,
    /// The settings of tunnels now.
    tunnels: Arc<watch::Sender<tunnel::Server>>,
    /// The tasks of tunnels, which end with them.
    carriers: TaskTracker,
    accepted: Arc<watch::Sender<Accepted>>,
    sessions: Arc<AtomicU64>,
    live: Arc<Mutex<BTreeMap<String, Live>>>,
    /// Under way over UDP; those over TCP are counted apart.
    udp_handshakes: Handshakes,
    tcp_handshakes: Handshakes,
}

/// Both sockets of one address.
#[derive(Clone, Debug)]
struct Pair {
    /// As the settings have it.
    address: SocketAddr,
    quic: quinn::Endpoint,
    parity: Parity,
    tcp: Arc<TcpListener>,
    is_served: Arc<AtomicBool>,
    /// Cancelled once the settings name it no more: it takes no new links then.
    retired: CancellationToken,
}

/// The link that a commune has.
#[derive(Debug)]
struct Live {
    number: u64,
    connection: Connection,
    /// Cancelled when its session has told the control plane of its end.
    over: CancellationToken,
}

impl Read {
    /// Where links will come in.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        addresses(&self.sockets)
    }
}

impl Acceptor {
    /// Reads certificates and keys and binds the sockets; nobody is answered
    /// before [`Acceptor::run`].
    ///
    /// # Errors
    ///
    /// A file can't be read or does not fit, or an address is taken; names it.
    pub fn bind(settings: &settings::Receiver, parts: Parts) -> Result<Self, Error> {
        let end = tls::server(settings, &parts.clock)?;
        let config = endpoint::server_config(&end, Carrier::Udp)?;
        let sockets = Pair::bind_all(settings, &config, Vec::new())?;
        Ok(Self {
            parts,
            sockets: Arc::new(watch::Sender::new(sockets)),
            runtime: Handle::current(),
            tunnels: Arc::new(watch::Sender::new(tunnel::Server::new(&end)?)),
            carriers: TaskTracker::new(),
            accepted: Arc::new(watch::Sender::new(accepted(settings, &end.peers))),
            sessions: Arc::default(),
            live: Arc::default(),
            udp_handshakes: Handshakes::default(),
            tcp_handshakes: Handshakes::default(),
        })
    }

    /// Where it listens, over UDP and TCP, with the ports the system chose.
    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        addresses(&self.sockets.borrow())
    }

    /// Reads what new settings name (certificates, keys, lists) and binds new addresses. It
    /// takes its time, and changes nothing.
    ///
    /// # Errors
    /// A file that can't be read or is not what it should be, or an address that is taken.
    pub fn read(&self, settings: &settings::Receiver) -> Result<Read, Error> {
        let end = tls::server(settings, &self.parts.clock)?;
        let config = endpoint::server_config(&end, Carrier::Udp)?;
        let now = self.sockets.borrow().clone();
        let _runtime = self.runtime.enter();
        Ok(Read {
            sockets: Pair::bind_all(settings, &config, now)?,
            config,
            tunnels: tunnel::Server::new(&end)?,
            accepted: accepted(settings, &end.peers),
        })
    }

    /// Follows new settings: links of communes that are gone, revoked or no
    /// longer signed for end; those that came to an address that is named no more go on.
    pub fn apply(&self, read: Read) {
        for pair in &read.sockets {
            pair.quic.set_server_config(Some(read.config.clone()));
        }
        for old in self.sockets.send_replace(read.sockets.clone()) {
            if !read.sockets.iter().any(|pair| pair.is(&old)) {
                old.retired.cancel();
            }
        }
        self.tunnels.send_replace(read.tunnels);
        self.accepted.send_replace(read.accepted);
    }

    /// Serves gateways until the token is cancelled; then closes their links.
    pub async fn run(self, token: CancellationToken) {
        let mut loops = JoinSet::new();
        let mut sockets = self.sockets.subscribe();
        loop {
            for pair in sockets.borrow_and_update().iter() {
                if !pair.is_served.swap(true, Ordering::Relaxed) {
                    loops.spawn(self.clone().serve(pair.clone(), token.clone()));
                    loops.spawn(self.clone().serve_tcp(pair.clone(), token.clone()));
                }
            }
            tokio::select! {
                biased;
                () = token.cancelled() => break,
                Some(_) = loops.join_next() => {}
                _ = sockets.changed() => {}
            }
        }
        while loops.join_next().await.is_some() {}
        self.carriers.close();
        let open = self.sockets.borrow().clone();
        let parted = async {
            for pair in &open {
                pair.quic.wait_idle().await;
            }
            self.carriers.wait().await;
        };
        // The closing packets leave within a moment; nobody waits longer.
        let _ = tokio::time::timeout(Duration::from_secs(1), parted).await;
    }

    /// One UDP socket's incoming connections.
    async fn serve(self, pair: Pair, token: CancellationToken) {
        let Pair {
            quic: endpoint,
            parity,
            tcp,
            retired,
            ..
        } = pair;
        // The task that takes its connections closes it.
        drop(tcp);
        let mut tasks = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                () = token.cancelled() => break,
                () = retired.cancelled() => {
                    endpoint.set_server_config(None);
                    break;
                }
                Some(_) = tasks.join_next() => {}
                incoming = endpoint.accept() => {
                    let Some(incoming) = incoming else { break };
                    let Some((incoming, permit)) = self.admit(incoming) else { continue };
                    let address = incoming.remote_address();
                    let connecting = async move {
                        let connected = incoming.await.map(Connection::from);
                        connected.map_err(|error| Closed::from(error).to_string())
                    };
                    let with = (permit, Some(parity.clone()));
                    tasks.spawn(self.clone().answer(address, connecting, with, token.clone()));
                }
            }
        }
        while tasks.join_next().await.is_some() {}
        endpoint.set_server_config(None);
    }

    /// Whether a handshake may go on now; under pressure only from addresses
    /// that answer.
    fn admit(&self, incoming: quinn::Incoming) -> Option<(quinn::Incoming, Handshake)> {
        let address = incoming.remote_address();
        if !incoming.remote_address_validated()
            && incoming.may_retry()
            && self.udp_handshakes.needs_proof(address)
        {
            // An error means that a retry is not possible here, which was asked.
            let _ = incoming.retry();
            return None;
        }
        let Some(handshake) = self.udp_handshakes.admit(address) else {
            // It sends its first packet again: many behind one address come in by turns.
            incoming.ignore();
            return None;
        };
        Some((incoming, handshake))
    }

    /// One TCP socket's incoming connections; those beyond their share are hung
    /// up on.
    async fn serve_tcp(self, pair: Pair, token: CancellationToken) {
        let Pair {
            quic,
            tcp: listener,
            retired,
            ..
        } = pair;
        drop(quic);
        let mut tasks = JoinSet::new();
        loop {
            let taken = tokio::select! {
                biased;
                () = token.cancelled() => break,
                () = retired.cancelled() => break,
                Some(_) = tasks.join_next() => continue,
                taken = listener.accept() => taken,
            };
            match taken {
                Ok((stream, address)) => {
                    let Some(permit) = self.tcp_handshakes.admit(address) else {
                        continue;
                    };
                    let tunnels = self.tunnels.borrow().clone();
                    let carriers = self.carriers.clone();
                    let connecting = async move { tunnels.accept(stream, &carriers).await };
                    let with = (permit, None);
                    tasks.spawn(
                        self.clone()
                            .answer(address, connecting, with, token.clone()),
                    );
                }
                Err(error) => {
                    tracing::warn!(%error, "TCP connection of a link not taken");
                    // Out of file descriptors, as a rule: asking again at once
                    // would only take the processor as well.
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(listener);
        while tasks.join_next().await.is_some() {}
    }

    /// One connection, from its handshake to its end. `parity`: of the socket that it came
    /// to, if that has any.
    async fn answer(
        self,
        address: SocketAddr,
        connecting: impl Future<Output = Result<Connection, String>>,
        (permit, parity): (impl Sized, Option<Parity>),
        token: CancellationToken,
    ) {
        let handshake = async { self.open(connecting.await?).await };
        if let Some(opened) = set_up(address, handshake, permit, &token).await {
            self.link(opened, parity, token).await;
        }
    }

    /// The peer's name and the control stream. Dropping it half way closes the
    /// connection.
    async fn open(&self, connection: Connection) -> Result<Opened, String> {
        let chain = connection.certificates();
        let now = self.parts.clock.now().wall;
        let peers = self.accepted.borrow().values().next().cloned();
        let name = peers
            .ok_or_else(|| "no commune is set".to_owned())
            .and_then(|peers| {
                peers
                    .identify(&chain, now)
                    .map_err(|error| error.to_string())
            })?;
        let accepted = connection.accept_bi().await;
        let (mut send, receive) = accepted.map_err(|error| match connection.close_reason() {
            Some(closed) => closed.to_string(),
            None => Closed::from(error).to_string(),
        })?;
        // An error says that the stream is over, which the next step says too.
        let _ = send.set_priority(priority::CONTROL);
        let mut receive = control::Receiver::new(receive);
        let first = receive.frame().await.map_err(|error| error.to_string())?;
        if !first.is_empty() {
            return Err("the control stream was not opened by an empty frame".to_owned());
        }
        send.write_chunk(bytes::Bytes::from_static(&control::OPENING))
            .await
            .map_err(|error| error.to_string())?;
        Ok(Opened {
            name,
            connection,
            send,
            receive,
        })
    }

    /// A link that is up: replaces the commune's older one, and runs.
    async fn link(self, opened: Opened, parity: Option<Parity>, token: CancellationToken) {
        let Opened {
            name,
            connection,
            send,
            receive,
        } = opened;
        let Ok(commune) = CommuneId::new(name.clone()) else {
            return;
        };
        let number = self.sessions.fetch_add(1, Ordering::Relaxed) + 1;
        let over = CancellationToken::new();
        let guard = over.clone().drop_guard();
        let older = self.lock().insert(
            name.clone(),
            Live {
                number,
                connection: connection.clone(),
                over,
            },
        );
        if let Some(older) = older {
            let text = "replaced by a newer link";
            session::close(&older.connection, Reason::LinkLost, text);
            // Its Down comes before our Up, unless the control plane is stuck.
            let _ = tokio::time::timeout(REPLACE_TIMEOUT, older.over.cancelled()).await;
        }
        let end = connection.certificates().first().map(tls::not_after);
        let link = Link::new(connection, Arc::default());
        tracing::info!(
            commune = %name, session = number, address = %link.peer_address(),
            transport = %link.transport(), key_exchange = link.key_exchange(), "link up"
        );
        self.parts.taker.link_up(&commune, &link);
        let up = self.parts.metrics.link_up.with_label_values(&[&name]);
        up.set(1);
        if let Some(end) = end {
            let ends = &self
                .parts
                .metrics
                .commune_certificate_expiry_timestamp_seconds;
            let ends = ends.with_label_values(&[name.as_str(), "link"]);
            ends.set(end.seconds());
        }
        let session = Session {
            peer: name.clone(),
            number,
            link: link.clone(),
            streams: (send, receive),
            events: self.parts.events.clone(),
            clock: self.parts.clock.clone(),
            accepted: self.accepted.subscribe(),
            token,
        };
        let side = ReceiverSide {
            clock: self.parts.clock.clone(),
            comparisons: VecDeque::with_capacity(COMPARISONS_KEPT),
            taking: parity.map(|parity| Taking::new(parity, link.peer_address())),
            told: 0,
            early: EARLY_COMPARISONS,
            compare_at: Instant::now(),
            tell_at: Instant::now(),
            received: 0,
        };
        tokio::select! {
            () = session.run(side) => {}
            () = media(&*self.parts.taker, &commune, &link) => {}
        }
        let mut live = self.lock();
        if live.get(&name).is_some_and(|live| live.number == number) {
            live.remove(&name);
            up.set(0);
        }
        drop(live);
        self.parts.taker.link_down(&commune);
        drop(guard);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Live>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn accepted(settings: &settings::Receiver, peers: &Arc<dyn Peers>) -> Accepted {
    Arc::new(
        settings
            .communes
            .keys()
            .map(|commune| (commune.as_str().to_owned(), Arc::clone(peers)))
            .collect(),
    )
}

fn addresses(sockets: &[Pair]) -> Vec<SocketAddr> {
    let bound = sockets.iter().map(|pair| pair.quic.local_addr());
    bound.filter_map(Result::ok).collect()
}

impl Pair {
    /// Those of the settings: those of `now` that are there already, and new ones.
    fn bind_all(
        settings: &settings::Receiver,
        config: &quinn::ServerConfig,
        mut now: Vec<Self>,
    ) -> Result<Vec<Self>, Error> {
        let lasting = tls::lasting_secret(&settings.tls)?;
        let wanted = settings.link_listen.iter();
        wanted
            .map(
                |wanted| match now.iter().position(|pair| pair.is_at(*wanted)) {
                    Some(at) => Ok(now.swap_remove(at)),
                    None => Self::bind(*wanted, config, lasting),
                },
            )
            .collect()
    }

    fn is_at(&self, address: SocketAddr) -> bool {
        let bound = self.quic.local_addr();
        self.address == address || bound.is_ok_and(|bound| bound == address)
    }

    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.tcp, &other.tcp)
    }

    /// Both sockets; where any port would do, one that is free for both.
    fn bind(
        address: SocketAddr,
        config: &quinn::ServerConfig,
        lasting: [u8; 32],
    ) -> Result<Self, Error> {
        let mut tries = if address.port() == 0 { PORTS } else { 1 };
        loop {
            tries -= 1;
            let (quic, parity) = endpoint::listen(address, config.clone(), lasting)?;
            let bound = quic.local_addr().unwrap_or(address);
            match tunnel::listen(bound) {
                Ok(tcp) => {
                    return Ok(Self {
                        address,
                        quic,
                        parity,
                        tcp: Arc::new(tcp),
                        is_served: Arc::default(),
                        retired: CancellationToken::new(),
                    });
                }
                Err(error) if tries == 0 => return Err(error),
                Err(_) => {}
            }
        }
    }
}

/// Waits for a handshake and the control stream; `None` where nothing came of it.
async fn set_up(
    address: SocketAddr,
    handshake: impl Future<Output = Result<Opened, String>>,
    permit: impl Sized,
    token: &CancellationToken,
) -> Option<Opened> {
    let opened = tokio::select! {
        () = token.cancelled() => return None,
        opened = tokio::time::timeout(SETUP_TIMEOUT, handshake) => opened,
    };
    drop(permit);
    match opened {
        Ok(Ok(opened)) => return Some(opened),
        Ok(Err(cause)) => tracing::info!(%address, %cause, "link refused"),
        Err(_) => tracing::info!(%address, "link not set up in time"),
    }
    None
}

/// A connection whose control stream is open on both sides.
struct Opened {
    name: String,
    connection: Connection,
    send: SendStream,
    receive: control::Receiver,
}

/// Gives each stream of pictures to who takes them. Never returns: the session ends it.
async fn media(taker: &dyn TakesGroups, commune: &CommuneId, link: &Link) {
    // As many tasks as the peer may have streams: a few per allowed relay.
    let mut groups = JoinSet::new();
    let since = Instant::now();
    let mut allowance = Allowance::new(STREAMS.0 * SHARE, STREAMS.1 * SHARE);
    loop {
        tokio::select! {
            stream = link.connection.accept_uni() => match stream {
                Ok(stream) => {
                    let offset = link.clock_offset_us();
                    groups.spawn(taker.take_group(commune.clone(), stream, offset));
                    let relays = u32::try_from(link.relays()).unwrap_or(SHARE);
                    let wait = allowance.charge(SHARE / relays.clamp(1, SHARE), since.elapsed());
                    if !wait.is_zero() {
                        tokio::time::sleep(wait).await;
                    }
                }
                Err(_) => std::future::pending::<()>().await,
            },
            Some(_) = groups.join_next() => {}
        }
    }
}

/// What the receiver does with its links.
struct ReceiverSide {
    clock: Clock,
    /// Way there and back, and the gateway's clock minus ours: µs.
    comparisons: VecDeque<(i64, i64)>,
    /// Parity of this link, over UDP.
    taking: Option<Taking>,
    /// Packets made again, as the gateway was told.
    told: u64,
    /// When the gateway may be told of more.
    tell_at: Instant,
    /// Early comparisons that are still to come.
    early: u32,
    /// When the clocks are compared next.
    compare_at: Instant,
    /// Datagrams that had come when this was last looked at.
    received: u64,
}

impl Side for ReceiverSide {
    type Message = ToReceiver;

    fn message(&mut self, link: &Link, message: ToReceiver) -> Option<ToReceiver> {
        let ToReceiver::Time { echo, wall } = message else {
            return Some(message);
        };
        let now = self.clock.now();
        let sent = Boot(Duration::from_micros(echo));
        let Ok(way) = i64::try_from(now.boot.since(sent).as_micros()) else {
            return None;
        };
        if self.comparisons.len() == COMPARISONS_KEPT {
            self.comparisons.pop_front();
        }
        let offset = wall.saturating_sub(now.wall.0.saturating_sub(way / 2));
        self.comparisons.push_back((way, offset));
        if let Some((_, offset)) = self.comparisons.iter().min_by_key(|(way, _)| *way) {
            link.set_clock_offset(*offset);
        }
        None
    }

    fn tick(&mut self, link: &Link) -> Duration {
        let at = Instant::now();
        if at >= self.compare_at {
            let now = self.clock.now();
            link.send(&ToGateway::Time {
                echo: u64::try_from(now.boot.0.as_micros()).unwrap_or(0),
                wall: Some(now.wall.0),
            });
            let pause = if self.early > 0 {
                self.early -= 1;
                EARLY_COMPARISON
            } else {
                COMPARISON
            };
            self.compare_at = at + pause;
        }
        if let Some(taking) = &mut self.taking {
            let packets = taking.follow(link.peer_address());
            if packets != self.told && at >= self.tell_at {
                self.told = packets;
                self.tell_at = at + TELL_EVERY;
                link.send(&ToGateway::Recovered { packets });
            }
        }
        let received = link.stats().received_datagrams;
        let came = received.saturating_sub(self.received);
        self.received = received;
        if came > QUIET_DATAGRAMS {
            TICK
        } else {
            QUIET_TICK
        }
    }
}
