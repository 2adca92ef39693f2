//! Several operators at one intervention: who holds what, who is told of what.

use fanal::format::ids::Incident;
use fanal::format::statement::RequestClaims;
use hyper::Method;
use serde_json::{Value, json};

use super::room::{Room, result, tile};
use crate::browser::{Kind, id};
use crate::relay::fanal;
use crate::world::{Operator, Plan, until};

/// The unit's only live grant.
async fn grant(operator: &Operator) -> Value {
    let listed = operator.call(Method::GET, "/api/v1/grants").await;
    listed.unwrap()[0].take()
}

#[tokio::test]
async fn who_is_present_goes_with_a_handover_and_watching_goes_on_in_ones_own_name() {
    let Some(mut room) = Room::watching(Kind::Chromium, Plan::default(), &["cam-001"]).await else {
        return;
    };
    room.moves("cam-001").await;
    let colleague = room.world.operator("13-2").await;
    let before = grant(&colleague).await;
    assert_eq!(before["present"], json!([]));
    assert_eq!(before["granted"][0]["name"], "cam-001");
    // That he watched it as well for a while says nothing of whose picture this is.
    let also = colleague.granted(&["cam-001"]).await;
    let also = format!("/api/v1/grants/{}", also["grant"].as_str().unwrap());
    colleague.call(Method::DELETE, &also).await.unwrap();
    room.browser.says("#incident", "terminée").await;
    let mut claims = colleague.claims(&["cam-001"], 600);
    claims.renews = Some(before["grant"].as_str().unwrap().parse().unwrap());
    claims.present = vec!["Brigadier Noir".to_owned()];
    let taken = colleague.ask(&claims).await.unwrap();
    assert_eq!(taken["start"], before["start"], "a renewal begins nothing");
    assert_eq!(taken["present"], json!(["Brigadier Noir"]));
    // The tile says whose it is, and offers a request of one's own.
    room.browser
        .says(&tile("cam-001"), "Reprise par Adjudant 13-2")
        .await;
    room.browser.says("#incident", "cam-001").await;
    room.browser.click(&id("tile-again")).await;
    room.moves("cam-001").await;
    assert_eq!(room.world.receiver_metrics.grants_active.get(), 2);
    // Taking over asks who is present: the colleague's names are there. What is taken over is shown,
    // although its tile was closed.
    let close = format!("{} {}", tile("cam-001"), id("tile-close"));
    room.browser.click(&close).await;
    room.browser.gone(&tile("cam-001")).await;
    room.browser.press("t").await;
    room.browser
        .says(&id("incident-present"), "Brigadier Noir")
        .await;
    room.browser.click(&id("take-over-submit")).await;
    room.browser.gone(&id("take-over")).await;
    room.moves("cam-001").await;
    let entries = room.world.entries("gateway", "grant");
    let last = entries.last().unwrap();
    assert_eq!(last["recipients"], json!(["CORG 13", "Brigadier Noir"]));
    assert_eq!(last["operator"]["number"], "13-1");
    room.end().await;
}

#[tokio::test]
async fn a_colleagues_end_is_told_and_ones_own_of_his_is_asked() {
    let Some(mut room) = Room::watching(Kind::Chromium, Plan::default(), &["cam-001"]).await else {
        return;
    };
    room.moves("cam-001").await;
    let colleague = room.world.operator("13-2").await;
    let own = grant(&colleague).await;
    let path = format!("/api/v1/grants/{}", own["grant"].as_str().unwrap());
    let ended = colleague.call(Method::DELETE, &path).await.unwrap();
    assert_eq!(ended["ended"]["by"]["number"], "13-2");
    let toast = format!(
        "{}[data-key=\"desk.history.ended_by\"][data-level=\"bad\"]",
        id("toast")
    );
    room.browser.says(&toast, "Adjudant 13-2 a mis fin").await;
    room.shows_no_picture("cam-001").await;
    // The same the other way round: a question that names him comes first.
    let claims = colleague.claims(&["cam-002"], 600);
    let incident = Incident::new(own["incident"].as_str().unwrap()).unwrap();
    let claims = RequestClaims { incident, ..claims };
    colleague.ask(&claims).await.unwrap();
    let release = format!("{}:not([disabled])", id("release"));
    room.browser.says("#incident", "cam-002").await;
    room.browser.click(&release).await;
    room.browser.says(&id("end-other"), "Adjudant 13-2").await;
    assert_eq!(room.world.receiver_metrics.grants_active.get(), 1);
    // One watches as well, in one's own name.
    room.browser.press("Escape").await;
    room.browser.click(&id("watch-also")).await;
    room.moves("cam-002").await;
    assert_eq!(room.world.receiver_metrics.grants_active.get(), 2);
    room.end().await;
}

#[tokio::test]
async fn a_closed_tile_gives_its_camera_back_and_the_others_go_on() {
    let Some(mut room) = Room::open(Kind::Chromium, Plan::default()).await else {
        return;
    };
    room.sign_in("13-1").await;
    room.open_incident("2026/9").await;
    // Two cameras of one request.
    for camera in ["cam-001", "cam-002"] {
        let row = result(camera);
        room.browser.shown(&row).await;
        let focus = format!("document.querySelector({}).focus()", json!(row));
        room.browser.evaluate(&focus).await;
        room.browser.press(" ").await;
        room.browser.shown(&format!("{row}[aria-pressed]")).await;
    }
    room.browser.click(&id("ask")).await;
    room.moves("cam-001").await;
    room.moves("cam-002").await;
    assert_eq!(room.world.receiver_metrics.grants_active.get(), 1);
    let close = format!("{} {}", tile("cam-001"), id("tile-close"));
    room.browser.click(&close).await;
    room.browser.gone(&tile("cam-001")).await;
    let relays = room.world.gateway_metrics.clone();
    until("the camera is given back", || {
        relays.relays_active.get() == 1
    })
    .await;
    room.moves("cam-002").await;
    assert_eq!(room.world.receiver_metrics.grants_active.get(), 1);
    // A reload does not bring it back.
    room.browser.reload().await;
    room.signed_in("13-1").await;
    room.moves("cam-002").await;
    room.browser.gone(&tile("cam-001")).await;
    room.end().await;
}

#[tokio::test]
async fn no_english_is_said_in_french() {
    let Some(mut room) = Room::watching(Kind::Chromium, Plan::default(), &["cam-001"]).await else {
        return;
    };
    room.moves("cam-001").await;
    fanal(&["cut", "--camera", "cam-001", "--socket"], &room.world).await;
    room.browser
        .says(&tile("cam-001"), "Coupée par la commune")
        .await;
    room.browser
        .click(&format!("{} {}", tile("cam-001"), id("tile-again")))
        .await;
    room.browser.shown(&id("refusal")).await;
    let text = room.browser.text("body").await;
    for english in ["the commune", "until 20", "refused by", "released by"] {
        assert!(!text.contains(english), "{english} in: {text}");
    }
    room.browser
        .says(&id("refusal"), "refusée par la commune")
        .await;
    room.end().await;
}
