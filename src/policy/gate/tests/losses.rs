//! Journals that went back: the centre's, and the gate's own.

use super::*;
use crate::format::chain::End;
use crate::format::control::Journals;
use crate::journal::reader::{Origin, OwnLine};

fn journals(head: String) -> ToGateway {
    ToGateway::Journals(Journals {
        head: Some(head),
        ..Journals::default()
    })
}

/// A head of the gate's own journal, as the centre holds it.
fn held(seq: u64, link: u8) -> (HeadClaims, ToGateway) {
    let claims = HeadClaims {
        iss: "berre-l-etang".to_owned(),
        journal: "11".repeat(16),
        seq,
        link: Sha256([link; 32]),
        iat: START.seconds(),
    };
    let held = Some(keys().commune.sign(HEAD_TYPE, &claims));
    let told = Journals {
        held,
        ..Journals::default()
    };
    (claims, ToGateway::Journals(told))
}

/// The first line of a journal that continues another one.
fn first_line(journal: &str, old: &str, seq: u64, link: u8) -> String {
    let link = Sha256([link; 32]);
    let body = format!(
        r#"{{"v":1,"journal_id":"{journal}","salt":"00","kind":"continues","journal":"{old}","seq":{seq},"link":"{link}"}}"#
    );
    let header = End::START.next(START, body.as_bytes());
    String::from_utf8(header.with_body(body.as_bytes())).unwrap()
}

impl World {
    fn count(&self, wanted: fn(&Entry) -> bool) -> usize {
        self.journal
            .iter()
            .filter(|(.., entry)| wanted(entry))
            .count()
    }

    /// A world with a live grant of centre 0, whose journal is held up to line 100 or so.
    fn watching(settings: Gateway) -> (Self, GrantId, u64) {
        let mut world = Self::with(settings);
        let grant = world.granted(&[0]);
        let held = world.gate.witnesses.head(&receiver(0)).unwrap().0.seq;
        world.link_down(0);
        world.link_up(0);
        world.sent.clear();
        (world, grant, held)
    }
}

fn contradicted(entry: &Entry) -> bool {
    matches!(entry, Entry::PeerContradiction { .. })
}

fn went_back(entry: &Entry) -> bool {
    matches!(entry, Entry::JournalWentBack { .. })
}

fn accepted(entry: &Entry) -> bool {
    matches!(entry, Entry::JournalAccepted { .. })
}

/// In each of these the head is as old as the one held: only the link's start tells.
#[test]
fn a_centre_whose_journal_went_back_is_seen_at_the_link_and_gets_nothing() {
    let at = START.seconds();
    type Told = fn(&World, u64, i64) -> String;
    let cases: [(&str, Told); 3] = [
        ("it ends at line", |world, held, at| {
            world.head(0, held - 1, 9, at)
        }),
        ("has two links", |world, held, at| {
            world.head(0, held, 9, at)
        }),
        ("does not name line", |_, _, at| {
            let claims = HeadClaims {
                iss: CENTRES[0].to_owned(),
                journal: "22".repeat(16),
                seq: 4_000,
                link: Sha256([1; 32]),
                iat: at,
            };
            keys().centres[0].sign(HEAD_TYPE, &claims)
        }),
    ];
    for (detail, told) in cases {
        let (mut world, grant, held) = World::watching(settings());
        let head = told(&world, held, at);
        world.message(0, journals(head.clone()));
        world.settle();
        let found = world.journal.iter().find_map(|(.., entry)| match entry {
            Entry::PeerContradiction { detail, found, .. } => Some((detail.clone(), found.clone())),
            _ => None,
        });
        let (told, found) = found.unwrap();
        assert!(told.contains(detail), "{told}");
        assert_eq!(found, Some(head.clone()), "both heads are evidence");
        assert_eq!(world.ended(grant), Some(Reason::JournalWentBack));
        assert_eq!(world.told_end(grant), Some(Reason::JournalWentBack));
        assert!(world.running.is_empty());
        let claims = world.claims(&[0]);
        assert_eq!(world.refused(&claims), Reason::JournalWentBack);
        // The other centre is served.
        let other = RequestClaims {
            centre: centre(1),
            ..world.claims(&[0])
        };
        assert!(world.ask(2, &other).is_ok());
        // Told once, also by the next link, and remembered over a restart.
        world.link_up(0);
        world.message(0, journals(head));
        world.settle();
        assert_eq!(world.count(contradicted), 1);
        let mut world = world.restarted(Duration::from_secs(5), settings());
        world.link_up(0);
        let claims = world.claims(&[0]);
        assert_eq!(world.refused(&claims), Reason::JournalWentBack);
        assert!(world.gate.losses().theirs("corg-13").is_some());
        world
            .gate
            .handle_journal_accepted("corg-13".to_owned(), "uid 0".to_owned());
        world.settle();
        let claims = world.claims(&[0]);
        assert!(world.ask(0, &claims).is_ok());
        let mut world = world.restarted(Duration::from_secs(5), settings());
        world.link_up(0);
        let claims = world.claims(&[1]);
        assert!(world.ask(0, &claims).is_ok(), "accepted for good");
    }
}

