//! Writes the journal: own thread, group commit, fsync.
//!
//! | queue | bound | when full |
//! |---|---|---|
//! | entries to be written | [`QUEUE_BYTES`], an entry counting at least [`LEAST_CHARGE`] | the caller waits, at most [`APPEND_TIMEOUT`] |
//!
//! Everything that is queued when the thread is free is written with one write
//! and one fsync. After a failure appends are refused until a write succeeds;
//! the thread tries by itself every [`RETRY_EVERY`], so a disk that was full
//! needs nothing but room.

mod lines;
mod prune;

use std::path::PathBuf;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use prometheus::{Histogram, IntCounter};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot, watch};

use self::prune::{Prune, prune};
use super::entry::Entry;
use super::fit::fit;
use super::log::{self, Log, Parts};
use super::recover::{self, Begun, Damage, Recent};
use super::store::Disk;
use super::sums::Sums;
use super::{LockedDirectory, Receipt};
use crate::clock::{Clock, Wall};
use crate::format::jws::Signer;
use crate::format::keep::Keep;
use crate::format::statement::HEAD_TYPE;

/// Most bytes of entries that wait to be written.
pub const QUEUE_BYTES: usize = 4 * 1024 * 1024;
/// What the smallest entry counts for, which bounds their number too.
pub const LEAST_CHARGE: usize = 4 * 1024;
/// How long an append waits for the disk. The entry may become durable all the
/// same; the one who asked must treat it as refused.
pub const APPEND_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a journal that can't be written is tried again.
pub const RETRY_EVERY: Duration = Duration::from_secs(1);

/// What the writer needs.
#[derive(Debug)]
pub struct Options {
    /// `state_dir`; the journal is in `journal/` below it. Locked (`flock`).
    pub state_dir: PathBuf,
    /// The commune's or centre's id: `iss` of heads.
    pub owner: String,
    /// Signs heads.
    pub signer: Arc<Signer>,
    /// The time.
    pub clock: Clock,
}

/// What the journal held at start, for the machines to go on from.
#[derive(Debug)]
pub struct Recovered {
    /// Number, time and entry of all that still matters, oldest first: every
    /// entry of the 48 h before the journal's newest line (ended grants and old
    /// refusals may be missing where they are very many), and whatever older one
    /// is in force by its kind: the newest cut of each scope that was not
    /// allowed again (`until` may be past), the newest head of each peer
    /// (`PeerHead` or `Confirmed`), the newest revocation list of each authority.
    pub entries: Vec<(u64, Wall, Entry)>,
    /// The newest time in the journal since a clock was last accepted: a clock
    /// behind it is wrong.
    pub newest: Option<Wall>,
    /// The newest head, signed again; none in an empty journal.
    pub head: Option<String>,
}

/// Figures for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stats {
    /// Lines in the journal.
    pub entries: u64,
    /// Commits that failed since the start.
    pub errors: u64,
    /// Whether all that was ever durable is still there.
    pub intact: bool,
}

/// What counts entries, of all handles.
#[derive(Clone, Debug)]
pub struct Counters {
    /// The time.
    pub clock: Clock,
    /// Entries that were made durable.
    pub entries: IntCounter,
    /// Entries that could not be.
    pub errors: IntCounter,
    /// From an entry's arrival until it was durable, or given up.
    pub seconds: Histogram,
}

/// How far the journal came, for who follows it: see [`Writer::progress`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The journal's id, once it has a line.
    pub journal: Option<String>,
    /// Number of its last durable line.
    pub seq: u64,
    /// Counts commits since the start that held anything but cosignatures.
    pub changes: u64,
    /// Ends of grants that were written since the start.
    pub ends: u64,
}

/// A handle to the writer's thread. Cheap to clone; the thread ends with the last one.
#[derive(Clone)]
pub struct Writer {
    jobs: mpsc::SyncSender<Job>,
    room: Arc<Semaphore>,
    shared: Arc<Shared>,
    /// Who signs heads; none where a test does.
    signer: Option<SharedSigner>,
}

type SharedSigner = Arc<Mutex<Arc<Signer>>>;

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").finish_non_exhaustive()
    }
}

/// Why the journal could not be opened or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("journal: {0}")]
pub struct Error(pub String);

struct Append {
    body: Vec<u8>,
    mark: Mark,
    /// Held until the entry is written.
    room: OwnedSemaphorePermit,
    reply: oneshot::Sender<Result<Receipt, Error>>,
}

/// What an entry is to [`Progress`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    End,
    Cosigned,
    Other,
}

impl Mark {
    fn of(entry: &Entry) -> Self {
        match entry {
            Entry::Ended { .. } => Self::End,
            Entry::Cosigned { .. } => Self::Cosigned,
            _ => Self::Other,
        }
    }
}

