//! The communes: their links, what they announced, what they are told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{Command, Desk, Notice};
use crate::allowance::Allowance;
use crate::clock::{Now, Wall};
use crate::format::control::{
    AgreementInfo, CAMERA_PAGE, CameraInfo, GatewayHello, Heads, Journals, OTHER_STREAMS,
    ReceiverHello, RelayState, ToGateway, VERSION,
};
use crate::format::designation::Designation;
use crate::format::ids::{CameraId, CommuneId, GrantId, Sha256};
use crate::format::jws;
use crate::format::statement::{GRANT_TYPE, GrantClaims, HEAD_TYPE, HeadClaims};
use crate::journal::entry::Entry;
use crate::journal::reader::OwnLine;
use crate::media::relay::RelayId;
use crate::policy::agreement::{self, Closed};
use crate::policy::peer::losses::Losses;
use crate::policy::peer::rates::PerSecond;
use crate::policy::peer::witness::Due;
use crate::reason::{Reason, Refusal};

/// Most pages of a camera list.
const PAGES_LIMIT: u32 = 50;
/// Most bytes of a camera list, as [`bytes_of`] counts them: 10 000 cameras with long names.
const LIST_BYTES: usize = 8 * 1024 * 1024;
/// Changes of a commune that are told at once, in a second; more of them with the next second.
const TOLD_PER_SECOND: u32 = 20;
/// Grants that go on and waits of a commune that are looked at, at once and in each second:
/// each costs several signature checks.
const RESUMES: (u32, u32) = (1_200, 10);
/// Body-less lines of a commune's journal are looked at so often, at once and in each second.
const LINES_TAKEN: (u32, u32) = (16, 1);
/// A commune is sent the body-less lines that it says it lacks so often at once, and then
/// with such pauses, however often it links: they may have to be read from old files.
const LINES_SENT: (u32, Duration) = (16, Duration::from_secs(10));
/// A commune's word on its own journal is written down so often at once, and then with such pauses.
const DAMAGE_TOLD: (u32, Duration) = (16, Duration::from_secs(60));
/// Most relay states kept of one commune.
const RELAYS_LIMIT: usize = 4_096;

/// A commune as it is shown. What it announced outlives its connection.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Commune {
    /// Whether its gateway is linked.
    pub online: bool,
    /// Since when it is, or is not; `None`: never seen since the start.
    pub since: Option<Wall>,
    /// Its name for people.
    pub name: Option<String>,
    /// Whom to call.
    pub contact: Option<String>,
    /// fanal's version at its gateway, by the newest link.
    pub version: Option<String>,
    /// What its agreements with this centre say; `None`: not told yet.
    pub agreements: Option<Arc<[AgreementInfo]>>,
    /// The cameras they cover, by id; `None`: not told yet.
    pub cameras: Option<Arc<[CameraInfo]>>,
    /// Since when a camera has been announced as one that can't be relayed, where that
    /// began with an event: when the centre first heard so.
    pub unusable_since: Arc<BTreeMap<CameraId, Wall>>,
}

/// Why a camera can't be asked for, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unusable {
    /// Why.
    pub refusal: Refusal,
    /// Since when, where that is known.
    pub since: Option<Wall>,
    /// When it will be over by itself, where that is known.
    pub until: Option<Wall>,
}

impl Commune {
    /// The agreement under which an operator asks: one that allows the grounds, else
    /// any of his unit's.
    pub fn agreement_for(&self, who: &Designation, grounds: &str) -> Option<&AgreementInfo> {
        self.agreements_of(who)
            .find(|one| one.grounds.iter().any(|ground| ground.id == grounds))
            .or_else(|| self.agreements_of(who).next())
    }

    /// Those that name his unit, where it is designated for by an authority that they name.
    pub fn agreements_of(&self, who: &Designation) -> impl Iterator<Item = &AgreementInfo> {
        let unit = &who.operator.unit;
        self.agreements_under(who)
            .filter(move |one| one.units.is_empty() || one.units.contains(unit))
    }

