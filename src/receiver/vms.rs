//! What VMS accounts see: at a camera's lasting URL its picture while a grant shows it under an
//! agreement with `vms = true` ([`crate::policy::desk`] says which), else the still card.
//!
//! A VMS opens its cameras once and leaves them open, so card and picture take turns in one RTSP
//! session: one source whose numbers and times go on ([`Splice`]), each turn begun by a key frame
//! behind its own parameter sets. That works for H.264 alone, which the card is. A session that was
//! described as H.264 ends with `stream_changed` once the camera gives another codec; the VMS
//! opens it again, is described that codec and sees the picture, until the grant ends and with
//! it the session.
//!
//! Each turn of a picture is a viewing of the hub like any other: journalled as `vms:NAME` before
//! its first picture, ended with its grant. A picture that falls silent gives way to the card, for
//! a picture that stands still on a wall would be taken for what the camera sees now.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::accounts::Accounts;
use super::card::{Card, Shown};
use super::control::Table;
use super::hub::Hub;
use super::viewing::ViewRequest;
use crate::clock::Clock;
use crate::config::settings::Account;
use crate::format::ids::{CameraId, CommuneId, GrantId};
use crate::media::source::{self, Event, Sampled, Source};
use crate::media::unit::{Codec, Codecs, Configuration};
use crate::metrics::{self, ViewerKind};
use crate::policy::desk;
use crate::reason::Reason;
use crate::rtsp::splice::Splice;
use crate::rtsp::{OpenError, OpenRequest};
use crate::secret::Secret;

/// Pause before a picture is opened again that ended or did not come.
const RETRY: Duration = Duration::from_secs(1);
/// The same for one that was refused.
const REFUSED: Duration = Duration::from_secs(5);
/// Longest pause between pictures that a slow camera may make.
const SLOWEST: Duration = Duration::from_secs(60);

/// What all VMS sessions share.
#[derive(Clone, Debug)]
pub(super) struct Vms {
    pub(super) accounts: watch::Receiver<Arc<Accounts>>,
    pub(super) table: watch::Receiver<Arc<Table>>,
    pub(super) card: Arc<Card>,
    pub(super) hub: Hub,
    pub(super) clock: Clock,
    pub(super) metrics: Arc<metrics::Receiver>,
}

/// Which camera, for whom.
#[derive(Clone, Debug)]
struct Place {
    account: Arc<Account>,
    commune: CommuneId,
    camera: CameraId,
    from: SocketAddr,
}

impl Vms {
    /// The password of an account that may come from there.
    pub(super) fn password(&self, user: &str, from: std::net::IpAddr) -> Option<Secret> {
        let accounts = self.accounts.borrow();
        accounts
            .find(user, from)
            .map(|account| account.password.clone())
    }

    /// Opens a camera for a VMS: its picture where one comes, else the card.
    pub(super) async fn open(&self, request: &OpenRequest) -> Result<Arc<dyn Source>, OpenError> {
        let place = self.place(request)?;
        let live = match self.grant(&place) {
            Some(grant) => {
                let request = place.request(grant);
                self.hub.view(request, Duration::ZERO).await.ok()
            }
            None => None,
        };
        let configuration = match &live {
            Some(live) => live.configuration(),
            None => Arc::clone(&self.card.configuration),
        };
        let codec = configuration.codec;
        if request
            .described
            .is_some_and(|described| described != codec)
        {
            return Err(OpenError::Refused(Reason::StreamChanged));
        }
        Ok(Arc::new(View {
            vms: self.clone(),
            place,
            configuration,
            frame_rate: live.and_then(|live| live.frame_rate()),
        }))
    }

    /// The camera that an account may ask for: of one of its communes, and under an agreement
    /// with `vms = true`, as far as its commune has said.
    fn place(&self, request: &OpenRequest) -> Result<Place, OpenError> {
        let accounts = self.accounts.borrow();
        let account = accounts.find(&request.user, request.peer.ip());
        let account = account.ok_or(OpenError::Unauthorized)?;
        let names = request.path.split_once('/').and_then(|(commune, camera)| {
            let commune = CommuneId::new(commune).ok()?;
            Some((commune, CameraId::new(camera).ok()?))
        });
        let (commune, camera) = names.ok_or(OpenError::NotFound)?;
        let table = self.table.borrow();
        let known = table.communes.get(&commune);
        let known = known.filter(|_| account.may_see(&commune));
        // After a restart its commune has not said yet; the card tells nothing of any camera.
        let is_there = known.is_some_and(|commune| match &commune.cameras {
            None => true,
            Some(list) => {
                let at = list.binary_search_by(|info| info.id.cmp(&camera));
                at.is_ok_and(|at| list[at].vms)
            }
        });
        if !is_there {
            return Err(OpenError::NotFound);
        }
        Ok(Place {
            account: Arc::clone(account),
            commune,
            camera,
            from: request.peer,
        })
    }

