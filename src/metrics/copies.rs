//! How the journal's copies off the machine follow it; both daemons.

use prometheus::{Gauge, IntCounterVec, IntGauge};

use super::register::Register;

/// Metrics of the copies. Clones count together; all are 0 without `[copies]`.
#[derive(Clone, Debug)]
pub struct Copies {
    /// `outcome`: lines that were copied, and what went wrong with one.
    total: IntCounterVec,
    /// Lines that are durable here and not known to be in the stream.
    pub lag_entries: IntGauge,
    /// For how long the oldest of them waits.
    pub lag_seconds: Gauge,
}

impl Copies {
    pub(super) fn register(r: &Register) -> Result<Self, prometheus::Error> {
        Ok(Self {
            total: r.counters(
                "copies_total",
                &["outcome"],
                "Journal lines copied to NATS JetStream, and failures by their cause.",
            )?,
            lag_entries: r.gauge(
                "copies_lag_entries",
                "Journal lines that are not known to be in the stream.",
            )?,
            lag_seconds: r.real_gauge(
                "copies_lag_seconds",
                "For how long the oldest journal line waits that is not in the stream.",
            )?,
        })
    }

    /// Series of these outcomes begin at 0.
    pub fn expect<'a>(&self, outcomes: impl IntoIterator<Item = &'a str>) {
        for outcome in outcomes {
            self.total.with_label_values(&[outcome]);
        }
    }

    /// Counts.
    pub fn count(&self, outcome: &str, by: u64) {
        self.total.with_label_values(&[outcome]).inc_by(by);
    }
}
