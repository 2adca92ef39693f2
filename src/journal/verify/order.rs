//! Names what was done to lines that do not follow one another: changed,
//! removed, added, reordered, repeated. Works on the headers of a whole journal;
//! only used once it is known that something is wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::{fmt, io};

use super::{Finding, Report, What, begins_journal};
use crate::format::chain::{End, LINE_LIMIT, Line};
use crate::format::ids::Sha256;
use crate::journal::reader::{Content, Lines};
use crate::journal::store::{Disk, Month, Store as _};

/// Most lines that are looked at together: 80 bytes of memory each.
pub const ROWS_LIMIT: usize = 5_000_000;

/// A line, its place among all and what it says.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its file.
    pub file: Month,
    /// Number of the line in its file.
    pub line: u64,
    /// Its header, or why it has none.
    pub header: Result<Links, String>,
}

/// What ties a line to its neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Links {
    /// Its number.
    pub seq: u64,
    /// Link of the line before.
    pub prev: Sha256,
    /// Its own.
    pub link: Sha256,
}

/// A row and what is wrong there.
pub type Verdict = (usize, Option<u64>, What);

/// Reads the journal again and names what broke its chain.
pub(super) fn name_breaks(
    store: &mut Disk,
    months: &[Month],
    mut base: End,
    report: &mut Report,
) -> Result<(), String> {
    let mut rows: Vec<Row> = Vec::new();
    let mut begun = (base.seq > 0).then_some(base.link);
    let mut journal = 0;
    for (index, month) in months.iter().enumerate() {
        let newest = index + 1 == months.len();
        let fail = |error: io::Error| format!("reading {}: {error}", month.file_name());
        let mut lines = Lines::new(store.read(*month).map_err(fail)?);
        while let Some((place, content)) = lines.next_line().map_err(fail)? {
            let header = match content {
                Content::Line(bytes) => match Line::parse(bytes) {
                    Ok(line) => {
                        if begins_journal(&line, begun) {
                            // What is before the very first line is out of place.
                            if begun.is_some() {
                                judge_and_tell(&mut rows, base, journal, report);
                                journal += 1;
                                base = End::START;
                            }
                            begun = Some(line.link);
                        }
                        Ok(Links {
                            seq: line.header.seq,
                            prev: line.header.prev,
                            link: line.link,
                        })
                    }
                    Err(error) => Err(format!("it is no line of a journal: {error}")),
                },
                Content::TooLong => Err(format!("it is longer than {LINE_LIMIT} bytes")),
                Content::Unterminated(_) if newest => continue,
                Content::Unterminated(_) => Err("it has no end".to_owned()),
            };
            if rows.len() == ROWS_LIMIT {
                report.notes.push(format!(
                    "only the first {ROWS_LIMIT} lines were looked at for what broke the chain"
                ));
                judge_and_tell(&mut rows, base, journal, report);
                return Ok(());
            }
            rows.push(Row {
                file: *month,
                line: place.number,
                header,
            });
        }
    }
    judge_and_tell(&mut rows, base, journal, report);
    Ok(())
}

/// Judges the lines of one journal and makes room for the next.
fn judge_and_tell(rows: &mut Vec<Row>, base: End, journal: usize, report: &mut Report) {
    for (row, seq, what) in judge(rows, base) {
        report.tell(Finding {
            file: rows[row].file.file_name(),
            line: rows[row].line,
            seq,
            journal,
            what,
        });
    }
    rows.clear();
}

/// Judges the lines of one journal, in the order they stand in, which go on from `base`: the
/// last one that was pruned, or [`End::START`].
pub fn judge(rows: &[Row], base: End) -> Vec<Verdict> {
    let mut judge = Judge {
        rows,
        base,
        chosen: BTreeMap::new(),
        filled: BTreeSet::new(),
        verdicts: Vec::new(),
    };
    judge.choose();
    judge.renumbered();
    judge.unreadable();
    judge.out_of_order();
    judge.missing();
    judge.unlinked();
    judge.verdicts.sort_by_key(|(row, ..)| *row);
    judge.verdicts
}

