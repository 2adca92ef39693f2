//! What the journal held at start: the desk goes on from it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::grant::Held;
use super::{Desk, Grant, GrantCamera};
use crate::clock::{Boot, Now, Wall};
use crate::format::control::RelayState;
use crate::format::ids::{CameraId, CommuneId, GrantId};
use crate::format::statement::Viewing;
use crate::journal::entry::{Entry, GrantEntry};
use crate::media::relay::Profile;
use crate::policy::peer::expiry;
use crate::reason::{Reason, Refusal};

/// A grant as the entries tell it so far.
struct Past {
    entry: GrantEntry,
    recorded: Wall,
    ended: Option<(Reason, Wall)>,
}

/// A viewing as the entries tell it so far.
struct Watching {
    grant: GrantId,
    camera: CameraId,
    who: String,
    how: String,
    since: Wall,
}

/// What is gathered while reading.
#[derive(Default)]
struct Reading {
    grants: BTreeMap<GrantId, Past>,
    watching: BTreeMap<u64, Watching>,
}

impl Desk {
    /// Takes up the journal's entries, oldest first, before any other input.
    /// `newest` is the newest time in the journal, entries left out included.
    pub fn handle_recovered(
        &mut self,
        entries: &[(u64, Wall, Entry)],
        newest: Option<Wall>,
        now: Now,
    ) {
        self.clock.recover(entries, newest);
        let mut reading = Reading::default();
        for (seq, time, entry) in entries {
            self.read_entry(&mut reading, *seq, *time, entry, now);
        }
        let stopped = self.clock.newest().unwrap_or(now.wall);
        for (start, watching) in std::mem::take(&mut reading.watching) {
            self.end_past_viewing(start, watching, stopped);
        }
        for (grant, past) in reading.grants {
            self.take_up(grant, past, now);
        }
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
                // A renewal may be written behind the end of its grant: it revives nothing.
                let before = reading.grants.remove(&entry.grant);
                let past = Past {
                    entry: (**entry).clone(),
                    recorded: time,
                    ended: before.and_then(|before| before.ended),
                };
                reading.grants.insert(entry.grant, past);
            }
            Entry::Refused { jti, request, .. } => self.used.recover(*jti, request, time, now.wall),
            Entry::PeerHead { peer, head } => {
                if let Ok(commune) = CommuneId::new(peer.clone()) {
                    self.witnesses.recover(&commune, head);
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
                ..
            } => {
                let watching = Watching {
                    grant: *grant,
                    camera: camera.clone(),
                    who: who.clone(),
                    how: how.clone(),
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
        self.viewings.recover(
            watching.grant,
            Viewing {
                camera: watching.camera,
                who: watching.who,
                kind: watching.how,
                from: watching.since.rfc3339(),
                to,
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
            },
            None,
        );
        self.keep_past_viewing(watching, at);
    }

    /// A grant without an end waits for its gateway to send its proof again;
    /// what ended stays ended.
    fn take_up(&mut self, grant: GrantId, past: Past, now: Now) {
        let seconds = past.entry.expires.saturating_sub(past.entry.start);
        let length = std::time::Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        let until = past.recorded.plus(length);
        let left = self.clock.left(until, now).min(length);
        let deadline = now.boot.plus(left);
        let verified = self
            .verify_any(&past.entry.request, now)
            .and_then(|request| self.check_names(&request).map(|()| request));
        let mut view = past_view(grant, &past, until, deadline);
        let end = match (&past.ended, &verified) {
            (Some((reason, _)), _) => Some(Refusal::from(*reason)),
            (None, _) if left.is_zero() => Some(expiry::of_entry(&past.entry, None)),
            (None, Err(refusal)) => Some(refusal.clone()),
            (None, Ok(_)) => self.loss(&past.entry.commune),
        };
        match (end, verified) {
            (None, Ok(request)) => {
                view.until = until.min(request.designation().not_after);
                let held = Held {
                    view: Arc::new(view),
                    request,
                    first_start: past.entry.first_start,
                    permit: None,
                    head: None,
                };
                self.grants.insert(grant, held);
            }
            (end, _) => {
                let refusal = end.unwrap_or_else(|| Reason::GrantExpired.into());
                self.end_past(view, &past, refusal, now);
            }
        }
        self.version += 1;
    }

    fn end_past(&mut self, view: Grant, past: &Past, refusal: Refusal, now: Now) {
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
            self.close_viewings(view.id, &view.commune, now);
        } else {
            self.viewings.forget(view.id);
        }
        // Long over and told: nobody asks any more, and no proof of it lives.
        let over = now.wall.since(view.until) > super::ENDED_KEPT;
        if !over {
            self.keep_ended(view, refusal, now);
        }
    }
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
        operator: entry.operator.clone(),
        expires: Wall::from_seconds(entry.expires),
        until,
        deadline,
        cameras: cameras.collect(),
        refused: entry.refused.clone(),
        proof: entry.proof.as_deref().unwrap_or_default().into(),
        end: None,
    }
}
