//! What is measured over the time, as a table, and whether it is flat.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::cameras::Zoo;
use crate::operator::Done;
use crate::parts::metrics::Scrape;
use crate::parts::process::{Process, descriptors, threads};
use crate::parts::site::Site;

/// Rows of the table at most.
const ROWS: usize = 60;
/// Shorter runs are not judged by their slopes: ended grants are kept for 10 minutes,
/// so only a second half that begins later can be flat.
const JUDGED_FROM: Duration = Duration::from_secs(24 * 60);
/// How many standard errors a slope must lie above its bound to fail.
const ERRORS: f64 = 2.0;
/// What may grow in an hour, for each daemon: its own memory in MB, descriptors,
/// threads, and log lines in a minute.
const GROWTH: [f64; 4] = [6.0, 10.0, 2.0, 10.0];
/// Log lines of a daemon in a minute: for each camera granted in it (opened, live,
/// closed), for each grant begun or renewed, and besides.
const LINES: [f64; 3] = [3.0, 4.0, 30.0];
/// What a daemon may hold more at the end, when nothing is granted, than at its start.
const LEFT_DESCRIPTORS: usize = 8;

/// One daemon at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Daemon {
    pub(crate) memory: f64,
    pub(crate) own_memory: f64,
    pub(crate) descriptors: usize,
    pub(crate) threads: usize,
    cpu: f64,
    journal: f64,
    log: f64,
}

/// Everything at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    at: Duration,
    /// Gateway, receiver.
    pub(crate) daemons: [Daemon; 2],
    /// Cameras by state, as the gateway counts them: live, starting, retrying, failed.
    cameras: [f64; 4],
    /// Grants at the receiver; relays at gateway and receiver.
    grants: f64,
    pub(crate) relays: [f64; 2],
    /// Connections at the simulators.
    pub(crate) sessions: usize,
    done: Done,
}

impl Sample {
    /// Whether any camera is open or tried.
    pub(crate) fn cameras_busy(&self) -> bool {
        self.cameras.iter().take(3).any(|count| *count > 0.0)
    }
}

/// Counts a growing file's lines.
pub(crate) struct Lines {
    path: PathBuf,
    read: u64,
    lines: f64,
}

impl Lines {
    fn new(path: PathBuf) -> Self {
        Self {
            path,
            read: 0,
            lines: 0.0,
        }
    }

    fn count(&mut self) -> anyhow::Result<f64> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.read))?;
        let mut new = Vec::new();
        self.read += file.read_to_end(&mut new)? as u64;
        self.lines += new.iter().filter(|byte| **byte == b'\n').count() as f64;
        Ok(self.lines)
    }
}

pub(crate) struct Curve {
    start: Instant,
    logs: [Lines; 2],
    pub(crate) samples: Vec<Sample>,
}

impl Curve {
    pub(crate) fn new(directory: &Path) -> Self {
        let log = |name: &str| Lines::new(directory.join(name));
        Self {
            start: Instant::now(),
            logs: [log("gateway.log"), log("receiver.log")],
            samples: Vec::new(),
        }
    }

    pub(crate) fn sample(&mut self, site: &Site, zoo: &Zoo, done: Done) -> anyhow::Result<Sample> {
        let [gateway, receiver] = site.scrape()?;
        let state = |name: &str| gateway.sum_of("fanal_gateway_cameras", name);
        let [own, other] = &mut self.logs;
        let sample = Sample {
            at: self.start.elapsed(),
            daemons: [
                daemon(&site.gateway, &gateway, "gateway", own)?,
                daemon(&site.receiver, &receiver, "receiver", other)?,
            ],
            cameras: ["live", "starting", "retrying", "failed"].map(state),
            grants: receiver.sum("fanal_receiver_grants_active"),
            relays: [
                gateway.sum("fanal_gateway_relays_active"),
                receiver.sum("fanal_receiver_relays_active"),
            ],
            sessions: zoo.connections()?,
            done,
        };
        self.samples.push(sample);
        Ok(sample)
    }

