//! One relayed camera at the receiver: whose turn it is among its groups, the
//! kept group, its viewers.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus::IntCounter;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::outbox::Outbox;
use super::pace::{Rate, Sampling};
use super::streams::Streams;
use super::viewer::Viewer;
use super::viewing::{Event, Viewing, Waits};
use crate::allowance::Allowance;
use crate::clock::{Boot, Clock, Now};
use crate::format::ids::{CameraId, CommuneId, GrantId};
use crate::link::group::Budget;
use crate::link::meter::Meter;
use crate::media::h265::Picture;
use crate::media::kept::Kept;
use crate::media::packets::Packetised;
use crate::media::queue::Place;
use crate::media::relay::RelayId;
use crate::media::source::Sampled;
use crate::media::unit::{AccessUnit, Codec, Configuration, Group};
use crate::metrics;
use crate::reason::Reason;
use crate::rtsp::rtp::Packetiser;

/// Longest pause between pictures that a slow camera may make and still count as
/// one that gives pictures.
const SLOWEST: Duration = Duration::from_secs(60);

/// µs beyond which a transit is no transit but a wrong clock.
const LONGEST_TRANSIT: i64 = 60_000_000;
/// Pictures of a camera that are read at once, and in each second after that: a kept group
/// of 30 s, and more than any camera gives.
const PICTURES: (u32, u32) = (2_048, 500);

/// A camera that at least one grant allows.
#[derive(Debug)]
pub(super) struct Camera {
    pub(super) commune: CommuneId,
    pub(super) id: CameraId,
    inner: Mutex<Inner>,
    /// Told when a group's turn ends, a configuration comes, pictures come again,
    /// the camera is closed.
    changed: Notify,
    clock: Clock,
    waits: Waits,
    metrics: Arc<metrics::Receiver>,
    outbox: Arc<Outbox>,
    frames: IntCounter,
    bytes: IntCounter,
    since: Instant,
    /// What kept groups of its commune may take.
    budget: Arc<Budget>,
    /// This is the first stream; the other one where it is needed.
    pub(super) streams: Streams,
}

#[derive(Debug)]
struct Inner {
    relay: RelayId,
    /// Who counts the bytes for each of them: those of a group count for the first.
    grants: BTreeMap<GrantId, Arc<Meter>>,
    turn: Turn,
    configuration: Option<Arc<Configuration>>,
    kept: Kept,
    /// Bytes of `kept` that the budget knows of.
    charged: usize,
    /// Pictures that may still be read.
    pictures: Allowance,
    packetiser: Packetiser,
    viewers: Vec<Arc<Viewer>>,
    /// The control plane waits for the first key frame.
    wants_first: bool,
    /// A key frame was asked for and has not come.
    wants_key: bool,
    /// When the newest picture reached the gateway, by our clock: µs.
    newest: Option<i64>,
    /// When the newest picture came here, or would have if it had not been kept at
    /// the gateway meanwhile.
    seen: Option<Boot>,
    sampling: Sampling,
    rate: Rate,
    /// No grant is left.
    closed: bool,
}

/// Which group's pictures are taken.
#[derive(Clone, Copy, Debug, Default)]
struct Turn {
    current: Option<u64>,
    /// The current group is over.
    is_over: bool,
    /// The current group ended short: what needs it can't be decoded.
    is_short: bool,
}

impl Inner {
    /// The camera's clock.
    fn sampled(&self) -> Option<Sampled> {
        let (pts, at) = self.sampling.newest()?;
        Some(Sampled {
            ssrc: self.packetiser.ssrc(),
            timestamp: self.packetiser.timestamp(pts),
            at,
        })
    }

    /// How long ago the newest picture came.
    fn silence(&self, now: Boot) -> Duration {
        self.seen.map_or(Duration::MAX, |seen| now.since(seen))
    }

    /// Whether pictures come: one did a short while ago, or as lately as this camera
    /// gives them.
    fn is_giving(&self, now: Boot, waits: Waits) -> bool {
        let slow = self.rate.interval().map(|interval| interval * 2);
        let limit = waits.silence.max(slow.unwrap_or_default().min(SLOWEST));
        self.silence(now) < limit
    }
}

