//! Prometheus metrics of both daemons (INTERFACES 8) (CONFIG).
//!
//! Fields are named as the metrics without their `fanal_gateway_` or `fanal_receiver_`.

/// The gateway's metrics.
#[derive(Debug)]
pub struct Gateway {}

/// The receiver's metrics.
#[derive(Debug)]
pub struct Receiver {}
