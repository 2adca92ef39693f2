//! The gate and the desk together: however a grant ends, and whichever side sees it first,
//! both journals, the API and the viewers name the same cause.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::desk::{self, Desk};
use super::gate::tests::{START, camera_id, centre, keys, receiver, rules, settings};
use super::gate::{self, Fresh, Gate, Scope};
use super::peer::identity::Identity;
use crate::certs::Validity;
use crate::certs::authority::Person;
use crate::clock::{Boot, Now, Wall};
use crate::config::settings::{Gateway, Hours};
use crate::format::control::ToGateway;
use crate::format::designation::{Authority, Designation, LinkAuthority};
use crate::format::ids::{CameraId, CommuneId, GrantId, Incident, ProfileWish, RequestId, Sha256};
use crate::format::jws::Signer;
use crate::format::statement::{HEAD_TYPE, HeadClaims, Operator, REQUEST_TYPE, RequestClaims};
use crate::journal::Receipt;
use crate::journal::entry::Entry;
use crate::journal::reader::OwnLine;
use crate::reason::Reason;

/// How long the request asks for, and how long its grants last in these tests at most.
const DURATION: u32 = 600;

fn commune() -> CommuneId {
    CommuneId::new("berre-l-etang").unwrap()
}

fn desk_rules(lists: &[&str]) -> desk::Rulebook {
    let keys = keys();
    let identity = Identity {
        authority: LinkAuthority::from_pem(keys.trial.link_authority(), &[]).unwrap(),
        signer: Arc::clone(&keys.centres[0]),
        own_identity: false,
    };
    let authority = Authority::from_pem(keys.trial.designation_authority(), lists).unwrap();
    desk::Rulebook {
        centre: centre(0),
        name: "CORG 13".to_owned(),
        communes: BTreeMap::from([(commune(), identity)]),
        authorities: vec![authority],
        relay_after_loss: false,
    }
}

/// One side's journal, whose heads are signed.
struct Journal {
    signer: Arc<Signer>,
    owner: &'static str,
    id: String,
    entries: Vec<(u64, Wall, Entry)>,
    /// Of all lines ever written, also of those that are gone.
    links: BTreeMap<u64, Sha256>,
    written: u64,
    works: bool,
}

impl Journal {
    fn new(signer: &Arc<Signer>, owner: &'static str, id: &str) -> Self {
        Self {
            signer: Arc::clone(signer),
            owner,
            id: id.repeat(16),
            entries: Vec::new(),
            links: BTreeMap::new(),
            written: 0,
            works: true,
        }
    }

    fn link(&self, seq: u64) -> Sha256 {
        self.links.get(&seq).copied().unwrap_or(Sha256::ZERO)
    }

    fn head(&self, wall: Wall) -> Option<String> {
        let seq = u64::try_from(self.entries.len()).unwrap();
        let claims = HeadClaims {
            iss: self.owner.to_owned(),
            journal: self.id.clone(),
            seq,
            link: self.link(seq),
            iat: wall.seconds(),
        };
        (seq > 0).then(|| self.signer.sign(HEAD_TYPE, &claims))
    }

    fn append(&mut self, entry: Entry, wall: Wall) -> Result<Receipt, String> {
        if !self.works {
            return Err("the disk is full".to_owned());
        }
        let seq = u64::try_from(self.entries.len()).unwrap() + 1;
        self.entries.push((seq, wall, entry));
        self.written += 1;
        let link = format!("{} {seq} {}", self.id, self.written);
        self.links.insert(seq, Sha256::of(link.as_bytes()));
        let head = self.head(wall).unwrap();
        Ok(Receipt::for_test_signed(seq, wall, head))
    }

    fn line(&self, seq: u64) -> OwnLine {
        let is_there = seq > 0 && usize::try_from(seq).unwrap() <= self.entries.len();
        OwnLine {
            pruned: 0,
            journal: Some(self.id.clone()),
            link: is_there.then(|| self.link(seq)),
            origin: None,
        }
    }

    fn ended(&self, grant: GrantId) -> Vec<Reason> {
        let ends = self.entries.iter().filter_map(|(.., entry)| match entry {
            Entry::Ended {
                grant: of, reason, ..
            } if *of == grant => Some(*reason),
            _ => None,
        });
        ends.collect()
    }
}

