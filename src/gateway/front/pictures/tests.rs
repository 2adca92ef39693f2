mod faults;

use proptest::prelude::*;

use super::*;
use crate::media::drawn::{COLUMNS, Cell, ROWS, encoder};
use crate::media::nal::length_prefixed;
use crate::simulate::scene::{Grain, Scene};

/// Pictures from one key picture to the next, and in all.
const GROUP: usize = 5;
const COUNT: usize = 40;
/// Milliseconds from one picture to the next.
const PAUSE: u64 = 100;
const FRAGMENT: usize = 200;

type Units = Vec<Vec<u8>>;

/// The parts of one picture.
#[derive(Clone, Debug)]
struct Source {
    key: bool,
    slices: Units,
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len() / 2)
        .map(|at| u8::from_str_radix(&text[at * 2..at * 2 + 2], 16).unwrap())
        .collect()
}

fn h264_sets() -> Units {
    let avc = encoder::parameter_sets(ROWS);
    avc.sps
        .iter()
        .chain(&avc.pps)
        .map(|set| set.to_vec())
        .collect()
}

/// Real pictures of so many slices.
fn h264(slices: usize) -> Vec<Source> {
    let grain = Grain {
        cells: 40,
        changing: 0,
    };
    let mut scene = Scene::new(ROWS, grain);
    scene.advance(0, Wall(0));
    let cells: &[Cell] = scene.cells();
    let rows = |slice: usize| {
        let (first, end) = (ROWS * slice / slices, ROWS * (slice + 1) / slices);
        let cells = &cells[first * COLUMNS..end * COLUMNS];
        encoder::Rows { first, cells }
    };
    let picture = |number: usize| {
        let key = number.is_multiple_of(GROUP);
        let slice = |slice: usize| {
            if key {
                return encoder::key_slice(rows(slice), (number / GROUP) as u64);
            }
            let rows = rows(slice);
            let mut out = Vec::new();
            encoder::predicted_slice(rows, rows.cells).push(&mut out, (number % GROUP) as u8);
            out.split_off(4)
        };
        Source {
            key,
            slices: (0..slices).map(slice).collect(),
        }
    };
    (0..COUNT).map(picture).collect()
}

fn h265_sets() -> Units {
    vec![
        hex("40010c01ffff016000000300900000030000030078959809"),
        hex("420101016000000300900000030000030078a003c08010e596566924caf0168080000003008000000c84"),
        hex("4401c172b46240"),
    ]
}

/// Slices with real headers as far as they are read, and bytes that name them.
fn h265(slices: usize) -> Vec<Source> {
    let picture = |number: usize| {
        let key = number.is_multiple_of(GROUP);
        let slice = |slice: usize| {
            let first = if slice == 0 { 0x80 } else { 0 };
            // first_slice_segment_in_pic_flag, (no_output_of_prior_pics_flag,) PPS 0.
            let (kind, head) = if key {
                (19, first | 0x20)
            } else {
                (1, first | 0x40)
            };
            let mut unit = vec![kind << 1, 1, head];
            let length = if key { 900 } else { 150 };
            unit.extend((0..length).map(|at| (at as u8 ^ number as u8) | 4));
            unit
        };
        Source {
            key,
            slices: (0..slices).map(slice).collect(),
        }
    };
    (0..COUNT).map(picture).collect()
}

/// Makes packets.
struct Camera {
    codec: Codec,
    sequence: u16,
    time: u32,
    ssrc: u32,
    payload_type: u8,
    clock: u64,
    out: Vec<(Vec<u8>, u64)>,
}

impl Camera {
    fn new(codec: Codec) -> Self {
        Self {
            codec,
            sequence: 65_500,
            time: u32::MAX - 50_000,
            ssrc: 7,
            payload_type: 96,
            clock: 0,
            out: Vec::new(),
        }
    }

    fn send(&mut self, payload: &[u8], marker: bool) {
        let mut packet = vec![0x80, u8::from(marker) << 7 | self.payload_type];
        packet.extend_from_slice(&self.sequence.to_be_bytes());
        packet.extend_from_slice(&self.time.to_be_bytes());
        packet.extend_from_slice(&self.ssrc.to_be_bytes());
        packet.extend_from_slice(payload);
        self.sequence = self.sequence.wrapping_add(1);
        self.out.push((packet, self.clock));
    }

    fn header(&self) -> usize {
        if self.codec == Codec::H264 { 1 } else { 2 }
    }

