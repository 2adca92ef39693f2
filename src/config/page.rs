//! `[page]` of `gateway.toml`: the commune's own page.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use super::problem::{Lines, Reading};
use super::section::Section;
use super::settings::{Agreement, Page};
use super::{pem, raw, values};
use crate::format::ids::Sha256;
use crate::format::trust::Anchors;

/// Without a touch for this long a page hides what it shows, unless the settings say otherwise.
const DEFAULT_LOCK: Duration = Duration::from_secs(1_800);

/// Checks the section; `None` where it is wrong.
pub(super) fn check(
    section: Section<raw::Page>,
    agreements: &[Agreement],
    reading: &mut Reading<'_>,
) -> Option<Page> {
    let Section { raw, at } = section;
    let listen = reading.required(&at, "listen", raw.listen, |listen| values::listen(&listen));
    let tls = pem::server(raw.certificate, raw.key, &at, reading);
    if listen.is_some_and(|listen| !listen.ip().is_loopback()) && tls.is_none() {
        reading.error(
            at.of("listen"),
            "[page] listen: plain HTTP off loopback; give certificate and key (`fanal certs`), or listen on 127.0.0.1",
        );
    }
    let authority = reading.required_path(&at, "authority", raw.authority);
    if let Some(authority) = &authority
        && pem::authority_hash(authority, at.of("authority"), "authority", reading).is_some()
    {
        check_apart(authority, agreements, &at, reading);
    }
    let revoked = reading.optional_path(&at, "revoked", raw.revoked);
    if let Some(revoked) = &revoked {
        pem::check_crl(revoked, authority.iter(), at.of("revoked"), reading);
    }
    let hosts = hosts(&at, raw.hosts, reading);
    let lock_after = lock_after(&at, raw.lock_after, reading);
    Some(Page {
        listen: listen?,
        tls,
        authority: authority?,
        revoked,
        hosts,
        lock_after,
    })
}

/// After how long without a touch a page hides what it shows.
pub(super) fn lock_after(
    at: &Lines,
    written: Option<String>,
    reading: &mut Reading<'_>,
) -> Duration {
    let bounds = (Duration::from_secs(60), Duration::from_secs(86_400));
    reading.duration(at, "lock_after", written, DEFAULT_LOCK, bounds)
}

/// Names under which a page is called, with or without a port.
pub(super) fn hosts(
    at: &Lines,
    written: Option<Vec<String>>,
    reading: &mut Reading<'_>,
) -> Vec<String> {
    reading.list(at, "hosts", written, |host| {
        let name = host.rsplit_once(':').map_or(host, |(name, port)| {
            if port.parse::<u16>().is_ok() {
                name
            } else {
                host
            }
        });
        if values::is_host(name) {
            Ok(host.to_owned())
        } else {
            Err(format!(
                "{host:?} is no host name; write such as \"corg13.example\""
            ))
        }
    })
}

/// Nobody may decide for the commune with a certificate that lets him ask: the keys of both
/// authorities are different ones.
fn check_apart(authority: &Path, agreements: &[Agreement], at: &Lines, reading: &mut Reading<'_>) {
    let own = keys(authority, reading);
    let shared = agreements
        .iter()
        .find(|agreement| !keys(&agreement.designation_authority, reading).is_disjoint(&own));
    if let Some(agreement) = shared {
        let (reference, shown) = (&agreement.reference, authority.display());
        reading.error(
            at.of("authority"),
            format!(
                "[page] authority: {shown} is also a designation authority of {reference:?}: the centre's operators could approve their own requests; make one of the commune's own (`fanal certs init --only page`)"
            ),
        );
    }
}

fn keys(path: &Path, reading: &Reading<'_>) -> BTreeSet<Sha256> {
    let bytes = reading.files.read(path, pem::PEM_LIMIT).unwrap_or_default();
    let anchors = Anchors::from_pem(&String::from_utf8_lossy(&bytes), &[]);
    // One that can't be read has its own error.
    anchors.map_or_else(|_| BTreeSet::new(), |anchors| anchors.keys().collect())
}
