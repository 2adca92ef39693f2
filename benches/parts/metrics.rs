//! Reads a daemon's metrics.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::Context;

/// One scrape: samples with their labels.
pub(crate) struct Scrape(Vec<(String, f64)>);

/// The answer to a GET: status and body.
pub(crate) fn get(address: SocketAddr, path: &str) -> anyhow::Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let (head, body) = text.split_once("\r\n\r\n").context("no HTTP answer")?;
    let status = head.split(' ').nth(1).context("no status")?.parse()?;
    Ok((status, body.to_owned()))
}

impl Scrape {
    pub(crate) fn of(address: SocketAddr) -> anyhow::Result<Self> {
        let (_, body) = get(address, "/metrics")?;
        let samples = body.lines().filter(|line| !line.starts_with('#'));
        Ok(Self(
            samples
                .filter_map(|line| {
                    let (name, value) = line.rsplit_once(' ')?;
                    Some((name.to_owned(), value.parse().ok()?))
                })
                .collect(),
        ))
    }

    fn series(&self, name: &str) -> impl Iterator<Item = f64> {
        let series = self.0.iter().filter(move |(sample, _)| {
            sample
                .strip_prefix(name)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('{'))
        });
        series.map(|(_, value)| *value)
    }

    /// The sum of all series of a metric.
    pub(crate) fn sum(&self, name: &str) -> f64 {
        self.series(name).sum()
    }

    /// The sum of those series of a metric that have this value of a label.
    pub(crate) fn sum_of(&self, name: &str, value: &str) -> f64 {
        let value = format!("=\"{value}\"");
        let series = self.0.iter().filter(|(sample, _)| {
            let labels = sample.strip_prefix(name);
            labels.is_some_and(|labels| labels.starts_with('{') && labels.contains(&value))
        });
        series.map(|(_, value)| *value).sum()
    }

    /// How many series of a metric have counted anything.
    pub(crate) fn count(&self, name: &str) -> usize {
        self.series(name).filter(|value| *value > 0.0).count()
    }

    /// The mean of a histogram since an earlier scrape.
    pub(crate) fn mean(&self, name: &str, before: &Self) -> f64 {
        let (sum, count) = (format!("{name}_sum"), format!("{name}_count"));
        (self.sum(&sum) - before.sum(&sum)) / (self.sum(&count) - before.sum(&count)).max(1.0)
    }

    /// The mean of a histogram since the start.
    pub(crate) fn all_mean(&self, name: &str) -> f64 {
        self.sum(&format!("{name}_sum")) / self.sum(&format!("{name}_count")).max(1.0)
    }

    /// The bucket within which this part of a histogram lies, since an earlier scrape.
    pub(crate) fn within(&self, name: &str, part: f64, before: &Self) -> f64 {
        let count = format!("{name}_count");
        let wanted = (self.sum(&count) - before.sum(&count)) * part;
        let bucket = format!("{name}_bucket{{le=\"");
        for (sample, value) in &self.0 {
            let Some(limit) = sample.strip_prefix(&bucket) else {
                continue;
            };
            let earlier = before.0.iter().find(|(known, _)| known == sample);
            if value - earlier.map_or(0.0, |(_, value)| *value) >= wanted {
                return limit
                    .trim_end_matches("\"}")
                    .parse()
                    .unwrap_or(f64::INFINITY);
            }
        }
        f64::INFINITY
    }
}
