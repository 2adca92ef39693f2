//! `fanal check --cameras`: opens each camera once and prints a table that a
//! technician can act on.

use std::process::ExitCode;

use super::CheckArgs;
use crate::config::settings;

/// Tries the cameras and prints the table.
pub(super) fn run(_args: &CheckArgs, _settings: settings::Gateway) -> anyhow::Result<ExitCode> {
    todo!("config: waits for gateway::probe")
}
