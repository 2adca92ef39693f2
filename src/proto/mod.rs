//! What is allowed, decided without input or output: no runtime, no clock, no
//! file, no global randomness. Inputs are plain values with the time beside
//! them, outputs are commands for the daemons to carry out.
#![deny(clippy::disallowed_methods)]

pub mod agreement;
pub mod backoff;
pub mod camera;
pub mod chain;
pub mod control;
pub mod designation;
pub mod desk;
pub mod gate;
pub mod ids;
pub mod jws;
pub mod key_frames;
pub mod pem;
pub mod replay;
pub mod seldom;
pub mod snapshot;
pub mod starts;
pub mod statement;
pub mod text;
pub mod trust;
pub mod uplink;
pub mod wire;
