//! A relay's way from its camera's streams to its sender: one of them at a time,
//! changed at a key frame.
//!
//! Each attachment pushes into a [`Tap`] of its own. Of the two that may be
//! attached at once one is *current* and passes; the other is *next* and nothing
//! of it passes before its first key frame, which makes it current.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::gateway::camera::{Counters, Sink, State};
use crate::link::relay::RelaySender;
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
#[derive(Debug)]
pub(super) struct Line {
    sender: Arc<RelaySender>,
    counters: Arc<Counters>,
    /// Told when there is an [`Outcome`].
    wake: Arc<Notify>,
    inner: Mutex<Inner>,
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
    pub(super) fn new(
        sender: Arc<RelaySender>,
        counters: Arc<Counters>,
        wake: Arc<Notify>,
    ) -> Arc<Self> {
        Arc::new(Self {
            sender,
            counters,
            wake,
            inner: Mutex::new(Inner {
                newest: 0,
                current: 0,
                next: None,
                is_unproven: false,
                codec: None,
                state: State::Starting,
                splice: Splice::default(),
                outcome: None,
                passed: 0,
                is_mixed: true,
            }),
        })
    }

    pub(super) fn sender(&self) -> &RelaySender {
        &self.sender
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
                self.sender.state(&State::Live);
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
        line.sender.push(&frame);
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
            return line.decide(&mut inner, Outcome::Failed(refusal));
        }
        inner.state = state.clone();
        line.sender.state(state);
    }
}
