//! `fanal check`: validates either daemon's file, tries cameras and links.
#![allow(clippy::print_stdout)]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;

use super::Usage;
use super::french::French;
use crate::clock::Clock;
use crate::config::{self, Daemon, Disk, Problem, settings};
use crate::format::ids::CameraId;
use crate::pki::{self, End, InForce};

mod atlas;
mod beside;
mod cameras;
mod discover;
mod host;
mod link;
mod readers;
mod rows;
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

Where a gateway runs with this file it is asked: cameras that it relays are left to it.

Exit status: 0 all is well, perhaps with warnings; 1 a camera's entry is wrong, or a camera or a
centre failed; 2 the file is wrong.")]
pub struct CheckArgs {
    /// The daemon's file: gateway.toml or receiver.toml
    #[arg(long, value_name = "FILE", default_value = "/etc/fanal/gateway.toml")]
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
    /// Language: fr or en; default: the shell's (LC_ALL, LC_MESSAGES, LANG)
    #[arg(long, value_name = "LANG", value_parser = ["fr", "en"])]
    lang: Option<String>,
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
    /// Print only what is wrong: for cron
    #[arg(long, conflicts_with_all = ["json", "cameras", "link", "discover"])]
    quiet: bool,
}

/// Runs it.
///
/// # Errors
/// The file is wrong, or `--cameras` or `--link` was asked for a receiver.
pub fn run(args: CheckArgs) -> anyhow::Result<ExitCode> {
    let french = args.french();
    check(args).map_err(|error| match error.downcast::<Usage>() {
        Ok(usage) => Usage(french.say(&usage.0).into_owned()).into(),
        Err(error) if french.0 => {
            anyhow::Error::msg(french.say(&format!("{error:#}")).into_owned())
        }
        Err(error) => error,
    })
}

fn check(args: CheckArgs) -> anyhow::Result<ExitCode> {
    let disk = readers::Recorded::new(Disk::reading());
    let daemon = match config::detect(&args.config, &disk) {
        Ok(daemon) => daemon,
        Err(errors) => return wrong(&args, errors),
    };
    match daemon {
        Daemon::Gateway => {
            let loaded = match config::load_gateway_from(&args.config, &disk) {
                Ok(loaded) => loaded,
                Err(errors) => return wrong(&args, errors),
            };
            let settings = loaded.settings;
            let mut more = disk.unreadable(&settings.state_dir);
            if args.cameras {
                return cameras::run(&args, settings);
            }
            if args.link {
                return link::run(&args, &settings);
            }
            if args.discover {
                return discover::run(&args, &settings);
            }
            if let Some(out) = &args.csv {
                sheet::write(out, &settings, &unused(&settings), args.french())?;
            }
            let lines = gateway_lines(&settings);
            let (ends, lists) = (pki::ends_of_gateway(&settings), pki::of_gateway(&settings));
            more.extend(disk.authority_keys());
            let findings = findings(&settings.warnings, &ends, lists, more);
            summary(&args, "gateway", &lines, &findings)
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
            let loaded = match config::load_receiver_from(&args.config, &disk) {
                Ok(loaded) => loaded,
                Err(errors) => return wrong(&args, errors),
            };
            let settings = loaded.settings;
            let mut more = disk.unreadable(&settings.state_dir);
            let mut lines = receiver_lines(&settings);
            lines.extend(atlas::lines(&settings.console)?);
            let (ends, lists) = (
                pki::ends_of_receiver(&settings),
                pki::of_receiver(&settings),
            );
            more.extend(disk.authority_keys());
            let findings = findings(&settings.warnings, &ends, lists, more);
            summary(&args, "receiver", &lines, &findings)
        }
    }
}

impl CheckArgs {
    fn french(&self) -> French {
        French::chosen(self.lang.as_deref())
    }
}

/// Something to correct.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
struct Finding {
    /// Whether the daemon does without what it is about; else a warning.
    wrong: bool,
    file: Option<PathBuf>,
    line: Option<u32>,
    camera: Option<CameraId>,
    /// What it is and the remedy, with its place.
    text: String,
}

impl From<&Problem> for Finding {
    fn from(problem: &Problem) -> Self {
        Self {
            wrong: problem.disables,
            file: Some(problem.file.clone()),
            line: problem.line,
            camera: problem.camera.clone(),
            text: problem.to_string(),
        }
    }
}

impl From<String> for Finding {
    fn from(text: String) -> Self {
        Self {
            wrong: false,
            file: None,
            line: None,
            camera: None,
            text,
        }
    }
}

/// Cameras whose masks nobody has verified, and those that no agreement covers.
fn unused(settings: &settings::Gateway) -> sheet::Notes {
    let cameras = settings.cameras.values();
    let cameras = cameras.filter(|camera| camera.streams.is_ok());
    let notes = cameras.filter_map(|camera| {
        let mask = (!camera.mask_verified).then(|| MASK.to_owned());
        let texts: Vec<String> = mask
            .into_iter()
            .chain(uncovered(settings, camera))
            .collect();
        (!texts.is_empty()).then(|| (camera.id.to_string(), texts))
    });
    notes.collect()
}

