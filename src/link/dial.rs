//! Dials the centres from the gateway: a link to each receiver, for as long as an agreement
//! names its address, again and again with backoff. Each address has a task of its own; of
//! several that lead to one receiver, one has the link and the others wait ([`super::claims`]).
//!
//! A link over TCP is the second best ([`super::reach`]): while it lives UDP is tried
//! again now and then, and once a link over UDP is open on both sides it takes the place
//! of the other, which to the control plane is a link that was lost and came back. A link
//! over UDP that carries relays and hears nothing any more gives way to one over TCP in
//! the same manner, once TCP gets through and UDP still does not.

mod side;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::side::GatewaySide;
use super::claims::{Claims, Place};
use super::endpoint::{self, Carrier, Error, IDLE_TIMEOUT};
pub use super::reach::Pace;
use super::reach::{ALREADY, CONNECT_TIMEOUT, Opened, Sockets, Way, resolve};
use super::session::{self, Accepted, SETUP_TIMEOUT, Session};
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
use crate::format::control::ToGateway;
use crate::format::designation::key_thumbprint;
use crate::format::ids::CentreId;
use crate::metrics;
use crate::pki::Kept;
use crate::reason::Reason;

/// How long an address waits that leads to a receiver which is linked by another one, where no
/// link is lost meanwhile: it may come to lead elsewhere.
const ALTERNATIVE: Duration = Duration::from_secs(300);
/// Waits between attempts.
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

/// One address of a centre, as the settings want it dialled.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// How it is dialled.
    pub(super) way: Way,
}

/// Targets and certificates that new settings name, read and checked.
#[derive(Debug)]
pub struct Read {
    targets: Targets,
    accepted: Accepted,
    uplink: settings::Uplink,
}

pub(super) type Targets = Arc<BTreeMap<Place, Target>>;

/// Keeps a link to each centre. Cheap to clone, usable from any thread; its
/// [`Dialer::run`] belongs on the frames runtime.
#[derive(Clone, Debug)]
pub struct Dialer {
    parts: Parts,
    targets: watch::Sender<Targets>,
    accepted: watch::Sender<Accepted>,
    uplink: watch::Sender<settings::Uplink>,
    sessions: Arc<AtomicU64>,
    claims: Claims,
    /// Addresses that are not reached, while others of their centre may be.
    away: Arc<Mutex<BTreeSet<Place>>>,
}

impl Dialer {
    /// Reads certificates and keys; nothing is dialled before [`Dialer::run`].
    ///
    /// # Errors
    ///
    /// A file can't be read or does not fit; names it.
    pub fn new(settings: &settings::Gateway, parts: Parts) -> Result<Self, Error> {
        let kept = Kept::writing(&settings.state_dir);
        let claims = Claims::default();
        let (targets, accepted) = targets(settings, &kept, &parts.clock, &claims)?;
        Ok(Self {
            parts,
            targets: watch::Sender::new(targets),
            accepted: watch::Sender::new(accepted),
            uplink: watch::Sender::new(settings.uplink.clone()),
            sessions: Arc::default(),
            claims,
            away: Arc::default(),
        })
    }

