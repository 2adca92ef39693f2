//! A daemon from its start to its end: settings, signals, the service manager.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use tokio_util::sync::CancellationToken;

use crate::metrics::health::Checks;
use crate::shutdown::{self, Signals};

/// A daemon that has bound its sockets.
pub(super) trait Daemon {
    /// How long the service manager is asked to wait at a stop.
    const STOP_GRACE: Duration;

    /// Reads the settings again; the text: why the old ones go on. The daemon logs and
    /// journals the outcome itself.
    async fn reload(&self) -> Result<(), String>;

    /// Its `/ready`, where the outcome of each reload is told.
    fn checks(&self) -> &Checks;
}

/// Runs a daemon until SIGTERM, SIGINT or its own end, and reloads it at SIGHUP.
/// `bind` binds its sockets; it gives the daemon, a line of status for the service manager,
/// and what runs until the token is cancelled.
///
/// # Errors
/// What `bind` and the daemon say; the signals can't be listened to.
pub(super) fn run<D, R>(
    bind: impl AsyncFnOnce(CancellationToken) -> anyhow::Result<(D, String, R)>,
) -> anyhow::Result<ExitCode>
where
    D: Daemon,
    R: Future<Output = anyhow::Result<()>>,
{
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?;
    runtime.block_on(async {
        let token = CancellationToken::new();
        let mut signals = Signals::listen(token.clone()).context("listening for signals")?;
        let (daemon, status, running) = bind(token.clone()).await?;
        shutdown::ready(&status);
        tokio::pin!(running);
        // Told from the control thread, between its other work: a daemon that no longer
        // comes to it is restarted.
        let mut alive = shutdown::Alive::new();
        loop {
            tokio::select! {
                biased;
                ended = &mut running => break ended?,
                () = alive.tick() => {}
                () = signals.reload() => {
                    shutdown::reloading();
                    tokio::select! {
                        ended = &mut running => break ended?,
                        outcome = daemon.reload() => {
                            match &outcome {
                                Ok(()) => shutdown::ready(&status),
                                Err(cause) => shutdown::ready(&format!(
                                    "the old settings go on, the new ones are refused: {cause}"
                                )),
                            }
                            daemon.checks().reloaded(&outcome);
                        }
                    }
                }
                () = token.cancelled() => {
                    shutdown::extend(D::STOP_GRACE);
                    break running.await?;
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    })
}
