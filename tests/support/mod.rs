//! What tests and benches share and the product does not need: emulated paths.
#![allow(dead_code)] // Each takes its part.

pub(crate) mod path;
pub(crate) mod wan;
