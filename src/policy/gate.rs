//! The commune's machine: requests in, grants and ends out. Pure.
//!
//! The contract with its driver (`gateway::brain`):
//!
//! - every input is a `handle_*` call with both clocks beside it; after each one
//!   the driver carries out [`Gate::poll_command`] until it is empty, in order;
//! - [`Command::Record`]s are submitted to the journal in the order in which
//!   they come, and each is answered by [`Gate::handle_recorded`] in that order;
//! - the driver calls [`Gate::handle_timeout`] when [`Gate::poll_timeout`] is due.
//!
//! What a grant rests on is a type: a [`Permit`] is made from a verified request
//! and the journal's receipt alone, and no relay starts without one. Ends act
//! first ([`Command::StopRelay`]) and are journalled after; an end that could
//! not be written is owed and tried again until it is.

mod approval;
mod cut;
pub mod decision;
mod grant;
mod health;
mod link;
mod record;
mod recover;
mod request;
mod review;
mod several;
mod snapshot;
mod streams;
#[cfg(test)]
pub(super) mod tests;
mod uplink;
mod viewings;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

pub use approval::{Approved, DecisionError, WAITING_LIMIT, WAITING_PER_UNIT, Waiting};
pub use cut::{CutDone, CutError, Scope};
pub use grant::Row;
pub use request::Fresh;

use crate::clock::{Boot, Now};
use crate::config::settings;
use crate::format::control::{ToGateway, ToReceiver};
use crate::format::designation::{Authority, RevocationList, Verified};
use crate::format::ids::{CameraId, CentreId, GrantId, ProfileWish, ReceiverId};
use crate::format::statement::{Received, RequestClaims};
use crate::journal::Receipt;
use crate::journal::entry::Entry;
use crate::media::relay::{Profile, RelayId};
use crate::policy::peer::clock_guard::ClockGuard;
use crate::policy::peer::identity::Identity;
pub use crate::policy::peer::ledger::Ticket;
use crate::policy::peer::ledger::{Answered, Ledger, Submission};
use crate::policy::peer::losses::Losses;
use crate::policy::peer::pace::Paces;
use crate::policy::peer::witness::Witnesses;
use crate::policy::replay::Used;
use crate::reason::{Reason, Refusal};

/// How long a centre may take, of the time its link is up, to confirm that it
/// recorded a grant.
pub const CONFIRM_TIMEOUT: Duration = Duration::from_secs(5);
/// Live grants at once, all centres together: bounds memory.
pub const GRANT_LIMIT: usize = 1_024;
/// The longest that a cut may hold.
pub const BLOCK_LIMIT: Duration = Duration::from_secs(365 * 24 * 3_600);
/// While something lives, clocks are looked at this often: a wall clock set
/// forward must end grants too.
const LIVE_TICK: Duration = Duration::from_millis(500);

/// Proof that a recorded grant covers a camera: made only by the gate, from a
/// verified request and the journal's receipt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permit {
    grant: GrantId,
}

impl Permit {
    /// The only way to a permit.
    fn new(grant: GrantId, _request: &Verified<RequestClaims>, _recorded: &Receipt) -> Self {
        Self { grant }
    }

    /// The grant that allows it.
    pub fn grant(&self) -> GrantId {
        self.grant
    }
}

/// All that the gate judges by; replaced whole at a reload.
#[derive(Clone, Debug)]
pub struct Rulebook {
    /// The settings.
    pub settings: Arc<settings::Gateway>,
    /// The designation authority of each agreement, in the settings' order, with
    /// the newest revocation lists known.
    pub authorities: Vec<Authority>,
    /// Who may sign in at the commune's page; `None`: there is no page.
    pub page: Option<Authority>,
    /// The centres of the agreements.
    pub centres: BTreeMap<CentreId, Identity>,
}

