//! Several receivers of one centre: who is told, who has the pictures, how they move.

use proptest::prelude::*;

use super::super::several::LOST_AFTER;
use super::*;
use crate::format::control::{GrantTold, ReceiverHello, VERSION};
use crate::secret::Secret;

/// Three receivers of the first centre.
fn signers() -> &'static [Arc<Signer>; 3] {
    static SIGNERS: OnceLock<[Arc<Signer>; 3]> = OnceLock::new();
    SIGNERS.get_or_init(|| {
        let more = || signer(&keys().trial.machine(CENTRES[0]).unwrap());
        [keys().centres[0].clone(), more(), more()]
    })
}

fn of(number: usize) -> ReceiverId {
    receiver_with(0, &signers()[number])
}

fn several() -> Gateway {
    let mut settings = settings();
    settings.agreements[0].addresses = vec!["a:1".to_owned(), "b:1".to_owned(), "c:1".to_owned()];
    settings.agreements[0].max_relays = 100;
    settings
}

/// A world whose first centre has two linked receivers, and a third that is away.
struct Centre {
    world: World,
    sessions: [u64; 3],
    seq: u64,
}

impl Centre {
    fn new() -> Self {
        let mut centre = Self {
            world: World::with(several()),
            sessions: [0; 3],
            seq: 1_000,
        };
        centre.world.link_down(0);
        centre.up(0);
        centre.up(1);
        centre.world.sent.clear();
        centre
    }

    fn now(&self) -> Now {
        self.world.now
    }

    fn up(&mut self, number: usize) {
        // Sessions of the world's own links are below.
        self.sessions[number] += 1_000;
        let (session, now) = (self.sessions[number] + number as u64, self.now());
        let gate = &mut self.world.gate;
        gate.handle_link_up(&of(number), session, Some("head"), None, now);
        self.say(
            number,
            ToGateway::Hello(ReceiverHello {
                minor: VERSION.1,
                version: "1".to_owned(),
                wall: now.wall.0,
                name: "CORG 13".to_owned(),
                head: None,
            }),
        );
    }

    fn down(&mut self, number: usize) {
        let (session, now) = (self.sessions[number] + number as u64, self.now());
        self.world.gate.handle_link_down(&of(number), session, now);
        self.world.settle();
    }

    fn is_up(&self, number: usize) -> bool {
        self.world.gate.links.contains_key(&of(number))
    }

    fn say(&mut self, number: usize, message: ToGateway) {
        self.world.next += 1;
        let fresh = Fresh {
            grant: GrantId(Uuid::from_u128(0xfeed_0000 + self.world.next)),
        };
        let (session, now) = (self.sessions[number] + number as u64, self.now());
        self.world
            .gate
            .handle_message(&of(number), session, message, fresh, now);
        self.world.drain();
    }

    /// A request through a receiver, written.
    fn ask(&mut self, number: usize, cameras: &[usize], renews: Option<GrantId>) -> String {
        let mut claims = self.world.claims(cameras);
        claims.renews = renews;
        let request = keys().operators[0].sign(REQUEST_TYPE, &claims);
        let id = 5;
        self.say(
            number,
            ToGateway::Request {
                id,
                request: request.clone(),
            },
        );
        self.world.settle();
        request
    }

    fn granted(&mut self, number: usize, cameras: &[usize]) -> GrantId {
        let before: BTreeSet<GrantId> = self.world.gate.grants.keys().copied().collect();
        self.ask(number, cameras, None);
        let mut new = self.world.gate.grants.keys();
        let grant = *new.find(|id| !before.contains(id)).unwrap();
        self.confirm(number, grant);
        grant
    }

    fn confirm(&mut self, number: usize, grant: GrantId) {
        let Some(live) = self.world.gate.grants.get(&grant) else {
            return;
        };
        let request = live.terms.request.hash();
        self.seq += 1;
        let claims = HeadClaims {
            iss: CENTRES[0].to_owned(),
            journal: number.to_string().repeat(32),
            seq: self.seq,
            link: Sha256::of(&self.seq.to_be_bytes()),
            iat: self.now().wall.seconds(),
        };
        let head = signers()[number].sign(HEAD_TYPE, &claims);
        self.say(
            number,
            ToGateway::Confirm {
                grant,
                request,
                head,
            },
        );
        self.world.settle();
    }

