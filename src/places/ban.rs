//! Reads addresses as the Base Adresse Nationale publishes them: CSV with `;`, UTF-8, columns by
//! their names, compressed with gzip or not
//! (<https://adresse.data.gouv.fr/data/ban/adresses/latest/csv>).

use std::io::{self, BufRead, BufReader, Read};
use std::sync::atomic::{AtomicBool, Ordering};

use flate2::bufread::MultiGzDecoder;

use super::{Builder, Index, NAME, Row};

/// Longest line, in bytes.
pub const LINE: usize = 64 * 1024;
/// Most bytes of a file, once decompressed.
const FILE: u64 = 4 * 1024 * 1024 * 1024;
/// Bad rows that are named; the others are counted.
const EXAMPLES: usize = 3;
/// How often the reader looks whether it is still wanted, in rows.
const LOOK_EVERY: usize = 4_096;

/// What became of a file.
#[derive(Debug)]
pub struct Outcome {
    /// What can be searched.
    pub index: Index,
    /// Rows that could not be used.
    pub bad: usize,
    /// What is wrong with the first of them.
    pub examples: Vec<String>,
    /// Whether rows were left out because there are more than fit.
    pub is_cut: bool,
}

/// Where the columns are that are used.
#[derive(Debug)]
struct Columns {
    number: usize,
    suffix: Option<usize>,
    street: usize,
    city: usize,
    former: Option<usize>,
    postcode: usize,
    longitude: usize,
    latitude: usize,
}

impl Columns {
    fn of(header: &csv::StringRecord) -> Result<Self, String> {
        let find = |name: &str| {
            let mut names = header.iter();
            names.position(|column| column.trim_start_matches('\u{feff}').trim() == name)
        };
        let needed = |name: &str| {
            find(name).ok_or_else(|| {
                format!("there is no column {name}; take a CSV of the Base Adresse Nationale (columns between \";\", named in the first line)")
            })
        };
        Ok(Self {
            number: needed("numero")?,
            suffix: find("rep"),
            street: needed("nom_voie")?,
            city: needed("nom_commune")?,
            former: find("nom_ancienne_commune"),
            postcode: needed("code_postal")?,
            longitude: needed("lon")?,
            latitude: needed("lat")?,
        })
    }

    fn row<'a>(&self, record: &'a csv::StringRecord) -> Result<Row<'a>, String> {
        let field = |at: usize| record.get(at).unwrap_or_default().trim();
        let name = |at: usize, what: &str| match field(at) {
            "" => Err(format!("no {what}")),
            text if text.chars().count() > NAME => {
                Err(format!("{what} longer than {NAME} characters"))
            }
            text if text.chars().any(char::is_control) => {
                Err(format!("control characters in {what}"))
            }
            text => Ok(text),
        };
        let degrees = |at: usize, most: f64, what: &str| {
            let read = field(at).parse::<f64>().ok();
            read.filter(|degrees| degrees.abs() <= most)
                .ok_or_else(|| format!("{what} is no number of degrees"))
        };
        let number = match field(self.number) {
            "" => 0,
            text => text.parse().map_err(|_| "numero is no number".to_owned())?,
        };
        let optional = |at: Option<usize>| match at {
            Some(at) if !field(at).is_empty() => name(at, "name"),
            _ => Ok(""),
        };
        Ok(Row {
            number,
            suffix: optional(self.suffix)?,
            street: name(self.street, "nom_voie")?,
            city: name(self.city, "nom_commune")?,
            former: optional(self.former)?,
            postcode: name(self.postcode, "code_postal")?,
            position: [
                degrees(self.latitude, 90.0, "lat")?,
                degrees(self.longitude, 180.0, "lon")?,
            ],
        })
    }
}

/// Reads a whole file; `is_over` ends it early, with an error.
///
/// # Errors
/// It can't be read, is damaged, is no such CSV, or has no address at all; a text that says so.
pub fn read(file: impl Read, builder: Builder, is_over: &AtomicBool) -> Result<Outcome, String> {
    let mut file = BufReader::with_capacity(64 * 1024, file);
    let begin = file.fill_buf().map_err(|error| error.to_string())?;
    if begin.starts_with(&[0x1f, 0x8b]) {
        rows(MultiGzDecoder::new(file), builder, is_over)
    } else {
        rows(file, builder, is_over)
    }
}

fn rows(text: impl Read, mut builder: Builder, is_over: &AtomicBool) -> Result<Outcome, String> {
    let text = Bounded {
        text,
        left: FILE,
        line: 0,
    };
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(b';')
        .flexible(true)
        .from_reader(text);
    let header = reader.headers().map_err(|error| error.to_string())?;
    let columns = Columns::of(header)?;
    let (mut bad, mut examples, mut is_cut) = (0, Vec::new(), false);
    let mut record = csv::StringRecord::new();
    for count in 0_usize.. {
        if count.is_multiple_of(LOOK_EVERY) && is_over.load(Ordering::Relaxed) {
            return Err("it is no longer wanted".to_owned());
        }
        let row = match reader.read_record(&mut record) {
            Ok(false) => break,
            Ok(true) => columns.row(&record),
            // One row that is not UTF-8 is as bad as another; what the file itself says is not.
            Err(error) if error.is_io_error() => return Err(error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        match row {
            Ok(row) => {
                if builder.add(&row).is_err() {
                    is_cut = true;
                    break;
                }
            }
            Err(cause) => {
                bad += 1;
                if examples.len() < EXAMPLES {
                    let line = record.position().map_or(0, csv::Position::line);
                    examples.push(format!("line {line}: {cause}"));
                }
            }
        }
    }
    if builder.rows() == 0 {
        let cause = examples.first().map_or("it is empty", String::as_str);
        return Err(format!("there is no address in it ({cause})"));
    }
    Ok(Outcome {
        index: builder.finish(),
        bad,
        examples,
        is_cut,
    })
}

/// A text with bounded lines and length, so that no file fills the memory.
struct Bounded<R> {
    text: R,
    left: u64,
    line: usize,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.text.read(buffer)?;
        let bytes = &buffer[..count];
        let longest = match bytes.iter().position(|byte| *byte == b'\n') {
            None => {
                self.line += count;
                self.line
            }
            Some(first) => {
                let longest = self.line + first;
                let rest = bytes.rsplit(|byte| *byte == b'\n').next();
                self.line = rest.map_or(0, <[u8]>::len);
                longest
            }
        };
        self.left = self.left.saturating_sub(count as u64);
        if longest > LINE || self.left == 0 {
            let text = "a line is longer than 64 KiB, or the whole than 4 GiB; this is no list of addresses";
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        Ok(count)
    }
}
