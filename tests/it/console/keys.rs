//! Hands on the keyboard: any layout, and no key whose meaning is not on the screen.

use serde_json::json;

use super::room::{Room, result, tile};
use crate::browser::{Browser, Kind, id};
use crate::world::Plan;

/// A press as a layout sends it: what is printed on the key, and where the key is.
async fn strike(browser: &mut Browser, key: &str, code: &str, alt: bool) {
    let event =
        json!({ "key": key, "code": code, "altKey": alt, "bubbles": true, "cancelable": true });
    let press = format!(
        "(document.activeElement ?? document.body).dispatchEvent(new KeyboardEvent('keydown', {event}))"
    );
    browser.evaluate(&press).await;
}

/// The state of a camera's tile, as a selector.
fn is(camera: &str, what: &str) -> String {
    format!("{}{what}", tile(camera))
}

#[tokio::test]
async fn a_french_keyboard_has_its_digits_and_signs() {
    let cameras = ["cam-001", "cam-002"];
    let Some(mut room) = Room::watching(Kind::Chromium, Plan::default(), &cameras).await else {
        return;
    };
    let browser = &mut room.browser;
    // What was added last is meant, and marked; the numbers are drawn.
    browser.shown(&is("cam-002", "[aria-current]")).await;
    browser.says(&is("cam-002", " .tile-number"), "2").await;
    // Unshifted, as French keyboards have them.
    strike(browser, "&", "Digit1", false).await;
    browser.shown(&is("cam-001", ".focused.current")).await;
    browser.focused(&tile("cam-001")).await;
    strike(browser, "=", "Equal", false).await;
    browser.shown(&is("cam-001", ".zoomed")).await;
    strike(browser, "à", "Digit0", false).await;
    browser.shown(&is("cam-001", ":not(.zoomed)")).await;
    strike(browser, "=", "Equal", false).await;
    browser.shown(&is("cam-001", ".zoomed")).await;
    strike(browser, ")", "Minus", false).await;
    browser.shown(&is("cam-001", ":not(.zoomed)")).await;
    // The dash of that layout is the key of the 6: there is no sixth picture, and no zoom.
    strike(browser, "-", "Digit6", false).await;
    strike(browser, "é", "Digit2", false).await;
    browser.shown(&is("cam-002", ".focused.current")).await;
    // A numeric keypad has digits as such.
    strike(browser, "1", "Numpad1", false).await;
    browser.shown(&is("cam-001", ".focused.current")).await;
    // Nothing has the keyboard: what was touched last is meant.
    browser.evaluate("document.activeElement.blur()").await;
    browser.press("f").await;
    browser
        .shown(&is("cam-001", ":not(.focused).current"))
        .await;
    // A saved set is asked for by Alt and the key of its digit.
    let set = json!([{ "name": "Port", "cameras": ["berre-l-etang/cam-002"] }]).to_string();
    let keep = format!("localStorage.setItem('fanal-selections', {})", json!(set));
    browser.evaluate(&keep).await;
    browser.reload().await;
    room.signed_in("13-1").await;
    let browser = &mut room.browser;
    browser.shown(&tile("cam-002")).await;
    browser
        .click(&is("cam-002", " [data-testid=tile-close]"))
        .await;
    browser.gone(&tile("cam-002")).await;
    strike(browser, "&", "Digit1", true).await;
    browser.shown(&tile("cam-002")).await;
    room.end().await;
}

#[tokio::test]
async fn a_digit_means_a_row_only_where_it_is_drawn_on_it() {
    let plan = Plan {
        cameras: 4,
        camera: "close_after = \"200ms\"\nneighbours = [\"cam-003\"]\n".to_owned(),
        ..Plan::default()
    };
    let Some(mut room) = Room::open(Kind::Chromium, plan).await else {
        return;
    };
    room.sign_in("13-1").await;
    room.open_incident("2026/6").await;
    let browser = &mut room.browser;
    // By the mouse, in the list of all cameras; the eye is then on the picture.
    browser.click(&result("cam-001")).await;
    browser.focused(&tile("cam-001")).await;
    browser
        .evaluate(&format!(
            "document.querySelector({}).focus()",
            json!(result("cam-002"))
        ))
        .await;
    browser.press("4").await;
    browser.press("1").await;
    browser.shown(&is("cam-001", ".focused")).await;
    assert_eq!(
        room.world.entries("gateway", "grant").len(),
        1,
        "nobody asked for more"
    );
    let browser = &mut room.browser;
    browser.press("Escape").await;
    browser.shown(&is("cam-001", ":not(.focused)")).await;
    // Of the neighbours each row has its digit, while the keyboard is there.
    browser.press("v").await;
    browser.focused(&result("cam-003")).await;
    browser
        .says(&format!("{} kbd", result("cam-003")), "1")
        .await;
    browser.press("1").await;
    browser.focused(&tile("cam-003")).await;
    browser.shown(&is("cam-003", ".current")).await;
    assert_eq!(room.world.entries("gateway", "grant").len(), 2);
    room.end().await;
}

#[tokio::test]
async fn the_keyboard_follows_the_eye_and_leaves_the_search() {
    let Some(mut room) = Room::open(Kind::Chromium, Plan::default()).await else {
        return;
    };
    room.sign_in("13-1").await;
    room.open_incident("2026/7").await;
    let browser = &mut room.browser;
    browser.press("/").await;
    browser.focused(&id("search")).await;
    browser.type_text("cam-001").await;
    browser.press("Enter").await;
    browser.focused(&tile("cam-001")).await;
    browser.press("f").await;
    browser.shown(&is("cam-001", ".focused")).await;
    // Escape empties the field, then leaves it.
    browser.press("/").await;
    browser.focused(&id("search")).await;
    browser.press("Escape").await;
    browser.press("Escape").await;
    browser.focused(&tile("cam-001")).await;
    room.end().await;
}

#[tokio::test]
async fn no_press_is_lost_to_a_list_that_changes_under_it() {
    let Some(mut room) = Room::open(Kind::Chromium, Plan::default()).await else {
        return;
    };
    room.sign_in("13-1").await;
    room.open_incident("2026/8").await;
    let browser = &mut room.browser;
    browser.shown(&result("cam-001")).await;
    browser.press_mouse(&result("cam-001")).await;
    // Other results come between the press and its end.
    let other = "(() => {
        const field = document.querySelector('[data-testid=search]');
        window.fanalTestRow = document.querySelector('[data-camera=\"berre-l-etang/cam-001\"]');
        field.value = 'cam-001';
        field.dispatchEvent(new Event('input'));
        return true;
    })()";
    browser.evaluate(other).await;
    browser.shown("#find-results[data-query=\"cam-001\"]").await;
    assert_eq!(
        browser.evaluate("window.fanalTestRow.isConnected").await,
        true
    );
    browser.release_mouse().await;
    browser.shown(&tile("cam-001")).await;
    browser
        .until("the new list", "!window.fanalTestRow.isConnected")
        .await;
    room.end().await;
}
