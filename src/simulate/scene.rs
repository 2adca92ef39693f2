//! What the simulated cameras show: a clock, a frame counter, something that
//! moves, and a textured field that brings the stream to its bit rate.
//!
//! The picture is a grid of tiles. Each tile has what it should show and what
//! the viewer's decoder has; a delta picture sends as many changed tiles as the
//! bit rate allows, the frame counter first.

use bytes::Bytes;

use super::encoder::{self, Kind, Layout, Samples, TILE, TILE_BYTES, Tile};
use super::font;
use crate::clock::Wall;

/// Frames a second.
pub const FRAME_RATE: u32 = 25;
/// Least bit rate that can be asked for: below it the counter alone would not fit.
pub const BITRATE_MIN: u64 = 500_000;
/// Greatest bit rate that can be asked for: above it the whole picture changes each frame.
pub const BITRATE_MAX: u64 = 40_000_000;

const LAYOUT: Layout = Layout {
    columns: 80,
    rows: 45,
    banner_rows: 4,
};
const INK: [u8; 3] = [235, 128, 128];
const ACCENT: [u8; 3] = [180, 64, 170];

/// One picture of the scene, without any camera's name.
#[derive(Clone, Debug)]
pub struct Picture {
    /// Key frame or not, and its numbers: the banner slice must carry the same.
    pub kind: Kind,
    /// The banner's slice of a delta picture: as before. Empty in a key frame,
    /// whose banner is the camera's own ([`banner`]).
    pub banner: Bytes,
    /// The slice of the scene.
    pub scene: Bytes,
}

impl Picture {
    /// Whether it is a key frame.
    pub const fn is_key(&self) -> bool {
        matches!(self.kind, Kind::Key { .. })
    }
}

/// Draws and encodes one sequence of pictures, to be shared by many cameras.
pub struct Scene {
    group_length: u32,
    tiles_per_delta: usize,
    field: Vec<usize>,
    /// What each tile of the scene should show.
    wanted: Vec<Option<Box<Samples>>>,
    /// Tiles whose content the decoder has not got yet, by importance.
    dirty: [Vec<usize>; 3],
    in_group: u32,
    groups: u64,
    counter: u64,
    field_next: usize,
    bar_at: usize,
    shown: Text,
}

#[derive(Default, Clone, PartialEq, Eq)]
struct Text {
    counter: String,
    time: String,
    fraction: String,
    date: String,
}

impl std::fmt::Debug for Scene {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scene")
            .field("counter", &self.counter)
            .finish_non_exhaustive()
    }
}

/// Where things stand, in tiles.
mod place {
    pub(super) const TIME: (usize, usize) = (8, 8);
    pub(super) const FRACTION: (usize, usize) = (24, 9);
    pub(super) const DATE: (usize, usize) = (8, 13);
    pub(super) const COUNTER: (usize, usize) = (8, 17);
    pub(super) const BAR_ROW: usize = 22;
    pub(super) const FIELD: (usize, usize, usize, usize) = (8, 27, 72, 43);
}

/// Sequence and picture parameter set of all scenes.
pub fn parameter_sets() -> (Bytes, Bytes) {
    encoder::parameter_sets(LAYOUT)
}

/// Width and height in pixels.
pub const fn size() -> (u16, u16) {
    ((LAYOUT.columns * TILE) as u16, (LAYOUT.rows * TILE) as u16)
}

/// The banner slice of a key frame, with this camera's name. There are two, one
/// for each `idr_pic_id`, and both can be kept for the camera's life.
pub fn banner(name: &str, kind: Kind) -> Bytes {
    let mut tiles: Vec<Option<Box<Samples>>> = vec![None; LAYOUT.columns * LAYOUT.banner_rows];
    for row in 0..LAYOUT.banner_rows {
        tiles[row * LAYOUT.columns] = Some(Box::new(blank(row)));
    }
    let room = LAYOUT.columns - 16;
    for (index, character) in name.chars().take(room).enumerate() {
        draw(&mut tiles, (8 + index, 1), 3, character, INK, |_| ());
    }
    encoder::slice(
        LAYOUT,
        kind,
        0,
        tiles
            .iter()
            .map(|tile| tile.as_deref().map_or(Tile::FromLeft, Tile::Pcm)),
    )
}

