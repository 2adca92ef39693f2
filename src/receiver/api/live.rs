//! `GET live`: pictures over a WebSocket, subprotocol `fanal.v1`.
//!
//! The client's first message is `{"token": "…"}`; `{"type":"ready"}` answers.
//! Then it sends
//!
//! - `{"type":"subscribe","camera":"COMMUNE/CAMERA","grant":"…"}` (a grant of its
//!   own; left out: whichever covers the camera),
//! - `{"type":"unsubscribe","camera":"…"}`,
//! - `{"type":"focus","cameras":["…"]}`: what is looked at closely;
//!
//! and gets JSON, each with `camera` and its `tag`:
//!
//! - `subscribed`; `configuration` (`codec`: RFC 6381, `description`: avcC or hvcC
//!   in base64, `width`, `height`) before the first picture and at each change;
//!   `state` (`state`, `reason`, `profile`, `profile_cause`); `skipped`; `end` (`reason`); `error`;
//!
//! and binary access units, big-endian: tag u32 · flags u8 (1 key, 2 disposable,
//! 4 loss before, 8 kept from before) · pts i64 (90 kHz) · captured i64 (µs UTC,
//! the gateway's clock) · data (NAL units, each behind its length in four bytes;
//! MJPEG: a JPEG).
//!
//! A camera's tag is the same for all clients, so that a picture is made a message once
//! for all of them. Sockets with a verified token are served on the frames thread.
//!
//! A slow client misses pictures, each time up to a key frame: nothing is queued
//! here beyond one picture of each camera.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use base64::Engine;
use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

use super::auth::Caller;
use super::{Api, Shared};
use crate::format::cause::Cause;
use crate::format::control::RelayState;
use crate::format::ids::{CameraId, CommuneId, GrantId};
use crate::http::{Peer, Problem};
use crate::media::relay::Profile;
use crate::media::source::Event;
use crate::media::unit::{AccessUnit, Configuration};
use crate::policy::desk::{Grant, Notice, same_operator};
use crate::reason::{Reason, Refusal};
use crate::receiver::viewing::ViewRequest;

/// The subprotocol.
const PROTOCOL: &str = "fanal.v1";
/// Cameras of one connection.
pub const SUBSCRIPTIONS: usize = 64;
/// Largest message of a client: a token.
const MESSAGE_LIMIT: usize = 20 * 1024;
/// How long the first message may take.
const TOKEN_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client may take nothing.
const STALLED: Duration = Duration::from_secs(20);
/// How long one look for a camera's first picture waits before looking again at
/// whether its grant still stands.
const VIEW_TIMEOUT: Duration = Duration::from_secs(5);
/// Messages between the cameras' tasks and the socket: the hub's queues are the
/// ones that skip.
const OUTGOING: usize = 2;

/// The cameras' tags, given as cameras are first watched: as many as grants have named.
#[derive(Debug, Default)]
pub(super) struct Tags(Mutex<HashMap<(CommuneId, CameraId), u32>>);

