//! The gateway: the commune's daemon. Checks, journals, and only then relays.
//!
//! Two threads with current-thread runtimes and the journal's own. *frames*
//! ([`frames`]): links, cameras, relays, the sharing of the uplink ([`uplink`]).
//! *control* (the caller of [`Gateway::run`]): decisions ([`brain`] drives
//! [`crate::policy::gate`]), metrics, the local socket, settings. Only commands and counters cross.
//!
//! The order of a stop: no more requests → relays end and centres are told
//! (`shutting_down`) → cameras get their TEARDOWN → the journal is written to its
//! end and closed. Grants are not ended by it: they resume at the next start.

mod attest;
mod brain;
pub mod camera;
mod cause;
mod drawn;
mod frames;
pub mod front;
mod health;
mod host;
pub mod onvif;
mod page;
pub mod probe;
pub mod relay;
mod rules;
mod session;
pub mod sessions;
pub mod socket;
mod stream;
pub mod turns;
mod uplink;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, Now};
use crate::config::{Loaded, settings};
use crate::copies;
use crate::http;
use crate::journal::entry::Entry;
use crate::journal::looks::{LOOK_EVERY, Looks};
use crate::journal::retention;
use crate::journal::writer::{self, Writer};
use crate::link;
use crate::link::dial::Dialer;
use crate::metrics;
use crate::metrics::health::Checks;
use crate::notify::{self, Notices};
use crate::pki;
use crate::policy::gate::{Gate, Rulebook};
use crate::policy::peer::clock_guard::is_plausible;
use crate::witness;

/// Reloads that wait.
const RELOAD_LIMIT: usize = 4;

/// How a gateway is run.
#[derive(Debug)]
pub struct Options {
    /// The time.
    pub clock: Clock,
    /// An administrator accepts a clock behind the journal's newest time.
    pub accept_clock: Option<String>,
    /// Whose journals an administrator accepts as they are, by their owners' ids, and who
    /// that administrator is.
    pub accept_journals: BTreeMap<String, String>,
    /// Timeouts of cameras that no setting names.
    pub camera_limits: camera::Limits,
    /// When links try TCP, and QUIC again.
    pub link_pace: link::dial::Pace,
    /// Whether the commune's page lets a key in its address sign in, as at the demo.
    pub demo_page: bool,
    /// How often it looks whether its journal is still what it wrote.
    pub look_every: Duration,
}

impl Default for Options {
    /// As the daemon runs.
    fn default() -> Self {
        Self {
            clock: Clock::system(),
            accept_clock: None,
            accept_journals: BTreeMap::new(),
            camera_limits: camera::Limits::LAN,
            link_pace: link::dial::Pace::default(),
            demo_page: false,
            look_every: LOOK_EVERY,
        }
    }
}

/// Why a gateway could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file that the settings name.
    #[error(transparent)]
    File(#[from] pki::Error),
    /// The journal.
    #[error(transparent)]
    Journal(#[from] writer::Error),
    /// Certificates of the link.
    #[error("link: {0}")]
    Link(#[from] link::endpoint::Error),
    /// The socket of `fanal relays`, `cut`, `allow`.
    #[error(
        "socket {path}: {cause} (its directory must exist and be writable; under systemd: RuntimeDirectory=fanal)"
    )]
    Socket {
        /// Its path.
        path: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
    /// Where metrics are served.
    #[error("metrics on {address}: {cause}")]
    Metrics {
        /// Where.
        address: SocketAddr,
        /// Why.
        cause: std::io::Error,
    },
    /// Where the commune's page is served.
    #[error("the page on {address}: {cause}")]
    Page {
        /// Where.
        address: SocketAddr,
        /// Why.
        cause: String,
    },
    /// It ended by itself.
    #[error("{0}")]
    Ended(String),
}

/// Where a gateway listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalAddrs {
    /// `/metrics`, `/health`, `/ready`.
    pub metrics: SocketAddr,
    /// The local socket.
    pub socket: PathBuf,
    /// The commune's page, if there is one.
    pub page: Option<SocketAddr>,
}

/// Asks a running gateway for things. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    reloads: mpsc::Sender<brain::ReloadReply>,
    checks: Checks,
}

