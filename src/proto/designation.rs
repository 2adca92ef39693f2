//! Whose key is it: chains, validity, revocation, and the operator's name
//! (INTERFACES 3). Pure: bytes and time in, verdict out.

use std::time::Duration;

use crate::clock::Wall;
use crate::journal::entry::Operator;
use crate::proto::ids::Sha256;
use crate::proto::statement::{RequestClaims, TokenClaims};
use crate::reason::Refusal;

/// A designation authority with its newest revocation list.
#[derive(Clone, Debug)]
pub struct Authority {}

impl Authority {
    /// From PEM texts: one or more CA certificates; the lists that go with them.
    pub fn from_pem(_authority: &str, _lists: &[&str]) -> Result<Self, String> {
        todo!("AUTH")
    }

    /// Takes a list if it is signed by this authority and its number is higher
    /// than the one held. `Ok(None)`: older or the same, kept as it was.
    pub fn update(&mut self, _list_pem: &str) -> Result<Option<RevocationList>, String> {
        todo!("AUTH")
    }

    /// The list held, if any.
    pub fn list(&self) -> Option<&RevocationList> {
        todo!("AUTH")
    }
}

/// What is known of a revocation list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevocationList {
    /// The issuer's name.
    pub authority: String,
    /// CRL number, decimal.
    pub number: String,
    /// After this time a newer one should be there.
    pub next_update: Option<Wall>,
    /// SHA-256 of its DER.
    pub hash: Sha256,
    /// The list itself, PEM.
    pub pem: String,
}

/// An operator, proven by a chain to a designation authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Designation {
    /// Name, number, unit.
    pub operator: Operator,
    /// End of validity: no grant outlives it.
    pub not_after: Wall,
    /// SHA-256 of the certificate (DER).
    pub fingerprint: Sha256,
}

/// Rules for a designation besides its chain.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Longest validity.
    pub max_designation: Option<Duration>,
    /// A missing or outdated list refuses.
    pub require_fresh_revocation: bool,
}

/// A statement proven to come from a designated operator. Made only by verifying.
#[derive(Clone, Debug)]
pub struct Verified<T> {
    claims: T,
    designation: Designation,
    text: String,
}

impl<T> Verified<T> {
    /// The claims.
    pub fn claims(&self) -> &T {
        &self.claims
    }

    /// Who signed.
    pub fn designation(&self) -> &Designation {
        &self.designation
    }

    /// The statement verbatim.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// SHA-256 of the statement's characters.
    pub fn hash(&self) -> Sha256 {
        Sha256::of(self.text.as_bytes())
    }
}

/// Verifies an operator's request: form, signature, chain, validity, revocation,
/// well-formed claims. Not freshness, nor anything of the agreement.
/// Reasons: `malformed_request`, `bad_signature`, `operator_not_designated`,
/// `designation_expired`, `designation_revoked`, `revocation_unknown`,
/// `incident_missing`.
pub fn verify_request(
    _text: &str,
    _authority: &Authority,
    _rules: Rules,
    _now: Wall,
) -> Result<Verified<RequestClaims>, Refusal> {
    todo!("AUTH")
}

/// Verifies an operator's bearer token: the same and its times (no leeway but
/// for 60 s of `iat` in the future). `token_invalid`, `token_expired`, or the
/// designation's reason.
pub fn verify_token(
    _text: &str,
    _authority: &Authority,
    _rules: Rules,
    _now: Wall,
) -> Result<Verified<TokenClaims>, Refusal> {
    todo!("AUTH")
}

/// Whether a designation still stands, by its chain in the statement: run again
/// when a list arrives (`designation_revoked`, `designation_expired`).
pub fn recheck(
    _text: &str,
    _authority: &Authority,
    _rules: Rules,
    _now: Wall,
) -> Result<(), Refusal> {
    todo!("AUTH")
}

/// A machine's authority on the link: checks statements signed with link keys.
#[derive(Clone, Debug)]
pub struct LinkAuthority {}

impl LinkAuthority {
    /// From PEM texts.
    pub fn from_pem(_authority: &str, _lists: &[&str]) -> Result<Self, String> {
        todo!("AUTH")
    }

    /// Verifies a statement of this `typ` signed by the machine of this name
    /// (SAN DNS). Validity is judged at `at`: a grant's proof or a head may be old.
    /// `protocol_error` or `bad_signature` with the cause otherwise.
    pub fn verify<T: serde::de::DeserializeOwned>(
        &self,
        _text: &str,
        _typ: &str,
        _name: &str,
        _at: Wall,
    ) -> Result<T, Refusal> {
        todo!("AUTH")
    }
}
