//! `fanal journal export`: what an inspector takes away (CSI L253-3): a transcript to read, and
//! the signed original that proves it.

mod words;

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, anyhow};
use clap::Args;
use jiff::tz::TimeZone;

use self::words::Words;
use super::authorities;
use super::report;
use super::seal::{self, SignArgs};
use crate::clock::{Clock, Wall};
use crate::commands::Usage;
use crate::commands::paper::{Lang, head, row, table_head, text};
use crate::journal::entry::Entry;
use crate::journal::export::{self, Kept, Part, Selector};
use crate::journal::reader;
use crate::journal::store::{Disk, Month, Store as _};
use crate::journal::verify::{self, Report};

/// Findings in the transcript; `fanal journal verify` names them all.
const FINDINGS_SHOWN: usize = 50;

/// Arguments of `fanal journal export`.
#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    /// The directory with the month files: state_dir/journal or a copy
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// The directory to make: transcript.html, journal/, certificates.pem and how to verify them
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// From this month on, by UTC: 2026-11
    #[arg(long, value_name = "YYYY-MM", value_parser = report::month)]
    from: Option<Month>,
    /// To this month, inclusive
    #[arg(long, value_name = "YYYY-MM", value_parser = report::month)]
    until: Option<Month>,
    /// Only what concerns this centre (in a commune's journal) or commune (in a centre's)
    #[arg(long, value_name = "ID")]
    only: Option<String>,
    /// The language of the transcript
    #[arg(long, value_enum, default_value = "fr")]
    lang: Lang,
    /// The time zone of the transcript
    #[arg(long, default_value = "Europe/Paris")]
    zone: String,
    /// A link or designation authority (PEM): also check whose keys signed, and put it beside; may be given several times
    #[arg(long = "authority", value_name = "FILE")]
    authorities: Vec<PathBuf>,
    #[command(flatten)]
    sign: SignArgs,
}

/// Runs `fanal journal export`: exit status 1 where the journal is not intact.
pub(super) fn run(args: &ExportArgs) -> anyhow::Result<ExitCode> {
    let zone = TimeZone::get(&args.zone);
    let zone = zone.map_err(|error| Usage(format!("--zone {}: {error}", args.zone)))?;
    let signer = args.sign.signer()?;
    let options = verify::Options {
        directory: args.directory.clone(),
        with: Vec::new(),
        authorities: authorities(&args.authorities)?,
        witnesses: Vec::new(),
    };
    let found = verify::verify(&options).map_err(|cause| anyhow!(cause))?;
    let shown = args.out.display().to_string();
    std::fs::create_dir(&args.out)
        .with_context(|| format!("{shown}: name a directory that is not there yet"))?;
    let journal = args.out.join("journal");
    std::fs::create_dir(&journal).with_context(|| shown.clone())?;
    let view = View {
        words: words::of(args.lang),
        zone,
    };
    let part = Part {
        from: args.from,
        until: args.until,
        only: args.only.clone(),
    };
    let transcript = args.out.join("transcript.html");
    let certificates = copy(args, &journal, &transcript, part, &found, &view)?;
    let file = |name: &str| args.out.join(name);
    std::fs::write(file("certificates.pem"), certificates.join("\n"))
        .with_context(|| shown.clone())?;
    for (index, authority) in args.authorities.iter().enumerate() {
        let to = file(&authority_name(index));
        std::fs::copy(authority, &to).with_context(|| to.display().to_string())?;
    }
    let (read_me, said) = (file(view.words.read_me), view.read_me(args));
    std::fs::write(&read_me, said).with_context(|| shown.clone())?;
    if let Some(signer) = &signer {
        let written = std::fs::read(&transcript).with_context(|| shown.clone())?;
        seal::write(&transcript, &written, Some(signer))?;
    }
    println!("{shown}: {}", view.words.read_me);
    Ok(if found.is_intact() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    })
}

fn authority_name(index: usize) -> String {
    format!("authority-{}.pem", index + 1)
}

