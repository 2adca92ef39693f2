//! The record of an incident: who asked for what and on which grounds, what came of it, who watched
//! when, which stills were taken, and the notes and bookmarks of its unit. Pure.
//!
//! It is a reading of the centre's own journal ([`Records::take`]: at the start all of it, then each
//! entry as it is written), so that the two can't disagree. Only the texts of notes are not in the
//! journal, which holds their digests.
//!
//! **How long.** An incident is over at the latest of: the end of its last grant, its closing, its
//! opening. From then on its record is kept for [`KEPT`], the length of the shift that follows and of
//! the one after; then it is forgotten, and its texts are erased. The journal stays. A note or a
//! bookmark does not lengthen that.
//!
//! | bound | value | over it |
//! |---|---|---|
//! | records of a unit | [`RECORDS`] | the one that is over the longest goes |
//! | bytes of a record's lines | [`RECORD_BYTES`], about | its oldest lines go, and are counted |
//! | bytes of all lines | [`ALL_BYTES`], about | the record that is over the longest goes |
//! | notes and bookmarks of a record | [`MARKS`] | refused |
//! | a text | [`TEXT`] characters | refused |
//! | texts of a unit | [`TEXTS`] bytes | refused |
//! | what one operator writes | [`WRITES`] at once, then one each [`WRITE_EVERY`] | `too_many_requests` |

pub mod line;
mod mark;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

pub use mark::{Mark, Marked, Text};

use crate::allowance::Allowance;
use crate::clock::{Now, Wall};
use crate::format::designation::{Authority, Designation, Unit};
use crate::format::ids::{CameraId, CommuneId, GrantId, Incident, MarkId, Sha256};
use crate::format::statement::Operator;
use crate::journal::entry::{Entry, GrantEntry};
use crate::reason::{Reason, Refusal};
use line::{Line, What};

/// How long a record is kept once its incident is over.
pub const KEPT: Duration = Duration::from_secs(48 * 3_600);
/// How far back the journal is read at the start: older lines of an incident that goes on for longer
/// are in the journal alone.
pub const READ_BACK: Duration = Duration::from_secs(31 * 86_400);
/// Records of a unit.
pub const RECORDS: usize = 256;
/// Bytes of a record's lines.
pub const RECORD_BYTES: usize = 4 * 1024 * 1024;
/// Bytes of all lines.
pub const ALL_BYTES: usize = 128 * 1024 * 1024;
/// Notes and bookmarks of a record, withdrawn ones too.
pub const MARKS: usize = 500;
/// Longest text of a note or bookmark, in characters.
pub const TEXT: usize = 2_000;
/// Texts of a unit, in bytes.
pub const TEXTS: usize = 4 * 1024 * 1024;
/// Openings, closings, notes and bookmarks of an operator at once: a page that sends what it kept
/// while the receiver was away.
pub const WRITES: u32 = 120;
/// Then one in this time.
pub const WRITE_EVERY: Duration = Duration::from_secs(2);
/// Operators whose pace is remembered.
const OPERATORS: usize = 4_096;
/// Signers whose authority is remembered.
const SIGNERS: usize = 4_096;
/// A grant without an end in the journal is over so long after its time.
const SLACK: Duration = Duration::from_secs(60);
/// How far a page's clock may be ahead.
const AHEAD: Duration = Duration::from_secs(60);

/// Whose: a unit's name, its authority, the reference.
type Key = (String, Sha256, Incident);

fn key(unit: &Unit, incident: &Incident) -> Key {
    (unit.name.clone(), unit.authority, incident.clone())
}

/// Why nothing is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denied {
    /// The unit has no such record, or it has no such note.
    Unknown,
    /// It is not well formed.
    Wrong(String),
    /// What is there does not allow it.
    Conflict(String),
    /// Refused.
    Refused(Refusal),
}

/// A grant of an incident.
#[derive(Clone, Debug)]
struct Held {
    commune: CommuneId,
    cameras: BTreeSet<CameraId>,
    expires: Wall,
    ended: Option<Wall>,
}

impl Held {
    fn end(&self, now: Wall) -> Option<Wall> {
        let is_over = self.expires.plus(SLACK) <= now;
        self.ended.or_else(|| is_over.then_some(self.expires))
    }
}

/// The record of one incident of one unit.
#[derive(Debug)]
pub struct Record {
    /// Its reference.
    pub incident: Incident,
    /// When its first line was written.
    pub opened: Wall,
    /// When it was closed and by whom, if nothing was granted since.
    pub closed: Option<(Wall, Operator)>,
    /// Grounds that were asked under, in their order.
    pub grounds: Vec<String>,
    /// What the journal says, oldest first.
    pub lines: VecDeque<Arc<Line>>,
    /// How many older lines were left out.
    pub left_out: u64,
    /// When it was last opened on purpose.
    reopened: Wall,
    grants: BTreeMap<GrantId, Held>,
    marks: BTreeMap<MarkId, Mark>,
    bytes: usize,
}

