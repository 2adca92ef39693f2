//! Verifies a journal or a copy of one: month files, and nothing beside them.
//!
//! What it finds is named with file, line, number and what happened. Four
//! things are looked at:
//!
//! * the chain ([`crate::format::chain`]): a changed, removed, added, reordered
//!   or repeated line;
//! * the heads that others hold (`--with DIR`): lines cut off at the end, or a
//!   chain rewritten, which no chain alone can show;
//! * the signed statements inside ([`statements`]);
//! * the attestations, against grants and the receiver's signed figures ([`attested`]).
//!
//! Months that were pruned are missing at the start: the chain then goes on from what an anchor
//! names ([`crate::journal::retention`]), and without one those lines are missing.
//!
//! An intact journal is read once, in bounded memory. Where the chain is broken
//! it is read again to tell what happened ([`order`]).

mod ahead;
pub mod attested;
mod heads;
pub mod order;
pub mod statements;
mod witnesses;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use self::ahead::Taken;
use self::attested::{Attested, Judge};
use self::statements::{Authorities, Checked, Depth, Signers};
use self::witnesses::Follower;
use super::checkpoints::Checkpoints;
use super::entry::Entry;
use super::reader::{self, Lines, Place};
use super::retention::{self, Anchor};
use super::store::{Disk, Month, Store};
use crate::clock::Wall;
use crate::format::chain::{Break, End, Line};
use crate::format::ids::Sha256;
use crate::format::note::VerifierKey;
use crate::format::statement::HEAD_TYPE;

/// Most findings that are named; more are counted.
pub const FINDINGS_LIMIT: usize = 200;
/// Most heads of other copies that are held against the journal.
pub const HEADS_LIMIT: usize = 200_000;

/// What to verify, and against what.
#[derive(Debug, Default)]
pub struct Options {
    /// The journal or copy.
    pub directory: PathBuf,
    /// Other journals or copies, whose heads of this one must fit.
    pub with: Vec<PathBuf>,
    /// Whose keys may have signed.
    pub authorities: Option<Authorities>,
    /// Witnesses whose cosigned checkpoints must fit, those in `with` too.
    pub witnesses: Vec<VerifierKey>,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Report {
    /// How many files were read.
    pub files: u64,
    /// How many lines.
    pub lines: u64,
    /// How many of them come without their body.
    pub without_body: u64,
    /// How many signed statements they hold.
    pub statements: u64,
    /// How many heads of others were held against it.
    pub heads: u64,
    /// How many cosigned checkpoints were held against it.
    pub checkpoints: u64,
    /// The journals, one unless lines were lost in a failure.
    pub journals: Vec<Journal>,
    /// What is wrong, in the order of its lines; at most [`FINDINGS_LIMIT`].
    pub findings: Vec<Finding>,
    /// How many more findings there are.
    pub more: u64,
    /// What should be known and is no fault.
    pub notes: Vec<String>,
    /// What the attestations come to, by centre; none at a receiver.
    pub attested: Vec<Attested>,
}

/// A journal's extent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Journal {
    /// Its id; not known where the first line's body is left out.
    pub id: Option<String>,
    /// Its last line that was pruned, as a valid anchor names it; 0: none was.
    pub pruned: u64,
    /// Number of its last line.
    pub seq: u64,
    /// That line's link.
    pub link: Sha256,
    /// That line's time.
    pub time: Wall,
    /// The lines that no cosigned checkpoint covers, first and last; none where all are covered,
    /// but for cosignatures, or where the journal's id is not known.
    pub unwitnessed: Option<(u64, u64)>,
}

/// Something wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The file's name.
    pub file: String,
    /// The line in it.
    pub line: u64,
    /// The line's number in the journal, where it has one.
    pub seq: Option<u64>,
    /// Which of [`Report::journals`].
    pub journal: usize,
    /// What happened.
    pub what: What,
}

