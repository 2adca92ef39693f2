//! Accepts gateways at the receiver: one live link per commune, the newest wins.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::endpoint::{self, Error};
use super::session::{self, Accepted, SETUP_TIMEOUT, Session, Side, ended};
use super::tls::{self, Peers};
use super::{Event, Link, control, priority};
use crate::clock::{Boot, Clock};
use crate::config::settings;
use crate::metrics;
use crate::proto::control::{ToGateway, ToReceiver};
use crate::proto::ids::CommuneId;
use crate::reason::Reason;
use crate::receiver::hub::Hub;

/// Handshakes at once, before the peer's certificate is known to be good.
const HANDSHAKES: usize = 128;
/// From this many on a client must first prove that its address is its own.
const HANDSHAKES_UNPROVEN: usize = 32;
/// How long a link that was replaced has to say good-bye to the control plane.
const REPLACE_TIMEOUT: Duration = Duration::from_secs(2);
/// Ticks (of a quarter second) at which the clocks are compared first.
const EARLY_COMPARISONS: [u32; 3] = [0, 4, 8];
/// Ticks between comparisons later on: half a minute.
const COMPARISON: u32 = 120;
/// Comparisons of which the one with the shortest way counts.
const COMPARISONS_KEPT: usize = 8;

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
    pub hub: Hub,
}

/// The receiver's end of all links. Cheap to clone, usable from any thread;
/// [`Acceptor::bind`] and [`Acceptor::run`] belong on the frames runtime.
#[derive(Clone, Debug)]
pub struct Acceptor {
    parts: Parts,
    endpoints: Vec<quinn::Endpoint>,
    accepted: Arc<watch::Sender<Accepted>>,
    sessions: Arc<AtomicU64>,
    live: Arc<Mutex<BTreeMap<String, Live>>>,
    handshakes: Arc<Semaphore>,
}

/// The link that a commune has.
#[derive(Debug)]
struct Live {
    number: u64,
    connection: quinn::Connection,
    /// Cancelled when its session has told the control plane of its end.
    over: CancellationToken,
}

