//! What a whole département costs its centre: `cargo bench --bench departement`.
//!
//! One receiver, the daemon as it is shipped, and the gateways of 1 000 communes,
//! all real: their journals, their checks, their links, each with its own
//! certificate, UDP socket and threads. One of them has cameras and answers
//! requests; it and nine more are processes of their own, the others share two
//! processes, their files in memory (a thousand machines have a thousand disks).
//! They are idle but for the one that is asked.
//!
//!     cargo bench --bench departement -- --links 1,100,1000 --idle 30 --requests 50
//!
//! With `--tcp` all but the one that is asked find no way for UDP and come over TCP.
//!
//! Printed: what an idle link costs the receiver; how fast a request is answered
//! with few and with many links; how the links come back when the receiver is
//! killed and started again, and when it is restarted in order. Nothing here
//! asserts a time.
#![allow(missing_docs, clippy::print_stdout, clippy::print_stderr)]

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

#[path = "departement/asker.rs"]
mod asker;
#[path = "departement/back.rs"]
mod back;
#[path = "departement/crowd.rs"]
mod crowd;
#[path = "parts/mod.rs"]
mod parts;
#[path = "departement/through.rs"]
mod through;

use asker::Asker;
use back::End;
use crowd::Crowd;
use parts::process::{self, Usage};
use parts::site::{self, Settings, Site, Start};

/// Cameras of the commune that is asked.
const CAMERAS: usize = 4;
/// Heads that links brought are written down within 10 s; then, and once each has had
/// its own (20 a second), they are idle.
const SETTLE: (Duration, Duration) = (Duration::from_secs(15), Duration::from_millis(50));
/// How long the links have to come up.
const PATIENCE: Duration = Duration::from_secs(300);

/// What is wanted.
struct Options {
    links: Vec<usize>,
    idle: Duration,
    requests: usize,
    tcp: bool,
}

fn main() -> anyhow::Result<()> {
    // Cargo gives `--bench` to every bench.
    let args: Vec<String> = std::env::args()
        .skip(1)
        .filter(|arg| arg != "--bench")
        .collect();
    let mut args = args.iter().map(String::as_str);
    let mut next = args.next();
    if next == Some("crowd") {
        return crowd::run(Path::new(args.next().context("a list is missing")?));
    }
    let mut options = Options {
        links: vec![1, 100, 1000],
        idle: Duration::from_secs(30),
        requests: 50,
        tcp: false,
    };
    while let Some(name) = next {
        let mut value = || {
            args.next()
                .with_context(|| format!("{name}: a value is missing"))
        };
        match name {
            "--links" => {
                let list = value()?.split(',');
                options.links = list.map(str::parse).collect::<Result<_, _>>()?;
            }
            "--idle" => options.idle = Duration::from_secs(value()?.parse()?),
            "--requests" => options.requests = value()?.parse()?,
            "--tcp" => options.tcp = true,
            // A filter of benches, as `cargo bench NAME` gives it.
            _ => {}
        }
        next = args.next();
    }
    options.links.sort_unstable();
    run(&options)
}

/// The receiver with so many links that have nothing to say.
struct Idle {
    links: usize,
    receiver: Usage,
    /// Sent by one gateway, without the headers of UDP and IP; bytes per second.
    sent: Option<f64>,
}

fn run(options: &Options) -> anyhow::Result<()> {
    process::raise_descriptors();
    let most = options.links.last().copied().unwrap_or(1).max(1);
    let communes = crowd::names(most - 1);
    let simulator = site::simulator(CAMERAS, Start::KeyFrame, false)?;
    let settings = Settings::with_others(&simulator.urls, &communes)?;
    let through = match options.tcp {
        true => Some(through::start(settings.link())?),
        false => None,
    };
    let mut crowd = Crowd::prepare(&settings, communes, through)?;
    let mut site = Site::run(settings)?;
    let asker = Asker::new(&site, &simulator.urls)?;
    let mut idle: Vec<Idle> = Vec::new();
    println!("links   resident MB, its own   CPU, core   request to 201, ms: p50, p95, max");
    for links in &options.links {
        crowd.grow(links.saturating_sub(1))?;
        wait_for(&site, *links)?;
        std::thread::sleep(SETTLE.0 + SETTLE.1 * u32::try_from(*links)?);
        let now = watch(&site, &crowd, *links, options.idle)?;
        let asked = asker.ask(options.requests)?;
        println!(
            "{links:>5}   {:>11.1} {:>9.1}   {:>9.4}   {asked}",
            now.receiver.memory,
            now.receiver.own_memory,
            now.receiver.cpu / options.idle.as_secs_f64(),
        );
        idle.push(now);
    }
    print_per_link(&idle, options.idle);
    for end in [End::Killed, End::Stopped] {
        back::restart(&mut site, &asker, most, end)?;
    }
    Ok(())
}

/// Waits until so many gateways are linked.
fn wait_for(site: &Site, links: usize) -> anyhow::Result<()> {
    let until = Instant::now() + PATIENCE;
    loop {
        let [_, receiver] = site.scrape()?;
        let up = receiver.count("fanal_receiver_link_up");
        if up >= links {
            return Ok(());
        }
        if Instant::now() > until {
            bail!(
                "{up} of {links} links are up: look at the logs in {}",
                site.directory().display()
            );
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn watch(site: &Site, crowd: &Crowd, links: usize, time: Duration) -> anyhow::Result<Idle> {
    let (before, sent) = (site.receiver.usage()?, crowd.sent_bytes()?);
    std::thread::sleep(time);
    let (after, sent) = (site.receiver.usage()?, crowd.sent_bytes()? - sent);
    let senders = crowd.counted() as f64;
    Ok(Idle {
        links,
        receiver: after.since(before),
        sent: (senders > 0.0).then(|| sent / senders / time.as_secs_f64()),
    })
}

/// The difference between few and many links, by link.
fn print_per_link(idle: &[Idle], time: Duration) {
    let (Some(few), Some(many)) = (idle.iter().rev().nth(1), idle.last()) else {
        return;
    };
    let links = (many.links - few.links).max(1) as f64;
    println!(
        "an idle link costs the receiver {:.1} KB of its own memory and {:.1} µs of CPU a second ({} links less {}, over {} s, as the kernel counts them)",
        (many.receiver.own_memory - few.receiver.own_memory) * 1024.0 / links,
        (many.receiver.cpu - few.receiver.cpu) * 1e6 / time.as_secs_f64() / links,
        many.links,
        few.links,
        time.as_secs(),
    );
    if let Some(sent) = many.sent {
        println!(
            "its gateway sends {sent:.0} bytes/s (fanal_gateway_link_sent_bytes_total, without UDP and IP headers)"
        );
    }
}
