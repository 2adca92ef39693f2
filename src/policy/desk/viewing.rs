//! Who watches. Nobody gets a picture before the journal holds the line that says so, and none
//! while it can't be written; those who watch already, and relays that run, go on.
//!
//! A viewer who leaves and comes back to the same picture within [`REOPENED`] watched without a
//! pause, as far as anybody could tell: one viewing. So neither a wall that reconnects nor a
//! player that is started again and again fills the journal. New viewings of one operator have a
//! pace ([`crate::policy::peer::pace`]).
//!
//! After a handover the RTSP URL is the same, so nobody can tell who sits at a player. The
//! journal says what is known: the pictures go on under the new operator's request, as a viewing of his
//! own that names those who were given the URL before (`holders`).

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use super::list::Lists;
use super::{Command, Desk, Pending};
use crate::clock::{Boot, Now, Wall};
use crate::format::ids::{CameraId, CommuneId, GrantId};
use crate::format::statement::Viewing;
use crate::journal::Receipt;
use crate::journal::entry::Entry;
use crate::reason::{Reason, Refusal};

/// A viewer who comes back within this time never left.
pub const REOPENED: Duration = Duration::from_secs(2);

/// How a viewing of a VMS account is called in the journals.
pub const VMS: &str = "vms";

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
    /// `rtsp`, `rtsp_udp`, `live`, `vms`.
    pub how: String,
    /// From where.
    pub from: String,
}

impl Viewer {
    /// Whether it is a player with the grant's URL, and not a socket with an operator's token.
    fn is_player(&self) -> bool {
        self.how.starts_with("rtsp")
    }

    /// Whether it is a VMS account's.
    fn is_vms(&self) -> bool {
        self.how == VMS
    }

    fn same(&self) -> Same {
        // The port changes with each connection.
        let address = self.from.parse::<SocketAddr>();
        let host = address.map_or_else(|_| self.from.clone(), |address| address.ip().to_string());
        let (who, how) = (self.who.clone(), self.how.clone());
        Same(self.grant, self.camera.clone(), who, how, host)
    }
}

/// What two viewings have in common of which the second continues the first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Same(GrantId, CameraId, String, String, String);

#[derive(Debug)]
struct Open {
    /// Of several in a row, the newest.
    viewer: Viewer,
    holders: Vec<String>,
    since: Wall,
    /// The journal's line, once it is durable.
    start: Option<u64>,
    /// Pictures went out.
    is_admitted: bool,
    left: Option<Left>,
}

/// How a viewer went.
#[derive(Clone, Debug)]
struct Left {
    reason: Option<Reason>,
    at: Wall,
    taken_over_by: Option<String>,
    /// Until when it may come back.
    until: Option<Boot>,
}

/// All viewings that matter yet.
#[derive(Debug, Default)]
pub(super) struct Viewings {
    /// By a number of our own, which stays while viewers come back.
    open: BTreeMap<u64, Open>,
    next: u64,
    /// That number by the viewer's.
    of_viewer: BTreeMap<u64, u64>,
    /// Those who left and may come back.
    away: BTreeMap<Same, Vec<u64>>,
    /// The same in the order in which they left.
    away_until: VecDeque<(Boot, u64)>,
    /// The finished ones, on their way to the communes.
    pub(super) lists: Lists,
}

impl Viewings {
    /// When something of them is due.
    pub(super) fn due(&self) -> Option<Boot> {
        let away = self.away_until.front().map(|(until, _)| *until);
        away.into_iter().chain(self.lists.due()).min()
    }

    /// Whether somebody still watches under a grant, or may be back in a moment.
    pub(super) fn is_watched(&self, grant: GrantId) -> bool {
        self.open.values().any(|open| open.viewer.grant == grant)
    }

    fn insert(&mut self, open: Open) -> u64 {
        self.next += 1;
        self.of_viewer.insert(open.viewer.number, self.next);
        self.open.insert(self.next, open);
        self.next
    }

    /// The viewing that this viewer comes back to.
    fn come_back(&mut self, viewer: &Viewer) -> Option<&mut Open> {
        let same = viewer.same();
        let away = self.away.get_mut(&same)?;
        let key = away.pop()?;
        if away.is_empty() {
            self.away.remove(&same);
        }
        let open = self.open.get_mut(&key)?;
        open.left = None;
        open.viewer = viewer.clone();
        self.of_viewer.insert(viewer.number, key);
        Some(open)
    }

    /// It may not come back any more.
    fn forget_away(&mut self, key: u64) {
        let Some(open) = self.open.get_mut(&key) else {
            return;
        };
        let waits = open.left.as_mut().and_then(|left| left.until.take());
        if waits.is_some() {
            let same = open.viewer.same();
            if let Some(away) = self.away.get_mut(&same) {
                away.retain(|other| *other != key);
                if away.is_empty() {
                    self.away.remove(&same);
                }
            }
        }
    }
}