    /// Where the pictures of a grant go.
    fn home(&self, grant: GrantId) -> ReceiverId {
        self.world.gate.grants[&grant].terms.receiver.clone()
    }

    /// What this receiver was told of grants since this was asked last.
    fn told(&mut self, number: usize) -> Vec<GrantTold> {
        let sent = std::mem::take(&mut self.world.sent);
        let (his, others): (Vec<_>, Vec<_>) =
            sent.into_iter().partition(|(to, _)| to == &of(number));
        self.world.sent = others;
        let told = his.into_iter().filter_map(|(_, message)| match message {
            ToReceiver::Grant(told) => Some(*told),
            _ => None,
        });
        told.collect()
    }

    fn moved(&self) -> Vec<Sha256> {
        let entries = self.world.journal.iter();
        let moved = entries.filter_map(|(_, _, entry)| match entry {
            Entry::Moved { receiver, .. } => Some(*receiver),
            _ => None,
        });
        moved.collect()
    }

    /// The receivers to which relays go.
    fn running(&self) -> Vec<ReceiverId> {
        let running = self.world.running.values();
        running.map(|(to, ..)| to.clone()).collect()
    }
}

#[test]
fn every_receiver_is_told_and_a_lost_ones_pictures_move_once_both_journals_hold_it() {
    let mut centre = Centre::new();
    let grant = centre.granted(0, &[0, 1]);
    let told = centre.told(1).pop().unwrap();
    assert_eq!((told.here, told.receiver), (false, of(0).key));
    assert_eq!(told.relays.len(), 2);
    let password = Secret::new("abc");
    centre.say(
        0,
        ToGateway::Password {
            grant,
            password: password.clone(),
        },
    );
    assert_eq!(
        centre.told(1).pop().unwrap().password,
        Some(password.clone())
    );
    // Another receiver has no say in it.
    let other = Secret::new("def");
    centre.say(
        1,
        ToGateway::Password {
            grant,
            password: other,
        },
    );
    centre.down(0);
    centre.world.advance(LOST_AFTER - Duration::from_millis(1));
    assert_eq!((centre.moved(), centre.home(grant)), (vec![], of(0)));
    centre.world.advance(Duration::from_millis(1));
    assert_eq!(centre.moved(), [of(1).key]);
    let told = centre.told(1).pop().unwrap();
    assert!(told.here && told.receiver == of(1).key);
    assert_eq!(told.password, Some(password));
    assert_eq!(centre.running(), [of(0), of(0)], "not before it confirms");
    let before = centre.world.stopped.len();
    centre.confirm(1, grant);
    assert_eq!(centre.home(grant), of(1));
    assert_eq!(centre.running(), [of(1), of(1)]);
    let numbers: BTreeSet<RelayId> = centre.world.running.keys().copied().collect();
    assert_eq!(numbers, told.relays.values().copied().collect());
    let stopped = &centre.world.stopped[before..];
    assert!(stopped.iter().all(|(_, why)| *why == Reason::OtherReceiver));
    assert_eq!(centre.world.ended(grant), None);
    // The one that was lost comes back, and hears of it.
    centre.up(0);
    let told = centre.told(0).pop().unwrap();
    assert_eq!((told.here, told.receiver), (false, of(1).key));
    assert_eq!(centre.home(grant), of(1), "what works stays where it is");
    // The journal tells where its pictures go.
    let Centre { world, .. } = centre;
    let world = world.restarted(Duration::from_secs(1), several());
    assert_eq!(world.gate.grants[&grant].terms.receiver, of(1));
}

