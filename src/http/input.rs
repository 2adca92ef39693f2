//! What a call brings: a query read strictly, a signed statement.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, header};
use serde::de::DeserializeOwned;

use super::Problem;
use crate::reason::{Reason, Refusal};

/// Media type of a signed statement.
const JOSE: &str = "application/jose";

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
    let kind = headers.get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case(JOSE) {
        let detail = format!("{what} is sent as {JOSE}");
        return Err(Problem::with_status(415, detail));
    }
    let body =
        body.map_err(|error| Problem::with_status(error.status().as_u16(), error.body_text()))?;
    String::from_utf8(body.into())
        .map_err(|_| Problem::from(Refusal::new(Reason::MalformedRequest, "not UTF-8")))
}
