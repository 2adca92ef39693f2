//! Windows that can be opened for what congestion control must not hold back: a close,
//! and the probes of a link that hears nothing.
//!
//! quinn holds its CONNECTION_CLOSE back by congestion control where stream data waits
//! beside it, and once closed nothing opens the window any more: the peer hears nothing
//! and waits for the idle timeout (quinn issue 2785, resolved upstream, but in no release
//! we know of yet). RFC 9002 7 does not let the window hold back such packets. A link that
//! hears nothing is as stuck: all that may be under way is, and quinn's own probes, which
//! are exempt, double their interval. So each path's controller is wrapped in one whose
//! window can be opened: for a close at once and for good, for a probe by a packet or two.
//!
//! What was lost while nothing at all came back was lost to a cut, not to congestion: the
//! controller below is not told of it, so that the link goes on as fast as before. If the
//! path is narrower now, the losses that follow say so.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use quinn_proto::RttEstimator;
use quinn_proto::congestion::{Controller, ControllerFactory, ControllerMetrics};

/// From this window on quinn paces nothing either.
const OPEN: u64 = 1 << 32;
/// Bytes that a probe may add to what is under way: quinn wants room for two packets of
/// the largest size, and a probe for a larger packet may be under way uncounted.
const PROBE: u64 = 3 * 1_500;

/// Makes controllers whose window can be opened.
#[derive(Debug)]
pub(super) struct Config<F>(Arc<F>);

impl<F> Config<F> {
    /// Wraps the controllers that this one makes.
    pub(super) fn new(inner: F) -> Self {
        Self(Arc::new(inner))
    }
}

impl<F: ControllerFactory + Send + Sync + 'static> ControllerFactory for Config<F> {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        let opened = Opened {
            origin: now,
            is_closing: AtomicBool::new(false),
            in_flight: AtomicU64::new(0),
            probe: AtomicU64::new(0),
            probing_since: AtomicU64::new(0),
            answered: AtomicU64::new(0),
        };
        Box::new(Window {
            inner: Arc::clone(&self.0).build(now, current_mtu),
            opened: Arc::new(opened),
            cut: None,
        })
    }
}

/// How far a window is opened; shared by a controller and all that were cloned from it,
/// for the path may have moved.
#[derive(Debug)]
struct Opened {
    /// What times are counted from.
    origin: Instant,
    is_closing: AtomicBool,
    /// Bytes under way, as far as a controller can know: never fewer than there are, but
    /// for a probe of the packet size.
    in_flight: AtomicU64,
    /// The least window while probes are under way; 0: none is.
    probe: AtomicU64,
    /// When the first of them was sent, in microseconds.
    probing_since: AtomicU64,
    /// Bytes acknowledged; of what was sent before a probe that is under way, none.
    answered: AtomicU64,
}

impl Opened {
    fn micros(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.origin);
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    }

    fn is_probing(&self) -> bool {
        self.probe.load(Ordering::Relaxed) > 0
    }
}

/// A controller whose window can be opened.
struct Window {
    inner: Box<dyn Controller>,
    opened: Arc<Opened>,
    /// The last cut: when probes began, and when one was answered.
    cut: Option<(u64, Instant)>,
}

fn opened(controller: Box<dyn Controller>) -> Option<Arc<Opened>> {
    // Any other kind can't be opened.
    let window = controller.into_any().downcast::<Window>().ok()?;
    Some(window.opened)
}

/// Opens the window of a connection that is closed next. `controller`: a copy of its own.
pub fn open_for_close(controller: Box<dyn Controller>) {
    if let Some(opened) = opened(controller) {
        opened.is_closing.store(true, Ordering::Relaxed);
    }
}

/// Opens the window of a connection that sends a probe next, until that is acknowledged.
/// `controller`: a copy of its own.
pub fn open_for_probe(controller: Box<dyn Controller>, now: Instant) {
    if let Some(opened) = opened(controller) {
        if !opened.is_probing() {
            let now = opened.micros(now);
            opened.probing_since.store(now, Ordering::Relaxed);
        }
        let in_flight = opened.in_flight.load(Ordering::Relaxed);
        opened.probe.store(in_flight + PROBE, Ordering::Relaxed);
    }
}

/// Bytes of a connection that were acknowledged; while probes are under way only what was
/// sent since the first of them counts, for an answer that a cut held back says nothing
/// of the path now. `controller`: a copy of its own.
pub fn answered(controller: Box<dyn Controller>) -> u64 {
    opened(controller).map_or(0, |opened| opened.answered.load(Ordering::Relaxed))
}

impl Controller for Window {
    fn on_sent(&mut self, now: Instant, bytes: u64, last_packet_number: u64) {
        self.opened.in_flight.fetch_add(bytes, Ordering::Relaxed);
        self.inner.on_sent(now, bytes, last_packet_number);
    }

    fn on_ack(
        &mut self,
        now: Instant,
        sent: Instant,
        bytes: u64,
        app_limited: bool,
        rtt: &RttEstimator,
    ) {
        let sent_at = self.opened.micros(sent);
        if self.opened.is_probing() {
            let since = self.opened.probing_since.load(Ordering::Relaxed);
            if sent_at < since {
                return;
            }
            self.opened.probe.store(0, Ordering::Relaxed);
            self.cut = Some((since, now));
        }
        self.opened.answered.fetch_add(bytes, Ordering::Relaxed);
        // What took as long as the cut says nothing of the path.
        if self.cut.is_none_or(|(began, _)| sent_at >= began) {
            self.inner.on_ack(now, sent, bytes, app_limited, rtt);
        }
    }

    fn on_end_acks(
        &mut self,
        now: Instant,
        in_flight: u64,
        app_limited: bool,
        largest_packet_num_acked: Option<u64>,
    ) {
        self.opened.in_flight.store(in_flight, Ordering::Relaxed);
        if !self.opened.is_probing() {
            self.inner
                .on_end_acks(now, in_flight, app_limited, largest_packet_num_acked);
        }
    }

    fn on_congestion_event(
        &mut self,
        now: Instant,
        sent: Instant,
        is_persistent_congestion: bool,
        lost_bytes: u64,
    ) {
        let in_flight = self.opened.in_flight.load(Ordering::Relaxed);
        let left = in_flight.saturating_sub(lost_bytes);
        self.opened.in_flight.store(left, Ordering::Relaxed);
        let is_cut = self.cut.is_some_and(|(_, until)| sent <= until);
        if !is_cut && !self.opened.is_probing() {
            self.inner
                .on_congestion_event(now, sent, is_persistent_congestion, lost_bytes);
        }
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.inner.on_mtu_update(new_mtu);
    }

    fn window(&self) -> u64 {
        if self.opened.is_closing.load(Ordering::Relaxed) {
            OPEN
        } else {
            let probe = self.opened.probe.load(Ordering::Relaxed);
            self.inner.window().max(probe)
        }
    }

    fn metrics(&self) -> ControllerMetrics {
        self.inner.metrics()
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(Self {
            inner: self.inner.clone_box(),
            opened: Arc::clone(&self.opened),
            cut: self.cut,
        })
    }

    fn initial_window(&self) -> u64 {
        self.inner.initial_window()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}
