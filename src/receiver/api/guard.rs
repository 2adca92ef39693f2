//! What every call must pass first: called by a known name (DNS rebinding), from
//! its own page (cross-site writes), without a token in the URL (which ends up
//! in logs and histories).

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::Api;
use crate::http::Problem;
use crate::reason::{Reason, Refusal};

/// Query names under which programs put tokens.
const TOKEN_NAMES: &[&str] = &["token", "access_token", "authorization", "bearer", "jwt"];

pub(super) async fn check(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    let refused = check_host(&api, request.headers())
        .and_then(|()| check_origin(&api, &request))
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

/// Only browsers send an Origin; where one comes with a write or a WebSocket, it
/// must be this receiver's own page.
fn check_origin(api: &Api, request: &Request) -> Result<(), Problem> {
    let headers = request.headers();
    let writes = !matches!(
        *request.method(),
        Method::GET | Method::HEAD | Method::OPTIONS
    );
    if !writes && !headers.contains_key(header::UPGRADE) {
        return Ok(());
    }
    if !headers.contains_key(header::ORIGIN) {
        return Ok(());
    }
    let scheme = if api.options.tls { "https" } else { "http" };
    let own = single(headers, header::HOST).map(|host| format!("{scheme}://{host}"));
    match (single(headers, header::ORIGIN), own) {
        (Some(origin), Some(own)) if origin.eq_ignore_ascii_case(&own) => Ok(()),
        _ => Err(Problem::with_status(
            403,
            "the page that sent this is not this receiver's own (Origin)",
        )),
    }
}

fn check_query(query: &str) -> Result<(), Problem> {
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        let is_named = TOKEN_NAMES
            .iter()
            .any(|known| name.eq_ignore_ascii_case(known));
        let is_jws = value.starts_with("eyJ") && value.matches('.').count() == 2;
        if is_named || is_jws {
            let detail = "a token in the URL is refused, and should be thought known to others: send it in the Authorization header";
            return Err(Refusal::new(Reason::TokenInvalid, detail).into());
        }
    }
    Ok(())
}

/// A header that stands there once, as text.
fn single(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    }
}

/// The host of `host[:port]`, brackets of an IPv6 address taken off.
fn host_name(authority: &str) -> Option<String> {
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?.0,
        None => authority.split(':').next()?,
    };
    (!host.is_empty()).then(|| host.to_owned())
}

fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_read_with_and_without_ports() {
        for (authority, host) in [
            ("localhost", "localhost"),
            ("localhost:8889", "localhost"),
            ("[::1]:8889", "::1"),
            ("127.0.0.1:1", "127.0.0.1"),
        ] {
            assert_eq!(host_name(authority).as_deref(), Some(host));
            assert!(is_loopback(host), "{host}");
        }
        for other in [
            "localhost.evil.example",
            "127.0.0.1.nip.io",
            "10.0.0.1",
            "0",
        ] {
            assert!(!is_loopback(other), "{other}");
        }
        assert_eq!(host_name(":80"), None);
    }

    #[test]
    fn tokens_in_urls_are_found() {
        for query in [
            "token=x",
            "Access_Token=x",
            "q=1&jwt=2",
            "x=eyJhbGciOi.a.b",
            "x=eyJ%61.a.b",
        ] {
            assert!(check_query(query).is_err(), "{query}");
        }
        for query in ["", "q=token", "q=eyJ", "near=43.4,5.1"] {
            assert!(check_query(query).is_ok(), "{query}");
        }
    }
}
