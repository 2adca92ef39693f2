//! What the page shows, made by the brain.

use serde::Serialize;

use super::super::socket::{Cut, Row, Waiting};
use crate::format::control::RelayState;
use crate::format::ids::{CameraId, CentreId};
use crate::link::transport::Transport;

/// Most relays in one view: some of them are each a grant's camera.
pub(in crate::gateway) const ROWS: usize = 2_000;

/// Who watches, what waits, what is cut.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(in crate::gateway) struct View {
    /// One row for each camera of each live grant.
    pub(in crate::gateway) relays: Vec<Relay>,
    /// Rows beyond [`ROWS`].
    pub(in crate::gateway) left_out: usize,
    /// Requests that wait, the soonest to end first.
    pub(in crate::gateway) waiting: Vec<Waiting>,
    /// Cuts that hold.
    pub(in crate::gateway) cuts: Vec<Cut>,
    /// The centres, linked or not.
    pub(in crate::gateway) links: Vec<LinkView>,
    /// How many lines the journal has; told apart, for it changes far more often.
    #[serde(skip)]
    pub(in crate::gateway) lines: u64,
}

/// A camera of a grant, with words for people.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(in crate::gateway) struct Relay {
    #[serde(flatten)]
    pub(in crate::gateway) row: Row,
    /// The camera's name.
    pub(in crate::gateway) name: String,
    /// The grounds in words.
    pub(in crate::gateway) grounds_fr: String,
    pub(in crate::gateway) grounds_en: String,
    /// Bits per second of the camera's pictures over the last seconds, to all centres together;
    /// null where that is not known yet.
    pub(in crate::gateway) bitrate: Option<u64>,
}

/// A centre and its link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(in crate::gateway) struct LinkView {
    pub(in crate::gateway) centre: CentreId,
    pub(in crate::gateway) up: bool,
    /// What carries it; null where it is down.
    pub(in crate::gateway) transport: Option<Transport>,
}

/// How links and cameras are.
#[derive(Clone, Debug, Serialize)]
pub(in crate::gateway) struct Health {
    pub(in crate::gateway) links: Vec<LinkView>,
    pub(in crate::gateway) cameras: Vec<CameraView>,
    /// Since when the daemon counts, RFC 3339.
    pub(in crate::gateway) since: String,
    /// Bytes of pictures that were stopped at the last look before a link, since then.
    pub(in crate::gateway) ungranted_bytes: u64,
}

/// How a camera is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(in crate::gateway) enum CameraState {
    /// It is relayed.
    Relayed(RelayState),
    /// It is not.
    Other(&'static str),
}

/// A camera of the settings.
#[derive(Clone, Debug, Serialize)]
pub(in crate::gateway) struct CameraView {
    pub(in crate::gateway) camera: CameraId,
    pub(in crate::gateway) name: String,
    /// `idle`, `failed` (it did not answer when it was looked at), `invalid` (its entry is wrong),
    /// `masks` (nobody verified them), or its relay's.
    pub(in crate::gateway) state: CameraState,
    /// The cause, where it is not well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::gateway) detail: Option<String>,
}
