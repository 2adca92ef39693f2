//! `fanal check`: validates either daemon's file, tries cameras and links.
#![allow(clippy::print_stdout)]

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;

use super::Usage;
use crate::clock::Clock;
use crate::config::{self, Daemon, Disk, settings};
use crate::pki::{self, InForce};

mod atlas;
mod cameras;
mod link;
mod readers;

/// Certificates that end sooner are pointed out.
const SOON_DAYS: i64 = 14;
/// Most cameras tried at once with `--parallel`.
const PARALLEL_LIMIT: u16 = 256;

/// `fanal check`
#[derive(Debug, Args)]
#[command(after_help = "Example: check the settings, then try each camera
  fanal check --config /etc/fanal/gateway.toml
  fanal check --config /etc/fanal/gateway.toml --cameras
  fanal check --config /etc/fanal/gateway.toml --cameras --camera quai-nord --trace quai-nord.txt
  fanal check --config /etc/fanal/gateway.toml --link

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
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
    /// Print only what is wrong: for ExecReload= and cron
    #[arg(long, conflicts_with_all = ["json", "cameras", "link"])]
    quiet: bool,
}

/// Runs it.
///
/// # Errors
/// The file is wrong, or `--cameras` or `--link` was asked for a receiver.
pub fn run(args: CheckArgs) -> anyhow::Result<ExitCode> {
    let disk = readers::Recorded::new(Disk::reading());
    let daemon = config::detect(&args.config, &disk).map_err(wrong)?;
    match daemon {
        Daemon::Gateway => {
            let mut loaded = config::load_gateway_from(&args.config, &disk).map_err(wrong)?;
            let unreadable = disk.unreadable(&loaded.settings.state_dir);
            loaded.settings.warnings.extend(unreadable);
            if args.cameras {
                return cameras::run(&args, loaded.settings);
            }
            if args.link {
                return link::run(&args, &loaded.settings);
            }
            let ends = gateway_ends(&loaded.settings);
            let lines = gateway_lines(&loaded.settings);
            let lists = pki::of_gateway(&loaded.settings);
            let mut warnings = with_lists(&loaded.settings.warnings, lists);
            warnings.extend(ending_agreements(&loaded.settings));
            summary(&args, "gateway", &lines, &warnings, &ends)
        }
        Daemon::Receiver => {
            if args.cameras {
                let text = "--cameras is for the gateway's file: cameras are the commune's";
                return Err(Usage(text.to_owned()).into());
            }
            if args.link {
                let text = "--link is for the gateway's file: gateways dial, the receiver listens";
                return Err(Usage(text.to_owned()).into());
            }
            let mut loaded = config::load_receiver_from(&args.config, &disk).map_err(wrong)?;
            let unreadable = disk.unreadable(&loaded.settings.state_dir);
            loaded.settings.warnings.extend(unreadable);
            let ends = receiver_ends(&loaded.settings);
            let mut lines = receiver_lines(&loaded.settings);
            lines.extend(atlas::lines(&loaded.settings.console)?);
            let lists = pki::of_receiver(&loaded.settings);
            let warnings = with_lists(&loaded.settings.warnings, lists);
            summary(&args, "receiver", &lines, &warnings, &ends)
        }
    }
}

fn wrong(errors: config::Errors) -> Usage {
    let count = errors.0.len();
    let plural = if count == 1 { "mistake" } else { "mistakes" };
    Usage(format!(
        "the settings are wrong, {count} {plural}:\n{errors}"
    ))
}

/// The warnings of the settings, and what is to be done about revocation lists.
fn with_lists(settings: &[String], lists: Result<Vec<InForce>, pki::Error>) -> Vec<String> {
    let now = Clock::system().now().wall;
    let mut warnings = settings.to_vec();
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

/// Agreements that end soon: after that every request is refused.
fn ending_agreements(settings: &settings::Gateway) -> Vec<String> {
    let now = Clock::system().now().wall.seconds();
    let ending = settings.agreements.iter().filter_map(|agreement| {
        let end = crate::policy::agreement::ends(agreement)?.seconds();
        let days = (end - now).div_euclid(86_400);
        let (reference, until) = (&agreement.reference, agreement.until);
        (end > now && days < SOON_DAYS)
            .then(|| format!("{reference}: its last day is {until}; renew the agreement"))
    });
    ending.collect()
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

/// A certificate in use and when it ends, seconds since the epoch.
type End = (PathBuf, i64);

fn gateway_ends(settings: &settings::Gateway) -> Vec<End> {
    let agreements = || settings.agreements.iter();
    let links = std::iter::once(&settings.tls).chain(agreements().map(|a| &a.tls));
    let files = links.flat_map(|tls| [&tls.certificate, &tls.authority]);
    ends(files.chain(agreements().map(|a| &a.designation_authority)))
}

fn receiver_ends(settings: &settings::Receiver) -> Vec<End> {
    let communes = settings.communes.values().map(|commune| &commune.tls);
    let links = std::iter::once(&settings.tls).chain(communes);
    let servers = settings.console.tls.iter().chain(&settings.rtsp.tls);
    let files = links.flat_map(|tls| [&tls.certificate, &tls.authority]);
    let operators = settings.operators.iter().map(|o| &o.designation_authority);
    ends(
        files
            .chain(operators)
            .chain(servers.map(|tls| &tls.certificate)),
    )
}

fn ends<'a>(files: impl Iterator<Item = &'a PathBuf>) -> Vec<End> {
    let mut ends: Vec<End> = files
        .filter_map(|file| Some((file.clone(), crate::metrics::certificate_end(file)?)))
        .collect();
    ends.sort();
    ends.dedup();
    ends
}

fn summary(
    args: &CheckArgs,
    daemon: &str,
    lines: &[Line],
    warnings: &[String],
    ends: &[End],
) -> anyhow::Result<ExitCode> {
    let now = Clock::system().now().wall.seconds();
    let mut warnings = warnings.to_vec();
    for (file, end) in ends {
        let days = (end - now).div_euclid(86_400);
        let file = file.display();
        if *end <= now {
            warnings.push(format!(
                "{file}: has ended; make a new one with fanal certs"
            ));
        } else if days < SOON_DAYS {
            warnings.push(format!(
                "{file}: ends in {days} days; make a new one with fanal certs"
            ));
        }
    }
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
    for warning in &warnings {
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
