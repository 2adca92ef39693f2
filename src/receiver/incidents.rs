//! Drives the records of incidents: reads the journal at the start, takes each entry as it is written,
//! and writes what operators note.
//!
//! A note is on disk before the journal names it, and in the record once the journal has it. All is
//! decided in [`crate::policy::record`].

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::broadcast;

use super::texts::Texts;
use crate::clock::{Clock, Wall};
use crate::format::designation::{Authority, Designation};
use crate::format::ids::{GrantId, Incident, MarkId, Sha256};
use crate::journal::Receipt;
use crate::journal::entry::{Entry, MarkEntry};
use crate::journal::search;
use crate::journal::writer::Writer;
use crate::policy::desk::Notice;
use crate::policy::record::{Denied, Marked, READ_BACK, Records, Text};
use crate::reason::{Reason, Refusal};

/// A handle to the records. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Incidents {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    records: Mutex<Records>,
    texts: Texts,
    journal: Writer,
    clock: Clock,
    notices: broadcast::Sender<Notice>,
}

/// What it writes with.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) journal: Writer,
    pub(super) clock: Clock,
    pub(super) notices: broadcast::Sender<Notice>,
}

/// The records as the journal and the texts beside it have them at the start. Blocking.
///
/// # Errors
/// The directory of the texts can't be made.
pub(super) fn read(
    state_dir: &Path,
    now: Wall,
    authorities: &[Authority],
) -> Result<(Records, Texts), String> {
    let texts = Texts::open(state_dir)?;
    let mut records = Records::default();
    let since = Wall(now.0.saturating_sub(micros(READ_BACK)));
    // As the journal grew, so that no more is held than was then.
    let mut next = since;
    let taken = search::entries_since(&state_dir.join("journal"), since, |seq, time, entry| {
        if Records::wants(entry) {
            records.take(seq, time, entry, authorities);
        }
        if time > next {
            records.forget(time);
            next = time.plus(FORGET_EVERY);
        }
    });
    if let Err(error) = &taken {
        tracing::error!(%error, "the journal can't be read for the records of incidents: they lack what was not read; no note is removed");
    }
    records.forget(now);
    let digests: BTreeSet<Sha256> = records.digests().collect();
    records.set_texts(texts.sweep(&digests, taken.is_ok()));
    Ok((records, texts))
}

/// How often, in the journal's time, what is over goes while it is read.
const FORGET_EVERY: std::time::Duration = std::time::Duration::from_secs(3_600);

