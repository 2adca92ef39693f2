//! A receiver on real sockets, time moved by hand, and a gateway that the test
//! plays: it grants, refuses and lies as it is told.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fanal::certs::trial::Trial;
use fanal::clock::{Boot, Clock, ManualClock, Wall};
use fanal::config;
use fanal::format::control::{
    AgreementInfo, CameraInfo, GatewayHello, GroundInfo, ToGateway, ToReceiver,
};
use fanal::format::ids::{CameraId, CentreId, CommuneId, GrantId, RequestId, Sha256};
use fanal::format::jws::Signer;
use fanal::format::statement::{
    GRANT_TYPE, GrantClaims, HEAD_TYPE, HeadClaims, REQUEST_TYPE, RequestClaims, TOKEN_TYPE,
    TokenClaims,
};
use fanal::gateway::relay::{self, RelaySender};
use fanal::gateway::turns::SharedLink;
use fanal::link::dial::{Dialer, Parts};
use fanal::link::{Event, Link};
use fanal::media::relay::Class;
use fanal::media::relay::{Profile, RelayId};
use fanal::media::sink::Sink;
use fanal::media::unit::{AccessUnit, Codec, Configuration, Frame, Group, UnitFlags};
use fanal::metrics;
use fanal::reason::Refusal;
use fanal::receiver::control::Control;
use fanal::receiver::{Addresses, Options, Receiver};
use fanal::secret::Secret;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub use super::events::Events;
pub(crate) use crate::support::site::{CENTRE, COMMUNE};
use crate::support::site::{GatewayFile, Place, ReceiverFile, claims};
pub use crate::waiting::within;

pub fn camera(id: &str) -> CameraId {
    CameraId::new(id).unwrap()
}

pub fn commune() -> CommuneId {
    CommuneId::new(COMMUNE).unwrap()
}

struct Running {
    token: CancellationToken,
    task: JoinHandle<()>,
}

pub struct Site {
    directory: Place,
    pub trial: Trial,
    pub clock: ManualClock,
    source: Clock,
    /// Lines of `[console]`, besides where it listens.
    console: String,
    /// Communes besides [`COMMUNE`].
    communes: Vec<String>,
    pub addresses: Addresses,
    pub control: Control,
    running: Option<Running>,
}

impl Site {
    pub async fn start() -> Self {
        Self::start_at(Clock::system().now().wall, &[]).await
    }

    /// One with these communes besides [`COMMUNE`].
    pub async fn start_with(communes: &[&str]) -> Self {
        Self::start_at(Clock::system().now().wall, communes).await
    }

    pub async fn start_at(now: Wall, communes: &[&str]) -> Self {
        let (source, clock) = Clock::manual(now);
        let trial = Trial::new(clock.now().wall).unwrap();
        let machines: Vec<&str> = communes.iter().copied().chain([COMMUNE, CENTRE]).collect();
        let directory = Place::of_trial(&trial, &machines);
        for inside in ["receiver", "designations"] {
            std::fs::create_dir(directory.path(inside)).unwrap();
        }
        let any = "127.0.0.1:0".parse().unwrap();
        let none = Addresses {
            console: any,
            rtsp: Some(any),
            rtsps: None,
            link: vec![any],
            metrics: any,
        };
        let communes: Vec<String> = communes.iter().map(|&id| id.to_owned()).collect();
        write_settings(&directory, &none, ("", &communes));
        let (running, addresses, control) = run(&directory, &source).await;
        Self {
            directory,
            trial,
            clock,
            source,
            console: String::new(),
            communes,
            addresses,
            control,
            running: Some(running),
        }
    }

    pub async fn stop(&mut self) {
        let running = self.running.take().unwrap();
        running.token.cancel();
        within("the receiver's end", running.task).await.unwrap();
    }

    /// Starts again on the same state and addresses.
    pub async fn start_again(&mut self) {
        let more = (self.console.as_str(), &self.communes[..]);
        write_settings(&self.directory, &self.addresses, more);
        let (running, addresses, control) = run(&self.directory, &self.source).await;
        assert_eq!(addresses, self.addresses);
        (self.running, self.control) = (Some(running), control);
    }

    pub async fn reload(&self) {
        self.try_reload().await.unwrap();
    }

    pub async fn try_reload(&self) -> Result<(), String> {
        let loaded = config::load_receiver(&self.directory.path("receiver.toml")).unwrap();
        self.control.reload(loaded).await
    }

    /// The clock that the receiver lives by.
    pub fn source(&self) -> &Clock {
        &self.source
    }

