//! Reaches one address of a centre: over UDP, or over TCP where UDP gets no answer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::SendStream;
use rustls::pki_types::ServerName;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::task::TaskTracker;

use super::claims::{Claims, Place};
use super::congestion::Known;
use super::socket::Parity;
use super::transport::{Closed, Connection, Transport};
use super::{control, priority, session, tunnel};
use crate::format::designation::key_thumbprint;
use crate::reason::Reason;

/// How long one address has for its handshake, over both transports together.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an attempt to regain a link has, at least and at most; else eight round trips,
/// twice those of the handshakes.
const REGAIN: (Duration, Duration) = (Duration::from_millis(600), CONNECT_TIMEOUT);
/// Addresses that a name may stand for; more are not tried.
const ADDRESS_LIMIT: usize = 16;

/// Begins the cause where an address leads to a receiver that another one has linked.
pub(super) const ALREADY: &str = "it leads to the receiver that is linked already at";

/// When the other transport is tried.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// How long UDP has for its first answer before TCP is tried beside it.
    pub tcp_after: Duration,
    /// How long a link over UDP that carries relays gets no answer before TCP is tried
    /// beside it.
    pub tcp_beside: Duration,
    /// On TCP: from one attempt to return to UDP to the next, a quarter more or
    /// less.
    pub quic_again: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            tcp_after: Duration::from_millis(1_500),
            tcp_beside: Duration::from_secs(3),
            quic_again: Duration::from_secs(60),
        }
    }
}

/// How a centre is dialled: its pinned name and both transports' settings.
#[derive(Clone, Debug)]
pub(super) struct Way {
    /// The centre's name. Some (`13`) are no DNS names; what is sent to the
    /// server has no say anyway.
    pub(super) centre: String,
    /// QUIC's settings over UDP.
    pub(super) quic: quinn::ClientConfig,
    /// What congestion control knows of the way over UDP.
    pub(super) known: Arc<Known>,
    /// Those of a tunnel.
    pub(super) tunnel: tunnel::Client,
    /// What congestion control knows of the way through tunnels.
    pub(super) tunnel_known: Arc<Known>,
    /// Whose link the address may have.
    pub(super) claims: Claims,
    /// The centre and the address, as the settings name it.
    pub(super) place: Place,
}

impl Way {
    /// What QUIC asks the server for, which has no say in whom it accepts.
    fn server_name(&self) -> &str {
        match ServerName::try_from(self.centre.as_str()) {
            Ok(_) => &self.centre,
            Err(_) => "fanal.invalid",
        }
    }

    /// Claims the receiver that a connection has reached, before that learns of it.
    fn claim(&self, connection: Connection) -> Result<Connection, String> {
        let key = connection.certificates().first().and_then(key_thumbprint);
        let key = key.ok_or_else(|| "the receiver shows no certificate".to_owned())?;
        match self.claims.claim(&self.place, key) {
            Ok(()) => Ok(connection),
            Err(other) => {
                session::close(&connection, Reason::LinkLost, "linked by another address");
                Err(format!("{ALREADY} {other}; it is kept as an alternative"))
            }
        }
    }

    /// What congestion control knows of the way over this transport.
    pub(super) fn known(&self, over: Transport) -> &Arc<Known> {
        match over {
            Transport::Quic => &self.known,
            Transport::Tcp => &self.tunnel_known,
        }
    }
}

/// The sockets to dial from. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Sockets {
    /// Of all connections over UDP.
    pub(super) quic: quinn::Endpoint,
    /// Its parity.
    pub(super) parity: Parity,
    /// The tasks of tunnels, which end with them.
    pub(super) carriers: TaskTracker,
}

/// A link whose control stream is open on both sides.
pub(super) struct Opened {
    /// The connection.
    pub(super) connection: Connection,
    /// The control stream.
    pub(super) send: SendStream,
    /// The same, inwards.
    pub(super) receive: control::Receiver,
}

/// What a name and port (`corg13.example:4433`) stand for.
pub(super) async fn resolve(address: &str) -> Result<Vec<SocketAddr>, String> {
    match timeout(CONNECT_TIMEOUT, tokio::net::lookup_host(address)).await {
        Ok(Ok(found)) => Ok(found.take(ADDRESS_LIMIT).collect()),
        Ok(Err(error)) => Err(format!("the name can't be looked up: {error}")),
        Err(_) => Err("the name server does not answer".to_owned()),
    }
}

impl Sockets {
    /// Reaches an address over UDP, or, where that gets no answer for a while,
    /// over TCP. An answer that refuses is one: TCP would get the same.
    pub(super) async fn reach(
        &self,
        way: &Way,
        address: SocketAddr,
        pace: Pace,
    ) -> Result<Opened, String> {
        let quic = self.reach_quic(way, address);
        tokio::pin!(quic);
        let mut tcp_refused = None;
        let both = async {
            if let Ok(answer) = timeout(pace.tcp_after, &mut quic).await {
                return answer;
            }
            tokio::select! {
                biased;
                answer = &mut quic => return answer,
                answer = self.reach_tcp(way, address, Duration::ZERO) => match answer {
                    Ok(opened) => return Ok(opened),
                    Err(cause) => tcp_refused = Some(cause),
                },
            }
            quic.await
        };
        match timeout(CONNECT_TIMEOUT, both).await {
            Ok(answer) => answer,
            Err(_) => Err(match tcp_refused {
                Some(cause) => format!("no answer over UDP; over TCP: {cause}"),
                None => "no answer over UDP or TCP; does either get out, and does the centre listen there?".to_owned(),
            }),
        }
    }

