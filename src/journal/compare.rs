//! Compares journals of communes and centres, offline: `fanal journal compare`
//! (interfaces.md 10).
//!
//! Three steps, each in its file:
//!
//! * [`gather`]: each directory is read once, as [`super::verify`] reads it: its chain is
//!   checked, and what concerns others is kept: links, heads, grants, ends, viewings, stills;
//! * [`chains`]: copies of one journal against each other, and every journal against the heads
//!   that its owner signed;
//! * [`grants`]: what both sides wrote of the same grant.
//!
//! # Whom it convicts
//! A chain has no key: anyone who holds a copy can change it and chain it again. So a finding
//! about a line convicts the journal's owner only where a head that he signed covers the line,
//! or where a statement that he signed says otherwise. An entry that only one side has convicts
//! only the signer of a statement that it must be there. A line that no head covers is
//! *unwitnessed*: it is reported and convicts nobody.
//!
//! # Memory
//! Some 40 bytes a line, 100 a head, 300 a grant, up to [`MEMORY_LIMIT`]. Beyond that the
//! directories are read several times, and each time only a share is compared.

mod chains;
mod gather;
mod grants;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use serde::Serialize;

use super::checkpoints::Checkpoints;
use super::verify::statements::{Authorities, Signers};
use crate::format::ids::GrantId;
use crate::format::note::VerifierKey;

/// What is held in memory at once, in bytes, about.
pub const MEMORY_LIMIT: usize = 512 * 1024 * 1024;
/// Most findings that are named; more are counted.
pub const FINDINGS_LIMIT: usize = 200;
/// Most shares that journals are compared in: some 100 GB of journal.
const SHARES_LIMIT: u64 = 256;

/// What to compare.
#[derive(Debug)]
pub struct Options {
    /// Directories with month files, in any order: journals or copies, of either side.
    pub directories: Vec<PathBuf>,
    /// Whose keys may have signed.
    pub authorities: Option<Authorities>,
    /// Witnesses whose cosigned checkpoints must fit.
    pub witnesses: Vec<VerifierKey>,
    /// What may be held in memory, in bytes: [`MEMORY_LIMIT`].
    pub memory: usize,
}

/// Which end of the link wrote a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// The gateway.
    Commune,
    /// The receiver.
    Centre,
}

/// What it comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Nothing contradicts anything, and what concerns both sides is with both.
    Consistent,
    /// Something is changed, missing or contradicts a signed statement.
    Contradiction,
    /// Nothing contradicts anything, and some of what one side has the other can't
    /// confirm yet: no head covers it.
    UnwitnessedTail,
}

/// Something that does not fit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Whose journal, where it is known.
    pub side: Option<Side>,
    /// The owner's id.
    pub owner: Option<String>,
    /// The journal's id.
    pub journal: Option<String>,
    /// Number of the line.
    pub seq: Option<u64>,
    /// The grant it is about.
    pub grant: Option<GrantId>,
    /// What is wrong.
    pub what: String,
    /// The commune's or centre's id that it convicts.
    pub convicts: Option<String>,
    /// Whether it is merely not witnessed.
    pub unwitnessed: bool,
}

/// A journal, put together from its copies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Journal {
    /// Its id; not known where its first line's body is left out and no head names it.
    pub id: Option<String>,
    /// Who wrote it.
    pub owner: Option<String>,
    /// Which end of the link that is.
    pub side: Option<Side>,
    /// In how many of the directories it is.
    pub copies: usize,
    /// Number of its first line: more than 1 where months were pruned.
    pub first: u64,
    /// Number of its last line.
    pub last: u64,
    /// Number of the last line that a head covers which somebody else holds.
    pub witnessed: u64,
    /// Number of the last line that a cosigned checkpoint covers.
    pub cosigned: u64,
}

