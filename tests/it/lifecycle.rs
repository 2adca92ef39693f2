//! The gateway's life with a centre that the test plays: what a request opens,
//! what ends it, what a restart keeps. Real sockets, real cameras of the
//! simulator, time moved by hand.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use fanal::certs::Identity;
use fanal::certs::trial::Trial;
use fanal::clock::{Clock, ManualClock, Wall};
use fanal::config;
use fanal::gateway::socket::{self, Answer, Request};
use fanal::gateway::{Gateway, Handle, Options};
use fanal::link::{Event, Link, accept};
use fanal::metrics;
use fanal::proto::control::{RelayState, ToGateway, ToReceiver};
use fanal::proto::ids::{
    CameraId, CentreId, CommuneId, GrantId, Incident, ProfileWish, RelayId, RequestId, Sha256,
};
use fanal::proto::jws::{self, Signer};
use fanal::proto::statement::{
    GRANT_TYPE, GrantClaims, HEAD_TYPE, HeadClaims, REQUEST_TYPE, RequestClaims,
};
use fanal::reason::{Reason, Refusal};
use fanal::receiver::hub::Hub;
use fanal::simulate;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const COMMUNE: &str = "berre-l-etang";
const CENTRE: &str = "corg-13";
/// Nothing here takes this long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(30);

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited in vain for {what}"),
    }
}

