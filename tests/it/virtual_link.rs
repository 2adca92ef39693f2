//! The link's congestion control, parity, turns and backlog together, over quinn's own
//! core and in virtual time: half a minute of a link in a moment, and what happens
//! depends on the seed (and, by some bytes of the handshake, on the certificates) alone.
//!
//! The bounds are those of the project's aims, not of what a run happened to give.

#![allow(clippy::print_stdout)] // The figures, for anyone who wants to see them.

mod cuts;
mod relays;
mod world;

use std::time::Duration;

use crate::support::path::{Bursts, Conditions};
use bytes::Bytes;
use fanal::config::settings::Congestion;
use relays::{Site, Source, Summary};
use world::{Strategy, World};

const FANAL: Strategy = Strategy {
    congestion: Congestion::Fanal,
    redundancy: true,
    max_bitrate: None,
};
const NO_PARITY: Strategy = Strategy {
    redundancy: false,
    ..FANAL
};
/// 2 Mbit/s, a key frame every 2 s.
const CAMERA: Source = Source {
    bitrate: 2_000_000,
    gop: 50,
};
/// Nothing counts before this.
const SETTLED: Duration = Duration::from_secs(5);
const END: Duration = Duration::from_secs(35);

/// A round trip of 40 ms.
const FAR: Conditions = Conditions::round_trip(40);

/// Runs cameras over a link; says what became of their pictures, and prints it.
fn run(name: &str, up: Conditions, sources: &[Source], strategy: Strategy) -> (Summary, Site) {
    let down = Conditions {
        rate: None,
        rate_up_to: None,
        ..up
    };
    let seed = 1;
    let world = World::new([up, down], seed, strategy);
    let mut site = Site::new(world, sources, seed);
    site.from = SETTLED;
    site.run(END);
    let all = site.all();
    let path = site.world.paths[0].counts();
    println!(
        "{name}: transit p50 {:.0} p95 {:.0} p99 {:.0} max {:.0} ms, {:.1} % shown, longest freeze {} ms; \
         {} kbit/s of pictures; packets: {} lost, {} overflowed, {} made again; parity {} kB; gave way {}; \
         capacity {:?}",
        all.p50,
        all.p95,
        all.p99,
        all.worst,
        all.shown * 100.0,
        all.freeze.as_millis(),
        site.media_bytes * 8 / 1_000 / (END - SETTLED).as_secs(),
        path.lost,
        path.overflowed,
        site.world.recovered,
        site.world.parity_bytes / 1_000,
        site.gave_way,
        site.world.known.capacity(),
    );
    (all, site)
}

/// All but what was still under way at the end.
fn assert_all_shown(all: &Summary) {
    assert!(all.shown > 0.995, "{all:?}");
}

#[test]
fn a_clear_link_adds_nothing_and_sends_no_parity() {
    let (all, site) = run("40 ms", FAR, &[CAMERA; 4], FANAL);
    assert_all_shown(&all);
    assert!(all.p99 <= 40.0, "{all:?}");
    assert_eq!(site.world.parity_bytes, 0);
    assert_eq!(site.gave_way, 0);
}

#[test]
fn one_percent_of_loss_is_not_seen() {
    let lossy = Conditions { loss: 0.01, ..FAR };
    for count in [1, 4] {
        let (all, site) = run("1 %", lossy, &vec![CAMERA; count], FANAL);
        assert_all_shown(&all);
        assert!(all.p99 <= 60.0, "{all:?}");
        assert!(all.freeze < Duration::from_millis(150), "{all:?}");
        assert_eq!(site.gave_way, 0);
        assert!(site.world.recovered > 0);
    }
}

#[test]
fn three_percent_of_loss_delays_few_pictures() {
    let lossy = Conditions { loss: 0.03, ..FAR };
    for count in [1, 4] {
        let (all, site) = run("3 %", lossy, &vec![CAMERA; count], FANAL);
        assert_all_shown(&all);
        assert!(all.p99 <= 90.0, "{all:?}");
        assert_eq!(site.gave_way, 0);
    }
}

#[test]
fn parity_pays_on_a_lossy_link() {
    let lossy = Conditions { loss: 0.01, ..FAR };
    let (with, site) = run("1 %, parity", lossy, &[CAMERA; 4], FANAL);
    let (without, _) = run("1 %, none", lossy, &[CAMERA; 4], NO_PARITY);
    assert!(with.p95 + 20.0 < without.p95, "{with:?} {without:?}");
    // A fifth more bytes at most.
    assert!(site.world.parity_bytes * 4 < site.media_bytes);
}

#[test]
fn losses_in_bursts_are_not_taken_for_a_narrow_link() {
    let bursts = Bursts {
        begin: 0.003,
        end: 0.3,
    };
    let lossy = Conditions {
        bursts: Some(bursts),
        ..FAR
    };
    let (all, _) = run("bursts", lossy, &[CAMERA; 4], FANAL);
    assert!(all.shown > 0.98, "{all:?}");
    assert!(all.p99 <= 100.0, "{all:?}");
}

