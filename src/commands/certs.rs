//! `fanal certs`: authorities, certificates and revocation lists.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod roster;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Subcommand, ValueEnum};

use super::Usage;
use crate::certs::Error;
use crate::certs::authority::{Kind, Person, Subject};
use crate::certs::files::{Directory, End, Made, Wanted};
use crate::clock::{Clock, Wall};
use crate::config::values::parse_duration;

/// What ends sooner is pointed out by `fanal certs ends`.
const SOON: Duration = Duration::from_secs(45 * 24 * 3600);

/// Arguments of `fanal certs`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example: a commune and a centre, each authority in its own hands:
  fanal certs init --dir link --only link
  fanal certs gateway berre-l-etang --dir link
  fanal certs bundle berre-l-etang --dir link --with designation

certs/README.md explains it all on one page."
)]
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
  fanal certs init --dir designation --only designation

Example: the next authority beside the one that is there, before that one ends:
  fanal certs init --dir link --only link --replace"
    )]
    Init {
        #[command(flatten)]
        dir: DirArgs,
        /// Make only this authority; without it the link's and the designations'
        #[arg(long, value_name = "AUTHORITY")]
        only: Option<Which>,
        /// Make the next authority; the one that is there is trusted beside it until
        /// `fanal certs retire`
        #[arg(long, requires = "only")]
        replace: bool,
        #[command(flatten)]
        life: LifeArgs,
    },
    /// Make a gateway's certificate and key; ID is the commune's id
    #[command(after_help = "Example:
  fanal certs gateway berre-l-etang --dir link")]
    Gateway(MachineArgs),
    /// Make a receiver's certificate and key; ID is the centre's id
    #[command(after_help = "Example:
  fanal certs receiver corg-13 --dir link")]
    Receiver(MachineArgs),
    /// Designate an operator: a certificate for a short time, and a key or --csr
    #[command(
        after_help = "Example: the operator's machine made the key with `fanal certs request`
  fanal certs operator 13-4567 --name \"Adjudant Martin\" --unit \"CORG 13\" \\
    --for 7d --csr 13-4567.csr --dir designation"
    )]
    Operator(OperatorArgs),
    /// Name a person who may sign in at the commune's page
    #[command(after_help = "Example:
  fanal certs init --dir page --only page
  fanal certs agent anne.petit --name \"Anne Petit\" --csr anne.petit.csr \\
    --for 365d --dir page")]
    Agent(AgentArgs),
    /// Make a server's certificate for console, RTSPS or page, and its authority
    #[command(
        after_help = "Example: by all the names and addresses under which it is called
  fanal certs console corg13.example 10.13.0.5 --dir console

Browsers and players must trust console-ca.pem. Its key could pose as any site to them:
keep it as well as the others."
    )]
    Console(ConsoleArgs),
    /// Make many at once, from a spreadsheet
    #[command(
        after_help = "Example: roster.csv has the columns kind, id, name, unit, for, csr
  kind;id;name;unit;for;csr
  gateway;berre-l-etang;;;365d;
  operator;13-4567;Adjudant Martin;CORG 13;7d;13-4567.csr
then:
  fanal certs roster roster.csv --dir certs

