//! A centre and a commune that meet on loopback, with certificates of a trial.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use fanal::certs::Validity;
use fanal::certs::trial::Trial;
use fanal::clock::{Clock, Wall};
use fanal::config::{self, settings};
use fanal::link::{Event, Link, accept, dial, endpoint, tls};
use fanal::metrics;
use fanal::proto::control::{ToGateway, ToReceiver};
use fanal::receiver::hub::Hub;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(super) const COMMUNE: &str = "berre-l-etang";
pub(super) const CENTRE: &str = "corg-13";
/// Nothing here takes this long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(20);

/// A directory with certificates and settings, removed at the end.
pub(super) struct World {
    pub(super) trial: Trial,
    pub(super) now: Wall,
    directory: PathBuf,
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

impl World {
    pub(super) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let directory = std::env::temp_dir().join(format!(
            "fanal-link-{}-{}",
            std::process::id(),
            NUMBER.fetch_add(1, Ordering::Relaxed)
        ));
        std::fs::create_dir_all(&directory).unwrap();
        let now = Clock::system().now().wall;
        let world = Self {
            trial: Trial::new(now).unwrap(),
            now,
            directory,
        };
        world.write("link-ca.pem", world.trial.link_authority());
        world.write("designation-ca.pem", world.trial.designation_authority());
        world.write("link.crl.pem", world.trial.link_list());
        for id in [COMMUNE, CENTRE] {
            world.write_identity(id, &world.trial, id);
        }
        world
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    pub(super) fn write(&self, name: &str, text: &str) {
        use std::os::unix::fs::PermissionsExt;
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// `NAME.pem` and `NAME.key`, a certificate for `id` of this trial's authority.
    pub(super) fn write_identity(&self, name: &str, trial: &Trial, id: &str) {
        let identity = trial.machine(id).unwrap();
        self.write(&format!("{name}.pem"), &identity.certificate);
        self.write(&format!("{name}.key"), identity.key.expose());
    }

    pub(super) fn write_valid(&self, name: &str, id: &str, validity: Validity) {
        let identity = self.trial.machine_valid(id, validity).unwrap();
        self.write(&format!("{name}.pem"), &identity.certificate);
        self.write(&format!("{name}.key"), identity.key.expose());
    }

    /// TLS settings with the identity in `NAME.pem`.
    pub(super) fn tls(&self, name: &str) -> settings::Tls {
        settings::Tls {
            certificate: self.path(&format!("{name}.pem")),
            key: self.path(&format!("{name}.key")),
            authority: self.path("link-ca.pem"),
            revoked: Some(self.path("link.crl.pem")),
        }
    }

    pub(super) fn receiver(&self, listen: SocketAddr) -> settings::Receiver {
        let directory = self.directory.display();
        let text = format!(
            r#"
centre = "{CENTRE}"
name = "CORG 13"
state_dir = "{directory}"
metrics = "127.0.0.1:0"
[tls]
certificate = "{CENTRE}.pem"
key = "{CENTRE}.key"
authority = "link-ca.pem"
revoked = "link.crl.pem"
[link]
listen = ["{listen}"]
[[commune]]
id = "{COMMUNE}"
[console]
listen = "127.0.0.1:0"
[rtsp]
listen = "127.0.0.1:0"
[[operators]]
designation_authority = "designation-ca.pem"
"#
        );
        self.write("receiver.toml", &text);
        config::load_receiver(Path::new(&self.path("receiver.toml")))
            .unwrap()
            .settings
    }

    pub(super) fn gateway(&self, centre: SocketAddr) -> settings::Gateway {
        let directory = self.directory.display();
        let text = format!(
            r#"
commune = "{COMMUNE}"
name = "Berre-l'Étang"
state_dir = "{directory}"
metrics = "127.0.0.1:0"
socket = "{directory}/gateway.sock"
[tls]
certificate = "{COMMUNE}.pem"
key = "{COMMUNE}.key"
authority = "link-ca.pem"
revoked = "link.crl.pem"
[[agreement]]
reference = "Convention"
centre = "{CENTRE}"
addresses = ["{centre}"]
from = 2025-02-13
until = 2090-02-12
designation_authority = "designation-ca.pem"
cameras = ["*"]
grounds = ["burglary"]
max_duration = "1h"
max_total = "4h"
max_relays = 16
max_designation = "31d"
"#
        );
        self.write("gateway.toml", &text);
        config::load_gateway(Path::new(&self.path("gateway.toml")))
            .unwrap()
            .settings
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
                hub: Hub::new(clock.clone(), metrics, hub_events),
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

    /// A gateway's end that dials this address.
    pub(super) fn dial(&self, centre: SocketAddr) -> Commune {
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
        let end = tls::client(tls, centre, &Clock::system()).unwrap();
        RawClient {
            endpoint: endpoint::dial().unwrap(),
            config: endpoint::client_config(&end, &settings::Uplink::default(), &Arc::default())
                .unwrap(),
        }
    }

    /// A server with the centre's identity, below the acceptor.
    pub(super) fn server(&self) -> quinn::Endpoint {
        let listen = "127.0.0.1:0".parse().unwrap();
        self.server_at(listen)
    }

    /// The same at this address.
    pub(super) fn server_at(&self, listen: SocketAddr) -> quinn::Endpoint {
        let settings = self.receiver(listen);
        let end = tls::server(&settings, &Clock::system()).unwrap();
        let lasting = tls::lasting_secret(&settings.tls).unwrap();
        endpoint::listen(listen, endpoint::server_config(&end).unwrap(), lasting).unwrap()
    }
}

pub(super) struct Centre {
    pub(super) acceptor: accept::Acceptor,
    pub(super) address: SocketAddr,
    pub(super) events: mpsc::Receiver<Event<ToReceiver>>,
    pub(super) token: CancellationToken,
    pub(super) task: JoinHandle<()>,
}

impl Centre {
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

pub(super) struct RawClient {
    pub(super) endpoint: quinn::Endpoint,
    pub(super) config: quinn::ClientConfig,
}

/// A connection with its control stream, opened as the protocol wants it.
pub(super) struct RawLink {
    pub(super) connection: quinn::Connection,
    pub(super) send: quinn::SendStream,
    pub(super) receive: quinn::RecvStream,
}

impl RawClient {
    pub(super) async fn connect(
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
            .connect_with(self.config.clone(), address, CENTRE)
            .unwrap()
            .await
    }

    pub(super) async fn link(&self, address: SocketAddr) -> RawLink {
        let connection = within(self.connect(address)).await.unwrap();
        let (mut send, mut receive) = within(connection.open_bi()).await.unwrap();
        send.write_all(&[0; 4]).await.unwrap();
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
    pub(super) async fn say(&mut self, json: &str) {
        let length = u32::try_from(json.len()).unwrap();
        self.send.write_all(&length.to_be_bytes()).await.unwrap();
        self.send.write_all(json.as_bytes()).await.unwrap();
    }

    /// The next message that is not about the time.
    pub(super) async fn hear(&mut self) -> String {
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

/// A raw server's end of a link: what the acceptor would do.
pub(super) async fn serve(server: &quinn::Endpoint) -> RawLink {
    let connection = within(server.accept()).await.unwrap().await.unwrap();
    let (mut send, mut receive) = within(connection.accept_bi()).await.unwrap();
    within(receive.read_exact(&mut [0; 4])).await.unwrap();
    send.write_all(&[0; 4]).await.unwrap();
    RawLink {
        connection,
        send,
        receive,
    }
}

/// Waits for what must come; a hang is a failure.
pub(super) async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("this must not take 20 s")
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
