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
/// How long the first packet over UDP may be overtaken by the next one.
const OVERTAKEN: Duration = Duration::from_millis(10);
/// How long a packet over TCP that does not fit those before it waits for the next one.
const ASTRAY: Duration = Duration::from_millis(60);
/// Packets over TCP that wait for one which they overtook.
const AHEAD: usize = 4;
/// A step this large over TCP is a restart of the numbers, not packets lost.
const RESTART_STEP: i16 = 500;
/// Over UDP, numbers this far ahead or behind are not late, but astray
/// (RFC 3550 A.1: MAX_DROPOUT, MAX_MISORDER).
const DROPOUT: i16 = 3_000;
const MISORDER: i16 = -100;
/// Packets astray near each other before the numbers are taken to begin again there; and
/// where they may be late ones.
const RUN: usize = 2;
const RUN_LATE: usize = 3;
/// Numbers this near are of one run.
const NEAR: u16 = 16;
/// Packets over TCP in a row whose numbers do not count before the numbers say nothing;
/// and whose numbers do before they say something again.
const NEVER_COUNTED: u8 = 24;
const COUNTED: u8 = 24;

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

/// Packets that are no part of the track whose numbers are known.
const OTHERS: usize = 32;

/// A packet that waited.
#[derive(Debug)]
pub(super) struct Held {
    sequence: u16,
    pub(super) packet: Vec<u8>,
    pub(super) at: Instant,
}

impl Held {
    fn new(sequence: u16, bytes: &[u8], now: Instant) -> Self {
        Self {
            sequence,
            packet: bytes.to_vec(),
            at: now,
        }
    }
}

