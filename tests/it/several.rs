//! Several receivers of one centre, with real daemons: one is killed under its relays.
//!
//! `FANAL_RELAYS=50 cargo test --test it several -- --nocapture`: under more of them, on a machine that
//! has nothing else to do.

use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fanal::certs::trial::Trial;
use fanal::clock::Clock;
use fanal::commands::client::{Client, ReceiverArgs};
use fanal::config;
use fanal::format::ids::{GrantId, ProfileWish};
use fanal::format::statement::REQUEST_TYPE;
use fanal::gateway::{self, Gateway};
use fanal::metrics;
use fanal::reason::Reason;
use fanal::receiver::{self, Addresses, Receiver};
use fanal::simulate;
use hyper::Method;
use serde_json::{Value, json};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support::site::{COMMUNE, GatewayFile, Place, ReceiverFile};
use crate::waiting::within;
use crate::world::{CENTRE, Operator, Player, rtsp, until};

/// Cameras of one grant.
const OF_GRANT: usize = 5;

/// Cameras that are relayed: whole grants of them.
fn relays() -> usize {
    let wanted = std::env::var("FANAL_RELAYS").ok();
    let wanted = wanted.map_or(2 * OF_GRANT, |text| text.parse().unwrap());
    wanted.next_multiple_of(OF_GRANT)
}

/// A daemon in this process.
struct Daemon {
    token: CancellationToken,
    task: JoinHandle<Result<(), String>>,
}

impl Daemon {
    async fn stop(self) {
        self.token.cancel();
        within("the daemon's stop", self.task)
            .await
            .unwrap()
            .unwrap();
    }
}

/// A receiver of the centre: its name, its addresses, and how it runs.
struct Machine {
    name: &'static str,
    addresses: Addresses,
    metrics: Arc<metrics::Receiver>,
    daemon: Option<Daemon>,
    process: Option<Child>,
}

impl Machine {
    /// Runs it in this process, on ports of the system's choice, which its file names from then on.
    async fn start(place: &Place, trial: &Trial, name: &'static str) -> Self {
        place.identity(name, &trial.machine(CENTRE).unwrap());
        write(place, name, None);
        let (addresses, metrics, daemon) = run(place, name).await;
        write(place, name, Some(&addresses));
        Self {
            name,
            addresses,
            metrics,
            daemon: Some(daemon),
            process: None,
        }
    }

    async fn stop(&mut self) {
        if let Some(daemon) = self.daemon.take() {
            daemon.stop().await;
        }
        if let Some(mut process) = self.process.take() {
            let id = i32::try_from(process.id().unwrap()).unwrap();
            let id = rustix::process::Pid::from_raw(id).unwrap();
            rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
            let ended = within("the receiver's stop", process.wait()).await.unwrap();
            assert!(ended.success(), "{ended}");
        }
    }

    /// Starts it on its ports as a process, which can be killed.
    fn spawn(&mut self, place: &Place) {
        let process = Command::new(env!("CARGO_BIN_EXE_fanal"))
            .arg("receiver")
            .arg("--config")
            .arg(place.path(&format!("{}.toml", self.name)))
            .env_remove("RUST_LOG")
            .env_remove("CREDENTIALS_DIRECTORY")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn();
        self.process = Some(process.unwrap());
    }

    /// An operator at this receiver's console.
    async fn operator(&self, place: &Place, number: &str) -> Operator {
        let url = format!("http://{}", self.addresses.console);
        let (key, cert) = (
            place.path(&format!("{number}.key")),
            place.path(&format!("{number}.pem")),
        );
        let args = ReceiverArgs::new(url.parse().unwrap(), key, cert);
        // A process that was just started may not listen yet.
        let connected = async {
            loop {
                if let Ok(client) = Client::connect(&args).await {
                    return client;
                }
                tokio::task::yield_now().await;
            }
        };
        Operator {
            client: within("the receiver's console", connected).await,
        }
    }

    /// The URL of a grant's camera at another receiver, at this one.
    fn url(&self, url: &str) -> String {
        let mut url: url::Url = url.parse().unwrap();
        let here = self.addresses.rtsp.unwrap();
        url.set_ip_host(here.ip()).unwrap();
        url.set_port(Some(here.port())).unwrap();
        url.to_string()
    }
}

