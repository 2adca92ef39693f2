//! The journal's hash chain, without files: what a line looks like, what its
//! link is, and how one line follows another (interfaces.md 9). Pure.
//!
//! A line is one JSON object with its members in this order and no white space
//! between them:
//!
//! ```text
//! {"seq":1,"prev":"<64 hex>","time":"2026-11-23T02:13:01.123Z","digest":"<64 hex>","body":{…}}
//! ╰──────────────────────── the link is the SHA-256 of these bytes ───────────────╯
//! ```
//!
//! * `digest` is the SHA-256 of the body's bytes as written, braces included.
//! * The line's *link* is the SHA-256 of its bytes before `,"body"`, so it
//!   covers the body through the digest. The closing brace is not part of it:
//!   a copy whose body is left out ends in `…"digest":"…"}` and has the same link.
//! * `prev` is the link of the line before, 64 zeros for the first; `seq` goes
//!   up by one. Neither starts again at a new month's file.
//!
//! Nothing before `,"body"` can contain that text, so its first occurrence is
//! the boundary whatever is in the body.

use crate::clock::Wall;
use crate::format::ids::Sha256;

/// Longest line, in bytes without its newline. Longer ones are neither written nor read.
pub const LINE_LIMIT: usize = 1024 * 1024;

/// Bytes of the longest header: 20 digits of `seq`, and everything of fixed length.
const HEADER_LIMIT: usize = 256;

/// What is before the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Number of the line, from 1.
    pub seq: u64,
    /// Link of the line before; [`Sha256::ZERO`] for the first.
    pub prev: Sha256,
    /// When it was written. On the line in milliseconds: the rest is cut.
    pub time: Wall,
    /// SHA-256 of the body's bytes as written.
    pub digest: Sha256,
}

impl Header {
    /// The bytes the link covers: the line up to `,"body"` or to its last brace.
    fn covered(&self) -> String {
        format!(
            r#"{{"seq":{},"prev":"{}","time":"{}","digest":"{}""#,
            self.seq,
            self.prev,
            self.time.rfc3339(),
            self.digest
        )
    }

    /// The line's link.
    pub fn link(&self) -> Sha256 {
        Sha256::of(self.covered().as_bytes())
    }

    /// The line with this body, without a newline. The body must be the JSON
    /// object whose digest is in the header.
    pub fn with_body(&self, body: &[u8]) -> Vec<u8> {
        let mut line = self.covered().into_bytes();
        line.reserve(body.len() + 9);
        line.extend_from_slice(br#","body":"#);
        line.extend_from_slice(body);
        line.push(b'}');
        line
    }

    /// The line as in a copy that leaves the body out: the same link.
    pub fn without_body(&self) -> String {
        let mut line = self.covered();
        line.push('}');
        line
    }
}

/// A line as read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// What is before the body.
    pub header: Header,
    /// The line's link, from the bytes as they were read.
    pub link: Sha256,
    /// The body's bytes, unless this copy leaves it out.
    pub body: Option<&'a [u8]>,
}

/// Why bytes are no line of a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Longer than [`LINE_LIMIT`].
    #[error("it is longer than {LINE_LIMIT} bytes")]
    TooLong,
    /// Another text is where this member belongs.
    #[error("the member {0} is missing, misplaced or not in its form")]
    Member(&'static str),
    /// What follows the digest is neither a body nor the end.
    #[error("what follows the digest is neither a body nor the end of the line")]
    Tail,
}

impl<'a> Line<'a> {
    /// Reads a line, given without its newline. The form is checked to the byte;
    /// whether the digest is the body's is [`Line::digest_matches`]'s question.
    ///
    /// # Errors
    ///
    /// The form is not that of interfaces.md 9, to the byte.
    pub fn parse(line: &'a [u8]) -> Result<Self, DecodeError> {
        if line.len() > LINE_LIMIT {
            return Err(DecodeError::TooLong);
        }
        let mut rest = line;
        let seq = number(take(&mut rest, b"{\"seq\":", b",", "seq")?)?;
        let prev = hash(take(&mut rest, b"\"prev\":\"", b"\",", "prev")?, "prev")?;
        let time = time(take(&mut rest, b"\"time\":\"", b"\",", "time")?)?;
        let digest = hash(
            take(&mut rest, b"\"digest\":\"", b"\"", "digest")?,
            "digest",
        )?;
        let covered = &line[..line.len() - rest.len()];
        let body = match rest {
            b"}" => None,
            _ => {
                let body = rest
                    .strip_prefix(b",\"body\":")
                    .and_then(|rest| rest.strip_suffix(b"}"))
                    .filter(|body| body.starts_with(b"{") && body.ends_with(b"}"));
                Some(body.ok_or(DecodeError::Tail)?)
            }
        };
        let header = Header {
            seq,
            prev,
            time,
            digest,
        };
        Ok(Self {
            header,
            link: Sha256::of(covered),
            body,
        })
    }

