//! How many bytes of pictures may be on their way: enough to use the path, few
//! enough that they wait in the relays' queues and not in the network's.
//!
//! The kernel's congestion control (Cubic, as a rule) fills whatever queue the
//! path has, which on a thin uplink is seconds of video. So the receiver tells
//! how much has come (`ACK`), and no more is under way than what the path
//! delivers in its least round trip; twice that while nothing queues, to find out
//! whether it delivers more. Pure: the time is passed in.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::link::congestion::Known;

/// On a path that is clear, whatever was measured; what a link starts with. The
/// kernel's slow start is below it.
const CLEAR: u64 = 64 * 1024;
/// On one that queues: two records.
const LEAST: u64 = 32 * 1024;
/// While the least round trip is measured anew: one record.
const PROBE: u64 = 16 * 1024;
/// A queueing delay that counts as one; half the least round trip does too.
const QUEUED: Duration = Duration::from_millis(30);
/// For how long the least round trip holds; then, where pictures left no gap in
/// which it was seen again, it is looked for with little on the way.
const LEAST_RTT_KEPT: Duration = Duration::from_secs(30);
/// Round trips for which the largest rate holds.
const ROUNDS_KEPT: u64 = 10;
/// Batches of which the time is known; beyond, the last one grows.
const BATCHES: usize = 1024;

/// What was sent at a time.
#[derive(Clone, Copy, Debug)]
struct Batch {
    /// Bytes sent in all with it, and acknowledged before it.
    end: u64,
    acked: u64,
    at: Instant,
    /// Whether the window held more back.
    limited: bool,
}

/// Bytes on their way and the bound for them.
#[derive(Debug)]
pub(super) struct Flight {
    sent: u64,
    acked: u64,
    batches: VecDeque<Batch>,
    window: u64,
    /// The least round trip and when it was seen.
    least: Option<(Duration, Instant)>,
    /// The largest rates of late, in bytes a second, largest first, and their rounds.
    rates: VecDeque<(u64, u64)>,
    round: u64,
    /// The round ends when this is acknowledged; its least round trip so far.
    round_end: u64,
    round_rtt: Option<Duration>,
    /// Rounds of looking for the least round trip: what was on the way leaves in
    /// the first, the second tells.
    probing: u8,
    /// Whether something queued in the last round, and whether it ever did: only
    /// then is the rate the path's.
    queues: bool,
    has_queued: bool,
}

impl Flight {
    pub(super) fn new() -> Self {
        Self {
            sent: 0,
            acked: 0,
            batches: VecDeque::new(),
            window: CLEAR,
            least: None,
            rates: VecDeque::new(),
            round: 0,
            round_end: 0,
            round_rtt: None,
            probing: 0,
            queues: false,
            has_queued: false,
        }
    }

    /// How many more may be sent now.
    pub(super) fn room(&self) -> u64 {
        self.window.saturating_sub(self.sent - self.acked)
    }

    /// Tells what is known of the path.
    pub(super) fn tell(&self, known: &Known) {
        let capacity = self.has_queued.then(|| self.rate()).flatten();
        known.set(self.window, capacity, self.queues);
    }

    /// Bytes a second that the path was seen to deliver of late.
    fn rate(&self) -> Option<u64> {
        self.rates.front().map(|(rate, _)| *rate)
    }

    /// So many bytes leave now.
    pub(super) fn handle_sent(&mut self, bytes: u64, now: Instant) {
        self.sent += bytes;
        let batch = Batch {
            end: self.sent,
            acked: self.acked,
            at: now,
            limited: self.room() == 0,
        };
        let is_full = self.batches.len() >= BATCHES;
        match self.batches.back_mut() {
            Some(last) if is_full => {
                last.end = batch.end;
                last.limited |= batch.limited;
            }
            _ => self.batches.push_back(batch),
        }
    }

    /// The peer has so many in all. Says no where that is more than was sent.
    pub(super) fn handle_ack(&mut self, total: u64, now: Instant) -> bool {
        if total > self.sent {
            return false;
        }
        if total <= self.acked {
            return true;
        }
        self.acked = total;
        let mut newest = None;
        while let Some(batch) = self.batches.front().filter(|batch| batch.end <= total) {
            newest = Some(*batch);
            self.batches.pop_front();
        }
        if let Some(batch) = newest {
            self.sample(&batch, now);
        }
        true
    }

    /// A round trip that was measured, here or by a ping.
    pub(super) fn handle_rtt(&mut self, rtt: Duration, now: Instant) {
        if self.least.is_none_or(|(least, _)| rtt <= least) {
            self.least = Some((rtt, now));
            self.probing = 0;
        }
    }

    fn sample(&mut self, batch: &Batch, now: Instant) {
        let rtt = now.saturating_duration_since(batch.at);
        self.round_rtt = Some(self.round_rtt.map_or(rtt, |least| least.min(rtt)));
        self.handle_rtt(rtt, now);
        let micros = u64::try_from(rtt.as_micros()).unwrap_or(u64::MAX).max(1);
        let rate = (self.acked - batch.acked).saturating_mul(1_000_000) / micros;
        // Who had no more to send says nothing of what the path could carry.
        if batch.limited || self.rate().is_none_or(|known| rate > known) {
            self.rates.retain(|(known, _)| *known > rate);
            self.rates.push_back((rate, self.round));
        }
        if batch.end >= self.round_end {
            self.end_round(batch.limited, now);
        }
    }