impl Handle {
    /// Reads the settings file again. A bad file keeps the old settings; the
    /// error says what is wrong with it. Both are journalled.
    ///
    /// # Errors
    /// The file's mistakes, or that the gateway is not running.
    pub async fn reload(&self) -> Result<(), String> {
        let (reply, answer) = oneshot::channel();
        let gone = |_| "the gateway is not running".to_owned();
        self.reloads.send(reply).await.map_err(|_| gone(()))?;
        answer.await.map_err(|_| gone(()))?
    }

    /// The checks of `/ready`.
    pub const fn checks(&self) -> &Checks {
        &self.checks
    }
}

/// A gateway that is bound and has recovered its journal, and does nothing yet.
#[derive(Debug)]
pub struct Gateway {
    brain: brain::Parts,
    witnesses: witness::Ready,
    copies: copies::Ready,
    inputs: Bound,
    listener: http::Listener,
    socket: socket::Socket,
    page: Option<page::Options>,
    addrs: LocalAddrs,
    handle: Handle,
    camera_limits: camera::Limits,
    sessions: (sessions::SessionLog, health::Health),
}

/// What is bound of the brain's inputs before the threads start.
#[derive(Debug)]
struct Bound {
    events: mpsc::Receiver<link::Event<crate::format::control::ToGateway>>,
    reloads: mpsc::Receiver<brain::ReloadReply>,
    orders: mpsc::Receiver<frames::Order>,
    page: mpsc::Receiver<page::Ask>,
}

