//! Certificates, keys and revocation lists, read from the files that the settings name: the same for
//! both daemons, the link and the tools. Everything here blocks.
//!
//! A revocation list never goes back: [`Kept`] stores the newest one of each authority in
//! `state_dir/revocation`, one file named by the authority's key. An older list, from a file or a
//! centre, then lifts no revocation, also after a restart.

mod ends;
mod lists;
mod others;

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::config;
use crate::config::settings::Tls;
use crate::durable;
use crate::format::designation::LinkAuthority;
use crate::format::ids::Sha256;
use crate::format::jws::Signer;
use crate::format::pem;
use crate::format::trust::{self, Anchors, RevocationList};
use crate::policy::peer::identity::Identity;
use crate::secret::Secret;

pub use ends::{End, SOON, of_gateway as ends_of_gateway, of_receiver as ends_of_receiver};
pub use lists::{InForce, of_gateway, of_receiver};
pub use others::{client, client_trusting};

/// Largest file of certificates, of a key or of revocation lists, in bytes: what the settings'
/// check lets through.
pub const FILE_LIMIT: u64 = config::CRL_LIMIT;

/// Most kept lists that are looked at.
const KEPT_LIMIT: usize = 4096;

/// A file that is needed and can't be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {cause}", path.display())]
pub struct Error {
    /// Which file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub cause: String,
}

impl Error {
    /// Blames this file.
    pub fn new(path: &Path, cause: impl std::fmt::Display) -> Self {
        Self {
            path: path.to_owned(),
            cause: cause.to_string(),
        }
    }
}

/// A file's text.
///
/// # Errors
/// It can't be read, is no UTF-8, or is larger than [`FILE_LIMIT`].
pub fn text(path: &Path) -> Result<String, Error> {
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

/// The certificates of a PEM file, at least one.
///
/// # Errors
/// As [`text`], or it is not PEM or holds none.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let read = pem::certificates(text(path)?.as_bytes());
    let read = read.map_err(|cause| Error::new(path, cause))?;
    if read.is_empty() {
        return Err(Error::new(path, "no certificate in it"));
    }
    Ok(read)
}

/// The private key of a PEM file.
///
/// # Errors
/// As [`text`], or it is not PEM or holds none.
pub fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    let text = Secret::new(text(path)?);
    let read = pem::private_key(text.expose().as_bytes());
    read.map_err(|cause| Error::new(path, cause))
}

/// Who signs the statements and journal heads of the machine with this identity.
///
/// # Errors
/// Certificate or key can't be read, or they are not of each other.
pub fn signer(tls: &Tls) -> Result<Arc<Signer>, Error> {
    let key = Secret::new(text(&tls.key)?);
    let signer = Signer::from_pem(key.expose(), &text(&tls.certificate)?);
    signer.map(Arc::new).map_err(|cause| {
        let certificate = tls.certificate.display();
        Error::new(&tls.key, format!("with {certificate}: {cause}"))
    })
}

/// The peer with these settings; `own` are those of the machine, whose signer is `signer`.
///
/// # Errors
/// A file that can't be read or is not what it should be.
pub fn peer(tls: &Tls, own: &Tls, signer: &Arc<Signer>) -> Result<Identity, Error> {
    let own_identity = tls.key != own.key || tls.certificate != own.certificate;
    let signer = if own_identity {
        self::signer(tls)?
    } else {
        Arc::clone(signer)
    };
    // No list: it would refuse all that a revoked key ever signed, also
    // before. A revoked machine has no link.
    let authority = LinkAuthority::from_pem(&text(&tls.authority)?, &[])
        .map_err(|cause| Error::new(&tls.authority, cause))?;
    Ok(Identity {
        authority,
        signer,
        own_identity,
    })
}

/// Authorities with their newest lists: of `revoked`, which may hold lists of other authorities
/// beside theirs, and of those that were kept.
///
/// # Errors
/// A file that can't be read or written, or is not what it should be.
pub fn anchors<'a>(
    authority: &Path,
    revoked: impl IntoIterator<Item = &'a Path>,
    kept: &Kept,
) -> Result<Anchors, Error> {
    let mut anchors =
        Anchors::from_pem(&text(authority)?, &[]).map_err(|cause| Error::new(authority, cause))?;
    for revoked in revoked {
        anchors
            .update_own(&text(revoked)?)
            .map_err(|cause| Error::new(revoked, cause))?;
    }
    kept.apply(&mut anchors)?;
    Ok(anchors)
}

