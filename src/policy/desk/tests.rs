//! The desk against a gateway that keeps to the rules, and one that does not.

mod approval;
mod bounds;
mod gateways;
mod greedy;
mod handover;
mod kept;
mod sequences;
mod several;
mod snapshot;
mod viewings;
mod vms;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::*;
use crate::certs::trial::Trial;
use crate::clock::{Clock, ManualClock};
use crate::format::cause::Cause;
use crate::format::control::{AgreementInfo, GatewayHello, GroundInfo, Hours, RelayState, VERSION};
use crate::format::designation::{Designation, LinkAuthority};
use crate::format::ids::{Incident, ProfileWish, Sha256};
use crate::format::jws::Signer;
use crate::format::statement::{
    GRANT_TYPE, GrantClaims, HEAD_TYPE, HeadClaims, Operator, REQUEST_TYPE, VIEWINGS_TYPE,
    ViewingsClaims,
};
use crate::media::relay::Profile;
use crate::policy::peer::rates::UNVERIFIED_EVERY;

const COMMUNE: &str = "berre-l-etang";
const CENTRE: &str = "corg-13";
const START: i64 = 1_795_400_000;

fn id(number: u128) -> GrantId {
    GrantId(Uuid::from_u128(number))
}

fn camera(name: &str) -> CameraId {
    CameraId::new(name).unwrap()
}

fn commune() -> CommuneId {
    CommuneId::new(COMMUNE).unwrap()
}

struct World {
    trial: Trial,
    clock: ManualClock,
    operator: Signer,
    operator_certificate: String,
    gateway: Signer,
    receiver: Arc<Signer>,
    desk: Desk,
    next: u128,
    receipts: u64,
    /// All entries that the journal took.
    entries: Vec<(u64, Wall, Entry)>,
    /// The journal fails while this is set.
    broken: bool,
    /// Until when somebody may have watched before a restart.
    watched_until: Option<Wall>,
    /// What the hub says it received under a grant that ends.
    figures: Figures,
}

impl World {
    fn new() -> Self {
        let now = Wall::from_seconds(START);
        let (_, clock) = Clock::manual(now);
        let trial = Trial::new(now).unwrap();
        let identity = trial.simple_operator("4711", "CORG 13", now).unwrap();
        let operator = Signer::from_pem(identity.key.expose(), &identity.certificate).unwrap();
        let machine = |name: &str| {
            let identity = trial.machine(name).unwrap();
            Signer::from_pem(identity.key.expose(), &identity.certificate).unwrap()
        };
        let (gateway, receiver) = (machine(COMMUNE), Arc::new(machine(CENTRE)));
        let desk = Desk::new(rules(&trial, &receiver));
        Self {
            trial,
            clock,
            operator,
            operator_certificate: identity.certificate,
            gateway,
            receiver,
            desk,
            next: 1,
            receipts: 0,
            entries: Vec::new(),
            broken: false,
            watched_until: None,
            figures: Figures::default(),
        }
    }

    /// A world whose commune is linked and has introduced itself.
    fn linked() -> Self {
        let mut world = Self::new();
        world.link(1);
        world
    }

    /// The same, whose agreement allows long grants.
    fn linked_for_hours() -> Self {
        let mut world = Self::linked();
        let mut hello = hello();
        hello.agreements[0].max_duration = 86_400;
        world.tell(1, ToReceiver::Hello(hello));
        world
    }

    fn now(&self) -> Now {
        self.clock.now()
    }

    fn link(&mut self, session: u64) -> Vec<Command> {
        let now = self.now();
        self.desk
            .handle_link_up(&commune(), session, None, None, now);
        self.tell(session, ToReceiver::Hello(hello()))
    }

    fn tell(&mut self, session: u64, message: ToReceiver) -> Vec<Command> {
        let now = self.now();
        self.desk.handle_message(&commune(), session, message, now);
        self.drain()
    }

    /// Carries out what the desk wants until it wants nothing more.
    fn drain(&mut self) -> Vec<Command> {
        let mut done = Vec::new();
        while let Some(command) = self.desk.poll_command() {
            if let Command::Record { ticket, entry } = &command {
                let result = if self.broken {
                    Err("disk full".to_owned())
                } else {
                    self.receipts += 1;
                    let wall = self.now().wall;
                    self.entries.push((self.receipts, wall, (**entry).clone()));
                    Ok(Receipt::for_test_at(self.receipts, wall))
                };
                let now = self.now();
                self.desk.handle_recorded(*ticket, result, now);
            }
            if let Command::EndGrant { grant, .. } = &command {
                let now = self.now();
                self.desk.handle_counted(*grant, self.figures.clone(), now);
            }
            done.push(command);
        }
        done
    }

    fn after(&mut self, duration: Duration) -> Vec<Command> {
        self.clock.advance(duration);
        let now = self.now();
        self.desk.handle_timeout(now);
        self.drain()
    }

