//! When a stream needs a key frame that does not come by itself, and how to get
//! one. Pure.
//!
//! Who joins a group that is no longer kept sees nothing until the next key frame,
//! and with a "smart" codec that may be a minute away. ONVIF asks for one; without
//! it a camera that begins its sessions with a key frame is opened again. Either at
//! most once in [`Rules::every`]; a wish that comes too soon waits for its turn, so
//! nobody waits longer than that where there is a way.

use std::time::Duration;

use crate::clock::Boot;

/// A key frame due sooner than this is not asked for: asking costs the camera one
/// large picture, opening again costs all who watch a gap.
const ASK_NEAR: Duration = Duration::from_millis(500);
/// How long ONVIF is not tried after it failed.
const FAILED_REST: Duration = Duration::from_secs(60);

/// Bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// A key frame due sooner than this is waited for, rather than opening again.
    pub near: Duration,
    /// Nothing is done for a key frame more often than this.
    pub every: Duration,
}

/// What to do for a key frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Ask over ONVIF.
    Ask,
    /// Open the session again.
    Reopen,
}

/// What is known of a stream's habit with key frames, and who wants one.
#[derive(Clone, Debug, Default)]
pub struct KeyFrames {
    last: Option<Boot>,
    interval: Option<Duration>,
    /// Its sessions begin with a key frame.
    begins: bool,
    /// The session began without one, and none came yet.
    starting: bool,
    wished: bool,
    /// When something was done last.
    acted: Option<Boot>,
    /// It was asking, and no key frame came since.
    asked_in_vain: bool,
    /// When asking last failed.
    failed: Option<Boot>,
}

impl KeyFrames {
    /// The session's first picture came.
    pub const fn handle_first(&mut self, key: bool) {
        self.begins = key;
        self.starting = !key;
    }

    /// A key frame came.
    pub fn handle_key(&mut self, now: Boot) {
        // One that was asked for tells nothing of when the others come.
        let by_itself = self.acted.is_none_or(|acted| Some(acted) < self.last);
        if let Some(last) = self.last.filter(|_| by_itself) {
            self.interval = Some(now.since(last));
        }
        self.last = Some(now);
        self.starting = false;
        self.wished = false;
        self.asked_in_vain = false;
    }

    /// Somebody needs one.
    pub const fn handle_wish(&mut self) {
        self.wished = true;
    }

    /// Nobody is there any more to need one.
    pub const fn handle_nobody(&mut self) {
        self.wished = false;
    }

    /// Asking failed: for a while the other way is taken, at once if need be.
    pub const fn handle_failed(&mut self, now: Boot) {
        self.failed = Some(now);
        self.acted = None;
    }

    /// Settings changed: ONVIF is tried again.
    pub const fn handle_settings(&mut self) {
        self.failed = None;
    }

    /// Whether there is any way; `onvif`: the camera has it.
    pub fn has_way(&self, now: Boot, onvif: bool) -> bool {
        self.begins || self.may_ask(now, onvif)
    }

    /// What is to be done now. Doing it is taken for granted.
    pub fn poll_way(&mut self, now: Boot, rules: &Rules, onvif: bool) -> Option<Way> {
        let rested = |at: Boot| now.since(at) >= rules.every;
        if !(self.wished || self.starting) || !self.acted.is_none_or(rested) {
            return None;
        }
        let way = if self.may_ask(now, onvif) && !(self.asked_in_vain && self.begins) {
            Way::Ask
        } else if self.begins && !self.starting {
            Way::Reopen
        } else {
            return None;
        };
        let near = match way {
            Way::Ask => rules.near.min(ASK_NEAR),
            Way::Reopen => rules.near,
        };
        if !self.starting && self.is_near(now, near) {
            return None;
        }
        self.acted = Some(now);
        // An answer without a key frame by the next turn: then the other way.
        self.asked_in_vain = way == Way::Ask;
        Some(way)
    }

    fn may_ask(&self, now: Boot, onvif: bool) -> bool {
        onvif && self.failed.is_none_or(|at| now.since(at) >= FAILED_REST)
    }

