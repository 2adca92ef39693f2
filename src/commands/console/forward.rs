//! `/api/v1/`: passed on to the receiver, each call over a connection of its own, bodies as they
//! come, WebSockets included. The receiver is called by its own name and sees its own page's
//! Origin: ours was checked here.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use anyhow::anyhow;
use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio_util::sync::WaitForCancellationFutureOwned;
use tokio_util::task::AbortOnDropHandle;

use super::{Console, Shared};
use crate::commands::client::Refused;
use crate::http::{Peer, Problem};

/// How long the receiver may take to the head of its answer: longer than it gives a request
/// itself, shorter than the page's own server gives us.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(28);
/// How long both sides may take to change over to a WebSocket.
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes under way in each direction of a WebSocket.
const UPWARDS: usize = 8 * 1024;
const DOWNWARDS: usize = 64 * 1024;

/// Headers of one connection alone (RFC 9110 7.6.1), and those that are not the receiver's.
const OWN_HEADERS: &[&str] = &[
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-fanal-session",
];

/// `GET /api/v1/console`: what the receiver says, served by this machine.
pub(super) async fn console(State(console): Shared) -> Result<Json<Value>, Problem> {
    let mut answer = match console.client.get_openly("/api/v1/console").await {
        Ok(answer) => answer.json,
        Err(error) if error.is::<Refused>() => {
            return Err(Problem::with_status(502, format!("{error:#}")));
        }
        Err(error) => return Err(console.unreachable(&error)),
    };
    console.answered();
    if let Some(members) = answer.as_object_mut() {
        members.insert("mode".to_owned(), "local".into());
    }
    Ok(Json(answer))
}

/// Everything else under `/api/v1/`.
pub(super) async fn pass_on(State(console): Shared, mut request: Request) -> Response {
    let peer = request.extensions_mut().remove::<Peer>();
    let ours = is_websocket(request.headers()).then(|| hyper::upgrade::on(&mut request));
    match exchange(&console, request, ours.is_some()).await {
        Ok((response, driver)) => {
            console.answered();
            match ours {
                Some(ours) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                    take_over(&console, response, ours, (driver, peer))
                }
                _ => passed_back(&console, response, driver),
            }
        }
        Err(error) => console.unreachable(&error).into_response(),
    }
}

type Driver = AbortOnDropHandle<Result<(), hyper::Error>>;

/// Sends the request on; gives the answer and what reads its body.
async fn exchange(
    console: &Console,
    request: Request,
    upgrades: bool,
) -> anyhow::Result<(hyper::Response<Incoming>, Driver)> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let mut onwards = hyper::Request::builder()
        .method(parts.method)
        .uri(path)
        .body(body)?;
    *onwards.headers_mut() = onward_headers(console, parts.headers, upgrades)?;
    let stream = console.client.open().await?;
    let origin = console.client.origin();
    let answered = tokio::time::timeout(ANSWER_TIMEOUT, async {
        let handshake = hyper::client::conn::http1::Builder::new()
            .max_headers(100)
            .handshake(TokioIo::new(stream));
        let (mut sender, connection) = handshake.await?;
        let driver = AbortOnDropHandle::new(tokio::spawn(connection.with_upgrades()));
        anyhow::Ok((sender.send_request(onwards).await?, driver))
    });
    match answered.await {
        Ok(answered) => answered.map_err(|error| error.context(format!("speaking with {origin}"))),
        Err(_) => Err(anyhow!(
            "{origin}: no answer within {} s",
            ANSWER_TIMEOUT.as_secs()
        )),
    }
}

fn onward_headers(
    console: &Console,
    mut headers: HeaderMap,
    upgrades: bool,
) -> anyhow::Result<HeaderMap> {
    for &name in OWN_HEADERS {
        headers.remove(name);
    }
    headers.insert(
        header::HOST,
        HeaderValue::from_str(console.client.authority())?,
    );
    if headers.contains_key(header::ORIGIN) {
        headers.insert(
            header::ORIGIN,
            HeaderValue::from_str(console.client.origin())?,
        );
    }
    if let Some(token) = headers.get_mut(header::AUTHORIZATION) {
        token.set_sensitive(true);
    }
    if upgrades {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    }
    Ok(headers)
}

fn is_websocket(headers: &HeaderMap) -> bool {
    headers
        .get(header::UPGRADE)
        .is_some_and(|to| to.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// An ordinary answer: its body as it comes.
fn passed_back(console: &Console, response: hyper::Response<Incoming>, driver: Driver) -> Response {
    let (mut parts, body) = response.into_parts();
    for &name in OWN_HEADERS {
        parts.headers.remove(name);
    }
    let body = Passing {
        body,
        stop: Box::pin(console.token.clone().cancelled_owned()),
        _driver: driver,
    };
    Response::from_parts(parts, Body::new(body))
}

/// A WebSocket: bytes both ways until one side ends, the terminal's owner stops, or the peer is
/// gone (TCP's own time-outs on either side).
fn take_over(
    console: &Arc<Console>,
    mut response: hyper::Response<Incoming>,
    ours: OnUpgrade,
    held: (Driver, Option<Peer>),
) -> Response {
    let theirs = hyper::upgrade::on(&mut response);
    let token = console.token.clone();
    console.tasks.spawn(async move {
        // The connection's place, and what drives the other one.
        let _held = held;
        let changed =
            tokio::time::timeout(UPGRADE_TIMEOUT, async { tokio::try_join!(ours, theirs) });
        let (ours, theirs) = match changed.await {
            Ok(Ok(both)) => both,
            Ok(Err(error)) => return tracing::debug!(%error, "no change to a WebSocket"),
            Err(_) => return tracing::debug!("the change to a WebSocket took too long"),
        };
        let (mut ours, mut theirs) = (TokioIo::new(ours), TokioIo::new(theirs));
        let copy =
            tokio::io::copy_bidirectional_with_sizes(&mut ours, &mut theirs, UPWARDS, DOWNWARDS);
        tokio::select! {
            biased;
            () = token.cancelled() => {}
            ended = copy => if let Err(error) = ended {
                tracing::debug!(%error, "a WebSocket ended");
            },
        }
    });
    let (parts, _) = response.into_parts();
    Response::from_parts(parts, Body::empty())
}

/// A body on its way, with the connection that it comes by. Ends when the program does: events
/// never would.
struct Passing {
    body: Incoming,
    stop: Pin<Box<WaitForCancellationFutureOwned>>,
    _driver: Driver,
}

impl hyper::body::Body for Passing {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if self.stop.as_mut().poll(context).is_ready() && self.body.size_hint().exact().is_none() {
            return Poll::Ready(None);
        }
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
