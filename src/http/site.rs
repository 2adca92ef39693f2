//! By which name a server is called, from which page, and for what: what a server with a page
//! checks of every call (DNS rebinding, cross-site writes, tokens in URLs, and by Fetch Metadata
//! what a browser would do with the answer).

use std::net::IpAddr;

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, header};

use super::Problem;
use crate::connect::is_loopback;
use crate::reason::{Reason, Refusal};

/// Query names under which programs put tokens.
const TOKEN_NAMES: &[&str] = &["token", "access_token", "authorization", "bearer", "jwt"];

/// How long a browser keeps to TLS for a host once it has come by it: a year.
const STRICT_TRANSPORT: &str = "max-age=31536000";

/// The server is called by a known name: loopback, one of `hosts` (with or without a port), or
/// the address that it listens on. `setting` is where further names are set.
///
/// # Errors
/// There is not one Host header (400), or it has another name (421).
pub fn check_host(
    headers: &HeaderMap,
    hosts: &[String],
    listens: IpAddr,
    setting: &str,
) -> Result<(), Problem> {
    let host = single(headers, header::HOST)
        .and_then(host_name)
        .ok_or_else(|| Problem::with_status(400, "a request must carry one Host header"))?;
    let known = is_loopback(&host)
        || hosts
            .iter()
            .any(|known| host_name(known).is_some_and(|known| known.eq_ignore_ascii_case(&host)))
        || (!listens.is_unspecified() && host.parse() == Ok(listens));
    if known {
        return Ok(());
    }
    let detail = format!("this server is not called by that name; add it to {setting}");
    Err(Problem::with_status(421, detail))
}

/// What each answer carries: no copy is kept unless it says otherwise, no type is guessed, and
/// over TLS the browser keeps to TLS.
pub fn seal(headers: &mut HeaderMap, tls: bool) {
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    if tls {
        let strict = HeaderValue::from_static(STRICT_TRANSPORT);
        headers.insert(header::STRICT_TRANSPORT_SECURITY, strict);
    }
}

/// Only browsers send an Origin; where one comes with a write or a WebSocket, it
/// must be this server's own page. `scheme`: how the server is reached.
///
/// # Errors
/// It is another page's; 403.
pub fn check_origin(request: &Request, scheme: &str) -> Result<(), Problem> {
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
    let own = single(headers, header::HOST).map(|host| format!("{scheme}://{host}"));
    match (single(headers, header::ORIGIN), own) {
        (Some(origin), Some(own)) if origin.eq_ignore_ascii_case(&own) => Ok(()),
        _ => Err(Problem::with_status(
            403,
            "the page that sent this is not this server's own (Origin)",
        )),
    }
}

/// What a browser says of a call that a page's script makes and whose answer that script reads
/// (<https://www.w3.org/TR/fetch-metadata/>).
const CALLS: [(&str, &[&str]); 3] = [
    ("sec-fetch-site", &["same-origin"]),
    ("sec-fetch-mode", &["cors", "same-origin", "websocket"]),
    ("sec-fetch-dest", &["empty", "websocket"]),
];
/// What a page's files are for: the page itself, or a part of it.
const FILES: &[&str] = &["document", "script", "style", "image", "worker", "empty"];

/// A call of the server's own page, whose answer a script reads: no browser may show it, run it
/// or keep it as a worker. Programs that are no browsers do not say, and pass.
///
/// # Errors
/// A browser says otherwise; 403.
pub fn check_call(headers: &HeaderMap) -> Result<(), Problem> {
    check_worker(headers)?;
    for (name, allowed) in CALLS {
        let name = header::HeaderName::from_static(name);
        if !says(headers, &name, allowed) {
            let detail = format!("a page's script calls this; a browser may not open it ({name})");
            return Err(Problem::with_status(403, detail));
        }
    }
    Ok(())
}

/// A file of the server's own page: opened by itself, from anywhere, or a part of that page; never
/// framed, never a service worker.
///
/// # Errors
/// A browser says otherwise; 403.
pub fn check_file(headers: &HeaderMap) -> Result<(), Problem> {
    check_worker(headers)?;
    let name = header::HeaderName::from_static;
    let is_file = says(headers, &name("sec-fetch-dest"), FILES);
    let is_own = says(headers, &name("sec-fetch-dest"), &["document"])
        || says(headers, &name("sec-fetch-site"), &["same-origin", "none"]);
    if is_file && is_own {
        return Ok(());
    }
    let detail = "this belongs to a page of its own, which is not shown within another";
    Err(Problem::with_status(403, detail))
}

