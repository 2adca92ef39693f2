//! Players of relayed cameras, each with another at the camera itself: when each
//! picture came, which never did, and how long the picture stood still.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;

use super::parts::process::Process;
use super::parts::viewers::{Arrivals, Player, play};

/// The very last pictures may still be on their way.
const TAIL: Duration = Duration::from_millis(1_500);

/// What was seen; times in milliseconds.
#[derive(Debug)]
pub(crate) struct Seen {
    /// Connection to the first picture, median.
    pub(crate) first: f64,
    pub(crate) p50: f64,
    pub(crate) p95: f64,
    pub(crate) p99: f64,
    pub(crate) longest: f64,
    /// Part of the cameras' pictures that were seen.
    pub(crate) shown: f64,
    /// Longest time between two pictures.
    pub(crate) freeze: f64,
}

impl Seen {
    pub(crate) fn of(watching: Process) -> anyhow::Result<Self> {
        let text = watching.end()?;
        let values: Vec<f64> = text
            .split_whitespace()
            .map(str::parse)
            .collect::<Result<_, _>>()
            .with_context(|| format!("players said {text}"))?;
        let [first, p50, p95, p99, longest, shown, freeze] = values[..] else {
            anyhow::bail!("players said {text}");
        };
        Ok(Self {
            first,
            p50,
            p95,
            p99,
            longest,
            shown,
            freeze,
        })
    }
}

struct Watched {
    relayed: Arrivals,
    /// Of its main stream, and of its sub-stream.
    own: [Arrivals; 2],
}

pub(crate) fn run(list: &str, settle: &str, seconds: &str) -> anyhow::Result<()> {
    let list = std::fs::read_to_string(list)?;
    let from = Instant::now() + Duration::from_secs(settle.parse()?);
    let until = from + Duration::from_secs(seconds.parse()?);
    let end = until + TAIL;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut players = tokio::task::JoinSet::new();
        let mut watched = Vec::new();
        for line in list.lines() {
            let urls: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            let all: [Arrivals; 3] = Default::default();
            for (at, (url, arrivals)) in urls.into_iter().zip(&all).enumerate() {
                let player = Player {
                    arrivals: Some(Arc::clone(arrivals)),
                    ..Player::default()
                };
                players.spawn(async move { (at, play(&url, player, end).await) });
            }
            let [relayed, main, sub] = all;
            watched.push(Watched {
                relayed,
                own: [main, sub],
            });
        }
        let mut first = Vec::new();
        while let Some(ended) = players.join_next().await {
            let (at, player) = ended?;
            let player = player?;
            if let (0, Some(took)) = (at, player.first) {
                first.push(took.as_secs_f64() * 1e3);
            }
        }
        first.sort_by(f64::total_cmp);
        tell(&first, &watched, (from, until));
        Ok(())
    })
}

fn tell(first: &[f64], watched: &[Watched], (from, until): (Instant, Instant)) {
    let mut transit = Vec::new();
    let (mut given, mut freeze) = (0, Duration::ZERO);
    for camera in watched {
        let take = |arrivals: &Arrivals| -> HashMap<u64, Instant> {
            arrivals.lock().map(|a| a.clone()).unwrap_or_default()
        };
        let [main, sub] = [take(&camera.own[0]), take(&camera.own[1])];
        let counts = |at: &Instant| (from..until).contains(at);
        given += main.values().filter(|at| counts(at)).count();
        let relayed = take(&camera.relayed);
        let mut shown: Vec<Instant> = Vec::new();
        for (hash, arrival) in &relayed {
            let own = main.get(hash).or_else(|| sub.get(hash));
            if let Some(own) = own.filter(|own| counts(own)) {
                let took = arrival.saturating_duration_since(*own);
                transit.push(took.as_secs_f64() * 1e3);
                shown.push(*arrival);
            }
        }
        shown.sort_unstable();
        for pair in shown.windows(2) {
            freeze = freeze.max(pair[1] - pair[0]);
        }
    }
    transit.sort_by(f64::total_cmp);
    let at = |values: &[f64], part: f64| {
        let index = (values.len() as f64 * part) as usize;
        let last = values.len().saturating_sub(1);
        values.get(index.min(last)).copied().unwrap_or(f64::NAN)
    };
    println!(
        "{} {} {} {} {} {} {}",
        at(first, 0.5),
        at(&transit, 0.5),
        at(&transit, 0.95),
        at(&transit, 0.99),
        at(&transit, 1.0),
        transit.len() as f64 / given.max(1) as f64,
        freeze.as_secs_f64() * 1e3,
    );
}
