//! Formats of a track: payload type, codec, clock and parameters, as `m=`, `rtpmap`
//! and `fmtp` tell them, or should have.

use super::{FORMATS_LIMIT, Section, parameters};
use crate::media::unit::Codec;

/// Ticks per second of all video that is known here.
pub(super) const CLOCK_RATE: u32 = 90_000;

/// Parameters kept of one format.
const PARAMETERS_LIMIT: usize = 64;

/// Names of parameters, to find them where separators are missing.
const NAMES: &[&str] = &[
    "packetization-mode",
    "profile-level-id",
    "sprop-parameter-sets",
    "sprop-vps",
    "sprop-sps",
    "sprop-pps",
    "level-asymmetry-allowed",
    "profile-id",
    "level-id",
];

/// A format of a track.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::gateway::front) struct Format {
    /// RTP payload type.
    pub(in crate::gateway::front) payload_type: u8,
    /// The codec's name as written, or as guessed; empty: neither.
    pub(in crate::gateway::front) name: String,
    /// The codec, if it is known here.
    pub(in crate::gateway::front) codec: Option<Codec>,
    /// Ticks per second; 90000 where none is told.
    pub(in crate::gateway::front) clock_rate: u32,
    /// Of `fmtp`, names in lower case, without quotes.
    pub(in crate::gateway::front) params: Vec<(String, String)>,
    /// It is not named as its standard wants it.
    pub(super) is_odd: bool,
}

impl Format {
    /// The first parameter of this name.
    pub(in crate::gateway::front) fn param(&self, name: &str) -> Option<&str> {
        let found = self.params.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Its name, fit for a sentence.
    pub(super) fn shown(&self) -> String {
        let name: String = self
            .name
            .chars()
            .filter(|c| c.is_ascii_alphanumeric() || "-.".contains(*c))
            .take(24)
            .collect();
        if name.is_empty() {
            return format!("payload type {} without a name", self.payload_type);
        }
        name.to_ascii_lowercase()
    }
}

/// The codec of a name, in any spelling.
fn codec(name: &str) -> Option<Codec> {
    let letters = name.chars().filter(char::is_ascii_alphanumeric);
    let plain: String = letters.take(16).map(|c| c.to_ascii_uppercase()).collect();
    match plain.strip_prefix('X').unwrap_or(&plain) {
        "H264" | "AVC" | "AVC1" | "MPEG4AVC" => Some(Codec::H264),
        "H265" | "HEVC" | "HVC1" | "HEV1" => Some(Codec::H265),
        "JPEG" | "MJPEG" | "MJPG" | "JPG" | "MOTIONJPEG" => Some(Codec::Jpeg),
        _ => None,
    }
}

/// Names of payload types that need no `rtpmap` (RFC 3551 6).
const fn fixed_name(payload_type: u8) -> &'static str {
    match payload_type {
        25 => "CelB",
        26 => "JPEG",
        28 => "nv",
        31 => "H261",
        32 => "MPV",
        33 => "MP2T",
        34 => "H263",
        _ => "",
    }
}

/// A payload type at the head of a value, and what follows it.
fn payload_type(value: &str) -> (Option<u8>, &str) {
    let end = value.find(|c: char| !c.is_ascii_digit());
    let (digits, rest) = value.split_at(end.unwrap_or(value.len()));
    let number = digits.parse().ok().filter(|number| *number < 128);
    (number, rest.trim_start())
}

/// An `rtpmap`.
struct Map<'a> {
    payload_type: Option<u8>,
    name: &'a str,
    clock_rate: Option<u32>,
    is_odd: bool,
}

impl<'a> Map<'a> {
    fn read(value: &'a str) -> Self {
        let (number, rest) = payload_type(value);
        let split = |c: char| c == '/' || c.is_whitespace();
        let mut parts = rest.split(split).filter(|part| !part.is_empty());
        let name = parts.next().unwrap_or_default();
        let clock_rate = parts.next().and_then(|rate| rate.parse().ok());
        let clock_rate = clock_rate.filter(|rate| *rate > 0);
        let plain = number.zip(clock_rate).map(|(n, rate)| {
            let codec = codec(name).map_or(name, |codec| match codec {
                Codec::H264 => "H264",
                Codec::H265 => "H265",
                Codec::Jpeg => "JPEG",
            });
            format!("{n} {codec}/{rate}")
        });
        Self {
            payload_type: number,
            name,
            clock_rate,
            is_odd: plain.is_none_or(|plain| !value.starts_with(&plain)),
        }
    }
}

