//! Writes the packets of one access unit into one buffer.

use bytes::BufMut;

use super::PACKET_LIMIT;
use crate::media::packets::{FRAMING, HEADER, Packetised};

/// Largest payload of a packet.
pub(super) const PAYLOAD: usize = PACKET_LIMIT - HEADER;

/// What all packets of a unit share.
pub(super) struct Start {
    pub(super) payload_type: u8,
    pub(super) sequence: u16,
    pub(super) timestamp: u32,
    pub(super) ssrc: u32,
    /// Size of the unit, to reserve room.
    pub(super) bytes: usize,
}

/// Writes packets one after the other; the last gets the marker bit.
pub(super) struct Writer {
    out: Vec<u8>,
    start: Start,
    packets: u16,
    /// Where the packet being written begins.
    packet: usize,
}

impl Writer {
    pub(super) fn new(start: Start) -> Self {
        // Framing, header and fragment headers of full packets, and room for
        // parameter sets.
        let overhead = (start.bytes / 1_300 + 8) * (FRAMING + HEADER + 12);
        Self {
            out: Vec::with_capacity(start.bytes + overhead),
            start,
            packets: 0,
            packet: 0,
        }
    }

    /// Begins a packet; its payload is what `parts` give, at most [`PAYLOAD`] bytes.
    pub(super) fn packet(&mut self, parts: &[&[u8]]) {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        debug_assert!(length <= PAYLOAD, "{length} bytes of payload");
        self.packet = self.out.len();
        self.out.put_u8(b'$');
        self.out.put_u8(0);
        self.out.put_u16((HEADER + length) as u16);
        self.out.put_u8(0x80);
        self.out.put_u8(self.start.payload_type);
        self.out
            .put_u16(self.start.sequence.wrapping_add(self.packets));
        self.out.put_u32(self.start.timestamp);
        self.out.put_u32(self.start.ssrc);
        for part in parts {
            self.out.extend_from_slice(part);
        }
        self.packets = self.packets.wrapping_add(1);
    }

    pub(super) fn finish(mut self) -> Packetised {
        if let Some(byte) = self.out.get_mut(self.packet + FRAMING + 1) {
            *byte |= 0x80;
        }
        Packetised {
            interleaved: self.out.into(),
            packets: self.packets,
            first_sequence: self.start.sequence,
            timestamp: self.start.timestamp,
            ..Packetised::default()
        }
    }
}

/// Gathers NAL units that fit into one packet together.
pub(super) struct Aggregate<'a> {
    units: Vec<&'a [u8]>,
    bytes: usize,
    /// Bytes of the aggregation packet's own header.
    head: usize,
}

impl<'a> Aggregate<'a> {
    pub(super) const fn new(head: usize) -> Self {
        Self {
            units: Vec::new(),
            bytes: head,
            head,
        }
    }

    /// Whether `unit` still fits, behind its length in two bytes.
    pub(super) fn fits(&self, unit: &[u8]) -> bool {
        self.bytes + 2 + unit.len() <= PAYLOAD
    }

    pub(super) fn push(&mut self, unit: &'a [u8]) {
        self.bytes += 2 + unit.len();
        self.units.push(unit);
    }

    /// Writes what was gathered: one unit as it is, several behind `head` of them.
    pub(super) fn flush<const HEAD: usize>(
        &mut self,
        writer: &mut Writer,
        head: impl FnOnce(&[&'a [u8]]) -> [u8; HEAD],
    ) {
        match self.units.as_slice() {
            [] => {}
            [unit] => writer.packet(&[unit]),
            units => {
                let head = head(units);
                let lengths: Vec<[u8; 2]> = units
                    .iter()
                    .map(|unit| (unit.len() as u16).to_be_bytes())
                    .collect();
                let mut parts: Vec<&[u8]> = Vec::with_capacity(1 + 2 * units.len());
                parts.push(&head);
                for (length, unit) in lengths.iter().zip(units) {
                    parts.push(length);
                    parts.push(unit);
                }
                writer.packet(&parts);
            }
        }
        self.units.clear();
        self.bytes = self.head;
    }
}
