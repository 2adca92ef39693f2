//! TLS 1.3, mutual, pinned names, revocation.
//!
//! Both ends check the peer's chain against the one authority that is set for
//! that peer, with its revocation list, and its name against the one expected:
//! the client knows which centre it dialled, the server looks the client's name
//! up among its communes. No session resumption and no 0-RTT: rustls resumes
//! with the stored chain unverified, so a revocation would not bite.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use aws_lc_rs::hmac;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, SignatureScheme,
    SupportedCipherSuite,
};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::exchange;
use crate::clock::{Clock, Wall};
use crate::config::settings;
use crate::format::trust::{self, Anchors, Untrusted, dns_names};
use crate::pki::{self, Kept};

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
    #[error("certificate {} and key {}: {cause}; make both again with `fanal certs`", certificate.display(), key.display())]
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

impl Error {
    fn file(what: &'static str) -> impl Fn(pki::Error) -> Self {
        move |pki::Error { path, cause }| Self::File { what, path, cause }
    }
}

/// The signatures that peers may use in the handshake: those of P-256 and Ed25519 keys.
const SIGNATURES: WebPkiSupportedAlgorithms = WebPkiSupportedAlgorithms {
    all: trust::ALGORITHMS,
    mapping: &[
        (
            SignatureScheme::ECDSA_NISTP256_SHA256,
            &[webpki::aws_lc_rs::ECDSA_P256_SHA256],
        ),
        (SignatureScheme::ED25519, &[webpki::aws_lc_rs::ED25519]),
    ],
};

/// The cryptography of every link: aws-lc-rs with AES-256-GCM first and the
/// hybrid post-quantum key exchange preferred, TLS 1.3 suites only.
fn provider() -> Arc<CryptoProvider> {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    provider
        .cipher_suites
        .retain(|suite| matches!(suite, SupportedCipherSuite::Tls13(_)));
    provider.signature_verification_algorithms = SIGNATURES;
    provider.kx_groups = exchange::groups();
    Arc::new(provider)
}

/// Who signs a peer's certificate, and which ones were revoked.
fn authority(tls: &settings::Tls, kept: &Kept) -> Result<Anchors, Error> {
    let anchors = pki::anchors(
        &tls.authority,
        tls.revoked.iter().map(PathBuf::as_path),
        kept,
    );
    anchors.map_err(Error::file("link authority or revocation list"))
}

fn subjects(anchors: &Anchors) -> Vec<DistinguishedName> {
    let names = anchors.subjects();
    names.map(DistinguishedName::in_sequence).collect()
}

