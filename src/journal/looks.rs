//! Looks at the own journal while the daemon runs ([`Writer::look`]), beside everything else.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, Interval, MissedTickBehavior};

use super::entry::Entry;
use super::writer::{Error, Writer};

/// How often a daemon looks whether its journal is still what it wrote.
pub const LOOK_EVERY: Duration = Duration::from_secs(3_600);

/// The looks of one daemon.
#[derive(Debug)]
pub struct Looks {
    writer: Writer,
    tick: Interval,
    /// The look that runs, if one does.
    running: JoinSet<Result<(), Error>>,
}

impl Looks {
    /// Looks every so often; the start has read everything, so the first one is later.
    pub fn new(writer: Writer, every: Duration) -> Self {
        let mut tick = tokio::time::interval_at(Instant::now() + every, every);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            writer,
            tick,
            running: JoinSet::new(),
        }
    }

    /// Waits for damage, found by a look or by the writer; the entry that tells of it. May be
    /// dropped and called again.
    pub async fn damage(&mut self) -> Entry {
        loop {
            if let Some(found) = self.writer.take_damage() {
                return found;
            }
            tokio::select! {
                () = self.writer.damaged() => {}
                Some(done) = self.running.join_next() => {
                    if let Ok(Err(error)) = done {
                        tracing::warn!(%error, "the journal could not be looked at; the next look tries again");
                    }
                }
                _ = self.tick.tick(), if self.running.is_empty() => {
                    let writer = self.writer.clone();
                    self.running.spawn_blocking(move || writer.look());
                }
            }
        }
    }
}
