//! The parameter sets of a stream: several of each kind by their ids, in band and from
//! the description, and the configuration they make.

use std::sync::Arc;

use bytes::Bytes;

use super::super::fix::{Fix, Fixes};
use crate::media::config::{Avc, Hevc};
use crate::media::nal::{Bits, PARAMETER_SETS_LIMIT, annex_b, unescape};
use crate::media::slice::Pps;
use crate::media::unit::{Codec, Configuration};
use crate::media::{h264, h265};

/// Largest parameter set that is kept, in bytes.
pub(super) const SET_LIMIT: usize = 4 * 1024;
/// Most sets that go in front of one picture.
const FRESH_LIMIT: usize = 16;

/// The kinds of sets; each numbers its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Video,
    Sequence,
    Picture,
}

#[derive(Clone, Debug)]
struct Set {
    kind: Kind,
    id: u8,
    /// The id of the sequence parameter set that a picture parameter set builds on.
    parent: u8,
    unit: Bytes,
    described: bool,
    parsed: Parsed,
}

/// The part of H.264's sets that slice headers need.
#[derive(Clone, Copy, Debug)]
enum Parsed {
    Sps(h264::Sps),
    Pps(Pps),
    Other,
}

#[derive(Debug)]
pub(super) struct Sets {
    codec: Codec,
    fixes: Fixes,
    /// Latest of each kind and id, oldest first.
    sets: Vec<Set>,
    configuration: Option<Arc<Configuration>>,
    /// The sequence parameter set it was made for; `None`: sets changed since.
    made_for: Option<u8>,
    /// Sets that came since the configuration was made and that it does not have.
    fresh: Vec<Bytes>,
}

impl Sets {
    /// With the units of the description, each perhaps behind a start code.
    pub(super) fn new(codec: Codec, described: &[Bytes], fixes: Fixes) -> Self {
        let mut sets = Self {
            codec,
            fixes,
            sets: Vec::new(),
            configuration: None,
            made_for: None,
            fresh: Vec::new(),
        };
        for unit in described {
            if unit.first() == Some(&0) {
                sets.fixes.note(Fix::DescribedSets);
                for unit in annex_b(unit) {
                    sets.take(unit, true);
                }
            } else if !sets.take(unit, true) {
                sets.fixes.note(Fix::DescribedSets);
            }
        }
        sets
    }

    /// Keeps a set that came in band. `false`: it cannot be read.
    pub(super) fn take_in_band(&mut self, unit: &[u8]) -> bool {
        self.take(unit, false)
    }

