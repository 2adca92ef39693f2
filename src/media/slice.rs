//! H.264 picture parameter sets and slice headers (ITU-T H.264 7.3.2.2, 7.3.3), as far
//! as the borders of pictures need them, and recovery points (D.1.8).

use super::h264::{PictureOrder, Sps, kind, nal_type};
use super::nal::{Bits, unescape};

/// Bytes of a unit that are looked at: a slice header up to its reference lists, and the
/// identifiers of a picture parameter set, are shorter.
const HEAD: usize = 96;

/// SEI payload type of a recovery point, in H.264 (D.1) and H.265 (D.2.1).
const RECOVERY_POINT: u32 = 6;

/// The fields of a picture parameter set that matter here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pps {
    /// `pic_parameter_set_id`.
    pub id: u8,
    /// `seq_parameter_set_id` of the set it builds on.
    pub sps: u8,
    /// `bottom_field_pic_order_in_frame_present_flag`.
    pub order_present: bool,
    /// `redundant_pic_cnt_present_flag`; `false` too where slice groups hide it.
    pub redundant_present: bool,
}

impl Pps {
    /// Reads a picture parameter set with its NAL header. `None`: it is none, or broken.
    pub fn parse(unit: &[u8]) -> Option<Self> {
        if nal_type(unit) != kind::PPS {
            return None;
        }
        let payload = unescape(unit.get(1..)?, HEAD);
        let mut bits = Bits::new(&payload);
        let id = u8::try_from(bits.ue()?).ok()?;
        let sps = u8::try_from(bits.ue()?).ok().filter(|id| *id <= 31)?;
        bits.bit()?; // entropy_coding_mode_flag
        let order_present = bits.bit()?;
        Some(Self {
            id,
            sps,
            order_present,
            redundant_present: redundant_present(&mut bits).unwrap_or(false),
        })
    }
}

fn redundant_present(bits: &mut Bits<'_>) -> Option<bool> {
    if bits.ue()? > 0 {
        return None; // Slice groups: for the extended profile and baseline, unseen in cameras.
    }
    bits.ue()?; // num_ref_idx_l0_default_active_minus1
    bits.ue()?; // num_ref_idx_l1_default_active_minus1
    bits.skip(3)?; // weighted prediction
    bits.se()?; // pic_init_qp_minus26
    bits.se()?; // pic_init_qs_minus26
    bits.se()?; // chroma_qp_index_offset
    bits.skip(2)?; // deblocking control, constrained intra prediction
    bits.bit()
}

/// The fields of a slice header that tell its picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slice {
    /// `first_mb_in_slice` is 0: the picture's first slice.
    pub first: bool,
    /// `slice_type` is I or SI.
    pub intra: bool,
    /// Of an instantaneous decoding refresh.
    pub idr: bool,
    /// `nal_ref_idc` is not 0.
    pub reference: bool,
    /// `pic_parameter_set_id`.
    pub pps: u8,
    /// The part that parameter sets make readable; `None` where they are not known.
    pub rest: Option<SliceRest>,
}

/// The part of a slice header that parameter sets make readable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SliceRest {
    frame_num: u32,
    /// `bottom_field_flag` of a field; `None`: a frame.
    bottom: Option<bool>,
    idr_pic_id: u32,
    /// `pic_order_cnt_lsb` or the first difference, and the second.
    order: (i64, i64),
    /// `redundant_pic_cnt` is not 0: a spare copy of a slice.
    pub redundant: bool,
}

impl Slice {
    /// Reads the head of a slice (types 1, 2 and 5) with its NAL header; `sets` gives the
    /// parameter sets of a `pic_parameter_set_id`. `None`: it is none, or broken.
    pub fn parse(unit: &[u8], sets: impl FnOnce(u8) -> Option<(Sps, Pps)>) -> Option<Self> {
        let header = *unit.first()?;
        let kind = nal_type(unit);
        if !matches!(kind, kind::SLICE | 2 | kind::IDR) {
            return None;
        }
        let payload = unescape(unit.get(1..)?, HEAD);
        let mut bits = Bits::new(&payload);
        let first = bits.ue()? == 0;
        let slice_type = bits.ue().filter(|value| *value <= 9)?;
        let pps = u8::try_from(bits.ue()?).ok()?;
        let idr = kind == kind::IDR;
        Some(Self {
            first,
            intra: matches!(slice_type % 5, 2 | 4),
            idr,
            reference: header & 0x60 != 0,
            pps,
            rest: sets(pps).and_then(|(sps, pps)| rest(&mut bits, &sps, pps, idr)),
        })
    }

    /// Whether both belong to the same field or frame (7.4.1.2.4). Different
    /// `pic_parameter_set_id`s alone do not part them: encoders use several in one picture.
    pub fn is_same_picture(&self, other: &Self) -> bool {
        let rests = match (self.rest, other.rest) {
            (Some(a), Some(b)) => {
                a.frame_num == b.frame_num
                    && a.bottom == b.bottom
                    && a.order == b.order
                    && (!self.idr || a.idr_pic_id == b.idr_pic_id)
            }
            _ => true,
        };
        self.idr == other.idr && self.reference == other.reference && rests
    }

