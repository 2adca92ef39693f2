//! Grants that live: cuts, confirmations, restarts, reloads, revocations.

use super::*;

#[test]
fn a_cut_ends_and_holds_also_after_a_restart() {
    let scopes: [fn(GrantId) -> Scope; 4] = [
        Scope::Grant,
        |_| Scope::Camera(camera_id(0)),
        |_| Scope::Centre(centre(0)),
        |_| Scope::All,
    ];
    for scope in scopes {
        let mut world = World::new();
        let grant = world.granted(&[0]);
        let scope = scope(grant);
        world.sent.clear();
        let done = world
            .gate
            .handle_cut(&scope, Duration::from_secs(900), "uid 1000", world.now)
            .unwrap();
        assert_eq!(done.grants, 1, "{scope}");
        world.settle();
        assert!(world.running.is_empty());
        assert_eq!(world.told_end(grant), Some(Reason::GrantCut));
        assert_eq!(world.ended(grant), Some(Reason::GrantCut));
        let claims = world.claims(&[0]);
        assert_eq!(world.refused(&claims), Reason::CommuneRefused, "{scope}");
        // Another name for the incident does not lift it.
        let mut claims = world.claims(&[0]);
        claims.incident = Incident::new("renamed").unwrap();
        assert_eq!(world.refused(&claims), Reason::CommuneRefused, "{scope}");
        let mut world = world.restarted(Duration::from_secs(300), settings());
        world.link_up(0);
        let claims = world.claims(&[0]);
        assert_eq!(world.refused(&claims), Reason::CommuneRefused, "{scope}");
        world.gate.handle_allow(&scope, "uid 1000").unwrap();
        world.settle();
        let claims = world.claims(&[0]);
        assert!(world.ask(0, &claims).is_ok(), "{scope}");
        let mut world = world.restarted(Duration::from_secs(10), settings());
        assert_eq!(world.running.len(), 1, "the new grant goes on");
        assert_eq!(world.gate.cuts(), []);
        world.advance(Duration::from_secs(900));
    }
}

/// Two grants share camera 0 and one of them loses it: it hears of that while
/// the other still holds the relay.
#[test]
fn each_grant_hears_that_a_camera_is_over_if_others_hold_it_too() {
    let mut world = World::new();
    let first = world.granted(&[0, 1]);
    let second = world.granted(&[0, 2]);
    world.sent.clear();
    let refusal = Refusal::from(Reason::AgreementChanged);
    world
        .gate
        .drop_camera(first, &camera_id(0), &refusal, None, world.now);
    world.settle();
    let told = ToReceiver::CameraEnded {
        grant: first,
        camera: camera_id(0),
        refusal,
    };
    assert!(world.sent.iter().any(|(_, message)| *message == told));
    assert!(world.cameras_running().contains(&camera_id(0)));
    assert_eq!((world.ended(first), world.ended(second)), (None, None));
}

#[test]
fn a_cut_lifts_by_itself_and_touches_nothing_else() {
    let mut world = World::new();
    let grant = world.granted(&[0, 1]);
    let scope = Scope::Camera(camera_id(0));
    world
        .gate
        .handle_cut(&scope, Duration::from_secs(60), "uid 0", world.now)
        .unwrap();
    world.settle();
    assert_eq!(world.cameras_running(), BTreeSet::from([camera_id(1)]));
    assert_eq!(world.ended(grant), None);
    let claims = world.claims(&[0, 2]);
    assert!(world.ask(0, &claims).is_ok(), "the rest is granted");
    assert_eq!(
        world.cameras_running(),
        BTreeSet::from([camera_id(1), camera_id(2)])
    );
    world.advance(Duration::from_secs(61));
    let claims = world.claims(&[0]);
    assert!(world.ask(0, &claims).is_ok());
    for scope in [
        Scope::Camera(camera_id(77)),
        Scope::Grant(GrantId(Uuid::nil())),
        Scope::Centre(CentreId::new("corg-99").unwrap()),
    ] {
        assert!(
            world
                .gate
                .handle_cut(&scope, Duration::ZERO, "x", world.now)
                .is_err()
        );
    }
}

