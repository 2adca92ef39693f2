//! What a journal says of one month, for people: who looked at what, on which grounds, until
//! when, and that there was nothing else. `fanal journal report` writes it.
//!
//! A grant belongs to the month of its first entry; its end and its viewings may be in a later
//! file. The whole journal is read and verified on the way.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::attestation::Attestation;
use super::checkpoints::Checkpoints;
use super::compare::Side;
use super::entry::{Entry, GrantEntry};
use super::reader;
use super::store::Month;
use super::verify::attested::Attested;
use super::verify::statements::Depth;
use super::verify::{self, Observer, Options, Seen};
use crate::clock::Wall;
use crate::format::ids::{CameraId, GrantId, SnapshotId};
use crate::format::statement::{Operator, RefusedCamera, Viewing};
use crate::reason::Reason;

/// Counts below this are not published: `--public` folds them. With fewer than five of a kind a
/// neighbour could tell whose intervention it was.
pub const PUBLIC_MINIMUM: u64 = 5;
/// Most grants that one report lists; the rest are counted.
pub const GRANTS_LIMIT: usize = 100_000;

/// A month of a journal.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    /// The month, UTC.
    pub month: String,
    /// The commune's or centre's id.
    pub owner: Option<String>,
    /// Which of both.
    pub side: Option<Side>,
    /// Counts.
    pub totals: Totals,
    /// Refused requests and cameras, by reason.
    pub refusals: BTreeMap<String, u64>,
    /// Grants by their grounds.
    pub grounds: BTreeMap<String, u64>,
    /// The grants, in the order of their start.
    pub grants: Vec<Grant>,
    /// What verifying the journal found.
    pub verification: Verification,
}

/// Counts of a month.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Grants that began.
    pub grants: u64,
    /// Renewals of them.
    pub renewals: u64,
    /// Renewals by another person than before.
    pub handovers: u64,
    /// Different cameras granted.
    pub cameras: u64,
    /// Different people who signed.
    pub operators: u64,
    /// Viewings.
    pub viewings: u64,
    /// How long all viewings were together, in seconds.
    pub viewing_seconds: u64,
    /// Stills.
    pub stills: u64,
    /// Requests refused whole.
    pub refused: u64,
    /// Requests that did not verify, and were only counted.
    pub unverified: u64,
    /// Cuts by the commune.
    pub cuts: u64,
    /// Bytes that the attestations name; none where the journal has none.
    pub bytes: Option<u64>,
}

/// A grant, from its first entry to its last.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Grant {
    /// Its id.
    pub grant: GrantId,
    /// The commune.
    pub commune: String,
    /// The centre.
    pub centre: String,
    /// Who signed, from when: more than one where it was handed over.
    pub operators: Vec<Signed>,
    /// Why.
    pub grounds: String,
    /// The intervention.
    pub incident: String,
    /// Who else is present, as the requests say.
    pub present: BTreeSet<String>,
    /// Cameras granted.
    pub cameras: BTreeSet<CameraId>,
    /// Cameras refused.
    pub refused: Vec<RefusedCamera>,
    /// The agreement.
    pub agreement: String,
    /// Who approved it at the commune.
    pub approved_by: Option<String>,
    /// When it began.
    pub start: String,
    /// Until when it ran at most, by its newest renewal.
    pub expires: String,
    /// How often it was renewed.
    pub renewals: u64,
    /// How it ended; none while it lives or where the journal does not say.
    pub end: Option<End>,
    /// Who watched.
    pub viewings: Vec<Viewing>,
    /// Stills taken.
    pub stills: Vec<Still>,
    /// Bytes sent, as the attestations say.
    pub bytes: Option<u64>,
    #[serde(skip)]
    signer: String,
}

/// Who signed a grant's request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Signed {
    /// From when, RFC 3339.
    pub from: String,
    /// Who.
    #[serde(flatten)]
    pub operator: Operator,
}

