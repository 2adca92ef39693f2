//! Who asks: an operator's designation, and the statements signed with it
//! (interfaces.md 3 and 4). Pure: bytes and time in, verdict out.

use std::collections::BTreeSet;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use x509_parser::certificate::X509Certificate;
use x509_parser::oid_registry::{
    OID_X509_COMMON_NAME, OID_X509_EXT_SUBJECT_ALT_NAME, OID_X509_ORGANIZATIONAL_UNIT,
    OID_X509_SERIALNUMBER, Oid,
};
use x509_parser::prelude::FromDer;

use crate::clock::Wall;
use crate::format::ids::Sha256;
use crate::format::statement::Operator;
use crate::format::statement::{
    FRESH_SECONDS, REQUEST_TYPE, RequestClaims, TOKEN_SECONDS, TOKEN_TYPE, TokenClaims,
};
use crate::format::trust::{Anchors, AnyUsage, Untrusted};
use crate::format::{jws, text};
use crate::reason::{Reason, Refusal};

pub use crate::format::trust::RevocationList;

/// Most cameras in one request.
pub const CAMERAS_LIMIT: usize = 200;
/// Most names in `present`.
pub const PRESENT_LIMIT: usize = 20;

/// A designation authority with its newest revocation list.
#[derive(Clone, Debug)]
pub struct Authority {
    anchors: Anchors,
    id: Sha256,
    /// The units that it may designate for; empty: any.
    units: Vec<String>,
    /// Its certificates need to name no unit.
    names_agents: bool,
}

impl Authority {
    /// From PEM texts: one or more CA certificates; the lists that go with them.
    /// Of several lists of one authority the highest number counts.
    ///
    /// # Errors
    ///
    /// A text is no PEM, no authority, or a list that none of them signed; with the cause.
    pub fn from_pem(authority: &str, lists: &[&str]) -> Result<Self, String> {
        Anchors::from_pem(authority, lists).map(Self::from)
    }

    /// The same authority, whose designations count for these units alone; none: for any.
    #[must_use]
    pub fn limited_to(self, units: Vec<String>) -> Self {
        Self { units, ..self }
    }

    /// The same authority as one of the commune's own agents (interfaces.md 10): their
    /// certificates are as designations are, but for the unit (OU), which they may lack.
    #[must_use]
    pub fn of_agents(self) -> Self {
        Self {
            names_agents: true,
            ..self
        }
    }

    /// SHA-256 of the key (SubjectPublicKeyInfo, DER) of each of its certificates.
    pub fn keys(&self) -> impl Iterator<Item = Sha256> {
        self.anchors.keys()
    }

    /// SHA-256 over the keys of its certificates, in order of their hashes: two authorities may
    /// give the same number, unit and name to different persons.
    pub fn id(&self) -> Sha256 {
        self.id
    }

    /// Whether the chain of a statement leads to this authority at its leaf's time, whatever else
    /// is wrong with it (it is over, revoked, of another form).
    pub fn leads(&self, text: &str, now: Wall) -> bool {
        let Ok(chain) = jws::chain(text) else {
            return false;
        };
        let times = chain.first().and_then(|leaf| {
            let (_, parsed) = X509Certificate::from_der(leaf).ok()?;
            let validity = parsed.validity();
            Some((
                validity.not_before.timestamp(),
                validity.not_after.timestamp(),
            ))
        });
        let Some((begins, ends)) = times else {
            return false;
        };
        let at = Wall::from_seconds(now.seconds().min(ends).max(begins));
        let led = self.anchors.verify(&chain, at, AnyUsage, false);
        !matches!(led, Err(Untrusted::Foreign | Untrusted::NotSigned(_)))
    }

    /// Takes a list if it is signed by this authority and its number is higher
    /// than the one held. `Ok(None)`: older or the same, kept as it was.
    ///
    /// # Errors
    ///
    /// The text is no list, or none that this authority signed.
    pub fn update(&mut self, list_pem: &str) -> Result<Option<RevocationList>, String> {
        self.anchors.update(list_pem)
    }

    /// The list held, if any; of several authorities the first one's.
    pub fn list(&self) -> Option<&RevocationList> {
        self.lists().next()
    }

