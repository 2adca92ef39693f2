//! What relaying costs: `cargo bench --bench relay`.
//!
//! Simulated cameras → gateway → receiver → RTSP players, each a process of its
//! own on loopback, for 1, 50 and 200 cameras of 2 Mbit/s and 25 pictures a
//! second. Beside it, for hosts differ, the same cameras through a bare pipe:
//! retina → quinn → a reader that throws everything away.
//!
//!     cargo bench --bench relay -- --cameras 1,50,200 --seconds 15
//!
//! Nothing here asserts a time: it prints.
#![allow(missing_docs, clippy::print_stdout, clippy::print_stderr)]

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

#[path = "relay/idle.rs"]
mod idle;
#[path = "parts/mod.rs"]
mod parts;
#[path = "relay/pipe.rs"]
mod pipe;

use parts::metrics::Scrape;
use parts::process::{self, Process, Usage};
use parts::site::{self, Site, Start, Urls};
use parts::viewers;

/// How long the pictures run before anything is measured.
const WARM_UP: Duration = Duration::from_secs(4);
/// How long the players go on once everything is measured.
const AFTER: Duration = Duration::from_secs(3);
/// How long daemons that do nothing are watched.
const IDLE: Duration = Duration::from_secs(15);

fn main() -> anyhow::Result<()> {
    // Cargo gives `--bench` to every bench.
    let args: Vec<String> = std::env::args()
        .skip(1)
        .filter(|arg| arg != "--bench")
        .collect();
    let mut args = args.iter().map(String::as_str);
    match args.next() {
        Some("view") => viewers::run(next(&mut args)?, next(&mut args)?),
        Some("pipe-receive") => pipe::receive(Path::new(next(&mut args)?)),
        Some("pipe-send") => pipe::send(Path::new(next(&mut args)?), next(&mut args)?),
        other => {
            let mut cameras = vec![1, 50, 200];
            let mut seconds = 15;
            let mut option = other;
            while let Some(name) = option {
                match name {
                    "--cameras" => {
                        let list = next(&mut args)?.split(',');
                        cameras = list.map(str::parse).collect::<Result<_, _>>()?;
                    }
                    "--seconds" => seconds = next(&mut args)?.parse()?,
                    // A filter of benches, as `cargo bench NAME` gives it.
                    _ => {}
                }
                option = args.next();
            }
            compare(&cameras, Duration::from_secs(seconds))
        }
    }
}

fn next<'a>(args: &mut impl Iterator<Item = &'a str>) -> anyhow::Result<&'a str> {
    args.next().context("an argument is missing")
}

/// What one run of N cameras took.
struct Run {
    cameras: usize,
    gateway: Usage,
    receiver: Usage,
    simulator: Usage,
    players: Usage,
    gigabytes: f64,
    seen: viewers::Seen,
    before: [Scrape; 2],
    after: [Scrape; 2],
    request: Duration,
    live: Duration,
    pipe: [Usage; 2],
    pipe_gigabytes: f64,
}

fn compare(cameras: &[usize], window: Duration) -> anyhow::Result<()> {
    idle::link(IDLE)?;
    let most = cameras.iter().copied().max().unwrap_or(1);
    idle_daemons(most)?;
    let mut runs = Vec::new();
    for count in cameras {
        let run = relay(*count, window)?;
        print(&run, window);
        runs.push(run);
    }
    println!("\ncameras  gateway + receiver, core-s/GB   bare pipe   ratio");
    for run in &runs {
        let daemons = (run.gateway.cpu + run.receiver.cpu) / run.gigabytes;
        let pipe = (run.pipe[0].cpu + run.pipe[1].cpu) / run.pipe_gigabytes;
        println!(
            "{:>7}  {daemons:>29.2}  {pipe:>10.2}  {:>6.2}",
            run.cameras,
            daemons / pipe
        );
    }
    Ok(())
}

/// An idle commune: cameras configured, none relayed.
fn idle_daemons(cameras: usize) -> anyhow::Result<()> {
    let simulator = site::simulator(cameras, Start::KeyFrame)?;
    let site = Site::start(&simulator.urls)?;
    let before = [site.gateway.usage()?, site.receiver.usage()?];
    std::thread::sleep(IDLE);
    let after = [site.gateway.usage()?, site.receiver.usage()?];
    println!("\nidle, {cameras} cameras configured, {} s", IDLE.as_secs());
    for (name, before, after) in [
        ("gateway", before[0], after[0]),
        ("receiver", before[1], after[1]),
    ] {
        let used = after.since(before);
        println!(
            "  {name:<9} {:>6.1} MB resident, {:.1} of it its own   {:.4} core",
            used.memory,
            used.own_memory,
            used.cpu / IDLE.as_secs_f64()
        );
    }
    // A camera that begins with a key frame: what is left is ours.
    let one = simulator.urls.iter().take(1).cloned().collect();
    let relayed = site.request(&one)?;
    let list = site.write("players", &viewers::list(&relayed, &Urls::new()))?;
    let seen = viewers::Seen::of(Process::role("view", &[&list, "2"])?)?;
    let [_, receiver] = site.scrape()?;
    println!(
        "first picture of a camera that begins with a key frame: at the receiver {:.0} ms after the request came, at a player {:.0} ms after it connected",
        receiver.all_mean("fanal_receiver_first_picture_seconds") * 1e3,
        seen.first[0]
    );
    Ok(())
}

