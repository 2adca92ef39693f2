//! What every call must pass first: called by a known name (DNS rebinding), from
//! its own page (cross-site writes), without a token in the URL (which ends up
//! in logs and histories).

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::Api;
use crate::connect::is_loopback;
use crate::http::Problem;
use crate::http::site::{check_origin, check_query, host_name, single};

/// How long a browser keeps to TLS for this host once it has come by it: a year.
const STRICT_TRANSPORT: &str = "max-age=31536000";

pub(super) async fn check(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    let scheme = if api.is_tls() { "https" } else { "http" };
    // Behind a proxy that speaks TLS the page's own origin has its scheme.
    let is_behind = api.options.control.shared().settings.console.plain;
    let refused = check_host(&api, request.headers())
        .and_then(|()| match check_origin(&request, scheme) {
            Err(_) if is_behind => check_origin(&request, "https"),
            checked => checked,
        })
        .and_then(|()| check_query(request.uri().query().unwrap_or_default()));
    let mut response = match refused {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    };
    let headers = response.headers_mut();
    // The page's own files say otherwise.
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    if api.is_tls() {
        let strict = HeaderValue::from_static(STRICT_TRANSPORT);
        headers.insert(header::STRICT_TRANSPORT_SECURITY, strict);
    }
    response
}

fn check_host(api: &Api, headers: &HeaderMap) -> Result<(), Problem> {
    let shared = api.options.control.shared();
    let console = &shared.settings.console;
    let host = single(headers, header::HOST)
        .and_then(host_name)
        .ok_or_else(|| Problem::with_status(400, "a request must carry one Host header"))?;
    let listens = console.listen.ip();
    let known = is_loopback(&host)
        || console
            .hosts
            .iter()
            .any(|known| host_name(known).is_some_and(|known| known.eq_ignore_ascii_case(&host)))
        || (!listens.is_unspecified() && host.parse() == Ok(listens));
    if known {
        Ok(())
    } else {
        let detail = "this receiver is not called by that name; add it to console.hosts";
        Err(Problem::with_status(421, detail))
    }
}
