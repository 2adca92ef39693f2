//! What goes out: streams with their queues, and who is served next.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};

use super::super::record::{self, HEADER, Record};
use super::flight::Flight;
use super::{CONTROL, CONTROL_WINDOW, Event, FIRST_UNI, STREAM_WINDOW, Violation, WINDOW};
use crate::link::congestion::Known;
use crate::link::priority;

/// Bytes of one stream that wait here. Small, so that lateness shows in the
/// relay's queue, where something can be done about it; two records, so that one
/// can be filled while the other leaves.
pub(super) const QUEUE_LIMIT: usize = 2 * record::DATA_LIMIT;

/// Its place in the order: priority, then who was not served for longest.
type Key = (Reverse<i32>, u64, u64);

/// Why nothing can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Refused {
    /// The peer stopped the stream with this code.
    Stopped(u32),
    /// It was finished or reset here.
    Over,
}

#[derive(Debug)]
struct Stream {
    queue: VecDeque<Bytes>,
    queued: usize,
    /// Bytes that the peer still takes.
    credit: u64,
    priority: i32,
    finished: bool,
    stopped: Option<u32>,
    key: Option<Key>,
}

impl Stream {
    fn new(credit: u64, priority: i32) -> Self {
        Self {
            queue: VecDeque::new(),
            queued: 0,
            credit,
            priority,
            finished: false,
            stopped: None,
            key: None,
        }
    }

    /// Whether a record of it could be sent, as far as it is concerned.
    fn is_ready(&self) -> bool {
        if self.queued > 0 {
            self.credit > 0
        } else {
            self.finished
        }
    }

    fn clear(&mut self) {
        self.queue.clear();
        self.queued = 0;
    }
}

/// The sending half of a connection.
#[derive(Debug)]
pub(super) struct Sending {
    streams: BTreeMap<u64, Stream>,
    ready: BTreeSet<Key>,
    /// Records sent, by which streams of a class take turns.
    turn: u64,
    /// Bytes that the peer still takes on all streams but control.
    credit: u64,
    /// And those that the path should hold.
    flight: Flight,
    /// Streams that the peer allows, and those opened, since the start.
    allowed: u64,
    opened: u64,
    /// At most one for each open stream.
    resets: VecDeque<(u64, u32)>,
}

impl Sending {
    /// The control stream, and so many more that may be opened.
    pub(super) fn new(allowed: u64) -> Self {
        let control = Stream::new(CONTROL_WINDOW, priority::CONTROL);
        Self {
            streams: BTreeMap::from([(CONTROL, control)]),
            ready: BTreeSet::new(),
            turn: 0,
            credit: WINDOW,
            flight: Flight::new(),
            allowed,
            opened: 0,
            resets: VecDeque::new(),
        }
    }

    /// A new stream, if the peer allows one more.
    pub(super) fn open(&mut self) -> Option<u64> {
        if self.opened >= self.allowed {
            return None;
        }
        let id = FIRST_UNI + self.opened;
        self.opened += 1;
        self.streams.insert(id, Stream::new(STREAM_WINDOW, 0));
        Some(id)
    }

    /// Takes what fits of these chunks; says how many bytes that was.
    pub(super) fn write(&mut self, id: u64, chunks: &mut [Bytes]) -> Result<usize, Refused> {
        let stream = self.streams.get_mut(&id).ok_or(Refused::Over)?;
        if let Some(code) = stream.stopped {
            return Err(Refused::Stopped(code));
        }
        if stream.finished {
            return Err(Refused::Over);
        }
        let before = stream.queued;
        for chunk in chunks {
            let room = QUEUE_LIMIT - stream.queued;
            let piece = chunk.split_to(chunk.len().min(room));
            if !piece.is_empty() {
                stream.queued += piece.len();
                stream.queue.push_back(piece);
            }
        }
        let taken = stream.queued - before;
        self.rank(id);
        Ok(taken)
    }

    /// What is queued is sent, then the end.
    pub(super) fn finish(&mut self, id: u64) {
        if let Some(stream) = self.streams.get_mut(&id) {
            if stream.stopped.is_some() {
                self.streams.remove(&id);
                return;
            }
            stream.finished = true;
            self.rank(id);
        }
    }

    /// Gives a stream up: its queue is dropped at once. Says whether it was not
    /// over yet.
    pub(super) fn reset(&mut self, id: u64, code: u32) -> bool {
        let Some(stream) = self.streams.remove(&id) else {
            return false;
        };
        if let Some(key) = stream.key {
            self.ready.remove(&key);
        }
        if stream.stopped.is_some() {
            return false;
        }
        self.resets.push_back((id, code));
        true
    }

    /// Nobody holds the stream any more; a finished one is sent to its end.
    pub(super) fn abandon(&mut self, id: u64, code: u32) {
        let is_finished = self
            .streams
            .get(&id)
            .is_some_and(|stream| stream.finished && stream.stopped.is_none());
        if !is_finished {
            self.reset(id, code);
        }
    }

