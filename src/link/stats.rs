//! What the transport knows of a link, and the gateway's metrics of it.

use std::time::Duration;

use tokio::time::Instant;

use super::{Link, window};
use crate::metrics;

/// A link's figures now; through a tunnel those that only the kernel knows are 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Round-trip time, smoothed.
    pub rtt: Duration,
    /// Congestion window in bytes.
    pub window: u64,
    /// Largest datagram in bytes, as discovered; 0 through a tunnel.
    pub mtu: u16,
    /// Packets lost since the link is up; 0 through a tunnel.
    pub lost: u64,
    /// Datagrams sent since the link is up.
    pub datagrams: u64,
    /// Send calls for them: far fewer with segmentation offload; 0 through a tunnel.
    pub sends: u64,
    /// Bytes sent, with all headers above UDP's or TCP's.
    pub sent_bytes: u64,
    /// Datagrams received since the link is up.
    pub received_datagrams: u64,
    /// What was sent that the peer acknowledges, and what it acknowledged, in units of
    /// their own: each grows with every such packet.
    pub asked: u64,
    /// See `asked`.
    pub answered: u64,
    /// Bytes received, with all headers above UDP's or those of a tunnel's TLS.
    pub received_bytes: u64,
}

impl Snapshot {
    /// Reads a QUIC connection's figures.
    pub(super) fn of(connection: &quinn::Connection) -> Self {
        let stats = connection.stats();
        Self {
            rtt: stats.path.rtt,
            window: stats.path.cwnd,
            mtu: stats.path.current_mtu,
            lost: stats.path.lost_packets,
            datagrams: stats.udp_tx.datagrams,
            sends: stats.udp_tx.ios,
            sent_bytes: stats.udp_tx.bytes,
            received_datagrams: stats.udp_rx.datagrams,
            received_bytes: stats.udp_rx.bytes,
            asked: asked(&stats.frame_tx),
            answered: window::answered(connection.congestion_state()),
        }
    }
}

/// Frames that a peer acknowledges: those that a link sends again and again.
pub fn asked(sent: &quinn_proto::FrameStats) -> u64 {
    sent.stream + sent.datagram + sent.ping + sent.reset_stream
}

/// Keeps the gateway's metrics of one link; they fall to 0 with it.
#[derive(Debug)]
pub(super) struct Recorder {
    metrics: std::sync::Arc<metrics::Gateway>,
    centre: String,
    link: Link,
    last: Option<Snapshot>,
    /// Bytes of control messages that are counted.
    control: u64,
    /// When it was looked at last, and how long the link was idle until then, below a second
    /// that is counted.
    looked: Instant,
    idle: Duration,
}

impl Recorder {
    /// A link to this centre is up.
    pub(super) fn new(metrics: std::sync::Arc<metrics::Gateway>, centre: &str, link: Link) -> Self {
        metrics.count_link(centre, link.transport().as_str(), 1);
        Self {
            metrics,
            centre: centre.to_owned(),
            link,
            last: None,
            control: 0,
            looked: Instant::now(),
            idle: Duration::ZERO,
        }
    }

    /// So many bytes of parity were sent.
    pub(super) fn parity(&self, bytes: u64) {
        self.metrics
            .link_parity_bytes_total
            .with_label_values(&[&self.centre])
            .inc_by(bytes);
    }

    /// Takes the figures of this second.
    pub(super) fn record(&mut self) {
        let now = self.link.stats();
        let labels = [self.centre.as_str()];
        let control = self.link.control_sent();
        let more = control - std::mem::replace(&mut self.control, control);
        let counter = &self.metrics.link_control_bytes_total;
        counter.with_label_values(&labels).inc_by(more);
        let looked = std::mem::replace(&mut self.looked, Instant::now());
        if self.link.relays() == 0 {
            self.idle += self.looked - looked;
            let counter = &self.metrics.link_idle_seconds_total;
            counter
                .with_label_values(&labels)
                .inc_by(self.idle.as_secs());
            self.idle = Duration::from_nanos(self.idle.subsec_nanos().into());
        }
        let before = self.last.replace(now);
        self.metrics
            .link_rtt_seconds
            .with_label_values(&labels)
            .set(now.rtt.as_secs_f64());
        self.metrics
            .link_lost_packets_total
            .with_label_values(&labels)
            .inc_by(now.lost.saturating_sub(before.map_or(0, |b| b.lost)));
        self.metrics
            .link_sent_bytes_total
            .with_label_values(&labels)
            .inc_by(
                now.sent_bytes
                    .saturating_sub(before.map_or(0, |b| b.sent_bytes)),
            );
        let sends = now.sends.saturating_sub(before.map_or(0, |b| b.sends));
        let datagrams = now
            .datagrams
            .saturating_sub(before.map_or(0, |b| b.datagrams));
        if sends > 0 {
            #[allow(clippy::cast_precision_loss)] // a second's datagrams are far below 2^53
            self.metrics
                .link_datagrams_per_send
                .set(datagrams as f64 / sends as f64);
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        // What was sent since the last second.
        self.record();
        let transport = self.link.transport().as_str();
        self.metrics.count_link(&self.centre, transport, -1);
    }
}
