//! A relay's way from its camera's streams to its sender: one of them at a time,
//! changed at a key frame.
//!
//! Each attachment pushes into a [`Tap`] of its own. Of the two that may be
//! attached at once one is *current* and passes; the other is *next* and nothing
//! of it passes before its first key frame, which makes it current.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::gateway::camera::Counters;
use crate::media::sink::{Sink, State};
use crate::media::splice::Splice;
use crate::media::unit::{Codec, Frame};
use crate::reason::Refusal;

/// What became of a change of streams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The new stream passes.
    Changed,
    /// It has another codec, which no player could follow; it does not pass.
    OtherCodec,
    /// It did not come.
    Failed(Refusal),
}

/// Joins two streams of a camera for one relay.
pub(super) struct Line {
    out: Arc<dyn Sink>,
    counters: Arc<Counters>,
    /// Told when there is an [`Outcome`].
    wake: Arc<Notify>,
    inner: Mutex<Inner>,
}

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Line")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Inner {
    newest: u64,
    current: u64,
    next: Option<Next>,
    /// The current one took its place before its first key frame: whether it may
    /// pass is not known yet.
    is_unproven: bool,
    codec: Option<Codec>,
    state: State,
    splice: Splice,
    outcome: Option<Outcome>,
    passed: u64,
    /// A change came since the bytes were last taken: they are of two streams.
    is_mixed: bool,
}

#[derive(Debug)]
struct Next {
    number: u64,
    state: State,
}

/// One attachment's end of a [`Line`].
#[derive(Debug)]
pub(super) struct Tap {
    line: Arc<Line>,
    number: u64,
}

impl Line {
    /// A line to `out`, whose viewers know this codec already, if any.
    pub(super) fn new(
        out: Arc<dyn Sink>,
        counters: Arc<Counters>,
        wake: Arc<Notify>,
        codec: Option<Codec>,
    ) -> Arc<Self> {
        Arc::new(Self {
            out,
            counters,
            wake,
            inner: Mutex::new(Inner {
                newest: 0,
                current: 0,
                next: None,
                is_unproven: false,
                codec,
                state: State::Starting,
                splice: Splice::default(),
                outcome: None,
                passed: 0,
                is_mixed: true,
            }),
        })
    }

    /// What its viewers know.
    pub(super) fn codec(&self) -> Option<Codec> {
        self.lock().codec
    }

    /// The first stream, which passes from its beginning.
    pub(super) fn first(self: &Arc<Self>) -> Arc<dyn Sink> {
        Arc::new(Tap {
            line: Arc::clone(self),
            number: 0,
        })
    }

    /// A stream that takes over at its first key frame.
    pub(super) fn next(self: &Arc<Self>) -> Arc<dyn Sink> {
        let mut inner = self.lock();
        inner.newest += 1;
        inner.outcome = None;
        let number = inner.newest;
        inner.next = Some(Next {
            number,
            state: State::Starting,
        });
        Arc::new(Tap {
            line: Arc::clone(self),
            number,
        })
    }

    /// A stream that takes over at once: nothing passes until its key frame. For
    /// cameras that allow one session alone.
    pub(super) fn replace(self: &Arc<Self>) -> Arc<dyn Sink> {
        let mut inner = self.lock();
        inner.newest += 1;
        inner.outcome = None;
        inner.next = None;
        inner.current = inner.newest;
        inner.is_unproven = true;
        inner.is_mixed = true;
        inner.splice.change();
        let number = inner.newest;
        Arc::new(Tap {
            line: Arc::clone(self),
            number,
        })
    }

    /// The change under way is given up: the current stream goes on.
    pub(super) fn give_up(&self) {
        let mut inner = self.lock();
        inner.next = None;
        inner.outcome = None;
    }

    pub(super) fn take_outcome(&self) -> Option<Outcome> {
        self.lock().outcome.take()
    }

