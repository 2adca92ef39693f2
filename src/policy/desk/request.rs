//! A request, from its first character to its answer.

use std::collections::BTreeMap;
use std::time::Duration;

use super::grant::{RULES, Recording};
use super::{ANSWER_TIMEOUT, Command, Desk, GRANT_LIMIT, Notice, Pending, WAITING_LIMIT};
use crate::clock::{Boot, Now, Wall};
use crate::format::control::{CameraInfo, ToGateway};
use crate::format::designation::{Designation, Unit, Verified};
use crate::format::ids::{CameraId, CommuneId, GrantId, RequestId};
use crate::format::statement::{RefusedCamera, RequestClaims};
use crate::journal::Receipt;
use crate::journal::entry::Entry;
use crate::media::relay::RelayId;
use crate::policy::agreement::check_announced;
use crate::policy::peer::{envelope, pace};
use crate::reason::{Reason, Refusal};

/// How long a request is remembered from its arrival on: the longest wait for
/// approval, and an hour.
const ASKED_KEPT: Duration = Duration::from_secs(2 * 3_600);
/// Most answers remembered, of some 300 bytes each.
const ASKED_LIMIT: usize = 4_096;
/// Refusals of single cameras in all of them; each has a detail of 512 characters at
/// most. Over it the oldest answers keep their own reason alone.
const ASKED_CAMERAS_LIMIT: usize = 4_096;
/// A grant may come this long after its request was given up; the picture is
/// then in the list of grants.
const LATE: Duration = Duration::from_secs(60);

/// Why a request was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// The reason, and what is in the way.
    pub refusal: Refusal,
    /// Per camera, where the reason is not the same for all.
    pub cameras: Vec<RefusedCamera>,
}

impl From<Refusal> for Denial {
    fn from(refusal: Refusal) -> Self {
        Self {
            refusal,
            cameras: Vec::new(),
        }
    }
}

impl From<Reason> for Denial {
    fn from(reason: Reason) -> Self {
        Refusal::from(reason).into()
    }
}

/// What became of a request.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Who may know.
    pub unit: Unit,
    /// The commune.
    pub commune: CommuneId,
    /// `None`: the gateway has not answered yet.
    pub result: Option<Result<GrantId, Denial>>,
    /// Until when it waits for the commune's approval, by the centre's clock.
    pub approve_by: Option<Wall>,
    at: Boot,
}

/// The state of a request, for those who listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It waits for the commune's approval, until then.
    Waiting(Wall),
    /// It was granted.
    Granted(GrantId),
    /// It was refused.
    Refused(Refusal),
}

impl Asked {
    fn notice(&self, request: RequestId, progress: Progress) -> Notice {
        Notice::Request {
            request,
            unit: self.unit.clone(),
            commune: self.commune.clone(),
            progress,
        }
    }
}

/// A request that waits for its gateway.
#[derive(Debug)]
pub(super) struct Forwarded {
    pub(super) commune: CommuneId,
    pub(super) request: Verified<RequestClaims>,
    pub(super) arrived: Boot,
    /// When anyone who waits is told that no answer came; afterwards, when the
    /// request is forgotten.
    pub(super) deadline: Boot,
    /// Who waits; `None` once it was told that no answer came, or that the
    /// commune must approve.
    pub(super) caller: Option<u64>,
    /// The gateway said that it waits for approval.
    pub(super) approval: bool,
}

/// A refusal on its way through the journal.
#[derive(Debug)]
pub(super) struct Refused {
    jti: RequestId,
    commune: CommuneId,
    caller: Option<u64>,
    denial: Denial,
    entry: Box<Entry>,
}

/// A refusal, and what is known of the signer.
enum Denied {
    /// Nobody is known to have signed it.
    Unverified(Denial),
    /// One more than the operator may send: counted, not stored.
    Counted(Box<Designation>, CommuneId, Denial),
    /// Journalled with the request.
    Verified(Box<Verified<RequestClaims>>, Denial),
}

