//! Counts the bytes of groups, for the attestation (interfaces.md 10): at the gateway those
//! handed to the link, at the receiver those read from it. Headers count on both sides, so both
//! figures are the same where nothing was cut short.

use std::sync::atomic::{AtomicU64, Ordering};

/// The bytes of one grant's camera. Counted on the frames thread, read from any.
#[derive(Debug, Default)]
pub struct Meter {
    passed: AtomicU64,
    lost: AtomicU64,
    outside: AtomicU64,
}

/// What a [`Meter`] counted since it was made, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Handed to the link, or read from it.
    pub passed: u64,
    /// Of those handed over, the bytes of groups that were given up before all of them were
    /// acknowledged: some or all may not have arrived.
    pub lost: u64,
    /// Of those handed over, the bytes that left after the last deadline of the relay: always 0.
    pub outside: u64,
}

impl Meter {
    /// So many bytes went over.
    pub fn pass(&self, bytes: u64) {
        self.passed.fetch_add(bytes, Ordering::Relaxed);
    }

    /// So many bytes that passed may not arrive.
    pub fn lose(&self, bytes: u64) {
        self.lost.fetch_add(bytes, Ordering::Relaxed);
    }

    /// So many bytes that passed had no right to.
    pub fn pass_outside(&self, bytes: u64) {
        self.outside.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The figures now.
    pub fn counted(&self) -> Counted {
        Counted {
            passed: self.passed.load(Ordering::Relaxed),
            lost: self.lost.load(Ordering::Relaxed),
            outside: self.outside.load(Ordering::Relaxed),
        }
    }
}
