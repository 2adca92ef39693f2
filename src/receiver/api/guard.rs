//! What every call must pass first: called by a known name (DNS rebinding), from
//! its own page (cross-site writes), without a token in the URL (which ends up
//! in logs and histories).

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::Api;
use crate::http::site::{check_host, check_origin, check_query, seal};

pub(super) async fn check(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    let scheme = if api.is_tls() { "https" } else { "http" };
    let shared = api.options.control.shared();
    let console = &shared.settings.console;
    let (hosts, listens) = (&console.hosts, console.listen.ip());
    // Behind a proxy that speaks TLS the page's own origin has its scheme.
    let is_behind = console.plain;
    let refused = check_host(request.headers(), hosts, listens, "console.hosts")
        .and_then(|()| match check_origin(&request, scheme) {
            Err(_) if is_behind => check_origin(&request, "https"),
            checked => checked,
        })
        .and_then(|()| check_query(request.uri().query().unwrap_or_default()));
    let mut response = match refused {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    };
    seal(response.headers_mut(), api.is_tls());
    response
}
