//! Requests that wait for somebody at the commune.

use super::*;

pub(super) fn approving() -> Gateway {
    let mut changed = settings();
    changed.agreements[0].approval = Approval::Commune;
    changed
}

/// How the wait of a request was told to have ended without a grant.
fn wait_ended(world: &World, request: RequestId) -> Option<Refusal> {
    world.sent.iter().find_map(|(_, message)| match message {
        ToReceiver::WaitEnded {
            request: of,
            refusal,
            ..
        } if *of == request => Some(refusal.clone()),
        _ => None,
    })
}

/// How it is in the journal: why, and who.
fn journalled(world: &World, request: RequestId) -> Vec<(Reason, Option<String>)> {
    let ended = world
        .journal
        .iter()
        .filter_map(|(_, _, entry)| match entry {
            Entry::Refused {
                jti,
                refusal,
                wait_ended: Some(ended),
                ..
            } if *jti == request => Some((refusal.reason, ended.by.clone())),
            _ => None,
        });
    ended.collect()
}

fn told_waiting(world: &World) -> Vec<u32> {
    let told = world.sent.iter().filter_map(|(_, message)| match message {
        ToReceiver::Waiting { seconds, .. } => Some(*seconds),
        _ => None,
    });
    told.collect()
}

/// Asks for cameras; the request waits.
pub(super) fn waits(world: &mut World, operator: usize, claims: &RequestClaims) -> RequestId {
    world.sent.clear();
    world.send_request(operator, claims);
    assert_eq!(told_waiting(world), [] as [u32; 0], "durable first");
    world.settle();
    assert_eq!(told_waiting(world), [120]);
    let answered = world.sent.iter().any(|(_, message)| {
        matches!(
            message,
            ToReceiver::Granted { .. } | ToReceiver::Refused { .. }
        )
    });
    assert!(!answered, "{:?}", world.sent);
    claims.jti
}

pub(super) fn wait(world: &mut World, cameras: &[usize]) -> RequestId {
    let claims = world.claims(cameras);
    waits(world, 0, &claims)
}

/// The grant that was told by `Resume`.
fn resumed(world: &World) -> Option<GrantClaims> {
    world.sent.iter().find_map(|(_, message)| match message {
        ToReceiver::Resume { proof, .. } => {
            let proven = crate::format::jws::open::<GrantClaims>(proof, GRANT_TYPE);
            Some(proven.unwrap().claims)
        }
        _ => None,
    })
}

/// Approves, and confirms as the centre.
fn approved(world: &mut World, request: RequestId) -> GrantId {
    let done = world
        .gate
        .handle_approve(request, "uid 7", world.now)
        .unwrap();
    world.settle();
    let seq = world.seq;
    world.confirm(0, done.grant, 100 + seq);
    done.grant
}

#[test]
fn what_waits_opens_nothing_until_somebody_approves() {
    let mut world = World::with(approving());
    let request = wait(&mut world, &[0, 1]);
    assert!(world.running.is_empty(), "a wait is never a picture");
    assert!(world.counted.is_empty(), "not answered yet");
    assert_eq!(world.gate.approvals_waiting(), 1);
    world.advance(Duration::from_secs(100));
    let rows = world.gate.waiting(world.now);
    let row = &rows[0];
    assert_eq!((row.request, row.duration), (request, 600));
    assert_eq!(row.operator.number, "13-1");
    assert_eq!((row.grounds.as_str(), row.left.as_secs()), ("assault", 20));
    assert_eq!(row.cameras, [camera_id(0), camera_id(1)]);
    assert!(world.running.is_empty());

    let done = world
        .gate
        .handle_approve(request, "uid 7", world.now)
        .unwrap();
    assert_eq!(done.until, world.now.wall.plus(Duration::from_secs(600)));
    assert_eq!(world.gate.approvals_waiting(), 0);
    world.drain();
    assert!(world.running.is_empty(), "journalled first");
    world.settle();
    assert_eq!(world.cameras_running().len(), 2);
    let proof = resumed(&world).unwrap();
    assert_eq!(proof.grant, done.grant);
    assert_eq!(proof.start, world.now.wall.seconds(), "counts from here");
    assert_eq!(world.counted, [None]);
    let entry = world.journal.iter().find_map(|(_, _, entry)| match entry {
        Entry::Grant(entry) => Some(entry),
        _ => None,
    });
    assert_eq!(entry.unwrap().approved_by.as_deref(), Some("uid 7"));
    let again = world.gate.handle_approve(request, "uid 7", world.now);
    assert_eq!(again, Err(DecisionError::Unknown(request)));
}

