//! The communes: their links, what they announced, what they are told.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Command, Desk, Notice};
use crate::clock::{Now, Wall};
use crate::format::control::{
    AgreementInfo, CAMERA_PAGE, CameraInfo, GatewayHello, Heads, ReceiverHello, RelayState,
    ToGateway, VERSION,
};
use crate::format::ids::{CameraId, CommuneId, GrantId};
use crate::journal::entry::Entry;
use crate::media::relay::RelayId;
use crate::policy::agreement::{self, Closed};
use crate::policy::peer::witness::Due;
use crate::reason::{Reason, Refusal};

/// Most pages of a camera list.
const PAGES_LIMIT: u32 = 50;
/// Most relay states kept of one commune.
const RELAYS_LIMIT: usize = 4_096;

/// A commune as it is shown. What it announced outlives its connection.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Commune {
    /// Whether its gateway is linked.
    pub online: bool,
    /// Since when it is, or is not; `None`: never seen since the start.
    pub since: Option<Wall>,
    /// Its name for people.
    pub name: Option<String>,
    /// Whom to call.
    pub contact: Option<String>,
    /// What its agreements with this centre say; `None`: not told yet.
    pub agreements: Option<Arc<[AgreementInfo]>>,
    /// The cameras they cover, by id; `None`: not told yet.
    pub cameras: Option<Arc<[CameraInfo]>>,
    /// Since when a camera has been announced as one that can't be relayed, where that
    /// began with an event: when the centre first heard so.
    pub unusable_since: Arc<BTreeMap<CameraId, Wall>>,
}

/// Why a camera can't be asked for, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unusable {
    /// Why.
    pub refusal: Refusal,
    /// Since when, where that is known.
    pub since: Option<Wall>,
    /// When it will be over by itself, where that is known.
    pub until: Option<Wall>,
}

impl Commune {
    /// The agreement under which a unit asks: one that allows the grounds, else
    /// any of the unit's.
    pub fn agreement_for(&self, unit: &str, grounds: &str) -> Option<&AgreementInfo> {
        self.agreements_of(unit)
            .find(|one| one.grounds.iter().any(|ground| ground.id == grounds))
            .or_else(|| self.agreements_of(unit).next())
    }

    fn agreements_of<'a>(&'a self, unit: &str) -> impl Iterator<Item = &'a AgreementInfo> {
        let all = self.agreements.iter().flat_map(|all| all.iter());
        all.filter(move |one| {
            one.units.is_empty() || one.units.iter().any(|allowed| allowed == unit)
        })
    }

    /// The time in which none of the unit's agreements is in force, if that is now.
    pub fn closed_for(&self, unit: &str, now: Wall) -> Option<Closed> {
        agreement::all_closed(self.agreements_of(unit), now)
    }

    /// Why nobody can be given this camera's picture now, whatever the grounds: what
    /// its commune announced of it, else that no agreement is in force. Whether the
    /// commune is online is not in it: that ends without notice.
    pub fn unusable(&self, info: &CameraInfo, closed: Option<Closed>) -> Option<Unusable> {
        if let Some(refusal) = info.unusable.clone() {
            return Some(Unusable {
                refusal,
                since: self.unusable_since.get(&info.id).copied(),
                until: None,
            });
        }
        closed.map(|Closed { since, until }| Unusable {
            refusal: Reason::AgreementNotInForce.into(),
            since,
            until,
        })
    }

    /// Since when each camera of a new list can't be relayed. That a mask is not verified
    /// is no event: it has never been.
    fn first_heard(&self, list: &[CameraInfo], now: Wall) -> BTreeMap<CameraId, Wall> {
        let reason = |info: &CameraInfo| info.unusable.as_ref().map(|refusal| refusal.reason);
        let old = |id: &CameraId| {
            let old = self.cameras.as_ref()?;
            let at = old.binary_search_by(|info| info.id.cmp(id)).ok()?;
            reason(&old[at])
        };
        let began = |info: &CameraInfo| {
            let reason = reason(info).filter(|reason| *reason != Reason::MaskNotVerified)?;
            let known = self.unusable_since.get(&info.id).copied();
            let since = known.filter(|_| old(&info.id) == Some(reason));
            Some((info.id.clone(), since.unwrap_or(now)))
        };
        list.iter().filter_map(began).collect()
    }
}

