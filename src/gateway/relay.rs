//! Sends one camera's groups over a link: newest first, late groups reset.
//!
//! The camera's task hands frames in without ever waiting; a task of the relay's
//! own opens streams and writes. Both work on one [`Backlog`] under a lock that
//! is held for moments only. [`RelaySender::stop`] takes the same lock, so once
//! it returns no byte of the camera is handed to the link any more, and what was
//! handed over is reset.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use prometheus::IntCounter;
use quinn::{ConnectionError, SendStream, WriteError};
use tokio::sync::mpsc;

use super::turns::{LinkTurns, Seat, SharedLink};
use crate::clock::{Boot, Clock};
use crate::format::cause::Cause;
use crate::format::ids::CameraId;
use crate::link::group::GroupWriter;
use crate::link::meter::Meter;
use crate::link::{Carried, Link, priority};
use crate::media::backlog::{Backlog, Entry, JUMP_AFTER, Step};
use crate::media::relay::Class;
use crate::media::relay::{Profile, RelayId};
use crate::media::sink::{Sink, State};
use crate::media::unit::{Codec, Frame, UNIT_LIMIT};
use crate::media::wire::{GroupHeader, LATE};
use crate::metrics;
use crate::reason::Reason;

/// How long a round of writing may have begun before its relay's deadline.
const LAST_LOOK: Duration = Duration::from_millis(100);
/// How long a relay that gave way counts as late: a group or two.
const GAVE_WAY: Duration = Duration::from_secs(4);
/// A picture that does not change for longer than this is said to be late.
const STANDS_STILL: Duration = Duration::from_millis(2_500);
/// Least time a group's tail has to be acknowledged once a newer one has begun.
const LEAST_GRACE: Duration = Duration::from_millis(150);

/// What a relay tells the control plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The camera's state changed.
    Camera(State),
    /// Pictures are late: the rest of a group was dropped, the picture is
    /// frozen. A key frame soon, or the smaller stream, would help.
    Late,
    /// A key frame got through after [`Notice::Late`].
    OnTime,
    /// The relay stopped by itself: its deadline passed.
    Expired,
    /// The link is gone.
    LinkLost,
    /// It carries this stream of its camera now, for this cause.
    Profile(Profile, Cause),
}

/// What a relay works with.
#[derive(Clone, Debug)]
pub struct Parts {
    /// The link to the centre.
    pub link: SharedLink,
    /// The relay.
    pub relay: RelayId,
    /// Its camera, for the counters.
    pub camera: CameraId,
    /// How important it is.
    pub class: Class,
    /// When it ends at the latest, whatever the control plane does meanwhile:
    /// the latest of its grants' deadlines.
    pub until: Boot,
    /// Boot time.
    pub clock: Clock,
    /// Counts the bytes of the grant under which it begins.
    pub meter: Arc<Meter>,
    /// The gateway's metrics.
    pub metrics: Arc<metrics::Gateway>,
    /// Where notices go; bounded, never waited for.
    pub notices: mpsc::Sender<(RelayId, Notice)>,
}

/// A camera's way over one link. Usable from any thread; dropping it stops it.
#[derive(Debug)]
pub struct RelaySender {
    shared: Arc<Shared>,
    task: tokio::task::AbortHandle,
    _carried: Carried,
}

#[derive(Debug)]
struct Shared {
    link: Link,
    turns: Arc<LinkTurns>,
    relay: RelayId,
    clock: Clock,
    notices: mpsc::Sender<(RelayId, Notice)>,
    counters: Counters,
    inner: Mutex<Inner>,
    seat: Arc<Seat>,
}

/// This camera's counters, looked up once.
#[derive(Debug)]
struct Counters {
    frames: IntCounter,
    bytes: IntCounter,
    groups_reset: IntCounter,
    ungranted: IntCounter,
}

