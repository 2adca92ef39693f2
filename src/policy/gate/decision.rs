//! What people at the commune sign on its page: cuts, their end, decisions on requests that wait.
//!
//! A statement is signed by a certificate of `[page] authority`, for this commune, within the last
//! minute, and used once. Nobody whom a designation authority vouches for decides here, however
//! the authorities are signed, and nobody approves what he asked for.
//!
//! Each statement that passes so far is journalled verbatim, with the reason where it has no
//! effect. What takes (a cut, a refusal) acts at once, its entry before those of what it ends:
//! a journal that can't be written must not keep the commune from its cut. What gives (an
//! approval, the end of a cut) acts once the statement is durable.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::de::DeserializeOwned;

use super::approval::Approved;
use super::cut::{CutDone, Scope};
use super::{Command, Gate, Pending};
use crate::allowance::Allowance;
use crate::clock::{Now, Wall};
use crate::format::decision::{
    CutClaims, CutDecision, DECISION_TYPE, Dated, Decision, DecisionClaims,
};
use crate::format::designation::{Rules, Verified, check_not_of, verify_statement};
use crate::format::ids::RequestId;
use crate::format::statement::RequestClaims;
use crate::journal::Receipt;
use crate::journal::entry::Entry;
use crate::policy::peer::envelope::check_fresh;
use crate::policy::replay::Used;
use crate::reason::{Reason, Refusal};

/// Statements of one person at once.
pub const STATEMENTS: u32 = 60;
/// How soon another one may follow.
pub const STATEMENT_EVERY: Duration = Duration::from_secs(1);
/// Persons whose pace is remembered.
const PERSONS: usize = 256;

/// How the certificates of the page's persons are judged: theirs is no agreement.
const RULES: Rules = Rules {
    max_designation: None,
    require_fresh_revocation: false,
};

/// What is asked for with a signed statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Cut a scope.
    Cut,
    /// Lift a cut.
    Allow,
    /// Approve or refuse this request.
    Decide(RequestId),
}

/// What a signed statement did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// A scope was cut.
    Cut(Scope, CutDone),
    /// So many cuts of this scope were lifted.
    Allowed(Scope, usize),
    /// A request was approved: the grant is being recorded.
    Approved(RequestId, Approved),
    /// A request was refused.
    Refused(RequestId),
}

/// What acts once its statement is durable.
#[derive(Debug)]
pub(super) struct Ordered {
    id: u64,
    by: String,
    act: Act,
}

#[derive(Debug)]
enum Act {
    Approve(RequestId),
    Allow(Scope),
}

/// The statements of the last minutes, and how fast each person signs.
#[derive(Debug, Default)]
pub(super) struct Orders {
    used: Used,
    paces: BTreeMap<String, Allowance>,
}

impl Orders {
    /// One that the journal tells of.
    pub(super) fn recover(&mut self, jti: RequestId, statement: &str, time: Wall, now: Wall) {
        self.used.recover(jti, statement, time, now);
    }

    /// Whether this person may sign another one now.
    fn pace(&mut self, number: &str, now: Now) -> Result<(), Refusal> {
        if self.paces.len() >= PERSONS && !self.paces.contains_key(number) {
            // Those whose pace is as if they had never signed are forgotten.
            self.paces
                .retain(|_, pace| !pace.clone().take(STATEMENTS, now.boot.0));
            if self.paces.len() >= PERSONS {
                let detail = "too many persons sign at once";
                return Err(Refusal::new(Reason::TooManyRequests, detail).after(1));
            }
        }
        let fresh = || Allowance::every(STATEMENTS, STATEMENT_EVERY);
        let pace = self.paces.entry(number.to_owned()).or_insert_with(fresh);
        if pace.take(1, now.boot.0) {
            return Ok(());
        }
        let seconds = STATEMENT_EVERY.as_secs();
        let detail =
            format!("{STATEMENTS} decisions of {number} in a short time; wait {seconds} s");
        let wait = u32::try_from(seconds).unwrap_or(1);
        Err(Refusal::new(Reason::TooManyRequests, detail).after(wait))
    }
}