    /// Whether the body is the one the digest was made of; true where it is left out.
    pub fn digest_matches(&self) -> bool {
        self.body
            .is_none_or(|body| Sha256::of(body) == self.header.digest)
    }
}

/// Takes `prefix`, then everything up to `end`, then `end`.
fn take<'a>(
    rest: &mut &'a [u8],
    prefix: &[u8],
    end: &[u8],
    member: &'static str,
) -> Result<&'a [u8], DecodeError> {
    let after = rest
        .strip_prefix(prefix)
        .ok_or(DecodeError::Member(member))?;
    let window = &after[..after.len().min(HEADER_LIMIT)];
    // No member's text holds the first byte of its end.
    let at = window
        .iter()
        .position(|byte| end.first() == Some(byte))
        .filter(|at| window[*at..].starts_with(end))
        .ok_or(DecodeError::Member(member))?;
    *rest = &after[at + end.len()..];
    Ok(&after[..at])
}

fn number(digits: &[u8]) -> Result<u64, DecodeError> {
    let invalid = DecodeError::Member("seq");
    if digits.first() == Some(&b'0') || !digits.iter().all(u8::is_ascii_digit) {
        return Err(invalid);
    }
    std::str::from_utf8(digits)
        .ok()
        .and_then(|digits| digits.parse().ok())
        .ok_or(invalid)
}

fn hash(digits: &[u8], member: &'static str) -> Result<Sha256, DecodeError> {
    std::str::from_utf8(digits)
        .ok()
        .and_then(|digits| digits.parse().ok())
        .ok_or(DecodeError::Member(member))
}

/// One form only: what would not write back as it was read is another form.
fn time(text: &[u8]) -> Result<Wall, DecodeError> {
    Wall::from_line(text).ok_or(DecodeError::Member("time"))
}

/// Where a chain ends: what the next line must follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// Number of the last line; 0 when there is none.
    pub seq: u64,
    /// Its link; [`Sha256::ZERO`] when there is none.
    pub link: Sha256,
}

/// How a line fails to follow the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Break {
    /// The number is not the next.
    #[error("its seq is {found} where {expected} must follow")]
    Seq {
        /// What must stand there.
        expected: u64,
        /// What does.
        found: u64,
    },
    /// The number is right, the previous link is another.
    #[error("its prev is not the link of the line before")]
    Prev,
    /// The body was changed.
    #[error("its body is not the one its digest was made of")]
    Digest,
}

impl End {
    /// Before the first line.
    pub const START: Self = Self {
        seq: 0,
        link: Sha256::ZERO,
    };

    /// The end after `line`, if it follows this one and its body is its digest's.
    ///
    /// # Errors
    ///
    /// The number, the previous link or the body does not fit.
    pub fn follow(self, line: &Line<'_>) -> Result<Self, Break> {
        let end = self.link_to(line)?;
        if line.digest_matches() {
            Ok(end)
        } else {
            Err(Break::Digest)
        }
    }

    /// The same for a reader who looks at the body himself.
    ///
    /// # Errors
    ///
    /// The number or the previous link does not fit.
    pub fn link_to(self, line: &Line<'_>) -> Result<Self, Break> {
        let expected = self.seq.saturating_add(1);
        if line.header.seq != expected {
            let found = line.header.seq;
            return Err(Break::Seq { expected, found });
        }
        if line.header.prev != self.link {
            return Err(Break::Prev);
        }
        Ok(Self {
            seq: expected,
            link: line.link,
        })
    }

