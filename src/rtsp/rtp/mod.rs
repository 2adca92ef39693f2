//! RTP packetisation (RFC 3550; H.264 RFC 6184, H.265 RFC 7798, JPEG RFC 2435):
//! a whole access unit at once, made once for all TCP viewers of a camera.
//!
//! All viewers of a camera share SSRC, sequence numbers and time stamps, so the
//! same bytes serve them all. A viewer that joins is first given the kept group,
//! packetised for it alone with the sequence numbers just before the shared
//! ones and its time stamps compressed into the last 200 ms.

use bytes::Bytes;

pub mod h264;
pub mod h265;
pub mod jpeg;

/// One access unit as RTP packets in interleaved framing (RFC 2326 10.12) on
/// channel 0: `$`, channel, length, packet, one after the other in one buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packetised {
    /// All packets, framed for channel 0.
    pub interleaved: Bytes,
    /// Number of packets.
    pub packets: u16,
    /// Sequence number of the first packet.
    pub first_sequence: u16,
    /// RTP time stamp (90 kHz).
    pub timestamp: u32,
}
