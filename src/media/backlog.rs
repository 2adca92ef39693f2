//! What of one relay still waits for the link: newest group first, bounded in
//! bytes and in time. Pure: streams are an opaque `W`, time is passed in.
//!
//! The rules, in order:
//!
//! * the newest group goes first; a group that a newer one follows has a grace
//!   for its tail, then its stream is reset;
//! * a group of which nothing was sent goes as soon as a newer one comes;
//! * pictures that nothing needs are dropped once they wait for 300 ms;
//! * once pictures wait for 900 ms the rest of the group is dropped: what was
//!   sent stays good, and the next key frame takes over;
//! * a key frame that is on its way is let through for up to 3 s, else a link
//!   too narrow for one per group would never show a picture;
//! * while nothing comes back over the link it may be cut: the newest group is kept whole,
//!   so that its pictures go on as soon as the link does, and their time counts from then;
//! * MJPEG: every picture is a group; of those that wait only the newest stays.
//!
//! A picture's age is counted from the moment it is handed in, which is when its
//! last byte arrived: never from its presentation time, and not from `captured`,
//! which would make kept groups late and follow a wall clock that is set.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::turns::Standing;
use super::unit::{AccessUnit, Codec, Group};
use crate::clock::Boot;

/// Bytes of pictures that one relay may have waiting.
pub const BACKLOG_BYTES: usize = 16 * 1024 * 1024;
/// Age from which disposable pictures are dropped.
pub const DROP_AFTER: Duration = Duration::from_millis(300);
/// Age from which the rest of a group is dropped.
pub const JUMP_AFTER: Duration = Duration::from_millis(900);
/// Least time between key frames that rates are told by.
const LEAST_INTERVAL: Duration = Duration::from_millis(500);
/// How long a key frame that has begun is let through.
pub const KEY_PATIENCE: Duration = Duration::from_secs(3);

/// One group on its way.
#[derive(Debug)]
pub struct Entry<W> {
    /// The group.
    pub group: Arc<Group>,
    /// Its stream, once it is open.
    pub writer: Option<W>,
    units: VecDeque<(Arc<AccessUnit>, Boot)>,
    /// The unit that is being written: since when it waits, and what is left of it.
    writing: Option<(Boot, usize)>,
    /// The key frame is out of our hands.
    key_out: bool,
    /// No more pictures come.
    complete: bool,
    /// Pictures were dropped at its end: it must not look complete.
    truncated: bool,
    /// What should stand before it was dropped; its first picture says so.
    after_gap: bool,
    /// When a newer group came.
    superseded: Option<Boot>,
}

impl<W> Entry<W> {
    /// The next picture to write; afterwards [`Entry::written`] is due.
    pub fn take_unit(&mut self) -> Option<Arc<AccessUnit>> {
        let (unit, since) = self.units.pop_front()?;
        self.writing = Some((since, unit.data.len()));
        Some(unit)
    }

    /// So many bytes of the picture last taken are out of our hands.
    pub const fn wrote(&mut self, bytes: usize) {
        if let Some((_, left)) = &mut self.writing {
            *left = left.saturating_sub(bytes);
        }
    }

    /// The picture last taken is out of our hands.
    pub fn written(&mut self) {
        self.writing = None;
        self.key_out = true;
    }

    /// A newer group has come.
    pub const fn is_superseded(&self) -> bool {
        self.superseded.is_some()
    }

    /// Whether something is missing before the picture last taken.
    pub fn take_gap(&mut self) -> bool {
        std::mem::take(&mut self.after_gap)
    }

    /// Since when its oldest picture waits.
    fn waits_since(&self) -> Option<Boot> {
        self.writing
            .map(|(since, _)| since)
            .or_else(|| self.units.front().map(|(_, since)| *since))
    }

    fn bytes(&self) -> usize {
        self.units.iter().map(|(unit, _)| unit.data.len()).sum()
    }

    /// Something can be dropped: what is being written after the key frame is not.
    fn has_rest(&self) -> bool {
        !self.key_out || !self.units.is_empty()
    }

    /// Its key frame was taken, and more of its pictures would be.
    fn can_give_way(&self) -> bool {
        let has_key = self.key_out || self.writing.is_some() || !self.units.is_empty();
        has_key && !self.complete && !self.truncated
    }

