//! Congestion control for live pictures: as fast as the path, without a queue on it.
//!
//! Neither of quinn's controllers serves a relay of live pictures. Cubic takes random
//! loss for congestion and fills queues; BBR takes the pauses of a link that is never
//! full for the path's rate. This one (measured against both, see benches/README.md):
//!
//! * The path's **rate** is what was delivered while the path was the limit: by the
//!   spacing of acknowledgements while packets queue on it, else in whole round trips
//!   during which there was always more to send. It is kept across idle spells.
//! * Packets **queue** where no packet of a round trip got through in less than the
//!   least round trip of the last 30 s and an allowance of 30 ms, or half the least
//!   round trip where that is more.
//! * On a path that never queued, the **window** is at least the initial one, so that a
//!   key frame after a pause pays no slow start. On one that did, it is what the path
//!   holds and a part of the allowance; more while nothing queues, so that a rate that
//!   has grown is found.
//! * **Loss** below a tenth of the packets is the radio's, not ours. Through a tunnel it
//!   shows as a delay of a round trip, in which TCP sends again what was lost: there no
//!   shorter one is taken for a queue.
//!
//! Pure: all times are passed in.

use std::any::Any;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use quinn_proto::RttEstimator;
use quinn_proto::congestion::{Controller, ControllerFactory, ControllerMetrics};

/// Least allowance of queueing, and its part of the least round trip.
const ALLOWANCE: (Duration, u32) = (Duration::from_millis(30), 2);
/// How long the least round trip holds: a path may become longer.
const LEAST_FOR: Duration = Duration::from_secs(30);
/// The least round trip is kept in so many spans of that time.
const LEAST_SPANS: u32 = 6;
/// Round trips over which the largest rate counts.
const RATE_ROUNDS: usize = 10;
/// Loss from which it is taken for congestion, in percent.
const LOSS_PERCENT: u64 = 10;
/// Round trips in a row with a queue after which it is not taken for our own.
const LONGER_AFTER: u32 = 8;
/// Packets of which that part must be lost.
const LOSS_PACKETS: u64 = 150;
/// Least packets in the window: a tail of one frame and the control stream.
const LEAST_PACKETS: u64 = 8;
/// Spacing of acknowledgements is measured over no less than this.
const LEAST_SPAN: Duration = Duration::from_millis(5);

/// Makes controllers.
#[derive(Clone, Debug)]
pub struct Config {
    /// Bytes that may be under way before anything is known of the path.
    pub initial_window: u64,
    /// TCP carries the packets, and hides losses behind delays.
    pub is_tunnel: bool,
    /// Where controllers tell what they know.
    pub known: Arc<Known>,
}

/// What is known of a path, for those who decide what to send over it.
#[derive(Debug, Default)]
pub struct Known {
    window: AtomicU64,
    capacity: AtomicU64,
    queues: AtomicBool,
}

impl Known {
    /// Bytes that may be under way; 0 before the first round trip.
    pub fn window(&self) -> u64 {
        self.window.load(Ordering::Relaxed)
    }

    /// Bytes per second that the path carried while it was the limit; `None` where
    /// it never was.
    pub fn capacity(&self) -> Option<u64> {
        Some(self.capacity.load(Ordering::Relaxed)).filter(|rate| *rate > 0)
    }

    /// Whether packets queued on the path in the last round trip.
    pub fn queues(&self) -> bool {
        self.queues.load(Ordering::Relaxed)
    }

    /// Told by anyone who controls the path.
    pub(super) fn set(&self, window: u64, capacity: Option<u64>, queues: bool) {
        self.window.store(window, Ordering::Relaxed);
        self.capacity
            .store(capacity.unwrap_or(0), Ordering::Relaxed);
        self.queues.store(queues, Ordering::Relaxed);
    }
}

impl ControllerFactory for Config {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        Box::new(Adaptive::new(&self, now, current_mtu))
    }
}

/// The controller of one path.
#[derive(Clone, Debug)]
pub struct Adaptive {
    known: Arc<Known>,
    initial: u64,
    is_tunnel: bool,
    mtu: u64,
    window: u64,
    least: LeastRoundTrip,
    rate: Rate,
    loss: Loss,
    /// Packets have queued on the path: its rate is known, not only a bound of it.
    has_queued: bool,
    /// Round trips in a row in which they did though the window is the least.
    queued_rounds: u32,
    round: Round,
}