/// Writes the copy and, of what it keeps, the transcript; the machines' certificates in it.
fn copy(
    args: &ExportArgs,
    journal: &Path,
    transcript: &Path,
    part: Part,
    found: &Report,
    view: &View,
) -> anyhow::Result<Vec<String>> {
    let name = args.directory.display().to_string();
    let mut store = Disk::existing(&args.directory).with_context(|| name.clone())?;
    let shown = transcript.display().to_string();
    let mut page = BufWriter::new(File::create(transcript).with_context(|| shown.clone())?);
    page.write_all(view.begin(args, found).as_bytes())?;
    let mut selector = Selector::new(part);
    let mut certificates: Vec<String> = Vec::new();
    for month in store.months().with_context(|| name.clone())? {
        let path = journal.join(month.file_name());
        let file = File::create(&path).with_context(|| path.display().to_string())?;
        let mut out = BufWriter::new(file);
        let told = |kept: &Kept<'_>| {
            if let Some(Entry::Started { certificate, .. }) = kept.entry
                && !certificates.contains(certificate)
            {
                certificates.push(certificate.clone());
            }
            if kept.is_wanted {
                page.write_all(view.line(kept).as_bytes())?;
            }
            Ok(())
        };
        let done = export::month(&mut store, month, &mut selector, &mut out, told);
        done.and_then(|()| out.flush())
            .with_context(|| month.file_name())?;
    }
    page.write_all(b"</tbody></table></section></body></html>\n")?;
    page.flush().with_context(|| shown)?;
    Ok(certificates)
}

/// How things are said.
struct View {
    words: &'static Words,
    zone: TimeZone,
}

impl View {
    fn time(&self, time: Wall) -> String {
        let Ok(time) = jiff::Timestamp::from_microsecond(time.0) else {
            return String::new();
        };
        self.words.lang.time(time, &self.zone)
    }

    /// The transcript up to its first line.
    fn begin(&self, args: &ExportArgs, found: &Report) -> String {
        let words = self.words;
        let mut html = head(words.lang, &[words.title]);
        let _ = write!(
            html,
            "<header><h1>{}</h1></header><section><table>",
            text(words.title)
        );
        let open = |month: Option<Month>| month.map_or_else(|| "…".to_owned(), |m| m.to_string());
        row(
            &mut html,
            words.period,
            &format!("{} – {}", open(args.from), open(args.until)),
        );
        if let Some(only) = &args.only {
            row(&mut html, words.only, only);
        }
        row(
            &mut html,
            words.made,
            &self.time(Clock::system().now().wall),
        );
        row(
            &mut html,
            words.zone,
            self.zone.iana_name().unwrap_or("UTC"),
        );
        for journal in &found.journals {
            let id = journal.id.as_deref().unwrap_or("-");
            let said = format!("{id}\n{} {}\n{}", words.last, journal.seq, journal.link);
            row(&mut html, words.journal, &said);
            if journal.pruned > 0 {
                let said = format!("1 – {}", journal.pruned);
                row(&mut html, words.pruned, &said);
            }
        }
        html.push_str("</table>");
        let (class, said) = if found.is_intact() {
            ("good", words.intact)
        } else {
            ("bad", words.not_intact)
        };
        let _ = write!(html, "<p class=\"{class}\">{}</p>", text(said));
        if !found.is_intact() {
            html.push_str("<ul>");
            for finding in found.findings.iter().take(FINDINGS_SHOWN) {
                let _ = write!(html, "<li>{}</li>", text(&finding.to_string()));
            }
            html.push_str("</ul>");
        }
        let _ = write!(
            html,
            "<p>{}</p><pre>{}</pre></section><section class=\"lines\"><h2>{}</h2>",
            text(words.verify),
            text(&command(args)),
            text(words.lines)
        );
        table_head(
            &mut html,
            &[words.number, words.when, words.what, words.detail],
        );
        html
    }

    /// A line of the transcript.
    fn line(&self, kept: &Kept<'_>) -> String {
        let kind = reader::frame(kept.body)
            .map(|frame| frame.kind)
            .unwrap_or_default();
        let body: serde_json::Value = serde_json::from_slice(kept.body).unwrap_or_default();
        let mut detail = Vec::new();
        self.flatten(&body, "", &mut detail);
        let header = &kept.line.header;
        format!(
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            header.seq,
            text(&self.time(header.time)),
            text(self.words.kind(&kind)),
            text(&detail.join(" · ")),
        )
    }

