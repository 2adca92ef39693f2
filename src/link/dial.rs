//! Dials the centres from the gateway: one link to each, for as long as an
//! agreement names it, again and again with backoff.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use quinn::rustls::pki_types::ServerName;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::congestion::Known;
use super::endpoint::{self, Error};
use super::session::{Accepted, Session, Side, ended};
use super::stats::Recorder;
use super::tls::{self, Peers};
use super::{Event, Link, control, priority};
use crate::clock::Clock;
use crate::config::settings;
use crate::metrics;
use crate::proto::backoff::Backoff;
use crate::proto::control::{ToGateway, ToReceiver};
use crate::proto::ids::CentreId;

/// How long one address has for its handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Addresses that a name may stand for; more are not tried.
const ADDRESS_LIMIT: usize = 16;
/// Waits between rounds over a centre's addresses.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
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
}

/// One centre, as the settings want it dialled.
#[derive(Clone, Debug)]
struct Target {
    addresses: Vec<String>,
    config: quinn::ClientConfig,
    /// What congestion control knows of the way there.
    known: Arc<Known>,
}

type Targets = Arc<BTreeMap<CentreId, Target>>;

/// Keeps a link to each centre. Cheap to clone, usable from any thread; its
/// [`Dialer::run`] belongs on the frames runtime.
#[derive(Clone, Debug)]
pub struct Dialer {
    parts: Parts,
    targets: watch::Sender<Targets>,
    accepted: watch::Sender<Accepted>,
    sessions: Arc<AtomicU64>,
}

impl Dialer {
    /// Reads certificates and keys; nothing is dialled before [`Dialer::run`].
    pub fn new(settings: &settings::Gateway, parts: Parts) -> Result<Self, Error> {
        let (targets, accepted) = targets(settings, &parts.clock)?;
        Ok(Self {
            parts,
            targets: watch::Sender::new(targets),
            accepted: watch::Sender::new(accepted),
            sessions: Arc::default(),
        })
    }

    /// Follows new settings: new centres are dialled, links to those that are
    /// gone or no longer accepted end. On an error all stays as it was.
    pub fn reload(&self, settings: &settings::Gateway) -> Result<(), Error> {
        let (targets, accepted) = targets(settings, &self.parts.clock)?;
        self.targets.send_replace(targets);
        self.accepted.send_replace(accepted);
        Ok(())
    }

    /// Keeps the links up until the token is cancelled; then closes them.
    pub async fn run(self, token: CancellationToken) -> Result<(), Error> {
        let endpoint = endpoint::dial()?;
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
                    endpoint: endpoint.clone(),
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
        // The closing packets leave within a moment; nobody waits longer for them.
        let _ = tokio::time::timeout(Duration::from_secs(1), endpoint.wait_idle()).await;
        Ok(())
    }
}

