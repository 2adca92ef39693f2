//! Pictures out of a camera's RTP packets (RFC 3550, RFC 6184, RFC 7798, RFC 2435):
//! pure, time passed in.
//!
//! No packet ends anything. A bad payload costs at most the picture it belongs to; a
//! picture that is not whole is dropped, and the next one says so (`loss_before`).

mod habits;
mod heads;
mod motion_jpeg;
mod order;
mod payload;
mod reports;
mod rtp;
mod scan;
mod sets;
mod units;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

pub(super) use self::habits::Habits;
use self::motion_jpeg::{MotionJpeg, Unshown};
use self::order::{Gap, Order, Verdict};
use self::reports::Reports;
use self::sets::Sets;
use self::units::Units;
use super::fix::{Fix, Fixes};
use crate::clock::Wall;
use crate::gateway::cause;
use crate::media::timeline::TICKS_PER_SECOND;
use crate::media::unit::{Codec, Configuration, UNIT_LIMIT};
use crate::policy::camera::Failure;
use crate::reason::Reason;

/// Ticks of RTP time in a second for all video (RFC 3551 5).
const CLOCK: u32 = 90_000;
/// Largest width and height that MJPEG packets have room for (RFC 2435 3.1.5).
const JPEG_SIDE: u16 = 2_040;

/// The track as the description names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::gateway) struct Track {
    /// How the pictures are coded.
    pub codec: Codec,
    /// RTP payload type of the chosen format.
    pub payload_type: u8,
    /// Ticks of RTP time in a second; 0 counts as 90000.
    pub clock_rate: u32,
    /// NAL units of `sprop-parameter-sets`, `sprop-vps` and their like; may be broken.
    pub sets: Vec<Bytes>,
    /// Width and height of `x-dimensions` or `framesize`; the last resort for MJPEG.
    pub dimensions: Option<(u16, u16)>,
    /// `sprop-max-don-diff` above 0 (RFC 7798 7.1): payloads carry decoding order numbers.
    pub order_numbers: bool,
}

/// A whole picture, in decoding order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::gateway) struct Picture {
    /// RTP time, 90 kHz, wrapping.
    pub time: u32,
    /// When its last byte came.
    pub arrived: Instant,
    /// Decoding can start here.
    pub key: bool,
    /// A key picture that some of what follows, or its own first moments, may need what
    /// came before for (H.265 CRA, H.264 recovery points).
    pub open_group: bool,
    /// No other picture needs this one.
    pub disposable: bool,
    /// Something was lost between the picture before and this one.
    pub loss_before: bool,
    /// H.264 and H.265: NAL units behind their length in four bytes, without delimiters,
    /// filler, ends of sequence and parameter sets; only sets that change inside a group
    /// precede the slices that use them. MJPEG: one whole JPEG. Never more than
    /// [`UNIT_LIMIT`](crate::media::unit::UNIT_LIMIT) bytes.
    pub data: Vec<u8>,
    /// For the decoder; the same `Arc` as long as nothing changes.
    pub configuration: Option<Arc<Configuration>>,
}

/// Packets of a payload type that was not announced, before it is taken for the track's.
const FOREIGN_PACKETS: usize = 8;
/// How long no announced one may have come by then.
const FOREIGN_WAIT: Duration = Duration::from_millis(300);
/// Bytes of them that are kept meanwhile.
const FOREIGN_BYTES: usize = 4 * 1024 * 1024;
/// Pictures in a row that cannot be shown before that is told.
const UNSHOWN: u8 = 3;
/// Packets of audio's static payload types alone before that is told.
const AUDIO_PACKETS: u32 = 500;

/// Packets of the track without a picture before a start that fails is told for that.
const UNREADABLE_PACKETS: u32 = 50;

/// Pictures in a row that were dropped for stray bytes before those prove to be a
/// habit of the camera's that harms nothing.
const STRAY_PICTURES: u8 = 3;

