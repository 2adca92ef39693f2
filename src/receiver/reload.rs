//! What new settings name, read and bound before any of it is in force: a reload takes all or
//! nothing.

use std::sync::Arc;

use super::atlas::Tiles;
use super::listeners::{Changes, Listeners};
use super::rules;
use crate::config::{self, settings};
use crate::format::jws::Signer;
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
