//! Logs on stderr: for people, as JSON, or for systemd's journal.

use std::fmt;
use std::io::IsTerminal;
use std::process::ExitCode;

use anyhow::anyhow;
use clap::ValueEnum;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{self, FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::{FmtContext, SubscriberBuilder};
use tracing_subscriber::registry::LookupSpan;

use super::Usage;

/// How logs are written.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts them. `level` is what the command line says, then `RUST_LOG`, then `default`.
///
/// # Errors
/// The level is not understood.
pub fn start(level: Option<&str>, default: &str, how: LogFormat) -> anyhow::Result<()> {
    let filter = match (level, std::env::var("RUST_LOG")) {
        (Some(level), _) => EnvFilter::try_new(level),
        (None, Ok(level)) if !level.is_empty() => EnvFilter::try_new(level),
        (None, _) => EnvFilter::try_new(default),
    }
    .map_err(|error| Usage(format!("log level not understood: {error}")))?;
    let logs = SubscriberBuilder::default()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let started = match (how, to_systemd()) {
        (LogFormat::Text, false) => logs.try_init(),
        (LogFormat::Json, false) => logs.json().try_init(),
        // systemd's journal has a time and a priority of its own.
        (LogFormat::Text, true) => logs
            .event_format(Prioritised(
                format::format().without_time().with_ansi(false),
            ))
            .try_init(),
        (LogFormat::Json, true) => logs
            .fmt_fields(format::JsonFields::new())
            .event_format(Prioritised(format::format().json()))
            .try_init(),
    };
    started.map_err(|error| anyhow!("logs can't be started: {error}"))
}

/// Says why a command failed; its exit status.
#[allow(clippy::print_stderr)]
pub fn failed(error: &anyhow::Error) -> ExitCode {
    let priority = if to_systemd() { "<3>" } else { "" };
    for line in format!("fanal: {error:#}").lines() {
        eprintln!("{priority}{line}");
    }
    let usage = error.chain().any(|cause| cause.is::<Usage>());
    ExitCode::from(if usage { 2 } else { 1 })
}

/// Whether stderr is a stream of systemd's journal (`$JOURNAL_STREAM`: device and inode,
/// systemd.exec(5)), and not another that a child of a unit inherited the variable for.
fn to_systemd() -> bool {
    let Ok(named) = std::env::var("JOURNAL_STREAM") else {
        return false;
    };
    let stream = rustix::fs::fstat(std::io::stderr());
    stream.is_ok_and(|stream| named == format!("{}:{}", stream.st_dev, stream.st_ino))
}

/// Lines that begin with their priority, as systemd takes them (sd-daemon(3)).
struct Prioritised<F>(F);

impl<S, N, F> FormatEvent<S, N> for Prioritised<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        write!(writer, "<{}>", priority(*event.metadata().level()))?;
        self.0.format_event(context, writer, event)
    }
}

/// The priority of syslog (RFC 5424, table 2).
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_for_systemd_have_a_priority_and_no_time() {
        let kept = Kept::default();
        let writer = kept.clone();
        let logs = SubscriberBuilder::default()
            .with_max_level(Level::TRACE)
            .with_writer(move || writer.clone())
            .event_format(Prioritised(
                format::format().without_time().with_ansi(false),
            ))
            .finish();
        tracing::subscriber::with_default(logs, || {
            tracing::error!(camera = "port", "lost");
            tracing::warn!("late");
            tracing::info!("started");
            tracing::debug!("seen");
        });
        let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("<3>ERROR ") && lines[0].ends_with("lost camera=\"port\""));
        for (line, start) in lines[1..]
            .iter()
            .zip(["<4> WARN ", "<6> INFO ", "<7>DEBUG "])
        {
            assert!(line.starts_with(start), "{line}");
        }
    }
}
