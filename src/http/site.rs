//! By which name a server is called, and from which page: what a server with a page
//! checks of every call (DNS rebinding, cross-site writes, tokens in URLs).

use axum::extract::Request;
use axum::http::{HeaderMap, Method, header};

use super::Problem;
use crate::reason::{Reason, Refusal};

/// Query names under which programs put tokens.
const TOKEN_NAMES: &[&str] = &["token", "access_token", "authorization", "bearer", "jwt"];

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
