//! Attacks of receivers that were turned: each has its centre's certificate, an agreement with the
//! honest gateway, and an operator who signs what it wants.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use fanal::clock::Clock;
use fanal::config;
use fanal::config::settings;
use fanal::format::control::ToReceiver;
use fanal::format::ids::{CameraId, CentreId, CommuneId, GrantId, Sha256};
use fanal::format::jws::{self, Signer};
use fanal::format::statement::{
    GRANT_TYPE, GrantClaims, HEAD_TYPE, HeadClaims, REQUEST_TYPE, VIEWINGS_TYPE, Viewing,
    ViewingsClaims,
};
use fanal::link::endpoint::{self, Carrier};
use fanal::link::tls;
use fanal::media::relay::RelayId;
use futures_util::FutureExt;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::chance::Chance;
use crate::doors::Doors;
use crate::parts::files::{self, COMMUNE};
use crate::tried::{Count, Pace, bytes, mutate};

/// The kinds, as they are printed; each is a centre of its own, so that none takes another's link.
pub(crate) const KINDS: [&str; 6] = [
    "messages of a turned receiver",
    "its grants and what it says of them",
    "words to it that it does not read",
    "its datagrams and stops",
    "links that it takes and drops",
    "garbage instead of a tunnel",
];

/// The operator who signs for them.
pub(crate) const ACCOMPLICE: &str = "accomplice";
/// One message in so many is no JSON any more: that ends the link, and a gateway waits before it
/// dials again, longer each time unless the link lasted.
const TORN: usize = 2_500;
/// Messages or datagrams on one link before the receiver drops it.
const ON_A_LINK: usize = 20_000;
/// Longest text, in bytes; a list has twenty of it.
const TEXT: usize = 20_000;
/// Turns in which a receiver behaves, to have pictures that it can then leave unread.
const HONEST: usize = 300;
/// Grants that one remembers.
const GRANTS: usize = 64;
/// Connections that it holds without a word.
const HELD: usize = 64;
/// How long it waits for what a gateway does at once.
const PATIENCE: Duration = Duration::from_secs(5);

/// The centre of a kind.
pub(crate) fn centre(kind: usize) -> String {
    format!("corg-9{kind}")
}

/// One kind until its time is over.
pub(crate) async fn attack(
    kind: usize,
    doors: &Doors,
    mut pace: Pace,
    chance: Chance,
    count: &Count,
) -> anyhow::Result<()> {
    let mut turned = Turned::new(kind, doors, chance)?;
    if kind == 5 {
        return turned.garbage(&mut pace, count).await;
    }
    let endpoint = turned.listen()?;
    while pace.turn().await {
        if kind == 4 {
            count.note(turned.drop_link(&endpoint).await.is_ok());
            continue;
        }
        let Ok(mut link) = Link::accept(&endpoint).await else {
            count.note(false);
            continue;
        };
        turned.grants.clear();
        // The gateway ends the link where it was told nonsense.
        let _ = match kind {
            0 => turned.messages(&mut link, &mut pace, count).await,
            1 => turned.ask(&mut link, &mut pace, ON_A_LINK, count).await,
            2 => turned.stall(&mut link, &mut pace, count).await,
            _ => turned.datagrams(&mut link, &mut pace, count).await,
        };
    }
    Ok(())
}

/// A link of the gateway, which opened its control stream.
struct Link {
    connection: quinn::Connection,
    send: quinn::SendStream,
    heard: mpsc::Receiver<ToReceiver>,
    /// Read what comes, until it is told to leave all unread.
    _readers: JoinSet<()>,
    stall: CancellationToken,
}

impl Link {
    async fn accept(endpoint: &quinn::Endpoint) -> anyhow::Result<Self> {
        let incoming = endpoint.accept().await.context("no endpoint any more")?;
        Self::accept_of(incoming).await
    }

    async fn accept_of(incoming: quinn::Incoming) -> anyhow::Result<Self> {
        let connection = timeout(PATIENCE, incoming).await??;
        let (mut send, mut receive) = timeout(PATIENCE, connection.accept_bi()).await??;
        connection.set_max_concurrent_uni_streams(1_024_u32.into());
        timeout(PATIENCE, receive.read_exact(&mut [0; 4])).await??;
        send.write_all(&[0; 4]).await?;
        let (say, heard) = mpsc::channel(1_024);
        let mut readers = JoinSet::new();
        let stall = CancellationToken::new();
        readers.spawn(hear(receive, say, stall.clone()));
        readers.spawn(take_all(connection.clone(), stall.clone()));
        Ok(Self {
            connection,
            send,
            heard,
            _readers: readers,
            stall,
        })
    }

