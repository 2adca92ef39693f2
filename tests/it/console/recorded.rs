//! What the commune's word and both journals stand before: a still, and a request that waits.

use serde_json::json;

use super::room::{Room, tile};
use crate::approval::{local, waiting};
use crate::browser::{Kind, id};
use crate::world::{Plan, World, until};
use fanal::gateway::socket::{Answer, Request};

/// Keeps what the page would save: names, and bytes as characters.
const KEEP_SAVED: &str = "(() => {
  window.fanalSaved = [];
  const blobs = new Map();
  const make = URL.createObjectURL.bind(URL);
  URL.createObjectURL = (blob) => { const url = make(blob); blobs.set(url, blob); return url; };
  HTMLAnchorElement.prototype.click = function () {
    const { download, href } = this;
    blobs.get(href).arrayBuffer().then((bytes) => window.fanalSaved.push([download, Array.from(new Uint8Array(bytes), (byte) => String.fromCharCode(byte)).join('')]));
  };
  return true;
})()";

#[tokio::test]
async fn a_still_is_recorded_at_both_ends_and_says_what_it_is() {
    let plan = Plan {
        // With the watermark: it is in the picture that both journals hold the hash of.
        agreement: "snapshots = true\nwatermark = true\n".to_owned(),
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
    assert_eq!(at_commune["sha256"], at_centre["sha256"]);
    let moment = at_commune["captured"].as_str().unwrap();
    let bytes: Vec<u8> = png
        .chars()
        .map(|byte| u8::try_from(byte).unwrap())
        .collect();
    proves_itself(
        &room.world,
        &bytes,
        &[grant, moment, "berre-l-etang/cam-001"],
    );
    room.end().await;
}

/// `fanal journal still` finds a browser's still in both journals, and tells changed ones.
fn proves_itself(world: &World, png: &[u8], says: &[&str]) {
    let still = |name: &str, bytes: &[u8]| {
        let file = world.directory.path(name);
        std::fs::write(&file, bytes).unwrap();
        let journal = |daemon: &str| world.directory.path(daemon).join("journal");
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_fanal"))
            .args(["journal", "still"])
            .args([file, journal("gateway"), journal("receiver")])
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        (output.status.code().unwrap(), text)
    };
    let (status, text) = still("still.png", png);
    assert_eq!(status, 0, "{text}");
    assert!(text.starts_with("unaltered: picture and text"), "{text}");
    for word in says {
        assert!(text.contains(word), "{word} is not in {text}");
    }
    assert_eq!(text.matches("recorded  line").count(), 2, "{text}");
    // The header, and then the picture without the texts between.
    let at = |kind: &[u8]| png.windows(4).position(|four| four == kind).unwrap() - 4;
    let bare = [&png[..at(b"iTXt")], &png[at(b"IDAT")..]].concat();
    let (status, text) = still("bare.png", &bare);
    assert_eq!(status, 0, "{text}");
    assert!(text.contains("its text was removed"), "{text}");
    let mut edited = png.to_vec();
    edited[at(b"IDAT") + 40] ^= 1;
    let (status, text) = still("edited.png", &edited);
    assert_eq!(status, 1, "{text}");
    assert!(text.starts_with("altered: "), "{text}");
    let other = says[0].replace(|letter| letter != '-', "1");
    let named = png
        .windows(36)
        .position(|id| id == says[0].as_bytes())
        .unwrap();
    let mut renamed = png.to_vec();
    renamed[named..named + 36].copy_from_slice(other.as_bytes());
    let (status, text) = still("renamed.png", &renamed);
    assert_eq!(status, 1, "{text}");
    assert!(
        text.contains("its text was changed: the text names grant"),
        "{text}"
    );
    let mut foreign = bare;
    let place = foreign.windows(4).position(|four| four == b"IDAT").unwrap();
    foreign[place + 40] ^= 1;
    let (status, text) = still("foreign.png", &foreign);
    assert_eq!(status, 1, "{text}");
    assert!(text.starts_with("foreign: "), "{text}");
    assert_eq!(still("nothing.jpg", b"\xff\xd8\xff").0, 1);
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

#[tokio::test]
async fn a_request_that_waits_is_cancelled_by_one_click_or_with_its_tile() {
    let plan = Plan {
        agreement: "approval = \"commune\"\n".to_owned(),
        ..Plan::default()
    };
    let Some(mut room) = Room::watching(Kind::Chromium, plan, &["cam-001"]).await else {
        return;
    };
    room.browser.shown(&id("approval")).await;
    room.browser.click(&id("cancel-wait")).await;
    room.browser.gone(&id("approval")).await;
    room.browser.gone(&tile("cam-001")).await;
    let world = &room.world;
    until("it waits no more", || {
        world.gateway_metrics.approvals_waiting.get() == 0
    })
    .await;
    // The same by closing the tile.
    room.ask("cam-002").await;
    room.browser.shown(&id("approval")).await;
    let close = format!("{} {}", tile("cam-002"), id("tile-close"));
    room.browser.click(&close).await;
    room.browser.gone(&id("approval")).await;
    let world = &room.world;
    until("both are cancelled at both ends", || {
        ["gateway", "receiver"].iter().all(|daemon| {
            let refused = world.entries(daemon, "refused");
            let cancelled = |body: &&serde_json::Value| body["reason"] == "request_cancelled";
            refused.iter().filter(cancelled).count() == 2
        })
    })
    .await;
    assert_eq!(world.gateway_metrics.approvals_waiting.get(), 0);
    room.end().await;
}
