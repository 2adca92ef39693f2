//! What real cameras do to those who pull them: one test each.

use super::*;

/// Sets of another size than the description's: 640 × 352 or so.
const OTHER_SETS: &str = "Z2QAHqwsaoLA9puCgIKgAAADACAAAAMD0IAA,aO4xshsA";

fn digest(challenge: &'static str) -> Script {
    Script {
        auth: Some(Auth::digest(challenge)),
        ..Script::default()
    }
}

/// The pool knows the password.
async fn with_password(script: Script) -> Simple {
    simple_with(script, LIMITS, |s| {
        s.credential = credential("s3cret", false)
    })
    .await
}

/// That no request ever carried the password so that others can read it.
fn assert_never_basic(camera: &Camera) {
    for seen in camera.seen() {
        let given = seen
            .headers
            .get("authorization")
            .cloned()
            .unwrap_or_default();
        assert!(!given.starts_with("Basic"), "{seen:?}");
    }
}

#[tokio::test]
async fn a_camera_that_accepts_play_and_sends_nothing_is_told_apart() {
    let script = Script {
        on_play: Vec::new(),
        ..Script::default()
    };
    let test = simple_with(script, LIMITS, |s| {
        s.start_timeout = Duration::from_millis(100);
    })
    .await;
    let (state, detail) = test.sink.until_failed(Reason::CameraStalled).await;
    assert!(matches!(state, State::Retrying(_)));
    assert!(detail.contains("PLAY was accepted"), "{detail}");
    test.camera.until_method("TEARDOWN", 1).await;
    test.camera.until_method("PLAY", 2).await;
}

#[tokio::test]
async fn a_camera_that_falls_silent_is_opened_again_while_its_viewers_stay() {
    let limits = Limits {
        stall: Duration::from_millis(150),
        ..LIMITS
    };
    let test = simple_with(Script::default(), limits, |_| {}).await;
    test.sink.until_failed(Reason::CameraStalled).await;
    let got = test.sink.until_units(2).await;
    let (first, second) = (&got.groups[0], &got.groups[1]);
    assert_eq!(
        (first.epoch, second.epoch, second.first_of_epoch),
        (1, 2, true)
    );
    assert_eq!(second.number, 2, "group numbers go on");
    let step = got.units[1].1.pts - got.units[0].1.pts;
    let passed = (got.units[1].1.captured - got.units[0].1.captured) * 9 / 100;
    assert!(
        (step - passed).abs() < 900,
        "times go on by the gap: {step} {passed}"
    );
}

#[tokio::test]
async fn a_machine_that_was_held_up_blames_no_camera() {
    let limits = Limits {
        stall: Duration::from_millis(300),
        ..LIMITS
    };
    let test = simple_with(Script::default(), limits, |_| {}).await;
    test.sink.until_units(1).await;
    test.camera.picture(1, Picture::delta(3_600)).await;
    // Nothing of this process runs for longer than a stall, as in a virtual machine that is
    // moved; the picture that came meanwhile is read behind it.
    std::thread::sleep(3 * limits.stall);
    let got = test.sink.until_units(2).await;
    assert_eq!(got.states, [State::Starting, State::Live]);
}

#[tokio::test]
async fn a_camera_that_never_answers_is_unreachable() {
    let limits = Limits {
        describe: Duration::from_millis(100),
        ..LIMITS
    };
    let mut script = Script::default();
    script.silent.push("DESCRIBE");
    let test = simple_with(script, limits, |s| s.credential = credential("x", false)).await;
    let (_, detail) = test.sink.until_failed(Reason::CameraUnreachable).await;
    assert!(detail.contains("no answer to DESCRIBE"), "{detail}");
}

#[tokio::test]
async fn a_closed_port_refuses() {
    let camera = Camera::start(Script::default()).await;
    let url = camera.url();
    drop(camera);
    let world = world(gateway(vec![("cam", streams(&url))]), LIMITS);
    let sink = Recorder::new();
    let _attached = world.attach("cam", &sink);
    let (_, detail) = sink.until_failed(Reason::CameraRefused).await;
    assert!(detail.contains("nothing listens"), "{detail}");
    assert!(
        !detail.contains("127.0.0.1"),
        "operators may not know where it is"
    );
    let line = r#"fanal_gateway_camera_starts_total{outcome="failed",reason="camera_refused"} "#;
    assert!(world.metrics.encode().unwrap().contains(line));
}

