//! `fanal journal prune`: removes the oldest month of a journal whose time is over.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::anyhow;
use clap::Args;

use crate::clock::Clock;
use crate::commands::Usage;
use crate::config::{self, Daemon, Disk, settings};
use crate::format::jws::Signer;
use crate::format::keep::Keep;
use crate::journal::log::Offline;
use crate::journal::retention::Outcome;
use crate::policy::peer::clock_guard::is_plausible;

/// Arguments of `fanal journal prune`.
#[derive(Debug, Args)]
pub(super) struct PruneArgs {
    /// The directory with the month files: state_dir/journal or a copy
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// How old an entry may become: 6 to 36 months. Default: that of --config, else 36 months
    #[arg(long, value_name = "MONTHS")]
    keep: Option<Keep>,
    /// The settings of the journal's owner, gateway.toml or receiver.toml: whose key signs, and how long to keep
    #[arg(long, value_name = "FILE", conflicts_with_all = ["key", "certificate"])]
    config: Option<PathBuf>,
    /// Instead of --config: the owner's key (PEM)
    #[arg(long, value_name = "FILE", requires = "certificate")]
    key: Option<PathBuf>,
    /// And its certificate chain (PEM)
    #[arg(long, value_name = "FILE", requires = "key")]
    certificate: Option<PathBuf>,
    /// Every month whose time is over, not one a day
    #[arg(long)]
    all: bool,
}

/// Runs `fanal journal prune`: exit status 1 where a month must stay although its time is over.
pub(super) fn run(args: &PruneArgs) -> anyhow::Result<ExitCode> {
    let of_file = args.config.as_deref().map(of_file).transpose()?;
    let (key, certificate, keep) = match &of_file {
        Some((tls, keep, _)) => (Some(&tls.key), Some(&tls.certificate), Some(*keep)),
        None => (args.key.as_ref(), args.certificate.as_ref(), None),
    };
    let keep = args.keep.or(keep).unwrap_or_default();
    let clock = Clock::system();
    loop {
        let done = Offline {
            directory: args.directory.clone(),
            keep,
            at_once: args.all,
            witnessed: of_file.as_ref().is_some_and(|(_, _, witnessed)| *witnessed),
            signer: key
                .zip(certificate)
                .map(|(key, chain)| signer(key, chain))
                .transpose()?,
            clock: clock.clone(),
        };
        let now = clock.now();
        let done = done.prune(|newest| is_plausible(newest, now));
        match done.map_err(|cause| anyhow!(cause))? {
            Outcome::Nothing => {
                println!("every month is younger than {keep}");
                return Ok(ExitCode::SUCCESS);
            }
            Outcome::Wait => {
                println!(
                    "a month was removed within the last day: the next one tomorrow, or now with --all"
                );
                return Ok(ExitCode::SUCCESS);
            }
            Outcome::Held { month, why } => {
                println!("{month} stays, though its time is over: {why}");
                return Ok(ExitCode::from(1));
            }
            Outcome::Removed { month, lines } => println!("{month} removed: {lines} lines"),
        }
        if !args.all {
            return Ok(ExitCode::SUCCESS);
        }
    }
}

/// Key, certificate and retention of a daemon's file, and whether it names witnesses.
fn of_file(path: &Path) -> anyhow::Result<(settings::Tls, Keep, bool)> {
    let disk = Disk::reading();
    let wrong = |errors: config::Errors| Usage(errors.to_string());
    Ok(match config::detect(path, &disk).map_err(wrong)? {
        Daemon::Gateway => {
            let settings = config::load_gateway_from(path, &disk)
                .map_err(wrong)?
                .settings;
            let witnessed = !settings.witnesses.is_empty();
            (settings.tls, settings.keep, witnessed)
        }
        Daemon::Receiver => {
            let settings = config::load_receiver_from(path, &disk)
                .map_err(wrong)?
                .settings;
            let witnessed = !settings.witnesses.is_empty();
            (settings.tls, settings.keep, witnessed)
        }
    })
}

/// Who signs, from files.
pub(super) fn signer(key: &Path, certificate: &Path) -> anyhow::Result<Signer> {
    let read = |path: &Path| {
        let text = std::fs::read_to_string(path);
        text.map_err(|error| Usage(format!("{}: {error}", path.display())))
    };
    let (text, chain) = (crate::secret::Secret::new(read(key)?), read(certificate)?);
    let made = Signer::from_pem(text.expose(), &chain);
    Ok(made.map_err(|cause| Usage(format!("{}: {cause}", key.display())))?)
}
