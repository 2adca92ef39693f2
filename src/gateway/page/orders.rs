//! What people sign: cuts, their end, decisions. The statement says who; no token is needed.

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::{Ask, Handle, Page};
use crate::format::ids::RequestId;
use crate::http::{self, Peer, Problem, bearer};
use crate::policy::gate::decision::{Done, Order};
use crate::reason::{Mark, Reason, Refusal};

type Body = Result<Bytes, BytesRejection>;

/// `POST waiting/{id}`.
pub(super) async fn decide(
    State(page): Handle,
    Path(id): Path<String>,
    axum::Extension(peer): axum::Extension<Peer>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, Problem> {
    let request = id.parse().map(RequestId).map_err(|_| {
        let detail = format!("{id:?} is no request's id");
        Problem::from(Refusal::new(Reason::GrantUnknown, detail))
    })?;
    let text = http::statement(&headers, body, "a decision")?;
    page.order(Order::Decide(request), text, &peer)
        .await
        .map(Json)
}

/// `POST cuts`.
pub(super) async fn cut(
    State(page): Handle,
    axum::Extension(peer): axum::Extension<Peer>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let text = http::statement(&headers, body, "a cut")?;
    let done = page.order(Order::Cut, text, &peer).await?;
    Ok((StatusCode::CREATED, Json(done)).into_response())
}

/// `DELETE cuts`.
pub(super) async fn allow(
    State(page): Handle,
    axum::Extension(peer): axum::Extension<Peer>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, Problem> {
    let text = http::statement(&headers, body, "the end of a cut")?;
    page.order(Order::Allow, text, &peer).await.map(Json)
}

impl Page {
    async fn order(&self, order: Order, text: String, peer: &Peer) -> Result<Value, Problem> {
        let signer = bearer::signer(&text);
        match self.ask(|reply| Ask::Order(order, text, reply)).await? {
            Ok(done) => Ok(told(done)),
            Err(refusal) if refusal.reason.has(Mark::Attempts) => {
                let (address, now) = (peer.address.ip(), self.clock.now());
                let counted = &self.bearers;
                Err(counted.count_failure(address, &signer, refusal, now).into())
            }
            Err(refusal) => Err(refusal.into()),
        }
    }
}

fn told(done: Done) -> Value {
    match done {
        Done::Cut(scope, done) => json!({
            "scope": scope.to_string(),
            "grants": done.grants,
            "until": done.until.rfc3339(),
        }),
        Done::Allowed(scope, lifted) => json!({ "scope": scope.to_string(), "lifted": lifted }),
        Done::Approved(request, approved) => json!({
            "request": request,
            "decision": "approve",
            "grant": approved.grant,
            "cameras": approved.cameras,
            "until": approved.until.rfc3339(),
        }),
        Done::Refused(request) => json!({ "request": request, "decision": "refuse" }),
    }
}