const MASK: &str = "not relayed until mask_verified = true: verify the masks in the camera itself";

/// What to say of a camera for which nobody may ask.
fn uncovered(settings: &settings::Gateway, camera: &settings::Camera) -> Option<String> {
    let nobody = "no agreement covers it: nobody may ask for it";
    let mut agreements = settings.agreements.iter();
    (!agreements.any(|agreement| agreement.covers(camera))).then(|| nobody.to_owned())
}

/// Tells the file's mistakes; exit status 2.
fn wrong(args: &CheckArgs, errors: config::Errors) -> anyhow::Result<ExitCode> {
    if args.json {
        let all = errors.0.iter().map(|problem| {
            let text = args.french().say(&problem.text);
            serde_json::json!({"file": problem.file, "line": problem.line, "text": text})
        });
        let report = serde_json::json!({"file": args.config, "errors": all.collect::<Vec<_>>()});
        let text = serde_json::to_string_pretty(&report).context("report not written as JSON")?;
        println!("{text}");
        return Ok(ExitCode::from(2));
    }
    let head = match errors.0.len() {
        1 => "the settings are wrong, 1 mistake:".to_owned(),
        count => format!("the settings are wrong, {count} mistakes:"),
    };
    Err(Usage(format!("{head}\n{errors}")).into())
}

/// What the settings say, and what is to be done about all that ends; what is wrong first.
fn findings(
    settings: &[Problem],
    ends: &[End],
    lists: Result<Vec<InForce>, pki::Error>,
    more: Vec<String>,
) -> Vec<Finding> {
    let now = Clock::system().now().wall;
    let mut texts: Vec<String> = ends.iter().filter_map(|end| end.warning(now)).collect();
    match lists {
        Ok(lists) => {
            for list in lists {
                texts.extend(list.list.warning(now));
                texts.extend(list.older());
            }
        }
        Err(error) => texts.push(error.to_string()),
    }
    texts.extend(more);
    let settings = settings.iter().map(Finding::from);
    let mut findings: Vec<Finding> = settings
        .chain(texts.into_iter().map(Finding::from))
        .collect();
    // Two settings may name one list.
    let mut said = std::collections::BTreeSet::new();
    findings.retain(|finding| said.insert(finding.text.clone()));
    findings.sort_by_key(|finding| !finding.wrong);
    findings
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
        let mut left_out: BTreeMap<settings::LeftOut<'_>, Vec<&str>> = BTreeMap::new();
        let cameras = settings.cameras.values();
        for camera in cameras.filter(|camera| camera.unusable().is_none()) {
            if let Some(why) = agreement.leaves_out(camera) {
                left_out.entry(why).or_default().push(camera.id.as_str());
            }
        }
        for (why, ids) in left_out {
            let ids = some(&ids);
            lines.push((
                "leaves out",
                match why {
                    settings::LeftOut::Except(pattern) => {
                        format!("{ids}, which except names by {pattern:?}")
                    }
                    settings::LeftOut::NotNamed => format!("{ids}, which cameras does not name"),
                },
            ));
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
    findings: &[Finding],
) -> anyhow::Result<ExitCode> {
    let french = args.french();
    let wrong = findings.iter().filter(|finding| finding.wrong);
    let wrong: std::collections::BTreeSet<_> = wrong.map(|finding| &finding.camera).collect();
    let status = ExitCode::from(u8::from(!wrong.is_empty()));
    if args.json {
        let fields: Vec<_> = lines
            .iter()
            .map(|(what, how)| serde_json::json!({"what": what, "value": french.say(how)}))
            .collect();
        let findings: Vec<Finding> = findings
            .iter()
            .map(|finding| Finding {
                text: french.say(&finding.text).into_owned(),
                ..finding.clone()
            })
            .collect();
        let warnings: Vec<&str> = findings.iter().map(|found| found.text.as_str()).collect();
        let report = serde_json::json!({
            "file": args.config, "daemon": daemon, "settings": fields,
            "warnings": warnings, "findings": findings,
        });
        let text = serde_json::to_string_pretty(&report).context("report not written as JSON")?;
        println!("{text}");
        return Ok(status);
    }
    for Finding { wrong, text, .. } in findings {
        let line = if *wrong {
            format!("wrong: {text}")
        } else {
            format!("warning: {text}")
        };
        println!("{}", french.say(&line));
    }
    if args.quiet {
        return Ok(status);
    }
    for (what, how) in lines {
        println!("{:12} {}", french.say(what), french.say(how));
    }
    let file = args.config.display();
    let end = match (wrong.len(), findings.len()) {
        (0, 0) => format!("{file}: the {daemon}'s settings are right"),
        (0, 1) => format!("{file}: the {daemon}'s settings are right, with 1 warning"),
        (0, count) => format!("{file}: the {daemon}'s settings are right, with {count} warnings"),
        (1, _) => format!(
            "{file}: the gateway would run with these settings, without 1 camera whose entry is wrong"
        ),
        (count, _) => format!(
            "{file}: the gateway would run with these settings, without {count} cameras whose entries are wrong"
        ),
    };
    println!("{}", french.say(&end));
    Ok(status)
}
