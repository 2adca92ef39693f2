//! The lists of who watched: each ended grant's goes to its commune, whole, and is owed until
//! the commune's journal holds it.
//!
//! | what | bound | beyond |
//! |---|---|---|
//! | viewings of one grant told singly | [`SINGLE`] | the oldest are folded per camera, person and way: how many, how long in all, the first's begin, the last's end |
//! | persons that are told apart when folded | [`FOLDED`] keys | the others of a camera are folded together; the centre's journal names each |
//! | viewings of all lists that are owed | [`KEPT`] | new lists are folded at once |
//! | lists owed | [`OWED_LIMIT`], [`OWED_FOR`] | the oldest stay in the journal alone |
//!
//! A list goes out in numbered parts, after the grant's end is told there, and again until each
//! part is confirmed. It tells also what was received of each camera, which the commune holds
//! against what it sent. The journal keeps all that a restart must not forget: the grant's end and its
//! viewings, and for a commune that stays away the list itself (`viewings_owed`); `viewings_taken`
//! closes it. Gateways before protocol 1.1 confirm nothing and take four parts: what they hold counts
//! as taken with their next head.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::Desk;
use crate::clock::{Boot, Now, Wall};
use crate::format::control::{COUNTED_VIEWINGS, NUMBERED_VIEWINGS, SEVERAL_RECEIVERS, ToGateway};
use crate::format::ids::{CameraId, CommuneId, GrantId};
use crate::format::statement::{Received, VIEWINGS_TYPE, Viewing, ViewingsClaims};
use crate::journal::entry::Entry;
use crate::journal::recover::VIEWINGS_LATE;
use crate::policy::peer::rates::PerSecond;

/// See the table above.
pub(super) const SINGLE: usize = 1_000;
/// See the table above.
const FOLDED: usize = 1_000;
/// See the table above.
const KEPT: usize = 100_000;
/// See the table above.
const OWED_LIMIT: usize = 4_096;
/// See the table above.
const OWED_FOR: Duration = VIEWINGS_LATE;
/// Bytes of viewings in one part, as JSON: of a statement's 16 KiB in base64, certificates included.
const PART_BYTES: usize = 4 * 1024;
/// Cameras in one part of which it tells what was received: some 2 KiB.
const PART_CAMERAS: usize = 18;
/// How long a grant's list waits for viewers that are being ended, and for the hub's figures.
const CLOSING: Duration = Duration::from_secs(2);
/// Parts on their way to a commune whose confirmation may still come.
const WINDOW: usize = 8;
/// Parts that are sent to a commune in a second: it looks at
/// [`crate::policy::peer::rates::STATEMENTS_PER_SECOND`] statements of all kinds.
const PER_SECOND: u32 = 20;
/// A part that is not confirmed is sent again after this time, then twice as long, …
const AGAIN: Duration = Duration::from_secs(10);
/// … but at least this often.
const AGAIN_AT_LEAST: Duration = Duration::from_secs(3_600);
/// A list that is not confirmed after this time is written down whole.
pub(super) const WRITE_AFTER: Duration = Duration::from_secs(600);
/// For gateways before protocol 1.1: parts of so many, and no more than so many of them.
const OLD: (usize, usize) = (40, 4);
/// An older gateway does not take a list before its own end of the grant, and does not say so.
const OLD_DELAY: Duration = Duration::from_secs(5);

/// What the hub received under a grant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Since when it counted.
    pub since: Wall,
    /// The bytes of each camera.
    pub cameras: Vec<Received>,
}

impl Figures {
    /// These and what was received later.
    fn and(mut self, later: Self) -> Self {
        if self.cameras.is_empty() {
            return later;
        }
        for one in later.cameras {
            let known = self.cameras.iter_mut();
            match known.into_iter().find(|known| known.camera == one.camera) {
                Some(known) => known.bytes = known.bytes.saturating_add(one.bytes),
                None => self.cameras.push(one),
            }
        }
        self
    }
}

