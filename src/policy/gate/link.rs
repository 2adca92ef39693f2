//! Links of the centres: what is told when one comes up, and what is counted.

use super::{Command, Gate};
use crate::clock::{Boot, Now};
use crate::config::settings::{Agreement, Approval};
use crate::format::control::{
    AgreementInfo, CAMERA_PAGE, CameraInfo, GatewayHello, GroundInfo, HoursInfo, ReceiverHello,
    ToReceiver, VERSION,
};
use crate::format::ids::{CentreId, GrantId};
use crate::format::text;
use crate::policy::peer::rates::{PerSecond, STATEMENTS_PER_SECOND, Unverified};
use crate::reason::Refusal;

/// A link that is up.
#[derive(Debug)]
pub(super) struct Up {
    pub(super) session: u64,
    /// Whether the lines the centre lacks were sent on this link.
    pub(super) lines_sent: bool,
    /// Whether the centre has said who it is on this link.
    introduced: bool,
}

/// What is known of a centre, over all its links.
#[derive(Debug, Default)]
pub(super) struct Peer {
    /// Requests that may not verify.
    pub(super) looked: PerSecond,
    statements: PerSecond,
    pub(super) unverified: Unverified,
    /// When heads are to be sent.
    pub(super) heads_due: Option<Boot>,
    pub(super) held: super::heads::Held,
}

impl Peer {
    /// Whether one more statement of the centre's is looked at in this second.
    pub(super) fn may_read_statement(&mut self, now: Now) -> bool {
        self.statements.take(STATEMENTS_PER_SECOND, now)
    }

    /// Sends heads no later than `at`.
    pub(super) fn want_heads(&mut self, at: Boot) {
        self.heads_due = Some(self.heads_due.map_or(at, |due| due.min(at)));
    }

    pub(super) fn due(&self) -> Option<Boot> {
        let due = [self.unverified.due(), self.heads_due, self.held.due()];
        due.into_iter().flatten().min()
    }
}

impl Gate {
    /// A link is up. `head` is the own journal's newest head, if it has one.
    pub fn handle_link_up(
        &mut self,
        centre: &CentreId,
        session: u64,
        head: Option<&str>,
        now: Now,
    ) {
        if !self.rules.centres.contains_key(centre) {
            return;
        }
        let up = Up {
            session,
            lines_sent: false,
            introduced: false,
        };
        self.links.insert(centre.clone(), up);
        for live in self.grants.values_mut() {
            if let (true, Some(wait)) = (&live.terms.centre == centre, &mut live.confirmation) {
                wait.link_up(now);
            }
        }
        let head = head.map(|head| self.head_for(centre, head));
        let hello = self.hello(centre, head, now);
        self.send(centre, ToReceiver::Hello(hello));
        self.send_cameras(centre);
        self.resume_all(centre, now);
        self.tell_waits(centre, now);
        let peer = self.peers.entry(centre.clone()).or_default();
        peer.want_heads(now.boot);
        self.flush_peers(now);
    }

    /// A link is down. An older link's end says nothing of the newest.
    pub fn handle_link_down(&mut self, centre: &CentreId, session: u64, now: Now) {
        if self
            .links
            .get(centre)
            .is_none_or(|up| up.session != session)
        {
            return;
        }
        self.links.remove(centre);
        for live in self.grants.values_mut() {
            if let (true, Some(wait)) = (&live.terms.centre == centre, &mut live.confirmation) {
                wait.link_down(now);
            }
        }
        if let Some(peer) = self.peers.get_mut(centre) {
            peer.heads_due = None;
        }
    }

    /// What a centre that was away must know of its grants.
    fn resume_all(&mut self, centre: &CentreId, now: Now) {
        let live: Vec<GrantId> = self
            .grants
            .iter()
            .filter(|(_, live)| &live.terms.centre == centre)
            .map(|(id, _)| *id)
            .collect();
        for grant in live {
            self.send_resume(grant);
        }
        let states: Vec<ToReceiver> = self
            .relays
            .iter()
            .filter(|((of, _), _)| of == centre)
            .map(|((_, camera), relay)| relay.message(camera))
            .collect();
        let ends: Vec<ToReceiver> = self
            .ended
            .iter()
            .filter(|(_, ended)| &ended.centre == centre && ended.expires > now.wall)
            .map(|(grant, ended)| ToReceiver::Ended {
                grant: *grant,
                refusal: ended.refusal.clone(),
                head: None,
            })
            .collect();
        for message in states.into_iter().chain(ends) {
            self.send(centre, message);
        }
    }

