//! What cameras of one host share: a limit of sessions, paced starts, and the
//! hold after a refused password. And what all share: how many starts are under
//! way at once ([`crate::policy::starts`]).
//!
//! A host is the name or address in the camera's URL: a recorder serves many
//! cameras, counts their sessions together and locks its account for all of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::Instant;

use super::cause;
use super::front::challenge::Way;
use crate::clock::Boot;
use crate::config::settings;
use crate::policy::camera::{Failure, Retry};
use crate::policy::starts::{Starts, Ticket};
use crate::reason::{Reason, Refusal};

/// Pause between two starts at a host that has no `[[host]]`: 200 cameras of one
/// recorder asked for at once are opened within two seconds, not in one burst.
const START_INTERVAL: Duration = Duration::from_millis(10);

/// Logins under way at once once a password has proven right. Recorders lock an
/// account after five refusals: should the password change, this many are lost.
const LOGINS: u32 = 3;

/// All hosts. One lock, never held across a wait.
#[derive(Debug)]
pub(crate) struct Hosts {
    /// Where the time of starts begins.
    origin: Instant,
    state: Mutex<State>,
}

impl Default for Hosts {
    fn default() -> Self {
        Self {
            origin: Instant::now(),
            state: Mutex::default(),
        }
    }
}

#[derive(Debug, Default)]
struct State {
    rules: HashMap<String, settings::Host>,
    hosts: HashMap<String, Host>,
    starts: Starts,
    /// How often settings were read.
    generation: u64,
    /// Told that a start has its place.
    admitted: HashMap<Ticket, oneshot::Sender<()>>,
}

#[derive(Debug)]
struct Host {
    sessions: u32,
    next_start: Instant,
    /// Wakes lingering streams: another camera of the host needs a session.
    pressure: Arc<Notify>,
    /// Wakes those who wait for a session.
    freed: Arc<Notify>,
    logins: HashMap<String, Login>,
}

#[derive(Debug)]
struct Login {
    held: Option<Refusal>,
    proven: bool,
    /// How the host wants it: so that its next camera is not asked in a way it refuses.
    way: Option<Way>,
    turns: Arc<Semaphore>,
}

/// A session's place at its host; free again when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    hosts: Arc<Hosts>,
    host: String,
}

/// A place among the starts that are under way, over all hosts; given back when dropped.
#[derive(Debug)]
pub(crate) struct Start {
    hosts: Arc<Hosts>,
    ticket: Ticket,
}

/// The turn to try a password; others wait meanwhile.
#[derive(Debug)]
pub(crate) struct Turn {
    hosts: Arc<Hosts>,
    /// Of the settings that it was given under.
    generation: u64,
    host: String,
    user: String,
    _permit: OwnedSemaphorePermit,
}

impl Hosts {
    /// The limits of these settings; passwords are tried again.
    pub(crate) fn configure(&self, rules: &[settings::Host]) {
        let mut state = self.lock();
        state.generation += 1;
        state.rules = rules
            .iter()
            .map(|rule| (rule.address.clone(), rule.clone()))
            .collect();
        for host in state.hosts.values_mut() {
            for login in host.logins.values_mut() {
                login.held = None;
                login.proven = false;
            }
            host.freed.notify_waiters();
        }
    }

    /// Waits for room and then for the host's next start. Lingering sessions of
    /// the host give way; if none does within `patience`, the host is busy.
    pub(crate) async fn enter(
        self: &Arc<Self>,
        host: &str,
        patience: Duration,
        busy_wait: Duration,
    ) -> Result<Place, Failure> {
        let deadline = Instant::now() + patience;
        loop {
            let (freed, limit) = match self.try_enter(host) {
                Ok((place, start)) => {
                    // A timer rounds up to its next millisecond, and one or two pass.
                    if start > Instant::now() {
                        tokio::time::sleep_until(start).await;
                    }
                    return Ok(place);
                }
                Err(full) => full,
            };
            // A place freed between the look and the wait is found after 100 ms.
            let wait = Duration::from_millis(100).min(deadline.duration_since(Instant::now()));
            if wait.is_zero() {
                return Err(cause::busy(
                    format!(
                        "its host allows {limit} sessions at once (max_sessions), and all are in use"
                    ),
                    busy_wait,
                ));
            }
            // Either way the next round looks again.
            let _ = tokio::time::timeout(wait, freed.notified()).await;
        }
    }

    /// A place and when to start; where there is none: what wakes those who wait, and the limit.
    fn try_enter(self: &Arc<Self>, host: &str) -> Result<(Place, Instant), (Arc<Notify>, u32)> {
        let mut state = self.lock();
        let limit = state.limit(host);
        let entry = state.host(host);
        if entry.sessions >= limit {
            entry.pressure.notify_waiters();
            return Err((entry.freed.clone(), limit));
        }
        entry.sessions += 1;
        let start = state.next_start(host);
        let place = Place {
            hosts: self.clone(),
            host: host.to_owned(),
        };
        Ok((place, start))
    }

