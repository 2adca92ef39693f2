//! Who watched: recorded before a picture goes out, and told to the commune until it has it all.

use super::*;
use crate::format::statement::{Received, Viewing};

fn viewer(number: u64, name: &str) -> Viewer {
    Viewer {
        number,
        grant: id(1),
        commune: commune(),
        camera: camera(name),
        who: "4711".to_owned(),
        how: "live".to_owned(),
        from: format!("10.0.0.1:{}", 5_000 + number % 1_000),
    }
}

fn start(world: &mut World, viewer: Viewer) -> Vec<Command> {
    let now = world.now();
    world.desk.handle_viewing_started(viewer, now);
    world.drain()
}

fn leave(world: &mut World, number: u64, reason: Option<Reason>) -> Vec<Command> {
    let now = world.now();
    world.desk.handle_viewing_ended(number, reason, now);
    world.drain()
}

/// Watches for some seconds, and is gone for good.
fn watch(world: &mut World, number: u64, name: &str, seconds: u64) {
    assert_eq!(admitted(&start(world, viewer(number, name))), [number]);
    world.clock.advance(Duration::from_secs(seconds));
    leave(world, number, None);
    world.after(viewing::REOPENED);
}

fn admitted(commands: &[Command]) -> Vec<u64> {
    let admitted = commands.iter().filter_map(|command| match command {
        Command::AdmitViewer { number } => Some(*number),
        _ => None,
    });
    admitted.collect()
}

fn turned_away(commands: &[Command]) -> Vec<Reason> {
    let refused = commands.iter().filter_map(|command| match command {
        Command::RefuseViewer { reason, .. } => Some(*reason),
        _ => None,
    });
    refused.collect()
}

fn kinds(world: &World) -> (usize, usize) {
    let count = |wanted: fn(&Entry) -> bool| {
        let entries = world.entries.iter();
        entries.filter(|(_, _, entry)| wanted(entry)).count()
    };
    (
        count(|entry| matches!(entry, Entry::ViewingStarted { .. })),
        count(|entry| matches!(entry, Entry::ViewingEnded { .. })),
    )
}

/// The parts that were sent.
fn parts(world: &World, commands: &[Command]) -> Vec<ViewingsClaims> {
    let authority = LinkAuthority::from_pem(world.trial.link_authority(), &[]).unwrap();
    let statements = sent(commands)
        .into_iter()
        .filter_map(|message| match message {
            ToGateway::Viewings { statement } => Some(statement.clone()),
            _ => None,
        });
    statements
        .map(|statement| {
            let at = world.now().wall;
            authority
                .verify(&statement, VIEWINGS_TYPE, CENTRE, at)
                .unwrap()
        })
        .collect()
}

fn confirm(world: &mut World, session: u64, part: u32) -> Vec<Command> {
    let message = ToReceiver::ViewingsRecorded {
        grant: id(1),
        part,
        head: Some(world.gateway.sign(HEAD_TYPE, &head(COMMUNE, 9))),
    };
    world.tell(session, message)
}

fn end(world: &mut World) -> Vec<Command> {
    world.tell(
        1,
        ToReceiver::Ended {
            grant: id(1),
            refusal: Reason::GrantCut.into(),
            head: None,
        },
    )
}

fn is_taken(world: &World) -> bool {
    let mut entries = world.entries.iter();
    entries.any(|(_, _, entry)| matches!(entry, Entry::ViewingsTaken { head: Some(_), .. }))
}

fn count(viewings: &[Viewing]) -> u64 {
    viewings.iter().map(|one| one.count.unwrap_or(1)).sum()
}

