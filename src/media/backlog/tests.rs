use std::time::Duration;

use super::*;
use crate::media::queue::tests::{group, key, unit};
use crate::media::unit::{Configuration, UnitFlags};

const GRACE: Duration = Duration::from_millis(150);

fn at(ms: u64) -> Boot {
    Boot(Duration::from_millis(ms))
}

/// A backlog whose group `number` has begun with a key frame of 10 bytes.
fn begun(number: u64, ms: u64) -> Backlog<u64> {
    let mut backlog = Backlog::new();
    backlog.start(group(number), at(ms), |_| {});
    assert!(backlog.push(key(10, 0), at(ms)));
    backlog
}

/// Opens the entry's stream and writes all that waits.
fn send_all(backlog: &mut Backlog<u64>, index: usize) {
    let number = backlog.entry(index).unwrap().group.number;
    let entry = backlog.entry(index).unwrap();
    entry.writer.get_or_insert(number);
    while backlog.take_unit(index).is_some() {
        backlog.entry(index).unwrap().written();
    }
}

#[test]
fn a_group_is_opened_written_and_finished() {
    let mut backlog = begun(1, 0);
    assert_eq!(backlog.nth(0), Some(Step::Open(0)));
    backlog.entry(0).unwrap().writer = Some(1);
    assert_eq!(backlog.nth(0), Some(Step::Write(0)));
    assert_eq!(backlog.take_unit(0).unwrap().data.len(), 10);
    // Half written is still to be written.
    assert_eq!(backlog.nth(0), Some(Step::Write(0)));
    backlog.entry(0).unwrap().written();
    assert_eq!(backlog.nth(0), None);
    backlog.start(group(2), at(2_000), |_| {});
    assert_eq!(backlog.nth(0), Some(Step::Finish(0)));
    assert_eq!(backlog.remove(0).unwrap().writer, Some(1));
    assert_eq!(backlog.bytes(), 0);
}

#[test]
fn the_newest_group_goes_first_and_the_tail_has_its_grace() {
    let mut backlog = begun(1, 0);
    send_all(&mut backlog, 0);
    backlog.push(unit(20, 40), at(40));
    let lowered = std::cell::Cell::new(0);
    backlog.start(group(2), at(80), |_| lowered.set(lowered.get() + 1));
    backlog.push(key(10, 80), at(80));
    assert_eq!(lowered.get(), 1);
    assert_eq!(backlog.nth(0), Some(Step::Open(1)));
    assert_eq!(backlog.nth(1), Some(Step::Write(0)));
    assert_eq!(backlog.deadline(GRACE), Some(at(230)));
    let expired = backlog.expire(at(229), GRACE);
    assert!(expired.reset.is_empty());
    let expired = backlog.expire(at(230), GRACE);
    assert_eq!(expired.reset, [1]);
    assert!(!expired.late);
    assert_eq!(backlog.bytes(), 10);
    assert_eq!(backlog.nth(0), Some(Step::Open(0)));
}

#[test]
fn a_group_of_which_nothing_went_is_replaced() {
    let mut backlog = begun(1, 0);
    backlog.start(group(2), at(40), |_| {});
    backlog.push(key(30, 40), at(40));
    assert_eq!(backlog.bytes(), 30);
    assert_eq!(backlog.entry(0).unwrap().group.number, 2);
    assert!(backlog.entry(1).is_none());
    assert_eq!(backlog.expire(at(41), GRACE).unsent, 1);
}

#[test]
fn disposable_pictures_go_at_300_ms_and_the_rest_at_900() {
    let mut backlog = begun(1, 0);
    send_all(&mut backlog, 0);
    backlog.push(unit(5, 100), at(100));
    let mut disposable = AccessUnit::clone(&unit(7, 110));
    disposable.flags = UnitFlags {
        disposable: true,
        ..UnitFlags::default()
    };
    backlog.push(Arc::new(disposable), at(110));
    assert_eq!(backlog.deadline(GRACE), Some(at(410)));
    let expired = backlog.expire(at(410), GRACE);
    assert_eq!((expired.dropped, expired.late), (1, false));
    assert_eq!(backlog.bytes(), 5);
    assert_eq!(backlog.deadline(GRACE), Some(at(1_000)));
    let expired = backlog.expire(at(1_000), GRACE);
    assert_eq!((expired.dropped, expired.late), (1, true));
    assert!(expired.reset.is_empty(), "what was sent stays good");
    assert!(!backlog.push(unit(5, 1_010), at(1_010)));
    assert_eq!(backlog.nth(0), Some(Step::Finish(0)));
    assert_eq!(backlog.deadline(GRACE), None);
    assert_eq!(backlog.remove(0).unwrap().writer, Some(1));
    // The next key frame takes over, and says that something is missing before it.
    backlog.start(group(2), at(1_100), |_| {});
    backlog.push(key(10, 1_100), at(1_100));
    assert!(backlog.entry(0).unwrap().take_gap());
    send_all(&mut backlog, 0);
    backlog.start(group(3), at(2_000), |_| {});
    backlog.push(key(10, 2_000), at(2_000));
    assert!(!backlog.entry(1).unwrap().take_gap());
    // One of which nothing was sent is missing before the next.
    backlog.start(group(4), at(3_000), |_| {});
    backlog.push(key(10, 3_000), at(3_000));
    assert!(backlog.entry(1).unwrap().take_gap());
}

