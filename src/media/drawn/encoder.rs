//! A tiny H.264 encoder (ITU-T H.264, constrained baseline, CAVLC) for drawn
//! macroblocks ([`Cell`]), without loss: one colour is an Intra 16x16 macroblock with a DC
//! coefficient or none, grain is I_PCM, what did not change is skipped.
//!
//! The quantiser is chosen so that a coefficient of 1 moves all samples by 1: QP 28
//! for luma and 22 for chroma (8.5.10, 8.5.11). Deblocking is off. So a decoder
//! shows exactly what was drawn, and any key frame can go before any later picture.

use std::sync::LazyLock;

use bytes::Bytes;

use super::{COLUMNS, Cell, TILES, tile};
use crate::media::config::Avc;
use crate::media::h264::kind;

/// Luma samples and their sums at the edges of each tile of grain.
static TILE_DATA: LazyLock<Vec<Tile>> = LazyLock::new(|| (0..TILES as u8).map(Tile::new).collect());

struct Tile {
    luma: [u8; 256],
    right: u32,
    bottom: u32,
}

impl Tile {
    fn new(number: u8) -> Self {
        let luma = tile(number);
        let sum = |at: fn(usize) -> usize| (0..16).map(|i| u32::from(luma[at(i)])).sum();
        Self {
            luma,
            right: sum(|row| row * 16 + 15),
            bottom: sum(|column| 240 + column),
        }
    }
}

/// Writes bits as a NAL unit, emulation prevention bytes put in on the way (7.4.1).
struct Writer {
    out: Vec<u8>,
    /// Bits not yet written, in the lowest `count` bits.
    bits: u64,
    count: u32,
    zeros: u8,
}

impl Writer {
    fn new(header: u8, capacity: usize) -> Self {
        let mut out = Vec::with_capacity(capacity);
        out.push(header);
        Self {
            out,
            bits: 0,
            count: 0,
            zeros: 0,
        }
    }

    fn byte(&mut self, byte: u8) {
        if self.zeros >= 2 && byte <= 3 {
            self.out.push(3);
            self.zeros = 0;
        }
        self.zeros = if byte == 0 { self.zeros + 1 } else { 0 };
        self.out.push(byte);
    }

    /// The lowest `count` bits (at most 32) of `value`.
    fn bits(&mut self, value: u32, count: u32) {
        self.bits = self.bits << count | u64::from(value) & ((1 << count) - 1);
        self.count += count;
        while self.count >= 8 {
            self.count -= 8;
            self.byte((self.bits >> self.count) as u8);
        }
    }

    /// An unsigned Exp-Golomb code.
    fn ue(&mut self, value: u32) {
        let length = 32 - (value + 1).leading_zeros();
        self.bits(0, length - 1);
        self.bits(value + 1, length);
    }

    /// A signed Exp-Golomb code.
    fn se(&mut self, value: i32) {
        let magnitude = value.unsigned_abs();
        self.ue(if value > 0 {
            2 * magnitude - 1
        } else {
            2 * magnitude
        });
    }

    /// Zero bits up to the next byte.
    fn align(&mut self) {
        if self.count > 0 {
            self.bits(0, 8 - self.count);
        }
    }

    /// Whole bytes, all above 3, at a byte boundary.
    fn plain(&mut self, bytes: &[u8]) {
        debug_assert!(self.count == 0 && bytes.iter().all(|byte| *byte > 3));
        self.out.extend_from_slice(bytes);
        self.zeros = 0;
    }

    /// The stop bit and the end.
    fn finish(mut self) -> Vec<u8> {
        self.bits(1, 1);
        self.align();
        self.out
    }
}

/// The decoder configuration of pictures of `rows` rows of macroblocks.
pub fn parameter_sets(rows: usize) -> Avc {
    Avc {
        sps: vec![Bytes::from(sequence_parameter_set(rows))],
        pps: vec![Bytes::from(picture_parameter_set(0))],
    }
}

