//! Links: heads, viewings, what a new link gets.

use super::*;

#[test]
fn heads_are_kept_and_contradictions_written_down() {
    let mut world = World::new();
    let at = world.now.wall.seconds();
    let heads = |head: String, lines: Vec<String>| {
        ToGateway::Heads(crate::format::control::Heads {
            head,
            lines,
            acknowledged: 3,
        })
    };
    world.heads_sent = 0;
    let first = world.head(0, 10, 1, at);
    world.message(0, heads(first.clone(), Vec::new()));
    world.advance(Duration::from_secs(1));
    assert_eq!(
        world.heads_sent, 1,
        "the first heads of a link are answered"
    );
    let kept = |world: &World| {
        let kept = world
            .journal
            .iter()
            .filter_map(|(_, _, entry)| match entry {
                Entry::PeerHead { head, .. } => Some(head.clone()),
                _ => None,
            });
        kept.collect::<Vec<_>>()
    };
    assert_eq!(kept(&world), std::slice::from_ref(&first));
    let contradictions = |world: &World| {
        let found = world
            .journal
            .iter()
            .filter_map(|(_, _, entry)| match entry {
                Entry::PeerContradiction { head, .. } => Some(head.clone()),
                _ => None,
            });
        found.collect::<Vec<_>>()
    };
    // A message that was overtaken convicts nobody.
    let overtaken = world.head(0, 9, 1, at);
    world.message(0, heads(overtaken, Vec::new()));
    world.settle();
    assert!(contradictions(&world).is_empty());
    let two_links = world.head(0, 10, 2, at);
    world.message(0, heads(two_links, Vec::new()));
    world.settle();
    assert_eq!(contradictions(&world), std::slice::from_ref(&first));
    world.advance(Duration::from_secs(61));
    let shorter = world.head(0, 4, 2, at + 61);
    world.message(0, heads(shorter, Vec::new()));
    world.settle();
    assert_eq!(contradictions(&world).len(), 2);
    assert_eq!(kept(&world), [first], "none of them is held");
    assert_eq!(world.heads_sent, 1, "no ping-pong");
}

#[test]
fn lines_that_do_not_lead_from_the_head_held_are_a_contradiction() {
    use crate::format::chain::End;
    let mut world = World::new();
    let mut end = End::START;
    let mut lines = Vec::new();
    let mut links = Vec::new();
    for number in 0..6 {
        let body = format!("{{\"n\":{number}}}");
        let header = end.next(world.now.wall, body.as_bytes());
        lines.push(header.without_body());
        links.push(header.link());
        end = End {
            seq: header.seq,
            link: header.link(),
        };
    }
    let sign = |seq: u64, link| {
        let claims = HeadClaims {
            iss: CENTRES[0].to_owned(),
            journal: "00".repeat(16),
            seq,
            link,
            iat: START.seconds() + 60,
        };
        keys().centres[0].sign(HEAD_TYPE, &claims)
    };
    let heads = |head, lines: &[String]| {
        ToGateway::Heads(crate::format::control::Heads {
            head,
            lines: lines.to_vec(),
            acknowledged: 0,
        })
    };
    let bad = |world: &World| {
        let found = world
            .journal
            .iter()
            .filter(|(_, _, entry)| matches!(entry, Entry::PeerContradiction { .. }));
        found.count()
    };
    world.message(0, heads(sign(2, links[1]), &[]));
    world.message(0, heads(sign(4, links[3]), &lines[..4]));
    world.settle();
    assert_eq!(bad(&world), 0);
    world.message(0, heads(sign(6, links[4]), &lines[4..]));
    world.settle();
    assert_eq!(bad(&world), 1, "line 6 is another than the head says");
}

