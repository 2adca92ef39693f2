//! `Transport` of a camera's answer to SETUP (RFC 2326 12.39), read with patience.

use std::net::IpAddr;

/// What is needed of a `Transport` header.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Parsed {
    pub(super) interleaved: Option<(u8, u8)>,
    pub(super) server_ports: Option<(u16, u16)>,
    pub(super) source: Option<IpAddr>,
}

impl Parsed {
    /// Reads what can be read; the rest is left out.
    pub(super) fn read(text: &str) -> Self {
        let mut parsed = Self::default();
        for part in text.split([';', ',']) {
            let Some((name, value)) = part.split_once('=') else {
                continue;
            };
            let value = value.trim().trim_matches('"');
            match name.trim().to_ascii_lowercase().as_str() {
                "interleaved" if parsed.interleaved.is_none() => {
                    parsed.interleaved =
                        pair(value, u8::MAX.into()).map(|(rtp, rtcp)| (rtp as u8, rtcp as u8));
                }
                "server_port" if parsed.server_ports.is_none() => {
                    parsed.server_ports =
                        pair(value, u16::MAX).filter(|(rtp, rtcp)| *rtp > 0 && *rtcp > 0);
                }
                "source" => parsed.source = value.parse().ok(),
                _ => {}
            }
        }
        parsed
    }
}

/// `a-b`, or `a` alone for a and the next; `None` where `a` is no number up to `most`.
fn pair(text: &str, most: u16) -> Option<(u16, u16)> {
    let (first, second) = text.split_once('-').unwrap_or((text, ""));
    let first: u16 = first.trim().parse().ok().filter(|first| *first <= most)?;
    let next = first.checked_add(1).filter(|next| *next <= most);
    let second = second.trim().parse().ok();
    let second = second.filter(|second| *second != first && *second <= most);
    Some((first, second.or(next)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transports_are_read_with_patience() {
        for (text, interleaved, ports) in [
            ("RTP/AVP/TCP;unicast;interleaved=2-3", Some((2, 3)), None),
            ("RTP/AVP/TCP;interleaved=4", Some((4, 5)), None),
            (
                "RTP/AVP/TCP; Interleaved = 4 - 5 ;ssrc=x",
                Some((4, 5)),
                None,
            ),
            ("interleaved=255", None, None),
            ("interleaved=300-301", None, None),
            ("interleaved=0-0", Some((0, 1)), None),
            ("interleaved=1-x", Some((1, 2)), None),
            ("RTP/AVP;server_port=5000-5001", None, Some((5000, 5001))),
            (
                "RTP/AVP;server_port=39000-35968",
                None,
                Some((39000, 35968)),
            ),
            ("RTP/AVP;server_port=5000", None, Some((5000, 5001))),
            ("RTP/AVP/TCP;server_port=0-0", None, None),
            ("", None, None),
            (";;=;,,", None, None),
        ] {
            let parsed = Parsed::read(text);
            assert_eq!(
                (parsed.interleaved, parsed.server_ports),
                (interleaved, ports),
                "{text}"
            );
        }
        let parsed = Parsed::read("RTP/AVP;source=10.0.0.7");
        assert_eq!(parsed.source, "10.0.0.7".parse().ok());
        assert_eq!(Parsed::read("source=camera").source, None);
    }
}
