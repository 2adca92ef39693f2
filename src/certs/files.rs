//! A directory of certificates, keys and lists, as `fanal certs` keeps it.
//!
//! | file | holds |
//! |---|---|
//! | `KIND-ca.pem` | an authority (`link`, `designation`, `page`, `console`); during a roll-over also the one before, behind it |
//! | `KIND-ca.key` | its key; `KIND-ca.old-SERIAL.key` that of the one before |
//! | `KIND.crl.pem` | the revocation list of each |
//! | `ID.pem`, `ID.key` | a gateway or receiver |
//! | `NUMBER.pem`, `NUMBER.key` | an operator or agent (no key where the request was his) |
//! | `NAME.pem`, `NAME.key` | a server: console, RTSPS, page |
//! | `ID.tar` | what one of them takes away |
//!
//! Keys have mode 0600. Nothing is overwritten unless asked for, and then the
//! old certificate stays under another name, so that it can still be revoked.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::authority::{self, Authority, Kind, Subject};
use super::bundle::{self, Entry};
use super::{Error, Validity};
use crate::clock::Wall;
use crate::durable;
use crate::format::ids::CommuneId;
use crate::format::pem;
use crate::secret::Secret;

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
/// Of a key where it is used: its owner is root, its group the daemon's.
const KEY_THERE: u32 = 0o640;

/// A directory of certificates.
#[derive(Clone, Debug)]
pub struct Directory(PathBuf);

/// A certificate to be made.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// For whom.
    pub subject: Subject,
    /// How long it is valid.
    pub lasting: Duration,
    /// A request (PKCS #10, PEM) for whose key it is; none: a new key is made.
    pub request: Option<String>,
    /// Whether it takes the place of what is there.
    pub replace: bool,
}

/// What was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// The files.
    pub files: Vec<PathBuf>,
    /// The authority that ends before the certificate was to, and when: both end then.
    pub cut_short: Option<(Kind, Wall)>,
}

/// A file that ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// Which.
    pub path: PathBuf,
    /// Whose, for people.
    pub whose: String,
    /// When.
    pub until: Wall,
}

