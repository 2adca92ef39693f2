//! The bytes of `fanal/1-tcp`: records inside TLS, all numbers big-endian.
//!
//! A record is a kind u8, the body's length u16, a stream u64, and the body.
//! Stream 0 is the connection, 1 the control stream, which is open in both
//! directions from the start; 2, 3, 4 … go from gateway to receiver, each used
//! once. Whoever names one has opened all below it.
//!
//! | kind | body | says |
//! |---|---|---|
//! | 1 `DATA` | 1 to [`DATA_LIMIT`] bytes | more of this stream |
//! | 2 `FIN` | | this stream is complete |
//! | 3 `RESET` | code u32 | the sender gives this stream up |
//! | 4 `STOP` | code u32 | the receiver wants no more of it; answered by `RESET` |
//! | 5 `WINDOW` | bytes u32 | so many more bytes may be sent, on this stream or (0) on all but control |
//! | 6 `STREAMS` | count u64 | so many streams may be opened, in all since the start |
//! | 7 `PING` | number u64 | answer this |
//! | 8 `PONG` | number u64 | the answer |
//! | 9 `CLOSE` | code u32, at most 252 bytes of text | the link is over |
//! | 10 `ACK` | bytes u64 | so many bytes of all streams but control have come, since the start |

use bytes::BufMut;

/// Bytes of a record before its body.
pub(super) const HEADER: usize = 11;
/// What one TLS record holds.
pub(super) const BATCH: usize = 16 * 1024;
/// Most bytes of a stream in one record, which then fills one TLS record: small,
/// so that control messages soon overtake pictures.
pub(super) const DATA_LIMIT: usize = BATCH - HEADER;
/// Most bytes of any other body.
const BODY_LIMIT: usize = 256;
/// Most bytes of text in a `CLOSE`.
pub(super) const TEXT_LIMIT: usize = BODY_LIMIT - 4;

/// What does not hold bytes of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Record {
    /// This stream is complete.
    Fin(u64),
    /// The sender gives this stream up, with a code.
    Reset(u64, u32),
    /// The receiver wants no more of this stream, with a code.
    Stop(u64, u32),
    /// More bytes may be sent on this stream; on 0, on all but control.
    Window(u64, u32),
    /// So many streams may be opened, in all.
    Streams(u64),
    /// To be answered.
    Ping(u64),
    /// The answer.
    Pong(u64),
    /// The link is over, with a code and a text.
    Close(u32, Vec<u8>),
    /// So many bytes of all streams but control have come.
    Ack(u64),
}

/// What a decoder finds next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Item<'a> {
    /// Bytes of a stream: a record's, or a piece of them.
    Data(u64, &'a [u8]),
    /// A whole record.
    Record(Record),
}

/// Bytes that are no record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum DecodeError {
    /// A kind of no version that speaks `fanal/1-tcp`.
    #[error("record of unknown kind {0}")]
    Kind(u8),
    /// A body that is too long or too short for its kind.
    #[error("record of kind {0} with a body of {1} bytes")]
    Length(u8, u16),
    /// A stream where the connection is meant, or the other way round.
    #[error("record of kind {0} on stream {1}")]
    Stream(u8, u64),
}

const DATA: u8 = 1;
const FIN: u8 = 2;
const RESET: u8 = 3;
const STOP: u8 = 4;
const WINDOW: u8 = 5;
const STREAMS: u8 = 6;
const PING: u8 = 7;
const PONG: u8 = 8;
const CLOSE: u8 = 9;
const ACK: u8 = 10;

fn put_header(out: &mut Vec<u8>, kind: u8, length: usize, stream: u64) {
    out.put_u8(kind);
    // Every caller's length is below its limit, and every limit below 2^16.
    out.put_u16(length as u16);
    out.put_u64(stream);
}

/// The header of a `DATA` record with so many bytes, which follow.
pub(super) fn put_data_header(out: &mut Vec<u8>, stream: u64, length: usize) {
    debug_assert!((1..=DATA_LIMIT).contains(&length));
    put_header(out, DATA, length, stream);
}

impl Record {
    /// Appends its bytes.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Fin(stream) => put_header(out, FIN, 0, *stream),
            Self::Reset(stream, code) => {
                put_header(out, RESET, 4, *stream);
                out.put_u32(*code);
            }
            Self::Stop(stream, code) => {
                put_header(out, STOP, 4, *stream);
                out.put_u32(*code);
            }
            Self::Window(stream, bytes) => {
                put_header(out, WINDOW, 4, *stream);
                out.put_u32(*bytes);
            }
            Self::Streams(count) => {
                put_header(out, STREAMS, 8, 0);
                out.put_u64(*count);
            }
            Self::Ping(number) => {
                put_header(out, PING, 8, 0);
                out.put_u64(*number);
            }
            Self::Pong(number) => {
                put_header(out, PONG, 8, 0);
                out.put_u64(*number);
            }
            Self::Ack(bytes) => {
                put_header(out, ACK, 8, 0);
                out.put_u64(*bytes);
            }
            Self::Close(code, text) => {
                let text = &text[..text.len().min(TEXT_LIMIT)];
                put_header(out, CLOSE, 4 + text.len(), 0);
                out.put_u32(*code);
                out.extend_from_slice(text);
            }
        }
    }
}

