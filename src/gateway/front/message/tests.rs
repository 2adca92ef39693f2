use proptest::prelude::*;

use super::*;

/// Feeds parts as they would come, and lists what they are: packets by channel and
/// length, messages by status.
struct Feed {
    reader: Reader,
    fixes: Fixes,
    packets: Vec<(u8, Vec<u8>)>,
    messages: Vec<Message>,
    skipped: usize,
    unfinished: bool,
}

impl Feed {
    fn new() -> Self {
        let fixes = Fixes::default();
        Self {
            reader: Reader::new(fixes.clone()),
            fixes,
            packets: Vec::new(),
            messages: Vec::new(),
            skipped: 0,
            unfinished: false,
        }
    }

    fn media() -> Self {
        let mut feed = Self::new();
        feed.reader.expect_channel(0);
        feed.reader.expect_channel(1);
        feed
    }

    fn describing() -> Self {
        let mut feed = Self::new();
        feed.reader.expect_description();
        feed
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        self.reader.space(bytes.len()).extend_from_slice(bytes);
        for _ in 0..10_000 {
            self.unfinished = false;
            match self.reader.next()? {
                Piece::Packet { channel, payload } => {
                    self.packets.push((channel, payload.to_vec()));
                }
                Piece::Message(message) => self.messages.push(message),
                Piece::Skipped { length, .. } => self.skipped += length,
                Piece::Unfinished => {
                    self.unfinished = true;
                    return Ok(());
                }
                Piece::Partial => return Ok(()),
            }
        }
        panic!("the reader does not come to an end");
    }

    fn all(mut self, bytes: &[u8]) -> Self {
        self.put(bytes).unwrap();
        self
    }
}

/// A packet as cameras send it, of a length, with a body that tells packets apart.
fn packet(channel: u8, length: usize, body: u8) -> Vec<u8> {
    let mut payload = vec![body; length];
    payload[0] = 0x80;
    payload[1] = if channel % 2 == 1 { 200 } else { 96 };
    let [high, low] = u16::try_from(length).unwrap().to_be_bytes();
    [&[b'$', channel, high, low][..], &payload].concat()
}

const ANSWER: &[u8] = b"RTSP/1.0 200 OK\r\nCSeq: 2\r\nwww-authenticate: A\r\nWWW-Authenticate: B\r\nContent-Length: 3\r\n\r\nv=0";

#[test]
fn messages_and_packets_are_told_apart_at_every_split() {
    let packets = [packet(0, 30, 1), packet(1, 28, 2)].concat();
    let whole = [&packets[..], b"\r\n", ANSWER, &packets].concat();
    for split in 0..=whole.len() {
        let mut feed = Feed::media();
        feed.put(&whole[..split]).unwrap();
        feed.put(&whole[split..]).unwrap();
        let lengths: Vec<_> = feed.packets.iter().map(|(c, p)| (*c, p.len())).collect();
        assert_eq!(lengths, [(0, 30), (1, 28), (0, 30), (1, 28)], "{split}");
        assert_eq!(feed.messages.len(), 1, "{split}");
        let message = &feed.messages[0];
        assert_eq!(message.status(), Some(200));
        let all: Vec<_> = message.all("WWW-AUTHENTICATE").collect();
        assert_eq!(all, [b"A", b"B"]);
        assert_eq!(message.body, b"v=0");
        assert_eq!(feed.fixes.needed(), [], "{split}");
    }
}

