//! Follows a journal's files as they grow, line by line, in bounded memory: for copies of it.
//!
//! Only lines that are durable are read, in the order of the files; a journal that continues
//! another follows it. Months that are pruned meanwhile are passed over.

use std::io;
use std::sync::Arc;

use super::reader::{self, Content, Lines};
use super::retention;
use super::store::{Month, Store};
use super::writer::Progress;
use crate::clock::Wall;
use crate::format::chain::{LINE_LIMIT, Line};
use crate::format::ids::Sha256;

/// Bytes of a file that are read at once: room for the longest line, its newline and some more.
const CHUNK: usize = LINE_LIMIT + 256 * 1024;
/// Bytes of lines that are returned at once, and the last of them beyond that.
const LIMIT: usize = 256 * 1024;

/// A line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    /// Its number.
    pub seq: u64,
    /// When it was written.
    pub time: Wall,
    /// Its bytes, without a newline.
    pub bytes: Vec<u8>,
}

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Lines of the journal with this id follow: [`Tail::pass`] may say which are not wanted.
    Journal(Arc<str>),
    /// The next lines of that journal.
    Lines(Vec<Copied>),
    /// The line that [`Tail::pass`] named is another.
    Differs(u64),
    /// There is no more so far.
    End,
}

/// The reader.
pub struct Tail {
    store: Box<dyn Store>,
    /// Where the next line begins; none before the first file.
    place: Option<(Month, u64)>,
    journal: Option<Arc<str>>,
    /// The last line that was read or passed.
    seq: u64,
    /// Lines up to this one are not wanted, and what it is.
    passed: (u64, Option<Sha256>),
    /// From this month on no anchor names the lines before: it is not looked for at each line.
    unanchored: Option<Month>,
}

impl std::fmt::Debug for Tail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tail").finish_non_exhaustive()
    }
}

impl Tail {
    /// From the first line there is.
    pub fn new(store: Box<dyn Store>) -> Self {
        Self {
            store,
            place: None,
            journal: None,
            seq: 0,
            passed: (0, None),
            unanchored: None,
        }
    }

    /// Lines of this journal up to `seq` are not wanted, and that one's hash is `hash`.
    pub fn pass(&mut self, seq: u64, hash: Sha256) {
        self.passed = (seq, Some(hash));
    }

    /// The next lines that are durable by this. Reads files.
    ///
    /// # Errors
    /// A file can't be read.
    pub fn next(&mut self, durable: &Progress) -> io::Result<Step> {
        let Some(newest) = &durable.journal else {
            return Ok(Step::End);
        };
        let is_end = |tail: &Self| {
            tail.journal.as_deref() == Some(newest.as_str()) && tail.seq >= durable.seq
        };
        while !is_end(self) {
            let months = self.store.months()?;
            let from = self.place.map(|(at, _)| at);
            let month = months.iter().copied().find(|month| Some(*month) >= from);
            let Some(month) = month else {
                return Ok(Step::End);
            };
            let offset = match self.place {
                Some((at, offset)) if at == month => offset,
                _ => 0,
            };
            let length = self.store.len(month)?.saturating_sub(offset);
            let length = usize::try_from(length).unwrap_or(CHUNK).min(CHUNK);
            if length == 0 {
                let later = months.iter().find(|later| **later > month);
                let Some(later) = later else {
                    return Ok(Step::End);
                };
                self.place = Some((*later, 0));
                continue;
            }
            let bytes = self.store.read_at(month, offset, length)?;
            if let Some(step) = self.chunk((month, offset), &bytes, &months, &is_end)? {
                return Ok(step);
            }
        }
        Ok(Step::End)
    }

