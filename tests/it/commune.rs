//! The commune's own page: its API from outside, and the page in real browsers.

mod api;
mod page;
pub mod town;
