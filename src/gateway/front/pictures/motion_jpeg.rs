//! MJPEG pictures out of RTP (RFC 2435), and what cameras make of it: sizes in a header
//! extension (ONVIF streaming specification 5.1.3), whole files as payload.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::super::fix::{Fix, Fixes};
use super::Picture;
use super::order::Gap;
use super::rtp::Packet;
use crate::media::jfif::{self, Header, Tables};
use crate::media::jpeg::Sampling;
use crate::media::unit::{Codec, Configuration, UNIT_LIMIT};

/// ONVIF header extensions: JPEG segments, and replayed video, which may contain them.
const SEGMENTS: u16 = 0xffd8;
const REPLAY: u16 = 0xabac;
/// Bytes of the replay extension before another one.
const REPLAY_BYTES: usize = 12;
/// After so long without a packet a picture counts as whole.
const QUIET: Duration = Duration::from_millis(100);
/// The same as long as no picture has ended without a marker: the rest is only late.
const QUIET_FIRST: Duration = Duration::from_millis(500);
/// The same where a marker came but markers are not known to be truthful.
const MARKED: Duration = Duration::from_millis(20);
/// Pictures whose marker was right before markers are trusted.
const PROOF: u8 = 4;
/// Bytes by which the start of a picture is known again.
const ALIKE: usize = 32;
/// Pictures that wait to be taken.
const READY: usize = 8;
const END_OF_IMAGE: [u8; 2] = [0xff, 0xd9];

/// Why pictures cannot be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unshown {
    /// No packet names a size.
    Size,
    /// A type of RFC 2435 that says nothing of how chroma is sampled.
    Type(u8),
    TooLarge,
}

#[derive(Debug)]
pub(super) struct MotionJpeg {
    fixes: Fixes,
    dimensions: Option<(u16, u16)>,
    /// Tables that came in band, by Q - 128.
    tables: Vec<Option<Tables>>,
    picture: Option<Building>,
    /// Time of the picture given out last.
    given: Option<u32>,
    truthful: u8,
    lie: bool,
    /// A picture without a marker ended where the next one began.
    unmarked: bool,
    /// Fragments that are not the first name offset 0 too.
    at_zero: bool,
    lost: bool,
    /// Packets are missing before the one that comes now.
    hole: bool,
    configuration: Option<Arc<Configuration>>,
    ready: VecDeque<Picture>,
    /// Why the newest pictures were not given out, and how many.
    pub(super) unshown: Option<(Unshown, u8)>,
}

#[derive(Debug)]
struct Building {
    time: u32,
    arrived: Instant,
    /// Headers that were written, then the scan; or a whole file.
    data: Vec<u8>,
    /// Where fragment offset 0 is.
    start: usize,
    /// A whole file without RFC 2435's headers.
    is_file: bool,
    is_marked: bool,
    /// A fragment named an offset other than 0.
    has_offsets: bool,
    /// Of the first fragment: type, Q, width and height; and its tables' header and content.
    head: [u8; 4],
    tables: Vec<u8>,
    width: u16,
    height: u16,
    problem: Option<Problem>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Problem {
    /// Part of it is missing.
    Damaged,
    Unshown(Unshown),
}

/// The main header (RFC 2435 3.1) and what follows it.
#[derive(Clone, Copy, Debug)]
struct Part<'a> {
    offset: usize,
    kind: u8,
    q: u8,
    /// In units of 8 pixels.
    width: u8,
    height: u8,
    restart_interval: u16,
    /// Precision and content of the quantisation table header, in the first fragment.
    tables: Option<(u8, &'a [u8])>,
    data: &'a [u8],
}

impl<'a> Part<'a> {
    fn parse(payload: &'a [u8]) -> Option<Self> {
        let (head, mut rest) = payload.split_first_chunk::<8>()?;
        let offset = u32::from_be_bytes([0, head[1], head[2], head[3]]) as usize;
        let (kind, q) = (head[4], head[5]);
        let mut restart_interval = 0;
        if (64..128).contains(&kind) {
            let (restart, after) = rest.split_first_chunk::<4>()?;
            restart_interval = u16::from_be_bytes([restart[0], restart[1]]);
            rest = after;
        }
        let mut tables = None;
        if offset == 0 && q >= 128 {
            let (table, after) = rest.split_first_chunk::<4>()?;
            let length = usize::from(u16::from_be_bytes([table[2], table[3]]));
            let (content, after) = after.split_at_checked(length)?;
            tables = Some((table[1], content));
            rest = after;
        }
        Some(Self {
            offset,
            kind,
            q,
            width: head[6],
            height: head[7],
            restart_interval,
            tables,
            data: rest,
        })
    }
}

impl MotionJpeg {
    pub(super) fn new(dimensions: Option<(u16, u16)>, fixes: Fixes) -> Self {
        Self {
            fixes,
            dimensions: dimensions.filter(|(width, height)| *width > 0 && *height > 0),
            tables: vec![None; 128],
            picture: None,
            given: None,
            truthful: 0,
            lie: false,
            unmarked: false,
            at_zero: false,
            lost: false,
            hole: false,
            configuration: None,
            ready: VecDeque::new(),
            unshown: None,
        }
    }

