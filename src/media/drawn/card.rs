//! What a VMS shows while nothing is relayed to it, and the picture of the camera `fanal-test`.

use super::{COLUMNS, Cell, LETTER_ROWS, LETTERS, ROWS, fill, write};

const NIGHT: Cell = Cell::flat(28, 132, 126);
const WHITE: Cell = Cell::flat(224, 128, 128);
const GREY: Cell = Cell::flat(110, 128, 128);
const GREEN: Cell = Cell::flat(180, 96, 88);
const AMBER: Cell = Cell::flat(176, 64, 158);
const RAIL: Cell = Cell::flat(44, 128, 128);

/// The rail of the bar that moves with each test picture.
const BAR_ROWS: std::ops::Range<usize> = 40..43;
/// Width of the bar, and how far it moves, in macroblocks.
const BAR: usize = 8;
const STEP: usize = 2;

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

/// Picture `number` of the camera `fanal-test`: whose it is, the time, and a bar that moves, so that
/// delay and standstill are seen.
pub fn test(commune: &str, time: &str, number: u64) -> Vec<Cell> {
    let mut cells = vec![NIGHT; COLUMNS * ROWS];
    write(&mut cells, 1, "FANAL TEST", AMBER, NIGHT);
    for (line, text) in name_lines(commune).iter().enumerate() {
        write(&mut cells, 1 + (1 + line) * LINE, text, WHITE, NIGHT);
    }
    write(&mut cells, 1 + 3 * LINE, time, GREEN, NIGHT);
    fill(&mut cells, BAR_ROWS, RAIL);
    let steps = (COLUMNS / STEP) as u64;
    // Below COLUMNS.
    let place = (number % steps) as usize * STEP;
    for row in BAR_ROWS {
        for width in 0..BAR {
            let column = (place + width) % COLUMNS;
            if let Some(cell) = cells.get_mut(row * COLUMNS + column) {
                *cell = AMBER;
            }
        }
    }
    cells
}

/// A name in two lines, broken between words where it can be.
fn name_lines(name: &str) -> [String; 2] {
    let mut lines = [String::new(), String::new()];
    let mut at = 0;
    for word in name.split_inclusive([' ', '-']) {
        let length = |text: &str| text.trim_end().chars().count();
        let joined = format!("{}{word}", lines[at]);
        if at == 0 && !lines[0].is_empty() && length(&joined) > LETTERS {
            at = 1;
        }
        lines[at].push_str(word);
    }
    lines.map(|line| line.trim_end().chars().take(LETTERS).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_broken_between_words() {
        let lines = |name| name_lines(name);
        assert_eq!(lines("Berre-l'Étang"), ["Berre-l'Étang", ""]);
        assert_eq!(lines("Aix-en-Provence"), ["Aix-en-", "Provence"]);
        assert_eq!(
            lines("Saint-Rémy-de-Provence et autour"),
            ["Saint-Rémy-", "de-Provence e"]
        );
        assert_eq!(lines("Commune"), ["Commune", ""]);
        assert_eq!(
            lines("Châteauneuf-les-Martigues"),
            ["Châteauneuf-", "les-Martigues"]
        );
    }

    #[test]
    fn the_bar_moves_with_each_picture_and_time_is_shown() {
        let one = test("Berre-l'Étang", "12:34:56", 7);
        let next = test("Berre-l'Étang", "12:34:56", 8);
        let moved = one.iter().zip(&next).filter(|(one, next)| one != next);
        assert_eq!(moved.count(), BAR_ROWS.len() * 2 * STEP);
        assert_eq!(one, test("Berre-l'Étang", "12:34:56", 7 + 40));
        assert_ne!(one, test("Berre-l'Étang", "12:34:57", 7));
        assert_ne!(one, test("Rognac", "12:34:56", 7));
        assert_ne!(nothing_live(), test("", "", 0));
    }
}