    /// When it is given up, if a newer group has come. Nothing is awaited of a link that
    /// is away.
    fn given_up_at(&self, grace: Duration, is_away: bool) -> Option<Boot> {
        let end = self.superseded?.plus(grace);
        match self.waits_since() {
            Some(since) if self.key_under_way() && !is_away => {
                Some(end.max(since.plus(KEY_PATIENCE)))
            }
            _ => Some(end),
        }
    }

    /// Its key frame has begun and is not through.
    fn key_under_way(&self) -> bool {
        self.writer.is_some() && !self.key_out
    }
}

/// What to do next for the entry at this index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Open a stream for it.
    Open(usize),
    /// Go on writing.
    Write(usize),
    /// All is written: finish the stream and take the entry out.
    Finish(usize),
}

/// What became late.
#[derive(Debug)]
pub struct Expired<W> {
    /// Streams to reset: their groups are given up.
    pub reset: Vec<W>,
    /// Groups given up of which nothing was sent.
    pub unsent: u32,
    /// Groups that lost their end; what of them was sent stays good.
    pub short: u32,
    /// The newest group lost its end: the picture is frozen until the next key frame.
    pub late: bool,
    /// Pictures dropped.
    pub dropped: u32,
}

/// The groups of one relay that are on their way, oldest first.
#[derive(Debug)]
pub struct Backlog<W> {
    entries: VecDeque<Entry<W>>,
    bytes: usize,
    /// Groups dropped because a newer one came before anything of them was sent.
    replaced: u32,
    /// When the newest group began, how long after the one before, and the bytes of
    /// its key frame.
    began: Option<Boot>,
    interval: Option<Duration>,
    key_bytes: usize,
    /// Bytes of its other pictures so far, those that were not taken too.
    rest_bytes: usize,
    /// Bytes per second of key frames and of the rest, as of the last whole group.
    rates: (usize, usize),
    /// The newest group ends short.
    has_gap: bool,
    /// The link may be cut.
    is_away: bool,
}

impl<W> Default for Backlog<W> {
    fn default() -> Self {
        Self::new()
    }
}

impl<W> Backlog<W> {
    /// Nothing waits.
    pub const fn new() -> Self {
        Self {
            entries: VecDeque::new(),
            bytes: 0,
            replaced: 0,
            began: None,
            interval: None,
            key_bytes: 0,
            rest_bytes: 0,
            rates: (0, 0),
            has_gap: false,
            is_away: false,
        }
    }

    /// A group begins; those before it are superseded. `lower` is called for
    /// each of their streams.
    pub fn start(&mut self, group: Arc<Group>, now: Boot, mut lower: impl FnMut(&mut W)) {
        let is_missed = |entry: &Entry<W>| {
            entry.writer.is_none() && (entry.after_gap || !entry.units.is_empty())
        };
        let after_gap = std::mem::take(&mut self.has_gap) || self.entries.iter().any(is_missed);
        self.interval = self.began.map(|began| now.since(began));
        self.began = Some(now);
        if let Some(interval) = self.interval {
            // Two key frames close together say nothing of what comes in a second.
            let interval = interval.max(LEAST_INTERVAL);
            self.rates = (
                per_second(self.key_bytes, interval),
                per_second(self.rest_bytes, interval),
            );
        }
        self.rest_bytes = 0;
        // Nothing of these was sent, and the new key frame replaces them.
        let unsent: usize = self.count(|entry| entry.writer.is_none(), Entry::bytes);
        self.bytes -= unsent;
        let replaced = self.count(
            |entry| entry.writer.is_none() && !entry.units.is_empty(),
            |_| 1,
        );
        self.replaced += replaced as u32;
        self.entries.retain(|entry| entry.writer.is_some());
        for entry in &mut self.entries {
            entry.complete = true;
            entry.superseded.get_or_insert(now);
            if let (Some(writer), false) = (&mut entry.writer, !entry.key_out) {
                lower(writer);
            }
        }
        self.entries.push_back(Entry {
            group,
            writer: None,
            units: VecDeque::new(),
            writing: None,
            key_out: false,
            complete: false,
            truncated: false,
            after_gap,
            superseded: None,
        });
    }

