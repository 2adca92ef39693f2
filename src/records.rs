//! What the control tasks of both daemons do with their journals: entries go there in order and
//! their receipts come back in order; lines and lists are read beside the task, which may take
//! the disk's time.
//!
//! `P` names a peer: a centre at the gateway, a commune at the receiver.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesOrdered;
use serde::Serialize;
use tokio::task::JoinSet;

use crate::format::control::{Heads, LINES_LIMIT};
use crate::journal::Receipt;
use crate::journal::entry::Entry;
use crate::journal::reader::OwnLine;
use crate::journal::writer::Writer;
use crate::link::Link;
use crate::notify::Notices;
use crate::policy::peer::ledger::Ticket;

/// How long the journal may take for the last entries at a stop.
const LAST_ENTRIES: Duration = Duration::from_secs(5);

/// What became of an entry; with the entry where it was to be kept.
pub type Recorded = (Ticket, Result<Receipt, String>, Option<Entry>);

/// The entries in flight and what is read aside. Their number is bounded by who pushes:
/// [`crate::policy::peer::ledger::PENDING_LIMIT`].
pub struct Records<P> {
    journal: Writer,
    notices: Notices,
    in_flight: FuturesOrdered<BoxFuture<'static, Recorded>>,
    aside: JoinSet<Option<(P, OwnLine)>>,
}

impl<P> std::fmt::Debug for Records<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("Records");
        shown.field("in_flight", &self.in_flight.len());
        shown.finish_non_exhaustive()
    }
}

/// What is ready.
#[derive(Debug)]
pub enum Ready<P> {
    /// An entry is durable, or could not be written.
    Recorded(Recorded),
    /// A line that was asked for.
    Line(P, OwnLine),
    /// Other work beside the task is done.
    Done,
}

impl<P: Send + 'static> Records<P> {
    /// For this journal; notices tell of what is in it.
    pub fn new(journal: Writer, notices: Notices) -> Self {
        Self {
            journal,
            notices,
            in_flight: FuturesOrdered::new(),
            aside: JoinSet::new(),
        }
    }

    /// Writes an entry down. A notice is sent once it is durable; `kept` comes back with the
    /// receipt.
    pub fn push(&mut self, ticket: Ticket, entry: Entry, kept: Option<Entry>) {
        let (journal, notices) = (self.journal.clone(), self.notices.clone());
        let told = notices.of(&entry);
        self.in_flight.push_back(Box::pin(async move {
            let result = journal.append(entry).await;
            match (&result, told) {
                (Ok(_), Some(told)) => notices.push(told),
                (Ok(_), None) => {}
                (Err(error), _) => tracing::error!(%error, "journal entry not written"),
            }
            (ticket, result.map_err(|error| error.to_string()), kept)
        }));
    }

    /// The next that is ready; none while nothing is on its way.
    pub async fn next(&mut self) -> Option<Ready<P>> {
        tokio::select! {
            biased;
            Some(recorded) = self.in_flight.next() => Some(Ready::Recorded(recorded)),
            Some(done) = self.aside.join_next() => Some(match done {
                Ok(Some((peer, line))) => Ready::Line(peer, line),
                Ok(None) | Err(_) => Ready::Done,
            }),
            else => None,
        }
    }

    /// The next entry's fate; none while no entry is on its way.
    pub async fn recorded(&mut self) -> Option<Recorded> {
        self.in_flight.next().await
    }

    /// Reads this line of the own journal, for a comparison.
    pub fn read_line(&mut self, peer: P, seq: u64) {
        let journal = self.journal.clone();
        let read = move || Some((peer, journal.line(seq)));
        self.aside.spawn_blocking(read);
    }

    /// Sends the journal's head (`None`: it has none yet), as `head_for` shapes it, with the lines
    /// behind `after`.
    pub fn send_heads<M: Serialize + Send + 'static>(
        &mut self,
        link: &Link,
        head_for: impl FnOnce(&str) -> String,
        (after, acknowledged): (Option<u64>, u64),
        message: fn(Heads) -> M,
    ) {
        let Some(head) = self.journal.head() else {
            return;
        };
        let head = head_for(&head);
        let (link, journal) = (link.clone(), self.journal.clone());
        self.beside(move || {
            let lines = after.map(|after| journal.lines_after(after, LINES_LIMIT));
            link.send(&message(Heads {
                head,
                lines: lines.unwrap_or_default(),
                acknowledged,
            }));
        });
    }

    /// Does something that takes the disk's time beside the control task.
    pub fn beside(&mut self, work: impl FnOnce() + Send + 'static) {
        self.aside.spawn_blocking(move || {
            work();
            None
        });
    }

    /// The end: notices that wait are kept, and what is read aside is over.
    pub async fn end(mut self) {
        let notices = self.notices.clone();
        self.beside(move || notices.stop());
        while self.aside.join_next().await.is_some() {}
    }
}

/// Writes down that the daemon stopped, once `rest` has seen to what is in flight.
pub async fn write_stop(journal: &Writer, rest: impl Future<Output = ()>) {
    let last = async {
        rest.await;
        journal.append(Entry::Stopped {}).await
    };
    match tokio::time::timeout(LAST_ENTRIES, last).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => tracing::error!(%error, "the stop is not in the journal"),
        Err(_) => tracing::error!("the journal does not answer"),
    }
}
