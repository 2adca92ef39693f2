//! The operator's side of the receiver's API, for the shell commands: signs on
//! this machine, speaks HTTP/1.1 over TCP or TLS, and shows refusals as the
//! operator's language has them.
//!
//! Bounds: [`CONNECT_TIMEOUT`], [`ANSWER_TIMEOUT`], bodies of [`BODY_LIMIT`].
#![allow(clippy::print_stderr)]

mod signing;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use clap::Args;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde::Deserialize;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use url::{Host, Url};
use uuid::Uuid;

use self::signing::signer_of;
use super::Usage;
use super::french::French;
use crate::clock::{Clock, Wall};
use crate::format::ids::{CentreId, RequestId};
use crate::format::jws::Signer;
use crate::format::statement::{TOKEN_TYPE, TokenClaims};
use crate::format::{pem, text};
use crate::http::STALLED;
use crate::reason::Reason;

/// How long connecting may take, the TLS handshake included.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an answer may take, its body included.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(45);
/// Largest answer that is read, in bytes.
pub const BODY_LIMIT: usize = 4 * 1024 * 1024;
/// Life of a bearer token, in seconds: one call.
const TOKEN_LIFE: i64 = 120;
/// Clocks further apart than this are told about: a request is fresh for 60 s.
const CLOCK_WARNING: Duration = Duration::from_secs(30);
/// Largest PEM file that is read, in bytes.
const PEM_LIMIT: u64 = 256 * 1024;

/// Which receiver, and who asks.
#[derive(Clone, Debug, Args)]
pub struct ReceiverArgs {
    #[arg(
        long,
        value_name = "URL",
        help = "The receiver's API, such as https://corg13.example:8889"
    )]
    receiver: Url,
    /// Your private key (PEM); it never leaves this machine
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Your designation: the certificate, then any intermediate ones (PEM)
    #[arg(long, value_name = "FILE")]
    cert: PathBuf,
    /// The authority that signed the receiver's TLS certificate (PEM); needed for https
    #[arg(long, value_name = "FILE")]
    authority: Option<PathBuf>,
}

impl ReceiverArgs {
    /// A receiver without TLS, and who asks.
    pub const fn new(receiver: Url, key: PathBuf, cert: PathBuf) -> Self {
        Self::with(receiver, key, cert, None)
    }

    /// Any server of fanal's API, who asks, and who signed the server's certificate.
    pub const fn with(
        receiver: Url,
        key: PathBuf,
        cert: PathBuf,
        authority: Option<PathBuf>,
    ) -> Self {
        Self {
            receiver,
            key,
            cert,
            authority,
        }
    }
}

/// The kernel's buffer of what came and was not read: as small as the receiver's own, so that
/// late video waits where it can be skipped.
const RECEIVE_BUFFER: usize = 512 * 1024;

/// Speaks with one receiver as one operator.
pub struct Client {
    host: Host<String>,
    port: u16,
    /// As in the `Host` header.
    authority: String,
    /// As in the `Origin` header.
    origin: String,
    tls: Option<TlsConnector>,
    signer: RwLock<Arc<Signer>>,
    /// The files of the key and of the certificate.
    files: (PathBuf, PathBuf),
    clock: Clock,
    /// The receiver's centre; the commune, where it is a gateway's page.
    centre: CentreId,
    server: Server,
}

/// What a server of the API is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    /// A centre's receiver.
    Centre,
    /// A commune's gateway, with its page.
    Commune,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("origin", &self.origin)
            .field("centre", &self.centre)
            .finish_non_exhaustive()
    }
}

/// An answer that is no refusal.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The body; null where there is none.
    pub json: Value,
}

/// The receiver said no, in a problem document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Refused {
    /// The code.
    pub reason: Reason,
    /// The HTTP status.
    pub status: u16,
    /// What the operator reads.
    text: String,
}

/// What `GET /api/v1/time` answers.
#[derive(Debug, Deserialize)]
pub struct CentreTime {
    unix_ms: i64,
    #[serde(flatten)]
    whose: Whose,
}

/// Who says so. Both ids are formed alike.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Whose {
    Centre(CentreId),
    Commune(CentreId),
}