    /// The lines of a piece of a file; none where it holds none that is wanted.
    fn chunk(
        &mut self,
        (month, offset): (Month, u64),
        piece: &[u8],
        months: &[Month],
        is_end: &impl Fn(&Self) -> bool,
    ) -> io::Result<Option<Step>> {
        let mut found = Vec::new();
        let mut size = 0;
        let mut lines = Lines::new(piece);
        self.place = Some((month, offset));
        while size < LIMIT && !is_end(self) {
            let Some((place, content)) = lines.next_line()? else {
                break;
            };
            let after = Some((month, offset + place.offset + place.bytes));
            let bytes = match content {
                Content::Line(bytes) => bytes,
                // It goes on in the next piece, unless it is longer than any line.
                Content::Unterminated(_) if place.offset > 0 => break,
                // A torn line, or one that is being written.
                Content::Unterminated(_)
                    if piece.len() <= LINE_LIMIT && months.last() == Some(&month) =>
                {
                    return Ok(Some(Step::End));
                }
                Content::Unterminated(_) | Content::TooLong => {
                    self.place = after;
                    continue;
                }
            };
            // No line of a journal: what happened to it, `verify` says.
            let Ok(line) = Line::parse(bytes) else {
                self.place = after;
                continue;
            };
            if let Some(journal) = self.begins(&line, months)? {
                if !found.is_empty() {
                    break;
                }
                self.journal = Some(Arc::clone(&journal));
                (self.seq, self.passed) = (0, (0, None));
                return Ok(Some(Step::Journal(journal)));
            }
            self.place = after;
            // Of which journal it is, nothing says.
            if self.journal.is_none() {
                continue;
            }
            if line.header.seq <= self.seq {
                continue;
            }
            self.seq = line.header.seq;
            match self.passed {
                (passed, Some(hash)) if passed == self.seq && Sha256::of(bytes) != hash => {
                    return Ok(Some(Step::Differs(passed)));
                }
                (passed, _) if passed >= self.seq => continue,
                _ => {}
            }
            size += bytes.len();
            found.push(Copied {
                seq: line.header.seq,
                time: line.header.time,
                bytes: bytes.to_vec(),
            });
        }
        Ok((!found.is_empty()).then_some(Step::Lines(found)))
    }