    fn claims(&mut self, cameras: &[&str]) -> RequestClaims {
        self.next += 1;
        RequestClaims {
            jti: RequestId(Uuid::from_u128(self.next | 0x7000_8000_0000_0000_0000)),
            iat: self.now().wall.seconds(),
            aud: commune(),
            centre: CentreId::new(CENTRE).unwrap(),
            cameras: cameras.iter().map(|name| camera(name)).collect(),
            grounds: "assault".to_owned(),
            incident: Incident::new("2026-42").unwrap(),
            duration: 600,
            profile: ProfileWish::Auto,
            present: vec!["Gendarme Martin".to_owned()],
            renews: None,
        }
    }

    fn sign(&self, claims: &RequestClaims) -> String {
        self.operator.sign(REQUEST_TYPE, claims)
    }

    fn ask(&mut self, request: &str) -> Vec<Command> {
        let now = self.now();
        self.desk.handle_request(7, request, now);
        self.drain()
    }

    fn proof_claims(&self, grant: GrantId, request: &str, claims: &RequestClaims) -> GrantClaims {
        let start = self.now().wall.seconds();
        GrantClaims {
            iss: commune(),
            aud: CentreId::new(CENTRE).unwrap(),
            grant,
            request: Sha256::of(request.as_bytes()),
            granted: claims.cameras.clone(),
            refused: Vec::new(),
            start,
            expires: start + i64::from(claims.duration),
            head: self.gateway.sign(HEAD_TYPE, &head(COMMUNE, 1)),
        }
    }

    /// Asks, and lets the gateway grant.
    fn granted(&mut self, grant: GrantId, cameras: &[&str]) -> (String, String, Vec<Command>) {
        let claims = self.claims(cameras);
        self.granted_for(grant, &claims)
    }

    fn granted_for(
        &mut self,
        grant: GrantId,
        claims: &RequestClaims,
    ) -> (String, String, Vec<Command>) {
        let request = self.sign(claims);
        let number = forwarded(&self.ask(&request));
        let proof = self.proof_claims(grant, &request, claims);
        let proof = self.gateway.sign(GRANT_TYPE, &proof);
        let message = ToReceiver::Granted {
            id: number,
            proof: proof.clone(),
            relays: relays(claims, 1),
        };
        (request, proof, self.tell(1, message))
    }

    /// The grants that the journal tells of, in its order.
    fn grants_written(&self) -> Vec<GrantId> {
        let entries = self.entries.iter().filter_map(|(_, _, entry)| match entry {
            Entry::Grant(entry) => Some(entry.grant),
            _ => None,
        });
        entries.collect()
    }

    /// An operator as the API knows him by his token.
    fn who(&self, number: &str, unit: &str) -> Designation {
        Designation {
            operator: Operator {
                name: format!("Adjudant {number}"),
                number: number.to_owned(),
                unit: unit.to_owned(),
            },
            not_after: Wall::from_seconds(START + 86_400),
            fingerprint: Sha256::ZERO,
            authority: self.desk.rules.authorities[0].id(),
            path: self.desk.rules.authorities[0].keys().collect(),
        }
    }

    fn asked(&self, request: RequestId, unit: &str) -> Option<&Asked> {
        self.desk.asked(request, &self.who("1", unit).unit())
    }

    /// The daemon starts again on what the journal holds.
    fn restart(&mut self) -> Vec<Command> {
        self.desk = Desk::new(rules(&self.trial, &self.receiver));
        let now = self.now();
        let newest = self.entries.last().map(|(_, time, _)| *time);
        let watched = self.watched_until;
        self.desk
            .handle_recovered(&self.entries, newest, watched, now);
        self.drain()
    }
}

fn rules(trial: &Trial, receiver: &Arc<Signer>) -> Rulebook {
    let identity = Identity {
        authority: LinkAuthority::from_pem(trial.link_authority(), &[]).unwrap(),
        signer: Arc::clone(receiver),
        own_identity: false,
    };
    let lists = [trial.designation_list()];
    Rulebook {
        centre: CentreId::new(CENTRE).unwrap(),
        name: "CORG 13".to_owned(),
        communes: BTreeMap::from([(commune(), identity)]),
        authorities: vec![Authority::from_pem(trial.designation_authority(), &lists).unwrap()],
        relay_after_loss: false,
    }
}

fn head(owner: &str, seq: u64) -> HeadClaims {
    HeadClaims {
        iss: owner.to_owned(),
        journal: "0".repeat(32),
        seq,
        link: Sha256::of(&seq.to_be_bytes()),
        iat: START,
    }
}

fn hello() -> GatewayHello {
    GatewayHello {
        minor: VERSION.1,
        version: "0.1.0".to_owned(),
        wall: START * 1_000_000,
        name: "Berre-l'Étang".to_owned(),
        contact: Some("04 42 00 00 00".to_owned()),
        agreements: vec![AgreementInfo {
            reference: "Convention".to_owned(),
            from: "2025-02-13".to_owned(),
            until: "2030-02-12".to_owned(),
            units: vec!["CORG 13".to_owned()],
            authorities: Vec::new(),
            grounds: vec![GroundInfo {
                id: "assault".to_owned(),
                fr: "agression".to_owned(),
                en: "assault".to_owned(),
            }],
            max_duration: 3_600,
            max_total: 14_400,
            max_relays: 16,
            snapshots: false,
            watermark: false,
            vms: false,
            approval: false,
            approval_exempt: Vec::new(),
            hours: Vec::new(),
        }],
        head: None,
        receiver: None,
    }
}

