//! The body of kind `attestation`: what a gateway sent to one centre in a time, and why
//! (interfaces.md 10). The gateway writes one a day and at an orderly stop; their periods tile
//! time, and a time in which nothing was counted is named in [`Attestation::gap`].

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::format::ids::{CameraId, CentreId, GrantId};

/// Most rows of media in one attestation: with those of sessions they fit into a line.
pub const MEDIA_ROWS: usize = 2_500;

/// An attestation. Times are RFC 3339, figures bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attestation {
    /// The end of the period before; at the first one, when counting began.
    pub from: String,
    /// When it was made.
    pub to: String,
    /// The centre.
    pub centre: CentreId,
    /// The part of the period in which nothing was counted, for the daemon did not run, or it
    /// ended before it could say what it had counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gap: Option<Gap>,
    /// All that was sent on the links to the centre, QUIC's own bytes included.
    pub link_sent: u64,
    /// Control messages among them.
    pub control_sent: u64,
    /// Pictures among them, by grant and camera.
    pub media: Vec<Media>,
    /// Rows of media beyond [`MEDIA_ROWS`], added up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_folded: Option<Folded>,
    /// Bytes of pictures that left outside any grant: 0.
    pub ungranted: u64,
    /// How long a link was up and carried no picture.
    pub idle_seconds: u64,
    /// Which cameras were open: those of grants of this centre, and warm ones.
    pub camera_sessions: Vec<Session>,
    /// How many sessions are left out, of all centres, where there were too many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub camera_sessions_folded: Option<u64>,
}

/// A time in which nothing was counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// From when.
    pub from: String,
    /// Until when.
    pub to: String,
}

/// The pictures of one camera under one grant. Where several grants share a relay, each group of
/// pictures counts for one of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Media {
    /// The grant.
    pub grant: GrantId,
    /// The camera.
    pub camera: CameraId,
    /// Bytes handed to the link in this period.
    pub sent: u64,
    /// Bytes that the centre signed to have received under the whole grant, in the period in
    /// which it said so; null in those before.
    pub received: Option<u64>,
    /// Those of `sent` that were given up on the way, in whole or in part: they may not have
    /// arrived.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub lost: u64,
}

/// Rows that were added up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Folded {
    /// How many.
    pub rows: u64,
    /// Their bytes.
    pub sent: u64,
}

/// A camera that was open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Which.
    pub camera: CameraId,
    /// From when; a session that was open before the period begins with it.
    pub from: String,
    /// Until when; one that stays open goes on in the next attestation.
    pub to: String,
    /// Why.
    pub why: Why,
}

/// Why a camera was open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Under this grant; it closes some seconds after the grant's end (`close_after`).
    Grant(GrantId),
    /// It is set `warm`: its pictures stayed on the commune's network.
    Warm,
    /// Its health was looked at: it was asked whether it is there, and gave no picture.
    Probe,
}

impl Serialize for Why {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Grant(grant) => grant.serialize(serializer),
            Self::Warm => serializer.serialize_str("warm"),
            Self::Probe => serializer.serialize_str("probe"),
        }
    }
}

impl<'de> Deserialize<'de> for Why {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Ok(match text.as_str() {
            "warm" => Self::Warm,
            "probe" => Self::Probe,
            _ => Self::Grant(text.parse().map_err(serde::de::Error::custom)?),
        })
    }
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature
const fn is_zero(number: &u64) -> bool {
    *number == 0
}