fn sequence_parameter_set(rows: usize) -> Vec<u8> {
    let mut w = Writer::new(0x60 | kind::SPS, 32);
    // Constrained baseline, level 3.1: 1280x720 at 25 pictures a second.
    w.bits(66, 8);
    w.bits(0xc0, 8);
    w.bits(31, 8);
    w.ue(0); // seq_parameter_set_id
    w.ue(FRAME_NUM_BITS - 4);
    w.ue(2); // pic_order_cnt_type: output in decoding order
    w.ue(1); // max_num_ref_frames
    w.bits(0, 1); // no gaps in frame_num
    w.ue(COLUMNS as u32 - 1);
    w.ue(rows as u32 - 1);
    w.bits(1, 1); // frame_mbs_only_flag
    w.bits(1, 1); // direct_8x8_inference_flag
    w.bits(0, 1); // no cropping
    w.bits(1, 1); // VUI (annex E): no aspect ratio, no overscan,
    w.bits(0b00, 2);
    w.bits(1, 1); // a video signal of unspecified format and limited range,
    w.bits(0b1_0100, 5);
    w.bits(0, 1); // no chroma location,
    w.bits(1, 1); // timing: 25 pictures a second, fixed,
    w.bits(1, 32);
    w.bits(50, 32);
    w.bits(1, 1);
    w.bits(0b000, 3); // no HRD, no picture structure,
    w.bits(1, 1); // no reordering.
    w.bits(1, 1);
    for value in [0, 0, 8, 8, 0, 1] {
        w.ue(value);
    }
    w.finish()
}

/// The picture parameter set under this id (0 to 255), the same but for it.
pub fn picture_parameter_set(id: u32) -> Vec<u8> {
    let mut w = Writer::new(0x60 | kind::PPS, 16);
    w.ue(id); // pic_parameter_set_id
    w.ue(0); // seq_parameter_set_id
    w.bits(0b00, 2); // CAVLC, no bottom field order
    w.ue(0); // one slice group
    w.ue(0); // one reference
    w.ue(0);
    w.bits(0b000, 3); // no weighted prediction
    w.se(QP - 26);
    w.se(0);
    w.se(CHROMA_QP_OFFSET);
    w.bits(0b100, 3); // deblocking control; no constrained intra, no redundant slices
    w.finish()
}

const FRAME_NUM_BITS: u32 = 8;
const QP: i32 = 28;
const CHROMA_QP_OFFSET: i32 = -6;

/// A slice of a picture that refers to the one before, without its `frame_num`,
/// in which the phases of the cameras differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PredictedSlice {
    nal: Vec<u8>,
    /// Where `frame_num` stands, in bits.
    at: usize,
}

impl PredictedSlice {
    /// Appends the slice behind its length in four bytes.
    pub fn push(&self, out: &mut Vec<u8>, frame_num: u8) {
        let start = out.len() + 4;
        crate::media::nal::push_length_prefixed(out, &self.nal);
        // The bytes on both sides are never zero (see `slice_header`), so no
        // emulation prevention is touched by this.
        let byte = start + self.at / 8;
        let shift = self.at % 8;
        let number = (u16::from(frame_num) << (8 - shift)).to_be_bytes();
        let mask = (0xff_u16 << (8 - shift)).to_be_bytes();
        for half in 0..2 {
            if let Some(there) = out.get_mut(byte + half) {
                *there = *there & !mask[half] | number[half];
            }
        }
    }
}

/// Rows of a picture.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    /// The first row's number.
    pub first: usize,
    /// Its macroblocks, whole rows.
    pub cells: &'a [Cell],
}

/// A slice of a key frame. Consecutive key frames must differ in `number`.
pub fn key_slice(rows: Rows<'_>, number: u64) -> Vec<u8> {
    let grain = rows.cells.iter().filter(|cell| cell.grain).count();
    let mut w = Writer::new(0x60 | kind::IDR, 64 + grain * 386 + rows.cells.len() * 4);
    w.ue((rows.first * COLUMNS) as u32);
    w.ue(7); // I, like all slices of the picture
    w.ue(0); // pic_parameter_set_id
    w.bits(0, FRAME_NUM_BITS);
    w.ue((number & 1) as u32); // idr_pic_id
    w.bits(0b00, 2); // dec_ref_pic_marking: nothing special
    finish_header(&mut w);
    let mut coder = Coder::new(rows.cells);
    for at in 0..rows.cells.len() {
        coder.macroblock(&mut w, at, false);
    }
    w.finish()
}

/// A slice of a picture that refers to the one before, whose rows were `before`.
pub fn predicted_slice(rows: Rows<'_>, before: &[Cell]) -> PredictedSlice {
    predicted_slice_with(rows, before, 0)
}