    /// Whether a key frame just came or is about to.
    fn is_near(&self, now: Boot, near: Duration) -> bool {
        let Some(last) = self.last else {
            return false;
        };
        let age = now.since(last);
        let due = self
            .interval
            .is_some_and(|interval| interval.saturating_sub(age) <= near && age <= interval + near);
        age < near || due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules {
        near: Duration::from_secs(2),
        every: Duration::from_secs(5),
    };

    fn at(seconds: u64) -> Boot {
        Boot(Duration::from_secs(1_000 + seconds))
    }

    /// A stream whose session began with a key frame or not, and had one at 0.
    fn stream(begins: bool) -> KeyFrames {
        let mut keys = KeyFrames::default();
        keys.handle_first(begins);
        keys.handle_key(at(0));
        keys
    }

    #[test]
    fn nothing_is_done_that_nobody_wants() {
        assert_eq!(stream(true).poll_way(at(90), &RULES, true), None);
        let mut keys = stream(true);
        keys.handle_wish();
        keys.handle_nobody();
        assert_eq!(keys.poll_way(at(90), &RULES, true), None);
    }

    #[test]
    fn who_has_onvif_is_asked_and_others_are_opened_anew_where_that_helps() {
        for (begins, onvif, way) in [
            (true, true, Some(Way::Ask)),
            (false, true, Some(Way::Ask)),
            (true, false, Some(Way::Reopen)),
            (false, false, None),
        ] {
            let mut keys = stream(begins);
            keys.handle_wish();
            assert_eq!(keys.has_way(at(30), onvif), way.is_some());
            assert_eq!(
                keys.poll_way(at(30), &RULES, onvif),
                way,
                "{begins} {onvif}"
            );
        }
    }

    #[test]
    fn a_wish_too_soon_waits_for_its_turn_and_no_longer() {
        let mut keys = stream(false);
        keys.handle_wish();
        assert_eq!(keys.poll_way(at(0), &RULES, true), None, "one just came");
        assert_eq!(keys.poll_way(at(1), &RULES, true), Some(Way::Ask));
        keys.handle_key(at(2));
        keys.handle_wish();
        assert_eq!(keys.poll_way(at(5), &RULES, true), None);
        assert_eq!(keys.poll_way(at(6), &RULES, true), Some(Way::Ask));
    }

    #[test]
    fn a_key_frame_that_is_due_is_waited_for_unless_it_does_not_come() {
        for (second, reopens, asks) in [
            (17, true, true),
            (19, false, true),
            (20, false, false),
            (30, true, true),
        ] {
            for (onvif, acts, way) in [(false, reopens, Way::Reopen), (true, asks, Way::Ask)] {
                let mut keys = stream(true);
                keys.handle_key(at(10));
                keys.handle_wish();
                let way = acts.then_some(way);
                assert_eq!(
                    keys.poll_way(at(second), &RULES, onvif),
                    way,
                    "{second} {onvif}"
                );
            }
        }
    }

    #[test]
    fn a_start_without_a_key_frame_asks_at_once_and_again() {
        let mut keys = stream(true);
        keys.handle_first(false);
        assert_eq!(
            keys.poll_way(at(0), &RULES, false),
            None,
            "opening again would not help"
        );
        assert_eq!(keys.poll_way(at(0), &RULES, true), Some(Way::Ask));
        assert_eq!(keys.poll_way(at(4), &RULES, true), None);
        assert_eq!(keys.poll_way(at(5), &RULES, true), Some(Way::Ask));
    }

    #[test]
    fn asking_that_fails_or_brings_nothing_gives_way_to_opening_anew() {
        let mut keys = stream(true);
        keys.handle_wish();
        assert_eq!(keys.poll_way(at(30), &RULES, true), Some(Way::Ask));
        keys.handle_failed(at(30));
        assert_eq!(keys.poll_way(at(30), &RULES, true), Some(Way::Reopen));
        keys.handle_key(at(31));
        keys.handle_wish();
        assert_eq!(keys.poll_way(at(89), &RULES, true), Some(Way::Reopen));
        keys.handle_key(at(90));
        keys.handle_wish();
        assert_eq!(keys.poll_way(at(200), &RULES, true), Some(Way::Ask));
        assert_eq!(keys.poll_way(at(205), &RULES, true), Some(Way::Reopen));
    }
}
