//! What the gate judges by, read from the files that the settings name.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::settings::{self, Tls};
use crate::format::designation::{Authority, LinkAuthority, RevocationList};
use crate::format::ids::Sha256;
use crate::format::jws::Signer;
use crate::policy::gate::Rulebook;
use crate::policy::peer::identity::Identity;

/// Largest certificate, key or list that is read.
const FILE_LIMIT: u64 = 16 * 1024 * 1024;
/// Most kept revocation lists: one for each designation authority ever known.
const KEPT_LIMIT: usize = 64;

/// A file that is needed and can't be used.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {cause}")]
pub struct Error {
    path: PathBuf,
    cause: String,
}

impl Error {
    fn new(path: &Path, cause: impl std::fmt::Display) -> Self {
        Self {
            path: path.to_owned(),
            cause: cause.to_string(),
        }
    }
}

/// The signer of this identity.
pub(super) fn signer(tls: &Tls) -> Result<Arc<Signer>, Error> {
    let key = read(&tls.key)?;
    let chain = read(&tls.certificate)?;
    Signer::from_pem(&key, &chain)
        .map(Arc::new)
        .map_err(|cause| {
            Error::new(
                &tls.key,
                format!("with {}: {cause}", tls.certificate.display()),
            )
        })
}

/// Reads everything. Blocks: for the start and for a thread that may.
pub(super) fn read_all(settings: &Arc<settings::Gateway>) -> Result<Rulebook, Error> {
    let directory = kept_directory(&settings.state_dir);
    let kept = kept(&directory)?;
    let mut authorities = Vec::new();
    for agreement in &settings.agreements {
        let file = &agreement.designation_authority;
        let pem = read(file)?;
        let list = agreement
            .revoked
            .as_ref()
            .map(|path| read(path))
            .transpose()?;
        let lists: Vec<&str> = list.as_deref().into_iter().collect();
        let mut authority =
            Authority::from_pem(&pem, &lists).map_err(|cause| Error::new(file, cause))?;
        for list in &kept {
            // Most are of other authorities; a higher number wins.
            let _ = authority.update(list);
        }
        for list in authority.lists() {
            keep_in(&directory, list)?;
        }
        authorities.push(authority);
    }
    let own = signer(&settings.tls)?;
    let mut centres = BTreeMap::new();
    for agreement in &settings.agreements {
        if centres.contains_key(&agreement.centre) {
            continue;
        }
        let tls = &agreement.tls;
        let own_identity =
            tls.key != settings.tls.key || tls.certificate != settings.tls.certificate;
        let signer = if own_identity {
            signer(tls)?
        } else {
            Arc::clone(&own)
        };
        let pem = read(&tls.authority)?;
        // No list: it would refuse all that a revoked key ever signed, also
        // before. Whoever is revoked now has no link.
        let authority = LinkAuthority::from_pem(&pem, &[])
            .map_err(|cause| Error::new(&tls.authority, cause))?;
        let centre = Identity {
            authority,
            signer,
            own_identity,
        };
        centres.insert(agreement.centre.clone(), centre);
    }
    Ok(Rulebook {
        settings: Arc::clone(settings),
        authorities,
        centres,
    })
}

/// Keeps a list across restarts: an older one, from a file or a centre, must not
/// lift a revocation.
pub(super) fn keep(state_dir: &Path, list: &RevocationList) -> Result<(), Error> {
    keep_in(&kept_directory(state_dir), list)
}

fn kept_directory(state_dir: &Path) -> PathBuf {
    state_dir.join("revocation")
}

fn keep_in(directory: &Path, list: &RevocationList) -> Result<(), Error> {
    let name = Sha256::of(list.authority.as_bytes()).to_string();
    let path = directory.join(format!("{}.crl.pem", &name[..16]));
    if std::fs::read(&path).is_ok_and(|held| held == list.pem.as_bytes()) {
        return Ok(());
    }
    write(directory, &path, list.pem.as_bytes()).map_err(|cause| Error::new(&path, cause))
}

/// Written whole or not at all.
fn write(directory: &Path, path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    std::fs::create_dir_all(directory)?;
    let fresh = path.with_extension("new");
    let mut file = File::create(&fresh)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&fresh, path)?;
    File::open(directory)?.sync_all()
}

fn kept(directory: &Path) -> Result<Vec<String>, Error> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::new(directory, error)),
    };
    let mut lists = Vec::new();
    for entry in entries.take(KEPT_LIMIT) {
        let path = entry.map_err(|cause| Error::new(directory, cause))?.path();
        if path.extension().is_some_and(|extension| extension == "pem") {
            lists.push(read(&path)?);
        }
    }
    Ok(lists)
}

/// Reads a PEM file.
pub(super) fn read(path: &Path) -> Result<String, Error> {
    let file = File::open(path).map_err(|cause| Error::new(path, cause))?;
    let mut text = String::new();
    file.take(FILE_LIMIT + 1)
        .read_to_string(&mut text)
        .map_err(|cause| Error::new(path, cause))?;
    if text.len() as u64 > FILE_LIMIT {
        return Err(Error::new(path, format!("larger than {FILE_LIMIT} bytes")));
    }
    Ok(text)
}
