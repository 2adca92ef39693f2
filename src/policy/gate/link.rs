//! Links of the centres: what is told when one comes up, and what is counted.

use std::time::Duration;

use super::{Command, Gate};
use crate::allowance::Allowance;
use crate::clock::{Boot, Now};
use crate::config::settings::{Agreement, Approval, Camera};
use crate::format::control::{
    AUTHORITIES, AgreementInfo, CAMERA_PAGE, CameraInfo, GatewayHello, GroundInfo, Heads, Journals,
    ReceiverHello, ToReceiver, VERSION,
};
use crate::format::designation::Authority;
use crate::format::ids::{CentreId, GrantId, ReceiverId};
use crate::format::statement::HeadClaims;
use crate::format::text;
use crate::journal::entry::Entry;
use crate::journal::reader::OwnLine;
use crate::policy::peer::losses::Losses;
use crate::policy::peer::rates::{PerSecond, Unverified};
use crate::policy::peer::witness::Due;
use crate::reason::{Reason, Refusal};

/// A link that is up.
#[derive(Debug)]
pub(super) struct Up {
    pub(super) session: u64,
    /// Minor version of the protocol, once the receiver has introduced itself on this link.
    pub(super) minor: Option<u32>,
    /// How long an answer is overdue, as last told.
    pub(super) silent_for: Duration,
    /// When that was last too long for it to take another receiver's pictures.
    pub(super) doubted: Option<Boot>,
}

/// Revocation lists of a centre that are looked at, at once and in each second: one may have
/// a megabyte.
const LISTS: (u32, u32) = (32, 1);
/// Confirmations likewise: as many as there may be grants, then two signature checks each.
const CONFIRMATIONS: (u32, u32) = (1_200, 50);
/// Body-less lines likewise: a message may have two thousand.
const LINES_TAKEN: (u32, u32) = (16, 1);
/// A centre is sent the body-less lines that it says it lacks so often at once, and then
/// with such pauses, however often it links.
const LINES_SENT: (u32, Duration) = (16, Duration::from_secs(10));

/// A centre's word on its own journal is written down so often at once, and then with such pauses.
const DAMAGE_TOLD: (u32, Duration) = (16, Duration::from_secs(60));

/// What a centre may still send and be sent, over all its links.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) looked: PerSecond,
    pub(super) unverified: Unverified,
    pub(super) lists: Allowance,
    confirmations: Allowance,
    lines_taken: Allowance,
    lines_sent: Allowance,
    damage_told: Allowance,
}

impl Default for Peer {
    fn default() -> Self {
        Self {
            looked: PerSecond::default(),
            unverified: Unverified::default(),
            lists: Allowance::new(LISTS.0, LISTS.1),
            confirmations: Allowance::new(CONFIRMATIONS.0, CONFIRMATIONS.1),
            lines_taken: Allowance::new(LINES_TAKEN.0, LINES_TAKEN.1),
            lines_sent: Allowance::every(LINES_SENT.0, LINES_SENT.1),
            damage_told: Allowance::every(DAMAGE_TOLD.0, DAMAGE_TOLD.1),
        }
    }
}

impl Gate {
    /// A link is up. `head` is the own journal's newest head, if it has one, and `continues`
    /// its first line, where it continues another.
    pub fn handle_link_up(
        &mut self,
        receiver: &ReceiverId,
        session: u64,
        head: Option<&str>,
        continues: Option<&str>,
        now: Now,
    ) {
        let centre = &receiver.centre;
        if !self.rules.centres.contains_key(centre) {
            return;
        }
        let up = Up {
            session,
            minor: None,
            silent_for: Duration::ZERO,
            doubted: None,
        };
        self.links.insert(receiver.clone(), up);
        self.several.linked(receiver);
        if self.is_lone(centre) {
            self.is_the_one(receiver);
        }
        for live in self.grants.values_mut() {
            if let (true, Some(wait)) = (&live.terms.receiver == receiver, &mut live.confirmation) {
                wait.link_up(now);
            }
        }
        let head = head.map(|head| self.head_for(centre, head));
        let mut journals = self.witnesses.journals(receiver, head.clone(), continues);
        journals.damaged = self.losses.damaged();
        let hello = self.hello(receiver, head, now);
        self.send(receiver, ToReceiver::Hello(hello));
        self.send(receiver, ToReceiver::Journals(journals));
        self.send_cameras(receiver);
        self.resume_all(receiver, now);
        self.tell_waits(receiver, now);
        self.witnesses.link_up(receiver, now);
        self.flush_peers(now);
    }

