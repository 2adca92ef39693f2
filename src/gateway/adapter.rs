//! Stands between retina and a camera, in this process, over loopback: speaks to
//! the camera what cameras need and to retina what retina bears.
//!
//! retina 0.4.21 has no way to be handed a socket, so the adapter listens on a
//! loopback port that serves one connection, whose first request must carry a
//! random token. It is used for every camera with a user name, so that retina
//! never learns a password, and for cameras whose answers retina did not bear.
//!
//! | what cameras do | retina alone | through the adapter |
//! |---|---|---|
//! | ask for Basic, perhaps because somebody plays the camera | sends the password | not answered, unless set |
//! | Digest with SHA-256 beside MD5 | takes the first | takes SHA-256 |
//! | change the nonce in mid-session | keepalive and TEARDOWN fail with 401 | answered anew |
//! | `Content-Type: application/sdp; charset=…` | error | taken |
//! | `Session: 77;foo=bar` | error | taken |
//! | redirect (3xx) of DESCRIBE | error | followed once, to the same host and port |
//! | send requests of their own (OPTIONS) | unanswered, and pictures wait up to a tick | answered |
//! | never answer keepalives, or with another's CSeq | session ends | tolerated: the stall watch tells a dead camera |
//! | never end a picture | gathered until the stall watch closes | closed at 16 MiB |
//! | name a wrong SSRC in `Transport` | session ends | left out |
//!
//! The price is one more hop through the loopback for the bytes of TCP sessions
//! (UDP media go past it). Nothing is queued: what comes is written on before
//! more is read, so that a slow reader slows the camera's TCP, as without it.

mod message;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;
use url::Url;

use super::auth::{Scheme, Unsuitable};
use super::cause;
use super::host::Turn;
use super::session::Target;
use crate::config::settings::{Credential, Transport};
use crate::media::unit::UNIT_LIMIT;
use crate::proto::camera::{Failure, Step};
use crate::reason::Reason;
use message::{Message, Piece};

/// How much is read at a time: some packets, and a large part of a key frame.
const READ_BYTES: usize = 64 * 1024;

/// Reads after PLAY that are acknowledged at once: the first key frame and some.
/// A camera with Nagle's algorithm on holds a picture's last packet back until what
/// went before is acknowledged, which the kernel puts off by 40 ms.
const EAGER_READS: u32 = 64;

/// How long either side may take to accept what is written to it.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long retina may take to connect.
const ACCEPT_TIMEOUT: Duration = Duration::from_secs(5);

/// A running adapter. It ends with retina's connection or the camera's, whichever
/// closes first: so a TEARDOWN that retina sends after a session was dropped
/// still reaches the camera.
#[derive(Debug)]
pub(crate) struct Adapter {
    url: Url,
    verdict: Verdict,
}

/// Why the camera refused, where the adapter knows better than retina.
type Verdict = Arc<Mutex<Option<Failure>>>;

impl Adapter {
    /// Connects to the camera. `turn` is the right to try its password.
    pub(crate) async fn connect(
        target: &Target,
        turn: Option<Turn>,
        busy_wait: Duration,
        tasks: &TaskTracker,
    ) -> Result<Self, Failure> {
        let port = target.url.port().unwrap_or(554);
        // Host names come without the brackets of IPv6 addresses.
        let host = target.host().trim_matches(['[', ']']);
        let connected = TcpStream::connect((host, port)).await;
        let camera = connected.map_err(|error| cause::from_io(&error, Step::Connecting))?;
        let made = Conversation::listen(target, camera, turn, busy_wait).await;
        let (listener, conversation) = made.map_err(|error| {
            tracing::error!(%error, "no loopback port for the camera's adapter");
            cause::again(Reason::Internal, "no loopback port")
        })?;
        let adapter = Self {
            url: conversation.token_url.clone(),
            verdict: conversation.verdict.clone(),
        };
        tasks.spawn(async move {
            match conversation.run(listener).await {
                Ok(()) => tracing::debug!("adapter ended"),
                Err(error) => tracing::debug!(%error, "adapter ended"),
            }
        });
        Ok(adapter)
    }

    /// What retina is to open.
    pub(crate) fn url(&self) -> Url {
        self.url.clone()
    }

