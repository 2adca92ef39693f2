//! Numbers and times of one session's packets, continuous over PAUSE and PLAY
//! (RFC 2326 appendix B). Pure.
//!
//! The packets of a camera are shared by its viewers. One that paused begins again
//! with the kept group, whose shared numbers and times lie before what it has had
//! already: its player would take them for repeats and drop them. So from its
//! second PLAY on a session's packets are renumbered for it alone: they go on where
//! it stopped, and the kept pictures stand between its last one and the newest.
//!
//! The same makes one stream of several cameras' in turn ([`Splice::of`],
//! [`Splice::switch`]): a player sees one source whose numbers and times go on.

use std::time::Duration;

use super::rtp::{BURST_TICKS, CLOCK};
use crate::media::packets::Packetised;
use crate::media::source::Sampled;

/// How much later than the last picture of before the newest one is, where the
/// camera has sent none meanwhile: 40 ms.
const LEAST_STEP: i32 = 3_600;

/// Where a session's packets stand.
#[derive(Clone, Copy, Debug, Default)]
pub struct Splice {
    /// The source that all packets are given as; `None`: their own.
    ssrc: Option<u32>,
    /// Next sequence number and newest time stamp, as the viewer has them.
    given: Option<(u16, u32)>,
    /// What the viewer's numbers and times are ahead of the shared ones.
    sequence: u16,
    time: u32,
    /// PLAY was answered and no packet placed since; the newest picture's time then.
    beginning: Option<Option<u32>>,
    /// How far the newest picture of another stream is behind the last one given.
    pause: Option<i32>,
    /// How the kept pictures of this PLAY are put between others.
    squeeze: Option<Squeeze>,
}

#[derive(Clone, Copy, Debug)]
struct Squeeze {
    newest: u32,
    room: i32,
}

impl Splice {
    /// All packets are given as of this source.
    pub fn of(ssrc: u32) -> Self {
        Self {
            ssrc: Some(ssrc),
            ..Self::default()
        }
    }

    /// Another stream goes on; the last picture was given `ago`. `newest` as in
    /// [`Splice::begin`].
    pub fn switch(&mut self, newest: Option<u32>, ago: Duration) {
        self.begin(newest);
        let ticks = ago.as_millis() * u128::from(CLOCK) / 1_000;
        let ticks = i32::try_from(ticks).unwrap_or(i32::MAX);
        self.pause = Some(ticks.max(LEAST_STEP));
    }

    /// A PLAY begins; `newest` is the shared time of the camera's newest picture.
    pub const fn begin(&mut self, newest: Option<u32>) {
        self.beginning = Some(newest);
        self.pause = None;
        self.squeeze = None;
    }

    /// The packets of the next picture as this viewer gets them; `None`: as they are.
    pub fn place(&mut self, packets: &Packetised, is_kept: bool) -> Option<Packetised> {
        if let (Some(newest), Some((next, last))) = (self.beginning.take(), self.given) {
            self.sequence = next.wrapping_sub(packets.first_sequence);
            let newest = newest.unwrap_or(packets.timestamp);
            let mut room = distance(newest.wrapping_add(self.time), last);
            if let Some(pause) = self.pause.take() {
                room = pause;
                self.time = last
                    .wrapping_add(pause.cast_unsigned())
                    .wrapping_sub(newest);
            } else if room <= 0 {
                let ahead = LEAST_STEP.saturating_sub(room);
                self.time = self.time.wrapping_add(ahead.cast_unsigned());
                room = LEAST_STEP;
            }
            self.squeeze = Some(Squeeze { newest, room });
        }
        let mut timestamp = packets.timestamp;
        if let (Some(squeeze), true) = (self.squeeze, is_kept) {
            timestamp = squeeze.place(timestamp);
        }
        let timestamp = timestamp.wrapping_add(self.time);
        let first_sequence = packets.first_sequence.wrapping_add(self.sequence);
        self.note(first_sequence.wrapping_add(packets.packets), timestamp);
        let ssrc = self.ssrc.filter(|_| packets.ssrc() != self.ssrc);
        let is_same = self.sequence == 0 && timestamp == packets.timestamp && ssrc.is_none();
        (!is_same).then(|| packets.replaced(self.sequence, timestamp, ssrc))
    }

    /// The camera's clock as this viewer has it.
    pub fn clock(&self, sampled: Sampled) -> Sampled {
        Sampled {
            ssrc: self.ssrc.unwrap_or(sampled.ssrc),
            timestamp: sampled.timestamp.wrapping_add(self.time),
            ..sampled
        }
    }

    fn note(&mut self, next: u16, timestamp: u32) {
        let newest = match self.given {
            Some((_, newest)) if distance(timestamp, newest) < 0 => newest,
            _ => timestamp,
        };
        self.given = Some((next, newest));
    }
}

impl Squeeze {
    /// Puts a kept picture's time into the room before the newest.
    fn place(self, timestamp: u32) -> u32 {
        let age = distance(self.newest, timestamp);
        if i64::from(self.room) > BURST_TICKS || age <= 0 {
            return timestamp;
        }
        let room = i64::from(self.room - 1);
        let age = (i64::from(age) * room / BURST_TICKS).min(room);
        // Within `room`, which is an i32.
        self.newest.wrapping_sub(age as u32)
    }
}

