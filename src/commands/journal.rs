//! `fanal journal`: reads and verifies a journal or a copy of one.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod compare;
mod export;
mod prune;
mod record;
mod report;
mod seal;
mod still;
mod table;

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, anyhow};
use clap::{Args, Subcommand};

use super::Usage;
use crate::clock::Wall;
use crate::format::chain::Line;
use crate::format::ids::GrantId;
use crate::format::note::{Kind, VerifierKey};
use crate::journal::collect;
use crate::journal::entry::Entry;
use crate::journal::reader::{self, Content, KINDS, Lines};
use crate::journal::recover::grant_of;
use crate::journal::store::{Disk, Month, Store};
use crate::journal::verify::statements::Authorities;
use crate::journal::verify::{self, Report};

/// Arguments of `fanal journal`.
#[derive(Debug, Args)]
pub struct JournalArgs {
    #[command(subcommand)]
    command: JournalCommand,
}

#[derive(Debug, Subcommand)]
enum JournalCommand {
    /// Show what a journal or a copy of one holds
    #[command(after_help = "Example: all about one grant
  fanal journal show /var/lib/fanal/journal --grant 2f0c9a4e-6a51-4a57-9d0c-5b1f0f3c7d10")]
    Show(ShowArgs),
    /// Verify a journal or a copy of one: exit status 0 intact, 1 not
    #[command(
        after_help = "Example: the commune's journal, with the heads of it that the centre holds
  fanal journal verify /var/lib/fanal/journal --with /mnt/corg-13/journal \\
    --authority link-ca.pem --authority designation-ca.pem

A chain alone can't show that its last lines were cut off: that takes the heads in the other
side's journal (--with), or what a third saw (--witness, with the witness's verifier key).

DIR may also be a file of lines: an export of a copy on NATS JetStream, in any order and with
repeated lines (guide/copies.md)
  nats sub 'fanal.journal.corg-13.>' --stream FANAL --all --terminate-at-end --raw > corg-13.jsonl
  fanal journal verify corg-13.jsonl --into corg-13 --with /var/lib/fanal/journal"
    )]
    Verify(VerifyArgs),
    /// Compare journals of communes and centres: exit status 0 consistent, 1 contradiction or missing
    #[command(
        after_help = "Example: the commune's journal, its copy of the centre's, and an older backup
  fanal journal compare /var/lib/fanal/journal /mnt/corg-13/journal /mnt/backup/journal \\
    --authority link-ca.pem --authority designation-ca.pem

A finding names the id that it convicts, or nobody. An entry that no signed head covers yet
is unwitnessed: it is reported and convicts nobody. With --witness the same holds of lines that the
witness did not cosign, and of journals that both sides rewrote together it convicts both. Without --authority the signatures are checked, but not whose keys
they are."
    )]
    Compare(compare::CompareArgs),
    /// Report on a month: who looked at what, on which grounds, until when
    #[command(after_help = "Example: November for the mayor, to print
  fanal journal report /var/lib/fanal/journal --month 2026-11 --format html > 2026-11.html

With --out FILE --sign KEY --certificate CERT the report is signed: FILE.jws, for verify-report.
Exit status 1: the journal is not intact (the report says so). --public leaves out people,
incidents and every number below five, for the commune's own web page.")]
    Report(report::ReportArgs),
    /// Find the grant of a still, and whether it is unaltered: exit status 0 unaltered and recorded, 1 not
    #[command(
        after_help = "Example: a still from a case file, against the journals of both sides
  fanal journal still berre_quai-nord_2026-11-30.png /var/lib/fanal/journal /mnt/corg-13/journal

The picture's data are compared with the hash that both journals hold. A still whose text was
removed is found by that hash; one that was edited, cropped or saved again by the id in its text."
    )]
    Still(still::StillArgs),
    /// Check an exported record of an incident against the centre's journal: exit status 0 faithful, 1 not
    #[command(
        after_help = "Example: a record from a case file, and the centre's journal that it was made from
  fanal journal record fanal-2026-4711.json /var/lib/fanal/journal

Every line of the record must be in the journal, word for word, and every line of the journal up to
the last one of the record in it; the texts of notes must have the digests that the journal holds.
Whether the journal itself is intact: fanal journal verify."
    )]
    Record(record::RecordArgs),
    /// Remove the oldest month, if its time is over; a signed line names it, and the rest still verifies
    #[command(after_help = "Example: while the gateway is stopped
  fanal journal prune /var/lib/fanal/journal --config /etc/fanal/gateway.toml

