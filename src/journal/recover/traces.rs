//! What stays at the gateway of grants that are long over: whose each was, which cameras it
//! named, and which parts of its list of viewings the journal holds. Its centre may have been away
//! and sends the list late, and a cut of it may hold yet.

use std::collections::{BTreeMap, VecDeque};

use super::{Item, KEPT, KEPT_BYTES, VIEWINGS_LATE, micros};
use crate::clock::Wall;
use crate::format::ids::GrantId;
use crate::journal::entry::Entry;

/// Grants of which a trace stays; of more the oldest are let go.
const GRANTS: usize = 4_096;
/// What one entry takes in memory beside its cameras, roughly.
const EACH: usize = 1_024;

#[derive(Debug)]
struct Trace {
    /// The newest entry of the grant, without what its end made useless.
    grant: Item,
    /// Whether its end is in the journal.
    is_over: bool,
    /// The end, and the parts.
    more: Vec<Item>,
    bytes: usize,
}

/// Of old entries those that matter for longer than the grant itself.
#[derive(Debug, Default)]
pub(super) struct Traces {
    since: Option<Wall>,
    of: BTreeMap<GrantId, Trace>,
    /// In the order in which they came, with that order.
    queue: VecDeque<(GrantId, u64)>,
    bytes: usize,
    /// The journal is a centre's: it keeps what it owes by other entries.
    is_centre: bool,
}

impl Traces {
    pub(super) fn since(newest: Option<Wall>) -> Self {
        let back = micros(VIEWINGS_LATE).saturating_add(micros(KEPT));
        Self {
            since: newest.map(|newest| Wall(newest.0.saturating_sub(back))),
            ..Self::default()
        }
    }

    /// Whether old entries of this time may be wanted.
    pub(super) fn wants(&self, time: Wall) -> bool {
        !self.is_centre && self.since.is_none_or(|since| time >= since)
    }

    /// An end that is young and kept anyway, whose grant may be an old one.
    pub(super) fn note_end(&mut self, grant: GrantId) {
        if let Some(trace) = self.of.get_mut(&grant) {
            trace.is_over = true;
        }
    }

    /// Keeps of an entry what matters.
    pub(super) fn take(&mut self, mut item: Item) {
        match &mut item.entry {
            Entry::Grant(entry) => {
                if entry.proof.is_some() {
                    *self = Self {
                        since: self.since,
                        is_centre: true,
                        ..Self::default()
                    };
                    return;
                }
                let grant = entry.grant;
                entry.request = String::new();
                entry.recipients = Vec::new();
                entry.refused = Vec::new();
                entry.peer_head = None;
                let cameras = entry
                    .granted
                    .iter()
                    .map(|camera| camera.as_str().len() + 24);
                item.bytes = EACH + cameras.sum::<usize>();
                self.forget(grant);
                self.bytes += item.bytes;
                self.queue.push_back((grant, item.order));
                let trace = Trace {
                    bytes: item.bytes,
                    grant: item,
                    is_over: false,
                    more: Vec::new(),
                };
                self.of.insert(grant, trace);
            }
            Entry::Ended { grant, .. } => {
                let grant = *grant;
                self.note_end(grant);
                self.add(grant, item);
            }
            Entry::Viewings {
                grant,
                statement,
                viewings,
                ..
            } => {
                *statement = String::new();
                *viewings = Vec::new();
                let grant = *grant;
                self.add(grant, item);
            }
            _ => {}
        }
        while (self.of.len() > GRANTS || self.bytes > KEPT_BYTES)
            && let Some((grant, order)) = self.queue.pop_front()
        {
            // Else it was renewed since.
            if self
                .of
                .get(&grant)
                .is_some_and(|trace| trace.grant.order == order)
            {
                self.forget(grant);
            }
        }
    }

    fn add(&mut self, grant: GrantId, item: Item) {
        if let Some(trace) = self.of.get_mut(&grant) {
            trace.more.push(item);
            trace.bytes += EACH;
            self.bytes += EACH;
        }
    }

    fn forget(&mut self, grant: GrantId) {
        if let Some(trace) = self.of.remove(&grant) {
            self.bytes -= trace.bytes;
        }
    }

    /// What is kept; a grant without an end is none that is over.
    pub(super) fn finish(self) -> impl Iterator<Item = Item> {
        let over = self.of.into_values().filter(|trace| trace.is_over);
        over.flat_map(|trace| std::iter::once(trace.grant).chain(trace.more))
    }
}