#[test]
fn a_viewing_is_journalled_before_its_first_picture_and_listed_after_its_last() {
    let mut world = World::linked();
    world.granted(id(1), &["port"]);
    let commands = start(&mut world, viewer(3, "port"));
    let recorded = commands
        .iter()
        .position(|command| matches!(command, Command::Record { .. }));
    let admit = Command::AdmitViewer { number: 3 };
    let let_in = commands.iter().position(|command| *command == admit);
    assert!(recorded < let_in && let_in.is_some(), "{commands:?}");
    let line = world.entries.last().unwrap().0;
    world.clock.advance(Duration::from_secs(60));
    let commands = end(&mut world);
    assert_eq!(parts(&world, &commands), [], "it waits for its viewer");
    let commands = leave(&mut world, 3, Some(Reason::GrantCut));
    assert!(
        matches!(world.entries.last(), Some((_, _, Entry::ViewingEnded { start, reason: Some(Reason::GrantCut), .. })) if *start == line)
    );
    let sent = parts(&world, &commands);
    let [part] = &sent[..] else {
        panic!("{sent:?}");
    };
    assert_eq!(
        (part.part, part.parts, part.total),
        (Some(0), Some(1), Some(1))
    );
    assert_eq!(part.viewings[0].to, world.now().wall.rfc3339());
    assert!(!is_taken(&world));
    confirm(&mut world, 1, 0);
    assert!(is_taken(&world));
}

#[test]
fn without_a_journal_nobody_is_let_in_and_those_who_watch_go_on() {
    let mut world = World::linked();
    world.granted(id(1), &["port"]);
    assert_eq!(admitted(&start(&mut world, viewer(1, "port"))), [1]);
    world.broken = true;
    let unavailable = [Reason::JournalUnavailable];
    assert_eq!(
        turned_away(&start(&mut world, viewer(2, "port"))),
        unavailable
    );
    // Something is owed now: nobody else is even tried.
    world.desk.handle_note(Entry::Stopped {});
    world.drain();
    let lines = world.receipts;
    assert_eq!(
        turned_away(&start(&mut world, viewer(3, "port"))),
        unavailable
    );
    assert!(world.desk.viewers_refused().is_some());
    // The camera changes its codec under the first one, who goes on.
    leave(&mut world, 1, Some(Reason::StreamChanged));
    assert_eq!(admitted(&start(&mut world, viewer(4, "port"))), [4]);
    assert_eq!(
        (world.receipts, ended(&world.drain(), id(1))),
        (lines, None)
    );
    world.broken = false;
    world.after(Duration::from_secs(1));
    assert_eq!(admitted(&start(&mut world, viewer(5, "port"))), [5]);
    assert_eq!(
        kinds(&world),
        (2, 0),
        "nothing is told of those who saw nothing"
    );
}

#[test]
fn who_comes_back_within_two_seconds_never_left() {
    let mut world = World::linked();
    world.granted(id(1), &["port", "quai-nord"]);
    for number in 1..200 {
        assert_eq!(
            admitted(&start(&mut world, viewer(number, "port"))),
            [number]
        );
        world.clock.advance(Duration::from_millis(700));
        leave(&mut world, number, None);
        world.clock.advance(Duration::from_millis(900));
    }
    assert_eq!(kinds(&world), (1, 0));
    // Another picture, and another workstation, are others.
    assert_eq!(
        admitted(&start(&mut world, viewer(300, "quai-nord"))),
        [300]
    );
    let elsewhere = Viewer {
        from: "10.0.0.2:5000".to_owned(),
        ..viewer(301, "port")
    };
    start(&mut world, elsewhere);
    assert_eq!(kinds(&world), (3, 0));
    let left = world.now().wall;
    world.after(Duration::from_secs(2));
    assert_eq!(kinds(&world), (3, 1));
    let end = world
        .entries
        .iter()
        .rev()
        .find_map(|(_, _, entry)| match entry {
            Entry::ViewingEnded { at, .. } => Some(at.clone()),
            _ => None,
        });
    let since = left.0 - 900_000;
    assert_eq!(
        end,
        Some(Wall(since).rfc3339()),
        "when it left, not when that was sure"
    );
    start(&mut world, viewer(302, "port"));
    assert_eq!(kinds(&world), (4, 1));
}

#[test]
fn a_viewing_begins_in_the_list_when_it_begins_in_the_journal() {
    let mut world = World::linked();
    world.granted(id(1), &["port"]);
    let now = world.now();
    world.desk.handle_viewing_started(viewer(1, "port"), now);
    // The disk is slow.
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(admitted(&world.drain()), [1]);
    let written = world.entries.last().unwrap().1;
    world.clock.advance(Duration::from_secs(60));
    end(&mut world);
    let sent = leave(&mut world, 1, Some(Reason::GrantCut));
    let viewing = &parts(&world, &sent)[0].viewings[0];
    assert_eq!(viewing.from, written.rfc3339());
}

