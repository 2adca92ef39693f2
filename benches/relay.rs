//! What relaying costs: `cargo bench --bench relay`.
//!
//! Simulated cameras → gateway → receiver → RTSP players, each a process of its
//! own on loopback, for cameras of 2 Mbit/s and 25 pictures a second: 1, 50 and 200
//! of them; 200 of communes with 500 and 1 000; 1 000 with players at 50. Beside it,
//! for hosts differ, the same cameras through a bare pipe: retina → quinn → a reader
//! that throws everything away (up to 200 cameras).
//!
//!     cargo bench --bench relay -- --cameras 1,50,200 --seconds 15
//!     cargo bench --bench relay -- --cameras 200 --configured 1000
//!     cargo bench --bench relay -- --cameras 1000 --viewers 50
//!
//! `--credentials`: the cameras ask for a password (Digest), as those of users do.
//! `--pulled 100`: nothing but the pull: a gateway that keeps so many cameras warm,
//! beside retina alone over the same cameras.
//!
//! `--perf DIR` runs `perf record` over both daemons while they are measured and
//! leaves `gateway.data` and `receiver.data` there, for a flame graph:
//!
//!     RUSTFLAGS="-C force-frame-pointers=yes" cargo bench --bench relay -- --cameras 200 --perf /tmp
//!     perf script -i /tmp/gateway.data | inferno-collapse-perf | inferno-flamegraph > gateway.svg
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
#[path = "relay/pull.rs"]
mod pull;

use parts::metrics::Scrape;
use parts::process::{self, Process, Usage};
use parts::site::{self, Site, Start, Urls};
use parts::viewers;

use fanal::format::designation::CAMERAS_LIMIT;
use fanal::simulate::DEFAULT_GOP;

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
        Some("pull") => pull::run(Path::new(next(&mut args)?)),
        Some("pipe-send") => pipe::send(Path::new(next(&mut args)?), next(&mut args)?),
        other => {
            let options = Options::read(other, &mut args)?;
            compare(&options)
        }
    }
}

/// One thing to measure.
#[derive(Clone, Copy, Debug)]
struct Case {
    relayed: usize,
    configured: usize,
    viewers: usize,
}

impl Case {
    /// A camera each, relayed and watched.
    const fn all(cameras: usize) -> Self {
        Self {
            relayed: cameras,
            configured: cameras,
            viewers: cameras,
        }
    }
}

/// What runs unless cameras are named.
const CASES: [Case; 6] = [
    Case::all(1),
    Case::all(50),
    Case::all(200),
    Case {
        configured: 500,
        ..Case::all(200)
    },
    Case {
        configured: 1_000,
        ..Case::all(200)
    },
    Case {
        viewers: 50,
        ..Case::all(1_000)
    },
];
/// The bare pipe is run with up to so many cameras.
const PIPE_LIMIT: usize = 200;

struct Options {
    cases: Vec<Case>,
    window: Duration,
    /// Where profiles go.
    perf: Option<String>,
    /// The cameras ask for a password.
    credentials: bool,
    /// Only the pull of so many cameras is measured.
    pulled: Option<usize>,
}

impl Options {
    fn read<'a>(
        first: Option<&'a str>,
        args: &mut impl Iterator<Item = &'a str>,
    ) -> anyhow::Result<Self> {
        let (mut cameras, mut configured, mut viewers) = (Vec::new(), 0, usize::MAX);
        let mut seconds = 15;
        let (mut perf, mut credentials, mut pulled) = (None, false, None);
        let mut option = first;
        while let Some(name) = option {
            match name {
                "--cameras" => {
                    let list = next(args)?.split(',');
                    cameras = list.map(str::parse).collect::<Result<_, _>>()?;
                }
                "--configured" => configured = next(args)?.parse()?,
                "--viewers" => viewers = next(args)?.parse()?,
                "--seconds" => seconds = next(args)?.parse()?,
                "--credentials" => credentials = true,
                "--pulled" => pulled = Some(next(args)?.parse()?),
                "--perf" => perf = Some(next(args)?.to_owned()),
                // A filter of benches, as `cargo bench NAME` gives it.
                _ => {}
            }
            option = args.next();
        }
        let cases = cameras.into_iter().map(|relayed: usize| Case {
            relayed,
            configured: configured.max(relayed),
            viewers: viewers.min(relayed),
        });
        let mut cases: Vec<Case> = cases.collect();
        if cases.is_empty() {
            cases = CASES.to_vec();
        }
        Ok(Self {
            cases,
            window: Duration::from_secs(seconds),
            perf,
            credentials,
            pulled,
        })
    }
}

