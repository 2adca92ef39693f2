//! Units in fragments (RFC 6184 5.8, RFC 7798 4.4.3) of cameras whose start, end and
//! marker bits are wrong at times: the next packet tells whether a unit is whole.
//! Where it does not tell either, the picture is dropped rather than shown harmed.

use std::time::Instant;

use super::super::super::fix::{Fix, Fixes};
use super::super::heads::{Class, Head, classify};
use super::super::order::Gap;
use super::super::scan::Scan;
use super::{HEAD, MARKED, Open, QUIET, QUIET_SHORT, Units};

/// Bytes that two starts of one unit have in common, at least and as far as is looked.
const ALIKE: std::ops::RangeInclusive<usize> = 4..=32;

/// A slice whose newest fragment had the end bit, as long as nothing else has come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Closed {
    open: Open,
    /// Bytes that the end of the unit took away.
    scan: Scan,
}

/// Fragments of a unit, and those of them with start and end bit.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Flags {
    fragments: u32,
    starts: u32,
    ends: u32,
}

impl Flags {
    const fn all_start(self) -> bool {
        self.fragments > 1 && self.starts == self.fragments
    }

    const fn all_end(self) -> bool {
        self.fragments > 1 && self.ends == self.fragments
    }
}

/// The meaning of a start bit while a unit is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    /// The open unit comes again from its start.
    Again,
    /// The bit is wrong: the open unit goes on.
    GoesOn,
    /// Another unit begins.
    Another,
    /// Nothing tells.
    Doubtful,
}

impl Units {
    /// A fragment with the start bit. `header`: the NAL header of its unit.
    pub(in super::super) fn begin_fragments(&mut self, header: &[u8], body: &[u8]) {
        self.habits.starts = true;
        self.classify();
        if self.begin_lengths(header, body) {
            return;
        }
        let mut is_doubtful = false;
        if let Some(open) = self.open {
            self.fixes.note(Fix::FragmentFlags);
            match self.meaning(open, header, body) {
                Start::Again => self.discard(),
                Start::GoesOn => {
                    self.unmark();
                    self.write(body);
                    return;
                }
                Start::Another => self.leave(),
                Start::Doubtful => {
                    self.cut();
                    is_doubtful = true;
                }
            }
        }
        self.begin(true);
        self.picture.is_damaged |= is_doubtful;
        self.write(header);
        self.write(body);
    }

    /// A fragment without the start bit.
    pub(in super::super) fn go_on(&mut self, header: &[u8], body: &[u8]) {
        match self.open {
            Some(open) if open.is_fragmented => {
                if open.is_marked && open.time != self.time {
                    // It belongs to another picture, and its start was lost.
                    self.close_marked();
                    return;
                }
                if open.time != self.time {
                    self.fixes.note(Fix::PacketTimes);
                }
                self.unmark();
                match self.lengths {
                    Some(_) => self.write_lengths(body),
                    None => self.write(body),
                }
            }
            _ => {
                // Its start was lost, it is no part of anything, an end bit was wrong, or this
                // camera sets no start bits.
                self.fixes.note(Fix::FragmentFlags);
                let is_start = std::mem::take(&mut self.after_end) && !self.habits.starts;
                if is_start && self.may_begin_slice(header, body, true) {
                    self.begin(true);
                    self.write(header);
                    self.write(body);
                    return;
                }
                self.reopen(header, body);
            }
        }
    }

    /// The bits of the newest fragment: those that all fragments have say nothing.
    pub(in super::super) fn note_flags(&mut self, start: bool, end: bool) {
        let Some(open) = &mut self.open else {
            return;
        };
        let flags = &mut open.flags;
        flags.fragments = flags.fragments.saturating_add(1);
        flags.starts += u32::from(start);
        flags.ends += u32::from(end);
        self.habits.all_start = flags.all_start() || self.habits.all_start && start;
        self.habits.all_end = flags.all_end() || self.habits.all_end && end;
    }

    /// The newest fragment had the end bit.
    pub(in super::super) fn end_fragments(&mut self) {
        self.after_end = true;
        self.classify();
        if !self.end_lengths() {
            self.cut();
        }
        let Some(open) = self.open else {
            return;
        };
        let scan = self.scan;
        self.habits.ends = true;
        self.close();
        self.closed = (open.class == Class::Slice).then_some(Closed { open, scan });
    }

    /// A marker came with the newest fragment of the open unit, which has no end bit:
    /// it is the last one, or the marker is wrong.
    pub(super) fn mark_open(&mut self) {
        if self.habits.trusts_markers() && !self.habits.ends {
            self.close_marked();
        } else if let Some(open) = &mut self.open {
            open.is_marked = true;
        }
    }

    /// The marked fragment was the unit's last, without its end bit.
    pub(super) fn close_marked(&mut self) {
        let Some(open) = self.open else {
            return;
        };
        self.fixes.note(Fix::FragmentFlags);
        self.close();
        if self.picture.slices > 0 && self.picture.time == open.time {
            self.picture.is_marked = true;
        }
    }

