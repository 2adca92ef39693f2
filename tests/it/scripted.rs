//! A scripted RTSP camera on a real socket: it does what real cameras do, good
//! and bad, and shows what it was asked. Pictures are sent when the test says so.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

/// Nothing in these tests takes this long; reaching it is a failure.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// H.264 parameter sets of a small real stream.
const SPROP_H264: &str = "Z0LAHtkDxWhAAAADAEAAAAwDxYuS,aMuMsg==";

/// What the camera does.
#[derive(Clone, Debug)]
pub struct Script {
    pub auth: Option<Auth>,
    /// Status to answer a method with, instead of serving it.
    pub status: HashMap<&'static str, u16>,
    /// `Location` of a redirect that answers DESCRIBE of this path.
    pub redirect: HashMap<&'static str, String>,
    /// Methods that are never answered.
    pub silent: Vec<&'static str>,
    pub content_type: &'static str,
    pub session: &'static str,
    /// The `m=` sections.
    pub media: String,
    /// Sent on the connection right after a method's answer.
    pub after: HashMap<&'static str, Vec<u8>>,
    /// Sent on the connection right before a method's answer.
    pub before: HashMap<&'static str, Vec<u8>>,
    /// Pictures sent by itself right after PLAY.
    pub on_play: Vec<Picture>,
}

/// How the camera asks for a password.
#[derive(Clone, Debug)]
pub struct Auth {
    pub user: &'static str,
    pub password: &'static str,
    /// The challenges of each 401, in turn; the last stays.
    pub challenges: Vec<&'static str>,
    /// A nonce serves for this many requests.
    pub nonce_uses: u32,
}

impl Auth {
    pub fn digest(challenge: &'static str) -> Self {
        Self {
            user: "fanal",
            password: "s3cret",
            challenges: vec![challenge],
            nonce_uses: u32::MAX,
        }
    }
}

pub const DIGEST_MD5: &str = r#"Digest realm="cam", nonce="NONCE", algorithm=MD5, qop="auth""#;
pub const DIGEST_OLD: &str = r#"Digest realm="cam", nonce="NONCE""#;
pub const DIGEST_SHA256: &str =
    r#"Digest realm="cam", nonce="NONCE", algorithm=SHA-256, qop="auth""#;
pub const BASIC: &str = r#"Basic realm="cam""#;

impl Default for Script {
    fn default() -> Self {
        Self {
            auth: None,
            status: HashMap::new(),
            redirect: HashMap::new(),
            silent: Vec::new(),
            content_type: "application/sdp",
            session: "77;timeout=60",
            media: media_h264(),
            after: HashMap::new(),
            before: HashMap::new(),
            on_play: vec![Picture::key(0)],
        }
    }
}

pub fn media_h264() -> String {
    format!(
        "m=video 0 RTP/AVP 96\r\na=control:video\r\na=rtpmap:96 H264/90000\r\n\
         a=fmtp:96 packetization-mode=1;profile-level-id=42C01E;sprop-parameter-sets={SPROP_H264}\r\n"
    )
}

pub fn media_audio() -> String {
    "m=audio 0 RTP/AVP 8\r\na=control:audio\r\na=rtpmap:8 PCMA/8000\r\n".to_owned()
}

/// One picture: an RTP packet for each NAL unit.
#[derive(Clone, Debug)]
pub struct Picture {
    pub rtp: u32,
    pub nals: Vec<Vec<u8>>,
}

impl Picture {
    pub fn key(rtp: u32) -> Self {
        Self::nal(rtp, 0x65, 400)
    }

    pub fn delta(rtp: u32) -> Self {
        Self::nal(rtp, 0x41, 100)
    }

    pub fn nal(rtp: u32, header: u8, size: usize) -> Self {
        let mut nal = vec![0x88; size];
        nal[0] = header;
        // first_mb_in_slice 0, then slice_type 7 (all I) of a key frame or 0 (P).
        if header & 0x1f == 1 && size > 1 {
            nal[1] = 0xe8;
        }
        Self {
            rtp,
            nals: vec![nal],
        }
    }

    /// A key frame behind these parameter sets, `SPS,PPS` in base64.
    pub fn key_with(rtp: u32, sets: &str) -> Self {
        let mut nals: Vec<_> = sets
            .split(',')
            .map(|s| STANDARD.decode(s).unwrap())
            .collect();
        nals.extend(Self::key(rtp).nals);
        Self { rtp, nals }
    }
}