/// What was looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// How many directories.
    pub directories: usize,
    /// How many lines, copies counted each.
    pub lines: u64,
    /// How many of them come without their body.
    pub without_body: u64,
    /// How many signed statements.
    pub statements: u64,
    /// How many heads were held against the journals.
    pub heads: u64,
    /// How many cosigned checkpoints were held against the journals, copies counted each.
    pub checkpoints: u64,
    /// How many grants and renewals both sides have.
    pub grants: u64,
    /// How many grants the centre never confirmed, which ended.
    pub unconfirmed: u64,
    /// How many viewings of signed lists were held against the centre's journal.
    pub viewings: u64,
    /// How many stills both sides have.
    pub stills: u64,
    /// Whether machines' keys are proven by the authorities given.
    pub machines_proven: bool,
    /// Whether operators' keys are.
    pub operators_proven: bool,
    /// The journals.
    pub journals: Vec<Journal>,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// What it comes to.
    pub verdict: Verdict,
    /// What was looked at.
    pub checked: Checked,
    /// What does not fit: contradictions first, in the order of their journals and lines; at
    /// most [`FINDINGS_LIMIT`].
    pub findings: Vec<Finding>,
    /// How many more there are.
    pub more: usize,
    /// What should be known and is no fault.
    pub notes: Vec<String>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(owner) = &self.owner {
            write!(f, "{owner} ")?;
        }
        if let Some(journal) = &self.journal {
            write!(f, "journal {journal} ")?;
        }
        if let Some(seq) = self.seq {
            write!(f, "line {seq} ")?;
        }
        if let Some(grant) = self.grant {
            write!(f, "grant {grant} ")?;
        }
        write!(f, "- {}", self.what)?;
        match &self.convicts {
            Some(who) => write!(f, " [convicts {who}]"),
            None if self.unwitnessed => f.write_str(" [unwitnessed: convicts nobody]"),
            None => f.write_str(" [convicts nobody]"),
        }
    }
}

/// A part of all lines, heads and grants, so that each part fits into memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Share {
    of: u64,
    index: u64,
}

impl Share {
    fn has_line(self, seq: u64) -> bool {
        seq % self.of == self.index
    }

    fn has_grant(self, grant: GrantId) -> bool {
        let (high, low) = grant.0.as_u64_pair();
        (high ^ low) % self.of == self.index
    }
}

/// Bytes held in memory, of those that may be.
#[derive(Debug)]
struct Budget {
    used: AtomicUsize,
    limit: usize,
}

impl Budget {
    fn take(&self, bytes: usize) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
    }

    fn is_spent(&self) -> bool {
        self.used.load(Ordering::Relaxed) > self.limit
    }
}

/// Reads and compares. `read` counts the bytes as they are read, for a progress bar.
///
/// # Errors
/// A directory that can't be read or holds no journal, or journals too large.
pub fn compare(options: &Options, read: &AtomicU64) -> Result<Report, String> {
    let authorities = options.authorities.as_ref();
    let seen = Checkpoints::gather(&options.directories, &options.witnesses, authorities)?;
    let mut of = 1;
    loop {
        match in_shares(options, &seen, of, read)? {
            Some(report) => return Ok(report),
            None if of < SHARES_LIMIT => of *= 2,
            None => return Err("the journals are too large to be compared".to_owned()),
        }
    }
}

/// Compares share after share; none where one does not fit into memory.
fn in_shares(
    options: &Options,
    seen: &Checkpoints,
    of: u64,
    read: &AtomicU64,
) -> Result<Option<Report>, String> {
    let mut outcome = Outcome::default();
    let mut index = 0;
    while index < of {
        let share = Share { of, index };
        let budget = Budget {
            used: AtomicUsize::new(0),
            limit: options.memory,
        };
        let Some(gathered) = gather::gather(options, seen, share, &budget, read)? else {
            return Ok(None);
        };
        let known = outcome.names.len();
        judge(options, seen, gathered, share, &mut outcome)?;
        index += 1;
        if index > 1 && outcome.names.len() > known {
            // The shares before did not know whose journal that is.
            let names = std::mem::take(&mut outcome.names);
            outcome = Outcome {
                names,
                ..Outcome::default()
            };
            index = 0;
        }
    }
    Ok(Some(outcome.finish(options)))
}

