//! Pictures to packets, with all that a [`Script`] says of them. Pure: the
//! connection sends what comes out.

mod flaws;

use std::sync::Arc;

use self::flaws::flawed;
use super::pictures::{Clip, Picture};
use super::script::{Extension, InBand, Jpeg, Law, Marker, Numbers, Script, Tables, When};
use crate::media::unit::Codec;
use crate::media::{h264, h265};

/// SSRC of the pictures at first.
pub(super) const SOURCE: u32 = 0x0102_0304;

/// Pictures between two sender reports.
const REPORT_EVERY: u64 = 50;

/// What the connection is to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Out {
    /// An RTP packet; the length in front of it is wrong by this much.
    Rtp(Vec<u8>, i16),
    /// An RTCP packet.
    Rtcp(Vec<u8>),
    /// A packet on this channel.
    Channel(u8, Vec<u8>),
    /// Bytes between packets.
    Raw(Vec<u8>),
    /// A request, still a template.
    Request(&'static str),
    /// The end of the connection.
    HangUp,
}

/// A packet on its way.
#[derive(Clone, Debug, Default)]
struct Packet {
    payload: Vec<u8>,
    marker: bool,
    /// Ticks to add to the picture's time.
    time: i32,
    /// Last of its NAL unit.
    ends_unit: bool,
    /// Its number is used, but it is not sent.
    lost: bool,
    payload_type: Option<u8>,
    /// The packet behind it has its number too.
    is_uncounted: bool,
    extension: Option<(u16, Vec<u8>)>,
    stray: &'static [u8],
    length: i16,
}

/// The pictures of one session.
#[derive(Debug)]
pub(super) struct Stream {
    script: &'static Script,
    clip: Arc<Clip>,
    /// Number of the next picture behind PLAY.
    next: u64,
    /// Pictures that were due but not made.
    skipped: u64,
    number: u16,
    time: u32,
    step: u32,
    source: u32,
    sent: u32,
    bytes: u32,
    /// µs since the epoch at the first picture, for sender reports.
    begun: i64,
    rate: u32,
}

impl Stream {
    pub(super) fn new(script: &'static Script, clip: Arc<Clip>, rate: u32, begun: i64) -> Self {
        Self {
            next: 0,
            skipped: 0,
            number: script.first_number,
            time: script.time_start,
            step: script.time_step.unwrap_or_else(|| 90_000 / rate.max(1)),
            source: SOURCE,
            sent: 0,
            bytes: 0,
            begun,
            rate: rate.max(1),
            script,
            clip,
        }
    }

    /// The camera's clock goes on by so many pictures that it does not make.
    pub(super) fn skip(&mut self, pictures: u32) {
        self.skipped += u64::from(pictures);
        self.time = self.time.wrapping_add(self.step.wrapping_mul(pictures));
    }

    /// The next packet's number.
    pub(super) const fn number(&self) -> u16 {
        self.number
    }

    /// The next picture's time.
    pub(super) const fn time(&self) -> u32 {
        self.time
    }

    fn holds(&self, when: When, picture: &Picture) -> bool {
        match when {
            When::Each => true,
            When::Key => picture.key,
            When::Other => !picture.key,
            When::Every(count) => {
                // One off, so that key pictures are not hit again and again.
                let count = u64::from(count.max(1));
                self.next > 0 && !picture.key && self.next % count == count / 2
            }
            When::At(number) => self.next == u64::from(number),
        }
    }

    /// Everything of the next picture.
    pub(super) fn picture(&mut self) -> Vec<Out> {
        let clip = Arc::clone(&self.clip);
        let Some(picture) = clip.picture(self.next) else {
            return Vec::new();
        };
        let laws: Vec<Law> = self
            .script
            .laws
            .iter()
            .filter(|(when, _)| self.holds(*when, picture))
            .map(|(_, law)| *law)
            .collect();
        let mut out = Vec::new();
        self.between(&laws, &mut out);
        let mut packets = match clip.codec {
            Codec::Jpeg => self.jpeg(picture),
            Codec::H264 | Codec::H265 => self.units(picture, &laws),
        };
        self.bend(&laws, clip.codec, &mut packets);
        self.write(&laws, packets, &mut out);
        if self.script.sender_reports && self.next.is_multiple_of(REPORT_EVERY) {
            out.push(Out::Rtcp(self.report()));
        }
        self.next += 1;
        self.time = self.time.wrapping_add(self.step);
        out
    }