/// What the test orders a playing connection to do.
#[derive(Clone, Debug)]
pub enum Order {
    Picture(Picture),
    /// Any bytes between packets: a request of the camera's.
    Raw(Vec<u8>),
    /// The first half of a packet, then the connection breaks.
    CutMidFrame,
}

/// A request as the camera saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub connection: u32,
    pub method: String,
    pub uri: String,
    pub headers: HashMap<String, String>,
    pub status: u16,
}

#[derive(Debug)]
struct State {
    script: Mutex<Script>,
    seen: watch::Sender<Vec<Seen>>,
    /// Connections that play, newest last, and how many ever did.
    playing: watch::Sender<(u32, Option<mpsc::Sender<Order>>)>,
    sequence: Mutex<u16>,
    nonce: Mutex<(u32, u32)>,
    refused: Mutex<usize>,
    connections: watch::Sender<(u32, u32)>,
}

/// The camera. Stops when dropped.
#[derive(Debug)]
pub struct Camera {
    pub address: SocketAddr,
    state: Arc<State>,
    _tasks: JoinSet<()>,
}

impl Camera {
    pub async fn start(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            script: Mutex::new(script),
            seen: watch::Sender::new(Vec::new()),
            playing: watch::Sender::new((0, None)),
            sequence: Mutex::new(7),
            nonce: Mutex::new((1, 0)),
            refused: Mutex::new(0),
            connections: watch::Sender::new((0, 0)),
        });
        let mut tasks = JoinSet::new();
        let accept = state.clone();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let state = accept.clone();
                let mut number = 0;
                state.connections.send_modify(|(all, open)| {
                    *all += 1;
                    *open += 1;
                    number = *all;
                });
                connections.spawn(async move {
                    let _ = Connection::serve(&state, stream, number).await;
                    state.connections.send_modify(|(_, open)| *open -= 1);
                });
            }
        });
        Self {
            address,
            state,
            _tasks: tasks,
        }
    }

    pub fn url(&self) -> String {
        format!("rtsp://{}/main", self.address)
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.state.seen.borrow().clone()
    }

    pub fn count(&self, method: &str) -> usize {
        self.seen().iter().filter(|s| s.method == method).count()
    }

    /// Connections there ever were.
    pub fn connections(&self) -> u32 {
        self.state.connections.borrow().0
    }

    /// Waits until what the camera saw is as wished.
    pub async fn until(&self, what: &str, wish: impl Fn(&[Seen]) -> bool) {
        let mut seen = self.state.seen.subscribe();
        let waited = tokio::time::timeout(PATIENCE, seen.wait_for(|seen| wish(seen))).await;
        assert!(waited.is_ok(), "{what}: saw {:#?}", self.seen());
    }

    pub async fn until_method(&self, method: &str, count: usize) {
        self.until(&format!("{count} {method}"), |seen| {
            seen.iter().filter(|s| s.method == method).count() >= count
        })
        .await;
    }

    /// Waits until no connection is open.
    pub async fn until_alone(&self) {
        let mut connections = self.state.connections.subscribe();
        let wait = connections.wait_for(|(_, open)| *open == 0);
        assert!(tokio::time::timeout(PATIENCE, wait).await.is_ok());
    }

    /// Orders the connection that plays since the `n`th PLAY.
    pub async fn order(&self, n: u32, order: Order) {
        let mut playing = self.state.playing.subscribe();
        let wait = playing.wait_for(|(count, _)| *count >= n);
        let sender = tokio::time::timeout(PATIENCE, wait)
            .await
            .expect("no PLAY came")
            .unwrap()
            .1
            .clone();
        // A connection that is gone takes no order: the test will notice.
        let _ = sender.unwrap().send(order).await;
    }

    pub async fn picture(&self, n: u32, picture: Picture) {
        self.order(n, Order::Picture(picture)).await;
    }
}

struct Connection {
    state: Arc<State>,
    number: u32,
    out: OwnedWriteHalf,
    udp: Option<(UdpSocket, SocketAddr)>,
}

impl Connection {
    async fn serve(
        state: &Arc<State>,
        stream: tokio::net::TcpStream,
        number: u32,
    ) -> std::io::Result<()> {
        let (input, out) = stream.into_split();
        let mut reader = Reader {
            input,
            buffer: Vec::new(),
        };
        let mut connection = Self {
            state: state.clone(),
            number,
            out,
            udp: None,
        };
        let mut orders: Option<mpsc::Receiver<Order>> = None;
        loop {
            tokio::select! {
                biased;
                request = reader.request() => {
                    let Some(request) = request? else { return Ok(()) };
                    if request.method.starts_with("RTSP/") {
                        // An answer to a request of the camera's.
                        connection.state.seen.send_modify(|seen| seen.push(request));
                    } else if let Some(playing) = connection.answer(request).await? {
                        orders = Some(playing);
                    }
                }
                Some(order) = next_order(&mut orders) => match order {
                    Order::Picture(picture) => connection.send(&picture).await?,
                    Order::Raw(bytes) => connection.out.write_all(&bytes).await?,
                    Order::CutMidFrame => {
                        connection.out.write_all(&[b'$', 0, 1, 0, 0x80, 96]).await?;
                        return Ok(());
                    }
                },
            }
        }
    }