/// Nothing here is a service worker: one would answer for this origin from then on.
fn check_worker(headers: &HeaderMap) -> Result<(), Problem> {
    if headers.contains_key("service-worker") {
        return Err(Problem::with_status(403, "there is no service worker here"));
    }
    Ok(())
}

/// Whether the header has one of these values, once; or is not there.
fn says(headers: &HeaderMap, name: &header::HeaderName, allowed: &[&str]) -> bool {
    !headers.contains_key(name)
        || single(headers, name.clone()).is_some_and(|value| allowed.contains(&value))
}

/// No token in the URL: it ends up in logs and histories.
///
/// # Errors
/// There is one; `token_invalid`.
pub fn check_query(query: &str) -> Result<(), Problem> {
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

/// A header that is there once, as text.
pub fn single(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    }
}

/// The host of `host[:port]`, brackets of an IPv6 address taken off.
pub fn host_name(authority: &str) -> Option<String> {
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?.0,
        None => authority.split(':').next()?,
    };
    (!host.is_empty()).then(|| host.to_owned())
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
        }
        assert_eq!(host_name(":80"), None);
    }

    /// As browsers say it: site, mode, dest.
    fn fetched(site: &'static str, mode: &'static str, dest: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("sec-fetch-site", site),
            ("sec-fetch-mode", mode),
            ("sec-fetch-dest", dest),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn only_the_own_pages_scripts_call() {
        assert!(check_call(&HeaderMap::new()).is_ok());
        for (site, mode, dest) in [
            ("same-origin", "cors", "empty"),
            ("same-origin", "same-origin", "empty"),
            ("same-origin", "websocket", "websocket"),
            ("same-origin", "websocket", "empty"),
        ] {
            assert!(check_call(&fetched(site, mode, dest)).is_ok(), "{dest}");
        }
        for (site, mode, dest) in [
            ("none", "navigate", "document"),
            ("same-origin", "navigate", "document"),
            ("same-origin", "navigate", "iframe"),
            ("same-origin", "no-cors", "script"),
            ("same-origin", "cors", "script"),
            ("same-origin", "same-origin", "worker"),
            ("same-origin", "same-origin", "sharedworker"),
            ("same-origin", "same-origin", "serviceworker"),
            ("same-origin", "no-cors", "image"),
            ("same-origin", "no-cors", "empty"),
            ("same-origin", "no-cors", "object"),
            ("same-origin", "no-cors", "style"),
            ("same-origin", "cors", "xslt"),
            ("cross-site", "cors", "empty"),
            ("same-site", "cors", "empty"),
            ("none", "cors", "empty"),
            ("same-origin", "a new mode", "empty"),
        ] {
            let refused = check_call(&fetched(site, mode, dest)).unwrap_err();
            assert_eq!(refused.status(), 403, "{site} {mode} {dest}");
        }
        let mut worker = HeaderMap::new();
        worker.insert("service-worker", HeaderValue::from_static("script"));
        assert!(check_call(&worker).is_err() && check_file(&worker).is_err());
        let mut twice = fetched("same-origin", "cors", "empty");
        twice.append("sec-fetch-dest", HeaderValue::from_static("empty"));
        assert!(check_call(&twice).is_err());
    }

    #[test]
    fn a_page_is_opened_from_anywhere_and_framed_nowhere() {
        assert!(check_file(&HeaderMap::new()).is_ok());
        for (site, mode, dest) in [
            ("none", "navigate", "document"),
            ("cross-site", "navigate", "document"),
            ("same-origin", "cors", "script"),
            ("same-origin", "no-cors", "style"),
            ("same-origin", "no-cors", "image"),
            ("none", "no-cors", "image"),
            ("same-origin", "same-origin", "worker"),
        ] {
            assert!(check_file(&fetched(site, mode, dest)).is_ok(), "{dest}");
        }
        for (site, mode, dest) in [
            ("cross-site", "navigate", "iframe"),
            ("same-origin", "navigate", "iframe"),
            ("cross-site", "navigate", "object"),
            ("same-origin", "navigate", "embed"),
            ("cross-site", "no-cors", "script"),
            ("same-site", "cors", "script"),
            ("same-origin", "same-origin", "serviceworker"),
            ("same-origin", "same-origin", "sharedworker"),
        ] {
            assert!(
                check_file(&fetched(site, mode, dest)).is_err(),
                "{site} {dest}"
            );
        }
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
