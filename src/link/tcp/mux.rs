//! The decisions of `fanal/1-tcp`: many streams on one connection, without
//! sockets, runtime or clock.
//!
//! Bytes of the peer go in ([`Mux::handle_bytes`]), bytes for it come out
//! ([`Mux::transmit`]) in batches of one TLS record, made as late as possible:
//! urgent records first (resets, windows, answers), then the streams by priority
//! and, inside a class, in turn. What was reset and has not left is gone. The
//! time comes with each call that needs it; [`Mux::deadline`] says when to call
//! [`Mux::handle_time`].
//!
//! | what waits | bound | when full |
//! |---|---|---|
//! | a stream's bytes to send | 32 KiB | its writer waits |
//! | a stream's bytes to read | 12 MiB, control 1 MiB | the peer waits; one that does not loses the link |
//! | all streams' bytes to read | 64 MiB | the same |
//! | streams of the peer | as granted | the same |
//! | pictures on their way | [`flight`]: what the path delivers in a round trip or two | they wait above |
//! | answers to pings | the newest | the older ones are forgotten |

mod flight;
mod receive;
mod send;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use bytes::Bytes;

pub(super) use self::receive::Read;
pub(super) use self::send::Refused;
use super::record::{self, Decoder, Item, Record};
use crate::link::congestion::Known;
use crate::link::endpoint::{
    FIRST_UNI_STREAMS, IDLE_TIMEOUT, KEEP_ALIVE, RECEIVE_WINDOW, STREAM_RECEIVE_WINDOW,
};
use crate::link::transport::Closed;
use crate::reason::Reason;

/// The control stream.
pub(super) const CONTROL: u64 = 1;
/// The first stream that a gateway opens.
const FIRST_UNI: u64 = 2;
/// Bytes of all streams but control that may be on the way or unread.
const WINDOW: u64 = RECEIVE_WINDOW as u64;
/// The same for each of them.
const STREAM_WINDOW: u64 = STREAM_RECEIVE_WINDOW as u64;
/// The same for the control stream: its longest message.
const CONTROL_WINDOW: u64 = 1024 * 1024;
/// How often the round trip is measured while there is something to send.
const MEASURE: Duration = Duration::from_secs(1);

/// Which end this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Opens streams of pictures.
    Gateway,
    /// Takes them.
    Receiver,
}

/// Who can go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// This stream has something to read.
    Readable(u64),
    /// This stream takes more, or is refused.
    Writable(u64),
    /// The peer opened a stream.
    Incoming,
    /// One more stream may be opened.
    Openable,
    /// The connection is over.
    Closed,
}

/// What a peer must not do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Violation {
    /// Bytes that are no record.
    #[error(transparent)]
    Decode(#[from] record::DecodeError),
    /// A stream that this side never opened.
    #[error("a record about stream {0}, which is not open")]
    UnknownStream(u64),
    /// A stream beyond those allowed.
    #[error("stream {0} is one more than allowed")]
    TooManyStreams(u64),
    /// More bytes than allowed, on a stream or (0) on all.
    #[error("more bytes than allowed on stream {0}")]
    Window(u64),
    /// More acknowledged than was sent.
    #[error("{0} bytes acknowledged, which is more than was sent")]
    Acknowledged(u64),
    /// More of a stream after its end.
    #[error("a record of stream {0} after its end")]
    AfterEnd(u64),
}

/// A ping that waits for its answer.
#[derive(Clone, Copy, Debug)]
struct Ping {
    number: u64,
    sent: Instant,
}

/// One end of a connection.
#[derive(Debug)]
pub(super) struct Mux {
    sending: send::Sending,
    receiving: receive::Receiving,
    decoder: Decoder,
    events: Vec<Event>,
    closed: Option<Closed>,
    /// What the peer is still to be told of the end.
    farewell: Option<Record>,
    pong: Option<u64>,
    ping: Option<Ping>,
    pings: u64,
    /// When the last ping was sent, and whether anything was since.
    pinged: Option<Instant>,
    is_busy: bool,
    /// An answer of the peer is wanted now.
    wants_ping: bool,
    heard: Instant,
    rtt: Option<Duration>,
}

