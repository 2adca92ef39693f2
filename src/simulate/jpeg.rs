//! A tiny baseline JPEG encoder (ITU-T T.81) for [`Scene`]'s macroblocks: each row
//! of macroblocks is a restart interval of its own, so rows can be put together
//! from where they were coded once.
//!
//! [`Scene`]: super::scene::Scene

use std::sync::LazyLock;

use bytes::Bytes;

use crate::media::drawn::{COLUMNS, Cell, ROWS, TILES};
use crate::media::jpeg::HUFFMAN_TABLES;

/// Coefficients of a block of grain after the first, each of some 7 bits.
const GRAIN_COEFFICIENTS: usize = 63;

/// Bytes of a macroblock of grain, about.
pub(super) const GRAIN_BYTES: u64 = 236;

/// Bytes of a picture without grain, about.
pub(super) const PLAIN_BYTES: u64 = 15_000;

/// A Huffman code for each symbol: bits and their number.
type Codes = Vec<(u16, u8)>;

/// Luma DC and AC, chroma DC and AC (T.81 annex C from the tables of annex K).
static CODES: LazyLock<[Codes; 4]> = LazyLock::new(|| {
    HUFFMAN_TABLES.map(|(_, counts, symbols)| {
        let mut codes = vec![(0, 0); 256];
        let (mut code, mut next) = (0_u16, 0);
        for (length, count) in (1_u8..).zip(counts) {
            for _ in 0..count {
                codes[usize::from(symbols[next])] = (code, length);
                code += 1;
                next += 1;
            }
            code <<= 1;
        }
        codes
    })
});

/// Where the codes of a component begin in [`CODES`].
const LUMA: usize = 0;
const CHROMA: usize = 2;

/// Codes one row of macroblocks, byte-aligned, without its restart marker.
pub(super) fn row(cells: &[Cell]) -> Bytes {
    let mut bits = Bits::default();
    let mut before = [0_i32; 3];
    for cell in cells {
        for block in 0..4 {
            let level = if cell.grain {
                -40
            } else {
                i32::from(cell.luma) - 128
            };
            bits.first(LUMA, level - before[0]);
            before[0] = level;
            if cell.grain {
                bits.grain(u32::from(cell.luma) * 4 + block);
            } else {
                bits.symbol(LUMA + 1, 0);
            }
        }
        for (number, sample) in [(1, cell.cb), (2, cell.cr)] {
            let level = i32::from(sample) - 128;
            bits.first(CHROMA, level - before[number]);
            before[number] = level;
            bits.symbol(CHROMA + 1, 0);
        }
    }
    bits.finish()
}

/// Puts a picture together from its rows.
pub(super) fn picture<'a>(rows: impl Iterator<Item = &'a Bytes>) -> Bytes {
    let mut out = HEADERS.clone();
    for (number, row) in rows.enumerate() {
        if number > 0 {
            out.extend_from_slice(&[0xff, 0xd0 + (number as u8 - 1) % 8]);
        }
        out.extend_from_slice(row);
    }
    out.extend_from_slice(&[0xff, 0xd9]);
    out.into()
}

/// All that is before the first row.
static HEADERS: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut out = vec![0xff, 0xd8, 0xff, 0xdb, 0, 132];
    for id in 0..2 {
        // 8 makes a difference of one sample a DC difference of 1.
        out.extend_from_slice(&[id, 8]);
        out.extend_from_slice(&[2; 63]);
    }
    let (width, height) = ((COLUMNS * 16) as u16, (ROWS * 16) as u16);
    out.extend_from_slice(&[0xff, 0xc0, 0, 17, 8]);
    out.extend_from_slice(&height.to_be_bytes());
    out.extend_from_slice(&width.to_be_bytes());
    out.extend_from_slice(&[3, 1, 0x22, 0, 2, 0x11, 1, 3, 0x11, 1]);
    for (id, counts, symbols) in HUFFMAN_TABLES {
        out.extend_from_slice(&[0xff, 0xc4, 0, 19 + symbols.len() as u8, id]);
        out.extend_from_slice(&counts);
        out.extend_from_slice(symbols);
    }
    out.extend_from_slice(&[0xff, 0xdd, 0, 4, 0, COLUMNS as u8]);
    out.extend_from_slice(&[0xff, 0xda, 0, 12, 3, 1, 0, 2, 0x11, 3, 0x11, 0, 63, 0]);
    out
});

