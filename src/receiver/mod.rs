//! The receiver: the centre's daemon. Makes the same check as the gateway, adds
//! no authority, and serves what it gets to operators and players.
//!
//! Two threads: *frames* ([`frames`]: links, [`hub`], viewers) and the
//! caller's runtime with the control task ([`brain`], which drives
//! [`crate::policy::desk`]), the API and the metrics; the journal has its own.
//!
//! It ends in this order: no more requests, viewers are told why and end, their
//! viewings and `stopped` are journalled, players and gateways are told
//! good-bye, the journal is closed.

mod accounts;
pub mod api;
pub mod atlas;
mod brain;
mod camera;
mod card;
mod communes;
pub mod control;
pub mod credentials;
pub mod designations;
mod frames;
pub mod hub;
pub mod incidents;
pub mod library;
mod listeners;
mod outbox;
mod pace;
mod players;
mod reload;
pub mod rules;
mod streams;
mod texts;
mod viewer;
pub mod viewing;
mod vms;
mod watched;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{broadcast, mpsc, watch};
use tokio_util::sync::CancellationToken;

use self::accounts::Accounts;
use self::control::{ASKS, Control, NOTICES, Shared, Table};
use self::listeners::Listeners;
use crate::clock::Clock;
use crate::config::{Loaded, settings};
use crate::copies;
use crate::format::designation::Authority;
use crate::format::jws::Signer;
use crate::http;
use crate::journal::entry::Entry;
use crate::journal::looks::{LOOK_EVERY, Looks};
use crate::journal::retention;
use crate::journal::writer::{Options as JournalOptions, Recovered, Writer};
use crate::link::accept::{Acceptor, Parts};
use crate::metrics;
use crate::metrics::health::{Check, Checks};
use crate::notify::{self, Notices};
use crate::pki;
use crate::policy::desk::Desk;
use crate::policy::peer::clock_guard::is_plausible;
use crate::policy::record;
use crate::records::Records;
use crate::witness;

/// Events of links that wait for the control task; then the links wait.
const LINK_EVENTS: usize = 256;
/// Events of the hub that wait for the control task; the hub keeps the rest.
const HUB_EVENTS: usize = 1_024;

/// Why the receiver can't start or go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Error(String);

impl From<pki::Error> for Error {
    fn from(error: pki::Error) -> Self {
        Self(error.to_string())
    }
}

impl From<String> for Error {
    fn from(text: String) -> Self {
        Self(text)
    }
}

/// What a receiver is started with besides its settings.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the time comes from.
    pub clock: Clock,
    /// Who accepts the clock as it is, though the journal holds a later time.
    pub accept_clock: Option<String>,
    /// Whose journals an administrator accepts as they are, by their owners' ids, and who
    /// that administrator is.
    pub accept_journals: BTreeMap<String, String>,
    /// How long players wait for pictures, and how old those may be that they get.
    pub waits: viewing::Waits,
    /// Whether the page signs in with a key in its address (`#demo=…`): `fanal demo` alone.
    /// On any other page a link would sign its reader in as somebody else.
    pub demo_page: bool,
    /// How often it looks whether its journal is still what it wrote.
    pub look_every: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            clock: Clock::system(),
            accept_clock: None,
            accept_journals: BTreeMap::new(),
            waits: viewing::Waits::default(),
            demo_page: false,
            look_every: LOOK_EVERY,
        }
    }
}

/// Where a receiver listens, with the ports the system chose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// Console and API.
    pub console: SocketAddr,
    /// Clear RTSP, where set.
    pub rtsp: Option<SocketAddr>,
    /// RTSPS, where set.
    pub rtsps: Option<SocketAddr>,
    /// Links of gateways.
    pub link: Vec<SocketAddr>,
    /// Metrics and health.
    pub metrics: SocketAddr,
}

impl Addresses {
    fn of(listeners: &Listeners, acceptor: &Acceptor) -> Self {
        // Both are always bound.
        let always = |listener: &http::Listener| {
            let none = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0);
            listener.address().unwrap_or(none)
        };
        Self {
            console: always(&listeners.console),
            rtsp: listeners.rtsp.address(),
            rtsps: listeners.rtsps.address(),
            link: acceptor.local_addrs(),
            metrics: always(&listeners.metrics),
        }
    }
}