    /// Those whose authorities designated him, whatever their units; all of a gateway that
    /// does not say so.
    pub(super) fn agreements_under(
        &self,
        who: &Designation,
    ) -> impl Iterator<Item = &AgreementInfo> {
        let all = self.agreements.iter().flat_map(|all| all.iter());
        all.filter(move |one| {
            let mut named = one.authorities.iter();
            one.authorities.is_empty() || named.any(|key| who.path.contains(key))
        })
    }

    /// The time in which none of the operator's agreements is in force, if that is now.
    pub fn closed_for(&self, who: &Designation, now: Wall) -> Option<Closed> {
        agreement::all_closed(self.agreements_of(who), now)
    }

    /// Why nobody can be given this camera's picture now, whatever the grounds: what
    /// its commune announced of it, else that no agreement is in force. Whether the
    /// commune is online is not in it: that ends without notice.
    pub fn unusable(&self, info: &CameraInfo, closed: Option<Closed>) -> Option<Unusable> {
        if let Some(refusal) = info.unusable.clone() {
            return Some(Unusable {
                refusal,
                since: self.unusable_since.get(&info.id).copied(),
                until: None,
            });
        }
        closed.map(|Closed { since, until }| Unusable {
            refusal: Reason::AgreementNotInForce.into(),
            since,
            until,
        })
    }

    /// Since when each camera of a new list can't be relayed. That a mask is not verified
    /// is no event: it has never been.
    fn first_heard(&self, list: &[CameraInfo], now: Wall) -> BTreeMap<CameraId, Wall> {
        let reason = |info: &CameraInfo| info.unusable.as_ref().map(|refusal| refusal.reason);
        let old = |id: &CameraId| {
            let old = self.cameras.as_ref()?;
            let at = old.binary_search_by(|info| info.id.cmp(id)).ok()?;
            reason(&old[at])
        };
        let began = |info: &CameraInfo| {
            let reason = reason(info).filter(|reason| *reason != Reason::MaskNotVerified)?;
            let known = self.unusable_since.get(&info.id).copied();
            let since = known.filter(|_| old(&info.id) == Some(reason));
            Some((info.id.clone(), since.unwrap_or(now)))
        };
        list.iter().filter_map(began).collect()
    }
}

/// What is known of a commune, over all its links.
#[derive(Debug)]
pub(super) struct Peer {
    /// Shared with the API: a thousand of them are not copied when one changes.
    pub(super) view: Arc<Commune>,
    /// The link that is up.
    pub(super) session: Option<u64>,
    /// Pages of a camera list that is not whole yet.
    pages: Vec<CameraInfo>,
    next_page: u32,
    page_bytes: usize,
    /// Whether it introduced itself on this link.
    introduced: bool,
    /// Changes that were told in this second.
    told: PerSecond,
    /// What it may still send and be sent, over all its links.
    pub(super) resumes: Allowance,
    /// What came faster than that.
    pub(super) later: super::later::Later,
    /// Grants that may still come here from other receivers.
    pub(super) comes: Allowance,
    lines_taken: Allowance,
    lines_sent: Allowance,
    damage_told: Allowance,
    /// Under which agreement each grant of this link is given.
    pub(super) agreements: BTreeMap<GrantId, String>,
    /// The newest state of each relay of this link.
    pub(super) relays: BTreeMap<RelayId, super::grant::News>,
    /// Minor version of the protocol, once the gateway of this link has said it.
    pub(super) minor: Option<u32>,
    /// What that gateway calls this receiver.
    pub(super) receiver: Option<Sha256>,
}

impl Default for Peer {
    fn default() -> Self {
        Self {
            view: Arc::default(),
            session: None,
            pages: Vec::new(),
            next_page: 0,
            page_bytes: 0,
            introduced: false,
            told: PerSecond::default(),
            resumes: Allowance::new(RESUMES.0, RESUMES.1),
            later: super::later::Later::default(),
            comes: Allowance::every(super::told::COMES.0, super::told::COMES.1),
            lines_taken: Allowance::new(LINES_TAKEN.0, LINES_TAKEN.1),
            lines_sent: Allowance::every(LINES_SENT.0, LINES_SENT.1),
            damage_told: Allowance::every(DAMAGE_TOLD.0, DAMAGE_TOLD.1),
            agreements: BTreeMap::new(),
            relays: BTreeMap::new(),
            minor: None,
            receiver: None,
        }
    }
}

