//! Requests: what is granted, what is refused and why, renewals.

use super::*;

#[test]
fn a_request_is_granted_only_once_it_is_durable() {
    let mut world = World::new();
    let claims = world.claims(&[0, 1]);
    world.sent.clear();
    let text = world.send_request(0, &claims);
    assert!(world.running.is_empty() && world.sent.is_empty());
    // One entry, and so one commit, is all that it waits for.
    assert_eq!(world.waiting.len(), 1);
    world.write_one();
    let grant = world.answer().unwrap();
    assert_eq!(world.running.len(), 2);
    let (_, told) = &world.sent[0];
    let agreement = "convention 0".to_owned();
    // Before the grant, so that the centre knows what it may be used for.
    assert_eq!(told, &ToReceiver::GrantAgreement { grant, agreement });
    let (_, message) = &world.sent[1];
    let ToReceiver::Granted {
        id: 5,
        proof,
        relays,
    } = message
    else {
        panic!("{message:?}");
    };
    assert_eq!(relays.len(), 2);
    let proof = crate::format::jws::open::<GrantClaims>(proof, GRANT_TYPE).unwrap();
    assert_eq!(proof.claims.request, Sha256::of(text.as_bytes()));
    assert_eq!(proof.claims.head, format!("head-{}", world.seq));
    assert_eq!(proof.claims.expires - proof.claims.start, 600);
    assert_eq!(world.counted, [None]);
    let Some((_, _, Entry::Grant(entry))) = world.journal.last() else {
        panic!("no entry");
    };
    assert_eq!(
        (entry.grant, entry.request.as_str()),
        (grant, text.as_str())
    );
}

#[test]
fn without_a_journal_nothing_is_granted_and_ends_are_owed() {
    let mut world = World::new();
    let live = world.granted(&[0]);
    world.journal_works = false;
    let claims = world.claims(&[1]);
    assert_eq!(world.refused(&claims), Reason::JournalUnavailable);
    assert_eq!(world.running.len(), 1);
    let release = ToGateway::Release {
        grant: live,
        by: "13-1".to_owned(),
        reason: None,
    };
    world.message(0, release);
    world.settle();
    assert!(world.running.is_empty(), "an end needs no journal");
    assert_eq!(world.ended(live), None);
    let claims = world.claims(&[1]);
    assert_eq!(world.refused(&claims), Reason::JournalUnavailable);
    world.journal_works = true;
    world.advance(Duration::from_secs(1));
    assert_eq!(world.ended(live), Some(Reason::GrantReleased));
    let claims = world.claims(&[1]);
    assert!(world.ask(0, &claims).is_ok());
}

#[test]
fn each_refusal_has_its_reason() {
    let mut world = World::new();
    let base = world.claims(&[0]);
    let mut number = 10_000;
    let mut with = |change: &dyn Fn(&mut RequestClaims)| {
        number += 1;
        let mut claims = base.clone();
        claims.jti = RequestId(Uuid::from_u128(
            0x0190_0000_0000_7000_8000_0000_0000_0000 + number,
        ));
        change(&mut claims);
        claims
    };
    let wrong_commune = with(&|c| c.aud = CommuneId::new("rognac").unwrap());
    let late = with(&|c| c.iat -= 61);
    let early = with(&|c| c.iat += 61);
    let grounds = with(&|c| c.grounds = "theft".to_owned());
    let unknown = with(&|c| c.cameras = vec![camera_id(77)]);
    let masked = with(&|c| c.cameras = vec![camera_id(9)]);
    let long = with(&|c| c.duration = 3_601);
    let renews = with(&|c| c.renews = Some(GrantId(Uuid::from_u128(1))));
    for (claims, reason) in [
        (wrong_commune, Reason::WrongAudience),
        (late, Reason::StaleRequest),
        (early, Reason::StaleRequest),
        (grounds, Reason::GroundsNotAllowed),
        (unknown, Reason::CameraUnknown),
        (masked, Reason::MaskNotVerified),
        (long, Reason::DurationTooLong),
        (renews, Reason::GrantUnknown),
    ] {
        assert_eq!(world.refused(&claims), reason);
        let Some((_, _, Entry::Refused { refusal, jti, .. })) = world.journal.last() else {
            panic!("{reason} is not in the journal");
        };
        assert_eq!((refusal.reason, *jti), (reason, claims.jti));
    }
    assert!(world.running.is_empty());
}

