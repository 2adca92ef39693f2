//! The pictures that the cameras play: H.264 and JPEG of our own encoders, H.265
//! from clips of ffmpeg's test picture. Made once and known beforehand, so that
//! what arrives can be compared with what was sent.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock};

use bytes::Bytes;

use super::script::{Jpeg, Material};
use super::{Fault, lock};
use crate::clock::Wall;
use crate::media::drawn::encoder::{
    Rows, key_slice, parameter_sets, picture_parameter_set, predicted_slice_with,
};
use crate::media::drawn::{COLUMNS, Cell};
use crate::media::h265;
use crate::media::nal::{annex_b, length_prefixed};
use crate::media::unit::Codec;
use crate::simulate::jpeg;
use crate::simulate::scene::{GRAIN, Grain, NAME_ROWS, SUB_ROWS, Scene};

/// Pictures from one key picture to the next.
pub const GROUP: u32 = 20;

/// Groups of a clip of our own; no two pictures in it are the same.
const GROUPS: u32 = 4;

/// Distinct JPEG pictures.
const JPEG_PICTURES: u32 = 8;

/// `ffmpeg -f lavfi -i testsrc2=size=320x192:rate=10 -frames:v 40 -c:v libx265`,
/// a key picture each 20, no B pictures, QP 38.
const ONE_SLICE: &[u8] = include_bytes!("one-slice.h265");
/// The same with three slices a picture.
const THREE_SLICES: &[u8] = include_bytes!("three-slices.h265");

/// Pictures that a camera plays in a loop.
#[derive(Debug)]
pub struct Clip {
    /// How they are coded.
    pub codec: Codec,
    /// Width in pixels of the first picture.
    pub width: u16,
    /// Height in pixels of the first picture.
    pub height: u16,
    /// All pictures.
    pub pictures: Vec<Picture>,
}

/// A picture as it is sent.
#[derive(Clone, Debug)]
pub struct Picture {
    /// A decoder can start here.
    pub key: bool,
    /// Parameter sets that stand before it, with their NAL headers.
    pub sets: Vec<Bytes>,
    /// Its slices with their NAL headers; of JPEG the entropy-coded data.
    pub slices: Vec<Bytes>,
}

impl Clip {
    /// The picture of this number behind PLAY.
    pub fn picture(&self, number: u64) -> Option<&Picture> {
        let count = (self.pictures.len() as u64).max(1);
        self.pictures.get(usize::try_from(number % count).ok()?)
    }

    /// The parameter sets of the first key picture.
    pub fn sets(&self) -> &[Bytes] {
        self.pictures.first().map_or(&[], |picture| &picture.sets)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    H264(Material),
    H265(bool),
    Jpeg(Jpeg),
}

/// Each clip is made once; none waits for another to be made.
static CLIPS: Mutex<BTreeMap<Key, Arc<OnceLock<Arc<Clip>>>>> = Mutex::new(BTreeMap::new());

/// What a row's camera plays where `wish` is the codec of rows that name none.
pub fn clip(fault: &Fault, wish: Codec) -> Arc<Clip> {
    let script = &fault.script;
    let key = match fault.codec(wish) {
        Codec::H264 => Key::H264(script.material),
        Codec::H265 => Key::H265(script.material == Material::Slices),
        Codec::Jpeg => Key::Jpeg(script.jpeg),
    };
    let place = Arc::clone(lock(&CLIPS).entry(key).or_default());
    let made = place.get_or_init(|| {
        Arc::new(match key {
            Key::H264(material) => h264(material),
            Key::H265(slices) => h265(if slices { THREE_SLICES } else { ONE_SLICE }),
            Key::Jpeg(form) => motion_jpeg(form),
        })
    });
    Arc::clone(made)
}

/// Rows of the slices of a picture, and its macroblocks.
struct Layout {
    rows: usize,
    slices: Vec<std::ops::Range<usize>>,
}

impl Layout {
    fn new(rows: usize, count: usize) -> Self {
        let step = rows.div_ceil(count);
        let slices = (0..count).map(|at| at * step..((at + 1) * step).min(rows));
        Self {
            rows,
            slices: slices.collect(),
        }
    }

    fn cut<'a>(&self, cells: &'a [Cell]) -> Vec<Rows<'a>> {
        let part = |rows: &std::ops::Range<usize>| Rows {
            first: rows.start,
            cells: cells
                .get(rows.start * COLUMNS..rows.end * COLUMNS)
                .unwrap_or_default(),
        };
        self.slices.iter().map(part).collect()
    }
}

fn h264(material: Material) -> Clip {
    let count = if material == Material::Slices { 4 } else { 1 };
    let large = material == Material::Large;
    let (grain, groups) = match material {
        Material::Large => (
            Grain {
                cells: 300,
                changing: 260,
            },
            1,
        ),
        _ => (
            Grain {
                cells: 24,
                changing: 4,
            },
            GROUPS,
        ),
    };
    // Large pictures need more rows to hold their grain: 480 macroblocks (560 is a multiple of
    // 7, which the scene's spreading must not meet).
    let rows = if large { SUB_ROWS + 3 } else { SUB_ROWS };
    let sizes = [rows, SUB_ROWS - 2];
    let mut pictures = Vec::new();
    for group in 0..groups {
        let size = match material {
            Material::TwoSizes => sizes.get(group as usize % 2).copied().unwrap_or(rows),
            _ => rows,
        };
        let layout = Layout::new(size, count);
        let mut scene = Scene::new(layout.rows, grain);
        // So far that no picture has the grain of one in another group.
        for number in 0..u64::from(group * GROUP) {
            scene.advance(number, Wall(0));
        }
        let mut before: Vec<Cell> = Vec::new();
        for place in 0..GROUP {
            let number = u64::from(group * GROUP + place);
            // The clock shows the time in the clip.
            scene.advance(number, Wall(number as i64 * 100_000));
            let mut cells = scene.cells().to_vec();
            let name = Scene::name_rows("field");
            for (cell, shown) in cells.iter_mut().zip(name).take(NAME_ROWS.end * COLUMNS) {
                *cell = shown;
            }
            let key = place == 0 && material != Material::NoKey;
            pictures.push(Picture {
                key,
                sets: if place == 0 {
                    sets_of(material, size)
                } else {
                    Vec::new()
                },
                slices: if key {
                    let slices = layout.cut(&cells).into_iter();
                    slices
                        .map(|rows| key_slice(rows, group.into()).into())
                        .collect()
                } else {
                    predicted(&layout, material, place, &cells, &before)
                },
            });
            before = cells;
        }
    }
    Clip {
        codec: Codec::H264,
        width: (COLUMNS * 16) as u16,
        height: (rows * 16) as u16,
        pictures,
    }
}

