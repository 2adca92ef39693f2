//! `fanal gateway`: the commune's daemon.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use tokio_util::sync::CancellationToken;

use super::Usage;
use crate::config;
use crate::gateway::{Gateway, Handle, Options};
use crate::shutdown::{self, Signals};

/// How long the service manager is asked to wait at a stop.
const STOP_GRACE: Duration = Duration::from_secs(25);

/// Arguments of `fanal gateway`.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  fanal gateway --config /etc/fanal/gateway.toml

SIGHUP reads the file again; a bad file keeps the old settings and says so.
SIGTERM stops in order: relays end, cameras are closed, the journal is written;
live grants resume at the next start.")]
pub struct GatewayArgs {
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
pub fn run(args: GatewayArgs) -> anyhow::Result<ExitCode> {
    let loaded = config::load_gateway(&args.config).map_err(|errors| Usage(errors.to_string()))?;
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
        let by = format!("uid {}", user());
        let accept_journals = args.accept_journal.into_iter();
        let options = Options {
            accept_journals: accept_journals.map(|id| (id, by.clone())).collect(),
            accept_clock: args.accept_clock.then_some(by),
            ..Options::default()
        };
        let status = format!("{} cameras", loaded.settings.cameras.len());
        let gateway = Gateway::bind(loaded, options).await?;
        let addrs = gateway.local_addrs();
        tracing::info!(metrics = %addrs.metrics, socket = %addrs.socket.display(), "gateway started");
        shutdown::ready(&status);
        let handle = gateway.handle();
        let running = gateway.run(token.clone());
        tokio::pin!(running);
        loop {
            tokio::select! {
                biased;
                ended = &mut running => break ended?,
                () = signals.reload() => {
                    tokio::select! {
                        ended = &mut running => break ended?,
                        () = reload(&handle, &status) => {}
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

async fn reload(handle: &Handle, status: &str) {
    shutdown::reloading();
    // The gateway logs and journals the outcome itself.
    let outcome = handle.reload().await;
    let status = match outcome {
        Ok(()) => status.to_owned(),
        Err(cause) => format!("old settings, the file has mistakes: {cause}"),
    };
    shutdown::ready(&status);
}

fn user() -> u32 {
    rustix::process::getuid().as_raw()
}
