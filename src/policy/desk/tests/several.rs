//! Grants whose pictures go to another receiver of the centre, and come from there.

use super::*;
use crate::format::control::GrantTold;
use crate::format::statement::Received;
use crate::secret::Secret;

const HERE: Sha256 = Sha256([1; 32]);
const THERE: Sha256 = Sha256([2; 32]);

/// A world whose gateway knows of several receivers.
fn linked(session: u64, world: &mut World) {
    world.link(session);
    let hello = GatewayHello {
        receiver: Some(HERE),
        ..hello()
    };
    world.tell(session, ToReceiver::Hello(hello));
}

fn world() -> World {
    let mut world = World::new();
    linked(1, &mut world);
    world
}

fn told(
    world: &World,
    request: &str,
    grant: GrantId,
    claims: &RequestClaims,
    here: bool,
) -> GrantTold {
    let proof = world.proof_claims(grant, request, claims);
    GrantTold {
        request: request.to_owned(),
        proof: world.gateway.sign(GRANT_TYPE, &proof),
        relays: relays(claims, 1),
        receiver: if here { HERE } else { THERE },
        here,
        first_start: proof.start,
        password: Some(Secret::new("abc")),
    }
}

fn tell(world: &mut World, told: GrantTold) -> Vec<Command> {
    world.tell(1, ToReceiver::Grant(Box::new(told)))
}

/// A grant that came through another receiver: its request, and what is said of it.
fn of_another(world: &mut World, grant: GrantId) -> (RequestClaims, String) {
    let claims = world.claims(&["port"]);
    let request = world.sign(&claims);
    let message = told(world, &request, grant, &claims, false);
    let commands = tell(world, message);
    assert_eq!((allowed(&commands), sent(&commands).len()), (vec![], 0));
    (claims, request)
}

fn kinds(world: &World) -> Vec<&'static str> {
    let entries = world.entries.iter();
    let kinds = entries.filter_map(|(_, _, entry)| match entry {
        Entry::Grant(_) => Some("grant"),
        Entry::Moved { .. } => Some("moved"),
        Entry::Resumed { .. } => Some("resumed"),
        Entry::Ended { .. } => Some("ended"),
        Entry::ViewingStarted { .. } => Some("viewing"),
        _ => None,
    });
    kinds.collect()
}

fn viewer(number: u64, grant: GrantId) -> Viewer {
    Viewer {
        number,
        grant,
        commune: commune(),
        camera: camera("port"),
        who: "4711".to_owned(),
        how: "rtsp".to_owned(),
        from: "10.0.0.1:5000".to_owned(),
    }
}

#[test]
fn a_grant_of_another_receiver_is_shown_and_nothing_of_it_is_taken_or_written() {
    let mut world = world();
    of_another(&mut world, id(1));
    let view = world.desk.grant(id(1)).unwrap().clone();
    assert!(view.elsewhere && view.receiver == Some(THERE));
    assert_eq!(view.password, Some(Secret::new("abc")));
    let now = world.now();
    world.desk.handle_viewing_started(viewer(1, id(1)), now);
    let refused = Command::RefuseViewer {
        number: 1,
        reason: Reason::OtherReceiver,
    };
    assert!(world.drain().contains(&refused));
    // Its time is up here first: the one that has the pictures says so, not this one.
    let commands = world.after(Duration::from_secs(700));
    assert_eq!(sent(&commands).len(), 0);
    assert!(
        world
            .desk
            .grant(id(1))
            .is_none_or(|view| view.end.is_some())
    );
    assert_eq!(kinds(&world), [""; 0]);
}

#[test]
fn it_comes_here_once_it_is_recorded_and_confirmed() {
    let mut world = world();
    let (claims, request) = of_another(&mut world, id(1));
    let message = told(&world, &request, id(1), &claims, true);
    let commands = tell(&mut world, message);
    assert_eq!(allowed(&commands), [(id(1), "port".to_owned(), 1)]);
    let written = position(&commands, |one| matches!(one, Command::Record { .. }));
    let allowed_at = position(&commands, |one| matches!(one, Command::Allow { .. }));
    let password = position(&commands, |one| matches!(one, Command::TellPassword { .. }));
    let confirmed = position(
        &commands,
        |one| matches!(one, Command::Send { message, .. } if matches!(**message, ToGateway::Confirm { .. })),
    );
    assert!(written < allowed_at && password < confirmed);
    let view = world.desk.grant(id(1)).unwrap();
    assert!(!view.elsewhere && view.receiver == Some(HERE));
    assert_eq!(view.password, Some(Secret::new("abc")), "the same URL");
    assert_eq!(kinds(&world), ["grant"]);
    // Asked again, as after a confirmation that was lost, it confirms without another entry.
    let message = told(&world, &request, id(1), &claims, true);
    let commands = tell(&mut world, message);
    assert!(
        sent(&commands)
            .iter()
            .any(|one| matches!(one, ToGateway::Confirm { .. }))
    );
    assert_eq!(kinds(&world), ["grant"]);
}

