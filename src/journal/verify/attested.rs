//! Holds attestations against the rest of the journal: they tile time, what was sent and which
//! cameras were open lies within grants, and the centre's signed figures agree with the gateway's.
//!
//! | what | bound | beyond |
//! |---|---|---|
//! | grants | those that ended at most [`REMEMBERED`] before the newest attestation | forgotten |
//! | gaps of a centre | [`GAPS`] | counted |
//! | grants of a camera that may share its relay | [`SHARING`] | the oldest are forgotten |

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::statements::Checked;
use crate::clock::Wall;
use crate::format::ids::{CameraId, CentreId, GrantId};
use crate::journal::attestation::{Attestation, Gap, Media, Session, Why};
use crate::journal::entry::{Entry, GrantEntry};

/// A centre's list may come so late.
const REMEMBERED: Duration = Duration::from_secs(32 * 24 * 3_600);
/// See the table above.
const GAPS: usize = 100;
/// See the table above.
const SHARING: usize = 32;
/// A camera stays open so long after its grant: the longest `close_after`, and its TEARDOWN.
const LINGERS: Duration = Duration::from_secs(3_600 + 60);
/// Times of grants are whole seconds; a thread hears of an end a moment later.
const MOMENT: Duration = Duration::from_secs(5);
/// Acknowledged bytes that the centre never read, for a newer group had come: at most so many,
/// and this part of all.
const UNREAD: (u64, u64) = (16 * 1024 * 1024, 10);
/// A centre that began to count so much later than the grant did was started again meanwhile.
const COUNTED_LATE: i64 = 60;

/// What the attestations of one centre come to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Attested {
    /// The centre.
    pub centre: CentreId,
    /// Where the first period begins, RFC 3339.
    pub from: String,
    /// Where the last one ends.
    pub to: String,
    /// When nothing was counted; at most the first hundred.
    pub gaps: Vec<Gap>,
    /// How many more there are.
    pub more_gaps: u64,
    /// Bytes of pictures sent.
    pub sent: u64,
    /// Bytes that the centre signed to have received.
    pub received: u64,
    /// Under how many grants something was sent.
    pub grants: u64,
    /// Bytes that left outside any grant.
    pub ungranted: u64,
    /// How many faults the attestations have, those that are findings.
    pub faults: u64,
}

impl fmt::Display for Attested {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            centre, from, to, ..
        } = self;
        match self.ungranted {
            0 => write!(
                f,
                "nothing left for {centre} outside a grant from {from} to {to}"
            )?,
            bytes => write!(
                f,
                "{bytes} bytes left for {centre} OUTSIDE any grant from {from} to {to}"
            )?,
        }
        let mut word = ", except ";
        for gap in &self.gaps {
            write!(f, "{word}from {} to {}", gap.from, gap.to)?;
            word = ", and ";
        }
        if self.more_gaps > 0 {
            write!(f, "{word}{} more times", self.more_gaps)?;
        }
        if !self.gaps.is_empty() {
            f.write_str(", when nothing was counted")?;
        }
        if self.faults > 0 {
            write!(f, "{word}what {} findings say", self.faults)?;
        }
        write!(
            f,
            ": {} bytes of pictures under {} grants, {} of them received as the centre signed; this \
             is what the programs of both sides counted",
            self.sent, self.grants, self.received
        )
    }
}

/// Reads entry by entry.
#[derive(Debug, Default)]
pub(super) struct Judge {
    grants: BTreeMap<GrantId, Known>,
    sharing: BTreeMap<(CentreId, CameraId), VecDeque<GrantId>>,
    centres: BTreeMap<CentreId, Centre>,
    /// The newest time of a line since the clock was set back last, and the newest before that.
    newest: Wall,
    set_back: Wall,
    /// Bodies are left out, or the journal's first lines are not there: grants may be missing.
    is_partial: bool,
}

