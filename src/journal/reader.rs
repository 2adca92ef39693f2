//! Reads a journal or a copy of one, line by line, in bounded memory.

use std::io::{self, BufRead, BufReader, Read};

use serde::Deserialize;

use super::entry::Entry;
use crate::format::chain::{LINE_LIMIT, Line};
use crate::format::ids::Sha256;
use crate::format::statement::HeadClaims;

/// One file's lines.
pub struct Lines<R> {
    reader: BufReader<R>,
    line: Vec<u8>,
    number: u64,
    offset: u64,
}

/// Where in a file something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Number of the line in its file, from 1.
    pub number: u64,
    /// Its first byte.
    pub offset: u64,
    /// How many bytes it has, its newline included.
    pub bytes: u64,
}

/// What is at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content<'a> {
    /// A line, without its newline.
    Line(&'a [u8]),
    /// A line longer than [`LINE_LIMIT`]; its content is not kept.
    TooLong,
    /// The file ends here without a newline, and this is the hash of these bytes.
    Unterminated(Sha256),
}

impl<R> std::fmt::Debug for Lines<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lines")
            .field("number", &self.number)
            .field("offset", &self.offset)
            .finish_non_exhaustive()
    }
}

impl<R: Read> Lines<R> {
    /// The lines of a file, from its start.
    pub fn new(file: R) -> Self {
        Self {
            reader: BufReader::with_capacity(64 * 1024, file),
            line: Vec::new(),
            number: 0,
            offset: 0,
        }
    }

    /// The next line; none at the end of the file.
    ///
    /// # Errors
    ///
    /// The file can't be read.
    pub fn next_line(&mut self) -> io::Result<Option<(Place, Content<'_>)>> {
        self.line.clear();
        // One byte over the limit is kept, to know that it was passed.
        let most = LINE_LIMIT as u64 + 1;
        let kept = (&mut self.reader)
            .take(most)
            .read_until(b'\n', &mut self.line)?;
        let mut bytes = kept as u64;
        let mut terminated = self.line.pop_if(|last| *last == b'\n').is_some();
        // Only what passes the limit is hashed as it goes by.
        let mut long: Option<aws_lc_rs::digest::Context> = None;
        while !terminated && bytes >= most {
            let buffer = match self.reader.fill_buf() {
                Ok(buffer) => buffer,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if buffer.is_empty() {
                break;
            }
            let newline = buffer.iter().position(|byte| *byte == b'\n');
            let part = &buffer[..newline.unwrap_or(buffer.len())];
            terminated = newline.is_some();
            let line = &self.line;
            let hash = long.get_or_insert_with(|| {
                let mut hash = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
                hash.update(line);
                hash
            });
            hash.update(part);
            let used = part.len() + usize::from(terminated);
            bytes += used as u64;
            self.reader.consume(used);
        }
        if bytes == 0 {
            return Ok(None);
        }
        self.number += 1;
        let place = Place {
            number: self.number,
            offset: self.offset,
            bytes,
        };
        self.offset += bytes;
        let content = if !terminated {
            Content::Unterminated(match long {
                Some(hash) => {
                    let mut digest = [0; 32];
                    digest.copy_from_slice(hash.finish().as_ref());
                    Sha256(digest)
                }
                None => Sha256::of(&self.line),
            })
        } else if self.line.len() > LINE_LIMIT {
            Content::TooLong
        } else {
            Content::Line(&self.line)
        };
        Ok(Some((place, content)))
    }
}

/// What every body carries beside its entry.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Frame {
    /// Version of the body.
    pub v: u32,
    /// What it is.
    pub kind: String,
    /// The journal's id, in the first line alone.
    #[serde(default)]
    pub journal_id: Option<String>,
}

/// What every body carries, from its bytes.
///
/// # Errors
///
/// The body is no JSON object with these members.
pub fn frame(body: &[u8]) -> Result<Frame, String> {
    serde_json::from_slice(body).map_err(|error| format!("the body can't be read: {error}"))
}

/// The entry in a body; none for a kind that this version does not know.
///
/// # Errors
///
/// The body is no JSON, or lacks members of its kind.
pub fn entry(body: &[u8]) -> Result<Option<Entry>, String> {
    match serde_json::from_slice(body) {
        Ok(entry) => Ok(Some(entry)),
        Err(error) => {
            let frame = frame(body)?;
            if KINDS.contains(&frame.kind.as_str()) && frame.v <= super::entry::VERSION {
                Err(format!("the {} entry can't be read: {error}", frame.kind))
            } else {
                Ok(None)
            }
        }
    }
}

/// Whose journal it is, where an entry says that: only its owner writes such a one.
pub fn owner(entry: &Entry) -> Option<&str> {
    match entry {
        Entry::Started { by, .. } => Some(by),
        Entry::Grant(grant) if grant.proof.is_some() => Some(grant.centre.as_str()),
        Entry::Grant(grant) => Some(grant.commune.as_str()),
        _ => None,
    }
}

