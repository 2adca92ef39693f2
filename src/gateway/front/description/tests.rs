use proptest::prelude::*;

use super::*;

const HEAD: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=x\r\nt=0 0\r\n";
const VIDEO: &str = "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:trackID=1\r\n";

/// Codec, payload type and clock of what is chosen, or why nothing is.
type Chosen = Result<(Codec, u8, u32), String>;

/// What is chosen, and what was odd.
fn chosen(body: &[u8]) -> (Chosen, Vec<Fix>) {
    let fixes = Fixes::default();
    let description = Description::read(body, &fixes);
    let video = description.video(&fixes);
    let video = video.map(|v| (v.codec, v.format.payload_type, v.format.clock_rate));
    (
        video.map_err(|failure| failure.refusal.detail),
        fixes.needed(),
    )
}

#[test]
fn lines_that_nobody_needs_stop_nothing() {
    let plain = format!("{HEAD}{VIDEO}");
    assert_eq!(
        chosen(plain.as_bytes()),
        (Ok((Codec::H264, 96, 90_000)), vec![])
    );
    let cases: &[(&str, &[u8])] = &[
        ("3", b"v=0\r\no=- 1001 1 IN \r\ns=x\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\nc=IN \r\na=rtpmap:96 H264/90000\r\n"),
        ("16a", b"v=0\r\no=- 1 1 IN IP4 1.2.3.4\r\ns=x\r\nt=now-\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"),
        ("16b", b"v=0\r\no=- 1698210484.879535 1698210484.879535 IN IP4 203.0.113.10:12626\r\ns=x\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"),
        ("16e", b"v=0\r\no=A Maker Of Cameras 0 0 IN IP4 127.0.0.1\r\ns=x\r\nt=0 0\r\nm=audio 0 RTP/AVP 0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"),
        ("16f", b"o=- 1 1 IN IP4 1.2.3.4\r\ns=x\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"),
        ("16g", b"v=0\r\no=- 1 1 IN IP4 1.2.3.4\r\ns=x\r\nc=IN 198.51.100.1\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"),
        ("16j", b"v=0\r\no=- 1 1 IN IP4 1.2.3.4\r\ns=x\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\nb=AS:\r\na=rtpmap:96 H264/90000\r\n"),
        ("16j3", b"v=0\r\no=- 1 1 IN IP4 1.2.3.4\r\ns=x\r\nb=5000\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"),
        ("16n", b"v=0\r\no=- 1 1 IN IP4 1.2.3.4\r\ns=x\r\ns=y\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"),
        ("16h", b"v=0\r\no= 2890842807 IN IP4 192.168.0.1\r\ns=x\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"),
        ("g08", b"v=0\r\no=-0 0 IN IP4 127.0.0.1\r\ns=x\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"),
        ("g38", b"v=0\r\no=- 1 1 IN IP4 1.2.3.4\r\ns=x\r\nc=IN 2001:db8::2\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"),
        ("media alone", b"m=video 0 RTP/AVP 96\na=rtpmap:96 H264/90000\n"),
        ("junk", b"hello\r\n\r\nv=0\r\n=\r\nzz=1\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"),
        ("CR alone", b"v=0\rm=video 0 RTP/AVP 96\ra=rtpmap:96 H264/90000\r"),
    ];
    for (name, body) in cases {
        assert_eq!(
            chosen(body),
            (Ok((Codec::H264, 96, 90_000)), vec![Fix::DescriptionLines]),
            "{name}"
        );
    }
}

