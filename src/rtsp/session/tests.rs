use super::*;
use crate::media::unit::{Codec, Configuration};
use crate::rtsp::message::{self, Incoming};
use bytes::BytesMut;
use std::time::Duration;

const PEER: SocketAddr = SocketAddr::new(
    std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 5)),
    40_000,
);
const NOW: Boot = Boot(Duration::from_secs(9));
const URL: &str = "rtsp://h:8554/commune/camera";

fn machine(allows_udp: bool) -> Machine {
    Machine::new(PEER, allows_udp, [1; 16], NOW)
}

fn read(bytes: &[u8]) -> Option<Request> {
    match message::take(&mut BytesMut::from(bytes)) {
        Ok(Some(Incoming::Request(request))) => Some(request),
        _ => None,
    }
}

fn password(user: &str) -> Option<Secret> {
    (user == "grant").then(|| Secret::new("secret"))
}

fn handle(machine: &mut Machine, text: &str) -> Step {
    handle_as(machine, text, true)
}

fn handle_as(machine: &mut Machine, text: &str, open: bool) -> Step {
    let request = read(format!("{text}\r\n\r\n").as_bytes()).expect(text);
    let context = Context {
        now: NOW,
        random: [2; 16],
        password: &password,
        open,
        is_blocked: &|user| user == "blocked",
    };
    machine.handle(&request, &context)
}

static CONFIGURATION: Configuration = Configuration {
    codec: Codec::Jpeg,
    record: bytes::Bytes::new(),
    width: 0,
    height: 0,
};

static PICTURE: Picture<'_> = Picture {
    configuration: &CONFIGURATION,
    frame_rate: None,
};

#[track_caller]
fn reply(step: Step) -> Reply {
    match step {
        Step::Reply(reply) => reply,
        other => panic!("not a plain reply: {other:?}"),
    }
}

fn value<'a>(reply: &'a Reply, name: &str) -> &'a str {
    let found = reply.headers.iter().find(|(there, _)| *there == name);
    found.map_or("", |(_, value)| value.as_str())
}

fn set_up(machine: &mut Machine) -> String {
    let transport = "Transport: RTP/AVP/TCP;unicast;interleaved=2-3";
    let step = handle(
        machine,
        &format!("SETUP {URL}/trackID=0 RTSP/1.0\r\nCSeq: 2\r\n{transport}"),
    );
    assert!(matches!(step, Step::Open(_)));
    let reply = reply(machine.opened(Ok(PICTURE)));
    assert_eq!(reply.status, 200);
    value(&reply, "Session")
        .split(';')
        .next()
        .unwrap()
        .to_owned()
}

#[test]
fn a_whole_session() {
    let mut machine = machine(true);
    let options = reply(handle(&mut machine, "OPTIONS * RTSP/1.0\r\nCSeq: 1"));
    assert_eq!((options.status, value(&options, "Public")), (200, METHODS));

    let describe = format!("DESCRIBE {URL} RTSP/1.0\r\nCSeq: 7\r\nUser-Agent: VLC");
    let Step::Open(open) = handle(&mut machine, &describe) else {
        panic!("not opened");
    };
    assert_eq!(
        (open.path.as_str(), open.user_agent.as_str()),
        ("commune/camera", "VLC")
    );
    let described = reply(machine.opened(Ok(PICTURE)));
    assert_eq!(value(&described, "Content-Base"), format!("{URL}/"));
    assert_eq!(value(&described, "CSeq"), "7");
    assert!(described.body.starts_with(b"v=0"));

    // The picture is open already: SETUP needs no further step.
    let transport = "Transport: RTP/AVP/TCP;unicast;interleaved=2-3";
    let setup = format!("SETUP {URL}/trackID=0 RTSP/1.0\r\nCSeq: 8\r\n{transport}");
    let setup = reply(handle(&mut machine, &setup));
    assert_eq!(
        value(&setup, "Transport"),
        "RTP/AVP/TCP;unicast;interleaved=2-3"
    );
    let session = value(&setup, "Session").split(';').next().unwrap();
    assert!(!machine.is_playing());

    let play = format!("PLAY {URL}/ RTSP/1.0\r\nCSeq: 9\r\nSession: {session}");
    let transport = Some(Transport::Interleaved { rtp: 2, rtcp: 3 });
    let opened = handle(&mut machine, &play);
    assert!(matches!(opened, Step::Open(open) if open.transport == transport));
    assert_eq!(machine.opened(Ok(PICTURE)), Step::Play);
    let played = machine.playing(Some((5, 6)));
    assert_eq!(
        value(&played, "RTP-Info"),
        format!("url={URL}/trackID=0;seq=5;rtptime=6")
    );
    assert_eq!(value(&played, "Range"), "npt=now-");
    assert!(machine.is_playing());

    for method in ["OPTIONS", "GET_PARAMETER", "SET_PARAMETER", "PLAY"] {
        let alive = format!("{method} {URL}/ RTSP/1.0\r\nCSeq: 10\r\nSession: {session}");
        assert_eq!(reply(handle(&mut machine, &alive)).status, 200);
    }
    let pause = format!("PAUSE {URL}/ RTSP/1.0\r\nCSeq: 11\r\nSession: {session}");
    assert!(matches!(handle(&mut machine, &pause), Step::Stop(_)));
    // The camera has gone meanwhile; the session stays, and plays when it is back.
    assert!(matches!(handle(&mut machine, &play), Step::Open(_)));
    let away = reply(machine.opened(Err(OpenError::Refused(Reason::CameraStalled))));
    assert_eq!(
        (away.status, value(&away, "X-Reason")),
        (503, "camera_stalled")
    );
    assert!(value(&away, "Session").starts_with(session) && !machine.is_playing());
    assert!(matches!(handle(&mut machine, &play), Step::Open(_)));
    assert_eq!(machine.opened(Ok(PICTURE)), Step::Play);
    machine.playing(None);
    let teardown = format!("TEARDOWN {URL}/ RTSP/1.0\r\nCSeq: 12\r\nSession: {session}");
    assert!(matches!(handle(&mut machine, &teardown), Step::Teardown(_)));
    assert!(!machine.has_session());
}