impl CentreTime {
    /// The centre's time.
    pub fn wall(&self) -> Wall {
        Wall(self.unix_ms.saturating_mul(1_000))
    }
}

impl Client {
    /// Reads key, certificate and authority, and asks the receiver which centre
    /// it is. Its clock is only compared with ours, never followed: it could
    /// have a request signed for another day.
    ///
    /// # Errors
    ///
    /// A file is wrong, or nobody answers there, or it is not fanal's API.
    pub async fn connect(args: &ReceiverArgs) -> anyhow::Result<Self> {
        let mut client = Self::of(args)?;
        let theirs = client.learn_centre().await?;
        client.compare_clocks(theirs);
        Ok(client)
    }

    /// The same for who follows the centre's clock himself, within bounds of his own.
    ///
    /// # Errors
    ///
    /// As [`Client::connect`].
    pub async fn connect_following(args: &ReceiverArgs) -> anyhow::Result<Self> {
        let mut client = Self::of(args)?;
        client.learn_centre().await?;
        Ok(client)
    }

    fn of(args: &ReceiverArgs) -> anyhow::Result<Self> {
        let url = &args.receiver;
        let secure = match url.scheme() {
            "https" => true,
            "http" => false,
            other => bail!(Usage(format!(
                "--receiver: {other} is no scheme of the API; write https://… or http://…"
            ))),
        };
        let host = url.host().map(|host| host.to_owned());
        let host = host.ok_or_else(|| Usage("--receiver names no host".to_owned()))?;
        let port = url.port_or_known_default().unwrap_or(443);
        let authority = match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_string(),
        };
        if !secure && !is_loopback(&host) {
            eprintln!(
                "fanal: warning: {url} is not encrypted; use https where the receiver has it"
            );
        }
        let signer = signer_of(&args.key, &args.cert)?;
        Ok(Self {
            origin: format!("{}://{authority}", url.scheme()),
            host,
            port,
            authority,
            tls: secure.then(|| tls(args.authority.as_deref())).transpose()?,
            signer: RwLock::new(Arc::new(signer)),
            files: (args.key.clone(), args.cert.clone()),
            clock: Clock::system(),
            // Replaced at once: nothing is signed before.
            centre: CentreId::new("unknown")?,
            server: Server::Centre,
        })
    }

    /// Gives the centre's time.
    async fn learn_centre(&mut self) -> anyhow::Result<Wall> {
        let time = self.centre_time().await?;
        let theirs = time.wall();
        (self.server, self.centre) = match time.whose {
            Whose::Centre(id) => (Server::Centre, id),
            Whose::Commune(id) => (Server::Commune, id),
        };
        Ok(theirs)
    }

    fn compare_clocks(&self, theirs: Wall) {
        let ours = self.now();
        let apart = theirs.since(ours).max(ours.since(theirs));
        if apart > CLOCK_WARNING {
            let side = if ours < theirs { "behind" } else { "ahead of" };
            let seconds = apart.as_secs();
            eprintln!(
                "fanal: warning: this machine's clock is {seconds} s {side} the centre's; set it, \
                 or requests will be refused as stale"
            );
        }
    }

    /// The centre's time, as the receiver says.
    ///
    /// # Errors
    ///
    /// No answer, or none with a time.
    pub async fn centre_time(&self) -> anyhow::Result<CentreTime> {
        let answer = self.get_openly("/api/v1/time").await?;
        serde_json::from_value(answer.json)
            .with_context(|| format!("{}: GET /api/v1/time is not fanal's", self.origin))
    }

    /// Asks for what needs no token; a refusal is a [`Refused`].
    ///
    /// # Errors
    ///
    /// A [`Refused`], or no answer.
    pub async fn get_openly(&self, path: &str) -> anyhow::Result<Answer> {
        self.exchange(Method::GET, path, None, None).await
    }

    /// As in the `Host` header.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// As in the `Origin` header.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// What the server is.
    pub const fn server(&self) -> Server {
        self.server
    }

    /// The receiver's centre; the commune, where it is a gateway's page.
    pub fn centre(&self) -> &CentreId {
        &self.centre
    }

    /// This machine's time.
    pub fn now(&self) -> Wall {
        self.clock.now().wall
    }

    /// Signs a statement with the operator's key.
    pub fn sign<T: serde::Serialize>(&self, typ: &str, claims: &T) -> String {
        self.signer().sign(typ, claims)
    }

    /// Sends a signed request; a refusal is a [`Refused`].
    ///
    /// # Errors
    ///
    /// A [`Refused`], or no answer.
    pub async fn post_request(&self, request: String) -> anyhow::Result<Answer> {
        let body = ("application/jose", request.into_bytes());
        self.exchange(Method::POST, "/api/v1/requests", Some(body), None)
            .await
    }

    /// Calls the API with a fresh bearer token; a refusal is a [`Refused`].
    ///
    /// # Errors
    ///
    /// A [`Refused`], or no answer.
    pub async fn call(&self, method: Method, path: &str) -> anyhow::Result<Answer> {
        let token = self.sign_token(self.now().seconds(), TOKEN_LIFE);
        self.exchange(method, path, None, Some(token)).await
    }

    /// The same for an answer that is text and no JSON.
    ///
    /// # Errors
    ///
    /// A [`Refused`], or no answer.
    pub async fn text(&self, path: &str) -> anyhow::Result<String> {
        let token = self.sign_token(self.now().seconds(), TOKEN_LIFE);
        let (_, bytes) = self.fetch(Method::GET, path, None, Some(token)).await?;
        Ok(String::from_utf8(bytes.to_vec())?)
    }

    /// A bearer token for this centre, `life` seconds long.
    pub fn sign_token(&self, iat: i64, life: i64) -> String {
        let claims = TokenClaims {
            jti: new_id(),
            iat,
            exp: iat.saturating_add(life),
            aud: self.centre.clone(),
        };
        self.signer().sign(TOKEN_TYPE, &claims)
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<(&str, Vec<u8>)>,
        token: Option<String>,
    ) -> anyhow::Result<Answer> {
        let (status, bytes) = self.fetch(method, path, body, token).await?;
        let json = json_of(&bytes);
        let json = json.with_context(|| format!("{}{path}: the answer is no JSON", self.origin))?;
        Ok(Answer { status, json })
    }

    /// The bytes of an answer that is no refusal.
    async fn fetch(
        &self,
        method: Method,
        path: &str,
        body: Option<(&str, Vec<u8>)>,
        token: Option<String>,
    ) -> anyhow::Result<(StatusCode, Bytes)> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, &self.authority)
            .header(header::ORIGIN, &self.origin)
            .header(header::ACCEPT, "application/json");
        if let Some(token) = token {
            let mut bearer = header::HeaderValue::try_from(format!("Bearer {token}"))?;
            bearer.set_sensitive(true);
            request = request.header(header::AUTHORIZATION, bearer);
        }
        let (kind, bytes) = body.unzip();
        if let Some(kind) = kind {
            request = request.header(header::CONTENT_TYPE, kind);
        }
        let request = request.body(Full::new(Bytes::from(bytes.unwrap_or_default())))?;
        let origin = &self.origin;
        let stream = self.open().await?;
        let answered = tokio::time::timeout(ANSWER_TIMEOUT, speak(stream, request)).await;
        let (status, bytes) = answered
            .map_err(|_| anyhow::anyhow!("no answer within {} s", ANSWER_TIMEOUT.as_secs()))
            .and_then(|answered| answered)
            .with_context(|| format!("speaking with {origin}"))?;
        if status.is_success() {
            return Ok((status, bytes));
        }
        Err(refused(
            status,
            &json_of(&bytes).unwrap_or(Value::Null),
            French::of_environment(),
        )
        .into())
    }

    /// A connection to the receiver, over TLS where its URL says so; within
    /// [`CONNECT_TIMEOUT`]. A receiver that is gone is noticed by TCP itself.
    ///
    /// # Errors
    ///
    /// No address answers in time, or TLS fails.
    pub async fn open(&self) -> anyhow::Result<Box<dyn Stream>> {
        let connected = tokio::time::timeout(CONNECT_TIMEOUT, self.connect_once()).await;
        connected
            .map_err(|_| anyhow::anyhow!("{} s passed", CONNECT_TIMEOUT.as_secs()))
            .and_then(|opened| opened)
            .with_context(|| format!("connecting to {}", self.origin))
    }

    async fn connect_once(&self) -> anyhow::Result<Box<dyn Stream>> {
        let name = match &self.host {
            Host::Domain(name) => name.clone(),
            Host::Ipv4(address) => address.to_string(),
            Host::Ipv6(address) => address.to_string(),
        };
        let stream = TcpStream::connect((name.as_str(), self.port)).await?;
        stream.set_nodelay(true)?;
        let socket = socket2::SockRef::from(&stream);
        socket.set_tcp_user_timeout(Some(STALLED))?;
        socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
        let probes = socket2::TcpKeepalive::new()
            .with_time(STALLED / 2)
            .with_interval(STALLED / 6)
            .with_retries(3);
        socket.set_tcp_keepalive(&probes)?;
        match &self.tls {
            Some(tls) => {
                let name = ServerName::try_from(name)?;
                Ok(Box::new(tls.connect(name, stream).await?))
            }
            None => Ok(Box::new(stream)),
        }
    }
}

