//! Verifies a journal or a copy of one: month files, and nothing beside them.
//!
//! What it finds is named with file, line, number and what happened. Three
//! things are looked at:
//!
//! * the chain ([`crate::format::chain`]): a changed, removed, added, reordered
//!   or repeated line;
//! * the heads that others hold (`--with DIR`): lines cut off at the end, or a
//!   chain rewritten, which no chain alone can show;
//! * the signed statements inside ([`statements`]).
//!
//! An intact journal is read once, in bounded memory. Where the chain is broken
//! it is read again to tell what happened ([`order`]).

pub mod order;
pub mod statements;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use self::order::{Links, Row};
use self::statements::{Authorities, Checked, Depth, Signers};
use super::entry::Entry;
use super::reader::{self, Content, Lines, Place};
use super::store::{Disk, Month, Store};
use crate::clock::Wall;
use crate::format::chain::{Break, End, LINE_LIMIT, Line};
use crate::format::ids::Sha256;
use crate::format::statement::HeadClaims;

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
    /// The journals, one unless lines were lost in a failure.
    pub journals: Vec<Journal>,
    /// What is wrong, in the order of its lines; at most [`FINDINGS_LIMIT`].
    pub findings: Vec<Finding>,
    /// How many more findings there are.
    pub more: u64,
    /// What should be known and is no fault.
    pub notes: Vec<String>,
}

/// A journal's extent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Journal {
    /// Its id; not known where the first line's body is left out.
    pub id: Option<String>,
    /// Number of its last line.
    pub seq: u64,
    /// That line's link.
    pub link: Sha256,
    /// That line's time.
    pub time: Wall,
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
    /// A signed statement in it does not hold.
    Statement(String),
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
            Self::Removed { .. } => "removed",
            Self::Added(_) => "added",
            Self::Reordered(_) | Self::WrongFile => "reordered",
            Self::Repeated(_) => "repeated",
            Self::Contradicts(_) => "contradicts",
            Self::Statement(_) | Self::Unproven(..) => "statement",
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
            Self::Contradicts(head) => write!(f, "changed: it contradicts {head}"),
            Self::Statement(how) | Self::Unproven(_, how) => write!(f, "statement: {how}"),
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
    walk(options, Depth::Full, None)
}

