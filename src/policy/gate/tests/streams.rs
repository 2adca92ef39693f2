//! The other stream of a camera, for viewers who can't decode the first.

use super::*;
use crate::media::relay::Profile;

impl World {
    fn needs(&mut self, relay: RelayId, first: bool, other: bool) {
        self.sent.clear();
        let message = ToGateway::Streams {
            relay,
            first,
            other,
        };
        self.message(0, message);
        self.settle();
    }

    /// What the centre was told last of the other stream.
    fn told_other(&self) -> Option<(Option<RelayId>, RelayState, Option<Reason>)> {
        self.sent
            .iter()
            .rev()
            .find_map(|(_, message)| match message {
                ToReceiver::Other {
                    relay,
                    state,
                    refusal,
                    ..
                } => Some((*relay, *state, refusal.as_ref().map(|why| why.reason))),
                _ => None,
            })
    }

    /// What it was told last of the camera.
    fn told_camera(&self) -> Option<(RelayState, Profile, Option<Cause>)> {
        self.sent
            .iter()
            .rev()
            .find_map(|(_, message)| match message {
                ToReceiver::Relay {
                    state,
                    profile,
                    profile_cause,
                    ..
                } => Some((*state, *profile, *profile_cause)),
                _ => None,
            })
    }

    fn state(&mut self, relay: RelayId, state: RelayState) {
        self.sent.clear();
        self.gate
            .handle_relay_state(&receiver(0), relay, state, None);
        self.settle();
    }

    /// A world whose camera 0 has a sub-stream and is relayed.
    fn with_sub(mut settings: Gateway) -> (Self, GrantId, RelayId) {
        let camera = settings.cameras.get_mut(&camera_id(0)).unwrap();
        let streams = camera.streams.as_mut().unwrap();
        streams.sub = Some(streams.main.clone());
        let mut world = Self::with(settings);
        let grant = world.granted(&[0]);
        let first = *world.running.keys().next().unwrap();
        world.state(first, RelayState::Live);
        (world, grant, first)
    }
}

#[test]
fn the_other_stream_goes_besides_and_then_instead() {
    let (mut world, grant, first) = World::with_sub(settings());
    world.needs(first, true, true);
    let (other, state, _) = world.told_other().unwrap();
    let other = other.unwrap();
    assert_eq!(state, RelayState::Starting);
    assert_eq!(world.running.len(), 2);
    let wish = |world: &World, relay: RelayId| world.running[&relay].3;
    assert_eq!(wish(&world, other), ProfileWish::Sub);
    world.state(other, RelayState::Live);
    assert_eq!(world.told_other().unwrap().1, RelayState::Live);
    // A renewal moves both deadlines, and both count for the same grant.
    let before = world.running[&other].2;
    world.advance(Duration::from_secs(10));
    let mut claims = world.claims(&[0]);
    claims.renews = Some(grant);
    world.ask(0, &claims).unwrap();
    assert!(world.running[&other].2 > before);
    assert_eq!(world.running[&other].2, world.running[&first].2);
    // Nobody needs the first: the camera is as the other one is.
    world.needs(first, false, true);
    assert_eq!(world.running.keys().collect::<Vec<_>>(), [&other]);
    let told = (RelayState::Live, Profile::Sub, Some(Cause::Decoder));
    assert_eq!(world.told_camera(), Some(told));
    world.state(other, RelayState::Retrying);
    assert_eq!(world.told_camera().unwrap().0, RelayState::Retrying);
    // A centre that comes back is told of it.
    world.sent.clear();
    world.link_down(0);
    world.link_up(0);
    assert_eq!(world.told_other().unwrap().0, Some(other));
    world.needs(first, true, false);
    assert_eq!(world.running.keys().collect::<Vec<_>>(), [&first]);
    assert_eq!(world.told_other(), None);
    world.needs(first, true, true);
    assert_eq!(world.running.len(), 2);
    // Both end with the grant.
    let cut = Scope::Grant(grant);
    world
        .gate
        .handle_cut(&cut, Duration::from_secs(60), "uid 0", world.now)
        .unwrap();
    world.settle();
    assert!(world.running.is_empty());
}

#[test]
fn a_camera_with_one_stream_and_a_full_uplink_are_told() {
    let mut world = World::new();
    world.granted(&[0]);
    let first = *world.running.keys().next().unwrap();
    world.needs(first, true, true);
    let refused = Some(Reason::CodecUnsupported);
    assert_eq!(
        world.told_other(),
        Some((None, RelayState::Failed, refused))
    );

    let mut settings = settings();
    settings.uplink.max_bitrate = Some(settings.uplink.min_per_relay * 11 / 10);
    let (mut world, _, first) = World::with_sub(settings);
    world.needs(first, true, true);
    let refused = Some(Reason::UplinkFull);
    assert_eq!(
        world.told_other(),
        Some((None, RelayState::Failed, refused))
    );
    assert_eq!(world.running.len(), 1);
    // Instead of the first it fits.
    world.needs(first, false, true);
    assert_eq!(world.told_other().unwrap().1, RelayState::Starting);
    assert_eq!(world.running.len(), 1);
    assert!(!world.running.contains_key(&first));
}

#[test]
fn streams_are_changed_at_a_pace() {
    let (mut world, _, first) = World::with_sub(settings());
    let before = world.stopped.len();
    for _ in 0..20 {
        world.needs(first, true, true);
        assert!(world.told_camera().is_some(), "it is told how they are");
        world.needs(first, true, false);
        assert!(world.told_camera().is_some());
    }
    assert_eq!((world.stopped.len() - before, world.running.len()), (4, 1));
    world.advance(Duration::from_secs(2));
    world.needs(first, true, true);
    assert_eq!(world.running.len(), 2);
    // What changes nothing costs nothing.
    for _ in 0..20 {
        world.needs(first, true, true);
    }
    world.advance(Duration::from_secs(2));
    world.needs(first, true, false);
    assert_eq!(world.running.len(), 1);
}

#[test]
fn streams_of_others_and_of_nobody_are_left_alone() {
    let (mut world, _, first) = World::with_sub(settings());
    for (number, relay) in [(1, first), (0, RelayId(99))] {
        let message = ToGateway::Streams {
            relay,
            first: false,
            other: true,
        };
        world.message(number, message);
        world.settle();
        assert_eq!(world.running.len(), 1);
    }
    // A relay carries something as long as its grants live.
    world.needs(first, false, false);
    assert!(world.running.contains_key(&first));
}
