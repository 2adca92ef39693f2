//! What H.264 and H.265 share: network abstraction layer (NAL) units, their two
//! framings, emulation prevention, and reading bits.

use bytes::Bytes;

/// Most parameter sets of one kind that are kept from a record.
pub const PARAMETER_SETS_LIMIT: usize = 32;

/// Walks NAL units that stand behind their length in four bytes (ISO 14496-15).
///
/// Stops at the first length that reaches beyond the end: what is left is not a
/// unit. Empty units are skipped.
#[derive(Clone, Debug)]
pub struct LengthPrefixed<'a> {
    rest: &'a [u8],
}

/// NAL units of `data`, each behind its length in four bytes.
pub const fn length_prefixed(data: &[u8]) -> LengthPrefixed<'_> {
    LengthPrefixed { rest: data }
}

impl<'a> LengthPrefixed<'a> {
    /// Bytes not walked yet; empty at the end of well-formed data.
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for LengthPrefixed<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        loop {
            let (length, rest) = self.rest.split_first_chunk::<4>()?;
            let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
            let unit = rest.get(..length)?;
            self.rest = rest.get(length..)?;
            if !unit.is_empty() {
                return Some(unit);
            }
        }
    }
}

/// Walks NAL units between start codes (H.264 and H.265 annex B).
#[derive(Clone, Debug)]
pub struct AnnexB<'a> {
    rest: &'a [u8],
}

/// NAL units of a byte stream with start codes; what is before the first is skipped.
pub fn annex_b(data: &[u8]) -> AnnexB<'_> {
    let start = find_start(data).map_or(data.len(), |at| at + 3);
    AnnexB {
        rest: data.get(start..).unwrap_or_default(),
    }
}

impl<'a> Iterator for AnnexB<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        while !self.rest.is_empty() {
            let (unit, rest) = match find_start(self.rest) {
                Some(at) => (&self.rest[..at], &self.rest[at + 3..]),
                None => (self.rest, &self.rest[self.rest.len()..]),
            };
            self.rest = rest;
            // Trailing zeros belong to the next start code or are padding.
            let end = unit
                .iter()
                .rposition(|byte| *byte != 0)
                .map_or(0, |at| at + 1);
            if end > 0 {
                return Some(&unit[..end]);
            }
        }
        None
    }
}

fn find_start(data: &[u8]) -> Option<usize> {
    data.windows(3).position(|window| window == [0, 0, 1])
}

/// Appends a NAL unit behind its length in four bytes.
pub fn push_length_prefixed(out: &mut Vec<u8>, unit: &[u8]) {
    let length = u32::try_from(unit.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(unit);
}

/// Takes emulation prevention bytes out of the first `limit` bytes of a unit
/// (H.264 7.4.1, H.265 7.4.2).
pub fn unescape(unit: &[u8], limit: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(unit.len().min(limit));
    let mut zeros = 0;
    for byte in unit.iter().take(limit) {
        if zeros >= 2 && *byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if *byte == 0 { zeros + 1 } else { 0 };
        out.push(*byte);
    }
    out
}

/// Appends `payload` with emulation prevention bytes, so that no start code
/// arises in it (H.264 7.4.1).
pub fn escape_into(out: &mut Vec<u8>, payload: &[u8]) {
    let mut zeros = 0;
    for byte in payload {
        if zeros >= 2 && *byte <= 3 {
            out.push(3);
            zeros = 0;
        }
        zeros = if *byte == 0 { zeros + 1 } else { 0 };
        out.push(*byte);
    }
}

/// Reads bits, most significant first. `None`: the data ended.
#[derive(Clone, Debug)]
pub struct Bits<'a> {
    data: &'a [u8],
    at: usize,
}

impl<'a> Bits<'a> {
    /// Reads from the first bit of `data` (without emulation prevention bytes).
    pub const fn new(data: &'a [u8]) -> Self {
        Self { data, at: 0 }
    }

    /// One bit.
    pub fn bit(&mut self) -> Option<bool> {
        let byte = *self.data.get(self.at / 8)?;
        let bit = byte >> (7 - self.at % 8) & 1;
        self.at += 1;
        Some(bit == 1)
    }

    /// `count` bits (at most 32) as a number.
    pub fn bits(&mut self, count: u32) -> Option<u32> {
        let mut value = 0_u32;
        for _ in 0..count {
            value = value << 1 | u32::from(self.bit()?);
        }
        Some(value)
    }