impl Acceptor {
    /// Reads certificates and keys and binds the sockets; nobody is answered
    /// before [`Acceptor::run`].
    pub fn bind(settings: &settings::Receiver, parts: Parts) -> Result<Self, Error> {
        let end = tls::server(settings, &parts.clock)?;
        let config = endpoint::server_config(&end)?;
        let lasting = tls::lasting_secret(&settings.tls)?;
        let endpoints = settings
            .link_listen
            .iter()
            .map(|address| endpoint::listen(*address, config.clone(), lasting))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            parts,
            endpoints,
            accepted: Arc::new(watch::Sender::new(accepted(settings, &end.peers))),
            sessions: Arc::default(),
            live: Arc::default(),
            handshakes: Arc::new(Semaphore::new(HANDSHAKES)),
        })
    }

    /// Where it listens, with the ports the system chose.
    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        self.endpoints
            .iter()
            .filter_map(|endpoint| endpoint.local_addr().ok())
            .collect()
    }

    /// Follows new settings: links of communes that are gone, revoked or no
    /// longer signed for end. The addresses stay those of the start. On an error
    /// all stays as it was.
    pub fn reload(&self, settings: &settings::Receiver) -> Result<(), Error> {
        let end = tls::server(settings, &self.parts.clock)?;
        let config = endpoint::server_config(&end)?;
        for endpoint in &self.endpoints {
            endpoint.set_server_config(Some(config.clone()));
        }
        self.accepted.send_replace(accepted(settings, &end.peers));
        Ok(())
    }

    /// Serves gateways until the token is cancelled; then closes their links.
    pub async fn run(self, token: CancellationToken) {
        let mut loops = JoinSet::new();
        for endpoint in &self.endpoints {
            loops.spawn(self.clone().serve(endpoint.clone(), token.clone()));
        }
        while loops.join_next().await.is_some() {}
        for endpoint in &self.endpoints {
            let idle = tokio::time::timeout(Duration::from_secs(1), endpoint.wait_idle());
            // The closing packets leave within a moment; nobody waits longer.
            let _ = idle.await;
        }
    }

    /// One socket's incoming connections.
    async fn serve(self, endpoint: quinn::Endpoint, token: CancellationToken) {
        let mut tasks = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                () = token.cancelled() => break,
                Some(_) = tasks.join_next() => {}
                incoming = endpoint.accept() => {
                    let Some(incoming) = incoming else { break };
                    let Some((incoming, permit)) = self.admit(incoming) else { continue };
                    tasks.spawn(self.clone().answer(incoming, permit, token.clone()));
                }
            }
        }
        while tasks.join_next().await.is_some() {}
        endpoint.set_server_config(None);
    }

    /// Whether a handshake may go on now; under pressure only from addresses
    /// that answer.
    fn admit(&self, incoming: quinn::Incoming) -> Option<(quinn::Incoming, OwnedSemaphorePermit)> {
        let under_way = HANDSHAKES - self.handshakes.available_permits();
        if under_way >= HANDSHAKES_UNPROVEN
            && !incoming.remote_address_validated()
            && incoming.may_retry()
        {
            // An error means that a retry is not possible here, which was asked.
            let _ = incoming.retry();
            return None;
        }
        match Arc::clone(&self.handshakes).try_acquire_owned() {
            Ok(permit) => Some((incoming, permit)),
            Err(_) => {
                incoming.refuse();
                None
            }
        }
    }

    /// One connection, from its handshake to its end.
    async fn answer(
        self,
        incoming: quinn::Incoming,
        permit: OwnedSemaphorePermit,
        token: CancellationToken,
    ) {
        let address = incoming.remote_address();
        let opened = tokio::select! {
            () = token.cancelled() => return,
            opened = tokio::time::timeout(SETUP_TIMEOUT, self.open(incoming)) => opened,
        };
        drop(permit);
        match opened {
            Ok(Ok(opened)) => self.link(opened, token).await,
            Ok(Err(cause)) => tracing::info!(%address, %cause, "link refused"),
            Err(_) => tracing::info!(%address, "link not set up in time"),
        }
    }

    /// Handshake and control stream. Dropping it half way closes the connection.
    async fn open(&self, incoming: quinn::Incoming) -> Result<Opened, String> {
        let connection = incoming
            .accept()
            .map_err(|error| ended(&error))?
            .await
            .map_err(|error| ended(&error))?;
        let chain = session::certificates(&connection);
        let now = self.parts.clock.now().wall;
        let peers = self.accepted.borrow().values().next().cloned();
        let name = peers
            .ok_or_else(|| "no commune is set".to_owned())
            .and_then(|peers| {
                peers
                    .identify(&chain, now)
                    .map_err(|error| error.to_string())
            })?;
        let (mut send, receive) = connection
            .accept_bi()
            .await
            .map_err(|error| ended(&error))?;
        // Errors below are those of a stream or link that is gone.
        let _ = send.set_priority(priority::CONTROL);
        let mut receive = control::Receiver::new(receive);
        let first = receive.frame().await.map_err(|error| error.to_string())?;
        if !first.is_empty() {
            return Err("the control stream was not opened by an empty frame".to_owned());
        }
        send.write_all(&control::OPENING)
            .await
            .map_err(|error| error.to_string())?;
        Ok(Opened {
            name,
            connection,
            send,
            receive,
        })
    }

    /// A link that stands: replaces the commune's older one, and runs.
    async fn link(self, opened: Opened, token: CancellationToken) {
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
            older.connection.close(
                Reason::LinkLost.number().into(),
                b"link_lost: replaced by a newer link",
            );
            // Its Down comes before our Up, unless the control plane is stuck.
            let _ = tokio::time::timeout(REPLACE_TIMEOUT, older.over.cancelled()).await;
        }
        let link = Link::new(connection, Arc::default());
        tracing::info!(
            commune = %name, session = number, address = %link.peer_address(),
            key_exchange = link.key_exchange(), "link up"
        );
        self.parts.hub.link_up(&commune, &link);
        let up = self.parts.metrics.link_up.with_label_values(&[&name]);
        up.set(1);
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
            ticks: 0,
        };
        tokio::select! {
            () = session.run(side) => {}
            () = media(&self.parts.hub, &commune, &link) => {}
        }
        let mut live = self.lock();
        if live.get(&name).is_some_and(|live| live.number == number) {
            live.remove(&name);
            up.set(0);
        }
        drop(live);
        self.parts.hub.link_down(&commune);
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

/// A connection whose control stream is open on both sides.
struct Opened {
    name: String,
    connection: quinn::Connection,
    send: quinn::SendStream,
    receive: control::Receiver,
}

/// Gives each stream of pictures to the hub. Never returns: the session ends it.
async fn media(hub: &Hub, commune: &CommuneId, link: &Link) {
    // As many tasks as the peer may have streams: a few per allowed relay.
    let mut groups = JoinSet::new();
    loop {
        tokio::select! {
            stream = link.connection.accept_uni() => match stream {
                Ok(stream) => {
                    let (hub, commune) = (hub.clone(), commune.clone());
                    let offset = link.clock_offset_us();
                    groups.spawn(async move { hub.take_group(&commune, stream, offset).await });
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
    ticks: u32,
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

    fn tick(&mut self, link: &Link) {
        if EARLY_COMPARISONS.contains(&self.ticks) || self.ticks.is_multiple_of(COMPARISON) {
            let now = self.clock.now();
            link.send(&ToGateway::Time {
                echo: u64::try_from(now.boot.0.as_micros()).unwrap_or(0),
                wall: Some(now.wall.0),
            });
        }
        self.ticks = self.ticks.wrapping_add(1);
    }
}
