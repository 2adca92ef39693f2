//! Carries out what [`crate::policy::uplink`] decides: measures what passes,
//! moves relays between their cameras' streams, says what was done and why.
//!
//! All of it runs on the frames thread. A frame costs a lock that nobody
//! contends and a sum; everything else happens four times a second or when
//! something changes.

mod line;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use self::line::{Line, Outcome};
use super::camera::{Attachment, Pool};
use super::turns::SharedLink;
use crate::clock::{Boot, Clock};
use crate::config::settings;
use crate::format::cause::Cause;
use crate::format::ids::{CameraId, ProfileWish, ReceiverId};
use crate::gateway::relay::RelaySender;
use crate::media::relay::Class;
use crate::media::relay::Profile;
use crate::media::unit::Codec;
use crate::metrics;
use crate::policy::gate::Permit;
use crate::policy::uplink::{ASSUMED_MAIN, ASSUMED_SUB, Key, Placed, Rate, Rates, Uplink};
use crate::reason::{Reason, Refusal};

/// How often rates are measured and relays placed again.
pub(super) const TICK: Duration = Duration::from_millis(250);
/// A camera is asked for a key frame this often at most while its pictures are late.
const KEY_FRAME_EVERY: Duration = Duration::from_secs(5);
/// A stream that did not come is tried again after this.
const FAILED_REST: Duration = Duration::from_secs(60);
/// Where a camera has no room for a second session, lateness is waited for this long.
const BUSY_REST: Duration = Duration::from_secs(5);
/// Figures of the links that are kept: those of the last second.
const SENT_KEPT: usize = 5;
/// The gate learns the capacity no more often than this.
const CAPACITY_EVERY: Duration = Duration::from_secs(1);

/// A relay on a link: its sender and what of its camera it holds. Fields drop in
/// this order: the sender stops before the camera is let go.
#[derive(Debug)]
struct Running {
    sender: Arc<RelaySender>,
    line: Arc<Line>,
    attachment: Option<Attachment>,
    profile: Profile,
    moving: Option<Moving>,
}

impl Drop for Running {
    fn drop(&mut self) {
        // Says nothing where it was stopped with its reason before.
        self.sender.stop(Reason::ShuttingDown);
    }
}

/// A change of streams under way.
#[derive(Debug)]
struct Moving {
    to: Profile,
    /// The new stream; `None` where it took the old one's place already.
    attachment: Option<Attachment>,
    deadline: Instant,
}

/// A relay, running while there is a link.
struct Held {
    camera: CameraId,
    permit: Permit,
    running: Option<Running>,
    /// The stream and codec that its viewers had on the link before.
    last: Option<(Profile, Option<Codec>)>,
}

impl Held {
    /// Takes what runs; what its viewers know is remembered.
    fn take(&mut self) -> Option<Running> {
        let running = self.running.take()?;
        self.last = Some((running.profile, running.line.codec()));
        Some(running)
    }
}

/// What passed of a camera's streams.
#[derive(Clone, Copy, Debug, Default)]
struct Measured {
    main: Rate,
    sub: Rate,
}

impl Measured {
    const fn of(&mut self, profile: Profile) -> &mut Rate {
        match profile {
            Profile::Main => &mut self.main,
            Profile::Sub => &mut self.sub,
        }
    }
}

/// What the control plane is told of a relay.
pub(super) type Told = (Key, Profile, Cause);

/// Shares the uplink.
pub(super) struct Share {
    uplink: Uplink,
    pool: Pool,
    clock: Clock,
    metrics: Arc<metrics::Gateway>,
    wake: Arc<Notify>,
    held: BTreeMap<Key, Held>,
    rates: HashMap<CameraId, Measured>,
    /// Since when key frames of late cameras were asked for.
    asked: HashMap<CameraId, Instant>,
    /// What the links had sent, at the last ticks.
    sent: VecDeque<(Instant, u64)>,
    ticked: Instant,
    /// Moves that the control plane does not know of yet.
    untold: BTreeMap<Key, (Profile, Cause)>,
    capacity: watch::Sender<Option<u64>>,
    capacity_told: Instant,
}