enum Job {
    Append(Append),
    /// A look found this: the journal is not gone on with.
    Condemn(Damage),
    Prune(Prune),
    Close,
}

/// What the thread tells the handles.
struct Shared {
    directory: PathBuf,
    sums: Sums,
    /// Told when damage was found.
    damaged: Notify,
    counters: OnceLock<Counters>,
    state: Mutex<State>,
    progress: watch::Sender<Progress>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Clone)]
struct State {
    head: Option<String>,
    /// Number and text of the last body-less lines, all durable.
    recent: Recent,
    /// Where the journal's first line is.
    begun: Option<Begun>,
    journal: Option<String>,
    first: Option<String>,
    /// The journal's last line that was pruned; 0: none was.
    pruned: u64,
    keep: Keep,
    health: Result<(), String>,
    stats: Stats,
    /// Damage that was found since the start, until somebody asks for it.
    found: Option<Entry>,
}

impl Writer {
    /// Opens or creates the journal, recovers it, and starts the thread. Reads
    /// every line there is, so it is for the start of a daemon, not for a task.
    ///
    /// A journal that is whole but can't be written (a full disk) opens; then
    /// [`Writer::health`] says why and appends are refused until it can be.
    ///
    /// # Errors
    ///
    /// The journal can't be read, or another process holds it.
    pub fn open(options: Options) -> Result<(Self, Recovered), Error> {
        let lock = LockedDirectory::lock(&options.state_dir)?;
        let directory = options.state_dir.join("journal");
        let store = Disk::create(&directory)
            .map_err(|error| Error(format!("making {}: {error}", directory.display())))?;
        let signer = Arc::new(Mutex::new(options.signer));
        let signing = Arc::clone(&signer);
        let parts = Parts {
            store: Box::new(store),
            owner: options.owner,
            clock: options.clock,
            random: Box::new(|bytes| getrandom::fill(bytes).map_err(std::io::Error::other)),
            sign: Box::new(move |claims| {
                let signer = Arc::clone(&lock_of(&signing));
                signer.sign(HEAD_TYPE, claims)
            }),
        };
        let (mut writer, recovered) = Self::start(parts, directory, Some(lock))?;
        writer.signer = Some(signer);
        Ok((writer, recovered))
    }

    /// Signs heads with this from the next line on: the machine's certificate was renewed, and
    /// peers believe no head of one that has ended.
    pub fn sign_with(&self, signer: Arc<Signer>) {
        if let Some(held) = &self.signer {
            *lock_of(held) = signer;
        }
    }

    /// Counts all entries from now on; the first call decides by which.
    pub fn count_with(&self, counters: Counters) {
        // An error: they are counted already.
        let _ = self.shared.counters.set(counters);
    }

    /// Who signs now; none where the parts of a trial sign.
    pub fn signer(&self) -> Option<Arc<Signer>> {
        self.signer.as_ref().map(|held| Arc::clone(&lock_of(held)))
    }

    /// Starts the thread on any store.
    fn start(
        parts: Parts,
        directory: PathBuf,
        lock: Option<LockedDirectory>,
    ) -> Result<(Self, Recovered), Error> {
        let opened =
            Log::open(parts).map_err(|error| Error(format!("{}: {error}", directory.display())))?;
        let mut log = opened.log;
        let recovered = Recovered {
            entries: opened.entries,
            newest: opened.newest,
            head: log.head().map(str::to_owned),
        };
        let shared = Arc::new(Shared {
            directory,
            sums: log.sums().clone(),
            damaged: Notify::new(),
            counters: OnceLock::new(),
            state: Mutex::new(State {
                head: None,
                recent: log.recent().clone(),
                begun: None,
                journal: None,
                first: None,
                pruned: 0,
                keep: Keep::MOST,
                health: Ok(()),
                stats: Stats {
                    entries: 0,
                    errors: 0,
                    intact: true,
                },
                found: None,
            }),
            progress: watch::channel(Progress::default()).0,
            thread: Mutex::new(None),
        });
        shared.publish(&mut log);
        shared.follow(&log, &[]);
        // Two that no room is taken for: a look's find, and the end.
        let (jobs, queue) = mpsc::sync_channel(QUEUE_BYTES / LEAST_CHARGE + 2);
        let thread = std::thread::Builder::new().name("journal".to_owned());
        let thread = thread.spawn({
            let shared = Arc::clone(&shared);
            move || {
                run(log, &queue, &shared);
                // Handles that are left find the queue closed, and the next
                // daemon the directory free.
                drop(queue);
                drop(lock);
            }
        });
        let thread = thread.map_err(|error| Error(format!("starting its thread: {error}")))?;
        *lock_of(&shared.thread) = Some(thread);
        let room = Arc::new(Semaphore::new(QUEUE_BYTES));
        let writer = Self {
            jobs,
            room,
            shared,
            signer: None,
        };
        Ok((writer, recovered))
    }