#[test]
fn what_is_out_of_place_gets_its_status() {
    let mut machine = machine(true);
    let status = |machine: &mut Machine, text: &str| reply(handle(machine, text)).status;
    for method in ["PLAY", "PAUSE", "TEARDOWN"] {
        let text = format!("{method} {URL} RTSP/1.0\r\nCSeq: 1");
        assert_eq!(status(&mut machine, &text), 455, "{method}");
        assert_eq!(status(&mut machine, &format!("{text}\r\nSession: x")), 454);
    }
    for method in ["RECORD", "ANNOUNCE", "DANCE"] {
        let text = format!("{method} {URL} RTSP/1.0\r\nCSeq: 1");
        assert_eq!(status(&mut machine, &text), 501, "{method}");
    }
    assert_eq!(status(&mut machine, "OPTIONS * RTSP/2.0\r\nCSeq: 1"), 505);
    assert_eq!(
        status(&mut machine, "OPTIONS * RTSP/1.0\r\nCSeq: 1\r\nRequire: x"),
        551
    );
    assert_eq!(
        status(&mut machine, "DESCRIBE rtsp://h/ RTSP/1.0\r\nCSeq: 1"),
        404
    );
    assert_eq!(status(&mut machine, "DESCRIBE * RTSP/1.0\r\nCSeq: 1"), 404);
    assert_eq!(
        status(
            &mut machine,
            "DESCRIBE rtsp://h/a RTSP/1.0\r\nCSeq: 1\r\nAccept: text/html"
        ),
        406
    );
    let Step::Close(close) = handle(&mut machine, "OPTIONS * RTSP/1.0") else {
        panic!("no CSeq");
    };
    assert_eq!(close.status, 400);

    let session = set_up(&mut machine);
    let other = "SETUP rtsp://h/commune/other RTSP/1.0\r\nCSeq: 1\r\nTransport: RTP/AVP/TCP";
    assert_eq!(status(&mut machine, other), 459);
    let other = format!("PLAY rtsp://h/commune/other RTSP/1.0\r\nCSeq: 1\r\nSession: {session}");
    assert_eq!(status(&mut machine, &other), 404);
    let foreign = format!("GET_PARAMETER {URL} RTSP/1.0\r\nCSeq: 1\r\nSession: {session}1");
    assert_eq!(status(&mut machine, &foreign), 454);
}

#[test]
fn a_refused_picture_tells_why() {
    let mut machine = machine(true);
    handle(&mut machine, &format!("DESCRIBE {URL} RTSP/1.0\r\nCSeq: 4"));
    let refused = reply(machine.opened(Err(OpenError::Ended(Reason::GrantExpired))));
    assert_eq!((refused.status, value(&refused, "CSeq")), (403, "4"));
    assert_eq!(value(&refused, "X-Reason"), "grant_expired");
}

