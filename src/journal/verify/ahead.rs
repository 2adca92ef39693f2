//! Reads lines ahead: several threads take them apart and verify their statements, and one after
//! the other they are judged in the journal's order.
//!
//! Memory: for each thread [`AHEAD`] pieces of [`PIECE`] bytes, and what they were taken apart to.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::ops::Range;
use std::sync::{Mutex, PoisonError, mpsc};

use super::statements::{self, Authorities, Checked, Depth};
use crate::format::chain::{Header, Line};
use crate::format::ids::Sha256;
use crate::journal::entry::Entry;
use crate::journal::reader::{self, Content, Lines, Place};

/// Bytes of lines that a thread takes at once; a longer line is one piece.
const PIECE: usize = 256 * 1024;
/// Pieces under way for each thread.
const AHEAD: usize = 2;

/// A line, taken apart.
pub(super) struct Taken {
    header: Header,
    link: Sha256,
    /// Where its body is.
    body: Option<Range<usize>>,
    /// Its body is the one that the digest was made of, or left out.
    pub(super) is_whole: bool,
    /// Its entry; none where the body is left out, changed or of a kind not known.
    pub(super) entry: Result<Option<Entry>, String>,
    /// What its statements come to.
    pub(super) checked: Checked,
}

impl Taken {
    /// Takes a line apart; none where it is none.
    fn of(bytes: &[u8], authorities: Option<&Authorities>, depth: Depth) -> Option<Self> {
        let line = Line::parse(bytes).ok()?;
        let is_whole = line.digest_matches();
        let body = line.body.filter(|_| is_whole);
        let entry = body.map_or(Ok(None), reader::entry);
        let checked = match &entry {
            Ok(Some(entry)) => statements::check(entry, authorities, depth),
            _ => Checked::default(),
        };
        // The body ends before the line's last brace.
        let end = bytes.len() - 1;
        Some(Self {
            header: line.header,
            link: line.link,
            body: line.body.map(|body| end - body.len()..end),
            is_whole,
            entry,
            checked,
        })
    }

    /// The line that it is, in its bytes.
    pub(super) fn line<'a>(&self, bytes: &'a [u8]) -> Line<'a> {
        Line {
            header: self.header,
            link: self.link,
            body: self.body.clone().map(|body| &bytes[body]),
        }
    }
}

/// What is at a place of a file.
#[allow(clippy::large_enum_variant)] // made and judged at once, never kept
pub(super) enum Found<'a> {
    /// A line; none where the bytes are no line.
    Line(&'a [u8], Option<Taken>),
    /// A line that is too long.
    TooLong,
    /// The file ends without a newline.
    Unterminated,
}

/// What of a piece is where.
enum Part {
    Line(Range<usize>),
    TooLong,
    Unterminated,
}

/// Lines that one thread takes apart.
#[derive(Default)]
struct Piece {
    bytes: Vec<u8>,
    parts: Vec<(Place, Part)>,
    /// Of the lines among the parts, in their order.
    taken: VecDeque<Option<Taken>>,
}

impl Piece {
    /// The next lines; none at the end.
    fn read<R: Read>(lines: &mut Lines<R>) -> io::Result<Option<Self>> {
        let mut piece = Self::default();
        // What stands for no bytes has a part too.
        while piece.bytes.len() + 64 * piece.parts.len() < PIECE
            && let Some((place, content)) = lines.next_line()?
        {
            let part = match content {
                Content::Line(bytes) => {
                    let from = piece.bytes.len();
                    piece.bytes.extend_from_slice(bytes);
                    Part::Line(from..piece.bytes.len())
                }
                Content::TooLong => Part::TooLong,
                Content::Unterminated(_) => Part::Unterminated,
            };
            piece.parts.push((place, part));
        }
        Ok((!piece.parts.is_empty()).then_some(piece))
    }

    fn take(&mut self, look: impl Fn(&[u8]) -> Option<Taken>) {
        let lines = self.parts.iter().filter_map(|(_, part)| match part {
            Part::Line(range) => Some(look(&self.bytes[range.clone()])),
            _ => None,
        });
        self.taken = lines.collect();
    }

    fn judge(mut self, mut judge: impl FnMut(Place, Found<'_>)) {
        for (place, part) in self.parts {
            let found = match part {
                Part::Line(range) => {
                    let taken = self.taken.pop_front().flatten();
                    Found::Line(&self.bytes[range], taken)
                }
                Part::TooLong => Found::TooLong,
                Part::Unterminated => Found::Unterminated,
            };
            judge(place, found);
        }
    }
}

/// Reads a file's lines to their end; each is judged on this thread, in their order.
///
/// # Errors
/// The file can't be read.
pub(super) fn read<R: Read>(
    mut lines: Lines<R>,
    threads: usize,
    (authorities, depth): (Option<&Authorities>, Depth),
    mut judge: impl FnMut(Place, Found<'_>),
) -> io::Result<()> {
    let look = |bytes: &[u8]| Taken::of(bytes, authorities, depth);
    if threads < 2 {
        while let Some(mut piece) = Piece::read(&mut lines)? {
            piece.take(look);
            piece.judge(&mut judge);
        }
        return Ok(());
    }
    let most = threads * AHEAD;
    let (give, given) = mpsc::sync_channel::<(Piece, mpsc::SyncSender<Piece>)>(most);
    let given = Mutex::new(given);
    let work = || loop {
        let next = given.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((mut piece, done)) = next else { return };
        piece.take(look);
        // Nobody waits any more where the file could not be read to its end.
        let _ = done.send(piece);
    };
    std::thread::scope(|scope| {
        // Dropped at the end, which ends the threads.
        let give = give;
        for _ in 0..threads {
            scope.spawn(work);
        }
        let mut under_way = VecDeque::new();
        let mut is_read = false;
        loop {
            while !is_read && under_way.len() < most {
                match Piece::read(&mut lines)? {
                    Some(piece) => {
                        let (done, wait) = mpsc::sync_channel(1);
                        // The queue has room for all that are under way.
                        let _ = give.send((piece, done));
                        under_way.push_back(wait);
                    }
                    None => is_read = true,
                }
            }
            let Some(wait) = under_way.pop_front() else {
                return Ok(());
            };
            // A thread that panicked says so when all are joined.
            let Ok(piece) = wait.recv() else {
                return Ok(());
            };
            piece.judge(&mut judge);
        }
    })
}
