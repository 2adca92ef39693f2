//! `[notify]` of both files.

use std::collections::BTreeSet;
use std::path::PathBuf;

use url::Url;

use super::gateway::read_password;
use super::problem::{Lines, Reading};
use super::section::Section;
use super::settings::{NoticeKind, Notify};
use super::{pem, raw, values};
use crate::format;

/// Largest file of authorities.
const AUTHORITY_LIMIT: u64 = 1024 * 1024;

/// Where notices go; `None` without the section.
pub(super) fn notify(section: Section<raw::Notify>, reading: &mut Reading<'_>) -> Option<Notify> {
    let Section { raw, at } = section;
    if raw == raw::Notify::default() {
        return None;
    }
    let url = reading.required(&at, "url", raw.url, |written| address(&written));
    let file = reading.required_path(&at, "secret_file", raw.secret_file);
    let secret = file.and_then(|path| {
        let line = at.of("secret_file");
        pem::warn_if_loose(&path, line, "secret_file", reading);
        let secret = read_password(&path, reading).and_then(|secret| {
            let shown = path.display();
            let key = values::webhook_key(secret.expose());
            key.map_err(|wrong| format!("{shown} {wrong}"))?;
            Ok(secret)
        });
        reading.checked(line, "secret_file", secret)
    });
    let authority = authority(&at, raw.authority, reading);
    let all = || NoticeKind::ALL.map(|kind| kind.code().to_owned()).to_vec();
    let events = raw.events.unwrap_or_else(all);
    if events.is_empty() {
        let all = all().join(", ");
        reading.error(
            at.of("events"),
            format!("events: none; name some of {all}, or remove [notify]"),
        );
    }
    let events = reading.list(&at, "events", Some(events), kind);
    Some(Notify {
        url: url?,
        secret: secret?,
        authority,
        events: events.into_iter().collect::<BTreeSet<NoticeKind>>(),
        details: raw.details.unwrap_or(false),
    })
}

/// Who signs another site's certificate, where it is not whom the system trusts.
pub(super) fn authority(
    at: &Lines,
    written: Option<String>,
    reading: &mut Reading<'_>,
) -> Option<PathBuf> {
    let path = reading.optional_path(at, "authority", written)?;
    let read = reading.files.read(&path, AUTHORITY_LIMIT);
    let read = read.map_err(|error| error.to_string());
    let certificates = read.and_then(|bytes| format::pem::certificates(&bytes));
    let checked = match certificates {
        Ok(certificates) if certificates.is_empty() => Err("holds no certificate".to_owned()),
        Ok(_) => Ok(()),
        Err(error) => Err(format!("can't be read: {error}")),
    };
    let shown = path.display();
    let checked = checked.map_err(|wrong| format!("{shown} {wrong}; give a PEM file"));
    reading.checked(at.of("authority"), "authority", checked);
    Some(path)
}

fn kind(written: &str) -> Result<NoticeKind, String> {
    let known = NoticeKind::ALL
        .into_iter()
        .find(|kind| kind.code() == written);
    known.ok_or_else(|| {
        let all = NoticeKind::ALL.map(NoticeKind::code).join(", ");
        format!("{written:?} is none; the events are {all}")
    })
}

fn address(written: &str) -> Result<Url, String> {
    let url = Url::parse(written)
        .map_err(|error| format!("{written:?}: {error}; write https://HOST/PATH"))?;
    if url.scheme() != "https" {
        return Err(format!(
            "{written:?} is not https; notices go out encrypted alone"
        ));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(
            "holds a name or password; the receiving server checks the signature instead"
                .to_owned(),
        );
    }
    if url.fragment().is_some() {
        return Err(format!(
            "{written:?} has a fragment, which no server sees; remove it"
        ));
    }
    Ok(url)
}
