//! Honest pictures under attack: `cargo bench --bench attack -- --minutes 120`.
//!
//! Both daemons as they are shipped relay cameras to players. First nobody attacks, then a process
//! beside them does, at every door there is:
//!
//! - the web port: slow heads, heads without end, stolen-looking tokens, mutated requests, sockets;
//! - the RTSP port: garbage, wrong passwords, interleaved data, connections that say nothing;
//! - the link's port: datagrams like QUIC's and like parity, TCP that is no TLS, half a handshake;
//! - the gateway's own UDP ports: the same datagrams;
//! - from inside: a neighbour's gateway with its own certificate, which floods control messages,
//!   streams and datagrams, and links again whenever it is thrown out;
//! - from above: receivers of further centres, with certificates and agreements of their own and an
//!   operator who signs for them, which say what no honest one would, ask and confirm falsely, read
//!   nothing, stop streams, send datagrams, and take links only to drop them.
//!
//! All arguments, and the same in a debug build:
//!
//!     cargo bench --bench attack -- --minutes 120 --cameras 8 --rate 300 --seed 1
//!     cargo test --bench attack -- --minutes 1
//!
//! `--rate` bounds each kind's attempts in a second, since attacker and attacked share the machine;
//! 0: as many as it can. Printed, for each window: the share of the cameras' pictures that was
//! shown, how late they were, what the daemons use, and what was tried. The exit status is 1 where a
//! daemon ended, used more memory than its unit allows, sent a byte outside a grant, or shows nothing.
#![allow(missing_docs, clippy::print_stdout, clippy::print_stderr)]

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;

#[path = "../tests/support/chance.rs"]
mod chance;
#[path = "attack/doors.rs"]
mod doors;
#[path = "attack/inside.rs"]
mod inside;
#[path = "attack/outside.rs"]
mod outside;
#[path = "parts/mod.rs"]
mod parts;
#[path = "attack/tried.rs"]
mod tried;
#[path = "attack/turned.rs"]
mod turned;

use doors::Doors;
use parts::process::{self, Process, descriptors};
use parts::site::{self, Settings, Site, Start, Urls};
use parts::viewers::{self, Seen};

/// The commune whose gateway attacks.
const NEIGHBOUR: &str = "voisine";
/// A window of attack is no longer than this: grants last half an hour.
const WINDOW: Duration = Duration::from_secs(600);
/// The window without an attack.
const QUIET: Duration = Duration::from_secs(60);
/// What the units allow, MB: gateway, receiver.
const MEMORY: [f64; 2] = [1_024.0, 4_096.0];

struct Options {
    minutes: f64,
    cameras: usize,
    rate: u32,
    seed: u64,
}

fn main() -> anyhow::Result<ExitCode> {
    // Cargo gives `--bench` to every bench.
    let args = std::env::args().skip(1).filter(|arg| arg != "--bench");
    let args: Vec<String> = args.collect();
    let mut args = args.iter().map(String::as_str);
    match args.next() {
        Some("view") => {
            viewers::run(next(&mut args)?, next(&mut args)?)?;
            Ok(ExitCode::SUCCESS)
        }
        Some("attack") => {
            let doors = Doors::read(next(&mut args)?)?;
            tried::run(&doors)?;
            Ok(ExitCode::SUCCESS)
        }
        first => run(&Options::read(first, &mut args)?),
    }
}

fn next<'a>(args: &mut impl Iterator<Item = &'a str>) -> anyhow::Result<&'a str> {
    args.next().context("an argument is missing")
}

impl Options {
    fn read<'a>(
        first: Option<&'a str>,
        args: &mut impl Iterator<Item = &'a str>,
    ) -> anyhow::Result<Self> {
        let mut options = Self {
            minutes: 2.0,
            cameras: 4,
            rate: 300,
            seed: 1,
        };
        let mut option = first;
        while let Some(name) = option {
            match name {
                "--minutes" => options.minutes = next(args)?.parse()?,
                "--cameras" => options.cameras = next(args)?.parse::<usize>()?.max(1),
                "--rate" => options.rate = next(args)?.parse()?,
                "--seed" => options.seed = next(args)?.parse()?,
                // A filter of benches, as `cargo bench NAME` gives it.
                _ => {}
            }
            option = args.next();
        }
        Ok(options)
    }
}

