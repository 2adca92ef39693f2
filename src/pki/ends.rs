//! What is in force and will end: certificates, authorities, agreements. For `fanal check`, the log,
//! `/ready` and the metrics. Revocation lists have a module of their own: they are replaced and
//! not renewed.

use std::path::Path;
use std::time::Duration;

use super::certificates;
use crate::clock::Wall;
use crate::config::settings::{self, Tls};
use crate::format::trust;
use crate::policy::agreement;

/// What ends sooner is pointed out: time enough for an answer by letter.
pub const SOON: Duration = Duration::from_secs(21 * 24 * 3600);

/// Something that ends.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct End {
    /// When.
    pub until: Wall,
    /// The label `use` of the metric.
    pub purpose: &'static str,
    /// For people: a file, or an agreement's reference.
    pub what: String,
}

impl End {
    /// What is to be done about it at `now`; nothing while it is further off than [`SOON`].
    pub fn warning(&self, now: Wall) -> Option<String> {
        if self.until > now.plus(SOON) {
            return None;
        }
        let remedy = match self.purpose {
            "agreement" => "renew the agreement, or remove it",
            "link_authority" | "designation_authority" => {
                "its holder makes the next one (fanal certs init --replace) and gives out the file"
            }
            _ => "make a new one with fanal certs, replace the files and reload",
        };
        let what = &self.what;
        let seconds = self.until.seconds() - now.seconds();
        Some(if self.until <= now {
            format!("{what}: has ended; {remedy}")
        } else if seconds < 86_400 {
            format!("{what}: ends within a day; {remedy}")
        } else {
            format!("{what}: ends in {} days; {remedy}", seconds / 86_400)
        })
    }
}

/// What ends at a gateway with these settings, soonest first. Blocks.
pub fn of_gateway(settings: &settings::Gateway) -> Vec<End> {
    let agreements = || settings.agreements.iter();
    let mut ends = Vec::new();
    for tls in std::iter::once(&settings.tls).chain(agreements().map(|one| &one.tls)) {
        link(&mut ends, tls);
    }
    for agreement in agreements() {
        file(
            &mut ends,
            "designation_authority",
            &agreement.designation_authority,
        );
        if let Some(until) = agreement::ends(agreement) {
            ends.push(End {
                until,
                purpose: "agreement",
                what: agreement.reference.clone(),
            });
        }
    }
    if let Some(page) = &settings.page {
        file(&mut ends, "page_authority", &page.authority);
        if let Some(tls) = &page.tls {
            file(&mut ends, "page", &tls.certificate);
        }
    }
    sorted(ends)
}

/// What ends at a receiver with these settings, soonest first. Blocks.
pub fn of_receiver(settings: &settings::Receiver) -> Vec<End> {
    let communes = settings.communes.values().map(|commune| &commune.tls);
    let mut ends = Vec::new();
    for tls in std::iter::once(&settings.tls).chain(communes) {
        link(&mut ends, tls);
    }
    for operators in &settings.operators {
        file(
            &mut ends,
            "designation_authority",
            &operators.designation_authority,
        );
    }
    for (purpose, tls) in [
        ("console", &settings.console.tls),
        ("rtsp", &settings.rtsp.tls),
    ] {
        if let Some(tls) = tls {
            file(&mut ends, purpose, &tls.certificate);
        }
    }
    sorted(ends)
}

fn link(ends: &mut Vec<End>, tls: &Tls) {
    file(ends, "link", &tls.certificate);
    file(ends, "link_authority", &tls.authority);
}

/// The end of a file's first certificate; of several authorities that is the newest. A file that
/// can't be read is left out: anyone who uses it says so.
fn file(ends: &mut Vec<End>, purpose: &'static str, path: &Path) {
    let first = certificates(path)
        .ok()
        .and_then(|all| trust::not_after(all.first()?));
    if let Some(until) = first {
        ends.push(End {
            until,
            purpose,
            what: path.display().to_string(),
        });
    }
}

fn sorted(mut ends: Vec<End>) -> Vec<End> {
    ends.sort();
    ends.dedup();
    ends
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_told_weeks_ahead_with_what_to_do() {
        let until = Wall::from_seconds(1_800_000_000);
        let before =
            |days: u64| Wall::from_seconds(until.seconds() - i64::try_from(days * 86_400).unwrap());
        let end = |purpose| End {
            until,
            purpose,
            what: "x".to_owned(),
        };
        assert_eq!(end("link").warning(before(22)), None);
        let told = |purpose, days| end(purpose).warning(before(days)).unwrap();
        assert!(told("link", 21).starts_with("x: ends in 21 days; make a new one"));
        assert!(told("agreement", 1).contains("ends in 1 days; renew"));
        assert!(told("link_authority", 3).contains("init --replace"));
        assert!(told("console", 0).contains("has ended"));
    }
}
