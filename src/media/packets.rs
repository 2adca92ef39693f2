//! One picture as viewers get it, made once for all of a camera: RTP packets by the
//! packetiser of `rtsp::rtp`, a browser's message by `receiver::api`.

use std::sync::OnceLock;

use bytes::Bytes;

/// Bytes of the interleaved framing: `$`, channel, length.
pub(crate) const FRAMING: usize = 4;
/// Bytes of an RTP header without contributing sources.
pub(crate) const HEADER: usize = 12;

/// One access unit as RTP packets in interleaved framing (RFC 2326 10.12) on
/// channel 0: `$`, channel, length, packet, one after the other in one buffer.
///
/// A picture that RTP can't carry (a broken or progressive JPEG) gives none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packetised {
    /// All packets, framed for channel 0.
    pub interleaved: Bytes,
    /// Number of packets.
    pub packets: u16,
    /// Sequence number of the first packet.
    pub first_sequence: u16,
    /// RTP time stamp (90 kHz).
    pub timestamp: u32,
    /// The picture as a message to browsers; the first that gets it makes it.
    pub message: OnceLock<Bytes>,
}

impl Packetised {
    /// The packets without their framing; slices share the buffer.
    pub fn iter(&self) -> Packets<'_> {
        Packets {
            interleaved: &self.interleaved,
            at: 0,
        }
    }

    /// Payload bytes of all packets, as sender reports count them (RFC 3550 6.4.1).
    pub fn payload_bytes(&self) -> usize {
        let overhead = FRAMING + HEADER;
        self.interleaved
            .len()
            .saturating_sub(usize::from(self.packets) * overhead)
    }

    /// The same packets for another channel; the buffer itself where it is 0.
    pub fn for_channel(&self, channel: u8) -> Bytes {
        if channel == 0 {
            return self.interleaved.clone();
        }
        let mut out = self.interleaved.to_vec();
        let mut at = 0;
        while let Some(&[_, _, high, low]) = out.get(at..at + FRAMING) {
            out[at + 1] = channel;
            at += FRAMING + usize::from(u16::from_be_bytes([high, low]));
        }
        out.into()
    }
}

/// Walks the packets of a [`Packetised`].
#[derive(Debug)]
pub struct Packets<'a> {
    interleaved: &'a Bytes,
    at: usize,
}

impl Iterator for Packets<'_> {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let start = self.at.checked_add(FRAMING)?;
        let length = self.interleaved.get(self.at + 2..start)?;
        let end = start + usize::from(u16::from_be_bytes([length[0], length[1]]));
        let packet = self.interleaved.get(start..end)?;
        self.at = end;
        Some(self.interleaved.slice_ref(packet))
    }
}

impl Packetised {
    /// The synchronisation source of the packets.
    pub(crate) fn ssrc(&self) -> Option<u32> {
        let at = FRAMING + HEADER;
        let bytes = self.interleaved.get(at - 4..at)?;
        Some(u32::from_be_bytes(bytes.try_into().ok()?))
    }

    /// The same packets for one viewer: `ahead` added to the sequence numbers, and
    /// with this time stamp; `ssrc`: of this synchronisation source.
    pub(crate) fn replaced(&self, ahead: u16, timestamp: u32, ssrc: Option<u32>) -> Self {
        let mut out = self.clone();
        out.renumber(ahead);
        let mut bytes = Vec::from(std::mem::take(&mut out.interleaved));
        let mut at = 0;
        while let Some(&[_, _, high, low]) = bytes.get(at..at + FRAMING) {
            let time = at + FRAMING + 4;
            if let Some(there) = bytes.get_mut(time..time + 4) {
                there.copy_from_slice(&timestamp.to_be_bytes());
            }
            if let (Some(ssrc), Some(there)) = (ssrc, bytes.get_mut(time + 4..time + 8)) {
                there.copy_from_slice(&ssrc.to_be_bytes());
            }
            at += FRAMING + usize::from(u16::from_be_bytes([high, low]));
        }
        out.interleaved = bytes.into();
        out.timestamp = timestamp;
        out
    }

    /// Adds `first` to all sequence numbers.
    pub(crate) fn renumber(&mut self, first: u16) {
        let mut out = Vec::from(std::mem::take(&mut self.interleaved));
        let mut at = 0;
        while let Some(&[_, _, high, low]) = out.get(at..at + FRAMING) {
            let number = at + FRAMING + 2;
            if let Some(bytes) = out.get_mut(number..number + 2) {
                let old = u16::from_be_bytes([bytes[0], bytes[1]]);
                bytes.copy_from_slice(&old.wrapping_add(first).to_be_bytes());
            }
            at += FRAMING + usize::from(u16::from_be_bytes([high, low]));
        }
        self.interleaved = out.into();
        self.first_sequence = self.first_sequence.wrapping_add(first);
    }
}
