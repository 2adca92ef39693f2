//! A real gateway between simulated cameras and receivers that are not to be
//! trusted: they have the centre's own link key and do with it what they like.
//!
//! Gateways and operators live by a clock that the test moves; the network and
//! the cameras live by the system's.

mod operator;
mod receiver;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use fanal::certs::trial::Trial;
use fanal::clock::{Clock, ManualClock, Wall};
use fanal::config;
use fanal::format::ids::{CameraId, CentreId, CommuneId, Incident, ProfileWish};
use fanal::format::statement::RequestClaims;
use fanal::gateway::{self, Gateway, socket};
use fanal::journal::verify;
use fanal::metrics;
use fanal::simulate::{self, Counters};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(crate) use operator::{Operator, altered, claims_of, fresh_id, parts, unsigned};
pub(crate) use receiver::{Answer, Receiver};

pub(crate) const COMMUNE: &str = "berre-l-etang";
/// 2026-11-18T10:26:40Z.
pub(crate) const START: Wall = Wall::from_seconds(1_794_997_600);
/// Nothing here takes this long unless it hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// Cameras that the simulator has.
pub(crate) const CAMERAS: [&str; 5] = ["quai-nord", "quai-sud", "mairie", "plage", "temoin"];

/// Waits for what must come; a hang is a failure.
pub(crate) async fn within<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_) => panic!("{what}: not within {} s", PATIENCE.as_secs()),
    }
}

/// Certificates, settings, cameras and the gateway of one test.
pub(crate) struct Stage {
    /// The link's authority, and that of the operators of corg-13.
    pub(crate) trial: Trial,
    /// The operators' authority of corg-84.
    pub(crate) other: Trial,
    pub(crate) hand: ManualClock,
    pub(crate) clock: Clock,
    directory: PathBuf,
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
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

impl Stage {
    pub(crate) async fn new() -> Self {
        Self::at(START).await
    }

    /// Everything but the gateway, at this time.
    pub(crate) async fn at(start: Wall) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "fanal-malice-{}-{}",
            std::process::id(),
            NUMBER.fetch_add(1, Ordering::Relaxed)
        );
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir_all(directory.join("state")).unwrap();
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
        let stage = Self {
            trial: Trial::new(start).unwrap(),
            other: Trial::new(start).unwrap(),
            hand,
            clock,
            directory,
            cameras,
            counters,
            cameras_task,
            running: None,
        };
        stage.write("link-ca.pem", stage.trial.link_authority());
        stage.write("operators-13.pem", stage.trial.designation_authority());
        stage.write("operators-13.crl.pem", stage.trial.designation_list());
        stage.write("operators-84.pem", stage.other.designation_authority());
        for id in [COMMUNE, "corg-13", "corg-84"] {
            let identity = stage.trial.machine(id).unwrap();
            stage.write(&format!("{id}.pem"), &identity.certificate);
            stage.write(&format!("{id}.key"), identity.key.expose());
        }
        stage
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        use std::os::unix::fs::PermissionsExt;
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// A receiver with the link key of this centre.
    pub(crate) fn receiver(&self, id: &str) -> Receiver {
        Receiver::listen(self, id)
    }

    /// The agreement with corg-13, as most tests want it.
    pub(crate) fn agreement(&self, receiver: &Receiver) -> String {
        format!(
            r#"
[[agreement]]
reference = "Convention 13"
centre = "corg-13"
addresses = ["{}"]
from = 2025-02-13
until = 2030-02-12
designation_authority = "operators-13.pem"
revoked = "operators-13.crl.pem"
units = ["CORG 13"]
cameras = ["*"]
except = ["ecole-*"]
grounds = ["burglary", "assault"]
max_duration = "1h"
max_total = "2h"
max_relays = 3
max_designation = "31d"
"#,
            receiver.address()
        )
    }

    /// The agreement with corg-84: another authority, and some cameras.
    pub(crate) fn other_agreement(&self, receiver: &Receiver) -> String {
        format!(
            r#"
[[agreement]]
reference = "Convention 84"
centre = "corg-84"
addresses = ["{}"]
from = 2025-02-13
until = 2030-02-12
designation_authority = "operators-84.pem"
cameras = ["plage", "temoin", "mairie"]
grounds = ["fire"]
"#,
            receiver.address()
        )
    }

    /// Writes `gateway.toml` with these agreements.
    pub(crate) fn write_settings(&self, agreements: &str) {
        let directory = self.directory.display();
        let mut text = format!(
            r#"
commune = "{COMMUNE}"
name = "Berre-l'Étang"
state_dir = "{directory}/state"
metrics = "127.0.0.1:0"
socket = "{directory}/gateway.sock"
[tls]
certificate = "{COMMUNE}.pem"
key = "{COMMUNE}.key"
authority = "link-ca.pem"
{agreements}
"#
        );
        let camera = |id: &str, url: String, mask: bool| {
            format!(
                r#"
[[camera]]
id = "{id}"
name = "Caméra {id}"
main = "{url}"
mask_verified = {mask}
close_after = "100ms"
"#
            )
        };
        let cameras = self.cameras;
        for id in CAMERAS {
            text += &camera(id, format!("rtsp://{cameras}/{id}"), true);
        }
        text += &camera("ecole-a", format!("rtsp://{cameras}/temoin"), true);
        text += &camera("piscine", format!("rtsp://{cameras}/temoin"), false);
        text += &camera("cassee", "http://10.0.0.1/".to_owned(), true);
        text += &camera("perdue", format!("rtsp://{cameras}/nowhere"), true);
        self.write("gateway.toml", &text);
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
            directory: self.path("state/journal"),
            ..verify::Options::default()
        })
        .unwrap();
        assert!(report.is_intact(), "{:?}", report.findings);
        self.journal()
    }

    /// The bodies that stand in the journal, oldest first.
    pub(crate) fn journal(&self) -> Vec<serde_json::Value> {
        let mut files: Vec<PathBuf> = std::fs::read_dir(self.path("state/journal"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.is_file())
            .collect();
        files.sort();
        files.iter().flat_map(|file| bodies(file)).collect()
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
            jti: fresh_id(),
            iat: self.clock.now().wall.seconds(),
            aud: CommuneId::new(COMMUNE).unwrap(),
            centre: CentreId::new("corg-13").unwrap(),
            cameras: cameras
                .iter()
                .map(|camera| CameraId::new(*camera).unwrap())
                .collect(),
            grounds: "burglary".to_owned(),
            incident: Incident::new("2026/11-42").unwrap(),
            duration: 600,
            profile: ProfileWish::Auto,
            present: vec!["Capitaine Roux".to_owned()],
            renews: None,
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

fn bodies(file: &Path) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(file).unwrap();
    // The last line may be on its way.
    let whole = text.rfind('\n').map_or(0, |at| at + 1);
    text[..whole]
        .lines()
        .map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            line["body"].clone()
        })
        .collect()
}

/// The entries of this kind.
pub(crate) fn of_kind<'a>(
    journal: &'a [serde_json::Value],
    kind: &str,
) -> Vec<&'a serde_json::Value> {
    journal.iter().filter(|body| body["kind"] == kind).collect()
}