    /// A file beside the settings.
    pub fn put(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.directory.path(name), bytes).unwrap();
    }

    pub fn put_directory(&self, name: &str) {
        std::fs::create_dir_all(self.directory.path(name)).unwrap();
    }

    /// What `/ready` says.
    pub async fn ready(&self) -> String {
        let address = self.addresses.metrics;
        let head = format!("GET /ready HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
        exchange(address, &head).await
    }

    /// Other lines of `[console]`, in the file that a reload and a new start read.
    pub fn set_console(&mut self, lines: &str) {
        self.console = lines.to_owned();
        write_settings(&self.directory, &self.addresses, (lines, &self.communes));
    }

    /// Revokes an operator, in the file that a reload reads.
    pub fn revoke(&mut self, certificate: &str) {
        let now = self.clock.now().wall;
        let list = self
            .trial
            .revoke_operator(certificate, now)
            .unwrap()
            .to_owned();
        self.directory.write("designation.crl.pem", &list);
    }

    pub fn operator(&self, number: &str, unit: &str) -> Operator {
        let now = self.clock.now().wall;
        let identity = self.trial.simple_operator(number, unit, now).unwrap();
        Operator {
            signer: Signer::from_pem(identity.key.expose(), &identity.certificate).unwrap(),
            certificate: identity.certificate,
            key: identity.key,
        }
    }

    pub async fn gateway(&self) -> Gateway {
        Gateway::start(self).await
    }

    pub fn claims(&self, cameras: &[&str]) -> RequestClaims {
        claims(self.clock.now().wall, cameras)
    }

    pub fn token(&self, operator: &Operator) -> String {
        let iat = self.clock.now().wall.seconds();
        let claims = TokenClaims {
            jti: RequestId(Uuid::now_v7()),
            iat,
            exp: iat + 300,
            aud: CentreId::new(CENTRE).unwrap(),
        };
        operator.signer.sign(TOKEN_TYPE, &claims)
    }

    pub async fn get(&self, operator: &Operator, path: &str) -> Answer {
        let token = self.token(operator);
        self.raw(
            "GET",
            path,
            &[("authorization", &format!("Bearer {token}"))],
            "",
        )
        .await
    }

    pub async fn delete(&self, operator: &Operator, path: &str) -> Answer {
        let token = self.token(operator);
        let headers = [("authorization", format!("Bearer {token}"))];
        let headers = headers
            .each_ref()
            .map(|(name, value)| (*name, value.as_str()));
        self.raw("DELETE", path, &headers, "").await
    }

    pub async fn put_json(
        &self,
        operator: &Operator,
        path: &str,
        body: &serde_json::Value,
    ) -> Answer {
        let token = format!("Bearer {}", self.token(operator));
        let headers = [
            ("authorization", token.as_str()),
            ("content-type", "application/json"),
        ];
        self.raw("PUT", path, &headers, &body.to_string()).await
    }

    pub async fn post(&self, request: &str) -> Answer {
        let headers = [("content-type", "application/jose")];
        self.raw("POST", "/requests", &headers, request).await
    }

    /// One request on a connection of its own.
    pub async fn raw(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let path = format!("/api/v1{path}");
        let answer = call(self.addresses.console, method, &path, headers, body).await;
        super::openapi::check(&super::openapi::RECEIVER, method, &path, &answer);
        answer
    }

    /// Where a file beside the settings is.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path(name)
    }

    /// Bodies of the journal's entries of this kind.
    pub fn entries(&self, kind: &str) -> Vec<serde_json::Value> {
        self.directory.entries("receiver", kind)
    }
}

/// One request on a connection of its own, with a `Host` unless there is one.
pub async fn call(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Answer {
    let mut head = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\n");
    if !headers.iter().any(|(name, _)| *name == "host") {
        head.push_str(&format!("host: {address}\r\n"));
    }
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
    Answer::read(&exchange(address, &(head + body)).await)
}

/// What is answered until the other side closes.
async fn exchange(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    within("an answer", stream.read_to_end(&mut answer))
        .await
        .unwrap();
    String::from_utf8(answer).unwrap()
}

fn write_settings(
    directory: &Place,
    addresses: &Addresses,
    (console, communes): (&str, &[String]),
) {
    let mut file = ReceiverFile::new();
    file.top.text("metrics", addresses.metrics);
    file.listening(
        addresses.link[0],
        addresses.console,
        addresses.rtsp.unwrap(),
    );
    file.communes.extend_from_slice(communes);
    file.console.lines(console);
    file.operators
        .text("revoked", "designation.crl.pem")
        .text("designations", "designations");
    directory.write("receiver.toml", file.to_string());
}

async fn run(directory: &Place, clock: &Clock) -> (Running, Addresses, Control) {
    let loaded = config::load_receiver(&directory.path("receiver.toml")).unwrap();
    let options = Options {
        clock: clock.clone(),
        accept_clock: None,
        accept_journals: BTreeMap::new(),
        waits: fanal::receiver::viewing::Waits::default(),
        demo_page: false,
        ..Options::default()
    };
    let receiver = Receiver::bind(loaded, options).await.unwrap();
    let (addresses, control) = (receiver.local_addrs().clone(), receiver.control());
    let token = CancellationToken::new();
    let running = receiver.run(token.clone());
    let task = tokio::spawn(async move { running.await.unwrap() });
    (Running { token, task }, addresses, control)
}

pub struct Operator {
    pub signer: Signer,
    pub certificate: String,
    pub key: Secret,
}

impl Operator {
    pub fn sign(&self, claims: &RequestClaims) -> String {
        self.signer.sign(REQUEST_TYPE, claims)
    }
}

/// An HTTP answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// In lower case.
    pub head: String,
    /// Its entity tag, as sent.
    pub tag: Option<String>,
    pub body: String,
    pub json: serde_json::Value,
}

