//! A camera's habits, as its markers and slices have shown them: kept for its next
//! session, whose first picture then waits for no proof.

/// Pictures that prove markers truthful, or the number of slices steady; a key picture
/// must be among them.
const PROOF: u8 = 6;

/// The habits learned from the camera's markers and slices.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::gateway::front) struct Habits {
    /// Pictures that ended where the marker said, and whether a key picture was among them.
    pub(super) truthful: u8,
    pub(super) truthful_key: bool,
    pub(super) lie: bool,
    pub(super) missing: u8,
    /// The picture given out last ended for its marker; the next slice tells whether rightly.
    pub(super) unproven: Option<bool>,
    /// Slices of the picture before, how many pictures had as many, a key picture too.
    pub(super) usual: u32,
    pub(super) steady: u8,
    pub(super) steady_key: bool,
    /// Fragmented units end with their end bit.
    pub(super) ends: bool,
    /// A fragment had the start bit.
    pub(super) starts: bool,
    /// All fragments have the start bit, or the end bit.
    pub(super) all_start: bool,
    pub(super) all_end: bool,
}

impl Habits {
    /// What holds for another session too.
    pub(super) const fn lasting(self) -> Self {
        Self {
            missing: 0,
            unproven: None,
            ..self
        }
    }

    pub(super) const fn trusts_markers(&self) -> bool {
        !self.lie && self.truthful >= PROOF && self.truthful_key
    }

    pub(super) fn prove(&mut self, key: bool) {
        self.truthful = self.truthful.saturating_add(1);
        self.truthful_key |= key;
    }

    pub(super) const fn knows_slices(&self) -> bool {
        self.steady >= PROOF && self.steady_key
    }

    pub(super) fn count_slices(&mut self, slices: u32, key: bool) {
        if self.usual == slices {
            self.steady = self.steady.saturating_add(1);
            self.steady_key |= key;
        } else {
            (self.usual, self.steady, self.steady_key) = (slices, 0, key);
        }
    }
}
