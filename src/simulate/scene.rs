//! The picture: a grid of macroblocks, each one colour or a tile of grain. Shows
//! the camera's name, the wall clock, a frame counter, a moving bar, and grain that
//! takes up the bitrate.

use jiff::Timestamp;

use crate::clock::Wall;
use crate::media::drawn::{COLUMNS, Cell, TILES, fill, write};

/// Pictures in a second.
pub const RATE: u64 = 25;

/// The rows of the camera's name: the only part in which cameras differ.
pub const NAME_ROWS: std::ops::Range<usize> = 0..9;

const CLOCK_ROW: usize = 10;
const COUNTER_ROW: usize = 18;
const BAR_ROWS: std::ops::Range<usize> = 26..28;

/// The first row of grain; it goes on to the picture's end.
pub const GRAIN_ROW: usize = 29;

/// Height of a sub-stream's picture in macroblocks: the same picture with less grain below.
pub const SUB_ROWS: usize = 32;

/// Most macroblocks of grain in a picture of `rows` rows.
pub const fn grain_limit(rows: usize) -> usize {
    COLUMNS * rows.saturating_sub(GRAIN_ROW)
}

const BLUE: Cell = Cell::flat(52, 156, 112);
const WHITE: Cell = Cell::flat(224, 128, 128);
const NIGHT: Cell = Cell::flat(28, 132, 126);
const GREEN: Cell = Cell::flat(180, 96, 88);
const AMBER: Cell = Cell::flat(176, 64, 158);
const RAIL: Cell = Cell::flat(44, 128, 128);
const GROUND: Cell = Cell::flat(72, 124, 130);
/// The chroma of grain.
pub const GRAIN: Cell = Cell {
    luma: 0,
    cb: 120,
    cr: 134,
    grain: true,
};

/// How much grain there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grain {
    /// Macroblocks of it, at most [`grain_limit`].
    pub cells: usize,
    /// How many of them change with each picture.
    pub changing: usize,
}

/// The picture as it stands.
#[derive(Clone, Debug)]
pub struct Scene {
    cells: Vec<Cell>,
    grain: Grain,
    /// The macroblock of grain that changes next.
    next_grain: usize,
    /// State of the generator that chooses tiles.
    noise: u32,
}

impl Scene {
    /// An empty picture of `rows` rows, at least 29, with its grain.
    pub fn new(rows: usize, grain: Grain) -> Self {
        let rows = rows.max(GRAIN_ROW);
        let grain = Grain {
            cells: grain.cells.min(grain_limit(rows)),
            ..grain
        };
        let mut scene = Self {
            cells: vec![NIGHT; COLUMNS * rows],
            grain,
            next_grain: 0,
            noise: 1,
        };
        fill(&mut scene.cells, NAME_ROWS, BLUE);
        fill(&mut scene.cells, BAR_ROWS, RAIL);
        fill(&mut scene.cells, GRAIN_ROW..rows, GROUND);
        for number in 0..grain.cells {
            scene.change_grain(number);
        }
        scene
    }

    /// The macroblocks, row by row.
    pub fn cells(&self) -> &[Cell] {
        &self.cells
    }

    /// Moves on to picture `number`, shown at `wall`.
    pub fn advance(&mut self, number: u64, wall: Wall) {
        let clock = Timestamp::from_microsecond(wall.0).map_or_else(
            |_| "--:--:--.--".to_owned(),
            |time| time.strftime("%H:%M:%S.%3f").to_string(),
        );
        // Two digits of the fraction: 10 ms.
        let clock = clock.get(..11).unwrap_or(&clock);
        write(&mut self.cells, CLOCK_ROW, clock, GREEN, NIGHT);
        write(
            &mut self.cells,
            COUNTER_ROW,
            &format!("NO {:08}", number % 100_000_000),
            WHITE,
            NIGHT,
        );
        fill(&mut self.cells, BAR_ROWS, RAIL);
        let place = (number as usize * 2) % COLUMNS;
        for row in BAR_ROWS {
            for width in 0..6 {
                self.cells[row * COLUMNS + (place + width) % COLUMNS] = AMBER;
            }
        }
        for _ in 0..self.grain.changing.min(self.grain.cells) {
            self.change_grain(self.next_grain);
            self.next_grain = (self.next_grain + 1) % self.grain.cells;
        }
    }

    /// The rows of a camera's name, to stand in for [`NAME_ROWS`]. Long names keep
    /// their ends, in which they differ.
    pub fn name_rows(name: &str) -> Vec<Cell> {
        let skip = name.chars().count().saturating_sub(13);
        let name: String = name.chars().skip(skip).collect();
        let mut cells = vec![BLUE; COLUMNS * NAME_ROWS.len()];
        write(&mut cells, 1, &name, WHITE, BLUE);
        cells
    }

    /// Gives a macroblock of grain another tile.
    fn change_grain(&mut self, number: usize) {
        // xorshift: the grain must differ, not be unguessable.
        self.noise ^= self.noise << 13;
        self.noise ^= self.noise >> 17;
        self.noise ^= self.noise << 5;
        // Spread over the rows: 7 has no factor in common with their number of cells.
        let grain = self.cells.len() - GRAIN_ROW * COLUMNS;
        let place = GRAIN_ROW * COLUMNS + number * 7 % grain;
        self.cells[place] = Cell {
            luma: (self.noise >> 8) as u8 % TILES as u8,
            ..GRAIN
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::drawn::{ROWS, tile};

    #[test]
    fn only_what_moves_changes() {
        let grain = Grain {
            cells: 100,
            changing: 5,
        };
        let mut scene = Scene::new(ROWS, grain);
        scene.advance(1, Wall(0));
        let before = scene.cells().to_vec();
        scene.advance(2, Wall(40_000));
        let changed: Vec<usize> = (0..before.len())
            .filter(|at| before[*at] != scene.cells()[*at])
            .collect();
        let in_rows = |rows: std::ops::Range<usize>| {
            changed
                .iter()
                .filter(|at| rows.contains(&(**at / COLUMNS)))
                .count()
        };
        assert_eq!(in_rows(NAME_ROWS), 0);
        assert!(in_rows(CLOCK_ROW..CLOCK_ROW + 7) > 0, "the clock stands");
        assert!(
            in_rows(COUNTER_ROW..COUNTER_ROW + 7) > 0,
            "the counter stands"
        );
        assert_eq!(in_rows(BAR_ROWS), 8);
        assert!((1..=5).contains(&in_rows(GRAIN_ROW..ROWS)));
    }

    #[test]
    fn grain_lies_where_it_belongs_and_counts() {
        for rows in [SUB_ROWS, ROWS] {
            for cells in [0, 1, 200, grain_limit(rows)] {
                let scene = Scene::new(rows, Grain { cells, changing: 0 });
                assert_eq!(scene.cells().len(), rows * COLUMNS);
                let grain = scene.cells().iter().filter(|cell| cell.grain);
                assert_eq!(grain.count(), cells);
            }
        }
        assert!((0..TILES as u8).all(|number| tile(number).iter().all(|sample| *sample > 3)));
    }

    #[test]
    fn any_name_can_be_written() {
        for name in ["", "a", "quai-nord", "a-name-longer-than-the-picture", "é²"] {
            assert_eq!(Scene::name_rows(name).len(), COLUMNS * NAME_ROWS.len());
        }
    }
}
