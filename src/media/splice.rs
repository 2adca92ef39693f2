//! Joins a camera's streams to one: a relay that moves from the main to the
//! sub-stream, or back, goes on with rising group numbers, epochs and times.
//! Pure.

use std::sync::Arc;

use super::timeline::TICKS_PER_SECOND;
use super::unit::{AccessUnit, Frame, Group};

/// Pictures of the new stream that stand before the newest of the old one are
/// pressed into this time after it: 100 ms.
const PRESSED: i64 = TICKS_PER_SECOND / 10;

/// Numbers that a camera never uses twice.
pub trait Numbers {
    /// The number of a new group.
    fn next_group(&self) -> u64;
    /// The number of a new epoch.
    fn next_epoch(&self) -> u32;
}

/// What of two streams went out as one.
#[derive(Debug, Default)]
pub struct Splice {
    /// The newest group's number and epoch.
    last: Option<(u64, u32)>,
    /// The latest time given out.
    latest: Option<i64>,
    /// The next group is another stream's.
    changes: bool,
    bend: Option<Bend>,
}

/// The new stream begins before the old one's end.
#[derive(Clone, Copy, Debug)]
struct Bend {
    /// Time of the new stream's first picture; `None`: it has not come.
    first: Option<i64>,
    /// The old one's latest time.
    floor: i64,
}

impl Bend {
    /// Rising with `pts`; from [`PRESSED`] after the floor on nothing changes.
    fn place(self, pts: i64) -> i64 {
        let (floor, end) = (self.floor, self.floor + PRESSED);
        let first = self.first.unwrap_or(pts);
        if pts >= end || first > floor {
            return pts;
        }
        let share = i128::from(pts - first) * i128::from(PRESSED - 1) / i128::from(end - first);
        floor + 1 + i64::try_from(share).unwrap_or(0)
    }
}

impl Splice {
    /// The next group is another stream's.
    pub fn change(&mut self) {
        self.changes = self.last.is_some();
    }

    /// A frame as it goes out.
    pub fn take(&mut self, frame: &Frame, numbers: &impl Numbers) -> Frame {
        match frame {
            Frame::Group(group) => Frame::Group(self.group(group, numbers)),
            Frame::Unit(unit) => Frame::Unit(self.unit(unit)),
        }
    }

    fn group(&mut self, group: &Arc<Group>, numbers: &impl Numbers) -> Arc<Group> {
        let changes = std::mem::take(&mut self.changes);
        if changes {
            self.bend = self.latest.map(|floor| Bend { first: None, floor });
        }
        let (number, epoch) = match self.last {
            None => (group.number, group.epoch),
            Some((last, epoch)) => (
                // A kept group may be older than the newest of the other stream.
                if group.number > last {
                    group.number
                } else {
                    numbers.next_group()
                },
                match (changes, group.first_of_epoch) {
                    (true, _) => numbers.next_epoch(),
                    (false, true) => group.epoch,
                    (false, false) => epoch,
                },
            ),
        };
        self.last = Some((number, epoch));
        let first_of_epoch = group.first_of_epoch || changes;
        if (number, epoch, first_of_epoch) == (group.number, group.epoch, group.first_of_epoch) {
            return Arc::clone(group);
        }
        Arc::new(Group {
            number,
            epoch,
            first_of_epoch,
            ..Group::clone(group)
        })
    }

    fn unit(&mut self, unit: &Arc<AccessUnit>) -> Arc<AccessUnit> {
        let mut pts = unit.pts;
        if let Some(bend) = &mut self.bend {
            bend.first.get_or_insert(pts);
            pts = bend.place(pts);
            if unit.flags.key && pts == unit.pts {
                // What comes now is behind it: nothing is pressed any more.
                self.bend = None;
            }
        }
        self.latest = Some(self.latest.map_or(pts, |latest| latest.max(pts)));
        if pts == unit.pts {
            return Arc::clone(unit);
        }
        Arc::new(AccessUnit {
            pts,
            ..AccessUnit::clone(unit)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::super::queue::tests::{group, unit};
    use super::*;

    struct Counted(Cell<u64>);

    impl Numbers for Counted {
        fn next_group(&self) -> u64 {
            self.0.set(self.0.get() + 1);
            self.0.get()
        }
        fn next_epoch(&self) -> u32 {
            9
        }
    }

    fn at(pts: i64, key: bool) -> Frame {
        let mut unit = AccessUnit::clone(&unit(10, 0));
        unit.pts = pts;
        unit.flags.key = key;
        Frame::Unit(Arc::new(unit))
    }

    fn pts(frame: &Frame) -> i64 {
        match frame {
            Frame::Unit(unit) => unit.pts,
            Frame::Group(_) => panic!("a group"),
        }
    }

    #[test]
    fn one_stream_passes_as_it_is() {
        let mut splice = Splice::default();
        let numbers = Counted(Cell::new(100));
        for frame in [
            Frame::Group(group(5)),
            at(50, true),
            at(90, false),
            at(70, false),
            Frame::Group(group(6)),
            at(10, true),
        ] {
            match (splice.take(&frame, &numbers), frame) {
                (Frame::Group(out), Frame::Group(into)) => assert!(Arc::ptr_eq(&out, &into)),
                (Frame::Unit(out), Frame::Unit(into)) => assert!(Arc::ptr_eq(&out, &into)),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn a_kept_group_of_the_other_stream_gets_a_new_number_and_later_times() {
        let mut splice = Splice::default();
        let numbers = Counted(Cell::new(100));
        splice.take(&Frame::Group(group(5)), &numbers);
        splice.take(&at(200_000, true), &numbers);
        splice.change();
        let Frame::Group(first) = splice.take(&Frame::Group(group(4)), &numbers) else {
            panic!("no group");
        };
        assert_eq!(
            (first.number, first.epoch, first.first_of_epoch),
            (101, 9, true)
        );
        let mut before = 200_000;
        for n in 0..80 {
            let time = 50_000 + n * 3_600;
            let out = pts(&splice.take(&at(time, n == 0), &numbers));
            assert!(out > before, "{out} after {before}");
            assert!(out == time || out < 200_000 + PRESSED);
            before = out;
        }
        assert_eq!(before, 50_000 + 79 * 3_600);
        let Frame::Group(next) = splice.take(&Frame::Group(group(102)), &numbers) else {
            panic!("no group");
        };
        assert_eq!(
            (next.number, next.epoch, next.first_of_epoch),
            (102, 9, false)
        );
    }

    #[test]
    fn streams_that_do_not_overlap_keep_their_times() {
        let mut splice = Splice::default();
        let numbers = Counted(Cell::new(100));
        splice.take(&Frame::Group(group(5)), &numbers);
        splice.take(&at(200_000, true), &numbers);
        splice.change();
        splice.take(&Frame::Group(group(6)), &numbers);
        assert_eq!(pts(&splice.take(&at(200_100, true), &numbers)), 200_100);
        assert_eq!(pts(&splice.take(&at(200_050, false), &numbers)), 200_050);
    }
}
