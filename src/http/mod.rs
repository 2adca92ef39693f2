//! HTTP/1.1 for both daemons: a loop of our own under axum's routers, because
//! `axum::serve` bounds neither the time for a request's head nor the number of
//! connections; and [`Problem`], the form of every error (RFC 9457).
//!
//! What is bounded: [`Limits`]. A client that stops reading loses its connection
//! after [`STALLED`] by TCP's own user timeout (RFC 5482), zero windows included.

pub mod bearer;
pub mod client;
mod input;
mod problem;
pub mod site;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::connect;
use crate::connect::listen::Incoming as Connections;
use crate::pki;

pub use crate::connect::listen::Listener;
pub use input::{Query, json, statement};
pub use problem::Problem;

/// How long a peer may leave what was sent to it unacknowledged.
pub const STALLED: Duration = Duration::from_secs(30);

/// The kernel's buffer of a connection: about two key frames, so that video that
/// is late waits where it can be skipped.
const SEND_BUFFER: usize = 256 * 1024;

/// Pause after a failed accept (out of file descriptors, mostly).
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// What one listener spends at most.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once; further ones wait in the listen queue.
    pub connections: usize,
    /// Connections at once from one address (of IPv6: its /64 network) that is not loopback;
    /// further ones are closed.
    pub per_address: usize,
    /// For the TLS handshake, and for each request's head; so also how long a
    /// connection may stay idle between two requests.
    pub head_timeout: Duration,
    /// Bytes of a request's head.
    pub head: usize,
    /// Header fields of a request.
    pub fields: usize,
    /// From a request's head to its response's head, the request's body included.
    pub answer_timeout: Duration,
    /// Bytes of a request's body; above: 413.
    pub body: usize,
    /// How long requests may take to end once the daemon stops.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 512,
            per_address: 64,
            head_timeout: Duration::from_secs(10),
            head: 16 * 1024,
            fields: 64,
            answer_timeout: Duration::from_secs(30),
            body: 64 * 1024,
            grace: Duration::from_secs(3),
        }
    }
}

/// The client of a request, in the request's extensions. Counts among
/// [`Limits::connections`] until the last clone is dropped, so that a handler
/// which takes the connection over (WebSocket) keeps a clone.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its address.
    pub address: SocketAddr,
    _place: Arc<Place>,
}

type Places = Arc<Mutex<HashMap<IpAddr, usize>>>;

/// One of a listener's connections; gives its place back when dropped.
#[derive(Debug)]
struct Place {
    address: IpAddr,
    places: Places,
    _permit: OwnedSemaphorePermit,
}

impl Place {
    fn take(
        address: IpAddr,
        places: &Places,
        limit: usize,
        permit: OwnedSemaphorePermit,
    ) -> Option<Self> {
        let address = connect::place(address);
        let mut held = places.lock().unwrap_or_else(PoisonError::into_inner);
        let count = held.get(&address).copied().unwrap_or(0);
        if count >= limit && !address.is_loopback() {
            return None;
        }
        held.insert(address, count + 1);
        drop(held);
        Some(Self {
            address,
            places: Arc::clone(places),
            _permit: permit,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = held.get_mut(&self.address) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                held.remove(&self.address);
            }
        }
    }
}

/// Serves `router` until `token` is cancelled, then lets running requests end
/// within [`Limits::grace`]. Requests carry their [`Peer`].
pub async fn serve(listener: Listener, router: Router, limits: Limits, token: CancellationToken) {
    let permits = Arc::new(Semaphore::new(limits.connections));
    let places = Places::default();
    let mut incoming = listener.incoming();
    drop(listener);
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = token.cancelled() => break,
            accepted = accept(&mut incoming, &permits) => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let (stream, address, tls, permit) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "http connection not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some(place) = Place::take(address.ip(), &places, limits.per_address, permit) else {
            tracing::debug!(%address, "too many http connections from one address");
            continue;
        };
        let connection = Connection {
            router: router.clone(),
            limits,
            token: token.clone(),
            peer: Peer {
                address,
                _place: Arc::new(place),
            },
        };
        connections.spawn(connection.run(stream, tls));
    }
    drop(incoming);
    let all_ended = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(limits.grace, all_ended).await.is_err() {
        tracing::debug!("http connections cut at the end of their grace");
    }
    connections.shutdown().await;
}

