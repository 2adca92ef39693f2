//! Notices to somebody outside: grants, ends, refusals, requests that wait and alarms, in the
//! system's log and, where `[notify]` is set, as signed POSTs to one HTTPS address
//! (Standard Webhooks; interfaces.md 10).
//!
//! [`notice`] says what a journal's entry tells, [`queue`] when it goes out; [`send`] does it, on a
//! thread of its own: TLS and a slow server take no time of the daemon's. What waits at an
//! orderly stop is kept in `state_dir/notices.json` and goes on with the next start.
//!
//! The address comes from the settings alone, and redirects are not followed: an answer leads
//! nowhere. Private addresses are allowed, since the duty desk's server is often in the own
//! network; the certificate proves the name whichever address it has.

pub mod notice;
pub mod queue;
mod send;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use prometheus::IntCounterVec;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify as Wake;
use tokio_util::sync::{CancellationToken, DropGuard};

use self::notice::{About, Notice, Owner, Teller};
use self::queue::{Answer, Attempt, Next, Queue};
use self::send::Target;
use crate::clock::{Boot, Clock, Wall};
use crate::config::settings::{self, NoticeKind};
use crate::durable;
use crate::journal::entry::Entry;
use crate::reason::Reason;

/// How long a server may take for all of one attempt.
pub const ANSWER_LIMIT: Duration = Duration::from_secs(15);
/// Largest file of kept notices that is read: what waits is less.
const FILE_LIMIT: u64 = 4 * queue::LIMIT as u64;
/// The file of what waits, in the state directory.
const FILE: &str = "notices.json";

/// What happened: kind, of what, why.
pub type Told = (NoticeKind, About, Option<Reason>);

/// How notices are sent.
#[derive(Debug)]
pub struct Options {
    /// Whose they are.
    pub owner: Owner,
    /// The time.
    pub clock: Clock,
    /// `_notices_total`, by outcome.
    pub counter: IntCounterVec,
    /// Where what waits is kept over a stop.
    pub state_dir: PathBuf,
    /// How long a server may take: [`ANSWER_LIMIT`].
    pub limit: Duration,
}

/// Tells and sends. Cheap to clone; [`Notices::stop`] ends its thread, and so does the end of
/// its last clone, which keeps nothing.
#[derive(Clone, Debug)]
pub struct Notices {
    shared: Arc<Shared>,
    _end: Arc<DropGuard>,
}

#[derive(Debug)]
struct Shared {
    options: Options,
    state: Mutex<State>,
    wake: Wake,
    token: CancellationToken,
}

#[derive(Debug)]
struct State {
    teller: Teller,
    queue: Queue,
    settings: Option<Arc<settings::Notify>>,
    /// +1 with each change of the settings.
    generation: u64,
    thread: Option<JoinHandle<()>>,
}

/// A notice that waited when the daemon stopped.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    id: String,
    body: String,
    /// Since when it waits: µs since the epoch.
    since: i64,
}