/// The formats of a track, and whether its `m=` is odd.
pub(super) fn all(section: &Section<'_>, session: &Section<'_>) -> (Vec<Format>, bool) {
    let words: Vec<&str> = section.media.split_ascii_whitespace().take(256).collect();
    let is_profile = |word: &&str| word.to_ascii_uppercase().contains("AVP");
    let profile = words.iter().position(is_profile).unwrap_or(2);
    let listed = words.get(profile + 1..).unwrap_or_default();
    let mut numbers: Vec<u8> = Vec::new();
    let mut odd = profile != 2;
    let port = words.get(1).and_then(|port| port.split('/').next());
    odd |= port.is_none_or(|port| port.parse::<u16>().is_err());
    for word in listed {
        match payload_type(word) {
            (Some(number), "") if !numbers.contains(&number) => numbers.push(number),
            (Some(_), "") => {}
            _ => odd = true,
        }
    }
    odd |= numbers.is_empty();

    let maps: Vec<Map<'_>> = both(section, session, "rtpmap").map(Map::read).collect();
    // Types that `m=` should have listed come last.
    let fmtp = || both(section, session, "fmtp").map(payload_type);
    let single = numbers.len() == 1 && maps.len() == 1;
    let known = |map: &&Map<'_>| !single && (numbers.is_empty() || codec(map.name).is_some());
    let mut others: Vec<u8> = maps
        .iter()
        .filter(known)
        .filter_map(|map| map.payload_type)
        .collect();
    if numbers.is_empty() && others.is_empty() {
        others.extend(fmtp().filter_map(|(number, _)| number));
    }
    for number in others {
        if !numbers.contains(&number) {
            numbers.push(number);
        }
    }
    numbers.truncate(FORMATS_LIMIT);
    let alone = numbers.len() == 1;
    let formats = numbers.into_iter().map(|number| {
        let of_this = |map: &&Map<'_>| map.payload_type == Some(number);
        let map = maps.iter().find(of_this);
        let map = map.or_else(|| maps.first().filter(|_| alone && maps.len() == 1));
        let mut params = parameters_of(fmtp().filter(|(of, _)| *of == Some(number)));
        if params.is_empty() {
            // Of no type; or of another, where there is only this one.
            params = parameters_of(fmtp().filter(|(of, _)| of.is_none() || alone));
        }
        let name = map.map_or_else(|| fixed_name(number), |map| map.name);
        let guessed = if name.is_empty() {
            guess(&params)
        } else {
            name
        };
        Format {
            payload_type: number,
            name: guessed.to_owned(),
            codec: codec(guessed),
            clock_rate: map.and_then(|map| map.clock_rate).unwrap_or(CLOCK_RATE),
            is_odd: map.is_none_or(|map| map.is_odd || map.payload_type != Some(number))
                && fixed_name(number).is_empty(),
            params,
        }
    });
    (formats.collect(), odd)
}

/// Values of the track's attributes, or else of the session's.
fn both<'a, 's>(
    section: &'s Section<'a>,
    session: &'s Section<'a>,
    name: &'s str,
) -> impl Iterator<Item = &'a str> + use<'a, 's> {
    let own = section.has(name);
    let from = if own { section } else { session };
    from.all(name)
}

/// The codec that has such parameters.
fn guess(params: &[(String, String)]) -> &'static str {
    let has = |names: &[&str]| {
        params
            .iter()
            .any(|(name, _)| names.contains(&name.as_str()))
    };
    if has(&["sprop-vps", "sprop-sps", "sprop-pps"]) {
        "H265"
    } else if has(&["sprop-parameter-sets", "packetization-mode"]) {
        "H264"
    } else if has(&["config"]) {
        "MP4V-ES"
    } else if has(&["profile-level-id"]) {
        "H264"
    } else {
        ""
    }
}

/// `name=value` between semicolons; or between whatever is before a known name.
fn parameters_of<'a>(lines: impl Iterator<Item = (Option<u8>, &'a str)>) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    for (_, line) in lines {
        let lower = line.to_ascii_lowercase();
        let mut at = 0;
        while at < line.len() && found.len() < PARAMETERS_LIMIT {
            let end = parameter_end(&lower, at);
            let part = line.get(at..end).unwrap_or_default();
            at = end + 1;
            if let Some((name, value)) = part.split_once('=') {
                let is_edge = |c: char| c.is_whitespace() || "\"',".contains(c);
                let name = name.trim_matches(is_edge).to_ascii_lowercase();
                let value = value.trim_matches(is_edge);
                if !name.is_empty() {
                    found.push((name, value.to_owned()));
                }
            }
        }
    }
    found
}

/// Where the parameter that begins at `from` ends.
fn parameter_end(line: &str, from: usize) -> usize {
    let bytes = line.as_bytes();
    for (at, byte) in bytes.iter().enumerate().skip(from) {
        let separates = match byte {
            b';' => true,
            b',' | b' ' | b'\t' => {
                let rest = bytes.get(at + 1..).unwrap_or_default().trim_ascii_start();
                NAMES.iter().any(|name| rest.starts_with(name.as_bytes()))
            }
            _ => false,
        };
        if separates {
            return at;
        }
    }
    bytes.len()
}

impl Format {
    /// The parameter sets that it tells, as units without start codes: VPS, SPS, PPS,
    /// each kind in its order, no two alike. What is none is left out.
    pub(in crate::gateway::front) fn parameter_sets(
        &self,
        codec: Codec,
        fixes: &crate::gateway::front::fix::Fixes,
    ) -> Vec<Vec<u8>> {
        let told = self.params.iter();
        let told = told.filter(|(name, _)| name.starts_with("sprop-"));
        let told = told.filter(|(name, _)| {
            ["parameter-sets", "vps", "sps", "pps"]
                .iter()
                .any(|end| name.ends_with(end))
        });
        parameters::sets(told.map(|(_, value)| value.as_str()), codec, fixes)
    }
}
