//! Gateways that want more than their due.

use super::*;
use crate::format::control::{CameraInfo, Heads};

fn resume(world: &World, request: &str, grant: GrantId, claims: &RequestClaims) -> ToReceiver {
    let proof = world.proof_claims(grant, request, claims);
    ToReceiver::Resume {
        request: request.to_owned(),
        proof: world.gateway.sign(GRANT_TYPE, &proof),
        relays: relays(claims, 1),
    }
}

#[test]
fn a_request_becomes_one_grant_for_ever_also_after_a_restart() {
    let mut world = World::linked();
    let claims = world.claims(&["port"]);
    let request = world.sign(&claims);
    // Never forwarded, refused, granted: each under many ids.
    let refused_claims = world.claims(&["port"]);
    let refused = world.sign(&refused_claims);
    let number = forwarded(&world.ask(&refused));
    world.tell(
        1,
        ToReceiver::Refused {
            id: number,
            refusal: Reason::CommuneRefused.into(),
            cameras: Vec::new(),
            head: None,
        },
    );
    let granted_claims = world.claims(&["port"]);
    let (granted, ..) = world.granted_for(id(1), &granted_claims);
    for session in 1..4 {
        let all = [
            (&request, &claims),
            (&refused, &refused_claims),
            (&granted, &granted_claims),
        ];
        for (request, claims) in all {
            for other in 2..5 {
                let message = resume(&world, request, id(other), claims);
                let commands = world.tell(session, message);
                assert_eq!(allowed(&commands), []);
                assert!(matches!(sent(&commands)[..], [ToGateway::Release { .. }]));
            }
        }
        assert_eq!(world.grants_written(), [id(1)]);
        world.restart();
        world.link(session + 1);
    }
}

#[test]
fn a_lost_answer_is_taken_after_a_restart_and_by_its_own_commune_alone() {
    let mut world = World::linked();
    let claims = world.claims(&["port"]);
    let request = world.sign(&claims);
    forwarded(&world.ask(&request));
    world.restart();
    world.link(2);
    let message = resume(&world, &request, id(1), &claims);
    assert_eq!(allowed(&world.tell(2, message)).len(), 1);
    assert_eq!(world.grants_written(), [id(1)]);
    // Too late for another.
    let claims = world.claims(&["port"]);
    let request = world.sign(&claims);
    forwarded(&world.ask(&request));
    world.after(Duration::from_secs(25 * 3_600));
    let message = resume(&world, &request, id(2), &claims);
    assert_eq!(allowed(&world.tell(2, message)), []);
}

#[test]
fn an_operator_is_answered_whichever_way_his_grant_comes() {
    let mut world = World::linked();
    let claims = world.claims(&["port"]);
    let request = world.sign(&claims);
    forwarded(&world.ask(&request));
    let message = resume(&world, &request, id(1), &claims);
    assert_eq!(answer(&world.tell(1, message)), Some(Ok(id(1))));
    assert!(world.desk.waiting.is_empty());
}

#[test]
fn a_renewal_is_of_the_same_commune_unit_and_incident_whenever_it_comes() {
    let mut world = World::linked();
    world.granted(id(1), &["port"]);
    let mut other = world.claims(&["port"]);
    other.renews = Some(id(1));
    other.incident = Incident::new("2026-43").unwrap();
    let request = world.sign(&other);
    assert_eq!(refused(&world.ask(&request)), Reason::GrantUnknown);
    // Another unit's operator.
    let now = world.now().wall;
    let identity = world.trial.simple_operator("4712", "CORG 84", now).unwrap();
    let stranger = Signer::from_pem(identity.key.expose(), &identity.certificate).unwrap();
    let mut claims = world.claims(&["port"]);
    claims.renews = Some(id(1));
    let request = stranger.sign(REQUEST_TYPE, &claims);
    assert_eq!(refused(&world.ask(&request)), Reason::GrantUnknown);
    let message = resume(&world, &request, id(1), &claims);
    assert_eq!(allowed(&world.tell(1, message)), []);
    // The grant is gone by the time that the answer comes.
    let mut claims = world.claims(&["port"]);
    claims.renews = Some(id(1));
    let request = world.sign(&claims);
    let number = forwarded(&world.ask(&request));
    world.after(Duration::from_secs(600));
    let proof = world.proof_claims(id(1), &request, &claims);
    let proof = world.gateway.sign(GRANT_TYPE, &proof);
    let message = ToReceiver::Granted {
        id: number,
        proof,
        relays: relays(&claims, 1),
    };
    let commands = world.tell(1, message);
    assert_eq!(allowed(&commands), []);
}

/// A journal of an older version, which did not check this: a gateway's grant is there under the id of another.
#[test]
fn a_foreign_grant_in_the_journal_takes_no_place_after_a_restart() {
    let mut world = World::linked();
    world.granted(id(1), &["port"]);
    let stolen = world.entries.iter().find_map(|(_, _, entry)| match entry {
        Entry::Grant(entry) => Some(entry.clone()),
        _ => None,
    });
    let mut stolen = stolen.unwrap();
    stolen.commune = CommuneId::new("rognac").unwrap();
    let wall = world.now().wall;
    world.entries.push((99, wall, Entry::Grant(stolen)));
    world.restart();
    assert_eq!(world.desk.grant(id(1)).unwrap().commune, commune());
}

