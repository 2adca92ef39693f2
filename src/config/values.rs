//! Values as people write them. Each error says what was expected.

use std::net::SocketAddr;
use std::time::Duration;

use jiff::civil::Date;
use zeroize::Zeroizing;

use super::network::Network;
use super::settings::Hours;

/// Longest text for people, in characters.
pub(super) const TEXT_LIMIT: usize = 128;

/// A text for people: at most 128 characters, nothing invisible that could make
/// it read otherwise than it is.
pub(super) fn text(written: &str) -> Result<String, String> {
    if written.trim().is_empty() {
        return Err("is empty; give it a text".to_owned());
    }
    let length = written.chars().count();
    if length > TEXT_LIMIT {
        return Err(format!("has {length} characters; at most {TEXT_LIMIT}"));
    }
    match written.chars().find(|c| invisible(*c)) {
        Some(c) => Err(format!(
            "holds the character U+{:04X}, which is a control or changes the direction of text; remove it",
            u32::from(c)
        )),
        None => Ok(written.to_owned()),
    }
}

/// A group of this machine, by name or number.
pub(super) fn group(written: &str) -> Result<String, String> {
    let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if (1..=32).contains(&written.len()) && written.bytes().all(is_fit) {
        return Ok(written.to_owned());
    }
    Err(format!(
        "{written:?} is no group; write its name, like \"fanal-desk\""
    ))
}

/// Controls, and the bidirectional controls of Unicode (UAX 9, section 2).
fn invisible(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}')
}

/// `200ms`, `10s`, `2m`, `1h`, `31d`, `1h30m`, from `least` to `most`.
pub(super) fn duration(written: &str, least: Duration, most: Duration) -> Result<Duration, String> {
    let value = parse_duration(written).ok_or_else(|| {
        format!("{written:?} is no duration; write such as \"200ms\", \"10s\", \"2m\", \"1h30m\" or \"31d\"")
    })?;
    if value < least || value > most {
        return Err(format!(
            "{written} is out of bounds; from {} to {}",
            show(least),
            show(most)
        ));
    }
    Ok(value)
}

/// A duration as people write it; `None` if it is none. Also for the command line.
pub(crate) fn parse_duration(written: &str) -> Option<Duration> {
    let mut rest = written.trim();
    let mut whole = Duration::ZERO;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest.get(..digits)?.parse().ok()?;
        rest = rest.get(digits..)?;
        let end = rest
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(rest.len());
        let unit_ms: u64 = match rest.get(..end)? {
            "ms" => 1,
            "s" => 1_000,
            "m" | "min" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        rest = rest.get(end..)?;
        whole = whole.checked_add(Duration::from_millis(number.checked_mul(unit_ms)?))?;
    }
    Some(whole)
}

fn show(duration: Duration) -> String {
    let ms = duration.as_millis();
    for (unit, size) in [
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1_000),
    ] {
        if ms >= size && ms.is_multiple_of(size) {
            return format!("{}{unit}", ms / size);
        }
    }
    format!("{ms}ms")
}