#[test]
fn heads_of_the_field_are_read() {
    let odd_status = &[Fix::StatusLine][..];
    let odd_lines = &[Fix::HeaderForm][..];
    for (head, status, odd) in [
        ("RTSP/1.0 200 OK\r\nCSeq: 7\r\nX: y\r\n\r\n", 200, &[][..]),
        ("RTSP/1.0 200 \r\nCSeq: 7\r\nX: y\r\n\r\n", 200, &[]),
        // 18a, 18c, and others.
        ("RTSP/1.0 200\r\nCSeq: 7\r\nX: y\r\n\r\n", 200, odd_status),
        (
            "RTSP/2.0 200 OK\r\nCSeq: 7\r\nX: y\r\n\r\n",
            200,
            odd_status,
        ),
        (
            "rtsp/1.0 401 Unauthorized\r\nCSeq: 7\r\nX: y\r\n\r\n",
            401,
            odd_status,
        ),
        (
            "RTSP/1.0  200  OK\r\nCSeq: 7\r\nX: y\r\n\r\n",
            200,
            odd_status,
        ),
        (
            "RTSP/1.0\t200\tOK\r\nCSeq: 7\r\nX: y\r\n\r\n",
            200,
            odd_status,
        ),
        ("RTSP/1.0200 OK\r\nCSeq: 7\r\nX: y\r\n\r\n", 200, odd_status),
        ("RTSP 200 OK\r\nCSeq: 7\r\nX: y\r\n\r\n", 200, odd_status),
        ("RTSP/1.0 200OK\r\nCSeq: 7\r\nX: y\r\n\r\n", 200, odd_status),
        ("RTSP/1.0 OK\r\nCSeq: 7\r\nX: y\r\n\r\n", 0, odd_status),
        (
            "\r\n\r\n  RTSP/1.0 200 OK\r\nCSeq: 7\r\nX: y\r\n\r\n",
            200,
            &[],
        ),
        // 13a, 13c.
        (
            "RTSP/1.0 200 OK\r\nx-Accept-Dynamic-Rate: \r\nServer:\r\nCSeq: 7\r\nX: y\r\n\r\n",
            200,
            odd_lines,
        ),
        // 13g, and other ends.
        ("RTSP/1.0 200 OK\nCSeq: 7\nX: y\n\n", 200, odd_lines),
        ("RTSP/1.0 200 OK\r\nCSeq: 7\nX: y\r\n\n", 200, odd_lines),
        (
            "RTSP/1.0 200 OK\r\r\nCSeq: 7\r\r\nX: y\r\r\n\r\r\n",
            200,
            odd_lines,
        ),
        ("RTSP/1.0 200 OK\rCSeq: 7\rX: y\r\r", 200, odd_lines),
        // Folded, indented, without colon, spaces, NUL.
        (
            "RTSP/1.0 200 OK\r\nX:\r\n y\r\nCSeq: 7\r\n\r\n",
            200,
            odd_lines,
        ),
        (
            "RTSP/1.0 200 OK\r\n CSeq: 7\r\n X: y\r\n\r\n",
            200,
            odd_lines,
        ),
        (
            "RTSP/1.0 200 OK\r\nnothing\r\nCSeq: 7\r\nX: y\r\n\r\n",
            200,
            odd_lines,
        ),
        (
            "RTSP/1.0 200 OK\r\n: x\r\nCSeq  :  7\r\nX:y \r\n\r\n",
            200,
            odd_lines,
        ),
        (
            "RTSP/1.0 200 OK\r\nCSeq: 7\0\r\nX: \0y\0\r\nA: b\0c\r\n\r\n",
            200,
            odd_lines,
        ),
    ] {
        let feed = Feed::media().all(head.as_bytes());
        assert_eq!(feed.messages.len(), 1, "{head:?}");
        let message = &feed.messages[0];
        assert_eq!(message.status(), Some(status), "{head:?}");
        assert_eq!(message.text("cseq").as_deref(), Some("7"), "{head:?}");
        assert_eq!(message.text("x").as_deref(), Some("y"), "{head:?}");
        assert_eq!(feed.fixes.needed(), odd, "{head:?}");
        // The connection goes on.
        let mut feed = Feed::media().all(head.as_bytes());
        feed.put(&packet(0, 40, 1)).unwrap();
        assert_eq!(feed.packets.len(), 1, "{head:?}");
    }
}

