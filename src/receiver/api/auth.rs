//! Who calls: a bearer token of an operator ([`crate::http::bearer`]).

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use super::Api;
use crate::http::Problem;
use crate::http::bearer::{self, Realm};
use crate::reason::Refusal;
use crate::receiver::control::Shared;

pub(super) use crate::http::bearer::Caller;

/// Whose tokens are good at this centre.
fn realm(shared: &Shared) -> Realm<'_> {
    Realm {
        id: shared.settings.centre.as_str(),
        kind: "centre",
        authorities: &shared.authorities,
        others: &[],
        generation: shared.generation,
    }
}

impl Api {
    /// Whose token this is.
    pub(super) fn authenticate(&self, token: &str, address: IpAddr) -> Result<Caller, Refusal> {
        let now = self.options.clock.now();
        let shared = self.options.control.shared();
        let bearers = &self.bearers;
        bearers.authenticate(token, address, realm(&shared), now)
    }

    /// As [`bearer::judge_again`].
    pub(super) fn judge_again(&self, caller: &Caller) -> Result<Caller, Refusal> {
        let now = self.options.clock.now();
        bearer::judge_again(caller, realm(&self.options.control.shared()), now)
    }
}

impl FromRequestParts<Arc<Api>> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, Problem> {
        let token = bearer::token_of(&parts.headers)?;
        Ok(api.authenticate(token, bearer::address(parts))?)
    }
}
