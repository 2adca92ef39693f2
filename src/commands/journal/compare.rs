//! `fanal journal compare`: journals of both sides against each other.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::anyhow;
use clap::Args;

use super::authorities;
use crate::format::note::VerifierKey;
use crate::journal::compare::{self, Checked, MEMORY_LIMIT, Options, Report, Verdict};

/// How often the progress is shown.
const SHOWN_EVERY: Duration = Duration::from_millis(200);

/// Arguments of `fanal journal compare`.
#[derive(Debug, Args)]
pub(super) struct CompareArgs {
    /// Directories with month files, in any order: journals or copies, of either side; all of
    /// a centre that has several receivers
    #[arg(value_name = "DIR", num_args = 2.., required = true)]
    directories: Vec<PathBuf>,
    /// A link or designation authority (PEM): also check whose keys signed; may be given several times
    #[arg(long = "authority", value_name = "FILE")]
    authorities: Vec<PathBuf>,
    /// A witness's verifier key: the checkpoints that it cosigned must fit; may be given several times
    #[arg(long = "witness", value_name = "VKEY", value_parser = super::witness)]
    witnesses: Vec<VerifierKey>,
    /// Print verdict, findings and what was checked as JSON
    #[arg(long)]
    json: bool,
}

/// Runs `fanal journal compare`.
pub(super) fn run(args: &CompareArgs) -> anyhow::Result<ExitCode> {
    let options = Options {
        directories: args.directories.clone(),
        authorities: authorities(&args.authorities)?,
        witnesses: args.witnesses.clone(),
        memory: MEMORY_LIMIT,
    };
    let report = with_progress(&options).map_err(|cause| anyhow!(cause))?;
    let mut out = io::stdout().lock();
    if args.json {
        serde_json::to_writer_pretty(&mut out, &report)?;
        writeln!(out)?;
    } else {
        out.write_all(told(&report).as_bytes())?;
    }
    Ok(match report.verdict {
        Verdict::Consistent | Verdict::UnwitnessedTail => ExitCode::SUCCESS,
        Verdict::Contradiction => ExitCode::from(1),
    })
}

/// Compares, and shows on a terminal how far it came.
fn with_progress(options: &Options) -> Result<Report, String> {
    let read = AtomicU64::new(0);
    if !io::stderr().is_terminal() {
        return compare::compare(options, &read);
    }
    let total: u64 = options.directories.iter().map(size).sum();
    let (done, waits) = mpsc::sync_channel::<()>(1);
    let report = std::thread::scope(|scope| {
        let read = &read;
        scope.spawn(move || {
            while let Err(mpsc::RecvTimeoutError::Timeout) = waits.recv_timeout(SHOWN_EVERY) {
                let line = bar(read.load(Ordering::Relaxed), total);
                let _ = write!(io::stderr(), "\r{line}");
            }
        });
        let report = compare::compare(options, read);
        drop(done);
        report
    });
    let _ = write!(io::stderr(), "\r{}\r", " ".repeat(60));
    report
}

fn size(directory: &PathBuf) -> u64 {
    let files = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let sizes = files.filter_map(|file| file.metadata().ok());
    sizes.map(|file| file.len()).sum()
}

/// A progress bar. Journals too large for one pass are read again: it begins again.
fn bar(read: u64, total: u64) -> String {
    let total = total.max(1);
    let (round, read) = (read / total, read % total);
    let filled = usize::try_from(read * 30 / total).unwrap_or(30).min(30);
    let again = match round {
        0 => String::new(),
        round => format!(", pass {}", round + 1),
    };
    format!(
        "[{}{}] {:>3} %{again}",
        "#".repeat(filled),
        " ".repeat(30 - filled),
        read * 100 / total
    )
}

/// For a person.
fn told(report: &Report) -> String {
    let mut lines: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
    if report.more > 0 {
        lines.push(format!("and {} more", report.more));
    }
    for journal in &report.checked.journals {
        lines.push(format!(
            "{} journal {}: lines {} to {}, witnessed to {}{}{}",
            journal.owner.as_deref().unwrap_or("(owner not known)"),
            journal.id.as_deref().unwrap_or("(id left out)"),
            journal.first,
            journal.last,
            journal.witnessed,
            match journal.cosigned {
                0 => String::new(),
                line => format!(", cosigned to {line}"),
            },
            if journal.copies > 1 {
                format!(", {} copies", journal.copies)
            } else {
                String::new()
            }
        ));
    }
    let Checked {
        lines: read,
        without_body,
        statements,
        heads,
        checkpoints,
        grants,
        viewings,
        stills,
        ..
    } = report.checked;
    lines.push(format!(
        "{read} lines ({without_body} without body), {statements} signed statements, {heads} heads and {checkpoints} checkpoints compared; \
         with both sides: {grants} grants and renewals, {viewings} viewings, {stills} stills"
    ));
    lines.extend(report.notes.iter().cloned());
    let keys = match report.checked.machines_proven {
        true => "",
        false => ", keys not checked",
    };
    lines.push(match report.verdict {
        Verdict::Consistent => format!("consistent{keys}"),
        Verdict::UnwitnessedTail => {
            format!("consistent as far as heads and cosignatures cover; some of the rest is unwitnessed{keys}")
        }
        Verdict::Contradiction => format!("CONTRADICTION{keys}"),
    });
    lines.push(String::new());
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_shows_how_far_it_came() {
        assert!(bar(0, 0).starts_with("[ "));
        assert!(
            bar(50, 100).contains("###############    "),
            "{}",
            bar(50, 100)
        );
        assert!(bar(50, 100).ends_with(" 50 %"));
        assert!(bar(150, 100).ends_with(" 50 %, pass 2"));
    }
}