fn relays(claims: &RequestClaims, first: u32) -> BTreeMap<CameraId, RelayId> {
    claims
        .cameras
        .iter()
        .cloned()
        .zip((first..).map(RelayId))
        .collect()
}

fn forwarded(commands: &[Command]) -> u64 {
    commands
        .iter()
        .find_map(|command| match command {
            Command::Send { message, .. } => match &**message {
                ToGateway::Request { id, .. } => Some(*id),
                _ => None,
            },
            _ => None,
        })
        .unwrap_or_else(|| panic!("not forwarded: {commands:?}"))
}

fn answer(commands: &[Command]) -> Option<Result<GrantId, Denial>> {
    commands.iter().find_map(|command| match command {
        Command::Answer { result, caller: 7 } => Some(result.clone()),
        _ => None,
    })
}

fn refused(commands: &[Command]) -> Reason {
    match answer(commands) {
        Some(Err(denial)) => denial.refusal.reason,
        other => panic!("not refused: {other:?}"),
    }
}

fn allowed(commands: &[Command]) -> Vec<(GrantId, String, u32)> {
    commands
        .iter()
        .filter_map(|command| match command {
            Command::Allow {
                permit,
                camera,
                relay,
                ..
            } => Some((permit.grant(), camera.to_string(), relay.0)),
            _ => None,
        })
        .collect()
}

fn sent(commands: &[Command]) -> Vec<&ToGateway> {
    commands
        .iter()
        .filter_map(|command| match command {
            Command::Send { message, .. } => Some(&**message),
            _ => None,
        })
        .collect()
}

fn ended(commands: &[Command], grant: GrantId) -> Option<Reason> {
    commands.iter().find_map(|command| match command {
        Command::EndGrant { grant: of, reason } if *of == grant => Some(*reason),
        _ => None,
    })
}

fn position(commands: &[Command], wanted: impl Fn(&Command) -> bool) -> usize {
    commands
        .iter()
        .position(wanted)
        .unwrap_or_else(|| panic!("not among {commands:?}"))
}

#[test]
fn a_request_goes_on_verbatim_and_nothing_is_seen_before_the_journal() {
    let mut world = World::linked();
    let claims = world.claims(&["quai-nord", "port"]);
    let request = world.sign(&claims);
    let commands = world.ask(&request);
    assert!(sent(&commands).iter().any(
        |message| matches!(message, ToGateway::Request { request: text, .. } if text == &request)
    ));
    let proof = world.proof_claims(id(1), &request, &claims);
    let proof = world.gateway.sign(GRANT_TYPE, &proof);
    let message = ToReceiver::Granted {
        id: forwarded(&commands),
        proof: proof.clone(),
        relays: relays(&claims, 5),
    };
    let now = world.now();
    world.desk.handle_message(&commune(), 1, message, now);
    // Only the journal is asked; the rest waits for its receipt.
    let first = world.desk.poll_command().unwrap();
    let Command::Record { ticket, entry } = first else {
        panic!("{first:?}");
    };
    assert_eq!(world.desk.poll_command(), None);
    assert_eq!(world.desk.grant(id(1)), None);
    let Entry::Grant(entry) = *entry else {
        panic!("{entry:?}");
    };
    assert_eq!((&entry.request, &entry.proof), (&request, &Some(proof)));
    assert_eq!(entry.recipients, ["CORG 13", "Gendarme Martin"]);
    assert_eq!(entry.agreement, "Convention");
    world
        .desk
        .handle_recorded(ticket, Ok(Receipt::for_test(9)), now);
    let commands = world.drain();
    assert_eq!(
        allowed(&commands),
        [(id(1), "quai-nord".into(), 5), (id(1), "port".into(), 6)]
    );
    assert!(sent(&commands).contains(&&ToGateway::Confirm {
        grant: id(1),
        request: Sha256::of(request.as_bytes()),
        head: "head-9".to_owned(),
    }));
    assert_eq!(answer(&commands), Some(Ok(id(1))));
    assert_eq!(world.desk.relays_active(), 2);
}

#[test]
fn a_grant_waits_for_one_entry_and_not_for_the_note_that_it_was_forwarded() {
    let mut world = World::linked();
    let claims = world.claims(&["quai-nord"]);
    let request = world.sign(&claims);
    let now = world.now();
    world.desk.handle_request(7, &request, now);
    // The request is on its way though the journal has answered nothing.
    let commands: Vec<_> = std::iter::from_fn(|| world.desk.poll_command()).collect();
    let proof = world.proof_claims(id(1), &request, &claims);
    let message = ToReceiver::Granted {
        id: forwarded(&commands),
        proof: world.gateway.sign(GRANT_TYPE, &proof),
        relays: relays(&claims, 5),
    };
    world.desk.handle_message(&commune(), 1, message, now);
    let Some(Command::Record { ticket, .. }) = world.desk.poll_command() else {
        panic!("the grant is recorded");
    };
    assert_eq!(world.desk.poll_command(), None);
    let receipt = Ok(Receipt::for_test(9));
    world.desk.handle_recorded(ticket, receipt, now);
    assert_eq!(answer(&world.drain()), Some(Ok(id(1))));
}