/// Takes records apart, in whatever pieces they come. Holds at most one header
/// and one small body.
#[derive(Debug)]
pub(super) struct Decoder {
    /// A header, then a small body, as far as they came.
    held: Vec<u8>,
    /// A `DATA` record's stream and the bytes of it that are still to come.
    data: Option<(u64, usize)>,
}

impl Decoder {
    pub(super) fn new() -> Self {
        Self {
            held: Vec::with_capacity(HEADER + BODY_LIMIT),
            data: None,
        }
    }

    /// The next item of `input`, which moves on; `None` when all of it is used.
    /// After an error there is no way on.
    pub(super) fn next<'a>(
        &mut self,
        input: &mut &'a [u8],
    ) -> Result<Option<Item<'a>>, DecodeError> {
        if let Some((stream, left)) = self.data {
            return Ok(self.piece(stream, left, input));
        }
        if !self.hold(input, HEADER) {
            return Ok(None);
        }
        let kind = self.held[0];
        let length = u16::from_be_bytes([self.held[1], self.held[2]]);
        let mut stream = [0; 8];
        stream.copy_from_slice(&self.held[3..HEADER]);
        let stream = u64::from_be_bytes(stream);
        check(kind, length, stream)?;
        if kind == DATA {
            self.held.clear();
            return Ok(self.piece(stream, usize::from(length), input));
        }
        if !self.hold(input, HEADER + usize::from(length)) {
            return Ok(None);
        }
        let record = small(kind, stream, &self.held[HEADER..]);
        self.held.clear();
        record.map(|record| Some(Item::Record(record)))
    }

    /// What there is of a `DATA` record's bytes.
    fn piece<'a>(&mut self, stream: u64, left: usize, input: &mut &'a [u8]) -> Option<Item<'a>> {
        let (piece, rest) = input.split_at(left.min(input.len()));
        *input = rest;
        let left = left - piece.len();
        self.data = (left > 0).then_some((stream, left));
        (!piece.is_empty()).then_some(Item::Data(stream, piece))
    }

    /// Holds bytes until there are so many.
    fn hold(&mut self, input: &mut &[u8], wanted: usize) -> bool {
        let missing = wanted.saturating_sub(self.held.len()).min(input.len());
        let (now, rest) = input.split_at(missing);
        self.held.extend_from_slice(now);
        *input = rest;
        self.held.len() >= wanted
    }
}

/// Whether a kind may have this length and stream; before anything of it is held.
fn check(kind: u8, length: u16, stream: u64) -> Result<(), DecodeError> {
    let (lengths, on_stream, on_connection) = match kind {
        DATA => (1..=DATA_LIMIT, true, false),
        FIN => (0..=0, true, false),
        RESET | STOP => (4..=4, true, false),
        WINDOW => (4..=4, true, true),
        STREAMS | PING | PONG | ACK => (8..=8, false, true),
        CLOSE => (4..=BODY_LIMIT, false, true),
        _ => return Err(DecodeError::Kind(kind)),
    };
    if !lengths.contains(&usize::from(length)) {
        return Err(DecodeError::Length(kind, length));
    }
    let fits = if stream == 0 {
        on_connection
    } else {
        on_stream
    };
    if fits {
        Ok(())
    } else {
        Err(DecodeError::Stream(kind, stream))
    }
}

