//! Session descriptions (SDP, RFC 8866) of the field, read tolerantly.

use crate::media::unit::Codec;
use crate::proto::camera::Failure;
use super::fix::Fixes;

/// Never fails: a description without a usable track says so in `video`.
pub(super) struct Description {
    /// Session-level `a=control`.
    pub(super) control: Option<String>,
    /// Video tracks in their order.
    pub(super) tracks: Vec<Track>,
}

pub(super) struct Track {
    pub(super) port: Option<u32>,
    pub(super) control: Option<String>,
    /// In the order of preference (m=).
    pub(super) formats: Vec<Format>,
    pub(super) frame_rate: Option<f64>,
    /// Width and height, pixels (a=x-dimensions, framesize, cliprect).
    pub(super) size: Option<(u32, u32)>,
}

pub(super) struct Format {
    pub(super) payload_type: u8,
    /// As written, e.g. `H264`; empty where none is told or guessed.
    pub(super) name: String,
    pub(super) codec: Option<Codec>,
    /// Hz.
    pub(super) clock_rate: u32,
    /// fmtp.
    pub(super) params: Vec<(String, String)>,
}

/// The track and format to set up.
pub(super) struct Video<'d> { pub(super) track: &'d Track, pub(super) format: &'d Format, pub(super) codec: Codec }

impl Description {
    pub(super) fn read(body: &[u8], fixes: &Fixes) -> Self;
    /// The track to set up, or why none can be (`codec_unsupported`, `camera_refused`).
    pub(super) fn video(&self, fixes: &Fixes) -> Result<Video<'_>, Failure>;
}
impl Format {
    /// NAL units of all sprop-*, without start codes, VPS SPS PPS order of the description.
    pub(super) fn parameter_sets(&self, codec: Codec, fixes: &Fixes) -> Vec<Vec<u8>>;
    /// profile-level-id of H.264.
    pub(super) fn profile_level_id(&self) -> Option<[u8; 3]>;
    pub(super) fn param(&self, name: &str) -> Option<&str>;
}