/// What happened to a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// It is not as it was written.
    Changed(String),
    /// Lines are missing, before or after this one.
    Removed {
        /// The first.
        from: u64,
        /// The last.
        to: u64,
    },
    /// It was not written by the journal.
    Added(String),
    /// It is in another place than its number's; the line before it is there.
    Reordered(Option<order::Place>),
    /// It is there twice; the original is there.
    Repeated(order::Place),
    /// It is in another month's file.
    WrongFile,
    /// The last line has no end.
    Torn(u64),
    /// It is another than a head that its owner signed names.
    Contradicts(String),
    /// A witness cosigned another tree of the lines up to this one, or lines after it that are
    /// missing; and whether the journal's owner signed that tree.
    Witnessed {
        /// What is wrong.
        what: String,
        /// Whether it is missing lines.
        missing: bool,
        /// Whether the owner signed.
        by_owner: bool,
    },
    /// A signed statement in it does not hold.
    Statement(String),
    /// An attestation does not agree with the rest of the journal.
    Attestation(String),
    /// No authority given proves whose key signed a statement in it.
    Unproven(Signers, String),
}

impl Report {
    /// Whether nothing is wrong.
    pub fn is_intact(&self) -> bool {
        self.findings.is_empty()
    }

    fn tell(&mut self, finding: Finding) {
        if self.findings.len() < FINDINGS_LIMIT {
            self.findings.push(finding);
        } else {
            self.more += 1;
        }
    }
}

impl What {
    /// The word for it, stable for programs.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Changed(_) | Self::Torn(_) => "changed",
            Self::Removed { .. } | Self::Witnessed { missing: true, .. } => "removed",
            Self::Added(_) => "added",
            Self::Reordered(_) | Self::WrongFile => "reordered",
            Self::Repeated(_) => "repeated",
            Self::Contradicts(_) | Self::Witnessed { .. } => "contradicts",
            Self::Statement(_) | Self::Unproven(..) => "statement",
            Self::Attestation(_) => "attestation",
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} line {}", self.file, self.line)?;
        if let Some(seq) = self.seq {
            write!(f, " (seq {seq})")?;
        }
        write!(f, ": {}", self.what)
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changed(how) => write!(f, "changed: {how}"),
            Self::Removed { from, to } if from == to => write!(f, "removed: seq {from} is missing"),
            Self::Removed { from, to } => write!(f, "removed: seq {from} to {to} are missing"),
            Self::Added(how) => write!(f, "added: {how}"),
            Self::Reordered(Some(place)) => {
                write!(f, "reordered: it belongs after {place}")
            }
            Self::Reordered(None) => f.write_str("reordered: it belongs elsewhere"),
            Self::Repeated(place) => write!(f, "repeated: it is at {place} too"),
            Self::WrongFile => f.write_str("reordered: its time is of a later month than its file"),
            Self::Torn(bytes) => write!(
                f,
                "changed: the last line has no end ({bytes} bytes); after a crash the daemon cuts it \
                 off at its next start and records it"
            ),
            Self::Witnessed { what, .. } => f.write_str(what),
            Self::Contradicts(head) => write!(f, "changed: it contradicts {head}"),
            Self::Statement(how) | Self::Unproven(_, how) => write!(f, "statement: {how}"),
            Self::Attestation(how) => write!(f, "attestation: {how}"),
        }
    }
}

/// Somebody who looks at each line as it is read: to compare journals, to report on one.
pub(in crate::journal) trait Observer {
    /// A line, after it was judged.
    fn line(&mut self, seen: &Seen<'_>);
}

/// A line as the walk sees it.
#[derive(Debug)]
pub(in crate::journal) struct Seen<'a> {
    /// Which of [`Report::journals`].
    pub journal: usize,
    /// That journal's id, where its first line says it.
    pub id: Option<&'a str>,
    /// The line's file.
    pub month: Month,
    /// Where it is in that file.
    pub place: Place,
    /// The line.
    pub line: &'a Line<'a>,
    /// Its entry; none where the body is left out, changed or of a kind not known.
    pub entry: Option<&'a Entry>,
    /// What its statements come to.
    pub checked: &'a Checked,
}

/// Reads and judges. An error is a file that could not be read.
pub fn verify(options: &Options) -> Result<Report, String> {
    let mut directories = vec![options.directory.clone()];
    directories.extend(options.with.iter().cloned());
    let authorities = options.authorities.as_ref();
    let seen = Checkpoints::gather(&directories, &options.witnesses, authorities)?;
    let mut report = walk(options, (Depth::Full, threads()), &seen, None)?;
    report.tell_unwitnessed(options, &seen);
    Ok(report)
}