The daemons prune by themselves, one month a day, by [journal] keep. A month stays that something
live needs; then the exit status is 1. In a copy, months that a pruned journal's newer
months name go without a key.")]
    Prune(prune::PruneArgs),
    /// What an inspector takes away: a transcript to read, and the signed original that proves it
    #[command(
        after_help = "Example: November for the departmental commission, signed by the daemon's key
  fanal journal export /var/lib/fanal/journal --out inspection --from 2026-11 --until 2026-11 \\
    --authority link-ca.pem --authority designation-ca.pem --sign gateway.key --certificate gateway.pem

Every line is in the copy, so it verifies; bodies outside the period, or that concern another centre
than --only, are left out. Exit status 1: the journal is not intact (the transcript says so)."
    )]
    Export(export::ExportArgs),
    /// Verify that a report or transcript is as it was signed: exit status 0 it is, 1 it is not
    #[command(after_help = "Example: a report that was made with --out and --sign
  fanal journal verify-report 2026-11.html --authority designation-ca.pem

The signature is beside it: 2026-11.html.jws.")]
    VerifyReport(seal::VerifyReportArgs),
}

#[derive(Debug, Args)]
struct ShowArgs {
    /// The directory with the month files: state_dir/journal or a copy
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// The lines as they stand in the files
    #[arg(long)]
    json: bool,
    /// Only what concerns this grant
    #[arg(long, value_name = "ID")]
    grant: Option<GrantId>,
    /// Only this kind of entry; may be given several times
    #[arg(long = "kind", value_name = "KIND", value_parser = clap::builder::PossibleValuesParser::new(KINDS))]
    kinds: Vec<String>,
    /// Only from this time on: 2026-11-23 or 2026-11-23T02:13:00Z
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    since: Option<Wall>,
}

#[derive(Debug, Args)]
struct VerifyArgs {
    /// The directory with the month files: state_dir/journal or a copy; or a file of lines
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Of a file of lines: make this directory, a journal for compare, show and report
    #[arg(long, value_name = "DIR")]
    into: Option<PathBuf>,
    /// Another journal or copy whose heads of this one must fit; may be given several times
    #[arg(long, value_name = "DIR")]
    with: Vec<PathBuf>,
    /// A link or designation authority (PEM): also check whose keys signed; may be given several times
    #[arg(long = "authority", value_name = "FILE")]
    authorities: Vec<PathBuf>,
    /// A witness's verifier key: the checkpoints that it cosigned, here and in --with, must fit;
    /// may be given several times
    #[arg(long = "witness", value_name = "VKEY", value_parser = witness)]
    witnesses: Vec<VerifierKey>,
    /// Print the findings as JSON, one object a line
    #[arg(long)]
    json: bool,
}

