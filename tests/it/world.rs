//! A whole small world in one process: simulated cameras, a gateway and a
//! receiver on real sockets, operators with keys. Ports are the system's choice;
//! waits are for events, bounded by [`PATIENCE`].

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fanal::certs::Validity;
use fanal::certs::authority;
use fanal::certs::trial::Trial;
use fanal::clock::Clock;
use fanal::commands::client::{Client, ReceiverArgs, Refused};
use fanal::config;
use fanal::demo::player::{self, Seen};
use fanal::format::ids::Incident;
use fanal::format::statement::RequestClaims;
use fanal::gateway::{self, Gateway};
use fanal::journal::looks::LOOK_EVERY;
use fanal::link::dial::Pace;
use fanal::metrics;
use fanal::reason::Reason;
use fanal::receiver::control::Control;
use fanal::receiver::viewing::Waits;
use fanal::receiver::{self, Addresses, Receiver};
use fanal::simulate;
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::support::site::{self, GatewayFile, Place, ReceiverFile};
pub(crate) use crate::support::site::{CENTRE, COMMUNE};
pub use crate::waiting::PATIENCE;
use crate::wire::Wire;

/// Of a VMS account with `password_file = "vms.txt"`.
pub const VMS_PASSWORD: &str = "wall";

/// What a world is like; start from [`Plan::default`].
pub struct Plan {
    /// Simulated cameras: `cam-001` and so on.
    pub cameras: usize,
    /// Their codec, gop, start.
    pub options: fn(&mut simulate::Options),
    /// Text for each `[[camera]]` table.
    pub camera: String,
    /// The agreement's grounds.
    pub grounds: &'static str,
    /// More keys of `[[agreement]]`.
    pub agreement: String,
    /// More of gateway.toml, at its end.
    pub gateway: String,
    /// More of receiver.toml, at its end.
    pub receiver: String,
    /// Whether the link goes through a [`Wire`] that can be cut.
    pub through_wire: bool,
    /// Whether that wire is shut to UDP at first; the gateway then waits for no
    /// answer before it tries TCP, and tries QUIC again soon.
    pub udp_shut: bool,
    /// The gateway's clock.
    pub gateway_clock: Clock,
    /// The receiver's clock.
    pub receiver_clock: Clock,
    /// How long players wait, and how old pictures may be.
    pub waits: Waits,
    /// Whether operators sign in at the page by its address, as at the demo's.
    pub demo_page: bool,
    /// How often both look at their journals.
    pub look_every: Duration,
    /// Whose journals both daemons accept as they are when they start.
    pub accepts: BTreeMap<String, String>,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            cameras: 2,
            options: |_| (),
            camera: "close_after = \"200ms\"\n".to_owned(),
            grounds: r#"["burglary", "pursuit"]"#,
            agreement: String::new(),
            gateway: String::new(),
            receiver: String::new(),
            through_wire: false,
            udp_shut: false,
            gateway_clock: Clock::system(),
            receiver_clock: Clock::system(),
            waits: Waits::default(),
            demo_page: true,
            look_every: LOOK_EVERY,
            accepts: BTreeMap::new(),
        }
    }
}

struct Daemon {
    token: CancellationToken,
    task: JoinHandle<Result<(), String>>,
}

impl Daemon {
    async fn stop(self) {
        self.token.cancel();
        let ended = tokio::time::timeout(PATIENCE, self.task).await;
        ended.expect("the daemon stops in time").unwrap().unwrap();
    }
}

/// The running world. Daemons can be stopped and started again.
pub struct World {
    pub directory: Place,
    pub trial: Trial,
    plan: Plan,
    pub counters: watch::Receiver<simulate::Counters>,
    gateway: Option<Daemon>,
    receiver: Option<Daemon>,
    pub gateway_metrics: Arc<metrics::Gateway>,
    /// Where the gateway's `/ready` is.
    pub gateway_page: SocketAddr,
    /// Where the commune's page is, if the plan sets one.
    pub commune_page: Option<SocketAddr>,
    /// Who signs for those at the commune's page: `page-ca.pem`.
    pub agents: authority::Authority,
    pub receiver_metrics: Arc<metrics::Receiver>,
    control: Control,
    pub addresses: Addresses,
    pub wire: Option<Wire>,
    gateway_handle: gateway::Handle,
    /// Where the gateway dials to.
    link: SocketAddr,
    /// Name, main and sub of each.
    cameras: Vec<(String, String, Option<String>)>,
    simulator: simulate::Options,
    simulator_token: CancellationToken,
    tasks: JoinSet<()>,
}

