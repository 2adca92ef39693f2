use super::*;
use crate::media::jpeg::Jpeg;

/// A camera that sends pictures of `bytes` in fragments of 1000.
struct Sender {
    kind: u8,
    q: u8,
    size: [u8; 2],
    extension: Vec<u8>,
    /// Bytes that follow the main header of the first fragment.
    tables: Vec<u8>,
    out: Vec<Vec<u8>>,
    time: u32,
}

impl Sender {
    fn new() -> Self {
        Self {
            kind: 1,
            q: 50,
            size: [80, 45],
            extension: Vec::new(),
            tables: Vec::new(),
            out: Vec::new(),
            time: 0,
        }
    }

    /// One packet of a picture; the marker where it is the last.
    fn packet(&mut self, offset: usize, body: &[u8], marker: bool) {
        let number = self.out.len() as u16;
        let has_extension = offset == 0 && !self.extension.is_empty();
        let mut packet = vec![
            0x80 | u8::from(has_extension) << 4,
            u8::from(marker) << 7 | 26,
        ];
        packet.extend_from_slice(&number.to_be_bytes());
        packet.extend_from_slice(&self.time.to_be_bytes());
        packet.extend_from_slice(&[0, 0, 0, 1]);
        if has_extension {
            packet.extend_from_slice(&self.extension);
        }
        let place = (offset as u32).to_be_bytes();
        packet.extend_from_slice(&[0, place[1], place[2], place[3], self.kind, self.q]);
        packet.extend_from_slice(&self.size);
        if (64..128).contains(&self.kind) {
            packet.extend_from_slice(&[0, 32, 0xff, 0xff]);
        }
        if offset == 0 {
            packet.extend_from_slice(&self.tables);
        }
        packet.extend_from_slice(body);
        self.out.push(packet);
    }

    fn picture(&mut self, scan: &[u8], leave_out: Option<usize>) {
        let last = scan.len().div_ceil(1_000) - 1;
        for (number, part) in scan.chunks(1_000).enumerate() {
            if leave_out != Some(number) {
                self.packet(number * 1_000, part, number == last);
            }
        }
        self.time += 9_000;
    }
}

fn play(dimensions: Option<(u16, u16)>, packets: &[Vec<u8>]) -> (Vec<Picture>, MotionJpeg) {
    let now = Instant::now();
    let mut jpeg = MotionJpeg::new(dimensions, Fixes::default());
    let mut pictures = Vec::new();
    for packet in packets {
        jpeg.take(&Packet::parse(packet).unwrap(), now);
        pictures.extend(jpeg.pop());
    }
    jpeg.expire(now + Duration::from_secs(1));
    pictures.extend(jpeg.pop());
    (pictures, jpeg)
}

fn scan(length: usize) -> Vec<u8> {
    (0..length).map(|at| at as u8 & 0x7f).collect()
}

#[test]
fn a_packet_told_too_short_costs_its_picture() {
    let now = Instant::now();
    let mut sender = Sender::new();
    for _ in 0..8 {
        sender.picture(&scan(3_500), None);
    }
    let mut jpeg = MotionJpeg::new(None, Fixes::default());
    let mut losses = Vec::new();
    for (at, packet) in sender.out.iter().enumerate() {
        jpeg.take(&Packet::parse(packet).unwrap(), now);
        // The last packet of one picture, and a middle one of another.
        if [23, 29].contains(&at) {
            assert!(jpeg.doubt_newest());
        }
        losses.extend(jpeg.pop().map(|picture| picture.loss_before));
    }
    jpeg.expire(now + Duration::from_secs(1));
    losses.extend(jpeg.pop().map(|picture| picture.loss_before));
    assert_eq!(losses, [false, false, false, false, false, true]);
    assert!(!jpeg.doubt_newest());
}

#[test]
fn the_rest_of_the_first_picture_may_come_late() {
    let start = Instant::now();
    let mut sender = Sender::new();
    sender.picture(&scan(3_500), None);
    let mut jpeg = MotionJpeg::new(None, Fixes::default());
    for (at, packet) in sender.out.iter().enumerate() {
        let now = start + Duration::from_millis(300) * at as u32;
        jpeg.expire(now);
        assert_eq!(jpeg.pop(), None);
        jpeg.take(&Packet::parse(packet).unwrap(), now);
    }
    jpeg.expire(start + Duration::from_secs(2));
    assert_eq!(
        Jpeg::parse(&jpeg.pop().unwrap().data).unwrap().scan,
        scan(3_500)
    );
}

