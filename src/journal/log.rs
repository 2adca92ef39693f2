//! The journal's file work, one step after the other, without threads.
//!
//! A commit writes everything it is given with one write and one fsync; only
//! then does the chain move on and a head get signed. The moment an entry
//! *has happened* is the return of [`Store::sync`] in [`Log::write`].
//!
//! # After a failure
//! What a failed commit left behind was acknowledged to nobody and no head
//! covers it. Before the next one, [`Log::repair`] cuts the file back to its last
//! durable byte, makes that durable, drops the system's memory of the file and
//! reads the last line from the disk (after a failed fsync Linux forgets which
//! pages were not written). If it is the line we know, the journal goes on, with
//! a line that says for how long it could not be written. If not, durable lines
//! were lost: a new journal begins in the same file, and its first line names
//! the old one's id, last number and link.

mod damage;
mod disk;
mod offline;
mod prune;

use std::io;

use self::disk::{explain, persist};
pub use self::offline::Offline;
use super::entry::{Entry, VERSION};
use super::reader::{Content, Lines, Origin};
use super::recover::{self, Begun, Damage, Last, Recent};
use super::store::{Month, Store};
use super::sums::{self, Sums};
use crate::clock::{Clock, Wall};
use crate::format::chain::{End, LINE_LIMIT};
use crate::format::ids::Sha256;
use crate::format::statement::HeadClaims;

/// Room a line needs beside its entry: header, version, salt, journal's id.
pub const OVERHEAD: usize = 512;

/// Fills a buffer with random bytes.
pub type Random = Box<dyn FnMut(&mut [u8]) -> io::Result<()> + Send>;
/// Signs a head.
pub type Sign = Box<dyn Fn(&HeadClaims) -> String + Send>;

/// What a log works with.
pub struct Parts {
    /// The files.
    pub store: Box<dyn Store>,
    /// `iss` of heads.
    pub owner: String,
    /// The time of lines.
    pub clock: Clock,
    /// Salts and the journal's id.
    pub random: Random,
    /// Signs heads.
    pub sign: Sign,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts")
            .field("owner", &self.owner)
            .finish_non_exhaustive()
    }
}

/// What a commit made durable.
#[derive(Clone, Debug)]
pub struct Committed {
    /// Number and link of each entry that was given.
    pub lines: Vec<(u64, Sha256)>,
    /// The time of all of them.
    pub time: Wall,
    /// The head after them.
    pub head: String,
}

/// The end of the journal, ready to be written on.
#[derive(Debug)]
pub struct Log {
    parts: Parts,
    /// The newest file, and how much of it is durable.
    file: Option<(Month, u64)>,
    end: End,
    last: Option<Last>,
    journal: Option<String>,
    /// Where its first line is.
    begun: Option<Begun>,
    /// Its first line, where it continues another journal.
    first: Option<String>,
    /// Its last line that was pruned; 0: none was.
    pruned: u64,
    /// The newest head, signed after the fsync of what it covers.
    head: Option<String>,
    /// The last body-less lines, all durable.
    recent: Recent,
    lines: u64,
    /// Entries of the log's own, to be written before the next ones.
    notes: Vec<Entry>,
    /// Bytes of an unterminated line after the durable ones.
    torn: u64,
    /// A write began and is not known to have ended well.
    dirty: bool,
    /// Somebody else wrote to the newest file.
    is_touched: bool,
    fault: Option<Fault>,
    intact: bool,
    sums: Sums,
    /// Damage that was found since the start, and that nobody has asked for.
    found: Option<Entry>,
}

/// A log and what it held.
#[derive(Debug)]
pub struct Opened {
    /// Ready to be written on.
    pub log: Log,
    /// What still matters, oldest first.
    pub entries: Vec<(u64, Wall, Entry)>,
    /// The newest time written since a clock was last accepted.
    pub newest: Option<Wall>,
}

/// The journal can't be written.
#[derive(Debug)]
struct Fault {
    since: Wall,
    /// What failed first, for the entry; the newest cause is in `health`.
    first: String,
    newest: String,
    refused: u64,
}