#[test]
fn a_journal_that_fails_refuses_naming_the_centre_and_frees_the_gateway() {
    let mut world = World::linked();
    let claims = world.claims(&["port"]);
    let request = world.sign(&claims);
    let number = forwarded(&world.ask(&request));
    let proof = world.proof_claims(id(1), &request, &claims);
    let proof = world.gateway.sign(GRANT_TYPE, &proof);
    world.broken = true;
    let commands = world.tell(
        1,
        ToReceiver::Granted {
            id: number,
            proof,
            relays: relays(&claims, 1),
        },
    );
    let Some(Err(denial)) = answer(&commands) else {
        panic!("{commands:?}");
    };
    assert_eq!(denial.refusal.reason, Reason::JournalUnavailable);
    assert!(denial.refusal.detail.contains(CENTRE), "{denial:?}");
    assert_eq!(allowed(&commands), []);
    assert!(
        sent(&commands)
            .iter()
            .any(|message| matches!(message, ToGateway::Release { grant, .. } if *grant == id(1)))
    );
}

#[test]
fn proofs_that_do_not_fit_are_protocol_errors_and_never_recorded() {
    type Change = fn(&mut GrantClaims);
    let changes: [(&str, Change); 10] = [
        ("issuer", |claims| {
            claims.iss = CommuneId::new("rognac").unwrap()
        }),
        ("audience", |claims| {
            claims.aud = CentreId::new("corg-30").unwrap()
        }),
        ("request", |claims| claims.request = Sha256::ZERO),
        ("camera added", |claims| {
            claims.granted.push(camera("ecole-1"))
        }),
        ("camera twice", |claims| {
            claims.granted.push(claims.granted[0].clone())
        }),
        ("nothing", |claims| claims.granted.clear()),
        ("too long", |claims| claims.expires += 1),
        ("backwards", |claims| claims.expires = claims.start),
        ("far past", |claims| claims.start = i64::MIN),
        ("far future", |claims| claims.expires = i64::MAX),
    ];
    for (name, change) in changes {
        let mut world = World::linked();
        let claims = world.claims(&["port"]);
        let request = world.sign(&claims);
        let number = forwarded(&world.ask(&request));
        let mut proof = world.proof_claims(id(1), &request, &claims);
        change(&mut proof);
        let proof = world.gateway.sign(GRANT_TYPE, &proof);
        let commands = world.tell(
            1,
            ToReceiver::Granted {
                id: number,
                proof,
                relays: relays(&claims, 1),
            },
        );
        assert_eq!(refused(&commands), Reason::ProtocolError, "{name}");
        assert!(world.grants_written().is_empty(), "{name}");
        assert_eq!(allowed(&commands), [], "{name}");
    }
}

#[test]
fn a_proof_signed_by_another_machine_or_for_a_known_grant_is_refused() {
    let mut world = World::linked();
    world.granted(id(1), &["port"]);
    for (signer, grant) in [
        (world.receiver.clone(), id(2)),
        (Arc::clone(&world.receiver), id(3)),
    ] {
        let claims = world.claims(&["port"]);
        let request = world.sign(&claims);
        let number = forwarded(&world.ask(&request));
        let proof = world.proof_claims(grant, &request, &claims);
        let message = ToReceiver::Granted {
            id: number,
            proof: signer.sign(GRANT_TYPE, &proof),
            relays: relays(&claims, 1),
        };
        assert_eq!(refused(&world.tell(1, message)), Reason::ProtocolError);
    }
    let (_, _, commands) = world.granted(id(1), &["port"]);
    assert_eq!(refused(&commands), Reason::ProtocolError);
}

#[test]
fn what_the_centre_can_see_itself_is_refused_before_the_gateway_hears_of_it() {
    type Change = fn(&mut RequestClaims);
    let cases: [(Reason, Change); 7] = [
        (Reason::WrongAudience, |claims| {
            claims.centre = CentreId::new("corg-30").unwrap()
        }),
        (Reason::CommuneUnknown, |claims| {
            claims.aud = CommuneId::new("rognac").unwrap()
        }),
        (Reason::StaleRequest, |claims| claims.iat -= 61),
        (Reason::StaleRequest, |claims| claims.iat += 61),
        (Reason::GroundsNotAllowed, |claims| {
            claims.grounds = "theft".to_owned()
        }),
        (Reason::DurationTooLong, |claims| claims.duration = 3_601),
        (Reason::MalformedRequest, |claims| claims.cameras.clear()),
    ];
    for (reason, change) in cases {
        let mut world = World::linked();
        let mut claims = world.claims(&["port"]);
        change(&mut claims);
        let request = world.sign(&claims);
        let commands = world.ask(&request);
        assert_eq!(refused(&commands), reason);
        assert!(sent(&commands).is_empty(), "{reason}: {commands:?}");
    }
}