/// The permit comes before the accept: what is over the limit waits in the kernel.
async fn accept(
    incoming: &mut Connections,
    permits: &Arc<Semaphore>,
) -> std::io::Result<(
    TcpStream,
    SocketAddr,
    Option<TlsAcceptor>,
    OwnedSemaphorePermit,
)> {
    let permit = Arc::clone(permits)
        .acquire_owned()
        .await
        .map_err(std::io::Error::other)?;
    let (stream, address, tls) = incoming.accept().await?;
    Ok((stream, address, tls, permit))
}

struct Connection {
    router: Router,
    limits: Limits,
    token: CancellationToken,
    peer: Peer,
}

impl Connection {
    async fn run(self, stream: TcpStream, tls: Option<TlsAcceptor>) {
        let socket = socket2::SockRef::from(&stream);
        if let Err(error) = socket
            .set_tcp_user_timeout(Some(STALLED))
            .and_then(|()| socket.set_tcp_nodelay(true))
            .and_then(|()| socket.set_send_buffer_size(SEND_BUFFER))
        {
            tracing::debug!(%error, "socket options of an http connection");
        }
        let Some(tls) = tls else {
            return self.serve(stream).await;
        };
        match tokio::time::timeout(self.limits.head_timeout, tls.accept(stream)).await {
            Ok(Ok(stream)) => self.serve(stream).await,
            Ok(Err(error)) => tracing::debug!(%error, peer = %self.peer.address, "tls handshake"),
            Err(_) => tracing::debug!(peer = %self.peer.address, "tls handshake timed out"),
        }
    }

    async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(self, stream: S) {
        let (limits, token) = (self.limits, self.token.clone());
        let service = hyper::service::service_fn(move |request: Request<Incoming>| {
            let (router, peer) = (self.router.clone(), self.peer.clone());
            async move { Ok::<_, std::convert::Infallible>(answer(router, peer, limits, request).await) }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.head_timeout)
            .max_buf_size(limits.head.max(8192))
            .max_headers(limits.fields)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        let mut connection = std::pin::pin!(connection);
        let ended = tokio::select! {
            biased;
            ended = connection.as_mut() => ended,
            () = token.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "http connection ended");
        }
    }
}

async fn answer(
    router: Router,
    peer: Peer,
    limits: Limits,
    request: Request<Incoming>,
) -> Response<Body> {
    let mut request =
        request.map(|body| Body::new(http_body_util::Limited::new(body, limits.body)));
    request.extensions_mut().insert(peer);
    match tokio::time::timeout(limits.answer_timeout, router.oneshot(request)).await {
        Ok(Ok(response)) => response,
        Err(_) => Problem::with_status(408, "the request took too long").into(),
    }
}

/// A server's TLS configuration (1.3 and 1.2, no client certificate, ALPN as
/// given) from PEM files.
///
/// # Errors
/// A file that can't be read or does not fit; the text names it.
pub fn tls_config(
    certificate: &Path,
    key: &Path,
    alpn: &[&str],
) -> Result<Arc<rustls::ServerConfig>, String> {
    let chain = pki::certificates(certificate).map_err(|error| error.to_string())?;
    let private = pki::private_key(key).map_err(|error| error.to_string())?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(|error| format!("{} with {}: {error}", certificate.display(), key.display()))?;
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_of_ipv6_has_the_share_of_one_address() {
        let (places, permits) = (Places::default(), Arc::new(Semaphore::new(100)));
        let take = |text: &str| {
            let permit = Arc::clone(&permits).try_acquire_owned().unwrap();
            Place::take(text.parse().unwrap(), &places, 2, permit)
        };
        let held = [take("2001:db8::1"), take("2001:db8::2")];
        assert!(held.iter().all(Option::is_some));
        assert!(take("2001:db8::3").is_none());
        assert!(take("2001:db8:0:1::1").is_some());
        // Behind a tunnel all have this one.
        let local: Vec<_> = (0..10).map(|_| take("::1")).collect();
        assert!(local.iter().all(Option::is_some));
        drop((held, local));
        assert!(places.lock().unwrap().is_empty());
    }
}
