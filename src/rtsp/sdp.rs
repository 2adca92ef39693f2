//! Session descriptions (RFC 8866) with the parameters of RFC 6184, RFC 7798 and RFC 2435.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use sdp_types::{Attribute, Connection, Media, Origin, Session, Time};

use super::rtp::payload_type;
use crate::media::config::{Avc, Hevc};
use crate::media::unit::{Codec, Configuration};

/// The control URL of the only track, relative to the content base.
pub const TRACK: &str = "trackID=0";

/// A picture to be described.
#[derive(Clone, Copy, Debug)]
pub struct Picture<'a> {
    /// What a decoder needs.
    pub configuration: &'a Configuration,
    /// Pictures in a second, where that is known.
    pub frame_rate: Option<f64>,
}

/// To whom a picture is described.
#[derive(Clone, Copy, Debug)]
pub struct Reader {
    /// Tells descriptions apart in the origin line.
    pub number: u64,
    /// Whether the connection is of IPv6: players open their sockets of the family
    /// that is in the connection line (RFC 8866 5.7).
    pub is_ipv6: bool,
}

/// Describes a camera's picture: one video track.
pub fn describe(path: &str, picture: Picture<'_>, reader: Reader) -> Vec<u8> {
    let configuration = picture.configuration;
    let mut attributes = vec![
        attribute("rtpmap", rtpmap(configuration.codec)),
        attribute("control", TRACK.to_owned()),
    ];
    let payload_type = payload_type(configuration.codec);
    if let Some(parameters) = format_parameters(configuration) {
        attributes.insert(1, attribute("fmtp", format!("{payload_type} {parameters}")));
    }
    if configuration.width > 0 && configuration.height > 0 {
        let (width, height) = (configuration.width, configuration.height);
        attributes.push(attribute(
            "framesize",
            format!("{payload_type} {width}-{height}"),
        ));
        if configuration.codec == Codec::Jpeg {
            // For sizes that RFC 2435 has no room for; read by GStreamer and live555.
            attributes.push(attribute("x-dimensions", format!("{width},{height}")));
        }
    }
    // Players that read no timing in the parameter sets guess from the time stamps,
    // which the kept group's squeezed ones mislead.
    if let Some(rate) = picture.frame_rate.filter(|rate| rate.is_finite()) {
        attributes.push(attribute(
            "framerate",
            format!("{}", (rate * 100.0).round() / 100.0),
        ));
    }
    let (family, unspecified) = if reader.is_ipv6 {
        ("IP6", "::")
    } else {
        ("IP4", "0.0.0.0")
    };
    let session = Session {
        origin: Origin {
            username: None,
            sess_id: reader.number.to_string(),
            sess_version: 1,
            nettype: "IN".into(),
            addrtype: family.into(),
            unicast_address: unspecified.into(),
        },
        session_name: path.to_owned(),
        session_description: None,
        uri: None,
        emails: Vec::new(),
        phones: Vec::new(),
        connection: Some(Connection {
            nettype: "IN".into(),
            addrtype: family.into(),
            connection_address: unspecified.into(),
        }),
        bandwidths: Vec::new(),
        times: vec![Time {
            start_time: 0,
            stop_time: 0,
            repeats: Vec::new(),
        }],
        time_zones: Vec::new(),
        key: None,
        attributes: vec![
            attribute("tool", "fanal".into()),
            attribute("control", "*".into()),
            attribute("range", "npt=now-".into()),
        ],
        medias: vec![Media {
            media: "video".into(),
            port: 0,
            num_ports: None,
            proto: "RTP/AVP".into(),
            fmt: payload_type.to_string(),
            media_title: None,
            connections: Vec::new(),
            bandwidths: Vec::new(),
            key: None,
            attributes,
        }],
    };
    let mut out = Vec::with_capacity(512);
    // Writing to memory does not fail.
    let _ = session.write(&mut out);
    out
}

fn attribute(name: &str, value: String) -> Attribute {
    Attribute {
        attribute: name.to_owned(),
        value: Some(value),
    }
}