fn micros(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

impl Incidents {
    pub(super) fn new((records, texts): (Records, Texts), parts: Parts) -> Self {
        let Parts {
            journal,
            clock,
            notices,
        } = parts;
        Self {
            shared: Arc::new(Shared {
                records: Mutex::new(records),
                texts,
                journal,
                clock,
                notices,
            }),
        }
    }

    /// The records, to look at.
    pub(super) fn records(&self) -> MutexGuard<'_, Records> {
        let records = self.shared.records.lock();
        records.unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes an entry that is written.
    pub(super) fn take(&self, receipt: &Receipt, entry: &Entry, authorities: &[Authority]) {
        let changed = self
            .records()
            .take(receipt.seq(), receipt.time(), entry, authorities);
        if let Some((unit, incident)) = changed {
            // An error says that nobody listens.
            let _ = self.shared.notices.send(Notice::Incident(incident, unit));
        }
    }

    /// Other authorities are in force.
    pub(super) fn reload(&self, authorities: &[Authority]) {
        let now = self.shared.clock.now().wall;
        self.records().reload(now, authorities);
    }

    /// Forgets what is kept long enough; what is left to do is blocking.
    pub(super) fn forget(&self) -> Option<impl FnOnce() + Send + use<>> {
        let gone = self.records().forget(self.shared.clock.now().wall);
        let texts = self.shared.texts.clone();
        (!gone.is_empty()).then_some(move || texts.remove(&gone))
    }

    /// An operator opens or closes an incident's record.
    ///
    /// # Errors
    /// Why not.
    pub async fn turn(
        &self,
        who: &Designation,
        incident: &Incident,
        to: (bool, Option<String>),
        is_live: impl Fn(GrantId) -> bool,
    ) -> Result<(), Denied> {
        let entry = {
            let now = self.shared.clock.now();
            let mut records = self.records();
            let entry = records.turn(who, incident, to, is_live, now.wall)?;
            if entry.is_some() {
                records.pace(who, now).map_err(Denied::Refused)?;
            }
            entry
        };
        match entry {
            Some(entry) => self.append(entry).await.map_err(Denied::Refused),
            None => Ok(()),
        }
    }

    /// An operator writes a note or a bookmark, or changes a bookmark.
    ///
    /// # Errors
    /// Why not.
    pub async fn write(&self, who: &Designation, marked: Marked) -> Result<(), Denied> {
        let Some(mut entry) = self.judge(who, &marked)? else {
            return Ok(());
        };
        let before = self.records().digest(who, &marked.incident, marked.id);
        let text = if marked.text.is_empty() {
            None
        } else {
            Some(self.keep(marked.text).await.map_err(Denied::Refused)?)
        };
        entry.text = text.as_ref().map(Text::digest);
        let now = entry.text;
        let written = self.append(Entry::Mark(Box::new(entry))).await;
        if let (Ok(()), Some(text)) = (&written, text) {
            self.records().set_texts([text]);
        }
        // The text that counts no more.
        self.remove(if written.is_ok() { before } else { now })
            .await;
        written.map_err(Denied::Refused)
    }

    fn judge(&self, who: &Designation, marked: &Marked) -> Result<Option<MarkEntry>, Denied> {
        let now = self.shared.clock.now();
        let mut records = self.records();
        let entry = records.write(who, marked, now.wall)?;
        if entry.is_some() {
            records.pace(who, now).map_err(Denied::Refused)?;
        }
        Ok(entry)
    }

    /// An operator withdraws a note (`is_note`) or a bookmark: its text is removed.
    ///
    /// # Errors
    /// Why not.
    pub async fn withdraw(
        &self,
        who: &Designation,
        incident: &Incident,
        id: MarkId,
        is_note: bool,
    ) -> Result<(), Denied> {
        let now = self.shared.clock.now();
        let (entry, before) = {
            let mut records = self.records();
            let Some(entry) = records.withdraw(who, incident, id, is_note, now.wall)? else {
                return Ok(());
            };
            records.pace(who, now).map_err(Denied::Refused)?;
            (entry, records.digest(who, incident, id))
        };
        self.append(Entry::Mark(Box::new(entry)))
            .await
            .map_err(Denied::Refused)?;
        self.remove(before).await;
        Ok(())
    }

    async fn keep(&self, text: String) -> Result<Text, Refusal> {
        let texts = self.shared.texts.clone();
        let kept = tokio::task::spawn_blocking(move || texts.keep(text)).await;
        let kept = kept.map_err(|_| Refusal::from(Reason::ShuttingDown))?;
        kept.map_err(|error| {
            tracing::error!(%error, "the text of a note can't be written");
            Refusal::new(
                Reason::JournalUnavailable,
                "the disk of the centre does not take the text",
            )
        })
    }

    async fn remove(&self, digest: Option<Sha256>) {
        let Some(digest) = digest else {
            return;
        };
        let texts = self.shared.texts.clone();
        let removed = tokio::task::spawn_blocking(move || texts.remove(&[digest])).await;
        if removed.is_err() {
            tracing::warn!("the daemon stops before the text of a note is removed");
        }
    }

    async fn append(&self, entry: Entry) -> Result<(), Refusal> {
        let appended = self.shared.journal.append(entry.clone()).await;
        match appended {
            Ok(receipt) => {
                // Its authority is in the entry itself.
                self.take(&receipt, &entry, &[]);
                Ok(())
            }
            Err(error) => {
                tracing::error!(%error, "what an operator wrote could not be recorded");
                let detail = "the journal of the centre can't be written";
                Err(Refusal::new(Reason::JournalUnavailable, detail))
            }
        }
    }
}
