//! Takes a TOML document apart, so that each section is read by itself: one
//! mistake does not hide the others, and every key keeps its line.

use std::collections::BTreeMap;
use std::path::Path;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::problem::{Errors, Lines, Reading};
use super::raw::KEYS;

/// Most entries of one kind: far above any commune.
pub(super) const ENTRIES_LIMIT: usize = 10_000;

/// A document not yet taken apart.
pub(super) struct Root<'t> {
    text: &'t str,
    table: DeTable<'t>,
}

/// A section as it was read, and where its keys stand.
pub(super) struct Section<T> {
    pub(super) raw: T,
    pub(super) at: Lines,
}

/// An entry that could not be read as its kind.
pub(super) struct Unreadable {
    pub(super) line: u32,
    pub(super) text: String,
    /// Its `id` and `name`, where they are texts.
    pub(super) id: Option<String>,
    pub(super) name: Option<String>,
    pub(super) header: u32,
}

/// Reads the TOML, without its meaning.
pub(super) fn parse<'t>(path: &Path, text: &'t str) -> Result<Root<'t>, Errors> {
    // Editors of Windows begin a file with a byte order mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    match DeTable::parse(text) {
        Ok(table) => Ok(Root {
            text,
            table: table.into_inner(),
        }),
        Err(error) => Err(Errors::one(
            path,
            Some(line(text, error.span().map_or(0, |span| span.start))),
            format!("not TOML: {}", error.message()),
        )),
    }
}

impl Root<'_> {
    /// Whether there is such a key; `text`: as a text, not a table.
    pub(super) fn has(&self, key: &str, text: bool) -> bool {
        self.table
            .get(key)
            .is_some_and(|value| !text || value.get_ref().is_str())
    }

    /// Takes out a table; a missing one reads as empty, at line 1.
    pub(super) fn section<T: DeserializeOwned + Default>(
        &mut self,
        key: &str,
        reading: &mut Reading<'_>,
    ) -> Section<T> {
        let missing = || Section {
            raw: T::default(),
            at: Lines::row(1),
        };
        let Some(value) = self.table.remove(key) else {
            return missing();
        };
        if !value.get_ref().is_table() {
            let at = line(self.text, value.span().start);
            reading.error(at, format!("{key} must be a table; write [{key}]"));
            return missing();
        }
        match read(self.text, value) {
            Ok(section) => section,
            Err(error) => {
                reading.error(error.line, format!("[{key}] {}", error.text));
                missing()
            }
        }
    }

    /// Takes out an array of tables; entries that can't be read are apart.
    pub(super) fn entries<T: DeserializeOwned>(
        &mut self,
        key: &str,
        reading: &mut Reading<'_>,
    ) -> Vec<Result<Section<T>, Unreadable>> {
        let Some(value) = self.table.remove(key) else {
            return Vec::new();
        };
        let start = line(self.text, value.span().start);
        let DeValue::Array(entries) = value.into_inner() else {
            reading.error(start, format!("{key} must be a list; write [[{key}]]"));
            return Vec::new();
        };
        if entries.len() > ENTRIES_LIMIT {
            reading.error(start, format!("more than {ENTRIES_LIMIT} of [[{key}]]"));
            return Vec::new();
        }
        entries
            .into_iter()
            .map(|entry| read(self.text, entry))
            .collect()
    }

    /// [`Root::entries`] where a bad entry refuses the file.
    pub(super) fn strict_entries<T: DeserializeOwned>(
        &mut self,
        key: &str,
        reading: &mut Reading<'_>,
    ) -> Vec<Section<T>> {
        self.entries(key, reading)
            .into_iter()
            .filter_map(|entry| {
                entry
                    .map_err(|error| {
                        reading.error(error.line, format!("[[{key}]] {}", error.text));
                    })
                    .ok()
            })
            .collect()
    }

    /// [`Root::strict_entries`] of an array inside a table.
    pub(super) fn nested_entries<T: DeserializeOwned>(
        &mut self,
        table: &str,
        key: &str,
        reading: &mut Reading<'_>,
    ) -> Vec<Section<T>> {
        let inner = match self.table.get_mut(table).map(Spanned::get_mut) {
            Some(DeValue::Table(inner)) => inner.remove_entry(key),
            _ => None,
        };
        let Some((name, value)) = inner else {
            return Vec::new();
        };
        let mut nested = Root {
            text: self.text,
            table: DeTable::new(),
        };
        nested.table.insert(name, value);
        nested.strict_entries(key, reading)
    }

    /// Reads what is left: the keys at the top, those of [`KEYS`] under this name.
    /// Unknown ones are told and left out, so that the rest is still checked.
    pub(super) fn rest<T: DeserializeOwned>(
        mut self,
        name: &str,
        reading: &mut Reading<'_>,
    ) -> Option<Section<T>> {
        let text = self.text;
        let known = KEYS.iter().find(|(section, _)| *section == name);
        let known = known.map_or(&[][..], |(_, keys)| keys);
        let keys = self.table.keys();
        let unknown: Vec<(String, u32)> = keys
            .filter(|key| !known.contains(&key.get_ref().as_ref()))
            .map(|key| (key.get_ref().to_string(), line(text, key.span().start)))
            .collect();
        for (key, at) in unknown {
            self.table.remove(key.as_str());
            let known = known.join(", ");
            reading.error(
                at,
                format!("unknown key `{key}`; correct or remove it; the keys here are {known}"),
            );
        }
        let all = Spanned::new(0..0, DeValue::Table(self.table));
        read(text, all)
            .map_err(|error| reading.error(error.line, error.text))
            .ok()
    }
}

fn read<T: DeserializeOwned>(
    text: &str,
    value: Spanned<DeValue<'_>>,
) -> Result<Section<T>, Unreadable> {
    let header = line(text, value.span().start);
    let keys = match value.get_ref() {
        DeValue::Table(table) => table
            .keys()
            .map(|key| {
                let at = line(text, key.span().start);
                (key.get_ref().to_string(), at)
            })
            .collect(),
        _ => BTreeMap::new(),
    };
    let text_of = |key: &str| {
        let table = value.get_ref().as_table()?;
        Some(table.get(key)?.get_ref().as_str()?.to_owned())
    };
    let (id, name) = (text_of("id"), text_of("name"));
    match T::deserialize(ValueDeserializer::from(value)) {
        Ok(raw) => Ok(Section {
            raw,
            at: Lines { header, keys },
        }),
        Err(error) => Err(Unreadable {
            line: error.span().map_or(header, |span| line(text, span.start)),
            text: explain(error.message()),
            id,
            name,
            header,
        }),
    }
}

/// serde's words in the file's: keys, not fields.
fn explain(message: &str) -> String {
    if let Some(rest) = message.strip_prefix("unknown field ") {
        return format!("unknown key {rest}; correct or remove it");
    }
    if let Some(rest) = message.strip_prefix("missing field ") {
        return format!("the key {rest} is missing; add it");
    }
    message.replace('\n', " ")
}

/// The line of a byte, from 1.
fn line(text: &str, byte: usize) -> u32 {
    let before = text.as_bytes().get(..byte).unwrap_or(text.as_bytes());
    let lines = before.iter().filter(|byte| **byte == b'\n').count();
    u32::try_from(lines).unwrap_or(u32::MAX).saturating_add(1)
}
