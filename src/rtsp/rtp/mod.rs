//! RTP packetisation (RFC 3550; H.264 RFC 6184, H.265 RFC 7798, JPEG RFC 2435):
//! a whole access unit at once, made once for all TCP viewers of a camera.
//!
//! All viewers of a camera share SSRC, sequence numbers and time stamps, so the
//! same bytes serve them all ([`Packetiser::packetise`]). A viewer that joins is
//! first given the kept group, packetised for it alone with the sequence numbers
//! just before the shared ones and its time stamps compressed into the last
//! 200 ms ([`Packetiser::kept_burst`]): who owns the packetiser calls it when
//! somebody subscribes, and sends the shared packets from then on. Pictures left
//! out for a slow viewer show as a gap in the sequence numbers, which is the truth.

use crate::media::packets::Packetised;
use crate::media::unit::{AccessUnit, Codec, Configuration};

pub mod h264;
pub mod h265;
pub mod jpeg;
mod writer;

use writer::Writer;

/// Largest RTP packet in bytes, header and all: fits a path MTU of 1428 and more.
pub const PACKET_LIMIT: usize = 1400;

/// RTP clock ticks per second (RFC 3551: all video).
pub const CLOCK: u32 = 90_000;

/// Into how many ticks a kept group is compressed: 200 ms.
pub(super) const BURST_TICKS: i64 = 18_000;

/// Payload type of a codec: static for JPEG (RFC 3551), dynamic otherwise.
pub const fn payload_type(codec: Codec) -> u8 {
    match codec {
        Codec::H264 | Codec::H265 => 96,
        Codec::Jpeg => 26,
    }
}

/// Makes the packets of one camera. Owns the sequence numbers.
#[derive(Clone, Debug)]
pub struct Packetiser {
    ssrc: u32,
    next_sequence: u16,
    timestamp_offset: u32,
}

impl Packetiser {
    /// A packetiser with what RFC 3550 5.1 wants random: synchronisation source,
    /// first sequence number, offset of the time stamps.
    pub const fn new(ssrc: u32, first_sequence: u16, timestamp_offset: u32) -> Self {
        Self {
            ssrc,
            next_sequence: first_sequence,
            timestamp_offset,
        }
    }

    /// The same from ten random bytes.
    pub const fn from_random(bytes: [u8; 10]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j] = bytes;
        Self::new(
            u32::from_be_bytes([a, b, c, d]),
            u16::from_be_bytes([e, f]),
            u32::from_be_bytes([g, h, i, j]),
        )
    }

    /// The synchronisation source.
    pub const fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// The sequence number of the next packet.
    pub const fn next_sequence(&self) -> u16 {
        self.next_sequence
    }

    /// The RTP time stamp of a presentation time on the relay's time line.
    pub const fn timestamp(&self, pts: i64) -> u32 {
        // RTP time wraps: the low 32 bits are what is wanted.
        self.timestamp_offset.wrapping_add(pts as u32)
    }

    /// The packets of a unit; parameter sets go before each key frame.
    pub fn packetise(&mut self, unit: &AccessUnit, configuration: &Configuration) -> Packetised {
        let timestamp = self.timestamp(unit.pts);
        let made = self.write(unit, configuration, self.next_sequence, timestamp);
        self.next_sequence = self.next_sequence.wrapping_add(made.packets);
        made
    }

    /// The packets of a kept group for one joining viewer: sequence numbers end
    /// just before [`Packetiser::next_sequence`], time stamps end at the newest
    /// unit's own and are compressed into the 200 ms before it, in the order of
    /// presentation. `units` are in decode order, the key frame first; the next
    /// unit packetised must be the one that follows them.
    pub fn kept_burst<'a>(
        &self,
        units: impl IntoIterator<Item = &'a AccessUnit>,
        configuration: &Configuration,
    ) -> Vec<Packetised> {
        let units: Vec<&AccessUnit> = units.into_iter().collect();
        let newest = units.iter().map(|unit| unit.pts).max().unwrap_or(0);
        let oldest = units.iter().map(|unit| unit.pts).min().unwrap_or(0);
        let span = newest.saturating_sub(oldest);
        let mut sequence = 0_u16;
        let mut made: Vec<Packetised> = Vec::with_capacity(units.len());
        for unit in units {
            let mut age = newest.saturating_sub(unit.pts);
            if span > BURST_TICKS {
                age = i64::try_from(i128::from(age) * i128::from(BURST_TICKS) / i128::from(span))
                    .unwrap_or(BURST_TICKS);
            }
            let timestamp = self.timestamp(newest.wrapping_sub(age));
            let packetised = self.write(unit, configuration, sequence, timestamp);
            sequence = sequence.wrapping_add(packetised.packets);
            made.push(packetised);
        }
        let first = self.next_sequence.wrapping_sub(sequence);
        for packetised in &mut made {
            packetised.renumber(first);
        }
        made
    }

    fn write(
        &self,
        unit: &AccessUnit,
        configuration: &Configuration,
        sequence: u16,
        timestamp: u32,
    ) -> Packetised {
        let mut writer = Writer::new(writer::Start {
            payload_type: payload_type(configuration.codec),
            sequence,
            timestamp,
            ssrc: self.ssrc,
            bytes: unit.data.len(),
        });
        match configuration.codec {
            Codec::H264 => h264::packetise(&mut writer, unit, configuration),
            Codec::H265 => h265::packetise(&mut writer, unit, configuration),
            Codec::Jpeg => jpeg::packetise(&mut writer, unit),
        }
        writer.finish()
    }
}

#[cfg(test)]
mod tests;
