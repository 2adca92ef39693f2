//! A rate with a burst: so much at once, and so much again in each second. Pure.

use std::time::Duration;

/// What somebody may still use. The time is that since any moment, and never goes back.
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    /// How long one takes to come back.
    each: Duration,
    /// How long all of it takes.
    burst: Duration,
    /// When all of it is there again.
    full_at: Duration,
}

impl Allowance {
    /// `burst` at once, and `per_second` (1 or more) in each second after that.
    pub const fn new(burst: u32, per_second: u32) -> Self {
        Self::every(
            burst,
            Duration::from_nanos(1_000_000_000 / per_second as u64),
        )
    }

    /// `burst` at once, and then one in each such time.
    pub const fn every(burst: u32, each: Duration) -> Self {
        Self {
            each,
            burst: each.saturating_mul(burst),
            full_at: Duration::ZERO,
        }
    }

    /// Takes `amount` if so much is there.
    pub fn take(&mut self, amount: u32, now: Duration) -> bool {
        let full_at = self.after(amount, now);
        let is_there = full_at.saturating_sub(now) <= self.burst;
        if is_there {
            self.full_at = full_at;
        }
        is_there
    }

    /// Takes `amount` in any case; how long to wait until it is there.
    pub fn charge(&mut self, amount: u32, now: Duration) -> Duration {
        self.full_at = self.after(amount, now);
        self.full_at.saturating_sub(now).saturating_sub(self.burst)
    }

    /// How long until `amount` is there.
    pub fn wait(&self, amount: u32, now: Duration) -> Duration {
        let full_at = self.after(amount, now);
        full_at.saturating_sub(now).saturating_sub(self.burst)
    }

    fn after(&self, amount: u32, now: Duration) -> Duration {
        let used = self.each.saturating_mul(amount);
        self.full_at.max(now).saturating_add(used)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_burst_goes_at_once_and_then_so_much_a_second() {
        let mut allowance = Allowance::new(5, 2);
        let mut taken = |now| (0..100).filter(|_| allowance.take(1, now)).count();
        assert_eq!(taken(SECOND), 5);
        assert_eq!(taken(2 * SECOND), 2);
        assert_eq!(taken(3 * SECOND), 2);
        assert_eq!(taken(100 * SECOND), 5);
    }

    #[test]
    fn who_waits_is_told_how_long() {
        let mut allowance = Allowance::new(4, 2);
        assert_eq!(allowance.charge(4, SECOND), Duration::ZERO);
        assert_eq!(allowance.charge(1, SECOND), SECOND / 2);
        assert_eq!(allowance.charge(1, SECOND), SECOND);
        assert!(!allowance.take(1, 2 * SECOND));
        assert_eq!(allowance.charge(0, 2 * SECOND), Duration::ZERO);
    }
}