/// What the driver is to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Append to the journal; answer with [`Gate::handle_recorded`].
    Record {
        /// Comes back with the result.
        ticket: Ticket,
        /// The entry.
        entry: Box<Entry>,
    },
    /// Send a control message on the receiver's newest link.
    Send {
        /// To whom.
        receiver: ReceiverId,
        /// The message.
        message: Box<ToReceiver>,
    },
    /// Send the own newest head with the body-less lines after a number.
    SendHeads {
        /// To whom.
        receiver: ReceiverId,
        /// Number of the last line that the receiver is known to hold; `None`
        /// where that is not known: the head alone.
        after: Option<u64>,
        /// Number of the receiver's last line that is held here.
        acknowledged: u64,
    },
    /// Look up the own line of this number; answer with [`Gate::handle_own_line`].
    FindLine {
        /// Who holds a head of it.
        receiver: ReceiverId,
        /// Its number.
        seq: u64,
    },
    /// Attach a camera to a receiver's link, now and whenever the link is back.
    StartRelay {
        /// The proof.
        permit: Permit,
        /// Where it goes.
        receiver: ReceiverId,
        /// Its number on the link.
        relay: RelayId,
        /// The camera.
        camera: CameraId,
        /// What its operators want of the camera's streams.
        wish: ProfileWish,
        /// When it ends at the latest: the latest of its grants' deadlines.
        until: Boot,
    },
    /// Another of a relay's grants is now the one that its bytes count for: the first in the
    /// order of ids, which both ends know.
    CountRelay {
        /// Where it goes.
        receiver: ReceiverId,
        /// Its number.
        relay: RelayId,
        /// The camera.
        camera: CameraId,
        /// The grant.
        grant: GrantId,
    },
    /// The centre's signed figures of what it received under an ended grant are durable.
    Received {
        /// The centre.
        centre: CentreId,
        /// The grant.
        grant: GrantId,
        /// Bytes by camera.
        received: Vec<Received>,
    },
    /// A renewal or an end moved the latest of a relay's deadlines.
    RelayUntil {
        /// Where it goes.
        receiver: ReceiverId,
        /// Its number.
        relay: RelayId,
        /// When it ends at the latest.
        until: Boot,
    },
    /// What a relay's operators want of its camera's streams has changed.
    RelayWish {
        /// Where it goes.
        receiver: ReceiverId,
        /// Its number.
        relay: RelayId,
        /// What they want.
        wish: ProfileWish,
    },
    /// Detach it at once.
    StopRelay {
        /// Where it went.
        receiver: ReceiverId,
        /// Its number.
        relay: RelayId,
        /// The camera.
        camera: CameraId,
        /// Why.
        reason: Reason,
    },
    /// The receiver's relays in focus, most important first; all others are not.
    Focus {
        /// The receiver.
        receiver: ReceiverId,
        /// Its relays.
        relays: Vec<RelayId>,
    },
    /// A viewer needs a key frame soon.
    WantKeyFrame {
        /// The camera.
        camera: CameraId,
        /// Which of its streams.
        profile: Profile,
    },
    /// Keep a newer revocation list across restarts.
    KeepRevocation(Box<RevocationList>),
    /// Tell what came of a signed statement ([`Gate::handle_order`]).
    Answer {
        /// Which one.
        id: u64,
        /// What it did, or why it did nothing.
        result: Result<decision::Done, Refusal>,
    },
    /// Count an answered request.
    Count {
        /// From whom.
        centre: CentreId,
        /// `None`: granted.
        refused: Option<Reason>,
    },
}

/// What waits for the journal.
#[derive(Debug)]
enum Pending {
    /// A grant or renewal.
    Grant(Box<record::Recording>),
    /// A request that is to wait for the commune's approval.
    Waiting(Box<approval::Held>),
    /// A still that the centre may give once it is recorded.
    Snapshot(ReceiverId, crate::format::ids::SnapshotId),
    /// A part of a list of viewings that is confirmed once it is recorded.
    Viewings(Box<viewings::Recording>),
    /// A refusal that is told once it is recorded.
    Refusal(Box<request::Answer>, Box<Entry>),
    /// Grants that go on after a restart.
    Resumed(GrantId),
    /// A grant's pictures are to go to another receiver.
    Moved(GrantId, ReceiverId),
    /// What a person at the commune signed, and what it gives.
    Order(Box<decision::Ordered>),
}

