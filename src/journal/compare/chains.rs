//! Copies of a journal against each other, and journals against the heads that their owners
//! signed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::gather::{At, Gathered, Head, Segment, Signed};
use super::{Finding, Names, Options, Outcome, Share, Side};
use crate::clock::Wall;
use crate::format::ids::{GrantId, Sha256};
use crate::format::jws;
use crate::format::statement::{HEAD_TYPE, HeadClaims};
use crate::journal::checkpoints::Checkpoints;
use crate::journal::verify::What;
use crate::journal::verify::statements::Signers;

/// Said of lines that are missing and whose owner said so before anyone asked.
const LOST: &str = "; its owner recorded that they were lost in a failed write";
/// Most heads of one journal whose signature is looked at in search of one that holds.
const TRIED_LIMIT: usize = 1_000;

/// A journal, put together from its copies.
#[derive(Debug, Default)]
pub(super) struct Chain {
    pub(super) id: Option<Arc<str>>,
    pub(super) owner: Option<Arc<str>>,
    pub(super) side: Option<Side>,
    pub(super) segments: Vec<usize>,
    pub(super) last: u64,
    pub(super) last_time: Wall,
    /// The first line that is there.
    pub(super) first: u64,
    /// That line's time.
    pub(super) first_time: Wall,
    /// The last line that a valid head covers.
    pub(super) covered: u64,
    /// The owner says that its lines up to this one were lost in a failed write.
    lost: Option<u64>,
    links: Vec<(u64, Sha256)>,
}

/// All journals.
#[derive(Debug)]
pub(super) struct Chains {
    pub(super) chains: Vec<Chain>,
    /// The chain of each segment.
    pub(super) of_segment: Vec<usize>,
    pub(super) machines_proven: bool,
}

impl Chains {
    /// A finding about a line; `convicts` is for the owner, where a head of his covers the line.
    pub(super) fn finding(
        &self,
        chain: usize,
        seq: Option<u64>,
        grant: Option<GrantId>,
        what: String,
    ) -> Finding {
        let chain = &self.chains[chain];
        Finding {
            side: chain.side,
            owner: chain.owner.as_deref().map(str::to_owned),
            journal: chain.id.as_deref().map(str::to_owned),
            seq,
            grant,
            what,
            convicts: None,
            unwitnessed: false,
        }
    }

    /// The owner's id, where a head of his covers this line.
    pub(super) fn convicted(&self, chain: usize, seq: Option<u64>) -> Option<String> {
        let chain = &self.chains[chain];
        let covered = seq.is_some_and(|seq| seq <= chain.covered);
        covered
            .then(|| chain.owner.as_deref().map(str::to_owned))
            .flatten()
    }

    /// Whether a machine's statement counts as evidence.
    pub(super) fn counts(&self, signed: Signed) -> bool {
        counts(signed, self.machines_proven)
    }

    /// The chains of an owner.
    pub(super) fn of_owner(&self, side: Side, owner: &str) -> impl Iterator<Item = usize> {
        let is_his =
            move |chain: &Chain| chain.side == Some(side) && chain.owner.as_deref() == Some(owner);
        (0..self.chains.len()).filter(move |index| is_his(&self.chains[*index]))
    }

    /// What verifying each directory found.
    pub(super) fn tell_sources(
        &self,
        gathered: &Gathered,
        operators_proven: bool,
        outcome: &mut Outcome,
    ) {
        let mut not_checked: BTreeSet<Signers> = BTreeSet::new();
        for (index, source) in gathered.sources.iter().enumerate() {
            outcome.notes.extend(source.report.notes.iter().cloned());
            if source.report.more > 0 {
                let more = source.report.more;
                outcome.note(format!(
                    "{more} more findings are not named: see `journal verify`"
                ));
            }
            for found in &source.report.findings {
                let segment = source.segments + found.journal;
                let Some(chain) = self.of_segment.get(segment).copied() else {
                    continue;
                };
                let place = format!(
                    "directory {}, {} line {}",
                    index + 1,
                    found.file,
                    found.line
                );
                match &found.what {
                    What::Torn(bytes) => {
                        outcome.note(format!(
                            "{place}: the last line has no end ({bytes} bytes), as after a crash"
                        ));
                        continue;
                    }
                    What::Unproven(signers, _) => {
                        let proven = match signers {
                            Signers::Operators => operators_proven,
                            Signers::Machines => self.machines_proven,
                        };
                        if !proven {
                            not_checked.insert(*signers);
                            continue;
                        }
                    }
                    _ => {}
                }
                let seq = match &found.what {
                    What::Removed { from, .. } => Some(*from),
                    _ => found.seq,
                };
                let (mut what, convicts) = (
                    format!("{} ({place})", found.what),
                    match &found.what {
                        // Perhaps an authority is missing.
                        What::Unproven(..) => None,
                        What::Removed { from, .. } if self.is_lost(chain, *from) => None,
                        What::Witnessed { by_owner, .. } => by_owner
                            .then(|| self.chains[chain].owner.as_deref())
                            .flatten()
                            .map(str::to_owned),
                        _ => self.convicted(chain, seq),
                    },
                );
                let convicts = if self.other_is_whole(gathered, chain, segment) {
                    what.push_str("; another copy of this journal is whole");
                    None
                } else {
                    convicts
                };
                let finding = self.finding(chain, seq, None, what);
                outcome.findings.push(Finding {
                    convicts,
                    ..finding
                });
            }
        }
        for signers in not_checked {
            outcome.note(match signers {
                Signers::Operators => "no authority given proves the requests of operators: their keys are not checked",
                Signers::Machines => "no authority given proves the statements of machines: their keys are not checked",
            }.to_owned());
        }
    }

