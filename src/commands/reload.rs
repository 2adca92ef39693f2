//! `fanal reload`: a running daemon reads its settings again, and the exit status says whether it
//! took them. A signal alone can't say so: `systemctl reload` would succeed whatever the daemon thinks.
#![allow(clippy::print_stdout)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use tokio::time::{Instant, sleep};

use super::Usage;
use super::{client, probe};
use crate::config::{self, Daemon, Disk};

/// Pause between two questions to the daemon.
const PAUSE: Duration = Duration::from_millis(100);
/// How long one answer may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// Arguments of `fanal reload`.
#[derive(Debug, Args)]
#[command(after_help = "Example: after a change of the settings, as root
  fanal reload --config /etc/fanal/gateway.toml

A file with mistakes is not shown to the daemon at all. Otherwise the daemon, which also binds new
addresses and reads every certificate, takes everything or nothing; where it refuses, the old
settings go on and its own sentence is printed. systemctl reload runs this command.

Exit status: 0 the new settings are in force, 1 the daemon refused them or did not answer, 2 the
file has mistakes.")]
pub struct ReloadArgs {
    /// The running daemon's file: gateway.toml or receiver.toml
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The daemon's process, as systemd's $MAINPID; default: what the daemon itself says
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(i32).range(2..))]
    pid: Option<i32>,
    /// How long the daemon may take, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=600))]
    timeout: u64,
}

/// The part of `/ready` that tells of reloads.
#[derive(Clone, Debug, Deserialize)]
struct Told {
    pid: i32,
    reloads: u64,
    #[serde(default)]
    reload_refused: Option<String>,
}

/// Runs `fanal reload`.
///
/// # Errors
/// The file has mistakes; the daemon does not run, refused the settings, or did not answer.
pub fn run(args: ReloadArgs) -> anyhow::Result<ExitCode> {
    let (daemon, metrics) = read(&args.config)?;
    let address = reachable(metrics);
    let limit = Duration::from_secs(args.timeout);
    let pid = client::block_on(reload(daemon, address, args.pid, limit))?;
    println!(
        "the {daemon} (process {pid}) took the settings of {}",
        args.config.display()
    );
    Ok(ExitCode::SUCCESS)
}

/// Whose file this is, and where that daemon answers once the file is in force.
fn read(path: &Path) -> anyhow::Result<(&'static str, SocketAddr)> {
    let disk = Disk::reading();
    let read = || {
        Ok(match config::detect(path, &disk)? {
            Daemon::Gateway => {
                let loaded = config::load_gateway_from(path, &disk)?;
                ("gateway", loaded.settings.metrics)
            }
            Daemon::Receiver => {
                let loaded = config::load_receiver_from(path, &disk)?;
                ("receiver", loaded.settings.metrics)
            }
        })
    };
    read().map_err(|errors: config::Errors| {
        let text =
            format!("not reloaded, the file has mistakes and the old settings go on:\n{errors}");
        Usage(text).into()
    })
}

/// Where a socket bound to this is reached from the same machine.
fn reachable(bound: SocketAddr) -> SocketAddr {
    let loopback = match bound.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    SocketAddr::new(loopback, bound.port())
}

/// Signals the daemon and waits for its word; its process.
async fn reload(
    daemon: &'static str,
    address: SocketAddr,
    pid: Option<i32>,
    limit: Duration,
) -> anyhow::Result<i32> {
    // Nobody answers here yet where the file moves `metrics`.
    let before = ask(address).await.ok();
    let pid = match (pid, &before) {
        (Some(pid), _) => pid,
        (None, Some(told)) => told.pid,
        (None, None) => bail!(
            "no {daemon} answers at {address}: it does not run, or the file changes metrics; then give --pid"
        ),
    };
    let before = before.filter(|told| told.pid == pid);
    signal(pid)?;
    let since = Instant::now();
    loop {
        let told = ask(address).await.ok().filter(|told| told.pid == pid);
        match told {
            Some(told)
                if before
                    .as_ref()
                    .is_none_or(|before| told.reloads > before.reloads) =>
            {
                return match told.reload_refused {
                    None => Ok(pid),
                    Some(cause) => bail!(
                        "the {daemon} (process {pid}) did not take the settings, the old ones go on: {cause}"
                    ),
                };
            }
            _ if since.elapsed() >= limit => bail!(
                "the {daemon} (process {pid}) did not say at {address} that it took the settings; its log says why"
            ),
            _ => sleep(PAUSE).await,
        }
    }
}

/// Has process `pid` read its settings again.
fn signal(pid: i32) -> anyhow::Result<()> {
    // A number of another PID namespace is somebody else here, whom SIGHUP may end.
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    if name.trim_end() != "fanal" {
        bail!("process {pid} is no fanal on this machine: reload it where it runs");
    }
    let process = Pid::from_raw(pid).context("no process")?;
    kill_process(process, Signal::HUP).with_context(|| format!("signalling process {pid}"))
}

async fn ask(address: SocketAddr) -> anyhow::Result<Told> {
    let url = url::Url::parse(&format!("http://{address}/ready"))?;
    let host = address.ip().to_string();
    let got = probe::get(&host, address.port(), &url);
    let body = tokio::time::timeout(ANSWER_LIMIT, got).await??;
    Ok(serde_json::from_slice(&body)?)
}
