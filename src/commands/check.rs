//! `fanal check`: validates either daemon's file, tries cameras and links.
#![allow(clippy::print_stdout)]

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;

use super::Usage;
use super::client::French;
use crate::clock::Clock;
use crate::config::{self, Daemon, Disk, settings};
use crate::pki::{self, End, InForce};

mod atlas;
mod cameras;
mod discover;
mod link;
mod readers;
mod sheet;

/// Most cameras tried at once with `--parallel`.
const PARALLEL_LIMIT: u16 = 256;

/// `fanal check`
#[derive(Debug, Args)]
#[command(after_help = "Example: check the settings, then try each camera
  fanal check --config /etc/fanal/gateway.toml
  fanal check --config /etc/fanal/gateway.toml --cameras
  fanal check --config /etc/fanal/gateway.toml --cameras --camera quai-nord --trace quai-nord.txt
  fanal check --config /etc/fanal/gateway.toml --link
  fanal check --config /etc/fanal/gateway.toml --cameras --csv corrections.csv
  fanal check --config /etc/fanal/gateway.toml --discover > found.csv

Exit status: 0 all is well, 1 a camera or a centre failed, 2 the file is wrong.")]
pub struct CheckArgs {
    /// The daemon's file: gateway.toml or receiver.toml
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Open each camera once and tell what it sends, or why it does not; where onvif
    /// is set, ask for a key frame and tell how soon it came
    #[arg(long)]
    cameras: bool,
    /// Try the way to each centre: name, UDP, TCP, certificate, packet size; where
    /// the gateway does not run also clock and rate
    #[arg(long, conflicts_with = "cameras")]
    link: bool,
    /// With --cameras: only these
    #[arg(long = "camera", value_name = "ID", requires = "cameras")]
    only: Vec<String>,
    /// With --cameras: how many at once
    #[arg(long, value_name = "N", default_value_t = 16, requires = "cameras",
          value_parser = clap::value_parser!(u16).range(1..=i64::from(PARALLEL_LIMIT)))]
    parallel: u16,
    /// With --cameras: write the dialogue with each camera to this file, without
    /// passwords, addresses and pictures, to go with a report of a camera that fails
    #[arg(long, value_name = "FILE", requires = "cameras")]
    trace: Option<PathBuf>,
    /// Search the network for ONVIF cameras and print rows for the cameras_file; a camera is
    /// asked for its streams with the credential of its host's cameras, or the one all have
    #[arg(long, conflicts_with_all = ["cameras", "link", "csv", "json"])]
    discover: bool,
    /// With --discover: ask at this address, not the whole network; may be repeated
    #[arg(long, value_name = "ADDRESS", requires = "discover")]
    at: Vec<String>,
    /// Give the cameras_file back as OUT, with a last column that says what to correct in
    /// each row; with --cameras also what the trial found
    #[arg(long, value_name = "OUT", conflicts_with = "link")]
    csv: Option<PathBuf>,
    /// Language of that column: fr or en; default: the shell's
    #[arg(long, value_name = "LANG", requires = "csv", value_parser = ["fr", "en"])]
    lang: Option<String>,
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
    /// Print only what is wrong: for ExecReload= and cron
    #[arg(long, conflicts_with_all = ["json", "cameras", "link", "discover"])]
    quiet: bool,
}

