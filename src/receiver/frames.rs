//! The frames thread: one runtime for links, hub and viewers, players and browsers
//! alike. The control plane sees handles only.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::hub::Hub;
use super::library::Library;
use super::players::Players;
use crate::config::settings;
use crate::http;
use crate::link::accept::{Acceptor, Parts};
use crate::rtsp::server::{Limits, Listen, Options, Server};

/// How often the ages of the newest pictures are brought up to date.
const AGES_EVERY: Duration = Duration::from_secs(1);

/// What is bound on the frames thread.
#[derive(Debug)]
pub(super) struct Bound {
    /// All links.
    pub(super) acceptor: Acceptor,
    /// Clear RTSP, where set.
    pub(super) rtsp: Option<SocketAddr>,
    /// RTSPS, where set.
    pub(super) rtsps: Option<SocketAddr>,
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
    /// Starts the thread and binds all sockets; nobody is answered before
    /// [`Frames::go`].
    ///
    /// # Errors
    /// An address is taken, or a certificate can't be used.
    pub(super) async fn start(
        settings: Arc<settings::Receiver>,
        parts: Parts,
        library: Library,
    ) -> Result<(Self, Bound), String> {
        let (bound_sender, bound) = oneshot::channel();
        let (go, wait) = oneshot::channel();
        let (over_sender, over) = oneshot::channel();
        let token = CancellationToken::new();
        let stop = token.clone();
        let hub = library.hub.clone();
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
                        let started = bind(&settings, parts, library).await;
                        let (acceptor, server, result) = match started {
                            Ok((bound, server)) => {
                                (Some(bound.acceptor.clone()), server, Ok(bound))
                            }
                            Err(error) => (None, None, Err(error)),
                        };
                        // Anyone who started it may have gone; the wait below ends then.
                        let _ = bound_sender.send(result);
                        let Some(acceptor) = acceptor else {
                            return;
                        };
                        if wait.await.is_ok() {
                            run(acceptor, server, hub, stop).await;
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

async fn bind(
    settings: &settings::Receiver,
    parts: Parts,
    library: Library,
) -> Result<(Bound, Option<Server>), String> {
    let clock = parts.clock.clone();
    let observer = Arc::new(Players(Arc::clone(&parts.metrics)));
    let acceptor = Acceptor::bind(settings, parts).map_err(|error| error.to_string())?;
    let rtsp = &settings.rtsp;
    let mut listen = Vec::new();
    if let Some(address) = rtsp.listen {
        listen.push(Listen { address, tls: None });
    }
    if let (Some(address), Some(tls)) = (rtsp.tls_listen, &rtsp.tls) {
        let tls = http::tls_config(&tls.certificate, &tls.key, &[])?;
        let tls = Some(tls);
        listen.push(Listen { address, tls });
    }
    let mut bound = Bound {
        acceptor,
        rtsp: None,
        rtsps: None,
        runtime: Handle::current(),
    };
    if listen.is_empty() {
        return Ok((bound, None));
    }
    let encrypted: Vec<bool> = listen.iter().map(|listen| listen.tls.is_some()).collect();
    let options = Options {
        listen,
        limits: Limits::default(),
        udp: rtsp.udp,
        clock,
        observer: Some(observer),
    };
    let server = Server::bind(options, Arc::new(library)).await;
    let server = server.map_err(|error| error.to_string())?;
    for (address, encrypted) in server.local_addrs().into_iter().zip(encrypted) {
        if encrypted {
            bound.rtsps = Some(address);
        } else {
            bound.rtsp = Some(address);
        }
    }
    Ok((bound, Some(server)))
}

async fn run(acceptor: Acceptor, server: Option<Server>, hub: Hub, token: CancellationToken) {
    let ages = async {
        let mut ticks = tokio::time::interval(AGES_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = token.cancelled() => return,
                _ = ticks.tick() => hub.record_ages(),
            }
        }
    };
    let players = async {
        if let Some(server) = server {
            server.run(token.clone()).await;
        }
    };
    tokio::join!(acceptor.run(token.clone()), players, ages);
}
