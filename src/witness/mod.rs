//! Witnesses of this machine's journal (interfaces.md 10): each gets signed checkpoints of the
//! journal's tree and cosigns that it only grew. What it cosigned is journalled.
//!
//! | question | where |
//! |---|---|
//! | when does which witness get one, what does its answer mean? | [`crate::policy::cosigning`] |
//! | which bytes? | [`crate::format::note`], [`crate::format::merkle`] |
//! | the log's key and tree | `book.rs` |
//! | one exchange | `submit.rs` |
//!
//! All of it is on a thread of its own, and nothing waits for it: neither grants nor the stop.
//! At most one checkpoint for each witness is under way, within 15 s. The key is made with the
//! journal, also where there is no witness yet.

mod book;
mod submit;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::book::{Book, Submission};
use self::submit::Answered;
use crate::background::Background;
use crate::clock::{Boot, Clock, Wall};
use crate::config::settings;
use crate::format::note::{self, Checkpoint, Note, VerifierKey};
use crate::format::statement::{LOG_KEY_TYPE, LogKeyClaims};
use crate::http::client::Client;
use crate::journal::entry::Entry;
use crate::journal::writer::{Progress, Writer};
use crate::metrics::Witnesses;
use crate::metrics::health::{Check, Checks};
use crate::notify::Notices;
use crate::policy::cosigning::{Cosigning, Due, Outcome, Written};

/// How long after a failure the key or the files are tried again.
const RETRY_EVERY: Duration = Duration::from_secs(60);

/// What it works with.
#[derive(Debug)]
pub struct Parts {
    /// Where the log's key is kept.
    pub state_dir: PathBuf,
    /// The commune's or centre's id.
    pub owner: String,
    /// The journal.
    pub writer: Writer,
    /// The time.
    pub clock: Clock,
    /// Counts answers.
    pub metrics: Witnesses,
    /// Gets the check `witnesses`.
    pub checks: Checks,
    /// Hears of a journal that is not what a witness saw.
    pub notices: Notices,
    /// What the journal held at the start.
    pub known: Known,
}

/// What a journal says of its key and its witnesses.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// The newest key.
    log_key: Option<String>,
    /// The newest checkpoint that each witness cosigned, and when.
    cosigned: BTreeMap<VerifierKey, (Checkpoint, Wall)>,
}

impl Known {
    /// From what was recovered, oldest first.
    pub fn of(entries: &[(u64, Wall, Entry)]) -> Self {
        let mut known = Self::default();
        for (_, time, entry) in entries {
            match entry {
                Entry::LogKey { vkey, .. } => known.log_key = Some(vkey.clone()),
                Entry::Cosigned {
                    vkey, checkpoint, ..
                } => {
                    let key = vkey.parse::<VerifierKey>().ok();
                    let note = Note::parse(checkpoint).ok();
                    let checkpoint = note.and_then(|note| Checkpoint::parse(note.text));
                    if let (Some(key), Some(checkpoint)) = (key, checkpoint) {
                        known.cosigned.insert(key, (checkpoint, *time));
                    }
                }
                _ => {}
            }
        }
        known
    }
}

/// Tells the thread of new settings. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle(watch::Sender<Vec<settings::Witness>>);

impl Handle {
    /// Takes the witnesses of new settings; what is known of those that stay is kept.
    pub fn apply(&self, witnesses: &[settings::Witness]) {
        self.0.send_if_modified(|old| {
            let differ = old != witnesses;
            witnesses.clone_into(old);
            differ
        });
    }
}

/// Ready to be started.
#[derive(Debug)]
pub struct Ready {
    parts: Parts,
    settings: watch::Receiver<Vec<settings::Witness>>,
}

/// Makes ready what [`Ready::start`] runs.
pub fn ready(parts: Parts, witnesses: &[settings::Witness]) -> (Handle, Ready) {
    let (sender, settings) = watch::channel(witnesses.to_vec());
    (Handle(sender), Ready { parts, settings })
}

