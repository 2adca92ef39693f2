//! The `cameras_file`: a table as French Excel writes it.
//!
//! Columns are named as the camera keys, plus `latitude` and `longitude`; `,` or
//! `;` between them; UTF-8 with or without a byte order mark, or Windows-1252;
//! a comma or a point in numbers; `oui`, `non`, `true`, `false`, `1`, `0`;
//! several groups or neighbours separated by spaces, or by `|`. An empty id is
//! made from the name. The first row names the columns.

use std::path::Path;

use super::camera::{Entry, id_of};
use super::problem::{Lines, Reading};
use super::raw;
use super::section::ENTRIES_LIMIT;

/// Largest `cameras_file`.
const TABLE_LIMIT: u64 = 4 * 1024 * 1024;

const COLUMNS: &[&str] = &[
    "id",
    "name",
    "groups",
    "main",
    "sub",
    "onvif",
    "credential",
    "transport",
    "latitude",
    "longitude",
    "position",
    "bearing",
    "field_of_view",
    "neighbours",
    "mask_verified",
    "start_timeout",
    "close_after",
    "warm",
];

/// The rows as entries; what is wrong with the table as a whole is an error.
pub(super) fn read(path: &Path, line: u32, reading: &mut Reading<'_>) -> Vec<Entry> {
    let bytes = match reading.files.read(path, TABLE_LIMIT) {
        Ok(bytes) => bytes,
        Err(error) => {
            let path = path.display();
            reading.error(
                line,
                format!("cameras_file: {path} can't be read: {error}; check the path and who may read it"),
            );
            return Vec::new();
        }
    };
    match rows(&bytes, path) {
        Ok(entries) => entries,
        Err((line, text)) => {
            reading.error_in(path, Some(line), text);
            Vec::new()
        }
    }
}

fn rows(bytes: &[u8], path: &Path) -> Result<Vec<Entry>, (u32, String)> {
    let text = decode(bytes)?;
    let first = text.lines().next().unwrap_or_default();
    let semicolons = first.matches(';').count();
    let delimiter = if semicolons > 0 { b';' } else { b',' };
    let mut table = ::csv::ReaderBuilder::new()
        .delimiter(delimiter)
        .flexible(true)
        .trim(::csv::Trim::All)
        .from_reader(text.as_bytes());
    let header = table
        .headers()
        .map_err(|error| (1, format!("the first row can't be read: {error}")))?
        .clone();
    let columns = columns(&header)?;
    let mut entries = Vec::new();
    for record in table.records() {
        let record = record.map_err(|error| (0, format!("not a table: {error}")))?;
        if record.iter().all(str::is_empty) {
            continue;
        }
        if entries.len() >= ENTRIES_LIMIT {
            return Err((0, format!("more than {ENTRIES_LIMIT} cameras")));
        }
        entries.push(Row::new(&columns, &record).entry(path));
    }
    Ok(entries)
}

fn decode(bytes: &[u8]) -> Result<String, (u32, String)> {
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) || bytes.contains(&0) {
        let text = "is UTF-16 or no text; save it from Excel as \"CSV UTF-8\"";
        return Err((1, text.to_owned()));
    }
    let bytes = bytes.strip_prefix(&[0xef, 0xbb, 0xbf]).unwrap_or(bytes);
    Ok(match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => encoding_rs::WINDOWS_1252
            .decode_without_bom_handling(bytes)
            .0
            .into_owned(),
    })
}

/// What each column is; `None`: empty, as Excel leaves behind.
fn columns(header: &::csv::StringRecord) -> Result<Vec<Option<&'static str>>, (u32, String)> {
    let mut found = Vec::new();
    for written in header {
        let name = written.to_lowercase();
        if name.is_empty() {
            found.push(None);
            continue;
        }
        let Some(column) = COLUMNS.iter().find(|column| **column == name) else {
            let known = COLUMNS.join(", ");
            return Err((
                1,
                format!("unknown column {written:?}; the columns are {known}"),
            ));
        };
        if found.contains(&Some(*column)) {
            return Err((1, format!("column {column} stands twice; remove one")));
        }
        found.push(Some(*column));
    }
    for needed in ["name", "main"] {
        if !found.contains(&Some(needed)) {
            return Err((
                1,
                format!("there is no column {needed}; the first row names the columns"),
            ));
        }
    }
    Ok(found)
}