/// Runs `fanal journal`.
pub fn run(args: JournalArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        JournalCommand::Show(args) => {
            let mut out = BufWriter::new(io::stdout().lock());
            match show(&args, &mut out).and_then(|()| Ok(out.flush()?)) {
                // `| head` is no failure.
                Err(error) if is_broken_pipe(&error) => Ok(ExitCode::SUCCESS),
                done => done.map(|()| ExitCode::SUCCESS),
            }
        }
        JournalCommand::Verify(args) => run_verify(&args),
        JournalCommand::Compare(args) => compare::run(&args),
        JournalCommand::Report(args) => report::run(&args),
        JournalCommand::Still(args) => still::run(&args),
        JournalCommand::Record(args) => record::run(&args),
        JournalCommand::Prune(args) => prune::run(&args),
        JournalCommand::Export(args) => export::run(&args),
        JournalCommand::VerifyReport(args) => seal::verify_report(&args),
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let cause = error.downcast_ref::<io::Error>();
    cause.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn parse_time(written: &str) -> Result<Wall, String> {
    let time = written.parse::<jiff::Timestamp>();
    let date = || written.parse::<jiff::civil::Date>();
    let time = time.or_else(|_| {
        let start = date()?.to_zoned(jiff::tz::TimeZone::UTC)?;
        Ok::<_, jiff::Error>(start.timestamp())
    });
    time.map(|time| Wall(time.as_microsecond()))
        .map_err(|_| "write it like 2026-11-23 or 2026-11-23T02:13:00Z (UTC)".to_owned())
}

fn show(args: &ShowArgs, out: &mut impl Write) -> anyhow::Result<()> {
    let name = args.directory.display();
    let mut store = Disk::existing(&args.directory).with_context(|| name.to_string())?;
    let mut months = store.months().with_context(|| name.to_string())?;
    if months.is_empty() {
        return Err(anyhow!(
            "{name} holds no month file (YYYY-MM.jsonl); name state_dir/journal or a copy of it"
        ));
    }
    if let Some(since) = args.since {
        // A clock gone back leaves older times in newer files, never the other way.
        months.retain(|month| *month >= Month::of(since));
    }
    for month in months {
        let file = month.file_name();
        let mut lines = Lines::new(store.read(month).with_context(|| file.clone())?);
        while let Some((place, content)) = lines.next_line().with_context(|| file.clone())? {
            let line = match content {
                Content::Line(bytes) => Line::parse(bytes).map_err(|error| error.to_string()),
                Content::TooLong => Err("it is too long".to_owned()),
                Content::Unterminated(_) => Err("it has no end".to_owned()),
            };
            match (line, content) {
                (Ok(line), Content::Line(bytes)) => show_line(args, &line, bytes, out)?,
                (Err(error), _) => eprintln!(
                    "fanal: {file} line {}: no line of a journal: {error}",
                    place.number
                ),
                (Ok(_), _) => {}
            }
        }
    }
    Ok(())
}

fn show_line(
    args: &ShowArgs,
    line: &Line<'_>,
    bytes: &[u8],
    out: &mut impl Write,
) -> anyhow::Result<()> {
    if args.since.is_some_and(|since| line.header.time < since) {
        return Ok(());
    }
    let frame = line.body.and_then(|body| reader::frame(body).ok());
    let kind = frame.as_ref().map(|frame| frame.kind.as_str());
    if !args.kinds.is_empty() && !kind.is_some_and(|kind| args.kinds.iter().any(|k| k == kind)) {
        return Ok(());
    }
    let entry: Option<Entry> = line.body.and_then(|body| reader::entry(body).ok()?);
    if args.grant.is_some() && entry.as_ref().and_then(grant_of) != args.grant {
        return Ok(());
    }
    if args.json {
        out.write_all(bytes)?;
        out.write_all(b"\n")?;
        return Ok(());
    }
    let said = match &entry {
        Some(entry) => table::say(entry),
        None if line.body.is_none() => "(left out of this copy)".to_owned(),
        None => "(not known to this version)".to_owned(),
    };
    writeln!(
        out,
        "{:>7}  {}  {:<18}  {said}",
        line.header.seq,
        line.header.time.rfc3339(),
        kind.unwrap_or("-"),
    )?;
    Ok(())
}

/// A witness's key on the command line.
fn witness(written: &str) -> Result<VerifierKey, String> {
    let key: VerifierKey = written.parse()?;
    match key.kind() {
        Kind::Witness => Ok(key),
        Kind::Log => Err("this is a log's key; give the witness's".to_owned()),
    }
}

/// The authorities in these files; none where there are no files.
fn authorities(paths: &[PathBuf]) -> anyhow::Result<Option<Authorities>> {
    let mut texts = Vec::new();
    for path in paths {
        let shown = path.display();
        let text = std::fs::read_to_string(path);
        texts.push(text.map_err(|error| Usage(format!("--authority {shown}: {error}")))?);
    }
    Ok((!texts.is_empty())
        .then(|| Authorities::from_pem(texts.iter().map(String::as_str)))
        .transpose()
        .map_err(|cause| Usage(format!("--authority: {cause}")))?)
}

fn run_verify(args: &VerifyArgs) -> anyhow::Result<ExitCode> {
    let authorities = authorities(&args.authorities)?;
    let unpacked = Unpacked::of(args)?;
    let report = verify::verify(&verify::Options {
        directory: unpacked.directory.clone(),
        with: args.with.clone(),
        authorities,
        witnesses: args.witnesses.clone(),
    })
    .map_err(|cause| anyhow!(cause))?;
    if args.json {
        print_findings(&report)?;
    } else {
        print_report(&report);
    }
    Ok(if report.is_intact() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    })
}

/// The journal to verify: the directory that was named, or one made of a file of lines.
struct Unpacked {
    directory: PathBuf,
    is_temporary: bool,
}