/// One part of a list.
#[derive(Clone, Debug, Default)]
pub(super) struct Part {
    pub(super) viewings: Vec<Viewing>,
    pub(super) received: Vec<Received>,
    /// Since when that was counted, in seconds.
    pub(super) since: Option<i64>,
}

impl Part {
    /// Viewings and figures side by side: as many parts as the longer needs.
    fn all(viewings: Vec<Vec<Viewing>>, figures: &Figures) -> Vec<Self> {
        let mut figured = figures.cameras.chunks(PART_CAMERAS);
        let mut viewings = viewings.into_iter();
        let mut parts = Vec::new();
        loop {
            let (viewed, received) = (viewings.next(), figured.next());
            if viewed.is_none() && received.is_none() {
                return parts;
            }
            parts.push(Self {
                viewings: viewed.unwrap_or_default(),
                since: received.map(|_| figures.since.seconds()),
                received: received.unwrap_or_default().to_vec(),
            });
        }
    }
}

/// The viewings of one grant.
#[derive(Clone, Debug, Default)]
struct List {
    single: VecDeque<Viewing>,
    folded: BTreeMap<(CameraId, String, String), Viewing>,
}

impl List {
    fn add(&mut self, viewing: Viewing) {
        self.single.push_back(viewing);
        self.fold_above(SINGLE);
    }

    fn fold_above(&mut self, most: usize) {
        while self.single.len() > most
            && let Some(oldest) = self.single.pop_front()
        {
            self.fold(oldest);
        }
    }

    fn fold(&mut self, viewing: Viewing) {
        let (camera, who, kind) = (&viewing.camera, &viewing.who, &viewing.kind);
        let mut key = (camera.clone(), who.clone(), kind.clone());
        if !self.folded.contains_key(&key) && self.folded.len() >= FOLDED {
            key = (camera.clone(), String::new(), String::new());
        }
        let (count, seconds) = (viewing.count.unwrap_or(1), seconds(&viewing));
        match self.folded.get_mut(&key) {
            Some(folded) => {
                folded.count = Some(folded.count.unwrap_or(1).saturating_add(count));
                folded.seconds = Some(folded.seconds.unwrap_or(0).saturating_add(seconds));
                if viewing.from < folded.from {
                    folded.from = viewing.from;
                }
                if viewing.to > folded.to {
                    folded.to = viewing.to;
                }
                for holder in viewing.holders {
                    if !folded.holders.contains(&holder) {
                        folded.holders.push(holder);
                    }
                }
            }
            None => {
                let (_, who, kind) = key.clone();
                let folded = Viewing {
                    who,
                    kind,
                    count: Some(count),
                    seconds: Some(seconds),
                    ..viewing
                };
                self.folded.insert(key, folded);
            }
        }
    }

    /// In parts of at most so many bytes of JSON and so many viewings; an empty list is one part,
    /// which says that nobody watched.
    fn parts(self, bytes: usize, most: usize) -> Vec<Vec<Viewing>> {
        let mut parts = vec![Vec::new()];
        let mut room = bytes;
        for viewing in self.folded.into_values().chain(self.single) {
            let size = serde_json::to_string(&viewing).map_or(0, |text| text.len() + 1);
            let is_full = parts.last().is_some_and(|part| part.len() >= most);
            if (size > room || is_full) && parts.last().is_some_and(|part| !part.is_empty()) {
                parts.push(Vec::new());
                room = bytes;
            }
            room = room.saturating_sub(size);
            if let Some(part) = parts.last_mut() {
                part.push(viewing);
            }
        }
        parts
    }
}

/// How long a viewing lasted, in whole seconds.
fn seconds(viewing: &Viewing) -> u64 {
    let at = |text: &str| text.parse::<jiff::Timestamp>().ok();
    let lasted = || {
        let (from, to) = (at(&viewing.from)?, at(&viewing.to)?);
        u64::try_from(to.as_second().saturating_sub(from.as_second())).ok()
    };
    viewing.seconds.or_else(lasted).unwrap_or(0)
}

/// A part that was sent and is not confirmed.
#[derive(Clone, Copy, Debug)]
struct Sent {
    at: Boot,
    /// When it is sent again.
    again: Boot,
}