    /// Says this as one message.
    async fn say(&mut self, text: &[u8]) -> anyhow::Result<()> {
        let length = u32::try_from(text.len()).context("a long message")?;
        let framed = [&length.to_be_bytes()[..], text].concat();
        Ok(timeout(PATIENCE, self.send.write_all(&framed)).await??)
    }
}

/// Does this until the token is cancelled; then nothing, with all streams open.
async fn until(stall: CancellationToken, done: impl Future<Output = ()>) {
    tokio::pin!(done);
    tokio::select! {
        () = stall.cancelled() => std::future::pending().await,
        () = &mut done => {}
    }
}

/// Reads control messages; those that nobody waits for are dropped.
async fn hear(
    mut stream: quinn::RecvStream,
    say: mpsc::Sender<ToReceiver>,
    stall: CancellationToken,
) {
    let reading = async {
        let mut length = [0; 4];
        while stream.read_exact(&mut length).await.is_ok() {
            let mut text = vec![0; u32::from_be_bytes(length) as usize];
            if stream.read_exact(&mut text).await.is_err() {
                return;
            }
            if let Ok(message) = serde_json::from_slice(&text) {
                let _ = say.try_send(message);
            }
        }
    };
    until(stall, reading).await;
}

/// Reads all pictures and forgets them.
async fn take_all(connection: quinn::Connection, stall: CancellationToken) {
    let mut streams = JoinSet::new();
    let taking = async {
        loop {
            tokio::select! {
                stream = connection.accept_uni() => match stream {
                    Ok(mut stream) => {
                        let stall = stall.clone();
                        streams.spawn(async move {
                            let mut some = vec![0; 64 * 1024];
                            let reading = async { while let Ok(Some(_)) = stream.read(&mut some).await {} };
                            until(stall, reading).await;
                        });
                    }
                    Err(_) => return,
                },
                Some(_) = streams.join_next() => {}
            }
        }
    };
    until(stall.clone(), taking).await;
}

/// A grant that the gateway gave.
struct Granted {
    id: GrantId,
    request: String,
    relays: BTreeMap<CameraId, RelayId>,
}

/// A receiver that was turned.
struct Turned {
    id: CentreId,
    settings: settings::Receiver,
    at: SocketAddr,
    signer: Signer,
    operator: Signer,
    cameras: Vec<String>,
    chance: Chance,
    /// Number of its journal's newest line, as it claims; higher than at any time before.
    seq: u64,
    /// Whether it shows that its journal is damaged, or not what it was.
    contradicts: bool,
    /// Requests on their way, by their number.
    asked: BTreeMap<u64, String>,
    next: u64,
    grants: VecDeque<Granted>,
}

impl Turned {
    fn new(kind: usize, doors: &Doors, chance: Chance) -> anyhow::Result<Self> {
        let id = centre(kind);
        let file = doors.place.join(format!("{id}.toml"));
        let settings = config::load_receiver(&file)?.settings;
        let signer = |name: &str| -> anyhow::Result<Signer> {
            let read =
                |end: &str| std::fs::read_to_string(doors.place.join(format!("{name}.{end}")));
            Signer::from_pem(&read("key")?, &read("pem")?).map_err(anyhow::Error::msg)
        };
        Ok(Self {
            at: settings.link_listen[0],
            settings,
            signer: signer(&id)?,
            operator: signer(ACCOMPLICE)?,
            id: CentreId::new(id)?,
            cameras: doors.cameras.clone(),
            chance,
            seq: u64::try_from(Self::now())? * 1_000,
            contradicts: kind == 0,
            asked: BTreeMap::new(),
            next: 0,
            grants: VecDeque::new(),
        })
    }

    fn listen(&self) -> anyhow::Result<quinn::Endpoint> {
        let end = tls::server(&self.settings, &Clock::system())?;
        let lasting = tls::lasting_secret(&self.settings.tls)?;
        let config = endpoint::server_config(&end, Carrier::Udp)?;
        Ok(endpoint::listen(self.at, config, lasting)?.0)
    }

    fn now() -> i64 {
        Clock::system().now().wall.seconds()
    }

    fn any(&mut self) -> u64 {
        self.chance.between(0, u64::MAX - 1)
    }

    fn any_id(&mut self) -> uuid::Uuid {
        uuid::Uuid::from_u64_pair(self.any(), self.any())
    }

    fn camera(&mut self) -> String {
        self.cameras[self.chance.index(self.cameras.len())].clone()
    }

