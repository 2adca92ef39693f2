//! One viewer's queue of pictures: bounded in bytes and in time. A viewer that
//! does not keep up jumps to the newest key frame and harms nobody else.

use std::collections::VecDeque;
use std::time::Duration;

use super::unit::AccessUnit;
use crate::clock::Boot;

/// Bytes that may wait for one viewer, [`OVERHEAD`] included.
pub const VIEWER_BYTES: usize = 8 * 1024 * 1024;
/// Pictures that may wait for one viewer.
pub const VIEWER_PICTURES: usize = 4_096;
/// How long ago the oldest waiting picture may have come when there is a newer key frame
/// to jump to.
pub const VIEWER_SPAN: Duration = Duration::from_millis(1_500);
/// Bytes that a picture in memory takes besides its data, at most.
pub const OVERHEAD: usize = 256;

/// What a viewer gets next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next<T> {
    /// A picture.
    Picture(T),
    /// Pictures were left out; a key frame follows.
    Skipped,
}

/// What became of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// It waits for the viewer.
    Queued,
    /// It is of no use to this viewer: no key frame before it, or a leading
    /// picture whose references are missing.
    Useless,
    /// The viewer was slow: older pictures, perhaps this one too, were left out.
    Skipped,
}

/// How a picture is in its stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// A leading picture that needs the group before (H.265 RASL).
    pub skipped_leading: bool,
}

/// What is known here of a picture, whatever its sender says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// When it came.
    pub at: Boot,
    /// Bytes that it takes in memory, besides [`OVERHEAD`].
    pub bytes: usize,
}

#[derive(Debug)]
struct Waiting<T> {
    picture: T,
    bytes: usize,
    key: bool,
    came: Boot,
}

