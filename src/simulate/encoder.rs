//! A small H.264 encoder for drawn pictures (ITU-T H.264, constrained baseline,
//! CAVLC): macroblocks are PCM, copied from the left, or skipped. So a picture
//! costs what its changed tiles cost, and the bit rate is set by how many of
//! them a picture may carry.
//!
//! A picture has two slices: the *banner* (the top rows, where a camera writes
//! its name) and the *scene* below. The scene is encoded once for all cameras;
//! only key frames carry a banner of the camera's own, and that can be kept.

use bytes::Bytes;

/// Side of a macroblock in pixels.
pub const TILE: usize = 16;
/// Bytes of a PCM macroblock: 256 luma, 64 of each chroma.
pub const TILE_BYTES: usize = 384;

/// One macroblock's samples: luma 16 × 16, then Cb and Cr 8 × 8.
pub type Samples = [u8; TILE_BYTES];

/// Size of the picture and of the banner, in macroblocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Macroblocks in a row.
    pub columns: usize,
    /// Rows in all.
    pub rows: usize,
    /// Rows of the banner, at the top.
    pub banner_rows: usize,
}

/// How one macroblock is coded.
#[derive(Clone, Copy, Debug)]
pub enum Tile<'a> {
    /// Sent as it is.
    Pcm(&'a Samples),
    /// Copies the last column of its left neighbour; never first in a row.
    FromLeft,
    /// As in the picture before; never in a key frame.
    Skip,
}

/// Which picture a slice belongs to.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// A key frame (IDR). Two in a row must not have the same number.
    Key {
        /// 0 or 1, by turns.
        idr_pic_id: u8,
    },
    /// A picture that goes on from the one before.
    Delta {
        /// Pictures since the key frame, modulo 256.
        frame_num: u8,
    },
}

/// Sequence and picture parameter set (with their NAL unit headers) for this
/// layout at 25 frames a second.
pub fn parameter_sets(layout: Layout) -> (Bytes, Bytes) {
    let mut sps = BitWriter::new(0x67);
    sps.bits(66, 8); // baseline
    sps.bits(0b1100_0000, 8); // constraint_set0, constraint_set1
    sps.bits(40, 8); // level 4.0
    sps.ue(0); // seq_parameter_set_id
    sps.ue(4); // log2_max_frame_num_minus4: frame_num in 8 bits
    sps.ue(2); // pic_order_cnt_type: output order is decoding order
    sps.ue(1); // max_num_ref_frames
    sps.bits(0, 1); // gaps_in_frame_num_value_allowed_flag
    sps.ue(layout.columns as u32 - 1);
    sps.ue(layout.rows as u32 - 1);
    sps.bits(1, 1); // frame_mbs_only_flag
    sps.bits(1, 1); // direct_8x8_inference_flag
    sps.bits(0, 1); // frame_cropping_flag
    sps.bits(1, 1); // vui_parameters_present_flag
    sps.bits(0, 1); // aspect_ratio_info_present_flag
    sps.bits(0, 1); // overscan_info_present_flag
    sps.bits(0, 1); // video_signal_type_present_flag
    sps.bits(0, 1); // chroma_loc_info_present_flag
    sps.bits(1, 1); // timing_info_present_flag
    sps.bits(1, 32); // num_units_in_tick
    sps.bits(50, 32); // time_scale: two ticks a frame
    sps.bits(1, 1); // fixed_frame_rate_flag
    sps.bits(0, 1); // nal_hrd_parameters_present_flag
    sps.bits(0, 1); // vcl_hrd_parameters_present_flag
    sps.bits(0, 1); // pic_struct_present_flag
    sps.bits(1, 1); // bitstream_restriction_flag
    sps.bits(1, 1); // motion_vectors_over_pic_boundaries_flag
    sps.ue(0); // max_bytes_per_pic_denom: no limit
    sps.ue(0); // max_bits_per_mb_denom: no limit
    sps.ue(10); // log2_max_mv_length_horizontal
    sps.ue(10); // log2_max_mv_length_vertical
    sps.ue(0); // max_num_reorder_frames: a decoder need not wait
    sps.ue(1); // max_dec_frame_buffering

    let mut pps = BitWriter::new(0x68);
    pps.ue(0); // pic_parameter_set_id
    pps.ue(0); // seq_parameter_set_id
    pps.bits(0, 1); // entropy_coding_mode_flag: CAVLC
    pps.bits(0, 1); // bottom_field_pic_order_in_frame_present_flag
    pps.ue(0); // num_slice_groups_minus1
    pps.ue(0); // num_ref_idx_l0_default_active_minus1
    pps.ue(0); // num_ref_idx_l1_default_active_minus1
    pps.bits(0, 1); // weighted_pred_flag
    pps.bits(0, 2); // weighted_bipred_idc
    pps.se(0); // pic_init_qp_minus26
    pps.se(0); // pic_init_qs_minus26
    pps.se(0); // chroma_qp_index_offset
    pps.bits(1, 1); // deblocking_filter_control_present_flag
    pps.bits(0, 1); // constrained_intra_pred_flag
    pps.bits(0, 1); // redundant_pic_cnt_present_flag
    (sps.finish(), pps.finish())
}

