//! An authority: its certificate and key, and the list of what it revoked.

use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName,
    DnType, DnValue, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    PublicKeyData, RevokedCertParams, SanType, SerialNumber, SubjectPublicKeyInfo,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{
    CertificateDer, CertificateRevocationListDer, CertificateSigningRequestDer,
};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;
use zeroize::Zeroizing;

use super::{Error, Identity, Issued, Validity};
use crate::clock::Wall;
use crate::format::{jws, pem, text, trust};
use crate::secret::Secret;

/// What an authority is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Machines: gateways and receivers.
    Link,
    /// Operators.
    Designation,
    /// Persons who may sign in at the commune's page.
    Page,
    /// TLS of console, RTSPS and page: what browsers and players check.
    Console,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Link, Self::Designation, Self::Page, Self::Console];

    /// `link`, `designation`, `page` or `console`, as in file names.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Link => "link",
            Self::Designation => "designation",
            Self::Page => "page",
            Self::Console => "console",
        }
    }
}

/// Whom or what a certificate names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A gateway or receiver, by the commune's or centre's id.
    Machine(String),
    /// An operator.
    Operator(Person),
    /// A person who may sign in at the commune's page.
    Agent(Person),
    /// A server, by the DNS names and addresses under which it is called; at least one.
    Server(Vec<String>),
}

impl Subject {
    /// Which authority signs for it.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Machine(_) => Kind::Link,
            Self::Operator(_) => Kind::Designation,
            Self::Agent(_) => Kind::Page,
            Self::Server(_) => Kind::Console,
        }
    }

    /// The name of its files.
    pub fn file_name(&self) -> &str {
        match self {
            Self::Machine(id) => id,
            Self::Operator(person) | Self::Agent(person) => &person.number,
            Self::Server(names) => names.first().map_or("", String::as_str),
        }
    }
}

/// An operator as the designation names him.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// Service number (`serialNumber`).
    pub number: String,
    /// Name (`CN`).
    pub name: String,
    /// Unit (`OU`).
    pub unit: String,
}

impl Person {
    /// Whether number, name and unit have the agreed form.
    ///
    /// # Errors
    /// [`Error::Name`] says which has not.
    pub fn check(&self) -> Result<(), Error> {
        check_number(&self.number)?;
        for (what, value) in [("name", &self.name), ("unit", &self.unit)] {
            text::check(value).map_err(|wrong| Error::Name {
                what,
                value: value.chars().take(80).collect(),
                wrong,
            })?;
        }
        Ok(())
    }
}

/// How long a list is current where nothing else is asked for: after that gateways give an
/// alert.
pub const LIST_LIFE: Duration = Duration::from_secs(92 * 24 * 3600);

/// An authority with its key.
pub struct Authority {
    kind: Kind,
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
    revoked: Vec<Revoked>,
    number: u64,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority")
            .field("kind", &self.kind)
            .field("number", &self.number)
            .field("revoked", &self.revoked.len())
            .finish_non_exhaustive()
    }
}

#[derive(Clone, Debug)]
struct Revoked {
    serial: Vec<u8>,
    at: Wall,
}

impl Authority {
    /// A new authority. Its name ends in random digits, so that two authorities
    /// never share one (lists are found by the name of their issuer).
    pub fn make(kind: Kind, validity: Validity) -> Result<Self, Error> {
        let key = new_key()?;
        let mark: String = random::<4>()?.iter().map(|b| format!("{b:02x}")).collect();
        let mut params = params(validity)?;
        params.distinguished_name.push(
            DnType::CommonName,
            format!("fanal {} authority {mark}", kind.as_str()),
        );
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.use_authority_key_identifier_extension = false;
        let certificate = params.self_signed(&key).map_err(signing("an authority"))?;
        Ok(Self {
            kind,
            certificate: pem::encode("CERTIFICATE", certificate.der()),
            issuer: Issuer::new(params, key),
            revoked: Vec::new(),
            number: 0,
        })
    }

