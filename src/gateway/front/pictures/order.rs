//! The order of packets: gaps, restarts and duplicates over TCP; a bounded buffer that
//! puts packets over UDP in order.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::super::fix::{Fix, Fixes};
use super::rtp::Packet;

/// Bytes of packets that wait for one that is missing.
const HELD_BYTES: usize = 2 * 1024 * 1024;
/// Packets that wait.
const HELD_PACKETS: usize = 2_048;
/// How long a missing packet is waited for at first, and at most.
const HOLD: Duration = Duration::from_millis(60);
const HOLD_LIMIT: Duration = Duration::from_millis(250);
/// A step this large over TCP is a restart of the numbers, not packets lost.
const RESTART_STEP: i16 = 500;
/// Over UDP, numbers this far ahead or behind need a second packet to be believed
/// (RFC 3550 A.1: MAX_DROPOUT, MAX_MISORDER).
const DROPOUT: i16 = 3_000;
const MISORDER: i16 = -100;

/// The gap between a packet and the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gap {
    None,
    /// Packets are missing.
    Lost,
    /// The numbers begin again: nothing says that anything is missing.
    Restart,
}

/// The decision on a packet that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Take(Gap),
    /// It waits; [`Order::release`] gives it.
    Held,
    /// Late, or there before.
    Drop,
}

/// A packet that waited.
#[derive(Debug)]
pub(super) struct Held {
    sequence: u16,
    pub(super) packet: Vec<u8>,
    pub(super) at: Instant,
}

#[derive(Debug)]
pub(super) struct Order {
    unordered: bool,
    fixes: Fixes,
    ssrc: Option<u32>,
    /// The number of the next packet.
    next: u16,
    /// Numbers and fingerprints of the newest packets over TCP.
    recent: [(u16, u64); 32],
    recent_at: usize,
    /// Packets ahead of their turn, in order.
    held: VecDeque<Held>,
    bytes: usize,
    hold: Duration,
    /// The newest hole that was given up, its first number and length.
    hole: (u16, u16),
    /// A packet far from its turn: the next one tells whether the numbers began again.
    astray: Option<Held>,
    restarted: bool,
}

impl Order {
    pub(super) fn new(unordered: bool, fixes: Fixes) -> Self {
        Self {
            unordered,
            fixes,
            ssrc: None,
            next: 0,
            recent: [(0, 0); 32],
            recent_at: 0,
            held: VecDeque::new(),
            bytes: 0,
            hold: HOLD,
            hole: (0, 0),
            astray: None,
            restarted: false,
        }
    }

    /// Decides on a packet; `bytes` is the whole of it.
    pub(super) fn accept(&mut self, packet: &Packet<'_>, bytes: &[u8], now: Instant) -> Verdict {
        let verdict = match self.ssrc {
            None => {
                self.next = packet.sequence.wrapping_add(1);
                Verdict::Take(Gap::None)
            }
            Some(ssrc) if ssrc != packet.ssrc => {
                self.fixes.note(Fix::SourceChange);
                self.forget();
                self.next = packet.sequence.wrapping_add(1);
                Verdict::Take(Gap::Restart)
            }
            Some(_) if self.unordered => self.reorder(packet, bytes, now),
            Some(_) => self.follow(packet),
        };
        self.ssrc = Some(packet.ssrc);
        if !self.unordered && matches!(verdict, Verdict::Take(_)) {
            self.recent_at = (self.recent_at + 1) % self.recent.len();
            self.recent[self.recent_at] = (packet.sequence, packet.fingerprint());
        }
        verdict
    }

    /// TCP keeps the order: each number that is not the next one means something.
    fn follow(&mut self, packet: &Packet<'_>) -> Verdict {
        let step = packet.sequence.wrapping_sub(self.next).cast_signed();
        let gap = match step {
            0 => Gap::None,
            1..RESTART_STEP => Gap::Lost,
            ..0 if self.is_known(packet) => {
                self.fixes.note(Fix::DuplicatePackets);
                return Verdict::Drop;
            }
            // The number of the packet before on another packet: they stand still.
            -1 => Gap::None,
            _ => Gap::Restart,
        };
        if step < 0 || gap == Gap::Restart {
            self.fixes.note(Fix::SequenceNumbers);
        }
        self.next = packet.sequence.wrapping_add(1);
        Verdict::Take(gap)
    }

