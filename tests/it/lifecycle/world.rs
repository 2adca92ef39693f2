//! A commune's place, its cameras, and a centre that the test plays.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use fanal::certs::trial::Trial;
use fanal::clock::{Clock, ManualClock, Wall};
use fanal::config;
use fanal::format::control::{RelayState, ToGateway, ToReceiver};
use fanal::format::ids::{CameraId, GrantId, Sha256};
use fanal::format::jws::{self, Signer};
use fanal::format::statement::{GRANT_TYPE, GrantClaims, HEAD_TYPE, HeadClaims, REQUEST_TYPE};
use fanal::gateway::socket::{self, Answer, Request};
use fanal::gateway::{Gateway, Handle, Options};
use fanal::link::{Event, Link, accept};
use fanal::media::relay::RelayId;
use fanal::metrics;
use fanal::reason::{Reason, Refusal};
use fanal::receiver::hub::Hub;
use fanal::simulate;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support::site::{self, CENTRE, COMMUNE, GatewayFile, Place, ReceiverFile};
pub(super) use crate::waiting::within;

/// The cameras: a simulator of two.
pub(super) struct Cameras {
    pub(super) urls: Vec<(String, String)>,
    pub(super) counters: watch::Receiver<simulate::Counters>,
    _end: tokio_util::sync::DropGuard,
}

impl Cameras {
    pub(super) async fn new() -> Self {
        let names = simulate::names(2);
        let server = simulate::Server::bind(simulate::Options::new(names))
            .await
            .unwrap();
        let (urls, counters) = (server.urls(), server.counters());
        let token = CancellationToken::new();
        tokio::spawn(server.run(token.clone()));
        Self {
            urls,
            counters,
            _end: token.drop_guard(),
        }
    }

    pub(super) fn count(&self, camera: &str) -> simulate::Count {
        self.counters.borrow().camera(camera)
    }

    pub(super) async fn wait(
        &mut self,
        camera: &str,
        what: &str,
        is: impl Fn(simulate::Count) -> bool,
    ) {
        let seen = self.counters.wait_for(|all| is(all.camera(camera)));
        within(what, seen).await.unwrap();
    }
}

/// The centre: the real acceptor, with the test in place of the desk.
pub(super) struct Centre {
    pub(super) address: SocketAddr,
    pub(super) events: mpsc::Receiver<Event<ToReceiver>>,
    pub(super) link: Option<Link>,
    pub(super) signer: Signer,
    pub(super) next: u64,
    pub(super) relays: BTreeMap<CameraId, RelayId>,
    _end: tokio_util::sync::DropGuard,
}

impl Centre {
    pub(super) fn new(place: &Place, clock: &Clock) -> Self {
        let settings = config::load_receiver(&place.path("receiver.toml"))
            .unwrap()
            .settings;
        let (events, receiver) = mpsc::channel(64);
        let (hub_events, _) = mpsc::channel(64);
        let metrics = Arc::new(metrics::Receiver::new(settings.communes.keys()).unwrap());
        let parts = accept::Parts {
            clock: clock.clone(),
            metrics: Arc::clone(&metrics),
            events,
            taker: Arc::new(Hub::new(clock.clone(), metrics, hub_events)),
        };
        let acceptor = accept::Acceptor::bind(&settings, parts).unwrap();
        let address = acceptor.local_addrs()[0];
        let token = CancellationToken::new();
        tokio::spawn(acceptor.run(token.clone()));
        Self {
            address,
            events: receiver,
            link: None,
            signer: place.signer(CENTRE),
            next: 100,
            relays: BTreeMap::new(),
            _end: token.drop_guard(),
        }
    }

    /// The next event that `pick` takes; others are passed over.
    pub(super) async fn next<T>(
        &mut self,
        what: &str,
        mut pick: impl FnMut(&ToReceiver) -> Option<T>,
    ) -> T {
        let found = async {
            loop {
                match self.events.recv().await.unwrap() {
                    Event::Up { link, .. } => self.link = Some(link),
                    Event::Down { .. } => {}
                    Event::Message { message, .. } => {
                        if let Some(found) = pick(&message) {
                            return found;
                        }
                    }
                }
            }
        };
        within(what, found).await
    }

