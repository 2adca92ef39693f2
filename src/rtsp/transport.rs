//! How packets go to a player: the `Transport` header (RFC 2326 12.39). Pure.

use std::net::SocketAddr;

/// How packets go to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// In the RTSP connection; channels of RTP and RTCP.
    Interleaved {
        /// Channel of RTP.
        rtp: u8,
        /// Channel of RTCP.
        rtcp: u8,
    },
    /// In datagrams to the TCP peer's address; the client's ports.
    Udp {
        /// Port of RTP.
        rtp: u16,
        /// Port of RTCP.
        rtcp: u16,
    },
}

impl Transport {
    /// Whether packets go in datagrams.
    pub const fn is_udp(self) -> bool {
        matches!(self, Self::Udp { .. })
    }

    /// The first of the offered transports that can be had. UDP only where it is
    /// allowed and only to the TCP peer's own address, or anybody could aim
    /// pictures at others.
    pub fn choose(offered: &str, peer: SocketAddr, allows_udp: bool) -> Option<Self> {
        offered.split(',').find_map(|offer| {
            let mut parts = offer.trim().split(';').map(str::trim);
            let protocol = parts.next()?.to_ascii_uppercase();
            let mut unicast = true;
            let mut ports = None;
            let mut channels = Some((0, 1));
            for part in parts {
                let (name, value) = part.split_once('=').unwrap_or((part, ""));
                let value = value.trim();
                match name.trim().to_ascii_lowercase().as_str() {
                    "multicast" => unicast = false,
                    "destination" if !value.is_empty() => {
                        let named: Option<std::net::IpAddr> = value.parse().ok();
                        let named = named.map(|address| address.to_canonical());
                        unicast &= named == Some(peer.ip().to_canonical());
                    }
                    "mode" => unicast &= value.trim_matches('"').eq_ignore_ascii_case("play"),
                    "interleaved" => channels = pair::<u8>(value),
                    "client_port" => ports = pair::<u16>(value),
                    _ => {}
                }
            }
            match protocol.as_str() {
                "RTP/AVP/TCP" if unicast => {
                    channels.map(|(rtp, rtcp)| Self::Interleaved { rtp, rtcp })
                }
                "RTP/AVP" | "RTP/AVP/UDP" if unicast && allows_udp => ports
                    .filter(|(rtp, rtcp)| *rtp >= 1024 && *rtcp >= 1024)
                    .map(|(rtp, rtcp)| Self::Udp { rtp, rtcp }),
                _ => None,
            }
        })
    }
}

/// `a-b`, or `a` for `a` and the one after.
fn pair<T>(text: &str) -> Option<(T, T)>
where
    T: std::str::FromStr + Copy + PartialEq + TryFrom<u32> + Into<u32>,
{
    let (first, second) = match text.split_once('-') {
        Some((first, second)) => (first.trim().parse().ok()?, second.trim().parse().ok()?),
        None => {
            let first: T = text.trim().parse().ok()?;
            (first, T::try_from(first.into() + 1).ok()?)
        }
    };
    (first != second).then_some((first, second))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_what_is_offered_the_first_that_can_be_had() {
        let peer: SocketAddr = "10.0.0.5:40000".parse().unwrap();
        let tcp = |rtp, rtcp| Some(Transport::Interleaved { rtp, rtcp });
        let udp = |rtp, rtcp| Some(Transport::Udp { rtp, rtcp });
        for (offered, expected) in [
            ("RTP/AVP/TCP;unicast;interleaved=0-1", tcp(0, 1)),
            ("RTP/AVP/TCP;interleaved=6-9;unicast", tcp(6, 9)),
            ("RTP/AVP/TCP", tcp(0, 1)),
            ("RTP/AVP/TCP;interleaved=255", None),
            ("RTP/AVP/TCP;interleaved=1-1", None),
            ("RTP/AVP/TCP;interleaved=1-300", None),
            ("RTP/AVP;unicast;client_port=5000-5001", udp(5000, 5001)),
            ("rtp/avp/udp; unicast; client_port = 5000", udp(5000, 5001)),
            (
                "RTP/AVP;unicast;client_port=5000-5001;mode=\"PLAY\"",
                udp(5000, 5001),
            ),
            ("RTP/AVP;unicast;client_port=5000-5001;mode=record", None),
            ("RTP/AVP;unicast;client_port=80-81", None),
            ("RTP/AVP;unicast", None),
            (
                "RTP/AVP;unicast;destination=10.0.0.5;client_port=5000-5001",
                udp(5000, 5001),
            ),
            (
                "RTP/AVP;unicast;destination=10.0.0.6;client_port=5000-5001",
                None,
            ),
            ("RTP/AVP;multicast;client_port=5000-5001", None),
            ("RTP/AVP;multicast, RTP/AVP/TCP;unicast", tcp(0, 1)),
            ("RTP/SAVP;unicast;client_port=5000-5001", None),
            ("", None),
        ] {
            assert_eq!(
                Transport::choose(offered, peer, true),
                expected,
                "{offered}"
            );
        }
        let both = "RTP/AVP;unicast;client_port=5000-5001, RTP/AVP/TCP;unicast";
        assert_eq!(Transport::choose(both, peer, false), tcp(0, 1));
        // A socket of IPv6 that takes IPv4 too names its peers so.
        let mapped: SocketAddr = "[::ffff:10.0.0.5]:40000".parse().unwrap();
        let named = "RTP/AVP;unicast;destination=10.0.0.5;client_port=5000-5001";
        assert_eq!(Transport::choose(named, mapped, true), udp(5000, 5001));
    }
}
