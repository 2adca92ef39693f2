//! What both sides wrote of the same grant.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::chains::Chains;
use super::gather::{Fact, Gathered, Granted, Kind, Listed, Signed};
use super::{Finding, Outcome, Side};
use crate::clock::Wall;
use crate::format::ids::{GrantId, RequestId, Sha256, SnapshotId};
use crate::reason::Reason;

/// A journal that goes on for this long after a grant's expiry must hold its end.
const END_WITHIN: Duration = Duration::from_secs(3_600);
/// A viewing's line may be written this much before the time in the list: rounding.
const ROUNDING: Duration = Duration::from_secs(1);
/// A list is complete but for what ended this shortly before it was signed.
const LIST_DELAY: Duration = Duration::from_secs(5);
/// Viewings in one statement of a centre that numbers no parts, at most. A shorter list is the
/// only one of its grant.
const PER_STATEMENT: usize = 40;
/// A journal that goes on for this long after a still must hold it.
const STILL_WITHIN: Duration = Duration::from_secs(60);
/// A line of the other side this shortly after the first that is left may have been pruned: the
/// clocks of both differ.
const PRUNED_WITHIN: Duration = Duration::from_secs(60);

/// Judges all grants of the share.
pub(super) fn judge(gathered: &Gathered, chains: &Chains, outcome: &mut Outcome) {
    let mut facts: Vec<Said<'_>> = gathered
        .facts
        .iter()
        .map(|fact| Said {
            fact,
            chain: chains.of_segment[fact.at.segment],
        })
        .collect();
    // Copies of one journal say the same thing twice.
    let key = |said: &Said<'_>| (said.fact.grant, said.chain, said.fact.at.seq);
    facts.sort_by_key(key);
    facts.dedup_by_key(|said| key(said));
    for facts in facts.chunk_by(|one, other| one.fact.grant == other.fact.grant) {
        if let Some(grant) = Grant::of(gathered, chains, facts) {
            grant.judge(outcome);
        }
    }
}

/// A fact and the journal that says it.
#[derive(Clone, Copy)]
struct Said<'a> {
    fact: &'a Fact,
    chain: usize,
}

impl Said<'_> {
    fn seq(&self) -> u64 {
        self.fact.at.seq
    }
}

type Entry<'a> = (Said<'a>, &'a Granted);

/// All that is said of one grant.
struct Grant<'a> {
    gathered: &'a Gathered,
    chains: &'a Chains,
    id: GrantId,
    centre: &'a str,
    commune: &'a str,
    /// By the commune, in the order of its lines.
    here: Vec<Said<'a>>,
    /// By the centre.
    there: Vec<Said<'a>>,
    expires: Wall,
}

