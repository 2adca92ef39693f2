//! RTSP messages of the field: one connection's bytes become packets and messages.
//!
//! Cameras end lines as they like, leave parts out and write stray bytes between
//! packets. Text is read leniently and kept as bytes; on the path of media nothing
//! is copied or allocated: a packet is a view into the reader's buffer.

mod head;
mod resync;
mod text;

use std::time::Duration;

use bytes::{Buf, BytesMut};

use super::fix::{Fix, Fixes};
use resync::{Channels, Inside, Start};
pub(super) use text::Message;

/// Longest head (start line and headers), bytes.
pub(super) const HEAD_LIMIT: usize = 16 * 1024;
/// Longest body, bytes: descriptions are a few KiB.
pub(super) const BODY_LIMIT: usize = 256 * 1024;
/// Bytes in a row that are neither packet nor message before a camera is given up:
/// four packets of the longest kind.
const LOST_LIMIT: usize = 256 * 1024;
/// After this long without a byte an unfinished message is taken as it is
/// ([`Reader::settle`]): longer than a packet lost on the LAN, shorter than a start.
pub(super) const SILENCE: Duration = Duration::from_millis(700);

/// Bytes that are no RTSP, or over the limits: the end of a sentence that begins with
/// "it sent".
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    /// See [`HEAD_LIMIT`].
    #[error("a message head of more than {HEAD_LIMIT} bytes")]
    LongHead,
    /// See [`BODY_LIMIT`].
    #[error("a message body of more than {BODY_LIMIT} bytes")]
    LongBody,
    /// A web server's answer.
    #[error("HTTP instead of RTSP: set the camera's RTSP port, which is usually 554")]
    Http,
    /// A TLS record.
    #[error("TLS instead of RTSP: set the camera's port for RTSP without encryption")]
    Tls,
    /// Anything else.
    #[error("bytes that are no RTSP: set the camera's RTSP port, which is usually 554")]
    NotRtsp,
    /// More channels than it was given, and than its other tracks need.
    #[error("packets on many channels that were not asked for")]
    Channels,
    /// See [`LOST_LIMIT`].
    #[error("more than {LOST_LIMIT} bytes without a packet between")]
    Lost,
}

/// The next piece of a connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'r> {
    /// An interleaved packet (RTP or RTCP), in the reader's buffer.
    Packet {
        /// Its channel.
        channel: u8,
        /// The packet without its four bytes of framing.
        payload: &'r [u8],
    },
    /// A whole message.
    Message(Message),
    /// Bytes were neither, and are gone.
    Skipped {
        /// How many.
        length: usize,
        /// They may be the end of the packet before them, which was told too short.
        is_tail: bool,
    },
    /// A message has begun; after [`SILENCE`] see [`Reader::settle`].
    Unfinished,
    /// There is nothing without more bytes.
    Partial,
}

/// What the reader has found, before it is taken out of the buffer.
enum Found {
    Packet { channel: u8, length: usize },
    Message(Message),
    Skipped(usize),
    Unfinished,
    Partial,
}

/// The bytes that came on one connection.
pub(super) struct Reader {
    fixes: Fixes,
    buffer: BytesMut,
    /// Where in the buffer the next piece begins.
    at: usize,
    /// Framed length of the last packet, which still is before `at`; 0: none.
    last: usize,
    channels: Channels,
    describes: bool,
    /// A message was read: it is RTSP.
    heard: bool,
    /// Bytes skipped since the last packet or message.
    lost: usize,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader")
            .field("waiting", &(self.buffer.len() - self.at))
            .field("lost", &self.lost)
            .finish_non_exhaustive()
    }
}

impl Reader {
    /// Notes in `fixes` what it had to make plain.
    pub(super) fn new(fixes: Fixes) -> Self {
        Self {
            fixes,
            buffer: BytesMut::new(),
            at: 0,
            last: 0,
            channels: Channels::default(),
            describes: false,
            heard: false,
            lost: 0,
        }
    }

    /// Where the connection's next bytes are read to; `room` bytes at least are free.
    pub(super) fn space(&mut self, room: usize) -> &mut BytesMut {
        // The last packet stays where it ends the buffer: should the next byte begin
        // nothing, the packet was told too long and holds the next one's head.
        let keeps = if self.at == self.buffer.len() {
            self.last
        } else {
            0
        };
        if keeps == 0 && self.at == self.buffer.len() {
            self.buffer.clear();
        } else {
            self.buffer.advance(self.at - keeps);
        }
        self.at = keeps;
        self.last = keeps;
        self.buffer.reserve(room);
        &mut self.buffer
    }

