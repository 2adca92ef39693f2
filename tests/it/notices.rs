//! Notices to a real HTTPS server: one that takes them, and one that fails in each way.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fanal::clock::{Clock, ManualClock, Wall};
use fanal::config::settings::{NoticeKind, Notify};
use fanal::format::note::{Kind, NoteSigner};
use fanal::format::pem;
use fanal::notify::notice::{About, Owner};
use fanal::notify::{Notices, Options};
use fanal::reason::Reason;
use fanal::secret::Secret;
use hyper::Method;
use prometheus::{IntCounterVec, Opts};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::malice::within;
use crate::support::site::Place;
use crate::world::{COMMUNE, Plan, World, until};

const KEY: &[u8] = b"0123456789abcdef0123456789abcdef";
/// 2026-11-18T10:26:40Z.
const START: Wall = Wall::from_seconds(1_794_997_600);
/// Notices that wait to be looked at.
const GOT_LIMIT: usize = 1_000;

/// How the server answers, in turn; then 204.
#[derive(Clone, Debug)]
enum Reply {
    Status(u16),
    /// With a `Retry-After` of so many seconds.
    Later(u64),
    /// To this address.
    Redirect(String),
    /// Never.
    Stall,
}

/// A request as it came.
#[derive(Debug)]
struct Got {
    line: String,
    headers: Vec<(String, String)>,
    body: String,
}

impl Got {
    fn header(&self, name: &str) -> &str {
        let mut headers = self.headers.iter();
        let found = headers.find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str()).unwrap()
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    fn is_signed(&self) -> bool {
        let signed = [
            self.header("webhook-id"),
            self.header("webhook-timestamp"),
            &self.body,
        ];
        let key = hmac::Key::new(hmac::HMAC_SHA256, KEY);
        let code = hmac::sign(&key, signed.join(".").as_bytes());
        let expected = format!("v1,{}", STANDARD.encode(code.as_ref()));
        self.header("webhook-signature") == expected
    }
}

struct Server {
    address: SocketAddr,
    directory: Place,
    replies: Arc<Mutex<VecDeque<Reply>>>,
    got: mpsc::Receiver<Got>,
    give: mpsc::Sender<Got>,
    tls: TlsAcceptor,
    tasks: JoinSet<()>,
}

impl Server {
    async fn start(replies: &[Reply]) -> Self {
        let directory = Place::new();
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let signed = authority.self_signed(&key).unwrap();
        let issuer = Issuer::new(authority, key);
        let own = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let leaf = leaf.signed_by(&own, &issuer).unwrap();
        std::fs::write(
            directory.path("ca.pem"),
            pem::encode("CERTIFICATE", signed.der()),
        )
        .unwrap();
        std::fs::write(directory.path("notify.txt"), secret()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let certificate = leaf.der().clone();
        let private = PrivateKeyDer::try_from(own.serialize_der()).unwrap();
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], private)
            .unwrap();
        let (give, got) = mpsc::channel(GOT_LIMIT);
        let mut server = Self {
            address: "127.0.0.1:0".parse().unwrap(),
            directory,
            replies: Arc::new(Mutex::new(replies.iter().cloned().collect())),
            got,
            give,
            tls: TlsAcceptor::from(Arc::new(config)),
            tasks: JoinSet::new(),
        };
        server.up().await;
        server
    }

    /// Listens, again where it did before.
    async fn up(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.address = listener.local_addr().unwrap();
        let (tls, replies, give) = (
            self.tls.clone(),
            Arc::clone(&self.replies),
            self.give.clone(),
        );
        self.tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (tls, replies, give) = (tls.clone(), Arc::clone(&replies), give.clone());
                connections.spawn(async move {
                    // A client that checks the certificate first may go.
                    let Ok(stream) = tls.accept(stream).await else {
                        return;
                    };
                    let _ = serve(stream, &replies, give).await;
                });
            }
        });
    }

    async fn down(&mut self) {
        self.tasks.shutdown().await;
    }

    fn settings(&self) -> Notify {
        Notify {
            url: format!("https://localhost:{}/avis?canal=1", self.address.port())
                .parse()
                .unwrap(),
            secret: Secret::new(secret()),
            authority: Some(self.directory.path("ca.pem")),
            events: NoticeKind::ALL.into_iter().collect(),
            details: false,
        }
    }

    /// The same as a section of a daemon's file.
    fn section(&self) -> String {
        let file = |name: &str| self.directory.path(name).display().to_string();
        format!(
            "[notify]\nurl = \"https://localhost:{}/\"\nsecret_file = \"{}\"\nauthority = \"{}\"\n",
            self.address.port(),
            file("notify.txt"),
            file("ca.pem"),
        )
    }

    async fn next(&mut self) -> Got {
        let got = within("a notice", self.got.recv()).await.unwrap();
        assert!(got.is_signed(), "{got:?}");
        got
    }
}