impl Mux {
    pub(super) fn new(role: Role, now: Instant) -> Self {
        let (opens, takes) = match role {
            Role::Gateway => (FIRST_UNI_STREAMS.into(), 0),
            Role::Receiver => (0, FIRST_UNI_STREAMS.into()),
        };
        Self {
            sending: send::Sending::new(opens),
            receiving: receive::Receiving::new(takes),
            decoder: Decoder::new(),
            events: Vec::new(),
            closed: None,
            farewell: None,
            pong: None,
            ping: None,
            pings: 0,
            pinged: None,
            is_busy: false,
            wants_ping: false,
            heard: now,
            rtt: None,
        }
    }

    /// Who can go on since the last call.
    pub(super) fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// Why the connection is over, if it is.
    pub(super) const fn closed(&self) -> Option<&Closed> {
        self.closed.as_ref()
    }

    /// The round trip, smoothed as RFC 6298 has it; zero until it was measured.
    pub(super) fn rtt(&self) -> Duration {
        self.rtt.unwrap_or(Duration::ZERO)
    }

    /// Asks the peer for an answer, unless one is under way already.
    pub(super) const fn ask(&mut self) {
        self.wants_ping = true;
    }

    /// Answers that the peer was asked for, and those that came.
    pub(super) fn asked(&self) -> (u64, u64) {
        let pings = self.pings;
        (pings, pings - u64::from(self.ping.is_some()))
    }

    /// Tells what is known of the path.
    pub(super) fn tell(&self, known: &Known) {
        self.sending.tell(known);
    }

    /// Closes it at once: what is queued is thrown away, the peer is told.
    pub(super) fn close(&mut self, code: u32, text: &str) {
        let end = floor(text, record::TEXT_LIMIT);
        let farewell = Record::Close(code, text.as_bytes()[..end].to_vec());
        self.end(Closed::Here, Some(farewell));
    }

    /// The connection under it failed.
    pub(super) fn lost(&mut self, cause: String) {
        self.end(Closed::Failed(cause), None);
    }

    fn end(&mut self, closed: Closed, farewell: Option<Record>) {
        if self.closed.is_some() {
            return;
        }
        self.sending.clear();
        self.receiving.clear();
        self.pong = None;
        self.closed = Some(closed);
        self.farewell = farewell;
        self.events.push(Event::Closed);
    }

    /// Takes bytes of the peer. One that breaks the protocol loses the link, and
    /// is told why.
    pub(super) fn handle_bytes(&mut self, mut bytes: &[u8], now: Instant) {
        self.heard = now;
        while self.closed.is_none() {
            let handled = match self.decoder.next(&mut bytes) {
                Ok(None) => return,
                Ok(Some(Item::Data(id, piece))) => {
                    self.receiving.handle_data(id, piece, &mut self.events)
                }
                Ok(Some(Item::Record(record))) => self.handle_record(record, now),
                Err(error) => Err(error.into()),
            };
            if let Err(violation) = handled {
                let text = format!("{}: {violation}", Reason::ProtocolError);
                let farewell = Record::Close(Reason::ProtocolError.number(), text.into_bytes());
                let cause = format!("the peer broke the protocol: {violation}");
                self.end(Closed::Failed(cause), Some(farewell));
            }
        }
    }

    fn handle_record(&mut self, record: Record, now: Instant) -> Result<(), Violation> {
        match record {
            Record::Fin(id) => self.receiving.handle_end(id, None, &mut self.events),
            Record::Reset(id, code) => self.receiving.handle_end(id, Some(code), &mut self.events),
            Record::Stop(id, code) => {
                let event = self.sending.handle_stop(id, code)?;
                self.events.extend(event);
                Ok(())
            }
            Record::Window(id, bytes) => self.sending.handle_window(id, bytes),
            Record::Streams(count) => {
                self.sending.handle_streams(count);
                self.events.push(Event::Openable);
                Ok(())
            }
            Record::Ping(number) => {
                self.pong = Some(number);
                Ok(())
            }
            Record::Pong(number) => {
                if let Some(ping) = self.ping.take_if(|ping| ping.number == number) {
                    let sample = now.saturating_duration_since(ping.sent);
                    self.sending.handle_rtt(sample, now);
                    self.rtt = Some(self.rtt.map_or(sample, |rtt| (rtt * 7 + sample) / 8));
                }
                Ok(())
            }
            Record::Ack(bytes) => self.sending.handle_ack(bytes, now),
            Record::Close(code, text) => {
                self.end(Closed::by_peer(code.into(), &text), None);
                Ok(())
            }
        }
    }

