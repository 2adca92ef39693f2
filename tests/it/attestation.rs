//! The attestation, with both daemons: what the gateway counted is what the centre signed.

use fanal::journal::verify::{self, Report};
use hyper::Method;
use serde_json::Value;

use crate::world::{CENTRE, Plan, Player, World, rtsp, until};

fn verified(world: &World, daemon: &str) -> Report {
    let options = verify::Options {
        directory: world.directory.path(daemon).join("journal"),
        ..verify::Options::default()
    };
    verify::verify(&options).unwrap()
}

fn media(attestation: &Value) -> Vec<&Value> {
    attestation["media"].as_array().unwrap().iter().collect()
}

#[tokio::test]
async fn what_was_sent_is_attested_and_agrees_with_what_the_centre_signed() {
    let mut world = World::start(Plan::default()).await;
    let martin = world.operator("13-1").await;
    let grant = martin.granted(&["cam-001"]).await;
    let id = grant["grant"].as_str().unwrap().to_owned();
    let mut watches = Player::start(rtsp(&grant, "cam-001"));
    watches.pictures(20).await;
    let path = format!("/api/v1/grants/{id}");
    martin.call(Method::DELETE, &path).await.unwrap();
    watches.ended().await;
    until("the list", || {
        !world.entries("gateway", "viewings").is_empty()
    })
    .await;
    world.stop_gateway().await;

    let list = &world.entries("gateway", "viewings")[0];
    let signed = list["received"][0]["bytes"].as_u64().unwrap();
    let told = world.entries("gateway", "attestation");
    let [first] = &told[..] else {
        panic!("{told:?}");
    };
    let [row] = media(first)[..] else {
        panic!("{first:?}");
    };
    assert_eq!(
        (&row["grant"], &row["camera"]),
        (&grant["grant"], &"cam-001".into())
    );
    let (sent, lost) = (
        row["sent"].as_u64().unwrap(),
        row["lost"].as_u64().unwrap_or(0),
    );
    assert_eq!(row["received"], signed);
    assert!(
        signed > 1_000 && sent - lost <= signed && signed <= sent,
        "{row}"
    );
    let number = |name: &str| first[name].as_u64().unwrap();
    assert_eq!(
        (first["centre"].as_str(), number("ungranted")),
        (Some(CENTRE), 0)
    );
    assert!(
        number("link_sent") > sent - lost && number("control_sent") > 100,
        "{first}"
    );
    let [session] = &first["camera_sessions"].as_array().unwrap()[..] else {
        panic!("{first:?}");
    };
    assert_eq!(
        (&session["camera"], &session["why"]),
        (&"cam-001".into(), &grant["grant"])
    );
    assert!(first.get("gap").is_none());

    // The next one begins where this one ends, and says that the daemon was down meanwhile.
    world.start_gateway().await;
    world.linked().await;
    world.stop_gateway().await;
    let told = world.entries("gateway", "attestation");
    assert_eq!((told.len(), &told[1]["from"]), (2, &told[0]["to"]));
    assert_eq!(told[1]["gap"]["from"], told[1]["from"]);
    let report = verified(&world, "gateway");
    assert!(report.is_intact(), "{:?}", report.findings);
    let said = report.attested[0].to_string();
    assert!(
        said.starts_with("nothing left for corg-13 outside a grant from "),
        "{said}"
    );
    let gap = told[1]["gap"]["to"].as_str().unwrap();
    assert!(said.contains(&format!(
        ", except from {} to {gap}",
        told[0]["to"].as_str().unwrap()
    )));
    assert!(said.contains(&format!(
        "{sent} bytes of pictures under 1 grants, {signed} of them"
    )));
    world.stop().await;
}

#[tokio::test]
async fn a_relay_that_two_grants_share_counts_each_byte_once() {
    let mut world = World::start(Plan::default()).await;
    let (martin, durand) = (world.operator("13-1").await, world.operator("13-2").await);
    let first = martin.granted(&["cam-001"]).await;
    let mut watches = Player::start(rtsp(&first, "cam-001"));
    watches.pictures(10).await;
    let second = durand.granted(&["cam-001"]).await;
    let mut also = Player::start(rtsp(&second, "cam-001"));
    also.pictures(10).await;
    let end = async |operator: &crate::world::Operator, grant: &Value| {
        let path = format!("/api/v1/grants/{}", grant["grant"].as_str().unwrap());
        operator.call(Method::DELETE, &path).await.unwrap();
    };
    end(&martin, &first).await;
    also.pictures(40).await;
    end(&durand, &second).await;
    until("the lists", || {
        world.entries("gateway", "viewings").len() == 2
    })
    .await;
    world.stop_gateway().await;
    let told = &world.entries("gateway", "attestation")[0];
    let sum = |name: &str| -> u64 {
        let rows = media(told).into_iter();
        rows.map(|row| row[name].as_u64().unwrap_or(0)).sum()
    };
    let (sent, lost, received) = (sum("sent"), sum("lost"), sum("received"));
    assert!(sent - lost <= received && received <= sent, "{told}");
    let report = verified(&world, "gateway");
    assert!(report.is_intact(), "{:?}", report.findings);
    world.stop().await;
}

#[tokio::test]
async fn a_relay_that_lives_on_is_attested_on_both_sides_of_a_restart() {
    let mut world = World::start(Plan::default()).await;
    let martin = world.operator("13-1").await;
    let grant = martin.granted(&["cam-001"]).await;
    let mut watches = Player::start(rtsp(&grant, "cam-001"));
    watches.pictures(10).await;
    world.stop_gateway().await;
    world.start_gateway().await;
    watches.pictures(40).await;
    let path = format!("/api/v1/grants/{}", grant["grant"].as_str().unwrap());
    martin.call(Method::DELETE, &path).await.unwrap();
    until("the list", || {
        !world.entries("gateway", "viewings").is_empty()
    })
    .await;
    world.stop_gateway().await;
    let told = world.entries("gateway", "attestation");
    assert_eq!(told.len(), 2);
    let of = |told: &Value| {
        (
            media(told)[0]["sent"].as_u64(),
            media(told)[0]["received"].as_u64(),
        )
    };
    let ((before, none), (after, received)) = (of(&told[0]), of(&told[1]));
    assert_eq!(none, None, "it lives: nobody has signed anything");
    assert!(before.unwrap() > 0 && after.unwrap() > 0);
    assert!(received.unwrap() <= before.unwrap() + after.unwrap());
    let report = verified(&world, "gateway");
    assert!(report.is_intact(), "{:?}", report.findings);
    world.stop().await;
}