    /// Bytes of pictures that the camera gave since the last call; `None` where
    /// they say nothing of a rate.
    pub(super) fn take_passed(&self) -> Option<u64> {
        let mut inner = self.lock();
        let passed = std::mem::take(&mut inner.passed);
        (!std::mem::take(&mut inner.is_mixed)).then_some(passed)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn decide(&self, inner: &mut Inner, outcome: Outcome) {
        inner.outcome = Some(outcome);
        self.wake.notify_one();
    }

    /// Whether a frame of this tap passes; a key frame may change that.
    fn passes(&self, inner: &mut Inner, number: u64, frame: &Frame) -> bool {
        let Frame::Group(group) = frame else {
            return number == inner.current && !inner.is_unproven;
        };
        let codec = group.configuration.codec;
        let fits = inner.codec.is_none_or(|known| known == codec);
        let is_next = inner.next.as_ref().is_some_and(|n| n.number == number);
        let is_unproven = number == inner.current && inner.is_unproven;
        if (is_next || is_unproven) && !fits {
            if inner.outcome.is_none() {
                self.decide(inner, Outcome::OtherCodec);
            }
            return false;
        }
        if is_unproven {
            inner.is_unproven = false;
            self.decide(inner, Outcome::Changed);
        } else if is_next {
            let state = inner.next.take().map(|next| next.state);
            inner.current = number;
            inner.is_mixed = true;
            inner.splice.change();
            // It was live before it passed: nobody tells again.
            if let Some(State::Live) = state
                && inner.state != State::Live
            {
                inner.state = State::Live;
                self.out.state(&State::Live);
            }
            self.decide(inner, Outcome::Changed);
        }
        if number == inner.current {
            inner.codec = Some(codec);
        }
        number == inner.current
    }
}

impl Sink for Tap {
    fn push(&self, frame: &Frame) {
        let line = &self.line;
        let mut inner = line.lock();
        if !line.passes(&mut inner, self.number, frame) {
            return;
        }
        if let Frame::Unit(unit) = frame {
            inner.passed += unit.data.len() as u64;
        }
        let frame = inner.splice.take(frame, line.counters.as_ref());
        line.out.push(&frame);
    }