fn secret() -> String {
    format!("whsec_{}", STANDARD.encode(KEY))
}

/// One request of a connection.
async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    replies: &Mutex<VecDeque<Reply>>,
    give: mpsc::Sender<Got>,
) -> std::io::Result<()> {
    let mut text = String::new();
    let got = loop {
        let mut part = vec![0; 64 * 1024];
        let read = stream.read(&mut part).await?;
        text.push_str(std::str::from_utf8(&part[..read]).unwrap());
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let mut lines = head.lines();
        let line = lines.next().unwrap().to_owned();
        let headers = lines.map(|line| {
            let (name, value) = line.split_once(": ").unwrap();
            (name.to_ascii_lowercase(), value.to_owned())
        });
        let got = Got {
            line,
            headers: headers.collect(),
            body: body.to_owned(),
        };
        let length: usize = got.header("content-length").parse().unwrap();
        if got.body.len() >= length {
            break got;
        }
    };
    let reply = replies.lock().unwrap().pop_front();
    give.send(got).await.unwrap();
    let head = match reply {
        None => "204 No Content\r\n".to_owned(),
        Some(Reply::Status(status)) => format!("{status} As Told\r\n"),
        Some(Reply::Later(seconds)) => {
            format!("429 Too Many Requests\r\nretry-after: {seconds}\r\n")
        }
        Some(Reply::Redirect(to)) => format!("307 Temporary Redirect\r\nlocation: {to}\r\n"),
        Some(Reply::Stall) => std::future::pending().await,
    };
    let answer = format!("HTTP/1.1 {head}content-length: 0\r\nconnection: close\r\n\r\n");
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}

/// A clock that goes so far in each hundredth of a second.
fn fast_clock(step: Duration) -> (Clock, ManualClock, JoinSet<()>) {
    let (clock, hand) = Clock::manual(START);
    let mut task = JoinSet::new();
    let moved = hand.clone();
    task.spawn(async move {
        let mut ticks = tokio::time::interval(Duration::from_millis(10));
        loop {
            ticks.tick().await;
            moved.advance(step);
        }
    });
    (clock, hand, task)
}

fn counter() -> IntCounterVec {
    IntCounterVec::new(Opts::new("notices_total", "Notices."), &["outcome"]).unwrap()
}

fn options(server: &Server, clock: &Clock, counter: &IntCounterVec) -> Options {
    Options {
        owner: Owner::Commune(COMMUNE.parse().unwrap()),
        clock: clock.clone(),
        counter: counter.clone(),
        state_dir: server.directory.path(""),
        limit: Duration::from_millis(500),
    }
}

fn alarm() -> (NoticeKind, About, Option<Reason>) {
    (
        NoticeKind::Alarm,
        About::default(),
        Some(Reason::JournalWentBack),
    )
}

