//! Fragments (FU-A, FU) and JPEG's packets, spoiled.

use super::Packet;
use crate::media::unit::Codec;
use crate::media::{h264, h265};
use crate::simulate::field::script::Flaw;

impl Packet {
    /// Where its FU header stands, if it is a fragment.
    fn edges_at(&self, codec: Codec) -> Option<usize> {
        match codec {
            Codec::H265 => (h265::nal_type(&self.payload) == h265::kind::FU).then_some(2),
            Codec::H264 => (h264::nal_type(&self.payload) == 28).then_some(1),
            Codec::Jpeg => None,
        }
    }

    fn edges(&mut self, codec: Codec) -> Option<&mut u8> {
        let at = self.edges_at(codec)?;
        self.payload.get_mut(at)
    }
}

/// Spoils the fragments at the picture's end.
pub(super) fn flawed(flaw: Flaw, codec: Codec, packets: &mut Vec<Packet>) {
    let (set, clear) = match flaw {
        Flaw::AllStart => (0x80, 0),
        Flaw::AllEnd => (0x40, 0),
        Flaw::NoneStart => (0, 0x80),
        Flaw::NoneEnd => (0, 0x40),
        _ => (0, 0),
    };
    let edges = packets.iter_mut().filter_map(|packet| packet.edges(codec));
    edges.for_each(|edges| *edges = (*edges | set) & !clear);
    let last = packets.len().saturating_sub(1);
    let count = packets
        .iter()
        .rev()
        .take_while(|packet| codec == Codec::Jpeg || packet.edges_at(codec).is_some())
        .count();
    // A picture that was not fragmented has nothing to spoil.
    if count < 3 {
        return;
    }
    let first = last + 1 - count;
    let middle = first + count / 2;
    let mut change = |at: usize, change: fn(u8) -> u8| {
        if let Some(edges) = packets.get_mut(at).and_then(|packet| packet.edges(codec)) {
            *edges = change(*edges);
        }
    };
    match flaw {
        Flaw::NoStart => change(first, |edges| edges & 0x7f),
        Flaw::NoEnd => change(last, |edges| edges & 0xbf),
        Flaw::TwoEnds => change(last - 1, |edges| edges | 0x40),
        Flaw::OtherType => {
            (first + 1..=last).for_each(|at| change(at, |edges| edges & 0xc0 | 1));
        }
        Flaw::OtherPriority => {
            for packet in packets.get_mut(first + 1..).unwrap_or_default() {
                match (codec, packet.payload.as_mut_slice()) {
                    (Codec::H264, [header, ..]) => *header &= 0x9f,
                    (Codec::H265, [_, header, ..]) => *header = *header & 0xf8 | 2,
                    _ => {}
                }
            }
        }
        Flaw::AllStart | Flaw::AllEnd | Flaw::NoneStart | Flaw::NoneEnd => {}
        Flaw::AllAtZero => {
            let jpeg = packets.iter_mut().filter(|_| codec == Codec::Jpeg);
            let offsets = jpeg.filter_map(|packet| packet.payload.get_mut(1..4));
            offsets.for_each(|offset| offset.fill(0));
        }
        Flaw::Restarted => {
            if let Some(again) = packets.get(first).cloned() {
                packets.insert(first, again);
            }
        }
        Flaw::Single => {
            let size = if codec == Codec::H265 { 3 } else { 2 };
            let rest = packets.split_off(first);
            let mut whole = Packet::default();
            for (at, packet) in rest.into_iter().enumerate() {
                let from = if at == 0 { 0 } else { size };
                whole
                    .payload
                    .extend_from_slice(packet.payload.get(from..).unwrap_or_default());
                whole.marker |= packet.marker;
            }
            if let Some(edges) = whole.edges(codec) {
                *edges |= 0x40;
            }
            packets.push(whole);
        }
        Flaw::Hole => {
            packets.remove(middle);
        }
        Flaw::Lost => {
            if let Some(packet) = packets.get_mut(middle) {
                packet.lost = true;
            }
        }
        Flaw::NoLast => {
            if let Some(packet) = packets.last_mut() {
                packet.lost = true;
            }
        }
        Flaw::Empty => {
            if let Some(mut empty) = packets.get(first).cloned() {
                empty
                    .payload
                    .truncate(if codec == Codec::H265 { 3 } else { 2 });
                if let Some(edges) = empty.edges(codec) {
                    *edges &= 0x3f;
                }
                packets.insert(middle, empty);
            }
        }
    }
}