#[tokio::test]
async fn a_connection_cut_in_a_picture_is_made_again() {
    let test = simple(Script::default()).await;
    test.camera.picture(1, Picture::delta(3_600)).await;
    test.sink.until_units(2).await;
    test.camera.order(1, Order::CutMidFrame).await;
    let got = test.sink.until_units(3).await;
    assert!(
        got.states
            .iter()
            .any(|s| failure(s) == Some(Reason::CameraStalled))
    );
    assert_eq!(got.states.last(), Some(&State::Live));
    assert_eq!(
        got.groups.iter().map(|g| g.epoch).collect::<Vec<_>>(),
        [1, 2]
    );
    assert!(got.units[2].1.pts > got.units[1].1.pts);
}

#[tokio::test]
async fn rtp_time_that_starts_again_is_rebased() {
    let test = simple(Script {
        on_play: vec![Picture::key(4_000_000_000)],
        ..Script::default()
    })
    .await;
    test.camera.picture(1, Picture::delta(4_000_003_600)).await;
    test.camera.picture(1, Picture::key(0)).await;
    test.camera.picture(1, Picture::delta(3_600)).await;
    let got = test.sink.until_units(4).await;
    let pts: Vec<i64> = got.units.iter().map(|(_, unit)| unit.pts).collect();
    assert!(
        pts.windows(2).all(|w| w[0] < w[1] && w[1] - w[0] < 90_000),
        "{pts:?}"
    );
    assert_eq!(pts[3] - pts[2], 3_600);
    assert_eq!(
        got.groups.iter().map(|g| g.epoch).collect::<Vec<_>>(),
        [1, 2]
    );
    assert_eq!(test.camera.connections(), 1);
}

#[tokio::test]
async fn a_size_change_is_a_new_epoch_and_configuration() {
    let test = simple(Script::default()).await;
    test.camera
        .picture(1, Picture::key_with(3_600, OTHER_SETS))
        .await;
    test.camera.picture(1, Picture::key(7_200)).await;
    let got = test.sink.until_units(3).await;
    assert_eq!(
        got.groups.iter().map(|g| g.epoch).collect::<Vec<_>>(),
        [1, 2, 2]
    );
    let sizes: Vec<_> = got.groups.iter().map(|g| g.configuration.width).collect();
    assert_eq!(sizes, [240, 704, 704]);
    assert_eq!(
        got.units[1].1.data.len(),
        404,
        "parameter sets are not in the data"
    );
}

#[tokio::test]
async fn a_group_of_minutes_is_not_kept_beyond_its_bound() {
    let test = simple(Script::default()).await;
    let (size, count) = (60_000, 300);
    for i in 1..=count {
        test.camera
            .picture(1, Picture::nal(i * 3_600, 0x41, size))
            .await;
    }
    test.sink.until_units(1 + count as usize).await;
    let second = Recorder::new();
    let _second = test.world.attach("cam", &second);
    second.until_live().await;
    test.camera.picture(1, Picture::delta(3_600 * 400)).await;
    test.camera.picture(1, Picture::key(3_600 * 401)).await;
    let got = second.until_units(1).await;
    assert!(
        got.units[0].1.flags.key && !got.groups[0].kept,
        "nothing before a key frame"
    );
}

#[tokio::test]
async fn a_key_frame_wanted_in_a_long_group_opens_the_session_anew() {
    let limits = Limits {
        key_frame_near: Duration::ZERO,
        key_frame_every: Duration::from_secs(60),
        ..LIMITS
    };
    let test = simple_with(Script::default(), limits, |_| {}).await;
    test.sink.until_units(1).await;
    for _ in 0..3 {
        test.world.pool.want_key_frame(&id("cam"), Profile::Main);
    }
    let got = test.sink.until_units(2).await;
    assert!(got.groups[1].first_of_epoch);
    test.camera.until_method("TEARDOWN", 1).await;
    test.world.pool.want_key_frame(&id("cam"), Profile::Main);
    test.camera.picture(2, Picture::delta(3_600)).await;
    test.sink.until_units(3).await;
    assert_eq!(test.camera.count("PLAY"), 2, "not again so soon");
}