    /// The open unit goes on: a marker before was wrong.
    fn unmark(&mut self) {
        if let Some(open) = &mut self.open
            && std::mem::take(&mut open.is_marked)
        {
            self.habits.lie = true;
            self.fixes.note(Fix::Markers);
        }
    }

    /// When a marked unit without its end bit counts as whole if nothing comes.
    pub(super) fn open_deadline(&self, open: Open) -> Option<Instant> {
        let wait = match (self.habits.lie, self.habits.ends) {
            // Only another picture tells.
            _ if !open.is_marked => return None,
            (true, true) => return None,
            (false, true) if self.habits.trusts_markers() => MARKED,
            _ if self.habits.usual == 0 => QUIET_SHORT,
            _ => QUIET,
        };
        Some(self.picture.arrived + wait)
    }

    /// Packets are missing behind the open unit's newest fragment.
    pub(super) fn gap_in_open(&mut self, open: Open, gap: Gap) {
        let is_whole = open.is_marked && !self.habits.lie;
        if is_whole && (gap == Gap::Restart || !self.habits.ends) {
            self.close_marked();
        } else {
            self.cut();
        }
    }

    /// Another unit begins while one is open.
    pub(super) fn leave(&mut self) {
        let is_whole = self.end_lengths();
        let Some(open) = self.open else {
            return;
        };
        if !is_whole {
            self.cut();
            return;
        }
        if open.is_marked && (open.time != self.time || !self.habits.ends) {
            self.close_marked();
        } else if self.habits.ends {
            self.cut();
        } else {
            // This camera sets no end bits.
            self.close();
        }
    }

    fn meaning(&self, open: Open, header: &[u8], body: &[u8]) -> Start {
        let unit = self.picture.data.get(open.at + 4..).unwrap_or_default();
        let Some(before) = unit.strip_prefix(header) else {
            return Start::Another;
        };
        if open.class != Class::Slice || open.time != self.time || !open.is_fragmented {
            return Start::Another;
        }
        let alike = before.len().min(body.len()).min(*ALIKE.end());
        if alike >= *ALIKE.start() && before.get(..alike) == body.get(..alike) {
            return Start::Again;
        }
        let is_habit = self.habits.all_start || open.flags.all_start();
        // One fragment alone is no unit (RFC 6184 5.8).
        let is_first = open.flags.fragments == 1 && !self.habits.ends;
        let may_begin = self.may_begin_slice(header, body, open.is_marked);
        match (may_begin, self.habits.ends) {
            (false, _) => Start::GoesOn,
            (true, _) if is_habit || is_first => Start::GoesOn,
            (true, true) => Start::Doubtful,
            (true, false) => Start::Another,
        }
    }

    /// Whether a slice may begin with these bytes, as far as its header tells; the first of
    /// a picture only where one `may_begin` here.
    fn may_begin_slice(&self, header: &[u8], body: &[u8], may_begin: bool) -> bool {
        let head = body.get(..HEAD).unwrap_or(body);
        let unit = [header, head].concat();
        // What is read here may be no header: nothing is noted.
        let read = classify(self.codec, &unit, true, &self.sets, &Fixes::default());
        let (Class::Slice, Some(head)) = read else {
            return false;
        };
        let Some(before) = &self.picture.newest else {
            return true;
        };
        let is_readable = match (&head, before) {
            (Head::Avc(this), Head::Avc(that)) => this.rest.is_some() || that.rest.is_none(),
            _ => head.pps() == before.pps(),
        };
        is_readable && (may_begin && head.first() || head.continues(before))
    }

    /// A fragment right behind an end bit, of the same unit: that bit was wrong.
    fn reopen(&mut self, header: &[u8], body: &[u8]) {
        let Some(Closed { open, scan }) = self.closed.take() else {
            return;
        };
        let unit = self.picture.data.get(open.at + 4..).unwrap_or_default();
        if open.time != self.time || !unit.starts_with(header) {
            return;
        }
        let is_last = self.habits.knows_slices() && self.picture.slices >= self.habits.usual;
        let is_habit = self.habits.all_end || open.flags.all_end();
        if !is_last && !is_habit && self.may_begin_slice(header, body, true) {
            // The next slice without its start bit, as likely.
            self.picture.is_damaged = true;
            return;
        }
        if std::mem::take(&mut self.picture.is_marked) {
            self.habits.lie = true;
            self.fixes.note(Fix::Markers);
        }
        self.open = Some(open);
        self.scan = scan;
        self.write(body);
    }

    /// The newest packet may be cut short: what it was part of is not shown. `true`:
    /// that is another picture than before.
    pub(in super::super) fn doubt_newest(&mut self) -> bool {
        self.closed = None;
        if self.open.is_some() {
            let is_new = !self.picture.is_damaged;
            self.cut();
            return is_new;
        }
        if self.picture.slices > 0 && self.picture.time == self.time {
            return !std::mem::replace(&mut self.picture.is_damaged, true);
        }
        let newest = self.ready.back().map(|picture| picture.time);
        if newest != Some(self.time) {
            return false;
        }
        self.ready.pop_back();
        self.lost = true;
        self.given = None;
        true
    }
}
