//! RTCP (RFC 3550): sender reports, and BYE at the end of a picture.

use std::time::Duration;

use rtcp_types::prelude::*;
use rtcp_types::{Bye, Compound, Sdes, SdesChunk, SdesItem, SenderReport};

use tokio::time::Instant;

use super::rtp::{CLOCK, Packetised};
use crate::clock::Wall;
use crate::reason::Reason;

/// Pause between two sender reports (RFC 3550 6.2).
pub const REPORT_INTERVAL: Duration = Duration::from_secs(5);

/// Seconds from 1900 (NTP) to 1970.
const NTP_OFFSET: u64 = 2_208_988_800;

/// What was sent to one viewer, for its sender reports.
#[derive(Clone, Debug, Default)]
pub struct Sent {
    packets: u32,
    bytes: u32,
    newest: Option<Newest>,
}

#[derive(Clone, Copy, Debug)]
struct Newest {
    ssrc: u32,
    timestamp: u32,
    at: Instant,
}

impl Sent {
    /// Counts a unit. Units of the kept group have compressed time stamps, and
    /// say nothing about the clock.
    pub fn note(&mut self, packets: &Packetised, kept: bool, now: Instant) {
        self.packets = self.packets.wrapping_add(u32::from(packets.packets));
        self.bytes = self.bytes.wrapping_add(packets.payload_bytes() as u32);
        let ssrc = packets
            .interleaved
            .get(12..16)
            .and_then(|ssrc| ssrc.try_into().ok());
        if let (false, Some(ssrc)) = (kept, ssrc) {
            self.newest = Some(Newest {
                ssrc: u32::from_be_bytes(ssrc),
                timestamp: packets.timestamp,
                at: now,
            });
        }
    }

    /// A sender report with our name; `None` before the first live picture.
    pub fn report(&self, now: Instant, wall: Wall) -> Option<Vec<u8>> {
        let newest = self.newest?;
        write(
            Compound::builder()
                .add_packet(self.sender(newest, now, wall))
                .add_packet(name(newest.ssrc)),
        )
    }

    /// The last report, with BYE and why.
    pub fn bye(&self, reason: Reason, now: Instant, wall: Wall) -> Option<Vec<u8>> {
        let newest = self.newest?;
        let bye = Bye::builder().add_source(newest.ssrc).reason(reason.code());
        write(
            Compound::builder()
                .add_packet(self.sender(newest, now, wall))
                .add_packet(name(newest.ssrc))
                .add_packet(bye),
        )
    }

    fn sender(&self, newest: Newest, now: Instant, wall: Wall) -> impl RtcpPacketWriter + use<> {
        let elapsed = now.saturating_duration_since(newest.at);
        let ticks = elapsed.as_micros() * u128::from(CLOCK) / 1_000_000;
        SenderReport::builder(newest.ssrc)
            .ntp_timestamp(ntp(wall))
            .rtp_timestamp(newest.timestamp.wrapping_add(ticks as u32))
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

    #[test]
    fn reports_what_was_sent_and_when() {
        let start = Instant::now();
        let mut sent = Sent::default();
        sent.note(&packets(0), true, start);
        assert_eq!(
            sent.report(start, Wall(0)),
            None,
            "kept pictures tell no time"
        );
        sent.note(&packets(9_000), false, start);
        let now = start + Duration::from_millis(100);
        let report = sent
            .bye(Reason::GrantExpired, now, Wall(1_500_000))
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
}
