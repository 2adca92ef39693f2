//! What comes in: streams with what is not read yet, and what the peer is allowed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::{Bytes, BytesMut};

use super::super::record;
use super::super::record::{HEADER, Record};
use super::{CONTROL, CONTROL_WINDOW, Event, FIRST_UNI, STREAM_WINDOW, Violation, WINDOW};

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Fin,
    Reset(u32),
}

/// What a reader gets.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) enum Read {
    /// All that has come.
    Bytes(Bytes),
    /// The stream is complete.
    End,
    /// The sender gave it up, with a code.
    Reset(u32),
    /// Nothing yet.
    Blocked,
    /// It was stopped or read to its end.
    Over,
}

#[derive(Debug)]
struct Stream {
    /// One buffer for all small pieces: a peer can't make many of them cost more
    /// than their bytes.
    buffer: BytesMut,
    window: u64,
    /// Bytes that the peer may still send.
    left: u64,
    /// Bytes read that were not given back yet.
    owed: u64,
    end: Option<End>,
    stopped: bool,
}

impl Stream {
    fn new(window: u64) -> Self {
        Self {
            buffer: BytesMut::new(),
            window,
            left: window,
            owed: 0,
            end: None,
            stopped: false,
        }
    }
}

/// The receiving half of a connection.
#[derive(Debug)]
pub(super) struct Receiving {
    streams: BTreeMap<u64, Stream>,
    /// Bytes that the peer may still send on all streams but control, and those
    /// read that were not given back yet.
    left: u64,
    owed: u64,
    /// Bytes of all streams but control since the start, and those the peer knows of.
    came: u64,
    told: u64,
    /// Streams at once; allowed, opened by the peer and over, since the start.
    concurrent: u64,
    allowed: u64,
    seen: u64,
    over: u64,
    /// Opened by the peer, and nobody has taken them yet.
    incoming: VecDeque<u64>,
    /// At most one for each open stream.
    stops: VecDeque<(u64, u32)>,
    windows: BTreeSet<u64>,
}

impl Receiving {
    /// The control stream, and so many more at once.
    pub(super) fn new(concurrent: u64) -> Self {
        Self {
            streams: BTreeMap::from([(CONTROL, Stream::new(CONTROL_WINDOW))]),
            left: WINDOW,
            owed: 0,
            came: 0,
            told: 0,
            concurrent,
            allowed: concurrent,
            seen: 0,
            over: 0,
            incoming: VecDeque::new(),
            stops: VecDeque::new(),
            windows: BTreeSet::new(),
        }
    }

    /// A stream that the peer has opened and nobody has taken yet.
    pub(super) fn accept(&mut self) -> Option<u64> {
        self.incoming.pop_front()
    }

    /// How many streams may be open at once from now on; what the peer was told
    /// before stands.
    pub(super) fn set_concurrent(&mut self, count: u64) {
        self.concurrent = count;
    }

    /// Opens what the peer names, and all below it.
    fn open(&mut self, id: u64, events: &mut Vec<Event>) -> Result<(), Violation> {
        if id < FIRST_UNI {
            return Ok(());
        }
        let index = id - FIRST_UNI;
        if index >= self.allowed {
            return Err(Violation::TooManyStreams(id));
        }
        while self.seen <= index {
            let id = FIRST_UNI + self.seen;
            self.seen += 1;
            self.streams.insert(id, Stream::new(STREAM_WINDOW));
            self.incoming.push_back(id);
            events.push(Event::Incoming);
        }
        Ok(())
    }

    /// Bytes of a stream.
    pub(super) fn handle_data(
        &mut self,
        id: u64,
        bytes: &[u8],
        events: &mut Vec<Event>,
    ) -> Result<(), Violation> {
        self.open(id, events)?;
        let stream = self.streams.get_mut(&id).ok_or(Violation::AfterEnd(id))?;
        if stream.end.is_some() {
            return Err(Violation::AfterEnd(id));
        }
        let length = bytes.len() as u64;
        stream.left = stream
            .left
            .checked_sub(length)
            .ok_or(Violation::Window(id))?;
        if id != CONTROL {
            self.left = self.left.checked_sub(length).ok_or(Violation::Window(0))?;
            self.came += length;
        }
        if stream.stopped {
            self.give_back(id, length);
        } else {
            stream.buffer.extend_from_slice(bytes);
            events.push(Event::Readable(id));
        }
        Ok(())
    }