    /// A unit in fragments with these bits at the start and the end.
    fn fragments(&mut self, unit: &[u8], marker: bool, start: bool, end: bool) {
        let (head, body) = unit.split_at(self.header());
        let last = body.len().div_ceil(FRAGMENT) - 1;
        for (number, part) in body.chunks(FRAGMENT).enumerate() {
            let mut bits = u8::from(start && number == 0) << 7;
            bits |= u8::from(end && number == last) << 6;
            let mut payload = match self.codec {
                Codec::H264 => vec![head[0] & 0xe0 | 28, bits | head[0] & 31],
                _ => vec![49 << 1, head[1], bits | head[0] >> 1],
            };
            payload.extend_from_slice(part);
            self.send(&payload, marker && number == last);
        }
    }

    fn unit(&mut self, unit: &[u8], marker: bool) {
        if unit.len() > FRAGMENT {
            self.fragments(unit, marker, true, true);
        } else {
            self.send(unit, marker);
        }
    }

    fn slices(&mut self, slices: &Units) {
        for (number, slice) in slices.iter().enumerate() {
            self.unit(slice, number + 1 == slices.len());
        }
    }

    fn sets(&mut self) {
        let sets = if self.codec == Codec::H264 {
            h264_sets()
        } else {
            h265_sets()
        };
        for set in sets {
            self.send(&set, false);
        }
    }

    fn advance(&mut self) {
        self.time = self.time.wrapping_add(PAUSE as u32 * 90);
        self.clock += PAUSE;
    }
}

fn track(codec: Codec) -> Track {
    Track {
        codec,
        payload_type: 96,
        clock_rate: 90_000,
        sets: Vec::new(),
        dimensions: None,
        order_numbers: false,
    }
}

struct Run {
    pictures: Vec<Picture>,
    /// When each was given out, in ms.
    given: Vec<u64>,
    fixes: Vec<Fix>,
    complaint: Option<Failure>,
}

/// Plays packets in virtual time, deadlines kept.
fn play(track: Track, unordered: bool, packets: &[(Vec<u8>, u64)]) -> Run {
    let start = Instant::now();
    let fixes = Fixes::default();
    let mut assembler =
        Assembler::new(track, unordered, 9, Habits::default(), fixes.clone(), start);
    let (mut pictures, mut given) = (Vec::new(), Vec::new());
    let mut drain = |assembler: &mut Assembler, now: Instant| {
        while let Some(picture) = assembler.pop(now) {
            pictures.push(picture);
            given.push((now - start).as_millis() as u64);
        }
    };
    let last = packets.last().map_or(0, |(_, at)| *at) + 2_000;
    let ends = [(Vec::new(), last)];
    for (packet, at) in packets.iter().chain(&ends) {
        let now = start + Duration::from_millis(*at);
        while let Some(due) = assembler.deadline().filter(|due| *due <= now) {
            drain(&mut assembler, due);
        }
        assembler.push(packet, now);
        drain(&mut assembler, now);
    }
    assert_eq!(assembler.deadline(), None, "nothing waits at the end");
    let complaint = assembler.complaint();
    Run {
        pictures,
        given,
        fixes: fixes.needed(),
        complaint,
    }
}

fn slices_of(codec: Codec, picture: &Picture) -> Units {
    let is_slice = |unit: &&[u8]| match codec {
        Codec::H264 => unit[0] & 31 <= 5,
        _ => unit[0] >> 1 & 63 <= 31,
    };
    length_prefixed(&picture.data)
        .filter(is_slice)
        .map(<[u8]>::to_vec)
        .collect()
}

/// All pictures came once, whole, one unit each, but for those at `missing`.
fn assert_all(name: &str, codec: Codec, sources: &[Source], run: &Run, missing: &[usize]) {
    let expected: Vec<_> = (0..sources.len())
        .filter(|number| !missing.contains(number))
        .collect();
    assert_eq!(run.pictures.len(), expected.len(), "{name}");
    for (picture, number) in run.pictures.iter().zip(expected) {
        let source = &sources[number];
        assert_eq!(
            slices_of(codec, picture),
            source.slices,
            "{name}: picture {number}"
        );
        assert_eq!(picture.key, source.key, "{name}: picture {number}");
        let after_loss = number > 0 && missing.contains(&(number - 1));
        assert!(
            picture.loss_before || !after_loss,
            "{name}: loss before {number}"
        );
        assert!(!picture.open_group, "{name}");
        let times = u32::MAX - 50_000;
        let time = times.wrapping_add(number as u32 * PAUSE as u32 * 90);
        assert_eq!(picture.time, time, "{name}: time of {number}");
        assert_eq!(
            picture.configuration.is_some(),
            number >= first_key(run),
            "{name}"
        );
    }
    assert!(run.complaint.is_none(), "{name}");
}

fn first_key(run: &Run) -> usize {
    run.pictures
        .iter()
        .position(|picture| picture.key)
        .unwrap_or(usize::MAX)
}

/// Sends one picture in the camera's own way.
type Way = fn(&mut Camera, usize, &Source);

