//! The links, what runs over them, and how.

use std::time::Duration;

use crate::support::path::{Bursts, Conditions};
use crate::support::wan::Wan;

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
}

impl Event {
    /// How long it takes.
    pub(crate) const fn lasts(self) -> Duration {
        match self {
            Self::Cut(time) => time,
            Self::Move => Duration::ZERO,
        }
    }

    /// Does it.
    pub(crate) fn happen(self, wan: &Wan, up: Conditions, down: Conditions) {
        match self {
            Self::Cut(time) => {
                let cut = |way| Conditions { cut: true, ..way };
                wan.set(cut(up), cut(down));
                std::thread::sleep(time);
                wan.set(up, down);
            }
            Self::Move => wan.move_clients(),
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
    /// What the commune wrote of its line.
    pub(crate) max_bitrate: Option<&'static str>,
    pub(crate) strategies: &'static [Strategy],
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
        up,
        down: Conditions {
            rate: None,
            rate_up_to: None,
            ..up
        },
        cameras,
        event: None,
        max_bitrate: None,
        strategies,
    };
    let cut = |name, seconds| Case {
        event: Some(Event::Cut(Duration::from_secs(seconds))),
        ..case(name, far, cameras(4), OURS)
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
    ]
}