fn predicted(
    layout: &Layout,
    material: Material,
    place: u32,
    cells: &[Cell],
    before: &[Cell],
) -> Vec<Bytes> {
    let set = u32::from(material == Material::TwoSets);
    let (now, then) = (layout.cut(cells), layout.cut(before));
    let slices = now.into_iter().zip(then).map(|(now, then)| {
        let mut out = Vec::new();
        predicted_slice_with(now, then.cells, set).push(&mut out, place as u8);
        length_prefixed(&out)
            .next()
            .map(Bytes::copy_from_slice)
            .unwrap_or_default()
    });
    slices.collect()
}

fn sets_of(material: Material, rows: usize) -> Vec<Bytes> {
    let sets = parameter_sets(rows);
    let mut all: Vec<Bytes> = sets.sps.into_iter().chain(sets.pps).collect();
    if material == Material::TwoSets {
        all.push(picture_parameter_set(1).into());
    }
    all
}

fn h265(stream: &'static [u8]) -> Clip {
    let mut pictures: Vec<Picture> = Vec::new();
    let mut sets: Vec<Bytes> = Vec::new();
    for nal in annex_b(stream) {
        let kind = h265::nal_type(nal);
        if kind > h265::kind::LAST_SLICE {
            sets.push(Bytes::from_static(nal));
            continue;
        }
        // first_slice_segment_in_pic_flag (7.3.6.1).
        let first = nal.get(2).is_some_and(|byte| byte & 0x80 != 0);
        match pictures.last_mut() {
            Some(picture) if !first => picture.slices.push(Bytes::from_static(nal)),
            _ => pictures.push(Picture {
                key: kind >= h265::kind::BLA_W_LP,
                sets: std::mem::take(&mut sets),
                slices: vec![Bytes::from_static(nal)],
            }),
        }
    }
    Clip {
        codec: Codec::H265,
        width: 320,
        height: 192,
        pictures,
    }
}

fn motion_jpeg(form: Jpeg) -> Clip {
    let columns = usize::from(form.width / 16);
    let rows = usize::from(form.height / 16);
    let picture = |number: u32| {
        let cell = |at: usize| {
            let (row, column) = (at / columns.max(1), at % columns.max(1));
            let bar = (number as usize * 2 + row) % columns.max(1);
            Cell {
                luma: if column == bar {
                    // No two alike, even where the bar comes round.
                    (180 + number * 8) as u8
                } else {
                    (60 + row % 40 + number as usize * 4) as u8
                },
                cb: 120,
                cr: 134,
                grain: false,
            }
        };
        let mut cells: Vec<Cell> = (0..columns * rows).map(cell).collect();
        let from = cells.len().saturating_sub(form.grain as usize);
        for (at, cell) in cells.iter_mut().skip(from).enumerate() {
            *cell = Cell {
                luma: (at as u32 * 7 + number) as u8 % 64,
                ..GRAIN
            };
        }
        let mut scan = Vec::new();
        if form.restarts {
            for (number, row) in cells.chunks(columns.max(1)).enumerate() {
                if number > 0 {
                    scan.extend_from_slice(&[0xff, 0xd0 + (number as u8).wrapping_sub(1) % 8]);
                }
                scan.extend_from_slice(&jpeg::row(row));
            }
        } else {
            scan.extend_from_slice(&jpeg::row(&cells));
        }
        Picture {
            key: true,
            sets: Vec::new(),
            slices: vec![scan.into()],
        }
    };
    Clip {
        codec: Codec::Jpeg,
        width: form.width,
        height: form.height,
        pictures: (0..JPEG_PICTURES).map(picture).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::PLAIN_CAMERA;
    use super::*;

    #[test]
    fn clips_have_distinct_pictures_and_key_pictures_where_they_belong() {
        let small = super::super::all().find(|fault| fault.name == "jpeg-of-small-size");
        let plain = [Codec::H264, Codec::H265, Codec::Jpeg].map(|codec| (&PLAIN_CAMERA, codec));
        for (fault, codec) in plain.into_iter().chain(small.map(|it| (it, Codec::Jpeg))) {
            let clip = clip(fault, codec);
            assert_eq!(clip.codec, codec);
            for (at, picture) in clip.pictures.iter().enumerate() {
                let key = codec == Codec::Jpeg || (at as u32).is_multiple_of(GROUP);
                assert_eq!(picture.key, key, "{codec:?} {at}");
                let twice = clip.pictures.iter().filter(|p| p.slices == picture.slices);
                assert_eq!(twice.count(), 1, "{codec:?} {at}");
                assert!(picture.slices.iter().all(|slice| slice.len() > 4));
            }
            assert_eq!(clip.sets().is_empty(), codec == Codec::Jpeg);
        }
    }
}