/// The newest revocation lists that this machine has seen, in `state_dir/revocation`.
#[derive(Clone, Debug)]
pub struct Kept {
    directory: PathBuf,
    writes: bool,
}

impl Kept {
    /// For a daemon, which alone uses the state directory.
    pub fn writing(state_dir: &Path) -> Self {
        Self {
            directory: state_dir.join("revocation"),
            writes: true,
        }
    }

    /// For a check, which leaves no trace.
    pub fn reading(state_dir: &Path) -> Self {
        Self {
            writes: false,
            ..Self::writing(state_dir)
        }
    }

    /// Gives the authorities the lists that were kept, where newer; keeps theirs, where newer.
    ///
    /// # Errors
    /// A kept list can't be read, is not what it should be, or can't be written.
    pub fn apply(&self, anchors: &mut Anchors) -> Result<(), Error> {
        let keys: Vec<Sha256> = anchors.keys().collect();
        for key in keys {
            let path = self.path(key);
            if let Some(list) = self.held(&path)? {
                let read = anchors.update(&list);
                read.map_err(|cause| Error::new(&path, cause))?;
            }
        }
        // Those of authorities below them, whose keys are in the lists' files alone.
        for path in self.others(anchors)? {
            if let Some(list) = self.held(&path)? {
                let read = anchors.update_own(&list);
                read.map_err(|cause| Error::new(&path, cause))?;
            }
        }
        anchors.lists().try_for_each(|list| self.keep(list))
    }

    /// Keeps this list unless one as new is kept already.
    ///
    /// # Errors
    /// The disk's.
    pub fn keep(&self, list: &RevocationList) -> Result<(), Error> {
        /// Two of one authority may come at once, from two threads.
        static WRITING: Mutex<()> = Mutex::new(());
        if !self.writes {
            return Ok(());
        }
        let _guard = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.path(list.key);
        let held = self.held(&path)?.and_then(|held| trust::list_number(&held));
        // Decimal: the longer is the higher.
        let order = |number: &str| (number.len(), number.to_owned());
        if held.is_some_and(|held| order(&held) >= order(&list.number)) {
            return Ok(());
        }
        write(&self.directory, &path, list.pem.as_bytes()).map_err(|cause| Error::new(&path, cause))
    }

    /// The lists that are kept and not of these authorities' own.
    fn others(&self, anchors: &Anchors) -> Result<Vec<PathBuf>, Error> {
        let own: Vec<PathBuf> = anchors.keys().map(|key| self.path(key)).collect();
        let failed = |cause| Error::new(&self.directory, cause);
        let entries = match std::fs::read_dir(&self.directory) {
            Ok(entries) => entries,
            Err(cause) if cause.kind() == ErrorKind::NotFound || !self.writes => {
                return Ok(Vec::new());
            }
            Err(cause) => return Err(failed(cause)),
        };
        let mut others = Vec::new();
        for entry in entries.take(KEPT_LIMIT) {
            let path = entry.map_err(failed)?.path();
            let is_list = path.to_string_lossy().ends_with(".crl.pem");
            if is_list && !own.contains(&path) {
                others.push(path);
            }
        }
        others.sort();
        Ok(others)
    }

    fn path(&self, key: Sha256) -> PathBuf {
        self.directory
            .join(format!("{}.crl.pem", &key.to_string()[..32]))
    }

    fn held(&self, path: &Path) -> Result<Option<String>, Error> {
        match path.try_exists() {
            Ok(true) => text(path).map(Some),
            Ok(false) => Ok(None),
            // A check may run as a user who must not look into the state directory.
            Err(_) if !self.writes => Ok(None),
            Err(cause) => Err(Error::new(path, cause)),
        }
    }
}

