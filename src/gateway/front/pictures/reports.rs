//! RTCP (RFC 3550): what the camera's sender reports say, and receiver reports for it.

use std::time::{Duration, Instant};

use rtcp_types::prelude::*;
use rtcp_types::{Compound, ReceiverReport, ReportBlock, Sdes, SdesChunk, SdesItem, SenderReport};

use super::super::fix::{Fix, Fixes};
use super::order::Gap;
use super::rtp::Packet;
use crate::clock::Wall;

/// Seconds from 1900 (NTP) to 1970.
const NTP_OFFSET: i64 = 2_208_988_800;
/// Packet types (RFC 3550 12.1).
const SENDER_REPORT: u8 = 200;
const BYE: u8 = 203;
const KNOWN: std::ops::RangeInclusive<u8> = 192..=223;

#[derive(Debug)]
pub(super) struct Reports {
    ssrc: u32,
    clock_rate: u32,
    fixes: Fixes,
    source: Option<Source>,
    /// The middle of the NTP time of the newest sender report, and when it came.
    sender: Option<(u32, Instant)>,
    sender_source: Option<u32>,
    clock_offset: Option<i64>,
    said_bye: bool,
}

/// Packets that came of one source (RFC 3550 A.1, A.3, A.8).
#[derive(Debug)]
struct Source {
    ssrc: u32,
    /// Extended numbers: cycles above 16 bits.
    base: u32,
    highest: u32,
    received: u32,
    /// Expected and received as of the report before.
    reported: (u32, u32),
    /// Interarrival jitter in ticks, times 16.
    jitter: u32,
    /// RTP time and arrival of the packet before.
    before: (u32, Instant),
}

impl Reports {
    pub(super) fn new(ssrc: u32, clock_rate: u32, fixes: Fixes) -> Self {
        Self {
            ssrc,
            clock_rate,
            fixes,
            source: None,
            sender: None,
            sender_source: None,
            clock_offset: None,
            said_bye: false,
        }
    }

    /// Counts a packet in its order.
    pub(super) fn note(&mut self, packet: &Packet<'_>, gap: Gap, now: Instant) {
        if std::mem::take(&mut self.said_bye) {
            self.fixes.note(Fix::RtcpBye);
        }
        if self.sender_source.is_some_and(|ssrc| ssrc != packet.ssrc) {
            self.fixes.note(Fix::RtcpSource);
        }
        let known = self.source.as_mut();
        let Some(source) = known.filter(|it| gap != Gap::Restart && it.ssrc == packet.ssrc) else {
            self.source = Some(Source {
                ssrc: packet.ssrc,
                base: packet.sequence.into(),
                highest: packet.sequence.into(),
                received: 1,
                reported: (0, 0),
                jitter: 0,
                before: (packet.time, now),
            });
            return;
        };
        let step = packet.sequence.wrapping_sub(source.highest as u16);
        if step.cast_signed() > 0 {
            source.highest = source.highest.wrapping_add(step.into());
        }
        source.received = source.received.wrapping_add(1);
        let (time, at) = source.before;
        let waited = ticks(now.saturating_duration_since(at), self.clock_rate);
        let sent = packet.time.wrapping_sub(time);
        let difference = waited.wrapping_sub(sent).cast_signed().unsigned_abs();
        let fall = (source.jitter + 8) >> 4;
        source.jitter = (source.jitter - fall).saturating_add(difference.min(u32::MAX >> 5));
        source.before = (packet.time, now);
    }

    /// Reads a compound packet, each of its packets as far as they are well-formed.
    pub(super) fn read(&mut self, mut data: &[u8], now: Instant, wall: Wall) {
        while let Some(head) = data.first_chunk::<4>() {
            let length = (usize::from(u16::from_be_bytes([head[2], head[3]])) + 1) * 4;
            let Some((packet, rest)) = data.split_at_checked(length) else {
                break;
            };
            if head[0] >> 6 != 2 || !KNOWN.contains(&head[1]) {
                break;
            }
            data = rest;
            match head[1] {
                SENDER_REPORT => match SenderReport::parse(packet) {
                    Ok(report) => self.take(&report, now, wall),
                    Err(_) => break,
                },
                BYE => self.said_bye = true,
                _ => {}
            }
            if data.is_empty() {
                return;
            }
        }
        self.fixes.note(Fix::RtcpForm);
    }

    fn take(&mut self, report: &SenderReport<'_>, now: Instant, wall: Wall) {
        let ntp = report.ntp_timestamp();
        self.sender_source = Some(report.ssrc());
        self.sender = Some(((ntp >> 16) as u32, now));
        let seconds = (ntp >> 32) as i64 - NTP_OFFSET;
        let micros = (((ntp & 0xffff_ffff) * 1_000_000) >> 32) as i64;
        // 0: the camera knows no time of day (RFC 3550 6.4.1).
        self.clock_offset = (ntp != 0).then(|| seconds * 1_000_000 + micros - wall.0);
    }

    pub(super) const fn clock_offset(&self) -> Option<i64> {
        self.clock_offset
    }

    /// Receiver report and name.
    pub(super) fn write(&mut self, now: Instant) -> Vec<u8> {
        let mut report = ReceiverReport::builder(self.ssrc);
        let sender = self.sender;
        if let Some(source) = &mut self.source {
            report = report.add_report_block(source.block(sender, now));
        }
        let name = SdesItem::builder(SdesItem::CNAME, "fanal");
        let compound = Compound::builder()
            .add_packet(report)
            .add_packet(Sdes::builder().add_chunk(SdesChunk::builder(self.ssrc).add_item(name)));
        let mut out = vec![0; compound.calculate_size().unwrap_or(0)];
        // Writing to memory of the size it asked for does not fail.
        let _ = compound.write_into(&mut out);
        out
    }
}

