//! Which of a camera's two streams its viewers need, and the other one while it comes.
//!
//! A viewer that can't decode the codec of a camera's first stream needs the other. The gateway
//! is told what is needed: the first alone, both, or the other alone. What nobody needs any
//! more stays for [`LINGER`], so that a page that is loaded again finds it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::camera::Camera;
use crate::clock::Boot;
use crate::format::control::RelayState;
use crate::media::unit::{Codecs, Configuration};
use crate::reason::Reason;

/// How long a stream goes on that nobody needs any more.
const LINGER: Duration = Duration::from_secs(5);
/// What was refused for now is asked for again after this.
const AGAIN: Duration = Duration::from_secs(5);

/// Which of a camera's streams are needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) first: bool,
    pub(super) other: bool,
}

/// How the other stream is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Standing {
    #[default]
    Coming,
    Live,
    /// The first stream is in the way: it has the camera's session, or the room on the uplink.
    Blocked,
    /// It does not come.
    Failed,
}

/// Who needs one stream.
#[derive(Clone, Copy, Debug, Default)]
struct Users {
    now: usize,
    left: Option<Boot>,
}

impl Users {
    fn leave(&mut self, at: Boot) {
        self.now = self.now.saturating_sub(1);
        self.left = Some(at);
    }

    /// Somebody does, or did a moment ago.
    fn are_there(&self, now: Boot) -> bool {
        self.now > 0 || self.left.is_some_and(|left| now.since(left) < LINGER)
    }
}

/// What is needed and what the gateway was told of it. Pure.
#[derive(Debug, Default)]
struct Needs {
    first: Users,
    other: Users,
    standing: Standing,
    /// None: this gateway may still go by what a receiver told it before a restart.
    told: Option<Wanted>,
    /// When the gateway refused it for now.
    refused: Option<Boot>,
}

impl Needs {
    /// What the gateway is to be told, if that is news.
    fn settle(&mut self, now: Boot) -> Option<Wanted> {
        let other = self.other.are_there(now);
        if !other {
            (self.standing, self.refused) = (Standing::Coming, None);
        }
        let is_parked = self.told.is_some_and(|told| !told.first);
        let is_alone = match self.standing {
            Standing::Live => !self.first.are_there(now),
            Standing::Blocked => self.first.now == 0,
            Standing::Coming => is_parked && !self.first.are_there(now),
            Standing::Failed => false,
        };
        let wanted = Wanted {
            first: !(other && is_alone),
            other,
        };
        let is_due = self.refused.is_some_and(|at| now.since(at) >= AGAIN);
        if self.told == Some(wanted) && !is_due {
            return None;
        }
        self.told = Some(wanted);
        self.refused = None;
        Some(wanted)
    }

    /// The gateway tells how the other stream is; without `comes` none does.
    fn handle_state(&mut self, state: RelayState, reason: Option<Reason>, comes: bool, now: Boot) {
        let is_blocked = matches!(reason, Some(Reason::CameraBusy | Reason::UplinkFull));
        self.standing = match state {
            RelayState::Live | RelayState::Late => Standing::Live,
            RelayState::Retrying | RelayState::Failed if is_blocked => Standing::Blocked,
            RelayState::Starting | RelayState::Retrying => Standing::Coming,
            RelayState::Failed | RelayState::Ended => Standing::Failed,
        };
        let is_for_now = !comes && self.standing != Standing::Failed;
        self.refused = is_for_now.then_some(now);
    }

    /// What the gateway knew is lost.
    fn forget(&mut self) {
        self.told = None;
        self.standing = Standing::Coming;
    }
}

/// A camera's streams, as its viewers need them.
#[derive(Debug, Default)]
pub(super) struct Streams {
    inner: Mutex<Inner>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    needs: Needs,
    other: Option<Arc<Camera>>,
    reason: Option<Reason>,
}

impl Streams {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The other stream, while it goes.
    pub(super) fn other(&self) -> Option<Arc<Camera>> {
        self.lock().other.clone()
    }