    /// What happens before the picture.
    fn between(&mut self, laws: &[Law], out: &mut Vec<Out>) {
        for law in laws {
            match law {
                Law::Number(more) => self.number = self.number.wrapping_add(*more),
                Law::NumberFrom(number) => self.number = *number,
                Law::Source(source) => self.source = *source,
                Law::Time(more) => self.time = self.time.wrapping_add_signed(*more),
                Law::Rtcp(packet) => out.push(Out::Rtcp(packet.to_vec())),
                Law::Channel(channel, packet) => out.push(Out::Channel(*channel, packet.to_vec())),
                Law::Packet(packet) => out.push(Out::Rtp(packet.to_vec(), 0)),
                Law::Request(text) => out.push(Out::Request(text)),
                Law::HangUp => out.push(Out::HangUp),
                Law::Between(payload, marker) => {
                    let packet = Packet {
                        payload: payload.to_vec(),
                        marker: *marker,
                        time: -(self.step as i32 / 2),
                        ..Packet::default()
                    };
                    self.write(&[], vec![packet], out);
                }
                _ => {}
            }
        }
    }

    /// The packets of H.264 and H.265.
    fn units(&self, picture: &Picture, laws: &[Law]) -> Vec<Packet> {
        let script = self.script;
        let (codec, sets) = (self.clip.codec, &picture.sets);
        let mut lead: Vec<Vec<u8>> = Vec::new();
        let mut before: Vec<Packet> = Vec::new();
        let mut behind: Vec<Packet> = Vec::new();
        let has_lengths = laws.iter().any(|law| matches!(law, Law::Lengths));
        let in_front = |unit: &[u8]| match has_lengths {
            true => [&(unit.len() as u32).to_be_bytes(), unit].concat(),
            false => [script.start_code, unit].concat(),
        };
        let plain = |unit: &[u8]| Packet {
            payload: in_front(unit),
            ends_unit: true,
            ..Packet::default()
        };
        match script.in_band {
            InBand::Never => {}
            InBand::Once if self.next > 0 => {}
            InBand::Packets | InBand::Once => before.extend(sets.iter().map(|set| plain(set))),
            InBand::Always => before.extend(self.clip.sets().iter().map(|set| plain(set))),
            InBand::Gathered | InBand::GatheredAndEnd if sets.is_empty() => {}
            InBand::Gathered => before.push(plain(&gathered(codec, sets, false))),
            InBand::GatheredAndEnd => before.push(plain(&gathered(codec, sets, true))),
            InBand::Run => lead.extend(sets.iter().map(|set| set.to_vec())),
            InBand::Marked => before.extend(sets.iter().map(|set| Packet {
                marker: true,
                ..plain(set)
            })),
            InBand::Early => before.extend(sets.iter().map(|set| Packet {
                time: -(self.step as i32),
                ..plain(set)
            })),
            InBand::Behind => behind.extend(sets.iter().map(|set| plain(set))),
        }
        let mut units = lead;
        units.splice(
            0..0,
            laws.iter().filter_map(|law| match law {
                Law::Lead(unit) => Some(unit.to_vec()),
                _ => None,
            }),
        );
        units.extend(picture.slices.iter().map(|slice| slice.to_vec()));
        units.extend(laws.iter().filter_map(|law| match law {
            Law::Trail(unit) => Some(unit.to_vec()),
            _ => None,
        }));
        if script.in_band == InBand::Run && !sets.is_empty() {
            // One NAL unit as the camera sees it: start codes inside.
            units = vec![units.join(&[0, 0, 0, 1][..])];
        }
        let mut packets = before;
        if script.gathers && units.iter().map(Vec::len).sum::<usize>() < script.packet {
            packets.push(plain(&gathered(codec, &units, false)));
        } else {
            for unit in units {
                packets.extend(fragments(codec, &in_front(&unit), script.packet));
            }
        }
        packets.extend(behind);
        packets
    }

