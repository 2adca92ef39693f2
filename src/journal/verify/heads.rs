//! The heads that other copies hold, against the journal's lines.

use std::path::Path;

use super::{Finding, HEADS_LIMIT, Held, Walk, What, months, open, statements};
use crate::clock::Wall;
use crate::format::chain::Line;
use crate::format::statement::HeadClaims;
use crate::journal::reader::{self, Content, Lines};
use crate::journal::store::Store;

impl Walk<'_> {
    /// Takes the heads out of another copy.
    pub(super) fn gather(&mut self, directory: &Path) -> Result<(), String> {
        let mut store = open(directory)?;
        for month in months(&mut store, directory)? {
            let file = directory.join(month.file_name());
            let fail = |error| format!("reading {}: {error}", file.display());
            let mut lines = Lines::new(store.read(month).map_err(fail)?);
            while let Some((place, content)) = lines.next_line().map_err(fail)? {
                let Content::Line(bytes) = content else {
                    continue;
                };
                self.place = (file.display().to_string(), place.number);
                let entry = Line::parse(bytes)
                    .ok()
                    .and_then(|line| reader::entry(line.body?).ok()?);
                let Some(entry) = entry else { continue };
                for head in statements::heads(&entry) {
                    let source = format!("{} line {}", file.display(), place.number);
                    self.hold(&head, &source);
                }
            }
        }
        Ok(())
    }

    pub(super) fn hold(&mut self, head: &HeadClaims, source: &str) {
        if self.heads.len() >= HEADS_LIMIT {
            return;
        }
        let text = format!(
            "the head of line {} signed by {} at {}, held in {source}",
            head.seq,
            head.iss,
            Wall::from_seconds(head.iat).rfc3339()
        );
        let link = head.link;
        let key = (head.journal.clone(), head.seq);
        // Two heads of one line that differ: one of them contradicts whatever is here.
        let held = self.heads.entry(key).or_insert_with(|| Held {
            link,
            text: text.clone(),
        });
        if held.link != link {
            let (file, line) = self.place.clone();
            let what = What::Contradicts(format!("{}, and {text} names another link", held.text));
            let seq = Some(head.seq);
            self.report.tell(Finding {
                file,
                line,
                seq,
                journal: 0,
                what,
            });
        }
        let last = self.ends.entry(head.journal.clone()).or_insert(0);
        *last = head.seq.max(*last);
    }

    pub(super) fn compare_with_head(&mut self, line: &Line<'_>) {
        if self.heads.is_empty() {
            return;
        }
        let Some(journal) = self.journal.clone() else {
            return;
        };
        let held = self.heads.get(&(journal, line.header.seq));
        let Some(held) = held else { return };
        self.report.heads += 1;
        if held.link != line.link {
            let what = What::Contradicts(held.text.clone());
            self.tell(Some(line.header.seq), what);
        }
    }
}
