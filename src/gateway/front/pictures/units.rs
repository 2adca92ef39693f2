//! Pictures out of NAL units: borders by slices, markers only as far as they prove
//! truthful, key pictures by what their slices are.
//!
//! A unit is written into the picture's buffer as it comes, and is looked at as soon as
//! its head is there: the first slice of another picture cuts the buffer.

mod fragments;
mod keys;
mod lengths;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

use self::fragments::{Closed, Flags};
use self::keys::{Keys, Look};
use self::lengths::Lengths;
use super::super::fix::{Fix, Fixes};
use super::Picture;
use super::habits::Habits;
use super::heads::{Class, Head, classify};
use super::order::Gap;
use super::scan::{Scan, Sink};
use super::sets::{SET_LIMIT, Sets};
use crate::media::nal::push_length_prefixed;
use crate::media::slice::recovery_point;
use crate::media::unit::{Codec, UNIT_LIMIT};
use crate::media::{h264, h265};

/// Bytes of a unit that tell what it is: more than a slice header needs.
const HEAD: usize = 64;
/// How long a picture whose marker came is held until markers are known to be truthful.
const MARKED: Duration = Duration::from_millis(20);
/// After so long without a packet a picture counts as whole, though nothing said so.
const QUIET: Duration = Duration::from_millis(100);
/// The same where it has fewer slices than the picture before, or there was none, or it
/// lacks a trusted marker: the rest is only late.
const QUIET_SHORT: Duration = Duration::from_millis(500);
/// Most bytes that are reserved before they come.
const HINT_LIMIT: usize = 256 * 1024;
/// Pictures that wait to be taken.
const READY: usize = 64;
/// Parameter sets that wait for the picture before them to end.
const WAITING_SETS: usize = 64;

/// The unit that is being written.
#[derive(Clone, Copy, Debug)]
struct Open {
    /// Where its length is in the buffer.
    at: usize,
    class: Class,
    time: u32,
    is_fragmented: bool,
    /// Its newest fragment has the marker, but not the end bit.
    is_marked: bool,
    flags: Flags,
}

/// The picture that is being put together.
#[derive(Debug)]
struct Building {
    data: Vec<u8>,
    time: u32,
    /// When the newest of it came.
    arrived: Instant,
    slices: u32,
    /// Of the first and of the newest slice.
    first: Option<Head>,
    newest: Option<Head>,
    has_both_fields: bool,
    refreshes: bool,
    intra: bool,
    recovery: Option<i64>,
    is_damaged: bool,
    /// Packets were lost behind its newest slice: they may have been its own.
    is_doubtful: bool,
    is_marked: bool,
    /// Units that came after its newest slice and may belong to the next picture.
    tail: Option<Tail>,
    tail_sets: Vec<Bytes>,
}

#[derive(Clone, Copy, Debug)]
struct Tail {
    at: usize,
    time: u32,
    recovery: Option<i64>,
}

impl Building {
    fn new(data: Vec<u8>, now: Instant) -> Self {
        Self {
            data,
            time: 0,
            arrived: now,
            slices: 0,
            first: None,
            newest: None,
            has_both_fields: false,
            refreshes: true,
            intra: true,
            recovery: None,
            is_damaged: false,
            is_doubtful: false,
            is_marked: false,
            tail: None,
            tail_sets: Vec::new(),
        }
    }
}

/// Makes pictures of NAL units.
#[derive(Debug)]
pub(super) struct Units {
    pub(super) codec: Codec,
    pub(super) fixes: Fixes,
    sets: Sets,
    scan: Scan,
    open: Option<Open>,
    closed: Option<Closed>,
    lengths: Option<Lengths>,
    knows_lengths: bool,
    picture: Building,
    habits: Habits,
    /// Something was lost since the picture given out last.
    lost: bool,
    keys: Keys,
    /// The packet before ended its unit, and nothing was lost since: a fragment is a first one.
    after_end: bool,
    /// Of the picture given out last, if nothing was lost since.
    given: Option<(Head, u32)>,
    /// Room to reserve for a picture: as much as the newest between key pictures took.
    hint: usize,
    ready: VecDeque<Picture>,
    /// Pictures above the limit since the last that was not.
    pub(super) too_large: u8,
    /// Time and arrival of the packet that is being read.
    pub(super) time: u32,
    pub(super) now: Instant,
    /// Units begun in it.
    units: u32,
}