kind: gateway, receiver, operator, agent, console. id: as for the command of that name.
for and csr may be empty. All rows are checked before the first certificate is made; those
whose certificate is there already are left alone, unless --replace is given."
    )]
    Roster {
        /// The table: `;`, `,` or a tab between columns
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Replace what is there; the old certificates stay under another name
        #[arg(long)]
        replace: bool,
        #[command(flatten)]
        dir: DirArgs,
    },
    /// Make a key and a request for its certificate, where the key is to stay
    #[command(
        after_help = "Example: on the operator's own machine; 13-4567.csr goes to the authority
  fanal certs request 13-4567 --dir ."
    )]
    Request {
        /// Name of the two files: a service number or an id
        #[arg(value_name = "NAME")]
        name: String,
        #[command(flatten)]
        dir: DirArgs,
    },
    /// Put what one machine or person needs into a tar, and nothing else
    #[command(after_help = "Example: then unpack it on the machine, as root
  fanal certs bundle berre-l-etang --dir link --with designation
  tar -C /etc/fanal -xf berre-l-etang.tar && chgrp fanal /etc/fanal/*.key")]
    Bundle {
        /// Whose: an id, a service number or a server's first name
        #[arg(value_name = "ID")]
        id: String,
        /// Where other authorities' public files are, if not in DIR; may be repeated
        #[arg(long, value_name = "DIR")]
        with: Vec<PathBuf>,
        #[command(flatten)]
        dir: DirArgs,
    },
    /// Show what ends when; exit status 1 where something ends within 45 days
    #[command(after_help = "Example: each month, by cron
  fanal certs ends --dir link")]
    Ends {
        #[command(flatten)]
        dir: DirArgs,
    },
    /// End a roll-over: only the newest authority is trusted from now on
    #[command(
        after_help = "Example: once every machine has a certificate of the new authority
  fanal certs retire --only link --dir link"
    )]
    Retire {
        /// Which authority
        #[arg(long, value_name = "AUTHORITY")]
        only: Which,
        #[command(flatten)]
        dir: DirArgs,
        #[command(flatten)]
        life: LifeArgs,
    },
    /// Revoke a certificate and sign its authority's revocation list again
    #[command(after_help = "Example:
  fanal certs revoke 13-4567.pem --dir designation")]
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
  fanal certs lists --dir designation --lists-for 30d")]
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
    #[command(flatten)]
    how: HowArgs,
}

/// What all that make a certificate take.
#[derive(Debug, Args)]
struct HowArgs {
    /// Sign the key of this request (PKCS #10, PEM) and make none; nothing else is taken from it
    #[arg(long, value_name = "FILE")]
    csr: Option<PathBuf>,
    /// Replace what is there; the old certificate stays under another name
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    dir: DirArgs,
}

#[derive(Debug, Args)]
struct AgentArgs {
    /// Number or name that is unique: letters, digits, full stop, hyphen, underscore
    #[arg(value_name = "NUMBER")]
    number: String,
    /// Name
    #[arg(long)]
    name: String,
    /// Service of the commune
    #[arg(long, default_value = "commune")]
    unit: String,
    /// How long it is valid
    #[arg(long = "for", value_name = "DURATION", default_value = "365d", value_parser = duration)]
    lasting: Duration,
    #[command(flatten)]
    how: HowArgs,
}

#[derive(Debug, Args)]
struct ConsoleArgs {
    /// DNS names and addresses under which it is called; the first names the files
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
    /// How long it is valid; browsers take no more than 398 days
    #[arg(long = "for", value_name = "DURATION", default_value = "365d", value_parser = duration)]
    lasting: Duration,
    #[command(flatten)]
    how: HowArgs,
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
    #[command(flatten)]
    how: HowArgs,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Which {
    /// Machines: gateways and receivers.
    Link,
    /// Operators.
    Designation,
    /// Persons who sign in at the commune's page.
    Page,
    /// Servers that browsers and players meet.
    Console,
}

impl From<Which> for Kind {
    fn from(which: Which) -> Self {
        match which {
            Which::Link => Self::Link,
            Which::Designation => Self::Designation,
            Which::Page => Self::Page,
            Which::Console => Self::Console,
        }
    }
}

/// Runs `fanal certs`; prints the files it wrote, one a line.
pub fn run(args: CertsArgs) -> anyhow::Result<ExitCode> {
    let now = Clock::system().now().wall;
    if let CertsCommand::Ends { dir } = &args.command {
        let ends = Directory::new(&dir.dir).ends()?;
        return Ok(show_ends(&ends, now));
    }
    for path in write(args.command, now)? {
        println!("{}", path.display());
    }
    Ok(ExitCode::SUCCESS)
}

fn write(command: CertsCommand, now: Wall) -> anyhow::Result<Vec<PathBuf>> {
    let written = match command {
        CertsCommand::Init {
            dir,
            only,
            replace,
            life,
        } => Directory::new(dir.dir).init(only.map(Kind::from), replace, life.lists_for, now),
        CertsCommand::Gateway(args) | CertsCommand::Receiver(args) => {
            issue(Subject::Machine(args.id), args.lasting, args.how, now)?
        }
        CertsCommand::Operator(args) => {
            let person = Person {
                number: args.number,
                name: args.name,
                unit: args.unit,
            };
            issue(Subject::Operator(person), args.lasting, args.how, now)?
        }
        CertsCommand::Agent(args) => {
            let person = Person {
                number: args.number,
                name: args.name,
                unit: args.unit,
            };
            issue(Subject::Agent(person), args.lasting, args.how, now)?
        }
        CertsCommand::Console(args) => {
            issue(Subject::Server(args.names), args.lasting, args.how, now)?
        }
        CertsCommand::Roster { file, replace, dir } => {
            return roster::run(&file, replace, &Directory::new(dir.dir), now);
        }
        CertsCommand::Request { name, dir } => Directory::new(dir.dir).request(&name),
        CertsCommand::Bundle { id, with, dir } => Directory::new(dir.dir)
            .bundle(&id, &with, now)
            .map(|tar| vec![tar]),
        CertsCommand::Retire { only, dir, life } => {
            Directory::new(dir.dir).retire(only.into(), life.lists_for, now)
        }
        CertsCommand::Ends { .. } => Ok(Vec::new()),
        CertsCommand::Revoke { file, dir, life } => Directory::new(dir.dir)
            .revoke(&file, life.lists_for, now)
            .map(|list| vec![list]),
        CertsCommand::Lists { dir, only, life } => {
            Directory::new(dir.dir).renew_lists(only.map(Kind::from), life.lists_for, now)
        }
    };
    written.map_err(wrong)
}

fn issue(
    subject: Subject,
    lasting: Duration,
    how: HowArgs,
    now: Wall,
) -> anyhow::Result<Result<Vec<PathBuf>, Error>> {
    let wanted = Wanted {
        subject,
        lasting,
        request: how.csr.as_deref().map(request).transpose()?,
        replace: how.replace,
    };
    let made = Directory::new(how.dir.dir).issue(&wanted, now);
    Ok(made.map(|made| told(&wanted.subject, made)))
}

fn request(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path)
        .with_context(|| format!("the request {} can't be read", path.display()))
}

/// The files that were written; says where a certificate is shorter than was asked for.
fn told(subject: &Subject, made: Made) -> Vec<PathBuf> {
    if let Some((kind, end)) = made.cut_short {
        let (name, kind) = (subject.file_name(), kind.as_str());
        eprintln!(
            "fanal: warning: {name} ends with its authority, {}; make the next authority now: fanal certs init --only {kind} --replace",
            end.rfc3339()
        );
    }
    made.files
}

fn wrong(error: Error) -> anyhow::Error {
    match error {
        Error::Name { .. } | Error::Validity => Usage(error.to_string()).into(),
        other => other.into(),
    }
}

fn show_ends(ends: &[End], now: Wall) -> ExitCode {
    let mut soon = false;
    for End { path, whose, until } in ends {
        let days = (until.seconds() - now.seconds()).div_euclid(86_400);
        let mark = match *until {
            until if until <= now => "ENDED",
            until if until <= now.plus(SOON) => "soon",
            _ => "",
        };
        soon |= !mark.is_empty();
        let line = format!(
            "{mark:5} {} {days:5} days  {}  {whose}",
            until.rfc3339(),
            path.display()
        );
        println!("{}", line.trim_end());
    }
    ExitCode::from(u8::from(soon))
}

/// `7d`, `36h`, `90m`: at least a second, certificates know no less.
fn duration(written: &str) -> Result<Duration, String> {
    parse_duration(written)
        .filter(|duration| *duration >= Duration::from_secs(1))
        .ok_or_else(|| "write it like 7d, 36h or 90m; at least 1s".to_owned())
}
