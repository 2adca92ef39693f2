//! The gateway: the commune's daemon. Checks, journals, and only then relays.
//!
//! Two threads with current-thread runtimes and the journal's own. *frames*:
//! links, cameras, relays. *control*: decisions, metrics, socket, config.

mod adapter;
pub mod camera;
mod cause;
mod host;
pub mod probe;
mod session;
mod stream;