#[test]
fn nobody_without_credentials_gets_past_describe_or_setup() {
    for method in ["DESCRIBE", "SETUP"] {
        let mut machine = machine(true);
        let text = format!("{method} {URL} RTSP/1.0\r\nCSeq: 1");
        let asked = reply(handle_as(&mut machine, &text, false));
        assert_eq!((asked.status, asked.refused), (401, None));
        let challenges = asked
            .headers
            .iter()
            .filter(|(name, _)| *name == "WWW-Authenticate");
        assert_eq!(challenges.count(), 2);
        assert_eq!(machine.take_wrong_user(), None, "asking is no attempt");
        for unreadable in ["Basic Og==", "Digest username=\"a\"", "Digest", ""] {
            let text = format!("{text}\r\nAuthorization: {unreadable}");
            let answer = reply(handle_as(&mut machine, &text, false));
            let refused = Some("unreadable_credentials");
            assert_eq!((answer.status, answer.refused), (401, refused));
            assert_eq!(machine.take_wrong_user(), None, "{unreadable}");
        }
        let guess = |user| {
            format!(
                "{text}\r\nAuthorization: Digest username=\"{user}\", nonce=\"x\", response=\"y\""
            )
        };
        let answer = reply(handle_as(&mut machine, &guess("a"), false));
        assert_eq!(
            (answer.status, answer.refused),
            (401, Some("wrong_credentials"))
        );
        assert_eq!(machine.take_wrong_user().as_deref(), Some("a"));
        let Step::Close(answer) = handle_as(&mut machine, &guess("blocked"), false) else {
            panic!("not closed");
        };
        assert_eq!(
            (answer.status, answer.refused),
            (403, Some("too_many_attempts"))
        );
        assert_eq!(machine.take_wrong_user(), None);
    }
}

#[test]
fn datagrams_only_where_they_are_allowed() {
    let mut machine = machine(false);
    let text = format!("SETUP {URL} RTSP/1.0\r\nCSeq: 1\r\nTransport: RTP/AVP;client_port=5000");
    let refused = reply(handle(&mut machine, &text));
    assert_eq!((refused.status, refused.refused), (461, Some("transport")));
    let both = format!("{text}\r\nTransport: RTP/AVP/TCP");
    assert!(matches!(handle(&mut machine, &both), Step::Open(_)));
}

#[test]
fn a_description_is_given_to_all_who_can_read_it() {
    for accept in [
        "application/sdp",
        "Application/SDP",
        "application/*",
        "*/*;q=0.1",
        "text/html, application/sdp;level=1",
        "text/html\r\nAccept: APPLICATION/sdp",
        "",
    ] {
        let text = format!("DESCRIBE {URL} RTSP/1.0\r\nCSeq: 1\r\nAccept: {accept}");
        assert!(
            matches!(handle(&mut machine(true), &text), Step::Open(_)),
            "{accept}"
        );
    }
}

#[test]
fn the_description_says_the_family_of_the_connection() {
    for (peer, family) in [
        ("10.0.0.5:1", "IN IP4 0.0.0.0\r\n"),
        ("[::ffff:10.0.0.5]:1", "IN IP4 0.0.0.0\r\n"),
        ("[fe80::1]:1", "IN IP6 ::\r\n"),
    ] {
        let mut machine = Machine::new(peer.parse().unwrap(), true, [1; 16], NOW);
        handle(&mut machine, &format!("DESCRIBE {URL} RTSP/1.0\r\nCSeq: 4"));
        let described = reply(machine.opened(Ok(PICTURE)));
        let text = String::from_utf8(described.body).unwrap();
        assert_eq!(text.matches(family).count(), 2, "{peer}: {text}");
    }
}

#[test]
fn udp_tells_the_ports_once_they_are_bound() {
    let mut machine = machine(true);
    let text = format!("SETUP {URL} RTSP/1.0\r\nCSeq: 1\r\nTransport: RTP/AVP;client_port=5000");
    assert!(matches!(handle(&mut machine, &text), Step::Open(_)));
    let transport = Transport::Udp {
        rtp: 5000,
        rtcp: 5001,
    };
    assert_eq!(machine.opened(Ok(PICTURE)), Step::Bind(transport));
    let bound = reply(machine.bound(Some((7000, 7001))));
    assert_eq!(
        value(&bound, "Transport"),
        "RTP/AVP;unicast;client_port=5000-5001;server_port=7000-7001"
    );
    assert_eq!(machine.transport(), Some(transport));
}

