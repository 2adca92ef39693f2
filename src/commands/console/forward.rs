//! `/api/v1/`: calls go on to the receiver, each over a connection of its own, and answers come
//! back made again ([`answer`]): nothing that a receiver says is passed on unchanged, but for the
//! body of an answer of a known type. The receiver is called by its own name and sees its own
//! page's Origin: ours was checked here.
//!
//! | bound | value | over it |
//! |---|---|---|
//! | an answer's head | [`HEAD_LIMIT`], [`FIELDS`] | `centre_unreachable` |
//! | its body, but for events | [`ANSWER_LIMIT`] | `protocol_error` |
//! | until all of it is here | [`ANSWER_TIMEOUT`] | `centre_unreachable` |
//! | a WebSocket's message | [`super::frames::MESSAGE_LIMIT`] | the socket ends |

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use anyhow::anyhow;
use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio_util::sync::WaitForCancellationFutureOwned;
use tokio_util::task::AbortOnDropHandle;

use super::answer::{self, Head};
use super::frames::Bounded;
use super::session::{Session, onward_protocols};
use super::{Console, Shared};
use crate::commands::client::Refused;
use crate::http::{Peer, Problem};

/// How long the receiver may take to its answer, and to the whole of it unless that is events:
/// longer than it gives a request itself, shorter than the page's own server gives us.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(28);
/// Largest answer, in bytes: ten thousand cameras.
const ANSWER_LIMIT: usize = 16 * 1024 * 1024;
/// Largest head of an answer, in bytes.
const HEAD_LIMIT: usize = 32 * 1024;
/// Header fields of an answer.
const FIELDS: usize = 64;
/// How long both sides may take to change over to a WebSocket.
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes under way in each direction of a WebSocket.
const UPWARDS: usize = 8 * 1024;
const DOWNWARDS: usize = 64 * 1024;

/// The methods of the API.
const METHODS: [Method; 4] = [Method::GET, Method::POST, Method::PUT, Method::DELETE];
/// What of a call's head is the receiver's business.
const ONWARD: [HeaderName; 5] = [
    header::ACCEPT,
    header::AUTHORIZATION,
    header::CONTENT_TYPE,
    header::SEC_WEBSOCKET_KEY,
    header::SEC_WEBSOCKET_VERSION,
];

/// `GET /api/v1/console`: what the receiver says, served by this machine.
pub(super) async fn console(_: Session, State(console): Shared) -> Result<Json<Value>, Problem> {
    let answer = match console.client.get_openly("/api/v1/console").await {
        Ok(answer) => answer.json,
        Err(error) if error.is::<Refused>() => return Err(console.odd(&format!("{error:#}"))),
        Err(error) => return Err(console.unreachable(&error)),
    };
    let Value::Object(mut members) = answer else {
        return Err(console.odd("GET /api/v1/console is not fanal's"));
    };
    console.answered();
    members.insert("mode".to_owned(), "local".into());
    Ok(Json(members.into()))
}

/// Everything else under `/api/v1/`.
pub(super) async fn pass_on(
    _: Session,
    State(console): Shared,
    mut request: Request,
) -> Result<Response, Problem> {
    if !METHODS.contains(request.method()) {
        return Err(Problem::with_status(405, "the API has no such method"));
    }
    let peer = request.extensions_mut().remove::<Peer>();
    let ours = is_websocket(request.headers()).then(|| hyper::upgrade::on(&mut request));
    let offered = onward_protocols(request.headers()).filter(|_| ours.is_some());
    let onwards = onward(&console, request, ours.is_some(), offered.as_deref());
    let exchanged = match onwards {
        Ok(onwards) => tokio::time::timeout(ANSWER_TIMEOUT, exchange(&console, onwards)).await,
        Err(error) => Ok(Err(Failed::Away(error))),
    };
    let origin = console.client.origin();
    let failed = match exchanged {
        Ok(Ok(Arrived::Whole(response))) => {
            console.answered();
            return Ok(response);
        }
        Ok(Ok(Arrived::Endless(head, body, driver))) => {
            console.answered();
            match head.with(Body::new(passing(&console, body, driver))) {
                Ok(response) => return Ok(response),
                Err(cause) => Failed::Odd(cause),
            }
        }
        Ok(Ok(Arrived::Changed(response, driver))) => {
            let head = answer::socket(response.headers(), offered.as_deref());
            match (ours, head) {
                (Some(ours), Ok(head)) => {
                    console.answered();
                    take_over(&console, response, ours, (driver, peer));
                    return Ok((StatusCode::SWITCHING_PROTOCOLS, head).into_response());
                }
                (None, _) => Failed::Odd("a WebSocket that was not asked for".to_owned()),
                (Some(_), Err(cause)) => Failed::Odd(cause),
            }
        }
        Ok(Err(failed)) => failed,
        Err(_) => Failed::Away(anyhow!(
            "{origin}: no answer within {} s",
            ANSWER_TIMEOUT.as_secs()
        )),
    };
    Err(match failed {
        Failed::Away(error) => console.unreachable(&error),
        Failed::Odd(cause) => console.odd(&cause),
    })
}