/// How far `to` is ahead of `from` in RTP time, which wraps.
const fn distance(to: u32, from: u32) -> i32 {
    to.wrapping_sub(from).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Wall;
    use crate::media::unit::{AccessUnit, Codec, Configuration, UnitFlags};
    use crate::rtsp::rtp::Packetiser;

    fn configuration() -> Configuration {
        Configuration {
            codec: Codec::H264,
            record: bytes::Bytes::new(),
            width: 0,
            height: 0,
        }
    }

    fn units(range: std::ops::Range<i64>) -> Vec<AccessUnit> {
        let unit = |number: i64| AccessUnit {
            flags: UnitFlags::default(),
            pts: number * 3_600,
            captured: 0,
            data: bytes::Bytes::from_static(&[0, 0, 0, 3, 0x41, 1, 2]),
        };
        range.map(unit).collect()
    }

    /// Plays pictures 0..15 live, pauses, and plays again when the camera is at
    /// `newest`, of a group that began at `key`; all numbers and times in order.
    fn paused(key: i64, newest: i64) -> Vec<(u16, u32)> {
        let mut packetiser = Packetiser::new(1, u16::MAX - 3, u32::MAX - 9_000);
        let mut splice = Splice::default();
        let mut seen = Vec::new();
        let mut see = |splice: &mut Splice, made: &Packetised, kept| {
            let placed = splice.place(made, kept);
            let placed = placed.as_ref().unwrap_or(made);
            for packet in placed.iter() {
                let number = u16::from_be_bytes([packet[2], packet[3]]);
                let time = u32::from_be_bytes([packet[4], packet[5], packet[6], packet[7]]);
                assert_eq!(time, placed.timestamp);
                seen.push((number, time));
            }
            assert_eq!(seen[seen.len() - 1].0, placed.first_sequence);
        };
        splice.begin(None);
        for unit in units(0..15) {
            let made = packetiser.packetise(&unit, &configuration());
            let mut probe = splice;
            assert!(probe.place(&made, false).is_none(), "shared bytes");
            see(&mut splice, &made, false);
        }
        // While it pauses others watch: shared numbers go on.
        for unit in units(15..newest + 1) {
            packetiser.packetise(&unit, &configuration());
        }
        splice.begin(Some(packetiser.timestamp(newest * 3_600)));
        let kept = units(key..newest + 1);
        for made in packetiser.kept_burst(&kept, &configuration()) {
            see(&mut splice, &made, true);
        }
        for unit in units(newest + 1..newest + 4) {
            let made = packetiser.packetise(&unit, &configuration());
            see(&mut splice, &made, false);
        }
        seen
    }

    #[test]
    fn numbers_and_times_go_on_after_a_pause() {
        // Long after, shortly after, and before any new picture.
        for (key, newest) in [(400, 430), (0, 300), (0, 18), (0, 15), (0, 14), (10, 14)] {
            let seen = paused(key, newest);
            for pair in seen.windows(2) {
                let [(number, time), (next, later)] = pair else {
                    continue;
                };
                assert_eq!(*next, number.wrapping_add(1), "{key} {newest}");
                assert!(distance(*later, *time) > 0, "{key} {newest}: {seen:?}");
            }
            let live = seen[seen.len() - 1].1.wrapping_sub(seen[seen.len() - 2].1);
            assert_eq!(live, 3_600);
        }
    }

    #[test]
    fn another_stream_goes_on_as_the_same_source() {
        let mut one = Packetiser::new(1, 10, 500);
        let mut other = Packetiser::new(2, 60_000, u32::MAX - 9_000);
        let mut splice = Splice::of(1);
        let pictures = units(0..3);
        splice.begin(None);
        let first = one.packetise(&pictures[0], &configuration());
        assert!(splice.place(&first, false).is_none(), "shared bytes");
        for unit in &pictures[..2] {
            other.packetise(unit, &configuration());
        }
        // The newest of the kept pictures is taken now, 300 ms after the last one given.
        splice.switch(Some(other.timestamp(3_600)), Duration::from_millis(300));
        let mut placed = Vec::new();
        for made in other.kept_burst(&pictures[..2], &configuration()) {
            placed.push(splice.place(&made, true).unwrap());
        }
        let live = other.packetise(&pictures[2], &configuration());
        placed.push(splice.place(&live, false).unwrap());
        let seen = placed.iter().map(|made| {
            let ahead = made.timestamp.wrapping_sub(first.timestamp);
            (made.first_sequence, ahead, made.ssrc())
        });
        let expected = [
            (11, 27_000 - 3_600, Some(1)),
            (12, 27_000, Some(1)),
            (13, 27_000 + 3_600, Some(1)),
        ];
        assert_eq!(seen.collect::<Vec<_>>(), expected);
        let sampled = Sampled {
            ssrc: 2,
            timestamp: live.timestamp,
            at: Wall(5),
        };
        let clock = splice.clock(sampled);
        assert_eq!((clock.ssrc, clock.timestamp), (1, placed[2].timestamp));
        // And back, at once: times still rise.
        splice.switch(None, Duration::ZERO);
        let back = one.packetise(&pictures[1], &configuration());
        let back = splice.place(&back, false).unwrap();
        assert_eq!(back.first_sequence, 14);
        assert_eq!(back.timestamp.wrapping_sub(placed[2].timestamp), 3_600);
    }

    #[test]
    fn the_clock_follows_the_times() {
        let mut splice = Splice::default();
        let sampled = Sampled {
            ssrc: 1,
            timestamp: 7,
            at: Wall(5),
        };
        assert_eq!(splice.clock(sampled), sampled);
        splice.time = 3_600;
        assert_eq!(splice.clock(sampled).timestamp, 3_607);
    }
}