#[test]
fn a_cut_reaches_a_grant_that_is_being_recorded() {
    let mut world = World::new();
    let claims = world.claims(&[0]);
    world.sent.clear();
    world.send_request(0, &claims);
    world
        .gate
        .handle_cut(&Scope::All, Duration::from_secs(60), "x", world.now)
        .unwrap();
    world.settle();
    assert_eq!(world.answer().unwrap_err().reason, Reason::CommuneRefused);
    assert!(world.running.is_empty());
    // The journal says that it ended: a restart resumes nothing.
    let world = world.restarted(Duration::from_secs(1), settings());
    assert!(world.running.is_empty());
}

#[test]
fn an_unconfirmed_grant_ends_by_the_links_time() {
    let mut world = World::new();
    let claims = world.claims(&[0]);
    let grant = world.ask(0, &claims).unwrap();
    world.advance(Duration::from_secs(4));
    world.link_down(0);
    world.advance(Duration::from_secs(60));
    assert_eq!(
        world.running.len(),
        1,
        "the clock stands still without a link"
    );
    world.link_up(0);
    world.advance(Duration::from_millis(900));
    assert_eq!(world.ended(grant), None);
    world.advance(Duration::from_millis(100));
    assert_eq!(world.ended(grant), Some(Reason::CentreUnconfirmed));
    assert!(world.running.is_empty());
}

#[test]
fn a_confirmation_must_be_the_centres_and_newer_than_the_grant() {
    let mut world = World::new();
    let head = world.head(0, 50, 1, world.now.wall.seconds());
    let heads = crate::format::control::Heads {
        head,
        lines: Vec::new(),
        acknowledged: 0,
    };
    world.message(0, ToGateway::Heads(heads));
    world.settle();
    let claims = world.claims(&[0]);
    let grant = world.ask(0, &claims).unwrap();
    let request = world.gate.grants[&grant].terms.request.hash();
    let foreign = world.head(1, 60, 1, world.now.wall.seconds());
    let old = world.head(0, 50, 1, world.now.wall.seconds());
    let good = world.head(0, 51, 1, world.now.wall.seconds());
    let confirm = |request, head| ToGateway::Confirm {
        grant,
        request,
        head,
    };
    for message in [
        confirm(request, foreign),
        confirm(request, old),
        confirm(Sha256::ZERO, good.clone()),
    ] {
        world.message(0, message);
        world.settle();
        assert!(world.gate.grants[&grant].confirmation.is_some());
    }
    world.message(0, confirm(request, good));
    world.settle();
    world.advance(Duration::from_secs(10));
    assert_eq!(world.ended(grant), None);
    assert!(
        world.journal.iter().any(
            |(_, _, entry)| matches!(entry, Entry::Confirmed { grant: id, .. } if *id == grant)
        )
    );
}

#[test]
fn live_grants_resume_after_a_restart() {
    let mut world = World::new();
    let grant = world.granted(&[0, 1]);
    let ended = world.granted(&[2]);
    let release = ToGateway::Release {
        grant: ended,
        by: "x".to_owned(),
        reason: None,
    };
    world.message(0, release);
    world.settle();
    let before: Vec<RelayId> = world.running.keys().copied().collect();
    let mut world = world.restarted(Duration::from_secs(100), settings());
    assert_eq!(
        world.cameras_running(),
        BTreeSet::from([camera_id(0), camera_id(1)])
    );
    assert!(world.running.keys().all(|relay| !before.contains(relay)));
    assert!(
        matches!(world.journal.last(), Some((_, _, Entry::Resumed { grant: id })) if *id == grant)
    );
    world.link_up(0);
    let resumed = world.sent.iter().filter_map(|(_, message)| match message {
        ToReceiver::Resume { proof, relays, .. } => Some((proof, relays.len())),
        _ => None,
    });
    let resumed: Vec<_> = resumed.collect();
    assert_eq!(resumed.len(), 1);
    let proof = crate::format::jws::open::<GrantClaims>(resumed[0].0, GRANT_TYPE).unwrap();
    assert_eq!((proof.claims.grant, resumed[0].1), (grant, 2));
    assert_eq!(world.told_end(ended), Some(Reason::GrantReleased));
    // It was confirmed before, and its end is where it was.
    world.advance(Duration::from_secs(499));
    assert_eq!(world.running.len(), 2);
    world.advance(Duration::from_secs(2));
    assert!(world.running.is_empty());
    let world = world.restarted(Duration::from_secs(1), settings());
    assert!(world.running.is_empty());
}

