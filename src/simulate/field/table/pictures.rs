//! Access units, parameter sets, slices (ITU-T H.264 7.4.1.2, H.265 7.4.2.4).

use super::super::script::{InBand, Law, Marker, Material, PLAIN, Script, When};
use super::{Fault, H264, H265, refused, shown};
use crate::reason::Reason;

/// A camera with these laws.
macro_rules! laws {
    ($codec:expr; $(($when:expr, $law:expr)),*) => {
        Script { codec: $codec, laws: &[$(($when, $law)),*], ..PLAIN }
    };
}

const SEI: &[u8] = &[6, 5, 4, 0xaa, 0xaa, 0xaa, 0xaa, 0x80];
const SEI_H265: &[u8] = &[0x4e, 1, 5, 4, 0xaa, 0xaa, 0xaa, 0xaa, 0x80];
/// User data (ITU-T H.264 D.1.7) of 20,000 bytes and their length, 78 times 255 and 110.
static HUGE_SEI: [u8; 20_082] = {
    let mut unit = [0xaa; 20_082];
    let mut at = 2;
    while at < 80 {
        unit[at] = 0xff;
        at += 1;
    }
    (unit[0], unit[1], unit[80], unit[20_081]) = (6, 5, 110, 0x80);
    unit
};
const DELIMITER: &[u8] = &[0x09, 0xf0];
const DELIMITER_H265: &[u8] = &[0x46, 1, 0x50];

/// The description without parameter sets.
const NO_SETS: &str = "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1\r\na=control:{control}\r\n";
const NO_SETS_H265: &str =
    "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H265/90000\r\na=control:{control}\r\n";

