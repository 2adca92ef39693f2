//! Whose chain is it: authorities, their revocation lists, and the path from a
//! leaf to one of them. The one verifier of links, designations and statements;
//! webpki walks the path, and what it leaves open is closed here:
//!
//! - Given a list, webpki refuses every certificate of an authority without one,
//!   and takes the first list of the right *name*. Here each authority is tried
//!   with its own list alone, matched by its signature when it was loaded.
//! - One authority's revocation counts, also where the chain leads to a second one.
//! - A list past its `nextUpdate` passes unless a fresh one is required.
//! - A list replaces the one held only if its number is higher.
//! - An authority below one of these, which the chain passes through, has lists of its own:
//!   such a list comes with the certificate of its issuer, which leads here.
//! - A list for a part of the certificates (issuing distribution point) would
//!   leave the rest silently unchecked: refused when loaded.
//! - Only P-256 and Ed25519 sign (interfaces.md 3).

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, SignatureVerificationAlgorithm, TrustAnchor, UnixTime};
use x509_parser::certificate::X509Certificate;
use x509_parser::oid_registry::OID_X509_EXT_ISSUER_DISTRIBUTION_POINT;
use x509_parser::prelude::{FromDer, GeneralName};
use x509_parser::revocation_list::CertificateRevocationList;

use crate::clock::Wall;
use crate::format::ids::Sha256;
use crate::format::jws::Algorithm;
use crate::format::{pem, text};

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
    /// SHA-256 of the issuer's key (SubjectPublicKeyInfo, DER): two authorities may share a name.
    pub key: Sha256,
    /// CRL number, decimal.
    pub number: String,
    /// After this time a newer one should be there.
    pub next_update: Option<Wall>,
    /// SHA-256 of its DER.
    pub hash: Sha256,
    /// The list itself, PEM; where its issuer is below the authority, the certificates
    /// that lead there before it.
    pub pem: String,
}

/// A list is pointed out so long before a newer one should be there.
pub const LIST_SOON: Duration = Duration::from_secs(14 * 24 * 3600);
/// Most authorities below one whose lists are held.
const BELOW_LIMIT: usize = 64;
/// Most certificates beside lists in one text, and most of them in a row to an authority.
const BESIDE_LIMIT: usize = 64;
const BELOW_DEPTH: usize = 4;