impl Desk {
    /// An operator's request; [`Command::Answer`] with `caller` follows, at the
    /// latest after [`ANSWER_TIMEOUT`].
    pub fn handle_request(&mut self, caller: u64, text: &str, now: Now) {
        match self.check(text, now) {
            Ok(request) => self.forward(caller, request, now),
            Err(Denied::Unverified(denial)) => {
                self.unverified.count(denial.refusal.reason, now);
                self.tell(Some(caller), Err(denial));
            }
            Err(Denied::Counted(who, commune, denial)) => {
                if let Some(line) = self.paces.excess(&who, commune.as_str(), now) {
                    self.owe_entry(line, None);
                }
                self.tell(Some(caller), Err(denial));
            }
            Err(Denied::Verified(request, denial)) => {
                self.note_waiting(&request, now);
                let commune = request.claims().aud.clone();
                self.refuse(&request, commune, Some(caller), denial);
            }
        }
    }

    /// All that the centre can check by itself.
    fn check(&mut self, text: &str, now: Now) -> Result<Verified<RequestClaims>, Denied> {
        if self.stopping {
            return Err(Denied::Unverified(Reason::ShuttingDown.into()));
        }
        let whose = format_args!("the centre {}", self.rules.centre);
        let clock = self.clock.refusal(whose, now);
        let request = match self.verify_any(text, now) {
            Ok(request) => request,
            // With a wrong clock, what it says of validity is worth nothing.
            Err(refusal) => return Err(Denied::Unverified(clock.unwrap_or(refusal).into())),
        };
        let claims = request.claims();
        let unused = self
            .used
            .mark(claims.jti, Wall::from_seconds(claims.iat), now.wall);
        if !unused {
            // Its first use is in the journal; again and again would fill the disk.
            return Err(Denied::Unverified(
                clock.map_or_else(|| Reason::ReplayedRequest.into(), Denial::from),
            ));
        }
        if let Err(refusal) = self.paces.request(request.designation(), claims.iat, now) {
            let who = Box::new(request.designation().clone());
            return Err(Denied::Counted(who, claims.aud.clone(), refusal.into()));
        }
        let iat = Wall::from_seconds(claims.iat);
        let refusal = clock
            .or_else(|| self.used.doubt(iat, whose, now.wall))
            .or_else(|| envelope::check_fresh(claims.iat, whose, now).err())
            .or_else(|| self.check_names(&request).err())
            .or_else(|| self.journal_trouble())
            .or_else(|| self.loss(&claims.aud))
            .or_else(|| self.check_commune(&request, now).err());
        match refusal {
            Some(refusal) => Err(Denied::Verified(Box::new(request), refusal.into())),
            None => Ok(request),
        }
    }

    /// Verifies under each authority in turn; the refusal is the one that got furthest.
    pub(super) fn verify_any(
        &self,
        text: &str,
        now: Now,
    ) -> Result<Verified<RequestClaims>, Refusal> {
        let none = Reason::OperatorNotDesignated;
        let asked = self.rules.authorities.iter();
        let asked = asked.map(|authority| ((), authority, RULES));
        let opened = envelope::open(text, asked, 1, none, now)?;
        let first = opened.into_iter().next();
        first.map_or_else(|| Err(none.into()), |((), request)| Ok(request))
    }

    /// For whom, through whom.
    pub(super) fn check_names(&self, request: &Verified<RequestClaims>) -> Result<(), Refusal> {
        let claims = request.claims();
        if claims.centre != self.rules.centre {
            let detail = format!(
                "the request goes through {}, not through {}",
                claims.centre, self.rules.centre
            );
            return Err(Refusal::new(Reason::WrongAudience, detail));
        }
        if !self.rules.communes.contains_key(&claims.aud) {
            let detail = format!("{} is not in this centre's settings", claims.aud);
            return Err(Refusal::new(Reason::CommuneUnknown, detail));
        }
        Ok(())
    }

