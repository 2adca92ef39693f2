//! Reads the own journal at start: checks every line, finds where to go on,
//! and keeps what is still in force, in bounded memory.
//!
//! Only one thing is repaired: a last line without its newline, which a crash in
//! the middle of a write leaves behind. Anything else that is wrong is *damage*, for
//! nobody can tell a fault of the disk from somebody's hand: it stays in the file as it is,
//! and a new journal begins behind it that names the last line that verified. Of the lines
//! between, only what narrows is taken: cuts, ends, refusals, revocations; a grant among
//! them is one that ended. Those lines are known to be damaged as soon as a new journal
//! names exactly the line before them.

mod damage;
pub mod scan;
mod traces;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use self::traces::Traces;
use super::entry::Entry;
use super::reader::{self, Content, Lines, Origin, Place};
use super::retention;
use super::store::{Month, Store};
use super::sums::{self, Sum};
use crate::clock::Wall;
use crate::format::chain::{End, LINE_LIMIT, Line};
use crate::format::ids::{GrantId, RequestId, Sha256};
use crate::format::jws;
use crate::format::statement::HeadClaims;
use crate::reason::Reason;

/// Every entry this young is kept: the longest grant, twice.
pub const KEPT: Duration = Duration::from_secs(48 * 3600);
/// How long past its time a centre may send the list of who watched under a grant: so long each
/// side remembers it.
pub const VIEWINGS_LATE: Duration = Duration::from_secs(31 * 24 * 3600);
/// Refusals are kept this long: their `jti` must not come again, and the
/// freshness of a request makes older ones impossible.
pub const REFUSALS_KEPT: Duration = Duration::from_secs(15 * 60);
/// Above this much the entries of ended grants are let go first.
pub const KEPT_BYTES: usize = 32 * 1024 * 1024;
/// So many body-less lines are kept at hand for peers, some 300 bytes each: more than
/// a centre of a thousand communes writes in the day between two exchanges, or when all
/// of them come back. Anyone who lacks more costs a look through the files.
pub const RECENT_LINES: usize = 4096;

/// Why the journal can't be gone on with.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read.
    #[error("reading {file}: {source}")]
    Read {
        /// Which, or the directory.
        file: String,
        /// Why.
        source: io::Error,
    },
}

/// The first line that is not what was written, where no new journal has begun behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Its file.
    pub file: String,
    /// Its line there.
    pub line: u64,
    /// Its fault, and the number that belongs there.
    pub what: String,
}

/// A line that was read or written: where it is, to compare with later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Last {
    /// Its file.
    pub month: Month,
    /// Its first byte.
    pub offset: u64,
    /// Its bytes, newline included.
    pub bytes: usize,
    /// Their hash.
    pub hash: Sha256,
}

/// Where a journal's first line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begun {
    /// Its file.
    pub month: Month,
    /// Its first byte.
    pub offset: u64,
}

/// What the journal holds.
#[derive(Debug)]
pub struct Found {
    /// The newest file and its length up to the last newline.
    pub file: Option<(Month, u64)>,
    /// Where the chain ends.
    pub end: End,
    /// The last line.
    pub last: Option<Last>,
    /// The journal's id.
    pub journal: Option<String>,
    /// Where it begins.
    pub begun: Option<Begun>,
    /// Its last line that was pruned; 0: all are there.
    pub pruned: u64,
    /// Its first line, where it continues another journal.
    pub first: Option<String>,
    /// The first line that does not verify: a new journal must begin.
    pub damage: Option<Damage>,
    /// The newest time written since a clock was last accepted.
    pub newest: Option<Wall>,
    /// An unterminated last line: its hash and bytes.
    pub torn: Option<(Sha256, u64)>,
    /// What still matters, oldest first.
    pub entries: Vec<(u64, Wall, Entry)>,
    /// The last body-less lines, with their number.
    pub recent: Recent,
    /// How many lines there are.
    pub lines: u64,
    /// What each file holds.
    pub(in crate::journal) sums: BTreeMap<Month, Sum>,
}

/// Reads it all.
///
/// # Errors
///
/// The directory or a file can't be read. Damage is no error: [`Found::damage`] says it.
pub fn recover(store: &mut dyn Store) -> Result<Found, Error> {
    let mut walk = walk(store, false)?;
    walk.found.entries = walk.kept.finish();
    Ok(walk.found)
}