fn write(place: &Place, name: &str, before: Option<&Addresses>) {
    let mut file = ReceiverFile::new();
    file.top.text("state_dir", name);
    file.tls
        .text("certificate", format!("{name}.pem"))
        .text("key", format!("{name}.key"));
    if let Some(before) = before {
        file.listening(before.link[0], before.console, before.rtsp.unwrap());
    }
    place.write(&format!("{name}.toml"), file.to_string());
}

async fn run(place: &Place, name: &str) -> (Addresses, Arc<metrics::Receiver>, Daemon) {
    let loaded = config::load_receiver(&place.path(&format!("{name}.toml"))).unwrap();
    let receiver = Receiver::bind(loaded, receiver::Options::default())
        .await
        .unwrap();
    let (addresses, metrics) = (receiver.local_addrs().clone(), receiver.metrics());
    let token = CancellationToken::new();
    let run = receiver.run(token.clone());
    let task = tokio::spawn(async { run.await.map_err(|error| error.to_string()) });
    (addresses, metrics, Daemon { token, task })
}

async fn run_gateway(
    place: &Place,
    addresses: &[String],
    cameras: &[(String, String)],
) -> (Daemon, Arc<metrics::Gateway>) {
    let any: SocketAddr = "127.0.0.1:1".parse().unwrap();
    let mut file = GatewayFile::new(any);
    file.agreement()
        .set("addresses", json!(addresses))
        .set("max_relays", 300);
    for (id, url) in cameras {
        file.camera(id, url);
    }
    place.write("gateway.toml", file.to_string());
    let loaded = config::load_gateway(&place.path("gateway.toml")).unwrap();
    let gateway = Gateway::bind(loaded, gateway::Options::default()).await;
    let gateway = gateway.unwrap();
    let metrics = gateway.metrics();
    let token = CancellationToken::new();
    let run = gateway.run(token.clone());
    let task = tokio::spawn(async { run.await.map_err(|error| error.to_string()) });
    (Daemon { token, task }, metrics)
}

async fn simulated(count: usize) -> (Vec<(String, String)>, Daemon) {
    let mut options = simulate::Options::new(simulate::names(count));
    options.bitrate = 100_000;
    let server = simulate::Server::bind(options).await.unwrap();
    let cameras = server.urls();
    let token = CancellationToken::new();
    let run = server.run(token.clone());
    let task = tokio::spawn(async {
        run.await;
        Ok(())
    });
    (cameras, Daemon { token, task })
}

/// What must be the same at each receiver.
async fn shown(operator: &Operator) -> Value {
    let get = async |path: &str| operator.call(Method::GET, path).await.unwrap();
    let mut grants = get("/api/v1/grants").await;
    for grant in grants.as_array_mut().unwrap() {
        grant["seconds_left"].take();
        for camera in grant["granted"].as_array_mut().unwrap() {
            // Each names itself.
            let url: url::Url = camera["rtsp"].as_str().unwrap().parse().unwrap();
            camera["rtsp"] = json!([url.username(), url.password(), url.path()]);
            camera["live"].take();
        }
    }
    let mut all = json!([
        grants,
        get("/api/v1/cameras").await,
        get("/api/v1/communes").await
    ]);
    // Each link came at its own time, and measures for itself.
    blank(&mut all, &["since", "online_since", "clock_offset"]);
    all
}

/// Takes what these members say, wherever they are.
fn blank(value: &mut Value, members: &[&str]) {
    match value {
        Value::Array(all) => all.iter_mut().for_each(|one| blank(one, members)),
        Value::Object(object) => {
            for (name, one) in object {
                if members.contains(&name.as_str()) {
                    one.take();
                } else {
                    blank(one, members);
                }
            }
        }
        _ => {}
    }
}

async fn same_at_both(one: &Operator, other: &Operator, what: &str) -> Value {
    let same = async {
        loop {
            let (here, there) = (shown(one).await, shown(other).await);
            if here == there {
                return here;
            }
            tokio::task::yield_now().await;
        }
    };
    within(what, same).await
}