#[test]
fn the_centre_of_a_request_is_the_name_of_its_link() {
    let mut world = World::new();
    let claims = world.claims(&[0]);
    let text = keys().operators[0].sign(REQUEST_TYPE, &claims);
    let refusal = world.ask_text(1, &text).unwrap_err();
    assert_eq!(refusal.reason, Reason::WrongAudience);
    // And it is used up by that.
    assert_eq!(
        world.ask_text(0, &text).unwrap_err().reason,
        Reason::ReplayedRequest
    );
}

#[test]
fn a_stale_request_names_the_clock_and_the_seconds() {
    let mut world = World::new();
    let mut claims = world.claims(&[0]);
    claims.iat -= 75;
    let refusal = world.ask(0, &claims).unwrap_err();
    assert!(
        refusal
            .detail
            .contains("75 s behind the clock of berre-l-etang"),
        "{}",
        refusal.detail
    );
}

#[test]
fn a_request_is_used_once_also_when_refused_and_after_a_restart() {
    let mut world = World::new();
    let claims = world.claims(&[0]);
    let text = world.send_request(0, &claims);
    world.settle();
    let mut refused = world.claims(&[77]);
    refused.iat += 30;
    let refused_text = keys().operators[0].sign(REQUEST_TYPE, &refused);
    assert_eq!(
        world.ask_text(0, &refused_text).unwrap_err().reason,
        Reason::CameraUnknown
    );
    for text in [&text, &refused_text] {
        assert_eq!(
            world.ask_text(0, text).unwrap_err().reason,
            Reason::ReplayedRequest
        );
    }
    let mut world = world.restarted(Duration::from_secs(20), settings());
    world.link_up(0);
    for text in [&text, &refused_text] {
        assert_eq!(
            world.ask_text(0, text).unwrap_err().reason,
            Reason::ReplayedRequest
        );
    }
}

/// Forward without a line in the journal, which would tell that the clock went back: only
/// replays that are counted come meanwhile.
#[test]
fn a_clock_set_forward_and_back_brings_no_used_request_back() {
    let mut world = World::new();
    let (first, second) = (world.claims(&[0]), world.claims(&[1]));
    let text = world.send_request(0, &first);
    world.settle();
    let other = world.send_request(0, &second);
    world.settle();
    for text in [&text, &other] {
        world.ask_text(0, text).unwrap_err();
    }
    let (wall, lines) = (world.now.wall, world.journal.len());
    world.now.wall = wall.plus(Duration::from_secs(3_600));
    for _ in 0..2 {
        for text in [&text, &other] {
            world.ask_text(0, text).unwrap_err();
        }
    }
    assert_eq!(world.journal.len(), lines);
    world.now.wall = wall;
    for text in [&text, &other] {
        let refusal = world.ask_text(0, text).unwrap_err();
        let told = [Reason::ReplayedRequest, Reason::ClockWrong];
        assert!(told.contains(&refusal.reason), "{refusal}");
    }
}

#[test]
fn a_replayed_request_does_not_fill_the_journal() {
    let mut world = World::new();
    let claims = world.claims(&[0]);
    let text = world.send_request(0, &claims);
    world.settle();
    let lines = world.journal.len();
    for _ in 0..50 {
        world.ask_text(0, &text).unwrap_err();
    }
    assert_eq!(world.journal.len(), lines + 1, "the first replay alone");
    world.advance(Duration::from_secs(60));
    let counted = world.journal.iter().find_map(|(_, _, entry)| match entry {
        Entry::Unverified { count, .. } => Some(*count),
        _ => None,
    });
    assert_eq!(counted, Some(49));
}

