//! The rate of a stream, as it passes.

use std::time::Duration;

/// Older pictures count less and less: by half in some three seconds.
const MEMORY: Duration = Duration::from_secs(4);
/// From how much of the past on a rate is believed.
const ENOUGH: f64 = 1.5;

/// The mean rate of a stream over the last seconds. What was measured stays
/// known while nothing passes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rate {
    bits: f64,
    seconds: f64,
}

impl Rate {
    /// Nothing passed yet.
    pub const fn new() -> Self {
        Self {
            bits: 0.0,
            seconds: 0.0,
        }
    }

    /// So much passed in the time since the last call. Nothing at all is a
    /// pause, not a rate.
    pub fn handle_passed(&mut self, bytes: u64, time: Duration) {
        let seconds = time.as_secs_f64();
        if bytes == 0 || seconds <= 0.0 {
            return;
        }
        let kept = (-seconds / MEMORY.as_secs_f64()).exp();
        #[allow(clippy::cast_precision_loss)] // a tick's bytes are far below 2^53
        let bits = bytes as f64 * 8.0;
        self.bits = self.bits * kept + bits;
        self.seconds = self.seconds * kept + seconds;
    }

    /// Bits per second; `None` until enough has passed.
    pub fn bits_per_second(&self) -> Option<u64> {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // positive and bounded
        (self.seconds >= ENOUGH).then(|| (self.bits / self.seconds).round() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_known_after_a_while_and_kept_over_a_pause() {
        let tick = Duration::from_millis(500);
        let mut rate = Rate::new();
        for _ in 0..2 {
            rate.handle_passed(125_000, tick);
            assert_eq!(rate.bits_per_second(), None);
        }
        for _ in 0..20 {
            rate.handle_passed(125_000, tick);
        }
        assert_eq!(rate.bits_per_second(), Some(2_000_000));
        rate.handle_passed(0, Duration::from_secs(60));
        assert_eq!(rate.bits_per_second(), Some(2_000_000));
        for _ in 0..60 {
            rate.handle_passed(31_250, tick);
        }
        let slower = rate.bits_per_second().unwrap();
        assert!((500_000..505_000).contains(&slower), "{slower}");
    }

    #[test]
    fn key_frames_do_not_make_it_jump() {
        let tick = Duration::from_millis(500);
        let mut rate = Rate::new();
        let mut seen = Vec::new();
        for n in 0..200_u32 {
            // A key frame every two seconds with a fifth of all bytes.
            rate.handle_passed(if n % 4 == 0 { 200_000 } else { 100_000 }, tick);
            seen.extend(rate.bits_per_second().filter(|_| n > 40));
        }
        assert!(seen.iter().all(|rate| rate.abs_diff(2_000_000) < 260_000));
    }
}
