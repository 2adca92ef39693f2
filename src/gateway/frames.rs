//! The frames thread: links, cameras and relays, on a runtime of its own.
//!
//! It takes [`Order`]s and decides nothing. A relay is a recorded permit; while
//! its receiver's link is up it holds a camera and a sender on that link.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::camera::{Limits, Pool};
use super::health::Health;
use super::sessions::SessionLog;
use super::turns::SharedLink;
use super::uplink::{self, Share};
use crate::clock::{Boot, Clock};
use crate::config::settings;
use crate::format::ids::{CameraId, GrantId, ProfileWish, ReceiverId};
use crate::gateway::relay::{Notice, Parts as RelayParts, RelaySender};
use crate::link::Link;
use crate::link::dial::Dialer;
use crate::link::meter::Meter;
use crate::media::relay::Class;
use crate::media::relay::{Profile, RelayId};
use crate::media::sink::State;
use crate::metrics;
use crate::policy::gate::Permit;
use crate::policy::uplink::Key;
use crate::reason::Reason;

/// How long cameras stay attached for a receiver whose link is lost: a link that
/// comes back finds the kept group.
const HELD_WITHOUT_LINK: Duration = Duration::from_secs(30);
/// How often that is looked at.
const HELD_CHECK: Duration = Duration::from_secs(5);

/// What the brain wants of the frames thread.
#[derive(Debug)]
pub(super) enum Order {
    /// A receiver's link is up.
    LinkUp(ReceiverId, Link),
    /// It is down.
    LinkDown(ReceiverId),
    /// Relay cameras: those of one request together, so that each begins with the
    /// stream that the uplink has room for beside the others.
    Start(Vec<Start>),
    /// Groups of a relay that begin from now on count for another of its grants.
    Count(ReceiverId, RelayId, GrantId, Arc<Meter>),
    /// What a relay's operators want of its camera's streams.
    Wish(ReceiverId, RelayId, ProfileWish),
    /// Move a relay's deadline.
    Until(ReceiverId, RelayId, Boot),
    /// Stop a relay at once.
    Stop(ReceiverId, RelayId, Reason),
    /// What operators look at.
    Focus(ReceiverId, Vec<RelayId>),
    /// A key frame soon.
    WantKeyFrame(CameraId, Profile),
    /// New settings.
    Settings(Arc<settings::Gateway>),
    /// Stop everything: links told, cameras closed; answered when done.
    Shutdown(oneshot::Sender<()>),
}

/// A relay to start.
#[derive(Clone, Debug)]
pub(super) struct Start {
    pub(super) permit: Permit,
    pub(super) receiver: ReceiverId,
    pub(super) relay: RelayId,
    pub(super) camera: CameraId,
    pub(super) wish: ProfileWish,
    pub(super) until: Boot,
    /// Under which grant its bytes count, and who counts them.
    pub(super) counted: (GrantId, Arc<Meter>),
}

/// What the thread works with.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) settings: Arc<settings::Gateway>,
    pub(super) clock: Clock,
    pub(super) metrics: Arc<metrics::Gateway>,
    pub(super) limits: Limits,
    /// Which cameras are open, for the attestation, and how they are.
    pub(super) sessions: (SessionLog, Health),
    pub(super) dialer: Dialer,
    pub(super) orders: mpsc::Receiver<Order>,
    pub(super) notices: mpsc::Sender<(RelayId, Notice)>,
    /// What the uplink was measured to carry, for the brain: bits per second.
    pub(super) capacity: watch::Sender<Option<u64>>,
}

/// A relay that was ordered; [`Share`] holds what of it runs.
struct Relay {
    start: Start,
    class: Class,
}

struct Frames {
    clock: Clock,
    metrics: Arc<metrics::Gateway>,
    notices: mpsc::Sender<(RelayId, Notice)>,
    pool: Pool,
    links: BTreeMap<ReceiverId, SharedLink>,
    /// Centres without a link whose cameras are still held, and since when.
    lost: BTreeMap<ReceiverId, Instant>,
    relays: BTreeMap<Key, Relay>,
    share: Share,
}