/// Whether both were signed by one person: by the service number, or by the key.
fn is_same_person(request: &Verified<RequestClaims>, person: &Verified<DecisionClaims>) -> bool {
    let number = |number: &str| number.trim().to_lowercase();
    let (asked, decides) = (
        &request.designation().operator.number,
        &person.designation().operator.number,
    );
    let key = person.key();
    number(asked) == number(decides) || (key.is_some() && request.key() == key)
}

impl Gate {
    /// A person at the commune sends a signed statement; [`Command::Answer`] with this id says
    /// what came of it, sooner or later, but once.
    pub fn handle_order(&mut self, id: u64, order: Order, text: &str, now: Now) {
        let done = match order {
            Order::Cut => self.order_cut(text, now).map(Some),
            Order::Allow => self.order_allow(id, text, now),
            Order::Decide(request) => self.order_decision(id, request, text, now),
        };
        match done {
            Ok(Some(done)) => self.answer_order(id, Ok(done)),
            // It waits for the journal.
            Ok(None) => {}
            Err(refusal) => self.answer_order(id, Err(refusal)),
        }
    }

    fn answer_order(&mut self, id: u64, result: Result<Done, Refusal>) {
        self.commands.push_back(Command::Answer { id, result });
    }

    /// Who signed, for this commune, freshly, and for the first time.
    fn signed<T: DeserializeOwned + Dated>(
        &mut self,
        text: &str,
        now: Now,
    ) -> Result<Verified<T>, Refusal> {
        let Some(page) = &self.rules.page else {
            let detail = "the settings have no [page]: nobody decides by signature here";
            return Err(Refusal::new(Reason::OperatorNotDesignated, detail));
        };
        let verified: Verified<T> = verify_statement(text, DECISION_TYPE, page, RULES, now.wall)?;
        check_not_of(text, &self.rules.authorities, now.wall)?;
        let commune = &self.rules.settings.commune;
        let claims = verified.claims();
        if claims.audience() != commune {
            let detail = format!("it is for {}, and this is {commune}", claims.audience());
            return Err(Refusal::new(Reason::WrongAudience, detail));
        }
        let (jti, iat) = (claims.id(), claims.signed_at());
        check_fresh(iat, commune, now)?;
        let signed_at = Wall::from_seconds(iat);
        if let Some(doubt) = self.orders.used.doubt(signed_at, commune, now.wall) {
            return Err(doubt);
        }
        let number = &verified.designation().operator.number;
        self.orders.pace(number, now)?;
        if !self.orders.used.mark(jti, signed_at, now.wall) {
            let detail = format!("the statement {jti} was used before; sign another one");
            return Err(Refusal::new(Reason::ReplayedRequest, detail));
        }
        Ok(verified)
    }

    fn order_cut(&mut self, text: &str, now: Now) -> Result<Done, Refusal> {
        let verified: Verified<CutClaims> = self.signed(text, now)?;
        let claims = verified.claims();
        let judged = scope_of(claims, CutDecision::Cut).and_then(|scope| {
            let seconds = claims.block.ok_or_else(|| {
                Refusal::new(
                    Reason::MalformedRequest,
                    "a cut says for how long: block, in seconds",
                )
            })?;
            let block = Duration::from_secs(seconds);
            self.may_cut(&scope, block)
                .map_err(|error| Refusal::new(error.reason(), error.to_string()))?;
            Ok((scope, block))
        });
        let entry = entry(&verified, judged.as_ref().err().cloned());
        self.owe_entry(entry, None);
        let (scope, block) = judged?;
        let done = self
            .handle_cut(&scope, block, &by(&verified), now)
            .map_err(|error| Refusal::new(error.reason(), error.to_string()))?;
        Ok(Done::Cut(scope, done))
    }

    fn order_allow(&mut self, id: u64, text: &str, now: Now) -> Result<Option<Done>, Refusal> {
        let verified: Verified<CutClaims> = self.signed(text, now)?;
        let judged = scope_of(verified.claims(), CutDecision::Allow).and_then(|scope| {
            self.may_allow(&scope)
                .map_err(|error| Refusal::new(error.reason(), error.to_string()))?;
            Ok(scope)
        });
        self.wait_for_journal(id, &verified, judged.map(Act::Allow))
    }

