//! Signals: an orderly end at the first, at once at the second; reload at SIGHUP.
//!
//! Only daemons and `demo` use this; libraries take a [`CancellationToken`].
//! The service manager is told by sd-notify, which does nothing elsewhere.

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Exit status after a second signal: 128 + SIGINT, as shells show it.
const SECOND_SIGNAL_STATUS: i32 = 130;

/// Signals of one process. Owns the task that listens; dropping it stops listening.
#[derive(Debug)]
pub struct Signals {
    token: CancellationToken,
    hangup: Signal,
    listener: tokio::task::JoinHandle<()>,
}

impl Signals {
    /// Starts to listen: SIGTERM or SIGINT cancels `token`, the next one exits
    /// the process at once. Must be called inside a runtime.
    ///
    /// # Errors
    /// The system refuses the handlers.
    pub fn listen(token: CancellationToken) -> std::io::Result<Self> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let hangup = signal(SignalKind::hangup())?;
        let cancel = token.clone();
        let listener = tokio::spawn(async move {
            let name = either(&mut terminate, &mut interrupt).await;
            tracing::info!(signal = name, "stopping; a second signal stops at once");
            stopping();
            cancel.cancel();
            let name = either(&mut terminate, &mut interrupt).await;
            tracing::warn!(signal = name, "second signal: stopping at once");
            std::process::exit(SECOND_SIGNAL_STATUS);
        });
        Ok(Self {
            token,
            hangup,
            listener,
        })
    }

    /// Returns at the next SIGHUP; never after the token is cancelled.
    /// Cancel-safe.
    pub async fn reload(&mut self) {
        tokio::select! {
            biased;
            () = self.token.cancelled() => std::future::pending().await,
            received = self.hangup.recv() => {
                if received.is_none() {
                    std::future::pending::<()>().await;
                }
            }
        }
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

async fn either(terminate: &mut Signal, interrupt: &mut Signal) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}

/// Tells the service manager that the daemon serves, with a line of status.
pub fn ready(status: &str) {
    notify(&[
        sd_notify::NotifyState::Ready,
        sd_notify::NotifyState::Status(status),
    ]);
}

/// Tells the service manager that settings are being read again; [`ready`] ends it.
pub fn reloading() {
    let state = sd_notify::NotifyState::monotonic_usec_now();
    match state {
        Ok(now) => notify(&[sd_notify::NotifyState::Reloading, now]),
        Err(error) => tracing::debug!(%error, "monotonic clock not readable"),
    }
}

/// Tells the service manager that the daemon stops; it gets this long more.
pub fn extend(grace: Duration) {
    let microseconds = u32::try_from(grace.as_micros()).unwrap_or(u32::MAX);
    notify(&[sd_notify::NotifyState::ExtendTimeoutUsec(microseconds)]);
}

/// Tells the service manager at intervals that the daemon works, where it asks for that
/// (`WatchdogSec=`): three times in the time that it gives.
#[derive(Debug)]
pub struct Alive(Option<tokio::time::Interval>);

impl Alive {
    /// Must be called inside a runtime.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        let every = sd_notify::watchdog_enabled().map(|limit| limit / 3);
        Self(every.map(tokio::time::interval))
    }

    /// Waits until it is time and tells it; never returns where nobody asks. Cancel-safe.
    pub async fn tick(&mut self) {
        match &mut self.0 {
            Some(interval) => {
                interval.tick().await;
                notify(&[sd_notify::NotifyState::Watchdog]);
            }
            None => std::future::pending().await,
        }
    }
}

fn stopping() {
    notify(&[sd_notify::NotifyState::Stopping]);
}

fn notify(state: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "service manager not told");
    }
}