    /// The first hello of a link; more of them say nothing.
    pub(super) fn handle_hello(&mut self, centre: &CentreId, hello: &ReceiverHello, now: Now) {
        let Some(up) = self.links.get_mut(centre).filter(|up| !up.introduced) else {
            return;
        };
        up.introduced = true;
        let name = text::shown(&hello.name, text::TEXT_LIMIT);
        let version = text::shown(&hello.version, 32);
        tracing::info!(%centre, name, version, "the centre introduced itself");
        if let Some(head) = &hello.head
            && let Err(refusal) = self.take_head(centre, head, now)
        {
            tracing::warn!(%centre, %refusal, "the centre's head is not valid");
        }
    }

    fn hello(&self, centre: &CentreId, head: Option<String>, now: Now) -> GatewayHello {
        let settings = &self.rules.settings;
        let agreements = settings.agreements.iter();
        GatewayHello {
            minor: VERSION.1,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            wall: now.wall.0,
            name: settings.name.clone(),
            contact: settings.contact.clone(),
            agreements: agreements
                .filter(|agreement| &agreement.centre == centre)
                .map(|agreement| self.agreement_info(agreement))
                .collect(),
            head,
        }
    }

    fn agreement_info(&self, agreement: &Agreement) -> AgreementInfo {
        let grounds = agreement.grounds.iter();
        AgreementInfo {
            reference: agreement.reference.clone(),
            from: agreement.from.to_string(),
            until: agreement.until.to_string(),
            units: agreement.units.clone(),
            grounds: grounds
                .filter_map(|id| {
                    let ground = self.rules.settings.grounds.get(id)?;
                    Some(GroundInfo {
                        id: id.clone(),
                        fr: ground.fr.clone(),
                        en: ground.en.clone(),
                    })
                })
                .collect(),
            max_duration: agreement.max_duration.as_secs(),
            max_total: agreement.max_total.as_secs(),
            max_relays: agreement.max_relays,
            snapshots: agreement.snapshots,
            vms: agreement.vms,
            approval: agreement.approval == Approval::Commune,
            hours: agreement
                .hours
                .iter()
                .map(|window| HoursInfo {
                    days: window.days,
                    start: window.start,
                    end: window.end,
                })
                .collect(),
        }
    }

    /// The cameras that any agreement with the centre covers, in pages.
    pub(super) fn send_cameras(&mut self, centre: &CentreId) {
        let settings = self.rules.settings.clone();
        let agreements: Vec<&Agreement> = settings
            .agreements
            .iter()
            .filter(|agreement| &agreement.centre == centre)
            .collect();
        let cameras: Vec<CameraInfo> = settings
            .cameras
            .values()
            .filter(|camera| agreements.iter().any(|agreement| agreement.covers(camera)))
            .map(|camera| CameraInfo {
                id: camera.id.clone(),
                name: camera.name.clone(),
                groups: camera.groups.clone(),
                position: camera.position,
                bearing: camera.bearing,
                field_of_view: camera.field_of_view,
                neighbours: camera.neighbours.clone(),
                sub: camera
                    .streams
                    .as_ref()
                    .is_ok_and(|streams| streams.sub.is_some()),
                unusable: camera.unusable().map(Refusal::from),
            })
            .collect();
        let pages = cameras.len().div_ceil(CAMERA_PAGE).max(1);
        let count = u32::try_from(pages).unwrap_or(u32::MAX);
        for page in 0..pages {
            let from = page * CAMERA_PAGE;
            let to = (from + CAMERA_PAGE).min(cameras.len());
            let message = ToReceiver::Cameras {
                page: u32::try_from(page).unwrap_or(u32::MAX),
                pages: count,
                cameras: cameras[from..to].to_vec(),
            };
            self.send(centre, message);
        }
    }

    /// Writes what is due of counts and heads, and sends heads.
    pub(super) fn flush_peers(&mut self, now: Now) {
        let centres: Vec<CentreId> = self.peers.keys().cloned().collect();
        for centre in centres {
            let linked = self.links.contains_key(&centre);
            let Some(peer) = self.peers.get_mut(&centre) else {
                continue;
            };
            let entry = peer.unverified.line(centre.as_str(), now);
            if peer.heads_due.is_some_and(|at| at <= now.boot) {
                peer.heads_due = linked.then(|| now.boot.plus(super::heads::EXCHANGE_EVERY));
                let (after, acknowledged) = (peer.held.acknowledged(), peer.held.number());
                if linked {
                    self.commands.push_back(Command::SendHeads {
                        centre: centre.clone(),
                        after,
                        acknowledged,
                    });
                }
            }
            if let Some(entry) = entry {
                self.note(entry);
            }
            self.write_head(&centre, now);
        }
    }
}