    /// Packets are missing before the one that comes now, or the numbers begin again.
    pub(super) fn gap(&mut self, gap: Gap) {
        if gap == Gap::Lost {
            self.lost = true;
            self.hole = true;
        }
        if self
            .picture
            .as_ref()
            .is_some_and(|picture| picture.is_marked)
        {
            self.finish();
        } else if let (Some(picture), Gap::Lost) = (&mut self.picture, gap)
            && picture.is_file
        {
            picture.problem.get_or_insert(Problem::Damaged);
        }
    }

    pub(super) fn take(&mut self, packet: &Packet<'_>, now: Instant) {
        let payload = packet.payload;
        // Behind a hole the same offset may be another picture's.
        let goes_on = !std::mem::take(&mut self.hole) && self.goes_on(payload);
        if let Some(picture) = &mut self.picture
            && picture.time != packet.time
        {
            if goes_on {
                self.fixes.note(Fix::PacketTimes);
                picture.time = packet.time;
            } else {
                self.unmarked |= !picture.is_marked;
                self.finish();
            }
        }
        let in_file = self.picture.as_ref().is_some_and(|it| it.is_file);
        if payload.is_empty() {
            self.fixes.note(Fix::EmptyPayload);
        } else if payload.starts_with(&[0xff, 0xd8, 0xff]) {
            self.fixes.note(Fix::JpegHeaders);
            self.finish();
            self.begin_file(packet.time, now);
            self.append(payload, now);
        } else if in_file {
            self.append(payload, now);
        } else if let Some(scan) = self.rest_at_zero(payload) {
            self.fixes.note(Fix::JpegOffsets);
            self.at_zero = true;
            self.append(scan, now);
        } else if let Some(part) = Part::parse(payload) {
            self.take_part(&part, packet, now);
        } else {
            self.fixes.note(Fix::UnknownPayload);
        }
        let Some(picture) = &mut self.picture else {
            return;
        };
        if packet.marker && picture.time == packet.time {
            picture.is_marked = true;
            let is_ended = picture.data.ends_with(&END_OF_IMAGE);
            if is_ended || self.truthful >= PROOF && !self.lie {
                self.finish();
            }
        }
    }

    /// The newest packet may be cut short: what it was part of is not shown. `true`:
    /// that is another picture than before.
    pub(super) fn doubt_newest(&mut self) -> bool {
        if let Some(picture) = &mut self.picture {
            let is_new = picture.problem.is_none();
            picture.problem.get_or_insert(Problem::Damaged);
            return is_new;
        }
        let is_dropped = self.ready.pop_back().is_some();
        self.lost |= is_dropped;
        is_dropped
    }

