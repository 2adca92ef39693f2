//! Pages to print on A4: no script, nothing from elsewhere, in which no name is markup.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::ValueEnum;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::config::grounds::GROUNDS;
use crate::format::ids::Sha256;
use crate::reason::Reason;

const STYLE: &str = include_str!("paper.css");

/// The language of a paper, and what all papers say alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::commands) enum Lang {
    Fr,
    En,
}

impl Lang {
    /// Of the same in French and in English.
    pub(in crate::commands) fn of<T>(self, french: T, english: T) -> T {
        match self {
            Self::Fr => french,
            Self::En => english,
        }
    }

    /// Between a name and what it says: French has a space before it.
    pub(in crate::commands) fn colon(self) -> &'static str {
        self.of("\u{a0}: ", ": ")
    }

    /// A time as the zone's people write it.
    pub(in crate::commands) fn time(self, time: Timestamp, zone: &TimeZone) -> String {
        let form = self.of("%d/%m/%Y %H:%M:%S", "%Y-%m-%d %H:%M:%S");
        time.to_zoned(zone.clone()).strftime(form).to_string()
    }

    /// The French or English word for a name of this table; the name where it has none.
    pub(in crate::commands) fn pick<'a>(
        self,
        table: &[(&str, &'static str, &'static str)],
        name: &'a str,
    ) -> &'a str {
        let known = table.iter().find(|(known, ..)| *known == name);
        known.map_or(name, |(_, french, english)| self.of(*french, *english))
    }

    /// The label of a ground; its id where the commune made it itself.
    pub(in crate::commands) fn ground(self, id: &str) -> &str {
        self.pick(GROUNDS, id)
    }

    /// What happened, as the reason's own sentence says.
    pub(in crate::commands) fn reason(self, reason: Reason) -> &'static str {
        self.of(reason.french(), reason.english())
    }

    /// The same from a code; the code where this version does not know it.
    pub(in crate::commands) fn reason_of(self, code: &str) -> &str {
        Reason::from_code(code).map_or(code, |reason| self.reason(reason))
    }
}

/// Begins a page; its title is of these parts.
pub(in crate::commands) fn head(lang: Lang, title: &[&str]) -> String {
    let lang = lang.of("fr", "en");
    let hash = STANDARD.encode(Sha256::of(STYLE.as_bytes()).0);
    format!(
        "<!doctype html><html lang=\"{lang}\"><head><meta charset=\"utf-8\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta name=\"referrer\" content=\"no-referrer\">\
         <title>{}</title><style>{STYLE}</style></head><body>",
        text(&title.join(" – ")),
    )
}

/// Begins a table with these columns.
pub(in crate::commands) fn table_head(html: &mut String, names: &[&str]) {
    html.push_str("<table class=\"list\"><thead><tr>");
    for name in names {
        let _ = write!(html, "<th scope=\"col\">{}</th>", text(name));
    }
    html.push_str("</tr></thead><tbody>");
}

/// A row of it.
pub(in crate::commands) fn cells_of(html: &mut String, cells: &[String]) {
    html.push_str("<tr>");
    for cell in cells {
        let _ = write!(html, "<td>{}</td>", text(cell));
    }
    html.push_str("</tr>");
}

/// A row of a name and what it says; line breaks stay.
pub(in crate::commands) fn row(html: &mut String, name: &str, value: &str) {
    let value = text(value).replace('\n', "<br>");
    let _ = write!(
        html,
        "<tr><th scope=\"row\">{}</th><td>{value}</td></tr>",
        text(name)
    );
}

/// Text as HTML shows it: nothing in it is markup.
pub(in crate::commands) fn text(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            // Characters that steer the direction of text make a name read otherwise.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => html.push('\u{fffd}'),
            c => html.push(c),
        }
    }
    html
}
