//! H.264 (ITU-T H.264): NAL units, sequence parameter sets.

use super::nal::{Bits, length_prefixed, unescape};

/// NAL unit types (table 7-1) that matter here.
pub mod kind {
    /// A slice of a picture that is no key frame.
    pub const SLICE: u8 = 1;
    /// A slice of an instantaneous decoding refresh (key frame).
    pub const IDR: u8 = 5;
    /// Supplemental enhancement information.
    pub const SEI: u8 = 6;
    /// Sequence parameter set.
    pub const SPS: u8 = 7;
    /// Picture parameter set.
    pub const PPS: u8 = 8;
    /// Access unit delimiter.
    pub const DELIMITER: u8 = 9;
    /// Single-time aggregation packet (RFC 6184 5.7.1).
    pub const STAP_A: u8 = 24;
    /// Fragmentation unit (RFC 6184 5.8).
    pub const FU_A: u8 = 28;
}

/// The type of a NAL unit; 0 where it is empty.
pub fn nal_type(unit: &[u8]) -> u8 {
    unit.first().map_or(0, |byte| byte & 0x1f)
}

/// Whether a unit of length-prefixed NAL units is a key frame: it has slices, and
/// all belong to an instantaneous decoding refresh.
pub fn is_key(data: &[u8]) -> bool {
    let mut key = false;
    for unit in length_prefixed(data) {
        match nal_type(unit) {
            kind::SLICE..=4 => return false,
            kind::IDR => key = true,
            _ => {}
        }
    }
    key
}

/// Whether no other picture needs this one: `nal_ref_idc` is 0 in all its slices.
pub fn is_disposable(data: &[u8]) -> bool {
    let mut slices = false;
    for unit in length_prefixed(data) {
        if matches!(nal_type(unit), kind::SLICE..=kind::IDR) {
            slices = true;
            if unit[0] & 0x60 != 0 {
                return false;
            }
        }
    }
    slices
}

/// What a sequence parameter set (7.3.2.1.1) says that matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sps {
    /// `seq_parameter_set_id`.
    pub id: u8,
    /// `profile_idc`.
    pub profile: u8,
    /// The constraint flags' byte.
    pub constraints: u8,
    /// `level_idc`.
    pub level: u8,
    /// `chroma_format_idc`: 1 is 4:2:0.
    pub chroma_format: u8,
    /// Bits per luma sample.
    pub luma_bits: u8,
    /// Bits per chroma sample.
    pub chroma_bits: u8,
    /// Width after cropping, in pixels.
    pub width: u16,
    /// Height after cropping, in pixels.
    pub height: u16,
    /// `separate_colour_plane_flag`: slices name their colour.
    pub separate_planes: bool,
    /// Bits of `frame_num` in slice headers.
    pub frame_num_bits: u8,
    /// What slice headers say of the order of output.
    pub order: PictureOrder,
    /// `frame_mbs_only_flag`: no picture is a field.
    pub frames_only: bool,
}

/// `pic_order_cnt_type` and what of it slice headers follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PictureOrder {
    /// Type 0: `pic_order_cnt_lsb` of so many bits.
    Lsb(u8),
    /// Type 1 with differences in each slice header.
    Deltas,
    /// Nothing in slice headers.
    Implied,
}

impl Sps {
    /// Reads a sequence parameter set with its NAL header. `None`: it is none, or broken.
    pub fn parse(unit: &[u8]) -> Option<Self> {
        if nal_type(unit) != kind::SPS {
            return None;
        }
        let payload = unescape(unit.get(1..)?, 1024);
        let mut bits = Bits::new(&payload);
        let profile = u8::try_from(bits.bits(8)?).ok()?;
        let constraints = u8::try_from(bits.bits(8)?).ok()?;
        let level = u8::try_from(bits.bits(8)?).ok()?;
        let id = u8::try_from(bits.ue()?).ok().filter(|id| *id <= 31)?;
        let (mut chroma_format, mut luma_bits, mut chroma_bits) = (1, 8, 8);
        let mut separate_planes = false;
        if has_chroma_format(profile) {
            chroma_format = u8::try_from(bits.ue()?).ok().filter(|idc| *idc <= 3)?;
            separate_planes = chroma_format == 3 && bits.bit()?;
            luma_bits = u8::try_from(bits.ue()?.checked_add(8)?).ok()?;
            chroma_bits = u8::try_from(bits.ue()?.checked_add(8)?).ok()?;
            bits.bit()?; // qpprime_y_zero_transform_bypass_flag
            if bits.bit()? {
                skip_scaling_lists(&mut bits, if chroma_format == 3 { 12 } else { 8 })?;
            }
        }
        let frame_num_bits = bit_count(bits.ue()?)?;
        let order = match bits.ue()? {
            0 => PictureOrder::Lsb(bit_count(bits.ue()?)?),
            1 => {
                let always_zero = bits.bit()?;
                bits.se()?;
                bits.se()?;
                let cycle = bits.ue()?;
                if cycle > 255 {
                    return None;
                }
                for _ in 0..cycle {
                    bits.se()?;
                }
                if always_zero {
                    PictureOrder::Implied
                } else {
                    PictureOrder::Deltas
                }
            }
            _ => PictureOrder::Implied,
        };
        bits.ue()?; // max_num_ref_frames
        bits.bit()?; // gaps_in_frame_num_value_allowed_flag
        let width = bits.ue()?.checked_add(1)?.checked_mul(16)?;
        let map_units = bits.ue()?.checked_add(1)?;
        let frames_only = bits.bit()?;
        if !frames_only {
            bits.bit()?; // mb_adaptive_frame_field_flag
        }
        let fields = if frames_only { 1 } else { 2 };
        let height = map_units.checked_mul(16 * fields)?;
        bits.bit()?; // direct_8x8_inference_flag
        let mut crop = [0_u32; 4];
        if bits.bit()? {
            for side in &mut crop {
                *side = bits.ue()?;
            }
        }
        // Table 6-1: chroma samples are wider or taller than luma samples.
        let (unit_x, unit_y) = match (chroma_format, separate_planes) {
            (1, _) => (2, 2 * fields),
            (2, _) => (2, fields),
            _ => (1, fields),
        };
        let cut_x = crop[0].checked_add(crop[1])?.checked_mul(unit_x)?;
        let cut_y = crop[2].checked_add(crop[3])?.checked_mul(unit_y)?;
        Some(Self {
            id,
            profile,
            constraints,
            level,
            chroma_format,
            luma_bits,
            chroma_bits,
            width: size(width.checked_sub(cut_x)?)?,
            height: size(height.checked_sub(cut_y)?)?,
            separate_planes,
            frame_num_bits,
            order,
            frames_only,
        })
    }
}

