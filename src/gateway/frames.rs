//! The frames thread: links, cameras and relays, on a runtime of its own.
//!
//! It takes [`Order`]s and decides nothing. A relay is a recorded permit; while
//! its centre's link is up it holds a camera and a sender on that link.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::camera::{Attachment, Limits, Pool, Sink, State};
use crate::clock::{Boot, Clock};
use crate::config::settings;
use crate::link::Link;
use crate::link::dial::Dialer;
use crate::link::priority::Class;
use crate::link::relay::{Notice, Parts as RelayParts, RelaySender};
use crate::metrics;
use crate::proto::gate::Permit;
use crate::proto::ids::{CameraId, CentreId, Profile, RelayId};
use crate::reason::Reason;

/// How long cameras stay attached for a centre whose link is lost: a link that
/// comes back finds the kept group.
const HELD_WITHOUT_LINK: Duration = Duration::from_secs(30);
/// How often that is looked at.
const HELD_CHECK: Duration = Duration::from_secs(5);

/// What the brain wants of the frames thread.
#[derive(Debug)]
pub(super) enum Order {
    /// A centre's link is up.
    LinkUp(CentreId, Link),
    /// It is down.
    LinkDown(CentreId),
    /// Relay a camera.
    Start(Box<Start>),
    /// Move a relay's deadline.
    Until(CentreId, RelayId, Boot),
    /// Stop a relay at once.
    Stop(CentreId, RelayId, Reason),
    /// What operators look at.
    Focus(CentreId, Vec<RelayId>),
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
    pub(super) centre: CentreId,
    pub(super) relay: RelayId,
    pub(super) camera: CameraId,
    pub(super) profile: Profile,
    pub(super) until: Boot,
}

/// What the thread works with.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) settings: Arc<settings::Gateway>,
    pub(super) clock: Clock,
    pub(super) metrics: Arc<metrics::Gateway>,
    pub(super) limits: Limits,
    pub(super) dialer: Dialer,
    pub(super) orders: mpsc::Receiver<Order>,
    pub(super) notices: mpsc::Sender<(RelayId, Notice)>,
}

/// A relay, running while there is a link.
struct Relay {
    start: Start,
    class: Class,
    running: Option<Running>,
}

/// Fields drop in this order: the sender stops before the camera is let go.
struct Running {
    sender: Arc<RelaySender>,
    _attachment: Attachment,
}

