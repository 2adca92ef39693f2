//! The bytes of a media stream: one unidirectional QUIC stream per group of
//! pictures. This is the one place that documents them.
//!
//! All numbers are big-endian. A stream is one group header, then units until
//! FIN, which says that the group is complete.
//!
//! Group header, 30 bytes in this version, then the configuration:
//!
//! | at | size | field |
//! |---|---|---|
//! | 0 | 1 | kind: 1 = group of pictures; another one is refused with STOP_SENDING ([`UNKNOWN_KIND`]) |
//! | 1 | 1 | header length in bytes, kind included, configuration not; what is longer than known is skipped |
//! | 2 | 2 | flags: 1 OPEN, 2 KEPT, 4 FIRST; unknown ones are ignored |
//! | 4 | 4 | relay |
//! | 8 | 8 | group: +1 per key frame, never used again |
//! | 16 | 4 | epoch |
//! | 20 | 1 | codec: 1 H.264, 2 H.265, 3 MJPEG |
//! | 21 | 1 | profile: 0 main, 1 sub |
//! | 22 | 2 | width in pixels, 0 unknown |
//! | 24 | 2 | height in pixels, 0 unknown |
//! | 26 | 4 | length of the configuration, at most 64 KiB |
//! | 30 | | configuration: avcC or hvcC record; empty for MJPEG |
//!
//! Unit header, 21 bytes, then the unit's data:
//!
//! | at | size | field |
//! |---|---|---|
//! | 0 | 4 | length of the data, 1 byte to 8 MiB |
//! | 4 | 1 | flags: 1 key, 2 disposable, 4 loss before; unknown ones are ignored |
//! | 5 | 8 | pts, signed, 90 kHz, on the relay's own time line |
//! | 13 | 8 | captured, signed, µs UTC: last byte at the gateway |
//!
//! Resets and stops carry the number of a [`crate::reason::Reason`] or one of
//! the codes below, which lie above all of them.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};

use crate::media::relay::{Profile, RelayId};
use crate::media::unit::{AccessUnit, Codec, Configuration, Group, UNIT_LIMIT, UnitFlags};

/// Kind of a stream that carries a group of pictures.
pub const KIND_GROUP: u8 = 1;
/// Length of the group header in this version, without the configuration.
pub const GROUP_HEADER: usize = 30;
/// Length of a unit's header.
pub const UNIT_HEADER: usize = 21;
/// Longest configuration.
pub const CONFIGURATION_LIMIT: usize = 64 * 1024;

/// Reset: a newer group replaces this one, which is late.
pub const LATE: u32 = 0x1000;
/// Reset: the sender was dropped before the group was complete.
pub const ABANDONED: u32 = 0x1001;
/// Stop: the kind of stream is not known here.
pub const UNKNOWN_KIND: u32 = 0x1002;
/// Stop: no live grant allows this relay.
pub const UNGRANTED: u32 = 0x1003;
/// Stop: a newer group was delivered already.
pub const SUPERSEDED: u32 = 0x1004;

const OPEN: u16 = 1;
const KEPT: u16 = 2;
const FIRST: u16 = 4;
const KEY: u8 = 1;
const DISPOSABLE: u8 = 2;
const LOSS_BEFORE: u8 = 4;

/// Bytes that are not a group stream of this protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A stream of another kind: of a newer version, perhaps.
    #[error("stream of unknown kind {0}")]
    UnknownKind(u8),
    /// The header is too short to be one.
    #[error("group header of {0} bytes, at least {GROUP_HEADER} expected")]
    ShortHeader(u8),
    /// A codec of a newer version, perhaps.
    #[error("unknown codec {0}")]
    UnknownCodec(u8),
    /// A profile of a newer version, perhaps.
    #[error("unknown profile {0}")]
    UnknownProfile(u8),
    /// The configuration is too long.
    #[error("configuration of {0} bytes, at most {CONFIGURATION_LIMIT} allowed")]
    ConfigurationTooLong(u32),
    /// The unit is empty or too long.
    #[error("unit of {0} bytes, 1 to {UNIT_LIMIT} allowed")]
    UnitLength(u32),
}