#[test]
fn values_keep_the_bytes_that_were_sent() {
    let feed = Feed::new().all(
        b"RTSP/1.0 401 Unauthorized\r\nWWW-Authenticate: Digest realm=\"Cam\xe9ra\",\r\n\tnonce=\"n\"\r\n\r\n",
    );
    let message = &feed.messages[0];
    assert_eq!(
        message.header("WWW-Authenticate"),
        Some(&b"Digest realm=\"Cam\xe9ra\", nonce=\"n\""[..])
    );
    assert_eq!(
        message.text("WWW-Authenticate").as_deref(),
        Some("Digest realm=\"Cam\u{e9}ra\", nonce=\"n\"")
    );
    assert_eq!(message.header("Nothing"), None);
}

#[test]
fn requests_of_cameras_are_read() {
    for (head, asked) in [
        (
            "OPTIONS rtsp://a/b RTSP/1.0\r\nCSeq: 1\r\n\r\n",
            ("OPTIONS", "rtsp://a/b"),
        ),
        ("options * rtsp/1.0\r\nCSeq: 1\r\n\r\n", ("OPTIONS", "*")),
        (
            "GET_PARAMETER rtsp://a RTSP/1.0\nCSeq: 1\n\n",
            ("GET_PARAMETER", "rtsp://a"),
        ),
    ] {
        let feed = Feed::media().all(&[&packet(0, 20, 1), head.as_bytes()].concat());
        assert_eq!(feed.messages[0].asked(), Some(asked));
        assert_eq!(feed.messages[0].status(), None);
    }
}

#[test]
fn bodies_are_taken_by_what_they_are() {
    const BODY: &str = "v=0\r\nm=video 0 RTP/AVP 96\r\n";
    let next = "RTSP/1.0 200 OK\r\nCSeq: 3\r\n\r\n";
    // Head's lines, what follows the body, whether the length is odd.
    for (lines, behind, odd) in [
        ("Content-Length: 27\r\n", next, false),
        ("Content-length:27\r\nContent-Length: 27\r\n", next, true),
        ("Content-Length: 27;x\r\n", next, true),
        ("", next, true),
        ("Content-Length: -1\r\n", next, true),
        ("Content-Length: 0\r\n", next, true),
        ("Content-Length:\r\n", next, true),
        ("Content-Length: 5000\r\n", next, true),
        ("Content-Length: 20\r\n", next, true),
        ("Content-Length: 28\r\n", next, true),
    ] {
        let head = format!("RTSP/1.0 200 OK\r\nCSeq: 2\r\n{lines}\r\n");
        let feed = Feed::describing().all(format!("{head}{BODY}{behind}").as_bytes());
        let bodies: Vec<_> = feed.messages.iter().map(|m| m.body.as_slice()).collect();
        assert_eq!(bodies, [BODY.as_bytes(), b""], "{lines:?}");
        assert_eq!(
            feed.fixes.needed().contains(&Fix::BodyLength),
            odd,
            "{lines:?}"
        );
        // With nothing behind it, silence ends what has no end of its own.
        let mut feed = Feed::describing().all(format!("{head}{BODY}").as_bytes());
        if feed.unfinished {
            let message = feed.reader.settle().unwrap();
            assert_eq!(message.body, BODY.as_bytes());
        } else {
            assert_eq!(feed.messages[0].body, BODY.as_bytes(), "{lines:?}");
        }
        assert_eq!(feed.reader.settle(), None);
    }
    // Other answers have no body that they do not tell of.
    let feed = Feed::new().all(next.as_bytes());
    assert_eq!((feed.messages.len(), feed.unfinished), (1, false));
    // A body that is told and lacks, with media behind.
    let head = b"RTSP/1.0 200 OK\r\nCSeq: 2\r\nContent-Length: 10\r\n\r\n";
    let feed = Feed::media().all(&[&head[..], &packet(0, 40, 1)].concat());
    assert_eq!((feed.messages.len(), feed.packets.len()), (1, 1));
}

