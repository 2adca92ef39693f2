//! The `cameras_file`: a table as French Excel writes it.
//!
//! Columns are named as the camera keys, plus `latitude` and `longitude`, or by a French name
//! ([`FRENCH`]); `;`, `,` or a tab between them; UTF-8 with or without a byte order mark, or
//! Windows-1252; a comma or a point in numbers; `oui`, `non`, `true`, `false`, `1`, `0`;
//! several groups or neighbours separated by spaces, or by `|`. An empty id is
//! made from the name. The first row names the columns; other columns are the owner's and
//! are not read, which a warning says. Problems name the row as a spreadsheet counts them:
//! a cell with a line break is one row.

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

/// The column that `fanal check --csv` adds, in English and French.
pub const FIX_COLUMNS: [&str; 2] = ["to fix", "à corriger"];

/// Names of columns in a commune's own language.
const FRENCH: &[(&str, &str)] = &[
    ("identifiant", "id"),
    ("nom", "name"),
    ("groupes", "groups"),
    ("flux_principal", "main"),
    ("flux_secondaire", "sub"),
    ("compte", "credential"),
    ("azimut", "bearing"),
    ("champ", "field_of_view"),
    ("voisines", "neighbours"),
    ("masque_verifie", "mask_verified"),
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
        Ok((entries, unread)) => {
            if !unread.is_empty() {
                let (unread, known) = (unread.join(", "), COLUMNS.join(", "));
                let text = format!(
                    "not read: the columns {unread}; that is right for notes of your own. fanal reads {known}"
                );
                reading.warn_in(path, 1, text);
            }
            entries
        }
        Err((line, text)) => {
            reading.error_in(path, Some(line), text);
            Vec::new()
        }
    }
}

/// A table as the file has it.
#[derive(Clone, Debug)]
pub struct Table {
    /// What is between two columns: `;`, `,` or a tab.
    pub delimiter: u8,
    /// The rows, the one with the columns' names too, by their numbers in a spreadsheet.
    pub rows: Vec<(u32, ::csv::StringRecord)>,
}

/// Reads any table that a spreadsheet wrote; rows longer or shorter than others are as they are.
///
/// # Errors
/// It is no table; with the row, 0 where that is not known.
pub fn parse(bytes: &[u8]) -> Result<Table, (u32, String)> {
    // Excel ends lines with CR LF, old programs of a Mac with CR.
    let text = decode(bytes)?.replace("\r\n", "\n").replace('\r', "\n");
    let first = text.lines().next().unwrap_or_default();
    let delimiters = [b';', b'\t', b','];
    let delimiter = delimiters
        .into_iter()
        .find(|d| first.as_bytes().contains(d))
        .unwrap_or(b',');
    let mut table = ::csv::ReaderBuilder::new()
        .delimiter(delimiter)
        .flexible(true)
        .has_headers(false)
        .from_reader(text.as_bytes());
    let mut numbers = RowNumbers::new(&text);
    let mut rows = Vec::new();
    for record in table.records() {
        let record = record.map_err(|error| (0, format!("not a table: {error}")))?;
        rows.push((numbers.of(&record), record));
    }
    Ok(Table { delimiter, rows })
}

/// The ids of a camera table's rows, made from the names where there are none.
pub fn ids(table: &Table) -> Vec<(u32, String)> {
    let Some((_, header)) = table.rows.first() else {
        return Vec::new();
    };
    let mut header = header.clone();
    header.trim();
    let Ok((columns, _)) = columns(&header) else {
        return Vec::new();
    };
    let rows = table.rows.iter().skip(1).map(|(number, record)| {
        let mut record = record.clone();
        record.trim();
        let row = Row::new(&columns, &record, *number);
        let made = || row.text("name").and_then(|name| id_of(&name));
        (*number, row.text("id").or_else(made).unwrap_or_default())
    });
    rows.collect()
}

/// The rows as entries, and the columns that are not read.
fn rows(bytes: &[u8], path: &Path) -> Result<(Vec<Entry>, Vec<String>), (u32, String)> {
    let mut records = parse(bytes)?.rows.into_iter();
    let Some((_, mut header)) = records.next() else {
        return Err((1, "is empty; the first row names the columns".to_owned()));
    };
    header.trim();
    let (columns, unread) = columns(&header)?;
    let mut entries = Vec::new();
    for (number, mut record) in records {
        record.trim();
        if record.iter().all(str::is_empty) {
            continue;
        }
        if entries.len() >= ENTRIES_LIMIT {
            return Err((0, format!("more than {ENTRIES_LIMIT} cameras")));
        }
        entries.push(Row::new(&columns, &record, number).entry(path));
    }
    Ok((entries, unread))
}