    /// The end of a stream: complete, or given up with a code.
    pub(super) fn handle_end(
        &mut self,
        id: u64,
        reset: Option<u32>,
        events: &mut Vec<Event>,
    ) -> Result<(), Violation> {
        self.open(id, events)?;
        let stream = self.streams.get_mut(&id).ok_or(Violation::AfterEnd(id))?;
        if stream.end.is_some() {
            return Err(Violation::AfterEnd(id));
        }
        stream.end = Some(reset.map_or(End::Fin, End::Reset));
        if reset.is_some() {
            // Nothing of what was given up is read any more.
            let thrown = stream.buffer.len() as u64;
            stream.buffer = BytesMut::new();
            self.give_back(id, thrown);
        }
        if self.streams.get(&id).is_some_and(|stream| stream.stopped) {
            self.remove(id);
        } else {
            events.push(Event::Readable(id));
        }
        Ok(())
    }

    /// What there is to read.
    pub(super) fn read(&mut self, id: u64) -> Read {
        let Some(stream) = self.streams.get_mut(&id) else {
            return Read::Over;
        };
        if stream.stopped {
            return Read::Over;
        }
        if !stream.buffer.is_empty() {
            let bytes = std::mem::take(&mut stream.buffer).freeze();
            self.give_back(id, bytes.len() as u64);
            return Read::Bytes(bytes);
        }
        let Some(end) = stream.end else {
            return Read::Blocked;
        };
        self.remove(id);
        match end {
            End::Fin => Read::End,
            End::Reset(code) => Read::Reset(code),
        }
    }

    /// No more of this stream is wanted.
    pub(super) fn stop(&mut self, id: u64, code: u32) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        if stream.stopped {
            return;
        }
        let thrown = stream.buffer.len() as u64;
        stream.buffer = BytesMut::new();
        stream.stopped = true;
        let is_over = stream.end.is_some();
        self.give_back(id, thrown);
        if is_over {
            self.remove(id);
        } else {
            self.stops.push_back((id, code));
        }
    }

    fn remove(&mut self, id: u64) {
        self.streams.remove(&id);
        self.windows.remove(&id);
        if id >= FIRST_UNI {
            self.over += 1;
        }
    }

    /// Bytes that were read or thrown away make room for more.
    fn give_back(&mut self, id: u64, bytes: u64) {
        if id != CONTROL {
            self.owed += bytes;
        }
        if let Some(stream) = self.streams.get_mut(&id)
            && stream.end.is_none()
        {
            stream.owed += bytes;
            if stream.owed >= stream.window / 4 {
                self.windows.insert(id);
            }
        }
    }

    /// How many streams the peer may be told to open, where that is worth it.
    fn streams_due(&self) -> Option<u64> {
        let now = self.over + self.concurrent;
        let is_due = now > self.allowed && now - self.allowed > self.concurrent / 8;
        is_due.then_some(now)
    }

    fn window_due(&self) -> bool {
        self.owed >= WINDOW / 4
    }

    /// Whether a call of [`Receiving::fill`] would give something.
    pub(super) fn has_something(&self) -> bool {
        self.came > self.told
            || !self.stops.is_empty()
            || !self.windows.is_empty()
            || self.window_due()
            || self.streams_due().is_some()
    }

    /// Appends what the peer is to be told, as far as a batch holds it.
    pub(super) fn fill(&mut self, out: &mut Vec<u8>) {
        while out.len() + HEADER + 8 <= record::BATCH {
            if self.came > self.told {
                self.told = self.came;
                Record::Ack(self.came).encode(out);
            } else if let Some(count) = self.streams_due() {
                self.allowed = count;
                Record::Streams(count).encode(out);
            } else if self.window_due() {
                Record::Window(0, small(self.owed)).encode(out);
                self.left += self.owed;
                self.owed = 0;
            } else if let Some((id, code)) = self.stops.pop_front() {
                Record::Stop(id, code).encode(out);
            } else if let Some(id) = self.windows.pop_first() {
                if let Some(stream) = self.streams.get_mut(&id) {
                    Record::Window(id, small(stream.owed)).encode(out);
                    stream.left += stream.owed;
                    stream.owed = 0;
                }
            } else {
                break;
            }
        }
    }

    /// The connection is over: nothing more is read.
    pub(super) fn clear(&mut self) {
        self.streams.clear();
        self.incoming.clear();
        self.stops.clear();
        self.windows.clear();
        self.owed = 0;
        self.told = self.came;
        self.concurrent = 0;
    }

    /// Bytes that wait to be read.
    #[cfg(test)]
    pub(super) fn buffered(&self) -> usize {
        self.streams
            .values()
            .map(|stream| stream.buffer.len())
            .sum()
    }
}

/// Never more than a window, which is below 2^32.
fn small(bytes: u64) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}
