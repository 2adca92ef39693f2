//! One direction of an emulated path: delay, jitter, loss, loss in bursts, rate,
//! a bounded queue, cuts, packets that overtake.
//!
//! Pure: time is passed in, randomness comes from a seed, so what happened once
//! happens again. [`super::wan`] carries real datagrams over two of these; tests of
//! congestion control run on one in virtual time.

use std::time::Duration;

/// A small seeded generator (SplitMix64): good enough to lose packets by.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The same seed gives the same numbers.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub const fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// In 0..1.
    #[allow(clippy::cast_precision_loss)] // 53 bits are kept
    pub fn part(&mut self) -> f64 {
        (self.number() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// True with this probability.
    pub fn chance(&mut self, probability: f64) -> bool {
        // No number is drawn for what never happens: cases stay comparable.
        probability > 0.0 && self.part() < probability
    }
}

/// Losses that come together (Gilbert and Elliott): in the bad state all is lost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bursts {
    /// Chance to enter the bad state with each packet.
    pub begin: f64,
    /// Chance to leave it with each packet: its inverse is the mean length.
    pub end: f64,
}

/// What a path does to packets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conditions {
    /// One-way delay.
    pub delay: Duration,
    /// Added to it, evenly from nothing to this. Order is kept.
    pub jitter: Duration,
    /// Part of the packets that is lost.
    pub loss: f64,
    /// Losses that come together, besides.
    pub bursts: Option<Bursts>,
    /// Bits per second; `None`: no limit.
    pub rate: Option<u64>,
    /// The rate is drawn again between `rate` and this each [`Conditions::RATE_FOR`].
    pub rate_up_to: Option<u64>,
    /// Bytes that may wait, as the time they take at the rate; more are lost.
    pub queue: Duration,
    /// Part of the packets that is held back by [`Conditions::HELD_BACK`], so that later
    /// ones overtake them.
    pub reordered: f64,
    /// Nothing gets through.
    pub cut: bool,
}

impl Conditions {
    /// How long a drawn rate lasts.
    pub const RATE_FOR: Duration = Duration::from_millis(500);
    /// What reordered packets are late by.
    pub const HELD_BACK: Duration = Duration::from_millis(5);

    /// A wire that does nothing.
    pub const CLEAR: Self = Self {
        delay: Duration::ZERO,
        jitter: Duration::ZERO,
        loss: 0.0,
        bursts: None,
        rate: None,
        rate_up_to: None,
        queue: Duration::from_millis(300),
        reordered: 0.0,
        cut: false,
    };

    /// Half of a round trip of so many milliseconds.
    pub const fn round_trip(milliseconds: u64) -> Self {
        Self {
            delay: Duration::from_micros(milliseconds * 500),
            ..Self::CLEAR
        }
    }
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It arrives at this time.
    Arrives(Duration),
    /// It is lost on the way, or the path is cut.
    Lost,
    /// The queue is full.
    Overflows,
}

/// What became of all packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Arrived, or on their way.
    pub carried: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Lost on the way.
    pub lost: u64,
    /// Lost because the queue was full.
    pub overflowed: u64,
}

/// One direction. Times are since some fixed moment and must not go back.
#[derive(Clone, Debug)]
pub struct Path {
    conditions: Conditions,
    random: Random,
    /// When the wire has sent all that waits.
    free: Duration,
    /// Arrival of the packet before, which the next does not overtake.
    last: Duration,
    is_bad: bool,
    /// The rate that was drawn, and until when it holds.
    drawn: Option<(u64, Duration)>,
    counts: Counts,
}

impl Path {
    /// A path on which nothing has happened.
    pub const fn new(conditions: Conditions, seed: u64) -> Self {
        Self {
            conditions,
            random: Random::new(seed),
            free: Duration::ZERO,
            last: Duration::ZERO,
            is_bad: false,
            drawn: None,
            counts: Counts {
                carried: 0,
                bytes: 0,
                lost: 0,
                overflowed: 0,
            },
        }
    }

    /// Changes the path from now on; what is under way is not touched.
    pub const fn set(&mut self, conditions: Conditions) {
        self.conditions = conditions;
        self.drawn = None;
    }

    /// What it does now.
    pub const fn conditions(&self) -> &Conditions {
        &self.conditions
    }

    /// What became of the packets so far.
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    /// Sends a packet of so many bytes.
    pub fn send(&mut self, now: Duration, bytes: usize) -> Fate {
        let fate = self.decide(now, bytes);
        match fate {
            Fate::Arrives(_) => {
                self.counts.carried += 1;
                self.counts.bytes += bytes as u64;
            }
            Fate::Lost => self.counts.lost += 1,
            Fate::Overflows => self.counts.overflowed += 1,
        }
        fate
    }

