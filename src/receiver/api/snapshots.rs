//! `POST snapshots`: a still is given once both ends have recorded it.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;

use super::Shared;
use super::auth::Caller;
use crate::clock::Wall;
use crate::format::ids::{CameraId, CommuneId, GrantId, Sha256, SnapshotId};
use crate::http::{self, Problem};
use crate::policy::desk::Still;

/// What is asked.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    grant: GrantId,
    /// `COMMUNE/CAMERA`.
    camera: String,
    /// RFC 3339, by the gateway's clock: as the picture came with.
    captured: String,
    /// Of the PNG's image data: its IDAT chunks' contents in order. Both journals hold it,
    /// and `fanal journal still` compares.
    sha256: Sha256,
}

/// The page draws the still by itself; what is asked for here is the leave to.
pub(super) async fn take(
    State(api): Shared,
    caller: Caller,
    headers: HeaderMap,
    body: Result<Bytes, axum::extract::rejection::BytesRejection>,
) -> Result<Response, Problem> {
    let body = http::json(&headers, body, "what a snapshot is asked of")?;
    let still = read(body).map_err(|cause| Problem::with_status(400, cause))?;
    let operator = caller.designation.clone();
    let still = api.options.control.snapshot(still, operator).await?;
    let view = json!({
        "snapshot": still.snapshot,
        "grant": still.grant,
        "camera": format!("{}/{}", still.commune, still.camera),
        "captured": still.captured.rfc3339(),
        "sha256": still.sha256,
        "at": api.options.clock.now().wall.rfc3339(),
    });
    Ok((StatusCode::CREATED, Json(view)).into_response())
}

fn read(body: Body) -> Result<Still, String> {
    let (commune, camera) = body
        .camera
        .split_once('/')
        .ok_or("camera: write COMMUNE/CAMERA")?;
    let captured: jiff::Timestamp = body
        .captured
        .parse()
        .map_err(|error| format!("captured: {error}"))?;
    Ok(Still {
        snapshot: SnapshotId(uuid::Uuid::now_v7()),
        grant: body.grant,
        commune: CommuneId::new(commune).map_err(|error| error.to_string())?,
        camera: CameraId::new(camera).map_err(|error| error.to_string())?,
        captured: Wall(captured.as_microsecond()),
        sha256: body.sha256,
    })
}
