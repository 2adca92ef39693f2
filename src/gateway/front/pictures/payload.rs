//! The payloads of H.264 (RFC 6184) and H.265 (RFC 7798): single units, aggregates and
//! fragments, with and without decoding order numbers, which are passed over: units are
//! taken as they come.

use super::super::fix::Fix;
use super::rtp::Packet;
use super::units::Units;
use crate::media::unit::Codec;
use crate::media::{h264, h265};

/// Payload types beyond [`h264::kind`] (RFC 6184 table 1).
const STAP_B: u8 = 25;
const MTAP16: u8 = 26;
const MTAP24: u8 = 27;
const FU_B: u8 = 29;

/// Bits of a fragment's header.
const START: u8 = 0x80;
const END: u8 = 0x40;

impl Units {
    /// Takes a packet's payload. `order_numbers`: H.265 with `sprop-max-don-diff` above 0.
    pub(super) fn take(&mut self, packet: &Packet<'_>, order_numbers: bool) {
        let payload = packet.payload;
        if payload.is_empty() {
            self.fixes.note(Fix::EmptyPayload);
        } else if self.take_lengths(payload) {
            // As in files: nothing else is in it.
        } else if starts_with_code(payload) {
            self.fixes.note(Fix::StartCodes);
            self.stream(payload);
        } else if self.codec == Codec::H264 {
            self.take_avc(payload);
        } else {
            self.take_hevc(payload, order_numbers);
        }
        if packet.marker {
            self.mark();
        }
    }

    fn take_avc(&mut self, payload: &[u8]) {
        let Some((header, rest)) = payload.split_first() else {
            return;
        };
        match header & 0x1f {
            1..=23 if header & 0x80 == 0 => self.unit(payload),
            h264::kind::STAP_A => self.aggregate(rest, 0),
            STAP_B => self.aggregate(rest.get(2..).unwrap_or_default(), 0),
            MTAP16 => self.aggregate_times(rest, 2),
            MTAP24 => self.aggregate_times(rest, 3),
            kind @ (h264::kind::FU_A | FU_B) => {
                let Some((fragment, mut body)) = rest.split_first() else {
                    self.fixes.note(Fix::FragmentFlags);
                    return;
                };
                if kind == FU_B {
                    body = body.get(2..).unwrap_or_default();
                }
                let header = header & 0xe0 | fragment & 0x1f;
                self.fragment(*fragment, &[header], body);
            }
            _ => {
                self.fixes.note(Fix::UnknownPayload);
            }
        }
    }

    fn take_hevc(&mut self, payload: &[u8], order_numbers: bool) {
        let Some((header, rest)) = payload.split_first_chunk::<2>() else {
            self.fixes.note(Fix::UnknownPayload);
            return;
        };
        // The number of an aggregate's first unit, of a fragment, of a single unit.
        let number = if order_numbers { 2 } else { 0 };
        match header[0] >> 1 & 0x3f {
            h265::kind::AP => {
                let between = usize::from(order_numbers);
                self.aggregate(rest.get(number..).unwrap_or_default(), between);
            }
            h265::kind::FU => {
                let Some((fragment, mut body)) = rest.split_first() else {
                    self.fixes.note(Fix::FragmentFlags);
                    return;
                };
                if fragment & START != 0 {
                    body = body.get(number..).unwrap_or_default();
                }
                let header = [header[0] & 0x81 | (fragment & 0x3f) << 1, header[1]];
                self.fragment(*fragment, &header, body);
            }
            0..=47 if header[0] & 0x80 == 0 => {
                if order_numbers {
                    self.unit_of(header, rest.get(number..).unwrap_or_default());
                } else {
                    self.unit(payload);
                }
            }
            _ => {
                self.fixes.note(Fix::UnknownPayload);
            }
        }
    }

    /// Units behind 16-bit lengths; `between` bytes stand between one and the next length.
    fn aggregate(&mut self, mut rest: &[u8], between: usize) {
        while let Some((length, after)) = rest.split_first_chunk::<2>() {
            let length = usize::from(u16::from_be_bytes(*length));
            let Some((unit, after)) = after.split_at_checked(length) else {
                break;
            };
            if unit.is_empty() {
                self.fixes.note(Fix::AggregateForm);
            } else {
                self.unit(unit);
            }
            rest = after.get(between..).unwrap_or_default();
        }
        if !rest.is_empty() {
            self.fixes.note(Fix::AggregateForm);
            if rest.iter().any(|byte| *byte != 0) {
                // A unit that its packet does not hold.
                self.harm();
            }
        }
    }

    /// MTAP (RFC 6184 5.7.2): each unit with an order number and a time of its own.
    fn aggregate_times(&mut self, rest: &[u8], offset_bytes: usize) {
        let packet_time = self.time;
        let mut rest = rest.get(2..).unwrap_or_default();
        while let Some((length, after)) = rest.split_first_chunk::<2>() {
            let length = usize::from(u16::from_be_bytes(*length));
            let Some((head, after)) = after.split_at_checked(1 + offset_bytes) else {
                break;
            };
            let Some((unit, after)) = after.split_at_checked(length) else {
                break;
            };
            let offset = head.iter().skip(1);
            let offset = offset.fold(0_u32, |sum, byte| sum << 8 | u32::from(*byte));
            self.time = packet_time.wrapping_add(offset);
            if !unit.is_empty() {
                self.unit(unit);
            }
            rest = after;
        }
        if !rest.is_empty() {
            self.fixes.note(Fix::AggregateForm);
        }
    }

    fn fragment(&mut self, flags: u8, header: &[u8], body: &[u8]) {
        if flags & START != 0 {
            self.begin_fragments(header, body);
        } else {
            self.go_on(header, body);
        }
        self.note_flags(flags & START != 0, flags & END != 0);
        if flags & END != 0 {
            if flags & START != 0 {
                self.fixes.note(Fix::FragmentFlags);
            }
            self.end_fragments();
        }
    }
}

fn starts_with_code(payload: &[u8]) -> bool {
    payload.starts_with(&[0, 0, 1]) || payload.starts_with(&[0, 0, 0, 1])
}