#[derive(Debug)]
struct Known {
    centre: CentreId,
    cameras: BTreeSet<CameraId>,
    start: Wall,
    /// When it ended, or ends at the latest.
    end: Wall,
    figures: BTreeMap<CameraId, Figures>,
    counted_since: Option<i64>,
    /// Its pictures went to several receivers of the centre, each of which signs its own figures.
    is_moved: bool,
    is_counted: bool,
    /// The clock went on while it lived.
    is_timed: bool,
}

#[derive(Debug, Default)]
struct Figures {
    sent: u64,
    lost: u64,
    /// What was signed to be received and attested, all receivers of the centre together.
    received: u64,
    /// What was signed and not attested yet, in the order of the journal.
    signed: Vec<u64>,
}

impl Figures {
    /// Takes what an attestation tells to be received out of what was signed.
    fn take(&mut self, told: u64) -> Result<u64, String> {
        // A restart may have kept some from being attested: any run of them counts, the first
        // that ends, and of those the longest.
        let (mut from, mut sum) = (0, 0_u128);
        let run_end = self.signed.iter().enumerate().find_map(|(to, bytes)| {
            sum += u128::from(*bytes);
            while sum > u128::from(told) {
                sum -= u128::from(self.signed[from]);
                from += 1;
            }
            (from <= to && sum == u128::from(told)).then_some(to + 1)
        });
        let Some(run_end) = run_end else {
            let newest = self.signed.last();
            return Err(newest.map_or_else(|| "nothing".to_owned(), u64::to_string));
        };
        self.signed.drain(..run_end);
        self.received = self.received.saturating_add(told);
        Ok(self.received)
    }
}

#[derive(Debug)]
struct Centre {
    attested: Attested,
    /// The end of the last gap.
    gap: Wall,
}

fn parse(text: &str) -> Result<Wall, String> {
    Wall::from_rfc3339(text).ok_or_else(|| format!("{text:?} is no time"))
}

impl Judge {
    /// A line without its body, or a journal whose first lines are not there.
    pub(super) fn misses_lines(&mut self) {
        self.is_partial = true;
    }

    /// What is wrong with an attestation; other entries are remembered. `time` is the line's.
    pub(super) fn entry(&mut self, time: Wall, entry: &Entry, checked: &Checked) -> Vec<String> {
        if time.plus(MOMENT) < self.newest {
            // The clock was set back: what was live then has no times that can be compared.
            self.set_back = self.newest;
            for known in self.grants.values_mut() {
                known.is_timed = false;
            }
            self.newest = time;
        }
        self.newest = time.max(self.newest);
        match entry {
            // With a proof it is the receiver's, who attests nothing.
            Entry::Grant(grant) if grant.proof.is_none() => self.grant(grant),
            Entry::Ended { grant, at, .. } => {
                if let (Some(known), Ok(at)) = (self.grants.get_mut(grant), parse(at)) {
                    known.end = at.min(known.end);
                }
            }
            Entry::Viewings {
                grant, received, ..
            } => {
                if let Some(known) = self.grants.get_mut(grant) {
                    known.counted_since = checked.counted_since.or(known.counted_since);
                    for one in received {
                        let figures = known.figures.entry(one.camera.clone()).or_default();
                        figures.signed.push(one.bytes);
                    }
                }
            }
            Entry::Moved { grant, .. } => {
                if let Some(known) = self.grants.get_mut(grant) {
                    known.is_moved = true;
                }
            }
            Entry::Attestation(attestation) => return self.attestation(attestation),
            _ => {}
        }
        Vec::new()
    }

