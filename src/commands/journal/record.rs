//! `fanal journal record`: whether an exported record of an incident is what the centre's journal says.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, anyhow};
use clap::Args;
use serde::Deserialize;
use serde_json::Value;

use super::super::Usage;
use crate::format::chain::Line as JournalLine;
use crate::format::ids::{GrantId, Incident, Sha256};
use crate::format::jws;
use crate::format::statement::RequestClaims;
use crate::format::text::shown;
use crate::journal::entry::Entry;
use crate::journal::reader::{self, Content, Lines};
use crate::journal::recover::grant_of;
use crate::journal::store::{Disk, Store};
use crate::policy::record::line::{Line, What};

/// Largest file that is read.
const FILE_LIMIT: u64 = 64 * 1024 * 1024;
/// Findings that are told.
const FINDINGS: usize = 20;

/// Arguments of `fanal journal record`.
#[derive(Debug, Args)]
pub(super) struct RecordArgs {
    /// The record, as the operators' page saved it (JSON)
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The centre's journal or a copy of it: the directory with the month files
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

/// What the file says.
#[derive(Debug, Deserialize)]
struct Exported {
    record: Told,
}

#[derive(Debug, Deserialize)]
struct Told {
    incident: Incident,
    journal: Option<String>,
    history: Vec<Value>,
    notes: Vec<Mark>,
    bookmarks: Vec<Mark>,
    left_out: u64,
}

#[derive(Debug, Deserialize)]
struct Mark {
    id: Value,
    text: Option<String>,
    salt: Option<String>,
    digest: Option<Sha256>,
}

/// Runs `fanal journal record`.
pub(super) fn run(args: &RecordArgs) -> anyhow::Result<ExitCode> {
    let told = read(&args.file)?;
    let journal = Known::read(&args.directory, &told)?;
    let findings = judge(&told, &journal.lines);
    let mut out = std::io::stdout().lock();
    if findings.is_empty() {
        writeln!(
            out,
            "faithful: all {} lines and {} notes and bookmarks of {} are as {} says",
            told.history.len(),
            told.notes.len() + told.bookmarks.len(),
            told.incident,
            args.directory.display()
        )?;
        writeln!(
            out,
            "whether that journal is intact: fanal journal verify {}",
            args.directory.display()
        )?;
        return Ok(ExitCode::SUCCESS);
    }
    writeln!(out, "not faithful: {} findings", findings.len())?;
    for finding in findings.iter().take(FINDINGS) {
        writeln!(out, "  {}", shown(finding, 400))?;
    }
    Ok(ExitCode::FAILURE)
}

fn read(path: &Path) -> anyhow::Result<Told> {
    let name = || path.display().to_string();
    let file = std::fs::File::open(path).with_context(name);
    let file = file.map_err(|error| anyhow!(Usage(format!("{error:#}"))))?;
    let mut text = String::new();
    file.take(FILE_LIMIT)
        .read_to_string(&mut text)
        .with_context(name)?;
    let exported: Exported = serde_json::from_str(&text).with_context(|| {
        let name = name();
        format!("{name} is no record of an incident; the page saves one by Record, Save (JSON)")
    })?;
    Ok(exported.record)
}

/// The journal's lines of one incident.
struct Known {
    lines: BTreeMap<u64, Value>,
}

impl Known {
    /// Those of the same unit and journal, none before the record's first one.
    fn read(directory: &Path, told: &Told) -> anyhow::Result<Self> {
        let name = directory.display();
        let mut store = Disk::existing(directory).with_context(|| name.to_string())?;
        let months = store.months().with_context(|| name.to_string())?;
        if months.is_empty() {
            return Err(anyhow!(
                "{name} holds no month file (YYYY-MM.jsonl); name state_dir/journal or a copy of it"
            ));
        }
        let mut reading = Reading {
            told,
            unit: unit(told),
            journal: None,
            grants: BTreeSet::new(),
            lines: BTreeMap::new(),
        };
        for month in months {
            let file = month.file_name();
            let mut lines = Lines::new(store.read(month).with_context(|| file.clone())?);
            while let Some((_, content)) = lines.next_line().with_context(|| file.clone())? {
                if let Content::Line(bytes) = content
                    && let Ok(line) = JournalLine::parse(bytes)
                {
                    reading.take(&line);
                }
            }
        }
        Ok(Self {
            lines: reading.lines,
        })
    }
}

/// The unit whose record it is: that of anybody who signed.
fn unit(told: &Told) -> Option<&str> {
    let mut lines = told.history.iter();
    lines.find_map(|line| line["operator"]["unit"].as_str())
}

struct Reading<'a> {
    told: &'a Told,
    unit: Option<&'a str>,
    /// That of the lines that are read now.
    journal: Option<String>,
    grants: BTreeSet<GrantId>,
    lines: BTreeMap<u64, Value>,
}

