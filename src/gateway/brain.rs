//! The control task: drives the gate, and nothing else decides.
//!
//! | queue | bound | when full |
//! |---|---|---|
//! | events of links | [`EVENT_LIMIT`] messages of at most 1 MiB | links wait: their peers are slowed down |
//! | notices of relays | [`NOTICE_LIMIT`] | lost, logged; the next one tells |
//! | the uplink's measured capacity | one figure | the newest stays |
//! | orders to the frames thread | [`ORDER_LIMIT`] | the brain waits; that thread never waits for the brain |
//! | journal entries in flight | [`crate::policy::peer::ledger::PENDING_LIMIT`] | requests are refused, `journal_unavailable` |
//! | socket requests | one a connection | they wait |
//! | questions of the commune's page | [`super::page::ASK_LIMIT`] | they wait |

mod checks;
mod journal;
mod local;
mod page;
mod reload;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::attest::Attest;
use super::frames::{Order, Start};
use super::health::Health;
use super::page::Ask;
use super::socket::Asked;
use crate::clock::Clock;
use crate::config::{Loaded, settings};
use crate::connect::listen::Listener;
use crate::copies;
use crate::format::control::{RelayState, ToGateway, ToReceiver};
use crate::format::ids::{CameraId, CentreId, GrantId, ReceiverId};
use crate::gateway::relay::Notice;
use crate::journal::looks::Looks;
use crate::journal::writer::Writer;
use crate::link::dial::Dialer;
use crate::link::silence::Standby;
use crate::link::{Event, Link};
use crate::media::relay::RelayId;
use crate::media::sink::State;
use crate::metrics;
use crate::metrics::health::{Check, Checks};
use crate::notify::Notices;
use crate::pki::Kept;
use crate::policy::gate::{Command, Fresh, Gate};
use crate::reason::Reason;
use crate::records::{self, Ready, Records};
use crate::witness;

pub(super) use page::Desk;
use reload::Reread;
pub(super) use reload::shared;

/// Events of links that wait.
pub(super) const EVENT_LIMIT: usize = 64;
/// Notices of relays that wait.
pub(super) const NOTICE_LIMIT: usize = 4_096;
/// Orders that wait for the frames thread.
pub(super) const ORDER_LIMIT: usize = 4_096;
/// How often health is looked at when nothing happens.
const HEALTH_TICK: Duration = Duration::from_secs(5);
/// How long cameras and links may take at a stop.
const FRAMES_END: Duration = Duration::from_secs(15);

/// A reload that somebody waits for.
pub(super) type ReloadReply = oneshot::Sender<Result<(), String>>;

/// What comes in.
#[derive(Debug)]
pub(super) struct Inputs {
    pub(super) events: mpsc::Receiver<Event<ToGateway>>,
    pub(super) notices: mpsc::Receiver<(RelayId, Notice)>,
    pub(super) asked: mpsc::Receiver<Asked>,
    pub(super) reloads: mpsc::Receiver<ReloadReply>,
    /// Questions of the commune's page.
    pub(super) page: mpsc::Receiver<Ask>,
    /// What the uplink was measured to carry: bits per second.
    pub(super) capacity: watch::Receiver<Option<u64>>,
    /// The frames thread's end.
    pub(super) frames_end: oneshot::Receiver<Result<(), String>>,
}

/// What the brain works with.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) gate: Gate,
    pub(super) attest: Attest,
    pub(super) looks: Looks,
    /// What probes found of the cameras.
    pub(super) health: Health,
    pub(super) clock: Clock,
    pub(super) writer: Writer,
    pub(super) metrics: Arc<metrics::Gateway>,
    pub(super) notify: Notices,
    pub(super) checks: Checks,
    pub(super) orders: mpsc::Sender<Order>,
    pub(super) dialer: Dialer,
    pub(super) witnesses: witness::Handle,
    pub(super) copies: copies::Handle,
    /// Of the metrics.
    pub(super) listener: Listener,
    /// Of the commune's page, where there is one.
    pub(super) page_listener: Option<Listener>,
    pub(super) loaded: Loaded<Arc<settings::Gateway>>,
    /// What is held for the commune's page.
    pub(super) desk: Desk,
}

