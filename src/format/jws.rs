//! The envelope of signed statements: compact JWS (RFC 7515) in fanal's exact
//! profile (interfaces.md 4): header members exactly `alg`, `typ`, `x5c`; `alg`
//! follows the leaf's key.
//!
//! The header is read here and nowhere else, member by member: a general JWS
//! library takes more than the profile allows (`crit`, `jwk`, other algorithms),
//! and what one reader takes and another does not is how signatures are forged.
//! Of RFC 7515 this keeps base64url without padding and without stray bits
//! (section 2), standard base64 in `x5c` (4.1.6), the signing input (5.1); of
//! RFC 7518 the fixed-length ECDSA signature (3.4); of RFC 8037 EdDSA (3.1).

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ED25519, EcdsaKeyPair,
    Ed25519KeyPair, KeyPair, UnparsedPublicKey,
};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rustls::pki_types::CertificateDer;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::format::statement::STATEMENT_LIMIT;
use crate::format::{pem, text};
use crate::reason::{Reason, Refusal};

/// Most certificates in `x5c`.
pub const CHAIN_LIMIT: usize = 4;

/// How a key signs; follows from the key alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// P-256, `ES256`.
    Es256,
    /// Ed25519, `EdDSA`.
    EdDsa,
}

/// DER of a P-256 public key up to the uncompressed point (RFC 5480).
const P256_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
/// DER of an Ed25519 public key up to its 32 bytes (RFC 8410).
const ED25519_PREFIX: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

impl Algorithm {
    /// The algorithm and the raw public key of a subjectPublicKeyInfo (DER), or
    /// `None` for any key but P-256 (uncompressed) and Ed25519.
    pub fn of_key(key_info: &[u8]) -> Option<(Self, &[u8])> {
        match (
            key_info.strip_prefix(&P256_PREFIX),
            key_info.strip_prefix(&ED25519_PREFIX),
        ) {
            (Some(point), _) if point.len() == 65 && point[0] == 4 => Some((Self::Es256, point)),
            (_, Some(key)) if key.len() == 32 => Some((Self::EdDsa, key)),
            _ => None,
        }
    }

    /// The value of `alg`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }

    fn verifies(self, key: &[u8], message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Es256 => UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key)
                .verify(message, signature)
                .is_ok(),
            Self::EdDsa => UnparsedPublicKey::new(&ED25519, key)
                .verify(message, signature)
                .is_ok(),
        }
    }
}

/// Signs statements with a key and its certificate chain.
pub struct Signer {
    key: SigningKey,
    chain: Vec<CertificateDer<'static>>,
}

enum SigningKey {
    Es256(EcdsaKeyPair),
    EdDsa(Ed25519KeyPair),
}

impl Signer {
    /// From PEM texts: a P-256 or Ed25519 key in PKCS #8 (or SEC 1), and its
    /// chain of at most four certificates, leaf first. The error says which of
    /// them is wrong and how.
    ///
    /// # Errors
    ///
    /// Names which of key and certificates is wrong, and how.
    pub fn from_pem(key: &str, chain: &str) -> Result<Self, String> {
        let chain = pem::certificates(chain.as_bytes())
            .map_err(|error| format!("the certificate can't be read as PEM: {error}"))?;
        let Some(leaf) = chain.first() else {
            return Err("the certificate file holds no certificate".to_owned());
        };
        if chain.len() > CHAIN_LIMIT {
            return Err(format!(
                "the certificate file holds more than {CHAIN_LIMIT} certificates"
            ));
        }
        let info = webpki::EndEntityCert::try_from(leaf)
            .map_err(|error| format!("the certificate can't be read: {error}"))?
            .subject_public_key_info();
        let (algorithm, public) = Algorithm::of_key(&info)
            .ok_or_else(|| "the certificate's key is neither P-256 nor Ed25519".to_owned())?;
        let der = pem::private_key(key.as_bytes())
            .map_err(|error| format!("the private key can't be read as PEM: {error}"))?;
        let rejected = |_| format!("the private key is no {} key", algorithm.name());
        let key = match algorithm {
            Algorithm::Es256 => EcdsaKeyPair::from_private_key_der(
                &ECDSA_P256_SHA256_FIXED_SIGNING,
                der.secret_der(),
            )
            .map(SigningKey::Es256)
            .map_err(rejected)?,
            Algorithm::EdDsa => Ed25519KeyPair::from_pkcs8(der.secret_der())
                .map(SigningKey::EdDsa)
                .map_err(rejected)?,
        };
        if key.public() != public {
            return Err("the private key is not the certificate's".to_owned());
        }
        Ok(Self { key, chain })
    }

