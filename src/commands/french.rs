//! Sentences for people in French: `french.txt` has each as the code writes it in English, with
//! `{}` for what is filled in, and in French.
//!
//! So the code that finds something says it once, in English, as logs have it; a command that has a
//! person before it translates. A sentence that is not in the table stays English. Reasons have
//! both languages in [`reason`](crate::reason).

use std::borrow::Cow;
use std::sync::OnceLock;

/// How deep sentences stand in sentences.
const DEPTH: usize = 6;
/// Most places in a line at which a sentence is looked for.
const PLACES: usize = 16;

/// Whether texts are for somebody who reads French.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct French(pub bool);

impl French {
    /// As the environment says (`LC_ALL`, `LC_MESSAGES`, `LANG`: the first that is set).
    pub fn of_environment() -> Self {
        let set = ["LC_ALL", "LC_MESSAGES", "LANG"]
            .into_iter()
            .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()));
        Self(set.is_some_and(|locale| locale.starts_with("fr")))
    }

    /// As `--lang` says, else the environment.
    pub fn chosen(lang: Option<&str>) -> Self {
        lang.map_or_else(Self::of_environment, |lang| Self(lang == "fr"))
    }

    /// One of two texts.
    pub const fn pick<'a>(self, french: &'a str, english: &'a str) -> &'a str {
        if self.0 { french } else { english }
    }

    /// A text of the code in this language, line by line.
    pub fn say(self, english: &str) -> Cow<'_, str> {
        if !self.0 {
            return Cow::Owned(english.to_owned());
        }
        let lines: Vec<String> = english
            .split('\n')
            .map(|line| translated(line, DEPTH).unwrap_or_else(|| line.to_owned()))
            .collect();
        Cow::Owned(lines.join("\n"))
    }
}

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// As the code has it, `{}` where something is filled in.
    pub english: &'static str,
    /// In French; `{2}` is what stands second in the English sentence.
    pub french: &'static str,
}

/// All rows, in the order of the file.
pub fn rows() -> Vec<Row> {
    let lines = include_str!("french.txt").lines();
    let mut lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut rows = Vec::new();
    while let (Some(english), Some(french)) = (lines.next(), lines.next()) {
        rows.push(Row { english, french });
    }
    rows
}

/// The rows, those with the most text of their own first: the narrower of two that fit is meant.
fn table() -> &'static [Row] {
    static TABLE: OnceLock<Vec<Row>> = OnceLock::new();
    TABLE.get_or_init(|| {
        let mut rows = rows();
        rows.sort_by_key(|row| std::cmp::Reverse(row.english.replace("{}", "").len()));
        rows
    })
}

/// The text in French; `None` where no row has any part of it.
fn translated(text: &str, depth: usize) -> Option<String> {
    let depth = depth.checked_sub(1)?;
    if let Some(row) = row(text, depth) {
        return Some(row);
    }
    // A place or a key before a sentence: `gateway.toml:7: …`.
    for (at, _) in text.match_indices(": ").take(PLACES) {
        if let Some(rest) = row(&text[at + 2..], depth) {
            return Some(format!("{}: {rest}", &text[..at]));
        }
    }
    // Several sentences in one line.
    for between in ["; ", " | "] {
        let parts: Vec<&str> = text.split(between).collect();
        if !(2..=PLACES * 4).contains(&parts.len()) {
            continue;
        }
        let said: Vec<Option<String>> = parts.iter().map(|part| translated(part, depth)).collect();
        if said.iter().any(Option::is_some) {
            let whole: Vec<String> = said
                .into_iter()
                .zip(parts)
                .map(|(said, part)| said.unwrap_or_else(|| part.to_owned()))
                .collect();
            return Some(whole.join(if between == "; " { " ; " } else { between }));
        }
    }
    None
}

/// The text by the row that it fits as a whole.
fn row(text: &str, depth: usize) -> Option<String> {
    table().iter().find_map(|row| {
        let values = values(row.english, text)?;
        let values: Vec<String> = values
            .into_iter()
            .map(|value| {
                // One word is a name: of a file, a key, a camera.
                let sentence = value
                    .contains(' ')
                    .then(|| translated(value, depth))
                    .flatten();
                sentence.unwrap_or_else(|| value.to_owned())
            })
            .collect();
        Some(filled(row.french, &values))
    })
}

