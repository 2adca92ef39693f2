//! From the intervention to the moving picture, and what becomes of it.

use std::time::Duration;

use serde_json::json;

use super::room::{Room, adjustable_clock, result, tile};
use crate::browser::{Kind, id};
use crate::relay::fanal;
use crate::world::{Plan, until};

#[tokio::test]
async fn chromium_shows_the_picture_until_the_intervention_is_closed() {
    let Some(mut room) = Room::watching(Kind::Chromium, Plan::default(), &["cam-001"]).await else {
        return;
    };
    room.moves("cam-001").await;
    room.ask("cam-002").await;
    room.moves("cam-002").await;
    room.moves("cam-001").await;
    room.browser.keep_screenshot("two").await;
    assert_eq!(room.world.entries("gateway", "grant").len(), 2);
    room.browser.click(&id("close-incident")).await;
    room.browser.click(&id("confirm")).await;
    room.browser.gone(&id("tile")).await;
    let metrics = room.world.receiver_metrics.clone();
    until("all is released", || metrics.grants_active.get() == 0).await;
    room.end().await;
}

/// Where Firefox decodes no H.264, the tile says why and gives the RTSP URL.
#[tokio::test]
async fn firefox_shows_the_picture_or_says_why_not() {
    let Some(mut room) = Room::watching(Kind::Firefox, Plan::default(), &["cam-001"]).await else {
        return;
    };
    let decodes = "globalThis.VideoDecoder
        ? VideoDecoder.isConfigSupported({ codec: 'avc1.42001f' }).then((found) => found.supported)
        : false";
    if room.browser.evaluate(decodes).await == json!(true) {
        room.moves("cam-001").await;
    } else {
        room.browser.says(&tile("cam-001"), "rtsp://").await;
    }
    room.browser.keep_screenshot("firefox").await;
    room.end().await;
}

#[tokio::test]
async fn a_colleague_takes_over_under_the_playing_tile_and_gives_back() {
    let Some(mut room) = Room::watching(Kind::Chromium, Plan::default(), &["cam-001"]).await else {
        return;
    };
    room.moves("cam-001").await;
    let colleague = room.world.operator("13-2").await;
    let listed = colleague.call(hyper::Method::GET, "/api/v1/grants").await;
    let listed = listed.unwrap();
    let grant = listed
        .as_array()
        .or_else(|| listed["grants"].as_array())
        .unwrap()[0]["grant"]
        .as_str()
        .unwrap()
        .to_owned();
    let mut claims = colleague.claims(&["cam-001"], 600);
    claims.renews = Some(grant.parse().unwrap());
    assert_eq!(
        colleague.ask(&claims).await.unwrap()["grant"],
        grant.as_str()
    );
    // The page tells whose it is now. The picture is his, and ends here: nobody watches under
    // another's grant.
    room.browser.says("#incident", "Adjudant 13-2").await;
    room.shows_no_picture("cam-001").await;
    room.browser.says("[data-camera]", "Adjudant 13-2").await;
    room.browser.click(&id("take-over")).await;
    room.browser.click(&id("take-over-submit")).await;
    room.browser.gone(&id("take-over")).await;
    room.moves("cam-001").await;
    let count = room.world.counters.borrow().camera("cam-001");
    assert_eq!(
        (count.set_up, count.open()),
        (1, 1),
        "one session throughout"
    );
    room.end().await;
}

#[tokio::test]
async fn a_cut_by_the_commune_leaves_words_and_no_picture() {
    let Some(mut room) = Room::watching(Kind::Chromium, Plan::default(), &["cam-001"]).await else {
        return;
    };
    room.moves("cam-001").await;
    fanal(&["cut", "--camera", "cam-001", "--socket"], &room.world).await;
    room.shows_no_picture("cam-001").await;
    room.browser.keep_screenshot("cut").await;
    room.browser.says(&id("history"), "commune").await;
    // Asked for again, it is refused in words.
    room.browser
        .evaluate("document.activeElement?.blur()")
        .await;
    room.end().await;
}

#[tokio::test]
async fn an_expired_grant_leaves_words_and_no_picture() {
    let (clock, manual, _going) = adjustable_clock();
    let plan = Plan {
        receiver_clock: clock,
        ..Plan::default()
    };
    let Some(mut room) = Room::watching(Kind::Chromium, plan, &["cam-001"]).await else {
        return;
    };
    room.moves("cam-001").await;
    room.browser.shown(&id("time-left")).await;
    manual.advance(Duration::from_secs(3_601));
    room.shows_no_picture("cam-001").await;
    room.browser.keep_screenshot("expired").await;
    room.end().await;
}

/// What the page tells its worker is noted, and the wait for the next token passes at once.
const NOTE_ORDERS: &str = "(() => {
  window.fanalTestOrders = [];
  const { postMessage } = Worker.prototype;
  Worker.prototype.postMessage = function (order, ...rest) {
    window.fanalTestOrders.push(order.type);
    return postMessage.call(this, order, ...rest);
  };
  const { setTimeout } = window;
  const isLong = (wait) => wait > 200_000 && wait < 256_000;
  window.setTimeout = (then, wait, ...rest) => setTimeout(then, isLong(wait) ? 100 : wait, ...rest);
})()";