    /// The chain it puts in `x5c`, leaf first.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// A compact JWS over these claims. Should the cryptography fail (it has no
    /// memory), the signature is empty, and nobody accepts the statement.
    pub fn sign<T: Serialize>(&self, typ: &str, claims: &T) -> String {
        let claims = serde_json::to_vec(claims).unwrap_or_default();
        self.sign_bytes(typ, &claims)
    }

    fn sign_bytes(&self, typ: &str, payload: &[u8]) -> String {
        let header = Header {
            alg: self.key.algorithm().name().to_owned(),
            typ: typ.to_owned(),
            x5c: self.chain.iter().map(|der| STANDARD.encode(der)).collect(),
        };
        let header = serde_json::to_vec(&header).unwrap_or_default();
        let mut statement = URL_SAFE_NO_PAD.encode(header);
        statement.push('.');
        URL_SAFE_NO_PAD.encode_string(payload, &mut statement);
        let signature = self.key.sign(statement.as_bytes());
        statement.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut statement);
        statement
    }
}

impl SigningKey {
    const fn algorithm(&self) -> Algorithm {
        match self {
            Self::Es256(_) => Algorithm::Es256,
            Self::EdDsa(_) => Algorithm::EdDsa,
        }
    }

    fn public(&self) -> &[u8] {
        match self {
            Self::Es256(key) => key.public_key().as_ref(),
            Self::EdDsa(key) => key.public_key().as_ref(),
        }
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        match self {
            // The source of randomness is a formality: aws-lc takes its own.
            Self::Es256(key) => key.sign(&aws_lc_rs::rand::SystemRandom::new(), message),
            Self::EdDsa(key) => key.try_sign(message),
        }
        .map(|signature| signature.as_ref().to_vec())
        .unwrap_or_default()
    }
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signer(…)")
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    alg: String,
    typ: String,
    x5c: Vec<String>,
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
///
/// # Errors
///
/// `malformed_request` or `bad_signature`.
pub fn open<T: DeserializeOwned>(text: &str, typ: &str) -> Result<Signed<T>, Refusal> {
    let envelope = open_envelope(text, typ)?;
    Ok(Signed {
        claims: parse_claims(&envelope.claims)?,
        chain: envelope.chain,
    })
}

/// The same before the claims are parsed: their JSON text, signed by the leaf.
///
/// # Errors
///
/// As [`open`].
pub fn open_envelope(text: &str, typ: &str) -> Result<Signed<Vec<u8>>, Refusal> {
    if text.len() > STATEMENT_LIMIT {
        return Err(malformed(format!(
            "the statement is longer than {STATEMENT_LIMIT} bytes"
        )));
    }
    let three = || malformed("the statement is not three parts joined by full stops");
    let (message, signature) = text.rsplit_once('.').ok_or_else(three)?;
    let (header, payload) = message.split_once('.').ok_or_else(three)?;
    let header: Header = parse_object(&decode(header, "header")?, "header")?;
    let payload = decode(payload, "payload")?;
    let signature = decode(signature, "signature")?;
    if header.typ != typ {
        return Err(malformed(format!(
            "typ is {:?} where {typ:?} is expected",
            text::shown(&header.typ, 40)
        )));
    }
    let chain = decode_chain(&header.x5c)?;
    let leaf = chain.first().ok_or_else(|| malformed("x5c is empty"))?;
    let info = webpki::EndEntityCert::try_from(leaf)
        .map_err(|error| malformed(format!("the leaf in x5c can't be read: {error}")))?
        .subject_public_key_info();
    let (algorithm, key) = Algorithm::of_key(&info)
        .ok_or_else(|| malformed("the key of the leaf in x5c is neither P-256 nor Ed25519"))?;
    if header.alg != algorithm.name() {
        return Err(malformed(format!(
            "alg is {:?} where the leaf's key wants {}",
            text::shown(&header.alg, 40),
            algorithm.name()
        )));
    }
    if !algorithm.verifies(key, message.as_bytes(), &signature) {
        return Err(Refusal::new(
            Reason::BadSignature,
            "the signature does not match the statement and the leaf in x5c",
        ));
    }
    Ok(Signed {
        claims: payload,
        chain,
    })
}

/// The claims of a statement whose signature is not looked at: they prove nothing yet.
/// For a reader of many statements, who verifies the few on which something depends.
///
/// # Errors
/// `malformed_request`.
pub fn read_unverified<T: DeserializeOwned>(text: &str) -> Result<T, Refusal> {
    if text.len() > STATEMENT_LIMIT {
        return Err(malformed(format!(
            "the statement is longer than {STATEMENT_LIMIT} bytes"
        )));
    }
    let mut parts = text.split('.');
    let (Some(_), Some(payload), Some(_), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(malformed(
            "the statement is not three parts joined by full stops",
        ));
    };
    parse_claims(&decode(payload, "payload")?)
}

/// The chain that a statement carries, leaf first; neither its signature nor its claims are
/// looked at.
///
/// # Errors
/// `malformed_request`.
pub fn chain(text: &str) -> Result<Vec<CertificateDer<'static>>, Refusal> {
    let header = text.split_once('.').map_or("", |(header, _)| header);
    let header: Header = parse_object(&decode(header, "header")?, "header")?;
    decode_chain(&header.x5c)
}