/// Reads it all; with the extent of each month, where that is wanted.
fn walk(store: &mut dyn Store, with_extents: bool) -> Result<Walk, Error> {
    let months = store.months().map_err(|source| Error::Read {
        file: "the journal's directory".to_owned(),
        source,
    })?;
    let failed = |source| Error::Read {
        file: "the journal's files".to_owned(),
        source,
    };
    let anchor = retention::anchor(store, &months).map_err(failed)?;
    let mut walk = Walk {
        found: Found {
            file: None,
            end: anchor.as_ref().map_or(End::START, |anchor| anchor.end),
            last: None,
            journal: anchor.as_ref().map(|anchor| anchor.journal.clone()),
            begun: anchor.as_ref().zip(months.first()).map(|(_, month)| Begun {
                month: *month,
                offset: 0,
            }),
            pruned: anchor.as_ref().map_or(0, |anchor| anchor.end.seq),
            first: None,
            damage: None,
            newest: None,
            torn: None,
            entries: Vec::new(),
            recent: VecDeque::new(),
            lines: 0,
            sums: BTreeMap::new(),
        },
        oldest: months.first().copied(),
        candidate: None,
        kept: Kept::since(newest_time(store, &months)),
        extents: with_extents.then(|| anchor.map(scan::Extents::after).unwrap_or_default()),
    };
    for (index, month) in months.iter().enumerate() {
        walk.file(store, *month, index + 1 == months.len())?;
    }
    Ok(walk)
}

/// The time of the last line that can be read, without reading all the rest.
fn newest_time(store: &mut dyn Store, months: &[Month]) -> Option<Wall> {
    let last = months.iter().rev().find_map(|month| {
        let length = store.len(*month).ok().filter(|length| *length > 0)?;
        let bytes = length.min(2 * LINE_LIMIT as u64 + 2);
        let tail = store.read_at(*month, length - bytes, usize::try_from(bytes).ok()?);
        tail.ok()
    })?;
    let mut lines = last.rsplit(|byte| *byte == b'\n');
    lines.find_map(|line| Some(Line::parse(line).ok()?.header.time))
}

#[derive(Debug)]
struct Walk {
    found: Found,
    /// The oldest month that is there.
    oldest: Option<Month>,
    /// Behind damage: a line that may begin the new journal that names it.
    candidate: Option<(Month, Place, Vec<u8>)>,
    kept: Kept,
    extents: Option<scan::Extents>,
}

impl Walk {
    fn file(&mut self, store: &mut dyn Store, month: Month, newest: bool) -> Result<(), Error> {
        let file = month.file_name();
        let read = |source| Error::Read {
            file: file.clone(),
            source,
        };
        // Before the first byte is read: what is changed meanwhile is looked at again.
        let stamp = store.stamp(month).map_err(read)?;
        let mut sum = Sum::new(Some(stamp));
        let mut is_summed = true;
        let mut lines = Lines::new(store.read(month).map_err(read)?);
        self.found.file = Some((month, 0));
        if let Some(extents) = &mut self.extents {
            extents.month(month);
        }
        loop {
            let next = lines.next_line().map_err(read)?;
            let Some((place, content)) = next else {
                break;
            };
            match content {
                Content::Line(line) => {
                    sum.add(line);
                    sum.add(b"\n");
                }
                Content::Unterminated(_) if newest => {}
                Content::TooLong | Content::Unterminated(_) => is_summed = false,
            }
            let read = match content {
                Content::Line(line) if self.found.damage.is_some() => {
                    self.damaged_line(month, place, line);
                    Ok(())
                }
                Content::Line(line) => self.line(month, place, line),
                Content::Unterminated(hash) if newest => {
                    self.found.torn = Some((hash, place.bytes));
                    break;
                }
                Content::Unterminated(_) => {
                    Err("it has no end, and a newer file follows".to_owned())
                }
                Content::TooLong => Err(format!("it is longer than {LINE_LIMIT} bytes")),
            };
            if let Err(what) = read {
                let seq = self.found.end.seq + 1;
                self.found.lines += 1;
                self.found.damage.get_or_insert_with(|| Damage {
                    file: file.clone(),
                    line: place.number,
                    what: format!("{what} (seq {seq} belongs there)"),
                });
                if let Some(extents) = &mut self.extents {
                    let line = match content {
                        Content::Line(line) => Line::parse(line).ok(),
                        _ => None,
                    };
                    extents.damaged(line.map(|line| line.header.time));
                }
            }
            self.found.file = Some((month, place.offset + place.bytes));
        }
        if !is_summed {
            // Of a line that is too long not all was kept.
            let length = self.found.file.map_or(0, |(_, length)| length);
            let again = sums::summed(store, month, length).map_err(read)?;
            sum = again.map_or(sum, |(sum, _)| sum);
        }
        self.found.sums.insert(month, sum);
        Ok(())
    }

