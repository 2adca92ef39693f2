//! Parameter sets in base64, as descriptions tell them.

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::gateway::front::fix::{Fix, Fixes};
use crate::media::unit::Codec;

/// Sets kept.
const SETS_LIMIT: usize = 64;
/// Longest set kept, bytes.
const SET_LIMIT: usize = 8 * 1024;

/// With or without padding, with bits left over.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// The sets in these lists.
pub(super) fn sets<'a>(
    lists: impl Iterator<Item = &'a str>,
    codec: Codec,
    fixes: &Fixes,
) -> Vec<Vec<u8>> {
    let mut found: Vec<Vec<u8>> = Vec::new();
    let mut odd = false;
    for part in lists.flat_map(|list| list.split(|c: char| c == ',' || c.is_whitespace())) {
        if part.is_empty() {
            continue;
        }
        let Some(bytes) = decode(part, &mut odd) else {
            odd = true;
            continue;
        };
        let mut units = units(&bytes);
        odd |= units.len() != 1;
        units.retain(|unit| {
            let right = rank(unit, codec).is_some() && unit.len() <= SET_LIMIT;
            odd |= !right;
            right && !found.iter().any(|known| known == unit)
        });
        let room = SETS_LIMIT - found.len().min(SETS_LIMIT);
        found.extend(units.into_iter().take(room).map(<[u8]>::to_vec));
    }
    if odd {
        fixes.note(Fix::ParameterSets);
    }
    // Stable: each kind keeps its order.
    found.sort_by_key(|unit| rank(unit, codec));
    found
}

fn decode(text: &str, odd: &mut bool) -> Option<Vec<u8>> {
    let plain = text.trim_matches(|c: char| "\"'{}[]()".contains(c));
    let body = plain.split('=').next().unwrap_or_default();
    let mut letters: String = body
        .chars()
        .filter_map(|c| match c {
            '-' => Some('+'),
            '_' => Some('/'),
            c if c.is_ascii_alphanumeric() || "+/".contains(c) => Some(c),
            _ => None,
        })
        .collect();
    // A letter alone holds no byte.
    if letters.len() % 4 == 1 {
        letters.pop();
    }
    *odd |= letters != body || plain != text || !plain.len().is_multiple_of(4);
    LENIENT
        .decode(&letters)
        .ok()
        .filter(|bytes| !bytes.is_empty())
}

/// The units in one, split at start codes (Annex B), without zeros at their ends.
fn units(bytes: &[u8]) -> Vec<&[u8]> {
    let mut found = Vec::new();
    let (mut start, mut at) = (0, 0);
    while at < bytes.len() {
        if bytes.get(at..at + 3) == Some(&[0, 0, 1]) {
            found.push(bytes.get(start..at).unwrap_or_default());
            at += 3;
            start = at;
        } else {
            at += 1;
        }
    }
    found.push(bytes.get(start..).unwrap_or_default());
    let mut units = Vec::new();
    for mut unit in found {
        while let [rest @ .., 0] = unit {
            unit = rest;
        }
        if !unit.is_empty() {
            units.push(unit);
        }
    }
    units
}

/// Its place among VPS, SPS and PPS; `None`: it is none of them.
fn rank(unit: &[u8], codec: Codec) -> Option<u8> {
    let &[first, _, ..] = unit else {
        return None;
    };
    if first & 0x80 != 0 {
        return None;
    }
    match codec {
        // ITU-T H.264 table 7-1: SPS, its extension, subset SPS, PPS.
        Codec::H264 => match first & 0x1f {
            7 => (unit.len() >= 4).then_some(1),
            13 | 15 => Some(2),
            8 => Some(3),
            _ => None,
        },
        // ITU-T H.265 table 7-1: VPS, SPS, PPS.
        Codec::H265 => match first >> 1 {
            kind @ 32..=34 => (unit.len() >= 3).then_some(kind),
            _ => None,
        },
        Codec::Jpeg => None,
    }
}