impl Directory {
    /// The directory at this path; it need not exist yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Makes the authorities, the link's and the designations' or only one, and their first, empty
    /// lists, which are current for `lists_for`, and the directory if it is not there. Gives the
    /// files it wrote.
    ///
    /// With `replace` the one that is there stays in the file behind the new one, so that machines
    /// and people go over one by one: see [`Directory::retire`].
    ///
    /// # Errors
    /// An authority is there already and is not to be replaced; the disk's.
    pub fn init(
        &self,
        only: Option<Kind>,
        replace: bool,
        lists_for: Duration,
        now: Wall,
    ) -> Result<Vec<PathBuf>, Error> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.0)
            .map_err(failed(&self.0))?;
        let usual = [Kind::Link, Kind::Designation];
        let kinds = only.map_or_else(|| usual.to_vec(), |only| vec![only]);
        if !replace {
            let paths = kinds.iter().flat_map(|kind| self.authority_files(*kind));
            refuse_existing(paths)?;
        }
        let mut written = Vec::new();
        for kind in kinds {
            let (mut all, _lock) = if replace {
                let (all, lock) = self.generations(kind)?;
                (all, Some(lock))
            } else {
                (Vec::new(), None)
            };
            let [certificate, key, list_file] = self.authority_files(kind);
            if let Some(old) = all.first() {
                let kept = self.old_key(kind, old)?;
                std::fs::rename(&key, &kept).map_err(failed(&kept))?;
            }
            let validity = Validity::lasting(before(now, CLOCKS), AUTHORITY_LIFE);
            all.insert(0, Authority::make(kind, validity)?);
            write_new(&key, all[0].key().expose(), PRIVATE)?;
            self.put_authorities(kind, &all)?;
            self.put_lists(kind, &mut all, lists_for, now)?;
            written.extend([certificate, key, list_file]);
        }
        Ok(written)
    }

    /// Ends a roll-over: authorities before the newest leave the file, with their lists and keys.
    /// Gives the files that must go to every machine.
    ///
    /// # Errors
    /// There is no such authority; the disk's.
    pub fn retire(
        &self,
        kind: Kind,
        lists_for: Duration,
        now: Wall,
    ) -> Result<Vec<PathBuf>, Error> {
        let (mut all, _lock) = self.generations(kind)?;
        let old = all.split_off(1);
        self.put_authorities(kind, &all)?;
        self.put_lists(kind, &mut all, lists_for, now)?;
        for authority in &old {
            let key = self.old_key(kind, authority)?;
            std::fs::remove_file(&key).map_err(failed(&key))?;
        }
        let [certificate, _, list] = self.authority_files(kind);
        Ok(vec![certificate, list])
    }

    /// Makes a certificate and key, or with a request (PKCS #10, PEM) a certificate for the key
    /// of that. One that would outlive its authority ends with it. A server's authority is made
    /// with its first certificate.
    ///
    /// # Errors
    /// A name has no agreed form, a file is there already, the request can't be used.
    pub fn issue(&self, wanted: &Wanted, now: Wall) -> Result<Made, Error> {
        let Wanted {
            subject,
            lasting,
            request,
            replace,
        } = wanted;
        subject.check()?;
        let [certificate, key] = self.identity_files(subject.file_name());
        if !replace {
            refuse_existing([certificate.clone(), key.clone()])?;
        }
        let kind = subject.kind();
        let mut files = Vec::new();
        if kind == Kind::Console && !self.authority_files(kind)[1].exists() {
            files = self.init(Some(kind), false, authority::LIST_LIFE, now)?;
        }
        let (all, _lock) = self.generations(kind)?;
        let authority = &all[0];
        let mut validity = match kind {
            // The whole length is what was asked for: agreements limit it.
            Kind::Designation => {
                let from = before(now, DESIGNATION_BEFORE.min(*lasting / 100));
                Validity::lasting(from, *lasting)
            }
            Kind::Link | Kind::Page | Kind::Console => Validity {
                from: before(now, CLOCKS),
                until: now.plus(*lasting),
            },
        };
        let end = authority.ends().filter(|end| *end < validity.until);
        validity.until = end.unwrap_or(validity.until);
        let issued = authority.issue(subject, validity, request.as_deref())?;
        self.put(&certificate, &issued.certificate)?;
        files.push(certificate);
        if let Some(secret) = &issued.key {
            write_over(&key, secret.expose(), PRIVATE)?;
            files.push(key);
        }
        Ok(Made {
            files,
            cut_short: end.map(|end| (kind, end)),
        })
    }

    /// Makes a key and a request (PKCS #10) for it, where the key is to stay.
    ///
    /// # Errors
    /// A file of that name is there; the disk's.
    pub fn request(&self, name: &str) -> Result<Vec<PathBuf>, Error> {
        authority::check_number(name)?;
        refuse_reserved("name", name)?;
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.0)
            .map_err(failed(&self.0))?;
        let [_, key] = self.identity_files(name);
        let file = self.0.join(format!("{name}.csr"));
        refuse_existing([key.clone(), file.clone()])?;
        let (secret, request) = authority::request()?;
        write_new(&key, secret.expose(), PRIVATE)?;
        write_new(&file, &request, PUBLIC)?;
        Ok(vec![key, file])
    }

    /// Writes what one machine or person needs and nothing else, as a tar: its certificate and key,
    /// and of a machine the link authority with its list, and the designation authority's where
    /// they are here or in `with`; of a person the authority of the console, where it is there.
    /// Never an authority's key.
    ///
    /// # Errors
    /// There is no such certificate, or no authority here signed it.
    pub fn bundle(&self, id: &str, with: &[PathBuf], now: Wall) -> Result<PathBuf, Error> {
        refuse_reserved("name", id)?;
        let [certificate, key] = self.identity_files(id);
        let own = read(&certificate, "; make it first")?;
        let kind = self.kind_of(&own)?.ok_or(Error::Foreign)?;
        let mut entries = vec![entry(id, "pem", PUBLIC, own)];
        if key.exists() {
            entries.push(entry(id, "key", KEY_THERE, read(&key, "")?));
        }
        let needed: &[&str] = match kind {
            Kind::Link => &["link-ca", "link.crl", "designation-ca", "designation.crl"],
            Kind::Designation | Kind::Page => &["console-ca"],
            Kind::Console => &[],
        };
        for name in needed {
            let file = format!("{name}.pem");
            let places = std::iter::once(&self.0).chain(with);
            let there = places
                .map(|place| place.join(&file))
                .find(|path| path.exists());
            if let Some(path) = there {
                entries.push(entry(name, "pem", PUBLIC, read(&path, "")?));
            }
        }
        let path = self.0.join(format!("{id}.tar"));
        write_over(&path, bundle::tar(&entries, now.seconds()), PRIVATE)?;
        Ok(path)
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
        for kind in self.kinds() {
            let (mut all, _lock) = self.generations(kind)?;
            for authority in &mut all {
                if authority.issued(&certificate)? {
                    authority.revoke(&certificate, now)?;
                    return self.put_lists(kind, &mut all, lists_for, now);
                }
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
        let kinds = only.map_or_else(|| self.kinds().collect(), |only| vec![only]);
        let mut written = Vec::new();
        for kind in kinds {
            let (mut all, _lock) = self.generations(kind)?;
            written.push(self.put_lists(kind, &mut all, lists_for, now)?);
        }
        Ok(written)
    }

    /// What is here and ends, soonest first: file, whose, when. Certificates that were replaced
    /// are left out.
    ///
    /// # Errors
    /// The directory can't be read.
    pub fn ends(&self) -> Result<Vec<End>, Error> {
        let mut ends = Vec::new();
        for file in std::fs::read_dir(&self.0).map_err(failed(&self.0))? {
            let path = file.map_err(failed(&self.0))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if !name.ends_with(".pem") || name.contains(".replaced-") {
                continue;
            }
            let text = read(&path, "")?;
            let (whose, until) = if name.ends_with(".crl.pem") {
                let lists = authority::lists_end(&text);
                ("its next list".to_owned(), lists)
            } else {
                // Other tools' files are none of ours.
                authority::described(&text).unwrap_or_default()
            };
            if let Some(until) = until {
                ends.push(End { path, whose, until });
            }
        }
        ends.sort_by(|a, b| (a.until, &a.path).cmp(&(b.until, &b.path)));
        Ok(ends)
    }

    /// The authorities whose keys are here.
    fn kinds(&self) -> impl Iterator<Item = Kind> + '_ {
        let is_here = |kind: &Kind| self.authority_files(*kind)[1].exists();
        Kind::ALL.into_iter().filter(is_here)
    }

    /// Which authority here signed this certificate (PEM).
    fn kind_of(&self, certificate: &str) -> Result<Option<Kind>, Error> {
        for kind in self.kinds() {
            let (all, _lock) = self.generations(kind)?;
            for authority in all {
                if authority.issued(certificate)? {
                    return Ok(Some(kind));
                }
            }
        }
        Ok(None)
    }

    /// Writes the file of these authorities, the newest first.
    fn put_authorities(&self, kind: Kind, all: &[Authority]) -> Result<(), Error> {
        let [certificate, ..] = self.authority_files(kind);
        let texts: String = all.iter().map(Authority::certificate).collect();
        write_over(&certificate, texts, PUBLIC)
    }

    /// Signs the lists of these authorities and writes their file.
    fn put_lists(
        &self,
        kind: Kind,
        all: &mut [Authority],
        lists_for: Duration,
        now: Wall,
    ) -> Result<PathBuf, Error> {
        let [_, _, path] = self.authority_files(kind);
        let lists = all
            .iter_mut()
            .map(|authority| authority.list_until(now, now.plus(lists_for)));
        let lists: String = lists.collect::<Result<_, Error>>()?;
        write_over(&path, lists, PUBLIC)?;
        Ok(path)
    }

    fn old_key(&self, kind: Kind, authority: &Authority) -> Result<PathBuf, Error> {
        let serial = authority::serial(authority.certificate())?;
        let name = format!("{}-ca.old-{serial}.key", kind.as_str());
        Ok(self.0.join(name))
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

    /// Reads an authority and those before it, the newest first. The lock on the directory keeps a
    /// second command from signing a list beside this one, whose revocations would be lost.
    fn generations(&self, kind: Kind) -> Result<(Vec<Authority>, File), Error> {
        let [certificate, key, list] = self.authority_files(kind);
        let absent =
            "; make the authorities with `fanal certs init`, or run this where the key is kept";
        if !key.exists() {
            return Err(failed_with(&key, absent)(ErrorKind::NotFound.into()));
        }
        let lock = File::open(&self.0).map_err(failed(&self.0))?;
        lock.lock().map_err(failed(&self.0))?;
        let text = read(&certificate, absent)?;
        let lists = read(
            &list,
            "; bring the list back: without it earlier revocations would be forgotten",
        )?;
        let unreadable = |cause: &dyn std::fmt::Display| Error::Unreadable {
            what: "the authority's certificate",
            cause: cause.to_string(),
        };
        let certificates =
            pem::certificates(text.as_bytes()).map_err(|error| unreadable(&error))?;
        let mut all: Vec<Authority> = Vec::new();
        for der in certificates {
            let certificate = pem::encode("CERTIFICATE", &der);
            let key = if all.is_empty() {
                key.clone()
            } else {
                let serial = authority::serial(&certificate)?;
                self.0
                    .join(format!("{}-ca.old-{serial}.key", kind.as_str()))
            };
            let key = read(&key, absent)?;
            all.push(Authority::from_pem(kind, &certificate, &key, &lists)?);
        }
        if all.is_empty() {
            return Err(unreadable(&"no certificate in it"));
        }
        Ok((all, lock))
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

impl Subject {
    /// Whether its names have the agreed form, and are safe as those of files.
    ///
    /// # Errors
    /// [`Error::Name`] says which has not.
    pub fn check(&self) -> Result<(), Error> {
        let subject = self;
        match subject {
            // The ids of communes and centres; the name is a DNS name too.
            Subject::Machine(id) => {
                if CommuneId::new(id).is_err() || id.ends_with('-') {
                    return Err(Error::Name {
                        what: "id",
                        value: id.chars().take(80).collect(),
                        wrong: "must match [a-z0-9][a-z0-9-]{0,62} and not end in a hyphen",
                    });
                }
                refuse_reserved("id", id)
            }
            Subject::Operator(person) | Subject::Agent(person) => {
                person.check()?;
                refuse_reserved("service number", &person.number)
            }
            Subject::Server(names) => {
                for name in names {
                    authority::check_server_name(name)?;
                }
                refuse_reserved("name", subject.file_name())
            }
        }
    }
}

fn refuse_reserved(what: &'static str, name: &str) -> Result<(), Error> {
    let lower = name.to_ascii_lowercase();
    if Kind::ALL.iter().any(|kind| {
        let kind = kind.as_str();
        lower.starts_with(&format!("{kind}-ca")) || lower == format!("{kind}.crl")
    }) || name.contains('/')
    {
        return Err(Error::Name {
            what,
            value: name.to_owned(),
            wrong: "is the name of an authority's file",
        });
    }
    Ok(())
}

fn entry(name: &str, end: &str, mode: u32, text: String) -> Entry {
    Entry {
        name: format!("{name}.{end}"),
        mode,
        text: Secret::new(text),
    }
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
fn write_new(path: &Path, content: impl AsRef<[u8]>, mode: u32) -> Result<(), Error> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .map_err(|cause| match cause.kind() {
            ErrorKind::AlreadyExists => Error::Exists(path.to_owned()),
            _ => failed(path)(cause),
        })?;
    file.write_all(content.as_ref())
        .and_then(|()| file.sync_all())
        .map_err(failed(path))
}

/// Writes a file beside and puts it in place in one step, so that a reader never
/// sees half a list.
fn write_over(path: &Path, content: impl AsRef<[u8]>, mode: u32) -> Result<(), Error> {
    durable::replace(path, content.as_ref(), mode).map_err(failed(path))
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