#[test]
fn urls_in_every_form_name_the_same_camera() {
    for (uri, base) in [
        ("rtsp://h/a/b", "rtsp://h/a/b/"),
        ("rtsp://user:p%40w@h:1/a/b/", "rtsp://h:1/a/b/"),
        ("rtsp://h/a/b?x=/y", "rtsp://h/a/b/"),
        ("rtsp://h/a/b/trackID=0", "rtsp://h/a/b/"),
        ("rtsp://h/a/b/trackID%3D0?x", "rtsp://h/a/b/"),
        (
            "rtsps://[fe80::1%25eth0]:8554//a///b//",
            "rtsps://[fe80::1%25eth0]:8554/a/b/",
        ),
        ("rtsp://h/a%2Fb", "rtsp://h/a%2Fb/"),
        ("rtsp://h/%61/b", "rtsp://h/%61/b/"),
        ("/a/b", "/a/b/"),
        ("a/b/", "/a/b/"),
    ] {
        let target = Target::read(uri).expect(uri);
        assert_eq!(
            (target.path.as_str(), target.base.as_str()),
            ("a/b", base),
            "{uri}"
        );
        assert!(!target.url.contains('@'), "{uri}");
    }
    let long = format!("rtsp://h/{}", "a".repeat(2_000));
    for uri in [
        "",
        "/",
        "rtsp://h",
        "rtsp://h/",
        "rtsp://h/trackID=0",
        "*",
        &long,
    ] {
        assert_eq!(Target::read(uri), None, "{uri}");
    }
    // What is no track is another path, which the library knows nothing of.
    for track in ["trackID=1", "video", "stream1"] {
        let target = Target::read(&format!("rtsp://h/a/b/{track}")).unwrap();
        assert_eq!(target.path, format!("a/b/{track}"));
    }
}

#[test]
fn a_track_is_set_up_by_any_name_that_the_description_allows() {
    for uri in ["trackID=0", "URL/trackID=0", "URL/", "URL"] {
        let uri = uri.replace("URL", URL);
        let mut machine = machine(true);
        handle(
            &mut machine,
            &format!("DESCRIBE {URL}/trackID=0 RTSP/1.0\r\nCSeq: 1"),
        );
        let described = reply(machine.opened(Ok(PICTURE)));
        assert_eq!(value(&described, "Content-Base"), format!("{URL}/"));
        let text = format!("SETUP {uri} RTSP/1.0\r\nCSeq: 2\r\nTransport: RTP/AVP/TCP");
        let answer = reply(handle(&mut machine, &text));
        assert_eq!(answer.status, 200, "{uri}");
        let below = format!("SETUP {URL}/trackID=1 RTSP/1.0\r\nCSeq: 3");
        assert_eq!(reply(handle(&mut machine, &below)).status, 404);
    }
}

#[test]
fn no_truncated_or_flipped_request_panics_or_gets_a_picture() {
    let texts = [
        format!("OPTIONS {URL} RTSP/1.0\r\nCSeq: 1\r\nRequire: x"),
        format!("DESCRIBE {URL} RTSP/1.0\r\nCSeq: 1\r\nAccept: application/sdp"),
        format!(
            "SETUP {URL}/trackID=0 RTSP/1.0\r\nCSeq: 1\r\nTransport: RTP/AVP;client_port=5000-5001"
        ),
        format!("PLAY {URL} RTSP/1.0\r\nCSeq: 1\r\nSession: 0202\r\nRange: npt=0-"),
        format!(
            "DESCRIBE {URL} RTSP/1.0\r\nCSeq: 1\r\nAuthorization: Digest username=\"a\", \
             realm=\"fanal\", nonce=\"01\", uri=\"{URL}\", response=\"00\""
        ),
    ];
    let context = Context {
        now: NOW,
        random: [2; 16],
        password: &password,
        open: false,
        is_blocked: &|_| false,
    };
    for text in texts {
        let whole = format!("{text}\r\n\r\n").into_bytes();
        let truncated = (0..text.len()).map(|end| [&whole[..end], b"\r\n\r\n"].concat());
        let flipped = (0..whole.len() * 8).map(|bit| {
            let mut broken = whole.clone();
            broken[bit / 8] ^= 1 << (bit % 8);
            broken
        });
        for broken in truncated.chain(flipped) {
            let Some(request) = read(&broken) else {
                continue;
            };
            let mut machine = machine(true);
            match machine.handle(&request, &context) {
                Step::Reply(_) | Step::Close(_) => {}
                other => panic!("{other:?} to {}", String::from_utf8_lossy(&broken)),
            }
        }
    }
}