/// What is known of a commune, over all its links.
#[derive(Debug, Default)]
pub(super) struct Peer {
    /// Shared with the API: a thousand of them are not copied when one changes.
    pub(super) view: Arc<Commune>,
    /// The link that is up.
    pub(super) session: Option<u64>,
    /// Pages of a camera list that is not whole yet.
    pages: Vec<CameraInfo>,
    next_page: u32,
    /// The newest state of each relay of this link.
    pub(super) relays: BTreeMap<RelayId, super::grant::News>,
    /// Minor version of the protocol, once the gateway of this link has said it.
    pub(super) minor: Option<u32>,
}

impl Peer {
    pub(super) fn is_up(&self) -> bool {
        self.session.is_some()
    }

    /// Remembers a relay's state, for grants that are still being recorded.
    pub(super) fn take_news(&mut self, news: super::grant::News) {
        if news.state == RelayState::Ended {
            self.relays.remove(&news.relay);
        } else if self.relays.len() < RELAYS_LIMIT || self.relays.contains_key(&news.relay) {
            self.relays.insert(news.relay, news);
        }
    }
}

impl Desk {
    /// The [`Desk::version`] since which [`Desk::communes`] shows the same.
    pub fn communes_version(&self) -> u64 {
        self.communes_version
    }

    pub(super) fn communes_changed(&mut self) {
        self.version += 1;
        self.communes_version = self.version;
    }

    /// A link is up. `head` is the own journal's newest head, if it has one.
    pub fn handle_link_up(
        &mut self,
        commune: &CommuneId,
        session: u64,
        head: Option<&str>,
        now: Now,
    ) {
        if !self.rules.communes.contains_key(commune) {
            return;
        }
        // Requests of an older link get no answer on the new one.
        self.lose_waiting(commune);
        self.lose_stills(commune);
        // They are sent again with the numbers of this link.
        self.unrecorded
            .retain(|recording| &recording.commune != commune);
        let head = head.map(|head| self.head_for(commune, head));
        let peer = self.communes.entry(commune.clone()).or_default();
        peer.session = Some(session);
        peer.minor = None;
        peer.relays.clear();
        peer.pages.clear();
        peer.next_page = 0;
        let view = Arc::make_mut(&mut peer.view);
        view.online = true;
        view.since = Some(now.wall);
        self.witnesses.link_up(commune, now);
        let hello = ReceiverHello {
            minor: VERSION.1,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            wall: now.wall.0,
            name: self.rules.name.clone(),
            head,
        };
        self.send(commune, ToGateway::Hello(hello));
        self.send_lists(commune);
        self.flush_peers(now);
        self.notify_commune(commune);
    }

    /// A link is down. An older link's end says nothing of the newest.
    pub fn handle_link_down(&mut self, commune: &CommuneId, session: u64, now: Now) {
        if self.session(commune) != Some(session) {
            return;
        }
        if let Some(peer) = self.communes.get_mut(commune) {
            peer.session = None;
            let view = Arc::make_mut(&mut peer.view);
            view.online = false;
            view.since = Some(now.wall);
        }
        self.witnesses.link_down(commune);
        self.lose_waiting(commune);
        self.lose_stills(commune);
        let touched: Vec<GrantId> = self
            .grants
            .values_mut()
            .filter(|held| &held.view.commune == commune)
            .map(|held| {
                let cameras = Arc::make_mut(&mut held.view).cameras.iter_mut();
                for camera in cameras.filter(|camera| camera.is_open()) {
                    camera.state = RelayState::Retrying;
                    camera.refusal = Some(Reason::LinkLost.into());
                }
                held.view.id
            })
            .collect();
        for grant in touched {
            self.notify_held(grant);
        }
        self.notify_commune(commune);
    }

