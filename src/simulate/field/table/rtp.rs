//! Packets: numbers, times, fragments, framing (RFC 3550, RFC 6184, RFC 7798).

use super::super::script::{Flaw, Law, Marker, Material, Numbers, PLAIN, Script, When};
use super::{Fault, H264, H265, shown};

/// A camera with these laws.
macro_rules! laws {
    ($(($when:expr, $law:expr)),*) => {
        Script { laws: &[$(($when, $law)),*], ..SMALL }
    };
}

/// The same for one codec.
macro_rules! of {
    ($codec:expr; $(($when:expr, $law:expr)),*) => {
        Script { codec: $codec, ..laws!($(($when, $law)),*) }
    };
}

/// Packets so small that every picture is fragmented.
const SMALL: Script = Script {
    packet: 90,
    ..PLAIN
};

/// `7C 45`: a fragment's end without its beginning.
const LATE_FRAGMENT: &[u8] = &{
    let mut payload = [0x88; 102];
    payload[0] = 0x7c;
    payload[1] = 0x45;
    payload
};

/// Some pictures go until the numbers are known to say nothing.
const fn numbered(numbers: Numbers) -> Script {
    Script { numbers, ..SMALL }
}

const fn filled(first: u8) -> [u8; 30] {
    let mut payload = [0x55; 30];
    payload[0] = first;
    payload
}

