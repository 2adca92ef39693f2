//! The links come back after the receiver's restart.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::bail;

use super::asker::{Answered, Asker, Outcome};
use crate::parts::site::{COMMUNE, Site};

/// How long the links have to come back.
const PATIENCE: Duration = Duration::from_secs(180);
/// Pause between two requests, and two looks.
const PAUSE: Duration = Duration::from_millis(100);
/// How long the operator goes on asking once all are back.
const AFTER: Duration = Duration::from_secs(5);

/// How the receiver ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Killed: no gateway is told, each finds out with its next keep-alive.
    Killed,
    /// In order: every gateway is told at the same moment.
    Stopped,
}

/// Restarts the receiver while one camera is watched, and prints how the links come back.
pub(crate) fn restart(
    site: &mut Site,
    asker: &Asker,
    links: usize,
    end: End,
) -> anyhow::Result<()> {
    asker.hold()?;
    site.wait_live(1)?;
    let ended = SystemTime::now();
    match end {
        End::Killed => site.receiver.kill()?,
        End::Stopped => site.receiver.stop()?,
    }
    site.start_receiver()?;
    let started = SystemTime::now();
    let (asked, pictures) = ask_until_all(site, asker, links)?;
    let usage = site.receiver.usage()?;
    let log = std::fs::read_to_string(site.directory().join("receiver.log"))?;
    let ups = Ups::read(&log, started);
    let watched = ups.of(COMMUNE).unwrap_or(f64::NAN);
    let down = started.duration_since(ended).unwrap_or_default();
    println!(
        "\nthe receiver {}, {:.2} s later started again, {links} links, one camera watched",
        match end {
            End::Killed => "killed",
            End::Stopped => "stopped in order",
        },
        down.as_secs_f64()
    );
    println!(
        "  links back after the start, s: 50 % {:.2}, 90 % {:.2}, 99 % {:.2}, all {:.2} (the receiver's log)",
        ups.part(0.5),
        ups.part(0.9),
        ups.part(0.99),
        ups.part(1.0),
    );
    println!(
        "  most links in 100 ms {}, in 1 s {}; links refused or not set up in time {}; receiver's CPU {:.2} s in all, {:.2} ms a link",
        ups.most_within(0.1),
        ups.most_within(1.0),
        log.matches("link refused").count() + log.matches("link not set up").count(),
        usage.cpu,
        usage.cpu * 1e3 / links as f64,
    );
    println!(
        "  the watched commune back after {watched:.2} s, pictures again after {pictures:.2} s",
    );
    println!(
        "  asked every {} ms: first answered after {:.2} s; {} answered since, ms: {}",
        PAUSE.as_millis(),
        asked.first.unwrap_or(f64::NAN),
        asked.answered.0.len(),
        asked.answered,
    );
    Ok(())
}

/// What an operator saw meanwhile.
struct Asked {
    /// The first answer, in seconds since the start.
    first: Option<f64>,
    answered: Answered,
}

/// Asks until all links are back and some time more; also says when pictures came again.
fn ask_until_all(site: &Site, asker: &Asker, links: usize) -> anyhow::Result<(Asked, f64)> {
    let start = Instant::now();
    let mut asked = Asked {
        first: None,
        answered: Answered(Vec::new()),
    };
    let mut pictures = None;
    let mut all_since: Option<Instant> = None;
    let mut number = 0;
    while all_since.is_none_or(|at| at.elapsed() < AFTER) {
        if let Outcome::Granted(took) = asker.once(number)? {
            let now = start.elapsed().as_secs_f64();
            asked.first.get_or_insert(now);
            asked.answered.0.push(took);
        }
        number += 1;
        if let Ok([_, receiver]) = site.scrape() {
            let frames = receiver.sum_of("fanal_receiver_frames_total", asker.held());
            if frames > 0.0 && pictures.is_none() {
                pictures = Some(start.elapsed().as_secs_f64());
            }
            if receiver.count("fanal_receiver_link_up") >= links {
                all_since.get_or_insert_with(Instant::now);
            }
        }
        if start.elapsed() > PATIENCE {
            bail!(
                "not all links are back: look at the logs in {}",
                site.directory().display()
            );
        }
        std::thread::sleep(PAUSE);
    }
    Ok((asked, pictures.unwrap_or(f64::NAN)))
}

/// When links came up, in seconds after the receiver's start, as its log tells.
struct Ups(Vec<(f64, String)>);

impl Ups {
    fn read(log: &str, start: SystemTime) -> Self {
        let start = start.duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut ups: Vec<(f64, String)> = log
            .lines()
            .filter(|line| line.contains("link up"))
            .filter_map(|line| {
                let at: jiff::Timestamp = line.split_whitespace().next()?.parse().ok()?;
                let at = Duration::from_micros(u64::try_from(at.as_microsecond()).ok()?);
                let (_, name) = line.split_once("commune=")?;
                let name = name.split_whitespace().next()?.to_owned();
                Some((at.as_secs_f64() - start.as_secs_f64(), name))
            })
            .collect();
        ups.sort_by(|one, other| one.0.total_cmp(&other.0));
        Self(ups)
    }

    fn of(&self, commune: &str) -> Option<f64> {
        let found = self.0.iter().find(|(_, name)| name == commune)?;
        Some(found.0)
    }

    /// When this part of them was up.
    fn part(&self, part: f64) -> f64 {
        let index = (self.0.len() as f64 * part).ceil() as usize;
        let up = self.0.get(index.saturating_sub(1));
        up.map_or(f64::NAN, |(at, _)| *at)
    }

    /// The most that came within so many seconds.
    fn most_within(&self, seconds: f64) -> usize {
        let ends = self.0.iter().enumerate();
        ends.map(|(index, (at, _))| {
            let later = &self.0[index..];
            later.iter().take_while(|(up, _)| up - at < seconds).count()
        })
        .max()
        .unwrap_or(0)
    }
}
