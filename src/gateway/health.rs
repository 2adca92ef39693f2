//! Asks cameras that nobody watches for their description, so that a dead one is found before it is
//! needed: OPTIONS and DESCRIBE, never SETUP, so no picture comes (`[health] probe`). The cameras of
//! a host are asked one after the other, in its pace of starts, and not while all its sessions are in
//! use. A password that a host refused is held as for relays, and not tried again. The attestation
//! lists each probe as a session of the camera ([`crate::journal::attestation::Why::Probe`]).
//!
//! | what | bound | when full |
//! |---|---|---|
//! | results | one for each camera of the settings | – |
//! | hosts that are asked at once | [`HOSTS`] | the others wait |
//! | lines in the log | one for each camera and change of cause, then one an hour | the others are dropped |

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::{Instant, sleep_until};

use super::camera::Pool;
use super::front::{Learned, Sessions};
use super::session::{Opening, Progress, Target, look};
use crate::clock::Boot;
use crate::config::settings;
use crate::format::ids::CameraId;
use crate::reason::{Reason, Refusal};

/// Hosts that are asked at the same time.
pub(super) const HOSTS: usize = 16;
/// A failure that lasts is logged again after this.
const LOG_EVERY: Duration = Duration::from_secs(3_600);

/// The newest result of each camera. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Health(Arc<Mutex<BTreeMap<CameraId, Found>>>);

#[derive(Debug)]
struct Found {
    /// What was asked.
    target: Arc<Target>,
    /// Why it can't be used; `None`: it answers.
    cause: Option<Refusal>,
    logged: Boot,
}

/// What the log says of a result.
#[derive(Debug, PartialEq, Eq)]
enum Line {
    Failed(Refusal),
    Back,
}

impl Health {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<CameraId, Found>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it answered the newest probe; `None`: there was none.
    pub(super) fn is_well(&self, camera: &CameraId) -> Option<bool> {
        self.lock().get(camera).map(|found| found.cause.is_none())
    }

    /// Why it did not, if so.
    pub(super) fn cause(&self, camera: &CameraId) -> Option<Refusal> {
        self.lock().get(camera)?.cause.clone()
    }

    /// All that did not.
    pub(super) fn failed(&self) -> BTreeMap<CameraId, Refusal> {
        let all = self.lock();
        let failed = all
            .iter()
            .filter_map(|(camera, found)| Some((camera.clone(), found.cause.clone()?)));
        failed.collect()
    }

    /// Forgets cameras that the settings lack, and all where there are no probes; which they were.
    pub(super) fn keep(&self, settings: &settings::Gateway) -> Vec<CameraId> {
        let is_on = settings.probe.is_some();
        let mut gone = Vec::new();
        self.lock().retain(|camera, _| {
            let is_kept = is_on && settings.cameras.contains_key(camera);
            if !is_kept {
                gone.push(camera.clone());
            }
            is_kept
        });
        gone
    }

    /// A relay has pictures: the camera answers, if a probe found otherwise.
    pub(super) fn is_live(&self, camera: &CameraId, now: Boot) {
        let failed = self.lock().get(camera).and_then(|found| {
            let is_failed = found.cause.is_some();
            is_failed.then(|| Arc::clone(&found.target))
        });
        if let Some(target) = failed {
            log(camera, self.note(camera, target, None, now));
        }
    }

    /// Whether this target was asked before.
    fn knows(&self, camera: &CameraId, target: &Target) -> bool {
        let all = self.lock();
        all.get(camera)
            .is_some_and(|found| *found.target == *target)
    }

    fn note(
        &self,
        camera: &CameraId,
        target: Arc<Target>,
        cause: Option<Refusal>,
        now: Boot,
    ) -> Option<Line> {
        let mut all = self.lock();
        let before = all.get(camera);
        let reason = |cause: &Refusal| cause.reason;
        let was = before.and_then(|found| found.cause.as_ref()).map(reason);
        let logged = before.map(|found| found.logged);
        let is_due = logged.is_none_or(|logged| now.since(logged) >= LOG_EVERY);
        let line = match &cause {
            Some(cause) if was != Some(cause.reason) || is_due => Some(Line::Failed(cause.clone())),
            None if was.is_some() => Some(Line::Back),
            _ => None,
        };
        let found = Found {
            target,
            cause,
            logged: logged.filter(|_| line.is_none()).unwrap_or(now),
        };
        all.insert(camera.clone(), found);
        line
    }
}

fn log(camera: &CameraId, line: Option<Line>) {
    match line {
        Some(Line::Failed(refusal)) => {
            tracing::warn!(%camera, %refusal, "camera failed its probe");
        }
        Some(Line::Back) => tracing::info!(%camera, "camera answers again"),
        None => {}
    }
}

