//! Copies of the journal off the machine, on NATS JetStream (interfaces.md 11): each durable line
//! is published in order to `fanal.journal.ID.JOURNAL`, under the message id `JOURNAL:seq`.
//!
//! | question | where |
//! |---|---|
//! | which line comes next? | [`crate::journal::tail`] |
//! | what does the server say to it? | `nats.rs` |
//! | where did it stop? | the stream knows: its newest line of the journal is asked for at each connection |
//!
//! Each line goes only behind the one before (`Nats-Expected-Last-Subject-Sequence`) and after that
//! one's acknowledgement, so that the stream has the journal's order and each line once, also after
//! JetStream's window for duplicates. Nothing is kept here but the lines that were read last: they
//! are in the journal's files for as long as it takes.
//!
//! All of it is on a thread of its own, and nothing waits for it: neither grants, nor pruning, nor
//! the stop. Lines that are pruned before they are copied are missing in the copy, and an error in
//! the log says so.

mod nats;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::nats::{Nats, Outcome, Stored, Trouble};
use crate::background::Background;
use crate::clock::{Clock, Wall};
use crate::config::settings;
use crate::format::backoff::Backoff;
use crate::format::ids::Sha256;
use crate::journal::store::Disk;
use crate::journal::tail::{Copied, Step, Tail};
use crate::journal::writer::{Progress, Writer};
use crate::metrics::Copies;
use crate::metrics::health::{Check, Checks};

/// First and longest pause after a failure; some lines must go well for the first again.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));
/// How often the lag is measured while nothing moves.
const MEASURE_EVERY: Duration = Duration::from_secs(5);

/// What it works with.
#[derive(Debug)]
pub struct Parts {
    /// Where the journal is.
    pub state_dir: PathBuf,
    /// The commune's or centre's id.
    pub owner: String,
    /// The journal.
    pub writer: Writer,
    /// The time.
    pub clock: Clock,
    /// Counts lines, and shows the lag.
    pub metrics: Copies,
    /// Gets the check `copies`.
    pub checks: Checks,
}

/// Tells the thread of new settings. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle(watch::Sender<Option<settings::Copies>>);

impl Handle {
    /// Takes new settings; without any, nothing is copied any more.
    pub fn apply(&self, copies: Option<&settings::Copies>) {
        self.0.send_if_modified(|old| {
            let differ = old.as_ref() != copies;
            *old = copies.cloned();
            differ
        });
    }
}

/// Ready to be started.
#[derive(Debug)]
pub struct Ready {
    parts: Parts,
    settings: watch::Receiver<Option<settings::Copies>>,
}

/// Makes ready what [`Ready::start`] runs.
pub fn ready(parts: Parts, copies: Option<&settings::Copies>) -> (Handle, Ready) {
    let outcomes = Outcome::ALL.map(Outcome::as_str);
    parts.metrics.expect(outcomes);
    let (sender, settings) = watch::channel(copies.cloned());
    (Handle(sender), Ready { parts, settings })
}

impl Ready {
    /// Starts the thread; it ends when the token is cancelled.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(self, token: CancellationToken) -> std::io::Result<Background> {
        Background::start("copies", move || async move {
            let driver = Driver {
                progress: self.parts.writer.progress(),
                backoff: Backoff::new(PAUSES.0, PAUSES.1, PAUSES.1),
                parts: self.parts,
                server: 0,
                tail: None,
                journal: None,
                newest: None,
                lines: VecDeque::new(),
                copied: Stored::default(),
                waits_since: None,
                trouble: None,
            };
            let mut settings = self.settings;
            tokio::select! {
                biased;
                () = token.cancelled() => {}
                () = driver.run(&mut settings) => {}
            }
        })
    }
}

struct Driver {
    parts: Parts,
    progress: watch::Receiver<Progress>,
    backoff: Backoff,
    /// Which of the servers is tried.
    server: usize,
    /// None: from the first line on.
    tail: Option<Tail>,
    /// The journal that is copied.
    journal: Option<Arc<str>>,
    /// The journal that is written, as it was seen last.
    newest: Option<String>,
    /// Lines that were read and are not in the stream, oldest first.
    lines: VecDeque<Copied>,
    /// The newest line of that journal in the stream.
    copied: Stored,
    /// Since when the oldest line waits.
    waits_since: Option<Wall>,
    /// What is wrong.
    trouble: Option<Trouble>,
}

