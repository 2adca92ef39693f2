//! One POST to another site, over a connection of its own, within bounds. No redirect is
//! followed, and TLS trusts the authorities of this machine's system.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use url::{Position, Url};

use crate::connect;
use crate::pki;

/// What one exchange may take.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Connection, TLS and answer together.
    pub time: Duration,
    /// Bytes of the answer's head.
    pub head: usize,
    /// Bytes of the answer's body.
    pub body: usize,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body's kind, without parameters; empty where none is told.
    pub content_type: String,
    /// The body.
    pub body: Bytes,
}

/// Posts; clones share the system's authorities, which are read once.
#[derive(Clone)]
pub struct Client {
    /// Or why there is none.
    tls: Result<TlsConnector, String>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

impl Client {
    /// Reads the system's authorities, from files. Where there are none, or none can be read,
    /// only plain HTTP works, and the others' errors say so.
    pub fn new() -> Self {
        Self::of(pki::client(None, &["http/1.1"]))
    }

    /// Trusts these authorities alone.
    pub fn trusting(roots: rustls::RootCertStore) -> Self {
        Self::of(pki::client_trusting(roots, &["http/1.1"]))
    }

    fn of(tls: Result<rustls::ClientConfig, String>) -> Self {
        Self {
            tls: tls.map(|config| TlsConnector::from(Arc::new(config))),
        }
    }

    /// Sends `body` to `url` (http or https) and returns whatever is answered.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn post(
        &self,
        url: &Url,
        content_type: &str,
        body: String,
        bounds: Bounds,
    ) -> Result<Answer, String> {
        let exchange = self.exchange(url, content_type, body, bounds);
        match tokio::time::timeout(bounds.time, exchange).await {
            Ok(answer) => answer,
            Err(_) => Err(format!("no answer within {} s", bounds.time.as_secs())),
        }
    }

    async fn exchange(
        &self,
        url: &Url,
        content_type: &str,
        body: String,
        bounds: Bounds,
    ) -> Result<Answer, String> {
        let port = url.port_or_known_default().unwrap_or(80);
        // Host names come without the brackets of IPv6 addresses.
        let host = url.host_str().unwrap_or_default();
        let host = host.trim_matches(['[', ']']).to_owned();
        let request = hyper::Request::post(&url[Position::BeforePath..Position::AfterQuery])
            .header(
                header::HOST,
                &url[Position::BeforeHost..Position::AfterPort],
            )
            .header(header::CONTENT_TYPE, content_type)
            .header(header::CONNECTION, "close")
            .body(Full::new(Bytes::from(body)));
        let request = request.map_err(|error| error.to_string())?;
        let connected = connect::connect(&host, port).await;
        let (stream, _) = connected.map_err(|error| format!("connecting: {error}"))?;
        stream
            .set_nodelay(true)
            .map_err(|error| error.to_string())?;
        if url.scheme() == "http" {
            return speak(stream, request, bounds).await;
        }
        let tls = self.tls.as_ref().map_err(Clone::clone)?;
        let name = ServerName::try_from(host).map_err(|error| error.to_string())?;
        let stream = tls.connect(name, stream).await;
        let stream = stream.map_err(|error| format!("TLS: {error}"))?;
        speak(stream, request, bounds).await
    }
}

impl Default for Client {
    fn default() -> Self {
        Self::new()
    }
}