pub(super) static ROWS: &[Fault] = &[
    // 2
    shown(
        "fragment-from-nowhere",
        "The end of a fragmented unit comes between two pictures, with a time of its own.",
        of!(H264; (When::Every(10), Law::Between(LATE_FRAGMENT, true))),
    ),
    shown(
        "fragment-from-nowhere-h265",
        "The end of a fragmented unit comes between two pictures, with a time of its own.",
        of!(H265; (When::Every(10), Law::Between(&[0x62, 1, 0x41, 0x88, 0x88, 0x88], true))),
    ),
    // 32a
    shown(
        "fragments-without-end",
        "The last fragment of a picture lacks its end bit now and then.",
        laws!((When::Every(10), Law::Fragments(Flaw::NoEnd))),
    ),
    shown(
        "fragments-never-end",
        "No last fragment has its end bit.",
        laws!((When::Each, Law::Fragments(Flaw::NoEnd))),
    ),
    // 32b
    shown(
        "fragments-begin-again",
        "The first fragment of a picture comes, then the whole picture from its start.",
        laws!((When::Every(10), Law::Fragments(Flaw::Restarted))),
    ),
    shown(
        "fragments-without-start",
        "The first fragment of a picture lacks its start bit now and then.",
        laws!((When::Every(15), Law::Fragments(Flaw::NoStart))),
    )
    .share(90),
    shown(
        "fragments-never-start",
        "No fragment has the start bit.",
        laws!((When::Each, Law::Fragments(Flaw::NoStart))),
    )
    .share(85),
    shown(
        "fragments-none-start-of-slices",
        "No fragment has the start bit; a picture has several slices.",
        Script {
            material: Material::Slices,
            ..laws!((When::Each, Law::Fragments(Flaw::NoneStart)))
        },
    )
    .share(85),
    shown(
        "fragments-none-end-of-slices",
        "No fragment has the end bit; a picture has several slices.",
        Script {
            material: Material::Slices,
            ..laws!((When::Each, Law::Fragments(Flaw::NoneEnd)))
        },
    ),
    shown(
        "packet-with-more-sources-than-bytes",
        "An RTP packet says 15 sources and has three bytes; another has half a source.",
        laws!(
            (
                When::Every(5),
                Law::Packet(&[0x8f, 96, 0, 1, 2, 3, 4, 5, 1, 2, 3, 4, 0x41, 1, 2])
            ),
            (
                When::Every(7),
                Law::Packet(&[0x81, 96, 0, 1, 2, 3, 4, 5, 1, 2, 3, 4, 9, 9])
            )
        ),
    ),
    shown(
        "fragments-end-twice",
        "The last two fragments of a picture have the end bit now and then.",
        laws!((When::Every(15), Law::Fragments(Flaw::TwoEnds))),
    )
    .share(90),
    shown(
        "fragments-all-start",
        "Every fragment has the start bit.",
        laws!((When::Each, Law::Fragments(Flaw::AllStart))),
    ),
    shown(
        "fragments-all-start-of-slices",
        "Every fragment has the start bit; a picture has several slices.",
        Script {
            material: Material::Slices,
            ..laws!((When::Each, Law::Fragments(Flaw::AllStart)))
        },
    ),
    shown(
        "fragments-all-end-of-slices",
        "Every fragment has the end bit; a picture has several slices.",
        Script {
            material: Material::Slices,
            ..laws!((When::Each, Law::Fragments(Flaw::AllEnd)))
        },
    )
    .share(90),
    shown(
        "fragments-all-end",
        "Every fragment has the end bit.",
        laws!((When::Each, Law::Fragments(Flaw::AllEnd))),
    )
    .share(96),
    shown(
        "units-behind-lengths",
        "Each unit in its packets stands behind its length, as in files.",
        laws!((When::Each, Law::Lengths)),
    ),
    shown(
        "large-units-behind-lengths",
        "Each unit in its packets stands behind its length; few are fragmented.",
        Script {
            laws: &[(When::Each, Law::Lengths)],
            ..PLAIN
        },
    ),
    shown(
        "fragment-of-one",
        "A whole unit is one fragment with start and end bit.",
        laws!((When::Other, Law::Fragments(Flaw::Single))),
    ),
    shown(
        "fragment-is-empty",
        "A fragment has no byte of its unit.",
        laws!((When::Every(5), Law::Fragments(Flaw::Empty))),
    ),
    shown(
        "fragments-of-other-type",
        "Fragments but the first name another type of unit.",
        laws!((When::Other, Law::Fragments(Flaw::OtherType))),
    ),
    shown(
        "fragment-lost",
        "A middle fragment is lost now and then.",
        laws!((When::Every(15), Law::Fragments(Flaw::Lost))),
    )
    .share(90),
    shown(
        "fragment-left-out",
        "The last fragment is lost now and then.",
        laws!((When::Every(15), Law::Fragments(Flaw::NoLast))),
    )
    .share(90),
    // 32f
    shown(
        "zeros-inside-sei",
        "An SEI has zeros that should not be in a unit.",
        of!(H264; (When::Every(10), Law::Lead(&[6, 5, 8, 0xaa, 0, 0, 0, 3, 0xaa, 0xaa, 0xaa, 0xaa, 0x80]))),
    ),
    // 22a
    shown(
        "type-zero",
        "A packet of type 0 comes before pictures, with their time.",
        of!(H264; (When::Every(5), Law::Before(&filled(0), false))),
    ),
    // 22d
    shown(
        "forbidden-bit",
        "A packet whose forbidden bit is set comes before pictures.",
        of!(H264; (When::Every(5), Law::Before(&filled(0xe5), false))),
    ),
    // 22b
    shown(
        "type-thirty",
        "A packet of type 30 comes before pictures.",
        of!(H264; (When::Every(5), Law::Before(&filled(0x1e), false))),
    ),
    shown(
        "type-thirty-one",
        "A packet of type 31 comes behind pictures, with the marker bit.",
        of!(H264; (When::Every(5), Law::After(&filled(0x1f), true))),
    ),
    shown(
        "types-reserved",
        "Packets of reserved types come between pictures, with times of their own.",
        of!(H264; (When::Every(5), Law::Between(&filled(0x16), true)), (When::Every(7), Law::Between(&filled(0x77), false))),
    ),
    shown(
        "types-of-other-modes",
        "Packets of interleaved mode come before pictures: STAP-B, MTAP, FU-B.",
        of!(H264; (When::Every(5), Law::Before(&filled(0x79), false)), (When::Every(6), Law::Before(&filled(0x7a), false)), (When::Every(7), Law::Before(&filled(0x7d), false))),
    ),
    shown(
        "types-unknown-h265",
        "Packets of unspecified types come before pictures.",
        of!(H265; (When::Every(5), Law::Before(&[0x64, 1, 2, 3], false)), (When::Every(7), Law::Before(&[0x7e, 1, 2, 3], false))),
    ),
    shown(
        "forbidden-bit-h265",
        "A packet whose forbidden bit is set comes before pictures.",
        of!(H265; (When::Every(5), Law::Before(&[0xa6, 1, 2, 3], false))),
    ),
    shown(
        "unit-of-one-byte-h265",
        "A packet of one byte comes before pictures.",
        of!(H265; (When::Every(5), Law::Before(&[0x02], false))),
    ),
    // 23a is in pictures: gathered sets with an empty unit.
    // 23c
    shown(
        "empty-packet",
        "An RTP packet without payload comes before pictures.",
        laws!((When::Every(5), Law::Before(&[], false))),
    ),
    // 23c2
    shown(
        "empty-packet-behind",
        "An RTP packet without payload, with the marker bit, comes behind pictures.",
        laws!((When::Every(5), Law::After(&[], true))),
    ),
    shown(
        "empty-packet-has-the-marker",
        "The marker bit of every picture is on an empty packet behind it.",
        laws!(
            (When::Each, Law::After(&[], true)),
            (When::Each, Law::Unmarked)
        ),
    ),
    shown(
        "gathered-cut-short",
        "A gathered packet says more bytes than it has.",
        of!(H264; (When::Every(5), Law::Before(&[0x78, 0, 200, 6, 5, 1, 1, 0x80], false))),
    ),
    shown(
        "gathered-is-empty",
        "A gathered packet has nothing in it.",
        of!(H264; (When::Every(5), Law::Before(&[0x78], false)), (When::Every(7), Law::Before(&[0x78, 0], false))),
    ),
    shown(
        "gathered-cut-short-h265",
        "A gathered packet says more bytes than it has.",
        of!(H265; (When::Every(5), Law::Before(&[0x60, 1, 0, 200, 0x4e, 1, 5], false))),
    ),
    // 8a
    shown(
        "stray-zeros",
        "Three zero bytes come between two packets.",
        laws!((When::Every(12), Law::Stray(&[0, 0, 0]))),
    )
    .share(90),
    shown(
        "stray-line-ends",
        "Line ends come between two packets.",
        laws!((When::Every(12), Law::Stray(b"\r\n\r\n"))),
    )
    .share(90),
    shown(
        "stray-dollar",
        "A dollar sign and noise come between two packets.",
        laws!(
            (When::Every(15), Law::Stray(b"$$\x07noise$\x00\xff")),
            (When::At(3), Law::Stray(b"$"))
        ),
    )
    .share(85),
    shown(
        "stray-text",
        "A line of text comes between two packets.",
        laws!((
            When::Every(12),
            Law::Stray(b"watchdog: encoder restarted\n")
        )),
    )
    .share(90),
    // 8c
    shown(
        "length-too-large",
        "The length in front of a picture's last packet is 4 too large now and then.",
        laws!((When::Every(15), Law::Length(4))),
    )
    .share(85),
    shown(
        "length-too-small",
        "The length in front of a picture's last packet is 4 too small now and then.",
        laws!((When::Every(15), Law::Length(-4))),
    )
    .share(85),
    shown(
        "unknown-channel",
        "Packets come on a channel that nobody asked for.",
        laws!(
            (
                When::Every(5),
                Law::Channel(2, &[0x80, 8, 0, 1, 0, 0, 0, 1, 9, 9, 9, 9, 0xd5, 0xd5])
            ),
            (When::Every(7), Law::Channel(200, &[1, 2, 3]))
        ),
    ),
    // 30a
    shown(
        "numbers-begin-again",
        "Its numbers begin again at 0, its source changes, and 1,000 numbers are left out.",
        laws!(
            (When::At(12), Law::NumberFrom(0)),
            (When::At(24), Law::Source(0x0909_0909)),
            (When::At(36), Law::Number(1_000))
        ),
    ),
    shown(
        "numbers-go-back",
        "Its numbers go back by 5 now and then.",
        laws!((When::Every(15), Law::Number(65_531))),
    ),
    shown(
        "numbers-in-twos",
        "Its numbers rise by two with each packet.",
        numbered(Numbers::Twos),
    ),
    shown(
        "numbers-at-random",
        "There is no order in its numbers.",
        numbered(Numbers::Random),
    ),
    shown(
        "numbers-swapped",
        "The low byte of its numbers comes first.",
        numbered(Numbers::Swapped),
    ),
    shown(
        "source-of-each-packet",
        "Each packet has a source of its own.",
        numbered(Numbers::Sources),
    ),
    shown(
        "numbers-wrap",
        "Its numbers go over 65535 at once.",
        Script {
            first_number: 65_530,
            ..SMALL
        },
    ),
    shown(
        "packets-twice",
        "Every packet comes twice over TCP.",
        laws!((When::Each, Law::Twice)),
    ),
    shown(
        "packets-swapped",
        "The first two packets of pictures change places now and then, over TCP.",
        laws!((When::Every(6), Law::Swapped), (When::Key, Law::Swapped)),
    ),
    shown(
        "packets-swapped-in-pairs",
        "Of some pictures every two packets change places, over TCP.",
        laws!((When::Every(6), Law::SwappedInPairs)),
    ),
    shown(
        "packet-too-short",
        "RTP packets of 0, 1 and 11 bytes come.",
        laws!(
            (When::Every(5), Law::Packet(&[])),
            (When::Every(6), Law::Packet(&[0x80])),
            (
                When::Every(7),
                Law::Packet(&[0x80, 96, 0, 1, 2, 3, 4, 5, 6, 7, 8])
            )
        ),
    ),
    shown(
        "packet-of-other-version",
        "RTP packets of version 1 and 0 come.",
        laws!(
            (
                When::Every(5),
                Law::Packet(&[0x40, 96, 0, 1, 2, 3, 4, 5, 1, 2, 3, 4, 0x41, 1])
            ),
            (When::Every(7), Law::Packet(&[0; 40]))
        ),
    ),
    shown(
        "packets-of-version-zero",
        "All its RTP packets name version 0.",
        laws!((When::Each, Law::Version(0))),
    ),
    shown(
        "packets-of-version-one",
        "All its RTP packets name version 1.",
        laws!((When::Each, Law::Version(1))),
    ),
    shown(
        "extensions-too-long",
        "The header extension of each packet says more words than the packet has.",
        laws!((When::Each, Law::LongExtension)),
    ),
    shown(
        "packet-with-missing-sources",
        "An RTP packet says 15 sources and has none; another an extension that is not there.",
        laws!(
            (
                When::Every(5),
                Law::Packet(&[0x8f, 96, 0, 1, 2, 3, 4, 5, 1, 2, 3, 4])
            ),
            (
                When::Every(7),
                Law::Packet(&[
                    0x90, 96, 0, 1, 2, 3, 4, 5, 1, 2, 3, 4, 0xbe, 0xde, 0xff, 0xff
                ])
            )
        ),
    ),
    shown(
        "padding",
        "Its packets end with padding.",
        laws!((When::Each, Law::Padding(8))),
    ),
    shown(
        "padding-too-large",
        "An RTP packet says more padding than it has.",
        laws!((
            When::Every(5),
            Law::Packet(&[0xa0, 96, 0, 1, 2, 3, 4, 5, 1, 2, 3, 4, 0x41, 200])
        )),
    ),
    shown(
        "header-extension",
        "Its packets have the header extension of ONVIF's replay.",
        laws!((
            When::Each,
            Law::HeaderExtension(0xabac, &[0xe0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
        )),
    ),
    shown(
        "header-extension-of-one-byte",
        "Its packets have header extensions of RFC 8285.",
        laws!((When::Each, Law::HeaderExtension(0xbede, &[0x12, 1, 2, 3]))),
    ),
    shown(
        "contributing-sources",
        "Its packets name contributing sources.",
        laws!((When::Each, Law::Sources(3))),
    ),
    shown(
        "payload-type-of-reports",
        "Its payload type with the marker is a type set aside for RTCP.",
        Script {
            codec: H264,
            payload_type: Some(77),
            video: Some(
                "m=video 0 RTP/AVP 77\r\na=rtpmap:77 H264/90000\r\na=fmtp:77 packetization-mode=1\r\na=control:{control}\r\n",
            ),
            ..SMALL
        },
    ),
    shown(
        "other-payload-type",
        "Packets of another payload type come before pictures.",
        laws!((When::Every(3), Law::OtherType(8, &[0xd5; 160]))),
    ),
    // 31a
    shown(
        "times-too-slow",
        "Its times advance by 100 a picture.",
        Script {
            time_step: Some(100),
            ..SMALL
        },
    ),
    // 31b
    shown(
        "times-stand-still",
        "All its times are 0.",
        Script {
            time_step: Some(0),
            time_start: 0,
            ..SMALL
        },
    ),
    // 31f
    shown(
        "times-in-milliseconds",
        "Its times are in milliseconds.",
        Script {
            time_step: Some(20),
            ..SMALL
        },
    ),
    shown(
        "times-too-fast",
        "Its times advance by 10 s a picture.",
        Script {
            time_step: Some(900_000),
            ..SMALL
        },
    ),
    shown(
        "times-jump",
        "Its times jump by an hour now and then.",
        laws!((When::Every(15), Law::Time(324_000_000))),
    ),
    shown(
        "times-jump-back",
        "Its times jump back by 10 s now and then.",
        laws!((When::Every(15), Law::Time(-900_000))),
    ),
    shown(
        "times-wrap",
        "Its times go over 32 bits at once.",
        Script {
            time_start: u32::MAX - 20_000,
            ..SMALL
        },
    ),
    shown(
        "large-packets",
        "Each unit is one packet, of up to 60,000 bytes.",
        Script {
            packet: 60_000,
            ..PLAIN
        },
    ),
    shown(
        "tiny-packets",
        "Its packets have 20 bytes.",
        Script {
            packet: 20,
            ..PLAIN
        },
    ),
    shown(
        "numbers-and-times-begin-at-zero",
        "Its numbers and times begin at zero.",
        Script {
            first_number: 0,
            time_start: 0,
            ..SMALL
        },
    ),
    shown(
        "source-is-zero",
        "The source of its packets is 0 from the second picture on.",
        laws!((When::At(1), Law::Source(0))),
    ),
    shown(
        "gathered-delimiter",
        "A delimiter alone, and an SEI alone, come gathered before pictures.",
        of!(H264; (When::Every(5), Law::Before(&[0x78, 0, 2, 9, 0xf0], false)), (When::Every(7), Law::Before(&[0x78, 0, 5, 6, 5, 1, 0xaa, 0x80], false))),
    ),
    shown(
        "gathered-in-gathered",
        "A gathered packet holds a gathered packet, another a fragment.",
        of!(H264; (When::Every(5), Law::Before(&[0x78, 0, 4, 0x78, 0, 1, 9], false)), (When::Every(7), Law::Before(&[0x78, 0, 3, 0x7c, 0x85, 1], false))),
    ),
    shown(
        "fragment-of-fragments",
        "A fragment is of a gathered packet, another of a fragment.",
        of!(H264; (When::Every(5), Law::Before(&[0x7c, 0x98, 1, 2, 3], false)), (When::Every(7), Law::Before(&[0x7c, 0xdc, 1, 2, 3], false))),
    ),
    shown(
        "fragment-without-its-header",
        "A fragment ends behind its first byte.",
        of!(H264; (When::Every(5), Law::Before(&[0x7c], false))),
    ),
    shown(
        "fragment-without-its-header-h265",
        "A fragment ends behind its second byte.",
        of!(H265; (When::Every(5), Law::Before(&[0x62, 1], false))),
    ),
    shown(
        "fragments-of-other-priority",
        "Fragments but the first name another importance, or another layer in time.",
        laws!((When::Other, Law::Fragments(Flaw::OtherPriority))),
    ),
    shown(
        "times-rise-inside-pictures",
        "Each packet of a picture has a later time than the one before.",
        laws!((When::Each, Law::Slope(3))),
    ),
    shown(
        "times-rise-inside-pictures-of-slices",
        "Each packet of a picture has a later time; a picture has several slices.",
        Script {
            material: Material::Slices,
            ..laws!((When::Each, Law::Slope(3)))
        },
    ),
    shown(
        "times-rise-inside-pictures-without-marker",
        "Each packet of a picture has a later time, and no packet has the marker bit.",
        Script {
            marker: Marker::Never,
            ..laws!((When::Each, Law::Slope(3)))
        },
    ),
    shown(
        "other-payload-type-than-announced",
        "Its packets name payload type 97; it announces 96.",
        Script {
            payload_type: Some(97),
            ..SMALL
        },
    ),
    shown(
        "other-payload-type-with-still-number",
        "Packets of another payload type come between, whose number stands still.",
        laws!((
            When::Each,
            Law::Packet(&[0x80, 50, 0, 1, 0, 0, 0, 1, 1, 2, 3, 4, 7, 7, 7, 7])
        )),
    ),
    shown(
        "stray-bytes-like-a-packet",
        "Bytes that look like the head of a packet come between two packets.",
        laws!((When::Every(15), Law::Stray(b"$\x00\x00\x10"))),
    )
    .share(85),
    shown(
        "stray-answer",
        "An answer that nobody asked for comes between two packets.",
        laws!((
            When::Every(12),
            Law::Stray(b"RTSP/1.0 200 OK\r\nCSeq: 4711\r\n\r\n")
        )),
    ),
    shown(
        "types-reserved-h265",
        "Packets of reserved types come before and behind pictures.",
        of!(H265; (When::Every(5), Law::Before(&[0x2c, 1, 0xaf, 2, 3, 4], false)), (When::Every(6), Law::Before(&[0x30, 1, 0xaf, 2, 3, 4], false)), (When::Every(7), Law::Before(&[0x52, 1, 2, 3], false)), (When::Every(8), Law::After(&[0x58, 1, 2, 3], true))),
    ),
    shown(
        "layers-of-svc",
        "A prefix comes before each slice and a slice of a higher layer behind it.",
        of!(H264; (When::Each, Law::Lead(&[0x6e, 0x80, 0x80, 0x07, 0x40])), (When::Other, Law::Trail(&[0x74, 0x80, 0x80, 0x07, 0xb0, 1, 2, 3]))),
    ),
    shown(
        "auxiliary-pictures",
        "An auxiliary picture, an SPS extension and the set of a further view come with pictures.",
        of!(H264; (When::Key, Law::Lead(&[0x6d, 0x88, 0x80])), (When::Key, Law::Lead(&[0x6f, 0x42, 0xc0, 0x1f, 0x8c])), (When::Each, Law::Trail(&[0x13, 0x9a, 1, 2, 3]))),
    ),
    shown(
        "other-payload-type-inside-pictures",
        "Packets of another payload type, counted with the others, come inside pictures.",
        laws!((When::Each, Law::OtherTypeInside(107, &[0x3c; 60]))),
    ),
    shown(
        "other-payload-type-uncounted",
        "A packet of type 50 comes before each picture and has the number of the packet behind it.",
        laws!((When::Each, Law::OtherTypeUncounted(50, &[0x55; 57]))),
    ),
];