impl Scene {
    /// A scene at about this many bits a second (bounded by [`BITRATE_MIN`] and
    /// [`BITRATE_MAX`]), with a key frame every `group_length` frames.
    pub fn new(bitrate: u64, group_length: u32) -> Self {
        let group_length = group_length.max(1);
        let bitrate = bitrate.clamp(BITRATE_MIN, BITRATE_MAX);
        let group_bytes = bitrate * u64::from(group_length) / (8 * u64::from(FRAME_RATE));
        let tile = TILE_BYTES as u64 + 2;
        // A fifth of the bytes in the key frame, as cameras do with groups of 2 s.
        let key_tiles = usize::try_from(group_bytes / 5 / tile).unwrap_or(usize::MAX);
        let (left, top, right, bottom) = place::FIELD;
        // The first column, the texts, and a banner of some twenty letters.
        let fixed = LAYOUT.rows + 140;
        let room = (right - left) * (bottom - top);
        let tiles = key_tiles.saturating_sub(fixed).clamp(8, room);
        // About six times as wide as high, so that it looks like a field.
        let across: usize = (tiles * 6)
            .isqrt()
            .clamp(tiles.div_ceil(bottom - top), right - left);
        let field: Vec<usize> = (0..tiles)
            .map(|n| (top + n / across) * LAYOUT.columns + left + n % across)
            .collect();
        let key_bytes = (fixed + field.len()) as u64 * tile;
        let deltas = u64::from(group_length.saturating_sub(1).max(1));
        let tiles_per_delta = group_bytes.saturating_sub(key_bytes) / deltas / tile;
        let mut scene = Self {
            group_length,
            tiles_per_delta: usize::try_from(tiles_per_delta)
                .unwrap_or(usize::MAX)
                .max(4),
            field,
            wanted: vec![None; LAYOUT.columns * LAYOUT.rows],
            dirty: Default::default(),
            in_group: 0,
            groups: 0,
            counter: 0,
            field_next: 0,
            bar_at: 2,
            shown: Text::default(),
        };
        for row in LAYOUT.banner_rows..LAYOUT.rows {
            scene.wanted[row * LAYOUT.columns] = Some(Box::new(blank(row)));
        }
        for index in 0..scene.field.len() {
            scene.wanted[scene.field[index]] = Some(Box::new(texture(scene.field[index], 0)));
        }
        scene
    }

    /// Draws and encodes the next picture, showing this time (UTC) and its number.
    pub fn next(&mut self, wall: Wall) -> Picture {
        self.counter += 1;
        let key = self.in_group == 0;
        self.redraw(wall);
        let kind = if key {
            self.groups += 1;
            Kind::Key {
                idr_pic_id: (self.groups % 2) as u8,
            }
        } else {
            Kind::Delta {
                frame_num: (self.in_group % 256) as u8,
            }
        };
        let first = LAYOUT.banner_rows * LAYOUT.columns;
        let (banner, scene) = if key {
            self.dirty.iter_mut().for_each(Vec::clear);
            let tiles = self.wanted[first..]
                .iter()
                .map(|tile| tile.as_deref().map_or(Tile::FromLeft, Tile::Pcm));
            (
                Bytes::new(),
                encoder::slice(LAYOUT, kind, LAYOUT.banner_rows, tiles),
            )
        } else {
            let send = self.choose();
            let mut next = send.iter().copied().peekable();
            let wanted = &self.wanted;
            let tiles = (first..wanted.len()).map(|index| match next.next_if_eq(&index) {
                Some(_) => wanted[index].as_deref().map_or(Tile::Skip, Tile::Pcm),
                None => Tile::Skip,
            });
            let scene = encoder::slice(LAYOUT, kind, LAYOUT.banner_rows, tiles);
            let still = std::iter::repeat_n(Tile::Skip, first);
            (encoder::slice(LAYOUT, kind, 0, still), scene)
        };
        self.in_group = (self.in_group + 1) % self.group_length;
        Picture {
            kind,
            banner,
            scene,
        }
    }

