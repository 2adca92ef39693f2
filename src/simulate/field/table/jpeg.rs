//! Motion JPEG (RFC 2435, ONVIF streaming 5.1.3).

use super::super::script::{Extension, Flaw, Jpeg, Law, Material, PLAIN, Script, Tables, When};
use super::{Fault, JPEG, row, shown};
use crate::reason::Reason;
use crate::simulate::field::Expect;

/// A camera that sends JPEG so.
const fn form(jpeg: Jpeg) -> Script {
    Script {
        codec: JPEG,
        jpeg,
        ..PLAIN
    }
}

/// A camera that sends JPEG with these laws.
macro_rules! laws {
    ($(($when:expr, $law:expr)),*) => {
        Script { codec: JPEG, laws: &[$(($when, $law)),*], ..PLAIN }
    };
}

const USUAL: Jpeg = PLAIN.jpeg;

const LARGE: Jpeg = Jpeg {
    width: 2592,
    height: 1936,
    size_in_header: false,
    ..USUAL
};

pub(super) static ROWS: &[Fault] = &[
    shown(
        "jpeg-plain",
        "It sends Motion JPEG with restart markers and its own tables.",
        form(USUAL),
    ),
    shown(
        "jpeg-without-restarts",
        "It sends Motion JPEG without restart markers.",
        form(Jpeg {
            restarts: false,
            ..USUAL
        }),
    ),
    shown(
        "jpeg-with-end-marker",
        "Its data ends with the end marker of the file.",
        form(Jpeg { end: true, ..USUAL }),
    ),
    // 26a
    row(
        "jpeg-size-in-extension",
        "Its pictures of 2592x1936 name their size in the RTP header extension alone.",
        Expect::ShownOr(Reason::CodecUnsupported, ""),
        form(Jpeg {
            extension: Extension::FrameHeader,
            ..LARGE
        }),
    ),
    row(
        "jpeg-tables-and-size-in-extension",
        "Its pictures of 2592x1936 name size and tables in the RTP header extension.",
        Expect::ShownOr(Reason::CodecUnsupported, ""),
        form(Jpeg {
            extension: Extension::TablesAndFrameHeader,
            ..LARGE
        }),
    ),
    shown(
        "jpeg-extension-of-small-picture",
        "Its pictures of 640x480 have the RTP header extension too.",
        form(Jpeg {
            width: 640,
            height: 480,
            extension: Extension::FrameHeader,
            ..USUAL
        }),
    ),
    row(
        "jpeg-size-in-description",
        "Its pictures of 2592x1936 name their size in the description alone: x-dimensions.",
        Expect::ShownOr(Reason::CodecUnsupported, ""),
        Script {
            video: Some(
                "m=video 0 RTP/AVP 26\r\na=x-dimensions:2592,1936\r\na=control:{control}\r\n",
            ),
            ..form(LARGE)
        },
    ),
    row(
        "jpeg-size-in-framesize",
        "Its pictures of 2592x1936 name their size in the description alone: framesize.",
        Expect::ShownOr(Reason::CodecUnsupported, ""),
        Script {
            video: Some(
                "m=video 0 RTP/AVP 26\r\na=framesize:26 2592-1936\r\na=cliprect:0,0,1936,2592\r\na=control:{control}\r\n",
            ),
            ..form(LARGE)
        },
    ),
    // 26c
    row(
        "jpeg-without-size",
        "Its pictures of 2592x1936 name their size nowhere.",
        Expect::Refused(&[Reason::CodecUnsupported], ""),
        form(LARGE),
    ),
    // 26d
    row(
        "jpeg-of-two-megabytes",
        "Its pictures have 2.3 MB each.",
        Expect::ShownOr(Reason::CodecUnsupported, ""),
        form(Jpeg {
            width: 1920,
            height: 1296,
            grain: 9_720,
            ..USUAL
        }),
    )
    .over(12),
    // 26h
    shown(
        "jpeg-with-hole",
        "A middle packet of a picture is missing now and then, its number not used.",
        laws!(
            (When::Every(15), Law::Fragments(Flaw::Hole)),
            (When::At(7), Law::Fragments(Flaw::Hole))
        ),
    )
    .share(75),
    // 26i
    shown(
        "jpeg-with-loss",
        "A middle packet of a picture is lost now and then.",
        laws!(
            (When::At(7), Law::Fragments(Flaw::Lost)),
            (When::At(22), Law::Fragments(Flaw::Lost))
        ),
    )
    .share(90),
    shown(
        "jpeg-without-last-packet",
        "The last packet of a picture is lost now and then.",
        laws!(
            (When::At(7), Law::Fragments(Flaw::NoLast)),
            (When::At(22), Law::Fragments(Flaw::NoLast))
        ),
    )
    .share(90),
    shown(
        "jpeg-all-at-offset-zero",
        "All fragments of a picture name offset 0.",
        laws!((When::Each, Law::Fragments(Flaw::AllAtZero))),
    ),
    shown(
        "jpeg-all-at-offset-zero-without-tables",
        "All fragments of a picture name offset 0; there are neither tables nor restart markers.",
        Script {
            laws: &[(When::Each, Law::Fragments(Flaw::AllAtZero))],
            ..form(Jpeg {
                quality: 60,
                tables: Tables::Never,
                restarts: false,
                ..USUAL
            })
        },
    ),
    shown(
        "jpeg-lost-picture",
        "A picture is lost now and then.",
        laws!((When::At(7), Law::Lost), (When::At(22), Law::Lost)),
    )
    .share(90),
    shown(
        "jpeg-of-quality",
        "It sends no tables: Q says 60.",
        form(Jpeg {
            quality: 60,
            tables: Tables::Never,
            ..USUAL
        }),
    ),
    shown(
        "jpeg-tables-now-and-then",
        "It sends its tables with every tenth picture alone, under Q 200.",
        form(Jpeg {
            quality: 200,
            tables: Tables::EveryTenth,
            ..USUAL
        }),
    ),
    shown(
        "jpeg-of-small-size",
        "Its pictures are 160x128.",
        form(Jpeg {
            width: 160,
            height: 128,
            grain: 0,
            ..USUAL
        }),
    ),
    shown(
        "jpeg-of-largest-size",
        "Its pictures are 2032x2032, the largest that fits its header.",
        form(Jpeg {
            width: 2032,
            height: 2032,
            ..USUAL
        }),
    )
    .over(30),
    shown(
        "jpeg-named-in-rtpmap",
        "Its description says JPEG in rtpmap, of a format of its own.",
        Script {
            codec: JPEG,
            payload_type: Some(96),
            video: Some(
                "m=video 0 RTP/AVP 96\r\na=rtpmap:96 JPEG/90000\r\na=control:{control}\r\n",
            ),
            ..PLAIN
        },
    ),
    shown(
        "jpeg-without-marker",
        "No packet has the marker bit.",
        Script {
            codec: JPEG,
            marker: super::super::script::Marker::Never,
            material: Material::OneSlice,
            ..PLAIN
        },
    ),
    shown(
        "jpeg-times-stand-still",
        "All pictures have the same time.",
        Script {
            codec: JPEG,
            time_step: Some(0),
            ..PLAIN
        },
    ),
    shown(
        "jpeg-empty-packets",
        "An empty packet comes before pictures.",
        laws!(
            (When::Every(5), Law::Before(&[], false)),
            (When::Every(7), Law::Before(&[0; 4], false))
        ),
    ),
    shown(
        "jpeg-one-table",
        "It sends one table, for luma and chroma.",
        form(Jpeg {
            tables: Tables::One,
            ..USUAL
        }),
    ),
    shown(
        "jpeg-three-tables",
        "It sends three tables, of which two are used.",
        form(Jpeg {
            tables: Tables::Three,
            ..USUAL
        }),
    ),
    shown(
        "jpeg-other-payload-type",
        "Its packets name payload type 96; it announces 26.",
        Script {
            codec: JPEG,
            payload_type: Some(96),
            ..PLAIN
        },
    ),
    shown(
        "jpeg-times-rise-inside-pictures",
        "Each packet of a picture has a later time than the one before.",
        laws!((When::Each, Law::Slope(3))),
    ),
];
