//! TLS to other sites than the own peers: witnesses, notices, copies.

use std::path::Path;
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};

/// Trusts the authorities of this file (PEM), or those of this machine's system. Reads files.
///
/// # Errors
/// There is no authority, or the file can't be read.
pub fn client(authority: Option<&Path>, protocols: &[&str]) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    let certificates = match authority {
        Some(file) => super::certificates(file).map_err(|error| error.to_string())?,
        None => rustls_native_certs::load_native_certs().certs,
    };
    // Some of a system's may be of a kind that rustls does not know.
    roots.add_parsable_certificates(certificates);
    client_trusting(roots, protocols)
}

/// Trusts these authorities alone.
///
/// # Errors
/// There is none.
pub fn client_trusting(roots: RootCertStore, protocols: &[&str]) -> Result<ClientConfig, String> {
    if roots.is_empty() {
        return Err("this machine has no certificate authorities; install the system's (ca-certificates), or set authority where there is such a key".to_owned());
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let versions = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let mut config = versions.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = protocols
        .iter()
        .map(|one| one.as_bytes().to_vec())
        .collect();
    Ok(config)
}