    fn is_known(&self, packet: &Packet<'_>) -> bool {
        let this = (packet.sequence, packet.fingerprint());
        self.recent.contains(&this)
    }

    fn reorder(&mut self, packet: &Packet<'_>, bytes: &[u8], now: Instant) -> Verdict {
        let step = packet.sequence.wrapping_sub(self.next).cast_signed();
        match step {
            0 => {
                self.next = self.next.wrapping_add(1);
                self.astray = None;
                Verdict::Take(std::mem::replace(&mut self.restarted, false).into())
            }
            1..DROPOUT => {
                self.keep(packet.sequence, bytes, now);
                Verdict::Held
            }
            MISORDER..0 => {
                let (first, length) = self.hole;
                if packet.sequence.wrapping_sub(first) < length {
                    // It came after all: the next one is waited for a little longer.
                    self.hold = (self.hold * 3 / 2).min(HOLD_LIMIT);
                }
                Verdict::Drop
            }
            _ => self.stray(packet.sequence, bytes, now),
        }
    }

    /// Two packets in a row far from their turn: the numbers began again.
    fn stray(&mut self, sequence: u16, bytes: &[u8], now: Instant) -> Verdict {
        match self.astray.take() {
            Some(first) if first.sequence.wrapping_add(1) == sequence => {
                self.fixes.note(Fix::SequenceNumbers);
                self.forget();
                self.next = first.sequence;
                self.restarted = true;
                self.keep(first.sequence, &first.packet, first.at);
                self.keep(sequence, bytes, now);
                Verdict::Held
            }
            _ => {
                self.astray = Some(Held {
                    sequence,
                    packet: bytes.to_vec(),
                    at: now,
                });
                Verdict::Drop
            }
        }
    }

    fn keep(&mut self, sequence: u16, bytes: &[u8], now: Instant) {
        let turn = |held: &Held| held.sequence.wrapping_sub(self.next);
        let place = self
            .held
            .partition_point(|held| turn(held) < sequence.wrapping_sub(self.next));
        if self
            .held
            .get(place)
            .is_some_and(|held| held.sequence == sequence)
        {
            self.fixes.note(Fix::DuplicatePackets);
            return;
        }
        self.bytes += bytes.len();
        let held = Held {
            sequence,
            packet: bytes.to_vec(),
            at: now,
        };
        self.held.insert(place, held);
    }

    fn forget(&mut self) {
        self.held.clear();
        self.bytes = 0;
        self.astray = None;
        self.recent = [(0, 0); 32];
    }

    /// The next packet that waited, once its turn has come or the one before it is given up.
    pub(super) fn release(&mut self, now: Instant) -> Option<(Held, Gap)> {
        let first = self.held.front()?.sequence;
        let gap = if first == self.next {
            std::mem::replace(&mut self.restarted, false).into()
        } else if self.is_full() || self.deadline().is_some_and(|at| at <= now) {
            self.hole = (self.next, first.wrapping_sub(self.next));
            self.restarted = false;
            Gap::Lost
        } else {
            return None;
        };
        let held = self.held.pop_front()?;
        self.bytes = self.bytes.saturating_sub(held.packet.len());
        self.next = first.wrapping_add(1);
        Some((held, gap))
    }

    fn is_full(&self) -> bool {
        self.bytes > HELD_BYTES || self.held.len() > HELD_PACKETS
    }

    /// When the packet that is missing is given up.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let since = self.held.iter().map(|held| held.at).min()?;
        Some(since + self.hold)
    }
}

