//! fanal: an on-demand video relay between French communes and the operations
//! centres of the gendarmerie.
//!
//! The map. One rule makes the tree readable: [`proto`] decides, everything
//! else does.
//!
//! | question | where |
//! |---|---|
//! | may they? | [`proto`]: pure, time and randomness passed in |
//! | what bytes? | [`media`], [`proto::wire`], [`proto::control`], [`rtsp`] |
//! | who does it? | [`gateway`] at the commune, [`receiver`] at the centre |
//! | how do they meet? | [`link`]: QUIC, mutual TLS; [`pki`] reads whom to trust |
//! | what was done? | [`journal`]: append-only, hash-chained, fsynced |
//!
//! [`simulate`] holds the simulated cameras, [`demo`] puts it all together on
//! one machine, [`console`] is the operators' page, [`commands`] has a file for each row of the command table.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod certs;
pub mod cli;
pub mod clock;
pub mod commands;
pub mod config;
pub mod connect;
pub mod console;
pub mod demo;
pub mod digest;
pub mod gateway;
pub mod http;
pub mod journal;
pub mod link;
pub mod media;
pub mod metrics;
pub mod pki;
pub mod places;
pub mod proto;
pub mod reason;
pub mod receiver;
pub mod rtsp;
pub mod secret;
pub mod shutdown;
pub mod simulate;
pub mod tiles;