impl Tags {
    fn of(&self, commune: &CommuneId, camera: &CameraId) -> u32 {
        let mut tags = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let next = u32::try_from(tags.len() + 1).unwrap_or(u32::MAX);
        *tags
            .entry((commune.clone(), camera.clone()))
            .or_insert(next)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct First {
    token: String,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
enum FromClient {
    Subscribe {
        camera: String,
        #[serde(default)]
        grant: Option<GrantId>,
    },
    Unsubscribe {
        camera: String,
    },
    Focus {
        cameras: Vec<String>,
    },
}

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ToClient<'a> {
    Ready,
    Subscribed {
        tag: u32,
        camera: &'a str,
        grant: GrantId,
    },
    Configuration {
        tag: u32,
        camera: &'a str,
        codec: String,
        description: String,
        width: u16,
        height: u16,
    },
    State {
        tag: u32,
        camera: &'a str,
        state: RelayState,
        reason: Option<Reason>,
        profile: Profile,
        profile_cause: Option<Cause>,
    },
    Skipped {
        tag: u32,
        camera: &'a str,
    },
    End {
        tag: u32,
        camera: &'a str,
        reason: Reason,
    },
    Error {
        camera: Option<&'a str>,
        reason: Reason,
        detail: String,
    },
}

impl ToClient<'_> {
    fn message(&self) -> Message {
        Message::text(serde_json::to_string(self).unwrap_or_default())
    }
}

pub(super) async fn upgrade(
    State(api): Shared,
    axum::Extension(peer): axum::Extension<Peer>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    let upgrade = upgrade
        .map_err(|error| Problem::with_status(error.status().as_u16(), error.body_text()))?;
    let upgrade = upgrade
        .protocols([PROTOCOL])
        .max_message_size(MESSAGE_LIMIT)
        .max_frame_size(MESSAGE_LIMIT);
    if upgrade.selected_protocol().is_none() {
        let detail = format!("the WebSocket must offer the subprotocol {PROTOCOL}");
        return Err(Problem::with_status(400, detail));
    }
    Ok(upgrade.on_upgrade(move |mut socket| async move {
        let token = api.options.token.clone();
        // Signatures are verified on the control thread; what follows is pictures.
        let authenticated = tokio::select! {
            biased;
            () = token.cancelled() => return,
            authenticated = authenticate(&api, &mut socket, &peer) => authenticated,
        };
        let caller = match authenticated {
            Ok(caller) => caller,
            Err(refusal) => return close(socket, &refusal).await,
        };
        let frames = api.options.frames.clone();
        let served = frames.spawn(async move {
            tokio::select! {
                biased;
                () = token.cancelled() => {}
                () = serve(api, socket, caller, peer) => {}
            }
        });
        if served.await.is_err_and(|error| error.is_panic()) {
            tracing::error!("a browser's task failed");
        }
    }))
}

async fn serve(api: Arc<Api>, mut socket: WebSocket, caller: Caller, peer: Peer) {
    let (outgoing, wanted) = mpsc::channel(OUTGOING);
    let client = api.clients.fetch_add(1, Ordering::Relaxed);
    let session = Session {
        notices: api.options.control.listen(),
        api,
        caller,
        peer,
        client,
        outgoing,
        watched: BTreeMap::new(),
        next_number: 1,
        tasks: JoinSet::new(),
    };
    if let Err(refusal) = session.run(&mut socket, wanted).await {
        close(socket, &refusal).await;
    }
}

async fn authenticate(api: &Api, socket: &mut WebSocket, peer: &Peer) -> Result<Caller, Refusal> {
    let wrong = |detail: &str| Refusal::new(Reason::TokenInvalid, detail);
    let first = tokio::time::timeout(TOKEN_TIMEOUT, socket.recv())
        .await
        .map_err(|_| wrong("the first message, which carries the token, did not come"))?;
    let Some(Ok(Message::Text(text))) = first else {
        return Err(wrong("the first message must be {\"token\": \"…\"}"));
    };
    let First { token } = serde_json::from_str(&text)
        .map_err(|_| wrong("the first message must be {\"token\": \"…\"}"))?;
    let caller = api.authenticate(&token, peer.address.ip())?;
    send(socket, ToClient::Ready.message()).await?;
    Ok(caller)
}

/// Says why, and closes (4000 and the reason's number, as the private range goes).
async fn close(mut socket: WebSocket, refusal: &Refusal) {
    let error = ToClient::Error {
        camera: None,
        reason: refusal.reason,
        detail: refusal.to_string(),
    };
    let number = u16::try_from(refusal.reason.number()).unwrap_or(0);
    let frame = CloseFrame {
        code: 4_000 + number,
        reason: refusal.reason.code().into(),
    };
    if send(&mut socket, error.message()).await.is_ok() {
        // It goes either way.
        let _ = send(&mut socket, Message::Close(Some(frame))).await;
    }
}

async fn send(socket: &mut WebSocket, message: Message) -> Result<(), Refusal> {
    match tokio::time::timeout(STALLED, socket.send(message)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(Refusal::new(Reason::Internal, error.to_string())),
        Err(_) => Err(Refusal::new(
            Reason::TooManyAttempts,
            "the client took nothing for 20 s",
        )),
    }
}

/// One camera of a connection. Dropping it ends its viewing.
struct Watched {
    /// Unique on the connection, where tags come again.
    number: u64,
    tag: u32,
    grant: GrantId,
    commune: CommuneId,
    camera: CameraId,
    told: Option<(RelayState, Option<Reason>, Profile, Option<Cause>)>,
    task: AbortHandle,
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Session {
    api: Arc<Api>,
    caller: Caller,
    peer: Peer,
    client: u64,
    notices: tokio::sync::broadcast::Receiver<Notice>,
    outgoing: mpsc::Sender<(u64, Message)>,
    watched: BTreeMap<String, Watched>,
    next_number: u64,
    tasks: JoinSet<()>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.api.options.control.focus(self.client, Vec::new());
    }
}

impl Session {
    async fn run(
        mut self,
        socket: &mut WebSocket,
        mut wanted: mpsc::Receiver<(u64, Message)>,
    ) -> Result<(), Refusal> {
        loop {
            tokio::select! {
                biased;
                message = socket.recv() => match message {
                    None | Some(Err(_)) | Some(Ok(Message::Close(_))) => return Ok(()),
                    Some(Ok(Message::Text(text))) => {
                        for answer in self.client_said(&text) {
                            send(socket, answer).await?;
                        }
                    }
                    // Pings are answered by the library.
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                    Some(Ok(Message::Binary(_))) => {
                        return Err(Refusal::new(Reason::MalformedRequest, "a binary message"));
                    }
                },
                notice = self.notices.recv() => {
                    for message in self.states(notice) {
                        send(socket, message).await?;
                    }
                }
                Some((number, message)) = wanted.recv() => {
                    // What was on its way when it was unsubscribed is dropped.
                    if self.watched.values().any(|watched| watched.number == number) {
                        send(socket, message).await?;
                    }
                }
                Some(ended) = self.tasks.join_next() => {
                    if ended.is_err_and(|error| error.is_panic()) {
                        return Err(Reason::Internal.into());
                    }
                }
            }
        }
    }

