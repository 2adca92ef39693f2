//! Requests and grants.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Value, json};

use super::super::control::Answered;
use super::auth::Caller;
use super::{Api, Shared};
use crate::clock::{Now, Wall};
use crate::format::cause::Cause;
use crate::format::control::RelayState;
use crate::format::ids::{CameraId, CommuneId, GrantId, Incident, RequestId, Sha256};
use crate::format::statement::{Operator, RefusedCamera};
use crate::http::site::host_name;
use crate::http::{self, Peer, Problem, bearer};
use crate::media::relay::Profile;
use crate::policy::desk::{Denial, Grant, GrantCamera};
use crate::reason::{Mark, Reason, Refusal};

/// A grant as its unit sees it.
#[derive(Debug, Serialize)]
pub(super) struct GrantView {
    grant: GrantId,
    commune: CommuneId,
    incident: Incident,
    grounds: String,
    operator: Operator,
    /// Who else is present, as the newest request names them.
    present: Vec<String>,
    /// When it first began, by the gateway's clock; RFC 3339.
    start: String,
    /// RFC 3339, as the gateway signed it.
    expires: String,
    seconds_left: u64,
    granted: Vec<CameraView>,
    refused: Vec<RefusedView>,
    proof: String,
    /// Which receiver of the centre has its pictures: SHA-256 of the key of its certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    receiver: Option<Sha256>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended: Option<EndView>,
}

#[derive(Debug, Serialize)]
struct CameraView {
    camera: CameraId,
    /// Its name, where its commune announced one.
    name: Option<String>,
    state: RelayState,
    /// Why, where it is not `live`.
    reason: Option<Reason>,
    detail: Option<String>,
    profile: Profile,
    /// Why that one; null until the gateway has said so.
    profile_cause: Option<Cause>,
    /// Plays without a change; only the requester sees it.
    rtsp: Option<String>,
    /// The WebSocket that carries it to the requester.
    live: Option<String>,
}

#[derive(Debug, Serialize)]
struct RefusedView {
    camera: CameraId,
    reason: Reason,
    detail: String,
}

#[derive(Debug, Serialize)]
struct EndView {
    reason: Reason,
    detail: String,
    /// Who gave it back, where a person of its unit did.
    by: Option<Operator>,
    at: String,
}

impl From<&RefusedCamera> for RefusedView {
    fn from(refused: &RefusedCamera) -> Self {
        Self {
            camera: refused.camera.clone(),
            reason: refused.refusal.reason,
            detail: said(&refused.refusal),
        }
    }
}

/// What is in the way, or else the reason's own sentence.
pub(super) fn said(refusal: &Refusal) -> String {
    if refusal.detail.is_empty() {
        refusal.reason.english().to_owned()
    } else {
        refusal.detail.clone()
    }
}

impl From<Denial> for Problem {
    fn from(denial: Denial) -> Self {
        Self::from(denial.refusal).with_cameras(denial.cameras)
    }
}

