//! H.264 packetisation (RFC 6184, packetization-mode 1): small NAL units gathered
//! in STAP-A, large ones cut into FU-A, parameter sets before each key frame.

use super::writer::{Aggregate, PAYLOAD, Writer};
use crate::media::config::Avc;
use crate::media::h264::kind;
use crate::media::nal::length_prefixed;
use crate::media::unit::{AccessUnit, Configuration};

pub(super) fn packetise(writer: &mut Writer, unit: &AccessUnit, configuration: &Configuration) {
    // An unreadable record means no parameter sets in band; it was refused long before.
    let sets = unit
        .flags
        .key
        .then(|| Avc::parse(&configuration.record).ok())
        .flatten();
    let sets = sets
        .iter()
        .flat_map(|avc| avc.sps.iter().chain(&avc.pps))
        .map(AsRef::as_ref);
    let mut gathered = Aggregate::new(1);
    for nal in sets.chain(length_prefixed(&unit.data)) {
        if !gathered.fits(nal) {
            gathered.flush(writer, stap_a);
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
    gathered.flush(writer, stap_a);
}

/// STAP-A header: any F bit, the highest NRI (RFC 6184 5.3, 5.7).
fn stap_a(units: &[&[u8]]) -> [u8; 1] {
    let heads = || units.iter().filter_map(|unit| unit.first());
    let forbidden = heads().fold(0, |all, head| all | head & 0x80);
    let importance = heads().map(|head| head & 0x60).max().unwrap_or(0);
    [forbidden | importance | kind::STAP_A]
}

/// FU-A (RFC 6184 5.8): the NAL header goes into indicator and fragment header.
fn fragment(writer: &mut Writer, nal: &[u8]) {
    let Some((head, body)) = nal.split_first() else {
        return;
    };
    let indicator = head & 0xe0 | kind::FU_A;
    let last = body.len().div_ceil(PAYLOAD - 2).saturating_sub(1);
    for (number, part) in body.chunks(PAYLOAD - 2).enumerate() {
        let start = u8::from(number == 0) << 7;
        let end = u8::from(number == last) << 6;
        writer.packet(&[&[indicator, start | end | head & 0x1f], part]);
    }
}