/// The end of a grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct End {
    /// When, RFC 3339.
    pub at: String,
    /// Why.
    pub reason: Reason,
    /// Who, where a person did it.
    pub by: Option<String>,
}

/// A still.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Still {
    /// Its id.
    pub snapshot: SnapshotId,
    /// The camera.
    pub camera: CameraId,
    /// When the picture was captured, RFC 3339.
    pub captured: String,
    /// Who took it.
    pub operator: Operator,
}

/// What verifying the journal found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Verification {
    /// Whether nothing is wrong.
    pub intact: bool,
    /// How many lines the whole journal has.
    pub lines: u64,
    /// How many signed statements.
    pub statements: u64,
    /// Whether authorities were given, and so keys checked.
    pub keys_checked: bool,
    /// What is wrong.
    pub findings: Vec<String>,
    /// The journals in the directory: id, last line and its link.
    pub journals: Vec<String>,
    /// What the attestations come to, by centre; none at a centre.
    pub attested: Vec<Attested>,
}

/// Reads a journal and reports on a month.
///
/// # Errors
/// The directory can't be read, holds no journal or nothing of that month.
pub fn report(options: &Options, month: Month) -> Result<Report, String> {
    let mut reader = Reader {
        month,
        report: Report {
            month: month.to_string(),
            ..Report::default()
        },
        grants: BTreeMap::new(),
        watching: BTreeMap::new(),
        seen_month: false,
        earlier: (None, BTreeSet::new()),
    };
    let found = verify::walk(
        options,
        (Depth::Full, verify::threads()),
        &Checkpoints::default(),
        Some(&mut reader),
    )?;
    if !reader.seen_month {
        return Err(format!(
            "{} has no line of {month}",
            options.directory.display()
        ));
    }
    let verification = Verification {
        intact: found.is_intact(),
        lines: found.lines,
        statements: found.statements,
        keys_checked: options.authorities.is_some(),
        findings: found.findings.iter().map(ToString::to_string).collect(),
        attested: found.attested,
        journals: found
            .journals
            .iter()
            .map(|journal| {
                let id = journal.id.as_deref().unwrap_or("-");
                format!("{id}, {}, {}", journal.seq, journal.link)
            })
            .collect(),
    };
    Ok(reader.finish(verification))
}

/// Collects what the month needs.
struct Reader {
    month: Month,
    report: Report,
    grants: BTreeMap<GrantId, Grant>,
    /// Viewings without an end yet, by the number of their line: grant and place there.
    watching: BTreeMap<u64, (GrantId, usize)>,
    seen_month: bool,
    /// The grants of the month before: no grant is longer.
    earlier: (Option<Month>, BTreeSet<GrantId>),
}

impl Observer for Reader {
    fn line(&mut self, seen: &Seen<'_>) {
        // Lines are in the file of their month, or a later one where the clock went back.
        if seen.month < self.month {
            if let Some(Entry::Grant(grant)) = seen.entry {
                if self.earlier.0 != Some(seen.month) {
                    self.earlier = (Some(seen.month), BTreeSet::new());
                }
                self.earlier.1.insert(grant.grant);
            }
            return self.owner(seen.entry);
        }
        let of_month = seen.month == self.month;
        self.seen_month |= of_month;
        self.owner(seen.entry);
        if let Some(entry) = seen.entry {
            let header = &seen.line.header;
            self.entry(header.seq, header.time, entry, of_month);
        }
    }
}

impl Reader {
    fn owner(&mut self, entry: Option<&Entry>) {
        let Some(owner) = entry.and_then(reader::owner) else {
            return;
        };
        let side = match entry {
            Some(Entry::Grant(grant)) if grant.proof.is_some() => Some(Side::Centre),
            Some(Entry::Grant(_)) => Some(Side::Commune),
            _ => None,
        };
        if self.report.owner.is_none() {
            self.report.owner = Some(owner.to_owned());
        }
        self.report.side = self.report.side.or(side);
    }

