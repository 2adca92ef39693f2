//! No message that decodes makes the commune's journal refuse: all that a centre can say
//! fits into a line.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::format::chain::LINE_LIMIT;
use crate::format::control::inflate::{FILLERS, inflate};
use crate::journal::log;

fn messages(world: &World, grant: GrantId, relay: RelayId) -> Vec<Value> {
    let head = world.head(0, 500, 1, world.now.wall.seconds());
    vec![
        json!({ "type": "hello", "minor": 0, "version": "1", "wall": 1, "name": "a", "head": head }),
        json!({ "type": "request", "id": 1, "request": "a" }),
        json!({ "type": "confirm", "grant": grant, "request": Sha256::ZERO, "head": "a" }),
        json!({ "type": "focus", "relays": [relay] }),
        json!({ "type": "viewings", "statement": "a" }),
        json!({ "type": "revocation", "list": "a" }),
        json!({ "type": "heads", "head": head, "lines": ["a"], "acknowledged": 1 }),
        json!({ "type": "time", "echo": 1, "wall": 1 }),
        json!({ "type": "password", "grant": grant, "password": "a" }),
        json!({ "type": "release", "grant": grant, "by": "a" }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn all_that_a_centre_can_say_fits_into_the_journal(
        which in proptest::collection::vec(1u32.., 10..11),
        filler in 0..FILLERS.len(),
    ) {
        let mut world = World::new();
        world.link_up(0);
        let grant = world.granted(&[0]);
        let relay = *world.running.keys().next().unwrap();
        for (message, which) in messages(&world, grant, relay).iter().zip(which) {
            let text = inflate(message, which, FILLERS[filler]);
            if let Ok(message) = serde_json::from_str::<ToGateway>(&text) {
                world.message(0, message);
                world.settle();
            }
        }
        world.advance(Duration::from_secs(60));
        world.settle();
        for (_, _, entry) in &world.journal {
            let bytes = log::encode(entry).unwrap().len();
            prop_assert!(bytes <= LINE_LIMIT / 8, "{bytes}: {entry:?}");
        }
    }
}

#[test]
fn a_flood_of_lists_and_confirmations_is_looked_at_no_faster_than_its_pace() {
    let mut world = World::new();
    world.link_up(0);
    let now = world.now;
    let confirmed = (0..5_000).filter(|_| world.gate.may_confirm(&receiver(0), now));
    assert_eq!(confirmed.count(), 1_200);
    // The list that revokes comes behind a flood of others, and counts a second later.
    for _ in 0..40 {
        let list = keys().first_list.clone();
        world.message(0, ToGateway::Revocation { list });
    }
    world.settle();
    let revocation = || ToGateway::Revocation {
        list: keys().revoked.clone(),
    };
    let lists = |world: &World| {
        let is_list = |entry: &&(u64, Wall, Entry)| matches!(entry.2, Entry::Revocation { .. });
        world.journal.iter().filter(is_list).count()
    };
    let before = lists(&world);
    world.message(0, revocation());
    world.settle();
    assert_eq!(lists(&world), before);
    world.advance(Duration::from_secs(1));
    world.message(0, revocation());
    world.settle();
    assert!(lists(&world) > before);
}