impl Camera {
    /// A camera that `grant` allows.
    pub(super) fn new(
        (commune, id): (&CommuneId, &CameraId),
        relay: RelayId,
        (clock, metrics, outbox): (&Clock, &Arc<metrics::Receiver>, &Arc<Outbox>),
        (waits, budget): (Waits, &Arc<Budget>),
    ) -> Self {
        let labels = [commune.as_str(), id.as_str()];
        let mut random = [0; 10];
        // Without randomness the stream is still good, only guessable.
        let _ = getrandom::fill(&mut random);
        Self {
            commune: commune.clone(),
            id: id.clone(),
            inner: Mutex::new(Inner {
                relay,
                grants: BTreeMap::new(),
                turn: Turn::default(),
                configuration: None,
                kept: Kept::new(),
                charged: 0,
                pictures: Allowance::new(PICTURES.0, PICTURES.1),
                packetiser: Packetiser::from_random(random),
                viewers: Vec::new(),
                wants_first: true,
                wants_key: false,
                newest: None,
                seen: None,
                sampling: Sampling::default(),
                rate: Rate::default(),
                closed: false,
            }),
            changed: Notify::new(),
            clock: clock.clone(),
            waits,
            frames: metrics.frames_total.with_label_values(&labels),
            bytes: metrics.relay_bytes_total.with_label_values(&labels),
            metrics: Arc::clone(metrics),
            outbox: Arc::clone(outbox),
            since: Instant::now(),
            budget: Arc::clone(budget),
            streams: Streams::default(),
        }
    }

    pub(super) fn now(&self) -> Boot {
        self.clock.now().boot
    }

    /// Tells the control plane which streams are needed, if that is news.
    pub(super) fn tell_streams(&self) {
        if let Some(wanted) = self.streams.settle(self.now()) {
            self.outbox.put(Event::StreamsWanted {
                commune: self.commune.clone(),
                relay: self.relay(),
                first: wanted.first,
                other: wanted.other,
            });
        }
    }