fn next<'a>(args: &mut impl Iterator<Item = &'a str>) -> anyhow::Result<&'a str> {
    args.next().context("an argument is missing")
}

/// What one case took.
struct Run {
    case: Case,
    gateway: Usage,
    receiver: Usage,
    simulator: Usage,
    players: Usage,
    /// Gateway and receiver before anything was asked for.
    idle: [Usage; 2],
    gigabytes: f64,
    seen: viewers::Seen,
    before: [Scrape; 2],
    after: [Scrape; 2],
    request: Duration,
    live: Duration,
    most_starts: u64,
    pipe: Option<Pipe>,
}

/// What the bare pipe took: sender, receiver.
#[derive(Clone, Copy, Debug)]
struct Pipe {
    usage: [Usage; 2],
    gigabytes: f64,
}

impl Run {
    /// CPU seconds of both daemons for a gigabyte.
    fn per_gigabyte(&self) -> f64 {
        (self.gateway.cpu + self.receiver.cpu) / self.gigabytes
    }
}

impl Pipe {
    fn per_gigabyte(&self) -> f64 {
        (self.usage[0].cpu + self.usage[1].cpu) / self.gigabytes
    }
}

fn compare(options: &Options) -> anyhow::Result<()> {
    process::raise_descriptors();
    if let Some(cameras) = options.pulled {
        return pull::compare(cameras, options.credentials, options.window);
    }
    idle::link(IDLE)?;
    let full = options
        .cases
        .iter()
        .filter(|case| case.relayed <= PIPE_LIMIT);
    let most = full.map(|case| case.configured).max().unwrap_or(1);
    idle_daemons(most)?;
    let mut runs = Vec::new();
    for case in &options.cases {
        let run = relay(*case, options)?;
        print(&run, options.window);
        runs.push(run);
    }
    println!("\nrelayed  configured  viewers  gateway + receiver, core-s/GB   bare pipe   ratio");
    for run in &runs {
        let Case {
            relayed,
            configured,
            viewers,
        } = run.case;
        let daemons = run.per_gigabyte();
        let pipe = run.pipe.map_or(f64::NAN, |pipe| pipe.per_gigabyte());
        println!(
            "{relayed:>7}  {configured:>10}  {viewers:>7}  {daemons:>29.2}  {pipe:>10.2}  {:>6.2}",
            daemons / pipe
        );
    }
    Ok(())
}

