//! Key frames asked for over ONVIF: a device on a real socket beside the scripted camera.

use super::*;
use crate::onvif::{Answer, Device, Login, Plan};

const ASKED: &str = "SetSynchronizationPoint";

/// What a camera with a "smart" codec begins a session with.
fn without_key() -> Script {
    Script {
        on_play: vec![Picture::delta(0)],
        ..Script::default()
    }
}

/// A camera with a device that serves its stream.
async fn with_device(
    script: Script,
    plan: Plan,
    limits: Limits,
    change: impl FnOnce(&mut settings::Streams),
) -> (Simple, Device) {
    let device = Device::start(plan).await;
    let test = simple_with(script, limits, |streams| {
        streams.onvif = Some(device.url().parse().unwrap());
        change(streams);
    })
    .await;
    (test, device)
}

/// Waits until the device was asked, and does as the camera would.
async fn key_frame_when_asked(test: &Simple, device: &Device, times: usize, rtp: u32) {
    device.until(ASKED, times).await;
    test.camera.picture(1, Picture::key(rtp)).await;
}

#[tokio::test]
async fn a_start_without_a_key_frame_asks_for_one_at_once() {
    let (test, device) = with_device(without_key(), Plan::default(), LIMITS, |_| {}).await;
    key_frame_when_asked(&test, &device, 1, 3_600).await;
    let got = test.sink.until_units(1).await;
    assert_eq!(got.states, [State::Starting, State::Live]);
    assert_eq!(test.camera.connections(), 1, "not opened again");
    assert_eq!(device.tokens(ASKED), ["main<1>"]);
    assert_eq!(device.count("GetProfiles"), 1);
}

#[tokio::test]
async fn a_camera_that_begins_with_a_key_frame_is_not_asked() {
    let (test, device) = with_device(Script::default(), Plan::default(), LIMITS, |_| {}).await;
    test.sink.until_units(1).await;
    device.until("GetStreamUri", 2).await;
    let second = Recorder::new();
    let _second = test.world.attach("cam", &second);
    second.until_units(1).await;
    assert_eq!(device.count(ASKED), 0);
}

#[tokio::test]
async fn who_joins_a_long_group_gets_a_key_frame_and_many_who_join_are_one_question() {
    let limits = Limits {
        key_frame_near: Duration::ZERO,
        key_frame_every: Duration::from_secs(2),
        ..LIMITS
    };
    let (test, device) = with_device(Script::default(), Plan::default(), limits, |_| {}).await;
    // More than is kept: who joins now finds nothing.
    for i in 1..=300 {
        test.camera
            .picture(1, Picture::nal(i * 3_600, 0x41, 60_000))
            .await;
    }
    test.sink.until_units(301).await;
    let late: Vec<_> = (0..5).map(|_| Recorder::new()).collect();
    let attached: Vec<_> = late
        .iter()
        .map(|sink| test.world.attach("cam", sink))
        .collect();
    key_frame_when_asked(&test, &device, 1, 3_600 * 400).await;
    for sink in &late {
        let got = sink.until_units(1).await;
        assert!(got.units[0].1.flags.key && !got.groups[0].kept);
    }
    assert_eq!(device.count(ASKED), 1);
    // A wish that comes too soon after is not forgotten.
    test.world.pool.want_key_frame(&id("cam"), Profile::Main);
    key_frame_when_asked(&test, &device, 2, 3_600 * 401).await;
    late[0]
        .until("a second group", |got| got.groups.len() == 2)
        .await;
    assert_eq!(test.camera.connections(), 1, "never opened again");
    drop(attached);
}

#[tokio::test]
async fn the_password_goes_as_a_digest_by_the_cameras_own_clock() {
    for login in [
        Login::Token { clock_off: -7_200 },
        Login::Digest,
        Login::Token { clock_off: 0 },
    ] {
        let plan = Plan {
            login: Some(login),
            // Its own address as it believes it, which nobody reaches.
            media: "http://192.0.2.64:81/onvif/media",
            ..Plan::default()
        };
        let (test, device) = with_device(without_key(), plan, LIMITS, |streams| {
            streams.credential = credential("s3cret", false);
        })
        .await;
        key_frame_when_asked(&test, &device, 1, 3_600).await;
        test.sink.until_units(1).await;
        assert!(!device.heard().contains("s3cret"), "only digests of it");
        let asked = device.count("GetSystemDateAndTime");
        assert_eq!(
            asked,
            usize::from(login == Login::Token { clock_off: -7_200 })
        );
    }
}

#[tokio::test]
async fn a_refused_password_is_tried_once_and_the_session_opened_anew_instead() {
    let limits = Limits {
        key_frame_near: Duration::ZERO,
        ..LIMITS
    };
    let plan = Plan {
        login: Some(Login::Token { clock_off: 0 }),
        ..Plan::default()
    };
    let (test, device) = with_device(Script::default(), plan, limits, |streams| {
        streams.credential = credential("wrong", false);
    })
    .await;
    test.sink.until_units(1).await;
    test.world.pool.want_key_frame(&id("cam"), Profile::Main);
    let got = test.sink.until_units(2).await;
    assert!(got.groups[1].first_of_epoch);
    test.camera.until_method("PLAY", 2).await;
    assert_eq!(
        device.count("GetCapabilities"),
        1,
        "recorders lock accounts"
    );
}