/// What is on its way to one commune.
#[derive(Debug, Default)]
struct Way {
    /// Parts that an answer may still come to. One that has none after [`AGAIN`] is lost, or
    /// its gateway can't take it: it holds no place.
    flying: usize,
    /// When the first of their places is free.
    free: Option<Boot>,
}

impl Way {
    fn note(&mut self, sent: Sent, now: Now) {
        let lost = sent.at.plus(AGAIN);
        if lost > now.boot {
            self.flying += 1;
            self.free = Some(self.free.map_or(lost, |free| free.min(lost)));
        }
    }
}

/// A list that its commune's journal does not hold yet.
#[derive(Debug)]
struct Owed {
    commune: CommuneId,
    since: Boot,
    /// A gateway of before protocol 1.1 is sent it from then on.
    old_from: Boot,
    parts: Vec<Part>,
    taken: BTreeSet<u32>,
    /// The parts that were sent on this link.
    sent: BTreeMap<u32, Sent>,
    pause: Duration,
    /// When it is written down whole.
    write_at: Option<Boot>,
    /// The newest head that came with a confirmation.
    head: Option<String>,
}

impl Owed {
    fn new(commune: CommuneId, parts: Vec<Part>, now: Now) -> Self {
        Self {
            commune,
            since: now.boot,
            old_from: now.boot.plus(OLD_DELAY),
            parts,
            taken: BTreeSet::new(),
            sent: BTreeMap::new(),
            pause: AGAIN,
            write_at: Some(now.boot.plus(WRITE_AFTER)),
            head: None,
        }
    }

    fn count(&self) -> u32 {
        u32::try_from(self.parts.len()).unwrap_or(u32::MAX)
    }

    fn viewings(&self) -> usize {
        self.parts.iter().map(|part| part.viewings.len()).sum()
    }

    fn total(&self) -> u64 {
        let all = self.parts.iter().flat_map(|part| &part.viewings);
        all.map(|viewing| viewing.count.unwrap_or(1)).sum()
    }
}

/// A grant whose list is not made yet.
#[derive(Debug)]
struct Closing {
    commune: CommuneId,
    /// When it is made in any case.
    at: Boot,
    /// What the hub received, once it has said so.
    figures: Option<Figures>,
}

/// All lists: of grants that live, that are closing, and that are owed.
#[derive(Debug, Default)]
pub(super) struct Lists {
    of_grant: BTreeMap<GrantId, List>,
    /// What was received under live grants whose pictures go to another receiver now.
    earlier: BTreeMap<GrantId, Figures>,
    /// Ended grants whose viewers are being ended.
    closing: BTreeMap<GrantId, Closing>,
    owed: BTreeMap<GrantId, Owed>,
    paces: BTreeMap<CommuneId, PerSecond>,
    /// When owed lists are looked at again.
    next: Option<Boot>,
}

impl Lists {
    pub(super) fn due(&self) -> Option<Boot> {
        let closing = self.closing.values().map(|closing| closing.at);
        closing.chain(self.next).min()
    }

    /// A finished viewing, of a grant whose list is not closed.
    pub(super) fn add(&mut self, grant: GrantId, viewing: Viewing) {
        self.of_grant.entry(grant).or_default().add(viewing);
    }

    /// Whether viewings of a grant are still gathered.
    pub(super) fn is_open(&self, grant: GrantId) -> bool {
        self.of_grant.contains_key(&grant)
    }

    /// Keeps viewings of these grants alone, and of those whose list is being closed.
    pub(super) fn retain(&mut self, lives: impl Fn(GrantId) -> bool) {
        let closing = &self.closing;
        self.of_grant
            .retain(|grant, _| lives(*grant) || closing.contains_key(grant));
    }

    /// Of how many grants viewings are gathered.
    #[cfg(test)]
    pub(super) fn gathered(&self) -> usize {
        self.of_grant.len()
    }

    /// The commune's journal holds the list already.
    pub(super) fn forget(&mut self, grant: GrantId) {
        self.of_grant.remove(&grant);
    }

