//! Whose chain is it: authorities, their revocation lists, and the path from a
//! leaf to one of them. Shared by designations and link statements; webpki walks
//! the path, and what it leaves open is closed here:
//!
//! - Given a list, webpki refuses every certificate of an authority without one,
//!   and takes the first list of the right *name*. Here each authority is tried
//!   with its own list alone, matched by its signature when it was loaded.
//! - A list past its `nextUpdate` passes unless a fresh one is required.
//! - A list for a part of the certificates (issuing distribution point) would
//!   leave the rest silently unchecked: refused when loaded.
//! - Only P-256 and Ed25519 sign (INTERFACES 3).

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{
    CertificateDer, CertificateRevocationListDer, SignatureVerificationAlgorithm, TrustAnchor,
    UnixTime,
};
use x509_parser::certificate::X509Certificate;
use x509_parser::oid_registry::OID_X509_EXT_ISSUER_DISTRIBUTION_POINT;
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;

use crate::clock::Wall;
use crate::format::ids::Sha256;
use crate::format::jws::Algorithm;
use crate::format::text;

/// The signatures that a chain or a list may carry.
pub const ALGORITHMS: &[&dyn SignatureVerificationAlgorithm] = &[
    webpki::aws_lc_rs::ECDSA_P256_SHA256,
    webpki::aws_lc_rs::ECDSA_P256_SHA384,
    webpki::aws_lc_rs::ED25519,
];

/// Largest revocation list, in bytes of DER: in PEM it fits into a control message.
pub const LIST_LIMIT: usize = 512 * 1024;

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

/// Takes a certificate whatever its extended key usages: they are checked elsewhere.
#[derive(Clone, Copy, Debug)]
pub struct AnyUsage;

impl webpki::ExtendedKeyUsageValidator for AnyUsage {
    fn validate(&self, _: webpki::KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        Ok(())
    }
}

/// Why a chain does not lead to an authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Untrusted {
    /// It leads nowhere, or breaks a rule on the way; how.
    NotSigned(String),
    /// A certificate on the way is not valid at this time.
    Expired,
    /// A certificate on the way is revoked.
    Revoked,
    /// A fresh list is required, and missing or past its `nextUpdate`.
    RevocationUnknown(String),
}

/// One or more authorities with their newest lists.
#[derive(Clone, Debug)]
pub struct Anchors(Vec<Anchor>);

#[derive(Clone, Debug)]
struct Anchor {
    certificate: CertificateDer<'static>,
    anchor: TrustAnchor<'static>,
    list: Option<Held>,
}

/// A list that is in force.
#[derive(Clone, Debug)]
struct Held {
    info: RevocationList,
    number: Number,
    list: Arc<webpki::CertRevocationList<'static>>,
}

/// A CRL number: unsigned, big-endian, without leading zeros, so that length
/// and then bytes order it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Number(usize, Vec<u8>);

impl Anchors {
    /// From PEM texts: one or more CA certificates, and lists that they signed.
    /// Of several lists of one authority the highest number counts.
    pub fn from_pem(authority: &str, lists: &[&str]) -> Result<Self, String> {
        let certificates: Vec<CertificateDer<'static>> =
            CertificateDer::pem_slice_iter(authority.as_bytes())
                .collect::<Result<_, _>>()
                .map_err(|error| format!("the authority can't be read as PEM: {error}"))?;
        if certificates.is_empty() {
            return Err("the authority's file holds no certificate".to_owned());
        }
        let anchors = certificates
            .into_iter()
            .map(Anchor::new)
            .collect::<Result<_, _>>()?;
        let mut anchors = Self(anchors);
        for list in lists {
            anchors.update(list)?;
        }
        Ok(anchors)
    }

    /// Takes the lists in this PEM text. `Ok(None)`: none is newer than the one
    /// held. All of them are checked before any is taken.
    pub fn update(&mut self, pem: &str) -> Result<Option<RevocationList>, String> {
        let lists: Vec<CertificateRevocationListDer<'static>> =
            CertificateRevocationListDer::pem_slice_iter(pem.as_bytes())
                .collect::<Result<_, _>>()
                .map_err(|error| format!("the revocation list can't be read as PEM: {error}"))?;
        if lists.is_empty() {
            return Err("the revocation list's file holds no list".to_owned());
        }
        let read = lists
            .iter()
            .map(|der| self.read_list(der))
            .collect::<Result<Vec<_>, _>>()?;
        let mut newest = None;
        for (held, signers) in read {
            for index in signers {
                let Some(anchor) = self.0.get_mut(index) else {
                    continue;
                };
                let is_newer = |old: &Held| held.number > old.number;
                if anchor.list.as_ref().is_none_or(is_newer) {
                    newest = Some(held.info.clone());
                    anchor.list = Some(held.clone());
                }
            }
        }
        Ok(newest)
    }