impl Api {
    /// A grant as its requester sees it, or another of its unit; `host` is what the API was
    /// called by.
    pub(super) fn view(&self, grant: &Grant, is_requester: bool, host: &str) -> GrantView {
        let now = self.options.clock.now();
        let table = self.options.control.table();
        let announced = table.communes.get(&grant.commune);
        let announced = announced.and_then(|commune| commune.cameras.as_deref());
        let name = |id: &CameraId| {
            let list = announced?;
            let at = list.binary_search_by(|info| info.id.cmp(id)).ok()?;
            list.get(at).map(|info| info.name.clone())
        };
        let cameras = grant.cameras.iter().map(|camera| {
            let refusal = grant.refusal(camera);
            let watchable = grant.end.is_none() && camera.is_open();
            CameraView {
                camera: camera.camera.clone(),
                name: name(&camera.camera),
                state: camera.state,
                reason: refusal.map(|refusal| refusal.reason),
                detail: refusal.map(said),
                profile: camera.profile,
                profile_cause: camera.profile_cause,
                rtsp: (watchable && is_requester)
                    .then(|| self.rtsp_url(grant, camera, host))
                    .flatten(),
                live: (watchable && is_requester).then(|| {
                    let scheme = if self.is_tls() { "wss" } else { "ws" };
                    format!("{scheme}://{host}/api/v1/live")
                }),
            }
        });
        GrantView {
            grant: grant.id,
            commune: grant.commune.clone(),
            incident: grant.incident.clone(),
            grounds: grant.grounds.clone(),
            operator: grant.operator.clone(),
            present: grant.present.clone(),
            start: grant.start.rfc3339(),
            expires: grant.expires.rfc3339(),
            seconds_left: seconds_left(grant, now),
            granted: cameras.collect(),
            refused: grant.refused.iter().map(RefusedView::from).collect(),
            proof: grant.proof.to_string(),
            receiver: grant.receiver,
            ended: grant.end.as_ref().map(|end| EndView {
                reason: end.refusal.reason,
                detail: said(&end.refusal),
                by: end.by.clone(),
                at: end.at.wall.rfc3339(),
            }),
        }
    }

    /// Plays without a change; `host` is what the API was called by.
    fn rtsp_url(&self, grant: &Grant, camera: &GrantCamera, host: &str) -> Option<String> {
        let base = self.players_at(host)?;
        let (scheme, authority) = base.split_once("://")?;
        let password = self.options.credentials.of(grant);
        Some(format!(
            "{scheme}://{}:{}@{authority}/{}/{}",
            grant.id,
            password.expose(),
            grant.commune,
            camera.camera
        ))
    }

    /// Where players come in: `rtsp://corg13.example:8554`; `host` is what the API was called by.
    pub(super) fn players_at(&self, host: &str) -> Option<String> {
        let shared = self.options.control.shared();
        let addresses = &shared.addresses;
        let rtsp = &shared.settings.rtsp;
        let players = rtsp.players(addresses.rtsp, addresses.rtsps)?;
        let called = host_name(host).unwrap_or_else(|| "localhost".to_owned());
        Some(format!(
            "{}://{}",
            players.scheme,
            players.authority(&called)
        ))
    }

    /// A grant of the caller's unit.
    fn own(&self, id: &str, caller: &Caller) -> Result<Arc<Grant>, Problem> {
        let id: GrantId = id
            .parse()
            .map_err(|_| Problem::from(Reason::GrantUnknown))?;
        let table = self.options.control.table();
        let grant = table.grant(id);
        grant
            .filter(|grant| grant.is_of_unit(&caller.designation))
            .filter(|grant| grant.is_told(self.options.clock.now()))
            .cloned()
            .ok_or_else(|| Reason::GrantUnknown.into())
    }
}

fn seconds_left(grant: &Grant, now: Now) -> u64 {
    grant.left(now).as_secs()
}

/// What the API was called by; the guard has checked it.
pub(super) fn host(headers: &HeaderMap) -> String {
    let host = headers.get(header::HOST);
    let host = host.and_then(|host| host.to_str().ok());
    host.unwrap_or("localhost").to_owned()
}

/// `POST requests`: the body is the operator's signed request.
pub(super) async fn request(
    State(api): Shared,
    axum::Extension(peer): axum::Extension<Peer>,
    headers: HeaderMap,
    body: Result<Bytes, axum::extract::rejection::BytesRejection>,
) -> Result<Response, Problem> {
    let text = http::statement(&headers, body, "a request")?;
    let (address, signer) = (peer.address.ip(), bearer::signer(&text));
    match api.options.control.request(text).await {
        Ok(Answered::Granted(grant)) => Ok(created(&api, &grant, &headers)),
        Ok(Answered::Waiting {
            request,
            commune,
            approve_by,
        }) => Ok(waiting(request, &commune, Some(approve_by))),
        Err(mut denial) => {
            if denial.refusal.reason.has(Mark::Attempts) {
                let now = api.options.clock.now();
                denial.refusal = api
                    .bearers
                    .count_failure(address, &signer, denial.refusal, now);
            }
            Err(Problem::from(denial).of_request())
        }
    }
}