    /// The packets of a JPEG (RFC 2435).
    fn jpeg(&self, picture: &Picture) -> Vec<Packet> {
        let form = &self.script.jpeg;
        let mut scan = picture.slices.concat();
        if form.end {
            scan.extend_from_slice(&[0xff, 0xd9]);
        }
        let (width, height) = if form.size_in_header {
            ((form.width / 8) as u8, (form.height / 8) as u8)
        } else {
            (0, 0)
        };
        let kind = if form.restarts { 65 } else { 1 };
        let interval = (form.width / 16).to_be_bytes();
        let mut packets = Vec::new();
        let mut at = 0;
        while at < scan.len() {
            let place = (at as u32).to_be_bytes();
            let mut payload = vec![
                0,
                place[1],
                place[2],
                place[3],
                kind,
                form.quality,
                width,
                height,
            ];
            if form.restarts {
                // First and last packet of an interval, count 3fff: cut anywhere.
                payload.extend_from_slice(&[interval[0], interval[1], 0xff, 0xff]);
            }
            if at == 0 && form.quality >= 128 {
                let count: u8 = match form.tables {
                    Tables::EveryTenth if !self.next.is_multiple_of(10) => 0,
                    Tables::EachPicture | Tables::EveryTenth => 2,
                    Tables::Never => 0,
                    Tables::One => 1,
                    Tables::Three => 3,
                };
                payload.extend_from_slice(&[0, 0, 0, count * 64]);
                payload.extend(tables().iter().cycle().take(usize::from(count) * 64));
            }
            let room = self.script.packet.saturating_sub(payload.len()).max(1);
            let end = (at + room).min(scan.len());
            payload.extend_from_slice(scan.get(at..end).unwrap_or_default());
            packets.push(Packet {
                payload,
                ends_unit: end == scan.len(),
                extension: (at == 0).then(|| extension(form)).flatten(),
                ..Packet::default()
            });
            at = end;
        }
        packets
    }

    /// What is wrong with the picture's packets.
    fn bend(&self, laws: &[Law], codec: Codec, packets: &mut Vec<Packet>) {
        let last = packets.len().saturating_sub(1);
        for (at, packet) in packets.iter_mut().enumerate() {
            packet.marker |= match self.script.marker {
                Marker::Right => at == last,
                Marker::Never => false,
                Marker::Always => true,
                Marker::EachUnit => packet.ends_unit,
                Marker::First => at == 0,
            };
        }
        for law in laws {
            match law {
                Law::Before(payload, marker) => packets.insert(0, extra(payload, *marker)),
                Law::After(payload, marker) => packets.push(extra(payload, *marker)),
                Law::Unmarked => {
                    if let Some(packet) = packets.last_mut() {
                        packet.marker = false;
                    }
                }
                Law::Fragments(flaw) => flawed(*flaw, codec, packets),
                Law::Lost => packets.iter_mut().for_each(|packet| packet.lost = true),
                Law::LeftOut => packets.clear(),
                Law::Stray(bytes) => {
                    if let Some(packet) = packets.last_mut() {
                        packet.stray = bytes;
                    }
                }
                Law::Length(off) => {
                    if let Some(packet) = packets.last_mut() {
                        packet.length = *off;
                    }
                }
                Law::OtherType(kind, payload) | Law::OtherTypeInside(kind, payload) => {
                    let is_inside = matches!(law, Law::OtherTypeInside(..));
                    let at = if is_inside { packets.len() / 2 } else { 0 };
                    let packet = Packet {
                        payload_type: Some(*kind),
                        ..extra(payload, false)
                    };
                    packets.insert(at, packet);
                }
                Law::OtherTypeUncounted(kind, payload) => {
                    let packet = Packet {
                        payload_type: Some(*kind),
                        is_uncounted: true,
                        time: -(self.step as i32),
                        ..extra(payload, true)
                    };
                    packets.insert(0, packet);
                }
                Law::Slope(ticks) => {
                    for (packet, at) in packets.iter_mut().zip(0..) {
                        packet.time += ticks * at;
                    }
                }
                Law::HeaderExtension(profile, words) => {
                    for packet in packets.iter_mut() {
                        packet.extension = Some((*profile, words.to_vec()));
                    }
                }
                _ => {}
            }
        }
    }