impl Notices {
    /// Starts with these settings. Blocks for the file of kept notices.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(options: Options, settings: Option<settings::Notify>) -> std::io::Result<Self> {
        let teller = Teller::new(options.owner.clone());
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                teller,
                queue: Queue::default(),
                settings: settings.map(Arc::new),
                generation: 0,
                thread: None,
            }),
            options,
            wake: Wake::new(),
            token: CancellationToken::new(),
        });
        shared.read_kept();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let thread = std::thread::Builder::new().name("notices".to_owned());
        let sender = Arc::clone(&shared);
        let thread = thread.spawn(move || {
            runtime.block_on(sender.run());
            // A name that is being looked up holds up no stop.
            runtime.shutdown_background();
        })?;
        shared.lock().thread = Some(thread);
        let end = shared.token.clone().drop_guard();
        Ok(Self {
            shared,
            _end: Arc::new(end),
        })
    }

    /// New settings; without any, what waits is dropped.
    pub fn apply(&self, settings: Option<settings::Notify>) {
        let now = self.shared.options.clock.now().boot;
        let mut state = self.shared.lock();
        state.generation += 1;
        state.settings = settings.map(Arc::new);
        if state.settings.is_some() {
            state.queue.reset(now);
        } else {
            let dropped = state.queue.clear();
            self.shared.count("dropped", dropped);
        }
        drop(state);
        self.shared.wake.notify_one();
    }

    /// An entry of before this start.
    pub fn recover(&self, entry: &Entry) {
        self.shared.lock().teller.recover(entry);
    }

    /// What an entry tells once it is durable: for [`Notices::push`].
    pub fn of(&self, entry: &Entry) -> Option<Told> {
        self.shared.lock().teller.tell(entry)
    }

    /// That this machine's own journal lost lines, or is not what a witness saw.
    pub fn own_loss(&self) {
        let told = self.shared.lock().teller.own_loss();
        self.push(told);
    }

    /// Something happened: it is logged, and sent where the settings want it.
    pub fn push(&self, told: Told) {
        let now = self.shared.options.clock.now();
        let id = format!("msg_{}", uuid::Uuid::now_v7().simple());
        let notice = notice::notice(told, id, now.wall);
        let mut state = self.shared.lock();
        let settings = state.settings.clone();
        let has_details = settings.as_ref().is_some_and(|settings| settings.details);
        let notice = if has_details {
            notice
        } else {
            notice.without_details()
        };
        log(&notice);
        if !settings.is_some_and(|settings| settings.events.contains(&notice.kind)) {
            return;
        }
        match serde_json::to_string(&notice) {
            Ok(body) => {
                let (boot, id) = (now.boot, notice.id.clone());
                let dropped = state.queue.push(id, body.into(), boot, boot);
                self.shared.count("dropped", dropped);
            }
            Err(error) => tracing::error!(%error, "a notice can't be written"),
        }
        drop(state);
        self.shared.wake.notify_one();
    }

    /// Ends the thread, within an instant, and keeps what waits. Blocks.
    pub fn stop(&self) {
        self.shared.token.cancel();
        let thread = self.shared.lock().thread.take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread of notices failed");
        }
        if let Err(error) = self.shared.keep() {
            tracing::error!(%error, "notices that wait are lost with this stop; the journal has what they tell");
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, outcome: &str, notices: usize) {
        let counter = self.options.counter.with_label_values(&[outcome]);
        counter.inc_by(notices as u64);
    }

    /// Sends until the token is cancelled.
    async fn run(self: Arc<Self>) {
        let mut target: Option<(u64, Result<Target, String>)> = None;
        let mut is_failing = false;
        loop {
            let now = self.options.clock.now().boot;
            let (next, generation, settings) = {
                let mut state = self.lock();
                let expired = state.queue.expire(now);
                self.count("expired", expired);
                let next = state.queue.next(now);
                (next, state.generation, state.settings.clone())
            };
            let attempt = match (next, settings) {
                (Next::Send(attempt), Some(settings)) => {
                    if target.as_ref().is_none_or(|(of, _)| *of != generation) {
                        target = Some((generation, Target::new(&settings)));
                    }
                    attempt
                }
                (Next::At(due), _) => {
                    tokio::select! {
                        () = self.token.cancelled() => return,
                        () = self.wake.notified() => {}
                        () = self.options.clock.sleep_until(due) => {}
                    }
                    continue;
                }
                (Next::Idle | Next::Send(_), _) => {
                    tokio::select! {
                        () = self.token.cancelled() => return,
                        () = self.wake.notified() => {}
                    }
                    continue;
                }
            };
            let sent = self.attempt(&attempt, target.as_ref());
            let (answer, cause) = tokio::select! {
                () = self.token.cancelled() => return,
                sent = sent => sent,
            };
            self.answered(&attempt, answer, generation);
            tell(answer, cause.as_deref(), &mut is_failing);
        }
    }

    async fn attempt(
        &self,
        attempt: &Attempt,
        target: Option<&(u64, Result<Target, String>)>,
    ) -> (Answer, Option<String>) {
        match target {
            Some((_, Ok(target))) => {
                let seconds = self.options.clock.now().wall.seconds();
                target.send(attempt, seconds, self.options.limit).await
            }
            Some((_, Err(cause))) => (Answer::Failed(None), Some(cause.clone())),
            None => (Answer::Failed(None), None),
        }
    }

    fn answered(&self, attempt: &Attempt, answer: Answer, generation: u64) {
        let now = self.options.clock.now().boot;
        let jitter = f64::from(getrandom::u32().unwrap_or(u32::MAX / 2)) / f64::from(u32::MAX);
        let mut state = self.lock();
        if answer == Answer::Taken || state.generation == generation {
            let gone = state.queue.answered(attempt.number, answer, now, jitter);
            self.count("gone", gone);
        }
        match answer {
            Answer::Taken => self.count("delivered", 1),
            Answer::Refused | Answer::Failed(_) => self.count("retried", 1),
            Answer::Gone => {}
        }
    }

    fn path(&self) -> PathBuf {
        self.options.state_dir.join(FILE)
    }

    /// Writes what waits; without any there is no file.
    fn keep(&self) -> std::io::Result<()> {
        let now = self.options.clock.now();
        let kept: Vec<Kept> = {
            let state = self.lock();
            let waiting = state.queue.waiting();
            let kept = waiting.map(|(id, body, since)| Kept {
                id: id.to_owned(),
                body: body.to_owned(),
                since: before(now.wall, now.boot.since(since)).0,
            });
            kept.collect()
        };
        if kept.is_empty() {
            return remove(&self.path());
        }
        durable::replace(&self.path(), &serde_json::to_vec(&kept)?, 0o600)
    }

    /// Takes up what waited at the last stop.
    fn read_kept(&self) {
        let kept = read(&self.path());
        let now = self.options.clock.now();
        let mut state = self.lock();
        if state.settings.is_none() {
            return self.count("dropped", kept.len());
        }
        for one in kept {
            let waited = now.wall.since(Wall(one.since));
            let since = Boot(now.boot.0.saturating_sub(waited));
            let dropped = state.queue.push(one.id, one.body.into(), since, now.boot);
            self.count("dropped", dropped);
        }
    }
}