/// Runs all pictures of `sources` sent in a way.
fn run(codec: Codec, sources: &[Source], way: Way) -> Run {
    let mut camera = Camera::new(codec);
    for (number, source) in sources.iter().enumerate() {
        way(&mut camera, number, source);
        camera.advance();
    }
    play(track(codec), false, &camera.out)
}

/// The ordinary way.
fn plain(camera: &mut Camera, _: usize, source: &Source) {
    if source.key {
        camera.sets();
    }
    camera.slices(&source.slices);
}

fn marker_on_each_slice(camera: &mut Camera, _: usize, source: &Source) {
    if source.key {
        camera.sets();
    }
    for slice in &source.slices {
        camera.unit(slice, true);
    }
}

fn no_marker(camera: &mut Camera, _: usize, source: &Source) {
    if source.key {
        camera.sets();
    }
    for slice in &source.slices {
        camera.unit(slice, false);
    }
}

/// Another time that no picture has.
fn with_own_time(camera: &mut Camera, send: impl FnOnce(&mut Camera)) {
    let time = camera.time;
    camera.time = time.wrapping_sub(4_000);
    send(camera);
    camera.time = time;
}

#[test]
fn pictures_of_h264_in_every_way() {
    let ways: &[(&str, Way)] = &[
        ("plain", plain),
        ("6: a marker on each slice", marker_on_each_slice),
        ("5: no marker", no_marker),
        (
            "7a: a delimiter with a marker before",
            |camera, number, source| {
                camera.send(&[9, 0xf0], true);
                plain(camera, number, source);
            },
        ),
        (
            "7c: filler with a marker behind",
            |camera, number, source| {
                plain(camera, number, source);
                camera.send(&[0x0c, 0xff, 0xff, 0x80], true);
            },
        ),
        (
            "21a: the marker on a message behind",
            |camera, number, source| {
                no_marker(camera, number, source);
                camera.send(&[6, 5, 4, 0xaa, 0xaa, 0xaa, 0xaa, 0x80], true);
            },
        ),
        (
            "sets with markers, each picture",
            |camera, number, source| {
                for set in h264_sets() {
                    camera.send(&set, true);
                }
                plain(camera, number, source);
            },
        ),
        (
            "2: a fragment with its own time between",
            |camera, number, source| {
                with_own_time(camera, |camera| {
                    let payload = [&[0x7c, 0x45][..], &[0x88; 100]].concat();
                    camera.send(&payload, true);
                });
                plain(camera, number, source);
            },
        ),
        (
            "32a: no end bit in the last fragment",
            |camera, _, source| {
                if source.key {
                    camera.sets();
                }
                let (last, others) = source.slices.split_last().unwrap();
                for slice in others {
                    camera.unit(slice, false);
                }
                camera.fragments(last, true, true, false);
            },
        ),
        ("32b: a start while one is open", |camera, _, source| {
            if source.key {
                camera.sets();
            }
            let first = &source.slices[0];
            let mut payload = vec![first[0] & 0xe0 | 28, 0x80 | first[0] & 31];
            payload.extend_from_slice(&first[1..first.len().min(100)]);
            camera.send(&payload, false);
            camera.fragments(first, source.slices.len() == 1, true, true);
            for (number, slice) in source.slices.iter().enumerate().skip(1) {
                camera.unit(slice, number + 1 == source.slices.len());
            }
        }),
        (
            "22a, b, d: types that are none",
            |camera, number, source| {
                let first = [0, 0x1e, 0xe5, 0x3f][number % 4];
                let payload = [&[first][..], &[0x55; 29]].concat();
                camera.send(&payload, false);
                plain(camera, number, source);
                camera.send(&payload, true);
            },
        ),
        (
            "23a: an aggregate with zeros behind",
            |camera, _, source| {
                let mut payload = vec![0x78];
                for set in h264_sets() {
                    payload.extend_from_slice(&(set.len() as u16).to_be_bytes());
                    payload.extend_from_slice(&set);
                }
                payload.extend_from_slice(&[0, 0]);
                camera.send(&payload, false);
                camera.slices(&source.slices);
            },
        ),
        ("23c: no payload", |camera, number, source| {
            camera.send(&[], false);
            plain(camera, number, source);
            camera.send(&[], true);
        }),
        (
            "24: start codes in single units and aggregates",
            |camera, _, source| {
                let mut bytes = Vec::new();
                if source.key {
                    for set in h264_sets() {
                        bytes.extend_from_slice(&[0, 0, 0, 1]);
                        bytes.extend_from_slice(&set);
                    }
                }
                for slice in &source.slices {
                    bytes.extend_from_slice(&[0, 0, 1]);
                    bytes.extend_from_slice(slice);
                    bytes.extend_from_slice(&[0, 0]);
                }
                camera.send(&bytes, true);
            },
        ),
        (
            "24c: one run of fragments with start codes",
            |camera, _, source| {
                let mut bytes = Vec::new();
                let sets = if source.key { h264_sets() } else { Vec::new() };
                for unit in sets.iter().chain(&source.slices) {
                    bytes.extend_from_slice(&[0, 0, 0, 1]);
                    bytes.extend_from_slice(unit);
                }
                camera.fragments(&bytes[4..], true, true, true);
            },
        ),
        (
            "24: fragments from the start code on",
            |camera, _, source| {
                let mut bytes = Vec::new();
                let sets = if source.key { h264_sets() } else { Vec::new() };
                for unit in sets.iter().chain(&source.slices) {
                    bytes.extend_from_slice(&[0, 0, 0, 1]);
                    bytes.extend_from_slice(unit);
                }
                camera.fragments(&bytes, true, true, true);
            },
        ),
        ("FU-B, STAP-B, MTAP16", |camera, _, source| {
            if source.key {
                for set in h264_sets() {
                    let length = (set.len() as u16).to_be_bytes();
                    let stap = [&[25, 0, 1], &length[..], &set].concat();
                    camera.send(&stap, false);
                    let mtap = [&[26, 0, 1], &length[..], &[0, 0, 0], &set].concat();
                    camera.send(&mtap, false);
                }
            }
            for (number, slice) in source.slices.iter().enumerate() {
                let head = slice[0];
                let (first, rest) = slice[1..].split_at(4);
                let start = [&[head & 0xe0 | 29, 0x80 | head & 31, 0, 7], first].concat();
                camera.send(&start, false);
                let end = [&[head & 0xe0 | 28, 0x40 | head & 31], rest].concat();
                camera.send(&end, number + 1 == source.slices.len());
            }
        }),
        ("a slice with another time", |camera, _, source| {
            if source.key {
                camera.sets();
            }
            let time = camera.time;
            for (number, slice) in source.slices.iter().enumerate() {
                camera.time = time + number as u32;
                camera.unit(slice, number + 1 == source.slices.len());
            }
            camera.time = time;
        }),
        ("duplicates", |camera, number, source| {
            let from = camera.out.len();
            plain(camera, number, source);
            let sent = camera.out.split_off(from);
            for packet in sent {
                camera.out.push(packet.clone());
                camera.out.push(packet);
            }
        }),
        (
            "30a: numbers and source begin again between pictures",
            |camera, number, source| {
                match number {
                    7 => camera.sequence = 0,
                    13 => camera.ssrc = 99,
                    19 => camera.sequence = camera.sequence.wrapping_add(1_000),
                    _ => {}
                }
                plain(camera, number, source);
            },
        ),
    ];
    for slices in [1, 4] {
        let sources = h264(slices);
        for (name, way) in ways {
            let run = run(Codec::H264, &sources, *way);
            assert_all(
                &format!("{name}, {slices} slices"),
                Codec::H264,
                &sources,
                &run,
                &[],
            );
            assert!(
                run.pictures.iter().all(|picture| !picture.loss_before),
                "{name}"
            );
        }
    }
    let run = run(Codec::H264, &h264(4), plain);
    assert_eq!(run.fixes, [], "nothing to fix");
}

