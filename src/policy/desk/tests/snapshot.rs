//! Stills at the centre: given once both ends have recorded them, or not at all.

use super::*;
use crate::format::control::SnapshotAsked;
use crate::format::ids::SnapshotId;
use crate::policy::snapshot::PER_MINUTE;

/// A world whose agreement allows stills, with a grant of one camera.
fn allowing() -> World {
    let mut world = World::new();
    let now = world.now();
    world.desk.handle_link_up(&commune(), 1, None, None, now);
    let mut hello = hello();
    hello.agreements[0].snapshots = true;
    world.tell(1, ToReceiver::Hello(hello));
    world.granted(id(1), &["port"]);
    world
}

fn still(world: &mut World) -> Still {
    world.next += 1;
    Still {
        snapshot: SnapshotId(Uuid::from_u128(world.next)),
        grant: id(1),
        commune: commune(),
        camera: camera("port"),
        captured: world.now().wall,
        sha256: Sha256::of(b"picture"),
    }
}

fn take(world: &mut World, still: &Still, who: &Designation) -> Vec<Command> {
    let now = world.now();
    world.desk.handle_snapshot(9, still.clone(), who, now);
    world.drain()
}

fn given(commands: &[Command]) -> Option<Result<SnapshotId, Reason>> {
    commands.iter().find_map(|command| match command {
        Command::Snapshot { caller: 9, result } => Some(match result {
            Ok(still) => Ok(still.snapshot),
            Err(refusal) => Err(refusal.reason),
        }),
        _ => None,
    })
}

fn written(world: &World) -> (usize, usize) {
    let count = |wanted: fn(&Entry) -> bool| {
        let entries = world.entries.iter();
        entries.filter(|(_, _, entry)| wanted(entry)).count()
    };
    (
        count(|entry| matches!(entry, Entry::Snapshot { .. })),
        count(|entry| matches!(entry, Entry::SnapshotRefused { .. })),
    )
}

fn recorded(world: &World, still: &Still) -> ToReceiver {
    ToReceiver::SnapshotRecorded {
        snapshot: still.snapshot,
        head: world.gateway.sign(HEAD_TYPE, &head(COMMUNE, 9)),
    }
}

#[test]
fn a_still_is_given_once_both_ends_have_it() {
    let mut world = allowing();
    let who = world.who("4711", "CORG 13");
    let wanted = still(&mut world);
    let commands = take(&mut world, &wanted, &who);
    assert_eq!(given(&commands), None);
    assert_eq!(written(&world), (1, 0));
    let asked = SnapshotAsked {
        snapshot: wanted.snapshot,
        grant: id(1),
        camera: camera("port"),
        captured: wanted.captured.0,
        sha256: Some(wanted.sha256),
    };
    assert_eq!(sent(&commands), [&ToGateway::Snapshot(asked)]);
    let message = recorded(&world, &wanted);
    let commands = world.tell(1, message.clone());
    assert_eq!(given(&commands), Some(Ok(wanted.snapshot)));
    assert_eq!(given(&world.tell(1, message)), None, "once");
    assert_eq!(written(&world), (1, 0));
}

#[test]
fn what_is_not_allowed_is_asked_of_nobody() {
    let mut world = allowing();
    let who = world.who("4711", "CORG 13");
    let good = still(&mut world);
    let not_allowed = Err(Reason::SnapshotNotAllowed);
    for (still, who, expected) in [
        (
            good.clone(),
            world.who("1", "CORG 84"),
            Err(Reason::GrantUnknown),
        ),
        (good.clone(), world.who("1", "CORG 13"), not_allowed),
        (
            Still {
                grant: id(2),
                ..good.clone()
            },
            who.clone(),
            Err(Reason::GrantUnknown),
        ),
        (
            Still {
                camera: camera("quai"),
                ..good.clone()
            },
            who.clone(),
            not_allowed,
        ),
        (
            Still {
                commune: CommuneId::new("rognac").unwrap(),
                ..good.clone()
            },
            who.clone(),
            not_allowed,
        ),
    ] {
        let commands = take(&mut world, &still, &who);
        assert_eq!(given(&commands), Some(expected), "{still:?} {who:?}");
        assert_eq!(sent(&commands), [] as [&ToGateway; 0]);
    }
    world.tell(1, ToReceiver::Hello(hello()));
    assert_eq!(given(&take(&mut world, &good, &who)), Some(not_allowed));
    world.after(Duration::from_secs(600));
    let ended = given(&take(&mut world, &good, &who));
    assert_eq!(ended, Some(Err(Reason::GrantExpired)));
    assert_eq!(written(&world), (0, 0));
}

#[test]
fn without_the_communes_word_nothing_is_given() {
    // No answer in time: a late one changes nothing.
    let mut world = allowing();
    let who = world.who("4711", "CORG 13");
    let wanted = still(&mut world);
    take(&mut world, &wanted, &who);
    assert_eq!(given(&world.after(Duration::from_secs(4))), None);
    let commands = world.after(Duration::from_secs(1));
    assert_eq!(given(&commands), Some(Err(Reason::CommuneOffline)));
    let message = recorded(&world, &wanted);
    assert_eq!(given(&world.tell(1, message)), None);
    assert_eq!(written(&world), (1, 1));
    // Refused there.
    let wanted = still(&mut world);
    take(&mut world, &wanted, &who);
    let refused = ToReceiver::SnapshotRefused {
        snapshot: wanted.snapshot,
        refusal: Reason::SnapshotNotAllowed.into(),
    };
    let commands = world.tell(1, refused);
    assert_eq!(given(&commands), Some(Err(Reason::SnapshotNotAllowed)));
    assert_eq!(written(&world), (2, 2));
    // The link is lost, before and after it is asked.
    let wanted = still(&mut world);
    take(&mut world, &wanted, &who);
    let now = world.now();
    world.desk.handle_link_down(&commune(), 1, now);
    let commands = world.drain();
    assert_eq!(given(&commands), Some(Err(Reason::LinkLost)));
    let wanted = still(&mut world);
    let commands = take(&mut world, &wanted, &who);
    assert_eq!(given(&commands), Some(Err(Reason::LinkLost)));
    // The own journal can't be written.
    let mut world = allowing();
    let who = world.who("4711", "CORG 13");
    world.broken = true;
    let wanted = still(&mut world);
    let commands = take(&mut world, &wanted, &who);
    assert_eq!(given(&commands), Some(Err(Reason::JournalUnavailable)));
    assert_eq!(sent(&commands), [] as [&ToGateway; 0]);
}

#[test]
fn ten_stills_a_minute() {
    let mut world = allowing();
    let who = world.who("4711", "CORG 13");
    for _ in 0..PER_MINUTE {
        let wanted = still(&mut world);
        assert_eq!(given(&take(&mut world, &wanted, &who)), None);
    }
    let wanted = still(&mut world);
    let refused = given(&take(&mut world, &wanted, &who));
    assert_eq!(refused, Some(Err(Reason::TooManyAttempts)));
    world.after(Duration::from_secs(60));
    assert_eq!(given(&take(&mut world, &wanted, &who)), None);
}
