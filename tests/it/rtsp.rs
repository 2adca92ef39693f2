//! The RTSP server: players, limits, credentials, ends.

pub mod client;
mod clients;
mod clip;
mod limits;
mod players;
mod server;