    fn attested(&mut self, attestation: &Attestation) {
        for media in &attestation.media {
            if let Some(grant) = self.grants.get_mut(&media.grant) {
                let bytes = grant.bytes.get_or_insert(0);
                *bytes = bytes.saturating_add(media.sent);
            }
        }
    }

    fn entry(&mut self, seq: u64, time: Wall, entry: &Entry, of_month: bool) {
        match entry {
            Entry::Grant(entry) => self.grant(entry, of_month),
            Entry::Refused {
                refusal,
                voids: None,
                ..
            } if of_month => {
                self.report.totals.refused += 1;
                self.refusal(refusal.reason, 1);
            }
            Entry::Unverified { count, reason, .. } if of_month => {
                let unverified = &mut self.report.totals.unverified;
                *unverified = unverified.saturating_add(*count);
                self.refusal(*reason, *count);
            }
            Entry::Attestation(attestation) => self.attested(attestation),
            Entry::Excess { count, .. } if of_month => {
                let refused = &mut self.report.totals.refused;
                *refused = refused.saturating_add(*count);
                self.refusal(Reason::TooManyRequests, *count);
            }
            Entry::Cut { .. } if of_month => self.report.totals.cuts += 1,
            Entry::Ended {
                grant,
                reason,
                at,
                by,
            } => {
                if let Some(grant) = self.grants.get_mut(grant) {
                    grant.end = Some(End {
                        at: at.clone(),
                        reason: *reason,
                        by: by.clone(),
                    });
                }
            }
            Entry::ViewingStarted {
                grant,
                camera,
                who,
                how,
                ..
            } => {
                if let Some(held) = self.grants.get_mut(grant) {
                    self.watching.insert(seq, (*grant, held.viewings.len()));
                    held.viewings.push(Viewing {
                        camera: camera.clone(),
                        who: who.clone(),
                        kind: how.clone(),
                        from: time.rfc3339(),
                        to: String::new(),
                        holders: Vec::new(),
                        count: None,
                        seconds: None,
                    });
                }
            }
            Entry::ViewingEnded { start, at, .. } => {
                if let Some((grant, index)) = self.watching.remove(start)
                    && let Some(held) = self.grants.get_mut(&grant)
                    && let Some(viewing) = held.viewings.get_mut(index)
                {
                    viewing.to.clone_from(at);
                }
            }
            Entry::Viewings {
                grant, viewings, ..
            } => {
                if let Some(grant) = self.grants.get_mut(grant) {
                    grant.viewings.extend(viewings.iter().cloned());
                }
            }
            Entry::Snapshot {
                snapshot,
                grant,
                camera,
                captured,
                operator,
                ..
            } => {
                if let Some(grant) = self.grants.get_mut(grant) {
                    grant.stills.push(Still {
                        snapshot: *snapshot,
                        camera: camera.clone(),
                        captured: captured.clone(),
                        operator: operator.clone(),
                    });
                }
            }
            Entry::SnapshotRefused {
                snapshot, grant, ..
            } => {
                if let Some(grant) = self.grants.get_mut(grant) {
                    grant.stills.retain(|still| still.snapshot != *snapshot);
                }
            }
            _ => {}
        }
    }

    fn refusal(&mut self, reason: Reason, count: u64) {
        let counted = self.report.refusals.entry(reason.code().to_owned());
        let counted = counted.or_default();
        *counted = counted.saturating_add(count);
    }