#[test]
fn two_requests_get_two_grants_while_the_first_is_on_its_way_to_the_journal() {
    let mut world = World::linked();
    let (one, two) = (world.claims(&["port"]), world.claims(&["quai"]));
    let asked = [&one, &two].map(|claims| {
        let request = world.sign(claims);
        let number = forwarded(&world.ask(&request));
        (number, request)
    });
    let now = world.now();
    for ((number, request), claims) in asked.iter().zip([&one, &two]) {
        let proof = world.proof_claims(id(1), request, claims);
        let message = ToReceiver::Granted {
            id: *number,
            proof: world.gateway.sign(GRANT_TYPE, &proof),
            relays: relays(claims, 1),
        };
        world.desk.handle_message(&commune(), 1, message, now);
    }
    let commands = world.drain();
    assert_eq!(world.grants_written(), [id(1)]);
    assert_eq!(allowed(&commands), [(id(1), "port".to_owned(), 1)]);
}

#[test]
fn resumes_and_lines_beyond_the_pace_are_not_looked_at() {
    let mut world = World::linked();
    let (request, proof, _) = world.granted(id(1), &["port"]);
    let message = || ToReceiver::Resume {
        request: request.clone(),
        proof: proof.clone(),
        relays: BTreeMap::from([(camera("port"), RelayId(1))]),
    };
    let looked = (0..1_500).filter(|_| !world.tell(1, message()).is_empty());
    assert_eq!(looked.count(), 1_200);
    // The others wait, and are looked at without being told again.
    let confirmed = |commands: &[Command]| {
        let sent = sent(commands);
        let confirmed = |message: &&&ToGateway| matches!(message, ToGateway::Confirm { .. });
        sent.iter().filter(confirmed).count()
    };
    let due = world.desk.poll_timeout(world.now()).unwrap();
    assert!(due <= world.now().boot.plus(Duration::from_millis(100)));
    assert_eq!(confirmed(&world.after(Duration::from_secs(1))), 10);
    let later = (0..30).map(|_| confirmed(&world.after(Duration::from_secs(1))));
    assert_eq!(later.sum::<usize>(), 290);
    assert!(!world.tell(1, message()).is_empty());
    // However often it links and says that it has nothing.
    let heads = |world: &World| {
        ToReceiver::Heads(Heads {
            head: world.gateway.sign(HEAD_TYPE, &head(COMMUNE, 1)),
            lines: Vec::new(),
            acknowledged: 0,
        })
    };
    let mut with_lines = 0;
    for session in 2..102 {
        world.link(session);
        let message = heads(&world);
        world.tell(session, message);
        let commands = world.after(Duration::from_millis(60));
        with_lines += commands
            .iter()
            .filter(|command| matches!(command, Command::SendHeads { after: Some(_), .. }))
            .count();
    }
    assert!((1..=16).contains(&with_lines), "{with_lines}");
}

#[test]
fn what_ended_while_it_waited_does_not_come_to_life() {
    let mut world = World::linked();
    let claims = world.claims(&["port"]);
    let request = world.sign(&claims);
    forwarded(&world.ask(&request));
    let spent = |world: &mut World| {
        let peer = world.desk.communes.get_mut(&commune()).unwrap();
        while peer.resumes.take(1, Duration::MAX / 2) {}
    };
    spent(&mut world);
    let message = resume(&world, &request, id(1), &claims);
    assert_eq!(allowed(&world.tell(1, message)), []);
    let ended = ToReceiver::Ended {
        grant: id(1),
        refusal: Reason::GrantCut.into(),
        head: None,
    };
    world.tell(1, ended);
    let peer = world.desk.communes.get_mut(&commune()).unwrap();
    peer.resumes = crate::allowance::Allowance::new(10, 10);
    world.after(Duration::from_secs(1));
    assert!(
        world
            .desk
            .grant(id(1))
            .is_none_or(|grant| grant.end.is_some())
    );
    assert!(world.desk.grants.is_empty());
}

#[test]
fn what_waits_of_a_commune_is_bounded_and_goes_with_its_link() {
    let mut world = World::linked();
    let (request, proof, _) = world.granted(id(1), &["port"]);
    let message = || ToReceiver::Resume {
        request: request.clone(),
        proof: proof.clone(),
        relays: BTreeMap::from([(camera("port"), RelayId(1))]),
    };
    for _ in 0..20_000 {
        world.tell(1, message());
        let peer = &world.desk.communes[&commune()];
        assert!(peer.later.bytes() <= 2 * 1024 * 1024);
    }
    world.link(2);
    assert_eq!(world.desk.communes[&commune()].later.bytes(), 0);
    let now = world.now();
    assert_eq!(world.desk.later_due(now), None);
}