    fn client_said(&mut self, text: &str) -> Vec<Message> {
        let said = match serde_json::from_str(text) {
            Ok(said) => said,
            Err(error) => {
                let error = ToClient::Error {
                    camera: None,
                    reason: Reason::MalformedRequest,
                    detail: error.to_string(),
                };
                return vec![error.message()];
            }
        };
        match said {
            FromClient::Subscribe { camera, grant } => match self.subscribe(&camera, grant) {
                Ok(messages) => messages,
                Err(refusal) => {
                    let error = ToClient::Error {
                        camera: Some(&camera),
                        reason: refusal.reason,
                        detail: refusal.to_string(),
                    };
                    vec![error.message()]
                }
            },
            FromClient::Unsubscribe { camera } => {
                self.watched.remove(&camera);
                Vec::new()
            }
            FromClient::Focus { cameras } => {
                let cameras = cameras.iter().take(SUBSCRIPTIONS);
                let cameras = cameras.filter_map(|camera| split(camera)).collect();
                self.api.options.control.focus(self.client, cameras);
                Vec::new()
            }
        }
    }

    fn subscribe(&mut self, name: &str, grant: Option<GrantId>) -> Result<Vec<Message>, Refusal> {
        let (commune, camera) = split(name).ok_or_else(|| {
            Refusal::new(Reason::MalformedRequest, "camera must be COMMUNE/CAMERA")
        })?;
        self.watched.remove(name);
        if self.watched.len() >= SUBSCRIPTIONS {
            let detail = format!("{SUBSCRIPTIONS} cameras on one connection");
            return Err(Refusal::new(Reason::TooManyRelays, detail));
        }
        let table = self.api.options.control.table();
        let own = |held: &&Arc<Grant>| {
            held.commune == commune
                && held.camera(&camera).is_some()
                && same_operator(&held.operator, &self.caller.operator)
        };
        let found = match grant {
            Some(grant) => table.grant(grant).filter(own),
            None => table.live().find(own),
        };
        let found = found.ok_or_else(|| {
            let detail = "no grant of yours covers this camera; who wants to watch signs a request of his own";
            Refusal::new(Reason::GrantUnknown, detail)
        })?;
        if let Some(end) = &found.end {
            return Err(end.refusal.clone());
        }
        let number = self.next_number;
        self.next_number += 1;
        let tag = self.api.tags.of(&commune, &camera);
        let watch = Watch {
            api: Arc::clone(&self.api),
            number,
            tag,
            name: name.to_owned(),
            request: ViewRequest {
                grant: found.id,
                commune: commune.clone(),
                camera: camera.clone(),
                who: self.caller.operator.number.clone(),
                how: "live",
                from: self.peer.address.to_string(),
                packets: false,
            },
            outgoing: self.outgoing.clone(),
        };
        let mut watched = Watched {
            number,
            tag,
            grant: found.id,
            commune,
            camera,
            told: None,
            task: self.tasks.spawn(watch.run()),
        };
        let subscribed = ToClient::Subscribed {
            tag,
            camera: name,
            grant: found.id,
        };
        let mut messages = vec![subscribed.message()];
        messages.extend(watched.state(name, found));
        self.watched.insert(name.to_owned(), watched);
        Ok(messages)
    }