    pub(super) async fn linked(&mut self) {
        self.next("the gateway's hello", |message| {
            matches!(message, ToReceiver::Hello(_)).then_some(())
        })
        .await;
    }

    pub(super) fn send(&self, message: &ToGateway) {
        self.link.as_ref().unwrap().send(message);
    }

    pub(super) async fn ask(&mut self, request: &str) -> Result<Granted, Refusal> {
        self.next += 1;
        let number = self.next;
        self.send(&ToGateway::Request {
            id: number,
            request: request.to_owned(),
        });
        let answer = self
            .next("an answer", |message| match message {
                ToReceiver::Granted { id, proof, relays } if *id == number => {
                    Some(Ok((proof.clone(), relays.clone())))
                }
                ToReceiver::Refused { id, refusal, .. } if *id == number => {
                    Some(Err(refusal.clone()))
                }
                _ => None,
            })
            .await;
        let (proof, relays) = answer?;
        self.relays = relays;
        let claims = jws::open::<GrantClaims>(&proof, GRANT_TYPE).unwrap().claims;
        Ok(Granted {
            grant: claims.grant,
            request: claims.request,
        })
    }

    pub(super) fn confirm(&mut self, granted: &Granted) {
        self.next += 1;
        let head = HeadClaims {
            iss: CENTRE.to_owned(),
            journal: "0f".repeat(16),
            seq: self.next,
            link: Sha256::of(&self.next.to_be_bytes()),
            iat: 1_900_000_000,
        };
        self.send(&ToGateway::Confirm {
            grant: granted.grant,
            request: granted.request,
            head: self.signer.sign(HEAD_TYPE, &head),
        });
    }

    /// Waits until the camera gives pictures.
    pub(super) async fn live(&mut self, camera: &str) {
        self.next("a live camera", |message| match message {
            ToReceiver::Relay {
                camera: of,
                state: RelayState::Live,
                ..
            } if of.as_str() == camera => Some(()),
            _ => None,
        })
        .await;
    }

    pub(super) async fn ended(&mut self, granted: &Granted) -> Reason {
        let wanted = granted.grant;
        self.next("the grant's end", |message| match message {
            ToReceiver::Ended { grant, refusal, .. } if *grant == wanted => Some(refusal.reason),
            _ => None,
        })
        .await
    }

    pub(super) async fn resumed(&mut self) -> GrantId {
        self.next("a resumption", |message| match message {
            ToReceiver::Resume { proof, .. } => Some(
                jws::open::<GrantClaims>(proof, GRANT_TYPE)
                    .unwrap()
                    .claims
                    .grant,
            ),
            _ => None,
        })
        .await
    }
}

pub(super) struct Granted {
    pub(super) grant: GrantId,
    pub(super) request: Sha256,
}

/// A gateway that runs.
pub(super) struct Running {
    pub(super) task: JoinHandle<()>,
    pub(super) token: CancellationToken,
    pub(super) handle: Handle,
    pub(super) metrics: Arc<metrics::Gateway>,
    pub(super) address: SocketAddr,
}

pub(super) struct World {
    pub(super) place: Place,
    pub(super) clock: Clock,
    pub(super) time: ManualClock,
    pub(super) cameras: Cameras,
    pub(super) centre: Centre,
    pub(super) operator: Signer,
    pub(super) running: Option<Running>,
}

impl World {
    /// A gateway that runs in this process, linked to the centre.
    pub(super) async fn new() -> Self {
        let mut world = Self::without_gateway().await;
        world.start().await;
        world
    }