impl<'a> Grant<'a> {
    fn of(gathered: &'a Gathered, chains: &'a Chains, facts: &[Said<'a>]) -> Option<Self> {
        let entries = facts.iter().filter_map(|said| match &said.fact.kind {
            Kind::Grant(granted) => Some((said, granted)),
            _ => None,
        });
        // Without its entry (pruned, or left out) there is nothing to hold the rest against.
        let (first, granted) = entries.clone().next()?;
        let expires = entries.map(|(_, granted)| granted.expires).max()?;
        let by = |side| {
            let is_his = move |said: &&Said<'a>| chains.chains[said.chain].side == Some(side);
            facts.iter().filter(is_his).copied().collect()
        };
        Some(Self {
            gathered,
            chains,
            id: first.fact.grant,
            commune: &granted.commune,
            centre: &granted.centre,
            here: by(Side::Commune),
            there: by(Side::Centre),
            expires: Wall::from_seconds(expires),
        })
    }

    fn judge(&self, outcome: &mut Outcome) {
        let has_commune = self.is_given(Side::Commune, self.commune);
        let has_centre = self.is_given(Side::Centre, self.centre);
        if !(has_commune && has_centre) {
            return;
        }
        self.entries(outcome);
        self.ends(outcome);
        self.viewings(outcome);
        self.stills(outcome);
    }

    fn is_given(&self, side: Side, owner: &str) -> bool {
        self.chains.of_owner(side, owner).next().is_some()
    }

    /// The newest time in an owner's journals.
    fn last_time(&self, side: Side) -> Wall {
        let owner = match side {
            Side::Commune => self.commune,
            Side::Centre => self.centre,
        };
        let times = self.chains.of_owner(side, owner);
        let times = times.map(|chain| self.chains.chains[chain].last_time);
        times.max().unwrap_or_default()
    }

    /// Whether what this side wrote at a time may be pruned by now. Each side's clock is its own.
    fn may_be_pruned(&self, side: Side, at: Wall, clocks: Duration) -> bool {
        let owner = match side {
            Side::Commune => self.commune,
            Side::Centre => self.centre,
        };
        self.chains.of_owner(side, owner).any(|chain| {
            let chain = &self.chains.chains[chain];
            chain.first > 1 && at < chain.first_time.plus(clocks)
        })
    }

    fn find(&self, said: Said<'_>, what: String) -> Finding {
        self.chains
            .finding(said.chain, Some(said.seq()), Some(self.id), what)
    }

    fn unwitnessed(&self, said: Said<'_>, what: String) -> Finding {
        Finding {
            unwitnessed: true,
            ..self.find(said, what)
        }
    }

    fn entries_of(of: &[Said<'a>]) -> BTreeMap<RequestId, Entry<'a>> {
        let entries = of.iter().filter_map(|said| match &said.fact.kind {
            Kind::Grant(granted) => Some((granted.jti, (*said, &**granted))),
            _ => None,
        });
        entries.collect()
    }

    fn entries(&self, outcome: &mut Outcome) {
        let here = Self::entries_of(&self.here);
        let there = Self::entries_of(&self.there);
        let all: BTreeSet<RequestId> = here.keys().chain(there.keys()).copied().collect();
        for jti in all {
            match (here.get(&jti), there.get(&jti)) {
                (Some(here), Some(there)) => {
                    outcome.checked.grants += 1;
                    outcome.findings.extend(self.differing(*here, *there));
                }
                (Some(here), None) => self.only_commune(*here, outcome),
                (None, Some(there)) => outcome.findings.extend(self.only_centre(*there)),
                (None, None) => {}
            }
        }
    }

    /// Both have it: do they say the same?
    fn differing(&self, here: Entry<'a>, there: Entry<'a>) -> Option<Finding> {
        let (says, signed) = (&here.1.says, &there.1.says);
        let what = says.difference(signed)?;
        let convicts = if !self.chains.counts(there.1.signed) {
            // The centre's own entry does not fit its proof: told where its journal is verified.
            None
        } else {
            // The proof is the commune's word for these.
            let by_proof = (
                says.grant,
                says.request,
                says.granted,
                says.start,
                says.expires,
            ) != (
                signed.grant,
                signed.request,
                signed.granted,
                signed.start,
                signed.expires,
            );
            by_proof
                .then(|| self.chains.convicted(here.0.chain, Some(here.0.seq())))
                .flatten()
        };
        let what = format!(
            "changed: {what} is not the same as in line {} of {}",
            there.0.seq(),
            self.centre
        );
        Some(Finding {
            convicts,
            ..self.find(here.0, what)
        })
    }

    /// The commune recorded it, the centre did not.
    fn only_commune(&self, (said, granted): Entry<'a>, outcome: &mut Outcome) {
        let voided =
            |other: &Said<'_>| matches!(other.fact.kind, Kind::Voided(jti) if jti == granted.jti);
        if self.here.iter().any(voided) {
            return;
        }
        let later = |other: &&Said<'_>| {
            other.fact.at.segment == said.fact.at.segment && other.seq() > said.seq()
        };
        let confirmed = self
            .here
            .iter()
            .filter(later)
            .find_map(|other| match &other.fact.kind {
                Kind::Confirmed { journal, seq } => Some((other, journal, *seq)),
                _ => None,
            });
        let ended = self
            .here
            .iter()
            .any(|said| matches!(said.fact.kind, Kind::Ended { .. }));
        match confirmed {
            Some((other, journal, seq)) => {
                let centre = self.chains.chains.iter();
                // Its entry is between the centre's head held before and the one that confirms it.
                let held = granted.held.as_ref().filter(|(held, _)| held == journal);
                let from = held.map_or(1, |(_, held)| held + 1);
                let reached = centre
                    .filter(|chain| chain.id.as_ref() == Some(journal))
                    .any(|chain| chain.first <= from && chain.last >= seq);
                // Otherwise that journal is told to be missing or cut, or those lines are pruned.
                if reached {
                    let what = format!(
                        "missing: the centre has no such grant, or its body is left out, though the commune holds its head of line {seq} as a confirmation (line {})",
                        other.seq()
                    );
                    outcome.findings.push(self.find(said, what));
                }
            }
            None if ended || granted.renewal => outcome.checked.unconfirmed += 1,
            None => {
                let what = "only here: the centre did not confirm it yet".to_owned();
                outcome.findings.push(self.unwitnessed(said, what));
            }
        }
    }

    /// The centre holds a proof of it, the commune has no entry.
    fn only_centre(&self, (said, granted): Entry<'a>) -> Option<Finding> {
        let (journal, seq) = granted.proof.as_ref()?;
        let chains = &self.chains.chains;
        let index = (0..chains.len()).find(|index| chains[*index].id.as_ref() == Some(journal))?;
        let chain = &chains[index];
        // A commune's journal that does not come so far is told by the head in the proof, and the
        // entry is at most that line: it may be pruned.
        let is_pruned = chain.first > *seq
            || chain.first > 1 && self.may_be_pruned(Side::Commune, said.fact.time, PRUNED_WITHIN);
        if is_pruned || chain.last < *seq || !self.chains.counts(granted.signed) {
            return None;
        }
        let whole = chain.segments.iter().any(|segment| {
            let copy = &self.gathered.segments[*segment];
            copy.last >= *seq && !copy.leaves_out(copy.first, *seq)
        });
        let what = format!(
            "missing: {} signed this grant, and its journal has no such entry up to line {seq}, where the proof says that it is{}",
            self.commune,
            if whole {
                ""
            } else {
                "; or its body is left out of the copy"
            }
        );
        let (proof, owner) = (
            self.chains.finding(index, Some(*seq), Some(self.id), what),
            self.commune,
        );
        let is_owner = chain.owner.as_deref() == Some(owner);
        let convicts = (whole && is_owner).then(|| owner.to_owned());
        let what = format!("{} (line {} of {})", proof.what, said.seq(), self.centre);
        Some(Finding {
            what,
            convicts,
            ..proof
        })
    }

    fn ends(&self, outcome: &mut Outcome) {
        fn end<'s>(of: &[Said<'s>]) -> Option<(Said<'s>, Reason, Option<&'s str>)> {
            of.iter().rev().find_map(|said| match &said.fact.kind {
                Kind::Ended { reason, by, .. } => Some((*said, *reason, by.as_deref())),
                _ => None,
            })
        }
        let both = |of: &[Said<'_>]| {
            of.iter()
                .any(|said| matches!(said.fact.kind, Kind::Grant(_)))
        };
        if !both(&self.here) || !both(&self.there) {
            return;
        }
        match (end(&self.here), end(&self.there)) {
            (Some((here, reason, by)), Some((there, theirs, _))) => {
                // A cut comes from the commune alone; a release by a person from the centre.
                let cut = theirs == Reason::GrantCut && reason != Reason::GrantCut;
                let by_person = by.is_some_and(|by| by != self.centre);
                let released = reason == Reason::GrantReleased && by_person && theirs != reason;
                if cut || released {
                    let what = format!(
                        "changed: its end is {reason} here and {theirs} at {} (line {})",
                        self.centre,
                        there.seq()
                    );
                    outcome.findings.push(self.find(here, what));
                }
            }
            (Some((here, reason, _)), None) => {
                outcome
                    .findings
                    .push(self.no_end(here, reason, Side::Centre));
            }
            (None, Some((there, reason, _))) => {
                outcome
                    .findings
                    .push(self.no_end(there, reason, Side::Commune));
            }
            (None, None) => {}
        }
    }