#[tokio::test]
async fn no_key_frame_has_its_own_reason() {
    let script = Script {
        on_play: vec![Picture::delta(0), Picture::delta(3_600)],
        ..Script::default()
    };
    let test = simple_with(script, LIMITS, |s| {
        s.start_timeout = Duration::from_millis(200);
    })
    .await;
    let (_, detail) = test.sink.until_failed(Reason::CameraNoKeyFrame).await;
    assert!(detail.contains("key frame interval"), "{detail}");
    assert!(test.sink.got().units.is_empty());
}

#[tokio::test]
async fn a_codec_that_cannot_be_relayed_is_named_and_not_tried_again() {
    let script = Script {
        media: "m=video 0 RTP/AVP 97\r\na=control:video\r\na=rtpmap:97 VP8/90000\r\n".to_owned(),
        ..Script::default()
    };
    let test = simple(script).await;
    let (state, detail) = test.sink.until_failed(Reason::CodecUnsupported).await;
    assert!(matches!(state, State::Failed(_)));
    assert_eq!(detail, "it sends vp8");
}

#[tokio::test]
async fn statuses_have_their_reasons() {
    for (method, status, reason, held) in [
        ("DESCRIBE", 404, Reason::CameraNotFound, false),
        ("SETUP", 453, Reason::CameraBusy, false),
        ("PLAY", 453, Reason::CameraBusy, false),
        ("DESCRIBE", 503, Reason::CameraBusy, false),
        ("DESCRIBE", 403, Reason::CameraUnauthorized, true),
        ("SETUP", 461, Reason::CameraRefused, true),
        ("DESCRIBE", 500, Reason::CameraRefused, false),
    ] {
        for password in [None, credential("s3cret", false)] {
            let mut script = Script::default();
            script.status.insert(method, status);
            let test = simple_with(script, LIMITS, |s| s.credential = password).await;
            let (state, detail) = test.sink.until_failed(reason).await;
            assert_eq!(matches!(state, State::Failed(_)), held, "{method} {status}");
            assert!(detail.contains(&status.to_string()), "{detail}");
        }
    }
}

#[tokio::test]
async fn a_busy_camera_is_left_alone() {
    let mut script = Script::default();
    script.status.insert("SETUP", 453);
    let limits = Limits {
        busy: Duration::from_secs(3_600),
        ..LIMITS
    };
    let test = simple_with(script, limits, |_| {}).await;
    test.sink.until_failed(Reason::CameraBusy).await;
    // The pool itself lets nobody in before the camera has forgotten its sessions.
    let mut test = test;
    test.attachment = None;
    test.world.until_forgotten().await;
    let second = Recorder::new();
    let _second = test.world.attach("cam", &second);
    second.until_failed(Reason::CameraBusy).await;
    assert_eq!(test.camera.count("SETUP"), 1);
}

#[tokio::test]
async fn digest_with_md5_with_sha256_and_of_the_old_kind() {
    for challenge in [DIGEST_MD5, DIGEST_OLD, DIGEST_SHA256] {
        let mut test = with_password(digest(challenge)).await;
        test.sink.until_units(1).await;
        test.attachment = None;
        test.camera
            .until("TEARDOWN accepted", |seen| {
                seen.iter()
                    .any(|s| s.method == "TEARDOWN" && s.status == 200)
            })
            .await;
        assert_never_basic(&test.camera);
    }
}

#[tokio::test]
async fn the_stronger_digest_is_taken() {
    let both = concat!(
        r#"Basic realm="cam""#,
        "\n",
        r#"Digest realm="cam", nonce="NONCE", algorithm=MD5, qop="auth""#,
        "\n",
        r#"Digest realm="cam", nonce="NONCE", algorithm=SHA-256, qop="auth""#
    );
    let test = with_password(digest(both)).await;
    test.sink.until_units(1).await;
    let seen = test.camera.seen();
    let given = seen
        .iter()
        .find_map(|s| s.headers.get("authorization"))
        .unwrap();
    assert!(given.contains("SHA-256"), "{given}");
}

