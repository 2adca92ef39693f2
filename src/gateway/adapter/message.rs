//! RTSP messages as the adapter needs them: read with patience for what cameras
//! write, within limits, and written back.

use bytes::{Buf, Bytes, BytesMut};

/// Longest head (start line and headers), bytes.
pub(super) const HEAD_LIMIT: usize = 16 * 1024;
/// Longest body, bytes: descriptions are a few KiB.
pub(super) const BODY_LIMIT: usize = 256 * 1024;

/// What is no RTSP, or over the limits.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    #[error("a message head of more than {HEAD_LIMIT} bytes")]
    LongHead,
    #[error("a message body of more than {BODY_LIMIT} bytes")]
    LongBody,
    #[error("bytes that are no RTSP")]
    NotRtsp,
}

/// A request or response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    /// Start line without its end.
    start: String,
    headers: Vec<(String, String)>,
    pub(super) body: Bytes,
}

/// What stands at the head of a connection's bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// So many bytes of complete interleaved packets.
    Packets(usize),
    /// A message, taken out of the buffer.
    Message(Message),
    /// More is needed.
    Partial,
}

impl Piece {
    /// Looks at what came (RFC 2326 10.12): packets first, as many as are whole.
    pub(super) fn take(buffer: &mut BytesMut) -> Result<Self, Malformed> {
        let packets = whole_packets(buffer);
        if packets > 0 {
            return Ok(Self::Packets(packets));
        }
        while matches!(buffer.first(), Some(b'\r' | b'\n')) {
            buffer.advance(1);
        }
        if matches!(buffer.first(), None | Some(b'$')) {
            return Ok(Self::Partial);
        }
        Ok(Message::take(buffer)?.map_or(Self::Partial, Self::Message))
    }
}

/// Bytes since the last packet with an RTP marker (the end of a picture) in these
/// whole packets, on top of `before`.
pub(super) fn unfinished(packets: &[u8], before: usize) -> usize {
    let (mut at, mut bytes) = (0, before);
    while let Some(&[b'$', channel, high, low, _, kind]) = packets.get(at..at + 6) {
        let length = usize::from(u16::from_be_bytes([high, low]));
        // RTCP has odd channels; its packet types have this bit set too.
        let ends = channel % 2 == 0 && kind & 0x80 != 0;
        bytes = if ends { 0 } else { bytes + length };
        at += 4 + length;
    }
    bytes
}

/// Length of the whole `$` packets at the head of the buffer.
fn whole_packets(buffer: &[u8]) -> usize {
    let mut at = 0;
    while let Some(&[b'$', _, high, low]) = buffer.get(at..at + 4) {
        let end = at + 4 + usize::from(u16::from_be_bytes([high, low]));
        if end > buffer.len() {
            break;
        }
        at = end;
    }
    at
}

impl Message {
    /// A request without headers.
    #[cfg(test)]
    pub(super) fn request(method: &str, uri: &str) -> Self {
        Self::new(format!("{method} {uri} RTSP/1.0"))
    }

    /// A response without headers.
    pub(super) fn response(status: u16, phrase: &str) -> Self {
        Self::new(format!("RTSP/1.0 {status} {phrase}"))
    }

    const fn new(start: String) -> Self {
        Self {
            start,
            headers: Vec::new(),
            body: Bytes::new(),
        }
    }