#[test]
fn sixteen_cameras_on_a_link_for_ten_all_stay_live() {
    let narrow = Conditions {
        rate: Some(20_000_000),
        ..FAR
    };
    let (all, site) = run("16 x 2 on 20", narrow, &[CAMERA; 16], FANAL);
    assert!(all.p95 <= 500.0, "{all:?}");
    assert!(all.freeze <= Duration::from_millis(1_800), "{all:?}");
    // A whole group's key frame and the pictures that there is room for.
    assert!(all.shown > 0.4, "{all:?}");
    for seen in &site.seen {
        assert!(seen.transit.len() as f64 > 0.3 * seen.sent as f64);
    }
    assert_eq!(site.world.paths[0].counts().overflowed, 0);
    // A round trip's half, and what the queue on the path holds.
    assert_control_comes(&site, Duration::from_millis(150));
}

#[test]
fn a_link_with_a_short_queue_is_not_flooded() {
    let policed = Conditions {
        rate: Some(4_000_000),
        queue: Duration::from_millis(25),
        ..FAR
    };
    let (all, site) = run("4 x 2 on 4, short queue", policed, &[CAMERA; 4], FANAL);
    assert!(all.p95 <= 1_000.0, "{all:?}");
    assert!(all.shown > 0.05, "{all:?}");
    let counts = site.world.paths[0].counts();
    let sent = counts.carried + counts.overflowed;
    assert!(counts.overflowed * 4 < sent, "{counts:?}");
}

#[test]
fn a_link_that_has_room_is_not_held_back() {
    let enough = Conditions {
        rate: Some(20_000_000),
        ..FAR
    };
    let (all, _) = run("8 x 2 on 20", enough, &[CAMERA; 8], FANAL);
    assert_all_shown(&all);
    assert!(all.p95 <= 100.0, "{all:?}");
    assert!(all.p99 <= 150.0, "{all:?}");
}

#[test]
fn delay_stays_bounded_on_a_link_narrower_than_one_camera() {
    let narrow = Conditions {
        rate: Some(2_000_000),
        ..FAR
    };
    let large = Source {
        bitrate: 3_400_000,
        ..CAMERA
    };
    let (all, site) = run("3.4 on 2", narrow, &[large], FANAL);
    assert!(all.p95 < 1_000.0, "{all:?}");
    // More than a quarter: see `ALLOWED_ALONE`.
    assert!(all.shown > 0.25, "{all:?}");
    let capacity = site.world.known.capacity().unwrap();
    assert!((225_000..255_000).contains(&capacity), "{capacity}");
    assert_control_comes(&site, Duration::from_millis(150));
}

#[test]
fn a_small_stream_on_that_link_is_shown_in_time() {
    let narrow = Conditions {
        rate: Some(2_000_000),
        ..FAR
    };
    let small = Source {
        bitrate: 500_000,
        ..CAMERA
    };
    let (all, _) = run("0.5 on 2", narrow, &[small], FANAL);
    assert_all_shown(&all);
    assert!(all.worst <= 300.0, "{all:?}");
}

#[test]
fn a_mobile_link_shows_what_it_can() {
    let mobile = Conditions {
        delay: Duration::from_millis(15),
        jitter: Duration::from_millis(30),
        loss: 0.005,
        rate: Some(4_000_000),
        rate_up_to: Some(12_000_000),
        ..FAR
    };
    let (all, _) = run("mobile", mobile, &[CAMERA; 2], FANAL);
    assert!(all.shown > 0.9, "{all:?}");
    assert!(all.p95 <= 500.0, "{all:?}");
}

#[test]
fn ours_beats_cubic_where_packets_get_lost() {
    let lossy = Conditions { loss: 0.01, ..FAR };
    let cubic = Strategy {
        congestion: Congestion::Cubic,
        ..NO_PARITY
    };
    let (ours, _) = run("1 %, ours", lossy, &[CAMERA; 4], NO_PARITY);
    let (theirs, _) = run("1 %, cubic", lossy, &[CAMERA; 4], cubic);
    assert!(ours.p95 * 2.0 < theirs.p95, "{ours:?} {theirs:?}");
}

/// All control messages came, and none took longer than this.
fn assert_control_comes(site: &Site, within: Duration) {
    let delays = site.control_delays();
    let said = (END - SETTLED).as_millis() / 200;
    let middle = delays[delays.len() / 2].as_millis();
    let slowest = *delays.last().unwrap();
    println!("control: {middle} ms, {} ms at most", slowest.as_millis());
    assert!(
        delays.len() as u128 >= said - 5,
        "{} of {said}",
        delays.len()
    );
    assert!(slowest < within, "{slowest:?}");
}

#[test]
fn a_full_link_still_says_why_it_closes() {
    let narrow = Conditions {
        rate: Some(2_000_000),
        ..FAR
    };
    for congestion in [Congestion::Fanal, Congestion::Cubic] {
        let strategy = Strategy {
            congestion,
            ..NO_PARITY
        };
        let mut world = World::new([narrow, FAR], 1, strategy);
        let mut to = Duration::ZERO;
        let id = loop {
            world.advance(to);
            if let Some(id) = world.open(0) {
                break id;
            }
            to = world.next().unwrap();
        };
        let mut bytes = Bytes::from(vec![0; 4 << 20]);
        // As much as may be is under way, and more waits.
        let full = world.now + Duration::from_millis(500);
        while world.now < full {
            world.write(id, &mut bytes);
            world.drive();
            let next = world.next().unwrap();
            world.advance(next);
        }
        assert!(!bytes.is_empty(), "more waits");
        world.close(7);
        let code = loop {
            if let Some(code) = world.told() {
                break code;
            }
            let next = world.next().expect("something comes");
            world.advance(next);
        };
        assert_eq!(code, 7);
        assert!(world.now < Duration::from_secs(4), "{:?}", world.now);
    }
}