/// A number of bits from its `log2_…_minus4`: 4 to 16.
fn bit_count(minus4: u32) -> Option<u8> {
    u8::try_from(minus4)
        .ok()
        .filter(|n| *n <= 12)
        .map(|n| n + 4)
}

/// Profiles whose parameter set tells the chroma format.
pub(super) const fn has_chroma_format(profile: u8) -> bool {
    matches!(
        profile,
        100 | 110 | 122 | 244 | 44 | 83 | 86 | 118 | 128 | 138 | 139 | 134 | 135
    )
}

/// A width or height in pixels: at least 1, at most 16384 (level 6.2).
pub(super) fn size(pixels: u32) -> Option<u16> {
    u16::try_from(pixels)
        .ok()
        .filter(|pixels| (1..=16384).contains(pixels))
}

/// Scaling lists (7.3.2.1.1.1), passed over.
fn skip_scaling_lists(bits: &mut Bits<'_>, lists: usize) -> Option<()> {
    for list in 0..lists {
        if !bits.bit()? {
            continue;
        }
        let (mut last, mut next) = (8_i64, 8_i64);
        for _ in 0..if list < 6 { 16 } else { 64 } {
            if next != 0 {
                next = (last + bits.se()? + 256).rem_euclid(256);
            }
            if next != 0 {
                last = next;
            }
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::super::nal::push_length_prefixed;
    use super::*;

    /// Made with x264 (`ffmpeg -f lavfi -i testsrc=size=WxH …`); sizes as ffprobe tells them.
    const SETS: [(&str, u16, u16, u8); 3] = [
        // high, 1920x1080 (cropped from 1088)
        (
            "67640028acd940780227e5c044000003000400000300c83c60c658",
            1920,
            1080,
            100,
        ),
        // constrained baseline, 640x360 (cropped from 368)
        (
            "6742c01ed900a02ff97011000003000100000300320f162e48",
            640,
            360,
            66,
        ),
        // high 4:4:4, 322x178
        (
            "67f4000d919b282a33c7c7e022000003000200000300641e28532c",
            322,
            178,
            244,
        ),
    ];

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len() / 2)
            .map(|at| u8::from_str_radix(&text[at * 2..at * 2 + 2], 16).unwrap())
            .collect()
    }

    #[test]
    fn sizes_and_profiles() {
        for (set, width, height, profile) in SETS {
            let sps = Sps::parse(&hex(set)).expect(set);
            assert_eq!(
                (sps.width, sps.height, sps.profile),
                (width, height, profile)
            );
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

    fn unit(nals: &[&[u8]]) -> Vec<u8> {
        let mut data = Vec::new();
        for nal in nals {
            push_length_prefixed(&mut data, nal);
        }
        data
    }

    #[test]
    fn tells_key_and_disposable_pictures() {
        assert!(is_key(&unit(&[&[0x06, 1], &[0x65, 1], &[0x65, 2]])));
        assert!(!is_key(&unit(&[&[0x65, 1], &[0x41, 2]])), "intra refresh");
        assert!(!is_key(&unit(&[&[0x06, 1]])));
        assert!(is_disposable(&unit(&[&[0x01, 1], &[0x06, 1]])));
        assert!(!is_disposable(&unit(&[&[0x01, 1], &[0x41, 1]])));
        assert!(!is_disposable(&unit(&[&[0x06, 1]])));
    }
}
