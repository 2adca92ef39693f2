//! What a VMS shows while nothing is relayed to it, and the picture of the camera `fanal-test`.

use super::{COLUMNS, Cell, LETTER_ROWS, LETTERS, ROWS, write};

const NIGHT: Cell = Cell::flat(28, 132, 126);
const WHITE: Cell = Cell::flat(224, 128, 128);
const GREY: Cell = Cell::flat(110, 128, 128);

/// From one line of letters to the next, in macroblocks.
const LINE: usize = LETTER_ROWS + 2;

/// The card between grants: that nothing is transmitted, in French and English. It names no
/// person and no incident, and nothing of any camera.
pub fn nothing_live() -> Vec<Cell> {
    let mut cells = vec![NIGHT; COLUMNS * ROWS];
    let lines = [
        ("AUCUNE", WHITE),
        ("TRANSMISSION", WHITE),
        ("EN COURS", WHITE),
        ("NOT LIVE", GREY),
    ];
    let top = (ROWS + 2 - lines.len() * LINE) / 2;
    for (number, (text, ink)) in lines.into_iter().enumerate() {
        debug_assert!(text.len() <= LETTERS);
        write(&mut cells, top + number * LINE, text, ink, NIGHT);
    }
    cells
}