pub(super) static ROWS: &[Fault] = &[
    // 6, 6h
    shown(
        "slices-marked",
        "It sends several slices a picture, each with the marker bit.",
        Script {
            material: Material::Slices,
            marker: Marker::EachUnit,
            ..PLAIN
        },
    ),
    shown(
        "slices",
        "It sends several slices a picture.",
        Script {
            material: Material::Slices,
            ..PLAIN
        },
    ),
    shown(
        "slices-without-marker",
        "It sends several slices a picture and no marker bit.",
        Script {
            material: Material::Slices,
            marker: Marker::Never,
            ..PLAIN
        },
    ),
    shown(
        "slices-gathered",
        "The slices of small pictures come in one packet.",
        Script {
            material: Material::Slices,
            gathers: true,
            packet: 3_000,
            ..PLAIN
        },
    ),
    shown(
        "marker-on-every-packet",
        "Every packet has the marker bit.",
        Script {
            marker: Marker::Always,
            ..PLAIN
        },
    ),
    shown(
        "marker-on-first-packet",
        "The first packet of each picture has the marker bit.",
        Script {
            marker: Marker::First,
            ..PLAIN
        },
    ),
    shown(
        "marker-missing-at-times",
        "The marker bit is missing now and then.",
        Script {
            laws: &[(When::Every(5), Law::Unmarked)],
            ..PLAIN
        },
    ),
    // 7a
    shown(
        "delimiter-marked",
        "An access unit delimiter comes before each picture, with the marker bit.",
        laws!(H264; (When::Each, Law::Before(DELIMITER, true))),
    ),
    shown(
        "delimiter",
        "An access unit delimiter comes before each picture.",
        laws!(H264; (When::Each, Law::Before(DELIMITER, false))),
    ),
    // 36d
    shown(
        "delimiter-marked-h265",
        "An access unit delimiter comes before each picture, with the marker bit.",
        laws!(H265; (When::Each, Law::Before(DELIMITER_H265, true))),
    ),
    // 7c
    shown(
        "filler-marked",
        "Filler data come behind each picture, with the marker bit.",
        laws!(H264; (When::Each, Law::After(&[0x0c, 0xff, 0xff, 0x80], true))),
    ),
    shown(
        "filler-marked-h265",
        "Filler data come behind each picture, with the marker bit.",
        laws!(H265; (When::Each, Law::After(&[0x4c, 1, 0xff, 0xff, 0x80], true))),
    ),
    // 21a
    shown(
        "marker-on-sei-behind",
        "An SEI comes behind each picture and has the only marker bit.",
        laws!(H264; (When::Each, Law::Trail(SEI))),
    ),
    shown(
        "sei-marked",
        "An SEI comes before each picture, with the marker bit.",
        laws!(H264; (When::Each, Law::Before(SEI, true))),
    ),
    // 36b
    shown(
        "sei-marked-h265",
        "A prefix SEI comes before each picture, with the marker bit.",
        laws!(H265; (When::Each, Law::Before(SEI_H265, true))),
    ),
    shown(
        "sei-behind-h265",
        "A suffix SEI comes behind each picture and has the only marker bit.",
        laws!(H265; (When::Each, Law::Trail(&[0x50, 1, 5, 4, 0xaa, 0xaa, 0xaa, 0xaa, 0x80]))),
    ),
    shown(
        "sei-between-pictures",
        "An SEI comes between pictures, with a time of its own.",
        laws!(H264; (When::Every(5), Law::Between(SEI, true))),
    ),
    shown(
        "units-behind-the-end",
        "Each key picture ends with the units that say end of sequence and end of stream.",
        laws!(H264; (When::Key, Law::Trail(&[0x0a])), (When::Key, Law::Trail(&[0x0b]))),
    ),
    shown(
        "units-of-the-maker",
        "Units of unspecified types come before and behind pictures: the maker's marks.",
        laws!(H264; (When::Each, Law::Lead(&[0x38, 1, 2, 3])), (When::Every(3), Law::Trail(&[0x3f, 9, 9, 9]))),
    ),
    // 5
    shown(
        "never-a-marker",
        "No packet has the marker bit, at a high bitrate.",
        Script {
            codec: H264,
            material: Material::Large,
            marker: Marker::Never,
            sender_reports: false,
            packet: 1_400,
            ..PLAIN
        },
    )
    .over(220),
    shown(
        "never-a-marker-small",
        "No packet has the marker bit.",
        Script {
            marker: Marker::Never,
            ..PLAIN
        },
    ),
    // 25a
    shown(
        "two-picture-sets",
        "It sends two picture parameter sets; pictures but key ones refer to the second.",
        Script {
            codec: H264,
            material: Material::TwoSets,
            ..PLAIN
        },
    ),
    // 25b
    shown(
        "two-picture-sets-in-description",
        "It has two picture parameter sets, in the description alone.",
        Script {
            codec: H264,
            material: Material::TwoSets,
            in_band: InBand::Never,
            ..PLAIN
        },
    ),
    shown(
        "two-picture-sets-gathered",
        "It sends two picture parameter sets in one packet, and none in the description.",
        Script {
            codec: H264,
            material: Material::TwoSets,
            in_band: InBand::Gathered,
            video: Some(NO_SETS),
            ..PLAIN
        },
    ),
    // 25c
    shown(
        "sizes-change",
        "Every other group of pictures has another size and other parameter sets.",
        Script {
            codec: H264,
            material: Material::TwoSizes,
            ..PLAIN
        },
    )
    .over(70),
    shown(
        "sets-in-description",
        "The parameter sets are in the description alone.",
        Script {
            in_band: InBand::Never,
            ..PLAIN
        },
    ),
    shown(
        "sets-in-band",
        "The parameter sets are in band alone.",
        Script {
            codec: H264,
            video: Some(NO_SETS),
            ..PLAIN
        },
    ),
    shown(
        "sets-once",
        "The parameter sets come once, before the first picture, and are not in the description.",
        Script {
            codec: H264,
            video: Some(NO_SETS),
            in_band: InBand::Once,
            ..PLAIN
        },
    ),
    shown(
        "sets-before-every-picture",
        "The parameter sets come before every picture.",
        Script {
            in_band: InBand::Always,
            ..PLAIN
        },
    ),
    shown(
        "sets-gathered",
        "The parameter sets come in one packet.",
        Script {
            in_band: InBand::Gathered,
            ..PLAIN
        },
    ),
    // 23a
    shown(
        "sets-gathered-with-empty-unit",
        "The parameter sets come in one packet that ends with a unit of length 0.",
        Script {
            in_band: InBand::GatheredAndEnd,
            ..PLAIN
        },
    ),
    shown(
        "sets-marked",
        "Each parameter set has the marker bit.",
        Script {
            in_band: InBand::Marked,
            ..PLAIN
        },
    ),
    shown(
        "sets-with-earlier-time",
        "The parameter sets have the time of the picture before.",
        Script {
            in_band: InBand::Early,
            ..PLAIN
        },
    ),
    shown(
        "sets-behind",
        "The parameter sets come behind the key picture, with its time.",
        Script {
            in_band: InBand::Behind,
            ..PLAIN
        },
    ),
    // 24c, 24a
    shown(
        "start-codes-inside",
        "Each key picture is one unit, with the parameter sets and start codes inside.",
        Script {
            codec: H264,
            in_band: InBand::Run,
            video: Some(NO_SETS),
            ..PLAIN
        },
    ),
    shown(
        "start-codes-inside-h265",
        "Each key picture is one unit, with the parameter sets and start codes inside.",
        Script {
            codec: H265,
            in_band: InBand::Run,
            video: Some(NO_SETS_H265),
            ..PLAIN
        },
    ),
    shown(
        "start-codes-inside-slices-h265",
        "Each key picture of several slices is one unit with start codes inside.",
        Script {
            codec: H265,
            in_band: InBand::Run,
            material: Material::Slices,
            video: Some(NO_SETS_H265),
            ..PLAIN
        },
    ),
    shown(
        "start-codes-before-units",
        "A start code is before each unit in its packets.",
        Script {
            start_code: &[0, 0, 0, 1],
            ..PLAIN
        },
    ),
    shown(
        "many-units-in-one-packet",
        "Each key picture is one packet: sets and slice behind start codes.",
        Script {
            in_band: InBand::Run,
            start_code: &[0, 0, 0, 1],
            packet: 60_000,
            ..PLAIN
        },
    ),
    shown(
        "short-start-codes-before-units",
        "A start code of three bytes is before each unit in its packets.",
        Script {
            start_code: &[0, 0, 1],
            ..PLAIN
        },
    ),
    shown(
        "delimiter-inside-key-picture",
        "Each key picture is one unit: delimiter, SEI, parameter sets and slice with start codes.",
        Script {
            codec: H264,
            in_band: InBand::Run,
            laws: &[
                (When::Key, Law::Lead(SEI)),
                (When::Key, Law::Lead(DELIMITER)),
            ],
            ..PLAIN
        },
    ),
    shown(
        "never-a-key-picture",
        "It never sends a key picture, and no recovery point either.",
        Script {
            codec: H264,
            material: Material::NoKey,
            ..PLAIN
        },
    )
    .keyless(),
    shown(
        "never-a-key-picture-h265",
        "It never sends a key picture, and no recovery point either.",
        laws!(H265; (When::Key, Law::LeftOut)),
    )
    .keyless(),
    refused(
        "never-parameter-sets",
        "It sends parameter sets nowhere.",
        &[Reason::CameraNoKeyFrame, Reason::CodecUnsupported],
        "",
        Script {
            codec: H264,
            in_band: InBand::Never,
            video: Some(NO_SETS),
            ..PLAIN
        },
    ),
    shown(
        "units-behind-the-end-h265",
        "Each key picture ends with the units that say end of sequence and end of stream.",
        laws!(H265; (When::Key, Law::Trail(&[0x48, 1])), (When::Key, Law::Trail(&[0x4a, 1]))),
    ),
    shown(
        "broken-sets-between",
        "Parameter sets of two bytes come before pictures.",
        laws!(H264; (When::Every(5), Law::Before(&[0x67, 0xff], false)), (When::Every(7), Law::Before(&[0x68, 0x00], false))),
    ),
    shown(
        "broken-sets-between-h265",
        "Parameter sets of three bytes come before pictures.",
        laws!(H265; (When::Every(5), Law::Before(&[0x40, 1, 0xff], false)), (When::Every(7), Law::Before(&[0x42, 1, 0xff], false)), (When::Every(9), Law::Before(&[0x44, 1, 0x00], false))),
    ),
    shown(
        "sei-behind-marked",
        "Two SEI follow each picture, each with its time and the marker bit.",
        laws!(H264; (When::Each, Law::After(SEI, true)), (When::Each, Law::After(SEI, true))),
    ),
    shown(
        "sei-behind-marked-h265",
        "Two prefix SEI follow each picture, each with its time and the marker bit.",
        laws!(H265; (When::Each, Law::After(SEI_H265, true)), (When::Each, Law::After(SEI_H265, true))),
    ),
    shown(
        "sei-between-pictures-h265",
        "A prefix SEI comes between pictures, with a time of its own and the marker bit.",
        laws!(H265; (When::Every(5), Law::Between(SEI_H265, true))),
    ),
    shown(
        "recovery-point-at-every-picture",
        "Each picture says that decoding can begin with it, which is true of key pictures alone.",
        laws!(H264; (When::Each, Law::Lead(&[6, 6, 1, 0xc4, 0x80]))),
    ),
    shown(
        "sei-is-huge",
        "An SEI of 20,000 bytes comes before pictures.",
        laws!(H264; (When::Every(5), Law::Lead(&HUGE_SEI))),
    ),
    shown(
        "sei-is-broken",
        "SEI of one byte, without end and with a size beyond their own come before pictures.",
        laws!(H264; (When::Every(5), Law::Lead(&[6])), (When::Every(6), Law::Lead(&[6, 0xff, 0xff])), (When::Every(7), Law::Lead(&[6, 5, 0xff, 0xff, 9, 1]))),
    ),
    shown(
        "sei-is-broken-h265",
        "SEI of two bytes, without end and with a size beyond their own come before pictures.",
        laws!(H265; (When::Every(5), Law::Lead(&[0x4e, 1])), (When::Every(6), Law::Lead(&[0x4e, 1, 0xff, 0xff])), (When::Every(7), Law::Lead(&[0x4e, 1, 5, 0xff, 0xff, 9, 1]))),
    ),
    shown(
        "slices-with-sets-between",
        "Parameter sets come between the slices of a key picture, again.",
        Script {
            material: Material::Slices,
            in_band: InBand::Always,
            marker: Marker::EachUnit,
            ..PLAIN
        },
    ),
    shown(
        "slices-without-marker-and-time",
        "It sends several slices a picture, no marker bit, and all times are 0.",
        Script {
            material: Material::Slices,
            marker: Marker::Never,
            time_step: Some(0),
            time_start: 0,
            ..PLAIN
        },
    ),
    shown(
        "filler-before-key-pictures",
        "Filler data come before each key picture, between its parameter sets and its slice.",
        laws!(H264; (When::Key, Law::Lead(&[0x0c, 0xff, 0xff, 0xff, 0x80]))),
    ),
    shown(
        "begins-inside-a-group",
        "Its first picture is no key picture.",
        laws!(None; (When::At(0), Law::LeftOut)),
    )
    .share(70),
];