/// Lines that are ready to be written.
struct Batch {
    bytes: Vec<u8>,
    headers: Vec<(u64, Sha256, String)>,
    /// How many of them are the log's own; they come first.
    own: usize,
    end: End,
    journal: String,
    /// Its first line, where it is among these and continues another journal.
    first: Option<String>,
    time: Wall,
    /// Where the last line begins.
    last: usize,
}

impl Log {
    /// Recovers the journal and readies it; behind lines that do not verify a new journal
    /// begins, whose first lines say so. A log that can be read but not written is given back with
    /// [`Log::health`] saying so.
    ///
    /// # Errors
    ///
    /// The directory or a file can't be read.
    pub fn open(mut parts: Parts) -> Result<Opened, recover::Error> {
        let persisted = persist(parts.store.as_mut());
        let found = recover::recover(parts.store.as_mut())?;
        let (torn, damage) = (found.torn, found.damage);
        let mut entries = found.entries;
        let mut log = Self {
            parts,
            file: found.file,
            end: found.end,
            last: found.last,
            journal: found.journal,
            begun: found.begun,
            first: found.first,
            pruned: found.pruned,
            head: None,
            recent: found.recent,
            lines: found.lines,
            notes: Vec::new(),
            torn: 0,
            dirty: false,
            is_touched: false,
            fault: None,
            intact: true,
            sums: Sums::new(found.sums),
            found: None,
        };
        let mut readied = persisted.map(|()| drop(log.sign_head()));
        if let Some(damage) = damage {
            log.continue_damaged(&damage);
            let time = log.parts.clock.now().wall;
            entries.extend(log.found.take().map(|note| (2, time, note)));
        }
        if let Some((hash, bytes)) = torn {
            tracing::warn!(
                %hash, bytes,
                "journal: the last line was cut off in the middle of a write; it is removed and its hash recorded"
            );
            log.torn = bytes;
            log.notes.push(Entry::TornLine { hash, bytes });
        }
        if !log.notes.is_empty() {
            readied = readied.and_then(|()| log.write(&[]).map(drop));
        }
        if let Err(error) = readied {
            log.dirty = true;
            log.failed(&error, 0);
        }
        Ok(Opened {
            log,
            entries,
            newest: found.newest,
        })
    }

    /// Writes these bodies (JSON objects, without `v` and `salt`) and makes them
    /// durable, or none of them.
    ///
    /// # Errors
    ///
    /// The disk refuses; nothing of it counts as written.
    pub fn commit(&mut self, bodies: &[Vec<u8>]) -> Result<Committed, String> {
        if !self.dirty
            && let Some((month, _)) = self.file
            && self.sums.before_write(self.parts.store.as_mut(), month)
        {
            tracing::warn!(
                file = month.file_name(),
                "journal: somebody else wrote to this file"
            );
            self.touched();
        }
        let done = self.repair().and_then(|()| self.write(bodies));
        match done {
            Ok(committed) => {
                if let Some(fault) = self.fault.take() {
                    tracing::info!(refused = fault.refused, "journal: can be written again");
                }
                Ok(committed)
            }
            Err(error) => {
                self.failed(&error, bodies.len() as u64);
                Err(error)
            }
        }
    }

    /// Tries to write again after a failure; nothing where there was none.
    pub fn retry(&mut self) {
        if self.fault.is_some() {
            // Its outcome is in `health`.
            let _ = self.commit(&[]);
        }
    }

    /// Whether the last commit succeeded, and if not why.
    ///
    /// # Errors
    ///
    /// The cause of the last failed commit.
    pub fn health(&self) -> Result<(), String> {
        match &self.fault {
            Some(fault) => Err(fault.newest.clone()),
            None => Ok(()),
        }
    }

    /// The newest head.
    pub fn head(&self) -> Option<&str> {
        self.head.as_deref()
    }

    /// The last body-less lines, all durable.
    pub fn recent(&self) -> &Recent {
        &self.recent
    }

    /// How many lines there are, over all journals in the directory.
    pub fn lines(&self) -> u64 {
        self.lines
    }

    /// Whether all that was ever durable is still there.
    pub fn is_intact(&self) -> bool {
        self.intact
    }

