//! `fanal journal report`: a month for people, as a page to print, a table or JSON.

mod attested;
mod page;
mod words;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, anyhow};
use clap::{Args, ValueEnum};
use jiff::tz::TimeZone;

use self::words::Words;
use super::authorities;
use super::seal::{self, SignArgs};
use crate::commands::Usage;
use crate::commands::paper::Lang;
use crate::journal::report::{self, Public, Report};
use crate::journal::store::Month;
use crate::journal::verify::Options;

/// Arguments of `fanal journal report`.
#[derive(Debug, Args)]
pub(super) struct ReportArgs {
    /// The directory with the month files: state_dir/journal or a copy
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// The month, by UTC: 2026-11
    #[arg(long, value_name = "YYYY-MM", value_parser = month)]
    month: Month,
    /// A page to print, a table for a spreadsheet, or JSON
    #[arg(long, value_enum)]
    format: Format,
    /// The language of page and table
    #[arg(long, value_enum, default_value = "fr")]
    lang: Lang,
    /// The time zone of page and table
    #[arg(long, default_value = "Europe/Paris")]
    zone: String,
    /// Totals only, for everybody: no person, no incident, no count below five
    #[arg(long)]
    public: bool,
    /// A link or designation authority (PEM): also check whose keys signed; may be given several times
    #[arg(long = "authority", value_name = "FILE")]
    authorities: Vec<PathBuf>,
    /// Write to this file instead of stdout
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    sign: SignArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Html,
    Csv,
    Json,
}

pub(super) fn month(written: &str) -> Result<Month, String> {
    let month = Month::from_file_name(&format!("{written}.jsonl"));
    month.ok_or_else(|| "write it like 2026-11".to_owned())
}

/// Runs `fanal journal report`: exit status 1 where the journal is not intact.
pub(super) fn run(args: &ReportArgs) -> anyhow::Result<ExitCode> {
    let zone = TimeZone::get(&args.zone);
    let zone = zone.map_err(|error| Usage(format!("--zone {}: {error}", args.zone)))?;
    seal::needs_file(args.out.as_deref(), &args.sign)?;
    let signer = args.sign.signer()?;
    let options = Options {
        directory: args.directory.clone(),
        with: Vec::new(),
        authorities: authorities(&args.authorities)?,
        ..Options::default()
    };
    let report = report::report(&options, args.month).map_err(|cause| anyhow!(cause))?;
    let view = View {
        words: words::of(args.lang),
        zone,
    };
    let text = match (args.format, args.public) {
        (Format::Json, false) => json(&report)?,
        (Format::Json, true) => json(&Public::of(&report))?,
        (Format::Html, false) => page::page(&report, &view),
        (Format::Html, true) => page::public(&Public::of(&report), &view),
        (Format::Csv, false) => table(&report, &view)?,
        (Format::Csv, true) => public_table(&Public::of(&report), &view)?,
    };
    match &args.out {
        Some(path) => seal::write(path, text.as_bytes(), signer.as_ref())?,
        None => io::stdout().lock().write_all(text.as_bytes())?,
    }
    Ok(if report.verification.intact {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    })
}

fn json<T: serde::Serialize>(report: &T) -> anyhow::Result<String> {
    let mut text = serde_json::to_string_pretty(report)?;
    text.push('\n');
    Ok(text)
}

/// How things are said.
struct View {
    words: &'static Words,
    zone: TimeZone,
}

impl View {
    /// An RFC 3339 time in the zone; as it is where it is none.
    fn time(&self, text: &str) -> String {
        let Ok(time) = text.parse::<jiff::Timestamp>() else {
            return text.to_owned();
        };
        self.words.lang.time(time, &self.zone)
    }

    fn duration(seconds: u64) -> String {
        let (hours, minutes) = (seconds / 3_600, seconds / 60 % 60);
        match (hours, minutes) {
            (0, 0) => format!("{seconds} s"),
            (0, minutes) => format!("{minutes} min {:02} s", seconds % 60),
            (hours, minutes) => format!("{hours} h {minutes:02} min"),
        }
    }
}

/// A row for each grant. A byte order mark, so that spreadsheets read it as UTF-8.
fn table(report: &Report, view: &View) -> anyhow::Result<String> {
    let words = view.words;
    let mut rows: Vec<Vec<String>> = vec![
        words
            .columns
            .iter()
            .map(|word| (*word).to_owned())
            .collect(),
    ];
    for grant in &report.grants {
        let join = |texts: Vec<String>| texts.join("\n");
        let people = grant.operators.iter().map(|signed| {
            let operator = &signed.operator;
            format!("{} {} ({})", operator.number, operator.name, operator.unit)
        });
        let viewers = grant.viewings.iter().map(|viewing| {
            format!(
                "{} {} {} - {}",
                viewing.who,
                viewing.camera,
                view.time(&viewing.from),
                view.time(&viewing.to)
            )
        });
        let stills = grant.stills.iter().map(|still| {
            format!(
                "{} {} {}",
                still.snapshot,
                still.camera,
                view.time(&still.captured)
            )
        });
        let end = grant.end.as_ref();
        rows.push(vec![
            grant.grant.to_string(),
            grant.commune.clone(),
            grant.centre.clone(),
            join(people.collect()),
            words.ground(&grant.grounds).to_owned(),
            grant.incident.clone(),
            join(grant.present.iter().cloned().collect()),
            join(grant.cameras.iter().map(ToString::to_string).collect()),
            view.time(&grant.start),
            end.map_or_else(String::new, |end| view.time(&end.at)),
            end.map_or_else(String::new, |end| words.reason(end.reason).to_owned()),
            end.and_then(|end| end.by.clone()).unwrap_or_default(),
            grant.approved_by.clone().unwrap_or_default(),
            join(viewers.collect()),
            join(stills.collect()),
            grant
                .bytes
                .map_or_else(String::new, |bytes| bytes.to_string()),
        ]);
    }
    write_table(&rows, words)
}

fn public_table(public: &Public, view: &View) -> anyhow::Result<String> {
    let rows = page::public_rows(public, view.words);
    let rows: Vec<Vec<String>> = rows
        .into_iter()
        .map(|(name, value)| vec![name, value])
        .collect();
    write_table(&rows, view.words)
}

fn write_table(rows: &[Vec<String>], words: &Words) -> anyhow::Result<String> {
    let mut writer = csv::WriterBuilder::new()
        .delimiter(words.delimiter)
        .quote_style(csv::QuoteStyle::Always)
        .from_writer(Vec::new());
    for row in rows {
        writer.write_record(row.iter().map(|cell| harmless(cell)))?;
    }
    let bytes = writer.into_inner().map_err(|error| anyhow!("{error}"))?;
    let text = String::from_utf8(bytes).context("the table")?;
    Ok(format!("\u{feff}{text}"))
}

/// A cell that no spreadsheet takes for a formula: an apostrophe goes before each line that
/// begins like one.
fn harmless(cell: &str) -> String {
    let lines = cell.split('\n').map(|line| {
        let begins = line.trim_start().chars().next();
        let runs = begins.is_some_and(|first| "=+-@|%＝＋－＠".contains(first));
        if runs || line.starts_with(['\t', '\r']) {
            format!("'{line}")
        } else {
            line.to_owned()
        }
    });
    lines.collect::<Vec<String>>().join("\n")
}

#[cfg(test)]
mod tests;