/// TCP or TLS.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// One request and its answer over a connection of its own.
/// The JSON of a body; null where there is none.
fn json_of(bytes: &[u8]) -> serde_json::Result<Value> {
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(bytes)
}

async fn speak(
    stream: Box<dyn Stream>,
    request: Request<Full<Bytes>>,
) -> anyhow::Result<(StatusCode, Bytes)> {
    let handshake = hyper::client::conn::http1::Builder::new()
        .max_headers(100)
        .handshake(TokioIo::new(stream));
    let (mut sender, connection) = handshake.await?;
    let exchange = async move {
        let response = sender.send_request(request).await?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, BODY_LIMIT).collect().await;
        let body = body.map_err(|error| anyhow::anyhow!("the answer's body: {error}"))?;
        anyhow::Ok((parts.status, body.to_bytes()))
    };
    // The connection ends once the sender is dropped; its errors are the exchange's.
    let (answer, _) = tokio::join!(exchange, connection);
    answer
}

/// A TLS client that trusts this authority alone.
fn tls(authority: Option<&Path>) -> anyhow::Result<TlsConnector> {
    let path = authority.ok_or_else(|| {
        Usage("an https receiver needs --authority FILE: who signed its certificate".to_owned())
    })?;
    let text = read(path).context("--authority")?;
    let mut roots = rustls::RootCertStore::empty();
    let certificates = pem::certificates(text.as_bytes());
    let read = certificates.is_ok_and(|all| all.into_iter().all(|one| roots.add(one).is_ok()));
    if !read {
        bail!(Usage(format!(
            "--authority {}: a certificate in it can't be read",
            path.display()
        )));
    }
    if roots.is_empty() {
        bail!(Usage(format!(
            "--authority {} holds no certificate",
            path.display()
        )));
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

fn read(path: &Path) -> anyhow::Result<String> {
    let shown = path.display();
    let length = std::fs::metadata(path)
        .map_err(|error| Usage(format!("{shown}: {error}")))?
        .len();
    if length > PEM_LIMIT {
        bail!(Usage(format!("{shown} is too large for a PEM file")));
    }
    Ok(std::fs::read_to_string(path).map_err(|error| Usage(format!("{shown}: {error}")))?)
}

fn is_loopback(host: &Host<String>) -> bool {
    match host {
        Host::Domain(name) => name == "localhost",
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
    }
}

/// A UUIDv7 for a statement's `jti`.
pub fn new_id() -> RequestId {
    RequestId(Uuid::now_v7())
}

/// What an error answer says, for the operator. Foreign text is bounded and
/// made harmless for a terminal.
fn refused(status: StatusCode, problem: &Value, french: French) -> Refused {
    let text = |value: &Value| value.as_str().map(|text| text::shown(text, 512));
    let code = problem["reason"].as_str();
    let reason = code.and_then(Reason::from_code).unwrap_or(Reason::Internal);
    let Some(code) = code else {
        return Refused {
            reason,
            status: status.as_u16(),
            text: format!("the receiver answered {status} without a reason; is it fanal's API?"),
        };
    };
    let own = if french.0 {
        reason.french()
    } else {
        reason.english()
    };
    let told = text(&problem[if french.0 { "title_fr" } else { "title" }]);
    let sentence = told.unwrap_or_else(|| own.to_owned());
    let mut said = format!("{} ({sentence})", text::shown(code, 64));
    if let Some(detail) = text(&problem["detail"]).filter(|detail| *detail != sentence) {
        said.push_str(&format!("\n  {detail}"));
    }
    for camera in problem["cameras"].as_array().into_iter().flatten().take(64) {
        said.push_str(&format!("\n  {}", refused_camera(camera, french)));
    }
    Refused {
        reason,
        status: status.as_u16(),
        text: said,
    }
}

/// One refused camera of a grant or problem, in a line.
pub fn refused_camera(camera: &Value, french: French) -> String {
    let text = |name: &str| text::shown(camera[name].as_str().unwrap_or_default(), 512);
    let reason = Reason::from_code(&text("reason")).unwrap_or(Reason::Internal);
    let sentence = if french.0 {
        reason.french()
    } else {
        reason.english()
    };
    let detail = text("detail");
    let detail = if detail.is_empty() {
        String::new()
    } else {
        format!(": {detail}")
    };
    format!(
        "{}: {} ({sentence}){detail}",
        text("camera"),
        text("reason")
    )
}

/// Writes JSON on stdout, for people and programs alike.
///
/// # Errors
///
/// Standard output is closed.
pub fn print(json: &Value) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, json)?;
    writeln!(out)?;
    out.flush()?;
    Ok(())
}