#[test]
fn viewings_are_taken_of_ended_grants_of_the_centre() {
    let mut world = World::new();
    let grant = world.granted(&[0]);
    let statement = |number: usize| {
        let claims = ViewingsClaims {
            iss: centre(number),
            aud: CommuneId::new("berre-l-etang").unwrap(),
            grant,
            iat: START.seconds() + 60,
            part: None,
            parts: None,
            total: None,
            viewings: Vec::new(),
            received: Vec::new(),
            counted_since: None,
            journal: None,
        };
        let statement = keys().centres[number].sign(VIEWINGS_TYPE, &claims);
        ToGateway::Viewings { statement }
    };
    let taken = |world: &World| {
        let found = world
            .journal
            .iter()
            .filter(|(_, _, entry)| matches!(entry, Entry::Viewings { .. }));
        found.count()
    };
    world.message(
        0,
        ToGateway::Release {
            grant,
            by: "x".to_owned(),
            reason: None,
        },
    );
    world.message(1, statement(1));
    world.settle();
    assert_eq!(taken(&world), 0);
    for _ in 0..40 {
        world.message(0, statement(0));
        world.settle();
    }
    assert_eq!(taken(&world), 32, "what centres of before 1.1 send");
}

#[test]
fn what_the_centre_received_is_told_once_it_is_durable() {
    let mut world = World::new();
    let grant = world.granted(&[0]);
    world.message(
        0,
        ToGateway::Release {
            grant,
            by: "x".to_owned(),
            reason: None,
        },
    );
    world.settle();
    let received = vec![Received {
        camera: CameraId::new("quai-nord").unwrap(),
        bytes: 4_711,
    }];
    let claims = ViewingsClaims {
        iss: centre(0),
        aud: CommuneId::new("berre-l-etang").unwrap(),
        grant,
        iat: START.seconds() + 60,
        part: Some(0),
        parts: Some(1),
        total: Some(0),
        viewings: Vec::new(),
        received: received.clone(),
        counted_since: Some(START.seconds()),
        journal: None,
    };
    let statement = keys().centres[0].sign(VIEWINGS_TYPE, &claims);
    world.message(0, ToGateway::Viewings { statement });
    let told = |world: &mut World| {
        let told = std::mem::take(&mut world.received);
        told.into_iter()
            .map(|(of, figures)| (of == grant, figures))
            .collect::<Vec<_>>()
    };
    assert_eq!(told(&mut world), [], "the journal has not answered");
    world.settle();
    assert_eq!(told(&mut world), [(true, received)]);
}

#[test]
fn a_list_is_taken_by_a_gateway_that_restarts_long_after_the_grants_end() {
    use crate::journal::recover::recover;
    use crate::journal::sim::{Sim, lines};
    use crate::journal::store::Month;

    let mut world = World::new();
    let grant = world.granted(&[0]);
    let part = |part: u32, at: Wall| {
        let claims = ViewingsClaims {
            iss: centre(0),
            aud: CommuneId::new("berre-l-etang").unwrap(),
            grant,
            iat: at.seconds(),
            part: Some(part),
            parts: Some(2),
            total: Some(2),
            viewings: Vec::new(),
            received: Vec::new(),
            counted_since: None,
            journal: None,
        };
        let statement = keys().centres[0].sign(VIEWINGS_TYPE, &claims);
        ToGateway::Viewings { statement }
    };
    let release = ToGateway::Release {
        grant,
        by: "x".to_owned(),
        reason: None,
    };
    world.message(0, release);
    world.settle();
    let at = world.now.wall;
    world.message(0, part(0, at));
    world.settle();
    world.advance_clocks(Duration::from_secs(29 * 86_400));
    let newest = world.now.wall;
    world.journal.push((0, newest, Entry::Stopped {}));
    let entries = std::mem::take(&mut world.journal);
    let entries: Vec<(Wall, Entry)> = entries
        .into_iter()
        .map(|(_, at, entry)| (at, entry))
        .collect();
    // Files go by months.
    let mut disk = Sim::default();
    let mut months: BTreeMap<Month, Vec<u8>> = BTreeMap::new();
    for ((at, _), line) in entries.iter().zip(lines(&entries)) {
        months.entry(Month::of(*at)).or_default().extend(line);
    }
    for (month, content) in months {
        disk.replace(month, &content);
    }
    world.journal = recover(&mut disk).unwrap().entries;
    let mut world = world.restarted(Duration::from_secs(5), settings());
    assert_eq!(world.ended(grant), Some(Reason::GrantReleased));
    world.link_up(0);
    world.sent.clear();
    let (before, at) = (world.journal.len(), world.now.wall);
    for number in 0..2 {
        world.message(0, part(number, at));
        world.settle();
    }
    let confirmed = world.sent.iter().filter(|(_, message)| {
        matches!(message, ToReceiver::ViewingsRecorded { grant: of, .. } if *of == grant)
    });
    assert_eq!(confirmed.count(), 2);
    let taken = world.journal[before..].iter();
    let taken = taken.filter(|(_, _, entry)| matches!(entry, Entry::Viewings { .. }));
    assert_eq!(taken.count(), 1, "the first part was there already");
}

