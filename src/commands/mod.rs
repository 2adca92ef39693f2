//! One file per row of the command table: `XArgs` (clap) and
//! `run(XArgs) -> anyhow::Result<ExitCode>`, wired in [`crate::cli`].

pub mod allow;
pub mod approve;
pub mod cameras;
pub mod certs;
pub mod check;
pub mod client;
pub mod console;
pub mod cut;
mod daemon;
pub mod demo;
pub mod dossier;
pub mod french;
pub mod gateway;
pub mod generate;
pub mod journal;
pub mod local;
pub mod logs;
mod paper;
pub mod probe;
pub mod receiver;
pub mod relays;
pub mod release;
pub mod reload;
pub mod renew;
pub mod request;
pub mod simulate;
pub mod status;

/// Wrong usage or wrong settings: the cause of exit status 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);