#[tokio::test]
async fn a_profile_that_is_gone_is_looked_up_anew() {
    let limits = Limits {
        key_frame_near: Duration::ZERO,
        key_frame_every: Duration::ZERO,
        ..LIMITS
    };
    let (test, device) = with_device(without_key(), Plan::default(), limits, |_| {}).await;
    key_frame_when_asked(&test, &device, 1, 3_600).await;
    test.sink.until_units(1).await;
    device.set(|plan| plan.profiles = vec![("other", "rtsp://192.0.2.64/main?proto=Onvif")]);
    test.world.pool.want_key_frame(&id("cam"), Profile::Main);
    device
        .until_wish("asked under its new name", |_| {
            device
                .tokens(ASKED)
                .last()
                .is_some_and(|token| token == "other")
        })
        .await;
    assert_eq!(device.count("GetProfiles"), 2);
}

#[tokio::test]
async fn a_device_with_the_second_media_service_alone_is_spoken_to() {
    let plan = Plan {
        second: true,
        ..Plan::default()
    };
    let (test, device) = with_device(without_key(), plan, LIMITS, |_| {}).await;
    key_frame_when_asked(&test, &device, 1, 3_600).await;
    test.sink.until_units(1).await;
    assert!(device.heard().contains("ver20/media/wsdl"));
}

#[tokio::test]
async fn what_a_device_does_wrong_costs_the_stream_nothing() {
    let huge = format!("<a>{}</a>", "x".repeat(300 * 1024));
    for (answer, asked) in [
        (Answer::Silence, "GetCapabilities"),
        (
            Answer::Raw(
                "HTTP/1.1 302 X\r\nLocation: http://192.0.2.1/\r\nContent-Length: 0\r\n\r\n"
                    .to_owned(),
            ),
            "GetCapabilities",
        ),
        (Answer::Body(huge), "GetProfiles"),
        (Answer::Body("<a>".repeat(10_000)), "GetStreamUri"),
        (Answer::Raw("nonsense".to_owned()), ASKED),
        (
            Answer::Raw("HTTP/1.1 401 X\r\nContent-Length: 0\r\n\r\n".to_owned()),
            ASKED,
        ),
    ] {
        let mut plan = Plan::default();
        plan.odd.insert(asked, answer);
        let limits = Limits {
            key_frame_near: Duration::ZERO,
            ..LIMITS
        };
        let (test, device) = with_device(Script::default(), plan, limits, |_| {}).await;
        test.sink.until_units(1).await;
        test.world.pool.want_key_frame(&id("cam"), Profile::Main);
        // Asking failed, so the session is opened again.
        test.sink.until_units(2).await;
        assert!(device.count(asked) >= 1);
    }
}

#[tokio::test]
async fn without_a_key_frame_by_any_way_the_start_fails_by_that_name() {
    let (test, device) = with_device(without_key(), Plan::default(), LIMITS, |streams| {
        streams.start_timeout = Duration::from_millis(500);
    })
    .await;
    // A busy machine may not get through all questions in the first start: then in a later one.
    let names_it = |state: &State| match state {
        State::Retrying(refusal) | State::Failed(refusal) => {
            refusal.reason == Reason::CameraNoKeyFrame && refusal.detail.contains("onvif")
        }
        State::Starting | State::Live => false,
    };
    let told = |got: &Got| got.states.iter().any(names_it);
    test.sink.until("that onvif was tried", told).await;
    assert!(device.count(ASKED) >= 1);
}

#[tokio::test]
async fn a_probe_tells_whether_a_key_frame_can_be_asked_for() {
    for (plan, sends, said) in [
        (Plan::default(), true, "a key frame came"),
        (
            Plan {
                profiles: Vec::new(),
                ..Plan::default()
            },
            false,
            "it names none",
        ),
    ] {
        let device = Device::start(plan).await;
        let camera = Camera::start(without_key()).await;
        let mut tried = streams(&camera.url());
        tried.onvif = Some(device.url().parse().unwrap());
        tried.start_timeout = Duration::from_millis(500);
        let prober = fanal::gateway::probe::Prober::new(&gateway(vec![]), LIMITS);
        let probe = prober.probe(&tried, Profile::Main, Duration::ZERO, None);
        let report = if sends {
            let send = async {
                device.until(ASKED, 1).await;
                camera.picture(1, Picture::key(3_600)).await;
            };
            tokio::join!(probe, send).0.unwrap()
        } else {
            probe.await.unwrap()
        };
        let asked = report.asked.clone().unwrap().to_string();
        assert!(asked.contains(said), "{asked}");
        assert!(sends == report.cause.is_none(), "{report:?}");
        assert!(report.remarks.contains(&asked), "{report:?}");
    }
}