/// How many threads this machine runs at once.
pub(in crate::journal) fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The same on so many threads, with somebody who looks on.
pub(in crate::journal) fn walk<'a>(
    options: &'a Options,
    (depth, threads): (Depth, usize),
    checkpoints: &'a Checkpoints,
    observer: Option<&'a mut dyn Observer>,
) -> Result<Report, String> {
    let mut walk = Walk {
        authorities: options.authorities.as_ref(),
        depth,
        threads,
        checkpoints,
        follower: Follower::default(),
        observer,
        heads: BTreeMap::new(),
        ends: BTreeMap::new(),
        report: Report::default(),
        journal: None,
        end: End::START,
        highest: NOTHING,
        begun: None,
        anchor: None,
        owner: None,
        broken: false,
        proven: BTreeMap::new(),
        unproven: BTreeMap::new(),
        judge: Judge::default(),
        place: (String::new(), 0),
    };
    for directory in &options.with {
        walk.gather(directory)?;
    }
    let mut store = open(&options.directory)?;
    let months = months(&mut store, &options.directory)?;
    if months.is_empty() {
        return Err(format!(
            "{} holds no month file (YYYY-MM.jsonl); name state_dir/journal or a copy of it",
            options.directory.display()
        ));
    }
    let anchor = retention::anchor(&mut store, &months);
    let anchor = anchor.map_err(|error| format!("{}: {error}", options.directory.display()))?;
    walk.begin_after(anchor);
    let base = walk.end;
    for (index, month) in months.iter().enumerate() {
        walk.file(&mut store, *month, index + 1 == months.len())?;
    }
    walk.finish();
    if walk.broken {
        order::name_breaks(&mut store, &months, base, &mut walk.report)?;
    }
    let key = |finding: &Finding| (finding.file.clone(), finding.line);
    walk.report.findings.sort_by_key(key);
    Ok(walk.report)
}

/// The highest line where there is none.
const NOTHING: (u64, Sha256, Wall) = (0, Sha256::ZERO, Wall(0));

/// A head that somebody holds.
struct Held {
    link: Sha256,
    text: String,
}

struct Walk<'a> {
    authorities: Option<&'a Authorities>,
    depth: Depth,
    threads: usize,
    checkpoints: &'a Checkpoints,
    follower: Follower,
    observer: Option<&'a mut dyn Observer>,
    /// Heads by journal and number.
    heads: BTreeMap<(String, u64), Held>,
    /// The last head of each journal.
    ends: BTreeMap<String, u64>,
    report: Report,
    journal: Option<String>,
    end: End,
    /// The line with the highest number: its link and time.
    highest: (u64, Sha256, Wall),
    /// Link of the line that began the journal.
    begun: Option<Sha256>,
    /// What names the lines before the first one that is there.
    anchor: Option<Anchor>,
    /// Whose journal it is, as its own entries say first.
    owner: Option<String>,
    broken: bool,
    proven: BTreeMap<Signers, u64>,
    unproven: BTreeMap<Signers, Vec<Finding>>,
    judge: Judge,
    /// The line that is read.
    place: (String, u64),
}

