//! The RTSP server: players, limits, credentials, ends.

mod clip;
mod limits;
mod players;
mod server;