    /// The lists held, one for each authority that has one.
    pub fn lists(&self) -> impl Iterator<Item = &RevocationList> {
        self.anchors.lists()
    }
}

impl From<Anchors> for Authority {
    fn from(anchors: Anchors) -> Self {
        Self {
            id: anchors.id(),
            anchors,
            units: Vec::new(),
            names_agents: false,
        }
    }
}

/// A unit of one designation authority: another authority may name a unit alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// Its name.
    pub name: String,
    /// [`Authority::id`] of the one that designates for it.
    pub authority: Sha256,
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
    /// [`Authority::id`] of the one that vouches for it; zeros where nobody was asked ([`read`]).
    pub authority: Sha256,
    /// Keys of the authorities that its chain leads through, as [`Authority::keys`]: who trusts
    /// one of them trusts it, whichever others stand in the same file.
    pub path: Vec<Sha256>,
}

impl Designation {
    /// The operator's unit.
    pub fn unit(&self) -> Unit {
        Unit {
            name: self.operator.unit.clone(),
            authority: self.authority,
        }
    }

    /// Whether it is the same person in the same unit: number, unit and authority.
    pub fn is_same_operator(&self, other: &Self) -> bool {
        self.operator.number == other.operator.number && self.unit() == other.unit()
    }
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

    /// SHA-256 of the key that signed ([`key_thumbprint`]).
    pub fn key(&self) -> Option<Sha256> {
        key_thumbprint(jws::chain(&self.text).ok()?.first()?)
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
    text: &str,
    authority: &Authority,
    rules: Rules,
    now: Wall,
) -> Result<Verified<RequestClaims>, Refusal> {
    let envelope = jws::open_envelope(text, REQUEST_TYPE)?;
    let designation = designate(&envelope.chain, authority, rules, now)?;
    Ok(Verified {
        claims: request_claims(&envelope.claims)?,
        designation,
        text: text.to_owned(),
    })
}

/// Verifies an operator's bearer token: the same and its times (no leeway but
/// for 60 s of `iat` in the future). `token_invalid`, `token_expired`, or the
/// designation's reason.
pub fn verify_token(
    text: &str,
    authority: &Authority,
    rules: Rules,
    now: Wall,
) -> Result<Verified<TokenClaims>, Refusal> {
    let invalid = |refusal: Refusal| Refusal::new(Reason::TokenInvalid, refusal.detail);
    let envelope = jws::open_envelope(text, TOKEN_TYPE).map_err(invalid)?;
    let designation = designate(&envelope.chain, authority, rules, now)?;
    let claims: TokenClaims = jws::parse_claims(&envelope.claims).map_err(invalid)?;
    check_token_times(&claims, now)?;
    Ok(Verified {
        claims,
        designation,
        text: text.to_owned(),
    })
}

/// Verifies any other statement of a person: form, signature, chain, validity, revocation. Not
/// its audience, nor its times.
///
/// # Errors
/// As [`verify_request`], but for the incident.
pub fn verify_statement<T: DeserializeOwned>(
    text: &str,
    typ: &str,
    authority: &Authority,
    rules: Rules,
    now: Wall,
) -> Result<Verified<T>, Refusal> {
    let envelope = jws::open_envelope(text, typ)?;
    let designation = designate(&envelope.chain, authority, rules, now)?;
    Ok(Verified {
        claims: jws::parse_claims(&envelope.claims)?,
        designation,
        text: text.to_owned(),
    })
}

/// Whether none of these designation authorities vouches for who signed a statement: an
/// operator who may ask does not decide, however the authorities are signed among each other.
///
/// # Errors
/// One does; `operator_not_designated`.
pub fn check_not_of(text: &str, others: &[Authority], now: Wall) -> Result<(), Refusal> {
    if others.iter().any(|authority| authority.leads(text, now)) {
        return Err(not_designated(
            "an agreement's designation authority signed this certificate: an operator of a centre does not decide for the commune".to_owned(),
        ));
    }
    Ok(())
}

/// The designation behind a statement that verified once (`typ`), as it counts now: asked again
/// when lists or authorities change. A token's own times are not looked at.
///
/// # Errors
/// As [`designate`].
pub fn recheck(
    text: &str,
    typ: &str,
    authority: &Authority,
    rules: Rules,
    now: Wall,
) -> Result<Designation, Refusal> {
    let envelope = jws::open_envelope(text, typ)?;
    designate(&envelope.chain, authority, rules, now)
}

/// A machine's authority on the link: checks statements signed with link keys.
#[derive(Clone, Debug)]
pub struct LinkAuthority(Anchors);

impl LinkAuthority {
    /// From PEM texts. A list refuses all that a revoked key ever signed: who
    /// judges old heads and proofs gives none.
    ///
    /// # Errors
    ///
    /// A text is no PEM, no authority, or a list that none of them signed; with the cause.
    pub fn from_pem(authority: &str, lists: &[&str]) -> Result<Self, String> {
        Anchors::from_pem(authority, lists).map(Self)
    }

