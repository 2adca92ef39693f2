//! Who signs: the key and the certificate of two files, and the certificate that takes its place.

use std::path::Path;
use std::sync::{Arc, PoisonError};

use anyhow::{Context, bail};
use rustls::pki_types::CertificateDer;

use super::{Client, read};
use crate::commands::Usage;
use crate::format::designation;
use crate::format::jws::Signer;
use crate::secret::Secret;

impl Client {
    /// The chain of the signer's certificates, leaf first.
    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        self.signer().chain().to_vec()
    }

    pub(super) fn signer(&self) -> Arc<Signer> {
        Arc::clone(&self.signer.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes the certificate that the file has now, where it is a later designation of the same person
    /// and unit; whether it did. Blocking: reads both files.
    ///
    /// # Errors
    /// A file can't be read, or is another person's; what was read before goes on.
    pub fn renew(&self) -> anyhow::Result<bool> {
        let signer = signer_of(&self.files.0, &self.files.1)?;
        let read = |signer: &Signer| {
            let leaf = signer
                .chain()
                .first()
                .context("--cert holds no certificate")?;
            designation::read(leaf).map_err(|cause| anyhow::anyhow!("--cert: {cause}"))
        };
        let (before, after) = (read(&self.signer())?, read(&signer)?);
        if after.not_after <= before.not_after {
            return Ok(false);
        }
        let (was, is) = (&before.operator, &after.operator);
        if (&was.number, &was.unit) != (&is.number, &is.unit) {
            bail!(
                "--cert is {} ({}) now: start fanal console again for another person",
                is.name,
                is.number
            );
        }
        *self.signer.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(signer);
        Ok(true)
    }
}

pub(super) fn signer_of(key: &Path, cert: &Path) -> anyhow::Result<Signer> {
    let secret = Secret::new(read(key).context("--key")?);
    let certificate = read(cert).context("--cert")?;
    let signer = Signer::from_pem(secret.expose(), &certificate);
    signer.map_err(|cause| {
        let (key, cert) = (key.display(), cert.display());
        Usage(format!("--key {key} with --cert {cert}: {cause}")).into()
    })
}