async fn stopped(notices: Notices) {
    tokio::task::spawn_blocking(move || notices.stop())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_notice_outlives_a_server_that_fails_redirects_stalls_and_is_away() {
    let mut elsewhere = Server::start(&[]).await;
    let away = format!("https://localhost:{}/", elsewhere.address.port());
    let mut server = Server::start(&[
        Reply::Status(500),
        Reply::Redirect(away),
        Reply::Stall,
        Reply::Later(60),
        Reply::Status(404),
    ])
    .await;
    let failing = std::iter::repeat_n(Reply::Status(503), 10_000);
    server.replies.lock().unwrap().extend(failing);
    let (clock, _, _going) = fast_clock(Duration::from_secs(20));
    let counter = counter();
    let count = |outcome: &str| counter.with_label_values(&[outcome]).get();
    let notices = Notices::start(options(&server, &clock, &counter), Some(server.settings()));
    let notices = notices.unwrap();
    for outcome in ["delivered", "retried", "expired", "dropped", "gone"] {
        assert_eq!(count(outcome), 0);
    }
    notices.push(alarm());
    let mut seen = Vec::new();
    for _ in 0..5 {
        seen.push(server.next().await);
    }
    // Away, and back later.
    server.down().await;
    server.replies.lock().unwrap().clear();
    let before = count("retried");
    until("nobody answers", || count("retried") > before + 1).await;
    server.up().await;
    until("it is taken", || count("delivered") == 1).await;
    while let Ok(got) = server.got.try_recv() {
        assert!(got.is_signed(), "{got:?}");
        seen.push(got);
    }
    let first = &seen[0];
    assert_eq!(first.line, "POST /avis?canal=1 HTTP/1.1");
    assert_eq!(first.header("content-type"), "application/json");
    assert_eq!(first.json()["type"], "alarm");
    assert_eq!(first.json()["reason"], "journal_went_back");
    assert_eq!(first.json()["cameras"], serde_json::json!([]));
    let mut last = 0;
    for got in &seen {
        assert_eq!(got.header("webhook-id"), first.json()["id"]);
        assert_eq!(got.body, first.body);
        let at: i64 = got.header("webhook-timestamp").parse().unwrap();
        assert!(at > last, "each attempt is signed at its own time");
        last = at;
    }
    assert!(
        elsewhere.got.try_recv().is_err(),
        "nobody follows a redirect"
    );
    assert_eq!((count("expired"), count("dropped")), (0, 0));
    stopped(notices).await;
    assert!(!server.directory.path("notices.json").exists());
}

#[tokio::test]
async fn a_server_without_the_right_certificate_gets_nothing_and_a_notice_ends_after_a_day() {
    let (mut server, other) = (Server::start(&[]).await, Server::start(&[]).await);
    let (clock, _, _going) = fast_clock(Duration::from_secs(120));
    let counter = counter();
    let count = |outcome: &str| counter.with_label_values(&[outcome]).get();
    let wrong = Notify {
        authority: Some(other.directory.path("ca.pem")),
        ..server.settings()
    };
    let notices = Notices::start(options(&server, &clock, &counter), Some(wrong)).unwrap();
    notices.push(alarm());
    until("it is given up", || count("expired") == 1).await;
    assert!(count("retried") > 20, "{}", count("retried"));
    assert!(server.got.try_recv().is_err());
    // With the right one the next one comes.
    notices.apply(Some(server.settings()));
    notices.push(alarm());
    server.next().await;
    until("it is taken", || count("delivered") == 1).await;
    stopped(notices).await;
}

#[tokio::test]
async fn a_server_that_wants_no_more_gets_no_more_until_the_reload() {
    let mut server = Server::start(&[Reply::Status(410)]).await;
    let (clock, _, _going) = fast_clock(Duration::from_secs(120));
    let counter = counter();
    let count = |outcome: &str| counter.with_label_values(&[outcome]).get();
    let notices = Notices::start(options(&server, &clock, &counter), Some(server.settings()));
    let notices = notices.unwrap();
    notices.push(alarm());
    server.next().await;
    until("it is gone", || count("gone") == 1).await;
    notices.push(alarm());
    assert_eq!(count("dropped"), 1);
    notices.apply(Some(server.settings()));
    notices.push(alarm());
    server.next().await;
    until("it is taken", || count("delivered") == 1).await;
    // Only what is wanted goes out.
    notices.apply(Some(Notify {
        events: [NoticeKind::Waiting].into_iter().collect(),
        ..server.settings()
    }));
    notices.push(alarm());
    notices.push((NoticeKind::Waiting, About::default(), None));
    assert_eq!(server.next().await.json()["type"], "waiting");
    stopped(notices).await;
}

#[tokio::test]
async fn what_waits_at_a_stop_goes_out_after_the_start() {
    use std::os::unix::fs::PermissionsExt;
    let mut server = Server::start(&[Reply::Stall]).await;
    let (clock, hand) = Clock::manual(START);
    let counter = counter();
    let settings = server.settings();
    let notices = Notices::start(options(&server, &clock, &counter), Some(settings.clone()));
    let notices = notices.unwrap();
    notices.push(alarm());
    notices.push(alarm());
    // The stop waits for no server.
    let first = server.next().await;
    stopped(notices).await;
    let file = server.directory.path("notices.json");
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(!std::fs::read_to_string(&file).unwrap().contains(&secret()));
    hand.advance(Duration::from_secs(3_600));
    let notices = Notices::start(options(&server, &clock, &counter), Some(settings)).unwrap();
    let again = server.next().await;
    assert_eq!(again.header("webhook-id"), first.header("webhook-id"));
    assert_ne!(
        server.next().await.header("webhook-id"),
        first.header("webhook-id")
    );
    assert!(!file.exists(), "sent once");
    stopped(notices).await;
    // Without settings nothing is kept, and what was is dropped.
    std::fs::write(&file, r#"[{"id":"a","body":"{}","since":0}]"#).unwrap();
    let notices = Notices::start(options(&server, &clock, &counter), None).unwrap();
    assert_eq!(counter.with_label_values(&["dropped"]).get(), 1);
    notices.push(alarm());
    stopped(notices).await;
    assert!(!file.exists());
}

#[tokio::test]
async fn both_ends_tell_of_grants_ends_and_refusals_and_of_nobody() {
    let (mut commune, mut centre) = (Server::start(&[]).await, Server::start(&[]).await);
    let world = World::start(Plan {
        gateway: commune.section(),
        receiver: centre.section() + "details = true\n",
        ..Plan::default()
    })
    .await;
    let operator = world.operator("13-1").await;
    let grant = operator.granted(&["cam-001"]).await;
    for server in [&mut commune, &mut centre] {
        let told = server.next().await.json();
        assert_eq!(
            (&told["type"], &told["reason"]),
            (&"grant".into(), &Value::Null)
        );
        assert_eq!(told["grant"], grant["grant"]);
        assert_eq!(
            (&told["commune"], &told["centre"]),
            (&COMMUNE.into(), &"corg-13".into())
        );
        assert_eq!(told["cameras"], serde_json::json!(["cam-001"]));
    }
    let path = format!("/api/v1/grants/{}", grant["grant"].as_str().unwrap());
    operator.call(Method::DELETE, &path).await.unwrap();
    let mut claims = operator.claims(&["cam-001"], 600);
    claims.grounds = "drill".to_owned();
    operator.ask(&claims).await.unwrap_err();
    let end = commune.next().await;
    assert_eq!(end.json()["type"], "end");
    assert_eq!(end.json()["reason"], "grant_released");
    assert_eq!(end.json()["cameras"], serde_json::json!(["cam-001"]));
    for word in ["13-1", "Adjudant", "2026", "operator", "incident"] {
        let body = end.body.replace(end.json()["time"].as_str().unwrap(), "");
        assert!(!body.contains(word), "{word}: {body}");
    }
    // The centre refuses by itself what no agreement allows.
    let told = [centre.next().await, centre.next().await];
    let of = |kind: &str| told.iter().find(|got| got.json()["type"] == kind).unwrap();
    assert_eq!(of("end").json()["reason"], "grant_released");
    let refused = of("refused").json();
    assert_eq!(refused["reason"], "grounds_not_allowed");
    assert_eq!(refused["operator"]["number"], "13-1");
    let delivered = world
        .gateway_metrics
        .notices_total
        .with_label_values(&["delivered"]);
    until("both are counted", || delivered.get() == 2).await;
    world.stop().await;
}

/// A machine whose own journal does not verify at its start says so outside, before anybody asks.
#[tokio::test]
async fn the_own_journal_that_was_changed_is_told_outside() {
    let (mut commune, mut centre) = (Server::start(&[]).await, Server::start(&[]).await);
    let mut world = World::start(Plan {
        gateway: commune.section(),
        receiver: centre.section(),
        ..Plan::default()
    })
    .await;
    world.stop_gateway().await;
    world.stop_receiver().await;
    for daemon in ["gateway", "receiver"] {
        let files = std::fs::read_dir(world.directory.path(daemon).join("journal")).unwrap();
        let file = files.map(|file| file.unwrap().path()).max().unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        let changed = text.replacen(r#""kind":"started""#, r#""kind":"stopped""#, 1);
        assert_ne!(changed, text);
        std::fs::write(&file, changed).unwrap();
    }
    world.start_receiver().await;
    world.start_gateway().await;
    for (server, id) in [(&mut commune, "commune"), (&mut centre, "centre")] {
        let told = server.next().await.json();
        assert_eq!(
            (&told["type"], &told["reason"]),
            (&"alarm".into(), &"journal_went_back".into())
        );
        assert!(told[id].is_string(), "{told}");
    }
    world.stop().await;
}

/// A witness that holds another tree than each that it is shown; its section in the settings.
async fn contradicting_witness() -> (String, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let key = NoteSigner::new("example.com/w", Kind::Witness, [1; 32]).unwrap();
    let section = format!(
        "[[witness]]\nname = \"Préfecture\"\nurl = \"http://{}/\"\nkey = \"{}\"\n",
        listener.local_addr().unwrap(),
        key.verifier()
    );
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let (give, _got) = mpsc::channel(GOT_LIMIT);
        while let Ok((stream, _)) = listener.accept().await {
            let inconsistent = Mutex::new(VecDeque::from([Reply::Status(422)]));
            let _ = serve(stream, &inconsistent, give.clone()).await;
        }
    });
    (section, tasks)
}

#[tokio::test]
async fn a_journal_that_is_not_what_a_witness_saw_is_told_outside_by_both_ends() {
    let (mut commune, mut centre) = (Server::start(&[]).await, Server::start(&[]).await);
    let (witness, _task) = contradicting_witness().await;
    let world = World::start(Plan {
        gateway: commune.section() + &witness,
        receiver: centre.section() + &witness,
        ..Plan::default()
    })
    .await;
    for (server, id) in [(&mut commune, "commune"), (&mut centre, "centre")] {
        let told = server.next().await.json();
        assert_eq!(
            (&told["type"], &told["reason"]),
            (&"alarm".into(), &"journal_went_back".into())
        );
        assert!(told[id].is_string(), "{told}");
    }
    world.stop().await;
}