    /// Whether the commune is there, and what it announced allows it at all.
    fn check_commune(&self, request: &Verified<RequestClaims>, now: Now) -> Result<(), Refusal> {
        let claims = request.claims();
        let commune = &claims.aud;
        let peer = self.communes.get(commune);
        let Some(peer) = peer.filter(|peer| peer.is_up()) else {
            let since = peer.and_then(|peer| peer.view.since);
            let since = since.map_or_else(
                || "since this centre's start".to_owned(),
                |since| format!("since {}", since.rfc3339()),
            );
            let contact = peer.and_then(|peer| peer.view.contact.as_deref());
            let contact = contact.map_or_else(String::new, |contact| format!("; call {contact}"));
            let detail = format!("{commune} is offline {since}{contact}");
            return Err(Refusal::new(Reason::CommuneOffline, detail));
        };
        let waiting = self.waiting.values();
        let unanswered = waiting.filter(|other| &other.commune == commune && !other.approval);
        if unanswered.count() >= WAITING_LIMIT {
            let detail = format!("{WAITING_LIMIT} requests wait for {commune} already");
            return Err(Refusal::new(Reason::TooManyAttempts, detail));
        }
        if claims.renews.is_none() && self.grants.len() >= GRANT_LIMIT {
            let detail = format!("{GRANT_LIMIT} grants live at this centre");
            return Err(Refusal::new(Reason::TooManyRelays, detail));
        }
        self.check_renewal(commune, request)?;
        if claims.renews.is_none() {
            self.check_share(request.designation())?;
        }
        if peer.view.agreements.is_some() {
            let who = request.designation();
            let mut agreements = peer.view.agreements_under(who).peekable();
            // Whom no agreement's authority designated, the gate refuses, and says why.
            if agreements.peek().is_some() {
                check_announced(agreements, claims, &who.operator.unit, now.wall)?;
            }
        }
        if let Some(cameras) = &peer.view.cameras {
            check_cameras(cameras, &claims.cameras)?;
        }
        Ok(())
    }

    /// Whether an operator may have one more of the centre's grants.
    fn check_share(&self, who: &Designation) -> Result<(), Refusal> {
        let live = self.grants.values().filter(|held| held.view.is_of(who));
        let asked = self.waiting.values().filter(|forwarded| {
            let new = forwarded.request.claims().renews.is_none();
            new && forwarded.request.designation().is_same_operator(who)
        });
        if live.count() + asked.count() < pace::GRANTS {
            return Ok(());
        }
        let detail = format!(
            "{} ({}) has {} grants at this centre already: release one first",
            who.operator.name,
            who.operator.number,
            pace::GRANTS
        );
        Err(Refusal::new(Reason::TooManyRelays, detail))
    }

    fn forward(&mut self, caller: u64, request: Verified<RequestClaims>, now: Now) {
        let id = self.next_request;
        self.next_request += 1;
        self.note_waiting(&request, now);
        let commune = request.claims().aud.clone();
        let jti = request.claims().jti;
        self.forwarded.open(jti, &commune, now);
        // Lost with a crash of this machine in this moment, and then its grant is too.
        self.note(Entry::Forwarded {
            jti,
            peer: commune.clone(),
        });
        let message = ToGateway::Request {
            id,
            request: request.text().to_owned(),
        };
        self.waiting.insert(
            id,
            Forwarded {
                commune: commune.clone(),
                request,
                arrived: now.boot,
                deadline: now.boot.plus(ANSWER_TIMEOUT),
                caller: Some(caller),
                approval: false,
            },
        );
        self.send(&commune, message);
    }

    /// The gateway granted a request.
    pub(super) fn handle_granted(
        &mut self,
        commune: &CommuneId,
        id: u64,
        proof: String,
        relays: BTreeMap<CameraId, RelayId>,
        now: Now,
    ) {
        let ours = self
            .waiting
            .get(&id)
            .is_some_and(|held| &held.commune == commune);
        let Some(forwarded) = ours.then(|| self.waiting.remove(&id)).flatten() else {
            tracing::warn!(%commune, id, "a grant that nobody waits for");
            return;
        };
        let proof = self
            .verify_proof(commune, &forwarded.request, proof, now)
            .and_then(|proof| {
                self.check_id(commune, &forwarded.request, proof.claims().grant)?;
                Ok(proof)
            });
        let proof = match proof {
            Ok(proof) => proof,
            Err(refusal) => {
                tracing::error!(%commune, %refusal, "a grant that can't be believed");
                return self.answer_waiting(forwarded, Err(refusal.into()));
            }
        };
        self.handle_head(commune, &proof.claims().head.clone(), now);
        let (until, deadline) = Self::ends(&forwarded.request, proof.claims(), now);
        let known = self.grants.get(&proof.claims().grant);
        self.record_grant(Recording {
            commune: commune.clone(),
            first_start: known.map_or_else(|| proof.claims().start, |held| held.first_start),
            known: known.is_some(),
            request: forwarded.request,
            proof,
            relays,
            asked: forwarded.arrived,
            caller: forwarded.caller,
            until,
            deadline,
            ended: None,
            elsewhere: None,
        });
    }