fn created(api: &Arc<Api>, grant: &Grant, headers: &HeaderMap) -> Response {
    // He who signed it gets its credentials.
    let view = api.view(grant, true, &host(headers));
    let mut response = (StatusCode::CREATED, Json(view)).into_response();
    let location = format!("/api/v1/grants/{}", grant.id);
    if let Ok(location) = HeaderValue::from_str(&location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// 202: not answered yet; `approve_by` where the commune must approve.
fn waiting(request: RequestId, commune: &CommuneId, approve_by: Option<Wall>) -> Response {
    let body = json!({
        "request": request,
        "commune": commune,
        "approve_by": approve_by.map(|at| at.rfc3339()),
    });
    let mut response = (StatusCode::ACCEPTED, Json(body)).into_response();
    if let Ok(location) = HeaderValue::from_str(&format!("/api/v1/requests/{request}")) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// `GET requests/{id}`: what became of a request, as `POST requests` would have
/// answered: 202 while it waits, the grant, or the problem.
pub(super) async fn asked(
    State(api): Shared,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let unknown = || Problem::with_status(404, "there is no such request of your unit");
    let id = uuid::Uuid::parse_str(&id).map_err(|_| unknown())?;
    let request = RequestId(id);
    let unit = caller.designation.unit();
    let asked = api.options.control.asked(request, unit).await?;
    let asked = asked.ok_or_else(unknown)?;
    match asked.result {
        None => Ok(waiting(request, &asked.commune, asked.approve_by)),
        Some(Ok(grant)) => {
            let table = api.options.control.table();
            let grant = table.grant(grant);
            let grant = grant.ok_or_else(|| Problem::from(Reason::GrantUnknown))?;
            let view = api.view(grant, grant.is_of(&caller.designation), &host(&headers));
            Ok(Json(view).into_response())
        }
        Some(Err(denial)) => Err(denial.into()),
    }
}

/// `DELETE requests/{id}`: who signed a request that waits for its commune gives it up.
pub(super) async fn cancel(
    State(api): Shared,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    let unknown = || Problem::with_status(404, "no request that you signed waits under this id");
    let id = uuid::Uuid::parse_str(&id).map_err(|_| unknown())?;
    let operator = caller.designation.clone();
    match api.options.control.cancel(RequestId(id), operator).await? {
        Ok(()) => Ok(Json(json!({ "request": id, "state": "cancelled" }))),
        Err(Some(refusal)) => Err(Problem::from(refusal)),
        Err(None) => Err(unknown()),
    }
}

/// `GET grants`: the unit's live grants.
pub(super) async fn list(
    State(api): Shared,
    caller: Caller,
    headers: HeaderMap,
) -> Json<Vec<GrantView>> {
    let table = api.options.control.table();
    let host = host(&headers);
    let own = table
        .live()
        .filter(|grant| grant.is_of_unit(&caller.designation));
    Json(
        own.map(|grant| api.view(grant, grant.is_of(&caller.designation), &host))
            .collect(),
    )
}

/// `GET grants/{id}`: live, or ended a short while ago.
pub(super) async fn one(
    State(api): Shared,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<GrantView>, Problem> {
    let grant = api.own(&id, &caller)?;
    let is_requester = grant.is_of(&caller.designation);
    Ok(Json(api.view(&grant, is_requester, &host(&headers))))
}

/// `DELETE grants/{id}`: gives it back, and shows how it ended.
pub(super) async fn release(
    State(api): Shared,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<GrantView>, Problem> {
    let grant = api.own(&id, &caller)?;
    let operator = caller.designation.clone();
    let ended = api.options.control.release(grant.id, operator).await?;
    let is_requester = ended.is_of(&caller.designation);
    Ok(Json(api.view(&ended, is_requester, &host(&headers))))
}