    fn notify_commune(&mut self, commune: &CommuneId) {
        self.communes_changed();
        self.commands
            .push_back(Command::Notify(Notice::Commune(commune.clone())));
    }

    pub(super) fn handle_hello(&mut self, commune: &CommuneId, hello: GatewayHello, now: Now) {
        tracing::info!(%commune, name = %hello.name, version = %hello.version, "the commune introduced itself");
        if let Some(head) = &hello.head {
            self.handle_head(commune, head, now);
        }
        if let Some(peer) = self.communes.get_mut(commune) {
            peer.minor = Some(hello.minor);
            let view = Arc::make_mut(&mut peer.view);
            view.name = Some(bounded(hello.name));
            view.contact = hello.contact.map(bounded);
            view.agreements = Some(hello.agreements.into());
        }
        // Only now is it known how its gateway takes them.
        self.lists_link_up(commune, now);
        self.send_viewings(now);
        self.notify_commune(commune);
    }

    /// A page of the list; the last one makes the list count.
    pub(super) fn handle_cameras(
        &mut self,
        commune: &CommuneId,
        page: u32,
        pages: u32,
        cameras: Vec<CameraInfo>,
        now: Now,
    ) {
        let Some(peer) = self.communes.get_mut(commune) else {
            return;
        };
        if page == 0 {
            peer.pages.clear();
            peer.next_page = 0;
        }
        if page != peer.next_page || pages > PAGES_LIMIT || cameras.len() > CAMERA_PAGE {
            tracing::warn!(%commune, page, pages, "a page of the camera list does not fit");
            return;
        }
        peer.pages.extend(cameras);
        peer.next_page += 1;
        if peer.next_page < pages {
            return;
        }
        let mut list = std::mem::take(&mut peer.pages);
        list.sort_by(|one, other| one.id.cmp(&other.id));
        list.dedup_by(|one, other| one.id == other.id);
        let view = Arc::make_mut(&mut peer.view);
        view.unusable_since = Arc::new(view.first_heard(&list, now.wall));
        view.cameras = Some(list.into());
        self.notify_commune(commune);
    }

    /// Passes on the revocation lists of the designation authorities.
    pub(super) fn send_lists(&mut self, commune: &CommuneId) {
        let lists: Vec<String> = self
            .rules
            .authorities
            .iter()
            .flat_map(|authority| authority.lists().map(|list| list.pem.clone()))
            .collect();
        for list in lists {
            self.send(commune, ToGateway::Revocation { list });
        }
    }

    /// A commune's head, beside another message: the next one tells the same.
    pub(super) fn handle_head(&mut self, commune: &CommuneId, text: &str, now: Now) {
        if let (true, Some(identity)) = (
            self.witnesses.may_look(commune, now),
            self.rules.communes.get(commune),
        ) {
            let taken = self.witnesses.take(commune, identity, text, now);
            self.owe_evidence(taken.evidence);
        }
    }

    /// Heads and body-less lines from a commune.
    pub(super) fn handle_heads(&mut self, commune: &CommuneId, heads: &Heads, now: Now) {
        if let (true, Some(identity)) = (
            self.witnesses.may_look(commune, now),
            self.rules.communes.get(commune),
        ) {
            let taken = self.witnesses.take_heads(commune, identity, heads, now);
            self.owe_evidence(taken.evidence);
        }
    }

    fn owe_evidence(&mut self, evidence: Option<Entry>) {
        if let Some(evidence) = evidence {
            self.owe_entry(evidence, None);
        }
    }

    /// Sends heads that are due, and writes down those of the peers.
    pub(super) fn flush_peers(&mut self, now: Now) {
        for due in self.witnesses.poll(now) {
            match due {
                Due::Send {
                    peer: commune,
                    after,
                    acknowledged,
                } => self.commands.push_back(Command::SendHeads {
                    commune,
                    after,
                    acknowledged,
                }),
                Due::Write(head) => self.owe_entry(head, None),
            }
        }
    }
}

/// A name for people, no longer than the interface allows.
fn bounded(text: String) -> String {
    text.chars().filter(|c| !c.is_control()).take(128).collect()
}
