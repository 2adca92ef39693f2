//! What the journal held at start: the desk goes on from it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::held::Held;
use super::list::{Figures, Part};
use super::{Desk, Grant, GrantCamera};
use crate::clock::{Boot, Now, Wall};
use crate::format::control::RelayState;
use crate::format::ids::{CameraId, CommuneId, GrantId, Sha256};
use crate::format::statement::{Operator, Viewing};
use crate::journal::entry::{Entry, GrantEntry};
use crate::media::relay::Profile;
use crate::policy::peer::expiry;
use crate::reason::{Reason, Refusal};

/// A grant as the entries tell it so far.
struct Past {
    entry: GrantEntry,
    recorded: Wall,
    ended: Option<(Reason, Wall)>,
    /// Earlier requests of other operators, the newest of each.
    former: Vec<(Operator, String)>,
    /// How often the RTSP password changed.
    credentials: u32,
    /// The receiver to which its pictures went.
    moved: Option<Sha256>,
}

impl Past {
    /// The same under its next entry.
    fn renewed(before: Option<Self>, entry: &GrantEntry, recorded: Wall) -> Self {
        let operator = &entry.operator;
        let is_other =
            |other: &Operator| (&other.number, &other.unit) != (&operator.number, &operator.unit);
        let mut past = Self {
            entry: entry.clone(),
            recorded,
            ended: None,
            former: Vec::new(),
            credentials: 0,
            moved: None,
        };
        if let Some(before) = before {
            past.ended = before.ended;
            past.credentials = before.credentials;
            past.former = before.former;
            past.former.retain(|(of, _)| {
                let newest = &before.entry.operator;
                is_other(of) && (&of.number, &of.unit) != (&newest.number, &newest.unit)
            });
            if is_other(&before.entry.operator) {
                past.former
                    .push((before.entry.operator, before.entry.request));
            }
        }
        past
    }

    fn length(&self) -> Duration {
        let seconds = self.entry.expires.saturating_sub(self.entry.start);
        Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
    }

    /// Its end: the one that was written, or else the one that it was given.
    fn until(&self) -> Wall {
        let given = self.recorded.plus(self.length());
        self.ended.map_or(given, |(_, at)| at.min(given))
    }
}

/// A viewing as the entries tell it so far.
struct Watching {
    grant: GrantId,
    camera: CameraId,
    who: String,
    how: String,
    holders: Vec<String>,
    since: Wall,
}

/// A list of viewings that was written down because its commune stayed away.
struct Written {
    commune: CommuneId,
    parts: BTreeMap<u32, Part>,
    count: u32,
}

/// What is gathered while reading.
#[derive(Default)]
struct Reading {
    grants: BTreeMap<GrantId, Past>,
    watching: BTreeMap<u64, Watching>,
    written: BTreeMap<GrantId, Written>,
    /// Ended grants whose commune holds the list.
    taken: BTreeSet<GrantId>,
}

impl Desk {
    /// Takes up the journal's entries, oldest first, before any other input.
    /// `newest` is the newest time in the journal, entries left out included; `watched_until`, until when
    /// somebody may have watched before this start, where that is known.
    pub fn handle_recovered(
        &mut self,
        entries: &[(u64, Wall, Entry)],
        newest: Option<Wall>,
        watched_until: Option<Wall>,
        now: Now,
    ) {
        self.clock.recover(entries, newest);
        let mut reading = Reading::default();
        for (seq, time, entry) in entries {
            self.read_entry(&mut reading, *seq, *time, entry, now);
        }
        let written = self.clock.newest().unwrap_or(now.wall);
        let stopped = watched_until.map_or(written, |until| written.max(until.min(now.wall)));
        for (start, watching) in std::mem::take(&mut reading.watching) {
            // Nobody watches longer than the grant lasted.
            let grant = reading.grants.get(&watching.grant);
            let stopped = grant.map_or(stopped, |past| stopped.min(past.until()));
            let stopped = stopped.max(watching.since);
            self.end_past_viewing(start, watching, stopped);
        }
        for (grant, past) in reading.grants {
            let is_taken = reading.taken.contains(&grant);
            self.take_up(grant, past, is_taken, now);
        }
        for (grant, written) in reading.written {
            let Written {
                commune,
                parts,
                count,
            } = written;
            // Half a list is none: the rest is made from the viewings, where they are kept.
            if u32::try_from(parts.len()) == Ok(count) {
                let parts = parts.into_values().collect();
                let lists = &mut self.viewings.lists;
                lists.recover(grant, commune, parts, now);
            }
        }
        // Viewings of a grant that is not known any more are in no list.
        let grants = &self.grants;
        let lists = &mut self.viewings.lists;
        lists.retain(|grant| grants.contains_key(&grant));
    }