struct Judge<'a> {
    rows: &'a [Row],
    base: End,
    /// The row taken for each number.
    chosen: BTreeMap<u64, usize>,
    /// Numbers whose line is there but was changed beyond its header's use.
    filled: BTreeSet<u64>,
    verdicts: Vec<Verdict>,
}

impl Judge<'_> {
    fn links(&self, row: usize) -> Option<Links> {
        self.rows.get(row)?.header.as_ref().ok().copied()
    }

    fn chosen_links(&self, seq: u64) -> Option<Links> {
        self.links(*self.chosen.get(&seq)?)
    }

    fn tell(&mut self, row: usize, seq: Option<u64>, what: What) {
        self.verdicts.push((row, seq, what));
    }

    /// Where several lines have the same number, the one its neighbours name is
    /// taken; the others are copies of it or were added.
    fn choose(&mut self) {
        let mut candidates: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
        for (row, content) in self.rows.iter().enumerate() {
            if let Ok(links) = &content.header {
                candidates.entry(links.seq).or_default().push(row);
            }
        }
        let mut before: Option<Links> = None;
        for (seq, rows) in &candidates {
            let link_before = match before {
                Some(links) if links.seq.checked_add(1) == Some(*seq) => Some(links.link),
                _ if self.base.seq.checked_add(1) == Some(*seq) => Some(self.base.link),
                _ => None,
            };
            let after = seq.checked_add(1).and_then(|next| candidates.get(&next));
            let score = |row: usize| {
                let Some(links) = self.links(row) else {
                    return 0;
                };
                let follows = link_before == Some(links.prev);
                let named = after.is_some_and(|rows| {
                    let names = |row: &usize| self.links(*row).map(|l| l.prev) == Some(links.link);
                    rows.iter().any(names)
                });
                u8::from(follows) + 2 * u8::from(named)
            };
            // The first of the best.
            let best = rows.iter().copied().rev().max_by_key(|row| score(*row));
            let Some(best) = best else { continue };
            self.chosen.insert(*seq, best);
            before = self.links(best);
            for row in rows.iter().copied().filter(|row| *row != best) {
                let what = if self.links(row) == before {
                    What::Repeated(self.place(best))
                } else {
                    What::Added(format!(
                        "another line with this seq is at {}",
                        self.place(best)
                    ))
                };
                self.verdicts.push((row, Some(*seq), what));
            }
        }
    }

    fn place(&self, row: usize) -> Place {
        let row = &self.rows[row];
        Place {
            file: row.file,
            line: row.line,
        }
    }

    /// A line that follows the one before it by its prev but not by its number.
    fn renumbered(&mut self) {
        let mut found = Vec::new();
        for (seq, row) in &self.chosen {
            let before = row.checked_sub(1).and_then(|before| self.links(before));
            let (Some(before), Some(links)) = (before, self.links(*row)) else {
                continue;
            };
            let belongs = before.seq.saturating_add(1);
            if links.prev == before.link && *seq != belongs && !self.chosen.contains_key(&belongs) {
                found.push((*row, *seq, belongs));
            }
        }
        for (row, seq, belongs) in found {
            self.chosen.remove(&seq);
            self.filled.insert(belongs);
            let what = What::Changed(format!("its seq says {seq} where {belongs} belongs"));
            self.tell(row, Some(belongs), what);
        }
    }

    /// A line that can't be read takes the number that is missing there, or is one too many.
    fn unreadable(&mut self) {
        let mut last = self.base.seq;
        let mut told = Vec::new();
        for (row, content) in self.rows.iter().enumerate() {
            match &content.header {
                Ok(links) => last = links.seq,
                Err(cause) => {
                    let belongs: u64 = last + 1;
                    if self.chosen.contains_key(&belongs) || self.filled.contains(&belongs) {
                        told.push((row, None, What::Added(cause.clone())));
                    } else {
                        self.filled.insert(belongs);
                        last = belongs;
                        told.push((row, Some(belongs), What::Changed(cause.clone())));
                    }
                }
            }
        }
        self.verdicts.extend(told);
    }

    /// Lines outside the longest run that is in the order of its numbers.
    fn out_of_order(&mut self) {
        let by_number: Vec<(u64, usize)> = self.chosen.iter().map(|(s, r)| (*s, *r)).collect();
        let rows: Vec<usize> = by_number.iter().map(|(_, row)| *row).collect();
        let in_order = longest_ascending(&rows);
        for (index, (seq, row)) in by_number.into_iter().enumerate() {
            if !in_order.contains(&index) {
                let after = seq
                    .checked_sub(1)
                    .and_then(|before| self.chosen.get(&before));
                let after = after.map(|row| self.place(*row));
                self.tell(row, Some(seq), What::Reordered(after));
            }
        }
    }

    /// Numbers that no line has.
    fn missing(&mut self) {
        let there: BTreeSet<u64> = self.chosen.keys().chain(&self.filled).copied().collect();
        let mut expected = self.base.seq.saturating_add(1);
        for seq in there {
            if seq > expected {
                // Told at the next line.
                let row = self.chosen.get(&seq).copied();
                let row = row.or_else(|| self.chosen.range(seq..).next().map(|(_, row)| *row));
                let what = What::Removed {
                    from: expected,
                    to: seq - 1,
                };
                self.tell(row.unwrap_or(0), Some(seq), what);
            }
            expected = seq.saturating_add(1);
        }
    }

    /// Neighbours by number that do not name each other.
    fn unlinked(&mut self) {
        let mut told = Vec::new();
        let mut skip = None;
        for (seq, row) in &self.chosen {
            let Some(links) = self.links(*row) else {
                continue;
            };
            if self.base.seq.checked_add(1) == Some(*seq) && links.prev != self.base.link {
                let what = if self.base == End::START {
                    "its prev is not 64 zeros, as the first line's is"
                } else {
                    "its prev is not the link that the anchor of the pruned lines names"
                };
                told.push((*row, Some(*seq), What::Changed(what.to_owned())));
            }
            let Some(next_seq) = seq.checked_add(1) else {
                continue;
            };
            let (Some(next), Some(next_row)) =
                (self.chosen_links(next_seq), self.chosen.get(&next_seq))
            else {
                continue;
            };
            if next.prev == links.link || skip == Some(*seq) {
                continue;
            }
            let after_next = next_seq
                .checked_add(1)
                .and_then(|seq| self.chosen_links(seq));
            match after_next {
                // The next line is named by none and names none: it is the one.
                Some(after) if after.prev != next.link => {
                    skip = Some(next_seq);
                    let what = "neither the line before nor the line after fits it";
                    told.push((*next_row, Some(next_seq), What::Changed(what.to_owned())));
                }
                Some(_) => {
                    let what = "its seq, prev, time or digest: the line after names another link";
                    told.push((*row, Some(*seq), What::Changed(what.to_owned())));
                }
                None => {
                    let what = "its prev is not the link of the line before: one of the two";
                    told.push((*next_row, Some(next_seq), What::Changed(what.to_owned())));
                }
            }
        }
        self.verdicts.extend(told);
    }
}

/// Where a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its file.
    pub file: Month,
    /// Number of the line in its file.
    pub line: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} line {}", self.file.file_name(), self.line)
    }
}

/// The indices of a longest ascending subsequence.
fn longest_ascending(values: &[usize]) -> BTreeSet<usize> {
    let mut tails: Vec<usize> = Vec::new();
    let mut before: Vec<Option<usize>> = Vec::with_capacity(values.len());
    for (index, value) in values.iter().enumerate() {
        let at = tails.partition_point(|tail| values[*tail] < *value);
        before.push(at.checked_sub(1).map(|at| tails[at]));
        if at == tails.len() {
            tails.push(index);
        } else {
            tails[at] = index;
        }
    }
    let mut found = BTreeSet::new();
    let mut next = tails.last().copied();
    while let Some(index) = next {
        found.insert(index);
        next = before[index];
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_run_is_found() {
        let indices = |values: &[usize]| longest_ascending(values).into_iter().collect::<Vec<_>>();
        assert_eq!(indices(&[0, 1, 2, 3]), [0, 1, 2, 3]);
        assert_eq!(indices(&[0, 3, 1, 2]), [0, 2, 3]);
        assert_eq!(indices(&[]), Vec::<usize>::new());
    }
}