    /// Appends an entry; returns once it is durable. If the future is dropped,
    /// the entry may still be written. An error says that the journal can't be written
    /// now: an entry too long for a line is cut, for it would never fit.
    pub async fn append(&self, entry: Entry) -> Result<Receipt, Error> {
        let Some(counters) = self.shared.counters.get() else {
            return self.written(&entry).await;
        };
        let came = counters.clock.now().boot;
        let result = self.written(&entry).await;
        let took = counters.clock.now().boot.since(came);
        counters.seconds.observe(took.as_secs_f64());
        match &result {
            Ok(_) => counters.entries.inc(),
            Err(_) => counters.errors.inc(),
        }
        result
    }

    async fn written(&self, entry: &Entry) -> Result<Receipt, Error> {
        let body = fit(log::encode(entry).map_err(Error)?);
        let written = self.enqueue(body, Mark::of(entry));
        tokio::time::timeout(APPEND_TIMEOUT, written)
            .await
            .unwrap_or_else(|_| {
                let seconds = APPEND_TIMEOUT.as_secs();
                Err(Error(format!("the disk did not answer within {seconds} s")))
            })
    }

    async fn enqueue(&self, body: Vec<u8>, mark: Mark) -> Result<Receipt, Error> {
        let ended = || Error("the journal is closed".to_owned());
        let charge = u32::try_from(body.len().max(LEAST_CHARGE)).map_err(|_| ended())?;
        let room = Arc::clone(&self.room).acquire_many_owned(charge).await;
        let (reply, written) = oneshot::channel();
        let job = Job::Append(Append {
            body,
            mark,
            room: room.map_err(|_| ended())?,
            reply,
        });
        // The room bounds the number of jobs to what the queue holds.
        self.jobs.try_send(job).map_err(|_| ended())?;
        written.await.unwrap_or_else(|_| Err(ended()))
    }

    /// How far the journal came; changes with each commit.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.shared.progress.subscribe()
    }

    /// The newest durable line's head statement.
    pub fn head(&self) -> Option<String> {
        self.shared.state().head.clone()
    }

    /// The journal's id, once it has a line.
    pub fn journal(&self) -> Option<String> {
        self.shared.state().journal.clone()
    }

    /// Its first line, where it continues another journal: behind lines that were lost.
    pub fn continues(&self) -> Option<String> {
        self.shared.state().first.clone()
    }

    /// Whether the last write succeeded, and if not why.
    ///
    /// # Errors
    ///
    /// The cause of the last failed write.
    pub fn health(&self) -> Result<(), String> {
        let ended = lock_of(&self.shared.thread)
            .as_ref()
            .is_none_or(JoinHandle::is_finished);
        if ended {
            return Err("the journal's thread has ended".to_owned());
        }
        self.shared.state().health.clone()
    }

    /// Looks whether the files still hold what was read and written, and where they do not lets
    /// a new journal begin that says so: see [`Writer::take_damage`]. Files that nobody touched
    /// since the last look are not read. Takes its time, and rests in between; one look at a time.
    ///
    /// # Errors
    /// A file could not be read; the next look tries again.
    pub fn look(&self) -> Result<(), Error> {
        let directory = &self.shared.directory;
        let fail =
            |error: std::io::Error| Error(format!("looking at {}: {error}", directory.display()));
        let mut store = Disk::existing(directory).map_err(fail)?;
        let Some(fault) = self.shared.sums.look(&mut store).map_err(fail)? else {
            return Ok(());
        };
        // The same words as a start would find, so that the next one knows what this one told.
        // What the look found is told once, whatever a second reading says.
        let found = recover::recover(&mut store).ok();
        let damage = found
            .and_then(|found| found.damage)
            .unwrap_or_else(|| Damage {
                file: fault.month.file_name(),
                line: 0,
                what: String::new(),
            });
        let what = match damage.what.as_str() {
            "" => fault.what,
            what => format!("{what}; {}: {}", fault.month.file_name(), fault.what),
        };
        // Full where the disk does not answer; the fault is told at the next start then.
        let _ = self.jobs.try_send(Job::Condemn(Damage { what, ..damage }));
        Ok(())
    }

    /// Waits for damage that [`Writer::take_damage`] tells; for one caller.
    pub async fn damaged(&self) {
        self.shared.damaged.notified().await;
    }

    /// The entry of damage that was found since the last call: it is in the journal, or will be
    /// as soon as that can be written.
    pub fn take_damage(&self) -> Option<Entry> {
        self.shared.state().found.take()
    }

    /// Figures for metrics.
    pub fn stats(&self) -> Stats {
        self.shared.state().stats
    }

    /// Writes what is queued, ends the thread and waits for it. Then `state_dir`
    /// is free again, and other handles' appends are refused.
    pub async fn close(self) {
        let thread = lock_of(&self.shared.thread).take();
        // Room for everything: nothing is queued any more, and nothing comes after.
        let all = u32::try_from(QUEUE_BYTES).unwrap_or(u32::MAX);
        let emptied = tokio::time::timeout(APPEND_TIMEOUT, self.room.acquire_many(all)).await;
        if emptied.is_err() {
            tracing::error!("journal: entries are left unwritten, the disk does not answer");
        }
        self.room.close();
        if self.jobs.try_send(Job::Close).is_err() {
            return;
        }
        if let Some(thread) = thread {
            let joined = tokio::task::spawn_blocking(move || thread.join());
            if tokio::time::timeout(APPEND_TIMEOUT, joined).await.is_err() {
                tracing::error!("journal: its thread does not end, the disk does not answer");
            }
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        lock_of(&self.state)
    }

    fn publish(&self, log: &mut Log) {
        let mut state = self.state();
        if let Some(found) = log.take_found() {
            state.found = Some(found);
            self.damaged.notify_one();
        }
        state.head = log.head().map(str::to_owned);
        let same = state.journal.as_deref() == log.journal();
        state.journal = log.journal().map(str::to_owned);
        state.begun = log.begun();
        state.first = log.first().map(str::to_owned);
        state.pruned = log.pruned();
        state.health = log.health();
        state.stats.entries = log.lines();
        state.stats.intact = log.is_intact();
        state.stats.errors += u64::from(state.health.is_err());
        if same {
            recover::follow(&mut state.recent, log.recent());
        } else {
            state.recent.clone_from(log.recent());
        }
    }
}