/// Makes pictures of one track's RTP packets.
#[derive(Debug)]
pub(in crate::gateway) struct Assembler {
    fixes: Fixes,
    /// Of its packets: whether their headers are as they must be, RTP version and type.
    form: Form,
    order_numbers: bool,
    order: Order,
    reports: Reports,
    maker: Maker,
    clock: Clock,
    foreign: Foreign,
    /// Pictures dropped for stray bytes since the last that was given out.
    strays: u8,
    /// Packets of the track until a picture is made of them.
    unreadable: Option<u32>,
}

/// The part that makes pictures of payloads.
#[derive(Debug)]
enum Maker {
    Units(Box<Units>),
    Jpeg(Box<MotionJpeg>),
}

/// RTP time of any rate as 90 kHz.
#[derive(Debug)]
struct Clock {
    rate: u32,
    /// The newest time, and what it is without wrapping.
    newest: Option<(u32, i64)>,
}

impl Clock {
    fn place(&mut self, time: u32) -> u32 {
        let whole = match self.newest {
            None => i64::from(time),
            Some((before, whole)) => whole + i64::from(time.wrapping_sub(before).cast_signed()),
        };
        self.newest = Some((time, whole));
        let ticks = i128::from(whole) * i128::from(TICKS_PER_SECOND) / i128::from(self.rate);
        ticks as u32
    }
}

type Form = (bool, u8, u8);

const fn form(packet: &rtp::Packet<'_>) -> Form {
    (packet.is_sound, packet.version, packet.payload_type)
}

/// Packets of a payload type that was not announced, of another RTP version, or with a
/// header extension beyond their end.
#[derive(Debug, Default)]
struct Foreign {
    /// An announced one came, or another was taken for it.
    settled: bool,
    form: Form,
    since: Option<Instant>,
    packets: Vec<(Vec<u8>, Instant)>,
    bytes: usize,
    audio: u32,
}

impl Assembler {
    /// `unordered`: packets come over UDP. `ssrc`: ours, random, for receiver reports.
    /// `habits`: what a session before showed of the camera.
    pub(in crate::gateway::front) fn new(
        track: Track,
        unordered: bool,
        ssrc: u32,
        habits: Habits,
        fixes: Fixes,
        now: Instant,
    ) -> Self {
        let rate = match track.clock_rate {
            0 => CLOCK,
            rate => rate,
        };
        if rate != CLOCK {
            fixes.note(Fix::ClockRate);
        }
        let maker = match track.codec {
            Codec::H264 | Codec::H265 => {
                let sets = Sets::new(track.codec, &track.sets, fixes.clone());
                Maker::Units(Box::new(Units::new(
                    track.codec,
                    sets,
                    habits,
                    fixes.clone(),
                    now,
                )))
            }
            Codec::Jpeg => Maker::Jpeg(Box::new(MotionJpeg::new(track.dimensions, fixes.clone()))),
        };
        Self {
            form: (true, 2, track.payload_type),
            order_numbers: track.order_numbers,
            order: Order::new(unordered, fixes.clone()),
            reports: Reports::new(ssrc, rate, fixes.clone()),
            maker,
            clock: Clock { rate, newest: None },
            foreign: Foreign::default(),
            strays: 0,
            unreadable: Some(0),
            fixes,
        }
    }

    /// Takes an RTP packet as it came; other bytes are ignored.
    pub(in crate::gateway) fn push(&mut self, packet: &[u8], now: Instant) {
        let Some(read) = rtp::Packet::parse(packet) else {
            self.count_unreadable();
            return;
        };
        if form(&read) == self.form {
            if !self.foreign.settled {
                self.foreign = Foreign {
                    settled: true,
                    ..Foreign::default()
                };
            }
            self.accept(&read, packet, now);
        } else if self.foreign.settled {
            let (is_sound, _, payload_type) = form(&read);
            // One of the track's own with a damaged header is lost.
            if is_sound && payload_type != self.form.2 {
                self.order.note_other(&read);
            }
            self.release(None);
        } else if self.foreign.note(&read, packet, now) {
            let (is_sound, version, payload_type) = form(&read);
            if payload_type != self.form.2 {
                self.fixes.note(Fix::PayloadType);
            }
            if version != 2 {
                self.fixes.note(Fix::RtpVersion);
            } else if !is_sound {
                self.fixes.note(Fix::RtpForm);
            }
            self.form = form(&read);
            for (packet, at) in std::mem::take(&mut self.foreign.packets) {
                if let Some(read) = rtp::Packet::parse(&packet) {
                    self.accept(&read, &packet, at);
                }
            }
        }
    }

