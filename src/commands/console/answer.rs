//! What the receiver may answer the page with. Pure.
//!
//! The page's origin is the operator's: it holds the session's secret, for which the key signs. A
//! receiver that was stolen must not run, store or frame anything there, so none of its answers
//! is passed on: a new one is made from what is allowed here, and all else is told apart as no
//! answer of fanal's. The types are none that a browser runs, and `super`'s guard seals each answer
//! besides (sandbox, no sniffing, no framing, no caching).

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;

use crate::http::site::single;

/// The types of the API's answers (interfaces.md 5), as they are written to the page.
const TYPES: &[&str] = &[
    "application/json",
    "application/problem+json",
    "application/pem-certificate-chain",
    "image/png",
    "image/jpeg",
    "image/webp",
    EVENTS,
];
/// The one that does not end.
const EVENTS: &str = "text/event-stream";
/// Longest wait that the page is told, in seconds.
const LONGEST_WAIT: u32 = 3_600;
/// Longest `Location`.
const LOCATION_LIMIT: usize = 256;

/// An answer's head, made again.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Head {
    status: StatusCode,
    /// `None`: it must have no body.
    kind: Option<&'static str>,
    retry_after: Option<u32>,
    location: Option<HeaderValue>,
}

impl Head {
    /// Reads what the receiver answered.
    ///
    /// # Errors
    /// It is none of the API's answers; says what is odd, in the receiver's own words nowhere.
    pub(super) fn read(status: StatusCode, headers: &HeaderMap) -> Result<Self, String> {
        if !matches!(status.as_u16(), 200 | 201 | 202 | 204 | 400..=406 | 408..=599) {
            return Err(format!("status {}", status.as_u16()));
        }
        if headers.contains_key(header::CONTENT_ENCODING) {
            return Err("an encoding that was not asked for".to_owned());
        }
        let kind = kind(headers)?;
        if kind == Some(EVENTS) && status != StatusCode::OK {
            return Err(format!("events with status {}", status.as_u16()));
        }
        let is_made = status == StatusCode::CREATED || status == StatusCode::ACCEPTED;
        Ok(Self {
            status,
            kind,
            retry_after: single(headers, header::RETRY_AFTER).and_then(seconds),
            location: single(headers, header::LOCATION)
                .filter(|to| is_made && stays(to))
                .and_then(|to| HeaderValue::from_str(to).ok()),
        })
    }

    /// Whether the body comes for as long as the page listens.
    pub(super) fn is_endless(&self) -> bool {
        self.kind == Some(EVENTS)
    }

    /// The answer with its whole body, or with what goes on.
    ///
    /// # Errors
    /// There are bytes of no type.
    pub(super) fn with(self, body: Body) -> Result<Response, String> {
        use axum::body::HttpBody;
        if self.kind.is_none() && !body.is_end_stream() {
            return Err("bytes without a type".to_owned());
        }
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        if let Some(kind) = self.kind {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(wait) = self.retry_after {
            headers.insert(header::RETRY_AFTER, wait.into());
        }
        if let Some(location) = self.location {
            headers.insert(header::LOCATION, location);
        }
        Ok(response)
    }
}

/// One of [`TYPES`]; `None` where none is named. Parameters behind a `;` are dropped.
fn kind(headers: &HeaderMap) -> Result<Option<&'static str>, String> {
    if !headers.contains_key(header::CONTENT_TYPE) {
        return Ok(None);
    }
    let named = single(headers, header::CONTENT_TYPE).unwrap_or_default();
    let named = named.split(';').next().unwrap_or_default().trim();
    let known = TYPES.iter().find(|kind| kind.eq_ignore_ascii_case(named));
    match known {
        Some(kind) => Ok(Some(kind)),
        None => Err("a type that the API does not have".to_owned()),
    }
}

fn seconds(wait: &str) -> Option<u32> {
    let wait: u32 = wait.parse().ok()?;
    Some(wait.min(LONGEST_WAIT))
}

/// Whether it names something of the API, and nothing else can be read into it.
fn stays(location: &str) -> bool {
    location.len() <= LOCATION_LIMIT
        && location.strip_prefix("/api/v1/").is_some_and(|rest| {
            rest.bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'/'))
        })
}

