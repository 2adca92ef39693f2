//! `fanal cut`: the commune ends what it wants, at once, and refuses the same for a time.
#![allow(clippy::print_stdout)]

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::local::{LocalArgs, ScopeArgs};
use crate::config::values::parse_duration;
use crate::gateway::socket::{Answer, Request};

/// Arguments of `fanal cut`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  fanal cut --camera quai-nord
  fanal cut --all --block 1h

What is cut is refused (commune_refused) until --block is over or `fanal allow`
lifts it, also after a restart. The cut of a grant holds against its operator and
its incident, on its cameras.")]
pub struct CutArgs {
    #[command(flatten)]
    scope: ScopeArgs,
    /// For how long the same is refused: 90s, 15m, 2h, 1d; 0s ends without refusing
    #[arg(long, value_name = "DURATION", default_value = "15m", value_parser = block)]
    block: Duration,
    #[command(flatten)]
    local: LocalArgs,
}

fn block(written: &str) -> Result<Duration, String> {
    parse_duration(written).ok_or_else(|| "write 90s, 15m, 2h or 1d".to_owned())
}

/// Cuts, and says what ended and until when it holds.
pub fn run(args: CutArgs) -> anyhow::Result<ExitCode> {
    let request = Request::Cut {
        scope: args.scope.scope(),
        block: args.block.as_secs(),
    };
    if let Answer::Cut {
        scope,
        grants,
        until,
    } = args.local.ask(&request)?
    {
        let plural = if grants == 1 { "grant" } else { "grants" };
        println!("cut {scope}: {grants} {plural} touched; the same is refused until {until}");
    }
    Ok(ExitCode::SUCCESS)
}