#[test]
fn out_of_the_announced_hours_no_agreement_is_in_force() {
    let mut world = World::linked();
    let mut told = hello();
    // It is 03:13 in Paris.
    told.agreements[0].hours = vec![Hours {
        days: [true; 7],
        start: 4 * 60,
        end: 5 * 60,
    }];
    world.tell(1, ToReceiver::Hello(told));
    let claims = world.claims(&["port"]);
    let commands = world.ask(&world.sign(&claims));
    assert_eq!(refused(&commands), Reason::AgreementNotInForce);
    assert!(sent(&commands).is_empty());
    world.after(Duration::from_secs(3_600));
    let claims = world.claims(&["port"]);
    forwarded(&world.ask(&world.sign(&claims)));
}

#[test]
fn another_unit_has_no_agreement_and_an_altered_request_no_signature() {
    let mut world = World::linked();
    let now = world.now().wall;
    let other = world
        .trial
        .simple_operator("12", "COB Istres", now)
        .unwrap();
    let other = Signer::from_pem(other.key.expose(), &other.certificate).unwrap();
    let claims = world.claims(&["port"]);
    let commands = world.ask(&other.sign(REQUEST_TYPE, &claims));
    assert_eq!(refused(&commands), Reason::NoAgreement);
    let claims = world.claims(&["port"]);
    let mut request = world.sign(&claims).into_bytes();
    let last = request.len() - 5;
    request[last] = if request[last] == b'A' { b'B' } else { b'A' };
    let commands = world.ask(std::str::from_utf8(&request).unwrap());
    assert_eq!(refused(&commands), Reason::BadSignature);
    // Not verified: counted, never stored.
    assert!(
        !world
            .entries
            .iter()
            .any(|(_, _, entry)| matches!(entry, Entry::Refused { jti, .. } if *jti == claims.jti))
    );
    let commands = world.after(UNVERIFIED_EVERY);
    assert!(
        commands
            .iter()
            .any(|command| matches!(command, Command::Record { entry, .. }
        if matches!(&**entry, Entry::Unverified { count: 1, .. })))
    );
}

#[test]
fn a_request_is_used_once_also_across_a_restart() {
    let mut world = World::linked();
    let claims = world.claims(&["port"]);
    let request = world.sign(&claims);
    world.ask(&request);
    assert_eq!(refused(&world.ask(&request)), Reason::ReplayedRequest);
    let mut claims = world.claims(&["port"]);
    claims.grounds = "theft".to_owned();
    let request = world.sign(&claims);
    assert_eq!(refused(&world.ask(&request)), Reason::GroundsNotAllowed);
    world.restart();
    assert_eq!(refused(&world.ask(&request)), Reason::ReplayedRequest);
}

#[test]
fn an_offline_commune_a_silent_one_and_a_lost_link_are_told_apart() {
    let mut world = World::new();
    let claims = world.claims(&["port"]);
    let request = world.sign(&claims);
    assert_eq!(refused(&world.ask(&request)), Reason::CommuneOffline);
    world.link(1);
    let claims = world.claims(&["port"]);
    let request = world.sign(&claims);
    let number = forwarded(&world.ask(&request));
    assert_eq!(
        answer(&world.after(ANSWER_TIMEOUT - Duration::from_millis(1))),
        None
    );
    assert_eq!(
        refused(&world.after(Duration::from_millis(1))),
        Reason::CommuneOffline
    );
    // The grant that comes late is recorded all the same, and is in the list.
    let proof = world.proof_claims(id(1), &request, &claims);
    let proof = world.gateway.sign(GRANT_TYPE, &proof);
    let message = ToReceiver::Granted {
        id: number,
        proof,
        relays: relays(&claims, 1),
    };
    let commands = world.tell(1, message);
    assert_eq!(answer(&commands), None);
    assert_eq!(allowed(&commands).len(), 1);
    let claims = world.claims(&["port"]);
    let request = world.sign(&claims);
    world.ask(&request);
    let now = world.now();
    world.desk.handle_link_down(&commune(), 1, now);
    assert_eq!(refused(&world.drain()), Reason::LinkLost);
    let asked = world.asked(claims.jti, "CORG 13").unwrap();
    assert!(
        matches!(&asked.result, Some(Err(denial)) if denial.refusal.reason == Reason::LinkLost)
    );
    assert!(world.asked(claims.jti, "COB Istres").is_none());
}

#[test]
fn a_gateways_refusal_is_passed_on_and_journalled() {
    let mut world = World::linked();
    let claims = world.claims(&["ecole-1"]);
    let request = world.sign(&claims);
    let number = forwarded(&world.ask(&request));
    let refusal = Refusal::new(Reason::CameraNotCovered, "ecole-1 is excepted");
    let commands = world.tell(
        1,
        ToReceiver::Refused {
            id: number,
            refusal: refusal.clone(),
            cameras: Vec::new(),
            head: None,
        },
    );
    assert_eq!(answer(&commands), Some(Err(refusal.into())));
    assert!(
        matches!(&world.entries[..], [(_, _, Entry::Forwarded { .. }), (_, _, Entry::Refused { jti, peer, .. })]
        if *jti == claims.jti && peer == COMMUNE)
    );
}