impl Record {
    fn new(incident: Incident, at: Wall) -> Self {
        Self {
            incident,
            opened: at,
            closed: None,
            grounds: Vec::new(),
            lines: VecDeque::new(),
            left_out: 0,
            reopened: at,
            grants: BTreeMap::new(),
            marks: BTreeMap::new(),
            bytes: 0,
        }
    }

    /// How many of its grants live.
    pub fn live(&self, now: Wall) -> usize {
        let live = self.grants.values().filter(|held| held.end(now).is_none());
        live.count()
    }

    /// Since when the incident is over; none while a grant lives.
    pub fn over(&self, now: Wall) -> Option<Wall> {
        let closed = self.closed.as_ref().map_or(self.reopened, |(at, _)| *at);
        let mut over = closed.max(self.reopened);
        for held in self.grants.values() {
            over = over.max(held.end(now)?);
        }
        Some(over)
    }

    /// Until when it is kept; none while a grant lives.
    pub fn until(&self, now: Wall) -> Option<Wall> {
        self.over(now).map(|over| over.plus(KEPT))
    }

    /// Its notes and bookmarks, the oldest first.
    pub fn marks(&self) -> Vec<&Mark> {
        let mut marks: Vec<&Mark> = self.marks.values().collect();
        marks.sort_by_key(|mark| (mark.first, mark.id));
        marks
    }

    fn push(&mut self, line: Line) -> isize {
        let before = self.bytes;
        self.bytes += line.bytes();
        self.lines.push_back(Arc::new(line));
        while self.bytes > RECORD_BYTES
            && let Some(oldest) = self.lines.pop_front()
        {
            self.bytes -= oldest.bytes();
            self.left_out += 1;
        }
        self.bytes.cast_signed() - before.cast_signed()
    }

    fn use_grounds(&mut self, grounds: &str) {
        if !self.grounds.iter().any(|known| known == grounds) {
            self.grounds.push(grounds.to_owned());
        }
    }
}

/// All records of a centre.
#[derive(Debug, Default)]
pub struct Records {
    records: BTreeMap<Key, Record>,
    grants: BTreeMap<GrantId, Key>,
    paces: BTreeMap<(String, String, Sha256), Allowance>,
    /// Authorities by the chain that a statement carries.
    signers: BTreeMap<Sha256, Option<Sha256>>,
    bytes: usize,
    /// Digests of the texts that went with their records, until somebody asks.
    gone: Vec<Sha256>,
}

impl Records {
    /// Whether [`Records::take`] would read this.
    pub fn wants(entry: &Entry) -> bool {
        matches!(
            entry,
            Entry::Grant(_)
                | Entry::Refused { .. }
                | Entry::Resumed { .. }
                | Entry::Ended { .. }
                | Entry::ViewingStarted { .. }
                | Entry::ViewingEnded { .. }
                | Entry::ViewingsTaken { .. }
                | Entry::Snapshot { .. }
                | Entry::SnapshotRefused { .. }
                | Entry::Incident { .. }
                | Entry::Mark(_)
        )
    }

    /// Takes an entry of the centre's journal; in their order. Whose record changed, if one did.
    pub fn take(
        &mut self,
        seq: u64,
        time: Wall,
        entry: &Entry,
        authorities: &[Authority],
    ) -> Option<(Unit, Incident)> {
        let what = What::of(entry)?;
        let key = self.key_of(entry, time, authorities)?;
        let is_new = !self.records.contains_key(&key);
        // An end or a viewing belongs to a grant; without that nothing is known of it.
        let begins = matches!(
            entry,
            Entry::Grant(_) | Entry::Refused { .. } | Entry::Incident { .. }
        );
        if is_new && !begins {
            return None;
        }
        if is_new {
            self.make_room(&key, time);
        }
        let record = self
            .records
            .entry(key.clone())
            .or_insert_with(|| Record::new(key.2.clone(), time));
        match entry {
            Entry::Grant(entry) => {
                record.closed = None;
                record.use_grounds(&entry.grounds);
                record.hold(entry);
                self.grants.insert(entry.grant, key.clone());
            }
            Entry::Ended { grant, at, .. } => {
                if let Some(held) = record.grants.get_mut(grant) {
                    held.ended = Some(line::moment(at).unwrap_or(time));
                }
            }
            Entry::Incident {
                open: true,
                grounds,
                ..
            } => {
                record.closed = None;
                record.reopened = time;
                if let Some(grounds) = grounds {
                    record.use_grounds(grounds);
                }
            }
            Entry::Incident {
                open: false,
                operator,
                ..
            } => record.closed = Some((time, operator.clone())),
            Entry::Mark(entry) => record.mark(seq, entry),
            _ => {}
        }
        let grew = record.push(Line { seq, time, what });
        self.bytes = self.bytes.saturating_add_signed(grew);
        self.shrink(time);
        let (name, authority, incident) = key;
        Some((Unit { name, authority }, incident))
    }