#[tokio::test]
async fn one_of_two_is_killed_and_all_its_relays_are_back_under_the_same_grants() {
    let relays = relays();
    let now = Clock::system().now().wall;
    let trial = Trial::new(now).unwrap();
    let place = Place::of_trial(&trial, &[COMMUNE]);
    let identity = trial.simple_operator("13-1", "CORG 13", now).unwrap();
    place.identity("13-1", &identity);
    let (cameras, simulator) = simulated(relays).await;
    let mut first = Machine::start(&place, &trial, "first").await;
    let mut second = Machine::start(&place, &trial, "second").await;
    first.stop().await;
    first.spawn(&place);
    let addresses = [&first, &second].map(|one| one.addresses.link[0].to_string());
    let (gateway, metrics) = run_gateway(&place, &addresses, &cameras).await;
    let linked = || metrics.receivers_linked.with_label_values(&[CENTRE]).get();
    until("both receivers are linked", || linked() == 2).await;
    let up = metrics.link_up.with_label_values(&[CENTRE]);
    assert_eq!(up.get(), 1);

    // All relays go through the first.
    let at_first = first.operator(&place, "13-1").await;
    let at_second = second.operator(&place, "13-1").await;
    let mut grants = Vec::new();
    let mut requests = Vec::new();
    for cameras in cameras.chunks(OF_GRANT) {
        let ids: Vec<&str> = cameras.iter().map(|(id, _)| id.as_str()).collect();
        let mut claims = at_first.claims(&ids, 600);
        claims.grounds = "assault".to_owned();
        claims.profile = ProfileWish::Main;
        let request = at_first.client.sign(REQUEST_TYPE, &claims);
        let answer = at_first.client.post_request(request.clone()).await.unwrap();
        grants.push(answer.json);
        requests.push(request);
    }
    let id = cameras[0].0.clone();
    let url = rtsp(&grants[0], &id);
    let mut player = Player::start(url.clone());
    player.pictures(10).await;
    let all_live = |shown: &Value| {
        let grants = shown[0].as_array().unwrap();
        let cameras = grants
            .iter()
            .flat_map(|grant| grant["granted"].as_array().unwrap());
        cameras.filter(|camera| camera["state"] == "live").count() == relays
    };
    let live = async {
        while !all_live(&shown(&at_first).await) {
            tokio::task::yield_now().await;
        }
    };
    within("all relays", live).await;
    let before = same_at_both(&at_first, &at_second, "both show the same").await;
    // A request that was used at one is used at the other.
    let replayed = at_second.client.post_request(requests[0].clone()).await;
    let replayed = replayed.unwrap_err().to_string();
    assert!(
        replayed.contains(Reason::ReplayedRequest.code()),
        "{replayed}"
    );
    // Its pictures are at the first.
    let refused = Player::start(second.url(&url)).refused().await;
    assert!(refused.contains("503"), "{refused}");

    // It is killed.
    let mut process = first.process.take().unwrap();
    process.kill().await.unwrap();
    let killed = Instant::now();
    let received = &second.metrics.frames_total;
    until("all pictures come through the second", || {
        cameras
            .iter()
            .all(|(id, _)| received.with_label_values(&[COMMUNE, id]).get() > 0)
    })
    .await;
    let took = killed.elapsed();
    eprintln!("{relays} relays are back after {:.2} s", took.as_secs_f64());
    // Under the same grants, URLs and passwords.
    let mut player = Player::start(second.url(&url));
    player.pictures(10).await;
    let live = async {
        loop {
            let shown = shown(&at_second).await;
            if all_live(&shown) {
                return shown;
            }
            tokio::task::yield_now().await;
        }
    };
    let after = within("all relays at the second", live).await;
    let of = |shown: &Value| {
        let grants = shown[0].as_array().unwrap();
        let urls = grants.iter().map(|grant| {
            let cameras = grant["granted"].as_array().unwrap();
            let urls: Vec<Value> = cameras
                .iter()
                .map(|camera| camera["rtsp"].clone())
                .collect();
            (grant["grant"].clone(), urls)
        });
        urls.collect::<Vec<_>>()
    };
    assert_eq!(of(&after), of(&before));
    let moved = place.entries("gateway", "moved");
    assert_eq!(moved.len(), relays / OF_GRANT);
    assert_eq!(place.entries("second", "grant").len(), relays / OF_GRANT);
    assert_eq!(up.get(), 1, "up while any is");
    let closed = &metrics.relays_closed_total;
    let closed = closed.with_label_values(&[Reason::OtherReceiver.code()]);
    assert_eq!(closed.get(), relays as u64);

    // It comes back, and shows the same; what works stays where it is.
    first.spawn(&place);
    until("both receivers are linked again", || linked() == 2).await;
    let at_first = first.operator(&place, "13-1").await;
    same_at_both(&at_first, &at_second, "both show the same again").await;
    let refused = Player::start(url).refused().await;
    assert!(refused.contains("503"), "{refused}");
    let seen = player.seen.borrow().pictures;
    player.pictures(seen + 10).await;

    // Given back at either, accounted for by both.
    for (grant, operator) in grants
        .iter()
        .zip([&at_first, &at_second].into_iter().cycle())
    {
        let id: GrantId = grant["grant"].as_str().unwrap().parse().unwrap();
        let path = format!("/api/v1/grants/{id}");
        operator.call(Method::DELETE, &path).await.unwrap();
    }
    until("both have told who watched", || {
        place.entries("first", "viewings_taken").len() == relays / OF_GRANT
            && place.entries("second", "viewings_taken").len() == relays / OF_GRANT
    })
    .await;
    gateway.stop().await;
    first.stop().await;
    second.stop().await;
    simulator.stop().await;
    let compared = Command::new(env!("CARGO_BIN_EXE_fanal"))
        .args(["journal", "compare"])
        .args(["gateway", "first", "second"].map(|state| place.path(state).join("journal")))
        .output();
    let compared = within("fanal journal compare", compared).await.unwrap();
    let text = String::from_utf8_lossy(&compared.stdout);
    assert!(compared.status.success(), "{text}");
    for state in ["gateway", "first", "second"] {
        let verified = Command::new(env!("CARGO_BIN_EXE_fanal"))
            .args(["journal", "verify"])
            .arg(place.path(state).join("journal"))
            .output();
        let verified = within("fanal journal verify", verified).await.unwrap();
        assert!(verified.status.success(), "{state}: {verified:?}");
    }
    assert_eq!(metrics.ungranted_bytes_total.get(), 0);
    assert!(took < Duration::from_secs(20), "{took:?}");
}