/// The first line of a journal that continues another: how it names that one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The new journal's id.
    pub journal: String,
    /// The old one's.
    pub old: String,
    /// Its last line that is certain.
    pub seq: u64,
    /// That line's link.
    pub link: Sha256,
}

/// The line of this machine's journal that a peer holds a head of, as far as it is there.
#[derive(Clone, Debug, Default)]
pub struct OwnLine {
    /// This machine's journal's id.
    pub journal: Option<String>,
    /// The line's link, if there is such a line.
    pub link: Option<Sha256>,
    /// The journal that it continues, if it does.
    pub origin: Option<Origin>,
    /// Its last line that was pruned; 0: none was.
    pub pruned: u64,
}

impl Origin {
    /// From a journal's first line; none where it continues nothing, or is not whole.
    pub fn read(line: &[u8]) -> Option<Self> {
        let line = Line::parse(line).ok()?;
        let is_first = line.header.seq == 1 && line.header.prev == Sha256::ZERO;
        let body = line.body.filter(|_| is_first && line.digest_matches())?;
        let journal = frame(body).ok()?.journal_id?;
        match entry(body).ok()?? {
            Entry::Continues {
                journal: old,
                seq,
                link,
            } => Some(Self {
                journal,
                old,
                seq,
                link,
            }),
            _ => None,
        }
    }

    /// Whether it names this line of the old journal or a later one.
    pub fn names(&self, head: &HeadClaims) -> bool {
        let same = self.seq == head.seq && self.link == head.link;
        self.old == head.journal && (self.seq > head.seq || same)
    }
}

/// Every kind of [`Entry`] that this version knows.
pub const KINDS: &[&str] = &[
    "started",
    "log_key",
    "cosigned",
    "stopped",
    "reloaded",
    "grant",
    "refused",
    "forwarded",
    "waiting",
    "unverified",
    "excess",
    "confirmed",
    "resumed",
    "moved",
    "ended",
    "cut",
    "allowed",
    "decision",
    "viewing_started",
    "viewing_ended",
    "credentials_changed",
    "viewings_owed",
    "viewings_taken",
    "viewings",
    "snapshot",
    "snapshot_refused",
    "incident",
    "mark",
    "peer_head",
    "peer_contradiction",
    "peer_continues",
    "journal_went_back",
    "journal_damaged",
    "peer_damaged",
    "journal_accepted",
    "revocation",
    "torn_line",
    "interrupted",
    "continues",
    "attestation",
    "pruned",
    "clock_accepted",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8]) -> Vec<(Place, String)> {
        let mut lines = Lines::new(text);
        let mut read = Vec::new();
        while let Some((place, content)) = lines.next_line().unwrap() {
            read.push((place, format!("{content:?}")));
        }
        read
    }

    #[test]
    fn lines_have_their_place_and_a_torn_one_its_hash() {
        let mut lines = Lines::new(&b"ab\n\nc"[..]);
        let place = |number, offset, bytes| Place {
            number,
            offset,
            bytes,
        };
        let expected = [
            (place(1, 0, 3), Content::Line(b"ab")),
            (place(2, 3, 1), Content::Line(b"")),
            (place(3, 4, 1), Content::Unterminated(Sha256::of(b"c"))),
        ];
        for one in expected {
            assert_eq!(lines.next_line().unwrap(), Some(one));
        }
        assert_eq!(lines.next_line().unwrap(), None);
    }

    #[test]
    fn the_limit_is_exact_and_what_follows_is_still_read() {
        let mut text = vec![b'x'; LINE_LIMIT];
        text.push(b'\n');
        text.extend(vec![b'y'; LINE_LIMIT + 1]);
        text.extend(b"\nz\n");
        let lines = read(&text);
        assert!(lines[0].1.starts_with("Line"));
        assert_eq!(lines[1].1, "TooLong");
        assert_eq!(lines[2].1, "Line([122])");
        let torn = vec![b'x'; 3 * LINE_LIMIT];
        let hash = format!("Unterminated({})", Sha256::of(&torn));
        assert_eq!(read(&torn)[0].1, hash);
    }

    #[test]
    fn every_kind_of_entry_is_listed() {
        // serde's own list of the variants is in its error.
        let error = serde_json::from_str::<Entry>(r#"{"kind":"?"}"#).unwrap_err();
        let text = error.to_string();
        let (_, variants) = text.split_once("expected one of ").unwrap();
        let known: Vec<&str> = variants.split('`').skip(1).step_by(2).collect();
        assert_eq!(known, KINDS);
    }

    #[test]
    fn a_newer_versions_kind_is_passed_over_and_a_broken_entry_is_not() {
        assert_eq!(entry(br#"{"v":1,"kind":"marvel","x":1}"#), Ok(None));
        assert_eq!(
            entry(br#"{"v":1,"kind":"stopped","later":1}"#),
            Ok(Some(Entry::Stopped {}))
        );
        assert!(entry(br#"{"v":1,"kind":"resumed"}"#).is_err());
        assert!(entry(br#"{"kind":"resumed"}"#).is_err());
        assert!(entry(b"{").is_err());
    }
}
