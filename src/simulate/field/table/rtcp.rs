//! Reports, from the camera and to it (RTCP, RFC 3550 6).

use std::time::Duration;

use super::super::script::{Law, PLAIN, Reports, Script, When};
use super::{Fault, shown};

/// A camera that sends these bytes as RTCP now and then.
macro_rules! sends {
    ($bytes:expr) => {
        Script {
            laws: &[(When::Every(15), Law::Rtcp($bytes))],
            ..PLAIN
        }
    };
}

pub(super) static ROWS: &[Fault] = &[
    // 9a
    shown(
        "rtcp-length-too-large",
        "A sender report says more words than it has.",
        sends!(&[0x80, 0xc8, 0, 6, 1, 2, 3, 4, 0, 0, 0, 0]),
    ),
    // 9c
    shown("rtcp-of-zeros", "An RTCP packet is 28 zero bytes.", sends!(&[0; 28])),
    // 9d
    shown(
        "rtcp-with-tail",
        "Three bytes follow a sender report.",
        sends!(b"\x80\xc8\x00\x06\x01\x02\x03\x04\xe0\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x01\x01\x02\x03"),
    ),
    // 10a
    shown(
        "rtcp-of-other-source",
        "A sender report of another source comes first, and Transport names none.",
        Script {
            setup: &[
                "Session: {session};timeout=60",
                "Transport: RTP/AVP/TCP;unicast;interleaved={first}-{second}",
            ],
            laws: &[(
                When::At(0),
                Law::Rtcp(b"\x80\xc8\x00\x06\x0a\x0a\x0a\x0a\xe0\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x01"),
            )],
            ..PLAIN
        },
    ),
    shown(
        "rtcp-of-changing-sources",
        "Every sender report is of another source than the pictures.",
        Script {
            laws: &[
                (When::Every(7), Law::Rtcp(b"\x80\xc8\x00\x06\x0b\x0b\x0b\x0b\xe0\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x01")),
                (When::Every(11), Law::Rtcp(b"\x80\xc8\x00\x06\x0c\x0c\x0c\x0c\xe0\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x01")),
            ],
            ..PLAIN
        },
    ),
    shown("rtcp-is-empty", "An RTCP packet has no byte.", sends!(&[])),
    shown("rtcp-of-one-byte", "An RTCP packet has one byte.", sends!(&[0x80])),
    shown(
        "rtcp-of-other-version",
        "An RTCP packet has version 0.",
        sends!(&[0x00, 0xc8, 0, 1, 1, 2, 3, 4]),
    ),
    shown(
        "rtcp-bye",
        "It says BYE and goes on.",
        sends!(&[0x81, 203, 0, 1, 1, 2, 3, 4]),
    ),
    shown(
        "rtcp-bye-with-reason",
        "It says BYE with a reason longer than the packet.",
        sends!(&[0x81, 203, 0, 2, 1, 2, 3, 4, 200, b'b', b'y', b'e']),
    ),
    shown(
        "rtcp-name-alone",
        "A description of the source comes without report.",
        sends!(&[0x81, 202, 0, 3, 1, 2, 3, 4, 1, 5, b'c', b'a', b'm', b'0', b'1', 0]),
    ),
    shown(
        "rtcp-name-broken",
        "A description of the source ends in the middle of an item.",
        sends!(&[0x81, 202, 0, 2, 1, 2, 3, 4, 1, 250, b'c', b'a']),
    ),
    shown(
        "rtcp-application",
        "It sends packets of an application of its own.",
        sends!(&[0x80, 204, 0, 3, 1, 2, 3, 4, b'H', b'I', b'K', b'1', 0, 0, 0, 0]),
    ),
    shown(
        "rtcp-unknown-type",
        "It sends RTCP of an unknown type.",
        sends!(&[0x80, 222, 0, 1, 1, 2, 3, 4]),
    ),
    shown(
        "rtcp-padding-too-large",
        "An RTCP packet says more padding than it has bytes.",
        sends!(&[0xa0, 0xc8, 0, 2, 1, 2, 3, 4, 0, 0, 0, 200]),
    ),
    shown(
        "rtcp-report-blocks-missing",
        "A sender report says 31 report blocks and has none.",
        sends!(b"\x9f\xc8\x00\x06\x01\x02\x03\x04\xe0\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x01"),
    ),
    shown(
        "rtcp-clock-of-1900",
        "Its sender reports have a clock of 0.",
        sends!(b"\x80\xc8\x00\x06\x01\x02\x03\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x01"),
    ),
    shown(
        "rtcp-is-rtp",
        "An RTP packet comes on the channel of RTCP.",
        sends!(&[0x80, 96, 0, 7, 0, 0, 0, 0, 1, 2, 3, 4, 0x41, 0x9a, 0, 0]),
    ),
    shown(
        "rtcp-on-rtp-channel",
        "Sender reports come on the channel of RTP.",
        Script {
            laws: &[(
                When::Every(15),
                Law::Packet(b"\x80\xc8\x00\x06\x01\x02\x03\x04\xe0\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x01"),
            )],
            ..PLAIN
        },
    ),
    shown(
        "rtcp-is-long",
        "An RTCP packet has 2,000 bytes.",
        sends!(&[0x80; 2_000]),
    ),
    shown(
        "rtcp-never",
        "It sends no reports.",
        Script { sender_reports: false, ..PLAIN },
    ),
    // 4a
    shown(
        "stops-without-reports",
        "It sends nothing from 10 s after PLAY or the last receiver report on.",
        Script { reports: Some(Reports::Stops(Duration::from_secs(10))), ..PLAIN },
    )
    .over(150)
    .real_time(),
    // 4b
    shown(
        "hangs-up-without-reports",
        "It hangs up 60 s after PLAY or the last receiver report.",
        Script { reports: Some(Reports::HangsUp(Duration::from_secs(60))), ..PLAIN },
    )
    .over(150)
    .real_time(),
    shown(
        "rtcp-receiver-report",
        "It sends receiver reports, though it receives nothing.",
        sends!(&[0x81, 201, 0, 7, 1, 2, 3, 4, 9, 9, 9, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
    ),
    shown(
        "rtcp-feedback",
        "It sends feedback messages: a lost packet, a picture lost, a bit rate.",
        Script {
            laws: &[
                (When::Every(7), Law::Rtcp(&[0x81, 205, 0, 3, 1, 2, 3, 4, 1, 2, 3, 4, 0, 1, 0, 0])),
                (When::Every(9), Law::Rtcp(&[0x81, 206, 0, 2, 1, 2, 3, 4, 1, 2, 3, 4])),
            ],
            ..PLAIN
        },
    ),
    shown(
        "rtcp-extended-report",
        "It sends an extended report of a kind that nobody knows.",
        sends!(&[0x80, 207, 0, 3, 1, 2, 3, 4, 99, 0, 0, 1, 0, 0, 0, 0]),
    ),
    shown(
        "rtcp-too-short",
        "Packets of 0 to 7 bytes come on the channel of RTCP.",
        Script {
            laws: &[
                (When::Every(5), Law::Rtcp(&[])),
                (When::Every(6), Law::Rtcp(&[0x80])),
                (When::Every(7), Law::Rtcp(&[0x80, 200, 0, 6, 1, 2, 3])),
            ],
            ..PLAIN
        },
    ),
    shown(
        "rtcp-with-extension",
        "Its sender reports have an extension of the profile, and padding.",
        sends!(b"\xa0\xc8\x00\x08\x01\x02\x03\x04\xe0\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x01\x07\x07\x07\x07\x00\x00\x00\x04"),
    ),
    shown(
        "rtcp-bye-of-other-source",
        "It says BYE for another source, and for none.",
        Script {
            laws: &[
                (When::Every(7), Law::Rtcp(&[0x81, 203, 0, 1, 9, 9, 9, 9])),
                (When::Every(9), Law::Rtcp(&[0x80, 203, 0, 0])),
            ],
            ..PLAIN
        },
    ),
];