    /// When the next ping is due; none while one waits for its answer.
    fn next_ping(&self) -> Option<Instant> {
        if self.ping.is_some() || self.closed.is_some() {
            return None;
        }
        let Some(pinged) = self.pinged.filter(|_| !self.wants_ping) else {
            return Some(self.heard);
        };
        let idle = self.heard.max(pinged) + KEEP_ALIVE;
        Some(if self.is_busy {
            idle.min(pinged + MEASURE)
        } else {
            idle
        })
    }

    /// When to call [`Mux::handle_time`] at the latest.
    pub(super) fn deadline(&self) -> Option<Instant> {
        if self.closed.is_some() {
            return None;
        }
        let silent = self.heard + IDLE_TIMEOUT;
        Some(self.next_ping().map_or(silent, |ping| ping.min(silent)))
    }

    /// Ends a connection on which nothing was heard for too long.
    pub(super) fn handle_time(&mut self, now: Instant) {
        if self.closed.is_none() && now >= self.heard + IDLE_TIMEOUT {
            self.end(Closed::Silent, None);
        }
    }

    /// Whether [`Mux::transmit`] would give something, timers apart.
    pub(super) fn has_something(&self) -> bool {
        match self.closed {
            Some(_) => self.farewell.is_some(),
            None => {
                self.pong.is_some()
                    || (self.wants_ping && self.ping.is_none())
                    || self.receiving.has_something()
                    || self.sending.has_something()
            }
        }
    }

    /// Appends the next batch of records to `out`, which is empty: as much as one
    /// TLS record holds, nothing if there is nothing to say.
    pub(super) fn transmit(&mut self, out: &mut Vec<u8>, now: Instant) {
        debug_assert!(out.is_empty());
        if self.closed.is_some() {
            if let Some(farewell) = self.farewell.take() {
                farewell.encode(out);
            }
            return;
        }
        if let Some(number) = self.pong.take() {
            Record::Pong(number).encode(out);
        }
        if self.next_ping().is_some_and(|due| due <= now) {
            self.pings += 1;
            let number = self.pings;
            Record::Ping(number).encode(out);
            self.ping = Some(Ping { number, sent: now });
            self.pinged = Some(now);
            self.is_busy = false;
            self.wants_ping = false;
        }
        self.receiving.fill(out);
        self.is_busy |= self.sending.fill(out, &mut self.events, now);
    }

    /// A new stream of pictures, if the peer allows one more.
    pub(super) fn open(&mut self) -> Option<u64> {
        self.sending.open()
    }

    /// Takes what fits of these chunks; says how many bytes that was.
    pub(super) fn write(&mut self, id: u64, chunks: &mut [Bytes]) -> Result<usize, Refused> {
        self.sending.write(id, chunks)
    }

    /// What was written is sent, then the end.
    pub(super) fn finish(&mut self, id: u64) {
        self.sending.finish(id);
    }

    /// Gives a stream up: what has not left is dropped. Says whether it was not
    /// over yet.
    pub(super) fn reset(&mut self, id: u64, code: u32) -> bool {
        self.sending.reset(id, code)
    }

    /// Nobody holds the sending end any more.
    pub(super) fn abandon(&mut self, id: u64, code: u32) {
        self.sending.abandon(id, code);
    }

    /// Larger numbers go first.
    pub(super) fn set_priority(&mut self, id: u64, priority: i32) {
        self.sending.set_priority(id, priority);
    }

    /// A stream that the peer has opened.
    pub(super) fn accept(&mut self) -> Option<u64> {
        self.receiving.accept()
    }

    /// What there is to read of a stream.
    pub(super) fn read(&mut self, id: u64) -> Read {
        self.receiving.read(id)
    }

    /// No more of a stream is wanted.
    pub(super) fn stop(&mut self, id: u64, code: u32) {
        self.receiving.stop(id, code);
    }

    /// How many streams the peer may have open at once.
    pub(super) fn set_concurrent(&mut self, count: u32) {
        if self.closed.is_none() {
            self.receiving.set_concurrent(count.into());
        }
    }
}

/// The longest beginning of `text` of at most `limit` bytes that is whole.
fn floor(text: &str, limit: usize) -> usize {
    (0..=text.len().min(limit))
        .rev()
        .find(|end| text.is_char_boundary(*end))
        .unwrap_or(0)
}