#[test]
fn a_grant_ends_by_either_clock() {
    for by_wall in [false, true] {
        let mut world = World::linked();
        world.granted(id(1), &["port"]);
        assert_eq!(ended(&world.after(Duration::from_secs(599)), id(1)), None);
        if by_wall {
            let wall = world.now().wall.plus(Duration::from_secs(1));
            world.clock.set_wall(wall);
        } else {
            // The wall clock is set back a day; the boot clock goes on.
            let wall = Wall::from_seconds(START - 86_400);
            world.clock.set_wall(wall);
        }
        let step = Duration::from_secs(u64::from(!by_wall));
        let commands = world.after(step);
        assert_eq!(
            ended(&commands, id(1)),
            Some(Reason::GrantExpired),
            "wall {by_wall}"
        );
        // It acts before it writes.
        let acted = position(&commands, |command| {
            matches!(command, Command::EndGrant { .. })
        });
        let written = position(&commands, |command| {
            matches!(command, Command::Record { entry, .. }
            if matches!(**entry, Entry::Ended { .. }))
        });
        assert!(acted < written);
    }
}

#[test]
fn a_renewal_keeps_the_id_and_moves_the_end() {
    let mut world = World::linked();
    world.granted(id(1), &["port", "quai-nord"]);
    world.after(Duration::from_secs(500));
    let mut claims = world.claims(&["port"]);
    claims.renews = Some(id(1));
    let (_, _, commands) = world.granted_for(id(1), &claims);
    assert_eq!(answer(&commands), Some(Ok(id(1))));
    let left_out = position(&commands, |command| {
        matches!(command, Command::EndCamera { camera, .. }
        if camera.as_str() == "quai-nord")
    });
    assert!(left_out < commands.len());
    assert_eq!(ended(&world.after(Duration::from_secs(599)), id(1)), None);
    assert_eq!(
        ended(&world.after(Duration::from_secs(1)), id(1)),
        Some(Reason::GrantExpired)
    );
    // A proof that renews another grant than was asked for is no renewal.
    world.granted(id(3), &["port"]);
    let mut claims = world.claims(&["port"]);
    claims.renews = Some(id(3));
    let (_, _, commands) = world.granted_for(id(2), &claims);
    assert_eq!(refused(&commands), Reason::ProtocolError);
}

#[test]
fn a_release_ends_at_once_and_stays_ended_when_the_gateway_missed_it() {
    let mut world = World::linked();
    let (request, proof, _) = world.granted(id(1), &["port"]);
    let stranger = world.who("1", "COB Istres");
    let now = world.now();
    let refusal = world
        .desk
        .handle_release(id(1), &stranger, now)
        .unwrap_err();
    assert_eq!(refusal.reason, Reason::GrantUnknown);
    world.desk.handle_link_down(&commune(), 1, now);
    let colleague = world.who("1", "CORG 13");
    world.desk.handle_release(id(1), &colleague, now).unwrap();
    let commands = world.drain();
    assert_eq!(ended(&commands, id(1)), Some(Reason::GrantReleased));
    for restarted in [false, true] {
        if restarted {
            world.restart();
        }
        let session = 2 + u64::from(restarted);
        world.link(session);
        let commands = world.tell(
            session,
            ToReceiver::Resume {
                request: request.clone(),
                proof: proof.clone(),
                relays: BTreeMap::from([(camera("port"), RelayId(9))]),
            },
        );
        assert_eq!(allowed(&commands), []);
        assert!(
            matches!(sent(&commands)[..], [ToGateway::Release { grant, .. }] if *grant == id(1))
        );
    }
}

#[test]
fn a_lost_link_keeps_the_viewers_and_the_resumed_grant_its_time() {
    let mut world = World::linked();
    let (request, proof, _) = world.granted(id(1), &["port"]);
    let now = world.now();
    world.desk.handle_link_down(&commune(), 1, now);
    let commands = world.drain();
    assert_eq!(ended(&commands, id(1)), None);
    let part = world.desk.grant(id(1)).unwrap().cameras[0].clone();
    assert_eq!(part.state, RelayState::Retrying);
    assert_eq!(part.refusal, Some(Reason::LinkLost.into()));
    world.after(Duration::from_secs(100));
    world.link(2);
    let entries = world.entries.len();
    let commands = world.tell(
        2,
        ToReceiver::Resume {
            request,
            proof,
            relays: BTreeMap::from([(camera("port"), RelayId(33))]),
        },
    );
    assert_eq!(world.entries.len(), entries);
    assert_eq!(allowed(&commands), [(id(1), "port".into(), 33)]);
    assert!(matches!(sent(&commands)[..], [ToGateway::Confirm { .. }]));
    let state = ToReceiver::Relay {
        relay: RelayId(33),
        camera: camera("port"),
        state: RelayState::Live,
        refusal: None,
        profile: Profile::Sub,
        profile_cause: Some(Cause::Uplink),
    };
    world.tell(2, state);
    let part = world.desk.grant(id(1)).unwrap().cameras[0].clone();
    assert_eq!((part.state, part.profile), (RelayState::Live, Profile::Sub));
    assert_eq!(part.profile_cause, Some(Cause::Uplink));
    assert_eq!(
        ended(&world.after(Duration::from_secs(500)), id(1)),
        Some(Reason::GrantExpired)
    );
}