impl Peer {
    pub(super) fn is_up(&self) -> bool {
        self.session.is_some()
    }

    /// Remembers a relay's state, for grants that are still being recorded.
    pub(super) fn take_news(&mut self, news: super::grant::News) {
        if news.state == RelayState::Ended {
            self.relays.remove(&news.relay);
        } else if self.relays.len() < RELAYS_LIMIT || self.relays.contains_key(&news.relay) {
            self.relays.insert(news.relay, news);
        }
    }
}

impl Desk {
    /// The [`Desk::version`] since which [`Desk::communes`] shows the same.
    pub fn communes_version(&self) -> u64 {
        self.communes_version
    }

    pub(super) fn communes_changed(&mut self) {
        self.version += 1;
        self.communes_version = self.version;
    }

    /// The minor version of a commune's gateway; `None`: it is not linked, or has not said
    /// yet who it is.
    pub(super) fn minor(&self, commune: &CommuneId) -> Option<u32> {
        let peer = self.communes.get(commune).filter(|peer| peer.is_up())?;
        peer.minor
    }

    /// Whether a commune's gateway gives a camera's other stream; `None` as for [`Self::minor`].
    pub fn gives_other_streams(&self, commune: &CommuneId) -> Option<bool> {
        Some(self.minor(commune)? >= OTHER_STREAMS)
    }

    /// A link is up. `head` is the own journal's newest head, if it has one, and `continues`
    /// its first line, where it continues another.
    pub fn handle_link_up(
        &mut self,
        commune: &CommuneId,
        session: u64,
        head: Option<&str>,
        continues: Option<&str>,
        now: Now,
    ) {
        if !self.rules.communes.contains_key(commune) {
            return;
        }
        // Requests of an older link get no answer on the new one.
        self.lose_waiting(commune);
        self.lose_stills(commune);
        // They are sent again with the numbers of this link.
        self.unrecorded
            .retain(|recording| &recording.commune != commune);
        if let Some(claims) = head.and_then(head_claims) {
            self.journal = Some(claims.journal);
        }
        let head = head.map(|head| self.head_for(commune, head));
        let peer = self.communes.entry(commune.clone()).or_default();
        peer.session = Some(session);
        peer.minor = None;
        peer.receiver = None;
        peer.later.clear();
        peer.agreements.clear();
        peer.relays.clear();
        peer.pages.clear();
        peer.next_page = 0;
        peer.introduced = false;
        let view = Arc::make_mut(&mut peer.view);
        view.online = true;
        view.since = Some(now.wall);
        self.witnesses.link_up(commune, now);
        let mut journals = self.witnesses.journals(commune, head.clone(), continues);
        journals.damaged = self.losses.damaged();
        let hello = ReceiverHello {
            minor: VERSION.1,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            wall: now.wall.0,
            name: self.rules.name.clone(),
            head,
        };
        self.send(commune, ToGateway::Hello(hello));
        self.send(commune, ToGateway::Journals(journals));
        self.send_lists(commune);
        self.flush_peers(now);
        self.notify_commune(commune, now);
    }

    /// A link is down. An older link's end says nothing of the newest.
    pub fn handle_link_down(&mut self, commune: &CommuneId, session: u64, now: Now) {
        if self.session(commune) != Some(session) {
            return;
        }
        if let Some(peer) = self.communes.get_mut(commune) {
            peer.session = None;
            peer.later.clear();
            let view = Arc::make_mut(&mut peer.view);
            view.online = false;
            view.since = Some(now.wall);
        }
        self.witnesses.link_down(commune);
        self.lose_waiting(commune);
        self.lose_stills(commune);
        let touched: Vec<GrantId> = self
            .grants
            .values_mut()
            .filter(|held| &held.view.commune == commune)
            .map(|held| {
                let cameras = Arc::make_mut(&mut held.view).cameras.iter_mut();
                for camera in cameras.filter(|camera| camera.is_open()) {
                    camera.state = RelayState::Retrying;
                    camera.refusal = Some(Reason::LinkLost.into());
                }
                held.view.id
            })
            .collect();
        for grant in touched {
            self.notify_held(grant);
        }
        self.notify_commune(commune, now);
    }