struct Frames {
    clock: Clock,
    metrics: Arc<metrics::Gateway>,
    notices: mpsc::Sender<(RelayId, Notice)>,
    pool: Pool,
    links: BTreeMap<CentreId, Link>,
    /// Centres without a link whose cameras are still held, and since when.
    lost: BTreeMap<CentreId, Instant>,
    relays: BTreeMap<(CentreId, RelayId), Relay>,
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
        dialer,
        mut orders,
        notices,
    } = parts;
    let pool = Pool::with_limits(settings, clock.clone(), Arc::clone(&metrics), limits);
    let links_token = CancellationToken::new();
    let mut links = JoinSet::new();
    let token = links_token.clone();
    links.spawn(async move { dialer.run(token).await.map_err(|error| error.to_string()) });
    let mut warm = JoinSet::new();
    let warm_pool = pool.clone();
    warm.spawn(async move { warm_pool.run_warm().await });
    let mut frames = Frames {
        clock,
        metrics,
        notices,
        pool,
        links: BTreeMap::new(),
        lost: BTreeMap::new(),
        relays: BTreeMap::new(),
    };
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
            _ = check.tick() => frames.let_go(),
        }
    };
    frames.relays.clear();
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
            Order::LinkUp(centre, link) => self.link_up(centre, link),
            Order::LinkDown(centre) => {
                self.links.remove(&centre);
                self.lost.insert(centre, Instant::now());
            }
            Order::Start(start) => self.start(*start),
            Order::Until(centre, relay, until) => {
                if let Some(relay) = self.relays.get_mut(&(centre, relay)) {
                    relay.start.until = until;
                    if let Some(running) = &relay.running {
                        running.sender.set_until(until);
                    }
                }
            }
            Order::Stop(centre, relay, reason) => self.stop(centre, relay, reason),
            Order::Focus(centre, focused) => self.focus(&centre, &focused),
            Order::WantKeyFrame(camera, profile) => self.pool.want_key_frame(&camera, profile),
            Order::Settings(settings) => self.pool.reload(settings),
            Order::Shutdown(_) => {}
        }
    }

    fn link_up(&mut self, centre: CentreId, link: Link) {
        self.lost.remove(&centre);
        self.links.insert(centre.clone(), link.clone());
        let of_centre = self.relays.iter().filter(|((of, _), _)| *of == centre);
        let keys: Vec<_> = of_centre.map(|(key, _)| key.clone()).collect();
        for key in keys {
            self.attach(&key, &link);
        }
    }

    fn start(&mut self, start: Start) {
        let key = (start.centre.clone(), start.relay);
        let link = self.links.get(&start.centre).cloned();
        let relay = Relay {
            start,
            class: Class::default(),
            running: None,
        };
        self.relays.insert(key.clone(), relay);
        if let Some(link) = link {
            self.attach(&key, &link);
        }
    }

    /// Puts a relay on a link. What it held on an older link goes after the new
    /// attachment stands, so that the camera is not closed in between.
    fn attach(&mut self, key: &(CentreId, RelayId), link: &Link) {
        let Some(relay) = self.relays.get_mut(key) else {
            return;
        };
        let start = &relay.start;
        let parts = RelayParts {
            link: link.clone(),
            relay: start.relay,
            camera: start.camera.clone(),
            class: relay.class,
            until: start.until,
            clock: self.clock.clone(),
            metrics: Arc::clone(&self.metrics),
            notices: self.notices.clone(),
        };
        let sender = Arc::new(RelaySender::start(&Handle::current(), parts));
        let sink: Arc<dyn Sink> = sender.clone();
        match self
            .pool
            .attach(&start.permit, &start.camera, start.profile, sink)
        {
            Ok(attachment) => {
                let running = Running {
                    sender,
                    _attachment: attachment,
                };
                relay.running = Some(running);
            }
            Err(refusal) => {
                tracing::warn!(camera = %start.camera, %refusal, "camera not attached");
                sender.stop(refusal.reason);
                relay.running = None;
                let failed = Notice::Camera(State::Failed(refusal));
                if self.notices.try_send((start.relay, failed)).is_err() {
                    tracing::warn!("the control plane takes no notices; one is lost");
                }
            }
        }
    }

    fn stop(&mut self, centre: CentreId, relay: RelayId, reason: Reason) {
        let Some(relay) = self.relays.remove(&(centre, relay)) else {
            return;
        };
        if let Some(running) = &relay.running {
            running.sender.stop(reason);
        }
        let camera = &relay.start.camera;
        let elsewhere = self
            .relays
            .values()
            .any(|held| &held.start.camera == camera);
        if !elsewhere {
            self.metrics.forget_camera(camera);
        }
    }

    fn focus(&mut self, centre: &CentreId, focused: &[RelayId]) {
        for ((of, id), relay) in &mut self.relays {
            if of != centre {
                continue;
            }
            // The first is what is looked at, the others share the page with it.
            relay.class = match focused.iter().position(|focused| focused == id) {
                Some(0) => Class::Focus,
                Some(_) => Class::Mosaic,
                None => Class::Rest,
            };
            if let Some(running) = &relay.running {
                running.sender.set_class(relay.class);
            }
        }
    }

    /// Lets cameras go whose centre has been away for too long.
    fn let_go(&mut self) {
        let gone: Vec<CentreId> = self
            .lost
            .iter()
            .filter(|(_, since)| since.elapsed() >= HELD_WITHOUT_LINK)
            .map(|(centre, _)| centre.clone())
            .collect();
        for centre in gone {
            self.lost.remove(&centre);
            for ((of, _), relay) in &mut self.relays {
                if *of == centre {
                    relay.running = None;
                }
            }
        }
    }
}
