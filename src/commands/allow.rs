//! `fanal allow`: lifts a cut.
#![allow(clippy::print_stdout)]

use std::process::ExitCode;

use clap::Args;

use super::local::{LocalArgs, ScopeArgs};
use crate::gateway::socket::{Answer, Request};

/// Arguments of `fanal allow`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  fanal allow --camera quai-nord
  fanal allow --all

Requests are granted again; what was cut does not come back by itself. --all lifts every cut.")]
pub struct AllowArgs {
    #[command(flatten)]
    scope: ScopeArgs,
    #[command(flatten)]
    local: LocalArgs,
}

/// Lifts the cut, and says whether there was one.
pub fn run(args: AllowArgs) -> anyhow::Result<ExitCode> {
    let request = Request::Allow {
        scope: args.scope.scope(),
    };
    if let Answer::Allowed { scope, lifted } = args.local.ask(&request)? {
        match lifted {
            0 if scope == "all" => println!("nothing was cut"),
            0 => println!("{scope} was not cut"),
            1 => println!("allowed {scope}: 1 cut lifted"),
            lifted => println!("allowed {scope}: {lifted} cuts lifted"),
        }
    }
    Ok(ExitCode::SUCCESS)
}
