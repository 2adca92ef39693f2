//! `/local/v1/`: what the page asks of the operator's key.
//!
//! | call | answer |
//! |---|---|
//! | `GET operator` | `{name, number, unit, not_after}` |
//! | `POST token` | `{token, expires}` (seconds since the epoch) |
//! | `POST requests` with the claims but `jti`, `iat`, `centre` | `{request}`, the statement |
//! | `POST decisions` with the claims but `jti`, `iat`, `aud`; at a commune's page alone | `{statement}` |
//!
//! All need the [session](super::session)'s secret. `iat` is the centre's time, so that a workstation a
//! minute off still works; at most [`CLOCK_LIMIT`] off its own, so that a receiver can't have
//! statements signed for another day.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use anyhow::{Context, anyhow};
use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use super::session::Session;
use super::{Console, Shared, words};
use crate::clock::{Boot, Clock, Wall};
use crate::commands::client::{self, Client};
use crate::format::decision::{CutClaims, CutDecision, DECISION_TYPE, Decision, DecisionClaims};
use crate::format::designation::{self, Designation, check_request};
use crate::format::ids::{CameraId, CommuneId, GrantId, Incident, ProfileWish, RequestId};
use crate::format::statement::{REQUEST_TYPE, RequestClaims, STATEMENT_LIMIT, TOKEN_SECONDS};
use crate::format::text;
use crate::http::Problem;
use crate::reason::{Reason, Refusal};

/// How far the centre's clock may be from this machine's and still be followed.
const CLOCK_LIMIT: Duration = Duration::from_secs(300);
/// How long a measured offset of the centre's clock is good for.
const CLOCK_FRESH: Duration = Duration::from_secs(60);
/// How far the centre's clock is ahead of this machine's, as last measured.
#[derive(Debug, Default)]
pub(super) struct CentreClock(Mutex<Option<(Boot, i64)>>);

impl Console {
    /// The centre's time; one call measures for all that wait.
    async fn centre_time(&self) -> Result<Wall, Problem> {
        let clock = Clock::system();
        let mut known = self.clock.0.lock().await;
        let ahead = match *known {
            Some((at, ahead)) if clock.now().boot.since(at) < CLOCK_FRESH => ahead,
            _ => {
                let before = clock.now();
                let answered = self.client.centre_time().await;
                let theirs = answered.map_err(|error| self.unreachable(&error))?.wall();
                self.answered();
                let after = clock.now();
                let middle = before.wall.plus(after.boot.since(before.boot) / 2);
                let ahead = theirs.0.saturating_sub(middle.0);
                *known = Some((after.boot, ahead));
                ahead
            }
        };
        drop(known);
        let apart = Duration::from_micros(ahead.unsigned_abs());
        if apart > CLOCK_LIMIT {
            let side = if ahead > 0 { "behind" } else { "ahead of" };
            let detail = format!(
                "this workstation's clock is {} s {side} the centre's; set it",
                apart.as_secs()
            );
            return Err(Refusal::new(Reason::ClockWrong, detail).into());
        }
        Ok(Wall(clock.now().wall.0.saturating_add(ahead)))
    }

    /// The receiver gave no answer: told on the terminal once, and to the page.
    pub(super) fn unreachable(&self, error: &anyhow::Error) -> Problem {
        let cause = text::shown(&format!("{error:#}"), 400);
        if !self.is_away.swap(true, Ordering::Relaxed) {
            self.note(&words::away(self.french, self.client.now(), &cause));
        }
        Refusal::new(Reason::CentreUnreachable, cause).into()
    }

    /// The receiver gave an answer that the API has not: told in the log, seldom, and to the page.
    pub(super) fn odd(&self, cause: &str) -> Problem {
        let origin = self.client.origin();
        let detail = text::shown(
            &format!(
                "{origin} answered with {cause}, which is never shown to the page: is it fanal's API, or has somebody taken the receiver over?"
            ),
            512,
        );
        let now = Clock::system().now().boot;
        let mut told = self.odd.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(unsaid) = told.may_say((), now) {
            tracing::warn!(unsaid, "{detail}");
        }
        Refusal::new(Reason::ProtocolError, detail).into()
    }

    /// The receiver gave one.
    pub(super) fn answered(&self) {
        if self.is_away.swap(false, Ordering::Relaxed) {
            self.note(&words::back(self.french, self.client.now()));
        }
    }

    /// Takes a newer designation that was put in the place of the one that is used.
    async fn follow_certificate(self: &Arc<Self>) {
        let console = Arc::clone(self);
        let renewed = tokio::task::spawn_blocking(move || console.client.renew()).await;
        match renewed
            .map_err(anyhow::Error::from)
            .and_then(|renewed| renewed)
        {
            Ok(true) => {
                if let Ok(me) = holder(&self.client) {
                    self.note(&words::renewed(self.french, &me));
                }
            }
            Ok(false) => {}
            Err(error) => {
                let now = Clock::system().now().boot;
                let mut told = self.odd.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(unsaid) = told.may_say((), now) {
                    tracing::warn!(
                        unsaid,
                        error = format!("{error:#}"),
                        "the certificate is not read again"
                    );
                }
            }
        }
    }

    fn note(&self, text: &str) {
        if let Err(error) = words::say(text) {
            tracing::warn!(%error, "the terminal can't be written");
        }
    }
}

/// Who signs, as the certificate says.
pub(super) fn holder(client: &Client) -> anyhow::Result<Designation> {
    let chain = client.chain();
    let leaf = chain.first().context("--cert holds no certificate")?;
    designation::read(leaf).map_err(|cause| anyhow!("--cert: {cause}"))
}