#[test]
fn a_grant_whose_time_passed_in_the_restart_does_not_resume() {
    let mut world = World::new();
    let grant = world.granted(&[0]);
    let mut world = world.restarted(Duration::from_secs(601), settings());
    assert!(world.running.is_empty());
    assert_eq!(world.ended(grant), Some(Reason::GrantExpired));
    world.link_up(0);
    // A clock set back meanwhile gives it no new time.
    let second = world.granted(&[0]);
    world.advance(Duration::from_secs(300));
    let claims = world.claims(&[1]);
    world.refused(&{
        let mut claims = claims;
        claims.grounds = "theft".to_owned();
        claims
    });
    world.now.wall = Wall(world.now.wall.0 - 200_000_000);
    let mut world = world.restarted(Duration::ZERO, settings());
    world.advance(Duration::from_secs(301));
    assert_eq!(world.ended(second), Some(Reason::GrantExpired));
}

#[test]
fn resumption_waits_for_the_journal() {
    let mut world = World::new();
    let grant = world.granted(&[0]);
    world.journal_works = false;
    let mut world = world.restarted(Duration::from_secs(10), settings());
    assert!(world.running.is_empty());
    world.journal_works = true;
    world.advance(Duration::from_secs(1));
    assert_eq!(world.running.len(), 1);
    assert_eq!(
        world.gate.grants.keys().copied().collect::<Vec<_>>(),
        [grant]
    );
}

#[test]
fn a_clock_behind_the_journal_refuses_until_it_is_accepted() {
    let mut world = World::new();
    world.granted(&[0]);
    world.now.wall = Wall(world.now.wall.0 - 6_000_000);
    let claims = world.claims(&[1]);
    let refusal = world.ask(0, &claims).unwrap_err();
    assert_eq!(refusal.reason, Reason::ClockWrong);
    assert!(refusal.detail.contains("6 s"), "{}", refusal.detail);
    let mut world = world.restarted(Duration::ZERO, settings());
    world.link_up(0);
    let claims = world.claims(&[1]);
    assert_eq!(world.refused(&claims), Reason::ClockWrong);
    world
        .gate
        .handle_clock_accepted("administrator".to_owned(), world.now);
    world.settle();
    let claims = world.claims(&[1]);
    assert!(world.ask(0, &claims).is_ok());
    let mut world = world.restarted(Duration::from_secs(1), settings());
    world.link_up(0);
    let claims = world.claims(&[2]);
    assert!(world.ask(0, &claims).is_ok());
}

#[test]
fn a_reload_ends_what_it_forbids_and_nothing_else() {
    let mut world = World::new();
    let grant = world.granted(&[0, 1]);
    let other = world.granted(&[2]);
    let mut changed = settings();
    changed.agreements[0].except = vec!["camera-0".to_owned(), "camera-2".to_owned()];
    world.gate.handle_settings(rules(changed), world.now);
    world.settle();
    assert_eq!(world.cameras_running(), BTreeSet::from([camera_id(1)]));
    assert_eq!(world.ended(other), Some(Reason::AgreementChanged));
    assert_eq!(world.ended(grant), None);
    assert!(
        world
            .stopped
            .iter()
            .all(|(_, reason)| *reason == Reason::AgreementChanged)
    );
    let mut gone = settings();
    gone.agreements.remove(0);
    world.gate.handle_settings(rules(gone), world.now);
    world.settle();
    assert_eq!(world.ended(grant), Some(Reason::AgreementChanged));
    assert!(world.running.is_empty());
}