#[test]
fn every_part_of_a_list_is_taken_once_and_confirmed_once_it_is_durable() {
    let mut world = World::new();
    let grant = world.granted(&[0]);
    let part = |part: u32, parts: u32| {
        let claims = ViewingsClaims {
            iss: centre(0),
            aud: CommuneId::new("berre-l-etang").unwrap(),
            grant,
            iat: START.seconds() + 60,
            part: Some(part),
            parts: Some(parts),
            total: Some(9_000),
            viewings: Vec::new(),
            received: Vec::new(),
            counted_since: None,
            journal: None,
        };
        let statement = keys().centres[0].sign(VIEWINGS_TYPE, &claims);
        ToGateway::Viewings { statement }
    };
    let confirmed = |world: &mut World| -> Vec<(u32, bool)> {
        let sent = std::mem::take(&mut world.sent);
        let messages = sent.into_iter().map(|(_, message)| message);
        let recorded = messages.filter_map(|message| match message {
            ToReceiver::ViewingsRecorded {
                grant: of,
                part,
                head,
            } if of == grant => Some((part, head.is_some())),
            _ => None,
        });
        recorded.collect()
    };
    let taken = |world: &World| {
        let entries = world.journal.iter();
        let lists = entries.filter(|(_, _, entry)| matches!(entry, Entry::Viewings { .. }));
        lists.count()
    };
    // Of a grant that lives here yet nothing is taken: the centre sends it again.
    world.message(0, part(0, 300));
    world.settle();
    assert_eq!(confirmed(&mut world), []);
    world.message(
        0,
        ToGateway::Release {
            grant,
            by: "x".to_owned(),
            reason: None,
        },
    );
    world.settle();
    for number in 0..300 {
        world.advance_clocks(Duration::from_millis(50));
        world.message(0, part(number, 300));
        world.settle();
    }
    assert_eq!(taken(&world), 300, "none is dropped");
    assert_eq!(confirmed(&mut world).len(), 300);
    // Again after a restart: confirmed, and not written twice.
    let mut world = world.restarted(Duration::from_secs(5), settings());
    world.link_up(0);
    world.settle();
    world.message(0, part(7, 300));
    world.message(0, part(300, 300));
    world.settle();
    assert_eq!(confirmed(&mut world), [(7, false)]);
    assert_eq!(taken(&world), 300);
}

#[test]
fn a_shutdown_stops_relays_and_ends_no_grant() {
    let mut world = World::new();
    let grant = world.granted(&[0]);
    world.gate.handle_shutdown(world.now);
    world.settle();
    assert!(world.running.is_empty());
    assert_eq!(world.ended(grant), None);
    let claims = world.claims(&[1]);
    assert_eq!(world.refused(&claims), Reason::ShuttingDown);
    let world = world.restarted(Duration::from_secs(5), settings());
    assert_eq!(world.cameras_running(), BTreeSet::from([camera_id(0)]));
}

