//! H.265 (ITU-T H.265): NAL units, sequence parameter sets, leading pictures.

use super::h264::size;
use super::nal::{Bits, length_prefixed, unescape};

/// NAL unit types (table 7-1) that matter here.
pub mod kind {
    /// Random access decodable leading picture, not referenced in its sub-layer.
    pub const RADL_N: u8 = 6;
    /// Random access skipped leading picture, referenced in its sub-layer.
    pub const RASL_R: u8 = 9;
    /// First of the broken link access pictures; the first random access point type.
    pub const BLA_W_LP: u8 = 16;
    /// Broken link access without leading pictures.
    pub const BLA_N_LP: u8 = 18;
    /// Instantaneous decoding refresh that may have decodable leading pictures.
    pub const IDR_W_RADL: u8 = 19;
    /// Instantaneous decoding refresh without leading pictures.
    pub const IDR_N_LP: u8 = 20;
    /// Clean random access: leading pictures may need what came before.
    pub const CRA: u8 = 21;
    /// Last type of a slice.
    pub const LAST_SLICE: u8 = 31;
    /// Video parameter set.
    pub const VPS: u8 = 32;
    /// Sequence parameter set.
    pub const SPS: u8 = 33;
    /// Picture parameter set.
    pub const PPS: u8 = 34;
    /// Access unit delimiter.
    pub const DELIMITER: u8 = 35;
    /// Supplemental enhancement information before the picture.
    pub const SEI_PREFIX: u8 = 39;
    /// Supplemental enhancement information after the picture.
    pub const SEI_SUFFIX: u8 = 40;
    /// Aggregation packet (RFC 7798 4.4.2).
    pub const AP: u8 = 48;
    /// Fragmentation unit (RFC 7798 4.4.3).
    pub const FU: u8 = 49;
}

/// The type of a NAL unit; 63 (unspecified) where it is empty.
pub fn nal_type(unit: &[u8]) -> u8 {
    unit.first().map_or(63, |byte| byte >> 1 & 0x3f)
}

/// What kind of picture a unit of length-prefixed NAL units is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Picture {
    /// Instantaneous decoding refresh: nothing after it needs what came before.
    Idr,
    /// Clean random access: its skipped leading pictures (RASL) need what came before.
    Cra,
    /// Broken link access: its skipped leading pictures can't be decoded.
    Bla,
    /// Decodable leading picture: shown before its key frame, needs only what follows that.
    DecodableLeading,
    /// Skipped leading picture: to be dropped where decoding started at its key frame.
    SkippedLeading,
    /// Any other picture.
    Trailing,
    /// No slice in it.
    None,
}

impl Picture {
    /// What the first slice says; all slices of a picture have the same type (7.4.2.2).
    pub fn of(data: &[u8]) -> Self {
        let Some(slice) = length_prefixed(data)
            .map(nal_type)
            .find(|kind| *kind <= kind::LAST_SLICE)
        else {
            return Self::None;
        };
        match slice {
            kind::IDR_W_RADL | kind::IDR_N_LP => Self::Idr,
            kind::CRA => Self::Cra,
            kind::BLA_W_LP..=kind::BLA_N_LP => Self::Bla,
            6 | 7 => Self::DecodableLeading,
            8 | 9 => Self::SkippedLeading,
            _ => Self::Trailing,
        }
    }

    /// A random access point.
    pub const fn is_key(self) -> bool {
        matches!(self, Self::Idr | Self::Cra | Self::Bla)
    }

    /// A key frame whose leading pictures may need the group before (`open`).
    pub const fn opens_group(self) -> bool {
        matches!(self, Self::Cra | Self::Bla)
    }

    /// Shown before its key frame.
    pub const fn is_leading(self) -> bool {
        matches!(self, Self::DecodableLeading | Self::SkippedLeading)
    }
}