    /// What changed of the cameras that are watched.
    fn states(&mut self, notice: Result<Notice, RecvError>) -> Vec<Message> {
        let grant = match notice {
            Ok(Notice::Grant { grant, .. }) => Some(grant),
            Ok(_) | Err(RecvError::Closed) => return Vec::new(),
            // Any may have changed.
            Err(RecvError::Lagged(_)) => None,
        };
        let table = self.api.options.control.table();
        let mut messages = Vec::new();
        for (name, watched) in &mut self.watched {
            if grant.is_none_or(|grant| grant == watched.grant)
                && let Some(view) = table.grant(watched.grant)
            {
                messages.extend(watched.state(name, view));
            }
        }
        messages
    }
}

impl Watched {
    /// The camera's state, if it is news.
    fn state(&mut self, name: &str, grant: &Grant) -> Option<Message> {
        debug_assert_eq!(grant.commune, self.commune);
        let part = grant.camera(&self.camera)?;
        let reason = grant.refusal(part).map(|refusal| refusal.reason);
        let state = (part.state, reason, part.profile, part.profile_cause);
        if self.told == Some(state) {
            return None;
        }
        self.told = Some(state);
        let message = ToClient::State {
            tag: self.tag,
            camera: name,
            state: part.state,
            reason,
            profile: part.profile,
            profile_cause: part.profile_cause,
        };
        Some(message.message())
    }
}

/// One camera's way to the socket.
struct Watch {
    api: Arc<Api>,
    number: u64,
    tag: u32,
    name: String,
    request: ViewRequest,
    outgoing: mpsc::Sender<(u64, Message)>,
}

impl Watch {
    async fn run(self) {
        debug_assert_eq!(std::thread::current().name(), Some("frames"));
        let reason = loop {
            match self.pictures().await {
                // Another codec: the client is told and the pictures go on.
                Ok(Reason::StreamChanged) => {}
                Ok(reason) => break reason,
                Err(()) => return,
            }
        };
        let end = ToClient::End {
            tag: self.tag,
            camera: &self.name,
            reason,
        };
        // The session may be over, and then nobody needs to know.
        let _ = self.put(end.message()).await;
    }

    async fn put(&self, message: Message) -> Result<(), ()> {
        let message = (self.number, message);
        self.outgoing.send(message).await.map_err(|_| ())
    }

    /// Sends pictures until they end; `Err`: the session is over.
    async fn pictures(&self) -> Result<Reason, ()> {
        let source = match self.open().await {
            Ok(source) => source,
            Err(reason) => return Ok(reason),
        };
        let mut subscription = source.subscribe();
        let mut known: Option<Arc<Configuration>> = None;
        loop {
            match subscription.next().await {
                Event::Unit {
                    unit,
                    packets,
                    kept,
                } => {
                    let now = source.configuration();
                    if unit.flags.key && known.as_ref() != Some(&now) {
                        self.put(self.configuration(&now)).await?;
                        known = Some(now);
                    }
                    let shared = packets
                        .message
                        .get_or_init(|| encode(self.tag, &unit, kept));
                    self.put(Message::Binary(shared.clone())).await?;
                }
                Event::Skipped => {
                    let skipped = ToClient::Skipped {
                        tag: self.tag,
                        camera: &self.name,
                    };
                    self.put(skipped.message()).await?;
                }
                Event::End(reason) => return Ok(reason),
            }
        }
    }