#[test]
fn pictures_of_h265_in_every_way() {
    let ways: &[(&str, Way)] = &[
        ("plain", plain),
        ("6h: a marker on each slice", marker_on_each_slice),
        ("no marker", no_marker),
        (
            "36b: a message with a marker before",
            |camera, number, source| {
                camera.send(&[0x4e, 1, 5, 4, 1, 2, 3, 4, 0x80], true);
                plain(camera, number, source);
            },
        ),
        (
            "36d: a delimiter with a marker before",
            |camera, number, source| {
                camera.send(&[0x46, 1, 0x50], true);
                plain(camera, number, source);
            },
        ),
        (
            "24a: one run of fragments with start codes",
            |camera, _, source| {
                let mut bytes = Vec::new();
                let sets = if source.key { h265_sets() } else { Vec::new() };
                for unit in sets.iter().chain(&source.slices) {
                    bytes.extend_from_slice(&[0, 0, 0, 1]);
                    bytes.extend_from_slice(unit);
                }
                camera.fragments(&bytes[4..], true, true, true);
            },
        ),
        (
            "24: fragments from the start code on",
            |camera, _, source| {
                let mut bytes = Vec::new();
                let sets = if source.key { h265_sets() } else { Vec::new() };
                for unit in sets.iter().chain(&source.slices) {
                    bytes.extend_from_slice(&[0, 0, 0, 1]);
                    bytes.extend_from_slice(unit);
                }
                camera.fragments(&bytes, true, true, true);
            },
        ),
        ("an aggregate", |camera, _, source| {
            let mut payload = vec![48 << 1, 1];
            let sets = if source.key { h265_sets() } else { Vec::new() };
            for unit in sets.iter().chain(&source.slices) {
                payload.extend_from_slice(&(unit.len() as u16).to_be_bytes());
                payload.extend_from_slice(unit);
            }
            camera.send(&payload, true);
        }),
        ("types that are none", |camera, number, source| {
            camera.send(&[60 << 1, 1, 7, 7], false);
            camera.send(&[0x82, 1, 7, 7], false);
            camera.send(&[0x26], false);
            plain(camera, number, source);
        }),
    ];
    for slices in [1, 4] {
        let sources = h265(slices);
        for (name, way) in ways {
            let run = run(Codec::H265, &sources, *way);
            assert_all(
                &format!("{name}, {slices} slices"),
                Codec::H265,
                &sources,
                &run,
                &[],
            );
        }
    }
}

