//! Copies a journal for somebody who may see a part of it: every line stays, so that the copy
//! verifies, and bodies outside the part are left out (interfaces.md 9).

use std::collections::BTreeSet;
use std::io::{self, Write};

use super::entry::Entry;
use super::reader::{self, Content, Lines};
use super::recover::grant_of;
use super::store::{Disk, Month, Store as _};
use crate::format::chain::Line;
use crate::format::ids::GrantId;

/// Kinds whose bodies every copy keeps: they say nothing of a person, and a copy is verified by
/// them.
const KEPT: &[&str] = &[
    "started",
    "stopped",
    "continues",
    "pruned",
    "torn_line",
    "interrupted",
    "clock_accepted",
    "log_key",
    "cosigned",
];

/// Which bodies a copy keeps.
#[derive(Clone, Debug, Default)]
pub struct Part {
    /// From this month on.
    pub from: Option<Month>,
    /// To this month, inclusive.
    pub until: Option<Month>,
    /// What concerns this centre or commune, the other side of the link, alone.
    pub only: Option<String>,
}

impl Part {
    fn is_all(&self) -> bool {
        self.from.is_none() && self.until.is_none() && self.only.is_none()
    }

    fn has(&self, month: Month) -> bool {
        self.from.is_none_or(|from| from <= month) && self.until.is_none_or(|until| month <= until)
    }
}

/// A line that a copy holds with its body.
#[derive(Debug)]
pub struct Kept<'a> {
    /// The line.
    pub line: &'a Line<'a>,
    /// Its entry; none where this version does not know its kind.
    pub entry: Option<&'a Entry>,
    /// Its body.
    pub body: &'a [u8],
    /// Whether it is in the part, not only kept so that the copy verifies.
    pub is_wanted: bool,
}