    /// Passes over `count` bits.
    pub fn skip(&mut self, count: usize) -> Option<()> {
        self.at = self.at.checked_add(count)?;
        (self.at <= self.data.len() * 8).then_some(())
    }

    /// An unsigned Exp-Golomb code, ue(v).
    pub fn ue(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while !self.bit()? {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        let tail = self.bits(zeros)?;
        Some(((1_u64 << zeros) - 1 + u64::from(tail)).min(u64::from(u32::MAX)) as u32)
    }

    /// A signed Exp-Golomb code, se(v).
    pub fn se(&mut self) -> Option<i64> {
        let code = i64::from(self.ue()?);
        Some(if code % 2 == 1 {
            code / 2 + 1
        } else {
            -(code / 2)
        })
    }
}

/// A list of NAL units behind 16-bit lengths, as in avcC and hvcC. `None`: it
/// reaches beyond the end.
pub(super) fn take_units(record: &Bytes, at: &mut usize, count: usize) -> Option<Vec<Bytes>> {
    let mut units = Vec::with_capacity(count.min(PARAMETER_SETS_LIMIT));
    for _ in 0..count {
        let length = record.get(*at..*at + 2)?;
        let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
        let start = *at + 2;
        let end = start.checked_add(length)?;
        if end > record.len() {
            return None;
        }
        if length > 0 && units.len() < PARAMETER_SETS_LIMIT {
            units.push(record.slice(start..end));
        }
        *at = end;
    }
    Some(units)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn walks_both_framings() {
        let mut prefixed = Vec::new();
        push_length_prefixed(&mut prefixed, &[0x65, 1, 2]);
        push_length_prefixed(&mut prefixed, &[]);
        push_length_prefixed(&mut prefixed, &[0x41]);
        let units: Vec<_> = length_prefixed(&prefixed).collect();
        assert_eq!(units, [&[0x65, 1, 2][..], &[0x41]]);

        let stream = [
            9, 0, 0, 0, 1, 0x67, 7, 0, 0, 0, 1, 0x68, 0, 0, 1, 0x65, 5, 0, 0,
        ];
        let units: Vec<_> = annex_b(&stream).collect();
        assert_eq!(units, [&[0x67, 7][..], &[0x68], &[0x65, 5]]);
        assert_eq!(annex_b(&[1, 2, 3]).count(), 0);
    }

    #[test]
    fn a_length_beyond_the_end_ends_the_walk() {
        let mut units = length_prefixed(&[0, 0, 0, 1, 9, 0, 0, 0, 5, 1, 2]);
        assert_eq!(units.next(), Some(&[9][..]));
        assert_eq!(units.next(), None);
        assert_eq!(units.rest(), [0, 0, 0, 5, 1, 2]);
        assert_eq!(length_prefixed(&[255, 255, 255, 255, 1]).next(), None);
    }

    #[test]
    fn exp_golomb_codes() {
        // 1 010 011 00100 00101
        let mut bits = Bits::new(&[0b1010_0110, 0b0100_0010, 0b1000_0000]);
        let codes: Vec<_> = (0..5).map(|_| bits.ue()).collect();
        assert_eq!(codes, [Some(0), Some(1), Some(2), Some(3), Some(4)]);
        let mut bits = Bits::new(&[0b1010_0110, 0b0100_0010, 0b1000_0000]);
        let codes: Vec<_> = (0..5).map(|_| bits.se()).collect();
        assert_eq!(codes, [Some(0), Some(1), Some(-1), Some(2), Some(-2)]);
        assert_eq!(Bits::new(&[0; 8]).ue(), None, "64 zeros are no code");
    }

    proptest! {
        #[test]
        fn escaping_hides_start_codes_and_comes_back(
            payload in prop::collection::vec(0_u8..5, 0..200)
        ) {
            let mut escaped = Vec::new();
            escape_into(&mut escaped, &payload);
            prop_assert!(!escaped.windows(3).any(|window| window[..2] == [0, 0] && window[2] < 3));
            prop_assert_eq!(unescape(&escaped, usize::MAX), payload);
        }

        #[test]
        fn any_bytes_are_walked_without_panic(data in prop::collection::vec(any::<u8>(), 0..300)) {
            let walked: usize = length_prefixed(&data).map(|unit| unit.len() + 4).sum();
            prop_assert!(walked <= data.len());
            let walked: usize = annex_b(&data).map(<[u8]>::len).sum();
            prop_assert!(walked <= data.len());
            let mut bits = Bits::new(&data);
            while bits.ue().is_some() {}
        }
    }
}
