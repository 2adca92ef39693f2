//! RTP headers (RFC 3550 5.1), read leniently.

/// The fields of an RTP packet, and its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Packet<'a> {
    /// Version 2, and an extension that its packet holds.
    pub(super) is_sound: bool,
    pub(super) version: u8,
    pub(super) marker: bool,
    pub(super) payload_type: u8,
    pub(super) sequence: u16,
    pub(super) time: u32,
    pub(super) ssrc: u32,
    /// The header extension's profile and content (RFC 3550 5.3.1).
    pub(super) extension: Option<(u16, &'a [u8])>,
    pub(super) payload: &'a [u8],
    /// Its padding count is 0 or reaches beyond the payload; it was left in place.
    pub(super) bad_padding: bool,
}

impl<'a> Packet<'a> {
    /// Reads a packet. `None`: it is no RTP packet, or its header reaches beyond its end.
    /// What is not sound is for the caller to judge.
    pub(super) fn parse(packet: &'a [u8]) -> Option<Self> {
        let (head, mut rest) = packet.split_first_chunk::<12>()?;
        // Payload types 72 to 76 with the marker are RTCP's packet types (RFC 3551 6).
        if matches!(head[1], 200..=204) {
            return None;
        }
        let version = head[0] >> 6;
        let mut is_sound = version == 2;
        rest = rest.get(usize::from(head[0] & 0x0f) * 4..)?;
        let mut extension = None;
        if head[0] & 0x10 != 0 {
            let (start, after) = rest.split_first_chunk::<4>()?;
            let profile = u16::from_be_bytes([start[0], start[1]]);
            let length = usize::from(u16::from_be_bytes([start[2], start[3]])) * 4;
            match after.split_at_checked(length) {
                Some((content, after)) => {
                    extension = Some((profile, content));
                    rest = after;
                }
                None => {
                    is_sound = false;
                    // The start of one without the rest, or none at all.
                    if matches!(profile, 0xbede | 0x1000..=0x100f | 0xabac | 0xffd8) {
                        rest = after;
                    }
                }
            }
        }
        let mut bad_padding = false;
        if head[0] & 0x20 != 0 {
            let count = rest.last().map_or(0, |count| usize::from(*count));
            match rest.len().checked_sub(count) {
                Some(end) if count > 0 => rest = &rest[..end],
                _ => bad_padding = !rest.is_empty(),
            }
        }
        Some(Self {
            is_sound,
            version,
            marker: head[1] & 0x80 != 0,
            payload_type: head[1] & 0x7f,
            sequence: u16::from_be_bytes([head[2], head[3]]),
            time: u32::from_be_bytes([head[4], head[5], head[6], head[7]]),
            ssrc: u32::from_be_bytes([head[8], head[9], head[10], head[11]]),
            extension,
            payload: rest,
            bad_padding,
        })
    }

    /// Tells packets with the same number apart without keeping them.
    pub(super) fn fingerprint(&self) -> u64 {
        let payload = self.payload;
        let ends = payload.iter().take(16).chain(payload.iter().rev().take(16));
        let start = u64::from(self.time) << 32 | payload.len() as u64;
        // FNV-1a.
        ends.fold(start ^ 0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(first: u8, rest: &[u8]) -> Vec<u8> {
        let mut packet = vec![first, 0x80 | 96, 0, 7, 0, 0, 0, 9, 1, 2, 3, 4];
        packet.extend_from_slice(rest);
        packet
    }

    #[test]
    fn headers_of_every_kind() {
        for (first, rest, payload) in [
            (0x80, &[0x65, 1][..], Some(&[0x65, 1][..])),
            (0x82, &[9, 9, 9, 9, 8, 8, 8, 8, 0x65], Some(&[0x65])),
            (0x82, &[9, 9, 9, 9], None),
            (0x90, &[0xab, 0xac, 0, 1, 1, 2, 3, 4, 0x65], Some(&[0x65])),
            // Longer than the packet: its start alone, or none at all.
            (0x90, &[0xab, 0xac, 0, 9, 1], Some(&[1])),
            (0x90, &[0x65, 0xac, 0, 9], Some(&[0x65, 0xac, 0, 9])),
            (0xa0, &[0x65, 0, 2], Some(&[0x65])),
            (0xa0, &[0x65, 0], Some(&[0x65, 0])),
            (0xa0, &[0x65, 77], Some(&[0x65, 77])),
            (0xa0, &[], Some(&[])),
            (0x80, &[], Some(&[])),
            (0x40, &[0x65], Some(&[0x65])),
        ] {
            let packet = packet(first, rest);
            let read = Packet::parse(&packet);
            assert_eq!(read.map(|read| read.payload), payload, "{first:x} {rest:?}");
            let is_sound = first >> 6 == 2 && !rest.ends_with(&[0, 9]) && !rest.ends_with(&[9, 1]);
            assert!(
                read.is_none_or(|read| read.is_sound == is_sound),
                "{first:x} {rest:?}"
            );
        }
        let with_extension = packet(0x90, &[0xff, 0xd8, 0, 1, 1, 2, 3, 4, 5]);
        let read = Packet::parse(&with_extension).unwrap();
        assert_eq!(read.extension, Some((0xffd8, &[1, 2, 3, 4][..])));
        assert!(read.marker && read.payload_type == 96 && read.sequence == 7);
        assert_eq!(
            Packet::parse(&[0x80, 200, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0]),
            None
        );
        assert_eq!(Packet::parse(&[0x80; 11]), None);
    }
}
