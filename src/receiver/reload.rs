//! What new settings name, read and bound before any of it is in force: a reload takes all or
//! nothing.

use std::sync::Arc;

use super::atlas::Tiles;
use super::brain::Brain;
use super::listeners::{Changes, Listeners};
use super::rules;
use crate::config::{self, settings};
use crate::format::ids::Sha256;
use crate::format::jws::Signer;
use crate::journal::entry::Entry;
use crate::link::accept::{self, Acceptor};
use crate::metrics::health::{Check, Checks};
use crate::pki;
use crate::policy::desk::Rulebook;

/// All that new settings name.
pub(super) struct Fetched {
    /// What the desk judges by.
    pub(super) rules: Rulebook,
    /// The map's background.
    pub(super) tiles: Option<Tiles>,
    /// Certificates and sockets of the links.
    pub(super) link: accept::Read,
    /// The other sockets, and their certificates.
    pub(super) listeners: Changes,
    /// Who signs the journal's heads.
    pub(super) signer: Arc<Signer>,
}

impl Fetched {
    /// Reads all that new settings name, and binds new addresses. Blocks.
    ///
    /// # Errors
    /// A file or an address can't be used, or a setting changes that no reload takes. Then
    /// nothing has changed, and nothing was written.
    pub(super) fn read(
        acceptor: &Acceptor,
        listeners: &Listeners,
        old: &settings::Receiver,
        new: &settings::Receiver,
    ) -> Result<Self, String> {
        let fixed = [
            ("centre", old.centre != new.centre),
            ("state_dir", old.state_dir != new.state_dir),
        ];
        config::unchanged(&fixed, "receiver")?;
        Ok(Self {
            tiles: Tiles::open(&new.console)?,
            link: acceptor.read(new).map_err(|error| error.to_string())?,
            listeners: listeners.prepare(new)?,
            signer: pki::signer(&new.tls).map_err(|error| error.to_string())?,
            // Last, for it keeps the newest revocation lists.
            rules: rules::read(new).map_err(|error| error.to_string())?,
        })
    }
}

/// What is odd in the settings, for `/ready`.
pub(super) fn show_warnings(checks: &Checks, settings: &settings::Receiver) {
    if settings.warnings.is_empty() {
        checks.remove("settings");
    } else {
        let remedy = "remedy the settings and reload (SIGHUP)";
        let warnings: Vec<String> = settings.warnings.iter().map(ToString::to_string).collect();
        checks.set("settings", Check::warning(warnings.join("; "), remedy));
    }
}

impl Brain {
    /// Tells what became of new settings.
    pub(super) fn note_reload(&mut self, settings: Sha256, error: Option<String>) {
        match &error {
            None => tracing::info!("new settings are in force"),
            Some(error) => {
                tracing::error!(%error, "settings not reloaded; the old ones stay whole");
                let remedy = "correct the file and reload; the old settings run";
                self.checks.set("settings", Check::warning(error, remedy));
            }
        }
        self.metrics
            .config_last_reload_successful
            .set(i64::from(error.is_none()));
        let error = error.map(|error| error.chars().take(2_000).collect());
        self.desk.handle_note(Entry::Reloaded { settings, error });
    }
}
