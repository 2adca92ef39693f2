//! `fanal renew`: carries a live grant on, also a colleague's of the same unit
//! (the handover of a shift).
#![allow(clippy::print_stderr)]

use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use hyper::Method;
use serde_json::Value;

use super::Usage;
use super::client::{self, Client, ReceiverArgs};
use super::request::{Wish, ask, check_present};
use crate::format::ids::{CameraId, GrantId};
use crate::format::statement::RequestClaims;

/// Arguments of `fanal renew`.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  fanal renew 2f0c9a4e-6a51-4a57-9d0c-5b1f0f3c7d10 --for 20m \\
    --receiver https://corg13.example:8889 --authority console-ca.pem \\
    --key 13-4567.key --cert 13-4567.pem

The grant keeps its id, URLs and passwords. All checks are made again, with your designation.")]
pub struct RenewArgs {
    /// The grant's id
    #[arg(value_name = "GRANT")]
    grant: GrantId,
    /// For how long from now, such as 20m or 1h
    #[arg(long = "for", value_name = "DURATION", value_parser = client::parse_seconds)]
    seconds: u32,
    /// The motive, where it is another than before
    #[arg(long, value_name = "G")]
    grounds: Option<String>,
    /// Who else is present now and sees the pictures; once for each, at most 20
    #[arg(long = "present", value_name = "NAME")]
    present: Vec<String>,
    /// Which of the cameras' streams
    #[arg(long, value_enum, default_value_t = Wish::Auto)]
    profile: Wish,
    #[command(flatten)]
    receiver: ReceiverArgs,
}

/// Runs `fanal renew`; prints the grant as JSON.
pub fn run(args: RenewArgs) -> anyhow::Result<ExitCode> {
    check_present(&args.present)?;
    client::block_on(async {
        let client = Client::connect(&args.receiver).await?;
        let path = client::grant_path(args.grant);
        let grant = client.call(Method::GET, &path).await?.json;
        let claims = claims(&args, &client, &grant)?;
        // What is signed comes from the receiver: the operator sees it.
        let cameras: Vec<&str> = claims.cameras.iter().map(CameraId::as_str).collect();
        eprintln!(
            "fanal: signing: {} of {}, incident {}, grounds {}, for {} s",
            cameras.join(", "),
            claims.aud,
            claims.incident,
            claims.grounds,
            claims.duration
        );
        let renewed = ask(&client, &claims).await?;
        client::print(&renewed)?;
        Ok(ExitCode::SUCCESS)
    })
}

fn claims(args: &RenewArgs, client: &Client, grant: &Value) -> anyhow::Result<RequestClaims> {
    let text = |name: &str| {
        let text = grant[name].as_str().map(str::to_owned);
        text.with_context(|| format!("the receiver does not say the grant's {name}"))
    };
    let cameras = grant["granted"].as_array();
    let cameras = cameras
        .into_iter()
        .flatten()
        .filter_map(|camera| camera["camera"].as_str())
        .map(|camera| Ok(CameraId::new(camera)?))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let grounds = args.grounds.clone().or_else(|| text("grounds").ok());
    let grounds = grounds.ok_or_else(|| {
        Usage("the receiver does not say the grant's grounds; give --grounds".to_owned())
    })?;
    Ok(RequestClaims {
        jti: client::new_id(),
        iat: client.now().seconds(),
        aud: text("commune")?.parse()?,
        centre: client.centre().clone(),
        cameras,
        grounds,
        incident: text("incident")?.parse()?,
        duration: args.seconds,
        profile: args.profile.into(),
        present: args.present.clone(),
        renews: Some(args.grant),
    })
}
