//! The hub: each relayed camera once, to many viewers (LINK).
//!
//! Groups come in from links, viewers hang on cameras under a grant each. The
//! control plane says which relays are allowed and when grants end.

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::clock::Clock;
use crate::metrics;
use crate::proto::desk::Permit;
use crate::proto::ids::{CameraId, CommuneId, GrantId, RelayId};
use crate::reason::Reason;
use crate::rtsp;

/// The hub. Cheap to clone, usable from any thread.
#[derive(Clone, Debug)]
pub struct Hub {}

/// What the hub tells the control plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A relay's first complete key frame since it was allowed.
    FirstPicture {
        /// The commune.
        commune: CommuneId,
        /// The camera.
        camera: CameraId,
    },
    /// A viewer joined a camera and nothing is kept: a key frame is needed.
    KeyFrameWanted {
        /// The commune.
        commune: CommuneId,
        /// The relay.
        relay: RelayId,
    },
    /// A viewer began to get pictures.
    ViewingStarted(Viewing),
    /// A viewer went.
    ViewingEnded(Viewing, Reason),
}

/// One viewer's viewing, as the journal wants it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Viewing {
    /// Unique in this process.
    pub number: u64,
    /// The grant.
    pub grant: GrantId,
    /// The commune.
    pub commune: CommuneId,
    /// The camera.
    pub camera: CameraId,
    /// Who: the operator's number, or `vms:NAME`.
    pub who: String,
    /// How: `rtsp`, `live`.
    pub how: &'static str,
    /// From where.
    pub from: String,
}

/// Who wants to view, under which grant.
#[derive(Clone, Debug)]
pub struct ViewRequest {
    /// The grant.
    pub grant: GrantId,
    /// The commune.
    pub commune: CommuneId,
    /// The camera.
    pub camera: CameraId,
    /// Who: the operator's number, or `vms:NAME`.
    pub who: String,
    /// How: `rtsp`, `live`.
    pub how: &'static str,
    /// From where.
    pub from: String,
    /// Whether RTP packets are wanted in the events (RTSP) or units alone.
    pub packets: bool,
}

impl Hub {
    /// A hub with nothing in it; events go to `events` (bounded; never awaited).
    pub fn new(
        _clock: Clock,
        _metrics: Arc<metrics::Receiver>,
        _events: mpsc::Sender<Event>,
    ) -> Self {
        todo!("LINK")
    }

    /// Allows a relay under a recorded grant: its groups are taken from now on.
    /// Called again for each further grant on the same camera and at each resume.
    pub fn allow(
        &self,
        _permit: &Permit,
        _commune: &CommuneId,
        _camera: &CameraId,
        _relay: RelayId,
    ) {
        todo!("LINK")
    }

    /// Ends a grant: its viewers are told why and end; a camera without a grant
    /// left is forgotten at once, kept group and all.
    pub fn end_grant(&self, _grant: GrantId, _reason: Reason) {
        todo!("LINK")
    }

    /// One camera of a grant is over (the commune cut it, or a renewal leaves it
    /// out): its viewers under this grant are told why and end.
    pub fn end_camera(
        &self,
        _grant: GrantId,
        _commune: &CommuneId,
        _camera: &CameraId,
        _reason: Reason,
    ) {
        todo!("LINK")
    }

    /// The commune has a new link, which may open as many streams as its relays need.
    pub(crate) fn link_up(&self, _commune: &CommuneId, _link: &crate::link::Link) {
        todo!("LINK")
    }

    /// The commune's link is gone: viewers stay, groups of it are over.
    pub fn link_down(&self, _commune: &CommuneId) {
        todo!("LINK")
    }

    /// A commune's media: takes one unidirectional stream's group. Called by the
    /// link's accept loop on the frames runtime, as a task per stream.
    pub async fn take_group(
        &self,
        _commune: &CommuneId,
        _stream: quinn::RecvStream,
        _clock_offset_us: i64,
    ) {
        todo!("LINK")
    }

    /// Opens a camera for a viewer. Waits for the first configuration until
    /// `timeout`. Fails with `grant_unknown` where the grant does not cover it.
    pub async fn view(
        &self,
        _request: ViewRequest,
        _timeout: std::time::Duration,
    ) -> Result<Arc<dyn rtsp::Source>, Reason> {
        todo!("LINK")
    }

    /// Ends all viewers, telling them why.
    pub fn shutdown(&self, _reason: Reason) {
        todo!("LINK")
    }
}
