//! What came of trying cameras, as a table, as JSON and as notes for the sheet.

use std::time::Duration;

use anyhow::Context;

use super::sheet;
use crate::commands::french::French;
use crate::format::ids::CameraId;
use crate::gateway::probe::{Asked, Report};
use crate::media::relay::Profile;
use crate::media::unit::Codec;
use crate::reason::Reason;

/// A camera's clock that is off by more is told.
const CLOCK_TOLERANCE: jiff::SignedDuration = jiff::SignedDuration::from_secs(2);
/// The table's heads.
const HEADS: [&str; 9] = [
    "camera",
    "stream",
    "result",
    "codec",
    "size",
    "fps",
    "bit rate",
    "key every",
    "first picture",
];

/// One row of the table.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    pub(super) camera: CameraId,
    pub(super) profile: Profile,
    pub(super) report: Report,
}

/// What the trial found, for the sheet.
pub(super) fn notes(rows: &[Row], french: French) -> sheet::Notes {
    let mut notes = sheet::Notes::new();
    for row in rows {
        let stream = row.profile.as_str();
        let texts = notes.entry(row.camera.to_string()).or_default();
        if let Some(refusal) = &row.report.cause {
            let sentence = sentence(refusal.reason, french);
            let detail = french.say(&refusal.detail);
            // What is wrong with the entry the settings say themselves.
            if refusal.reason != Reason::CameraInvalid {
                texts.push(if detail.is_empty() {
                    format!("{stream}: {sentence}")
                } else {
                    format!("{stream}: {sentence} ({detail})")
                });
            }
        }
        let remarks = remarks(row).into_iter();
        texts.extend(remarks.map(|text| format!("{stream}: {}", french.say(&text))));
    }
    notes
}

const fn sentence(reason: Reason, french: French) -> &'static str {
    french.pick(reason.french(), reason.english())
}

pub(super) fn result(row: &Row) -> &'static str {
    let cause = row.report.cause.as_ref();
    cause.map_or("ok", |refusal| refusal.reason.code())
}

/// What to correct though the stream plays.
fn remarks(row: &Row) -> Vec<String> {
    let mut remarks = row.report.remarks.clone();
    if !row.report.fixes.is_empty() {
        let odd: Vec<&str> = row.report.fixes.iter().map(|fix| fix.sentence()).collect();
        let so_far = if row.report.cause.is_none() {
            "works; "
        } else {
            ""
        };
        remarks.push(format!("{so_far}{}", odd.join("; ")));
    }
    if let Some(offset) = row.report.clock_offset
        && offset.abs() > CLOCK_TOLERANCE
    {
        let seconds = offset.abs().as_secs();
        remarks.push(if offset.is_negative() {
            format!(
                "its clock is {seconds} s behind: set NTP, for the time in its picture is wrong too"
            )
        } else {
            format!(
                "its clock is {seconds} s ahead: set NTP, for the time in its picture is wrong too"
            )
        });
    }
    remarks
}

fn cells(row: &Row) -> [String; 9] {
    let picture = row.report.picture.as_ref();
    let or_dash = |cell: Option<String>| cell.unwrap_or_else(|| "-".to_owned());
    let seconds = |time: Duration| format!("{:.2} s", time.as_secs_f64());
    let size = picture.filter(|picture| picture.width > 0 && picture.height > 0);
    [
        row.camera.to_string(),
        row.profile.as_str().to_owned(),
        result(row).to_owned(),
        or_dash(picture.map(|picture| codec(picture.codec).to_owned())),
        or_dash(size.map(|picture| format!("{}x{}", picture.width, picture.height))),
        or_dash(
            picture
                .and_then(|p| p.rate)
                .map(|rate| format!("{rate:.1}")),
        ),
        or_dash(
            picture
                .and_then(|p| p.bitrate)
                .map(|rate| format!("{:.2} Mbit/s", rate / 1e6)),
        ),
        or_dash(picture.and_then(|p| p.key_frame_interval).map(seconds)),
        or_dash(row.report.steps.first_key_frame.map(seconds)),
    ]
}

