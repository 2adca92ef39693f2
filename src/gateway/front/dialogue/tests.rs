use super::*;

const DESCRIPTION: &str =
    "v=0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:video\r\n";

fn dialogue(transport: Transport) -> Dialogue {
    Dialogue::new(
        &Url::parse("rtsp://10.0.0.9/main").unwrap(),
        transport,
        None,
        (false, None),
        Duration::from_secs(60),
        Learned::default(),
    )
}

fn answer(status: u16, headers: &[(&str, &str)]) -> Message {
    let mut message = Message::response(status, "x");
    for (name, value) in headers {
        message.set(name, value.to_string());
    }
    message
}

fn describe(dialogue: &mut Dialogue) {
    dialogue.request(Ask::Describe, [0; 8]);
    let mut described = answer(200, &[("Content-Type", "application/sdp")]);
    described.body = DESCRIPTION.into();
    let next = dialogue.judge(Ask::Describe, &described);
    assert!(matches!(next, Next::Accepted), "{next:?}");
}

fn asked(dialogue: &mut Dialogue, ask: Ask) -> (String, String) {
    let request = dialogue.request(ask, [0; 8]);
    let (method, uri) = request.asked().unwrap();
    (method.to_owned(), uri.to_owned())
}

#[test]
fn sessions_are_read_with_patience_and_kept_alive_in_time() {
    for (text, id, least) in [
        ("77", "77", 5_000),
        ("77;timeout=60", "77", 20_000),
        ("77 ; foo=bar; Timeout = 30", "77", 10_000),
        ("77;timeout=0", "77", 5_000),
        ("77;timeout=1", "77", 333),
        ("77;timeout=99999999999999999999", "77", 5_000),
    ] {
        let mut dialogue = dialogue(Transport::Tcp);
        describe(&mut dialogue);
        dialogue.request(Ask::Setup, [0; 8]);
        dialogue.judge(Ask::Setup, &answer(200, &[("Session", text)]));
        assert_eq!(dialogue.session.as_deref(), Some(id), "{text}");
        assert_eq!(dialogue.keepalive_interval().as_millis(), least, "{text}");
        let play = dialogue.request(Ask::Play, [0; 8]);
        assert_eq!(play.header("Session"), Some(id.as_bytes()));
    }
}

#[test]
fn an_answer_without_transport_means_what_was_asked() {
    let mut dialogue = dialogue(Transport::Tcp);
    describe(&mut dialogue);
    dialogue.request(Ask::Setup, [0; 8]);
    assert!(!dialogue.has_session());
    let next = dialogue.judge(Ask::Setup, &answer(200, &[]));
    assert!(matches!(next, Next::Accepted));
    assert_eq!(dialogue.lane(), Some(Lane::Interleaved { rtp: 0, rtcp: 1 }));
    assert!(
        dialogue
            .learned
            .fixes()
            .needed()
            .contains(&Fix::TransportForm)
    );
}

#[test]
fn the_other_transport_is_tried_once() {
    let mut dialogue = dialogue(Transport::Udp);
    dialogue.set_client_ports((5000, 5001));
    describe(&mut dialogue);
    let request = dialogue.request(Ask::Setup, [0; 8]);
    let transport = request.text("Transport").unwrap().into_owned();
    assert_eq!(transport, "RTP/AVP;unicast;client_port=5000-5001");
    assert!(matches!(
        dialogue.judge(Ask::Setup, &answer(461, &[])),
        Next::Again
    ));
    let request = dialogue.request(Ask::Setup, [0; 8]);
    let transport = request.text("Transport").unwrap().into_owned();
    assert_eq!(transport, "RTP/AVP/TCP;unicast;interleaved=0-1");
    let Next::Failed(failure) = dialogue.judge(Ask::Setup, &answer(461, &[])) else {
        panic!("a third transport");
    };
    assert!(failure.refusal.detail.contains("461"));
}

#[test]
fn a_refused_keep_alive_is_not_sent_again() {
    let mut dialogue = dialogue(Transport::Tcp);
    describe(&mut dialogue);
    assert_eq!(asked(&mut dialogue, Ask::KeepAlive).0, "OPTIONS");
    let public = answer(200, &[("Public", "DESCRIBE, get_parameter, SET_PARAMETER")]);
    dialogue.judge(Ask::KeepAlive, &public);
    for (method, status) in [
        ("GET_PARAMETER", 501),
        ("OPTIONS", 200),
        ("SET_PARAMETER", 405),
        ("OPTIONS", 400),
    ] {
        assert_eq!(asked(&mut dialogue, Ask::KeepAlive).0, method);
        let next = dialogue.judge(Ask::KeepAlive, &answer(status, &[]));
        assert!(matches!(next, Next::Accepted));
    }
    assert_eq!(asked(&mut dialogue, Ask::KeepAlive).0, "OPTIONS");
    let learned = dialogue.learned.clone();
    assert_eq!(learned.lock().refused.len(), 3, "also for the next session");
}