/// Encodes the slice that holds rows `first_row..first_row + tiles / columns`.
/// Gives the NAL unit with its header, without length or start code.
pub fn slice<'a>(
    layout: Layout,
    kind: Kind,
    first_row: usize,
    tiles: impl Iterator<Item = Tile<'a>>,
) -> Bytes {
    let key = matches!(kind, Kind::Key { .. });
    let mut out = BitWriter::new(if key { 0x65 } else { 0x61 });
    out.ue((first_row * layout.columns) as u32); // first_mb_in_slice
    out.ue(if key { 7 } else { 5 }); // slice_type: all slices of the picture are I, or P
    out.ue(0); // pic_parameter_set_id
    match kind {
        Kind::Key { idr_pic_id } => {
            out.bits(0, 8); // frame_num
            out.ue(u32::from(idr_pic_id));
            out.bits(0, 1); // no_output_of_prior_pics_flag
            out.bits(0, 1); // long_term_reference_flag
        }
        Kind::Delta { frame_num } => {
            out.bits(u32::from(frame_num), 8);
            out.bits(0, 1); // num_ref_idx_active_override_flag
            out.bits(0, 1); // ref_pic_list_modification_flag_l0
            out.bits(0, 1); // adaptive_ref_pic_marking_mode_flag
        }
    }
    out.se(0); // slice_qp_delta
    out.ue(1); // disable_deblocking_filter_idc: tiles come out as drawn

    // In a P slice the types of intra macroblocks follow the five inter ones.
    let intra = if key { 0 } else { 5 };
    let mut skipped = 0;
    // Which macroblocks of the row above and of this one are PCM: a coefficient
    // count of 16 towards their neighbours (9.2.1).
    let mut above: Option<Vec<bool>> = None;
    let mut row = Vec::with_capacity(layout.columns);
    for tile in tiles {
        if row.len() == layout.columns {
            above = Some(std::mem::take(&mut row));
        }
        if !key {
            if matches!(tile, Tile::Skip) {
                skipped += 1;
                row.push(false);
                continue;
            }
            out.ue(std::mem::take(&mut skipped)); // mb_skip_run
        }
        match tile {
            Tile::Pcm(samples) => {
                out.ue(intra + 25); // I_PCM
                out.align_zero();
                out.bytes(samples);
                row.push(true);
            }
            // A skipped tile in a key frame can't be: copy, which always decodes.
            Tile::FromLeft | Tile::Skip => {
                out.ue(intra + 2); // I_16x16, horizontal prediction, nothing coded
                out.ue(1); // intra_chroma_pred_mode: horizontal
                out.se(0); // mb_qp_delta
                let left = row.last().copied();
                let up = above.as_ref().map(|above| above[row.len()]);
                out.no_coefficients(left, up);
                row.push(false);
            }
        }
    }
    if skipped > 0 {
        out.ue(skipped);
    }
    out.finish()
}