impl World {
    /// Starts everything and waits for the link.
    pub async fn start(plan: Plan) -> Self {
        let now = Clock::system().now().wall;
        let trial = Trial::new(now).unwrap();
        let directory = Place::of_trial(&trial, &[COMMUNE, CENTRE]);
        let validity = Validity::lasting(now, Duration::from_secs(86_400));
        let agents = authority::Authority::make(authority::Kind::Designation, validity).unwrap();
        directory.write("page-ca.pem", agents.certificate());
        directory.write("vms.txt", VMS_PASSWORD);
        let mut options = simulate::Options::new(simulate::names(plan.cameras));
        (plan.options)(&mut options);
        let server = simulate::Server::bind(options.clone()).await.unwrap();
        let counters = server.counters();
        let mut subs = server.sub_urls().into_iter();
        let cameras: Vec<(String, String, Option<String>)> = server
            .urls()
            .into_iter()
            .map(|(name, main)| (name, main, subs.next().map(|(_, sub)| sub)))
            .collect();
        // The same address after a restart.
        options.listen = server.local_addr();
        let simulator_token = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(server.run(simulator_token.clone()));

        write_receiver(&directory, &plan, None);
        let (receiver, addresses, receiver_metrics, control) =
            run_receiver(&directory, &plan).await;
        // The same addresses after a restart.
        write_receiver(&directory, &plan, Some(&addresses));
        let mut wire = None;
        if plan.through_wire {
            let made = Wire::to(addresses.link[0]).await;
            made.let_udp(!plan.udp_shut);
            wire = Some(made);
        }
        let link = wire.as_ref().map_or(addresses.link[0], |wire| wire.address);
        write_gateway(&directory, &plan, link, &cameras);
        let running = run_gateway(&directory, &plan).await;
        let world = Self {
            directory,
            trial,
            plan,
            counters,
            gateway: Some(running.daemon),
            agents,
            commune_page: running.commune_page,
            receiver: Some(receiver),
            gateway_metrics: running.metrics,
            gateway_page: running.page,
            receiver_metrics,
            control,
            addresses,
            wire,
            gateway_handle: running.handle,
            link,
            cameras,
            simulator: options,
            simulator_token,
            tasks,
        };
        world.linked().await;
        world
    }

    /// Waits until both sides say that the link is up.
    pub async fn linked(&self) {
        let there = self.receiver_metrics.link_up.with_label_values(&[COMMUNE]);
        let here = self.gateway_metrics.link_up.with_label_values(&[CENTRE]);
        until("the link is up", || there.get() == 1 && here.get() == 1).await;
    }

    /// All cameras go away.
    pub async fn stop_cameras(&mut self) {
        self.simulator_token.cancel();
        while self.tasks.join_next().await.is_some() {}
    }

    /// They come back, at the same address.
    pub async fn start_cameras(&mut self) {
        let server = simulate::Server::bind(self.simulator.clone())
            .await
            .unwrap();
        self.counters = server.counters();
        self.simulator_token = CancellationToken::new();
        self.tasks.spawn(server.run(self.simulator_token.clone()));
    }

    /// The journal of this machine is accepted as it is at the daemons' next starts.
    pub fn accepts(&mut self, id: &str) {
        let by = "uid 0".to_owned();
        self.plan.accepts = BTreeMap::from([(id.to_owned(), by)]);
    }

    pub async fn stop_gateway(&mut self) {
        self.gateway.take().unwrap().stop().await;
    }

    pub async fn start_gateway(&mut self) {
        let running = run_gateway(&self.directory, &self.plan).await;
        (self.gateway, self.gateway_metrics) = (Some(running.daemon), running.metrics);
        self.gateway_handle = running.handle;
        self.gateway_page = running.page;
        self.commune_page = running.commune_page;
    }

    /// Writes this at the end of gateway.toml instead of what stood there, and reloads.
    pub async fn reload_gateway(&mut self, more: &str) {
        self.plan.gateway = more.to_owned();
        write_gateway(&self.directory, &self.plan, self.link, &self.cameras);
        self.gateway_handle.reload().await.unwrap();
    }

    /// Writes this at the end of receiver.toml instead of what stood there, and reloads.
    pub async fn reload_receiver(&mut self, more: &str) {
        self.plan.receiver = more.to_owned();
        write_receiver(&self.directory, &self.plan, Some(&self.addresses));
        let loaded = config::load_receiver(&self.directory.path("receiver.toml")).unwrap();
        self.control.reload(loaded).await.unwrap();
    }