    /// The lists in force, in the order of their authorities.
    pub fn lists(&self) -> impl Iterator<Item = &RevocationList> {
        self.0
            .iter()
            .filter_map(|anchor| Some(&anchor.list.as_ref()?.info))
    }

    /// Verifies that the chain (leaf first) leads to one of the authorities at
    /// `at`. With `fresh`, the status of every certificate on the way must be
    /// known from a list that is current at `at`.
    pub fn verify(
        &self,
        chain: &[CertificateDer<'_>],
        at: Wall,
        usage: impl webpki::ExtendedKeyUsageValidator + Copy,
        fresh: bool,
    ) -> Result<(), Untrusted> {
        let Some((leaf, intermediates)) = chain.split_first() else {
            return Err(Untrusted::NotSigned("the chain is empty".to_owned()));
        };
        let leaf = webpki::EndEntityCert::try_from(leaf)
            .map_err(|error| Untrusted::NotSigned(error.to_string()))?;
        let mut worst = None;
        for anchor in &self.0 {
            match anchor.verify(&leaf, intermediates, unix(at), usage, fresh) {
                Ok(()) => return Ok(()),
                Err(error) => {
                    if worst.as_ref().is_none_or(|held| rank(&error) > rank(held)) {
                        worst = Some(error);
                    }
                }
            }
        }
        Err(worst.unwrap_or_else(|| Untrusted::NotSigned("there is no authority".to_owned())))
    }

    /// Reads a list and finds the authorities whose key signed it.
    fn read_list(&self, der: &[u8]) -> Result<(Held, Vec<usize>), String> {
        if der.len() > LIST_LIMIT {
            return Err(format!(
                "the revocation list is larger than {LIST_LIMIT} bytes"
            ));
        }
        let unreadable =
            |error: &dyn std::fmt::Display| format!("the revocation list can't be read: {error}");
        let owned =
            webpki::OwnedCertRevocationList::from_der(der).map_err(|error| unreadable(&error))?;
        let (_, list) =
            CertificateRevocationList::from_der(der).map_err(|error| unreadable(&error))?;
        let authority = text::shown(&list.issuer().to_string(), 256);
        if list
            .extensions()
            .iter()
            .any(|extension| extension.oid == OID_X509_EXT_ISSUER_DISTRIBUTION_POINT)
        {
            return Err(format!(
                "the revocation list of {authority} covers only a part of its certificates; give the complete list"
            ));
        }
        let number = list.crl_number().ok_or_else(|| {
            format!("the revocation list of {authority} has no number; give one with a CRL number")
        })?;
        let signers: Vec<usize> = (self.0.iter().enumerate())
            .filter(|(_, anchor)| anchor.signed(&list))
            .map(|(index, _)| index)
            .collect();
        if signers.is_empty() {
            return Err(format!(
                "the revocation list of {authority} is not signed by this authority"
            ));
        }
        let bytes = number.to_bytes_be();
        let held = Held {
            info: RevocationList {
                authority,
                number: number.to_string(),
                next_update: list
                    .next_update()
                    .map(|time| Wall::from_seconds(time.timestamp())),
                hash: Sha256::of(der),
                pem: pem("X509 CRL", der),
            },
            number: Number(bytes.len(), bytes),
            list: Arc::new(owned.into()),
        };
        Ok((held, signers))
    }
}

impl Anchor {
    fn new(certificate: CertificateDer<'static>) -> Result<Self, String> {
        let unreadable = |error: &dyn std::fmt::Display| {
            format!("the authority's certificate can't be read: {error}")
        };
        let anchor = webpki::anchor_from_trusted_cert(&certificate)
            .map_err(|error| unreadable(&error))?
            .to_owned();
        let (_, parsed) =
            X509Certificate::from_der(&certificate).map_err(|error| unreadable(&error))?;
        let name = text::shown(&parsed.subject().to_string(), 256);
        let signs = parsed
            .key_usage()
            .map_err(|error| unreadable(&error))?
            .is_none_or(|usage| usage.value.key_cert_sign());
        if !parsed.is_ca() || !signs {
            return Err(format!(
                "{name} is no authority: it may not sign certificates"
            ));
        }
        if Algorithm::of_key(parsed.public_key().raw).is_none() {
            return Err(format!("the key of {name} is neither P-256 nor Ed25519"));
        }
        Ok(Self {
            certificate,
            anchor,
            list: None,
        })
    }

