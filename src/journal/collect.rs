//! A journal's directory out of an export of its copy: a file of its lines, in any order, with
//! some of them more than once, as a stream gives them (interfaces.md 11).

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;

use super::reader::{self, Content, Lines, Origin};
use super::store::Month;
use super::verify::order::ROWS_LIMIT;
use crate::format::chain::Line;
use crate::format::ids::Sha256;

/// What was found in an export.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Lines that were written.
    pub lines: u64,
    /// Lines that were there more than once, and are written once.
    pub repeated: u64,
    /// Lines that are none of a journal, and are left out; empty ones are not counted.
    pub foreign: u64,
}

/// A line of the export.
struct Row {
    offset: u64,
    length: usize,
    seq: u64,
    prev: Sha256,
    link: Sha256,
    month: Month,
}

/// A journal's first line.
struct Beginning {
    row: usize,
    id: String,
    continues: Option<String>,
}

/// Writes the lines of `export` as month files into `directory`, which is made.
///
/// # Errors
/// A file can't be read or written, the directory is there already, or the export holds journals
/// that have nothing to do with one another.
pub fn collect(export: &Path, directory: &Path) -> Result<Collected, String> {
    let name = export.display();
    let file = File::open(export).map_err(|error| format!("{name}: {error}"))?;
    let mut collected = Collected::default();
    let (rows, beginnings) =
        read(&file, &mut collected).map_err(|error| format!("{name}: {error}"))?;
    if rows.is_empty() {
        return Err(format!(
            "{name} holds no line of a journal; give the lines of its copy"
        ));
    }
    let ranks = rank(&beginnings).map_err(|cause| format!("{name}: {cause}"))?;
    let journals = journals(&rows, &beginnings);
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by_key(|at| (ranks.get(&journals[*at]), rows[*at].seq));
    let shown = directory.display();
    write(&file, &rows, &order, directory).map_err(|error| format!("{shown}: {error}"))?;
    Ok(collected)
}

fn read(file: &File, collected: &mut Collected) -> io::Result<(Vec<Row>, Vec<Beginning>)> {
    let mut rows: Vec<Row> = Vec::new();
    let mut beginnings = Vec::new();
    let mut known = BTreeSet::new();
    let mut lines = Lines::new(file);
    while let Some((place, content)) = lines.next_line()? {
        // The last one may lack its newline: what it is worth is judged below.
        let mut last = Vec::new();
        let bytes = match content {
            Content::Line(bytes) => bytes,
            Content::Unterminated(_) if place.bytes <= crate::format::chain::LINE_LIMIT as u64 => {
                last = vec![0; usize::try_from(place.bytes).unwrap_or(0)];
                file.read_exact_at(&mut last, place.offset)?;
                &last
            }
            _ => &last,
        };
        if bytes.trim_ascii().is_empty() && !matches!(content, Content::TooLong) {
            continue;
        }
        let Ok(line) = Line::parse(bytes) else {
            collected.foreign += 1;
            continue;
        };
        if !known.insert(Sha256::of(bytes)) {
            collected.repeated += 1;
            continue;
        }
        if rows.len() == ROWS_LIMIT {
            let text = format!("more than {ROWS_LIMIT} lines; export a part of the time");
            return Err(io::Error::other(text));
        }
        if line.header.seq == 1 && line.header.prev == Sha256::ZERO {
            let frame = line.body.and_then(|body| reader::frame(body).ok());
            beginnings.push(Beginning {
                row: rows.len(),
                id: frame.and_then(|frame| frame.journal_id).unwrap_or_default(),
                continues: Origin::read(bytes).map(|origin| origin.old),
            });
        }
        collected.lines += 1;
        rows.push(Row {
            offset: place.offset,
            length: bytes.len(),
            seq: line.header.seq,
            prev: line.header.prev,
            link: line.link,
            month: Month::of(line.header.time),
        });
    }
    Ok((rows, beginnings))
}

/// The order of the journals, by the number of their beginning; [`PRUNED`] comes first.
fn rank(beginnings: &[Beginning]) -> Result<BTreeMap<usize, usize>, String> {
    let has = |id: &String| beginnings.iter().any(|one| one.id == *id);
    let follows = |one: &Beginning| one.continues.as_ref().is_some_and(has);
    let mut ranks = BTreeMap::from([(PRUNED, 0)]);
    let mut firsts = beginnings
        .iter()
        .enumerate()
        .filter(|(_, one)| !follows(one));
    let mut next = firsts.next();
    let more = firsts.count();
    if more > 0 {
        let ids: Vec<&str> = beginnings.iter().map(|one| one.id.as_str()).collect();
        return Err(format!(
            "it holds the journals {}, of different machines; export each by itself (subject fanal.journal.ID.JOURNAL)",
            ids.join(", ")
        ));
    }
    while let Some((at, one)) = next {
        if ranks.contains_key(&at) {
            break;
        }
        ranks.insert(at, ranks.len());
        let is_next = |other: &&Beginning| other.continues.as_ref() == Some(&one.id);
        next = beginnings
            .iter()
            .position(|other| is_next(&other))
            .map(|at| (at, &beginnings[at]));
    }
    Ok(ranks)
}