    pub async fn stop_receiver(&mut self) {
        self.receiver.take().unwrap().stop().await;
    }

    pub async fn start_receiver(&mut self) {
        let (daemon, addresses, metrics, control) = run_receiver(&self.directory, &self.plan).await;
        assert_eq!(addresses.console, self.addresses.console);
        self.control = control;
        (self.receiver, self.receiver_metrics) = (Some(daemon), metrics);
    }

    /// Stops both daemons in order: they must say that all went well.
    pub async fn stop(mut self) {
        if self.gateway.is_some() {
            self.stop_gateway().await;
        }
        if self.receiver.is_some() {
            self.stop_receiver().await;
        }
    }

    /// An operator of unit CORG 13 with this service number.
    pub async fn operator(&self, number: &str) -> Operator {
        self.operator_of(number, "CORG 13").await
    }

    /// An operator of this unit.
    pub async fn operator_of(&self, number: &str, unit: &str) -> Operator {
        let now = Clock::system().now().wall;
        let identity = self.trial.simple_operator(number, unit, now).unwrap();
        self.directory.identity(number, &identity);
        let (key, cert) = (
            self.directory.path(&format!("{number}.key")),
            self.directory.path(&format!("{number}.pem")),
        );
        let args = ReceiverArgs::new(
            format!("http://{}", self.addresses.console)
                .parse()
                .unwrap(),
            key,
            cert,
        );
        Operator {
            client: Client::connect(&args).await.unwrap(),
        }
    }

    /// Entries of this kind.
    pub fn entries(&self, daemon: &str, kind: &str) -> Vec<Value> {
        self.directory.entries(daemon, kind)
    }
}

/// Somebody with a key.
pub struct Operator {
    pub client: Client,
}

impl Operator {
    /// A good request's claims.
    pub fn claims(&self, cameras: &[&str], seconds: u32) -> RequestClaims {
        RequestClaims {
            grounds: "burglary".to_owned(),
            incident: Incident::new("2026/4711").unwrap(),
            duration: seconds,
            ..site::claims(self.client.now(), cameras)
        }
    }

    /// Sends it; the grant as JSON.
    pub async fn ask(&self, claims: &RequestClaims) -> Result<Value, Refused> {
        let text = self
            .client
            .sign(fanal::format::statement::REQUEST_TYPE, claims);
        match self.client.post_request(text).await {
            Ok(answer) => Ok(answer.json),
            Err(error) => Err(error.downcast::<Refused>().unwrap()),
        }
    }

    /// A grant for these cameras, for ten minutes.
    pub async fn granted(&self, cameras: &[&str]) -> Value {
        let grant = self.ask(&self.claims(cameras, 600)).await.unwrap();
        assert_eq!(
            grant["granted"].as_array().unwrap().len(),
            cameras.len(),
            "{grant}"
        );
        grant
    }

    /// The reason of a refusal.
    pub async fn refused(&self, claims: &RequestClaims) -> Reason {
        self.ask(claims)
            .await
            .expect_err("this must be refused")
            .reason
    }

    pub async fn call(&self, method: hyper::Method, path: &str) -> Result<Value, Refused> {
        match self.client.call(method, path).await {
            Ok(answer) => Ok(answer.json),
            Err(error) => Err(error.downcast::<Refused>().unwrap()),
        }
    }
}

/// The RTSP URL of a grant's camera.
pub fn rtsp(grant: &Value, camera: &str) -> String {
    let granted = grant["granted"].as_array().unwrap();
    let found = granted.iter().find(|granted| granted["camera"] == camera);
    found.unwrap()["rtsp"].as_str().unwrap().to_owned()
}