#[test]
fn texts_media_lines_and_names_of_the_field_are_read() {
    let h264 = |payload_type| Ok((Codec::H264, payload_type, 90_000));
    let unnamed = "m=video 0 RTP/AVP 96\na=fmtp:96 ";
    let cases: Vec<(Vec<u8>, _, &[Fix])> = vec![
        // 16k.
        (
            [b"v=0\no=- 1 1 IN IP4 1.2.3.4\ns=Cam\xe9ra\nt=0 0\n", VIDEO.as_bytes()].concat(),
            h264(96),
            &[Fix::DescriptionText],
        ),
        ([b"\xef\xbb\xbf", HEAD.as_bytes(), VIDEO.as_bytes()].concat(), h264(96), &[]),
        // 16l: other media are not looked at.
        (format!("{HEAD}m=audio 0 RTP/AVP\n{VIDEO}").into(), h264(96), &[]),
        (format!("{HEAD}m=application/X 0 RTP/AVP smart/1/90000\n{VIDEO}").into(), h264(96), &[]),
        // 16o.
        (
            format!("{HEAD}m=video 70000 RTP/AVP 96\na=rtpmap:96 H264/90000").into(),
            h264(96),
            &[Fix::MediaLine],
        ),
        (
            format!("{HEAD}m=video RTP/AVP 96\na=rtpmap:96 H264/90000").into(),
            h264(96),
            &[Fix::MediaLine],
        ),
        (
            format!("{HEAD}m=video 0 RTP/AVP\na=rtpmap:97 H264/90000").into(),
            h264(97),
            &[Fix::MediaLine],
        ),
        // 34a.
        (
            format!("{HEAD}m=video 0 RTP/AVP 96 97 111 112 99\na=rtpmap:96 mp4v-es/90000\na=rtpmap:97 VP8/90000\na=rtpmap:111 H264/90000\na=rtpmap:99 H265/90000").into(),
            h264(111),
            &[Fix::OtherFormats],
        ),
        // Names and clocks.
        (
            format!("{HEAD}M=Video 0 RTP/AVP 96\nA = RTPMAP: 96 h.264 / 90000").into(),
            h264(96),
            &[Fix::CodecName],
        ),
        (format!("{HEAD}m=video 0 RTP/AVP 96\na=rtpmap:96H264/90000").into(), h264(96), &[Fix::CodecName]),
        (format!("{HEAD}m=video 0 RTP/AVP 96\na=rtpmap:96 H264").into(), h264(96), &[Fix::CodecName]),
        (format!("{HEAD}m=video 0 RTP/AVP 96\na=rtpmap:96 X-H264/0").into(), h264(96), &[Fix::CodecName]),
        (
            format!("{HEAD}m=video 0 RTP/AVP 98\na=rtpmap:98 HEVC/90000").into(),
            Ok((Codec::H265, 98, 90_000)),
            &[Fix::CodecName],
        ),
        // 31d.
        (
            format!("{HEAD}m=video 0 RTP/AVP 96\na=rtpmap:96 H264/8000").into(),
            Ok((Codec::H264, 96, 8000)),
            &[Fix::ClockRate],
        ),
        // No rtpmap.
        (format!("{HEAD}{unnamed}packetization-mode=1").into(), h264(96), &[Fix::CodecName]),
        (
            format!("{HEAD}{unnamed}sprop-vps=QAE=").into(),
            Ok((Codec::H265, 96, 90_000)),
            &[Fix::CodecName],
        ),
        (
            format!("{HEAD}m=video 0 RTP/AVP 96\na=rtpmap:97 H264/90000").into(),
            h264(96),
            &[Fix::CodecName],
        ),
        (
            format!("{HEAD}a=rtpmap:96 H264/90000\nm=video 0 RTP/AVP 96").into(),
            h264(96),
            &[],
        ),
        // g07, the example of ONVIF.
        (
            format!("{HEAD}m=video 0 RTP/AVP 26\na=control:rtsp://192.168.0.1/video\na=recvonly\nm=audio 0 RTP/AVP 0\na=sendonly").into(),
            Ok((Codec::Jpeg, 26, 90_000)),
            &[],
        ),
    ];
    for (body, right, odd) in cases {
        let shown = String::from_utf8_lossy(&body).into_owned();
        assert_eq!(chosen(&body), (right, odd.to_vec()), "{shown}");
    }
}

#[test]
fn what_cannot_be_shown_is_named() {
    for (body, right) in [
        (String::new(), "its answer to DESCRIBE holds no description"),
        (
            "<html></html>".to_owned(),
            "its answer to DESCRIBE holds no description",
        ),
        (HEAD.to_owned(), "it describes no video track"),
        (
            format!("{HEAD}m=audio 0 RTP/AVP 0"),
            "it describes no video track",
        ),
        // 16m.
        (
            format!("{HEAD}m=video 0 RTP/AVP "),
            "its video track names no codec",
        ),
        (format!("{HEAD}m=video"), "its video track names no codec"),
        (
            format!(
                "{HEAD}m=video 0 RTP/AVP 96\na=rtpmap:96 MP4V-ES/90000\na=fmtp:96 config=00;profile-level-id=1"
            ),
            "it sends mp4v-es",
        ),
        (
            format!("{HEAD}m=video 0 RTP/AVP 96\na=fmtp:96 profile-level-id=1;config=00"),
            "it sends mp4v-es",
        ),
        (
            format!("{HEAD}m=video 0 RTP/AVP 34 96 97\na=rtpmap:96 VP8/90000"),
            "it sends h263, vp8, payload type 97 without a name",
        ),
    ] {
        assert_eq!(chosen(body.as_bytes()).0, Err(right.to_owned()), "{body}");
    }
}