/// Starts the thread. The receiver gets an error if it ends before it is told to.
pub(super) fn start(parts: Parts) -> std::io::Result<oneshot::Receiver<Result<(), String>>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (ended, end) = oneshot::channel();
    std::thread::Builder::new()
        .name("frames".to_owned())
        .spawn(move || {
            let result = runtime.block_on(run(parts));
            // The gateway may be gone already; then nobody needs to know.
            let _ = ended.send(result);
        })?;
    Ok(end)
}

async fn run(parts: Parts) -> Result<(), String> {
    let Parts {
        settings,
        clock,
        metrics,
        limits,
        sessions,
        dialer,
        mut orders,
        notices,
        capacity,
    } = parts;
    let initial = Arc::clone(&settings);
    let pool = Pool::watched(
        settings,
        clock.clone(),
        Arc::clone(&metrics),
        limits,
        sessions,
    );
    let links_token = CancellationToken::new();
    let mut links = JoinSet::new();
    let token = links_token.clone();
    links.spawn(async move { dialer.run(token).await.map_err(|error| error.to_string()) });
    let mut warm = JoinSet::new();
    let warm_pool = pool.clone();
    warm.spawn(async move { warm_pool.run_warm().await });
    let probed_pool = pool.clone();
    warm.spawn(async move { probed_pool.run_probes().await });
    let share = Share::new(
        &initial,
        pool.clone(),
        clock.clone(),
        Arc::clone(&metrics),
        capacity,
    );
    let moved = share.wake();
    let mut frames = Frames {
        clock,
        metrics,
        notices,
        pool,
        links: BTreeMap::new(),
        lost: BTreeMap::new(),
        relays: BTreeMap::new(),
        share,
    };
    let mut tick = tokio::time::interval(uplink::TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut check = tokio::time::interval(HELD_CHECK);
    let done = loop {
        tokio::select! {
            biased;
            order = orders.recv() => match order {
                Some(Order::Shutdown(done)) => break Some(done),
                Some(order) => frames.carry_out(order),
                // The brain is gone: so is all authority.
                None => break None,
            },
            ended = links.join_next() => {
                let cause = match ended {
                    Some(Ok(Err(cause))) => cause,
                    Some(Err(error)) => error.to_string(),
                    Some(Ok(Ok(()))) | None => "they ended".to_owned(),
                };
                return Err(format!("links: {cause}"));
            }
            () = moved.notified() => frames.settle(),
            _ = tick.tick(), if frames.share.is_busy() => {
                frames.share.tick(&frames.links);
                frames.settle();
            }
            _ = check.tick() => frames.let_go(),
        }
    };
    frames.relays.clear();
    frames.share.clear();
    links_token.cancel();
    // Centres are told while cameras close: neither waits for the other.
    let links_end = async { while links.join_next().await.is_some() {} };
    tokio::join!(links_end, frames.pool.shutdown());
    if let Some(done) = done {
        // The brain waits for this; if it is gone, so be it.
        let _ = done.send(());
    }
    Ok(())
}

impl Frames {
    fn carry_out(&mut self, order: Order) {
        match order {
            Order::LinkUp(receiver, link) => self.link_up(receiver, link),
            Order::LinkDown(receiver) => {
                self.links.remove(&receiver);
                self.lost.insert(receiver, Instant::now());
            }
            Order::Start(starts) => self.start(starts),
            Order::Wish(receiver, relay, wish) => {
                self.share.wish(&(receiver, relay), wish);
                self.settle();
            }
            Order::Count(receiver, relay, grant, meter) => {
                let key = (receiver, relay);
                if let Some(sender) = self.share.sender(&key) {
                    sender.set_meter(Arc::clone(&meter));
                }
                if let Some(relay) = self.relays.get_mut(&key) {
                    self.pool.held_by(&relay.start.camera, grant);
                    relay.start.counted = (grant, meter);
                }
            }
            Order::Until(receiver, relay, until) => {
                let key = (receiver, relay);
                if let Some(relay) = self.relays.get_mut(&key) {
                    relay.start.until = until;
                }
                if let Some(sender) = self.share.sender(&key) {
                    sender.set_until(until);
                }
            }
            Order::Stop(receiver, relay, reason) => self.stop(receiver, relay, reason),
            Order::Focus(receiver, focused) => self.focus(&receiver, &focused),
            Order::WantKeyFrame(camera, profile) => self.pool.want_key_frame(&camera, profile),
            Order::Settings(settings) => {
                self.pool.reload(Arc::clone(&settings));
                self.share.reload(&settings);
                self.settle();
            }
            Order::Shutdown(_) => {}
        }
    }

    fn link_up(&mut self, receiver: ReceiverId, link: Link) {
        self.lost.remove(&receiver);
        let link = SharedLink::new(link);
        self.links.insert(receiver.clone(), link.clone());
        let of_receiver = self.relays.iter().filter(|((of, _), _)| *of == receiver);
        let keys: Vec<_> = of_receiver.map(|(key, _)| key.clone()).collect();
        for key in keys {
            self.attach(&key, &link);
        }
    }

    fn start(&mut self, starts: Vec<Start>) {
        let mut keys = Vec::with_capacity(starts.len());
        for start in starts {
            let key = (start.receiver.clone(), start.relay);
            self.share
                .start(key.clone(), &start.camera, &start.permit, start.wish);
            let class = Class::default();
            self.relays.insert(key.clone(), Relay { start, class });
            keys.push(key);
        }
        self.settle();
        for key in keys {
            if let Some(link) = self.links.get(&key.0).cloned() {
                self.attach(&key, &link);
            }
        }
    }

    /// Places all relays and tells of it.
    fn settle(&mut self) {
        self.share.settle();
        let notices = &self.notices;
        self.share.tell(|((_, relay), profile, cause)| {
            let notice = Notice::Profile(profile, cause);
            notices.try_send((relay, notice)).is_ok()
        });
    }

    /// Puts a relay on a link.
    fn attach(&mut self, key: &Key, link: &SharedLink) {
        let Some(relay) = self.relays.get(key) else {
            return;
        };
        let start = &relay.start;
        let parts = RelayParts {
            link: link.clone(),
            relay: start.relay,
            camera: start.camera.clone(),
            class: relay.class,
            until: start.until,
            meter: Arc::clone(&start.counted.1),
            clock: self.clock.clone(),
            metrics: Arc::clone(&self.metrics),
            notices: self.notices.clone(),
        };
        let sender = RelaySender::start(&Handle::current(), parts);
        if let Err(refusal) = self.share.attach(key, sender) {
            tracing::warn!(camera = %start.camera, %refusal, "camera not attached");
            let failed = Notice::Camera(State::Failed(refusal));
            if self.notices.try_send((start.relay, failed)).is_err() {
                tracing::warn!("the control plane takes no notices; one is lost");
            }
        }
    }

    fn stop(&mut self, receiver: ReceiverId, relay: RelayId, reason: Reason) {
        let key = (receiver, relay);
        let Some(relay) = self.relays.remove(&key) else {
            return;
        };
        self.share.stop(&key, reason);
        if !self.share.is_busy() {
            // No tick follows that would do it.
            self.settle();
        }
        let camera = &relay.start.camera;
        let mut others = self.relays.values();
        match others.find(|held| &held.start.camera == camera) {
            Some(other) => self.pool.held_by(camera, other.start.counted.0),
            None => self.metrics.forget_camera(camera),
        }
    }

    fn focus(&mut self, receiver: &ReceiverId, focused: &[RelayId]) {
        for (key, relay) in &mut self.relays {
            let (of, id) = key;
            if of != receiver {
                continue;
            }
            // The first is what is looked at, the others share the page with it.
            relay.class = match focused.iter().position(|focused| focused == id) {
                Some(0) => Class::Focus,
                Some(_) => Class::Mosaic,
                None => Class::Rest,
            };
            self.share.class(key, relay.class);
            if let Some(sender) = self.share.sender(key) {
                sender.set_class(relay.class);
            }
        }
        self.settle();
    }

    /// Lets cameras go whose receiver has been away for too long.
    fn let_go(&mut self) {
        let gone: Vec<ReceiverId> = self
            .lost
            .iter()
            .filter(|(_, since)| since.elapsed() >= HELD_WITHOUT_LINK)
            .map(|(receiver, _)| receiver.clone())
            .collect();
        for receiver in gone {
            self.lost.remove(&receiver);
            for key in self.relays.keys().filter(|(of, _)| *of == receiver) {
                self.share.let_go(key);
            }
        }
    }
}
