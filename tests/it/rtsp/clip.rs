//! A clip made by ffmpeg, taken apart into access units, and the frames that a
//! decoder makes of it.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use fanal::media::config::{Avc, Hevc};
use fanal::media::jpeg::Jpeg;
use fanal::media::nal::{annex_b, push_length_prefixed};
use fanal::media::unit::{AccessUnit, Codec, Configuration, UnitFlags};
use fanal::media::{h264, h265};

use crate::support::site::Place;
use crate::tools::run;

/// A clip in a directory of its own.
pub struct Clip {
    pub configuration: Arc<Configuration>,
    pub units: Vec<AccessUnit>,
    /// Hashes of the decoded frames, in their order.
    pub frames: Vec<String>,
    place: Place,
}

impl Clip {
    /// A file beside it, which goes with it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.place.path(name)
    }
}

/// Arguments of ffmpeg, codec and raw format of each kind of clip. Delimiters tell
/// access units apart.
fn encoder(kind: &str) -> (&'static str, Codec, &'static str) {
    match kind {
        // B-frames, two slices, several groups of pictures.
        "h264" => (
            "-c:v libx264 -g 16 -bf 2 -x264-params aud=1:slices=2",
            Codec::H264,
            "h264",
        ),
        // Open groups of pictures: CRA with leading pictures.
        "h265" => (
            "-c:v libx265 -x265-params aud=1:keyint=16:open-gop=1:repeat-headers=1:log-level=none",
            Codec::H265,
            "hevc",
        ),
        "mjpeg" => (
            "-c:v mjpeg -huffman default -pix_fmt yuvj420p -q:v 8",
            Codec::Jpeg,
            "mjpeg",
        ),
        _ => panic!("no clip of kind {kind}"),
    }
}

/// How large a clip is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// Two seconds, pictures of many packets.
    Large,
    /// One second that fits into a player's socket buffer as a whole: over UDP
    /// nothing may depend on when the player gets its turn on a busy machine.
    Small,
}

impl Clip {
    /// A clip, or `None` where ffmpeg is missing.
    pub async fn make(kind: &str, size: Size) -> Option<Self> {
        if !crate::tools::have("ffmpeg") || !crate::tools::have("ffprobe") {
            return None;
        }
        let place = Place::new();
        let (arguments, codec, format) = encoder(kind);
        let file = place.at("clip.mkv");
        let raw = place.at("clip.raw");
        let (source, length) = match size {
            Size::Large => ("testsrc2=size=640x368:rate=25", 50),
            Size::Small => ("testsrc=size=192x112:rate=25", 25),
        };
        ffmpeg(&format!(
            "-f lavfi -i {source} -frames:v {length} -threads 1 {arguments} {file}"
        ))
        .await;
        ffmpeg(&format!("-i {file} -c copy -f {format} {raw}")).await;
        let times = times(&file).await;
        let data = std::fs::read(&raw).unwrap();
        let (units, configuration) = match codec {
            Codec::Jpeg => jpegs(&data),
            _ => nal_units(&data, codec),
        };
        assert_eq!(units.len(), times.len(), "units and their times");
        let units: Vec<AccessUnit> = units
            .into_iter()
            .zip(times)
            .map(|(unit, pts)| AccessUnit { pts, ..unit })
            .collect();
        assert_eq!(units.len(), length);
        let bytes: usize = units.iter().map(|unit: &AccessUnit| unit.data.len()).sum();
        assert!(size == Size::Large || bytes < 100_000, "{bytes} bytes");
        let hashes = hashes(&["-i", &file]).await;
        assert_eq!(hashes.len(), length);
        Some(Self {
            configuration: Arc::new(configuration),
            units,
            frames: hashes,
            place,
        })
    }
}

