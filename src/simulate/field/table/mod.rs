//! The rows, a file for each kind. The numbers and letters beside rows are those of
//! the project's collection of cases, made from public reports; rows without are
//! further cases of the same kinds.

use super::script::{PLAIN, Script};
use super::{Expect, Fault, Kind};
use crate::media::unit::Codec;
use crate::reason::Reason;

mod description;
mod dialogue;
mod digest;
mod jpeg;
mod location;
mod pictures;
mod rtcp;
mod rtp;
mod session;
mod udp;

/// Rows that belong to one codec.
const H264: Option<Codec> = Some(Codec::H264);
const H265: Option<Codec> = Some(Codec::H265);
const JPEG: Option<Codec> = Some(Codec::Jpeg);

/// A camera without faults.
pub static PLAIN_CAMERA: Fault = shown("well-behaved", "It does everything right.", PLAIN);

/// The rows of a kind.
pub const fn of(kind: Kind) -> &'static [Fault] {
    match kind {
        Kind::Dialogue => dialogue::ROWS,
        Kind::Location => location::ROWS,
        Kind::Session => session::ROWS,
        Kind::Digest => digest::ROWS,
        Kind::Description => description::ROWS,
        Kind::Rtcp => rtcp::ROWS,
        Kind::Rtp => rtp::ROWS,
        Kind::Pictures => pictures::ROWS,
        Kind::Jpeg => jpeg::ROWS,
        Kind::Udp => udp::ROWS,
    }
}

/// All rows, the well-behaved camera first.
pub fn all() -> impl Iterator<Item = &'static Fault> {
    std::iter::once(&PLAIN_CAMERA).chain(Kind::ALL.into_iter().flat_map(of))
}

/// The row of this name.
pub fn named(name: &str) -> Option<&'static Fault> {
    all().find(|fault| fault.name == name)
}

const fn row(name: &'static str, about: &'static str, expect: Expect, script: Script) -> Fault {
    Fault {
        name,
        about,
        expect,
        share: 100,
        pictures: 50,
        real_time: false,
        keyless: false,
        connections: 1,
        script,
    }
}

const fn shown(name: &'static str, about: &'static str, script: Script) -> Fault {
    row(name, about, Expect::Shown, script)
}

const fn refused(
    name: &'static str,
    about: &'static str,
    reasons: &'static [Reason],
    words: &'static str,
    script: Script,
) -> Fault {
    row(name, about, Expect::Refused(reasons, words), script)
}

impl Fault {
    /// This much of the pictures must be shown, in percent: the rest is broken.
    const fn share(self, share: u8) -> Self {
        Self { share, ..self }
    }

    /// It takes this many pictures to see whether it is right.
    const fn over(self, pictures: u32) -> Self {
        Self { pictures, ..self }
    }

    /// It sends no key picture: the first seconds are not shown.
    const fn keyless(self) -> Self {
        Self {
            keyless: true,
            ..self.over(300).share(40)
        }
    }

    /// Its periods are in seconds.
    const fn real_time(self) -> Self {
        Self {
            real_time: true,
            ..self
        }
    }

    /// The camera makes more than one connection necessary.
    const fn connections(self, connections: u64) -> Self {
        Self {
            connections,
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn rows_have_names_that_are_camera_names_and_sentences() {
        let mut names = BTreeSet::new();
        for fault in all() {
            assert!(names.insert(fault.name), "{} is there twice", fault.name);
            assert!(
                crate::format::ids::CameraId::new(fault.name).is_ok(),
                "{}",
                fault.name
            );
            assert!(
                fault.about.ends_with('.') && fault.about.len() > 15,
                "{}",
                fault.name
            );
            assert!((1..=100).contains(&fault.share) && fault.pictures > 0);
            assert_eq!(named(fault.name).map(|f| f.about), Some(fault.about));
        }
        assert!(names.len() > 200, "{} rows", names.len());
    }
}
