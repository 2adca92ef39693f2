//! What comes of the camera after SETUP, on its way to retina.

use std::ops::RangeInclusive;
use std::time::Instant;

use super::dialogue::Lane;
use super::pictures::Assembler;
use super::plain::Plain;
use crate::clock::Clock;

/// What comes after SETUP.
pub(super) struct Media {
    pub(super) lane: Lane,
    pub(super) assembler: Assembler,
    pub(super) plain: Plain,
    /// Media came on a channel of its own.
    pub(super) has_channel: bool,
}

impl Media {
    pub(super) fn take(&mut self, packet: &[u8], is_rtcp: bool, clock: &Clock) {
        let now = Instant::now();
        if is_rtcp {
            self.assembler.push_rtcp(packet, now, clock.now().wall);
        } else {
            // Those of the packet before: nothing behind it made it doubtful.
            while let Some(picture) = self.assembler.pop_made() {
                self.plain.put(picture);
            }
            self.assembler.push(packet, now);
        }
    }

    /// Makes whole pictures ready to be written; all that came by `now` was taken.
    pub(super) fn put_ready(&mut self, now: Instant) {
        while let Some(picture) = self.assembler.pop(now) {
            self.plain.put(picture);
        }
    }
}

/// Packet types of RTCP, and those set aside for it (RFC 5761 4).
const SET_ASIDE: RangeInclusive<u8> = 192..=223;
/// Those that cameras send (RFC 3550 12.1): payload types 72 to 76 are left out for them
/// (RFC 3551 6).
const SENT: RangeInclusive<u8> = 200..=204;

impl Media {
    /// Whether what came on this channel is RTCP. One track is set up, so what comes on
    /// any other channel than RTCP's is its media, whichever numbers the camera uses: its
    /// first bytes tell which. There are cameras that send media on RTCP's channel alone.
    pub(super) fn is_rtcp(&mut self, channel: u8, packet: &[u8]) -> bool {
        let is =
            |types: &RangeInclusive<u8>| packet.get(1).is_some_and(|kind| types.contains(kind));
        match self.lane {
            Lane::Interleaved { rtcp, .. } if channel == rtcp => self.has_channel || is(&SET_ASIDE),
            _ if is(&SENT) => true,
            _ => {
                self.has_channel = true;
                false
            }
        }
    }
}