/// Puts the packets of a track in order.
#[derive(Debug)]
pub(super) struct Order {
    unordered: bool,
    fixes: Fixes,
    ssrc: Option<u32>,
    /// The number of the next packet.
    next: u16,
    /// Numbers and fingerprints of the newest packets.
    recent: [(u16, u64); 32],
    recent_at: usize,
    /// Numbers of the newest packets that are no part of the track: some cameras count them
    /// with it, others give the track's next packet the same number.
    others: VecDeque<u16>,
    /// Packets ahead of their turn, in order.
    held: VecDeque<Held>,
    bytes: usize,
    hold: Duration,
    /// The newest hole that was given up, its first number and length.
    hole: (u16, u16),
    /// Packets that do not fit those before: the next ones tell whether the numbers began
    /// again, or these are no part of the track. One over TCP.
    astray: Vec<Held>,
    restarted: bool,
    /// The first packet over UDP waits for one that it overtook.
    starting: bool,
    /// Packets over TCP that waited for the next one.
    judged: VecDeque<(Held, Gap)>,
    /// No number over TCP fits the one before: none is waited for.
    unsteady: bool,
    /// Packets over TCP in a row whose numbers did not count, or which did where they say
    /// nothing.
    streak: u8,
    /// The numbers say nothing: they count in steps, stand in the wrong byte order, are
    /// random, or each packet has a source of its own. TCP keeps the order without them.
    meaningless: bool,
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
            others: VecDeque::new(),
            held: VecDeque::new(),
            bytes: 0,
            hold: HOLD,
            hole: (0, 0),
            astray: Vec::new(),
            restarted: false,
            starting: false,
            judged: VecDeque::new(),
            unsteady: false,
            streak: 0,
            meaningless: false,
        }
    }

    /// Takes note of a packet that is no part of the track.
    pub(super) fn note_other(&mut self, packet: &Packet<'_>) {
        if self.ssrc != Some(packet.ssrc) {
            return;
        }
        if packet.sequence == self.next && !self.held.is_empty() {
            // It is what the packets behind it wait for.
            self.next = self.next.wrapping_add(1);
            return;
        }
        if self.others.len() >= OTHERS {
            self.others.pop_front();
        }
        self.others.push_back(packet.sequence);
    }

    /// Nothing is missing where a packet of another kind has the number before this one's.
    fn pass_over_others(&mut self, packet: &Packet<'_>) {
        self.others.retain(|number| *number != packet.sequence);
        while let Some(at) = self.others.iter().position(|number| *number == self.next) {
            self.others.remove(at);
            self.next = self.next.wrapping_add(1);
        }
    }

    /// Decides on a packet; `bytes` is the whole of it.
    pub(super) fn accept(&mut self, packet: &Packet<'_>, bytes: &[u8], now: Instant) -> Verdict {
        self.pass_over_others(packet);
        match self.ssrc {
            None if self.unordered => {
                self.next = packet.sequence;
                self.starting = true;
                self.ssrc = Some(packet.ssrc);
                self.remember(packet);
                self.keep(packet.sequence, bytes, now);
                Verdict::Held
            }
            None => {
                self.next = packet.sequence;
                self.ssrc = Some(packet.ssrc);
                Verdict::Take(self.pass(packet))
            }
            Some(ssrc) if self.unordered && ssrc != packet.ssrc => {
                self.forget();
                Verdict::Take(self.pass(packet))
            }
            Some(_) if self.unordered => self.reorder(packet, bytes, now),
            Some(_) => self.follow(packet, bytes, now),
        }
    }

    /// TCP keeps the order: each number that is not the next one means something. One that
    /// fits nothing waits for the next packet: where that goes on as if it had not come, it
    /// is no part of the track.
    ///
    /// One that is only ahead of its turn waits for those that it may have overtaken.
    fn follow(&mut self, packet: &Packet<'_>, bytes: &[u8], now: Instant) -> Verdict {
        let step = self.step(packet);
        let is_steady = self.astray.is_empty() && !self.unsteady && !self.meaningless;
        let may_wait = (1..RESTART_STEP).contains(&step) || step == 0 && !self.held.is_empty();
        let is_own = self.ssrc == Some(packet.ssrc);
        if is_own && step < 0 && self.is_known(packet) {
            self.fixes.note(Fix::DuplicatePackets);
            return Verdict::Drop;
        }
        let is_sound = is_own && (step == 0 || !packet.bad_padding);
        let is_other = |held: &Held| held.sequence != packet.sequence || held.packet == bytes;
        if is_steady && may_wait && is_sound && self.held.iter().all(is_other) {
            if self.is_meaningless(step == 0) {
                self.flush(true);
            } else {
                if step == 0 {
                    self.fixes.note(Fix::PacketOrder);
                }
                self.keep(packet.sequence, bytes, now);
                return Verdict::Held;
            }
        }
        self.flush(self.meaningless);
        match self.follow_steady(packet, bytes, now) {
            Verdict::Take(gap) if !self.judged.is_empty() => {
                let held = Held::new(packet.sequence, bytes, now);
                self.judged.push_back((held, gap));
                Verdict::Held
            }
            verdict => verdict,
        }
    }

    /// Gives up the wait of those that are ahead of their turn.
    fn flush(&mut self, meaningless: bool) {
        self.bytes = 0;
        for held in std::mem::take(&mut self.held) {
            if let Some(packet) = Packet::parse(&held.packet) {
                let gap = self.pass(&packet);
                let gap = if meaningless { Gap::None } else { gap };
                self.judged.push_back((held, gap));
            }
        }
    }

    fn follow_steady(&mut self, packet: &Packet<'_>, bytes: &[u8], now: Instant) -> Verdict {
        let step = self.step(packet);
        let is_own = self.ssrc == Some(packet.ssrc);
        if self.is_meaningless(is_own && step == 0) {
            while let Some(astray) = self.astray.pop() {
                self.judged.push_back((astray, Gap::None));
            }
            self.ssrc = Some(packet.ssrc);
            self.next = packet.sequence.wrapping_add(1);
            self.remember(packet);
            if self.judged.is_empty() {
                return Verdict::Take(Gap::None);
            }
            let held = Held::new(packet.sequence, bytes, now);
            self.judged.push_back((held, Gap::None));
            return Verdict::Held;
        }
        let is_sound = step == 0 || !packet.bad_padding;
        let fits = is_own && is_sound && (-1..RESTART_STEP).contains(&step);
        let Some(astray) = self.astray.pop() else {
            // One source behind the other, its numbers going on, is no accident.
            if fits || step == 0 || self.unsteady {
                self.unsteady &= !fits;
                return Verdict::Take(self.pass(packet));
            }
            self.astray.push(Held::new(packet.sequence, bytes, now));
            return Verdict::Held;
        };
        let goes_on = packet.sequence == astray.sequence.wrapping_add(1);
        if fits && step >= 0 && !goes_on {
            self.fixes.note(Fix::SequenceNumbers);
            return Verdict::Take(self.pass(packet));
        }
        self.judge(astray);
        self.unsteady = !goes_on;
        let gap = self.pass(packet);
        let held = Held::new(packet.sequence, bytes, now);
        self.judged.push_back((held, gap));
        Verdict::Held
    }

    /// Whether the numbers say nothing, after one that counts or does not.
    fn is_meaningless(&mut self, counts: bool) -> bool {
        if counts == self.meaningless {
            self.streak += 1;
        } else {
            self.streak = 0;
        }
        let enough = if self.meaningless {
            COUNTED
        } else {
            NEVER_COUNTED
        };
        if self.streak >= enough {
            self.streak = 0;
            self.meaningless = !self.meaningless;
            self.fixes.note(Fix::SequenceNumbers);
        }
        self.meaningless
    }

    /// The numbers began again with this packet.
    fn judge(&mut self, astray: Held) {
        if let Some(packet) = Packet::parse(&astray.packet) {
            let gap = self.pass(&packet);
            self.judged.push_back((astray, gap));
        }
    }

    fn step(&self, packet: &Packet<'_>) -> i16 {
        packet.sequence.wrapping_sub(self.next).cast_signed()
    }

    /// Goes on behind a packet; the gap before it.
    fn pass(&mut self, packet: &Packet<'_>) -> Gap {
        let step = self.step(packet);
        let gap = if self.ssrc != Some(packet.ssrc) {
            self.fixes.note(Fix::SourceChange);
            Gap::Restart
        } else {
            let gap = match step {
                // The number of the packet before on another packet: they stand still.
                0 | -1 => Gap::None,
                1..RESTART_STEP => Gap::Lost,
                _ => Gap::Restart,
            };
            if step < 0 || gap == Gap::Restart {
                self.fixes.note(Fix::SequenceNumbers);
            }
            gap
        };
        self.ssrc = Some(packet.ssrc);
        self.next = packet.sequence.wrapping_add(1);
        self.remember(packet);
        gap
    }

    fn remember(&mut self, packet: &Packet<'_>) {
        self.recent_at = (self.recent_at + 1) % self.recent.len();
        self.recent[self.recent_at] = (packet.sequence, packet.fingerprint());
    }

    fn is_known(&self, packet: &Packet<'_>) -> bool {
        let this = (packet.sequence, packet.fingerprint());
        self.recent.contains(&this)
    }

    fn reorder(&mut self, packet: &Packet<'_>, bytes: &[u8], now: Instant) -> Verdict {
        match self.step(packet) {
            0 if !self.starting => {
                self.next = self.next.wrapping_add(1);
                self.astray.clear();
                self.remember(packet);
                Verdict::Take(std::mem::replace(&mut self.restarted, false).into())
            }
            0..DROPOUT => {
                self.starting &= self.next == packet.sequence;
                self.remember(packet);
                self.keep(packet.sequence, bytes, now);
                Verdict::Held
            }
            MISORDER..0 if self.is_known(packet) => {
                self.fixes.note(Fix::DuplicatePackets);
                Verdict::Drop
            }
            MISORDER..0 if self.starting => {
                self.next = packet.sequence;
                self.remember(packet);
                self.keep(packet.sequence, bytes, now);
                Verdict::Held
            }
            MISORDER..0 => {
                let (first, length) = self.hole;
                if packet.sequence.wrapping_sub(first) < length {
                    // It came after all: the next one is waited for a little longer.
                    self.hold = (self.hold * 3 / 2).min(HOLD_LIMIT);
                    return Verdict::Drop;
                }
                self.stray(packet.sequence, bytes, now, RUN_LATE)
            }
            _ => self.stray(packet.sequence, bytes, now, RUN),
        }
    }

    /// So many packets near each other, far from their turn: the numbers began again.
    fn stray(&mut self, sequence: u16, bytes: &[u8], now: Instant, enough: usize) -> Verdict {
        let distance = |held: &Held| held.sequence.wrapping_sub(sequence);
        if self.astray.iter().any(|held| distance(held) == 0) {
            self.fixes.note(Fix::DuplicatePackets);
            return Verdict::Drop;
        }
        let is_near = |held: &Held| distance(held).wrapping_add(NEAR) <= 2 * NEAR;
        if !self.astray.iter().all(is_near) {
            self.astray.clear();
        }
        self.astray.push(Held::new(sequence, bytes, now));
        if self.astray.len() < enough {
            return Verdict::Drop;
        }
        self.fixes.note(Fix::SequenceNumbers);
        let run = std::mem::take(&mut self.astray);
        self.forget();
        let from = sequence.wrapping_sub(NEAR);
        let first = run
            .iter()
            .map(|held| held.sequence.wrapping_sub(from))
            .min();
        self.next = from.wrapping_add(first.unwrap_or(NEAR));
        self.restarted = true;
        for held in run {
            self.keep(held.sequence, &held.packet, held.at);
        }
        Verdict::Held
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
        self.held.insert(place, Held::new(sequence, bytes, now));
    }

    fn forget(&mut self) {
        self.held.clear();
        self.bytes = 0;
        self.astray.clear();
        self.starting = false;
        self.recent = [(0, 0); 32];
    }

    /// The next packet that waited, once its turn has come or the one before it is given up.
    /// `now`: nothing more was read; `None`: what is waited for may be there, unread.
    pub(super) fn release(&mut self, now: Option<Instant>) -> Option<(Held, Gap)> {
        let is_over = |at: Instant| now.is_some_and(|now| at <= now);
        if !self.unordered {
            if self.deadline().is_some_and(is_over)
                && let Some(astray) = self.astray.pop()
            {
                self.judge(astray);
            }
            let is_next = |first: &Held| first.sequence == self.next;
            let is_over = self.held.len() > AHEAD || self.deadline().is_some_and(is_over);
            if self.judged.is_empty()
                && self.held.front().is_some_and(|it| is_next(it) || is_over)
                && let Some(held) = self.held.pop_front()
            {
                self.bytes = self.bytes.saturating_sub(held.packet.len());
                let gap = Packet::parse(&held.packet).map(|packet| self.pass(&packet));
                return Some((held, gap.unwrap_or(Gap::None)));
            }
            return self.judged.pop_front();
        }
        let first = self.held.front()?.sequence;
        if self.starting {
            if !self.deadline().is_some_and(is_over) {
                return None;
            }
            self.starting = false;
        }
        let gap = if first == self.next {
            std::mem::replace(&mut self.restarted, false).into()
        } else if self.is_full() || self.deadline().is_some_and(is_over) {
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

    /// When what is waited for is given up.
    pub(super) fn deadline(&self) -> Option<Instant> {
        if !self.unordered {
            let held = self.held.iter().map(|held| held.at).min();
            let since = self.astray.first().map(|held| held.at).or(held);
            return since.map(|at| at + ASTRAY);
        }
        let since = self.held.iter().map(|held| held.at).min()?;
        let wait = if self.starting { OVERTAKEN } else { self.hold };
        Some(since + wait)
    }
}

impl From<bool> for Gap {
    fn from(restarted: bool) -> Self {
        if restarted { Self::Restart } else { Self::None }
    }
}

#[cfg(test)]
mod tests;