    /// The id of the journal that begins with this line, if it is not the one that is read.
    fn begins(&mut self, line: &Line<'_>, months: &[Month]) -> io::Result<Option<Arc<str>>> {
        let id = if line.header.seq == 1 && line.header.prev == Sha256::ZERO {
            let frame = line.body.and_then(|body| reader::frame(body).ok());
            frame.and_then(|frame| frame.journal_id)
        } else if self.journal.is_none() && self.unanchored.as_ref() != months.first() {
            // Its first lines were pruned: the anchor has the id.
            let anchor = retention::anchor(&mut *self.store, months)?;
            self.unanchored = months.first().copied().filter(|_| anchor.is_none());
            anchor.map(|anchor| anchor.journal)
        } else {
            None
        };
        let id = id.filter(|id| self.journal.as_deref() != Some(id.as_str()));
        Ok(id.map(Arc::from))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::entry::Entry;
    use crate::journal::sim::{Scratch, lines};
    use crate::journal::store::Disk;

    const START: Wall = Wall::from_seconds(1_795_996_800);

    fn durable(journal: &str, seq: u64) -> Progress {
        Progress {
            journal: Some(journal.to_owned()),
            seq,
            ..Progress::default()
        }
    }

    fn written(count: i64, id: &str) -> Vec<Vec<u8>> {
        let entries: Vec<(Wall, Entry)> = (0..count)
            .map(|at| (Wall(START.0 + at * 1_000_000), Entry::Stopped {}))
            .collect();
        let mut written = lines(&entries);
        if id != "00ff" {
            // Another id: its body is another, and so is the rest.
            let mut end = crate::format::chain::End::START;
            for line in &mut written {
                let parsed = Line::parse(line.trim_ascii_end()).unwrap();
                let body = String::from_utf8(parsed.body.unwrap().to_vec()).unwrap();
                let body = body.replace("00ff", id).into_bytes();
                let header = end.next(parsed.header.time, &body);
                end = crate::format::chain::End {
                    seq: header.seq,
                    link: header.link(),
                };
                *line = header.with_body(&body);
                line.push(b'\n');
            }
        }
        written
    }

    fn tail(directory: &Scratch) -> Tail {
        Tail::new(Box::new(Disk::existing(&directory.0).unwrap()))
    }

    /// All steps to the end: `+ID` a journal, else a line's number.
    fn steps(tail: &mut Tail, until: &Progress) -> Vec<String> {
        let mut steps = Vec::new();
        loop {
            match tail.next(until).unwrap() {
                Step::Journal(id) => steps.push(format!("+{id}")),
                Step::Lines(lines) => steps.extend(lines.iter().map(|line| line.seq.to_string())),
                Step::Differs(seq) => steps.push(format!("!{seq}")),
                Step::End => return steps,
            }
        }
    }

    #[test]
    fn only_durable_lines_are_read_over_months_and_journals_and_each_once() {
        let directory = Scratch::new("tail");
        let (old, new) = (written(4, "00ff"), written(2, "0a0a"));
        let file = |name: &str| directory.0.join(name);
        std::fs::write(file("2026-11.jsonl"), old[..2].concat()).unwrap();
        let mut tail = tail(&directory);
        assert_eq!(tail.next(&Progress::default()).unwrap(), Step::End);
        // The second is in the file and not durable yet.
        assert_eq!(steps(&mut tail, &durable("00ff", 1)), ["+00ff", "1"]);
        assert_eq!(steps(&mut tail, &durable("00ff", 1)), [""; 0]);
        let torn = [old[2].clone(), old[3].clone(), b"{\"seq\":5".to_vec()];
        std::fs::write(file("2026-12.jsonl"), torn.concat()).unwrap();
        assert_eq!(steps(&mut tail, &durable("00ff", 4)), ["2", "3", "4"]);
        // A torn line is no line; a new journal follows.
        let file = file("2026-12.jsonl");
        let mut bytes = std::fs::read(&file).unwrap();
        bytes.truncate(bytes.len() - 8);
        bytes.extend(new.concat());
        std::fs::write(&file, bytes).unwrap();
        assert_eq!(steps(&mut tail, &durable("0a0a", 2)), ["+0a0a", "1", "2"]);
    }

    #[test]
    fn lines_that_the_stream_has_are_passed_if_they_are_the_same() {
        let directory = Scratch::new("tail-pass");
        let written = written(4, "00ff");
        std::fs::write(directory.0.join("2026-11.jsonl"), written.concat()).unwrap();
        let until = durable("00ff", 4);
        for (line, rest) in [
            (&written[1], &["3", "4"][..]),
            (&written[0], &["!2", "3", "4"]),
        ] {
            let mut tail = tail(&directory);
            assert_eq!(tail.next(&until).unwrap(), Step::Journal("00ff".into()));
            tail.pass(2, Sha256::of(line.trim_ascii_end()));
            assert_eq!(steps(&mut tail, &until), rest);
        }
    }

    #[test]
    fn months_that_go_meanwhile_are_passed_over() {
        let directory = Scratch::new("tail-pruned");
        let written = written(6, "00ff");
        for (name, part) in [
            ("2026-10.jsonl", &written[..2]),
            ("2026-11.jsonl", &written[2..4]),
            ("2026-12.jsonl", &written[4..]),
        ] {
            std::fs::write(directory.0.join(name), part.concat()).unwrap();
        }
        let mut tail = tail(&directory);
        assert_eq!(steps(&mut tail, &durable("00ff", 1)), ["+00ff", "1"]);
        std::fs::remove_file(directory.0.join("2026-10.jsonl")).unwrap();
        std::fs::remove_file(directory.0.join("2026-11.jsonl")).unwrap();
        assert_eq!(steps(&mut tail, &durable("00ff", 6)), ["5", "6"]);
    }

    #[test]
    fn lines_before_any_readable_beginning_are_passed_over() {
        let directory = Scratch::new("tail-beginning");
        let file = directory.0.join("2026-11.jsonl");
        let mut old = written(3, "00ff");
        old[0] = b"{}\n".to_vec();
        std::fs::write(&file, old.concat()).unwrap();
        let mut tail = tail(&directory);
        assert_eq!(steps(&mut tail, &durable("00ff", 3)), [""; 0]);
        old.extend(written(2, "0a0a"));
        std::fs::write(&file, old.concat()).unwrap();
        assert_eq!(steps(&mut tail, &durable("0a0a", 2)), ["+0a0a", "1", "2"]);
    }

    #[test]
    fn long_lines_and_what_is_longer_than_any_are_passed_in_pieces() {
        let directory = Scratch::new("tail-long");
        let written = written(3, "00ff");
        let noise = [vec![b'x'; 3 * CHUNK], b"\n".to_vec()].concat();
        let all = [written[0].clone(), noise, written[1..].concat()].concat();
        std::fs::write(directory.0.join("2026-11.jsonl"), all).unwrap();
        let mut tail = tail(&directory);
        assert_eq!(
            steps(&mut tail, &durable("00ff", 3)),
            ["+00ff", "1", "2", "3"]
        );
    }
}
