//! `fanal status`: the communes of a centre and the unit's live grants.
#![allow(clippy::print_stdout)]

use std::process::ExitCode;

use clap::Args;
use hyper::Method;
use serde_json::{Value, json};

use super::client::{self, Client, ReceiverArgs};
use crate::format::text;

/// Arguments of `fanal status`.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  fanal status --receiver https://corg13.example:8889 --authority console-ca.pem \\
    --key 13-4567.key --cert 13-4567.pem")]
pub struct StatusArgs {
    #[command(flatten)]
    receiver: ReceiverArgs,
    /// Print the API's answers as JSON
    #[arg(long)]
    json: bool,
}

/// Runs `fanal status`.
pub fn run(args: StatusArgs) -> anyhow::Result<ExitCode> {
    client::block_on(async {
        let client = Client::connect(&args.receiver).await?;
        let communes = client.call(Method::GET, "/api/v1/communes").await?.json;
        let grants = client.call(Method::GET, "/api/v1/grants").await?.json;
        if args.json {
            let centre = client.centre().as_str();
            client::print(&json!({"centre": centre, "communes": communes, "grants": grants}))?;
        } else {
            print_table(client.centre().as_str(), &communes, &grants);
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn print_table(centre: &str, communes: &Value, grants: &Value) {
    println!("centre {centre}");
    println!("{:<24} {:<8} {:<26} CONTACT", "COMMUNE", "STATE", "SINCE");
    for commune in list(communes, "communes") {
        let online = commune["online"].as_bool() == Some(true);
        println!(
            "{:<24} {:<8} {:<26} {}",
            shown(&commune["commune"], &commune["id"]),
            if online { "online" } else { "offline" },
            shown(&commune["since"], &Value::Null),
            shown(&commune["contact"], &Value::Null),
        );
    }
    let grants = list(grants, "grants");
    let plural = if grants.len() == 1 { "" } else { "s" };
    println!("\n{} live grant{plural} of the unit", grants.len());
    for grant in grants {
        println!(
            "{} {} incident {}, {} s left",
            shown(&grant["grant"], &Value::Null),
            shown(&grant["commune"], &Value::Null),
            shown(&grant["incident"], &Value::Null),
            shown(&grant["seconds_left"], &Value::Null),
        );
        for camera in grant["granted"].as_array().into_iter().flatten() {
            println!(
                "  {:<24} {:<9} {}",
                shown(&camera["camera"], &Value::Null),
                shown(&camera["state"], &Value::Null),
                shown(&camera["reason"], &Value::Null),
            );
        }
    }
}

/// A list that is alone or under its name.
fn list<'a>(answer: &'a Value, name: &str) -> Vec<&'a Value> {
    let list = answer.as_array().or_else(|| answer[name].as_array());
    list.into_iter().flatten().collect()
}

/// Foreign text, harmless for a terminal; `other` where there is none.
pub(super) fn shown(value: &Value, other: &Value) -> String {
    match (value, other) {
        (Value::String(text), _) | (_, Value::String(text)) => text::shown(text, 128),
        (Value::Number(number), _) => number.to_string(),
        _ => "-".to_owned(),
    }
}