impl Walk<'_> {
    /// The chain goes on from what an anchor names.
    fn begin_after(&mut self, anchor: Option<Anchor>) {
        let Some(anchor) = anchor else { return };
        // Otherwise it is proven where its line is read.
        if self.depth == Depth::HeadsUnverified
            && let Some(authorities) = self.authorities
            && let Err(cause) =
                authorities.machine(&anchor.head.0, HEAD_TYPE, &anchor.iss, anchor.head.1)
        {
            let cause = format!("the anchor of its pruned lines: {cause}");
            self.tell(None, What::Unproven(Signers::Machines, cause));
        }
        self.follower = Follower::after(anchor.tree.clone());
        self.end = anchor.end;
        self.highest = (anchor.end.seq, anchor.end.link, Wall(0));
        self.journal = Some(anchor.journal.clone());
        self.begun = Some(anchor.end.link);
        self.report.notes.push(format!(
            "lines up to {} of journal {} were removed since their time was over, as {} signed",
            anchor.end.seq, anchor.journal, anchor.iss
        ));
        self.anchor = Some(anchor);
    }

    /// Whose journal it is: only he may have pruned it.
    fn owner(&mut self, seq: u64, entry: &Entry) {
        if self.owner.is_some() {
            return;
        }
        let Some(owner) = reader::owner(entry) else {
            return;
        };
        if let Some(anchor) = &self.anchor
            && anchor.iss != owner
        {
            let what = format!(
                "the lines before this journal's first one are named by {}, and it is {owner}'s",
                anchor.iss
            );
            self.tell(Some(seq), What::Statement(what));
        }
        self.owner = Some(owner.to_owned());
    }

    fn tell(&mut self, seq: Option<u64>, what: What) {
        let (file, line) = self.place.clone();
        let journal = self.report.journals.len();
        self.report.tell(Finding {
            file,
            line,
            seq,
            journal,
            what,
        });
    }

    fn file(&mut self, store: &mut Disk, month: Month, newest: bool) -> Result<(), String> {
        let file = month.file_name();
        let fail = |error: io::Error| format!("reading {file}: {error}");
        self.report.files += 1;
        let lines = Lines::new(store.read(month).map_err(fail)?);
        self.place.0.clone_from(&file);
        let look = (self.authorities, self.depth);
        let read = ahead::read(lines, self.threads, look, |place, found| {
            self.place.1 = place.number;
            match found {
                ahead::Found::Line(bytes, Some(taken)) => {
                    let line = taken.line(bytes);
                    self.line(month, place, &line, taken);
                }
                ahead::Found::Unterminated if newest => self.tell(None, What::Torn(place.bytes)),
                _ => self.broken = true,
            }
        });
        read.map_err(fail)
    }

    fn line(&mut self, month: Month, place: Place, line: &Line<'_>, taken: Taken) {
        let Taken {
            is_whole,
            entry,
            checked,
            ..
        } = taken;
        let seq = line.header.seq;
        self.report.lines += 1;
        self.report.without_body += u64::from(line.body.is_none());
        if line.body.is_none() || self.report.lines == 1 && seq != 1 {
            self.judge.misses_lines();
        }
        let begins = begins_journal(line, self.begun);
        if begins {
            if self.begun.is_some() {
                self.close_journal(line);
                self.end = End::START;
            }
            self.begun = Some(line.link);
            let frame = line.body.and_then(|body| reader::frame(body).ok());
            self.journal = frame.and_then(|frame| frame.journal_id);
        }
        match self.end.link_to(line) {
            Ok(_) if is_whole => {}
            Ok(_) => self.tell(Some(seq), What::Changed(Break::Digest.to_string())),
            Err(_) => self.broken = true,
        }
        self.end = End {
            seq,
            link: line.link,
        };
        if seq >= self.highest.0 {
            self.highest = (seq, line.link, line.header.time);
        }
        if Month::of(line.header.time) > month {
            self.tell(Some(seq), What::WrongFile);
        }
        self.compare_with_head(line);
        let entry = entry.unwrap_or_else(|cause| {
            self.tell(Some(seq), What::Statement(cause));
            None
        });
        if self.report.lines == 1 && matches!(entry, Some(Entry::Continues { .. })) {
            // All of the journal before is pruned: what goes on from it has its grants there.
            self.judge.misses_lines();
        }
        self.compare_with_checkpoints(line, entry.as_ref());
        if let Some(entry) = &entry {
            self.owner(seq, entry);
        }
        if let Some(observer) = self.observer.as_deref_mut() {
            observer.line(&Seen {
                journal: self.report.journals.len(),
                id: self.journal.as_deref(),
                month,
                place,
                line,
                entry: entry.as_ref(),
                checked: &checked,
            });
        }
        if let Some(entry) = entry.filter(|_| self.depth == Depth::Full) {
            for wrong in self.judge.entry(line.header.time, &entry, &checked) {
                self.tell(Some(seq), What::Attestation(wrong));
            }
        }
        self.statements(seq, checked);
    }

    fn statements(&mut self, seq: u64, checked: Checked) {
        self.report.statements += checked.count;
        for wrong in checked.wrong {
            self.tell(Some(seq), What::Statement(wrong));
        }
        for (signers, proven) in checked.proven {
            match proven {
                Ok(()) => *self.proven.entry(signers).or_default() += 1,
                Err(cause) => {
                    let unproven = self.unproven.entry(signers).or_default();
                    if unproven.len() < FINDINGS_LIMIT {
                        let (file, line) = self.place.clone();
                        unproven.push(Finding {
                            file,
                            line,
                            seq: Some(seq),
                            journal: self.report.journals.len(),
                            what: What::Unproven(signers, cause),
                        });
                    }
                }
            }
        }
    }

    /// A line that begins a new journal: does it name where the one before ends?
    fn close_journal(&mut self, next: &Line<'_>) {
        let entry = next
            .body
            .and_then(|body| reader::entry(body).ok().flatten());
        if let Some(Entry::Continues { journal, seq, link }) = entry {
            let (file, line) = self.place.clone();
            let same_journal = self.journal.as_ref().is_none_or(|id| *id == journal);
            if !same_journal {
                let what = What::Added(format!("it continues journal {journal}, another one"));
                self.tell(Some(1), what);
            } else if seq > self.highest.0 {
                let (from, to) = (self.highest.0 + 1, seq);
                self.tell(Some(1), What::Removed { from, to });
            } else if (seq, link) != (self.highest.0, self.highest.1) {
                let what = format!("the journal that continues it at {file} line {line}");
                self.tell(Some(seq), What::Contradicts(what));
            }
            self.report.notes.push(format!(
                "{file} line {line}: a new journal begins after a failed write; it continues {journal}"
            ));
        }
        self.end_journal();
    }

    fn end_journal(&mut self) {
        let id = self.journal.take();
        if let Some(id) = &id
            && let Some(last) = self.ends.get(id).copied()
            && last > self.highest.0
        {
            let (from, to) = (self.highest.0 + 1, last);
            self.tell(Some(self.highest.0), What::Removed { from, to });
        }
        let unwitnessed = self.end_checkpoints(id.as_deref());
        let (seq, link, time) = std::mem::replace(&mut self.highest, NOTHING);
        self.report.journals.push(Journal {
            id,
            pruned: self.anchor.take().map_or(0, |anchor| anchor.end.seq),
            seq,
            link,
            time,
            unwitnessed,
        });
    }

    fn finish(&mut self) {
        if self.report.lines > 0 {
            self.end_journal();
        }
        if self.depth == Depth::HeadsUnverified {
            // Who compares journals sees what is proven in all of them.
            let unproven = std::mem::take(&mut self.unproven).into_values().flatten();
            unproven.for_each(|finding| self.report.tell(finding));
            return;
        }
        self.report.attested = std::mem::take(&mut self.judge).finish();
        // Somebody who gives one authority wants its statements checked: those of
        // the other kind of signer, of which none is proven, are only noted.
        let any = self.proven.values().any(|count| *count > 0);
        for (signers, unproven) in std::mem::take(&mut self.unproven) {
            let kind = match signers {
                Signers::Operators => "requests of operators (designation authority)",
                Signers::Machines => "statements of machines (link authority)",
            };
            if any && self.proven.get(&signers).is_none_or(|count| *count == 0) {
                self.report.notes.push(format!(
                    "no authority given proves the {kind}: they are not checked for whose keys signed"
                ));
            } else {
                for finding in unproven {
                    self.report.tell(finding);
                }
            }
        }
        for (signers, count) in &self.proven {
            let kind = match signers {
                Signers::Operators => "requests are proven to be of designated operators",
                Signers::Machines => "statements are proven to be of the machines they name",
            };
            self.report.notes.push(format!("{count} {kind}"));
        }
    }
}

/// Whether a line begins a journal: the first of all (`begun` is none), or one
/// that continues another after a failure. Anything else with seq 1 is out of
/// place. `begun` is the link of the line that began the journal so far.
fn begins_journal(line: &Line<'_>, begun: Option<Sha256>) -> bool {
    if line.header.seq != 1 || line.header.prev != Sha256::ZERO {
        return false;
    }
    let continues = || match line.body.map(reader::entry) {
        Some(entry) => matches!(entry, Ok(Some(Entry::Continues { .. }))),
        None => true,
    };
    begun.is_none_or(|begun| begun != line.link && continues())
}

fn open(directory: &Path) -> Result<Disk, String> {
    Disk::existing(directory).map_err(|error| format!("{}: {error}", directory.display()))
}

fn months(store: &mut Disk, directory: &Path) -> Result<Vec<Month>, String> {
    store
        .months()
        .map_err(|error| format!("{}: {error}", directory.display()))
}

#[cfg(test)]
mod tests;
