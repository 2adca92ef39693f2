//! Problem documents (RFC 9457).

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use serde::Serialize;

use crate::format::statement::RefusedCamera;
use crate::reason::{Reason, Refusal};

/// Why a request failed, as the client gets it: `application/problem+json` with
/// `type`, `title`, `status`, `detail`, and fanal's own `reason`, `title_fr`,
/// `cameras`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    #[serde(rename = "type")]
    kind: String,
    title: &'static str,
    title_fr: &'static str,
    status: u16,
    detail: String,
    reason: Reason,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cameras: Vec<RefusedCamera>,
    /// Seconds for `Retry-After`, where they are known.
    #[serde(skip)]
    wait: Option<u32>,
}

/// `Retry-After` of a 429 whose wait is not known, in seconds.
const WAIT: u32 = 60;

impl Problem {
    /// A problem that is none of the interface's refusals (404, 405, 413, …):
    /// `malformed_request` with this status and detail.
    pub fn with_status(status: u16, detail: impl Into<String>) -> Self {
        let mut problem = Self::from(Refusal::new(Reason::MalformedRequest, detail));
        problem.status = status;
        problem
    }

    /// The answer to a request that is refused: what it names is not the resource,
    /// so a grant that is not there makes it 403 and not 404 (interfaces.md 5).
    #[must_use]
    pub fn of_request(mut self) -> Self {
        if self.status == 404 {
            self.status = 403;
        }
        self
    }

    /// Adds the verdict on each camera.
    #[must_use]
    pub fn with_cameras(mut self, cameras: Vec<RefusedCamera>) -> Self {
        self.cameras = cameras;
        self
    }

    /// The stable code.
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// The HTTP status.
    pub fn status(&self) -> u16 {
        self.status
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let reason = refusal.reason;
        Self {
            kind: format!("urn:fanal:reason:{}", reason.code()),
            title: reason.english(),
            title_fr: reason.french(),
            status: reason.http_status(),
            detail: if refusal.detail.is_empty() {
                reason.english().to_owned()
            } else {
                refusal.detail
            },
            reason,
            cameras: Vec::new(),
            wait: refusal.wait,
        }
    }
}

impl From<Reason> for Problem {
    fn from(reason: Reason) -> Self {
        Self::from(Refusal::from(reason))
    }
}

impl From<Problem> for Response<Body> {
    fn from(problem: Problem) -> Self {
        problem.into_response()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response<Body> {
        // Texts and codes alone: there is nothing in it that can't be written.
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() =
            StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if self.status == 401 {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if self.status == 429 {
            let wait = HeaderValue::from(self.wait.unwrap_or(WAIT));
            headers.insert(header::RETRY_AFTER, wait);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_names_its_reason_in_both_languages() {
        let problem = Problem::from(Refusal::new(Reason::CommuneOffline, "since 02:13"));
        let json = serde_json::to_value(&problem).unwrap();
        assert_eq!(json["type"], "urn:fanal:reason:commune_offline");
        assert_eq!(json["reason"], "commune_offline");
        assert_eq!(json["status"], 503);
        assert_eq!(json["detail"], "since 02:13");
        assert_eq!(json["title_fr"], Reason::CommuneOffline.french());
        let response = problem.into_response();
        assert_eq!(response.status(), 503);
        assert_eq!(
            response.headers()[header::CONTENT_TYPE],
            "application/problem+json"
        );
    }

    #[test]
    fn a_missing_token_says_how_to_authenticate() {
        let response = Problem::from(Reason::TokenInvalid).into_response();
        assert_eq!(response.headers()[header::WWW_AUTHENTICATE], "Bearer");
        let response = Problem::from(Reason::TooManyAttempts).into_response();
        assert_eq!(response.headers()[header::RETRY_AFTER], "60");
        let paced = Refusal::new(Reason::TooManyRequests, "wait 7 s").after(7);
        let response = Problem::from(paced).into_response();
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()[header::RETRY_AFTER], "7");
    }
}
