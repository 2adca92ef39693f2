//! A real Prometheus, with the shipped settings, scrapes both daemons.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use fanal::certs::trial::Trial;
use fanal::clock::Clock;
use fanal::{config, gateway, receiver};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::support::site::{CENTRE, COMMUNE, GatewayFile, Place, ReceiverFile};

/// Nothing here takes this long unless it hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The shipped settings, scraping these addresses often.
pub(crate) fn prometheus(place: &Place, gateway: SocketAddr, receiver: SocketAddr) -> PathBuf {
    let deploy = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("deploy");
    std::fs::copy(deploy.join("alerts.yml"), place.path("alerts.yml")).unwrap();
    let text = std::fs::read_to_string(deploy.join("prometheus.yml")).unwrap();
    let text = text
        .replace("127.0.0.1:9998", &gateway.to_string())
        .replace("127.0.0.1:9999", &receiver.to_string())
        .replace("scrape_interval: 15s", "scrape_interval: 200ms");
    place.write("prometheus.yml", text)
}

/// Is in front of a daemon's metrics and counts the scrapes.
pub(crate) struct Counted {
    pub(crate) address: SocketAddr,
    scrapes: watch::Receiver<u32>,
    _tasks: JoinSet<()>,
}

impl Counted {
    pub(crate) async fn before(daemon: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (count, scrapes) = watch::channel(0);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut passing = JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.unwrap();
                passing.spawn(pass(client, daemon, count.clone()));
            }
        });
        Self {
            address,
            scrapes,
            _tasks: tasks,
        }
    }

    /// Two more scrapes have begun, so that the first of them is stored.
    pub(crate) async fn scraped(&mut self) {
        let enough = *self.scrapes.borrow() + 2;
        self.scrapes
            .wait_for(|count| *count >= enough)
            .await
            .unwrap();
    }
}

async fn pass(client: TcpStream, daemon: SocketAddr, count: watch::Sender<u32>) {
    let mut server = TcpStream::connect(daemon).await.unwrap();
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.split();
    let up = async {
        let mut request = vec![0; 8192];
        // A scrape's request is one small write.
        while let Ok(length @ 1..) = from_client.read(&mut request).await {
            if request.starts_with(b"GET /metrics ") {
                count.send_modify(|count| *count += 1);
            }
            if to_server.write_all(&request[..length]).await.is_err() {
                return;
            }
        }
    };
    let down = tokio::io::copy(&mut from_server, &mut to_client);
    tokio::select! { () = up => {}, _ = down => {} }
}

/// A running Prometheus and where it listens; `None` where it is not installed.
pub(crate) async fn start_prometheus(
    place: &Place,
    settings: PathBuf,
) -> Option<(Child, SocketAddr)> {
    let started = Command::new("prometheus")
        .arg(format!("--config.file={}", settings.display()))
        .arg(format!("--storage.tsdb.path={}", place.at("tsdb")))
        .arg("--web.listen-address=127.0.0.1:0")
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn();
    let mut child = match started {
        Ok(child) => child,
        Err(error) => {
            assert!(std::env::var_os("CI").is_none(), "prometheus: {error}");
            crate::tools::skipped(format_args!("prometheus not found"));
            return None;
        }
    };
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut said = Vec::new();
    while let Some(line) = log.next_line().await.unwrap() {
        let address = line.split("address=").nth(1);
        let address = address.and_then(|rest| rest.trim_matches('"').parse::<SocketAddr>().ok());
        if let Some(address) = address.filter(|address| address.port() != 0) {
            // It stops when nobody reads its log.
            tokio::spawn(async move { while let Ok(Some(_)) = log.next_line().await {} });
            return Some((child, address));
        }
        said.push(line);
    }
    panic!("prometheus ended:\n{}", said.join("\n"));
}

pub(crate) async fn query(prometheus: SocketAddr, what: &str) -> String {
    let query: String = url::form_urlencoded::byte_serialize(what.as_bytes()).collect();
    let answer = crate::metrics::get(prometheus, &format!("/api/v1/query?query={query}")).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    answer
}

async fn watch_both(place: &Place, gateway: SocketAddr, receiver: SocketAddr) {
    let mut gateway = Counted::before(gateway).await;
    let mut receiver = Counted::before(receiver).await;
    let settings = prometheus(place, gateway.address, receiver.address);
    let Some((_child, prometheus)) = start_prometheus(place, settings).await else {
        return;
    };
    loop {
        gateway.scraped().await;
        receiver.scraped().await;
        // Both are up and each says that the link to the other is up.
        let whole = "count(up{job=~\"fanal-.*\"} == 1) \
            + count(fanal_gateway_link_up{centre=\"corg-13\"} == 1) \
            + count(fanal_receiver_link_up{commune=\"berre-l-etang\"} == 1)";
        let answer = query(prometheus, whole).await;
        if answer.contains("\"4\"]") {
            break;
        }
    }
    let series = query(
        prometheus,
        "count({__name__=~\"fanal_(gateway|receiver)_.*\"}) > 80",
    )
    .await;
    assert!(series.contains("\"value\""), "{series}");
    let broken = query(prometheus, "{__name__=~\"fanal_.*_journal_intact\"} == 0").await;
    assert!(!broken.contains("\"value\""), "{broken}");
}

#[tokio::test]
async fn prometheus_scrapes_both_daemons() {
    let trial = Trial::new(Clock::system().now().wall).unwrap();
    let place = Place::of_trial(&trial, &[COMMUNE, CENTRE]);
    let file = place.write("receiver.toml", ReceiverFile::new().to_string());
    let loaded = config::load_receiver(&file).unwrap();
    let receiver = receiver::Receiver::bind(loaded, receiver::Options::default())
        .await
        .unwrap();
    let (link, receiver_metrics) = {
        let addresses = receiver.local_addrs();
        (addresses.link[0], addresses.metrics)
    };
    let mut file = GatewayFile::new(link);
    file.camera("quai", "rtsp://127.0.0.1/quai");
    let file = place.write("gateway.toml", file.to_string());
    let loaded = config::load_gateway(&file).unwrap();
    let gateway = gateway::Gateway::bind(loaded, gateway::Options::default())
        .await
        .unwrap();
    let gateway_metrics = gateway.local_addrs().metrics;
    let token = CancellationToken::new();
    let watching = async {
        let done = watch_both(&place, gateway_metrics, receiver_metrics);
        let done = tokio::time::timeout(PATIENCE, done).await;
        token.cancel();
        done.expect("Prometheus saw both daemons and their link in time");
    };
    let (gateway, receiver, ()) = tokio::join!(
        gateway.run(token.clone()),
        receiver.run(token.clone()),
        watching
    );
    gateway.unwrap();
    receiver.unwrap();
}