    /// The grant under which a VMS may see the camera now; of several whose pictures come here
    /// the one that lasts longest.
    fn grant(&self, place: &Place) -> Option<GrantId> {
        let table = self.table.borrow();
        let home = table.communes.get(&place.commune)?;
        let now = self.clock.now();
        let shown = table.live().filter(|grant| {
            let part = grant.camera(&place.camera);
            grant.commune == place.commune
                && !grant.elsewhere
                && part.is_some_and(desk::GrantCamera::is_open)
                && !grant.left(now).is_zero()
                && home.lets_vms_see(grant)
        });
        let longest = shown.max_by_key(|grant| grant.until);
        longest.map(|grant| grant.id)
    }

    /// Whether the settings still have the account as the session began with it.
    fn has(&self, place: &Place) -> bool {
        let accounts = self.accounts.borrow();
        let account = accounts.find(&place.account.username, place.from.ip());
        account.is_some_and(|account| {
            (&account.name, &account.password) == (&place.account.name, &place.account.password)
                && account.may_see(&place.commune)
        })
    }
}

impl Place {
    fn request(&self, grant: GrantId) -> ViewRequest {
        ViewRequest {
            grant,
            commune: self.commune.clone(),
            camera: self.camera.clone(),
            who: format!("vms:{}", self.account.name),
            how: desk::VMS,
            from: self.from.to_string(),
            packets: true,
            decodes: Codecs::ALL,
        }
    }
}

/// A camera as a VMS opened it.
#[derive(Debug)]
struct View {
    vms: Vms,
    place: Place,
    configuration: Arc<Configuration>,
    frame_rate: Option<f64>,
}

impl Source for View {
    fn configuration(&self) -> Arc<Configuration> {
        Arc::clone(&self.configuration)
    }

    fn frame_rate(&self) -> Option<f64> {
        self.frame_rate
    }

    fn subscribe(&self) -> Box<dyn source::Subscription> {
        let vms = self.vms.clone();
        let gauge = &vms.metrics.viewers;
        gauge.with_label_values(&[ViewerKind::Vms.as_str()]).inc();
        let now = Instant::now();
        let mut session = Session {
            card: vms.card.pictures(),
            accounts: vms.accounts.clone(),
            table: vms.table.clone(),
            splice: Splice::of(vms.card.ssrc()),
            vms,
            place: self.place.clone(),
            codec: self.configuration.codec,
            given: None,
            live: Live::None,
            is_live: false,
            not_before: now,
            silent: now,
        };
        session.look();
        Box::new(session)
    }
}

/// A VMS's session at one camera.
struct Session {
    vms: Vms,
    place: Place,
    /// What was described: the session can show no other.
    codec: Codec,
    accounts: watch::Receiver<Arc<Accounts>>,
    table: watch::Receiver<Arc<Table>>,
    card: watch::Receiver<Shown>,
    splice: Splice,
    /// When the last picture was given.
    given: Option<Instant>,
    live: Live,
    /// The camera's turn, else the card's.
    is_live: bool,
    /// A picture is not opened before.
    not_before: Instant,
    /// When the camera counts as silent.
    silent: Instant,
}

type Opening = Pin<Box<dyn Future<Output = Result<Arc<dyn Source>, Reason>> + Send>>;

/// How far the camera's picture is.
enum Live {
    None,
    /// It is waited for.
    Opening(GrantId, Opening),
    Joined(GrantId, Arc<dyn Source>, Box<dyn source::Subscription>),
}

/// What comes of it.
enum News {
    Opened(Result<Arc<dyn Source>, Reason>),
    Event(Event),
}

impl Live {
    const fn grant(&self) -> Option<GrantId> {
        match self {
            Self::None => None,
            Self::Opening(grant, _) | Self::Joined(grant, ..) => Some(*grant),
        }
    }

    /// Cancel-safe.
    async fn next(&mut self) -> News {
        match self {
            Self::None => std::future::pending().await,
            Self::Opening(_, opening) => News::Opened(opening.await),
            Self::Joined(_, _, pictures) => News::Event(pictures.next().await),
        }
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("Session");
        shown
            .field("place", &self.place)
            .field("live", &self.is_live);
        shown.finish_non_exhaustive()
    }
}

impl Session {
    /// Opens the camera's picture where a grant shows it, and leaves it where none does any more.
    fn look(&mut self) {
        let shown = self.vms.grant(&self.place);
        if let Some(grant) = self.live.grant() {
            let table = self.table.borrow();
            let home = table.communes.get(&self.place.commune);
            let stays = shown.is_some()
                && table.grant(grant).is_some_and(|grant| {
                    grant.end.is_none()
                        && !grant.elsewhere
                        && home.is_some_and(|home| home.lets_vms_see(grant))
                });
            drop(table);
            if !stays {
                self.leave(Duration::ZERO);
            }
        }
        let now = Instant::now();
        if let (Live::None, Some(grant), true) = (&self.live, shown, now >= self.not_before) {
            let (hub, wait) = (self.vms.hub.clone(), self.vms.hub.waits().open);
            let request = self.place.request(grant);
            let opening = Box::pin(async move { hub.view(request, wait).await });
            self.live = Live::Opening(grant, opening);
        }
    }

