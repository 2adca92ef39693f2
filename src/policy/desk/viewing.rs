//! Who watched: every viewing is journalled, and the gateway gets the signed
//! list at the grant's end.

use std::collections::BTreeMap;
use std::time::Duration;

use super::commune::UNSENT_LIMIT;
use super::{Desk, Pending};
use crate::clock::{Boot, Now, Wall};
use crate::format::control::ToGateway;
use crate::format::ids::{CameraId, CommuneId, GrantId};
use crate::format::statement::{VIEWINGS_TYPE, Viewing, ViewingsClaims};
use crate::journal::Receipt;
use crate::journal::entry::Entry;
use crate::reason::Reason;

/// Viewings in one statement: some 200 bytes each, of the 16 KiB it may have.
const PER_STATEMENT: usize = 40;
/// Finished viewings remembered for a grant's list; older ones stand in the journal.
const PER_GRANT: usize = 1_000;
/// How long a grant's list waits for viewers that are being ended.
const CLOSING: Duration = Duration::from_secs(2);

/// Somebody watches a camera.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Viewer {
    /// Unique in this process.
    pub number: u64,
    /// Under which grant.
    pub grant: GrantId,
    /// The commune.
    pub commune: CommuneId,
    /// The camera.
    pub camera: CameraId,
    /// The operator's number, or `vms:NAME`.
    pub who: String,
    /// `rtsp`, `live`.
    pub how: String,
    /// From where.
    pub from: String,
}

#[derive(Debug)]
struct Open {
    viewer: Viewer,
    since: Wall,
    /// The journal's line, once it is durable.
    start: Option<u64>,
    /// Ended before its start was durable.
    ended: Option<(Option<Reason>, Wall)>,
}

/// All viewings that matter yet.
#[derive(Debug, Default)]
pub(super) struct Viewings {
    open: BTreeMap<u64, Open>,
    done: BTreeMap<GrantId, Vec<Viewing>>,
    /// Ended grants whose list is not sent yet.
    closing: BTreeMap<GrantId, (CommuneId, Boot)>,
}

impl Viewings {
    pub(super) fn due(&self) -> Option<Boot> {
        self.closing.values().map(|(_, at)| *at).min()
    }

    /// A finished viewing of before the restart.
    pub(super) fn recover(&mut self, grant: GrantId, viewing: Viewing) {
        let done = self.done.entry(grant).or_default();
        if done.len() < PER_GRANT {
            done.push(viewing);
        }
    }

    pub(super) fn forget(&mut self, grant: GrantId) {
        self.done.remove(&grant);
    }
}

impl Desk {
    /// A viewer begins to get pictures.
    pub fn handle_viewing_started(&mut self, viewer: Viewer, now: Now) {
        let entry = Box::new(Entry::ViewingStarted {
            grant: viewer.grant,
            commune: viewer.commune.clone(),
            camera: viewer.camera.clone(),
            who: viewer.who.clone(),
            how: viewer.how.clone(),
            from: viewer.from.clone(),
        });
        let number = viewer.number;
        let open = Open {
            viewer,
            since: now.wall,
            start: None,
            ended: None,
        };
        self.viewings.open.insert(number, open);
        self.record(entry.clone(), Pending::Viewing(number, entry));
    }

    /// A viewer went: why it was ended, or `None` where it left by itself.
    pub fn handle_viewing_ended(&mut self, number: u64, reason: Option<Reason>, now: Now) {
        let Some(open) = self.viewings.open.get_mut(&number) else {
            return;
        };
        open.ended.get_or_insert((reason, now.wall));
        self.finish_viewing(number, now);
    }

