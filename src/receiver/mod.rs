//! The receiver: the centre's daemon. Makes the same check as the gateway, adds
//! no authority, and serves what it gets to operators and players.

mod camera;
pub mod hub;
mod outbox;
mod viewer;
