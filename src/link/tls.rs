//! TLS 1.3, mutual, pinned names, revocation.
//!
//! Both ends check the peer's chain against the one authority that is set for
//! that peer, with its revocation list, and its name against the one expected:
//! the client knows which centre it dialled, the server looks the client's name
//! up among its communes. No session resumption and no 0-RTT: rustls resumes
//! with the stored chain unverified, so a revocation would not bite.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{
    CertificateDer, CertificateRevocationListDer, PrivateKeyDer, ServerName, TrustAnchor, UnixTime,
};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, SignatureScheme,
    SupportedCipherSuite,
};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::clock::{Clock, Wall};
use crate::config::settings;

/// The application protocol: its number is the major version of the protocol.
pub const ALPN: &[u8] = b"fanal/1";

/// Why an end of a link can't be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file is missing, unreadable or not what it should be.
    #[error("{what} {}: {cause}; check the path, its owner and its mode, and that it is PEM", path.display())]
    File {
        /// What it should be.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// What is wrong.
        cause: String,
    },
    /// The key is not the certificate's, or of a kind that TLS can't use.
    #[error("certificate {} and key {}: {cause}; make both anew with `fanal certs`", certificate.display(), key.display())]
    Pair {
        /// The certificate.
        certificate: PathBuf,
        /// The key.
        key: PathBuf,
        /// What is wrong.
        cause: rustls::Error,
    },
    /// Something rustls would not have.
    #[error("TLS settings: {0}")]
    Rustls(#[from] rustls::Error),
}

/// The cryptography of every link: aws-lc-rs with AES-256-GCM first and the
/// hybrid post-quantum key exchange preferred, TLS 1.3 suites only.
fn provider() -> Arc<CryptoProvider> {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    provider
        .cipher_suites
        .retain(|suite| matches!(suite, SupportedCipherSuite::Tls13(_)));
    Arc::new(provider)
}

/// Who signs a peer's certificate, and which ones it took back.
struct Authority {
    anchors: Vec<TrustAnchor<'static>>,
    subjects: Vec<DistinguishedName>,
    revoked: Vec<webpki::CertRevocationList<'static>>,
}

/// What a certificate is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Usage {
    Server,
    Client,
}

impl Authority {
    fn read(tls: &settings::Tls) -> Result<Self, Error> {
        const WHAT: &str = "link authority";
        let roots = read_certificates(WHAT, &tls.authority)?;
        let mut anchors = Vec::with_capacity(roots.len());
        let mut subjects = Vec::with_capacity(roots.len());
        for root in &roots {
            let anchor = webpki::anchor_from_trusted_cert(root)
                .map_err(|error| file(WHAT, &tls.authority, error))?;
            subjects.push(DistinguishedName::in_sequence(&anchor.subject));
            anchors.push(anchor.to_owned());
        }
        let revoked = match &tls.revoked {
            Some(path) => read_revoked(path)?,
            None => Vec::new(),
        };
        Ok(Self {
            anchors,
            subjects,
            revoked,
        })
    }

    /// Checks a chain: signatures, validity, usage, revocation.
    fn check(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        usage: Usage,
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        let algorithms = rustls::crypto::aws_lc_rs::default_provider()
            .signature_verification_algorithms
            .all;
        let lists: Vec<&webpki::CertRevocationList<'_>> = self.revoked.iter().collect();
        // An authority's list covers the leaves; nobody publishes lists of
        // intermediates in trials, and webpki would refuse without them.
        let revocation = webpki::RevocationOptionsBuilder::new(&lists)
            .ok()
            .map(|options| {
                options
                    .with_depth(webpki::RevocationCheckDepth::EndEntity)
                    .build()
            });
        let usage = match usage {
            Usage::Server => webpki::KeyUsage::server_auth(),
            Usage::Client => webpki::KeyUsage::client_auth(),
        };
        webpki::EndEntityCert::try_from(leaf)
            .and_then(|leaf| {
                leaf.verify_for_usage(
                    algorithms,
                    &self.anchors,
                    intermediates,
                    now,
                    usage,
                    revocation,
                    None,
                )
                .map(drop)
            })
            .map_err(refuse)
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority")
            .field("anchors", &self.anchors.len())
            .field("lists", &self.revoked.len())
            .finish()
    }
}

fn refuse(error: webpki::Error) -> rustls::Error {
    let error = match error {
        webpki::Error::CertExpired { .. } => CertificateError::Expired,
        webpki::Error::CertNotValidYet { .. } => CertificateError::NotValidYet,
        webpki::Error::CertRevoked => CertificateError::Revoked,
        webpki::Error::UnknownRevocationStatus => CertificateError::UnknownRevocationStatus,
        webpki::Error::UnknownIssuer => CertificateError::UnknownIssuer,
        webpki::Error::BadDer => CertificateError::BadEncoding,
        other => CertificateError::Other(rustls::OtherError(Arc::new(other))),
    };
    rustls::Error::InvalidCertificate(error)
}

