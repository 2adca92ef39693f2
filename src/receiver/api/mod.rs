//! The API, `/api/v1` (interfaces.md 5), described by `openapi.json` beside this file.
//!
//! | bound | value | over it |
//! |---|---|---|
//! | connections, heads, bodies, times | [`crate::http::Limits`] | 4xx, or closed |
//! | a request (JWS) | 16 KiB | `malformed_request` |
//! | an address that is searched | 128 characters, 20 places | 400 |
//! | searches of addresses and reads of tiles at once | 8 | the others wait |
//! | failed authentications of an address | [`crate::http::bearer::ATTEMPTS`] a minute | 429 `too_many_attempts` |
//! | looks for a designation that is not there | count among them | the same |
//! | verified tokens remembered | 4096, to their `exp` | the soonest to end go |
//! | stills of a grant | [`crate::policy::snapshot::PER_MINUTE`] a minute | 429 `too_many_attempts` |
//! | notes, bookmarks, records of incidents | [`crate::policy::record`] | 409 or 429, or the oldest go |
//! | events to a client | 512 | the oldest go, a `resync` event says so |
//! | cameras of a live connection | [`live::SUBSCRIPTIONS`] | `too_many_relays` |
//! | pictures to a live connection | the hub's queue of each camera | skip to the next key frame |

mod atlas;
mod auth;
mod cameras;
mod designations;
mod events;
mod geometry;
mod grants;
mod guard;
mod incidents;
mod live;
mod neighbours;
mod sheet;
mod snapshots;
#[cfg(test)]
mod tests;
mod watch;

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::atlas::Atlas;
use super::control::Control;
use super::credentials::Credentials;
use super::designations::Designations;
use super::hub::Hub;
use super::incidents::Incidents;
use crate::clock::Clock;
use crate::http::Problem;
use crate::http::bearer::Bearers;
use crate::journal::writer::Writer;

/// The description that `/api/v1/openapi.json` answers with.
const OPENAPI: &str = include_str!("openapi.json");

/// What the API works with.
#[derive(Debug)]
pub struct Options {
    /// The control task.
    pub control: Control,
    /// The pictures.
    pub hub: Hub,
    /// The RTSP passwords.
    pub credentials: Credentials,
    /// The time.
    pub clock: Clock,
    /// The records of incidents.
    pub incidents: Incidents,
    /// Which journal they are read from.
    pub journal: Writer,
    /// Addresses and map tiles.
    pub atlas: Arc<Atlas>,
    /// As [`super::Options::demo_page`].
    pub demo_page: bool,
    /// The frames thread, where pictures are sent.
    pub frames: tokio::runtime::Handle,
    /// Ends streams that would never end by themselves.
    pub token: CancellationToken,
}

/// What all handlers share.
#[derive(Debug)]
pub(super) struct Api {
    options: Options,
    bearers: Bearers,
    designations: Designations,
    clients: std::sync::atomic::AtomicU64,
    tags: live::Tags,
}

impl Api {
    /// Whether the API itself is behind TLS.
    fn is_tls(&self) -> bool {
        let shared = self.options.control.shared();
        shared.settings.console.tls.is_some()
    }
}

type Shared = State<Arc<Api>>;

/// The API's routes, guarded. Requests must carry a [`crate::http::Peer`].
pub fn router(options: Options) -> Router {
    let api = Arc::new(Api {
        options,
        bearers: Bearers::default(),
        designations: Designations::default(),
        clients: std::sync::atomic::AtomicU64::new(1),
        tags: live::Tags::default(),
    });
    let routes = Router::new()
        .route("/requests", post(grants::request))
        .route("/requests/{id}", get(grants::asked).delete(grants::cancel))
        .route("/grants", get(grants::list))
        .route("/grants/{id}", get(grants::one).delete(grants::release))
        .route("/snapshots", post(snapshots::take))
        .route("/incidents", get(incidents::list))
        .route(
            "/incidents/{reference}",
            get(incidents::one).put(incidents::turn),
        )
        .route(
            "/incidents/{reference}/notes/{id}",
            put(incidents::note).delete(incidents::withdraw_note),
        )
        .route(
            "/incidents/{reference}/bookmarks/{id}",
            put(incidents::bookmark).delete(incidents::withdraw_bookmark),
        )
        .route("/communes", get(cameras::communes))
        .route("/cameras", get(cameras::search))
        .route("/places", get(atlas::places))
        .route("/tiles/{z}/{x}/{y}", get(atlas::tile))
        .route("/console", get(console))
        .route("/designations/{thumbprint}", get(designations::newest))
        .route("/time", get(time))
        .route("/events", get(events::listen))
        .route("/live", get(live::upgrade))
        .route("/openapi.json", get(openapi));
    Router::new()
        .nest("/api/v1", routes)
        .merge(crate::console::router())
        .fallback(not_found)
        .method_not_allowed_fallback(not_allowed)
        .layer(axum::middleware::from_fn_with_state(
            Arc::clone(&api),
            guard::check,
        ))
        .with_state(api)
}

async fn not_found() -> Problem {
    Problem::with_status(
        404,
        "there is nothing at this path; see /api/v1/openapi.json",
    )
}

async fn not_allowed() -> Problem {
    Problem::with_status(405, "this path has other methods; see /api/v1/openapi.json")
}

#[derive(Serialize)]
struct Time {
    now: String,
    unix_ms: i64,
    centre: String,
    name: String,
}

/// The centre's time, so that an operator's machine knows how far its own is off.
async fn time(State(api): Shared) -> axum::Json<Time> {
    let now = api.options.clock.now().wall;
    let shared = api.options.control.shared();
    axum::Json(Time {
        now: now.rfc3339(),
        unix_ms: now.0.div_euclid(1_000),
        centre: shared.settings.centre.to_string(),
        name: shared.settings.name.clone(),
    })
}

/// What the page needs to know before anybody has signed in.
#[derive(Serialize)]
struct Console {
    /// Who serves the page: `receiver`; `demo`, where an operator's key may be in the address;
    /// `local` where `fanal console` does.
    mode: &'static str,
    centre: String,
    name: String,
    version: &'static str,
    /// Seconds without a touch after which the page hides its pictures.
    lock_after: u64,
    /// Whether the page may look for its key's newest designation here.
    designations: bool,
    /// Whether addresses can be searched.
    places: bool,
    /// The map's background, if there is one.
    tiles: Option<atlas::TilesView>,
}

async fn console(State(api): Shared) -> axum::Json<Console> {
    let settings = &api.options.control.shared().settings;
    axum::Json(Console {
        mode: if api.options.demo_page {
            "demo"
        } else {
            "receiver"
        },
        centre: settings.centre.to_string(),
        name: settings.name.clone(),
        version: env!("CARGO_PKG_VERSION"),
        lock_after: settings.console.lock_after.as_secs(),
        designations: (settings.operators.iter()).any(|entry| entry.designations.is_some()),
        places: api.options.atlas.has_places(),
        tiles: atlas::tiles(&api.options.atlas),
    })
}

async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}