    /// When a camera of the host may be asked for its description, which is no session: in the
    /// pace of the starts. `None`: all sessions of the host are in use.
    pub(crate) fn look(&self, host: &str) -> Option<Instant> {
        self.has_room(host).then(|| self.lock().next_start(host))
    }

    /// Whether the host has said neither that this user's password is right nor that it is wrong.
    pub(crate) fn is_doubted(&self, host: &str, user: &str) -> bool {
        let state = self.lock();
        let login = state.hosts.get(host).and_then(|host| host.logins.get(user));
        login.is_none_or(|login| !login.proven && login.held.is_none())
    }

    /// Waits for a place among all starts that are under way.
    pub(crate) async fn start(self: &Arc<Self>) -> Start {
        let (admit, mut admitted) = oneshot::channel();
        let start = {
            let mut state = self.lock();
            let ticket = state.starts.handle_asked();
            state.admitted.insert(ticket, admit);
            state.admit(self.now());
            Start {
                hosts: self.clone(),
                ticket,
            }
        };
        loop {
            let due = self.lock().starts.poll_timeout();
            let due = due.map(|due| self.origin + due.0);
            tokio::select! {
                biased;
                // It is never dropped unsent while the start is there.
                _ = &mut admitted => return start,
                () = sleep_until(due) => {
                    let now = self.now();
                    let mut state = self.lock();
                    state.starts.handle_timeout(now);
                    state.admit(now);
                }
            }
        }
    }

    fn now(&self) -> Boot {
        Boot(self.origin.elapsed())
    }

    /// Whether a session could be opened now without another closing.
    pub(crate) fn has_room(&self, host: &str) -> bool {
        let state = self.lock();
        let sessions = state.hosts.get(host).map_or(0, |host| host.sessions);
        sessions < state.limit(host)
    }

    /// What wakes a lingering stream of this host.
    pub(crate) fn pressure(&self, host: &str) -> Arc<Notify> {
        self.lock().host(host).pressure.clone()
    }

