//! Reads the whole journal to see whether its oldest month may go: the same reading as at a
//! start, with the extent of each month. It is read beside the writer's thread, which then reads
//! what was written meanwhile ([`Scan::catch_up`]), so that nothing changes between the look and
//! the deed.

use std::collections::BTreeMap;
use std::io;

use super::{Error, Found, Item, Kept, Walk};
use crate::clock::Wall;
use crate::format::chain::{End, Line};
use crate::format::keep::Keep;
use crate::format::merkle::{Frontier, leaf};
use crate::format::note::{self, Checkpoint, Note};
use crate::journal::entry::Entry;
use crate::journal::reader::{self, Content, Lines, Place};
use crate::journal::retention::{
    Anchor, Extent, Known, Named, Plan, Rule, Segment, Standing, plan,
};
use crate::journal::store::{Month, Store};

/// Most bytes that are read in the writer's thread: what came while the journal was scanned.
const CATCH_UP_LIMIT: u64 = 16 * 1024 * 1024;

/// A journal as it was read.
#[derive(Debug)]
pub struct Scan {
    walk: Walk,
}

/// Months and their lines, while they are read.
#[derive(Debug, Default)]
pub(super) struct Extents {
    all: Vec<Extent>,
    tree: Frontier,
    /// No line, behind the last one that was pruned.
    nothing: Option<Segment>,
    /// Whose journal it is, as its own entries say.
    owner: Option<String>,
}

impl Extents {
    /// From a journal whose first lines are gone: who named them is its owner.
    pub(super) fn after(anchor: Anchor) -> Self {
        let nothing = Segment {
            journal: anchor.journal,
            first: anchor.end.seq + 1,
            end: anchor.end,
            tree: anchor.tree.clone(),
        };
        Self {
            tree: anchor.tree,
            nothing: Some(nothing),
            owner: Some(anchor.iss),
            ..Self::default()
        }
    }

    /// A file begins.
    pub(super) fn month(&mut self, month: Month) {
        self.all.push(Extent {
            month,
            lines: 0,
            first_time: None,
            segments: Vec::new(),
            order: 0,
        });
    }

    /// A line of it that does not verify, with its time where that can be read.
    pub(super) fn damaged(&mut self, time: Option<Wall>) {
        if let Some(extent) = self.all.last_mut() {
            extent.add(time);
        }
    }

    /// A line of it, which verified where `end` is its own; `order` entries were kept so far.
    pub(super) fn line(&mut self, line: &Line<'_>, verified: Option<(&str, End)>, order: u64) {
        let Some(extent) = self.all.last_mut() else {
            return;
        };
        extent.add(Some(line.header.time));
        extent.order = order;
        let Some((journal, end)) = verified else {
            return;
        };
        if end.seq == 1 {
            self.tree = Frontier::default();
        }
        self.tree.push(leaf(&end.link.0));
        match extent.segments.last_mut() {
            Some(segment) if end.seq > 1 && segment.journal == journal => {
                segment.end = end;
                segment.tree.clone_from(&self.tree);
            }
            _ => extent.segments.push(Segment {
                journal: journal.to_owned(),
                first: end.seq,
                end,
                tree: self.tree.clone(),
            }),
        }
        if self.owner.is_none() {
            let entry = line.body.and_then(|body| reader::entry(body).ok()?);
            self.owner = entry.as_ref().and_then(reader::owner).map(str::to_owned);
        }
    }
}

impl Scan {
    /// Reads a journal, if its oldest month is to go; else none, after a look at its first line.
    ///
    /// # Errors
    /// A file can't be read.
    pub fn read(store: &mut dyn Store, keep: Keep, now: Wall) -> Result<Option<Self>, Error> {
        let failed = |source| Error::Read {
            file: "the journal's directory".to_owned(),
            source,
        };
        let months = store.months().map_err(failed)?;
        let [oldest, _, ..] = months[..] else {
            return Ok(None);
        };
        let first = first_time(store, oldest).map_err(failed)?;
        if first.is_some_and(|first| !keep.is_over(first, now)) {
            return Ok(None);
        }
        Self::whole(store).map(Some)
    }

