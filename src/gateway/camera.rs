//! Pulls cameras with retina, on demand (CAMERAS).
//!
//! One session per stream however many ask; a start is single-flight; the
//! session closes `close_after` the last relay went.

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::clock::Clock;
use crate::config::settings;
use crate::media::unit::Frame;
use crate::metrics;
use crate::proto::gate::Permit;
use crate::proto::ids::{CameraId, Profile};
use crate::reason::Refusal;

/// Takes what a camera gives. Called on the frames thread; must not block.
pub trait Sink: Send + Sync {
    /// The next frame: a group's start or a picture.
    fn push(&self, frame: &Frame);
    /// The camera's state changed.
    fn state(&self, state: &State);
}

/// The state of a camera's stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It is being opened.
    Starting,
    /// Frames come.
    Live,
    /// It failed and is tried again; why.
    Retrying(Refusal),
    /// It is not tried again until settings change (401, codec, 404 stays retrying); why.
    Failed(Refusal),
}

/// All cameras of the commune. Lives on the frames thread; cheap to clone.
#[derive(Clone, Debug)]
pub struct Pool {}

/// A relay's hold on a camera: the camera closes some time after the last is dropped.
#[derive(Debug)]
pub struct Attachment {}

impl Pool {
    /// A pool over these cameras. Warm cameras are opened by [`Pool::run_warm`]'s owner task.
    pub fn new(
        _settings: Arc<settings::Gateway>,
        _clock: Clock,
        _metrics: Arc<metrics::Gateway>,
    ) -> Self {
        todo!("CAMERAS")
    }

    /// Attaches a relay's sink to a camera's stream, opening it if need be. The
    /// kept group, if there is one, is pushed at once (marked kept).
    pub fn attach(
        &self,
        _permit: &Permit,
        _camera: &CameraId,
        _profile: Profile,
        _sink: Arc<dyn Sink>,
    ) -> Result<Attachment, Refusal> {
        todo!("CAMERAS")
    }

    /// Asks for a key frame soon.
    pub fn want_key_frame(&self, _camera: &CameraId, _profile: Profile) {
        todo!("CAMERAS")
    }

    /// New settings: changed cameras are reopened, held ones tried again.
    pub fn reload(&self, _settings: Arc<settings::Gateway>) {
        todo!("CAMERAS")
    }

    /// Closes all sessions with TEARDOWN, within a grace of a few seconds.
    pub async fn shutdown(&self) {
        todo!("CAMERAS")
    }
}

/// Unused until the pool exists.
pub type Events = mpsc::Receiver<(CameraId, Profile, State)>;