    /// A grant that it has, else one that nobody gave.
    fn grant(&mut self) -> GrantId {
        match self.grants.len() {
            0 => GrantId(self.any_id()),
            count => self.grants[self.chance.index(count)].id,
        }
    }

    /// A relay that it has, else any.
    fn relay(&mut self) -> u32 {
        let count = self.grants.len().max(1);
        let at = self.chance.index(count);
        let known = self.grants.get(at);
        let known = known.and_then(|grant| Some(grant.relays.values().next()?.0));
        match known {
            Some(relay) if self.chance.percent(80) => relay,
            _ => u32::try_from(self.any() >> 32).unwrap_or_default(),
        }
    }

    /// A signed head of its journal: the next, or one that contradicts those before; after such
    /// a one a gateway gives nothing more, so that most receivers have none.
    fn head(&mut self) -> String {
        self.seq += 1;
        let (seq, link) = if !self.contradicts || self.chance.percent(90) {
            (self.seq, Sha256::of(&self.seq.to_be_bytes()))
        } else {
            (self.any(), Sha256::of(&self.any().to_be_bytes()))
        };
        let claims = HeadClaims {
            iss: self.id.to_string(),
            journal: "00112233445566778899aabbccddeeff".to_owned(),
            seq,
            link,
            iat: Self::now(),
        };
        self.signer.sign(HEAD_TYPE, &claims)
    }

    /// A part of a list of viewings that nobody had.
    fn viewings(&mut self) -> anyhow::Result<String> {
        let viewing = Viewing {
            camera: CameraId::new(self.camera())?,
            who: "x".repeat(self.chance.index(200)),
            kind: "live".to_owned(),
            from: "2026-11-18T10:26:40Z".to_owned(),
            to: "9999-12-31T23:59:59Z".to_owned(),
            holders: Vec::new(),
            count: self.chance.percent(50).then_some(u64::MAX),
            seconds: self.chance.percent(50).then_some(u64::MAX),
        };
        let claims = ViewingsClaims {
            iss: self.id.clone(),
            aud: CommuneId::new(COMMUNE)?,
            grant: self.grant(),
            iat: Self::now(),
            part: Some(u32::try_from(self.chance.index(5_000))?),
            parts: Some(u32::try_from(1 + self.chance.index(5_000))?),
            total: Some(self.any()),
            viewings: vec![viewing; self.chance.index(40)],
            received: Vec::new(),
            counted_since: self.chance.percent(50).then_some(i64::MIN),
            journal: Some("x".repeat(self.chance.index(64))),
        };
        Ok(self.signer.sign(VIEWINGS_TYPE, &claims))
    }

    /// What its operator signs: a right request, most often.
    fn request(&mut self) -> anyhow::Result<String> {
        let mut cameras = self.cameras.clone();
        cameras.rotate_left(self.chance.index(self.cameras.len()));
        cameras.truncate(1 + self.chance.index(self.cameras.len()));
        let cameras: Vec<&str> = cameras.iter().map(String::as_str).collect();
        let mut claims = files::claims(Clock::system().now().wall, &cameras);
        claims.centre = self.id.clone();
        claims.grounds = "drill".to_owned();
        claims.duration = u32::try_from(10 + self.chance.index(600))?;
        if self.chance.percent(20) {
            claims.renews = Some(self.grant());
        }
        let signer = if self.chance.percent(90) {
            &self.operator
        } else {
            &self.signer
        };
        Ok(signer.sign(REQUEST_TYPE, &claims))
    }

