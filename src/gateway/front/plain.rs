//! The side towards retina: a camera as the RFCs have it, over the loopback.
//!
//! retina 0.4.21 has no way to be handed a socket, so it opens a session with the
//! front: one track, no password, our `Session`, our channels, one SSRC, continuous
//! sequence numbers, a time stamp of its own and a marker for each picture, packets
//! as large as the framing allows (64 KiB: a picture is a packet or a few).
//!
//! H.264 and H.265 go as what they are (RFC 6184, RFC 7798). A JPEG goes whole, as a
//! message: RFC 2435 and retina carry neither more than 2040 pixels nor 2 MB nor
//! tables of the camera's own. What retina could not pass on (whether a decoder can
//! start at a picture, several parameter sets, when its last byte came from the
//! camera) is in a [`Note`] beside it, found again by the time stamp.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bytes::{BufMut, Bytes};

use super::pictures::Picture;
use crate::media::nal::length_prefixed;
use crate::media::unit::{Codec, Configuration};
use crate::media::{h264, h265};

/// Largest payload of a packet: what the 16 bits of the interleaved framing
/// (RFC 2326 10.12) leave.
const PAYLOAD: usize = 65_535 - HEADER;
/// Bytes of an RTP header.
const HEADER: usize = 12;
/// Between the time stamps of two pictures: any number but 0 tells them apart.
const STEP: u32 = 3_600;
/// Most pictures between the front and the session. Each fills the sockets between
/// them first, so that this is not reached while retina reads.
const NOTES_LIMIT: usize = 1_024;

/// What retina does not carry of a picture.
#[derive(Debug)]
pub(in crate::gateway) struct Note {
    stamp: u32,
    /// RTP time of the camera, 90 kHz, wrapping.
    pub(in crate::gateway) time: u32,
    pub(in crate::gateway) arrived: Instant,
    pub(in crate::gateway) key: bool,
    pub(in crate::gateway) open_group: bool,
    pub(in crate::gateway) disposable: bool,
    pub(in crate::gateway) loss_before: bool,
    pub(in crate::gateway) configuration: Option<Arc<Configuration>>,
    /// Parameter sets that stand before the picture inside a group, behind their
    /// lengths: retina takes them out.
    pub(in crate::gateway) sets: Vec<u8>,
}

/// Notes on their way past retina.
#[derive(Clone, Debug, Default)]
pub(in crate::gateway) struct Notes(Arc<Mutex<VecDeque<Note>>>);

impl Notes {
    fn push(&self, note: Note) {
        let mut notes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if notes.len() == NOTES_LIMIT {
            notes.pop_front();
        }
        notes.push_back(note);
    }

    /// The note of the picture with this time stamp; those before it belong to
    /// pictures that did not come through. `None`: there is none. The second: one
    /// before was lost.
    pub(in crate::gateway) fn take(&self, stamp: u32) -> (Option<Note>, bool) {
        let mut notes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(at) = notes.iter().position(|note| note.stamp == stamp) else {
            return (None, false);
        };
        notes.drain(..at);
        (notes.pop_front(), at > 0)
    }
}

/// Writes pictures as packets on channel 0.
#[derive(Debug)]
pub(super) struct Plain {
    codec: Codec,
    notes: Notes,
    ssrc: u32,
    sequence: u16,
    stamp: u32,
    out: Vec<u8>,
    /// Where the last packet of the picture begins.
    last: usize,
}

impl Plain {
    /// A writer that leaves a note of each picture in `notes`.
    pub(super) fn new(codec: Codec, notes: Notes) -> Self {
        Self {
            codec,
            notes,
            ssrc: 1,
            sequence: 0,
            stamp: 0,
            out: Vec::new(),
            last: 0,
        }
    }