#[test]
fn exempt_grounds_need_nobody() {
    let mut changed = approving();
    changed.agreements[0].approval_exempt = vec!["assault".to_owned()];
    let mut world = World::with(changed);
    let claims = world.claims(&[0]);
    assert!(world.ask(0, &claims).is_ok());
}

#[test]
fn an_agreement_without_approval_comes_first() {
    let mut several = approving();
    several.agreements[1] = agreement(0);
    several.agreements[1].cameras = vec!["camera-0".to_owned()];
    let mut world = World::with(several);
    let claims = world.claims(&[0, 1]);
    let grant = world.ask(0, &claims).unwrap();
    assert_eq!(world.gate.grants[&grant].terms.granted, [camera_id(0)]);
    wait(&mut world, &[1]);
}

#[test]
fn a_person_refuses_and_time_does() {
    let mut world = World::with(approving());
    let request = wait(&mut world, &[0]);
    world
        .gate
        .handle_refuse(request, "uid 7", world.now)
        .unwrap();
    assert!(wait_ended(&world, request).is_none(), "journalled first");
    world.settle();
    let refusal = wait_ended(&world, request).unwrap();
    assert_eq!(refusal.reason, Reason::CommuneRefused);
    let by = Some("uid 7".to_owned());
    assert_eq!(journalled(&world, request), [(Reason::CommuneRefused, by)]);
    assert_eq!(world.counted, [Some(Reason::CommuneRefused)]);

    let request = wait(&mut world, &[0]);
    world.advance(Duration::from_secs(119));
    assert!(wait_ended(&world, request).is_none());
    world.advance(Duration::from_secs(1));
    let refusal = wait_ended(&world, request).unwrap();
    assert_eq!(refusal.reason, Reason::ApprovalTimedOut);
    assert!(refusal.detail.contains("120 s"), "{refusal}");
    assert_eq!(
        journalled(&world, request),
        [(Reason::ApprovalTimedOut, None)]
    );
    let late = world.gate.handle_approve(request, "uid 7", world.now);
    assert_eq!(late, Err(DecisionError::Unknown(request)));
    // A wall clock that is set forward ends it too.
    let request = wait(&mut world, &[0]);
    world.now.wall = world.now.wall.plus(Duration::from_secs(120));
    world.advance(Duration::ZERO);
    assert!(wait_ended(&world, request).is_some());
    assert!(world.running.is_empty());
    assert_eq!(world.gate.approvals_waiting(), 0);
}

#[test]
fn checks_are_made_anew_when_somebody_approves() {
    // Meanwhile others took the room: it waits on, and fits later.
    let mut world = World::with(approving());
    let request = wait(&mut world, &[0]);
    let mut others = Vec::new();
    for number in 1..=3 {
        let other = wait(&mut world, &[number]);
        others.push(approved(&mut world, other));
    }
    let full = world.gate.handle_approve(request, "uid 7", world.now);
    let Err(DecisionError::NotNow(refusal)) = full else {
        panic!("{full:?}");
    };
    assert_eq!(refusal.reason, Reason::TooManyRelays);
    world
        .gate
        .end(others[0], Reason::GrantReleased.into(), None, world.now);
    world.settle();
    approved(&mut world, request);
    world
        .gate
        .end(others[1], Reason::GrantReleased.into(), None, world.now);
    // A cut of the camera, a reload and a revocation refuse at once.
    let cut = wait(&mut world, &[5]);
    let scope = Scope::Camera(camera_id(5));
    let minute = Duration::from_secs(60);
    world
        .gate
        .handle_cut(&scope, minute, "uid 7", world.now)
        .unwrap();
    world.settle();
    let refusal = wait_ended(&world, cut).unwrap();
    assert_eq!(refusal.reason, Reason::CommuneRefused);

    let mut world = World::with(approving());
    let request = wait(&mut world, &[0]);
    let mut changed = approving();
    changed.agreements[0].except = vec!["camera-0".to_owned()];
    world.gate.handle_settings(rules(changed), world.now);
    world.settle();
    let refusal = wait_ended(&world, request).unwrap();
    assert_eq!(refusal.reason, Reason::CameraNotCovered);

    let mut world = World::with(approving());
    let request = wait(&mut world, &[0]);
    let list = keys().revoked.clone();
    world.message(1, ToGateway::Revocation { list });
    world.settle();
    let refusal = wait_ended(&world, request).unwrap();
    assert_eq!(refusal.reason, Reason::DesignationRevoked);
    assert!(world.running.is_empty());
}

