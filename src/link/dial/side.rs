//! What the gateway does with a live link: answers the time, sends parity, counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::{TICK, WAITED};
use crate::clock::Clock;
use crate::format::control::{ToGateway, ToReceiver};
use crate::link::Link;
use crate::link::session::Side;
use crate::link::socket::Giving;
use crate::link::stats::Recorder;
use crate::metrics;

/// What the gateway does with its links.
pub(super) struct GatewaySide {
    pub(super) recorder: Recorder,
    pub(super) clock: Clock,
    pub(super) metrics: Arc<metrics::Gateway>,
    pub(super) centre: String,
    pub(super) ticks: u32,
    /// Parity, over UDP.
    pub(super) giving: Option<Giving>,
    pub(super) was_relaying: Arc<AtomicBool>,
}

impl Side for GatewaySide {
    type Message = ToGateway;

    fn message(&mut self, link: &Link, message: ToGateway) -> Option<ToGateway> {
        let (echo, wall) = match message {
            ToGateway::Time { echo, wall } => (echo, wall),
            ToGateway::Recovered { packets } => {
                if let Some(giving) = &mut self.giving {
                    giving.note_made(packets);
                }
                return None;
            }
            other => return Some(other),
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

    fn tick(&mut self, link: &Link) -> Duration {
        self.was_relaying
            .store(link.relays() > 0, Ordering::Relaxed);
        let now = link.stats();
        link.set_send_window(now.window);
        if let Some(giving) = &mut self.giving {
            let boot = self.clock.now().boot;
            let has_room = !link.known().queues() && !link.waited(boot, WAITED);
            self.recorder.parity(giving.tick(now, has_room));
        }
        if self.ticks.is_multiple_of(4) {
            self.recorder.record();
        }
        self.ticks = self.ticks.wrapping_add(1);
        TICK
    }
}