#[test]
fn the_track_that_is_likely_the_picture_is_taken() {
    let track = |name: &str, codec: &str, more: &str| {
        format!("m=video 0 RTP/AVP 96\na=rtpmap:96 {codec}/90000\na=control:{name}\n{more}\n")
    };
    for (tracks, right) in [
        ([track("a", "H264", ""), track("b", "H264", "")], "a"),
        ([track("a", "VP8", ""), track("b", "H265", "")], "b"),
        (
            [
                track("a", "H264", "a=sendonly"),
                track("b", "JPEG", "a=recvonly"),
            ],
            "b",
        ),
        (
            [
                track("a", "H264", "a=inactive"),
                track("b", "H264", "a=sendonly"),
            ],
            "b",
        ),
        ([track("a", "H264", "a=sendonly"), String::new()], "a"),
        (
            [track("a", "vnd.onvif.metadata", ""), track("b", "H264", "")],
            "b",
        ),
    ] {
        let fixes = Fixes::default();
        let body = [HEAD, &tracks.concat()].concat();
        let description = Description::read(body.as_bytes(), &fixes);
        let video = description.video(&fixes).unwrap();
        assert_eq!(video.track.control.as_deref(), Some(right), "{body}");
    }
}

#[test]
fn sizes_are_found() {
    for (lines, size) in [
        (
            "a=x-dimensions:1920,1080\na=framerate:25",
            Some((1920, 1080)),
        ),
        (
            "a=x-dimensions: 704, 576\na=x-framerate: 12",
            Some((704, 576)),
        ),
        (
            "a=framesize:26 2592-1944\na=framerate:0S\na=framerate:12.5",
            Some((2592, 1944)),
        ),
        ("a=cliprect:0,0,1944,2592", Some((2592, 1944))),
        (
            "a=Width:integer;640\na=Height:integer;480",
            Some((640, 480)),
        ),
        ("a=x-dimensions:0,0\na=framerate:0", None),
        ("a=x-dimensions:99999999999999999999,1\na=framerate:x", None),
    ] {
        let body = format!("{HEAD}m=video 0 RTP/AVP 26\n{lines}\n");
        let description = Description::read(body.as_bytes(), &Fixes::default());
        let track = &description.tracks[0];
        assert_eq!(track.size, size, "{lines}");
    }
}