    fn count(&self, which: impl Fn(&Entry<W>) -> bool, what: impl Fn(&Entry<W>) -> usize) -> usize {
        self.entries
            .iter()
            .filter(|entry| which(entry))
            .map(what)
            .sum()
    }

    /// The next picture of the newest group. Pictures without a group, and of a
    /// group whose end was dropped, are of no use.
    pub fn push(&mut self, unit: Arc<AccessUnit>, now: Boot) -> bool {
        if unit.flags.key {
            self.key_bytes = unit.data.len();
        } else {
            self.rest_bytes += unit.data.len();
        }
        let Some(entry) = self.entries.back_mut() else {
            return false;
        };
        if entry.truncated || entry.complete {
            return false;
        }
        if entry.group.configuration.codec == Codec::Jpeg {
            entry.complete = true;
        }
        self.bytes += unit.data.len();
        entry.units.push_back((unit, now));
        true
    }

    /// Its state, for the link's turns.
    pub fn standing(&self) -> Standing {
        let live = || self.entries.iter().filter(|entry| !entry.truncated);
        let writing: usize = live()
            .filter_map(|entry| entry.writing)
            .map(|(_, bytes)| bytes)
            .sum();
        Standing {
            since: live().filter_map(Entry::waits_since).min(),
            bytes: self.bytes + writing,
            can_give_way: self.entries.back().is_some_and(Entry::can_give_way),
            next_key: self
                .began
                .zip(self.interval)
                .map(|(began, interval)| began.plus(interval)),
            key_bytes: self.key_bytes,
            rates: self.rates,
        }
    }

    /// Gives up the rest of the newest group: no more of its pictures are taken. What
    /// waits is sent.
    /// Says no where there is nothing to give up.
    pub fn give_way(&mut self) -> bool {
        match self.entries.back_mut().filter(|entry| entry.can_give_way()) {
            Some(entry) => {
                entry.complete = true;
                self.has_gap = true;
                true
            }
            None => false,
        }
    }

    /// The link may be cut, or is heard again: then pictures of the newest group wait since
    /// this moment, for the link was not too narrow for them.
    pub fn set_away(&mut self, is_away: bool, now: Boot) {
        let was_away = std::mem::replace(&mut self.is_away, is_away);
        if !was_away || is_away {
            return;
        }
        if let Some(entry) = self.entries.back_mut() {
            let units = entry.units.iter_mut().map(|(_, since)| since);
            let writing = entry.writing.iter_mut().map(|(since, _)| since);
            for since in units.chain(writing) {
                *since = now;
            }
        }
    }

    /// The newest group is cut short: the picture is frozen until the next.
    pub const fn ends_short(&self) -> bool {
        self.has_gap
    }

    /// What to do next, newest group first; the first `blocked` steps, which
    /// can't go on now, are left out.
    pub fn nth(&self, blocked: usize) -> Option<Step> {
        let patient = self.entries.iter().rev().skip(1).any(Entry::key_under_way);
        self.entries
            .iter()
            .enumerate()
            .rev()
            .filter_map(|(at, entry)| {
                let is_last = at + 1 == self.entries.len();
                match (&entry.writer, entry.waits_since()) {
                    (None, Some(_)) if !(patient && is_last) => Some(Step::Open(at)),
                    (Some(_), Some(_)) if !entry.truncated => Some(Step::Write(at)),
                    (Some(_), None) if entry.complete && !entry.truncated => Some(Step::Finish(at)),
                    _ => None,
                }
            })
            .nth(blocked)
    }

    /// An entry.
    pub fn entry(&mut self, at: usize) -> Option<&mut Entry<W>> {
        self.entries.get_mut(at)
    }

    /// The stream of the newest group, if it is open.
    pub fn newest_writer(&mut self) -> Option<&mut W> {
        self.entries.back_mut()?.writer.as_mut()
    }

    /// Takes the next unit of an entry to be written.
    pub fn take_unit(&mut self, at: usize) -> Option<Arc<AccessUnit>> {
        let unit = self.entries.get_mut(at)?.take_unit()?;
        self.bytes -= unit.data.len();
        Some(unit)
    }

    /// Takes out an entry whose stream is finished or broken.
    pub fn remove(&mut self, at: usize) -> Option<Entry<W>> {
        let entry = self.entries.remove(at)?;
        self.bytes -= entry.bytes();
        Some(entry)
    }

