//! The frames thread: one runtime for links, hub and viewers, players and browsers
//! alike. The control plane sees handles only.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::card::Card;
use super::hub::Hub;
use super::library::Library;
use super::listeners::Listeners;
use super::players::Players;
use crate::config::settings;
use crate::link::accept::{Acceptor, Parts};
use crate::rtsp::server::{Limits, Options, Server};

/// How often the ages of the newest pictures are brought up to date, and the card of VMS accounts is
/// shown.
const EVERY: Duration = Duration::from_secs(1);

/// What is bound on the frames thread.
#[derive(Debug)]
pub(super) struct Bound {
    /// All links.
    pub(super) acceptor: Acceptor,
    /// Where browsers' pictures are sent.
    pub(super) runtime: Handle,
}

/// The thread. Dropping it stops it, without waiting.
#[derive(Debug)]
pub(super) struct Frames {
    go: Option<oneshot::Sender<()>>,
    token: CancellationToken,
    thread: Option<std::thread::JoinHandle<()>>,
    /// Resolves when the thread is over, by itself or not.
    pub(super) over: oneshot::Receiver<()>,
}

impl Drop for Frames {
    fn drop(&mut self) {
        self.token.cancel();
    }
}

impl Frames {
    /// Starts the thread and binds the sockets of the links; nobody is answered before
    /// [`Frames::go`]. Players come in by `listeners`.
    ///
    /// # Errors
    /// An address is taken, or a certificate can't be used.
    pub(super) async fn start(
        settings: Arc<settings::Receiver>,
        parts: Parts,
        library: Library,
        listeners: Listeners,
    ) -> Result<(Self, Bound), String> {
        let (bound_sender, bound) = oneshot::channel();
        let (go, wait) = oneshot::channel();
        let (over_sender, over) = oneshot::channel();
        let token = CancellationToken::new();
        let stop = token.clone();
        let each_second = (library.hub.clone(), Arc::clone(&library.vms.card));
        let thread = std::thread::Builder::new()
            .name("frames".to_owned())
            .spawn(move || {
                // Dropped at the end, also of a panic.
                let _over: oneshot::Sender<()> = over_sender;
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build();
                match runtime {
                    Ok(runtime) => runtime.block_on(async {
                        let (bound, server) = match bind(&settings, parts, library, listeners) {
                            Ok(started) => started,
                            Err(error) => {
                                let _ = bound_sender.send(Err(error));
                                return;
                            }
                        };
                        let acceptor = bound.acceptor.clone();
                        // Anyone who started it may have gone; the wait below ends then.
                        let _ = bound_sender.send(Ok(bound));
                        if wait.await.is_ok() {
                            run(acceptor, server, each_second, stop).await;
                        }
                    }),
                    Err(error) => {
                        let _ = bound_sender.send(Err(error.to_string()));
                    }
                }
            })
            .map_err(|error| format!("the frames thread can't be started: {error}"))?;
        let frames = Self {
            go: Some(go),
            token,
            thread: Some(thread),
            over,
        };
        let bound = bound
            .await
            .map_err(|_| "the frames thread ended at once".to_owned())??;
        Ok((frames, bound))
    }

    /// Lets gateways and players in.
    pub(super) fn go(&mut self) {
        if let Some(go) = self.go.take() {
            // An error says that the thread is over, which `over` tells.
            let _ = go.send(());
        }
    }

    /// Stops the thread: players are told, links closed. Waits for it; `false`
    /// after a panic.
    pub(super) async fn stop(mut self) -> bool {
        self.token.cancel();
        self.go = None;
        let _ = (&mut self.over).await;
        match self.thread.take() {
            // It is over but for its last instructions.
            Some(thread) => thread.join().is_ok(),
            None => true,
        }
    }
}

fn bind(
    settings: &settings::Receiver,
    parts: Parts,
    library: Library,
    listeners: Listeners,
) -> Result<(Bound, Server), String> {
    let options = Options {
        listeners: vec![listeners.rtsp, listeners.rtsps],
        limits: Limits::default(),
        udp: listeners.udp,
        clock: parts.clock.clone(),
        observer: Some(Arc::new(Players(Arc::clone(&parts.metrics)))),
    };
    let acceptor = Acceptor::bind(settings, parts).map_err(|error| error.to_string())?;
    let bound = Bound {
        acceptor,
        runtime: Handle::current(),
    };
    Ok((bound, Server::new(options, Arc::new(library))))
}

async fn run(
    acceptor: Acceptor,
    server: Server,
    (hub, card): (Hub, Arc<Card>),
    token: CancellationToken,
) {
    let seconds = async {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = token.cancelled() => return,
                _ = ticks.tick() => {
                    hub.record_ages();
                    card.advance();
                }
            }
        }
    };
    tokio::join!(
        acceptor.run(token.clone()),
        server.run(token.clone()),
        seconds
    );
}