/// The lines whose journal's first line was pruned.
const PRUNED: usize = usize::MAX;

/// Which journal each line is of, by the number of its beginning: that of the line that it
/// follows. Where that one is missing, that of the beginning before it in the export.
fn journals(rows: &[Row], beginnings: &[Beginning]) -> Vec<usize> {
    let mut journals = vec![PRUNED; rows.len()];
    let mut links = BTreeMap::new();
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by_key(|at| rows[*at].seq);
    for at in order {
        let row = &rows[at];
        let begins = beginnings.iter().position(|one| one.row == at);
        let before = || match beginnings {
            [_] if rows.first().is_none_or(|first| first.seq == 1) => Some(0),
            _ => beginnings.iter().rposition(|one| one.row < at),
        };
        let journal = begins
            .or_else(|| links.get(&row.prev).copied())
            .or_else(before);
        journals[at] = journal.unwrap_or(PRUNED);
        links.entry(row.link).or_insert(journals[at]);
    }
    journals
}

fn write(file: &File, rows: &[Row], order: &[usize], directory: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(directory)?;
    let mut open: Option<(Month, BufWriter<File>)> = None;
    for at in order {
        let row = &rows[*at];
        let mut line = vec![0; row.length];
        file.read_exact_at(&mut line, row.offset)?;
        line.push(b'\n');
        // A clock that goes back leaves older times in newer files, never the other way.
        let is_open = open.as_ref().is_some_and(|(month, _)| *month >= row.month);
        if !is_open {
            if let Some((_, mut full)) = open.take() {
                full.flush()?;
            }
            let path = directory.join(row.month.file_name());
            let made = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(path)?;
            open = Some((row.month, BufWriter::new(made)));
        }
        if let Some((_, out)) = &mut open {
            out.write_all(&line)?;
        }
    }
    if let Some((_, mut full)) = open {
        full.flush()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Wall;
    use crate::journal::entry::Entry;
    use crate::journal::sim::{Scratch, lines};
    use crate::journal::verify;

    /// Four lines, over two months.
    fn written() -> Vec<Vec<u8>> {
        let day = 86_400_i64;
        let at = |days| Wall::from_seconds(1_795_996_800 + days * day);
        lines(&[0, 0, 2, 3].map(|days| (at(days), Entry::Stopped {})))
    }

    fn collected(name: &str, export: &[Vec<u8>]) -> (Result<Collected, String>, Scratch) {
        let scratch = Scratch::new(name);
        let file = scratch.0.join("export");
        std::fs::write(&file, export.concat()).unwrap();
        (collect(&file, &scratch.0.join("journal")), scratch)
    }

    fn verified(scratch: &Scratch) -> verify::Report {
        verify::verify(&verify::Options {
            directory: scratch.0.join("journal"),
            ..verify::Options::default()
        })
        .unwrap()
    }

    #[test]
    fn lines_in_any_order_and_twice_make_the_journal_to_the_byte() {
        let lines = written();
        let noise = vec![b"\nhello\n".to_vec()];
        let order = [3, 1, 0, 1, 2, 3].map(|at| lines[at].clone());
        let (found, scratch) = collected("collect", &[noise, order.to_vec()].concat());
        let expected = Collected {
            lines: 4,
            repeated: 2,
            foreign: 1,
        };
        assert_eq!(found, Ok(expected));
        let read = |name: &str| std::fs::read(scratch.0.join("journal").join(name)).unwrap();
        assert_eq!(read("2026-11.jsonl"), lines[..2].concat());
        assert_eq!(read("2026-12.jsonl"), lines[2..].concat());
        assert!(verified(&scratch).is_intact());
    }

    #[test]
    fn what_is_missing_or_changed_is_found() {
        let lines = written();
        let missing = [&lines[..1], &lines[2..]].concat();
        let (found, scratch) = collected("collect-missing", &missing);
        assert_eq!(found.unwrap().lines, 3);
        let what = &verified(&scratch).findings[0].what;
        assert_eq!(*what, verify::What::Removed { from: 2, to: 2 });
        let mut changed = lines;
        changed[1] = String::from_utf8(changed[1].clone())
            .unwrap()
            .replace("stopped", "stoppee")
            .into_bytes();
        let (found, scratch) = collected("collect-changed", &changed);
        assert_eq!(found.unwrap().lines, 4);
        assert_eq!(verified(&scratch).findings[0].what.kind(), "changed");
    }

    #[test]
    fn journals_of_different_machines_are_refused() {
        let lines = written();
        let other = String::from_utf8(lines[0].clone())
            .unwrap()
            .replace("00ff", "0a0a")
            .into_bytes();
        let (found, _scratch) = collected("collect-two", &[lines, vec![other]].concat());
        let error = found.unwrap_err();
        assert!(
            error.contains("different machines") && error.contains("0a0a"),
            "{error}"
        );
    }
}