fn rtpmap(codec: Codec) -> String {
    let name = match codec {
        Codec::H264 => "H264",
        Codec::H265 => "H265",
        Codec::Jpeg => "JPEG",
    };
    format!("{} {name}/90000", payload_type(codec))
}

/// Parameter sets, so that a player can start its decoder before the first packet.
fn format_parameters(configuration: &Configuration) -> Option<String> {
    match configuration.codec {
        Codec::H264 => {
            let avc = Avc::parse(&configuration.record).ok()?;
            let sps = avc.first_sps().ok()?;
            let sets = join(avc.sps.iter().chain(&avc.pps));
            Some(format!(
                "packetization-mode=1;profile-level-id={:02X}{:02X}{:02X};sprop-parameter-sets={sets}",
                sps.profile, sps.constraints, sps.level
            ))
        }
        Codec::H265 => {
            let hevc = Hevc::parse(&configuration.record).ok()?;
            Some(format!(
                "sprop-vps={};sprop-sps={};sprop-pps={}",
                join(&hevc.vps),
                join(&hevc.sps),
                join(&hevc.pps)
            ))
        }
        Codec::Jpeg => None,
    }
}

fn join<'a>(sets: impl IntoIterator<Item = &'a Bytes>) -> String {
    let sets: Vec<String> = sets.into_iter().map(|set| STANDARD.encode(set)).collect();
    sets.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(
        path: &str,
        configuration: &Configuration,
        frame_rate: Option<f64>,
        is_ipv6: bool,
    ) -> String {
        let picture = Picture {
            configuration,
            frame_rate,
        };
        let reader = Reader { number: 9, is_ipv6 };
        String::from_utf8(describe(path, picture, reader)).unwrap()
    }

    #[test]
    fn says_what_players_need() {
        const SPS: [u8; 27] = [
            0x67, 0x64, 0, 0x28, 0xac, 0xd9, 0x40, 0x78, 2, 0x27, 0xe5, 0xc0, 0x44, 0, 0, 3, 0, 4,
            0, 0, 3, 0, 0xc8, 0x3c, 0x60, 0xc6, 0x58,
        ];
        let avc = Avc {
            sps: vec![Bytes::from_static(&SPS)],
            pps: vec![Bytes::from_static(&[0x68, 0xeb])],
        };
        let configuration = Configuration::from_record(Codec::H264, avc.build().unwrap()).unwrap();
        let text = text("berre/quai", &configuration, Some(25.0), false);
        for line in [
            "v=0",
            "o=- 9 1 IN IP4 0.0.0.0",
            "c=IN IP4 0.0.0.0",
            "a=framerate:25",
            "s=berre/quai",
            "a=control:*",
            "a=range:npt=now-",
            "m=video 0 RTP/AVP 96",
            "a=rtpmap:96 H264/90000",
            "a=fmtp:96 packetization-mode=1;profile-level-id=640028;\
             sprop-parameter-sets=Z2QAKKzZQHgCJ+XARAAAAwAEAAADAMg8YMZY,aOs=",
            "a=framesize:96 1920-1080",
            "a=control:trackID=0",
        ] {
            assert!(text.lines().any(|there| there == line), "{line} in {text}");
        }
        Session::parse(text.as_bytes()).unwrap();
    }

    #[test]
    fn jpeg_has_its_static_type() {
        let configuration = Configuration {
            codec: Codec::Jpeg,
            record: Bytes::new(),
            width: 0,
            height: 0,
        };
        let text = text("a/b", &configuration, Some(12.499_9), true);
        assert!(text.contains("o=- 9 1 IN IP6 ::\r\n") && text.contains("c=IN IP6 ::\r\n"));
        assert!(text.contains("a=framerate:12.5\r\n"));
        assert!(text.contains("m=video 0 RTP/AVP 26\r\n"));
        assert!(text.contains("a=rtpmap:26 JPEG/90000\r\n"));
        assert!(!text.contains("fmtp") && !text.contains("framesize"));
    }
}
