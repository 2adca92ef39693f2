//! A grant in several hands: whose URL it was, and under whose request it plays.

use super::*;

/// Another operator of the unit, with his certificate.
fn colleague(world: &World, number: &str) -> (Signer, String) {
    let now = world.now().wall;
    let identity = world.trial.simple_operator(number, "CORG 13", now).unwrap();
    let signer = Signer::from_pem(identity.key.expose(), &identity.certificate).unwrap();
    (signer, identity.certificate)
}

/// He carries the grant on.
fn take_over(world: &mut World, by: &Signer) -> Vec<Command> {
    let mut claims = world.claims(&["port"]);
    claims.renews = Some(id(1));
    let request = by.sign(REQUEST_TYPE, &claims);
    let number = forwarded(&world.ask(&request));
    let proof = world.proof_claims(id(1), &request, &claims);
    let proof = world.gateway.sign(GRANT_TYPE, &proof);
    let message = ToReceiver::Granted {
        id: number,
        proof,
        relays: relays(&claims, 1),
    };
    world.tell(1, message)
}

fn player(number: u64) -> Viewer {
    Viewer {
        number,
        grant: id(1),
        commune: commune(),
        camera: camera("port"),
        who: "4711".to_owned(),
        how: "rtsp".to_owned(),
        from: "10.0.0.1:5000".to_owned(),
    }
}

fn start(world: &mut World, viewer: Viewer) {
    let now = world.now();
    world.desk.handle_viewing_started(viewer, now);
    world.drain();
}

fn started(world: &World) -> Vec<(String, Vec<String>)> {
    let entries = world.entries.iter();
    let started = entries.filter_map(|(_, _, entry)| match entry {
        Entry::ViewingStarted { who, holders, .. } => Some((who.clone(), holders.clone())),
        _ => None,
    });
    started.collect()
}

fn changes(world: &World) -> Vec<(String, Reason)> {
    let entries = world.entries.iter();
    let changes = entries.filter_map(|(_, _, entry)| match entry {
        Entry::CredentialsChanged {
            operator, reason, ..
        } => Some((operator.number.clone(), *reason)),
        _ => None,
    });
    changes.collect()
}

fn end_of(players: bool, reason: Reason) -> Command {
    Command::EndViewers {
        grant: id(1),
        players,
        reason,
    }
}

#[test]
fn a_player_goes_on_as_the_new_operators_and_the_journal_says_whose_url_it_was() {
    let mut world = World::linked();
    world.granted(id(1), &["port"]);
    start(&mut world, player(1));
    let (next, _) = colleague(&world, "4712");
    let commands = take_over(&mut world, &next);
    assert!(
        commands.contains(&end_of(false, Reason::GrantUnknown)),
        "sockets end"
    );
    assert!(
        !commands.contains(&end_of(true, Reason::GrantUnknown)),
        "players go on"
    );
    let holders = vec!["4711".to_owned()];
    let expected = [
        ("4711".to_owned(), Vec::new()),
        ("4712".to_owned(), holders.clone()),
    ];
    assert_eq!(started(&world), expected);
    let taken_over = world.entries.iter().any(|(_, _, entry)| {
        matches!(entry, Entry::ViewingEnded { taken_over_by: Some(by), reason: None, .. } if by == "4712")
    });
    assert!(taken_over);
    assert_eq!(
        world.desk.grant(id(1)).unwrap().credentials,
        0,
        "the same URL"
    );
    // One who comes with that URL later, also after a restart, is told of in the same way.
    let again = Viewer {
        number: 2,
        who: "4712".to_owned(),
        from: "10.0.0.9:5000".to_owned(),
        ..player(2)
    };
    start(&mut world, again.clone());
    assert_eq!(started(&world)[2], ("4712".to_owned(), holders.clone()));
    world.restart();
    start(&mut world, again);
    assert_eq!(started(&world)[3], ("4712".to_owned(), holders));
    // Its own operator renewing it changes nothing.
    let lines = started(&world).len();
    world.link(1);
    take_over(&mut world, &next);
    assert_eq!(started(&world).len(), lines);
}