#[test]
fn who_leaves_before_the_journal_answered_is_not_let_in_and_listed_all_the_same() {
    let mut world = World::linked();
    world.granted(id(1), &["port"]);
    let now = world.now();
    world.desk.handle_viewing_started(viewer(1, "port"), now);
    world.desk.handle_viewing_ended(1, None, now);
    assert!(admitted(&world.drain()).is_empty());
    // Back before that is written: let in with it.
    world.desk.handle_viewing_started(viewer(2, "port"), now);
    assert_eq!(admitted(&world.drain()), [2]);
    let commands = end(&mut world);
    assert_eq!(parts(&world, &commands).len(), 0);
    let sent = leave(&mut world, 2, Some(Reason::GrantCut));
    assert_eq!(count(&parts(&world, &sent)[0].viewings), 1);
    assert_eq!(kinds(&world), (1, 1));
}

#[test]
fn the_commune_gets_every_one_of_more_viewings_than_can_be_told_singly() {
    let mut world = World::linked_for_hours();
    let mut claims = world.claims(&["port", "quai-nord"]);
    claims.duration = 20_000;
    world.granted_for(id(1), &claims);
    for number in 0..1_500 {
        watch(&mut world, number, "port", 1);
    }
    watch(&mut world, 5_000, "quai-nord", 3_600);
    let mut commands = end(&mut world);
    let mut got: BTreeMap<u32, ViewingsClaims> = BTreeMap::new();
    let mut rounds = 0;
    while !is_taken(&world) {
        for part in parts(&world, &commands) {
            assert_eq!(part.total, Some(1_501));
            got.insert(part.part.unwrap(), part);
        }
        let numbers: Vec<u32> = got.keys().copied().collect();
        commands = world.after(Duration::from_secs(1));
        for number in numbers {
            commands.extend(confirm(&mut world, 1, number));
        }
        rounds += 1;
        assert!(rounds < 60);
    }
    let all = got.values().map(|part| count(&part.viewings));
    assert_eq!(all.sum::<u64>(), 1_501);
    let last = got.values().next_back().unwrap();
    assert_eq!(u32::try_from(got.len()).ok(), last.parts);
    let long = last.viewings.last().unwrap();
    assert_eq!(
        long.camera,
        camera("quai-nord"),
        "the hour that counts is told singly"
    );
}

#[test]
fn who_watched_when_a_quiet_receiver_was_killed_watched_until_its_last_picture() {
    // The grant is of ten minutes.
    for (killed_after, back_after, ends_after) in [(100, 50, 103), (100, 1, 101), (599, 60, 600)] {
        let mut world = World::linked();
        world.granted(id(1), &["port"]);
        start(&mut world, viewer(1, "port"));
        let from = world.now().wall;
        // Nothing is written while he watches.
        let killed = from.plus(Duration::from_secs(killed_after));
        world.watched_until = Some(killed.plus(Duration::from_secs(3)));
        world
            .clock
            .advance(Duration::from_secs(killed_after + back_after));
        world.restart();
        let ends = world
            .entries
            .iter()
            .filter_map(|(_, _, entry)| match entry {
                Entry::ViewingEnded { at, .. } => Some(at.clone()),
                _ => None,
            });
        let expected = from.plus(Duration::from_secs(ends_after)).rfc3339();
        assert_eq!(ends.collect::<Vec<_>>(), [expected]);
    }
}