impl Share {
    pub(super) fn new(
        settings: &settings::Gateway,
        pool: Pool,
        clock: Clock,
        metrics: Arc<metrics::Gateway>,
        capacity: watch::Sender<Option<u64>>,
    ) -> Self {
        Self {
            uplink: Uplink::new(settings.uplink.max_bitrate),
            pool,
            clock,
            metrics,
            wake: Arc::default(),
            held: BTreeMap::new(),
            rates: HashMap::new(),
            asked: HashMap::new(),
            sent: VecDeque::new(),
            ticked: Instant::now(),
            untold: BTreeMap::new(),
            capacity,
            capacity_told: Instant::now(),
        }
    }

    /// Told when a change of streams came to its end: [`Share::settle`] is due.
    pub(super) fn wake(&self) -> Arc<Notify> {
        Arc::clone(&self.wake)
    }

    fn now(&self) -> Boot {
        self.clock.now().boot
    }

    /// Whether there are relays, so that ticks are due.
    pub(super) fn is_busy(&self) -> bool {
        !self.held.is_empty()
    }

    /// A relay begins.
    pub(super) fn start(
        &mut self,
        key: Key,
        camera: &CameraId,
        permit: &Permit,
        wish: ProfileWish,
    ) {
        let has_sub = self.pool.has_sub(camera);
        let now = self.now();
        self.uplink.handle_start(key.clone(), wish, has_sub, now);
        let rates = rates_of(&self.rates, camera, self.means());
        self.uplink.handle_rates(&key, rates);
        let held = Held {
            camera: camera.clone(),
            permit: permit.clone(),
            running: None,
            last: None,
        };
        self.held.insert(key, held);
    }

    /// A relay ended, for this reason.
    pub(super) fn stop(&mut self, key: &Key, reason: Reason) {
        self.uplink.handle_stop(key);
        self.untold.remove(key);
        if let Some(running) = self.held.remove(key).and_then(|held| held.running) {
            running.sender.stop(reason);
        }
        if self.held.is_empty() {
            self.sent.clear();
        }
    }

    /// Lets a relay's camera go: its link is lost.
    pub(super) fn let_go(&mut self, key: &Key) {
        if let Some(held) = self.held.get_mut(key) {
            held.take();
        }
    }

    /// Lets everything go.
    pub(super) fn clear(&mut self) {
        self.held.clear();
    }

    /// A relay's sender, while it runs.
    pub(super) fn sender(&self, key: &Key) -> Option<&RelaySender> {
        let running = self.held.get(key)?.running.as_ref()?;
        Some(&running.sender)
    }

    /// What a relay's operators want.
    pub(super) fn wish(&mut self, key: &Key, wish: ProfileWish) {
        self.uplink.handle_wish(key, wish);
    }

    /// How important a relay is.
    pub(super) fn class(&mut self, key: &Key, class: Class) {
        self.uplink.handle_class(key, class);
    }

    /// New settings; the pool has them already.
    pub(super) fn reload(&mut self, settings: &settings::Gateway) {
        self.uplink.handle_limit(settings.uplink.max_bitrate);
        self.uplink.handle_reload();
        self.rates
            .retain(|camera, _| settings.camera(camera).is_some());
        for (key, held) in &self.held {
            self.uplink
                .handle_streams(key, self.pool.has_sub(&held.camera));
        }
    }

    /// Puts a relay on a link, with the stream that its viewers had on the link
    /// before, else with that it is placed on. What it held on an older link goes
    /// after the new attachment is there, so that the camera is not closed in between.
    ///
    /// # Errors
    /// As [`Pool::attach`]; the sender is stopped.
    pub(super) fn attach(&mut self, key: &Key, sender: RelaySender) -> Result<(), Refusal> {
        let sender = Arc::new(sender);
        let (wake, placed) = (self.wake(), self.uplink.placed(key));
        let Some(held) = self.held.get_mut(key) else {
            return Err(Reason::Internal.into());
        };
        let before = held.take();
        let (profile, codec) = match (held.last, placed) {
            (Some(last), _) => last,
            (None, Some((profile, _))) => (profile, None),
            (None, None) => (Profile::Main, None),
        };
        let counters = self.pool.counters(&held.camera);
        let line = Line::new(sender.clone(), counters, wake, codec);
        let sink = line.first();
        let attached = self.pool.attach(&held.permit, &held.camera, profile, sink);
        drop(before);
        match attached {
            Ok(attachment) => {
                held.running = Some(Running {
                    sender,
                    line,
                    attachment: Some(attachment),
                    profile,
                    moving: None,
                });
            }
            Err(refusal) => {
                sender.stop(refusal.reason);
                return Err(refusal);
            }
        }
        if let Some((profile, cause)) = placed {
            let placed = Placed {
                key: key.clone(),
                profile,
                cause,
            };
            self.with_running(key, |share, relay| share.place(&placed, relay));
        }
        Ok(())
    }