    /// Any message that a gateway may hear, its texts as odd as may be.
    fn message(&mut self) -> anyhow::Result<Value> {
        const TEXTS: [&str; 4] = ["x", "\u{202e}\u{7}", "é\"\\", "=cmd|' /C calc'!A0"];
        let some = TEXTS[self.chance.index(TEXTS.len())];
        let text = some.repeat(1 + self.chance.index(TEXT) / some.len());
        let grant = self.grant();
        let relay = self.relay();
        Ok(match self.chance.index(16) {
            0 => json!({
                "type": "hello", "minor": self.any() >> 33, "version": text,
                "wall": i64::MAX, "name": text, "head": self.head(),
            }),
            1 => json!({ "type": "request", "id": self.any(), "request": text }),
            2 => json!({
                "type": "confirm", "grant": grant, "head": self.head(),
                "request": Sha256::of(&self.any().to_be_bytes()),
            }),
            3 => json!({
                "type": "password", "grant": grant,
                "password": "x".repeat(1 + self.chance.index(64)),
            }),
            4 if self.chance.percent(20) => {
                json!({ "type": "release", "grant": grant, "by": text, "reason": "grant_cut" })
            }
            5 => json!({ "type": "cancel", "request": self.any_id(), "by": text }),
            6 => json!({ "type": "focus", "relays": vec![relay; self.chance.index(4_000)] }),
            7 => json!({ "type": "key_frame", "relay": relay }),
            8 => json!({
                "type": "streams", "relay": relay,
                "first": self.chance.percent(50), "other": self.chance.percent(50),
            }),
            9 => json!({ "type": "viewings", "statement": self.viewings()? }),
            10 => json!({
                "type": "snapshot", "snapshot": self.any_id(), "grant": grant,
                "camera": self.camera(), "captured": Self::now().wrapping_mul(1_000_000),
            }),
            11 => json!({ "type": "revocation", "list": text.repeat(20) }),
            12 => json!({
                "type": "heads", "head": self.head(), "acknowledged": self.any(),
                "lines": vec!["x".repeat(300); self.chance.index(500)],
            }),
            13 => json!({ "type": "recovered", "packets": self.any() }),
            14 if self.contradicts => json!({
                "type": "journals", "head": self.head(), "held": self.head(),
                "continues": text, "damaged": text,
            }),
            _ => json!({ "type": "time", "echo": self.any(), "wall": self.now_or_any() }),
        })
    }

    fn now_or_any(&mut self) -> i64 {
        if self.chance.percent(50) {
            Self::now().wrapping_mul(1_000_000)
        } else {
            i64::from_be_bytes(self.any().to_be_bytes())
        }
    }

    /// Says it, torn where chance has it so.
    async fn say(&mut self, link: &mut Link, message: &Value) -> anyhow::Result<()> {
        let text = message.to_string().into_bytes();
        if self.chance.index(TORN) == 0 {
            let torn = mutate(&mut self.chance, &text);
            return link.say(&torn).await;
        }
        link.say(&text).await
    }

    async fn messages(
        &mut self,
        link: &mut Link,
        pace: &mut Pace,
        count: &Count,
    ) -> anyhow::Result<()> {
        for _ in 0..ON_A_LINK {
            if !pace.turn().await {
                break;
            }
            let message = self.message()?;
            let said = self.say(link, &message).await;
            count.note(said.is_ok());
            said?;
        }
        Ok(())
    }

    /// Asks with its operator's signature, confirms rightly or not, and says all that can be
    /// said of grants and relays that it has.
    async fn ask(
        &mut self,
        link: &mut Link,
        pace: &mut Pace,
        turns: usize,
        count: &Count,
    ) -> anyhow::Result<()> {
        for turn in 0..turns {
            if !pace.turn().await {
                break;
            }
            while let Ok(heard) = link.heard.try_recv() {
                self.note(link, heard).await?;
            }
            let message = if turn == 0 || self.chance.index(30) == 0 {
                self.next += 1;
                let request = self.request()?;
                self.asked.insert(self.next, request.clone());
                while self.asked.len() > GRANTS {
                    self.asked.pop_first();
                }
                json!({ "type": "request", "id": self.next, "request": request })
            } else {
                self.message()?
            };
            let said = self.say(link, &message).await;
            count.note(said.is_ok());
            said?;
        }
        Ok(())
    }

    /// A grant is confirmed, most often.
    async fn note(&mut self, link: &mut Link, heard: ToReceiver) -> anyhow::Result<()> {
        let ToReceiver::Granted { id, proof, relays } = heard else {
            return Ok(());
        };
        let Some(request) = self.asked.remove(&id) else {
            return Ok(());
        };
        let proven = jws::open::<GrantClaims>(&proof, GRANT_TYPE);
        let proven = proven.map_err(|refusal| anyhow::anyhow!("{refusal}"))?;
        let grant = proven.claims.grant;
        if self.chance.percent(80) {
            let confirm = json!({
                "type": "confirm", "grant": grant, "head": self.head(),
                "request": Sha256::of(request.as_bytes()),
            });
            link.say(confirm.to_string().as_bytes()).await?;
        }
        self.grants.push_back(Granted {
            id: grant,
            request,
            relays,
        });
        if self.grants.len() > GRANTS {
            self.grants.pop_front();
        }
        Ok(())
    }