/// Whether no other picture needs this one: all its slices are of a type that is
/// not referenced in its sub-layer, and there is no sub-layer above.
///
/// `highest` is the highest `TemporalId` of the stream ([`Sps::max_sub_layers`] - 1).
pub fn is_disposable(data: &[u8], highest: u8) -> bool {
    let mut slices = false;
    for unit in length_prefixed(data) {
        let kind = nal_type(unit);
        if kind > kind::LAST_SLICE {
            continue;
        }
        slices = true;
        let layer = unit.get(1).map_or(0, |byte| (byte & 7).saturating_sub(1));
        if kind > 14 || !kind.is_multiple_of(2) || layer < highest {
            return false;
        }
    }
    slices
}

/// What a sequence parameter set (7.3.2.2.1) says that matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sps {
    /// `sps_seq_parameter_set_id`.
    pub id: u8,
    /// Sub-layers, 1 to 7.
    pub max_sub_layers: u8,
    /// `sps_temporal_id_nesting_flag`.
    pub temporal_nesting: bool,
    /// Profile space, tier and `general_profile_idc` as they stand in their byte.
    pub profile: u8,
    /// `general_profile_compatibility_flag`s, the first in the highest bit.
    pub compatibility: u32,
    /// The 48 bits of constraint flags.
    pub constraints: [u8; 6],
    /// `general_level_idc`: 30 times the level.
    pub level: u8,
    /// `chroma_format_idc`: 1 is 4:2:0.
    pub chroma_format: u8,
    /// Bits per luma sample.
    pub luma_bits: u8,
    /// Bits per chroma sample.
    pub chroma_bits: u8,
    /// Width inside the conformance window, in pixels.
    pub width: u16,
    /// Height inside the conformance window, in pixels.
    pub height: u16,
}

impl Sps {
    /// Reads a sequence parameter set with its NAL header. `None`: it is none, or broken.
    pub fn parse(unit: &[u8]) -> Option<Self> {
        if nal_type(unit) != kind::SPS {
            return None;
        }
        let payload = unescape(unit.get(2..)?, 1024);
        let mut bits = Bits::new(&payload);
        bits.skip(4)?; // sps_video_parameter_set_id
        let max_sub_layers = u8::try_from(bits.bits(3)? + 1).ok().filter(|n| *n <= 7)?;
        let temporal_nesting = bits.bit()?;
        let profile = u8::try_from(bits.bits(8)?).ok()?;
        let compatibility = bits.bits(32)?;
        let mut constraints = [0; 6];
        for byte in &mut constraints {
            *byte = u8::try_from(bits.bits(8)?).ok()?;
        }
        let level = u8::try_from(bits.bits(8)?).ok()?;
        skip_sub_layers(&mut bits, max_sub_layers - 1)?;
        let id = u8::try_from(bits.ue()?).ok().filter(|id| *id <= 15)?;
        let chroma_format = u8::try_from(bits.ue()?).ok().filter(|idc| *idc <= 3)?;
        let separate_planes = chroma_format == 3 && bits.bit()?;
        let coded_width = bits.ue()?;
        let coded_height = bits.ue()?;
        let mut window = [0_u32; 4];
        if bits.bit()? {
            for side in &mut window {
                *side = bits.ue()?;
            }
        }
        let luma_bits = u8::try_from(bits.ue()?.checked_add(8)?).ok()?;
        let chroma_bits = u8::try_from(bits.ue()?.checked_add(8)?).ok()?;
        // Table 6-1: chroma samples are wider or taller than luma samples.
        let (unit_x, unit_y) = match (chroma_format, separate_planes) {
            (1, _) => (2, 2),
            (2, _) => (2, 1),
            _ => (1, 1),
        };
        let cut_x = window[0].checked_add(window[1])?.checked_mul(unit_x)?;
        let cut_y = window[2].checked_add(window[3])?.checked_mul(unit_y)?;
        Some(Self {
            id,
            max_sub_layers,
            temporal_nesting,
            profile,
            compatibility,
            constraints,
            level,
            chroma_format,
            luma_bits,
            chroma_bits,
            width: size(coded_width.checked_sub(cut_x)?)?,
            height: size(coded_height.checked_sub(cut_y)?)?,
        })
    }
}