#[test]
fn order_numbers_of_h265_are_passed_over() {
    let sources = h265(1);
    let mut camera = Camera::new(Codec::H265);
    for source in &sources {
        if source.key {
            let sets = h265_sets();
            let mut aggregate = vec![48 << 1, 1, 0, 9];
            for (number, set) in sets.iter().enumerate() {
                if number > 0 {
                    aggregate.push(0);
                }
                aggregate.extend_from_slice(&(set.len() as u16).to_be_bytes());
                aggregate.extend_from_slice(set);
            }
            camera.send(&aggregate, false);
        }
        let slice = &source.slices[0];
        let (first, rest) = slice[2..].split_at(50);
        let kind = slice[0] >> 1;
        camera.send(&[&[49 << 1, 1, 0x80 | kind, 0, 5], first].concat(), false);
        camera.send(&[&[49 << 1, 1, 0x40 | kind], rest].concat(), true);
        camera.advance();
    }
    let mut track = track(Codec::H265);
    track.order_numbers = true;
    let run = play(track, false, &camera.out);
    assert_all("order numbers", Codec::H265, &sources, &run, &[]);
}

#[test]
fn a_picture_comes_with_its_last_packet_once_markers_are_proven() {
    for (slices, way, at_first) in [
        (1, plain as Way, 20),
        (4, plain, 20),
        (4, marker_on_each_slice, 100),
    ] {
        let run = run(Codec::H264, &h264(slices), way);
        for (number, at) in run.given.iter().enumerate() {
            let late = at - number as u64 * PAUSE;
            let limit = if number >= 14 { 0 } else { 100 };
            assert!(
                late <= limit,
                "picture {number} of {slices} slices: {late} ms late"
            );
        }
        assert!(run.given[0] <= at_first);
    }
}

#[test]
fn what_is_lost_costs_its_picture() {
    let sources = h264(4);
    for (name, lose) in [
        ("a middle fragment", 2_usize),
        ("the header of a middle fragment", 2),
        ("the first packet", 0),
        ("the last packet", usize::MAX),
    ] {
        let mut camera = Camera::new(Codec::H264);
        for (number, source) in sources.iter().enumerate() {
            let from = camera.out.len();
            if source.key {
                camera.sets();
            }
            let from = if source.key { from + 2 } else { from };
            camera.slices(&source.slices);
            if number == 12 || number == 20 {
                let at = (from + lose.min(1_000_000)).min(camera.out.len() - 1);
                if name.contains("header") {
                    // An extension that ends behind the packet.
                    let (packet, _) = &mut camera.out[at];
                    packet[0] |= 0x10;
                    packet[14..16].fill(0xff);
                } else {
                    camera.out.remove(at);
                }
            }
            camera.advance();
        }
        let run = play(track(Codec::H264), false, &camera.out);
        assert_all(name, Codec::H264, &sources, &run, &[12, 20]);
        let losses = run
            .pictures
            .iter()
            .filter(|picture| picture.loss_before)
            .count();
        assert_eq!(losses, 2, "{name}");
    }
}

#[test]
fn udp_is_as_good_as_tcp() {
    let sources = h264(4);
    let mut camera = Camera::new(Codec::H264);
    for (number, source) in sources.iter().enumerate() {
        plain(&mut camera, number, source);
        camera.advance();
    }
    let ordered = play(track(Codec::H264), true, &camera.out);
    assert_all("in order", Codec::H264, &sources, &ordered, &[]);
    let mut swapped = camera.out.clone();
    for at in (3..swapped.len() - 3).step_by(3) {
        if swapped[at].1 == swapped[at + 2].1 {
            let packet = swapped[at].0.clone();
            swapped[at].0 = std::mem::replace(&mut swapped[at + 2].0, packet);
        }
    }
    assert_ne!(swapped, camera.out);
    let run = play(track(Codec::H264), true, &swapped);
    assert_all("swapped", Codec::H264, &sources, &run, &[]);
    let lossy: Vec<_> = camera
        .out
        .iter()
        .filter(|(_, at)| *at != 700)
        .cloned()
        .collect();
    let run = play(track(Codec::H264), true, &lossy);
    assert_all("a whole picture lost", Codec::H264, &sources, &run, &[7]);
}