#[test]
fn a_restart_shows_the_grant_and_lets_it_in_only_with_a_new_line_in_the_journal() {
    let mut world = World::linked();
    let (request, proof, _) = world.granted(id(1), &["port"]);
    world.clock.advance(Duration::from_secs(100));
    world.restart();
    assert_eq!(world.desk.grants_active(), 1);
    world.link(2);
    let resume = ToReceiver::Resume {
        request,
        proof,
        relays: BTreeMap::from([(camera("port"), RelayId(4))]),
    };
    let commands = world.tell(2, resume.clone());
    let written = position(&commands, |command| {
        matches!(command, Command::Record { entry, .. }
        if matches!(**entry, Entry::Resumed { .. }))
    });
    let let_in = position(&commands, |command| {
        matches!(command, Command::Allow { .. })
    });
    assert!(written < let_in);
    let left = world.desk.grant(id(1)).unwrap().left(world.now());
    assert_eq!(left, Duration::from_secs(500));
    assert_eq!(
        ended(&world.after(Duration::from_secs(500)), id(1)),
        Some(Reason::GrantExpired)
    );
    // A gateway that goes on all the same is told, and nothing is let in.
    assert_eq!(allowed(&world.tell(2, resume)), []);
    // Down beyond its end: it ended at its time.
    let mut world = World::linked();
    world.granted(id(1), &["port"]);
    world.clock.advance(Duration::from_secs(601));
    world.restart();
    assert_eq!(world.desk.grants_active(), 0);
    assert!(matches!(
        world.entries.last(),
        Some((
            _,
            _,
            Entry::Ended {
                reason: Reason::GrantExpired,
                ..
            }
        ))
    ));
}

#[test]
fn a_grant_that_goes_on_waits_for_a_journal_that_fails() {
    let mut world = World::linked();
    let (request, proof, _) = world.granted(id(1), &["port"]);
    world.restart();
    world.link(2);
    world.broken = true;
    let resume = ToReceiver::Resume {
        request,
        proof,
        relays: BTreeMap::from([(camera("port"), RelayId(4))]),
    };
    assert_eq!(allowed(&world.tell(2, resume)), []);
    assert_eq!(allowed(&world.after(Duration::from_secs(1))), []);
    world.broken = false;
    assert_eq!(allowed(&world.after(Duration::from_secs(1))).len(), 1);
    assert!(
        world
            .entries
            .iter()
            .any(|(_, _, entry)| matches!(entry, Entry::Resumed { .. }))
    );
}

#[test]
fn a_resumed_grant_that_was_never_recorded_here_is_recorded_first() {
    let mut world = World::linked();
    let claims = world.claims(&["port"]);
    let request = world.sign(&claims);
    forwarded(&world.ask(&request));
    let proof = world.proof_claims(id(1), &request, &claims);
    let resume = |world: &World, proof: &GrantClaims| ToReceiver::Resume {
        request: request.clone(),
        proof: world.gateway.sign(GRANT_TYPE, proof),
        relays: BTreeMap::from([(camera("port"), RelayId(4))]),
    };
    let mut longer = proof.clone();
    longer.expires += 1;
    let message = resume(&world, &longer);
    assert_eq!(allowed(&world.tell(1, message)), []);
    assert!(world.grants_written().is_empty());
    let message = resume(&world, &proof);
    let commands = world.tell(1, message);
    assert_eq!(world.grants_written(), [id(1)]);
    assert_eq!(allowed(&commands).len(), 1);
    // Its request can't be used a second time.
    assert_eq!(refused(&world.ask(&request)), Reason::ReplayedRequest);
}

#[test]
fn an_end_that_overtakes_the_journal_wins() {
    let mut world = World::linked();
    let claims = world.claims(&["port"]);
    let request = world.sign(&claims);
    let number = forwarded(&world.ask(&request));
    let proof = world.proof_claims(id(1), &request, &claims);
    let proof = world.gateway.sign(GRANT_TYPE, &proof);
    let now = world.now();
    let granted = ToReceiver::Granted {
        id: number,
        proof,
        relays: relays(&claims, 1),
    };
    let cut = ToReceiver::Ended {
        grant: id(1),
        refusal: Reason::GrantCut.into(),
        head: None,
    };
    world.desk.handle_message(&commune(), 1, granted, now);
    world.desk.handle_message(&commune(), 1, cut, now);
    let commands = world.drain();
    assert_eq!(allowed(&commands), []);
    assert_eq!(refused(&commands), Reason::GrantCut);
    assert!(matches!(
        world.entries.last(),
        Some((
            _,
            _,
            Entry::Ended {
                reason: Reason::GrantCut,
                ..
            }
        ))
    ));
}