#[test]
fn a_relay_that_gives_way_sends_what_waits_and_takes_no_more_of_the_group() {
    let mut backlog = begun(1, 0);
    backlog.push(unit(5, 40), at(40));
    let standing = backlog.standing();
    assert!(standing.can_give_way);
    assert_eq!((standing.since, standing.bytes), (Some(at(0)), 15));
    assert_eq!(standing.key_bytes, 10);
    backlog.give_way();
    assert!(!backlog.push(unit(5, 80), at(80)));
    assert!(!backlog.standing().can_give_way);
    backlog.entry(0).unwrap().writer = Some(1);
    backlog.take_unit(0);
    backlog.entry(0).unwrap().wrote(4);
    assert_eq!(backlog.standing().bytes, 11);
    backlog.entry(0).unwrap().written();
    send_all(&mut backlog, 0);
    assert_eq!(backlog.nth(0), Some(Step::Finish(0)));
    assert_eq!(backlog.standing().since, None);
    backlog.start(group(2), at(2_000), |_| {});
    backlog.push(key(10, 2_000), at(2_000));
    assert_eq!(backlog.standing().next_key, Some(at(4_000)));
    assert!(backlog.entry(1).unwrap().take_gap());
}

#[test]
fn a_key_frame_on_its_way_is_let_through() {
    let mut backlog = begun(1, 0);
    backlog.entry(0).unwrap().writer = Some(1);
    backlog.take_unit(0);
    backlog.start(group(2), at(2_000), |_| {});
    backlog.push(key(10, 2_000), at(2_000));
    assert_eq!(backlog.nth(0), Some(Step::Write(0)));
    assert_eq!(backlog.nth(1), None, "the newer one waits for it");
    assert!(backlog.expire(at(2_999), GRACE).reset.is_empty());
    assert_eq!(backlog.expire(at(3_000), GRACE).reset, [1]);
    assert_eq!(backlog.nth(0), Some(Step::Open(0)));
}

#[test]
fn a_key_frame_that_never_gets_through_is_given_up() {
    let mut backlog = begun(1, 0);
    backlog.entry(0).unwrap().writer = Some(1);
    backlog.take_unit(0);
    let expired = backlog.expire(at(3_000), GRACE);
    assert_eq!(expired.reset, [1]);
    assert!(expired.late);
    assert_eq!(backlog.nth(0), None);
    assert_eq!(backlog.deadline(GRACE), None);
}

#[test]
fn of_waiting_jpegs_only_the_newest_stays() {
    let jpeg = |number| {
        let mut group = Group::clone(&group(number));
        group.configuration = Arc::new(Configuration {
            codec: Codec::Jpeg,
            ..Configuration::clone(&group.configuration)
        });
        Arc::new(group)
    };
    let mut backlog = Backlog::new();
    for number in 1..=4 {
        backlog.start(jpeg(number), at(number * 40), |_| {});
        backlog.push(key(10, 0), at(number * 40));
        if number == 1 {
            backlog.entry(0).unwrap().writer = Some(1);
            backlog.take_unit(0);
        }
    }
    assert_eq!(backlog.nth(0), Some(Step::Write(0)));
    assert_eq!(backlog.bytes(), 10);
    backlog.entry(0).unwrap().written();
    assert_eq!(backlog.nth(0), Some(Step::Open(1)));
    assert_eq!(backlog.nth(1), Some(Step::Finish(0)));
    assert_eq!(backlog.entry(1).unwrap().group.number, 4);
}

#[test]
fn bytes_are_bounded() {
    let mut backlog = begun(1, 0);
    send_all(&mut backlog, 0);
    for n in 0..20 {
        backlog.push(unit(BACKLOG_BYTES / 8, n), at(1));
        backlog.expire(at(1), GRACE);
        assert!(backlog.bytes() <= BACKLOG_BYTES);
    }
    assert_eq!(backlog.bytes(), 0);
}

#[test]
fn a_stopped_stream_waits_for_the_next_group() {
    let mut backlog = begun(1, 0);
    send_all(&mut backlog, 0);
    backlog.push(unit(5, 1), at(1));
    assert_eq!(backlog.refuse(0), Some(1));
    assert!(!backlog.push(unit(5, 2), at(2)));
    assert_eq!((backlog.nth(0), backlog.bytes()), (None, 0));
    backlog.start(group(2), at(3), |_| {});
    backlog.push(key(10, 3), at(3));
    assert_eq!(backlog.nth(0), Some(Step::Open(0)));
}

#[test]
fn a_link_that_is_away_costs_the_newest_group_nothing() {
    let mut backlog = begun(1, 0);
    send_all(&mut backlog, 0);
    backlog.push(unit(20, 40), at(40));
    backlog.set_away(true, at(100));
    assert_eq!(backlog.deadline(GRACE), None);
    assert_eq!(backlog.expire(at(4_000), GRACE).dropped, 0);
    // A key frame on its way does not keep the newest one waiting.
    backlog.start(group(2), at(5_000), |_| {});
    backlog.push(key(30, 5_000), at(5_000));
    backlog.entry(1).unwrap().writer = Some(2);
    backlog.take_unit(1);
    backlog.start(group(3), at(7_000), |_| {});
    backlog.push(key(40, 7_000), at(7_000));
    backlog.push(unit(20, 7_040), at(7_040));
    let expired = backlog.expire(at(7_150), GRACE);
    assert_eq!(expired.reset, [1, 2]);
    assert!(!expired.late);
    assert_eq!(backlog.bytes(), 60);
    assert_eq!(backlog.nth(0), Some(Step::Open(0)));
    // Time counts from the link's return.
    backlog.set_away(false, at(20_000));
    assert_eq!(backlog.deadline(GRACE), Some(at(20_000).plus(KEY_PATIENCE)));
    assert_eq!(backlog.expire(at(22_000), GRACE).dropped, 0);
    send_all(&mut backlog, 0);
    backlog.push(unit(20, 22_000), at(22_000));
    assert_eq!(backlog.deadline(GRACE), Some(at(22_000).plus(JUMP_AFTER)));
}
