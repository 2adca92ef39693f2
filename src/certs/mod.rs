//! Certificates and revocation lists: what `fanal certs` makes, and the same in
//! memory for the demo and the tests.
//!
//! Two authorities, kept by two people: the *link* authority names machines
//! (a gateway, a receiver), the *designation* authority names operators. Anyone who
//! holds the first is every machine, anyone who holds the second every operator. Two more where
//! they are needed: the *page* authority names persons who sign in at the commune's page, the
//! *console* authority the servers that browsers and players meet.
//! Nothing else in fanal needs these: any tool may make certificates of the form
//! that interfaces.md 3 names. Keys are P-256.
//!
//! | file | holds |
//! |---|---|
//! | [`authority`] | an authority: issues, revokes, signs its list |
//! | [`files`] | a directory of them, as `fanal certs` keeps it |
//! | [`bundle`] | what one machine or person needs of it, as a tar |
//! | [`trial`] | both authorities in memory |

pub mod authority;
pub mod bundle;
pub mod files;
pub mod trial;

use std::path::PathBuf;
use std::time::Duration;

use crate::clock::Wall;
use crate::secret::Secret;

/// Why a certificate, key or list could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A name has no agreed form.
    #[error("{what} {value:?} {wrong}")]
    Name {
        /// Whose name.
        what: &'static str,
        /// As given.
        value: String,
        /// What is wrong with it, and the form.
        wrong: &'static str,
    },
    /// A certificate, key, list or request can't be read.
    #[error("{what} can't be read: {cause}")]
    Unreadable {
        /// What it should be.
        what: &'static str,
        /// Why.
        cause: String,
    },
    /// A certificate was not signed by this authority.
    #[error("the certificate was signed by no authority whose key is here")]
    Foreign,
    /// The validity ends before it begins.
    #[error("a validity must be at least a second and end before the year 2500")]
    Validity,
    /// The cryptography failed.
    #[error("{what} could not be signed: {cause}")]
    Signing {
        /// What.
        what: &'static str,
        /// Why.
        cause: String,
    },
    /// A file exists.
    #[error("{0} exists and is not overwritten; move it away, or give --replace")]
    Exists(PathBuf),
    /// A file can't be read or written.
    #[error("{path}: {cause}{remedy}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        cause: std::io::Error,
        /// What to do, with its leading separator; may be empty.
        remedy: &'static str,
    },
}

/// From when until when a certificate is valid; whole seconds count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// First moment.
    pub from: Wall,
    /// Last moment.
    pub until: Wall,
}

impl Validity {
    /// From `from` on, for so long.
    pub fn lasting(from: Wall, duration: Duration) -> Self {
        Self {
            from,
            until: from.plus(duration),
        }
    }
}

/// A certificate that was asked for.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The certificate, PEM.
    pub certificate: String,
    /// Its new private key, PKCS #8 in PEM; none where a request brought the public one.
    pub key: Option<Secret>,
}

/// A certificate with its key.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The certificate, PEM.
    pub certificate: String,
    /// The private key, PKCS #8 in PEM.
    pub key: Secret,
}