    fn read_entry(&mut self, reading: &mut Reading, seq: u64, time: Wall, entry: &Entry, now: Now) {
        self.losses.recover(entry);
        match entry {
            Entry::PeerContradiction {
                peer,
                found: Some(found),
                ..
            } => {
                if let Ok(commune) = CommuneId::new(peer.clone()) {
                    self.witnesses.recover_contradiction(&commune, found);
                }
            }
            Entry::Grant(entry) => {
                self.used.recover(entry.jti, &entry.request, time, now.wall);
                if let Some(head) = &entry.peer_head {
                    self.witnesses.recover(&entry.commune, head);
                }
                self.forwarded.granted(entry.jti);
                let before = reading.grants.get(&entry.grant);
                if before.is_some_and(|before| !is_same(&before.entry, entry)) {
                    // Older versions let a gateway record it.
                    tracing::warn!(grant = %entry.grant, "the journal has another grant under the id of one");
                    return;
                }
                // A renewal may be written behind the end of its grant: it revives nothing.
                let before = reading.grants.remove(&entry.grant);
                let past = Past::renewed(before, entry, time);
                reading.grants.insert(entry.grant, past);
            }
            Entry::Forwarded { jti, peer } => self.forwarded.recover(*jti, peer, time, now),
            Entry::Refused {
                jti,
                request,
                refusal,
                ..
            } => {
                self.used.recover(*jti, request, time, now.wall);
                self.forwarded.refused(*jti, refusal.reason);
            }
            Entry::Excess { operator, .. } => self.paces.recover(operator, time, now.wall),
            Entry::CredentialsChanged {
                grant, operator, ..
            } => {
                if let Some(past) = reading.grants.get_mut(grant) {
                    past.credentials += 1;
                    past.former.retain(|(of, _)| {
                        (&of.number, &of.unit) != (&operator.number, &operator.unit)
                    });
                }
            }
            Entry::ViewingsOwed {
                grant,
                commune,
                part,
                parts,
                viewings,
                received,
                counted_since,
            } => {
                let written = reading.written.entry(*grant).or_insert_with(|| Written {
                    commune: commune.clone(),
                    parts: BTreeMap::new(),
                    count: *parts,
                });
                let content = Part {
                    viewings: viewings.clone(),
                    received: received.clone(),
                    since: *counted_since,
                };
                written.parts.insert(*part, content);
            }
            Entry::ViewingsTaken { grant, .. } => {
                reading.written.remove(grant);
                reading.taken.insert(*grant);
            }
            Entry::PeerHead { peer, head } => {
                if let Ok(commune) = CommuneId::new(peer.clone()) {
                    self.witnesses.recover(&commune, head);
                }
            }
            Entry::Moved {
                grant, receiver, ..
            } => {
                if let Some(past) = reading.grants.get_mut(grant) {
                    past.moved = Some(*receiver);
                }
            }
            Entry::Resumed { grant } => {
                if let Some(past) = reading.grants.get_mut(grant) {
                    past.moved = None;
                }
            }
            Entry::Ended { grant, reason, .. } => {
                if let Some(past) = reading.grants.get_mut(grant) {
                    past.ended = Some((*reason, time));
                }
            }
            Entry::ViewingStarted {
                grant,
                camera,
                who,
                how,
                holders,
                ..
            } => {
                let watching = Watching {
                    grant: *grant,
                    camera: camera.clone(),
                    who: who.clone(),
                    how: how.clone(),
                    holders: holders.clone(),
                    since: time,
                };
                reading.watching.insert(seq, watching);
            }
            Entry::ViewingEnded { start, at, .. } => {
                if let Some(watching) = reading.watching.remove(start) {
                    self.keep_past_viewing(watching, at.clone());
                }
            }
            _ => {}
        }
    }

    fn keep_past_viewing(&mut self, watching: Watching, to: String) {
        self.viewings.lists.add(
            watching.grant,
            Viewing {
                camera: watching.camera,
                who: watching.who,
                kind: watching.how,
                from: watching.since.rfc3339(),
                to,
                holders: watching.holders,
                count: None,
                seconds: None,
            },
        );
    }

    /// The daemon went down under a viewer: it saw nothing after that.
    fn end_past_viewing(&mut self, start: u64, watching: Watching, stopped: Wall) {
        let at = stopped.rfc3339();
        self.owe_entry(
            Entry::ViewingEnded {
                start,
                grant: watching.grant,
                reason: Some(Reason::ShuttingDown),
                at: at.clone(),
                taken_over_by: None,
            },
            None,
        );
        self.keep_past_viewing(watching, at);
    }

