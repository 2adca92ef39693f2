//! Copies of the journal on a real NATS JetStream: nothing is missing, twice or out of order.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, Message};
use base64::Engine as _;
use fanal::background::Background;
use fanal::certs::trial::Trial;
use fanal::clock::Clock;
use fanal::config::settings;
use fanal::copies::{self, Handle};
use fanal::format::jws::Signer;
use fanal::journal::entry::Entry;
use fanal::journal::writer::{Options, Writer};
use fanal::metrics;
use fanal::metrics::health::Checks;
use fanal::secret::Secret;
use futures_util::StreamExt;
use hyper::Method;
use serde_json::{Value, json};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

use crate::support::site::{CENTRE, Place};
use crate::tools::{have, run};
use crate::waiting::within;
use crate::world::{Plan, World, until};

const STREAM: &str = "FANAL";

/// Servers of one cluster, each with its directory.
struct Cluster {
    place: Place,
    /// Where clients come in, and where the other servers do.
    ports: Vec<(u16, u16)>,
    /// More of each server's configuration.
    more: String,
    running: Vec<Option<Child>>,
    /// Who signed the servers' certificates.
    authority: Option<PathBuf>,
}

impl Cluster {
    async fn start(servers: usize, more: &str) -> Self {
        // All are held at once, so that they differ.
        let held: Vec<TcpListener> = (0..2 * servers)
            .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
            .collect();
        let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
        let ports = held.chunks(2).map(|two| (port(&two[0]), port(&two[1])));
        let mut cluster = Self {
            place: Place::new(),
            ports: ports.collect(),
            more: more.to_owned(),
            running: (0..servers).map(|_| None).collect(),
            authority: None,
        };
        drop(held);
        for at in 0..servers {
            cluster.run(at);
        }
        cluster.answers().await;
        cluster
    }