pub(super) const fn codec(codec: Codec) -> &'static str {
    match codec {
        Codec::H264 => "H.264",
        Codec::H265 => "H.265",
        Codec::Jpeg => "MJPEG",
    }
}

/// The table, and under it the causes and repairs, then what to write about hosts.
pub(super) fn table(rows: &[Row], advice: &[String], french: French) -> String {
    let cells: Vec<[String; 9]> = rows.iter().map(cells).collect();
    let heads = HEADS.map(|head| french.say(head).into_owned());
    let mut widths = [0; 9];
    for row in std::iter::once(&heads).chain(&cells) {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: &[String; 9]| {
        let padded: Vec<String> = cells
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        format!("{}\n", padded.join("  ").trim_end())
    };
    let mut text = line(&heads);
    for row in &cells {
        text.push_str(&line(row));
    }
    let mut notes = String::new();
    for row in rows {
        let name = format!("{} {}", row.camera, row.profile.as_str());
        if let Some(refusal) = &row.report.cause {
            notes.push_str(&format!("{name}: {}\n", sentence(refusal.reason, french)));
            if !refusal.detail.is_empty() {
                let cause = format!("cause: {}", refusal.detail);
                notes.push_str(&format!("    {}\n", french.say(&cause)));
            }
        }
        for remark in remarks(row) {
            notes.push_str(&format!("{name}: {}\n", french.say(&remark)));
        }
    }
    for advice in advice {
        notes.push_str(&format!("{}\n", french.say(advice)));
    }
    if !notes.is_empty() {
        text.push('\n');
        text.push_str(&notes);
    }
    let good = rows.iter().filter(|row| row.report.cause.is_none()).count();
    let end = format!("{good} of {} streams play", rows.len());
    text.push_str(&format!("\n{}\n", french.say(&end)));
    text
}

pub(super) fn json(rows: &[Row], french: French) -> anyhow::Result<String> {
    let seconds = |time: Option<Duration>| time.map(|time| time.as_secs_f64());
    let rows: Vec<serde_json::Value> = rows
        .iter()
        .map(|row| {
            let Report { cause, steps, .. } = &row.report;
            let picture = row.report.picture.as_ref();
            serde_json::json!({
                "camera": row.camera,
                "stream": row.profile,
                "result": result(row),
                "cause": cause.as_ref().map(|cause| french.say(&cause.detail)),
                "remedy": cause.as_ref().map(|cause| sentence(cause.reason, french)),
                "remarks": remarks(row).iter().map(|text| french.say(text)).collect::<Vec<_>>(),
                "fixed": row.report.fixes.iter().map(|fix| fix.as_str()).collect::<Vec<_>>(),
                "clock_offset_seconds": row.report.clock_offset.map(|offset| offset.as_secs_f64()),
                "codec": picture.map(|picture| codec(picture.codec)),
                "width": picture.map(|picture| picture.width),
                "height": picture.map(|picture| picture.height),
                "fps": picture.and_then(|picture| picture.rate),
                "bits_per_second": picture.and_then(|picture| picture.bitrate),
                "key_frame_interval_seconds":
                    seconds(picture.and_then(|picture| picture.key_frame_interval)),
                "onvif": row.report.asked.as_ref().map(Asked::as_str),
                "onvif_key_frame_seconds": seconds(match &row.report.asked {
                    Some(Asked::KeyFrame(after)) => Some(*after),
                    Some(Asked::Nothing | Asked::Failed(_)) | None => None,
                }),
                "connect_seconds": seconds(steps.connect),
                "describe_seconds": seconds(steps.describe),
                "setup_seconds": seconds(steps.setup),
                "play_seconds": seconds(steps.play),
                "first_picture_seconds": seconds(steps.first_key_frame),
            })
        })
        .collect();
    let text = serde_json::to_string_pretty(&rows).context("report not written as JSON")?;
    Ok(text + "\n")
}
