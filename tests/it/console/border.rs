//! Across the border of a commune, on the demo's own two: other grounds, another approval, and
//! one intervention.

use std::path::Path;

use fanal::certs::Identity;
use fanal::demo::site::{NEIGHBOUR, OPERATOR};
use fanal::demo::{Cameras, Demo};
use fanal::gateway::socket::{self, Answer, Request};
use fanal::secret::Secret;
use serde_json::{Value, json};

use super::room::{DEMO, demo_fragment, open_incident, tile};
use crate::browser::{Browser, Kind, id};
use crate::world::until;

/// The first of the neighbour's cameras.
const NEXT: &str = "rognac/cam-005";

async fn at_the_desk() -> Option<(Demo, Browser)> {
    let mut browser = Browser::start(Kind::Chromium).await?;
    let demo = Demo::start(Cameras::Simulated(4)).await.unwrap();
    let read = |end: &str| {
        let path = demo.site.path(&format!("{OPERATOR}.{end}"));
        std::fs::read_to_string(path).unwrap()
    };
    let operator = demo_fragment(&Identity {
        certificate: read("pem"),
        key: Secret::new(read("key")),
    });
    browser.set_viewport(1600, 900, 1.0).await;
    let page = format!("http://{}/#{operator}", demo.console);
    browser.goto(&page).await;
    browser.shown(&id("online[data-online=\"online\"]")).await;
    Some((demo, browser))
}

fn on(camera: &str, testid: &str, more: &str) -> String {
    format!("[data-testid=\"{testid}\"][data-camera=\"{camera}\"]{more}")
}

/// The grants that a journal of the demo holds.
fn grants(directory: &Path) -> Vec<Value> {
    let mut found = Vec::new();
    for file in std::fs::read_dir(directory.join("journal")).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|end| end == "jsonl") {
            let text = std::fs::read_to_string(path).unwrap();
            let lines = text.lines().map(|line| {
                let mut line: Value = serde_json::from_str(line).unwrap();
                line["body"].take()
            });
            found.extend(lines.filter(|body| body["kind"] == "grant"));
        }
    }
    found
}

async fn local(demo: &Demo, request: Request) -> Answer {
    let path = demo.site.path("rognac.sock");
    let asked = tokio::task::spawn_blocking(move || socket::ask(&path, &request));
    asked.await.unwrap().unwrap()
}

#[tokio::test]
async fn one_intervention_crosses_the_border() {
    let _alone = DEMO.lock().await;
    let Some((demo, mut browser)) = at_the_desk().await else {
        return;
    };
    other_grounds_are_one_press_in_the_same_intervention(&demo, &mut browser).await;
    an_address_brings_its_nearest_cameras_and_their_neighbours(&mut browser).await;
    browser.close().await;
    demo.stop().await.unwrap();
}

async fn other_grounds_are_one_press_in_the_same_intervention(demo: &Demo, browser: &mut Browser) {
    open_incident(browser, "2026/4711").await;
    browser
        .click(&on("berre-l-etang/cam-001", "camera-result", ""))
        .await;
    browser.shown(&tile("cam-001")).await;
    // The row says what is in the way, and what would do; the way there is one press.
    browser
        .says(&on(NEXT, "camera-result", ""), "ne prévoit pas")
        .await;
    let offer = on(NEXT, "ask-grounds", "[data-grounds=\"pursuit\"]");
    browser.says(&offer, "poursuite").await;
    browser.keep_screenshot("border-offer").await;
    browser.click(&offer).await;
    let there = on(NEXT, "tile", "");
    browser
        .shown(&format!("{there}[data-state=\"waiting\"]"))
        .await;
    browser.says(&id("history"), "au motif «").await;
    browser.shown(&id("grounds-in-use")).await;
    let waiting = match local(demo, Request::Relays {}).await {
        Answer::Relays(relays) => relays.waiting,
        other => panic!("{other:?}"),
    };
    let request = waiting[0].request;
    let answer = local(demo, Request::Approve { request }).await;
    assert!(matches!(answer, Answer::Approved { .. }), "{answer:?}");
    browser
        .shown(&format!("{there}[data-state=\"live\"]"))
        .await;
    // Side by side, under one reference; each commune's journal has its own grounds.
    browser.shown(&tile("cam-001")).await;
    browser.keep_screenshot("border").await;
    let at_home = grants(&demo.site.path("gateway"));
    let next_door = grants(&demo.site.path(NEIGHBOUR));
    let said = |entry: &Value| (entry["incident"].clone(), entry["grounds"].clone());
    assert_eq!(said(&at_home[0]), (json!("2026/4711"), json!("burglary")));
    assert_eq!(said(&next_door[0]), (json!("2026/4711"), json!("pursuit")));
    // Without another question now: the intervention has these grounds.
    browser
        .click(&on("rognac/cam-006", "camera-result", ""))
        .await;
    browser
        .shown(&on("rognac/cam-006", "tile", "[data-state=\"waiting\"]"))
        .await;
    // The same reference with other grounds asks which are meant, and says so before the press.
    browser.click(&id("new-incident")).await;
    browser.fill(&id("incident-ref"), "2026/4711").await;
    browser.choose(&id("incident-grounds"), "assault").await;
    browser.says(&id("incident-known"), "2026/4711").await;
    browser.says(&id("incident-open"), "ajouter").await;
    browser.click(&id("incident-open")).await;
    browser.gone(&id("incident-open")).await;
    let in_use = format!(
        "document.querySelector({}).value === 'assault'",
        json!(id("grounds-in-use"))
    );
    browser.until("the added grounds in use", &in_use).await;
    browser.click(&id("close-incident")).await;
    browser.click(&id("confirm")).await;
    let figures = demo.receiver.clone();
    until("all is released", || figures.grants_active.get() == 0).await;
}

async fn an_address_brings_its_nearest_cameras_and_their_neighbours(browser: &mut Browser) {
    browser.press("n").await;
    browser.focused(&id("incident-ref")).await;
    browser.type_text("2026/12").await;
    browser.tab_to(&id("incident-grounds")).await;
    browser
        .choose_focused(&id("incident-grounds"), "pursuit")
        .await;
    browser.tab_to(&id("incident-place")).await;
    browser.type_text("12 av salengro berre").await;
    browser.press("Enter").await;
    browser.gone(&id("incident-open")).await;
    browser.says(&id("ask-nearest"), "4 plus proches").await;
    browser.says(".find-about", "Salengro").await;
    browser.says("#incident", "Salengro").await;
    browser.press("p").await;
    for camera in ["cam-001", "cam-002", "cam-003", "cam-004"] {
        browser
            .shown(&format!("{}[data-state=\"live\"]", tile(camera)))
            .await;
    }
    // At the edges of the enlarged picture its neighbours, by name; a press goes on there.
    browser.press("1").await;
    let next = format!("{}[data-camera]", id("next-camera"));
    browser.shown(&next).await;
    browser.keep_screenshot("neighbours").await;
    let key = format!("document.querySelector({}).dataset.camera", json!(next));
    let key = browser.evaluate(&key).await;
    browser.click(&next).await;
    let there = on(key.as_str().unwrap(), "tile", ".focused.current");
    browser.shown(&there).await;
    browser.focused(&there).await;
    browser.click(&id("close-incident")).await;
    browser.click(&id("confirm")).await;
}