#[test]
fn a_silent_receiver_is_lost_unless_all_are_silent() {
    let mut centre = Centre::new();
    let grant = centre.granted(0, &[0]);
    let now = centre.now();
    centre.world.gate.handle_silence(&of(0), LOST_AFTER, now);
    centre.world.gate.handle_silence(&of(1), LOST_AFTER, now);
    centre.world.advance(Duration::from_millis(500));
    assert_eq!(centre.moved(), [], "the commune's own line is cut");
    // Its silence is a little shorter than the first one's, or ends a little earlier.
    let now = centre.now();
    let shorter = LOST_AFTER - Duration::from_millis(300);
    centre.world.gate.handle_silence(&of(1), shorter, now);
    centre.world.advance(Duration::from_millis(500));
    assert_eq!(centre.moved(), []);
    let now = centre.now();
    centre
        .world
        .gate
        .handle_silence(&of(1), Duration::ZERO, now);
    centre.world.advance(Duration::from_millis(400));
    assert_eq!(centre.moved(), []);
    centre.world.advance(Duration::from_millis(500));
    centre.confirm(1, grant);
    assert_eq!(centre.home(grant), of(1));
    // Its queue holds the news for the moment at which it is heard.
    assert!(centre.told(0).iter().any(|told| told.receiver == of(1).key));
}

#[test]
fn one_that_does_not_confirm_is_passed_over_and_one_that_is_back_keeps_its_pictures() {
    let mut centre = Centre::new();
    centre.up(2);
    let grant = centre.granted(0, &[0]);
    centre.down(0);
    centre.world.advance(LOST_AFTER);
    let first = centre.moved();
    let (asked, next) = if first == [of(1).key] { (1, 2) } else { (2, 1) };
    centre.world.advance(Duration::from_secs(2));
    assert_eq!(centre.moved(), [of(asked).key, of(next).key]);
    // Too late: the other one is asked now.
    centre.confirm(asked, grant);
    assert_eq!(centre.home(grant), of(0));
    centre.up(0);
    centre.world.advance(Duration::from_secs(2));
    assert_eq!(centre.moved().last(), Some(&of(0).key));
    assert_eq!((centre.home(grant), centre.running()), (of(0), vec![of(0)]));
    let told = centre.told(next).pop().unwrap();
    assert_eq!((told.here, told.receiver), (false, of(0).key));
}

#[test]
fn a_move_that_nobody_confirmed_before_a_restart_is_none() {
    let mut centre = Centre::new();
    let grant = centre.granted(0, &[0]);
    centre.down(0);
    centre.world.advance(LOST_AFTER);
    assert_eq!(centre.moved(), [of(1).key]);
    let Centre { world, .. } = centre;
    let mut world = world.restarted(Duration::from_secs(1), several());
    assert_eq!(world.gate.grants[&grant].terms.receiver, of(0));
    // Given up: the first one is back, and another restart finds it so.
    let back = Entry::Moved {
        grant,
        centre: super::centre(0),
        receiver: of(0).key,
    };
    world.gate.handle_note(back);
    world.settle();
    let world = world.restarted(Duration::from_secs(1), several());
    assert_eq!(world.gate.grants[&grant].terms.receiver, of(0));
}

#[test]
fn tries_to_move_come_with_longer_and_longer_pauses() {
    let mut centre = Centre::new();
    let grant = centre.granted(0, &[0]);
    centre.down(0);
    centre.world.advance(LOST_AFTER);
    for _ in 0..240 {
        centre.world.advance(Duration::from_millis(500));
    }
    // At 0, 2, 6, 14, 30 and 62 s.
    assert_eq!(centre.moved(), [of(1).key; 6]);
    // Back, and lost again: at once as at first.
    centre.up(0);
    centre.world.advance(Duration::from_secs(4));
    let before = centre.moved().len();
    centre.down(0);
    centre.world.advance(LOST_AFTER);
    assert_eq!(centre.moved().len(), before + 1);
    centre.confirm(1, grant);
    assert_eq!(centre.home(grant), of(1));
}

