//! Base and control URLs, and what describes the description.

use super::super::script::{PLAIN, Script};
use super::{Fault, shown};

/// The usual answer to DESCRIBE but for its base.
macro_rules! base {
    ($($line:literal),*) => {
        &[$($line,)* "Content-Type: application/sdp", "Content-Length: {length}"]
    };
}

pub(super) static ROWS: &[Fault] = &[
    shown(
        "refuses-and-closes",
        "It answers 404 to SETUP at the URL that is usual, and hangs up.",
        Script {
            track: &["{url}/{control}/"],
            closes: true,
            ..PLAIN
        },
    )
    .connections(3),
    // Base and control. 14a
    shown(
        "base-is-a-path",
        "Its Content-Base is a path without host.",
        Script {
            suffix: "/profile2/media.smp",
            describe: base!("Content-Base: {path}/"),
            ..PLAIN
        },
    ),
    // 14b
    shown(
        "base-with-two-schemes",
        "Its Content-Base begins with rtsp://rtsp://.",
        Script {
            describe: base!("Content-Base: rtsp://{url}/"),
            ..PLAIN
        },
    ),
    // 14d
    shown(
        "base-is-empty",
        "Its Content-Base is empty.",
        Script {
            describe: base!("Content-Base: "),
            ..PLAIN
        },
    ),
    // 14g
    shown(
        "base-with-zero-byte",
        "Its Content-Base ends with a zero byte.",
        Script {
            describe: base!("Content-Base: {url}/\0"),
            ..PLAIN
        },
    ),
    shown(
        "no-base",
        "It sends no Content-Base.",
        Script {
            describe: base!(),
            ..PLAIN
        },
    ),
    shown(
        "base-without-slash",
        "Its Content-Base does not end with a slash.",
        Script {
            describe: base!("Content-Base: {url}"),
            ..PLAIN
        },
    ),
    shown(
        "base-in-capitals",
        "Its Content-Base begins with RTSP://.",
        Script {
            describe: base!("Content-Base: RTSP://{host}{path}/"),
            track: &["{url}/{control}", "RTSP://{host}{path}/{control}"],
            ..PLAIN
        },
    ),
    shown(
        "base-in-quotes",
        "Its Content-Base is in quotation marks.",
        Script {
            describe: base!("Content-Base: \"{url}/\""),
            ..PLAIN
        },
    ),
    shown(
        "base-of-host-alone",
        "Its Content-Base is host and path without scheme.",
        Script {
            describe: base!("Content-Base: {host}{path}/"),
            ..PLAIN
        },
    ),
    shown(
        "base-behind-address-translation",
        "Its Content-Base names an address that it has behind a router.",
        Script {
            describe: base!("Content-Base: rtsp://192.168.1.108:554{path}/"),
            track: &[
                "rtsp://192.168.1.108:554{path}/{control}",
                "{url}/{control}",
            ],
            ..PLAIN
        },
    ),
    shown(
        "location-instead-of-base",
        "It sends Content-Location instead of Content-Base.",
        Script {
            describe: base!("Content-Location: {url}/"),
            ..PLAIN
        },
    ),
    shown(
        "base-twice",
        "It sends Content-Base twice.",
        Script {
            describe: base!("Content-Base: {url}/", "Content-Base: {url}/"),
            ..PLAIN
        },
    ),
    // 15a
    shown(
        "control-begins-with-slash",
        "Its control URL begins with a slash; it answers 404 to a double one.",
        Script {
            control: "/video",
            track: &["{url}/video"],
            ..PLAIN
        },
    ),
    shown(
        "control-is-whole-url",
        "Its control URL is a whole one.",
        Script {
            control: "{url}/trackID=1",
            track: &["{control}"],
            ..PLAIN
        },
    ),
    shown(
        "control-behind-address-translation",
        "Its control URL is a whole one of an address behind a router.",
        Script {
            control: "rtsp://10.10.0.2:554{path}/trackID=1",
            track: &["{control}", "{url}/trackID=1"],
            ..PLAIN
        },
    ),
    shown(
        "control-with-space",
        "A space is before its control URL.",
        Script {
            control: " trackID=1 ",
            track: &["{url}/trackID=1"],
            ..PLAIN
        },
    ),
    shown(
        "control-is-a-star",
        "The track's control URL is `*`: SETUP goes to the base.",
        Script {
            control: "*",
            track: &["{url}/", "{url}"],
            ..PLAIN
        },
    ),
    shown(
        "control-is-empty",
        "The track's control URL is empty: SETUP goes to the base.",
        Script {
            control: "",
            track: &["{url}/", "{url}"],
            ..PLAIN
        },
    ),
    shown(
        "control-with-query",
        "Its control URL has a query.",
        Script {
            control: "track1?profile=a&b=c",
            ..PLAIN
        },
    ),
    shown(
        "url-with-query",
        "Its URL has a query, and the control URL goes behind it.",
        Script {
            suffix: "/cam/realmonitor?channel=1&subtype=0",
            control: "trackID=0",
            ..PLAIN
        },
    ),
    shown(
        "url-with-query-and-no-base",
        "Its URL has a query and it sends no Content-Base.",
        Script {
            suffix: "/h264?ch=1&stream=main",
            describe: base!(),
            track: &[
                "{url}/{control}",
                "{origin}/h264/{control}?ch=1&stream=main",
            ],
            ..PLAIN
        },
    ),
    shown(
        "type-is-missing",
        "Its description has no Content-Type.",
        Script {
            describe: &["Content-Base: {url}/", "Content-Length: {length}"],
            ..PLAIN
        },
    ),
    shown(
        "type-with-charset",
        "The Content-Type of its description names a character set.",
        Script {
            describe: &[
                "Content-Base: {url}/",
                "Content-Type: Application/SDP;charset=utf-8",
                "Content-Length: {length}",
            ],
            ..PLAIN
        },
    ),
    shown(
        "type-is-text",
        "The Content-Type of its description is text/plain.",
        Script {
            describe: &[
                "Content-Base: {url}/",
                "Content-Type: text/plain",
                "Content-Length: {length}",
            ],
            ..PLAIN
        },
    ),
    shown(
        "session-before-setup",
        "Its answer to DESCRIBE has a Session already.",
        Script {
            describe: base!("Content-Base: {url}/", "Session: {session}"),
            ..PLAIN
        },
    ),
    shown(
        "base-with-query",
        "Its Content-Base has a query that the URL has not.",
        Script {
            describe: base!("Content-Base: {url}?token=69154&trackID=0"),
            track: &["{url}?token=69154&trackID=0/{control}"],
            ..PLAIN
        },
    ),
    shown(
        "base-with-two-slashes",
        "Its Content-Base ends with two slashes, and SETUP is served there alone.",
        Script {
            describe: base!("Content-Base: {url}//"),
            track: &["{url}//{control}"],
            ..PLAIN
        },
    ),
    shown(
        "base-of-other-path",
        "Its Content-Base names another path than the URL, and SETUP is served there alone.",
        Script {
            describe: base!("Content-Base: {url}/media/video1/"),
            track: &["{url}/media/video1/{control}"],
            ..PLAIN
        },
    ),
    shown(
        "control-with-base-in-it",
        "Its control URL repeats the path.",
        Script {
            control: "{path}/trackID=1",
            track: &["{url}/trackID=1"],
            ..PLAIN
        },
    ),
    shown(
        "control-without-port",
        "Its control URL is whole and lacks the port.",
        Script {
            control: "rtsp://127.0.0.1{path}/trackID=1",
            track: &["{control}", "{url}/trackID=1"],
            ..PLAIN
        },
    ),
];
