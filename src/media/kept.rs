//! The kept group: the last group of pictures of a stream, so that who joins
//! late begins with a key frame at once. Bounded in bytes and in time.

use std::sync::Arc;

use super::queue::OVERHEAD;
use super::unit::{AccessUnit, Frame, Group};

/// Largest kept group in bytes; a larger one is dropped.
pub const KEPT_BYTES: usize = 16 * 1024 * 1024;
/// Longest kept group in µs from its first picture's arrival to its last's.
pub const KEPT_SPAN: i64 = 30_000_000;

/// The last group of pictures, from its key frame on.
///
/// A group that grows over its bounds is dropped whole, and nothing is kept
/// until the next one begins.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    group: Option<Arc<Group>>,
    units: Vec<Arc<AccessUnit>>,
    bytes: usize,
}

impl Kept {
    /// Nothing kept.
    pub const fn new() -> Self {
        Self {
            group: None,
            units: Vec::new(),
            bytes: 0,
        }
    }

    /// A new group begins; the one before is forgotten.
    pub fn start(&mut self, group: Arc<Group>) {
        self.clear();
        self.group = Some(group);
    }

    /// The next picture of the group.
    pub fn push(&mut self, unit: &Arc<AccessUnit>) {
        if self.group.is_none() {
            return;
        }
        self.bytes += unit.data.len() + OVERHEAD;
        let first = self.units.first().unwrap_or(unit);
        let span = unit.captured.saturating_sub(first.captured);
        if self.bytes > KEPT_BYTES || span > KEPT_SPAN {
            self.clear();
        } else {
            self.units.push(Arc::clone(unit));
        }
    }

    /// Takes a frame of the stream.
    pub fn take(&mut self, frame: &Frame) {
        match frame {
            Frame::Group(group) => self.start(Arc::clone(group)),
            Frame::Unit(unit) => self.push(unit),
        }
    }

    /// Forgets what is kept.
    pub fn clear(&mut self) {
        *self = Self::new();
    }

    /// The group and its pictures, if there is one with a picture in it.
    pub fn get(&self) -> Option<(&Arc<Group>, &[Arc<AccessUnit>])> {
        self.group
            .as_ref()
            .filter(|_| !self.units.is_empty())
            .map(|group| (group, self.units.as_slice()))
    }

    /// What a late joiner gets at once: the group, marked as kept, and its pictures.
    pub fn frames(&self) -> Vec<Frame> {
        let Some((group, units)) = self.get() else {
            return Vec::new();
        };
        let group = Frame::Group(Arc::new(Group {
            kept: true,
            ..Group::clone(group)
        }));
        std::iter::once(group)
            .chain(units.iter().cloned().map(Frame::Unit))
            .collect()
    }

    /// Bytes of memory it takes, nearly.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::super::queue::tests::{group, unit};
    use super::*;

    #[test]
    fn a_joiner_gets_the_group_marked_as_kept() {
        let mut kept = Kept::new();
        assert!(kept.frames().is_empty());
        kept.start(group(4));
        assert!(kept.frames().is_empty());
        kept.push(&unit(10, 0));
        kept.push(&unit(10, 40_000));
        let frames = kept.frames();
        assert_eq!(frames.len(), 3);
        assert!(matches!(&frames[0], Frame::Group(group) if group.kept && group.number == 4));
        kept.start(group(5));
        assert!(kept.get().is_none());
    }

    #[test]
    fn a_group_over_its_bounds_is_dropped_until_the_next() {
        for (bytes, step) in [(KEPT_BYTES / 4, 1), (10, KEPT_SPAN / 3)] {
            let mut kept = Kept::new();
            kept.start(group(1));
            for n in 0..4 {
                kept.push(&unit(bytes, n * step));
                assert!(kept.bytes() <= KEPT_BYTES);
            }
            kept.push(&unit(bytes, 5 * step));
            assert!(kept.get().is_none());
            assert_eq!(kept.bytes(), 0);
            kept.start(group(2));
            kept.push(&unit(10, 6 * step));
            assert!(kept.get().is_some());
        }
    }
}
