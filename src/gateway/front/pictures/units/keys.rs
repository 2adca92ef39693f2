//! Where decoding may start.

use std::time::{Duration, Instant};

use super::super::super::fix::{Fix, Fixes};
use crate::media::unit::Codec;

/// How long a camera may send pictures without any at which decoding can start before it is begun
/// at any of them.
const WITHOUT_KEY: Duration = Duration::from_secs(3);
/// From there on one is taken for a start so often.
const AGAIN: Duration = Duration::from_secs(2);

/// What of a picture tells whether decoding can start at it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    /// All its slices are of a refresh.
    pub(super) refreshes: bool,
    /// All its slices are intra.
    pub(super) intra: bool,
    /// A recovery point came with it, so many pictures away.
    pub(super) recovery: Option<i64>,
    /// When its last byte came.
    pub(super) arrived: Instant,
}

/// How this camera's pictures can be begun.
#[derive(Debug, Default)]
pub(super) struct Keys {
    /// A refresh came: recovery points are nothing special.
    refresh_seen: bool,
    recovery_keys: u8,
    /// When the first picture came, then the newest at which decoding can start.
    newest: Option<Instant>,
    /// Decoding is begun at any picture.
    anywhere: bool,
}

impl Keys {
    /// Whether decoding can start at the picture.
    ///
    /// A refresh in all slices. Else, for H.264: a recovery point at once, in intra slices
    /// alone; and as long as no refresh came at all, any recovery point (gradual refresh)
    /// and any picture of intra slices, for cameras that never send one. H.265 tells by the
    /// units' types, and by recovery points where it never refreshes. A camera that has sent
    /// none of them for [`WITHOUT_KEY`] refreshes bit by bit and does not say where (or never):
    /// a decoder that is begun anywhere shows a picture that becomes whole, as players do.
    pub(super) fn is_key(&mut self, codec: Codec, picture: &Look, fixes: &Fixes) -> bool {
        let newest = *self.newest.get_or_insert(picture.arrived);
        let is_key = self.is_told(codec, picture, fixes) || self.is_due(newest, picture, fixes);
        if is_key {
            self.newest = Some(picture.arrived);
        }
        is_key
    }

    fn is_told(&mut self, codec: Codec, picture: &Look, fixes: &Fixes) -> bool {
        if picture.refreshes {
            self.refresh_seen = true;
            return true;
        }
        let at_once = codec == Codec::H264 && picture.intra && picture.recovery == Some(0);
        let only_way = !self.refresh_seen
            && (picture.recovery.is_some() || codec == Codec::H264 && picture.intra);
        if only_way {
            self.recovery_keys = self.recovery_keys.saturating_add(1);
            if self.recovery_keys >= 3 {
                fixes.note(Fix::NoKeyPictures);
            }
        }
        at_once || only_way
    }

    fn is_due(&mut self, newest: Instant, picture: &Look, fixes: &Fixes) -> bool {
        let wait = if self.anywhere { AGAIN } else { WITHOUT_KEY };
        let is_due = !self.refresh_seen
            && self.recovery_keys == 0
            && picture.arrived.saturating_duration_since(newest) >= wait;
        if is_due {
            self.anywhere = true;
            fixes.note(Fix::NoStart);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_camera_that_tells_no_start_is_begun_anywhere_after_a_time() {
        let begun = Instant::now();
        let look = |ms: u64, refreshes: bool, recovery: Option<i64>| Look {
            refreshes,
            intra: false,
            recovery,
            arrived: begun + Duration::from_millis(ms),
        };
        for codec in [Codec::H264, Codec::H265] {
            let fixes = Fixes::default();
            let mut keys = Keys::default();
            let starts: Vec<u64> = (0..100)
                .map(|number| number * 100)
                .filter(|ms| keys.is_key(codec, &look(*ms, false, None), &fixes))
                .collect();
            assert_eq!(starts, [3_000, 5_000, 7_000, 9_000], "{codec:?}");
            assert_eq!(fixes.needed(), [Fix::NoStart]);
            // Once a refresh came it is waited for.
            assert!(keys.is_key(codec, &look(10_000, true, None), &fixes));
            assert!(!keys.is_key(codec, &look(60_000, false, None), &fixes));
            // One with recovery points is begun there alone.
            let (mut keys, fixes) = (Keys::default(), Fixes::default());
            assert!(keys.is_key(codec, &look(0, false, Some(9)), &fixes));
            assert!(!keys.is_key(codec, &look(60_000, false, None), &fixes));
            assert_eq!(fixes.needed(), []);
        }
    }
}
