//! Who goes first on a link: larger numbers do.
//!
//! Within a class all have the same number, so that quinn's round robin serves
//! them in turn; strict ranks would starve the last camera.

/// The control stream.
pub const CONTROL: i32 = 100;
/// A group that a newer one replaces: only what nothing else needs.
pub const SUPERSEDED: i32 = -10;

/// How important a relay is to the operators who look at it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Not on the page in front.
    #[default]
    Rest,
    /// On the page in front, among others.
    Mosaic,
    /// The one that is looked at.
    Focus,
}

impl Class {
    /// The priority of this class's newest groups.
    pub const fn number(self) -> i32 {
        match self {
            Self::Rest => 10,
            Self::Mosaic => 20,
            Self::Focus => 30,
        }
    }
}
