//! Dials the centres from the gateway: one link to each, for as long as an
//! agreement names it, again and again with backoff.
//!
//! A link over TCP is the second best ([`super::reach`]): while it lives UDP is tried
//! again now and then, and once a link over UDP is open on both sides it takes the place
//! of the other, which to the control plane is a link that was lost and came back. A link
//! over UDP that carries relays and hears nothing any more gives way to one over TCP in
//! the same manner, once TCP gets through and UDP still does not.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::endpoint::{self, Carrier, Error, IDLE_TIMEOUT};
pub use super::reach::Pace;
use super::reach::{CONNECT_TIMEOUT, Opened, Sockets, Way, resolve};
use super::session::{self, Accepted, SETUP_TIMEOUT, Session, Side};
use super::socket::Giving;
use super::stats::Recorder;
use super::tls::{self, Peers};
use super::transport::Transport;
use super::tunnel;
use super::{Event, Link};
use crate::clock::Clock;
use crate::config::settings;
use crate::connect;
use crate::format::backoff::Backoff;
use crate::format::control::{ToGateway, ToReceiver};
use crate::format::ids::CentreId;
use crate::metrics;
use crate::pki::Kept;
use crate::reason::Reason;

/// Waits between rounds over a centre's addresses.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// How long no picture must have waited for the link before parity is sent.
const WAITED: Duration = Duration::from_secs(2);
/// An idle link that was lost is dialled again after anything from none to this.
/// A centre that stops in order loses all its gateways in one moment, and no gateway
/// knows how many others there are: a thousand then come back at 200 handshakes a
/// second, a small part of what a core carries. The mean of 2.5 s costs a lone gateway
/// nothing it would notice: a link rides out what passes within 30 s by itself.
/// A gateway that is being watched does not wait, as few are.
const SPREAD: Duration = Duration::from_secs(5);
/// How long a link that was lost with relays on it is tried for without a pause: operators
/// wait, and grants seldom last longer.
const REGAIN_FOR: Duration = Duration::from_secs(15 * 60);
/// How long a link over TCP that carries relays is silent before another is opened.
const TCP_PATIENCE: Duration = Duration::from_millis(1_500);
/// Pause once TCP gets through while UDP is silent. Where both were cut, UDP answers by
/// then: a probe leaves every 200 ms, and its answer takes half the round trips of TCP and
/// TLS.
const UDP_HOLD: Duration = Duration::from_millis(500);
/// How often a link is looked at: send window, figures.
const TICK: Duration = Duration::from_millis(250);
/// A link that stood this long counts as a success.
const STABLE: Duration = Duration::from_secs(30);

/// What a dialler works with.
#[derive(Clone, Debug)]
pub struct Parts {
    /// For certificates and the clock offset.
    pub clock: Clock,
    /// The gateway's metrics.
    pub metrics: Arc<metrics::Gateway>,
    /// Where events go.
    pub events: mpsc::Sender<Event<ToGateway>>,
    /// When TCP is tried, and QUIC again.
    pub pace: Pace,
}

/// One centre, as the settings want it dialled.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// Names and ports, tried in turn.
    pub(super) addresses: Vec<String>,
    /// How they are dialled.
    pub(super) way: Way,
}

/// Targets and certificates that new settings name, read and checked.
#[derive(Debug)]
pub struct Read {
    targets: Targets,
    accepted: Accepted,
    uplink: settings::Uplink,
}

pub(super) type Targets = Arc<BTreeMap<CentreId, Target>>;

/// Keeps a link to each centre. Cheap to clone, usable from any thread; its
/// [`Dialer::run`] belongs on the frames runtime.
#[derive(Clone, Debug)]
pub struct Dialer {
    parts: Parts,
    targets: watch::Sender<Targets>,
    accepted: watch::Sender<Accepted>,
    uplink: watch::Sender<settings::Uplink>,
    sessions: Arc<AtomicU64>,
}

impl Dialer {
    /// Reads certificates and keys; nothing is dialled before [`Dialer::run`].
    ///
    /// # Errors
    ///
    /// A file can't be read or does not fit; names it.
    pub fn new(settings: &settings::Gateway, parts: Parts) -> Result<Self, Error> {
        let kept = Kept::writing(&settings.state_dir);
        let (targets, accepted) = targets(settings, &kept, &parts.clock)?;
        Ok(Self {
            parts,
            targets: watch::Sender::new(targets),
            accepted: watch::Sender::new(accepted),
            uplink: watch::Sender::new(settings.uplink.clone()),
            sessions: Arc::default(),
        })
    }

