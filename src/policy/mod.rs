//! What is allowed, decided without input or output: no runtime, no clock, no
//! file. Inputs are plain values with the time beside them, outputs are commands for
//! the daemons to carry out. Beside them go log lines, and the randomness that
//! [`crate::format::jws`] draws to sign; other random values are passed in.
#![deny(clippy::disallowed_methods)]

pub mod agreement;
pub mod camera;
pub mod cosigning;
pub mod desk;
pub mod gate;
pub mod key_frames;
pub mod peer;
pub mod record;
pub mod replay;
pub mod seldom;
pub mod snapshot;
pub mod starts;
#[cfg(test)]
mod tests;
pub mod uplink;