impl Desk {
    /// A viewer is about to get its first picture: [`Command::AdmitViewer`] follows once the
    /// journal holds it, or [`Command::RefuseViewer`].
    pub fn handle_viewing_started(&mut self, viewer: Viewer, now: Now) {
        let number = viewer.number;
        let Some(held) = self.grants.get(&viewer.grant) else {
            let ended = self.ended.refusal(viewer.grant);
            let reason = ended.map_or(Reason::GrantUnknown, |refusal| refusal.reason);
            return self.refuse_viewer(number, reason);
        };
        if held.view.elsewhere {
            return self.refuse_viewer(number, Reason::OtherReceiver);
        }
        // A picture may come after a handover: sockets are the operator's own, and a player's
        // URL plays under the request that carries the grant now.
        let signer = &held.request.designation().operator.number;
        let (who, holders) = (held.request.designation().clone(), held.holders());
        let is_vms = viewer.is_vms();
        let viewer = if is_vms && self.lets_vms_view(&viewer, &held.view) {
            viewer
        } else if viewer.is_player() {
            Viewer {
                who: signer.clone(),
                ..viewer
            }
        } else if !is_vms && &viewer.who == signer {
            viewer
        } else {
            return self.refuse_viewer(number, Reason::GrantUnknown);
        };
        if let Some(open) = self.viewings.come_back(&viewer) {
            // No line is needed: he who watches goes on, also while none can be written.
            if open.start.is_some() {
                open.is_admitted = true;
                self.commands.push_back(Command::AdmitViewer { number });
            }
            return;
        }
        if let Some(refusal) = self.journal_trouble() {
            return self.refuse_viewer(number, refusal.reason);
        }
        let allowed = if is_vms {
            self.pace_vms(&viewer.who, now)
        } else {
            self.paces.viewing(&who.operator, who.authority, now)
        };
        if let Err(refusal) = allowed {
            tracing::debug!(%refusal, "a viewer is refused");
            return self.refuse_viewer(number, refusal.reason);
        }
        let holders = if viewer.is_player() {
            holders
        } else {
            Vec::new()
        };
        self.begin_viewing(viewer, holders, false, now);
    }

    fn begin_viewing(&mut self, viewer: Viewer, holders: Vec<String>, is_admitted: bool, now: Now) {
        let entry = Box::new(Entry::ViewingStarted {
            grant: viewer.grant,
            commune: viewer.commune.clone(),
            camera: viewer.camera.clone(),
            who: viewer.who.clone(),
            how: viewer.how.clone(),
            from: viewer.from.clone(),
            holders: holders.clone(),
        });
        let key = self.viewings.insert(Open {
            viewer,
            holders,
            since: now.wall,
            start: None,
            is_admitted,
            left: None,
        });
        self.record(entry.clone(), Pending::Viewing(key, entry));
    }

    fn refuse_viewer(&mut self, number: u64, reason: Reason) {
        self.commands
            .push_back(Command::RefuseViewer { number, reason });
    }

    /// Whether a viewing goes on, or is about to begin.
    pub fn is_watched(&self) -> bool {
        !self.viewings.open.is_empty()
    }

    /// A viewer went: why it was ended, or `None` where it left by itself.
    pub fn handle_viewing_ended(&mut self, number: u64, reason: Option<Reason>, now: Now) {
        let Some(key) = self.viewings.of_viewer.remove(&number) else {
            return;
        };
        let may_come_back = matches!(reason, None | Some(Reason::StreamChanged))
            && !self.stopping
            && self
                .viewings
                .open
                .get(&key)
                .is_some_and(|open| self.grants.contains_key(&open.viewer.grant));
        let until = may_come_back.then(|| now.boot.plus(REOPENED));
        let Some(open) = self.viewings.open.get_mut(&key) else {
            return;
        };
        open.left = Some(Left {
            reason,
            at: now.wall,
            taken_over_by: None,
            until,
        });
        match until {
            Some(until) => {
                let same = open.viewer.same();
                self.viewings.away.entry(same).or_default().push(key);
                self.viewings.away_until.push_back((until, key));
            }
            None => self.finish_viewing(key, now),
        }
    }

    /// Viewers who did not come back are gone; `all`: the daemon stops.
    pub(super) fn end_away(&mut self, all: bool, now: Now) {
        while let Some((until, key)) = self.viewings.away_until.front().copied()
            && (all || until <= now.boot)
        {
            self.viewings.away_until.pop_front();
            let open = self.viewings.open.get(&key);
            let left = open.and_then(|open| open.left.as_ref());
            // Else it came back meanwhile, and may have left again.
            if left.is_some_and(|left| left.until == Some(until)) {
                self.viewings.forget_away(key);
                self.finish_viewing(key, now);
            }
        }
    }

    /// The grant ended: nobody comes back to it.
    pub(super) fn end_away_of(&mut self, grant: GrantId, now: Now) {
        let open = self.viewings.open.iter();
        let away = open.filter(|(_, open)| open.viewer.grant == grant && open.left.is_some());
        let keys: Vec<u64> = away.map(|(key, _)| *key).collect();
        for key in keys {
            self.viewings.forget_away(key);
            self.finish_viewing(key, now);
        }
    }

