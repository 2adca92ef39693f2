//! One uplink for many cameras: which of their streams goes, and how it changes
//! under a player that must not notice more than another picture size.

use std::time::Duration;

use fanal::clock::Clock;
use fanal::commands::client;
use fanal::format::statement::{TOKEN_TYPE, TokenClaims};
use fanal::media::unit::Codec;
use fanal::reason::Reason;
use fanal::simulate::Options;
use futures_util::stream::SplitSink;
use futures_util::{SinkExt, StreamExt};
use hyper::Method;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;

use crate::api::site::Events;
use crate::tools::{have, run};
use crate::world::{COMMUNE, Operator, PATIENCE, Plan, Player, World, rtsp, until};

const NARROW: &str = "[uplink]\nmax_bitrate = \"1 Mbit/s\"\n";

fn with_sub(options: &mut Options) {
    options.sub_bitrate = Some(500_000);
}

/// Waits until the grant's first camera has this stream for this cause.
async fn placed(operator: &Operator, grant: &Value, profile: &str, cause: &str) {
    placed_camera(operator, grant, 0, (profile, cause)).await;
}

/// As [`placed`], for the grant's camera at this place.
async fn placed_camera(
    operator: &Operator,
    grant: &Value,
    at: usize,
    (profile, cause): (&str, &str),
) {
    let path = format!("/api/v1/grants/{}", grant["grant"].as_str().unwrap());
    let is_placed = |told: &Value| {
        let camera = &told["granted"][at];
        told["grant"] == grant["grant"]
            && camera["profile"] == profile
            && camera["profile_cause"] == cause
    };
    let client = &operator.client;
    let address = client.authority().parse().unwrap();
    let token = client.sign_token(client.now().seconds(), 300);
    let wait = async {
        // What changes from here on is told.
        let mut events = Events::listen_at(address, &token, &[]).await;
        let mut told = operator.call(Method::GET, &path).await.unwrap();
        while !is_placed(&told) {
            told = events.next("grant").await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, wait).await;
    waited.unwrap_or_else(|_| panic!("waited in vain for {profile}, {cause}"));
}

#[tokio::test]
async fn a_relay_moves_to_the_sub_stream_and_back_and_its_player_goes_on() {
    let (clock, time) = Clock::manual(Clock::system().now().wall);
    let mut world = World::start(Plan {
        cameras: 1,
        options: with_sub,
        gateway_clock: clock,
        ..Plan::default()
    })
    .await;
    let martin = world.operator("13-1").await;
    let grant = martin.granted(&["cam-001"]).await;
    let mut player = Player::start(rtsp(&grant, "cam-001"));
    player.pictures(30).await;
    placed(&martin, &grant, "main", "room").await;
    let counters = world.counters.clone();
    let of = |path: &str| counters.borrow().camera(path);
    assert_eq!(of("cam-001/sub").set_up, 0, "one profile at a time");

    world.reload_gateway(NARROW).await;
    placed(&martin, &grant, "sub", "uplink").await;
    until("the main session is closed", || {
        let (main, sub) = (of("cam-001"), of("cam-001/sub"));
        main.torn_down == 1 && main.open() == 0 && sub.open() == 1
    })
    .await;
    let relays = |profile: &str| {
        let relays = &world.gateway_metrics.relays;
        relays.with_label_values(&[profile]).get()
    };
    assert_eq!((relays("main"), relays("sub")), (0, 1));
    let before = player.pictures(1).await;
    let seen = player.pictures(before.pictures + 30).await;
    assert_eq!(seen.losses, 0);

    world.reload_gateway("").await;
    // It rests before it moves up.
    time.advance(Duration::from_secs(10));
    placed(&martin, &grant, "main", "room").await;
    until("the sub session is closed", || {
        let (main, sub) = (of("cam-001"), of("cam-001/sub"));
        sub.torn_down == 1 && sub.open() == 0 && main.open() == 1
    })
    .await;
    let before = player.pictures(1).await;
    let seen = player.pictures(before.pictures + 30).await;
    assert_eq!(seen.losses, 0);
    assert_eq!((of("cam-001").set_up, of("cam-001/sub").set_up), (2, 1));
    let changes = &world.gateway_metrics.profile_changes_total;
    let changes = |to, cause| changes.with_label_values(&[to, cause]).get();
    assert_eq!((changes("sub", "uplink"), changes("main", "room")), (1, 1));
    assert_eq!(world.gateway_metrics.ungranted_bytes_total.get(), 0);
    world.stop().await;
}

#[tokio::test]
async fn pictures_that_come_late_move_the_relay_though_nobody_knew_the_limit() {
    let world = World::start(Plan {
        cameras: 1,
        options: |options| options.sub_bitrate = Some(200_000),
        through_wire: true,
        ..Plan::default()
    })
    .await;
    let martin = world.operator("13-1").await;
    let grant = martin.granted(&["cam-001"]).await;
    let mut player = Player::start(rtsp(&grant, "cam-001"));
    player.pictures(30).await;
    placed(&martin, &grant, "main", "room").await;
    world.wire.as_ref().unwrap().narrow(150_000);
    placed(&martin, &grant, "sub", "uplink").await;
    until("the main session is closed", || {
        world.counters.borrow().camera("cam-001").open() == 0
    })
    .await;
    let capacity = &world.gateway_metrics.uplink_capacity_bytes_per_second;
    assert!(capacity.get() > 0.0);
    let before = player.pictures(1).await;
    player.pictures(before.pictures + 50).await;
    world.stop().await;
}

#[tokio::test]
async fn ffmpeg_decodes_through_the_change_without_a_complaint() {
    if !have("ffmpeg") {
        return;
    }
    let mut world = World::start(Plan {
        cameras: 1,
        options: with_sub,
        ..Plan::default()
    })
    .await;
    let martin = world.operator("13-1").await;
    let grant = martin.granted(&["cam-001"]).await;
    let url = rtsp(&grant, "cam-001");
    let player = tokio::spawn(async move {
        let arguments = [
            "-v",
            "warning",
            "-rtsp_transport",
            "tcp",
            "-i",
            &url,
            "-frames:v",
            "250",
            "-fps_mode",
            "passthrough",
            "-enc_time_base",
            "1/90000",
            "-autoscale",
            "0",
            "-f",
            "null",
            "-",
        ];
        run("ffmpeg", &arguments).await
    });
    let viewers = &world.receiver_metrics.viewers;
    let viewers = viewers.with_label_values(&["rtsp_tcp"]);
    until("it plays", || viewers.get() == 1).await;
    world.reload_gateway(NARROW).await;
    placed(&martin, &grant, "sub", "uplink").await;
    assert_eq!(viewers.get(), 1, "it plays on");
    let ran = player.await.unwrap();
    assert_eq!(ran.stderr, "", "ffmpeg warns");
    let sub = world.counters.borrow().camera("cam-001/sub");
    assert_eq!(sub.played, 1);
    world.stop().await;
}

#[tokio::test]
async fn a_late_camera_without_a_sub_stream_is_asked_for_a_key_frame() {
    let world = World::start(Plan {
        cameras: 1,
        // A key frame a minute, and one at the start of each session.
        options: |options| options.gop = 1_500,
        through_wire: true,
        ..Plan::default()
    })
    .await;
    let martin = world.operator("13-1").await;
    let grant = martin.granted(&["cam-001"]).await;
    let mut player = Player::start(rtsp(&grant, "cam-001"));
    player.pictures(60).await;
    placed(&martin, &grant, "main", "no_sub_stream").await;
    world.wire.as_ref().unwrap().narrow(150_000);
    until("a session with a key frame", || {
        world.counters.borrow().camera("cam-001").played >= 2
    })
    .await;
    // With room again the picture goes on at a key frame.
    world.wire.as_ref().unwrap().narrow(0);
    let before = player.pictures(1).await;
    player.pictures(before.pictures + 50).await;
    world.stop().await;
}

#[tokio::test]
async fn the_camera_in_focus_has_the_full_picture_and_its_page_the_small_ones() {
    let world = World::start(Plan {
        options: with_sub,
        ..Plan::default()
    })
    .await;
    let martin = world.operator("13-1").await;
    let grant = martin.granted(&["cam-001", "cam-002"]).await;
    for at in 0..2 {
        placed_camera(&martin, &grant, at, ("main", "room")).await;
    }
    let mut player = Player::start(rtsp(&grant, "cam-001"));
    player.pictures(10).await;
    let mut page = page(&world, &martin).await;
    let cameras = ["cam-002", "cam-001"].map(|camera| format!("{COMMUNE}/{camera}"));
    for camera in &cameras {
        let subscribe = json!({ "type": "subscribe", "camera": camera });
        page.send(Message::text(subscribe.to_string()))
            .await
            .unwrap();
    }
    let focus = json!({ "type": "focus", "cameras": cameras });
    page.send(Message::text(focus.to_string())).await.unwrap();
    placed_camera(&martin, &grant, 0, ("sub", "focus")).await;
    placed_camera(&martin, &grant, 1, ("main", "focus")).await;
    let before = player.pictures(1).await;
    let seen = player.pictures(before.pictures + 30).await;
    assert_eq!(seen.losses, 0);
    world.stop().await;
}

/// The WebSocket of an operator's page, with its token sent; what comes is read aside.
async fn page(
    world: &World,
    operator: &Operator,
) -> SplitSink<WebSocketStream<TcpStream>, Message> {
    let address = world.addresses.console;
    let mut request = format!("ws://{address}/api/v1/live")
        .into_client_request()
        .unwrap();
    let protocol = HeaderValue::from_static("fanal.v1");
    request
        .headers_mut()
        .insert("sec-websocket-protocol", protocol);
    let stream = TcpStream::connect(address).await.unwrap();
    let (socket, _) = tokio_tungstenite::client_async(request, stream)
        .await
        .unwrap();
    let (mut say, mut hear) = socket.split();
    tokio::spawn(async move { while let Some(Ok(_)) = hear.next().await {} });
    let iat = operator.client.now().seconds();
    let claims = TokenClaims {
        jti: client::new_id(),
        iat,
        exp: iat + 300,
        aud: operator.client.centre().clone(),
    };
    let token = operator.client.sign(TOKEN_TYPE, &claims);
    let token = json!({ "token": token }).to_string();
    say.send(Message::text(token)).await.unwrap();
    say
}

#[tokio::test]
async fn a_request_on_a_narrow_uplink_begins_with_what_fits() {
    let mut world = World::start(Plan {
        cameras: 3,
        options: with_sub,
        gateway: "[uplink]\nmax_bitrate = \"2 Mbit/s\"\n".to_owned(),
        ..Plan::default()
    })
    .await;
    let martin = world.operator("13-1").await;
    let grant = martin.granted(&["cam-001", "cam-002", "cam-003"]).await;
    let mut player = Player::start(rtsp(&grant, "cam-003"));
    let seen = player.pictures(30).await;
    assert_eq!(seen.losses, 0);
    placed(&martin, &grant, "sub", "uplink").await;
    // A new link goes on with the same streams.
    world.stop_receiver().await;
    world.start_receiver().await;
    world.linked().await;
    let frames = world.receiver_metrics.frames_total.clone();
    let frames = |camera| frames.with_label_values(&[COMMUNE, camera]).get();
    until("pictures come again", || {
        ["cam-001", "cam-002", "cam-003"]
            .iter()
            .all(|camera| frames(camera) > 0)
    })
    .await;
    for camera in ["cam-001", "cam-002", "cam-003"] {
        let count = world.counters.borrow().camera(camera);
        assert_eq!(count.set_up, 0, "the full picture was never opened");
    }
    world.stop().await;
}

#[tokio::test]
async fn a_sub_stream_of_another_codec_is_let_go_and_remembered() {
    let mut world = World::start(Plan {
        cameras: 1,
        options: |options| {
            with_sub(options);
            options.codec = Codec::Jpeg;
            options.bitrate = 3_000_000;
        },
        ..Plan::default()
    })
    .await;
    let martin = world.operator("13-1").await;
    let grant = martin.granted(&["cam-001"]).await;
    let mut player = Player::start(rtsp(&grant, "cam-001"));
    player.pictures(10).await;
    world.reload_gateway(NARROW).await;
    placed(&martin, &grant, "main", "other_codec").await;
    until("its session is closed", || {
        let count = world.counters.borrow().camera("cam-001/sub");
        count.set_up == 1 && count.open() == 0
    })
    .await;
    let before = player.pictures(1).await;
    player.pictures(before.pictures + 30).await;
    assert_eq!(world.counters.borrow().camera("cam-001").set_up, 1);
    world.stop().await;
}

#[tokio::test]
async fn a_camera_with_one_session_alone_stays_where_it_is() {
    let host = "[[host]]\naddress = \"127.0.0.1\"\nmax_sessions = 1\n";
    let mut world = World::start(Plan {
        cameras: 1,
        options: with_sub,
        gateway: host.to_owned(),
        ..Plan::default()
    })
    .await;
    let martin = world.operator("13-1").await;
    let grant = martin.granted(&["cam-001"]).await;
    let mut player = Player::start(rtsp(&grant, "cam-001"));
    player.pictures(10).await;
    world.reload_gateway(&format!("{host}{NARROW}")).await;
    placed(&martin, &grant, "main", "camera_busy").await;
    let before = player.pictures(1).await;
    player.pictures(before.pictures + 30).await;
    assert_eq!(world.counters.borrow().camera("cam-001/sub").set_up, 0);
    world.stop().await;
}

#[tokio::test]
async fn a_camera_with_one_session_alone_changes_it_once_its_pictures_are_late() {
    let world = World::start(Plan {
        cameras: 1,
        options: |options| options.sub_bitrate = Some(200_000),
        gateway: "[[host]]\naddress = \"127.0.0.1\"\nmax_sessions = 1\n".to_owned(),
        through_wire: true,
        ..Plan::default()
    })
    .await;
    let martin = world.operator("13-1").await;
    let grant = martin.granted(&["cam-001"]).await;
    let mut player = Player::start(rtsp(&grant, "cam-001"));
    player.pictures(30).await;
    world.wire.as_ref().unwrap().narrow(150_000);
    placed(&martin, &grant, "sub", "uplink").await;
    let counters = world.counters.borrow().clone();
    assert_eq!(counters.camera("cam-001").open(), 0);
    assert_eq!(counters.camera("cam-001/sub").open(), 1);
    let before = player.pictures(1).await;
    player.pictures(before.pictures + 50).await;
    world.stop().await;
}

#[tokio::test]
async fn a_sub_stream_that_does_not_come_leaves_the_picture_alone() {
    let mut world = World::start(Plan {
        cameras: 1,
        // Nothing listens there.
        camera: "sub = \"rtsp://127.0.0.1:9/none\"\n".to_owned(),
        ..Plan::default()
    })
    .await;
    let martin = world.operator("13-1").await;
    let grant = martin.granted(&["cam-001"]).await;
    let mut player = Player::start(rtsp(&grant, "cam-001"));
    player.pictures(10).await;
    world.reload_gateway(NARROW).await;
    placed(&martin, &grant, "main", "not_available").await;
    let before = player.pictures(1).await;
    let seen = player.pictures(before.pictures + 30).await;
    assert_eq!(seen.losses, 0);
    world.stop().await;
}

#[tokio::test]
async fn a_full_uplink_says_so_and_a_wish_is_obeyed() {
    let world = World::start(Plan {
        cameras: 4,
        options: with_sub,
        gateway: NARROW.to_owned(),
        ..Plan::default()
    })
    .await;
    let martin = world.operator("13-1").await;
    // 950 kbit/s of pictures are enough for three of 300.
    let mut claims = martin.claims(&["cam-001", "cam-002", "cam-003", "cam-004"], 600);
    claims.profile = fanal::format::ids::ProfileWish::Main;
    let grant = martin.ask(&claims).await.unwrap();
    assert_eq!(grant["granted"].as_array().unwrap().len(), 3);
    assert_eq!(grant["refused"][0]["camera"], "cam-004");
    assert_eq!(grant["refused"][0]["reason"], "uplink_full");
    let detail = grant["refused"][0]["detail"].as_str().unwrap();
    assert!(detail.contains("1.0 Mbit/s"), "{detail}");
    placed(&martin, &grant, "main", "asked").await;
    let more = martin.claims(&["cam-004"], 600);
    assert_eq!(martin.refused(&more).await, Reason::UplinkFull);
    martin.granted(&["cam-002"]).await;
    world.stop().await;
}