impl Shared {
    /// Tells who follows the journal what a commit held.
    fn follow(&self, log: &Log, marks: &[Mark]) {
        self.progress.send_modify(|progress| {
            progress.journal = log.journal().map(str::to_owned);
            progress.seq = log.last_seq();
            // The log's own lines come with no mark of ours.
            let is_change = marks.is_empty() || marks.iter().any(|mark| *mark != Mark::Cosigned);
            progress.changes += u64::from(is_change);
            let ends = marks.iter().filter(|mark| **mark == Mark::End).count();
            progress.ends += ends as u64;
        });
    }
}

fn lock_of<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The thread: takes what is queued, writes it, answers.
fn run(mut log: Log, queue: &mpsc::Receiver<Job>, shared: &Shared) {
    loop {
        let first = if log.health().is_ok() {
            queue.recv().map_err(|_| RecvTimeoutError::Disconnected)
        } else {
            queue.recv_timeout(RETRY_EVERY)
        };
        let mut batch = Vec::new();
        let mut pruning = None;
        let mut closing = false;
        let mut damage = None;
        match first {
            Ok(Job::Append(append)) => batch.push(append),
            Ok(Job::Condemn(damage)) => {
                log.condemn(&damage);
                shared.publish(&mut log);
                shared.follow(&log, &[]);
                continue;
            }
            Ok(Job::Prune(job)) => {
                prune(&mut log, job, shared);
                continue;
            }
            Ok(Job::Close) | Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {
                log.retry();
                shared.publish(&mut log);
                if log.health().is_ok() {
                    shared.follow(&log, &[]);
                }
                continue;
            }
        }
        while !closing
            && pruning.is_none()
            && let Ok(job) = queue.try_recv()
        {
            match job {
                Job::Append(append) => batch.push(append),
                Job::Condemn(found) => damage = Some(found),
                Job::Prune(job) => pruning = Some(job),
                Job::Close => closing = true,
            }
        }
        commit(&mut log, batch, shared);
        if let Some(damage) = damage {
            log.condemn(&damage);
            shared.publish(&mut log);
            shared.follow(&log, &[]);
        }
        if let Some(job) = pruning {
            prune(&mut log, job, shared);
        }
        if closing {
            return;
        }
    }
}

fn commit(log: &mut Log, batch: Vec<Append>, shared: &Shared) {
    let marks: Vec<Mark> = batch.iter().map(|append| append.mark).collect();
    let (bodies, replies): (Vec<_>, Vec<_>) = batch
        .into_iter()
        .map(|append| (append.body, (append.reply, append.room)))
        .unzip();
    let outcome = log.commit(&bodies);
    shared.publish(log);
    if outcome.is_ok() {
        shared.follow(log, &marks);
    }
    // The one who asked may be gone: then nobody hears the answer.
    match outcome {
        Ok(committed) => {
            for ((reply, _), (seq, link)) in replies.into_iter().zip(committed.lines) {
                let _ = reply.send(Ok(Receipt {
                    seq,
                    link,
                    time: committed.time,
                    head: committed.head.clone(),
                }));
            }
        }
        Err(error) => {
            for (reply, _) in replies {
                let _ = reply.send(Err(Error(error.clone())));
            }
        }
    }
}

#[cfg(test)]
mod tests;