    /// A row for each minute, or for so much more that there are [`ROWS`] at most.
    pub(crate) fn print(&self) {
        let Some(last) = self.samples.last() else {
            return;
        };
        println!(
            "   min  grants relays cameras: live starting retrying failed  sessions |  gateway: MB  own   fds thr  cpu%  journal log/min | receiver: MB  own   fds thr  cpu%  journal log/min | grants in all  pictures"
        );
        let minutes = last.at.as_secs_f64() / 60.0;
        let step = (minutes / ROWS as f64).max(1.0).ceil() * 60.0;
        let mut rows = (last.at.as_secs_f64() / step).floor() as usize;
        rows = rows.max(1);
        for row in 0..rows {
            let within = |sample: &&Sample| {
                let at = sample.at.as_secs_f64();
                at >= row as f64 * step && (at < (row + 1) as f64 * step || row + 1 == rows)
            };
            let part: Vec<&Sample> = self.samples.iter().filter(within).collect();
            let (Some(first), Some(last)) = (part.first(), part.last()) else {
                continue;
            };
            let mean = |value: &dyn Fn(&Sample) -> f64| {
                part.iter().map(|sample| value(sample)).sum::<f64>() / part.len() as f64
            };
            let seconds = (last.at - first.at).as_secs_f64().max(1.0);
            let daemon = |index: usize| {
                let (from, to) = (&first.daemons[index], &last.daemons[index]);
                format!(
                    "{:>8.1} {:>5.1} {:>5.0} {:>3} {:>5.1} {:>8} {:>7.0}",
                    mean(&|sample| sample.daemons[index].memory),
                    mean(&|sample| sample.daemons[index].own_memory),
                    mean(&|sample| sample.daemons[index].descriptors as f64),
                    to.threads,
                    (to.cpu - from.cpu) / seconds * 100.0,
                    to.journal,
                    (to.log - from.log) / seconds * 60.0,
                )
            };
            println!(
                "{:>6.1} {:>7.1} {:>6.1} {:>13.1} {:>8.1} {:>8.1} {:>6.1} {:>9.1} | {}     | {}     | {:>13} {:>9}",
                last.at.as_secs_f64() / 60.0,
                mean(&|sample| sample.grants),
                mean(&|sample| sample.relays[0]),
                mean(&|sample| sample.cameras[0]),
                mean(&|sample| sample.cameras[1]),
                mean(&|sample| sample.cameras[2]),
                mean(&|sample| sample.cameras[3]),
                mean(&|sample| sample.sessions as f64),
                daemon(0),
                daemon(1),
                last.done.grants,
                last.done.pictures,
            );
        }
    }

    /// Prints the slopes of the second half, and whether each is flat.
    pub(crate) fn judge(&self) -> bool {
        let Some(last) = self.samples.last() else {
            return true;
        };
        let half = last.at / 2;
        let second: Vec<&Sample> = self.samples.iter().filter(|one| one.at >= half).collect();
        let judged = last.at >= JUDGED_FROM;
        if !judged {
            println!(
                "shorter than {} minutes: slopes are shown, not judged",
                JUDGED_FROM.as_secs() / 60
            );
        }
        let mut flat = true;
        for (index, name) in ["gateway", "receiver"].into_iter().enumerate() {
            let lines = rates(&second, index);
            let series = [
                (
                    "own memory",
                    "MB/h",
                    series(&second, |one| one.daemons[index].own_memory),
                ),
                (
                    "descriptors",
                    "/h",
                    series(&second, |one| one.daemons[index].descriptors as f64),
                ),
                (
                    "threads",
                    "/h",
                    series(&second, |one| one.daemons[index].threads as f64),
                ),
                ("log lines a minute", "/h", lines.clone()),
            ];
            for ((what, unit, points), bound) in series.into_iter().zip(GROWTH) {
                let (slope, error) = slope(&minutes(&points));
                let ok = !judged || slope - ERRORS * error <= bound;
                flat &= ok;
                println!(
                    "{} {name}: {what} {slope:+.1} ± {error:.1} {unit} (bound {bound}, {ERRORS} standard errors)",
                    word(ok)
                );
            }
            let mean = lines.iter().map(|(_, rate)| rate).sum::<f64>() / lines.len().max(1) as f64;
            let bound = lines_bound(&second);
            let ok = mean <= bound;
            flat &= ok;
            println!(
                "{} {name}: {mean:.0} log lines a minute (bound {bound:.0})",
                word(ok)
            );
        }
        flat
    }