/// Profiles and levels of sub-layers (7.3.3), passed over.
fn skip_sub_layers(bits: &mut Bits<'_>, layers: u8) -> Option<()> {
    let mut present = [(false, false); 7];
    for slot in present.iter_mut().take(usize::from(layers)) {
        *slot = (bits.bit()?, bits.bit()?);
    }
    if layers > 0 {
        bits.skip(2 * usize::from(8 - layers))?;
    }
    for (profile, level) in present {
        bits.skip(if profile { 88 } else { 0 })?;
        bits.skip(if level { 8 } else { 0 })?;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::super::nal::push_length_prefixed;
    use super::*;

    /// Made with x265 (`ffmpeg -f lavfi -i testsrc=size=WxH …`); sizes as ffprobe tells them.
    const SETS: [(&str, u16, u16, u8); 2] = [
        (
            "420101016000000300900000030000030078a003c08010e596566924caf0168080000003008000000c84",
            1920,
            1080,
            1,
        ),
        (
            "4201010408000003009d0800000300003cb00a480b9c93b65959a4932bc05a020000030002000003003210",
            322,
            178,
            2,
        ),
    ];

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len() / 2)
            .map(|at| u8::from_str_radix(&text[at * 2..at * 2 + 2], 16).unwrap())
            .collect()
    }

    #[test]
    fn sizes_and_formats() {
        for (set, width, height, chroma) in SETS {
            let sps = Sps::parse(&hex(set)).expect(set);
            assert_eq!(
                (sps.width, sps.height, sps.chroma_format),
                (width, height, chroma)
            );
            assert_eq!(sps.max_sub_layers, 1);
        }
    }

    #[test]
    fn broken_sets_do_not_panic() {
        for (set, ..) in SETS {
            let set = hex(set);
            for end in 0..set.len() {
                let _ = Sps::parse(&set[..end]);
            }
            for bit in 0..set.len() * 8 {
                let mut broken = set.clone();
                broken[bit / 8] ^= 1 << (bit % 8);
                let _ = Sps::parse(&broken);
            }
        }
    }

    fn picture(kind: u8, layer: u8) -> Vec<u8> {
        let mut data = Vec::new();
        push_length_prefixed(&mut data, &[kind::SEI_PREFIX << 1, 1, 9]);
        push_length_prefixed(&mut data, &[kind << 1, layer + 1, 9]);
        data
    }

    #[test]
    fn tells_pictures_apart() {
        for (kind, expected) in [
            (0, Picture::Trailing),
            (1, Picture::Trailing),
            (6, Picture::DecodableLeading),
            (7, Picture::DecodableLeading),
            (8, Picture::SkippedLeading),
            (9, Picture::SkippedLeading),
            (16, Picture::Bla),
            (18, Picture::Bla),
            (19, Picture::Idr),
            (20, Picture::Idr),
            (21, Picture::Cra),
        ] {
            assert_eq!(Picture::of(&picture(kind, 0)), expected, "{kind}");
        }
        assert_eq!(Picture::of(&[]), Picture::None);
        assert!(Picture::Cra.opens_group() && !Picture::Idr.opens_group());
    }

    #[test]
    fn only_the_highest_sub_layer_is_disposable() {
        assert!(is_disposable(&picture(0, 0), 0));
        assert!(!is_disposable(&picture(1, 0), 0));
        assert!(!is_disposable(&picture(0, 0), 1));
        assert!(is_disposable(&picture(0, 1), 1));
        assert!(!is_disposable(&picture(20, 0), 0));
        assert!(!is_disposable(&[], 0));
    }
}
