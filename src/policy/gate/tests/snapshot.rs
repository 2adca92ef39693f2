//! Stills: recorded at the commune before the centre gives one.

use super::*;
use crate::format::control::SnapshotAsked;
use crate::format::ids::SnapshotId;
use crate::policy::snapshot::PER_MINUTE;

fn allowing() -> Gateway {
    let mut changed = settings();
    changed.agreements[0].snapshots = true;
    changed
}

fn asked(world: &mut World, grant: GrantId, camera: usize) -> SnapshotAsked {
    world.next += 1;
    SnapshotAsked {
        snapshot: SnapshotId(Uuid::from_u128(world.next)),
        grant,
        camera: camera_id(camera),
        captured: world.now.wall.0,
        sha256: Some(Sha256::of(b"picture")),
    }
}

/// What the centre was told of it: `None`, recorded.
fn told(world: &World, snapshot: SnapshotId) -> Option<Option<Reason>> {
    world.sent.iter().find_map(|(_, message)| match message {
        ToReceiver::SnapshotRecorded { snapshot: of, .. } if *of == snapshot => Some(None),
        ToReceiver::SnapshotRefused {
            snapshot: of,
            refusal,
        } if *of == snapshot => Some(Some(refusal.reason)),
        _ => None,
    })
}

fn take(world: &mut World, number: usize, asked: &SnapshotAsked) -> Option<Reason> {
    world.sent.clear();
    world.message(number, ToGateway::Snapshot(asked.clone()));
    world.settle();
    told(world, asked.snapshot).unwrap()
}

fn written(world: &World) -> usize {
    let entries = world.journal.iter();
    let stills = entries.filter(|(_, _, entry)| matches!(entry, Entry::Snapshot { .. }));
    stills.count()
}

#[test]
fn a_still_is_recorded_before_the_centre_is_told() {
    let mut world = World::with(allowing());
    let grant = world.granted(&[0]);
    let still = asked(&mut world, grant, 0);
    world.sent.clear();
    world.message(0, ToGateway::Snapshot(still.clone()));
    world.drain();
    assert_eq!(told(&world, still.snapshot), None, "durable first");
    world.settle();
    assert_eq!(told(&world, still.snapshot), Some(None));
    let entry = world.journal.last().map(|(_, _, entry)| entry.clone());
    let Some(Entry::Snapshot {
        snapshot,
        grant: of,
        camera,
        operator,
        captured,
        sha256,
        ..
    }) = entry
    else {
        panic!("{entry:?}");
    };
    assert_eq!(
        (snapshot, of, camera, sha256),
        (still.snapshot, grant, camera_id(0), still.sha256)
    );
    assert_eq!(operator.number, "13-1");
    assert_eq!(captured, world.now.wall.rfc3339());
}

#[test]
fn what_grant_agreement_or_time_do_not_allow_is_refused_and_not_written() {
    let mut world = World::new();
    let grant = world.granted(&[0]);
    let still = asked(&mut world, grant, 0);
    let not_allowed = Some(Reason::SnapshotNotAllowed);
    assert_eq!(
        take(&mut world, 0, &still),
        not_allowed,
        "no agreement does"
    );

    let mut world = World::with(allowing());
    let grant = world.granted(&[0]);
    let other = asked(&mut world, grant, 1);
    assert_eq!(take(&mut world, 0, &other), not_allowed, "another camera");
    let still = asked(&mut world, grant, 0);
    assert_eq!(take(&mut world, 1, &still), Some(Reason::GrantUnknown));
    for captured in [
        i64::MIN,
        i64::MAX,
        world.now.wall.0 + 6_000_000,
        world.now.wall.0 - 61_000_000,
    ] {
        let still = SnapshotAsked {
            captured,
            ..asked(&mut world, grant, 0)
        };
        assert_eq!(take(&mut world, 0, &still), not_allowed, "{captured}");
    }
    world.advance(Duration::from_secs(600));
    let still = asked(&mut world, grant, 0);
    assert_eq!(take(&mut world, 0, &still), Some(Reason::GrantExpired));
    assert_eq!(written(&world), 0);
}

#[test]
fn ten_a_minute_and_none_without_a_journal() {
    let mut world = World::with(allowing());
    let grant = world.granted(&[0]);
    for _ in 0..PER_MINUTE {
        let still = asked(&mut world, grant, 0);
        assert_eq!(take(&mut world, 0, &still), None);
    }
    let still = asked(&mut world, grant, 0);
    assert_eq!(take(&mut world, 0, &still), Some(Reason::TooManyAttempts));
    world.advance(Duration::from_secs(60));
    assert_eq!(take(&mut world, 0, &still), None);
    world.journal_works = false;
    let still = asked(&mut world, grant, 0);
    assert_eq!(
        take(&mut world, 0, &still),
        Some(Reason::JournalUnavailable)
    );
    assert_eq!(written(&world), PER_MINUTE + 1);
}