/// `40 Mbit/s`, in bits per second; at least 64 kbit/s, at most 100 Gbit/s.
pub(crate) fn bitrate(written: &str) -> Result<u64, String> {
    const LEAST: f64 = 64_000.0;
    const MOST: f64 = 100e9;
    let wrong = || {
        format!(
            "{written:?} is no bit rate from 64 kbit/s to 100 Gbit/s; write such as \"40 Mbit/s\" or \"300 kbit/s\""
        )
    };
    let text = written.trim();
    let end = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.' || c == ','))
        .ok_or_else(wrong)?;
    let number: f64 = text[..end].replace(',', ".").parse().map_err(|_| wrong())?;
    let factor = match text[end..].trim() {
        "bit/s" => 1.0,
        "kbit/s" | "kbps" => 1e3,
        "Mbit/s" | "Mbps" => 1e6,
        "Gbit/s" | "Gbps" => 1e9,
        _ => return Err(wrong()),
    };
    let rate = (number * factor).round();
    if !(LEAST..=MOST).contains(&rate) {
        return Err(wrong());
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // bounded above
    Ok(rate as u64)
}

/// A TOML date, or a text such as `2025-02-13`.
pub(super) fn date(written: &toml::Value) -> Result<Date, String> {
    let shown = written.to_string_like();
    let wrong = || format!("{shown} is no date; write such as 2025-02-13");
    match written {
        toml::Value::Datetime(when) if when.time.is_none() => {
            let day = when.date.ok_or_else(wrong)?;
            let number = |value: u8| i8::try_from(value).map_err(|_| wrong());
            let year = i16::try_from(day.year).map_err(|_| wrong())?;
            Date::new(year, number(day.month)?, number(day.day)?).map_err(|_| wrong())
        }
        toml::Value::String(text) if text.len() == 10 => text.parse().map_err(|_| wrong()),
        toml::Value::String(_)
        | toml::Value::Datetime(_)
        | toml::Value::Integer(_)
        | toml::Value::Float(_)
        | toml::Value::Boolean(_)
        | toml::Value::Array(_)
        | toml::Value::Table(_) => Err(wrong()),
    }
}

trait Shown {
    fn to_string_like(&self) -> String;
}

impl Shown for toml::Value {
    fn to_string_like(&self) -> String {
        match self {
            Self::String(text) => format!("{text:?}"),
            Self::Datetime(when) => when.to_string(),
            Self::Integer(number) => number.to_string(),
            Self::Float(number) => number.to_string(),
            Self::Boolean(value) => value.to_string(),
            Self::Array(_) => "a list".to_owned(),
            Self::Table(_) => "a table".to_owned(),
        }
    }
}

/// Where a daemon listens: an address and a port.
pub(super) fn listen(written: &str) -> Result<SocketAddr, String> {
    written.parse().map_err(|_| {
        format!("{written:?} is no address to listen on; write address and port such as \"127.0.0.1:8889\" or \"[::]:8889\"")
    })
}

/// Where somebody else listens: `host:port`.
pub(super) fn host_port(written: &str) -> Result<String, String> {
    let wrong = || {
        format!(
            "{written:?} is not host:port; write such as \"corg13.example:4433\" or \"[2001:db8::1]:4433\""
        )
    };
    let (name, port) = written.rsplit_once(':').ok_or_else(wrong)?;
    if port.parse::<u16>().map_or(true, |port| port == 0) || !is_host(name) {
        return Err(wrong());
    }
    Ok(written.to_owned())
}

/// A host name, an IPv4 address, or an IPv6 address in brackets.
pub(super) fn is_host(name: &str) -> bool {
    if let Some(inner) = name.strip_prefix('[').and_then(|n| n.strip_suffix(']')) {
        return inner.parse::<std::net::Ipv6Addr>().is_ok();
    }
    (1..=253).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.' || b == b'_')
}

/// A network such as `10.0.0.0/8`, or one address.
pub(super) fn network(written: &str) -> Result<Network, String> {
    Network::parse(written).ok_or_else(|| {
        format!("{written:?} is no network; write such as \"10.0.0.0/8\" or \"10.1.2.3\"")
    })
}

/// The key of a webhook's signatures, as Standard Webhooks writes it: `whsec_` and 24 to 64 bytes
/// in base64. The error shows nothing of it.
pub(crate) fn webhook_key(written: &str) -> Result<Zeroizing<Vec<u8>>, String> {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    let key = written.strip_prefix("whsec_");
    let key = key
        .and_then(|key| STANDARD.decode(key).ok())
        .map(Zeroizing::new);
    key.filter(|key| (24..=64).contains(&key.len())).ok_or_else(|| {
        "must hold whsec_ and 24 to 64 bytes in base64; make one with: echo whsec_$(openssl rand -base64 32)".to_owned()
    })
}

/// Windows of the week; the grammar is in the module's doc.
pub(super) fn hours(written: &str) -> Result<Vec<Hours>, String> {
    let mut windows = Vec::new();
    for part in written.split(',') {
        let mut days = [false; 7];
        let mut times = Vec::new();
        for word in part.split_whitespace() {
            if word.starts_with(|c: char| c.is_ascii_digit()) {
                times.push(time_range(word)?);
            } else if times.is_empty() {
                add_days(&mut days, word)?;
            } else {
                return Err(format!(
                    "{:?}: write days before times, and a comma between windows",
                    part.trim()
                ));
            }
        }
        if times.is_empty() {
            return Err(format!(
                "{:?} names no time; write such as \"mon-fri 08:00-20:00, sat 09:00-12:00\"",
                part.trim()
            ));
        }
        if !days.contains(&true) {
            days = [true; 7];
        }
        windows.extend(
            times
                .into_iter()
                .map(|(start, end)| Hours { days, start, end }),
        );
    }
    Ok(windows)
}

const DAYS: [[&str; 2]; 7] = [
    ["monday", "lundi"],
    ["tuesday", "mardi"],
    ["wednesday", "mercredi"],
    ["thursday", "jeudi"],
    ["friday", "vendredi"],
    ["saturday", "samedi"],
    ["sunday", "dimanche"],
];

fn day(word: &str) -> Result<usize, String> {
    let word = word.to_lowercase();
    DAYS.iter()
        .position(|names| {
            names
                .iter()
                .any(|name| *name == word || name.get(..3) == Some(&word))
        })
        .ok_or_else(|| {
            format!("{word:?} is no day; write mon tue wed thu fri sat sun or lun mar mer jeu ven sam dim")
        })
}

fn add_days(days: &mut [bool; 7], word: &str) -> Result<(), String> {
    let (first, last) = match word.split_once('-') {
        Some((first, last)) => (day(first)?, day(last)?),
        None => (day(word)?, day(word)?),
    };
    let mut at = first;
    loop {
        days[at] = true;
        if at == last {
            return Ok(());
        }
        at = (at + 1) % 7;
    }
}

fn time_range(word: &str) -> Result<(u16, u16), String> {
    let wrong =
        || format!("{word:?} is no time; write such as \"08:00-20:00\" (24:00 ends the day)");
    let (start, end) = word.split_once('-').ok_or_else(wrong)?;
    let start = minutes(start).filter(|m| *m < 1440).ok_or_else(wrong)?;
    let end = minutes(end).ok_or_else(wrong)?;
    Ok((start, end))
}

/// `08:00`, `8h30`, `8h`; up to 24:00.
fn minutes(written: &str) -> Option<u16> {
    let (hours, minutes) = written.split_once([':', 'h'])?;
    let two =
        |text: &str| (1..=2).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    if !two(hours) || !(two(minutes) || (minutes.is_empty() && written.ends_with('h'))) {
        return None;
    }
    let hours: u16 = hours.parse().ok()?;
    let minutes: u16 = if minutes.is_empty() {
        0
    } else {
        minutes.parse().ok()?
    };
    let whole = hours * 60 + minutes;
    (minutes < 60 && whole <= 1440).then_some(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (written, ms) in [
            ("200ms", 200),
            ("10s", 10_000),
            ("1h30m", 5_400_000),
            ("31d", 2_678_400_000),
        ] {
            assert_eq!(
                parse_duration(written),
                Some(Duration::from_millis(ms)),
                "{written}"
            );
        }
        for written in ["", "10", "s", "1 h", "-1s", "1w", "99999999999999999999d"] {
            assert_eq!(parse_duration(written), None, "{written}");
        }
        let bounded = duration("25h", Duration::ZERO, Duration::from_secs(86_400));
        assert_eq!(bounded.unwrap_err(), "25h is out of bounds; from 0ms to 1d");
    }

    #[test]
    fn bitrates() {
        assert_eq!(bitrate("40 Mbit/s"), Ok(40_000_000));
        assert_eq!(bitrate("2,5Mbit/s"), Ok(2_500_000));
        assert_eq!(bitrate("300 kbit/s"), Ok(300_000));
        for wrong in [
            "40",
            "40 MB/s",
            "0 Mbit/s",
            "1e99 Mbit/s",
            "Mbit/s",
            "900 Gbit/s",
        ] {
            assert!(bitrate(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn hours_in_both_languages() {
        let all = [true; 7];
        let weekdays = [true, true, true, true, true, false, false];
        let english = hours("mon-fri 08:00-20:00, sat sun 9:00-12:00 14:00-24:00").unwrap();
        let french = hours("lun-ven 8h-20h, samedi dim 9h00-12h 14h-24h").unwrap();
        assert_eq!(english, french);
        assert_eq!(english.len(), 3);
        assert_eq!(
            english[0],
            Hours {
                days: weekdays,
                start: 480,
                end: 1200
            }
        );
        assert_eq!(english[2].end, 1440);
        assert_eq!(
            hours("22:00-06:00").unwrap(),
            [Hours {
                days: all,
                start: 1320,
                end: 360
            }]
        );
        let wrapped = hours("sat-mon 00:00-24:00").unwrap();
        assert_eq!(
            wrapped[0].days,
            [true, false, false, false, false, true, true]
        );
        for wrong in [
            "",
            "mon-fri",
            "xyz 08:00-09:00",
            "08:00",
            "25:00-26:00",
            "08:60-09:00",
            "08:00-09:00 mon",
            "24:00-08:00",
            "mon 08:00-09:00,",
        ] {
            assert!(hours(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn addresses() {
        for good in ["corg13.example:4433", "10.0.0.1:1", "[2001:db8::1]:4433"] {
            assert!(host_port(good).is_ok(), "{good}");
        }
        for wrong in [
            "corg13.example",
            ":4433",
            "a b:1",
            "host:0",
            "host:70000",
            "2001:db8::1:4433",
            "h/x:1",
        ] {
            assert!(host_port(wrong).is_err(), "{wrong}");
        }
        for good in ["10.0.0.0/8", "::1", "2001:db8::/32"] {
            assert!(network(good).is_ok(), "{good}");
        }
        for wrong in ["10.0.0.0/33", "x", "10.0.0.0/", "10.0/8"] {
            assert!(network(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn texts_hide_nothing() {
        assert!(text("Berre-l'Étang").is_ok());
        assert!(text(&"é".repeat(128)).is_ok());
        for wrong in ["", "  ", "a\nb", "a\u{202e}b", &"x".repeat(129)] {
            assert!(text(wrong).is_err(), "{wrong:?}");
        }
    }
}