    /// Ends what changes of streams came to, and places all relays.
    pub(super) fn settle(&mut self) {
        let moving: Vec<Key> = self
            .held
            .iter()
            .filter(|(_, held)| held.running.as_ref().is_some_and(|r| r.moving.is_some()))
            .map(|(key, _)| key.clone())
            .collect();
        for key in moving {
            self.with_running(&key, |share, relay| share.conclude(&key, relay));
        }
        for placed in self.uplink.allot(self.now()) {
            let is_running = self.with_running(&placed.key, |share, relay| {
                share.place(&placed, relay);
            });
            if !is_running {
                self.untold
                    .insert(placed.key, (placed.profile, placed.cause));
            }
        }
        self.count_relays();
        self.report();
    }

    /// Does something with a relay that runs; says whether it does.
    fn with_running(&mut self, key: &Key, does: impl FnOnce(&mut Self, &mut Running)) -> bool {
        let taken = self.held.get_mut(key).and_then(|held| held.running.take());
        let Some(mut relay) = taken else {
            return false;
        };
        does(self, &mut relay);
        if let Some(held) = self.held.get_mut(key) {
            held.running = Some(relay);
        }
        true
    }

    /// Those that run.
    fn running(&self) -> impl Iterator<Item = (&Key, &Held, &Running)> {
        let held = self.held.iter();
        held.filter_map(|(key, held)| Some((key, held, held.running.as_ref()?)))
    }

    /// What the control plane is to be told; what it does not take comes again.
    pub(super) fn tell(&mut self, mut take: impl FnMut(Told) -> bool) {
        self.untold
            .retain(|key, (profile, cause)| !take((key.clone(), *profile, *cause)));
    }

    /// Measures, and helps what is late. [`Share::settle`] is due after it.
    pub(super) fn tick(&mut self, links: &BTreeMap<ReceiverId, SharedLink>) {
        let time = self.ticked.elapsed();
        self.ticked = Instant::now();
        for held in self.held.values() {
            let Some(relay) = &held.running else {
                continue;
            };
            if let Some(passed) = relay.line.take_passed() {
                if !self.rates.contains_key(&held.camera) {
                    self.rates.insert(held.camera.clone(), Measured::default());
                }
                if let Some(rates) = self.rates.get_mut(&held.camera) {
                    rates.of(relay.profile).handle_passed(passed, time);
                }
            }
        }
        let means = self.means();
        for (key, held) in &self.held {
            let rates = rates_of(&self.rates, &held.camera, means);
            self.uplink.handle_rates(key, rates);
        }
        self.note_sent(links);
        if let Some(bits) = self.measured(links) {
            self.uplink.handle_measured(bits, self.clock.now().boot);
        }
        self.help_late();
    }

    /// What streams take that were never measured: as much as others do.
    fn means(&self) -> Rates {
        let mean = |of: fn(&Measured) -> &Rate, assumed: u64| {
            let known = self.rates.values().map(of);
            let (sum, count) = known
                .filter_map(Rate::bits_per_second)
                .fold((0, 0), |(sum, count), rate| (sum + rate, count + 1));
            u64::checked_div(sum, count).unwrap_or(assumed)
        };
        Rates {
            main: mean(|rates| &rates.main, ASSUMED_MAIN),
            sub: mean(|rates| &rates.sub, ASSUMED_SUB),
        }
    }

    fn note_sent(&mut self, links: &BTreeMap<ReceiverId, SharedLink>) {
        let total = links
            .values()
            .map(|shared| shared.link.stats().sent_bytes)
            .sum();
        if self.sent.back().is_some_and(|(_, before)| *before > total) {
            // A link went: the sums can't be compared.
            self.sent.clear();
        }
        self.sent.push_back((self.ticked, total));
        if self.sent.len() > SENT_KEPT {
            self.sent.pop_front();
        }
    }

    /// Bits per second that all links sent during the last second.
    fn sent_rate(&self) -> u64 {
        let (Some((from, before)), Some((to, after))) = (self.sent.front(), self.sent.back())
        else {
            return 0;
        };
        let time = u64::try_from((*to - *from).as_micros()).unwrap_or(u64::MAX);
        let bits = (after - before).saturating_mul(8_000_000);
        bits.checked_div(time).unwrap_or(0)
    }

