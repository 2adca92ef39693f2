use proptest::prelude::*;

use super::*;
use crate::format::ids::{CentreId, Sha256};

fn key(number: u32) -> Key {
    (receiver("corg-13"), RelayId(number))
}

fn receiver(centre: &str) -> ReceiverId {
    ReceiverId {
        centre: CentreId::new(centre).unwrap(),
        key: Sha256::ZERO,
    }
}

fn at(seconds: u64) -> Boot {
    Boot(Duration::from_secs(seconds))
}

const MBIT: u64 = 1_000_000;

/// `count` relays of 2 Mbit/s with sub-streams of 500 kbit/s, not placed yet.
fn uplink(limit: Option<u64>, count: u32) -> Uplink {
    let mut uplink = Uplink::new(limit);
    for number in 0..count {
        uplink.handle_start(key(number), ProfileWish::Auto, true, at(0));
        let rates = Rates {
            main: 2 * MBIT,
            sub: MBIT / 2,
        };
        uplink.handle_rates(&key(number), rates);
    }
    uplink
}

fn placed(uplink: &Uplink, number: u32) -> (Profile, Cause) {
    uplink.relays[&key(number)].placed.unwrap()
}

fn mains(uplink: &Uplink) -> usize {
    let relays = uplink.relays.values();
    relays
        .filter(|held| held.profile() == Some(Profile::Main))
        .count()
}

#[test]
fn without_a_known_limit_everybody_has_the_full_picture() {
    let mut uplink = uplink(None, 16);
    assert_eq!(uplink.allot(at(0)).len(), 16);
    assert_eq!(mains(&uplink), 16);
    assert_eq!(placed(&uplink, 3), (Profile::Main, Cause::Room));
    assert!(uplink.allot(at(1)).is_empty(), "told once");
}

#[test]
fn everybody_has_the_smallest_before_the_oldest_have_more() {
    // 15.2 Mbit/s of pictures: 8 in sub-streams, and 4.92 more within the margin.
    let mut uplink = uplink(Some(16 * MBIT), 16);
    uplink.allot(at(0));
    assert_eq!(mains(&uplink), 3);
    for number in 0..3 {
        assert_eq!(placed(&uplink, number), (Profile::Main, Cause::Room));
    }
    assert_eq!(placed(&uplink, 3), (Profile::Sub, Cause::Uplink));
}

#[test]
fn the_focused_has_the_full_picture_and_its_page_the_small_ones() {
    let mut uplink = uplink(Some(5 * MBIT), 4);
    uplink.allot(at(0));
    assert_eq!(placed(&uplink, 3).0, Profile::Sub);
    uplink.handle_class(&key(3), Class::Focus);
    for number in 0..3 {
        uplink.handle_class(&key(number), Class::Mosaic);
    }
    uplink.allot(at(1));
    assert_eq!(placed(&uplink, 3), (Profile::Main, Cause::Focus), "at once");
    assert_eq!(placed(&uplink, 0), (Profile::Sub, Cause::Focus));
    // A focus at another centre takes nothing from this page's preference.
    let mut other = key(9);
    other.0 = receiver("corg-2a");
    uplink.handle_stop(&key(3));
    uplink.handle_start(other.clone(), ProfileWish::Auto, false, at(1));
    uplink.handle_class(&other, Class::Focus);
    uplink.allot(at(1));
    assert_eq!(placed(&uplink, 0).1, Cause::Uplink);
}

#[test]
fn a_camera_that_goes_to_two_centres_counts_twice() {
    let mut uplink = uplink(Some(3 * MBIT), 1);
    uplink.allot(at(0));
    assert_eq!(mains(&uplink), 1);
    let other = (receiver("corg-2a"), RelayId(0));
    uplink.handle_start(other.clone(), ProfileWish::Auto, true, at(0));
    let rates = uplink.relays[&key(0)].rates;
    uplink.handle_rates(&other, rates);
    uplink.allot(at(0));
    assert_eq!((mains(&uplink), uplink.demand()), (1, 2 * MBIT + MBIT / 2));
}

#[test]
fn what_is_asked_for_is_given_and_paid_by_others() {
    let mut uplink = uplink(Some(5 * MBIT), 3);
    uplink.handle_wish(&key(2), ProfileWish::Main);
    uplink.handle_wish(&key(0), ProfileWish::Sub);
    uplink.allot(at(0));
    assert_eq!(placed(&uplink, 2), (Profile::Main, Cause::Asked));
    assert_eq!(placed(&uplink, 0), (Profile::Sub, Cause::Asked));
    assert_eq!(placed(&uplink, 1), (Profile::Sub, Cause::Uplink));
    uplink.handle_streams(&key(0), false);
    uplink.allot(at(0));
    assert_eq!(placed(&uplink, 0), (Profile::Main, Cause::NoSubStream));
}