/// Runs it.
///
/// # Errors
/// The file is wrong, or `--cameras` or `--link` was asked for a receiver.
pub fn run(args: CheckArgs) -> anyhow::Result<ExitCode> {
    let disk = readers::Recorded::new(Disk::reading());
    let daemon = match config::detect(&args.config, &disk) {
        Ok(daemon) => daemon,
        Err(errors) => return wrong(&args, errors),
    };
    match daemon {
        Daemon::Gateway => {
            let mut loaded = match config::load_gateway_from(&args.config, &disk) {
                Ok(loaded) => loaded,
                Err(errors) => return wrong(&args, errors),
            };
            let unreadable = disk.unreadable(&loaded.settings.state_dir);
            loaded.settings.warnings.extend(unreadable);
            if args.cameras {
                return cameras::run(&args, loaded.settings);
            }
            if args.link {
                return link::run(&args, &loaded.settings);
            }
            if args.discover {
                return discover::run(&args, &loaded.settings);
            }
            if let Some(out) = &args.csv {
                let notes = unverified(&loaded.settings, args.is_french());
                sheet::write(out, &loaded.settings, &notes, args.is_french())?;
            }
            let lines = gateway_lines(&loaded.settings);
            let ends = pki::ends_of_gateway(&loaded.settings);
            let lists = pki::of_gateway(&loaded.settings);
            let mut warnings = with_ends(&loaded.settings.warnings, &ends, lists);
            warnings.extend(disk.authority_keys());
            summary(&args, "gateway", &lines, &warnings)
        }
        Daemon::Receiver => {
            if args.cameras {
                let text = "--cameras is for the gateway's file: cameras are the commune's";
                return Err(Usage(text.to_owned()).into());
            }
            if args.discover {
                let text = "--discover is for the gateway's file: cameras are the commune's";
                return Err(Usage(text.to_owned()).into());
            }
            if args.csv.is_some() {
                let text = "--csv is for the gateway's file: the table of cameras is the commune's";
                return Err(Usage(text.to_owned()).into());
            }
            if args.link {
                let text = "--link is for the gateway's file: gateways dial, the receiver listens";
                return Err(Usage(text.to_owned()).into());
            }
            let mut loaded = match config::load_receiver_from(&args.config, &disk) {
                Ok(loaded) => loaded,
                Err(errors) => return wrong(&args, errors),
            };
            let unreadable = disk.unreadable(&loaded.settings.state_dir);
            loaded.settings.warnings.extend(unreadable);
            let mut lines = receiver_lines(&loaded.settings);
            lines.extend(atlas::lines(&loaded.settings.console)?);
            let lists = pki::of_receiver(&loaded.settings);
            let ends = pki::ends_of_receiver(&loaded.settings);
            let mut warnings = with_ends(&loaded.settings.warnings, &ends, lists);
            warnings.extend(disk.authority_keys());
            summary(&args, "receiver", &lines, &warnings)
        }
    }
}

impl CheckArgs {
    fn is_french(&self) -> bool {
        let shell = || French::of_environment().0;
        self.lang.as_deref().map_or_else(shell, |lang| lang == "fr")
    }
}

/// Cameras whose masks nobody has verified.
fn unverified(settings: &settings::Gateway, is_french: bool) -> sheet::Notes {
    let text = mask(is_french);
    let cameras = settings.cameras.values();
    let cameras = cameras.filter(|camera| !camera.mask_verified && camera.streams.is_ok());
    cameras
        .map(|camera| (camera.id.to_string(), vec![text.to_owned()]))
        .collect()
}

const fn mask(is_french: bool) -> &'static str {
    if is_french {
        "pas relayée tant que « masque vérifié » n'est pas « oui » : vérifiez les masques dans la caméra elle-même"
    } else {
        "not relayed until mask_verified = true"
    }
}

/// Tells the file's mistakes; exit status 2.
fn wrong(args: &CheckArgs, errors: config::Errors) -> anyhow::Result<ExitCode> {
    if args.json {
        let all = errors.0.iter().map(|problem| {
            serde_json::json!({"file": problem.file, "line": problem.line, "text": problem.text})
        });
        let report = serde_json::json!({"file": args.config, "errors": all.collect::<Vec<_>>()});
        let text = serde_json::to_string_pretty(&report).context("report not written as JSON")?;
        println!("{text}");
        return Ok(ExitCode::from(2));
    }
    let count = errors.0.len();
    let plural = if count == 1 { "mistake" } else { "mistakes" };
    let text = format!("the settings are wrong, {count} {plural}:\n{errors}");
    Err(Usage(text).into())
}

/// The warnings of the settings, and what is to be done about all that ends.
fn with_ends(
    settings: &[String],
    ends: &[End],
    lists: Result<Vec<InForce>, pki::Error>,
) -> Vec<String> {
    let now = Clock::system().now().wall;
    let mut warnings = settings.to_vec();
    warnings.extend(ends.iter().filter_map(|end| end.warning(now)));
    match lists {
        Ok(lists) => {
            for list in lists {
                warnings.extend(list.list.warning(now));
                warnings.extend(list.older());
            }
        }
        Err(error) => warnings.push(error.to_string()),
    }
    // Two settings may name one list.
    let mut said = std::collections::BTreeSet::new();
    warnings.retain(|warning| said.insert(warning.clone()));
    warnings
}

