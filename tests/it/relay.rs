//! From a signed request to a picture, both daemons and the cameras real.

use std::time::Duration;

use fanal::clock::Clock;
use fanal::reason::Reason;
use hyper::Method;

use crate::metrics::get;
use crate::world::{CENTRE, COMMUNE, PATIENCE, Plan, Player, World, rtsp, until};

#[tokio::test]
async fn a_signed_request_gives_the_picture_and_one_copy_serves_all() {
    one_copy_serves_all(Plan::default()).await;
}

#[tokio::test]
async fn so_it_does_where_udp_is_shut() {
    let plan = Plan {
        through_wire: true,
        udp_shut: true,
        ..Plan::default()
    };
    one_copy_serves_all(plan).await;
}

#[tokio::test]
async fn viewers_stay_when_a_link_returns_from_tcp_to_quic() {
    let world = World::start(Plan {
        through_wire: true,
        udp_shut: true,
        ..Plan::default()
    })
    .await;
    let carried_by = |transport: &str| {
        let gauge = &world.gateway_metrics.link_transport;
        gauge.with_label_values(&[CENTRE, transport]).get()
    };
    assert_eq!((carried_by("tcp"), carried_by("quic")), (1, 0));
    let martin = world.operator("13-1").await;
    let grant = martin.granted(&["cam-001"]).await;
    let mut player = Player::start(rtsp(&grant, "cam-001"));
    player.pictures(10).await;
    let ready = async |says: &str| {
        let said = async { while !get(world.gateway_page, "/ready").await.contains(says) {} };
        let said = tokio::time::timeout(PATIENCE, said).await;
        assert!(said.is_ok(), "/ready does not say {says}");
    };
    ready("using TCP").await;
    ready("open outbound UDP").await;
    let communes = async || martin.call(Method::GET, "/api/v1/communes").await.unwrap();
    assert_eq!(communes().await[0]["transport"], "tcp");
    let told = fanal(&["relays", "--socket"], &world).await;
    assert!(told.contains("link to corg-13 over TCP"), "{told}");

    world.wire.as_ref().unwrap().let_udp(true);
    until("the link is over QUIC", || {
        (carried_by("tcp"), carried_by("quic")) == (0, 1)
    })
    .await;
    let seen = player.seen.borrow().pictures;
    player.pictures(seen + 60).await;
    let id = grant["grant"].as_str().unwrap();
    let now = martin
        .call(Method::GET, &format!("/api/v1/grants/{id}"))
        .await
        .unwrap();
    assert_eq!(now["granted"][0]["state"], "live");
    assert_eq!(communes().await[0]["transport"], "quic");
    ready(r#"{"name":"link","state":"ok"}"#).await;
    // The camera noticed nothing.
    let count = world.counters.borrow().camera("cam-001");
    assert_eq!((count.set_up, count.open()), (1, 1));
    assert_eq!(world.entries("gateway", "ended").len(), 0);
    assert_eq!(world.gateway_metrics.ungranted_bytes_total.get(), 0);
    world.stop().await;
}

async fn one_copy_serves_all(plan: Plan) {
    let transport = if plan.udp_shut { "tcp" } else { "quic" };
    let world = World::start(plan).await;
    let gauge = &world.gateway_metrics.link_transport;
    assert_eq!(gauge.with_label_values(&[CENTRE, transport]).get(), 1);
    let martin = world.operator("13-1").await;
    let grant = martin.granted(&["cam-001"]).await;
    let url = rtsp(&grant, "cam-001");

    let mut first = Player::start(url.clone());
    let seen = first.pictures(60).await;
    assert_eq!(seen.losses, 0);
    assert!(seen.key_frames >= 1);

    // Anyone who joins later gets the kept group: a key frame at once, not at the next one.
    let mut second = Player::start(url);
    let seen = second.pictures(1).await;
    assert_eq!(
        (seen.key_frames, seen.losses),
        (1, 0),
        "a key frame comes first"
    );
    second.pictures(30).await;
    first.pictures(100).await;

    let count = world.counters.borrow().camera("cam-001");
    assert_eq!(
        (count.set_up, count.open()),
        (1, 1),
        "one session, however many watch"
    );
    assert_eq!(world.gateway_metrics.relays_active.get(), 1);
    assert_eq!(
        world
            .receiver_metrics
            .viewers
            .with_label_values(&["rtsp_tcp"])
            .get(),
        2
    );
    let receiver = &world.receiver_metrics;
    assert_eq!(receiver.grant_seconds.get_sample_count(), 1);
    assert_eq!(
        receiver.journal_append_seconds.get_sample_count(),
        receiver.journal_entries_total.get()
    );
    assert_eq!(world.counters.borrow().camera("cam-002").set_up, 0);
    assert_eq!(world.gateway_metrics.ungranted_bytes_total.get(), 0);

    let id = grant["grant"].as_str().unwrap();
    martin
        .call(Method::DELETE, &format!("/api/v1/grants/{id}"))
        .await
        .unwrap();
    first.ended().await;
    second.ended().await;
    let counters = &world.counters;
    until("the camera sees its TEARDOWN", || {
        counters.borrow().camera("cam-001").torn_down == 1
    })
    .await;
    world.stop().await;
}

#[tokio::test]
async fn each_viewing_is_recorded_at_the_centre_and_told_to_the_commune() {
    let world = World::start(Plan::default()).await;
    let martin = world.operator("13-1").await;
    let grant = martin.granted(&["cam-001"]).await;
    let mut player = Player::start(rtsp(&grant, "cam-001"));
    player.pictures(5).await;
    until("the viewing is recorded", || {
        world.entries("receiver", "viewing_started").len() == 1
    })
    .await;
    let started = &world.entries("receiver", "viewing_started")[0];
    assert_eq!(started["grant"], grant["grant"]);
    assert_eq!(started["who"], "13-1");
    assert_eq!(started["camera"], "cam-001");

    let id = grant["grant"].as_str().unwrap();
    martin
        .call(Method::DELETE, &format!("/api/v1/grants/{id}"))
        .await
        .unwrap();
    player.ended().await;
    until("the commune has the list", || {
        world.entries("gateway", "viewings").len() == 1
    })
    .await;
    let told = &world.entries("gateway", "viewings")[0]["viewings"][0];
    assert_eq!(
        (&told["who"], &told["camera"]),
        (&started["who"], &started["camera"])
    );
    until("the centre's journal has the end", || {
        world.entries("receiver", "viewing_ended").len() == 1
    })
    .await;
    until("the commune's journal has the end", || {
        !world.entries("gateway", "ended").is_empty()
    })
    .await;
    assert_eq!(
        world.entries("gateway", "ended")[0]["reason"],
        "grant_released"
    );
    world.stop().await;
}

#[tokio::test]
async fn a_cut_camera_ends_for_its_viewers_and_the_rest_of_the_grant_goes_on() {
    let world = World::start(Plan::default()).await;
    let martin = world.operator("13-1").await;
    let grant = martin.granted(&["cam-001", "cam-002"]).await;
    // Others that hold the same camera, and end whole, must not hide the cut from it.
    for _ in 0..3 {
        martin.granted(&["cam-001"]).await;
    }
    let mut cut = Player::start(rtsp(&grant, "cam-001"));
    let mut other = Player::start(rtsp(&grant, "cam-002"));
    cut.pictures(5).await;
    other.pictures(5).await;

    fanal(&["cut", "--camera", "cam-001", "--socket"], &world).await;
    cut.ended().await;
    let id = grant["grant"].as_str().unwrap();
    let now = martin
        .call(Method::GET, &format!("/api/v1/grants/{id}"))
        .await
        .unwrap();
    let state = |camera: &str| {
        let granted = now["granted"].as_array().unwrap();
        let found = granted
            .iter()
            .find(|granted| granted["camera"] == camera)
            .unwrap();
        (found["state"].clone(), found["reason"].clone())
    };
    assert_eq!(state("cam-001"), ("ended".into(), "grant_cut".into()));
    assert_eq!(state("cam-002").0, "live");
    let count = other.seen.borrow().pictures;
    other.pictures(count + 25).await;
    assert_eq!(
        martin.refused(&martin.claims(&["cam-001"], 60)).await,
        Reason::CommuneRefused
    );
    fanal(&["allow", "--camera", "cam-001", "--socket"], &world).await;
    martin.granted(&["cam-001"]).await;
    world.stop().await;
}

#[tokio::test]
async fn the_receiver_ends_viewers_by_its_own_clock() {
    let (clock, manual) = Clock::manual(Clock::system().now().wall);
    let plan = Plan {
        receiver_clock: clock,
        ..Plan::default()
    };
    let world = World::start(plan).await;
    let martin = world.operator("13-1").await;
    let grant = martin.ask(&martin.claims(&["cam-001"], 50)).await.unwrap();
    let mut player = Player::start(rtsp(&grant, "cam-001"));
    player.pictures(5).await;
    // The gateway's clock goes on as it did: by it the grant would live on.
    manual.advance(Duration::from_secs(51));
    player.ended().await;
    let ends = || world.entries("gateway", "ended");
    until("the receiver gives it back", || !ends().is_empty()).await;
    assert_eq!(ends()[0]["by"], CENTRE, "the receiver did it");
    assert_eq!(ends()[0]["reason"], "grant_expired", "and both say why");
    let again = Player::start(rtsp(&grant, "cam-001"));
    assert!(again.refused().await.contains("403"));
}

#[tokio::test]
async fn grants_live_on_under_the_same_url_when_either_daemon_starts_again() {
    let mut world = World::start(Plan::default()).await;
    let martin = world.operator("13-1").await;
    let grant = martin.granted(&["cam-001"]).await;
    let url = rtsp(&grant, "cam-001");
    let mut player = Player::start(url.clone());
    player.pictures(5).await;

    world.stop_gateway().await;
    world.start_gateway().await;
    world.linked().await;
    // The same player goes on: the receiver kept it over the gateway's restart.
    let count = player.seen.borrow().pictures;
    player.pictures(count + 10).await;

    world.stop_receiver().await;
    player.ended().await;
    world.start_receiver().await;
    world.linked().await;
    let id = grant["grant"].as_str().unwrap();
    let metrics = world.receiver_metrics.clone();
    until("the grant resumes", || metrics.grants_active.get() == 1).await;
    let resumed = martin
        .call(Method::GET, &format!("/api/v1/grants/{id}"))
        .await
        .unwrap();
    assert_eq!(rtsp(&resumed, "cam-001"), url);
    let mut again = Player::start(url);
    again.pictures(10).await;
    world.stop().await;
}

#[tokio::test]
async fn only_the_requester_sees_the_credentials_and_another_unit_nothing() {
    let world = World::start(Plan::default()).await;
    let martin = world.operator("13-1").await;
    let colleague = world.operator("13-2").await;
    let stranger = world.operator_of("83-1", "CORG 83").await;
    let grant = martin.granted(&["cam-001"]).await;
    let id = grant["grant"].as_str().unwrap();
    let path = format!("/api/v1/grants/{id}");

    let seen = colleague.call(Method::GET, &path).await.unwrap();
    assert!(seen["granted"][0]["rtsp"].is_null(), "{seen}");
    let hidden = stranger.call(Method::GET, &path).await.unwrap_err();
    assert_eq!(hidden.reason, Reason::GrantUnknown);
    assert_eq!(
        stranger.refused(&stranger.claims(&["cam-001"], 60)).await,
        Reason::NoAgreement
    );

    // The handover of a shift: same id, URL and credentials, now the colleague's.
    let mut claims = colleague.claims(&["cam-001"], 600);
    claims.renews = Some(id.parse().unwrap());
    let renewed = colleague.ask(&claims).await.unwrap();
    assert_eq!(renewed["grant"], grant["grant"]);
    assert_eq!(rtsp(&renewed, "cam-001"), rtsp(&grant, "cam-001"));

    let url = rtsp(&grant, "cam-001");
    let (front, back) = url.split_once('@').unwrap();
    let wrong = format!("{}0@{back}", &front[..front.len() - 1]);
    let wrong = if wrong == url {
        format!("{}1@{back}", &front[..front.len() - 1])
    } else {
        wrong
    };
    assert!(Player::start(wrong).refused().await.contains("401"));
    assert!(
        Player::start(url.replace("cam-001", "cam-002"))
            .refused()
            .await
            .contains("404")
    );
    world.stop().await;
}

#[tokio::test]
async fn pictures_go_on_by_themselves_after_the_link_was_cut() {
    let world = World::start(Plan {
        through_wire: true,
        ..Plan::default()
    })
    .await;
    let martin = world.operator("13-1").await;
    let grant = martin.granted(&["cam-001"]).await;
    let mut player = Player::start(rtsp(&grant, "cam-001"));
    player.pictures(5).await;
    let wire = world.wire.as_ref().unwrap();
    wire.cut(true);
    let down = world.receiver_metrics.link_up.with_label_values(&[COMMUNE]);
    // A link with relays on it is kept for 65 s.
    let patience = Duration::from_secs(120);
    fanal::demo::wait_until("the link is lost", patience, || down.get() == 0)
        .await
        .unwrap();
    wire.cut(false);
    let count = player.seen.borrow().pictures;
    player.pictures(count + 25).await;
    assert_eq!(world.counters.borrow().camera("cam-001").open(), 1);
    world.stop().await;
}

#[tokio::test]
async fn motion_jpeg_is_relayed_as_h264_is() {
    let plan = Plan {
        options: |options| {
            options.codec = fanal::media::unit::Codec::Jpeg;
            options.bitrate = 3_000_000;
        },
        ..Plan::default()
    };
    let world = World::start(plan).await;
    let martin = world.operator("13-1").await;
    let grant = martin.granted(&["cam-001"]).await;
    let mut player = Player::start(rtsp(&grant, "cam-001"));
    let seen = player.pictures(50).await;
    assert_eq!((seen.losses, seen.key_frames), (0, seen.pictures));
    world.stop().await;
}

/// Runs the program, with the gateway's socket as last argument.
pub async fn fanal(args: &[&str], world: &World) -> String {
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_fanal"))
        .args(args)
        .arg(world.directory.path("gateway.sock"))
        .output()
        .await
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}
