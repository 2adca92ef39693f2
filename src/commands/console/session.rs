//! The session's secret, which every call needs that the key signs for or that is passed on.
//!
//! The page has it from the printed address's fragment and sends it as a header; with a WebSocket
//! as a subprotocol, since a page can't give that a header. It goes no further than this program.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};

use super::Console;
use crate::http::Problem;
use crate::http::site::single;
use crate::reason::{Reason, Refusal};
use crate::secret::Secret;

/// The header that carries it.
const HEADER: &str = "x-fanal-session";
/// The prefix of the subprotocol that carries it in a WebSocket's list.
const PROTOCOL: &str = "fanal.session.";

/// A call with the session's secret.
pub(super) struct Session;

impl FromRequestParts<Arc<Console>> for Session {
    type Rejection = Problem;

    async fn from_request_parts(
        parts: &mut Parts,
        console: &Arc<Console>,
    ) -> Result<Self, Problem> {
        if given(&parts.headers).is_some_and(|given| Secret::new(given) == console.secret) {
            return Ok(Self);
        }
        let detail = "this page does not have the session's secret; open the address that fanal console printed";
        Err(Refusal::new(Reason::TokenInvalid, detail).into())
    }
}

fn given(headers: &HeaderMap) -> Option<&str> {
    if headers.contains_key(HEADER) {
        return single(headers, header::HeaderName::from_static(HEADER));
    }
    let offered = single(headers, header::SEC_WEBSOCKET_PROTOCOL)?;
    offered
        .split(',')
        .find_map(|protocol| protocol.trim().strip_prefix(PROTOCOL))
}

/// The subprotocols that a WebSocket offers the receiver: without the secret.
pub(super) fn onward_protocols(headers: &HeaderMap) -> Option<String> {
    let offered = single(headers, header::SEC_WEBSOCKET_PROTOCOL)?;
    let kept: Vec<&str> = offered
        .split(',')
        .map(str::trim)
        .filter(|protocol| !protocol.starts_with(PROTOCOL))
        .collect();
    Some(kept.join(", "))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn headers(of: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in of {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn the_secret_is_a_header_or_a_subprotocol_and_stays_here() {
        const OFFERED: &str = "sec-websocket-protocol";
        for (of, found, onward) in [
            (&[][..], None, None),
            (&[("x-fanal-session", "s")], Some("s"), None),
            (
                &[("x-fanal-session", "s"), ("x-fanal-session", "s")],
                None,
                None,
            ),
            (&[(OFFERED, "fanal.v1")], None, Some("fanal.v1")),
            (
                &[(OFFERED, "fanal.v1, fanal.session.s")],
                Some("s"),
                Some("fanal.v1"),
            ),
            (
                &[(OFFERED, "fanal.session.s,fanal.v1,other")],
                Some("s"),
                Some("fanal.v1, other"),
            ),
            // Not both: a wrong header is not made good.
            (
                &[("x-fanal-session", "x"), (OFFERED, "fanal.session.s")],
                Some("x"),
                Some(""),
            ),
        ] {
            let headers = headers(of);
            assert_eq!(given(&headers), found, "{of:?}");
            assert_eq!(onward_protocols(&headers).as_deref(), onward, "{of:?}");
        }
    }
}