#[test]
fn a_list_is_owed_through_lost_links_and_restarts_until_it_is_confirmed() {
    let mut world = World::linked();
    world.granted(id(1), &["port"]);
    watch(&mut world, 1, "port", 30);
    let now = world.now();
    world.desk.handle_link_down(&commune(), 1, now);
    // The centre ends it with nobody watching and nobody linked.
    world.after(Duration::from_secs(600));
    world.restart();
    world.after(Duration::from_secs(5));
    let commands = world.link(2);
    assert_eq!(parts(&world, &commands)[0].viewings.len(), 1);
    // Not confirmed: again, and again on the next link, and after another restart.
    let commands = world.after(Duration::from_secs(10));
    assert_eq!(parts(&world, &commands).len(), 1);
    let commands = world.link(3);
    assert_eq!(parts(&world, &commands).len(), 1);
    // It is written down by then: also where all else has grown old.
    world.after(Duration::from_secs(700));
    let owed: Vec<_> = world
        .entries
        .iter()
        .filter(|(_, _, entry)| matches!(entry, Entry::ViewingsOwed { .. }))
        .cloned()
        .collect();
    assert_eq!(owed.len(), 1);
    let everything = std::mem::replace(&mut world.entries, owed);
    world.restart();
    let commands = world.link(1);
    let sent = parts(&world, &commands);
    assert_eq!((sent.len(), sent[0].viewings.len()), (1, 1));
    confirm(&mut world, 1, 0);
    assert!(is_taken(&world));
    let taken = world.entries.clone();
    world.entries = everything;
    world.entries.extend(taken.into_iter().skip(1));
    world.restart();
    world.after(Duration::from_secs(5));
    let commands = world.link(2);
    assert_eq!(parts(&world, &commands), [], "it has it");
}

/// What the hub received of so many cameras.
fn figures(cameras: u64) -> Figures {
    let one = |number: u64| Received {
        camera: camera(&format!("{number:0>62}")),
        bytes: u64::MAX - number,
    };
    Figures {
        since: Wall::from_seconds(START),
        cameras: (0..cameras).map(one).collect(),
    }
}

#[test]
fn the_list_says_what_was_received_of_each_camera_in_parts_that_fit() {
    let mut world = World::linked();
    world.granted(id(1), &["port"]);
    for number in 0..20 {
        watch(&mut world, number, "port", 1);
    }
    world.figures = figures(70);
    let commands = end(&mut world);
    let told = parts(&world, &commands);
    for one in &told {
        confirm(&mut world, 1, one.part.unwrap());
    }
    assert!(is_taken(&world));
    let of = |one: &ViewingsClaims| (one.received.len(), one.counted_since);
    let numbers: Vec<_> = told.iter().map(of).collect();
    let since = Some(START);
    assert_eq!(
        numbers,
        [(18, since), (18, since), (18, since), (16, since)]
    );
    let received = told.iter().flat_map(|one| one.received.clone());
    assert_eq!(received.collect::<Vec<_>>(), figures(70).cameras);
    let viewings = told.iter().map(|one| one.viewings.len());
    assert_eq!(viewings.sum::<usize>(), 20);
}

#[test]
fn the_list_waits_for_what_was_received_and_not_for_long() {
    let mut world = World::linked();
    world.granted(id(1), &["port"]);
    let now = world.now();
    let ended = ToReceiver::Ended {
        grant: id(1),
        refusal: Reason::GrantCut.into(),
        head: None,
    };
    world.desk.handle_message(&commune(), 1, ended, now);
    let mut commands: Vec<Command> = Vec::new();
    while let Some(command) = world.desk.poll_command() {
        commands.push(command);
    }
    assert_eq!(parts(&world, &commands), [], "the hub has not answered");
    let commands = world.after(Duration::from_secs(3));
    assert_eq!(parts(&world, &commands)[0].received, []);
}

#[test]
fn an_older_gateway_is_not_told_what_was_received() {
    let mut world = World::linked();
    let mut older = hello();
    older.minor = 1;
    world.tell(1, ToReceiver::Hello(older));
    world.granted(id(1), &["port"]);
    world.figures = figures(1);
    let commands = end(&mut world);
    let told = parts(&world, &commands);
    assert_eq!((told[0].received.len(), told[0].counted_since), (0, None));
}

#[test]
fn a_list_that_is_owed_keeps_what_was_received_across_a_restart() {
    let mut world = World::linked();
    world.granted(id(1), &["port"]);
    world.figures = figures(2);
    let now = world.now();
    world.desk.handle_link_down(&commune(), 1, now);
    world.after(Duration::from_secs(600));
    // It is written down.
    world.after(Duration::from_secs(700));
    world.restart();
    let commands = world.link(2);
    assert_eq!(parts(&world, &commands)[0].received, figures(2).cameras);
}

