//! Drives the desk: one task that owns all decisions of the receiver.
//!
//! | queue | bound | when full |
//! |---|---|---|
//! | questions of the API | 256 | the API answers 503 or 429 |
//! | journal entries in flight | 4096, then the journal's own bytes | requests are refused |
//! | notices to a listener | 512 | the oldest go, the listener is told |
//!
//! It reads no file: settings that are reloaded and lines of the journal are read on
//! threads for that.

mod wishes;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::accounts::Accounts;
use super::atlas::Atlas;
use super::control::{Answered, Ask, Shared, Table};
use super::credentials::Credentials;
use super::hub::Hub;
use super::incidents::Incidents;
use super::listeners::Listeners;
use super::reload::{Fetched, show_warnings};
use super::watched::Watched;
use super::{Addresses, viewing};
use crate::clock::{Boot, Clock};
use crate::config::settings::NoticeKind;
use crate::config::{Loaded, settings};
use crate::copies;
use crate::format::control::{ToGateway, ToReceiver};
use crate::format::ids::{CameraId, CommuneId, GrantId};
use crate::journal::entry::Entry;
use crate::journal::looks::Looks;
use crate::journal::writer::Writer;
use crate::link::accept::Acceptor;
use crate::link::{Event as LinkEvent, Link};
use crate::media::relay::RelayId;
use crate::metrics::health::{Check, Checks};
use crate::metrics::{self};
use crate::notify::Notices;
use crate::notify::notice::About;
use crate::policy::desk::{Command, Denial, Desk, Notice, Still, Viewer};
use crate::policy::record;
use crate::reason::{Reason, Refusal};
use crate::records::{self, Ready, Records};
use crate::witness;

/// How often figures and health are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Messages of links that are taken in one round, before what changed is shown: when
/// a whole département comes back, the table is not made again for each of them.
const LINK_EVENTS_AT_ONCE: usize = 32;
/// Clients whose focus is kept.
const FOCUS_LIMIT: usize = 256;

/// The control task.
pub(super) struct Brain {
    pub(super) desk: Desk,
    pub(super) credentials: Credentials,
    pub(super) watched: Watched,
    pub(super) hub: Hub,
    pub(super) journal: Writer,
    pub(super) looks: Looks,
    pub(super) metrics: Arc<metrics::Receiver>,
    pub(super) notify: Notices,
    pub(super) checks: Checks,
    pub(super) clock: Clock,
    pub(super) atlas: Arc<Atlas>,
    pub(super) incidents: Incidents,
    pub(super) acceptor: Acceptor,
    pub(super) witnesses: witness::Handle,
    pub(super) copies: copies::Handle,
    pub(super) listeners: Listeners,
    pub(super) asks: mpsc::Receiver<Ask>,
    pub(super) link_events: mpsc::Receiver<LinkEvent<ToReceiver>>,
    pub(super) hub_events: mpsc::Receiver<viewing::Event>,
    pub(super) accounts: watch::Sender<Arc<Accounts>>,
    pub(super) table: watch::Sender<Arc<Table>>,
    pub(super) shared: watch::Sender<Arc<Shared>>,
    pub(super) notices: broadcast::Sender<Notice>,
    pub(super) records: Records<CommuneId>,
    pub(super) state: State,
}

/// What the driver itself remembers.
#[derive(Default)]
pub(super) struct State {
    links: BTreeMap<CommuneId, (u64, Link)>,
    callers: HashMap<u64, Waiting>,
    /// Who waits for the leave to take a still.
    stills: HashMap<u64, oneshot::Sender<Result<Still, Refusal>>>,
    next_caller: u64,
    /// New settings that are being read, in their order.
    reloads: FuturesOrdered<JoinHandle<Reload>>,
    focus: BTreeMap<u64, Vec<(CommuneId, CameraId)>>,
    focused: BTreeMap<CommuneId, Vec<RelayId>>,
    shown: Option<u64>,
    /// The communes' version that the metrics show.
    pub(super) counted: Option<u64>,
    /// Whether a focus, or the relays that it may name, changed.
    is_focus_new: bool,
}