    /// A list as the journal holds it.
    pub(super) fn recover(
        &mut self,
        grant: GrantId,
        commune: CommuneId,
        parts: Vec<Part>,
        now: Now,
    ) {
        self.of_grant.remove(&grant);
        self.closing.remove(&grant);
        let mut owed = Owed::new(commune, parts, now);
        owed.write_at = None;
        self.owe(grant, owed, now);
    }

    fn owe(&mut self, grant: GrantId, owed: Owed, now: Now) {
        if self.owed.len() >= OWED_LIMIT && !self.owed.contains_key(&grant) {
            let oldest = self.owed.iter().min_by_key(|(_, owed)| owed.since);
            if let Some(oldest) = oldest.map(|(id, _)| *id) {
                tracing::error!(grant = %oldest, "too many lists of viewings are owed: this one stays in the journal alone");
                self.owed.remove(&oldest);
            }
        }
        self.owed.insert(grant, owed);
        self.next = Some(now.boot);
    }
}

impl Desk {
    /// A grant ended: its list follows once its viewers are gone and the hub has said what it
    /// received; `figures` where it has nothing to say.
    pub(super) fn close_viewings(
        &mut self,
        grant: GrantId,
        commune: &CommuneId,
        figures: Option<Figures>,
        now: Now,
    ) {
        self.viewings.lists.of_grant.entry(grant).or_default();
        self.end_away_of(grant, now);
        let closing = Closing {
            commune: commune.clone(),
            at: now.boot.plus(CLOSING),
            figures,
        };
        self.viewings.lists.closing.insert(grant, closing);
    }

    /// The hub's answer to [`super::Command::EndGrant`].
    pub fn handle_counted(&mut self, grant: GrantId, figures: Figures, now: Now) {
        let lists = &mut self.viewings.lists;
        if let Some(closing) = lists.closing.get_mut(&grant) {
            let earlier = lists.earlier.remove(&grant).unwrap_or_default();
            closing.figures = Some(earlier.and(figures));
            self.send_viewings(now);
        } else if self.grants.contains_key(&grant) {
            // Its pictures go to another receiver, and may come back.
            let earlier = lists.earlier.entry(grant).or_default();
            *earlier = std::mem::take(earlier).and(figures);
        }
    }

    /// Makes the lists of ended grants without viewers, or whose wait is over, and sends what
    /// is owed.
    pub(super) fn send_viewings(&mut self, now: Now) {
        let closing = self.viewings.lists.closing.iter();
        let is_ready = |grant, closing: &Closing| {
            closing.at <= now.boot || closing.figures.is_some() && !self.viewings.is_watched(grant)
        };
        let ready: Vec<GrantId> = closing
            .filter(|(grant, closing)| is_ready(**grant, closing))
            .map(|(grant, _)| *grant)
            .collect();
        for grant in ready {
            let Some(closing) = self.viewings.lists.closing.remove(&grant) else {
                continue;
            };
            let still = self.open_viewings(grant, now);
            let lists = &mut self.viewings.lists;
            let mut list = lists.of_grant.remove(&grant).unwrap_or_default();
            for viewing in still {
                list.add(viewing);
            }
            let kept: usize = lists.owed.values().map(Owed::viewings).sum();
            if kept + list.single.len() > KEPT {
                list.fold_above(0);
            }
            let earlier = self.viewings.lists.earlier.remove(&grant);
            let figures = closing.figures.or(earlier).unwrap_or_default();
            let parts = Part::all(list.parts(PART_BYTES, usize::MAX), &figures);
            let owed = Owed::new(closing.commune, parts, now);
            self.viewings.lists.owe(grant, owed, now);
        }
        if self.viewings.lists.next.is_some_and(|at| at <= now.boot) {
            self.send_owed(now);
        }
    }

    /// A commune's link is up: what it may have missed is sent again.
    pub(super) fn lists_link_up(&mut self, commune: &CommuneId, now: Now) {
        let lists = &mut self.viewings.lists;
        for owed in lists.owed.values_mut() {
            if &owed.commune == commune {
                owed.sent.clear();
                owed.pause = AGAIN;
                // An older gateway must hear of the grant's end on this link first.
                owed.old_from = now.boot.plus(OLD_DELAY);
                lists.next = Some(now.boot);
            }
        }
    }

