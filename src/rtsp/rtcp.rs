//! RTCP (RFC 3550): sender reports, and BYE at the end of a picture.

use std::time::Duration;

use rtcp_types::prelude::*;
use rtcp_types::{Bye, Compound, Sdes, SdesChunk, SdesItem, SenderReport};

use super::rtp::CLOCK;
use crate::clock::Wall;
use crate::media::packets::Packetised;
use crate::media::source::Sampled;
use crate::reason::Reason;

/// Longest pause between two sender reports, pictures or not (RFC 3550 6.2):
/// go2rtc takes 5 s of silence for the end, and GStreamer five intervals.
pub const REPORT_INTERVAL: Duration = Duration::from_secs(4);

/// Seconds from 1900 (NTP) to 1970.
const NTP_OFFSET: u64 = 2_208_988_800;

/// What was sent to one viewer, for its sender reports.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sent {
    packets: u32,
    bytes: u32,
}

impl Sent {
    /// Counts a unit.
    pub fn note(&mut self, packets: &Packetised) {
        self.packets = self.packets.wrapping_add(u32::from(packets.packets));
        self.bytes = self.bytes.wrapping_add(packets.payload_bytes() as u32);
    }

    /// A sender report with our name. `sampled` ties RTP time to the wall clock:
    /// the report carries on from there to `now` (RFC 3550 6.4.1).
    pub fn report(&self, sampled: Sampled, now: Wall) -> Option<Vec<u8>> {
        write(
            Compound::builder()
                .add_packet(self.sender(sampled, now))
                .add_packet(name(sampled.ssrc)),
        )
    }

    /// The last report, with BYE and why.
    pub fn bye(&self, reason: Reason, sampled: Sampled, now: Wall) -> Option<Vec<u8>> {
        let bye = Bye::builder()
            .add_source(sampled.ssrc)
            .reason(reason.code());
        write(
            Compound::builder()
                .add_packet(self.sender(sampled, now))
                .add_packet(name(sampled.ssrc))
                .add_packet(bye),
        )
    }

    fn sender(&self, sampled: Sampled, now: Wall) -> impl RtcpPacketWriter + use<> {
        let elapsed = i128::from(now.0) - i128::from(sampled.at.0);
        let ticks = elapsed * i128::from(CLOCK) / 1_000_000;
        // RTP time wraps: the low 32 bits are what is wanted.
        let timestamp = sampled.timestamp.wrapping_add(ticks as u32);
        SenderReport::builder(sampled.ssrc)
            .ntp_timestamp(ntp(now))
            .rtp_timestamp(timestamp)
            .packet_count(self.packets)
            .octet_count(self.bytes)
    }
}

fn name<'a>(ssrc: u32) -> rtcp_types::SdesBuilder<'a> {
    Sdes::builder()
        .add_chunk(SdesChunk::builder(ssrc).add_item(SdesItem::builder(SdesItem::CNAME, "fanal")))
}

fn write(compound: rtcp_types::CompoundBuilder<'_>) -> Option<Vec<u8>> {
    let mut out = vec![0; compound.calculate_size().ok()?];
    compound.write_into(&mut out).ok()?;
    Some(out)
}

/// NTP's 64 bits: seconds since 1900 and their fraction.
fn ntp(wall: Wall) -> u64 {
    let seconds = wall
        .0
        .div_euclid(1_000_000)
        .saturating_add_unsigned(NTP_OFFSET);
    let fraction = (wall.0.rem_euclid(1_000_000) as u64) << 32;
    ((seconds as u64) << 32) | (fraction / 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::unit::{AccessUnit, Codec, Configuration, UnitFlags};
    use crate::rtsp::rtp::Packetiser;
    use rtcp_types::Packet;

    fn packets(pts: i64) -> Packetised {
        let configuration = Configuration {
            codec: Codec::H264,
            record: bytes::Bytes::new(),
            width: 0,
            height: 0,
        };
        let unit = AccessUnit {
            flags: UnitFlags::default(),
            pts,
            captured: 0,
            data: bytes::Bytes::from_static(&[0, 0, 0, 3, 0x41, 1, 2]),
        };
        Packetiser::new(77, 5, 0).packetise(&unit, &configuration)
    }

    const SAMPLED: Sampled = Sampled {
        ssrc: 77,
        timestamp: 9_000,
        at: Wall(1_400_000),
    };

    #[test]
    fn reports_what_was_sent_and_what_time_it_is_at_the_camera() {
        let mut sent = Sent::default();
        sent.note(&packets(0));
        sent.note(&packets(9_000));
        let report = sent
            .bye(Reason::GrantExpired, SAMPLED, Wall(1_500_000))
            .unwrap();
        let mut parts = Compound::parse(&report).unwrap();
        let Some(Ok(Packet::Sr(sender))) = parts.next() else {
            panic!("no sender report");
        };
        assert_eq!(sender.ssrc(), 77);
        assert_eq!((sender.packet_count(), sender.octet_count()), (2, 6));
        assert_eq!(sender.rtp_timestamp(), 18_000);
        assert_eq!(sender.ntp_timestamp(), (NTP_OFFSET + 1) << 32 | 1 << 31);
        assert!(matches!(parts.next(), Some(Ok(Packet::Sdes(_)))));
        let Some(Ok(Packet::Bye(bye))) = parts.next() else {
            panic!("no BYE");
        };
        assert_eq!(bye.reason(), Some(&b"grant_expired"[..]));
    }

    #[test]
    fn nothing_need_have_been_sent_and_the_clock_may_have_gone_back() {
        let report = Sent::default().report(SAMPLED, Wall(1_300_000)).unwrap();
        let Some(Ok(Packet::Sr(sender))) = Compound::parse(&report).unwrap().next() else {
            panic!("no sender report");
        };
        assert_eq!((sender.packet_count(), sender.rtp_timestamp()), (0, 0));
    }
}
