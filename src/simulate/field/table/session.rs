//! Setting a session up, playing it and keeping it: SETUP, PLAY, the camera's own
//! requests and keep-alives.

use std::time::Duration;

use super::super::script::{Demand, Law, PLAIN, Script, When};
use super::{Fault, shown};

/// The usual answer to SETUP but for `Transport`.
macro_rules! transport {
    ($line:literal) => {
        &["Session: {session};timeout=60", $line]
    };
}

/// The usual answer to SETUP but for `Session`.
macro_rules! session {
    ($line:literal) => {
        &[$line, "Transport: {transport}"]
    };
}

/// The usual answer to PLAY but for `RTP-Info`.
macro_rules! info {
    ($line:literal) => {
        &["Session: {session}", $line]
    };
}

pub(super) static ROWS: &[Fault] = &[
    // SETUP. 17a
    shown(
        "no-transport",
        "Its answer to SETUP has no Transport.",
        Script { setup: &["Session: {session};timeout=60"], ..PLAIN },
    ),
    // 17b
    shown(
        "transport-without-channels",
        "Its answer to SETUP names no channels.",
        Script { setup: transport!("Transport: RTP/AVP/TCP;unicast"), ..PLAIN },
    ),
    // 17c
    shown(
        "other-channels",
        "It sends on channels 1 and 2, though 0 and 1 were asked for, and says so.",
        Script {
            setup: transport!("Transport: RTP/AVP/TCP;unicast;interleaved=1-2"),
            channels: Some((1, 2)),
            ..PLAIN
        },
    ),
    shown(
        "high-channels",
        "It sends on channels 6 and 7 and says so.",
        Script { channels: Some((6, 7)), ..PLAIN },
    ),
    // 17d
    shown(
        "ports-over-tcp",
        "Its answer to SETUP over TCP names ports of 0.",
        Script {
            setup: transport!("Transport: RTP/AVP/TCP;unicast;interleaved={first}-{second};server_port=0-0"),
            ..PLAIN
        },
    ),
    // 17h
    shown(
        "late-session",
        "It names the Session in its answer to PLAY, not in that to SETUP.",
        Script { setup: &["Transport: {transport}"], ..PLAIN },
    ),
    shown(
        "one-channel",
        "Its answer to SETUP names one channel.",
        Script {
            setup: transport!("Transport: RTP/AVP/TCP;unicast;interleaved={first}"),
            ..PLAIN
        },
    ),
    shown(
        "channels-swapped",
        "Its pictures come on the channel of RTCP.",
        Script {
            channels: Some((1, 0)),
            setup: transport!("Transport: RTP/AVP/TCP;unicast;interleaved=0-1"),
            ..PLAIN
        },
    ),
    shown(
        "transport-of-udp",
        "Its answer to SETUP over TCP says RTP/AVP.",
        Script {
            setup: transport!("Transport: RTP/AVP;unicast;interleaved={first}-{second}"),
            ..PLAIN
        },
    ),
    shown(
        "transport-in-lower-case",
        "Its Transport is in lower case, with spaces.",
        Script {
            setup: transport!("Transport: rtp/avp/tcp; unicast; interleaved={first}-{second}"),
            ..PLAIN
        },
    ),
    shown(
        "transport-with-much",
        "Its Transport has parts that nobody asked for, some empty.",
        Script {
            setup: transport!("Transport: RTP/AVP/TCP;unicast;;destination=10.0.0.9;source=;interleaved={first}-{second};ttl=;mode=\"PLAY\";layers=1;"),
            ..PLAIN
        },
    ),
    shown(
        "transport-with-odd-source",
        "The ssrc of its Transport is no number.",
        Script {
            setup: transport!("Transport: RTP/AVP/TCP;unicast;interleaved={first}-{second};ssrc=0xabcdefabcdef"),
            ..PLAIN
        },
    ),
    shown(
        "transport-with-other-source",
        "The ssrc of its Transport is not that of its packets.",
        Script {
            setup: transport!("Transport: RTP/AVP/TCP;unicast;interleaved={first}-{second};ssrc=0A0A0A0A"),
            ..PLAIN
        },
    ),
    shown(
        "transport-twice",
        "Its answer to SETUP has Transport twice.",
        Script {
            setup: &[
                "Session: {session};timeout=60",
                "Transport: {transport}",
                "Transport: {transport}",
            ],
            ..PLAIN
        },
    ),
    shown(
        "session-with-spaces",
        "Spaces stand around the parts of its Session.",
        Script { setup: session!("Session: {session} ; timeout = 60"), demands: &[Demand::BareSession], ..PLAIN },
    ),
    shown(
        "session-timeout-zero",
        "Its Session has a timeout of 0.",
        Script { setup: session!("Session: {session};timeout=0"), ..PLAIN },
    ),
    shown(
        "session-timeout-odd",
        "The timeout of its Session is no number.",
        Script { setup: session!("Session: {session};timeout=60s;x"), demands: &[Demand::BareSession], ..PLAIN },
    ),
    shown(
        "session-timeout-empty",
        "The timeout of its Session is empty.",
        Script { setup: session!("Session: {session};timeout="), demands: &[Demand::BareSession], ..PLAIN },
    ),
    shown(
        "session-timeout-huge",
        "The timeout of its Session is larger than 32 bits.",
        Script { setup: session!("Session: {session};timeout=99999999999"), ..PLAIN },
    ),
    // PLAY. 19a
    shown(
        "info-ahead",
        "RTP-Info names a later sequence number than the first packet has.",
        Script { first_number: 495, play: info!("RTP-Info: url={track};seq=500"), ..PLAIN },
    ),
    shown(
        "info-far-off",
        "RTP-Info names a sequence number and a time that have nothing to do with the packets.",
        Script {
            first_number: 40_000,
            play: info!("RTP-Info: url={track};seq=1;rtptime=1"),
            ..PLAIN
        },
    ),
    // 19c
    shown(
        "info-empty-number",
        "RTP-Info has an empty sequence number.",
        Script { play: info!("RTP-Info: url={track};seq=;rtptime={time}"), ..PLAIN },
    ),
    // 19d
    shown(
        "info-without-name",
        "RTP-Info has the URL without `url=`.",
        Script { play: info!("RTP-Info: {track};seq=8"), ..PLAIN },
    ),
    // 19e
    shown(
        "info-large-number",
        "RTP-Info has a sequence number of more than 16 bits.",
        Script { play: info!("RTP-Info: url={track};seq=70000"), ..PLAIN },
    ),
    // 19f
    shown(
        "info-without-equals",
        "RTP-Info has a parameter without `=`.",
        Script { play: info!("RTP-Info: url={track};seq={seq};rtptime"), ..PLAIN },
    ),
    // 19i2
    shown(
        "info-with-semicolon",
        "The URL of RTP-Info has a semicolon inside.",
        Script { play: info!("RTP-Info: url={track}?a=1;b;seq=8;rtptime=9000"), ..PLAIN },
    ),
    shown(
        "info-missing",
        "Its answer to PLAY has no RTP-Info and no Range.",
        Script { play: &["Session: {session}"], ..PLAIN },
    ),
    shown(
        "info-of-tracks-never-asked",
        "RTP-Info names an audio track that was not set up, first.",
        Script {
            play: info!("RTP-Info: url={url}/audio;seq=1;rtptime=2, url={track};seq={seq};rtptime={time}"),
            ..PLAIN
        },
    ),
    shown(
        "info-negative-time",
        "RTP-Info has a negative time, in quotation marks.",
        Script { play: info!("RTP-Info: url=\"{track}\";seq={seq};rtptime=\"-1\""), ..PLAIN },
    ),
    shown(
        "info-empty",
        "RTP-Info is empty.",
        Script { play: info!("RTP-Info: "), ..PLAIN },
    ),
    shown(
        "range-odd",
        "Its answer to PLAY has a Range of no known form.",
        Script { play: &["Session: {session}", "Range: npt=now-;time=", "Scale: x"], ..PLAIN },
    ),
    shown(
        "play-without-session",
        "Its answer to PLAY has no Session.",
        Script { play: &["Range: npt=0.000-"], ..PLAIN },
    ),
    // Its own requests.
    shown(
        "asks-options",
        "It sends OPTIONS itself and hangs up unless that is answered.",
        Script {
            laws: &[(When::At(5), Law::Request("OPTIONS {url} RTSP/1.0\r\nCSeq: {cseq}\r\n\r\n"))],
            ..PLAIN
        },
    ).over(80),
    shown(
        "asks-with-body",
        "It sends SET_PARAMETER with a body and hangs up unless that is answered.",
        Script {
            laws: &[(
                When::At(5),
                Law::Request("SET_PARAMETER {url} RTSP/1.0\r\nCSeq: {cseq}\r\nSession: {session}\r\nContent-Type: text/parameters\r\nContent-Length: 8\r\n\r\nping: 1\n"),
            )],
            ..PLAIN
        },
    ).over(80),
    shown(
        "announces",
        "It sends ANNOUNCE in mid-play.",
        Script {
            laws: &[(
                When::At(5),
                Law::Request("ANNOUNCE {url} RTSP/1.0\r\nCSeq: {cseq}\r\nSession: {session}\r\n\r\n"),
            )],
            ..PLAIN
        },
    ).over(80),
    // Keep-alives. 29b
    shown(
        "patience-of-20-seconds",
        "It names no timeout and hangs up when nothing was asked for 20 s.",
        Script {
            setup: session!("Session: {session}"),
            idle_limit: Some(Duration::from_secs(20)),
            ..PLAIN
        },
    ).over(240).real_time(),
    shown(
        "refuses-its-keep-alive",
        "It names GET_PARAMETER, refuses it, and hangs up when nothing else was asked for 16 s.",
        Script {
            setup: session!("Session: {session};timeout=20"),
            statuses: &[("GET_PARAMETER", 501)],
            idle_limit: Some(Duration::from_secs(16)),
            kept_by: &["OPTIONS", "SET_PARAMETER", "DESCRIBE", "SETUP", "PLAY"],
            ..PLAIN
        },
    ).over(290).real_time(),
    shown(
        "unknown-session-at-keep-alive",
        "It answers GET_PARAMETER with 454 and hangs up when nothing else was asked for 16 s.",
        Script {
            setup: session!("Session: {session};timeout=20"),
            statuses: &[("GET_PARAMETER", 454)],
            idle_limit: Some(Duration::from_secs(16)),
            kept_by: &["OPTIONS", "SET_PARAMETER", "DESCRIBE", "SETUP", "PLAY"],
            ..PLAIN
        },
    ).over(290).real_time(),
    shown(
        "session-timeout-in-capitals",
        "The timeout of its Session is named in capitals.",
        Script { setup: session!("Session: {session};TIMEOUT=60"), ..PLAIN },
    ),
    shown(
        "session-timeout-with-spaces",
        "Spaces stand around the timeout of its Session.",
        Script { setup: session!("Session: {session} ; timeout = 60"), ..PLAIN },
    ),
    shown(
        "transport-ends-with-semicolon",
        "Its Transport ends with two semicolons.",
        Script { setup: transport!("Transport: {transport};;"), ..PLAIN },
    ),
    shown(
        "range-of-clock",
        "Its answer to PLAY has a Range of the wall clock, Scale and Speed.",
        Script { play: &["Session: {session}", "Range: clock=20261130T000000Z-", "Scale: 1.0", "Speed: 1.000", "RTP-Info: url={track};seq={seq};rtptime={time}"], ..PLAIN },
    ),
    shown(
        "session-twice",
        "Its answer to SETUP has Session twice, once without timeout.",
        Script { setup: &["Session: {session}", "Session: {session};timeout=60", "Transport: {transport}"], ..PLAIN },
    ),
    shown(
        "transport-with-comma",
        "A comma stands before the ssrc of its Transport.",
        Script { setup: transport!("Transport: RTP/AVP/TCP;unicast;interleaved={first}-{second},ssrc=FFFFCCCC"), ..PLAIN },
    ),
    shown(
        "transport-with-quotes",
        "The values of its Transport are in quotation marks.",
        Script { setup: transport!("Transport: RTP/AVP/TCP;unicast;interleaved=\"{first}-{second}\";mode=\"PLAY\""), ..PLAIN },
    ),
    shown(
        "counts-options-alone",
        "It answers GET_PARAMETER, and hangs up all the same when OPTIONS was not asked for 16 s.",
        Script {
            setup: session!("Session: {session};timeout=20"),
            idle_limit: Some(Duration::from_secs(16)),
            kept_by: &["OPTIONS", "DESCRIBE", "SETUP", "PLAY"],
            ..PLAIN
        },
    ).over(350).real_time(),
    shown(
        "counts-get-parameter-alone",
        "It answers OPTIONS, and hangs up all the same when GET_PARAMETER was not asked for 16 s.",
        Script {
            setup: session!("Session: {session};timeout=20"),
            idle_limit: Some(Duration::from_secs(16)),
            kept_by: &["GET_PARAMETER", "DESCRIBE", "SETUP", "PLAY"],
            ..PLAIN
        },
    ).over(350).real_time(),
    shown(
        "silent-keep-alive",
        "It names GET_PARAMETER and never answers it.",
        Script {
            setup: session!("Session: {session};timeout=6"),
            silent: &["GET_PARAMETER"],
            ..PLAIN
        },
    ).over(120).real_time(),
    shown(
        "hangs-up-at-get-parameter",
        "It hangs up at GET_PARAMETER, which it does not name.",
        Script {
            options: &["Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN"],
            setup: session!("Session: {session};timeout=6"),
            hangs_up: &["GET_PARAMETER"],
            ..PLAIN
        },
    ).over(120).real_time(),
    shown(
        "refuses-its-keep-alive-by-wrong-number",
        "It names SET_PARAMETER and answers it with 400, as every request with the wrong CSeq.",
        Script {
            cseq: "CSeq: {more}",
            options: &["Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN, SET_PARAMETER"],
            setup: session!("Session: {session};timeout=6"),
            statuses: &[("SET_PARAMETER", 400)],
            ..PLAIN
        },
    ).over(120).real_time(),
];