    /// A grant without an end waits for its gateway to send its proof again;
    /// what ended stays ended.
    fn take_up(&mut self, grant: GrantId, past: Past, is_taken: bool, now: Now) {
        let length = past.length();
        let until = past.recorded.plus(length);
        let left = self.clock.left(until, now).min(length);
        let deadline = now.boot.plus(left);
        let verified = self
            .verify_any(&past.entry.request, now)
            .and_then(|request| self.check_names(&request).map(|()| request));
        let mut view = past_view(grant, &past, until, deadline);
        if let Ok(request) = &verified {
            view.authority = request.designation().authority;
        }
        let end = match (&past.ended, &verified) {
            (Some((reason, _)), _) => Some(Refusal::from(*reason)),
            (None, _) if left.is_zero() => Some(expiry::of_entry(&past.entry, None)),
            (None, Err(refusal)) => Some(refusal.clone()),
            (None, Ok(_)) => self.loss(&past.entry.commune),
        };
        match (end, verified) {
            (None, Ok(request)) => {
                view.until = until.min(request.designation().not_after);
                view.present.clone_from(&request.claims().present);
                let held = Held {
                    view: Arc::new(view),
                    recorded: Some(request.hash()),
                    request,
                    first_start: past.entry.first_start,
                    former: Vec::new(),
                    permit: None,
                    head: None,
                };
                self.hold(grant, held);
                self.take_up_former(grant, past.former, now);
            }
            (end, _) => {
                let refusal = end.unwrap_or_else(|| Reason::GrantExpired.into());
                self.end_past(view, &past, refusal, is_taken, now);
            }
        }
        self.version += 1;
    }

    /// Those who held a grant's URL before; one who was revoked while the daemon was down holds
    /// it no longer.
    fn take_up_former(&mut self, grant: GrantId, former: Vec<(Operator, String)>, now: Now) {
        for (operator, text) in former {
            match self.verify_any(&text, now) {
                Ok(request) => {
                    if let Some(held) = self.grants.get_mut(&grant) {
                        held.former.push(request);
                    }
                }
                Err(refusal) if refusal.reason == Reason::DesignationExpired => {}
                Err(refusal) => self.change_credentials(grant, &operator, refusal.reason),
            }
        }
    }

    fn end_past(&mut self, view: Grant, past: &Past, refusal: Refusal, is_taken: bool, now: Now) {
        if past.ended.is_none() {
            // While the daemon was down nobody watched: it ended at its time.
            self.owe_entry(
                Entry::Ended {
                    grant: view.id,
                    reason: refusal.reason,
                    at: view.until.min(now.wall).rfc3339(),
                    by: None,
                },
                Some(view.commune.clone()),
            );
        }
        if is_taken {
            self.viewings.lists.forget(view.id);
        } else {
            // Nobody counted on while the daemon was down.
            let figures = Some(Figures::default());
            self.close_viewings(view.id, &view.commune, figures, now);
        }
        // Long over and told: nobody asks any more, and no proof of it lives.
        let over = now.wall.since(view.until) > super::ENDED_KEPT;
        if !over {
            self.keep_ended(view, refusal, None, now);
        }
    }
}

/// Whether one entry's grant may be the other's: of the same commune, unit and incident.
fn is_same(one: &GrantEntry, other: &GrantEntry) -> bool {
    one.commune == other.commune
        && one.operator.unit == other.operator.unit
        && one.incident == other.incident
}

fn past_view(grant: GrantId, past: &Past, until: Wall, deadline: Boot) -> Grant {
    let entry = &past.entry;
    let cameras = entry.granted.iter().map(|camera| GrantCamera {
        camera: camera.clone(),
        state: RelayState::Retrying,
        refusal: Some(Reason::LinkLost.into()),
        profile: Profile::default(),
        profile_cause: None,
        relay: None,
        asked: deadline,
        pictured: true,
    });
    Grant {
        id: grant,
        commune: entry.commune.clone(),
        incident: entry.incident.clone(),
        grounds: entry.grounds.clone(),
        agreement: None,
        operator: entry.operator.clone(),
        // Of a request that is verified no more, nothing is taken over.
        present: Vec::new(),
        start: Wall::from_seconds(entry.first_start),
        authority: Sha256::ZERO,
        credentials: past.credentials,
        expires: Wall::from_seconds(entry.expires),
        until,
        deadline,
        cameras: cameras.collect(),
        refused: entry.refused.clone(),
        proof: entry.proof.as_deref().unwrap_or_default().into(),
        receiver: past.moved,
        elsewhere: past.moved.is_some(),
        password: None,
        end: None,
    }
}
