//! `GET cameras` as a table for a VMS: the lasting URL of each camera that VMS accounts may see.
//! No password is in it; the VMS has its account's.

use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};

use super::Api;
use super::cameras::CameraView;
use super::grants::host;
use crate::http::Problem;

const COLUMNS: [&str; 7] = [
    "commune",
    "camera",
    "name",
    "url",
    "groups",
    "latitude",
    "longitude",
];

/// Whether the caller's `Accept` names CSV, and JSON not before it.
pub(super) fn is_wanted(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter();
    let ranges = accepted.filter_map(|value| value.to_str().ok());
    let mut kinds = ranges.flat_map(|value| value.split(',')).map(|range| {
        let kind = range.split(';').next().unwrap_or_default();
        kind.trim().to_ascii_lowercase()
    });
    kinds.find(|kind| kind == "text/csv" || kind == "application/json")
        == Some("text/csv".to_owned())
}

/// The table of these cameras.
pub(super) fn answer(
    api: &Api,
    cameras: &[CameraView],
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let base = api.players_at(&host(headers));
    let base = base.ok_or_else(|| Problem::with_status(503, "this centre serves no RTSP"))?;
    let text = write(cameras, &base).map_err(|error| Problem::with_status(500, &error))?;
    let headers = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8"),
        (
            header::CONTENT_DISPOSITION,
            "attachment; filename=\"cameras.csv\"",
        ),
    ];
    Ok((headers, text).into_response())
}

fn write(cameras: &[CameraView], base: &str) -> Result<String, String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let mut rows = vec![COLUMNS.map(str::to_owned)];
    rows.extend(cameras.iter().map(|camera| {
        let (commune, info) = (camera.commune(), camera.info());
        let place = info.position.map(|[latitude, longitude]| {
            [latitude, longitude].map(|degrees| format!("{degrees:.6}"))
        });
        let [latitude, longitude] = place.unwrap_or_default();
        [
            commune.to_string(),
            info.id.to_string(),
            text(&info.name),
            format!("{base}/{commune}/{}", info.id),
            text(&info.groups.join(" ")),
            latitude,
            longitude,
        ]
    }));
    for row in rows {
        writer
            .write_record(&row)
            .map_err(|error| error.to_string())?;
    }
    let bytes = writer.into_inner().map_err(|error| error.to_string())?;
    String::from_utf8(bytes).map_err(|error| error.to_string())
}

/// A text of a commune: a spreadsheet must not take it for a formula.
fn text(written: &str) -> String {
    if written.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        format!("'{written}")
    } else {
        written.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_is_given_to_whom_prefers_it() {
        let wanted = |accept: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, accept.parse().unwrap());
            is_wanted(&headers)
        };
        assert!(wanted("text/csv"));
        assert!(wanted("text/html, Text/CSV;q=0.9"));
        for other in [
            "*/*",
            "application/json",
            "application/json, text/csv",
            "text/*",
        ] {
            assert!(!wanted(other), "{other}");
        }
        assert!(!is_wanted(&HeaderMap::new()));
    }

    #[test]
    fn a_name_is_no_formula() {
        assert_eq!(text("=HYPERLINK(1)"), "'=HYPERLINK(1)");
        assert_eq!(text("Quai nord"), "Quai nord");
    }
}