    fn take(&mut self, unit: &[u8], described: bool) -> bool {
        let end = unit
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |at| at + 1);
        let unit = &unit[..end];
        let same = |set: &&mut Set| set.unit == unit;
        if let Some(set) = self.sets.iter_mut().find(same) {
            set.described &= described;
            return true;
        }
        let Some(mut set) = read(self.codec, unit) else {
            return false;
        };
        set.described = described;
        let place = |other: &Set| other.kind == set.kind && other.id == set.id;
        if let Some(at) = self.sets.iter().position(place) {
            let old = self.sets.remove(at);
            if old.described && !described {
                self.fixes.note(Fix::DescribedSets);
            }
        }
        let of_kind = self.sets.iter().filter(|other| other.kind == set.kind);
        if of_kind.count() >= PARAMETER_SETS_LIMIT - 1
            && let Some(oldest) = self.sets.iter().position(|other| other.kind == set.kind)
        {
            self.sets.remove(oldest);
        }
        if self.configuration.is_some() && !described {
            self.fresh.truncate(FRESH_LIMIT - 1);
            self.fresh.push(set.unit.clone());
        }
        self.sets.push(set);
        self.made_for = None;
        true
    }

    /// H.264's sets that a slice refers to.
    pub(super) fn of_slice(&self, pps: u8) -> Option<(h264::Sps, Pps)> {
        let Parsed::Pps(pps) = self.get(Kind::Picture, pps)?.parsed else {
            return None;
        };
        match self.get(Kind::Sequence, pps.sps)?.parsed {
            Parsed::Sps(sps) => Some((sps, pps)),
            _ => None,
        }
    }

    fn get(&self, kind: Kind, id: u8) -> Option<&Set> {
        self.sets
            .iter()
            .find(|set| set.kind == kind && set.id == id)
    }

    /// The configuration for pictures between key pictures.
    pub(super) fn current(&self) -> Option<Arc<Configuration>> {
        self.configuration.clone()
    }

    /// Sets that came inside a group and go in front of the picture that may need them.
    pub(super) fn take_fresh(&mut self) -> Vec<Bytes> {
        if !self.fresh.is_empty() {
            self.fixes.note(Fix::LateSets);
        }
        std::mem::take(&mut self.fresh)
    }

    /// The configuration for a key picture that refers to picture parameter set `pps`:
    /// all sets, the sequence parameter set in use first. `None`: a set is missing.
    pub(super) fn at_key(&mut self, pps: Option<u8>) -> Option<Arc<Configuration>> {
        let active = match pps {
            Some(pps) => self.get(Kind::Picture, pps)?.parent,
            None => self.sets.iter().find(|set| set.kind == Kind::Sequence)?.id,
        };
        if self.made_for != Some(active) || self.configuration.is_none() {
            let fresh = self.build(active)?;
            self.made_for = Some(active);
            if self.configuration.as_deref() != Some(&fresh) {
                self.configuration = Some(Arc::new(fresh));
            }
        }
        self.fresh.clear();
        self.configuration.clone()
    }

    fn build(&self, active: u8) -> Option<Configuration> {
        let record = |all: bool| {
            let list = |kind| self.list(kind, active, all);
            let record = match self.codec {
                Codec::H264 => Avc {
                    sps: list(Kind::Sequence),
                    pps: list(Kind::Picture),
                }
                .build(),
                _ => Hevc {
                    vps: list(Kind::Video),
                    sps: list(Kind::Sequence),
                    pps: list(Kind::Picture),
                }
                .build(),
            };
            record.and_then(|record| Configuration::from_record(self.codec, record))
        };
        // All may be larger than a record.
        record(true).or_else(|_| record(false)).ok()
    }

    /// Sets of a kind by id, those in use first; `all`: the others too. A picture
    /// parameter set that builds on nothing is left out.
    fn list(&self, kind: Kind, active: u8, all: bool) -> Vec<Bytes> {
        let in_use = |set: &Set| match kind {
            Kind::Video => true,
            Kind::Sequence => set.id == active,
            Kind::Picture => set.parent == active,
        };
        let useful = |set: &&Set| {
            set.kind == kind
                && (all || in_use(set))
                && (kind != Kind::Picture || self.get(Kind::Sequence, set.parent).is_some())
        };
        let mut sets: Vec<&Set> = self.sets.iter().filter(useful).collect();
        sets.sort_by_key(|set| (!in_use(set), set.id));
        sets.into_iter().map(|set| set.unit.clone()).collect()
    }
}