/// Both judges, with a link between them that can be down.
struct Pair {
    gate: Gate,
    desk: Desk,
    commune: Journal,
    centre: Journal,
    now: Now,
    session: u64,
    is_linked: bool,
    /// Messages that do not reach the gate.
    drops: fn(&ToGateway) -> bool,
    viewers: Vec<(GrantId, Reason)>,
    stopped: Vec<Reason>,
    granted: Option<GrantId>,
}

impl Pair {
    fn new(settings: Gateway) -> Self {
        let mut pair = Self {
            gate: Gate::new(rules(settings), 7),
            desk: Desk::new(desk_rules(&[])),
            commune: Journal::new(&keys().commune, "berre-l-etang", "aa"),
            centre: Journal::new(&keys().centres[0], "corg-13", "bb"),
            now: Now {
                wall: START.plus(Duration::from_secs(60)),
                boot: Boot(Duration::from_secs(1_000)),
            },
            session: 0,
            is_linked: false,
            drops: |_| false,
            viewers: Vec::new(),
            stopped: Vec::new(),
            granted: None,
        };
        pair.link_up();
        pair
    }

    fn link_up(&mut self) {
        self.session += 1;
        self.is_linked = true;
        let (session, now) = (self.session, self.now);
        let head = self.commune.head(now.wall);
        self.gate
            .handle_link_up(&receiver(0), session, head.as_deref(), None, now);
        let head = self.centre.head(now.wall);
        self.desk
            .handle_link_up(&commune(), session, head.as_deref(), None, now);
        self.pump();
    }

    fn link_down(&mut self) {
        self.is_linked = false;
        self.gate
            .handle_link_down(&receiver(0), self.session, self.now);
        self.desk
            .handle_link_down(&commune(), self.session, self.now);
        self.pump();
    }

    /// Carries out commands on both sides until there are none.
    fn pump(&mut self) {
        loop {
            if let Some(command) = self.gate.poll_command() {
                self.gate_command(command);
            } else if let Some(command) = self.desk.poll_command() {
                self.desk_command(command);
            } else {
                return;
            }
        }
    }

    fn gate_command(&mut self, command: gate::Command) {
        let now = self.now;
        match command {
            gate::Command::Record { ticket, entry } => {
                let result = self.commune.append(*entry, now.wall);
                self.gate.handle_recorded(ticket, result, now);
            }
            gate::Command::Send { message, .. } if self.is_linked => {
                self.desk
                    .handle_message(&commune(), self.session, *message, now);
            }
            gate::Command::FindLine { receiver, seq } => {
                let line = self.commune.line(seq);
                self.gate.handle_own_line(&receiver, &line, now);
            }
            gate::Command::StopRelay { reason, .. } => self.stopped.push(reason),
            _ => {}
        }
    }

    fn desk_command(&mut self, command: desk::Command) {
        let now = self.now;
        match command {
            desk::Command::Record { ticket, entry } => {
                let result = self.centre.append(*entry, now.wall);
                self.desk.handle_recorded(ticket, result, now);
            }
            desk::Command::Send { message, .. } if self.is_linked => {
                let fresh = Fresh {
                    grant: GrantId(Uuid::from_u128(0xfeed)),
                };
                if !(self.drops)(&message) {
                    self.gate
                        .handle_message(&receiver(0), self.session, *message, fresh, now);
                }
            }
            desk::Command::FindLine { commune, seq } => {
                let line = self.centre.line(seq);
                self.desk.handle_own_line(&commune, &line, now);
            }
            desk::Command::EndGrant { grant, reason } => self.viewers.push((grant, reason)),
            desk::Command::Answer { result, .. } => self.granted = result.ok(),
            _ => {}
        }
    }