#[test]
fn a_picture_that_comes_after_a_handover_is_the_new_holders_alone() {
    let mut world = World::linked();
    world.granted(id(1), &["port"]);
    let (next, _) = colleague(&world, "4712");
    take_over(&mut world, &next);
    // The former operator's socket had waited for the camera to start.
    let socket = Viewer {
        how: "live".to_owned(),
        ..player(7)
    };
    let now = world.now();
    world.desk.handle_viewing_started(socket, now);
    let refused = Command::RefuseViewer {
        number: 7,
        reason: Reason::GrantUnknown,
    };
    assert!(world.drain().contains(&refused));
    // A player that was set up before plays under the request that carries the grant now.
    start(&mut world, player(8));
    let expected = [("4712".to_owned(), vec!["4711".to_owned()])];
    assert_eq!(started(&world), expected);
}

#[test]
fn a_grant_is_renewed_also_after_its_authority_got_another_set_of_keys() {
    let mut world = World::linked();
    world.granted(id(1), &["port"]);
    let now = world.now();
    let next_keys = Trial::new(now.wall).unwrap();
    let both = [&world.trial, &next_keys].map(Trial::designation_authority);
    let lists = [&world.trial, &next_keys].map(Trial::designation_list);
    let mut rules = rules(&world.trial, &world.receiver);
    rules.authorities = vec![Authority::from_pem(&both.concat(), &lists).unwrap()];
    world.desk.handle_settings(rules, now);
    world.drain();
    let mut claims = world.claims(&["port"]);
    claims.renews = Some(id(1));
    let request = world.operator.sign(REQUEST_TYPE, &claims);
    forwarded(&world.ask(&request));
}

#[test]
fn a_former_operator_who_is_revoked_loses_the_url() {
    let mut world = World::linked();
    world.granted(id(1), &["port"]);
    let (next, _) = colleague(&world, "4712");
    take_over(&mut world, &next);
    let now = world.now();
    let certificate = world.operator_certificate.clone();
    world.trial.revoke_operator(&certificate, now.wall).unwrap();
    let revoked = rules(&world.trial, &world.receiver);
    world.desk.handle_settings(revoked.clone(), now);
    let commands = world.drain();
    assert_eq!(ended(&commands, id(1)), None, "it is the colleague's");
    assert!(commands.contains(&end_of(true, Reason::DesignationRevoked)));
    let expected = [("4711".to_owned(), Reason::DesignationRevoked)];
    assert_eq!(changes(&world), expected);
    assert_eq!(world.desk.grant(id(1)).unwrap().credentials, 1);
    // Once; and a restart remembers it.
    world.desk.handle_settings(revoked, now);
    world.drain();
    world.restart();
    assert_eq!(world.desk.grant(id(1)).unwrap().credentials, 1);
    assert_eq!(changes(&world), expected);
}

#[test]
fn one_who_was_revoked_while_the_centre_was_down_loses_the_url_at_the_start() {
    let mut world = World::linked();
    world.granted(id(1), &["port"]);
    let (next, _) = colleague(&world, "4712");
    take_over(&mut world, &next);
    let now = world.now();
    let certificate = world.operator_certificate.clone();
    world.trial.revoke_operator(&certificate, now.wall).unwrap();
    world.restart();
    assert_eq!(world.desk.grant(id(1)).unwrap().credentials, 1);
    assert_eq!(changes(&world).len(), 1);
}

#[test]
fn the_same_number_and_unit_of_another_authority_is_another_operator() {
    let mut world = World::linked();
    world.granted(id(1), &["port"]);
    let view = Arc::clone(world.desk.grant(id(1)).unwrap());
    let own = world.who("4711", "CORG 13");
    assert!(view.is_of(&own) && view.is_of_unit(&own));
    let other = Designation {
        authority: Sha256::ZERO,
        ..own.clone()
    };
    assert!(!view.is_of(&other) && !view.is_of_unit(&other));
    let now = world.now();
    let released = world.desk.handle_release(id(1), &other, now);
    assert_eq!(released.unwrap_err().reason, Reason::GrantUnknown);
    let notices = world.drain();
    assert_eq!(ended(&notices, id(1)), None);
    assert!(world.desk.handle_release(id(1), &own, now).is_ok());
}
