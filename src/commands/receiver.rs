//! `fanal receiver`: the centre's daemon.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use tokio_util::sync::CancellationToken;

use super::Usage;
use crate::clock::Clock;
use crate::config;
use crate::receiver::control::Control;
use crate::receiver::viewing::Waits;
use crate::receiver::{Addresses, Options, Receiver};
use crate::shutdown::{self, Signals};

/// How long the service manager is asked to wait at a stop.
const STOP_GRACE: Duration = Duration::from_secs(20);

/// Arguments of `fanal receiver`.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  fanal receiver --config /etc/fanal/receiver.toml

SIGHUP reads the file again; a bad file keeps the old settings and says so.
SIGTERM stops in order: viewers are told, the journal is written; live grants
resume at the next start under the same URLs.")]
pub struct ReceiverArgs {
    /// The settings file
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Accept the clock as it stands, though the journal holds a later time: once,
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
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?;
    runtime.block_on(async {
        let token = CancellationToken::new();
        let mut signals = Signals::listen(token.clone()).context("listening for signals")?;
        let by = format!("uid {}", rustix::process::getuid().as_raw());
        let accept_journals = args.accept_journal.into_iter();
        let options = Options {
            accept_journals: accept_journals.map(|id| (id, by.clone())).collect(),
            clock: Clock::system(),
            accept_clock: args.accept_clock.then_some(by),
            waits: Waits::default(),
        };
        let status = format!("{} communes", loaded.settings.communes.len());
        let receiver = Receiver::bind(loaded, options).await?;
        log_addresses(receiver.local_addrs());
        shutdown::ready(&status);
        let control = receiver.control();
        let running = receiver.run(token.clone());
        tokio::pin!(running);
        loop {
            tokio::select! {
                biased;
                ended = &mut running => break ended?,
                () = signals.reload() => {
                    tokio::select! {
                        ended = &mut running => break ended?,
                        () = reload(&args.config, &control, &status) => {}
                    }
                }
                () = token.cancelled() => {
                    shutdown::extend(STOP_GRACE);
                    break running.await?;
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    })
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

async fn reload(path: &Path, control: &Control, status: &str) {
    shutdown::reloading();
    let outcome = match config::load_receiver(path) {
        Ok(loaded) => {
            for warning in &loaded.settings.warnings {
                tracing::warn!("{warning}");
            }
            // The receiver logs and journals the outcome itself.
            control.reload(loaded).await
        }
        Err(errors) => {
            let errors = errors.to_string();
            control.reload_failed(errors.clone());
            Err(errors)
        }
    };
    let status = match outcome {
        Ok(()) => status.to_owned(),
        Err(cause) => format!("old settings, the file has mistakes: {cause}"),
    };
    shutdown::ready(&status);
}