#[tokio::test]
async fn a_false_camera_does_not_get_the_password_by_asking_for_basic() {
    let late = Auth {
        challenges: vec![DIGEST_MD5, BASIC],
        // A Digest answer is never good enough for it.
        nonce_uses: 0,
        ..Auth::digest(DIGEST_MD5)
    };
    for (auth, words) in [
        (Auth::digest(BASIC), "only Basic"),
        (late, "tried Digest MD5"),
    ] {
        let test = with_password(Script {
            auth: Some(auth),
            ..Script::default()
        })
        .await;
        let (state, detail) = test.sink.until_failed(Reason::CameraUnauthorized).await;
        assert!(
            matches!(state, State::Failed(_)) && detail.contains(words),
            "{detail}"
        );
        assert_never_basic(&test.camera);
    }
}

#[tokio::test]
async fn basic_is_used_where_it_is_set() {
    let test = simple_with(digest(BASIC), LIMITS, |s| {
        s.credential = credential("s3cret", true);
    })
    .await;
    test.sink.until_units(1).await;
}

#[tokio::test]
async fn a_wrong_password_is_tried_once_for_all_cameras_of_the_host() {
    let camera = Camera::start(digest(DIGEST_MD5)).await;
    let mut wrong = streams(&camera.url());
    wrong.credential = credential("wrong", false);
    let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let settings = gateway(names.iter().map(|n| (*n, wrong.clone())).collect());
    let world = world(settings, LIMITS);
    let sinks: Vec<_> = names.iter().map(|_| Recorder::new()).collect();
    let attached: Vec<_> = names
        .iter()
        .zip(&sinks)
        .map(|(n, s)| world.attach(n, s))
        .collect();
    for sink in &sinks {
        let (state, detail) = sink.until_failed(Reason::CameraUnauthorized).await;
        assert!(matches!(state, State::Failed(_)));
        assert!(detail.contains("user name or password"), "{detail}");
    }
    let tried = |camera: &Camera| {
        let with = |s: &crate::scripted::Seen| s.headers.contains_key("authorization");
        camera.seen().into_iter().filter(with).count()
    };
    assert_eq!(tried(&camera), 1, "recorders lock the account after five");
    drop(attached);
    let late = Recorder::new();
    let _late = world.attach("a", &late);
    late.until_failed(Reason::CameraUnauthorized).await;
    assert_eq!(tried(&camera), 1);

    let mut right = wrong.clone();
    right.credential = credential("s3cret", false);
    let settings = gateway(names.iter().map(|n| (*n, right.clone())).collect());
    world.pool.reload(Arc::new(settings));
    late.until_units(1).await;
}

#[tokio::test]
async fn a_password_wanted_and_not_set_is_said() {
    let test = simple(digest(DIGEST_MD5)).await;
    let (state, detail) = test.sink.until_failed(Reason::CameraUnauthorized).await;
    assert!(matches!(state, State::Failed(_)));
    assert!(detail.contains("none is set"), "{detail}");
}

#[tokio::test]
async fn a_nonce_that_changes_with_every_request_costs_nothing() {
    let script = Script {
        auth: Some(Auth {
            nonce_uses: 1,
            ..Auth::digest(DIGEST_MD5)
        }),
        session: "77;timeout=1",
        ..Script::default()
    };
    let mut test = with_password(script).await;
    test.sink.until_units(1).await;
    let accepted = |method: &'static str, count| {
        move |seen: &[crate::scripted::Seen]| {
            let good = |s: &&crate::scripted::Seen| s.method == method && s.status == 200;
            seen.iter().filter(good).count() >= count
        }
    };
    test.camera
        .until("keepalives", accepted("GET_PARAMETER", 2))
        .await;
    test.attachment = None;
    test.camera.until("TEARDOWN", accepted("TEARDOWN", 1)).await;
    assert_eq!(test.camera.connections(), 1, "never opened again");
}

#[tokio::test]
async fn keepalives_go_out_without_a_password_too() {
    let script = Script {
        session: "77;timeout=1",
        ..Script::default()
    };
    let test = simple(script).await;
    test.camera.until_method("OPTIONS", 1).await;
    test.camera.until_method("GET_PARAMETER", 1).await;
    assert_eq!(test.camera.connections(), 1);
}