#[test]
fn down_at_once_and_up_after_a_rest() {
    let mut uplink = uplink(Some(100 * MBIT), 2);
    uplink.allot(at(0));
    assert_eq!(mains(&uplink), 2);
    uplink.handle_limit(Some(3 * MBIT));
    let moved = uplink.allot(at(1));
    assert_eq!(moved.len(), 1, "the youngest goes, that is enough");
    assert_eq!(
        (moved[0].key.1, moved[0].profile),
        (RelayId(1), Profile::Sub)
    );
    uplink.handle_limit(Some(100 * MBIT));
    assert!(uplink.allot(at(10)).is_empty());
    assert_eq!(uplink.allot(at(11)).len(), 1);
}

#[test]
fn lateness_finds_the_limit_that_nobody_knew() {
    let mut uplink = uplink(None, 16);
    uplink.allot(at(0));
    // 32 Mbit/s are wanted, and 12 go through.
    uplink.handle_late(12 * MBIT, at(5));
    uplink.allot(at(5));
    assert_eq!(uplink.capacity(), Some(12 * MBIT));
    assert_eq!(mains(&uplink), 2);
    assert!(uplink.demand() <= net(12 * MBIT));
    // What is late before the moves can show says nothing.
    uplink.handle_late(5 * MBIT, at(6));
    assert_eq!(uplink.capacity(), Some(12 * MBIT));
}

#[test]
fn a_link_that_carries_nothing_is_not_narrow() {
    let mut uplink = uplink(None, 4);
    uplink.allot(at(0));
    uplink.handle_late(20_000, at(5));
    assert!(uplink.allot(at(5)).is_empty());
}

#[test]
fn what_was_measured_is_tried_again_and_less_often_after_a_failure() {
    let mut uplink = uplink(None, 2);
    uplink.allot(at(0));
    uplink.handle_measured(2 * MBIT, at(5));
    uplink.allot(at(5));
    assert_eq!(mains(&uplink), 0);
    assert!(uplink.allot(at(64)).is_empty(), "too soon");
    uplink.allot(at(65));
    assert_eq!(placed(&uplink, 0).0, Profile::Main, "one is tried");
    assert_eq!(mains(&uplink), 1);
    uplink.handle_late(2 * MBIT, at(66));
    uplink.allot(at(66));
    assert_eq!((mains(&uplink), uplink.capacity()), (0, Some(2 * MBIT)));
    assert!(uplink.allot(at(185)).is_empty(), "twice as long");
    uplink.allot(at(186));
    assert_eq!(mains(&uplink), 1);
    // Nothing is late: it stays, and the next is tried.
    uplink.allot(at(206));
    assert_eq!(mains(&uplink), 2);
}

#[test]
fn what_is_tried_above_the_measured_stays_below_the_setting() {
    let mut uplink = uplink(Some(14 * MBIT), 0);
    for (number, has_sub) in [(0, true), (1, false), (2, true), (3, true)] {
        uplink.handle_start(key(number), ProfileWish::Auto, has_sub, at(0));
    }
    uplink.allot(at(0));
    uplink.handle_measured(9 * MBIT, at(0));
    uplink.allot(at(60));
    let rates = Rates {
        main: MBIT,
        sub: MBIT / 10,
    };
    uplink.handle_rates(&key(2), rates);
    uplink.allot(at(80));
    // One is tried again, beside another that had room until then.
    uplink.handle_start(key(4), ProfileWish::Auto, false, at(80));
    uplink.allot(at(80));
    assert!(uplink.demand() <= net(14 * MBIT), "{}", uplink.demand());
    assert_eq!(placed(&uplink, 0).0, Profile::Main);
}

#[test]
fn what_is_old_or_guessed_refuses_nobody_and_is_forgotten_when_it_holds_nobody_down() {
    let mut uplink = uplink(None, 2);
    uplink.allot(at(0));
    uplink.handle_late(3 * MBIT, at(1));
    uplink.allot(at(1));
    assert_eq!(uplink.capacity(), Some(3 * MBIT));
    assert_eq!(uplink.measured(at(1)), None, "a guess");
    uplink.handle_measured(5 * MBIT, at(10));
    assert_eq!(uplink.measured(at(10)), Some(5 * MBIT));
    uplink.allot(at(20));
    assert_eq!(mains(&uplink), 2);
    assert_eq!(uplink.measured(at(70)), None, "old");
    uplink.allot(at(70));
    assert_eq!(uplink.capacity(), None);
    uplink.handle_measured(5 * MBIT, at(71));
    assert_eq!(uplink.capacity(), None, "the same figure is no news");
}