    fn state(&self, state: &State) {
        let line = &self.line;
        let mut inner = line.lock();
        let failed = match state {
            State::Retrying(refusal) | State::Failed(refusal) => Some(refusal.clone()),
            State::Starting | State::Live => None,
        };
        if let Some(next) = &mut inner.next
            && next.number == self.number
        {
            next.state = state.clone();
            if let Some(refusal) = failed {
                line.decide(&mut inner, Outcome::Failed(refusal));
            }
            return;
        }
        if self.number != inner.current {
            return;
        }
        if inner.is_unproven
            && let Some(refusal) = failed
        {
            line.decide(&mut inner, Outcome::Failed(refusal));
        }
        inner.state = state.clone();
        line.out.state(state);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::media::relay::Profile;
    use crate::media::unit::{AccessUnit, Configuration, Group, UnitFlags};
    use crate::reason::Reason;

    #[derive(Debug, Default)]
    struct Recorder(Mutex<(Vec<String>, Vec<State>)>);

    impl Sink for Recorder {
        fn push(&self, frame: &Frame) {
            let said = match frame {
                Frame::Group(group) => format!("{}{}", group.profile.as_str(), group.number),
                Frame::Unit(unit) => unit.data.len().to_string(),
            };
            self.0.lock().unwrap().0.push(said);
        }
        fn state(&self, state: &State) {
            self.0.lock().unwrap().1.push(state.clone());
        }
    }

    fn group(number: u64, profile: Profile, codec: Codec) -> Frame {
        Frame::Group(Arc::new(Group {
            number,
            epoch: 1,
            first_of_epoch: false,
            open: false,
            kept: false,
            profile,
            configuration: Arc::new(Configuration {
                codec,
                record: Bytes::new(),
                width: 0,
                height: 0,
            }),
        }))
    }

    fn unit(bytes: usize) -> Frame {
        Frame::Unit(Arc::new(AccessUnit {
            flags: UnitFlags::default(),
            pts: 0,
            captured: 0,
            data: Bytes::from(vec![0; bytes]),
        }))
    }

    struct Setting {
        out: Arc<Recorder>,
        line: Arc<Line>,
        main: Arc<dyn Sink>,
    }

    impl Setting {
        /// A line on which a main stream passes.
        fn new() -> Self {
            let out = Arc::new(Recorder::default());
            let line = Line::new(out.clone(), Arc::default(), Arc::default(), None);
            let main = line.first();
            main.push(&group(1, Profile::Main, Codec::H264));
            main.push(&unit(10));
            main.state(&State::Live);
            Self { out, line, main }
        }

        fn passed(&self) -> Vec<String> {
            std::mem::take(&mut self.out.0.lock().unwrap().0)
        }

        fn states(&self) -> Vec<State> {
            std::mem::take(&mut self.out.0.lock().unwrap().1)
        }
    }

    #[test]
    fn the_other_stream_takes_over_at_its_key_frame() {
        let setting = Setting::new();
        assert_eq!(setting.passed(), ["main1", "10"]);
        assert_eq!(setting.line.take_passed(), None, "it had just begun");
        let sub = setting.line.next();
        sub.state(&State::Starting);
        sub.push(&unit(3));
        setting.main.push(&unit(11));
        assert_eq!(setting.line.take_outcome(), None);
        assert_eq!(setting.line.take_passed(), Some(11));
        sub.push(&group(2, Profile::Sub, Codec::H264));
        sub.push(&unit(4));
        setting.main.push(&unit(12));
        setting.main.push(&group(3, Profile::Main, Codec::H264));
        let stalled = State::Retrying(Reason::CameraStalled.into());
        setting.main.state(&stalled);
        assert_eq!(setting.passed(), ["11", "sub2", "4"]);
        assert_eq!(setting.line.take_outcome(), Some(Outcome::Changed));
        assert_eq!(setting.line.take_passed(), None, "of two streams");
        assert_eq!(setting.states(), [State::Live]);
    }

    #[test]
    fn another_codec_does_not_pass() {
        let setting = Setting::new();
        let sub = setting.line.next();
        sub.push(&group(2, Profile::Sub, Codec::H265));
        sub.push(&unit(4));
        assert_eq!(setting.line.take_outcome(), Some(Outcome::OtherCodec));
        setting.line.give_up();
        sub.push(&group(3, Profile::Sub, Codec::H264));
        setting.main.push(&unit(11));
        assert_eq!(setting.passed(), ["main1", "10", "11"]);
        // The camera's own change is no change of streams.
        setting.main.push(&group(4, Profile::Main, Codec::H265));
        assert_eq!(setting.passed(), ["main4"]);
    }

    #[test]
    fn a_stream_that_fails_is_told_and_the_other_goes_on() {
        let setting = Setting::new();
        let sub = setting.line.next();
        let refusal = Refusal::from(Reason::CameraNotFound);
        sub.state(&State::Retrying(refusal.clone()));
        let failed = Outcome::Failed(refusal);
        assert_eq!(setting.line.take_outcome(), Some(failed));
        assert_eq!(setting.states(), [State::Live]);
    }

    #[test]
    fn one_that_lives_already_ends_the_trouble_of_the_other() {
        let setting = Setting::new();
        let stalled = State::Retrying(Reason::CameraStalled.into());
        setting.main.state(&stalled);
        let sub = setting.line.next();
        sub.state(&State::Live);
        sub.push(&group(2, Profile::Sub, Codec::H264));
        assert_eq!(setting.states().last(), Some(&State::Live));
    }

    #[test]
    fn what_takes_the_place_must_prove_itself() {
        let setting = Setting::new();
        setting.passed();
        let sub = setting.line.replace();
        setting.main.push(&unit(11));
        sub.push(&unit(3));
        sub.push(&group(2, Profile::Sub, Codec::H265));
        sub.push(&unit(4));
        assert_eq!(setting.line.take_outcome(), Some(Outcome::OtherCodec));
        let back = setting.line.replace();
        back.state(&State::Retrying(Reason::CameraBusy.into()));
        let failed = Outcome::Failed(Reason::CameraBusy.into());
        assert_eq!(setting.line.take_outcome(), Some(failed));
        back.push(&group(3, Profile::Main, Codec::H264));
        back.push(&unit(12));
        assert_eq!(setting.passed(), ["main3", "12"]);
    }
}