    /// Reads a journal.
    ///
    /// # Errors
    /// A file can't be read.
    pub fn whole(store: &mut dyn Store) -> Result<Self, Error> {
        let mut walk = super::walk(store, true)?;
        // A line that is being written is no torn one.
        walk.found.torn = None;
        Ok(Self { walk })
    }

    /// Reads what was written since, up to the end of what is durable.
    ///
    /// # Errors
    /// It is not what follows, or too much.
    pub fn catch_up(
        &mut self,
        store: &mut dyn Store,
        to: (Month, u64),
        end: End,
    ) -> io::Result<()> {
        let (last, known) = self.walk.found.file.unwrap_or((to.0, 0));
        for month in store.months()?.into_iter().filter(|month| *month >= last) {
            let from = if month == last { known } else { 0 };
            let length = if month == to.0 {
                to.1
            } else {
                store.len(month)?
            };
            let Some(new) = length
                .checked_sub(from)
                .filter(|new| *new <= CATCH_UP_LIMIT)
            else {
                return Err(changed());
            };
            if let Some(extents) = self.walk.extents.as_mut().filter(|_| month > last) {
                extents.month(month);
            }
            let bytes =
                store.read_at(month, from, usize::try_from(new).map_err(io::Error::other)?)?;
            let mut lines = Lines::new(&bytes[..]);
            while let Some((place, content)) = lines.next_line()? {
                let Content::Line(line) = content else {
                    return Err(changed());
                };
                let place = Place {
                    offset: from + place.offset,
                    ..place
                };
                self.walk
                    .line(month, place, line)
                    .map_err(io::Error::other)?;
            }
            self.walk.found.file = Some((month, length));
        }
        if self.walk.found.end == end {
            Ok(())
        } else {
            Err(changed())
        }
    }

    /// What the journal holds.
    pub fn found(&self) -> &Found {
        &self.walk.found
    }

    /// Whose journal it is, as its own entries say.
    pub fn owner(&self) -> Option<&str> {
        self.walk.extents.as_ref()?.owner.as_deref()
    }

    /// Its months.
    pub fn extents(&self) -> &[Extent] {
        self.walk
            .extents
            .as_ref()
            .map_or(&[], |extents| &extents.all)
    }

    /// The newest note over a journal's lines that a witness cosigned, and how many lines it is of.
    pub fn cosigned(&self, journal: &str) -> Option<(u64, &str)> {
        let kept = &self.walk.kept;
        let items = kept.latest.values().chain(&kept.young);
        let notes = items.filter_map(|item| match &item.entry {
            Entry::Cosigned {
                size, checkpoint, ..
            } => {
                let note = Note::parse(checkpoint).ok()?;
                let told = Checkpoint::parse(note.text)?;
                let (_, of) = note::parse_origin(&told.origin)?;
                (of == journal && told.size == *size).then_some((*size, checkpoint.as_str()))
            }
            _ => None,
        });
        notes.max_by_key(|(size, _)| *size)
    }

    /// What is to be done with its oldest month. See [`plan`].
    pub fn plan(&self, rule: Rule, now: Wall) -> Plan {
        let extents = self.extents();
        let order = extents.first().map_or(0, |oldest| oldest.order);
        let damage = self.walk.found.damage.as_ref();
        let segments = extents
            .first()
            .map_or(&[][..], |oldest| &oldest.segments[..]);
        let nothing = self.walk.extents.as_ref();
        let nothing = nothing.and_then(|extents| extents.nothing.clone());
        let cosigned = segments.iter().chain(&nothing).filter_map(|segment| {
            let (size, _) = self.cosigned(&segment.journal)?;
            Some((segment.journal.clone(), size))
        });
        let known = Known {
            extents,
            standing: self.walk.kept.standing(order, self.owner(), now),
            anchors: self.walk.kept.anchors(),
            cosigned: cosigned.collect(),
            nothing,
            damage: damage
                .map(|damage| format!("{} line {}: {}", damage.file, damage.line, damage.what)),
        };
        plan(known, rule, now)
    }
}

fn changed() -> io::Error {
    io::Error::other("the journal changed while it was read; it is tried again")
}

