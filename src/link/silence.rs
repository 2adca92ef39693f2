//! When a link hears nothing: it probes, so that pictures are back within a moment of the
//! path, however long it was cut.
//!
//! QUIC doubles the interval of its own probes, so that it would notice after a cut of
//! 11 s only 11 s later that the path is back. An acknowledgement of anything makes it
//! send at once all that was lost. So while relays live, each end sends a packet that the
//! other acknowledges whenever it has heard nothing, or got no answer, for
//! [`PROBE_EVERY`], and goes on with it until one is answered. Relays meanwhile keep their newest group whole
//! ([`crate::media::backlog::Backlog::set_away`]), and a link is not given up before
//! [`LONGEST_CUT`](super::endpoint::LONGEST_CUT).
//!
//! A link without relays sends no probes and is over once it has heard nothing for
//! [`IDLE_TIMEOUT`]. Only one that may have to take another receiver's pictures is asked, at
//! times, whether it is heard ([`Standby`]).
//!
//! Pure: time and figures are passed in.

use std::time::{Duration, Instant};

use super::endpoint::IDLE_TIMEOUT;
use super::stats::Snapshot;

/// How often a link that carries relays is looked at.
pub const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How often one that carries none is looked at: nothing but its end is at stake.
pub const LOOK_IDLE: Duration = Duration::from_secs(5);
/// Time without a word or an answer after which a probe is sent, and between two.
pub const PROBE_EVERY: Duration = Duration::from_millis(200);
/// The same where the round trip and a half is more, at most.
const PROBE_AFTER: Duration = Duration::from_millis(450);
/// How long an answer takes before the link counts as silent, at least; else twice the
/// round trip, at most.
const OVERDUE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

/// What is known of a link's silence.
#[derive(Clone, Copy, Debug)]
pub struct Silence {
    /// When something came last, and the bytes received by then.
    heard: Instant,
    received: u64,
    /// What was answered, and what had been asked by then.
    answered: u64,
    asked: u64,
    /// When it was first seen that more had been asked.
    unanswered: Option<Instant>,
    probed: Option<Instant>,
}

/// What a look at a link says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// An answer is overdue: nothing that waits for the link is late by its own fault.
    pub is_silent: bool,
    /// A probe is due; it is taken to be sent.
    pub probe: bool,
    /// How long nothing has come, or an answer is overdue, whichever is longer.
    pub silent_for: Duration,
    /// The link carries nothing and has heard nothing for too long.
    pub is_over: bool,
}

impl Silence {
    /// A link that was just heard.
    pub const fn new(now: Instant) -> Self {
        Self {
            heard: now,
            received: 0,
            answered: 0,
            asked: 0,
            unanswered: None,
            probed: None,
        }
    }

    /// Looks at the link's figures: every [`LOOK_EVERY`] while it `carries` relays.
    pub fn look(&mut self, now: Instant, stats: Snapshot, carries: bool) -> Look {
        if stats.received_bytes != self.received {
            self.heard = now;
            self.received = stats.received_bytes;
        }
        if stats.answered != self.answered {
            self.answered = stats.answered;
            self.asked = stats.asked;
            self.unanswered = None;
        } else if stats.asked != self.asked {
            self.unanswered.get_or_insert(now);
        }
        let since = |at: Instant| now.saturating_duration_since(at);
        let silent_for = since(self.heard);
        let waits = self.unanswered.map_or(Duration::ZERO, since);
        let overdue = (2 * stats.rtt).clamp(OVERDUE.0, OVERDUE.1);
        let after = (stats.rtt * 3 / 2).clamp(PROBE_EVERY, PROBE_AFTER);
        let is_rested = self.probed.is_none_or(|at| since(at) >= PROBE_EVERY);
        let probe = carries && is_rested && silent_for.max(waits) >= after;
        if probe {
            self.probed = Some(now);
        }
        Look {
            is_silent: carries && waits >= overdue,
            probe,
            silent_for: silent_for.max(waits),
            is_over: !carries && silent_for >= IDLE_TIMEOUT,
        }
    }
}

