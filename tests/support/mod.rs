//! Shared by tests and benches, and not needed by the product: emulated paths, trial sites.
#![allow(dead_code)] // Each takes its part.

pub(crate) mod chance;
pub(crate) mod path;
pub(crate) mod site;
pub(crate) mod wan;
