//! RTSP messages: requests and interleaved data in, answers out. Pure.

use bytes::{Buf, Bytes, BytesMut};
use rtsp_types::{Message, ParseError, Request};

/// Largest request, headers and body, in bytes.
pub const REQUEST_LIMIT: usize = 16 * 1024;

/// Largest interleaved packet taken from a client, in bytes: RTCP is far smaller.
pub const DATA_LIMIT: usize = 8 * 1024;

/// What a client sent.
#[derive(Debug)]
pub enum Incoming {
    /// A request.
    Request(Box<Request<Vec<u8>>>),
    /// Interleaved data, RTCP in practice: a sign of life.
    Data,
    /// An answer to nothing: passed over.
    Response,
}

/// Why what a client sent can't be read on; the connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Neither a request nor interleaved data.
    #[error("not RTSP")]
    Malformed,
    /// Over [`REQUEST_LIMIT`] or [`DATA_LIMIT`].
    #[error("request is too large")]
    TooLarge,
}

/// Takes the next whole message off the front of what was read; `None`: more is needed.
pub fn take(buffer: &mut BytesMut) -> Result<Option<Incoming>, ReadError> {
    // Stray line ends between messages are to be passed over (RFC 2326 4.1).
    let stray = buffer
        .iter()
        .take_while(|byte| matches!(byte, b'\r' | b'\n'))
        .count();
    buffer.advance(stray);
    match buffer.first() {
        None => Ok(None),
        Some(b'$') => take_data(buffer),
        Some(_) => take_request(buffer),
    }
}

fn take_data(buffer: &mut BytesMut) -> Result<Option<Incoming>, ReadError> {
    let Some(&[_, _, high, low]) = buffer.first_chunk() else {
        return Ok(None);
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > DATA_LIMIT {
        return Err(ReadError::TooLarge);
    }
    if buffer.len() < 4 + length {
        return Ok(None);
    }
    buffer.advance(4 + length);
    Ok(Some(Incoming::Data))
}

fn take_request(buffer: &mut BytesMut) -> Result<Option<Incoming>, ReadError> {
    let window = &buffer[..buffer.len().min(REQUEST_LIMIT)];
    if !window.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
        return if buffer.len() >= REQUEST_LIMIT {
            Err(ReadError::TooLarge)
        } else {
            Ok(None)
        };
    }
    match Message::<Vec<u8>>::parse(&buffer[..]) {
        Ok((_, used)) if used > REQUEST_LIMIT => Err(ReadError::TooLarge),
        Ok((message, used)) => {
            buffer.advance(used);
            Ok(Some(match message {
                Message::Request(request) => Incoming::Request(Box::new(request)),
                Message::Response(_) => Incoming::Response,
                Message::Data(_) => Incoming::Data,
            }))
        }
        // The headers are whole, so it is the body that is missing.
        Err(ParseError::Incomplete(Some(missing))) => {
            if missing.get().saturating_add(buffer.len()) > REQUEST_LIMIT {
                Err(ReadError::TooLarge)
            } else {
                Ok(None)
            }
        }
        Err(ParseError::Incomplete(None) | ParseError::Error) => Err(ReadError::Malformed),
    }
}

/// An answer. Written by hand: headers of one name must stay apart, for players
/// read one challenge from each `WWW-Authenticate` line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Status code.
    pub status: u16,
    /// Headers in their order.
    pub headers: Vec<(&'static str, String)>,
    /// Body; empty for none.
    pub body: Vec<u8>,
}

impl Reply {
    /// An answer to the request with this `CSeq`.
    pub fn new(status: u16, sequence: Option<u32>) -> Self {
        let sequence = sequence.map(|number| ("CSeq", number.to_string()));
        Self {
            status,
            headers: sequence.into_iter().collect(),
            body: Vec::new(),
        }
    }

    /// With this header too. Line ends in `value` become spaces.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        let mut value = value.into();
        if value.contains(char::is_control) {
            value = value.replace(char::is_control, " ");
        }
        self.headers.push((name, value));
        self
    }

    /// The answer's bytes.
    pub fn to_bytes(&self) -> Bytes {
        let phrase = rtsp_types::StatusCode::from(self.status);
        let mut text = format!("RTSP/1.0 {} {phrase}\r\n", self.status);
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("Server: fanal\r\n");
        if !self.body.is_empty() {
            text.push_str(&format!("Content-Length: {}\r\n", self.body.len()));
        }
        text.push_str("\r\n");
        let mut out = text.into_bytes();
        out.extend_from_slice(&self.body);
        out.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const REQUEST: &[u8] = b"SET_PARAMETER rtsp://h/a/b RTSP/1.0\r\nCSeq: 3\r\n\
        Content-Length: 4\r\n\r\nbody";

    fn kinds(mut data: &[u8], step: usize) -> Result<Vec<&'static str>, ReadError> {
        let mut buffer = BytesMut::new();
        let mut kinds = Vec::new();
        while !data.is_empty() {
            let (now, later) = data.split_at(step.min(data.len()));
            buffer.extend_from_slice(now);
            data = later;
            while let Some(incoming) = take(&mut buffer)? {
                kinds.push(match incoming {
                    Incoming::Request(_) => "request",
                    Incoming::Data => "data",
                    Incoming::Response => "response",
                });
            }
        }
        Ok(kinds)
    }

    #[test]
    fn pipelined_messages_come_apart_at_any_split() {
        let mut data = b"\r\n".to_vec();
        data.extend_from_slice(REQUEST);
        data.extend_from_slice(&[b'$', 1, 0, 3, 9, 9, 9]);
        data.extend_from_slice(REQUEST);
        data.extend_from_slice(b"RTSP/1.0 200 OK\r\nCSeq: 1\r\n\r\n");
        for step in 1..data.len() {
            let kinds = kinds(&data, step).unwrap();
            assert_eq!(kinds, ["request", "data", "request", "response"], "{step}");
        }
    }

    #[test]
    fn what_is_too_large_is_refused_before_it_is_read() {
        let endless = vec![b'A'; REQUEST_LIMIT];
        assert_eq!(kinds(&endless, 1_000), Err(ReadError::TooLarge));
        let body = b"PLAY * RTSP/1.0\r\nContent-Length: 999999999999\r\n\r\n";
        assert_eq!(kinds(body, 10), Err(ReadError::TooLarge));
        assert_eq!(kinds(&[b'$', 1, 0x20, 1], 4), Err(ReadError::TooLarge));
        assert_eq!(
            kinds(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", 99),
            Err(ReadError::Malformed)
        );
    }

    proptest! {
        #[test]
        fn no_bytes_panic(data in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = kinds(&data, 7);
        }

        #[test]
        fn no_flipped_bit_panics(bit in 0..REQUEST.len() * 8) {
            let mut broken = REQUEST.to_vec();
            broken[bit / 8] ^= 1 << (bit % 8);
            let _ = kinds(&broken, 1_000);
        }
    }

    #[test]
    fn headers_of_one_name_stay_apart_and_on_their_line() {
        let reply = Reply::new(401, Some(2))
            .with("X", "a\r\nY: b")
            .with("X", "c");
        let text = String::from_utf8(reply.to_bytes().to_vec()).unwrap();
        assert_eq!(
            text,
            "RTSP/1.0 401 Unauthorized\r\nCSeq: 2\r\nX: a  Y: b\r\nX: c\r\nServer: fanal\r\n\r\n"
        );
    }
}