/// What is known of a link that carries nothing and is asked again and again.
#[derive(Clone, Copy, Debug)]
pub struct Standby {
    /// When something came last, as far as that was looked at, and the bytes by then.
    heard: Instant,
    received: u64,
}

impl Standby {
    /// A link that is asked for the first time.
    pub const fn new(now: Instant, received: u64) -> Self {
        Self {
            heard: now,
            received,
        }
    }

    /// How long nothing has come, of which it was asked.
    pub fn unheard(&mut self, now: Instant, received: u64) -> Duration {
        if received != self.received {
            (self.heard, self.received) = (now, received);
        }
        now.saturating_duration_since(self.heard)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(40);

    fn stats(asked: u64, answered: u64) -> Snapshot {
        Snapshot {
            rtt: RTT,
            asked,
            answered,
            received_bytes: answered,
            ..Snapshot::default()
        }
    }

    #[test]
    fn a_link_with_relays_probes_for_as_long_as_nothing_comes() {
        let start = Instant::now();
        let mut silence = Silence::new(start);
        silence.look(start, stats(10, 10), true);
        let mut probes = Vec::new();
        for n in 1..=1_200_u32 {
            let at = LOOK_EVERY * n;
            // Pictures go out all the time.
            let look = silence.look(start + at, stats(10 + u64::from(n), 10), true);
            assert_eq!(look.silent_for, at);
            assert_eq!(look.is_silent, at >= LOOK_EVERY + OVERDUE.0, "{at:?}");
            assert!(!look.is_over);
            if look.probe {
                probes.push(at);
            }
        }
        assert_eq!(probes.len(), 300);
        assert!(
            probes
                .windows(2)
                .all(|pair| pair[1] - pair[0] == PROBE_EVERY)
        );
        // Its own answer ends it, not any word.
        let word = Snapshot {
            received_bytes: 20,
            ..stats(2_000, 10)
        };
        assert!(
            silence
                .look(start + LOOK_EVERY * 1_200, word, true)
                .is_silent
        );
        let back = silence.look(start + LOOK_EVERY * 1_201, stats(2_000, 50), true);
        assert_eq!((back.is_silent, back.probe), (false, false));
    }

    #[test]
    fn a_far_peer_that_has_nothing_to_answer_is_not_silent() {
        let start = Instant::now();
        let far = |asked, answered| Snapshot {
            rtt: Duration::from_millis(600),
            ..stats(asked, answered)
        };
        let mut silence = Silence::new(start);
        silence.look(start, far(10, 10), true);
        // Nothing was sent for a second; then a picture is, whose answer takes its time.
        let at = |ms| start + Duration::from_millis(ms);
        assert!(!silence.look(at(1_000), far(10, 10), true).is_silent);
        assert!(!silence.look(at(1_050), far(90, 10), true).is_silent);
        assert!(!silence.look(at(1_700), far(90, 10), true).is_silent);
        assert!(silence.look(at(2_250), far(90, 10), true).is_silent);
    }

    #[test]
    fn a_link_that_is_asked_tells_how_long_nothing_came() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut standby = Standby::new(at(0), 100);
        let mut unheard = |ms, received| standby.unheard(at(ms), received).as_millis();
        let seen = [
            (500, 140),
            (1_000, 180),
            (1_500, 180),
            (3_000, 180),
            (3_500, 220),
        ];
        let seen = seen.map(|(ms, received)| unheard(ms, received));
        assert_eq!(seen, [0, 0, 500, 2_000, 0]);
    }

    #[test]
    fn a_link_without_relays_sends_nothing_and_ends() {
        let start = Instant::now();
        let mut silence = Silence::new(start);
        silence.look(start, stats(10, 10), false);
        let before = silence.look(start + IDLE_TIMEOUT - LOOK_EVERY, stats(99, 10), false);
        assert_eq!((before.is_silent, before.probe), (false, false));
        assert!(!before.is_over);
        let after = silence.look(start + IDLE_TIMEOUT, stats(99, 10), false);
        assert!(after.is_over && !after.probe);
    }
}