impl Unpacked {
    fn of(args: &VerifyArgs) -> anyhow::Result<Self> {
        let named = &args.directory;
        if !named.is_file() {
            if args.into.is_some() {
                return Err(Usage("--into is for a file of lines".to_owned()).into());
            }
            return Ok(Self {
                directory: named.clone(),
                is_temporary: false,
            });
        }
        let is_temporary = args.into.is_none();
        let name = || format!("fanal-{}", uuid::Uuid::now_v7().simple());
        let directory = args
            .into
            .clone()
            .unwrap_or_else(|| std::env::temp_dir().join(name()));
        let unpacked = Self {
            directory,
            is_temporary,
        };
        let found = collect::collect(named, &unpacked.directory).map_err(|cause| anyhow!(cause))?;
        eprintln!(
            "fanal: {}: {} lines, {} more were repeated, {} were none of a journal",
            named.display(),
            found.lines,
            found.repeated,
            found.foreign
        );
        Ok(unpacked)
    }
}

impl Drop for Unpacked {
    fn drop(&mut self) {
        if self.is_temporary
            && let Err(error) = std::fs::remove_dir_all(&self.directory)
            && error.kind() != io::ErrorKind::NotFound
        {
            eprintln!("fanal: {}: {error}", self.directory.display());
        }
    }
}

fn print_findings(report: &Report) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    for finding in &report.findings {
        let json = serde_json::json!({
            "file": finding.file, "line": finding.line, "seq": finding.seq,
            "kind": finding.what.kind(), "what": finding.what.to_string(),
        });
        serde_json::to_writer(&mut out, &json)?;
        writeln!(out)?;
    }
    for attested in &report.attested {
        let json = serde_json::json!({ "kind": "attested", "what": attested.to_string(), "attested": attested });
        serde_json::to_writer(&mut out, &json)?;
        writeln!(out)?;
    }
    Ok(())
}

fn print_report(report: &Report) {
    for finding in &report.findings {
        println!("{finding}");
    }
    if report.more > 0 {
        println!("and {} more", report.more);
    }
    for journal in &report.journals {
        println!(
            "journal {}: ends with line {} of {}, link {}",
            journal.id.as_deref().unwrap_or("(id left out)"),
            journal.seq,
            journal.time.rfc3339(),
            journal.link,
        );
    }
    println!(
        "{} files, {} lines ({} without body), {} signed statements, {} heads of others and {} checkpoints compared",
        report.files,
        report.lines,
        report.without_body,
        report.statements,
        report.heads,
        report.checkpoints
    );
    for note in &report.notes {
        println!("{note}");
    }
    for attested in &report.attested {
        println!("{attested}");
    }
    if report.is_intact() {
        println!("intact");
    } else {
        println!("NOT intact");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::sim::{Scratch, lines};

    #[test]
    fn times_of_the_command_line() {
        assert_eq!(
            parse_time("2026-11-23").unwrap().rfc3339(),
            "2026-11-23T00:00:00.000Z"
        );
        assert_eq!(
            parse_time("2026-11-23T02:13:00+01:00").unwrap().rfc3339(),
            "2026-11-23T01:13:00.000Z"
        );
        assert!(parse_time("yesterday").is_err());
    }

    fn shown(args: &ShowArgs) -> String {
        let mut out = Vec::new();
        show(args, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn shows_a_table_raw_lines_and_what_the_filters_leave() {
        let directory = Scratch::new("show");
        let grant = |number| GrantId(uuid::Uuid::from_u128(number));
        let time = |seconds: i64| Wall::from_seconds(1_795_996_800 + seconds);
        let written = lines(&[
            (time(0), Entry::Stopped {}),
            (time(1), Entry::Resumed { grant: grant(1) }),
            (time(2), Entry::Resumed { grant: grant(2) }),
        ]);
        std::fs::write(directory.0.join("2026-11.jsonl"), written.concat()).unwrap();
        let mut args = ShowArgs {
            directory: directory.0.clone(),
            json: false,
            grant: None,
            kinds: Vec::new(),
            since: None,
        };
        assert_eq!(shown(&args).lines().count(), 3);
        assert!(shown(&args).contains("      2  2026-11-30T00:00:01.000Z  resumed"));
        args.grant = Some(grant(2));
        let only = shown(&args);
        assert!(
            only.starts_with("      3 ") && only.lines().count() == 1,
            "{only}"
        );
        args.json = true;
        assert_eq!(shown(&args).as_bytes(), written[2]);
        args.grant = None;
        args.kinds = vec!["stopped".to_owned()];
        assert_eq!(shown(&args).as_bytes(), written[0]);
        args.kinds.clear();
        args.since = Some(time(1));
        assert_eq!(shown(&args).lines().count(), 2);
    }
}
