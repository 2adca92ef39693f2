//! WCAG 2.2 AA as far as a program can tell, and a page zoomed to 200 %.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::room::Room;
use crate::browser::{Browser, Kind, id};
use crate::world::Plan;

/// axe-core's one file, where `FANAL_AXE` names it. Where it does not, the test says that
/// it is skipped, and fails where nothing may be skipped (`CI`).
pub fn axe() -> Option<String> {
    let Some(path) = std::env::var_os("FANAL_AXE").map(PathBuf::from) else {
        assert!(std::env::var_os("CI").is_none(), "axe-core not found");
        crate::tools::skipped(format_args!("axe-core not found"));
        return None;
    };
    let text = std::fs::read_to_string(&path);
    Some(text.unwrap_or_else(|error| panic!("FANAL_AXE {}: {error}", path.display())))
}

const CHECK: &str = "axe.run(document, {
  resultTypes: ['violations'],
  runOnly: { type: 'tag', values: ['wcag2a', 'wcag2aa', 'wcag21aa', 'wcag22aa'] },
}).then(({ violations }) => violations.map(({ id, help, nodes }) => ({ id, help,
  nodes: nodes.slice(0, 5).map(({ html, any }) => [html.slice(0, 200), any[0]?.message]) })))";

/// Fails where axe finds something, in either theme.
pub async fn is_accessible(browser: &mut Browser, axe: &str, what: &str) {
    let present = browser.evaluate_beside("typeof axe").await;
    if present != "object" {
        browser.execute_beside(axe).await;
    }
    for theme in ["dark", "light"] {
        let set = format!("document.documentElement.dataset.theme = {}", json!(theme));
        browser.evaluate(&set).await;
        // Colours that fade from one theme to the other have arrived.
        let still = "Promise.all(document.getAnimations()
            .filter((one) => one.effect.getComputedTiming().endTime < Infinity)
            .map((one) => one.finished.catch(() => null)))";
        browser.evaluate(still).await;
        let found: Value = browser.evaluate_beside(CHECK).await;
        assert_eq!(found, json!([]), "{what}, {theme}: {found:#}");
    }
}

#[tokio::test]
async fn axe_finds_nothing_on_any_page() {
    let Some(axe) = axe() else {
        return;
    };
    let Some(mut room) = Room::open(Kind::Chromium, Plan::default()).await else {
        return;
    };
    let url = room.url("");
    room.browser.goto(&url).await;
    room.browser.shown(&id("person-add")).await;
    is_accessible(&mut room.browser, &axe, "sign-in").await;
    // A page of its own: another fragment alone would load nothing.
    room.browser.goto("about:blank").await;
    room.sign_in("13-1").await;
    is_accessible(&mut room.browser, &axe, "an empty desk").await;
    room.browser.click(&id("new-incident")).await;
    room.browser.shown(&id("incident-open")).await;
    is_accessible(&mut room.browser, &axe, "the form of an intervention").await;
    room.browser.press("Escape").await;
    room.open_incident("2026/4711").await;
    room.ask("cam-001").await;
    room.moves("cam-001").await;
    is_accessible(&mut room.browser, &axe, "the desk").await;
    room.browser.click(&id("lock")).await;
    room.browser.shown(&id("unlock")).await;
    is_accessible(&mut room.browser, &axe, "a locked page").await;
    room.end().await;
}

#[tokio::test]
async fn nothing_is_cut_off_at_200_per_cent() {
    let Some(mut room) = Room::open(Kind::Chromium, Plan::default()).await else {
        return;
    };
    // 1280 pixels of the screen, each of the page's made of two.
    room.browser.set_viewport(640, 400, 2.0).await;
    room.sign_in("13-1").await;
    room.open_incident("2026/4711").await;
    let wide = "[document.documentElement.scrollWidth, innerWidth]";
    for panel in ["find", "watch", "incident"] {
        room.browser.click(&id(&format!("panel-{panel}"))).await;
        room.browser.shown(&format!("#{panel}")).await;
        let widths = room.browser.evaluate(wide).await;
        assert!(
            widths[0].as_u64() <= widths[1].as_u64(),
            "{panel}: {widths}"
        );
        room.browser
            .keep_screenshot(&format!("narrow-{panel}"))
            .await;
    }
    room.browser.click(&id("panel-find")).await;
    room.ask_here("cam-001").await;
    room.browser.click(&id("panel-watch")).await;
    room.moves("cam-001").await;
    let widths = room.browser.evaluate(wide).await;
    assert!(widths[0].as_u64() <= widths[1].as_u64(), "tiles: {widths}");
    room.end().await;
}
