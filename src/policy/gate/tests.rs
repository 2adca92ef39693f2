//! The gate against real signatures, without I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use uuid::Uuid;

use super::*;
use crate::certs::trial::Trial;
use crate::clock::Wall;
use crate::config::settings::{
    Agreement, Approval, Camera, Congestion, Gateway, Ground, Streams, Tls, Transport, Uplink,
};
use crate::format::cause::Cause;
use crate::format::control::RelayState;
use crate::format::designation::LinkAuthority;
use crate::format::ids::{CommuneId, Incident, ProfileWish, RequestId, Sha256};
use crate::format::jws::Signer;
use crate::format::statement::{
    GRANT_TYPE, GrantClaims, HEAD_TYPE, HeadClaims, REQUEST_TYPE, Received, VIEWINGS_TYPE,
    ViewingsClaims,
};

mod approval;
mod bounds;
mod decisions;
mod links;
mod lives;
mod losses;
mod requests;
mod sequences;
mod several;
mod snapshot;
mod streams;

pub(in crate::policy) const START: Wall = Wall::from_seconds(1_795_000_000);
const CENTRES: [&str; 2] = ["corg-13", "corg-84"];

/// Keys that all tests share: making them costs more than using them.
pub(in crate::policy) struct Keys {
    pub(in crate::policy) trial: Trial,
    pub(in crate::policy) commune: Arc<Signer>,
    pub(in crate::policy) centres: [Arc<Signer>; 2],
    pub(in crate::policy) operators: [Arc<Signer>; 3],
    operator_pem: String,
    /// The authority's list before anybody was revoked, and after.
    first_list: String,
    pub(in crate::policy) revoked: String,
}

fn signer(identity: &crate::certs::Identity) -> Arc<Signer> {
    Arc::new(Signer::from_pem(identity.key.expose(), &identity.certificate).unwrap())
}

pub(in crate::policy) fn keys() -> &'static Keys {
    static KEYS: OnceLock<Keys> = OnceLock::new();
    KEYS.get_or_init(|| {
        let mut trial = Trial::new(START).unwrap();
        let operator = |number, unit| trial.simple_operator(number, unit, START).unwrap();
        let first = operator("13-1", "CORG 13");
        let others = [operator("13-2", "CORG 13"), operator("84-1", "CORG 84")];
        let operators = [signer(&first), signer(&others[0]), signer(&others[1])];
        let first_list = trial.designation_list().to_owned();
        let revoked = trial
            .revoke_operator(&first.certificate, START)
            .unwrap()
            .to_owned();
        Keys {
            commune: signer(&trial.machine("berre-l-etang").unwrap()),
            centres: CENTRES.map(|centre| signer(&trial.machine(centre).unwrap())),
            operators,
            operator_pem: first.certificate,
            first_list,
            revoked,
            trial,
        }
    })
}

pub(in crate::policy) fn centre(number: usize) -> CentreId {
    CentreId::new(CENTRES[number]).unwrap()
}

/// The receiver of that centre.
pub(in crate::policy) fn receiver(number: usize) -> ReceiverId {
    receiver_with(number, &keys().centres[number])
}

/// A receiver of that centre with this key.
pub(in crate::policy) fn receiver_with(number: usize, signer: &Signer) -> ReceiverId {
    let key = crate::format::designation::key_thumbprint(&signer.chain()[0]);
    ReceiverId {
        centre: centre(number),
        key: key.unwrap(),
    }
}

pub(in crate::policy) fn camera_id(number: usize) -> CameraId {
    CameraId::new(format!("camera-{number}")).unwrap()
}

fn tls() -> Tls {
    Tls {
        certificate: "c.pem".into(),
        key: "k.pem".into(),
        authority: "a.pem".into(),
        revoked: Vec::new(),
    }
}

fn agreement(number: usize) -> Agreement {
    Agreement {
        reference: format!("convention {number}"),
        centre: centre(number),
        addresses: vec!["127.0.0.1:1".to_owned()],
        from: jiff::civil::date(2020, 1, 1),
        until: jiff::civil::date(2030, 1, 1),
        designation_authority: "d.pem".into(),
        revoked: None,
        require_fresh_revocation: false,
        units: Vec::new(),
        cameras: vec!["*".to_owned()],
        except: Vec::new(),
        hours: Vec::new(),
        grounds: vec!["assault".to_owned()],
        max_duration: Duration::from_secs(3_600),
        max_total: Duration::from_secs(2 * 3_600),
        max_relays: 3,
        max_designation: Duration::from_secs(31 * 86_400),
        snapshots: false,
        watermark: false,
        vms: false,
        approval: Approval::Automatic,
        approval_timeout: Duration::from_secs(120),
        approval_exempt: Vec::new(),
        tls: tls(),
        settings_hash: Sha256::of(b"settings"),
    }
}