/// New settings, what they name, and who waits for them.
struct Reload {
    loaded: Box<Loaded<settings::Receiver>>,
    read: Result<Fetched, String>,
    reply: oneshot::Sender<Result<(), String>>,
}

/// Who waits for the answer to a request.
struct Waiting {
    came: Boot,
    reply: oneshot::Sender<Result<Answered, Denial>>,
}

/// What a round of commands has to say once the table shows it.
#[derive(Default)]
struct News {
    answers: Vec<(u64, Result<GrantId, Denial>)>,
    notices: Vec<Notice>,
}

impl Brain {
    /// Runs until the token is cancelled; then ends viewers, writes what is left
    /// and returns. The journal stays open for anyone who made it.
    pub(super) async fn run(mut self, token: CancellationToken) {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut link_events = Vec::with_capacity(LINK_EVENTS_AT_ONCE);
        self.carry_out();
        loop {
            let deadline = self.desk.poll_timeout(self.clock.now());
            let clock = self.clock.clone();
            let due = async move {
                match deadline {
                    Some(deadline) => clock.sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            // Time comes first: no flood of messages may keep a grant alive. The
            // links come last: a commune that floods waits for all others.
            tokio::select! {
                biased;
                () = token.cancelled() => break,
                () = due => {
                    let now = self.clock.now();
                    self.desk.handle_timeout(now);
                }
                _ = looks.tick() => self.look(),
                Some(ready) = self.records.next() => self.ready(ready),
                Some(event) = self.hub_events.recv() => self.hub_event(event),
                found = self.looks.damage() => self.damaged(&found),
                Some(reload) = self.state.reloads.next() => {
                    if let Ok(reload) = reload {
                        self.reloaded(reload);
                    }
                }
                Some(ask) = self.asks.recv() => self.ask(ask),
                1.. = self.link_events.recv_many(&mut link_events, LINK_EVENTS_AT_ONCE) => {
                    for event in link_events.drain(..) {
                        self.link_event(event);
                    }
                }
            }
            self.carry_out();
        }
        self.stop().await;
    }

    /// The journal was found not to be what was written: what rests on it ends.
    fn damaged(&mut self, found: &Entry) {
        let (head, continues) = (self.journal.head(), self.journal.continues());
        let (head, continues) = (head.as_deref(), continues.as_deref());
        let now = self.clock.now();
        self.desk.handle_damaged(found, head, continues, now);
        self.notify.own_loss();
    }

    async fn stop(mut self) {
        self.desk.handle_shutdown(self.clock.now());
        self.hub.shutdown(Reason::ShuttingDown);
        let journal = self.journal.clone();
        let rest = async {
            loop {
                while let Ok(event) = self.hub_events.try_recv() {
                    self.hub_event(event);
                }
                self.carry_out();
                match self.records.recorded().await {
                    Some(recorded) => self.ready(Ready::Recorded(recorded)),
                    None => break,
                }
            }
        };
        records::write_stop(&journal, rest).await;
        self.records.end().await;
    }

    fn ready(&mut self, ready: Ready<CommuneId>) {
        let now = self.clock.now();
        match ready {
            Ready::Recorded((ticket, result, entry)) => {
                if let (Ok(receipt), Some(entry)) = (&result, entry) {
                    let authorities = Arc::clone(&self.shared.borrow().authorities);
                    self.incidents.take(receipt, &entry, &authorities);
                }
                self.desk.handle_recorded(ticket, result, now);
            }
            Ready::Line(commune, line) => self.desk.handle_own_line(&commune, &line, now),
            Ready::Done => {}
        }
    }

    fn link_event(&mut self, event: LinkEvent<ToReceiver>) {
        let now = self.clock.now();
        match event {
            LinkEvent::Up {
                peer,
                session,
                link,
            } => {
                let Ok(commune) = CommuneId::new(peer) else {
                    return;
                };
                self.state.links.insert(commune.clone(), (session, link));
                self.state.focused.remove(&commune);
                let (head, continues) = (self.journal.head(), self.journal.continues());
                let (head, continues) = (head.as_deref(), continues.as_deref());
                self.desk
                    .handle_link_up(&commune, session, head, continues, now);
            }
            LinkEvent::Message {
                peer,
                session,
                message,
            } => {
                if let Ok(commune) = CommuneId::new(peer) {
                    self.other_stream(&commune, session, &message);
                    self.desk.handle_message(&commune, session, message, now);
                }
            }
            LinkEvent::Down {
                peer,
                session,
                cause,
            } => {
                tracing::info!(commune = %peer, %cause, "link down");
                let Ok(commune) = CommuneId::new(peer) else {
                    return;
                };
                if self
                    .state
                    .links
                    .get(&commune)
                    .is_some_and(|(of, _)| *of == session)
                {
                    self.state.links.remove(&commune);
                }
                self.desk.handle_link_down(&commune, session, now);
            }
        }
    }

    fn hub_event(&mut self, event: viewing::Event) {
        let now = self.clock.now();
        match event {
            viewing::Event::FirstPicture { commune, camera } => {
                for waited in self.desk.handle_first_picture(&commune, &camera, now) {
                    self.metrics
                        .first_picture_seconds
                        .observe(waited.as_secs_f64());
                }
            }
            viewing::Event::KeyFrameWanted { commune, relay } => {
                self.send(&commune, &ToGateway::KeyFrame { relay });
            }
            viewing::Event::StreamsWanted {
                commune,
                relay,
                first,
                other,
            } => self.want_streams(&commune, relay, first, other),
            viewing::Event::ViewingStarted(viewing) => {
                let viewer = Viewer {
                    number: viewing.number,
                    grant: viewing.grant,
                    commune: viewing.commune,
                    camera: viewing.camera,
                    who: viewing.who,
                    how: viewing.how.to_owned(),
                    from: viewing.from,
                };
                self.watched.mark(now.wall);
                self.desk.handle_viewing_started(viewer, now);
            }
            viewing::Event::ViewingEnded(viewing, reason) => {
                self.desk.handle_viewing_ended(viewing.number, reason, now);
            }
        }
    }

    fn ask(&mut self, ask: Ask) {
        let now = self.clock.now();
        match ask {
            Ask::Request { text, reply } => {
                self.state.next_caller += 1;
                let caller = self.state.next_caller;
                let came = now.boot;
                self.state.callers.insert(caller, Waiting { came, reply });
                self.desk.handle_request(caller, &text, now);
            }
            Ask::Asked {
                request,
                unit,
                reply,
            } => {
                // The one who asked may have gone; nobody misses the answer then.
                let _ = reply.send(self.desk.asked(request, &unit).cloned());
            }
            Ask::Release {
                grant,
                operator,
                reply,
            } => {
                let released = self.desk.handle_release(grant, &operator, now);
                self.carry_out();
                let view = self.desk.grant(grant).cloned();
                let view = view.ok_or_else(|| Refusal::from(Reason::GrantUnknown));
                let _ = reply.send(released.and(view));
            }
            Ask::Cancel {
                request,
                operator,
                reply,
            } => {
                // The one who asked may have gone.
                let _ = reply.send(self.desk.handle_cancel(request, &operator));
            }
            Ask::Snapshot {
                still,
                operator,
                reply,
            } => {
                self.state.next_caller += 1;
                let caller = self.state.next_caller;
                self.state.stills.insert(caller, reply);
                self.desk.handle_snapshot(caller, still, &operator, now);
            }
            Ask::Focus { client, cameras } => {
                self.state.is_focus_new = true;
                if cameras.is_empty() {
                    self.state.focus.remove(&client);
                } else if self.state.focus.len() < FOCUS_LIMIT
                    || self.state.focus.contains_key(&client)
                {
                    self.state.focus.insert(client, cameras);
                }
            }
            Ask::Reload { loaded, reply } => {
                let (acceptor, listeners) = (self.acceptor.clone(), self.listeners.clone());
                let old = Arc::clone(&self.shared.borrow().settings);
                let reading = tokio::task::spawn_blocking(move || Reload {
                    read: Fetched::read(&acceptor, &listeners, &old, &loaded.settings),
                    loaded,
                    reply,
                });
                self.state.reloads.push_back(reading);
            }
            Ask::ReloadFailed { error } => {
                self.note_reload(crate::format::ids::Sha256::ZERO, Some(error));
            }
        }
    }

    /// New settings are read.
    fn reloaded(&mut self, reload: Reload) {
        let Reload {
            loaded,
            read,
            reply,
        } = reload;
        let result = read.map(|fetched| self.apply(&loaded.settings, fetched));
        self.note_reload(loaded.hash, result.as_ref().err().cloned());
        // The caller may be gone.
        let _ = reply.send(result);
    }

    fn apply(&mut self, settings: &settings::Receiver, fetched: Fetched) {
        let Fetched {
            rules,
            tiles,
            link,
            listeners,
            signer,
        } = fetched;
        self.journal.sign_with(signer);
        self.metrics.apply(settings);
        let witnessed = !settings.witnesses.is_empty();
        self.journal.set_keep(settings.keep, witnessed);
        self.notify.apply(settings.notify.clone());
        show_warnings(&self.checks, settings);
        self.atlas.apply(&settings.console, tiles);
        let authorities: Arc<[_]> = rules.authorities.clone().into();
        // What they end is told before connections learn that their token may be worth nothing.
        self.desk.handle_settings(rules, self.clock.now());
        self.carry_out();
        let accounts = Accounts::of(&settings.accounts);
        self.accounts.send_replace(Arc::new(accounts));
        self.incidents.reload(&authorities);
        self.witnesses.apply(&settings.witnesses);
        self.copies.apply(settings.copies.as_ref());
        self.listeners.apply(listeners);
        self.acceptor.apply(link);
        let settings = Arc::new(settings.clone());
        let addresses = Addresses::of(&self.listeners, &self.acceptor);
        self.shared.send_modify(|shared| {
            *shared = Arc::new(Shared {
                settings,
                authorities,
                addresses,
                generation: shared.generation + 1,
            });
        });
    }

    /// Does what the desk wants, shows what changed, and tells who listens.
    fn carry_out(&mut self) {
        let mut news = News::default();
        while let Some(command) = self.desk.poll_command() {
            self.carry_out_one(command, &mut news);
        }
        let blocked = self.desk.viewers_refused().is_some() || self.journal.health().is_err();
        self.hub
            .refuse_viewers(blocked.then_some(Reason::JournalUnavailable));
        if self.state.shown != Some(self.desk.version()) {
            self.state.shown = Some(self.desk.version());
            self.state.is_focus_new = true;
            self.show();
        }
        for notice in news.notices {
            // An error says that nobody listens.
            let _ = self.notices.send(notice);
        }
        for (caller, result) in news.answers {
            let Some(Waiting { came, reply }) = self.state.callers.remove(&caller) else {
                continue;
            };
            if result.is_ok() {
                let took = self.clock.now().boot.since(came);
                self.metrics.grant_seconds.observe(took.as_secs_f64());
            }
            let view = result.and_then(|grant| {
                let view = self.desk.grant(grant).cloned();
                view.ok_or_else(|| Reason::Internal.into())
            });
            let _ = reply.send(view.map(Answered::Granted));
        }
        // Relays come and go with what is shown; nothing else moves a focus.
        if std::mem::take(&mut self.state.is_focus_new) {
            self.send_focus();
        }
    }

    fn carry_out_one(&mut self, command: Command, news: &mut News) {
        match command {
            Command::Record { ticket, entry } => {
                let kept = record::Records::wants(&entry).then(|| (*entry).clone());
                self.records.push(ticket, *entry, kept);
            }
            Command::Send { commune, message } => self.send(&commune, &message),
            Command::SendHeads {
                commune,
                after,
                acknowledged,
            } => {
                if let Some((_, link)) = self.state.links.get(&commune) {
                    let shape = |head: &str| self.desk.head_for(&commune, head);
                    let lines = (after, acknowledged);
                    self.records
                        .send_heads(link, shape, lines, ToGateway::Heads);
                }
            }
            Command::FindLine { commune, seq } => self.records.read_line(commune, seq),
            Command::Answer { caller, result } => news.answers.push((caller, result)),
            Command::Snapshot { caller, result } => {
                if let Some(reply) = self.state.stills.remove(&caller) {
                    // The one who asked may be gone.
                    let _ = reply.send(result);
                }
            }
            Command::Wait {
                caller,
                request,
                commune,
                approve_by,
            } => {
                if let Some((claims, operator)) = self.desk.waits(request) {
                    let about = About::request(claims, operator);
                    let reason = Some(Reason::ApprovalPending);
                    self.notify.push((NoticeKind::Waiting, about, reason));
                }
                if let Some(waiting) = self.state.callers.remove(&caller) {
                    // The one who asked may be gone.
                    let _ = waiting.reply.send(Ok(Answered::Waiting {
                        request,
                        commune,
                        approve_by,
                    }));
                }
            }
            Command::Allow {
                permit,
                commune,
                camera,
                relay,
            } => self.hub.allow(&permit, &commune, &camera, relay),
            Command::EndGrant { grant, reason } => {
                let figures = self.hub.end_grant(grant, reason);
                self.desk.handle_counted(grant, figures, self.clock.now());
            }
            Command::EndCamera {
                grant,
                commune,
                camera,
                reason,
            } => self.hub.end_camera(grant, &commune, &camera, reason),
            Command::EndViewers {
                grant,
                players,
                reason,
            } => self.hub.end_viewers(grant, players, reason),
            Command::AdmitViewer { number } => self.hub.admit(number),
            Command::RefuseViewer { number, reason } => self.hub.refuse(number, reason),
            Command::TellPassword { commune, grant } => {
                if let Some(view) = self.desk.grant(grant) {
                    let password = self.credentials.of(view);
                    self.send(&commune, &ToGateway::Password { grant, password });
                }
            }
            Command::Notify(notice) => news.notices.push(notice),
            Command::Count { refused } => {
                self.metrics.count_request(refused.map_or(Ok(()), Err));
            }
        }
    }

    fn show(&self) {
        let table = Table::of(&self.desk, &self.table.borrow());
        self.table.send_replace(Arc::new(table));
        let active = i64::try_from(self.desk.grants_active()).unwrap_or(i64::MAX);
        self.metrics.grants_active.set(active);
    }

    fn send(&self, commune: &CommuneId, message: &ToGateway) {
        if let Some((_, link)) = self.state.links.get(commune) {
            link.send(message);
        }
    }

    /// Figures and health; and the clocks, should the loop never have been idle.
    fn look(&mut self) {
        let now = self.clock.now();
        if self.desk.is_watched() {
            self.watched.mark(now.wall);
        }
        self.desk.handle_timeout(now);
        if let Some(removal) = self.incidents.forget() {
            self.records.beside(removal);
        }
        let stats = self.journal.stats();
        let losses = self.desk.losses();
        let is_whole = stats.intact && losses.own().is_none();
        self.metrics.journal_intact.set(i64::from(is_whole));
        for (commune, _) in self.desk.communes() {
            let is_whole = losses.theirs(commune.as_str()).is_none();
            let gauge = &self.metrics.commune_journal_intact;
            let gauge = gauge.with_label_values(&[commune.as_str()]);
            gauge.set(i64::from(is_whole));
        }
        let goes_on = self.shared.borrow().settings.relay_after_loss;
        self.checks
            .set("journals", Check::of_losses(losses, goes_on));
        let (health, owed) = (self.journal.health(), self.desk.owed());
        self.checks
            .set("journal", Check::of_journal(health, stats.intact, owed));
        self.show_communes();
        let behind = self.desk.clock_behind(now);
        self.checks.set("clock", Check::of_clock(behind));
        let lists = self.metrics.lists.warnings(self.clock.now().wall);
        self.checks
            .set("revocation", metrics::revocation_check(lists));
        let ends = self.metrics.ends.check(self.clock.now().wall);
        self.checks.set("ends", ends);
        let (mut up, mut all) = (0, 0);
        for (_, commune) in self.desk.communes() {
            all += 1;
            up += usize::from(commune.online);
        }
        let detail = format!("{up} of {all} communes");
        let check = if up == all {
            Check::ok(detail)
        } else {
            Check::warning(
                detail,
                "see GET /api/v1/communes for which, and call their contact",
            )
        };
        self.checks.set("links", check);
    }
}
