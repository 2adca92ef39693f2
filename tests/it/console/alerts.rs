//! What must not be missed, and a browser that remembers nothing.

use serde_json::json;

use super::room::{Room, tile};
use crate::browser::{Browser, Kind, id};
use crate::relay::fanal;
use crate::world::Plan;

/// Storage that throws when it is named, as browsers have it where all of it is blocked.
const NO_STORAGE: &str = "() => {
  for (const name of ['sessionStorage', 'localStorage'])
    Object.defineProperty(window, name, { get() { throw new DOMException('denied', 'SecurityError'); } });
}";

#[tokio::test]
async fn a_loss_in_another_intervention_is_heard_and_marked_until_it_is_seen() {
    let Some(mut room) = Room::watching(Kind::Chromium, Plan::default(), &["cam-001"]).await else {
        return;
    };
    room.moves("cam-001").await;
    room.open_incident("2026/4712").await;
    let marked = format!(
        "{}[data-ref=\"2026/4711\"] .alert-count",
        id("incident-tab")
    );
    room.browser.gone(&marked).await;
    fanal(&["cut", "--camera", "cam-001", "--socket"], &room.world).await;
    room.browser.shown(&marked).await;
    let told =
        "document.documentElement.dataset.sound === 'ended' && /^\\(\\d+\\) /.test(document.title)";
    room.browser
        .until("a sound, and a number in the title", told)
        .await;
    let tab = format!("{}[data-ref=\"2026/4711\"]", id("incident-tab"));
    room.browser.click(&tab).await;
    room.browser.gone(&marked).await;
    room.browser
        .until("no number", "!document.title.startsWith('(')")
        .await;
    // The volume is kept; 0 is off.
    room.browser.click(&id("help")).await;
    let off = format!(
        "(() => {{ const range = document.querySelector({}); range.value = 0; range.dispatchEvent(new Event('input')); return localStorage.getItem('fanal-volume'); }})()",
        json!(id("volume"))
    );
    assert_eq!(room.browser.evaluate(&off).await, json!("0"));
    room.browser.press("Escape").await;
    room.end().await;
}

async fn works_without_storage(kind: Kind) {
    let Some(mut room) = Room::open(kind, Plan::default()).await else {
        return;
    };
    before_load(&mut room.browser).await;
    room.sign_in("13-1").await;
    room.browser
        .shown("[data-testid=\"toast\"][data-key=\"desk.no_storage\"]")
        .await;
    room.open_incident("2026/4").await;
    room.ask("cam-001").await;
    room.browser.shown(&tile("cam-001")).await;
    room.end().await;
}

async fn before_load(browser: &mut Browser) {
    browser.run_before_pages(NO_STORAGE).await;
}

#[tokio::test]
async fn chromium_works_without_storage() {
    works_without_storage(Kind::Chromium).await;
}

#[tokio::test]
async fn firefox_works_without_storage() {
    works_without_storage(Kind::Firefox).await;
}
