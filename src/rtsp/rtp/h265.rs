//! H.265 packetisation (RFC 7798, without decoding order numbers): small NAL
//! units gathered in aggregation packets, large ones cut into fragmentation
//! units, parameter sets before each key frame.

use super::writer::{Aggregate, PAYLOAD, Writer};
use crate::media::config::Hevc;
use crate::media::h265::kind;
use crate::media::nal::length_prefixed;
use crate::media::unit::{AccessUnit, Configuration};

pub(super) fn packetise(writer: &mut Writer, unit: &AccessUnit, configuration: &Configuration) {
    // An unreadable record means no parameter sets in band; it was refused long before.
    let sets = unit
        .flags
        .key
        .then(|| Hevc::parse(&configuration.record).ok())
        .flatten();
    let sets = sets
        .iter()
        .flat_map(|hevc| hevc.vps.iter().chain(&hevc.sps).chain(&hevc.pps))
        .map(AsRef::as_ref);
    let mut gathered = Aggregate::new(2);
    for nal in sets.chain(length_prefixed(&unit.data)) {
        if !gathered.fits(nal) {
            gathered.flush(writer, aggregation);
        }
        if nal.len() > PAYLOAD {
            fragment(writer, nal);
        } else if gathered.fits(nal) {
            gathered.push(nal);
        } else {
            // Fits a packet, but not behind an aggregation header.
            writer.packet(&[nal]);
        }
    }
    gathered.flush(writer, aggregation);
}

/// Aggregation packet header: any F bit, the lowest layer and temporal ids (RFC 7798 4.4.2).
fn aggregation(units: &[&[u8]]) -> [u8; 2] {
    let heads = || units.iter().filter_map(|unit| unit.first_chunk::<2>());
    let forbidden = heads().fold(0, |all, head| all | head[0] & 0x80);
    let layer = heads()
        .map(|head| u16::from(head[0] & 1) << 5 | u16::from(head[1] >> 3))
        .min()
        .unwrap_or(0);
    let temporal = heads().map(|head| head[1] & 7).min().unwrap_or(1);
    [
        forbidden | kind::AP << 1 | u8::from(layer >= 32),
        (layer as u8 & 31) << 3 | temporal,
    ]
}

/// Fragmentation units (RFC 7798 4.4.3).
fn fragment(writer: &mut Writer, nal: &[u8]) {
    let Some((head, body)) = nal.split_first_chunk::<2>() else {
        return;
    };
    let first = head[0] & 0x81 | kind::FU << 1;
    let nal_type = head[0] >> 1 & 0x3f;
    let last = body.len().div_ceil(PAYLOAD - 3).saturating_sub(1);
    for (number, part) in body.chunks(PAYLOAD - 3).enumerate() {
        let start = u8::from(number == 0) << 7;
        let end = u8::from(number == last) << 6;
        writer.packet(&[&[first, head[1], start | end | nal_type], part]);
    }
}
