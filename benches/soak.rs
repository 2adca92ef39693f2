//! A day in an hour: `cargo bench --bench soak -- --minutes 60`.
//!
//! 200 cameras, half of them misbehaving, behind both daemons as they are shipped. An
//! operator asks for 1 to 16 of them, renews and gives back at random, players attach
//! and leave, grants run out, the commune cuts. The random numbers have a seed, which
//! is printed.
//!
//!     cargo bench --bench soak -- --minutes 60 --cameras 200 --seed 1 --faults NAME,NAME
//!
//! Good cameras: H.264, H.264 that begins with any picture, MJPEG, and with a password.
//! Bad ones: those that `fanal simulate --fault list` names, and ones that are not
//! there, hang up, are silent, know no such path, or want another password.
//!
//! Printed: a row a minute of memory, descriptors, threads, CPU, journal and log lines
//! of both daemons and sessions at the cameras; the slopes over the second half; what is
//! left when all is released. The exit status is 1 where something grows beyond its
//! bound or is left.
#![allow(missing_docs, clippy::print_stdout, clippy::print_stderr)]

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;

#[path = "soak/cameras.rs"]
mod cameras;
#[path = "../tests/support/chance.rs"]
mod chance;
#[path = "soak/curve.rs"]
mod curve;
#[path = "soak/operator.rs"]
mod operator;
#[path = "parts/mod.rs"]
mod parts;

use cameras::Zoo;
use curve::Curve;
use operator::Operator;
use parts::process;
use parts::site::Site;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How long all may take to be closed once all was released: a camera's session is kept
/// for 10 s, and a silent camera's TEARDOWN is waited for.
const CLOSING: Duration = Duration::from_secs(90);

struct Options {
    minutes: f64,
    cameras: usize,
    seed: u64,
    faults: Option<Vec<String>>,
}

fn main() -> anyhow::Result<ExitCode> {
    // Cargo gives `--bench` to every bench.
    let args = std::env::args().skip(1).filter(|arg| arg != "--bench");
    let args: Vec<String> = args.collect();
    let mut options = Options {
        minutes: 2.0,
        cameras: 200,
        seed: 1,
        faults: None,
    };
    let mut args = args.iter().map(String::as_str);
    while let Some(name) = args.next() {
        let mut value = || {
            args.next()
                .with_context(|| format!("{name}: a value is missing"))
        };
        match name {
            "--minutes" => options.minutes = value()?.parse()?,
            "--cameras" => options.cameras = value()?.parse::<usize>()?.max(20),
            "--seed" => options.seed = value()?.parse()?,
            "--faults" => {
                options.faults = Some(value()?.split(',').map(str::to_owned).collect());
            }
            // A filter of benches, as `cargo bench NAME` gives it.
            _ => {}
        }
    }
    run(&options)
}

fn run(options: &Options) -> anyhow::Result<ExitCode> {
    process::raise_descriptors();
    let zoo = Zoo::start(options.cameras, options.faults.as_deref())?;
    let site = Site::start(&zoo.urls)?;
    let mut curve = Curve::new(site.directory());
    let mut operator = Operator::new(&site, &zoo.urls, options.seed)?;
    println!(
        "{} cameras, {} minutes, seed {}; logs in {}",
        zoo.urls.len(),
        options.minutes,
        options.seed,
        site.directory().display()
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let start = curve.sample(&site, &zoo, operator.done)?;
    let end = Instant::now() + Duration::from_secs_f64(options.minutes * 60.0);
    while Instant::now() < end {
        let until = end.min(Instant::now() + LOOK_EVERY);
        runtime.block_on(operator.run(until))?;
        curve.sample(&site, &zoo, operator.done)?;
    }
    curve.print();
    let done = operator.done;
    println!(
        "{} grants of {} cameras, {} renewed, {} released, {} cuts, {} refused; {} players, {} pictures",
        done.grants,
        done.cameras,
        done.renewed,
        done.released,
        done.cut,
        done.refused,
        done.players,
        done.pictures
    );
    let flat = curve.judge();
    runtime.block_on(operator.release_all())?;
    let since = Instant::now();
    let last = loop {
        let sample = curve.sample(&site, &zoo, operator.done)?;
        let closed = sample.sessions == 0 && sample.relays == [0.0, 0.0] && !sample.cameras_busy();
        if closed || since.elapsed() > CLOSING {
            break sample;
        }
        std::thread::sleep(Duration::from_secs(1));
    };
    println!(
        "all was released; closed after {:.0} s",
        since.elapsed().as_secs_f64()
    );
    let closed = Curve::judge_end(&start, &last);
    Ok(if flat && closed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