    /// Sends, writes down and gives up what is due of the lists that are owed.
    fn send_owed(&mut self, now: Now) {
        let mut lists = std::mem::take(&mut self.viewings.lists);
        let mut next: Option<Boot> = None;
        let mut at = |when: Boot| next = Some(next.map_or(when, |next| next.min(when)));
        lists.owed.retain(|grant, owed| {
            let over = now.boot.since(owed.since) >= OWED_FOR
                || !self.rules.communes.contains_key(&owed.commune);
            if over {
                tracing::error!(%grant, commune = %owed.commune, "the commune never took this list of viewings; the centre's journal holds it");
            }
            !over
        });
        let mut ways: BTreeMap<CommuneId, Way> = BTreeMap::new();
        let mut parts: Vec<(Option<Boot>, GrantId, u32)> = Vec::new();
        for (grant, owed) in &mut lists.owed {
            if let Some(when) = owed.write_at {
                if when <= now.boot {
                    owed.write_at = None;
                    self.write_owed(*grant, owed);
                } else {
                    at(when);
                }
            }
            let Some(is_numbered) = self.takes_numbers(&owed.commune) else {
                continue;
            };
            if !is_numbered {
                if owed.sent.is_empty() {
                    let when = owed.old_from;
                    if when <= now.boot {
                        self.send_to_older(*grant, owed, now);
                    } else {
                        at(when);
                    }
                }
                continue;
            }
            let way = ways.entry(owed.commune.clone()).or_default();
            for part in 0..owed.count() {
                if owed.taken.contains(&part) {
                    continue;
                }
                let sent = owed.sent.get(&part).copied();
                if let Some(sent) = sent {
                    way.note(sent, now);
                }
                match sent.map(|sent| sent.again) {
                    Some(again) if again > now.boot => at(again),
                    again => parts.push((again, *grant, part)),
                }
            }
        }
        // Those that were never sent come first: a list that a gateway does not confirm, and is
        // sent again and again, holds up no other.
        parts.sort_unstable();
        let mut repeated = BTreeSet::new();
        for (again, grant, part) in parts {
            let Some(owed) = lists.owed.get_mut(&grant) else {
                continue;
            };
            let way = ways.entry(owed.commune.clone()).or_default();
            if way.flying >= WINDOW {
                way.free.into_iter().for_each(&mut at);
                continue;
            }
            let pace = lists.paces.entry(owed.commune.clone()).or_default();
            if !pace.take(PER_SECOND, now) {
                at(now.boot.plus(Duration::from_secs(1)));
                continue;
            }
            // All parts of a list that are sent again in this round wait as long.
            if again.is_some() && repeated.insert(grant) {
                owed.pause = (owed.pause * 2).min(AGAIN_AT_LEAST);
            }
            let sent = Sent {
                at: now.boot,
                again: now.boot.plus(owed.pause),
            };
            owed.sent.insert(part, sent);
            way.note(sent, now);
            at(sent.again);
            let (parts, total) = (owed.count(), owed.total());
            let content = owed.parts.get(part as usize).cloned().unwrap_or_default();
            let numbers = Some((part, parts, total));
            self.send_list(grant, &owed.commune, content, numbers, now);
        }
        lists.next = next;
        self.viewings.lists = lists;
    }

    /// Whether a commune's gateway takes numbered parts and confirms them; `None`: it is not
    /// linked, or has not said yet who it is.
    fn takes_numbers(&self, commune: &CommuneId) -> Option<bool> {
        Some(self.minor(commune)? >= NUMBERED_VIEWINGS)
    }

    fn write_owed(&mut self, grant: GrantId, owed: &Owed) {
        for (part, content) in (0..).zip(&owed.parts) {
            let entry = Entry::ViewingsOwed {
                grant,
                commune: owed.commune.clone(),
                part,
                parts: owed.count(),
                viewings: content.viewings.clone(),
                received: content.received.clone(),
                counted_since: content.since,
            };
            self.owe_entry(entry, None);
        }
    }