/// An idle commune: cameras configured, none relayed.
fn idle_daemons(cameras: usize) -> anyhow::Result<()> {
    let simulator = site::simulator(cameras, Start::KeyFrame, false)?;
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

    let relayed = site.request(&simulator.urls[..1])?;
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

fn relay(case: Case, options: &Options) -> anyhow::Result<Run> {
    let window = options.window;
    let mut simulator = site::simulator(case.configured, Start::Live, options.credentials)?;
    let site = Site::start(&simulator.urls)?;
    let idle = [site.gateway.usage()?, site.receiver.usage()?];
    let wanted = &simulator.urls[..case.relayed];
    let asked = Instant::now();
    let relayed = site.request(wanted)?;
    let request = asked.elapsed();
    let live = site.wait_live(case.relayed)?;
    let watched = viewers::some(&relayed, case.viewers);
    let players = Process::role(
        "view",
        &[
            &site.write("players", &viewers::list(&watched, &simulator.urls))?,
            &(WARM_UP + window + AFTER).as_secs().to_string(),
        ],
    )?;
    std::thread::sleep(WARM_UP);
    let all = [&site.gateway, &site.receiver, &simulator.process, &players];
    let before = usages(all)?;
    let scraped = site.scrape()?;
    let profiles = profile(&site, options)?;
    std::thread::sleep(window);
    let after = usages(all)?;
    let scraped = [scraped, site.scrape()?];
    let seen = viewers::Seen::of(players)?;
    for profile in profiles {
        profile.end()?;
    }
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
    let pipe = (case.relayed <= PIPE_LIMIT).then(|| bare_pipe(wanted, window));
    let pipe = pipe.transpose()?;
    let [gateway, receiver, simulating, playing] = after;
    Ok(Run {
        case,
        gateway: gateway.since(before[0]),
        receiver: receiver.since(before[1]),
        simulator: simulating.since(before[2]),
        players: playing.since(before[3]),
        idle,
        gigabytes,
        seen,
        before: before_metrics,
        after: after_metrics,
        request,
        live,
        most_starts: simulator.most_starts()?,
        pipe,
    })
}

/// `perf record` over both daemons, where it is wanted.
fn profile(site: &Site, options: &Options) -> anyhow::Result<Vec<Process>> {
    let Some(directory) = &options.perf else {
        return Ok(Vec::new());
    };
    let daemons = [("gateway", &site.gateway), ("receiver", &site.receiver)];
    let started = daemons.map(|(name, process)| {
        let data = format!("{directory}/{name}.data");
        let (id, seconds) = (
            process.id().to_string(),
            options.window.as_secs().to_string(),
        );
        Process::other(
            "perf",
            &[
                "record", "-q", "-F", "499", "-g", "-o", &data, "-p", &id, "--", "sleep", &seconds,
            ],
        )
    });
    started.into_iter().collect()
}

fn usages(all: [&Process; 4]) -> anyhow::Result<[Usage; 4]> {
    Ok([
        all[0].usage()?,
        all[1].usage()?,
        all[2].usage()?,
        all[3].usage()?,
    ])
}

fn bare_pipe(urls: &[(String, String)], window: Duration) -> anyhow::Result<Pipe> {
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
    Ok(Pipe {
        usage: [after.0.since(before.0), after.1.since(before.1)],
        gigabytes: after.2 - before.2,
    })
}

fn print(run: &Run, window: Duration) {
    let Case {
        relayed,
        configured,
        viewers,
    } = run.case;
    println!(
        "\n{relayed} cameras relayed of {configured} configured, {viewers} watched, {:.0} Mbit/s, {} s",
        run.gigabytes * 8_000.0 / window.as_secs_f64(),
        window.as_secs()
    );
    print_usage(run, window);
    print_pictures(run);
    print_start(run);
    print_memory(run);
}

fn print_usage(run: &Run, window: Duration) {
    println!("  process      core-s/GB    cores   resident MB");
    let mut rows = vec![
        ("gateway", run.gateway, run.gigabytes),
        ("receiver", run.receiver, run.gigabytes),
        ("simulator", run.simulator, run.gigabytes),
        ("players", run.players, run.gigabytes),
    ];
    if let Some(pipe) = &run.pipe {
        rows.push(("pipe, send", pipe.usage[0], pipe.gigabytes));
        rows.push(("pipe, recv", pipe.usage[1], pipe.gigabytes));
    }
    for (name, usage, gigabytes) in rows {
        println!(
            "  {name:<11} {:>10.2} {:>8.3} {:>13.1}",
            usage.cpu / gigabytes,
            usage.cpu / window.as_secs_f64(),
            usage.memory
        );
    }
}

fn print_pictures(run: &Run) {
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
}

fn print_start(run: &Run) {
    println!(
        "  request: answered in {:.0} ms (with the start of the program, {} requests of at most {CAMERAS_LIMIT} cameras), all live {:.0} ms later (cameras begin with what comes, a key frame every 2 s)",
        run.request.as_secs_f64() * 1e3,
        run.case.relayed.div_ceil(CAMERAS_LIMIT),
        run.live.as_secs_f64() * 1e3,
    );
    println!(
        "  sessions set up at the cameras within 100 ms: at most {} (by the simulator); first picture at a player {:.0} ms after it connected (median, slowest {:.0})",
        run.most_starts, run.seen.first[0], run.seen.first[1],
    );
}

/// What a relay takes in memory, beside what it must keep: a group of pictures.
fn print_memory(run: &Run) {
    let pictures = run.after[1].sum("fanal_receiver_frames_total")
        - run.before[1].sum("fanal_receiver_frames_total");
    let group = run.gigabytes * 1e6 / pictures.max(1.0) * DEFAULT_GOP as f64;
    let relayed = run.case.relayed as f64;
    let each = |after: Usage, before: Usage| {
        (after.own_memory - before.own_memory).max(0.0) * 1024.0 / relayed
    };
    println!(
        "  memory of its own that a relay takes: gateway {:.0} KB, receiver {:.0} KB (with its viewer, if it has one); a group of pictures: {group:.0} KB",
        each(run.gateway, run.idle[0]),
        each(run.receiver, run.idle[1]),
    );
}