#[test]
fn a_password_that_changes_again_and_again_is_not_told_each_time() {
    let mut centre = Centre::new();
    let grant = centre.granted(0, &[0]);
    centre.told(1);
    for n in 0..50 {
        let password = Secret::new(format!("password {n}"));
        centre.say(0, ToGateway::Password { grant, password });
    }
    assert_eq!(centre.told(1).len(), 16);
    // The newest one is what the next one to have the pictures is told.
    centre.down(0);
    centre.world.advance(LOST_AFTER);
    let told = centre.told(1).pop().unwrap();
    assert_eq!(told.password, Some(Secret::new("password 49")));
}

#[test]
fn a_renewal_through_another_receiver_brings_the_pictures_there() {
    let mut centre = Centre::new();
    let grant = centre.granted(0, &[0, 1]);
    centre.ask(1, &[1], Some(grant));
    assert_eq!(centre.home(grant), of(1));
    assert_eq!(centre.running(), [of(1)]);
    let told = centre.told(0).pop().unwrap();
    assert_eq!((told.here, told.receiver), (false, of(1).key));
    // A grant of its own for a camera that goes elsewhere is a relay of its own.
    centre.granted(0, &[1]);
    assert_eq!(centre.running().len(), 2);
}

#[test]
fn a_request_is_used_once_whichever_receiver_brings_it() {
    let mut centre = Centre::new();
    let request = centre.ask(0, &[0], None);
    centre.world.sent.clear();
    centre.say(1, ToGateway::Request { id: 9, request });
    centre.world.settle();
    let refused = centre
        .world
        .sent
        .iter()
        .find_map(|(to, message)| match message {
            ToReceiver::Refused { refusal, .. } => Some((to.clone(), refusal.reason)),
            _ => None,
        });
    assert_eq!(refused, Some((of(1), Reason::ReplayedRequest)));
}

#[test]
fn an_end_is_told_to_all_and_each_receivers_list_is_taken() {
    let mut centre = Centre::new();
    let grant = centre.granted(0, &[0]);
    centre.say(
        1,
        ToGateway::Release {
            grant,
            by: "13-1".to_owned(),
            reason: None,
        },
    );
    centre.world.settle();
    let told =
        |number: usize, centre: &Centre| {
            centre.world.sent.iter().any(|(to, message)| {
                to == &of(number) && matches!(message, ToReceiver::Ended { .. })
            })
        };
    assert!(told(0, &centre) && told(1, &centre));
    for (number, journal) in [(0, "a"), (1, "b"), (1, "b")] {
        let claims = ViewingsClaims {
            iss: super::centre(0),
            aud: CommuneId::new("berre-l-etang").unwrap(),
            grant,
            iat: centre.now().wall.seconds(),
            part: Some(0),
            parts: Some(1),
            total: Some(0),
            viewings: Vec::new(),
            received: Vec::new(),
            counted_since: None,
            journal: Some(journal.to_owned()),
        };
        let statement = signers()[number].sign(VIEWINGS_TYPE, &claims);
        centre.say(number, ToGateway::Viewings { statement });
        centre.world.settle();
    }
    let lists = |world: &World| {
        let lists = world.journal.iter();
        lists
            .filter(|(_, _, entry)| matches!(entry, Entry::Viewings { .. }))
            .count()
    };
    assert_eq!(lists(&centre.world), 2);
}

#[test]
fn the_only_receiver_of_a_centre_may_have_a_new_key() {
    let mut centre = Centre::new();
    let mut lone = several();
    lone.agreements[0].addresses.truncate(1);
    let grant = centre.granted(0, &[0]);
    centre.world.gate.handle_settings(rules(lone), centre.now());
    centre.down(0);
    centre.down(1);
    centre.up(2);
    assert_eq!((centre.home(grant), centre.moved()), (of(2), vec![]));
    assert_eq!(centre.running(), [of(2)]);
    let held = centre.world.gate.witnesses.head(&of(2));
    assert!(held.is_some(), "what is held of its journal counts for it");
}

