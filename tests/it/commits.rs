//! How many commits of the journals lie between a request and its answer, and its first picture.

use std::time::Instant;

use serde_json::Value;

use crate::world::{Plan, Player, World, rtsp};

/// Kinds of the entries from `from` on, up to the first of this kind.
fn kinds_before(journal: &[Value], from: usize, kind: &str) -> Vec<String> {
    let kinds = journal[from..].iter();
    let kinds = kinds.map(|body| body["kind"].as_str().unwrap().to_owned());
    let mut before: Vec<String> = Vec::new();
    for one in kinds {
        if one == kind {
            return before;
        }
        before.push(one);
    }
    panic!("no {kind} after {before:?}");
}

#[tokio::test]
async fn a_grant_waits_for_one_commit_of_each_side_and_its_first_picture_for_one_more() {
    let world = World::start(Plan::default()).await;
    let martin = world.operator("13-1").await;
    // The first one's certificates and lists are written down beside it.
    martin.granted(&["cam-002"]).await;
    let lines = |daemon| world.directory.journal(daemon).len();
    let (gateway, receiver) = (lines("gateway"), lines("receiver"));
    let began = Instant::now();
    let grant = martin.granted(&["cam-001"]).await;
    let granted = began.elapsed();
    let mut player = Player::start(rtsp(&grant, "cam-001"));
    player.pictures(1).await;
    let seen = began.elapsed();
    let journal = world.directory.journal("gateway");
    let late = ["confirmed", "peer_head"];
    let waited = |kinds: Vec<String>| -> Vec<String> {
        let waited = kinds.into_iter();
        waited
            .filter(|kind| !late.contains(&kind.as_str()))
            .collect()
    };
    assert_eq!(
        waited(kinds_before(&journal, gateway, "grant")),
        [""; 0],
        "nothing before it at the gateway"
    );
    let journal = world.directory.journal("receiver");
    // Nobody waits for the note that it was forwarded.
    let before = waited(kinds_before(&journal, receiver, "grant"));
    assert_eq!(before, ["forwarded"]);
    let before = waited(kinds_before(&journal, receiver, "viewing_started"));
    assert_eq!(before, ["forwarded", "grant"]);
    eprintln!(
        "answered after {} ms and 2 commits, one after the other; first picture after {} ms and 3",
        granted.as_millis(),
        seen.as_millis()
    );
    world.stop().await;
}
