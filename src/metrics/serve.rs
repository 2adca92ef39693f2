//! `/metrics`, `/health` and `/ready`, on a listener of their own. It listens on
//! loopback unless set: anyone who reaches it learns which cameras are relayed when.

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;

use super::health::Checks;

/// Media type of the text format 0.0.4.
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The three pages; `encode` is the daemon's [`super::Gateway::encode`] or
/// [`super::Receiver::encode`]. For [`crate::http::serve`].
pub fn router<E>(encode: E, checks: Checks) -> Router
where
    E: Fn() -> Result<String, prometheus::Error> + Clone + Send + Sync + 'static,
{
    let metrics = move || {
        let text = encode();
        async move {
            match text {
                Ok(text) => ([(header::CONTENT_TYPE, TEXT_FORMAT)], text).into_response(),
                Err(error) => {
                    tracing::error!(%error, "metrics can't be written");
                    StatusCode::INTERNAL_SERVER_ERROR.into_response()
                }
            }
        }
    };
    let ready = move || {
        let report = checks.report();
        async move {
            let status = if report.ready {
                StatusCode::OK
            } else {
                StatusCode::SERVICE_UNAVAILABLE
            };
            (status, axum::Json(report))
        }
    };
    // That it answers at all is what /health says.
    let health = || async { axum::Json(serde_json::json!({"status": "ok"})) };
    Router::new()
        .route("/metrics", get(metrics))
        .route("/ready", get(ready))
        .route("/health", get(health))
}