    /// Everything but the gateway.
    pub(super) async fn without_gateway() -> Self {
        let seconds = Clock::system().now().wall.seconds();
        let (clock, time) = Clock::manual(Wall::from_seconds(seconds));
        let now = clock.now().wall;
        let trial = Trial::new(now).unwrap();
        let place = Place::of_trial(&trial, &[COMMUNE, CENTRE]);
        let operator = trial.simple_operator("13-1", "CORG 13", now).unwrap();
        let operator = Signer::from_pem(operator.key.expose(), &operator.certificate).unwrap();
        place.write("receiver.toml", ReceiverFile::new().to_string());
        let centre = Centre::new(&place, &clock);
        let cameras = Cameras::new().await;
        let world = Self {
            place,
            clock,
            time,
            cameras,
            centre,
            operator,
            running: None,
        };
        world.configure("");
        world
    }

    /// Writes `gateway.toml`; `except` goes into the agreement.
    pub(super) fn configure(&self, except: &str) {
        let file = gateway_file(self.centre.address, &self.cameras.urls, except);
        self.place.write("gateway.toml", file.to_string());
    }

    pub(super) async fn start(&mut self) {
        let loaded = config::load_gateway(&self.place.path("gateway.toml")).unwrap();
        let options = Options {
            clock: self.clock.clone(),
            ..Options::default()
        };
        let gateway = Gateway::bind(loaded, options).await.unwrap();
        let token = CancellationToken::new();
        let running = Running {
            token: token.clone(),
            handle: gateway.handle(),
            metrics: gateway.metrics(),
            address: gateway.local_addrs().metrics,
            task: tokio::spawn(async move { gateway.run(token).await.unwrap() }),
        };
        self.running = Some(running);
        self.centre.linked().await;
    }

    pub(super) fn running(&self) -> &Running {
        self.running.as_ref().unwrap()
    }

    pub(super) async fn stop(&mut self) {
        let running = self.running.take().unwrap();
        running.token.cancel();
        within("the gateway's end", running.task).await.unwrap();
    }

    /// A request for these cameras, signed now.
    pub(super) fn sign(&self, cameras: &[&str]) -> String {
        let claims = site::claims(self.clock.now().wall, cameras);
        self.operator.sign(REQUEST_TYPE, &claims)
    }

    pub(super) async fn ask(&mut self, cameras: &[&str]) -> Result<Granted, Refusal> {
        let request = self.sign(cameras);
        self.centre.ask(&request).await
    }

    /// Granted, confirmed, and live.
    pub(super) async fn watch(&mut self, camera: &str) -> Granted {
        let before = self.journal("confirmed").len();
        let granted = self.ask(&[camera]).await.unwrap();
        self.centre.confirm(&granted);
        self.centre.live(camera).await;
        // Anyone who moves the clock next must not be ahead of the confirmation.
        within("the confirmation in the journal", async {
            while self.journal("confirmed").len() == before {
                tokio::task::yield_now().await;
            }
        })
        .await;
        granted
    }

    pub(super) async fn socket(&self, request: Request) -> Answer {
        let path = self.place.path("gateway.sock");
        let asked = tokio::task::spawn_blocking(move || socket::ask(&path, &request));
        within("the socket's answer", asked).await.unwrap().unwrap()
    }

    /// The journal's entries of a kind, as text.
    pub(super) fn journal(&self, kind: &str) -> Vec<String> {
        let entries = self.place.entries("gateway", kind);
        entries.iter().map(ToString::to_string).collect()
    }

    pub(super) async fn get(&self, path: &str) -> String {
        within("a page", crate::metrics::get(self.running().address, path)).await
    }
}

/// gateway.toml; `except` goes into the agreement.
pub(super) fn gateway_file(
    centre: SocketAddr,
    cameras: &[(String, String)],
    except: &str,
) -> GatewayFile {
    let mut file = GatewayFile::new(centre);
    file.agreement().set("except", format!("[{except}]"));
    for (name, url) in cameras {
        file.camera(name, url).text("close_after", "0s");
    }
    file
}
