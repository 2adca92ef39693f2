//! A real gateway between simulated cameras and receivers that are not to be
//! trusted: they have the centre's own link key and do with it what they like.
//!
//! Gateways and operators live by a clock that the test moves; the network and
//! the cameras live by the system's.

mod operator;
mod receiver;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use fanal::certs::trial::Trial;
use fanal::clock::{Clock, ManualClock, Wall};
use fanal::config;
use fanal::format::ids::CentreId;
use fanal::format::statement::RequestClaims;
use fanal::gateway::{self, Gateway, socket};
use fanal::journal::verify;
use fanal::metrics;
use fanal::simulate::{self, Counters};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(crate) use operator::{Operator, altered, claims_of, parts, unsigned};
pub(crate) use receiver::{Answer, Receiver};

pub(crate) use crate::support::site::COMMUNE;
use crate::support::site::{self, CENTRE, GatewayFile, Place};
pub(crate) use crate::waiting::{PATIENCE, within};

/// 2026-11-18T10:26:40Z.
pub(crate) const START: Wall = Wall::from_seconds(1_794_997_600);
/// Cameras that the simulator has.
pub(crate) const CAMERAS: [&str; 5] = ["quai-nord", "quai-sud", "mairie", "plage", "temoin"];

/// Certificates, settings, cameras and the gateway of one test.
pub(crate) struct Stage {
    /// The link's authority, and that of the operators of corg-13.
    pub(crate) trial: Trial,
    /// The operators' authority of corg-84.
    pub(crate) other: Trial,
    pub(crate) hand: ManualClock,
    pub(crate) clock: Clock,
    place: Place,
    cameras: SocketAddr,
    counters: watch::Receiver<Counters>,
    /// Ends the simulator with the test.
    cameras_task: JoinHandle<()>,
    running: Option<Running>,
}

struct Running {
    token: CancellationToken,
    task: JoinHandle<Result<(), gateway::Error>>,
    handle: gateway::Handle,
    metrics: Arc<metrics::Gateway>,
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.cameras_task.abort();
        if let Some(running) = &self.running {
            running.token.cancel();
        }
    }
}

impl Stage {
    pub(crate) async fn new() -> Self {
        Self::at(START).await
    }

