//! `GET live`: pictures over a WebSocket, subprotocol `fanal.v1`.
//!
//! The client's first message is `{"token": "…"}`; `{"type":"ready","codecs":[…]}` answers, with
//! the names of codecs that a subscription may give. Then it sends
//!
//! - `{"type":"subscribe","camera":"COMMUNE/CAMERA","grant":"…","codecs":["h264","jpeg"]}` (a grant
//!   of its own; left out: whichever covers the camera; codecs: those that it decodes; left out: all),
//! - `{"type":"unsubscribe","camera":"…"}`,
//! - `{"type":"focus","cameras":["…"]}`: what is looked at closely,
//! - `{"type":"token","token":"…"}`: a new one of the same operator, before the one that counts
//!   ends; `{"type":"token","seconds_left":…}` answers. A connection ends with its token, and
//!   with the designation behind it, which is judged again at each subscribe and with new settings;
//!
//! and gets JSON, each with `camera` and its `tag`:
//!
//! - `undecodable` (`codec`, `reason`, `waits`): what the camera gives has a codec that the client
//!   does not decode; with `waits` its other stream was asked for, else that is all;
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
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};

use super::auth::Caller;
use super::watch::Watch;
use super::{Api, Shared};
use crate::clock::Boot;
use crate::format::cause::Cause;
use crate::format::control::RelayState;
use crate::format::ids::{CameraId, CommuneId, GrantId};
use crate::http::{Peer, Problem};
use crate::media::relay::Profile;
use crate::media::unit::{Codec, Codecs};
use crate::policy::desk::{Grant, Notice};
use crate::reason::{Reason, Refusal};
use crate::receiver::control;
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
/// whether its grant still lives.
pub(super) const VIEW_TIMEOUT: Duration = Duration::from_secs(5);
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
        #[serde(default)]
        codecs: Option<Vec<Codec>>,
    },
    Unsubscribe {
        camera: String,
    },
    Focus {
        cameras: Vec<String>,
    },
    Token {
        token: String,
    },
}

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum ToClient<'a> {
    Ready {
        codecs: [Codec; 3],
    },
    Token {
        seconds_left: u64,
    },
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
    Undecodable {
        tag: u32,
        camera: &'a str,
        codec: &'a str,
        reason: Option<Reason>,
        waits: bool,
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
    pub(super) fn message(&self) -> Message {
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
        let control = Handle::current();
        let served = frames.spawn(async move {
            tokio::select! {
                biased;
                () = token.cancelled() => {}
                () = serve(api, socket, caller, peer, control) => {}
            }
        });
        if served.await.is_err_and(|error| error.is_panic()) {
            tracing::error!("a browser's task failed");
        }
    }))
}

async fn serve(api: Arc<Api>, mut socket: WebSocket, caller: Caller, peer: Peer, control: Handle) {
    let (outgoing, wanted) = mpsc::channel(OUTGOING);
    let client = api.clients.fetch_add(1, Ordering::Relaxed);
    let session = Session {
        notices: api.options.control.listen(),
        settings: api.options.control.shared.clone(),
        deadline: deadline(&api, &caller),
        api,
        caller,
        peer,
        client,
        control,
        checks: JoinSet::new(),
        is_token_checked: false,
        outgoing,
        watched: BTreeMap::new(),
        next_number: 1,
        tasks: JoinSet::new(),
    };
    if let Err(refusal) = session.run(&mut socket, wanted).await {
        close(socket, &refusal).await;
    }
}