    /// An authority from PEM texts: its certificate is the first; its newest revocation list is
    /// among `lists`, which may hold those of others.
    pub fn from_pem(kind: Kind, certificate: &str, key: &str, lists: &str) -> Result<Self, Error> {
        let what = "the authority's key";
        let key = pem::private_key(key.as_bytes()).map_err(|error| unreadable(what)(&error))?;
        let key = KeyPair::try_from(&key).map_err(|error| unreadable(what)(&error))?;
        let der = first_certificate(certificate)?;
        let wrong = unreadable("the authority's certificate");
        let (_, parsed) = X509Certificate::from_der(&der).map_err(|error| wrong(&error))?;
        if parsed.public_key().raw != key.subject_public_key_info() {
            let cause = "it is not that of the authority's certificate; bring both from one backup";
            return Err(unreadable(what)(&cause));
        }
        let (number, revoked) = read_list(lists, &parsed)?;
        let issuer = Issuer::from_ca_cert_der(&der, key).map_err(|error| wrong(&error))?;
        Ok(Self {
            kind,
            certificate: pem::encode("CERTIFICATE", &der),
            issuer,
            revoked,
            number,
        })
    }

    /// What it is for.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Its certificate, PEM.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// Its key, PKCS #8 in PEM.
    pub fn key(&self) -> Secret {
        pem_of(self.issuer.key())
    }

    /// Until when it may sign.
    pub fn ends(&self) -> Option<Wall> {
        let certificate = first_certificate(&self.certificate).ok()?;
        trust::not_after(&certificate)
    }

    /// A certificate with a new key, or for the key of a PKCS #10 request (PEM), which stays where
    /// it was made. Only the public key is taken from the request; its subject and extensions
    /// are not looked at.
    ///
    /// # Errors
    /// A name has no agreed form, or the request can't be used.
    pub fn issue(
        &self,
        subject: &Subject,
        validity: Validity,
        request: Option<&str>,
    ) -> Result<Issued, Error> {
        let params = match subject {
            Subject::Machine(id) => machine_params(id, validity)?,
            Subject::Operator(person) | Subject::Agent(person) => person_params(person, validity)?,
            Subject::Server(names) => server_params(names, validity)?,
        };
        if let Some(request) = request {
            return Ok(Issued {
                certificate: self.sign(&params, &requested_key(request)?)?,
                key: None,
            });
        }
        let key = new_key()?;
        Ok(Issued {
            certificate: self.sign(&params, &key)?,
            key: Some(pem_of(&key)),
        })
    }

    /// A machine's certificate for the link: SAN DNS = `id`, client and server.
    pub fn machine(&self, id: &str, validity: Validity) -> Result<Identity, Error> {
        let key = new_key()?;
        Ok(Identity {
            certificate: self.sign(&machine_params(id, validity)?, &key)?,
            key: pem_of(&key),
        })
    }

    /// An operator's designation with a new key.
    pub fn operator(&self, person: &Person, validity: Validity) -> Result<Identity, Error> {
        let key = new_key()?;
        Ok(Identity {
            certificate: self.sign(&person_params(person, validity)?, &key)?,
            key: pem_of(&key),
        })
    }

    /// An operator's designation for the key of a request: see [`Authority::issue`].
    pub fn operator_from_request(
        &self,
        person: &Person,
        validity: Validity,
        request: &str,
    ) -> Result<String, Error> {
        let subject = Subject::Operator(person.clone());
        let issued = self.issue(&subject, validity, Some(request))?;
        Ok(issued.certificate)
    }

    /// Whether this authority signed the certificate (PEM).
    pub fn issued(&self, certificate: &str) -> Result<bool, Error> {
        let der = first_certificate(certificate)?;
        let leaf = webpki::EndEntityCert::try_from(&der)
            .map_err(|error| unreadable("the certificate")(&error))?;
        let own = first_certificate(&self.certificate)?;
        let anchor = webpki::anchor_from_trusted_cert(&own)
            .map_err(|error| unreadable("the authority's certificate")(&error))?;
        // An expired certificate may be revoked too: the time is its own.
        let (_, parsed) = X509Certificate::from_der(&der)
            .map_err(|error| unreadable("the certificate")(&error))?;
        let begins = u64::try_from(parsed.validity().not_before.timestamp()).unwrap_or(0);
        Ok(leaf
            .verify_for_usage(
                trust::ALGORITHMS,
                &[anchor],
                &[],
                rustls::pki_types::UnixTime::since_unix_epoch(Duration::from_secs(begins)),
                trust::AnyUsage,
                None,
                None,
            )
            .is_ok())
    }