impl Ready {
    /// Starts the thread; it ends when the token is cancelled.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(self, token: CancellationToken) -> std::io::Result<Background> {
        // Files that are being read see the token.
        Background::start("witnesses", move || {
            Driver::new(self.parts, self.settings, token).run()
        })
    }
}

/// What a piece of blocking work led to.
enum Worked {
    /// A journal's key is there, and in the journal.
    Opened(Result<Book, String>),
    /// Checkpoints, or why there are none for these.
    Made(Book, Result<Vec<Submission>, (String, Vec<Due>)>),
}

/// A submission that is over.
struct Submitted {
    witness: settings::Witness,
    checkpoint: Checkpoint,
    answered: Answered,
}

struct Driver {
    parts: Parts,
    settings: watch::Receiver<Vec<settings::Witness>>,
    token: CancellationToken,
    /// Made for the first checkpoint: it reads the system's authorities.
    client: Option<Client>,
    cosigning: Cosigning,
    /// The journal that is followed.
    journal: Option<String>,
    book: Option<Book>,
    /// At most one.
    work: JoinSet<Worked>,
    /// No work before, after a failure.
    not_before: Option<Boot>,
    submissions: JoinSet<Submitted>,
    /// What is wrong with which witness, and for people.
    troubles: BTreeMap<VerifierKey, (Outcome, String)>,
}

impl Driver {
    fn new(
        parts: Parts,
        settings: watch::Receiver<Vec<settings::Witness>>,
        token: CancellationToken,
    ) -> Self {
        Self {
            parts,
            settings,
            token,
            client: None,
            cosigning: Cosigning::default(),
            journal: None,
            book: None,
            work: JoinSet::new(),
            not_before: None,
            submissions: JoinSet::new(),
            troubles: BTreeMap::new(),
        }
    }