    fn line(&mut self, month: Month, place: Place, bytes: &[u8]) -> Result<(), String> {
        let line = Line::parse(bytes).map_err(|error| error.to_string())?;
        let body = line
            .body
            .ok_or("its body is left out, as only copies for peers may")?;
        // A line that begins a new journal continues one whose end was lost.
        let begins = line.header.seq == 1 && line.header.prev == Sha256::ZERO;
        let from = if begins && self.found.end.seq > 0 {
            match reader::entry(body)? {
                Some(Entry::Continues { journal, .. })
                    if journal == self.found.journal.clone().unwrap_or_default() =>
                {
                    End::START
                }
                _ => self.found.end,
            }
        } else {
            self.found.end
        };
        let end = from.follow(&line).map_err(|broken| broken.to_string())?;
        if end.seq == 1 {
            let id = reader::frame(body)?.journal_id;
            self.found.journal = Some(id.ok_or("the first line does not name the journal")?);
            self.found.begun = Some(Begun {
                month,
                offset: place.offset,
            });
            let text = std::str::from_utf8(bytes).ok();
            let text = text.filter(|_| Origin::read(bytes).is_some());
            self.found.first = text.map(str::to_owned);
            self.found.recent.clear();
            self.found.pruned = 0;
        }
        self.found.end = end;
        let mut whole = bytes.to_vec();
        whole.push(b'\n');
        self.found.last = Some(Last {
            month,
            offset: place.offset,
            bytes: whole.len(),
            hash: Sha256::of(&whole),
        });
        self.found.lines += 1;
        remember(
            &mut self.found.recent,
            line.header.seq,
            line.header.without_body(),
        );
        let time = line.header.time;
        let newest = self.found.newest.map_or(time, |newest| newest.max(time));
        self.found.newest = Some(newest);
        if self.kept.wants(time, body)
            && let Some(entry) = reader::entry(body)?
        {
            if matches!(entry, Entry::ClockAccepted { .. }) {
                self.found.newest = Some(time);
            }
            self.kept.take(line.header.seq, time, entry, body.len());
        }
        if let Some(extents) = &mut self.extents {
            let journal = self.found.journal.as_deref().unwrap_or_default();
            extents.line(&line, Some((journal, end)), self.kept.order);
        }
        Ok(())
    }
}

/// Body-less lines with their number, oldest first; at most [`RECENT_LINES`].
pub type Recent = VecDeque<(u64, Arc<str>)>;

/// Adds a body-less line to those kept at hand.
pub fn remember(recent: &mut Recent, seq: u64, line: String) {
    if recent.len() == RECENT_LINES {
        recent.pop_front();
    }
    recent.push_back((seq, line.into()));
}

/// Brings a copy of the same journal's lines up to date, touching only what went and came.
pub fn follow(copy: &mut Recent, recent: &Recent) {
    let first = recent.front().map_or(u64::MAX, |(seq, _)| *seq);
    while copy.front().is_some_and(|(seq, _)| *seq < first) {
        copy.pop_front();
    }
    let newest = copy.back().map_or(0, |(seq, _)| *seq);
    let from = recent.partition_point(|(seq, _)| *seq <= newest);
    copy.extend(recent.range(from..).cloned());
}

/// An entry with its place in the order of all.
#[derive(Debug)]
struct Item {
    order: u64,
    seq: u64,
    time: Wall,
    entry: Entry,
    bytes: usize,
}

/// What still matters.
#[derive(Debug)]
struct Kept {
    /// Older entries are kept only while in force.
    since: Option<Wall>,
    order: u64,
    /// Of the last [`KEPT`].
    young: VecDeque<Item>,
    young_bytes: usize,
    /// Above so many bytes the next clearing is due.
    clear_above: usize,
    /// The newest of each thing that stays in force whatever its age: cuts,
    /// peers' heads, revocation lists.
    latest: BTreeMap<String, Item>,
    /// What stays of grants that are over.
    traces: Traces,
}