    /// Reads what new settings name. Blocks: for a thread that may.
    ///
    /// # Errors
    /// A file that can't be read or is not what it should be.
    pub fn read(&self, settings: &settings::Gateway) -> Result<Read, Error> {
        let kept = Kept::writing(&settings.state_dir);
        let (targets, accepted) = targets(settings, &kept, &self.parts.clock, &self.claims)?;
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

    /// Addresses that are not reached, though their centre has others, for people.
    pub fn alone(&self) -> Vec<String> {
        let targets = self.targets.borrow().clone();
        let away = self.away.lock().unwrap_or_else(PoisonError::into_inner);
        let several = |centre: &CentreId| targets.keys().filter(|(of, _)| of == centre).count() > 1;
        let away = away
            .iter()
            .filter(|place| targets.contains_key(*place) && several(&place.0));
        away.map(|(_, address)| address.clone()).collect()
    }

    fn is_away(&self, place: &Place, is_away: bool) {
        let mut away = self.away.lock().unwrap_or_else(PoisonError::into_inner);
        if is_away {
            away.insert(place.clone());
        } else {
            away.remove(place);
        }
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
        let mut places: BTreeMap<Place, tokio::task::AbortHandle> = BTreeMap::new();
        let mut tasks = JoinSet::new();
        loop {
            let wanted: Vec<Place> = watching.borrow_and_update().keys().cloned().collect();
            for place in wanted {
                if places.get(&place).is_some_and(|task| !task.is_finished()) {
                    continue;
                }
                let task = Address {
                    place: place.clone(),
                    dialer: self.clone(),
                    sockets: sockets.clone(),
                    token: token.clone(),
                };
                places.insert(place, tasks.spawn(task.run()));
            }
            tokio::select! {
                () = token.cancelled() => break,
                // An address that was gone and is named again is dialled again.
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
    claims: &Claims,
) -> Result<(Targets, Accepted), Error> {
    let mut targets: BTreeMap<Place, Target> = BTreeMap::new();
    let mut accepted: BTreeMap<String, Arc<dyn Peers>> = BTreeMap::new();
    for agreement in &settings.agreements {
        // Several agreements with one centre name the same addresses and certificates.
        let end = tls::client(&agreement.tls, agreement.centre.as_str(), kept, clock)?;
        for address in &agreement.addresses {
            let place = (agreement.centre.clone(), address.clone());
            if targets.contains_key(&place) {
                continue;
            }
            let known = Arc::default();
            let tunnel_known = Arc::default();
            let way = Way {
                centre: agreement.centre.as_str().to_owned(),
                quic: endpoint::client_config(&end, &settings.uplink, &known, Carrier::Udp)?,
                known,
                tunnel: tunnel::Client::new(&end, address, &settings.uplink, &tunnel_known)?,
                tunnel_known,
                claims: claims.clone(),
                place: place.clone(),
            };
            targets.insert(place, Target { way });
        }
        let centre = agreement.centre.as_str().to_owned();
        accepted.entry(centre).or_insert(end.peers);
    }
    Ok((Arc::new(targets), Arc::new(accepted)))
}

/// The task of one address of a centre.
struct Address {
    place: Place,
    dialer: Dialer,
    sockets: Sockets,
    token: CancellationToken,
}

impl Address {
    /// The target, while the settings name it.
    fn target(&self) -> Option<Target> {
        self.dialer.targets.borrow().get(&self.place).cloned()
    }

    async fn run(self) {
        self.keep_linked().await;
        self.dialer.claims.release(&self.place);
        self.dialer.is_away(&self.place, false);
    }

    async fn keep_linked(&self) {
        let mut watching = self.dialer.targets.subscribe();
        let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1, STABLE);
        let mut told = String::new();
        let mut lost: Option<Lost> = None;
        let mut next = None;
        loop {
            let mut alternative = false;
            let mut claims = self.dialer.claims.listen();
            watching.mark_unchanged();
            let Some(target) = self.target() else {
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
                    self.dialer.is_away(&self.place, false);
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
                Err(Unreached { cause, is_linked }) => {
                    self.dialer.is_away(&self.place, !is_linked);
                    let (centre, address) = &self.place;
                    // The same cause every 30 s tells nobody anything new.
                    if cause == told {
                        tracing::debug!(%centre, address, %cause, "centre not reached");
                    } else if is_linked {
                        tracing::info!(%centre, address, %cause, "no link of its own");
                    } else {
                        tracing::warn!(%centre, address, %cause, "centre not reached, trying again");
                    }
                    told = cause;
                    if is_linked {
                        alternative = true;
                        ALTERNATIVE
                    } else {
                        backoff.failed(Duration::ZERO, jitter())
                    }
                }
            };
            self.dialer.claims.release(&self.place);
            let freed = async {
                if !alternative {
                    std::future::pending::<()>().await;
                }
                claims.next().await;
                tokio::time::sleep(SPREAD.mul_f64(jitter())).await;
            };
            tokio::select! {
                () = self.token.cancelled() => return,
                () = freed => {}
                () = tokio::time::sleep(wait) => {}
                opened = self.regain(lost.as_ref()) => next = Some(opened),
                changed = watching.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Tries what the name stands for, staggered; gives an error that tells of all of it.
    async fn connect(&self, target: &Target) -> Result<Opened, Unreached> {
        let address = &self.place.1;
        let found = resolve(address).await.map_err(|cause| Unreached {
            cause: format!("{address}: {cause}"),
            is_linked: false,
        })?;
        let pace = self.dialer.parts.pace;
        // A dead address of the name does not hold up those that live.
        let found = connect::alternate(found.into_iter());
        let reached = connect::race(found, connect::STAGGER, |found| async move {
            let reached = self.sockets.reach(&target.way, found, pace).await;
            reached.map_err(|cause| format!("{address} ({found}): {cause}"))
        });
        let causes = match reached.await {
            Ok((opened, _)) => {
                let key = opened.connection.certificates();
                let key = key.first().and_then(key_thumbprint);
                self.dialer.claims.keep(&self.place, key);
                return Ok(opened);
            }
            Err(failed) if failed.is_empty() => vec!["no address".to_owned()],
            Err(failed) => failed,
        };
        Err(Unreached {
            is_linked: causes.iter().any(|cause| cause.contains(ALREADY)),
            cause: causes.join("; "),
        })
    }

    /// Waits until the settings name this address no more, but others of its centre: where the
    /// centre itself is gone, the session ends by itself.
    async fn unnamed(&self) {
        let mut targets = self.dialer.targets.subscribe();
        let (centre, _) = &self.place;
        let is_gone = |targets: &Targets| {
            let has_others = targets.keys().any(|(of, _)| of == centre);
            has_others && !targets.contains_key(&self.place)
        };
        // An error: the dialler is gone, and its token ends the session.
        if targets.wait_for(is_gone).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Regains a link that was lost with relays on it; never returns where none was, or too
    /// long ago.
    async fn regain(&self, lost: Option<&Lost>) -> Opened {
        if let (Some(lost), Some(target)) = (lost, self.target()) {
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
                    centre = %self.place.0,
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
        let known = self
            .target()
            .map(|target| Arc::clone(target.way.known(transport)));
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
            () = self.unnamed() => {
                let cause = "no agreement names this address any more";
                session::close(&link.connection, Reason::LinkLost, cause);
                session.await;
                return (None, None);
            }
        };
        let cause = match (transport, opened.transport()) {
            (Transport::Tcp, Transport::Quic) => "UDP gets through again, back to QUIC",
            (Transport::Quic, Transport::Tcp) => "UDP gets no answer any more, TCP does",
            _ => "the path is back, a new link takes the place of the silent one",
        };
        tracing::info!(centre = %self.place.0, "{cause}");
        session::close(&link.connection, Reason::LinkLost, cause);
        // The control plane hears of the end before it hears of the new link.
        let was_relaying = session.await;
        (lost(was_relaying, rtt), Some(opened))
    }

    /// Waits until a link that carries relays has been silent for long, and opens another
    /// unless it is heard again meanwhile. QUIC's probes over UDP find the path again by
    /// themselves, so there TCP is tried beside them, in case UDP alone is dropped, and much
    /// later what its name stands for then; the kernel's probes over TCP come the later the
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
                // Its other addresses may get through.
                self.dialer.claims.open(&self.place, true);
                self.reconnect().await
            };
            tokio::select! {
                () = link.heard() => self.dialer.claims.open(&self.place, false),
                opened = self.regain(Some(&lost)) => return opened,
                opened = elsewhere => return opened,
            }
        }
    }

    /// Tries all addresses until one answers.
    async fn reconnect(&self) -> Opened {
        let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1, STABLE);
        loop {
            if let Some(target) = self.target()
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
            let Some(target) = self.target() else {
                continue;
            };
            for found in resolve(&self.place.1).await.unwrap_or_default() {
                let quic = self.sockets.reach_quic(&target.way, found);
                match tokio::time::timeout(CONNECT_TIMEOUT, quic).await {
                    Ok(Ok(opened)) => return opened,
                    Ok(Err(cause)) => {
                        tracing::debug!(centre = %self.place.0, %found, %cause, "no way back to QUIC");
                    }
                    Err(_) => {
                        tracing::debug!(centre = %self.place.0, %found, "still no answer over UDP");
                    }
                }
            }
        }
    }

    /// Runs one link to its end; says whether it carried relays when it was last looked at.
    async fn session(&self, link: &Link, opened: Opened) -> bool {
        let peer = self.place.0.as_str().to_owned();
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

/// Why an address gives no link.
struct Unreached {
    cause: String,
    /// It leads to a receiver that another address has linked.
    is_linked: bool,
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
