//! The links, what runs over them, and how.

use std::time::Duration;

use super::place::Way;
use crate::support::path::{Bursts, Conditions};

/// How the gateway sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Strategy {
    /// As it comes.
    Fanal,
    /// Without parity.
    NoParity,
    /// quinn's Cubic, without parity.
    Cubic,
}

impl Strategy {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Fanal => "fanal",
            Self::NoParity => "no parity",
            Self::Cubic => "cubic",
        }
    }

    /// Its lines in `[uplink]`.
    pub(crate) const fn settings(self) -> &'static str {
        match self {
            Self::Fanal => "",
            Self::NoParity => "redundancy = false\n",
            Self::Cubic => "redundancy = false\ncongestion = \"cubic\"\n",
        }
    }
}

/// What is done to the link in the middle of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event {
    /// Nothing gets through for so long.
    Cut(Duration),
    /// The gateway has another address from then on.
    Move,
    /// UDP is dropped for so long, and TCP is not.
    NoUdp(Duration),
}

impl Event {
    /// How long it takes.
    pub(crate) const fn lasts(self) -> Duration {
        match self {
            Self::Cut(time) | Self::NoUdp(time) => time,
            Self::Move => Duration::ZERO,
        }
    }

    /// Does it.
    pub(crate) fn happen(self, way: &Way, case: &Case) {
        match self {
            Self::Cut(time) => {
                way.carry(case, false, false);
                std::thread::sleep(time);
                way.carry(case, case.udp, true);
            }
            Self::Move => way.wan.move_clients(),
            Self::NoUdp(time) => {
                way.carry(case, false, true);
                std::thread::sleep(time);
                way.carry(case, true, true);
            }
        }
    }
}

/// The cameras of a case.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cameras {
    pub(crate) count: usize,
    pub(crate) bitrate: &'static str,
    pub(crate) sub: Option<&'static str>,
}

const fn cameras(count: usize) -> Cameras {
    Cameras {
        count,
        bitrate: "2 Mbit/s",
        sub: None,
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) up: Conditions,
    pub(crate) down: Conditions,
    pub(crate) cameras: Cameras,
    pub(crate) event: Option<Event>,
    /// UDP gets through at first; TCP does.
    pub(crate) udp: bool,
    pub(crate) tcp: bool,
    /// What the commune wrote of its line.
    pub(crate) max_bitrate: Option<&'static str>,
    pub(crate) strategies: &'static [Strategy],
}

impl Case {
    /// Nothing but a link.
    pub(crate) const fn plain(way: Conditions, cameras: Cameras) -> Self {
        Self {
            name: "",
            up: way,
            down: way,
            cameras,
            event: None,
            udp: true,
            tcp: false,
            max_bitrate: None,
            strategies: &[Strategy::Fanal],
        }
    }
}

const ALL: &[Strategy] = &[Strategy::Fanal, Strategy::NoParity, Strategy::Cubic];
const OURS: &[Strategy] = &[Strategy::Fanal, Strategy::Cubic];

pub(crate) fn all() -> Vec<Case> {
    let far = Conditions::round_trip(40);
    let lossy = |loss| Conditions { loss, ..far };
    let narrow = |megabits: u64| Conditions {
        rate: Some(megabits * 1_000_000),
        ..far
    };
    let bursts = Conditions {
        bursts: Some(Bursts {
            begin: 0.003,
            end: 0.3,
        }),
        ..far
    };
    // 60 ms and up to 30 more, there and back together.
    let mobile = Conditions {
        delay: Duration::from_millis(30),
        jitter: Duration::from_millis(15),
        loss: 0.005,
        rate: Some(4_000_000),
        rate_up_to: Some(12_000_000),
        ..far
    };
    let large = Cameras {
        bitrate: "3.4 Mbit/s",
        ..cameras(1)
    };
    let with_sub = |cameras| Cameras {
        sub: Some("500 kbit/s"),
        ..cameras
    };
    let case = |name, up: Conditions, cameras, strategies| Case {
        name,
        down: Conditions {
            rate: None,
            rate_up_to: None,
            ..up
        },
        strategies,
        ..Case::plain(up, cameras)
    };
    let cut = |name, seconds| Case {
        event: Some(Event::Cut(Duration::from_secs(seconds))),
        ..case(name, far, cameras(4), OURS)
    };
    // Without UDP, what TCP does to the same pictures.
    let without_udp = |name, up, cameras| Case {
        udp: false,
        tcp: true,
        ..case(name, up, cameras, &[Strategy::Fanal])
    };
    vec![
        case("LAN", Conditions::CLEAR, cameras(4), ALL),
        case("40 ms", far, cameras(4), OURS),
        case("40 ms, 1 %", lossy(0.01), cameras(1), ALL),
        case("40 ms, 1 %, 4 cameras", lossy(0.01), cameras(4), ALL),
        case("40 ms, 3 %", lossy(0.03), cameras(1), ALL),
        case("40 ms, 3 %, 4 cameras", lossy(0.03), cameras(4), ALL),
        case("40 ms, bursts", bursts, cameras(4), ALL),
        case("20 Mbit/s, 16 cameras of 2", narrow(20), cameras(16), OURS),
        case(
            "12 Mbit/s, 16 of 2 with subs",
            narrow(12),
            with_sub(cameras(16)),
            OURS,
        ),
        Case {
            max_bitrate: Some("12 Mbit/s"),
            ..case(
                "12 Mbit/s set, 16 of 2 with subs",
                narrow(12),
                with_sub(cameras(16)),
                &[Strategy::Fanal],
            )
        },
        case("2 Mbit/s, one of 3.4", narrow(2), large, OURS),
        case(
            "2 Mbit/s, one of 3.4 with sub",
            narrow(2),
            with_sub(large),
            OURS,
        ),
        case("4G, two cameras", mobile, cameras(2), ALL),
        cut("40 ms, cut for 5 s", 5),
        cut("40 ms, cut for 11 s", 11),
        cut("40 ms, cut for 30 s", 30),
        Case {
            event: Some(Event::Move),
            ..case("40 ms, new address", far, cameras(4), OURS)
        },
        without_udp("TCP, 40 ms", far, cameras(4)),
        without_udp("TCP, 40 ms, 1 %", lossy(0.01), cameras(1)),
        without_udp("TCP, 40 ms, 1 %, 4 cameras", lossy(0.01), cameras(4)),
        without_udp(
            "TCP, 4 Mbit/s, 4 of 2 with subs",
            narrow(4),
            with_sub(cameras(4)),
        ),
        Case {
            event: Some(Event::Cut(Duration::from_secs(2))),
            ..without_udp("TCP, 40 ms, stalled for 2 s", far, cameras(4))
        },
        Case {
            event: Some(Event::NoUdp(Duration::from_secs(60))),
            tcp: true,
            ..case("40 ms, UDP dropped", far, cameras(4), &[Strategy::Fanal])
        },
    ]
}