    /// A link is down. An older link's end says nothing of the newest.
    pub fn handle_link_down(&mut self, receiver: &ReceiverId, session: u64, now: Now) {
        if self
            .links
            .get(receiver)
            .is_none_or(|up| up.session != session)
        {
            return;
        }
        self.links.remove(receiver);
        self.several.lost(receiver, now);
        for live in self.grants.values_mut() {
            if let (true, Some(wait)) = (&live.terms.receiver == receiver, &mut live.confirmation) {
                wait.link_down(now);
            }
        }
        self.witnesses.link_down(receiver);
    }

    /// What a receiver that was away must know of its grants.
    fn resume_all(&mut self, receiver: &ReceiverId, now: Now) {
        let centre = &receiver.centre;
        let of_centre = self.grants.iter();
        let of_centre = of_centre.filter(|(_, live)| &live.terms.centre == centre);
        let live: Vec<(GrantId, bool)> = of_centre
            .map(|(id, live)| (*id, &live.terms.receiver == receiver))
            .collect();
        for (grant, is_here) in live {
            if is_here {
                self.send_resume(grant);
            } else {
                self.tell_grant(grant, receiver);
            }
        }
        let states: Vec<ToReceiver> = self
            .relays
            .iter()
            .filter(|((of, _), _)| of.centre == *centre)
            .flat_map(|((of, camera), relay)| relay.messages(camera, of == receiver))
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
            self.send(receiver, message);
        }
    }

    /// Tells the receiver that has its pictures that a grant goes on.
    pub(super) fn send_resume(&mut self, grant: GrantId) {
        let Some(live) = self.grants.get(&grant) else {
            return;
        };
        let terms = &live.terms;
        let receiver = terms.receiver.clone();
        let dropped = terms.dropped.iter();
        let mut messages: Vec<ToReceiver> = dropped
            .map(|(camera, refusal)| ToReceiver::CameraEnded {
                grant,
                camera: camera.clone(),
                refusal: refusal.clone(),
            })
            .collect();
        messages.push(ToReceiver::GrantAgreement {
            grant,
            agreement: terms.agreement.clone(),
        });
        messages.push(ToReceiver::Resume {
            request: terms.request.text().to_owned(),
            proof: live.proof.clone(),
            relays: self.relays_of(grant),
        });
        for message in messages {
            self.send(&receiver, message);
        }
    }

    /// The first hello of a link; more of them say nothing.
    pub(super) fn handle_hello(&mut self, from: &ReceiverId, hello: &ReceiverHello, now: Now) {
        let Some(up) = self.links.get_mut(from).filter(|up| up.minor.is_none()) else {
            return;
        };
        up.minor = Some(hello.minor);
        let name = text::shown(&hello.name, text::TEXT_LIMIT);
        let version = text::shown(&hello.version, 32);
        tracing::info!(receiver = %from, name, version, "the centre introduced itself");
        if let Some(head) = &hello.head {
            // What is wrong with it is logged already.
            let _ = self.take_head(from, head, now);
        }
        self.move_on(now);
    }

    /// Whether a centre may have one more confirmation looked at.
    pub(super) fn may_confirm(&mut self, from: &ReceiverId, now: Now) -> bool {
        let peer = self.peers.entry(from.clone()).or_default();
        peer.confirmations.take(1, now.boot.0)
    }

    /// Takes a centre's head; a contradiction is journalled.
    pub(super) fn take_head(
        &mut self,
        from: &ReceiverId,
        text: &str,
        now: Now,
    ) -> Result<HeadClaims, Refusal> {
        self.know_again(from, text);
        let identity = self.rules.centres.get(&from.centre);
        let identity = identity.ok_or_else(|| Refusal::from(Reason::NoAgreement))?;
        let taken = self.witnesses.take(from, identity, text, now);
        self.owe_evidence(&from.centre, taken.evidence, now);
        taken.head
    }

    /// Heads and body-less lines from a centre.
    pub(super) fn handle_heads(&mut self, from: &ReceiverId, heads: &Heads, now: Now) {
        let peer = self.peers.entry(from.clone()).or_default();
        if !heads.lines.is_empty() && !peer.lines_taken.take(1, now.boot.0) {
            return;
        }
        self.know_again(from, &heads.head);
        let centre = &from.centre;
        if let (true, Some(identity)) = (
            self.witnesses.may_look(from, now),
            self.rules.centres.get(centre),
        ) {
            let taken = self.witnesses.take_heads(from, identity, heads, now);
            let is_compared = taken.head.is_ok() && !heads.lines.is_empty();
            self.owe_evidence(centre, taken.evidence, now);
            if is_compared {
                self.losses.compared(centre.as_str());
            }
        }
    }

    /// The heads that a centre holds of both journals, when its link came up.
    pub(super) fn handle_journals(&mut self, from: &ReceiverId, told: &Journals, now: Now) {
        if let Some(head) = &told.head {
            self.know_again(from, head);
        }
        let centre = &from.centre;
        let Some(identity) = self.rules.centres.get(centre) else {
            return;
        };
        if !self.witnesses.may_look(from, now) {
            return;
        }
        let own = self.rules.settings.commune.as_str();
        if let Some(held) = &told.held
            && let Some(seq) = self.witnesses.held_of_ours(from, identity, own, held)
        {
            let peer = self.peers.entry(from.clone()).or_default();
            if peer.lines_sent.take(1, now.boot.0) {
                let receiver = from.clone();
                self.commands.push_back(Command::FindLine { receiver, seq });
            }
        }
        let evidence = self.witnesses.compare(from, identity, told, now);
        let damaged = self.several.damaged(from, told.damaged.as_deref());
        let peer = self.peers.entry(from.clone()).or_default();
        if peer.damage_told.take(1, now.boot.0)
            && let Some(entry) = self.losses.told(centre.as_str(), damaged.as_deref())
        {
            tracing::error!(%centre, ?told.damaged, "the centre says whether its journal verifies");
            self.owe_entry(entry, None);
        }
        self.owe_evidence(centre, evidence, now);
    }

    /// The answer to a [`Command::FindLine`].
    pub fn handle_own_line(&mut self, from: &ReceiverId, line: &OwnLine, now: Now) {
        let evidence = self.witnesses.own_line(from, line);
        self.owe_evidence(&from.centre, evidence, now);
    }

    /// Writes down what was found of a journal; where it lost lines, grants end.
    fn owe_evidence(&mut self, centre: &CentreId, evidence: Option<Entry>, now: Now) {
        let Some(evidence) = evidence else {
            return;
        };
        let accepted = self.losses.found(centre.as_str(), &evidence);
        self.owe_entry(evidence, None);
        if let Some(accepted) = accepted {
            self.owe_entry(accepted, None);
        }
        self.review(now);
    }

    /// Why nothing may be relayed to a centre, where a journal lost lines.
    pub(super) fn loss(&self, centre: &CentreId) -> Option<Refusal> {
        let goes_on = self.rules.settings.relay_after_loss;
        let refusal = self.losses.refusal(centre.as_str());
        refusal.filter(|_| !goes_on)
    }

    /// An administrator accepts a journal as it is, by its owner's id.
    pub fn handle_journal_accepted(&mut self, journal: String, by: String) {
        if let Some(entry) = self.losses.accept(journal, by) {
            self.owe_entry(entry, None);
        }
    }

    /// A look found that the own journal does not verify: `entry` is in it, behind a new first line.
    /// Grants end, and every linked centre is told.
    pub fn handle_damaged(
        &mut self,
        entry: &Entry,
        head: Option<&str>,
        continues: Option<&str>,
        now: Now,
    ) {
        self.losses.recover(entry);
        let linked: Vec<ReceiverId> = self.links.keys().cloned().collect();
        for receiver in linked {
            let head = head.map(|head| self.head_for(&receiver.centre, head));
            let mut journals = self.witnesses.journals(&receiver, head, continues);
            journals.damaged = self.losses.damaged();
            self.send(&receiver, ToReceiver::Journals(journals));
        }
        self.review(now);
    }

    /// Journals that lost lines and were not accepted.
    pub fn losses(&self) -> &Losses {
        &self.losses
    }

    fn hello(&self, receiver: &ReceiverId, head: Option<String>, now: Now) -> GatewayHello {
        let centre = &receiver.centre;
        let settings = &self.rules.settings;
        let agreements = settings.agreements.iter().zip(&self.rules.authorities);
        GatewayHello {
            minor: VERSION.1,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            wall: now.wall.0,
            name: settings.name.clone(),
            contact: settings.contact.clone(),
            agreements: agreements
                .filter(|(agreement, _)| &agreement.centre == centre)
                .map(|(agreement, authority)| self.agreement_info(agreement, authority))
                .collect(),
            head,
            receiver: Some(receiver.key),
        }
    }

    fn agreement_info(&self, agreement: &Agreement, authority: &Authority) -> AgreementInfo {
        let grounds = agreement.grounds.iter();
        AgreementInfo {
            reference: agreement.reference.clone(),
            from: agreement.from.to_string(),
            until: agreement.until.to_string(),
            units: agreement.units.clone(),
            authorities: authority.keys().take(AUTHORITIES).collect(),
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
            watermark: agreement.watermark,
            vms: agreement.vms,
            approval: agreement.approval == Approval::Commune,
            approval_exempt: agreement.approval_exempt.clone(),
            hours: agreement.hours.clone(),
        }
    }

    /// The cameras that any agreement with the centre covers, in pages.
    pub(super) fn send_cameras(&mut self, receiver: &ReceiverId) {
        let centre = &receiver.centre;
        let settings = self.rules.settings.clone();
        let agreements: Vec<&Agreement> = settings
            .agreements
            .iter()
            .filter(|agreement| &agreement.centre == centre)
            .collect();
        // The test camera only where somebody may ask for it.
        let drills = agreements.iter().any(|agreement| {
            let mut grounds = agreement.grounds.iter();
            agreement.covers(&settings.test_camera)
                && grounds.any(|grounds| grounds == Camera::TEST_GROUNDS)
        });
        let test = drills.then_some(&settings.test_camera);
        let cameras: Vec<CameraInfo> = settings
            .cameras
            .values()
            .filter(|camera| agreements.iter().any(|agreement| agreement.covers(camera)))
            .chain(test)
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
                vms: agreements
                    .iter()
                    .any(|agreement| agreement.vms && agreement.covers(camera)),
                unusable: camera.unusable().map(Refusal::from),
                failed: self.probed.failed(&camera.id).map(Refusal::from),
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
            self.send(receiver, message);
        }
    }

    /// Writes what is due of counts and heads, and sends heads.
    pub(super) fn flush_peers(&mut self, now: Now) {
        let lines = self
            .peers
            .iter_mut()
            .filter_map(|(from, peer)| peer.unverified.line(from.centre.as_str(), now));
        for line in lines.collect::<Vec<_>>() {
            self.note(line);
        }
        for due in self.witnesses.poll(now) {
            match due {
                Due::Send {
                    peer: receiver,
                    after,
                    acknowledged,
                } => {
                    let peer = self.peers.entry(receiver.clone()).or_default();
                    let may = peer.lines_sent.take(1, now.boot.0);
                    self.commands.push_back(Command::SendHeads {
                        receiver,
                        after: after.filter(|_| may),
                        acknowledged,
                    });
                }
                Due::Write(head) => self.owe_entry(head, None),
            }
        }
    }
}