#[test]
fn an_approval_gives_no_more_than_was_shown() {
    let mut narrow = approving();
    narrow.agreements[0].except = vec!["camera-1".to_owned()];
    let mut world = World::with(narrow);
    let request = wait(&mut world, &[0, 1]);
    assert_eq!(world.gate.waiting(world.now)[0].cameras, [camera_id(0)]);
    world.gate.handle_settings(rules(approving()), world.now);
    world.settle();
    let grant = approved(&mut world, request);
    let terms = &world.gate.grants[&grant].terms;
    assert_eq!(terms.granted, [camera_id(0)]);
    assert_eq!(terms.refused[0].camera, camera_id(1));
}

#[test]
fn a_wait_outlives_its_link_and_its_end_is_told_on_the_next() {
    let mut world = World::with(approving());
    let (first, second) = (wait(&mut world, &[0]), wait(&mut world, &[1]));
    world.link_down(0);
    world.advance(Duration::from_secs(30));
    world
        .gate
        .handle_refuse(second, "uid 7", world.now)
        .unwrap();
    world.settle();
    world.sent.clear();
    world.link_up(0);
    assert_eq!(told_waiting(&world), [90]);
    let refusal = wait_ended(&world, second).unwrap();
    assert_eq!(refusal.reason, Reason::CommuneRefused);
    // Approved while the link is down: the grant goes on the next one.
    world.link_down(0);
    world.sent.clear();
    let done = world
        .gate
        .handle_approve(first, "uid 7", world.now)
        .unwrap();
    world.settle();
    assert!(resumed(&world).is_none());
    world.link_up(0);
    assert_eq!(resumed(&world).unwrap().grant, done.grant);
    // What was told long ago is not told again.
    world.advance(Duration::from_secs(1));
    world.advance(Duration::from_secs(600));
    world.link_down(0);
    world.sent.clear();
    world.link_up(0);
    assert!(wait_ended(&world, second).is_none());
}

#[test]
fn a_restart_revives_no_request() {
    for (later, reason) in [(5, Reason::ShuttingDown), (500, Reason::ApprovalTimedOut)] {
        let mut world = World::with(approving());
        let claims = world.claims(&[0]);
        let request = waits(&mut world, 0, &claims);
        let mut world = world.restarted(Duration::from_secs(later), approving());
        assert_eq!(world.gate.approvals_waiting(), 0);
        assert_eq!(journalled(&world, request), [(reason, None)]);
        world.sessions = [10, 10];
        world.link_up(0);
        assert_eq!(wait_ended(&world, request).unwrap().reason, reason);
        assert!(told_waiting(&world).is_empty());
        // Once more: its end is in the journal.
        let mut world = world.restarted(Duration::from_secs(1), approving());
        assert_eq!(journalled(&world, request).len(), 1);
        world.link_up(0);
        let text = keys().operators[0].sign(REQUEST_TYPE, &claims);
        let refusal = world.ask_text(0, &text).unwrap_err().reason;
        let used = [Reason::ReplayedRequest, Reason::StaleRequest];
        assert!(used.contains(&refusal), "{refusal}");
        assert!(world.running.is_empty());
    }
}

#[test]
fn a_stop_in_order_refuses_what_waits() {
    let mut world = World::with(approving());
    let request = wait(&mut world, &[0]);
    world.gate.handle_shutdown(world.now);
    world.settle();
    assert_eq!(journalled(&world, request), [(Reason::ShuttingDown, None)]);
    let late = world.gate.handle_approve(request, "uid 7", world.now);
    assert_eq!(late, Err(DecisionError::Unknown(request)));
}

#[test]
fn a_replay_ends_no_wait() {
    let mut world = World::with(approving());
    let claims = world.claims(&[0]);
    let request = waits(&mut world, 0, &claims);
    let text = keys().operators[0].sign(REQUEST_TYPE, &claims);
    assert_eq!(
        world.ask_text(0, &text).unwrap_err().reason,
        Reason::ReplayedRequest
    );
    assert_eq!(world.gate.approvals_waiting(), 1);
    assert!(journalled(&world, request).is_empty());
    approved(&mut world, request);
    let world = world.restarted(Duration::from_secs(5), approving());
    assert_eq!(world.running.len(), 1, "it was granted");
}

