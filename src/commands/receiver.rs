//! `fanal receiver`: the centre's daemon.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::Usage;
use super::daemon::{self, Daemon};
use crate::account;
use crate::clock::Clock;
use crate::config;
use crate::metrics::health::Checks;
use crate::receiver::control::Control;
use crate::receiver::viewing::Waits;
use crate::receiver::{Addresses, Options, Receiver};

/// Arguments of `fanal receiver`.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  fanal receiver --config /etc/fanal/receiver.toml

SIGHUP reads the file again, and takes addresses and certificates without a restart;
a bad file keeps the old settings whole and says so.
SIGTERM stops in order: viewers are told, the journal is written; live grants
resume at the next start under the same URLs.")]
pub struct ReceiverArgs {
    /// The settings file
    #[arg(long, value_name = "FILE", default_value = "/etc/fanal/receiver.toml")]
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
pub fn run(args: ReceiverArgs) -> anyhow::Result<ExitCode> {
    let loaded = config::load_receiver(&args.config).map_err(|errors| Usage(errors.to_string()))?;
    for warning in &loaded.settings.warnings {
        tracing::warn!("{warning}");
    }
    let accept_journals = args.accept_journal.into_iter();
    let options = Options {
        accept_journals: accept_journals.map(|id| (id, account::own())).collect(),
        clock: Clock::system(),
        accept_clock: args.accept_clock.then(account::own),
        waits: Waits::default(),
        demo_page: false,
        ..Options::default()
    };
    daemon::run(async |token| {
        let status = format!("{} communes", loaded.settings.communes.len());
        let receiver = Receiver::bind(loaded, options).await?;
        log_addresses(receiver.local_addrs());
        let control = receiver.control();
        let checks = receiver.checks();
        let path = args.config;
        let running = async { Ok(receiver.run(token).await?) };
        Ok((
            Centre {
                checks,
                path,
                control,
            },
            status,
            running,
        ))
    })
}

/// The running receiver, as its signals see it.
struct Centre {
    checks: Checks,
    path: PathBuf,
    control: Control,
}

impl Daemon for Centre {
    const STOP_GRACE: Duration = Duration::from_secs(20);

    async fn reload(&self) -> Result<(), String> {
        match config::load_receiver(&self.path) {
            Ok(loaded) => {
                for warning in &loaded.settings.warnings {
                    tracing::warn!("{warning}");
                }
                self.control.reload(loaded).await
            }
            Err(errors) => {
                let errors = errors.to_string();
                self.control.reload_failed(errors.clone());
                Err(errors)
            }
        }
    }

    fn checks(&self) -> &Checks {
        &self.checks
    }
}

fn log_addresses(addresses: &Addresses) {
    let show = |address: Option<std::net::SocketAddr>| {
        address.map_or_else(|| "-".to_owned(), |address| address.to_string())
    };
    let links: Vec<String> = addresses.link.iter().map(ToString::to_string).collect();
    tracing::info!(
        console = %addresses.console,
        rtsp = %show(addresses.rtsp),
        rtsps = %show(addresses.rtsps),
        link = %links.join(" "),
        metrics = %addresses.metrics,
        "receiver started"
    );
}
