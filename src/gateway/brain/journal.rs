//! What the brain does for its journal besides the gate's entries: attestations, and the end of
//! what rests on a journal that is not what was written.

use super::Brain;
use crate::journal::entry::Entry;
use crate::records::Ready;

impl Brain {
    /// The journal was found not to be what was written: what rests on it ends.
    pub(super) fn damaged(&mut self, found: &Entry) {
        let (writer, now) = (&self.parts.writer, self.parts.clock.now());
        let (head, continues) = (writer.head(), writer.continues());
        let (head, continues) = (head.as_deref(), continues.as_deref());
        self.parts.gate.handle_damaged(found, head, continues, now);
        self.parts.notify.own_loss();
    }

    /// Waits for the journal's answers, until nothing more is to be written.
    pub(super) async fn settle(&mut self) {
        self.carry_out().await;
        while let Some(recorded) = self.records.recorded().await {
            self.ready(Ready::Recorded(recorded));
            self.carry_out().await;
        }
    }

    /// Writes down what was sent since the last time, where that is due.
    pub(super) fn attest(&mut self) {
        let now = self.parts.clock.now();
        let is_plausible = self.parts.gate.clock_behind(now).is_none();
        if self.parts.attest.is_due(now, is_plausible) {
            self.attest_now();
        }
    }

    pub(super) fn attest_now(&mut self) {
        for entry in self.parts.attest.take(self.parts.clock.now()) {
            self.parts.gate.handle_note(entry);
        }
    }
}