    /// Number of the picture last made, from 1: what its counter shows.
    pub const fn counter(&self) -> u64 {
        self.counter
    }

    /// The tiles of this delta picture, in order.
    fn choose(&mut self) -> Vec<usize> {
        // The counter always goes, whatever the bit rate: tests and people read it.
        let mut send = std::mem::take(&mut self.dirty[0]);
        for level in 1..self.dirty.len() {
            let room = self.tiles_per_delta.saturating_sub(send.len());
            let take = room.min(self.dirty[level].len());
            send.extend(self.dirty[level].drain(..take));
        }
        // What room is left goes to the field, tile after tile.
        let room = self
            .tiles_per_delta
            .saturating_sub(send.len())
            .min(self.field.len());
        for _ in 0..room {
            let index = self.field[self.field_next];
            self.field_next = (self.field_next + 1) % self.field.len();
            self.wanted[index] = Some(Box::new(texture(index, self.counter)));
            send.push(index);
        }
        send.sort_unstable();
        send.dedup();
        send
    }

    fn redraw(&mut self, wall: Wall) {
        let stamp = wall.rfc3339();
        let (date, rest) = stamp.split_once('T').unwrap_or((&stamp, ""));
        let (time, fraction) = rest.split_once('.').unwrap_or((rest, ""));
        let text = Text {
            counter: format!("IMAGE {:08}", self.counter),
            time: time.to_owned(),
            fraction: format!(".{} UTC", fraction.get(..2).unwrap_or("")),
            date: date.to_owned(),
        };
        let shown = std::mem::replace(&mut self.shown, text.clone());
        self.write(0, place::COUNTER, 3, &text.counter, &shown.counter);
        self.write(1, place::TIME, 6, &text.time, &shown.time);
        self.write(1, place::FRACTION, 3, &text.fraction, &shown.fraction);
        self.write(1, place::DATE, 3, &text.date, &shown.date);
        self.move_bar();
    }

    /// Writes what changed of a line of text.
    fn write(&mut self, level: usize, at: (usize, usize), scale: usize, text: &str, shown: &str) {
        let mut before = shown.chars();
        let cell = if scale > 3 { 2 } else { 1 };
        for (index, character) in text.chars().enumerate() {
            if before.next() != Some(character) {
                let dirty = &mut self.dirty[level];
                draw(
                    &mut self.wanted,
                    (at.0 + index * cell, at.1),
                    scale,
                    character,
                    INK,
                    |tile| {
                        if !dirty.contains(&tile) {
                            dirty.push(tile);
                        }
                    },
                );
            }
        }
    }

    /// A block that runs along its row, one tile every five frames.
    fn move_bar(&mut self) {
        if self.counter % 5 != 1 {
            return;
        }
        let row = place::BAR_ROW;
        for (column, colour) in [
            (self.bar_at, None),
            ((self.bar_at - 1) % 76 + 2, Some(ACCENT)),
        ] {
            for row in row..row + 2 {
                let mut samples = blank(row);
                if let Some(colour) = colour {
                    // Not the last chroma column: the next tile may copy it.
                    fill(&mut samples, colour, (1, 1, 13, 14));
                }
                let index = row * LAYOUT.columns + column;
                self.wanted[index] = Some(Box::new(samples));
                if !self.dirty[2].contains(&index) {
                    self.dirty[2].push(index);
                }
            }
        }
        self.bar_at = (self.bar_at - 1) % 76 + 2;
    }
}