    /// Whose record an entry belongs to.
    fn key_of(&mut self, entry: &Entry, time: Wall, authorities: &[Authority]) -> Option<Key> {
        match entry {
            Entry::Grant(entry) => {
                let authority = self.authority(&entry.request, time, authorities)?;
                Some((
                    entry.operator.unit.clone(),
                    authority,
                    entry.incident.clone(),
                ))
            }
            Entry::Refused {
                request, operator, ..
            } => {
                let authority = self.authority(request, time, authorities)?;
                let incident = line::claims(request)?.incident;
                Some((operator.unit.clone(), authority, incident))
            }
            Entry::Incident {
                incident,
                operator,
                authority,
                ..
            } => Some((operator.unit.clone(), *authority, incident.clone())),
            Entry::Mark(entry) => Some((
                entry.operator.unit.clone(),
                entry.authority,
                entry.incident.clone(),
            )),
            Entry::Resumed { grant }
            | Entry::Ended { grant, .. }
            | Entry::ViewingStarted { grant, .. }
            | Entry::ViewingEnded { grant, .. }
            | Entry::ViewingsTaken { grant, .. }
            | Entry::Snapshot { grant, .. }
            | Entry::SnapshotRefused { grant, .. } => self.grants.get(grant).cloned(),
            _ => None,
        }
    }

    /// The authority that designated a request's signer, whatever became of him since.
    fn authority(&mut self, request: &str, at: Wall, authorities: &[Authority]) -> Option<Sha256> {
        // All statements of one certificate begin alike.
        let header = request.split_once('.')?.0;
        let hash = Sha256::of(header.as_bytes());
        if let Some(known) = self.signers.get(&hash) {
            return *known;
        }
        if self.signers.len() >= SIGNERS {
            self.signers.clear();
        }
        let leads = |authority: &&Authority| authority.leads(request, at);
        let found = authorities.iter().find(leads).map(Authority::id);
        self.signers.insert(hash, found);
        found
    }

    /// The authorities are others: the records of a unit whose authority goes on under another set of
    /// keys go with it.
    pub fn reload(&mut self, now: Wall, authorities: &[Authority]) {
        self.signers.clear();
        let gone = |key: &Key| !authorities.iter().any(|one| one.id() == key.1);
        let moved: Vec<Key> = self
            .records
            .keys()
            .filter(|key| gone(key))
            .cloned()
            .collect();
        for old in moved {
            let record = self.records.get(&old);
            let request = record.and_then(|record| {
                let mut lines = record.lines.iter().rev();
                lines.find_map(|line| line.what.request_text().map(str::to_owned))
            });
            let authority = request.and_then(|text| self.authority(&text, now, authorities));
            let Some(authority) = authority else {
                continue;
            };
            let new = (old.0.clone(), authority, old.2.clone());
            if self.records.contains_key(&new) {
                continue;
            }
            if let Some(record) = self.records.remove(&old) {
                for grant in record.grants.keys() {
                    self.grants.insert(*grant, new.clone());
                }
                self.records.insert(new, record);
            }
        }
    }

    /// A record of this unit that is still kept.
    pub fn get(&self, unit: &Unit, incident: &Incident, now: Wall) -> Option<&Record> {
        let record = self.records.get(&key(unit, incident))?;
        let kept = record.until(now).is_none_or(|until| until > now);
        kept.then_some(record)
    }

    /// All of them, by their reference.
    pub fn list(&self, unit: &Unit, now: Wall) -> Vec<&Record> {
        let of_unit = self.of_unit(unit);
        let kept = of_unit.filter(|record| record.until(now).is_none_or(|until| until > now));
        kept.collect()
    }

