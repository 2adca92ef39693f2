//! The running picture: one scene for each of a few groups of cameras, staggered
//! inside the 40 ms of a picture as real cameras are; what a scene shows at a
//! moment is coded once, when the first camera needs it.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::broadcast;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::jpeg;
use super::scene::{GRAIN_ROW, Grain, NAME_ROWS, RATE, Scene, grain_limit};
use crate::clock::{Clock, Wall};
use crate::media::config;
use crate::media::drawn::encoder::{
    PredictedSlice, Rows, key_slice, parameter_sets, predicted_slice,
};
use crate::media::drawn::{COLUMNS, Cell};
use crate::media::nal::push_length_prefixed;
use crate::media::unit::{Codec, Configuration};

/// Most groups of cameras.
const GROUPS_LIMIT: usize = 10;

/// Moments a slow viewer may stay behind before it loses some: 1.3 s.
const BEHIND_LIMIT: usize = 32;

/// Time between two pictures.
const PERIOD: Duration = Duration::from_millis(1_000 / RATE);

/// RTP ticks between two pictures.
const PERIOD_TICKS: u64 = 90_000 / RATE;

/// A key frame is this many times as large as the others, in eighths.
const KEY_WEIGHT: u64 = 100;

/// What the clip is like.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) codec: Codec,
    /// Height of the picture in macroblocks; [`crate::media::drawn::ROWS`] for MJPEG.
    pub(super) rows: usize,
    /// Bits per second of video.
    pub(super) bitrate: u64,
    /// Pictures from one key frame to the next.
    pub(super) gop: u64,
    /// Cameras that will be served, to choose the number of groups.
    pub(super) cameras: usize,
    pub(super) clock: Clock,
}

/// The running clip.
#[derive(Debug)]
pub(super) struct Clip {
    pub(super) gop: u64,
    pub(super) configuration: Arc<Configuration>,
    rows: usize,
    grain: Grain,
    clock: Clock,
    groups: Vec<Group>,
}

#[derive(Debug)]
struct Group {
    moments: broadcast::Sender<Arc<Moment>>,
    latest: Mutex<Arc<Moment>>,
}

/// What a group's scene shows at one moment.
#[derive(Debug)]
pub(super) struct Moment {
    pub(super) number: u64,
    /// 90 kHz.
    pub(super) pts: i64,
    pub(super) wall: Wall,
    gop: u64,
    before: Arc<[Cell]>,
    cells: Arc<[Cell]>,
    predicted: OnceLock<[PredictedSlice; 3]>,
    key: OnceLock<Bytes>,
    jpeg: OnceLock<Vec<Bytes>>,
}

/// A camera's name as it is in the picture, coded once.
#[derive(Debug)]
pub(super) struct Name {
    /// H.264 slices for key frames of even and odd number.
    slices: [Vec<u8>; 2],
    /// JPEG rows.
    rows: Vec<Bytes>,
}

impl Name {
    pub(super) fn new(name: &str) -> Self {
        let cells = Scene::name_rows(name);
        let rows = Rows {
            first: NAME_ROWS.start,
            cells: &cells,
        };
        Self {
            slices: [key_slice(rows, 0), key_slice(rows, 1)],
            rows: cells.chunks(COLUMNS).map(jpeg::row).collect(),
        }
    }
}

/// The rows of the three slices of a picture.
fn slices(cells: &[Cell]) -> [std::ops::Range<usize>; 3] {
    [
        NAME_ROWS,
        NAME_ROWS.end..GRAIN_ROW,
        GRAIN_ROW..cells.len() / COLUMNS,
    ]
}

impl Moment {
    fn new(
        number: u64,
        pts: i64,
        wall: Wall,
        gop: u64,
        before: Arc<[Cell]>,
        cells: Arc<[Cell]>,
    ) -> Self {
        Self {
            number,
            pts,
            wall,
            gop,
            before,
            cells,
            predicted: OnceLock::new(),
            key: OnceLock::new(),
            jpeg: OnceLock::new(),
        }
    }

