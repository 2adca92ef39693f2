//! A directory of certificates, keys and lists, as `fanal certs` keeps it.
//!
//! | file | holds |
//! |---|---|
//! | `link-ca.pem`, `link-ca.key` | the link authority |
//! | `designation-ca.pem`, `designation-ca.key` | the designation authority |
//! | `link.crl.pem`, `designation.crl.pem` | their revocation lists |
//! | `ID.pem`, `ID.key` | a gateway or receiver |
//! | `NUMBER.pem`, `NUMBER.key` | an operator (no key where the request was his) |
//!
//! Keys have mode 0600. Nothing is overwritten unless asked for, and then the
//! old certificate stays under another name, so that it can still be revoked.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::authority::{self, Authority, Kind, Person};
use super::{Error, Identity, Validity};
use crate::clock::Wall;
use crate::format::ids::CommuneId;

/// How long an authority is valid.
pub const AUTHORITY_LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// How long a machine's certificate is valid where nothing else is asked for.
pub const MACHINE_LIFE: Duration = Duration::from_secs(365 * 24 * 3600);

/// Largest file that is read: lists grow, certificates and keys are small.
const FILE_LIMIT: u64 = 4 * 1024 * 1024;
/// How long before it is made a certificate is valid, for clocks that differ.
const CLOCKS: Duration = Duration::from_secs(3600);
/// The same for a designation at most; a hundredth of its life if that is less.
const DESIGNATION_BEFORE: Duration = Duration::from_secs(60);

const PUBLIC: u32 = 0o644;
const PRIVATE: u32 = 0o600;

/// A directory of certificates.
#[derive(Clone, Debug)]
pub struct Directory(PathBuf);

impl Directory {
    /// The directory at this path; it need not exist yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Makes the authorities (or only one of them) and their first, empty lists,
    /// which are current for `lists_for`, and the directory if it is not there. Gives the files
    /// it wrote.
    pub fn init(
        &self,
        only: Option<Kind>,
        lists_for: Duration,
        now: Wall,
    ) -> Result<Vec<PathBuf>, Error> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.0)
            .map_err(failed(&self.0))?;
        let kinds = Kind::ALL
            .into_iter()
            .filter(|kind| only.is_none_or(|only| only == *kind));
        let kinds: Vec<Kind> = kinds.collect();
        let paths = kinds.iter().flat_map(|kind| self.authority_files(*kind));
        refuse_existing(paths)?;
        let mut written = Vec::new();
        for kind in kinds {
            let mut authority =
                Authority::make(kind, Validity::lasting(before(now, CLOCKS), AUTHORITY_LIFE))?;
            let list = authority.list_until(now, now.plus(lists_for))?;
            let [certificate, key, list_file] = self.authority_files(kind);
            write_new(&key, authority.key().expose(), PRIVATE)?;
            write_new(&certificate, authority.certificate(), PUBLIC)?;
            write_new(&list_file, &list, PUBLIC)?;
            written.extend([certificate, key, list_file]);
        }
        Ok(written)
    }

    /// Makes a gateway's or receiver's certificate and key.
    pub fn machine(
        &self,
        id: &str,
        lasting: Duration,
        replace: bool,
        now: Wall,
    ) -> Result<Vec<PathBuf>, Error> {
        check_machine_id(id)?;
        let [certificate, key] = self.identity_files(id);
        if !replace {
            refuse_existing([certificate.clone(), key.clone()])?;
        }
        let (authority, _lock) = self.authority(Kind::Link)?;
        let validity = Validity {
            from: before(now, CLOCKS),
            until: now.plus(lasting),
        };
        let Identity {
            certificate: pem,
            key: secret,
        } = authority.machine(id, validity)?;
        self.put(&certificate, &pem)?;
        write_over(&key, secret.expose(), PRIVATE)?;
        Ok(vec![certificate, key])
    }

    /// Makes an operator's designation; with `request` (PKCS #10, PEM) for the
    /// key of that request, and then without a key of its own.
    pub fn operator(
        &self,
        person: &Person,
        lasting: Duration,
        request: Option<&str>,
        replace: bool,
        now: Wall,
    ) -> Result<Vec<PathBuf>, Error> {
        authority::check_number(&person.number)?;
        refuse_reserved("service number", &person.number)?;
        let [certificate, key] = self.identity_files(&person.number);
        if !replace {
            refuse_existing([certificate.clone(), key.clone()])?;
        }
        let (authority, _lock) = self.authority(Kind::Designation)?;
        // The whole length is what was asked for: agreements limit it.
        let from = before(now, DESIGNATION_BEFORE.min(lasting / 100));
        let validity = Validity::lasting(from, lasting);
        match request {
            Some(request) => {
                let pem = authority.operator_from_request(person, validity, request)?;
                self.put(&certificate, &pem)?;
                Ok(vec![certificate])
            }
            None => {
                let identity = authority.operator(person, validity)?;
                self.put(&certificate, &identity.certificate)?;
                write_over(&key, identity.key.expose(), PRIVATE)?;
                Ok(vec![certificate, key])
            }
        }
    }

    /// Revokes the certificate in this file and signs the authority's list again.
    /// A bare file name is looked for in the directory too. Gives the list's path.
    pub fn revoke(&self, file: &Path, lists_for: Duration, now: Wall) -> Result<PathBuf, Error> {
        let inside = self.0.join(file);
        let path = if file.exists() || !inside.exists() {
            file
        } else {
            &inside
        };
        let certificate = read(path, "; give the certificate's file")?;
        for kind in Kind::ALL {
            let [_, key, list_file] = self.authority_files(kind);
            if !key.exists() {
                continue;
            }
            let (mut authority, _lock) = self.authority(kind)?;
            if authority.issued(&certificate)? {
                authority.revoke(&certificate, now)?;
                let list = authority.list_until(now, now.plus(lists_for))?;
                write_over(&list_file, &list, PUBLIC)?;
                return Ok(list_file);
            }
        }
        Err(Error::Foreign)
    }

    /// Signs the lists again, unchanged: before their `nextUpdate` has come.
    pub fn renew_lists(
        &self,
        only: Option<Kind>,
        lists_for: Duration,
        now: Wall,
    ) -> Result<Vec<PathBuf>, Error> {
        let mut written = Vec::new();
        for kind in Kind::ALL {
            let [_, key, list_file] = self.authority_files(kind);
            if only.is_some_and(|only| only != kind) || (only.is_none() && !key.exists()) {
                continue;
            }
            let (mut authority, _lock) = self.authority(kind)?;
            let list = authority.list_until(now, now.plus(lists_for))?;
            write_over(&list_file, &list, PUBLIC)?;
            written.push(list_file);
        }
        Ok(written)
    }

    /// Certificate, key and list of an authority.
    fn authority_files(&self, kind: Kind) -> [PathBuf; 3] {
        let kind = kind.as_str();
        [
            self.0.join(format!("{kind}-ca.pem")),
            self.0.join(format!("{kind}-ca.key")),
            self.0.join(format!("{kind}.crl.pem")),
        ]
    }

    fn identity_files(&self, name: &str) -> [PathBuf; 2] {
        [
            self.0.join(format!("{name}.pem")),
            self.0.join(format!("{name}.key")),
        ]
    }

    /// Reads an authority. The lock on its key keeps a second command from
    /// signing a list beside this one, whose revocations would be lost.
    fn authority(&self, kind: Kind) -> Result<(Authority, File), Error> {
        let [certificate, key, list] = self.authority_files(kind);
        let absent =
            "; make the authorities with `fanal certs init`, or run this where the key is kept";
        let lock = File::open(&key).map_err(failed_with(&key, absent))?;
        lock.lock().map_err(failed(&key))?;
        let authority = Authority::from_pem(
            kind,
            &read(&certificate, absent)?,
            &read(&key, absent)?,
            &read(
                &list,
                "; bring the list back: without it earlier revocations would be forgotten",
            )?,
        )?;
        Ok((authority, lock))
    }

    /// Writes a certificate; one that is there already is kept under another name.
    fn put(&self, path: &Path, pem: &str) -> Result<(), Error> {
        if path.exists() {
            let serial = authority::serial(&read(path, "")?)?;
            let kept = path.with_extension(format!("replaced-{serial}.pem"));
            std::fs::rename(path, &kept).map_err(failed(&kept))?;
        }
        write_over(path, pem, PUBLIC)
    }
}