    /// The camera's turn is over; the card is shown at once, and a picture opened after `pause` at
    /// the soonest.
    fn leave(&mut self, pause: Duration) {
        self.live = Live::None;
        self.not_before = Instant::now() + pause;
        if std::mem::take(&mut self.is_live) {
            self.switch(None);
            self.card.mark_changed();
        }
    }

    /// The other's turn begins; `newest` as in [`Splice::begin`].
    fn switch(&mut self, newest: Option<u32>) {
        match self.given {
            Some(given) => self.splice.switch(newest, given.elapsed()),
            None => self.splice.begin(newest),
        }
    }

    async fn step(&mut self) -> Option<Event> {
        let has_card = self.codec == Codec::H264 && !self.is_live;
        tokio::select! {
            biased;
            changed = self.accounts.changed() => match changed {
                Ok(()) if self.vms.has(&self.place) => None,
                Ok(()) => Some(Event::End(Reason::AccountChanged)),
                Err(_) => Some(Event::End(Reason::ShuttingDown)),
            },
            changed = self.table.changed() => {
                if changed.is_err() {
                    return Some(Event::End(Reason::ShuttingDown));
                }
                self.look();
                self.over()
            }
            news = self.live.next() => match news {
                News::Opened(opened) => self.opened(opened),
                News::Event(event) => self.take(event),
            },
            () = sleep_until(self.silent), if self.is_live => {
                self.leave(Duration::ZERO);
                self.look();
                self.over()
            }
            changed = self.card.changed(), if has_card => {
                if changed.is_err() {
                    return Some(Event::End(Reason::ShuttingDown));
                }
                // A picture that did not come is tried again.
                self.look();
                let shown = self.card.borrow_and_update().clone();
                Some(self.give(shown.unit, shown.packets, false))
            }
        }
    }

    /// A session without a card ends with its picture.
    fn over(&self) -> Option<Event> {
        let is_over = self.codec != Codec::H264 && self.live.grant().is_none();
        is_over.then_some(Event::End(Reason::AgreementChanged))
    }

    fn opened(&mut self, opened: Result<Arc<dyn Source>, Reason>) -> Option<Event> {
        let grant = self.live.grant()?;
        match opened {
            Ok(source) if source.configuration().codec != self.codec => {
                Some(Event::End(Reason::StreamChanged))
            }
            Ok(source) => {
                let pictures = source.subscribe();
                self.live = Live::Joined(grant, source, pictures);
                None
            }
            Err(reason) if self.codec != Codec::H264 => Some(Event::End(reason)),
            Err(_) => {
                self.leave(RETRY);
                None
            }
        }
    }

    /// Takes what the camera's picture gives.
    fn take(&mut self, event: Event) -> Option<Event> {
        match event {
            Event::Unit {
                unit,
                packets,
                kept,
            } => {
                let Live::Joined(_, source, pictures) = &self.live else {
                    return None;
                };
                let rate = source.frame_rate().filter(|rate| *rate > 0.0);
                let slow = rate.map_or(Duration::ZERO, |rate| {
                    Duration::from_secs_f64((2.0 / rate).min(SLOWEST.as_secs_f64()))
                });
                self.silent = Instant::now() + slow.max(self.vms.hub.waits().silence);
                let newest = pictures.sampled().map(|sampled| sampled.timestamp);
                if !std::mem::replace(&mut self.is_live, true) {
                    self.switch(newest);
                }
                Some(self.give(unit, packets, kept))
            }
            Event::Skipped => self.is_live.then_some(Event::Skipped),
            Event::End(reason) => {
                if reason == Reason::ShuttingDown || self.codec != Codec::H264 {
                    return Some(Event::End(reason));
                }
                self.leave(if self.is_live { RETRY } else { REFUSED });
                None
            }
        }
    }

    /// A picture as this session's player gets it.
    fn give(
        &mut self,
        unit: Arc<crate::media::unit::AccessUnit>,
        packets: Arc<crate::media::packets::Packetised>,
        kept: bool,
    ) -> Event {
        self.given = Some(Instant::now());
        let placed = self.splice.place(&packets, kept);
        Event::Unit {
            unit,
            packets: placed.map_or(packets, Arc::new),
            kept,
        }
    }
}

impl source::Subscription for Session {
    fn next(&mut self) -> Pin<Box<dyn Future<Output = Event> + Send + '_>> {
        Box::pin(async move {
            loop {
                if let Some(event) = self.step().await {
                    return event;
                }
            }
        })
    }

    fn try_next(&mut self) -> Option<Event> {
        let Live::Joined(_, _, pictures) = &mut self.live else {
            return None;
        };
        let event = pictures.try_next()?;
        self.take(event)
    }

    fn sampled(&self) -> Option<Sampled> {
        let own = match &self.live {
            Live::Joined(_, _, pictures) if self.is_live => pictures.sampled()?,
            _ => self.card.borrow().sampled,
        };
        Some(self.splice.clock(own))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let gauge = &self.vms.metrics.viewers;
        gauge.with_label_values(&[ViewerKind::Vms.as_str()]).dec();
    }
}