/// One line of the summary: what, and how it is.
type Line = (&'static str, String);

fn gateway_lines(settings: &settings::Gateway) -> Vec<Line> {
    let count = |test: &dyn Fn(&settings::Camera) -> bool| {
        settings
            .cameras
            .values()
            .filter(|camera| test(camera))
            .count()
    };
    let invalid = count(&|camera| camera.streams.is_err());
    let unverified = count(&|camera| camera.streams.is_ok() && !camera.mask_verified);
    let usable = count(&|camera| camera.unusable().is_none());
    let mut lines = vec![
        (
            "commune",
            format!("{} ({})", settings.commune, settings.name),
        ),
        ("state", settings.state_dir.display().to_string()),
        ("metrics", settings.metrics.to_string()),
        ("socket", settings.socket.display().to_string()),
        (
            "cameras",
            format!(
                "{usable} may be relayed, {unverified} wait for mask_verified, {invalid} wrong entries"
            ),
        ),
    ];
    for agreement in &settings.agreements {
        let covered = settings
            .cameras
            .values()
            .filter(|camera| camera.unusable().is_none() && agreement.covers(camera));
        lines.push((
            "agreement",
            format!(
                "{} with {}, {} to {}, covers {} of them",
                agreement.reference,
                agreement.centre,
                agreement.from,
                agreement.until,
                covered.count()
            ),
        ));
        let left_out: Vec<&str> = settings
            .cameras
            .values()
            .filter(|camera| camera.unusable().is_none() && !agreement.covers(camera))
            .map(|camera| camera.id.as_str())
            .collect();
        if !left_out.is_empty() {
            lines.push(("  leaves out", some(&left_out)));
        }
    }
    lines
}

/// The first of many, and how many more.
fn some(ids: &[&str]) -> String {
    const SHOWN: usize = 20;
    let shown = ids[..ids.len().min(SHOWN)].join(" ");
    match ids.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

fn receiver_lines(settings: &settings::Receiver) -> Vec<Line> {
    let list = |items: Vec<String>| {
        if items.is_empty() {
            "none".to_owned()
        } else {
            items.join(", ")
        }
    };
    let communes = settings.communes.keys().map(ToString::to_string).collect();
    let links = settings
        .link_listen
        .iter()
        .map(ToString::to_string)
        .collect();
    let rtsp = settings.rtsp.listen.iter().map(ToString::to_string);
    let rtsps = settings
        .rtsp
        .tls_listen
        .iter()
        .map(|address| format!("{address} (TLS)"));
    vec![
        ("centre", format!("{} ({})", settings.centre, settings.name)),
        ("state", settings.state_dir.display().to_string()),
        ("metrics", settings.metrics.to_string()),
        ("links", list(links)),
        ("communes", list(communes)),
        ("console", settings.console.listen.to_string()),
        ("rtsp", list(rtsp.chain(rtsps).collect())),
        ("players", players(&settings.rtsp)),
        ("VMS accounts", settings.accounts.len().to_string()),
    ]
}

/// The URL that players get.
fn players(rtsp: &settings::Rtsp) -> String {
    let Some(players) = rtsp.players(rtsp.listen, rtsp.tls_listen) else {
        return "none".to_owned();
    };
    let authority = players.authority("HOST");
    let url = format!(
        "{}://GRANT:PASSWORD@{authority}/COMMUNE/CAMERA",
        players.scheme
    );
    let bound = if players.scheme == "rtsps" {
        rtsp.tls_listen
    } else {
        rtsp.listen
    };
    if players.host.is_none() {
        format!("{url}, HOST by which the console is called; address sets it")
    } else if bound.is_some_and(|bound| bound.ip().is_loopback()) {
        format!("{url}, from this machine only")
    } else {
        url
    }
}

fn summary(
    args: &CheckArgs,
    daemon: &str,
    lines: &[Line],
    warnings: &[String],
) -> anyhow::Result<ExitCode> {
    if args.json {
        let fields: Vec<_> = lines
            .iter()
            .map(|(what, how)| serde_json::json!({"what": what, "value": how}))
            .collect();
        let report = serde_json::json!({
            "file": args.config, "daemon": daemon, "settings": fields, "warnings": warnings,
        });
        let text = serde_json::to_string_pretty(&report).context("report not written as JSON")?;
        println!("{text}");
        return Ok(ExitCode::SUCCESS);
    }
    for warning in warnings {
        println!("warning: {warning}");
    }
    if args.quiet {
        return Ok(ExitCode::SUCCESS);
    }
    for (what, how) in lines {
        println!("{what:12} {how}");
    }
    let oddities = match warnings.len() {
        0 => String::new(),
        1 => ", with 1 warning".to_owned(),
        count => format!(", with {count} warnings"),
    };
    println!(
        "{}: the {daemon}'s settings are right{oddities}",
        args.config.display()
    );
    Ok(ExitCode::SUCCESS)
}