/// Checks a peer's chain: signatures, validity, usage, revocation.
fn check(
    anchors: &Anchors,
    chain: &[CertificateDer<'_>],
    usage: webpki::KeyUsage,
    now: Wall,
) -> Result<(), rustls::Error> {
    anchors
        .verify(chain, now, usage, false)
        .map(drop)
        .map_err(|untrusted| {
            rustls::Error::InvalidCertificate(match untrusted {
                Untrusted::Foreign => CertificateError::UnknownIssuer,
                Untrusted::NotYet => CertificateError::NotValidYet,
                Untrusted::Expired => CertificateError::Expired,
                Untrusted::Revoked => CertificateError::Revoked,
                Untrusted::NotSigned(_) | Untrusted::RevocationUnknown(_) => {
                    CertificateError::Other(rustls::OtherError(Arc::new(untrusted)))
                }
            })
        })
}

/// Own certificate and key.
fn read_identity(
    tls: &settings::Tls,
    provider: &CryptoProvider,
) -> Result<Arc<CertifiedKey>, Error> {
    let chain = pki::certificates(&tls.certificate).map_err(Error::file("link certificate"))?;
    let key = pki::private_key(&tls.key).map_err(Error::file("link key"))?;
    let identity = CertifiedKey::from_der(chain, key, provider);
    identity.map(Arc::new).map_err(|cause| Error::Pair {
        certificate: tls.certificate.clone(),
        key: tls.key.clone(),
        cause,
    })
}

/// A secret that is the same after a restart: derived from the link key, which
/// it does not give away.
///
/// # Errors
///
/// The key file can't be read or is no key.
pub fn lasting_secret(tls: &settings::Tls) -> Result<[u8; 32], Error> {
    let key = pki::private_key(&tls.key).map_err(Error::file("link key"))?;
    let key = hmac::Key::new(hmac::HMAC_SHA256, key.secret_der());
    let tag = hmac::sign(&key, b"fanal/1 stateless reset");
    let mut secret = [0; 32];
    secret.copy_from_slice(tag.as_ref());
    Ok(secret)
}

/// A certificate for people: its names and who signed it.
pub fn describe(certificate: &CertificateDer<'_>) -> String {
    let issuer = X509Certificate::from_der(certificate)
        .map_or_else(|_| "?".to_owned(), |(_, read)| read.issuer().to_string());
    let names = dns_names(certificate).join(", ");
    let end = not_after(certificate).rfc3339();
    format!("{names}, signed by {issuer}, until {end}")
}

/// When a certificate ends; the epoch where it can't be read.
pub fn not_after(certificate: &CertificateDer<'_>) -> Wall {
    trust::not_after(certificate).unwrap_or(Wall(0))
}

#[derive(Debug)]
struct Time(Clock);

impl rustls::time_provider::TimeProvider for Time {
    fn current_time(&self) -> Option<UnixTime> {
        Some(trust::unix(self.0.now().wall))
    }
}

/// A time that rustls gives.
fn wall(at: UnixTime) -> Wall {
    Wall::from_seconds(i64::try_from(at.as_secs()).unwrap_or(i64::MAX))
}

/// Checks the peer of a live link again: after a reload its certificate may be
/// revoked, its authority another, its name gone.
pub trait Peers: std::fmt::Debug + Send + Sync {
    /// The peer's name, if its chain is good now.
    fn identify(&self, chain: &[CertificateDer<'_>], now: Wall) -> Result<String, rustls::Error>;
}

/// The methods of a verifier that are the same for servers and clients.
macro_rules! signatures {
    () => {
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
            verify_tls13_signature(message, cert, dss, &SIGNATURES)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            SIGNATURES.supported_schemes()
        }
    };
}

fn whole<'a>(
    leaf: &CertificateDer<'a>,
    intermediates: &[CertificateDer<'a>],
) -> Vec<CertificateDer<'a>> {
    std::iter::once(leaf)
        .chain(intermediates)
        .cloned()
        .collect()
}

/// The client's view of the one server it dials.
#[derive(Debug)]
struct Server {
    name: String,
    authority: Anchors,
    subjects: Vec<DistinguishedName>,
}

impl Peers for Server {
    fn identify(&self, chain: &[CertificateDer<'_>], now: Wall) -> Result<String, rustls::Error> {
        let leaf = chain
            .first()
            .ok_or(rustls::Error::NoCertificatesPresented)?;
        check(&self.authority, chain, webpki::KeyUsage::server_auth(), now)?;
        if dns_names(leaf).contains(&self.name) {
            Ok(self.name.clone())
        } else {
            Err(CertificateError::NotValidForName.into())
        }
    }
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
        self.identify(&whole(end_entity, intermediates), wall(now))
            .map(|_| ServerCertVerified::assertion())
    }

    /// Tells a server with several certificates whose signature we accept.
    fn root_hint_subjects(&self) -> Option<&[DistinguishedName]> {
        Some(&self.subjects)
    }

    signatures!();
}

/// The server's view of all clients that may connect.
#[derive(Debug)]
struct Clients {
    authorities: BTreeMap<String, Anchors>,
    subjects: Vec<DistinguishedName>,
}

impl Peers for Clients {
    fn identify(&self, chain: &[CertificateDer<'_>], now: Wall) -> Result<String, rustls::Error> {
        let leaf = chain
            .first()
            .ok_or(rustls::Error::NoCertificatesPresented)?;
        let mut known = dns_names(leaf)
            .into_iter()
            .filter_map(|name| Some((self.authorities.get(&name)?, name)));
        let (Some((authority, name)), None) = (known.next(), known.next()) else {
            // No commune of ours, or a certificate that could be either of two.
            return Err(CertificateError::NotValidForName.into());
        };
        check(authority, chain, webpki::KeyUsage::client_auth(), now)?;
        Ok(name)
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
        self.identify(&whole(end_entity, intermediates), wall(now))
            .map(|_| ClientCertVerified::assertion())
    }

    signatures!();
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
///
/// # Errors
/// A file that can't be read or is not what it should be.
pub fn client(
    tls: &settings::Tls,
    centre: &str,
    kept: &Kept,
    clock: &Clock,
) -> Result<End<rustls::ClientConfig>, Error> {
    let provider = provider();
    let identity = read_identity(tls, &provider)?;
    let authority = authority(tls, kept)?;
    let server = Arc::new(Server {
        name: centre.to_owned(),
        subjects: subjects(&authority),
        authority,
    });
    let peers: Arc<dyn Peers> = server.clone();
    let time = Arc::new(Time(clock.clone()));
    let mut config = rustls::ClientConfig::builder_with_details(provider, time)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(server)
        .with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(identity)));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    Ok(End {
        config: Arc::new(config),
        peers,
    })
}

/// The listening end: the receiver's, for all its communes.
///
/// # Errors
/// A file that can't be read or is not what it should be.
pub fn server(
    settings: &settings::Receiver,
    clock: &Clock,
) -> Result<End<rustls::ServerConfig>, Error> {
    let provider = provider();
    let kept = Kept::writing(&settings.state_dir);
    let first = read_identity(&settings.tls, &provider)?;
    let own = authority(&settings.tls, &kept)?;
    let mut by_authority = vec![(subjects(&own), Arc::clone(&first))];
    let mut authorities = BTreeMap::new();
    let mut accepted: Vec<DistinguishedName> = Vec::new();
    for commune in settings.communes.values() {
        let authority = authority(&commune.tls, &kept)?;
        let subjects = subjects(&authority);
        for subject in &subjects {
            if !accepted
                .iter()
                .any(|seen| seen.as_ref() == subject.as_ref())
            {
                accepted.push(subject.clone());
            }
        }
        if commune.tls.certificate != settings.tls.certificate {
            by_authority.push((subjects, read_identity(&commune.tls, &provider)?));
        }
        authorities.insert(commune.id.as_str().to_owned(), authority);
    }
    let clients = Arc::new(Clients {
        authorities,
        subjects: accepted,
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
