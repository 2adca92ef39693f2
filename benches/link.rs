//! Pictures over links that are far, lossy, narrow, cut: `cargo bench --bench link`.
//!
//! Simulated cameras → gateway → an emulated link (UDP, in user space, seeded) →
//! receiver → RTSP players; gateway, receiver, cameras and players are processes of
//! their own. A second player at each camera itself gives the measure: the time from a
//! picture's arrival there to its arrival at the relayed player, and which are missing.
//!
//!     cargo bench --bench link -- --seconds 30 --seed 1 --case "1 %" --strategy fanal
//!
//! `--case` and `--strategy` take a part of a name. `--path ADDRESS` runs the cases over TCP
//! on a path that the system emulates instead (routes, netem), to this address of the
//! machine's own; UDP must not pass there. What the link does to packets comes
//! from the seed, which is printed; when they come is the machine's. Nothing here
//! asserts a time: it prints.
#![allow(missing_docs, clippy::print_stdout, clippy::print_stderr)]

use std::time::Duration;

use anyhow::Context;

#[path = "link/case.rs"]
mod case;
#[path = "link/fall.rs"]
mod fall;
#[path = "link/first.rs"]
mod first;
#[path = "parts/mod.rs"]
mod parts;
#[path = "link/place.rs"]
mod place;
#[path = "link/stream.rs"]
mod stream;
#[path = "../tests/support/mod.rs"]
mod support;
#[path = "link/watch.rs"]
mod watch;

use case::{Case, Strategy};
use parts::process::Process;

/// How long pictures run before they count: the first group, and what is learnt of the link.
const SETTLE: Duration = Duration::from_secs(6);

struct Wanted {
    seconds: u64,
    seed: u64,
    case: String,
    strategy: String,
    path: Option<std::net::IpAddr>,
}

fn main() -> anyhow::Result<()> {
    // Cargo gives `--bench` to every bench.
    let args: Vec<String> = std::env::args()
        .skip(1)
        .filter(|arg| arg != "--bench")
        .collect();
    let mut args = args.iter().map(String::as_str);
    let mut wanted = Wanted {
        seconds: 20,
        seed: 1,
        case: String::new(),
        strategy: String::new(),
        path: None,
    };
    while let Some(name) = args.next() {
        let mut value = || args.next().context("an argument is missing");
        match name {
            "watch" => return watch::run(value()?, value()?, value()?),
            "--seconds" => wanted.seconds = value()?.parse()?,
            "--seed" => wanted.seed = value()?.parse()?,
            "--case" => wanted.case = value()?.to_owned(),
            "--path" => wanted.path = Some(value()?.parse()?),
            "--strategy" => wanted.strategy = value()?.to_owned(),
            // A filter of benches, as `cargo bench NAME` gives it.
            _ => {}
        }
    }
    compare(&wanted)
}

fn compare(wanted: &Wanted) -> anyhow::Result<()> {
    println!("seed {}, {} s a run", wanted.seed, wanted.seconds);
    if "first".contains(&wanted.case) || wanted.case.is_empty() {
        first::all(wanted.seed)?;
    }
    if "fall back".contains(&wanted.case) || wanted.case.is_empty() {
        fall::all(wanted.seed)?;
    }
    println!(
        "\n{:<34} {:<10} {:>8} {:>6} {:>6} {:>6} {:>7} {:>7} {:>8} {:>6}  link",
        "case", "strategy", "first ms", "p50", "p95", "p99", "max ms", "shown %", "freeze", "use %"
    );
    for case in case::all() {
        let is_led = wanted.path.is_none() || !case.udp;
        if !case.name.contains(&wanted.case) || !is_led {
            continue;
        }
        for strategy in case.strategies {
            if strategy.name().contains(&wanted.strategy) {
                run(&case, *strategy, wanted)?;
            }
        }
    }
    Ok(())
}

fn run(case: &Case, strategy: Strategy, wanted: &Wanted) -> anyhow::Result<()> {
    let place = place::Place::start(case, strategy, wanted.seed, wanted.path)?;
    let relayed = place.request(&case.cameras)?;
    let list = place.site.write("watched", &place.list(&relayed))?;
    let cut = case.event.map_or(Duration::ZERO, case::Event::lasts);
    let window = Duration::from_secs(wanted.seconds) + cut;
    let seconds = window.as_secs().to_string();
    let settle = SETTLE.as_secs().to_string();
    let watching = Process::role("watch", &[&list, &settle, &seconds])?;
    std::thread::sleep(SETTLE);
    let before = place.way.counts();
    let event = (window - cut) / 3;
    std::thread::sleep(event);
    if let Some(event) = case.event {
        event.happen(&place.way, case);
    }
    std::thread::sleep(window - event - cut);
    let after = place.way.counts();
    let seen = watch::Seen::of(watching)?;
    let scrape = place.site.scrape()?;
    // The longest freeze is the cut and what follows it.
    let back = match (case.event, cut) {
        (Some(case::Event::NoUdp(_)), _) => {
            format!(
                "; a picture {:.2} s after UDP was dropped",
                seen.freeze / 1e3
            )
        }
        (_, Duration::ZERO) => String::new(),
        (_, cut) => format!(
            "; a picture {:.2} s after the cut",
            seen.freeze / 1e3 - cut.as_secs_f64()
        ),
    };
    let bits = (after.bytes - before.bytes) as f64 * 8.0 / window.as_secs_f64();
    let rate = case.up.rate.unwrap_or(1_000_000_000) as f64;
    println!(
        "{:<34} {:<10} {:>8.0} {:>6.0} {:>6.0} {:>6.0} {:>7.0} {:>7.1} {:>8.0} {:>6.1}  {:.2} Mbit/s; packets lost {}, overflowed {}; parity {:.0} kB; groups cut {}; on sub {}{}",
        case.name,
        strategy.name(),
        seen.first,
        seen.p50,
        seen.p95,
        seen.p99,
        seen.longest,
        seen.shown * 100.0,
        seen.freeze,
        bits / rate * 100.0,
        bits / 1e6,
        after.lost - before.lost,
        after.overflowed - before.overflowed,
        scrape[0].sum("fanal_gateway_link_parity_bytes_total") / 1e3,
        scrape[0].sum("fanal_gateway_gops_reset_total"),
        scrape[0].sum("fanal_gateway_relays{profile=\"sub\"}"),
        back,
    );
    Ok(())
}
