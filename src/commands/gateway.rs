//! `fanal gateway`: the commune's daemon.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::Usage;
use super::daemon::{self, Daemon};
use crate::account;
use crate::config;
use crate::gateway::{Gateway, Handle, Options};
use crate::metrics::health::Checks;

/// Arguments of `fanal gateway`.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  fanal gateway --config /etc/fanal/gateway.toml

SIGHUP reads the file again; a bad file keeps the old settings and says so.
SIGTERM stops in order: relays end, cameras are closed, the journal is written;
live grants resume at the next start.")]
pub struct GatewayArgs {
    /// The settings file
    #[arg(long, value_name = "FILE", default_value = "/etc/fanal/gateway.toml")]
    config: PathBuf,
    /// Accept the clock as it is, though the journal holds a later time: once,
    /// after setting the clock right; it is written down
    #[arg(long)]
    accept_clock: bool,
    /// Accept the journal of this commune or centre as it is, though it lost lines, as
    /// after a restore from a backup: once, after finding out why; it is written down
    #[arg(long, value_name = "ID")]
    accept_journal: Vec<String>,
}

/// Runs the daemon until SIGTERM or SIGINT.
///
/// # Errors
/// The settings are wrong, an address is taken, or a part of the daemon failed.
pub fn run(args: GatewayArgs) -> anyhow::Result<ExitCode> {
    let loaded = config::load_gateway(&args.config).map_err(|errors| Usage(errors.to_string()))?;
    for warning in &loaded.settings.warnings {
        tracing::warn!("{warning}");
    }
    let accept_journals = args.accept_journal.into_iter();
    let options = Options {
        accept_journals: accept_journals.map(|id| (id, account::own())).collect(),
        accept_clock: args.accept_clock.then(account::own),
        ..Options::default()
    };
    daemon::run(async |token| {
        let status = format!("{} cameras", loaded.settings.cameras.len());
        let gateway = Gateway::bind(loaded, options).await?;
        let addrs = gateway.local_addrs();
        tracing::info!(metrics = %addrs.metrics, socket = %addrs.socket.display(), "gateway started");
        if let Some(page) = addrs.page {
            tracing::info!(%page, "the commune's page is served");
        }
        let handle = gateway.handle();
        Ok((handle, status, async { Ok(gateway.run(token).await?) }))
    })
}

impl Daemon for Handle {
    const STOP_GRACE: Duration = Duration::from_secs(25);

    async fn reload(&self) -> Result<(), String> {
        Handle::reload(self).await
    }

    fn checks(&self) -> &Checks {
        Handle::checks(self)
    }
}