async fn speak(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    request: hyper::Request<Full<Bytes>>,
    bounds: Bounds,
) -> Result<Answer, String> {
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .max_buf_size(bounds.head.max(8 * 1024))
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    let answer = async move {
        let response = sender.send_request(request).await;
        let (head, body) = response.map_err(|error| error.to_string())?.into_parts();
        let content_type = head.headers.get(header::CONTENT_TYPE);
        let content_type = content_type.and_then(|value| value.to_str().ok());
        let content_type = content_type.unwrap_or_default().split(';').next();
        let body = Limited::new(body, bounds.body).collect().await;
        Ok(Answer {
            status: head.status.as_u16(),
            content_type: content_type.unwrap_or_default().trim().to_ascii_lowercase(),
            body: body
                .map_err(|error| format!("the answer's body: {error}"))?
                .to_bytes(),
        })
    };
    tokio::pin!(answer, connection);
    tokio::select! {
        biased;
        answer = &mut answer => answer,
        // The whole answer is in by then, or never will be.
        _ = &mut connection => answer.await,
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::task::JoinSet;
    use tokio_rustls::TlsAcceptor;

    use super::*;

    const BOUNDS: Bounds = Bounds {
        time: Duration::from_secs(30),
        head: 8 * 1024,
        body: 64,
    };

    /// Answers each connection with these bytes; with none it never answers.
    async fn server(answer: &'static str, tls: Option<TlsAcceptor>) -> (u16, JoinSet<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut task = JoinSet::new();
        task.spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                match &tls {
                    // A client that does not trust it goes away in the middle.
                    Some(tls) => match tls.accept(stream).await {
                        Ok(stream) => talk(stream, answer).await,
                        Err(_) => continue,
                    },
                    None => talk(stream, answer).await,
                }
            }
        });
        (port, task)
    }

    async fn talk(mut stream: impl AsyncRead + AsyncWrite + Unpin, answer: &str) {
        let mut asked = Vec::new();
        while !asked.ends_with(b"the body") {
            if stream.read_buf(&mut asked).await.unwrap() == 0 {
                return;
            }
        }
        let asked = String::from_utf8(asked).unwrap();
        assert!(asked.starts_with("POST /a/add HTTP/1.1\r\n"), "{asked}");
        assert!(asked.contains("content-type: text/plain\r\n"), "{asked}");
        if answer.is_empty() {
            // Until the client has enough.
            let _ = stream.read_buf(&mut Vec::new()).await;
        }
        stream.write_all(answer.as_bytes()).await.unwrap();
        let _ = stream.shutdown().await;
    }

    async fn post(client: &Client, url: String, bounds: Bounds) -> Result<Answer, String> {
        let url = Url::parse(&url).unwrap();
        client
            .post(&url, "text/plain", "the body".to_owned(), bounds)
            .await
    }

    async fn plain(answer: &'static str, bounds: Bounds) -> Result<Answer, String> {
        let (port, _task) = server(answer, None).await;
        let client = Client::trusting(rustls::RootCertStore::empty());
        post(&client, format!("http://127.0.0.1:{port}/a/add"), bounds).await
    }

    #[tokio::test]
    async fn an_answer_is_what_it_is_and_no_redirect_is_followed() {
        let answer = "HTTP/1.1 409 Conflict\r\ncontent-type: Text/X.tlog.size; a=b\r\ncontent-length: 3\r\n\r\n12\n";
        let answer = plain(answer, BOUNDS).await.unwrap();
        assert_eq!(
            (answer.status, answer.content_type.as_str()),
            (409, "text/x.tlog.size")
        );
        assert_eq!(&*answer.body, b"12\n");
        let moved =
            "HTTP/1.1 301 Moved\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n";
        assert_eq!(plain(moved, BOUNDS).await.unwrap().status, 301);
    }

    #[tokio::test]
    async fn silence_floods_and_noise_are_errors_within_bounds() {
        let short = Bounds {
            time: Duration::from_millis(50),
            ..BOUNDS
        };
        let error = plain("", short).await.unwrap_err();
        assert!(error.contains("no answer within"), "{error}");
        let long = concat!(
            "HTTP/1.1 200 OK\r\ncontent-length: 65\r\n\r\n",
            "0123456789012345678901234567890123456789012345678901234567890123456789"
        );
        let error = plain(long, BOUNDS).await.unwrap_err();
        assert!(error.contains("body"), "{error}");
        assert!(plain("no HTTP at all\r\n\r\n", BOUNDS).await.is_err());
    }

    #[tokio::test]
    async fn https_takes_a_certificate_of_an_authority_that_it_trusts() {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let certificate = made.cert.der().clone();
        let key = made.signing_key.serialize_der().try_into().unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)
            .unwrap();
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
        let tls = TlsAcceptor::from(Arc::new(config));
        let (port, _task) = server(answer, Some(tls)).await;
        let url = format!("https://localhost:{port}/a/add");
        let mut roots = rustls::RootCertStore::empty();
        roots.add(certificate).unwrap();
        let client = Client::trusting(roots);
        assert_eq!(
            post(&client, url.clone(), BOUNDS).await.unwrap().status,
            200
        );
        let none = Client::trusting(rustls::RootCertStore::empty());
        let error = post(&none, url.clone(), BOUNDS).await.unwrap_err();
        assert!(error.contains("no certificate authorities"), "{error}");
        let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(other.cert.der().clone()).unwrap();
        let error = post(&Client::trusting(roots), url, BOUNDS)
            .await
            .unwrap_err();
        assert!(error.starts_with("TLS:"), "{error}");
    }
}