    /// Reads what new settings name. Blocks: for a thread that may.
    ///
    /// # Errors
    /// A file that can't be read or is not what it should be.
    pub fn read(&self, settings: &settings::Gateway) -> Result<Read, Error> {
        let kept = Kept::writing(&settings.state_dir);
        let (targets, accepted) = targets(settings, &kept, &self.parts.clock)?;
        Ok(Read {
            targets,
            accepted,
            uplink: settings.uplink.clone(),
        })
    }

    /// Follows new settings: new centres are dialled, links to those that are gone or no
    /// longer accepted end.
    pub fn apply(&self, read: Read) {
        self.targets.send_replace(read.targets);
        self.accepted.send_replace(read.accepted);
        self.uplink.send_replace(read.uplink);
    }

    /// Keeps the links up until the token is cancelled; then closes them.
    ///
    /// # Errors
    ///
    /// No socket can be opened on this machine.
    pub async fn run(self, token: CancellationToken) -> Result<(), Error> {
        let (quic, parity) = endpoint::dial()?;
        let sockets = Sockets {
            quic,
            parity,
            carriers: TaskTracker::new(),
        };
        let mut watching = self.targets.subscribe();
        let mut centres: BTreeMap<CentreId, tokio::task::AbortHandle> = BTreeMap::new();
        let mut tasks = JoinSet::new();
        loop {
            let wanted: Vec<CentreId> = watching.borrow_and_update().keys().cloned().collect();
            for centre in wanted {
                if centres.get(&centre).is_some_and(|task| !task.is_finished()) {
                    continue;
                }
                let task = Centre {
                    name: centre.clone(),
                    dialer: self.clone(),
                    sockets: sockets.clone(),
                    token: token.clone(),
                };
                centres.insert(centre, tasks.spawn(task.run()));
            }
            tokio::select! {
                () = token.cancelled() => break,
                // A centre that was gone and is named again is dialled again.
                Some(_) = tasks.join_next() => {}
                _ = watching.changed() => {}
            }
        }
        while tasks.join_next().await.is_some() {}
        sockets.part().await;
        Ok(())
    }
}

/// Whom the settings want dialled, and how each is checked.
pub(super) fn targets(
    settings: &settings::Gateway,
    kept: &Kept,
    clock: &Clock,
) -> Result<(Targets, Accepted), Error> {
    let mut targets: BTreeMap<CentreId, Target> = BTreeMap::new();
    let mut accepted: BTreeMap<String, Arc<dyn Peers>> = BTreeMap::new();
    for agreement in &settings.agreements {
        // Several agreements with one centre share its link: the first one's
        // identity, everybody's addresses.
        if let Some(known) = targets.get_mut(&agreement.centre) {
            for address in &agreement.addresses {
                if !known.addresses.contains(address) {
                    known.addresses.push(address.clone());
                }
            }
            continue;
        }
        let end = tls::client(&agreement.tls, agreement.centre.as_str(), kept, clock)?;
        let known = Arc::default();
        let tunnel_known = Arc::default();
        let address = agreement.addresses.first().map_or("", String::as_str);
        let target = Target {
            addresses: agreement.addresses.clone(),
            way: Way {
                centre: agreement.centre.as_str().to_owned(),
                quic: endpoint::client_config(&end, &settings.uplink, &known, Carrier::Udp)?,
                known,
                tunnel: tunnel::Client::new(&end, address, &settings.uplink, &tunnel_known)?,
                tunnel_known,
            },
        };
        accepted.insert(agreement.centre.as_str().to_owned(), end.peers);
        targets.insert(agreement.centre.clone(), target);
    }
    Ok((Arc::new(targets), Arc::new(accepted)))
}

/// The task of one centre.
struct Centre {
    name: CentreId,
    dialer: Dialer,
    sockets: Sockets,
    token: CancellationToken,
}

