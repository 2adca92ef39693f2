//! What both ends do with a live link: move control messages, look at the
//! peer's certificate, end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use quinn::SendStream;
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::tls::{self, Peers};
use super::transport::{Closed, Connection};
use super::{Event, Link, control};
use crate::clock::{Clock, Wall};
use crate::reason::Reason;

/// How long the steps between handshake and [`Event::Up`] may take.
pub(super) const SETUP_TIMEOUT: Duration = Duration::from_secs(5);

/// What the two ends do differently.
pub(super) trait Side: Send {
    /// What the peer sends.
    type Message: DeserializeOwned + Send + 'static;

    /// Answers what needs no decision (the time); gives back the rest.
    fn message(&mut self, link: &Link, message: Self::Message) -> Option<Self::Message>;

    /// Called when the link is up, and each time after the wait that it gave.
    fn tick(&mut self, link: &Link) -> Duration;
}

/// How to check each peer that the settings name.
pub(super) type Accepted = Arc<BTreeMap<String, Arc<dyn Peers>>>;

/// The parts of a session.
pub(super) struct Session<S: Side> {
    /// The peer's name.
    pub(super) peer: String,
    /// Which link of this process.
    pub(super) number: u64,
    /// The link.
    pub(super) link: Link,
    /// The control stream, opened and answered.
    pub(super) streams: (SendStream, control::Receiver),
    /// Where events go.
    pub(super) events: mpsc::Sender<Event<S::Message>>,
    /// Wall clock for the certificate's end.
    pub(super) clock: Clock,
    /// Who is accepted, as of the newest settings.
    pub(super) accepted: watch::Receiver<Accepted>,
    /// Ends all links of the daemon.
    pub(super) token: CancellationToken,
}

/// Closes the connection when the session's future is dropped half way.
struct CloseOnDrop(Connection);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        close(&self.0, Reason::ShuttingDown, "the daemon stops");
    }
}

pub(super) fn close(connection: &Connection, reason: Reason, detail: &str) {
    connection.close(reason, &format!("{}: {detail}", reason.code()));
}

impl<S: Side> Session<S> {
    /// Runs the link to its end, and tells the control plane of both.
    pub(super) async fn run(self, side: S) {
        let Self {
            peer,
            number,
            link,
            streams,
            events,
            clock,
            accepted,
            token,
        } = self;
        let guard = CloseOnDrop(link.connection.clone());
        let side = std::sync::Mutex::new(side);
        let (send, mut receive) = streams;
        let up = Event::Up {
            peer: peer.clone(),
            session: number,
            link: link.clone(),
        };
        if events.send(up).await.is_err() {
            return;
        }
        let read = async {
            loop {
                let message = match receive.message::<S::Message>().await {
                    Ok(message) => message,
                    Err(error) => break error,
                };
                let Some(message) = lock(&side).message(&link, message) else {
                    continue;
                };
                let event = Event::Message {
                    peer: peer.clone(),
                    session: number,
                    message,
                };
                // Waits for the control plane: the peer's messages wait on the wire.
                if events.send(event).await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        let tick = async {
            loop {
                let wait = lock(&side).tick(&link);
                tokio::time::sleep(wait).await;
            }
        };
        let cause = tokio::select! {
            biased;
            () = token.cancelled() => {
                close(&link.connection, Reason::ShuttingDown, "the daemon stops");
                "this side stops".to_owned()
            }
            closed = link.connection.closed() => closed.to_string(),
            error = read => {
                match link.connection.close_reason() {
                    Some(closed) => closed.to_string(),
                    None => {
                        close(&link.connection, Reason::ProtocolError, &error.to_string());
                        error.to_string()
                    }
                }
            }
            error = link.control.write(send, || link.go_on()) => {
                match link.connection.close_reason() {
                    Some(closed) => closed.to_string(),
                    None => {
                        close(&link.connection, Reason::ProtocolError, &error.to_string());
                        format!("control stream: {error}")
                    }
                }
            }
            cause = refused(&link.connection, &peer, &clock, accepted) => {
                close(&link.connection, Reason::ProtocolError, &cause);
                cause
            }
            () = link.watch_silence() => {
                close(&link.connection, Reason::LinkLost, "nothing was heard for too long");
                Closed::Silent.to_string()
            }
            () = tick => String::new(),
        };
        drop(guard);
        tracing::info!(%peer, session = number, %cause, "link down");
        let down = Event::Down {
            peer,
            session: number,
            cause,
        };
        // An error means that nobody is left to tell.
        let _ = events.send(down).await;
    }
}

fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Returns once the peer is no longer to be accepted: its certificate has
/// ended, or the settings were read again and refuse it.
async fn refused(
    connection: &Connection,
    peer: &str,
    clock: &Clock,
    mut accepted: watch::Receiver<Accepted>,
) -> String {
    let chain = connection.certificates();
    let end = chain.first().map_or(Wall(0), tls::not_after);
    loop {
        let now = clock.now();
        if now.wall >= end {
            return format!("the peer's certificate ended at {}", end.rfc3339());
        }
        let verdict = match accepted.borrow_and_update().get(peer) {
            Some(peers) => peers.identify(&chain, now.wall).err(),
            None => return "the settings no longer name this peer".to_owned(),
        };
        if let Some(error) = verdict {
            return format!("the peer's certificate is no longer accepted: {error}");
        }
        // Looked at every hour all the same: the wall clock may be set.
        let wait = end.since(now.wall).min(Duration::from_secs(3600));
        tokio::select! {
            () = clock.sleep_until(now.boot.plus(wait)) => {}
            changed = accepted.changed() => if changed.is_err() {
                std::future::pending::<()>().await;
            },
        }
    }
}
