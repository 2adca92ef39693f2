//! What happens on the workstation: another program opens an intervention, `fanal console` is started
//! again, a designation ends and the next one comes.

use std::path::PathBuf;
use std::time::Duration;

use fanal::certs::Validity;
use fanal::certs::authority::Person;
use fanal::clock::Clock;
use serde_json::json;

use super::room::{Room, tile};
use crate::browser::{Kind, id};
use crate::workstation::Workstation;
use crate::world::Plan;

/// Long enough to sign in and to see a picture.
const SHORT: Duration = Duration::from_secs(25);

/// Key and designation of an operator, as files, valid for so long.
fn files(room: &Room, number: &str, life: Duration) -> (PathBuf, PathBuf) {
    let person = Person {
        number: number.to_owned(),
        name: format!("Adjudant {number}"),
        unit: "CORG 13".to_owned(),
    };
    let validity = Validity::lasting(Clock::system().now().wall, life);
    let identity = room.world.trial.operator(&person, validity).unwrap();
    let directory = &room.world.directory;
    directory.identity(number, &identity);
    (
        directory.path(&format!("{number}.key")),
        directory.path(&format!("{number}.pem")),
    )
}

async fn station(room: &Room, files: &(PathBuf, PathBuf)) -> Workstation {
    Workstation::start(room.world.addresses.console, &files.0, &files.1, "fr").await
}

#[tokio::test]
async fn a_dispatch_tool_opens_an_incident_in_the_tab_that_is_signed_in() {
    let Some(mut room) = Room::watching(Kind::Chromium, Plan::default(), &["cam-001"]).await else {
        return;
    };
    room.moves("cam-001").await;
    let asked = room.url("incident=2026/77&grounds=pursuit&present=Brigadier%20Noir");
    let first = room.browser.open_tab(&asked).await;
    room.browser.says(&id("handed-over"), "déjà connecté").await;
    room.browser.turn_to(first.clone()).await;
    // Nothing is opened without a press, and the pictures run on.
    room.browser.says(&id("incident-ref"), "2026/77").await;
    room.browser
        .says(&id("incident-present"), "Brigadier Noir")
        .await;
    room.browser.says("#incident h2", "2026/4711").await;
    room.browser.click(&id("incident-open")).await;
    room.browser.says("#incident h2", "2026/77").await;
    // One that is open is shown at once.
    let again = room.url("incident=2026/4711");
    room.browser.open_tab(&again).await;
    room.browser.shown(&id("handed-over")).await;
    room.browser.turn_to(first).await;
    room.browser.says("#incident h2", "2026/4711").await;
    room.moves("cam-001").await;
    room.end().await;
}

#[tokio::test]
async fn a_console_that_is_started_again_goes_on_in_the_same_tab() {
    let Some(mut room) = Room::open(Kind::Chromium, Plan::default()).await else {
        return;
    };
    let files = files(&room, "13-1", Duration::from_secs(3_600));
    let before = station(&room, &files).await;
    let (address, url) = (before.address, before.url());
    room.browser.goto(&url).await;
    room.signed_in("13-1").await;
    room.open_incident("2026/4711").await;
    room.ask("cam-001").await;
    room.moves("cam-001").await;
    for words in ["Failed to fetch", "WebSocket", "ERR_"] {
        room.browser.expect_error(words);
    }
    before.kill().await;
    room.browser
        .says(&id("offline"), "ne tourne plus sur ce poste")
        .await;
    let receiver = room.world.addresses.console;
    let (key, cert) = (&files.0, &files.1);
    let after = Workstation::start_at(address, "--receiver", receiver, (key, cert), "fr").await;
    room.browser.says(&id("offline"), "a été relancé").await;
    // Opened by `--open` or a click: the tab that has the pictures takes it over.
    let first = room.browser.open_tab(&after.url()).await;
    room.browser.shown(&id("handed-over")).await;
    room.browser.turn_to(first).await;
    room.browser
        .shown(&id("online[data-online=\"online\"]"))
        .await;
    room.browser.says("#incident h2", "2026/4711").await;
    room.moves("cam-001").await;
    // Another time, by pasting the address into the tab.
    after.kill().await;
    room.browser
        .says(&id("offline"), "ne tourne plus sur ce poste")
        .await;
    let third = Workstation::start_at(address, "--receiver", receiver, (key, cert), "fr").await;
    let paste = format!(
        "location.hash = {}",
        json!(format!("#session={}", third.secret))
    );
    room.browser.evaluate(&paste).await;
    room.browser
        .shown(&id("online[data-online=\"online\"]"))
        .await;
    room.moves("cam-001").await;
    assert_eq!(room.browser.evaluate("location.hash").await, "");
    room.ask("cam-002").await;
    room.moves("cam-002").await;
    room.end().await;
}

#[tokio::test]
async fn a_designation_that_ends_says_so_and_the_next_one_goes_on() {
    let Some(mut room) = Room::open(Kind::Chromium, Plan::default()).await else {
        return;
    };
    let short = files(&room, "13-1", SHORT);
    let mut console = station(&room, &short).await;
    let url = console.url();
    room.browser.goto(&url).await;
    room.signed_in("13-1").await;
    room.open_incident("2026/4711").await;
    room.ask("cam-001").await;
    room.moves("cam-001").await;
    room.browser
        .says(&id("expired"), "Votre désignation est expirée depuis")
        .await;
    room.browser
        .says(&id("expired"), "à la place de l'ancien")
        .await;
    room.browser.gone(&id("offline")).await;
    room.browser
        .says(&id("online"), "Désignation expirée")
        .await;
    room.browser
        .says(&tile("cam-001"), "Désignation expirée")
        .await;
    room.browser.keep_screenshot("expired").await;
    // The next one, in the place of the old one: another key even.
    files(&room, "13-1", Duration::from_secs(3_600));
    console.told("Nouvelle désignation").await;
    room.browser.gone(&id("expired")).await;
    room.browser
        .shown(&id("online[data-online=\"online\"]"))
        .await;
    room.browser.says("#incident h2", "2026/4711").await;
    room.browser
        .click(&format!("{} {}", tile("cam-001"), id("tile-again")))
        .await;
    room.moves("cam-001").await;
    room.end().await;
}