    /// Waits for the camera as long as its grant stands.
    async fn open(&self) -> Result<Arc<dyn crate::media::source::Source>, Reason> {
        let mut table = self.api.options.control.table.clone();
        loop {
            table.borrow_and_update();
            let opened = self
                .api
                .options
                .hub
                .view(self.request.clone(), VIEW_TIMEOUT)
                .await;
            let reason = match opened {
                Ok(source) => return Ok(source),
                Err(reason) => reason,
            };
            {
                let table = table.borrow();
                let grant = table.grant(self.request.grant);
                let grant = grant.ok_or(Reason::GrantUnknown)?;
                if let Some(end) = &grant.end {
                    return Err(end.refusal.reason);
                }
                let part = grant.camera(&self.request.camera);
                let part = part.ok_or(Reason::GrantUnknown)?;
                if !part.is_open() {
                    let refusal = part.refusal.as_ref();
                    return Err(refusal.map_or(Reason::GrantCut, |refusal| refusal.reason));
                }
            }
            // Granted, but its gateway has not sent its proof again yet.
            if reason == Reason::GrantUnknown && table.changed().await.is_err() {
                return Err(Reason::ShuttingDown);
            }
            if reason == Reason::ShuttingDown {
                return Err(reason);
            }
        }
    }

    fn configuration(&self, configuration: &Configuration) -> Message {
        let engine = base64::engine::general_purpose::STANDARD;
        let message = ToClient::Configuration {
            tag: self.tag,
            camera: &self.name,
            codec: configuration.codec_string(),
            description: engine.encode(&configuration.record),
            width: configuration.width,
            height: configuration.height,
        };
        message.message()
    }
}

/// Bytes before a picture's data.
const UNIT_HEADER: usize = 4 + 1 + 8 + 8;

fn encode(tag: u32, unit: &AccessUnit, kept: bool) -> Bytes {
    let mut bytes = BytesMut::with_capacity(UNIT_HEADER + unit.data.len());
    let flags = u8::from(unit.flags.key)
        | u8::from(unit.flags.disposable) << 1
        | u8::from(unit.flags.loss_before) << 2
        | u8::from(kept) << 3;
    bytes.put_u32(tag);
    bytes.put_u8(flags);
    bytes.put_i64(unit.pts);
    bytes.put_i64(unit.captured);
    bytes.put_slice(&unit.data);
    bytes.freeze()
}

fn split(camera: &str) -> Option<(CommuneId, CameraId)> {
    let (commune, camera) = camera.split_once('/')?;
    Some((CommuneId::new(commune).ok()?, CameraId::new(camera).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::unit::UnitFlags;

    #[test]
    fn a_unit_as_it_stands_on_the_wire() {
        let unit = AccessUnit {
            flags: UnitFlags {
                key: true,
                disposable: false,
                loss_before: true,
            },
            pts: 90_000,
            captured: -1,
            data: Bytes::from_static(b"\x00\x00\x00\x01\x65"),
        };
        let golden = [
            0, 0, 0, 7, 0b1101, 0, 0, 0, 0, 0, 1, 0x5f, 0x90, 255, 255, 255, 255, 255, 255, 255,
            255, 0, 0, 0, 1, 0x65,
        ];
        assert_eq!(&encode(7, &unit, true)[..], golden);
    }

    #[test]
    fn messages_of_clients_are_read_strictly() {
        let read = |text: &str| serde_json::from_str::<FromClient>(text);
        assert!(read(r#"{"type":"subscribe","camera":"a/b"}"#).is_ok());
        assert!(read(r#"{"type":"focus","cameras":[]}"#).is_ok());
        for bad in [
            r#"{"type":"record"}"#,
            r#"{"type":"unsubscribe","camera":"a/b","x":1}"#,
            "[]",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
        assert!(split("a/b").is_some());
        assert!(split("a/b/c").is_none() && split("A/b").is_none() && split("a").is_none());
    }
}
