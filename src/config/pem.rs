//! Certificates, keys and revocation lists that the settings name: there, of
//! their kind, and fitting each other. Their users read them again.

use std::path::Path;

use rustls::pki_types::{
    CertificateDer, CertificateRevocationListDer, PrivateKeyDer, pem::PemObject,
};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::problem::{Lines, Reading};
use super::raw;
use super::settings::{ServerTls, Tls};
use crate::format::ids::Sha256;

/// Largest file of certificates or of a key.
const PEM_LIMIT: u64 = 256 * 1024;
/// Largest revocation list.
const CRL_LIMIT: u64 = 4 * 1024 * 1024;
/// Others may read, or the group may write.
const LOOSE_MODE: u32 = 0o027;

/// A certificate, key and authority as written, of `[tls]` or an override.
pub(super) struct RawTls<'r> {
    pub(super) certificate: Option<&'r String>,
    pub(super) key: Option<&'r String>,
    pub(super) authority: Option<&'r String>,
}

/// `[tls]`: all three must be there.
pub(super) fn tls(
    raw: raw::Tls,
    at: &Lines,
    own_id: Option<&str>,
    reading: &mut Reading<'_>,
) -> Option<Tls> {
    let certificate = reading.required_path(at, "certificate", raw.certificate);
    let key = reading.required_path(at, "key", raw.key);
    let authority = reading.required_path(at, "authority", raw.authority);
    let revoked = reading.optional_path(at, "revoked", raw.revoked);
    if let Some(authority) = &authority {
        authority_hash(authority, at.of("authority"), "authority", reading);
    }
    if let Some(revoked) = &revoked {
        check_crl(revoked, at.of("revoked"), reading);
    }
    let tls = Tls {
        certificate: certificate?,
        key: key?,
        authority: authority?,
        revoked,
    };
    identity(&tls.certificate, &tls.key, own_id, at, reading);
    Some(tls)
}

/// The `[tls]` of the file with an agreement's or commune's own parts in it.
pub(super) fn overridden(
    base: &Tls,
    raw: &RawTls<'_>,
    at: &Lines,
    own_id: Option<&str>,
    reading: &mut Reading<'_>,
) -> Tls {
    if raw.certificate.is_some() != raw.key.is_some() {
        let line = at.of("certificate").max(at.of("key"));
        reading.error(
            line,
            "certificate and key go together; give both or neither",
        );
    }
    let mut tls = base.clone();
    if let Some(path) = reading.optional_path(at, "authority", raw.authority.cloned()) {
        authority_hash(&path, at.of("authority"), "authority", reading);
        tls.authority = path;
        // The list belongs to the authority of [tls].
        tls.revoked = None;
    }
    let certificate = reading.optional_path(at, "certificate", raw.certificate.cloned());
    let key = reading.optional_path(at, "key", raw.key.cloned());
    if let (Some(certificate), Some(key)) = (certificate, key) {
        identity(&certificate, &key, own_id, at, reading);
        tls.certificate = certificate;
        tls.key = key;
    }
    tls
}

/// Certificate and key of a server without client authentication.
pub(super) fn server(
    certificate: Option<String>,
    key: Option<String>,
    at: &Lines,
    reading: &mut Reading<'_>,
) -> Option<ServerTls> {
    if certificate.is_some() != key.is_some() {
        let line = at.of("certificate").max(at.of("key"));
        reading.error(
            line,
            "certificate and key go together; give both or neither",
        );
    }
    let certificate = reading.optional_path(at, "certificate", certificate);
    let key = reading.optional_path(at, "key", key);
    let (certificate, key) = (certificate?, key?);
    identity(&certificate, &key, None, at, reading);
    Some(ServerTls { certificate, key })
}

/// Checks an authority's certificate and gives the hash of its bytes.
pub(super) fn authority_hash(
    path: &Path,
    line: u32,
    key: &str,
    reading: &mut Reading<'_>,
) -> Option<Sha256> {
    let chain = certificates(path, line, key, reading)?;
    let first = chain.first()?;
    match X509Certificate::from_der(first) {
        Ok((_, certificate)) if certificate.is_ca() => Some(Sha256::of(first)),
        Ok(_) => {
            let path = path.display();
            reading.error(
                line,
                format!("{key}: {path} is not the certificate of an authority (no CA:TRUE); name link-ca.pem or designation-ca.pem"),
            );
            None
        }
        Err(_) => None,
    }
}

