//! `fanal certs`: authorities, certificates and revocation lists.
#![allow(clippy::print_stdout)]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Subcommand, ValueEnum};

use super::Usage;
use crate::certs::Error;
use crate::certs::authority::{Kind, Person};
use crate::certs::files::Directory;
use crate::clock::{Clock, Wall};
use crate::config::values::parse_duration;

/// Arguments of `fanal certs`.
#[derive(Debug, Args)]
pub struct CertsArgs {
    #[command(subcommand)]
    command: CertsCommand,
}

#[derive(Debug, Subcommand)]
enum CertsCommand {
    /// Make the authorities and their first, empty revocation lists
    #[command(
        after_help = "Example: each authority on its own machine, in its own hands:
  fanal certs init --dir link --only link
  fanal certs init --dir designation --only designation"
    )]
    Init {
        #[command(flatten)]
        dir: DirArgs,
        /// Make only this authority
        #[arg(long, value_name = "AUTHORITY")]
        only: Option<Which>,
        #[command(flatten)]
        life: LifeArgs,
    },
    /// Make a gateway's certificate and key; ID is the commune's id
    #[command(after_help = "Example:
  fanal certs gateway berre-l-etang --dir certs")]
    Gateway(MachineArgs),
    /// Make a receiver's certificate and key; ID is the centre's id
    #[command(after_help = "Example:
  fanal certs receiver corg-13 --dir certs")]
    Receiver(MachineArgs),
    /// Designate an operator: a certificate for a short time, and a key or --csr
    #[command(
        after_help = "Example: the operator's machine makes the key and keeps it
  openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -subj / -keyout 13-4567.key -out 13-4567.csr
  fanal certs operator 13-4567 --name \"Adjudant Martin\" --unit \"CORG 13\" --for 7d --csr 13-4567.csr --dir certs"
    )]
    Operator(OperatorArgs),
    /// Revoke a certificate and sign its authority's revocation list again
    #[command(after_help = "Example:
  fanal certs revoke certs/13-4567.pem --dir certs")]
    Revoke {
        /// The certificate to revoke
        #[arg(value_name = "FILE")]
        file: PathBuf,
        #[command(flatten)]
        dir: DirArgs,
        #[command(flatten)]
        life: LifeArgs,
    },
    /// Sign the revocation lists again, unchanged, before they are out of date
    #[command(after_help = "Example:
  fanal certs lists --dir certs --only designation --lists-for 30d")]
    Lists {
        #[command(flatten)]
        dir: DirArgs,
        /// Sign only this authority's list
        #[arg(long, value_name = "AUTHORITY")]
        only: Option<Which>,
        #[command(flatten)]
        life: LifeArgs,
    },
}

#[derive(Debug, Args)]
struct DirArgs {
    /// Where the certificates and keys are kept
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
}

#[derive(Debug, Args)]
struct LifeArgs {
    /// How long a list is current: give out the next one 14 days before that
    #[arg(long, value_name = "DURATION", default_value = "92d", value_parser = duration)]
    lists_for: Duration,
}

#[derive(Debug, Args)]
struct MachineArgs {
    /// The commune's or centre's id: [a-z0-9][a-z0-9-]{0,62}
    #[arg(value_name = "ID")]
    id: String,
    /// How long it is valid
    #[arg(long = "for", value_name = "DURATION", default_value = "365d", value_parser = duration)]
    lasting: Duration,
    /// Replace what is there; the old certificate stays under another name
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    dir: DirArgs,
}

#[derive(Debug, Args)]
struct OperatorArgs {
    /// Service number: letters, digits, full stop, hyphen, underscore
    #[arg(value_name = "NUMBER")]
    number: String,
    /// Name
    #[arg(long)]
    name: String,
    /// Unit, as the agreements name it
    #[arg(long)]
    unit: String,
    /// How long it is valid; agreements limit it (max_designation)
    #[arg(long = "for", value_name = "DURATION", default_value = "7d", value_parser = duration)]
    lasting: Duration,
    /// Sign the key of this request (PKCS #10, PEM) and make none; nothing else is taken from it
    #[arg(long, value_name = "FILE")]
    csr: Option<PathBuf>,
    /// Replace what is there; the old certificate stays under another name
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    dir: DirArgs,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Which {
    /// Machines: gateways and receivers.
    Link,
    /// Operators.
    Designation,
}

impl From<Which> for Kind {
    fn from(which: Which) -> Self {
        match which {
            Which::Link => Self::Link,
            Which::Designation => Self::Designation,
        }
    }
}

/// Runs `fanal certs`; prints the files it wrote, one a line.
pub fn run(args: CertsArgs) -> anyhow::Result<ExitCode> {
    let now = Clock::system().now().wall;
    let written = write(args.command, now)?;
    for path in written {
        println!("{}", path.display());
    }
    Ok(ExitCode::SUCCESS)
}

fn write(command: CertsCommand, now: Wall) -> anyhow::Result<Vec<PathBuf>> {
    let written = match command {
        CertsCommand::Init { dir, only, life } => {
            Directory::new(dir.dir).init(only.map(Kind::from), life.lists_for, now)
        }
        CertsCommand::Gateway(args) | CertsCommand::Receiver(args) => {
            Directory::new(args.dir.dir).machine(&args.id, args.lasting, args.replace, now)
        }
        CertsCommand::Operator(args) => {
            let request = (args.csr.as_ref())
                .map(|path| {
                    std::fs::read_to_string(path)
                        .with_context(|| format!("the request {} can't be read", path.display()))
                })
                .transpose()?;
            let person = Person {
                number: args.number,
                name: args.name,
                unit: args.unit,
            };
            Directory::new(args.dir.dir).operator(
                &person,
                args.lasting,
                request.as_deref(),
                args.replace,
                now,
            )
        }
        CertsCommand::Revoke { file, dir, life } => Directory::new(dir.dir)
            .revoke(&file, life.lists_for, now)
            .map(|list| vec![list]),
        CertsCommand::Lists { dir, only, life } => {
            Directory::new(dir.dir).renew_lists(only.map(Kind::from), life.lists_for, now)
        }
    };
    written.map_err(|error| match error {
        Error::Name { .. } | Error::Validity => Usage(error.to_string()).into(),
        other => other.into(),
    })
}

/// `7d`, `36h`, `90m`: at least a second, certificates know no less.
fn duration(written: &str) -> Result<Duration, String> {
    parse_duration(written)
        .filter(|duration| *duration >= Duration::from_secs(1))
        .ok_or_else(|| "write it like 7d, 36h or 90m; at least 1s".to_owned())
}
