//! Pictures out of a camera's RTP packets (RFC 3550, RFC 6184, RFC 7798, RFC 2435):
//! pure, time passed in.
//!
//! No packet ends anything. A bad payload costs at most the picture it belongs to; a
//! picture that is not whole is dropped, and the next one says so (`loss_before`).

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::fix::Fixes;
use crate::clock::Wall;
use crate::media::unit::{Codec, Configuration};
use crate::proto::camera::Failure;

/// What the description says of the track.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::gateway) struct Track {
    /// How the pictures are coded.
    pub codec: Codec,
    /// RTP payload type of the chosen format.
    pub payload_type: u8,
    /// Ticks of RTP time in a second; 0 counts as 90000.
    pub clock_rate: u32,
    /// NAL units of `sprop-parameter-sets`, `sprop-vps` and their like; may be broken.
    pub sets: Vec<Bytes>,
    /// Width and height of `x-dimensions` or `framesize`; the last resort for MJPEG.
    pub dimensions: Option<(u16, u16)>,
    /// `sprop-max-don-diff` above 0 (RFC 7798 7.1): payloads carry decoding order numbers.
    pub order_numbers: bool,
}

/// A whole picture, in decoding order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::gateway) struct Picture {
    /// RTP time, 90 kHz, wrapping.
    pub time: u32,
    /// When its last byte came.
    pub arrived: Instant,
    /// Decoding can start here.
    pub key: bool,
    /// A key picture that some of what follows, or its own first moments, may need what
    /// came before for (H.265 CRA, H.264 recovery points).
    pub open_group: bool,
    /// No other picture needs this one.
    pub disposable: bool,
    /// Something was lost between the picture before and this one.
    pub loss_before: bool,
    /// H.264 and H.265: NAL units behind their length in four bytes, without delimiters,
    /// filler, ends of sequence and parameter sets; only sets that change inside a group
    /// precede the slices that use them. MJPEG: one whole JPEG. Never more than
    /// [`UNIT_LIMIT`](crate::media::unit::UNIT_LIMIT) bytes.
    pub data: Vec<u8>,
    /// What a decoder needs; the same `Arc` as long as nothing changes.
    pub configuration: Option<Arc<Configuration>>,
}

/// Makes pictures of one track's RTP packets.
#[derive(Debug)]
pub(in crate::gateway) struct Assembler {}

impl Assembler {
    /// `unordered`: packets come over UDP. `ssrc`: ours, random, for receiver reports.
    pub(in crate::gateway) fn new(track: Track, unordered: bool, ssrc: u32, fixes: Fixes) -> Self {
        let _ = (track, unordered, ssrc, fixes);
        Self {}
    }

    /// Takes an RTP packet as it came; other bytes are ignored.
    pub(in crate::gateway) fn push(&mut self, packet: &[u8], now: Instant) {
        let _ = (packet, now);
    }

    /// Takes a compound RTCP packet as it came; what cannot be read is ignored.
    pub(in crate::gateway) fn push_rtcp(&mut self, packet: &[u8], now: Instant, wall: Wall) {
        let _ = (packet, now, wall);
    }

    /// The next whole picture. To be called after each push and at [`Assembler::deadline`],
    /// until it gives none.
    pub(in crate::gateway) fn pop(&mut self, now: Instant) -> Option<Picture> {
        let _ = now;
        None
    }

    /// When [`Assembler::pop`] must be called though nothing came.
    pub(in crate::gateway) fn deadline(&self) -> Option<Instant> {
        None
    }

    /// Receiver report and name (RFC 3550 6.4.2, 6.5), due every 5 s.
    pub(in crate::gateway) fn report(&mut self, now: Instant) -> Vec<u8> {
        let _ = now;
        Vec::new()
    }

    /// Why nothing can be shown, and the setting of the camera that would help.
    pub(in crate::gateway) fn complaint(&self) -> Option<Failure> {
        None
    }

    /// The camera's clock less ours by its last sender report, in µs.
    pub(in crate::gateway) fn clock_offset(&self) -> Option<i64> {
        None
    }
}
