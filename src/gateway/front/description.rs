//! Session descriptions (SDP, RFC 8866) of the field, read tolerantly: what is needed
//! for a video track is looked for, everything else may be missing, broken, repeated
//! or out of order.

mod format;
mod parameters;

use std::borrow::Cow;

pub(super) use format::Format;

use super::fix::{Fix, Fixes};
use crate::gateway::cause;
use crate::media::unit::Codec;
use crate::policy::camera::Failure;
use crate::reason::Reason;

/// Longest description that is read, bytes; the rest is left out.
const DESCRIPTION_LIMIT: usize = 256 * 1024;
/// Media sections kept.
const MEDIA_LIMIT: usize = 64;
/// Attributes kept of one section.
const ATTRIBUTES_LIMIT: usize = 512;
/// Formats kept of one track.
const FORMATS_LIMIT: usize = 64;
/// Codecs named in a sentence.
const NAMES_LIMIT: usize = 4;

/// What a camera describes.
#[derive(Clone, Debug, Default)]
pub(super) struct Description {
    /// `a=control` of the session.
    pub(super) control: Option<String>,
    /// Video tracks in their order.
    pub(super) tracks: Vec<Track>,
    /// It has a line that only a description has.
    is_description: bool,
}

/// A video track.
#[derive(Clone, Debug, Default)]
pub(super) struct Track {
    /// Its `a=control`.
    pub(super) control: Option<String>,
    /// Its formats in their order.
    pub(super) formats: Vec<Format>,
    /// Width and height in pixels, where told.
    pub(super) size: Option<(u32, u32)>,
    /// How unlikely it is to be the picture: 0, 1 (`sendonly`, which ONVIF calls the
    /// way back), 2 (`inactive`).
    doubt: u8,
}

/// The track and format that are set up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Video<'d> {
    /// Where it is.
    pub(super) track: &'d Track,
    /// How it is packed. Its payload type may not be the packets': a track of one
    /// format has no other.
    pub(super) format: &'d Format,
    /// How it is coded.
    pub(super) codec: Codec,
}

/// A part of a description: the session's, or a medium's.
#[derive(Default)]
struct Section<'a> {
    /// Behind `m=`.
    media: &'a str,
    /// Names in lower case.
    attributes: Vec<(String, &'a str)>,
}

impl<'a> Section<'a> {
    /// All values of an attribute.
    fn all<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'a str> + use<'a, 's> {
        let found = self
            .attributes
            .iter()
            .filter(move |(known, _)| known == name);
        found.map(|(_, value)| *value)
    }

    fn has(&self, name: &str) -> bool {
        self.all(name).next().is_some()
    }
}

impl Description {
    /// Reads it. Nothing fails here; [`Self::video`] tells what is missing.
    pub(super) fn read(body: &[u8], fixes: &Fixes) -> Self {
        let body = body.get(..DESCRIPTION_LIMIT).unwrap_or(body);
        let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
        let text = match std::str::from_utf8(body) {
            Ok(text) => Cow::Borrowed(text),
            Err(_) => {
                fixes.note(Fix::DescriptionText);
                Cow::Owned(body.iter().map(|byte| char::from(*byte)).collect())
            }
        };
        let mut check = Check::default();
        let mut session = Section::default();
        let mut media: Vec<Section<'_>> = Vec::new();
        let mut is_description = false;
        for line in text.split(['\r', '\n', '\0']).map(str::trim) {
            if line.is_empty() {
                continue;
            }
            let split = line
                .split_once('=')
                .map(|(kind, value)| (kind.trim_end(), value));
            let Some((kind, value)) = split.filter(|(kind, _)| kind.len() == 1) else {
                check.odd = true;
                continue;
            };
            let value = value.trim();
            let kind = kind.to_ascii_lowercase();
            check.line(&kind, value, media.is_empty());
            match kind.as_str() {
                "v" => is_description = true,
                "m" => {
                    is_description = true;
                    if media.len() == MEDIA_LIMIT {
                        break;
                    }
                    media.push(Section {
                        media: value,
                        ..Section::default()
                    });
                }
                "a" => {
                    let end = value.find(|c: char| c == ':' || c.is_whitespace());
                    let (name, rest) = value.split_at(end.unwrap_or(value.len()));
                    let rest = rest.trim_start_matches(|c: char| c == ':' || c.is_whitespace());
                    let section = media.last_mut().unwrap_or(&mut session);
                    if section.attributes.len() < ATTRIBUTES_LIMIT {
                        section.attributes.push((name.to_ascii_lowercase(), rest));
                    }
                }
                _ => {}
            }
        }
        if check.is_odd() {
            fixes.note(Fix::DescriptionLines);
        }
        let videos = media.iter().filter(|section| {
            let kind = section.media.split_ascii_whitespace().next();
            kind.is_some_and(|kind| kind.eq_ignore_ascii_case("video"))
        });
        Self {
            control: session.all("control").next().map(str::to_owned),
            tracks: videos
                .map(|video| Track::read(video, &session, fixes))
                .collect(),
            is_description,
        }
    }

