//! A camera's time: how its presentation times lie on the wall clock, and how
//! many pictures it gives in a second. Pure.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::Wall;
use crate::media::timeline::TICKS_PER_SECOND;

/// µs from which on a picture's capture tells that the wall clock or the time line
/// was set, and not that the picture was on its way for longer than others.
const JUMP: i64 = 1_000_000;
/// Up to this difference (µs) the line is moved by at most one part in
/// [`SLEW`]: between two sender reports that is 8 ms, which no player notices.
const NEAR: i64 = 250_000;
/// See [`NEAR`].
const SLEW: i64 = 500;
/// Which part of the difference each picture takes away.
const SHARE: i64 = 64;
/// Presentation times (90 kHz) that go back so far are another time line: B-frames
/// go back by some pictures only.
const BACK: i64 = 10 * TICKS_PER_SECOND;

/// Ties presentation times to the wall clock. Pictures reach the gateway sooner or
/// later after they were taken, large ones later; the line through their captures
/// moves slowly, so that what sender reports say is steady.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sampling {
    /// Presentation time of the newest picture, and when it was taken: µs.
    newest: Option<(i64, i64)>,
}

impl Sampling {
    /// The next picture: presentation time, and when it reached the gateway by our
    /// clock (µs).
    pub(super) fn note(&mut self, pts: i64, captured: i64) {
        let Some((before, at)) = self.newest else {
            self.newest = Some((pts, captured));
            return;
        };
        let passed = pts.saturating_sub(before);
        if passed <= 0 && passed > -BACK {
            // A B-frame: the picture shown after it was there before.
            return;
        }
        let passed = passed.saturating_mul(100) / 9;
        let expected = at.saturating_add(passed);
        let error = captured.saturating_sub(expected);
        let step = if passed <= 0 || error.saturating_abs() > JUMP {
            error
        } else if error.abs() > NEAR {
            error / SHARE
        } else {
            let limit = passed / SLEW;
            (error / SHARE).clamp(-limit, limit)
        };
        self.newest = Some((pts, expected.saturating_add(step)));
    }

    /// The newest picture's presentation time, and when it was taken.
    pub(super) fn newest(&self) -> Option<(i64, Wall)> {
        self.newest.map(|(pts, at)| (pts, Wall(at)))
    }
}

/// Presentation times looked at.
const WINDOW: usize = 50;
/// Times that must be known to say how many pictures come in a second.
const RATE_TIMES: usize = 10;
/// Times that must be known to say how far apart pictures are.
const INTERVAL_TIMES: usize = 3;

/// How fast pictures follow each other.
#[derive(Clone, Debug, Default)]
pub(super) struct Rate {
    /// The newest presentation times, in decode order.
    times: VecDeque<i64>,
}

impl Rate {
    /// The next picture.
    pub(super) fn note(&mut self, pts: i64) {
        if self.times.len() == WINDOW {
            self.times.pop_front();
        }
        self.times.push_back(pts);
    }

    /// Pictures in a second, a whole number where it is nearly one; `None` as long
    /// as too few have come.
    pub(super) fn per_second(&self) -> Option<f64> {
        let ticks = self.typical(RATE_TIMES)?;
        #[allow(clippy::cast_precision_loss)] // both far below 2^53
        let rate = TICKS_PER_SECOND as f64 / ticks;
        let whole = rate.round();
        let is_whole = whole >= 1.0 && (rate - whole).abs() < 0.02 * whole;
        Some(if is_whole { whole } else { rate })
    }

    /// From one picture to the next; `None` as long as too few have come.
    pub(super) fn interval(&self) -> Option<Duration> {
        let ticks = self.typical(INTERVAL_TIMES)?;
        #[allow(clippy::cast_precision_loss)] // 90 000
        let seconds = ticks / TICKS_PER_SECOND as f64;
        Duration::try_from_secs_f64(seconds).ok()
    }