#[test]
fn a_redirect_is_followed_once_and_to_the_same_host_only() {
    let mut dialogue = dialogue(Transport::Tcp);
    dialogue.request(Ask::Describe, [0; 8]);
    let away = answer(302, &[("Location", "rtsp://10.0.0.10/x")]);
    assert!(matches!(
        dialogue.judge(Ask::Describe, &away),
        Next::Failed(_)
    ));
    let here = answer(302, &[("Location", "rtsp://10.0.0.9/new")]);
    assert!(matches!(dialogue.judge(Ask::Describe, &here), Next::Again));
    assert_eq!(asked(&mut dialogue, Ask::Describe).1, "rtsp://10.0.0.9/new");
    assert!(matches!(
        dialogue.judge(Ask::Describe, &here),
        Next::Failed(_)
    ));
}

#[test]
fn what_can_be_tried_otherwise_is_tried_a_bounded_number_of_times() {
    for ask in [Ask::Describe, Ask::Setup, Ask::Play] {
        for status in [
            300, 400, 404, 406, 451, 454, 455, 457, 459, 460, 461, 500, 501,
        ] {
            let mut dialogue = dialogue(Transport::Tcp);
            describe(&mut dialogue);
            let mut tries = 0;
            loop {
                dialogue.request(ask, [0; 8]);
                match dialogue.judge(ask, &answer(status, &[])) {
                    Next::Again => tries += 1,
                    Next::Failed(failure) => {
                        assert!(failure.refusal.detail.contains(&status.to_string()));
                        break;
                    }
                    other => panic!("{other:?}"),
                }
                assert!(tries <= TRIES_LIMIT, "{ask:?} {status}");
            }
        }
    }
}

#[test]
fn a_password_that_is_not_set_is_said() {
    let mut dialogue = dialogue(Transport::Tcp);
    dialogue.request(Ask::Describe, [0; 8]);
    let challenge = answer(
        401,
        &[("WWW-Authenticate", "Digest realm=\"r\", nonce=\"n\"")],
    );
    let Next::Failed(failure) = dialogue.judge(Ask::Describe, &challenge) else {
        panic!("signed without a password");
    };
    assert_eq!(failure.refusal.reason, Reason::CameraUnauthorized);
    assert!(failure.refusal.detail.contains("none is set"));
}

/// A camera that was taken over asks for answers that would serve at another one with
/// the same password: none is given, and where it insists the cause is told.
#[test]
fn a_password_is_used_for_no_other_host() {
    let target = "rtsp://10.0.0.9/main";
    let credential = Credential {
        username: "fanal".to_owned(),
        password: crate::secret::Secret::new("s3cret"),
        basic: false,
    };
    let mut dialogue = Dialogue::new(
        &Url::parse(target).unwrap(),
        Transport::Tcp,
        Some(credential),
        (false, None),
        Duration::from_secs(60),
        Learned::default(),
    );
    dialogue.handle_connected("10.0.0.9:554".parse().unwrap());
    let challenge = [("WWW-Authenticate", "Digest realm=\"other\", nonce=\"n\"")];
    dialogue.request(Ask::Describe, [0; 8]);
    let next = dialogue.judge(Ask::Describe, &answer(401, &challenge));
    assert!(matches!(next, Next::Again));
    dialogue.request(Ask::Describe, [0; 8]);
    let mut described = answer(200, &[("Content-Base", "rtsp://10.0.0.10/main/")]);
    described.body = b"v=0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:rtsp://10.0.0.10/t\r\n".to_vec();
    assert!(matches!(
        dialogue.judge(Ask::Describe, &described),
        Next::Accepted
    ));
    let failure = loop {
        let request = dialogue.request(Ask::Setup, [0; 8]);
        let (_, uri) = request.asked().unwrap();
        assert!(uri.starts_with("rtsp://10.0.0.9/"), "{uri}");
        let signed = request.text("Authorization").unwrap().into_owned();
        assert!(signed.contains("uri=\"rtsp://10.0.0.9/"), "{signed}");
        match dialogue.judge(Ask::Setup, &answer(454, &[])) {
            Next::Again => {}
            Next::Failed(failure) => break failure,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(failure.refusal.reason, Reason::CameraRefused);
    assert!(failure.refusal.detail.contains("another host or port"));
}