#[test]
fn what_does_not_verify_is_counted_and_never_stored() {
    let mut world = World::new();
    let claims = world.claims(&[0]);
    // Signed by a machine, not by a designated operator.
    let forged = keys().centres[0].sign(REQUEST_TYPE, &claims);
    let lines = world.journal.len();
    let mut reasons = BTreeMap::new();
    for _ in 0..15 {
        let refusal = world.ask_text(0, &forged).unwrap_err();
        *reasons.entry(refusal.reason).or_insert(0) += 1;
    }
    assert_eq!(reasons[&Reason::OperatorNotDesignated], 10);
    assert_eq!(reasons[&Reason::TooManyAttempts], 5);
    assert_eq!(world.journal.len(), lines);
    // Nor is the id used up by somebody who is nobody.
    world.advance(Duration::from_secs(1));
    assert!(world.ask(0, &claims).is_ok());
    world.advance(Duration::from_secs(60));
    let counts: Vec<u64> = world
        .journal
        .iter()
        .filter_map(|(_, _, entry)| match entry {
            Entry::Unverified { count, .. } => Some(*count),
            _ => None,
        })
        .collect();
    assert_eq!(counts, [15]);
}

#[test]
fn a_camera_goes_once_to_a_centre_however_many_grants() {
    let mut world = World::new();
    let first = world.granted(&[0]);
    let mut claims = world.claims(&[0, 1]);
    claims.incident = Incident::new("other").unwrap();
    let second = world.ask(1, &claims).unwrap();
    world.confirm(0, second, 200);
    assert_eq!(world.running.len(), 2);
    // The other centre has its own copy.
    let mut claims = world.claims(&[0]);
    claims.centre = centre(1);
    let third = world.ask(2, &claims).unwrap();
    world.confirm(1, third, 1);
    assert_eq!(world.running.len(), 3);
    let release = |grant| ToGateway::Release {
        grant,
        by: "x".to_owned(),
        reason: None,
    };
    // Another centre can't end it.
    world.message(1, release(first));
    world.settle();
    assert_eq!(world.ended(first), None);
    world.message(0, release(first));
    world.settle();
    assert_eq!(world.running.len(), 3, "the second still has it");
    world.message(0, release(second));
    world.settle();
    assert_eq!(world.running.len(), 1);
    assert_eq!(world.stopped.len(), 2);
}

#[test]
fn the_number_of_relays_is_bounded_requests_in_flight_included() {
    let mut world = World::new();
    let first = world.claims(&[0, 1]);
    let second = world.claims(&[2, 3]);
    world.sent.clear();
    world.send_request(0, &first);
    world.send_request(0, &second);
    world.settle();
    assert_eq!(world.running.len(), 3, "two and one more");
    let refused = world.sent.iter().any(|(_, message)| {
        matches!(message, ToReceiver::Granted { proof, .. } if {
            let proof = crate::format::jws::open::<GrantClaims>(proof, GRANT_TYPE).unwrap();
            proof.claims.refused.iter().any(|r| r.refusal.reason == Reason::TooManyRelays)
        })
    });
    assert!(refused);
}

#[test]
fn a_grant_ends_at_its_time_by_either_clock() {
    for wall_only in [false, true] {
        let mut world = World::new();
        let grant = world.granted(&[0]);
        world.advance(Duration::from_secs(598));
        assert_eq!(world.running.len(), 1);
        if wall_only {
            world.now.wall = world.now.wall.plus(Duration::from_secs(3));
        } else {
            // Set back: the boot clock decides.
            world.now.wall = Wall(world.now.wall.0 - 4_000_000);
            world.now.boot = world.now.boot.plus(Duration::from_secs(3));
        }
        world.sent.clear();
        world.gate.handle_timeout(world.now);
        world.settle();
        assert!(world.running.is_empty());
        assert_eq!(world.told_end(grant), Some(Reason::GrantExpired));
        assert_eq!(world.ended(grant), Some(Reason::GrantExpired));
    }
}

