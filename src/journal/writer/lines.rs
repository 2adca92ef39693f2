//! Lines that were written, read again.

use std::path::Path;
use std::sync::Arc;

use super::Writer;
use crate::format::chain::Line;
use crate::format::ids::Sha256;
use crate::journal::reader::{Content, Lines, Origin, OwnLine};
use crate::journal::recover::Begun;
use crate::journal::store::{Disk, Month, Store};

impl Writer {
    /// Number and link of each line after `after`, up to `last`, in order, until `visit` says
    /// no. Reads the files unless all of them are among the last thousands, so it is not for a
    /// runtime's thread.
    ///
    /// # Errors
    /// A file can't be read.
    pub fn links(
        &self,
        after: u64,
        last: u64,
        mut visit: impl FnMut(u64, Sha256) -> bool,
    ) -> std::io::Result<()> {
        let (recent, begun) = {
            let state = self.shared.state();
            let first = state.recent.front().map_or(u64::MAX, |(first, _)| *first);
            let lines = (first <= after.saturating_add(1)).then(|| {
                let wanted = |seq: u64| seq > after && seq <= last;
                let lines = state.recent.iter().filter(|(seq, _)| wanted(*seq));
                lines.map(|(_, line)| Arc::clone(line)).collect::<Vec<_>>()
            });
            (lines, state.begun)
        };
        if let Some(lines) = recent {
            for line in lines {
                let Ok(line) = Line::parse(line.as_bytes()) else {
                    continue;
                };
                if !visit(line.header.seq, line.link) {
                    break;
                }
            }
            return Ok(());
        }
        let Some(begun) = begun else { return Ok(()) };
        let range = Range {
            begun,
            after,
            newest: last,
        };
        read_lines(&self.shared.directory, &range, |line| {
            visit(line.header.seq, line.link)
        })
    }

    /// The line of this number, as far as heads of it go. Reads files where the line is old,
    /// which takes its time.
    pub fn line(&self, seq: u64) -> OwnLine {
        let lines = self.lines_after(seq.saturating_sub(1), 1);
        let line = lines
            .first()
            .and_then(|line| Line::parse(line.as_bytes()).ok());
        let line = line.filter(|line| line.header.seq == seq);
        let pruned = self.shared.state().pruned;
        OwnLine {
            journal: self.journal(),
            link: line.map(|line| line.link),
            pruned,
            origin: self
                .continues()
                .and_then(|first| Origin::read(first.as_bytes())),
        }
    }

    /// The body-less lines after `seq`, oldest first, at most `limit`. All are
    /// durable. Lines older than the last thousand are read from the files,
    /// which takes its time.
    pub fn lines_after(&self, seq: u64, limit: usize) -> Vec<String> {
        let (from_memory, newest, begun) = {
            let state = self.shared.state();
            let first = state.recent.front().map(|(first, _)| *first);
            let newest = state.recent.back().map_or(0, |(newest, _)| *newest);
            let all_there = first.is_none_or(|first| first <= seq.saturating_add(1));
            let lines = all_there.then(|| {
                let after = state.recent.iter().filter(|(number, _)| *number > seq);
                after
                    .take(limit)
                    .map(|(_, line)| line.to_string())
                    .collect()
            });
            (lines, newest, state.begun)
        };
        if let Some(lines) = from_memory {
            return lines;
        }
        let Some(begun) = begun else {
            return Vec::new();
        };
        let range = Range {
            begun,
            after: seq,
            newest,
        };
        let mut found: Vec<String> = Vec::new();
        let read = read_lines(&self.shared.directory, &range, |line| {
            if found.len() < limit {
                found.push(line.header.without_body());
            }
            found.len() < limit
        });
        if let Err(error) = read {
            tracing::warn!(%error, "journal: reading lines for a peer");
            return Vec::new();
        }
        found
    }
}

/// Which lines are wanted.
struct Range {
    /// Where the journal begins: what is before is another one's.
    begun: Begun,
    after: u64,
    newest: u64,
}

/// Reads lines from the files: from the month that holds the first, up to the last, until
/// `visit` says no.
fn read_lines(
    directory: &Path,
    range: &Range,
    mut visit: impl FnMut(&Line<'_>) -> bool,
) -> std::io::Result<()> {
    let mut store = Disk::existing(directory)?;
    let mut months = store.months()?;
    months.retain(|month| *month >= range.begun.month);
    let first = first_month(&mut store, &months, range)?;
    for month in months.into_iter().skip(first) {
        let mut lines = Lines::new(store.read(month)?);
        while let Some((place, content)) = lines.next_line()? {
            let is_before = month == range.begun.month && place.offset < range.begun.offset;
            let Content::Line(bytes) = content else {
                continue;
            };
            let Ok(line) = Line::parse(bytes) else {
                continue;
            };
            if is_before || line.header.seq <= range.after {
                continue;
            }
            if line.header.seq > range.newest || !visit(&line) {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// The place of the newest month that begins at or before the first line that is wanted.
fn first_month(store: &mut Disk, months: &[Month], range: &Range) -> std::io::Result<usize> {
    for (at, month) in months.iter().enumerate().skip(1).rev() {
        let mut lines = Lines::new(store.read(*month)?);
        if let Some((_, Content::Line(bytes))) = lines.next_line()?
            && let Ok(line) = Line::parse(bytes)
            && line.header.seq <= range.after.saturating_add(1)
        {
            return Ok(at);
        }
    }
    Ok(0)
}
