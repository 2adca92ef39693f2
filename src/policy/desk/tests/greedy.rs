//! An operator who asks for all there is: the others, and the journal, notice little.

use super::*;
use crate::policy::peer::pace;

/// Bytes that an entry takes in the journal, roughly.
fn bytes(entry: &Entry) -> usize {
    serde_json::to_string(entry).unwrap().len() + 400
}

fn another(world: &World, number: &str) -> Signer {
    let now = world.now().wall;
    let identity = world.trial.simple_operator(number, "CORG 13", now).unwrap();
    Signer::from_pem(identity.key.expose(), &identity.certificate).unwrap()
}

#[test]
fn requests_have_a_pace_and_the_rest_is_counted() {
    let mut world = World::linked();
    let mut outcomes: BTreeMap<Reason, u32> = BTreeMap::new();
    // Ten minutes of two requests a second, all of them refused for their grounds.
    for _ in 0..1_200 {
        let mut claims = world.claims(&["port"]);
        claims.grounds = "drill".to_owned();
        let request = world.sign(&claims);
        *outcomes.entry(refused(&world.ask(&request))).or_default() += 1;
        world.after(Duration::from_millis(500));
    }
    let paced = outcomes[&Reason::TooManyRequests];
    // The last one comes half a second before the tenth minute is over.
    let refused_one_by_one = pace::REQUESTS + 299;
    assert_eq!(paced, 1_200 - refused_one_by_one, "{outcomes:?}");
    let lines = |wanted: fn(&Entry) -> Option<u64>| {
        let entries = world.entries.iter();
        let counted = entries.filter_map(|(_, _, entry)| wanted(entry));
        counted.collect::<Vec<u64>>()
    };
    let stored = lines(|entry| matches!(entry, Entry::Refused { .. }).then_some(1));
    assert_eq!(stored.len(), refused_one_by_one as usize);
    let excess = lines(|entry| match entry {
        Entry::Excess { count, .. } => Some(*count),
        _ => None,
    });
    assert!(excess.len() <= 12, "{excess:?}");
    // Meanwhile another one is served.
    let claims = world.claims(&["port"]);
    let other = another(&world, "4712").sign(REQUEST_TYPE, &claims);
    assert!(forwarded(&world.ask(&other)) > 0);
    // A restart does not make what was only counted usable.
    let mut claims = world.claims(&["port"]);
    claims.iat -= 5;
    let used = world.sign(&claims);
    world.restart();
    world.link(1);
    assert_eq!(refused(&world.ask(&used)), Reason::ReplayedRequest);
}

#[test]
fn a_crisis_is_no_excess() {
    let mut world = World::linked();
    let cameras: Vec<String> = (0..200).map(|number| format!("c-{number}")).collect();
    let names: Vec<&str> = cameras.iter().map(String::as_str).collect();
    for number in 0..50 {
        let (_, _, commands) = world.granted(id(number), &names);
        assert_eq!(answer(&commands), Some(Ok(id(number))));
        world.after(Duration::from_millis(1_000));
    }
}

#[test]
fn one_operator_has_a_share_of_the_grants() {
    let mut world = World::linked();
    for number in 0..pace::GRANTS as u128 {
        world.granted(id(number), &["port"]);
        world.after(pace::REQUEST_EVERY);
    }
    let claims = world.claims(&["port"]);
    let request = world.sign(&claims);
    assert_eq!(refused(&world.ask(&request)), Reason::TooManyRelays);
    // He may renew what he has, and give some back.
    let mut claims = world.claims(&["port"]);
    claims.renews = Some(id(5));
    let (_, _, commands) = world.granted_for(id(5), &claims);
    assert_eq!(answer(&commands), Some(Ok(id(5))));
    let who = world.who("4711", "CORG 13");
    let now = world.now();
    world.desk.handle_release(id(6), &who, now).unwrap();
    world.drain();
    let (_, _, commands) = world.granted(id(6_000), &["port"]);
    assert_eq!(answer(&commands), Some(Ok(id(6_000))));
}

/// What README and interfaces.md say of the journal's growth.
#[test]
fn viewings_and_their_lines_are_bounded_however_often_a_picture_is_opened() {
    const HOUR: Duration = Duration::from_secs(3_600);
    let mut world = World::linked_for_hours();
    let mut claims = world.claims(&["port"]);
    claims.duration = 20_000;
    world.granted_for(id(1), &claims);
    let before = world.entries.len();
    let mut turned_away = 0_u32;
    let step = Duration::from_millis(200);
    for number in 0..u64::try_from(HOUR.as_millis() / step.as_millis()).unwrap() {
        let viewer = Viewer {
            number,
            grant: id(1),
            commune: commune(),
            camera: camera("port"),
            who: "4711".to_owned(),
            how: "live".to_owned(),
            // Each from elsewhere, so that none continues another.
            from: format!("10.{}.{}.1:5000", number / 250, number % 250),
        };
        let now = world.now();
        world.desk.handle_viewing_started(viewer, now);
        let commands = world.drain();
        let is_refused = |command: &Command| {
            matches!(
                command,
                Command::RefuseViewer {
                    reason: Reason::TooManyRequests,
                    ..
                }
            )
        };
        turned_away += u32::from(commands.iter().any(is_refused));
        let now = world.now();
        world.desk.handle_viewing_ended(number, None, now);
        world.after(step);
    }
    world.after(viewing::REOPENED);
    let written: Vec<&Entry> = world.entries[before..]
        .iter()
        .map(|(_, _, one)| one)
        .collect();
    let most = 2 * (pace::VIEWINGS as usize + 7_200);
    assert!(written.len() <= most + 2, "{}", written.len());
    let size: usize = written.iter().map(|entry| bytes(entry)).sum();
    assert!(size < 16 * 1024 * 1024, "{size} bytes an hour");
    assert!(turned_away > 5_000, "{turned_away}");
}
