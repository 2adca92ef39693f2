//! HTTP servers with limits on everything (CONFIG: metrics and health; RECEIVER: API).
