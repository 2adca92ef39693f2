//! `GET designations/{thumbprint}`: for a page that holds a key and no designation, or an old one.

use axum::extract::{Path, State};
use axum::http::header;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};

use super::Shared;
use crate::format::ids::Sha256;
use crate::http::{Problem, bearer};
use crate::reason::{Reason, Refusal};

/// The newest designation for a key that is valid now. Needs no token: who asks has none yet,
/// and a designation says no more than each statement that is signed with it. Guesses count as
/// failed authentications; a right one is always answered.
pub(super) async fn newest(
    State(api): Shared,
    Path(thumbprint): Path<String>,
    parts: Parts,
) -> Result<Response, Problem> {
    let (address, now) = (bearer::address(&parts), api.options.clock.now());
    let thumbprint: Result<Sha256, _> = thumbprint.parse();
    let thumbprint = thumbprint.map_err(|error| Problem::with_status(400, error.to_string()))?;
    let shared = api.options.control.shared();
    match api.designations.newest(thumbprint, &shared, now).await {
        Some(pem) => {
            let kind = [(header::CONTENT_TYPE, "application/pem-certificate-chain")];
            Ok((kind, pem).into_response())
        }
        None => {
            let guessed = Refusal::from(Reason::OperatorNotDesignated);
            let counted = api
                .bearers
                .count_failure(address, "designation", guessed, now);
            if counted.reason == Reason::TooManyAttempts {
                return Err(counted.into());
            }
            let detail = "there is no designation for this key that is valid now; ask the unit's \
                commander for one";
            Err(Problem::with_status(404, detail))
        }
    }
}