#[derive(Debug)]
struct Inner {
    backlog: Backlog<GroupWriter>,
    /// Complete groups that the peer may not have acknowledged, and when they
    /// are given up.
    finishing: VecDeque<(GroupWriter, Boot)>,
    grace: Duration,
    class: Class,
    until: Boot,
    /// Counts the groups that begin now.
    meter: Arc<Meter>,
    is_late: bool,
    /// The picture that is being written is a key frame.
    is_key: bool,
    /// When it gave up the end of a group for other relays.
    gave_way: Option<Boot>,
    stopped: bool,
}

impl RelaySender {
    /// Starts a relay; its task runs on `frames`.
    pub fn start(frames: &tokio::runtime::Handle, parts: Parts) -> Self {
        let camera = parts.camera.as_str();
        let counters = Counters {
            frames: parts.metrics.frames_total.with_label_values(&[camera]),
            bytes: parts.metrics.relay_bytes_total.with_label_values(&[camera]),
            groups_reset: parts.metrics.gops_reset_total.with_label_values(&[camera]),
            ungranted: parts.metrics.ungranted_bytes_total.clone(),
        };
        let shared = Arc::new(Shared {
            relay: parts.relay,
            clock: parts.clock,
            notices: parts.notices,
            counters,
            inner: Mutex::new(Inner {
                backlog: Backlog::new(),
                finishing: VecDeque::new(),
                grace: LEAST_GRACE,
                class: parts.class,
                until: parts.until,
                meter: parts.meter,
                is_late: false,
                is_key: false,
                gave_way: None,
                stopped: false,
            }),
            seat: parts.link.turns.join(parts.relay),
            turns: parts.link.turns,
            link: parts.link.link,
        });
        let task = frames.spawn(drive(Arc::clone(&shared))).abort_handle();
        Self {
            _carried: shared.link.carry(),
            shared,
            task,
        }
    }

    /// Whether its pictures are late: the rest of a group was dropped, and no
    /// key frame has got through since; or it gave way to other relays of late.
    pub fn is_late(&self) -> bool {
        let now = self.shared.clock.now().boot;
        let inner = self.shared.lock();
        let gave_way = inner.gave_way;
        inner.is_late || gave_way.is_some_and(|at| now.since(at) < GAVE_WAY)
    }

    /// Whether the picture is frozen until a key frame that is not due soon.
    pub fn is_frozen(&self) -> bool {
        self.shared.lock().is_late
    }

    /// The relay.
    pub fn relay(&self) -> RelayId {
        self.shared.relay
    }

    /// Ends it: all its streams are reset with the reason's number. Once this
    /// returns no byte of the camera is handed to the link.
    pub fn stop(&self, reason: Reason) {
        self.shared.stop(reason);
    }

    /// A renewal moved the deadline, or a grant's end brought it nearer.
    pub fn set_until(&self, until: Boot) {
        self.shared.lock().until = until;
    }

    /// Groups that begin from now on count for another grant.
    pub fn set_meter(&self, meter: Arc<Meter>) {
        self.shared.lock().meter = meter;
    }

    /// Operators look at it more, or less.
    pub fn set_class(&self, class: Class) {
        let mut inner = self.shared.lock();
        inner.class = class;
        if let Some(writer) = inner.backlog.newest_writer() {
            writer.set_priority(class.number());
        }
        drop(inner);
        self.shared.seat.waker.wake();
    }

    /// Bytes of pictures that wait for the link.
    pub fn waiting_bytes(&self) -> usize {
        self.shared.lock().backlog.bytes()
    }
}

impl Drop for RelaySender {
    fn drop(&mut self) {
        self.shared.stop(Reason::ShuttingDown);
        self.task.abort();
    }
}

impl Sink for RelaySender {
    fn push(&self, frame: &Frame) {
        let now = self.shared.clock.now().boot;
        let mut inner = self.shared.lock();
        if inner.stopped {
            return;
        }
        if now >= inner.until {
            drop(inner);
            self.shared.stop(Reason::GrantExpired);
            self.shared.tell(Notice::Expired);
            return;
        }
        match frame {
            Frame::Group(group) => {
                inner.grace = LEAST_GRACE.max(3 * self.shared.link.rtt());
                inner.backlog.start(Arc::clone(group), now, |writer| {
                    writer.set_priority(priority::SUPERSEDED);
                });
            }
            Frame::Unit(unit) if (1..=UNIT_LIMIT).contains(&unit.data.len()) => {
                self.shared.give_way(&mut inner, now);
                inner.backlog.push(Arc::clone(unit), now);
            }
            Frame::Unit(unit) => {
                tracing::warn!(
                    relay = %self.shared.relay, bytes = unit.data.len(),
                    "picture left out: empty, or over 8 MiB"
                );
            }
        }
        drop(inner);
        self.shared.seat.waker.wake();
    }

