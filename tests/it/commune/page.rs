//! The commune's page in real browsers.

use fanal::certs::Validity;
use fanal::certs::authority::Person;
use fanal::clock::Clock;
use serde_json::json;

use super::town::Town;
use crate::browser::{Browser, Kind, id};
use crate::console::accessible::{axe, is_accessible};
use crate::console::room::demo_fragment;
use crate::world::until;

/// Keys of words that are shown as they are: nobody translated them.
const BARE: &str = r"[...document.body.innerText.matchAll(/\b(?:desk|commune)\.[a-z_]+(?:\.[a-z_]+)*/g)].map(String)";

/// A person at the commune's page, signed in.
async fn at_the_page(kind: Kind, number: &str) -> Option<(Town, Browser)> {
    let mut browser = Browser::start(kind).await?;
    let town = Town::start().await;
    let fragment = demo_fragment(&town.agent(number).identity);
    browser
        .goto(&format!("http://{}/#{fragment}", town.address()))
        .await;
    browser
        .says(&id("sign-in-name"), &format!("Brigadier {number}"))
        .await;
    browser.shown(&id("online[data-online=\"online\"]")).await;
    Some((town, browser))
}

async fn end(town: Town, browser: Browser) {
    browser.close().await;
    town.world.stop().await;
}

/// The whole of a duty: nobody watches, a request comes and is approved, the picture is cut and
/// allowed again, another request is refused, and the journal has it all.
async fn a_duty(kind: Kind) {
    let Some((town, mut browser)) = at_the_page(kind, "pm-7").await else {
        return;
    };
    browser.shown(&id("nobody")).await;
    browser.says(&id("attested"), "Depuis le").await;
    browser.shown(&id("link[data-up=\"true\"]")).await;
    let operator = town.world.operator("13-1").await;
    town.ask(&operator, "cam-001").await;
    browser.says(&id("waiting-request"), "13-1").await;
    browser.says(&id("waiting-request"), "cam-001").await;
    browser.says(&id("waiting-request"), "Capitaine Roux").await;
    browser.says(&id("time-left"), "encore 1:").await;
    browser
        .until("the tab's title", "document.title.startsWith('(1) ')")
        .await;
    browser
        .keep_screenshot(&format!("commune-asks-{kind:?}"))
        .await;
    browser.click(&id("approve")).await;
    browser.click(&id("confirm")).await;
    browser.shown(&id("relay[data-state=\"live\"]")).await;
    browser.gone(&id("waiting-request")).await;
    browser
        .until("the tab's title", "!document.title.startsWith('(')")
        .await;
    browser.says(&id("relay span"), "bit/s").await;
    browser.says(&id("grant"), "2026/4711").await;
    browser
        .keep_screenshot(&format!("commune-watches-{kind:?}"))
        .await;

    browser.click(&id("cut-camera")).await;
    browser.click(&id("cut-confirm")).await;
    browser
        .shown(&id("cut[data-scope=\"camera:cam-001\"]"))
        .await;
    browser.shown(&id("nobody")).await;
    let metrics = &town.world.gateway_metrics;
    until("the relay ends", || metrics.relays_active.get() == 0).await;
    browser.click(&id("allow")).await;
    browser.click(&id("confirm")).await;
    browser.shown(&id("no-cuts")).await;

    let request = town.ask(&operator, "cam-002").await;
    browser.click(&id("refuse")).await;
    browser.click(&id("confirm")).await;
    browser.gone(&id("waiting-request")).await;
    until("it is refused", || metrics.approvals_waiting.get() == 0).await;
    let by = "page:pm-7";
    let grants = town.world.entries("gateway", "grant");
    assert_eq!(grants[0]["approved_by"], by);
    assert_eq!(town.world.entries("gateway", "cut")[0]["by"], by);
    assert_eq!(town.world.entries("gateway", "allowed")[0]["by"], by);
    let ended = town.world.entries("gateway", "refused");
    let ended = ended.iter().find(|one| one["jti"] == request.to_string());
    assert_eq!(ended.unwrap()["wait_ended"]["by"], by);
    assert_eq!(town.world.entries("gateway", "decision").len(), 4);

    browser.fill(&id("journal-camera"), "cam-001").await;
    browser.click(&id("journal-search")).await;
    for kind in ["waiting", "grant", "cut", "allowed"] {
        let line = format!("{} [data-kind=\"{kind}\"]", id("journal-rows"));
        browser.shown(&line).await;
    }
    browser
        .gone(&format!("{} [data-kind=\"started\"]", id("journal-rows")))
        .await;
    browser.fill(&id("journal-camera"), "").await;
    browser.fill(&id("journal-operator"), "pm-7").await;
    browser.click(&id("journal-search")).await;
    browser.says(&id("journal-rows"), "décision signée").await;
    // Never a picture.
    let pictures = "document.querySelectorAll('canvas, video').length";
    assert_eq!(browser.evaluate(pictures).await, 0);
    assert_eq!(browser.evaluate(BARE).await, json!([]));
    browser.click(&id("lang")).await;
    browser.says("#watching-title", "Who watches").await;
    browser.says(&id("journal-rows"), "signed decision").await;
    assert_eq!(browser.evaluate(BARE).await, json!([]));
    end(town, browser).await;
}

