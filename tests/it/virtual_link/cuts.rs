//! The link is cut, and comes back: pictures and messages are back within a second of the
//! path, however long the cut was.

use std::time::Duration;

use crate::support::path::Conditions;
use fanal::config::settings::Congestion;

use super::relays::{Site, Source};
use super::world::{Strategy, World};
use super::{CAMERA, FANAL, FAR};

/// The aim.
const BACK_WITHIN: Duration = Duration::from_secs(1);
/// When the link is cut: all is settled.
const CUT_AT: Duration = Duration::from_millis(7_300);
const CUTS: [u64; 6] = [1, 2, 5, 11, 30, 60];
const BOTH: [Congestion; 2] = [Congestion::Fanal, Congestion::Cubic];

/// Which directions of the path are cut.
#[derive(Clone, Copy, Debug)]
enum Ways {
    Both,
    Up,
    Down,
}

/// Cuts the link for so many seconds; gives how long after the path every camera was live
/// again, and when the last of both ends' messages came that was said in the cut.
fn cut(
    name: &str,
    up: Conditions,
    sources: &[Source],
    (congestion, ways): (Congestion, Ways),
    seconds: u64,
) -> Duration {
    let strategy = Strategy {
        congestion,
        ..FANAL
    };
    let down = Conditions { rate: None, ..up };
    let mut site = Site::new(World::new([up, down], 1, strategy), sources, 1);
    site.run(CUT_AT);
    let cut = |conditions| Conditions {
        cut: true,
        ..conditions
    };
    if !matches!(ways, Ways::Down) {
        site.world.paths[0].set(cut(up));
    }
    if !matches!(ways, Ways::Up) {
        site.world.paths[1].set(cut(down));
    }
    let back = CUT_AT + Duration::from_secs(seconds);
    site.run(back);
    site.world.paths[0].set(up);
    site.world.paths[1].set(down);
    site.whole_since = Some(back);
    // What the ends say at the end of the cut must come as soon as the pictures.
    site.run(back + BACK_WITHIN);
    let heard = site.last_heard();
    site.run(back + 5 * BACK_WITHIN);
    let never = Duration::MAX;
    let live = site
        .seen
        .iter()
        .map(|seen| seen.live.unwrap_or(never))
        .max();
    let again = site
        .seen
        .iter()
        .map(|seen| seen.again.unwrap_or(never))
        .max();
    println!(
        "{name}, {congestion:?}, {ways:?} cut for {seconds} s: a picture after {} ms, live after {} ms",
        again.unwrap().as_millis(),
        live.unwrap().as_millis(),
    );
    for heard in heard {
        assert!(heard > back, "{heard:?} {back:?}");
    }
    live.unwrap()
}

fn assert_back(name: &str, up: Conditions, sources: &[Source]) {
    for congestion in BOTH {
        for seconds in CUTS {
            let live = cut(name, up, sources, (congestion, Ways::Both), seconds);
            assert!(live <= BACK_WITHIN, "{congestion:?} {seconds} s: {live:?}");
        }
    }
}

#[test]
fn pictures_are_back_within_a_second_of_the_path() {
    assert_back("1 of 2", FAR, &[CAMERA]);
}

#[test]
fn several_cameras_are_back_on_a_narrow_path_too() {
    let narrow = Conditions {
        rate: Some(25_000_000),
        ..FAR
    };
    assert_back("4 of 2 on 25", narrow, &[CAMERA; 4]);
}

#[test]
fn long_groups_need_no_new_key_frame() {
    let long = Source { gop: 250, ..CAMERA };
    let wide = Conditions {
        rate: Some(50_000_000),
        ..FAR
    };
    assert_back("10 s groups on 50", wide, &[long]);
}

#[test]
fn one_direction_alone_may_be_cut() {
    for ways in [Ways::Up, Ways::Down] {
        for congestion in BOTH {
            let live = cut("one way", FAR, &[CAMERA], (congestion, ways), 11);
            assert!(live <= BACK_WITHIN, "{congestion:?} {ways:?}: {live:?}");
        }
    }
}