    /// What witnesses saw that is in no copy, and what they did not see.
    pub(super) fn tell_witnessed(
        &self,
        gathered: &Gathered,
        checkpoints: &Checkpoints,
        outcome: &mut Outcome,
    ) {
        for (index, chain) in self.chains.iter().enumerate() {
            let Some(id) = chain.id.as_deref() else {
                continue;
            };
            let seen = checkpoints.of(id);
            if let Some(told) = outcome.checked.journals.get_mut(index) {
                let covered = seen.last().map_or(0, |one| one.size);
                told.cosigned = covered.min(chain.last);
            }
            let beyond = || seen.iter().rev().take_while(|one| one.size > chain.last);
            let by_owner = beyond().find(|one| one.is_owners);
            if let Some(one) = by_owner.or_else(|| beyond().next()) {
                let lost = self.is_lost(index, one.size);
                let what = format!(
                    "missing: it ends with line {}, and lines are missing by {}{}",
                    chain.last,
                    one.told,
                    if lost { LOST } else { "" }
                );
                let finding = self.finding(index, Some(chain.last + 1), None, what);
                outcome.findings.push(Finding {
                    convicts: (one.is_owners && !lost).then(|| one.owner.clone()),
                    ..finding
                });
            }
            // The copy that reaches furthest has what is unwitnessed.
            let longest = chain.segments.iter().copied();
            let longest = longest.max_by_key(|at| gathered.segments[*at].last);
            let unwitnessed = longest.and_then(|at| {
                let source = &gathered.sources[gathered.segments[at].source];
                let journals = &source.report.journals;
                journals.get(at - source.segments)?.unwitnessed
            });
            if seen.is_empty() {
                outcome.note(format!(
                    "no witness that was named cosigned anything of journal {id}"
                ));
            } else if let Some((from, to)) = unwitnessed {
                let what = format!("lines {from} to {to} came after the last cosignature");
                let finding = self.finding(index, Some(from), None, what);
                outcome.findings.push(Finding {
                    unwitnessed: true,
                    ..finding
                });
            }
        }
        if checkpoints.more > 0 {
            let more = checkpoints.more;
            outcome.note(format!("{more} more checkpoints were not looked at"));
        }
    }

    fn is_lost(&self, chain: usize, seq: u64) -> bool {
        let chain = &self.chains[chain];
        seq > chain.last && chain.lost.is_some_and(|lost| seq <= lost)
    }

    /// Whether another copy of the same journal reaches as far and is not broken.
    fn other_is_whole(&self, gathered: &Gathered, chain: usize, segment: usize) -> bool {
        let this = gathered.segments[segment].last;
        let others = self.chains[chain].segments.iter();
        others.filter(|other| **other != segment).any(|other| {
            let copy = &gathered.segments[*other];
            copy.last >= this.max(self.chains[chain].covered) && !is_broken(gathered, *other)
        })
    }
}

fn counts(signed: Signed, machines_proven: bool) -> bool {
    match signed {
        Signed::No => false,
        Signed::ByItself => !machines_proven,
        Signed::ByAuthority => true,
    }
}