/// The start of a group stream: which relay, and the group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupHeader {
    /// Whose camera.
    pub relay: RelayId,
    /// The group.
    pub group: Arc<Group>,
}

/// The fixed part of a group header, before its configuration is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fixed {
    /// Whose camera.
    pub relay: RelayId,
    /// Length of the configuration that follows, within its limit.
    pub configuration: usize,
    flags: u16,
    number: u64,
    epoch: u32,
    codec: Codec,
    profile: Profile,
    width: u16,
    height: u16,
}

/// How long the header is, from its first two bytes.
///
/// # Errors
///
/// No group, or a header shorter than version 1's.
pub fn header_length(prefix: [u8; 2]) -> Result<usize, DecodeError> {
    let [kind, length] = prefix;
    if kind != KIND_GROUP {
        return Err(DecodeError::UnknownKind(kind));
    }
    if usize::from(length) < GROUP_HEADER {
        return Err(DecodeError::ShortHeader(length));
    }
    Ok(usize::from(length))
}

impl Fixed {
    /// Decodes the first [`GROUP_HEADER`] bytes of a stream; what a longer
    /// header has behind them is for the caller to skip.
    ///
    /// # Errors
    ///
    /// A value is out of its bounds.
    pub fn decode(bytes: &[u8; GROUP_HEADER]) -> Result<Self, DecodeError> {
        header_length([bytes[0], bytes[1]])?;
        let mut at = Reader { bytes, at: 2 };
        let flags = u16::from_be_bytes(at.take());
        let relay = RelayId(u32::from_be_bytes(at.take()));
        let number = u64::from_be_bytes(at.take());
        let epoch = u32::from_be_bytes(at.take());
        let codec = match u8::from_be_bytes(at.take()) {
            1 => Codec::H264,
            2 => Codec::H265,
            3 => Codec::Jpeg,
            other => return Err(DecodeError::UnknownCodec(other)),
        };
        let profile = match u8::from_be_bytes(at.take()) {
            0 => Profile::Main,
            1 => Profile::Sub,
            other => return Err(DecodeError::UnknownProfile(other)),
        };
        let width = u16::from_be_bytes(at.take());
        let height = u16::from_be_bytes(at.take());
        let length = u32::from_be_bytes(at.take());
        let configuration = usize::try_from(length)
            .ok()
            .filter(|length| *length <= CONFIGURATION_LIMIT)
            .ok_or(DecodeError::ConfigurationTooLong(length))?;
        Ok(Self {
            relay,
            configuration,
            flags,
            number,
            epoch,
            codec,
            profile,
            width,
            height,
        })
    }

    /// The header with its configuration's record.
    pub fn with_record(self, record: Bytes) -> GroupHeader {
        GroupHeader {
            relay: self.relay,
            group: Arc::new(Group {
                number: self.number,
                epoch: self.epoch,
                first_of_epoch: self.flags & FIRST != 0,
                open: self.flags & OPEN != 0,
                kept: self.flags & KEPT != 0,
                profile: self.profile,
                configuration: Arc::new(Configuration {
                    codec: self.codec,
                    record,
                    width: self.width,
                    height: self.height,
                }),
            }),
        }
    }
}

impl GroupHeader {
    /// The bytes at the start of the group's stream. A record over its limit,
    /// which no camera has, is cut: the receiver's decoder will refuse it.
    pub fn encode(&self) -> Bytes {
        let group = &self.group;
        let configuration = &group.configuration;
        let record = &configuration.record[..configuration.record.len().min(CONFIGURATION_LIMIT)];
        let mut bytes = BytesMut::with_capacity(GROUP_HEADER + record.len());
        bytes.put_u8(KIND_GROUP);
        bytes.put_u8(GROUP_HEADER as u8);
        bytes.put_u16(
            (u16::from(group.open) * OPEN)
                | (u16::from(group.kept) * KEPT)
                | (u16::from(group.first_of_epoch) * FIRST),
        );
        bytes.put_u32(self.relay.0);
        bytes.put_u64(group.number);
        bytes.put_u32(group.epoch);
        bytes.put_u8(configuration.codec as u8);
        bytes.put_u8(match group.profile {
            Profile::Main => 0,
            Profile::Sub => 1,
        });
        bytes.put_u16(configuration.width);
        bytes.put_u16(configuration.height);
        bytes.put_u32(record.len() as u32);
        bytes.put_slice(record);
        bytes.freeze()
    }
}