/// What was found so far.
#[derive(Debug, Default)]
struct Outcome {
    checked: Checked,
    findings: Vec<Finding>,
    /// Findings of which one of a kind is told for a journal, over all shares.
    worst: BTreeMap<(Option<String>, &'static str), Worst>,
    notes: Vec<String>,
    /// Journals whose first line's body is left out, by a head that names one of their lines.
    names: Names,
}

/// A segment's journal and its owner.
type Names = BTreeMap<usize, (Arc<str>, Arc<str>)>;

/// The worst of several findings of a kind.
#[derive(Debug)]
struct Worst {
    rank: u64,
    finding: Finding,
    /// How many heads say the same.
    heads: usize,
}

impl Outcome {
    /// A finding that is told once for a journal: the one of the lowest rank, and how many
    /// `heads` say the like.
    fn worst(&mut self, kind: &'static str, rank: u64, heads: usize, finding: Finding) {
        let key = (finding.journal.clone(), kind);
        match self.worst.get_mut(&key) {
            Some(worst) => {
                worst.heads += heads;
                if rank < worst.rank {
                    worst.rank = rank;
                    worst.finding = finding;
                }
            }
            None => {
                let worst = Worst {
                    rank,
                    finding,
                    heads,
                };
                self.worst.insert(key, worst);
            }
        }
    }

    fn note(&mut self, note: String) {
        if !self.notes.contains(&note) && self.notes.len() < FINDINGS_LIMIT {
            self.notes.push(note);
        }
    }

    fn finish(mut self, options: &Options) -> Report {
        for (_, mut worst) in std::mem::take(&mut self.worst) {
            if worst.heads > 1 {
                let more = format!(" and {} more heads", worst.heads - 1);
                worst.finding.what.push_str(&more);
            }
            self.findings.push(worst.finding);
        }
        let is_contradiction = |finding: &Finding| !finding.unwitnessed;
        let verdict = if self.findings.iter().any(is_contradiction) {
            Verdict::Contradiction
        } else if self.findings.is_empty() {
            Verdict::Consistent
        } else {
            Verdict::UnwitnessedTail
        };
        let key = |finding: &Finding| {
            let journal = (finding.owner.clone(), finding.journal.clone());
            let what = finding.what.clone();
            (
                finding.unwitnessed,
                journal,
                finding.seq,
                finding.grant,
                what,
            )
        };
        self.findings.sort_by_cached_key(key);
        self.findings.dedup();
        let more = self.findings.len().saturating_sub(FINDINGS_LIMIT);
        self.findings.truncate(FINDINGS_LIMIT);
        self.checked.directories = options.directories.len();
        Report {
            verdict,
            checked: self.checked,
            findings: self.findings,
            more,
            notes: self.notes,
        }
    }
}

fn judge(
    options: &Options,
    seen: &Checkpoints,
    gathered: gather::Gathered,
    share: Share,
    outcome: &mut Outcome,
) -> Result<(), String> {
    let first = share.index == 0;
    if first {
        for source in &gathered.sources {
            outcome.checked.lines += source.report.lines;
            outcome.checked.without_body += source.report.without_body;
            outcome.checked.statements += source.report.statements;
            outcome.checked.checkpoints += source.report.checkpoints;
        }
    }
    let proven = |signers| {
        let count = |source: &gather::Source| source.proven.get(&signers).copied().unwrap_or(0);
        gathered.sources.iter().map(count).sum::<u64>() > 0
    };
    let operators_proven = proven(Signers::Operators);
    let machines_proven = proven(Signers::Machines);
    let chains = chains::judge(options, &gathered, machines_proven, share, outcome)?;
    outcome.checked.operators_proven = operators_proven;
    outcome.checked.machines_proven = chains.machines_proven;
    if first {
        chains.tell_sources(&gathered, operators_proven, outcome);
        if !options.witnesses.is_empty() {
            chains.tell_witnessed(&gathered, seen, outcome);
        }
    }
    grants::judge(&gathered, &chains, outcome);
    Ok(())
}

#[cfg(test)]
mod tests;