/// Writes bits, then a NAL unit with emulation prevention (7.4.1).
struct BitWriter {
    bytes: Vec<u8>,
    pending: u64,
    count: u32,
}

impl BitWriter {
    fn new(nal_header: u8) -> Self {
        Self {
            bytes: vec![nal_header],
            pending: 0,
            count: 0,
        }
    }

    fn bits(&mut self, value: u32, count: u32) {
        self.pending = (self.pending << count) | u64::from(value);
        self.count += count;
        while self.count >= 8 {
            self.count -= 8;
            self.bytes.push((self.pending >> self.count) as u8);
        }
        self.pending &= (1 << self.count) - 1;
    }

    /// Exp-Golomb, unsigned (9.1).
    fn ue(&mut self, value: u32) {
        let value = value + 1;
        let length = 32 - value.leading_zeros();
        self.bits(0, length - 1);
        self.bits(value, length);
    }

    /// Exp-Golomb, signed (9.1.1).
    fn se(&mut self, value: i32) {
        let mapped = if value > 0 {
            2 * value.unsigned_abs() - 1
        } else {
            2 * value.unsigned_abs()
        };
        self.ue(mapped);
    }

    /// coeff_token for no coefficients at all (table 9-5), its length chosen by
    /// the neighbours: `Some(true)` is a PCM macroblock, `None` is outside the slice.
    fn no_coefficients(&mut self, left: Option<bool>, up: Option<bool>) {
        let coefficients = |pcm: bool| if pcm { 16 } else { 0 };
        let expected = match (left.map(coefficients), up.map(coefficients)) {
            (Some(a), Some(b)) => (a + b + 1) >> 1,
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) => 0,
        };
        match expected {
            0..=1 => self.bits(0b1, 1),
            2..=3 => self.bits(0b11, 2),
            4..=7 => self.bits(0b1111, 4),
            _ => self.bits(0b00_0011, 6),
        }
    }

    fn align_zero(&mut self) {
        if self.count > 0 {
            self.bits(0, 8 - self.count);
        }
    }

    /// Whole bytes; only when aligned.
    fn bytes(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    fn finish(mut self) -> Bytes {
        self.bits(1, 1); // rbsp_stop_one_bit
        self.align_zero();
        if !needs_prevention(&self.bytes) {
            return Bytes::from(self.bytes);
        }
        let mut escaped = Vec::with_capacity(self.bytes.len() + 16);
        let mut zeros = 0;
        for byte in self.bytes {
            if zeros >= 2 && byte <= 3 {
                escaped.push(3);
                zeros = 0;
            }
            zeros = if byte == 0 { zeros + 1 } else { 0 };
            escaped.push(byte);
        }
        Bytes::from(escaped)
    }
}

fn needs_prevention(bytes: &[u8]) -> bool {
    bytes
        .windows(3)
        .any(|w| w[0] == 0 && w[1] == 0 && w[2] <= 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_golomb_as_in_the_standard() {
        let mut out = BitWriter::new(0);
        for value in [0, 1, 2, 3, 7] {
            out.ue(value);
        }
        // 1 010 011 00100 0001000, then the stop bit
        assert_eq!(out.finish()[1..], [0b1010_0110, 0b0100_0001, 0b0001_0000]);
    }

    #[test]
    fn no_start_code_can_appear_inside() {
        let layout = Layout {
            columns: 4,
            rows: 2,
            banner_rows: 0,
        };
        let zeros: Samples = [0; TILE_BYTES];
        let nal = slice(
            layout,
            Kind::Key { idr_pic_id: 0 },
            0,
            std::iter::repeat_n(Tile::Pcm(&zeros), 8),
        );
        assert!(!nal.windows(3).any(|w| w[0] == 0 && w[1] == 0 && w[2] < 3));
        assert!(nal.len() > 8 * TILE_BYTES * 4 / 3);
    }
}
