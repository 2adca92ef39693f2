//! The centre's machine: what the receiver believes, checks and passes on. Pure.
//!
//! It makes the same check of a request as the gateway, as far as it can, and
//! adds no authority: what the gateway answers counts, and only under the
//! gateway's signed proof, verified and recorded here, does a viewer see a frame.
//!
//! The contract with its driver (`receiver::brain`):
//!
//! - every input is a `handle_*` call with both clocks beside it; after each one
//!   the driver carries out [`Desk::poll_command`] until it is empty, in order;
//! - [`Command::Record`]s are submitted to the journal in the order in which
//!   they come, and each is answered by [`Desk::handle_recorded`] in that order;
//! - the driver calls [`Desk::handle_timeout`] when [`Desk::poll_timeout`] is due.
//!
//! Ends act first ([`Command::EndGrant`]) and are journalled after; an entry
//! that must get written in the end is owed and tried again.

mod approval;
mod commune;
mod ended;
mod ending;
mod forwarded;
mod grant;
mod grant_id;
mod held;
mod later;
mod list;
mod recover;
mod request;
mod resume;
mod several;
mod shown;
mod snapshot;
#[cfg(test)]
mod tests;
mod told;
mod viewing;
mod vms;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

pub use commune::{Commune, Unusable};
pub use ended::Told;
pub use list::Figures;
pub use request::{Asked, Denial, Progress};
pub use shown::{End, Grant, GrantCamera};
pub use snapshot::Still;
pub use viewing::{VMS, Viewer};

use crate::clock::{Boot, Now, Wall};
use crate::format::control::{ToGateway, ToReceiver};
use crate::format::designation::{Authority, Unit, Verified};
use crate::format::ids::{CameraId, CentreId, CommuneId, GrantId, Incident, RequestId};
use crate::format::statement::RequestClaims;
use crate::journal::Receipt;
use crate::journal::entry::Entry;
use crate::media::relay::RelayId;
use crate::policy::peer::clock_guard::ClockGuard;
use crate::policy::peer::identity::Identity;
pub use crate::policy::peer::ledger::Ticket;
use crate::policy::peer::ledger::{Answered, Ledger, Submission};
use crate::policy::peer::losses::Losses;
use crate::policy::peer::pace::Paces;
use crate::policy::peer::rates::Unverified;
use crate::policy::peer::witness::Witnesses;
use crate::policy::replay::Used;
use crate::reason::{Reason, Refusal};

/// How long a gateway may take to answer a request.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an ended grant is remembered, so that its viewers can be told why.
pub const ENDED_KEPT: Duration = Duration::from_secs(600);
/// Live grants at once, all communes together: bounds memory.
pub const GRANT_LIMIT: usize = 1_024;
/// Requests that wait for one gateway at once.
const WAITING_LIMIT: usize = 64;
/// While a grant lives, clocks are looked at this often: a wall clock set
/// forward must end grants too.
const LIVE_TICK: Duration = Duration::from_millis(500);

/// Proof that a grant is recorded at the centre: made only by the desk, from a
/// verified request, the gateway's verified proof and the journal's receipt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permit {
    grant: GrantId,
}

impl Permit {
    /// The only way to a permit.
    fn new(_request: &Verified<RequestClaims>, proof: &grant::Proof, _recorded: &Receipt) -> Self {
        Self {
            grant: proof.claims().grant,
        }
    }

    /// The grant that allows it.
    pub fn grant(&self) -> GrantId {
        self.grant
    }

    /// A permit without a grant, for the tests of the hub.
    #[cfg(test)]
    pub(crate) fn for_test(grant: GrantId) -> Self {
        Self { grant }
    }
}

/// All that the desk judges by; replaced whole at a reload.
#[derive(Clone, Debug)]
pub struct Rulebook {
    /// The centre's id.
    pub centre: CentreId,
    /// Its name for people.
    pub name: String,
    /// The communes that may connect.
    pub communes: BTreeMap<CommuneId, Identity>,
    /// Who signs operators' designations, tried in turn.
    pub authorities: Vec<Authority>,
    /// Whether relays go on although a journal lost lines.
    pub relay_after_loss: bool,
}