    /// Verifies a statement of this `typ` signed by the machine of this name
    /// (SAN DNS). Validity is judged at `at`: a grant's proof or a head may be old.
    /// `protocol_error` or `bad_signature` with the cause otherwise.
    pub fn verify<T: DeserializeOwned>(
        &self,
        text: &str,
        typ: &str,
        name: &str,
        at: Wall,
    ) -> Result<T, Refusal> {
        let signed = jws::open::<T>(text, typ).map_err(|refusal| match refusal.reason {
            Reason::BadSignature => refusal,
            _ => Refusal::new(Reason::ProtocolError, refusal.detail),
        })?;
        self.vouches(&signed.chain, name, at)?;
        Ok(signed.claims)
    }

    /// Whether the chain of a statement, whose signature is right, is that of the machine of
    /// this name, valid at `at`.
    ///
    /// # Errors
    /// `bad_signature` with the cause.
    pub fn vouches(
        &self,
        chain: &[CertificateDer<'_>],
        name: &str,
        at: Wall,
    ) -> Result<(), Refusal> {
        let foreign = |cause: String| Refusal::new(Reason::BadSignature, cause);
        let usage = webpki::KeyUsage::client_auth();
        self.0
            .verify(chain, at, usage, false)
            .map(drop)
            .map_err(|untrusted| {
                foreign(match untrusted {
                    Untrusted::Foreign | Untrusted::NotSigned(_) => {
                        format!("the signer is not of the link authority: {untrusted}")
                    }
                    Untrusted::NotYet | Untrusted::Expired => {
                        "the signer's certificate is not valid at that time".to_owned()
                    }
                    Untrusted::Revoked => "the signer's certificate is revoked".to_owned(),
                    Untrusted::RevocationUnknown(cause) => cause,
                })
            })?;
        let named = chain.first().is_some_and(|leaf| {
            webpki::EndEntityCert::try_from(leaf)
                .is_ok_and(|leaf| leaf.valid_dns_names().any(|dns| dns == name))
        });
        if !named {
            return Err(foreign(format!(
                "the signer's certificate does not name {name}"
            )));
        }
        Ok(())
    }
}

/// SHA-256 of the key in a certificate (its SubjectPublicKeyInfo, DER): how operators' pages
/// call a key. `None`: it is no certificate.
pub fn key_thumbprint(certificate: &CertificateDer<'_>) -> Option<Sha256> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    Some(Sha256::of(parsed.public_key().raw))
}

/// What a certificate says of its holder, unverified: for showing it to the holder.
///
/// # Errors
/// It is none, or its subject lacks a part.
pub fn read(certificate: &CertificateDer<'_>) -> Result<Designation, String> {
    let (_, parsed) = X509Certificate::from_der(certificate)
        .map_err(|error| format!("the certificate can't be read: {error}"))?;
    Ok(Designation {
        operator: read_operator(&parsed, false)?,
        not_after: Wall::from_seconds(parsed.validity().not_after.timestamp()),
        fingerprint: Sha256::of(certificate),
        authority: Sha256::ZERO,
        path: Vec::new(),
    })
}

/// Verifies the chain and reads the operator from its leaf.
///
/// # Errors
/// `operator_not_designated`, `designation_expired`, `designation_revoked`, `revocation_unknown`.
pub fn designate(
    chain: &[CertificateDer<'_>],
    authority: &Authority,
    rules: Rules,
    now: Wall,
) -> Result<Designation, Refusal> {
    let leaf = chain
        .first()
        .ok_or_else(|| Refusal::new(Reason::MalformedRequest, "x5c is empty"))?;
    let (_, parsed) = X509Certificate::from_der(leaf)
        .map_err(|error| not_designated(format!("the certificate can't be read: {error}")))?;
    let (begins, ends) = (
        parsed.validity().not_before.timestamp(),
        parsed.validity().not_after.timestamp(),
    );
    // The leaf's own validity is judged below, so that a stranger's expired
    // certificate is a stranger's first.
    let at = now.seconds().min(ends).max(begins);
    let path = authority
        .anchors
        .verify(
            chain,
            Wall::from_seconds(at),
            AnyUsage,
            rules.require_fresh_revocation,
        )
        .map_err(refuse_untrusted)?;
    let operator = read_operator(&parsed, !authority.names_agents).map_err(not_designated)?;
    let refuse = |reason, cause: String| {
        let Operator { name, number, .. } = &operator;
        Refusal::new(
            reason,
            format!("the designation of {name} ({number}) {cause}"),
        )
    };
    check_form(&parsed).map_err(|cause| refuse(Reason::OperatorNotDesignated, cause.to_owned()))?;
    if !authority.units.is_empty() && !authority.units.contains(&operator.unit) {
        let cause = format!(
            "is for the unit {}, for which its authority may not designate here",
            operator.unit
        );
        return Err(refuse(Reason::OperatorNotDesignated, cause));
    }
    if now.seconds() < begins || now.seconds() > ends {
        let (from, until) = (Wall::from_seconds(begins), Wall::from_seconds(ends));
        return Err(refuse(
            Reason::DesignationExpired,
            format!(
                "is valid from {} until {}, and it is {}",
                from.rfc3339(),
                until.rfc3339(),
                now.rfc3339()
            ),
        ));
    }
    if let Some(limit) = rules.max_designation {
        let days = |seconds: u64| seconds / 86_400;
        let lasts = u64::try_from(ends.saturating_sub(begins)).unwrap_or(u64::MAX);
        if lasts > limit.as_secs() {
            return Err(refuse(
                Reason::OperatorNotDesignated,
                format!(
                    "lasts {} days ({lasts} s) where the agreement allows {} ({} s)",
                    days(lasts),
                    days(limit.as_secs()),
                    limit.as_secs()
                ),
            ));
        }
    }
    Ok(Designation {
        operator,
        not_after: Wall::from_seconds(ends),
        fingerprint: Sha256::of(leaf),
        authority: authority.id,
        path,
    })
}

fn refuse_untrusted(untrusted: Untrusted) -> Refusal {
    match untrusted {
        Untrusted::Foreign | Untrusted::NotSigned(_) => not_designated(format!(
            "the certificate does not lead to the designation authority: {untrusted}"
        )),
        Untrusted::NotYet | Untrusted::Expired => Refusal::new(
            Reason::DesignationExpired,
            "a certificate between the designation and its authority is not valid at this time",
        ),
        Untrusted::Revoked => Refusal::from(Reason::DesignationRevoked),
        Untrusted::RevocationUnknown(cause) => Refusal::new(Reason::RevocationUnknown, cause),
    }
}

fn not_designated(cause: String) -> Refusal {
    Refusal::new(Reason::OperatorNotDesignated, cause)
}

/// Name, service number and unit: exactly one of each in the subject. Where none is needed the
/// unit may be missing, and is then empty.
fn read_operator(certificate: &X509Certificate<'_>, needs_unit: bool) -> Result<Operator, String> {
    let unit = &OID_X509_ORGANIZATIONAL_UNIT;
    let has_unit = certificate.subject().iter_by_oid(unit).next().is_some();
    let one = |oid: &Oid<'static>, what: &str| {
        let mut values = certificate.subject().iter_by_oid(oid);
        let (Some(value), None) = (values.next(), values.next()) else {
            return Err(format!(
                "the certificate's subject must have exactly one {what}"
            ));
        };
        let value = value
            .as_str()
            .map_err(|_| format!("the {what} in the certificate is no UTF-8 or printable text"))?;
        text::check(value).map_err(|wrong| format!("the {what} in the certificate {wrong}"))?;
        Ok(value.to_owned())
    };
    Ok(Operator {
        name: one(&OID_X509_COMMON_NAME, "CN (name)")?,
        number: one(&OID_X509_SERIALNUMBER, "serialNumber (service number)")?,
        unit: if has_unit || needs_unit {
            one(unit, "OU (unit)")?
        } else {
            String::new()
        },
    })
}

/// What tells a designation from a machine's certificate.
fn check_form(certificate: &X509Certificate<'_>) -> Result<(), &'static str> {
    let unreadable = "has extensions that can't be read";
    let signs = certificate
        .key_usage()
        .map_err(|_| unreadable)?
        .is_some_and(|usage| usage.value.digital_signature());
    if !signs {
        return Err("lacks the key usage digitalSignature");
    }
    if certificate
        .iter_extensions()
        .any(|extension| extension.oid == OID_X509_EXT_SUBJECT_ALT_NAME)
    {
        return Err("has a subject alternative name, which only a machine's certificate has");
    }
    let usage = certificate.extended_key_usage().map_err(|_| unreadable)?;
    if usage
        .is_some_and(|usage| usage.value.server_auth || usage.value.client_auth || usage.value.any)
    {
        return Err(
            "has a server's or client's extended key usage, which only a machine's certificate has",
        );
    }
    Ok(())
}

/// Only the incident, so that a request without one gets its own reason.
#[derive(Deserialize)]
struct IncidentProbe {
    #[serde(default)]
    incident: serde_json::Value,
}

/// Parses a request's claims and checks that they are well formed.
fn request_claims(json: &[u8]) -> Result<RequestClaims, Refusal> {
    let probe: IncidentProbe = jws::parse_claims(json)?;
    let is_missing = match &probe.incident {
        serde_json::Value::Null => true,
        serde_json::Value::String(incident) => incident.trim().is_empty(),
        _ => false,
    };
    if is_missing {
        return Err(Refusal::from(Reason::IncidentMissing));
    }
    let claims: RequestClaims = jws::parse_claims(json)?;
    check_request(&claims).map_err(|cause| Refusal::new(Reason::MalformedRequest, cause))?;
    Ok(claims)
}

/// Whether a request's claims are well formed; else how they are not.
///
/// # Errors
/// A member that is empty, too long, repeated or not fit to be read.
pub fn check_request(claims: &RequestClaims) -> Result<(), String> {
    if claims.jti.0.get_version_num() != 7 || claims.jti.0.get_variant() != uuid::Variant::RFC4122 {
        return Err(format!("jti {} is no UUID of version 7", claims.jti));
    }
    if claims.cameras.is_empty() || claims.cameras.len() > CAMERAS_LIMIT {
        return Err(format!(
            "the request names {} cameras where 1 to {CAMERAS_LIMIT} are allowed",
            claims.cameras.len()
        ));
    }
    let mut seen = BTreeSet::new();
    if let Some(twice) = claims.cameras.iter().find(|camera| !seen.insert(*camera)) {
        return Err(format!("the camera {twice} is named twice"));
    }
    text::check(&claims.grounds).map_err(|wrong| format!("grounds {wrong}"))?;
    if claims.duration == 0 {
        return Err("the duration is zero".to_owned());
    }
    if claims.present.len() > PRESENT_LIMIT {
        return Err(format!(
            "present holds {} names where {PRESENT_LIMIT} are allowed",
            claims.present.len()
        ));
    }
    for name in &claims.present {
        text::check(name).map_err(|wrong| format!("a name in present {wrong}"))?;
    }
    Ok(())
}

fn check_token_times(claims: &TokenClaims, now: Wall) -> Result<(), Refusal> {
    let now = now.seconds();
    let ahead = claims.iat.saturating_sub(now);
    if ahead > FRESH_SECONDS {
        return Err(Refusal::new(
            Reason::TokenInvalid,
            format!(
                "the token was signed {ahead} s in the future; set the clock of the workstation"
            ),
        ));
    }
    let lasts = claims.exp.saturating_sub(claims.iat);
    if !(1..=TOKEN_SECONDS).contains(&lasts) {
        return Err(Refusal::new(
            Reason::TokenInvalid,
            format!("the token lasts {lasts} s where 1 to {TOKEN_SECONDS} are allowed"),
        ));
    }
    if claims.exp <= now {
        return Err(Refusal::new(
            Reason::TokenExpired,
            format!("the token expired {} s ago", now.saturating_sub(claims.exp)),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