    /// Connects over UDP and opens the control stream. Waits for an answer for
    /// as long as QUIC does.
    pub(super) async fn reach_quic(
        &self,
        way: &Way,
        address: SocketAddr,
    ) -> Result<Opened, String> {
        greet(way.claim(self.connect_quic(way, address).await?)?).await
    }

    /// The same over TCP, with a pause once that has got through.
    async fn reach_tcp(
        &self,
        way: &Way,
        address: SocketAddr,
        hold: Duration,
    ) -> Result<Opened, String> {
        greet(way.claim(self.connect_tcp(way, address, hold).await?)?).await
    }

    /// Tries one address again and again, so often that an attempt begins within a moment
    /// of the path's return: both QUIC and TCP double the time after which they send their
    /// first packet again, so no attempt grows old. `rtt`: of the link that was lost.
    /// `hold`: pause once TCP has got through, before the centre learns who we are and
    /// drops the link that was. Never returns once the centre has refused.
    pub(super) async fn regain(
        &self,
        way: &Way,
        address: SocketAddr,
        over: Transport,
        rtt: Duration,
        hold: Duration,
    ) -> Opened {
        let age = (rtt * 8).clamp(REGAIN.0, REGAIN.1) + hold;
        loop {
            let next = Instant::now() + age;
            let attempt = async {
                match over {
                    Transport::Quic => self.reach_quic(way, address).await,
                    Transport::Tcp => self.reach_tcp(way, address, hold).await,
                }
            };
            match timeout(age, attempt).await {
                Ok(Ok(opened)) => return opened,
                Ok(Err(cause)) if over == Transport::Quic => {
                    tracing::debug!(%address, %cause, "link not regained");
                    return std::future::pending().await;
                }
                // Over TCP it may be the system's answer for a path that is not there.
                Ok(Err(_)) | Err(_) => sleep_until(next).await,
            }
        }
    }

    /// A QUIC handshake; whether the centre accepts us shows later.
    pub(super) async fn connect_quic(
        &self,
        way: &Way,
        address: SocketAddr,
    ) -> Result<Connection, String> {
        let address = match self.quic.local_addr() {
            Ok(local) if local.is_ipv6() => mapped(address),
            _ => address,
        };
        let connection = self
            .quic
            .connect_with(way.quic.clone(), address, way.server_name())
            .map_err(|error| error.to_string())?
            .await
            .map_err(|error| Closed::from(error).to_string())?;
        Ok(connection.into())
    }

    /// The same over TCP, with a pause once that has got through.
    pub(super) async fn connect_tcp(
        &self,
        way: &Way,
        address: SocketAddr,
        hold: Duration,
    ) -> Result<Connection, String> {
        let dialled = way.tunnel.dial(address).await;
        let dialled = dialled.map_err(|error| error.to_string())?;
        sleep(hold).await;
        dialled.connect(way.server_name(), &self.carriers).await
    }

    /// Waits a moment for the last words of all connections to leave.
    pub(super) async fn part(&self) {
        self.carriers.close();
        let parted = async {
            self.quic.wait_idle().await;
            self.carriers.wait().await;
        };
        // The closing packets leave within a moment; nobody waits longer.
        let _ = timeout(Duration::from_secs(1), parted).await;
    }
}

/// Opens the control stream. Its answer proves that the centre has accepted our
/// certificate.
pub(super) async fn greet(connection: Connection) -> Result<Opened, String> {
    let lost = |fallback: String| match connection.close_reason() {
        Some(closed) => closed.to_string(),
        None => fallback,
    };
    let (mut send, receive) = connection
        .open_bi()
        .await
        .map_err(|error| lost(error.to_string()))?;
    // An error says that the stream is over, which the next step says too.
    let _ = send.set_priority(priority::CONTROL);
    send.write_chunk(bytes::Bytes::from_static(&control::OPENING))
        .await
        .map_err(|error| lost(error.to_string()))?;
    let mut receive = control::Receiver::new(receive);
    receive
        .frame()
        .await
        .map_err(|error| lost(error.to_string()))?;
    Ok(Opened {
        connection,
        send,
        receive,
    })
}

impl Opened {
    /// What carries it.
    pub(super) const fn transport(&self) -> Transport {
        self.connection.transport()
    }
}

/// An IPv4 address as a socket of both families wants it.
fn mapped(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(v4) => SocketAddr::from((v4.ip().to_ipv6_mapped(), v4.port())),
        SocketAddr::V6(_) => address,
    }
}