/// What the driver is to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Append to the journal; answer with [`Desk::handle_recorded`].
    Record {
        /// Comes back with the result.
        ticket: Ticket,
        /// The entry.
        entry: Box<Entry>,
    },
    /// Send a control message on the commune's newest link.
    Send {
        /// To whom.
        commune: CommuneId,
        /// The message.
        message: Box<ToGateway>,
    },
    /// Send the own newest head with the body-less lines after a number.
    SendHeads {
        /// To whom.
        commune: CommuneId,
        /// Number of the last line that the commune is known to hold; `None`
        /// where that is not known: the head alone.
        after: Option<u64>,
        /// Number of the commune's last line that is held here.
        acknowledged: u64,
    },
    /// Look up the own line of this number; answer with [`Desk::handle_own_line`].
    FindLine {
        /// Who holds a head of it.
        commune: CommuneId,
        /// Its number.
        seq: u64,
    },
    /// Answer an operator's request.
    Answer {
        /// As given to [`Desk::handle_request`].
        caller: u64,
        /// The grant, which [`Desk::grant`] knows, or why not.
        result: Result<GrantId, Denial>,
    },
    /// Answer an operator's request: it waits for the commune's approval.
    Wait {
        /// As given to [`Desk::handle_request`].
        caller: u64,
        /// Its id; [`Desk::asked`] tells what becomes of it.
        request: RequestId,
        /// The commune.
        commune: CommuneId,
        /// Until when, by the centre's clock.
        approve_by: Wall,
    },
    /// Answer an operator who wants a still.
    Snapshot {
        /// As given to [`Desk::handle_snapshot`].
        caller: u64,
        /// It may be given, or why not.
        result: Result<Still, Refusal>,
    },
    /// A relay's groups may be taken, under this permit.
    Allow {
        /// The proof.
        permit: Permit,
        /// The commune.
        commune: CommuneId,
        /// The camera.
        camera: CameraId,
        /// Its number on the link.
        relay: RelayId,
    },
    /// End a grant's viewers.
    EndGrant {
        /// Which.
        grant: GrantId,
        /// Why.
        reason: Reason,
    },
    /// End a grant's viewers of one camera.
    EndCamera {
        /// Under which grant.
        grant: GrantId,
        /// The commune.
        commune: CommuneId,
        /// The camera.
        camera: CameraId,
        /// Why.
        reason: Reason,
    },
    /// End a grant's viewers of one kind: players with its URL, or sockets with a token.
    EndViewers {
        /// Under which grant.
        grant: GrantId,
        /// Which kind.
        players: bool,
        /// Why.
        reason: Reason,
    },
    /// A viewer's start is in the journal: it gets its pictures.
    AdmitViewer {
        /// As given to [`Desk::handle_viewing_started`].
        number: u64,
    },
    /// A viewer gets no picture.
    RefuseViewer {
        /// As given to [`Desk::handle_viewing_started`].
        number: u64,
        /// Why.
        reason: Reason,
    },
    /// Send the commune the RTSP password of a grant that is shown.
    TellPassword {
        /// To whom.
        commune: CommuneId,
        /// The grant.
        grant: GrantId,
    },
    /// Tell those who listen.
    Notify(Notice),
    /// Count an answered request.
    Count {
        /// `None`: granted.
        refused: Option<Reason>,
    },
}

/// What changed, for those who listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A grant began, was renewed, ended, or one of its cameras changed state.
    Grant {
        /// Which.
        grant: GrantId,
        /// Who may know.
        unit: Unit,
    },
    /// The record of an incident changed, and who may know.
    Incident(Incident, Unit),
    /// A commune came or went, or its cameras or agreements changed.
    Commune(CommuneId),
    /// A request began to wait for approval, or was answered.
    Request {
        /// Which.
        request: RequestId,
        /// Who may know.
        unit: Unit,
        /// The commune.
        commune: CommuneId,
        /// What became of it.
        progress: Progress,
    },
}

/// What waits for the journal.
#[derive(Debug)]
enum Pending {
    /// A grant, renewal or a grant that goes on.
    Grant(Box<grant::Recording>),
    /// A still that the commune is asked about once it is recorded.
    Snapshot(Box<snapshot::Waiting>),
    /// A refusal that is told once it is recorded.
    Refusal(Box<request::Refused>),
    /// The start of a viewing.
    Viewing(u64, Box<Entry>),
}