impl Gateway {
    /// Reads certificates, locks and recovers the journal, binds metrics and socket.
    ///
    /// # Errors
    /// See [`Error`]: each says what to correct.
    pub async fn bind(loaded: Loaded<settings::Gateway>, options: Options) -> Result<Self, Error> {
        let loaded = brain::shared(loaded);
        let settings = Arc::clone(&loaded.settings);
        let address = settings.metrics;
        let listener = http::Listener::bind(address, None)
            .await
            .map_err(|cause| Error::Metrics { address, cause })?;
        let page_listener = listen(settings.page.as_ref()).await?;
        let clock = options.clock.clone();
        let opened = tokio::task::spawn_blocking({
            let (settings, clock) = (Arc::clone(&settings), clock.clone());
            move || open(&settings, clock)
        });
        let (rules, writer, recovered, certificate) = opened
            .await
            .map_err(|error| Error::Ended(error.to_string()))??;
        let metrics = metrics(&settings)?;
        writer.count_with(metrics.counters(&clock));
        let (events, event_receiver) = mpsc::channel(brain::EVENT_LIMIT);
        let dialer = Dialer::new(
            &settings,
            link::dial::Parts {
                clock: clock.clone(),
                metrics: Arc::clone(&metrics),
                events,
                pace: options.link_pace,
            },
        )?;
        let now = clock.now();
        let first_relay = getrandom::u32().unwrap_or(1);
        let (desk, shared, stirred) = desk(&rules, now);
        let mut gate = Gate::new(rules, first_relay);
        gate.handle_note(Entry::Started {
            by: settings.commune.to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            settings: loaded.hash,
            certificate,
        });
        gate.handle_recovered(&recovered.entries, recovered.newest, now);
        let notices = notify::Options {
            owner: notify::notice::Owner::Commune(settings.commune.clone()),
            clock: clock.clone(),
            counter: metrics.notices_total.clone(),
            state_dir: settings.state_dir.clone(),
            limit: notify::ANSWER_LIMIT,
        };
        let notices = Notices::start(notices, settings.notify.clone());
        let notices =
            notices.map_err(|error| Error::Ended(format!("thread of notices: {error}")))?;
        for (_, _, entry) in &recovered.entries {
            notices.recover(entry);
        }
        if let Some(by) = options.accept_clock {
            gate.handle_clock_accepted(by, now);
        }
        for (journal, by) in options.accept_journals {
            gate.handle_journal_accepted(journal, by);
        }
        if gate.losses().own().is_some() {
            notices.own_loss();
        }
        if let Some(group) = &settings.socket_group {
            let keys = settings
                .agreements
                .iter()
                .map(|agreement| &agreement.tls.key);
            let files = keys.chain([&settings.tls.key, &loaded.file]);
            socket::warn_of_readers(group, files.map(PathBuf::as_path));
        }
        // Last, for it replaces the socket of a gateway that was killed; by now
        // the journal's lock says that none is alive.
        let path = settings.socket.clone();
        let socket = socket::Socket::bind(&path, settings.socket_group.as_deref())
            .map_err(|cause| Error::Socket { path, cause })?;
        let metrics_address = listener.local_addr();
        let addrs = LocalAddrs {
            metrics: metrics_address.map_err(|cause| Error::Metrics { address, cause })?,
            socket: settings.socket.clone(),
            page: page_listener
                .as_ref()
                .and_then(|listener| listener.local_addr().ok()),
        };
        let (orders, order_receiver) = mpsc::channel(brain::ORDER_LIMIT);
        let (reloads, reload_receiver) = mpsc::channel(RELOAD_LIMIT);
        let sessions = sessions::SessionLog::default();
        let health = health::Health::default();
        let centres = settings.agreements.iter().map(|one| &one.centre);
        let counts = (Arc::clone(&metrics), sessions.clone());
        let attest = attest::Attest::new(counts, centres, &recovered.entries, now);
        let checks = Checks::expecting(&["journal", "link"]);
        let (asks, ask_receiver) = mpsc::channel(page::ASK_LIMIT);
        let page = page_listener.map(|listener| page::Options {
            listener,
            clock: clock.clone(),
            checks: checks.clone(),
            asks,
            shared,
            stirred,
            demo: options.demo_page,
        });
        let witnesses = witness::Parts {
            state_dir: settings.state_dir.clone(),
            owner: settings.commune.to_string(),
            writer: writer.clone(),
            clock: clock.clone(),
            metrics: metrics.witnesses.clone(),
            checks: checks.clone(),
            notices: notices.clone(),
            known: witness::Known::of(&recovered.entries),
        };
        let (witnesses, ready) = witness::ready(witnesses, &settings.witnesses);
        let copies = copies::Parts {
            state_dir: settings.state_dir.clone(),
            owner: settings.commune.to_string(),
            writer: writer.clone(),
            clock: clock.clone(),
            metrics: metrics.copies.clone(),
            checks: checks.clone(),
        };
        let (copies, ready_copies) = copies::ready(copies, settings.copies.as_ref());
        Ok(Self {
            brain: brain::Parts {
                gate,
                attest,
                health: health.clone(),
                looks: Looks::new(writer.clone(), options.look_every),
                clock,
                writer,
                metrics,
                notify: notices,
                checks: checks.clone(),
                orders,
                dialer,
                witnesses,
                copies,
                listener: listener.clone(),
                page_listener: page.as_ref().map(|page| page.listener.clone()),
                loaded,
                desk,
            },
            witnesses: ready,
            copies: ready_copies,
            inputs: Bound {
                events: event_receiver,
                reloads: reload_receiver,
                orders: order_receiver,
                page: ask_receiver,
            },
            listener,
            socket,
            page,
            addrs,
            handle: Handle { reloads, checks },
            camera_limits: options.camera_limits,
            sessions: (sessions, health),
        })
    }

    /// Where it listens.
    pub fn local_addrs(&self) -> &LocalAddrs {
        &self.addrs
    }

    /// For reloads.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// The metrics.
    pub fn metrics(&self) -> Arc<metrics::Gateway> {
        Arc::clone(&self.brain.metrics)
    }

