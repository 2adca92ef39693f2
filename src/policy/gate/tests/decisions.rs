//! What people at the commune sign on its page.

use super::approval::{approving, wait};
use super::*;
use crate::certs::authority::{self, Kind, Person};
use crate::certs::{Identity, Validity};
use crate::format::decision::{
    CutClaims, CutDecision, DECISION_TYPE, Decision as Wanted, DecisionClaims,
};
use crate::format::pem;
use crate::policy::gate::decision::{Done, Order, STATEMENTS};

const DAY: Duration = Duration::from_secs(86_400);

/// The commune's own authority, and who may decide.
struct Desk {
    authority: authority::Authority,
    anne: Signer,
    identity: Identity,
}

fn person(number: &str) -> Person {
    Person {
        number: number.to_owned(),
        name: "Anne Riche".to_owned(),
        unit: "Police municipale".to_owned(),
    }
}

fn read(identity: &Identity) -> Signer {
    Signer::from_pem(identity.key.expose(), &identity.certificate).unwrap()
}

impl Desk {
    fn new() -> Self {
        let validity = Validity::lasting(START, 30 * DAY);
        let authority = authority::Authority::make(Kind::Designation, validity).unwrap();
        let validity = Validity::lasting(START, DAY);
        let identity = authority.operator(&person("pm-7"), validity).unwrap();
        Self {
            anne: read(&identity),
            authority,
            identity,
        }
    }

    fn rules(&self, settings: Gateway) -> Rulebook {
        let page = Authority::from_pem(self.authority.certificate(), &[]).unwrap();
        Rulebook {
            page: Some(page.of_agents()),
            ..rules(settings)
        }
    }

    /// A world whose gate knows this desk.
    fn world(&self, settings: Gateway) -> World {
        let mut world = World::with(settings.clone());
        world.gate.handle_settings(self.rules(settings), world.now);
        world.settle();
        world
    }
}

fn decides(world: &mut World, request: RequestId, decision: Wanted) -> DecisionClaims {
    let claims = world.claims(&[0]);
    DecisionClaims {
        jti: claims.jti,
        iat: claims.iat,
        aud: claims.aud,
        request,
        decision,
    }
}

fn cuts(world: &mut World, scope: &str, decision: CutDecision) -> CutClaims {
    let claims = world.claims(&[0]);
    CutClaims {
        jti: claims.jti,
        iat: claims.iat,
        aud: claims.aud,
        scope: scope.to_owned(),
        block: (decision == CutDecision::Cut).then_some(900),
        decision: Some(decision),
    }
}

impl World {
    /// Sends a statement; what came of it, once the journal has answered.
    fn order(&mut self, order: Order, text: &str) -> Result<Done, Refusal> {
        self.next += 1;
        let id = u64::try_from(self.next).unwrap();
        self.gate.handle_order(id, order, text, self.now);
        self.settle();
        let answers: Vec<_> = self.answers.iter().filter(|(of, _)| *of == id).collect();
        let [(_, result)] = answers[..] else {
            panic!("{} answers", answers.len());
        };
        result.clone()
    }

    fn reason(&mut self, order: Order, text: &str) -> Reason {
        self.order(order, text).unwrap_err().reason
    }

    /// Each statement in the journal: who, and why it had no effect.
    fn statements(&self) -> Vec<(String, String, Option<Reason>)> {
        let statements = self.journal.iter().filter_map(|(_, _, entry)| match entry {
            Entry::Decision {
                statement,
                person,
                refused,
                ..
            } => {
                let reason = refused.as_ref().map(|refusal| refusal.reason);
                Some((statement.clone(), person.number.clone(), reason))
            }
            _ => None,
        });
        statements.collect()
    }
}