/// A player of an RTSP URL.
pub struct Player {
    pub seen: watch::Receiver<Seen>,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Player {
    pub fn start(url: String) -> Self {
        let (sender, seen) = watch::channel(Seen::default());
        let task = tokio::spawn(async move { player::play(&url, &sender).await });
        Self { seen, task }
    }

    /// Waits until it has seen this many pictures.
    pub async fn pictures(&mut self, count: u64) -> Seen {
        let wait = self.seen.wait_for(|seen| seen.pictures >= count);
        let seen = tokio::time::timeout(PATIENCE, wait).await;
        let seen = seen.map(|seen| seen.map(|seen| *seen));
        match seen {
            Ok(Ok(seen)) => return seen,
            Err(_) => panic!("no {count} pictures, only {:?}", *self.seen.borrow()),
            Ok(Err(_)) => {}
        }
        let ended = (&mut self.task).await.unwrap();
        panic!(
            "the player ended: {ended:?} after {:?}",
            *self.seen.borrow()
        )
    }

    /// Waits until it was refused; how.
    pub async fn refused(self) -> String {
        let ended = tokio::time::timeout(PATIENCE, self.task).await;
        let refused = ended.expect("the player ends").unwrap();
        format!("{:#}", refused.expect_err("this must be refused"))
    }

    /// Waits until it has ended; how long that took.
    pub async fn ended(self) -> Duration {
        let from = Instant::now();
        let ended = tokio::time::timeout(PATIENCE, self.task).await;
        let _ = ended.expect("the player ends").unwrap();
        from.elapsed()
    }
}

/// Waits until the condition holds.
pub async fn until(what: &str, condition: impl FnMut() -> bool) {
    fanal::demo::wait_until(what, PATIENCE, condition)
        .await
        .unwrap();
}

/// receiver.toml; on these ports of a receiver that has run before.
fn write_receiver(place: &Place, plan: &Plan, before: Option<&Addresses>) {
    let mut file = ReceiverFile::new();
    if let Some(before) = before {
        file.listening(before.link[0], before.console, before.rtsp.unwrap());
    }
    file.operators.text("revoked", "designation.crl.pem");
    file.more = plan.receiver.clone();
    place.write("receiver.toml", file.to_string());
}

fn write_gateway(
    place: &Place,
    plan: &Plan,
    link: SocketAddr,
    cameras: &[(String, String, Option<String>)],
) {
    let mut file = GatewayFile::new(link);
    file.agreement()
        .text("reference", "Convention d'essai")
        .set("units", r#"["CORG 13"]"#)
        .set("grounds", plan.grounds)
        .set("max_relays", 300)
        .lines(&plan.agreement);
    for (id, url, sub) in cameras {
        let camera = file.camera(id, url);
        if let Some(sub) = sub {
            camera.text("sub", sub);
        }
        camera.lines(&plan.camera);
    }
    file.more = plan.gateway.clone();
    place.write("gateway.toml", file.to_string());
}

async fn run_receiver(
    directory: &Place,
    plan: &Plan,
) -> (Daemon, Addresses, Arc<metrics::Receiver>, Control) {
    let loaded = config::load_receiver(&directory.path("receiver.toml")).unwrap();
    let options = receiver::Options {
        clock: plan.receiver_clock.clone(),
        accept_clock: None,
        accept_journals: plan.accepts.clone(),
        waits: plan.waits,
        demo_page: plan.demo_page,
        look_every: plan.look_every,
    };
    let receiver = Receiver::bind(loaded, options).await.unwrap();
    let (addresses, metrics) = (receiver.local_addrs().clone(), receiver.metrics());
    let control = receiver.control();
    let token = CancellationToken::new();
    let run = receiver.run(token.clone());
    let task = tokio::spawn(async { run.await.map_err(|error| error.to_string()) });
    (Daemon { token, task }, addresses, metrics, control)
}

struct RunningGateway {
    daemon: Daemon,
    metrics: Arc<metrics::Gateway>,
    handle: gateway::Handle,
    page: SocketAddr,
    commune_page: Option<SocketAddr>,
}

async fn run_gateway(directory: &Place, plan: &Plan) -> RunningGateway {
    let loaded = config::load_gateway(&directory.path("gateway.toml")).unwrap();
    let mut options = gateway::Options {
        clock: plan.gateway_clock.clone(),
        accept_journals: plan.accepts.clone(),
        demo_page: plan.demo_page,
        look_every: plan.look_every,
        ..gateway::Options::default()
    };
    if plan.udp_shut {
        options.link_pace = Pace {
            tcp_after: Duration::ZERO,
            quic_again: Duration::from_millis(200),
            ..Pace::default()
        };
    }
    let gateway = Gateway::bind(loaded, options).await.unwrap();
    let (metrics, handle) = (gateway.metrics(), gateway.handle());
    let (page, commune_page) = (gateway.local_addrs().metrics, gateway.local_addrs().page);
    let token = CancellationToken::new();
    let run = gateway.run(token.clone());
    let task = tokio::spawn(async { run.await.map_err(|error| error.to_string()) });
    RunningGateway {
        daemon: Daemon { token, task },
        metrics,
        handle,
        page,
        commune_page,
    }
}
