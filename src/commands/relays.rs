//! `fanal relays`: what is relayed now, to whom, why and for how long.
#![allow(clippy::print_stdout)]

use std::process::ExitCode;

use clap::Args;

use super::local::LocalArgs;
use crate::format::ids::CameraId;
use crate::gateway::socket::{Answer, Relays, Request, Row, Waiting};
use crate::link::transport::Transport;

/// Arguments of `fanal relays`.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  fanal relays --config /etc/fanal/gateway.toml
  fanal relays --json")]
pub struct RelaysArgs {
    /// One JSON object: links, relays, requests that wait for approval, cuts
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    local: LocalArgs,
}

/// Prints what is relayed.
pub fn run(args: RelaysArgs) -> anyhow::Result<ExitCode> {
    if let Answer::Relays(relays) = args.local.ask(&Request::Relays {})? {
        if args.json {
            println!("{}", serde_json::to_string(&relays)?);
        } else {
            print!("{}", table(&relays));
        }
    }
    Ok(ExitCode::SUCCESS)
}

const HEADINGS: [&str; 11] = [
    "GRANT", "CAMERA", "CENTRE", "OPERATOR", "INCIDENT", "GROUNDS", "SINCE", "LEFT", "STATE",
    "STREAM", "BYTES",
];

fn table(relays: &Relays) -> String {
    let mut text = String::new();
    for waiting in &relays.waiting {
        text.push_str(&wait(waiting));
    }
    if relays.relays.is_empty() {
        text.push_str("nothing is relayed\n");
    } else {
        let rows = relays.relays.iter().map(cells);
        let rows: Vec<[String; 11]> = std::iter::once(HEADINGS.map(str::to_owned))
            .chain(rows)
            .collect();
        let mut widths = [0; 11];
        for row in &rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.chars().count().max(*width);
            }
        }
        for row in &rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(widths) {
                line.push_str(&format!("{cell:width$}  "));
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
    }
    for link in &relays.links {
        if link.transport == Transport::Tcp {
            text.push_str(&format!(
                "link to {} over TCP: UDP gets no answer\n",
                link.centre
            ));
        }
    }
    for cut in &relays.cuts {
        text.push_str(&format!("cut until {}: {}\n", cut.until, cut.scope));
    }
    text
}

/// A request that waits: all that somebody needs to decide, and how to.
fn wait(waiting: &Waiting) -> String {
    let operator = &waiting.operator;
    let names: Vec<&str> = waiting.cameras.iter().map(CameraId::as_str).collect();
    let mut text = format!(
        "WAITS FOR APPROVAL, {} left (until {})\n  request    {}\n  from       {} ({}, {}) through {}\n",
        left(waiting.seconds_left),
        waiting.approve_by,
        waiting.request,
        operator.name,
        operator.number,
        operator.unit,
        waiting.centre,
    );
    if !waiting.present.is_empty() {
        text.push_str(&format!("  present    {}\n", waiting.present.join(", ")));
    }
    text.push_str(&format!("  incident   {}\n", waiting.incident));
    text.push_str(&format!("  grounds    {}", waiting.grounds));
    if !waiting.grounds_fr.is_empty() {
        text.push_str(&format!(
            " ({} / {})",
            waiting.grounds_fr, waiting.grounds_en
        ));
    }
    text.push_str(&format!("\n  cameras    {}\n", names.join(" ")));
    for camera in &waiting.refused {
        let (id, reason) = (&camera.camera, camera.refusal.reason);
        text.push_str(&format!("  not        {id} ({reason})\n"));
    }
    text.push_str(&format!(
        "  for        {} from the approval on\n",
        left(waiting.duration.into())
    ));
    if let Some(grant) = waiting.renews {
        text.push_str(&format!("  carries on grant {grant}\n"));
    }
    text.push_str(&format!("  agreement  {}\n", waiting.agreement));
    let request = waiting.request;
    text.push_str(&format!(
        "  fanal approve {request}   or   fanal refuse {request}\n\n"
    ));
    text
}

fn cells(row: &Row) -> [String; 11] {
    let state = match (&row.state, row.reason) {
        (state, None) => format!("{state:?}").to_lowercase(),
        (state, Some(reason)) => format!("{} ({reason})", format!("{state:?}").to_lowercase()),
    };
    let stream = match row.profile_cause {
        None => row.profile.as_str().to_owned(),
        Some(cause) => format!("{} ({cause})", row.profile.as_str()),
    };
    [
        row.grant.to_string(),
        row.camera.to_string(),
        row.centre.to_string(),
        format!(
            "{} ({}, {})",
            row.operator.name, row.operator.number, row.operator.unit
        ),
        row.incident.to_string(),
        row.grounds.clone(),
        row.since.clone(),
        left(row.seconds_left),
        state,
        stream,
        row.bytes.to_string(),
    ]
}

