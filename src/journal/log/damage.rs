//! Damage that is found while the journal is written: a new journal begins and names it.

use super::Log;
use crate::journal::entry::Entry;
use crate::journal::recover::Damage;
use crate::journal::sums::Sums;

impl Log {
    /// Lines that were read at the start do not verify: the next line begins a new journal
    /// behind them, which names the last line that did.
    pub(super) fn continue_damaged(&mut self, damage: &Damage) {
        tracing::error!(
            file = damage.file,
            line = damage.line,
            cause = damage.what,
            "journal: it does not verify; a new one begins that names the last line that does. Keep the files as they are, look with `fanal journal verify`, and accept it with --accept-journal"
        );
        self.tell(damage);
    }

    /// The next lines begin a new journal and say why.
    pub(super) fn tell(&mut self, damage: &Damage) {
        let journal = self.journal.take().unwrap_or_default();
        self.continue_from(journal);
        let damaged = Entry::JournalDamaged {
            file: damage.file.clone(),
            line: damage.line,
            cause: damage.what.clone(),
        };
        // Right behind the first line: a start knows the damage by that.
        self.notes.insert(1, damaged.clone());
        self.found = Some(damaged);
    }

    /// A look found damage while the journal is written: a new one begins, which names the
    /// head that is known here and says what was found.
    pub(in crate::journal) fn condemn(&mut self, damage: &Damage) {
        let journal = self.journal.clone();
        // Where lines at the end are lost this begins the new one.
        self.touched();
        let repaired = self.repair();
        if repaired.is_ok() && self.journal == journal {
            self.intact = false;
            self.continue_damaged(damage);
        }
        // What fails is told by `health`, and tried again.
        let _ = self.commit(&[]);
    }

    /// Somebody else wrote to the files: what is there is looked at before more follows.
    pub(super) fn touched(&mut self) {
        self.dirty = true;
        self.is_touched = true;
        if let Some((month, _)) = self.file {
            // It may be another file of the same name. An error says that it is gone.
            let _ = self.parts.store.forget(month);
        }
    }

    /// The damage that was found since the last call.
    pub(in crate::journal) fn take_found(&mut self) -> Option<Entry> {
        self.found.take()
    }

    /// What the files must hold.
    pub(in crate::journal) fn sums(&self) -> &Sums {
        &self.sums
    }
}