impl Centre {
    async fn run(self) {
        let mut watching = self.dialer.targets.subscribe();
        let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1, STABLE);
        let mut told = String::new();
        let mut lost: Option<Lost> = None;
        let mut next = None;
        loop {
            let target = watching.borrow_and_update().get(&self.name).cloned();
            let Some(target) = target else {
                return;
            };
            let tried = match next.take() {
                Some(opened) => Ok(opened),
                None => tokio::select! {
                    () = self.token.cancelled() => return,
                    tried = self.connect(&target) => tried,
                    opened = self.regain(lost.as_ref()) => Ok(opened),
                },
            };
            let wait = match tried {
                Ok(opened) => {
                    told.clear();
                    let Stood { time, relaying } = self.serve(opened).await;
                    if self.token.is_cancelled() {
                        return;
                    }
                    lost = relaying;
                    if lost.is_some() {
                        backoff.failed(time, jitter())
                    } else {
                        backoff.shared(time, SPREAD, jitter())
                    }
                }
                Err(cause) => {
                    // The same cause every 30 s tells nobody anything new.
                    if cause == told {
                        tracing::debug!(centre = %self.name, %cause, "centre not reached");
                    } else {
                        tracing::warn!(centre = %self.name, %cause, "centre not reached, trying again");
                        told = cause;
                    }
                    backoff.failed(Duration::ZERO, jitter())
                }
            };
            tokio::select! {
                () = self.token.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
                opened = self.regain(lost.as_ref()) => next = Some(opened),
                changed = watching.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Tries each name in turn, the addresses of one staggered; gives an error that tells of all of them.
    async fn connect(&self, target: &Target) -> Result<Opened, String> {
        let mut causes = Vec::new();
        for address in &target.addresses {
            let found = match resolve(address).await {
                Ok(found) => found,
                Err(cause) => {
                    causes.push(format!("{address}: {cause}"));
                    continue;
                }
            };
            let pace = self.dialer.parts.pace;
            // A dead address of the name does not hold up those that live.
            let found = connect::alternate(found.into_iter());
            let reached = connect::race(found, connect::STAGGER, |found| async move {
                let reached = self.sockets.reach(&target.way, found, pace).await;
                reached.map_err(|cause| format!("{address} ({found}): {cause}"))
            });
            match reached.await {
                Ok((opened, _)) => return Ok(opened),
                Err(failed) => causes.extend(failed),
            }
        }
        if causes.is_empty() {
            causes.push("no address".to_owned());
        }
        Err(causes.join("; "))
    }

    /// Regains a link that was lost with relays on it; never returns where none was, or too
    /// long ago.
    async fn regain(&self, lost: Option<&Lost>) -> Opened {
        let target = self.dialer.targets.borrow().get(&self.name).cloned();
        if let (Some(lost), Some(target)) = (lost, target) {
            let left = REGAIN_FOR.saturating_sub(lost.at.elapsed());
            let regained = self.sockets.regain(
                &target.way,
                lost.address,
                lost.transport,
                lost.rtt,
                lost.hold,
            );
            if let Ok(opened) = tokio::time::timeout(left, regained).await {
                return opened;
            }
        }
        std::future::pending().await
    }

    /// Runs a link to its end, and those that take its place without a gap.
    async fn serve(&self, opened: Opened) -> Stood {
        let since = Instant::now();
        let mut relaying = None;
        let mut next = Some(opened);
        while let Some(opened) = next {
            if opened.transport() == Transport::Tcp {
                let address = opened.connection.remote_address();
                tracing::warn!(
                    centre = %self.name,
                    "UDP to {address} gets no answer, using TCP; open outbound UDP {}",
                    address.port()
                );
            }
            (relaying, next) = self.serve_one(opened).await;
        }
        Stood {
            time: since.elapsed(),
            relaying,
        }
    }

    /// Runs a link until it ends or another takes its place: over UDP that of one over
    /// TCP, a new one that of one that is silent. Also says how it was lost where it
    /// carried relays.
    async fn serve_one(&self, opened: Opened) -> (Option<Lost>, Option<Opened>) {
        let transport = opened.transport();
        let target = self.dialer.targets.borrow().get(&self.name).cloned();
        let known = target.map(|target| Arc::clone(target.way.known(transport)));
        let link = Link::new(opened.connection.clone(), known.unwrap_or_default());
        let lost = |was_relaying: bool, rtt| {
            was_relaying.then(|| Lost {
                transport,
                address: link.peer_address(),
                rtt,
                at: Instant::now(),
                hold: Duration::ZERO,
            })
        };
        let rtt = link.rtt();
        let session = self.session(&link, opened);
        let other = async {
            match transport {
                Transport::Quic => self.replace_silent(&link).await,
                Transport::Tcp => tokio::select! {
                    opened = self.return_to_quic() => opened,
                    opened = self.replace_silent(&link) => opened,
                },
            }
        };
        tokio::pin!(session, other);
        let opened = tokio::select! {
            biased;
            was_relaying = &mut session => {
                let lost = lost(was_relaying, rtt);
                // The centre may know of the new link before we do.
                let closed = link.connection.close_reason();
                let is_replaced = closed.and_then(|closed| closed.reason())
                    == Some(Reason::LinkLost);
                let may_follow = transport == Transport::Tcp || link.is_silent();
                if !is_replaced || !may_follow {
                    return (lost, None);
                }
                let next = tokio::time::timeout(SETUP_TIMEOUT, other).await;
                return (lost, next.ok());
            }
            opened = &mut other => opened,
        };
        let cause = match (transport, opened.transport()) {
            (Transport::Tcp, Transport::Quic) => "UDP gets through again, back to QUIC",
            (Transport::Quic, Transport::Tcp) => "UDP gets no answer any more, TCP does",
            _ => "the path is back, a new link takes the place of the silent one",
        };
        tracing::info!(centre = %self.name, "{cause}");
        session::close(&link.connection, Reason::LinkLost, cause);
        // The control plane hears of the end before it hears of the new link.
        let was_relaying = session.await;
        (lost(was_relaying, rtt), Some(opened))
    }

    /// Waits until a link that carries relays has been silent for long, and opens another
    /// unless it is heard again meanwhile. QUIC's probes over UDP find the path again by
    /// themselves, so there TCP is tried beside them, in case UDP alone is dropped, and much
    /// later the centre's other addresses; the kernel's probes over TCP come the later the
    /// longer the path was cut.
    async fn replace_silent(&self, link: &Link) -> Opened {
        let (patience, hold) = match link.transport() {
            Transport::Quic => (self.dialer.parts.pace.tcp_beside, UDP_HOLD),
            Transport::Tcp => (TCP_PATIENCE, Duration::ZERO),
        };
        loop {
            link.silent_for(patience).await;
            let lost = Lost {
                transport: Transport::Tcp,
                address: link.peer_address(),
                rtt: link.rtt(),
                at: Instant::now(),
                hold,
            };
            let elsewhere = async {
                if link.transport() == Transport::Tcp {
                    std::future::pending::<()>().await;
                }
                link.silent_for(IDLE_TIMEOUT).await;
                self.reconnect().await
            };
            tokio::select! {
                () = link.heard() => {}
                opened = self.regain(Some(&lost)) => return opened,
                opened = elsewhere => return opened,
            }
        }
    }

    /// Tries all addresses until one answers.
    async fn reconnect(&self) -> Opened {
        let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1, STABLE);
        loop {
            let target = self.dialer.targets.borrow().get(&self.name).cloned();
            if let Some(target) = target
                && let Ok(opened) = self.connect(&target).await
            {
                return opened;
            }
            tokio::time::sleep(backoff.failed(Duration::ZERO, jitter())).await;
        }
    }

    /// Parity for a link, where it may have any.
    fn giving(&self, link: &Link) -> Option<Giving> {
        let uplink = self.dialer.uplink.borrow().clone();
        let may = uplink.redundancy && link.transport() == Transport::Quic;
        let parity = self.sockets.parity.clone();
        may.then(|| {
            Giving::new(
                parity,
                link.peer_address(),
                uplink.max_bitrate,
                link.stats(),
            )
        })
    }

    /// Waits until a link over UDP is open on both sides.
    async fn return_to_quic(&self) -> Opened {
        let pace = self.dialer.parts.pace.quic_again;
        loop {
            tokio::time::sleep(pace.mul_f64(0.75 + jitter() / 2.0)).await;
            let target = self.dialer.targets.borrow().get(&self.name).cloned();
            let Some(target) = target else { continue };
            for address in &target.addresses {
                for found in resolve(address).await.unwrap_or_default() {
                    let quic = self.sockets.reach_quic(&target.way, found);
                    match tokio::time::timeout(CONNECT_TIMEOUT, quic).await {
                        Ok(Ok(opened)) => return opened,
                        Ok(Err(cause)) => {
                            tracing::debug!(centre = %self.name, %found, %cause, "no way back to QUIC");
                        }
                        Err(_) => {
                            tracing::debug!(centre = %self.name, %found, "still no answer over UDP");
                        }
                    }
                }
            }
        }
    }

    /// Runs one link to its end; says whether it carried relays when it was last looked at.
    async fn session(&self, link: &Link, opened: Opened) -> bool {
        let peer = self.name.as_str().to_owned();
        let number = self.dialer.sessions.fetch_add(1, Ordering::Relaxed) + 1;
        tracing::info!(
            centre = %peer, session = number, address = %link.peer_address(),
            transport = %link.transport(), key_exchange = link.key_exchange(), "link up"
        );
        let parts = &self.dialer.parts;
        let was_relaying = Arc::new(AtomicBool::new(false));
        let side = GatewaySide {
            recorder: Recorder::new(Arc::clone(&parts.metrics), &peer, link.clone()),
            clock: parts.clock.clone(),
            metrics: Arc::clone(&parts.metrics),
            centre: peer.clone(),
            ticks: 0,
            giving: self.giving(link),
            was_relaying: Arc::clone(&was_relaying),
        };
        let session = Session {
            peer,
            number,
            link: link.clone(),
            streams: (opened.send, opened.receive),
            events: parts.events.clone(),
            clock: parts.clock.clone(),
            accepted: self.dialer.accepted.subscribe(),
            token: self.token.clone(),
        };
        session.run(side).await;
        was_relaying.load(Ordering::Relaxed)
    }
}

/// In 0..1; without randomness all gateways come back at once, which is bearable.
fn jitter() -> f64 {
    getrandom::u32().map_or(1.0, |random| f64::from(random) / f64::from(u32::MAX))
}

/// A link, or several of which each took the place of the one before.
struct Stood {
    time: Duration,
    /// The last one, where it carried relays when it was last looked at.
    relaying: Option<Lost>,
}

/// A link that was lost while it carried relays.
struct Lost {
    transport: Transport,
    address: std::net::SocketAddr,
    rtt: Duration,
    at: Instant,
    /// See [`Sockets::regain`].
    hold: Duration,
}

/// What the gateway does with its links.
struct GatewaySide {
    recorder: Recorder,
    clock: Clock,
    metrics: Arc<metrics::Gateway>,
    centre: String,
    ticks: u32,
    /// Parity, over UDP.
    giving: Option<Giving>,
    was_relaying: Arc<AtomicBool>,
}

impl Side for GatewaySide {
    type Message = ToGateway;