impl Source {
    fn block(
        &mut self,
        sender: Option<(u32, Instant)>,
        now: Instant,
    ) -> rtcp_types::ReportBlockBuilder {
        let expected = self.highest.wrapping_sub(self.base).wrapping_add(1);
        let lost = expected.saturating_sub(self.received).min(0x7f_ffff);
        let (expected_before, received_before) =
            std::mem::replace(&mut self.reported, (expected, self.received));
        let expected = expected.saturating_sub(expected_before);
        let received = self.received.saturating_sub(received_before);
        let fraction = match expected.saturating_sub(received) {
            0 => 0,
            lost => (u64::from(lost) * 256 / u64::from(expected.max(1))).min(255),
        };
        let (last, delay) = sender.map_or((0, 0), |(last, at)| {
            (last, ticks(now.saturating_duration_since(at), 65_536))
        });
        ReportBlock::builder(self.ssrc)
            .fraction_lost(fraction as u8)
            .cumulative_lost(lost)
            .extended_sequence_number(self.highest)
            .interarrival_jitter(self.jitter >> 4)
            .last_sender_report_timestamp(last)
            .delay_since_last_sender_report_timestamp(delay)
    }
}

fn ticks(duration: Duration, rate: u32) -> u32 {
    (duration.as_micros() * u128::from(rate) / 1_000_000) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reports() -> (Reports, Fixes) {
        let fixes = Fixes::default();
        (Reports::new(77, 90_000, fixes.clone()), fixes)
    }

    fn packet(sequence: u16, time: u32) -> Packet<'static> {
        Packet {
            is_sound: true,
            version: 2,
            marker: true,
            payload_type: 96,
            sequence,
            time,
            ssrc: 5,
            extension: None,
            payload: &[1],
            bad_padding: false,
        }
    }

    fn sender_report(ssrc: u32, ntp: u64) -> Vec<u8> {
        let report = SenderReport::builder(ssrc).ntp_timestamp(ntp);
        let mut out = vec![0; report.calculate_size().unwrap()];
        report.write_into(&mut out).unwrap();
        out
    }

    #[test]
    fn reports_say_what_was_lost_and_when_the_sender_reported() {
        let (mut reports, _) = reports();
        let start = Instant::now();
        for number in 0..10_u16 {
            if number == 4 || number == 5 {
                continue;
            }
            let at = start + Duration::from_millis(u64::from(number) * 10);
            let sequence = number.wrapping_add(65_530);
            reports.note(&packet(sequence, u32::from(number) * 900), Gap::None, at);
        }
        reports.read(&sender_report(5, 0x0102_0304_0506_0708), start, Wall(0));
        let out = reports.write(start + Duration::from_secs(2));
        let compound = Compound::parse(&out).unwrap();
        let packets: Vec<_> = compound.map(Result::unwrap).collect();
        let rtcp_types::Packet::Rr(report) = &packets[0] else {
            panic!("{packets:?}");
        };
        let block = report.report_blocks().next().unwrap();
        assert_eq!((report.ssrc(), block.ssrc()), (77, 5));
        assert_eq!((block.cumulative_lost(), block.fraction_lost()), (2, 51));
        assert_eq!(block.extended_sequence_number(), 65_539);
        assert_eq!(block.interarrival_jitter(), 0);
        assert_eq!(block.last_sender_report_timestamp(), 0x0304_0506);
        assert_eq!(block.delay_since_last_sender_report_timestamp(), 2 * 65_536);
        assert!(matches!(packets[1], rtcp_types::Packet::Sdes(_)));
        // Nothing was lost since.
        reports.note(&packet(4, 9_000), Gap::None, start);
        let out = reports.write(start);
        assert_eq!(out[12], 0, "fraction lost");
    }

    #[test]
    fn a_report_before_any_packet_is_empty() {
        let (mut reports, _) = reports();
        let out = reports.write(Instant::now());
        assert_eq!(out[..8], [0x80, 201, 0, 1, 0, 0, 0, 77]);
        assert!(Compound::parse(&out).is_ok());
    }

    #[test]
    fn the_cameras_clock_is_told_and_broken_packets_are_passed_over() {
        // 2 s after 1970.
        let ntp = (NTP_OFFSET as u64 + 2) << 32 | 1 << 31;
        let good = sender_report(5, ntp);
        let tail = [good.clone(), vec![1, 2, 3]].concat();
        for (bytes, offset, fix) in [
            (good, Some(1_500_000), false),
            (tail, Some(1_500_000), true),
            (sender_report(5, 0), None, false),
            (vec![0; 28], None, true),
            (vec![0x80, 200, 0, 6, 1, 2, 3, 4, 5, 6, 7, 8], None, true),
            (vec![], None, true),
        ] {
            let (mut reports, fixes) = reports();
            reports.read(&bytes, Instant::now(), Wall(1_000_000));
            assert_eq!(reports.clock_offset(), offset, "{bytes:?}");
            assert_eq!(fixes.needed() == [Fix::RtcpForm], fix, "{bytes:?}");
        }
    }

    #[test]
    fn other_sources_and_goodbyes_end_nothing() {
        let (mut reports, fixes) = reports();
        reports.read(&sender_report(9, 1), Instant::now(), Wall(0));
        reports.read(&[0x81, BYE, 0, 1, 0, 0, 0, 9], Instant::now(), Wall(0));
        assert!(fixes.needed().is_empty());
        reports.note(&packet(1, 1), Gap::None, Instant::now());
        assert_eq!(fixes.needed(), [Fix::RtcpSource, Fix::RtcpBye]);
    }
}
