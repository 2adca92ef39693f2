//! RTSP messages: heads, status lines, requests.

use super::super::script::{Demand, PLAIN, Script, Style};
use super::{Fault, refused, shown};
use crate::reason::Reason;

pub(super) static ROWS: &[Fault] = &[
    // Heads. 13a
    shown(
        "empty-header",
        "A header of each answer has no value: `x-Accept-Dynamic-Rate: `.",
        Script {
            every: &["x-Accept-Dynamic-Rate: "],
            ..PLAIN
        },
    ),
    // 13c
    shown(
        "empty-server-header",
        "`Server:` has no value and no space behind its colon.",
        Script {
            every: &["Server:"],
            ..PLAIN
        },
    ),
    // 13g
    shown(
        "line-feeds-alone",
        "The lines of its answers end with LF instead of CRLF.",
        Script {
            line_end: "\n",
            ..PLAIN
        },
    ),
    shown(
        "line-without-colon",
        "Its answers have a line that is no header.",
        Script {
            every: &["IP Camera of many words"],
            ..PLAIN
        },
    ),
    shown(
        "folded-header",
        "A header goes on in the next line, behind a space.",
        Script {
            every: &["Server: A Camera\r\n of many words\r\n\tand more"],
            ..PLAIN
        },
    ),
    shown(
        "spaced-header-name",
        "A header's name has a space inside.",
        Script {
            every: &["Last Modified: yesterday", "Cache Control: no"],
            ..PLAIN
        },
    ),
    shown(
        "latin-server-name",
        "`Server` has bytes that are no UTF-8, and a control character.",
        Script {
            every: &["Server: Cam\u{e9}ra \u{1} \u{b0}"],
            ..PLAIN
        },
    ),
    shown(
        "long-header",
        "A header has 4,000 characters.",
        Script {
            every: &[LONG],
            ..PLAIN
        },
    ),
    shown(
        "headers-in-lower-case",
        "Header names are in lower case.",
        Script {
            style: Style::LowerCase,
            ..PLAIN
        },
    ),
    shown(
        "headers-in-upper-case",
        "Header names are in capitals.",
        Script {
            style: Style::UpperCase,
            ..PLAIN
        },
    ),
    shown(
        "headers-without-space",
        "No space is behind the colons of headers.",
        Script {
            style: Style::NoSpace,
            ..PLAIN
        },
    ),
    shown(
        "headers-with-spaces",
        "Many spaces stand around the values of headers.",
        Script {
            style: Style::ManySpaces,
            ..PLAIN
        },
    ),
    shown(
        "headers-with-tabs",
        "Tabs stand behind the colons of headers.",
        Script {
            style: Style::Tab,
            ..PLAIN
        },
    ),
    shown(
        "space-before-colon",
        "A space is in front of the colons of headers.",
        Script {
            style: Style::SpaceBefore,
            ..PLAIN
        },
    ),
    shown(
        "headers-backwards",
        "CSeq comes last, Content-Length first.",
        Script {
            style: Style::Backwards,
            ..PLAIN
        },
    ),
    shown(
        "header-twice",
        "Server, Date and Public are there twice, with other values.",
        Script {
            every: &[
                "Server: a",
                "Server: b",
                "Date: now",
                "Date: Thu, 01 Jan 1970 00:00:00 GMT",
            ],
            options: &[
                "Public: OPTIONS, DESCRIBE",
                "Public: SETUP, PLAY, TEARDOWN, GET_PARAMETER",
            ],
            ..PLAIN
        },
    ),
    shown(
        "number-in-other-case",
        "It writes `Cseq`.",
        Script {
            cseq: "Cseq: {cseq}",
            ..PLAIN
        },
    ),
    shown(
        "no-number",
        "Its answers have no CSeq.",
        Script { cseq: "", ..PLAIN },
    ),
    shown(
        "wrong-number",
        "The CSeq of its answers is one too large.",
        Script {
            cseq: "CSeq: {more}",
            ..PLAIN
        },
    ),
    // Status lines. 18a
    shown(
        "no-phrase",
        "Its status lines end behind the code: `RTSP/1.0 200`.",
        Script {
            status_line: "RTSP/1.0 {status}",
            ..PLAIN
        },
    ),
    shown(
        "empty-phrase",
        "Its status lines end with the space behind the code.",
        Script {
            status_line: "RTSP/1.0 {status} ",
            ..PLAIN
        },
    ),
    // 18c
    shown(
        "version-two",
        "Its status lines say RTSP/2.0.",
        Script {
            status_line: "RTSP/2.0 {status} {phrase}",
            ..PLAIN
        },
    ),
    shown(
        "version-one-one",
        "Its status lines say RTSP/1.1.",
        Script {
            status_line: "RTSP/1.1 {status} {phrase}",
            ..PLAIN
        },
    ),
    shown(
        "version-in-lower-case",
        "Its status lines say rtsp/1.0.",
        Script {
            status_line: "rtsp/1.0 {status} {phrase}",
            ..PLAIN
        },
    ),
    shown(
        "two-spaces-in-status-line",
        "Two spaces stand between the parts of its status lines.",
        Script {
            status_line: "RTSP/1.0  {status}  {phrase}",
            ..PLAIN
        },
    ),
    shown(
        "phrase-of-bytes",
        "The phrase of its status lines is no UTF-8.",
        Script {
            status_line: "RTSP/1.0 {status} \u{b3}\u{c9}\u{b9}\u{a6}",
            ..PLAIN
        },
    ),
    // 18e
    refused(
        "answers-http",
        "It is a web server: each answer says HTTP/1.1.",
        &[Reason::CameraRefused],
        "HTTP",
        Script {
            status_line: "HTTP/1.1 {status} {phrase}",
            ..PLAIN
        },
    ),
    refused(
        "answers-http-404",
        "It is a web server that knows no such page.",
        &[Reason::CameraRefused, Reason::CameraNotFound],
        "HTTP",
        Script {
            status_line: "HTTP/1.0 404 Not Found",
            every: &["Content-Type: text/html"],
            ..PLAIN
        },
    ),
    // Between messages.
    shown(
        "blank-lines-before-answers",
        "A blank line comes before each answer.",
        Script {
            before_answer: "\r\n",
            ..PLAIN
        },
    ),
    shown(
        "blank-lines-behind-answers",
        "Blank lines follow each answer.",
        Script {
            after_answer: "\r\n\r\n",
            ..PLAIN
        },
    ),
    shown(
        "zero-behind-answers",
        "A zero byte follows each answer.",
        Script {
            after_answer: "\0",
            ..PLAIN
        },
    ),
    shown(
        "description-comes-later",
        "The description comes a moment after its head.",
        Script {
            split: true,
            ..PLAIN
        },
    ),
    shown(
        "pictures-before-answer",
        "Pictures come before the answer to PLAY.",
        Script {
            pictures_first: 3,
            ..PLAIN
        },
    ),
    // What it wants of requests. 28a
    shown(
        "wants-number-first",
        "It answers 400 unless CSeq is the first header.",
        Script {
            demands: &[Demand::NumberFirst],
            ..PLAIN
        },
    ),
    shown(
        "wants-headers-as-written",
        "It answers 400 unless header names are written as in the standard.",
        Script {
            demands: &[Demand::Case],
            ..PLAIN
        },
    ),
    shown(
        "wants-accept",
        "It answers 400 to DESCRIBE without `Accept: application/sdp`.",
        Script {
            demands: &[Demand::AcceptAlone],
            ..PLAIN
        },
    ),
    shown(
        "wants-options",
        "It answers 400 to all that comes before OPTIONS.",
        Script {
            demands: &[Demand::OptionsFirst],
            ..PLAIN
        },
    ),
    shown(
        "provisional-answers",
        "Each answer comes behind one of 100.",
        Script {
            before_answer: "RTSP/1.0 100 Continue\r\n\r\n",
            ..PLAIN
        },
    ),
    shown(
        "wants-user-agent",
        "It answers 400 to requests without User-Agent.",
        Script {
            demands: &[
                Demand::Header("DESCRIBE", "User-Agent"),
                Demand::Header("SETUP", "User-Agent"),
                Demand::Header("PLAY", "User-Agent"),
            ],
            ..PLAIN
        },
    ),
    shown(
        "wants-range",
        "It answers 400 to PLAY without Range.",
        Script {
            demands: &[Demand::Header("PLAY", "Range")],
            ..PLAIN
        },
    ),
    shown(
        "wants-bare-session",
        "It answers 400 where Session has more than the id.",
        Script {
            demands: &[Demand::BareSession, Demand::Header("PLAY", "Session")],
            ..PLAIN
        },
    ),
    shown(
        "wants-one-transport",
        "It answers 400 where Transport has a list, spaces or no `unicast`.",
        Script {
            demands: &[Demand::OneTransport],
            ..PLAIN
        },
    ),
    shown(
        "wants-short-requests",
        "It answers 400 to heads of more than 512 bytes.",
        Script {
            demands: &[Demand::Short(512)],
            ..PLAIN
        },
    ),
    shown(
        "wants-no-require",
        "It answers 400 to requests with Require, Supported or Content-Length.",
        Script {
            demands: &[
                Demand::Without("Require"),
                Demand::Without("Supported"),
                Demand::Without("Content-Length"),
            ],
            ..PLAIN
        },
    ),
    shown(
        "wants-requests-one-by-one",
        "It answers 400 where a request comes before the last was answered.",
        Script {
            demands: &[Demand::OneByOne],
            ..PLAIN
        },
    ),
    shown(
        "wants-play-at-base",
        "It answers 400 to PLAY of another URL than its Content-Base.",
        Script {
            demands: &[Demand::PlayAtBase],
            ..PLAIN
        },
    ),
    shown(
        "refuses-options",
        "It answers OPTIONS with 501.",
        Script {
            statuses: &[("OPTIONS", 501)],
            ..PLAIN
        },
    ),
    shown(
        "no-public",
        "Its answer to OPTIONS names no methods.",
        Script {
            options: &[],
            ..PLAIN
        },
    ),
    shown(
        "public-without-commas",
        "Its answer to OPTIONS names methods without commas, in lower case.",
        Script {
            options: &["Public: options describe setup play teardown"],
            ..PLAIN
        },
    ),
    shown(
        "silent-teardown",
        "It does not answer TEARDOWN.",
        Script {
            silent: &["TEARDOWN"],
            ..PLAIN
        },
    ),
    shown(
        "redirects-to-own-path",
        "It redirects DESCRIBE to another path of its own.",
        Script {
            redirect: Some("{url}/live"),
            track: &["{url}/live/{control}", "{url}/{control}"],
            ..PLAIN
        },
    )
    .connections(2),
    shown(
        "redirects-and-closes",
        "It redirects DESCRIBE and hangs up.",
        Script {
            redirect: Some("{url}/live"),
            closes: true,
            track: &["{url}/live/{control}", "{url}/{control}"],
            ..PLAIN
        },
    )
    .connections(3),
    shown(
        "status-line-with-tabs",
        "Tabs stand between the parts of its status lines.",
        Script {
            status_line: "RTSP/1.0\t{status}\t{phrase}",
            ..PLAIN
        },
    ),
    shown(
        "number-with-zeros",
        "Its CSeq has zeros in front.",
        Script {
            cseq: "CSeq: 000{cseq}",
            ..PLAIN
        },
    ),
    shown(
        "header-without-name",
        "A header line of each answer begins with its colon.",
        Script {
            every: &[": nothing"],
            ..PLAIN
        },
    ),
    shown(
        "says-close-and-goes-on",
        "Each answer says Connection: close, and the connection stays.",
        Script {
            every: &["Connection: close"],
            ..PLAIN
        },
    ),
    shown(
        "dates-broken",
        "Dates of its answers are none.",
        Script {
            every: &["Date: 0000-00-00", "Expires: -1", "Cache-Control"],
            ..PLAIN
        },
    ),
    shown(
        "length-twice",
        "Content-Length is there twice.",
        Script {
            describe: &[
                "Content-Base: {url}/",
                "Content-Type: application/sdp",
                "Content-Length: {length}",
                "Content-Length: {length}",
            ],
            ..PLAIN
        },
    ),
    shown(
        "length-with-plus",
        "Content-Length has a plus and spaces.",
        Script {
            describe: &[
                "Content-Base: {url}/",
                "Content-Type: application/sdp",
                "Content-Length:  +{length} ",
            ],
            ..PLAIN
        },
    ),
    shown(
        "number-is-zero",
        "The CSeq of all its answers is 0.",
        Script {
            cseq: "CSeq: 0",
            ..PLAIN
        },
    ),
    shown(
        "number-glued-to-phrase",
        "No space is between code and phrase: `RTSP/1.0 200OK`.",
        Script {
            status_line: "RTSP/1.0 {status}{phrase}",
            ..PLAIN
        },
    ),
    shown(
        "hangs-up-at-options",
        "It hangs up at OPTIONS.",
        Script {
            hangs_up: &["OPTIONS"],
            ..PLAIN
        },
    ),
    shown(
        "length-missing",
        "Its description comes without Content-Length.",
        Script {
            describe: &["Content-Base: {url}/", "Content-Type: application/sdp"],
            ..PLAIN
        },
    ),
    shown(
        "length-of-zero",
        "The Content-Length of its description is 0.",
        Script {
            describe: &[
                "Content-Base: {url}/",
                "Content-Type: application/sdp",
                "Content-Length: 0",
            ],
            ..PLAIN
        },
    ),
    shown(
        "length-too-large-by-far",
        "The Content-Length of its description is ten times too large.",
        Script {
            describe: &[
                "Content-Base: {url}/",
                "Content-Type: application/sdp",
                "Content-Length: {length}0",
            ],
            ..PLAIN
        },
    ),
    shown(
        "length-at-every-answer",
        "Each answer has a Content-Length of 0 and a Content-Type.",
        Script {
            options: &[
                "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN, GET_PARAMETER",
                "Content-Length: 0",
            ],
            setup: &[
                "Session: {session};timeout=60",
                "Transport: {transport}",
                "Content-Type: application/sdp",
                "Content-Length: 0",
            ],
            play: &[
                "Session: {session}",
                "Content-Type: application/sdp",
                "Content-Length: 0",
            ],
            ..PLAIN
        },
    ),
    shown(
        "packets-before-answers",
        "A packet of another source comes before each answer, from DESCRIBE on.",
        Script {
            before_answer: "$\u{0}\u{0}\u{10}\u{80}\u{60}\u{0}\u{1}\u{0}\u{0}\u{0}\u{1}\u{9}\u{9}\u{9}\u{9}\u{6}\u{5}\u{1}\u{80}",
            ..PLAIN
        },
    ),
];

/// A header of 4,000 characters.
const LONG: &str = {
    const BYTES: [u8; 4_000] = {
        let mut bytes = [b'x'; 4_000];
        bytes[3] = b':';
        bytes[4] = b' ';
        bytes
    };
    match std::str::from_utf8(&BYTES) {
        Ok(text) => text,
        Err(_) => "",
    }
};