impl Units {
    pub(super) fn new(
        codec: Codec,
        sets: Sets,
        habits: Habits,
        fixes: Fixes,
        now: Instant,
    ) -> Self {
        Self {
            codec,
            fixes,
            sets,
            scan: Scan::default(),
            open: None,
            closed: None,
            lengths: None,
            knows_lengths: false,
            picture: Building::new(Vec::new(), now),
            habits: habits.lasting(),
            lost: false,
            keys: Keys::default(),
            after_end: false,
            given: None,
            hint: 0,
            ready: VecDeque::new(),
            too_large: 0,
            time: 0,
            now,
            units: 0,
        }
    }

    /// A packet is being read.
    pub(super) fn begin_packet(&mut self, time: u32, now: Instant) {
        (self.time, self.now, self.units) = (time, now, 0);
    }

    /// A whole unit.
    pub(super) fn unit(&mut self, bytes: &[u8]) {
        self.leave();
        self.begin(false);
        self.write(bytes);
        self.close();
        self.after_end = true;
    }

    /// A whole unit whose header is apart from the rest.
    pub(super) fn unit_of(&mut self, header: &[u8], rest: &[u8]) {
        self.leave();
        self.begin(false);
        self.write(header);
        self.write(rest);
        self.close();
        self.after_end = true;
    }

    /// Something of the picture came broken.
    pub(super) fn harm(&mut self) {
        if self.picture.slices > 0 && self.picture.time == self.time {
            self.picture.is_damaged = true;
        }
    }

    /// Units between start codes.
    pub(super) fn stream(&mut self, bytes: &[u8]) {
        self.leave();
        self.write(bytes);
        self.close();
    }

    /// The packet had the marker bit.
    pub(super) fn mark(&mut self) {
        if self.open.is_some_and(|open| open.time == self.time) {
            self.mark_open();
            if self.open.is_some() {
                return;
            }
        }
        if self.picture.slices == 0 {
            if self.units > 0 {
                self.fixes.note(Fix::Markers);
            }
            return;
        }
        if self.picture.time != self.time {
            return;
        }
        self.picture.is_marked = true;
        let slices = self.picture.slices;
        let all = self.habits.knows_slices() && slices == self.habits.usual;
        if self.habits.trusts_markers() || all {
            self.finish_whole();
        }
    }

    /// Packets are missing before the one that comes now, or the numbers begin again.
    pub(super) fn gap(&mut self, gap: Gap) {
        (self.closed, self.after_end) = (None, false);
        if let Some(open) = self.open {
            self.gap_in_open(open, gap);
        }
        if self.picture.slices > 0 && !self.picture.is_damaged {
            let complete = self.picture.slices >= self.habits.usual;
            if self.picture.is_marked && (!self.habits.lie || complete) {
                self.finish_whole();
            } else if gap == Gap::Lost {
                self.picture.is_doubtful = true;
            }
        }
        if gap == Gap::Lost {
            self.lost = true;
        }
        self.given = None;
    }

    /// When the picture counts as whole if nothing comes.
    pub(super) fn deadline(&self) -> Option<Instant> {
        if let Some(open) = self.open {
            return self.open_deadline(open);
        }
        if self.picture.slices == 0 {
            return None;
        }
        let wait = if self.picture.is_marked && !self.habits.lie {
            MARKED
        } else if self.picture.slices < self.habits.usual
            || self.habits.usual == 0
            || self.habits.trusts_markers()
        {
            QUIET_SHORT
        } else {
            QUIET
        };
        Some(self.picture.arrived + wait)
    }

    /// Ends the picture if nothing has come for long enough.
    pub(super) fn expire(&mut self, now: Instant) {
        if self.deadline().is_some_and(|at| at <= now) {
            self.close_marked();
            if self.picture.slices > 0 {
                self.finish_whole();
            }
        }
    }

    pub(super) const fn habits(&self) -> Habits {
        self.habits
    }

    pub(super) fn pop(&mut self) -> Option<Picture> {
        self.ready.pop_front()
    }

