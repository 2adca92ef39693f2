//! Pictures that we draw ourselves: grids of macroblocks with large letters, and an encoder for them
//! ([`encoder`]). What a VMS shows between grants, the camera `fanal-test`, and the simulated
//! cameras are made of it.

use std::ops::Range;

use bytes::Bytes;

use super::nal::push_length_prefixed;
use super::unit::{Codec, Configuration};

pub mod card;
pub mod encoder;
mod font;

/// Width of a picture in macroblocks of 16 pixels.
pub const COLUMNS: usize = 80;

/// Height of a picture in macroblocks.
pub const ROWS: usize = 45;

/// Letters in a line of a picture.
pub const LETTERS: usize = (COLUMNS + 1) / font::ADVANCE;

/// Height of a line of letters in macroblocks.
pub const LETTER_ROWS: usize = 7;

/// One macroblock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    /// Luma, or the number of the grain's tile.
    pub luma: u8,
    /// Blue chroma.
    pub cb: u8,
    /// Red chroma.
    pub cr: u8,
    /// A tile of grain instead of one luma.
    pub grain: bool,
}

impl Cell {
    /// One colour.
    pub const fn flat(luma: u8, cb: u8, cr: u8) -> Self {
        Self {
            luma,
            cb,
            cr,
            grain: false,
        }
    }
}

/// Fills whole rows.
pub fn fill(cells: &mut [Cell], rows: Range<usize>, cell: Cell) {
    if let Some(rows) = cells.get_mut(rows.start * COLUMNS..rows.end * COLUMNS) {
        rows.fill(cell);
    }
}

/// Writes a line of text from this row on, centred; what does not fit is left out.
pub fn write(cells: &mut [Cell], row: usize, text: &str, ink: Cell, paper: Cell) {
    let width = (text.chars().count() * font::ADVANCE).saturating_sub(1);
    let left = COLUMNS.saturating_sub(width) / 2;
    for (place, letter) in text.chars().take(LETTERS).enumerate() {
        for (y, line) in font::glyph(letter).iter().enumerate() {
            for x in 0..font::WIDTH {
                let column = left + place * font::ADVANCE + x;
                let cell = cells.get_mut((row + y) * COLUMNS + column);
                if let Some(cell) = cell.filter(|_| column < COLUMNS) {
                    let set = line >> (font::WIDTH - 1 - x) & 1 == 1;
                    *cell = if set { ink } else { paper };
                }
            }
        }
    }
}

/// Number of different tiles of grain.
pub const TILES: usize = 64;

/// The 256 luma samples of a tile of grain: never so small that emulation
/// prevention would touch them.
pub fn tile(number: u8) -> [u8; 256] {
    let mut noise = u32::from(number).wrapping_mul(0x9e37_79b9) | 1;
    let base = 60 + number % 32;
    std::array::from_fn(|_| {
        noise ^= noise << 13;
        noise ^= noise >> 17;
        noise ^= noise << 5;
        base + (noise >> 16) as u8 % 40
    })
}

/// What a decoder needs for drawn pictures of [`ROWS`].
pub fn configuration() -> Configuration {
    // Our own parameter sets can be written; a test looks.
    let record = encoder::parameter_sets(ROWS).build().unwrap_or_default();
    Configuration {
        codec: Codec::H264,
        record,
        width: (COLUMNS * 16) as u16,
        height: (ROWS * 16) as u16,
    }
}

/// A whole picture as a key frame, as units carry it. Consecutive ones must differ in `number`.
pub fn key_picture(cells: &[Cell], number: u64) -> Bytes {
    let mut out = Vec::new();
    let rows = encoder::Rows { first: 0, cells };
    push_length_prefixed(&mut out, &encoder::key_slice(rows, number));
    out.into()
}

/// A whole picture that refers to the one before, the `frame_num`th after its key frame.
pub fn next_picture(cells: &[Cell], before: &[Cell], frame_num: u8) -> Bytes {
    let mut out = Vec::new();
    let rows = encoder::Rows { first: 0, cells };
    encoder::predicted_slice(rows, before).push(&mut out, frame_num);
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_is_that_of_the_pictures() {
        let made = configuration();
        let read = Configuration::from_record(Codec::H264, made.record.clone()).unwrap();
        assert_eq!(made, read);
    }

    #[test]
    fn what_does_not_fit_is_left_out() {
        let paper = Cell::flat(28, 128, 128);
        let ink = Cell::flat(224, 128, 128);
        let mut cells = vec![paper; COLUMNS * ROWS];
        write(
            &mut cells,
            ROWS - 3,
            "a text that is far too long",
            ink,
            paper,
        );
        write(&mut cells, ROWS + 3, "A", ink, paper);
        fill(&mut cells, ROWS..ROWS + 2, ink);
        assert!(cells.contains(&ink));
        assert_eq!(cells.len(), COLUMNS * ROWS);
    }

    #[test]
    fn accents_are_left_off_and_what_is_not_known_is_a_block() {
        let drawn = |text: &str| {
            let paper = Cell::flat(28, 128, 128);
            let mut cells = vec![paper; COLUMNS * LETTER_ROWS];
            write(&mut cells, 0, text, Cell::flat(224, 128, 128), paper);
            cells
        };
        assert_eq!(drawn("Berre-l’Étang"), drawn("BERRE-L'ETANG"));
        assert_eq!(drawn("çœ"), drawn("CO"));
        assert_ne!(drawn("漢"), drawn(" "));
    }
}