/// A bound receiver. Nobody is answered before [`Receiver::run`].
#[derive(Debug)]
pub struct Receiver {
    addresses: Addresses,
    control: Control,
    parts: RunParts,
}

struct RunParts {
    brain: brain::Brain,
    witnesses: witness::Ready,
    copies: copies::Ready,
    frames: frames::Frames,
    journal: Writer,
    console: (http::Listener, axum::Router),
    metrics: (http::Listener, axum::Router),
    api_token: CancellationToken,
}

impl std::fmt::Debug for RunParts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunParts").finish_non_exhaustive()
    }
}

impl Receiver {
    /// Opens the journal, takes up what it holds, and binds all sockets. Must be
    /// called inside the runtime that runs it.
    ///
    /// # Errors
    /// A file, directory or address that can't be used; the text names it.
    pub async fn bind(loaded: Loaded<settings::Receiver>, options: Options) -> Result<Self, Error> {
        let clock = options.clock.clone();
        let (waits, demo_page) = (options.waits, options.demo_page);
        let look_every = options.look_every;
        let core = Core::open(loaded, options).await?;
        let settings = core.settings;
        let (table_sender, table) =
            watch::channel(Arc::new(Table::of(&core.desk, &Table::default())));
        let (link_sender, link_events) = mpsc::channel(LINK_EVENTS);
        let (hub_sender, hub_events) = mpsc::channel(HUB_EVENTS);
        let (ask_sender, asks) = mpsc::channel(ASKS);
        let (notices, _) = broadcast::channel(NOTICES);
        let metrics = core.metrics;
        let hub = hub::Hub::with_waits(clock.clone(), Arc::clone(&metrics), hub_sender, waits);
        let accounts = watch::Sender::new(Arc::new(Accounts::of(&settings.accounts)));
        let library = library::Library {
            table: table.clone(),
            credentials: core.credentials.clone(),
            hub: hub.clone(),
            clock: clock.clone(),
            vms: vms::Vms {
                accounts: accounts.subscribe(),
                table: table.clone(),
                card: Arc::new(card::Card::new(clock.clone())),
                hub: hub.clone(),
                clock: clock.clone(),
                metrics: Arc::clone(&metrics),
            },
        };
        let parts = Parts {
            clock: clock.clone(),
            metrics: Arc::clone(&metrics),
            events: link_sender,
            taker: Arc::new(hub.clone()),
        };
        let listeners = Listeners::bind(&settings)?;
        let starting =
            frames::Frames::start(Arc::clone(&settings), parts, library, listeners.clone());
        let (frames, bound) = starting.await?;
        let addresses = Addresses::of(&listeners, &bound.acceptor);
        let (shared_sender, shared) = watch::channel(Arc::new(Shared {
            settings: Arc::clone(&settings),
            authorities: core.authorities,
            addresses: addresses.clone(),
            generation: 0,
        }));
        let control = Control {
            asks: ask_sender,
            table,
            shared,
            notices: notices.clone(),
        };
        let checks = Checks::expecting(&["journal", "listening"]);
        let witnesses = witness::Parts {
            state_dir: settings.state_dir.clone(),
            owner: settings.centre.to_string(),
            writer: core.journal.clone(),
            clock: clock.clone(),
            metrics: metrics.witnesses.clone(),
            checks: checks.clone(),
            notices: core.notify.clone(),
            known: core.known,
        };
        let (witnesses, ready) = witness::ready(witnesses, &settings.witnesses);
        let copies = copies::Parts {
            state_dir: settings.state_dir.clone(),
            owner: settings.centre.to_string(),
            writer: core.journal.clone(),
            clock: clock.clone(),
            metrics: metrics.copies.clone(),
            checks: checks.clone(),
        };
        let (copies, ready_copies) = copies::ready(copies, settings.copies.as_ref());
        let atlas = atlas::Atlas::start(&settings.console, checks.clone())?;
        let api_token = CancellationToken::new();
        let parts = incidents::Parts {
            journal: core.journal.clone(),
            clock: clock.clone(),
            notices: notices.clone(),
        };
        let incidents = incidents::Incidents::new(core.records, parts);
        let router = api::router(api::Options {
            control: control.clone(),
            incidents: incidents.clone(),
            journal: core.journal.clone(),
            hub: hub.clone(),
            credentials: core.credentials.clone(),
            clock: clock.clone(),
            atlas: Arc::clone(&atlas),
            demo_page,
            frames: bound.runtime,
            token: api_token.clone(),
        });
        reload::show_warnings(&checks, &settings);
        let encode = {
            let metrics = Arc::clone(&metrics);
            move || metrics.encode()
        };
        let page_router = metrics::serve::router(encode, checks.clone());
        let brain = brain::Brain {
            desk: core.desk,
            credentials: core.credentials,
            watched: core.watched,
            hub,
            looks: Looks::new(core.journal.clone(), look_every),
            records: Records::new(core.journal.clone(), core.notify.clone()),
            journal: core.journal.clone(),
            metrics,
            notify: core.notify,
            checks,
            clock,
            atlas,
            incidents,
            acceptor: bound.acceptor,
            witnesses,
            copies,
            listeners: listeners.clone(),
            asks,
            link_events,
            hub_events,
            accounts,
            table: table_sender,
            shared: shared_sender,
            notices,
            state: brain::State::default(),
        };
        Ok(Self {
            addresses,
            control,
            parts: RunParts {
                brain,
                witnesses: ready,
                copies: ready_copies,
                frames,
                journal: core.journal,
                console: (listeners.console, router),
                metrics: (listeners.metrics, page_router),
                api_token,
            },
        })
    }

