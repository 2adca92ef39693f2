//! All that reading the settings touches of the world.

use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

use crate::durable;
use crate::secret::Secret;

/// Files and environment, as the settings need them.
pub trait Files {
    /// A whole file of at most `limit` bytes.
    ///
    /// # Errors
    /// It can't be read, or is longer.
    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>>;
    /// The permission bits of a file.
    fn mode(&self, path: &Path) -> Option<u32>;
    /// A variable of the environment.
    fn variable(&self, name: &str) -> Option<String>;
    /// Writes a secret that only this user may read, unless it is there
    /// already; answers whether it is kept there now.
    ///
    /// # Errors
    /// The disk's.
    fn keep_secret(&self, path: &Path, secret: &Secret) -> io::Result<bool>;
}

/// The real ones.
#[derive(Clone, Copy, Debug)]
pub struct Disk {
    writes: bool,
}

impl Disk {
    /// For a daemon: keeps passwords that it split off.
    pub const fn writing() -> Self {
        Self { writes: true }
    }

    /// For a check: leaves no trace.
    pub const fn reading() -> Self {
        Self { writes: false }
    }
}

impl Files for Disk {
    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        let file = std::fs::File::open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("not a regular file"));
        }
        let mut bytes = Vec::new();
        file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > limit {
            return Err(io::Error::other(format!("longer than {limit} bytes")));
        }
        Ok(bytes)
    }

    fn mode(&self, path: &Path) -> Option<u32> {
        Some(std::fs::metadata(path).ok()?.permissions().mode() & 0o7777)
    }

    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn keep_secret(&self, path: &Path, secret: &Secret) -> io::Result<bool> {
        let there = std::fs::read(path).is_ok_and(|old| old == secret.expose().as_bytes());
        if there || !self.writes {
            return Ok(there);
        }
        if let Some(directory) = path.parent() {
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(directory)?;
        }
        durable::replace(path, secret.expose().as_bytes(), 0o600)?;
        Ok(true)
    }
}