    fn grant(&mut self, entry: &GrantEntry) {
        let known = self.grants.entry(entry.grant).or_insert_with(|| Known {
            centre: entry.centre.clone(),
            cameras: BTreeSet::new(),
            start: Wall::from_seconds(entry.first_start),
            end: Wall(0),
            figures: BTreeMap::new(),
            counted_since: None,
            is_moved: false,
            is_counted: false,
            is_timed: true,
        });
        known.end = Wall::from_seconds(entry.expires);
        for camera in &entry.granted {
            if known.cameras.insert(camera.clone()) {
                let key = (entry.centre.clone(), camera.clone());
                let sharing = self.sharing.entry(key).or_default();
                if sharing.len() == SHARING {
                    sharing.pop_front();
                }
                sharing.push_back(entry.grant);
            }
        }
    }

    fn attestation(&mut self, told: &Attestation) -> Vec<String> {
        let mut wrong = Vec::new();
        let (from, to) = match parse(&told.from).and_then(|from| Ok((from, parse(&told.to)?))) {
            Ok(period) => period,
            Err(cause) => return vec![cause],
        };
        if from > to {
            wrong.push(format!("it ends at {}, before it begins", told.to));
        }
        let centre = self
            .centres
            .entry(told.centre.clone())
            .or_insert_with(|| Centre {
                attested: Attested {
                    centre: told.centre.clone(),
                    from: told.from.clone(),
                    to: told.from.clone(),
                    gaps: Vec::new(),
                    more_gaps: 0,
                    sent: 0,
                    received: 0,
                    grants: 0,
                    ungranted: 0,
                    faults: 0,
                },
                gap: Wall(0),
            });
        if centre.attested.to != told.from {
            let before = &centre.attested.to;
            wrong.push(format!(
                "it begins at {}, the one before ended at {before}",
                told.from
            ));
        }
        centre.attested.to.clone_from(&told.to);
        if let Some(gap) = &told.gap {
            match (parse(&gap.from), parse(&gap.to)) {
                (Ok(begin), Ok(end)) if from <= begin && begin <= end && end <= to => {
                    centre.gap = end;
                }
                _ => wrong.push("its gap is not within its period".to_owned()),
            }
            if centre.attested.gaps.len() < GAPS {
                centre.attested.gaps.push(gap.clone());
            } else {
                centre.attested.more_gaps += 1;
            }
        }
        if let Some(folded) = &told.media_folded {
            // Not known of which grants: nothing up to here can be added up.
            centre.gap = to;
            centre.attested.sent = centre.attested.sent.saturating_add(folded.sent);
        }
        if told.ungranted > 0 {
            centre.attested.ungranted = centre.attested.ungranted.saturating_add(told.ungranted);
            wrong.push(format!("{} bytes left outside any grant", told.ungranted));
        }
        for row in &told.media {
            wrong.extend(self.media(&told.centre, row, (from, to)));
        }
        for session in &told.camera_sessions {
            wrong.extend(self.session(&told.centre, session, (from, to)));
        }
        if let Some(centre) = self.centres.get_mut(&told.centre) {
            centre.attested.faults += wrong.len() as u64;
        }
        self.grants
            .retain(|_, known| known.centre != told.centre || known.end.plus(REMEMBERED) > from);
        let grants = &self.grants;
        self.sharing.retain(|_, sharing| {
            sharing.retain(|grant| grants.contains_key(grant));
            !sharing.is_empty()
        });
        wrong
    }

