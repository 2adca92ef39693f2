//! The operators' page in real browsers, against real daemons and simulated cameras.

pub mod accessible;
mod alerts;
mod border;
mod codecs;
mod figures;
mod finding;
mod handover;
mod keys;
mod mosaic;
mod pictures;
mod record;
mod recorded;
mod robust;
pub mod room;
mod screens;
mod sign;
mod watch;
mod words;
