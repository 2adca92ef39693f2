//! A relay: one camera's way over one link. Its number, which of the camera's streams
//! it carries, how important it is.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One camera's way over one link: chosen by the gateway, not used again while
/// the gateway's process lives. On the wire in every group header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RelayId(pub u32);

impl fmt::Display for RelayId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which of a camera's streams is relayed.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// The full picture.
    #[default]
    Main,
    /// The camera's smaller second stream.
    Sub,
}

impl Profile {
    /// `main` or `sub`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Main => "main",
            Self::Sub => "sub",
        }
    }
}

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
    /// The priority of this class's newest groups; larger numbers go first.
    ///
    /// Within a class all have the same number, so that quinn's round robin serves
    /// them in turn; strict ranks would starve the last camera.
    pub const fn number(self) -> i32 {
        match self {
            Self::Rest => 10,
            Self::Mosaic => 20,
            Self::Focus => 30,
        }
    }
}