/// A unit's header: all of the unit but its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnitHeader {
    /// Length of the data that follows, within its limit.
    pub length: usize,
    /// Flags.
    pub flags: UnitFlags,
    /// See [`AccessUnit::pts`].
    pub pts: i64,
    /// See [`AccessUnit::captured`].
    pub captured: i64,
}

impl UnitHeader {
    /// The bytes before this unit's data. Units over the limit must not come here.
    /// `after_gap`: something is missing before it that the unit itself does not tell.
    pub fn encode(unit: &AccessUnit, after_gap: bool) -> [u8; UNIT_HEADER] {
        debug_assert!((1..=UNIT_LIMIT).contains(&unit.data.len()));
        let mut bytes = [0; UNIT_HEADER];
        bytes[..4].copy_from_slice(&(unit.data.len() as u32).to_be_bytes());
        bytes[4] = (u8::from(unit.flags.key) * KEY)
            | (u8::from(unit.flags.disposable) * DISPOSABLE)
            | (u8::from(unit.flags.loss_before || after_gap) * LOSS_BEFORE);
        bytes[5..13].copy_from_slice(&unit.pts.to_be_bytes());
        bytes[13..].copy_from_slice(&unit.captured.to_be_bytes());
        bytes
    }

    /// Decodes a unit's header.
    ///
    /// # Errors
    ///
    /// A value is out of its bounds.
    pub fn decode(bytes: &[u8; UNIT_HEADER]) -> Result<Self, DecodeError> {
        let mut at = Reader { bytes, at: 0 };
        let length = u32::from_be_bytes(at.take());
        let [flags] = at.take();
        Ok(Self {
            length: usize::try_from(length)
                .ok()
                .filter(|length| (1..=UNIT_LIMIT).contains(length))
                .ok_or(DecodeError::UnitLength(length))?,
            flags: UnitFlags {
                key: flags & KEY != 0,
                disposable: flags & DISPOSABLE != 0,
                loss_before: flags & LOSS_BEFORE != 0,
            },
            pts: i64::from_be_bytes(at.take()),
            captured: i64::from_be_bytes(at.take()),
        })
    }

    /// The unit with its data.
    pub fn with_data(self, data: Bytes) -> AccessUnit {
        AccessUnit {
            flags: self.flags,
            pts: self.pts,
            captured: self.captured,
            data,
        }
    }
}