fn is_broken(gathered: &Gathered, segment: usize) -> bool {
    let source = &gathered.sources[gathered.segments[segment].source];
    source.report.findings.iter().any(|found| {
        source.segments + found.journal == segment
            && !matches!(
                found.what,
                What::Torn(_) | What::Statement(_) | What::Unproven(..)
            )
    })
}

/// Puts the journals together and holds them against the heads.
pub(super) fn judge(
    options: &Options,
    gathered: &Gathered,
    machines_proven: bool,
    share: Share,
    outcome: &mut Outcome,
) -> Result<Chains, String> {
    let mut chains = assemble(gathered, &mut outcome.names);
    chains.machines_proven = machines_proven;
    let mut prover = Prover { options, gathered };
    let mut groups: BTreeMap<(Arc<str>, Arc<str>), Vec<&Head>> = BTreeMap::new();
    for head in &gathered.heads {
        let key = (Arc::clone(&head.iss), Arc::clone(&head.journal));
        groups.entry(key).or_default().push(head);
    }
    for heads in groups.values_mut() {
        heads.sort_by_key(|head| (head.seq, head.link, head.iat, head.at));
    }
    if options.authorities.is_some() && !chains.machines_proven {
        for heads in groups.values() {
            for head in heads.iter().rev().take(8) {
                chains.machines_proven |= prover.prove(head)? == Signed::ByAuthority;
            }
        }
    }
    for ((iss, journal), heads) in &groups {
        let mut group = Group {
            iss,
            journal,
            heads,
            prover: &mut prover,
            share,
        };
        group.judge(&mut chains, outcome)?;
    }
    fork(gathered, &chains, outcome);
    if share.index == 0 {
        outcome.checked.journals = chains.chains.iter().map(summary).collect();
    }
    Ok(chains)
}

fn summary(chain: &Chain) -> super::Journal {
    super::Journal {
        id: chain.id.as_deref().map(str::to_owned),
        owner: chain.owner.as_deref().map(str::to_owned),
        side: chain.side,
        copies: chain.segments.len(),
        first: chain.first,
        last: chain.last,
        witnessed: chain.covered.min(chain.last),
        cosigned: 0,
    }
}

/// Segments with the same id are copies of one journal. Where a first line's body is left out,
/// a head tells whose the journal is.
fn assemble(gathered: &Gathered, names: &mut Names) -> Chains {
    let mut ids: Vec<Option<Arc<str>>> = Vec::new();
    let mut owners: Vec<Option<Arc<str>>> = Vec::new();
    for (index, segment) in gathered.segments.iter().enumerate() {
        if segment.id.is_none() && !names.contains_key(&index) {
            let named = named_by_heads(segment, &gathered.heads);
            names.extend(named.map(|named| (index, named)));
        }
        let named = names.get(&index);
        let by_head = || named.map(|(id, _)| Arc::clone(id));
        ids.push(segment.id.clone().or_else(by_head));
        let by_head = || named.map(|(_, owner)| Arc::clone(owner));
        owners.push(segment.owner.clone().or_else(by_head));
    }
    let mut chains: Vec<Chain> = Vec::new();
    let mut of_segment = Vec::new();
    let mut by_id: HashMap<Arc<str>, usize> = HashMap::new();
    for (index, segment) in gathered.segments.iter().enumerate() {
        let new = chains.len();
        let chain = match &ids[index] {
            Some(id) => *by_id.entry(Arc::clone(id)).or_insert(new),
            None => new,
        };
        if chain == new {
            chains.push(Chain {
                id: ids[index].clone(),
                first: segment.first,
                first_time: segment.first_time,
                ..Chain::default()
            });
        }
        let of = &mut chains[chain];
        of.owner = of.owner.take().or_else(|| owners[index].clone());
        of.side = of.side.or(segment.side);
        if segment.first < of.first {
            of.first = segment.first;
            of.first_time = segment.first_time;
        }
        if segment.last >= of.last {
            of.last = segment.last;
            of.last_time = of.last_time.max(segment.last_time);
        }
        of.segments.push(index);
        of.links.extend_from_slice(&segment.links);
        of_segment.push(chain);
    }
    let mut sides: HashMap<Arc<str>, Side> = HashMap::new();
    for chain in &mut chains {
        chain.links.sort_unstable();
        chain.links.dedup();
        if let (Some(owner), Some(side)) = (&chain.owner, chain.side) {
            sides.insert(Arc::clone(owner), side);
        }
    }
    for segment in &gathered.segments {
        if let Some((id, seq)) = &segment.continues
            && let Some(chain) = by_id.get(id.as_str())
        {
            chains[*chain].lost = Some(*seq);
        }
    }
    for chain in &mut chains {
        let owner = chain.owner.as_ref();
        chain.side = chain.side.or_else(|| sides.get(owner?).copied());
    }
    Chains {
        chains,
        of_segment,
        machines_proven: false,
    }
}