/// Copies a month's file to `out`; each line whose body stays is told.
///
/// # Errors
/// The file can't be read, or `out` not be written.
pub fn month(
    store: &mut Disk,
    month: Month,
    selector: &mut Selector,
    out: &mut impl Write,
    mut told: impl FnMut(&Kept<'_>) -> io::Result<()>,
) -> io::Result<()> {
    let mut lines = Lines::new(store.read(month)?);
    while let Some((_, content)) = lines.next_line()? {
        // A torn line is none yet.
        let Content::Line(bytes) = content else {
            continue;
        };
        // Whom a line concerns that can't be read nobody knows: it is only in a copy of all.
        let Ok(line) = Line::parse(bytes) else {
            if selector.part.is_all() {
                out.write_all(bytes)?;
                out.write_all(b"\n")?;
            }
            continue;
        };
        let entry = line.body.and_then(|body| reader::entry(body).ok()?);
        let kind = line.body.and_then(|body| reader::frame(body).ok());
        let kind = kind.map(|frame| frame.kind).unwrap_or_default();
        let is_wanted = selector.wants(month, entry.as_ref());
        match line.body {
            Some(body) if is_wanted || KEPT.contains(&kind.as_str()) => {
                out.write_all(bytes)?;
                told(&Kept {
                    line: &line,
                    entry: entry.as_ref(),
                    body,
                    is_wanted,
                })?;
            }
            _ => out.write_all(line.header.without_body().as_bytes())?,
        }
        out.write_all(b"\n")?;
    }
    Ok(())
}

/// Tells which bodies are in a part; lines in their order.
#[derive(Debug)]
pub struct Selector {
    part: Part,
    /// Grants of the one whom the copy is for.
    grants: BTreeSet<GrantId>,
}

impl Selector {
    /// For this part.
    pub fn new(part: Part) -> Self {
        Self {
            part,
            grants: BTreeSet::new(),
        }
    }

    /// Whether a body is in the part; none: of a kind that this version does not know.
    fn wants(&mut self, month: Month, entry: Option<&Entry>) -> bool {
        let concerns = match self.part.only.clone() {
            Some(only) => entry.is_some_and(|entry| self.concerns(entry, &only)),
            None => true,
        };
        concerns && self.part.has(month)
    }

    fn concerns(&mut self, entry: &Entry, only: &str) -> bool {
        if let Some(grant) = grant_of(entry) {
            if let Entry::Grant(entry) = entry
                && (entry.centre.as_str() == only || entry.commune.as_str() == only)
            {
                self.grants.insert(grant);
            }
            return self.grants.contains(&grant);
        }
        match entry {
            Entry::Refused { peer, .. }
            | Entry::Unverified { peer, .. }
            | Entry::Excess { peer, .. }
            | Entry::PeerHead { peer, .. }
            | Entry::PeerContradiction { peer, .. }
            | Entry::PeerContinues { peer, .. }
            | Entry::JournalWentBack { peer, .. } => peer == only,
            Entry::Waiting { peer, .. } => peer.as_str() == only,
            Entry::Forwarded { peer, .. } => peer.as_str() == only,
            Entry::ViewingsOwed { commune, .. } => commune.as_str() == only,
            Entry::Cut { scope, .. } | Entry::Allowed { scope, .. } => {
                let is_mine = |grant: &GrantId| *scope == format!("grant:{grant}");
                *scope == "all"
                    || scope.starts_with("camera:")
                    || *scope == format!("centre:{only}")
                    || self.grants.iter().any(is_mine)
            }
            Entry::Reloaded { .. } | Entry::Revocation { .. } => true,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Wall;
    use crate::format::ids::{CentreId, CommuneId, Incident, RequestId, Sha256};
    use crate::format::statement::Operator;
    use crate::journal::entry::GrantEntry;
    use crate::journal::sim::{Scratch, lines};
    use crate::journal::verify;
    use crate::reason::{Reason, Refusal};

    const START: Wall = Wall::from_seconds(1_795_996_800);

    fn operator() -> Operator {
        Operator {
            name: "Adjudant".to_owned(),
            number: "13-1".to_owned(),
            unit: "CORG 13".to_owned(),
        }
    }

    fn granted(number: u128, centre: &str) -> Entry {
        Entry::Grant(Box::new(GrantEntry {
            grant: GrantId(uuid::Uuid::from_u128(number)),
            request: String::new(),
            jti: RequestId(uuid::Uuid::from_u128(number)),
            proof: None,
            commune: CommuneId::new("berre-l-etang").unwrap(),
            centre: CentreId::new(centre).unwrap(),
            operator: operator(),
            grounds: "pursuit".to_owned(),
            incident: Incident::new(format!("OF-{centre}")).unwrap(),
            recipients: Vec::new(),
            granted: Vec::new(),
            refused: Vec::new(),
            renewal: false,
            first_start: 0,
            start: 0,
            expires: 0,
            approved_by: None,
            agreement: String::new(),
            settings: Sha256::ZERO,
            peer_head: None,
            receiver: None,
        }))
    }

    fn ended(number: u128) -> Entry {
        Entry::Ended {
            grant: GrantId(uuid::Uuid::from_u128(number)),
            reason: Reason::GrantReleased,
            at: START.rfc3339(),
            by: None,
        }
    }

    /// The kinds that a copy of this part holds, and that it verifies.
    fn copied(part: Part) -> (Vec<String>, String) {
        let refused = |peer: &str| Entry::Refused {
            request: String::new(),
            jti: RequestId(uuid::Uuid::from_u128(9)),
            peer: peer.to_owned(),
            operator: operator(),
            refusal: Refusal::from(Reason::GroundsNotAllowed),
            voids: None,
            wait_ended: None,
        };
        let december = START.plus(std::time::Duration::from_secs(40 * 86_400));
        let lines = lines(&[
            (START, Entry::Stopped {}),
            (START, granted(1, "corg-13")),
            (START, granted(2, "corg-83")),
            (START, refused("corg-83")),
            (START, ended(2)),
            (december, ended(1)),
            (december, Entry::Stopped {}),
        ]);
        let from = Scratch::new(&format!("export-{}", uuid::Uuid::now_v7()));
        std::fs::write(from.0.join("2026-11.jsonl"), lines[..5].concat()).unwrap();
        std::fs::write(from.0.join("2027-01.jsonl"), lines[5..].concat()).unwrap();
        let to = Scratch::new(&format!("exported-{}", uuid::Uuid::now_v7()));
        let mut store = Disk::existing(&from.0).unwrap();
        let mut selector = Selector::new(part);
        let mut kinds = Vec::new();
        let mut text = String::new();
        for of in store.months().unwrap() {
            let mut out = Vec::new();
            month(&mut store, of, &mut selector, &mut out, |kept| {
                kinds.push(reader::frame(kept.body).unwrap().kind);
                Ok(())
            })
            .unwrap();
            text.push_str(std::str::from_utf8(&out).unwrap());
            std::fs::write(to.0.join(of.file_name()), out).unwrap();
        }
        let options = verify::Options {
            directory: to.0.clone(),
            ..verify::Options::default()
        };
        let report = verify::verify(&options).unwrap();
        // Its requests are empty here, which is told; the chain is whole.
        let is_whole = |found: &verify::Finding| matches!(found.what, verify::What::Statement(_));
        assert!(
            report.findings.iter().all(is_whole),
            "{:#?}",
            report.findings
        );
        assert_eq!(report.lines, 7);
        (kinds, text)
    }

    #[test]
    fn a_copy_for_one_centre_verifies_and_says_nothing_of_another() {
        let (kinds, text) = copied(Part::default());
        assert_eq!(kinds.len(), 7);
        assert!(text.contains("corg-83"));
        let only = Some("corg-13".to_owned());
        let (kinds, text) = copied(Part {
            only,
            ..Part::default()
        });
        assert_eq!(kinds, ["stopped", "grant", "ended", "stopped"]);
        assert!(
            text.contains("OF-corg-13") && !text.contains("corg-83"),
            "{text}"
        );
    }

    #[test]
    fn a_copy_of_a_period_verifies_and_holds_that_period() {
        let january = Month::from_file_name("2027-01.jsonl");
        let (kinds, text) = copied(Part {
            from: january,
            ..Part::default()
        });
        assert_eq!(kinds, ["stopped", "ended", "stopped"]);
        assert!(!text.contains("13-1"), "{text}");
        // A grant of before is known all the same.
        let (kinds, _) = copied(Part {
            from: january,
            only: Some("corg-13".to_owned()),
            ..Part::default()
        });
        assert_eq!(kinds, ["stopped", "ended", "stopped"]);
        let november = Month::from_file_name("2026-11.jsonl");
        let (kinds, _) = copied(Part {
            until: november,
            ..Part::default()
        });
        assert_eq!(kinds.len(), 6);
    }
}