/// The same, with somebody who looks on.
pub(in crate::journal) fn walk<'a>(
    options: &'a Options,
    depth: Depth,
    observer: Option<&'a mut dyn Observer>,
) -> Result<Report, String> {
    let mut walk = Walk {
        authorities: options.authorities.as_ref(),
        depth,
        observer,
        heads: BTreeMap::new(),
        ends: BTreeMap::new(),
        report: Report::default(),
        journal: None,
        end: End::START,
        highest: NOTHING,
        begun: None,
        broken: false,
        proven: BTreeMap::new(),
        unproven: BTreeMap::new(),
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
    for (index, month) in months.iter().enumerate() {
        walk.file(&mut store, *month, index + 1 == months.len())?;
    }
    walk.finish();
    if walk.broken {
        name_breaks(&mut store, &months, &mut walk.report)?;
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
    broken: bool,
    proven: BTreeMap<Signers, u64>,
    unproven: BTreeMap<Signers, Vec<Finding>>,
    /// The line that is read.
    place: (String, u64),
}

impl Walk<'_> {
    /// Takes the heads out of another copy.
    fn gather(&mut self, directory: &Path) -> Result<(), String> {
        let mut store = open(directory)?;
        for month in months(&mut store, directory)? {
            let file = directory.join(month.file_name());
            let fail = |error| format!("reading {}: {error}", file.display());
            let mut lines = Lines::new(store.read(month).map_err(fail)?);
            while let Some((place, content)) = lines.next_line().map_err(fail)? {
                let Content::Line(bytes) = content else {
                    continue;
                };
                self.place = (file.display().to_string(), place.number);
                let entry = Line::parse(bytes)
                    .ok()
                    .and_then(|line| reader::entry(line.body?).ok()?);
                let Some(entry) = entry else { continue };
                for head in heads_of(&entry) {
                    let source = format!("{} line {}", file.display(), place.number);
                    self.hold(&head, &source);
                }
            }
        }
        Ok(())
    }

    fn hold(&mut self, head: &HeadClaims, source: &str) {
        if self.heads.len() >= HEADS_LIMIT {
            return;
        }
        let text = format!(
            "the head of line {} signed by {} at {}, held in {source}",
            head.seq,
            head.iss,
            Wall::from_seconds(head.iat).rfc3339()
        );
        let link = head.link;
        let key = (head.journal.clone(), head.seq);
        // Two heads of one line that differ: one of them contradicts whatever is here.
        let held = self.heads.entry(key).or_insert_with(|| Held {
            link,
            text: text.clone(),
        });
        if held.link != link {
            let (file, line) = self.place.clone();
            let what = What::Contradicts(format!("{}, and {text} names another link", held.text));
            let seq = Some(head.seq);
            self.report.tell(Finding {
                file,
                line,
                seq,
                journal: 0,
                what,
            });
        }
        let last = self.ends.entry(head.journal.clone()).or_insert(0);
        *last = head.seq.max(*last);
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
        let mut lines = Lines::new(store.read(month).map_err(fail)?);
        while let Some((place, content)) = lines.next_line().map_err(fail)? {
            self.place = (file.clone(), place.number);
            match content {
                Content::Line(bytes) => match Line::parse(bytes) {
                    Ok(line) => self.line(month, place, &line),
                    Err(_) => self.broken = true,
                },
                Content::TooLong => self.broken = true,
                Content::Unterminated(_) if newest => self.tell(None, What::Torn(place.bytes)),
                Content::Unterminated(_) => self.broken = true,
            }
        }
        Ok(())
    }

    fn line(&mut self, month: Month, place: Place, line: &Line<'_>) {
        let seq = line.header.seq;
        self.report.lines += 1;
        self.report.without_body += u64::from(line.body.is_none());
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
        match self.end.follow(line) {
            Ok(_) => {}
            Err(Break::Digest) => self.tell(
                Some(seq),
                What::Changed("its body is not the one its digest was made of".to_owned()),
            ),
            Err(Break::Seq { .. } | Break::Prev) => self.broken = true,
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
        let entry = line
            .body
            .filter(|_| line.digest_matches())
            .map(reader::entry);
        let entry = entry.and_then(|entry| match entry {
            Ok(entry) => entry,
            Err(cause) => {
                self.tell(Some(seq), What::Statement(cause));
                None
            }
        });
        let checked = entry.as_ref().map_or_else(Checked::default, |entry| {
            statements::check(entry, self.authorities, self.depth)
        });
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

    fn compare_with_head(&mut self, line: &Line<'_>) {
        let Some(journal) = self.journal.clone() else {
            return;
        };
        let held = self.heads.get(&(journal, line.header.seq));
        let Some(held) = held else { return };
        self.report.heads += 1;
        if held.link != line.link {
            let what = What::Contradicts(held.text.clone());
            self.tell(Some(line.header.seq), what);
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
        let (seq, link, time) = std::mem::replace(&mut self.highest, NOTHING);
        self.report.journals.push(Journal {
            id,
            seq,
            link,
            time,
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

/// The heads in an entry whose signature is right.
fn heads_of(entry: &Entry) -> Vec<HeadClaims> {
    // Heads are small; what does not open is told when its own copy is verified.
    let heads = statements::check(entry, None, Depth::Full).heads;
    let heads = heads.into_iter().map(|(head, _)| head);
    heads.filter(|head| jws_name(&head.iss)).collect()
}

/// Names in heads are ids; anything else would only spoil the report.
fn jws_name(name: &str) -> bool {
    crate::format::ids::CommuneId::new(name).is_ok()
}

fn open(directory: &Path) -> Result<Disk, String> {
    Disk::existing(directory).map_err(|error| format!("{}: {error}", directory.display()))
}

fn months(store: &mut Disk, directory: &Path) -> Result<Vec<Month>, String> {
    store
        .months()
        .map_err(|error| format!("{}: {error}", directory.display()))
}

/// Reads the journal again and names what broke its chain.
fn name_breaks(store: &mut Disk, months: &[Month], report: &mut Report) -> Result<(), String> {
    let mut rows: Vec<Row> = Vec::new();
    let mut begun = None;
    let mut journal = 0;
    for (index, month) in months.iter().enumerate() {
        let newest = index + 1 == months.len();
        let fail = |error: io::Error| format!("reading {}: {error}", month.file_name());
        let mut lines = Lines::new(store.read(*month).map_err(fail)?);
        while let Some((place, content)) = lines.next_line().map_err(fail)? {
            let header = match content {
                Content::Line(bytes) => match Line::parse(bytes) {
                    Ok(line) => {
                        if begins_journal(&line, begun) {
                            // What is before the very first line is out of place.
                            if begun.is_some() {
                                judge(&mut rows, journal, report);
                                journal += 1;
                            }
                            begun = Some(line.link);
                        }
                        Ok(Links {
                            seq: line.header.seq,
                            prev: line.header.prev,
                            link: line.link,
                        })
                    }
                    Err(error) => Err(format!("it is no line of a journal: {error}")),
                },
                Content::TooLong => Err(format!("it is longer than {LINE_LIMIT} bytes")),
                Content::Unterminated(_) if newest => continue,
                Content::Unterminated(_) => Err("it has no end".to_owned()),
            };
            if rows.len() == order::ROWS_LIMIT {
                report.notes.push(format!(
                    "only the first {} lines were looked at for what broke the chain",
                    order::ROWS_LIMIT
                ));
                judge(&mut rows, journal, report);
                return Ok(());
            }
            rows.push(Row {
                file: *month,
                line: place.number,
                header,
            });
        }
    }
    judge(&mut rows, journal, report);
    Ok(())
}

/// Judges the lines of one journal and makes room for the next.
fn judge(rows: &mut Vec<Row>, journal: usize, report: &mut Report) {
    for (row, seq, what) in order::judge(rows) {
        report.tell(Finding {
            file: rows[row].file.file_name(),
            line: rows[row].line,
            seq,
            journal,
            what,
        });
    }
    rows.clear();
}

#[cfg(test)]
mod tests;