    /// The journal's answer to the start of a viewing.
    pub(super) fn viewing_recorded(
        &mut self,
        key: u64,
        entry: Box<Entry>,
        result: Result<Receipt, String>,
        now: Now,
    ) {
        let Some(open) = self.viewings.open.get_mut(&key) else {
            return;
        };
        match result {
            Ok(receipt) => {
                open.start = Some(receipt.seq());
                if !open.is_admitted {
                    // Its first picture comes after the line: the list for the commune has the line's time.
                    open.since = open.since.max(receipt.time());
                }
                if open.left.is_none() {
                    open.is_admitted = true;
                    let number = open.viewer.number;
                    self.commands.push_back(Command::AdmitViewer { number });
                }
            }
            Err(cause) => {
                tracing::error!(%cause, "a viewing could not be recorded");
                if !open.is_admitted {
                    // Nobody saw anything, and nobody does.
                    let (number, has_left) = (open.viewer.number, open.left.is_some());
                    self.viewings.forget_away(key);
                    self.viewings.open.remove(&key);
                    // After a handover the number is that of the line in the new holder's name.
                    if self.viewings.of_viewer.get(&number) == Some(&key) {
                        self.viewings.of_viewer.remove(&number);
                    }
                    if !has_left {
                        self.refuse_viewer(number, Reason::JournalUnavailable);
                    }
                    return;
                }
                // No line can be named; the owed entry tells of the start.
                open.start = Some(0);
                self.ledger.owe(entry, None, now);
            }
        }
        self.finish_viewing(key, now);
    }

    /// Journals the end of a viewing whose start is durable and whose viewer is gone for good.
    fn finish_viewing(&mut self, key: u64, now: Now) {
        let is_over = |open: &Open| {
            let gone = open.left.as_ref().is_some_and(|left| left.until.is_none());
            open.start.is_some() && gone
        };
        let over = self.viewings.open.get(&key).is_some_and(is_over);
        let Some(open) = over.then(|| self.viewings.open.remove(&key)).flatten() else {
            return;
        };
        let (Some(start), Some(left)) = (open.start, open.left) else {
            return;
        };
        let viewer = open.viewer;
        let viewing = Viewing {
            camera: viewer.camera,
            who: viewer.who,
            kind: viewer.how,
            from: open.since.min(left.at).rfc3339(),
            to: left.at.rfc3339(),
            holders: open.holders,
            count: None,
            seconds: None,
        };
        // A list that was closed without waiting for it has it as it was then.
        let grant = viewer.grant;
        if self.grants.contains_key(&grant) || self.viewings.lists.is_open(grant) {
            self.viewings.lists.add(viewer.grant, viewing);
        }
        self.owe_entry(
            Entry::ViewingEnded {
                start,
                grant: viewer.grant,
                reason: left.reason,
                at: left.at.rfc3339(),
                taken_over_by: left.taken_over_by,
            },
            None,
        );
        self.send_viewings(now);
    }

    /// Another operator carries a grant on. Players have its URL and go on: from now on as his.
    /// Sockets were opened with the former operator's token, and end.
    pub(super) fn take_over_viewings(&mut self, grant: GrantId, by: &str, now: Now) {
        let Some(held) = self.grants.get(&grant) else {
            return;
        };
        let holders = held.holders();
        self.commands.push_back(Command::EndViewers {
            grant,
            players: false,
            reason: Reason::GrantUnknown,
        });
        let open = self.viewings.open.iter();
        let players = open.filter(|(_, open)| {
            let viewer = &open.viewer;
            viewer.grant == grant && viewer.is_player() && open.left.is_none()
        });
        let keys: Vec<u64> = players.map(|(key, _)| *key).collect();
        for key in keys {
            let Some(open) = self.viewings.open.get_mut(&key) else {
                continue;
            };
            open.left = Some(Left {
                reason: None,
                at: now.wall,
                taken_over_by: Some(by.to_owned()),
                until: None,
            });
            let viewer = Viewer {
                who: by.to_owned(),
                ..open.viewer.clone()
            };
            let is_admitted = open.is_admitted;
            self.finish_viewing(key, now);
            self.begin_viewing(viewer, holders.clone(), is_admitted, now);
        }
    }

    /// Viewings that have not ended, as they are now: for a list that can't wait for them.
    pub(super) fn open_viewings(&self, grant: GrantId, now: Now) -> Vec<Viewing> {
        let open = self.viewings.open.values();
        let of_grant = open.filter(|open| open.viewer.grant == grant);
        let viewings = of_grant.map(|open| Viewing {
            camera: open.viewer.camera.clone(),
            who: open.viewer.who.clone(),
            kind: open.viewer.how.clone(),
            from: open.since.min(now.wall).rfc3339(),
            to: now.wall.rfc3339(),
            holders: open.holders.clone(),
            count: None,
            seconds: None,
        });
        viewings.collect()
    }

    /// Why no viewer is let in now, for those who ask before they wait for a picture.
    pub fn viewers_refused(&self) -> Option<Refusal> {
        self.journal_trouble()
    }
}