#[test]
fn a_head_without_its_empty_line_is_taken_after_silence() {
    let mut feed = Feed::media().all(b"RTSP/1.0 200 OK\r\nCSeq: 2\r\n");
    assert!(feed.unfinished);
    let message = feed.reader.settle().unwrap();
    assert_eq!(message.text("CSeq").as_deref(), Some("2"));
    // Or where media follow.
    let head = &b"RTSP/1.0 200 OK\r\nCSeq: 2\r\n"[..];
    let feed = Feed::media().all(&[head, &packet(0, 40, 1)].concat());
    assert_eq!((feed.messages.len(), feed.packets.len()), (1, 1));
    // A packet is no message.
    let mut feed = Feed::media().all(&packet(0, 40, 1)[..20]);
    assert!(!feed.unfinished);
    assert_eq!(feed.reader.settle(), None);
}

#[test]
fn other_protocols_are_named() {
    for (bytes, right) in [
        (
            &b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"[..],
            Malformed::Http,
        ),
        (b"\x15\x03\x01\x00\x02\x02\x46", Malformed::Tls),
        (
            b"\x16\x03\x03\x00\x7a\x02\x00\x00\x76\x03\x03",
            Malformed::Tls,
        ),
        (&[0xff; 40], Malformed::NotRtsp),
        (&[b'x'; HEAD_LIMIT], Malformed::NotRtsp),
        (
            b"RTSP/1.0 200 OK\r\nContent-Length: 999999\r\n\r\n",
            Malformed::LongBody,
        ),
        (
            b"RTSP/1.0 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\n",
            Malformed::LongBody,
        ),
    ] {
        assert_eq!(Feed::new().put(bytes), Err(right));
        assert!(!right.to_string().is_empty());
    }
    let long = [&b"RTSP/1.0 200 OK\r\nX: "[..], &[b'x'; HEAD_LIMIT]].concat();
    assert_eq!(Feed::new().put(&long), Err(Malformed::LongHead));
    let body = [&b"RTSP/1.0 200 OK\r\n\r\n"[..], &vec![b'x'; BODY_LIMIT + 1]].concat();
    assert_eq!(Feed::describing().put(&body), Err(Malformed::LongBody));
}

#[test]
fn the_rest_of_a_body_is_passed_over() {
    let mut feed = Feed::new().all(ANSWER);
    feed.put(b"a=control:x\r\n").unwrap();
    feed.put(ANSWER).unwrap();
    assert_eq!((feed.messages.len(), feed.skipped), (2, 13));
}

/// 8a: stray bytes between packets, at every split of what comes.
#[test]
fn stray_bytes_between_packets_cost_no_packet() {
    for stray in [
        &[0, 0, 0][..],
        b"$",
        b"$\0",
        b"\xff\xd8",
        b"R",
        b"x: y\r\n\r\n",
        b"$\x07\x00\x03abc",
    ] {
        let parts = [
            packet(0, 1400, 1),
            packet(0, 300, 2),
            stray.to_vec(),
            packet(0, 1400, 3),
            packet(1, 28, 4),
            packet(0, 50, 5),
        ];
        let whole = parts.concat();
        for split in (0..whole.len()).step_by(7).chain(1700..1730) {
            let mut feed = Feed::media();
            feed.put(&whole[..split]).unwrap();
            feed.put(&whole[split..]).unwrap();
            let lengths: Vec<_> = feed.packets.iter().map(|(_, p)| p.len()).collect();
            assert_eq!(lengths, [1400, 300, 1400, 28, 50], "{stray:?} {split}");
            assert_eq!(feed.fixes.needed(), [Fix::StrayBytes]);
        }
    }
}