/// Writes bits, a zero byte after each 0xff (T.81 B.1.1.5).
#[derive(Default)]
struct Bits {
    out: Vec<u8>,
    bits: u64,
    count: u32,
}

impl Bits {
    fn push(&mut self, value: u32, count: u32) {
        self.bits = self.bits << count | u64::from(value);
        self.count += count;
        while self.count >= 8 {
            self.count -= 8;
            let byte = (self.bits >> self.count) as u8;
            self.out.push(byte);
            if byte == 0xff {
                self.out.push(0);
            }
        }
    }

    fn symbol(&mut self, table: usize, symbol: u8) {
        let (code, length) = CODES[table][usize::from(symbol)];
        self.push(code.into(), length.into());
    }

    /// A number's bits after its category (T.81 F.1.2.1).
    fn magnitude(&mut self, value: i32, size: u32) {
        let bits = if value < 0 { value - 1 } else { value };
        self.push(bits as u32 & ((1 << size) - 1), size);
    }

    /// The first coefficient of a block, as a difference.
    fn first(&mut self, table: usize, difference: i32) {
        let size = 32 - difference.unsigned_abs().leading_zeros();
        self.symbol(table, size as u8);
        self.magnitude(difference, size);
    }

    /// The other coefficients of a block of grain.
    fn grain(&mut self, seed: u32) {
        let mut noise = (seed % (TILES as u32 * 4)).wrapping_mul(0x9e37_79b9) | 1;
        for _ in 0..GRAIN_COEFFICIENTS {
            noise ^= noise << 13;
            noise ^= noise >> 17;
            noise ^= noise << 5;
            let magnitude = 4 + (noise >> 16 & 7) as i32;
            let value = if noise & 1 == 0 {
                magnitude
            } else {
                -magnitude
            };
            let size = 32 - magnitude.unsigned_abs().leading_zeros();
            self.symbol(LUMA + 1, size as u8);
            self.magnitude(value, size);
        }
    }

    /// Fills the last byte with ones.
    fn finish(mut self) -> Bytes {
        if self.count > 0 {
            let missing = 8 - self.count;
            self.push((1 << missing) - 1, missing);
        }
        self.out.into()
    }
}

#[cfg(test)]
mod tests {
    use super::super::scene::{Grain, Scene};
    use super::*;
    use crate::media::jpeg::{Jpeg, Sampling};

    #[test]
    fn the_picture_is_what_rtp_can_carry() {
        let grain = Grain {
            cells: 200,
            changing: 0,
        };
        let scene = Scene::new(ROWS, grain);
        let rows: Vec<Bytes> = scene.cells().chunks(COLUMNS).map(row).collect();
        let data = picture(rows.iter());
        let jpeg = Jpeg::parse(&data).unwrap();
        assert_eq!((jpeg.width, jpeg.height), (1280, 720));
        assert_eq!(jpeg.sampling, Sampling::Yuv420);
        assert_eq!(jpeg.restart_interval, 80);

        let plain = Scene::new(ROWS, Grain { cells: 0, ..grain });
        let rows: Vec<Bytes> = plain.cells().chunks(COLUMNS).map(row).collect();
        let grain_bytes = (data.len() - picture(rows.iter()).len()) as u64 / 200;
        assert!(
            grain_bytes.abs_diff(GRAIN_BYTES) < 24,
            "{grain_bytes} bytes a macroblock"
        );
    }
}