impl Driver {
    async fn run(mut self, settings: &mut watch::Receiver<Option<settings::Copies>>) {
        loop {
            let copies = settings.borrow_and_update().clone();
            let Some(copies) = copies else {
                self.stop_copying();
                if settings.changed().await.is_err() {
                    return;
                }
                continue;
            };
            let before = self.copied;
            let failed = tokio::select! {
                biased;
                changed = settings.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    // Perhaps another stream: it says what it has.
                    self.begin_again();
                    continue;
                }
                failed = self.copy(&copies) => failed,
            };
            let went_on = self.copied != before;
            self.tell(failed);
            self.server += 1;
            let up = if went_on { PAUSES.1 } else { Duration::ZERO };
            let pause = if self.server.is_multiple_of(copies.servers.len().max(1)) || went_on {
                self.backoff.failed(up, random())
            } else {
                PAUSES.0
            };
            tokio::select! {
                biased;
                _ = settings.changed() => settings.mark_changed(),
                () = self.wait(pause) => {}
            }
        }
    }

    /// Connects and copies until something fails.
    async fn copy(&mut self, settings: &settings::Copies) -> Trouble {
        match self.try_copy(settings).await {
            Ok(never) => match never {},
            Err(trouble) => trouble,
        }
    }

    async fn try_copy(
        &mut self,
        settings: &settings::Copies,
    ) -> Result<std::convert::Infallible, Trouble> {
        let mut nats = Nats::connect(settings, self.server).await?;
        if let Some(journal) = self.journal.clone() {
            let stored = nats.stored(&self.subject(&journal)).await?;
            if stored.seq < self.copied.seq {
                // The stream lost lines, or is another: all that it lacks is copied again.
                tracing::warn!(
                    stream = settings.stream,
                    stored = stored.seq,
                    copied = self.copied.seq,
                    "the stream holds fewer lines than were copied; it gets them again"
                );
                self.begin_again();
            } else {
                if stored.seq > self.copied.seq {
                    // Lines whose acknowledgements were lost.
                    self.accept(stored)?;
                } else if stored.hash != self.copied.hash {
                    let seq = stored.seq;
                    return Err(contradicts(format!("line {seq} of it is another here")));
                }
                self.copied = stored;
            }
        }
        loop {
            if self.lines.is_empty() {
                let seen = self.progress.borrow_and_update().clone();
                let is_written = seen.seq > 0;
                if self.newest != seen.journal {
                    self.newest.clone_from(&seen.journal);
                    // It may have begun in the same file, before the place that was read last.
                    self.begin_again();
                }
                match self.read(seen).await? {
                    Step::Journal(journal) => self.enter(&mut nats, journal).await?,
                    Step::Lines(lines) => self.lines = lines.into(),
                    Step::Differs(seq) => {
                        self.begin_again();
                        return Err(contradicts(format!("line {seq} of it is another here")));
                    }
                    Step::End if is_written && self.journal.is_none() => return Err(nameless()),
                    Step::End => {
                        self.caught_up()?;
                        // The writer is held here too, so its end is never seen.
                        let _ = self.progress.changed().await;
                    }
                }
                continue;
            }
            self.publish(&mut nats).await?;
        }
    }

    /// The stream has more lines than were known to be in it: those that wait here, if they are
    /// the same.
    fn accept(&mut self, stored: Stored) -> Result<(), Trouble> {
        let Some(at) = self.lines.iter().position(|line| line.seq == stored.seq) else {
            // Not read yet: the reader compares.
            self.begin_again();
            return Ok(());
        };
        if self.lines.get(at).map(|line| Sha256::of(&line.bytes)) != stored.hash {
            return Err(contradicts(format!(
                "line {} of it is another here",
                stored.seq
            )));
        }
        self.lines.drain(..=at);
        Ok(())
    }

    /// A journal's lines follow: the stream says which it has.
    async fn enter(&mut self, nats: &mut Nats, journal: Arc<str>) -> Result<(), Trouble> {
        let entered = nats.stored(&self.subject(&journal)).await;
        let stored = match entered {
            Ok(stored) => stored,
            Err(trouble) => {
                // Its lines are read when it is entered the next time.
                self.begin_again();
                return Err(trouble);
            }
        };
        if let (Some(hash), Some(tail)) = (stored.hash, &mut self.tail) {
            tail.pass(stored.seq, hash);
        }
        self.copied = stored;
        self.journal = Some(journal);
        Ok(())
    }

    async fn publish(&mut self, nats: &mut Nats) -> Result<(), Trouble> {
        let (Some(line), Some(journal)) = (self.lines.front_mut(), self.journal.clone()) else {
            return Err(nameless());
        };
        let (seq, time) = (line.seq, line.time);
        let bytes = Bytes::copy_from_slice(&line.bytes);
        self.waits_since = Some(time);
        self.measure();
        let hash = Sha256::of(&bytes);
        let after = self.copied.stream;
        let (subject, id) = (self.subject(&journal), format!("{journal}:{seq}"));
        let stream = nats.publish(&subject, &id, after, bytes).await?;
        if self.copied.seq > 0 && seq > self.copied.seq + 1 {
            let (from, to) = (self.copied.seq + 1, seq - 1);
            tracing::error!(%journal, from, to, "lines of the journal were pruned before they were copied; the copy lacks them");
        }
        self.copied = Stored {
            seq,
            stream,
            hash: Some(hash),
        };
        self.lines.pop_front();
        self.waits_since = self.lines.front().map(|line| line.time);
        self.parts.metrics.count(Outcome::Copied.as_str(), 1);
        self.went_well();
        Ok(())
    }

    /// Reads beside the thread's other work.
    async fn read(&mut self, durable: Progress) -> Result<Step, Trouble> {
        let unreadable = |cause: String| Trouble::new(Outcome::Unreadable, cause);
        let tail = self.tail.take();
        let directory = self.parts.state_dir.join("journal");
        let read = tokio::task::spawn_blocking(move || {
            let mut tail = match tail {
                Some(tail) => tail,
                None => Tail::new(Box::new(Disk::existing(&directory)?)),
            };
            let step = tail.next(&durable)?;
            Ok::<_, std::io::Error>((tail, step))
        });
        let read = read.await.map_err(|error| unreadable(error.to_string()));
        match read.and_then(|read| read.map_err(|error| unreadable(error.to_string()))) {
            Ok((tail, step)) => {
                self.tail = Some(tail);
                Ok(step)
            }
            Err(trouble) => {
                self.begin_again();
                Err(trouble)
            }
        }
    }

    /// All that is durable here was read.
    fn caught_up(&mut self) -> Result<(), Trouble> {
        let progress = self.progress.borrow().clone();
        let is_current = self.journal.as_deref() == progress.journal.as_deref();
        if is_current && self.copied.seq > progress.seq {
            let (stored, here) = (self.copied.seq, progress.seq);
            self.begin_again();
            return Err(contradicts(format!(
                "it has {stored} lines, and {here} are here"
            )));
        }
        self.waits_since = None;
        self.went_well();
        self.measure();
        Ok(())
    }

    fn subject(&self, journal: &str) -> String {
        format!("fanal.journal.{}.{journal}", self.parts.owner)
    }

    /// From the first line on; the stream says which it has.
    fn begin_again(&mut self) {
        (self.tail, self.journal, self.copied) = (None, None, Stored::default());
        self.lines.clear();
    }

    fn went_well(&mut self) {
        if self.trouble.take().is_some() {
            tracing::info!("copies of the journal go on");
        }
        self.parts.checks.set("copies", Check::ok(""));
    }

    /// There are no settings.
    fn stop_copying(&mut self) {
        self.begin_again();
        (self.waits_since, self.trouble) = (None, None);
        self.parts.metrics.lag_entries.set(0);
        self.parts.metrics.lag_seconds.set(0.0);
        self.parts.checks.remove("copies");
    }

    fn tell(&mut self, trouble: Trouble) {
        let Trouble { outcome, detail } = &trouble;
        self.parts.metrics.count(outcome.as_str(), 1);
        let (outcome, remedy) = (*outcome, outcome.remedy());
        let cause = outcome.as_str();
        let is_new = self.trouble.as_ref().map(|old| old.outcome) != Some(outcome);
        if is_new && outcome == Outcome::Contradicts {
            tracing::error!(cause, %detail, remedy, "the journal's copy contradicts it; nothing more is copied");
        } else if is_new {
            tracing::warn!(cause, %detail, remedy, "the journal is not copied; nothing waits for it");
        }
        let check = Check::warning(format!("{cause}: {detail}"), remedy);
        self.parts.checks.set("copies", check);
        self.trouble = Some(trouble);
    }

    /// Waits, and shows the lag meanwhile.
    async fn wait(&mut self, pause: Duration) {
        let until = self.parts.clock.now().boot.plus(pause);
        loop {
            self.measure();
            let now = self.parts.clock.now().boot;
            if now >= until {
                return;
            }
            let next = now.plus(MEASURE_EVERY).min(until);
            self.parts.clock.sleep_until(next).await;
        }
    }

    /// Shows the lag.
    fn measure(&mut self) {
        let progress = self.progress.borrow();
        let is_current =
            self.journal.is_some() && self.journal.as_deref() == progress.journal.as_deref();
        let copied = if is_current { self.copied.seq } else { 0 };
        let lag = progress.seq.saturating_sub(copied);
        drop(progress);
        let now = self.parts.clock.now().wall;
        let since = match lag {
            0 => None,
            _ => Some(*self.waits_since.get_or_insert(now)),
        };
        let waited = since.map_or(0, |since| now.0.saturating_sub(since.0).max(0));
        let metrics = &self.parts.metrics;
        metrics
            .lag_entries
            .set(i64::try_from(lag).unwrap_or(i64::MAX));
        metrics
            .lag_seconds
            .set(Duration::from_micros(waited.unsigned_abs()).as_secs_f64());
    }
}

fn contradicts(detail: String) -> Trouble {
    Trouble::new(Outcome::Contradicts, format!("the stream: {detail}"))
}

fn nameless() -> Trouble {
    let detail = "no line says which journal it is; see `fanal journal verify`";
    Trouble::new(Outcome::Unreadable, detail.to_owned())
}

/// In 0..1; without randomness all machines come back at once, which is bearable.
fn random() -> f64 {
    getrandom::u32().map_or(1.0, |random| f64::from(random) / f64::from(u32::MAX))
}
