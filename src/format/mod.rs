//! What is signed, journalled or exchanged, byte for byte, and the limits of it: names,
//! statements and their envelope, certificates and designations, the journal's chain,
//! control messages. Pure: no runtime, no clock, no file. The time is passed in.
//!
//! One thing draws randomness, because its library offers no other way: an ECDSA
//! signature ([`jws::Signer`]).
#![deny(clippy::disallowed_methods)]

pub mod backoff;
mod bounded;
pub mod cause;
pub mod chain;
pub mod control;
pub mod decision;
pub mod designation;
pub mod ids;
pub mod jws;
pub mod keep;
pub mod merkle;
pub mod note;
pub mod pem;
pub mod png;
pub mod statement;
pub mod trust;

pub use crate::text;
