//! What the commune's word and both journals stand before: a still, and a request that waits.

use serde_json::json;

use super::room::{Room, tile};
use crate::approval::{local, waiting};
use crate::browser::{Kind, id};
use crate::world::Plan;
use fanal::gateway::socket::{Answer, Request};

/// Keeps what the page would save: names, and bytes as characters.
const KEEP_SAVED: &str = "(() => {
  window.fanalSaved = [];
  const blobs = new Map();
  const make = URL.createObjectURL.bind(URL);
  URL.createObjectURL = (blob) => { const url = make(blob); blobs.set(url, blob); return url; };
  HTMLAnchorElement.prototype.click = function () {
    const { download, href } = this;
    blobs.get(href).arrayBuffer().then((bytes) => window.fanalSaved.push([download, new TextDecoder('latin1').decode(bytes)]));
  };
  return true;
})()";

#[tokio::test]
async fn a_still_is_recorded_at_both_ends_and_says_what_it_is() {
    let plan = Plan {
        agreement: "snapshots = true\n".to_owned(),
        ..Plan::default()
    };
    let Some(mut room) = Room::watching(Kind::Chromium, plan, &["cam-001"]).await else {
        return;
    };
    room.moves("cam-001").await;
    room.browser.evaluate(KEEP_SAVED).await;
    room.browser.click(&id("tile-snapshot")).await;
    let saved = room
        .browser
        .until("a still", "window.fanalSaved[0] ?? null")
        .await;
    let (name, png) = (saved[0].as_str().unwrap(), saved[1].as_str().unwrap());
    let [at_commune] = &room.world.entries("gateway", "snapshot")[..] else {
        panic!("one still at the commune");
    };
    let [at_centre] = &room.world.entries("receiver", "snapshot")[..] else {
        panic!("one still at the centre");
    };
    let grant = at_commune["grant"].as_str().unwrap();
    assert_eq!(at_centre["grant"], grant);
    assert!(name.starts_with("berre-l-etang_cam-001_"), "{name}");
    assert!(name.ends_with(&format!("_{grant}.png")), "{name}");
    assert!(png.contains("IHDR") && png.contains(grant), "{name}");
    room.end().await;
}

#[tokio::test]
async fn without_the_agreements_word_there_is_no_still() {
    let Some(mut room) = Room::watching(Kind::Chromium, Plan::default(), &["cam-001"]).await else {
        return;
    };
    room.moves("cam-001").await;
    room.browser.evaluate(KEEP_SAVED).await;
    room.browser.press("s").await;
    room.browser
        .shown("[data-testid=\"toast\"][data-key=\"watch.snapshot.not_allowed\"]")
        .await;
    assert_eq!(room.browser.evaluate("window.fanalSaved").await, json!([]));
    assert!(room.world.entries("receiver", "snapshot").is_empty());
    room.end().await;
}

#[tokio::test]
async fn a_request_that_waits_is_shown_so_and_comes_when_it_is_approved() {
    let plan = Plan {
        agreement: "approval = \"commune\"\n".to_owned(),
        ..Plan::default()
    };
    let Some(mut room) = Room::watching(Kind::Chromium, plan, &["cam-001"]).await else {
        return;
    };
    let waits = format!("{}[data-state=\"waiting\"]", tile("cam-001"));
    room.browser.shown(&waits).await;
    room.browser.shown(&id("approval")).await;
    // A wait is never a picture.
    assert!(room.world.entries("gateway", "grant").is_empty());
    let request = waiting(&room.world).await[0].request;
    let answer = local(&room.world, Request::Approve { request }).await;
    assert!(matches!(answer, Answer::Approved { .. }), "{answer:?}");
    room.moves("cam-001").await;
    room.browser.gone(&id("approval")).await;
    room.end().await;
}