    /// The other stream, under the same grants.
    pub(super) fn beside(&self, relay: RelayId) -> Self {
        let other = Self::new(
            (&self.commune, &self.id),
            relay,
            (&self.clock, &self.metrics, &self.outbox),
            (self.waits, &self.budget),
        );
        for (grant, meter) in &self.lock().grants {
            other.allow(*grant, relay, Arc::clone(meter));
        }
        other
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How it travels now.
    pub(super) fn relay(&self) -> RelayId {
        self.lock().relay
    }

    /// A grant allows it, for the first time or again.
    pub(super) fn allow(&self, grant: GrantId, relay: RelayId, meter: Arc<Meter>) {
        if let Some(other) = self.streams.other() {
            other.allow(grant, other.relay(), Arc::clone(&meter));
        }
        let mut inner = self.lock();
        inner.grants.insert(grant, meter);
        if inner.relay != relay {
            // A gateway that was started again counts its groups again.
            inner.relay = relay;
            inner.turn = Turn::default();
            self.changed.notify_waiters();
        }
        if inner.kept.get().is_some() {
            self.outbox.put(self.first_picture());
        } else {
            inner.wants_first = true;
        }
    }

    /// Who counts the bytes of a group that begins now.
    pub(super) fn meter(&self) -> Option<Arc<Meter>> {
        let inner = self.lock();
        inner
            .grants
            .first_key_value()
            .map(|(_, meter)| Arc::clone(meter))
    }

    fn first_picture(&self) -> Event {
        Event::FirstPicture {
            commune: self.commune.clone(),
            camera: self.id.clone(),
        }
    }

    /// Takes a grant away: its viewers end. Says whether the camera is closed by it.
    pub(super) fn end_grant(&self, grant: GrantId, reason: Reason) -> bool {
        if let Some(other) = self.streams.other() {
            other.end_grant(grant, reason);
        }
        let mut inner = self.lock();
        inner.grants.remove(&grant);
        inner.viewers.retain(|viewer| {
            let goes = viewer.viewing.grant == grant;
            if goes {
                viewer.end(reason);
            }
            !goes
        });
        if inner.grants.is_empty() {
            self.close(inner, reason);
            return true;
        }
        false
    }

    /// Ends a grant's viewers of one kind; the grant stays.
    pub(super) fn end_viewers(&self, grant: GrantId, players: bool, reason: Reason) {
        if let Some(other) = self.streams.other() {
            other.end_viewers(grant, players, reason);
        }
        self.lock().viewers.retain(|viewer| {
            let viewing = &viewer.viewing;
            let goes = viewing.grant == grant && viewing.is_player() == Some(players);
            if goes {
                viewer.end(reason);
            }
            !goes
        });
    }

    /// Ends all viewers and forgets everything.
    pub(super) fn shut(&self, reason: Reason) {
        if let Some(other) = self.streams.other() {
            other.shut(reason);
        }
        self.close(self.lock(), reason);
    }

    fn close(&self, mut inner: MutexGuard<'_, Inner>, reason: Reason) {
        inner.closed = true;
        inner.kept.clear();
        self.charge(&mut inner);
        inner.grants.clear();
        for viewer in inner.viewers.drain(..) {
            viewer.end(reason);
        }
        drop(inner);
        self.changed.notify_waiters();
    }

    /// What a decoder needs, once it is known and pictures come; `None` where the
    /// camera closed or nothing came in time. What a camera showed before it fell
    /// silent is not given: it would be taken for what it sees now.
    pub(super) async fn configuration(&self, timeout: Duration) -> Option<Arc<Configuration>> {
        let wait = async {
            loop {
                let changed = self.changed.notified();
                {
                    let inner = self.lock();
                    if inner.closed {
                        return None;
                    }
                    let is_giving = inner.is_giving(self.clock.now().boot, self.waits);
                    if let Some(configuration) = inner.configuration.as_ref().filter(|_| is_giving)
                    {
                        return Some(Arc::clone(configuration));
                    }
                }
                changed.await;
            }
        };
        tokio::time::timeout(timeout, wait).await.ok().flatten()
    }

    /// What a decoder needs now, if it is known.
    pub(super) fn known_configuration(&self) -> Option<Arc<Configuration>> {
        self.lock().configuration.clone()
    }

    /// Pictures in a second, if that is known.
    pub(super) fn frame_rate(&self) -> Option<f64> {
        self.lock().rate.per_second()
    }

    /// Adds a viewer, which begins with the kept group, or with the next key frame
    /// where that group has grown old. `None` where the grant does not allow the
    /// camera any more.
    pub(super) fn join(&self, viewing: Viewing, packets: bool) -> Option<Arc<Viewer>> {
        let mut inner = self.lock();
        if inner.closed || !inner.grants.contains_key(&viewing.grant) {
            return None;
        }
        let burst = self.burst(&inner, packets);
        if burst.is_empty() && !inner.wants_key {
            inner.wants_key = true;
            self.outbox.put(Event::KeyFrameWanted {
                commune: self.commune.clone(),
                relay: inner.relay,
            });
        }
        let viewer = Viewer::new(
            viewing,
            packets,
            (burst, inner.sampled()),
            Arc::clone(&self.outbox),
            Arc::clone(&self.metrics),
        );
        inner.viewers.push(Arc::clone(&viewer));
        Some(viewer)
    }

    /// The kept group for one viewer, without the leading pictures that it could
    /// not decode; nothing where its newest picture is no longer what there is to see.
    fn burst(&self, inner: &Inner, packets: bool) -> VecDeque<(Arc<AccessUnit>, Arc<Packetised>)> {
        let Some((group, units)) = inner.kept.get() else {
            return VecDeque::new();
        };
        if inner.silence(self.clock.now().boot) > self.waits.kept {
            return VecDeque::new();
        }
        let units: Vec<&Arc<AccessUnit>> = units
            .iter()
            .filter(|unit| !place(group, unit).skipped_leading)
            .collect();
        if packets {
            let made = inner
                .packetiser
                .kept_burst(units.iter().map(|unit| unit.as_ref()), &group.configuration);
            units
                .into_iter()
                .cloned()
                .zip(made.into_iter().map(Arc::new))
                .collect()
        } else {
            units
                .into_iter()
                .map(|unit| (Arc::clone(unit), Arc::default()))
                .collect()
        }
    }

    /// Waits for a group's turn: until the one before is over, or for `grace`
    /// from now, after which that one is left behind. False where the group
    /// comes too late itself, or the camera is closed.
    pub(super) async fn take_turn(&self, number: u64, grace: Duration) -> bool {
        let patience = tokio::time::sleep(grace);
        tokio::pin!(patience);
        let mut is_patient = true;
        loop {
            let changed = self.changed.notified();
            {
                let mut inner = self.lock();
                if inner.closed || inner.turn.current.is_some_and(|current| number <= current) {
                    return false;
                }
                if inner.turn.current.is_none() || inner.turn.is_over || !is_patient {
                    let is_short = inner.turn.is_short || !inner.turn.is_over;
                    if inner.turn.current.is_some() && is_short {
                        for viewer in &inner.viewers {
                            viewer.gap();
                        }
                    }
                    inner.turn = Turn {
                        current: Some(number),
                        is_over: false,
                        is_short: false,
                    };
                    drop(inner);
                    self.changed.notify_waiters();
                    return true;
                }
            }
            tokio::select! {
                () = changed => {}
                () = &mut patience => is_patient = false,
            }
        }
    }

    /// Waits until a group is of no use any more: another one's turn came after it, or
    /// the camera is closed.
    pub(super) async fn passed(&self, number: u64) {
        loop {
            let changed = self.changed.notified();
            {
                let inner = self.lock();
                if inner.closed || inner.turn.current.is_some_and(|current| current > number) {
                    return;
                }
            }
            changed.await;
        }
    }

    /// How long to wait before one more picture is read: no camera gives so many.
    pub(super) fn pace(&self) -> Duration {
        let now = self.since.elapsed();
        self.lock().pictures.charge(1, now)
    }

    /// A picture that is a group of its own, already read: newest wins.
    pub(super) fn take_picture(&self, group: &Arc<Group>, unit: AccessUnit, offset: i64) -> bool {
        let mut inner = self.lock();
        if inner.closed
            || inner
                .turn
                .current
                .is_some_and(|current| group.number <= current)
        {
            return false;
        }
        inner.turn = Turn {
            current: Some(group.number),
            is_over: true,
            is_short: false,
        };
        self.deliver(inner, group, unit, true, offset);
        self.changed.notify_waiters();
        true
    }

    /// The next picture of a group whose turn it is; false where it is no longer.
    pub(super) fn take_unit(
        &self,
        group: &Arc<Group>,
        unit: AccessUnit,
        is_first: bool,
        offset: i64,
    ) -> bool {
        let inner = self.lock();
        if inner.closed || inner.turn.current != Some(group.number) {
            return false;
        }
        self.deliver(inner, group, unit, is_first, offset);
        true
    }

    /// A group is over.
    pub(super) fn end_turn(&self, number: u64, is_complete: bool) {
        let mut inner = self.lock();
        if inner.turn.current == Some(number) {
            inner.turn.is_over = true;
            inner.turn.is_short = !is_complete;
        }
        drop(inner);
        self.changed.notify_waiters();
    }

    fn deliver(
        &self,
        mut inner: MutexGuard<'_, Inner>,
        group: &Arc<Group>,
        mut unit: AccessUnit,
        is_first: bool,
        offset: i64,
    ) {
        // A group has one key frame. With others in it each would be sent with all
        // parameter sets to each viewer that joins.
        unit.flags.key &= is_first;
        let unit = Arc::new(unit);
        if is_first {
            if unit.flags.loss_before {
                // The group before ended short at the gateway.
                for viewer in &inner.viewers {
                    viewer.gap();
                }
            }
            self.begin(&mut inner, group);
        }
        inner.kept.push(&unit);
        self.charge(&mut inner);
        let place = place(group, &unit);
        let inner = &mut *inner;
        let now = self.clock.now();
        self.note(inner, group, &unit, (offset, now));
        inner.viewers.retain(|viewer| !viewer.is_over());
        let packets = if inner.viewers.iter().any(|viewer| viewer.packets) {
            Arc::new(inner.packetiser.packetise(&unit, &group.configuration))
        } else {
            Arc::default()
        };
        let sampled = inner.sampled();
        for viewer in &inner.viewers {
            viewer.push(&unit, place, &packets, sampled, now.boot);
        }
    }

    /// Tells the budget what the kept group takes; one for which there is no room goes.
    fn charge(&self, inner: &mut Inner) {
        if !self.budget.exchange(inner.charged, inner.kept.bytes()) {
            inner.kept.clear();
            self.budget.exchange(inner.charged, 0);
        }
        inner.charged = inner.kept.bytes();
    }

    /// The first picture of a group is here.
    fn begin(&self, inner: &mut Inner, group: &Arc<Group>) {
        inner.kept.start(Arc::clone(group));
        inner.wants_key = false;
        if std::mem::take(&mut inner.wants_first) {
            self.outbox.put(self.first_picture());
        }
        self.outbox.retry();
        let before = inner.configuration.as_ref();
        if before.is_some_and(|before| *before == group.configuration) {
            return;
        }
        let is_other_codec = before.is_some_and(|before| before.codec != group.configuration.codec);
        if is_other_codec {
            // A player can't change codec in mid-play; a page can.
            inner.viewers.retain(|viewer| {
                if viewer.packets {
                    viewer.end(Reason::StreamChanged);
                }
                !viewer.packets
            });
        }
        inner.configuration = Some(Arc::clone(&group.configuration));
        self.changed.notify_waiters();
    }

    /// Notes when a picture was taken and came, and counts it.
    fn note(&self, inner: &mut Inner, group: &Group, unit: &AccessUnit, (offset, now): (i64, Now)) {
        self.frames.inc();
        self.bytes.inc_by(unit.data.len() as u64);
        let captured = unit.captured.saturating_sub(offset);
        inner.newest = Some(inner.newest.map_or(captured, |newest| newest.max(captured)));
        inner.sampling.note(unit.pts, captured);
        inner.rate.note(unit.pts);
        let was_giving = inner.is_giving(now.boot, self.waits);
        let transit = now.wall.0.saturating_sub(captured).max(0);
        let seen = if group.kept {
            // Kept at the gateway, which may have waited for its camera in vain.
            let kept = Duration::from_micros(transit.unsigned_abs());
            Boot(now.boot.0.saturating_sub(kept))
        } else {
            // The figure is of all communes: one that lies must not spoil it.
            let told = transit.min(LONGEST_TRANSIT);
            self.metrics.transit_seconds.observe(seconds(told));
            now.boot
        };
        inner.seen = inner.seen.max(Some(seen));
        if !was_giving {
            self.changed.notify_waiters();
        }
    }

    /// Brings the age of the newest picture up to date: of the stream that is watched.
    pub(super) fn record_age(&self) {
        if let (true, Some(other)) = (self.streams.is_parked(), self.streams.other()) {
            return other.record_age();
        }
        let inner = self.lock();
        let (Some(newest), false) = (inner.newest, inner.closed) else {
            return;
        };
        let age = self.clock.now().wall.0.saturating_sub(newest).max(0);
        self.metrics
            .newest_frame_age_seconds
            .with_label_values(&[self.commune.as_str(), self.id.as_str()])
            .set(seconds(age));
    }
}

#[allow(clippy::cast_precision_loss)] // below 2^53 µs for 285 years
fn seconds(microseconds: i64) -> f64 {
    microseconds as f64 / 1e6
}

/// How a picture is in its group.
fn place(group: &Group, unit: &AccessUnit) -> Place {
    Place {
        skipped_leading: group.open
            && group.configuration.codec == Codec::H265
            && Picture::of(&unit.data) == Picture::SkippedLeading,
    }
}
