//! What comes of the camera after SETUP, on its way to retina.

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
}

impl Media {
    pub(super) fn take(&mut self, packet: &[u8], is_rtcp: bool, clock: &Clock) {
        let now = Instant::now();
        if is_rtcp {
            self.assembler.push_rtcp(packet, now, clock.now().wall);
        } else {
            // Those of the packet before: nothing behind it made it doubtful.
            self.put_ready(now);
            self.assembler.push(packet, now);
        }
    }

    /// Makes whole pictures ready to be written.
    pub(super) fn put_ready(&mut self, now: Instant) {
        while let Some(picture) = self.assembler.pop(now) {
            self.plain.put(picture);
        }
    }
}

/// Whether what came on this channel is RTCP. One track is set up, so what comes on any
/// other channel than RTCP's is its media, whichever numbers the camera uses: its first
/// bytes tell which (payload types 72 to 76 are left out for that: RFC 3551 6).
pub(super) fn is_rtcp(lane: Lane, channel: u8, packet: &[u8]) -> bool {
    matches!(lane, Lane::Interleaved { rtcp, .. } if channel == rtcp)
        || packet.get(1).is_some_and(|kind| (200..=204).contains(kind))
}