    /// Whether this authority's key signed the list, and it may.
    fn signed(&self, list: &CertificateRevocationList<'_>) -> bool {
        let Ok((_, own)) = X509Certificate::from_der(&self.certificate) else {
            return false;
        };
        let may = own
            .key_usage()
            .is_ok_and(|usage| usage.is_none_or(|usage| usage.value.crl_sign()));
        may && own.subject().as_raw() == list.issuer().as_raw()
            && list.verify_signature(own.public_key()).is_ok()
    }

    fn verify(
        &self,
        leaf: &webpki::EndEntityCert<'_>,
        intermediates: &[CertificateDer<'_>],
        at: UnixTime,
        usage: impl webpki::ExtendedKeyUsageValidator,
        fresh: bool,
    ) -> Result<(), Untrusted> {
        let lists: Vec<&webpki::CertRevocationList<'_>> =
            self.list.iter().map(|held| held.list.as_ref()).collect();
        let (status, expiration) = if fresh {
            (
                webpki::UnknownStatusPolicy::Deny,
                webpki::ExpirationPolicy::Enforce,
            )
        } else {
            (
                webpki::UnknownStatusPolicy::Allow,
                webpki::ExpirationPolicy::Ignore,
            )
        };
        // No list at all gives no options: nothing is checked.
        let revocation = webpki::RevocationOptionsBuilder::new(&lists)
            .ok()
            .map(|options| {
                options
                    .with_depth(webpki::RevocationCheckDepth::Chain)
                    .with_status_policy(status)
                    .with_expiration_policy(expiration)
                    .build()
            });
        let unchecked = fresh && revocation.is_none();
        leaf.verify_for_usage(
            ALGORITHMS,
            std::slice::from_ref(&self.anchor),
            intermediates,
            at,
            usage,
            revocation,
            None,
        )
        .map_err(|error| untrusted(&error))?;
        if unchecked {
            return Err(Untrusted::RevocationUnknown("no list is held".to_owned()));
        }
        Ok(())
    }
}

fn untrusted(error: &webpki::Error) -> Untrusted {
    use webpki::Error;
    match error {
        Error::CertRevoked => Untrusted::Revoked,
        Error::CertExpired { .. } | Error::CertNotValidYet { .. } => Untrusted::Expired,
        Error::CrlExpired { next_update, .. } => {
            let due = Wall::from_seconds(i64::try_from(next_update.as_secs()).unwrap_or(i64::MAX));
            Untrusted::RevocationUnknown(format!(
                "the list held was due for renewal at {}",
                due.rfc3339()
            ))
        }
        Error::UnknownRevocationStatus => Untrusted::RevocationUnknown(
            "no list is held of one of the authorities in the chain".to_owned(),
        ),
        Error::UnknownIssuer => Untrusted::NotSigned("the issuer is not the authority".to_owned()),
        other => Untrusted::NotSigned(text::shown(&other.to_string(), 200)),
    }
}

/// Of the refusals of several authorities the one that came furthest is told.
const fn rank(error: &Untrusted) -> u8 {
    match error {
        Untrusted::NotSigned(_) => 0,
        Untrusted::Expired => 1,
        Untrusted::RevocationUnknown(_) => 2,
        Untrusted::Revoked => 3,
    }
}

fn unix(at: Wall) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(
        u64::try_from(at.seconds()).unwrap_or(0),
    ))
}

/// PEM (RFC 7468) of what a label names, lines of 64 characters.
pub fn pem(label: &str, der: &[u8]) -> String {
    let base64 = STANDARD.encode(der);
    let mut pem = format!("-----BEGIN {label}-----\n");
    let mut rest = base64.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = after;
    }
    pem.push_str(&format!("-----END {label}-----\n"));
    pem
}