#[test]
fn an_approval_is_durable_before_it_gives_anything() {
    let desk = Desk::new();
    let mut world = desk.world(approving());
    let request = wait(&mut world, &[0]);
    let claims = decides(&mut world, request, Wanted::Approve);
    let text = desk.anne.sign(DECISION_TYPE, &claims);
    let order = Order::Decide(request);
    world.gate.handle_order(1, order, &text, world.now);
    world.drain();
    assert!(world.answers.is_empty() && world.running.is_empty());
    assert_eq!(world.gate.approvals_waiting(), 1, "until it is durable");
    world.write_one();
    let Some((1, Ok(Done::Approved(of, approved)))) = world.answers.pop() else {
        panic!("{:?}", world.answers);
    };
    assert_eq!(of, request);
    assert!(world.running.is_empty(), "the grant has its own entry");
    world.settle();
    assert_eq!(world.running.len(), 1);
    let statements = world.statements();
    assert_eq!(statements, [(text.clone(), "pm-7".to_owned(), None)]);
    let by = world.journal.iter().find_map(|(_, _, entry)| match entry {
        Entry::Grant(entry) if entry.grant == approved.grant => entry.approved_by.clone(),
        _ => None,
    });
    assert_eq!(by.as_deref(), Some("page:pm-7"));
    // Once, also after a restart.
    assert_eq!(world.reason(order, &text), Reason::ReplayedRequest);
    let settings = approving();
    let mut world = world.restarted(Duration::from_secs(5), settings.clone());
    world.gate.handle_settings(desk.rules(settings), world.now);
    assert_eq!(world.reason(order, &text), Reason::ReplayedRequest);
}

#[test]
fn an_approval_that_cant_be_recorded_gives_nothing_and_the_request_waits_on() {
    let desk = Desk::new();
    let mut world = desk.world(approving());
    let request = wait(&mut world, &[0]);
    world.journal_works = false;
    let claims = decides(&mut world, request, Wanted::Approve);
    let text = desk.anne.sign(DECISION_TYPE, &claims);
    let reason = world.reason(Order::Decide(request), &text);
    assert_eq!(reason, Reason::JournalUnavailable);
    assert_eq!(world.gate.approvals_waiting(), 1);
    assert!(world.running.is_empty());
}

#[test]
fn a_cut_acts_although_nothing_can_be_recorded_and_its_end_does_not() {
    let desk = Desk::new();
    let mut world = desk.world(settings());
    world.granted(&[0]);
    world.journal_works = false;
    let claims = cuts(&mut world, "all", CutDecision::Cut);
    let cut = desk.anne.sign(DECISION_TYPE, &claims);
    let done = world.order(Order::Cut, &cut).unwrap();
    assert!(matches!(done, Done::Cut(Scope::All, done) if done.grants == 1));
    assert!(world.running.is_empty());
    let claims = cuts(&mut world, "all", CutDecision::Allow);
    let allow = desk.anne.sign(DECISION_TYPE, &claims);
    assert_eq!(
        world.reason(Order::Allow, &allow),
        Reason::JournalUnavailable
    );
    assert_eq!(world.gate.cuts().len(), 1);
    world.journal_works = true;
    world.advance(Duration::from_secs(2));
    world.settle();
    // In this order: what was signed, then what it did.
    let told: Vec<&str> = world
        .journal
        .iter()
        .filter_map(|(_, _, entry)| match entry {
            Entry::Decision { .. } => Some("decision"),
            Entry::Cut { by, .. } if by == "page:pm-7" => Some("cut"),
            Entry::Ended { by, .. } if by.as_deref() == Some("page:pm-7") => Some("ended"),
            _ => None,
        })
        .collect();
    assert_eq!(told, ["decision", "cut", "ended"]);
    let claims = cuts(&mut world, "all", CutDecision::Allow);
    let allow = desk.anne.sign(DECISION_TYPE, &claims);
    let done = world.order(Order::Allow, &allow);
    assert_eq!(done, Ok(Done::Allowed(Scope::All, 1)));
    assert!(world.gate.cuts().is_empty());
}

#[test]
fn nobody_approves_what_he_asked_for() {
    let desk = Desk::new();
    let mut world = desk.world(approving());
    let request = wait(&mut world, &[0]);
    let order = Order::Decide(request);
    // By his number.
    let validity = Validity::lasting(START, DAY);
    let same = read(&desk.authority.operator(&person("13-1"), validity).unwrap());
    let claims = decides(&mut world, request, Wanted::Approve);
    let text = same.sign(DECISION_TYPE, &claims);
    assert_eq!(world.reason(order, &text), Reason::OwnRequest);
    assert_eq!(world.statements()[0].2, Some(Reason::OwnRequest));
    assert_eq!(world.gate.approvals_waiting(), 1);
    // He may refuse it.
    let claims = decides(&mut world, request, Wanted::Refuse);
    let text = same.sign(DECISION_TYPE, &claims);
    assert_eq!(world.order(order, &text), Ok(Done::Refused(request)));
}