/// Counts rows as a spreadsheet does: empty ones too, and those with line breaks in a cell once.
struct RowNumbers<'t> {
    text: &'t [u8],
    /// Up to where lines are counted, and how many ended before it.
    at: usize,
    lines: u32,
    /// Line breaks inside cells so far.
    inside: u32,
}

impl<'t> RowNumbers<'t> {
    fn new(text: &'t str) -> Self {
        Self {
            text: text.as_bytes(),
            at: 0,
            lines: 0,
            inside: 0,
        }
    }

    /// The number of the row, from 1; records must come in order, as they were read.
    fn of(&mut self, record: &::csv::StringRecord) -> u32 {
        let start = record.position().map_or(0, ::csv::Position::byte);
        let mut start = usize::try_from(start)
            .unwrap_or(usize::MAX)
            .min(self.text.len());
        // The reader leaves out empty rows, but not from the position.
        while self.text.get(start) == Some(&b'\n') {
            start += 1;
        }
        let breaks = |text: &[u8]| text.iter().filter(|byte| **byte == b'\n').count();
        let breaks = |text: &[u8]| u32::try_from(breaks(text)).unwrap_or(u32::MAX);
        self.lines += breaks(&self.text[self.at..start]);
        self.at = start;
        let number = self.lines - self.inside + 1;
        self.inside += record
            .iter()
            .map(|cell| breaks(cell.as_bytes()))
            .sum::<u32>();
        number
    }
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

/// Which column of the table is which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    Key(&'static str),
    /// The owner's own: not read.
    Unread,
    /// Without a name, as Excel leaves behind.
    Unnamed,
}

type Columns = Vec<Column>;

/// The column of this name, as people write it: `Masque vérifié` for `masque_verifie`.
fn column(written: &str) -> Option<&'static str> {
    let name = written
        .to_lowercase()
        .replace(['é', 'è'], "e")
        .replace([' ', '-'], "_");
    let french = FRENCH.iter().find(|(french, _)| *french == name);
    let name = french.map_or(name.as_str(), |(_, column)| column);
    COLUMNS.iter().find(|column| **column == name).copied()
}

/// What the columns are, and the names of those that are not read.
fn columns(header: &::csv::StringRecord) -> Result<(Columns, Vec<String>), (u32, String)> {
    let mut found = Vec::new();
    let mut unread = Vec::new();
    for written in header {
        if written.is_empty() {
            found.push(Column::Unnamed);
            continue;
        }
        let Some(column) = column(written) else {
            if !FIX_COLUMNS.contains(&written) {
                unread.push(format!("{written:?}"));
            }
            found.push(Column::Unread);
            continue;
        };
        if found.contains(&Column::Key(column)) {
            return Err((1, format!("the column {column} is there twice; remove one")));
        }
        found.push(Column::Key(column));
    }
    for needed in ["name", "main"] {
        if !found.contains(&Column::Key(needed)) {
            let (unread, known) = (unread.join(", "), COLUMNS.join(", "));
            let text = if unread.is_empty() {
                format!("there is no column {needed}; the first row names the columns: {known}")
            } else {
                format!(
                    "there is no column {needed} (unknown: {unread}); the first row names the columns: {known}"
                )
            };
            return Err((1, text));
        }
    }
    Ok((found, unread))
}

struct Row<'r> {
    columns: &'r [Column],
    record: &'r ::csv::StringRecord,
    line: u32,
    problems: Vec<(u32, String)>,
}

impl<'r> Row<'r> {
    fn new(columns: &'r [Column], record: &'r ::csv::StringRecord, line: u32) -> Self {
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
            .any(|(column, field)| *column == Column::Unnamed && !field.is_empty());
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
        let at = self
            .columns
            .iter()
            .position(|c| matches!(c, Column::Key(key) if *key == column))?;
        let field = self.record.get(at)?;
        (!field.is_empty()).then(|| field.to_owned())
    }

    fn number(&mut self, column: &str) -> Option<f64> {
        let text = self.text(column)?;
        match text.replace(',', ".").parse::<f64>() {
            Ok(_) if text.contains(['e', 'E']) => {
                self.problem(format!(
                    "{column}: {text:?} is how a spreadsheet shortens a number, and digits are lost; format the column as text and write it again"
                ));
                None
            }
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