/// 8c: a packet told too long, at every split; the next is whole.
#[test]
fn a_packet_told_too_long_does_not_cost_the_next() {
    for extra in [1, 2, 4, 100] {
        let mut wrong = packet(0, 300, 2);
        let [high, low] = u16::to_be_bytes(300 + extra);
        wrong[2..4].copy_from_slice(&[high, low]);
        let whole = [
            packet(0, 1400, 1),
            wrong,
            packet(0, 1400, 3),
            packet(0, 50, 5),
        ]
        .concat();
        for split in (0..whole.len()).step_by(5).chain(1700..1720) {
            let mut feed = Feed::media();
            feed.put(&whole[..split]).unwrap();
            feed.put(&whole[split..]).unwrap();
            let bodies: Vec<_> = feed.packets.iter().map(|(_, p)| p[9]).collect();
            assert_eq!(bodies, [1, 2, 3, 5], "{extra} {split}");
            let lengths: Vec<_> = feed.packets.iter().map(|(_, p)| p.len()).collect();
            assert!((300..=300 + usize::from(extra)).contains(&lengths[1]));
            assert_eq!([lengths[2], lengths[3]], [1400, 50], "{extra} {split}");
        }
    }
}

#[test]
fn a_packet_told_too_short_or_far_too_long_costs_itself() {
    let mut short = packet(0, 300, 2);
    short[2..4].copy_from_slice(&[0, 200]);
    let mut far = packet(0, 300, 2);
    far[2..4].copy_from_slice(&[0xff, 0xff]);
    for wrong in [short, far] {
        let whole = [
            packet(0, 1400, 1),
            wrong,
            packet(0, 1400, 3),
            packet(0, 50, 5),
            packet(0, 60, 6),
        ]
        .concat();
        let feed = Feed::media().all(&whole);
        let bodies: Vec<_> = feed.packets.iter().map(|(_, p)| p[9]).collect();
        assert_eq!(bodies, [1, 2, 3, 5, 6]);
    }
}

/// 9c: what comes in step is a packet, be it ever so odd; channels may be others.
#[test]
fn odd_packets_in_step_are_packets() {
    let zeros = [&[b'$', 1, 0, 28][..], &[0; 28]].concat();
    let empty = [b'$', 0, 0, 0];
    let other = packet(2, 40, 9);
    let whole = [
        packet(0, 40, 1),
        zeros,
        empty.to_vec(),
        other,
        packet(0, 40, 3),
    ]
    .concat();
    let feed = Feed::media().all(&whole);
    let lengths: Vec<_> = feed.packets.iter().map(|(c, p)| (*c, p.len())).collect();
    assert_eq!(lengths, [(0, 40), (1, 28), (0, 0), (2, 40), (0, 40)]);
    assert_eq!(feed.fixes.needed(), []);
}

#[test]
fn what_never_comes_into_step_ends() {
    let mut feed = Feed::media().all(&packet(0, 40, 1));
    let noise = vec![0xaa; 60_000];
    let failed = (0..10).find_map(|_| feed.put(&noise).err());
    assert_eq!(failed, Some(Malformed::Lost));
}

#[test]
fn what_is_written_reads_back_in_a_fixed_order() {
    let mut message = Message::request("SETUP", "rtsp://a/b");
    message.set("Transport", "RTP/AVP/TCP");
    message.set("X-Other", "a\r\nInjected: b");
    message.set("Authorization", b"Digest realm=\"\xe9\"".to_vec());
    message.set("CSeq", "3");
    message.set("cseq", "4");
    let bytes = message.encode();
    let right = b"SETUP rtsp://a/b RTSP/1.0\r\nCSeq: 4\r\nAuthorization: Digest realm=\"\xe9\"\r\nTransport: RTP/AVP/TCP\r\nX-Other: aInjected: b\r\n\r\n";
    assert_eq!(bytes, right);
    let feed = Feed::media().all(&bytes);
    assert_eq!(feed.messages[0].asked(), Some(("SETUP", "rtsp://a/b")));
    let mut answer = Message::response(200, "OK");
    answer.body = b"x".to_vec();
    assert_eq!(
        answer.encode(),
        b"RTSP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx"
    );
}

