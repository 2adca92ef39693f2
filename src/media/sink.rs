//! Who takes what a camera gives, and what he is told of the camera.

use super::unit::Frame;
use crate::reason::Refusal;

/// Takes what a camera gives. Called on the frames thread; must not block.
pub trait Sink: Send + Sync {
    /// The next frame: a group's start or a picture.
    fn push(&self, frame: &Frame);
    /// The camera's state changed.
    fn state(&self, state: &State);
}

/// What those who hang on a camera are told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It is being opened.
    Starting,
    /// Frames come.
    Live,
    /// It failed and is tried again; why.
    Retrying(Refusal),
    /// It is not tried again until settings change; why.
    Failed(Refusal),
}