/// Takes fixed pieces off a header whose length the types already guarantee.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut piece = [0; N];
        piece.copy_from_slice(&self.bytes[self.at..self.at + N]);
        self.at += N;
        piece
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> GroupHeader {
        GroupHeader {
            relay: RelayId(0x0102_0304),
            group: Arc::new(Group {
                number: 0x1112_1314_1516_1718,
                epoch: 0x2122_2324,
                first_of_epoch: true,
                open: true,
                kept: false,
                profile: Profile::Sub,
                configuration: Arc::new(Configuration {
                    codec: Codec::H265,
                    record: Bytes::from_static(&[0xaa, 0xbb, 0xcc]),
                    width: 1280,
                    height: 720,
                }),
            }),
        }
    }

    const GOLDEN_GROUP: [u8; 33] = [
        1, 30, 0, 5, 1, 2, 3, 4, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x21, 0x22, 0x23,
        0x24, 2, 1, 5, 0, 2, 0xd0, 0, 0, 0, 3, 0xaa, 0xbb, 0xcc,
    ];

    const GOLDEN_UNIT: [u8; 21] = [
        0, 0, 0, 4, 5, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe, 0, 6, 0x44, 0x27, 0x9a, 1,
        2, 3,
    ];

    fn unit() -> AccessUnit {
        AccessUnit {
            flags: UnitFlags {
                key: true,
                disposable: false,
                loss_before: true,
            },
            pts: -2,
            captured: 0x0006_4427_9a01_0203,
            data: Bytes::from_static(&[9, 9, 9, 9]),
        }
    }

    fn decode(bytes: &[u8]) -> Result<Option<GroupHeader>, DecodeError> {
        let Some(prefix) = bytes.first_chunk() else {
            return Ok(None);
        };
        let length = header_length(*prefix)?;
        let Some(fixed) = bytes.first_chunk() else {
            return Ok(None);
        };
        let fixed = Fixed::decode(fixed)?;
        Ok(bytes
            .get(length..length + fixed.configuration)
            .map(|record| fixed.with_record(Bytes::copy_from_slice(record))))
    }

    #[test]
    fn golden_group_header() {
        assert_eq!(header().encode()[..], GOLDEN_GROUP);
        assert_eq!(decode(&GOLDEN_GROUP), Ok(Some(header())));
    }

    #[test]
    fn golden_unit_header() {
        assert_eq!(UnitHeader::encode(&unit(), false), GOLDEN_UNIT);
        let decoded = UnitHeader::decode(&GOLDEN_UNIT).unwrap();
        assert_eq!(decoded.length, 4);
        assert_eq!(decoded.with_data(unit().data), unit());
    }

    #[test]
    fn a_longer_header_of_a_newer_version_is_skipped() {
        let mut longer = GOLDEN_GROUP[..30].to_vec();
        longer[1] = 34;
        longer.extend([1, 2, 3, 4, 0xaa, 0xbb, 0xcc]);
        assert_eq!(decode(&longer), Ok(Some(header())));
    }

    #[test]
    fn unknown_flags_are_ignored() {
        let mut bytes = GOLDEN_GROUP;
        bytes[2] |= 0xff;
        bytes[3] |= 0xf8;
        assert_eq!(decode(&bytes), Ok(Some(header())));
        let mut bytes = GOLDEN_UNIT;
        bytes[4] |= 0xf8;
        assert_eq!(UnitHeader::decode(&bytes).unwrap().flags, unit().flags);
    }

    #[test]
    fn truncations_ask_for_more_and_never_decode() {
        for length in 0..GOLDEN_GROUP.len() {
            assert_eq!(decode(&GOLDEN_GROUP[..length]), Ok(None), "{length}");
        }
    }

    #[test]
    fn every_flipped_bit_gives_an_error_or_another_header_within_limits() {
        for bit in 0..GOLDEN_GROUP.len() * 8 {
            let mut bytes = GOLDEN_GROUP;
            bytes[bit / 8] ^= 1 << (bit % 8);
            if let Ok(Some(decoded)) = decode(&bytes) {
                assert!(decoded.group.configuration.record.len() <= CONFIGURATION_LIMIT);
                let unknown_flag = bit / 8 == 2 || (bit / 8 == 3 && bit % 8 > 2);
                assert_eq!(decoded == header(), unknown_flag, "bit {bit}");
            }
        }
        for bit in 0..GOLDEN_UNIT.len() * 8 {
            let mut bytes = GOLDEN_UNIT;
            bytes[bit / 8] ^= 1 << (bit % 8);
            if let Ok(decoded) = UnitHeader::decode(&bytes) {
                assert!((1..=UNIT_LIMIT).contains(&decoded.length));
            }
        }
    }

    #[test]
    fn limits() {
        let change = |at: usize, with: &[u8]| {
            let mut bytes = GOLDEN_GROUP;
            bytes[at..at + with.len()].copy_from_slice(with);
            decode(&bytes)
        };
        assert_eq!(change(0, &[2]), Err(DecodeError::UnknownKind(2)));
        assert_eq!(change(1, &[29]), Err(DecodeError::ShortHeader(29)));
        assert_eq!(change(20, &[0]), Err(DecodeError::UnknownCodec(0)));
        assert_eq!(change(21, &[2]), Err(DecodeError::UnknownProfile(2)));
        assert_eq!(
            change(26, &[0, 1, 0, 1]),
            Err(DecodeError::ConfigurationTooLong(65_537))
        );
        for (length, good) in [
            (0_u32, false),
            (1, true),
            (8 << 20, true),
            ((8 << 20) + 1, false),
            (u32::MAX, false),
        ] {
            let mut bytes = GOLDEN_UNIT;
            bytes[..4].copy_from_slice(&length.to_be_bytes());
            assert_eq!(UnitHeader::decode(&bytes).is_ok(), good, "{length}");
        }
    }
}