    fn state(&self, state: &State) {
        if let State::Retrying(refusal) | State::Failed(refusal) = state {
            // What the camera will not go on with must not look complete.
            let mut inner = self.shared.lock();
            reset_all(&mut inner, refusal.reason.number());
        }
        self.shared.tell(Notice::Camera(state.clone()));
    }
}

fn reset_all(inner: &mut Inner, code: u32) {
    for mut writer in inner.backlog.drain() {
        writer.reset(code);
    }
    for (mut writer, _) in inner.finishing.drain(..) {
        writer.reset(code);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stop(&self, reason: Reason) {
        let mut inner = self.lock();
        inner.stopped = true;
        reset_all(&mut inner, reason.number());
        drop(inner);
        self.turns.leave(self.relay, &self.seat);
        self.seat.waker.wake();
    }

    fn tell(&self, notice: Notice) {
        if self.notices.try_send((self.relay, notice)).is_err() {
            tracing::warn!(relay = %self.relay, "the control plane takes no notices; one is lost");
        }
    }

    /// Does what can be done now. Ready when the relay is over.
    fn poll(&self, cx: &mut Context<'_>, task: &mut Task) -> Poll<()> {
        self.seat.waker.register(cx.waker());
        let mut inner = self.lock();
        loop {
            if inner.stopped {
                return Poll::Ready(());
            }
            let now = self.clock.now().boot;
            if now >= inner.until {
                drop(inner);
                self.stop(Reason::GrantExpired);
                self.tell(Notice::Expired);
                return Poll::Ready(());
            }
            inner.backlog.set_away(self.link.is_silent(), now);
            self.give_way(&mut inner, now);
            self.expire(&mut inner, now);
            if self.write(cx, task, &mut inner, now).is_break() {
                inner.stopped = true;
                reset_all(&mut inner, Reason::LinkLost.number());
                drop(inner);
                self.turns.leave(self.relay, &self.seat);
                self.tell(Notice::LinkLost);
                return Poll::Ready(());
            }
            let deadline = inner.deadline();
            if task.wait(&self.clock, deadline, cx).is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// Gives up the rest of the group where there is more than the link carries and it
    /// is this relay's turn to do so.
    fn give_way(&self, inner: &mut Inner, now: Boot) {
        if !self.seat.take_gives_way() {
            return;
        }
        let next_key = inner.backlog.standing().next_key;
        if !inner.backlog.give_way() {
            return;
        }
        self.counters.groups_reset.inc();
        inner.gave_way = Some(now);
        let is_near = |key: &Boot| *key > now && key.since(now) <= STANDS_STILL;
        if next_key.filter(is_near).is_none() && !inner.is_late {
            inner.is_late = true;
            self.tell(Notice::Late);
        }
    }

    /// Gives up what is late.
    fn expire(&self, inner: &mut Inner, now: Boot) {
        while inner.finishing.front().is_some_and(|(_, end)| *end <= now) {
            if let Some((mut writer, _)) = inner.finishing.pop_front() {
                // Says no where all of it was acknowledged.
                let was_late = writer.reset(LATE);
                self.counters.groups_reset.inc_by(u64::from(was_late));
            }
        }
        let expired = inner.backlog.expire(now, inner.grace);
        self.counters.groups_reset.inc_by(u64::from(expired.unsent));
        self.counters.groups_reset.inc_by(u64::from(expired.short));
        for mut writer in expired.reset {
            writer.reset(LATE);
            self.counters.groups_reset.inc();
        }
        let is_overdue = inner.frozen_until().is_some_and(|at| at <= now);
        if (expired.late || is_overdue) && !inner.is_late {
            inner.is_late = true;
            self.tell(Notice::Late);
        }
    }

    /// Opens, writes and finishes streams until the link takes no more. Breaks
    /// when the link is gone.
    fn write(
        &self,
        cx: &mut Context<'_>,
        task: &mut Task,
        inner: &mut Inner,
        now: Boot,
    ) -> std::ops::ControlFlow<()> {
        use std::ops::ControlFlow::{Break, Continue};
        let mut blocked = 0;
        // The link takes no more; what is all written is finished all the same.
        let mut is_full = false;
        let mut is_opening = false;
        let mut standing = inner.backlog.standing();
        let mut is_first = self.turns.set(self.relay, inner.class, standing);
        while let Some(step) = inner.backlog.nth(blocked) {
            let may_write = is_first && !is_full && !self.waits_for_control();
            if !may_write && !matches!(step, Step::Finish(_)) {
                blocked += 1;
                continue;
            }
            match step {
                Step::Open(at) => match task.open(&self.link, cx) {
                    Poll::Ready(Ok(stream)) => {
                        let class = inner.class;
                        let meter = Arc::clone(&inner.meter);
                        if let Some(entry) = inner.backlog.entry(at) {
                            let header = GroupHeader {
                                relay: self.relay,
                                group: Arc::clone(&entry.group),
                            };
                            let writer = GroupWriter::new(stream, &header, class.number());
                            entry.writer = Some(writer.metered(meter));
                        }
                    }
                    Poll::Ready(Err(_)) => return Break(()),
                    // An older group may have a stream and something to say.
                    Poll::Pending => {
                        blocked += 1;
                        is_opening = true;
                    }
                },
                Step::Write(at) => {
                    let written = self.write_unit(cx, inner, at, now);
                    standing = inner.backlog.standing();
                    is_first = self.turns.set(self.relay, inner.class, standing);
                    match written {
                        Poll::Ready(Ok(())) => {}
                        Poll::Ready(Err(WriteError::Stopped(code))) => {
                            tracing::debug!(relay = %self.relay, %code, "the centre stopped a group");
                            inner.backlog.refuse(at);
                            standing = inner.backlog.standing();
                            is_first = self.turns.set(self.relay, inner.class, standing);
                        }
                        Poll::Ready(Err(_)) => return Break(()),
                        Poll::Pending => {
                            // Of a link that is cut no relay takes the place of another.
                            if !self.link.is_silent() {
                                self.turns.blocked(now, self.link.capacity());
                            }
                            is_full = true;
                            blocked += 1;
                        }
                    }
                }
                Step::Finish(at) => {
                    let entry = inner.backlog.remove(at);
                    let jpeg = entry
                        .as_ref()
                        .is_some_and(|entry| entry.group.configuration.codec == Codec::Jpeg);
                    let is_superseded = entry.as_ref().is_some_and(Entry::is_superseded);
                    if let Some(mut writer) = entry.and_then(|entry| entry.writer) {
                        writer.finish();
                        // A picture of its own has its whole time; a tail that a
                        // newer group follows has its grace, behind everything else.
                        let grace = if jpeg {
                            inner.grace.max(JUMP_AFTER)
                        } else {
                            if is_superseded {
                                writer.set_priority(priority::SUPERSEDED);
                            }
                            inner.grace
                        };
                        inner.finishing.push_back((writer, now.plus(grace)));
                    }
                }
            }
        }
        if is_opening && !is_full {
            // It has nothing to write to: others have their turn.
            standing = inner.backlog.standing();
            standing.since = None;
            self.turns.set(self.relay, inner.class, standing);
        }
        Continue(())
    }

    /// Control messages go first; those of a link that is gone hold up nothing.
    fn waits_for_control(&self) -> bool {
        self.link.control_waits()
    }

    fn write_unit(
        &self,
        cx: &mut Context<'_>,
        inner: &mut Inner,
        at: usize,
        now: Boot,
    ) -> Poll<Result<(), WriteError>> {
        let is_written = match inner.backlog.entry(at).and_then(|e| e.writer.as_ref()) {
            Some(writer) => writer.is_written(),
            None => return Poll::Ready(Ok(())),
        };
        let unit = if is_written {
            inner.backlog.take_unit(at)
        } else {
            None
        };
        let is_over = inner.stopped || self.clock.now().boot >= inner.until.plus(LAST_LOOK);
        let Some(entry) = inner.backlog.entry(at) else {
            return Poll::Ready(Ok(()));
        };
        let after_gap = unit.is_some() && entry.take_gap();
        let Some(writer) = &mut entry.writer else {
            return Poll::Ready(Ok(()));
        };
        if let Some(unit) = unit {
            // The last look before bytes leave, whatever went wrong before it.
            if is_over {
                self.counters.ungranted.inc_by(unit.data.len() as u64);
                return Poll::Ready(Ok(()));
            }
            inner.is_key = unit.flags.key;
            writer.take(&unit, after_gap);
            self.counters.frames.inc();
            self.counters.bytes.inc_by(unit.data.len() as u64);
        }
        self.link.fit_send_window();
        let before = writer.left();
        let written = writer.poll_write(self.link.piece(), cx);
        let taken = before - writer.left();
        if is_over {
            inner.meter.pass_outside(taken as u64);
        }
        entry.wrote(taken);
        self.turns.wrote(now, taken);
        if let Poll::Ready(Ok(())) = written {
            entry.written();
            // Of a group that is cut short its key frame alone makes no moving picture.
            if inner.is_late && inner.is_key && !inner.backlog.ends_short() {
                inner.is_late = false;
                self.tell(Notice::OnTime);
            }
        }
        written
    }
}

impl Inner {
    fn deadline(&self) -> Option<Boot> {
        let finishing = self.finishing.front().map(|(_, end)| *end);
        let backlog = self.backlog.deadline(self.grace);
        let is_frozen = self.frozen_until().filter(|_| !self.is_late);
        finishing.into_iter().chain(backlog).chain(is_frozen).min()
    }

    /// When the next key frame, which was near when it gave way, counts as not coming.
    fn frozen_until(&self) -> Option<Boot> {
        let gave_way = self.gave_way.filter(|_| self.backlog.ends_short())?;
        Some(gave_way.plus(STANDS_STILL))
    }
}

type Opening = Pin<Box<dyn Future<Output = Result<SendStream, ConnectionError>> + Send>>;

type Timer = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What the relay's task waits for besides its waker.
#[derive(Default)]
struct Task {
    opening: Option<Opening>,
    timer: Option<(Boot, Timer)>,
}

impl Task {
    /// A stream, when the peer allows one more.
    fn open(
        &mut self,
        link: &Link,
        cx: &mut Context<'_>,
    ) -> Poll<Result<SendStream, ConnectionError>> {
        let opening = self.opening.get_or_insert_with(|| {
            let connection = link.connection.clone();
            Box::pin(async move { connection.open_uni().await })
        });
        let opened = opening.as_mut().poll(cx);
        if opened.is_ready() {
            self.opening = None;
        }
        opened
    }

    /// Waits for a deadline; a timer that is still right is kept.
    fn wait(&mut self, clock: &Clock, deadline: Option<Boot>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(deadline) = deadline else {
            self.timer = None;
            return Poll::Pending;
        };
        let is_right = self.timer.as_ref().is_some_and(|(at, _)| *at == deadline);
        if !is_right {
            let clock = clock.clone();
            let timer: Timer = Box::pin(async move { clock.sleep_until(deadline).await });
            self.timer = Some((deadline, timer));
        }
        match &mut self.timer {
            Some((_, timer)) => {
                let reached = timer.as_mut().poll(cx);
                if reached.is_ready() {
                    self.timer = None;
                }
                reached
            }
            None => Poll::Pending,
        }
    }
}

async fn drive(shared: Arc<Shared>) {
    let mut task = Task::default();
    std::future::poll_fn(|cx| shared.poll(cx, &mut task)).await;
}
