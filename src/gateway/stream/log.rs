//! Which of a stream's states are worth a line in the log. Pure.
//!
//! A camera that fails for ever is tried for ever, and one that flaps tells of it at
//! each turn: the log says so once for each cause, then hourly, with how often it came
//! in between. What becomes of single tries is in the metrics.

use std::time::Duration;

use crate::clock::Boot;
use crate::media::sink::State;
use crate::policy::seldom::Seldom;
use crate::reason::{Reason, Refusal};

/// The same cause is told again after this.
const AGAIN: Duration = Duration::from_secs(3_600);
/// Different causes in that time.
const CAUSES: usize = 8;
/// Live for so long, a stream is well: the next failure is news.
const WELL: Duration = Duration::from_secs(300);

/// A line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// Pictures come.
    Live,
    /// It failed; how often for the same cause without a line since the last one.
    Failed(u64),
}

/// What the log was told of a stream.
#[derive(Debug)]
pub(super) struct Log {
    causes: Seldom<Refusal>,
    live_since: Option<Boot>,
    /// The last failure had no line, so its end needs none.
    silent: bool,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            causes: Seldom::new(CAUSES, AGAIN),
            live_since: None,
            silent: false,
        }
    }
}

impl Log {
    /// The line for a new state, if it is worth one.
    pub(super) fn line(&mut self, state: &State, now: Boot) -> Option<Line> {
        match state {
            State::Starting => None,
            State::Live => {
                self.live_since = Some(now);
                (!std::mem::take(&mut self.silent)).then_some(Line::Live)
            }
            // An orderly stop is no failure of the camera's.
            State::Retrying(refusal) | State::Failed(refusal)
                if refusal.reason == Reason::ShuttingDown =>
            {
                None
            }
            State::Retrying(refusal) | State::Failed(refusal) => {
                let live = self.live_since.take();
                if live.is_some_and(|since| now.since(since) >= WELL) {
                    self.causes.forget();
                }
                let unsaid = self.causes.may_say(refusal.clone(), now);
                self.silent = unsaid.is_none();
                unsaid.map(Line::Failed)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Boot {
        Boot(Duration::from_secs(seconds))
    }

    fn failed(reason: Reason) -> State {
        State::Retrying(reason.into())
    }

    #[test]
    fn a_camera_that_fails_for_ever_has_a_line_an_hour() {
        let mut log = Log::default();
        let day = 24 * 3_600;
        let tries = (0..day).step_by(30);
        let lines =
            tries.filter_map(|second| log.line(&failed(Reason::CameraUnreachable), at(second)));
        let lines: Vec<Line> = lines.collect();
        assert_eq!(lines.len(), 24);
        assert_eq!(lines[..2], [Line::Failed(0), Line::Failed(119)]);
    }

    #[test]
    fn an_orderly_stop_is_no_failure() {
        let mut log = Log::default();
        assert_eq!(log.line(&State::Live, at(0)), Some(Line::Live));
        let stopped = State::Failed(Reason::ShuttingDown.into());
        assert_eq!(log.line(&stopped, at(5)), None);
    }

    #[test]
    fn a_change_of_cause_is_told_at_once_and_two_causes_in_turn_are_not() {
        let mut log = Log::default();
        assert!(log.line(&failed(Reason::CameraStalled), at(0)).is_some());
        assert!(log.line(&failed(Reason::CameraBusy), at(1)).is_some());
        for second in 2..3_600 {
            let reason = [Reason::CameraStalled, Reason::CameraBusy][second as usize % 2];
            assert_eq!(log.line(&failed(reason), at(second)), None);
        }
    }

    #[test]
    fn a_camera_that_flaps_is_silent_and_one_that_was_well_is_not() {
        let mut log = Log::default();
        assert_eq!(log.line(&State::Live, at(0)), Some(Line::Live));
        let stalled = failed(Reason::CameraStalled);
        assert_eq!(log.line(&stalled, at(5)), Some(Line::Failed(0)));
        assert_eq!(log.line(&State::Live, at(6)), Some(Line::Live));
        for second in 1..10 {
            assert_eq!(log.line(&stalled, at(10 * second)), None);
            assert_eq!(log.line(&State::Live, at(10 * second + 1)), None);
        }
        // It stays live, as it was last told.
        assert_eq!(log.line(&stalled, at(91 + 300)), Some(Line::Failed(0)));
    }
}