#[test]
fn agreements_are_those_of_the_operators_own_authority() {
    let mut world = World::linked();
    let own = world.who("4711", "CORG 13");
    let mut hello = hello();
    hello.agreements[0].authorities = own.path.clone();
    world.tell(1, ToReceiver::Hello(hello));
    let namesake = Designation {
        path: vec![Sha256::of(b"another authority's key")],
        ..own.clone()
    };
    let (_, view) = world.desk.communes().next().unwrap();
    let agreement = |who: &Designation| view.agreement_for(who, "assault").is_some();
    assert!(agreement(&own) && !agreement(&namesake));
    // The same unit's hours say nothing of an agreement with another authority.
    let mut over = super::hello();
    over.agreements[0].authorities = namesake.path.clone();
    over.agreements[0].until = "2025-02-14".to_owned();
    world.tell(1, ToReceiver::Hello(over));
    let (_, view) = world.desk.communes().next().unwrap();
    let now = world.now().wall;
    assert!(view.closed_for(&own, now).is_none());
    assert!(view.closed_for(&namesake, now).is_some());
    // Whom no authority designated, the gate refuses.
    let claims = world.claims(&["port"]);
    let request = world.sign(&claims);
    forwarded(&world.ask(&request));
}

#[test]
fn a_commune_that_changes_all_the_time_wakes_those_who_listen_seldom() {
    let mut world = World::linked();
    world.after(Duration::from_secs(2));
    let notices = |commands: &[Command]| {
        let is_notice = |command: &&Command| matches!(command, Command::Notify(Notice::Commune(_)));
        commands.iter().filter(is_notice).count()
    };
    let cameras = |name: String| ToReceiver::Cameras {
        page: 0,
        pages: 1,
        cameras: vec![CameraInfo {
            id: camera("port"),
            name,
            groups: Vec::new(),
            position: None,
            bearing: None,
            field_of_view: None,
            neighbours: Vec::new(),
            sub: false,
            vms: false,
            unusable: None,
            failed: None,
        }],
    };
    let mut told = 0;
    for n in 0..500 {
        told += notices(&world.tell(1, cameras(n.to_string())));
    }
    assert_eq!(told, 20);
    // The newest is shown all the same, and the same again is no change.
    assert_eq!(notices(&world.after(Duration::from_secs(1))), 1);
    let (_, view) = world.desk.communes().next().unwrap();
    assert_eq!(view.cameras.as_ref().unwrap()[0].name, "499");
    assert_eq!(notices(&world.tell(1, cameras("499".to_owned()))), 0);
    assert_eq!(notices(&world.tell(1, ToReceiver::Hello(hello()))), 0);
}

#[test]
fn a_camera_list_that_is_too_large_is_not_taken() {
    let mut world = World::linked();
    let page = |page: u32| {
        let cameras = (0..200).map(|n| CameraInfo {
            id: camera(&format!("c-{page}-{n}")),
            name: "n".repeat(128),
            groups: vec!["g".repeat(128); 64],
            position: None,
            bearing: None,
            field_of_view: None,
            neighbours: Vec::new(),
            sub: false,
            vms: false,
            unusable: None,
            failed: None,
        });
        ToReceiver::Cameras {
            page,
            pages: 50,
            cameras: cameras.collect(),
        }
    };
    for n in 0..50 {
        world.tell(1, page(n));
    }
    let (_, view) = world.desk.communes().next().unwrap();
    assert_eq!(view.cameras, None);
}

#[test]
fn an_end_touches_only_its_own_communes_recordings() {
    let mut world = World::linked();
    let (request, proof, _) = world.granted(id(1), &["port"]);
    // It goes on, but the journal fails for a moment.
    world.restart();
    world.link(2);
    world.broken = true;
    let message = ToReceiver::Resume {
        request,
        proof,
        relays: BTreeMap::from([(camera("port"), RelayId(4))]),
    };
    world.tell(2, message);
    assert_eq!(world.desk.unrecorded.len(), 1);
    let now = world.now();
    let other = CommuneId::new("rognac").unwrap();
    world
        .desk
        .handle_ended(&other, id(1), Reason::GrantCut.into(), now);
    assert_eq!(world.desk.unrecorded.len(), 1);
}

#[test]
fn damage_that_a_look_finds_ends_what_lives_and_the_commune_is_told() {
    let mut world = World::linked();
    world.granted(id(1), &["port"]);
    let damaged = Entry::JournalDamaged {
        file: "2026-10.jsonl".to_owned(),
        line: 3,
        cause: "its digest".to_owned(),
    };
    let now = world.now();
    world.desk.handle_damaged(&damaged, Some("head"), None, now);
    let commands = world.drain();
    assert_eq!(ended(&commands, id(1)), Some(Reason::JournalWentBack));
    let told = sent(&commands)
        .into_iter()
        .find_map(|message| match message {
            ToGateway::Journals(told) => told.damaged.clone(),
            _ => None,
        });
    assert_eq!(told.as_deref(), Some("2026-10.jsonl line 3: its digest"));
}