impl Answer {
    fn read(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Self {
            status,
            head: head.to_ascii_lowercase(),
            tag: head
                .lines()
                .find_map(|line| line.strip_prefix("etag: "))
                .map(str::to_owned),
            body: body.to_owned(),
            json: serde_json::from_str(body).unwrap_or_default(),
        }
    }

    /// Status and reason code of a problem.
    pub fn problem(&self) -> (u16, &str) {
        assert!(self.head.contains("application/problem+json"), "{self:?}");
        assert_eq!(self.json["status"], self.status);
        (self.status, self.json["reason"].as_str().unwrap())
    }
}

/// The gateway that the test plays.
pub struct Gateway {
    pub signer: Signer,
    clock: Clock,
    events: mpsc::Receiver<Event<ToGateway>>,
    link: Option<Link>,
    metrics: Arc<metrics::Gateway>,
    next_relay: u32,
    task: JoinHandle<()>,
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Gateway {
    async fn start(site: &Site) -> Self {
        let mut file = GatewayFile::new(site.addresses.link[0]);
        file.camera("port", "rtsp://127.0.0.1:1/");
        let path = site.directory.write("gateway.toml", file.to_string());
        let settings = config::load_gateway(&path).unwrap().settings;
        let (sender, events) = mpsc::channel(64);
        let centre = CentreId::new(CENTRE).unwrap();
        let metrics = Arc::new(metrics::Gateway::new([&centre], 1).unwrap());
        let parts = Parts {
            clock: site.source.clone(),
            metrics: Arc::clone(&metrics),
            events: sender,
            pace: fanal::link::dial::Pace::default(),
        };
        let dialer = Dialer::new(&settings, parts).unwrap();
        let mut gateway = Self {
            signer: site.directory.signer(COMMUNE),
            clock: site.source.clone(),
            events,
            link: None,
            metrics,
            next_relay: 1,
            task: tokio::spawn(async move {
                // An error shows as a link that never comes up.
                let _ = dialer.run(CancellationToken::new()).await;
            }),
        };
        gateway.up().await;
        gateway
    }

    /// Waits for a link and introduces itself.
    pub async fn up(&mut self) {
        loop {
            let event = within("a link", self.events.recv()).await.unwrap();
            if let Event::Up { link, .. } = event {
                self.link = Some(link);
                break;
            }
        }
        self.send(&ToReceiver::Hello(hello()));
        self.send(&ToReceiver::Cameras {
            page: 0,
            pages: 1,
            cameras: vec![
                info("port", [43.47, 5.17]),
                info("quai-nord", [43.48, 5.18]),
            ],
        });
    }

    pub fn send(&self, message: &ToReceiver) {
        self.link.as_ref().unwrap().send(message);
    }

    /// The next message that fits.
    pub async fn next<T>(&mut self, what: &str, fits: impl Fn(&ToGateway) -> Option<T>) -> T {
        loop {
            let event = within(what, self.events.recv()).await.unwrap();
            if let Event::Message { message, .. } = event
                && let Some(found) = fits(&message)
            {
                return found;
            }
        }
    }

    pub async fn request(&mut self) -> (u64, String) {
        self.next("a request", |message| match message {
            ToGateway::Request { id, request } => Some((*id, request.clone())),
            _ => None,
        })
        .await
    }

    pub fn proof(&self, grant: GrantId, request: &str, claims: &RequestClaims) -> GrantClaims {
        let start = self.clock.now().wall.seconds();
        GrantClaims {
            iss: commune(),
            aud: CentreId::new(CENTRE).unwrap(),
            grant,
            request: Sha256::of(request.as_bytes()),
            granted: claims.cameras.clone(),
            refused: Vec::new(),
            start,
            expires: start + i64::from(claims.duration),
            head: self.head(1),
        }
    }

    fn head(&self, seq: u64) -> String {
        let claims = HeadClaims {
            iss: COMMUNE.to_owned(),
            journal: "0".repeat(32),
            seq,
            link: Sha256::ZERO,
            iat: self.clock.now().wall.seconds(),
        };
        self.signer.sign(HEAD_TYPE, &claims)
    }

    pub fn relays(&mut self, cameras: &[CameraId]) -> BTreeMap<CameraId, RelayId> {
        let relays = cameras.iter().map(|camera| {
            self.next_relay += 1;
            (camera.clone(), RelayId(self.next_relay))
        });
        relays.collect()
    }

    /// Answers the next request with a grant.
    pub async fn grant(
        &mut self,
        grant: GrantId,
        claims: &RequestClaims,
    ) -> (String, BTreeMap<CameraId, RelayId>) {
        let (id, request) = self.request().await;
        let proof = self.proof(grant, &request, claims);
        let proof = self.signer.sign(GRANT_TYPE, &proof);
        let relays = self.relays(&claims.cameras);
        self.send(&ToReceiver::Granted {
            id,
            proof: proof.clone(),
            relays: relays.clone(),
        });
        (proof, relays)
    }

    pub async fn refuse(&mut self, refusal: Refusal) {
        let (id, _) = self.request().await;
        self.send(&ToReceiver::Refused {
            id,
            refusal,
            cameras: Vec::new(),
            head: None,
        });
    }

    /// A relay's sender; frames pushed into it go to the receiver.
    pub fn relay(&self, camera: &CameraId, relay: RelayId) -> RelaySender {
        let (notices, _) = mpsc::channel(1);
        let parts = relay::Parts {
            link: SharedLink::new(self.link.clone().unwrap()),
            relay,
            camera: camera.clone(),
            class: Class::Rest,
            until: Boot(Duration::MAX),
            clock: self.clock.clone(),
            meter: Arc::default(),
            metrics: Arc::clone(&self.metrics),
            notices,
        };
        RelaySender::start(&tokio::runtime::Handle::current(), parts)
    }

    /// Pushes a group of pictures: a key frame and some that follow.
    pub fn push(&self, sender: &RelaySender, number: u64, configuration: &Arc<Configuration>) {
        let group = Group {
            number,
            epoch: u32::try_from(number).unwrap(),
            first_of_epoch: true,
            open: false,
            kept: false,
            profile: Profile::Main,
            configuration: Arc::clone(configuration),
        };
        sender.push(&Frame::Group(Arc::new(group)));
        for n in 0..3 {
            sender.push(&Frame::Unit(Arc::new(unit(number, n))));
        }
    }
}

/// The n-th picture of a group.
pub fn unit(group: u64, n: i64) -> AccessUnit {
    let tag = u8::try_from(group).unwrap();
    AccessUnit {
        flags: UnitFlags {
            key: n == 0,
            ..UnitFlags::default()
        },
        pts: i64::try_from(group).unwrap() * 90_000 + n * 3_600,
        captured: n,
        data: Bytes::from(vec![0, 0, 0, 2, if n == 0 { 0x65 } else { 0x41 }, tag]),
    }
}

/// A real baseline configuration, 640 × 480 by its own words.
pub fn configuration(width: u16) -> Arc<Configuration> {
    Arc::new(Configuration {
        codec: Codec::H264,
        record: Bytes::from_static(&[
            1, 0x42, 0xc0, 0x1e, 0xff, 0xe1, 0, 4, 0x67, 0x42, 0xc0, 0x1e, 1, 0, 2, 0x68, 0xce,
        ]),
        width,
        height: 480,
    })
}

pub fn hello() -> GatewayHello {
    GatewayHello {
        minor: fanal::format::control::VERSION.1,
        version: "0.1.0".to_owned(),
        wall: 0,
        name: "Berre-l'Étang".to_owned(),
        contact: Some("04 42 00 00 00".to_owned()),
        agreements: vec![AgreementInfo {
            reference: "Convention".to_owned(),
            from: "2020-01-01".to_owned(),
            until: "2099-12-31".to_owned(),
            units: vec!["CORG 13".to_owned()],
            authorities: Vec::new(),
            grounds: vec![GroundInfo {
                id: "assault".to_owned(),
                fr: "agression".to_owned(),
                en: "assault".to_owned(),
            }],
            max_duration: 3_600,
            max_total: 14_400,
            max_relays: 16,
            snapshots: false,
            watermark: false,
            vms: false,
            approval: false,
            approval_exempt: Vec::new(),
            hours: Vec::new(),
        }],
        head: None,
        receiver: None,
    }
}

pub fn info(id: &str, position: [f64; 2]) -> CameraInfo {
    CameraInfo {
        id: camera(id),
        name: format!("Caméra {id}"),
        groups: vec!["port".to_owned()],
        position: Some(position),
        bearing: None,
        field_of_view: None,
        neighbours: Vec::new(),
        sub: false,
        vms: false,
        unusable: None,
        failed: None,
    }
}