/// What is filled into the pattern's places, where the text fits it.
fn values<'t>(pattern: &str, text: &'t str) -> Option<Vec<&'t str>> {
    let mut fixed = pattern.split("{}");
    let mut rest = text.strip_prefix(fixed.next()?)?;
    let fixed: Vec<&str> = fixed.collect();
    let Some((last, between)) = fixed.split_last() else {
        return rest.is_empty().then(Vec::new);
    };
    let mut values = Vec::with_capacity(fixed.len());
    for part in between {
        let (value, after) = rest.split_once(part)?;
        values.push(value);
        rest = after;
    }
    values.push(rest.strip_suffix(last)?);
    // Something is always filled in.
    values
        .iter()
        .all(|value| !value.is_empty())
        .then_some(values)
}

/// The pattern with its places filled.
fn filled(pattern: &str, values: &[String]) -> String {
    let mut text = String::new();
    let mut rest = pattern;
    let mut next = 0;
    while let Some(at) = rest.find('{') {
        let (before, from) = rest.split_at(at);
        let place = from
            .split_once('}')
            .map(|(inside, after)| (&inside[1..], after));
        text.push_str(before);
        let value = match place {
            Some(("", _)) => {
                next += 1;
                values.get(next - 1)
            }
            Some((number, _)) => number
                .parse::<usize>()
                .ok()
                .and_then(|n| values.get(n.checked_sub(1)?)),
            None => None,
        };
        match (value, place) {
            (Some(value), Some((_, after))) => {
                text.push_str(value);
                rest = after;
            }
            _ => {
                text.push('{');
                rest = &from[1..];
            }
        }
    }
    text.push_str(rest);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_keep_what_was_filled_in_and_sentences_in_them_are_french_too() {
        for (english, french) in [
            (
                "/etc/fanal/gateway.toml:7: camera \"quai-nord\": main: is missing; give the camera's RTSP URL",
                "/etc/fanal/gateway.toml:7: caméra \"quai-nord\" : main: manque ; donnez l'URL RTSP de la caméra",
            ),
            (
                "key: /k.key can't be read: No such file or directory (os error 2); check the path and who may read it",
                "key : /k.key ne peut être lu : fichier ou répertoire absent ; vérifiez le chemin et qui peut le lire",
            ),
            (
                "works; it says BYE and goes on; it sends RTP packets twice",
                "fonctionne ; elle dit BYE et continue ; elle envoie des paquets RTP deux fois",
            ),
            ("line one\nno answer", "line one\npas de réponse"),
            ("said by nobody: at all; {}", "said by nobody: at all; {}"),
            ("", ""),
        ] {
            assert_eq!(French(true).say(english), french);
            assert_eq!(French(false).say(english), english);
        }
        assert_eq!(
            filled("{2} {} {9} {", &["a".into(), "b".into()]),
            "b a {9} {"
        );
    }

    #[test]
    fn each_row_fills_in_what_its_english_has() {
        let rows = rows();
        assert!(rows.len() > 300, "{}", rows.len());
        for row in &rows {
            let places = row.english.matches("{}").count();
            let values: Vec<String> = (1..=places).map(|n| format!("<{n}>")).collect();
            let text = filled(row.english, &values);
            assert_eq!(values_of(row, &text), places, "{}", row.english);
            let french = filled(row.french, &values);
            // The system's numbers say nothing to a person.
            let is_system = row.english.contains("(os error {})");
            for value in values.iter().filter(|_| !is_system) {
                assert!(french.contains(value.as_str()), "{value}: {}", row.french);
            }
            assert!(!french.contains("{}"), "{}", row.french);
        }
        let mut english: Vec<&str> = rows.iter().map(|row| row.english).collect();
        english.sort_unstable();
        assert_eq!(english.windows(2).find(|two| two[0] == two[1]), None);
    }

    fn values_of(row: &Row, text: &str) -> usize {
        values(row.english, text).map_or(usize::MAX, |values| values.len())
    }

    #[test]
    fn no_text_is_long_to_translate() {
        let text = "a: b; c: ".repeat(2_000);
        let begun = std::time::Instant::now();
        let _ = French(true).say(&text);
        assert!(begun.elapsed() < std::time::Duration::from_secs(5));
    }
}
