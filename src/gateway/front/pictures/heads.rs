//! The kind of a NAL unit by its head: a slice and what it says of its picture, a parameter
//! set, a message, or nothing that players need.

use super::super::fix::{Fix, Fixes};
use super::sets::Sets;
use crate::media::nal::{Bits, unescape};
use crate::media::slice::Slice;
use crate::media::unit::Codec;
use crate::media::{h264, h265};

/// The kind of a unit, once its head was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Unknown,
    Drop,
    Set,
    /// Supplemental enhancement information, of this picture or the next.
    Message,
    /// A further part of this picture.
    Part,
    Slice,
}

/// The part of a slice header that tells its picture.
#[derive(Clone, Copy, Debug)]
pub(super) enum Head {
    Avc(Slice),
    Hevc {
        first: bool,
        random_access: bool,
        pps: Option<u8>,
    },
}

impl Head {
    pub(super) const fn first(&self) -> bool {
        match self {
            Self::Avc(slice) => slice.first,
            Self::Hevc { first, .. } => *first,
        }
    }

    /// IDR, or random access in H.265.
    pub(super) const fn refreshes(&self) -> bool {
        match self {
            Self::Avc(slice) => slice.idr,
            Self::Hevc { random_access, .. } => *random_access,
        }
    }

    pub(super) const fn intra(&self) -> bool {
        match self {
            Self::Avc(slice) => slice.intra,
            Self::Hevc { random_access, .. } => *random_access,
        }
    }

    pub(super) const fn pps(&self) -> Option<u8> {
        match self {
            Self::Avc(slice) => Some(slice.pps),
            Self::Hevc { pps, .. } => *pps,
        }
    }

    /// Whether this slice goes on with the picture of `before`.
    pub(super) fn continues(&self, before: &Self) -> bool {
        match (self, before) {
            (Self::Avc(this), Self::Avc(that)) => {
                if this.first {
                    this.is_second_field_of(that)
                } else {
                    this.is_same_picture(that) || this.is_second_field_of(that)
                }
            }
            (this, that) => !this.first() && this.refreshes() == that.refreshes(),
        }
    }
}

/// Tells what a unit is; `in_picture`: slices of the picture came before it.
pub(super) fn classify(
    codec: Codec,
    unit: &[u8],
    in_picture: bool,
    sets: &Sets,
    fixes: &Fixes,
) -> (Class, Option<Head>) {
    match codec {
        Codec::H264 => classify_avc(unit, in_picture, sets, fixes),
        _ => classify_hevc(unit, in_picture, fixes),
    }
}

fn classify_avc(
    unit: &[u8],
    in_picture: bool,
    sets: &Sets,
    fixes: &Fixes,
) -> (Class, Option<Head>) {
    let header = unit.first().copied().unwrap_or(0);
    let class = match h264::nal_type(unit) {
        _ if unit.is_empty() => return (Class::Drop, None),
        _ if header & 0x80 != 0 || unit.len() < 2 => Class::Drop,
        h264::kind::SLICE | 2 | h264::kind::IDR => {
            let head = Slice::parse(unit, |pps| sets.of_slice(pps));
            return match head {
                Some(slice) if slice.rest.is_some_and(|rest| rest.redundant) => (Class::Drop, None),
                Some(slice) => (Class::Slice, Some(Head::Avc(slice))),
                None => {
                    fixes.note(Fix::UnknownPayload);
                    (Class::Drop, None)
                }
            };
        }
        // Partitions B and C follow their A.
        3 | 4 if in_picture => Class::Part,
        h264::kind::SEI => Class::Message,
        h264::kind::SPS | h264::kind::PPS => Class::Set,
        // Delimiters, ends, filler; layers and views that players pass over.
        h264::kind::DELIMITER..=15 | 19..=21 => return (Class::Drop, None),
        _ => Class::Drop,
    };
    if class == Class::Drop {
        fixes.note(Fix::UnknownPayload);
    }
    (class, None)
}

fn classify_hevc(unit: &[u8], in_picture: bool, fixes: &Fixes) -> (Class, Option<Head>) {
    use h265::kind;
    let Some(header) = unit.first_chunk::<2>().filter(|_| unit.len() > 2) else {
        return (Class::Drop, None);
    };
    // The forbidden bit, or no temporal id.
    if header[0] & 0x80 != 0 || header[1] & 7 == 0 {
        fixes.note(Fix::UnknownPayload);
        return (Class::Drop, None);
    }
    // Layers and views that players pass over.
    if header[0] & 1 != 0 || header[1] >> 3 != 0 {
        return (Class::Drop, None);
    }
    let nal_type = h265::nal_type(unit);
    match nal_type {
        0..=kind::RASL_R | kind::BLA_W_LP..=kind::CRA => {
            let payload = unescape(&unit[2..], 8);
            let mut bits = Bits::new(&payload);
            let random_access = nal_type >= kind::BLA_W_LP;
            let first = bits.bit().unwrap_or(false);
            if random_access {
                let _ = bits.bit(); // no_output_of_prior_pics_flag
            }
            let head = Head::Hevc {
                first,
                random_access,
                pps: bits.ue().and_then(|pps| u8::try_from(pps).ok()),
            };
            (Class::Slice, Some(head))
        }
        kind::VPS | kind::SPS | kind::PPS => (Class::Set, None),
        kind::SEI_PREFIX => (Class::Message, None),
        kind::SEI_SUFFIX if in_picture => (Class::Part, None),
        // Its picture is gone.
        kind::SEI_SUFFIX => (Class::Drop, None),
        kind::DELIMITER..=38 => (Class::Drop, None),
        _ => {
            fixes.note(Fix::UnknownPayload);
            (Class::Drop, None)
        }
    }
}
