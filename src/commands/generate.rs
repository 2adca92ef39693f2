//! `fanal generate`: man pages and completions, for packages.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Command};
use clap_complete::Shell;

/// `fanal generate`
#[derive(Debug, Args)]
#[command(after_help = "Example: what a package installs
  fanal generate --dir target/package

It writes man/fanal.1 and a page for each command, and completions/ for bash, zsh and fish.")]
pub struct GenerateArgs {
    /// Where to write; made where it is missing
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
}

/// Writes a page for every command of `command`, and completions for each shell.
///
/// # Errors
/// The directory can't be written.
pub fn run(args: &GenerateArgs, mut command: Command) -> anyhow::Result<ExitCode> {
    let (man, completions) = (args.dir.join("man"), args.dir.join("completions"));
    for directory in [&man, &completions] {
        std::fs::create_dir_all(directory)
            .with_context(|| format!("making {}", directory.display()))?;
    }
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut command, "fanal", &completions)
            .with_context(|| format!("writing into {}", completions.display()))?;
    }
    command.build();
    pages(&command, "fanal", &man)?;
    Ok(ExitCode::SUCCESS)
}

fn pages(command: &Command, name: &str, directory: &Path) -> anyhow::Result<()> {
    let path = directory.join(format!("{name}.1"));
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone().display_name(name.to_owned()))
        .title(name.to_uppercase())
        .source(format!("fanal {}", env!("CARGO_PKG_VERSION")))
        .manual("fanal")
        .render(&mut page)?;
    std::fs::write(&path, page).with_context(|| format!("writing {}", path.display()))?;
    let below = command.get_subcommands();
    for below in below.filter(|below| below.get_name() != "help" && !below.is_hide_set()) {
        pages(below, &format!("{name}-{}", below.get_name()), directory)?;
    }
    Ok(())
}