    /// Ticks between pictures: the mean of the distances near their median, so that
    /// neither a gap nor B-frames on their way count.
    fn typical(&self, needed: usize) -> Option<f64> {
        if self.times.len() < needed {
            return None;
        }
        let mut times: Vec<i64> = self.times.iter().copied().collect();
        times.sort_unstable();
        let mut steps: Vec<i64> = times
            .windows(2)
            .filter_map(|pair| Some(pair.get(1)?.saturating_sub(*pair.first()?)))
            .filter(|step| *step > 0)
            .collect();
        steps.sort_unstable();
        let median = *steps.get(steps.len() / 2)?;
        let near: Vec<i64> = steps
            .into_iter()
            .filter(|step| *step >= median / 2 && *step <= median.saturating_mul(3) / 2)
            .collect();
        let sum: i64 = near.iter().fold(0, |sum, step| sum.saturating_add(*step));
        #[allow(clippy::cast_precision_loss)] // a mean that is rounded anyway
        let mean = sum as f64 / near.len() as f64;
        Some(mean).filter(|mean| mean.is_finite() && *mean >= 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// How far the line has moved, in µs, from where it was.
    fn offset(sampling: &Sampling) -> i64 {
        let (pts, at) = sampling.newest().unwrap();
        at.0 - pts * 100 / 9
    }

    #[test]
    fn what_reports_say_is_steady_though_key_frames_come_late() {
        let mut sampling = Sampling::default();
        let mut told = Vec::new();
        for number in 0..2_000_i64 {
            // A key frame takes 120 ms, others 5 to 25 ms.
            let late = if number % 50 == 0 {
                120_000
            } else {
                5_000 + number * 7_919 % 20_000
            };
            sampling.note(number * 3_600, 5_000_000 + number * 40_000 + late);
            if number % 100 == 0 {
                told.push(offset(&sampling));
            }
        }
        for pair in told.windows(2) {
            assert!((pair[1] - pair[0]).abs() < 10_000, "{told:?}");
        }
        let last = told[told.len() - 1] - 5_000_000;
        assert!((5_000..40_000).contains(&last), "{told:?}");
    }

    #[test]
    fn jumps_are_followed_and_b_frames_passed_over() {
        let mut sampling = Sampling::default();
        sampling.note(0, 0);
        sampling.note(3 * 3_600, 40_000);
        sampling.note(3_600, 80_000);
        assert_eq!(sampling.newest().unwrap().0, 3 * 3_600);
        // The gateway's clock is set: at once.
        sampling.note(4 * 3_600, 9_000_000);
        assert_eq!(sampling.newest(), Some((4 * 3_600, Wall(9_000_000))));
        // A gateway that was started again, with another time line.
        sampling.note(-2_000_000, 10_000_000);
        assert_eq!(sampling.newest(), Some((-2_000_000, Wall(10_000_000))));
        // A camera whose clock runs 1 % fast is followed without a jump.
        let mut worst = 0;
        for number in 1..5_000_i64 {
            let pts = -2_000_000 + number * 3_636;
            sampling.note(pts, 10_000_000 + number * 40_000);
            let error = sampling.newest().unwrap().1.0 - (10_000_000 + number * 40_000);
            worst = worst.max(error.abs());
        }
        assert!(worst < 300_000, "{worst}");
    }

    #[test]
    fn the_rate_is_that_of_most_pictures() {
        for (ticks, rate) in [
            (3_600, 25.0),
            (3_003, 29.97),
            (3_000, 30.0),
            (1_800, 50.0),
            (7_200, 12.5),
            (450_000, 0.2),
        ] {
            let mut times = Rate::default();
            assert_eq!(times.per_second(), None);
            for number in 0..60_i64 {
                // Shown in another order than decoded, a little uneven, and with a cut.
                let shown = number / 4 * 4 + [0, 3, 1, 2][(number % 4) as usize];
                let gap = if number >= 40 { 4_000_000 } else { 0 };
                times.note(shown * ticks + number % 3 * (ticks / 50) + gap);
            }
            let known = times.per_second().unwrap();
            assert!((known - rate).abs() < 0.03 * rate, "{known} for {rate}");
        }
        let mut times = Rate::default();
        for number in 0..10 {
            times.note(number * 3_600);
        }
        assert_eq!(times.per_second(), Some(25.0));
        assert_eq!(times.interval(), Some(Duration::from_millis(40)));
    }

    proptest! {
        #[test]
        fn no_times_panic(times in prop::collection::vec((any::<i64>(), any::<i64>()), 0..60)) {
            let mut rate = Rate::default();
            let mut sampling = Sampling::default();
            for (pts, captured) in times {
                rate.note(pts);
                sampling.note(pts, captured);
                let _ = (rate.per_second(), rate.interval(), sampling.newest());
            }
        }
    }
}
