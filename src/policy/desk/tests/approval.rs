//! Requests that wait for the commune's approval, as the centre sees them.

use super::*;

fn waiting(request: &str, seconds: u32) -> ToReceiver {
    ToReceiver::Waiting {
        request: request.to_owned(),
        seconds,
    }
}

fn wait_ended(claims: &RequestClaims, reason: Reason) -> ToReceiver {
    ToReceiver::WaitEnded {
        request: claims.jti,
        refusal: reason.into(),
        cameras: Vec::new(),
        head: None,
    }
}

/// What those who listen were told of requests.
fn told(commands: &[Command]) -> Vec<Progress> {
    let told = commands.iter().filter_map(|command| match command {
        Command::Notify(Notice::Request { progress, .. }) => Some(progress.clone()),
        _ => None,
    });
    told.collect()
}

fn counted(commands: &[Command]) -> Vec<Option<Reason>> {
    let counted = commands.iter().filter_map(|command| match command {
        Command::Count { refused } => Some(*refused),
        _ => None,
    });
    counted.collect()
}

/// A request that its gateway says waits two minutes.
fn waits(world: &mut World) -> (RequestClaims, String) {
    let claims = world.claims(&["port"]);
    let request = world.sign(&claims);
    forwarded(&world.ask(&request));
    let approve_by = world.now().wall.plus(Duration::from_secs(120));
    let commands = world.tell(1, waiting(&request, 120));
    let answered = commands.contains(&Command::Wait {
        caller: 7,
        request: claims.jti,
        commune: commune(),
        approve_by,
    });
    assert!(answered, "{commands:?}");
    assert_eq!(told(&commands), [Progress::Waiting(approve_by)]);
    assert_eq!(answer(&commands), None);
    (claims, request)
}

fn resume(world: &World, request: &str, claims: &RequestClaims) -> ToReceiver {
    let proof = world.proof_claims(id(1), request, claims);
    ToReceiver::Resume {
        request: request.to_owned(),
        proof: world.gateway.sign(GRANT_TYPE, &proof),
        relays: relays(claims, 1),
    }
}

#[test]
fn a_wait_is_answered_and_its_grant_is_recorded_and_confirmed() {
    let mut world = World::linked();
    let (claims, request) = waits(&mut world);
    let asked = world.asked(claims.jti, "CORG 13").unwrap();
    assert!(asked.result.is_none() && asked.approve_by.is_some());
    // The wait is longer than a gateway may take to answer.
    let commands = world.after(Duration::from_secs(60));
    assert_eq!(told(&commands), []);
    assert!(allowed(&commands).is_empty());
    let message = resume(&world, &request, &claims);
    let commands = world.tell(1, message);
    assert_eq!(told(&commands), [Progress::Granted(id(1))]);
    assert_eq!(counted(&commands), [None]);
    assert_eq!(allowed(&commands), [(id(1), "port".to_owned(), 1)]);
    assert!(matches!(sent(&commands)[..], [ToGateway::Confirm { .. }]));
    let asked = world.asked(claims.jti, "CORG 13").unwrap();
    assert_eq!(asked.result, Some(Ok(id(1))));
    let left = world.desk.grant(id(1)).unwrap().left(world.now());
    assert_eq!(left, Duration::from_secs(600), "from the approval");
    // Nothing more comes of the wait.
    assert_eq!(told(&world.after(Duration::from_secs(300))), []);
}

#[test]
fn a_refusal_after_a_wait_is_journalled_and_told_once() {
    let mut world = World::linked();
    let (claims, _) = waits(&mut world);
    let refused = wait_ended(&claims, Reason::CommuneRefused);
    let commands = world.tell(1, refused.clone());
    let expected = Progress::Refused(Reason::CommuneRefused.into());
    assert_eq!(told(&commands), [expected]);
    assert_eq!(counted(&commands), [Some(Reason::CommuneRefused)]);
    let written = |world: &World| {
        let entries = world.entries.iter();
        let refused = entries.filter(|(_, _, entry)| matches!(entry, Entry::Refused { .. }));
        refused.count()
    };
    assert_eq!(written(&world), 1);
    assert_eq!(told(&world.tell(1, refused)), []);
    assert_eq!(written(&world), 1);
    let asked = world.asked(claims.jti, "CORG 13").unwrap();
    assert!(matches!(asked.result, Some(Err(_))));
    assert!(world.asked(claims.jti, "CORG 84").is_none());
}

#[test]
fn a_wait_outlives_its_link_and_this_receiver() {
    let mut world = World::linked();
    let (claims, request) = waits(&mut world);
    let now = world.now();
    world.desk.handle_link_down(&commune(), 1, now);
    assert_eq!(told(&world.drain()), []);
    world.link(2);
    assert_eq!(told(&world.tell(2, waiting(&request, 90))).len(), 1);
    // A receiver that knows nothing of it learns it from the gateway.
    world.restart();
    world.link(3);
    let commands = world.tell(3, waiting(&request, 80));
    assert_eq!(told(&commands).len(), 1);
    let asked = world.asked(claims.jti, "CORG 13").unwrap();
    assert!(asked.result.is_none());
    let commands = world.tell(3, wait_ended(&claims, Reason::CommuneRefused));
    assert_eq!(counted(&commands), [Some(Reason::CommuneRefused)]);
}