/// The commune's machine.
#[derive(Debug)]
pub struct Gate {
    rules: Rulebook,
    /// +1 whenever what was judged may be judged otherwise now.
    generation: u64,
    commands: VecDeque<Command>,
    used: Used,
    /// Refused requests that stand in the journal: once is enough.
    written_refusals: BTreeMap<crate::format::ids::RequestId, Boot>,
    grants: BTreeMap<GrantId, grant::Live>,
    /// Grants of before the restart, until their `Resumed` line is durable.
    resuming: BTreeMap<GrantId, grant::Resuming>,
    /// Those whose line could not be written yet.
    resume_again: BTreeSet<GrantId>,
    ended: BTreeMap<GrantId, grant::Ended>,
    approvals: approval::Approvals,
    orders: decision::Orders,
    stills: crate::policy::snapshot::Pace,
    paces: Paces,
    relays: BTreeMap<(ReceiverId, CameraId), grant::Relay>,
    next_relay: u32,
    blocks: BTreeMap<Scope, cut::Block>,
    links: BTreeMap<ReceiverId, link::Up>,
    peers: BTreeMap<ReceiverId, link::Peer>,
    several: several::Several,
    probed: health::Probed,
    witnesses: Witnesses<ReceiverId>,
    ledger: Ledger<Pending, CentreId>,
    losses: Losses,
    /// What the uplink was measured to carry, bits per second.
    capacity: Option<u64>,
    clock: ClockGuard,
    stopping: bool,
}

impl Gate {
    /// A gate without a past. `first_relay` is random, so that the numbers of an
    /// earlier process are not taken for this one's.
    pub fn new(rules: Rulebook, first_relay: u32) -> Self {
        Self {
            losses: Losses::new(rules.settings.commune.as_str()),
            rules,
            generation: 0,
            commands: VecDeque::new(),
            used: Used::default(),
            written_refusals: BTreeMap::new(),
            grants: BTreeMap::new(),
            resuming: BTreeMap::new(),
            resume_again: BTreeSet::new(),
            ended: BTreeMap::new(),
            approvals: approval::Approvals::default(),
            orders: decision::Orders::default(),
            stills: crate::policy::snapshot::Pace::default(),
            paces: Paces::default(),
            relays: BTreeMap::new(),
            next_relay: first_relay,
            blocks: BTreeMap::new(),
            links: BTreeMap::new(),
            peers: BTreeMap::new(),
            several: several::Several::default(),
            probed: health::Probed::default(),
            witnesses: Witnesses::default(),
            ledger: Ledger::default(),
            capacity: None,
            clock: ClockGuard::default(),
            stopping: false,
        }
    }

    /// The next thing to do.
    pub fn poll_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// When [`Gate::handle_timeout`] is due.
    pub fn poll_timeout(&self, now: Now) -> Option<Boot> {
        let lives =
            !self.grants.is_empty() || !self.resuming.is_empty() || self.approvals_waiting() > 0;
        let live = lives.then(|| now.boot.plus(LIVE_TICK));
        let ends = self.grants.values().map(|grant| grant.due());
        let resuming = self.resuming.values().map(|held| held.terms.deadline);
        let blocks = self.blocks.values().map(|block| block.deadline);
        let unverified = self.peers.values().filter_map(|peer| peer.unverified.due());
        ends.chain(resuming)
            .chain(self.approvals.due())
            .chain(blocks)
            .chain(unverified)
            .chain(self.paces.due())
            .chain(self.witnesses.due())
            .chain(self.ledger.due())
            .chain(live)
            .min()
    }

    /// Ends what is due, lifts cuts whose time is up, writes counts and heads.
    pub fn handle_timeout(&mut self, now: Now) {
        self.end_expired(now);
        self.end_waits(now);
        self.move_on(now);
        self.blocks.retain(|_, block| block.deadline > now.boot);
        self.flush_peers(now);
        for line in self.paces.lines(now) {
            self.owe_entry(line, None);
        }
        self.forget(now);
        if let Some(owed) = self.ledger.retry(now) {
            for submission in owed {
                self.submit(submission);
            }
            for grant in std::mem::take(&mut self.resume_again) {
                if self.resuming.contains_key(&grant) {
                    self.record(Box::new(Entry::Resumed { grant }), Pending::Resumed(grant));
                }
            }
        }
    }

