//! What the desk keeps, and shares with the API.

use super::*;
use crate::format::statement::RefusedCamera;

fn release(world: &mut World, grant: GrantId) {
    let now = world.now();
    let who = world.who("4711", "CORG 13");
    world.desk.handle_release(grant, &who, now).unwrap();
    world.drain();
}

#[test]
fn a_change_copies_nothing_but_the_grant_that_changed() {
    let mut world = World::linked();
    world.granted(id(1), &["port"]);
    world.granted(id(2), &["quai-nord"]);
    world.granted(id(3), &["ecole-1"]);
    release(&mut world, id(3));
    let shown = |world: &World, grant| Arc::clone(world.desk.grant(grant).unwrap());
    let before = [1, 2, 3].map(|number| shown(&world, id(number)));
    let ended = Arc::clone(world.desk.ended());
    let (version, communes) = (world.desk.version(), world.desk.communes_version());
    let state = ToReceiver::Relay {
        relay: RelayId(1),
        camera: camera("port"),
        state: RelayState::Live,
        refusal: None,
        profile: Profile::Main,
        profile_cause: None,
    };
    world.tell(1, state);
    let after = [1, 2, 3].map(|number| shown(&world, id(number)));
    assert_eq!(after[0].cameras[0].state, RelayState::Live);
    assert!(!Arc::ptr_eq(&before[0], &after[0]));
    assert!(Arc::ptr_eq(&before[0].proof, &after[0].proof));
    assert!(Arc::ptr_eq(&before[1], &after[1]));
    assert!(Arc::ptr_eq(&before[2], &after[2]));
    assert!(Arc::ptr_eq(&ended, world.desk.ended()));
    assert!(world.desk.version() > version);
    assert_eq!(world.desk.communes_version(), communes);
    world.link(2);
    assert!(world.desk.communes_version() > communes);
}

#[test]
fn an_ended_grant_is_told_for_ten_minutes_and_says_why_of_each_camera() {
    let mut world = World::linked();
    world.granted(id(1), &["port", "quai-nord"]);
    release(&mut world, id(1));
    assert_eq!(world.desk.grants().count(), 0);
    let view = Arc::clone(world.desk.grant(id(1)).unwrap());
    for camera in &view.cameras {
        assert_eq!(camera.state, RelayState::Ended);
        let refusal = view.refusal(camera).unwrap();
        assert_eq!(refusal.reason, Reason::GrantReleased);
    }
    world.after(ENDED_KEPT - Duration::from_secs(1));
    assert!(world.desk.grant(id(1)).is_some());
    let version = world.desk.version();
    world.after(Duration::from_secs(1));
    assert!(world.desk.grant(id(1)).is_none());
    assert!(world.desk.version() > version);
}

#[test]
fn refusals_of_single_cameras_are_kept_of_the_newest_answers_alone() {
    let mut world = World::linked();
    let names: Vec<String> = (0..200).map(|number| format!("camera-{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut asked = Vec::new();
    for _ in 0..22 {
        let claims = world.claims(&names);
        let request = world.sign(&claims);
        let number = forwarded(&world.ask(&request));
        let refused = claims.cameras.iter().map(|camera| RefusedCamera {
            camera: camera.clone(),
            refusal: Refusal::new(Reason::CameraNotCovered, "x".repeat(512)),
        });
        let message = ToReceiver::Refused {
            id: number,
            refusal: Reason::CameraNotCovered.into(),
            cameras: refused.collect(),
            head: None,
        };
        world.tell(1, message);
        asked.push(claims.jti);
        world.clock.advance(Duration::from_secs(1));
    }
    let cameras = |jti: &RequestId| {
        let asked = world.asked(*jti, "CORG 13").unwrap();
        let denial = asked.result.as_ref().unwrap().as_ref().unwrap_err();
        assert_eq!(denial.refusal.reason, Reason::CameraNotCovered);
        denial.cameras.len()
    };
    // 4096 in all: 20 answers of 200 cameras.
    assert_eq!([cameras(&asked[0]), cameras(&asked[1])], [0, 0]);
    assert!(asked[2..].iter().all(|jti| cameras(jti) == 200));
}

#[test]
fn a_renewal_that_the_journal_tells_of_behind_the_end_revives_nothing_after_a_restart() {
    let mut world = World::linked();
    world.granted(id(1), &["port"]);
    let mut claims = world.claims(&["port"]);
    claims.renews = Some(id(1));
    let request = world.sign(&claims);
    let number = forwarded(&world.ask(&request));
    release(&mut world, id(1));
    let proof = world.proof_claims(id(1), &request, &claims);
    let proof = world.gateway.sign(GRANT_TYPE, &proof);
    let commands = world.tell(
        1,
        ToReceiver::Granted {
            id: number,
            proof: proof.clone(),
            relays: relays(&claims, 1),
        },
    );
    assert_eq!(refused(&commands), Reason::GrantReleased);
    assert!(matches!(
        world.entries.last(),
        Some((_, _, Entry::Grant(_)))
    ));
    world.restart();
    assert_eq!(world.desk.grants_active(), 0);
    world.link(2);
    let resume = ToReceiver::Resume {
        request,
        proof,
        relays: relays(&claims, 4),
    };
    let commands = world.tell(2, resume);
    assert_eq!(allowed(&commands), []);
    assert!(matches!(sent(&commands)[..], [ToGateway::Release { grant, .. }] if *grant == id(1)));
}