#[test]
fn a_trace_shows_no_secret() {
    for uri in [
        "rtsp://admin:hunter2@a/b",
        "rtsp://a/user=admin&password=hunter2&channel=1",
        "rtsp://a/user=admin_password=hunter2_channel=1",
        "rtsp://a/b?pwd=hunter2",
    ] {
        let mut message = Message::request("PLAY", uri);
        message.set("Authorization", "Basic aHVudGVyMg==");
        message.set("X", format!("url={uri};seq=1"));
        for text in [message.traced(), format!("{message:?}")] {
            assert!(!text.contains("hunter2"), "{text}");
            assert!(!text.contains("aHVudGVyMg"), "{text}");
            assert!(text.contains("Basic (hidden)"), "{text}");
        }
    }
    let plain = Message::request("PLAY", "rtsp://a/b/trackID=1?x=y&z");
    assert!(
        plain
            .traced()
            .starts_with("PLAY rtsp://a/b/trackID=1?x=y&z RTSP/1.0\r\n")
    );
}

proptest! {
    #[test]
    fn any_bytes_are_survived(
        parts in proptest::collection::vec(
            prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..80),
                Just(packet(0, 40, 1)),
                Just(packet(1, 28, 1)),
                Just(ANSWER.to_vec()),
                Just(b"$\0".to_vec()),
                Just(b"RTSP/1.0 200\r".to_vec()),
                Just(b"Content-Length: 9\n\n".to_vec()),
            ],
            0..40,
        ),
        media in any::<bool>(),
        describes in any::<bool>(),
    ) {
        let mut feed = if media { Feed::media() } else { Feed::new() };
        if describes {
            feed.reader.expect_description();
        }
        for part in &parts {
            if feed.put(part).is_err() {
                break;
            }
        }
        let _ = feed.reader.settle();
        let came: usize = parts.iter().map(Vec::len).sum();
        let given: usize = feed.packets.iter().map(|(_, p)| p.len()).sum();
        prop_assert!(given <= 2 * came);
    }
}

#[test]
fn bytes_behind_a_packet_may_be_its_end() {
    for (behind, expected) in [
        (&[0x91, 0x22, 0x13, 0x80][..], true),
        (&[0, 0, 0], false),
        (b"watchdog: restarted\n", false),
        (&[b'$', 200, 0, 3, 1, 2, 3], false),
    ] {
        let mut reader = Reader::new(Fixes::default());
        reader.expect_channel(0);
        let packet = [b'$', 0, 0, 12, 0x80, 96, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1];
        let bytes = [&packet[..], behind, &packet].concat();
        reader.space(bytes.len()).extend_from_slice(&bytes);
        assert!(matches!(reader.next(), Ok(Piece::Packet { .. })));
        let length = behind.len();
        let is_tail = expected;
        assert_eq!(reader.next(), Ok(Piece::Skipped { length, is_tail }));
        assert!(matches!(reader.next(), Ok(Piece::Packet { .. })));
    }
}

/// One track was set up: a camera may add some channels for others that it sends unasked.
#[test]
fn packets_on_many_channels_end_the_session() {
    let mut feed = Feed::media();
    for channel in 2..8 {
        feed.put(&packet(channel, 40, 0)).unwrap();
        feed.put(&packet(0, 40, 0)).unwrap();
    }
    assert_eq!(feed.packets.len(), 12);
    assert_eq!(feed.put(&packet(9, 40, 0)), Err(Malformed::Channels));

    // Stray bytes that look like one now and then end none.
    let mut feed = Feed::media();
    for channel in 2..=255 {
        for _ in 0..1_000 {
            feed.put(&packet(0, 20, 0)).unwrap();
        }
        feed.put(&packet(channel, 40, 0)).unwrap();
    }
}