    /// Only one side says that it ended.
    fn no_end(&self, said: Said<'_>, reason: Reason, other: Side) -> Finding {
        let name = match other {
            Side::Commune => self.commune,
            Side::Centre => self.centre,
        };
        if self.last_time(other) > self.expires.plus(END_WITHIN) {
            let what = format!(
                "missing: it ended here ({reason}), and {name}'s journal goes on past its expiry without an end"
            );
            self.find(said, what)
        } else {
            let what = format!("only here: its end ({reason}) is not in {name}'s journal yet");
            self.unwitnessed(said, what)
        }
    }

    /// The lists that the centre signed against its own journal.
    fn viewings(&self, outcome: &mut Outcome) {
        struct Own<'s> {
            said: Said<'s>,
            what: &'s str,
            from: Wall,
            to: Option<Wall>,
            listed: bool,
        }
        let mut own: Vec<Own<'_>> = Vec::new();
        for said in &self.there {
            if let Kind::Viewing { what, from, to } = &said.fact.kind {
                own.push(Own {
                    said: *said,
                    what,
                    from: *from,
                    to: *to,
                    listed: false,
                });
            }
        }
        if !self
            .there
            .iter()
            .any(|said| matches!(said.fact.kind, Kind::Grant(_)))
        {
            return;
        }
        struct List<'s> {
            said: Said<'s>,
            iat: i64,
            part: Option<(u32, u32)>,
            journal: Option<&'s Arc<str>>,
            signed: Signed,
            listed: &'s [Listed],
        }
        let mut lists: Vec<List<'_>> = Vec::new();
        for said in &self.here {
            if let Kind::List {
                iat,
                part,
                journal,
                signed,
                listed,
            } = &said.fact.kind
            {
                lists.push(List {
                    said: *said,
                    iat: *iat,
                    part: *part,
                    journal: journal.as_ref(),
                    signed: *signed,
                    listed,
                });
            }
        }
        lists.retain(|list| self.chains.counts(list.signed));
        for list in &lists {
            for viewing in list.listed {
                let count = viewing.count.unwrap_or(1);
                outcome.checked.viewings += count;
                let fits = |own: &&mut Own<'_>| {
                    let is_it = if viewing.anyone {
                        own.what.starts_with(&*viewing.what)
                    } else {
                        *own.what == *viewing.what
                    };
                    let begins = viewing
                        .from
                        .is_none_or(|from| own.from.plus(ROUNDING) >= from);
                    // Who still watched when the list was signed ended later.
                    let still = |to: Wall| to >= Wall::from_seconds(list.iat);
                    let ends = match (own.to, viewing.to) {
                        (Some(own), Some(to)) if viewing.count.is_some() => own <= to || still(to),
                        (Some(own), Some(to)) => own == to || still(to) && own >= to,
                        _ => true,
                    };
                    is_it && begins && ends
                };
                // Those that no other line told of come first; that two parts tell of one
                // viewing, as after a restart of the centre, convicts nobody.
                let mut fitting: Vec<&mut Own<'_>> = own.iter_mut().filter(fits).collect();
                fitting.sort_by_key(|own| own.listed);
                let found = fitting.len() as u64;
                for own in fitting
                    .into_iter()
                    .take(usize::try_from(count).unwrap_or(usize::MAX))
                {
                    own.listed = true;
                }
                let from = viewing.from.unwrap_or_default();
                if found < count && !self.may_be_pruned(Side::Centre, from, ROUNDING) {
                    let times = match viewing.count {
                        Some(count) => format!(" {count} times"),
                        None => String::new(),
                    };
                    let what = format!(
                        "changed: {} signed that {} watched{times}, and its own journal does not say so",
                        self.centre, viewing.what
                    );
                    let convicts = Some(self.centre.to_owned());
                    let convicts = convicts.filter(|_| !self.centre_leaves_out());
                    outcome.findings.push(Finding {
                        convicts,
                        ..self.find(list.said, what)
                    });
                }
            }
        }
        // Each receiver that had the grant's pictures has a list of its own.
        lists.sort_by_key(|list| list.journal);
        for lists in lists.chunk_by(|one, other| one.journal == other.journal) {
            // Whether it is the whole list: all parts that it says it has, or one that is not full.
            let parts: BTreeSet<u32> = lists.iter().filter_map(|list| Some(list.part?.0)).collect();
            let is_whole = match lists.first().map(|list| list.part) {
                Some(Some((_, count))) => {
                    let is_numbered =
                        |list: &List<'_>| list.part.is_some_and(|(_, of)| of == count);
                    parts.len() as u64 == u64::from(count) && lists.iter().all(is_numbered)
                }
                Some(None) => lists.len() == 1 && lists[0].listed.len() < PER_STATEMENT,
                None => false,
            };
            let earliest = lists.iter().map(|list| list.iat).min();
            let newest = lists.iter().max_by_key(|list| list.said.seq());
            let (true, Some(list), Some(signed)) = (is_whole, newest, earliest) else {
                continue;
            };
            let (said, signed) = (list.said, Wall::from_seconds(signed));
            let is_of_list = |own: &&Own<'_>| {
                let id = self.chains.chains[own.said.chain].id.as_ref();
                !own.listed && (list.journal.is_none() || list.journal == id)
            };
            for own in own.iter().filter(is_of_list) {
                let Some(to) = own.to.filter(|to| to.plus(LIST_DELAY) < signed) else {
                    continue;
                };
                let what = format!(
                    "changed: {} watched until {}, and the list that {} signed leaves it out (line {} of {})",
                    own.what,
                    to.rfc3339(),
                    self.centre,
                    said.seq(),
                    self.commune
                );
                let convicts = self.chains.convicted(own.said.chain, Some(own.said.seq()));
                outcome.findings.push(Finding {
                    convicts,
                    ..self.find(own.said, what)
                });
            }
        }
    }

    /// Whether bodies are left out of the centre's copies around this grant.
    fn centre_leaves_out(&self) -> bool {
        let from = self.there.iter().map(Said::seq).min().unwrap_or(0);
        self.there.iter().any(|said| {
            let segment = &self.gathered.segments[said.fact.at.segment];
            segment.leaves_out(from, segment.last)
        })
    }

    fn stills(&self, outcome: &mut Outcome) {
        type Says = (Sha256, Option<Sha256>);
        let stills = |of: &[Said<'a>]| -> BTreeMap<SnapshotId, (Said<'a>, Says)> {
            let stills = of.iter().filter_map(|said| match &said.fact.kind {
                Kind::Still {
                    snapshot,
                    says,
                    sha256,
                } => Some((*snapshot, (*said, (*says, sha256.as_deref().copied())))),
                _ => None,
            });
            stills.collect()
        };
        let here = stills(&self.here);
        let there = stills(&self.there);
        let all: BTreeSet<SnapshotId> = here.keys().chain(there.keys()).copied().collect();
        for id in all {
            let refused =
                |said: &Said<'_>| matches!(said.fact.kind, Kind::StillRefused(of) if of == id);
            match (here.get(&id), there.get(&id)) {
                (Some((here, ours)), Some((there, theirs))) => {
                    outcome.checked.stills += 1;
                    // One of the two may be a version that kept no hash of the picture.
                    let pictures = ours.1.zip(theirs.1);
                    if ours.0 != theirs.0 || pictures.is_some_and(|(one, other)| one != other) {
                        let what = format!(
                            "changed: still {id} is not the same as in line {} of {}",
                            there.seq(),
                            self.centre
                        );
                        outcome.findings.push(self.find(*here, what));
                    }
                }
                (Some((here, _)), None)
                    if !self.may_be_pruned(Side::Centre, here.fact.time, STILL_WITHIN) =>
                {
                    outcome
                        .findings
                        .push(self.lone_still(*here, id, Side::Centre));
                }
                (None, Some((there, _)))
                    if !self.there.iter().any(refused)
                        && !self.may_be_pruned(Side::Commune, there.fact.time, STILL_WITHIN) =>
                {
                    outcome
                        .findings
                        .push(self.lone_still(*there, id, Side::Commune));
                }
                _ => {}
            }
        }
    }

    fn lone_still(&self, said: Said<'_>, id: SnapshotId, other: Side) -> Finding {
        let name = match other {
            Side::Commune => self.commune,
            Side::Centre => self.centre,
        };
        let until = said.fact.time.plus(STILL_WITHIN);
        let segment = &self.gathered.segments[said.fact.at.segment];
        if other == Side::Commune && segment.run_end(said.seq()) <= until {
            // It asks the commune once its own line is durable, and says what came of it.
            let centre = self.centre;
            let what = format!(
                "only here: still {id} is not in {name}'s journal; {centre} ended before it said whether it was given"
            );
            self.unwitnessed(said, what)
        } else if self.last_time(other) > until {
            let what =
                format!("missing: still {id} is not in {name}'s journal, or its body is left out");
            self.find(said, what)
        } else {
            let what = format!("only here: still {id} is not in {name}'s journal yet");
            self.unwitnessed(said, what)
        }
    }
}