#[test]
fn nobody_approves_by_another_certificate_of_the_key_that_asked() {
    let desk = Desk::new();
    let settings = approving();
    let mut world = desk.world(settings.clone());
    // A trial site of one's own, whose operator's key is at hand.
    let trial = Trial::new(START).unwrap();
    let operator = trial.simple_operator("13-9", "CORG 13", START).unwrap();
    let asks = Authority::from_pem(trial.designation_authority(), &[]).unwrap();
    let rules = Rulebook {
        authorities: vec![asks; settings.agreements.len()],
        ..desk.rules(settings)
    };
    world.gate.handle_settings(rules, world.now);
    let claims = world.claims(&[0]);
    let request = read(&operator).sign(REQUEST_TYPE, &claims);
    world.message(0, ToGateway::Request { id: 5, request });
    world.settle();
    let key = pem::private_key(operator.key.expose().as_bytes()).unwrap();
    let key = rcgen::KeyPair::try_from(&key).unwrap();
    let asked = rcgen::CertificateParams::default().serialize_request(&key);
    let asked = pem::encode("CERTIFICATE REQUEST", asked.unwrap().der());
    let validity = Validity::lasting(START, DAY);
    let certificate = desk
        .authority
        .operator_from_request(&person("pm-8"), validity, &asked)
        .unwrap();
    let other = Signer::from_pem(operator.key.expose(), &certificate).unwrap();
    let decision = decides(&mut world, claims.jti, Wanted::Approve);
    let text = other.sign(DECISION_TYPE, &decision);
    let order = Order::Decide(claims.jti);
    assert_eq!(world.reason(order, &text), Reason::OwnRequest);
}

#[test]
fn only_the_communes_own_decide_freshly_and_for_it() {
    let mut desk = Desk::new();
    let mut world = desk.world(approving());
    let request = wait(&mut world, &[0]);
    let order = Order::Decide(request);
    let good = decides(&mut world, request, Wanted::Approve);
    let sign = |claims: &DecisionClaims| desk.anne.sign(DECISION_TYPE, claims);
    // A centre's operator, a machine, another type, another signature.
    let operator = keys().operators[1].sign(DECISION_TYPE, &good);
    let reason = world.reason(order, &operator);
    assert_eq!(reason, Reason::OperatorNotDesignated);
    let machine = keys().commune.sign(DECISION_TYPE, &good);
    let reason = world.reason(order, &machine);
    assert_eq!(reason, Reason::OperatorNotDesignated);
    let token = desk.anne.sign(crate::format::statement::TOKEN_TYPE, &good);
    assert_eq!(world.reason(order, &token), Reason::MalformedRequest);
    let (body, _) = sign(&good)
        .rsplit_once('.')
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .unwrap();
    let other = sign(&decides(&mut world, request, Wanted::Refuse));
    let (_, signature) = other.rsplit_once('.').unwrap();
    let mixed = format!("{body}.{signature}");
    assert_eq!(world.reason(order, &mixed), Reason::BadSignature);
    // Another commune's, old ones, others.
    let mut foreign = decides(&mut world, request, Wanted::Approve);
    foreign.aud = CommuneId::new("rognac").unwrap();
    assert_eq!(world.reason(order, &sign(&foreign)), Reason::WrongAudience);
    for away in [-61, 61] {
        let mut old = decides(&mut world, request, Wanted::Approve);
        old.iat += away;
        assert_eq!(world.reason(order, &sign(&old)), Reason::StaleRequest);
    }
    assert!(world.statements().is_empty(), "none of them is a decision");
    // One about another request than the one that is called.
    let unknown = RequestId(Uuid::from_u128(7));
    let reason = world.reason(Order::Decide(unknown), &sign(&good));
    assert_eq!(reason, Reason::MalformedRequest);
    let about = decides(&mut world, unknown, Wanted::Approve);
    let reason = world.reason(Order::Decide(unknown), &sign(&about));
    assert_eq!(reason, Reason::GrantUnknown);
    let refused: Vec<_> = world.statements().into_iter().map(|one| one.2).collect();
    let expected = [Reason::MalformedRequest, Reason::GrantUnknown];
    assert_eq!(refused, expected.map(Some));

    // A certificate that ended, and one that was revoked.
    let late = decides(&mut world, request, Wanted::Refuse);
    let short = Validity::lasting(START, Duration::from_secs(30));
    let over = read(&desk.authority.operator(&person("pm-9"), short).unwrap());
    let reason = world.reason(order, &over.sign(DECISION_TYPE, &late));
    assert_eq!(reason, Reason::DesignationExpired);
    desk.authority
        .revoke(&desk.identity.certificate, START)
        .unwrap();
    let list = desk.authority.list(START).unwrap();
    let page = Authority::from_pem(desk.authority.certificate(), &[&list]).unwrap();
    let rules = Rulebook {
        page: Some(page.of_agents()),
        ..rules(approving())
    };
    world.gate.handle_settings(rules, world.now);
    world.settle();
    let text = desk.anne.sign(DECISION_TYPE, &late);
    assert_eq!(world.reason(order, &text), Reason::DesignationRevoked);
    // Without a page nobody decides.
    world
        .gate
        .handle_settings(super::rules(approving()), world.now);
    world.settle();
    let reason = world.reason(order, &text);
    assert_eq!(reason, Reason::OperatorNotDesignated);
    assert_eq!(world.gate.approvals_waiting(), 1);
}