    /// Waits for the turn to log in: one at a time until a password has proven
    /// right, so that a wrong one is tried once however many cameras have it.
    pub(crate) async fn login(self: &Arc<Self>, host: &str, user: &str) -> Result<Turn, Failure> {
        loop {
            let (turns, wanted) = {
                let mut state = self.lock();
                let login = state.host(host).login(user);
                login.refused()?;
                (login.turns.clone(), if login.proven { 1 } else { LOGINS })
            };
            let Ok(permit) = turns.acquire_many_owned(wanted).await else {
                return Err(cause::again(Reason::ShuttingDown, ""));
            };
            let mut state = self.lock();
            let login = state.host(host).login(user);
            login.refused()?;
            if login.proven || wanted == LOGINS {
                return Ok(Turn {
                    generation: state.generation,
                    hosts: self.clone(),
                    host: host.to_owned(),
                    user: user.to_owned(),
                    _permit: permit,
                });
            }
            // Settings were reloaded meanwhile: the password must prove itself again.
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Until then; for ever, where nothing is due.
async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

impl State {
    /// How many sessions the host allows at once.
    fn limit(&self, host: &str) -> u32 {
        let rule = self.rules.get(host);
        rule.and_then(|rule| rule.max_sessions).unwrap_or(u32::MAX)
    }

    /// Takes the host's next start.
    fn next_start(&mut self, host: &str) -> Instant {
        let rule = self.rules.get(host);
        let interval = rule.map_or(START_INTERVAL, |rule| rule.start_interval);
        let entry = self.host(host);
        let start = entry.next_start.max(Instant::now());
        entry.next_start = start + interval;
        start
    }

    /// Lets in all for whom there is a place.
    fn admit(&mut self, now: Boot) {
        while let Some(ticket) = self.starts.poll_admitted(now) {
            if let Some(admit) = self.admitted.remove(&ticket) {
                // The one who waited may have gone: its own end gives the place back.
                let _ = admit.send(());
            }
        }
    }

    fn host(&mut self, host: &str) -> &mut Host {
        self.hosts.entry(host.to_owned()).or_insert_with(|| Host {
            sessions: 0,
            next_start: Instant::now(),
            pressure: Arc::default(),
            freed: Arc::default(),
            logins: HashMap::new(),
        })
    }
}

impl Host {
    fn login(&mut self, user: &str) -> &mut Login {
        self.logins.entry(user.to_owned()).or_insert_with(|| Login {
            held: None,
            proven: false,
            way: None,
            turns: Arc::new(Semaphore::new(LOGINS as usize)),
        })
    }
}

impl Login {
    fn refused(&self) -> Result<(), Failure> {
        match &self.held {
            None => Ok(()),
            Some(refusal) => Err(Failure {
                refusal: refusal.clone(),
                retry: Retry::Hold,
            }),
        }
    }
}

impl Turn {
    /// Whether the password was right before: others try it at the same time.
    pub(crate) fn is_proven(&self) -> bool {
        let mut state = self.hosts.lock();
        state.host(&self.host).login(&self.user).proven
    }

    /// The way to sign that proved right at this host.
    pub(in crate::gateway) fn way(&self) -> Option<Way> {
        let mut state = self.hosts.lock();
        state.host(&self.host).login(&self.user).way
    }

    /// The password is right, sent in this way.
    pub(in crate::gateway) fn accepted(self, way: Option<Way>) {
        let mut state = self.hosts.lock();
        if state.generation != self.generation {
            return;
        }
        let login = state.host(&self.host).login(&self.user);
        login.proven = true;
        login.way = way.or(login.way);
    }

    /// The password was refused: nobody tries it again until settings change.
    pub(crate) fn refused(self, refusal: &Refusal) {
        let mut state = self.hosts.lock();
        if state.generation != self.generation {
            return; // It may have been the password of before.
        }
        let login = state.host(&self.host).login(&self.user);
        login.proven = false;
        login.held = Some(refusal.clone());
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.hosts.lock();
        let host = state.host(&self.host);
        host.sessions = host.sessions.saturating_sub(1);
        host.freed.notify_waiters();
    }
}

impl Drop for Start {
    fn drop(&mut self) {
        let now = self.hosts.now();
        let mut state = self.hosts.lock();
        state.admitted.remove(&self.ticket);
        state.starts.handle_over(self.ticket);
        state.admit(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::starts::PLACES;

    fn limited(max: u32) -> Arc<Hosts> {
        let hosts = Arc::new(Hosts::default());
        hosts.configure(&[settings::Host {
            address: "nvr".to_owned(),
            max_sessions: Some(max),
            start_interval: Duration::ZERO,
        }]);
        hosts
    }

    #[tokio::test]
    async fn a_full_host_is_busy_until_a_place_is_free() {
        let hosts = limited(1);
        let busy_wait = Duration::from_secs(60);
        let place = hosts.enter("nvr", Duration::ZERO, busy_wait).await;
        assert!(place.is_ok());
        let busy = hosts.enter("nvr", Duration::ZERO, busy_wait).await;
        let busy = busy
            .err()
            .map(|failure| (failure.refusal.reason, failure.retry));
        assert_eq!(busy, Some((Reason::CameraBusy, Retry::After(busy_wait))));
        assert!(
            hosts
                .enter("other", Duration::ZERO, busy_wait)
                .await
                .is_ok()
        );
        drop(place);
        assert!(hosts.enter("nvr", Duration::ZERO, busy_wait).await.is_ok());
    }

    #[tokio::test]
    async fn a_look_takes_no_place_and_moves_nobody_from_a_full_host() {
        let hosts = limited(1);
        assert!(hosts.look("nvr").is_some());
        let place = hosts.enter("nvr", Duration::ZERO, Duration::ZERO).await;
        assert!(place.is_ok(), "the look took none");
        let pressure = hosts.pressure("nvr");
        let mut pressed = Box::pin(pressure.notified());
        assert!(futures_util::poll!(&mut pressed).is_pending());
        assert_eq!(hosts.look("nvr"), None);
        assert!(futures_util::poll!(&mut pressed).is_pending());
        drop(place);
        assert!(hosts.look("nvr").is_some());
    }

    #[tokio::test]
    async fn starts_wait_for_a_place_and_get_it_when_one_ends_or_takes_too_long() {
        let hosts = Arc::new(Hosts::default());
        let mut held = Vec::new();
        for _ in 0..PLACES {
            held.push(hosts.start().await);
        }
        let mut waiting = Box::pin(hosts.start());
        let gone = Box::pin(hosts.start());
        assert!(futures_util::poll!(&mut waiting).is_pending());
        drop(gone);
        held.pop();
        let next = waiting.await;
        // Nobody gives a place back now: the oldest loses its.
        let late = hosts.start().await;
        drop((next, late, held));
        assert_eq!(hosts.lock().admitted.len(), 0);
        assert!(hosts.lock().starts.poll_timeout().is_none());
    }

    #[tokio::test]
    async fn one_refused_password_holds_all_who_wait_with_it() {
        let hosts = limited(8);
        let first = hosts.login("nvr", "admin").await.unwrap();
        let waiting = {
            let hosts = hosts.clone();
            tokio::spawn(async move { hosts.login("nvr", "admin").await.map(drop) })
        };
        tokio::task::yield_now().await;
        first.refused(&Reason::CameraUnauthorized.into());
        let refused = waiting.await.unwrap().err().unwrap();
        assert_eq!(refused.retry, Retry::Hold);
        assert!(hosts.login("nvr", "viewer").await.is_ok());
        assert!(!hosts.is_doubted("nvr", "admin") && hosts.is_doubted("nvr", "viewer"));
        hosts.configure(&[]);
        // Tried before the password was corrected, answered after.
        let late = hosts.login("nvr", "admin").await.unwrap();
        hosts.configure(&[]);
        late.refused(&Reason::CameraUnauthorized.into());
        let turn = hosts.login("nvr", "admin").await.unwrap();
        turn.accepted(None);
        let both = (
            hosts.login("nvr", "admin").await.is_ok(),
            hosts.login("nvr", "admin").await.is_ok(),
        );
        assert_eq!(both, (true, true));
    }
}