    /// Why the camera refused, if the adapter knows.
    pub(crate) fn verdict(&self) -> Option<Failure> {
        self.verdict
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// One conversation between retina and a camera.
struct Conversation {
    camera_in: OwnedReadHalf,
    camera_out: OwnedWriteHalf,
    peer: SocketAddr,
    /// The camera's URL, after a redirect the one it led to.
    uri: String,
    /// What retina asks for first.
    token_url: Url,
    target_url: Url,
    transport: Transport,
    credential: Option<Credential>,
    busy_wait: Duration,
    verdict: Verdict,
    turn: Option<Turn>,
    scheme: Option<Scheme>,
    /// The camera has accepted the password on this connection.
    proven: bool,
    redirected: bool,
    playing: bool,
    /// The keepalive this camera knows.
    keepalive: &'static str,
    sequence: u32,
    pending: Option<Pending>,
    /// Reads still to be acknowledged at once.
    eager_reads: u32,
    /// Bytes of media since a picture last ended: retina gathers them without a bound.
    unfinished: usize,
}

/// A request that the camera has not answered.
#[derive(Debug)]
struct Pending {
    request: Message,
    method: String,
    sequence: u32,
    /// retina's own number; `None`: retina has its answer already.
    asked_as: Option<String>,
    /// How often it carried an `Authorization`.
    signed: u32,
}

/// What to do with the other side.
enum Onward {
    Nothing,
    ToRetina(Message),
    ToCamera,
}

impl Conversation {
    async fn listen(
        target: &Target,
        camera: TcpStream,
        turn: Option<Turn>,
        busy_wait: Duration,
    ) -> std::io::Result<(TcpListener, Self)> {
        // Requests are small and each waits for its answer.
        camera.set_nodelay(true)?;
        let address = match target.transport {
            Transport::Tcp => IpAddr::V4(Ipv4Addr::LOCALHOST),
            // retina takes the media's own address from this connection.
            Transport::Udp => camera.local_addr()?.ip(),
        };
        let listener = TcpListener::bind((address, 0)).await?;
        let own = listener.local_addr()?;
        let mut token = [0; 16];
        getrandom::fill(&mut token).map_err(std::io::Error::other)?;
        let token: String = token.iter().map(|byte| format!("{byte:02x}")).collect();
        let url = Url::parse(&format!("rtsp://{own}/{token}")).map_err(std::io::Error::other)?;
        let peer = camera.peer_addr()?;
        let (camera_in, camera_out) = camera.into_split();
        let conversation = Self {
            camera_in,
            camera_out,
            peer,
            uri: target.url.to_string(),
            token_url: url,
            target_url: target.url.clone(),
            transport: target.transport,
            credential: target.credential.clone(),
            busy_wait,
            verdict: Verdict::default(),
            turn,
            scheme: None,
            proven: false,
            redirected: false,
            playing: false,
            keepalive: "OPTIONS",
            sequence: 0,
            pending: None,
            eager_reads: 0,
            unfinished: 0,
        };
        Ok((listener, conversation))
    }

    async fn run(mut self, listener: TcpListener) -> std::io::Result<()> {
        let (retina, from) = timed(ACCEPT_TIMEOUT, listener.accept()).await?;
        if from.ip() != listener.local_addr()?.ip() {
            return Err(std::io::Error::other("a stranger connected"));
        }
        drop(listener);
        retina.set_nodelay(true)?;
        let (mut retina_in, mut retina_out) = retina.into_split();
        let mut from_camera = BytesMut::with_capacity(READ_BYTES);
        let mut from_retina = BytesMut::new();
        loop {
            from_camera.reserve(READ_BYTES / 2);
            let count = tokio::select! {
                biased;
                count = retina_in.read_buf(&mut from_retina) => {
                    if count? == 0 {
                        return Ok(());
                    }
                    self.hear_retina(&mut from_retina, &mut retina_out).await?;
                    continue;
                }
                count = self.camera_in.read_buf(&mut from_camera) => count?,
            };
            if self.eager_reads > 0 {
                self.eager_reads -= 1;
                self.acknowledge_at_once();
            }
            if count == 0 {
                return Ok(());
            }
            self.hear_camera(&mut from_camera, &mut retina_out).await?;
        }
    }

    async fn hear_retina(
        &mut self,
        bytes: &mut BytesMut,
        retina: &mut OwnedWriteHalf,
    ) -> std::io::Result<()> {
        loop {
            match Piece::take(bytes).map_err(std::io::Error::other)? {
                Piece::Partial => return Ok(()),
                // Receiver reports, should retina ever send any: the camera may have them.
                Piece::Packets(length) => {
                    let packets = bytes.split_to(length);
                    write(&mut self.camera_out, &packets).await?;
                }
                Piece::Message(message) => {
                    if let Some(answer) = self.ask(message).await? {
                        write(retina, &answer.encode()).await?;
                    }
                }
            }
        }
    }

    /// Passes a request of retina's on; keepalives are answered at once.
    async fn ask(&mut self, request: Message) -> std::io::Result<Option<Message>> {
        let Some((method, uri)) = request.asked() else {
            return Ok(None);
        };
        let (mut method, uri) = (method.to_owned(), uri.to_owned());
        if self.sequence == 0 && uri != self.token_url.as_str() {
            return Err(std::io::Error::other("a stranger connected"));
        }
        let asked_as = request.header("CSeq").unwrap_or_default().to_owned();
        let uri = if uri == self.token_url.as_str() {
            self.uri.clone()
        } else {
            uri
        };
        let alive = self.playing && method != "TEARDOWN";
        if alive {
            let mut answer = Message::response(200, "OK");
            answer.set("CSeq", asked_as.clone());
            // One that was not answered is given up: some cameras never do.
            method = self.keepalive.to_owned();
            self.send(request.retarget(&method, &uri), method, None)
                .await?;
            return Ok(Some(answer));
        }
        let request = request.retarget(&method, &uri);
        self.send(request, method, Some(asked_as)).await?;
        Ok(None)
    }

    async fn send(
        &mut self,
        request: Message,
        method: String,
        asked_as: Option<String>,
    ) -> std::io::Result<()> {
        self.pending = Some(Pending {
            request,
            method,
            sequence: 0,
            asked_as,
            signed: 0,
        });
        self.transmit().await
    }

    /// Holds until something is sent, so it is said after each read.
    fn acknowledge_at_once(&self) {
        let socket: &TcpStream = self.camera_in.as_ref();
        if let Err(error) = rustix::net::sockopt::set_tcp_quickack(socket, true) {
            tracing::debug!(%error, "acknowledgements to the camera are put off");
        }
    }

    /// Sends the pending request, signed where the camera asked for it.
    async fn transmit(&mut self) -> std::io::Result<()> {
        let Some(pending) = &mut self.pending else {
            return Ok(());
        };
        self.sequence += 1;
        pending.sequence = self.sequence;
        pending.request.set("CSeq", self.sequence.to_string());
        if let (Some(scheme), Some(credential), Some((method, uri))) =
            (&mut self.scheme, &self.credential, pending.request.asked())
        {
            let (method, uri) = (method.to_owned(), uri.to_owned());
            let answer = scheme
                .authorization(credential, &method, &uri, &[])
                .map_err(std::io::Error::other)?;
            pending.request.set("Authorization", answer);
            pending.signed += 1;
        }
        let bytes = pending.request.encode();
        let plays = pending.method == "PLAY";
        write(&mut self.camera_out, &bytes).await?;
        if plays {
            self.eager_reads = EAGER_READS;
            self.acknowledge_at_once();
        }
        Ok(())
    }

    async fn hear_camera(
        &mut self,
        bytes: &mut BytesMut,
        retina: &mut OwnedWriteHalf,
    ) -> std::io::Result<()> {
        loop {
            match Piece::take(bytes) {
                Ok(Piece::Partial) => return Ok(()),
                Ok(Piece::Packets(length)) => {
                    self.unfinished = message::unfinished(&bytes[..length], self.unfinished);
                    if self.unfinished > 2 * UNIT_LIMIT {
                        return Err(std::io::Error::other("a picture without end"));
                    }
                    write(retina, &bytes[..length]).await?;
                    bytes.advance(length);
                }
                Ok(Piece::Message(message)) if message.status().is_none() => {
                    let answer = answer_camera(&message);
                    write(&mut self.camera_out, &answer.encode()).await?;
                }
                Ok(Piece::Message(message)) => match self.judge(message) {
                    Onward::Nothing => {}
                    Onward::ToCamera => self.transmit().await?,
                    Onward::ToRetina(answer) => write(retina, &answer.encode()).await?,
                },
                Err(malformed) => {
                    self.decide(cause::again(
                        Reason::CameraRefused,
                        format!("it sent {malformed}"),
                    ));
                    return Err(std::io::Error::other(malformed));
                }
            }
        }
    }

    /// What an answer of the camera's leads to.
    fn judge(&mut self, answer: Message) -> Onward {
        let Some(pending) = &self.pending else {
            return Onward::Nothing; // A keepalive's that was given up.
        };
        let number: Option<u32> = answer.header("CSeq").and_then(|n| n.parse().ok());
        if self.playing && number.is_some_and(|number| number < pending.sequence) {
            return Onward::Nothing;
        }
        match answer.status().unwrap_or(0) {
            401 => self.challenged(answer),
            300..=399 if pending.method == "DESCRIBE" => self.redirect(answer),
            200..=299 => self.accepted(answer),
            status => {
                if pending.asked_as.is_some() && pending.method != "TEARDOWN" {
                    let step = step_of(&pending.method);
                    self.decide(cause::from_status(status, step, self.busy_wait));
                }
                self.pass_on(answer)
            }
        }
    }

    fn accepted(&mut self, answer: Message) -> Onward {
        let Some(pending) = &self.pending else {
            return Onward::Nothing;
        };
        self.proven |= pending.signed > 0;
        match self.turn.take() {
            Some(turn) if pending.signed > 0 => turn.accepted(),
            Some(_) | None => {}
        }
        match pending.method.as_str() {
            "PLAY" => self.playing = true,
            // RFC 2326 has no keepalive; this is what cameras know, in the order in which they do it well.
            "OPTIONS" if pending.asked_as.is_none() => {
                let public = answer.header("Public").unwrap_or_default();
                self.keepalive = ["GET_PARAMETER", "SET_PARAMETER"]
                    .into_iter()
                    .find(|method| public.contains(method))
                    .unwrap_or("OPTIONS");
            }
            _ => {}
        }
        self.pass_on(answer)
    }

    /// A 401: answered once with the password, and again only for a new nonce.
    fn challenged(&mut self, answer: Message) -> Onward {
        let Some(pending) = &self.pending else {
            return Onward::Nothing;
        };
        let signed = pending.signed;
        let Some(credential) = &self.credential else {
            self.decide(cause::hold(
                Reason::CameraUnauthorized,
                "it asks for a user name and password, and none is set",
            ));
            return self.pass_on(answer);
        };
        let chosen = Scheme::choose(answer.all("WWW-Authenticate"), credential.basic);
        let detail = match chosen {
            Ok(scheme) if signed == 0 || (signed < 3 && (self.proven || scheme.is_stale())) => {
                self.scheme = Some(scheme);
                return Onward::ToCamera;
            }
            Ok(_) => "it refuses the user name or password",
            Err(Unsuitable::BasicOnly) => {
                "it offers only Basic, which gives the password to whoever answers at its address; allow it with auth = \"basic\" on a network you trust, or set the camera to Digest"
            }
            Err(Unsuitable::Unknown) => "it asks for a password in a way that is not known here",
        };
        let failure = cause::hold(Reason::CameraUnauthorized, detail);
        if let (Some(turn), true) = (self.turn.take(), signed > 0) {
            turn.refused(&failure.refusal);
        }
        self.decide(failure);
        self.pass_on(answer)
    }

    /// A redirect: followed once, to another path of the same host and port.
    fn redirect(&mut self, answer: Message) -> Onward {
        let base = Url::parse(&self.uri).ok();
        let location = answer
            .header("Location")
            .and_then(|location| base.and_then(|base| base.join(location).ok()))
            .filter(|location| {
                location.scheme() == "rtsp"
                    && location.host() == self.target_url.host()
                    && location.port().unwrap_or(554) == self.target_url.port().unwrap_or(554)
                    && location.username().is_empty()
                    && location.password().is_none()
            });
        match (location, self.redirected, &mut self.pending) {
            (Some(location), false, Some(pending)) => {
                self.redirected = true;
                self.uri = location.to_string();
                let request = pending.request.clone();
                pending.request = request.retarget("DESCRIBE", &self.uri);
                pending.signed = 0;
                Onward::ToCamera
            }
            _ => {
                let status = answer.status().unwrap_or(302);
                self.decide(cause::from_status(status, Step::Describing, self.busy_wait));
                self.pass_on(answer)
            }
        }
    }

    /// The answer as retina bears it, under retina's own number.
    fn pass_on(&mut self, mut answer: Message) -> Onward {
        let Some(Pending {
            asked_as: Some(asked_as),
            method,
            ..
        }) = self.pending.take()
        else {
            return Onward::Nothing;
        };
        answer.set("CSeq", asked_as);
        answer.remove("WWW-Authenticate");
        if let Some(session) = answer.header("Session").map(plain_session) {
            answer.set("Session", session);
        }
        if method == "DESCRIBE" {
            if let Some(kind) = answer.header("Content-Type").map(plain_type) {
                answer.set("Content-Type", kind);
            }
            if answer.header("Content-Base").is_none()
                && answer.header("Content-Location").is_none()
            {
                answer.set("Content-Base", self.uri.clone());
            }
        }
        if let Some(transport) = answer.header("Transport") {
            let transport = self.plain_transport(transport);
            answer.set("Transport", transport);
        }
        Onward::ToRetina(answer)
    }

    /// Without the SSRC, which some cameras get wrong; for UDP with the camera's
    /// address, which retina would otherwise take for this adapter's.
    fn plain_transport(&self, transport: &str) -> String {
        let parts = transport.split(';').map(str::trim);
        let keeps = |part: &&str| {
            let source = part.strip_prefix("source=");
            !part.starts_with("ssrc=") && source.is_none_or(|s| s.parse::<IpAddr>().is_ok())
        };
        let mut kept: Vec<&str> = parts.filter(keeps).collect();
        let source = format!("source={}", self.peer.ip());
        if self.transport == Transport::Udp && !kept.iter().any(|part| part.starts_with("source="))
        {
            kept.push(&source);
        }
        kept.join(";")
    }

    /// Notes why it failed; the first cause stands.
    fn decide(&self, failure: Failure) {
        let mut verdict = self.verdict.lock().unwrap_or_else(PoisonError::into_inner);
        if verdict.is_none() {
            *verdict = Some(failure);
        }
    }
}

/// `Session` with its timeout and nothing else (RFC 2326 12.37).
fn plain_session(session: &str) -> String {
    let mut parts = session.split(';').map(str::trim);
    let id = parts.next().unwrap_or_default();
    let timeout = parts
        .filter_map(|part| part.split_once('='))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("timeout"))
        .and_then(|(_, value)| value.trim().parse::<u32>().ok())
        .filter(|timeout| *timeout > 0);
    match timeout {
        Some(timeout) => format!("{id};timeout={timeout}"),
        None => id.to_owned(),
    }
}

/// `Content-Type` without parameters.
fn plain_type(kind: &str) -> String {
    let kind = kind.split(';').next().unwrap_or_default();
    kind.trim().to_ascii_lowercase()
}

/// The answer to a request of the camera's: it is alive, and can do nothing.
fn answer_camera(request: &Message) -> Message {
    let mut answer = match request.asked() {
        Some(("OPTIONS" | "GET_PARAMETER" | "SET_PARAMETER", _)) => Message::response(200, "OK"),
        _ => Message::response(501, "Not Implemented"),
    };
    for name in ["CSeq", "Session"] {
        if let Some(value) = request.header(name) {
            answer.set(name, value);
        }
    }
    answer
}

fn step_of(method: &str) -> Step {
    match method {
        "SETUP" => Step::SettingUp,
        "PLAY" => Step::Playing,
        _ => Step::Describing,
    }
}

async fn write(to: &mut OwnedWriteHalf, bytes: &[u8]) -> std::io::Result<()> {
    timed(WRITE_TIMEOUT, to.write_all(bytes)).await
}

async fn timed<T>(
    limit: Duration,
    work: impl Future<Output = std::io::Result<T>>,
) -> std::io::Result<T> {
    match tokio::time::timeout(limit, work).await {
        Ok(done) => done,
        Err(_) => Err(std::io::ErrorKind::TimedOut.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_headers_are_made_plain() {
        assert_eq!(plain_session("77;foo=bar"), "77");
        assert_eq!(plain_session("77 ; foo=bar; Timeout = 30"), "77;timeout=30");
        assert_eq!(plain_session("77;timeout=0"), "77");
        assert_eq!(
            plain_type("Application/SDP; charset=utf-8"),
            "application/sdp"
        );
    }
}
