//! Certificates, keys and revocation lists that the settings name: there, of
//! their kind, and fitting each other. Their users read them again.

use std::path::{Path, PathBuf};

use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::problem::{Lines, Reading};
use super::raw;
use super::settings::{ServerTls, Tls};
use crate::format::ids::Sha256;
use crate::format::pem;
use crate::format::trust::{Anchors, dns_names};

/// Largest file of certificates or of a key.
pub(super) const PEM_LIMIT: u64 = 256 * 1024;
/// Largest revocation list.
pub const CRL_LIMIT: u64 = 4 * 1024 * 1024;
/// Others may read, or the group may write.
const LOOSE_MODE: u32 = 0o027;

/// A certificate, key and authority as written, of `[tls]` or an override.
pub(super) struct RawTls<'r> {
    pub(super) certificate: Option<&'r String>,
    pub(super) key: Option<&'r String>,
    pub(super) authority: Option<&'r String>,
    /// Already found.
    pub(super) revoked: Option<PathBuf>,
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
        check_crl(revoked, authority.iter(), at.of("revoked"), reading);
    }
    let tls = Tls {
        certificate: certificate?,
        key: key?,
        authority: authority?,
        revoked: revoked.into_iter().collect(),
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
    }
    // Its lists may also be in the file that [tls] names.
    tls.revoked.extend(raw.revoked.clone());
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

/// Checks an authority's certificates and gives the hash of the first one's bytes.
pub(super) fn authority_hash(
    path: &Path,
    line: u32,
    key: &str,
    reading: &mut Reading<'_>,
) -> Option<Sha256> {
    let chain = certificates(path, line, key, reading)?;
    let first = chain.first()?;
    match X509Certificate::from_der(first) {
        Ok((_, certificate)) if certificate.is_ca() => {}
        Ok(_) => {
            let path = path.display();
            reading.error(
                line,
                format!("{key}: {path} is not the certificate of an authority (no CA:TRUE); name link-ca.pem or designation-ca.pem"),
            );
            return None;
        }
        Err(_) => return None,
    }
    let text: String = chain
        .iter()
        .map(|one| pem::encode("CERTIFICATE", one))
        .collect();
    if let Err(cause) = Anchors::from_pem(&text, &[]) {
        let path = path.display();
        reading.error(
            line,
            format!("{key}: {path}: {cause}; make one with `fanal certs init`"),
        );
    }
    Some(Sha256::of(first))
}

/// Checks a file of revocation lists: readable, and one of them of one of these authorities.
pub(super) fn check_crl<'a>(
    path: &Path,
    authorities: impl Iterator<Item = &'a PathBuf>,
    line: u32,
    reading: &mut Reading<'_>,
) {
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
    let good = pem::lists(&bytes).is_ok_and(|lists| {
        let mut lists = lists.iter().peekable();
        lists.peek().is_some()
            && lists.all(|list| {
                x509_parser::revocation_list::CertificateRevocationList::from_der(list).is_ok()
            })
    });
    if !good {
        reading.error(
            line,
            format!("revoked: {shown} holds no revocation list in PEM (BEGIN X509 CRL); make it with `fanal certs revoke`"),
        );
        return;
    }
    let lists = String::from_utf8_lossy(&bytes);
    let mut unused = Vec::new();
    let mut is_used = false;
    for authority in authorities {
        // An authority that can't be used has its own error.
        let Ok(certificates) = reading.files.read(authority, PEM_LIMIT) else {
            return;
        };
        let certificates = String::from_utf8_lossy(&certificates);
        let Ok(mut anchors) = Anchors::from_pem(&certificates, &[]) else {
            return;
        };
        match anchors.update_own(&lists) {
            Ok(0) => unused.push(authority.display().to_string()),
            Ok(_) => is_used = true,
            Err(cause) => return reading.error(line, format!("revoked: {shown}: {cause}")),
        }
    }
    if !is_used && !unused.is_empty() {
        let authorities = unused.join(" or ");
        reading.error(
            line,
            format!(
                "revoked: {shown}: none of its lists is signed by {authorities}; give that authority's newest list"
            ),
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
    let chain = pem::certificates(&bytes).unwrap_or_default();
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
    let Ok(private) = pem::private_key(&bytes) else {
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
    let names = dns_names(leaf);
    if !names.iter().any(|name| name == id) {
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
