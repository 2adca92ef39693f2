//! A close that gets out though the path is full.
//!
//! quinn holds its CONNECTION_CLOSE back by congestion control where stream data waits
//! beside it, and once closed nothing opens the window any more: the peer hears nothing
//! and waits for the idle timeout (quinn issue 2785, mended upstream, but in no release we know of
//! yet). RFC 9002 7 does not let the window hold back such packets. So each path's
//! controller is wrapped in one whose window can be opened for the close.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use quinn_proto::RttEstimator;
use quinn_proto::congestion::{Controller, ControllerFactory, ControllerMetrics};

/// From this window on quinn paces nothing either.
const OPEN: u64 = 1 << 32;

/// Makes controllers that let a close through.
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
        Box::new(Closing {
            inner: Arc::clone(&self.0).build(now, current_mtu),
            is_closing: Arc::default(),
        })
    }
}

/// A controller that holds nothing back any more once its connection is to be closed.
struct Closing {
    inner: Box<dyn Controller>,
    /// Shared with all that were cloned from it: the path may have moved.
    is_closing: Arc<AtomicBool>,
}

/// Opens the window of a connection that is closed next. `controller`: a copy of its own.
pub fn open(controller: Box<dyn Controller>) {
    // Any other kind has no such flag.
    if let Ok(controller) = controller.into_any().downcast::<Closing>() {
        controller.is_closing.store(true, Ordering::Relaxed);
    }
}

impl Controller for Closing {
    fn on_sent(&mut self, now: Instant, bytes: u64, last_packet_number: u64) {
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
        self.inner.on_ack(now, sent, bytes, app_limited, rtt);
    }

    fn on_end_acks(
        &mut self,
        now: Instant,
        in_flight: u64,
        app_limited: bool,
        largest_packet_num_acked: Option<u64>,
    ) {
        self.inner
            .on_end_acks(now, in_flight, app_limited, largest_packet_num_acked);
    }

    fn on_congestion_event(
        &mut self,
        now: Instant,
        sent: Instant,
        is_persistent_congestion: bool,
        lost_bytes: u64,
    ) {
        self.inner
            .on_congestion_event(now, sent, is_persistent_congestion, lost_bytes);
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.inner.on_mtu_update(new_mtu);
    }

    fn window(&self) -> u64 {
        if self.is_closing.load(Ordering::Relaxed) {
            OPEN
        } else {
            self.inner.window()
        }
    }

    fn metrics(&self) -> ControllerMetrics {
        self.inner.metrics()
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(Self {
            inner: self.inner.clone_box(),
            is_closing: Arc::clone(&self.is_closing),
        })
    }

    fn initial_window(&self) -> u64 {
        self.inner.initial_window()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}