fn targets(settings: &settings::Gateway, clock: &Clock) -> Result<(Targets, Accepted), Error> {
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
        let end = tls::client(&agreement.tls, agreement.centre.as_str(), clock)?;
        let known = Arc::default();
        let target = Target {
            addresses: agreement.addresses.clone(),
            config: endpoint::client_config(&end, &settings.uplink, &known)?,
            known,
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
    endpoint: quinn::Endpoint,
    token: CancellationToken,
}

impl Centre {
    async fn run(self) {
        let mut watching = self.dialer.targets.subscribe();
        let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1, STABLE);
        let mut told = String::new();
        loop {
            let target = watching.borrow_and_update().get(&self.name).cloned();
            let Some(target) = target else {
                return;
            };
            let mut up = Duration::ZERO;
            let tried = tokio::select! {
                () = self.token.cancelled() => return,
                tried = self.connect(&target) => tried,
            };
            match tried {
                Ok(session) => {
                    told.clear();
                    up = self.serve(session, target.known).await;
                    if self.token.is_cancelled() {
                        return;
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
                }
            }
            tokio::select! {
                () = self.token.cancelled() => return,
                () = tokio::time::sleep(backoff.failed(up, jitter())) => {}
                changed = watching.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Tries each address in turn; the error tells of all of them.
    async fn connect(&self, target: &Target) -> Result<Opened, String> {
        let mut causes = Vec::new();
        for address in &target.addresses {
            let lookup = tokio::time::timeout(CONNECT_TIMEOUT, tokio::net::lookup_host(address));
            let found: Vec<SocketAddr> = match lookup.await {
                Ok(Ok(found)) => found.take(ADDRESS_LIMIT).collect(),
                Ok(Err(error)) => {
                    causes.push(format!("{address}: the name can't be looked up: {error}"));
                    continue;
                }
                Err(_) => {
                    causes.push(format!("{address}: the name server does not answer"));
                    continue;
                }
            };
            for found in found {
                match tokio::time::timeout(CONNECT_TIMEOUT, self.open(target, found)).await {
                    Ok(Ok(opened)) => return Ok(opened),
                    Ok(Err(cause)) => causes.push(format!("{address} ({found}): {cause}")),
                    Err(_) => causes.push(format!(
                        "{address} ({found}): no answer; does UDP get out, and does the centre listen there?"
                    )),
                }
            }
        }
        if causes.is_empty() {
            causes.push("no address".to_owned());
        }
        Err(causes.join("; "))
    }

    /// Connects to one address and opens the control stream.
    async fn open(&self, target: &Target, address: SocketAddr) -> Result<Opened, String> {
        // Some ids (`13`) are no DNS names, and what is sent here has no say.
        let name = match ServerName::try_from(self.name.as_str()) {
            Ok(_) => self.name.as_str(),
            Err(_) => "fanal.invalid",
        };
        let address = match self.endpoint.local_addr() {
            Ok(local) if local.is_ipv6() => mapped(address),
            _ => address,
        };
        let connection = self
            .endpoint
            .connect_with(target.config.clone(), address, name)
            .map_err(|error| error.to_string())?
            .await
            .map_err(|error| ended(&error))?;
        let (mut send, receive) = connection.open_bi().await.map_err(|error| ended(&error))?;
        // Errors below are those of a stream or link that is gone.
        let _ = send.set_priority(priority::CONTROL);
        let lost = |fallback: String| match connection.close_reason() {
            Some(error) => ended(&error),
            None => fallback,
        };
        send.write_all(&control::OPENING)
            .await
            .map_err(|error| lost(error.to_string()))?;
        let mut receive = control::Receiver::new(receive);
        // The answer proves that the centre has accepted our certificate.
        receive
            .frame()
            .await
            .map_err(|error| lost(error.to_string()))?;
        Ok(Opened {
            connection,
            send,
            receive,
        })
    }

    /// Runs a link to its end; says how long it stood.
    async fn serve(&self, opened: Opened, known: Arc<Known>) -> Duration {
        let since = Instant::now();
        let peer = self.name.as_str().to_owned();
        let number = self.dialer.sessions.fetch_add(1, Ordering::Relaxed) + 1;
        let link = Link::new(opened.connection, known);
        tracing::info!(
            centre = %peer, session = number, address = %link.peer_address(),
            key_exchange = link.key_exchange(), "link up"
        );
        let parts = &self.dialer.parts;
        let side = GatewaySide {
            recorder: Recorder::new(Arc::clone(&parts.metrics), &peer),
            clock: parts.clock.clone(),
            metrics: Arc::clone(&parts.metrics),
            centre: peer.clone(),
            ticks: 0,
        };
        let session = Session {
            peer,
            number,
            link,
            streams: (opened.send, opened.receive),
            events: parts.events.clone(),
            clock: parts.clock.clone(),
            accepted: self.dialer.accepted.subscribe(),
            token: self.token.clone(),
        };
        session.run(side).await;
        since.elapsed()
    }
}

/// A link whose control stream is open on both sides.
struct Opened {
    connection: quinn::Connection,
    send: quinn::SendStream,
    receive: control::Receiver,
}

/// An IPv4 address as a socket of both families wants it.
fn mapped(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(v4) => SocketAddr::from((v4.ip().to_ipv6_mapped(), v4.port())),
        SocketAddr::V6(_) => address,
    }
}

/// In 0..1; without randomness all gateways come back at once, which is bearable.
fn jitter() -> f64 {
    getrandom::u32().map_or(1.0, |random| f64::from(random) / f64::from(u32::MAX))
}

/// What the gateway does with its links.
struct GatewaySide {
    recorder: Recorder,
    clock: Clock,
    metrics: Arc<metrics::Gateway>,
    centre: String,
    ticks: u32,
}

impl Side for GatewaySide {
    type Message = ToGateway;

    fn message(&mut self, link: &Link, message: ToGateway) -> Option<ToGateway> {
        let ToGateway::Time { echo, wall } = message else {
            return Some(message);
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

    fn tick(&mut self, link: &Link) {
        let now = link.stats();
        link.fit_send_window();
        if self.ticks.is_multiple_of(4) {
            self.recorder.record(now);
        }
        self.ticks = self.ticks.wrapping_add(1);
    }
}