    /// Whether this is the second field of the frame whose first field has `other`
    /// (7.4.1.2.4, 3.30): of the other parity, with the same `frame_num`.
    pub fn is_second_field_of(&self, other: &Self) -> bool {
        match (self.rest, other.rest) {
            (Some(a), Some(b)) => match (a.bottom, b.bottom) {
                // A second field may be P where the first is IDR.
                (Some(this), Some(that)) => this != that && a.frame_num == b.frame_num,
                _ => false,
            },
            _ => false,
        }
    }
}

fn rest(bits: &mut Bits<'_>, sps: &Sps, pps: Pps, idr: bool) -> Option<SliceRest> {
    if sps.separate_planes {
        bits.skip(2)?; // colour_plane_id
    }
    let frame_num = bits.bits(sps.frame_num_bits.into())?;
    let is_field = !sps.frames_only && bits.bit()?;
    let bottom = if is_field { Some(bits.bit()?) } else { None };
    let idr_pic_id = if idr { bits.ue()? } else { 0 };
    let both = pps.order_present && bottom.is_none();
    let order = match sps.order {
        PictureOrder::Lsb(count) => {
            let lsb = i64::from(bits.bits(count.into())?);
            (lsb, if both { bits.se()? } else { 0 })
        }
        PictureOrder::Deltas => {
            let first = bits.se()?;
            (first, if both { bits.se()? } else { 0 })
        }
        PictureOrder::Implied => (0, 0),
    };
    Some(SliceRest {
        frame_num,
        bottom,
        idr_pic_id,
        order,
        redundant: pps.redundant_present && bits.ue()? > 0,
    })
}

/// The `recovery_frame_cnt` (H.264) or `recovery_poc_cnt` (H.265) of a recovery point in
/// SEI messages; `payload` follows the NAL header.
pub fn recovery_point(payload: &[u8], is_signed: bool) -> Option<i64> {
    let payload = unescape(payload, 256);
    let mut rest = payload.as_slice();
    while rest.len() > 2 {
        let (kind, after) = sei_number(rest)?;
        let (length, after) = sei_number(after)?;
        let length = usize::try_from(length).ok()?;
        if kind == RECOVERY_POINT {
            let mut bits = Bits::new(after);
            return if is_signed {
                bits.se()
            } else {
                bits.ue().map(i64::from)
            };
        }
        rest = after.get(length..)?;
    }
    None
}

/// `payload_type` and `payload_size` (7.3.2.3.1): FF bytes count 255 each.
fn sei_number(mut data: &[u8]) -> Option<(u32, &[u8])> {
    let mut value = 0_u32;
    loop {
        let (byte, rest) = data.split_first()?;
        value = value.checked_add(u32::from(*byte))?;
        data = rest;
        if *byte != 0xff {
            return Some((value, data));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::drawn::{COLUMNS, ROWS, encoder};
    use crate::simulate::scene::{Grain, Scene};

    #[test]
    fn reads_what_the_encoder_wrote() {
        let avc = encoder::parameter_sets(ROWS);
        let sps = Sps::parse(&avc.sps[0]).unwrap();
        let pps = Pps::parse(&avc.pps[0]).unwrap();
        assert_eq!((sps.id, pps.id, pps.sps), (0, 0, 0));
        assert!(!pps.redundant_present && !pps.order_present);
        let grain = Grain {
            cells: 0,
            changing: 0,
        };
        let mut scene = Scene::new(ROWS, grain);
        scene.advance(0, crate::clock::Wall(0));
        let rows = |first: usize| encoder::Rows {
            first,
            cells: &scene.cells()[first * COLUMNS..],
        };
        let parse = |unit: &[u8]| Slice::parse(unit, |_| Some((sps, pps))).unwrap();
        let top = parse(&encoder::key_slice(rows(0), 1));
        let middle = parse(&encoder::key_slice(rows(3), 1));
        let next = parse(&encoder::key_slice(rows(0), 2));
        assert!(top.first && top.idr && top.intra && top.reference);
        assert!(!middle.first && middle.is_same_picture(&top));
        assert!(!next.is_same_picture(&top), "idr_pic_id differs");
        let predicted = |number: u8| {
            let mut out = Vec::new();
            encoder::predicted_slice(rows(0), scene.cells()).push(&mut out, number);
            parse(&out[4..])
        };
        assert!(!predicted(1).intra && !predicted(1).idr);
        assert!(predicted(1).is_same_picture(&predicted(1)));
        assert!(!predicted(1).is_same_picture(&predicted(2)));
    }

    #[test]
    fn finds_recovery_points() {
        // User data of 3 bytes, then a recovery point of 0.
        let sei = [5, 3, 1, 2, 3, 6, 1, 0xc4, 0x80];
        assert_eq!(recovery_point(&sei, false), Some(0));
        assert_eq!(recovery_point(&[6, 1, 0b0100_0000, 0x80], false), Some(1));
        assert_eq!(recovery_point(&[5, 9, 1], false), None);
        assert_eq!(recovery_point(&[255; 40], false), None);
    }
}