/// What is seen within one round trip.
#[derive(Clone, Copy, Debug)]
struct Round {
    began: Instant,
    /// Bytes acknowledged, and those of them while there was nothing more to send.
    delivered: u64,
    idle: u64,
    lost: u64,
    /// Least round trip of its packets, and when the first of them left.
    least: Option<Duration>,
    sent: Option<Instant>,
    /// First batch of acknowledgements: when, and its bytes.
    first: Option<(Instant, u64)>,
    last: Instant,
    /// A packet sent in it was acknowledged.
    is_over: bool,
}

impl Round {
    const fn new(now: Instant) -> Self {
        Self {
            began: now,
            delivered: 0,
            idle: 0,
            lost: 0,
            least: None,
            sent: None,
            first: None,
            last: now,
            is_over: false,
        }
    }

    /// Bytes per second by the spacing of acknowledgements.
    fn spaced_rate(&self) -> Option<u64> {
        let (first, bytes) = self.first?;
        let span = self.last.saturating_duration_since(first);
        (span >= LEAST_SPAN).then(|| per_second(self.delivered - bytes, span))
    }

    /// Bytes per second over all of it, or since its first packet left after a pause.
    fn whole_rate(&self, now: Instant) -> u64 {
        let from = self.sent.map_or(self.began, |sent| sent.max(self.began));
        per_second(self.delivered, now.saturating_duration_since(from))
    }

    /// There was always more to send.
    const fn is_full(&self) -> bool {
        self.delivered > 0 && self.idle * 10 <= self.delivered
    }
}

/// What was lost lately, over so many packets that chance says little.
#[derive(Clone, Copy, Debug, Default)]
struct Loss {
    delivered: u64,
    lost: u64,
}

impl Loss {
    /// Takes a round trip's figures; says whether too much is lost.
    fn note(&mut self, round: &Round, mtu: u64) -> bool {
        self.delivered += round.delivered;
        self.lost += round.lost;
        let sent = self.delivered + self.lost;
        if sent < LOSS_PACKETS * mtu {
            return false;
        }
        let is_lossy = self.lost * 100 > sent * LOSS_PERCENT;
        *self = Self::default();
        is_lossy
    }
}

/// The least round trip of the last half minute, in spans that are forgotten whole.
#[derive(Clone, Debug, Default)]
struct LeastRoundTrip {
    spans: VecDeque<(Instant, Duration)>,
}

impl LeastRoundTrip {
    fn note(&mut self, now: Instant, rtt: Duration) {
        let expired = |began: &Instant| now.saturating_duration_since(*began) > LEAST_FOR;
        // The newest is kept in any case.
        while self.spans.len() > 1 && self.spans.front().is_some_and(|(began, _)| expired(began)) {
            self.spans.pop_front();
        }
        match self.spans.back_mut() {
            Some((began, least))
                if now.saturating_duration_since(*began) < LEAST_FOR / LEAST_SPANS =>
            {
                *least = rtt.min(*least);
            }
            _ => self.spans.push_back((now, rtt)),
        }
    }

    fn get(&self) -> Option<Duration> {
        self.spans.iter().map(|(_, least)| *least).min()
    }
}

/// The largest rate of the last round trips, in bytes per second.
#[derive(Clone, Debug, Default)]
struct Rate {
    rounds: VecDeque<u64>,
}

impl Rate {
    fn note(&mut self, rate: u64) {
        if self.rounds.len() == RATE_ROUNDS {
            self.rounds.pop_front();
        }
        self.rounds.push_back(rate);
    }

    /// The path is full: this is its rate, whatever it was before.
    fn replace(&mut self, rate: u64) {
        let before = self.get();
        self.rounds.clear();
        // One step down at a time: a pause of the radio is no rate.
        self.rounds
            .push_back(before.map_or(rate, |before| rate.max(before / 2)));
    }

    fn get(&self) -> Option<u64> {
        self.rounds.iter().max().copied()
    }
}

impl Adaptive {
    fn new(config: &Config, now: Instant, mtu: u16) -> Self {
        let new = Self {
            known: Arc::clone(&config.known),
            initial: config.initial_window,
            is_tunnel: config.is_tunnel,
            mtu: u64::from(mtu),
            window: config.initial_window,
            least: LeastRoundTrip::default(),
            rate: Rate::default(),
            loss: Loss::default(),
            has_queued: false,
            queued_rounds: 0,
            round: Round::new(now),
        };
        // What an older link knew is no longer so.
        new.tell(false);
        new
    }