    /// A control message of a receiver's link. `fresh` is random, for a grant.
    pub fn handle_message(
        &mut self,
        from: &ReceiverId,
        session: u64,
        message: ToGateway,
        fresh: Fresh,
        now: Now,
    ) {
        if self.links.get(from).is_none_or(|up| up.session != session) {
            return;
        }
        match message {
            ToGateway::Hello(hello) => self.handle_hello(from, &hello, now),
            ToGateway::Request { id, request } => {
                self.handle_request(from, id, &request, fresh, now);
            }
            ToGateway::Confirm {
                grant,
                request,
                head,
            } => self.handle_confirm(from, grant, request, &head, now),
            ToGateway::Password { grant, password } => {
                self.handle_password(from, grant, password, now);
            }
            ToGateway::Release { grant, by, reason } => {
                self.handle_release(from, grant, &by, reason, now);
            }
            ToGateway::Cancel { request, by } => self.handle_cancel(from, request, &by, now),
            ToGateway::Focus { relays } => self.handle_focus(from, &relays),
            ToGateway::KeyFrame { relay } => self.handle_key_frame(from, relay),
            ToGateway::Streams {
                relay,
                first,
                other,
            } => self.handle_streams(from, relay, first, other, now),
            ToGateway::Snapshot(asked) => self.handle_snapshot(from, asked, now),
            ToGateway::Viewings { statement } => self.handle_viewings(from, &statement, now),
            ToGateway::Revocation { list } => {
                let peer = self.peers.entry(from.clone()).or_default();
                if peer.lists.take(1, now.boot.0) {
                    self.handle_revocation(&list, now);
                }
            }
            ToGateway::Heads(heads) => self.handle_heads(from, &heads, now),
            ToGateway::Journals(told) => self.handle_journals(from, &told, now),
            // The link answers the time itself: a wait here would look like an offset.
            ToGateway::Time { .. } | ToGateway::Recovered { .. } | ToGateway::Unknown => {}
        }
    }

    /// The journal's answer to a [`Command::Record`].
    pub fn handle_recorded(&mut self, ticket: Ticket, result: Result<Receipt, String>, now: Now) {
        if let Ok(receipt) = &result {
            self.clock.written(receipt.time());
        }
        let pending = match self.ledger.answered(ticket, result.is_ok(), now) {
            Answered::Decision(pending) => pending,
            Answered::Tell(centre) => {
                for receiver in self.linked_of(&centre) {
                    self.witnesses.tell(&receiver, now);
                }
                return;
            }
            Answered::Done => return,
        };
        match (pending, result) {
            (Pending::Grant(recording), result) => self.grant_recorded(*recording, result, now),
            (Pending::Waiting(held), result) => self.waiting_recorded(*held, result, now),
            (Pending::Viewings(recording), result) => {
                self.viewings_recorded(*recording, result, now);
            }
            (Pending::Snapshot(from, id), result) => self.snapshot_recorded(&from, id, result),
            (Pending::Refusal(answer, _), Ok(receipt)) => {
                let head = self.head_for(&answer.receiver.centre, receipt.head());
                self.answer(*answer, Some(head));
            }
            (Pending::Refusal(answer, entry), Err(_)) => {
                self.answer(*answer, None);
                self.ledger.owe(entry, None, now);
            }
            (Pending::Resumed(grant), result) => self.resumed(grant, result, now),
            (Pending::Moved(grant, to), result) => self.move_recorded(grant, &to, result, now),
            (Pending::Order(ordered), result) => self.order_recorded(*ordered, result, now),
        }
    }

    /// What the uplink was measured to carry, bits per second; `None`: nothing is
    /// known, or nothing is sent.
    pub const fn handle_capacity(&mut self, capacity: Option<u64>) {
        self.capacity = capacity;
    }

    /// An entry that is not the gate's own, written in its order.
    pub fn handle_note(&mut self, entry: Entry) {
        self.owe_entry(entry, None);
    }

    /// New settings. What they forbid ends, `agreement_changed`.
    pub fn handle_settings(&mut self, rules: Rulebook, now: Now) {
        let before = std::mem::replace(&mut self.rules, rules);
        let known: Vec<&RevocationList> = held_lists(&before).collect();
        let news: Vec<Entry> = held_lists(&self.rules)
            .filter(|list| !known.contains(list))
            .map(revocation)
            .collect();
        for entry in news {
            self.owe_entry(entry, None);
        }
        self.review(now);
        let linked: Vec<ReceiverId> = self.links.keys().cloned().collect();
        for receiver in linked {
            if self.rules.centres.contains_key(&receiver.centre) {
                self.send_cameras(&receiver);
            }
        }
    }

    /// A newer revocation list, from whatever centre: its authority signed it.
    pub fn handle_revocation(&mut self, list: &str, now: Now) {
        let mut news: Vec<RevocationList> = Vec::new();
        for authority in &mut self.rules.authorities {
            match authority.update(list) {
                Ok(Some(list)) if !news.contains(&list) => news.push(list),
                // Older, known, or of another authority: nothing to do.
                Ok(_) | Err(_) => {}
            }
        }
        for list in &news {
            self.owe_entry(revocation(list), None);
            self.commands
                .push_back(Command::KeepRevocation(Box::new(list.clone())));
        }
        if !news.is_empty() {
            self.review(now);
        }
    }