#[test]
fn the_next_timeout_is_never_after_an_end_nor_stuck_in_the_past() {
    let mut world = World::new();
    world.granted(&[0]);
    for _ in 0..2_000 {
        let due = world.gate.poll_timeout(world.now);
        let Some(due) = due else { break };
        let step = due.since(world.now.boot).max(Duration::from_millis(1));
        world.advance(step);
        let again = world.gate.poll_timeout(world.now);
        assert!(again.is_none_or(|again| again > world.now.boot));
    }
    assert!(world.running.is_empty());
}

#[test]
fn a_designation_bounds_its_grants() {
    let mut world = World::new();
    let day = world.gate.rules.settings.agreements[0].max_designation;
    assert!(day > Duration::ZERO);
    // The trial's operators are designated for one day from START.
    world.advance_clocks(Duration::from_secs(86_400 - 60 - 100));
    let grant = world.granted(&[0]);
    let terms = &world.gate.grants[&grant].terms;
    assert_eq!(terms.expires.since(world.now.wall).as_secs(), 100);
    world.advance(Duration::from_secs(100));
    assert_eq!(world.ended(grant), Some(Reason::DesignationExpired));
}

#[test]
fn a_renewal_keeps_the_id_and_may_be_a_colleagues() {
    let mut world = World::new();
    let grant = world.granted(&[0, 1]);
    let before = world.running.clone();
    world.advance(Duration::from_secs(500));
    let mut claims = world.claims(&[1, 2]);
    claims.renews = Some(grant);
    let mut foreign = claims.clone();
    foreign.incident = Incident::new("other").unwrap();
    foreign.jti = world.claims(&[]).jti;
    assert_eq!(world.refused(&foreign), Reason::GrantUnknown);
    assert_eq!(world.ask(1, &claims), Ok(grant));
    assert_eq!(
        world.cameras_running(),
        BTreeSet::from([camera_id(1), camera_id(2)])
    );
    let kept = before
        .iter()
        .find(|(_, (_, camera, ..))| camera == &camera_id(1));
    assert!(
        world.running.contains_key(kept.unwrap().0),
        "the same relay goes on"
    );
    world.confirm(0, grant, 500);
    world.advance(Duration::from_secs(500));
    assert_eq!(world.running.len(), 2);
    world.advance(Duration::from_secs(100));
    assert!(world.running.is_empty());
    assert_eq!(world.stopped.len(), 3);
}

#[test]
fn a_renewal_is_of_the_same_unit_of_the_same_authority() {
    let mut other = Trial::new(START).unwrap();
    let list = other.designation_list().to_owned();
    let namesake = other.simple_operator("13-2", "CORG 13", START).unwrap();
    let namesake = signer(&namesake);
    let (own, authorities) = (keys().trial.designation_authority(), &mut other);
    let foreign = authorities.designation_authority().to_owned();
    let mut settings = settings();
    settings.agreements[1].centre = centre(0);
    let mut world = World::with(settings);
    let grant = world.granted(&[0]);
    let renewal = |world: &mut World| {
        let mut claims = world.claims(&[0]);
        claims.renews = Some(grant);
        claims
    };
    // The centre's second agreement takes the designations of another authority.
    let authority = |pem: &str| Authority::from_pem(pem, &[]).unwrap();
    world.gate.rules.authorities[1] = Authority::from_pem(&foreign, &[&list]).unwrap();
    let claims = renewal(&mut world);
    let text = namesake.sign(REQUEST_TYPE, &claims);
    let refused = world.ask_text(0, &text).unwrap_err();
    assert_eq!(refused.reason, Reason::GrantUnknown);
    // The own authority goes on under one key more, and is that of both agreements.
    world.gate.rules.authorities[0] = authority(&format!("{own}{foreign}"));
    world.gate.rules.authorities[1] = authority(own);
    let claims = renewal(&mut world);
    assert_eq!(world.ask(1, &claims), Ok(grant));
}