#[test]
fn a_journal_that_went_on_and_a_new_one_that_names_the_old_are_no_losses() {
    let (mut world, grant, held) = World::watching(settings());
    let at = START.seconds();
    let next = world.head(0, held + 1, 2, at);
    world.message(0, journals(next));
    world.link_down(0);
    world.link_up(0);
    let (old, new) = ("00".repeat(16), "33".repeat(16));
    let claims = HeadClaims {
        iss: CENTRES[0].to_owned(),
        journal: new.clone(),
        seq: 2,
        link: Sha256([1; 32]),
        iat: at,
    };
    let head = keys().centres[0].sign(HEAD_TYPE, &claims);
    let told = |first| {
        ToGateway::Journals(Journals {
            head: Some(head.clone()),
            continues: Some(first),
            ..Journals::default()
        })
    };
    world.message(0, told(first_line(&new, &old, held + 5, 7)));
    world.settle();
    assert_eq!(world.count(contradicted), 0);
    let continues = |entry: &Entry| matches!(entry, Entry::PeerContinues { .. });
    assert_eq!(world.count(continues), 1);
    assert_eq!(world.ended(grant), None);
    // Names less than is held, another journal, or is another's first line.
    for first in [
        first_line(&new, &old, held - 1, 7),
        first_line(&new, &old, held, 7),
        first_line(&new, &new, held, 1),
        first_line(&old, &old, held, 1),
    ] {
        let (mut world, grant, _) = World::watching(settings());
        world.message(0, told(first));
        world.settle();
        assert_eq!(world.ended(grant), Some(Reason::JournalWentBack));
    }
}

#[test]
fn the_own_journal_that_lacks_a_line_whose_head_the_centre_holds_is_told_apart() {
    let link = |byte| Some(Sha256([byte; 32]));
    let own = Some("11".repeat(16));
    let origin = |seq, byte| {
        Some(Origin {
            journal: "44".repeat(16),
            old: "11".repeat(16),
            seq,
            link: Sha256([byte; 32]),
        })
    };
    let new = Some("44".repeat(16));
    // Journal, link and origin of line 50, and whether it went back.
    let cases = [
        (own.clone(), link(1), None, false),
        (own.clone(), None, None, true),
        (own, link(2), None, true),
        (None, None, None, true),
        (new.clone(), link(1), None, true),
        (new.clone(), None, origin(50, 1), false),
        (new.clone(), None, origin(51, 2), false),
        (new.clone(), None, origin(50, 2), true),
        (new, None, origin(49, 1), true),
    ];
    for (number, (journal, link, origin, is_lost)) in cases.into_iter().enumerate() {
        let (mut world, grant, _) = World::watching(settings());
        let (_, told) = held(50, 1);
        world.message(0, told);
        let command = world.gate.poll_command();
        let wanted = Command::FindLine {
            receiver: receiver(0),
            seq: 50,
        };
        assert_eq!(command, Some(wanted));
        let line = OwnLine {
            pruned: 0,
            journal,
            link,
            origin,
        };
        world.gate.handle_own_line(&receiver(0), &line, world.now);
        world.settle();
        assert_eq!(
            world.count(went_back),
            usize::from(is_lost),
            "case {number}"
        );
        let end = is_lost.then_some(Reason::JournalWentBack);
        assert_eq!(world.ended(grant), end, "case {number}");
        assert_eq!(world.gate.losses().own().is_some(), is_lost);
    }
}

/// A head that the gateway did not sign proves nothing.
#[test]
fn a_centre_that_shows_a_false_head_of_the_gateways_journal_gains_nothing() {
    let (mut world, grant, _) = World::watching(settings());
    let (claims, _) = held(50, 1);
    let other = HeadClaims {
        iss: CENTRES[0].to_owned(),
        ..claims.clone()
    };
    let of_centre = |claims| keys().centres[0].sign(HEAD_TYPE, claims);
    let forged = [
        of_centre(&claims),
        of_centre(&other),
        keys().commune.sign(HEAD_TYPE, &other),
        "x".to_owned(),
    ];
    for held in forged {
        let told = Journals {
            held: Some(held),
            ..Journals::default()
        };
        world.message(0, ToGateway::Journals(told));
        assert_eq!(world.gate.poll_command(), None);
    }
    assert_eq!(world.ended(grant), None);
}

#[test]
fn relays_go_on_where_the_settings_say_so_and_the_loss_is_still_told() {
    let goes_on = || Gateway {
        relay_after_loss: true,
        ..settings()
    };
    let (mut world, grant, held) = World::watching(goes_on());
    let head = world.head(0, held - 1, 9, START.seconds());
    world.message(0, journals(head));
    world.settle();
    assert_eq!(world.count(contradicted), 1);
    assert_eq!((world.ended(grant), world.running.len()), (None, 1));
    assert!(world.gate.losses().theirs("corg-13").is_some());
    let claims = world.claims(&[1]);
    let grant = world.ask(0, &claims).unwrap();
    world.confirm(0, grant, held);
    world.advance(Duration::from_secs(6));
    assert_eq!(
        world.ended(grant),
        None,
        "what follows the head found confirms"
    );
    // A reload that takes the setting back ends them.
    world.gate.handle_settings(rules(settings()), world.now);
    world.settle();
    assert_eq!(world.ended(grant), Some(Reason::JournalWentBack));
}