    fn message(&mut self, link: &Link, message: ToGateway) -> Option<ToGateway> {
        let (echo, wall) = match message {
            ToGateway::Time { echo, wall } => (echo, wall),
            ToGateway::Recovered { packets } => {
                if let Some(giving) = &mut self.giving {
                    giving.note_made(packets);
                }
                return None;
            }
            other => return Some(other),
        };
        // Answered here: a wait for the control plane would look like an offset.
        let now = self.clock.now().wall.0;
        link.send(&ToReceiver::Time { echo, wall: now });
        if let Some(wall) = wall {
            let half = i64::try_from(link.rtt().as_micros() / 2).unwrap_or(0);
            link.set_clock_offset(wall.saturating_add(half).saturating_sub(now));
            #[allow(clippy::cast_precision_loss)] // below 2^53 for 285 years
            self.metrics
                .link_clock_offset_seconds
                .with_label_values(&[&self.centre])
                .set(link.clock_offset_us() as f64 / 1e6);
        }
        None
    }

    fn tick(&mut self, link: &Link) -> Duration {
        self.was_relaying
            .store(link.relays() > 0, Ordering::Relaxed);
        let now = link.stats();
        link.set_send_window(now.window);
        if let Some(giving) = &mut self.giving {
            let boot = self.clock.now().boot;
            let has_room = !link.known().queues() && !link.waited(boot, WAITED);
            self.recorder.parity(giving.tick(now, has_room));
        }
        if self.ticks.is_multiple_of(4) {
            self.recorder.record();
        }
        self.ticks = self.ticks.wrapping_add(1);
        TICK
    }
}
