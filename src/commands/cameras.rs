//! `fanal cameras`: what an operator may ask for.
#![allow(clippy::print_stdout)]

use std::process::ExitCode;

use clap::Args;
use hyper::Method;
use serde_json::Value;
use url::form_urlencoded::Serializer;

use super::client::{self, Client, ReceiverArgs};
use super::status;
use crate::format::text;

/// Arguments of `fanal cameras`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example: the cameras of a port, then the four nearest to an address
  fanal cameras --receiver https://corg13.example:8889 --authority console-ca.pem \\
    --key 13-4567.key --cert 13-4567.pem --commune berre-l-etang --group port
  fanal cameras --receiver https://corg13.example:8889 --authority console-ca.pem \\
    --key 13-4567.key --cert 13-4567.pem --near 43.4745,5.1692 --limit 4 --json
The URLs of a VMS account's cameras, for the VMS to import:
  fanal cameras --receiver https://corg13.example:8889 --authority console-ca.pem \\
    --key 13-4567.key --cert 13-4567.pem --account milestone --csv > cameras.csv"
)]
pub struct CamerasArgs {
    #[command(flatten)]
    receiver: ReceiverArgs,
    /// Only those whose name or id has these words
    #[arg(value_name = "WORDS")]
    words: Option<String>,
    /// Only this commune's
    #[arg(long, value_name = "ID")]
    commune: Option<String>,
    /// Only this group's
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,
    /// The nearest first
    #[arg(long, value_name = "LAT,LON", allow_hyphen_values = true)]
    near: Option<String>,
    /// Only those next to this camera
    #[arg(long, value_name = "COMMUNE/CAMERA")]
    neighbours: Option<String>,
    /// At most so many
    #[arg(long, value_name = "N")]
    limit: Option<u32>,
    /// Only those of this VMS account's communes that it may see
    #[arg(long, value_name = "NAME")]
    account: Option<String>,
    /// Print the URLs that VMS accounts open, as CSV; no password is in it
    #[arg(long, conflicts_with = "json")]
    csv: bool,
    /// Print the API's answer as JSON
    #[arg(long)]
    json: bool,
}

/// Runs `fanal cameras`.
///
/// # Errors
/// The receiver does not answer, or refuses.
pub fn run(args: CamerasArgs) -> anyhow::Result<ExitCode> {
    let path = path(&args);
    client::block_on(async {
        let client = Client::connect(&args.receiver).await?;
        if args.csv {
            print!("{}", client.text(&path).await?);
            return Ok(ExitCode::SUCCESS);
        }
        let cameras = client.call(Method::GET, &path).await?.json;
        if args.json {
            client::print(&cameras)?;
        } else {
            print_table(cameras.as_array().map(Vec::as_slice).unwrap_or_default());
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn path(args: &CamerasArgs) -> String {
    let limit = args.limit.map(|limit| limit.to_string());
    let format = args.csv.then(|| "csv".to_owned());
    let asked = [
        ("q", &args.words),
        ("commune", &args.commune),
        ("group", &args.group),
        ("near", &args.near),
        ("neighbours", &args.neighbours),
        ("limit", &limit),
        ("account", &args.account),
        ("format", &format),
    ];
    let mut query = Serializer::new(String::new());
    for (name, value) in asked {
        if let Some(value) = value {
            query.append_pair(name, value);
        }
    }
    format!("/api/v1/cameras?{}", query.finish())
}

fn print_table(cameras: &[Value]) {
    println!(
        "{:<24} {:<24} {:<28} {:<22} GROUPS",
        "COMMUNE", "CAMERA", "NAME", "STATE"
    );
    for camera in cameras {
        let groups = camera["groups"].as_array().into_iter().flatten();
        let groups: Vec<String> = groups.map(shown).collect();
        println!(
            "{:<24} {:<24} {:<28} {:<22} {}",
            shown(&camera["commune"]),
            shown(&camera["camera"]),
            shown(&camera["name"]),
            state(camera),
            groups.join(" "),
        );
    }
}

/// Whether it can be asked for now, else the reason; `failed`: it can, but failed its newest probe.
fn state(camera: &Value) -> String {
    match &camera["unusable"]["reason"] {
        Value::String(reason) => text::shown(reason, 64),
        _ if camera["online"] == false => "commune_offline".to_owned(),
        _ if camera["failed"].is_object() => "failed".to_owned(),
        _ => "usable".to_owned(),
    }
}

/// A member that is shown alone.
fn shown(value: &Value) -> String {
    status::shown(value, &Value::Null)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_camera_says_whether_it_can_be_asked_for() {
        let camera = json!({"online": true});
        assert_eq!(state(&camera), "usable");
        let camera = json!({"online": true, "failed": {"reason": "camera_unreachable"}});
        assert_eq!(state(&camera), "failed");
        let camera = json!({"online": false});
        assert_eq!(state(&camera), "commune_offline");
        let camera = json!({"online": true, "unusable": {"reason": "mask_not_verified"}});
        assert_eq!(state(&camera), "mask_not_verified");
        assert_eq!(shown(&json!("a\u{1b}[2J")), text::shown("a\u{1b}[2J", 128));
    }
}