fn camera(number: usize) -> Camera {
    Camera {
        id: camera_id(number),
        name: format!("Caméra {number}"),
        groups: Vec::new(),
        streams: Ok(Streams {
            main: "rtsp://10.0.0.1/main".parse().unwrap(),
            sub: (number == 1).then(|| "rtsp://10.0.0.1/sub".parse().unwrap()),
            onvif: None,
            credential: None,
            transport: Transport::Tcp,
            start_timeout: Duration::from_secs(10),
            close_after: Duration::from_secs(10),
            warm: false,
        }),
        position: None,
        bearing: None,
        field_of_view: None,
        neighbours: Vec::new(),
        mask_verified: number != 9,
    }
}

pub(in crate::policy) fn settings() -> Gateway {
    Gateway {
        cameras_file: None,
        commune: CommuneId::new("berre-l-etang").unwrap(),
        name: "Berre-l'Étang".to_owned(),
        contact: None,
        state_dir: "/nonexistent".into(),
        metrics: "127.0.0.1:0".parse().unwrap(),
        socket: "/nonexistent/s".into(),
        socket_group: None,
        page: None,
        tls: tls(),
        agreements: vec![agreement(0), agreement(1)],
        relay_after_loss: false,
        witnesses: Vec::new(),
        keep: crate::format::keep::Keep::MOST,
        notify: None,
        copies: None,
        uplink: Uplink {
            max_bitrate: None,
            min_per_relay: 300_000,
            congestion: Congestion::Fanal,
            redundancy: true,
        },
        hosts: Vec::new(),
        cameras: (0..10).map(|n| (camera_id(n), camera(n))).collect(),
        test_camera: Camera::test("Berre-l'Étang").unwrap(),
        probe: None,
        grounds: BTreeMap::from([(
            "assault".to_owned(),
            Ground {
                fr: "Agression".to_owned(),
                en: "Assault".to_owned(),
            },
        )]),
        warnings: Vec::new(),
    }
}

pub(in crate::policy) fn rules(settings: Gateway) -> Rulebook {
    let keys = keys();
    let authority = Authority::from_pem(keys.trial.designation_authority(), &[]).unwrap();
    let link = LinkAuthority::from_pem(keys.trial.link_authority(), &[]).unwrap();
    let centres = CENTRES.iter().map(|name| {
        let held = Identity {
            authority: link.clone(),
            signer: keys.commune.clone(),
            own_identity: false,
        };
        (CentreId::new(*name).unwrap(), held)
    });
    Rulebook {
        authorities: vec![authority; settings.agreements.len()],
        page: None,
        centres: centres.collect(),
        settings: Arc::new(settings),
    }
}

/// The gate with a journal that answers when told, and a record of what it did.
struct World {
    gate: Gate,
    now: Now,
    seq: u64,
    journal: Vec<(u64, Wall, Entry)>,
    waiting: VecDeque<(Ticket, Box<Entry>)>,
    journal_works: bool,
    sent: Vec<(ReceiverId, ToReceiver)>,
    running: BTreeMap<RelayId, (ReceiverId, CameraId, Boot, ProfileWish)>,
    stopped: Vec<(RelayId, Reason)>,
    counted: Vec<Option<Reason>>,
    /// For which grant each relay's bytes count, where that changed.
    counts_for: BTreeMap<RelayId, GrantId>,
    /// What centres signed to have received.
    received: Vec<(GrantId, Vec<Received>)>,
    heads_sent: usize,
    kept_lists: usize,
    /// What came of signed statements.
    answers: Vec<(u64, Result<decision::Done, Refusal>)>,
    sessions: [u64; 2],
    next: u128,
}

impl World {
    fn new() -> Self {
        Self::with(settings())
    }

    fn with(settings: Gateway) -> Self {
        let now = Now {
            wall: START.plus(Duration::from_secs(60)),
            boot: Boot(Duration::from_secs(1_000)),
        };
        let mut world = Self {
            gate: Gate::new(rules(settings), 7),
            now,
            seq: 0,
            journal: Vec::new(),
            waiting: VecDeque::new(),
            journal_works: true,
            sent: Vec::new(),
            running: BTreeMap::new(),
            stopped: Vec::new(),
            counted: Vec::new(),
            counts_for: BTreeMap::new(),
            received: Vec::new(),
            heads_sent: 0,
            kept_lists: 0,
            answers: Vec::new(),
            sessions: [0, 0],
            next: 1,
        };
        world.link_up(0);
        world.link_up(1);
        world
    }