#[tokio::test]
async fn the_picture_goes_on_past_the_first_tokens_end_in_the_same_socket() {
    let (clock, manual, _going) = adjustable_clock();
    let plan = Plan {
        receiver_clock: clock,
        ..Plan::default()
    };
    let Some(mut room) = Room::watching(Kind::Chromium, plan, &[]).await else {
        return;
    };
    room.browser.evaluate(NOTE_ORDERS).await;
    room.ask("cam-001").await;
    room.moves("cam-001").await;
    // Half a minute and more before its end the page signs the next one, and sends it.
    manual.advance(Duration::from_secs(250));
    room.browser
        .evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        .await;
    room.browser
        .until(
            "a new token in the socket",
            "window.fanalTestOrders.includes('token')",
        )
        .await;
    room.moves("cam-001").await;
    manual.advance(Duration::from_secs(60));
    room.moves("cam-001").await;
    let opened = "window.fanalTestOrders.filter((order) => order === 'open').length";
    assert_eq!(room.browser.evaluate(opened).await, json!(1));
    assert_eq!(room.world.entries("receiver", "viewing_started").len(), 1);
    assert!(room.world.entries("receiver", "viewing_ended").is_empty());
    room.end().await;
}

#[tokio::test]
async fn a_reload_keeps_intervention_and_pictures() {
    let Some(mut room) = Room::watching(Kind::Chromium, Plan::default(), &["cam-001"]).await else {
        return;
    };
    room.moves("cam-001").await;
    room.browser.reload().await;
    room.signed_in("13-1").await;
    room.browser.says("#incident h2", "2026/4711").await;
    room.moves("cam-001").await;
    assert_eq!(room.world.receiver_metrics.grants_active.get(), 1);
    room.end().await;
}

#[tokio::test]
async fn a_lost_link_is_told_and_recovered_from() {
    let plan = Plan {
        through_wire: true,
        ..Plan::default()
    };
    let Some(mut room) = Room::watching(Kind::Chromium, plan, &["cam-001"]).await else {
        return;
    };
    room.moves("cam-001").await;
    let wire = room.world.wire.as_ref().unwrap();
    wire.cut(true);
    // A frozen picture does not look live.
    let state = format!(
        "!['live', 'starting'].includes(document.querySelector({}).dataset.state)",
        json!(tile("cam-001"))
    );
    room.browser
        .until("the tile says that it is not live", &state)
        .await;
    room.browser.keep_screenshot("lost").await;
    room.world.wire.as_ref().unwrap().cut(false);
    room.moves("cam-001").await;
    room.end().await;
}

#[tokio::test]
async fn a_receiver_that_starts_again_is_recovered_from() {
    let Some(mut room) = Room::watching(Kind::Chromium, Plan::default(), &["cam-001"]).await else {
        return;
    };
    room.moves("cam-001").await;
    // The browser's own words for what is lost.
    room.browser.expect_error("ERR_CONNECTION_REFUSED");
    room.browser.expect_error("WebSocket connection to");
    room.world.stop_receiver().await;
    room.browser.shown(&id("offline")).await;
    room.world.start_receiver().await;
    room.world.linked().await;
    room.browser.gone(&id("offline")).await;
    room.moves("cam-001").await;
    room.end().await;
}

#[tokio::test]
async fn a_dispatch_tool_opens_the_intervention_by_the_address() {
    let Some(mut room) = Room::open(Kind::Chromium, Plan::default()).await else {
        return;
    };
    let more = "&incident=2026/99&grounds=pursuit&at=43.47,5.17&present=Brigadier%20Noir";
    room.sign_in_with("13-1", more).await;
    room.browser.says("#incident h2", "2026/99").await;
    room.browser.says("#incident", "Brigadier Noir").await;
    room.ask("cam-001").await;
    let [entry] = &room.world.entries("gateway", "grant")[..] else {
        panic!("one grant");
    };
    assert_eq!(
        (&entry["incident"], &entry["grounds"]),
        (&json!("2026/99"), &json!("pursuit"))
    );
    room.end().await;
}

#[tokio::test]
async fn the_keyboard_alone_is_enough() {
    let Some(mut room) = Room::open(Kind::Chromium, Plan::default()).await else {
        return;
    };
    room.sign_in("13-1").await;
    let browser = &mut room.browser;
    browser.press("n").await;
    browser.focused(&id("incident-ref")).await;
    browser.type_text("2026/5").await;
    browser.tab_to(&id("incident-grounds")).await;
    browser
        .choose_focused(&id("incident-grounds"), "burglary")
        .await;
    browser.tab_to(&id("incident-open")).await;
    browser.press("Enter").await;
    browser.says("#incident h2", "2026/5").await;
    browser.press("/").await;
    browser.focused(&id("search")).await;
    browser.type_text("cam-001").await;
    browser.shown(&result("cam-001")).await;
    browser.press("ArrowDown").await;
    browser.press("Enter").await;
    room.moves("cam-001").await;
    room.end().await;
}