/// Checks a revocation list.
pub(super) fn check_crl(path: &Path, line: u32, reading: &mut Reading<'_>) {
    let shown = path.display();
    let bytes = match reading.files.read(path, CRL_LIMIT) {
        Ok(bytes) => bytes,
        Err(error) => {
            reading.error(
                line,
                format!("revoked: {shown} can't be read: {error}; `fanal certs` makes lists, or remove the key"),
            );
            return;
        }
    };
    let good = CertificateRevocationListDer::from_pem_slice(&bytes).is_ok_and(|list| {
        x509_parser::revocation_list::CertificateRevocationList::from_der(&list).is_ok()
    });
    if !good {
        reading.error(
            line,
            format!("revoked: {shown} holds no revocation list in PEM (BEGIN X509 CRL); make it with `fanal certs revoke`"),
        );
    }
}

fn certificates(
    path: &Path,
    line: u32,
    key: &str,
    reading: &mut Reading<'_>,
) -> Option<Vec<CertificateDer<'static>>> {
    let shown = path.display();
    let bytes = match reading.files.read(path, PEM_LIMIT) {
        Ok(bytes) => bytes,
        Err(error) => {
            reading.error(
                line,
                format!("{key}: {shown} can't be read: {error}; check the path and who may read it, or make it with `fanal certs`"),
            );
            return None;
        }
    };
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&bytes)
        .filter_map(Result::ok)
        .map(CertificateDer::into_owned)
        .collect();
    let good = !chain.is_empty() && chain.iter().all(|c| X509Certificate::from_der(c).is_ok());
    if !good {
        reading.error(
            line,
            format!(
                "{key}: {shown} holds no certificate in PEM (BEGIN CERTIFICATE); name the .pem file"
            ),
        );
    }
    good.then_some(chain)
}

/// A certificate and its key: readable, of each other, and of this id.
fn identity(
    certificate: &Path,
    key: &Path,
    own_id: Option<&str>,
    at: &Lines,
    reading: &mut Reading<'_>,
) {
    let chain = certificates(certificate, at.of("certificate"), "certificate", reading);
    let line = at.of("key");
    let shown = key.display();
    let bytes = match reading.files.read(key, PEM_LIMIT) {
        Ok(bytes) => zeroize::Zeroizing::new(bytes),
        Err(error) => {
            reading.error(
                line,
                format!("key: {shown} can't be read: {error}; check the path and who may read it"),
            );
            return;
        }
    };
    warn_if_loose(key, line, "key", reading);
    let Ok(private) = PrivateKeyDer::from_pem_slice(&bytes) else {
        reading.error(
            line,
            format!("key: {shown} holds no private key in PEM; name the .key file"),
        );
        return;
    };
    let Some(chain) = chain else { return };
    if let (Some(id), Some(leaf)) = (own_id, chain.first()) {
        check_name(leaf, id, certificate, at.of("certificate"), reading);
    }
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    if let Err(error) = rustls::sign::CertifiedKey::from_der(chain, private, &provider) {
        reading.error(
            line,
            format!(
                "key: {shown} does not fit {}: {error}; take both from the same `fanal certs` run",
                certificate.display()
            ),
        );
    }
}

fn check_name(
    leaf: &CertificateDer<'_>,
    id: &str,
    path: &Path,
    line: u32,
    reading: &mut Reading<'_>,
) {
    let Ok((_, certificate)) = X509Certificate::from_der(leaf) else {
        return;
    };
    let names: Vec<&str> = certificate
        .subject_alternative_name()
        .ok()
        .flatten()
        .map(|extension| {
            let names = extension.value.general_names.iter();
            names
                .filter_map(|name| match name {
                    GeneralName::DNSName(name) => Some(*name),
                    _ => None,
                })
                .collect()
        })
        .unwrap_or_default();
    if !names.contains(&id) {
        let shown: String = names.join(", ").chars().take(200).collect();
        reading.error(
            line,
            format!(
                "certificate: {} is for {shown:?}, not for {id:?}; make one with `fanal certs`, whose name is the id",
                path.display()
            ),
        );
    }
}

/// Warns of a secret that others may read.
pub(super) fn warn_if_loose(path: &Path, line: u32, key: &str, reading: &mut Reading<'_>) {
    if let Some(mode) = reading
        .files
        .mode(path)
        .filter(|mode| mode & LOOSE_MODE != 0)
    {
        let shown = path.display();
        reading.warn(
            line,
            format!("{key}: {shown} has mode {mode:04o}; close it to others with chmod 640"),
        );
    }
}