    pub(super) fn set_priority(&mut self, id: u64, priority: i32) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.priority = priority;
            self.rank(id);
        }
    }

    /// The peer wants no more of a stream.
    pub(super) fn handle_stop(&mut self, id: u64, code: u32) -> Result<Option<Event>, Violation> {
        self.known(id)?;
        let Some(stream) = self.streams.get_mut(&id) else {
            return Ok(None);
        };
        if stream.stopped.is_none() {
            stream.stopped = Some(code);
            stream.clear();
            self.resets.push_back((id, code));
        }
        let is_finished = stream.finished;
        self.rank(id);
        if is_finished {
            self.streams.remove(&id);
        }
        Ok(Some(Event::Writable(id)))
    }

    /// The peer takes more.
    pub(super) fn handle_window(&mut self, id: u64, bytes: u32) -> Result<(), Violation> {
        if id == 0 {
            self.credit = self.credit.saturating_add(bytes.into());
            return Ok(());
        }
        self.known(id)?;
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.credit = stream.credit.saturating_add(bytes.into());
            self.rank(id);
        }
        Ok(())
    }

    /// The peer has so many bytes of all streams but control.
    pub(super) fn handle_ack(&mut self, bytes: u64, now: Instant) -> Result<(), Violation> {
        if self.flight.handle_ack(bytes, now) {
            Ok(())
        } else {
            Err(Violation::Acknowledged(bytes))
        }
    }

    /// A round trip was measured.
    pub(super) fn handle_rtt(&mut self, rtt: Duration, now: Instant) {
        self.flight.handle_rtt(rtt, now);
    }

    /// Tells what is known of the path.
    pub(super) fn tell(&self, known: &Known) {
        self.flight.tell(known);
    }

    /// The peer allows so many streams in all; never fewer than before.
    pub(super) fn handle_streams(&mut self, count: u64) {
        self.allowed = self.allowed.max(count);
    }

    /// Whether a stream was ever opened by this side.
    fn known(&self, id: u64) -> Result<(), Violation> {
        let is_known = id == CONTROL || (FIRST_UNI..FIRST_UNI + self.opened).contains(&id);
        if is_known {
            Ok(())
        } else {
            Err(Violation::UnknownStream(id))
        }
    }

    /// Puts a stream at its place in the order, or out of it.
    fn rank(&mut self, id: u64) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        let wanted = (stream.stopped.is_none() && stream.is_ready()).then(|| {
            // Who waits keeps its turn.
            let turn = stream.key.map_or(self.turn, |(_, turn, _)| turn);
            (Reverse(stream.priority), turn, id)
        });
        if wanted == stream.key {
            return;
        }
        if let Some(old) = stream.key.take() {
            self.ready.remove(&old);
        }
        if let Some(key) = wanted {
            stream.key = Some(key);
            self.ready.insert(key);
        }
    }

    /// Bytes of pictures that may leave now.
    fn room(&self) -> u64 {
        self.credit.min(self.flight.room())
    }

    /// Who is served next. Where neither peer nor path takes pictures, only
    /// control and ends go.
    fn next(&self) -> Option<u64> {
        let mut ids = self.ready.iter().map(|(_, _, id)| *id);
        if self.room() > 0 {
            return ids.next();
        }
        ids.find(|id| {
            *id == CONTROL
                || self
                    .streams
                    .get(id)
                    .is_some_and(|stream| stream.queued == 0)
        })
    }

    /// Whether a call of [`Sending::fill`] would give something.
    pub(super) fn has_something(&self) -> bool {
        !self.resets.is_empty() || self.next().is_some()
    }

    /// Appends records until `out` has [`record::BATCH`] bytes or nothing is
    /// left; says whether pictures or messages were among them.
    pub(super) fn fill(
        &mut self,
        out: &mut Vec<u8>,
        events: &mut Vec<Event>,
        now: Instant,
    ) -> bool {
        while out.len() + HEADER + 4 <= record::BATCH {
            let Some((id, code)) = self.resets.pop_front() else {
                break;
            };
            Record::Reset(id, code).encode(out);
        }
        let mut is_data = false;
        while out.len() + HEADER < record::BATCH && self.resets.is_empty() {
            let Some(id) = self.next() else { break };
            self.turn += 1;
            let room = record::BATCH - HEADER - out.len();
            let allowed = if id == CONTROL { u64::MAX } else { self.room() };
            let Some(stream) = self.streams.get_mut(&id) else {
                break;
            };
            if let Some(key) = stream.key.take() {
                self.ready.remove(&key);
            }
            if stream.queued == 0 {
                Record::Fin(id).encode(out);
                self.streams.remove(&id);
                continue;
            }
            let most = usize::try_from(stream.credit.min(allowed)).unwrap_or(usize::MAX);
            let length = stream.queued.min(room).min(most);
            put_data(out, id, &mut stream.queue, length);
            stream.queued -= length;
            stream.credit -= length as u64;
            if id != CONTROL {
                self.credit -= length as u64;
                self.flight.handle_sent(length as u64, now);
            }
            is_data = true;
            events.push(Event::Writable(id));
            self.rank(id);
        }
        is_data
    }

    /// The connection is over: nothing more is sent.
    pub(super) fn clear(&mut self) {
        self.streams.clear();
        self.ready.clear();
        self.resets.clear();
    }
}

/// One `DATA` record from the front of a queue.
fn put_data(out: &mut Vec<u8>, id: u64, queue: &mut VecDeque<Bytes>, length: usize) {
    record::put_data_header(out, id, length);
    let mut left = length;
    while left > 0 {
        let Some(chunk) = queue.front_mut() else {
            break;
        };
        let piece = chunk.len().min(left);
        out.extend_from_slice(&chunk[..piece]);
        chunk.advance(piece);
        left -= piece;
        if chunk.is_empty() {
            queue.pop_front();
        }
    }
}