    /// The same journal under a new process, some time later.
    fn restarted(mut self, later: Duration, settings: Gateway) -> Self {
        self.advance_clocks(later);
        self.gate = Gate::new(rules(settings), 1_000);
        self.waiting.clear();
        self.running.clear();
        self.sent.clear();
        let newest = self.journal.iter().map(|(_, time, _)| *time).max();
        self.gate
            .handle_recovered(&self.journal.clone(), newest, self.now);
        self.settle();
        self
    }

    fn advance_clocks(&mut self, by: Duration) {
        self.now.wall = self.now.wall.plus(by);
        self.now.boot = self.now.boot.plus(by);
    }

    fn advance(&mut self, by: Duration) {
        self.advance_clocks(by);
        self.gate.handle_timeout(self.now);
        self.settle();
    }

    fn link_up(&mut self, number: usize) {
        self.sessions[number] += 1;
        let session = self.sessions[number];
        self.gate
            .handle_link_up(&receiver(number), session, Some("head"), None, self.now);
        self.settle();
    }

    fn link_down(&mut self, number: usize) {
        let session = self.sessions[number];
        self.gate
            .handle_link_down(&receiver(number), session, self.now);
        self.settle();
    }

    fn message(&mut self, number: usize, message: ToGateway) {
        let fresh = Fresh {
            grant: GrantId(Uuid::from_u128(0xfeed_0000 + self.next)),
        };
        self.next += 1;
        let session = self.sessions[number];
        self.gate
            .handle_message(&receiver(number), session, message, fresh, self.now);
    }

    fn claims(&mut self, cameras: &[usize]) -> RequestClaims {
        self.next += 1;
        RequestClaims {
            jti: RequestId(Uuid::from_u128(
                0x0190_0000_0000_7000_8000_0000_0000_0000 + self.next,
            )),
            iat: self.now.wall.seconds(),
            aud: CommuneId::new("berre-l-etang").unwrap(),
            centre: centre(0),
            cameras: cameras.iter().map(|n| camera_id(*n)).collect(),
            grounds: "assault".to_owned(),
            incident: Incident::new("2026-42").unwrap(),
            duration: 600,
            profile: ProfileWish::Auto,
            present: Vec::new(),
            renews: None,
        }
    }

    /// Sends a request to its centre's link without waiting for the journal.
    fn send_request(&mut self, operator: usize, claims: &RequestClaims) -> String {
        let text = keys().operators[operator].sign(REQUEST_TYPE, claims);
        let number = CENTRES
            .iter()
            .position(|name| *name == claims.centre.as_str())
            .unwrap_or(0);
        let request = text.clone();
        self.message(number, ToGateway::Request { id: 5, request });
        self.drain();
        text
    }

    /// Sends a request and gives its answer.
    fn ask(&mut self, operator: usize, claims: &RequestClaims) -> Result<GrantId, Refusal> {
        self.sent.clear();
        self.send_request(operator, claims);
        self.settle();
        self.answer()
    }

    fn ask_text(&mut self, number: usize, request: &str) -> Result<GrantId, Refusal> {
        self.sent.clear();
        let request = request.to_owned();
        self.message(number, ToGateway::Request { id: 5, request });
        self.settle();
        self.answer()
    }

    fn answer(&self) -> Result<GrantId, Refusal> {
        let answers: Vec<&ToReceiver> = self
            .sent
            .iter()
            .map(|(_, message)| message)
            .filter(|m| matches!(m, ToReceiver::Granted { .. } | ToReceiver::Refused { .. }))
            .collect();
        assert_eq!(answers.len(), 1, "one answer: {:?}", self.sent);
        match answers[0] {
            ToReceiver::Granted { proof, .. } => {
                Ok(crate::format::jws::open::<GrantClaims>(proof, GRANT_TYPE)
                    .unwrap()
                    .claims
                    .grant)
            }
            ToReceiver::Refused { refusal, .. } => Err(refusal.clone()),
            other => panic!("{other:?}"),
        }
    }

    fn refused(&mut self, claims: &RequestClaims) -> Reason {
        self.ask(0, claims).unwrap_err().reason
    }

    fn head(&self, number: usize, seq: u64, link: u8, iat: i64) -> String {
        let claims = HeadClaims {
            iss: CENTRES[number].to_owned(),
            journal: "00".repeat(16),
            seq,
            link: Sha256([link; 32]),
            iat,
        };
        keys().centres[number].sign(HEAD_TYPE, &claims)
    }