fn file(what: &'static str, path: &Path, cause: impl ToString) -> Error {
    Error::File {
        what,
        path: path.to_owned(),
        cause: cause.to_string(),
    }
}

fn read_certificates(
    what: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, Error> {
    let certificates: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| file(what, path, error))?;
    if certificates.is_empty() {
        return Err(file(what, path, "no certificate in it"));
    }
    Ok(certificates)
}

fn read_revoked(path: &Path) -> Result<Vec<webpki::CertRevocationList<'static>>, Error> {
    const WHAT: &str = "revocation list";
    let lists: Vec<CertificateRevocationListDer<'static>> =
        CertificateRevocationListDer::pem_file_iter(path)
            .and_then(Iterator::collect)
            .map_err(|error| file(WHAT, path, error))?;
    if lists.is_empty() {
        return Err(file(WHAT, path, "no list in it"));
    }
    lists
        .iter()
        .map(|list| {
            webpki::OwnedCertRevocationList::from_der(list)
                .map(webpki::CertRevocationList::from)
                .map_err(|error| file(WHAT, path, error))
        })
        .collect()
}

/// Own certificate and key.
fn read_identity(
    tls: &settings::Tls,
    provider: &CryptoProvider,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), Error> {
    let chain = read_certificates("link certificate", &tls.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&tls.key)
        .map_err(|error| file("link key", &tls.key, error))?;
    CertifiedKey::from_der(chain.clone(), key.clone_key(), provider).map_err(|cause| {
        Error::Pair {
            certificate: tls.certificate.clone(),
            key: tls.key.clone(),
            cause,
        }
    })?;
    Ok((chain, key))
}

/// A secret that is the same after a restart: derived from the link key, which
/// it does not give away.
pub fn lasting_secret(tls: &settings::Tls) -> Result<[u8; 32], Error> {
    let key = PrivateKeyDer::from_pem_file(&tls.key)
        .map_err(|error| file("link key", &tls.key, error))?;
    let key = hmac::Key::new(hmac::HMAC_SHA256, key.secret_der());
    let tag = hmac::sign(&key, b"fanal/1 stateless reset");
    let mut secret = [0; 32];
    secret.copy_from_slice(tag.as_ref());
    Ok(secret)
}

/// The DNS names in a certificate's subject alternative names.
fn names(certificate: &CertificateDer<'_>) -> Vec<String> {
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

/// A certificate for people: its names and who signed it.
pub fn describe(certificate: &CertificateDer<'_>) -> String {
    let issuer = X509Certificate::from_der(certificate)
        .map_or_else(|_| "?".to_owned(), |(_, read)| read.issuer().to_string());
    let names = names(certificate).join(", ");
    let end = not_after(certificate).rfc3339();
    format!("{names}, signed by {issuer}, until {end}")
}

/// When a certificate ends; the epoch where it can't be read.
pub fn not_after(certificate: &CertificateDer<'_>) -> Wall {
    X509Certificate::from_der(certificate).map_or(Wall(0), |(_, certificate)| {
        Wall::from_seconds(certificate.validity().not_after.timestamp())
    })
}

/// When the first certificate of this file ends, for the metrics.
pub fn expiry(certificate: &Path) -> Result<Wall, Error> {
    let chain = read_certificates("link certificate", certificate)?;
    Ok(chain.first().map_or(Wall(0), not_after))
}

#[derive(Debug)]
struct Time(Clock);

impl rustls::time_provider::TimeProvider for Time {
    fn current_time(&self) -> Option<UnixTime> {
        Some(unix(self.0.now().wall))
    }
}

fn unix(wall: Wall) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(
        u64::try_from(wall.seconds()).unwrap_or(0),
    ))
}

/// Checks the peer of a live link again: after a reload its certificate may be
/// revoked, its authority another, its name gone.
pub trait Peers: std::fmt::Debug + Send + Sync {
    /// The peer's name, if its chain is good now.
    fn identify(&self, chain: &[CertificateDer<'_>], now: Wall) -> Result<String, rustls::Error>;
}

/// The client's view of the one server it dials.
#[derive(Debug)]
struct Server {
    name: String,
    authority: Authority,
    provider: Arc<CryptoProvider>,
}

impl Server {
    fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        self.authority
            .check(leaf, intermediates, Usage::Server, now)?;
        if names(leaf).contains(&self.name) {
            Ok(())
        } else {
            Err(CertificateError::NotValidForName.into())
        }
    }
}

impl Peers for Server {
    fn identify(&self, chain: &[CertificateDer<'_>], now: Wall) -> Result<String, rustls::Error> {
        let (leaf, intermediates) = split(chain)?;
        self.verify(leaf, intermediates, unix(now))?;
        Ok(self.name.clone())
    }
}

fn split<'a, 'b>(
    chain: &'a [CertificateDer<'b>],
) -> Result<(&'a CertificateDer<'b>, &'a [CertificateDer<'b>]), rustls::Error> {
    chain
        .split_first()
        .ok_or(rustls::Error::NoCertificatesPresented)
}