fn relay(cameras: usize, window: Duration) -> anyhow::Result<Run> {
    let simulator = site::simulator(cameras, Start::Live)?;
    let site = Site::start(&simulator.urls)?;
    let asked = Instant::now();
    let relayed = site.request(&simulator.urls)?;
    let request = asked.elapsed();
    let live = site.wait_live(cameras)?;
    let players = Process::role(
        "view",
        &[
            &site.write("players", &viewers::list(&relayed, &simulator.urls))?,
            &(WARM_UP + window + AFTER).as_secs().to_string(),
        ],
    )?;
    std::thread::sleep(WARM_UP);
    let all = [&site.gateway, &site.receiver, &simulator.process, &players];
    let before = usages(all)?;
    let scraped = site.scrape()?;
    std::thread::sleep(window);
    let after = usages(all)?;
    let scraped = [scraped, site.scrape()?];
    let seen = viewers::Seen::of(players)?;
    let [before_metrics, after_metrics] = scraped;
    let gigabytes = (after_metrics[1].sum("fanal_receiver_relay_bytes_total")
        - before_metrics[1].sum("fanal_receiver_relay_bytes_total"))
        / 1e9;
    if gigabytes <= 0.0 {
        bail!(
            "nothing was relayed: look at the logs in {}",
            site.directory().display()
        );
    }
    drop(site);
    let (pipe, pipe_gigabytes) = bare_pipe(&simulator.urls, window)?;
    let [gateway, receiver, simulating, playing] = after;
    Ok(Run {
        cameras,
        gateway: gateway.since(before[0]),
        receiver: receiver.since(before[1]),
        simulator: simulating.since(before[2]),
        players: playing.since(before[3]),
        gigabytes,
        seen,
        before: before_metrics,
        after: after_metrics,
        request,
        live,
        pipe,
        pipe_gigabytes,
    })
}

fn usages(all: [&Process; 4]) -> anyhow::Result<[Usage; 4]> {
    Ok([
        all[0].usage()?,
        all[1].usage()?,
        all[2].usage()?,
        all[3].usage()?,
    ])
}

fn bare_pipe(urls: &Urls, window: Duration) -> anyhow::Result<([Usage; 2], f64)> {
    let directory = process::Directory::new()?;
    let mut receive = Process::role("pipe-receive", &[&directory.path().display().to_string()])?;
    let address = receive.line()?;
    let list = directory.path().join("cameras");
    std::fs::write(
        &list,
        urls.iter()
            .map(|(_, url)| format!("{url}\n"))
            .collect::<String>(),
    )?;
    let send = Process::role("pipe-send", &[&list.display().to_string(), &address])?;
    std::thread::sleep(WARM_UP);
    let bytes = || -> anyhow::Result<f64> {
        let text = std::fs::read_to_string(directory.path().join("bytes"))?;
        Ok(text.trim().parse::<f64>()? / 1e9)
    };
    let before = (send.usage()?, receive.usage()?, bytes()?);
    std::thread::sleep(window);
    let after = (send.usage()?, receive.usage()?, bytes()?);
    Ok((
        [after.0.since(before.0), after.1.since(before.1)],
        after.2 - before.2,
    ))
}

fn print(run: &Run, window: Duration) {
    let seconds = window.as_secs_f64();
    println!(
        "\n{} cameras, {:.0} Mbit/s, {seconds} s",
        run.cameras,
        run.gigabytes * 8_000.0 / seconds
    );
    println!("  process      core-s/GB    cores   resident MB");
    for (name, usage, gigabytes) in [
        ("gateway", run.gateway, run.gigabytes),
        ("receiver", run.receiver, run.gigabytes),
        ("simulator", run.simulator, run.gigabytes),
        ("players", run.players, run.gigabytes),
        ("pipe, send", run.pipe[0], run.pipe_gigabytes),
        ("pipe, recv", run.pipe[1], run.pipe_gigabytes),
    ] {
        println!(
            "  {name:<11} {:>10.2} {:>8.3} {:>13.1}",
            usage.cpu / gigabytes,
            usage.cpu / seconds,
            usage.memory
        );
    }
    let seen = &run.seen;
    println!(
        "  transit, camera's own arrival → player, ms: p50 {:.2}  p99 {:.2}  max {:.2}  ({} pictures of {} cameras)",
        seen.transit[0], seen.transit[1], seen.transit[2], seen.compared, seen.compared_cameras
    );
    println!(
        "  pictures: {} at the players, {} lost there, {} that no direct player saw; skips {}, groups reset {}, packets lost {}",
        seen.pictures,
        seen.lost,
        seen.altered,
        run.after[1].sum("fanal_receiver_viewer_skips_total"),
        run.after[0].sum("fanal_gateway_gops_reset_total"),
        run.after[0].sum("fanal_gateway_link_lost_packets_total"),
    );
    let [gateway, receiver] = &run.after;
    println!(
        "  pictures in the window: {} left the gateway, {} reached the receiver; datagrams per send {:.1}",
        gateway.sum("fanal_gateway_frames_total") - run.before[0].sum("fanal_gateway_frames_total"),
        receiver.sum("fanal_receiver_frames_total")
            - run.before[1].sum("fanal_receiver_frames_total"),
        gateway.sum("fanal_gateway_link_datagrams_per_send"),
    );
    println!(
        "  transit by the receiver's metric: mean {:.2} ms, 99 % within {} ms",
        receiver.mean("fanal_receiver_transit_seconds", &run.before[1]) * 1e3,
        receiver.within("fanal_receiver_transit_seconds", 0.99, &run.before[1]) * 1e3,
    );
    println!(
        "  request: answered in {:.0} ms (with the start of the program), all live {:.0} ms later (cameras begin with what comes, a key frame every 2 s); first picture at a player {:.0} ms after it connected (median, slowest {:.0})",
        run.request.as_secs_f64() * 1e3,
        run.live.as_secs_f64() * 1e3,
        seen.first[0],
        seen.first[1],
    );
}