    fn confirm(&mut self, number: usize, grant: GrantId, seq: u64) {
        let live = &self.gate.grants[&grant];
        let request = live.terms.request.hash();
        let head = self.head(number, seq, 1, self.now.wall.seconds());
        self.message(
            number,
            ToGateway::Confirm {
                grant,
                request,
                head,
            },
        );
        self.settle();
    }

    fn granted(&mut self, cameras: &[usize]) -> GrantId {
        let claims = self.claims(cameras);
        let grant = self.ask(0, &claims).unwrap();
        let seq = self.seq;
        self.confirm(0, grant, 100 + seq);
        grant
    }

    /// Carries out commands; the journal's work is put aside.
    fn drain(&mut self) {
        while let Some(command) = self.gate.poll_command() {
            match command {
                Command::Record { ticket, entry } => self.waiting.push_back((ticket, entry)),
                Command::Send { receiver, message } => self.sent.push((receiver, *message)),
                Command::SendHeads { .. } => self.heads_sent += 1,
                Command::FindLine { .. } => {}
                Command::StartRelay {
                    permit,
                    receiver,
                    relay,
                    camera,
                    wish,
                    until,
                } => {
                    assert!(until > self.now.boot);
                    // No grant, no video; no journal, no video.
                    assert!(self.journal.iter().any(|(_, _, entry)| match entry {
                        Entry::Grant(entry) =>
                            entry.grant == permit.grant() && entry.granted.contains(&camera),
                        _ => false,
                    }));
                    let twice = self
                        .running
                        .values()
                        .any(|(to, k, _, w)| (to, k, *w) == (&receiver, &camera, wish));
                    assert!(!twice, "one copy of a stream on a link");
                    let start = (receiver, camera, until, wish);
                    assert!(self.running.insert(relay, start).is_none());
                }
                Command::RelayUntil { relay, until, .. } => {
                    self.running.get_mut(&relay).unwrap().2 = until;
                }
                Command::RelayWish { relay, wish, .. } => {
                    let known = &mut self.running.get_mut(&relay).unwrap().3;
                    assert_ne!(*known, wish, "told when it changes");
                    *known = wish;
                }
                Command::CountRelay { relay, grant, .. } => {
                    self.counts_for.insert(relay, grant);
                }
                Command::Received {
                    grant, received, ..
                } => self.received.push((grant, received)),
                Command::StopRelay { relay, reason, .. } => {
                    assert!(self.running.remove(&relay).is_some(), "stopped once");
                    self.stopped.push((relay, reason));
                }
                Command::Count { refused, .. } => self.counted.push(refused),
                Command::KeepRevocation(_) => self.kept_lists += 1,
                Command::Answer { id, result } => self.answers.push((id, result)),
                Command::Focus { .. } | Command::WantKeyFrame { .. } => {}
            }
        }
    }

    /// The journal answers the oldest entry.
    fn write_one(&mut self) -> bool {
        let Some((ticket, entry)) = self.waiting.pop_front() else {
            return false;
        };
        let result = if self.journal_works {
            self.seq += 1;
            self.journal.push((self.seq, self.now.wall, *entry));
            Ok(Receipt::for_test_at(self.seq, self.now.wall))
        } else {
            Err("the disk is full".to_owned())
        };
        self.gate.handle_recorded(ticket, result, self.now);
        self.drain();
        true
    }

    fn settle(&mut self) {
        self.drain();
        while self.write_one() {}
    }

    fn cameras_running(&self) -> BTreeSet<CameraId> {
        self.running
            .values()
            .map(|(_, camera, ..)| camera.clone())
            .collect()
    }

    fn ended(&self, grant: GrantId) -> Option<Reason> {
        self.journal.iter().find_map(|(_, _, entry)| match entry {
            Entry::Ended {
                grant: id, reason, ..
            } if *id == grant => Some(*reason),
            _ => None,
        })
    }

    fn told_end(&self, grant: GrantId) -> Option<Reason> {
        self.sent.iter().find_map(|(_, message)| match message {
            ToReceiver::Ended {
                grant: id, refusal, ..
            } if *id == grant => Some(refusal.reason),
            _ => None,
        })
    }
}

impl World {
    /// The same request again, under a new id.
    fn claims_of(&mut self, claims: &RequestClaims) -> RequestClaims {
        RequestClaims {
            jti: self.claims(&[]).jti,
            ..claims.clone()
        }
    }
}
