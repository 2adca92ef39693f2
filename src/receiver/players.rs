//! Players' requests that were refused, counted.

use std::sync::Arc;

use crate::metrics;
use crate::rtsp::server::{Notice, Observer};

/// Counts in `rtsp_refused_total`.
#[derive(Debug)]
pub(super) struct Players(pub(super) Arc<metrics::Receiver>);

impl Observer for Players {
    /// Viewings are counted and journalled where pictures are handed out, by the hub.
    fn notice(&self, _path: &str, _notice: Notice) {}

    fn refused(&self, why: &'static str) {
        self.0.rtsp_refused_total.with_label_values(&[why]).inc();
    }
}