/// When a connection ends if nothing else happens.
fn deadline(api: &Api, caller: &Caller) -> Boot {
    let now = api.options.clock.now();
    now.boot.plus(caller.expires.since(now.wall))
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
    let codecs = Codec::ALL;
    send(socket, ToClient::Ready { codecs }.message()).await?;
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

/// What was verified on the control thread.
enum Checked {
    /// A token that the client sent.
    Token(Result<Caller, Refusal>),
    /// The caller under new settings.
    Caller(Result<Caller, Refusal>),
}

struct Session {
    api: Arc<Api>,
    caller: Caller,
    /// When the caller's token or designation ends.
    deadline: Boot,
    peer: Peer,
    client: u64,
    /// Where signatures are verified: this thread is for pictures.
    control: Handle,
    checks: JoinSet<Checked>,
    is_token_checked: bool,
    settings: watch::Receiver<Arc<control::Shared>>,
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
        let clock = self.api.options.clock.clone();
        loop {
            tokio::select! {
                biased;
                () = clock.sleep_until(self.deadline) => return Err(self.caller.end().into()),
                Ok(()) = self.settings.changed() => {
                    let (api, caller) = (Arc::clone(&self.api), self.caller.clone());
                    let check = async move { Checked::Caller(api.judge_again(&caller)) };
                    self.checks.spawn_on(check, &self.control);
                }
                Some(checked) = self.checks.join_next() => {
                    let checked = checked.map_err(|_| Refusal::from(Reason::Internal))?;
                    if let Some(answer) = self.checked(checked)? {
                        send(socket, answer).await?;
                    }
                }
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

    /// What was verified counts. The token that counted until now counts on where the new one is
    /// none.
    fn checked(&mut self, checked: Checked) -> Result<Option<Message>, Refusal> {
        let told = match checked {
            Checked::Caller(caller) => {
                let caller = caller?;
                // A newer token may have been taken meanwhile.
                if caller.generation > self.caller.generation {
                    self.caller = caller;
                }
                return Ok(None);
            }
            Checked::Token(told) => told,
        };
        self.is_token_checked = false;
        let taken = told.and_then(|caller| {
            if caller
                .designation
                .is_same_operator(&self.caller.designation)
            {
                return Ok(caller);
            }
            let detail = "it is another operator's: open a connection of his own";
            Err(Refusal::new(Reason::TokenInvalid, detail))
        });
        Ok(Some(match taken {
            Ok(caller) => {
                self.deadline = deadline(&self.api, &caller);
                self.caller = caller;
                let left = self.deadline.since(self.api.options.clock.now().boot);
                let seconds_left = left.as_secs();
                ToClient::Token { seconds_left }.message()
            }
            Err(refusal) => ToClient::Error {
                camera: None,
                reason: refusal.reason,
                detail: refusal.to_string(),
            }
            .message(),
        }))
    }

    /// Verifies a token that the client sent; one at a time.
    fn check_token(&mut self, token: String) -> Vec<Message> {
        if std::mem::replace(&mut self.is_token_checked, true) {
            let error = ToClient::Error {
                camera: None,
                reason: Reason::TooManyAttempts,
                detail: "the token before is being verified".to_owned(),
            };
            return vec![error.message()];
        }
        let (api, address) = (Arc::clone(&self.api), self.peer.address.ip());
        let check = async move { Checked::Token(api.authenticate(&token, address)) };
        self.checks.spawn_on(check, &self.control);
        Vec::new()
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
            FromClient::Subscribe {
                camera,
                grant,
                codecs,
            } => {
                let decodes = codecs.map_or(Codecs::ALL, |codecs| codecs.into_iter().collect());
                self.subscribe(&camera, grant, decodes)
                    .unwrap_or_else(|refusal| {
                        let error = ToClient::Error {
                            camera: Some(&camera),
                            reason: refusal.reason,
                            detail: refusal.to_string(),
                        };
                        vec![error.message()]
                    })
            }
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
            FromClient::Token { token } => self.check_token(token),
        }
    }

    fn subscribe(
        &mut self,
        name: &str,
        grant: Option<GrantId>,
        decodes: Codecs,
    ) -> Result<Vec<Message>, Refusal> {
        let (commune, camera) = split(name).ok_or_else(|| {
            Refusal::new(Reason::MalformedRequest, "camera must be COMMUNE/CAMERA")
        })?;
        self.watched.remove(name);
        if self.watched.len() >= SUBSCRIPTIONS {
            let detail = format!("{SUBSCRIPTIONS} cameras on one connection");
            return Err(Refusal::new(Reason::TooManyRelays, detail));
        }
        self.caller = self.api.judge_again(&self.caller)?;
        if let Some(reason) = self.api.options.hub.viewers_refused() {
            return Err(reason.into());
        }
        let table = self.api.options.control.table();
        let own = |held: &&Arc<Grant>| {
            held.commune == commune
                && held.camera(&camera).is_some()
                && held.is_of(&self.caller.designation)
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
                who: self.caller.designation.operator.number.clone(),
                how: "live",
                from: self.peer.address.to_string(),
                packets: false,
                decodes,
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

fn split(camera: &str) -> Option<(CommuneId, CameraId)> {
    let (commune, camera) = camera.split_once('/')?;
    Some((CommuneId::new(commune).ok()?, CameraId::new(camera).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_clients_are_read_strictly() {
        let read = |text: &str| serde_json::from_str::<FromClient>(text);
        assert!(read(r#"{"type":"subscribe","camera":"a/b"}"#).is_ok());
        assert!(read(r#"{"type":"subscribe","camera":"a/b","codecs":["h264","jpeg"]}"#).is_ok());
        assert!(read(r#"{"type":"focus","cameras":[]}"#).is_ok());
        assert!(read(r#"{"type":"token","token":"e30"}"#).is_ok());
        for bad in [
            r#"{"type":"record"}"#,
            r#"{"type":"subscribe","camera":"a/b","codecs":["theora"]}"#,
            r#"{"type":"unsubscribe","camera":"a/b","x":1}"#,
            "[]",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
        assert!(split("a/b").is_some());
        assert!(split("a/b/c").is_none() && split("A/b").is_none() && split("a").is_none());
    }
}