#[test]
fn an_operator_decides_nothing_although_the_page_trusts_his_authority() {
    let desk = Desk::new();
    let settings = approving();
    let mut world = desk.world(settings.clone());
    let request = wait(&mut world, &[0]);
    // As where both authorities are below one root: the settings can't tell.
    let page = Authority::from_pem(keys().trial.designation_authority(), &[]).unwrap();
    let rules = Rulebook {
        page: Some(page.of_agents()),
        ..rules(settings)
    };
    world.gate.handle_settings(rules, world.now);
    let claims = decides(&mut world, request, Wanted::Approve);
    let text = keys().operators[1].sign(DECISION_TYPE, &claims);
    let refusal = world.order(Order::Decide(request), &text).unwrap_err();
    assert_eq!(refusal.reason, Reason::OperatorNotDesignated);
    assert!(
        refusal.detail.contains("designation authority"),
        "{refusal}"
    );
}

#[test]
fn a_cut_is_never_taken_for_its_end_and_says_for_how_long() {
    let desk = Desk::new();
    let mut world = desk.world(settings());
    world.granted(&[0]);
    let sign = |claims: &CutClaims| desk.anne.sign(DECISION_TYPE, claims);
    let cut = cuts(&mut world, "camera:camera-0", CutDecision::Cut);
    assert_eq!(
        world.reason(Order::Allow, &sign(&cut)),
        Reason::MalformedRequest
    );
    let allow = cuts(&mut world, "all", CutDecision::Allow);
    assert_eq!(
        world.reason(Order::Cut, &sign(&allow)),
        Reason::MalformedRequest
    );
    for (change, reason) in [
        (
            (|claims| claims.block = None) as fn(&mut CutClaims),
            Reason::MalformedRequest,
        ),
        (
            |claims| claims.block = Some(u64::MAX),
            Reason::MalformedRequest,
        ),
        (
            |claims| claims.scope = "camera".to_owned(),
            Reason::MalformedRequest,
        ),
        (
            |claims| claims.scope = "camera:none".to_owned(),
            Reason::CameraUnknown,
        ),
        (
            |claims| claims.scope = "centre:none".to_owned(),
            Reason::NoAgreement,
        ),
    ] {
        let mut wrong = cuts(&mut world, "all", CutDecision::Cut);
        change(&mut wrong);
        assert_eq!(world.reason(Order::Cut, &sign(&wrong)), reason, "{wrong:?}");
    }
    assert_eq!(world.running.len(), 1);
    // Statements of others need not say which they are.
    let mut cut = cuts(&mut world, "camera:camera-0", CutDecision::Cut);
    cut.decision = None;
    assert!(world.order(Order::Cut, &sign(&cut)).is_ok());
    assert!(world.running.is_empty());
    let mut allow = cuts(&mut world, "camera:camera-0", CutDecision::Allow);
    allow.decision = None;
    assert!(world.order(Order::Allow, &sign(&allow)).is_ok());
    assert!(world.gate.cuts().is_empty());
}

#[test]
fn who_signs_without_end_is_told_to_wait() {
    let desk = Desk::new();
    let mut world = desk.world(settings());
    let sign = |world: &mut World| {
        let claims = cuts(world, "all", CutDecision::Allow);
        let text = desk.anne.sign(DECISION_TYPE, &claims);
        world.order(Order::Allow, &text)
    };
    for _ in 0..STATEMENTS {
        assert!(sign(&mut world).is_ok());
    }
    let refusal = sign(&mut world).unwrap_err();
    assert_eq!(
        (refusal.reason, refusal.wait),
        (Reason::TooManyRequests, Some(1))
    );
    world.advance(Duration::from_secs(1));
    assert!(sign(&mut world).is_ok());
    let most = usize::try_from(STATEMENTS).unwrap() + 1;
    assert_eq!(world.statements().len(), most);
}