    /// Where it listens.
    pub fn local_addrs(&self) -> &Addresses {
        &self.addresses
    }

    /// The metrics.
    pub fn metrics(&self) -> Arc<metrics::Receiver> {
        Arc::clone(&self.parts.brain.metrics)
    }

    /// A handle to the control task, for reloads.
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// The checks of `/ready`.
    pub fn checks(&self) -> Checks {
        self.parts.brain.checks.clone()
    }

    /// Serves until the token is cancelled; then ends in order.
    ///
    /// # Errors
    /// A part of it failed and all was stopped.
    pub async fn run(self, token: CancellationToken) -> Result<(), Error> {
        let RunParts {
            brain,
            witnesses,
            copies,
            mut frames,
            journal,
            console,
            metrics,
            api_token,
        } = self.parts;
        // Also where a part of the receiver ended by itself.
        let background_token = token.child_token();
        let no_thread = |error| Error(format!("a thread: {error}"));
        let witnesses = witnesses.start(background_token.clone());
        let witnesses = witnesses.map_err(no_thread)?;
        let copies = copies.start(background_token.clone()).map_err(no_thread)?;
        let brain_token = CancellationToken::new();
        let page_token = CancellationToken::new();
        brain.checks.set("listening", Check::ok("all sockets"));
        frames.go();
        let mut tasks = tokio::task::JoinSet::new();
        let (listener, router) = metrics;
        let pages = http::serve(
            listener,
            router,
            http::Limits::default(),
            page_token.clone(),
        );
        tasks.spawn(pages);
        let (listener, router) = console;
        let limits = http::Limits::default();
        let console = tasks.spawn(http::serve(listener, router, limits, api_token.clone()));
        let pruning = retention::daily(
            journal.clone(),
            brain.clock.clone(),
            is_plausible,
            brain_token.clone(),
        );
        tasks.spawn(pruning);
        let brain_task = tasks.spawn(brain.run(brain_token.clone()));

        let failed = tokio::select! {
            biased;
            () = token.cancelled() => None,
            _ = &mut frames.over => Some("the frames thread ended"),
            _ = tasks.join_next() => Some("a task of the control plane ended"),
        };
        if let Some(failed) = failed {
            tracing::error!("{failed}; stopping");
        }
        tracing::info!("stopping: no more requests");
        api_token.cancel();
        wait_for(&mut tasks, &console).await;
        tracing::info!("stopping: viewers end, the journal is finished");
        brain_token.cancel();
        wait_for(&mut tasks, &brain_task).await;
        tracing::info!("stopping: players and gateways are told");
        let whole = frames.stop().await;
        page_token.cancel();
        while tasks.join_next().await.is_some() {}
        background_token.cancel();
        witnesses.ended().await;
        copies.ended().await;
        journal.close().await;
        tracing::info!("stopped");
        match failed {
            None if whole => Ok(()),
            None => Err(Error("the frames thread failed".to_owned())),
            Some(failed) => Err(Error(failed.to_owned())),
        }
    }
}

