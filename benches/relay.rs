//! Relay cost: see README.
fn main() {}