/// A queue of pictures for one viewer. `T` is what is delivered for each.
#[derive(Debug)]
pub struct Queue<T> {
    waiting: VecDeque<Waiting<T>>,
    bytes: usize,
    /// Nothing is of use before the next key frame.
    wants_key: bool,
    /// Decoding starts at the last key frame: its skipped leading pictures are useless.
    starts_here: bool,
    /// The viewer has yet to be told that pictures were left out.
    skipped: bool,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Queue<T> {
    /// For a viewer that has nothing yet: a key frame comes first.
    pub const fn new() -> Self {
        Self {
            waiting: VecDeque::new(),
            bytes: 0,
            wants_key: true,
            starts_here: false,
            skipped: false,
        }
    }

    /// For a viewer that was given the kept group: what follows it is of use.
    pub fn after_kept() -> Self {
        Self {
            wants_key: false,
            starts_here: true,
            ..Self::new()
        }
    }

    /// Pictures are missing in the stream itself: nothing is of use before the
    /// next key frame.
    pub fn gap(&mut self) {
        self.wants_key = true;
    }

    /// The next picture of the stream. Its own time is not looked at: it is its sender's
    /// to choose.
    pub fn push(&mut self, unit: &AccessUnit, place: Place, picture: T, came: Arrival) -> Pushed {
        if unit.flags.key {
            self.starts_here = self.wants_key;
            self.wants_key = false;
        } else if self.wants_key || (self.starts_here && place.skipped_leading) {
            return Pushed::Useless;
        }
        let bytes = came.bytes + OVERHEAD;
        self.bytes += bytes;
        self.waiting.push_back(Waiting {
            picture,
            bytes,
            key: unit.flags.key,
            came: came.at,
        });
        if self.make_room(came.at) {
            Pushed::Skipped
        } else {
            Pushed::Queued
        }
    }

    /// Whether something had to be left out.
    fn make_room(&mut self, now: Boot) -> bool {
        let oldest = self.waiting.front().map_or(now, |first| first.came);
        let is_full = self.is_full();
        if !is_full && now.since(oldest) <= VIEWER_SPAN {
            return false;
        }
        let newest_key = self.waiting.iter().rposition(|waiting| waiting.key);
        match newest_key {
            Some(at) if at > 0 => self.drop_first(at),
            // Too old, but there is nothing newer to jump to.
            _ if !is_full => return false,
            _ => {}
        }
        if self.is_full() {
            self.drop_first(self.waiting.len());
            self.wants_key = true;
        }
        self.starts_here = true;
        self.skipped = true;
        true
    }

    fn is_full(&self) -> bool {
        self.bytes > VIEWER_BYTES || self.waiting.len() > VIEWER_PICTURES
    }

    fn drop_first(&mut self, count: usize) {
        for waiting in self.waiting.drain(..count) {
            self.bytes -= waiting.bytes;
        }
    }

    /// What the viewer gets next.
    pub fn pop(&mut self) -> Option<Next<T>> {
        if self.skipped && !self.waiting.is_empty() {
            self.skipped = false;
            return Some(Next::Skipped);
        }
        let waiting = self.waiting.pop_front()?;
        self.bytes -= waiting.bytes;
        Some(Next::Picture(waiting.picture))
    }

    /// Bytes of pictures that wait, [`OVERHEAD`] included.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::media::relay::Profile;
    use crate::media::unit::{Codec, Configuration, Group, UnitFlags};

    /// A group of no picture yet.
    pub(in crate::media) fn group(number: u64) -> Arc<Group> {
        Arc::new(Group {
            number,
            epoch: 1,
            first_of_epoch: false,
            open: false,
            kept: false,
            profile: Profile::Main,
            configuration: Arc::new(Configuration {
                codec: Codec::H264,
                record: Bytes::new(),
                width: 0,
                height: 0,
            }),
        })
    }

    /// A picture of so many bytes that came at that time (µs).
    pub(in crate::media) fn unit(bytes: usize, captured: i64) -> Arc<AccessUnit> {
        Arc::new(AccessUnit {
            flags: UnitFlags::default(),
            pts: captured * 9 / 100,
            captured,
            data: Bytes::from(vec![0; bytes]),
        })
    }

    /// A key frame.
    pub(in crate::media) fn key(bytes: usize, captured: i64) -> Arc<AccessUnit> {
        let mut key = AccessUnit::clone(&unit(bytes, captured));
        key.flags.key = true;
        Arc::new(key)
    }

    const TRAILING: Place = Place {
        skipped_leading: false,
    };
    const LEADING: Place = Place {
        skipped_leading: true,
    };

    /// So many bytes, µs after the test began.
    fn at(bytes: usize, microseconds: i64) -> Arrival {
        let at = Boot(Duration::from_micros(microseconds.unsigned_abs()));
        Arrival { at, bytes }
    }

    fn drain(queue: &mut Queue<i64>) -> Vec<Next<i64>> {
        std::iter::from_fn(|| queue.pop()).collect()
    }

    #[test]
    fn a_viewer_begins_at_a_key_frame() {
        let mut queue = Queue::new();
        assert_eq!(
            queue.push(&unit(1, 0), TRAILING, 0, at(1, 0)),
            Pushed::Useless
        );
        assert_eq!(
            queue.push(&key(1, 0), TRAILING, 1, at(1, 1)),
            Pushed::Queued
        );
        assert_eq!(
            queue.push(&unit(1, 0), TRAILING, 2, at(1, 2)),
            Pushed::Queued
        );
        assert_eq!(drain(&mut queue), [Next::Picture(1), Next::Picture(2)]);
    }

    #[test]
    fn leading_pictures_are_dropped_where_decoding_starts() {
        let mut queue = Queue::new();
        queue.push(&key(1, 0), TRAILING, 0, at(1, 0));
        assert_eq!(
            queue.push(&unit(1, 0), LEADING, 1, at(1, 1)),
            Pushed::Useless
        );
        queue.push(&unit(1, 0), TRAILING, 2, at(1, 2));
        queue.push(&key(1, 0), TRAILING, 3, at(1, 3));
        assert_eq!(
            queue.push(&unit(1, 0), LEADING, 4, at(1, 4)),
            Pushed::Queued
        );
        queue.gap();
        assert_eq!(
            queue.push(&unit(1, 0), TRAILING, 5, at(1, 5)),
            Pushed::Useless
        );
        queue.push(&key(1, 0), TRAILING, 6, at(1, 6));
        assert_eq!(
            queue.push(&unit(1, 0), LEADING, 7, at(1, 7)),
            Pushed::Useless
        );
        let mut queue = Queue::after_kept();
        assert_eq!(
            queue.push(&unit(1, 0), LEADING, 1, at(1, 1)),
            Pushed::Useless
        );
        assert_eq!(
            queue.push(&unit(1, 0), TRAILING, 2, at(1, 2)),
            Pushed::Queued
        );
    }

    #[test]
    fn a_slow_viewer_jumps_to_the_newest_key_frame_in_the_queue() {
        let mut queue = Queue::new();
        queue.push(&key(1, 0), TRAILING, 0, at(1, 0));
        queue.push(&unit(1, 0), TRAILING, 1, at(1, 500_000));
        queue.push(&key(1, 0), TRAILING, 2, at(1, 1_000_000));
        assert_eq!(
            queue.push(&unit(1, 0), TRAILING, 3, at(1, 1_600_000)),
            Pushed::Skipped
        );
        assert_eq!(
            drain(&mut queue),
            [Next::Skipped, Next::Picture(2), Next::Picture(3)]
        );
    }

    #[test]
    fn within_a_long_group_only_bytes_count() {
        let mut queue = Queue::new();
        queue.push(&key(1, 0), TRAILING, 0, at(1, 0));
        assert_eq!(
            queue.push(&unit(1, 0), TRAILING, 1, at(1, 9_000_000)),
            Pushed::Queued
        );
        assert_eq!(
            queue.push(
                &unit(VIEWER_BYTES, 0),
                TRAILING,
                2,
                at(VIEWER_BYTES, 9_000_001)
            ),
            Pushed::Skipped
        );
        assert_eq!(queue.bytes(), 0);
        assert_eq!(
            queue.push(&unit(1, 0), TRAILING, 3, at(1, 9_000_002)),
            Pushed::Useless
        );
        assert_eq!(drain(&mut queue), []);
        queue.push(&key(1, 0), TRAILING, 4, at(1, 9_000_003));
        assert_eq!(drain(&mut queue), [Next::Skipped, Next::Picture(4)]);
    }

    /// The sender chooses how large its pictures are and when they were taken.
    #[test]
    fn pictures_of_a_byte_from_any_time_are_bounded_in_number_and_by_their_arrival() {
        for captured in [0, -1_000_000_000_000_000, 1_000_000_000_000_000] {
            let mut queue = Queue::new();
            queue.push(&key(1, captured), TRAILING, 0, at(1, 0));
            for n in 0..100_000_i64 {
                queue.push(&unit(1, captured), TRAILING, n, at(1, 0));
                assert!(queue.waiting.len() <= VIEWER_PICTURES);
            }
            let mut queue = Queue::new();
            queue.push(&key(1, captured), TRAILING, 0, at(1, 0));
            queue.push(&key(1, captured), TRAILING, 1, at(1, 1_000_000));
            let pushed = queue.push(&unit(1, captured), TRAILING, 2, at(1, 1_600_000));
            assert_eq!(pushed, Pushed::Skipped);
        }
    }

    proptest! {
        #[test]
        fn bytes_stay_bounded_and_a_skip_is_followed_by_a_key_frame(
            steps in proptest::collection::vec((0..4_u8, 1..VIEWER_BYTES / 3), 1..200)
        ) {
            let mut queue = Queue::new();
            let mut keys = std::collections::BTreeSet::new();
            let mut after_skip = true;
            for (n, (step, bytes)) in steps.into_iter().enumerate() {
                let n = i64::try_from(n).unwrap();
                if step == 0 {
                    match queue.pop() {
                        Some(Next::Skipped) => after_skip = true,
                        Some(Next::Picture(picture)) => {
                            prop_assert!(!after_skip || keys.contains(&picture));
                            after_skip = false;
                        }
                        None => {}
                    }
                } else {
                    let unit = if step == 1 { key(bytes, n) } else { unit(bytes, n) };
                    if step == 1 { keys.insert(n); }
                    queue.push(&unit, TRAILING, n, at(bytes, n));
                }
                prop_assert!(queue.bytes() <= VIEWER_BYTES);
                prop_assert!(queue.waiting.len() <= VIEWER_PICTURES);
            }
        }
    }
}
