//! RTSP messages: requests and interleaved data in, answers out. Pure.
//!
//! Requests are read as leniently as can be without guessing where one ends:
//! line ends of LF alone, folded headers, bytes that are no UTF-8, spaces in the
//! URL. What can't be RTSP is told at its first bytes: a player that waits for an
//! answer to something else must not wait.

use bytes::{Buf, Bytes, BytesMut};

use crate::reason::Reason;

/// Largest request, headers and body, in bytes.
pub const REQUEST_LIMIT: usize = 16 * 1024;

/// Largest interleaved packet taken from a client, in bytes: RTCP is far smaller.
pub const DATA_LIMIT: usize = 8 * 1024;

/// First byte of a TLS handshake record (RFC 8446 5.1).
const TLS_HANDSHAKE: u8 = 0x16;

/// What a client sent.
#[derive(Debug)]
pub enum Incoming {
    /// A request.
    Request(Request),
    /// Interleaved data, RTCP in practice: a sign of life.
    Data,
    /// An answer to nothing: passed over.
    Response,
}

/// A request's method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// `OPTIONS`
    Options,
    /// `DESCRIBE`
    Describe,
    /// `SETUP`
    Setup,
    /// `PLAY`
    Play,
    /// `PAUSE`
    Pause,
    /// `TEARDOWN`
    Teardown,
    /// `GET_PARAMETER`, `SET_PARAMETER`: keep-alives, as players use them.
    Parameter,
    /// Any other.
    Other,
}

/// A request. Its body, which no method here has a use for, is left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The method as written, which Digest covers.
    pub name: String,
    /// The URL as written.
    pub uri: String,
    /// Whether it is RTSP 1.0.
    pub is_version_1: bool,
    headers: Vec<(String, String)>,
}

impl Request {
    /// The first header of this name.
    pub fn header<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        self.headers(name).next()
    }

    /// All headers of this name, in their order.
    pub fn headers<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers
            .iter()
            .filter(move |(there, _)| there.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }
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
    /// HTTP: tunnelling, or a browser.
    #[error("HTTP where RTSP is spoken; RTSP over HTTP is not served")]
    Http,
    /// A TLS handshake on the port of clear RTSP.
    #[error("TLS on the port of clear RTSP; players must use tls_listen's port")]
    Tls,
}

impl ReadError {
    /// What the client is told before the connection closes; nothing where it
    /// would understand nothing.
    pub fn answer(self) -> Option<Bytes> {
        match self {
            Self::Malformed => Some(Reply::new(400, None).to_bytes()),
            Self::TooLarge => Some(Reply::new(413, None).to_bytes()),
            Self::Http => Some(Bytes::from_static(
                b"HTTP/1.1 501 Not Implemented\r\nServer: fanal\r\nConnection: close\r\n\
                  Content-Type: text/plain\r\nContent-Length: 61\r\n\r\n\
                  This port speaks RTSP; RTSP tunnelled in HTTP is not served.\n",
            )),
            Self::Tls => None,
        }
    }

    /// The label of metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::TooLarge => "too_large",
            Self::Http => "http",
            Self::Tls => "tls",
        }
    }
}

/// Takes the next whole message off the front of what was read; `None`: more is needed.
///
/// # Errors
/// What is at the front is no RTSP, or larger than is taken.
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
        Some(&TLS_HANDSHAKE) => Err(ReadError::Tls),
        Some(byte) if byte.is_ascii_alphabetic() => take_text(buffer),
        Some(_) => Err(ReadError::Malformed),
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

fn take_text(buffer: &mut BytesMut) -> Result<Option<Incoming>, ReadError> {
    let window = buffer.get(..REQUEST_LIMIT).unwrap_or(buffer);
    let line_end = window.iter().position(|byte| *byte == b'\n');
    let first = window.get(..line_end.unwrap_or(window.len()));
    let first = first.unwrap_or_default();
    let is_text = |byte: &u8| *byte >= b' ' || matches!(byte, b'\t' | b'\r');
    if !first.iter().all(is_text) {
        return Err(ReadError::Malformed);
    }
    let start = line_end
        .map(|_| Start::read(&String::from_utf8_lossy(first)))
        .transpose()?;
    let (Some(start), Some(head_end)) = (start, head_end(window)) else {
        return if buffer.len() >= REQUEST_LIMIT {
            Err(ReadError::TooLarge)
        } else {
            Ok(None)
        };
    };
    let head = String::from_utf8_lossy(window.get(..head_end).unwrap_or_default());
    let headers = read_headers(&head);
    let length = headers
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case("Content-Length"))
        .map_or(Ok(0), |(_, value)| value.parse::<u64>());
    let length = length.map_err(|_| ReadError::Malformed)?;
    let end = usize::try_from(length)
        .ok()
        .and_then(|n| head_end.checked_add(n));
    let end = end.filter(|end| *end <= REQUEST_LIMIT);
    let end = end.ok_or(ReadError::TooLarge)?;
    if buffer.len() < end {
        return Ok(None);
    }
    buffer.advance(end);
    Ok(Some(match start {
        Start::Response => Incoming::Response,
        Start::Request {
            name,
            uri,
            is_version_1,
        } => Incoming::Request(Request {
            method: method(&name),
            name,
            uri,
            is_version_1,
            headers,
        }),
    }))
}

