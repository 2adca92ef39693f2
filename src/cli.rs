//! The command line: one binary, one file in [`crate::commands`] for each command.
//!
//! Exit status: 0 done, 1 failed or refused, 2 wrong usage or settings. Data
//! goes to stdout, logs to stderr.

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::commands;
use crate::commands::logs::{self, LogFormat};

/// On-demand video relay between a commune's cameras and an operations centre.
///
/// Nothing is relayed without a signed request that the commune's own machine
/// has checked and written down.
#[derive(Debug, Parser)]
#[command(name = "fanal", version, propagate_version = true, after_help = EXAMPLE)]
#[command(arg_required_else_help = true, max_term_width = 100)]
struct Cli {
    /// What to log on stderr: error, warn, info, debug, trace, or a filter such
    /// as fanal=debug,retina=warn [default: RUST_LOG, else info for daemons and warn for the rest]
    #[arg(
        long,
        global = true,
        value_name = "LEVEL",
        help_heading = "Logs",
        display_order = 900
    )]
    log: Option<String>,
    /// How logs are written
    #[arg(long, global = true, value_name = "FORMAT", value_enum, default_value_t = LogFormat::Text, help_heading = "Logs", display_order = 901)]
    log_format: LogFormat,
    #[command(subcommand)]
    command: Command,
}

const EXAMPLE: &str = "Example: see it all on this machine, nothing to set up:
  fanal demo

Exit status: 0 done, 1 failed or refused, 2 wrong usage or settings.";

// Each builder of a command adds its line here and in `run`.
#[derive(Debug, Subcommand)]
enum Command {
    /// Make authorities, certificates and revocation lists
    Certs(commands::certs::CertsArgs),
    /// Check a daemon's settings, and with --cameras each camera
    Check(commands::check::CheckArgs),
    /// Ask a commune for cameras, as an operator; prints the grant as JSON
    Request(commands::request::RequestArgs),
    /// Carry a live grant on, also a colleague's
    Renew(commands::renew::RenewArgs),
    /// End a grant before its time
    Release(commands::release::ReleaseArgs),
    /// Show a centre's communes and the unit's live grants
    Status(commands::status::StatusArgs),
    /// Show the cameras that the operator may ask for
    Cameras(commands::cameras::CamerasArgs),
    /// Serve the operator's page on this machine, which holds the key and shows what it signs
    Console(commands::console::ConsoleArgs),
    /// Run a commune's daemon: checks requests, relays cameras
    Gateway(commands::gateway::GatewayArgs),
    /// Run a centre's daemon: takes requests, serves pictures to players
    Receiver(commands::receiver::ReceiverArgs),
    /// At the commune: show what is relayed, to whom and why
    Relays(commands::relays::RelaysArgs),
    /// At the commune: end relays at once and refuse the same for a time
    Cut(commands::cut::CutArgs),
    /// At the commune: lift a cut
    Allow(commands::allow::AllowArgs),
    /// At the commune: grant a request that waits for approval
    Approve(commands::approve::ApproveArgs),
    /// At the commune: refuse a request that waits for approval
    Refuse(commands::approve::RefuseArgs),
    /// Write the annexes that a commune must file, from its settings
    Dossier(commands::dossier::DossierArgs),
    /// Have a running daemon read its settings again, and say whether it took them
    Reload(commands::reload::ReloadArgs),
    /// Ask a daemon how it is, as a plugin of Nagios, Icinga or Centreon
    Probe(commands::probe::ProbeArgs),
    /// Show or verify a journal or a copy of one
    Journal(commands::journal::JournalArgs),
    /// The whole thing on this machine: cameras, commune, centre and operator
    Demo(commands::demo::DemoArgs),
    /// Write man pages and completions, for packages
    #[command(hide = true)]
    Generate(commands::generate::GenerateArgs),
    /// Simulated RTSP cameras for trials and load
    Simulate(commands::simulate::SimulateArgs),
}

impl Command {
    /// Daemons tell what they do; other commands speak on stdout.
    fn default_level(&self) -> &'static str {
        match self {
            Self::Gateway(_) | Self::Receiver(_) => "info",
            _ => "warn",
        }
    }

    fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Certs(args) => commands::certs::run(args),
            Self::Check(args) => commands::check::run(args),
            Self::Request(args) => commands::request::run(args),
            Self::Renew(args) => commands::renew::run(args),
            Self::Release(args) => commands::release::run(args),
            Self::Status(args) => commands::status::run(args),
            Self::Cameras(args) => commands::cameras::run(args),
            Self::Console(args) => commands::console::run(args),
            Self::Gateway(args) => commands::gateway::run(args),
            Self::Receiver(args) => commands::receiver::run(args),
            Self::Relays(args) => commands::relays::run(args),
            Self::Cut(args) => commands::cut::run(args),
            Self::Allow(args) => commands::allow::run(args),
            Self::Approve(args) => commands::approve::approve(args),
            Self::Refuse(args) => commands::approve::refuse(args),
            Self::Dossier(args) => commands::dossier::run(args),
            Self::Reload(args) => commands::reload::run(args),
            Self::Probe(args) => commands::probe::run(args),
            Self::Journal(args) => commands::journal::run(args),
            Self::Generate(args) => commands::generate::run(&args, Cli::command()),
            Self::Demo(args) => commands::demo::run(args),
            Self::Simulate(args) => commands::simulate::run(args),
        }
    }
}

/// Parses the command line and runs the command.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors; clap writes them to stdout.
            let status = if error.use_stderr() { 2 } else { 0 };
            let _ = error.print();
            return ExitCode::from(status);
        }
    };
    let level = cli.command.default_level();
    let started = logs::start(cli.log.as_deref(), level, cli.log_format);
    match started.and_then(|()| cli.command.run()) {
        Ok(status) => status,
        Err(error) => logs::failed(&error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_an_example() {
        let mut waiting: Vec<clap::Command> = vec![Cli::command()];
        while let Some(command) = waiting.pop() {
            let leaf = !command.has_subcommands();
            let help = command.get_after_help().map(ToString::to_string);
            assert!(
                !leaf || help.is_some_and(|help| help.contains("fanal ")),
                "{} has no example in after_help",
                command.get_name()
            );
            waiting.extend(command.get_subcommands().cloned());
        }
    }
}
