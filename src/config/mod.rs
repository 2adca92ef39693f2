//! The two daemons' settings: read, checked, explained.
//!
//! `raw` mirrors the files (serde, unknown keys refused), [`settings`] is what
//! the daemons use; one function leads from one to the other and collects every
//! mistake with its file, its line and the remedy. It touches the world only
//! through [`Files`], so tests need no disk.
//!
//! # Rules
//! - Relative paths start at the directory of the file that names them.
//!   `${NAME}` in a path is an environment variable, so that
//!   `password_file = "${CREDENTIALS_DIRECTORY}/hik"` is a systemd credential.
//! - Passwords stand in files (`password_file`) or in the environment
//!   (`password_env = "NAME"`), never in the settings.
//! - A bad camera entry disables that camera alone
//!   ([`settings::Camera::streams`] is an error, and there is a warning);
//!   any other mistake refuses the file.
//! - Durations: `200ms`, `10s`, `2m`, `1h`, `31d`, `1h30m`. Bit rates:
//!   `40 Mbit/s`, `300 kbit/s`. Dates: `2025-02-13`, quoted or not.
//! - Hours, Europe/Paris: windows separated by commas, each `days times`:
//!   `mon-fri 08:00-20:00, sat sun 09:00-12:00 14:00-18:00`. Days are English or
//!   French (`lun mar mer jeu ven sam dim`), in full or by their first three
//!   letters; without days, every day. A window that ends at or before its start
//!   runs into the next day. No text at all: always.

mod agreement;
mod camera;
mod copies;
pub mod csv;
mod files;
mod gateway;
pub mod grounds;
pub mod network;
mod notify;
mod page;
mod pem;
pub mod players;
mod problem;
mod raw;
mod receiver;
mod section;
pub mod settings;
pub(crate) mod values;
mod witness;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

pub use files::{Disk, Files};
pub use grounds::GROUNDS;
pub use pem::CRL_LIMIT;
pub use problem::{Errors, Problem};
pub use raw::KEYS;

/// Largest settings file.
const FILE_LIMIT: u64 = 1024 * 1024;

/// Settings that passed every check.
#[derive(Clone, Debug)]
pub struct Loaded<T> {
    /// The settings; oddities are in their `warnings`.
    pub settings: T,
    /// The file they came from.
    pub file: PathBuf,
    /// SHA-256 of the file, for the journal's entry of a reload.
    pub hash: crate::format::ids::Sha256,
}

/// Whose file it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Daemon {
    /// `gateway.toml`: names its `commune`.
    Gateway,
    /// `receiver.toml`: names its `centre`.
    Receiver,
}

/// Reads and checks `gateway.toml`. Passwords found inside URLs of the
/// `cameras_file` are kept in `state_dir` (see `deploy/gateway.toml`).
///
/// # Errors
/// Every mistake in the file, with its line and its remedy.
pub fn load_gateway(path: &Path) -> Result<Loaded<settings::Gateway>, Errors> {
    load_gateway_from(path, &Disk::writing())
}

/// Reads and checks `receiver.toml`.
///
/// # Errors
/// Every mistake in the file, with its line and its remedy.
pub fn load_receiver(path: &Path) -> Result<Loaded<settings::Receiver>, Errors> {
    load_receiver_from(path, &Disk::writing())
}

/// [`load_gateway`] over any files.
///
/// # Errors
/// As there.
pub fn load_gateway_from(
    path: &Path,
    files: &dyn Files,
) -> Result<Loaded<settings::Gateway>, Errors> {
    load(path, files, gateway::check)
}

/// [`load_receiver`] over any files.
///
/// # Errors
/// As there.
pub fn load_receiver_from(
    path: &Path,
    files: &dyn Files,
) -> Result<Loaded<settings::Receiver>, Errors> {
    load(path, files, receiver::check)
}

/// Tells whose file this is by its first-level keys.
///
/// # Errors
/// It can't be read, is no TOML, or names neither `commune` nor `centre`, or both.
pub fn detect(path: &Path, files: &dyn Files) -> Result<Daemon, Errors> {
    let text = read(path, files)?;
    let table = section::parse(path, &text)?;
    match (table.has("commune", true), table.has("centre", true)) {
        (true, false) => Ok(Daemon::Gateway),
        (false, true) => Ok(Daemon::Receiver),
        _ => Err(Errors::one(
            path,
            None,
            "neither a gateway's nor a receiver's file; a gateway names itself with \
             commune = \"…\", a receiver with centre = \"…\", at the top",
        )),
    }
}

/// Refuses a reload that changes one of these settings (name, whether it changes).
///
/// # Errors
/// Names those that change, and that the daemon must be restarted for them.
pub fn unchanged(fixed: &[(&str, bool)], daemon: &str) -> Result<(), String> {
    let changed = fixed.iter().filter(|(_, changes)| *changes);
    let changed: Vec<&str> = changed.map(|(name, _)| *name).collect();
    if changed.is_empty() {
        return Ok(());
    }
    let names = changed.join(", ");
    Err(format!(
        "{names} can't change while it runs; restart the {daemon}"
    ))
}

type Check<T> = fn(section::Root<'_>, &mut problem::Reading<'_>) -> Option<T>;

fn load<T>(path: &Path, files: &dyn Files, check: Check<T>) -> Result<Loaded<T>, Errors> {
    let text = read(path, files)?;
    let root = section::parse(path, &text)?;
    let mut reading = problem::Reading::new(path, files);
    let settings = check(root, &mut reading);
    match settings {
        Some(settings) if !reading.failed() => Ok(Loaded {
            settings,
            file: path.to_owned(),
            hash: crate::format::ids::Sha256::of(text.as_bytes()),
        }),
        _ => Err(reading.into_errors()),
    }
}

fn read(path: &Path, files: &dyn Files) -> Result<String, Errors> {
    let bytes = files.read(path, FILE_LIMIT).map_err(|error| {
        Errors::one(
            path,
            None,
            format!("can't be read: {error}; check the path and who may read it"),
        )
    })?;
    String::from_utf8(bytes).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        Errors::one(
            path,
            u32::try_from(line).ok(),
            "not UTF-8; save the file as UTF-8",
        )
    })
}
