//! How long to wait before trying again: exponential, capped, jittered, reset
//! only after a stable time.

use std::time::Duration;

/// A backoff.
#[derive(Clone, Debug)]
pub struct Backoff {
    /// First wait.
    pub floor: Duration,
    /// Longest wait.
    pub cap: Duration,
    /// Success must last this long to count.
    pub stable: Duration,
    failures: u32,
}

impl Backoff {
    /// A backoff that has not failed yet.
    pub const fn new(floor: Duration, cap: Duration, stable: Duration) -> Self {
        Self {
            floor,
            cap,
            stable,
            failures: 0,
        }
    }

    /// The wait after a failure that followed `up` of success. `random` in 0..1
    /// gives the jitter: the wait is between half and the whole of the step.
    pub fn failed(&mut self, up: Duration, random: f64) -> Duration {
        self.step(up).mul_f64(0.5 + 0.5 * random.clamp(0.0, 1.0))
    }

    /// The wait after a failure that others may share at the same moment, such as a
    /// peer's restart: anywhere from none to `spread`, or to the step once that is longer.
    pub fn shared(&mut self, up: Duration, spread: Duration, random: f64) -> Duration {
        self.step(up).max(spread).mul_f64(random.clamp(0.0, 1.0))
    }

    fn step(&mut self, up: Duration) -> Duration {
        if up >= self.stable {
            self.failures = 0;
        }
        let step = self
            .floor
            .saturating_mul(1 << self.failures.min(20))
            .min(self.cap);
        self.failures = self.failures.saturating_add(1);
        step
    }

    /// Failures in a row.
    pub const fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_to_the_cap_and_resets_only_after_a_stable_time() {
        let mut backoff = Backoff::new(
            Duration::from_secs(1),
            Duration::from_secs(30),
            Duration::from_secs(10),
        );
        let waits: Vec<u64> = (0..7)
            .map(|_| backoff.failed(Duration::ZERO, 1.0).as_secs())
            .collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(backoff.failed(Duration::from_secs(9), 1.0).as_secs(), 30);
        assert_eq!(
            backoff.failed(Duration::from_secs(10), 0.0),
            Duration::from_millis(500)
        );
    }

    #[test]
    fn a_shared_failure_is_spread_evenly_and_grows_like_any_other() {
        let mut backoff = Backoff::new(
            Duration::from_secs(1),
            Duration::from_secs(30),
            Duration::from_secs(10),
        );
        let spread = Duration::from_secs(5);
        let stood = Duration::from_secs(10);
        assert_eq!(backoff.shared(stood, spread, 0.0), Duration::ZERO);
        assert_eq!(backoff.shared(stood, spread, 0.5).as_millis(), 2_500);
        assert_eq!(backoff.shared(stood, spread, 1.0), spread);
        // Links that fall as soon as they stand: 2, 4, then 8 s.
        let waits: Vec<u64> = (0..3)
            .map(|_| {
                backoff
                    .shared(Duration::from_secs(1), spread, 1.0)
                    .as_secs()
            })
            .collect();
        assert_eq!(waits, [5, 5, 8]);
    }
}