    /// Takes pictures like an honest receiver, then reads nothing more and goes on asking.
    async fn stall(
        &mut self,
        link: &mut Link,
        pace: &mut Pace,
        count: &Count,
    ) -> anyhow::Result<()> {
        self.ask(link, pace, HONEST, count).await?;
        link.stall.cancel();
        for _ in 0..HONEST * 10 {
            if !pace.turn().await {
                break;
            }
            let message = if self.chance.percent(50) {
                let again = self.grants.back().map(|grant| grant.request.clone());
                json!({ "type": "request", "id": self.any(), "request": again.unwrap_or_default() })
            } else {
                json!({ "type": "time", "echo": self.any() })
            };
            let said = link.say(message.to_string().as_bytes()).await;
            count.note(said.is_ok());
            said?;
        }
        Ok(())
    }

    /// Datagrams that nobody reads, streams that it may not open, and stops of those that it is
    /// given.
    async fn datagrams(
        &mut self,
        link: &mut Link,
        pace: &mut Pace,
        count: &Count,
    ) -> anyhow::Result<()> {
        self.ask(link, pace, HONEST, count).await?;
        // Pictures are refused one by one from here on; the control stream is read no more.
        link.stall.cancel();
        let most = link.connection.max_datagram_size().unwrap_or(2) / 2;
        for _ in 0..HONEST * 10 {
            if !pace.turn().await {
                break;
            }
            for _ in 0..10 {
                let length = 1 + self.chance.index(most);
                let datagram = Bytes::from(bytes(&mut self.chance, length));
                let _ = link.connection.send_datagram(datagram);
            }
            let opened = link.connection.open_uni().now_or_never();
            assert!(
                !matches!(opened, Some(Ok(_))),
                "the gateway let it open a stream"
            );
            if let Some(Ok(mut stream)) = link.connection.accept_uni().now_or_never() {
                let code = u32::try_from(self.chance.index(1 << 20))?;
                let _ = stream.stop(code.into());
            }
            count.note(link.connection.close_reason().is_none());
            if link.connection.close_reason().is_some() {
                break;
            }
        }
        // Its own side of the control stream, in one of the ways that a stream can end.
        match self.chance.index(3) {
            0 => drop(link.send.reset(7_u32.into())),
            1 => drop(link.send.finish()),
            _ => link.connection.close(0x1003_u32.into(), b"\xff\xfe"),
        }
        let _ = timeout(PATIENCE, link.connection.closed()).await;
        Ok(())
    }

    /// Takes a link and drops it, at any point of its beginning.
    async fn drop_link(&mut self, endpoint: &quinn::Endpoint) -> anyhow::Result<()> {
        let incoming = endpoint.accept().await.context("no endpoint any more")?;
        match self.chance.index(6) {
            0 => incoming.refuse(),
            1 => incoming.ignore(),
            2 => {
                // The handshake begins, and is never finished.
                let connecting = incoming.accept()?;
                tokio::task::yield_now().await;
                drop(connecting);
            }
            3 => {
                let connection = timeout(PATIENCE, incoming).await??;
                let code = u32::try_from(self.chance.index(1 << 30))?;
                connection.close(code.into(), &bytes(&mut self.chance, 200));
            }
            4 => {
                // The control stream is never answered.
                let connection = timeout(PATIENCE, incoming).await??;
                let _ = timeout(PATIENCE, connection.closed()).await;
            }
            _ => {
                let mut link = Link::accept_of(incoming).await?;
                let begun = [
                    u32::MAX.to_be_bytes().to_vec(),
                    [&1_000_u32.to_be_bytes()[..], &b"{\"type\":"[..]].concat(),
                    [&4_u32.to_be_bytes()[..], b"null"].concat(),
                    bytes(&mut self.chance, 4_000),
                ];
                let begun = &begun[self.chance.index(begun.len())];
                let _ = link.send.write_all(begun).await;
                let _ = timeout(PATIENCE, link.connection.closed()).await;
            }
        }
        Ok(())
    }

    /// UDP is closed, so that the gateway tries TCP, and finds what is no TLS or says nothing.
    async fn garbage(&mut self, pace: &mut Pace, count: &Count) -> anyhow::Result<()> {
        let listener = tokio::net::TcpListener::bind(self.at).await?;
        let mut held = VecDeque::new();
        while pace.turn().await {
            let (mut stream, _) = listener.accept().await?;
            let length = self.chance.index(20_000);
            let said = match self.chance.index(3) {
                0 => Vec::new(),
                1 => bytes(&mut self.chance, length),
                // A handshake's record that never ends.
                _ => [
                    &[0x16, 3, 3, 0x40, 0, 2, 0, 0xff, 0xff][..],
                    &vec![0; length][..],
                ]
                .concat(),
            };
            count.note(stream.write_all(&said).await.is_ok());
            held.push_back(stream);
            if held.len() > HELD {
                held.pop_front();
            }
        }
        Ok(())
    }
}