#[test]
fn a_new_link_gets_hello_cameras_and_states() {
    let mut world = World::new();
    world.granted(&[1]);
    let relay = *world.running.keys().next().unwrap();
    world
        .gate
        .handle_relay_state(&receiver(0), relay, RelayState::Live, None);
    world.link_down(0);
    world.sent.clear();
    world.link_up(0);
    let kinds: Vec<&str> = world
        .sent
        .iter()
        .map(|(_, message)| match message {
            ToReceiver::Hello(hello) => {
                assert_eq!(hello.agreements.len(), 1);
                "hello"
            }
            ToReceiver::Journals(told) => {
                assert!(told.head.is_some() && told.held.is_some());
                "journals"
            }
            ToReceiver::Cameras {
                cameras,
                page: 0,
                pages: 1,
            } => {
                assert_eq!(cameras.len(), 10);
                assert_eq!(cameras[9].unusable, Some(Reason::MaskNotVerified.into()));
                assert!(cameras[1].sub && !cameras[0].sub);
                "cameras"
            }
            ToReceiver::GrantAgreement { .. } => "grant_agreement",
            ToReceiver::Resume { .. } => "resume",
            ToReceiver::Relay {
                state: RelayState::Live,
                ..
            } => "relay",
            other => panic!("{other:?}"),
        })
        .collect();
    let expected = [
        "hello",
        "journals",
        "cameras",
        "grant_agreement",
        "resume",
        "relay",
    ];
    assert_eq!(kinds, expected);
}

#[test]
fn a_smaller_stream_is_taken_where_there_is_one() {
    let mut world = World::new();
    let mut claims = world.claims(&[0, 1]);
    claims.profile = ProfileWish::Sub;
    world.ask(0, &claims).unwrap();
    let profiles: Vec<Profile> = world
        .gate
        .rows(world.now)
        .iter()
        .map(|row| row.profile)
        .collect();
    assert_eq!(profiles, [Profile::Main, Profile::Sub]);
}

#[test]
fn centres_hear_which_cameras_failed_their_probe_and_not_too_often() {
    let mut world = World::new();
    world.sent.clear();
    let lists = |world: &mut World| {
        let sent = std::mem::take(&mut world.sent);
        let lists = sent.into_iter().filter_map(|(_, message)| match message {
            ToReceiver::Cameras { cameras, .. } => Some(cameras),
            _ => None,
        });
        lists.collect::<Vec<_>>()
    };
    let tell = |world: &mut World, failed: &[(usize, Reason)]| {
        let failed = failed.iter();
        let failed = failed.map(|(number, reason)| (camera_id(*number), *reason));
        world.gate.handle_probed(&failed.collect(), world.now);
        world.settle();
        lists(world)
    };
    let linked = world.gate.links.len();
    assert_eq!(tell(&mut world, &[]).len(), 0, "all well, as before");
    let told = tell(&mut world, &[(1, Reason::CameraUnreachable)]);
    assert_eq!(told.len(), linked);
    for list in told {
        let failed = list.iter().filter_map(|info| info.failed.as_ref());
        assert_eq!(
            failed.collect::<Vec<_>>(),
            [&Reason::CameraUnreachable.into()]
        );
        assert!(list[1].failed.is_some() && list[1].unusable.is_none());
    }
    // A failed probe refuses nobody.
    world.granted(&[1]);
    lists(&mut world);
    let both = [
        (1, Reason::CameraUnreachable),
        (2, Reason::CameraUnauthorized),
    ];
    world.advance(Duration::from_secs(59));
    assert_eq!(tell(&mut world, &both).len(), 0);
    world.advance(Duration::from_secs(1));
    assert_eq!(tell(&mut world, &both).len(), linked);
    world.advance(Duration::from_secs(3_600));
    assert_eq!(tell(&mut world, &both).len(), 0, "nothing new");
}

#[test]
fn the_test_camera_is_announced_where_drills_are_agreed() {
    let announced = |grounds: &[&str]| {
        let mut world = World::new();
        let mut settings = settings();
        for agreement in &mut settings.agreements {
            agreement.grounds = grounds.iter().map(|one| (*one).to_owned()).collect();
        }
        world.sent.clear();
        world.gate.handle_settings(rules(settings), world.now);
        world.settle();
        let mut sent = world.sent.iter();
        sent.any(|(_, message)| match message {
            ToReceiver::Cameras { cameras, .. } => {
                cameras.iter().any(|info| info.id.as_str() == Camera::TEST)
            }
            _ => false,
        })
    };
    assert!(announced(&["assault", "drill"]));
    assert!(!announced(&["assault"]));
}