    /// Whether the gateway was asked for the other stream.
    pub(super) fn wants_other(&self) -> bool {
        self.lock().needs.told.is_some_and(|told| told.other)
    }

    /// The first stream does not go, as nobody needs it.
    pub(super) fn is_parked(&self) -> bool {
        self.lock().needs.told.is_some_and(|told| !told.first)
    }

    /// Why the other stream does not come, as far as the gateway said.
    pub(super) fn reason(&self) -> Option<Reason> {
        self.lock().reason
    }

    /// The other stream goes as this now, or not at all. Returns what it was.
    pub(super) fn set_other(&self, other: Option<Arc<Camera>>) -> Option<Arc<Camera>> {
        let before = std::mem::replace(&mut self.lock().other, other);
        self.changed.notify_waiters();
        before
    }

    /// The gateway tells how the other stream is.
    pub(super) fn handle_state(
        &self,
        state: RelayState,
        reason: Option<Reason>,
        comes: bool,
        now: Boot,
    ) {
        let mut inner = self.lock();
        inner.needs.handle_state(state, reason, comes, now);
        inner.reason = reason;
        drop(inner);
        self.changed.notify_waiters();
    }

    /// The gateway, or the link to it, is a new one: it is told again what is needed.
    pub(super) fn forget(&self) {
        self.lock().needs.forget();
    }

    /// What the gateway is to be told, if that is news.
    pub(super) fn settle(&self, now: Boot) -> Option<Wanted> {
        self.lock().needs.settle(now)
    }
}

/// Somebody needs one of a camera's streams, until this is dropped.
#[derive(Debug)]
pub(super) struct Need {
    camera: Arc<Camera>,
    is_other: bool,
}

impl Need {
    fn new(camera: &Arc<Camera>, is_other: bool) -> Self {
        let need = Self {
            camera: Arc::clone(camera),
            is_other,
        };
        need.users(|users, _| users.now += 1);
        camera.tell_streams();
        need
    }

    fn users(&self, change: impl FnOnce(&mut Users, Boot)) {
        let now = self.camera.now();
        let mut inner = self.camera.streams.lock();
        let needs = &mut inner.needs;
        let users = if self.is_other {
            &mut needs.other
        } else {
            &mut needs.first
        };
        change(users, now);
    }

    /// As long as the camera is watched through it.
    pub(super) fn again(&self) -> Self {
        Self::new(&self.camera, self.is_other)
    }
}

impl Drop for Need {
    fn drop(&mut self) {
        self.users(Users::leave);
    }
}

/// A stream that a viewer can decode.
pub(super) struct Opened {
    pub(super) stream: Arc<Camera>,
    pub(super) need: Need,
    pub(super) configuration: Arc<Configuration>,
}