/// The head of an agreed WebSocket, made again. `offered`: the subprotocols that the receiver
/// was offered.
///
/// # Errors
/// It is not what was asked for; says what is odd.
pub(super) fn socket(
    headers: &HeaderMap,
    offered: Option<&str>,
) -> Result<[(HeaderName, HeaderValue); 4], String> {
    let accepted = single(headers, header::SEC_WEBSOCKET_ACCEPT)
        .filter(|key| key.len() == 28 && key.is_ascii())
        .and_then(|key| HeaderValue::from_str(key).ok())
        .ok_or("a WebSocket without its key")?;
    if headers.contains_key(header::SEC_WEBSOCKET_EXTENSIONS) {
        return Err("an extension that was not offered".to_owned());
    }
    let protocol = single(headers, header::SEC_WEBSOCKET_PROTOCOL)
        .filter(|chosen| {
            let mut offered = offered.unwrap_or_default().split(", ");
            offered.any(|one| one == *chosen)
        })
        .and_then(|chosen| HeaderValue::from_str(chosen).ok())
        .ok_or("a subprotocol that was not offered")?;
    Ok([
        (header::CONNECTION, HeaderValue::from_static("upgrade")),
        (header::UPGRADE, HeaderValue::from_static("websocket")),
        (header::SEC_WEBSOCKET_ACCEPT, accepted),
        (header::SEC_WEBSOCKET_PROTOCOL, protocol),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(of: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in of {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    fn read(status: u16, of: &[(&'static str, &'static str)]) -> Result<Head, String> {
        Head::read(StatusCode::from_u16(status).unwrap(), &headers(of))
    }

    #[test]
    fn only_the_apis_types_are_answers_and_are_written_by_their_one_name() {
        for (written, kind) in [
            ("application/json", "application/json"),
            ("Application/JSON; charset=utf-7", "application/json"),
            ("text/event-stream", EVENTS),
            ("image/png", "image/png"),
        ] {
            let head = read(200, &[("content-type", written)]).unwrap();
            let response = head.with(Body::from("x")).unwrap();
            assert_eq!(response.headers()[header::CONTENT_TYPE], kind);
            assert_eq!(response.headers().len(), 1);
        }
        for odd in [
            "text/html",
            "application/json, text/html",
            "image/svg+xml",
            "application/xml",
            "text/javascript",
            "multipart/x-mixed-replace",
            "text/plain",
            "",
            ";application/json",
        ] {
            assert!(read(200, &[("content-type", odd)]).is_err(), "{odd}");
        }
        let twice = [("content-type", "application/json"); 2];
        assert!(read(200, &twice).is_err());
        assert!(read(200, &[]).unwrap().with(Body::from("x")).is_err());
        assert!(read(204, &[]).unwrap().with(Body::empty()).is_ok());
    }

    #[test]
    fn no_status_leads_elsewhere() {
        let kind = ("content-type", "application/problem+json");
        for odd in [
            100, 101, 103, 203, 205, 206, 226, 300, 301, 304, 307, 308, 399, 407, 600, 999,
        ] {
            assert!(read(odd, &[kind]).is_err(), "{odd}");
        }
        for good in [200, 201, 202, 400, 401, 403, 404, 421, 429, 500, 503] {
            assert!(read(good, &[kind]).is_ok(), "{good}");
        }
        assert!(read(404, &[("content-type", EVENTS)]).is_err());
        assert!(read(200, &[kind, ("content-encoding", "gzip")]).is_err());
    }

    #[test]
    fn a_place_is_the_apis_and_a_wait_a_number() {
        let kind = ("content-type", "application/json");
        for (location, passes) in [
            ("/api/v1/grants/0190a1b2-c3d4", true),
            ("/api/v1/../../page/x", false),
            ("/api/v1/x?y#z", false),
            ("//evil.example/api/v1/", false),
            ("/api/v1//evil.example", false),
            ("http://evil.example/", false),
        ] {
            let head = read(201, &[kind, ("location", location)]).unwrap();
            assert_eq!(head.location.is_some(), passes, "{location}");
            let head = read(200, &[kind, ("location", location)]).unwrap();
            assert_eq!(head.location, None);
        }
        for (wait, told) in [
            ("7", Some(7)),
            ("99999999", Some(3_600)),
            ("0; url=x", None),
        ] {
            assert_eq!(
                read(429, &[kind, ("retry-after", wait)])
                    .unwrap()
                    .retry_after,
                told
            );
        }
    }

    #[test]
    fn a_socket_is_what_was_offered() {
        let accept = ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        let protocol = ("sec-websocket-protocol", "fanal.v1");
        let offered = Some("fanal.v1, other");
        let good = headers(&[accept, protocol, ("set-cookie", "a=b")]);
        assert_eq!(socket(&good, offered).unwrap().len(), 4);
        for odd in [
            &[accept][..],
            &[protocol],
            &[accept, ("sec-websocket-protocol", "fanal.session.x")],
            &[accept, protocol, protocol],
            &[
                accept,
                protocol,
                ("sec-websocket-extensions", "permessage-deflate"),
            ],
        ] {
            assert!(socket(&headers(odd), offered).is_err(), "{odd:?}");
        }
        assert!(socket(&good, None).is_err());
    }
}