    fn accept(&mut self, read: &rtp::Packet<'_>, packet: &[u8], now: Instant) {
        match self.order.accept(read, packet, now) {
            Verdict::Take(gap) => self.take(read, gap, now),
            Verdict::Held | Verdict::Drop => {}
        }
        self.release(None);
    }

    /// Takes the packets whose turn has come.
    fn release(&mut self, now: Option<Instant>) {
        while let Some((held, gap)) = self.order.release(now) {
            if let Some(read) = rtp::Packet::parse(&held.packet) {
                self.take(&read, gap, held.at);
            }
        }
    }

    fn take(&mut self, packet: &rtp::Packet<'_>, gap: Gap, now: Instant) {
        if packet.bad_padding {
            self.fixes.note(Fix::RtpForm);
        }
        self.reports.note(packet, gap, now);
        self.count_unreadable();
        match &mut self.maker {
            Maker::Units(units) => {
                units.begin_packet(packet.time, now);
                if gap != Gap::None {
                    units.gap(gap);
                }
                units.take(packet, self.order_numbers);
            }
            Maker::Jpeg(jpeg) => {
                if gap != Gap::None {
                    jpeg.gap(gap);
                }
                jpeg.take(packet, now);
            }
        }
    }

    fn count_unreadable(&mut self) {
        if let Some(count) = &mut self.unreadable {
            *count = count.saturating_add(1);
        }
    }

    /// Bytes that belong to nothing came right behind the packet that was pushed last: it
    /// may have been told too short. The picture it is part of is not shown, if it was not
    /// popped yet; unless such bytes prove to be a habit.
    pub(in crate::gateway) fn doubt_newest(&mut self) {
        if self.strays >= STRAY_PICTURES {
            return;
        }
        let is_dropped = match &mut self.maker {
            Maker::Units(units) => units.doubt_newest(),
            Maker::Jpeg(jpeg) => jpeg.doubt_newest(),
        };
        self.strays += u8::from(is_dropped);
    }

    /// Takes a compound RTCP packet as it came; what cannot be read is ignored.
    pub(in crate::gateway) fn push_rtcp(&mut self, packet: &[u8], now: Instant, wall: Wall) {
        self.reports.read(packet, now, wall);
    }

    /// The next whole picture. To be called, until it gives none, when nothing more was
    /// read, and at [`Assembler::deadline`]: what has come by `now` was pushed.
    pub(in crate::gateway) fn pop(&mut self, now: Instant) -> Option<Picture> {
        self.release(Some(now));
        // A packet that is waited for may belong to the picture.
        if self.order.deadline().is_none() {
            match &mut self.maker {
                Maker::Units(units) => units.expire(now),
                Maker::Jpeg(jpeg) => jpeg.expire(now),
            }
        }
        self.pop_made()
    }

    /// The next picture that packets ended. To be called, until it gives none, before the
    /// next push. However late that is: a machine that was held up has not read what came
    /// in time, so only [`Assembler::pop`] looks at the clock.
    pub(in crate::gateway) fn pop_made(&mut self) -> Option<Picture> {
        let mut picture = match &mut self.maker {
            Maker::Units(units) => units.pop(),
            Maker::Jpeg(jpeg) => jpeg.pop(),
        }?;
        self.unreadable = None;
        picture.time = self.clock.place(picture.time);
        if self.strays < STRAY_PICTURES {
            self.strays = 0;
        }
        Some(picture)
    }

