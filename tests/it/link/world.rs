//! A centre and a commune that meet on loopback, with certificates of a trial.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use fanal::certs::Validity;
use fanal::certs::trial::Trial;
use fanal::clock::{Clock, Wall};
use fanal::config::{self, settings};
use fanal::format::control::{ToGateway, ToReceiver};
use fanal::link::endpoint::Carrier;
use fanal::link::transport::{Closed, Connection, Transport};
use fanal::link::{Event, Link, accept, dial, endpoint, tls, tunnel};
use fanal::metrics;
use fanal::pki::Kept;
use fanal::reason::Reason;
use fanal::receiver::hub::Hub;
use quinn::{RecvStream, SendStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(super) use crate::support::site::{CENTRE, COMMUNE};
use crate::support::site::{GatewayFile, Place, ReceiverFile};
use crate::waiting::{self, PATIENCE};
use crate::wire::Wire;

/// A directory with certificates and settings, removed at the end.
pub(super) struct World {
    pub(super) trial: Trial,
    pub(super) now: Wall,
    place: Place,
}

impl World {
    pub(super) fn new() -> Self {
        let now = Clock::system().now().wall;
        let trial = Trial::new(now).unwrap();
        let place = Place::of_trial(&trial, &[COMMUNE, CENTRE]);
        Self { trial, now, place }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.place.path(name)
    }

    pub(super) fn write(&self, name: &str, text: &str) {
        self.place.write(name, text);
    }

    /// `NAME.pem` and `NAME.key`, a certificate for `id` of this trial's authority.
    pub(super) fn write_identity(&self, name: &str, trial: &Trial, id: &str) {
        self.place.identity(name, &trial.machine(id).unwrap());
    }

    pub(super) fn write_valid(&self, name: &str, id: &str, validity: Validity) {
        let identity = self.trial.machine_valid(id, validity).unwrap();
        self.place.identity(name, &identity);
    }

    /// A gateway's state directory, apart from the centre's, for revocation lists.
    pub(super) fn kept(&self) -> Kept {
        Kept::writing(&self.path("gateway"))
    }

    /// TLS settings with the identity in `NAME.pem`.
    pub(super) fn tls(&self, name: &str) -> settings::Tls {
        settings::Tls {
            certificate: self.path(&format!("{name}.pem")),
            key: self.path(&format!("{name}.key")),
            authority: self.path("link-ca.pem"),
            revoked: vec![self.path("link.crl.pem")],
        }
    }

    pub(super) fn receiver(&self, listen: SocketAddr) -> settings::Receiver {
        let mut file = ReceiverFile::new();
        file.link.set("listen", format!("[\"{listen}\"]"));
        file.tls.text("revoked", "link.crl.pem");
        let path = self.place.write("receiver.toml", file.to_string());
        config::load_receiver(&path).unwrap().settings
    }

    pub(super) fn gateway(&self, centre: SocketAddr) -> settings::Gateway {
        let mut file = GatewayFile::new(centre);
        file.tls.text("revoked", "link.crl.pem");
        let path = self.place.write("gateway.toml", file.to_string());
        config::load_gateway(&path).unwrap().settings
    }

    /// A receiver's end on this address.
    pub(super) fn accept(&self, listen: SocketAddr, clock: &Clock) -> Centre {
        self.try_accept(listen, clock).unwrap()
    }

    /// The same on an address whose socket closes about now.
    pub(super) async fn accept_again(&self, listen: SocketAddr) -> Centre {
        within(async {
            loop {
                match self.try_accept(listen, &Clock::system()) {
                    Ok(centre) => return centre,
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        })
        .await
    }

    fn try_accept(&self, listen: SocketAddr, clock: &Clock) -> Result<Centre, endpoint::Error> {
        let settings = self.receiver(listen);
        let (events, receiver) = mpsc::channel(64);
        let (hub_events, _) = mpsc::channel(64);
        let metrics = Arc::new(metrics::Receiver::new(settings.communes.keys()).unwrap());
        let acceptor = accept::Acceptor::bind(
            &settings,
            accept::Parts {
                clock: clock.clone(),
                metrics: Arc::clone(&metrics),
                events,
                taker: Arc::new(Hub::new(clock.clone(), metrics, hub_events)),
            },
        )?;
        let token = CancellationToken::new();
        let address = acceptor.local_addrs()[0];
        let task = tokio::spawn(acceptor.clone().run(token.clone()));
        Ok(Centre {
            acceptor,
            address,
            events: receiver,
            token,
            task,
        })
    }

    /// A gateway's end that dials this address. To come over TCP it waits for no
    /// answer over UDP, and tries QUIC again soon.
    pub(super) fn dial(&self, over: Transport, centre: SocketAddr) -> Commune {
        let pace = dial::Pace {
            tcp_after: match over {
                Transport::Quic => PATIENCE,
                Transport::Tcp => Duration::ZERO,
            },
            tcp_beside: PATIENCE,
            quic_again: Duration::from_millis(200),
        };
        self.dial_with(centre, pace)
    }

    /// The same at this pace.
    pub(super) fn dial_with(&self, centre: SocketAddr, pace: dial::Pace) -> Commune {
        let settings = self.gateway(centre);
        let clock = Clock::system();
        let (events, receiver) = mpsc::channel(64);
        let metrics = Arc::new(
            metrics::Gateway::new(settings.agreements.iter().map(|a| &a.centre), 0).unwrap(),
        );
        let dialer = dial::Dialer::new(
            &settings,
            dial::Parts {
                clock,
                metrics: Arc::clone(&metrics),
                events,
                pace,
            },
        )
        .unwrap();
        let token = CancellationToken::new();
        let task = tokio::spawn(dialer.clone().run(token.clone()));
        Commune {
            dialer,
            metrics,
            events: receiver,
            token,
            task,
        }
    }

    /// A client with this identity, below the dialler: to say what it never says.
    pub(super) fn client(&self, identity: &str) -> RawClient {
        self.client_of(&self.tls(identity), CENTRE)
    }

    pub(super) fn client_of(&self, tls: &settings::Tls, centre: &str) -> RawClient {
        let end = tls::client(tls, centre, &self.kept(), &Clock::system()).unwrap();
        RawClient::new(&end)
    }

    /// A server with the centre's identity, below the acceptor, over one
    /// transport alone.
    pub(super) fn server(&self, over: Transport) -> RawServer {
        let listen = "127.0.0.1:0".parse().unwrap();
        let settings = self.receiver(listen);
        RawServer::listen(&settings, &Clock::system(), over)
    }

    /// A QUIC server at this address.
    pub(super) fn server_at(&self, listen: SocketAddr) -> quinn::Endpoint {
        let settings = self.receiver(listen);
        quic_server(&settings, &Clock::system())
    }
}

/// The reason with which the other side closed.
pub(super) fn reason(closed: &Closed) -> Reason {
    closed.reason().unwrap_or_else(|| panic!("{closed}"))
}

pub(super) struct Centre {
    pub(super) acceptor: accept::Acceptor,
    pub(super) address: SocketAddr,
    pub(super) events: mpsc::Receiver<Event<ToReceiver>>,
    pub(super) token: CancellationToken,
    task: JoinHandle<()>,
}

impl Centre {
    /// Puts new settings in force.
    pub(super) fn reload(&self, settings: &settings::Receiver) {
        let read = self.acceptor.read(settings).unwrap();
        self.acceptor.apply(read);
    }

    /// The way to it for a gateway that is to come over this transport.
    pub(super) async fn wire(&self, over: Transport) -> Wire {
        let wire = Wire::to(self.address).await;
        wire.let_udp(over == Transport::Quic);
        wire
    }

    pub(super) async fn stop(self) {
        self.token.cancel();
        within(self.task).await.unwrap();
    }
}

pub(super) struct Commune {
    pub(super) dialer: dial::Dialer,
    pub(super) metrics: Arc<metrics::Gateway>,
    pub(super) events: mpsc::Receiver<Event<ToGateway>>,
    pub(super) token: CancellationToken,
    pub(super) task: JoinHandle<Result<(), endpoint::Error>>,
}

impl Commune {
    pub(super) async fn stop(self) {
        self.token.cancel();
        within(self.task).await.unwrap().unwrap();
    }
}

pub(crate) enum RawServer {
    Quic(quinn::Endpoint),
    Tcp {
        listener: tokio::net::TcpListener,
        tunnels: tunnel::Server,
        carriers: TaskTracker,
    },
}

fn quic_server(settings: &settings::Receiver, clock: &Clock) -> quinn::Endpoint {
    let end = tls::server(settings, clock).unwrap();
    let lasting = tls::lasting_secret(&settings.tls).unwrap();
    let config = endpoint::server_config(&end, Carrier::Udp).unwrap();
    endpoint::listen(settings.link_listen[0], config, lasting)
        .unwrap()
        .0
}

impl RawServer {
    pub(crate) fn listen(settings: &settings::Receiver, clock: &Clock, over: Transport) -> Self {
        match over {
            Transport::Quic => Self::Quic(quic_server(settings, clock)),
            Transport::Tcp => Self::Tcp {
                listener: tunnel::listen(settings.link_listen[0]).unwrap(),
                tunnels: tunnel::Server::new(&tls::server(settings, clock).unwrap()).unwrap(),
                carriers: TaskTracker::new(),
            },
        }
    }

    pub(crate) fn local_addr(&self) -> SocketAddr {
        match self {
            Self::Quic(endpoint) => endpoint.local_addr().unwrap(),
            Self::Tcp { listener, .. } => listener.local_addr().unwrap(),
        }
    }

    /// One connection's handshake, whatever comes of it.
    pub(crate) async fn take(&self) -> Result<Connection, String> {
        match self {
            Self::Quic(endpoint) => {
                let incoming = endpoint.accept().await.unwrap();
                let connection = incoming.await.map_err(|error| error.to_string())?;
                Ok(connection.into())
            }
            Self::Tcp {
                listener,
                tunnels,
                carriers,
            } => {
                let (stream, _) = listener.accept().await.unwrap();
                tunnels.clone().accept(stream, carriers).await
            }
        }
    }

    /// The server's end of a link: what the acceptor would do.
    pub(super) async fn serve(&self) -> RawLink {
        let connection = within(self.take()).await.unwrap();
        let (mut send, mut receive) = within(connection.accept_bi()).await.unwrap();
        within(receive.read_exact(&mut [0; 4])).await.unwrap();
        write_all(&mut send, &[0; 4]).await.unwrap();
        RawLink {
            connection,
            send,
            receive,
        }
    }
}

pub(crate) struct RawClient {
    endpoint: quinn::Endpoint,
    quic: quinn::ClientConfig,
    tunnel: tunnel::Client,
    carriers: TaskTracker,
}

/// A connection with its control stream, opened as the protocol wants it.
pub(crate) struct RawLink {
    pub(crate) connection: Connection,
    pub(crate) send: SendStream,
    pub(crate) receive: RecvStream,
}

/// Writes all of it.
pub(crate) async fn write_all(
    stream: &mut SendStream,
    bytes: &[u8],
) -> Result<(), quinn::WriteError> {
    stream
        .write_chunk(bytes::Bytes::copy_from_slice(bytes))
        .await
}

impl RawClient {
    pub(crate) fn new(end: &tls::End<rustls::ClientConfig>) -> Self {
        let uplink = settings::Uplink::default();
        Self {
            endpoint: endpoint::dial().unwrap().0,
            quic: endpoint::client_config(end, &uplink, &Arc::default(), Carrier::Udp).unwrap(),
            tunnel: tunnel::Client::new(end, "127.0.0.1:1", &uplink, &Arc::default()).unwrap(),
            carriers: TaskTracker::new(),
        }
    }

    pub(super) async fn connect(
        &self,
        over: Transport,
        address: SocketAddr,
    ) -> Result<Connection, String> {
        match over {
            Transport::Quic => {
                let connecting = self.begin_quic(address).await;
                let connection = connecting.map_err(|error| error.to_string())?;
                Ok(connection.into())
            }
            Transport::Tcp => {
                let dialled = self.tunnel.dial(address).await;
                let dialled = dialled.map_err(|error| error.to_string())?;
                dialled.connect(CENTRE, &self.carriers).await
            }
        }
    }

    /// A QUIC handshake.
    pub(super) async fn begin_quic(
        &self,
        address: SocketAddr,
    ) -> Result<quinn::Connection, quinn::ConnectionError> {
        let ip = match address.ip() {
            std::net::IpAddr::V4(v4) => v4.to_ipv6_mapped().into(),
            v6 => v6,
        };
        let address = match self.endpoint.local_addr().unwrap() {
            SocketAddr::V4(_) => address,
            SocketAddr::V6(_) => SocketAddr::new(ip, address.port()),
        };
        self.endpoint
            .connect_with(self.quic.clone(), address, CENTRE)
            .unwrap()
            .await
    }

    /// Tries to open the control stream; gives the end that follows.
    pub(super) async fn refused(&self, over: Transport, address: SocketAddr) -> String {
        match within(self.connect(over, address)).await {
            Err(error) => error,
            Ok(connection) => {
                let opened = within(connection.open_bi()).await;
                if let Ok((mut send, _receive)) = opened {
                    // The refusal may come before or after this is out.
                    let _ = write_all(&mut send, &[0; 4]).await;
                    return within(connection.closed()).await.to_string();
                }
                within(connection.closed()).await.to_string()
            }
        }
    }

    pub(crate) async fn link(&self, over: Transport, address: SocketAddr) -> RawLink {
        let connection = within(self.connect(over, address)).await.unwrap();
        let (mut send, mut receive) = within(connection.open_bi()).await.unwrap();
        write_all(&mut send, &[0; 4]).await.unwrap();
        within(receive.read_exact(&mut [0; 4])).await.unwrap();
        RawLink {
            connection,
            send,
            receive,
        }
    }
}

impl RawLink {
    /// Says this JSON.
    pub(crate) async fn say(&mut self, json: &str) {
        let length = u32::try_from(json.len()).unwrap();
        write_all(&mut self.send, &length.to_be_bytes())
            .await
            .unwrap();
        write_all(&mut self.send, json.as_bytes()).await.unwrap();
    }

    /// The next message that is not about the time.
    pub(crate) async fn hear(&mut self) -> String {
        loop {
            let mut length = [0; 4];
            within(self.receive.read_exact(&mut length)).await.unwrap();
            let mut text = vec![0; u32::from_be_bytes(length) as usize];
            within(self.receive.read_exact(&mut text)).await.unwrap();
            let text = String::from_utf8(text).unwrap();
            if !text.contains(r#""type":"time""#) {
                return text;
            }
        }
    }
}

/// Waits for what must come; a hang is a failure.
pub(super) async fn within<F: Future>(future: F) -> F::Output {
    waiting::within("what must come", future).await
}

/// The next event.
pub(super) async fn next<M>(events: &mut mpsc::Receiver<Event<M>>) -> Event<M> {
    within(events.recv()).await.unwrap()
}

/// The next event, which must be an `Up`.
pub(super) async fn up<M: std::fmt::Debug>(
    events: &mut mpsc::Receiver<Event<M>>,
) -> (String, u64, Link) {
    match next(events).await {
        Event::Up {
            peer,
            session,
            link,
        } => (peer, session, link),
        other => panic!("not up: {other:?}"),
    }
}

/// The next event, which must be a `Down`.
pub(super) async fn down<M: std::fmt::Debug>(
    events: &mut mpsc::Receiver<Event<M>>,
) -> (u64, String) {
    match next(events).await {
        Event::Down { session, cause, .. } => (session, cause),
        other => panic!("not down: {other:?}"),
    }
}