    fn begin_file(&mut self, time: u32, now: Instant) {
        self.picture = Some(Building {
            time,
            arrived: now,
            data: Vec::new(),
            start: 0,
            is_file: true,
            is_marked: false,
            has_offsets: false,
            head: [0; 4],
            tables: Vec::new(),
            width: 0,
            height: 0,
            problem: None,
        });
    }

    /// Whether a fragment begins exactly where the picture has come to, which has no end yet.
    fn goes_on(&self, payload: &[u8]) -> bool {
        self.picture.as_ref().is_some_and(|picture| {
            let there = picture.data.len() - picture.start;
            let is_open = !picture.is_file && !picture.is_marked && picture.problem.is_none();
            is_open && there > 0 && Part::parse(payload).is_some_and(|part| part.offset == there)
        })
    }

    /// The data of a fragment with offset 0 that goes on with the picture: that is not
    /// marked, no fragment of it named another offset, and this is not its start again.
    fn rest_at_zero<'a>(&self, payload: &'a [u8]) -> Option<&'a [u8]> {
        let picture = self.picture.as_ref()?;
        let (head, mut rest) = payload.split_first_chunk::<8>()?;
        if picture.is_marked
            || picture.has_offsets
            || head[1..4] != [0; 3]
            || head[4..] != picture.head
        {
            return None;
        }
        if (64..128).contains(&head[4]) {
            rest = rest.get(4..)?;
        }
        let has_tables = !picture.tables.is_empty();
        let again = rest.strip_prefix(picture.tables.as_slice());
        rest = again.filter(|_| has_tables).unwrap_or(rest);
        let before = picture.data.get(picture.start..).unwrap_or_default();
        let alike = before.len().min(rest.len()).min(ALIKE);
        let is_start = before.get(..alike) == rest.get(..alike);
        (self.at_zero || !is_start).then_some(rest)
    }

    fn take_part(&mut self, part: &Part<'_>, packet: &Packet<'_>, now: Instant) {
        if part.offset == 0 {
            self.finish();
            self.begin(part, packet, now);
        } else {
            self.at_zero = false;
            if let Some(picture) = &mut self.picture {
                picture.has_offsets = true;
            }
        }
        let Some(picture) = &mut self.picture else {
            // Its start was lost, or a marker ended its picture too early.
            if self.given == Some(packet.time) {
                self.lie = true;
                self.fixes.note(Fix::Markers);
            }
            self.lost = true;
            return;
        };
        if std::mem::take(&mut picture.is_marked) {
            self.lie = true;
            self.fixes.note(Fix::Markers);
        }
        let there = picture.data.len() - picture.start;
        if part.offset == there {
            self.append(part.data, now);
        } else if part.offset > there {
            self.fixes.note(Fix::JpegFragments);
            picture.problem.get_or_insert(Problem::Damaged);
        } else if part.offset + part.data.len() > there {
            let new = part.data.get(there - part.offset..).unwrap_or_default();
            self.append(new, now);
        }
    }

    /// The first fragment: writes the headers that RTP leaves out.
    fn begin(&mut self, part: &Part<'_>, packet: &Packet<'_>, now: Instant) {
        self.begin_file(packet.time, now);
        if let (Some(picture), Some(head)) = (&mut self.picture, packet.payload.get(4..8)) {
            picture.head.copy_from_slice(head);
            let before = packet.payload.len().saturating_sub(part.data.len());
            let main = if (64..128).contains(&part.kind) {
                12
            } else {
                8
            };
            let tables = packet.payload.get(main..before).unwrap_or_default();
            picture.tables.extend_from_slice(tables);
        }
        if part.data.starts_with(&[0xff, 0xd8]) {
            self.fixes.note(Fix::JpegHeaders);
            if let Some(picture) = &mut self.picture {
                picture.is_file = false;
            }
            return;
        }
        let cached = part.q.checked_sub(128).map(usize::from);
        if let (Some((precision, content)), Some(place)) = (part.tables, cached)
            && !content.is_empty()
            && let Some(place) = self.tables.get_mut(place)
        {
            *place = Tables::parse(content, precision);
        }
        let tables = match cached {
            None => Some(Tables::of_quality(part.q)),
            Some(place) => self.tables.get(place).cloned().flatten(),
        };
        let extension = segments_of(packet.extension).unwrap_or_default();
        let size = self.size(part, extension);
        let Some(picture) = &mut self.picture else {
            return;
        };
        picture.is_file = false;
        let sampling = match part.kind & 0x3f {
            _ if part.kind >= 128 => None,
            0 => Some(Sampling::Yuv422),
            1 => Some(Sampling::Yuv420),
            _ => None,
        };
        let (Some((width, height)), Some(sampling)) = (size, sampling) else {
            let why = match sampling {
                None => Unshown::Type(part.kind),
                Some(_) => Unshown::Size,
            };
            picture.problem = Some(Problem::Unshown(why));
            return;
        };
        (picture.width, picture.height) = (width, height);
        let Some(tables) = tables else {
            // Named tables that never came.
            picture.problem = Some(Problem::Damaged);
            return;
        };
        picture.data.reserve(64 * 1024);
        if !write_extension(extension, &mut picture.data) {
            let header = Header {
                width,
                height,
                sampling,
                restart_interval: part.restart_interval,
                tables: &tables,
            };
            header.write(&mut picture.data);
        }
        picture.start = picture.data.len();
    }

    /// Width and height: of the extension's frame header; the packet's, made exact by the
    /// description where both agree; the description's.
    fn size(&self, part: &Part<'_>, extension: &[u8]) -> Option<(u16, u16)> {
        if let Some(frame) = jfif::segments(extension).find_map(|(_, segment)| jfif::frame(segment))
        {
            if part.width == 0 || part.height == 0 {
                self.fixes.note(Fix::JpegSize);
            }
            return Some((frame.width, frame.height));
        }
        let named = (u16::from(part.width) * 8, u16::from(part.height) * 8);
        // The description's size where the packet's is that size, cut to 8 bits and rounded.
        let agrees = |pixels: u16, eighths: u8| (pixels.div_ceil(8) & 0xff) as u8 == eighths;
        match self.dimensions {
            Some(size) if agrees(size.0, part.width) && agrees(size.1, part.height) => Some(size),
            Some(size) if named.0 == 0 || named.1 == 0 => {
                self.fixes.note(Fix::JpegSize);
                Some(size)
            }
            _ => {
                let is_named = named.0 > 0 && named.1 > 0;
                if !is_named {
                    self.fixes.note(Fix::JpegSize);
                }
                is_named.then_some(named)
            }
        }
    }

    fn append(&mut self, bytes: &[u8], now: Instant) {
        let Some(picture) = &mut self.picture else {
            return;
        };
        picture.arrived = now;
        if picture.data.len() + bytes.len() > UNIT_LIMIT - END_OF_IMAGE.len() {
            picture.problem = Some(Problem::Unshown(Unshown::TooLarge));
            picture.data = Vec::new();
            picture.start = 0;
        } else {
            picture.data.extend_from_slice(bytes);
        }
    }

    /// When the picture counts as whole if nothing comes.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let picture = self.picture.as_ref()?;
        if picture.is_marked && !self.lie {
            return Some(picture.arrived + MARKED);
        }
        // Where markers come, the rest of the picture is only late.
        let is_known = self.unmarked || self.lie;
        let wait = if is_known { QUIET } else { QUIET_FIRST };
        (self.truthful == 0 || self.lie).then(|| picture.arrived + wait)
    }

    /// Ends the picture if nothing has come for long enough.
    pub(super) fn expire(&mut self, now: Instant) {
        if self.deadline().is_some_and(|at| at <= now) {
            self.finish();
        }
    }

    pub(super) fn pop(&mut self) -> Option<Picture> {
        self.ready.pop_front()
    }

    fn finish(&mut self) {
        let Some(mut picture) = self.picture.take() else {
            return;
        };
        if picture.is_marked {
            self.truthful = self.truthful.saturating_add(1);
        }
        let is_ended = picture.is_marked || picture.data.ends_with(&END_OF_IMAGE);
        if !is_ended && self.truthful > 0 && !self.lie {
            // Its last fragment is missing.
            picture.problem.get_or_insert(Problem::Damaged);
        }
        let is_empty = picture.data.len() == picture.start;
        if picture.problem.is_none() && (picture.width == 0 || picture.height == 0) {
            // A whole file: its own headers tell.
            match jfif::segments(&picture.data).find_map(|(_, segment)| jfif::frame(segment)) {
                Some(frame) => (picture.width, picture.height) = (frame.width, frame.height),
                None => picture.problem = Some(Problem::Damaged),
            }
        }
        match picture.problem {
            None if !is_empty => {}
            Some(Problem::Unshown(why)) => {
                let count = self.unshown.map_or(0, |(_, count)| count);
                self.unshown = Some((why, count.saturating_add(1)));
                self.lost = true;
                return;
            }
            _ => {
                self.lost = true;
                return;
            }
        }
        self.unshown = None;
        jfif::end(&mut picture.data);
        if picture.data.capacity() > picture.data.len() * 2 {
            picture.data.shrink_to_fit();
        }
        let configuration = self.configuration(picture.width, picture.height);
        if self.ready.len() >= READY {
            self.ready.pop_front();
            self.lost = true;
        }
        self.given = Some(picture.time);
        self.ready.push_back(Picture {
            time: picture.time,
            arrived: picture.arrived,
            key: true,
            open_group: false,
            disposable: false,
            loss_before: std::mem::take(&mut self.lost),
            data: picture.data,
            configuration: Some(configuration),
        });
    }

    fn configuration(&mut self, width: u16, height: u16) -> Arc<Configuration> {
        match &self.configuration {
            Some(known) if (known.width, known.height) == (width, height) => Arc::clone(known),
            _ => {
                let fresh = Arc::new(Configuration {
                    codec: Codec::Jpeg,
                    record: Bytes::new(),
                    width,
                    height,
                });
                Arc::clone(self.configuration.insert(fresh))
            }
        }
    }
}