/// Waits for pictures of a stream that a viewer can decode, at most `timeout`: the first,
/// unless its codec is none of `decodes`. Fails with `None` where nothing came in time, and
/// with `codec_unsupported` where neither stream will do.
pub(super) async fn open(
    camera: &Arc<Camera>,
    decodes: Codecs,
    timeout: Duration,
) -> Result<Opened, Option<Reason>> {
    let deadline = Instant::now() + timeout;
    let known = camera.known_configuration();
    if known.is_none_or(|known| decodes.contains(known.codec)) {
        let need = Need::new(camera, false);
        let configuration = camera.configuration(timeout).await.ok_or(None)?;
        if decodes.contains(configuration.codec) {
            return Ok(Opened {
                stream: Arc::clone(camera),
                need,
                configuration,
            });
        }
    }
    let need = Need::new(camera, true);
    let wait = async {
        loop {
            let changed = camera.streams.changed.notified();
            let (other, standing) = {
                let inner = camera.streams.lock();
                (inner.other.clone(), inner.needs.standing)
            };
            if standing == Standing::Failed {
                return Err(Some(Reason::CodecUnsupported));
            }
            let Some(stream) = other else {
                changed.await;
                continue;
            };
            let configuration = tokio::select! {
                () = changed => continue,
                configuration = stream.configuration(timeout) => configuration.ok_or(None)?,
            };
            if !decodes.contains(configuration.codec) {
                return Err(Some(Reason::CodecUnsupported));
            }
            return Ok((stream, configuration));
        }
    };
    let (stream, configuration) = tokio::time::timeout_at(deadline, wait)
        .await
        .map_err(|_| None)??;
    Ok(Opened {
        stream,
        need,
        configuration,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Boot {
        Boot(Duration::from_secs(1_000 + seconds))
    }

    const fn wanted(first: bool, other: bool) -> Option<Wanted> {
        Some(Wanted { first, other })
    }

    #[test]
    fn the_first_stops_once_the_other_is_there_and_nobody_needs_it() {
        let mut needs = Needs::default();
        assert_eq!(
            needs.settle(at(0)),
            wanted(true, false),
            "a receiver that ran before may have told it something else"
        );
        needs.first.now = 1;
        needs.first.leave(at(0));
        needs.other.now = 1;
        assert_eq!(needs.settle(at(0)), wanted(true, true));
        assert_eq!(
            needs.settle(at(9)),
            None,
            "nothing stops before the other is there"
        );
        needs.handle_state(RelayState::Live, None, true, at(9));
        assert_eq!(needs.settle(at(9)), wanted(false, true));
        // It fails for a moment: the first would be of no use.
        needs.handle_state(
            RelayState::Retrying,
            Some(Reason::CameraStalled),
            true,
            at(10),
        );
        assert_eq!(needs.settle(at(10)), None);
        // A player comes.
        needs.first.now = 1;
        assert_eq!(needs.settle(at(11)), wanted(true, true));
        needs.handle_state(RelayState::Live, None, true, at(12));
        assert_eq!(needs.settle(at(30)), None);
        // The page is loaded again, then closed.
        needs.other.leave(at(31));
        assert_eq!(needs.settle(at(32)), None);
        needs.other.now = 1;
        assert_eq!(needs.settle(at(40)), None);
        needs.other.leave(at(41));
        assert_eq!(needs.settle(at(46)), wanted(true, false));
    }

    #[test]
    fn the_first_makes_room_unless_somebody_watches_it() {
        for reason in [Reason::CameraBusy, Reason::UplinkFull] {
            let mut needs = Needs::default();
            needs.first.now = 1;
            needs.other.now = 1;
            assert_eq!(needs.settle(at(0)), wanted(true, true));
            needs.handle_state(RelayState::Failed, Some(reason), false, at(0));
            assert_eq!(needs.settle(at(1)), None);
            assert_eq!(needs.settle(at(6)), wanted(true, true), "asked for again");
            needs.handle_state(RelayState::Failed, Some(reason), false, at(6));
            needs.first.leave(at(7));
            assert_eq!(needs.settle(at(7)), wanted(false, true));
        }
    }

    #[test]
    fn a_camera_whose_other_stream_does_not_come_goes_on_with_the_first() {
        let mut needs = Needs::default();
        needs.other.now = 1;
        assert_eq!(needs.settle(at(0)), wanted(true, true));
        needs.handle_state(RelayState::Live, None, true, at(1));
        assert_eq!(needs.settle(at(1)), wanted(false, true));
        needs.handle_state(
            RelayState::Failed,
            Some(Reason::CameraNotFound),
            true,
            at(2),
        );
        assert_eq!(needs.settle(at(2)), wanted(true, true));
        // A link that comes back knows nothing of it.
        needs.forget();
        assert_eq!(needs.settle(at(3)), wanted(true, true));
        let mut unasked = Needs::default();
        unasked.forget();
        assert_eq!(unasked.settle(at(0)), wanted(true, false));
        assert_eq!(unasked.settle(at(1)), None);
    }
}
