//! What a call brings: a query read strictly, a signed statement.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, header};
use serde::de::DeserializeOwned;

use super::Problem;
use crate::reason::{Reason, Refusal};

/// Media type of a signed statement.
const JOSE: &str = "application/jose";
/// That of JSON.
const JSON: &str = "application/json";

/// A query string, strictly: an unknown name or a bad value is refused.
#[derive(Clone, Copy, Debug)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> axum::extract::FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(
        parts: &mut axum::http::request::Parts,
        state: &S,
    ) -> Result<Self, Problem> {
        match axum::extract::Query::from_request_parts(parts, state).await {
            Ok(axum::extract::Query(query)) => Ok(Self(query)),
            Err(error) => Err(Problem::with_status(400, error.body_text())),
        }
    }
}

/// The signed statement that a call's body is; `what` names it.
///
/// # Errors
/// It is sent as something else (415), too long, or not UTF-8.
pub fn statement(
    headers: &HeaderMap,
    body: Result<Bytes, BytesRejection>,
    what: &str,
) -> Result<String, Problem> {
    let body = body_of(JOSE, headers, body, what)?;
    String::from_utf8(body.into())
        .map_err(|_| Problem::from(Refusal::new(Reason::MalformedRequest, "not UTF-8")))
}

/// The JSON that a call's body is, read strictly; `what` names it.
///
/// # Errors
/// It is sent as something else (415), too long, or not as `T` says (400).
pub fn json<T: DeserializeOwned>(
    headers: &HeaderMap,
    body: Result<Bytes, BytesRejection>,
    what: &str,
) -> Result<T, Problem> {
    let body = body_of(JSON, headers, body, what)?;
    serde_json::from_slice(&body).map_err(|error| Problem::with_status(400, error.to_string()))
}

fn body_of(
    kind: &str,
    headers: &HeaderMap,
    body: Result<Bytes, BytesRejection>,
    what: &str,
) -> Result<Bytes, Problem> {
    let said = headers.get(header::CONTENT_TYPE);
    let said = said.and_then(|said| said.to_str().ok()).unwrap_or_default();
    let said = said.split(';').next().unwrap_or_default().trim();
    if !said.eq_ignore_ascii_case(kind) {
        let detail = format!("{what} is sent as {kind}");
        return Err(Problem::with_status(415, detail));
    }
    body.map_err(|error| Problem::with_status(error.status().as_u16(), error.body_text()))
}