impl Kept {
    fn since(newest: Option<Wall>) -> Self {
        Self {
            since: newest.map(|newest| Wall(newest.0.saturating_sub(micros(KEPT)))),
            order: 0,
            young: VecDeque::new(),
            young_bytes: 0,
            clear_above: KEPT_BYTES,
            latest: BTreeMap::new(),
            traces: Traces::since(newest),
        }
    }

    fn is_young(&self, time: Wall) -> bool {
        self.since.is_none_or(|since| time >= since)
    }

    /// Whether the body is worth reading. Old ones are told by the kind that our
    /// writer puts near the start, so that years of journal cost little.
    fn wants(&self, time: Wall, body: &[u8]) -> bool {
        const LASTING: [&str; 17] = [
            r#""kind":"peer_damaged""#,
            r#""kind":"attestation""#,
            r#""kind":"cut""#,
            r#""kind":"allowed""#,
            r#""kind":"confirmed""#,
            r#""kind":"peer_head""#,
            r#""kind":"revocation""#,
            r#""kind":"clock_accepted""#,
            r#""kind":"viewings_owed""#,
            r#""kind":"viewings_taken""#,
            r#""kind":"peer_contradiction""#,
            r#""kind":"journal_went_back""#,
            r#""kind":"journal_damaged""#,
            r#""kind":"journal_accepted""#,
            r#""kind":"log_key""#,
            r#""kind":"cosigned""#,
            r#""kind":"pruned""#,
        ];
        const OF_ENDED: [&str; 3] = [
            r#""kind":"grant""#,
            r#""kind":"ended""#,
            r#""kind":"viewings""#,
        ];
        let start = &body[..body.len().min(200)];
        let has = |text: &str| {
            start
                .windows(text.len())
                .any(|part| part == text.as_bytes())
        };
        self.is_young(time)
            || LASTING.iter().any(|kind| has(kind))
            || self.traces.wants(time) && OF_ENDED.iter().any(|kind| has(kind))
            || !has(r#""kind":"#)
    }

    fn take(&mut self, seq: u64, time: Wall, entry: Entry, bytes: usize) {
        self.order += 1;
        let entry = match entry {
            // Where the last one ends is what counts of it.
            Entry::Attestation(mut told) => {
                (told.media, told.camera_sessions) = (Vec::new(), Vec::new());
                Entry::Attestation(told)
            }
            entry => entry,
        };
        let lasting = match &entry {
            Entry::Cut { scope, .. } => Some(format!("cut {scope}")),
            Entry::Allowed { scope, .. } => {
                // Lifted: neither it nor the cut has to be known once it is old.
                // `all` lifts every cut.
                let lifted = format!("cut {scope}");
                self.latest.retain(|key, _| {
                    *key != lifted && !(scope == "all" && key.starts_with("cut "))
                });
                None
            }
            Entry::Confirmed { centre, head, .. } => Some(key_of_head(centre.as_str(), head)),
            Entry::PeerHead { peer, head } => Some(key_of_head(peer, head)),
            Entry::Revocation { authority, .. } => Some(format!("list {authority}")),
            // Owed however long the commune is away, and no longer than that.
            Entry::ViewingsOwed { grant, part, .. } => Some(format!("viewings {grant} {part}")),
            Entry::ViewingsTaken { grant, .. } => {
                let of_grant = format!("viewings {grant} ");
                self.latest.retain(|key, _| !key.starts_with(&of_grant));
                None
            }
            Entry::PeerContradiction { peer, .. } => Some(format!("contradiction {peer}")),
            Entry::JournalWentBack { peer, .. } => Some(format!("went back {peer}")),
            Entry::Attestation(told) => Some(format!("attested {}", told.centre)),
            Entry::PeerDamaged { peer, .. } => Some(format!("damaged {peer}")),
            Entry::JournalDamaged { .. } => Some("damaged".to_owned()),
            Entry::LogKey { .. } => Some("log key".to_owned()),
            Entry::Cosigned { vkey, .. } => Some(format!("cosigned {vkey}")),
            Entry::Pruned { journal, last, .. } => Some(format!("pruned {journal} {last}")),
            Entry::JournalAccepted { journal, .. } => Some(format!("accepted {journal}")),
            _ => None,
        };
        let item = Item {
            order: self.order,
            seq,
            time,
            entry,
            bytes,
        };
        if self.is_young(time) {
            if let Some(key) = lasting {
                self.latest.remove(&key);
            }
            if let Entry::Ended { grant, .. } = &item.entry {
                self.traces.note_end(*grant);
            }
            self.young_bytes += item.bytes;
            self.young.push_back(item);
            if self.young_bytes > self.clear_above {
                self.let_go(time);
                self.clear_above = KEPT_BYTES.max(2 * self.young_bytes);
            }
        } else if let Some(key) = lasting {
            self.latest.insert(key, item);
        } else if self.traces.wants(time) {
            self.traces.take(item);
        }
    }

    /// Drops what can no longer matter: ended grants, and refusals too old to be replayed.
    fn let_go(&mut self, now: Wall) {
        let horizon = Wall(now.0.saturating_sub(micros(REFUSALS_KEPT)));
        let ended: BTreeSet<GrantId> = self
            .young
            .iter()
            .filter_map(|item| match item.entry {
                Entry::Ended { grant, .. } if item.time < horizon => Some(grant),
                _ => None,
            })
            .collect();
        // A wait that was answered is told by its answer.
        let answered: BTreeSet<RequestId> = self
            .young
            .iter()
            .filter_map(|item| match &item.entry {
                Entry::Grant(entry) => Some(entry.jti),
                Entry::Refused {
                    jti,
                    wait_ended: Some(_),
                    ..
                } => Some(*jti),
                _ => None,
            })
            .collect();
        // What was refused stays refused; a wait that timed out may still be answered.
        let refused: BTreeSet<RequestId> = self
            .young
            .iter()
            .filter_map(|item| match &item.entry {
                Entry::Refused { jti, refusal, .. }
                    if refusal.reason != Reason::ApprovalTimedOut =>
                {
                    Some(*jti)
                }
                _ => None,
            })
            .collect();
        let stays = |item: &Item| {
            match &item.entry {
                Entry::Waiting { jti, .. } => return !answered.contains(jti),
                Entry::Forwarded { jti, .. } => {
                    return !answered.contains(jti) && !refused.contains(jti);
                }
                _ => {}
            }
            let over = grant_of(&item.entry).is_some_and(|grant| ended.contains(&grant));
            let passing = matches!(
                item.entry,
                Entry::Refused { voids: None, .. }
                    | Entry::Unverified { .. }
                    | Entry::Excess { .. }
                    | Entry::Decision { .. }
                    | Entry::Started { .. }
                    | Entry::Stopped {}
                    | Entry::Reloaded { .. }
            );
            !(over || passing && item.time < horizon)
        };
        for item in std::mem::take(&mut self.young) {
            if stays(&item) {
                self.young.push_back(item);
            } else if self.traces.wants(item.time) {
                self.traces.take(item);
            }
        }
        self.young_bytes = self.young.iter().map(|item| item.bytes).sum();
    }

    fn finish(self) -> Vec<(u64, Wall, Entry)> {
        let lasting = self.latest.into_values().chain(self.traces.finish());
        let mut items: Vec<Item> = lasting.chain(self.young).collect();
        items.sort_by_key(|item| item.order);
        items
            .into_iter()
            .map(|item| (item.seq, item.time, item.entry))
            .collect()
    }
}

/// The grant an entry is about.
pub fn grant_of(entry: &Entry) -> Option<GrantId> {
    match entry {
        Entry::Grant(entry) => Some(entry.grant),
        Entry::Confirmed { grant, .. }
        | Entry::Resumed { grant }
        | Entry::Moved { grant, .. }
        | Entry::Ended { grant, .. }
        | Entry::ViewingStarted { grant, .. }
        | Entry::ViewingEnded { grant, .. }
        | Entry::CredentialsChanged { grant, .. }
        | Entry::ViewingsTaken { grant, .. }
        | Entry::Viewings { grant, .. }
        | Entry::Snapshot { grant, .. }
        | Entry::SnapshotRefused { grant, .. } => Some(*grant),
        Entry::Refused { voids, .. } => *voids,
        _ => None,
    }
}

/// One newest head is kept of each journal: a centre may have several receivers.
fn key_of_head(peer: &str, head: &str) -> String {
    let claims = jws::read_unverified::<HeadClaims>(head);
    let journal = claims.map_or_else(|_| String::new(), |claims| claims.journal);
    format!("head {peer} {journal}")
}

/// A span in microseconds.
pub(super) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