impl RevocationList {
    /// What is to be done about its age at `now`, for people; `None`: nothing for the next
    /// [`LIST_SOON`].
    pub fn warning(&self, now: Wall) -> Option<String> {
        let due = self.next_update.filter(|due| *due <= now.plus(LIST_SOON))?;
        let (authority, number) = (text::shown(&self.authority, 80), &self.number);
        let day = due.rfc3339();
        Some(if due < now {
            format!("list {number} of {authority} should have been replaced by now (by {day})")
        } else {
            format!("list {number} of {authority} is to be replaced by {day}")
        })
    }
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
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Untrusted {
    /// None of the authorities is its issuer.
    #[error("the issuer is not the authority")]
    Foreign,
    /// It leads nowhere, or breaks a rule on the way; how.
    #[error("{0}")]
    NotSigned(String),
    /// A certificate on the way is valid only later.
    #[error("not valid yet")]
    NotYet,
    /// A certificate on the way is no longer valid.
    #[error("expired")]
    Expired,
    /// A certificate on the way is revoked.
    #[error("revoked")]
    Revoked,
    /// A fresh list is required, and missing or past its `nextUpdate`.
    #[error("{0}")]
    RevocationUnknown(String),
}

/// One or more authorities with their newest lists.
#[derive(Clone, Debug)]
pub struct Anchors(Vec<Anchor>);

#[derive(Clone, Debug)]
struct Anchor {
    certificate: CertificateDer<'static>,
    anchor: TrustAnchor<'static>,
    key: Sha256,
    list: Option<Held>,
    /// Lists of authorities below it, one of each key.
    below: Vec<Held>,
}

/// A list, and which of the authorities signed it.
type Signed = (Held, Vec<Signer>);

/// Who signed a list.
#[derive(Clone, Copy, Debug)]
enum Signer {
    /// This authority.
    Own(usize),
    /// One below it.
    Below(usize),
}

/// A certificate beside a list, of an authority below one of these.
struct Between {
    anchor: usize,
    certificate: CertificateDer<'static>,
    /// From the authority down to it, itself included, PEM.
    path: String,
    depth: usize,
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

/// Why a list is not taken.
enum Unfit {
    /// None of these authorities signed it.
    Foreign(String),
    /// Nobody could use it.
    Bad(String),
}

impl From<Unfit> for String {
    fn from(unfit: Unfit) -> Self {
        let (Unfit::Foreign(cause) | Unfit::Bad(cause)) = unfit;
        cause
    }
}

impl Anchors {
    /// From PEM texts: one or more CA certificates, and lists that they signed.
    /// Of several lists of one authority the highest number counts.
    ///
    /// # Errors
    /// A text is not PEM, an authority may not sign or its key is neither P-256 nor Ed25519, or a
    /// list is not these authorities' or incomplete; the text says which.
    pub fn from_pem(authority: &str, lists: &[&str]) -> Result<Self, String> {
        let certificates = pem::certificates(authority.as_bytes())
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

    /// SHA-256 over the hashes of their keys, sorted: the same however the file orders or renews
    /// the certificates of these keys.
    pub fn id(&self) -> Sha256 {
        let mut keys: Vec<Sha256> = self.0.iter().map(|anchor| anchor.key).collect();
        keys.sort_unstable();
        keys.dedup();
        Sha256::of(&keys.iter().flat_map(|key| key.0).collect::<Vec<u8>>())
    }

    /// Takes the lists in this PEM text. `Ok(None)`: none is newer than the one
    /// held. All of them are checked before any is taken.
    ///
    /// # Errors
    /// The text is not PEM or holds no list, or one that is not these authorities' or incomplete.
    pub fn update(&mut self, text: &str) -> Result<Option<RevocationList>, String> {
        let lists = self.read_lists(text)?;
        let lists = lists.into_iter().collect::<Result<Vec<_>, _>>()?;
        Ok(self.take(lists))
    }

    /// The same for a text with lists of several authorities: passes over those of others, and
    /// says how many are of these.
    ///
    /// # Errors
    /// As [`Anchors::update`], but for lists of others.
    pub fn update_own(&mut self, text: &str) -> Result<usize, String> {
        let mut own = Vec::new();
        for list in self.read_lists(text)? {
            match list {
                Ok(list) => own.push(list),
                Err(Unfit::Foreign(_)) => {}
                Err(Unfit::Bad(cause)) => return Err(cause),
            }
        }
        let count = own.len();
        self.take(own);
        Ok(count)
    }

    fn take(&mut self, lists: Vec<Signed>) -> Option<RevocationList> {
        let mut newest = None;
        for (held, signers) in lists {
            for signer in signers {
                let (Signer::Own(index) | Signer::Below(index)) = signer;
                let Some(anchor) = self.0.get_mut(index) else {
                    continue;
                };
                let is_taken = match signer {
                    Signer::Own(_) => anchor.take_own(&held),
                    Signer::Below(_) => anchor.take_below(&held),
                };
                if is_taken {
                    newest = Some(held.info.clone());
                }
            }
        }
        newest
    }

    /// The authorities' names (DER), in their order: what a TLS peer is told of them.
    pub fn subjects(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().map(|anchor| anchor.anchor.subject.as_ref())
    }

    /// SHA-256 of each authority's key (SubjectPublicKeyInfo, DER), in their order.
    pub fn keys(&self) -> impl Iterator<Item = Sha256> {
        self.0.iter().map(|anchor| anchor.key)
    }

    /// The lists in force, in the order of their authorities; behind each one's own those
    /// of authorities below it.
    pub fn lists(&self) -> impl Iterator<Item = &RevocationList> {
        self.0
            .iter()
            .flat_map(|anchor| anchor.list.iter().chain(&anchor.below))
            .map(|held| &held.info)
    }

    /// Verifies that the chain (leaf first) leads to one of the authorities at
    /// `at`. With `fresh`, the status of every certificate on the way must be
    /// known from a list that is current at `at`. Gives the keys of the authorities on
    /// the way, as [`Anchors::keys`], the one it leads to first; certificates beside the way
    /// are not among them.
    ///
    /// # Errors
    ///
    /// Says whether the chain, its validity, its use or its status is at fault.
    pub fn verify(
        &self,
        chain: &[CertificateDer<'_>],
        at: Wall,
        usage: impl webpki::ExtendedKeyUsageValidator + Copy,
        fresh: bool,
    ) -> Result<Vec<Sha256>, Untrusted> {
        let Some((leaf, intermediates)) = chain.split_first() else {
            return Err(Untrusted::NotSigned("the chain is empty".to_owned()));
        };
        let leaf = webpki::EndEntityCert::try_from(leaf)
            .map_err(|error| Untrusted::NotSigned(error.to_string()))?;
        let has_below = self.0.iter().any(|anchor| !anchor.below.is_empty());
        let between: Vec<Sha256> = intermediates
            .iter()
            .filter(|_| has_below)
            .filter_map(|certificate| Some(key_of(&X509Certificate::from_der(certificate).ok()?.1)))
            .collect();
        let verdicts = self.0.iter().rev().map(|anchor| {
            let lists = anchor.lists_for(&between);
            anchor.verify(&leaf, intermediates, &lists, unix(at), usage, fresh)
        });
        // Good is what one authority vouches for and none of them revoked; of equals the first's.
        verdicts
            .max_by_key(|verdict| rank(verdict.as_ref().err()))
            .unwrap_or_else(|| Err(Untrusted::NotSigned("there is no authority".to_owned())))
    }

    /// Reads the lists in this text, each with the authorities that signed it.
    fn read_lists(&self, text: &str) -> Result<Vec<Result<Signed, Unfit>>, String> {
        let lists = pem::lists(text.as_bytes())
            .map_err(|error| format!("the revocation list can't be read as PEM: {error}"))?;
        if lists.is_empty() {
            return Err("the revocation list's file holds no list".to_owned());
        }
        let between = self.between(text);
        Ok(lists
            .iter()
            .map(|der| self.read_list(der, &between))
            .collect())
    }

    /// The certificates in this text of authorities below these. Others are passed over.
    fn between(&self, text: &str) -> Vec<Between> {
        let mut left = pem::certificates(text.as_bytes()).unwrap_or_default();
        left.truncate(BESIDE_LIMIT);
        let mut found: Vec<Between> = Vec::new();
        for depth in 1..=BELOW_DEPTH {
            let before = found.len();
            left.retain(|der| {
                let Ok((_, certificate)) = X509Certificate::from_der(der) else {
                    return false;
                };
                let above = (self.0.iter().enumerate())
                    .map(|(index, anchor)| (index, &anchor.certificate, ""))
                    .filter(|_| depth == 1);
                let between = found
                    .iter()
                    .take(before)
                    .filter(|one| one.depth + 1 == depth);
                let between = between.map(|one| (one.anchor, &one.certificate, one.path.as_str()));
                let issuer = above
                    .chain(between)
                    .find(|(_, issuer, _)| certifies(issuer, &certificate));
                let Some((anchor, _, path)) = issuer else {
                    return true;
                };
                let path = format!("{path}{}", pem::encode("CERTIFICATE", der));
                let certificate = der.clone();
                found.push(Between {
                    anchor,
                    certificate,
                    path,
                    depth,
                });
                false
            });
        }
        found
    }

    /// Reads a list and finds the authorities whose key signed it, of these or, with their
    /// certificates beside it, below them.
    fn read_list(&self, der: &[u8], between: &[Between]) -> Result<Signed, Unfit> {
        if der.len() > LIST_LIMIT {
            return Err(Unfit::Bad(format!(
                "the revocation list is larger than {LIST_LIMIT} bytes"
            )));
        }
        let unreadable = |error: &dyn std::fmt::Display| {
            Unfit::Bad(format!("the revocation list can't be read: {error}"))
        };
        let owned =
            webpki::OwnedCertRevocationList::from_der(der).map_err(|error| unreadable(&error))?;
        let (_, list) =
            CertificateRevocationList::from_der(der).map_err(|error| unreadable(&error))?;
        let authority = text::shown(&list.issuer().to_string(), 256);
        let mut signers: Vec<Signer> = (self.0.iter().enumerate())
            .filter(|(_, anchor)| signed(&anchor.certificate, &list))
            .map(|(index, _)| Signer::Own(index))
            .collect();
        let mut key = match signers.first() {
            Some(Signer::Own(index)) => self.0.get(*index).map(|anchor| anchor.key),
            _ => None,
        };
        let mut path = "";
        if key.is_none()
            && let Some(one) = between.iter().find(|one| signed(&one.certificate, &list))
            && let Ok((_, certificate)) = X509Certificate::from_der(&one.certificate)
        {
            signers.push(Signer::Below(one.anchor));
            key = Some(key_of(&certificate));
            path = &one.path;
        }
        let Some(key) = key else {
            return Err(Unfit::Foreign(format!(
                "the revocation list of {authority} is not signed by this authority; where its issuer is below the authority, put the issuer's certificate beside the list"
            )));
        };
        if list
            .extensions()
            .iter()
            .any(|extension| extension.oid == OID_X509_EXT_ISSUER_DISTRIBUTION_POINT)
        {
            return Err(Unfit::Bad(format!(
                "the revocation list of {authority} covers only a part of its certificates; give the complete list"
            )));
        }
        let number = list.crl_number().ok_or_else(|| {
            Unfit::Bad(format!(
                "the revocation list of {authority} has no number; give one with a CRL number"
            ))
        })?;
        let bytes = number.to_bytes_be();
        let held = Held {
            info: RevocationList {
                authority,
                key,
                number: number.to_string(),
                next_update: list
                    .next_update()
                    .map(|time| Wall::from_seconds(time.timestamp())),
                hash: Sha256::of(der),
                pem: format!("{path}{}", pem::encode("X509 CRL", der)),
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
            key: key_of(&parsed),
            certificate,
            anchor,
            list: None,
            below: Vec::new(),
        })
    }

    fn take_own(&mut self, held: &Held) -> bool {
        let is_newer = |old: &Held| held.number > old.number;
        let is_taken = self.list.as_ref().is_none_or(is_newer);
        if is_taken {
            self.list = Some(held.clone());
        }
        is_taken
    }

    fn take_below(&mut self, held: &Held) -> bool {
        let same_key = |old: &&mut Held| old.info.key == held.info.key;
        let has_room = self.below.len() < BELOW_LIMIT;
        match self.below.iter_mut().find(same_key) {
            Some(old) if held.number > old.number => {
                *old = held.clone();
                true
            }
            None if has_room => {
                self.below.push(held.clone());
                true
            }
            _ => false,
        }
    }

    /// Its own list, and those of the authorities with these keys below it.
    fn lists_for(&self, between: &[Sha256]) -> Vec<&webpki::CertRevocationList<'static>> {
        let below = self.below.iter();
        let below = below.filter(|held| between.contains(&held.info.key));
        let lists = self.list.iter().chain(below);
        lists.map(|held| held.list.as_ref()).collect()
    }

    fn verify(
        &self,
        leaf: &webpki::EndEntityCert<'_>,
        intermediates: &[CertificateDer<'_>],
        lists: &[&webpki::CertRevocationList<'_>],
        at: UnixTime,
        usage: impl webpki::ExtendedKeyUsageValidator,
        fresh: bool,
    ) -> Result<Vec<Sha256>, Untrusted> {
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
        let revocation = webpki::RevocationOptionsBuilder::new(lists)
            .ok()
            .map(|options| {
                options
                    .with_depth(webpki::RevocationCheckDepth::Chain)
                    .with_status_policy(status)
                    .with_expiration_policy(expiration)
                    .build()
            });
        let unchecked = fresh && revocation.is_none();
        let path = leaf
            .verify_for_usage(
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
        let below = path.intermediate_certificates().filter_map(|certificate| {
            let der = certificate.der();
            let (_, certificate) = X509Certificate::from_der(&der).ok()?;
            Some(key_of(&certificate))
        });
        Ok(std::iter::once(self.key).chain(below).collect())
    }
}

/// SHA-256 of a certificate's key (SubjectPublicKeyInfo, DER).
fn key_of(certificate: &X509Certificate<'_>) -> Sha256 {
    Sha256::of(certificate.public_key().raw)
}

/// Whether this authority's key signed the list, and it may.
fn signed(authority: &CertificateDer<'_>, list: &CertificateRevocationList<'_>) -> bool {
    let Ok((_, own)) = X509Certificate::from_der(authority) else {
        return false;
    };
    let may = own
        .key_usage()
        .is_ok_and(|usage| usage.is_none_or(|usage| usage.value.crl_sign()));
    may && own.subject().as_raw() == list.issuer().as_raw()
        && list.verify_signature(own.public_key()).is_ok()
}

/// Whether this authority's key signed the certificate, which is one of an authority.
fn certifies(authority: &CertificateDer<'_>, certificate: &X509Certificate<'_>) -> bool {
    let Ok((_, own)) = X509Certificate::from_der(authority) else {
        return false;
    };
    certificate.is_ca()
        && own.subject().as_raw() == certificate.issuer().as_raw()
        && certificate.verify_signature(Some(own.public_key())).is_ok()
}

fn untrusted(error: &webpki::Error) -> Untrusted {
    use webpki::Error;
    match error {
        Error::CertRevoked => Untrusted::Revoked,
        Error::CertExpired { .. } => Untrusted::Expired,
        Error::CertNotValidYet { .. } => Untrusted::NotYet,
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
        Error::UnknownIssuer => Untrusted::Foreign,
        other => Untrusted::NotSigned(text::shown(&other.to_string(), 200)),
    }
}

/// Of the verdicts of several authorities the highest counts: a revocation, then the one that
/// vouches, then the refusal that came furthest.
const fn rank(error: Option<&Untrusted>) -> u8 {
    match error {
        Some(Untrusted::Foreign) => 0,
        Some(Untrusted::NotSigned(_)) => 1,
        Some(Untrusted::NotYet | Untrusted::Expired) => 2,
        Some(Untrusted::RevocationUnknown(_)) => 3,
        None => 4,
        Some(Untrusted::Revoked) => 5,
    }
}

/// A time as rustls and webpki want it; the epoch for earlier ones.
pub fn unix(at: Wall) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(
        u64::try_from(at.seconds()).unwrap_or(0),
    ))
}

/// The number of a revocation list (PEM) as [`RevocationList::number`] has it; `None`: it is none.
pub fn list_number(text: &str) -> Option<String> {
    let lists = pem::lists(text.as_bytes()).ok()?;
    let (_, list) = CertificateRevocationList::from_der(lists.first()?).ok()?;
    list.crl_number().map(ToString::to_string)
}

/// The DNS names in a certificate's subject alternative names; empty where it can't be read.
pub fn dns_names(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else {
        return Vec::new();
    };
    let Ok(Some(extension)) = certificate.subject_alternative_name() else {
        return Vec::new();
    };
    let names = extension.value.general_names.iter();
    names
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            _ => None,
        })
        .collect()
}

/// When a certificate ends; `None`: it can't be read.
pub fn not_after(certificate: &CertificateDer<'_>) -> Option<Wall> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let end = certificate.validity().not_after.timestamp();
    Some(Wall::from_seconds(end))
}