    /// A commune changed. One that changes all the time wakes those who listen seldom.
    fn notify_commune(&mut self, commune: &CommuneId, now: Now) {
        let peer = self.communes.get_mut(commune);
        if peer.is_some_and(|peer| !peer.told.take(TOLD_PER_SECOND, now)) {
            self.untold.insert(commune.clone());
            let next = now.boot.plus(Duration::from_secs(1));
            self.untold_due.get_or_insert(next);
            return;
        }
        self.communes_changed();
        self.commands
            .push_back(Command::Notify(Notice::Commune(commune.clone())));
    }

    /// Tells of communes that changed too often.
    pub(super) fn tell_untold(&mut self, now: Now) {
        if self.untold_due.take_if(|at| *at <= now.boot).is_some() {
            for commune in std::mem::take(&mut self.untold) {
                self.notify_commune(&commune, now);
            }
        }
    }

    /// What a commune says of itself; it may say so again when its settings change.
    pub(super) fn handle_hello(&mut self, commune: &CommuneId, hello: GatewayHello, now: Now) {
        if let Some(head) = &hello.head {
            self.handle_head(commune, head, now);
        }
        let Some(peer) = self.communes.get_mut(commune) else {
            return;
        };
        if !std::mem::replace(&mut peer.introduced, true) {
            tracing::info!(%commune, name = %hello.name, version = %hello.version, "the commune introduced itself");
        }
        peer.minor = Some(hello.minor);
        peer.receiver = hello.receiver;
        let (name, contact, version) = (Some(hello.name), hello.contact, Some(hello.version));
        let known = &peer.view;
        let is_news = known.name != name
            || known.contact != contact
            || known.version != version
            || known.agreements.as_deref() != Some(&hello.agreements[..]);
        if is_news {
            let view = Arc::make_mut(&mut peer.view);
            view.name = name;
            view.contact = contact;
            view.version = version;
            view.agreements = Some(hello.agreements.into());
        }
        // Only now is it known how its gateway takes them.
        self.lists_link_up(commune, now);
        self.send_viewings(now);
        if is_news {
            self.notify_commune(commune, now);
        }
    }

    /// A page of the list; the last one makes the list count.
    pub(super) fn handle_cameras(
        &mut self,
        commune: &CommuneId,
        page: u32,
        pages: u32,
        cameras: Vec<CameraInfo>,
        now: Now,
    ) {
        let Some(peer) = self.communes.get_mut(commune) else {
            return;
        };
        if page == 0 {
            peer.pages.clear();
            peer.next_page = 0;
            peer.page_bytes = 0;
        }
        let bytes = cameras.iter().map(bytes_of).sum::<usize>();
        peer.page_bytes = peer.page_bytes.saturating_add(bytes);
        let is_large = cameras.len() > CAMERA_PAGE || peer.page_bytes > LIST_BYTES;
        if page != peer.next_page || pages > PAGES_LIMIT || is_large {
            peer.pages = Vec::new();
            tracing::warn!(%commune, page, pages, "a page of the camera list does not fit");
            return;
        }
        peer.pages.extend(cameras);
        peer.next_page += 1;
        if peer.next_page < pages {
            return;
        }
        let mut list = std::mem::take(&mut peer.pages);
        list.sort_by(|one, other| one.id.cmp(&other.id));
        list.dedup_by(|one, other| one.id == other.id);
        if peer.view.cameras.as_deref() == Some(&list[..]) {
            return;
        }
        let view = Arc::make_mut(&mut peer.view);
        view.unusable_since = Arc::new(view.first_heard(&list, now.wall));
        view.cameras = Some(list.into());
        self.notify_commune(commune, now);
    }

    /// Passes on the revocation lists of the designation authorities.
    pub(super) fn send_lists(&mut self, commune: &CommuneId) {
        let lists: Vec<String> = self
            .rules
            .authorities
            .iter()
            .flat_map(|authority| authority.lists().map(|list| list.pem.clone()))
            .collect();
        for list in lists {
            self.send(commune, ToGateway::Revocation { list });
        }
    }