#[test]
fn lists_that_a_gateway_does_not_confirm_hold_up_no_other() {
    let mut world = World::linked();
    // More of them than may be on their way at once.
    for number in 1..=20 {
        world.granted(id(number), &["port"]);
        world.tell(
            1,
            ToReceiver::Ended {
                grant: id(number),
                refusal: Reason::GrantCut.into(),
                head: None,
            },
        );
    }
    let mut sent = BTreeSet::new();
    for _ in 0..30 {
        let commands = world.after(Duration::from_secs(1));
        sent.extend(parts(&world, &commands).iter().map(|part| part.grant));
    }
    assert_eq!(sent.len(), 20, "each of them");
    // A new one goes before those that are sent again, also while all of these are due.
    world.after(Duration::from_secs(3_600));
    world.granted(id(99), &["port"]);
    world.tell(
        1,
        ToReceiver::Ended {
            grant: id(99),
            refusal: Reason::GrantCut.into(),
            head: None,
        },
    );
    let mut sent = Vec::new();
    for _ in 0..11 {
        let commands = world.after(Duration::from_secs(1));
        sent.extend(parts(&world, &commands).iter().map(|part| part.grant));
    }
    assert!(
        sent.iter().take(8).any(|grant| *grant == id(99)),
        "{sent:?}"
    );
}

#[test]
fn a_viewing_that_ends_after_its_list_is_gathered_no_more() {
    let mut world = World::linked();
    world.granted(id(1), &["port"]);
    start(&mut world, viewer(1, "port"));
    end(&mut world);
    // The list goes without waiting longer for it.
    let commands = world.after(Duration::from_secs(2));
    assert_eq!(parts(&world, &commands)[0].viewings.len(), 1);
    leave(&mut world, 1, Some(Reason::GrantCut));
    assert_eq!(world.desk.viewings.lists.gathered(), 0);
    // Nor after a restart on a journal that has forgotten the grant.
    let is_viewing = |entry: &Entry| {
        matches!(
            entry,
            Entry::ViewingStarted { .. } | Entry::ViewingEnded { .. }
        )
    };
    world.entries.retain(|(_, _, entry)| is_viewing(entry));
    assert!(!world.entries.is_empty());
    world.restart();
    assert_eq!(world.desk.viewings.lists.gathered(), 0);
}

#[test]
fn a_list_follows_the_release_that_makes_the_gateway_take_it() {
    let mut world = World::linked();
    world.granted(id(1), &["port"]);
    watch(&mut world, 1, "port", 30);
    let now = world.now();
    let certificate = world.operator_certificate.clone();
    world.trial.revoke_operator(&certificate, now.wall).unwrap();
    let rules = rules(&world.trial, &world.receiver);
    world.desk.handle_settings(rules, now);
    let commands = world.drain();
    let messages = sent(&commands);
    let place = |wanted: fn(&ToGateway) -> bool| messages.iter().position(|one| wanted(one));
    let release = place(|message| matches!(message, ToGateway::Release { .. })).unwrap();
    let list = place(|message| matches!(message, ToGateway::Viewings { .. })).unwrap();
    assert!(release < list);
}

#[test]
fn an_older_gateway_gets_what_it_takes_and_its_next_head_counts() {
    let mut world = World::new();
    let now = world.now();
    world.desk.handle_link_up(&commune(), 1, None, None, now);
    let mut older = hello();
    older.minor = 0;
    older.agreements[0].max_duration = 86_400;
    world.tell(1, ToReceiver::Hello(older));
    let mut claims = world.claims(&["port"]);
    claims.duration = 20_000;
    world.granted_for(id(1), &claims);
    for number in 0..300 {
        watch(&mut world, number, "port", 1);
    }
    let commands = end(&mut world);
    assert_eq!(parts(&world, &commands), []);
    let commands = world.after(Duration::from_secs(5));
    let sent = parts(&world, &commands);
    assert!(sent.len() <= 4);
    assert!(
        sent.iter()
            .all(|part| part.part.is_none() && part.total.is_none())
    );
    assert_eq!(
        sent.iter().map(|part| count(&part.viewings)).sum::<u64>(),
        300
    );
    assert!(!is_taken(&world));
    let heads = crate::format::control::Heads {
        head: world.gateway.sign(HEAD_TYPE, &head(COMMUNE, 9)),
        lines: Vec::new(),
        acknowledged: 0,
    };
    world.tell(1, ToReceiver::Heads(heads));
    assert!(is_taken(&world));
}