    /// An operator asks for two cameras, and gets them.
    fn grant(&mut self, operator: &Signer) -> GrantId {
        let claims = RequestClaims {
            jti: RequestId(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001)),
            iat: self.now.wall.seconds(),
            aud: commune(),
            centre: centre(0),
            cameras: vec![camera_id(0), camera_id(1)],
            grounds: "assault".to_owned(),
            incident: Incident::new("2026-42").unwrap(),
            duration: DURATION,
            profile: ProfileWish::Auto,
            present: Vec::new(),
            renews: None,
        };
        let text = operator.sign(REQUEST_TYPE, &claims);
        self.desk.handle_request(1, &text, self.now);
        self.pump();
        self.granted.expect("granted")
    }

    fn pass(&mut self, seconds: u64, is_desk_first: bool) {
        let by = Duration::from_secs(seconds);
        self.now.wall = self.now.wall.plus(by);
        self.now.boot = self.now.boot.plus(by);
        if is_desk_first {
            self.desk.handle_timeout(self.now);
            self.pump();
        }
        self.gate.handle_timeout(self.now);
        self.pump();
        self.desk.handle_timeout(self.now);
        self.pump();
    }

    fn restart_gate(&mut self, settings: Gateway) {
        self.link_down();
        self.gate = Gate::new(rules(settings), 1_000);
        let (entries, newest) = (self.commune.entries.clone(), Some(self.now.wall));
        self.gate.handle_recovered(&entries, newest, self.now);
        self.pump();
    }

    fn restart_desk(&mut self, rules: desk::Rulebook) {
        self.link_down();
        self.desk = Desk::new(rules);
        let (entries, newest) = (self.centre.entries.clone(), Some(self.now.wall));
        self.desk.handle_recovered(&entries, newest, None, self.now);
        self.pump();
    }

    fn reload_gate(&mut self, settings: Gateway) {
        self.gate.handle_settings(rules(settings), self.now);
        self.pump();
    }

    fn reload_desk(&mut self, rules: desk::Rulebook) {
        self.desk.handle_settings(rules, self.now);
        self.pump();
    }

    fn cut(&mut self, scope: &Scope) {
        let block = Duration::from_secs(60);
        self.gate
            .handle_cut(scope, block, "uid 0", self.now)
            .unwrap();
        self.pump();
    }

    fn release(&mut self, grant: GrantId) {
        let who = Designation {
            operator: Operator {
                name: "A. Martin".to_owned(),
                number: "13-1".to_owned(),
                unit: "CORG 13".to_owned(),
            },
            not_after: START.plus(Duration::from_secs(86_400)),
            fingerprint: Sha256::ZERO,
            authority: desk_rules(&[]).authorities[0].id(),
            path: Vec::new(),
        };
        self.desk.handle_release(grant, &who, self.now).unwrap();
        self.pump();
    }
}

fn with(change: impl FnOnce(&mut Gateway)) -> Gateway {
    let mut settings = settings();
    change(&mut settings);
    settings
}

/// In force until 12:10 in Paris, 140 s after the start of a test.
fn closing() -> Gateway {
    with(|settings| {
        settings.agreements[0].hours = vec![Hours {
            days: [true; 7],
            start: 0,
            end: 12 * 60 + 10,
        }];
    })
}

/// An operator whose designation ends 100 s after the start of a test.
fn short_lived() -> Signer {
    let person = Person {
        number: "13-1".to_owned(),
        name: "A. Martin".to_owned(),
        unit: "CORG 13".to_owned(),
    };
    let validity = Validity::lasting(START, Duration::from_secs(160));
    let identity = keys().trial.operator(&person, validity).unwrap();
    Signer::from_pem(identity.key.expose(), &identity.certificate).unwrap()
}

fn revoked() -> desk::Rulebook {
    desk_rules(&[&keys().revoked])
}

fn no_authority() -> desk::Rulebook {
    desk::Rulebook {
        authorities: Vec::new(),
        ..desk_rules(&[])
    }
}

fn no_commune() -> desk::Rulebook {
    desk::Rulebook {
        communes: BTreeMap::new(),
        ..desk_rules(&[])
    }
}

fn no_camera(settings: &mut Gateway) {
    settings.agreements[0].cameras = vec!["camera-5".to_owned()];
}

#[derive(Clone, Copy)]
enum Who {
    /// Can be revoked.
    Usual,
    ShortLived,
}

type End = fn(&mut Pair, GrantId);