    /// Expects packets on a channel that was asked for or agreed on.
    pub(super) fn expect_channel(&mut self, channel: u8) {
        self.channels.expect(channel);
    }

    /// Tells that DESCRIBE was sent: the next success has a body, even where its head
    /// names none.
    pub(super) const fn expect_description(&mut self) {
        self.describes = true;
    }

    /// The next piece. Called until it is `Partial` or `Unfinished`; then more is read.
    ///
    /// # Errors
    ///
    /// The bytes are no RTSP, or over a limit. The connection is of no use any more.
    pub(super) fn next(&mut self) -> Result<Piece<'_>, Malformed> {
        match self.find()? {
            Found::Packet { channel, length } => {
                let start = self.at + 4;
                self.at += length;
                self.last = length;
                self.lost = 0;
                if self.channels.has_strangers() {
                    return Err(Malformed::Channels);
                }
                let payload = self.buffer.get(start..self.at).unwrap_or_default();
                Ok(Piece::Packet { channel, payload })
            }
            Found::Message(message) => Ok(Piece::Message(message)),
            Found::Skipped(length) => {
                let skipped = self.buffer.get(self.at..self.at + length);
                let is_tail = self.lost == 0 && skipped.is_some_and(resync::may_end_packet);
                self.at += length;
                self.last = 0;
                self.lost += length;
                self.fixes.note(Fix::StrayBytes);
                if self.lost > LOST_LIMIT {
                    return Err(Malformed::Lost);
                }
                Ok(Piece::Skipped { length, is_tail })
            }
            Found::Unfinished => Ok(Piece::Unfinished),
            Found::Partial => Ok(Piece::Partial),
        }
    }

    /// The unfinished message as far as it came: its body shorter than told, or of no
    /// told length, or its head without the empty line at its end. For a silence, and
    /// for the end of a connection.
    pub(super) fn settle(&mut self) -> Option<Message> {
        let bytes = self.buffer.get(self.at..)?;
        if resync::message_start(bytes) != Start::Yes {
            return None;
        }
        let (head, length) = head::read(bytes, true)?;
        let body = bytes.get(length..)?;
        let body = body.get(..body.len().min(BODY_LIMIT))?.to_vec();
        self.fixes.note(Fix::BodyLength);
        self.take(head, length, body).into()
    }

    /// Takes a message out of the buffer.
    fn take(&mut self, head: head::Head, length: usize, body: Vec<u8>) -> Message {
        for (odd, fix) in [
            (head.odd_status, Fix::StatusLine),
            (head.odd_lines, Fix::HeaderForm),
            (head.odd_length, Fix::BodyLength),
        ] {
            if odd {
                self.fixes.note(fix);
            }
        }
        self.at += length + body.len();
        self.last = 0;
        self.lost = 0;
        self.heard = true;
        self.describes &= !matches!(head.message.status(), Some(200..=299));
        Message {
            body,
            ..head.message
        }
    }

    fn find(&mut self) -> Result<Found, Malformed> {
        loop {
            let bytes = self.buffer.get(self.at..).unwrap_or_default();
            let Some(first) = bytes.first() else {
                return Ok(Found::Partial);
            };
            if resync::is_blank(*first) && self.lost == 0 {
                self.at += 1;
                self.last = 0;
                continue;
            }
            if *first == b'$' {
                match self.channels.start(bytes, self.lost > 0) {
                    Start::Yes => return Ok(self.packet()),
                    Start::Unknown => return Ok(Found::Partial),
                    Start::No => {}
                }
            }
            return match resync::message_start(bytes) {
                Start::Yes => self.message(),
                Start::Unknown => Ok(Found::Partial),
                Start::No if self.channels.play() => match self.resume() {
                    // The last packet held the next one's head.
                    None => continue,
                    Some(found) => Ok(found),
                },
                Start::No => self.stray_text(),
            };
        }
    }

    /// A packet in step with the one before.
    fn packet(&mut self) -> Found {
        let bytes = self.buffer.get(self.at..).unwrap_or_default();
        let &[_, channel, high, low, ..] = bytes else {
            return Found::Partial;
        };
        let told = 4 + usize::from(u16::from_be_bytes([high, low]));
        let mut length = told;
        if told > bytes.len() {
            // A length far beyond all before it may be wrong: packets inside tell.
            match self.channels.chain(bytes, told) {
                Some(inside) => length = inside,
                None => return Found::Partial,
            }
        } else if told < bytes.len() && self.channels.begins(bytes, told) == Start::No {
            // It was told too long and holds the head of the next, or stray bytes follow.
            match self.channels.inside(bytes, told) {
                Inside::At(inside) => length = inside,
                Inside::Perhaps => return Found::Partial,
                Inside::No => {}
            }
        }
        if length != told {
            self.fixes.note(Fix::StrayBytes);
            if length < 8 {
                // A `$` among stray bytes.
                return Found::Skipped(length);
            }
        }
        self.channels.learn(bytes, length);
        Found::Packet { channel, length }
    }

    fn message(&mut self) -> Result<Found, Malformed> {
        let bytes = self.buffer.get(self.at..).unwrap_or_default();
        let Some((mut head, length)) = head::read(bytes, false) else {
            return if bytes.len() < HEAD_LIMIT {
                Ok(Found::Unfinished)
            } else if self.channels.play() {
                Ok(Found::Skipped(1))
            } else {
                Err(Malformed::LongHead)
            };
        };
        let rest = bytes.get(length..).unwrap_or_default();
        let describes = self.describes && matches!(head.message.status(), Some(200..=299));
        let body = match head.length {
            Some(told) if told > BODY_LIMIT => return Err(Malformed::LongBody),
            None if !describes && !head.is_description => 0,
            told @ (None | Some(0)) if describes || told.is_none() => {
                head.odd_length = true;
                match self.channels.end_of_text(rest) {
                    Some(end) => end,
                    None if rest.len() > BODY_LIMIT => return Err(Malformed::LongBody),
                    None => return Ok(Found::Unfinished),
                }
            }
            None => 0,
            Some(told) if told <= rest.len() => {
                let behind = rest.get(told..).unwrap_or_default();
                let before = self.channels.end_of_text(rest).filter(|end| *end < told);
                if let Some(before) = before.filter(|_| describes) {
                    head.odd_length = true;
                    before
                } else if told > 0 && self.channels.takes_packet(rest) {
                    head.odd_length = true;
                    0
                } else if describes && self.channels.is_text(behind) {
                    // Told too short.
                    head.odd_length = true;
                    let end = self.channels.end_of_text(behind);
                    told + end.unwrap_or(behind.len()).min(BODY_LIMIT)
                } else {
                    told
                }
            }
            Some(_) => match self.channels.end_of_text(rest) {
                Some(end) => {
                    head.odd_length = true;
                    end
                }
                None => return Ok(Found::Unfinished),
            },
        };
        let body = rest.get(..body).unwrap_or_default().to_vec();
        Ok(Found::Message(self.take(head, length, body)))
    }

    /// The way back into step, once media play. `None`: the last packet, which was
    /// given away, was told too long; the next one is whole.
    fn resume(&mut self) -> Option<Found> {
        if self.last > 0 {
            let last = std::mem::take(&mut self.last);
            let from = self.at - last;
            let bytes = self.buffer.get(from..).unwrap_or_default();
            match self.channels.inside(bytes, last) {
                Inside::At(inside) => {
                    self.fixes.note(Fix::StrayBytes);
                    self.at = from + inside;
                    return None;
                }
                Inside::Perhaps => {
                    self.last = last;
                    return Some(Found::Partial);
                }
                Inside::No => {}
            }
        }
        let bytes = self.buffer.get(self.at..).unwrap_or_default();
        Some(match self.channels.next_start(bytes) {
            0 => Found::Partial,
            length => Found::Skipped(length),
        })
    }

    /// What is no message, before media play: the rest of a body told too short, or
    /// another protocol.
    fn stray_text(&mut self) -> Result<Found, Malformed> {
        let bytes = self.buffer.get(self.at..).unwrap_or_default();
        if !self.heard {
            match bytes {
                [0x15 | 0x16, 3, 0..=4, ..] => return Err(Malformed::Tls),
                [0x15 | 0x16] | [0x15 | 0x16, 3] => return Ok(Found::Partial),
                _ => {}
            }
            match resync::begins_with(bytes, b"HTTP/") {
                Start::Yes => return Err(Malformed::Http),
                Start::Unknown => return Ok(Found::Partial),
                Start::No => {}
            }
        }
        if let Some(at) = resync::find_message(bytes) {
            return Ok(Found::Skipped(at));
        }
        let is_binary = bytes.first().is_some_and(|byte| *byte < 9 || *byte > 126);
        if (is_binary && !self.heard && bytes.len() > 16) || bytes.len() >= HEAD_LIMIT {
            return Err(Malformed::NotRtsp);
        }
        Ok(Found::Partial)
    }
}

#[cfg(test)]
mod tests;