/// The journal and its owner, by a head that names one of the segment's lines.
fn named_by_heads(segment: &Segment, heads: &[Head]) -> Option<(Arc<str>, Arc<str>)> {
    let links: HashMap<u64, Sha256> = segment.links.iter().copied().collect();
    let names = |head: &&Head| links.get(&head.seq) == Some(&head.link);
    let head = heads.iter().find(names)?;
    Some((Arc::clone(&head.journal), Arc::clone(&head.iss)))
}

/// Copies of one journal that have different lines at one number.
fn fork(gathered: &Gathered, chains: &Chains, outcome: &mut Outcome) {
    for (index, chain) in chains.chains.iter().enumerate() {
        // A broken copy has lines of one number by itself.
        let whole = chain
            .segments
            .iter()
            .filter(|at| !is_broken(gathered, **at));
        let mut links: Vec<(u64, Sha256)> = whole
            .flat_map(|at| gathered.segments[*at].links.iter().copied())
            .collect();
        links.sort_unstable();
        links.dedup();
        let forked = links.windows(2).find(|pair| pair[0].0 == pair[1].0);
        if let Some(pair) = forked {
            let seq = pair[0].0;
            let what =
                format!("changed: copies of this journal have different lines from {seq} on");
            let finding = chains.finding(index, Some(seq), None, what);
            let convicts = chains.convicted(index, Some(seq));
            let finding = Finding {
                convicts,
                ..finding
            };
            // Each share has a first one of its own.
            outcome.worst("fork", seq, 0, finding);
        }
    }
}

/// Verifies heads.
struct Prover<'a> {
    options: &'a Options,
    gathered: &'a Gathered,
}

impl Prover<'_> {
    fn prove(&mut self, head: &Head) -> Result<Signed, String> {
        let source = self.gathered.segments[head.at.segment].source;
        let directory = &self.options.directories[source];
        let Some(text) = head.statement(directory)? else {
            return Ok(Signed::No);
        };
        let authorities = self.options.authorities.as_ref();
        let at = Wall::from_seconds(head.iat);
        if authorities.is_some_and(|all| all.machine(&text, HEAD_TYPE, &head.iss, at).is_ok()) {
            return Ok(Signed::ByAuthority);
        }
        let itself = jws::open::<HeadClaims>(&text, HEAD_TYPE).is_ok();
        Ok(if itself { Signed::ByItself } else { Signed::No })
    }

    /// The first of these heads that counts.
    fn first<'h>(
        &mut self,
        heads: impl Iterator<Item = &'h Head>,
        machines_proven: bool,
    ) -> Result<Option<&'h Head>, String> {
        for head in heads.take(TRIED_LIMIT) {
            if counts(self.prove(head)?, machines_proven) {
                return Ok(Some(head));
            }
        }
        Ok(None)
    }
}

/// The heads that one machine is said to have signed of one journal, by number.
struct Group<'a, 'h> {
    iss: &'a Arc<str>,
    journal: &'a Arc<str>,
    heads: &'a [&'h Head],
    prover: &'a mut Prover<'h>,
    share: Share,
}

impl Group<'_, '_> {
    fn judge(&mut self, chains: &mut Chains, outcome: &mut Outcome) -> Result<(), String> {
        let proven = chains.machines_proven;
        let all = || self.heads.iter().copied();
        let highest = self.prover.first(all().rev(), proven)?;
        if highest.is_none() {
            outcome.note(format!(
                "heads of journal {} that name {} are not signed by a key that counts: not used",
                self.journal, self.iss
            ));
        }
        self.two_links(chains, outcome)?;
        let Some(index) = chains
            .chains
            .iter()
            .position(|chain| chain.id.as_ref() == Some(self.journal))
        else {
            if let Some(head) = highest {
                self.not_given(head, chains, outcome);
            }
            return Ok(());
        };
        let chain = &mut chains.chains[index];
        if *chain.owner.get_or_insert_with(|| Arc::clone(self.iss)) != *self.iss {
            outcome.note(format!(
                "{} signed heads of journal {}, which is another's: not used",
                self.iss, self.journal
            ));
            return Ok(());
        }
        chain.covered = highest.map_or(0, |head| head.seq).max(chain.covered);
        self.against(index, chains, outcome)
    }