/// The time of a file's first line; one of another month is damaged, or of a wrong clock.
fn first_time(store: &mut dyn Store, month: Month) -> io::Result<Option<Wall>> {
    let mut lines = Lines::new(store.read(month)?);
    while let Some((_, content)) = lines.next_line()? {
        if let Content::Line(bytes) = content
            && let Ok(line) = Line::parse(bytes)
            && Month::of(line.header.time) == month
        {
            return Ok(Some(line.header.time));
        }
    }
    Ok(None)
}

impl Kept {
    fn anchors(&self) -> Vec<Named> {
        let items = self.latest.values().chain(&self.young);
        let anchors = items.filter_map(|item| match &item.entry {
            Entry::Pruned {
                months,
                journal,
                last,
                link,
                ..
            } => Some(Named {
                time: item.time,
                months: months.clone(),
                journal: journal.clone(),
                end: End {
                    seq: *last,
                    link: *link,
                },
            }),
            _ => None,
        });
        anchors.collect()
    }

    /// What of the entries up to this one is in force, in their order, in `owner`'s journal.
    fn standing(&self, order: u64, owner: Option<&str>, now: Wall) -> Vec<Standing> {
        let by_key: BTreeMap<&str, &Item> = self
            .latest
            .iter()
            .map(|(key, item)| (key.as_str(), item))
            .collect();
        // Young entries are newer than those of `latest` with the same key.
        let newest = |key: &str| by_key.get(key).map_or(0, |item| item.order);
        let young = |wanted: &dyn Fn(&Entry) -> bool| {
            let young = self.young.iter().filter(|item| wanted(&item.entry));
            young.map(|item| item.order).max().unwrap_or(0)
        };
        let accepted = |machine: &str| {
            let is_it = |entry: &Entry| matches!(entry, Entry::JournalAccepted { journal, .. } if journal == machine);
            newest(&format!("accepted {machine}")).max(young(&is_it))
        };
        let contradicted = |machine: &str| {
            let is_it = |entry: &Entry| matches!(entry, Entry::PeerContradiction { peer, .. } if peer == machine);
            newest(&format!("contradiction {machine}")).max(young(&is_it))
        };
        let mut items: Vec<&Item> = self
            .latest
            .values()
            .filter(|item| item.order <= order)
            .collect();
        items.sort_by_key(|item| item.order);
        let mut standing = Vec::new();
        for item in items {
            let carried = || Some(Standing::Carried(Box::new(item.entry.clone())));
            standing.extend(match &item.entry {
                // No gateway takes a list so late: [`super::VIEWINGS_LATE`] is far less than any
                // journal is kept.
                Entry::ViewingsOwed { .. } => None,
                Entry::Cut { scope, until, .. } => {
                    let until: Option<jiff::Timestamp> = until.parse().ok();
                    let holds = until.is_none_or(|until| until.as_microsecond() > now.0);
                    holds.then(|| Standing::Needed(format!("the cut of {scope} still holds")))
                }
                // A head that a later contradiction replaced is held no more.
                Entry::Confirmed { centre, head, .. } => {
                    let peer = centre.to_string();
                    (contradicted(&peer) < item.order).then(|| {
                        let head = head.clone();
                        Standing::Carried(Box::new(Entry::PeerHead { peer, head }))
                    })
                }
                Entry::PeerHead { peer, .. } if contradicted(peer) > item.order => None,
                Entry::PeerContradiction { peer, .. } | Entry::PeerDamaged { peer, .. }
                    if accepted(peer) > item.order =>
                {
                    None
                }
                Entry::PeerDamaged { detail: None, .. } => None,
                // Of the own journal.
                Entry::JournalWentBack { .. } | Entry::JournalDamaged { .. }
                    if owner.is_some_and(|owner| accepted(owner) > item.order) =>
                {
                    None
                }
                // Only the place of the last attestation is known here, and only that counts.
                Entry::JournalAccepted { .. } | Entry::Pruned { .. } | Entry::Attestation(_) => {
                    None
                }
                _ => carried(),
            });
        }
        let is_young = |item: &&Item| item.order <= order;
        if self.young.iter().any(|item| is_young(&item)) {
            let why = "it holds entries of the journal's last two days";
            standing.push(Standing::Needed(why.to_owned()));
        }
        standing
    }
}