#[tokio::test]
async fn a_duty_in_chromium() {
    a_duty(Kind::Chromium).await;
}

#[tokio::test]
async fn a_duty_in_firefox() {
    a_duty(Kind::Firefox).await;
}

#[tokio::test]
async fn a_phone_at_the_duty_desk_does_and_so_do_keys_alone() {
    let Some((town, mut browser)) = at_the_page(Kind::Chromium, "pm-7").await else {
        return;
    };
    browser.set_viewport(380, 720, 1.0).await;
    let fits = "document.documentElement.scrollWidth <= innerWidth";
    let operator = town.world.operator("13-1").await;
    town.ask(&operator, "cam-001").await;
    browser.shown(&id("waiting-request")).await;
    assert_eq!(browser.evaluate(fits).await, true);
    browser.keep_screenshot("commune-380-asks").await;
    browser.tab_to(&id("approve")).await;
    browser.press("Enter").await;
    browser.focused(&id("confirm")).await;
    browser.press("Enter").await;
    browser.shown(&id("relay[data-state=\"live\"]")).await;
    assert_eq!(browser.evaluate(fits).await, true);
    browser.keep_screenshot("commune-380-watches").await;
    browser.tab_to(&id("cut-all")).await;
    browser.press("Enter").await;
    browser.focused(&id("cut-confirm")).await;
    browser.press("Enter").await;
    browser.shown(&id("cut[data-scope=\"all\"]")).await;
    browser.tab_to(&id("allow")).await;
    browser.press("Enter").await;
    browser.press("Enter").await;
    browser.shown(&id("no-cuts")).await;
    // 1280 pixels of the screen, each of the page's made of two.
    browser.set_viewport(640, 400, 2.0).await;
    assert_eq!(browser.evaluate(fits).await, true);
    browser.keep_screenshot("commune-200").await;
    end(town, browser).await;
}

#[tokio::test]
async fn axe_finds_nothing_on_the_communes_page() {
    let Some(axe) = axe() else {
        return;
    };
    let Some((town, mut browser)) = at_the_page(Kind::Chromium, "pm-7").await else {
        return;
    };
    is_accessible(&mut browser, &axe, "nobody watches").await;
    let operator = town.world.operator("13-1").await;
    town.ask(&operator, "cam-001").await;
    browser.shown(&id("waiting-request")).await;
    is_accessible(&mut browser, &axe, "a request waits").await;
    browser.click(&id("approve")).await;
    browser.shown(&id("confirm")).await;
    is_accessible(&mut browser, &axe, "a decision").await;
    browser.click(&id("confirm")).await;
    browser.says(&id("relay span"), "bit/s").await;
    browser.click(&id("journal-search")).await;
    browser.shown(&format!("{} li", id("journal-rows"))).await;
    browser.gone(&id("toast")).await;
    is_accessible(&mut browser, &axe, "somebody watches").await;
    browser.click(&id("cut-all")).await;
    browser.shown(&id("cut-confirm")).await;
    is_accessible(&mut browser, &axe, "a cut").await;
    browser.click(&id("cut-confirm")).await;
    browser.shown(&id("cut")).await;
    is_accessible(&mut browser, &axe, "a cut that holds").await;
    browser.click(&id("lock")).await;
    browser.shown(&id("unlock")).await;
    is_accessible(&mut browser, &axe, "a locked page").await;
    end(town, browser).await;
}