/// Name, settings, operator, cause, and how the grant ends.
type Case = (&'static str, fn() -> Gateway, Who, Reason, End);

#[test]
fn every_end_has_one_cause_on_both_sides() {
    use Reason::*;
    use Who::{ShortLived, Usual};
    let cases: &[Case] = &[
        (
            "time, gate first",
            settings,
            Usual,
            GrantExpired,
            |pair, _| pair.pass(600, false),
        ),
        (
            "time, desk first",
            settings,
            Usual,
            GrantExpired,
            |pair, _| pair.pass(600, true),
        ),
        ("time, no link", settings, Usual, GrantExpired, |pair, _| {
            pair.link_down();
            pair.pass(600, true);
            pair.link_up();
        }),
        (
            "designation, gate first",
            settings,
            ShortLived,
            DesignationExpired,
            |pair, _| {
                pair.pass(100, false);
            },
        ),
        (
            "designation, desk first",
            settings,
            ShortLived,
            DesignationExpired,
            |pair, _| {
                pair.pass(100, true);
            },
        ),
        (
            "designation, no link",
            settings,
            ShortLived,
            DesignationExpired,
            |pair, _| {
                pair.link_down();
                pair.pass(100, true);
                pair.link_up();
            },
        ),
        (
            "designation, gate restarts",
            settings,
            ShortLived,
            DesignationExpired,
            |pair, _| {
                pair.now.wall = pair.now.wall.plus(Duration::from_secs(120));
                pair.restart_gate(settings());
                pair.link_up();
                pair.pass(100, false);
            },
        ),
        (
            "designation, desk restarts",
            settings,
            ShortLived,
            DesignationExpired,
            |pair, _| {
                pair.now.wall = pair.now.wall.plus(Duration::from_secs(120));
                pair.restart_desk(desk_rules(&[]));
                pair.link_up();
                pair.pass(100, false);
            },
        ),
        (
            "hours, gate first",
            closing,
            Usual,
            AgreementNotInForce,
            |pair, _| {
                pair.pass(140, false);
            },
        ),
        (
            "hours, desk first",
            closing,
            Usual,
            AgreementNotInForce,
            |pair, _| {
                pair.pass(140, true);
            },
        ),
        (
            "hours, gate restarts",
            closing,
            Usual,
            AgreementNotInForce,
            |pair, _| {
                pair.now.wall = pair.now.wall.plus(Duration::from_secs(140));
                pair.restart_gate(closing());
                pair.link_up();
                pair.pass(140, false);
            },
        ),
        (
            "hours, desk restarts",
            closing,
            Usual,
            AgreementNotInForce,
            |pair, _| {
                pair.now.wall = pair.now.wall.plus(Duration::from_secs(141));
                pair.restart_desk(desk_rules(&[]));
                pair.pass(140, true);
                pair.link_up();
            },
        ),
        (
            "revoked at the centre",
            settings,
            Usual,
            DesignationRevoked,
            |pair, _| {
                pair.reload_desk(revoked());
            },
        ),
        (
            "revoked at the centre, no link",
            settings,
            Usual,
            DesignationRevoked,
            |pair, _| {
                pair.link_down();
                pair.reload_desk(revoked());
                pair.link_up();
            },
        ),
        (
            "revoked at a centre that restarts",
            settings,
            Usual,
            DesignationRevoked,
            |pair, _| {
                pair.restart_desk(revoked());
                pair.link_up();
            },
        ),
        (
            "revoked at the commune",
            settings,
            Usual,
            DesignationRevoked,
            |pair, _| {
                pair.gate.handle_revocation(&keys().revoked, pair.now);
                pair.pump();
            },
        ),
        (
            "revoked at the commune, no link",
            settings,
            Usual,
            DesignationRevoked,
            |pair, _| {
                pair.link_down();
                pair.gate.handle_revocation(&keys().revoked, pair.now);
                pair.pump();
                pair.link_up();
            },
        ),
        (
            "centre's authority gone",
            settings,
            Usual,
            OperatorNotDesignated,
            |pair, _| {
                pair.reload_desk(no_authority());
            },
        ),
        (
            "centre restarts without it",
            settings,
            Usual,
            OperatorNotDesignated,
            |pair, _| {
                pair.restart_desk(no_authority());
                pair.link_up();
            },
        ),
        (
            "centre's commune gone",
            settings,
            Usual,
            CommuneUnknown,
            |pair, _| {
                pair.reload_desk(no_commune());
            },
        ),
        (
            "agreement narrower",
            settings,
            Usual,
            AgreementChanged,
            |pair, _| {
                pair.reload_gate(with(no_camera));
            },
        ),
        (
            "agreement narrower, no link",
            settings,
            Usual,
            AgreementChanged,
            |pair, _| {
                pair.link_down();
                pair.reload_gate(with(no_camera));
                pair.link_up();
            },
        ),
        (
            "commune restarts with it narrower",
            settings,
            Usual,
            AgreementChanged,
            |pair, _| {
                pair.restart_gate(with(no_camera));
                pair.link_up();
            },
        ),
        (
            "agreement ended by a reload",
            settings,
            Usual,
            AgreementChanged,
            |pair, _| {
                pair.reload_gate(with(|settings| {
                    settings.agreements[0].until = jiff::civil::date(2026, 1, 1);
                }));
            },
        ),
        (
            "agreement gone",
            settings,
            Usual,
            AgreementChanged,
            |pair, _| {
                pair.reload_gate(with(|settings| drop(settings.agreements.remove(0))));
            },
        ),
        ("cut of all", settings, Usual, GrantCut, |pair, _| {
            pair.cut(&Scope::All)
        }),
        (
            "cut of the grant",
            settings,
            Usual,
            GrantCut,
            |pair, grant| {
                pair.cut(&Scope::Grant(grant));
            },
        ),
        (
            "cut of each camera",
            settings,
            Usual,
            GrantCut,
            |pair, _| {
                pair.cut(&Scope::Camera(camera_id(0)));
                pair.cut(&Scope::Camera(camera_id(1)));
            },
        ),
        ("cut, no link", settings, Usual, GrantCut, |pair, _| {
            pair.link_down();
            pair.cut(&Scope::All);
            pair.link_up();
        }),
        (
            "cut, the commune restarts",
            settings,
            Usual,
            GrantCut,
            |pair, _| {
                pair.link_down();
                pair.cut(&Scope::All);
                pair.restart_gate(settings());
                pair.link_up();
            },
        ),
        ("released", settings, Usual, GrantReleased, |pair, grant| {
            pair.release(grant)
        }),
        (
            "released, no link",
            settings,
            Usual,
            GrantReleased,
            |pair, grant| {
                pair.link_down();
                pair.release(grant);
                pair.link_up();
            },
        ),
        (
            "released, the commune restarts",
            settings,
            Usual,
            GrantReleased,
            |pair, grant| {
                pair.link_down();
                pair.release(grant);
                pair.restart_gate(settings());
                pair.link_up();
            },
        ),
        (
            "the commune's journal went back",
            settings,
            Usual,
            JournalWentBack,
            |pair, _| {
                // A head of the newest line goes with each link.
                pair.link_down();
                pair.link_up();
                pair.link_down();
                let kept = pair.commune.entries.len() - 1;
                pair.commune.entries.truncate(kept);
                pair.restart_gate(settings());
                pair.link_up();
            },
        ),
        (
            "the commune's journal lost the grant",
            settings,
            Usual,
            JournalWentBack,
            |pair, _| {
                pair.link_down();
                pair.commune.entries.truncate(1);
                pair.restart_gate(settings());
                pair.link_up();
            },
        ),
        (
            "the centre's journal went back",
            settings,
            Usual,
            JournalWentBack,
            |pair, _| {
                // A head of the newest line goes with each link.
                pair.link_down();
                pair.link_up();
                pair.link_down();
                let kept = pair.centre.entries.len() - 1;
                pair.centre.entries.truncate(kept);
                pair.restart_desk(desk_rules(&[]));
                pair.link_up();
            },
        ),
        (
            "the commune's state_dir is another",
            settings,
            Usual,
            JournalWentBack,
            |pair, _| {
                pair.link_down();
                let id = "cc";
                let journal = Journal::new(&keys().commune, "berre-l-etang", id);
                let old = std::mem::replace(&mut pair.commune, journal);
                pair.commune.entries = old.entries[..1].to_vec();
                pair.restart_gate(settings());
                pair.link_up();
            },
        ),
    ];
    for (name, settings, who, cause, end) in cases {
        let mut pair = Pair::new(settings());
        let short = short_lived();
        let operator = match who {
            Usual => &*keys().operators[0],
            ShortLived => &short,
        };
        // A line that is not about grants: what a journal that went back still holds.
        pair.gate.handle_note(Entry::Resumed {
            grant: GrantId(Uuid::nil()),
        });
        pair.desk.handle_note(Entry::Resumed {
            grant: GrantId(Uuid::nil()),
        });
        pair.pump();
        let grant = pair.grant(operator);
        pair.pass(1, false);
        assert_eq!(
            (pair.commune.ended(grant), pair.centre.ended(grant)),
            (vec![], vec![]),
            "{name}"
        );
        pair.stopped.clear();
        end(&mut pair, grant);
        pair.pass(2, false);
        let forgot = name.contains("lost the grant") || name.contains("is another");
        let at_commune = if forgot { vec![] } else { vec![*cause] };
        assert_eq!(
            pair.commune.ended(grant),
            at_commune,
            "{name}: the commune's journal"
        );
        assert_eq!(
            pair.centre.ended(grant),
            [*cause],
            "{name}: the centre's journal"
        );
        let shown = pair.desk.grant(grant).and_then(|view| view.end.as_ref());
        let shown = shown.map(|end| end.refusal.reason);
        assert_eq!(shown, Some(*cause), "{name}: the API");
        assert_eq!(pair.gate.grants_active(), 0, "{name}");
        assert!(
            pair.stopped.iter().all(|reason| reason == cause),
            "{name}: {:?}",
            pair.stopped
        );
        let viewers: Vec<_> = pair.viewers.iter().filter(|(of, _)| *of == grant).collect();
        assert!(
            viewers.iter().all(|(_, reason)| reason == cause),
            "{name}: {viewers:?}"
        );
        let restarted = name.contains("restart") || name.contains("centre's journal went back");
        assert!(restarted || !viewers.is_empty(), "{name}: the viewers");
    }
}

#[test]
fn an_unconfirmed_grant_and_one_that_the_centre_cannot_record_are_told_alike() {
    let mut pair = Pair::new(settings());
    pair.drops = |message| matches!(message, ToGateway::Confirm { .. });
    let grant = pair.grant(&keys().operators[0]);
    pair.pass(5, false);
    for journal in [&pair.commune, &pair.centre] {
        assert_eq!(journal.ended(grant), [Reason::CentreUnconfirmed]);
    }
    let mut pair = Pair::new(settings());
    // The request passes, then the disk is full.
    pair.drops = |message| matches!(message, ToGateway::Request { .. });
    let operator = &keys().operators[0];
    let claims = RequestClaims {
        jti: RequestId(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0002)),
        iat: pair.now.wall.seconds(),
        aud: commune(),
        centre: centre(0),
        cameras: vec![camera_id(0)],
        grounds: "assault".to_owned(),
        incident: Incident::new("2026-42").unwrap(),
        duration: DURATION,
        profile: ProfileWish::Auto,
        present: Vec::new(),
        renews: None,
    };
    let text = operator.sign(REQUEST_TYPE, &claims);
    pair.desk.handle_request(1, &text, pair.now);
    pair.pump();
    pair.centre.works = false;
    let fresh = Fresh {
        grant: GrantId(Uuid::from_u128(0xfeed)),
    };
    let request = ToGateway::Request {
        id: 1,
        request: text,
    };
    pair.gate
        .handle_message(&receiver(0), pair.session, request, fresh, pair.now);
    pair.pump();
    assert_eq!(
        pair.commune.ended(fresh.grant),
        [Reason::JournalUnavailable]
    );
}