#[test]
fn another_payload_type_is_taken_where_the_announced_one_never_comes() {
    let sources = h264(4);
    for payload_type in [97, 35, 26] {
        let mut camera = Camera::new(Codec::H264);
        camera.payload_type = payload_type;
        for (number, source) in sources.iter().enumerate() {
            plain(&mut camera, number, source);
            camera.advance();
        }
        let run = play(track(Codec::H264), false, &camera.out);
        assert_all("another type", Codec::H264, &sources, &run, &[]);
        assert!(run.fixes.contains(&Fix::PayloadType));
    }
    // Audio beside the picture is passed over.
    let mut camera = Camera::new(Codec::H264);
    for (number, source) in sources.iter().enumerate() {
        for payload_type in [0, 97] {
            let sequence = std::mem::replace(&mut camera.sequence, 9);
            camera.payload_type = payload_type;
            camera.send(&[0x55; 160], true);
            (camera.sequence, camera.payload_type) = (sequence, 96);
        }
        plain(&mut camera, number, source);
        camera.advance();
    }
    let run = play(track(Codec::H264), false, &camera.out);
    assert_all("audio", Codec::H264, &sources, &run, &[]);
    assert!(!run.fixes.contains(&Fix::PayloadType));
}

#[test]
fn times_that_stand_still_part_nothing() {
    for way in [plain as Way, no_marker, marker_on_each_slice] {
        let sources = h264(4);
        let mut camera = Camera::new(Codec::H264);
        camera.time = 0;
        for (number, source) in sources.iter().enumerate() {
            camera.send(&[9, 0xf0], false);
            way(&mut camera, number, source);
            camera.clock += PAUSE;
        }
        let run = play(track(Codec::H264), false, &camera.out);
        assert_eq!(run.pictures.len(), COUNT);
        for (picture, source) in run.pictures.iter().zip(&sources) {
            assert_eq!(slices_of(Codec::H264, picture), source.slices);
            assert_eq!((picture.time, picture.key), (0, source.key));
        }
    }
}

#[test]
fn another_clock_rate_is_brought_to_90_khz() {
    let sources = h264(1);
    let mut camera = Camera::new(Codec::H264);
    camera.time = u32::MAX - 3_000;
    for (number, source) in sources.iter().enumerate() {
        plain(&mut camera, number, source);
        camera.advance();
        camera.time = camera.time.wrapping_sub(PAUSE as u32 * 82);
    }
    let mut track = track(Codec::H264);
    track.clock_rate = 8_000;
    let run = play(track, false, &camera.out);
    assert_eq!(run.pictures.len(), COUNT);
    for pair in run.pictures.windows(2) {
        let step = pair[1].time.wrapping_sub(pair[0].time);
        assert!(step.abs_diff(9_000) <= 1, "{step}");
    }
    assert!(run.fixes.contains(&Fix::ClockRate));
}

#[test]
fn recovery_points_are_key_pictures_where_nothing_refreshes() {
    // Intra slices of type 1 in place of refreshes: number, type 7, PPS 0, frame_num 0.
    let intra = |number: u8| {
        let mut unit = vec![0x61, 0b1000_1000, 0b1000_0000 | number & 1, 0x84];
        unit.resize(80, 0x77 | number);
        unit
    };
    let predicted = h264(1)[1].slices[0].clone();
    let message = |count: u8| vec![6, 6, 1, count, 0x80];
    for (name, head, first, key) in [
        (
            "intra at a recovery point",
            vec![message(0xc4)],
            intra(1),
            true,
        ),
        ("intra with its sets", vec![], intra(0), true),
        (
            "gradual refresh",
            vec![message(0b0100_0100)],
            predicted.clone(),
            true,
        ),
        ("predicted alone", vec![], predicted.clone(), false),
    ] {
        let mut camera = Camera::new(Codec::H264);
        for number in 0..20 {
            if number % 5 == 0 {
                camera.sets();
                for unit in &head {
                    camera.send(unit, false);
                }
                camera.send(&first, true);
            } else {
                camera.send(&predicted, true);
            }
            camera.advance();
        }
        let run = play(track(Codec::H264), false, &camera.out);
        let keys: Vec<bool> = run.pictures.iter().map(|picture| picture.key).collect();
        let expected: Vec<bool> = (0..20).map(|number| key && number % 5 == 0).collect();
        assert_eq!(keys, expected, "{name}");
        assert!(
            run.pictures.iter().all(|it| it.open_group == it.key),
            "{name}"
        );
        assert_eq!(run.fixes.contains(&Fix::NoKeyPictures), key, "{name}");
        assert!(
            run.pictures
                .iter()
                .all(|it| it.key == it.configuration.is_some() || key)
        );
    }
}

