//! A journal keeps whole months until they are as old as the settings say, and proves what it
//! removed (interfaces.md 10, "Retention").
//!
//! # Order
//! 1. [`Scan`] reads and verifies the whole journal, beside the writer's thread.
//! 2. [`plan`] decides: pure.
//! 3. [`super::log::Log::prune`] writes what is still in force of the month again, then the
//!    *anchor*: an entry `pruned` for each journal that has lines in that month, with the
//!    number, link and signed head of its last line there, and the roots of the Merkle tree up to
//!    it. Only when these are durable the file goes. A crash between leaves a month that an
//!    anchor names: the next run removes it, and no second anchor is written.
//!
//! # What is accepted
//! A journal that begins with a line other than the first verifies if and only if an anchor in
//! it names the line before: by number, by link and by a head that the anchor's signer signed.
//! The oldest month that is left always has its anchor in a newer one, for months go in order.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::entry::Entry;
use super::reader::{self, Content, Lines};
use super::recover::micros;
pub use super::recover::scan::Scan;
use super::store::{Month, Store};
use super::writer::Writer;
use crate::clock::{Clock, Now, Wall};
use crate::format::chain::{End, Line};
use crate::format::ids::Sha256;
use crate::format::jws;
use crate::format::keep::Keep;
use crate::format::merkle::Frontier;
use crate::format::note::{self, Checkpoint, Note};
use crate::format::statement::{HEAD_TYPE, HeadClaims};

/// How long a month whose time is over waits for a witness that is away: within what [`Keep`] leaves
/// before an entry is too old.
const COSIGNED_WITHIN: Duration = Duration::from_secs(24 * 3_600);
/// A month goes at most this often: a day, less what a daily look may come early.
const PAUSE: Duration = Duration::from_secs(23 * 3_600);

/// What names the lines before those that are left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// The journal's id: its first line, which says it, is gone.
    pub journal: String,
    /// The last line that is gone.
    pub end: End,
    /// The tree over all lines that are gone.
    pub tree: Frontier,
    /// Who signed the head of that line.
    pub iss: String,
    /// That head, and when it was signed.
    pub head: (String, Wall),
}

impl Anchor {
    /// From an entry; none where it is no anchor, or its head does not say the same.
    fn of(entry: &Entry) -> Option<Self> {
        let Entry::Pruned {
            journal,
            last,
            link,
            tree,
            head,
            checkpoint,
            ..
        } = entry
        else {
            return None;
        };
        let tree = Frontier::resume(*last, tree.clone())?;
        let signed = jws::open::<HeadClaims>(head, HEAD_TYPE).ok()?.claims;
        let same = signed.journal == *journal && (signed.seq, signed.link) == (*last, *link);
        same.then_some(())?;
        if let Some(checkpoint) = checkpoint {
            let told = Note::parse(checkpoint).ok()?.text;
            let told = Checkpoint::parse(told)?;
            // One of more lines is held against those that are left, as any other.
            let fits = told.size > *last || told.size == *last && told.root == tree.root();
            (fits && told.origin == note::origin(&signed.iss, journal)).then_some(())?;
        }
        Some(Self {
            journal: journal.clone(),
            end: End {
                seq: *last,
                link: *link,
            },
            tree,
            iss: signed.iss,
            head: (head.clone(), Wall::from_seconds(signed.iat)),
        })
    }
}

/// The anchor of the lines that are missing before the first one. Where none names exactly the
/// line before it, the one that comes closest: then the lines between were removed by another
/// hand. None where the journal begins with its first line, or no anchor is valid.
///
/// # Errors
/// A file can't be read.
pub fn anchor(store: &mut dyn Store, months: &[Month]) -> io::Result<Option<Anchor>> {
    let Some((seq, prev)) = first_line(store, months)? else {
        return Ok(None);
    };
    if seq <= 1 {
        return Ok(None);
    }
    let before = End {
        seq: seq - 1,
        link: prev,
    };
    let mut best: Option<Anchor> = None;
    // The newest months first: an anchor is as young as its pruning.
    for month in months.iter().rev() {
        let mut lines = Lines::new(store.read(*month)?);
        while let Some((_, content)) = lines.next_line()? {
            let Some(found) = pruned(content).as_ref().and_then(Anchor::of) else {
                continue;
            };
            let is_closer = |best: &Anchor| {
                best.end.seq < found.end.seq || best.end.link != prev && found.end == before
            };
            if found.end.seq < seq && best.as_ref().is_none_or(is_closer) {
                best = Some(found);
            }
        }
        if best.as_ref().is_some_and(|best| best.end == before) {
            break;
        }
    }
    Ok(best)
}