    /// Runs until the token is cancelled, then stops in order.
    ///
    /// # Errors
    /// The frames thread could not start, or ended by itself.
    pub async fn run(self, token: CancellationToken) -> Result<(), Error> {
        let Self {
            brain,
            witnesses,
            copies,
            inputs,
            listener,
            socket,
            page,
            ..
        } = self;
        let (capacity, capacity_receiver) = watch::channel(None);
        let (notices, notice_receiver) = mpsc::channel(brain::NOTICE_LIMIT);
        let frames_end = frames::start(frames::Parts {
            settings: Arc::clone(&brain.loaded.settings),
            clock: brain.clock.clone(),
            metrics: Arc::clone(&brain.metrics),
            limits: self.camera_limits,
            sessions: self.sessions,
            dialer: brain.dialer.clone(),
            orders: inputs.orders,
            notices,
            capacity,
        })
        .map_err(|error| Error::Ended(format!("frames thread: {error}")))?;
        let no_thread = |error| Error::Ended(format!("a thread: {error}"));
        let witnesses = witnesses.start(token.clone()).map_err(no_thread)?;
        let copies = copies.start(token.clone()).map_err(no_thread)?;
        let (writer, clock) = (brain.writer.clone(), brain.clock.clone());
        let settings = &brain.loaded.settings;
        writer.set_keep(settings.keep, !settings.witnesses.is_empty());
        let metrics = Arc::clone(&brain.metrics);
        let router = metrics::serve::router(move || metrics.encode(), brain.checks.clone());
        let (asked, asked_receiver) = mpsc::channel(socket::CONNECTION_LIMIT);
        let mut servers = JoinSet::new();
        // Metrics are served to the last; the socket ends with the requests.
        let last = CancellationToken::new();
        let limits = http::Limits::default();
        servers.spawn(http::serve(listener, router, limits, last.clone()));
        servers.spawn(socket.serve(asked, token.clone()));
        if let Some(page) = page {
            servers.spawn(page::serve(page, token.clone()));
        }
        servers.spawn(retention::daily(writer, clock, is_plausible, token.clone()));
        let inputs = brain::Inputs {
            events: inputs.events,
            notices: notice_receiver,
            asked: asked_receiver,
            reloads: inputs.reloads,
            page: inputs.page,
            capacity: capacity_receiver,
            frames_end,
        };
        let result = brain::Brain::new(brain).run(inputs, token.clone()).await;
        token.cancel();
        last.cancel();
        witnesses.ended().await;
        copies.ended().await;
        while servers.join_next().await.is_some() {}
        result.map_err(Error::Ended)
    }
}

/// What the brain holds for the page, and what the page sees of it.
fn desk(
    rules: &Rulebook,
    now: Now,
) -> (
    brain::Desk,
    watch::Receiver<Arc<page::Shared>>,
    watch::Receiver<u64>,
) {
    let (shared, shared_receiver) = watch::channel(Arc::new(page::Shared::of(rules, 0)));
    let (stirred, stirred_receiver) = watch::channel(0);
    let desk = brain::Desk {
        shared,
        stirred,
        waiting: BTreeMap::new(),
        next: 0,
        since: now.wall.rfc3339(),
    };
    (desk, shared_receiver, stirred_receiver)
}

/// Binds the commune's page.
async fn listen(page: Option<&settings::Page>) -> Result<Option<http::Listener>, Error> {
    let Some(page) = page else {
        return Ok(None);
    };
    let address = page.listen;
    let failed = |cause| Error::Page { address, cause };
    let tls = page.tls.as_ref();
    let tls = tls
        .map(|tls| http::tls_config(&tls.certificate, &tls.key, &["http/1.1"]))
        .transpose()
        .map_err(failed)?;
    let listener = http::Listener::bind(address, tls).await;
    listener
        .map(Some)
        .map_err(|error| failed(error.to_string()))
}

type Opened = (Rulebook, Writer, writer::Recovered, String);

/// What takes the disk's time.
fn open(settings: &Arc<settings::Gateway>, clock: Clock) -> Result<Opened, Error> {
    let signer = pki::signer(&settings.tls)?;
    let certificate = pki::text(&settings.tls.certificate)?;
    let (writer, recovered) = Writer::open(writer::Options {
        state_dir: settings.state_dir.clone(),
        owner: settings.commune.to_string(),
        signer,
        clock,
    })?;
    // After the lock: it writes in the state directory.
    let rules = rules::read_all(settings)?;
    Ok((rules, writer, recovered, certificate))
}

fn metrics(settings: &settings::Gateway) -> Result<Arc<metrics::Gateway>, Error> {
    let centres = settings
        .agreements
        .iter()
        .map(|agreement| &agreement.centre);
    let made = metrics::Gateway::new(centres, settings.cameras.len());
    let metrics = made.map_err(|error| Error::Ended(error.to_string()))?;
    metrics.apply(settings);
    metrics.config_last_reload_successful.set(1);
    Ok(Arc::new(metrics))
}