impl ServerCertVerifier for Server {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        // The name sent to the server is for its choice of certificate only;
        // the one that counts is pinned here.
        self.verify(end_entity, intermediates, now)
            .map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.2 is not spoken here".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }

    /// Tells a server with several certificates whose signature we accept.
    fn root_hint_subjects(&self) -> Option<&[DistinguishedName]> {
        Some(&self.authority.subjects)
    }
}

/// The server's view of all clients that may connect.
#[derive(Debug)]
struct Clients {
    authorities: BTreeMap<String, Arc<Authority>>,
    subjects: Vec<DistinguishedName>,
    provider: Arc<CryptoProvider>,
}

impl Clients {
    fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<String, rustls::Error> {
        let mut known = names(leaf)
            .into_iter()
            .filter_map(|name| Some((self.authorities.get(&name)?, name)));
        let (Some((authority, name)), None) = (known.next(), known.next()) else {
            // No commune of ours, or a certificate that could be either of two.
            return Err(CertificateError::NotValidForName.into());
        };
        authority.check(leaf, intermediates, Usage::Client, now)?;
        Ok(name)
    }
}

impl Peers for Clients {
    fn identify(&self, chain: &[CertificateDer<'_>], now: Wall) -> Result<String, rustls::Error> {
        let (leaf, intermediates) = split(chain)?;
        self.verify(leaf, intermediates, unix(now))
    }
}

impl ClientCertVerifier for Clients {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.subjects
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.verify(end_entity, intermediates, now)
            .map(|_| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.2 is not spoken here".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// Chooses the certificate that the client's authority signed, where communes
/// have authorities of their own; the first one otherwise.
#[derive(Debug)]
struct Identities {
    first: Arc<CertifiedKey>,
    by_authority: Vec<(Vec<DistinguishedName>, Arc<CertifiedKey>)>,
}

impl ResolvesServerCert for Identities {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let accepted = hello.certificate_authorities().unwrap_or_default();
        let chosen = self
            .by_authority
            .iter()
            .find(|(subjects, _)| {
                subjects.iter().any(|subject| {
                    accepted
                        .iter()
                        .any(|name| name.as_ref() == subject.as_ref())
                })
            })
            .map_or(&self.first, |(_, identity)| identity);
        Some(Arc::clone(chosen))
    }
}

/// One end's TLS: what the transports need, and how to look at a peer again.
#[derive(Clone, Debug)]
pub struct End<C> {
    /// rustls's settings.
    pub config: Arc<C>,
    /// Checks peers, at the handshake and at each reload.
    pub peers: Arc<dyn Peers>,
}

/// The dialling end: the gateway's, towards one centre.
pub fn client(
    tls: &settings::Tls,
    centre: &str,
    clock: &Clock,
) -> Result<End<rustls::ClientConfig>, Error> {
    let provider = provider();
    let (chain, key) = read_identity(tls, &provider)?;
    let server = Arc::new(Server {
        name: centre.to_owned(),
        authority: Authority::read(tls)?,
        provider: Arc::clone(&provider),
    });
    let peers: Arc<dyn Peers> = server.clone();
    let time = Arc::new(Time(clock.clone()));
    let mut config = rustls::ClientConfig::builder_with_details(provider, time)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(server)
        .with_client_auth_cert(chain, key)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    Ok(End {
        config: Arc::new(config),
        peers,
    })
}

/// The listening end: the receiver's, for all its communes.
pub fn server(
    settings: &settings::Receiver,
    clock: &Clock,
) -> Result<End<rustls::ServerConfig>, Error> {
    let provider = provider();
    let identity = |tls: &settings::Tls| -> Result<Arc<CertifiedKey>, Error> {
        let (chain, key) = read_identity(tls, &provider)?;
        Ok(Arc::new(CertifiedKey::from_der(chain, key, &provider)?))
    };
    let first = identity(&settings.tls)?;
    let mut by_authority = vec![(Authority::read(&settings.tls)?.subjects, Arc::clone(&first))];
    let mut authorities = BTreeMap::new();
    for commune in settings.communes.values() {
        let authority = Arc::new(Authority::read(&commune.tls)?);
        if commune.tls.certificate != settings.tls.certificate {
            by_authority.push((authority.subjects.clone(), identity(&commune.tls)?));
        }
        authorities.insert(commune.id.as_str().to_owned(), authority);
    }
    let mut subjects: Vec<DistinguishedName> = Vec::new();
    for subject in authorities.values().flat_map(|known| &known.subjects) {
        if !subjects
            .iter()
            .any(|seen| seen.as_ref() == subject.as_ref())
        {
            subjects.push(subject.clone());
        }
    }
    let clients = Arc::new(Clients {
        authorities,
        subjects,
        provider: Arc::clone(&provider),
    });
    let peers: Arc<dyn Peers> = clients.clone();
    let time = Arc::new(Time(clock.clone()));
    let mut config = rustls::ServerConfig::builder_with_details(provider, time)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(clients)
        .with_cert_resolver(Arc::new(Identities {
            first,
            by_authority,
        }));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(End {
        config: Arc::new(config),
        peers,
    })
}