    /// The key frame of this moment with a camera's name, NAL units behind their lengths.
    pub(super) fn key_unit(&self, name: &Name) -> Bytes {
        // Consecutive key frames of a camera, `gop` apart, alternate.
        let number = self.number / self.gop;
        let shared = self.key.get_or_init(|| {
            let mut out = Vec::new();
            for rows in &slices(&self.cells)[1..] {
                push_length_prefixed(&mut out, &key_slice(part(&self.cells, rows), number));
            }
            out.into()
        });
        let own = &name.slices[(number & 1) as usize];
        let mut out = Vec::with_capacity(4 + own.len() + shared.len());
        push_length_prefixed(&mut out, own);
        out.extend_from_slice(shared);
        out.into()
    }

    /// The picture of this moment as it follows the one before, `frame_num` after
    /// its key frame.
    pub(super) fn predicted_unit(&self, frame_num: u8) -> Bytes {
        let slices = self.predicted.get_or_init(|| {
            slices(&self.cells).map(|rows| {
                let before = part(&self.before, &rows).cells;
                predicted_slice(part(&self.cells, &rows), before)
            })
        });
        let mut out = Vec::new();
        for slice in slices {
            slice.push(&mut out, frame_num);
        }
        out.into()
    }

    /// The JPEG of this moment with a camera's name.
    pub(super) fn jpeg(&self, name: &Name) -> Bytes {
        let shared = self.jpeg.get_or_init(|| {
            self.cells[NAME_ROWS.end * COLUMNS..]
                .chunks(COLUMNS)
                .map(jpeg::row)
                .collect()
        });
        jpeg::picture(name.rows.iter().chain(shared))
    }
}

fn part<'a>(cells: &'a [Cell], rows: &std::ops::Range<usize>) -> Rows<'a> {
    Rows {
        first: rows.start,
        cells: &cells[rows.start * COLUMNS..rows.end * COLUMNS],
    }
}

impl Clip {
    pub(super) fn new(settings: &Settings) -> Result<Self, config::Error> {
        let gop = settings.gop.max(1);
        let rows = settings.rows;
        let grain = grain(settings.codec, rows, settings.bitrate, gop);
        let configuration = match settings.codec {
            Codec::Jpeg => Configuration {
                codec: Codec::Jpeg,
                record: Bytes::new(),
                width: (COLUMNS * 16) as u16,
                height: (rows * 16) as u16,
            },
            Codec::H264 | Codec::H265 => {
                Configuration::from_record(Codec::H264, parameter_sets(rows).build()?)?
            }
        };
        let empty: Arc<[Cell]> = Scene::new(rows, grain).cells().into();
        let count = settings.cameras.clamp(1, GROUPS_LIMIT);
        let group = |index: usize| Group {
            moments: broadcast::Sender::new(BEHIND_LIMIT),
            latest: Mutex::new(Arc::new(Moment::new(
                0,
                pts(0, index, count),
                settings.clock.now().wall,
                gop,
                Arc::clone(&empty),
                Arc::clone(&empty),
            ))),
        };
        Ok(Self {
            gop,
            configuration: Arc::new(configuration),
            rows,
            grain,
            clock: settings.clock.clone(),
            groups: (0..count).map(group).collect(),
        })
    }

    /// The moments to come of a camera's group, and the latest one.
    pub(super) fn join(&self, camera: usize) -> (Arc<Moment>, broadcast::Receiver<Arc<Moment>>) {
        let group = &self.groups[camera % self.groups.len()];
        let moments = group.moments.subscribe();
        let latest = Arc::clone(&group.latest.lock().unwrap_or_else(PoisonError::into_inner));
        (latest, moments)
    }

    /// Runs the scenes until `token` is cancelled.
    pub(super) async fn run(&self, token: CancellationToken) {
        let mut scenes = vec![Scene::new(self.rows, self.grain); self.groups.len()];
        let step = PERIOD / self.groups.len() as u32;
        let mut due = Instant::now();
        for number in 1.. {
            for (index, scene) in scenes.iter_mut().enumerate() {
                tokio::select! {
                    biased;
                    () = token.cancelled() => return,
                    () = sleep_until(due) => {}
                }
                self.advance(index, scene, number);
                // After a pause of the machine, go on from now instead of racing.
                due = (due + step).max(Instant::now().checked_sub(PERIOD * 5).unwrap_or(due));
            }
        }
    }

