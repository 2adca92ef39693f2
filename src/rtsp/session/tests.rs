use super::*;
use crate::media::unit::Codec;
use rtsp_types::Message;
use std::time::Duration;

const PEER: SocketAddr = SocketAddr::new(
    std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 5)),
    40_000,
);
const NOW: Boot = Boot(Duration::from_secs(9));
const URL: &str = "rtsp://h:8554/commune/camera";

fn machine(encrypted: bool) -> Machine {
    Machine::new(PEER, encrypted, [1; 16], NOW)
}

fn handle(machine: &mut Machine, text: &str) -> Step {
    handle_as(machine, text, true)
}

fn handle_as(machine: &mut Machine, text: &str, open: bool) -> Step {
    let text = format!("{text}\r\n\r\n");
    let (message, _) = Message::<Vec<u8>>::parse(text.as_bytes()).expect(&text);
    let Message::Request(request) = message else {
        panic!("{text} is no request");
    };
    let context = Context {
        now: NOW,
        random: [2; 16],
        password: &|_, _| Some(Secret::new("secret")),
        open,
        blocked: false,
    };
    machine.handle(&request, &context)
}

fn configuration() -> Configuration {
    Configuration {
        codec: Codec::Jpeg,
        record: bytes::Bytes::new(),
        width: 0,
        height: 0,
    }
}

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
    let reply = reply(machine.opened(Ok(&configuration())));
    assert_eq!(reply.status, 200);
    value(&reply, "Session")
        .split(';')
        .next()
        .unwrap()
        .to_owned()
}

#[test]
fn a_whole_session() {
    let mut machine = machine(false);
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
    let described = reply(machine.opened(Ok(&configuration())));
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
    assert_eq!(handle(&mut machine, &play), Step::Play);
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
    assert_eq!(handle(&mut machine, &play), Step::Play);
    machine.playing(None);
    let teardown = format!("TEARDOWN {URL}/ RTSP/1.0\r\nCSeq: 12\r\nSession: {session}");
    assert!(matches!(handle(&mut machine, &teardown), Step::Teardown(_)));
    assert!(!machine.has_session());
}

#[test]
fn what_is_out_of_place_gets_its_status() {
    let mut machine = machine(false);
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
    let mut machine = machine(false);
    handle(&mut machine, &format!("DESCRIBE {URL} RTSP/1.0\r\nCSeq: 4"));
    let refused = reply(machine.opened(Err(OpenError {
        status: 403,
        reason: Some(Reason::GrantExpired),
    })));
    assert_eq!((refused.status, value(&refused, "CSeq")), (403, "4"));
    assert_eq!(value(&refused, "X-Reason"), "grant_expired");
}

#[test]
fn nobody_without_credentials_gets_past_describe_or_setup() {
    for method in ["DESCRIBE", "SETUP"] {
        let mut machine = machine(false);
        let text = format!("{method} {URL} RTSP/1.0\r\nCSeq: 1");
        let asked = reply(handle_as(&mut machine, &text, false));
        assert_eq!(asked.status, 401);
        let challenges = asked
            .headers
            .iter()
            .filter(|(name, _)| *name == "WWW-Authenticate");
        assert_eq!(challenges.count(), 2);
        assert!(!machine.take_wrong_credentials(), "asking is no attempt");
        let guess = format!("{text}\r\nAuthorization: Digest username=\"a\"");
        assert_eq!(reply(handle_as(&mut machine, &guess, false)).status, 401);
        assert!(machine.take_wrong_credentials());
    }
}

#[test]
fn transports() {
    let tcp = |rtp, rtcp| Some(Transport::Interleaved { rtp, rtcp });
    let udp = |rtp, rtcp| Some(Transport::Udp { rtp, rtcp });
    for (offered, expected) in [
        ("RTP/AVP/TCP;unicast;interleaved=0-1", tcp(0, 1)),
        ("RTP/AVP/TCP;interleaved=6-9;unicast", tcp(6, 9)),
        ("RTP/AVP/TCP", tcp(0, 1)),
        ("RTP/AVP/TCP;interleaved=255", None),
        ("RTP/AVP/TCP;interleaved=1-1", None),
        ("RTP/AVP/TCP;interleaved=1-300", None),
        ("RTP/AVP;unicast;client_port=5000-5001", udp(5000, 5001)),
        ("rtp/avp/udp;unicast;client_port=5000", udp(5000, 5001)),
        (
            "RTP/AVP;unicast;client_port=5000-5001;mode=\"PLAY\"",
            udp(5000, 5001),
        ),
        ("RTP/AVP;unicast;client_port=5000-5001;mode=record", None),
        ("RTP/AVP;unicast;client_port=80-81", None),
        ("RTP/AVP;unicast", None),
        (
            "RTP/AVP;unicast;destination=10.0.0.5;client_port=5000-5001",
            udp(5000, 5001),
        ),
        (
            "RTP/AVP;unicast;destination=10.0.0.6;client_port=5000-5001",
            None,
        ),
        ("RTP/AVP;multicast;client_port=5000-5001", None),
        ("RTP/AVP;multicast, RTP/AVP/TCP;unicast", tcp(0, 1)),
        ("RTP/SAVP;unicast;client_port=5000-5001", None),
        ("", None),
    ] {
        assert_eq!(
            choose_transport(offered, PEER, false),
            expected,
            "{offered}"
        );
    }
    assert_eq!(
        choose_transport("RTP/AVP;unicast;client_port=5000-5001", PEER, true),
        None
    );

    let mut machine = machine(true);
    let text = format!("SETUP {URL} RTSP/1.0\r\nCSeq: 1\r\nTransport: RTP/AVP;client_port=5000");
    assert_eq!(reply(handle(&mut machine, &text)).status, 461);
}

#[test]
fn udp_tells_the_ports_once_they_are_bound() {
    let mut machine = machine(false);
    let text = format!("SETUP {URL} RTSP/1.0\r\nCSeq: 1\r\nTransport: RTP/AVP;client_port=5000");
    assert!(matches!(handle(&mut machine, &text), Step::Open(_)));
    let transport = Transport::Udp {
        rtp: 5000,
        rtcp: 5001,
    };
    assert_eq!(machine.opened(Ok(&configuration())), Step::Bind(transport));
    let bound = reply(machine.bound(Some((7000, 7001))));
    assert_eq!(
        value(&bound, "Transport"),
        "RTP/AVP;unicast;client_port=5000-5001;server_port=7000-7001"
    );
    assert_eq!(machine.transport(), Some(transport));
}

#[test]
fn paths() {
    for url in [
        "rtsp://h/a/b",
        "rtsp://user@h:1/a/b/",
        "rtsp://h/a/b?x=/y",
        "rtsp://h/a/b/trackID=0",
        "/a/b",
        "a/b/",
    ] {
        assert_eq!(camera_path(url), "a/b", "{url}");
    }
    for url in ["", "/", "rtsp://h", "rtsp://h/", "rtsp://h/trackID=0", "*"] {
        assert!(camera_path(url).is_empty() || url == "*", "{url}");
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
        password: &|_, _| Some(Secret::new("secret")),
        open: false,
        blocked: false,
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
            let Ok((Message::Request(request), _)) = Message::<Vec<u8>>::parse(&broken) else {
                continue;
            };
            let mut machine = machine(false);
            match machine.handle(&request, &context) {
                Step::Reply(_) | Step::Close(_) => {}
                other => panic!("{other:?} to {}", String::from_utf8_lossy(&broken)),
            }
        }
    }
}