#[tokio::test]
async fn keepalives_that_are_never_answered_are_borne() {
    let script = Script {
        session: "77;timeout=1",
        silent: vec!["OPTIONS", "GET_PARAMETER"],
        auth: Some(Auth::digest(DIGEST_MD5)),
        ..Script::default()
    };
    let test = with_password(script).await;
    test.camera.until_method("OPTIONS", 3).await;
    assert_eq!(test.camera.connections(), 1);
}

#[tokio::test]
async fn a_content_type_with_charset_is_borne() {
    let script = Script {
        content_type: "application/sdp; charset=utf-8",
        ..Script::default()
    };
    simple(script).await.sink.until_units(1).await;
}

#[tokio::test]
async fn a_session_with_parameters_is_borne_and_remembered() {
    let script = Script {
        session: "77;foo=bar",
        ..Script::default()
    };
    let mut test = simple(script).await;
    test.sink.until_units(1).await;
    assert_eq!(test.camera.connections(), 1);
    test.attachment = None;
    test.camera.until_method("TEARDOWN", 1).await;
    test.camera.until_alone().await;
    let second = Recorder::new();
    let _second = test.world.attach("cam", &second);
    second.until_units(1).await;
    assert_eq!(test.camera.connections(), 2);
}

#[tokio::test]
async fn a_redirect_is_followed_once_and_only_on_the_same_host_and_port() {
    let other = Camera::start(Script::default()).await;
    for password in [None, credential("s3cret", false)] {
        let test = simple_with(Script::default(), LIMITS, |s| {
            s.credential = password.clone()
        })
        .await;
        test.sink.until_units(1).await;
        let again = |path: &'static str, to: String| {
            let mut script = Script::default();
            script.redirect.insert(path, to);
            script
        };
        let test = simple_with(again("main", "/moved?x=1".to_owned()), LIMITS, |s| {
            s.credential = password.clone();
        })
        .await;
        test.sink.until_units(1).await;
        let setup = test.camera.seen().into_iter().find(|s| s.method == "SETUP");
        assert!(setup.unwrap().uri.contains("/moved"));

        let mut twice = again("main", "/moved".to_owned());
        twice.redirect.insert("moved", "/again".to_owned());
        for script in [twice, again("main", other.url())] {
            let test = simple_with(script, LIMITS, |s| s.credential = password.clone()).await;
            let (_, detail) = test.sink.until_failed(Reason::CameraRefused).await;
            assert!(detail.contains("redirect"), "{detail}");
        }
    }
    assert_eq!(other.connections(), 0, "nothing was asked elsewhere");
}

#[tokio::test]
async fn requests_of_the_camera_delay_nothing() {
    let request = b"OPTIONS * RTSP/1.0\r\nCSeq: 9\r\n\r\n".to_vec();
    for password in [None, credential("s3cret", false)] {
        let answered = password.is_some();
        let test = simple_with(Script::default(), LIMITS, |s| s.credential = password).await;
        test.sink.until_units(1).await;
        test.camera.order(1, Order::Raw(request.clone())).await;
        test.camera.picture(1, Picture::delta(3_600)).await;
        test.camera.order(1, Order::Raw(request.clone())).await;
        test.camera.picture(1, Picture::delta(7_200)).await;
        test.sink.until_units(3).await;
        if answered {
            test.camera.until_method("RTSP/1.0", 2).await;
        }
        assert_eq!(test.camera.connections(), 1);
    }
}

#[tokio::test]
async fn a_request_of_the_camera_before_play_is_answered_is_borne() {
    let mut script = Script::default();
    let request = b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n".to_vec();
    script.before.insert("SETUP", request);
    simple(script).await.sink.until_units(1).await;
}

#[tokio::test]
async fn pictures_come_over_udp_too() {
    for (script, password) in [
        (Script::default(), None),
        (digest(DIGEST_SHA256), credential("s3cret", false)),
    ] {
        let test = simple_with(script, LIMITS, |s| {
            s.transport = settings::Transport::Udp;
            s.credential = password;
        })
        .await;
        test.sink.until_units(1).await;
        test.camera.picture(1, Picture::delta(3_600)).await;
        test.sink.until_units(2).await;
        let setup = test.camera.seen().into_iter().find(|s| s.method == "SETUP");
        assert!(setup.unwrap().headers["transport"].contains("client_port"));
    }
}

