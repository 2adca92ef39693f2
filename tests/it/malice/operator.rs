//! Operators who sign, and hands that change what was signed.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fanal::certs::Identity;
use fanal::format::jws::Signer;
use fanal::format::statement::{REQUEST_TYPE, RequestClaims};
use serde::Serialize;

/// A person with a key and a designation.
pub(crate) struct Operator {
    pub(crate) identity: Identity,
    signer: Signer,
}

impl Operator {
    pub(crate) fn new(identity: Identity) -> Self {
        let signer = Signer::from_pem(identity.key.expose(), &identity.certificate).unwrap();
        Self { identity, signer }
    }

    pub(crate) fn sign(&self, claims: &RequestClaims) -> String {
        self.sign_any(REQUEST_TYPE, claims)
    }

    pub(crate) fn sign_any<T: Serialize>(&self, typ: &str, claims: &T) -> String {
        self.signer.sign(typ, claims)
    }
}

/// Header, payload and signature.
pub(crate) fn parts(statement: &str) -> [String; 3] {
    let parts: Vec<String> = statement.split('.').map(str::to_owned).collect();
    parts.try_into().unwrap()
}

fn decoded(part: &str) -> serde_json::Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

fn encoded(value: &serde_json::Value) -> String {
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(value).unwrap())
}

/// The claims as JSON.
pub(crate) fn claims_of(statement: &str) -> serde_json::Value {
    decoded(&parts(statement)[1])
}

/// The statement with other claims under the same signature.
pub(crate) fn altered(statement: &str, change: impl FnOnce(&mut serde_json::Value)) -> String {
    let [header, payload, signature] = parts(statement);
    let mut claims = decoded(&payload);
    let before = claims.clone();
    change(&mut claims);
    assert_ne!(claims, before, "nothing was altered");
    format!("{header}.{}.{signature}", encoded(&claims))
}

/// The statement under `alg: none`, without signature.
pub(crate) fn unsigned(statement: &str) -> String {
    let [header, payload, _] = parts(statement);
    let mut header = decoded(&header);
    header["alg"] = "none".into();
    format!("{}.{payload}.", encoded(&header))
}