#[test]
fn parameter_sets_are_taken_however_they_are_written() {
    const SPS: &[u8] = &[0x67, 0x4d, 0, 0x1f, 0x95, 0xa8, 0x14, 1, 0x6e, 0x40];
    const PPS: &[u8] = &[0x68, 0xee, 0x3c, 0x80];
    let both: &[&[u8]] = &[SPS, PPS];
    let other: &[u8] = &[0x68, 0xce, 0x32, 0xc8];
    for (fmtp, right, odd) in [
        (
            "sprop-parameter-sets=Z00AH5WoFAFuQA==,aO48gA==",
            both,
            false,
        ),
        (
            "packetization-mode=1; sprop-parameter-sets=Z00AH5WoFAFuQA==,aO48gA==;config=00",
            both,
            false,
        ),
        (
            "profile-level-id=4D001F,sprop-parameter-sets=Z00AH5WoFAFuQA==,aO48gA==",
            both,
            false,
        ),
        (
            "profile-level-id=4D001F sprop-parameter-sets=\"Z00AH5WoFAFuQA==,aO48gA==\"",
            both,
            false,
        ),
        (
            "SPROP-parameter-sets = Z00AH5WoFAFuQA==, aO48gA==",
            both,
            false,
        ),
        ("sprop-parameter-sets=Z00AH5WoFAFuQA,aO48gA", both, true),
        (
            "sprop-parameter-sets=aO48gA==,Z00AH5WoFAFuQA==",
            both,
            false,
        ),
        (
            "sprop-parameter-sets=Z00AH5WoFAFuQA==,!!!,aO48gA==,",
            both,
            true,
        ),
        (
            "sprop-parameter-sets=Z00AH5WoFAFuQA==,aO48gAAAAAE=",
            both,
            false,
        ),
        (
            "sprop-parameter-sets=AAAAAWdNAB+VqBQBbkAAAAABaO48gA==",
            both,
            true,
        ),
        (
            "sprop-parameter-sets=AAAAAWdNAB-VqBQBbkAAAAABaO48gA==",
            both,
            true,
        ),
        (
            "sprop-parameter-sets=Z00AH5WoFAFuQA==,aO48gA==,aM4yyA==",
            &[SPS, PPS, other],
            false,
        ),
        (
            "sprop-parameter-sets=Z00AH5WoFAFuQA==,Z00AH5WoFAFuQA==,aO48gA==",
            both,
            false,
        ),
        ("sprop-parameter-sets=,", &[], false),
        ("sprop-parameter-sets=AAAA", &[], true),
        ("packetization-mode=1", &[], false),
    ] {
        let body = format!("{HEAD}{VIDEO}a=fmtp:96 {fmtp}\n");
        let fixes = Fixes::default();
        let description = Description::read(body.as_bytes(), &fixes);
        let video = description.video(&fixes).unwrap();
        let sets = video.format.parameter_sets(video.codec, &fixes);
        assert_eq!(sets, right, "{fmtp}");
        assert_eq!(fixes.needed() == [Fix::ParameterSets], odd, "{fmtp}");
    }
    let body = format!(
        "{HEAD}m=video 0 RTP/AVP 98\na=rtpmap:98 H265/90000\na=fmtp:98 sprop-sps=QgEBAWA=;sprop-pps=RAHA8saNA7NA;sprop-vps=QAEMAf//\n"
    );
    let description = Description::read(body.as_bytes(), &Fixes::default());
    let format = &description.tracks[0].formats[0];
    let sets = format.parameter_sets(Codec::H265, &Fixes::default());
    let kinds: Vec<u8> = sets.iter().map(|set| set[0] >> 1).collect();
    assert_eq!(kinds, [32, 33, 34]);
}

#[test]
fn a_long_description_is_cut() {
    let media = "m=video 0 RTP/AVP 96\n".repeat(1000);
    let attributes = "a=fmtp:96 a=1;b=2\n".repeat(20_000);
    for body in [media, format!("m=video 0 RTP/AVP 96\n{attributes}")] {
        let description = Description::read(body.as_bytes(), &Fixes::default());
        assert!(description.tracks.len() <= MEDIA_LIMIT);
        for track in &description.tracks {
            assert!(track.formats.len() <= FORMATS_LIMIT);
            assert!(track.formats.iter().all(|format| format.params.len() <= 64));
        }
    }
}

fn survives(body: &[u8]) {
    let fixes = Fixes::default();
    let description = Description::read(body, &fixes);
    match description.video(&fixes) {
        Ok(video) => {
            let sets = video.format.parameter_sets(video.codec, &fixes);
            assert!(sets.len() <= 64);
        }
        Err(failure) => assert!(failure.refusal.detail.len() < 400),
    }
}

proptest! {
    #[test]
    fn any_bytes_are_survived(body in proptest::collection::vec(any::<u8>(), 0..600)) {
        survives(&body);
    }

    #[test]
    fn a_harmed_description_is_survived(
        harms in proptest::collection::vec((0..400usize, any::<u8>(), 0..4u8), 0..20),
    ) {
        let mut body = format!(
            "{HEAD}{VIDEO}a=fmtp:96 packetization-mode=1;profile-level-id=4D001F;sprop-parameter-sets=Z00AH5WoFAFuQA==,aO48gA==\r\na=x-dimensions:640,480\r\nm=video 0 RTP/AVP 26\r\na=framerate:25\r\n"
        ).into_bytes();
        for (at, byte, how) in harms {
            let at = at % body.len();
            match how {
                0 => body[at] = byte,
                1 => body.insert(at, byte),
                2 => body.truncate(at.max(1)),
                _ => {
                    let copy = body[at..].to_vec();
                    body.extend(copy);
                    body.truncate(4000);
                }
            }
        }
        survives(&body);
    }
}