#[test]
fn what_goes_elsewhere_ends_viewers_and_is_accounted_for_at_the_end() {
    let mut world = world();
    let claims = world.claims(&["port"]);
    let (request, ..) = world.granted_for(id(1), &claims);
    let now = world.now();
    world.desk.handle_viewing_started(viewer(1, id(1)), now);
    world.drain();
    world.figures = Figures {
        since: now.wall,
        cameras: vec![Received {
            camera: camera("port"),
            bytes: 4_711,
        }],
    };
    let message = told(&world, &request, id(1), &claims, false);
    let commands = tell(&mut world, message.clone());
    assert_eq!(ended(&commands, id(1)), Some(Reason::OtherReceiver));
    assert!(sent(&commands).is_empty(), "the grant lives");
    let reason = Some(Reason::OtherReceiver);
    world.desk.handle_viewing_ended(1, reason, now);
    world.drain();
    // Told again, nothing happens.
    let commands = tell(&mut world, message);
    assert_eq!(ended(&commands, id(1)), None);
    assert_eq!(kinds(&world), ["grant", "viewing", "moved"]);
    world.figures = Figures::default();
    world.restart();
    assert!(world.desk.grant(id(1)).unwrap().elsewhere);
    linked(2, &mut world);
    let over = ToReceiver::Ended {
        grant: id(1),
        refusal: Reason::GrantReleased.into(),
        head: None,
    };
    world.tell(2, over);
    let commands = world.after(Duration::from_secs(3));
    assert_eq!(kinds(&world).last(), Some(&"ended"));
    let _ = commands;
    let listed = world.desk.viewings.lists.gathered();
    assert_eq!(listed, 0, "the list is made");
}

#[test]
fn figures_of_before_and_after_are_added_up() {
    let mut world = world();
    let claims = world.claims(&["port"]);
    let (request, ..) = world.granted_for(id(1), &claims);
    let figures = |bytes| Figures {
        since: Wall::from_seconds(START),
        cameras: vec![Received {
            camera: camera("port"),
            bytes,
        }],
    };
    world.figures = figures(40);
    let away = told(&world, &request, id(1), &claims, false);
    tell(&mut world, away);
    let back = told(&world, &request, id(1), &claims, true);
    assert_eq!(allowed(&tell(&mut world, back)).len(), 1);
    assert_eq!(kinds(&world), ["grant", "moved", "resumed"]);
    world.figures = figures(2);
    let over = ToReceiver::Ended {
        grant: id(1),
        refusal: Reason::GrantReleased.into(),
        head: None,
    };
    let mut commands = world.tell(1, over);
    commands.extend(world.after(Duration::from_secs(3)));
    let received = sent(&commands)
        .into_iter()
        .find_map(|message| match message {
            ToGateway::Viewings { statement } => {
                let signed = crate::format::jws::open::<ViewingsClaims>(statement, VIEWINGS_TYPE);
                Some(signed.unwrap().claims.received)
            }
            _ => None,
        });
    assert_eq!(received.unwrap()[0].bytes, 42);
}

#[test]
fn a_gateway_makes_no_grant_of_an_old_request_or_of_one_that_was_answered_here() {
    let mut world = world();
    // Answered here, and over.
    let claims = world.claims(&["port"]);
    let (request, ..) = world.granted_for(id(1), &claims);
    let over = ToReceiver::Ended {
        grant: id(1),
        refusal: Reason::GrantReleased.into(),
        head: None,
    };
    world.tell(1, over);
    for restarted in [false, true] {
        let message = told(&world, &request, id(2), &claims, true);
        let session = if restarted { 2 } else { 1 };
        if restarted {
            world.restart();
            linked(2, &mut world);
        }
        let commands = world.tell(session, ToReceiver::Grant(Box::new(message)));
        assert_eq!(allowed(&commands), []);
        assert!(world.desk.grant(id(2)).is_none());
    }
    // Signed hours ago.
    let claims = world.claims(&["port"]);
    let request = world.sign(&claims);
    world.after(Duration::from_secs(2 * 3_600));
    let mut message = told(&world, &request, id(3), &claims, true);
    let mut proof = world.proof_claims(id(3), &request, &claims);
    proof.start = world.now().wall.seconds();
    proof.expires = proof.start + 60;
    message.proof = world.gateway.sign(GRANT_TYPE, &proof);
    let commands = world.tell(2, ToReceiver::Grant(Box::new(message)));
    assert_eq!(
        (allowed(&commands), kinds(&world)),
        (vec![], vec!["grant", "ended"])
    );
    assert!(world.desk.grant(id(3)).is_none());
}

#[test]
fn an_operator_gives_a_grant_back_at_any_receiver() {
    let mut world = world();
    of_another(&mut world, id(1));
    let (who, now) = (world.who("4711", "CORG 13"), world.now());
    world.desk.handle_release(id(1), &who, now).unwrap();
    let commands = world.drain();
    assert!(matches!(sent(&commands)[..], [ToGateway::Release { .. }]));
    assert_eq!(kinds(&world), [""; 0]);
}