    async fn answer(
        &mut self,
        mut request: Seen,
    ) -> std::io::Result<Option<mpsc::Receiver<Order>>> {
        request.connection = self.number;
        let script = self.state.script.lock().unwrap().clone();
        let path = request.uri.splitn(4, '/').nth(3).unwrap_or("").to_owned();
        let mut headers = Vec::new();
        let mut body = String::new();
        let mut orders = None;
        let status = if let Some(challenge) = self.challenge(&script, &request) {
            headers.extend(
                challenge
                    .split('\n')
                    .map(|c| format!("WWW-Authenticate: {c}")),
            );
            401
        } else if let Some(status) = script.status.get(request.method.as_str()) {
            *status
        } else if let (true, Some(location)) = (
            request.method == "DESCRIBE",
            script.redirect.get(path.as_str()),
        ) {
            headers.push(format!("Location: {location}"));
            302
        } else {
            match request.method.as_str() {
                "OPTIONS" => headers.push("Public: OPTIONS, GET_PARAMETER, TEARDOWN".to_owned()),
                "DESCRIBE" => {
                    headers.push(format!("Content-Type: {}", script.content_type));
                    body = format!(
                        "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=cam\r\nt=0 0\r\n{}",
                        script.media
                    );
                }
                "SETUP" => {
                    headers.push(format!("Session: {}", script.session));
                    headers.push(format!("Transport: {}", self.transport(&request).await?));
                }
                "PLAY" => {
                    let (sender, receiver) = mpsc::channel(1024);
                    self.state.playing.send_modify(|(count, newest)| {
                        *count += 1;
                        *newest = Some(sender);
                    });
                    orders = Some(receiver);
                }
                _ => {}
            }
            200
        };
        request.status = status;
        let method = request.method.clone();
        let sequence = request.headers.get("cseq").cloned().unwrap_or_default();
        self.state.seen.send_modify(|seen| seen.push(request));
        if let Some(bytes) = script.before.get(method.as_str()) {
            self.out.write_all(bytes).await?;
        }
        if !script.silent.contains(&method.as_str()) {
            let mut answer = format!("RTSP/1.0 {status} X\r\nCSeq: {sequence}\r\n");
            for header in headers {
                answer += &format!("{header}\r\n");
            }
            if !body.is_empty() {
                answer += &format!("Content-Length: {}\r\n", body.len());
            }
            answer += "\r\n";
            answer += &body;
            self.out.write_all(answer.as_bytes()).await?;
        }
        if let Some(bytes) = script.after.get(method.as_str()) {
            self.out.write_all(bytes).await?;
        }
        if orders.is_some() {
            for picture in &script.on_play {
                self.send(picture).await?;
            }
        }
        Ok(orders)
    }

    /// The 401's challenge, where the request is not good enough.
    fn challenge(&self, script: &Script, request: &Seen) -> Option<String> {
        let auth = script.auth.as_ref()?;
        let mut nonce = self.state.nonce.lock().unwrap();
        let good = request.headers.get("authorization").is_some_and(|given| {
            let all = auth.challenges.iter().flat_map(|c| c.split('\n'));
            let mut digest = all.filter(|c| c.starts_with("Digest"));
            let number = format!("n{}", nonce.0);
            digest.any(|c| check_digest(given, &c.replace("NONCE", &number), auth, request))
                || given
                    == &format!(
                        "Basic {}",
                        STANDARD.encode(format!("{}:{}", auth.user, auth.password))
                    )
        });
        if good && nonce.1 < auth.nonce_uses {
            nonce.1 += 1;
            return None;
        }
        *nonce = (nonce.0 + 1, 0);
        let mut refused = self.state.refused.lock().unwrap();
        let at = (*refused).min(auth.challenges.len() - 1);
        *refused += 1;
        Some(auth.challenges[at].replace("NONCE", &format!("n{}", nonce.0)))
    }