#[test]
fn sets_in_the_description_serve_and_all_are_listed() {
    let sources = h264(1);
    let mut camera = Camera::new(Codec::H264);
    for source in &sources {
        camera.slices(&source.slices);
        camera.advance();
    }
    // Picture parameter sets 0 and 1.
    let mut track = track(Codec::H264);
    track.sets = h264_sets().into_iter().map(Bytes::from).collect();
    track
        .sets
        .push(Bytes::from_static(&[0x68, 0x53, 0x8f, 0x20]));
    track.sets.push(Bytes::from_static(&[0x67, 9, 9]));
    let run = play(track, false, &camera.out);
    assert_all("described", Codec::H264, &sources, &run, &[]);
    let first = run.pictures[0].configuration.clone().unwrap();
    let avc = crate::media::config::Avc::parse(&first.record).unwrap();
    assert_eq!((avc.sps.len(), avc.pps.len()), (1, 2));
    let same = |picture: &Picture| Arc::ptr_eq(picture.configuration.as_ref().unwrap(), &first);
    assert!(run.pictures.iter().all(same));
}

#[test]
fn sets_that_change_inside_a_group_go_before_its_pictures() {
    let sources = h264(1);
    let mut camera = Camera::new(Codec::H264);
    let late = [0x68, 0x53, 0x8f, 0x20];
    for (number, source) in sources.iter().enumerate() {
        if number == 7 {
            camera.send(&late, false);
        }
        plain(&mut camera, number, source);
        camera.advance();
    }
    let run = play(track(Codec::H264), false, &camera.out);
    assert_all("late sets", Codec::H264, &sources, &run, &[]);
    for (number, picture) in run.pictures.iter().enumerate() {
        let has = length_prefixed(&picture.data).any(|unit| unit == late);
        assert_eq!(has, number == 7);
    }
    assert!(run.fixes.contains(&Fix::LateSets));
}

#[test]
fn emulation_prevention_is_put_in() {
    let sources = h264(1);
    let mut camera = Camera::new(Codec::H264);
    for (number, source) in sources.iter().enumerate() {
        camera.send(&hex("060508AA00000003AAAAAAAA80"), false);
        plain(&mut camera, number, source);
        camera.advance();
    }
    let run = play(track(Codec::H264), false, &camera.out);
    assert_all("32f", Codec::H264, &sources, &run, &[]);
    let message = length_prefixed(&run.pictures[3].data).next().unwrap();
    assert_eq!(message, hex("060508AA0000030003AAAAAAAA80"));
    assert!(run.fixes.contains(&Fix::EmulationPrevention));
}

/// Writes bits, most significant first.
fn bits(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .bytes()
        .filter(|byte| *byte != b' ')
        .map(|bit| bit - b'0')
        .collect();
    let byte = |bits: &[u8]| (0..8).fold(0, |sum, at| sum << 1 | bits.get(at).unwrap_or(&0));
    digits.chunks(8).map(byte).collect()
}

#[test]
fn both_fields_of_a_frame_are_one_picture() {
    // Main profile, frame_num and lsb of 4 bits, 2 macroblocks by 2 map units, fields.
    let sps = [
        &[0x67, 77, 0, 30][..],
        &bits("1 1 1 1 010 0 010 010 0 1 1 0 0 1"),
    ]
    .concat();
    // Set 0 on set 0, no order in frames.
    let pps = [&[0x68][..], &bits("1 1 0 0 1 1 1 0 00 1 1 1 0 0 0 1")].concat();
    let field = |header: u8, number: u8, bottom: bool| {
        // first_mb 0, I, set 0, frame_num, field, parity, (idr_pic_id 0,) lsb.
        let idr = if header == 0x65 { "1" } else { "" };
        let (bottom, lsb) = (u8::from(bottom), number * 2 + u8::from(bottom));
        let head = format!("1 0001000 1 {number:04b} 1 {bottom} {idr} {lsb:04b} 1011");
        let mut unit = vec![header];
        unit.extend(bits(&head));
        unit.resize(120, 0x5a);
        unit
    };
    for (name, markers) in [
        ("one marker", [false, true]),
        ("two", [true, true]),
        ("none", [false; 2]),
    ] {
        let mut camera = Camera::new(Codec::H264);
        let mut sources = Vec::new();
        for number in 0..COUNT {
            let in_group = (number % GROUP) as u8;
            let key = in_group == 0;
            // The second field of a key picture refers to the first.
            let slices = vec![
                field(if key { 0x65 } else { 0x41 }, in_group, false),
                field(0x41, in_group, true),
            ];
            if key {
                camera.send(&sps, false);
                camera.send(&pps, false);
            }
            camera.unit(&slices[0], markers[0]);
            camera.unit(&slices[1], markers[1]);
            camera.advance();
            sources.push(Source { key, slices });
        }
        let run = play(track(Codec::H264), false, &camera.out);
        assert_all(name, Codec::H264, &sources, &run, &[]);
    }
}