    /// The track and format to set up: the first that is known, of the tracks that are
    /// likely to be the picture.
    ///
    /// # Errors
    ///
    /// `camera_refused`: this is no description. `codec_unsupported`: it has no video
    /// track, or none of a known codec; names what it has.
    pub(super) fn video(&self, fixes: &Fixes) -> Result<Video<'_>, Failure> {
        for doubt in 0..=2 {
            for track in self.tracks.iter().filter(|track| track.doubt == doubt) {
                let formats = track.formats.iter().enumerate();
                let known = formats.filter_map(|(at, format)| Some((at, format, format.codec?)));
                // Some list JPEG's static type in front of what they send.
                let Some((at, format, codec)) = known.min_by_key(|known| known.2 == Codec::Jpeg)
                else {
                    continue;
                };
                for (odd, fix) in [
                    (at > 0, Fix::OtherFormats),
                    (format.is_odd, Fix::CodecName),
                    (format.clock_rate != format::CLOCK_RATE, Fix::ClockRate),
                ] {
                    if odd {
                        fixes.note(fix);
                    }
                }
                return Ok(Video {
                    track,
                    format,
                    codec,
                });
            }
        }
        Err(self.unusable())
    }

    fn unusable(&self) -> Failure {
        if !self.is_description {
            return cause::again(
                Reason::CameraRefused,
                "its answer to DESCRIBE holds no description",
            );
        }
        let mut names: Vec<String> = Vec::new();
        for format in self.tracks.iter().flat_map(|track| &track.formats) {
            let name = format.shown();
            if names.len() < NAMES_LIMIT && !names.contains(&name) {
                names.push(name);
            }
        }
        let detail = if self.tracks.is_empty() {
            "it describes no video track".to_owned()
        } else if names.is_empty() {
            "its video track names no codec".to_owned()
        } else {
            format!("it sends {}", names.join(", "))
        };
        cause::hold(Reason::CodecUnsupported, detail)
    }
}

impl Track {
    fn read(section: &Section<'_>, session: &Section<'_>, fixes: &Fixes) -> Self {
        let (formats, odd) = format::all(section, session);
        if odd {
            fixes.note(Fix::MediaLine);
        }
        let doubt = if section.has("inactive") {
            2
        } else {
            u8::from(section.has("sendonly"))
        };
        Self {
            control: section.all("control").next().map(str::to_owned),
            formats,
            size: size(section),
            doubt,
        }
    }
}

/// The size of the pictures, as MJPEG cameras tell it beside RFC 2435, whose own
/// fields end at 2040 pixels.
fn size(section: &Section<'_>) -> Option<(u32, u32)> {
    let told = |name| section.all(name).map(numbers);
    let pair = |width: Option<&f64>, height: Option<&f64>| {
        let whole = |number: Option<&f64>| {
            let number = number.copied().filter(|n| (1.0..=65535.0).contains(n))?;
            // Within 1 to 65535.
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            Some(number as u32)
        };
        Some((whole(width)?, whole(height)?))
    };
    told("x-dimensions")
        .chain(told("x-resolution"))
        .find_map(|n| pair(n.first(), n.get(1)))
        // Payload type, then width-height (RFC 6064 4).
        .or_else(|| told("framesize").find_map(|n| pair(n.get(1), n.get(2))))
        // Top, left, bottom, right.
        .or_else(|| told("cliprect").find_map(|n| pair(n.get(3), n.get(2))))
        .or_else(|| {
            let (width, height) = (told("width").next()?, told("height").next()?);
            pair(width.last(), height.last())
        })
}

/// The numbers in a value, whatever is between.
fn numbers(value: &str) -> Vec<f64> {
    let parts = value.split(|c: char| !c.is_ascii_digit() && c != '.');
    let parts = parts.filter_map(|part| part.parse().ok());
    parts.take(8).collect()
}

/// Looks at the lines that nobody needs, to be able to tell that they are odd.
#[derive(Default)]
struct Check {
    odd: bool,
    lines: usize,
    versions: usize,
    origins: usize,
    names: usize,
    times: usize,
}

impl Check {
    fn line(&mut self, kind: &str, value: &str, in_session: bool) {
        let words: Vec<&str> = value.split_ascii_whitespace().take(8).collect();
        let is_number = |word: &&str| {
            !word.is_empty() && word.len() <= 20 && word.bytes().all(|b| b.is_ascii_digit())
        };
        let is_place = |words: &[&str]| {
            matches!(words, [net, kind, address]
                if *net == "IN" && matches!(*kind, "IP4" | "IP6") && !address.contains(':') | (*kind == "IP6"))
        };
        let count = usize::from(in_session);
        let right = match kind {
            "v" => {
                self.versions += count;
                value == "0" && self.lines == 0
            }
            "o" => {
                self.origins += count;
                words.len() == 6
                    && words.iter().skip(1).take(2).all(is_number)
                    && words.get(3..).is_some_and(is_place)
            }
            "s" => {
                self.names += count;
                true
            }
            "t" => {
                self.times += count;
                words.len() == 2 && words.iter().all(is_number)
            }
            "c" => is_place(&words),
            "b" => value
                .split_once(':')
                .is_some_and(|(_, rate)| is_number(&rate)),
            _ => true,
        };
        self.odd |= !right;
        self.lines += 1;
    }

    const fn is_odd(&self) -> bool {
        self.odd || self.versions != 1 || self.origins != 1 || self.names != 1 || self.times == 0
    }
}

#[cfg(test)]
mod tests;