/// The ids of communes and centres; the name is a DNS name too.
fn check_machine_id(id: &str) -> Result<(), Error> {
    if CommuneId::new(id).is_err() || id.ends_with('-') {
        return Err(Error::Name {
            what: "id",
            value: id.chars().take(80).collect(),
            wrong: "must match [a-z0-9][a-z0-9-]{0,62} and not end in a hyphen",
        });
    }
    refuse_reserved("id", id)
}

fn refuse_reserved(what: &'static str, name: &str) -> Result<(), Error> {
    let lower = name.to_ascii_lowercase();
    if Kind::ALL.iter().any(|kind| {
        lower == format!("{}-ca", kind.as_str()) || lower == format!("{}.crl", kind.as_str())
    }) {
        return Err(Error::Name {
            what,
            value: name.to_owned(),
            wrong: "is the name of an authority's file",
        });
    }
    Ok(())
}

fn before(now: Wall, duration: Duration) -> Wall {
    let micros = i64::try_from(duration.as_micros()).unwrap_or(0);
    Wall(now.0.saturating_sub(micros))
}

fn refuse_existing(paths: impl IntoIterator<Item = PathBuf>) -> Result<(), Error> {
    match paths
        .into_iter()
        .find(|path| path.symlink_metadata().is_ok())
    {
        Some(path) => Err(Error::Exists(path)),
        None => Ok(()),
    }
}

fn read(path: &Path, remedy: &'static str) -> Result<String, Error> {
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(FILE_LIMIT).read_to_string(&mut text))
        .map_err(failed_with(path, remedy))?;
    Ok(text)
}

/// Writes a file that must not be there, durably.
fn write_new(path: &Path, text: &str, mode: u32) -> Result<(), Error> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .map_err(|cause| match cause.kind() {
            ErrorKind::AlreadyExists => Error::Exists(path.to_owned()),
            _ => failed(path)(cause),
        })?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(failed(path))
}

/// Writes a file beside and puts it in place in one step, so that a reader never
/// sees half a list.
fn write_over(path: &Path, text: &str, mode: u32) -> Result<(), Error> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    match std::fs::remove_file(&beside) {
        Err(cause) if cause.kind() != ErrorKind::NotFound => return Err(failed(&beside)(cause)),
        _ => {}
    }
    write_new(&beside, text, mode)?;
    std::fs::rename(&beside, path).map_err(failed(path))
}

fn failed(path: &Path) -> impl Fn(std::io::Error) -> Error {
    failed_with(path, "")
}

fn failed_with(path: &Path, remedy: &'static str) -> impl Fn(std::io::Error) -> Error {
    let path = path.to_owned();
    move |cause| Error::File {
        path: path.clone(),
        cause,
        remedy,
    }
}

#[cfg(test)]
mod tests;