type Driver = AbortOnDropHandle<Result<(), hyper::Error>>;

/// What the receiver answered with, checked but for the head of a WebSocket.
enum Arrived {
    Whole(Response),
    Endless(Head, Incoming, Driver),
    Changed(hyper::Response<Incoming>, Driver),
}

/// Why there is no answer for the page.
enum Failed {
    /// None came.
    Away(anyhow::Error),
    /// One came that is none of the API's.
    Odd(String),
}

/// Sends the call on, and reads the answer.
async fn exchange(console: &Console, onwards: hyper::Request<Body>) -> Result<Arrived, Failed> {
    let stream = console.client.open().await.map_err(Failed::Away)?;
    let origin = console.client.origin();
    let spoken = |error: hyper::Error| {
        Failed::Away(anyhow::Error::from(error).context(format!("speaking with {origin}")))
    };
    let handshake = hyper::client::conn::http1::Builder::new()
        .max_headers(FIELDS)
        .max_buf_size(HEAD_LIMIT)
        .handshake(TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.map_err(spoken)?;
    let driver = AbortOnDropHandle::new(tokio::spawn(connection.with_upgrades()));
    let response = sender.send_request(onwards).await.map_err(spoken)?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Ok(Arrived::Changed(response, driver));
    }
    let (parts, body) = response.into_parts();
    let head = Head::read(parts.status, &parts.headers).map_err(Failed::Odd)?;
    if head.is_endless() {
        return Ok(Arrived::Endless(head, body, driver));
    }
    let body = match Limited::new(body, ANSWER_LIMIT).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => {
            let cause = format!("more than {} MiB", ANSWER_LIMIT >> 20);
            return Err(Failed::Odd(cause));
        }
        Err(error) => {
            let error = anyhow!("{error}").context(format!("speaking with {origin}"));
            return Err(Failed::Away(error));
        }
    };
    let whole = head.with(Body::from(body)).map_err(Failed::Odd)?;
    Ok(Arrived::Whole(whole))
}

/// The call as the receiver gets it. `offered`: a WebSocket's subprotocols.
fn onward(
    console: &Console,
    request: Request,
    upgrades: bool,
    offered: Option<&str>,
) -> anyhow::Result<hyper::Request<Body>> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let mut onwards = hyper::Request::builder()
        .method(parts.method)
        .uri(path)
        .body(body)?;
    let headers = onwards.headers_mut();
    for name in ONWARD {
        if let Some(value) = parts.headers.get(&name) {
            headers.insert(name, value.clone());
        }
    }
    let own = HeaderValue::from_str(console.client.authority())?;
    headers.insert(header::HOST, own);
    if parts.headers.contains_key(header::ORIGIN) {
        let own = HeaderValue::from_str(console.client.origin())?;
        headers.insert(header::ORIGIN, own);
    }
    if let Some(token) = headers.get_mut(header::AUTHORIZATION) {
        token.set_sensitive(true);
    }
    if upgrades {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    }
    if let Some(offered) = offered.filter(|offered| !offered.is_empty()) {
        let offered = HeaderValue::from_str(offered)?;
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, offered);
    }
    Ok(onwards)
}

fn is_websocket(headers: &HeaderMap) -> bool {
    headers
        .get(header::UPGRADE)
        .is_some_and(|to| to.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// A WebSocket: bytes both ways until one side ends, the terminal's owner stops, or the peer is
/// gone (TCP's own time-outs on either side).
fn take_over(
    console: &Arc<Console>,
    mut response: hyper::Response<Incoming>,
    ours: OnUpgrade,
    held: (Driver, Option<Peer>),
) {
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
        let (mut ours, mut theirs) = (TokioIo::new(ours), Bounded::new(TokioIo::new(theirs)));
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
}

fn passing(console: &Console, body: Incoming, driver: Driver) -> Passing {
    Passing {
        body,
        stop: Box::pin(console.token.clone().cancelled_owned()),
        _driver: driver,
    }
}

/// Events on their way, with the connection that they come by: their bytes alone, no trailers.
/// They end when the program does.
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
        if self.stop.as_mut().poll(context).is_ready() {
            return Poll::Ready(None);
        }
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(context));
        Poll::Ready(frame.filter(|frame| !frame.as_ref().is_ok_and(Frame::is_trailers)))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}