#[derive(Serialize)]
pub(super) struct Operator {
    name: String,
    number: String,
    unit: String,
    not_after: String,
}

/// `GET /local/v1/operator`.
pub(super) async fn operator(
    _: Session,
    State(console): Shared,
) -> Result<Json<Operator>, Problem> {
    console.follow_certificate().await;
    let me = holder(&console.client);
    let me = me.map_err(|error| Refusal::new(Reason::Internal, format!("{error:#}")))?;
    Ok(Json(Operator {
        name: me.operator.name,
        number: me.operator.number,
        unit: me.operator.unit,
        not_after: me.not_after.rfc3339(),
    }))
}

#[derive(Serialize)]
pub(super) struct Token {
    token: String,
    /// Seconds since the epoch, the centre's time.
    expires: i64,
}

/// `POST /local/v1/token`.
pub(super) async fn token(_: Session, State(console): Shared) -> Result<Json<Token>, Problem> {
    console.follow_certificate().await;
    let now = console.centre_time().await?.seconds();
    Ok(Json(Token {
        token: console.client.sign_token(now, TOKEN_SECONDS),
        expires: now.saturating_add(TOKEN_SECONDS),
    }))
}

/// A request as the page asks for it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    aud: CommuneId,
    cameras: Vec<CameraId>,
    grounds: String,
    incident: Incident,
    duration: u32,
    profile: ProfileWish,
    #[serde(default)]
    present: Vec<String>,
    #[serde(default)]
    renews: Option<GrantId>,
}

/// A decision as the page asks for it.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Decided {
    Request(OfRequest),
    Scope(OfScope),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OfRequest {
    request: RequestId,
    decision: Decision,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OfScope {
    scope: Scope,
    #[serde(default)]
    block: Option<u64>,
    decision: CutDecision,
}

/// What a cut covers, as it can be written.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct Scope(String);

impl TryFrom<String> for Scope {
    type Error = String;

    fn try_from(written: String) -> Result<Self, String> {
        let scope: crate::policy::gate::Scope = written.parse()?;
        Ok(Self(scope.to_string()))
    }
}

#[derive(Serialize)]
pub(super) struct SignedDecision {
    statement: String,
}

/// `POST /local/v1/decisions`: shown on the terminal first, then signed.
pub(super) async fn decision(
    _: Session,
    State(console): Shared,
    body: Bytes,
) -> Result<Json<SignedDecision>, Problem> {
    let malformed = |cause: String| Problem::from(Refusal::new(Reason::MalformedRequest, cause));
    if body.len() > STATEMENT_LIMIT {
        return Err(malformed("longer than 16 KiB".to_owned()));
    }
    let decided: Decided = serde_json::from_slice(&body)
        .map_err(|error| malformed(text::shown(&error.to_string(), 400)))?;
    let (jti, iat) = (client::new_id(), console.centre_time().await?.seconds());
    // The client knows a commune by the same form of id as a centre.
    let aud = CommuneId::new(console.client.centre().as_str())
        .map_err(|error| malformed(error.to_string()))?;
    let show = |said: &str| {
        // What can't be shown is not signed.
        words::say(&words::decision(console.french, iat, &aud, said)).map_err(|error| {
            let detail = format!("the terminal can't be written, so nothing is signed: {error}");
            Refusal::new(Reason::Internal, detail)
        })
    };
    let statement = match decided {
        Decided::Request(OfRequest { request, decision }) => {
            show(&words::of_request(console.french, request, decision))?;
            let claims = DecisionClaims {
                jti,
                iat,
                aud: aud.clone(),
                request,
                decision,
            };
            console.client.sign(DECISION_TYPE, &claims)
        }
        Decided::Scope(OfScope {
            scope: Scope(scope),
            block,
            decision,
        }) => {
            show(&words::of_scope(console.french, &scope, block, decision))?;
            let claims = CutClaims {
                jti,
                iat,
                aud: aud.clone(),
                scope,
                block,
                decision: Some(decision),
            };
            console.client.sign(DECISION_TYPE, &claims)
        }
    };
    Ok(Json(SignedDecision { statement }))
}

#[derive(Serialize)]
pub(super) struct Signed {
    request: String,
}

/// `POST /local/v1/requests`: shown on the terminal first, then signed.
pub(super) async fn request(
    _: Session,
    State(console): Shared,
    body: Bytes,
) -> Result<Json<Signed>, Problem> {
    let malformed = |cause: String| Problem::from(Refusal::new(Reason::MalformedRequest, cause));
    if body.len() > STATEMENT_LIMIT {
        return Err(malformed("longer than 16 KiB".to_owned()));
    }
    let asked: Asked = serde_json::from_slice(&body)
        .map_err(|error| malformed(text::shown(&error.to_string(), 400)))?;
    let claims = RequestClaims {
        jti: client::new_id(),
        iat: console.centre_time().await?.seconds(),
        aud: asked.aud,
        centre: console.client.centre().clone(),
        cameras: asked.cameras,
        grounds: asked.grounds,
        incident: asked.incident,
        duration: asked.duration,
        profile: asked.profile,
        present: asked.present,
        renews: asked.renews,
    };
    check_request(&claims).map_err(malformed)?;
    // What can't be shown is not signed.
    words::say(&words::request(console.french, &claims)).map_err(|error| {
        let detail = format!("the terminal can't be written, so nothing is signed: {error}");
        Refusal::new(Reason::Internal, detail)
    })?;
    let request = console.client.sign(REQUEST_TYPE, &claims);
    Ok(Json(Signed { request }))
}