/// Written whole or not at all.
fn write(directory: &Path, path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    std::fs::create_dir_all(directory)?;
    durable::replace(path, bytes, 0o644)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certs::trial::Trial;
    use crate::clock::Wall;

    const NOW: Wall = Wall::from_seconds(1_763_864_381);

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let path = format!("fanal-pki-{name}-{}", std::process::id());
            let path = std::env::temp_dir().join(path);
            std::fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn write(&self, name: &str, text: &str) -> PathBuf {
            let path = self.0.join(name);
            std::fs::write(&path, text).unwrap();
            path
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn numbers(anchors: &Anchors) -> Vec<&str> {
        anchors.lists().map(|list| list.number.as_str()).collect()
    }

    fn numbers_of(read: Result<Anchors, Error>) -> Vec<String> {
        let read = read.unwrap();
        numbers(&read).into_iter().map(str::to_owned).collect()
    }

    #[test]
    fn the_highest_number_counts_and_is_kept_for_each_key() {
        let scratch = Scratch::new("numbers");
        // Numbers up to 10000, so that text and number order differ.
        let early = Wall::from_seconds(9_991);
        let (mut one, mut other) = (Trial::new(early).unwrap(), Trial::new(early).unwrap());
        let list = |trial: &mut Trial| trial.authorities().0.list(early).unwrap();
        let lists: Vec<String> = (0..9).map(|_| list(&mut one)).collect();
        let foreign = list(&mut other);
        let authority = scratch.write("ca.pem", one.link_authority());
        let both = format!("{}{}", one.link_authority(), other.link_authority());
        let both = scratch.write("both.pem", &both);
        let kept = Kept::writing(&scratch.0);
        let read = |authority: &Path, list: &str, kept: &Kept| {
            let list = scratch.write("list.pem", list);
            anchors(authority, Some(list.as_path()), kept).unwrap()
        };
        let ninth = format!("{foreign}{}", lists[7]);
        assert_eq!(numbers(&read(&authority, &ninth, &kept)), ["9999"]);
        assert_eq!(numbers(&read(&authority, &lists[8], &kept)), ["10000"]);
        // After a restart, also without any file.
        assert_eq!(numbers(&read(&authority, &lists[7], &kept)), ["10000"]);
        let without = numbers_of(anchors(&authority, None, &kept));
        assert_eq!(without, ["10000"]);
        // The other authority's list has its own place.
        let lists = format!("{}{foreign}", lists[0]);
        assert_eq!(numbers(&read(&both, &lists, &kept)), ["10000", "9992"]);
        let without = numbers_of(anchors(&both, None, &kept));
        assert_eq!(without, ["10000", "9992"]);
    }

    #[test]
    fn an_older_list_that_comes_late_is_not_kept() {
        let scratch = Scratch::new("late");
        let mut trial = Trial::new(NOW).unwrap();
        let authority = scratch.write("ca.pem", trial.designation_authority());
        let mut held = Anchors::from_pem(trial.designation_authority(), &[]).unwrap();
        let mut next = || {
            let list = trial.authorities().1.list(NOW).unwrap();
            held.update(&list).unwrap().unwrap()
        };
        let (older, newer) = (next(), next());
        let kept = Kept::writing(&scratch.0);
        for list in [&newer, &older] {
            kept.keep(list).unwrap();
        }
        let read = anchors(&authority, None, &kept).unwrap();
        assert_eq!(numbers(&read), [newer.number.as_str()]);
    }

    #[test]
    fn a_check_leaves_no_trace() {
        let scratch = Scratch::new("check");
        let trial = Trial::new(NOW).unwrap();
        let authority = scratch.write("ca.pem", trial.link_authority());
        let list = scratch.write("list.pem", trial.link_list());
        let kept = Kept::reading(&scratch.0);
        let read = anchors(&authority, Some(list.as_path()), &kept).unwrap();
        assert_eq!(numbers(&read), [NOW.seconds().to_string()]);
        assert!(!scratch.0.join("revocation").exists());
    }

    #[test]
    fn a_kept_list_that_was_changed_is_an_error() {
        let scratch = Scratch::new("changed");
        let trial = Trial::new(NOW).unwrap();
        let authority = scratch.write("ca.pem", trial.link_authority());
        let list = scratch.write("list.pem", trial.link_list());
        let kept = Kept::writing(&scratch.0);
        let key = anchors(&authority, Some(list.as_path()), &kept)
            .unwrap()
            .keys()
            .next();
        let path = kept.path(key.unwrap());
        std::fs::write(&path, trial.designation_list()).unwrap();
        let error = anchors(&authority, Some(list.as_path()), &kept).unwrap_err();
        assert_eq!(error.path, path);
        assert!(
            error.cause.contains("not signed by this authority"),
            "{error}"
        );
    }

    #[test]
    fn a_file_has_its_limit() {
        let scratch = Scratch::new("limit");
        let limit = usize::try_from(FILE_LIMIT).unwrap();
        let path = scratch.write("large.pem", &"x".repeat(limit));
        assert_eq!(text(&path).unwrap().len(), limit);
        scratch.write("large.pem", &"x".repeat(limit + 1));
        assert!(text(&path).unwrap_err().cause.contains("larger than"));
    }
}