/// Hashes of the frames that ffmpeg decodes from an input.
pub async fn hashes(input: &[&str]) -> Vec<String> {
    let mut arguments = vec!["-v", "warning"];
    arguments.extend(input);
    arguments.extend(["-fps_mode", "passthrough", "-f", "framemd5", "-"]);
    let ran = run("ffmpeg", &arguments).await;
    assert!(ran.success, "{}", ran.stderr);
    String::from_utf8(ran.stdout)
        .unwrap()
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.rsplit(',').next().unwrap().trim().to_owned())
        .collect()
}

async fn ffmpeg(arguments: &str) {
    let mut all = vec!["-v", "error"];
    all.extend(arguments.split_whitespace());
    let ran = run("ffmpeg", &all).await;
    assert!(ran.success, "ffmpeg {arguments}: {}", ran.stderr);
}

/// Presentation times in decode order, 90 kHz.
async fn times(file: &str) -> Vec<i64> {
    let arguments = "-v error -show_entries packet=pts_time -of csv=p=0";
    let mut all: Vec<&str> = arguments.split_whitespace().collect();
    all.push(file);
    let ran = run("ffprobe", &all).await;
    assert!(ran.success, "{}", ran.stderr);
    let text = String::from_utf8(ran.stdout).unwrap();
    let time = |line: &str| {
        let seconds: f64 = line.trim_end_matches(',').parse().unwrap();
        (seconds * 90_000.0).round() as i64
    };
    text.lines().map(time).collect()
}

fn unit(key: bool, data: Vec<u8>) -> AccessUnit {
    AccessUnit {
        flags: UnitFlags {
            key,
            ..UnitFlags::default()
        },
        pts: 0,
        captured: 0,
        data: data.into(),
    }
}

fn jpegs(data: &[u8]) -> (Vec<AccessUnit>, Configuration) {
    let starts: Vec<usize> = (0..data.len() - 1)
        .filter(|at| data[*at..*at + 2] == [0xff, 0xd8])
        .chain([data.len()])
        .collect();
    let units = starts
        .windows(2)
        .map(|ends| unit(true, data[ends[0]..ends[1]].to_vec()));
    let units: Vec<AccessUnit> = units.collect();
    let jpeg = Jpeg::parse(&units[0].data).unwrap();
    let configuration = Configuration {
        codec: Codec::Jpeg,
        record: Bytes::new(),
        width: jpeg.width,
        height: jpeg.height,
    };
    (units, configuration)
}

fn nal_units(data: &[u8], codec: Codec) -> (Vec<AccessUnit>, Configuration) {
    let mut sets: [Vec<Bytes>; 3] = Default::default();
    let mut units: Vec<Vec<u8>> = Vec::new();
    for nal in annex_b(data) {
        let (delimiter, set) = match codec {
            Codec::H264 => match h264::nal_type(nal) {
                h264::kind::DELIMITER => (true, None),
                h264::kind::SPS => (false, Some(1)),
                h264::kind::PPS => (false, Some(2)),
                _ => (false, None),
            },
            _ => match h265::nal_type(nal) {
                h265::kind::DELIMITER => (true, None),
                h265::kind::VPS => (false, Some(0)),
                h265::kind::SPS => (false, Some(1)),
                h265::kind::PPS => (false, Some(2)),
                _ => (false, None),
            },
        };
        if delimiter {
            units.push(Vec::new());
        } else if let Some(set) = set {
            let nal = Bytes::copy_from_slice(nal);
            if !sets[set].contains(&nal) {
                sets[set].push(nal);
            }
        } else if let Some(unit) = units.last_mut() {
            // What is before the first delimiter belongs to no picture.
            push_length_prefixed(unit, nal);
        }
    }
    let [vps, sps, pps] = sets;
    let record = match codec {
        Codec::H264 => Avc { sps, pps }.build().unwrap(),
        _ => Hevc { vps, sps, pps }.build().unwrap(),
    };
    let units = units.into_iter().map(|data| {
        let key = match codec {
            Codec::H264 => h264::is_key(&data),
            _ => h265::Picture::of(&data).is_key(),
        };
        unit(key, data)
    });
    (
        units.collect(),
        Configuration::from_record(codec, record).unwrap(),
    )
}