/// A grant loses one camera while its centre is away: the centre hears why.
#[test]
fn a_camera_that_a_grant_lost_while_the_link_was_down_has_its_cause() {
    let narrower = || with(|settings| settings.agreements[0].cameras = vec!["camera-1".to_owned()]);
    type Lose = fn(&mut Pair, Gateway);
    let cases: [(Reason, Lose); 4] = [
        (Reason::GrantCut, |pair, _| {
            pair.cut(&Scope::Camera(camera_id(0)))
        }),
        (Reason::GrantCut, |pair, _| {
            pair.cut(&Scope::Camera(camera_id(0)));
            pair.restart_gate(settings());
        }),
        (Reason::AgreementChanged, |pair, narrower| {
            pair.reload_gate(narrower)
        }),
        (Reason::AgreementChanged, |pair, narrower| {
            pair.restart_gate(narrower)
        }),
    ];
    for (cause, lose) in cases {
        for restarts in [false, true] {
            let mut pair = Pair::new(settings());
            let grant = pair.grant(&keys().operators[0]);
            pair.pass(1, false);
            pair.link_down();
            lose(&mut pair, narrower());
            if restarts {
                pair.restart_desk(desk_rules(&[]));
            }
            pair.link_up();
            let view = pair.desk.grant(grant).unwrap();
            let reason = |camera: CameraId| {
                let camera = view.camera(&camera).unwrap();
                camera.refusal.as_ref().map(|refusal| refusal.reason)
            };
            assert_eq!(reason(camera_id(0)), Some(cause), "restarts: {restarts}");
            assert_eq!(reason(camera_id(1)), None);
        }
    }
}