    /// Numbers the packets and writes them.
    fn write(&mut self, laws: &[Law], packets: Vec<Packet>, out: &mut Vec<Out>) {
        let has = |wish: fn(&Law) -> bool| laws.iter().any(wish);
        let padding = laws.iter().find_map(|law| match law {
            Law::Padding(count) => Some(*count),
            _ => None,
        });
        let sources = laws.iter().find_map(|law| match law {
            Law::Sources(count) => Some(*count & 15),
            _ => None,
        });
        let usual = if self.clip.codec == Codec::Jpeg {
            26
        } else {
            96
        };
        let usual = self.script.payload_type.unwrap_or(usual);
        let mut written: Vec<Vec<Out>> = Vec::new();
        for packet in packets {
            let count = self.number;
            self.number = count.wrapping_add(u16::from(!packet.is_uncounted));
            let (number, source) = match self.script.numbers {
                Numbers::Right => (count, self.source),
                Numbers::Twos => (count.wrapping_mul(2), self.source),
                // Odd, so that each comes once.
                Numbers::Random => (count.wrapping_mul(40_503), self.source),
                Numbers::Swapped => (count.swap_bytes(), self.source),
                Numbers::Sources => (count, self.source.wrapping_add(count.into())),
            };
            if packet.lost {
                continue;
            }
            let version = laws.iter().find_map(|law| match law {
                Law::Version(version) => Some(*version << 6),
                _ => None,
            });
            let is_long = has(|law| matches!(law, Law::LongExtension));
            let mut bytes = vec![
                version.unwrap_or(0x80)
                    | u8::from(is_long) << 4
                    | u8::from(padding.is_some()) << 5
                    | u8::from(packet.extension.is_some()) << 4
                    | sources.unwrap_or(0),
                u8::from(packet.marker) << 7 | packet.payload_type.unwrap_or(usual),
            ];
            bytes.extend_from_slice(&number.to_be_bytes());
            bytes.extend_from_slice(&self.time.wrapping_add_signed(packet.time).to_be_bytes());
            bytes.extend_from_slice(&source.to_be_bytes());
            for source in 0..sources.unwrap_or(0) {
                bytes.extend_from_slice(&[9, 9, 9, source]);
            }
            if is_long {
                bytes.extend_from_slice(&[0xbe, 0xde, 0xff, 0xff]);
            }
            if let Some((profile, words)) = &packet.extension {
                bytes.extend_from_slice(&profile.to_be_bytes());
                bytes.extend_from_slice(&((words.len() / 4) as u16).to_be_bytes());
                bytes.extend_from_slice(words);
            }
            bytes.extend_from_slice(&packet.payload);
            if let Some(count) = padding {
                bytes.extend(std::iter::repeat_n(0, usize::from(count.max(1)) - 1));
                bytes.push(count.max(1));
            }
            self.sent = self.sent.wrapping_add(1);
            self.bytes = self.bytes.wrapping_add(packet.payload.len() as u32);
            let mut parts = Vec::new();
            if !packet.stray.is_empty() {
                parts.push(Out::Raw(packet.stray.to_vec()));
            }
            parts.push(Out::Rtp(bytes, packet.length));
            if has(|law| matches!(law, Law::Twice)) {
                parts.extend(parts.last().cloned());
            }
            written.push(parts);
        }
        // Behind their numbers: these are orders of the network, not of the camera.
        if has(|law| matches!(law, Law::Backwards)) {
            written.reverse();
        }
        if has(|law| matches!(law, Law::SwappedInPairs)) {
            written.chunks_exact_mut(2).for_each(<[_]>::reverse);
        }
        if has(|law| matches!(law, Law::Swapped)) && written.len() > 1 {
            written.swap(0, 1);
        }
        out.extend(written.into_iter().flatten());
    }

    /// A sender report and its name (RFC 3550 6.4.1, 6.5).
    fn report(&self) -> Vec<u8> {
        let passed = (self.next + self.skipped) * 1_000_000 / u64::from(self.rate);
        let wall = self.begun + passed as i64;
        // NTP counts from 1900.
        let seconds = wall.div_euclid(1_000_000) + 2_208_988_800;
        let fraction = (wall.rem_euclid(1_000_000) << 32) / 1_000_000;
        let mut out = vec![0x80, 200, 0, 6];
        for word in [
            self.source,
            seconds as u32,
            fraction as u32,
            self.time,
            self.sent,
            self.bytes,
        ] {
            out.extend_from_slice(&word.to_be_bytes());
        }
        out.extend_from_slice(&[0x81, 202, 0, 3]);
        out.extend_from_slice(&self.source.to_be_bytes());
        out.extend_from_slice(&[1, 5, b'f', b'i', b'e', b'l', b'd', 0]);
        out
    }
}

/// A packet beside the picture's own.
fn extra(payload: &[u8], marker: bool) -> Packet {
    Packet {
        payload: payload.to_vec(),
        marker,
        ends_unit: true,
        ..Packet::default()
    }
}

/// STAP-A (RFC 6184 5.7.1) or AP (RFC 7798 4.4.2).
fn gathered<T: AsRef<[u8]>>(codec: Codec, units: &[T], end: bool) -> Vec<u8> {
    let mut out = match codec {
        Codec::H265 => vec![h265::kind::AP << 1, 1],
        Codec::H264 | Codec::Jpeg => vec![0x78],
    };
    for unit in units {
        let unit = unit.as_ref();
        out.extend_from_slice(&(unit.len() as u16).to_be_bytes());
        out.extend_from_slice(unit);
    }
    if end {
        out.extend_from_slice(&[0, 0]);
    }
    out
}

