//! Programs from outside: players and encoders.

use std::io::Write as _;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

/// Longest run of a program.
const PATIENCE: Duration = Duration::from_secs(60);

/// Says on the terminal that a test is skipped, past what the harness captures: it passes,
/// and of those that pass nothing is shown. `tests/skipped.rs` counts the notes at the end.
pub fn skipped(why: std::fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stderr(), "skipped: {why}");
    let name = format!("skipped-{}", std::os::unix::process::parent_id());
    let notes = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let notes = std::fs::File::options()
        .create(true)
        .append(true)
        .open(notes);
    // One write, so that notes of tests beside it do not mix.
    notes
        .unwrap()
        .write_all(format!("{why}\n").as_bytes())
        .unwrap();
}

/// Whether `program` is there. Where it is not, the test says that it is skipped,
/// and fails where nothing may be skipped (`CI`).
pub fn have(program: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&paths).any(|path| path.join(program).is_file());
    if !found {
        assert!(std::env::var_os("CI").is_none(), "{program} not found");
        skipped(format_args!("{program} not found"));
    }
    found
}

/// What a program wrote and whether it succeeded.
pub struct Ran {
    pub stdout: Vec<u8>,
    pub stderr: String,
    pub success: bool,
}

/// Runs a program to its end.
pub async fn run(program: &str, arguments: &[&str]) -> Ran {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = timeout(PATIENCE, output)
        .await
        .unwrap_or_else(|_| panic!("{program} {arguments:?} did not end"))
        .unwrap();
    Ran {
        stdout: output.stdout,
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        success: output.status.success(),
    }
}