    fn order_decision(
        &mut self,
        id: u64,
        request: RequestId,
        text: &str,
        now: Now,
    ) -> Result<Option<Done>, Refusal> {
        let verified: Verified<DecisionClaims> = self.signed(text, now)?;
        self.end_waits(now);
        let claims = verified.claims();
        let judged = if claims.request == request {
            match self.waits(request) {
                None => {
                    let detail = format!("no request {request} waits");
                    Err(Refusal::new(Reason::GrantUnknown, detail))
                }
                Some(asked)
                    if claims.decision == Decision::Approve && is_same_person(asked, &verified) =>
                {
                    Err(Reason::OwnRequest.into())
                }
                Some(_) => Ok(request),
            }
        } else {
            let detail = format!("the statement is about {}, not {request}", claims.request);
            Err(Refusal::new(Reason::MalformedRequest, detail))
        };
        if claims.decision == Decision::Approve {
            return self.wait_for_journal(id, &verified, judged.map(Act::Approve));
        }
        let entry = entry(&verified, judged.as_ref().err().cloned());
        self.owe_entry(entry, None);
        let request = judged?;
        self.handle_refuse(request, &by(&verified), now)
            .map_err(|error| Refusal::new(error.reason(), error.to_string()))?;
        Ok(Some(Done::Refused(request)))
    }

    /// Records the statement; what it allows is done once it is durable.
    fn wait_for_journal<T: Dated>(
        &mut self,
        id: u64,
        verified: &Verified<T>,
        judged: Result<Act, Refusal>,
    ) -> Result<Option<Done>, Refusal> {
        match judged {
            Err(refusal) => {
                self.owe_entry(entry(verified, Some(refusal.clone())), None);
                Err(refusal)
            }
            Ok(act) => {
                let by = by(verified);
                let ordered = Pending::Order(Box::new(Ordered { id, by, act }));
                self.record(Box::new(entry(verified, None)), ordered);
                Ok(None)
            }
        }
    }

    /// The journal's answer to a statement that waited for it.
    pub(super) fn order_recorded(
        &mut self,
        ordered: Ordered,
        result: Result<Receipt, String>,
        now: Now,
    ) {
        let Ordered { id, by, act } = ordered;
        let done = match (result, act) {
            (Err(cause), _) => {
                tracing::error!(%cause, "a decision could not be recorded and has no effect");
                let detail = format!(
                    "the journal of {} can't be written",
                    self.rules.settings.commune
                );
                Err(Refusal::new(Reason::JournalUnavailable, detail))
            }
            (Ok(_), Act::Approve(request)) => self
                .handle_approve(request, &by, now)
                .map(|approved| Done::Approved(request, approved))
                .map_err(|error| Refusal::new(error.reason(), error.to_string())),
            (Ok(_), Act::Allow(scope)) => self
                .handle_allow(&scope, &by)
                .map(|lifted| Done::Allowed(scope, lifted))
                .map_err(|error| Refusal::new(error.reason(), error.to_string())),
        };
        self.answer_order(id, done);
    }
}

/// Who did it, as entries name him.
fn by<T>(verified: &Verified<T>) -> String {
    format!("page:{}", verified.designation().operator.number)
}

fn entry<T: Dated>(verified: &Verified<T>, refused: Option<Refusal>) -> Entry {
    Entry::Decision {
        statement: verified.text().to_owned(),
        jti: verified.claims().id(),
        person: verified.designation().operator.clone(),
        refused,
    }
}

/// The scope of a statement that is, or may be, of this kind.
fn scope_of(claims: &CutClaims, wanted: CutDecision) -> Result<Scope, Refusal> {
    let malformed = |detail: String| Refusal::new(Reason::MalformedRequest, detail);
    if claims.decision.is_some_and(|decision| decision != wanted) {
        let detail = "the statement says otherwise: a cut is sent to POST cuts, the end of one to DELETE cuts";
        return Err(malformed(detail.to_owned()));
    }
    claims.scope.parse().map_err(malformed)
}
