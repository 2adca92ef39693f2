//! The record of an intervention outlives the tab: shared in the unit, printed, exported, verified.

use serde_json::{Value, json};

use super::room::{Room, tile};
use crate::browser::{Kind, id};
use crate::world::{Plan, until};

/// Keeps what the page would save: names, and texts.
const KEEP_SAVED: &str = "(() => {
  window.fanalSaved = [];
  const blobs = new Map();
  const make = URL.createObjectURL.bind(URL);
  URL.createObjectURL = (blob) => { const url = make(blob); blobs.set(url, blob); return url; };
  HTMLAnchorElement.prototype.click = function () {
    const { download, href } = this;
    blobs.get(href).text().then((text) => window.fanalSaved.push([download, text]));
  };
  return true;
})()";

/// What the page saves next.
async fn saved(room: &mut Room, number: usize) -> (String, String) {
    let condition = format!("window.fanalSaved[{number}] ?? null");
    let saved = room.browser.until("a file", &condition).await;
    let text = |at: usize| saved[at].as_str().unwrap().to_owned();
    (text(0), text(1))
}

/// `fanal journal record` of a text, against the receiver's journal.
fn check(room: &Room, text: &str) -> (i32, String) {
    let file = room.world.directory.path("record.json");
    std::fs::write(&file, text).unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_fanal"))
        .args(["journal", "record"])
        .args([file, room.world.directory.path("receiver").join("journal")])
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.code().unwrap(),
        String::from_utf8(said).unwrap(),
    )
}

async fn writes_note(room: &mut Room, text: &str) {
    room.browser.click(&id("add-note")).await;
    room.browser.fill(&id("note-text"), text).await;
    room.browser.click(&id("note-save")).await;
    room.browser.gone(&id("note-dialog")).await;
}

#[tokio::test]
async fn bookmarks_and_notes_outlive_the_tab_and_are_a_colleagues_too() {
    let Some(mut room) = Room::watching(Kind::Chromium, Plan::default(), &["cam-001"]).await else {
        return;
    };
    room.moves("cam-001").await;
    room.browser.press("b").await;
    room.browser.says(&id("bookmarks"), "1 repère").await;
    writes_note(&mut room, "porte arrière ouverte").await;
    let world = &room.world;
    until("both are in the journal", || {
        world.entries("receiver", "mark").len() == 2
    })
    .await;
    assert!(
        !json!(world.entries("receiver", "mark"))
            .to_string()
            .contains("porte")
    );
    // Another tab, of another person: nothing is there but what the centre has.
    room.browser.open_tab("about:blank").await;
    room.sign_in("13-2").await;
    room.browser.press("h").await;
    room.browser.says(&id("record-row"), "2026/4711").await;
    room.browser.click(&id("record-row")).await;
    room.browser
        .says(&id("record-notes"), "porte arrière ouverte")
        .await;
    room.browser
        .says(&id("record-bookmarks"), "berre-l-etang/cam-001")
        .await;
    room.browser
        .says(&id("record-viewings"), "Adjudant 13-1 (13-1)")
        .await;
    room.browser.says(&id("record-requests"), "jusqu'à").await;
    room.browser.keep_screenshot("record").await;
    room.end().await;
}

#[tokio::test]
async fn what_is_marked_while_the_centre_is_away_is_sent_when_it_is_back() {
    let Some(mut room) = Room::watching(Kind::Chromium, Plan::default(), &["cam-001"]).await else {
        return;
    };
    room.moves("cam-001").await;
    room.browser.expect_error("WebSocket");
    room.world.stop_receiver().await;
    room.browser
        .shown(&id("online[data-online=\"offline\"]"))
        .await;
    room.browser.press("b").await;
    writes_note(&mut room, "vu pendant la coupure").await;
    room.browser.says(&id("bookmarks"), "1 repère").await;
    // A reload of the page loses neither.
    let kept = "localStorage.getItem('fanal-unsent')?.includes('coupure')";
    room.browser.until("it waits", kept).await;
    room.world.start_receiver().await;
    let world = &room.world;
    until("both are in the journal", || {
        world.entries("receiver", "mark").len() == 2
    })
    .await;
    room.browser
        .until("nothing waits", "!localStorage.getItem('fanal-unsent')")
        .await;
    room.end().await;
}

#[tokio::test]
async fn closing_offers_the_record_which_the_journal_proves() {
    let Some(mut room) = Room::watching(Kind::Chromium, Plan::default(), &["cam-001"]).await else {
        return;
    };
    room.moves("cam-001").await;
    room.browser.evaluate(KEEP_SAVED).await;
    room.browser.press("b").await;
    writes_note(&mut room, "deux <b>personnes</b> & un chien").await;
    let world = &room.world;
    until("both are in the journal", || {
        world.entries("receiver", "mark").len() == 2
    })
    .await;
    room.browser.click(&id("close-incident")).await;
    room.browser.click(&id("confirm-other")).await;
    room.browser.gone(&tile("cam-001")).await;
    room.browser.says(&id("record-sheet"), "Clôture").await;
    room.browser
        .until("the end is told", "document.querySelector('[data-testid=record-requests]')?.innerText.includes('(13-1)') && !document.querySelector('[data-testid=record-requests]').innerText.includes('en cours')")
        .await;
    room.browser
        .says(&id("record-dialog"), "par Adjudant 13-1 (13-1)")
        .await;
    room.browser.click(&id("record-json")).await;
    let (name, json) = saved(&mut room, 0).await;
    assert_eq!(name, "fanal-2026-4711.json");
    room.browser.click(&id("record-html")).await;
    let (name, html) = saved(&mut room, 1).await;
    assert_eq!(name, "fanal-2026-4711.html");
    assert!(html.contains("deux &lt;b&gt;personnes&lt;/b&gt; &amp; un chien"));
    assert!(html.contains("@page") && !html.contains("src=") && !html.contains("href="));
    room.browser.keep_screenshot("record-closed").await;
    room.browser.keep_print("record").await;
    // The command on the paper.
    let (status, said) = check(&room, &json);
    assert_eq!(status, 0, "{said}");
    for (from, to) in [
        ("deux <b>", "trois <b>"),
        ("\"live\": 0", "\"live\": 0, \"more\": 1"),
    ] {
        assert!(json.contains(from), "{from}");
        let changed = json.replace(from, to);
        let (status, said) = check(&room, &changed);
        assert_eq!(status, i32::from(from.starts_with("deux")), "{said}");
    }
    let mut value: Value = serde_json::from_str(&json).unwrap();
    let lines = value["record"]["history"].as_array_mut().unwrap();
    let at = lines
        .iter()
        .position(|line| line["kind"] == "viewing_started")
        .unwrap();
    lines[at]["who"] = "13-9".into();
    let (status, said) = check(&room, &value.to_string());
    assert!(status == 1 && said.contains("was changed"), "{said}");
    value["record"]["history"]
        .as_array_mut()
        .unwrap()
        .remove(at);
    let (status, said) = check(&room, &value.to_string());
    assert!(status == 1 && said.contains("is left out"), "{said}");
    // It is listed as closed, and nothing of it is open.
    room.browser.press("Escape").await;
    room.browser.press("h").await;
    room.browser
        .shown(&id("record-row[data-state=\"closed\"]"))
        .await;
    room.end().await;
}