    fn decide(&mut self, now: Duration, bytes: usize) -> Fate {
        let on = self.conditions;
        if let Some(bursts) = on.bursts {
            let turns = if self.is_bad {
                bursts.end
            } else {
                bursts.begin
            };
            self.is_bad ^= self.random.chance(turns);
        }
        if self.random.chance(on.loss) || (on.bursts.is_some() && self.is_bad) || on.cut {
            return Fate::Lost;
        }
        let start = self.free.max(now);
        let sent = match self.rate(now) {
            Some(_) if start - now > on.queue => return Fate::Overflows,
            Some(rate) => start + transmission(bytes, rate),
            None => now,
        };
        self.free = sent;
        let arrives = sent + on.delay + on.jitter.mul_f64(self.random.part());
        if self.random.chance(on.reordered) {
            return Fate::Arrives(arrives + Conditions::HELD_BACK);
        }
        self.last = self.last.max(arrives);
        Fate::Arrives(self.last)
    }

    fn rate(&mut self, now: Duration) -> Option<u64> {
        let least = self.conditions.rate?;
        let Some(most) = self.conditions.rate_up_to else {
            return Some(least);
        };
        match self.drawn {
            Some((rate, until)) if now < until => Some(rate),
            _ => {
                let rate = least + self.random.number() % (most.saturating_sub(least) + 1);
                self.drawn = Some((rate, now + Conditions::RATE_FOR));
                Some(rate)
            }
        }
    }
}

/// How long so many bytes take at so many bits per second.
fn transmission(bytes: usize, rate: u64) -> Duration {
    Duration::from_nanos((bytes as u64).saturating_mul(8_000_000_000) / rate.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn send(path: &mut Path, count: u32, every: Duration) -> Vec<Fate> {
        (0..count).map(|n| path.send(every * n, 1_000)).collect()
    }

    #[test]
    fn a_clear_path_only_delays() {
        let mut path = Path::new(Conditions::round_trip(40), 1);
        assert_eq!(path.send(MS * 7, 1_400), Fate::Arrives(MS * 27));
    }

    #[test]
    fn packets_wait_for_the_wire_and_overflow_the_queue() {
        let conditions = Conditions {
            rate: Some(8_000_000),
            queue: MS * 3,
            ..Conditions::round_trip(10)
        };
        let mut path = Path::new(conditions, 1);
        // 1 000 bytes take 1 ms; the fifth would wait for 4 ms.
        let fates = send(&mut path, 5, Duration::ZERO);
        let arrivals = [6, 7, 8, 9].map(|ms| Fate::Arrives(MS * ms));
        assert_eq!(fates[..4], arrivals);
        assert_eq!(fates[4], Fate::Overflows);
        assert_eq!(path.send(MS * 10, 1_000), Fate::Arrives(MS * 16));
    }

    #[test]
    fn a_seed_loses_the_same_packets_again() {
        let conditions = Conditions {
            loss: 0.03,
            jitter: MS * 30,
            ..Conditions::round_trip(40)
        };
        let run = |seed| send(&mut Path::new(conditions, seed), 2_000, MS);
        assert_eq!(run(7), run(7));
        assert_ne!(run(7), run(8));
        let lost = run(7).iter().filter(|fate| **fate == Fate::Lost).count();
        assert!((30..90).contains(&lost), "{lost}");
    }

    #[test]
    fn jitter_keeps_the_order_and_reordering_does_not() {
        let arrivals = |reordered| {
            let conditions = Conditions {
                jitter: MS * 30,
                reordered,
                ..Conditions::CLEAR
            };
            let fates = send(&mut Path::new(conditions, 3), 500, MS);
            let times: Vec<Duration> = fates
                .into_iter()
                .filter_map(|fate| match fate {
                    Fate::Arrives(at) => Some(at),
                    Fate::Lost | Fate::Overflows => None,
                })
                .collect();
            times.is_sorted()
        };
        assert!(arrivals(0.0));
        assert!(!arrivals(0.1));
    }

    #[test]
    fn bursts_lose_packets_together() {
        let conditions = Conditions {
            bursts: Some(Bursts {
                begin: 0.01,
                end: 0.25,
            }),
            ..Conditions::CLEAR
        };
        let fates = send(&mut Path::new(conditions, 5), 20_000, MS);
        let lost = fates.iter().filter(|fate| **fate == Fate::Lost).count();
        let begun = fates
            .windows(2)
            .filter(|pair| pair[0] != Fate::Lost && pair[1] == Fate::Lost)
            .count();
        let mean = lost as f64 / begun as f64;
        assert!((3.0..5.0).contains(&mean), "bursts of {mean} packets");
    }

    #[test]
    fn a_cut_path_carries_nothing_and_then_goes_on() {
        let mut path = Path::new(Conditions::round_trip(40), 1);
        let clear = *path.conditions();
        path.set(Conditions { cut: true, ..clear });
        assert_eq!(path.send(MS, 10), Fate::Lost);
        path.set(clear);
        assert_eq!(path.send(MS * 2, 10), Fate::Arrives(MS * 22));
    }

    #[test]
    fn a_varying_rate_stays_within_its_bounds() {
        let conditions = Conditions {
            rate: Some(4_000_000),
            rate_up_to: Some(12_000_000),
            ..Conditions::CLEAR
        };
        let mut path = Path::new(conditions, 9);
        let mut rates = std::collections::BTreeSet::new();
        for n in 0..100 {
            let rate = path.rate(Conditions::RATE_FOR * n / 2).unwrap();
            assert!((4_000_000..=12_000_000).contains(&rate));
            rates.insert(rate);
        }
        assert!(rates.len() > 20);
    }
}
