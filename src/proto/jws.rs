//! The envelope of signed statements: compact JWS (RFC 7515) in fanal's exact
//! profile (INTERFACES 4): header members exactly `alg`, `typ`, `x5c`; `alg`
//! follows the leaf's key.

use rustls::pki_types::CertificateDer;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::reason::Refusal;

/// Signs statements with a key and its certificate chain.
pub struct Signer {}

impl Signer {
    /// From PEM texts: a P-256 or Ed25519 key in PKCS #8 (or SEC 1), and its chain, leaf first.
    pub fn from_pem(_key: &str, _chain: &str) -> Result<Self, String> {
        todo!("AUTH")
    }

    /// The chain it puts in `x5c`, leaf first.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        todo!("AUTH")
    }

    /// A compact JWS over these claims.
    pub fn sign<T: Serialize>(&self, _typ: &str, _claims: &T) -> String {
        todo!("AUTH")
    }
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signer(…)")
    }
}

/// A statement whose form and signature (by its own leaf) are right; whose key
/// it is, is not known yet.
#[derive(Clone, Debug)]
pub struct Signed<T> {
    /// The claims.
    pub claims: T,
    /// The chain it carries, leaf first.
    pub chain: Vec<CertificateDer<'static>>,
}

/// Parses a statement of this `typ` and checks its signature against the leaf it
/// carries. `malformed_request` or `bad_signature` otherwise.
pub fn open<T: DeserializeOwned>(_text: &str, _typ: &str) -> Result<Signed<T>, Refusal> {
    todo!("AUTH")
}