    pub(super) fn viewing_recorded(
        &mut self,
        number: u64,
        entry: Box<Entry>,
        result: Result<Receipt, String>,
        now: Now,
    ) {
        match result {
            Ok(receipt) => {
                if let Some(open) = self.viewings.open.get_mut(&number) {
                    open.start = Some(receipt.seq());
                }
                self.finish_viewing(number, now);
            }
            Err(cause) => {
                tracing::error!(%cause, "a viewing could not be recorded");
                if let Some(open) = self.viewings.open.get_mut(&number) {
                    // No line can be named; the owed entry tells of the start.
                    open.start = Some(0);
                }
                self.ledger.owe(entry, None, now);
                self.finish_viewing(number, now);
            }
        }
    }

    /// Journals the end of a viewing whose start is durable.
    fn finish_viewing(&mut self, number: u64, now: Now) {
        let ready = self
            .viewings
            .open
            .get(&number)
            .is_some_and(|open| open.start.is_some() && open.ended.is_some());
        let Some(open) = ready.then(|| self.viewings.open.remove(&number)).flatten() else {
            return;
        };
        let (Some(start), Some((reason, at))) = (open.start, open.ended) else {
            return;
        };
        let viewer = open.viewer;
        self.viewings.recover(
            viewer.grant,
            Viewing {
                camera: viewer.camera,
                who: viewer.who,
                kind: viewer.how,
                from: open.since.rfc3339(),
                to: at.rfc3339(),
            },
        );
        self.owe_entry(
            Entry::ViewingEnded {
                start,
                grant: viewer.grant,
                reason,
                at: at.rfc3339(),
            },
            None,
        );
        self.send_viewings(now);
    }

    /// A grant ended: its list follows once its viewers are gone.
    pub(super) fn close_viewings(&mut self, grant: GrantId, commune: &CommuneId, now: Now) {
        let due = now.boot.plus(CLOSING);
        self.viewings.closing.insert(grant, (commune.clone(), due));
    }

    /// Sends the lists of ended grants without viewers, or whose wait is over.
    pub(super) fn send_viewings(&mut self, now: Now) {
        let open: std::collections::BTreeSet<GrantId> = self
            .viewings
            .open
            .values()
            .map(|open| open.viewer.grant)
            .collect();
        let ready: Vec<(GrantId, CommuneId)> = self
            .viewings
            .closing
            .iter()
            .filter(|(grant, (_, at))| *at <= now.boot || !open.contains(grant))
            .map(|(grant, (commune, _))| (*grant, commune.clone()))
            .collect();
        for (grant, commune) in ready {
            self.viewings.closing.remove(&grant);
            let mut list = self.viewings.done.remove(&grant).unwrap_or_default();
            let still = self.viewings.open.values();
            for open in still.filter(|open| open.viewer.grant == grant) {
                list.push(Viewing {
                    camera: open.viewer.camera.clone(),
                    who: open.viewer.who.clone(),
                    kind: open.viewer.how.clone(),
                    from: open.since.rfc3339(),
                    to: now.wall.rfc3339(),
                });
            }
            self.send_list(grant, &commune, list, now);
        }
    }

    /// An empty list says that nobody watched.
    fn send_list(&mut self, grant: GrantId, commune: &CommuneId, list: Vec<Viewing>, now: Now) {
        let Some(rules) = self.rules.communes.get(commune) else {
            return;
        };
        let signer = std::sync::Arc::clone(&rules.signer);
        let count = list.len().div_ceil(PER_STATEMENT).max(1);
        let mut list = list.into_iter();
        for _ in 0..count {
            let claims = ViewingsClaims {
                iss: self.rules.centre.clone(),
                aud: commune.clone(),
                grant,
                iat: now.wall.seconds(),
                viewings: list.by_ref().take(PER_STATEMENT).collect(),
            };
            let statement = signer.sign(VIEWINGS_TYPE, &claims);
            if self.session(commune).is_some() {
                self.send(commune, ToGateway::Viewings { statement });
            } else if let Some(peer) = self.communes.get_mut(commune)
                && peer.unsent.len() < UNSENT_LIMIT
            {
                peer.unsent.push(statement);
            }
        }
    }
}