/// The centre's machine.
#[derive(Debug)]
pub struct Desk {
    rules: Rulebook,
    commands: VecDeque<Command>,
    used: Used,
    /// Answered requests of the last while, for `GET requests/{id}`.
    asked: BTreeMap<RequestId, Asked>,
    /// Requests that wait for a gateway, by the number on the link.
    waiting: BTreeMap<u64, request::Forwarded>,
    next_request: u64,
    /// Requests that may still be granted.
    forwarded: forwarded::Forwarded,
    grants: BTreeMap<GrantId, held::Held>,
    /// The live grants that name a camera.
    of_camera: BTreeMap<(CommuneId, CameraId), BTreeSet<GrantId>>,
    ended: ended::Ended,
    communes: BTreeMap<CommuneId, commune::Peer>,
    witnesses: Witnesses<CommuneId>,
    viewings: viewing::Viewings,
    stills: snapshot::Stills,
    ledger: Ledger<Pending, CommuneId>,
    /// Grants that go on at their gateway but could not be recorded here yet.
    unrecorded: Vec<grant::Recording>,
    unverified: Unverified,
    paces: Paces,
    clock: ClockGuard,
    losses: Losses,
    /// The own one's id, once a link told its head.
    journal: Option<String>,
    /// +1 whenever something that is shown changed.
    version: u64,
    /// The `version` of the newest change of a commune.
    communes_version: u64,
    /// Communes that change so often that it is told only at times, and when next.
    untold: BTreeSet<CommuneId>,
    untold_due: Option<Boot>,
    /// Communes whose resumes wait for their pace.
    late_communes: BTreeSet<CommuneId>,
    stopping: bool,
}

impl Desk {
    /// A desk without a past.
    pub fn new(rules: Rulebook) -> Self {
        let communes = rules.communes.keys().cloned();
        Self {
            communes: communes
                .map(|commune| (commune, commune::Peer::default()))
                .collect(),
            losses: Losses::new(rules.centre.as_str()),
            rules,
            witnesses: Witnesses::default(),
            commands: VecDeque::new(),
            used: Used::default(),
            asked: BTreeMap::new(),
            waiting: BTreeMap::new(),
            next_request: 1,
            forwarded: forwarded::Forwarded::default(),
            grants: BTreeMap::new(),
            of_camera: BTreeMap::new(),
            ended: ended::Ended::default(),
            viewings: viewing::Viewings::default(),
            stills: snapshot::Stills::default(),
            ledger: Ledger::default(),
            unrecorded: Vec::new(),
            unverified: Unverified::default(),
            paces: Paces::default(),
            clock: ClockGuard::default(),
            journal: None,
            version: 0,
            communes_version: 0,
            untold: BTreeSet::new(),
            untold_due: None,
            late_communes: BTreeSet::new(),
            stopping: false,
        }
    }

    /// The next thing to do.
    pub fn poll_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// When [`Desk::handle_timeout`] is due.
    pub fn poll_timeout(&self, now: Now) -> Option<Boot> {
        let live = (!self.grants.is_empty()).then(|| now.boot.plus(LIVE_TICK));
        let ends = self.grants.values().map(|held| held.view.deadline);
        let waiting = self.waiting.values().map(|forwarded| forwarded.deadline);
        ends.chain(waiting)
            .chain(self.witnesses.due())
            .chain(self.viewings.due())
            .chain(self.stills.due())
            .chain(self.ledger.due())
            .chain(self.unverified.due())
            .chain(self.untold_due)
            .chain(self.later_due(now))
            .chain(self.paces.due())
            .chain(live)
            .min()
    }

    /// Ends what is due, answers what waited too long, writes counts and heads.
    pub fn handle_timeout(&mut self, now: Now) {
        self.end_expired(now);
        self.give_up_waiting(now);
        self.give_up_stills(now);
        self.end_away(false, now);
        self.send_viewings(now);
        self.flush_peers(now);
        self.tell_untold(now);
        self.take_later(now);
        self.forget(now);
        if let Some(line) = self.unverified.line(self.rules.centre.as_str(), now) {
            self.note(line);
        }
        for line in self.paces.lines(now) {
            self.owe_entry(line, None);
        }
        if let Some(owed) = self.ledger.retry(now) {
            for submission in owed {
                self.submit(submission);
            }
            for recording in std::mem::take(&mut self.unrecorded) {
                self.record_again(recording, now);
            }
        }
    }

