//! French and English: all of it in both.

use serde_json::json;

use super::room::Room;
use crate::browser::{Kind, id};
use crate::world::Plan;

/// Keys of words that are shown as they are: nobody translated them.
const BARE: &str = r"[...document.body.innerText.matchAll(/\b(?:desk|watch|find)\.[a-z_]+(?:\.[a-z_]+)*/g)].map(String)";

#[tokio::test]
async fn both_languages_say_the_same() {
    let Some(mut room) = Room::open(Kind::Chromium, Plan::default()).await else {
        return;
    };
    room.sign_in("13-1").await;
    // Keys that only one has, and those whose parameters differ.
    let differ = r"import(`${location.origin}/page/core/text.js`).then((text) => {
  const { fr, en } = text.words();
  const names = (words) => [...words.matchAll(/\{(\w+)\}/g)].map(([, name]) => name).sort().join();
  const plain = (key) => key.split('|')[0];
  const lone = [...Object.keys(fr).filter((key) => !(key in en) && !(plain(key) in en)),
    ...Object.keys(en).filter((key) => !(key in fr) && !(plain(key) in fr))];
  const other = Object.keys(fr).filter((key) => key in en && names(fr[key]) !== names(en[key]));
  return { count: Object.keys(fr).length, lone, other };
})";
    let differ = room.browser.evaluate(differ).await;
    assert!(differ["count"].as_u64().unwrap() > 100, "{differ}");
    assert_eq!(
        (&differ["lone"], &differ["other"]),
        (&json!([]), &json!([]))
    );
    room.end().await;
}

#[tokio::test]
async fn the_language_is_switched_and_remembered() {
    let Some(mut room) = Room::watching(Kind::Chromium, Plan::default(), &["cam-001"]).await else {
        return;
    };
    let language = "document.documentElement.lang";
    assert_eq!(room.browser.evaluate(language).await, "fr");
    let french = room.browser.text("body").await;
    assert_eq!(room.browser.evaluate(BARE).await, json!([]));
    let close = id("close-incident");
    let before = room.browser.text(&close).await;
    room.browser.click(&id("lang")).await;
    let other = format!(
        "document.documentElement.lang === 'en' && document.querySelector({}).innerText !== {}",
        json!(close),
        json!(before)
    );
    room.browser.until("English words", &other).await;
    let english = room.browser.text("body").await;
    assert_ne!(french, english);
    assert_eq!(room.browser.evaluate(BARE).await, json!([]));
    room.browser.reload().await;
    room.signed_in("13-1").await;
    assert_eq!(room.browser.evaluate(language).await, "en");
    room.end().await;
}