/// As [`predicted_slice`], under the picture parameter set of this id (0 or 1).
pub fn predicted_slice_with(rows: Rows<'_>, before: &[Cell], set: u32) -> PredictedSlice {
    let mut w = Writer::new(0x40 | kind::SLICE, 1_024);
    w.ue((rows.first * COLUMNS) as u32);
    w.ue(5); // P, like all slices of the picture
    w.ue(set); // pic_parameter_set_id
    let at = w.out.len() * 8 + w.count as usize;
    w.bits(0, FRAME_NUM_BITS);
    w.bits(0b00, 2); // one reference, in its place
    w.bits(0, 1); // dec_ref_pic_marking: sliding window
    finish_header(&mut w);
    let mut coder = Coder::new(rows.cells);
    let mut skipped = 0;
    for at in 0..rows.cells.len() {
        if before.get(at) == Some(&rows.cells[at]) {
            skipped += 1;
            continue;
        }
        w.ue(skipped);
        skipped = 0;
        coder.macroblock(&mut w, at, true);
    }
    if skipped > 0 {
        w.ue(skipped);
    }
    PredictedSlice {
        nal: w.finish(),
        at,
    }
}

fn finish_header(w: &mut Writer) {
    w.se(0); // slice_qp_delta
    w.ue(1); // disable_deblocking_filter_idc
}

/// Codes the macroblocks of one slice.
struct Coder<'a> {
    cells: &'a [Cell],
    /// Which macroblocks of the slice were coded as I_PCM.
    pcm: Vec<bool>,
}

impl<'a> Coder<'a> {
    fn new(cells: &'a [Cell]) -> Self {
        Self {
            cells,
            pcm: vec![false; cells.len()],
        }
    }

    /// The neighbours to the left and above, where they are in the slice.
    fn neighbours(at: usize) -> (Option<usize>, Option<usize>) {
        let left = (!at.is_multiple_of(COLUMNS)).then(|| at - 1);
        (left, at.checked_sub(COLUMNS))
    }

    fn macroblock(&mut self, w: &mut Writer, at: usize, predicted: bool) {
        // mb_type of intra macroblocks comes after those of P slices (table 7-13).
        let base = if predicted { 5 } else { 0 };
        let cell = self.cells[at];
        if cell.grain {
            self.pcm[at] = true;
            w.ue(base + 25);
            w.align();
            w.plain(&TILE_DATA[usize::from(cell.luma) % TILES].luma);
            w.plain(&[cell.cb; 64]);
            w.plain(&[cell.cr; 64]);
            return;
        }
        let (luma_mode, luma) = self.predict_luma(at);
        let (chroma_mode, cb, cr) = self.predict_chroma(at);
        let cb = i32::from(cell.cb) - i32::from(cb);
        let cr = i32::from(cell.cr) - i32::from(cr);
        let chroma = u32::from(cb != 0 || cr != 0);
        w.ue(base + 1 + luma_mode + 4 * chroma);
        w.ue(chroma_mode);
        w.se(0); // mb_qp_delta
        let dense = self.coefficients_around(at) >= 8;
        let codes = if dense { DENSE } else { SPARSE };
        coefficient(w, i32::from(cell.luma) - luma as i32, codes);
        if chroma == 1 {
            coefficient(w, cb, CHROMA_DC);
            coefficient(w, cr, CHROMA_DC);
        }
    }

    /// Intra 16x16 prediction (8.3.3): mode and value, the same for all samples.
    fn predict_luma(&self, at: usize) -> (u32, u32) {
        let (left, above) = Self::neighbours(at);
        let left = left.map(|at| self.cells[at]);
        let above = above.map(|at| self.cells[at]);
        match (left, above) {
            (Some(left), _) if !left.grain => (1, u32::from(left.luma)),
            (_, Some(above)) if !above.grain => (0, u32::from(above.luma)),
            _ => {
                let right = |cell: Cell| TILE_DATA[usize::from(cell.luma) % TILES].right;
                let bottom = |cell: Cell| TILE_DATA[usize::from(cell.luma) % TILES].bottom;
                let mean = match (left.map(right), above.map(bottom)) {
                    (Some(left), Some(above)) => (left + above + 16) >> 5,
                    (Some(sum), None) | (None, Some(sum)) => (sum + 8) >> 4,
                    (None, None) => 128,
                };
                (2, mean)
            }
        }
    }