/// Where the head ends: behind its first empty line.
fn head_end(window: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        let line = window.get(from..)?;
        let length = line.iter().position(|byte| *byte == b'\n')?;
        from += length + 1;
        if matches!(line.get(..length), Some([] | [b'\r'])) {
            return Some(from);
        }
    }
}

/// What a first line says.
enum Start {
    Response,
    Request {
        name: String,
        uri: String,
        is_version_1: bool,
    },
}

impl Start {
    fn read(line: &str) -> Result<Self, ReadError> {
        let line = line.trim();
        if line.starts_with("RTSP/") {
            return Ok(Self::Response);
        }
        let (name, rest) = line
            .split_once(char::is_whitespace)
            .ok_or(ReadError::Malformed)?;
        let (uri, version) = rest
            .rsplit_once(char::is_whitespace)
            .ok_or(ReadError::Malformed)?;
        let version = version.to_ascii_uppercase();
        if version.starts_with("HTTP/") {
            return Err(ReadError::Http);
        }
        if !version.starts_with("RTSP/") {
            return Err(ReadError::Malformed);
        }
        Ok(Self::Request {
            name: name.to_owned(),
            uri: uri.trim().to_owned(),
            is_version_1: version == "RTSP/1.0",
        })
    }
}

/// The headers of a head, its first line passed over. Folded lines (RFC 2326 4.1,
/// by RFC 2068) are put together; lines without a colon are passed over.
fn read_headers(head: &str) -> Vec<(String, String)> {
    let mut headers: Vec<(String, String)> = Vec::new();
    for line in head.lines().skip(1) {
        if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = headers.last_mut() {
                value.push(' ');
                value.push_str(line.trim());
            }
        } else if let Some((name, value)) = line.split_once(':') {
            headers.push((name.trim().to_owned(), value.trim().to_owned()));
        }
    }
    headers
}

fn method(name: &str) -> Method {
    match name.to_ascii_uppercase().as_str() {
        "OPTIONS" => Method::Options,
        "DESCRIBE" => Method::Describe,
        "SETUP" => Method::Setup,
        "PLAY" => Method::Play,
        "PAUSE" => Method::Pause,
        "TEARDOWN" => Method::Teardown,
        "GET_PARAMETER" | "SET_PARAMETER" => Method::Parameter,
        _ => Method::Other,
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
    /// Why the request is refused, as metrics count it: a reason's code or another
    /// label (deploy/reference/metrics.md); `None` where it is not, or only asked for credentials.
    pub refused: Option<&'static str>,
}

/// The phrase of a status that this server answers with (RFC 2326 7.1.1).
const fn phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        406 => "Not Acceptable",
        413 => "Request Entity Too Large",
        454 => "Session Not Found",
        455 => "Method Not Valid In This State",
        459 => "Aggregate Operation Not Allowed",
        461 => "Unsupported Transport",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        505 => "RTSP Version Not Supported",
        551 => "Option Not Supported",
        _ => "Refused",
    }
}

impl Reply {
    /// An answer to the request with this `CSeq`.
    pub fn new(status: u16, sequence: Option<u32>) -> Self {
        let sequence = sequence.map(|number| ("CSeq", number.to_string()));
        let refused = match status {
            ..400 | 401 => None,
            404 => Some("not_found"),
            413 => Some("too_large"),
            454 | 455 | 459 => Some("out_of_place"),
            461 => Some("transport"),
            406 | 501 | 505 | 551 => Some("unsupported"),
            400 => Some("malformed"),
            _ => Some(Reason::Internal.code()),
        };
        Self {
            status,
            headers: sequence.into_iter().collect(),
            body: Vec::new(),
            refused,
        }
    }