    /// A control message of a commune's link.
    pub fn handle_message(
        &mut self,
        commune: &CommuneId,
        session: u64,
        message: ToReceiver,
        now: Now,
    ) {
        if self.session(commune) != Some(session) {
            return;
        }
        match message {
            ToReceiver::Hello(hello) => self.handle_hello(commune, hello, now),
            ToReceiver::Cameras {
                page,
                pages,
                cameras,
            } => self.handle_cameras(commune, page, pages, cameras, now),
            ToReceiver::GrantAgreement { grant, agreement } => {
                self.handle_grant_agreement(commune, grant, agreement);
            }
            ToReceiver::Granted { id, proof, relays } => {
                self.handle_granted(commune, id, proof, relays, now);
            }
            ToReceiver::Refused {
                id,
                refusal,
                cameras,
                head,
            } => {
                if let Some(head) = head {
                    self.handle_head(commune, &head, now);
                }
                self.handle_refused(commune, id, refusal, cameras);
            }
            ToReceiver::WaitEnded { request, .. } => {
                self.end_later(commune, message.clone());
                self.handle_wait_ended(commune, request, message, now);
            }
            ToReceiver::Waiting { .. } | ToReceiver::Resume { .. } | ToReceiver::Grant(_) => {
                self.handle_paced(commune, message, now);
            }
            ToReceiver::Ended {
                grant,
                refusal,
                head,
            } => {
                if let Some(head) = head {
                    self.handle_head(commune, &head, now);
                }
                let again = ToReceiver::Ended {
                    grant,
                    refusal: refusal.clone(),
                    head: None,
                };
                self.end_later(commune, again);
                self.handle_ended(commune, grant, refusal, now);
            }
            ToReceiver::CameraEnded {
                grant,
                camera,
                refusal,
            } => self.handle_camera_ended(commune, grant, &camera, refusal),
            ToReceiver::Relay {
                relay,
                camera,
                state,
                refusal,
                profile,
                profile_cause,
            } => {
                let news = grant::News {
                    relay,
                    state,
                    refusal,
                    profile,
                    profile_cause,
                };
                self.handle_relay(commune, &camera, news);
            }
            ToReceiver::ViewingsRecorded { grant, part, head } => {
                self.handle_viewings_recorded(commune, grant, part, head, now);
            }
            ToReceiver::SnapshotRecorded { snapshot, head } => {
                self.handle_snapshot_recorded(commune, snapshot, &head, now);
            }
            ToReceiver::SnapshotRefused { snapshot, refusal } => {
                self.handle_snapshot_refused(commune, snapshot, refusal);
            }
            ToReceiver::Heads(heads) => self.handle_heads(commune, &heads, now),
            ToReceiver::Journals(told) => self.handle_journals(commune, &told, now),
            // The driver gives pictures' own news to the hub.
            ToReceiver::Other { .. } | ToReceiver::Time { .. } | ToReceiver::Unknown => {}
        }
    }

    /// The journal's answer to a [`Command::Record`].
    pub fn handle_recorded(&mut self, ticket: Ticket, result: Result<Receipt, String>, now: Now) {
        if let Ok(receipt) = &result {
            self.clock.written(receipt.time());
        }
        let pending = match self.ledger.answered(ticket, result.is_ok(), now) {
            Answered::Decision(pending) => pending,
            Answered::Tell(commune) => return self.witnesses.tell(&commune, now),
            Answered::Done => return,
        };
        match (pending, result) {
            (Pending::Grant(recording), result) => self.grant_recorded(*recording, result, now),
            (Pending::Snapshot(waiting), result) => self.still_recorded(*waiting, result),
            (Pending::Refusal(refused), result) => self.refusal_recorded(*refused, result, now),
            (Pending::Viewing(number, entry), result) => {
                self.viewing_recorded(number, entry, result, now);
            }
        }
    }

    /// New settings. Communes that are gone end; operators that an authority no
    /// longer vouches for end.
    pub fn handle_settings(&mut self, rules: Rulebook, now: Now) {
        self.rules = rules;
        let known: Vec<CommuneId> = self.rules.communes.keys().cloned().collect();
        for commune in &known {
            self.communes.entry(commune.clone()).or_default();
        }
        self.review(now);
        self.communes.retain(|commune, _| {
            let stays = known.contains(commune);
            if !stays {
                self.witnesses.link_down(commune);
            }
            stays
        });
        let linked: Vec<CommuneId> = self
            .communes
            .iter()
            .filter(|(_, peer)| peer.is_up())
            .map(|(commune, _)| commune.clone())
            .collect();
        for commune in linked {
            self.send_lists(&commune);
        }
        self.communes_changed();
    }

