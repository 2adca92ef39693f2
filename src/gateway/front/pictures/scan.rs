//! Start codes and emulation prevention in NAL units that come in pieces (H.264 7.4.1,
//! annex B; H.265 the same).
//!
//! A unit never holds 00 00 00, 00 00 01 or 00 00 02. Where bytes do, a start code that a
//! plausible NAL header follows begins another unit; anything else gets the emulation
//! prevention byte that is missing, so that decoders read the same bits.

use crate::media::unit::Codec;

/// Where the pieces of units go.
pub(super) trait Sink {
    /// More bytes of the open unit.
    fn bytes(&mut self, bytes: &[u8]);
    /// A start code: another unit begins.
    fn split(&mut self);
    /// Emulation prevention was missing.
    fn repaired(&mut self);
}

/// The state between two pieces: newest bytes that wait for those that follow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Scan {
    /// Zeros that were not passed on: at the end of a unit they belong to it no more.
    zeros: usize,
    /// 00 00 01 came: the next byte tells whether it is a start code.
    starts: bool,
}

impl Scan {
    /// Passes more bytes of the open unit on. The common case, without two zeros in a
    /// row, is one search and one copy.
    pub(super) fn push(&mut self, codec: Codec, mut bytes: &[u8], sink: &mut impl Sink) {
        loop {
            if self.zeros == 0 && !self.starts {
                let end = find_zeros(bytes);
                let (plain, rest) = bytes.split_at(end);
                if !plain.is_empty() {
                    sink.bytes(plain);
                }
                bytes = rest;
            }
            let Some((byte, rest)) = bytes.split_first() else {
                return;
            };
            bytes = rest;
            self.step(codec, *byte, sink);
        }
    }

    /// Nothing more comes of the unit: trailing zeros are dropped.
    pub(super) fn end(&mut self) {
        *self = Self::default();
    }

    fn step(&mut self, codec: Codec, byte: u8, sink: &mut impl Sink) {
        if self.starts {
            self.starts = false;
            if is_header(codec, byte) {
                self.zeros = 0;
                sink.split();
                sink.bytes(&[byte]);
                return;
            }
            self.flush(sink);
            sink.bytes(&[3, 1]);
            sink.repaired();
            // The byte itself may be a zero again.
        }
        match (self.zeros, byte) {
            (_, 0) => self.zeros += 1,
            (2.., 1) => self.starts = true,
            (2, 2) => {
                self.flush(sink);
                sink.bytes(&[3, 2]);
                sink.repaired();
            }
            (3.., 2) => {
                self.flush(sink);
                sink.bytes(&[3, 2]);
            }
            // An escape behind too many zeros: decoders read three zeros and leave it out.
            (3.., 3) => {
                self.flush(sink);
                sink.bytes(&[3]);
            }
            _ => {
                self.flush(sink);
                sink.bytes(&[byte]);
            }
        }
    }

    /// Writes the zeros that waited, escaped where there are more than two: two at most
    /// stand at the end.
    fn flush(&mut self, sink: &mut impl Sink) {
        if self.zeros > 2 {
            sink.repaired();
        }
        while self.zeros > 2 {
            sink.bytes(&[0, 0, 3]);
            self.zeros -= 2;
        }
        sink.bytes(&[0, 0][..self.zeros]);
        self.zeros = 0;
    }
}

/// The place of the first zero that two zeros in a row or the end make doubtful; the
/// length where there is none.
fn find_zeros(bytes: &[u8]) -> usize {
    // A byte that is not 0 is in no pair of zeros: every other byte is enough.
    let mut at = 1;
    while let Some(byte) = bytes.get(at) {
        if *byte == 0 {
            if bytes[at - 1] == 0 {
                return at - 1;
            }
            match bytes.get(at + 1) {
                Some(0) | None => return at,
                Some(_) => {}
            }
        }
        at += 2;
    }
    match bytes.last() {
        Some(0) => bytes.len() - 1,
        _ => bytes.len(),
    }
}