#[test]
fn pictures_of_every_kind() {
    let in_band = [&[0, 0, 0, 128][..], &[9; 64], &[11; 64]].concat();
    let wide = [&[0, 3, 1, 0][..], &[0, 9].repeat(128)].concat();
    let cases: [(&str, u8, u8, Vec<u8>, u8); 5] = [
        ("Q 50", 1, 50, vec![], 16),
        ("4:2:2, Q 99", 0, 99, vec![], 1),
        ("restart markers", 65, 50, vec![], 16),
        ("tables in band", 1, 255, in_band, 9),
        ("16-bit tables", 1, 255, wide, 9),
    ];
    for (name, kind, q, tables, first) in cases {
        let mut sender = Sender::new();
        (sender.kind, sender.q, sender.tables) = (kind, q, tables);
        let scan = scan(3_500);
        for _ in 0..6 {
            sender.picture(&scan, None);
        }
        let (pictures, jpeg) = play(None, &sender.out);
        assert_eq!((pictures.len(), jpeg.unshown), (6, None), "{name}");
        for picture in &pictures {
            let read = Jpeg::parse(&picture.data).expect(name);
            assert_eq!((read.width, read.height), (640, 360), "{name}");
            assert_eq!(read.scan, scan, "{name}");
            assert_eq!(read.tables[0][0], first, "{name}");
            assert_eq!(
                read.restart_interval,
                if kind > 63 { 32 } else { 0 },
                "{name}"
            );
            assert!(picture.key && !picture.loss_before);
            let configuration = picture.configuration.as_ref().unwrap();
            assert!(Arc::ptr_eq(
                configuration,
                pictures[0].configuration.as_ref().unwrap()
            ));
        }
    }
}

#[test]
fn tables_are_kept_by_their_q() {
    let mut sender = Sender::new();
    sender.q = 200;
    sender.tables = [&[0, 0, 0, 128][..], &[9; 64], &[11; 64]].concat();
    sender.picture(&scan(500), None);
    sender.tables = vec![0, 0, 0, 0];
    sender.picture(&scan(500), None);
    sender.q = 201;
    sender.picture(&scan(500), None);
    let (pictures, _) = play(None, &sender.out);
    assert_eq!(pictures.len(), 2, "no table ever came for the third");
    assert_eq!(Jpeg::parse(&pictures[1].data).unwrap().tables[1][0], 11);
}

/// 26h and its like: a hole that no sequence number shows.
#[test]
fn a_picture_with_a_hole_is_not_shown() {
    for missing in [0, 1, 3] {
        let mut sender = Sender::new();
        for number in 0..12 {
            sender.picture(&scan(3_500), (number % 4 == 3).then_some(missing));
        }
        let (pictures, _) = play(None, &sender.out);
        assert_eq!(pictures.len(), 9, "fragment {missing}");
        let losses = pictures
            .iter()
            .filter(|picture| picture.loss_before)
            .count();
        assert_eq!(losses, 2);
    }
}

/// The end of one picture and the start of the next are lost: the offsets alone go on.
#[test]
fn two_moments_are_not_joined_over_a_hole() {
    for is_told in [true, false] {
        let mut sender = Sender::new();
        sender.packet(0, &scan(1_000), false);
        sender.time += 9_000;
        sender.packet(1_000, &scan(1_000), true);
        let now = Instant::now();
        let mut jpeg = MotionJpeg::new(None, Fixes::default());
        jpeg.take(&Packet::parse(&sender.out[0]).unwrap(), now);
        if is_told {
            jpeg.gap(Gap::Lost);
        }
        jpeg.take(&Packet::parse(&sender.out[1]).unwrap(), now);
        jpeg.expire(now + Duration::from_secs(1));
        let is_joined = std::iter::from_fn(|| jpeg.pop()).any(|one| one.data.len() > 2_000);
        assert_eq!(is_joined, !is_told);
    }
}

/// A name, the packets' size, their extension, the description's size, the scan, and the
/// size that is found.
type SizeCase = (
    &'static str,
    [u8; 2],
    Vec<u8>,
    Option<(u16, u16)>,
    Vec<u8>,
    Option<(u16, u16)>,
);