    fn media(
        &mut self,
        centre: &CentreId,
        row: &Media,
        (from, to): (Wall, Wall),
    ) -> Option<String> {
        let Media {
            grant,
            camera,
            sent,
            received,
            lost,
        } = row;
        let is_shared = self.is_shared(centre, camera, *grant);
        let place = self.centres.get_mut(centre)?;
        let attested = &mut place.attested;
        attested.sent = attested.sent.saturating_add(*sent);
        attested.received = attested.received.saturating_add(received.unwrap_or(0));
        let of_centre =
            |known: &&mut Known| known.centre == *centre && known.cameras.contains(camera);
        let Some(known) = self.grants.get_mut(grant).filter(of_centre) else {
            let wrong = format!(
                "{sent} bytes of {camera} under {grant}, which the journal has no such grant of"
            );
            return (!self.is_partial).then_some(wrong);
        };
        attested.grants += u64::from(*sent > 0 && !std::mem::replace(&mut known.is_counted, true));
        let lived = !known.is_timed
            || from <= self.set_back
            || known.start <= to && known.end.plus(MOMENT) >= from;
        if *sent > 0 && !lived {
            return Some(format!(
                "{sent} bytes of {camera} under {grant}, which did not live then"
            ));
        }
        let gap = place.gap;
        let figures = known.figures.entry(camera.clone()).or_default();
        figures.sent = figures.sent.saturating_add(*sent);
        figures.lost = figures.lost.saturating_add(*lost);
        let told = (*received)?;
        if figures.signed.is_empty() && self.is_partial {
            return None;
        }
        let told = match figures.take(told) {
            Ok(all) => all,
            Err(signed) => {
                return Some(format!(
                    "{told} bytes of {camera} received under {grant}; the centre signed {signed}"
                ));
            }
        };
        // Where a part was not counted, or counted for another grant, sums say nothing.
        if is_shared || gap > known.start {
            return None;
        }
        let late = known.is_moved
            || known
                .counted_since
                .is_none_or(|since| since > known.start.seconds() + COUNTED_LATE);
        let unread = UNREAD.0.max(figures.sent / UNREAD.1);
        if told > figures.sent {
            Some(format!(
                "the centre received {told} bytes of {camera} under {grant}, of {} sent",
                figures.sent
            ))
        } else if !late && told.saturating_add(figures.lost).saturating_add(unread) < figures.sent {
            Some(format!(
                "the centre received {told} bytes of {camera} under {grant}, of {} sent, of which {} may be lost",
                figures.sent, figures.lost
            ))
        } else {
            None
        }
    }

    /// Whether another grant may have held the camera's relay at the same time.
    fn is_shared(&self, centre: &CentreId, camera: &CameraId, grant: GrantId) -> bool {
        let Some(known) = self.grants.get(&grant) else {
            return false;
        };
        let sharing = self.sharing.get(&(centre.clone(), camera.clone()));
        let others = sharing
            .into_iter()
            .flatten()
            .filter(|other| **other != grant);
        let mut others = others.filter_map(|other| self.grants.get(other));
        others.any(|other| {
            other.start <= known.end.plus(MOMENT) && known.start <= other.end.plus(MOMENT)
        })
    }

    fn session(
        &self,
        centre: &CentreId,
        session: &Session,
        (from, to): (Wall, Wall),
    ) -> Option<String> {
        let Session { camera, why, .. } = session;
        let (begin, end) = match (parse(&session.from), parse(&session.to)) {
            (Ok(begin), Ok(end)) if begin <= end => (begin, end),
            _ => return Some(format!("a session of {camera} ends before it begins")),
        };
        let is_timed = from > self.set_back;
        if is_timed && (begin < from || end > to) {
            return Some(format!("a session of {camera} is not within the period"));
        }
        let Why::Grant(grant) = why else { return None };
        let of_centre = |known: &&Known| known.centre == *centre && known.cameras.contains(camera);
        let Some(known) = self.grants.get(grant).filter(of_centre) else {
            let wrong =
                format!("{camera} was open under {grant}, which the journal has no such grant of");
            return (!self.is_partial).then_some(wrong);
        };
        let is_within = known.start <= begin.plus(MOMENT) && end <= known.end.plus(LINGERS);
        (is_timed && known.is_timed && !is_within).then(|| {
            format!(
                "{camera} was open from {} to {} under {grant}, which did not live then",
                session.from, session.to
            )
        })
    }

    /// What the attestations come to, by centre.
    pub(super) fn finish(self) -> Vec<Attested> {
        self.centres
            .into_values()
            .map(|centre| centre.attested)
            .collect()
    }
}

#[cfg(test)]
mod tests;