/// Whether a NAL unit may begin so: random bytes rarely do.
fn is_header(codec: Codec, byte: u8) -> bool {
    match codec {
        // Slices, SEI, parameter sets, delimiters, filler, with the nal_ref_idc they may have.
        Codec::H264 => matches!(
            byte,
            0x01 | 0x21
                | 0x41
                | 0x61
                | 0x25
                | 0x45
                | 0x65
                | 0x06
                | 0x27
                | 0x47
                | 0x67
                | 0x28
                | 0x48
                | 0x68
                | 0x09..=0x0c
        ),
        // The same, in layer 0.
        _ => byte & 0x81 == 0 && matches!(byte >> 1, 0..=9 | 16..=21 | 32..=40),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::media::nal::unescape;

    #[derive(Default)]
    struct Units(Vec<Vec<u8>>, bool);

    impl Sink for Units {
        fn bytes(&mut self, bytes: &[u8]) {
            self.0.last_mut().unwrap().extend_from_slice(bytes);
        }
        fn split(&mut self) {
            self.0.push(Vec::new());
        }
        fn repaired(&mut self) {
            self.1 = true;
        }
    }

    fn units(codec: Codec, pieces: &[&[u8]]) -> (Vec<Vec<u8>>, bool) {
        let mut sink = Units(vec![Vec::new()], false);
        let mut scan = Scan::default();
        for piece in pieces {
            scan.push(codec, piece, &mut sink);
        }
        scan.end();
        (sink.0, sink.1)
    }

    #[test]
    fn start_codes_and_missing_escapes() {
        for (bytes, expected, repaired) in [
            (&[0x65, 1, 2, 3][..], &[&[0x65, 1, 2, 3][..]][..], false),
            (&[0x65, 0, 0, 3, 1, 0, 0], &[&[0x65, 0, 0, 3, 1]], false),
            (&[0x65, 0, 9, 0, 8], &[&[0x65, 0, 9, 0, 8]], false),
            (
                &[0x67, 7, 0, 0, 0, 1, 0x68, 8, 0, 0, 1, 0x65, 9],
                &[&[0x67, 7], &[0x68, 8], &[0x65, 9]],
                false,
            ),
            (&[0, 0, 0, 1, 0x65, 9], &[&[], &[0x65, 9]], false),
            // 00 00 01 that no header follows, 00 00 02, three zeros and more.
            (&[0x65, 0, 0, 1, 0xff], &[&[0x65, 0, 0, 3, 1, 0xff]], true),
            (&[0x65, 0, 0, 2, 7], &[&[0x65, 0, 0, 3, 2, 7]], true),
            (&[0x65, 0, 0, 0, 7], &[&[0x65, 0, 0, 3, 0, 7]], true),
            (
                &[6, 0xaa, 0, 0, 0, 3, 0xaa],
                &[&[6, 0xaa, 0, 0, 3, 0, 3, 0xaa]],
                true,
            ),
            (
                &[0x65, 0, 0, 0, 0, 0, 2],
                &[&[0x65, 0, 0, 3, 0, 0, 3, 0, 3, 2]],
                true,
            ),
        ] {
            for cut in 0..=bytes.len() {
                let (first, second) = bytes.split_at(cut);
                let (units, fixed) = units(Codec::H264, &[first, second]);
                assert_eq!(units, expected, "{bytes:?} cut at {cut}");
                assert_eq!(fixed, repaired, "{bytes:?}");
            }
        }
        let (units, _) = units(Codec::H265, &[&[0x40, 1, 9, 0, 0, 0, 1, 0x42], &[1, 8]]);
        assert_eq!(units, [&[0x40, 1, 9][..], &[0x42, 1, 8]]);
    }

    proptest! {
        #[test]
        fn no_unit_holds_a_start_code(
            bytes in prop::collection::vec(0_u8..6, 0..200),
            cuts in prop::collection::vec(0_usize..200, 0..5),
        ) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.sort_unstable();
            cuts.push(bytes.len());
            let mut start = 0;
            let mut pieces = Vec::new();
            for cut in cuts {
                pieces.push(&bytes[start..cut]);
                start = cut;
            }
            let (made, _) = units(Codec::H264, &pieces);
            let (whole, _) = units(Codec::H264, &[&bytes]);
            prop_assert_eq!(&made, &whole);
            for unit in &made {
                prop_assert!(!unit.windows(3).any(|three| three[..2] == [0, 0] && three[2] < 3));
                prop_assert!(unit.last() != Some(&0));
            }
        }

        #[test]
        fn well_formed_units_pass_as_they_are(payload in prop::collection::vec(0_u8..5, 0..200)) {
            let mut unit = vec![0x65];
            crate::media::nal::escape_into(&mut unit, &payload);
            unit.push(0x80);
            let (made, repaired) = units(Codec::H264, &[&unit]);
            prop_assert_eq!(&made, &[unit.clone()]);
            prop_assert!(!repaired);
            prop_assert!(unescape(&unit, usize::MAX).len() == payload.len() + 2);
        }
    }
}