/// The JPEG segments of a header extension, alone or inside that of replayed video.
fn segments_of(extension: Option<(u16, &[u8])>) -> Option<&[u8]> {
    match extension? {
        (SEGMENTS, content) => Some(content),
        (REPLAY, content) => {
            let (head, rest) = content.get(REPLAY_BYTES..)?.split_first_chunk::<4>()?;
            let length = usize::from(u16::from_be_bytes([head[2], head[3]])) * 4;
            (u16::from_be_bytes([head[0], head[1]]) == SEGMENTS)
                .then(|| rest.get(..length).unwrap_or(rest))
        }
        _ => None,
    }
}

/// Writes a JPEG's start from the extension's own segments, as far as they hold a frame
/// header and tables. `false`: they do not, and nothing was written.
fn write_extension(extension: &[u8], out: &mut Vec<u8>) -> bool {
    let has = |wanted: u8| jfif::segments(extension).any(|(marker, _)| marker == wanted);
    let Some(frame) = jfif::segments(extension).find_map(|(_, segment)| jfif::frame(segment))
    else {
        return false;
    };
    if !has(0xdb) {
        return false;
    }
    out.extend_from_slice(&[0xff, 0xd8]);
    for (marker, segment) in jfif::segments(extension) {
        if marker != 0xda {
            out.extend_from_slice(segment);
        }
    }
    if !has(0xc4) {
        jfif::huffman_tables(out);
    }
    jfif::scan_header(out, &frame.components);
    true
}

#[cfg(test)]
mod tests;