    /// The members of a body as a person reads them; signed statements are in the original.
    fn flatten(&self, value: &serde_json::Value, name: &str, detail: &mut Vec<String>) {
        use serde_json::Value;
        match value {
            Value::Object(members) => {
                for (member, value) in members {
                    if !words::LEFT_TO_THE_ORIGINAL.contains(&member.as_str()) {
                        self.flatten(value, member, detail);
                    }
                }
            }
            Value::Array(items) if items.iter().any(Value::is_object) => {
                for item in items {
                    let mut parts = Vec::new();
                    self.flatten(item, name, &mut parts);
                    detail.push(format!("– {}", parts.join(", ")));
                }
            }
            Value::Null => {}
            Value::Array(items) if items.is_empty() => {}
            other => detail.push(format!(
                "{}{}{}",
                self.words.field(name),
                self.words.lang.colon(),
                self.value(name, other)
            )),
        }
    }

    fn value(&self, name: &str, value: &serde_json::Value) -> String {
        use serde_json::Value;
        match value {
            Value::String(said) => match name {
                "grounds" => self.words.lang.ground(said).to_owned(),
                "reason" => self.words.lang.reason_of(said).to_owned(),
                _ => said.parse::<jiff::Timestamp>().map_or_else(
                    |_| said.clone(),
                    |time| self.time(Wall(time.as_microsecond())),
                ),
            },
            Value::Bool(is_so) => self.words.yes_or_no[usize::from(*is_so)].to_owned(),
            Value::Array(items) => {
                let items: Vec<String> = items.iter().map(|item| self.value("", item)).collect();
                items.join(", ")
            }
            Value::Number(number) if words::TIMES.contains(&name) => {
                let seconds = number.as_i64().unwrap_or(0);
                self.time(Wall::from_seconds(seconds))
            }
            other => other.to_string(),
        }
    }

    fn read_me(&self, args: &ExportArgs) -> String {
        let words = self.words;
        let signed = match args.sign.is_given() {
            true => format!(
                "\n{}\n\n    fanal journal verify-report transcript.html\n",
                words.signed
            ),
            false => String::new(),
        };
        format!(
            "{}\n\n{}\n\n    {}\n{signed}",
            words.about,
            words.verify,
            command(args)
        )
    }
}

/// The one command that verifies the copy, in its directory.
fn command(args: &ExportArgs) -> String {
    let mut command = "fanal journal verify journal".to_owned();
    for index in 0..args.authorities.len() {
        let _ = write!(command, " --authority {}", authority_name(index));
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::reader::KINDS;

    #[test]
    fn every_kind_is_said_in_both_languages() {
        for lang in [Lang::Fr, Lang::En] {
            let words = words::of(lang);
            for kind in KINDS {
                assert_ne!(words.kind(kind), *kind, "{kind}");
            }
            assert_eq!(words.kind("marvel"), "marvel");
        }
    }

    #[test]
    fn a_body_is_said_without_its_statements() {
        let view = View {
            words: words::of(Lang::Fr),
            zone: TimeZone::get("Europe/Paris").unwrap(),
        };
        let body = serde_json::json!({
            "v": 1, "salt": "00", "kind": "grant", "request": "eyJ.SECRET", "start": 1_796_076_000,
            "operator": {"name": "Adjudant <b>", "number": "13-1", "unit": "CORG 13"},
            "granted": ["quai-nord", "mairie"], "refused": [{"camera": "ecole", "reason": "x"}],
            "renewal": false, "approved_by": null, "recipients": [], "grounds": "fire",
            "at": "2026-11-30T22:00:00.000Z",
        });
        let mut detail = Vec::new();
        view.flatten(&body, "", &mut detail);
        let said = detail.join("|");
        assert!(
            said.contains("Adjudant <b>") && said.contains("quai-nord, mairie"),
            "{said}"
        );
        assert!(
            said.contains("30/11/2026 23:00:00") && said.contains("– "),
            "{said}"
        );
        assert!(said.contains("incendie") && said.contains("non"), "{said}");
        for not in ["2026-11-30T", "SECRET", "salt", "null", "recipients"] {
            assert!(!said.contains(not), "{said}");
        }
    }
}