    /// The gateway refused a request.
    pub(super) fn handle_refused(
        &mut self,
        commune: &CommuneId,
        id: u64,
        refusal: Refusal,
        mut cameras: Vec<RefusedCamera>,
    ) {
        let ours = self
            .waiting
            .get(&id)
            .is_some_and(|held| &held.commune == commune);
        let Some(forwarded) = ours.then(|| self.waiting.remove(&id)).flatten() else {
            return;
        };
        cameras.truncate(forwarded.request.claims().cameras.len());
        let jti = forwarded.request.claims().jti;
        self.forwarded.refused(jti, refusal.reason);
        let denial = Denial { refusal, cameras };
        self.refuse(
            &forwarded.request,
            commune.clone(),
            forwarded.caller,
            denial,
        );
    }

    /// Journals a refusal of a request that verified; then it is told.
    pub(super) fn refuse(
        &mut self,
        request: &Verified<RequestClaims>,
        commune: CommuneId,
        caller: Option<u64>,
        denial: Denial,
    ) {
        let jti = request.claims().jti;
        let refusal = denial.refusal.clone();
        let entry = Box::new(Entry::refused(request, &commune, refusal));
        let refused = Refused {
            jti,
            commune,
            caller,
            denial,
            entry: entry.clone(),
        };
        self.record(entry, Pending::Refusal(Box::new(refused)));
    }

    /// A refusal is told whether it could be recorded or not; if not, it is owed.
    pub(super) fn refusal_recorded(
        &mut self,
        refused: Refused,
        result: Result<Receipt, String>,
        now: Now,
    ) {
        if let Err(cause) = result {
            tracing::error!(%cause, "a refusal could not be recorded");
            self.ledger.owe(refused.entry, Some(refused.commune), now);
        }
        let result = Err(refused.denial);
        self.note_asked(refused.jti, &result);
        self.tell(refused.caller, result);
    }

    /// Answers a request that waited for a gateway.
    pub(super) fn answer_waiting(&mut self, forwarded: Forwarded, result: Result<GrantId, Denial>) {
        self.note_asked(forwarded.request.claims().jti, &result);
        self.tell(forwarded.caller, result);
    }

    fn tell(&mut self, caller: Option<u64>, result: Result<GrantId, Denial>) {
        let Some(caller) = caller else {
            return;
        };
        self.commands.push_back(Command::Count {
            refused: result.as_ref().err().map(|denial| denial.refusal.reason),
        });
        self.commands.push_back(Command::Answer { caller, result });
    }

    /// The link over which requests went is gone: no answer will come.
    pub(super) fn lose_waiting(&mut self, commune: &CommuneId) {
        let lost: Vec<u64> = self
            .waiting
            .iter()
            // What waits for a person waits on: its end is told on the next link.
            .filter(|(_, held)| &held.commune == commune && !held.approval)
            .map(|(id, _)| *id)
            .collect();
        for id in lost {
            if let Some(forwarded) = self.waiting.remove(&id) {
                let detail = format!("the link to {commune} was lost before it answered");
                let refusal = Refusal::new(Reason::LinkLost, detail);
                self.answer_waiting(forwarded, Err(refusal.into()));
            }
        }
    }