/// The start of frame of 2592x1944 as ONVIF's extension has it.
fn extension(replay: bool) -> Vec<u8> {
    let mut segments = vec![0xff, 0xc0, 0, 17, 8, 7, 0x98, 10, 0x20, 3];
    segments.extend_from_slice(&[1, 0x22, 0, 2, 0x11, 1, 3, 0x11, 1, 0xff]);
    let words = segments.len() as u16 / 4;
    let inner = [&[0xff, 0xd8][..], &words.to_be_bytes(), &segments].concat();
    if !replay {
        return inner;
    }
    let words = (inner.len() as u16 + 12) / 4;
    [&[0xab, 0xac][..], &words.to_be_bytes(), &[0; 12], &inner].concat()
}

#[test]
fn sizes_come_from_wherever_they_are() {
    let whole = |width, height| {
        let mut file = Vec::new();
        Header {
            width,
            height,
            sampling: Sampling::Yuv420,
            restart_interval: 0,
            tables: &Tables::of_quality(50),
        }
        .write(&mut file);
        file.extend_from_slice(&scan(2_000));
        file
    };
    let none = [0, 0];
    let described = Some((2592, 1944));
    let cases: [SizeCase; 8] = [
        (
            "packets",
            [80, 45],
            vec![],
            None,
            scan(2_000),
            Some((640, 360)),
        ),
        (
            "26a: extension",
            none,
            extension(false),
            None,
            scan(2_000),
            described,
        ),
        (
            "replay",
            none,
            extension(true),
            None,
            scan(2_000),
            described,
        ),
        (
            "description",
            none,
            vec![],
            described,
            scan(2_000),
            described,
        ),
        // 2592 / 8 without its highest bit.
        (
            "cut to 8 bits",
            [68, 243],
            vec![],
            described,
            scan(2_000),
            described,
        ),
        (
            "made exact",
            [171, 96],
            vec![],
            Some((1366, 768)),
            scan(2_000),
            Some((1366, 768)),
        ),
        (
            "a file behind the header",
            none,
            vec![],
            None,
            whole(2592, 1944),
            described,
        ),
        ("26c: nowhere", none, vec![], None, scan(2_000), None),
    ];
    for (name, size, extension, dimensions, data, expected) in cases {
        let mut sender = Sender::new();
        (sender.size, sender.extension) = (size, extension);
        for _ in 0..4 {
            sender.picture(&data, None);
        }
        let (pictures, jpeg) = play(dimensions, &sender.out);
        let Some(expected) = expected else {
            assert!(pictures.is_empty());
            assert_eq!(jpeg.unshown, Some((Unshown::Size, 4)), "{name}");
            continue;
        };
        assert_eq!(pictures.len(), 4, "{name}");
        let read = Jpeg::parse(&pictures[0].data).expect(name);
        assert_eq!((read.width, read.height), expected, "{name}");
        let configuration = pictures[0].configuration.as_ref().unwrap();
        assert_eq!(
            (configuration.width, configuration.height),
            expected,
            "{name}"
        );
    }
}

#[test]
fn whole_files_as_payload_are_taken() {
    let mut file = Vec::new();
    Header {
        width: 640,
        height: 360,
        sampling: Sampling::Yuv422,
        restart_interval: 0,
        tables: &Tables::of_quality(50),
    }
    .write(&mut file);
    file.extend_from_slice(&scan(2_500));
    let mut packets = Vec::new();
    for picture in 0..4_u8 {
        let last = file.len().div_ceil(1_000) - 1;
        for (number, part) in file.chunks(1_000).enumerate() {
            let marker = u8::from(number == last) << 7;
            let mut packet = vec![0x80, marker | 26, 0, 0, 0, 0, 0, picture, 0, 0, 0, 1];
            packet.extend_from_slice(part);
            packets.push(packet);
        }
    }
    let (pictures, _) = play(None, &packets);
    assert_eq!(pictures.len(), 4);
    file.extend_from_slice(&END_OF_IMAGE);
    assert!(pictures.iter().all(|picture| picture.data == file));
}

#[test]
fn large_pictures_pass_up_to_the_limit_and_others_are_told() {
    let mut sender = Sender::new();
    sender.picture(&scan(2_300_000), None);
    let (pictures, _) = play(None, &sender.out);
    assert_eq!(pictures.len(), 1);
    let mut sender = Sender::new();
    for _ in 0..3 {
        sender.picture(&scan(UNIT_LIMIT), None);
    }
    let (pictures, jpeg) = play(None, &sender.out);
    assert!(pictures.is_empty());
    assert_eq!(jpeg.unshown, Some((Unshown::TooLarge, 3)));
}