#[test]
fn a_revoked_signer_loses_his_grants_at_once() {
    let mut world = World::new();
    let first = world.granted(&[0]);
    let mut claims = world.claims(&[1]);
    claims.incident = Incident::new("other").unwrap();
    let second = world.ask(1, &claims).unwrap();
    assert!(!keys().operator_pem.is_empty());
    let list = keys().revoked.clone();
    world.message(1, ToGateway::Revocation { list: list.clone() });
    world.settle();
    assert_eq!(world.ended(first), Some(Reason::DesignationRevoked));
    assert_eq!(world.ended(second), None);
    assert_eq!(world.kept_lists, 1, "one list, however many agreements");
    let claims = world.claims(&[0]);
    assert_eq!(world.refused(&claims), Reason::DesignationRevoked);
    world.message(0, ToGateway::Revocation { list });
    world.settle();
    assert_eq!(world.kept_lists, 1);
}

#[test]
fn of_several_agreements_the_best_counts() {
    let mut several = settings();
    several.agreements[1] = agreement(0);
    several.agreements[0].units = vec!["CORG 84".to_owned()];
    several.agreements[1].reference = "the other".to_owned();
    let mut world = World::with(several);
    let claims = world.claims(&[0]);
    let grant = world.ask(0, &claims).unwrap();
    assert_eq!(world.gate.grants[&grant].terms.agreement, "the other");
    let again = world.claims_of(&claims);
    assert!(world.ask(2, &again).is_ok());
}

#[test]
fn a_replayed_renewal_does_not_undo_it() {
    for later in [0, 200] {
        let mut world = World::new();
        let grant = world.granted(&[0, 1]);
        let mut claims = world.claims(&[0]);
        claims.renews = Some(grant);
        claims.duration = 400;
        let text = world.send_request(0, &claims);
        world.settle();
        world.confirm(0, grant, 200);
        world.advance(Duration::from_secs(later));
        let refusal = world.ask_text(0, &text).unwrap_err();
        let expected = [Reason::ReplayedRequest, Reason::StaleRequest];
        assert!(expected.contains(&refusal.reason), "{refusal}");
        let world = world.restarted(Duration::from_secs(1), settings());
        let cameras: Vec<_> = world
            .running
            .values()
            .map(|(_, camera, ..)| camera)
            .collect();
        assert_eq!(cameras, [&camera_id(0)], "{refusal}");
    }
}

#[test]
fn a_renewal_refused_after_it_was_recorded_does_not_come_back() {
    let mut world = World::new();
    let grant = world.granted(&[0]);
    world.advance(Duration::from_secs(100));
    let mut claims = world.claims(&[0]);
    claims.renews = Some(grant);
    world.sent.clear();
    world.send_request(0, &claims);
    let mut changed = settings();
    changed.agreements[0].max_duration = Duration::from_secs(550);
    world.gate.handle_settings(rules(changed), world.now);
    world.settle();
    assert_eq!(world.answer().unwrap_err().reason, Reason::DurationTooLong);
    assert_eq!(world.running.len(), 1, "the grant itself goes on");
    let mut world = world.restarted(Duration::from_secs(1), settings());
    assert_eq!(world.running.len(), 1);
    world.advance(Duration::from_secs(500));
    assert_eq!(world.ended(grant), Some(Reason::GrantExpired));
}

#[test]
fn a_shared_relay_counts_for_the_first_of_its_grants_by_id() {
    let mut world = World::new();
    let one = world.granted(&[0]);
    let relay = *world.running.keys().next().unwrap();
    assert!(world.counts_for.is_empty(), "the permit says it");
    let other = world.granted(&[0]);
    let (first, second) = (one.min(other), one.max(other));
    let counts = |world: &World| world.counts_for.get(&relay).copied().unwrap_or(one);
    assert_eq!(counts(&world), first);
    let release = ToGateway::Release {
        grant: first,
        by: "x".to_owned(),
        reason: None,
    };
    world.message(0, release);
    world.settle();
    assert_eq!(counts(&world), second);
    assert!(world.running.contains_key(&relay));
}