    fn of_unit<'a>(&'a self, unit: &Unit) -> impl Iterator<Item = &'a Record> + use<'a> {
        let first = (unit.name.clone(), unit.authority);
        let all = self.records.iter();
        all.filter(move |((name, authority, _), _)| (name, authority) == (&first.0, &first.1))
            .map(|(_, record)| record)
    }

    /// Counts something that an operator writes.
    ///
    /// # Errors
    /// `too_many_requests` with the seconds to wait.
    pub fn pace(&mut self, who: &Designation, now: Now) -> Result<(), Refusal> {
        let Operator { name, number, unit } = &who.operator;
        let key = (number.clone(), unit.clone(), who.authority);
        let at = now.boot.0;
        if self.paces.len() >= OPERATORS && !self.paces.contains_key(&key) {
            self.paces.clear();
        }
        let pace = self.paces.entry(key);
        let pace = pace.or_insert_with(|| Allowance::every(WRITES, WRITE_EVERY));
        if pace.take(1, at) {
            return Ok(());
        }
        let wait = pace.wait(1, at).as_millis().div_ceil(1_000);
        let seconds = u32::try_from(wait).unwrap_or(u32::MAX).max(1);
        let detail = format!(
            "{name} ({number}) may write {WRITES} notes and bookmarks at once and then one in {} s: wait {seconds} s",
            WRITE_EVERY.as_secs()
        );
        Err(Refusal::new(Reason::TooManyRequests, detail).after(seconds))
    }

    /// An operator opens or closes an incident's record: the entry to write; none where it is so.
    ///
    /// # Errors
    /// It is closed while grants live (`is_live`: their ends act before the journal has them), or there
    /// is nothing to close.
    pub fn turn(
        &self,
        who: &Designation,
        incident: &Incident,
        (open, grounds): (bool, Option<String>),
        is_live: impl Fn(GrantId) -> bool,
        now: Wall,
    ) -> Result<Option<Entry>, Denied> {
        let record = self.get(&who.unit(), incident, now);
        let is_same = match record {
            None if open => false,
            None => return Err(Denied::Unknown),
            Some(record) if open => {
                let knows = |grounds: &String| record.grounds.contains(grounds);
                record.closed.is_none() && grounds.as_ref().is_none_or(knows)
            }
            Some(record) => {
                let grants = record.grants.iter();
                let live = grants.filter(|(id, held)| held.end(now).is_none() && is_live(**id));
                let live = live.count();
                if live > 0 {
                    let detail = format!("{live} grants of {incident} live: end them first");
                    return Err(Denied::Conflict(detail));
                }
                record.closed.is_some()
            }
        };
        Ok((!is_same).then(|| Entry::Incident {
            incident: incident.clone(),
            open,
            operator: who.operator.clone(),
            authority: who.authority,
            grounds,
        }))
    }

    /// Forgets what is kept long enough; the digests of the texts that go with it.
    pub fn forget(&mut self, now: Wall) -> Vec<Sha256> {
        let is_over = |record: &Record| record.until(now).is_some_and(|until| until <= now);
        let over = self.records.iter().filter(|(_, record)| is_over(record));
        let over: Vec<Key> = over.map(|(key, _)| key.clone()).collect();
        over.iter().for_each(|key| self.remove(key));
        std::mem::take(&mut self.gone)
    }

    fn remove(&mut self, key: &Key) {
        let Some(record) = self.records.remove(key) else {
            return;
        };
        self.bytes = self.bytes.saturating_sub(record.bytes);
        for grant in record.grants.keys() {
            self.grants.remove(grant);
        }
        let digests = record.marks.into_values().filter_map(|mark| mark.digest);
        self.gone.extend(digests);
    }

    /// A unit that has too many loses the one that is over the longest.
    fn make_room(&mut self, new: &Key, now: Wall) {
        let of_unit = self.records.iter();
        let of_unit =
            of_unit.filter(|((name, authority, _), _)| *name == new.0 && *authority == new.1);
        let (count, oldest) = of_unit.fold((0, None), |(count, oldest), (key, record)| {
            let over = record.over(now).unwrap_or(now);
            let older = oldest.as_ref().is_none_or(|(before, _)| over < *before);
            (
                count + 1,
                if older {
                    Some((over, key.clone()))
                } else {
                    oldest
                },
            )
        });
        if let Some((_, oldest)) = oldest.filter(|_| count >= RECORDS) {
            self.remove(&oldest);
        }
    }

    fn shrink(&mut self, now: Wall) {
        while self.bytes > ALL_BYTES && self.records.len() > 1 {
            let oldest = self.records.iter();
            let oldest = oldest.min_by_key(|(_, record)| record.over(now).unwrap_or(now));
            let Some(oldest) = oldest.map(|(key, _)| key.clone()) else {
                return;
            };
            self.remove(&oldest);
        }
    }
}

impl Record {
    fn hold(&mut self, entry: &GrantEntry) {
        let expires = Wall::from_seconds(entry.expires);
        let held = self.grants.entry(entry.grant).or_insert_with(|| Held {
            commune: entry.commune.clone(),
            cameras: BTreeSet::new(),
            expires,
            ended: None,
        });
        held.expires = expires;
        // What it covered before may be marked still.
        held.cameras.extend(entry.granted.iter().cloned());
    }
}