    fn begin(&mut self, is_fragmented: bool) {
        self.units += 1;
        self.closed = None;
        self.open = Some(Open {
            at: self.picture.data.len(),
            class: Class::Unknown,
            time: self.time,
            is_fragmented,
            is_marked: false,
            flags: Flags::default(),
        });
        self.picture.data.extend_from_slice(&[0; 4]);
    }

    fn write(&mut self, bytes: &[u8]) {
        let mut scan = self.scan;
        scan.push(self.codec, bytes, self);
        self.scan = scan;
    }

    /// The open unit is not whole.
    fn cut(&mut self) {
        let is_wanted = self.open.is_some_and(|open| open.class != Class::Drop);
        self.discard();
        if is_wanted && self.picture.slices > 0 {
            self.picture.is_damaged = true;
        } else if is_wanted {
            self.lost = true;
        }
    }

    /// Takes the open unit back.
    fn discard(&mut self) {
        self.scan.end();
        let Some(open) = self.open.take() else {
            return;
        };
        self.picture.data.truncate(open.at);
        if open.class == Class::Slice {
            self.picture.slices -= 1;
            if self.picture.slices == 0 {
                let data = std::mem::take(&mut self.picture.data);
                let recovery = self.picture.recovery;
                self.picture = Building::new(data, self.now);
                self.picture.recovery = recovery;
            }
        }
    }

    /// The open unit is whole.
    fn close(&mut self) {
        self.scan.end();
        self.close_unit();
    }

    fn close_unit(&mut self) {
        self.classify();
        let Some(open) = self.open.take() else {
            return;
        };
        let data = &mut self.picture.data;
        let unit = data.get(open.at + 4..).unwrap_or_default();
        match open.class {
            Class::Slice | Class::Part => put_length(data, open.at),
            Class::Message => {
                let header = if self.codec == Codec::H264 { 1 } else { 2 };
                let is_signed = self.codec != Codec::H264;
                let recovery = unit
                    .get(header..)
                    .and_then(|sei| recovery_point(sei, is_signed));
                put_length(data, open.at);
                let tail = self.picture.tail.as_mut().map(|tail| &mut tail.recovery);
                let place = tail.unwrap_or(&mut self.picture.recovery);
                *place = recovery.or(*place);
            }
            Class::Set if unit.len() > SET_LIMIT => {
                data.truncate(open.at);
                self.fixes.note(Fix::UnknownPayload);
            }
            Class::Set => {
                let set = Bytes::copy_from_slice(unit);
                data.truncate(open.at);
                if self.picture.slices == 0 {
                    self.take_set(&set);
                } else if self.picture.tail_sets.len() < WAITING_SETS {
                    self.picture.tail_sets.push(set);
                }
            }
            Class::Drop | Class::Unknown => data.truncate(open.at),
        }
    }

    fn take_set(&mut self, set: &[u8]) {
        if !self.sets.take_in_band(set) {
            self.fixes.note(Fix::UnknownPayload);
        }
    }

    /// Finds out what the open unit is, if that is not known yet.
    fn classify(&mut self) {
        let Some(open) = self.open.filter(|open| open.class == Class::Unknown) else {
            return;
        };
        let unit = self.picture.data.get(open.at + 4..).unwrap_or_default();
        let in_picture = self.picture.slices > 0;
        let (class, head) = classify(self.codec, unit, in_picture, &self.sets, &self.fixes);
        if let Some(open) = &mut self.open {
            open.class = class;
        }
        match (class, head) {
            (Class::Slice, Some(head)) => self.begin_slice(head),
            (Class::Message, _) if self.picture.slices > 0 => {
                self.picture.tail.get_or_insert(Tail {
                    at: open.at,
                    time: open.time,
                    recovery: None,
                });
            }
            _ => {}
        }
    }