/// The time this much earlier.
fn before(now: Wall, by: Duration) -> Wall {
    let by = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
    Wall(now.0.saturating_sub(by))
}

fn remove(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Kept notices, once: a file that can't be read is not kept for later.
fn read(path: &Path) -> Vec<Kept> {
    let length = std::fs::metadata(path).map(|about| about.len());
    let bytes = match length {
        Ok(length) if length <= FILE_LIMIT => std::fs::read(path),
        Ok(_) => Err(std::io::Error::other("it is too large")),
        Err(error) => Err(error),
    };
    let kept = bytes.and_then(|bytes| Ok(serde_json::from_slice::<Vec<Kept>>(&bytes)?));
    let kept = match kept {
        Ok(kept) => kept,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => {
            tracing::error!(%error, file = %path.display(), "kept notices can't be read");
            Vec::new()
        }
    };
    if let Err(error) = remove(path) {
        tracing::error!(%error, file = %path.display(), "kept notices may be sent twice");
    }
    kept
}

/// Each notice is a line of the log, under its own target.
fn log(notice: &Notice) {
    let about = &notice.about;
    let cameras: Vec<&str> = about.cameras.iter().map(|camera| camera.as_str()).collect();
    let cameras = cameras.join(" ");
    let (centre, commune) = (about.centre.as_ref(), about.commune.as_ref());
    let centre = centre.map(tracing::field::display);
    let commune = commune.map(tracing::field::display);
    let grant = about.grant.map(tracing::field::display);
    let reason = notice.reason.map(tracing::field::display);
    let kind = notice.kind.code();
    if notice.kind == NoticeKind::Alarm {
        tracing::error!(target: "fanal::notice", kind, centre, commune, grant, cameras, reason, "notice");
    } else {
        tracing::info!(target: "fanal::notice", kind, centre, commune, grant, cameras, reason, "notice");
    }
}

/// Says once that notices are not taken, and why, and once that they are again.
fn tell(answer: Answer, cause: Option<&str>, is_failing: &mut bool) {
    let cause = cause.unwrap_or("no cause");
    match answer {
        Answer::Taken if std::mem::take(is_failing) => {
            tracing::info!("notices are taken again");
        }
        Answer::Taken => {}
        Answer::Gone => {
            tracing::error!(
                "the server of [notify] url wants no more notices (410): none is sent until the settings are reloaded"
            );
        }
        Answer::Refused | Answer::Failed(_) if *is_failing => {
            tracing::debug!(cause, "a notice is not taken");
        }
        Answer::Refused | Answer::Failed(_) => {
            *is_failing = true;
            tracing::warn!(cause, "a notice is not taken; it is tried for a day");
        }
    }
}