    async fn transport(&mut self, request: &Seen) -> std::io::Result<String> {
        let wish = request
            .headers
            .get("transport")
            .cloned()
            .unwrap_or_default();
        let Some(ports) = wish.split("client_port=").nth(1) else {
            return Ok(wish);
        };
        let port: u16 = ports.split('-').next().unwrap().parse().unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").await?;
        let own = socket.local_addr()?.port();
        self.udp = Some((socket, ([127, 0, 0, 1], port).into()));
        Ok(format!("{wish};server_port={own}-{}", own.wrapping_add(1)))
    }

    async fn send(&mut self, picture: &Picture) -> std::io::Result<()> {
        for (i, nal) in picture.nals.iter().enumerate() {
            let last = i + 1 == picture.nals.len();
            self.packet(picture.rtp, last, nal).await?;
        }
        Ok(())
    }

    async fn packet(&mut self, rtp: u32, last: bool, nal: &[u8]) -> std::io::Result<()> {
        let sequence = {
            let mut sequence = self.state.sequence.lock().unwrap();
            *sequence = sequence.wrapping_add(1);
            *sequence
        };
        let mut packet = vec![0x80, if last { 0x80 | 96 } else { 96 }];
        packet.extend(sequence.to_be_bytes());
        packet.extend(rtp.to_be_bytes());
        packet.extend([1, 2, 3, 4]);
        packet.extend(nal);
        if let Some((socket, to)) = &self.udp {
            socket.send_to(&packet, to).await?;
            return Ok(());
        }
        let mut framed = vec![b'$', 0];
        framed.extend(u16::try_from(packet.len()).unwrap().to_be_bytes());
        framed.extend(packet);
        self.out.write_all(&framed).await
    }
}

/// Checks a Digest answer against the challenge it must answer.
pub fn check_digest(given: &str, challenge: &str, auth: &Auth, request: &Seen) -> bool {
    let field = |text: &str, name: &str| {
        let at = text.find(&format!(" {name}="))? + name.len() + 2;
        let rest = &text[at..];
        Some(match rest.strip_prefix('"') {
            Some(quoted) => quoted.split('"').next()?.to_owned(),
            None => rest.split(',').next()?.trim().to_owned(),
        })
    };
    let check = || {
        let uri = field(given, "uri")?;
        let count = field(given, "nc").unwrap_or_else(|| "1".to_owned());
        let count = u32::from_str_radix(&count, 16).ok()?;
        let challenge = http_auth::ChallengeParser::new(challenge).next()?.ok()?;
        let mut client = http_auth::DigestClient::try_from(&challenge).ok()?;
        let mut expected = String::new();
        for _ in 0..count {
            let params = http_auth::PasswordParams {
                username: auth.user,
                password: auth.password,
                uri: &uri,
                method: &request.method,
                body: Some(&[]),
            };
            let cnonce = field(given, "cnonce").unwrap_or_default();
            expected = client.respond_with_testing_cnonce(&params, &cnonce).ok()?;
        }
        let same =
            |name| field(given, name).is_some() && field(given, name) == field(&expected, name);
        Some(uri == request.uri && same("response") && same("nonce"))
    };
    check().unwrap_or(false)
}

async fn next_order(orders: &mut Option<mpsc::Receiver<Order>>) -> Option<Order> {
    match orders {
        Some(orders) => orders.recv().await,
        None => std::future::pending().await,
    }
}

struct Reader {
    input: OwnedReadHalf,
    buffer: Vec<u8>,
}

impl Reader {
    /// The next request; answers of the client's and its RTCP are skipped.
    async fn request(&mut self) -> std::io::Result<Option<Seen>> {
        loop {
            if let Some(seen) = self.parse() {
                return Ok(Some(seen));
            }
            let mut chunk = [0; 4096];
            let count = self.input.read(&mut chunk).await?;
            if count == 0 {
                return Ok(None);
            }
            self.buffer.extend(&chunk[..count]);
        }
    }

    fn parse(&mut self) -> Option<Seen> {
        while self.buffer.first() == Some(&b'$') {
            let length = u16::from_be_bytes([*self.buffer.get(2)?, *self.buffer.get(3)?]);
            let end = 4 + usize::from(length);
            self.buffer.get(..end)?;
            self.buffer.drain(..end);
        }
        let end = self.buffer.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
        let head: Vec<u8> = self.buffer.drain(..end).collect();
        let head = String::from_utf8(head).unwrap();
        let mut lines = head.split("\r\n");
        let mut first = lines.next()?.split(' ');
        let method = first.next()?.to_owned();
        let uri = first.next()?.to_owned();
        let headers = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        Some(Seen {
            connection: 0,
            method,
            uri,
            headers,
            status: 0,
        })
    }
}