/// A directory with keys and settings, removed at the end.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("fanal-life-{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&directory).unwrap();
        Self(directory)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn write(&self, name: &str, text: &str) {
        use std::os::unix::fs::PermissionsExt;
        std::fs::write(self.path(name), text).unwrap();
        let mode = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(self.path(name), mode).unwrap();
    }

    fn identity(&self, name: &str, identity: &Identity) -> Signer {
        self.write(&format!("{name}.pem"), &identity.certificate);
        self.write(&format!("{name}.key"), identity.key.expose());
        Signer::from_pem(identity.key.expose(), &identity.certificate).unwrap()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The cameras: a simulator of two.
struct Cameras {
    urls: Vec<(String, String)>,
    counters: watch::Receiver<simulate::Counters>,
    _end: tokio_util::sync::DropGuard,
}

impl Cameras {
    async fn new() -> Self {
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

    fn count(&self, camera: &str) -> simulate::Count {
        self.counters.borrow().camera(camera)
    }

    async fn wait(&mut self, camera: &str, what: &str, is: impl Fn(simulate::Count) -> bool) {
        let seen = self.counters.wait_for(|all| is(all.camera(camera)));
        within(what, seen).await.unwrap();
    }
}

/// The centre: the real acceptor, with the test in place of the desk.
struct Centre {
    address: SocketAddr,
    events: mpsc::Receiver<Event<ToReceiver>>,
    link: Option<Link>,
    signer: Signer,
    next: u64,
    relays: BTreeMap<CameraId, RelayId>,
    _end: tokio_util::sync::DropGuard,
}

impl Centre {
    fn new(place: &Place, clock: &Clock, signer: Signer) -> Self {
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
            hub: Hub::new(clock.clone(), metrics, hub_events),
        };
        let acceptor = accept::Acceptor::bind(&settings, parts).unwrap();
        let address = acceptor.local_addrs()[0];
        let token = CancellationToken::new();
        tokio::spawn(acceptor.run(token.clone()));
        Self {
            address,
            events: receiver,
            link: None,
            signer,
            next: 100,
            relays: BTreeMap::new(),
            _end: token.drop_guard(),
        }
    }

    /// The next event that `pick` takes; others are passed over.
    async fn next<T>(&mut self, what: &str, mut pick: impl FnMut(&ToReceiver) -> Option<T>) -> T {
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

    async fn linked(&mut self) {
        self.next("the gateway's hello", |message| {
            matches!(message, ToReceiver::Hello(_)).then_some(())
        })
        .await;
    }

    fn send(&self, message: &ToGateway) {
        self.link.as_ref().unwrap().send(message);
    }

    async fn ask(&mut self, request: &str) -> Result<Granted, Refusal> {
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

    fn confirm(&mut self, granted: &Granted) {
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
    async fn live(&mut self, camera: &str) {
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

    async fn ended(&mut self, granted: &Granted) -> Reason {
        let wanted = granted.grant;
        self.next("the grant's end", |message| match message {
            ToReceiver::Ended { grant, refusal, .. } if *grant == wanted => Some(refusal.reason),
            _ => None,
        })
        .await
    }

    async fn resumed(&mut self) -> GrantId {
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

struct Granted {
    grant: GrantId,
    request: Sha256,
}

/// A gateway that runs.
struct Running {
    task: JoinHandle<()>,
    token: CancellationToken,
    handle: Handle,
    metrics: Arc<metrics::Gateway>,
    address: SocketAddr,
}

struct World {
    place: Place,
    clock: Clock,
    time: ManualClock,
    cameras: Cameras,
    centre: Centre,
    operator: Signer,
    running: Option<Running>,
}

impl World {
    async fn new() -> Self {
        let place = Place::new();
        let seconds = Clock::system().now().wall.seconds();
        let (clock, time) = Clock::manual(Wall::from_seconds(seconds));
        let now = clock.now().wall;
        let trial = Trial::new(now).unwrap();
        place.write("link-ca.pem", trial.link_authority());
        place.write("designation-ca.pem", trial.designation_authority());
        place.identity(COMMUNE, &trial.machine(COMMUNE).unwrap());
        let signer = place.identity(CENTRE, &trial.machine(CENTRE).unwrap());
        let operator = trial.simple_operator("13-1", "CORG 13", now).unwrap();
        let operator = Signer::from_pem(operator.key.expose(), &operator.certificate).unwrap();
        place.write("receiver.toml", &receiver_toml(&place.0));
        let centre = Centre::new(&place, &clock, signer);
        let cameras = Cameras::new().await;
        let mut world = Self {
            place,
            clock,
            time,
            cameras,
            centre,
            operator,
            running: None,
        };
        world.configure("");
        world.start().await;
        world
    }

    /// Writes `gateway.toml`; `except` goes into the agreement.
    fn configure(&self, except: &str) {
        let text = gateway_toml(
            &self.place.0,
            self.centre.address,
            &self.cameras.urls,
            except,
        );
        self.place.write("gateway.toml", &text);
    }

    async fn start(&mut self) {
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

    fn running(&self) -> &Running {
        self.running.as_ref().unwrap()
    }

    async fn stop(&mut self) {
        let running = self.running.take().unwrap();
        running.token.cancel();
        within("the gateway's end", running.task).await.unwrap();
    }

    /// A request for these cameras, signed now.
    fn sign(&self, cameras: &[&str]) -> String {
        let wall = self.clock.now().wall;
        let random: u128 = u128::from_be_bytes({
            let mut bytes = [0; 16];
            getrandom::fill(&mut bytes).unwrap();
            bytes
        });
        let version_7 = random & !(0xf << 76) & !(0x3 << 62) | (0x7 << 76) | (0x2 << 62);
        let claims = RequestClaims {
            jti: RequestId(uuid::Uuid::from_u128(version_7)),
            iat: wall.seconds(),
            aud: CommuneId::new(COMMUNE).unwrap(),
            centre: CentreId::new(CENTRE).unwrap(),
            cameras: cameras
                .iter()
                .map(|id| CameraId::new(*id).unwrap())
                .collect(),
            grounds: "assault".to_owned(),
            incident: Incident::new("2026-42").unwrap(),
            duration: 600,
            profile: ProfileWish::Auto,
            present: Vec::new(),
            renews: None,
        };
        self.operator.sign(REQUEST_TYPE, &claims)
    }

    async fn ask(&mut self, cameras: &[&str]) -> Result<Granted, Refusal> {
        let request = self.sign(cameras);
        self.centre.ask(&request).await
    }

    /// Granted, confirmed, and live.
    async fn watch(&mut self, camera: &str) -> Granted {
        let granted = self.ask(&[camera]).await.unwrap();
        self.centre.confirm(&granted);
        self.centre.live(camera).await;
        granted
    }

    async fn socket(&self, request: Request) -> Answer {
        let path = self.place.path("gateway.sock");
        let asked = tokio::task::spawn_blocking(move || socket::ask(&path, &request));
        within("the socket's answer", asked).await.unwrap().unwrap()
    }

    /// The journal's entries of a kind, as text.
    fn journal(&self, kind: &str) -> Vec<String> {
        let mut lines = Vec::new();
        for file in std::fs::read_dir(self.place.path("journal")).unwrap() {
            let path = file.unwrap().path();
            if path
                .extension()
                .is_some_and(|extension| extension == "jsonl")
            {
                let text = std::fs::read_to_string(path).unwrap();
                lines.extend(text.lines().map(str::to_owned));
            }
        }
        let kind = format!("\"kind\":\"{kind}\"");
        lines.retain(|line| line.contains(&kind));
        lines
    }

    async fn get(&self, path: &str) -> String {
        let mut stream = tokio::net::TcpStream::connect(self.running().address)
            .await
            .unwrap();
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        within("a page", stream.read_to_string(&mut answer))
            .await
            .unwrap();
        answer
    }
}

fn gateway_toml(
    directory: &Path,
    centre: SocketAddr,
    cameras: &[(String, String)],
    except: &str,
) -> String {
    let directory = directory.display();
    let mut text = format!(
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
[[agreement]]
reference = "Convention"
centre = "{CENTRE}"
addresses = ["{centre}"]
from = 2025-02-13
until = 2090-02-12
designation_authority = "designation-ca.pem"
cameras = ["*"]
except = [{except}]
grounds = ["assault"]
max_duration = "1h"
max_total = "4h"
max_relays = 16
max_designation = "31d"
"#
    );
    for (name, url) in cameras {
        text.push_str(&format!(
            r#"
[[camera]]
id = "{name}"
name = "{name}"
main = "{url}"
mask_verified = true
close_after = "0s"
"#
        ));
    }
    text
}

fn receiver_toml(directory: &Path) -> String {
    let directory = directory.display();
    format!(
        r#"
centre = "{CENTRE}"
name = "CORG 13"
state_dir = "{directory}"
metrics = "127.0.0.1:0"
[tls]
certificate = "{CENTRE}.pem"
key = "{CENTRE}.key"
authority = "link-ca.pem"
[link]
listen = ["127.0.0.1:0"]
[[commune]]
id = "{COMMUNE}"
[console]
listen = "127.0.0.1:0"
[rtsp]
listen = "127.0.0.1:0"
[[operators]]
designation_authority = "designation-ca.pem"
"#
    )
}

#[tokio::test]
async fn a_signed_request_opens_the_camera_and_a_release_closes_it() {
    let mut world = World::new().await;
    assert_eq!(world.cameras.count("cam-001").set_up, 0, "idle: no session");
    let granted = world.watch("cam-001").await;
    assert_eq!(world.cameras.count("cam-001").open(), 1);
    assert_eq!(world.cameras.count("cam-002").set_up, 0);
    let journalled = world.journal("grant");
    assert!(journalled[0].contains(&granted.grant.to_string()));
    let page = world.get("/metrics").await;
    for line in [
        "fanal_gateway_grants_active 1",
        "fanal_gateway_relays_active 1",
        "fanal_gateway_relays_opened_total 1",
        "fanal_gateway_requests_total{centre=\"corg-13\",outcome=\"granted\",reason=\"\"} 1",
        "fanal_gateway_ungranted_bytes_total 0",
        "fanal_gateway_link_up{centre=\"corg-13\"} 1",
        "fanal_gateway_camera_up{camera=\"cam-001\"} 1",
    ] {
        assert!(
            page.lines().any(|found| found == line),
            "{line} not in\n{page}"
        );
    }
    let ready = world.get("/ready").await;
    assert!(ready.starts_with("HTTP/1.1 200"), "{ready}");

    world.centre.send(&ToGateway::Release {
        grant: granted.grant,
        by: "13-1".to_owned(),
    });
    assert_eq!(world.centre.ended(&granted).await, Reason::GrantReleased);
    let bytes = &world.running().metrics.relay_bytes_total;
    assert_eq!(
        bytes.with_label_values(&["cam-001"]).get(),
        0,
        "its series is gone"
    );
    world
        .cameras
        .wait("cam-001", "TEARDOWN", |count| count.torn_down == 1)
        .await;
    let page = world.get("/metrics").await;
    assert!(page.contains("fanal_gateway_relays_closed_total{reason=\"grant_released\"} 1"));
    world.stop().await;
    assert_eq!(world.journal("ended").len(), 1);
    assert_eq!(world.journal("stopped").len(), 1);
}

#[tokio::test]
async fn a_cut_over_the_socket_ends_and_holds_until_it_is_allowed() {
    let mut world = World::new().await;
    let granted = world.watch("cam-001").await;
    let Answer::Relays(relays) = world.socket(Request::Relays {}).await else {
        panic!("no relays");
    };
    let row = &relays.relays[0];
    assert_eq!(
        (row.grant, row.operator.number.as_str()),
        (granted.grant, "13-1")
    );
    assert_eq!((row.seconds_left, row.state), (600, RelayState::Live));
    let cut = Request::Cut {
        scope: "camera:cam-001".to_owned(),
        block: 900,
    };
    let Answer::Cut { grants: 1, .. } = world.socket(cut).await else {
        panic!("not cut");
    };
    assert_eq!(world.centre.ended(&granted).await, Reason::GrantCut);
    let mut cameras = world.cameras.counters.clone();
    let torn_down = cameras.wait_for(|all| all.camera("cam-001").torn_down == 1);
    within("TEARDOWN", torn_down).await.unwrap();
    let refused = world.ask(&["cam-001"]).await.err().unwrap();
    assert_eq!(refused.reason, Reason::CommuneRefused);
    world.stop().await;
    world.start().await;
    let refused = world.ask(&["cam-001"]).await.err().unwrap();
    assert_eq!(
        refused.reason,
        Reason::CommuneRefused,
        "also after a restart"
    );
    let scope = "camera:cam-001".to_owned();
    let Answer::Allowed { lifted: 1, .. } = world.socket(Request::Allow { scope }).await else {
        panic!("not allowed");
    };
    world.watch("cam-001").await;
    let by = format!("\"by\":\"uid {}\"", rustix::process::getuid().as_raw());
    assert!(
        world.journal("cut")[0].contains(&by),
        "who cut is written down"
    );
    assert!(world.journal("allowed")[0].contains(&by));
    world.stop().await;
}

#[tokio::test]
async fn a_grant_ends_at_its_time() {
    let mut world = World::new().await;
    let granted = world.watch("cam-001").await;
    world.time.advance(Duration::from_secs(599));
    let Answer::Relays(relays) = world.socket(Request::Relays {}).await else {
        panic!("no relays");
    };
    assert_eq!(relays.relays[0].seconds_left, 1);
    world.time.advance(Duration::from_secs(1));
    assert_eq!(world.centre.ended(&granted).await, Reason::GrantExpired);
    world
        .cameras
        .wait("cam-001", "TEARDOWN", |count| count.torn_down == 1)
        .await;
    world.stop().await;
}

#[tokio::test]
async fn what_the_centre_does_not_confirm_ends() {
    let mut world = World::new().await;
    let granted = world.ask(&["cam-001"]).await.unwrap();
    world.time.advance(Duration::from_secs(5));
    assert_eq!(
        world.centre.ended(&granted).await,
        Reason::CentreUnconfirmed
    );
    world.stop().await;
}

#[tokio::test]
async fn live_grants_resume_after_a_restart_and_ended_ones_do_not() {
    let mut world = World::new().await;
    let granted = world.watch("cam-001").await;
    let other = world.watch("cam-002").await;
    world.centre.send(&ToGateway::Release {
        grant: other.grant,
        by: "13-1".to_owned(),
    });
    world.centre.ended(&other).await;
    world.stop().await;
    let count = world.cameras.count("cam-001");
    assert_eq!(
        (count.torn_down, count.open()),
        (1, 0),
        "TEARDOWN before the end"
    );
    world.time.advance(Duration::from_secs(60));
    world.start().await;
    assert_eq!(world.centre.resumed().await, granted.grant);
    world.centre.live("cam-001").await;
    assert_eq!(world.cameras.count("cam-002").open(), 0);
    assert!(world.journal("resumed")[0].contains(&granted.grant.to_string()));
    // Its end stays where it was; the confirmation of before counts.
    world.time.advance(Duration::from_secs(539));
    world.time.advance(Duration::from_secs(1));
    assert_eq!(world.centre.ended(&granted).await, Reason::GrantExpired);
    world.stop().await;
}

#[tokio::test]
async fn a_request_used_before_a_restart_stays_used() {
    let mut world = World::new().await;
    let request = world.sign(&["cam-001"]);
    assert!(world.centre.ask(&request).await.is_ok());
    let reason = |answer: Result<Granted, Refusal>| answer.err().unwrap().reason;
    assert_eq!(
        reason(world.centre.ask(&request).await),
        Reason::ReplayedRequest
    );
    world.stop().await;
    world.start().await;
    assert_eq!(
        reason(world.centre.ask(&request).await),
        Reason::ReplayedRequest
    );
    world.stop().await;
}

#[tokio::test]
async fn a_link_that_comes_back_carries_the_same_grants_on() {
    let mut world = World::new().await;
    let granted = world.watch("cam-001").await;
    world.centre.link.take().unwrap().close(Reason::Internal);
    assert_eq!(world.centre.resumed().await, granted.grant);
    let count = world.cameras.count("cam-001");
    assert_eq!(
        (count.set_up, count.torn_down),
        (1, 0),
        "the camera stayed open"
    );
    world.stop().await;
}

#[tokio::test]
async fn a_reload_ends_what_it_forbids_and_a_bad_file_changes_nothing() {
    let mut world = World::new().await;
    let first = world.watch("cam-001").await;
    let second = world.watch("cam-002").await;
    world.place.write("gateway.toml", "commune = ");
    let handle = world.running().handle.clone();
    assert!(handle.reload().await.is_err());
    let ready = world.get("/ready").await;
    assert!(ready.contains("mend the file"), "{ready}");
    let page = world.get("/metrics").await;
    assert!(page.contains("fanal_gateway_config_last_reload_successful 0"));
    world.configure("\"cam-001\"");
    handle.reload().await.unwrap();
    assert_eq!(world.centre.ended(&first).await, Reason::AgreementChanged);
    let Answer::Relays(relays) = world.socket(Request::Relays {}).await else {
        panic!("no relays");
    };
    assert_eq!(relays.relays.len(), 1);
    assert_eq!(relays.relays[0].grant, second.grant);
    let refused = world.ask(&["cam-001"]).await.err().unwrap();
    assert_eq!(refused.reason, Reason::CameraNotCovered);
    let reloads = world.journal("reloaded");
    assert_eq!(reloads.len(), 2);
    assert!(reloads[0].contains("\"error\":") && !reloads[1].contains("\"error\":"));
    world.stop().await;
}

#[tokio::test]
async fn the_socket_is_for_its_group_and_bears_nonsense() {
    use std::os::unix::fs::PermissionsExt;
    let mut world = World::new().await;
    let path = world.place.path("gateway.sock");
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let mut stream = tokio::net::UnixStream::connect(&path).await.unwrap();
    let long = vec![b'x'; 10_000];
    for (line, reason) in [
        (&b"{\"command\":\"open\"}\n"[..], "malformed_request"),
        (b"not json\n", "malformed_request"),
        (
            b"{\"command\":\"cut\",\"scope\":\"camera:cam-9\",\"block\":1}\n",
            "camera_unknown",
        ),
        (
            b"{\"command\":\"cut\",\"scope\":\"x\",\"block\":1}\n",
            "malformed_request",
        ),
        (&long, "malformed_request"),
    ] {
        stream.write_all(line).await.unwrap();
        let mut answer = Vec::new();
        while answer.last() != Some(&b'\n') {
            let byte = within("an answer", stream.read_u8()).await.unwrap();
            answer.push(byte);
        }
        let answer = String::from_utf8(answer).unwrap();
        assert!(
            answer.contains(&format!("\"reason\":\"{reason}\"")),
            "{answer}"
        );
    }
    // A second gateway on the same state is refused, and takes nothing away.
    let loaded = config::load_gateway(&world.place.path("gateway.toml")).unwrap();
    assert!(Gateway::bind(loaded, Options::default()).await.is_err());
    let relays = world.socket(Request::Relays {}).await;
    assert!(matches!(relays, Answer::Relays(_)));
    world.stop().await;
    assert!(!path.exists(), "its file goes with it");
    // The file of one that was killed is replaced.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    world.start().await;
    assert!(matches!(
        world.socket(Request::Relays {}).await,
        Answer::Relays(_)
    ));
    world.stop().await;
}