    fn grant(&mut self, entry: &GrantEntry, of_month: bool) {
        let from = Wall::from_seconds(entry.start).rfc3339();
        let signed = Signed {
            from: from.clone(),
            operator: entry.operator.clone(),
        };
        let present = entry.recipients.iter().skip(1).cloned();
        if of_month {
            for camera in &entry.refused {
                self.refusal(camera.refusal.reason, 1);
            }
        }
        if let Some(held) = self.grants.get_mut(&entry.grant) {
            // A receiver records a grant again after a restart: the same request.
            if held.signer != entry.jti.0.to_string() {
                held.signer = entry.jti.0.to_string();
                held.renewals += 1;
                if held.operators.last().map(|last| &last.operator) != Some(&entry.operator) {
                    held.operators.push(signed);
                }
            }
            held.present.extend(present);
            held.cameras.extend(entry.granted.iter().cloned());
            held.expires = Wall::from_seconds(entry.expires).rfc3339();
            return;
        }
        // One that began before this month is in that month's report.
        let is_earlier = self.earlier.1.contains(&entry.grant);
        if !of_month || is_earlier || self.grants.len() >= GRANTS_LIMIT {
            return;
        }
        self.grants.insert(
            entry.grant,
            Grant {
                grant: entry.grant,
                commune: entry.commune.to_string(),
                centre: entry.centre.to_string(),
                operators: vec![signed],
                grounds: entry.grounds.clone(),
                incident: entry.incident.to_string(),
                present: present.collect(),
                cameras: entry.granted.iter().cloned().collect(),
                refused: entry.refused.clone(),
                agreement: entry.agreement.clone(),
                approved_by: entry.approved_by.clone(),
                start: from,
                expires: Wall::from_seconds(entry.expires).rfc3339(),
                renewals: 0,
                end: None,
                viewings: Vec::new(),
                stills: Vec::new(),
                bytes: None,
                signer: entry.jti.0.to_string(),
            },
        );
    }

    fn finish(self, verification: Verification) -> Report {
        let mut report = self.report;
        let mut grants: Vec<Grant> = self.grants.into_values().collect();
        grants.sort_by(|one, other| (&one.start, one.grant).cmp(&(&other.start, other.grant)));
        let mut cameras = BTreeSet::new();
        let mut operators = BTreeSet::new();
        let totals = &mut report.totals;
        for grant in &grants {
            totals.grants += 1;
            totals.renewals += grant.renewals;
            totals.handovers += grant.operators.len() as u64 - 1;
            totals.viewings += grant
                .viewings
                .iter()
                .map(|one| one.count.unwrap_or(1))
                .sum::<u64>();
            totals.viewing_seconds += grant.viewings.iter().map(seconds).sum::<u64>();
            totals.stills += grant.stills.len() as u64;
            cameras.extend(&grant.cameras);
            let signed = grant.operators.iter().map(|signed| &signed.operator);
            operators.extend(signed.map(|operator| (&operator.number, &operator.unit)));
            if let Some(bytes) = grant.bytes {
                let all = totals.bytes.get_or_insert(0);
                *all = all.saturating_add(bytes);
            }
            *report.grounds.entry(grant.grounds.clone()).or_default() += 1;
        }
        totals.cameras = cameras.len() as u64;
        totals.operators = operators.len() as u64;
        report.grants = grants;
        report.verification = verification;
        report
    }
}

/// How long somebody watched, in seconds; 0 where the journal does not say until when.
pub fn seconds(viewing: &Viewing) -> u64 {
    let time = |text: &str| text.parse::<jiff::Timestamp>().ok();
    let (Some(from), Some(to)) = (time(&viewing.from), time(&viewing.to)) else {
        return 0;
    };
    u64::try_from(to.as_second() - from.as_second()).unwrap_or(0)
}

/// What may be published: totals alone, none of them a small number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Public {
    /// The month, UTC.
    pub month: String,
    /// The commune's or centre's id.
    pub owner: Option<String>,
    /// The least count that is published: [`PUBLIC_MINIMUM`].
    pub minimum: u64,
    /// Grants that began; none: fewer than `minimum`, and at least one.
    pub grants: Option<u64>,
    /// Grants by their grounds; those of fewer are in `other`.
    pub grounds: BTreeMap<String, u64>,
    /// Refused requests and cameras.
    pub refusals: Option<u64>,
    /// Those by reason; those of fewer are in `other`.
    pub refusals_by_reason: BTreeMap<String, u64>,
    /// Viewings.
    pub viewings: Option<u64>,
    /// How long all viewings were together, in whole hours; none where viewings are none.
    pub viewing_hours: Option<u64>,
    /// Stills.
    pub stills: Option<u64>,
    /// Whether the journal was intact.
    pub intact: bool,
}