    /// Answers for gateways that take too long. What they say later still counts
    /// for a while: they may have granted.
    pub(super) fn give_up_waiting(&mut self, now: Now) {
        let due: Vec<u64> = self
            .waiting
            .iter()
            .filter(|(_, held)| held.deadline <= now.boot)
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            let Some(mut forwarded) = self.waiting.remove(&id) else {
                continue;
            };
            if forwarded.approval {
                self.give_up_approval(forwarded);
                continue;
            }
            let Some(caller) = forwarded.caller.take() else {
                continue;
            };
            let commune = forwarded.commune.clone();
            let detail = format!(
                "{commune} did not answer within {} s; if it grants later, the grant is in the list",
                ANSWER_TIMEOUT.as_secs()
            );
            let result = Err(Refusal::new(Reason::CommuneOffline, detail).into());
            self.note_asked(forwarded.request.claims().jti, &result);
            self.tell(Some(caller), result);
            forwarded.deadline = now.boot.plus(LATE);
            self.waiting.insert(id, forwarded);
        }
    }

    pub(super) fn note_waiting(&mut self, request: &Verified<RequestClaims>, now: Now) {
        if self.asked.len() >= ASKED_LIMIT {
            let oldest = self.asked.iter().min_by_key(|(_, asked)| asked.at);
            if let Some(oldest) = oldest.map(|(id, _)| *id) {
                self.asked.remove(&oldest);
            }
        }
        let asked = Asked {
            unit: request.designation().unit(),
            commune: request.claims().aud.clone(),
            result: None,
            approve_by: None,
            at: now.boot,
        };
        self.asked.insert(request.claims().jti, asked);
    }

    pub(super) fn note_asked(&mut self, jti: RequestId, result: &Result<GrantId, Denial>) {
        if let Some(asked) = self.asked.get_mut(&jti) {
            asked.result = Some(result.clone());
            let progress = match result {
                Ok(grant) => Progress::Granted(*grant),
                Err(denial) => Progress::Refused(denial.refusal.clone()),
            };
            let notice = asked.notice(jti, progress);
            self.commands.push_back(Command::Notify(notice));
        }
        bound_cameras(&mut self.asked);
    }

    /// A request waits for the commune: nothing that was answered before counts.
    pub(super) fn note_approve_by(&mut self, jti: RequestId, approve_by: Wall) {
        if let Some(asked) = self.asked.get_mut(&jti) {
            asked.result = None;
            asked.approve_by = Some(approve_by);
            let notice = asked.notice(jti, Progress::Waiting(approve_by));
            self.commands.push_back(Command::Notify(notice));
        }
    }
}

/// Takes the refusals of single cameras from the oldest answers, see
/// [`ASKED_CAMERAS_LIMIT`].
fn bound_cameras(asked: &mut BTreeMap<RequestId, Asked>) {
    let count = |asked: &Asked| match &asked.result {
        Some(Err(denial)) => denial.cameras.len(),
        Some(Ok(_)) | None => 0,
    };
    while asked.values().map(count).sum::<usize>() > ASKED_CAMERAS_LIMIT {
        let listed = asked.values_mut().filter(|asked| count(asked) > 0);
        let oldest = listed.min_by_key(|asked| asked.at);
        if let Some(Err(denial)) = oldest.and_then(|asked| asked.result.as_mut()) {
            denial.cameras = Vec::new();
        }
    }
}

/// Forgets old answers.
pub(super) fn forget(asked: &mut BTreeMap<RequestId, Asked>, now: Now) {
    asked.retain(|_, asked| now.boot.since(asked.at) < ASKED_KEPT);
}

/// Refuses where the gateway announced that none of the cameras can be relayed,
/// anyone who asks. A camera that is not in the list may be unknown or not covered:
/// that is for the gateway to say.
fn check_cameras(list: &[CameraInfo], asked: &[CameraId]) -> Result<(), Refusal> {
    let mut first = None;
    for camera in asked {
        let known = list.iter().find(|info| &info.id == camera);
        let Some(refusal) = known.and_then(|info| info.unusable.clone()) else {
            return Ok(());
        };
        first.get_or_insert(refusal);
    }
    first.map_or(Ok(()), Err)
}