/// `1h02m03s`, without what is nothing in front.
fn left(seconds: u64) -> String {
    let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{seconds}s"),
        (0, minutes) => format!("{minutes}m{seconds:02}s"),
        (hours, minutes) => format!("{hours}h{minutes:02}m{seconds:02}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::cause::Cause;
    use crate::format::control::RelayState;
    use crate::format::ids::{CentreId, GrantId, Incident, RequestId};
    use crate::format::statement::Operator;
    use crate::gateway::socket::{Cut, LinkRow};
    use crate::media::relay::Profile;
    use crate::reason::Reason;

    #[test]
    fn a_table_tells_who_sees_what_why_and_how_long() {
        let row = Row {
            grant: GrantId(uuid::Uuid::nil()),
            camera: CameraId::new("quai-nord").unwrap(),
            centre: CentreId::new("corg-13").unwrap(),
            operator: Operator {
                name: "Adjudant Été".to_owned(),
                number: "13-1".to_owned(),
                unit: "CORG 13".to_owned(),
            },
            incident: Incident::new("2026-42").unwrap(),
            grounds: "assault".to_owned(),
            since: "2026-11-23T02:13:01.123Z".to_owned(),
            until: "2026-11-23T03:13:01.000Z".to_owned(),
            seconds_left: 3_723,
            state: RelayState::Retrying,
            reason: Some(Reason::CameraStalled),
            profile: Profile::Sub,
            profile_cause: Some(Cause::Uplink),
            bytes: 42,
        };
        let link = LinkRow {
            centre: CentreId::new("corg-13").unwrap(),
            transport: Transport::Tcp,
        };
        let relays = Relays {
            links: vec![link],
            relays: vec![row],
            waiting: Vec::new(),
            cuts: vec![Cut {
                scope: "all".to_owned(),
                until: "2026-11-23T03:00:00.000Z".to_owned(),
            }],
        };
        let table = table(&relays);
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines.len(), 4);
        let column = |heading: &str| lines[0].find(heading).unwrap();
        assert!(lines[1].contains("Adjudant Été (13-1, CORG 13)  2026-42   assault"));
        assert!(lines[1].contains("1h02m03s  retrying (camera_stalled)  sub (uplink)  42"));
        assert_eq!(&lines[1][column("CAMERA")..column("CENTRE")], "quai-nord  ");
        assert_eq!(lines[2], "link to corg-13 over TCP: UDP gets no answer");
        assert_eq!(lines[3], "cut until 2026-11-23T03:00:00.000Z: all");
    }

    #[test]
    fn a_request_that_waits_is_shown_with_all_that_decides() {
        let request = RequestId(uuid::Uuid::from_u128(7));
        let relays = Relays {
            links: Vec::new(),
            relays: Vec::new(),
            cuts: Vec::new(),
            waiting: vec![Waiting {
                request,
                centre: CentreId::new("corg-13").unwrap(),
                operator: Operator {
                    name: "Adjudant Été".to_owned(),
                    number: "13-1".to_owned(),
                    unit: "CORG 13".to_owned(),
                },
                incident: Incident::new("2026-42").unwrap(),
                grounds: "assault".to_owned(),
                grounds_fr: "Agression".to_owned(),
                grounds_en: "Assault".to_owned(),
                present: vec!["Capitaine Roux".to_owned()],
                cameras: vec![CameraId::new("quai-nord").unwrap()],
                refused: Vec::new(),
                duration: 600,
                renews: None,
                agreement: "Convention 13".to_owned(),
                since: "2026-11-23T02:13:01.123Z".to_owned(),
                approve_by: "2026-11-23T02:15:01.123Z".to_owned(),
                seconds_left: 95,
            }],
        };
        let table = table(&relays);
        for part in [
            "1m35s left (until 2026-11-23T02:15:01.123Z)",
            "from       Adjudant Été (13-1, CORG 13) through corg-13",
            "present    Capitaine Roux",
            "incident   2026-42",
            "grounds    assault (Agression / Assault)",
            "cameras    quai-nord",
            "for        10m00s from the approval on",
            "agreement  Convention 13",
            "fanal approve 00000000-0000-0000-0000-000000000007",
        ] {
            assert!(table.contains(part), "{part}: {table}");
        }
        assert!(table.ends_with("nothing is relayed\n"), "{table}");
    }
}