/// The background of a row's tiles: a slow gradient from top to bottom, the same
/// in every column so that a tile can be copied from its left neighbour.
fn blank(row: usize) -> Samples {
    let mut samples = [0; TILE_BYTES];
    for y in 0..TILE {
        let luma = 40 + ((row * TILE + y) * 48 / (LAYOUT.rows * TILE)) as u8;
        samples[y * TILE..(y + 1) * TILE].fill(luma);
    }
    samples[256..320].fill(138);
    samples[320..384].fill(122);
    samples
}

/// Fills a rectangle (left, top, width, height) with a colour; chroma by halves.
fn fill(
    samples: &mut Samples,
    colour: [u8; 3],
    (left, top, width, height): (usize, usize, usize, usize),
) {
    for y in top..(top + height).min(TILE) {
        for x in left..(left + width).min(TILE) {
            samples[y * TILE + x] = colour[0];
            let chroma = (y / 2) * 8 + x / 2;
            samples[256 + chroma] = colour[1];
            samples[320 + chroma] = colour[2];
        }
    }
}

/// Draws a character at a tile; calls `touched` for each tile it stands on.
fn draw(
    tiles: &mut [Option<Box<Samples>>],
    (column, row): (usize, usize),
    scale: usize,
    character: char,
    ink: [u8; 3],
    mut touched: impl FnMut(usize),
) {
    let glyph = font::glyph(character);
    let across = (font::WIDTH * scale).div_ceil(TILE);
    let down = (font::HEIGHT * scale).div_ceil(TILE);
    for tile_row in 0..down {
        for tile_column in 0..across {
            let mut samples = blank(row + tile_row);
            for y in 0..TILE {
                // The last column stays background: the next tile may copy it.
                for x in 0..TILE {
                    let (gx, gy) = (
                        (tile_column * TILE + x) / scale,
                        (tile_row * TILE + y) / scale,
                    );
                    let lit = gx < font::WIDTH
                        && gy < font::HEIGHT
                        && glyph[gy] >> (font::WIDTH - 1 - gx) & 1 == 1;
                    if lit {
                        samples[y * TILE + x] = ink[0];
                    }
                }
            }
            let index = (row + tile_row) * LAYOUT.columns + column + tile_column;
            if let Some(tile) = tiles.get_mut(index) {
                *tile = Some(Box::new(samples));
                touched(index);
            }
        }
    }
}

/// A tile of the textured field: like grass in the wind, never the same.
fn texture(index: usize, time: u64) -> Samples {
    let mut samples = blank(index / LAYOUT.columns);
    let mut state = (index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        ^ time.wrapping_mul(0xd1b5_4a32_d192_ed03);
    for (position, sample) in samples[..256].iter_mut().enumerate() {
        // The last column stays background: the next tile may copy it.
        if position % TILE == TILE - 1 {
            continue;
        }
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        *sample = sample.saturating_add((state % 56) as u8);
    }
    samples
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes of some seconds of a scene.
    fn bytes_per_second(bitrate: u64) -> f64 {
        let mut scene = Scene::new(bitrate, 50);
        let seconds = 8;
        let mut total = 0;
        for frame in 0..seconds * FRAME_RATE {
            let picture = scene.next(Wall(i64::from(frame) * 40_000));
            assert_eq!(picture.is_key(), frame % 50 == 0);
            total += picture.scene.len() + picture.banner.len();
        }
        total as f64 / f64::from(seconds)
    }

    #[test]
    fn keeps_to_its_bit_rate() {
        for bitrate in [1_000_000_u32, 2_000_000, 4_000_000, 8_000_000] {
            let ratio = bytes_per_second(u64::from(bitrate)) * 8.0 / f64::from(bitrate);
            assert!((0.85..1.1).contains(&ratio), "{bitrate}: {ratio}");
        }
    }

    #[test]
    fn a_key_frame_at_two_megabits_weighs_about_100_kilobytes() {
        let key = Scene::new(2_000_000, 50).next(Wall(0));
        assert!(
            (80_000..120_000).contains(&key.scene.len()),
            "{}",
            key.scene.len()
        );
    }
}