    /// What is to be written; empty it once it is.
    pub(super) const fn written(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// Appends a picture.
    pub(super) fn put(&mut self, picture: Picture) {
        self.stamp = self.stamp.wrapping_add(STEP);
        let before = self.out.len();
        self.out.reserve(picture.data.len() + 64);
        let mut sets = Vec::new();
        match self.codec {
            Codec::H264 | Codec::H265 => {
                for nal in length_prefixed(&picture.data) {
                    if is_set(self.codec, nal) {
                        crate::media::nal::push_length_prefixed(&mut sets, nal);
                    } else {
                        self.nal(nal);
                    }
                }
            }
            Codec::Jpeg => {
                for part in picture.data.chunks(PAYLOAD) {
                    self.packet(&[part]);
                }
            }
        }
        if self.out.len() == before {
            return;
        }
        if let Some(byte) = self.out.get_mut(self.last + 5) {
            *byte |= 0x80;
        }
        self.notes.push(Note {
            stamp: self.stamp,
            time: picture.time,
            arrived: picture.arrived,
            key: picture.key,
            open_group: picture.open_group,
            disposable: picture.disposable,
            loss_before: picture.loss_before,
            configuration: picture.configuration,
            sets,
        });
    }

    /// A NAL unit: one packet, or fragments (RFC 6184 5.8, RFC 7798 4.4.3).
    fn nal(&mut self, nal: &[u8]) {
        if nal.len() <= PAYLOAD {
            self.packet(&[nal]);
            return;
        }
        let head = match self.codec {
            Codec::H265 => 2,
            Codec::H264 | Codec::Jpeg => 1,
        };
        let (header, body) = nal.split_at(head);
        let room = PAYLOAD - head - 1;
        let count = body.len().div_ceil(room);
        for (number, part) in body.chunks(room).enumerate() {
            let ends = u8::from(number == 0) << 7 | u8::from(number + 1 == count) << 6;
            match *header {
                [first] => {
                    let indicator = first & 0xe0 | h264::kind::FU_A;
                    self.packet(&[&[indicator, ends | first & 0x1f], part]);
                }
                [first, second] => {
                    let indicator = first & 0x81 | h265::kind::FU << 1;
                    let fragment = ends | first >> 1 & 0x3f;
                    self.packet(&[&[indicator, second, fragment], part]);
                }
                _ => {}
            }
        }
    }

    fn packet(&mut self, parts: &[&[u8]]) {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        self.last = self.out.len();
        self.out.put_slice(&[b'$', 0]);
        self.out.put_u16((HEADER + length) as u16);
        self.out.put_slice(&[0x80, 96]);
        self.out.put_u16(self.sequence);
        self.out.put_u32(self.stamp);
        self.out.put_u32(self.ssrc);
        for part in parts {
            self.out.put_slice(part);
        }
        self.sequence = self.sequence.wrapping_add(1);
    }
}

/// Whether retina takes the unit for a parameter set.
fn is_set(codec: Codec, nal: &[u8]) -> bool {
    match codec {
        Codec::H264 => matches!(h264::nal_type(nal), h264::kind::SPS | h264::kind::PPS),
        Codec::H265 => matches!(
            h265::nal_type(nal),
            h265::kind::VPS | h265::kind::SPS | h265::kind::PPS
        ),
        Codec::Jpeg => false,
    }
}

/// The description that retina reads.
fn description(codec: Codec) -> String {
    let (media, encoding) = match codec {
        Codec::H264 => ("video", "H264"),
        Codec::H265 => ("video", "H265"),
        Codec::Jpeg => ("application", "vnd.onvif.metadata"),
    };
    format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=camera\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
         m={media} 0 RTP/AVP 96\r\na=rtpmap:96 {encoding}/90000\r\na=control:track\r\n"
    )
}

/// What a request of retina's leads to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Served {
    pub(super) answer: Bytes,
    pub(super) ends: bool,
}

/// Answers a request of retina's. `None`: it is no request with the token.
pub(super) fn answer(
    method: &str,
    uri: &str,
    number: &str,
    token: &str,
    codec: Codec,
) -> Option<Served> {
    if !uri.contains(token) {
        return None;
    }
    let mut text = format!("RTSP/1.0 200 OK\r\nCSeq: {number}\r\n");
    let mut body = String::new();
    // What is written to a String is written.
    let _ = match method {
        "DESCRIBE" => {
            body = description(codec);
            write!(
                text,
                "Content-Type: application/sdp\r\nContent-Base: {uri}/\r\nContent-Length: {}\r\n",
                body.len()
            )
        }
        "SETUP" => write!(
            text,
            "Session: 1;timeout=3600\r\nTransport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n"
        ),
        "OPTIONS" => write!(text, "Public: DESCRIBE, SETUP, PLAY, TEARDOWN\r\n"),
        _ => write!(text, "Session: 1\r\n"),
    };
    text.push_str("\r\n");
    text.push_str(&body);
    Some(Served {
        answer: text.into(),
        ends: method == "TEARDOWN",
    })
}
