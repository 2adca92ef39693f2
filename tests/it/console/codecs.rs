//! A camera whose streams have different codecs: H.265 for recorders, H.264 for browsers.

use fanal::media::unit::Codec;
use fanal::simulate::field::{Options, PLAIN_CAMERA, Server};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::room::{Room, tile};
use crate::browser::Kind;
use crate::world::{Plan, Player, rtsp, until};

/// Serves a well-behaved camera with this codec until the token ends; its address.
async fn camera(codec: Codec, token: &CancellationToken) -> String {
    let options = Options {
        codec,
        ..Options::new([&PLAIN_CAMERA])
    };
    let server = Server::bind(options).await.unwrap();
    let url = server.urls().remove(0).1;
    tokio::spawn(server.run(token.clone()));
    url
}

#[tokio::test]
async fn a_browser_without_h265_shows_the_sub_stream_also_beside_a_player_of_the_main_one() {
    let token = CancellationToken::new();
    let _ends = token.clone().drop_guard();
    let main = camera(Codec::H265, &token).await;
    let sub = camera(Codec::H264, &token).await;
    let more = format!(
        "[[camera]]\nid = \"mixed\"\nname = \"mixed\"\nmain = \"{main}\"\nsub = \"{sub}\"\n\
         mask_verified = true\nclose_after = \"200ms\"\n"
    );
    let plan = Plan {
        gateway: more,
        ..Plan::default()
    };
    let Some(mut room) = Room::watching(Kind::Chromium, plan, &["mixed"]).await else {
        return;
    };
    let decodes = "VideoDecoder.isConfigSupported({ codec: 'hvc1.1.6.L93.B0' })
        .then((found) => found.supported)";
    if room.browser.evaluate(decodes).await == json!(true) {
        return crate::tools::skipped(format_args!("this browser decodes H.265"));
    }
    room.moves("mixed").await;
    let metrics = room.world.gateway_metrics.clone();
    let carried = |profile: &str| metrics.relays.with_label_values(&[profile]).get();
    until("the main stream, which nobody can see, stops", || {
        (carried("main"), carried("sub")) == (0, 1)
    })
    .await;
    room.moves("mixed").await;
    // A player comes, which decodes all: both streams go.
    let colleague = room.world.operator("13-2").await;
    let grant = colleague.granted(&["mixed"]).await;
    let mut player = Player::start(rtsp(&grant, "mixed"));
    player.pictures(20).await;
    assert_eq!((carried("main"), carried("sub")), (1, 1));
    room.moves("mixed").await;
    let profile = format!(
        "document.querySelector({}).querySelector('.tile-profile').textContent",
        json!(tile("mixed"))
    );
    assert_eq!(room.browser.evaluate(&profile).await, json!("réduit"));
    room.browser.keep_screenshot("codecs").await;
    let path = format!("/api/v1/grants/{}", grant["grant"].as_str().unwrap());
    colleague.call(hyper::Method::DELETE, &path).await.unwrap();
    until("the main stream stops again", || carried("main") == 0).await;
    room.end().await;
}

/// One whose only stream is H.265.
#[tokio::test]
async fn a_camera_that_no_browser_decodes_says_what_to_do() {
    let token = CancellationToken::new();
    let _ends = token.clone().drop_guard();
    let main = camera(Codec::H265, &token).await;
    let plan = Plan {
        gateway: format!(
            "[[camera]]\nid = \"newer\"\nname = \"newer\"\nmain = \"{main}\"\n\
             mask_verified = true\nclose_after = \"200ms\"\n"
        ),
        ..Plan::default()
    };
    let Some(mut room) = Room::watching(Kind::Chromium, plan, &["newer"]).await else {
        return;
    };
    room.browser
        .says(&tile("newer"), "ne lit pas le H.265")
        .await;
    room.browser.says(&tile("newer"), "VLC").await;
    room.browser.keep_screenshot("undecodable").await;
    room.end().await;
}