    /// The stream of an entry is of no use any more (the peer stopped it): its
    /// pictures are dropped until the next group.
    pub fn refuse(&mut self, at: usize) -> Option<W> {
        self.has_gap |= at + 1 == self.entries.len();
        let entry = self.entries.get_mut(at)?;
        self.bytes -= entry.bytes();
        entry.units.clear();
        entry.writing = None;
        entry.truncated = true;
        entry.writer.take()
    }

    /// Drops what is late.
    pub fn expire(&mut self, now: Boot, grace: Duration) -> Expired<W> {
        let mut expired = Expired {
            reset: Vec::new(),
            unsent: std::mem::take(&mut self.replaced),
            short: 0,
            late: false,
            dropped: 0,
        };
        let mut at = 0;
        while let Some(entry) = self.entries.get(at) {
            if entry
                .given_up_at(grace, self.is_away)
                .is_none_or(|end| now < end)
            {
                at += 1;
                continue;
            }
            if let Some(entry) = self.remove(at) {
                expired.reset.extend(entry.writer);
            }
        }
        self.expire_newest(now, &mut expired);
        expired
    }

    fn expire_newest(&mut self, now: Boot, expired: &mut Expired<W>) {
        let is_over = self.bytes > BACKLOG_BYTES;
        let Some(entry) = self.entries.back_mut() else {
            return;
        };
        let age = |entry: &Entry<W>| {
            entry
                .waits_since()
                .map_or(Duration::ZERO, |since| now.since(since))
        };
        let before = entry.bytes();
        if age(entry) >= DROP_AFTER {
            // The key frame is never disposable, so an unsent group keeps its head.
            let units = entry.units.len();
            entry
                .units
                .retain(|(unit, since)| !unit.flags.disposable || now.since(*since) < DROP_AFTER);
            expired.dropped += (units - entry.units.len()) as u32;
        }
        let limit = if entry.key_out {
            JUMP_AFTER
        } else {
            KEY_PATIENCE
        };
        let is_late = (age(entry) >= limit && !self.is_away) || is_over;
        if is_late && entry.has_rest() && !entry.truncated {
            expired.dropped += entry.units.len() as u32;
            expired.late = true;
            entry.units.clear();
            self.has_gap = true;
            if entry.key_out {
                // What was begun is sent to its end, and the stream finished.
                entry.complete = true;
                expired.short += 1;
            } else {
                entry.truncated = true;
                // Not even its key frame is through: there is nothing to keep.
                entry.writing = None;
                match entry.writer.take() {
                    Some(writer) => expired.reset.push(writer),
                    None => expired.unsent += 1,
                }
            }
        }
        self.bytes -= before - self.entries.back().map_or(0, Entry::bytes);
    }

    /// When [`Backlog::expire`] should be called next.
    pub fn deadline(&self, grace: Duration) -> Option<Boot> {
        let mut deadline: Option<Boot> = None;
        let mut consider = |at: Boot| {
            deadline = Some(deadline.map_or(at, |known| known.min(at)));
        };
        for entry in &self.entries {
            if let Some(end) = entry.given_up_at(grace, self.is_away) {
                consider(end);
            }
        }
        if let Some(entry) = self.entries.back().filter(|entry| !entry.truncated) {
            let may_be_late = entry.has_rest() && !self.is_away;
            if let Some(since) = entry.waits_since().filter(|_| may_be_late) {
                let limit = if entry.key_out {
                    JUMP_AFTER
                } else {
                    KEY_PATIENCE
                };
                consider(since.plus(limit));
            }
            let disposable = entry.units.iter().find(|(unit, _)| unit.flags.disposable);
            if let Some((_, since)) = disposable {
                consider(since.plus(DROP_AFTER));
            }
        }
        deadline
    }

    /// Takes everything out, for a reset of all.
    pub fn drain(&mut self) -> Vec<W> {
        self.bytes = 0;
        self.entries
            .drain(..)
            .filter_map(|entry| entry.writer)
            .collect()
    }

    /// Bytes of pictures that wait.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }
}

fn per_second(bytes: usize, time: Duration) -> usize {
    let micros = time.as_micros().max(1);
    usize::try_from(bytes as u128 * 1_000_000 / micros).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
