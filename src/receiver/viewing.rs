//! Who views what, for how long he waits for pictures, and what the control plane is
//! told of it.

use std::time::Duration;

use crate::format::ids::{CameraId, CommuneId, GrantId};
use crate::media::relay::RelayId;
use crate::media::unit::Codecs;
use crate::policy::desk::VMS;
use crate::reason::Reason;

/// How long viewers wait for pictures, and how old those may be that they get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waits {
    /// DESCRIBE and PLAY wait this long for a picture: players give up after 5 s.
    pub open: Duration,
    /// A camera that has given no picture for this long is away.
    pub silence: Duration,
    /// A kept group whose newest picture is older is given to nobody who joins.
    pub kept: Duration,
    /// A picture that has begun, and of which nothing comes for this long, is given up unless
    /// the whole link is silent.
    pub idle: Duration,
}

impl Default for Waits {
    fn default() -> Self {
        Self {
            open: Duration::from_millis(4_500),
            silence: Duration::from_secs(5),
            kept: Duration::from_secs(3),
            idle: Duration::from_secs(5),
        }
    }
}

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
    /// Viewers need other streams of a camera than before.
    StreamsWanted {
        /// The commune.
        commune: CommuneId,
        /// The relay of the first stream.
        relay: RelayId,
        /// Whether anybody needs the first.
        first: bool,
        /// Whether anybody needs the other.
        other: bool,
    },
    /// A viewer waits for its first picture, which is there: it gets it once
    /// [`super::hub::Hub::admit`] says so.
    ViewingStarted(Viewing),
    /// A viewer went: why it was ended, or `None` where it left by itself.
    ViewingEnded(Viewing, Option<Reason>),
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
    /// How: `rtsp`, `rtsp_udp`, `live`, `vms`.
    pub how: &'static str,
    /// From where.
    pub from: String,
}

impl Viewing {
    /// Whether it is a player with the grant's URL (`true`), or a socket with an operator's token;
    /// `None`: a VMS account, which has neither.
    pub fn is_player(&self) -> Option<bool> {
        (self.how != VMS).then_some(self.how != "live")
    }
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
    /// How: `rtsp`, `rtsp_udp`, `live`, `vms`.
    pub how: &'static str,
    /// From where.
    pub from: String,
    /// Whether RTP packets are wanted in the events (RTSP) or units alone.
    pub packets: bool,
    /// What he can decode.
    pub decodes: Codecs,
}