    /// A commune's head, beside another message: the next one tells the same.
    pub(super) fn handle_head(&mut self, commune: &CommuneId, text: &str, now: Now) {
        if let (true, Some(identity)) = (
            self.witnesses.may_look(commune, now),
            self.rules.communes.get(commune),
        ) {
            let taken = self.witnesses.take(commune, identity, text, now);
            self.owe_evidence(commune, taken.evidence, now);
        }
    }

    /// Heads and body-less lines from a commune.
    pub(super) fn handle_heads(&mut self, commune: &CommuneId, heads: &Heads, now: Now) {
        let peer = self.communes.get_mut(commune);
        let has_lines = !heads.lines.is_empty();
        if peer.is_some_and(|peer| has_lines && !peer.lines_taken.take(1, now.boot.0)) {
            return self.handle_head(commune, &heads.head, now);
        }
        if let (true, Some(identity)) = (
            self.witnesses.may_look(commune, now),
            self.rules.communes.get(commune),
        ) {
            let taken = self.witnesses.take_heads(commune, identity, heads, now);
            let is_valid = taken.head.is_ok();
            let is_compared = is_valid && !heads.lines.is_empty();
            self.owe_evidence(commune, taken.evidence, now);
            if is_valid {
                self.lists_heads(commune, &heads.head);
            }
            if is_compared {
                self.losses.compared(commune.as_str());
            }
        }
    }

    /// The heads that a commune holds of both journals, when its link came up.
    pub(super) fn handle_journals(&mut self, commune: &CommuneId, told: &Journals, now: Now) {
        let Some(identity) = self.rules.communes.get(commune) else {
            return;
        };
        if !self.witnesses.may_look(commune, now) {
            return;
        }
        let own = self.rules.centre.as_str();
        if let Some(held) = &told.held
            && let Some(seq) = self.witnesses.held_of_ours(commune, identity, own, held)
        {
            let peer = self.communes.get_mut(commune);
            if peer.is_some_and(|peer| peer.lines_sent.take(1, now.boot.0)) {
                let commune = commune.clone();
                self.commands.push_back(Command::FindLine { commune, seq });
            }
        }
        let evidence = self.witnesses.compare(commune, identity, told, now);
        let peer = self.communes.get_mut(commune);
        if peer.is_some_and(|peer| peer.damage_told.take(1, now.boot.0))
            && let Some(entry) = self.losses.told(commune.as_str(), told.damaged.as_deref())
        {
            tracing::error!(%commune, ?told.damaged, "the commune says whether its journal verifies");
            self.owe_entry(entry, None);
        }
        self.owe_evidence(commune, evidence, now);
    }

    /// The answer to a [`Command::FindLine`].
    pub fn handle_own_line(&mut self, commune: &CommuneId, line: &OwnLine, now: Now) {
        let evidence = self.witnesses.own_line(commune, line);
        self.owe_evidence(commune, evidence, now);
    }

    /// Writes down what was found of a journal; where it lost lines, grants end.
    fn owe_evidence(&mut self, commune: &CommuneId, evidence: Option<Entry>, now: Now) {
        let Some(evidence) = evidence else {
            return;
        };
        let accepted = self.losses.found(commune.as_str(), &evidence);
        self.owe_entry(evidence.clone(), None);
        if let Some(accepted) = accepted {
            self.owe_entry(accepted, None);
        }
        self.end_lost(commune, &evidence, now);
    }