    /// The answer to a request that is refused for this reason.
    pub fn refused(reason: Reason, sequence: Option<u32>) -> Self {
        Self::new(reason.rtsp_status(), sequence).because(reason)
    }

    /// With the reason and its sentence.
    #[must_use]
    pub fn because(mut self, reason: Reason) -> Self {
        self.refused = Some(reason.code());
        self.with("X-Reason", reason.code())
            .with("X-Reason-Text", reason.english())
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
        let phrase = phrase(self.status);
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

    fn request(data: &[u8]) -> Request {
        match take(&mut BytesMut::from(data)) {
            Ok(Some(Incoming::Request(request))) => request,
            other => panic!("{other:?} of {}", String::from_utf8_lossy(data)),
        }
    }

    #[test]
    fn pipelined_messages_come_apart_at_any_split() {
        let bare: Vec<u8> = REQUEST.iter().copied().filter(|b| *b != b'\r').collect();
        for request in [REQUEST, &bare] {
            let mut data = b"\r\n".to_vec();
            data.extend_from_slice(request);
            data.extend_from_slice(&[b'$', 1, 0, 3, 9, 9, 9]);
            data.extend_from_slice(request);
            data.extend_from_slice(b"RTSP/1.0 200 OK\r\nCSeq: 1\r\n\r\n");
            for step in 1..data.len() {
                let kinds = kinds(&data, step).unwrap();
                assert_eq!(kinds, ["request", "data", "request", "response"], "{step}");
            }
        }
    }

    #[test]
    fn what_the_field_writes_is_read() {
        let read = request(
            b"DESCRIBE rtsp://h/a b/c  RTSP/1.0\nCSeq:7\nno header\nuser-AGENT: caf\xe9 \n\
              X: one\r\n\ttwo\r\n\r\n",
        );
        assert_eq!(read.method, Method::Describe);
        assert_eq!(read.uri, "rtsp://h/a b/c");
        assert_eq!(read.header("cseq"), Some("7"));
        assert_eq!(read.header("User-Agent"), Some("caf\u{fffd}"));
        assert_eq!(read.header("X"), Some("one two"));
        let read = request(b"Play * rtsp/1.0\r\nA: 1\r\na: 2\r\n\r\n");
        assert_eq!((read.method, read.name.as_str()), (Method::Play, "Play"));
        assert!(read.is_version_1);
        assert_eq!(read.headers("A").collect::<Vec<_>>(), ["1", "2"]);
        assert!(!request(b"PLAY * RTSP/2.0\r\n\r\n").is_version_1);
        assert_eq!(request(b"DANCE * RTSP/1.0\r\n\r\n").method, Method::Other);
    }

    #[test]
    fn what_is_no_rtsp_is_told_at_its_first_bytes() {
        for (data, error) in [
            (&b"\x16\x03\x01"[..], ReadError::Tls),
            (b"\x00", ReadError::Malformed),
            (b"OPT\x07", ReadError::Malformed),
            (b"hello\r\n", ReadError::Malformed),
            (b"OPTIONS *\r\n", ReadError::Malformed),
            (b"OPTIONS * SIP/2.0\r\n", ReadError::Malformed),
            (b"GET /a/b HTTP/1.0\r\n", ReadError::Http),
            (b"POST /a/b HTTP/1.1\n", ReadError::Http),
            (
                b"PLAY * RTSP/1.0\r\nContent-Length: x\r\n\r\n",
                ReadError::Malformed,
            ),
        ] {
            assert_eq!(kinds(data, data.len()), Err(error), "{data:?}");
        }
        for error in [ReadError::Malformed, ReadError::TooLarge, ReadError::Http] {
            let answer = error.answer().unwrap();
            let text = std::str::from_utf8(&answer).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            let length = format!("Content-Length: {}", body.len());
            assert!(body.is_empty() || head.contains(&length), "{text}");
        }
    }

    #[test]
    fn what_is_too_large_is_refused_before_it_is_read() {
        let endless = vec![b'A'; REQUEST_LIMIT];
        assert_eq!(kinds(&endless, 1_000), Err(ReadError::TooLarge));
        let body = b"PLAY * RTSP/1.0\r\nContent-Length: 999999999999\r\n\r\n";
        assert_eq!(kinds(body, 10), Err(ReadError::TooLarge));
        let long = [&b"PLAY * RTSP/1.0\r\nX: "[..], &[b'x'; REQUEST_LIMIT]].concat();
        assert_eq!(kinds(&long, 1_000), Err(ReadError::TooLarge));
        assert_eq!(kinds(&[b'$', 1, 0x20, 1], 4), Err(ReadError::TooLarge));
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
