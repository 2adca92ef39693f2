//! `fanal check`: validates either daemon's file, and tries cameras.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

/// `fanal check`
#[derive(Debug, Args)]
#[command(after_help = "Example:
  fanal check --config /etc/fanal/gateway.toml --cameras")]
pub struct CheckArgs {
    /// The daemon's file: gateway.toml or receiver.toml
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

/// Runs it.
///
/// # Errors
/// The file is wrong, or a camera failed.
pub fn run(_args: CheckArgs) -> anyhow::Result<ExitCode> {
    todo!("config")
}
