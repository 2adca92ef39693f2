//! `fanal check --link` against real daemons: each step, and no harm to a link.

use hyper::Method;
use serde_json::Value;

use crate::world::{CENTRE, Plan, World, rtsp};

/// The exit status and the steps of the only centre.
async fn check(world: &World) -> (i32, Vec<Value>) {
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_fanal"))
        .env("LC_ALL", "C.UTF-8")
        .args(["check", "--link", "--json", "--config"])
        .arg(world.directory.path("gateway.toml"))
        .output()
        .await
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    let reports: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{errors}"));
    assert_eq!(reports[0]["centre"], CENTRE);
    let steps = reports[0]["steps"].as_array().unwrap().clone();
    (output.status.code().unwrap(), steps)
}

fn states(steps: &[Value]) -> Vec<(&str, &str)> {
    steps
        .iter()
        .map(|step| {
            (
                step["step"].as_str().unwrap(),
                step["state"].as_str().unwrap(),
            )
        })
        .collect()
}

#[tokio::test]
async fn beside_a_gateway_that_runs_its_link_and_pictures_go_on() {
    let world = World::start(Plan::default()).await;
    let martin = world.operator("13-1").await;
    let grant = martin.granted(&["cam-001"]).await;
    let mut player = crate::world::Player::start(rtsp(&grant, "cam-001"));
    player.pictures(5).await;
    let since =
        async || martin.call(Method::GET, "/api/v1/communes").await.unwrap()[0]["since"].clone();
    let before = since().await;
    let (status, steps) = check(&world).await;
    assert_eq!(
        states(&steps),
        ["dns", "udp", "tcp", "peer", "clock", "mtu"].map(|step| (step, "ok")),
        "{steps:?}"
    );
    let peer = steps[3]["detail"].as_str().unwrap();
    assert!(peer.starts_with("corg-13, signed by "), "{peer}");
    assert_eq!(status, 0);
    let seen = player.seen.borrow().pictures;
    player.pictures(seen + 25).await;
    // The link is the one from before.
    assert_eq!(since().await, before);
    world.stop().await;
}

#[tokio::test]
async fn without_a_gateway_clock_and_rate_are_measured_over_what_gets_through() {
    let mut world = World::start(Plan {
        through_wire: true,
        ..Plan::default()
    })
    .await;
    world.stop_gateway().await;
    let all = ["dns", "udp", "tcp", "peer", "clock", "rate", "mtu"];
    let (status, steps) = check(&world).await;
    assert_eq!(states(&steps), all.map(|step| (step, "ok")), "{steps:?}");
    assert_eq!(status, 0);

    world.wire.as_ref().unwrap().let_udp(false);
    let (status, steps) = check(&world).await;
    let found = states(&steps);
    assert_eq!(found[1], ("udp", "warning"));
    assert_eq!(
        found[2..6],
        ["tcp", "peer", "clock", "rate"].map(|step| (step, "ok"))
    );
    assert!(
        steps[1]["remedy"]
            .as_str()
            .unwrap()
            .contains("outbound UDP")
    );
    assert_eq!(status, 0);

    world.stop_receiver().await;
    let (status, steps) = check(&world).await;
    assert_eq!(states(&steps)[1], ("udp", "failed"));
    assert_eq!(status, 1);
    world.stop().await;
}
