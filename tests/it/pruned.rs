//! Both daemons remove months whose time is over, by themselves.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use fanal::clock::Clock;
use fanal::journal::compare::{MEMORY_LIMIT, Options, Verdict, compare};
use fanal::journal::verify;

use crate::old_journal::{months, write};
use crate::world::{CENTRE, COMMUNE, Plan, World, until};

#[tokio::test]
async fn both_daemons_prune_one_month_and_their_journals_verify_and_compare() {
    let now = Clock::system().now().wall;
    let ((gateway, gateway_hand), (receiver, receiver_hand)) =
        (Clock::manual(now), Clock::manual(now));
    let keep = "[journal]\nkeep = \"6 months\"\n";
    let mut world = World::start(Plan {
        gateway_clock: gateway,
        receiver_clock: receiver,
        gateway: keep.to_owned(),
        receiver: keep.to_owned(),
        ..Plan::default()
    })
    .await;
    world.stop_gateway().await;
    world.stop_receiver().await;
    let mut directories = Vec::new();
    for (daemon, owner) in [("gateway", COMMUNE), ("receiver", CENTRE)] {
        let state = world.directory.path(daemon);
        std::fs::remove_dir_all(state.join("journal")).unwrap();
        directories.push(write(&state, owner, &world.directory.path(""), 9));
    }
    let before: Vec<_> = directories
        .iter()
        .map(|directory| months(directory))
        .collect();
    world.start_receiver().await;
    world.start_gateway().await;
    world.linked().await;

    let hour = Duration::from_secs(3_600);
    gateway_hand.advance(hour);
    receiver_hand.advance(hour);
    for (directory, before) in directories.iter().zip(&before) {
        let oldest = directory.join(&before[0]);
        until("the oldest month goes", || !oldest.exists()).await;
    }
    // The next one tomorrow.
    gateway_hand.advance(hour);
    receiver_hand.advance(hour);
    for daemon in ["gateway", "receiver"] {
        assert_eq!(world.entries(daemon, "pruned").len(), 1, "{daemon}");
    }
    world.stop_gateway().await;
    world.stop_receiver().await;
    for (directory, before) in directories.iter().zip(&before) {
        assert!(months(directory).starts_with(&before[1..]), "{before:?}");
        let report = verify::verify(&verify::Options {
            directory: directory.clone(),
            ..verify::Options::default()
        });
        let report = report.unwrap();
        assert!(report.is_intact(), "{:#?}", report.findings);
        assert!(report.journals[0].pruned > 0);
    }
    let options = Options {
        directories,
        authorities: None,
        memory: MEMORY_LIMIT,
        witnesses: Vec::new(),
    };
    let report = compare(&options, &AtomicU64::new(0)).unwrap();
    assert_eq!(report.verdict, Verdict::Consistent, "{report:#?}");
    // They start again from there.
    world.start_receiver().await;
    world.start_gateway().await;
    world.linked().await;
    world.stop().await;
}
