//! Units behind their length in four bytes, as in files (ISO 14496-15 5.3.3), of cameras
//! that pack what their recorder writes.

use super::super::super::fix::Fix;
use super::Units;
use crate::media::nal::length_prefixed;
use crate::media::unit::UNIT_LIMIT;

/// Units behind lengths in fragments, as far as they came.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lengths {
    /// Bytes of the next length.
    next: [u8; 4],
    got: usize,
    /// Bytes of the open unit that are still to come.
    left: usize,
}

impl Units {
    /// Takes a payload of whole units behind their lengths. `false`: it is none.
    pub(in super::super) fn take_lengths(&mut self, payload: &[u8]) -> bool {
        if payload.first() != Some(&0) || !are_units(payload) {
            return false;
        }
        self.note_lengths();
        for unit in length_prefixed(payload).filter(|unit| !unit.is_empty()) {
            self.unit(unit);
        }
        true
    }

    fn note_lengths(&mut self) {
        self.knows_lengths = true;
        self.fixes.note(Fix::LengthPrefixes);
    }

    /// Begins fragments of what begins with a length, which stands where the unit's header
    /// should. `false`: it is a start code.
    pub(super) fn begin_lengths(&mut self, header: &[u8], body: &[u8]) -> bool {
        let begins_with = |code: &[u8]| {
            [header, body.get(..4).unwrap_or(body)]
                .concat()
                .starts_with(code)
        };
        let is_code = begins_with(&[0, 0, 0, 1]) || !self.knows_lengths && begins_with(&[0, 0, 1]);
        if header.iter().any(|byte| *byte != 0) || is_code {
            return false;
        }
        self.leave();
        self.note_lengths();
        self.lengths = Some(Lengths::default());
        self.write_lengths(header);
        self.write_lengths(body);
        true
    }

    /// Writes what follows in fragments.
    pub(super) fn write_lengths(&mut self, mut bytes: &[u8]) {
        let Some(mut lengths) = self.lengths else {
            return;
        };
        while !bytes.is_empty() {
            if lengths.left > 0 {
                let (part, rest) = bytes.split_at(lengths.left.min(bytes.len()));
                self.write(part);
                lengths.left -= part.len();
                bytes = rest;
                continue;
            }
            if let (Some(place), Some((byte, rest))) =
                (lengths.next.get_mut(lengths.got), bytes.split_first())
            {
                *place = *byte;
                lengths.got += 1;
                bytes = rest;
            }
            if lengths.got < lengths.next.len() {
                continue;
            }
            (lengths.left, lengths.got) = (u32::from_be_bytes(lengths.next) as usize, 0);
            if lengths.left > UNIT_LIMIT {
                self.lengths = None;
                self.cut();
                return;
            }
            if lengths.left > 0 {
                if self.open.is_some() {
                    self.close();
                }
                self.begin(true);
            }
        }
        self.lengths = Some(lengths);
    }

    /// The fragments ended. `false`: something of the open unit is missing.
    pub(super) fn end_lengths(&mut self) -> bool {
        self.lengths.take().is_none_or(|lengths| lengths.left == 0)
    }
}

/// Whether these bytes are units behind lengths that fill them to the last.
fn are_units(mut bytes: &[u8]) -> bool {
    while let Some((length, rest)) = bytes.split_first_chunk::<4>() {
        let length = u32::from_be_bytes(*length) as usize;
        let Some((unit, rest)) = rest.split_at_checked(length) else {
            return false;
        };
        if unit.first().is_none_or(|header| header & 0x80 != 0) {
            return false;
        }
        bytes = rest;
    }
    bytes.is_empty()
}