/// The control task.
pub(super) struct Brain {
    parts: Parts,
    /// The links that are up, each with its session.
    pub(super) links: BTreeMap<ReceiverId, (u64, Link)>,
    /// What is known of those that carry nothing and may have to.
    standby: BTreeMap<ReceiverId, Option<Standby>>,
    relays: BTreeMap<RelayId, (ReceiverId, CameraId)>,
    /// Relays that are to start, until the gate has no more commands.
    starts: Vec<Start>,
    records: Records<ReceiverId>,
    reading: JoinSet<(Reread, ReloadReply)>,
    /// The file's last state, for `/ready`.
    reload_error: Option<String>,
}

impl Brain {
    pub(super) fn new(parts: Parts) -> Self {
        Self {
            links: BTreeMap::new(),
            standby: BTreeMap::new(),
            relays: BTreeMap::new(),
            starts: Vec::new(),
            records: Records::new(parts.writer.clone(), parts.notify.clone()),
            parts,
            reading: JoinSet::new(),
            reload_error: None,
        }
    }

    /// Runs until the token is cancelled, then stops everything in order.
    pub(super) async fn run(
        mut self,
        mut inputs: Inputs,
        token: CancellationToken,
    ) -> Result<(), String> {
        let mut health = tokio::time::interval(HEALTH_TICK);
        self.carry_out().await;
        let result = loop {
            let now = self.parts.clock.now();
            let due = self.parts.gate.poll_timeout(now);
            let clock = self.parts.clock.clone();
            let timeout = async move {
                match due {
                    Some(due) => clock.sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = token.cancelled() => break Ok(()),
                ended = &mut inputs.frames_end => {
                    break Err(match ended {
                        Ok(Err(cause)) => format!("the frames thread ended: {cause}"),
                        Ok(Ok(())) | Err(_) => "the frames thread ended".to_owned(),
                    });
                }
                // Ends are due whatever else there is to do.
                () = timeout => {
                    self.tell_silence();
                    self.parts.gate.handle_timeout(self.parts.clock.now());
                }
                Some(ready) = self.records.next() => self.ready(ready),
                Some(asked) = inputs.asked.recv() => self.answer(asked),
                Some(ask) = inputs.page.recv() => self.page(ask),
                Some(notice) = inputs.notices.recv() => self.notice(notice),
                // One after the other: the newest settings win.
                Some(reply) = inputs.reloads.recv(), if self.reading.is_empty() => self.reload(reply),
                Ok(()) = inputs.capacity.changed() => {
                    let capacity = *inputs.capacity.borrow_and_update();
                    self.parts.gate.handle_capacity(capacity);
                }
                Some(read) = self.reading.join_next() => {
                    if let Ok((read, reply)) = read {
                        self.reloaded(read, reply).await;
                    }
                }
                found = self.parts.looks.damage() => self.damaged(&found),
                _ = health.tick() => {
                    self.attest();
                    self.tell_probed();
                }
                // Last, for there may be no end of them: a centre that makes noise
                // must not keep the commune from its own settings and cuts.
                Some(event) = inputs.events.recv() => self.event(event).await,
            }
            self.carry_out().await;
        };
        self.stop(inputs.frames_end).await;
        result
    }

    fn ready(&mut self, ready: Ready<ReceiverId>) {
        let now = self.parts.clock.now();
        let gate = &mut self.parts.gate;
        match ready {
            Ready::Recorded((ticket, result, _)) => gate.handle_recorded(ticket, result, now),
            Ready::Line(receiver, line) => gate.handle_own_line(&receiver, &line, now),
            Ready::Done => {}
        }
    }

    /// Tells the gate which links are heard: those that carry pictures know it, others are
    /// asked while they may have to take some.
    fn tell_silence(&mut self) {
        let (gate, now) = (&mut self.parts.gate, self.parts.clock.now());
        self.standby.retain(|of, _| self.links.contains_key(of));
        for (receiver, (_, link)) in &self.links {
            let stands_by = link.relays() == 0 && gate.has_grants_of(&receiver.centre);
            let silent_for = if stands_by {
                let standby = self.standby.entry(receiver.clone()).or_default();
                link.ask(standby).max(link.unheard())
            } else {
                self.standby.remove(receiver);
                link.unheard()
            };
            gate.handle_silence(receiver, silent_for, now);
        }
    }

    /// Whose link this session is, while it is the newest.
    fn receiver_of(&self, session: u64) -> Option<ReceiverId> {
        let mut links = self.links.iter();
        let (receiver, _) = links.find(|(_, (number, _))| *number == session)?;
        Some(receiver.clone())
    }

    async fn event(&mut self, event: Event<ToGateway>) {
        let now = self.parts.clock.now();
        match event {
            Event::Up {
                peer,
                session,
                link,
            } => {
                let Some((centre, key)) = CentreId::new(peer).ok().zip(link.peer_key()) else {
                    return;
                };
                let receiver = ReceiverId { centre, key };
                self.links.insert(receiver.clone(), (session, link.clone()));
                self.order(Order::LinkUp(receiver.clone(), link)).await;
                let (head, continues) = (self.parts.writer.head(), self.parts.writer.continues());
                let (head, continues) = (head.as_deref(), continues.as_deref());
                let gate = &mut self.parts.gate;
                gate.handle_link_up(&receiver, session, head, continues, now);
            }
            Event::Message {
                session, message, ..
            } => {
                let Some(receiver) = self.receiver_of(session) else {
                    return;
                };
                let fresh = Fresh { grant: new_grant() };
                let asked = matches!(message, ToGateway::Request { .. });
                let gate = &mut self.parts.gate;
                gate.handle_message(&receiver, session, message, fresh, now);
                if asked {
                    let took = self.parts.clock.now().boot.since(now.boot);
                    let metrics = &self.parts.metrics;
                    metrics.request_check_seconds.observe(took.as_secs_f64());
                }
            }
            Event::Down { session, cause, .. } => {
                // An older link's end says nothing of the newest.
                let Some(receiver) = self.receiver_of(session) else {
                    return;
                };
                tracing::info!(%receiver, session, %cause, "link down");
                self.links.remove(&receiver);
                self.order(Order::LinkDown(receiver.clone())).await;
                self.parts.gate.handle_link_down(&receiver, session, now);
            }
        }
    }

    fn notice(&mut self, (relay, notice): (RelayId, Notice)) {
        let Some((receiver, _)) = self.relays.get(&relay).cloned() else {
            return;
        };
        let (state, refusal) = match notice {
            Notice::Camera(State::Starting) => (RelayState::Starting, None),
            Notice::Camera(State::Live) | Notice::OnTime => (RelayState::Live, None),
            Notice::Camera(State::Retrying(refusal)) => (RelayState::Retrying, Some(refusal)),
            Notice::Camera(State::Failed(refusal)) => (RelayState::Failed, Some(refusal)),
            Notice::Late => (RelayState::Late, None),
            Notice::Profile(profile, cause) => {
                let gate = &mut self.parts.gate;
                return gate.handle_relay_profile(&receiver, relay, profile, cause);
            }
            // The gate's own timer and the link's end tell these.
            Notice::Expired | Notice::LinkLost => return,
        };
        let gate = &mut self.parts.gate;
        gate.handle_relay_state(&receiver, relay, state, refusal);
    }

    /// Carries out what the gate wants, in order.
    async fn carry_out(&mut self) {
        let mut has_stirred = false;
        while let Some(command) = self.parts.gate.poll_command() {
            has_stirred = true;
            // Nothing may overtake relays that are to start.
            if !matches!(command, Command::StartRelay { .. }) {
                self.start().await;
            }
            self.command(command).await;
        }
        self.start().await;
        if has_stirred {
            self.stir();
        }
        self.report();
    }

    async fn command(&mut self, command: Command) {
        match command {
            Command::Record { ticket, entry } => self.records.push(ticket, *entry, None),
            Command::Send { receiver, message } => {
                log_sent(&receiver, &message);
                if let Some((_, link)) = self.links.get(&receiver) {
                    link.send(&*message);
                }
            }
            Command::SendHeads {
                receiver,
                after,
                acknowledged,
            } => {
                if let Some((_, link)) = self.links.get(&receiver) {
                    let shape = |head: &str| self.parts.gate.head_for(&receiver.centre, head);
                    let lines = (after, acknowledged);
                    self.records
                        .send_heads(link, shape, lines, ToReceiver::Heads);
                }
            }
            Command::FindLine { receiver, seq } => self.records.read_line(receiver, seq),
            Command::StartRelay {
                permit,
                receiver,
                relay,
                camera,
                wish,
                until,
            } => {
                tracing::info!(%receiver, %camera, %relay, grant = %permit.grant(), "relay opened");
                self.parts.metrics.relays_opened_total.inc();
                self.relays
                    .insert(relay, (receiver.clone(), camera.clone()));
                let grant = permit.grant();
                let meter = self
                    .parts
                    .attest
                    .count(&receiver.centre, relay, grant, &camera);
                let start = Start {
                    permit,
                    receiver,
                    relay,
                    camera,
                    wish,
                    until,
                    counted: (grant, meter),
                };
                self.starts.push(start);
            }
            Command::CountRelay {
                receiver,
                relay,
                camera,
                grant,
            } => {
                let meter = self
                    .parts
                    .attest
                    .count(&receiver.centre, relay, grant, &camera);
                self.order(Order::Count(receiver, relay, grant, meter))
                    .await;
            }
            Command::Received {
                centre,
                grant,
                received,
            } => self.parts.attest.received(&centre, grant, received),
            Command::RelayWish {
                receiver,
                relay,
                wish,
            } => self.order(Order::Wish(receiver, relay, wish)).await,
            Command::RelayUntil {
                receiver,
                relay,
                until,
            } => self.order(Order::Until(receiver, relay, until)).await,
            Command::StopRelay {
                receiver,
                relay,
                camera,
                reason,
            } => {
                tracing::info!(%receiver, %camera, %relay, %reason, "relay closed");
                let closed = &self.parts.metrics.relays_closed_total;
                closed.with_label_values(&[reason.code()]).inc();
                self.relays.remove(&relay);
                self.parts.attest.stop(&receiver.centre, relay);
                self.order(Order::Stop(receiver, relay, reason)).await;
            }
            Command::Focus { receiver, relays } => self.order(Order::Focus(receiver, relays)).await,
            Command::WantKeyFrame { camera, profile } => {
                self.order(Order::WantKeyFrame(camera, profile)).await;
            }
            Command::KeepRevocation(list) => {
                let settings = Arc::clone(&self.parts.loaded.settings);
                let metrics = Arc::clone(&self.parts.metrics);
                self.records.beside(move || {
                    if let Err(error) = Kept::writing(&settings.state_dir).keep(&list) {
                        tracing::error!(%error, "a revocation list could not be kept; it is in force until the next start");
                    }
                    metrics.apply_lists(&settings);
                });
            }
            Command::Answer { id, result } => self.answer_order(id, result),
            Command::Count { centre, refused } => {
                let outcome = refused.map_or(Ok(()), Err);
                self.parts.metrics.count_request(&centre, outcome);
            }
        }
    }

    /// Orders the relays that one input started, together.
    async fn start(&mut self) {
        if !self.starts.is_empty() {
            let starts = std::mem::take(&mut self.starts);
            self.order(Order::Start(starts)).await;
        }
    }

    async fn order(&mut self, order: Order) {
        // An error: the thread is gone, which ends the gateway by itself.
        let _ = self.parts.orders.send(order).await;
    }

    /// Tells the centres which cameras failed their newest probe: the reason alone, for the detail
    /// is the commune's to know.
    fn tell_probed(&mut self) {
        let failed = self.parts.health.failed().into_iter();
        let failed = failed
            .map(|(camera, refusal)| (camera, refusal.reason))
            .collect();
        self.parts
            .gate
            .handle_probed(&failed, self.parts.clock.now());
    }

    /// Gauges and `/ready`.
    fn report(&self) {
        let (gate, metrics) = (&self.parts.gate, &self.parts.metrics);
        let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        metrics.grants_active.set(count(gate.grants_active()));
        metrics.relays_active.set(count(gate.relays_active()));
        let waiting = count(gate.approvals_waiting());
        metrics.approvals_waiting.set(waiting);
        let intact = self.parts.writer.stats().intact;
        let losses = gate.losses();
        let is_whole = intact && losses.own().is_none();
        metrics.journal_intact.set(i64::from(is_whole));
        for centre in self
            .parts
            .loaded
            .settings
            .agreements
            .iter()
            .map(|one| &one.centre)
        {
            let is_whole = losses.theirs(centre.as_str()).is_none();
            let gauge = &metrics.centre_journal_intact;
            gauge
                .with_label_values(&[centre.as_str()])
                .set(i64::from(is_whole));
        }
        let checks = &self.parts.checks;
        let health = self.parts.writer.health();
        checks.set("journal", Check::of_journal(health, intact, gate.owed()));
        checks.set(
            "journals",
            Check::of_losses(losses, self.parts.loaded.settings.relay_after_loss),
        );
        checks.set("link", self.link_check());
        let failed = self.parts.health.failed();
        checks.set("cameras", self.camera_check(&failed));
        checks.set(
            "settings",
            match &self.reload_error {
                None => Check::ok(""),
                Some(cause) => {
                    Check::warning(cause, "correct the file and reload; the old settings run")
                }
            },
        );
        let now = self.parts.clock.now();
        checks.set("clock", Check::of_clock(gate.clock_behind(now)));
        let mut lists = gate.revocation_warnings(now);
        lists.extend(metrics.lists.warnings(now.wall));
        checks.set("revocation", metrics::revocation_check(lists));
        checks.set("ends", metrics.ends.check(now.wall));
    }

    /// The stop: relays end, centres are told, cameras are closed, the journal
    /// is written to its end. Grants live on and resume at the next start.
    async fn stop(mut self, frames_end: oneshot::Receiver<Result<(), String>>) {
        tracing::info!("stopping: relays end, grants resume at the next start");
        let now = self.parts.clock.now();
        self.parts.gate.handle_shutdown(now);
        self.carry_out().await;
        let (done, closed) = oneshot::channel();
        self.order(Order::Shutdown(done)).await;
        if tokio::time::timeout(FRAMES_END, closed).await.is_err() {
            tracing::error!("cameras and links did not close in time");
        }
        drop(frames_end);
        tracing::info!("cameras and links closed; writing the journal's last entries");
        let writer = self.parts.writer.clone();
        let rest = async {
            self.settle().await;
            // Nothing is sent any more: the figures are final.
            self.attest_now();
            self.settle().await;
        };
        records::write_stop(&writer, rest).await;
        self.records.end().await;
        self.parts.writer.close().await;
        tracing::info!("stopped");
    }
}

/// A random id. Without randomness nothing is safe: then time and address must do
/// for uniqueness, and nothing is granted twice under one id.
fn new_grant() -> GrantId {
    let mut bytes = [0; 16];
    if let Err(error) = getrandom::fill(&mut bytes) {
        tracing::error!(%error, "no randomness");
        return GrantId(uuid::Uuid::now_v7());
    }
    GrantId(uuid::Builder::from_random_bytes(bytes).into_uuid())
}

fn log_sent(receiver: &ReceiverId, message: &ToReceiver) {
    match message {
        // One line for each would let a flood fill the log.
        ToReceiver::Refused { refusal, .. } if refusal.reason == Reason::TooManyAttempts => {
            tracing::debug!(%receiver, "requests come too fast");
        }
        ToReceiver::Refused { refusal, .. } => {
            tracing::info!(%receiver, %refusal, "request refused");
        }
        ToReceiver::Granted { relays, .. } => {
            tracing::info!(%receiver, cameras = relays.len(), "request granted");
        }
        ToReceiver::WaitEnded {
            request, refusal, ..
        } => tracing::info!(%receiver, %request, %refusal, "request refused after a wait"),
        ToReceiver::Waiting { seconds, .. } => {
            tracing::warn!(%receiver, seconds, "a request waits for approval: see `fanal relays`");
        }
        ToReceiver::Ended { grant, refusal, .. } => {
            tracing::info!(%receiver, %grant, %refusal, "grant ended");
        }
        _ => tracing::debug!(%receiver, "message sent"),
    }
}
