//! Lines that do not verify, and the new journal behind them that names the line before.

use super::Walk;
use crate::format::chain::{End, Line};
use crate::format::statement::HeadClaims;
use crate::journal::entry::Entry;
use crate::journal::reader::{self, Origin, Place};
use crate::journal::store::Month;
use crate::reason::Reason;

impl Walk {
    /// Whether a line says that the first damage was found: by its file and line. Where that file
    /// is pruned, the lines that followed the damage are the first ones left.
    pub(super) fn names_damage(&self, bytes: &[u8]) -> bool {
        let entry = Line::parse(bytes)
            .ok()
            .filter(Line::digest_matches)
            .and_then(|line| reader::entry(line.body?).ok()?);
        match entry.zip(self.found.damage.as_ref()) {
            Some((Entry::JournalDamaged { file, line, .. }, damage)) => {
                let of = Month::from_file_name(&file);
                let is_pruned = of.is_some_and(|of| Some(of) < self.oldest);
                let is_behind = self.found.pruned > 0 && self.found.end.seq == self.found.pruned;
                file == damage.file && line == damage.line || is_pruned && is_behind
            }
            _ => false,
        }
    }

    /// A line behind one that does not verify: the first of a new journal that names the
    /// last line before the damage, or one of which only what narrows is taken.
    pub(super) fn damaged_line(&mut self, month: Month, place: Place, bytes: &[u8]) {
        let known = HeadClaims {
            iss: String::new(),
            journal: self.found.journal.clone().unwrap_or_default(),
            seq: self.found.end.seq,
            link: self.found.end.link,
            iat: 0,
        };
        let origin = Origin::read(bytes);
        let continues = origin.as_ref().is_some_and(|origin| {
            let End { seq, link } = self.found.end;
            origin.names(&known) && (origin.seq, origin.link) == (seq, link)
        });
        // One that began while the daemon ran names the head that it knew; its second line
        // names the damage.
        let candidate = self.candidate.take();
        if let Some((of, at, first)) = candidate
            && self.names_damage(bytes)
        {
            self.found.damage = None;
            // Counted when it was read first.
            self.found.lines -= 1;
            // Both were read: the first begins a journal, this one follows it.
            let _ = self.line(of, at, &first);
            let _ = self.line(month, place, bytes);
            return;
        }
        // Of a journal whose first line is damaged the name is not known.
        let is_of = |old: &str| known.journal.is_empty() || old == known.journal;
        if origin.is_some_and(|origin| is_of(&origin.old) && origin.seq >= known.seq) {
            self.candidate = Some((month, place, bytes.to_vec()));
        }
        if continues {
            self.found.damage = None;
            // It was read above: it follows, being a first line.
            let _ = self.line(month, place, bytes);
            return;
        }
        self.found.lines += 1;
        let Some((line, body)) = Line::parse(bytes)
            .ok()
            .filter(Line::digest_matches)
            .and_then(|line| Some((line, line.body?)))
        else {
            return;
        };
        self.narrow(&line, body);
        // Behind what was taken of it: it belongs to its month.
        if let Some(extents) = &mut self.extents {
            extents.line(&line, None, self.kept.order);
        }
    }

    /// Takes what only narrows.
    fn narrow(&mut self, line: &Line<'_>, body: &[u8]) {
        let time = line.header.time;
        let newest = self.found.newest.map_or(time, |newest| newest.max(time));
        self.found.newest = Some(newest);
        let Ok(Some(entry)) = reader::entry(body) else {
            return;
        };
        let ends = match &entry {
            Entry::Grant(grant) => Some(Entry::Ended {
                grant: grant.grant,
                reason: Reason::JournalWentBack,
                at: time.rfc3339(),
                by: None,
            }),
            Entry::Cut { .. }
            | Entry::Ended { .. }
            | Entry::Refused { voids: None, .. }
            | Entry::Excess { .. }
            | Entry::Decision { .. }
            | Entry::CredentialsChanged { .. }
            | Entry::ViewingStarted { .. }
            | Entry::ViewingEnded { .. }
            | Entry::ViewingsOwed { .. }
            | Entry::ViewingsTaken { .. }
            | Entry::PeerContradiction { .. }
            | Entry::JournalWentBack { .. }
            | Entry::Revocation { .. }
            | Entry::Attestation(_) => None,
            _ => return,
        };
        let seq = line.header.seq;
        self.kept.take(seq, time, entry, body.len());
        if let Some(ends) = ends {
            self.kept.take(seq, time, ends, 100);
        }
    }
}