struct Row<'r> {
    columns: &'r [Option<&'static str>],
    record: &'r ::csv::StringRecord,
    line: u32,
    problems: Vec<(u32, String)>,
}

impl<'r> Row<'r> {
    fn new(columns: &'r [Option<&'static str>], record: &'r ::csv::StringRecord) -> Self {
        let line = record.position().map_or(0, ::csv::Position::line);
        let line = u32::try_from(line).unwrap_or(u32::MAX);
        let mut row = Self {
            columns,
            record,
            line,
            problems: Vec::new(),
        };
        let beyond = record
            .iter()
            .skip(columns.len())
            .any(|field| !field.is_empty());
        let unnamed = columns
            .iter()
            .zip(record)
            .any(|(column, field)| column.is_none() && !field.is_empty());
        if beyond || unnamed {
            row.problem(
                "has values in columns without a name; quote fields that hold the separator",
            );
        }
        row
    }

    fn problem(&mut self, text: impl Into<String>) {
        self.problems.push((self.line, text.into()));
    }

    fn text(&self, column: &str) -> Option<String> {
        let at = self.columns.iter().position(|c| *c == Some(column))?;
        let field = self.record.get(at)?;
        (!field.is_empty()).then(|| field.to_owned())
    }

    fn number(&mut self, column: &str) -> Option<f64> {
        let text = self.text(column)?;
        match text.replace(',', ".").parse::<f64>() {
            Ok(number) if number.is_finite() => Some(number),
            _ => {
                self.problem(format!(
                    "{column}: {text:?} is no number; write such as 43,4745"
                ));
                None
            }
        }
    }

    fn truth(&mut self, column: &str) -> Option<bool> {
        let text = self.text(column)?;
        match text.to_lowercase().as_str() {
            "oui" | "true" | "vrai" | "yes" | "1" => Some(true),
            "non" | "false" | "faux" | "no" | "0" => Some(false),
            _ => {
                self.problem(format!("{column}: {text:?} is neither oui nor non"));
                None
            }
        }
    }

    fn texts(&self, column: &str) -> Option<Vec<String>> {
        let text = self.text(column)?;
        let parts: Vec<&str> = if text.contains('|') {
            text.split('|').map(str::trim).collect()
        } else {
            text.split_whitespace().collect()
        };
        let parts = parts.into_iter().filter(|part| !part.is_empty());
        Some(parts.map(str::to_owned).collect())
    }

    fn position(&mut self) -> Option<Vec<f64>> {
        let pair = (self.number("latitude"), self.number("longitude"));
        match pair {
            (Some(latitude), Some(longitude)) => Some(vec![latitude, longitude]),
            (None, None) => {
                let text = self.text("position")?;
                let text = text.trim_matches(['[', ']']);
                let parts: Vec<f64> = text
                    .split([' ', '|', ';'])
                    .filter(|part| !part.is_empty())
                    .filter_map(|part| part.trim_end_matches(',').replace(',', ".").parse().ok())
                    .collect();
                Some(parts)
            }
            _ => {
                if self.problems.is_empty() {
                    self.problem("latitude and longitude go together; give both or neither");
                }
                None
            }
        }
    }

    fn entry(mut self, path: &Path) -> Entry {
        let name = self.text("name");
        let made = || name.as_deref().and_then(id_of);
        let raw = raw::Camera {
            id: self.text("id").or_else(made),
            groups: self.texts("groups"),
            main: self.text("main"),
            onvif: self.text("onvif"),
            sub: self.text("sub"),
            credential: self.text("credential"),
            transport: self.text("transport").map(|name| name.to_lowercase()),
            position: self.position(),
            bearing: self.number("bearing"),
            field_of_view: self.number("field_of_view"),
            neighbours: self.texts("neighbours"),
            mask_verified: self.truth("mask_verified"),
            start_timeout: self.text("start_timeout"),
            close_after: self.text("close_after"),
            warm: self.truth("warm"),
            name,
        };
        Entry {
            raw,
            file: path.to_owned(),
            at: Lines::row(self.line),
            problems: self.problems,
            splits_passwords: true,
        }
    }
}