    /// An administrator accepts the clock as it is.
    pub fn handle_clock_accepted(&mut self, by: String, now: Now) {
        if let Some(entry) = self.clock.accept(by, now) {
            self.owe_entry(entry, None);
        }
    }

    /// An entry of the driver's own that must get written in the end.
    pub fn handle_note(&mut self, entry: Entry) {
        self.owe_entry(entry, None);
    }

    /// The daemon stops: nothing is forwarded any more, what waits is answered.
    /// Grants do not end; they resume at the next start within their time.
    pub fn handle_shutdown(&mut self, now: Now) {
        self.stopping = true;
        self.end_away(true, now);
        self.stop_stills();
        let waiting = std::mem::take(&mut self.waiting);
        for forwarded in waiting.into_values() {
            self.answer_waiting(forwarded, Err(Refusal::from(Reason::ShuttingDown).into()));
        }
    }

    /// By how much the clock is behind the journal's newest time, where that
    /// is more than it may.
    pub fn clock_behind(&self, now: Now) -> Option<Duration> {
        self.clock.behind(now)
    }

    /// Grows whenever something that [`Desk::grants`], [`Desk::ended`] or
    /// [`Desk::communes`] shows changed.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Live grants.
    pub fn grants(&self) -> impl Iterator<Item = &Arc<Grant>> {
        self.grants.values().map(|held| &held.view)
    }

    /// Grants that ended a short while ago ([`Grant::is_told`]).
    pub fn ended(&self) -> &Arc<Told> {
        self.ended.told()
    }

    /// A live grant, or one that ended a short while ago.
    pub fn grant(&self, grant: GrantId) -> Option<&Arc<Grant>> {
        let live = self.grants.get(&grant).map(|held| &held.view);
        live.or_else(|| self.ended.told().get(&grant))
    }

    /// The communes of the settings, as far as they are known.
    pub fn communes(&self) -> impl Iterator<Item = (&CommuneId, &Arc<Commune>)> {
        self.communes.iter().map(|(id, peer)| (id, &peer.view))
    }

    /// What became of a request, for its operator's unit.
    pub fn asked(&self, request: RequestId, unit: &Unit) -> Option<&Asked> {
        self.asked.get(&request).filter(|asked| &asked.unit == unit)
    }

    /// How many grants live.
    pub fn grants_active(&self) -> usize {
        self.grants.len()
    }

    /// How many cameras come in under live grants.
    pub fn relays_active(&self) -> usize {
        let cameras = self.grants.values().flat_map(|held| {
            let open = held.view.cameras.iter().filter(|camera| camera.is_open());
            open.map(|camera| (&held.view.commune, &camera.camera))
        });
        cameras.collect::<BTreeSet<_>>().len()
    }

    fn session(&self, commune: &CommuneId) -> Option<u64> {
        self.communes.get(commune)?.session
    }

    fn send(&mut self, commune: &CommuneId, message: ToGateway) {
        if self.session(commune).is_some() {
            self.commands.push_back(Command::Send {
                commune: commune.clone(),
                message: Box::new(message),
            });
        }
    }

    fn notify_grant(&mut self, view: &Grant) {
        self.version += 1;
        self.commands.push_back(Command::Notify(Notice::Grant {
            grant: view.id,
            unit: view.unit(),
        }));
    }

    fn submit(&mut self, (ticket, entry): Submission) {
        self.commands.push_back(Command::Record { ticket, entry });
    }

    fn record(&mut self, entry: Box<Entry>, pending: Pending) {
        let ticket = self.ledger.record(pending);
        self.submit((ticket, entry));
    }

    /// Records an entry that may be lost.
    fn note(&mut self, entry: Entry) {
        let ticket = self.ledger.note();
        self.submit((ticket, Box::new(entry)));
    }

    /// Records an entry that must get written in the end; `tell` is then sent heads.
    fn owe_entry(&mut self, entry: Entry, tell: Option<CommuneId>) {
        if let Some(submission) = self.ledger.must_write(entry, tell) {
            self.submit(submission);
        }
    }

    /// Why no request can be recorded now, if so.
    fn journal_trouble(&self) -> Option<Refusal> {
        let blocked = self.ledger.is_blocked();
        blocked.then(|| self.journal_unavailable())
    }

    fn journal_unavailable(&self) -> Refusal {
        let detail = format!(
            "the journal of the centre {} can't be written",
            self.rules.centre
        );
        Refusal::new(Reason::JournalUnavailable, detail)
    }
}