/// Number and `prev` of the first line that can be read.
fn first_line(store: &mut dyn Store, months: &[Month]) -> io::Result<Option<(u64, Sha256)>> {
    for month in months {
        let mut lines = Lines::new(store.read(*month)?);
        while let Some((_, content)) = lines.next_line()? {
            if let Content::Line(bytes) = content
                && let Ok(line) = Line::parse(bytes)
            {
                return Ok(Some((line.header.seq, line.header.prev)));
            }
        }
    }
    Ok(None)
}

/// The entry `pruned` of a line that is one, without reading all others.
fn pruned(content: Content<'_>) -> Option<Entry> {
    const KIND: &[u8] = br#""kind":"pruned""#;
    let Content::Line(bytes) = content else {
        return None;
    };
    // A header has some 230 bytes, version, salt and id some 120.
    let start = &bytes[..bytes.len().min(500)];
    start
        .windows(KIND.len())
        .any(|part| part == KIND)
        .then_some(())?;
    let line = Line::parse(bytes).ok().filter(Line::digest_matches)?;
    reader::entry(line.body?).ok()?
}

/// A month's lines, as far as pruning goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The month.
    pub month: Month,
    /// How many lines its file has.
    pub lines: u64,
    /// The time of its earliest line, of those whose time lies in the month.
    pub first_time: Option<Wall>,
    /// The journals that have lines in it, the oldest first.
    pub segments: Vec<Segment>,
    /// Entries up to this one, in the order they were read, are in this month or before.
    pub order: u64,
}

impl Extent {
    /// One line more, with its time where that can be read. A time of another month comes of
    /// damage or of a clock that was set back: how old the line is, the others tell.
    pub(super) fn add(&mut self, time: Option<Wall>) {
        self.lines += 1;
        let time = time.filter(|time| Month::of(*time) == self.month);
        self.first_time = self.first_time.into_iter().chain(time).min();
    }
}

/// A journal's lines in a month.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The journal's id.
    pub journal: String,
    /// Its first line there.
    pub first: u64,
    /// Its last line there.
    pub end: End,
    /// The tree over all its lines up to that one.
    pub tree: Frontier,
}

/// An entry of the month that is to go.
#[derive(Clone, Debug, PartialEq)]
pub enum Standing {
    /// It is in force by its kind and says nothing of a person: it is written again.
    Carried(Box<Entry>),
    /// Something that lives needs it: the month stays.
    Needed(String),
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Plan {
    /// Every month is young enough.
    Nothing,
    /// A month went within the last day.
    Wait,
    /// The month should go, and stays: why.
    Held(Month, String),
    /// The month goes: what is written before, and the journals that lose lines.
    Remove {
        /// Which.
        month: Month,
        /// What is written again.
        carried: Vec<Entry>,
        /// What the anchors name; none where a crash left a month that is named already.
        segments: Vec<Segment>,
    },
}

/// What is known of a journal when a month may go.
#[derive(Debug)]
pub struct Known<'a> {
    /// All months, the oldest first.
    pub extents: &'a [Extent],
    /// What of the oldest one is in force.
    pub standing: Vec<Standing>,
    /// All anchors.
    pub anchors: Vec<Named>,
    /// How many lines of each journal a witness has cosigned.
    pub cosigned: BTreeMap<String, u64>,
    /// What stands for the oldest one where none of its lines verifies: no line, behind the last
    /// one before it that does.
    pub nothing: Option<Segment>,
    /// Where the journal does not verify, and no new one has begun behind it.
    pub damage: Option<String>,
}

/// What an anchor names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// When it was written.
    pub time: Wall,
    /// The months that went.
    pub months: Vec<String>,
    /// The journal.
    pub journal: String,
    /// Its last line that went.
    pub end: End,
}

/// By what is pruned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// How old an entry may become.
    pub keep: Keep,
    /// Also where a month went today.
    pub at_once: bool,
    /// The journal has witnesses: a month goes once one of them has cosigned its lines.
    pub witnessed: bool,
}