    /// Chroma prediction (8.3.4): all macroblocks have one chroma throughout.
    fn predict_chroma(&self, at: usize) -> (u32, u8, u8) {
        match Self::neighbours(at) {
            (Some(left), _) => (1, self.cells[left].cb, self.cells[left].cr),
            (None, Some(above)) => (2, self.cells[above].cb, self.cells[above].cr),
            (None, None) => (0, 128, 128),
        }
    }

    /// nC (9.2.1): I_PCM counts as 16 coefficients a block, all else here as none.
    fn coefficients_around(&self, at: usize) -> u32 {
        let count = |at: usize| if self.pcm[at] { 16 } else { 0 };
        match Self::neighbours(at) {
            (Some(left), Some(above)) => (count(left) + count(above) + 1) >> 1,
            (Some(one), None) | (None, Some(one)) => count(one),
            (None, None) => 0,
        }
    }
}

/// `coeff_token` (table 9-5) as bits and length: no coefficient; one that is ±1;
/// one that is larger.
type Codes = [(u32, u32); 3];

/// 0 <= nC < 2.
const SPARSE: Codes = [(0b1, 1), (0b01, 2), (0b00_0101, 6)];
/// 8 <= nC.
const DENSE: Codes = [(0b00_0011, 6), (0b00_0001, 6), (0b00_0000, 6)];
/// nC = -1.
const CHROMA_DC: Codes = [(0b01, 2), (0b1, 1), (0b00_0111, 6)];

/// A residual block with at most its first coefficient (7.3.5.3.2, 9.2.2).
fn coefficient(w: &mut Writer, level: i32, codes: Codes) {
    let (token, length) = codes[level.unsigned_abs().min(2) as usize];
    w.bits(token, length);
    match level.unsigned_abs() {
        0 => return,
        1 => w.bits(u32::from(level < 0), 1),
        magnitude => {
            let code = 2 * magnitude - 4 + u32::from(level < 0);
            match code {
                0..14 => w.bits(1, code + 1),
                14..30 => {
                    w.bits(1, 15);
                    w.bits(code - 14, 4);
                }
                _ => {
                    w.bits(1, 16);
                    w.bits(code - 30, 12);
                }
            }
        }
    }
    w.bits(1, 1); // total_zeros: 0
}

#[cfg(test)]
mod tests {
    use super::super::ROWS;
    use super::*;
    use crate::clock::Wall;
    use crate::media::unit::{Codec, Configuration};
    use crate::simulate::scene::{Grain, SUB_ROWS, Scene};

    fn scene() -> Scene {
        let grain = Grain {
            cells: 300,
            changing: 20,
        };
        let mut scene = Scene::new(ROWS, grain);
        scene.advance(0, Wall(1_700_000_000_000_000));
        scene
    }

    #[test]
    fn the_configuration_reads_as_meant() {
        for (rows, height) in [(ROWS, 720), (SUB_ROWS, 512)] {
            let record = parameter_sets(rows).build().unwrap();
            let configuration = Configuration::from_record(Codec::H264, record).unwrap();
            assert_eq!((configuration.width, configuration.height), (1280, height));
            assert_eq!(configuration.codec_string(), "avc1.42c01f");
        }
    }

    #[test]
    fn no_start_code_arises() {
        let mut scene = scene();
        let before = scene.cells().to_vec();
        scene.advance(1, Wall(1_700_000_000_040_000));
        for first in 0..ROWS {
            let at = first * COLUMNS;
            let rows = Rows {
                first,
                cells: &scene.cells()[at..],
            };
            let mut all = key_slice(rows, first as u64);
            let slice = predicted_slice(rows, &before[at..]);
            for frame_num in 0..=255 {
                slice.push(&mut all, frame_num);
                // Lengths are no part of the unit.
                let start = all.len() - slice.nal.len();
                let nal = all.split_off(start);
                assert!(!nal.windows(3).any(|w| w[..2] == [0, 0] && w[2] < 3));
                let mut bits = crate::media::nal::Bits::new(&nal);
                bits.skip(slice.at).unwrap();
                assert_eq!(bits.bits(8), Some(frame_num.into()));
                all.truncate(start - 4);
            }
            assert!(!all.windows(3).any(|w| w[..2] == [0, 0] && w[2] < 3));
        }
    }

    #[test]
    fn an_unchanged_picture_is_one_run_of_skips() {
        let scene = scene();
        let rows = Rows {
            first: 0,
            cells: scene.cells(),
        };
        let slice = predicted_slice(rows, scene.cells());
        assert!(slice.nal.len() < 10, "{} bytes", slice.nal.len());
    }
}
