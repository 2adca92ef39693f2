//! Journals that somebody changes while the daemons run: found by a look, told at both ends.

use std::path::{Path, PathBuf};
use std::time::Duration;

use fanal::reason::Reason;

use crate::metrics::get;
use crate::world::{COMMUNE, Plan, Player, World, rtsp, until};

const LOOK_EVERY: Duration = Duration::from_millis(50);

fn plan() -> Plan {
    Plan {
        look_every: LOOK_EVERY,
        ..Plan::default()
    }
}

fn files(world: &World, daemon: &str) -> Vec<PathBuf> {
    let files = std::fs::read_dir(world.directory.path(daemon).join("journal")).unwrap();
    let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    files
}

/// An older month in a daemon's journal: what is there becomes one, and a start goes on behind it.
fn age(world: &World, daemon: &str) -> PathBuf {
    let newest = files(world, daemon).pop().unwrap();
    let old = newest.with_file_name("2020-01.jsonl");
    std::fs::rename(newest, &old).unwrap();
    old
}

fn flip(file: &Path) {
    let text = std::fs::read_to_string(file).unwrap();
    let changed = text.replacen(r#""kind":"started""#, r#""kind":"stopped""#, 1);
    assert_ne!(changed, text);
    replace(file, changed.as_bytes());
}

/// Another file in this one's place, at once.
fn replace(file: &Path, content: &[u8]) {
    let other = file.with_extension("new");
    std::fs::write(&other, content).unwrap();
    std::fs::rename(other, file).unwrap();
}

async fn until_entry(world: &World, daemon: &str, kind: &str) {
    until(kind, || !world.entries(daemon, kind).is_empty()).await;
}

/// A world whose gateway or receiver has an older month, and somebody who watches.
async fn watched(daemon: &str) -> (World, PathBuf, Player) {
    let mut world = World::start(plan()).await;
    world.stop_gateway().await;
    world.stop_receiver().await;
    let old = age(&world, daemon);
    world.start_receiver().await;
    world.start_gateway().await;
    world.linked().await;
    let martin = world.operator("13-1").await;
    let grant = martin.granted(&["cam-001"]).await;
    let mut watches = Player::start(rtsp(&grant, "cam-001"));
    watches.pictures(5).await;
    (world, old, watches)
}

#[tokio::test]
async fn a_byte_in_an_old_month_of_the_gateway_ends_relays_and_both_ends_say_so() {
    let (mut world, old, watches) = watched("gateway").await;
    flip(&old);
    until_entry(&world, "gateway", "journal_damaged").await;
    watches.ended().await;
    until_entry(&world, "receiver", "peer_damaged").await;
    let damaged = &world.entries("gateway", "journal_damaged")[0];
    assert_eq!(
        (&damaged["file"], &damaged["line"]),
        (&"2020-01.jsonl".into(), &1.into())
    );
    let told = world.entries("receiver", "peer_damaged")[0].clone();
    assert!(
        told["detail"]
            .as_str()
            .unwrap()
            .starts_with("2020-01.jsonl line 1: "),
        "{told}"
    );
    let continues = world.entries("gateway", "continues");
    assert_eq!(continues.len(), 1, "told once");
    let martin = world.operator("13-1").await;
    let claims = martin.claims(&["cam-001"], 60);
    assert_eq!(martin.refused(&claims).await, Reason::JournalWentBack);
    let (gateway, receiver) = (&world.gateway_metrics, &world.receiver_metrics);
    let commune = receiver
        .commune_journal_intact
        .with_label_values(&[COMMUNE]);
    until("the metrics tell", || {
        commune.get() == 0 && gateway.journal_intact.get() == 0
    })
    .await;
    let ready = get(world.gateway_page, "/ready").await;
    assert!(ready.starts_with("HTTP/1.1 503"), "{ready}");
    assert!(ready.contains("--accept-journal berre-l-etang"), "{ready}");

    // A start knows that it is told, and says so until somebody accepts it.
    world.stop_gateway().await;
    world.start_gateway().await;
    world.linked().await;
    assert_eq!(world.entries("gateway", "continues").len(), 1);
    assert_eq!(
        martin.refused(&martin.claims(&["cam-001"], 60)).await,
        Reason::JournalWentBack
    );
    world.stop_gateway().await;
    world.accepts(COMMUNE);
    world.start_gateway().await;
    world.linked().await;
    until("the centre hears of it", || {
        world.entries("receiver", "peer_damaged").len() == 2
    })
    .await;
    martin.granted(&["cam-001"]).await;
    world.stop().await;
}

#[tokio::test]
async fn a_month_that_is_removed_at_the_receiver_ends_viewers_and_both_ends_say_so() {
    let (world, old, watches) = watched("receiver").await;
    std::fs::remove_file(old).unwrap();
    until_entry(&world, "receiver", "journal_damaged").await;
    watches.ended().await;
    until_entry(&world, "gateway", "peer_damaged").await;
    let cause = world.entries("receiver", "journal_damaged")[0]["cause"].clone();
    assert!(
        cause
            .as_str()
            .unwrap()
            .contains("2020-01.jsonl: the file is gone"),
        "{cause}"
    );
    let martin = world.operator("13-1").await;
    let claims = martin.claims(&["cam-001"], 60);
    assert_eq!(martin.refused(&claims).await, Reason::JournalWentBack);
    world.stop().await;
}

#[tokio::test]
async fn an_earlier_copy_put_back_while_the_daemon_runs_is_not_written_on() {
    for daemon in ["gateway", "receiver"] {
        let world = World::start(plan()).await;
        let newest = files(&world, daemon).pop().unwrap();
        let martin = world.operator("13-1").await;
        let copy = std::fs::read(&newest).unwrap();
        let grant = martin.granted(&["cam-001"]).await;
        let mut watches = Player::start(rtsp(&grant, "cam-001"));
        watches.pictures(5).await;
        replace(&newest, &copy);
        until_entry(&world, daemon, "journal_damaged").await;
        watches.ended().await;
        let other = if daemon == "gateway" {
            "receiver"
        } else {
            "gateway"
        };
        until_entry(&world, other, "peer_damaged").await;
        let content = std::fs::read(&newest).unwrap();
        assert!(
            content.starts_with(&copy) && !content.contains(&0),
            "no hole: {daemon}"
        );
        world.stop().await;
    }
}

#[tokio::test]
async fn a_commune_that_says_so_goes_on_and_says_that_too() {
    let mut world = World::start(Plan {
        gateway: "[journal]\nrelay_after_loss = true\n".to_owned(),
        ..plan()
    })
    .await;
    world.stop_gateway().await;
    let old = age(&world, "gateway");
    world.start_gateway().await;
    world.linked().await;
    let martin = world.operator("13-1").await;
    let grant = martin.granted(&["cam-001"]).await;
    let mut watches = Player::start(rtsp(&grant, "cam-001"));
    watches.pictures(5).await;
    flip(&old);
    until_entry(&world, "receiver", "peer_damaged").await;
    watches.pictures(30).await;
    let ready = get(world.gateway_page, "/ready").await;
    assert!(
        ready.starts_with("HTTP/1.1 200") && ready.contains("went back"),
        "{ready}"
    );
    world.stop().await;
}
