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
fn a_password_that_was_changed_here_is_not_undone_by_a_gateway_that_missed_it() {
    let mut world = world();
    let claims = world.claims(&["port"]);
    let (request, ..) = world.granted_for(id(1), &claims);
    // As for a former holder who was revoked, while the link was lost or the daemon down.
    let holder = world.desk.grant(id(1)).unwrap().operator.clone();
    world
        .desk
        .change_credentials(id(1), &holder, Reason::DesignationRevoked);
    world.drain();
    let message = told(&world, &request, id(1), &claims, true);
    let commands = tell(&mut world, message);
    assert_eq!(world.desk.grant(id(1)).unwrap().password, None);
    let tells = |one: &Command| matches!(one, Command::TellPassword { .. });
    assert!(commands.iter().any(tells), "the gateway learns the new one");
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

/// A renewal through another receiver, for more cameras: its request.
fn renewed(world: &mut World, grant: GrantId) -> (RequestClaims, String) {
    let mut claims = world.claims(&["port", "quay"]);
    claims.renews = Some(grant);
    let request = world.sign(&claims);
    let message = told(world, &request, grant, &claims, false);
    assert_eq!(allowed(&tell(world, message)), []);
    (claims, request)
}

fn requests_written(world: &World) -> Vec<RequestId> {
    let entries = world.entries.iter();
    let written = entries.filter_map(|(_, _, entry)| match entry {
        Entry::Grant(entry) => Some(entry.jti),
        _ => None,
    });
    written.collect()
}

#[test]
fn what_was_renewed_elsewhere_is_recorded_before_its_pictures_come_back() {
    let mut world = world();
    let first = world.claims(&["port"]);
    let (request, ..) = world.granted_for(id(1), &first);
    let away = told(&world, &request, id(1), &first, false);
    tell(&mut world, away);
    let (second, request) = renewed(&mut world, id(1));
    let back = told(&world, &request, id(1), &second, true);
    let commands = tell(&mut world, back);
    assert_eq!(requests_written(&world), [first.jti, second.jti]);
    let written = position(&commands, |one| matches!(one, Command::Record { .. }));
    let allowed_at = position(&commands, |one| matches!(one, Command::Allow { .. }));
    assert!(written < allowed_at);
    assert_eq!(kinds(&world), ["grant", "moved", "grant"]);
}

#[test]
fn a_grant_that_could_not_be_recorded_is_recorded_whole_later() {
    let mut world = world();
    let (claims, request) = of_another(&mut world, id(1));
    world.broken = true;
    let message = told(&world, &request, id(1), &claims, true);
    assert_eq!(allowed(&tell(&mut world, message)), []);
    world.broken = false;
    let mut commands = Vec::new();
    for _ in 0..30 {
        commands.extend(world.after(Duration::from_secs(1)));
    }
    assert_eq!(allowed(&commands).len(), 1);
    assert_eq!(kinds(&world), ["grant"]);
}

#[test]
fn a_resume_of_one_that_was_elsewhere_is_recorded_whole() {
    let mut world = world();
    let (claims, request) = of_another(&mut world, id(1));
    let message = told(&world, &request, id(1), &claims, true);
    let resume = ToReceiver::Resume {
        request: message.request,
        proof: message.proof,
        relays: message.relays,
    };
    let commands = world.tell(1, resume.clone());
    assert_eq!(allowed(&commands).len(), 1);
    assert_eq!(requests_written(&world), [claims.jti]);
    world.tell(1, resume);
    assert_eq!(kinds(&world), ["grant"]);
}

#[test]
fn a_grant_of_a_request_that_was_given_up_here_is_given_back() {
    let mut world = world();
    let claims = world.claims(&["port"]);
    let request = world.sign(&claims);
    let now = world.now();
    world.desk.forwarded.open(claims.jti, &commune(), now);
    world.desk.forwarded.cancelled(claims.jti);
    for here in [false, true] {
        let message = told(&world, &request, id(1), &claims, here);
        let commands = tell(&mut world, message);
        let sent = sent(&commands);
        let [ToGateway::Release { grant, by, reason }] = sent[..] else {
            panic!("{sent:?}");
        };
        let reason = reason.unwrap();
        assert_eq!(
            (*grant, by.as_str(), reason),
            (id(1), "4711", Reason::RequestCancelled)
        );
    }
    assert!(world.desk.grant(id(1)).is_none());
    assert_eq!(kinds(&world), [""; 0]);
}

#[test]
fn a_request_of_another_receiver_is_one_grant() {
    let mut world = world();
    let (claims, request) = of_another(&mut world, id(1));
    let other = |world: &mut World, session| {
        for here in [false, true] {
            let message = told(world, &request, id(2), &claims, here);
            world.tell(session, ToReceiver::Grant(Box::new(message)));
        }
        assert!(world.desk.grant(id(2)).is_none());
    };
    other(&mut world, 1);
    let message = told(&world, &request, id(1), &claims, true);
    tell(&mut world, message);
    // Of one in its journal it knows it after a restart, too.
    world.restart();
    linked(2, &mut world);
    other(&mut world, 2);
    assert_eq!(kinds(&world), ["grant"]);
    world.desk.grants.clear();
    world.desk.forwarded.told = told::Told::default();
    let message = told(&world, &request, id(2), &claims, false);
    world.tell(2, ToReceiver::Grant(Box::new(message)));
    assert!(world.desk.grant(id(2)).is_some(), "it is else as any other");
}

#[test]
fn one_communes_grants_of_other_receivers_have_a_share_and_come_at_a_pace() {
    use super::super::told::{COMES, SHARE};
    let mut world = world();
    let burst = COMES.0 as usize;
    for n in 0..SHARE + 3 {
        let claims = world.claims(&["port"]);
        let request = world.sign(&claims);
        let message = told(&world, &request, id(1 + n as u128), &claims, n < burst + 3);
        tell(&mut world, message);
    }
    assert_eq!(requests_written(&world).len(), burst);
    assert_eq!(world.desk.grants.len(), SHARE);
    // Those that did not come in time do when they are told again.
    world.after(COMES.1);
    let (grant, held) = world
        .desk
        .grants
        .iter()
        .find(|(_, held)| held.recorded.is_none())
        .unwrap();
    let (grant, request, claims) = (
        *grant,
        held.request.text().to_owned(),
        held.request.claims().clone(),
    );
    for _ in 0..2 {
        let message = told(&world, &request, grant, &claims, true);
        tell(&mut world, message);
    }
    assert_eq!(requests_written(&world).len(), burst + 1);
}

#[test]
fn one_who_was_revoked_while_the_pictures_were_elsewhere_has_no_url_when_they_come_back() {
    let mut world = world();
    world.granted(id(1), &["port"]);
    let now = world.now();
    let next = world.trial.simple_operator("4712", "CORG 13", now.wall);
    let next = next.unwrap();
    let next = Signer::from_pem(next.key.expose(), &next.certificate).unwrap();
    let mut claims = world.claims(&["port"]);
    claims.renews = Some(id(1));
    let request = next.sign(REQUEST_TYPE, &claims);
    for here in [true, false] {
        let message = told(&world, &request, id(1), &claims, here);
        tell(&mut world, message);
    }
    let certificate = world.operator_certificate.clone();
    world.trial.revoke_operator(&certificate, now.wall).unwrap();
    let revoked = rules(&world.trial, &world.receiver);
    world.desk.handle_settings(revoked, now);
    world.drain();
    assert_eq!(world.desk.grant(id(1)).unwrap().credentials, 0);
    let message = told(&world, &request, id(1), &claims, true);
    tell(&mut world, message);
    let changed = world.entries.iter().filter(|(_, _, entry)| {
        matches!(entry, Entry::CredentialsChanged { operator, .. } if operator.number == "4711")
    });
    assert_eq!(changed.count(), 1);
    let view = world.desk.grant(id(1)).unwrap();
    assert_eq!((view.credentials, view.password.as_ref()), (1, None));
}