    /// As much as an older gateway takes: folded where that is needed.
    fn send_to_older(&mut self, grant: GrantId, owed: &mut Owed, now: Now) {
        let (per_part, most) = OLD;
        let mut list = List::default();
        for viewing in owed.parts.iter().flat_map(|part| &part.viewings) {
            list.add(viewing.clone());
        }
        if list.single.len() + list.folded.len() > per_part * most {
            list.fold_above(0);
        }
        let parts = list.parts(PART_BYTES, per_part);
        if parts.len() > most {
            tracing::warn!(commune = %owed.commune, %grant, "its gateway is too old to take the whole list of viewings");
        }
        for viewings in parts.into_iter().take(most) {
            let part = Part {
                viewings,
                ..Part::default()
            };
            self.send_list(grant, &owed.commune, part, None, now);
        }
        let sent = Sent {
            at: now.boot,
            again: now.boot,
        };
        owed.sent.insert(0, sent);
    }

    fn send_list(
        &mut self,
        grant: GrantId,
        commune: &CommuneId,
        content: Part,
        numbers: Option<(u32, u32, u64)>,
        now: Now,
    ) {
        let peer = self.communes.get(commune);
        let minor = peer.and_then(|peer| peer.minor).unwrap_or(0);
        // To an older gateway a claim that it does not know is a fault.
        let counts = minor >= COUNTED_VIEWINGS;
        let Some(rules) = self.rules.communes.get(commune) else {
            return;
        };
        let claims = ViewingsClaims {
            iss: self.rules.centre.clone(),
            aud: commune.clone(),
            grant,
            iat: now.wall.seconds(),
            part: numbers.map(|(part, ..)| part),
            parts: numbers.map(|(_, parts, _)| parts),
            total: numbers.map(|(.., total)| total),
            viewings: content.viewings,
            received: if counts { content.received } else { Vec::new() },
            counted_since: content.since.filter(|_| counts),
            journal: self.journal.clone().filter(|_| minor >= SEVERAL_RECEIVERS),
        };
        let statement = rules.signer.sign(VIEWINGS_TYPE, &claims);
        self.send(commune, ToGateway::Viewings { statement });
    }

    /// A part is in the commune's journal.
    pub(super) fn handle_viewings_recorded(
        &mut self,
        commune: &CommuneId,
        grant: GrantId,
        part: u32,
        head: Option<String>,
        now: Now,
    ) {
        if let Some(head) = &head {
            self.handle_head(commune, head, now);
        }
        let lists = &mut self.viewings.lists;
        let owed = lists.owed.get_mut(&grant);
        let Some(owed) = owed.filter(|owed| &owed.commune == commune && part < owed.count()) else {
            return;
        };
        owed.taken.insert(part);
        owed.head = head.or_else(|| owed.head.take());
        lists.next = Some(now.boot);
        if owed.taken.len() == owed.parts.len() {
            self.list_taken(grant);
        }
        self.send_viewings(now);
    }

    /// Heads of a commune came: what was sent to an older gateway before is in its journal.
    pub(super) fn lists_heads(&mut self, commune: &CommuneId, head: &str) {
        if self.takes_numbers(commune) != Some(false) {
            return;
        }
        let owed = self.viewings.lists.owed.iter_mut();
        let sent = owed.filter(|(_, owed)| &owed.commune == commune && !owed.sent.is_empty());
        let grants: Vec<GrantId> = sent
            .map(|(grant, owed)| {
                owed.head = Some(head.to_owned());
                *grant
            })
            .collect();
        for grant in grants {
            self.list_taken(grant);
        }
    }

    fn list_taken(&mut self, grant: GrantId) {
        if let Some(owed) = self.viewings.lists.owed.remove(&grant) {
            let entry = Entry::ViewingsTaken {
                grant,
                commune: owed.commune,
                head: owed.head,
            };
            self.owe_entry(entry, None);
        }
    }
}

#[cfg(test)]
mod tests;