    fn help_late(&mut self) {
        if !self.running().any(|(_, _, relay)| relay.sender.is_late()) {
            return;
        }
        let late: Vec<(CameraId, Profile, bool)> = self
            .running()
            .filter(|(_, _, relay)| relay.sender.is_frozen())
            .map(|(_, held, relay)| (held.camera.clone(), relay.profile, relay.moving.is_some()))
            .collect();
        let (sent, now) = (self.sent_rate(), self.now());
        self.uplink.handle_late(sent, now);
        self.asked
            .retain(|_, asked| asked.elapsed() < KEY_FRAME_EVERY);
        for (camera, profile, is_moving) in late {
            if !is_moving && !self.asked.contains_key(&camera) {
                self.pool.want_key_frame(&camera, profile);
                self.asked.insert(camera, Instant::now());
            }
        }
    }

    /// What all links with relays give together, where one of them is known to be
    /// the limit; of the others what they carry counts.
    fn measured(&self, links: &BTreeMap<ReceiverId, SharedLink>) -> Option<u64> {
        let busy: BTreeSet<&ReceiverId> = self.running().map(|((to, _), ..)| to).collect();
        let known: Vec<Option<u64>> = busy
            .into_iter()
            .filter_map(|to| links.get(to).map(|shared| shared.link.capacity()))
            .collect();
        let sum: u64 = known.iter().flatten().map(|bytes| bytes * 8).sum();
        match (sum, known.contains(&None)) {
            (0, _) => None,
            (sum, false) => Some(sum),
            // All that is sent is a lower bound of what there is.
            (sum, true) => Some(sum.max(self.sent_rate())),
        }
    }

    fn report(&mut self) {
        #[allow(clippy::cast_precision_loss)] // bit rates are far below 2^53
        let bytes = |bits: u64| bits as f64 / 8.0;
        let capacity = self.uplink.capacity();
        self.metrics
            .uplink_capacity_bytes_per_second
            .set(bytes(capacity.unwrap_or(0)));
        self.metrics
            .uplink_demand_bytes_per_second
            .set(bytes(self.uplink.demand()));
        let measured = self.uplink.measured(self.now());
        let known = *self.capacity.borrow();
        let is_news = match (known, measured) {
            (Some(known), Some(measured)) => known.abs_diff(measured) > known / 20,
            (known, measured) => known != measured,
        };
        // That nothing is known any more is told at once: no tick may follow.
        let is_due = measured.is_none() || self.capacity_told.elapsed() >= CAPACITY_EVERY;
        if is_news && is_due {
            self.capacity_told = Instant::now();
            self.capacity.send_replace(measured);
        }
    }

    fn count_relays(&self) {
        for profile in [Profile::Main, Profile::Sub] {
            let count = self
                .running()
                .filter(|(.., relay)| relay.profile == profile);
            self.metrics
                .relays
                .with_label_values(&[profile.as_str()])
                .set(i64::try_from(count.count()).unwrap_or(i64::MAX));
        }
    }

    /// Carries a placement out.
    fn place(&mut self, placed: &Placed, relay: &mut Running) {
        let to = placed.profile;
        if relay.profile == to {
            if relay.moving.take_if(|moving| moving.to != to).is_some() {
                relay.line.give_up();
            }
            self.untold.insert(placed.key.clone(), (to, placed.cause));
            return;
        }
        if relay.moving.as_ref().is_some_and(|moving| moving.to == to) {
            return;
        }
        let Some(held) = self.held.get(&placed.key) else {
            return;
        };
        match self.change(held, relay, to) {
            Ok(()) => self.log(&held.camera, placed),
            Err((cause, rest)) => self.bar(&placed.key, relay.profile, cause, Some(rest)),
        }
    }

    /// Begins to move a relay to its camera's other stream.
    fn change(
        &self,
        held: &Held,
        relay: &mut Running,
        to: Profile,
    ) -> Result<(), (Cause, Duration)> {
        let attach = |sink| {
            let attached = self.pool.attach(&held.permit, &held.camera, to, sink);
            attached.map_err(|_| (Cause::NotAvailable, FAILED_REST))
        };
        let attachment = if self.pool.has_room(&held.camera, to) {
            Some(attach(relay.line.next())?)
        } else if to == Profile::Sub && relay.sender.is_late() {
            // One session alone, and what comes through it is of no use.
            relay.attachment = None;
            relay.profile = to;
            relay.attachment = Some(attach(relay.line.replace())?);
            None
        } else {
            return Err((Cause::CameraBusy, BUSY_REST));
        };
        relay.moving = Some(Moving {
            to,
            attachment,
            deadline: Instant::now() + self.pool.start_timeout(&held.camera),
        });
        Ok(())
    }