#[tokio::test]
async fn the_journal_shows_new_entries_by_itself_and_an_open_one_stays_open() {
    let Some((town, mut browser)) = at_the_page(Kind::Chromium, "pm-7").await else {
        return;
    };
    let row = |kind: &str| format!("{} [data-kind=\"{kind}\"]", id("journal-rows"));
    let started = row("started");
    // By the keyboard: rows that come move the others down.
    browser.shown(&started).await;
    let focus = format!(
        "document.querySelector({}).focus()",
        json!(format!("{started} summary"))
    );
    browser.evaluate(&focus).await;
    browser.press("Enter").await;
    browser.shown(&format!("{started} details[open]")).await;
    browser.gone(&row("waiting")).await;
    let operator = town.world.operator("13-1").await;
    town.ask(&operator, "cam-001").await;
    browser.shown(&row("waiting")).await;
    browser.shown(&format!("{started} details[open]")).await;
    // What somebody looks for stays what is looked for.
    browser.fill(&id("journal-operator"), "13-2").await;
    browser.click(&id("journal-search")).await;
    browser.gone(&row("waiting")).await;
    let other = town.world.operator("13-2").await;
    town.ask(&other, "cam-002").await;
    // A list item's own value is its number.
    browser.says(&format!("{} p", row("waiting")), "13-2").await;
    browser.gone(&row("started")).await;
    end(town, browser).await;
}

/// Half an hour passes for the page at once, and passes back.
const LATER: &str = "(() => {
  const [now, date] = [performance.now.bind(performance), Date.now];
  performance.now = () => now() + 1_900_000;
  Date.now = () => date() + 1_900_000;
  window.back = () => { performance.now = now; Date.now = date; };
  return true;
})()";

#[tokio::test]
async fn the_page_locks_by_its_button_and_by_itself_and_still_tells_of_requests() {
    let Some((town, mut browser)) = at_the_page(Kind::Chromium, "pm-7").await else {
        return;
    };
    let hidden = "getComputedStyle(document.getElementById('shell')).display === 'none'";
    let operator = town.world.operator("13-1").await;
    browser.click(&id("lock")).await;
    browser.shown(&id("unlock")).await;
    assert_eq!(browser.evaluate(hidden).await, true);
    browser.keep_screenshot("commune-locked").await;
    town.ask(&operator, "cam-001").await;
    browser
        .until("the tab's title", "document.title.startsWith('(1) ')")
        .await;
    assert_eq!(browser.evaluate(BARE).await, json!([]));
    browser.click(&id("unlock")).await;
    browser.shown(&id("waiting-request")).await;
    assert_eq!(browser.evaluate(LATER).await, true);
    browser.shown(&id("unlock")).await;
    assert_eq!(browser.evaluate(hidden).await, true);
    browser.evaluate("window.back()").await;
    browser.click(&id("unlock")).await;
    browser.shown(&id("waiting-request")).await;
    end(town, browser).await;
}

/// By a key that the browser makes, for which the commune's authority signs.
#[tokio::test]
async fn a_key_of_the_browser_signs_in() {
    const PASSPHRASE: &str = "quatre mots au hasard";
    let Some(mut browser) = Browser::start(Kind::Chromium).await else {
        return;
    };
    let town = Town::start().await;
    browser.goto(&format!("http://{}/", town.address())).await;
    browser.fill(&id("person-name"), "Brigadier pm-9").await;
    browser.fill(&id("person-number"), "pm-9").await;
    browser.fill(&id("person-unit"), "Police municipale").await;
    browser.fill(&id("new-passphrase"), PASSPHRASE).await;
    browser.fill(&id("new-passphrase-again"), PASSPHRASE).await;
    browser.click(&id("person-add")).await;
    browser
        .says(&id("certificate-request"), "END CERTIFICATE REQUEST")
        .await;
    let request = format!(
        "document.querySelector({}).value",
        json!(id("certificate-request"))
    );
    let request = browser.evaluate(&request).await;
    let person = Person {
        number: "pm-9".to_owned(),
        name: "Brigadier pm-9".to_owned(),
        unit: "Police municipale".to_owned(),
    };
    let validity = Validity::lasting(
        Clock::system().now().wall,
        std::time::Duration::from_secs(3_600),
    );
    let agents = &town.world.agents;
    let certificate = agents
        .operator_from_request(&person, validity, request.as_str().unwrap())
        .unwrap();
    browser.click(&id("designation-text")).await;
    let paste = format!(
        "document.execCommand('insertText', false, {})",
        json!(certificate)
    );
    browser.evaluate(&paste).await;
    browser.click(&id("designation-take")).await;
    browser.fill(&id("passphrase"), PASSPHRASE).await;
    browser.press("Enter").await;
    browser.says(&id("sign-in-name"), "Brigadier pm-9").await;
    browser.shown(&id("online[data-online=\"online\"]")).await;
    end(town, browser).await;
}