impl Public {
    /// The part of a report that may be published.
    pub fn of(report: &Report) -> Self {
        let refusals = report.refusals.values().sum();
        let viewings = published(report.totals.viewings);
        Self {
            month: report.month.clone(),
            owner: report.owner.clone(),
            minimum: PUBLIC_MINIMUM,
            grants: published(report.totals.grants),
            grounds: folded(&report.grounds),
            refusals: published(refusals),
            refusals_by_reason: folded(&report.refusals),
            viewing_hours: viewings.map(|_| report.totals.viewing_seconds / 3_600),
            viewings,
            stills: published(report.totals.stills),
            intact: report.verification.intact,
        }
    }
}

/// A count that may be published: 0, or large enough.
fn published(count: u64) -> Option<u64> {
    (count == 0 || count >= PUBLIC_MINIMUM).then_some(count)
}

/// Counts of which none is small: small ones are together in `other`, with the smallest of the
/// large ones where they would still be few. Nothing where all together are few.
fn folded(counts: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let mut sorted: Vec<(&String, u64)> =
        counts.iter().map(|(name, count)| (name, *count)).collect();
    sorted.retain(|(_, count)| *count > 0);
    sorted.sort_by_key(|(name, count)| (*count, *name));
    let mut other = 0;
    let mut kept = BTreeMap::new();
    for (name, count) in sorted {
        if count < PUBLIC_MINIMUM || (other > 0 && other < PUBLIC_MINIMUM) {
            other += count;
        } else {
            kept.insert(name.clone(), count);
        }
    }
    if other >= PUBLIC_MINIMUM {
        kept.insert("other".to_owned(), other);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(counts: &[(&str, u64)]) -> BTreeMap<String, u64> {
        let counts = counts.iter();
        counts
            .map(|(name, count)| ((*name).to_owned(), *count))
            .collect()
    }

    #[test]
    fn small_counts_are_folded_so_that_none_can_be_told_from_the_rest() {
        assert_eq!(
            folded(&counts(&[("fire", 9), ("theft", 5)])),
            counts(&[("fire", 9), ("theft", 5)])
        );
        assert_eq!(
            folded(&counts(&[("fire", 9), ("theft", 3), ("drill", 4)])),
            counts(&[("fire", 9), ("other", 7)])
        );
        // Alone in `other` the total would tell it: the next smallest goes there too.
        assert_eq!(
            folded(&counts(&[("fire", 9), ("theft", 6), ("drill", 1)])),
            counts(&[("fire", 9), ("other", 7)])
        );
        assert_eq!(folded(&counts(&[("fire", 2), ("drill", 1)])), counts(&[]));
        assert_eq!(folded(&counts(&[("fire", 0)])), counts(&[]));
        for few in 1..PUBLIC_MINIMUM {
            assert_eq!(published(few), None);
        }
        assert_eq!((published(0), published(5)), (Some(0), Some(5)));
    }

    #[test]
    fn what_is_published_names_no_small_number_whatever_the_counts() {
        for first in 0..12u64 {
            for second in 0..12u64 {
                for third in 0..12u64 {
                    let folded = folded(&counts(&[("a", first), ("b", second), ("c", third)]));
                    let total: u64 = folded.values().sum();
                    assert!(folded.values().all(|count| *count >= PUBLIC_MINIMUM));
                    let hidden = first + second + third - total;
                    // What is left out is only left out where all is few.
                    assert!(
                        hidden == 0 || total == 0,
                        "{first} {second} {third}: {folded:?}"
                    );
                }
            }
        }
    }
}
