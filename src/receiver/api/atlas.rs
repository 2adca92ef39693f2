//! Places by address, and the map's tiles.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use super::Shared;
use super::auth::Caller;
use super::geometry::{bad, point};
use crate::http::Problem;
use crate::http::Query;
use crate::places::{MOST, Place, QUERY};
use crate::receiver::atlas::{Atlas, Lack};

/// Places in an answer that names no limit.
const DEFAULT_LIMIT: usize = 10;
/// Tiles change with the settings alone; only the operator's own browser keeps them.
const TILE_CACHE: &str = "private, max-age=86400";

impl From<Lack> for Problem {
    fn from(lack: Lack) -> Self {
        let status = match &lack {
            Lack::NotSet(_) => 404,
            Lack::Reading | Lack::Unreadable(_) => 503,
        };
        Self::with_status(status, lack.to_string())
    }
}

/// What is looked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Search {
    q: String,
    limit: Option<usize>,
    near: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct Places {
    places: Vec<Place>,
}

/// `GET places`: by address, as far as it is typed.
pub(super) async fn places(
    State(api): Shared,
    _caller: Caller,
    Query(search): Query<Search>,
) -> Result<Json<Places>, Problem> {
    let limit = search.limit.unwrap_or(DEFAULT_LIMIT);
    if limit == 0 || limit > MOST {
        return Err(bad("limit", "from 1 to 20"));
    }
    if search.q.chars().count() > QUERY {
        return Err(bad("q", "of at most 128 characters"));
    }
    let near = search.near.map(|text| point("near", &text)).transpose()?;
    let places = api.options.atlas.search(search.q, near, limit).await?;
    Ok(Json(Places { places }))
}

/// What a map must know to ask for tiles.
#[derive(Debug, Serialize)]
pub(super) struct TilesView {
    min_zoom: u8,
    max_zoom: u8,
    /// Whom the map must name.
    attribution: Option<String>,
}

/// The tiles as `GET console` tells of them.
pub(super) fn tiles(atlas: &Atlas) -> Option<TilesView> {
    let tiles = atlas.tiles()?;
    let (min_zoom, max_zoom) = tiles.zooms;
    Some(TilesView {
        min_zoom,
        max_zoom,
        attribution: tiles.attribution.clone(),
    })
}

/// `GET tiles/{z}/{x}/{y}`: a picture of the map's background.
pub(super) async fn tile(
    State(api): Shared,
    _caller: Caller,
    place: Result<Path<(u8, u32, u32)>, PathRejection>,
) -> Result<Response, Problem> {
    let none = || Problem::with_status(404, "there is no such tile");
    let Path((zoom, column, row)) = place.map_err(|_| none())?;
    let tile = api.options.atlas.tile(zoom, column, row).await?;
    let tile = tile.ok_or_else(none)?;
    let headers = [
        (header::CONTENT_TYPE, tile.kind.content_type()),
        (header::CACHE_CONTROL, TILE_CACHE),
    ];
    Ok((headers, tile.bytes).into_response())
}