    /// An administrator accepts the clock as it is.
    pub fn handle_clock_accepted(&mut self, by: String, now: Now) {
        if let Some(entry) = self.clock.accept(by, now) {
            self.owe_entry(entry, None);
        }
    }

    /// The daemon stops: relays end here, grants do not; they resume at the next
    /// start within their time. Nothing is granted any more.
    /// Requests that wait for approval are refused: nothing is approved unseen.
    pub fn handle_shutdown(&mut self, now: Now) {
        self.stopping = true;
        self.refuse_all_waiting(now);
        for ((receiver, camera), relay) in std::mem::take(&mut self.relays) {
            self.stop_relay(&receiver, &camera, &relay, Reason::ShuttingDown);
        }
    }

    /// By how much the clock is behind the journal's newest time, where that
    /// is more than it may.
    pub fn clock_behind(&self, now: Now) -> Option<Duration> {
        self.clock.behind(now)
    }

    /// How many grants live.
    pub fn grants_active(&self) -> usize {
        self.grants.len()
    }

    /// How many relays run.
    pub fn relays_active(&self) -> usize {
        self.relays.len()
    }

    /// Entries that the journal still owes: it can't be written now.
    pub fn owed(&self) -> usize {
        self.ledger.owed()
    }

    /// What is wrong with the designation authorities' revocation lists, for people.
    pub fn revocation_warnings(&self, now: Now) -> Vec<String> {
        let mut warnings: Vec<String> = held_lists(&self.rules)
            .filter_map(|list| list.warning(now.wall))
            .collect();
        let agreements = self.rules.settings.agreements.iter();
        for (agreement, authority) in agreements.zip(&self.rules.authorities) {
            if agreement.require_fresh_revocation && authority.list().is_none() {
                let reference = &agreement.reference;
                warnings.push(format!("no list for {reference:?}, which requires one"));
            }
        }
        warnings.dedup();
        warnings
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
    fn owe_entry(&mut self, entry: Entry, tell: Option<CentreId>) {
        if let Some(submission) = self.ledger.must_write(entry, tell) {
            self.submit(submission);
        }
    }

    /// A head of the own journal as the centre can verify it.
    pub fn head_for(&self, centre: &CentreId, head: &str) -> String {
        let identity = self.rules.centres.get(centre);
        identity.map_or_else(|| head.to_owned(), |identity| identity.head(head))
    }

    /// Forgets what can matter no more.
    fn forget(&mut self, now: Now) {
        self.written_refusals
            .retain(|_, at| now.boot.since(*at) < request::REMEMBERED);
        self.ended
            .retain(|_, ended| ended.expires.plus(viewings::VIEWINGS_DELAY) > now.wall);
        self.approvals.forget(now);
    }

    /// Cameras relayed to a centre under an agreement: those of live grants and of
    /// grants being recorded, or of the grants `among` alone; `except` left out.
    fn cameras_in_use(
        &self,
        centre: &CentreId,
        reference: &str,
        except: Option<GrantId>,
        among: Option<&BTreeSet<GrantId>>,
    ) -> BTreeSet<CameraId> {
        let recording = self.ledger.pending().filter_map(|pending| match pending {
            Pending::Grant(recording) if among.is_none() => {
                Some((recording.grant, &recording.terms))
            }
            _ => None,
        });
        let live = self.grants.iter().map(|(id, live)| (*id, &live.terms));
        let resuming = self.resuming.iter().map(|(id, held)| (*id, &held.terms));
        live.chain(resuming)
            .chain(recording)
            .filter(|(id, terms)| {
                let counted = among.is_none_or(|among| among.contains(id));
                let same = &terms.centre == centre && terms.agreement == reference;
                Some(*id) != except && counted && same
            })
            .flat_map(|(_, terms)| terms.granted.iter().cloned())
            .collect()
    }
}

fn held_lists(rules: &Rulebook) -> impl Iterator<Item = &RevocationList> {
    let authorities = rules.authorities.iter().chain(&rules.page);
    authorities.flat_map(Authority::lists)
}

fn revocation(list: &RevocationList) -> Entry {
    Entry::Revocation {
        authority: list.authority.clone(),
        number: list.number.clone(),
        list: list.hash,
    }
}