    fn tell(&self, queues: bool) {
        let capacity = self.has_queued.then(|| self.rate.get()).flatten();
        self.known.set(self.window, capacity, queues);
    }

    /// How long packets may queue.
    fn allowance(&self) -> Duration {
        let least = self.least.get().unwrap_or(Duration::ZERO);
        ALLOWANCE.0.max(least / ALLOWANCE.1)
    }

    fn end_round(&mut self, now: Instant) {
        let round = std::mem::replace(&mut self.round, Round::new(now));
        let (Some(least), Some(fastest)) = (self.least.get(), round.least) else {
            return;
        };
        let sent_again = if self.is_tunnel {
            least
        } else {
            Duration::ZERO
        };
        let queues = fastest.saturating_sub(least) > self.allowance() + sent_again;
        let rate = round.spaced_rate().unwrap_or_else(|| round.whole_rate(now));
        let is_lossy = self.loss.note(&round, self.mtu);
        let is_least = self.window <= LEAST_PACKETS * self.mtu;
        self.queued_rounds = match queues && round.is_full() && is_least {
            true => self.queued_rounds + 1,
            false => 0,
        };
        if self.queued_rounds >= LONGER_AFTER {
            // So little is under way that it can't be what queues: the path is longer now.
            self.queued_rounds = 0;
            self.least = LeastRoundTrip::default();
            self.least.note(now, fastest);
        }
        // Where there was not always more to send, a long way is jitter.
        if (queues && round.is_full()) || is_lossy {
            self.rate.replace(rate);
            self.has_queued = true;
        } else if round.is_full() {
            self.rate.note(round.whole_rate(now));
        }
        self.window = self.fit(least, queues);
        self.tell(queues);
    }

    /// The window for what is known.
    fn fit(&self, least: Duration, queues: bool) -> u64 {
        let holds = |time: Duration| {
            self.rate.get().map_or(0, |rate| {
                let bytes = u128::from(rate) * time.as_micros() / 1_000_000;
                u64::try_from(bytes).unwrap_or(u64::MAX)
            })
        };
        let least_window = LEAST_PACKETS * self.mtu;
        let allowance = self.allowance();
        if !self.has_queued {
            // The allowance too: on a LAN what holds packets up is the machines.
            return holds(2 * least + allowance).max(self.initial);
        }
        // Less than the path takes while packets queue; else so much more that a rate
        // that has grown shows.
        let fits = holds(least + if queues { allowance / 2 } else { allowance });
        fits.max(least_window)
    }
}

impl Controller for Adaptive {
    fn on_ack(
        &mut self,
        now: Instant,
        sent: Instant,
        bytes: u64,
        app_limited: bool,
        _rtt: &RttEstimator,
    ) {
        let rtt = now.saturating_duration_since(sent);
        self.least.note(now, rtt);
        let round = &mut self.round;
        round.delivered += bytes;
        if app_limited {
            round.idle += bytes;
        }
        round.least = Some(round.least.map_or(rtt, |least| least.min(rtt)));
        round.sent = Some(round.sent.map_or(sent, |first| first.min(sent)));
        match &mut round.first {
            None => round.first = Some((now, bytes)),
            Some((at, first)) if *at == now => *first += bytes,
            Some(_) => {}
        }
        round.last = now;
        round.is_over |= sent >= round.began;
    }

    fn on_end_acks(
        &mut self,
        now: Instant,
        _in_flight: u64,
        _app_limited: bool,
        _largest_packet_num_acked: Option<u64>,
    ) {
        if self.round.is_over {
            self.end_round(now);
        }
    }

    fn on_congestion_event(
        &mut self,
        _now: Instant,
        _sent: Instant,
        _is_persistent_congestion: bool,
        lost_bytes: u64,
    ) {
        self.round.lost += lost_bytes;
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.mtu = u64::from(new_mtu);
        self.window = self.window.max(LEAST_PACKETS * self.mtu);
    }

    fn window(&self) -> u64 {
        self.window
    }

    fn metrics(&self) -> ControllerMetrics {
        let mut metrics = ControllerMetrics::default();
        metrics.congestion_window = self.window;
        metrics.pacing_rate = self.rate.get().map(|rate| rate * 8);
        metrics
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(self.clone())
    }

    fn initial_window(&self) -> u64 {
        self.initial
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

fn per_second(bytes: u64, time: Duration) -> u64 {
    let micros = time.as_micros().max(1);
    u64::try_from(u128::from(bytes) * 1_000_000 / micros).unwrap_or(u64::MAX)
}