    /// Its first line, where it continues another journal.
    pub fn first(&self) -> Option<&str> {
        self.first.as_deref()
    }

    /// The journal's id, once it has a first line.
    pub fn journal(&self) -> Option<&str> {
        self.journal.as_deref()
    }

    /// Number of the last durable line.
    pub fn last_seq(&self) -> u64 {
        self.end.seq
    }

    /// Where the journal's first line is, once it has one.
    pub fn begun(&self) -> Option<Begun> {
        self.begun
    }

    /// Writes the lines and waits until they are durable.
    fn write(&mut self, bodies: &[Vec<u8>]) -> Result<Committed, String> {
        let batch = self.prepare(bodies)?;
        let (month, length) = self.place(batch.time)?;
        let file = month.file_name();
        let bytes = batch.bytes.len() as u64;
        self.dirty = true;
        let written = self.parts.store.write_at(month, length, &batch.bytes);
        written.map_err(|error| explain("writing", &file, &error))?;
        if self.torn > bytes {
            // The note of a torn line is written over it, so that its hash is
            // not lost if we are interrupted here: what is left of it has no
            // newline either and would be found torn again.
            let cut = self.parts.store.truncate(month, length + bytes);
            cut.map_err(|error| explain("cutting", &file, &error))?;
        }
        self.sync(month)?;
        // Here it has happened.
        self.sums
            .wrote(self.parts.store.as_mut(), month, &batch.bytes);
        self.dirty = false;
        self.torn = 0;
        self.notes.clear();
        let last = &batch.bytes[batch.last..];
        self.last = Some(Last {
            month,
            offset: length + batch.last as u64,
            bytes: last.len(),
            hash: Sha256::of(last),
        });
        self.file = Some((month, length + bytes));
        if self.end.seq == 0 {
            let offset = length;
            self.begun = Some(Begun { month, offset });
        }
        self.end = batch.end;
        self.journal = Some(batch.journal);
        if let Some(first) = batch.first {
            self.first = Some(first);
        }
        self.lines += batch.headers.len() as u64;
        let mut lines = Vec::with_capacity(bodies.len());
        for (index, (seq, link, line)) in batch.headers.into_iter().enumerate() {
            recover::remember(&mut self.recent, seq, line);
            if index >= batch.own {
                lines.push((seq, link));
            }
        }
        Ok(Committed {
            lines,
            time: batch.time,
            head: self.sign_head(),
        })
    }

    /// Makes the lines, touching nothing.
    fn prepare(&mut self, bodies: &[Vec<u8>]) -> Result<Batch, String> {
        let now = self.parts.clock.now().wall;
        let mut own = self.notes.clone();
        own.extend(self.fault.as_ref().map(|fault| Entry::Interrupted {
            since: fault.since.rfc3339(),
            error: fault.first.clone(),
            refused: fault.refused,
        }));
        let own = own
            .iter()
            .map(encode)
            .collect::<Result<Vec<Vec<u8>>, String>>()?;
        let mut batch = Batch {
            bytes: Vec::new(),
            headers: Vec::with_capacity(own.len() + bodies.len()),
            own: own.len(),
            end: self.end,
            journal: match &self.journal {
                Some(journal) => journal.clone(),
                None => self.random_hex()?,
            },
            first: None,
            time: Wall(now.0 - now.0.rem_euclid(1000)),
            last: 0,
        };
        for body in own.iter().chain(bodies) {
            let salt = self.random_hex()?;
            let first = (batch.end.seq == 0).then_some(batch.journal.as_str());
            let body = dress(body, &salt, first);
            let header = batch.end.next(batch.time, &body);
            let line = header.with_body(&body);
            if line.len() > LINE_LIMIT {
                return Err(format!(
                    "an entry of {} bytes is over the limit",
                    line.len()
                ));
            }
            batch.end = End {
                seq: header.seq,
                link: header.link(),
            };
            if header.seq == 1 && Origin::read(&line).is_some() {
                batch.first = String::from_utf8(line.clone()).ok();
            }
            batch.last = batch.bytes.len();
            batch.bytes.extend_from_slice(&line);
            batch.bytes.push(b'\n');
            batch
                .headers
                .push((header.seq, batch.end.link, header.without_body()));
        }
        if batch.headers.is_empty() {
            return Err("nothing to write".to_owned());
        }
        Ok(batch)
    }