#[test]
fn a_camera_that_one_grant_loses_ends_for_it_though_its_relay_goes_on() {
    let mut world = World::linked();
    let claims = world.claims(&["port", "quai-nord"]);
    let request = world.sign(&claims);
    let number = forwarded(&world.ask(&request));
    let proof = world.proof_claims(id(1), &request, &claims);
    let proof = world.gateway.sign(GRANT_TYPE, &proof);
    let granted = ToReceiver::Granted {
        id: number,
        proof,
        relays: relays(&claims, 1),
    };
    world.tell(1, granted);
    let ended = ToReceiver::CameraEnded {
        grant: id(1),
        camera: camera("quai-nord"),
        refusal: Reason::AgreementChanged.into(),
    };
    let commands = world.tell(1, ended);
    assert!(commands.contains(&Command::EndCamera {
        grant: id(1),
        commune: commune(),
        camera: camera("quai-nord"),
        reason: Reason::AgreementChanged,
    }));
    let view = world.desk.grant(id(1)).unwrap();
    assert_eq!(view.cameras.iter().filter(|part| part.is_open()).count(), 1);
}

#[test]
fn a_cut_camera_ends_alone_and_a_state_before_the_receipt_is_kept() {
    let mut world = World::linked();
    let claims = world.claims(&["port", "quai-nord"]);
    let request = world.sign(&claims);
    let number = forwarded(&world.ask(&request));
    let proof = world.proof_claims(id(1), &request, &claims);
    let proof = world.gateway.sign(GRANT_TYPE, &proof);
    let state = |relay, name, state, refusal: Option<Reason>| ToReceiver::Relay {
        relay: RelayId(relay),
        camera: camera(name),
        state,
        refusal: refusal.map(Refusal::from),
        profile: Profile::Main,
        profile_cause: None,
    };
    let now = world.now();
    let granted = ToReceiver::Granted {
        id: number,
        proof,
        relays: relays(&claims, 1),
    };
    world.desk.handle_message(&commune(), 1, granted, now);
    let live = state(1, "port", RelayState::Live, None);
    world.desk.handle_message(&commune(), 1, live, now);
    world.drain();
    assert_eq!(
        world.desk.grant(id(1)).unwrap().cameras[0].state,
        RelayState::Live
    );
    let cut = state(2, "quai-nord", RelayState::Ended, Some(Reason::GrantCut));
    let commands = world.tell(1, cut);
    assert!(commands.contains(&Command::EndCamera {
        grant: id(1),
        commune: commune(),
        camera: camera("quai-nord"),
        reason: Reason::GrantCut,
    }));
    assert_eq!(world.desk.relays_active(), 1);
    let commands = world.tell(
        1,
        ToReceiver::Ended {
            grant: id(1),
            refusal: Reason::GrantCut.into(),
            head: None,
        },
    );
    assert_eq!(ended(&commands, id(1)), Some(Reason::GrantCut));
}

#[test]
fn a_revoked_designation_ends_its_grants_and_the_list_is_passed_on() {
    let mut world = World::linked();
    world.granted(id(1), &["port"]);
    let now = world.now();
    let certificate = world.operator_certificate.clone();
    let list = world
        .trial
        .revoke_operator(&certificate, now.wall)
        .unwrap()
        .to_owned();
    let rules = rules(&world.trial, &world.receiver);
    world.desk.handle_settings(rules, now);
    let commands = world.drain();
    assert_eq!(ended(&commands, id(1)), Some(Reason::DesignationRevoked));
    assert!(sent(&commands).iter().any(
        |message| matches!(message, ToGateway::Revocation { list: sent }
        if sent.trim() == list.trim())
    ));
    let claims = world.claims(&["port"]);
    let request = world.sign(&claims);
    assert_eq!(refused(&world.ask(&request)), Reason::DesignationRevoked);
}

#[test]
fn a_clock_behind_the_journal_refuses() {
    let mut world = World::linked();
    world.granted(id(1), &["port"]);
    world.restart();
    world.link(1);
    let claims = world.claims(&["port"]);
    world.clock.set_wall(Wall::from_seconds(START - 30));
    let request = world.sign(&RequestClaims {
        iat: START - 30,
        ..claims
    });
    assert_eq!(refused(&world.ask(&request)), Reason::ClockWrong);
}

#[test]
fn a_commune_with_two_links_for_one_line_is_written_down() {
    let mut world = World::linked();
    let mut other = head(COMMUNE, 1);
    other.link = Sha256::ZERO;
    for claims in [head(COMMUNE, 1), other] {
        let heads = crate::format::control::Heads {
            head: world.gateway.sign(HEAD_TYPE, &claims),
            lines: Vec::new(),
            acknowledged: 0,
        };
        world.tell(1, ToReceiver::Heads(heads));
    }
    assert!(world.entries.iter().any(
        |(_, _, entry)| matches!(entry, Entry::PeerContradiction { peer, .. } if peer == COMMUNE)
    ));
}
