//! `fanal check --csv`: the camera table back, each row with what is to be corrected in it.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::Context;

use crate::commands::Usage;
use crate::commands::french::French;
use crate::config::csv::{self, FIX_COLUMNS, Table};
use crate::config::settings;

/// What is to be corrected, by camera id.
pub(super) type Notes = BTreeMap<String, Vec<String>>;

/// Writes the table of the settings to `out`, with a last column that says what to correct: what
/// the settings say of the row, then `notes`.
///
/// # Errors
/// The settings name no table, or a file can't be read or written.
pub(super) fn write(
    out: &Path,
    settings: &settings::Gateway,
    notes: &Notes,
    french: French,
) -> anyhow::Result<()> {
    let Some(sheet) = &settings.cameras_file else {
        let text = "--csv gives the cameras_file back, and the settings name none";
        return Err(Usage(text.to_owned()).into());
    };
    let bytes = std::fs::read(sheet)
        .with_context(|| format!("the table {} can't be read", sheet.display()))?;
    let table = csv::parse(&bytes)
        .map_err(|(row, text)| Usage(format!("{}:{row}: {text}", sheet.display())))?;
    let said = settings
        .warnings
        .iter()
        .filter(|warning| warning.file == *sheet);
    let said = said.filter_map(|warning| Some((warning.line?, warning.text.clone())));
    let by_row = by_row(&table, said, notes);
    let text = filled(&table, &by_row, french)?;
    // The table may hold passwords.
    let written = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(out)
        .and_then(|mut file| file.write_all(&text));
    written.with_context(|| format!("{} can't be written", out.display()))
}

/// What is to be corrected, by the row's number.
fn by_row(
    table: &Table,
    said: impl Iterator<Item = (u32, String)>,
    notes: &Notes,
) -> BTreeMap<u32, Vec<String>> {
    let mut rows: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    for (row, text) in said {
        rows.entry(row).or_default().push(text);
    }
    for (row, id) in csv::ids(table) {
        // An entry whose own id can't be used is called by its row.
        let by_line = format!("line-{row}");
        let of_row = notes.iter().filter(|(noted, _)| {
            **noted == id || **noted == by_line || noted.ends_with(&format!("-{by_line}"))
        });
        for (_, texts) in of_row {
            rows.entry(row).or_default().extend(texts.iter().cloned());
        }
    }
    rows
}

/// The table as a spreadsheet takes it: UTF-8 with a byte order mark, CR LF.
fn filled(
    table: &Table,
    notes: &BTreeMap<u32, Vec<String>>,
    french: French,
) -> anyhow::Result<Vec<u8>> {
    let head = FIX_COLUMNS[usize::from(french.0)];
    let header = table.rows.first().map(|(_, header)| header);
    let is_ours = |cell: &str| FIX_COLUMNS.contains(&cell.trim());
    // One that an earlier check wrote is written again.
    let ours = header.and_then(|header| header.iter().position(is_ours));
    let width = header.map_or(0, ::csv::StringRecord::len);
    let mut writer = ::csv::WriterBuilder::new()
        .delimiter(table.delimiter)
        .terminator(::csv::Terminator::CRLF)
        .flexible(true)
        .from_writer("\u{feff}".as_bytes().to_vec());
    for (at, (row, record)) in table.rows.iter().enumerate() {
        let mut cells: Vec<String> = record.iter().map(str::to_owned).collect();
        if let Some(ours) = ours.filter(|ours| *ours < cells.len()) {
            cells.remove(ours);
        }
        cells.resize(
            cells.len().max(width - usize::from(ours.is_some())),
            String::new(),
        );
        cells.push(match notes.get(row) {
            _ if at == 0 => head.to_owned(),
            Some(texts) => {
                let texts: Vec<_> = texts.iter().map(|text| french.say(text)).collect();
                texts.join(" | ")
            }
            None => String::new(),
        });
        writer.write_record(&cells)?;
    }
    Ok(writer.into_inner().map_err(|error| error.into_error())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sheet_comes_back_with_what_to_correct_in_its_rows() {
        let sheet = "nom;flux principal;remarque\r\nQuai nord;rtsp://10.0.0.1/;\"a\nb\"\r\n\r\n\
                     Port;rtsp://10.0.0.2/;x\r\n";
        let table = csv::parse(sheet.as_bytes()).unwrap();
        let said = [(2, "is empty; give it a text".to_owned())].into_iter();
        let notes = Notes::from([
            (
                "port".to_owned(),
                vec!["main: no".to_owned(), "its clock".to_owned()],
            ),
            ("other".to_owned(), vec!["x".to_owned()]),
        ]);
        let rows = by_row(&table, said, &notes);
        let text = String::from_utf8(filled(&table, &rows, French(true)).unwrap()).unwrap();
        assert_eq!(
            text,
            "\u{feff}nom;flux principal;remarque;à corriger\r\n\
             Quai nord;rtsp://10.0.0.1/;\"a\nb\";\"est vide ; donnez un texte\"\r\n\
             Port;rtsp://10.0.0.2/;x;main: no | its clock\r\n"
        );
        // The answer is a table again; a second check writes its column in the same place.
        let again = csv::parse(text.as_bytes()).unwrap();
        let rows = by_row(&again, std::iter::empty(), &Notes::new());
        let text = String::from_utf8(filled(&again, &rows, French(false)).unwrap()).unwrap();
        assert!(
            text.starts_with("\u{feff}nom;flux principal;remarque;to fix\r\n"),
            "{text}"
        );
        assert!(text.ends_with("Port;rtsp://10.0.0.2/;x;\r\n"), "{text}");
    }
}