    /// The open unit is a slice: of this picture or of another.
    fn begin_slice(&mut self, head: Head) {
        let (time, at) = self
            .open
            .map_or((self.time, 0), |open| (open.time, open.at));
        if let Some(before) = self.picture.newest {
            let is_same_time = time == self.picture.time;
            let is_field = head.first();
            let is_third = is_field && self.picture.has_both_fields;
            if !is_third
                && head.continues(&before)
                && (is_same_time || !is_field && self.goes_on(&head))
            {
                if !is_same_time {
                    self.fixes.note(Fix::PacketTimes);
                }
                self.continue_picture();
            } else {
                self.prove_marker();
                self.finish_before(at, time);
            }
        }
        if self.picture.slices == 0 {
            self.begin_picture(&head, time);
        }
        self.picture.slices += 1;
        self.picture.newest = Some(head);
        let is_second_field = match (&head, &self.picture.first) {
            (Head::Avc(slice), Some(Head::Avc(first))) => slice.is_second_field_of(first),
            _ => false,
        };
        if is_second_field {
            self.picture.has_both_fields = true;
        } else {
            self.picture.refreshes &= head.refreshes();
            self.picture.intra &= head.intra();
        }
        self.picture.first.get_or_insert(head);
    }

    /// Whether a slice with another time goes on with the picture all the same: H.264 says
    /// so by its header, and nothing is missing in between.
    fn goes_on(&self, head: &Head) -> bool {
        match head {
            Head::Avc(slice) => slice.rest.is_some() && !self.picture.is_doubtful,
            Head::Hevc { .. } => !self.picture.is_doubtful,
        }
    }

    fn continue_picture(&mut self) {
        if self.picture.is_marked {
            // The marker stood in its middle.
            self.picture.is_marked = false;
            self.habits.lie = true;
            self.fixes.note(Fix::Markers);
        }
        if self.picture.is_doubtful {
            self.picture.is_damaged = true;
        }
        self.picture.tail = None;
        for set in std::mem::take(&mut self.picture.tail_sets) {
            self.take_set(&set);
        }
    }

    /// The first slice of a picture, or what is left where that is missing.
    fn begin_picture(&mut self, head: &Head, time: u32) {
        self.picture.time = time;
        if let Some(key) = self.habits.unproven.take() {
            self.habits.prove(key);
        }
        if head.first() {
            return;
        }
        self.picture.is_damaged = true;
        let goes_on = |(before, at): &(Head, u32)| *at == time && head.continues(before);
        if self.given.as_ref().is_some_and(goes_on) {
            // It belongs to the picture that a marker ended too early.
            self.habits.lie = true;
            self.fixes.note(Fix::Markers);
        }
    }

    /// Another picture begins: the marker of this one was right, or missing.
    fn prove_marker(&mut self) {
        if self.picture.is_marked {
            self.habits.prove(self.picture.refreshes);
        } else if !self.picture.is_damaged && !self.picture.is_doubtful {
            self.habits.missing = self.habits.missing.saturating_add(1);
            if self.habits.missing >= 3 {
                self.fixes.note(Fix::Markers);
            }
        }
    }

    /// Ends the picture with all that came.
    fn finish_whole(&mut self) {
        if self.picture.is_marked {
            self.habits.unproven = Some(self.picture.refreshes);
        }
        let end = self.picture.data.len();
        self.finish_before(end, self.picture.time.wrapping_add(1));
    }

    /// Ends the picture before the slice at `at`, which has `time`.
    fn finish_before(&mut self, at: usize, time: u32) {
        match self.picture.tail {
            Some(tail) if tail.time != self.picture.time || time == self.picture.time => {
                self.finish(tail.at, tail.recovery);
            }
            // Messages with this picture's time that the next one does not share are its
            // own. They are dropped: readers take them behind its slices for the next
            // picture's start (H.264 7.4.1.2.3, H.265 7.4.2.4.4).
            Some(tail) => {
                let at = at.min(self.picture.data.len());
                let dropped = self.picture.data.drain(tail.at.min(at)..at).len();
                if let Some(open) = &mut self.open {
                    open.at = open.at.saturating_sub(dropped);
                }
                self.finish(at - dropped, None);
            }
            None => self.finish(at, None),
        }
    }

    /// Gives the picture out up to `end`; what follows begins the next one.
    fn finish(&mut self, end: usize, recovery: Option<i64>) {
        self.closed = None;
        let next = {
            let rest = self.picture.data.get(end..).unwrap_or_default();
            let mut next = Vec::with_capacity(rest.len().max(self.hint));
            next.extend_from_slice(rest);
            next
        };
        if let Some(open) = &mut self.open {
            open.at = open.at.saturating_sub(end);
        }
        self.picture.data.truncate(end);
        let fresh = Building::new(next, self.now);
        let mut done = std::mem::replace(&mut self.picture, fresh);
        self.picture.recovery = recovery;
        let sets = std::mem::take(&mut done.tail_sets);
        self.give(done);
        for set in sets {
            self.take_set(&set);
        }
    }