/// A NAL unit in one packet, or fragments (FU-A, RFC 6184 5.8; FU, RFC 7798 4.4.3).
fn fragments(codec: Codec, unit: &[u8], room: usize) -> Vec<Packet> {
    if unit.len() <= room {
        return vec![extra(unit, false)];
    }
    let (head, kind, body) = match codec {
        Codec::H265 => {
            let Some((head, body)) = unit.split_first_chunk::<2>() else {
                return Vec::new();
            };
            let fragment = head[0] & 0x81 | h265::kind::FU << 1;
            (vec![fragment, head[1]], h265::nal_type(unit), body)
        }
        Codec::H264 | Codec::Jpeg => {
            let Some((head, body)) = unit.split_first() else {
                return Vec::new();
            };
            (vec![head & 0xe0 | 28], h264::nal_type(unit), body)
        }
    };
    let room = room.saturating_sub(head.len() + 1).max(1);
    let last = body.len().div_ceil(room).saturating_sub(1);
    let piece = |(at, part): (usize, &[u8])| {
        let edges = u8::from(at == 0) << 7 | u8::from(at == last) << 6;
        extra(&[&head[..], &[edges | kind], part].concat(), false).ending(at == last)
    };
    body.chunks(room).enumerate().map(piece).collect()
}

impl Packet {
    fn ending(mut self, ends: bool) -> Self {
        self.ends_unit = ends;
        self
    }
}

/// The quantisation tables of our JPEG encoder.
fn tables() -> [u8; 128] {
    std::array::from_fn(|at| if at % 64 == 0 { 8 } else { 2 })
}

/// ONVIF's header extension of a picture's first packet: headers without SOI,
/// filled up with FF to whole words.
fn extension(form: &Jpeg) -> Option<(u16, Vec<u8>)> {
    let mut words = Vec::new();
    match form.extension {
        Extension::None => return None,
        Extension::FrameHeader => {}
        Extension::TablesAndFrameHeader => {
            words.extend_from_slice(&[0xff, 0xdb, 0, 132]);
            for (id, table) in tables().chunks(64).enumerate() {
                words.push(id as u8);
                words.extend_from_slice(table);
            }
        }
    }
    words.extend_from_slice(&[0xff, 0xc0, 0, 17, 8]);
    words.extend_from_slice(&form.height.to_be_bytes());
    words.extend_from_slice(&form.width.to_be_bytes());
    words.extend_from_slice(&[3, 1, 0x22, 0, 2, 0x11, 1, 3, 0x11, 1]);
    while !words.len().is_multiple_of(4) {
        words.push(0xff);
    }
    Some((0xffd8, words))
}

#[cfg(test)]
mod tests {
    use super::super::{all, clip};
    use super::*;

    fn packets(out: &[Out]) -> Vec<&[u8]> {
        let rtp = out.iter().filter_map(|out| match out {
            Out::Rtp(bytes, _) => Some(bytes.as_slice()),
            _ => None,
        });
        rtp.collect()
    }

    #[test]
    fn a_well_behaved_camera_numbers_and_marks_its_packets() {
        let fault = &super::super::PLAIN_CAMERA;
        for codec in [Codec::H264, Codec::H265, Codec::Jpeg] {
            let mut stream = Stream::new(&fault.script, clip(fault, codec), 10, 0);
            let mut number = 7_u16;
            for picture in 0..40_u32 {
                let out = stream.picture();
                let packets = packets(&out);
                for (at, packet) in packets.iter().enumerate() {
                    assert_eq!(packet[2..4], number.to_be_bytes());
                    assert_eq!(packet[4..8], (3_000_000 + picture * 9_000).to_be_bytes());
                    assert_eq!(packet[1] & 0x80 != 0, at + 1 == packets.len());
                    assert!(packet.len() <= 12 + 1_000);
                    number += 1;
                }
            }
        }
    }

    #[test]
    fn every_row_can_be_played_in_every_codec() {
        for fault in all() {
            for codec in [Codec::H264, Codec::H265, Codec::Jpeg] {
                let mut stream = Stream::new(&fault.script, clip(fault, codec), 10, 0);
                let sent: usize = (0..45).map(|_| packets(&stream.picture()).len()).sum();
                assert!(sent > 40, "{}", fault.name);
            }
        }
    }
}