#[test]
fn a_move_that_failed_is_not_tried_before_its_time() {
    let mut uplink = uplink(Some(MBIT), 1);
    uplink.allot(at(0));
    uplink.handle_limit(None);
    uplink.allot(at(20));
    assert_eq!(placed(&uplink, 0).0, Profile::Main);
    let until = Some(at(80));
    uplink.handle_barred(&key(0), Profile::Sub, Cause::NotAvailable, until);
    assert!(uplink.allot(at(79)).is_empty());
    assert_eq!(placed(&uplink, 0), (Profile::Sub, Cause::NotAvailable));
    assert_eq!(uplink.allot(at(80)).len(), 1);
    uplink.handle_barred(&key(0), Profile::Main, Cause::OtherCodec, None);
    uplink.handle_limit(Some(MBIT));
    assert!(uplink.allot(at(10_000)).is_empty());
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Start(u32, ProfileWish, bool),
    Stop(u32),
    Rates(u32, u64, u64),
    Class(u32, Class),
    Limit(u64),
    Measured(u64),
    Late(u64),
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let relay = 0..12_u32;
    let wish = prop_oneof![
        4 => Just(ProfileWish::Auto),
        1 => Just(ProfileWish::Main),
        1 => Just(ProfileWish::Sub)
    ];
    let class = prop_oneof![Just(Class::Rest), Just(Class::Mosaic), Just(Class::Focus)];
    let step = prop_oneof![
        3 => (relay.clone(), wish, any::<bool>()).prop_map(|(n, w, s)| Step::Start(n, w, s)),
        1 => relay.clone().prop_map(Step::Stop),
        2 => (relay.clone(), 1..9_u64, 1..9_u64)
            .prop_map(|(n, main, sub)| Step::Rates(n, main * MBIT, sub * 100_000)),
        2 => (relay, class).prop_map(|(n, c)| Step::Class(n, c)),
        1 => (1..60_u64).prop_map(|n| Step::Limit(n * MBIT)),
        1 => (1..60_u64).prop_map(|n| Step::Measured(n * MBIT)),
        1 => (0..60_u64).prop_map(|n| Step::Late(n * MBIT)),
        2 => (0..90_u64).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 1..60)
}

proptest! {
    #[test]
    fn the_budget_holds_and_ranks_are_kept(steps in steps()) {
        let mut uplink = Uplink::new(None);
        let mut now = 0;
        for step in steps {
            match step {
                Step::Start(n, wish, sub) if !uplink.relays.contains_key(&key(n)) => {
                    uplink.handle_start(key(n), wish, sub, at(now));
                }
                Step::Start(..) => {}
                Step::Stop(n) => uplink.handle_stop(&key(n)),
                Step::Rates(n, main, sub) => uplink.handle_rates(&key(n), Rates { main, sub }),
                Step::Class(n, class) => uplink.handle_class(&key(n), class),
                Step::Limit(bits) => uplink.handle_limit(Some(bits)),
                Step::Measured(bits) => uplink.handle_measured(bits, at(now)),
                Step::Late(sent) => uplink.handle_late(sent, at(now)),
                Step::Wait(seconds) => now += seconds,
            }
            uplink.allot(at(now));
            let least: u64 = uplink.relays.values().map(Held::least).sum();
            if let Some(budget) = uplink.capacity().map(net) {
                prop_assert!(uplink.demand() <= budget.max(least) + 200);
            }
            let focused = uplink.focused();
            for (key, held) in &uplink.relays {
                match held.wish {
                    ProfileWish::Main => prop_assert_eq!(held.profile(), Some(Profile::Main)),
                    ProfileWish::Sub if held.has_sub => {
                        prop_assert_eq!(held.profile(), Some(Profile::Sub));
                    }
                    _ => {}
                }
                let is_less = held.fixed().is_none()
                    && held.profile() == Some(Profile::Sub)
                    && !gives_way(key, held, &focused);
                let preferred = uplink.relays.values().find(|lower| {
                    (Reverse(lower.class), lower.order) > (Reverse(held.class), held.order)
                        && lower.fixed().is_none()
                        && lower.profile() == Some(Profile::Main)
                        && lower.rates.more() >= held.rates.more()
                });
                prop_assert!(!is_less || preferred.is_none(), "{held:?} below {preferred:?}");
            }
        }
    }

    #[test]
    fn noise_in_rates_makes_nothing_flap(
        noise in prop::collection::vec(prop::collection::vec(950..1050_u64, 8), 200),
        limit in 4..20_u64,
    ) {
        let mut uplink = uplink(Some(limit * MBIT), 8);
        let mut moves = 0;
        uplink.allot(at(0));
        for (second, noise) in noise.iter().enumerate() {
            for (number, part) in noise.iter().enumerate() {
                let rates = Rates { main: 2_000 * part, sub: 500 * part };
                uplink.handle_rates(&key(number as u32), rates);
            }
            moves += uplink.allot(at(second as u64)).len();
        }
        prop_assert!(moves <= 1, "{moves} moves");
    }
}