/// Decides.
pub fn plan(known: Known<'_>, rule: Rule, now: Wall) -> Plan {
    // The newest month is written on.
    let [oldest, _, ..] = known.extents else {
        return Plan::Nothing;
    };
    let month = oldest.month;
    let is_over = |time| rule.keep.is_over(time, now);
    // Where no line tells its time, the month does.
    let first_time = oldest.first_time;
    let first_time = first_time.or_else(|| (oldest.lines > 0).then(|| month.start()));
    if !first_time.is_none_or(is_over) {
        return Plan::Nothing;
    }
    if let Some(damage) = known.damage {
        return Plan::Held(month, format!("the journal does not verify: {damage}"));
    }
    let segments: Vec<Segment> = match &oldest.segments[..] {
        [] => known.nothing.into_iter().collect(),
        verified => verified.to_vec(),
    };
    let last = segments.last();
    let names = |named: &Named| {
        let is_last = |last: &Segment| last.journal == named.journal && last.end == named.end;
        named.months.contains(&month.to_string()) && last.is_some_and(is_last)
    };
    let is_named = known.anchors.iter().any(names);
    if is_named || oldest.lines == 0 {
        return Plan::Remove {
            month,
            carried: Vec::new(),
            segments: Vec::new(),
        };
    }
    if last.is_none() {
        return Plan::Held(month, "none of its lines verifies".to_owned());
    }
    let is_recent = |named: &Named| now.since(named.time) < PAUSE;
    if !rule.at_once && known.anchors.iter().any(is_recent) {
        return Plan::Wait;
    }
    let is_cosigned = |segment: &Segment| {
        let cosigned = known.cosigned.get(&segment.journal);
        cosigned.is_some_and(|lines| *lines >= segment.end.seq)
    };
    let awaited = Wall(now.0.saturating_sub(micros(COSIGNED_WITHIN)));
    let waits = |time| !rule.keep.is_over(time, awaited);
    if rule.witnessed && first_time.is_some_and(waits) && !last.is_some_and(is_cosigned) {
        let why = "no witness has cosigned its lines yet; see the check witnesses of /ready";
        return Plan::Held(month, why.to_owned());
    }
    let mut carried = Vec::new();
    for standing in known.standing {
        match standing {
            Standing::Carried(entry) => carried.push(*entry),
            Standing::Needed(why) => return Plan::Held(month, why),
        }
    }
    Plan::Remove {
        month,
        carried,
        segments,
    }
}

/// What pruning came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every month is young enough.
    Nothing,
    /// A month went within the last day.
    Wait,
    /// A month should go, and stays.
    Held {
        /// Which.
        month: Month,
        /// Why.
        why: String,
    },
    /// A month went.
    Removed {
        /// Which.
        month: Month,
        /// How many lines it had.
        lines: u64,
    },
}

/// How often the daily task looks whether a month is over.
const LOOK_EVERY: Duration = Duration::from_secs(3_600);
/// After a look that left more to do: later, for it reads the whole journal.
const LOOK_AGAIN: Duration = Duration::from_secs(6 * 3_600);
/// What the wall clock may gain or lose against the boot clock between two looks: one that was
/// set meanwhile is believed only at the next look.
const CLOCK_DRIFT: Duration = Duration::from_secs(60);

/// Prunes the journal for as long as the daemon runs: looks every hour, removes at most one month
/// a day, and only by a clock that `is_plausible` believes beside the journal's newest time and
/// that nobody has set since the last look.
pub async fn daily(
    writer: Writer,
    clock: Clock,
    is_plausible: fn(Option<Wall>, Now) -> bool,
    token: CancellationToken,
) {
    let mut pause = LOOK_EVERY;
    loop {
        let before = clock.now();
        tokio::select! {
            () = token.cancelled() => return,
            () = clock.sleep_until(before.boot.plus(pause)) => {}
        }
        let now = clock.now();
        pause = LOOK_EVERY;
        if !is_steady(before, now) {
            tracing::warn!("journal: the clock was set; no month is removed before the next look");
            continue;
        }
        let judge = move |newest| is_plausible(newest, now);
        match writer.prune(clock.clone(), judge).await {
            Ok(Outcome::Nothing) => {}
            // The writer told it.
            Ok(Outcome::Wait | Outcome::Removed { .. }) => pause = LOOK_AGAIN,
            Ok(Outcome::Held { month, why }) => {
                tracing::warn!(%month, why, "journal: a month whose time is over can't be removed yet");
                pause = LOOK_AGAIN;
            }
            Err(error) => {
                tracing::error!(%error, "a month of the journal could not be removed; it is tried again");
            }
        }
    }
}

/// Whether both clocks moved on alike.
fn is_steady(before: Now, now: Now) -> bool {
    let boot = now.boot.since(before.boot);
    let expected = before.wall.plus(boot);
    now.wall.since(expected).max(expected.since(now.wall)) <= CLOCK_DRIFT
}

#[cfg(test)]
mod tests;