#[test]
fn renewals_never_pass_the_total() {
    let mut world = World::new();
    let grant = world.granted(&[0]);
    let begun = world.now.wall;
    for _ in 0..30 {
        world.advance(Duration::from_secs(500));
        let mut claims = world.claims(&[0]);
        claims.renews = Some(grant);
        if world.ask(0, &claims).is_ok() {
            let seq = 1_000 + world.seq;
            world.confirm(0, grant, seq);
        }
    }
    let expires = world
        .journal
        .iter()
        .filter_map(|(_, _, entry)| match entry {
            Entry::Grant(entry) if entry.grant == grant => Some(entry.expires),
            _ => None,
        });
    assert!(expires.max().unwrap() <= begun.plus(Duration::from_secs(7_200)).seconds());
    assert!(world.ended(grant).is_some());
}

#[test]
fn a_full_uplink_refuses_what_does_not_fit_and_names_who_holds_it() {
    let mut settings = settings();
    // 1.9 Mbit/s of pictures: three relays of 500 kbit/s.
    settings.uplink.max_bitrate = Some(2_000_000);
    settings.uplink.min_per_relay = 500_000;
    settings.agreements[0].max_relays = 10;
    let mut world = World::with(settings);
    world.granted(&[0]);
    let claims = world.claims(&[0, 1, 2, 3]);
    world.sent.clear();
    world.ask(0, &claims).unwrap();
    assert_eq!(world.running.len(), 3, "what goes already costs nothing");
    let Some((_, ToReceiver::Granted { proof, .. })) = world.sent.get(1) else {
        panic!("{:?}", world.sent);
    };
    let proof = crate::format::jws::open::<GrantClaims>(proof, GRANT_TYPE).unwrap();
    let refused = &proof.claims.refused;
    assert_eq!(refused.len(), 1);
    assert_eq!(
        (&refused[0].camera, refused[0].refusal.reason),
        (&camera_id(3), Reason::UplinkFull)
    );
    let said = &refused[0].refusal.detail;
    assert!(
        said.contains("2.0 Mbit/s, enough for 3 cameras of at least 500 kbit/s")
            && said.contains("CORG 13: "),
        "{said}"
    );
    let claims = world.claims(&[4]);
    assert_eq!(world.refused(&claims), Reason::UplinkFull);
}

#[test]
fn what_was_measured_counts_and_the_first_relay_is_always_let_in() {
    let mut world = World::new();
    world.gate.handle_capacity(Some(100_000));
    world.granted(&[0]);
    let claims = world.claims(&[1]);
    assert_eq!(world.refused(&claims), Reason::UplinkFull);
    world.gate.handle_capacity(None);
    let claims = world.claims(&[1]);
    assert!(world.ask(0, &claims).is_ok());
}

#[test]
fn the_wish_for_most_counts_and_a_stream_is_told_with_its_cause() {
    use crate::format::cause::Cause;
    use crate::format::ids::ProfileWish;
    let mut world = World::new();
    let mut claims = world.claims(&[1]);
    claims.profile = ProfileWish::Sub;
    world.ask(0, &claims).unwrap();
    let relay = *world.running.keys().next().unwrap();
    assert_eq!(world.running[&relay].3, ProfileWish::Sub);
    let mut claims = world.claims(&[1]);
    claims.profile = ProfileWish::Main;
    let more = world.ask(0, &claims).unwrap();
    assert_eq!(world.running[&relay].3, ProfileWish::Main);
    let release = ToGateway::Release {
        grant: more,
        by: "13-1".to_owned(),
        reason: None,
    };
    world.message(0, release);
    world.settle();
    assert_eq!(world.running[&relay].3, ProfileWish::Sub);
    world.sent.clear();
    for _ in 0..2 {
        world
            .gate
            .handle_relay_profile(&receiver(0), relay, Profile::Main, Cause::OtherCodec);
        world.drain();
    }
    let told: Vec<_> = world.sent.iter().map(|(_, message)| message).collect();
    assert!(
        matches!(
            told[..],
            [ToReceiver::Relay {
                profile: Profile::Main,
                profile_cause: Some(Cause::OtherCodec),
                ..
            }]
        ),
        "told once: {told:?}"
    );
}