#[tokio::test]
async fn a_host_with_few_sessions_is_busy_until_one_closes() {
    let camera = Camera::start(Script::default()).await;
    let mut lingering = streams(&camera.url());
    lingering.close_after = Duration::from_secs(600);
    let mut settings = gateway(vec![("a", lingering.clone()), ("b", lingering)]);
    settings.hosts.push(settings::Host {
        address: "127.0.0.1".to_owned(),
        max_sessions: Some(1),
        start_interval: Duration::ZERO,
    });
    let limits = Limits {
        busy: Duration::from_millis(50),
        ..LIMITS
    };
    let world = world(settings, limits);
    let (first, second) = (Recorder::new(), Recorder::new());
    let attached = world.attach("a", &first);
    first.until_live().await;
    let _second = world.attach("b", &second);
    let (_, detail) = second.until_failed(Reason::CameraBusy).await;
    assert!(detail.contains("max_sessions"), "{detail}");
    assert_eq!(camera.connections(), 1);
    drop(attached);
    second.until_units(1).await;
    assert_eq!(camera.count("TEARDOWN"), 1, "what lingered gave way");
}

#[tokio::test]
async fn a_warm_camera_gives_its_newest_group_at_once_and_forgets_it_with_the_last_grant() {
    let camera = Camera::start(Script::default()).await;
    let mut warm = streams(&camera.url());
    warm.warm = true;
    let cold = Camera::start(Script::default()).await;
    let settings = gateway(vec![("warm", warm), ("cold", streams(&cold.url()))]);
    let world = world(settings, LIMITS);
    let pool = world.pool.clone();
    let running = tokio::spawn(async move { pool.run_warm().await });
    camera.picture(1, Picture::delta(3_600)).await;
    world
        .until_metric(r#"fanal_gateway_cameras{state="live"} 1"#)
        .await;
    let sink = Recorder::new();
    let attached = world.attach("warm", &sink);
    let got = sink.until_units(1).await;
    assert_eq!(got.states, [State::Live], "no start is waited for");
    assert!(got.groups[0].kept && got.units[0].1.flags.key);
    camera.picture(1, Picture::key(90_000)).await;
    sink.until("a group of its own", |got| got.groups.len() == 2)
        .await;
    drop(attached);
    world.until_forgotten().await;
    camera.picture(1, Picture::delta(93_600)).await;
    let again = Recorder::new();
    let attached = world.attach("warm", &again);
    again.until_live().await;
    camera.picture(1, Picture::key(180_000)).await;
    let got = again.until_units(1).await;
    assert!(!got.groups[0].kept, "nothing from the grant before");
    drop(attached);
    world.until_forgotten().await;
    assert_eq!((camera.connections(), cold.connections()), (1, 0));
    world.pool.shutdown().await;
    running.await.unwrap();
    assert_eq!(camera.count("TEARDOWN"), 1);
}

#[tokio::test]
async fn a_reload_reopens_what_changed_and_ends_what_is_gone() {
    let (old, new) = (
        Camera::start(Script::default()).await,
        Camera::start(Script::default()).await,
    );
    let other = Camera::start(Script::default()).await;
    let settings = |url: &str| {
        gateway(vec![
            ("cam", streams(url)),
            ("other", streams(&other.url())),
        ])
    };
    let world = world(settings(&old.url()), LIMITS);
    let (sink, untouched) = (Recorder::new(), Recorder::new());
    let _attached = (
        world.attach("cam", &sink),
        world.attach("other", &untouched),
    );
    sink.until_live().await;
    untouched.until_live().await;
    world.pool.reload(Arc::new(settings(&new.url())));
    sink.until_units(2).await;
    old.until_method("TEARDOWN", 1).await;
    assert_eq!(new.count("PLAY"), 1);
    world
        .pool
        .reload(Arc::new(gateway(vec![("other", streams(&other.url()))])));
    let (state, _) = sink.until_failed(Reason::CameraUnknown).await;
    assert!(matches!(state, State::Failed(_)));
    new.until_method("TEARDOWN", 1).await;
    assert_eq!(other.connections(), 1, "what did not change goes on");
    let gone = Recorder::new();
    let refused = world
        .pool
        .new_dangerous_attachment(&id("cam"), Profile::Main, gone);
    assert_eq!(refused.err().map(|r| r.reason), Some(Reason::CameraUnknown));
}

#[tokio::test]
async fn shutdown_tears_all_down_and_opens_nothing_more() {
    let test = simple(Script::default()).await;
    test.sink.until_live().await;
    test.world.pool.shutdown().await;
    assert_eq!(test.camera.count("TEARDOWN"), 1);
    test.sink.until_failed(Reason::ShuttingDown).await;
    let late = Recorder::new();
    let refused = test
        .world
        .pool
        .new_dangerous_attachment(&id("cam"), Profile::Main, late);
    assert_eq!(refused.err().map(|r| r.reason), Some(Reason::ShuttingDown));
}

#[tokio::test]
async fn a_probe_tells_the_steps_the_picture_and_the_cause() {
    let camera = Camera::start(digest(DIGEST_MD5)).await;
    let mut good = streams(&camera.url());
    good.credential = credential("s3cret", false);
    let prober = fanal::gateway::probe::Prober::new(&gateway(vec![]), LIMITS);
    let send = async {
        for i in 1..50 {
            camera.picture(1, Picture::delta(i * 3_600)).await;
        }
        camera.picture(1, Picture::key(50 * 3_600)).await;
    };
    let watch = Duration::from_secs(10);
    let (report, ()) = tokio::join!(prober.probe(&good, Profile::Main, watch, None), send);
    let report = report.unwrap();
    assert_eq!(report.cause, None);
    let steps = report.steps;
    let all = [steps.connect, steps.describe, steps.setup, steps.play];
    assert!(all.iter().all(Option::is_some), "{steps:?}");
    assert!(steps.first_picture.is_some() && steps.first_key_frame.is_some());
    let picture = report.picture.unwrap();
    assert_eq!(
        (picture.codec, picture.width, picture.height),
        (Codec::H264, 240, 160)
    );
    assert!((picture.rate.unwrap() - 25.0).abs() < 0.01, "{picture:?}");
    assert!(picture.key_frame_interval.is_some());
    assert_eq!(camera.count("TEARDOWN"), 1);
    assert!(
        prober
            .probe(&good, Profile::Sub, watch, None)
            .await
            .is_none()
    );

    let mut wrong = good.clone();
    wrong.credential = credential("wrong", false);
    for _ in 0..3 {
        let report = prober
            .probe(&wrong, Profile::Main, watch, None)
            .await
            .unwrap();
        assert_eq!(
            report.cause.map(|c| c.reason),
            Some(Reason::CameraUnauthorized)
        );
        assert_eq!(report.steps.describe, None);
    }
    let signed =
        |s: &crate::scripted::Seen| s.status == 401 && s.headers.contains_key("authorization");
    assert_eq!(camera.seen().into_iter().filter(signed).count(), 1);
}

#[tokio::test]
async fn a_trace_shows_the_dialogue_and_what_was_odd_but_no_secret() {
    let camera = Camera::start(Script {
        content_type: "text/plain",
        session: "77;foo=bar",
        ..digest(DIGEST_MD5)
    })
    .await;
    let mut tried = streams(&camera.url());
    tried.credential = credential("s3cret", false);
    let secrets = ["s3cret", "fanal", "127.0.0.1"];
    let trace = fanal::gateway::front::trace::Trace::new(
        std::time::Instant::now(),
        secrets.map(str::to_owned).to_vec(),
    );
    let prober = fanal::gateway::probe::Prober::new(&gateway(vec![]), LIMITS);
    let probe = prober.probe(&tried, Profile::Main, Duration::ZERO, Some(&trace));
    let report = probe.await.unwrap();
    assert_eq!(report.cause, None);
    let fixes: Vec<&str> = report.fixes.iter().map(|fix| fix.as_str()).collect();
    assert!(fixes.contains(&"content-type"), "{fixes:?}");
    let text = trace.text();
    for said in [
        "DESCRIBE rtsp://***",
        "401",
        "m=video",
        "SETUP",
        "PLAY",
        "TEARDOWN",
    ] {
        assert!(text.contains(said), "{said} is not in\n{text}");
    }
    for secret in secrets.into_iter().chain(["response=\""]) {
        assert!(!text.contains(secret), "{secret} is in\n{text}");
    }
}

#[tokio::test]
async fn a_picture_without_end_is_cut_short() {
    let test = with_password(digest(DIGEST_MD5)).await;
    test.sink.until_units(1).await;
    let packet = |sequence: u16| {
        let mut packet = vec![b'$', 0, 0xff, 0xff, 0x80, 96];
        packet.extend(sequence.to_be_bytes());
        packet.extend([0, 0, 0, 9, 1, 2, 3, 4, 0x41]);
        packet.resize(4 + 0xffff, 0x88);
        packet
    };
    for i in 0..260 {
        test.camera.order(1, Order::Raw(packet(9 + i))).await;
    }
    test.sink.until_failed(Reason::CameraStalled).await;
    test.sink.until_units(2).await;
}

#[tokio::test]
async fn hosts_that_never_answer_take_no_place_from_others_for_long() {
    let silent = tokio::net::TcpListener::bind("0.0.0.0:0").await.unwrap();
    let port = silent.local_addr().unwrap().port();
    let camera = Camera::start(Script::default()).await;
    let names: Vec<String> = (1..=80).map(|n| format!("dead-{n}")).collect();
    let dead = (1..=80).map(|n| streams(&format!("rtsp://127.0.1.{n}:{port}/main")));
    let mut cameras: Vec<_> = names.iter().map(String::as_str).zip(dead).collect();
    for (_, streams) in &mut cameras {
        streams.start_timeout = Duration::from_secs(120);
    }
    cameras.push(("cam", streams(&camera.url())));
    let limits = Limits {
        describe: Duration::from_secs(120),
        ..LIMITS
    };
    let world = world(gateway(cameras), limits);
    let waits = Recorder::new();
    let held: Vec<_> = names
        .iter()
        .map(|name| world.attach(name, &waits))
        .collect();
    let sink = Recorder::new();
    let _attached = world.attach("cam", &sink);
    sink.until_units(1).await;
    assert_eq!(waits.got().states.len(), 80, "they are still being opened");
    drop(held);
}

#[tokio::test]
async fn one_silent_camera_does_not_hold_the_others_of_its_host_for_long() {
    let mut silent = Script::default();
    silent.silent.push("DESCRIBE");
    let (silent, good) = (
        Camera::start(silent).await,
        Camera::start(digest(DIGEST_MD5)).await,
    );
    let with = |camera: &Camera| {
        let mut streams = streams(&camera.url());
        streams.credential = credential("s3cret", false);
        streams
    };
    let settings = gateway(vec![("a", with(&silent)), ("b", with(&good))]);
    let limits = Limits {
        describe: Duration::from_millis(100),
        ..LIMITS
    };
    let world = world(settings, limits);
    let (first, second) = (Recorder::new(), Recorder::new());
    let _first = world.attach("a", &first);
    silent.until_method("DESCRIBE", 1).await;
    let _second = world.attach("b", &second);
    first.until_failed(Reason::CameraUnreachable).await;
    second.until_units(1).await;
}

/// Panics at the first picture, as a fault in the code behind it would.
struct Faulty(std::sync::atomic::AtomicBool, Arc<Recorder>);

impl Sink for Faulty {
    fn push(&self, frame: &Frame) {
        if !self.0.swap(true, std::sync::atomic::Ordering::Relaxed) {
            panic!("a fault on purpose");
        }
        self.1.push(frame);
    }

    fn state(&self, state: &State) {
        self.1.state(state);
    }
}

#[tokio::test]
async fn a_panic_costs_one_session_and_nobody_elses() {
    let (camera, other) = (
        Camera::start(Script::default()).await,
        Camera::start(Script::default()).await,
    );
    let settings = gateway(vec![
        ("cam", streams(&camera.url())),
        ("other", streams(&other.url())),
    ]);
    let world = world(settings, LIMITS);
    let (recorder, beside) = (Recorder::new(), Recorder::new());
    let _beside = world.attach("other", &beside);
    beside.until_live().await;
    let faulty = Arc::new(Faulty(false.into(), recorder.clone()));
    let attached = world
        .pool
        .new_dangerous_attachment(&id("cam"), Profile::Main, faulty)
        .unwrap();
    recorder.until_units(1).await;
    recorder.until_failed(Reason::Internal).await;
    other.picture(1, Picture::delta(3_600)).await;
    beside.until_units(2).await;
    assert_eq!(other.connections(), 1);
    drop(attached);
    camera.until_alone().await;
}
