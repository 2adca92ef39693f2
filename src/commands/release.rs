//! `fanal release`: ends a grant before its time.
#![allow(clippy::print_stderr)]

use std::process::ExitCode;

use clap::Args;
use hyper::Method;

use super::client::{self, Client, ReceiverArgs};
use crate::format::ids::GrantId;

/// Arguments of `fanal release`.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  fanal release 2f0c9a4e-6a51-4a57-9d0c-5b1f0f3c7d10 \\
    --receiver https://corg13.example:8889 --authority console-ca.pem \\
    --key 13-4567.key --cert 13-4567.pem")]
pub struct ReleaseArgs {
    /// The grant's id
    #[arg(value_name = "GRANT")]
    grant: GrantId,
    #[command(flatten)]
    receiver: ReceiverArgs,
}

/// Runs `fanal release`.
pub fn run(args: ReleaseArgs) -> anyhow::Result<ExitCode> {
    client::block_on(async {
        let client = Client::connect(&args.receiver).await?;
        let path = client::grant_path(args.grant);
        client.call(Method::DELETE, &path).await?;
        eprintln!("fanal: grant {} released", args.grant);
        Ok(ExitCode::SUCCESS)
    })
}
