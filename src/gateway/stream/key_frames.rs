//! When a camera's next key frame is due, and whether opening anew gives one sooner.

use std::time::Duration;

use tokio::time::Instant;

use crate::gateway::session::Limits;

/// What is known of a camera's habit with key frames.
#[derive(Debug, Default)]
pub(super) struct KeyFrames {
    last: Option<Instant>,
    interval: Option<Duration>,
    /// Its sessions begin with a key frame.
    pub(super) first: bool,
    reopened: Option<Instant>,
}

impl KeyFrames {
    /// A key frame came.
    pub(super) fn note(&mut self) {
        let now = Instant::now();
        self.interval = self.last.map(|last| now - last);
        self.last = Some(now);
    }

    /// The session is opened anew for one.
    pub(super) fn reopen(&mut self) {
        self.reopened = Some(Instant::now());
    }

    /// Whether the next key frame is so far away that opening anew gives one sooner.
    pub(super) fn is_far(&self, limits: &Limits) -> bool {
        let Some(last) = self.last else {
            return false;
        };
        let age = last.elapsed();
        let rested = self
            .reopened
            .is_none_or(|reopened| reopened.elapsed() >= limits.key_frame_every);
        let due = self.interval.is_some_and(|interval| {
            interval.saturating_sub(age) <= limits.key_frame_near && age < interval * 2
        });
        rested && !due && age >= limits.key_frame_near
    }
}
