//! The access unit: one picture, on its way from a camera to viewers.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Largest access unit that is taken, in bytes.
pub const UNIT_LIMIT: usize = 8 * 1024 * 1024;

/// What is known of an access unit without looking inside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnitFlags {
    /// A key frame: decoding can start here.
    pub key: bool,
    /// No other picture needs this one.
    pub disposable: bool,
    /// Something was lost between the unit before and this one.
    pub loss_before: bool,
}

/// One coded picture.
#[derive(Clone, PartialEq, Eq)]
pub struct AccessUnit {
    /// Flags.
    pub flags: UnitFlags,
    /// Presentation time on the relay's own time line, 90 kHz.
    pub pts: i64,
    /// When its last byte reached the gateway: µs since the epoch, gateway's clock.
    pub captured: i64,
    /// H.264 and H.265: NAL units, each behind its length in four bytes, without
    /// parameter sets. MJPEG: one whole JPEG.
    pub data: Bytes,
}

impl std::fmt::Debug for AccessUnit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccessUnit")
            .field("flags", &self.flags)
            .field("pts", &self.pts)
            .field("captured", &self.captured)
            .field("bytes", &self.data.len())
            .finish()
    }
}

/// How the pictures are coded. The number is on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    /// ITU-T H.264.
    H264 = 1,
    /// ITU-T H.265.
    H265 = 2,
    /// Motion JPEG: each picture a JPEG of its own.
    Jpeg = 3,
}

impl Codec {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::H264, Self::H265, Self::Jpeg];
}

/// Codecs that a viewer can decode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Codecs(u8);

impl Codecs {
    /// All: what players decode is theirs to say.
    pub const ALL: Self = Self(u8::MAX);

    /// Whether this one is among them.
    pub const fn contains(self, codec: Codec) -> bool {
        self.0 & (1 << codec as u8) != 0
    }
}

impl FromIterator<Codec> for Codecs {
    fn from_iter<T: IntoIterator<Item = Codec>>(codecs: T) -> Self {
        let bits = codecs.into_iter().map(|codec| 1 << codec as u8);
        Self(bits.fold(0, |all, bit: u8| all | bit))
    }
}

/// What a decoder needs before the first unit. Compared to tell a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configuration {
    /// The codec.
    pub codec: Codec,
    /// avcC (ISO 14496-15 5.3.3.1) or hvcC (8.3.3.1) record; empty for MJPEG. At most 64 KiB.
    pub record: Bytes,
    /// Width of the picture in pixels; 0 where unknown.
    pub width: u16,
    /// Height of the picture in pixels; 0 where unknown.
    pub height: u16,
}

/// What a camera task hands to its relays, and the hub to its viewers.
#[derive(Clone, Debug)]
pub enum Frame {
    /// A group of pictures starts: the next unit is a key frame.
    Group(Arc<Group>),
    /// The next picture of the group last started.
    Unit(Arc<AccessUnit>),
}

/// The start of a group of pictures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// +1 for each key frame of the camera, never used again while the gateway's
    /// relay id lives.
    pub number: u64,
    /// +1 at each camera restart, codec or size change, or jump of the time line.
    pub epoch: u32,
    /// First group of its epoch.
    pub first_of_epoch: bool,
    /// Leading pictures need the group before (H.265 CRA and its like).
    pub open: bool,
    /// From the kept group: not counted in transit figures.
    pub kept: bool,
    /// Which of the camera's streams.
    pub profile: crate::media::relay::Profile,
    /// What a decoder needs.
    pub configuration: Arc<Configuration>,
}
