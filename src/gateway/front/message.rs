//! RTSP messages of the field, read leniently: heads, interleaved packets, resynchronisation.

use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::fix::Fixes;

/// After this long without a byte an [`Piece::Unfinished`] message is taken as it is
/// ([`Reader::settle`]).
pub(super) const SILENCE: Duration = Duration::from_millis(700);

/// Bytes that are no RTSP, or over the limits: a sentence that begins with "it sent".
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed { #[error("")] LongHead, #[error("")] LongBody, #[error("")] Http, #[error("")] Tls, #[error("")] NotRtsp, #[error("")] Lost }

/// A piece of a connection.
pub(super) enum Piece<'r> {
    /// One interleaved packet (RTP or RTCP), in the reader's buffer.
    Packet { channel: u8, payload: &'r [u8] },
    /// A whole message.
    Message(Message),
    /// So many bytes were neither, and are gone.
    Skipped(usize),
    /// A message has begun; after [`SILENCE`] call [`Reader::settle`].
    Unfinished,
    /// Nothing more without more bytes.
    Partial,
}

/// The bytes of one connection, from the camera to pieces.
pub(super) struct Reader { fixes: Fixes, buffer: BytesMut }

impl Reader {
    pub(super) fn new(fixes: Fixes) -> Self;
    /// Where the socket's bytes are read to (`read_buf`); at least `room` bytes are free.
    pub(super) fn space(&mut self, room: usize) -> &mut BytesMut;
    /// A channel that SETUP agreed on (call for each; may be called before it is answered).
    pub(super) fn expect_channel(&mut self, channel: u8);
    /// Whether the next 200 answers a DESCRIBE: it has a body even where its head names none.
    pub(super) fn expect_description(&mut self, expected: bool);
    /// The next piece; call until `Partial` or `Unfinished`, then read more.
    pub(super) fn next(&mut self) -> Result<Piece<'_>, Malformed>;
    /// The unfinished message as far as it came, after a silence or at the connection's end.
    pub(super) fn settle(&mut self) -> Option<Message>;
}

/// A request or an answer. Debug hides `Authorization`.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Message { headers: Vec<(String, Bytes)>, pub(super) body: Bytes }

impl Message {
    pub(super) fn request(method: &str, uri: &str) -> Self;
    pub(super) fn response(status: u16, phrase: &str) -> Self;
    pub(super) fn status(&self) -> Option<u16>;
    pub(super) fn asked(&self) -> Option<(&str, &str)>;
    /// First header of this name, its bytes as sent without outer white space.
    pub(super) fn header(&self, name: &str) -> Option<&[u8]>;
    /// The same as text: UTF-8, else read as Latin-1.
    pub(super) fn text(&self, name: &str) -> Option<std::borrow::Cow<'_, str>>;
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]>;
    pub(super) fn set(&mut self, name: &str, value: impl Into<Bytes>);
    pub(super) fn remove(&mut self, name: &str);
    #[must_use]
    pub(super) fn retarget(self, method: &str, uri: &str) -> Self;
    /// CSeq first, then a fixed order; Content-Length where there is a body.
    pub(super) fn encode(&self) -> Vec<u8>;
    /// For a trace: without secrets (Authorization, passwords in URIs).
    pub(super) fn traced(&self) -> String;
}