/// Waits until this task is over.
async fn wait_for(tasks: &mut tokio::task::JoinSet<()>, task: &tokio::task::AbortHandle) {
    while !task.is_finished() {
        if let Some(Err(error)) = tasks.join_next().await {
            tracing::error!(%error, "a task failed");
        }
    }
}

/// What is read from files before anything listens.
struct Core {
    settings: Arc<settings::Receiver>,
    metrics: Arc<metrics::Receiver>,
    notify: Notices,
    journal: Writer,
    known: witness::Known,
    desk: Desk,
    credentials: credentials::Credentials,
    records: (record::Records, texts::Texts),
    authorities: Arc<[Authority]>,
    watched: watched::Watched,
}

impl Core {
    async fn open(loaded: Loaded<settings::Receiver>, options: Options) -> Result<Self, Error> {
        let settings = Arc::new(loaded.settings);
        let metrics = metrics::Receiver::new(settings.communes.keys());
        let metrics = Arc::new(metrics.map_err(|error| error.to_string())?);
        metrics.apply(&settings);
        metrics.config_last_reload_successful.set(1);
        let signer = pki::signer(&settings.tls)?;
        let (journal, recovered) = open_journal(&settings, signer, &options.clock).await?;
        journal.count_with(metrics.counters(&options.clock));
        // After the lock: it writes in the state directory.
        let rulebook = rules::read(&settings)?;
        let authorities: Arc<[Authority]> = rulebook.authorities.clone().into();
        let now = options.clock.now();
        let (state_dir, known) = (settings.state_dir.clone(), Arc::clone(&authorities));
        let read = move || incidents::read(&state_dir, now.wall, &known);
        let records = tokio::task::spawn_blocking(read).await;
        let records = records.map_err(|error| error.to_string())??;
        let mut desk = Desk::new(rulebook);
        let (watched, watched_until) = watched::Watched::open(&settings.state_dir)?;
        desk.handle_recovered(&recovered.entries, recovered.newest, watched_until, now);
        let notices = notify::Options {
            owner: notify::notice::Owner::Centre(settings.centre.clone()),
            clock: options.clock.clone(),
            counter: metrics.notices_total.clone(),
            state_dir: settings.state_dir.clone(),
            limit: notify::ANSWER_LIMIT,
        };
        let notices = Notices::start(notices, settings.notify.clone());
        let notices = notices.map_err(|error| format!("thread of notices: {error}"))?;
        for (_, _, entry) in &recovered.entries {
            notices.recover(entry);
        }
        desk.handle_note(Entry::Started {
            by: settings.centre.to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            settings: loaded.hash,
            certificate: pki::text(&settings.tls.certificate)?,
        });
        if let Some(by) = options.accept_clock {
            desk.handle_clock_accepted(by, now);
        }
        for (journal, by) in options.accept_journals {
            desk.handle_journal_accepted(journal, by);
        }
        if desk.losses().own().is_some() {
            notices.own_loss();
        }
        Ok(Self {
            credentials: credentials::Credentials::open(&settings.state_dir)?,
            watched,
            records,
            settings,
            metrics,
            notify: notices,
            journal,
            known: witness::Known::of(&recovered.entries),
            desk,
            authorities,
        })
    }
}

/// Reads every line there is, so not on the runtime's thread.
async fn open_journal(
    settings: &settings::Receiver,
    signer: Arc<Signer>,
    clock: &Clock,
) -> Result<(Writer, Recovered), Error> {
    let options = JournalOptions {
        state_dir: settings.state_dir.clone(),
        owner: settings.centre.to_string(),
        signer,
        clock: clock.clone(),
    };
    let opened = tokio::task::spawn_blocking(|| Writer::open(options)).await;
    let opened = opened.map_err(|error| Error(error.to_string()))?;
    let (writer, recovered) = opened.map_err(|error| Error(error.to_string()))?;
    writer.set_keep(settings.keep, !settings.witnesses.is_empty());
    Ok((writer, recovered))
}