    /// Revokes a certificate (PEM) that it signed. [`Authority::list`] then gives the new list.
    /// Revoking twice keeps the first time.
    pub fn revoke(&mut self, certificate: &str, now: Wall) -> Result<(), Error> {
        if !self.issued(certificate)? {
            return Err(Error::Foreign);
        }
        let der = first_certificate(certificate)?;
        let (_, parsed) = X509Certificate::from_der(&der)
            .map_err(|error| unreadable("the certificate")(&error))?;
        let serial = parsed.raw_serial().to_vec();
        if !self.revoked.iter().any(|entry| entry.serial == serial) {
            self.revoked.push(Revoked { serial, at: now });
        }
        Ok(())
    }

    /// Signs a new revocation list (PEM). Its number is the time in seconds, and always above
    /// the one before: also after the authority's files were restored from a backup it is above
    /// every number that was given before.
    pub fn list(&mut self, now: Wall) -> Result<String, Error> {
        self.list_until(now, now.plus(LIST_LIFE))
    }

    /// The same with another `nextUpdate`.
    pub fn list_until(&mut self, now: Wall, next_update: Wall) -> Result<String, Error> {
        let time = u64::try_from(now.seconds()).unwrap_or(0);
        let number = time.max(self.number.saturating_add(1));
        let revoked_certs = self
            .revoked
            .iter()
            .map(|entry| {
                Ok(RevokedCertParams {
                    serial_number: SerialNumber::from_slice(&entry.serial),
                    revocation_time: date(entry.at)?,
                    reason_code: None,
                    invalidity_date: None,
                })
            })
            .collect::<Result<_, Error>>()?;
        let list = CertificateRevocationListParams {
            this_update: date(now)?,
            next_update: date(next_update)?,
            crl_number: SerialNumber::from_slice(&minimal(number)),
            issuing_distribution_point: None,
            revoked_certs,
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = list
            .signed_by(&self.issuer)
            .map_err(signing("a revocation list"))?;
        self.number = number;
        Ok(pem::encode("X509 CRL", list.der()))
    }

    fn sign(&self, params: &CertificateParams, key: &impl PublicKeyData) -> Result<String, Error> {
        params
            .signed_by(key, &self.issuer)
            .map(|certificate| pem::encode("CERTIFICATE", certificate.der()))
            .map_err(signing("a certificate"))
    }
}

/// Checks a service number, which is also a file name: `[A-Za-z0-9][A-Za-z0-9._-]{0,62}`.
pub fn check_number(number: &str) -> Result<(), Error> {
    let safe = |c: u8| c.is_ascii_alphanumeric() || b"._-".contains(&c);
    if number.len() <= 63
        && number.bytes().all(safe)
        && number
            .bytes()
            .next()
            .is_some_and(|c| c.is_ascii_alphanumeric())
    {
        return Ok(());
    }
    Err(Error::Name {
        what: "service number",
        value: number.chars().take(80).collect(),
        wrong: "must match [A-Za-z0-9][A-Za-z0-9._-]{0,62}",
    })
}

/// A machine's: SAN DNS = `id`, client and server.
fn machine_params(id: &str, validity: Validity) -> Result<CertificateParams, Error> {
    let mut params = params(validity)?;
    params.distinguished_name.push(DnType::CommonName, id);
    let name = id.try_into().map_err(|_| Error::Name {
        what: "id",
        value: id.to_owned(),
        wrong: "must match [a-z0-9][a-z0-9-]{0,62}",
    })?;
    params.subject_alt_names = vec![SanType::DnsName(name)];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    Ok(params)
}

/// A server's: SAN DNS or IP, server alone.
fn server_params(names: &[String], validity: Validity) -> Result<CertificateParams, Error> {
    let mut params = params(validity)?;
    let first = names.first().map(String::as_str).unwrap_or_default();
    check_server_name(first)?;
    params.distinguished_name.push(DnType::CommonName, first);
    let alternatives = names.iter().map(|name| {
        check_server_name(name)?;
        if let Ok(address) = name.parse() {
            return Ok(SanType::IpAddress(address));
        }
        let name = name.as_str().try_into();
        name.map(SanType::DnsName).map_err(signing("a name"))
    });
    params.subject_alt_names = alternatives.collect::<Result<_, Error>>()?;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    Ok(params)
}

/// Checks by what a server is called, which is also a file name: a DNS name in lower case of at
/// most 64 characters, or an IP address.
pub(super) fn check_server_name(name: &str) -> Result<(), Error> {
    let is_label = |label: &str| {
        let safe = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        !label.is_empty()
            && label.bytes().all(safe)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let is_address = name.parse::<std::net::IpAddr>().is_ok();
    if is_address || (name.len() <= 64 && name.split('.').all(is_label)) {
        return Ok(());
    }
    Err(Error::Name {
        what: "name",
        value: name.chars().take(80).collect(),
        wrong: "must be a DNS name in lower case, such as corg13.example, or an address",
    })
}

fn person_params(person: &Person, validity: Validity) -> Result<CertificateParams, Error> {
    person.check()?;
    let mut params = params(validity)?;
    let name = &mut params.distinguished_name;
    name.push(DnType::CommonName, person.name.as_str());
    name.push(DnType::OrganizationalUnitName, person.unit.as_str());
    // X.520 wants a PrintableString here, which knows no underscore.
    let number = match person.number.as_str().try_into() {
        Ok(printable) => DnValue::PrintableString(printable),
        Err(_) => DnValue::Utf8String(person.number.clone()),
    };
    name.push(DnType::CustomDnType(vec![2, 5, 4, 5]), number);
    Ok(params)
}

/// What all certificates share: an empty subject, a random serial number.
fn params(validity: Validity) -> Result<CertificateParams, Error> {
    if validity.until.seconds() <= validity.from.seconds() {
        return Err(Error::Validity);
    }
    let mut serial = random::<16>()?;
    // Positive and always of the same length.
    serial[0] = serial[0] & 0x7f | 0x40;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.not_before = date(validity.from)?;
    params.not_after = date(validity.until)?;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn new_key() -> Result<KeyPair, Error> {
    KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(signing("a key"))
}

/// A private key, PKCS #8 in PEM.
fn pem_of(key: &KeyPair) -> Secret {
    let der = Zeroizing::new(key.serialize_der());
    Secret::new(pem::encode("PRIVATE KEY", &der))
}

fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| Error::Signing {
        what: "a random number",
        cause: error.to_string(),
    })?;
    Ok(bytes)
}

/// The public key of a PKCS #10 request whose signature proves that the sender has it.
fn requested_key(request: &str) -> Result<SubjectPublicKeyInfo, Error> {
    let what = "the signing request";
    let der = CertificateSigningRequestDer::from_pem_slice(request.as_bytes())
        .map_err(|error| unreadable(what)(&error))?;
    let (_, parsed) = x509_parser::certification_request::X509CertificationRequest::from_der(&der)
        .map_err(|error| unreadable(what)(&error))?;
    let info = &parsed.certification_request_info;
    if jws::Algorithm::of_key(info.subject_pki.raw).is_none() {
        return Err(Error::Unreadable {
            what,
            cause: "its key must be P-256 or Ed25519".to_owned(),
        });
    }
    parsed.verify_signature().map_err(|_| Error::Unreadable {
        what,
        cause: "its signature does not match its key".to_owned(),
    })?;
    SubjectPublicKeyInfo::from_der(info.subject_pki.raw).map_err(|error| unreadable(what)(&error))
}

/// The serial number of a certificate (PEM), in hexadecimal.
pub fn serial(certificate: &str) -> Result<String, Error> {
    let der = first_certificate(certificate)?;
    let (_, parsed) =
        X509Certificate::from_der(&der).map_err(|error| unreadable("the certificate")(&error))?;
    Ok(parsed
        .raw_serial()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

fn first_certificate(text: &str) -> Result<CertificateDer<'static>, Error> {
    let what = "the certificate";
    let certificates = pem::certificates(text.as_bytes());
    let certificates = certificates.map_err(|error| unreadable(what)(&error))?;
    let first = certificates.into_iter().next();
    first.ok_or_else(|| unreadable(what)(&"no certificate in it"))
}

/// When a certificate (PEM) ends, and whose it is (CN, or what it is called by).
pub fn described(certificate: &str) -> Result<(String, Option<Wall>), Error> {
    let der = first_certificate(certificate)?;
    let (_, parsed) =
        X509Certificate::from_der(&der).map_err(|error| unreadable("the certificate")(&error))?;
    let name = parsed.subject().iter_common_name().next();
    let name = name.and_then(|name| name.as_str().ok()).unwrap_or_default();
    Ok((text::shown(name, 80), trust::not_after(&der)))
}

/// When the first of these lists (PEM) must be replaced.
pub fn lists_end(lists: &str) -> Option<Wall> {
    let lists = CertificateRevocationListDer::pem_slice_iter(lists.as_bytes());
    let ends = lists.filter_map(|der| {
        let der = der.ok()?;
        let (_, list) = CertificateRevocationList::from_der(&der).ok()?;
        Some(Wall::from_seconds(list.next_update()?.timestamp()))
    });
    ends.min()
}

/// A new key and a request for a certificate of it (PKCS #10, PEM), which names nobody: the
/// authority says whose it is.
pub fn request() -> Result<(Secret, String), Error> {
    let key = new_key()?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    let request = params
        .serialize_request(&key)
        .map_err(signing("a request"))?;
    let request = pem::encode("CERTIFICATE REQUEST", request.der());
    Ok((pem_of(&key), request))
}

/// The number and entries of this authority's list among `lists`.
fn read_list(lists: &str, authority: &X509Certificate<'_>) -> Result<(u64, Vec<Revoked>), Error> {
    let what = "the revocation list";
    for der in CertificateRevocationListDer::pem_slice_iter(lists.as_bytes()) {
        let der = der.map_err(|error| unreadable(what)(&error))?;
        let (_, list) =
            CertificateRevocationList::from_der(&der).map_err(|error| unreadable(what)(&error))?;
        if list.issuer().as_raw() != authority.subject().as_raw() {
            continue;
        }
        let number = list
            .crl_number()
            .and_then(|number| u64::try_from(number).ok())
            .ok_or_else(|| unreadable(what)(&"it has no number, or one that is too large"))?;
        let revoked = list.iter_revoked_certificates().map(|entry| Revoked {
            serial: entry.raw_serial().to_vec(),
            at: Wall::from_seconds(entry.revocation_date.timestamp()),
        });
        return Ok((number, revoked.collect()));
    }
    Err(unreadable(what)(
        &"there is none of this authority; bring it back, or earlier revocations would be forgotten",
    ))
}

fn signing(what: &'static str) -> impl Fn(rcgen::Error) -> Error {
    move |error| Error::Signing {
        what,
        cause: error.to_string(),
    }
}

fn unreadable(what: &'static str) -> impl Fn(&dyn std::fmt::Display) -> Error {
    move |error| Error::Unreadable {
        what,
        cause: error.to_string(),
    }
}

/// A number's bytes without leading zeros, as DER wants it.
fn minimal(number: u64) -> Vec<u8> {
    let bytes = number.to_be_bytes();
    let zeros = usize::try_from(number.leading_zeros() / 8).unwrap_or(0);
    bytes[zeros.min(7)..].to_vec()
}

/// rcgen's kind of time, whole seconds; between 1970 and 2500.
fn date(at: Wall) -> Result<time::OffsetDateTime, Error> {
    let seconds = u64::try_from(at.seconds()).map_err(|_| Error::Validity)?;
    if seconds > 16_725_225_600 {
        return Err(Error::Validity);
    }
    Ok(rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds))
}