    /// When [`Assembler::pop`] must be called though nothing came.
    pub(in crate::gateway) fn deadline(&self) -> Option<Instant> {
        let waiting = self.order.deadline();
        waiting.or_else(|| match &self.maker {
            Maker::Units(units) => units.deadline(),
            Maker::Jpeg(jpeg) => jpeg.deadline(),
        })
    }

    /// Receiver report and name (RFC 3550 6.4.2, 6.5), due every 5 s.
    pub(in crate::gateway) fn report(&mut self, now: Instant) -> Vec<u8> {
        self.reports.write(now)
    }

    /// What the camera has shown of itself, for its next session; nothing of MJPEG.
    pub(in crate::gateway::front) fn habits(&self) -> Habits {
        match &self.maker {
            Maker::Units(units) => units.habits(),
            Maker::Jpeg(_) => Habits::default(),
        }
    }

    /// Whether many packets came and no picture could be made of any.
    pub(in crate::gateway::front) fn is_unreadable(&self) -> bool {
        self.unreadable
            .is_some_and(|count| count >= UNREADABLE_PACKETS)
    }

    /// Why nothing can be shown, and the setting of the camera that would help.
    pub(in crate::gateway) fn complaint(&self) -> Option<Failure> {
        let hold = |detail: String| Some(cause::hold(Reason::CodecUnsupported, detail));
        match &self.maker {
            Maker::Units(units) if units.too_large >= UNSHOWN => hold(too_large()),
            Maker::Jpeg(jpeg) => match jpeg.unshown {
                Some((why, UNSHOWN..)) => hold(match why {
                    Unshown::Size => format!(
                        "its MJPEG packets do not name the size of the picture, for which they have room up to {JPEG_SIDE} pixels: set the camera to {JPEG_SIDE} pixels or less in width and height, or to H.264"
                    ),
                    Unshown::Type(kind) => format!(
                        "it sends MJPEG of type {kind}, which no standard describes: set the camera to baseline JPEG with 4:2:0 or 4:2:2, or to H.264"
                    ),
                    Unshown::TooLarge => too_large(),
                }),
                _ => None,
            },
            Maker::Units(_) => None,
        }
        .or_else(|| {
            (self.foreign.audio >= AUDIO_PACKETS).then(|| {
                let detail = format!(
                    "it sends no packet of payload type {}, which it announced for the picture, but audio instead: set the camera to H.264 or H.265",
                    self.form.2
                );
                cause::hold(Reason::CodecUnsupported, detail)
            })
        })
    }

    /// The camera's clock less ours by its last sender report, in µs.
    pub(in crate::gateway) const fn clock_offset(&self) -> Option<i64> {
        self.reports.clock_offset()
    }
}

fn too_large() -> String {
    format!(
        "pictures of more than {UNIT_LIMIT} bytes: set the camera to a lower resolution or quality"
    )
}

impl Foreign {
    /// Keeps a packet of another type. `true`: none of the announced came, and this one
    /// is taken for it.
    fn note(&mut self, read: &rtp::Packet<'_>, packet: &[u8], now: Instant) -> bool {
        // Static types of audio (RFC 3551 table 4).
        if read.payload_type < 24 {
            self.audio = self.audio.saturating_add(1);
            return false;
        }
        if self.form != form(read) {
            *self = Self {
                form: form(read),
                audio: self.audio,
                ..Self::default()
            };
        }
        let since = *self.since.get_or_insert(now);
        self.bytes += packet.len();
        self.packets.push((packet.to_vec(), now));
        let is_long = now.saturating_duration_since(since) >= FOREIGN_WAIT;
        let is_enough = self.packets.len() >= FOREIGN_PACKETS && is_long;
        self.settled = is_enough || self.bytes >= FOREIGN_BYTES;
        self.settled
    }
}

#[cfg(test)]
mod tests;