/// Holds what every consumer relies on.
fn assert_well_formed(codec: Codec, picture: &Picture) {
    assert!(picture.data.len() <= UNIT_LIMIT);
    if codec == Codec::Jpeg {
        assert!(picture.data.starts_with(&[0xff, 0xd8]) && picture.data.ends_with(&[0xff, 0xd9]));
        return;
    }
    let mut units = length_prefixed(&picture.data);
    for unit in &mut units {
        assert!(unit.last() != Some(&0) && unit[0] & 0x80 == 0, "{unit:x?}");
        assert!(
            !unit
                .windows(3)
                .any(|three| three[..2] == [0, 0] && three[2] < 3)
        );
        match codec {
            Codec::H264 => assert!(matches!(unit[0] & 31, 1..=8), "{unit:x?}"),
            _ => assert!(unit[0] >> 1 < 48 && unit.len() > 2, "{unit:x?}"),
        }
    }
    assert!(units.rest().is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn mutated_packets_never_panic_and_give_well_formed_pictures(
        codec in prop::sample::select(vec![Codec::H264, Codec::H265, Codec::Jpeg]),
        unordered: bool,
        order_numbers: bool,
        changes in prop::collection::vec((any::<u16>(), any::<u16>(), any::<u8>(), 0_u8..6), 0..200),
    ) {
        let sources = if codec == Codec::H264 { h264(2) } else { h265(2) };
        let mut camera = Camera::new(codec);
        for (number, source) in sources.iter().enumerate() {
            plain(&mut camera, number, source);
            camera.advance();
        }
        for (packet, at, byte, change) in changes {
            let count = camera.out.len();
            let packet = usize::from(packet) % count;
            let bytes = &mut camera.out[packet].0;
            let at = usize::from(at) % bytes.len().max(1);
            match change {
                0 => bytes.truncate(at),
                1 => bytes.insert(at.min(bytes.len()), byte),
                2 => bytes.extend_from_slice(&[0, 0, 0, 1, byte, byte]),
                3 => { camera.out.remove(packet); }
                4 => {
                    let other = camera.out[usize::from(byte) % count].0.clone();
                    camera.out[packet].0 = other;
                }
                _ => if let Some(there) = bytes.get_mut(at) { *there = byte },
            }
        }
        let mut track = track(codec);
        track.order_numbers = order_numbers;
        track.dimensions = Some((640, 360));
        let run = play(track, unordered, &camera.out);
        for picture in &run.pictures {
            assert_well_formed(codec, picture);
        }
    }

    #[test]
    fn any_bytes_never_panic(
        codec in prop::sample::select(vec![Codec::H264, Codec::H265, Codec::Jpeg]),
        packets in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..60),
    ) {
        let mut packets: Vec<_> = packets.into_iter().map(|packet| (packet, 0)).collect();
        for (number, (packet, at)) in packets.iter_mut().enumerate() {
            if packet.len() > 12 && number % 3 > 0 {
                packet[..12].copy_from_slice(&[0x80, 96, 0, number as u8, 0, 0, 0, 0, 0, 0, 0, 1]);
            }
            *at = number as u64;
        }
        let run = play(track(codec), false, &packets);
        for picture in &run.pictures {
            assert_well_formed(codec, picture);
        }
    }
}

#[test]
fn a_session_after_the_first_waits_for_no_proof_of_markers() {
    for (codec, sources) in [(Codec::H264, h264(1)), (Codec::H265, h265(1))] {
        let mut camera = Camera::new(codec);
        for source in &sources {
            plain(&mut camera, 0, source);
            camera.advance();
        }
        let start = Instant::now();
        let mut habits = Habits::default();
        for waits in [true, false] {
            let fixes = Fixes::default();
            let mut assembler = Assembler::new(track(codec), false, 9, habits, fixes, start);
            let mut first = None;
            for (packet, at) in &camera.out {
                let now = start + Duration::from_millis(*at);
                assembler.push(packet, now);
                if assembler.pop(now).is_some() {
                    first.get_or_insert(*at);
                }
            }
            assert_eq!(first == Some(0), !waits, "{codec:?} {first:?}");
            habits = assembler.habits();
        }
    }
}
