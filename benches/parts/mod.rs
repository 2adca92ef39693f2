//! What the benches share: processes and what they use, a commune and a centre
//! with their daemons, metrics as they are scraped, players.
#![allow(dead_code)] // Each bench takes its part.

#[allow(clippy::duplicate_mod)] // `link` has it once more, among all that tests share.
#[path = "../../tests/support/site.rs"]
pub(crate) mod files;
pub(crate) mod metrics;
pub(crate) mod process;
pub(crate) mod site;
pub(crate) mod viewers;