    /// Whether all is as before the first request.
    pub(crate) fn judge_end(start: &Sample, end: &Sample) -> bool {
        let mut same = true;
        for (index, name) in ["gateway", "receiver"].into_iter().enumerate() {
            let (from, to) = (start.daemons[index], end.daemons[index]);
            let ok = to.descriptors <= from.descriptors + LEFT_DESCRIPTORS;
            same &= ok;
            println!(
                "{} {name}: {} descriptors after all was released, {} at the start (bound {LEFT_DESCRIPTORS} more); own memory {:.1} MB, {:.1} at the start",
                word(ok),
                to.descriptors,
                from.descriptors,
                to.own_memory,
                from.own_memory,
            );
        }
        let ok = end.sessions == 0 && end.relays == [0.0, 0.0] && !end.cameras_busy();
        println!(
            "{} {} sessions at the cameras, {} and {} relays, cameras live, starting, retrying, failed: {:?}",
            word(ok),
            end.sessions,
            end.relays[0],
            end.relays[1],
            end.cameras,
        );
        same && ok
    }
}

const fn word(ok: bool) -> &'static str {
    if ok { "PASS" } else { "FAIL" }
}

fn daemon(
    process: &Process,
    scrape: &Scrape,
    name: &str,
    log: &mut Lines,
) -> anyhow::Result<Daemon> {
    let usage = process.usage()?;
    Ok(Daemon {
        memory: usage.memory,
        own_memory: usage.own_memory,
        descriptors: descriptors(process.id())?,
        threads: threads(process.id())?,
        cpu: usage.cpu,
        journal: scrape.sum(&format!("fanal_{name}_journal_entries_total")),
        log: log.count()?,
    })
}

type Points = Vec<(f64, f64)>;

/// A figure over the time in hours.
fn series(samples: &[&Sample], value: impl Fn(&Sample) -> f64) -> Points {
    let points = samples
        .iter()
        .map(|one| (one.at.as_secs_f64() / 3_600.0, value(one)));
    points.collect()
}

/// Log lines of a daemon in a minute.
fn rates(samples: &[&Sample], index: usize) -> Points {
    let pairs = samples.windows(2).filter_map(|pair| {
        let [from, to] = pair else { return None };
        let seconds = (to.at - from.at).as_secs_f64();
        let lines = to.daemons[index].log - from.daemons[index].log;
        Some((to.at.as_secs_f64() / 3_600.0, lines / seconds * 60.0))
    });
    pairs.collect()
}

/// How many log lines a minute are right for what was done.
fn lines_bound(samples: &[&Sample]) -> f64 {
    let [cameras, grants, besides] = LINES;
    let (Some(from), Some(to)) = (samples.first(), samples.last()) else {
        return besides;
    };
    let minutes = (to.at - from.at).as_secs_f64().max(1.0) / 60.0;
    let granted = (to.done.cameras - from.done.cameras) as f64;
    let begun = |done: &Done| (done.grants + done.renewed) as f64;
    besides + (cameras * granted + grants * (begun(&to.done) - begun(&from.done))) / minutes
}

/// The mean of each minute: neighbours in time are alike, and would make any slope
/// look certain.
fn minutes(points: &[(f64, f64)]) -> Points {
    let minute = |point: &(f64, f64)| (point.0 * 60.0) as u64;
    let groups = points.chunk_by(|one, other| minute(one) == minute(other));
    let means = groups.map(|group| {
        let count = group.len() as f64;
        let (hours, values) = group.iter().fold((0.0, 0.0), |sums, point| {
            (sums.0 + point.0, sums.1 + point.1)
        });
        (hours / count, values / count)
    });
    means.collect()
}

/// Least squares: the slope and its standard error.
fn slope(points: &[(f64, f64)]) -> (f64, f64) {
    let count = points.len() as f64;
    if points.len() < 3 {
        return (0.0, f64::INFINITY);
    }
    let mean = |value: fn(&(f64, f64)) -> f64| points.iter().map(value).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let spread: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    let slope = points
        .iter()
        .map(|point| (point.0 - x) * (point.1 - y))
        .sum::<f64>()
        / spread;
    let rest = points
        .iter()
        .map(|point| (point.1 - y - slope * (point.0 - x)).powi(2));
    let error = (rest.sum::<f64>() / (count - 2.0) / spread).sqrt();
    (slope, error)
}