#[tokio::test]
async fn two_addresses_of_one_receiver_give_one_link() {
    let now = Clock::system().now().wall;
    let trial = Trial::new(now).unwrap();
    let place = Place::of_trial(&trial, &[COMMUNE]);
    let identity = trial.simple_operator("13-1", "CORG 13", now).unwrap();
    place.identity("13-1", &identity);
    let (cameras, simulator) = simulated(1).await;
    let mut machine = Machine::start(&place, &trial, "first").await;
    let port = machine.addresses.link[0].port();
    let addresses = [format!("127.0.0.1:{port}"), format!("localhost:{port}")];
    let (gateway, metrics) = run_gateway(&place, &addresses, &cameras).await;
    let linked = metrics.receivers_linked.with_label_values(&[CENTRE]);
    until("the receiver is linked", || linked.get() == 1).await;
    let operator = machine.operator(&place, "13-1").await;
    let id = cameras[0].0.clone();
    let mut claims = operator.claims(&[&id], 600);
    claims.grounds = "assault".to_owned();
    let grant = operator.ask(&claims).await.unwrap();
    let mut player = Player::start(rtsp(&grant, &id));
    player.pictures(50).await;
    assert_eq!(linked.get(), 1, "no second link took the first one's place");
    // Either of them finds it again.
    machine.stop().await;
    until("the link is lost", || linked.get() == 0).await;
    let (_, _, daemon) = run(&place, "first").await;
    machine.daemon = Some(daemon);
    until("the link is back", || linked.get() == 1).await;
    let mut player = Player::start(rtsp(&grant, &id));
    player.pictures(10).await;
    assert_eq!(place.entries("gateway", "moved").len(), 0);
    assert_eq!(linked.get(), 1);
    gateway.stop().await;
    machine.stop().await;
    simulator.stop().await;
}