impl From<bool> for Gap {
    fn from(restarted: bool) -> Self {
        if restarted { Self::Restart } else { Self::None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(sequence: u16, ssrc: u8, content: u8) -> Vec<u8> {
        let number = sequence.to_be_bytes();
        vec![
            0x80, 96, number[0], number[1], 0, 0, 0, 0, 0, 0, 0, ssrc, content,
        ]
    }

    /// The numbers given out, with what lies before each, of numbers that came so many ms
    /// after the start.
    fn run(unordered: bool, came: &[(u16, u64)]) -> Vec<(u16, Gap)> {
        let start = Instant::now();
        let mut order = Order::new(unordered, Fixes::default());
        let mut out = Vec::new();
        let drain = |order: &mut Order, now: Instant, out: &mut Vec<(u16, Gap)>| {
            while let Some((held, gap)) = order.release(now) {
                out.push((held.sequence, gap));
            }
        };
        for (sequence, ms) in came {
            let now = start + Duration::from_millis(*ms);
            drain(&mut order, now, &mut out);
            let bytes = bytes(*sequence, 1, 7);
            let packet = Packet::parse(&bytes).unwrap();
            if let Verdict::Take(gap) = order.accept(&packet, &bytes, now) {
                out.push((*sequence, gap));
            }
            drain(&mut order, now, &mut out);
        }
        out
    }

    #[test]
    fn tcp_tells_gaps_restarts_and_duplicates_apart() {
        use Gap::{Lost, None, Restart};
        for (came, expected) in [
            (&[5, 6, 7][..], &[(5, None), (6, None), (7, None)][..]),
            (&[65535, 0], &[(65535, None), (0, None)]),
            (&[5, 7], &[(5, None), (7, Lost)]),
            (&[5, 6, 6, 5, 7], &[(5, None), (6, None), (7, None)]),
            (&[5, 1005], &[(5, None), (1005, Restart)]),
            (
                &[500, 501, 0, 1],
                &[(500, None), (501, None), (0, Restart), (1, None)],
            ),
        ] {
            let came: Vec<_> = came.iter().map(|number| (*number, 0)).collect();
            assert_eq!(run(false, &came), expected);
        }
    }

    #[test]
    fn numbers_that_stand_still_over_tcp_are_followed() {
        let mut order = Order::new(false, Fixes::default());
        for content in 0..5 {
            let bytes = bytes(0, 1, content);
            let packet = Packet::parse(&bytes).unwrap();
            let verdict = order.accept(&packet, &bytes, Instant::now());
            assert_eq!(verdict, Verdict::Take(Gap::None), "{content}");
        }
    }

    #[test]
    fn udp_is_put_in_order() {
        use Gap::{Lost, None, Restart};
        for (came, expected) in [
            // In order: at once.
            (&[(5, 0), (6, 1)][..], &[(5, None), (6, None)][..]),
            // Swapped, and a duplicate.
            (
                &[(5, 0), (7, 1), (7, 1), (6, 2), (6, 2), (8, 3)],
                &[(5, None), (6, None), (7, None), (8, None)],
            ),
            // Lost: given up after the wait; what comes later still is dropped.
            (
                &[(5, 0), (7, 1), (8, 100), (6, 101), (9, 102)],
                &[(5, None), (7, Lost), (8, None), (9, None)],
            ),
            // Not yet given up.
            (&[(5, 0), (7, 1), (8, 40)], &[(5, None)]),
            // One packet far off is nothing; two are a restart.
            (
                &[
                    (5, 0),
                    (40_000, 1),
                    (6, 2),
                    (0x9000, 3),
                    (0x9001, 4),
                    (0x9002, 5),
                ],
                &[
                    (5, None),
                    (6, None),
                    (0x9000, Restart),
                    (0x9001, None),
                    (0x9002, None),
                ],
            ),
        ] {
            assert_eq!(run(true, came), expected, "{came:?}");
        }
    }

    #[test]
    fn a_wait_grows_where_packets_come_late() {
        let start = Instant::now();
        let mut order = Order::new(true, Fixes::default());
        let push = |order: &mut Order, sequence: u16, ms: u64| {
            let now = start + Duration::from_millis(ms);
            let bytes = bytes(sequence, 1, 0);
            order.accept(&Packet::parse(&bytes).unwrap(), &bytes, now);
            while order.release(now).is_some() {}
        };
        push(&mut order, 1, 0);
        push(&mut order, 3, 0);
        push(&mut order, 4, 70);
        assert_eq!(order.next, 5);
        push(&mut order, 2, 75);
        push(&mut order, 6, 100);
        push(&mut order, 7, 170);
        assert_eq!(order.next, 5, "waits for 90 ms now");
        push(&mut order, 5, 180);
        assert_eq!(order.next, 8);
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut order = Order::new(true, Fixes::default());
        let now = Instant::now();
        for number in (1..10_000_u16).map(|n| n.wrapping_mul(2)) {
            let mut bytes = bytes(number, 1, 0);
            bytes.resize(60_000, 0);
            order.accept(&Packet::parse(&bytes).unwrap(), &bytes, now);
            while order.release(now).is_some() {}
            assert!(order.bytes <= HELD_BYTES + bytes.len());
        }
    }
}