impl Reading<'_> {
    fn take(&mut self, line: &JournalLine<'_>) {
        let Some(body) = line.body else {
            return;
        };
        if let Some(id) = reader::frame(body).ok().and_then(|frame| frame.journal_id) {
            self.journal = Some(id);
        }
        // Of a pruned journal the first lines are gone, and its id with them.
        let other = |id: &String| self.told.journal.as_ref().is_some_and(|told| told != id);
        if self.journal.as_ref().is_some_and(other) {
            return;
        }
        let Ok(Some(entry)) = reader::entry(body) else {
            return;
        };
        if !self.is_of_incident(&entry) {
            return;
        }
        if let Some(what) = What::of(&entry) {
            let (seq, time) = (line.header.seq, line.header.time);
            let line = serde_json::to_value(Line { seq, time, what });
            self.lines.insert(seq, line.unwrap_or_default());
        }
    }

    fn is_of_incident(&mut self, entry: &Entry) -> bool {
        let is_ours = |incident: &Incident, unit: &str| {
            incident == &self.told.incident && self.unit.is_none_or(|ours| ours == unit)
        };
        match entry {
            Entry::Grant(entry) => {
                let ours = is_ours(&entry.incident, &entry.operator.unit);
                if ours {
                    self.grants.insert(entry.grant);
                }
                ours
            }
            Entry::Refused {
                request, operator, ..
            } => {
                let claims = jws::read_unverified::<RequestClaims>(request);
                claims.is_ok_and(|claims| is_ours(&claims.incident, &operator.unit))
            }
            Entry::Incident {
                incident, operator, ..
            } => is_ours(incident, &operator.unit),
            Entry::Mark(entry) => is_ours(&entry.incident, &entry.operator.unit),
            other => grant_of(other).is_some_and(|grant| self.grants.contains(&grant)),
        }
    }
}

/// What does not fit.
fn judge(told: &Told, journal: &BTreeMap<u64, Value>) -> Vec<String> {
    let mut findings = Vec::new();
    let mut seen = BTreeSet::new();
    for line in &told.history {
        let Some(seq) = line["seq"].as_u64() else {
            findings.push("a line without a number".to_owned());
            continue;
        };
        if !seen.insert(seq) {
            findings.push(format!("line {seq} is there twice"));
        }
        match journal.get(&seq) {
            None => findings.push(format!("line {seq} is not in the journal: {line}")),
            Some(known) if known != line => {
                findings.push(format!("line {seq} was changed: the journal says {known}"));
            }
            Some(_) => {}
        }
    }
    // What came after the export is no fault, nor what a long record left out.
    let (first, last) = (seen.first().copied(), seen.last().copied());
    if let (Some(first), Some(last)) = (first, last) {
        let first = if told.left_out > 0 { first } else { 0 };
        for (seq, line) in journal.range(first..=last) {
            if !seen.contains(seq) {
                findings.push(format!("line {seq} of the journal is left out: {line}"));
            }
        }
    }
    for mark in told.notes.iter().chain(&told.bookmarks) {
        findings.extend(judge_mark(mark, journal));
    }
    findings
}

fn judge_mark(mark: &Mark, journal: &BTreeMap<u64, Value>) -> Option<String> {
    let id = mark.id.as_str().unwrap_or_default();
    let of_mark = |line: &&Value| line["kind"] == "mark" && line["mark"] == mark.id;
    let Some(newest) = journal.values().rev().find(of_mark) else {
        return Some(format!("note {id} is not in the journal"));
    };
    let digest = mark.digest.map(|digest| digest.to_string());
    if newest["text"].as_str() != digest.as_deref() {
        return Some(format!(
            "note {id} is not the one that the journal has the digest of"
        ));
    }
    let text = mark.text.as_ref()?;
    let salt = mark.salt.as_deref().and_then(bytes);
    let salted = salt.map(|salt| Sha256::of(&[&salt[..], text.as_bytes()].concat()));
    (salted != mark.digest).then(|| format!("the text of note {id} was changed"))
}

/// From hexadecimal digits.
fn bytes(digits: &str) -> Option<Vec<u8>> {
    let pairs = digits.as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    pairs.map(byte).collect()
}