    fn give(&mut self, done: Building) {
        let short = done.is_doubtful && done.slices < self.habits.usual;
        let Some(newest) = done.newest.filter(|_| !done.is_damaged && !short) else {
            self.lost = true;
            self.given = None;
            return;
        };
        let (key, open_group) = self.is_key(&done);
        self.habits.count_slices(done.slices, key);
        let mut data = done.data;
        if !key {
            self.hint = data.len().min(HINT_LIMIT);
        }
        let configuration = if key {
            self.sets.at_key(done.first.and_then(|head| head.pps()))
        } else {
            let sets = self.sets.take_fresh();
            if !sets.is_empty() {
                data = in_front(&sets, data);
            }
            self.sets.current()
        };
        let disposable = match self.codec {
            Codec::H264 => h264::is_disposable(&data),
            _ => {
                // numTemporalLayers (ISO 14496-15 8.3.3.1.2).
                let record = configuration.as_deref().map(|known| &known.record);
                let layers = record
                    .and_then(|record| record.get(21))
                    .map_or(0, |at| at >> 3 & 7);
                h265::is_disposable(&data, layers.checked_sub(1).unwrap_or(u8::MAX))
            }
        };
        if self.ready.len() >= READY {
            self.ready.pop_front();
            self.lost = true;
        }
        self.given = Some((newest, done.time));
        self.too_large = 0;
        self.ready.push_back(Picture {
            time: done.time,
            arrived: done.arrived,
            key,
            open_group,
            disposable: disposable && !key,
            loss_before: std::mem::take(&mut self.lost),
            data,
            configuration,
        });
    }

    /// Whether decoding can start at the picture, and whether what follows may need more.
    fn is_key(&mut self, done: &Building) -> (bool, bool) {
        let look = Look {
            refreshes: done.refreshes,
            intra: done.intra,
            recovery: done.recovery,
            arrived: done.arrived,
        };
        let key = self.keys.is_key(self.codec, &look, &self.fixes);
        let open = !done.refreshes
            || self.codec != Codec::H264 && h265::Picture::of(&done.data).opens_group();
        (key, key && open)
    }
}

impl Sink for Units {
    fn bytes(&mut self, bytes: &[u8]) {
        let Some(open) = &mut self.open else {
            return; // Before the first start code.
        };
        if open.class == Class::Drop {
            return;
        }
        if self.picture.data.len() + bytes.len() > UNIT_LIMIT {
            self.too_large = self.too_large.saturating_add(1);
            // Nothing of it is given out.
            open.class = Class::Drop;
            open.at = 0;
            self.picture.data.clear();
            self.picture.tail = None;
            self.picture.is_damaged = self.picture.slices > 0;
            self.lost = true;
            return;
        }
        self.picture.data.extend_from_slice(bytes);
        self.picture.arrived = self.now;
        if open.class == Class::Unknown && self.picture.data.len() - open.at >= HEAD {
            self.classify();
        }
    }

    fn split(&mut self) {
        self.fixes.note(Fix::StartCodes);
        let is_fragmented = self.open.is_some_and(|open| open.is_fragmented);
        self.close_unit();
        self.begin(is_fragmented);
    }

    fn repaired(&mut self) {
        if self.open.is_some_and(|open| open.class != Class::Drop) {
            self.fixes.note(Fix::EmulationPrevention);
        }
    }
}

/// Writes the length of the unit that reaches from `at` to the end.
fn put_length(data: &mut [u8], at: usize) {
    let length = data.len().saturating_sub(at + 4) as u32;
    if let Some(place) = data.get_mut(at..at + 4) {
        place.copy_from_slice(&length.to_be_bytes());
    }
}

fn in_front(sets: &[Bytes], data: Vec<u8>) -> Vec<u8> {
    let bytes: usize = sets.iter().map(|set| set.len() + 4).sum();
    let mut out = Vec::with_capacity(bytes + data.len());
    for set in sets {
        push_length_prefixed(&mut out, set);
    }
    out.extend_from_slice(&data);
    out
}
