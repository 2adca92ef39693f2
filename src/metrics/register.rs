//! Makes a metric and registers it, under one prefix.

use prometheus::core::Collector;
use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry,
};

type Made<T> = Result<T, prometheus::Error>;

/// A registry and the prefix of all that is made in it.
pub(super) struct Register {
    pub(super) registry: Registry,
    prefix: &'static str,
}

impl Register {
    /// An empty registry with what both daemons have beside their own:
    /// `fanal_build_info` and `process_*`.
    pub(super) fn new(prefix: &'static str) -> Made<Self> {
        let registry = Registry::new();
        let build = IntGaugeVec::new(
            Opts::new("fanal_build_info", "Always 1; the label names the version."),
            &["version"],
        )?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        registry.register(Box::new(build))?;
        registry.register(Box::new(
            prometheus::process_collector::ProcessCollector::for_self(),
        ))?;
        Ok(Self { registry, prefix })
    }

    fn keep<C: Collector + Clone + 'static>(&self, collector: C) -> Made<C> {
        self.registry.register(Box::new(collector.clone()))?;
        Ok(collector)
    }

    fn opts(&self, name: &str, help: &str) -> Opts {
        Opts::new(format!("{}{name}", self.prefix), help)
    }

    pub(super) fn counter(&self, name: &str, help: &str) -> Made<IntCounter> {
        self.keep(IntCounter::with_opts(self.opts(name, help))?)
    }

    pub(super) fn counters(&self, name: &str, labels: &[&str], help: &str) -> Made<IntCounterVec> {
        self.keep(IntCounterVec::new(self.opts(name, help), labels)?)
    }

    pub(super) fn gauge(&self, name: &str, help: &str) -> Made<IntGauge> {
        self.keep(IntGauge::with_opts(self.opts(name, help))?)
    }

    pub(super) fn gauges(&self, name: &str, labels: &[&str], help: &str) -> Made<IntGaugeVec> {
        self.keep(IntGaugeVec::new(self.opts(name, help), labels)?)
    }

    pub(super) fn real_gauge(&self, name: &str, help: &str) -> Made<Gauge> {
        self.keep(Gauge::with_opts(self.opts(name, help))?)
    }

    pub(super) fn real_gauges(&self, name: &str, labels: &[&str], help: &str) -> Made<GaugeVec> {
        self.keep(GaugeVec::new(self.opts(name, help), labels)?)
    }

    pub(super) fn histogram(&self, name: &str, buckets: &[f64], help: &str) -> Made<Histogram> {
        let opts = HistogramOpts::from(self.opts(name, help)).buckets(buckets.to_vec());
        self.keep(Histogram::with_opts(opts)?)
    }

    pub(super) fn histograms(
        &self,
        name: &str,
        labels: &[&str],
        buckets: &[f64],
        help: &str,
    ) -> Made<HistogramVec> {
        let opts = HistogramOpts::from(self.opts(name, help)).buckets(buckets.to_vec());
        self.keep(HistogramVec::new(opts, labels)?)
    }
}