    /// The file for a line of this time, made if it is not there. A clock gone
    /// back never leads back to an older file: lines stand in order of `seq`.
    fn place(&mut self, time: Wall) -> Result<(Month, u64), String> {
        let month = Month::of(time);
        match self.file {
            Some(file) if file.0 >= month => return Ok(file),
            Some((old, length)) if self.torn > 0 => {
                let cut = self.parts.store.truncate(old, length);
                cut.map_err(|error| explain("cutting", &old.file_name(), &error))?;
                self.sync(old)?;
                self.torn = 0;
            }
            _ => {}
        }
        self.dirty = true;
        self.sums.begins(month);
        match self.parts.store.create(month) {
            Ok(()) => {}
            Err(error)
                if error.kind() == io::ErrorKind::AlreadyExists
                    && self.parts.store.len(month).is_ok_and(|length| length == 0) => {}
            Err(error) => return Err(explain("making", &month.file_name(), &error)),
        }
        self.file = Some((month, 0));
        let synced = self.parts.store.sync_directory();
        synced.map_err(|error| explain("fsync of", "the journal's directory", &error))?;
        Ok((month, 0))
    }

    /// Brings the file back to its durable state after a failure.
    fn repair(&mut self) -> Result<(), String> {
        if !self.dirty {
            return Ok(());
        }
        self.torn = 0;
        let lost = self.cut_back().map_err(|error| {
            let file = self.file.map(|(month, _)| month.file_name());
            explain("repairing", &file.unwrap_or_default(), &error)
        })?;
        if let Some(cause) = lost {
            self.begin_anew(&cause)?;
        }
        self.dirty = false;
        self.is_touched = false;
        Ok(())
    }

