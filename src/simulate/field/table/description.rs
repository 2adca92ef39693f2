//! The session description (SDP, RFC 4566).

use super::super::script::{InBand, Material, PLAIN, Script};
use super::{Fault, H264, H265, refused, row, shown};
use crate::reason::Reason;
use crate::simulate::field::Expect;

/// A video part of H.264 without `c=` and `b=` lines.
macro_rules! h264 {
    ($($line:literal),*) => { concat!(
        "m=video 0 RTP/AVP 96\r\n",
        $($line, "\r\n",)*
        "a=rtpmap:96 H264/90000\r\n",
        "a=fmtp:96 packetization-mode=1;profile-level-id=42C01F;sprop-parameter-sets={sprop}\r\n",
        "a=control:{control}\r\n"
    ) };
}

/// A description of H.264 with this whole text.
const fn whole(sdp: &'static str) -> Script {
    Script {
        codec: H264,
        sdp,
        ..PLAIN
    }
}

/// A description with this session part.
const fn head(head: &'static str) -> Script {
    Script { head, ..PLAIN }
}

/// A description with this video part of H.264.
const fn video(video: &'static str) -> Script {
    Script {
        codec: H264,
        video: Some(video),
        ..PLAIN
    }
}

pub(super) static ROWS: &[Fault] = &[
    // 3
    shown(
        "sdp-addresses-are-empty",
        "The addresses of its o= and c= lines are empty.",
        whole(concat!(
            "v=0\r\no=- 1001 1 IN \r\ns=VCP IPC Realtime stream\r\nt=0 0\r\n",
            h264!("c=IN ")
        )),
    ),
    // g36: as 3, with metadata.
    shown(
        "sdp-addresses-are-empty-and-metadata",
        "The addresses are empty, and ONVIF metadata follow.",
        whole(concat!(
            "v=0\r\no=- 1001 1 IN \r\ns=VCP IPC Realtime stream\r\nm=video 0 RTP/AVP 96\r\nc=IN \r\na=control:{control}\r\n",
            "a=rtpmap:96 H264/90000\r\na=fmtp:96 profile-level-id=42C01F; packetization-mode=1; sprop-parameter-sets={sprop}\r\na=recvonly\r\n",
            "m=application 0 RTP/AVP 107\r\nc=IN \r\na=control:metadata\r\na=rtpmap:107 vnd.onvif.metadata/90000\r\na=recvonly\r\n"
        )),
    ),
    // 16a
    shown(
        "sdp-time-is-now",
        "Its t= line says `now-`.",
        head(
            "v=0\r\no=- 0 0 IN IP4 {address}\r\ns=LIVE VIEW\r\nc=IN IP4 0.0.0.0\r\nt=now-\r\na=control:*\r\n",
        ),
    ),
    // g17: FLIR, as 16a.
    shown(
        "sdp-time-is-now-and-lines-odd",
        "Its t= line says `now-`, and its o= line has one number.",
        whole(concat!(
            "v=0\r\no=- 0 IN IP4 {address}\r\ns=LIVE VIEW\r\nc=IN IP4 0.0.0.0\r\nt=now-\r\na=control:*\r\n",
            "m=video 0 RTP/AVP 96\r\nb=AS:2000\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 sprop-parameter-sets={sprop}; packetization-mode=1\r\na=framerate:30.0\r\na=control:{control}\r\n"
        )),
    ),
    // 16b, g29
    shown(
        "sdp-origin-with-fractions",
        "The numbers of its o= line have fractions, its address a port.",
        head(
            "v=0\r\no=- 1698210484.879535 1698210484.879535 IN IP4 203.0.113.10:12626\r\ns=Session\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\n",
        ),
    ),
    // 16e
    shown(
        "sdp-origin-with-words",
        "The user of its o= line is several words.",
        head(
            "v=0\r\no=A Maker Of Cameras 0 0 IN IP4 127.0.0.1\r\ns=Session\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\n",
        ),
    ),
    // g24: as 16e with audio.
    shown(
        "sdp-origin-with-words-and-audio",
        "The user of its o= line is several words, and audio comes first.",
        Script {
            sdp: "v=0\r\no=A Maker Of Cameras 0 0 IN IP4 127.0.0.1\r\ns=Session\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\nm=audio 0 RTP/AVP 0\r\na=control:audio\r\na=rtpmap:0 PCMU/8000\r\n{video}",
            ..PLAIN
        },
    ),
    // 16f
    shown(
        "sdp-without-version",
        "It has no v= line.",
        head("o=- 1001 1 IN IP4 {address}\r\ns=Session\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\n"),
    ),
    // 16g, g37
    shown(
        "sdp-connection-without-type",
        "Its c= line lacks the kind of address.",
        head("v=0\r\no=- 1001 1 IN IP4 {address}\r\ns=Session\r\nc=IN 198.51.100.1\r\nt=0 0\r\n"),
    ),
    // g38
    shown(
        "sdp-connection-of-ipv6-without-type",
        "Its c= line has an IPv6 address and lacks its kind.",
        head("v=0\r\no=- 1001 1 IN IP6 ::\r\ns=Session\r\nc=IN 2001:db8::2\r\nt=0 0\r\n"),
    ),
    // 16h, g07: two audio tracks, as in ONVIF's own example.
    shown(
        "sdp-origin-without-user",
        "Its o= line has no user but the space behind it.",
        head("v=0\r\no= 2890842807 IN IP4 192.168.0.1\r\ns=RTSP Session\r\nt=0 0\r\n"),
    ),
    shown(
        "sdp-as-in-the-onvif-example",
        "Its o= line has no user; two audio tracks follow, one to be sent to it.",
        Script {
            sdp: "v=0\r\no= 2890842807 IN IP4 192.168.0.1\r\ns=RTSP Session with audiobackchannel\r\n{video}a=recvonly\r\nm=audio 0 RTP/AVP 0\r\na=control:audio\r\na=recvonly\r\nm=audio 0 RTP/AVP 0\r\na=control:audioback\r\na=rtpmap:0 PCMU/8000\r\na=sendonly\r\n",
            ..PLAIN
        },
    ),
    // g08
    shown(
        "sdp-origin-glued",
        "The user and the number of its o= line are written together.",
        head("v=0\r\no=-0 0 IN IP4 127.0.0.1\r\ns=No Name\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"),
    ),
    shown(
        "sdp-origin-is-empty",
        "Its o= and s= lines are empty.",
        head("v=0\r\no=\r\ns=\r\nt=0 0\r\n"),
    ),
    shown(
        "sdp-origin-negative",
        "The numbers of its o= line are negative and larger than 64 bits.",
        head("v=0\r\no=- -1 99999999999999999999999 IN IP4 0.0.0.0\r\ns= \r\nt=0 0\r\n"),
    ),
    // 16j
    shown(
        "sdp-bandwidth-is-empty",
        "The value of its b= line is missing.",
        video(h264!("b=AS:")),
    ),
    // 16j3
    shown(
        "sdp-bandwidth-without-kind",
        "Its b= line is a number alone.",
        video(h264!("b=5000")),
    ),
    shown(
        "sdp-bandwidth-is-huge",
        "Its b= lines are larger than 64 bits, negative and with a fraction.",
        video(h264!(
            "b=AS:99999999999999999999",
            "b=TIAS:-1",
            "b=AS:0.5 kbps"
        )),
    ),
    // 16k
    shown(
        "sdp-name-in-latin",
        "Its s= line is in Latin-1.",
        head("v=0\r\no=- 1001 1 IN IP4 {address}\r\ns=Cam\u{e9}ra\r\nt=0 0\r\n"),
    ),
    shown(
        "sdp-name-in-gbk",
        "Its s= and i= lines are in GBK, with a zero byte.",
        head(
            "v=0\r\no=- 1001 1 IN IP4 {address}\r\ns=\u{c9}\u{e3}\u{cf}\u{f1}\u{cd}\u{b7}\0\r\ni=\u{ff}\u{fe}\r\nt=0 0\r\n",
        ),
    ),
    // 16l
    shown(
        "sdp-audio-without-format",
        "The m= line of audio, before the video, has no format.",
        Script {
            sdp: "{head}m=audio 0 RTP/AVP\r\na=control:audio\r\n{video}",
            ..PLAIN
        },
    ),
    // 16m
    refused(
        "sdp-names-the-other-codec",
        "It announces H.264 and sends H.265.",
        &[Reason::CodecUnsupported],
        "no picture could be made",
        Script {
            codec: H265,
            video: Some(
                "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:{control}\r\n",
            ),
            packet: 90,
            ..PLAIN
        },
    ),
    refused(
        "sdp-video-without-format",
        "The m= line of video has no format, and nothing else is there.",
        &[Reason::CameraRefused, Reason::CodecUnsupported],
        "",
        whole("{head}m=video 0 RTP/AVP \r\n"),
    ),
    // 16n
    shown(
        "sdp-two-names",
        "It has two s= lines, two o= lines and two v= lines.",
        head(
            "v=0\r\nv=0\r\no=- 1 1 IN IP4 0.0.0.0\r\no=- 2 2 IN IP4 0.0.0.0\r\ns=a\r\ns=b\r\nt=0 0\r\nt=0 0\r\n",
        ),
    ),
    // 16o
    shown(
        "sdp-port-too-large",
        "The port of its m= line is larger than 16 bits.",
        video(
            "m=video 70000 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1;sprop-parameter-sets={sprop}\r\na=control:{control}\r\n",
        ),
    ),
    shown(
        "sdp-port-odd",
        "The port of its m= line is a range that begins with -1.",
        video("m=video -1/2 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:{control}\r\n"),
    ),
    shown(
        "sdp-protocol-of-tcp",
        "Its m= line says RTP/AVP/TCP.",
        video("m=video 0 RTP/AVP/TCP 96\r\na=rtpmap:96 H264/90000\r\na=control:{control}\r\n"),
    ),
    // 34a
    shown(
        "sdp-many-formats",
        "Its m= line has five formats, of which the fourth is H.264.",
        Script {
            payload_type: Some(111),
            ..video(
                "m=video 0 RTP/AVP 96 97 112 111 99\r\na=rtpmap:96 mp4v-es/90000\r\na=fmtp:96 profile-level-id=1\r\na=rtpmap:97 mpeg4-generic/8000\r\n\
                 a=rtpmap:111 H264/90000\r\na=fmtp:111 packetization-mode=1;sprop-parameter-sets={sprop}\r\na=rtpmap:112 VP8/90000\r\na=control:{control}\r\n",
            )
        },
    ),
    shown(
        "sdp-static-format-first",
        "Its m= line has JPEG first and sends H.264.",
        video(
            "m=video 0 RTP/AVP 26 96\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1;sprop-parameter-sets={sprop}\r\na=control:{control}\r\n",
        ),
    ),
    shown(
        "sdp-lines-end-with-lf",
        "Its lines end with LF.",
        whole(
            "v=0\no=- 1 1 IN IP4 0.0.0.0\ns=Session\nt=0 0\nm=video 0 RTP/AVP 96\na=rtpmap:96 H264/90000\na=fmtp:96 packetization-mode=1;sprop-parameter-sets={sprop}\na=control:{control}\n",
        ),
    ),
    shown(
        "sdp-lines-end-with-cr",
        "Its lines end with CR CR LF, and a blank one is between.",
        whole(
            "v=0\r\r\no=- 1 1 IN IP4 0.0.0.0\r\r\ns=Session\r\r\n\r\nt=0 0\r\r\nm=video 0 RTP/AVP 96\r\r\na=rtpmap:96 H264/90000\r\r\na=control:{control}\r\r\n",
        ),
    ),
    shown(
        "sdp-ends-with-zeros",
        "Zero bytes follow its last line, which has no end.",
        Script {
            sdp: "{head}{video}a=recvonly\0\0\0\0",
            ..PLAIN
        },
    ),
    shown(
        "sdp-with-byte-order-mark",
        "It begins with the byte order mark of UTF-8.",
        Script {
            sdp: "\u{ef}\u{bb}\u{bf}{head}{video}",
            ..PLAIN
        },
    ),
    shown(
        "sdp-with-spaces",
        "Spaces stand at the ends of its lines and around its colons.",
        whole(
            "v=0 \r\no=- 1 1 IN IP4 0.0.0.0 \r\ns=Session \r\nt=0 0 \r\nm=video 0 RTP/AVP 96 \r\na=rtpmap: 96  H264/90000 \r\na=fmtp: 96 packetization-mode=1 ; sprop-parameter-sets={sprop} ;\r\na=control: {control} \r\n",
        ),
    ),
    shown(
        "sdp-with-other-lines",
        "It has lines of every letter, known or not, and some that are no lines.",
        Script {
            sdp: "{head}u=http://a b\r\ne=\r\np=+33 1\r\nz=x\r\nk=prompt\r\nr=\r\nx=1\r\nhello\r\n=\r\na\r\na=\r\na=:\r\n{video}q=1\r\n",
            ..PLAIN
        },
    ),
    shown(
        "sdp-video-alone",
        "It has the video part alone.",
        Script {
            sdp: "{video}",
            ..PLAIN
        },
    ),
    shown(
        "sdp-any-order",
        "Its session lines come behind the video part.",
        Script {
            sdp: "{video}t=0 0\r\ns=Session\r\no=- 1 1 IN IP4 0.0.0.0\r\nv=0\r\n",
            ..PLAIN
        },
    ),
    shown(
        "sdp-is-long",
        "It has a line of 20,000 characters.",
        Script { sdp: LONG, ..PLAIN },
    ),
    shown(
        "sdp-audio-first",
        "Audio comes before the video.",
        Script {
            sdp: concat!(
                "{head}",
                "m=audio 0 RTP/AVP 8\r\na=control:audio\r\na=rtpmap:8 PCMA/8000\r\n",
                "{video}"
            ),
            ..PLAIN
        },
    ),
    shown(
        "sdp-metadata-first",
        "Metadata come before the video, as `m=application`.",
        Script {
            sdp: "{head}m=application 0 RTP/AVP 107\r\na=control:meta\r\na=rtpmap:107 vnd.onvif.metadata/90000\r\n{video}",
            ..PLAIN
        },
    ),
    shown(
        "sdp-metadata-as-video",
        "A track of `m=video` carries metadata; the pictures come in the next.",
        Script {
            sdp: "{head}m=video 0 RTP/AVP 98\r\na=control:meta\r\na=rtpmap:98 vnd.onvif.metadata/90000\r\n{video}",
            ..PLAIN
        },
    ),
    shown(
        "sdp-two-videos",
        "It has two video tracks; the first is the one to play.",
        Script {
            sdp: "{head}{video}m=video 0 RTP/AVP 97\r\na=control:trackID=2\r\na=rtpmap:97 H264/90000\r\n",
            ..PLAIN
        },
    ),
    shown(
        "sdp-first-video-unknown",
        "The first of two video tracks is of an unknown codec.",
        Script {
            sdp: "{head}m=video 0 RTP/AVP 97\r\na=control:trackID=9\r\na=rtpmap:97 MP4V-ES/90000\r\n{video}",
            ..PLAIN
        },
    ),
    shown(
        "sdp-attributes-before-formats",
        "fmtp comes before rtpmap, and control first.",
        video(
            "m=video 0 RTP/AVP 96\r\na=control:{control}\r\na=fmtp:96 sprop-parameter-sets={sprop};packetization-mode=1\r\na=framerate:10\r\na=rtpmap:96 H264/90000\r\n",
        ),
    ),
    shown(
        "sdp-codec-in-lower-case",
        "It writes h264, with a number of channels.",
        video(
            "m=video 0 RTP/AVP 96\r\na=RTPMAP:96 h264/90000/1\r\na=FMTP:96 Packetization-Mode=1; Sprop-Parameter-Sets={sprop}\r\na=Control:{control}\r\n",
        ),
    ),
    shown(
        "sdp-h265-without-fmtp",
        "H.265 comes without fmtp: its parameter sets are in band alone.",
        Script {
            codec: H265,
            video: Some(
                "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H265/90000\r\na=control:{control}\r\n",
            ),
            ..PLAIN
        },
    ),
    shown(
        "sdp-h265-sets-broken",
        "The parameter sets of H.265 are broken in the description.",
        Script {
            codec: H265,
            video: Some(
                "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H265/90000\r\na=fmtp:96 profile-space=0;sprop-vps=AAAA; sprop-sps=@@; sprop-pps=\r\na=control:{control}\r\n",
            ),
            ..PLAIN
        },
    ),
    shown(
        "sdp-without-fmtp",
        "It has no fmtp: the parameter sets are in band alone.",
        video("m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:{control}\r\n"),
    ),
    shown(
        "sdp-fmtp-is-empty",
        "Its fmtp has no parameters.",
        video(
            "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=fmtp:96\r\na=control:{control}\r\n",
        ),
    ),
    shown(
        "sdp-fmtp-of-other-format",
        "Its fmtp names another format than its m= line.",
        video(
            "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=fmtp:97 packetization-mode=1;sprop-parameter-sets={sprop}\r\na=control:{control}\r\n",
        ),
    ),
    shown(
        "sdp-sets-broken",
        "The parameter sets of the description are no base64.",
        video(
            "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1;profile-level-id=;sprop-parameter-sets=@@@,%%%\r\na=control:{control}\r\n",
        ),
    ),
    shown(
        "sdp-sets-cut",
        "The parameter sets of the description are cut short.",
        video(
            "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1;profile-level-id=42;sprop-parameter-sets=Z0LA,aA\r\na=control:{control}\r\n",
        ),
    ),
    shown(
        "sdp-sets-with-comma",
        "A comma follows the parameter sets, and spaces are between.",
        video(
            "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1; sprop-parameter-sets= {sprop},\r\na=control:{control}\r\n",
        ),
    ),
    shown(
        "sdp-mode-missing",
        "It names no packetization-mode and sends fragments.",
        video(
            "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 sprop-parameter-sets={sprop}\r\na=control:{control}\r\n",
        ),
    ),
    shown(
        "sdp-mode-zero",
        "It names packetization-mode 0 and sends fragments.",
        video(
            "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=0;profile-level-id=XYZ;sprop-parameter-sets={sprop}\r\na=control:{control}\r\n",
        ),
    ),
    shown(
        "sdp-sets-contradict",
        "The parameter sets of the description are of another size than those in band.",
        video(
            "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1;sprop-parameter-sets=Z0LAHtkDxWhAAAADAEAAAAwDxYuS,aMuMsg==\r\na=control:{control}\r\n",
        ),
    ),
    shown(
        "sdp-control-missing",
        "Its only track has no control URL, its session has one.",
        Script {
            codec: H264,
            head: "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=Session\r\nt=0 0\r\na=control:*\r\n",
            video: Some("m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"),
            track: &["{url}/", "{url}"],
            ..PLAIN
        },
    ),
    shown(
        "sdp-control-of-session",
        "The session's control URL is whole; the track's goes behind it.",
        Script {
            head: "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=Session\r\nt=0 0\r\na=control:{url}/\r\n",
            describe: &["Content-Type: application/sdp", "Content-Length: {length}"],
            ..PLAIN
        },
    ),
    // 31d
    row(
        "sdp-clock-of-8000",
        "Its clock rate is 8000.",
        Expect::ShownOr(Reason::CodecUnsupported, "8000"),
        video(
            "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/8000\r\na=fmtp:96 packetization-mode=1;sprop-parameter-sets={sprop}\r\na=control:{control}\r\n",
        ),
    ),
    shown(
        "sdp-clock-missing",
        "Its rtpmap names no clock rate.",
        video(
            "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264\r\na=fmtp:96 packetization-mode=1;sprop-parameter-sets={sprop}\r\na=control:{control}\r\n",
        ),
    ),
    refused(
        "sdp-audio-alone",
        "It has audio and no video.",
        &[Reason::CodecUnsupported, Reason::CameraRefused],
        "",
        Script {
            sdp: concat!("{head}", "m=audio 0 RTP/AVP 8\r\na=control:audio\r\n"),
            ..PLAIN
        },
    ),
    refused(
        "sdp-of-mpeg-4",
        "It sends MPEG-4, which browsers don't play.",
        &[Reason::CodecUnsupported],
        "mp4v-es",
        video("m=video 0 RTP/AVP 96\r\na=rtpmap:96 MP4V-ES/90000\r\na=control:{control}\r\n"),
    ),
    refused(
        "sdp-is-a-web-page",
        "Its description is a web page.",
        &[Reason::CameraRefused, Reason::CodecUnsupported],
        "",
        Script {
            sdp: "<html><body>m=x</body></html>\r\n",
            ..PLAIN
        },
    ),
    refused(
        "sdp-is-empty",
        "Its description is empty.",
        &[Reason::CameraRefused, Reason::CodecUnsupported],
        "",
        Script { sdp: "", ..PLAIN },
    ),
    // 25b is in pictures: several sets in the description alone.
    shown(
        "sdp-four-slices",
        "It sends four slices a picture and calls its description `multipart`.",
        Script {
            material: Material::Slices,
            sdp: concat!("{head}", "{video}", "m=multipart 0 RTP/AVP 9\r\n"),
            ..PLAIN
        },
    ),
    shown(
        "sdp-rtpmap-with-spaces",
        "Spaces stand around the parts of its rtpmap.",
        video(
            "m=video 0 RTP/AVP 96\r\na=rtpmap: 96  H264/90000 \r\na=fmtp:96 packetization-mode=1;sprop-parameter-sets={sprop}\r\na=control:{control}\r\n",
        ),
    ),
    shown(
        "sdp-fmtp-with-spaces",
        "Spaces stand around the parts of its fmtp.",
        video(
            "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode = 1 ; sprop-parameter-sets = {sprop} ; \r\na=control:{control}\r\n",
        ),
    ),
    shown(
        "sdp-fmtp-in-capitals",
        "Its fmtp is in capitals.",
        video(
            "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 PACKETIZATION-MODE=1;SPROP-PARAMETER-SETS={sprop}\r\na=control:{control}\r\n",
        ),
    ),
    shown(
        "sdp-inactive",
        "It says that its track is inactive.",
        video(
            "m=video 0 RTP/AVP 96\r\na=inactive\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1;sprop-parameter-sets={sprop}\r\na=control:{control}\r\n",
        ),
    ),
    shown(
        "sdp-figures-odd",
        "Its frame rate has a comma, its sizes are of no known form.",
        video(
            "m=video 0 RTP/AVP 96\r\na=framerate:25,0\r\na=x-dimensions:1920x1080\r\na=cliprect:0,0,0,0\r\na=framesize:96 0-0\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1;sprop-parameter-sets={sprop}\r\na=control:{control}\r\n",
        ),
    ),
    shown(
        "sdp-port-negative",
        "The port of its m= line is a negative number, its c= line has noise.",
        video(
            "m=video -1353744643 RTP/AVP 96\r\nc=IN IP4 '&\u{fe}\u{ff}\u{0}\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1;sprop-parameter-sets={sprop}\r\na=control:{control}\r\n",
        ),
    ),
    shown(
        "sdp-protocol-with-feedback",
        "Its m= line says RTP/AVPF.",
        video(
            "m=video 0 RTP/AVPF 96\r\na=rtcp-fb:* nack pli\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1;sprop-parameter-sets={sprop}\r\na=control:{control}\r\n",
        ),
    ),
    shown(
        "sdp-protocol-of-udp",
        "Its m= line says RTP/AVP/UDP, its c= line names a group and how far it reaches.",
        video(
            "m=video 49170/2 RTP/AVP/UDP 96\r\nc=IN IP4 239.1.2.3/127/3\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1;sprop-parameter-sets={sprop}\r\na=control:{control}\r\n",
        ),
    ),
    shown(
        "sdp-codec-named-hevc",
        "It calls H.265 HEVC.",
        Script {
            codec: H265,
            video: Some(
                "m=video 0 RTP/AVP 96\r\na=rtpmap:96 HEVC/90000\r\na=fmtp:96 {sets}\r\na=control:{control}\r\n",
            ),
            ..PLAIN
        },
    ),
    shown(
        "sdp-rtpmap-of-other-format",
        "Its rtpmap and fmtp are of another format than its m= line.",
        video(
            "m=video 0 RTP/AVP 96\r\na=rtpmap:97 H264/90000\r\na=fmtp:97 packetization-mode=1;sprop-parameter-sets={sprop}\r\na=control:{control}\r\n",
        ),
    ),
    shown(
        "sdp-format-not-sent",
        "It announces format 97 and sends 96.",
        video(
            "m=video 0 RTP/AVP 97\r\na=rtpmap:97 H264/90000\r\na=fmtp:97 packetization-mode=1;sprop-parameter-sets={sprop}\r\na=control:{control}\r\n",
        ),
    ),
    shown(
        "sdp-attributes-of-session",
        "rtpmap and fmtp stand before its m= line.",
        whole(
            "v=0\r\no=- 1 1 IN IPV4 10.10.10.10\r\ns=\r\nt=0 0\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1;sprop-parameter-sets={sprop}\r\nm=video 0 RTP/AVP 96\r\na=control:{control}\r\n",
        ),
    ),
    shown(
        "sdp-profile-odd",
        "Its profile-level-id is no number, and its fmtp ends with `;`.",
        video(
            "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 profile-level-id=unknown;packetization-mode=;sprop-parameter-sets={sprop};\r\na=control:{control}\r\n",
        ),
    ),
    shown(
        "sdp-sets-of-other-units",
        "The parameter sets of its description are units of other kinds.",
        video(
            "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1;sprop-parameter-sets=6QAAAA==,//8=,BgUBgA==\r\na=control:{control}\r\n",
        ),
    ),
    shown(
        "sdp-sets-with-start-codes",
        "A start code is in front of the parameter sets of its description, which come nowhere else.",
        Script {
            in_band: InBand::Never,
            ..video(
                "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1;sprop-parameter-sets=AAAAAAAB{sprop}\r\na=control:{control}\r\n",
            )
        },
    ),
    shown(
        "sdp-sets-in-two-lines",
        "Each of its two fmtp lines has a part of the parameters.",
        Script {
            in_band: InBand::Never,
            ..video(
                "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1\r\na=fmtp:96 sprop-parameter-sets={sprop}\r\na=control:{control}\r\n",
            )
        },
    ),
];

/// A description with a long line.
const LONG: &str = {
    const START: &[u8] = b"{head}a=x-info:";
    const END: &[u8] = b"\r\n{video}";
    static BYTES: [u8; 20_000] = {
        let mut bytes = [b'y'; 20_000];
        let mut at = 0;
        while at < START.len() {
            bytes[at] = START[at];
            at += 1;
        }
        let mut end = 0;
        while end < END.len() {
            bytes[bytes.len() - END.len() + end] = END[end];
            end += 1;
        }
        bytes
    };
    match std::str::from_utf8(&BYTES) {
        Ok(text) => text,
        Err(_) => "",
    }
};
