//! One viewer of one camera: a bounded queue that the hub fills without ever
//! waiting, and the subscription that a player's writer empties.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;

use super::outbox::Outbox;
use super::streams::Need;
use super::viewing::{Event, Viewing};
use crate::clock::Boot;
use crate::media::packets::Packetised;
use crate::media::queue::{Arrival, Next, Place, Pushed, Queue};
use crate::media::source;
use crate::media::unit::AccessUnit;
use crate::metrics::{self, ViewerKind};
use crate::policy::desk::VMS;
use crate::reason::Reason;

/// A picture on its way to a viewer.
type Picture = (Arc<AccessUnit>, Arc<Packetised>);

/// A viewer, as the hub holds it.
#[derive(Debug)]
pub(super) struct Viewer {
    /// Who views what, under which grant.
    pub(super) viewing: Viewing,
    /// Whether it wants RTP packets.
    pub(super) packets: bool,
    inner: Mutex<Inner>,
    waker: AtomicWaker,
    outbox: Arc<Outbox>,
    metrics: Arc<metrics::Receiver>,
}

#[derive(Debug)]
struct Inner {
    /// The kept group at joining.
    burst: VecDeque<Picture>,
    /// The camera's clock.
    sampled: Option<source::Sampled>,
    queue: Queue<Picture>,
    /// Why it is over.
    end: Option<Reason>,
    /// There is something to give.
    has_picture: bool,
    /// The control plane was told that it is about to get pictures.
    started: bool,
    /// The journal holds its start: it gets them.
    is_admitted: bool,
    /// The control plane knows that it is gone.
    told_end: bool,
}

impl Viewer {
    /// A viewer that begins with these pictures of the kept group; without any
    /// it waits for a key frame.
    pub(super) fn new(
        viewing: Viewing,
        packets: bool,
        (burst, sampled): (VecDeque<Picture>, Option<source::Sampled>),
        outbox: Arc<Outbox>,
        metrics: Arc<metrics::Receiver>,
    ) -> Arc<Self> {
        let viewer = Self {
            inner: Mutex::new(Inner {
                queue: if burst.is_empty() {
                    Queue::new()
                } else {
                    Queue::after_kept()
                },
                has_picture: !burst.is_empty(),
                burst,
                sampled,
                end: None,
                started: false,
                is_admitted: false,
                told_end: false,
            }),
            viewing,
            packets,
            waker: AtomicWaker::new(),
            outbox,
            metrics,
        };
        viewer.count(1);
        Arc::new(viewer)
    }

    fn kind(&self) -> &'static str {
        match self.viewing.how {
            "live" => ViewerKind::Live.as_str(),
            "rtsp_udp" => ViewerKind::RtspUdp.as_str(),
            VMS => ViewerKind::Vms.as_str(),
            _ => ViewerKind::RtspTcp.as_str(),
        }
    }

    /// VMS accounts count their sessions themselves, those that see the card included.
    fn count(&self, change: i64) {
        if self.viewing.how != VMS {
            let gauge = &self.metrics.viewers;
            gauge.with_label_values(&[self.kind()]).add(change);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next picture of the stream, which came at this moment; never waits.
    pub(super) fn push(
        &self,
        unit: &Arc<AccessUnit>,
        place: Place,
        packets: &Arc<Packetised>,
        sampled: Option<source::Sampled>,
        at: Boot,
    ) {
        let mut inner = self.lock();
        if inner.end.is_some() {
            return;
        }
        inner.sampled = sampled;
        let picture = (Arc::clone(unit), Arc::clone(packets));
        // Packets may be far larger than their picture: parameter sets go with key frames.
        let bytes = unit.data.len().max(packets.interleaved.len());
        let came = Arrival { at, bytes };
        let pushed = inner.queue.push(unit, place, picture, came);
        inner.has_picture |= pushed != Pushed::Useless;
        drop(inner);
        match pushed {
            Pushed::Useless => return,
            Pushed::Queued => {}
            Pushed::Skipped => self
                .metrics
                .viewer_skips_total
                .with_label_values(&[self.kind()])
                .inc(),
        }
        self.waker.wake();
    }

    /// Pictures are missing in the stream itself.
    pub(super) fn gap(&self) {
        self.lock().queue.gap();
    }

    /// Ends it: what still waits is thrown away, it learns why.
    pub(super) fn end(&self, reason: Reason) {
        let mut inner = self.lock();
        inner.end.get_or_insert(reason);
        inner.burst.clear();
        inner.queue = Queue::new();
        self.tell_end(&mut inner);
        drop(inner);
        self.waker.wake();
    }

    /// Whether it is over.
    pub(super) fn is_over(&self) -> bool {
        self.lock().end.is_some()
    }

    fn tell_end(&self, inner: &mut Inner) {
        if inner.started && !inner.told_end {
            inner.told_end = true;
            self.outbox
                .put(Event::ViewingEnded(self.viewing.clone(), inner.end));
        }
    }

    fn take(&self) -> Option<source::Event> {
        let mut inner = self.lock();
        if let Some(reason) = inner.end {
            return Some(source::Event::End(reason));
        }
        if !inner.is_admitted {
            // No picture leaves the hub before the journal has its line: nobody watches unrecorded.
            if inner.has_picture && !inner.started {
                inner.started = true;
                self.outbox.put(Event::ViewingStarted(self.viewing.clone()));
            }
            return None;
        }
        match inner.burst.pop_front() {
            Some((unit, packets)) => Some(source::Event::Unit {
                unit,
                packets,
                kept: true,
            }),
            None => match inner.queue.pop()? {
                Next::Skipped => Some(source::Event::Skipped),
                Next::Picture((unit, packets)) => Some(source::Event::Unit {
                    unit,
                    packets,
                    kept: false,
                }),
            },
        }
    }

    /// The journal holds its start.
    pub(super) fn admit(&self) {
        self.lock().is_admitted = true;
        self.waker.wake();
    }

    fn poll_take(&self, cx: &mut Context<'_>) -> Poll<source::Event> {
        if let Some(event) = self.take() {
            return Poll::Ready(event);
        }
        self.waker.register(cx.waker());
        // Something may have come between the look and the registration.
        self.take().map_or(Poll::Pending, Poll::Ready)
    }

    /// The player went away.
    fn leave(&self) {
        let mut inner = self.lock();
        self.tell_end(&mut inner);
        inner.end.get_or_insert(Reason::GrantReleased);
        inner.burst.clear();
        inner.queue = Queue::new();
        drop(inner);
        self.count(-1);
    }
}

/// A player's end of a viewer, and what keeps its stream coming.
#[derive(Debug)]
pub(super) struct Subscription(
    pub(super) Arc<Viewer>,
    #[expect(dead_code, reason = "held until it is dropped")] pub(super) Need,
);

impl source::Subscription for Subscription {
    fn next(&mut self) -> Pin<Box<dyn Future<Output = source::Event> + Send + '_>> {
        Box::pin(std::future::poll_fn(|cx| self.0.poll_take(cx)))
    }

    fn try_next(&mut self) -> Option<source::Event> {
        self.0.take()
    }

    fn sampled(&self) -> Option<source::Sampled> {
        self.0.lock().sampled
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.0.leave();
    }
}