    /// Cuts off what is not durable and reads the last durable line again.
    /// What is told is why it is not there any more.
    fn cut_back(&mut self) -> io::Result<Option<String>> {
        let store = self.parts.store.as_mut();
        let Some((month, length)) = self.file else {
            return Ok(None);
        };
        match store.len(month) {
            Ok(found) if found < length => {
                return Ok(Some(format!("{month}: {found} bytes of {length} are left")));
            }
            Ok(found) if found > length && self.is_touched => {
                return Ok(Some(format!(
                    "{month}: {} bytes were added",
                    found - length
                )));
            }
            Ok(found) => {
                if found > length {
                    store.truncate(month, length)?;
                }
                store.sync(month)?;
                store.sync_directory()?;
                store.forget(month)?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound && length == 0 => {
                self.file = self
                    .last
                    .map(|last| (last.month, last.offset + last.bytes as u64));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Some(format!("{month}: the file is gone")));
            }
            Err(error) => return Err(error),
        }
        let Some(last) = self.last else {
            return Ok(None);
        };
        match store.read_at(last.month, last.offset, last.bytes) {
            Ok(bytes) if Sha256::of(&bytes) == last.hash => Ok(None),
            Ok(_) => Ok(Some(format!("{}: the last line is another", last.month))),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Ok(Some(format!("{}: the last line is cut", last.month)))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Ok(Some(format!("{}: the file is gone", last.month)))
            }
            Err(error) => Err(error),
        }
    }

    /// Durable lines were lost: the next line begins a new journal after
    /// whatever whole lines are left.
    fn begin_anew(&mut self, cause: &str) -> Result<(), String> {
        let found = self.whole_lines();
        self.file = found.map_err(|error| explain("reading", "the journal", &error))?;
        tracing::error!(
            cause,
            seq = self.end.seq,
            "journal: lines that were durable are lost; a new journal begins that names the old one's head"
        );
        self.intact = false;
        // As a start would find it, so that the next one knows that it is told.
        let left = recover::recover(self.parts.store.as_mut());
        let left = left.map_err(|error| error.to_string())?.damage;
        let damage = left.map_or_else(
            || Damage {
                file: self
                    .file
                    .map_or_else(String::new, |(month, _)| month.file_name()),
                line: 0,
                what: cause.to_owned(),
            },
            |damage| Damage {
                what: format!("{}; {cause}", damage.what),
                ..damage
            },
        );
        self.tell(&damage);
        Ok(())
    }

    /// The next line is the first of a new journal, which names this one's last line.
    fn continue_from(&mut self, journal: String) {
        let (seq, link) = (self.end.seq, self.end.link);
        self.notes
            .insert(0, Entry::Continues { journal, seq, link });
        self.end = End::START;
        self.last = None;
        self.first = None;
        self.pruned = 0;
        self.head = None;
        self.recent.clear();
    }

    /// The newest file, cut to its last newline.
    fn whole_lines(&mut self) -> io::Result<Option<(Month, u64)>> {
        let store = self.parts.store.as_mut();
        let Some(month) = store.months()?.pop() else {
            return Ok(None);
        };
        let mut lines = Lines::new(store.read(month)?);
        let mut length = 0;
        while let Some((place, content)) = lines.next_line()? {
            if !matches!(content, Content::Unterminated(_)) {
                length = place.offset + place.bytes;
            }
        }
        if store.len(month)? > length {
            store.truncate(month, length)?;
        }
        store.sync(month)?;
        let left = sums::summed(store, month, length)?;
        self.sums.take_as_it_is(month, left.map(|(sum, _)| sum));
        Ok(Some((month, length)))
    }

    fn failed(&mut self, error: &str, refused: u64) {
        let known = self.fault.as_ref().map(|fault| fault.newest.as_str());
        if known != Some(error) {
            tracing::error!(error, "journal: can't be written; nothing may be shown");
        }
        let now = self.parts.clock.now().wall;
        let fault = self.fault.get_or_insert_with(|| Fault {
            since: now,
            first: error.to_owned(),
            newest: String::new(),
            refused: 0,
        });
        error.clone_into(&mut fault.newest);
        fault.refused = fault.refused.saturating_add(refused);
        // At once, so that a crash now leaves no line that was refused. If it
        // fails, the next commit tries again.
        let _ = self.repair();
    }

    fn sync(&mut self, month: Month) -> Result<(), String> {
        let synced = self.parts.store.sync(month);
        synced.map_err(|error| explain("fsync of", &month.file_name(), &error))
    }

    /// Signs the head of what is durable.
    fn sign_head(&mut self) -> String {
        let Some(journal) = self.journal.clone().filter(|_| self.end.seq > 0) else {
            return String::new();
        };
        let head = (self.parts.sign)(&HeadClaims {
            iss: self.parts.owner.clone(),
            journal,
            seq: self.end.seq,
            link: self.end.link,
            iat: self.parts.clock.now().wall.seconds(),
        });
        self.head = Some(head.clone());
        head
    }

    fn random_hex(&mut self) -> Result<String, String> {
        let mut bytes = [0; 16];
        let drawn = (self.parts.random)(&mut bytes);
        drawn.map_err(|error| format!("no random numbers from the system: {error}"))?;
        Ok(format!("{:032x}", u128::from_be_bytes(bytes)))
    }
}

/// An entry as JSON, without what the log adds.
///
/// # Errors
///
/// The entry is no JSON object: a defect of this program.
pub fn encode(entry: &Entry) -> Result<Vec<u8>, String> {
    serde_json::to_vec(entry).map_err(|error| format!("an entry can't be written as JSON: {error}"))
}

/// Puts version, salt and in the first line the journal's id in front of a body's own members.
fn dress(body: &[u8], salt: &str, journal: Option<&str>) -> Vec<u8> {
    let mut dressed = format!(r#"{{"v":{VERSION},"#).into_bytes();
    if let Some(journal) = journal {
        dressed.extend_from_slice(format!(r#""journal_id":"{journal}","#).as_bytes());
    }
    dressed.extend_from_slice(format!(r#""salt":"{salt}","#).as_bytes());
    dressed.extend_from_slice(body.strip_prefix(b"{").unwrap_or(body));
    dressed
}

#[cfg(test)]
mod tests;