    async fn run(mut self) {
        let mut progress = self.parts.writer.progress();
        self.apply();
        loop {
            let written = progress.borrow_and_update().clone();
            self.begin_work(written);
            let due = match self.not_before {
                Some(at) => Some(at),
                None if self.work.is_empty() => self.cosigning.poll_timeout(),
                None => None,
            };
            let clock = self.parts.clock.clone();
            let timeout = async move {
                match due {
                    Some(due) => clock.sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            let token = self.token.clone();
            tokio::select! {
                biased;
                () = token.cancelled() => return,
                Some(worked) = self.work.join_next() => {
                    if let Ok(worked) = worked {
                        self.worked(worked);
                    }
                }
                Some(submitted) = self.submissions.join_next() => {
                    if let Ok(submitted) = submitted {
                        self.submitted(submitted);
                    }
                }
                Ok(()) = self.settings.changed() => self.apply(),
                Ok(()) = progress.changed() => {}
                () = timeout => self.not_before = None,
            }
        }
    }

    /// The witnesses of the settings.
    fn apply(&mut self) {
        let witnesses = self.settings.borrow_and_update().clone();
        let now = self.parts.clock.now();
        let keys = witnesses.iter().map(|witness| &witness.key);
        self.cosigning.set(keys.clone(), now);
        self.troubles
            .retain(|key, _| keys.clone().any(|one| one == key));
        for witness in &witnesses {
            if let Some((_, at)) = self.parts.known.cosigned.get(&witness.key) {
                self.parts.metrics.cosigned(&witness.name, *at);
            }
        }
        self.show();
    }

    /// Opens the journal's book, or makes the checkpoints that are due.
    fn begin_work(&mut self, written: Progress) {
        let Some(journal) = written.journal else {
            return;
        };
        if self.journal.as_ref() != Some(&journal) {
            self.begin_journal(journal.clone());
        }
        if !self.work.is_empty() || self.not_before.is_some() {
            return;
        }
        let Some(mut book) = self.book.take() else {
            self.work.spawn(open(self.opening(journal)));
            return;
        };
        self.cosigning.written(Written {
            size: written.seq,
            changes: written.changes,
            ends: written.ends,
        });
        let due = self.cosigning.poll(self.parts.clock.now());
        if due.is_empty() {
            self.book = Some(book);
            return;
        }
        let (writer, token) = (self.parts.writer.clone(), self.token.clone());
        self.work.spawn_blocking(move || {
            let made = book.checkpoints(&writer, written.seq, &due, &token);
            Worked::Made(book, made.map_err(|cause| (cause, due)))
        });
    }

    fn begin_journal(&mut self, journal: String) {
        let origin = note::origin(&self.parts.owner, &journal);
        self.journal = Some(journal);
        self.book = None;
        self.not_before = None;
        self.cosigning.begin();
        for (key, (checkpoint, _)) in &self.parts.known.cosigned {
            if checkpoint.origin == origin {
                self.cosigning.holds(key, checkpoint.size);
            }
        }
    }

    fn opening(&self, journal: String) -> Opening {
        Opening {
            state_dir: self.parts.state_dir.clone(),
            owner: self.parts.owner.clone(),
            journal,
            writer: self.parts.writer.clone(),
            clock: self.parts.clock.clone(),
            known: self.parts.known.log_key.clone(),
        }
    }

    fn worked(&mut self, worked: Worked) {
        let retry = Some(self.parts.clock.now().boot.plus(RETRY_EVERY));
        match worked {
            Worked::Opened(Ok(book)) => self.keep(book),
            Worked::Opened(Err(cause)) => {
                tracing::error!(%cause, "the journal has no key for witnesses; tried again every minute");
                self.not_before = retry;
            }
            Worked::Made(book, made) => {
                match made {
                    Ok(submissions) => {
                        submissions.into_iter().for_each(|one| self.submit(one));
                        self.keep(book);
                    }
                    // The next try opens the book again: lines that it lacks may be pruned.
                    Err((cause, due)) => {
                        tracing::error!(%cause, "no checkpoint for witnesses; tried again in a minute");
                        self.cosigning.not_sent(&due);
                        self.not_before = retry;
                    }
                }
            }
        }
    }

    /// Unless another journal began meanwhile.
    fn keep(&mut self, book: Book) {
        if self.journal.as_ref() == Some(&book.journal) {
            self.parts.known.log_key = Some(book.verifier().to_string());
            self.book = Some(book);
        }
    }

    fn submit(&mut self, submission: Submission) {
        let settings = self.settings.borrow();
        let witness = settings.iter().find(|one| one.key == submission.witness);
        // Gone with a reload.
        let Some(witness) = witness.cloned() else {
            return;
        };
        drop(settings);
        let client = self.client.get_or_insert_with(Client::new).clone();
        let writer = self.parts.writer.clone();
        self.submissions.spawn(async move {
            let answered = submit::submit(&client, &witness, &submission).await;
            let checkpoint = submission.checkpoint;
            if let Some(note) = &answered.note {
                let entry = Entry::Cosigned {
                    witness: witness.name.clone(),
                    vkey: witness.key.to_string(),
                    size: checkpoint.size,
                    checkpoint: note.clone(),
                };
                if let Err(error) = writer.append(entry).await {
                    tracing::warn!(%error, witness = witness.name, "a cosignature is not in the journal");
                }
            }
            Submitted {
                witness,
                checkpoint,
                answered,
            }
        });
    }

    fn submitted(&mut self, submitted: Submitted) {
        let Submitted {
            witness,
            checkpoint,
            answered,
        } = submitted;
        let now = self.parts.clock.now();
        let (key, name) = (&witness.key, witness.name.as_str());
        if answered.note.is_some() {
            let at = Wall::from_seconds(answered.time);
            let known = (checkpoint.clone(), at);
            self.parts.known.cosigned.insert(key.clone(), known);
        }
        let journal = note::parse_origin(&checkpoint.origin).map(|(_, journal)| journal);
        if self.journal.as_deref() != journal {
            return;
        }
        let size = checkpoint.size;
        let random = random();
        let answer = answered.answer;
        let Some(outcome) = self.cosigning.answered(key, size, answer, now, random) else {
            return;
        };
        self.parts.metrics.count(name, outcome);
        let detail = answered.detail;
        match outcome {
            Outcome::Cosigned => {
                self.parts
                    .metrics
                    .cosigned(name, Wall::from_seconds(answered.time));
                if self.troubles.remove(key).is_some() {
                    tracing::info!(witness = name, size, "the witness cosigns again");
                }
            }
            Outcome::Behind => {
                tracing::info!(witness = name, size, %detail, "the witness is asked again");
            }
            _ => {
                let remedy = outcome.remedy().unwrap_or_default();
                let told = format!("{name}: {}: {detail}", outcome.as_str());
                let new = (outcome, told);
                let old = self.troubles.insert(key.clone(), new);
                let is_new = old.is_none_or(|(old, _)| old != outcome);
                if is_new && outcome.is_alarm() {
                    tracing::error!(witness = name, size, %detail, remedy, "the journal is not what a witness saw");
                    self.parts.notices.own_loss();
                } else if is_new {
                    tracing::warn!(witness = name, size, outcome = outcome.as_str(), %detail, remedy, "a witness does not cosign; nothing waits for it");
                }
            }
        }
        self.show();
    }

    /// The check `witnesses` of `/ready`; none without witnesses.
    fn show(&self) {
        let checks = &self.parts.checks;
        if self.settings.borrow().is_empty() {
            return checks.remove("witnesses");
        }
        // The worst one's remedy: an alarm comes first.
        let worst = self
            .troubles
            .values()
            .max_by_key(|(outcome, _)| outcome.is_alarm());
        checks.set(
            "witnesses",
            match worst.and_then(|(outcome, _)| outcome.remedy()) {
                None => Check::ok(""),
                Some(remedy) => {
                    let told = self.troubles.values().map(|(_, told)| told.as_str());
                    Check::warning(told.collect::<Vec<_>>().join("; "), remedy)
                }
            },
        );
    }
}

/// In 0..1; without randomness all communes come back to a witness at once, which is bearable.
fn random() -> f64 {
    getrandom::u32().map_or(1.0, |random| f64::from(random) / f64::from(u32::MAX))
}

/// What opening a journal's book takes.
struct Opening {
    state_dir: PathBuf,
    owner: String,
    journal: String,
    writer: Writer,
    clock: Clock,
    known: Option<String>,
}

/// Opens the book; its key is in the journal before anything is signed with it.
async fn open(opening: Opening) -> Worked {
    Worked::Opened(open_book(opening).await)
}

async fn open_book(opening: Opening) -> Result<Book, String> {
    let Opening {
        state_dir,
        owner,
        journal,
        writer,
        clock,
        known,
    } = opening;
    let opened = tokio::task::spawn_blocking({
        let (owner, journal) = (owner.clone(), journal.clone());
        let writer = writer.clone();
        move || {
            let anchor = writer.anchor();
            let anchor = anchor.map_err(|error| format!("reading the journal: {error}"))?;
            let pruned = anchor.filter(|anchor| anchor.journal == journal);
            Book::open(
                &state_dir,
                &owner,
                &journal,
                pruned.map(|anchor| anchor.tree),
            )
        }
    });
    let book = opened.await.map_err(|error| error.to_string())??;
    let vkey = book.verifier().to_string();
    if known.as_ref() != Some(&vkey) {
        let claims = LogKeyClaims {
            iss: owner,
            journal,
            vkey: vkey.clone(),
            iat: clock.now().wall.seconds(),
        };
        let signer = writer.signer().ok_or("nobody signs for this journal")?;
        let statement = signer.sign(LOG_KEY_TYPE, &claims);
        let entry = Entry::LogKey { vkey, statement };
        let written = writer.append(entry).await;
        written.map_err(|error| error.to_string())?;
    }
    Ok(book)
}

#[cfg(test)]
mod tests;
