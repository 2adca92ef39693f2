//! `[[witness]]` of both files.

use std::collections::BTreeSet;

use url::{Host, Url};

use super::problem::Reading;
use super::section::{Root, Section};
use super::settings::Witness;
use super::{raw, values};
use crate::format::note::{Kind, VerifierKey};

/// Most witnesses of one journal: each costs a line an hour.
const WITNESSES_LIMIT: usize = 16;
/// Longest URL, in bytes.
const URL_LIMIT: usize = 1024;

/// Takes out the witnesses, in the file's order.
pub(super) fn read(root: &mut Root<'_>, reading: &mut Reading<'_>) -> Vec<Witness> {
    let mut known = (BTreeSet::new(), BTreeSet::new());
    let mut witnesses = Vec::new();
    for Section { raw, at } in root.strict_entries::<raw::Witness>("witness", reading) {
        let name = reading.required(&at, "name", raw.name, |name| values::text(&name));
        let url = reading.required(&at, "url", raw.url, |written| url(&written));
        let key = reading.required(&at, "key", raw.key, |written| key(&written));
        let (Some(name), Some(url), Some(key)) = (name, url, key) else {
            continue;
        };
        if !known.0.insert(name.clone()) {
            reading.error(
                at.of("name"),
                format!("two witnesses have the name {name:?}; rename one"),
            );
        }
        if !known.1.insert(key.clone()) {
            reading.error(
                at.of("key"),
                "key: two witnesses have this key; a second witness must be somebody else's",
            );
        }
        if url.scheme() == "http" && !is_loopback(&url) {
            reading.warn(
                at.of("url"),
                "url: plain HTTP off loopback; anyone on the way sees sizes and times and can hold cosignatures back; use https",
            );
        }
        if witnesses.len() == WITNESSES_LIMIT {
            reading.error(
                at.header,
                format!("more than {WITNESSES_LIMIT} of [[witness]]; remove some"),
            );
        }
        witnesses.push(Witness { name, url, key });
    }
    witnesses
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// The submission prefix, without a slash at its end.
fn url(written: &str) -> Result<Url, String> {
    let form = "write the submission prefix, such as \"https://witness.example/fanal\"";
    if written.len() > URL_LIMIT {
        return Err(format!("has more than {URL_LIMIT} bytes; {form}"));
    }
    let url: Url = written
        .trim_end_matches('/')
        .parse()
        .map_err(|error| format!("{written:?} is no URL ({error}); {form}"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(format!("{written:?} is not of http or https; {form}"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(format!("holds a user name or password; {form}"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(format!("holds a ? or #; {form}"));
    }
    Ok(url)
}

fn key(written: &str) -> Result<VerifierKey, String> {
    let key: VerifierKey = written.parse()?;
    match key.kind() {
        Kind::Witness => Ok(key),
        Kind::Log => Err(
            "this is a log's key; give the one that the witness cosigns with (type 4)".to_owned(),
        ),
    }
}