/// Reads what of a set is needed. `None`: it is none, broken or too large.
fn read(codec: Codec, unit: &[u8]) -> Option<Set> {
    if unit.len() > SET_LIMIT {
        return None;
    }
    let (kind, id, parent, parsed) = match codec {
        Codec::H264 => match h264::nal_type(unit) {
            h264::kind::SPS => {
                let sps = h264::Sps::parse(unit)?;
                (Kind::Sequence, sps.id, 0, Parsed::Sps(sps))
            }
            _ => {
                let pps = Pps::parse(unit)?;
                (Kind::Picture, pps.id, pps.sps, Parsed::Pps(pps))
            }
        },
        _ => {
            let payload = unescape(unit.get(2..)?, 16);
            let mut bits = Bits::new(&payload);
            match h265::nal_type(unit) {
                h265::kind::VPS => (Kind::Video, bits.bits(4)? as u8, 0, Parsed::Other),
                h265::kind::SPS => {
                    let sps = h265::Sps::parse(unit)?;
                    (Kind::Sequence, sps.id, 0, Parsed::Other)
                }
                h265::kind::PPS => {
                    let id = u8::try_from(bits.ue()?).ok().filter(|id| *id <= 63)?;
                    let sps = u8::try_from(bits.ue()?).ok().filter(|id| *id <= 15)?;
                    (Kind::Picture, id, sps, Parsed::Other)
                }
                _ => return None,
            }
        }
    };
    Some(Set {
        kind,
        id,
        parent,
        unit: Bytes::copy_from_slice(unit),
        described: false,
        parsed,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Bytes {
        (0..text.len() / 2)
            .map(|at| u8::from_str_radix(&text[at * 2..at * 2 + 2], 16).unwrap())
            .collect()
    }

    fn sps() -> Bytes {
        hex("6742c01ed900a02ff97011000003000100000300320f162e48")
    }

    fn other_sps() -> Bytes {
        hex("67640028acd940780227e5c044000003000400000300c83c60c658")
    }

    /// Picture parameter sets 0 and 1 on set 0, 2 on set 1.
    const PPS: [&[u8]; 3] = [
        &[0x68, 0xce, 0x3c, 0x80],
        &[0x68, 0x53, 0x8f, 0x20],
        &[0x68, 0x64, 0xe3, 0x80],
    ];

    fn avc(configuration: Option<Arc<Configuration>>) -> Avc {
        Avc::parse(&configuration.expect("a configuration").record).unwrap()
    }

    #[test]
    fn all_sets_are_listed_and_equal_ones_change_nothing() {
        let fixes = Fixes::default();
        let mut sets = Sets::new(Codec::H264, &[], fixes.clone());
        assert!(sets.at_key(Some(0)).is_none());
        for unit in [&sps()[..], PPS[1], PPS[0], &[0x68], &[0x67, 1, 2]] {
            sets.take_in_band(unit);
        }
        let first = sets.at_key(Some(1)).unwrap();
        let read = avc(Some(first.clone()));
        assert_eq!((read.sps, read.pps.len()), (vec![sps()], 2));
        assert_eq!(read.pps[0], PPS[0]);
        for unit in [&sps()[..], PPS[0], PPS[1]] {
            assert!(sets.take_in_band(unit));
        }
        assert!(Arc::ptr_eq(&first, &sets.at_key(Some(0)).unwrap()));
        assert!(sets.take_fresh().is_empty());
        assert!(
            sets.at_key(Some(9)).is_none(),
            "refers to a set that never came"
        );
        assert!(fixes.needed().is_empty());
    }

    #[test]
    fn described_sets_serve_until_the_stream_has_its_own() {
        let fixes = Fixes::default();
        let with_start = [&[0, 0, 0, 1][..], PPS[1], &[0, 0, 1], PPS[0]].concat();
        let described = [sps(), Bytes::from(with_start)];
        let mut sets = Sets::new(Codec::H264, &described, fixes.clone());
        let first = avc(sets.at_key(Some(1)));
        assert_eq!((first.sps, first.pps.len()), (vec![sps()], 2));
        assert_eq!(fixes.needed(), [Fix::DescribedSets]);
        sets.take_in_band(&other_sps());
        assert_eq!(avc(sets.at_key(Some(1))).sps, [other_sps()]);
    }

    #[test]
    fn sets_that_change_inside_a_group_precede_its_pictures() {
        let mut sets = Sets::new(
            Codec::H264,
            &[sps(), Bytes::from_static(PPS[0])],
            Fixes::default(),
        );
        let first = sets.at_key(Some(0)).unwrap();
        sets.take_in_band(PPS[1]);
        assert!(Arc::ptr_eq(&first, &sets.current().unwrap()));
        assert_eq!(sets.take_fresh(), [PPS[1]]);
        assert!(sets.take_fresh().is_empty());
        assert_eq!(avc(sets.at_key(Some(0))).pps.len(), 2);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut sets = Sets::new(Codec::H264, &[sps()], Fixes::default());
        sets.take_in_band(PPS[0]);
        assert!(sets.at_key(Some(0)).is_some());
        for id in 0..200_u32 {
            // ue(id), ue(0), then what every one has.
            let code = u64::from(id + 1);
            let length = 2 * (64 - code.leading_zeros()) - 1;
            let bits = (code << 8 | 0b1100_1111) << (48 - length);
            let mut unit = vec![0x68];
            unit.extend_from_slice(&bits.to_be_bytes()[1..7]);
            unit.push(0x80);
            sets.take_in_band(&unit);
        }
        assert!(!sets.take_in_band(&vec![0x67; SET_LIMIT + 1]));
        assert!(sets.sets.len() <= 2 * PARAMETER_SETS_LIMIT);
        assert!(sets.take_fresh().len() <= FRESH_LIMIT);
        assert!(sets.at_key(Some(199)).is_some());
    }
}