    /// Two heads of one line that differ.
    fn two_links(&mut self, chains: &Chains, outcome: &mut Outcome) -> Result<(), String> {
        for pair in self.heads.windows(2) {
            if pair[0].seq != pair[1].seq || pair[0].link == pair[1].link {
                continue;
            }
            let both = pair.iter().copied();
            let first = self.prover.first(both.clone(), chains.machines_proven)?;
            let last = self.prover.first(both.rev(), chains.machines_proven)?;
            if let (Some(first), Some(last)) = (first, last)
                && first.link != last.link
            {
                let what = "changed: its owner signed two heads of this line that differ";
                let mut finding = self.unplaced(Some(first.seq), what.to_owned());
                finding.convicts = Some(self.iss.to_string());
                outcome.worst("two links", first.seq, 0, finding);
                break;
            }
        }
        Ok(())
    }

    /// A journal that heads name and nobody gave.
    fn not_given(&self, head: &Head, chains: &Chains, outcome: &mut Outcome) {
        let others = |chain: &Chain| chain.owner.as_ref() == Some(self.iss);
        if !chains.chains.iter().any(others) {
            return outcome.note(format!(
                "no journal of {} is among the directories",
                self.iss
            ));
        }
        let what = format!(
            "missing: this journal is not among the directories, and a head of its line {} is held",
            head.seq
        );
        let rank = u64::MAX - head.seq;
        outcome.worst("not given", rank, 0, self.unplaced(None, what));
    }

    /// A finding about the journal, wherever it is.
    fn unplaced(&self, seq: Option<u64>, what: String) -> Finding {
        Finding {
            side: None,
            owner: Some(self.iss.to_string()),
            journal: Some(self.journal.to_string()),
            seq,
            grant: None,
            what,
            convicts: None,
            unwitnessed: false,
        }
    }

    /// The heads against the journal's lines.
    fn against(
        &mut self,
        index: usize,
        chains: &Chains,
        outcome: &mut Outcome,
    ) -> Result<(), String> {
        let chain = &chains.chains[index];
        let proven = chains.machines_proven;
        let mut contradicting = Vec::new();
        let mut beyond = Vec::new();
        for head in self.heads {
            // The highest of all is in every share, and told by its own.
            if head.seq < chain.first || !self.share.has_line(head.seq) {
                continue;
            }
            if head.seq > chain.last {
                beyond.push(*head);
                continue;
            }
            let at = chain.links.partition_point(|(seq, _)| *seq < head.seq);
            let mut here = chain.links[at..]
                .iter()
                .take_while(|(seq, _)| *seq == head.seq);
            // A line that is not here is one of those that the directory's own verification
            // names, or of another share.
            if here.clone().next().is_none() {
                continue;
            }
            outcome.checked.heads += 1;
            if !here.any(|(_, link)| *link == head.link) {
                contradicting.push(*head);
            }
        }
        if let Some(head) = self.prover.first(contradicting.iter().copied(), proven)? {
            let what = format!("changed: it contradicts {}", self.said(head, chains));
            let finding = chains.finding(index, Some(head.seq), None, what);
            let finding = Finding {
                convicts: Some(self.iss.to_string()),
                ..finding
            };
            outcome.worst("contradicts", head.seq, contradicting.len(), finding);
        }
        if let Some(head) = self.prover.first(beyond.iter().rev().copied(), proven)? {
            let from = chain.last + 1;
            let lost = chains.is_lost(index, head.seq);
            let what = format!(
                "missing: it ends with line {}, and lines up to {} were there by {}{}",
                chain.last,
                head.seq,
                self.said(head, chains),
                if lost { LOST } else { "" }
            );
            let finding = chains.finding(index, Some(from), None, what);
            let finding = Finding {
                convicts: (!lost).then(|| self.iss.to_string()),
                ..finding
            };
            outcome.worst("beyond", u64::MAX - head.seq, beyond.len(), finding);
        }
        Ok(())
    }

    fn said(&self, head: &Head, chains: &Chains) -> String {
        let At { segment, seq } = head.at;
        let holder = &chains.chains[chains.of_segment[segment]];
        format!(
            "the head of line {} that {} signed at {} (line {seq} of {})",
            head.seq,
            self.iss,
            Wall::from_seconds(head.iat).rfc3339(),
            holder.owner.as_deref().unwrap_or("a journal"),
        )
    }
}