/// A record other than `DATA` from its body, whose length was checked.
fn small(kind: u8, stream: u64, body: &[u8]) -> Result<Record, DecodeError> {
    let number = body.iter().fold(0_u64, |n, byte| n << 8 | u64::from(*byte));
    // Of the first four bytes, where there are as many.
    let code = body
        .iter()
        .take(4)
        .fold(0, |n, byte| n << 8 | u32::from(*byte));
    match kind {
        FIN => Ok(Record::Fin(stream)),
        RESET => Ok(Record::Reset(stream, code)),
        STOP => Ok(Record::Stop(stream, code)),
        WINDOW => Ok(Record::Window(stream, code)),
        STREAMS => Ok(Record::Streams(number)),
        PING => Ok(Record::Ping(number)),
        PONG => Ok(Record::Pong(number)),
        ACK => Ok(Record::Ack(number)),
        CLOSE => Ok(Record::Close(code, body[4..].to_vec())),
        _ => Err(DecodeError::Kind(kind)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record, or a stream's number and bytes.
    type Found = (Option<Record>, Vec<u8>);

    /// One of each, and two pieces of streams.
    fn sample() -> (Vec<u8>, Vec<Found>) {
        let mut bytes = Vec::new();
        let mut all = Vec::new();
        let mut data = |bytes: &mut Vec<u8>, stream: u64, piece: &[u8]| {
            put_data_header(bytes, stream, piece.len());
            bytes.extend_from_slice(piece);
            all.push((None, [&stream.to_be_bytes()[..], piece].concat()));
        };
        data(&mut bytes, 1, b"control");
        data(&mut bytes, u64::MAX, &[7; 300]);
        for record in [
            Record::Fin(2),
            Record::Reset(3, 0x1234_5678),
            Record::Stop(4, u32::MAX),
            Record::Window(0, 9),
            Record::Window(5, 0),
            Record::Streams(u64::MAX),
            Record::Ping(1),
            Record::Pong(0),
            Record::Ack(1 << 40),
            Record::Close(42, b"because".to_vec()),
            Record::Close(1, Vec::new()),
        ] {
            record.encode(&mut bytes);
            all.push((Some(record), Vec::new()));
        }
        (bytes, all)
    }

    /// Decodes these pieces; data of one stream is put together again.
    fn decode(pieces: &[&[u8]]) -> Result<Vec<Found>, DecodeError> {
        let mut decoder = Decoder::new();
        let mut all: Vec<Found> = Vec::new();
        for mut input in pieces.iter().copied() {
            loop {
                match decoder.next(&mut input)? {
                    None => break,
                    Some(Item::Record(record)) => all.push((Some(record), Vec::new())),
                    Some(Item::Data(stream, piece)) => {
                        assert!(!piece.is_empty());
                        let stream = stream.to_be_bytes();
                        match all.last_mut() {
                            Some((None, known)) if known.starts_with(&stream) => {
                                known.extend_from_slice(piece);
                            }
                            _ => all.push((None, [&stream[..], piece].concat())),
                        }
                    }
                }
                assert!(decoder.held.capacity() <= 2 * (HEADER + BODY_LIMIT));
            }
            assert!(input.is_empty());
        }
        Ok(all)
    }

    #[test]
    fn the_bytes_are_these() {
        let mut bytes = Vec::new();
        put_data_header(&mut bytes, 2, 3);
        Record::Reset(0x0102, 7).encode(&mut bytes);
        Record::Close(5, b"no".to_vec()).encode(&mut bytes);
        #[rustfmt::skip] // a record a line
        assert_eq!(bytes, [
            1, 0, 3, 0, 0, 0, 0, 0, 0, 0, 2,
            3, 0, 4, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 7,
            9, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5, b'n', b'o',
        ]);
    }

    #[test]
    fn records_come_back_whatever_pieces_they_came_in() {
        let (bytes, all) = sample();
        assert_eq!(decode(&[&bytes]).unwrap(), all);
        for at in 0..=bytes.len() {
            let (one, two) = bytes.split_at(at);
            assert_eq!(decode(&[one, two]).unwrap(), all, "split at {at}");
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(decode(&single).unwrap(), all);
    }

    #[test]
    fn a_truncated_record_is_not_yet_one() {
        let (bytes, all) = sample();
        for end in 0..bytes.len() {
            let found = decode(&[&bytes[..end]]).unwrap();
            assert!(found.len() <= all.len());
            let whole = found.len().saturating_sub(1);
            assert_eq!(found[..whole], all[..whole], "cut at {end}");
        }
    }

    #[test]
    fn flipped_bits_are_another_record_or_an_error_and_nothing_worse() {
        let (bytes, _) = sample();
        for bit in 0..bytes.len() * 8 {
            let mut wrong = bytes.clone();
            wrong[bit / 8] ^= 1 << (bit % 8);
            drop(decode(&[&wrong]));
        }
    }

    #[test]
    fn a_header_is_judged_before_its_body_comes() {
        let header = |kind: u8, length: u16, stream: u64| {
            let mut bytes = vec![kind];
            bytes.put_u16(length);
            bytes.put_u64(stream);
            decode(&[&bytes])
        };
        let longest = DATA_LIMIT as u16;
        assert_eq!(header(0, 0, 0), Err(DecodeError::Kind(0)));
        assert_eq!(header(11, 0, 0), Err(DecodeError::Kind(11)));
        assert_eq!(header(DATA, longest, 1), Ok(Vec::new()));
        for (kind, length, stream) in [(DATA, longest + 1, 1), (DATA, 0, 1), (FIN, 1, 2)] {
            assert_eq!(
                header(kind, length, stream),
                Err(DecodeError::Length(kind, length))
            );
        }
        for (kind, length) in [(RESET, 3), (WINDOW, 5), (PING, 9), (CLOSE, 3), (CLOSE, 257)] {
            assert_eq!(
                header(kind, length, 0),
                Err(DecodeError::Length(kind, length))
            );
        }
        for (kind, length, stream) in [(DATA, 1, 0), (RESET, 4, 0), (PING, 8, 1), (CLOSE, 4, 9)] {
            assert_eq!(
                header(kind, length, stream),
                Err(DecodeError::Stream(kind, stream))
            );
        }
    }
}