fn run(options: &Options) -> anyhow::Result<ExitCode> {
    process::raise_descriptors();
    let simulator = site::simulator(options.cameras, Start::Live, false)?;
    let settings = Settings::with_others(&simulator.urls, &[NEIGHBOUR.to_owned()])?;
    let place = settings.file("");
    let unused: SocketAddr = "127.0.0.1:0".parse()?;
    settings.write_gateway(NEIGHBOUR, &place, NEIGHBOUR, unused)?;
    for kind in 0..turned::KINDS.len() {
        settings.further_centre(&turned::centre(kind))?;
    }
    settings.further_operator(turned::ACCOMPLICE, "900001")?;
    let site = Site::run(settings)?;
    println!(
        "{} cameras, {} minutes, {} attempts a second and kind, seed {}; logs in {}",
        options.cameras,
        options.minutes,
        options.rate,
        options.seed,
        site.directory().display()
    );
    println!(
        "window            shown   p50 ms   p99 ms   max ms   gateway MB peak fds  disk MB   receiver MB peak fds"
    );
    let quiet = QUIET.min(Duration::from_secs_f64(options.minutes * 60.0));
    let mut is_well = window(&site, &simulator.urls, quiet, None)?;
    let mut left = Duration::from_secs_f64(options.minutes * 60.0);
    let mut seed = options.seed;
    while !left.is_zero() {
        let length = left.min(WINDOW);
        left -= length;
        is_well &= window(&site, &simulator.urls, length, Some((options, seed)))?;
        seed += 1;
    }
    Ok(if is_well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Players for so long, with an attack or without.
fn window(
    site: &Site,
    cameras: &Urls,
    length: Duration,
    attack: Option<(&Options, u64)>,
) -> anyhow::Result<bool> {
    let granted = site.request(cameras)?;
    let list = site.write("watched", &viewers::list(&granted, cameras))?;
    let seconds = length.as_secs().max(15);
    let attacker = match attack {
        None => None,
        Some((options, seed)) => {
            let doors = Doors::of(site, &granted, (options.rate, seed, seconds))?;
            Some(Process::role("attack", &[&doors.write(site)?])?)
        }
    };
    let players = Process::role("view", &[&list, &seconds.to_string()])?;
    let seen = Seen::of(players)?;
    let tried = attacker.map(Process::end).transpose()?;
    let [p50, p99, most] = seen.transit;
    let name = if tried.is_some() { "attack" } else { "quiet" };
    let gateway = (site.gateway.usage()?, descriptors(site.gateway.id())?);
    let receiver = (site.receiver.usage()?, descriptors(site.receiver.id())?);
    println!(
        "{name:<7} {seconds:>6} s  {:>5.1} %  {p50:>7.1}  {p99:>7.1}  {most:>7.1}   {:>10.0} {:>4.0} {:>3}  {:>7.1}   {:>11.0} {:>4.0} {:>3}",
        seen.share * 100.0,
        gateway.0.memory,
        gateway.0.peak,
        gateway.1,
        written(site)?,
        receiver.0.memory,
        receiver.0.peak,
        receiver.1
    );
    if let Some(tried) = tried {
        println!("  tried: {}", tried.trim());
    }
    let is_small = gateway.0.peak < MEMORY[0] && receiver.0.peak < MEMORY[1];
    if !is_small {
        println!("  a daemon uses more memory than its unit allows");
    }
    let ungranted = site.scrape()?[0].sum("fanal_gateway_ungranted_bytes_total");
    if ungranted > 0.0 {
        println!("  {ungranted} bytes left the gateway outside a grant");
    }
    Ok(is_small && ungranted == 0.0 && seen.share > 0.0 && seen.altered == 0)
}

/// What the gateway has on disk: its journal and its log, MB.
fn written(site: &Site) -> anyhow::Result<f64> {
    let mut bytes = site.settings().file("gateway.log").metadata()?.len();
    for file in std::fs::read_dir(site.settings().file("gateway").join("journal"))? {
        bytes += file?.metadata()?.len();
    }
    Ok(bytes as f64 / 1e6)
}