    fn take(buffer: &mut BytesMut) -> Result<Option<Self>, Malformed> {
        let window = &buffer[..buffer.len().min(HEAD_LIMIT)];
        let Some(end) = window.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
            return if window.len() < HEAD_LIMIT {
                Ok(None)
            } else {
                Err(Malformed::LongHead)
            };
        };
        let head = String::from_utf8_lossy(&window[..end]).into_owned();
        let mut lines = head.split("\r\n");
        let start = lines.next().unwrap_or_default().trim().to_owned();
        if !start.contains("RTSP/") {
            return Err(Malformed::NotRtsp);
        }
        let headers = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
            .collect();
        let mut message = Self {
            headers,
            ..Self::new(start)
        };
        let length: usize = match message.header("Content-Length") {
            None => 0,
            Some(length) => length.parse().map_err(|_| Malformed::NotRtsp)?,
        };
        if length > BODY_LIMIT {
            return Err(Malformed::LongBody);
        }
        let whole = end + 4 + length;
        if buffer.len() < whole {
            return Ok(None);
        }
        buffer.advance(end + 4);
        message.body = buffer.split_to(length).freeze();
        Ok(Some(message))
    }

    /// The bytes on the wire.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(512 + self.body.len());
        bytes.extend_from_slice(self.start.as_bytes());
        for (name, value) in &self.headers {
            for part in ["\r\n", name, ": ", value] {
                bytes.extend_from_slice(part.as_bytes());
            }
        }
        bytes.extend_from_slice(b"\r\n\r\n");
        bytes.extend_from_slice(&self.body);
        bytes
    }

    /// The status of a response.
    pub(super) fn status(&self) -> Option<u16> {
        let rest = self.start.strip_prefix("RTSP/")?;
        rest.split_ascii_whitespace().nth(1)?.parse().ok()
    }

    /// Method and URI of a request.
    pub(super) fn asked(&self) -> Option<(&str, &str)> {
        let mut parts = self.start.split_ascii_whitespace();
        let method = parts.next()?;
        (!method.starts_with("RTSP/")).then_some((method, parts.next()?))
    }

    /// The first header of this name.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        let found = headers.find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// All headers of this name.
    pub(super) fn all<'a, 'n>(
        &'a self,
        name: &'n str,
    ) -> impl Iterator<Item = &'a str> + use<'a, 'n> {
        self.headers
            .iter()
            .filter(move |(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// Sets a header, in place of all of that name.
    pub(super) fn set(&mut self, name: &str, value: impl Into<String>) {
        self.remove(name);
        self.headers.push((name.to_owned(), value.into()));
    }

    /// Removes all headers of this name.
    pub(super) fn remove(&mut self, name: &str) {
        self.headers
            .retain(|(known, _)| !known.eq_ignore_ascii_case(name));
    }

    /// The same request with another method or URI.
    #[must_use]
    pub(super) fn retarget(mut self, method: &str, uri: &str) -> Self {
        self.start = format!("{method} {uri} RTSP/1.0");
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &[u8] =
        b"RTSP/1.0 200 OK\r\nCSeq: 2\r\nwww-authenticate: A\r\nWWW-Authenticate: B\r\nContent-Length: 3\r\n\r\nv=0";

    #[test]
    fn messages_and_packets_are_told_apart_at_every_split() {
        let packet = [b'$', 0, 0, 2, 9, 9];
        let whole = [&packet[..], &packet, b"\r\n", ANSWER, &packet].concat();
        for split in 0..=whole.len() {
            let mut buffer = BytesMut::new();
            let (mut packets, mut messages) = (0, Vec::new());
            for part in [&whole[..split], &whole[split..]] {
                buffer.extend_from_slice(part);
                loop {
                    match Piece::take(&mut buffer).unwrap() {
                        Piece::Packets(length) => {
                            packets += length;
                            buffer.advance(length);
                        }
                        Piece::Message(message) => messages.push(message),
                        Piece::Partial => break,
                    }
                }
            }
            assert_eq!((packets, messages.len(), buffer.len()), (18, 1, 0));
            let message = &messages[0];
            assert_eq!(message.status(), Some(200));
            assert_eq!(
                message.all("WWW-AUTHENTICATE").collect::<Vec<_>>(),
                ["A", "B"]
            );
            assert_eq!(&message.body[..], b"v=0");
        }
    }

    #[test]
    fn pictures_that_do_not_end_are_counted() {
        let packet = |channel, kind| [b'$', channel, 0, 3, 0x80, kind, 0];
        let open = [packet(0, 96), packet(0, 96), packet(1, 200)].concat();
        assert_eq!(unfinished(&open, 100), 109);
        let closed = [packet(0, 96), packet(0, 0x80 | 96), packet(0, 96)].concat();
        assert_eq!(unfinished(&closed, 100), 3);
    }

    #[test]
    fn what_is_written_reads_back() {
        let mut message = Message::request("DESCRIBE", "rtsp://a/b");
        message.set("CSeq", "4");
        let mut buffer = BytesMut::from(&message.encode()[..]);
        let Ok(Piece::Message(read)) = Piece::take(&mut buffer) else {
            panic!("not read");
        };
        assert_eq!(read, message);
        assert_eq!(read.asked(), Some(("DESCRIBE", "rtsp://a/b")));
    }

    #[test]
    fn what_is_too_long_or_no_rtsp_is_refused() {
        let mut long = BytesMut::from(&vec![b'x'; HEAD_LIMIT][..]);
        assert_eq!(Piece::take(&mut long), Err(Malformed::LongHead));
        let mut http = BytesMut::from(&b"HTTP/1.1 200 OK\r\n\r\n"[..]);
        assert_eq!(Piece::take(&mut http), Err(Malformed::NotRtsp));
        let mut body = BytesMut::from(&b"RTSP/1.0 200 OK\r\nContent-Length: 999999\r\n\r\n"[..]);
        assert_eq!(Piece::take(&mut body), Err(Malformed::LongBody));
    }

    #[test]
    fn flipped_bits_never_panic() {
        for bit in 0..ANSWER.len() * 8 {
            let mut bytes = ANSWER.to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let _ = Piece::take(&mut BytesMut::from(&bytes[..]));
        }
    }
}