/// Claims from their JSON text: one object, no unknown member where the type
/// denies them, no member twice.
///
/// # Errors
///
/// `malformed_request`, with the member.
pub fn parse_claims<T: DeserializeOwned>(payload: &[u8]) -> Result<T, Refusal> {
    parse_object(payload, "claims")
}

fn decode(part: &str, what: &str) -> Result<Vec<u8>, Refusal> {
    URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_| malformed(format!("the {what} is not base64url without padding")))
}

fn decode_chain(x5c: &[String]) -> Result<Vec<CertificateDer<'static>>, Refusal> {
    if x5c.len() > CHAIN_LIMIT {
        return Err(malformed(format!(
            "x5c holds more than {CHAIN_LIMIT} certificates"
        )));
    }
    x5c.iter()
        .map(|certificate| STANDARD.decode(certificate).map(CertificateDer::from))
        .collect::<Result<_, _>>()
        .map_err(|_| malformed("a certificate in x5c is not standard base64"))
}

/// Parses one JSON object. serde also makes a structure from an array, which the
/// profile does not know: hence the look at the first character.
fn parse_object<T: DeserializeOwned>(json: &[u8], what: &str) -> Result<T, Refusal> {
    let first = json.iter().find(|byte| !b" \t\r\n".contains(byte));
    if first != Some(&b'{') {
        return Err(malformed(format!("the {what} are not a JSON object")));
    }
    serde_json::from_slice(json).map_err(|error| {
        malformed(format!(
            "the {what} are not of the agreed form: {}",
            text::shown(&error.to_string(), 200)
        ))
    })
}

fn malformed(detail: impl Into<String>) -> Refusal {
    Refusal::new(Reason::MalformedRequest, detail)
}

#[cfg(test)]
mod tests;