    fn advance(&self, index: usize, scene: &mut Scene, number: u64) {
        let pts = pts(number, index, self.groups.len());
        let group = &self.groups[index];
        let wall = self.clock.now().wall;
        scene.advance(number, wall);
        let mut latest = group.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let before = Arc::clone(&latest.cells);
        let moment = Moment::new(number, pts, wall, self.gop, before, scene.cells().into());
        *latest = Arc::new(moment);
        // Nobody watching is no error.
        let _ = group.moments.send(Arc::clone(&latest));
    }
}

/// The time of a group's picture, 90 kHz: groups are staggered.
fn pts(number: u64, group: usize, groups: usize) -> i64 {
    let stagger = PERIOD_TICKS * group as u64 / groups as u64;
    i64::try_from(number * PERIOD_TICKS + stagger).unwrap_or(i64::MAX)
}

/// How much grain makes the bitrate.
fn grain(codec: Codec, rows: usize, bitrate: u64, gop: u64) -> Grain {
    let limit = grain_limit(rows);
    let cells = |bytes: u64, each: u64| usize::try_from(bytes / each).unwrap_or(limit).min(limit);
    let per_picture = bitrate / 8 / RATE;
    match codec {
        Codec::Jpeg => Grain {
            cells: cells(
                per_picture.saturating_sub(jpeg::PLAIN_BYTES),
                jpeg::GRAIN_BYTES,
            ),
            changing: 0,
        },
        Codec::H264 | Codec::H265 => {
            // gop pictures: one of KEY_WEIGHT eighths, the others of eight.
            let eighth = per_picture * gop / (KEY_WEIGHT + 8 * (gop - 1));
            let key = (eighth * KEY_WEIGHT).saturating_sub(PLAIN_KEY_BYTES);
            let other = (eighth * 8).saturating_sub(PLAIN_BYTES);
            let total = cells(key, GRAIN_BYTES);
            Grain {
                cells: total,
                changing: cells(other, GRAIN_BYTES).min(total),
            }
        }
    }
}

/// Bytes of an I_PCM macroblock with its type.
const GRAIN_BYTES: u64 = 386;
/// Bytes of a key frame without grain, about.
const PLAIN_KEY_BYTES: u64 = 5_500;
/// Bytes of another picture without grain, about.
const PLAIN_BYTES: u64 = 300;

#[cfg(test)]
mod tests {
    use super::super::scene::SUB_ROWS;
    use super::*;
    use crate::media::drawn::ROWS;

    #[test]
    fn the_bitrate_is_kept() {
        for (rows, bitrate, gop) in [
            (ROWS, 500_000, 50),
            (SUB_ROWS, 500_000, 50),
            (SUB_ROWS, 1_500_000, 50),
            (ROWS, 2_000_000, 50),
            (ROWS, 2_000_000, 250),
            (ROWS, 6_000_000, 25),
        ] {
            let grain = grain(Codec::H264, rows, bitrate, gop);
            let mut scene = Scene::new(rows, grain);
            let name = Name::new("cam-001");
            let mut before: Arc<[Cell]> = scene.cells().into();
            let mut bytes = 0;
            let mut key_bytes = 0;
            for number in 0..gop {
                scene.advance(number, Wall(number as i64 * 40_000));
                let cells: Arc<[Cell]> = scene.cells().into();
                let moment = Moment::new(number, 0, Wall(0), gop, before, Arc::clone(&cells));
                before = cells;
                bytes += if number == 0 {
                    key_bytes = moment.key_unit(&name).len();
                    key_bytes
                } else {
                    moment.predicted_unit(number as u8).len()
                };
            }
            let made = bytes as u64 * 8 * RATE / gop;
            let off = made.abs_diff(bitrate) * 100 / bitrate;
            assert!(
                off <= 8,
                "{made} bit/s for {bitrate}, key frame {key_bytes} bytes"
            );
        }
    }

    #[test]
    fn grain_has_its_limits() {
        assert_eq!(grain(Codec::H264, ROWS, 0, 50).cells, 0);
        let most = grain(Codec::H264, ROWS, u64::MAX / 1_000, 1);
        assert_eq!(most.cells, grain_limit(ROWS));
        assert_eq!(grain(Codec::Jpeg, ROWS, 1_000, 1).cells, 0);
    }
}