    /// Looks at what became of a relay's change.
    fn conclude(&mut self, key: &Key, relay: &mut Running) {
        let Some(moving) = &mut relay.moving else {
            return;
        };
        let outcome = match relay.line.take_outcome() {
            None if Instant::now() < moving.deadline => return,
            None => Outcome::Failed(Reason::CameraNoKeyFrame.into()),
            Some(outcome) => outcome,
        };
        let Some(moving) = relay.moving.take() else {
            return;
        };
        let (cause, rest) = match outcome {
            Outcome::Changed => {
                if let Some(attachment) = moving.attachment {
                    // The old one goes after the new one has begun.
                    relay.attachment = Some(attachment);
                }
                relay.profile = moving.to;
                return self.changed(key, moving.to);
            }
            Outcome::OtherCodec => (Cause::OtherCodec, None),
            Outcome::Failed(refusal) => {
                tracing::info!(relay = %key.1, to = moving.to.as_str(), %refusal, "the relay's other stream did not come; it stays as it is");
                let is_busy = refusal.reason == Reason::CameraBusy;
                let cause = if is_busy {
                    Cause::CameraBusy
                } else {
                    Cause::NotAvailable
                };
                (cause, Some(FAILED_REST))
            }
        };
        relay.line.give_up();
        if moving.attachment.is_none() {
            self.go_back(key, relay, moving.to);
        }
        self.bar(key, relay.profile, cause, rest);
    }

    /// The stream that took the other's place is of no use: back.
    fn go_back(&self, key: &Key, relay: &mut Running, from: Profile) {
        let Some(held) = self.held.get(key) else {
            return;
        };
        let to = match from {
            Profile::Main => Profile::Sub,
            Profile::Sub => Profile::Main,
        };
        relay.attachment = None;
        let sink = relay.line.replace();
        match self.pool.attach(&held.permit, &held.camera, to, sink) {
            Ok(attachment) => relay.attachment = Some(attachment),
            // The pool is closing, or the camera is gone from the settings.
            Err(refusal) => tracing::warn!(camera = %held.camera, %refusal, "camera not attached"),
        }
        relay.profile = to;
    }

    fn changed(&mut self, key: &Key, profile: Profile) {
        if let Some((_, cause)) = self.uplink.placed(key) {
            self.metrics
                .profile_changes_total
                .with_label_values(&[profile.as_str(), cause.code()])
                .inc();
            self.untold.insert(key.clone(), (profile, cause));
        }
    }

    fn bar(&mut self, key: &Key, profile: Profile, cause: Cause, rest: Option<Duration>) {
        let until = rest.map(|rest| self.now().plus(rest));
        self.uplink.handle_barred(key, profile, cause, until);
        self.untold.insert(key.clone(), (profile, cause));
    }

    fn log(&self, camera: &CameraId, placed: &Placed) {
        let what = match placed.profile {
            Profile::Main => "full picture",
            Profile::Sub => "sub-stream",
        };
        let why = match (placed.cause, self.uplink.capacity()) {
            (Cause::Uplink, Some(capacity)) => format!(
                "the uplink gives {} and {} are wanted",
                megabits(capacity),
                megabits(self.uplink.wanted())
            ),
            (cause, _) => cause.english().to_owned(),
        };
        tracing::info!(receiver = %placed.key.0, %camera, cause = %placed.cause, "{camera}: {what}, {why}");
    }
}

/// What a camera's streams take: as measured, else as those of others do.
fn rates_of(rates: &HashMap<CameraId, Measured>, camera: &CameraId, means: Rates) -> Rates {
    let Some(own) = rates.get(camera) else {
        return means;
    };
    Rates {
        main: own.main.bits_per_second().unwrap_or(means.main),
        sub: own.sub.bits_per_second().unwrap_or(means.sub),
    }
}

/// Bits per second for people.
fn megabits(bits: u64) -> String {
    format!("{}.{} Mbit/s", bits / 1_000_000, bits / 100_000 % 10)
}