/// Probes the cameras until the pool stops. A reload asks those at once that are new or have
/// another address or password; the others wait for their time: a reload alone must not try a wrong
/// password again.
pub(super) async fn run(pool: Pool) {
    let changed = pool.changed();
    let mut begun: Option<Instant> = None;
    loop {
        // Before the settings are read: a reload after that is not missed.
        let reloaded = changed.notified();
        let settings = pool.settings();
        let Some(every) = settings.probe else {
            begun = None;
            reloaded.await;
            continue;
        };
        let is_due = begun.is_none_or(|begun| begun.elapsed() >= every);
        if is_due {
            begun = Some(Instant::now());
        }
        round(&pool, &settings, is_due).await;
        let next = begun.unwrap_or_else(Instant::now) + every;
        tokio::select! {
            () = sleep_until(next) => {}
            () = reloaded => {}
        }
    }
}

/// Probes all cameras that nobody has open, or of those only the new and changed ones. A reload,
/// after which passwords are tried again, ends it.
async fn round(pool: &Pool, settings: &Arc<settings::Gateway>, all: bool) {
    let mut hosts: BTreeMap<String, Vec<(CameraId, Arc<Target>)>> = BTreeMap::new();
    for (camera, target) in pool.idle_targets() {
        if all || !pool.health().knows(&camera, &target) {
            let host = target.host().to_owned();
            hosts.entry(host).or_default().push((camera, target));
        }
    }
    let hosts = futures_util::stream::iter(hosts.into_values());
    hosts
        .for_each_concurrent(HOSTS, |cameras| async move {
            // Users whose password was sent and no answer has judged. Not every host says of a wrong one
            // that it is: tried once a round, it locks no account.
            let mut doubted = BTreeSet::new();
            for (camera, target) in cameras {
                if !Arc::ptr_eq(&pool.settings(), settings) {
                    return;
                }
                let user = target.credential.as_ref().map(|one| one.username.clone());
                let is_doubted = user.as_ref().is_some_and(|user| doubted.contains(user));
                // It may have been opened meanwhile.
                if !is_doubted && pool.is_idle(&camera) {
                    let host = target.host().to_owned();
                    let answered = probe(pool, settings, &camera, target).await;
                    let hosts = &pool.parts().hosts;
                    doubted.extend(user.filter(|user| answered && hosts.is_doubted(&host, user)));
                }
            }
        })
        .await;
}

/// `true`: the camera answered, whatever it said.
async fn probe(
    pool: &Pool,
    settings: &Arc<settings::Gateway>,
    camera: &CameraId,
    target: Arc<Target>,
) -> bool {
    let parts = pool.parts();
    let from = parts.clock.now().wall;
    let progress = Arc::new(Progress::default());
    let opening = Opening {
        target: Arc::clone(&target),
        hosts: Arc::clone(&parts.hosts),
        sessions: Sessions::default(),
        limits: parts.limits,
        progress: Arc::clone(&progress),
        onvif: None,
        learned: Learned::default(),
        trace: None,
        clock: parts.clock.clone(),
        tasks: parts.tasks.clone(),
    };
    let found = look(opening).await;
    let now = parts.clock.now();
    if !progress.reached().is_empty() {
        parts.log.probed(camera, from, now.wall);
    }
    if !Arc::ptr_eq(&pool.settings(), settings) {
        return false; // It may be gone, or have another address or password.
    }
    let cause = match found {
        Ok(()) => None,
        // Its host has no session left: that says nothing of the camera.
        Err(failure) if failure.refusal.reason == Reason::CameraBusy => return false,
        Err(failure) if failure.refusal.reason == Reason::ShuttingDown => return false,
        Err(failure) => Some(failure.refusal),
    };
    let silent = [Reason::CameraUnreachable, Reason::CameraRefused];
    let answered = cause
        .as_ref()
        .is_none_or(|cause| !silent.contains(&cause.reason));
    log(camera, parts.health.note(camera, target, cause, now.boot));
    pool.show_health(camera);
    answered
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_cause_is_logged_and_what_lasts_once_an_hour() {
        let health = Health::default();
        let target = Arc::new(Target {
            url: "rtsp://camera/".parse().unwrap(),
            credential: None,
            transport: settings::Transport::Tcp,
            onvif: None,
        });
        let camera = CameraId::new("quai").unwrap();
        let at = |seconds| Boot(Duration::from_secs(seconds));
        let refused = || Some(Refusal::from(Reason::CameraRefused));
        let failed = |reason: Reason| Some(Line::Failed(reason.into()));
        assert_eq!(health.is_well(&camera), None);
        assert_eq!(health.note(&camera, target.clone(), None, at(0)), None);
        assert_eq!(health.is_well(&camera), Some(true));
        assert_eq!(
            health.note(&camera, target.clone(), refused(), at(10)),
            failed(Reason::CameraRefused)
        );
        assert_eq!(
            health.note(&camera, target.clone(), refused(), at(3_609)),
            None
        );
        assert_eq!(health.failed().len(), 1);
        assert_eq!(
            health.note(&camera, target.clone(), refused(), at(3_610)),
            failed(Reason::CameraRefused)
        );
        let other = Some(Reason::CameraUnauthorized.into());
        assert_eq!(
            health.note(&camera, target.clone(), other, at(3_620)),
            failed(Reason::CameraUnauthorized)
        );
        assert_eq!(
            health.note(&camera, target.clone(), None, at(3_630)),
            Some(Line::Back)
        );
        assert_eq!(health.note(&camera, target, None, at(3_640)), None);
        assert!(health.failed().is_empty());
    }
}