    /// Each round trip the window is set anew.
    fn end_round(&mut self, limited: bool, now: Instant) {
        let (Some((mut least, seen)), Some(rtt)) = (self.least, self.round_rtt.take()) else {
            return;
        };
        self.round_end = self.sent;
        if self.probing == 1 {
            least = rtt;
            self.least = Some((rtt, now));
        } else if self.probing == 0 && now.saturating_duration_since(seen) > LEAST_RTT_KEPT {
            self.probing = 3;
        }
        self.probing = self.probing.saturating_sub(1);
        if self.probing > 0 {
            self.window = PROBE;
            return;
        }
        if limited {
            self.round += 1;
            let oldest = self.round.saturating_sub(ROUNDS_KEPT);
            while self.rates.len() > 1 && self.rates.front().is_some_and(|(_, at)| *at < oldest) {
                self.rates.pop_front();
            }
        }
        let least_micros = u64::try_from(least.as_micros()).unwrap_or(u64::MAX);
        let path = self.rate().unwrap_or(0).saturating_mul(least_micros) / 1_000_000;
        self.queues = rtt.saturating_sub(least) > QUEUED.max(least / 2);
        self.has_queued |= self.queues && limited;
        self.window = if self.queues {
            path.max(LEAST)
        } else {
            path.saturating_mul(2).max(CLEAR)
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A path with a queue without end: so many bytes a second, one way there and back.
    struct Path {
        flight: Flight,
        rate: u64,
        rtt: Duration,
        now: Instant,
        /// When the path is free again, and what is on it: bytes in all, and when
        /// its acknowledgement is here.
        free: Instant,
        under_way: VecDeque<(u64, Instant)>,
        sent: u64,
        worst: Duration,
    }

    impl Path {
        fn new(rate: u64, rtt: Duration) -> Self {
            let now = Instant::now();
            // A link's first ping comes before its pictures.
            let mut flight = Flight::new();
            flight.handle_rtt(rtt, now);
            Self {
                flight,
                rate,
                rtt,
                now,
                free: now,
                under_way: VecDeque::new(),
                sent: 0,
                worst: Duration::ZERO,
            }
        }

        fn step(&mut self, wanted: u64) -> u64 {
            self.now += Duration::from_millis(1);
            while let Some((total, _)) = self.under_way.front().filter(|(_, at)| *at <= self.now) {
                assert!(self.flight.handle_ack(*total, self.now));
                self.under_way.pop_front();
            }
            let mut sent = 0;
            while sent < wanted && self.flight.room() > 0 {
                let bytes = (wanted - sent).min(self.flight.room()).min(16_000);
                self.flight.handle_sent(bytes, self.now);
                sent += bytes;
                self.sent += bytes;
                let took = Duration::from_micros(bytes * 1_000_000 / self.rate);
                self.free = self.free.max(self.now) + took;
                self.worst = self.worst.max(self.free - self.now);
                self.under_way.push_back((self.sent, self.free + self.rtt));
            }
            sent
        }

        /// Sends as much as it may for so long; bytes a second.
        fn run(&mut self, seconds: u64) -> u64 {
            self.worst = Duration::ZERO;
            let sent: u64 = (0..seconds * 1_000).map(|_| self.step(u64::MAX / 2)).sum();
            sent / seconds
        }
    }

    #[test]
    fn a_wide_path_is_filled() {
        for (rate, rtt) in [(12_500_000, 40), (1_250_000, 100), (25_000_000, 5)] {
            let mut path = Path::new(rate, Duration::from_millis(rtt));
            path.run(5);
            let used = path.run(5);
            assert!(used > rate / 10 * 9, "{used} of {rate} at {rtt} ms");
        }
    }

    #[test]
    fn a_thin_path_is_not_filled_with_seconds() {
        for (rate, rtt) in [(250_000, 40), (250_000, 5), (2_500_000, 20), (500_000, 100)] {
            let mut path = Path::new(rate, Duration::from_millis(rtt));
            path.run(5);
            let used = path.run(30);
            let known = Known::default();
            path.flight.tell(&known);
            // Told where it queued, as it does on the thinnest.
            assert!(rate > 250_000 || known.capacity().is_some());
            let is_near = |capacity| (rate / 10 * 9..rate / 10 * 13).contains(&capacity);
            assert!(known.capacity().is_none_or(is_near), "{known:?} for {rate}");
            assert!(used > rate / 10 * 9, "{used} of {rate} at {rtt} ms");
            let most = Duration::from_millis((2 * rtt).max(280));
            assert!(path.worst <= most, "{:?} at {rate}, {rtt} ms", path.worst);
        }
    }

    #[test]
    fn a_path_that_narrows_or_widens_is_followed() {
        let mut path = Path::new(2_500_000, Duration::from_millis(40));
        path.run(5);
        path.rate = 250_000;
        path.run(5);
        path.run(5);
        assert!(path.worst < Duration::from_millis(200), "{:?}", path.worst);
        path.rate = 2_500_000;
        path.run(5);
        let used = path.run(5);
        assert!(used > 2_000_000, "{used}");
    }

    #[test]
    fn who_has_little_to_send_keeps_what_was_learnt() {
        let mut path = Path::new(2_500_000, Duration::from_millis(40));
        path.run(5);
        let known = path.flight.rate().unwrap();
        for _ in 0..10_000 {
            path.step(100);
        }
        assert!(path.flight.rate().unwrap() >= known);
        assert!(path.flight.room() > CLEAR);
    }

    #[test]
    fn nobody_acknowledges_what_was_not_sent() {
        let mut flight = Flight::new();
        let now = Instant::now();
        flight.handle_sent(10, now);
        assert!(!flight.handle_ack(11, now));
        assert!(flight.handle_ack(10, now));
        assert!(flight.handle_ack(3, now));
        assert_eq!(flight.room(), flight.window);
    }
}
