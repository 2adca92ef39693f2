//! RTP over UDP. These cameras refuse TCP.

use super::super::script::{Flaw, Law, Marker, Material, PLAIN, Script, When};
use super::{Fault, shown};

const UDP: Script = Script { udp: true, ..PLAIN };

/// A camera over UDP with these laws.
macro_rules! laws {
    ($(($when:expr, $law:expr)),*) => {
        Script { laws: &[$(($when, $law)),*], ..UDP }
    };
}

/// The usual answer to SETUP but for `Transport`.
macro_rules! transport {
    ($line:literal) => {
        Script {
            setup: &["Session: {session};timeout=60", $line],
            ..UDP
        }
    };
}

pub(super) static ROWS: &[Fault] = &[
    shown(
        "udp-alone",
        "It refuses TCP with 461 and sends over UDP.",
        UDP,
    ),
    // 17e
    shown(
        "udp-without-server-port",
        "Its answer to SETUP does not name its ports.",
        transport!("Transport: RTP/AVP;unicast;client_port={first}-{second}"),
    ),
    // 17f
    shown(
        "udp-ports-backwards",
        "The second of its ports is smaller than the first.",
        transport!(
            "Transport: RTP/AVP;unicast;client_port={first}-{second};server_port={port}-35968"
        ),
    ),
    shown(
        "udp-one-port",
        "It names one port.",
        transport!("Transport: RTP/AVP;unicast;client_port={first}-{second};server_port={port}"),
    ),
    shown(
        "udp-port-zero",
        "It names ports 0.",
        transport!("Transport: RTP/AVP;unicast;client_port={first}-{second};server_port=0-0"),
    ),
    shown(
        "udp-says-udp",
        "Its Transport says RTP/AVP/UDP, with source and destination.",
        transport!(
            "Transport: RTP/AVP/UDP;unicast;destination=127.0.0.1;source=127.0.0.1;client_port={first}-{second};server_port={port}-{port2};mode=play"
        ),
    ),
    shown(
        "udp-without-client-port",
        "Its Transport does not repeat the client's ports.",
        transport!("Transport: RTP/AVP;unicast;server_port={port}-{port2}"),
    ),
    shown(
        "udp-from-other-port",
        "Its packets come from another port than it named.",
        Script {
            other_port: true,
            ..UDP
        },
    ),
    shown(
        "udp-swapped",
        "The first two packets of pictures change places now and then.",
        laws!((When::Every(6), Law::Swapped), (When::Key, Law::Swapped)),
    ),
    shown(
        "udp-backwards",
        "The packets of a picture arrive in the opposite order now and then.",
        laws!((When::Every(9), Law::Backwards)),
    ),
    shown(
        "udp-fragments-all-start",
        "Every fragment has the start bit.",
        Script {
            packet: 90,
            ..laws!((When::Each, Law::Fragments(Flaw::AllStart)))
        },
    ),
    shown(
        "udp-fragments-none-start-of-slices",
        "No fragment has the start bit; a picture has several slices.",
        Script {
            material: Material::Slices,
            packet: 90,
            ..laws!((When::Each, Law::Fragments(Flaw::NoneStart)))
        },
    )
    .share(85),
    shown(
        "udp-fragments-all-end",
        "Every fragment has the end bit.",
        Script {
            packet: 90,
            ..laws!((When::Each, Law::Fragments(Flaw::AllEnd)))
        },
    )
    .share(96),
    shown(
        "udp-version-zero",
        "All its RTP packets name version 0.",
        laws!((When::Each, Law::Version(0))),
    ),
    shown(
        "udp-twice",
        "Packets arrive twice.",
        laws!((When::Each, Law::Twice)),
    ),
    shown(
        "udp-lost-picture",
        "All packets of a picture are lost now and then.",
        laws!((When::Every(15), Law::Lost)),
    )
    .share(90),
    shown(
        "udp-numbers-begin-again",
        "Its numbers begin again in mid-play.",
        laws!((When::At(22), Law::NumberFrom(0))),
    )
    .share(90),
    shown(
        "udp-numbers-wrap",
        "Its numbers go over 65535 at once.",
        Script {
            first_number: 65_500,
            ..UDP
        },
    ),
    shown(
        "udp-other-source",
        "Its source changes in mid-play.",
        laws!((When::At(22), Law::Source(0x0505_0505))),
    )
    .share(90),
    shown(
        "udp-bad-packets",
        "Packets come that are no RTP: empty, short, of another version.",
        laws!(
            (When::Every(5), Law::Packet(&[])),
            (When::Every(6), Law::Packet(&[0x80])),
            (When::Every(7), Law::Packet(&[0; 40]))
        ),
    ),
    shown(
        "udp-bad-reports",
        "Reports come that are no RTCP.",
        laws!(
            (When::Every(5), Law::Rtcp(&[0; 28])),
            (When::Every(7), Law::Rtcp(&[1]))
        ),
    ),
    shown(
        "udp-large-packets",
        "Its packets are larger than the network's: 8,000 bytes.",
        Script {
            packet: 8_000,
            ..UDP
        },
    ),
    shown(
        "udp-names-other-addresses",
        "Its Transport names other addresses and other ports of the client than those it uses.",
        transport!(
            "Transport: RTP/AVP;unicast;source=192.0.2.7;destination=192.0.2.9;client_port=5000-5001;server_port={port}-{port2}"
        ),
    ),
    shown(
        "udp-with-comma",
        "A comma stands before the ssrc of its Transport.",
        transport!(
            "Transport: RTP/AVP;unicast;client_port={first}-{second};server_port={port}-{port2},ssrc=FFFFCCCC"
        ),
    ),
    shown(
        "udp-says-multicast",
        "Its Transport says multicast, and its packets come as was asked for.",
        transport!(
            "Transport: RTP/AVP;multicast;destination=239.1.2.3;port=5000-5001;ttl=16;client_port={first}-{second};server_port={port}-{port2}"
        ),
    ),
    shown(
        "udp-slices-without-marker",
        "It sends several slices a picture and no marker bit.",
        Script {
            material: Material::Slices,
            marker: Marker::Never,
            ..UDP
        },
    ),
    shown(
        "udp-packets-lost",
        "A packet of some pictures is lost, and those around it change places.",
        laws!(
            (When::Every(15), Law::Fragments(Flaw::Lost)),
            (When::Every(6), Law::SwappedInPairs)
        ),
    )
    .share(85),
    shown(
        "udp-other-payload-type-inside-pictures",
        "Packets of another payload type, counted with the others, come inside pictures.",
        laws!((When::Each, Law::OtherTypeInside(107, &[0x3c; 60]))),
    ),
    shown(
        "udp-other-payload-type-uncounted",
        "A packet of type 50 comes before each picture and has the number of the packet behind it.",
        laws!((When::Each, Law::OtherTypeUncounted(50, &[0x55; 57]))),
    ),
];