#[test]
fn a_wait_without_an_end_is_given_up_and_a_late_grant_still_counts() {
    let mut world = World::linked();
    let (claims, request) = waits(&mut world);
    assert_eq!(told(&world.after(Duration::from_secs(120))), []);
    let commands = world.after(Duration::from_secs(30));
    assert!(matches!(&told(&commands)[..], [Progress::Refused(refusal)]
            if refusal.reason == Reason::ApprovalTimedOut));
    let message = resume(&world, &request, &claims);
    assert_eq!(told(&world.tell(1, message)), [Progress::Granted(id(1))]);
    // It was granted: it can't wait any more.
    assert_eq!(told(&world.tell(1, waiting(&request, 100))), []);
}

#[test]
fn a_wait_that_does_not_verify_is_not_believed() {
    let mut world = World::linked();
    let mut claims = world.claims(&["port"]);
    claims.aud = CommuneId::new("rognac").unwrap();
    let other = world.sign(&claims);
    for text in ["", "x.y.z", &other] {
        assert_eq!(told(&world.tell(1, waiting(text, 100))), []);
    }
    // Nor is an endless one.
    let claims = world.claims(&["port"]);
    let request = world.sign(&claims);
    assert_eq!(
        told(&world.tell(1, waiting(&request, 100))),
        [],
        "never forwarded"
    );
    forwarded(&world.ask(&request));
    let hour = world.now().wall.plus(Duration::from_secs(3_600));
    assert_eq!(
        told(&world.tell(1, waiting(&request, u32::MAX))),
        [Progress::Waiting(hour)]
    );
}

#[test]
fn what_waits_for_a_person_keeps_nobody_else_out() {
    let mut world = World::linked();
    for _ in 0..64 {
        waits(&mut world);
    }
    let claims = world.claims(&["port"]);
    let request = world.sign(&claims);
    forwarded(&world.ask(&request));
    assert_eq!(told(&world.tell(1, waiting(&request, 120))).len(), 1);
}

#[test]
fn a_request_that_its_operator_gives_up_is_gone_and_a_late_grant_is_given_back() {
    let mut world = World::linked();
    let (claims, request) = waits(&mut world);
    let cancel = |world: &mut World, number: &str| {
        let who = world.who(number, "CORG 13");
        let done = world.desk.handle_cancel(claims.jti, &who);
        (done, world.drain())
    };
    // Who signed it, and nobody else.
    assert_eq!(cancel(&mut world, "4712").0, Err(None));
    let stranger = world.who("4711", "CORG 84");
    assert_eq!(world.desk.handle_cancel(claims.jti, &stranger), Err(None));
    let (done, commands) = cancel(&mut world, "4711");
    assert_eq!(done, Ok(()));
    let told_gateway = ToGateway::Cancel {
        request: claims.jti,
        by: "4711".to_owned(),
    };
    assert_eq!(sent(&commands), [&told_gateway]);
    assert!(matches!(&told(&commands)[..], [Progress::Refused(refusal)]
            if refusal.reason == Reason::RequestCancelled));
    assert_eq!(counted(&commands), [Some(Reason::RequestCancelled)]);
    let journalled = |world: &World| {
        let entries = world.entries.iter();
        let cancelled = entries.filter(|(_, _, entry)| {
            matches!(entry, Entry::Refused { refusal, .. }
                if refusal.reason == Reason::RequestCancelled)
        });
        cancelled.count()
    };
    assert_eq!(journalled(&world), 1);
    // Again, it changes nothing; the gateway's own word comes too late to.
    let (done, commands) = cancel(&mut world, "4711");
    assert_eq!((done, sent(&commands).len()), (Ok(()), 0));
    world.tell(1, wait_ended(&claims, Reason::RequestCancelled));
    assert_eq!(journalled(&world), 1);
    // A gateway that did not hear of it is told again, also by a receiver that restarted.
    world.restart();
    world.link(2);
    let commands = world.tell(2, waiting(&request, 90));
    assert_eq!(sent(&commands), [&told_gateway]);
    assert_eq!(told(&commands), []);
    // One that approved it meanwhile gets its grant back.
    let message = resume(&world, &request, &claims);
    let commands = world.tell(2, message);
    let back = ToGateway::Release {
        grant: id(1),
        by: CENTRE.to_owned(),
        reason: Some(Reason::RequestCancelled),
    };
    assert_eq!(sent(&commands), [&back]);
    assert!(allowed(&commands).is_empty() && world.desk.grant(id(1)).is_none());
}