    /// Ends the grants that a loss takes: all of the commune while nothing may be relayed,
    /// else those that its gateway's journal holds no more.
    fn end_lost(&mut self, commune: &CommuneId, evidence: &Entry, now: Now) {
        let (refusal, found) = match (self.loss(commune), evidence) {
            (Some(refusal), _) => (refusal, None),
            (None, Entry::PeerContradiction { detail, found, .. }) => {
                let detail = format!("the journal of {commune}: {detail}");
                let found = found.as_deref().and_then(head_claims);
                (Refusal::new(Reason::JournalWentBack, detail), found)
            }
            (None, _) => return,
        };
        let covers = |held: &super::held::Held| {
            let proof = jws::open::<GrantClaims>(&held.view.proof, GRANT_TYPE).ok();
            let entry = proof.and_then(|proof| head_claims(&proof.claims.head));
            found.as_ref().zip(entry).is_some_and(|(found, entry)| {
                found.journal == entry.journal && entry.seq <= found.seq
            })
        };
        let of_commune = self.grants.values();
        let lost = of_commune
            .filter(|held| &held.view.commune == commune && !covers(held))
            .map(|held| (held.view.id, refusal.clone()));
        let lost: Vec<(GrantId, Refusal)> = lost.collect();
        for recording in self.recordings_of(commune) {
            recording.ended = Some(refusal.clone());
        }
        self.end_all(lost, now);
    }

    /// Why nothing may be relayed from a commune, where a journal lost lines.
    pub(super) fn loss(&self, commune: &CommuneId) -> Option<Refusal> {
        let refusal = self.losses.refusal(commune.as_str());
        refusal.filter(|_| !self.rules.relay_after_loss)
    }

    /// An administrator accepts a journal as it is, by its owner's id.
    pub fn handle_journal_accepted(&mut self, journal: String, by: String) {
        if let Some(entry) = self.losses.accept(journal, by) {
            self.owe_entry(entry, None);
        }
    }

    /// A look found that the own journal does not verify: `entry` is in it, behind a new first line.
    /// Grants end, and every linked commune is told.
    pub fn handle_damaged(
        &mut self,
        entry: &Entry,
        head: Option<&str>,
        continues: Option<&str>,
        now: Now,
    ) {
        self.losses.recover(entry);
        let communes: Vec<CommuneId> = self.rules.communes.keys().cloned().collect();
        for commune in communes {
            let head = head.map(|head| self.head_for(&commune, head));
            let mut journals = self.witnesses.journals(&commune, head, continues);
            journals.damaged = self.losses.damaged();
            self.send(&commune, ToGateway::Journals(journals));
            if self.loss(&commune).is_some() {
                self.end_lost(&commune, entry, now);
            }
        }
    }

    /// A head of the own journal as the commune can verify it.
    pub fn head_for(&self, commune: &CommuneId, head: &str) -> String {
        let identity = self.rules.communes.get(commune);
        identity.map_or_else(|| head.to_owned(), |identity| identity.head(head))
    }

    /// Entries that the journal still owes: it can't be written now.
    pub fn owed(&self) -> usize {
        self.ledger.owed()
    }

    /// Journals that lost lines and were not accepted.
    pub fn losses(&self) -> &Losses {
        &self.losses
    }

    /// Sends heads that are due, and writes down those of the peers.
    pub(super) fn flush_peers(&mut self, now: Now) {
        for due in self.witnesses.poll(now) {
            match due {
                Due::Send {
                    peer: commune,
                    after,
                    acknowledged,
                } => {
                    let peer = self.communes.get_mut(&commune);
                    let may = peer.is_some_and(|peer| peer.lines_sent.take(1, now.boot.0));
                    self.commands.push_back(Command::SendHeads {
                        commune,
                        after: after.filter(|_| may),
                        acknowledged,
                    });
                }
                Due::Write(head) => self.owe_entry(head, None),
            }
        }
    }
}

/// The claims of a head that was verified before.
fn head_claims(text: &str) -> Option<HeadClaims> {
    let signed = jws::open::<HeadClaims>(text, HEAD_TYPE).ok()?;
    Some(signed.claims)
}

/// What a camera of a list takes in memory, roughly.
fn bytes_of(info: &CameraInfo) -> usize {
    let texts = info.groups.iter().chain(&info.neighbours);
    let texts = texts.map(|text| size_of::<String>() + text.len());
    let refusals = info.unusable.iter().chain(&info.failed);
    let details = refusals.map(|refusal| refusal.detail.len());
    size_of::<CameraInfo>()
        + info.id.as_str().len()
        + info.name.len()
        + texts.sum::<usize>()
        + details.sum::<usize>()
}