#[test]
fn without_a_journal_nothing_waits_and_nothing_is_approved() {
    let mut world = World::with(approving());
    let first = wait(&mut world, &[0]);
    world.journal_works = false;
    let claims = world.claims(&[1]);
    assert_eq!(world.refused(&claims), Reason::JournalUnavailable);
    let now = world.gate.handle_approve(first, "uid 7", world.now);
    let Err(DecisionError::NotNow(refusal)) = now else {
        panic!("{now:?}");
    };
    assert_eq!(refusal.reason, Reason::JournalUnavailable);
    assert_eq!(world.gate.approvals_waiting(), 1);
    world.journal_works = true;
    world.advance(Duration::from_secs(2));
    assert_eq!(journalled(&world, claims.jti).len(), 1, "owed, and written");
    // Its grant can't be written: it is not, and its end is told.
    world.sent.clear();
    world
        .gate
        .handle_approve(first, "uid 7", world.now)
        .unwrap();
    world.journal_works = false;
    world.settle();
    let refusal = wait_ended(&world, first).unwrap();
    assert_eq!(refusal.reason, Reason::JournalUnavailable);
    assert!(world.running.is_empty());
    world.journal_works = true;
    world.advance(Duration::from_secs(2));
    let reasons = journalled(&world, first)
        .into_iter()
        .map(|(reason, _)| reason);
    assert!(reasons.eq([Reason::JournalUnavailable]));
}

#[test]
fn few_wait_at_once() {
    let mut world = World::with(approving());
    for _ in 0..WAITING_PER_UNIT {
        wait(&mut world, &[0]);
    }
    let claims = world.claims(&[0]);
    let refusal = world.ask(0, &claims).unwrap_err();
    assert_eq!(refusal.reason, Reason::ApprovalPending);
    assert!(refusal.detail.contains("CORG 13"), "{refusal}");
    let claims = world.claims(&[0]);
    waits(&mut world, 2, &claims);
}

#[test]
fn a_renewal_needs_no_approval_for_what_was_approved() {
    let mut world = World::with(approving());
    let request = wait(&mut world, &[0, 1]);
    let grant = approved(&mut world, request);
    // A colleague of the unit carries it on, with fewer cameras.
    let mut claims = world.claims(&[0]);
    claims.renews = Some(grant);
    assert_eq!(world.ask(1, &claims).unwrap(), grant);
    world.confirm(0, grant, 300);
    let terms = &world.gate.grants[&grant].terms;
    assert_eq!(terms.approved_by.as_deref(), Some("uid 7"));
    // Also after a restart.
    let mut world = world.restarted(Duration::from_secs(5), approving());
    world.sessions = [10, 10];
    world.link_up(0);
    let mut claims = world.claims(&[0]);
    claims.renews = Some(grant);
    assert_eq!(world.ask(0, &claims).unwrap(), grant);
    world.confirm(0, grant, 400);
    // Another camera is for the commune to say.
    let mut claims = world.claims(&[0, 1]);
    claims.renews = Some(grant);
    let request = waits(&mut world, 0, &claims);
    assert_eq!(world.gate.waiting(world.now)[0].renews, Some(grant));
    assert_eq!(world.cameras_running(), BTreeSet::from([camera_id(0)]));
    assert_eq!(approved(&mut world, request), grant);
    assert_eq!(world.cameras_running().len(), 2);
    // A grant that nobody approved does not become one by a renewal.
    let mut world = World::new();
    let grant = world.granted(&[0]);
    world.gate.handle_settings(rules(approving()), world.now);
    world.settle();
    assert_eq!(world.running.len(), 1, "what lives goes on");
    let mut claims = world.claims(&[0]);
    claims.renews = Some(grant);
    waits(&mut world, 0, &claims);
}

#[test]
fn what_was_judged_before_the_commune_began_to_approve_is_refused() {
    let mut world = World::new();
    let claims = world.claims(&[0]);
    world.sent.clear();
    world.send_request(0, &claims);
    world.gate.handle_settings(rules(approving()), world.now);
    world.settle();
    assert_eq!(world.answer().unwrap_err().reason, Reason::ApprovalPending);
    assert!(world.running.is_empty());
}

#[test]
fn a_request_that_its_operator_gives_up_waits_no_more_and_says_so() {
    let mut world = World::with(approving());
    let request = wait(&mut world, &[0]);
    let now = world.now;
    let cancel = |world: &mut World, number: usize| {
        world
            .gate
            .handle_cancel(&receiver(number), request, "4711", now);
        world.settle();
    };
    cancel(&mut world, 1);
    assert_eq!(world.gate.approvals_waiting(), 1, "another centre's word");
    cancel(&mut world, 0);
    assert_eq!(world.gate.approvals_waiting(), 0);
    assert_eq!(
        journalled(&world, request),
        [(Reason::RequestCancelled, None)]
    );
    let refusal = wait_ended(&world, request).unwrap();
    assert_eq!(refusal.reason, Reason::RequestCancelled);
    let late = world
        .gate
        .handle_approve(request, "uid 7", now)
        .unwrap_err();
    assert_eq!(late.reason(), Reason::RequestCancelled);
    assert!(
        late.to_string()
            .contains("waits no more: request_cancelled"),
        "{late}"
    );
    assert!(world.cameras_running().is_empty());
}
