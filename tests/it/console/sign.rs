//! Signing in, and who sits at the desk.

use std::time::Duration;

use fanal::certs::Validity;
use fanal::certs::authority::Person;
use fanal::clock::Clock;
use serde_json::json;

use super::room::{Room, tile};
use crate::browser::{Kind, id};
use crate::support::site::Place;
use crate::world::Plan;

const PASSPHRASE: &str = "quatre mots au hasard";

/// Makes a key for a person on the receiver's own page; gives the certificate request.
async fn add_person(room: &mut Room, number: &str) -> String {
    let browser = &mut room.browser;
    browser
        .fill(&id("person-name"), &format!("Adjudant {number}"))
        .await;
    browser.fill(&id("person-number"), number).await;
    browser.fill(&id("person-unit"), "CORG 13").await;
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
    browser
        .evaluate(&request)
        .await
        .as_str()
        .unwrap()
        .to_owned()
}

/// What the designation authority answers to a request with.
fn designate(room: &mut Room, number: &str, request: &str) -> String {
    let person = Person {
        number: number.to_owned(),
        name: format!("Adjudant {number}"),
        unit: "CORG 13".to_owned(),
    };
    let now = Clock::system().now().wall;
    let validity = Validity::lasting(now, Duration::from_secs(7 * 24 * 3600));
    let (_, authority) = room.world.trial.authorities();
    authority
        .operator_from_request(&person, validity, request)
        .unwrap()
}

async fn give_passphrase(room: &mut Room, passphrase: &str) {
    room.browser.fill(&id("passphrase"), passphrase).await;
    room.browser.press("Enter").await;
}

/// By a designation that is pasted, then after a reload by the passphrase alone.
async fn own_key(kind: Kind) {
    let Some(mut room) = Room::open(kind, Plan::default()).await else {
        return;
    };
    let url = room.url("");
    room.browser.goto(&url).await;
    room.browser.shown(&id("sign-in")).await;
    let request = add_person(&mut room, "13-7").await;
    let certificate = designate(&mut room, "13-7", &request);
    room.browser.click(&id("designation-text")).await;
    // As a paste is: the whole at once.
    let paste = format!(
        "document.execCommand('insertText', false, {})",
        json!(certificate)
    );
    room.browser.evaluate(&paste).await;
    room.browser.click(&id("designation-take")).await;
    give_passphrase(&mut room, PASSPHRASE).await;
    room.signed_in("13-7").await;

    room.browser.reload().await;
    give_passphrase(&mut room, "not the passphrase").await;
    room.browser
        .shown(&format!(
            "{} [role=alert], {} .bad",
            id("sign-in"),
            id("sign-in")
        ))
        .await;
    give_passphrase(&mut room, PASSPHRASE).await;
    room.signed_in("13-7").await;
    room.open_incident("2026/12").await;
    room.ask("cam-001").await;
    if kind == Kind::Chromium {
        room.moves("cam-001").await;
    }
    // Neither key nor passphrase is anywhere in the clear.
    let kept = "JSON.stringify([{ ...localStorage }, { ...sessionStorage }, location.href, document.cookie])";
    let kept = room.browser.evaluate(kept).await.to_string();
    assert!(!kept.contains("quatre mots"), "{kept}");
    room.end().await;
}

#[tokio::test]
async fn the_pages_own_key_signs_in_chromium() {
    own_key(Kind::Chromium).await;
}

#[tokio::test]
async fn the_pages_own_key_signs_in_firefox() {
    own_key(Kind::Firefox).await;
}

#[tokio::test]
async fn the_receiver_gives_the_newest_designation_of_a_key() {
    let directory = Place::new();
    let plan = Plan {
        receiver: format!("designations = {}\n", json!(directory.path(""))),
        ..Plan::default()
    };
    let Some(mut room) = Room::open(Kind::Chromium, plan).await else {
        return;
    };
    let url = room.url("");
    room.browser.goto(&url).await;
    let request = add_person(&mut room, "13-8").await;
    let certificate = designate(&mut room, "13-8", &request);
    std::fs::write(directory.path("13-8.pem"), certificate).unwrap();
    room.browser.click(&id("designation-fetch")).await;
    give_passphrase(&mut room, PASSPHRASE).await;
    room.signed_in("13-8").await;
    room.end().await;
}

#[tokio::test]
async fn a_lock_hides_pictures_while_relays_run_on() {
    let Some(mut room) = Room::watching(Kind::Chromium, Plan::default(), &["cam-001"]).await else {
        return;
    };
    room.moves("cam-001").await;
    room.browser.click(&id("lock")).await;
    room.browser.shown(&id("unlock")).await;
    room.browser.gone(&tile("cam-001")).await;
    room.browser.gone(".tile-picture").await;
    room.browser.keep_screenshot("locked").await;
    assert_eq!(room.world.receiver_metrics.grants_active.get(), 1);
    room.browser.click(&id("unlock")).await;
    room.moves("cam-001").await;
    room.end().await;
}
