//! What fuzzing feeds: bytes of a camera, as they come.

use std::time::{Duration, Instant};

use super::challenge::{Signer, refusals};
use super::description::Description;
use super::fix::Fixes;
use super::location::{Places, Uris};
use super::message::{Piece, Reader};
use super::pictures::{Assembler, Habits, Track};
use crate::config::settings::Credential;
use crate::media::unit::{Codec, UNIT_LIMIT};
use crate::secret::Secret;

/// A connection's bytes, in pieces of the length that the byte before each names.
pub fn connection(mut bytes: &[u8]) {
    let mut reader = Reader::new(Fixes::default());
    reader.expect_description();
    for channel in 0..4 {
        reader.expect_channel(channel);
    }
    while let Some((length, rest)) = bytes.split_first() {
        let (piece, rest) = rest.split_at(rest.len().min(usize::from(*length) * 16));
        bytes = rest;
        reader.space(piece.len().max(1)).extend_from_slice(piece);
        loop {
            match reader.next() {
                Ok(Piece::Partial | Piece::Unfinished) => break,
                Ok(_) => {}
                Err(_) => return,
            }
        }
    }
    reader.settle();
}

/// A session description.
pub fn description(body: &[u8]) {
    let fixes = Fixes::default();
    let description = Description::read(body, &fixes);
    let Ok(video) = description.video(&fixes) else {
        return;
    };
    video.format.parameter_sets(video.codec, &fixes);
    let Ok(asked) = url::Url::parse("rtsp://192.0.2.9:554/live?channel=1") else {
        return;
    };
    let base = description.control.as_deref().unwrap_or_default();
    let places = Places {
        asked: &asked,
        content_base: Some(base.as_bytes()),
        content_location: None,
        session_control: description.control.as_deref(),
        track_control: video.track.control.as_deref(),
    };
    Uris::resolve(&places, &fixes);
}

/// A challenge, answered.
pub fn challenge(header: &[u8]) {
    let mut signer = Signer::new(None, refusals(false), false);
    let lines = || header.split(|byte| *byte == b'\n');
    let credential = Credential {
        username: "user".to_owned(),
        password: Secret::new("s3cret"),
        basic: false,
    };
    for signed in [false, true] {
        signer.challenged(lines(), signed, &Fixes::default());
        signer.respond(&credential, "DESCRIBE", "rtsp://192.0.2.9/", &[], [7; 8]);
    }
}

/// Packets of a track, each behind its length in two bytes; the high bit of the length:
/// over RTCP.
pub fn pictures(codec: Codec, mut bytes: &[u8]) {
    let Some((options, rest)) = bytes.split_first() else {
        return;
    };
    bytes = rest;
    let start = Instant::now();
    let track = Track {
        codec,
        payload_type: 96,
        clock_rate: 90_000,
        sets: Vec::new(),
        dimensions: (options & 2 != 0).then_some((640, 360)),
        order_numbers: options & 4 != 0,
    };
    let is_udp = options & 1 != 0;
    let fixes = Fixes::default();
    let mut assembler = Assembler::new(track, is_udp, 1, Habits::default(), fixes, start);
    let mut now = start;
    while let Some((&[high, low], rest)) = bytes.split_first_chunk::<2>() {
        let length = usize::from(u16::from_be_bytes([high & 0x7f, low]));
        let (packet, rest) = rest.split_at(rest.len().min(length));
        bytes = rest;
        now += Duration::from_millis(u64::from(low));
        if high & 0x80 != 0 {
            assembler.push_rtcp(packet, now, crate::clock::Wall(0));
        } else {
            assembler.push(packet, now);
        }
        while let Some(picture) = assembler.pop(now) {
            assert!((1..=UNIT_LIMIT).contains(&picture.data.len()));
        }
        assembler.deadline();
        assembler.complaint();
    }
    assembler.report(now);
}

/// A device's answer over ONVIF.
pub fn onvif(document: &[u8]) {
    crate::gateway::onvif::fuzz(document);
}