#[derive(Clone, Debug)]
enum Step {
    Ask(usize, Vec<usize>, bool),
    Link(usize),
    Silence(usize, bool),
    Confirm(usize, usize),
    Release(usize, usize),
    Advance(u64),
    Journal(bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..3usize, prop::collection::btree_set(0..6usize, 1..4), any::<bool>())
            .prop_map(|(to, cameras, renew)| Step::Ask(to, cameras.into_iter().collect(), renew)),
        3 => (0..3usize).prop_map(Step::Link),
        3 => (0..3usize, any::<bool>()).prop_map(|(of, is_silent)| Step::Silence(of, is_silent)),
        8 => (0..3usize, any::<usize>()).prop_map(|(by, grant)| Step::Confirm(by, grant)),
        1 => (0..3usize, any::<usize>()).prop_map(|(by, grant)| Step::Release(by, grant)),
        6 => (100..3_000u64).prop_map(Step::Advance),
        1 => any::<bool>().prop_map(Step::Journal),
    ]
}

impl Centre {
    fn step(&mut self, step: Step) {
        let pick = |world: &World, number: usize| {
            let live: Vec<GrantId> = world.gate.grants.keys().copied().collect();
            (!live.is_empty()).then(|| live[number % live.len()])
        };
        match step {
            Step::Ask(to, cameras, renew) => {
                let renews = renew.then(|| pick(&self.world, to)).flatten();
                self.ask(to, &cameras, renews);
            }
            Step::Link(number) if self.is_up(number) => self.down(number),
            Step::Link(number) => self.up(number),
            Step::Silence(number, is_silent) => {
                let silent = if is_silent {
                    LOST_AFTER
                } else {
                    Duration::ZERO
                };
                self.world
                    .gate
                    .handle_silence(&of(number), silent, self.world.now);
            }
            Step::Confirm(by, grant) => {
                if let Some(grant) = pick(&self.world, grant).filter(|_| self.is_up(by)) {
                    self.confirm(by, grant);
                }
            }
            Step::Release(by, grant) => {
                if let Some(grant) = pick(&self.world, grant) {
                    let by_whom = "x".to_owned();
                    let release = ToGateway::Release {
                        grant,
                        by: by_whom,
                        reason: None,
                    };
                    self.say(by, release);
                }
            }
            Step::Advance(milliseconds) => {
                self.world.advance(Duration::from_millis(milliseconds));
            }
            Step::Journal(works) => self.world.journal_works = works,
        }
        self.world.settle();
    }

    fn check(&self) {
        self.world.check();
        // Where pictures go, the journal says so: by the request that came through there, or
        // by a move that this receiver confirmed.
        for (grant, live) in &self.world.gate.grants {
            let to = live.terms.receiver.key;
            let entries = self.world.journal.iter().map(|(_, _, entry)| entry);
            let said = entries.filter(|entry| match entry {
                Entry::Grant(entry) => entry.grant == *grant && entry.receiver == Some(to),
                Entry::Moved {
                    grant: of,
                    receiver,
                    ..
                } => of == grant && *receiver == to,
                _ => false,
            });
            assert!(said.count() > 0, "{grant} goes to {to}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn relays_follow_their_grants_whatever_receivers_do(steps in prop::collection::vec(step(), 1..60)) {
        let mut centre = Centre::new();
        for step in steps {
            centre.step(step);
            centre.check();
        }
        // Once one receiver is there and answers, everything goes there.
        centre.world.journal_works = true;
        for number in 0..3 {
            if centre.is_up(number) {
                centre.down(number);
            }
        }
        centre.world.advance(Duration::from_secs(5));
        centre.up(2);
        // The pause after many tries is a minute and a few seconds.
        for _ in 0..32 {
            centre.world.advance(Duration::from_millis(2_500));
            let live: Vec<GrantId> = centre.world.gate.grants.keys().copied().collect();
            for grant in live {
                centre.confirm(2, grant);
            }
        }
        for grant in centre.world.gate.grants.keys() {
            prop_assert_eq!(centre.home(*grant), of(2));
        }
        centre.check();
    }
}