#[test]
fn what_an_administrator_accepts_at_the_start_is_written_down_when_it_is_found() {
    let (mut world, _, at) = World::watching(settings());
    for id in ["corg-13", "berre-l-etang"] {
        let by = "uid 0".to_owned();
        world.gate.handle_journal_accepted(id.to_owned(), by);
    }
    world.settle();
    assert_eq!(world.count(accepted), 0, "nothing to accept yet");
    let head = world.head(0, at - 1, 9, START.seconds());
    world.message(0, journals(head));
    world.message(0, held(50, 1).1);
    world
        .gate
        .handle_own_line(&receiver(0), &OwnLine::default(), world.now);
    world.settle();
    assert_eq!((world.count(contradicted), world.count(went_back)), (1, 1));
    assert_eq!(world.count(accepted), 2);
    let claims = world.claims(&[1]);
    assert!(world.ask(0, &claims).is_ok());
}

#[test]
fn a_journal_that_was_damaged_resumes_nothing_and_its_cuts_hold() {
    let mut world = World::new();
    let grant = world.granted(&[0]);
    world
        .gate
        .handle_cut(
            &Scope::Camera(camera_id(1)),
            Duration::from_secs(900),
            "x",
            world.now,
        )
        .unwrap();
    world.settle();
    let damaged = Entry::JournalDamaged {
        file: "2026-11.jsonl".to_owned(),
        line: 3,
        cause: "seq".to_owned(),
    };
    world.journal.push((2, world.now.wall, damaged));
    let mut world = world.restarted(Duration::from_secs(5), settings());
    assert!(world.running.is_empty());
    assert_eq!(world.ended(grant), Some(Reason::JournalWentBack));
    world.link_up(0);
    let claims = world.claims(&[0]);
    assert_eq!(world.refused(&claims), Reason::JournalWentBack);
    world
        .gate
        .handle_journal_accepted("berre-l-etang".to_owned(), "uid 0".to_owned());
    let claims = world.claims(&[0]);
    assert!(world.ask(0, &claims).is_ok());
    let claims = world.claims(&[1]);
    assert_eq!(world.refused(&claims), Reason::CommuneRefused);
}

#[test]
fn damage_that_a_look_finds_ends_what_lives_and_every_centre_is_told() {
    let mut world = World::new();
    let grant = world.granted(&[0]);
    world.sent.clear();
    let damaged = Entry::JournalDamaged {
        file: "2026-10.jsonl".to_owned(),
        line: 3,
        cause: "its digest".to_owned(),
    };
    let now = world.now;
    world
        .gate
        .handle_damaged(&damaged, Some("head"), Some("first line"), now);
    world.settle();
    assert_eq!(world.ended(grant), Some(Reason::JournalWentBack));
    let told = world.sent.iter().filter_map(|(to, message)| match message {
        ToReceiver::Journals(told) => Some((to.centre.to_string(), told.damaged.clone())),
        _ => None,
    });
    let why = Some("2026-10.jsonl line 3: its digest".to_owned());
    let expected = [
        (centre(0).to_string(), why.clone()),
        (centre(1).to_string(), why),
    ];
    assert_eq!(told.collect::<Vec<_>>(), expected);
    let claims = world.claims(&[0]);
    assert_eq!(world.refused(&claims), Reason::JournalWentBack);
}

#[test]
fn what_a_centre_says_of_its_own_journal_is_written_down_once_and_again_when_it_is_over() {
    let mut world = World::new();
    let told = |damaged: Option<&str>| {
        ToGateway::Journals(Journals {
            damaged: damaged.map(str::to_owned),
            ..Journals::default()
        })
    };
    let details = |world: &World| -> Vec<Option<String>> {
        let entries = world.journal.iter();
        let told = entries.filter_map(|(_, _, entry)| match entry {
            Entry::PeerDamaged { detail, .. } => Some(detail.clone()),
            _ => None,
        });
        told.collect()
    };
    let theirs = |world: &World| world.gate.losses().theirs(centre(0).as_str()).is_some();
    for damaged in [None, Some("line 3"), Some("line 4")] {
        world.message(0, told(damaged));
        world.settle();
    }
    assert_eq!(details(&world), [Some("line 3".to_owned())]);
    assert!(theirs(&world));
    // It stops relaying by itself; here nothing is refused for that.
    world.granted(&[0]);
    let mut world = world.restarted(Duration::from_secs(1), settings());
    assert!(theirs(&world), "also after a restart");
    world.link_up(0);
    world.message(0, told(None));
    world.settle();
    assert_eq!(details(&world).last(), Some(&None));
    assert!(!theirs(&world));
    // Who changes his mind all the time fills no journal.
    for turn in 0..200 {
        world.message(0, told((turn % 2 == 0).then_some("x")));
        world.settle();
    }
    assert!(details(&world).len() < 30, "{}", details(&world).len());
}
