//! `fanal approve` and `fanal refuse`: somebody at the commune decides on a request.
#![allow(clippy::print_stdout)]

use std::process::ExitCode;

use clap::Args;

use super::Usage;
use super::local::LocalArgs;
use crate::format::ids::{CameraId, RequestId};
use crate::gateway::socket::{Answer, Request};

/// Arguments of `fanal approve`.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  fanal relays --config /etc/fanal/gateway.toml
  fanal approve 0190a1b2-c3d4-7e5f-8a6b-0123456789ab --config /etc/fanal/gateway.toml

All checks are made again; the time counts from the approval. Who approved is in
the journal. `fanal cut --grant ID` takes it back.")]
pub struct ApproveArgs {
    #[command(flatten)]
    decision: DecisionArgs,
}

/// Arguments of `fanal refuse`.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  fanal refuse 0190a1b2-c3d4-7e5f-8a6b-0123456789ab --config /etc/fanal/gateway.toml

The operator is told commune_refused; the same may be asked for again. To refuse for
a time, use fanal cut.")]
pub struct RefuseArgs {
    #[command(flatten)]
    decision: DecisionArgs,
}

#[derive(Debug, Args)]
struct DecisionArgs {
    /// The request, as `fanal relays` shows it
    #[arg(value_name = "ID")]
    request: String,
    #[command(flatten)]
    local: LocalArgs,
}

impl DecisionArgs {
    fn request(&self) -> Result<RequestId, Usage> {
        let id = uuid::Uuid::parse_str(&self.request);
        id.map(RequestId).map_err(|error| {
            Usage(format!(
                "{:?} is not the id of a request: {error}",
                self.request
            ))
        })
    }
}

/// Approves a request that waits.
pub fn approve(args: ApproveArgs) -> anyhow::Result<ExitCode> {
    let request = args.decision.request()?;
    let answer = args.decision.local.ask(&Request::Approve { request })?;
    if let Answer::Approved {
        grant,
        cameras,
        until,
        ..
    } = answer
    {
        let names: Vec<&str> = cameras.iter().map(CameraId::as_str).collect();
        println!("approved: grant {grant}, {} until {until}", names.join(" "));
    }
    Ok(ExitCode::SUCCESS)
}

/// Refuses a request that waits.
pub fn refuse(args: RefuseArgs) -> anyhow::Result<ExitCode> {
    let request = args.decision.request()?;
    if let Answer::NotApproved { request } =
        args.decision.local.ask(&Request::Refuse { request })?
    {
        println!("refused: request {request}");
    }
    Ok(ExitCode::SUCCESS)
}