    /// Everything but the gateway, at this time.
    pub(crate) async fn at(start: Wall) -> Self {
        let (clock, hand) = Clock::manual(start);
        let server = simulate::Server::bind(simulate::Options {
            bitrate: 100_000,
            gop: 12,
            ..simulate::Options::new(CAMERAS.map(str::to_owned).to_vec())
        })
        .await
        .unwrap();
        let (cameras, counters) = (server.local_addr(), server.counters());
        let cameras_task = tokio::spawn(server.run(CancellationToken::new()));
        let (trial, other) = (Trial::new(start).unwrap(), Trial::new(start).unwrap());
        let place = Place::of_trial(&trial, &[COMMUNE, CENTRE, "corg-84"]);
        place.write("operators-84.pem", other.designation_authority());
        std::fs::create_dir(place.path("gateway")).unwrap();
        Self {
            trial,
            other,
            hand,
            clock,
            place,
            cameras,
            counters,
            cameras_task,
            running: None,
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.place.path(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        self.place.write(name, text);
    }

    /// A receiver with the link key of this centre.
    pub(crate) fn receiver(&self, id: &str) -> Receiver {
        Receiver::listen(self, id)
    }

    /// The agreement with corg-13, as most tests want it.
    pub(crate) fn agreement(&self, receiver: &Receiver) -> String {
        let mut agreement = site::agreement(CENTRE, receiver.address());
        agreement
            .text("reference", "Convention 13")
            .text("revoked", "designation.crl.pem")
            .set("units", r#"["CORG 13"]"#)
            .set("except", r#"["ecole-*"]"#)
            .set("grounds", r#"["burglary", "assault"]"#)
            .text("max_total", "2h")
            .set("max_relays", 3);
        agreement.to_string()
    }

    /// The agreement with corg-84: another authority, and some cameras.
    pub(crate) fn other_agreement(&self, receiver: &Receiver) -> String {
        let mut agreement = site::agreement("corg-84", receiver.address());
        agreement
            .text("reference", "Convention 84")
            .text("designation_authority", "operators-84.pem")
            .set("cameras", r#"["plage", "temoin", "mairie"]"#)
            .set("grounds", r#"["fire"]"#);
        for default in ["max_duration", "max_total", "max_relays", "max_designation"] {
            agreement.unset(default);
        }
        agreement.to_string()
    }

    /// Writes `gateway.toml` with these agreements.
    pub(crate) fn write_settings(&self, agreements: &str) {
        let mut file = GatewayFile::of(COMMUNE);
        let cameras = self.cameras;
        let url = |name: &str| format!("rtsp://{cameras}/{name}");
        for id in CAMERAS {
            file.camera(id, url(id));
        }
        file.camera("ecole-a", url("temoin"));
        file.camera("piscine", url("temoin"))
            .set("mask_verified", false);
        file.camera("cassee", "http://10.0.0.1/");
        file.camera("perdue", url("nowhere"));
        for camera in &mut file.cameras {
            camera.text("close_after", "100ms");
        }
        file.more = agreements.to_owned();
        self.write("gateway.toml", &file.to_string());
    }

    /// Binds and runs the gateway of `gateway.toml`.
    pub(crate) async fn start(&mut self) {
        assert!(self.running.is_none());
        let loaded = config::load_gateway(&self.path("gateway.toml")).unwrap();
        let options = gateway::Options {
            clock: self.clock.clone(),
            ..gateway::Options::default()
        };
        let gateway = Gateway::bind(loaded, options).await.unwrap();
        let (handle, metrics) = (gateway.handle(), gateway.metrics());
        let token = CancellationToken::new();
        self.running = Some(Running {
            task: tokio::spawn(gateway.run(token.clone())),
            token,
            handle,
            metrics,
        });
    }

    fn running(&self) -> &Running {
        self.running.as_ref().expect("the gateway runs")
    }

    pub(crate) fn metrics(&self) -> &metrics::Gateway {
        &self.running().metrics
    }

    pub(crate) async fn reload(&self) {
        within("reload", self.running().handle.reload())
            .await
            .unwrap();
    }

    /// What an administrator at the commune asks over the local socket.
    pub(crate) async fn local(&self, request: socket::Request) -> socket::Answer {
        let path = self.path("gateway.sock");
        let asked = tokio::task::spawn_blocking(move || socket::ask(&path, &request));
        within("socket", asked).await.unwrap().unwrap()
    }

    /// Stops the gateway in order, looks that its journal is whole and that not
    /// a byte was counted as ungranted; gives the journal's bodies.
    pub(crate) async fn stop(&mut self) -> Vec<serde_json::Value> {
        let running = self.running.take().expect("the gateway runs");
        assert_eq!(running.metrics.ungranted_bytes_total.get(), 0);
        running.token.cancel();
        within("stop", running.task).await.unwrap().unwrap();
        let report = verify::verify(&verify::Options {
            directory: self.path("gateway/journal"),
            ..verify::Options::default()
        })
        .unwrap();
        assert!(report.is_intact(), "{:?}", report.findings);
        self.journal()
    }

    /// The bodies in the journal, oldest first.
    pub(crate) fn journal(&self) -> Vec<serde_json::Value> {
        self.place.journal("gateway")
    }

    /// What the cameras saw so far.
    pub(crate) fn counters(&self) -> Counters {
        self.counters.borrow().clone()
    }

    /// Waits until the cameras saw this.
    pub(crate) async fn cameras_until(&self, what: &str, wish: impl Fn(&Counters) -> bool) {
        let mut counters = self.counters.clone();
        within(what, counters.wait_for(|counters| wish(counters)))
            .await
            .unwrap();
    }

    /// An operator of corg-13.
    pub(crate) fn operator(&self, number: &str) -> Operator {
        let now = self.clock.now().wall;
        let identity = self.trial.simple_operator(number, "CORG 13", now);
        Operator::new(identity.unwrap())
    }

    /// An operator of corg-84.
    pub(crate) fn other_operator(&self, number: &str) -> Operator {
        let now = self.clock.now().wall;
        let identity = self.other.simple_operator(number, "CORG 84", now);
        Operator::new(identity.unwrap())
    }

    /// Claims that are right for corg-13, now, for ten minutes.
    pub(crate) fn claims(&self, cameras: &[&str]) -> RequestClaims {
        RequestClaims {
            grounds: "burglary".to_owned(),
            present: vec!["Capitaine Roux".to_owned()],
            ..site::claims(self.clock.now().wall, cameras)
        }
    }

    /// Claims that are right for corg-84, now, for an hour.
    pub(crate) fn other_claims(&self, cameras: &[&str]) -> RequestClaims {
        RequestClaims {
            centre: CentreId::new("corg-84").unwrap(),
            grounds: "fire".to_owned(),
            duration: 3_600,
            ..self.claims(cameras)
        }
    }

    /// A gateway with corg-13 alone, linked.
    pub(crate) async fn linked() -> (Self, Receiver) {
        let mut stage = Self::new().await;
        let mut receiver = stage.receiver("corg-13");
        stage.write_settings(&stage.agreement(&receiver));
        stage.start().await;
        receiver.link().await;
        (stage, receiver)
    }

    /// A gateway with both centres, linked.
    pub(crate) async fn linked_both() -> (Self, Receiver, Receiver) {
        let mut stage = Self::new().await;
        let mut first = stage.receiver("corg-13");
        let mut second = stage.receiver("corg-84");
        let agreements = stage.agreement(&first) + &stage.other_agreement(&second);
        stage.write_settings(&agreements);
        stage.start().await;
        first.link().await;
        second.link().await;
        (stage, first, second)
    }

    /// Proves that the way is open, so that silence before means something: an
    /// honest request for `temoin` is granted and its pictures come.
    /// Orders to cameras are carried out in order, so what an attack might have
    /// opened would have been opened before. Then nothing but `temoin` ever was.
    pub(crate) async fn nothing_but_witness(&self, receiver: &mut Receiver) {
        self.nothing_but(receiver, &[]).await;
    }

    /// The same where others lawfully got these cameras.
    pub(crate) async fn nothing_but(&self, receiver: &mut Receiver, lawful: &[&str]) {
        self.hand.advance(Duration::from_secs(2));
        let operator = self.operator("13-0000");
        let request = operator.sign(&self.claims(&["temoin"]));
        let granted = receiver.granted(&request).await;
        let relay = granted.relay("temoin");
        receiver.confirm(&granted, &request).await;
        receiver.until_bytes(relay, 1).await;
        let counters = self.counters();
        let opened: Vec<&String> = counters.by_camera.keys().collect();
        let expected: Vec<&str> = lawful.iter().copied().chain(["temoin"]).collect();
        assert_eq!(opened, expected, "{counters:?}");
        let got = receiver.media();
        let relays: Vec<u32> = got.by_relay.keys().copied().collect();
        assert_eq!(relays, [relay], "{got:?}");
    }
}

/// The entries of this kind.
pub(crate) fn of_kind<'a>(
    journal: &'a [serde_json::Value],
    kind: &str,
) -> Vec<&'a serde_json::Value> {
    journal.iter().filter(|body| body["kind"] == kind).collect()
}