/// Runs a command's work on a runtime of its own.
///
/// # Errors
///
/// The work's own, or no runtime can be made.
pub fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(work)
}

/// A duration of the command line, in whole seconds.
///
/// # Errors
///
/// No duration, or out of bounds; in words for the command line.
pub fn parse_seconds(written: &str) -> Result<u32, String> {
    crate::config::values::parse_duration(written)
        .filter(|duration| duration.subsec_nanos() == 0)
        .and_then(|duration| u32::try_from(duration.as_secs()).ok())
        .filter(|seconds| *seconds > 0)
        .ok_or_else(|| "write it like 90s, 20m or 1h30m".to_owned())
}

/// A grant's id on its way into a URL.
pub fn grant_path(grant: crate::format::ids::GrantId) -> String {
    format!("/api/v1/grants/{grant}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn refusals_are_told_in_the_operators_language_with_what_stands_in_the_way() {
        let problem = json!({
            "reason": "duration_too_long", "title": "too long", "title_fr": "trop long",
            "detail": "1 h at most\u{1b}[2J", "status": 403,
            "cameras": [{"camera": "quai-nord", "reason": "camera_not_covered"}],
        });
        let english = refused(StatusCode::FORBIDDEN, &problem, French(false));
        assert_eq!(english.reason, Reason::DurationTooLong);
        let text = english.to_string();
        assert!(text.starts_with("duration_too_long (too long)\n  1 h at most\u{fffd}[2J"));
        assert!(text.contains("quai-nord: camera_not_covered (the agreement does not"));
        let french = refused(StatusCode::FORBIDDEN, &problem, French(true)).to_string();
        assert!(french.contains("(trop long)"), "{french}");
        assert!(french.contains(Reason::CameraNotCovered.french()));
        let foreign = refused(StatusCode::BAD_GATEWAY, &Value::Null, French(true));
        assert!(foreign.to_string().contains("502"), "{foreign}");
    }

    #[test]
    fn durations_of_the_command_line() {
        assert_eq!(parse_seconds("1h30m"), Ok(5400));
        for bad in ["0s", "1.5s", "500ms", "x", "", "99999999999s"] {
            assert!(parse_seconds(bad).is_err(), "{bad}");
        }
    }
}