    /// The header of the line that comes next.
    pub fn next(self, time: Wall, body: &[u8]) -> Header {
        Header {
            seq: self.seq.saturating_add(1),
            prev: self.link,
            time,
            digest: Sha256::of(body),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    // Made with Python's hashlib from the text of the interface alone.
    const FIRST: &str = concat!(
        r#"{"seq":1,"prev":"0000000000000000000000000000000000000000000000000000000000000000","#,
        r#""time":"2026-11-23T02:13:01.123Z","#,
        r#""digest":"d199a0902cff251b4aee1fd8281152643dccfe9fec8b6ce7c54b5daf20f65d40","#,
        r#""body":{"v":1,"salt":"000102030405060708090a0b0c0d0e0f","kind":"stopped"}}"#
    );
    const FIRST_LINK: &str = "8b92a882567401db093a3f86a5a04476e9f0b789e9d22e00a80133d2fb3614ed";
    const SECOND: &str = concat!(
        r#"{"seq":2,"prev":"8b92a882567401db093a3f86a5a04476e9f0b789e9d22e00a80133d2fb3614ed","#,
        r#""time":"2026-12-01T00:00:00.000Z","#,
        r#""digest":"6a0790703495740d5cf64aed1cd2224d59631461654afa95f6e22945fbe3a890","#,
        r#""body":{"v":1,"salt":"00000000000000000000000000000000","kind":"note","body":",\"body\":é"}}"#
    );
    const SECOND_LINK: &str = "0ed83795106befbbd19ec2b99097e5afdb76f330f04bdc4aaad4581c1a7f8a34";

    #[test]
    fn golden_lines_verify_and_are_written_again_to_the_byte() {
        let mut end = End::START;
        for (text, link) in [(FIRST, FIRST_LINK), (SECOND, SECOND_LINK)] {
            let line = Line::parse(text.as_bytes()).unwrap();
            assert_eq!(line.link.to_string(), link);
            let body = line.body.unwrap();
            assert_eq!(end.next(line.header.time, body), line.header);
            assert_eq!(line.header.with_body(body), text.as_bytes());
            end = end.follow(&line).unwrap();
        }
        assert_eq!(end.seq, 2);
    }

    #[test]
    fn a_copy_without_bodies_has_the_same_links() {
        let mut end = End::START;
        for (text, link) in [(FIRST, FIRST_LINK), (SECOND, SECOND_LINK)] {
            let at = text.find(",\"body\"").unwrap();
            let copy = format!("{}}}", &text[..at]);
            let line = Line::parse(copy.as_bytes()).unwrap();
            assert_eq!(line.body, None);
            assert_eq!(line.link.to_string(), link);
            assert_eq!(line.header.without_body(), copy);
            end = end.follow(&line).unwrap();
        }
    }

    #[test]
    fn each_break_is_told_apart() {
        let first = Line::parse(FIRST.as_bytes()).unwrap();
        let second = Line::parse(SECOND.as_bytes()).unwrap();
        let end = End::START.follow(&first).unwrap();
        let (expected, found) = (2, 1);
        assert_eq!(end.follow(&first), Err(Break::Seq { expected, found }));
        let other = SECOND.replacen(FIRST_LINK, &"a".repeat(64), 1);
        let other = Line::parse(other.as_bytes()).unwrap();
        assert_eq!(end.follow(&other), Err(Break::Prev));
        let changed = SECOND.replacen("note", "nota", 1);
        let changed = Line::parse(changed.as_bytes()).unwrap();
        assert_eq!(end.follow(&changed), Err(Break::Digest));
        assert!(end.follow(&second).is_ok());
    }

    #[test]
    fn other_forms_are_refused() {
        for (from, to) in [
            ("\"seq\":1", "\"seq\":01"),
            ("\"seq\":1", "\"seq\":-1"),
            ("\"seq\":1", "\"seq\": 1"),
            ("\"seq\":1", "\"seq\":18446744073709551616"),
            ("\"seq\":1", "\"seq\":0"),
            (".123Z", "Z"),
            (".123Z", ".123456Z"),
            (".123Z", ".123+00:00"),
            ("T02", "t02"),
            ("-23T", "-31T"),
            (FIRST_LINK, "x"),
            ("\"digest\":\"", "\"digest\":\"A"),
            ("}}", "}} "),
            ("}}", "}"),
            ("\"body\":{", "\"body\":["),
            ("{\"seq\"", "{ \"seq\""),
        ] {
            let text = if from == FIRST_LINK { SECOND } else { FIRST };
            let changed = text.replacen(from, to, 1);
            assert_ne!(changed, text, "{from}");
            assert!(Line::parse(changed.as_bytes()).is_err(), "{to}");
        }
        assert_eq!(
            Line::parse(&vec![b' '; LINE_LIMIT + 1]),
            Err(DecodeError::TooLong)
        );
    }

    #[test]
    fn no_truncation_and_no_flipped_bit_passes() {
        let end = End::START
            .follow(&Line::parse(FIRST.as_bytes()).unwrap())
            .unwrap();
        let second = SECOND.as_bytes();
        let good = end.follow(&Line::parse(second).unwrap()).unwrap();
        for length in 0..second.len() {
            assert!(Line::parse(&second[..length]).is_err(), "{length}");
        }
        for bit in 0..second.len() * 8 {
            let mut changed = second.to_vec();
            changed[bit / 8] ^= 1 << (bit % 8);
            let followed = Line::parse(&changed).map(|line| end.follow(&line));
            // What the chain alone can't see in a last line (its time) shows in its link.
            assert_ne!(followed, Ok(Ok(good)), "bit {bit}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_written_reads_back(
            seq in 0..u64::MAX - 1,
            prev in any::<[u8; 32]>(),
            time in 0i64..4_102_444_800_000,
            text in "\\PC{0,40}",
        ) {
            let body = serde_json::to_vec(&serde_json::json!({ "text": text })).unwrap();
            let end = End { seq, link: Sha256(prev) };
            let header = end.next(Wall(time * 1000), &body);
            let line = header.with_body(&body);
            let read = Line::parse(&line).unwrap();
            prop_assert_eq!(read.header, header);
            prop_assert_eq!(read.link, header.link());
            prop_assert_eq!(read.body, Some(&body[..]));
            prop_assert!(end.follow(&read).is_ok());
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Line::parse(&bytes);
        }
    }
}