    fn run(&mut self, at: usize) {
        let (port, route) = self.ports[at];
        let routes = self.ports.iter().enumerate();
        let routes: Vec<String> = routes
            .filter(|(other, _)| *other != at)
            .map(|(_, (_, route))| format!("\"nats-route://127.0.0.1:{route}\""))
            .collect();
        let cluster = match routes.len() {
            0 => String::new(),
            _ => format!(
                "cluster {{ name: fanal, listen: \"127.0.0.1:{route}\", routes: [{}] }}",
                routes.join(", ")
            ),
        };
        let store = self.place.path(&format!("store-{at}"));
        let text = format!(
            "listen: \"127.0.0.1:{port}\"\nserver_name: n{at}\nmax_payload: 2MB\n\
             jetstream {{ store_dir: \"{}\" }}\n{cluster}\n{}",
            store.display(),
            self.more
        );
        let file = self.place.write(&format!("n{at}.conf"), text);
        let child = Command::new("nats-server")
            .args(["-c", file.to_str().unwrap()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn();
        self.running[at] = Some(child.unwrap());
    }

    /// Killed, as by the power.
    async fn kill(&mut self, at: usize) {
        let mut child = self.running[at].take().unwrap();
        within("the server's end", child.kill()).await.unwrap();
    }

    /// A client of a server that runs.
    async fn client(&self) -> Client {
        let at = self.running.iter().position(Option::is_some).unwrap();
        let address = format!("localhost:{}", self.ports[at].0);
        let options = || {
            let options = async_nats::ConnectOptions::new();
            let options = options.user_and_password("admin".into(), "a".into());
            match &self.authority {
                Some(file) => options
                    .add_root_certificates(file.clone())
                    .require_tls(true),
                None => options,
            }
        };
        within("a connection to NATS", async {
            loop {
                if let Ok(client) = options().connect(address.as_str()).await {
                    return client;
                }
                tokio::task::yield_now().await;
            }
        })
        .await
    }

    async fn answers(&self) {
        let client = self.client().await;
        within("JetStream", async {
            while api(&client, "INFO", json!({})).await.is_err() {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    /// Makes the stream, as the guide says.
    async fn add_stream(&self, more: Value) -> Client {
        let client = self.client().await;
        let mut stream = json!({
            "name": STREAM, "subjects": ["fanal.journal.>"], "storage": "file", "discard": "new",
            "retention": "limits", "num_replicas": self.ports.len(), "allow_direct": true,
            "deny_delete": true, "deny_purge": true, "duplicate_window": 120_000_000_000_u64,
        });
        let more = more.as_object().unwrap().clone();
        stream.as_object_mut().unwrap().extend(more);
        within("the stream", async {
            let subject = format!("STREAM.CREATE.{STREAM}");
            while api(&client, &subject, stream.clone()).await.is_err() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        client
    }

    fn settings(&self) -> settings::Copies {
        let url = |(port, _): &(u16, u16)| format!("nats://127.0.0.1:{port}").parse().unwrap();
        settings::Copies {
            servers: self.ports.iter().map(url).collect(),
            credentials: None,
            authority: None,
            stream: STREAM.to_owned(),
        }
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
}

/// One call of JetStream's API.
async fn api(client: &Client, call: &str, body: Value) -> Result<Value, String> {
    let subject = format!("$JS.API.{call}");
    let answer = client.request(subject, body.to_string().into()).await;
    let answer = answer.map_err(|error| error.to_string())?;
    let answer: Value = serde_json::from_slice(&answer.payload).unwrap();
    match answer.get("error") {
        Some(error) => Err(error.to_string()),
        None => Ok(answer),
    }
}

/// All messages of the stream, in its order, once there are so many: the server that answers
/// may be behind the one that acknowledged.
async fn messages(client: &Client, least: usize) -> Vec<Message> {
    let mut all: Vec<Message> = Vec::new();
    within("the stream's messages", async {
        loop {
            let inbox = client.new_inbox();
            let mut answers = client.subscribe(inbox.clone()).await.unwrap();
            let asked = json!({"seq": all.len() + 1, "batch": 500, "max_bytes": 1_000_000});
            let subject = format!("$JS.API.DIRECT.GET.{STREAM}");
            let payload = asked.to_string().into();
            client
                .publish_with_reply(subject, inbox, payload)
                .await
                .unwrap();
            let before = all.len();
            loop {
                let answer = answers.next().await.unwrap();
                if answer.status.is_some() {
                    break;
                }
                all.push(answer);
            }
            if all.len() == before && all.len() >= least {
                return;
            }
        }
    })
    .await;
    all
}

/// Numbers of the lines that the stream has, whose ids and subject are right.
fn numbers(messages: &[Message], journal: &str) -> Vec<u64> {
    let subject = format!("fanal.journal.{CENTRE}.{journal}");
    let number = |message: &Message| {
        let headers = message.headers.as_ref().unwrap();
        assert_eq!(headers.get("Nats-Subject").unwrap().as_str(), subject);
        let id = headers.get("Nats-Msg-Id").unwrap().as_str();
        let number = id.strip_prefix(journal).unwrap().strip_prefix(':').unwrap();
        let line: Value = serde_json::from_slice(&message.payload).unwrap();
        assert_eq!(line["seq"].to_string(), number);
        number.parse().unwrap()
    };
    messages.iter().map(number).collect()
}

/// A daemon's journal with its copies.
struct Daemon {
    place: Place,
    trial: Trial,
    writer: Option<Writer>,
    metrics: metrics::Receiver,
    checks: Checks,
    copying: Option<(Handle, Background, CancellationToken)>,
}

impl Daemon {
    fn start(copies: &settings::Copies) -> Self {
        let trial = Trial::new(Clock::system().now().wall).unwrap();
        let mut daemon = Self {
            place: Place::new(),
            trial,
            writer: None,
            metrics: metrics::Receiver::new(std::iter::empty()).unwrap(),
            checks: Checks::default(),
            copying: None,
        };
        daemon.run(copies);
        daemon
    }

    fn run(&mut self, copies: &settings::Copies) {
        let machine = self.trial.machine(CENTRE).unwrap();
        let signer = Signer::from_pem(machine.key.expose(), &machine.certificate).unwrap();
        let options = Options {
            state_dir: self.place.path("receiver"),
            owner: CENTRE.to_owned(),
            signer: Arc::new(signer),
            clock: Clock::system(),
        };
        let (writer, _) = Writer::open(options).unwrap();
        let parts = copies::Parts {
            state_dir: self.place.path("receiver"),
            owner: CENTRE.to_owned(),
            writer: writer.clone(),
            clock: Clock::system(),
            metrics: self.metrics.copies.clone(),
            checks: self.checks.clone(),
        };
        let (handle, ready) = copies::ready(parts, Some(copies));
        let token = CancellationToken::new();
        let background = ready.start(token.clone()).unwrap();
        self.copying = Some((handle, background, token));
        self.writer = Some(writer);
    }

    async fn stop(&mut self) {
        let (_, background, token) = self.copying.take().unwrap();
        token.cancel();
        within("the copies' end", background.ended()).await;
        self.writer.take().unwrap().close().await;
    }

    /// Appends so many lines at once.
    async fn append(&self, count: usize) {
        let writer = self.writer.as_ref().unwrap();
        let entries = (0..count).map(|_| writer.append(Entry::Stopped {}));
        for appended in futures_util::future::join_all(entries).await {
            appended.unwrap();
        }
    }

    fn journal(&self) -> String {
        self.writer.as_ref().unwrap().journal().unwrap()
    }

    fn written(&self) -> u64 {
        self.writer.as_ref().unwrap().progress().borrow().seq
    }

    fn lag(&self) -> i64 {
        self.metrics.copies.lag_entries.get()
    }

    async fn copied(&self) {
        until("all is copied", || {
            let report = self.checks.report().checks;
            let is_ok = report
                .iter()
                .any(|one| one.name == "copies" && one.check.remedy.is_empty());
            is_ok && self.lag() == 0
        })
        .await;
    }

    /// What `/ready` says of the copies: detail and remedy.
    fn told(&self) -> (String, String) {
        let report = self.checks.report().checks;
        let check = report.into_iter().find(|one| one.name == "copies");
        check.map_or_else(Default::default, |one| (one.check.detail, one.check.remedy))
    }

    async fn until_told(&self, cause: &str) -> (String, String) {
        until(cause, || self.told().0.starts_with(cause)).await;
        self.told()
    }
}

#[tokio::test]
async fn of_a_thousand_lines_a_second_none_is_missing_twice_or_out_of_order_when_a_server_is_killed()
 {
    if !have("nats-server") {
        return;
    }
    let mut cluster = Cluster::start(3, "").await;
    let client = cluster.add_stream(json!({})).await;
    let mut settings = cluster.settings();
    // The copies go to the last first, and the test's own client stays.
    settings.servers.rotate_left(2);
    let mut daemon = Daemon::start(&settings);
    let mut pace = tokio::time::interval(Duration::from_millis(10));
    for tick in 0..500 {
        pace.tick().await;
        daemon.append(10).await;
        if tick == 150 {
            cluster.kill(2).await;
        }
        if tick == 300 {
            daemon.stop().await;
            daemon.run(&settings);
        }
    }
    assert_eq!(daemon.written(), 5_000);
    daemon.copied().await;
    let copied = messages(&client, 5_000).await;
    let expected: Vec<u64> = (1..=5_000).collect();
    assert_eq!(numbers(&copied, &daemon.journal()), expected);

    // The export is the journal.
    let mut export = Vec::new();
    for message in copied.iter().chain(&copied[..10]) {
        export.extend_from_slice(&message.payload);
        export.push(b'\n');
    }
    let file = daemon.place.write("export.jsonl", export);
    let own = daemon.place.path("receiver").join("journal");
    let into = daemon.place.path("copy");
    let [file, own, into] = [&file, &own, &into].map(|path| path.to_str().unwrap());
    let verified = run(env!("CARGO_BIN_EXE_fanal"), &["journal", "verify", file]).await;
    let said = String::from_utf8(verified.stdout).unwrap() + &verified.stderr;
    assert!(verified.success && said.contains("5000 lines"), "{said}");
    let arguments = ["journal", "verify", file, "--into", into, "--with", own];
    let verified = run(env!("CARGO_BIN_EXE_fanal"), &arguments).await;
    assert!(verified.success, "{}", verified.stderr);
    for name in std::fs::read_dir(own).unwrap() {
        let name = name.unwrap().file_name();
        let read = |directory: &str| std::fs::read(Path::new(directory).join(&name));
        assert!(read(own).unwrap() == read(into).unwrap(), "{name:?}");
    }
}

#[tokio::test]
async fn servers_that_are_away_full_or_unwilling_are_told_and_get_all_afterwards() {
    if !have("nats-server") {
        return;
    }
    // A client without a password is the daemon, with the guide's permissions.
    let permissions = |publish: &str| {
        format!(
            "no_auth_user: fanal\nauthorization {{ users: [\
             {{ user: admin, password: a }}, {{ user: fanal, password: f, permissions: {{ \
             publish: [{publish}], subscribe: \"_INBOX.>\" }} }}] }}\n"
        )
    };
    let all = format!(
        "\"fanal.journal.{CENTRE}.*\", \"$JS.API.DIRECT.GET.{STREAM}.fanal.journal.{CENTRE}.*\""
    );
    let mut cluster = Cluster::start(1, &permissions(&all)).await;
    let settings = cluster.settings();
    let mut daemon = Daemon::start(&settings);
    daemon.append(3).await;
    let (detail, remedy) = daemon.until_told("no_stream").await;
    assert!(
        detail.contains(STREAM) && remedy.contains("guide/copies.md"),
        "{detail} {remedy}"
    );
    let client = cluster.add_stream(json!({})).await;
    daemon.copied().await;

    // Away, over a restart of the daemon, then back.
    cluster.kill(0).await;
    daemon.append(40).await;
    daemon.until_told("unreachable").await;
    assert!(daemon.lag() > 0 && daemon.metrics.copies.lag_seconds.get() >= 0.0);
    daemon.stop().await;
    daemon.run(&settings);
    daemon.append(40).await;
    daemon.until_told("unreachable").await;
    cluster.run(0);
    daemon.copied().await;

    // Full: nothing is removed for it, and all comes when there is room.
    let size = api(&client, &format!("STREAM.INFO.{STREAM}"), json!({}))
        .await
        .unwrap();
    let mut stream = size["config"].clone();
    stream["max_msgs"] = json!(90);
    let update = format!("STREAM.UPDATE.{STREAM}");
    api(&client, &update, stream.clone()).await.unwrap();
    daemon.append(40).await;
    let (detail, _) = daemon.until_told("full").await;
    assert!(detail.contains("maximum messages"), "{detail}");
    let waiting = i64::try_from(daemon.written()).unwrap() - 90;
    until("the lag is shown", || daemon.lag() == waiting).await;
    stream["max_msgs"] = json!(-1);
    api(&client, &update, stream).await.unwrap();
    daemon.copied().await;

    // Its right was taken away: the server's own words are told.
    cluster.kill(0).await;
    cluster.more = permissions("\"other\"");
    cluster.run(0);
    daemon.append(1).await;
    let (detail, _) = daemon.until_told("refused").await;
    assert!(
        detail.to_lowercase().contains("permissions violation"),
        "{detail}"
    );
    cluster.kill(0).await;
    cluster.more = permissions(&all);
    cluster.run(0);
    daemon.copied().await;
    let client = cluster.client().await;
    let expected: Vec<u64> = (1..=daemon.written()).collect();
    assert_eq!(
        numbers(&messages(&client, expected.len()).await, &daemon.journal()),
        expected
    );

    // A journal that went back is not copied over what it was.
    daemon.stop().await;
    let file = std::fs::read_dir(daemon.place.path("receiver").join("journal")).unwrap();
    let file = file.map(|file| file.unwrap().path()).max().unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    let kept: Vec<&str> = text.split_inclusive('\n').take(50).collect();
    std::fs::write(&file, kept.concat()).unwrap();
    daemon.run(&settings);
    daemon.append(1).await;
    let (detail, remedy) = daemon.until_told("contradicts").await;
    assert!(remedy.contains("compare"), "{detail} {remedy}");
    daemon.append(100).await;
    daemon.until_told("contradicts: the stream: line").await;
    assert_eq!(
        messages(&client, expected.len()).await.len(),
        expected.len()
    );
}

#[tokio::test]
async fn a_receiver_copies_its_journal_over_tls_to_a_server_of_the_settings_authority() {
    if !have("nats-server") {
        return;
    }
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let place = Place::new();
    let certificate = place.write("nats.pem", pem("CERTIFICATE", made.cert.der()));
    let key = place.write(
        "nats.key",
        pem("PRIVATE KEY", &made.signing_key.serialize_der()),
    );
    let wrong = place.write("other.pem", pem("CERTIFICATE", other.cert.der()));
    let mut cluster = Cluster::start(1, "").await;
    cluster.add_stream(json!({})).await;
    cluster.kill(0).await;
    let shown = |file: &Path| file.display().to_string();
    cluster.more = format!(
        "tls {{ cert_file: \"{}\", key_file: \"{}\" }}\n",
        shown(&certificate),
        shown(&key)
    );
    cluster.authority = Some(certificate.clone());
    cluster.run(0);
    let port = cluster.ports[0].0;
    let settings = |authority: &Path| {
        format!(
            "[copies]\nnats = \"tls://localhost:{port}\"\nauthority = \"{}\"\n",
            shown(authority)
        )
    };
    let world = World::start(Plan {
        receiver: settings(&wrong),
        gateway: settings(&certificate),
        ..Plan::default()
    })
    .await;
    let operator = world.operator("13-1").await;
    let grant = operator.granted(&["cam-001"]).await;
    let path = format!("/api/v1/grants/{}", grant["grant"].as_str().unwrap());
    operator.call(Method::DELETE, &path).await.unwrap();
    until("the gateway's journal has the end", || {
        !world.entries("gateway", "ended").is_empty()
    })
    .await;
    let journal = std::fs::read_dir(world.directory.path("gateway").join("journal")).unwrap();
    let journal = journal.map(|file| file.unwrap().path()).max().unwrap();
    let journal = std::fs::read_to_string(journal).unwrap();
    let lines: Vec<&[u8]> = journal.lines().map(str::as_bytes).collect();
    let copied = messages(&cluster.client().await, lines.len()).await;
    let copied: Vec<&[u8]> = copied.iter().map(|message| &*message.payload).collect();
    assert!(
        copied.starts_with(&lines),
        "{} of {}",
        copied.len(),
        lines.len()
    );
    // Nothing went to a server that could not prove its name, and nobody waited for it.
    let ready = crate::metrics::get(world.addresses.metrics, "/ready").await;
    assert!(ready.contains("unreachable: tls://localhost"), "{ready}");
    assert!(world.receiver_metrics.copies.lag_entries.get() > 0);
}

/// A credentials file opens the way, and is shown nowhere.
#[tokio::test]
async fn credentials_are_a_secret() {
    let text = "-----BEGIN NATS USER JWT-----\nhunter2\n------END NATS USER JWT------\n\
                -----BEGIN USER NKEY SEED-----\nhunter3\n------END USER NKEY SEED------\n";
    let copies = settings::Copies {
        servers: vec!["nats://127.0.0.1:1".parse().unwrap()],
        credentials: Some(Secret::new(text)),
        authority: None,
        stream: STREAM.to_owned(),
    };
    assert!(!format!("{copies:?}").contains("hunter"));
    let daemon = Daemon::start(&copies);
    let (detail, _) = daemon.until_told("unreachable").await;
    assert!(
        detail.contains("credentials_file") && !detail.contains("hunter"),
        "{detail}"
    );
}
