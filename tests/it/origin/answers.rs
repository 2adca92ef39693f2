//! What comes back through `fanal console` from a stolen receiver, and what goes there.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::stranger::{Stranger, answer};
use crate::api::live::Socket;
use crate::api::site::{call, within};

const JSON: &str = "content-type: application/json";
const SCRIPT: &str = "<script>alert('owned')</script>";

/// What every answer carries.
const SEAL: [&str; 6] = [
    "content-security-policy: sandbox; default-src 'none'; ",
    "cross-origin-resource-policy: same-origin",
    "cross-origin-opener-policy: same-origin",
    "x-content-type-options: nosniff",
    "x-frame-options: deny",
    "cache-control: no-store",
];

fn is_sealed(head: &str) {
    for line in SEAL {
        assert!(head.contains(&format!("\r\n{line}")), "{line} in {head}");
    }
}

/// Names of an answer's headers, in order.
fn names(head: &str) -> Vec<&str> {
    let lines = head.lines().skip(1);
    let mut names: Vec<&str> = lines.map(|line| line.split(':').next().unwrap()).collect();
    names.sort_unstable();
    names
}

fn odd() -> Vec<(&'static str, Vec<u8>)> {
    let html = "content-type: text/html";
    let large = "x".repeat(17 << 20);
    let chunked = format!(
        "HTTP/1.1 200 OK\r\n{JSON}\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{large}\r\n0\r\n\r\n",
        large.len()
    );
    vec![
        ("html", answer("200 OK", &[html], SCRIPT)),
        ("html-error", answer("404 Not Found", &[html], SCRIPT)),
        (
            "script",
            answer("200 OK", &["content-type: text/javascript"], "owned()"),
        ),
        (
            "svg",
            answer("200 OK", &["content-type: image/svg+xml"], "<svg onload='owned()'/>"),
        ),
        (
            "xml",
            answer("200 OK", &["content-type: application/xml"], "<?xml-stylesheet href='x'?>"),
        ),
        (
            "mixed",
            answer("200 OK", &["content-type: multipart/x-mixed-replace; boundary=b"], SCRIPT),
        ),
        ("two-types", answer("200 OK", &[JSON, html], SCRIPT)),
        (
            "type-list",
            answer("200 OK", &["content-type: application/json, text/html"], SCRIPT),
        ),
        ("no-type", answer("200 OK", &[], SCRIPT)),
        (
            "packed",
            answer("200 OK", &[JSON, "content-encoding: gzip"], "x"),
        ),
        (
            "moved",
            answer("302 Found", &[JSON, "location: /api/v1/html"], "{}"),
        ),
        (
            "moved-away",
            answer("307 Temporary Redirect", &[JSON, "location: http://evil.example/"], "{}"),
        ),
        ("not-modified", answer("304 Not Modified", &[], "")),
        ("part", answer("206 Partial Content", &[JSON], "{}")),
        ("reset", answer("205 Reset Content", &[], "")),
        (
            "proxy",
            answer("407 Proxy Authentication Required", &[JSON], "{}"),
        ),
        ("unknown", answer("999 Odd", &[JSON], "{}")),
        (
            "unasked-socket",
            b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n"
                .to_vec(),
        ),
        ("large", answer("200 OK", &[JSON], &large)),
        ("large-chunked", chunked.into_bytes()),
        (
            "error-events",
            answer("500 Oops", &["content-type: text/event-stream"], "data: x\n\n"),
        ),
    ]
}

#[tokio::test]
async fn no_answer_that_the_api_has_not_is_passed_on() {
    let odd = odd();
    let answers = odd
        .iter()
        .map(|(name, answer)| (format!("/api/v1/{name}"), answer.clone()));
    let stranger = Stranger::start(answers.collect()).await;
    let (station, _files) = stranger.workstation().await;
    for (name, _) in &odd {
        let answer = station
            .call("GET", &format!("/api/v1/{name}"), &[], "")
            .await;
        assert_eq!(answer.problem(), (502, "protocol_error"), "{name}");
        assert!(!answer.body.contains("owned"), "{name}");
        is_sealed(&answer.head);
        assert!(
            stranger.asked(&format!("/api/v1/{name}")).len() == 1,
            "{name}"
        );
    }
}

#[tokio::test]
async fn what_is_no_http_is_no_answer() {
    let many: String = (0..200).map(|n| format!("x-{n}: y\r\n")).collect();
    let long = format!("x-long: {}\r\n", "y".repeat(100_000));
    let broken: [(&str, Vec<u8>); 5] = [
        ("nothing", Vec::new()),
        ("old", SCRIPT.as_bytes().to_vec()),
        (
            "many",
            format!("HTTP/1.1 200 OK\r\n{JSON}\r\n{many}\r\n{{}}").into_bytes(),
        ),
        (
            "long",
            format!("HTTP/1.1 200 OK\r\n{JSON}\r\n{long}\r\n{{}}").into_bytes(),
        ),
        (
            "cut",
            format!("HTTP/1.1 200 OK\r\n{JSON}\r\ncontent-length: 9\r\n\r\n{{}}").into_bytes(),
        ),
    ];
    let answers = broken
        .iter()
        .map(|(name, answer)| (format!("/api/v1/{name}"), answer.clone()));
    let stranger = Stranger::start(answers.collect()).await;
    let (station, _files) = stranger.workstation().await;
    for (name, _) in broken {
        let answer = station
            .call("GET", &format!("/api/v1/{name}"), &[], "")
            .await;
        assert_eq!(answer.problem(), (502, "centre_unreachable"), "{name}");
    }
}

/// All that makes a browser do or keep something.
const COMMANDS: &[&str] = &[
    "accept-ch: sec-ch-ua",
    "access-control-allow-credentials: true",
    "access-control-allow-origin: *",
    "alt-svc: h3=\":443\"",
    "attribution-reporting-register-source: {}",
    "cache-control: public, max-age=31536000, immutable",
    "clear-site-data: \"*\"",
    "content-disposition: attachment; filename=owned.html",
    "content-location: /page/app.js",
    "content-security-policy: default-src *; report-uri http://evil.example/",
    "content-security-policy-report-only: default-src 'none'; report-uri /x",
    "cross-origin-opener-policy: unsafe-none",
    "cross-origin-resource-policy: cross-origin",
    "document-policy: x",
    "etag: \"owned\"",
    "expires: Fri, 31 Dec 9999 23:59:59 GMT",
    "last-modified: Fri, 31 Dec 1999 23:59:59 GMT",
    "link: </api/v1/html>; rel=preload; as=script",
    "link: <http://evil.example>; rel=preconnect",
    "nel: {\"report_to\":\"x\",\"max_age\":1}",
    "observe-browsing-topics: ?1",
    "origin-agent-cluster: ?0",
    "permissions-policy: camera=*",
    "proxy-authenticate: Basic",
    "public-key-pins: x",
    "refresh: 0; url=/api/v1/html",
    "report-to: {\"max_age\":1}",
    "reporting-endpoints: x=\"http://evil.example/\"",
    "server-timing: x",
    "service-worker-allowed: /",
    "set-cookie: owned=1; Path=/",
    "set-cookie2: owned=1",
    "set-login: logged-in",
    "sourcemap: /x",
    "speculation-rules: \"/x\"",
    "strict-transport-security: max-age=31536000",
    "supports-loading-mode: fenced-frame",
    "timing-allow-origin: *",
    "use-as-dictionary: match=\"/*\"",
    "vary: *",
    "www-authenticate: Basic realm=x",
    "x-content-type-options: none",
    "x-frame-options: ALLOWALL",
    "x-unheard-of: 1",
];

#[tokio::test]
async fn an_answer_has_the_headers_that_it_is_given_here_and_no_other() {
    let mut headers = vec!["content-type: application/json; charset=utf-7"];
    headers.extend(COMMANDS);
    let hints: String = COMMANDS.iter().map(|line| format!("{line}\r\n")).collect();
    let hinted = |answer: Vec<u8>| {
        let early = format!("HTTP/1.1 103 Early Hints\r\n{hints}\r\n");
        [early.into_bytes(), answer].concat()
    };
    let mut made = headers.clone();
    made.extend(["location: /api/v1/grants/1", "retry-after: 7"]);
    let answers = vec![
        (
            "/api/v1/good".to_owned(),
            hinted(answer("200 OK", &headers, "{}")),
        ),
        (
            "/api/v1/made".to_owned(),
            answer("201 Created", &made, "{}"),
        ),
        (
            "/api/v1/none".to_owned(),
            answer("401 Unauthorized", &headers, "{}"),
        ),
    ];
    let stranger = Stranger::start(answers).await;
    let (station, _files) = stranger.workstation().await;
    let common = [
        "cache-control",
        "connection",
        "content-length",
        "content-security-policy",
        "content-type",
        "cross-origin-opener-policy",
        "cross-origin-resource-policy",
        "date",
        "referrer-policy",
        "x-content-type-options",
        "x-frame-options",
    ];
    for (path, status, more) in [
        ("good", 200, &[][..]),
        ("made", 201, &["location", "retry-after"]),
        ("none", 401, &["www-authenticate"]),
    ] {
        let answer = station
            .call("GET", &format!("/api/v1/{path}"), &[], "")
            .await;
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (status, "{}"),
            "{path}"
        );
        let mut wanted = [&common[..], more].concat();
        wanted.sort_unstable();
        assert_eq!(names(&answer.head), wanted);
        is_sealed(&answer.head);
        assert!(
            answer
                .head
                .contains("\r\ncontent-type: application/json\r\n")
        );
    }
    let none = station.call("GET", "/api/v1/none", &[], "").await;
    assert!(none.head.contains("www-authenticate: bearer\r\n"));
}

#[tokio::test]
async fn every_other_answer_of_this_origin_is_sealed_too() {
    let stranger = Stranger::start(Vec::new()).await;
    let (station, _files) = stranger.workstation().await;
    for (method, path) in [
        ("GET", "/nothing"),
        ("GET", "/page/nothing"),
        ("GET", "/local/v1/operator"),
        ("POST", "/local/v1/requests"),
        ("PUT", "/local/v1/token"),
        ("TRACE", "/api/v1/time"),
        ("GET", "/api/v1/console"),
    ] {
        let answer = station.call(method, path, &[], "").await;
        assert!(
            answer.head.contains("content-security-policy: sandbox"),
            "{path}"
        );
        is_sealed(&answer.head);
    }
    let answer = station.call("TRACE", "/api/v1/time", &[], "").await;
    assert_eq!(answer.status, 405);
    for path in ["/", "/page/watch/wall.html", "/page/app.js"] {
        let page = call(station.address, "GET", path, &[], "").await;
        assert_eq!(page.status, 200, "{path}");
        for part in [
            "default-src 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for",
        ] {
            assert!(page.head.contains(part), "{part} at {path}");
        }
        assert!(page.head.contains("x-frame-options: deny"));
    }
}

#[tokio::test]
async fn without_the_secret_or_for_a_browser_nothing_is_asked_of_the_receiver() {
    let stranger = Stranger::start(Vec::new()).await;
    let (station, _files) = stranger.workstation().await;
    let before = stranger.asked("/").len();
    let wrong = "x".repeat(station.secret.len());
    for headers in [
        &[][..],
        &[("x-fanal-session", wrong.as_str())],
        &[("x-fanal-session", "")],
        &[station.session(), station.session()],
        &[("sec-websocket-protocol", "fanal.session.x")],
    ] {
        for path in ["/api/v1/console", "/api/v1/time", "/api/v1/cameras"] {
            let answer = call(station.address, "GET", path, headers, "").await;
            assert_eq!(
                answer.problem(),
                (401, "token_invalid"),
                "{path} {headers:?}"
            );
        }
    }
    for protocol in ["fanal.v1", &format!("fanal.v1, fanal.session.{wrong}")] {
        let opened = Socket::open_at(station.address, Some(protocol), None).await;
        assert_eq!(opened.err(), Some(401));
    }
    for browser in [
        &[
            ("sec-fetch-dest", "document"),
            ("sec-fetch-mode", "navigate"),
        ][..],
        &[("sec-fetch-mode", "navigate")],
        &[("sec-fetch-dest", "iframe")],
        &[("sec-fetch-dest", "script")],
        &[("sec-fetch-dest", "worker")],
        &[("sec-fetch-dest", "image")],
        &[("sec-fetch-site", "cross-site")],
        &[("sec-fetch-site", "same-site")],
        &[("sec-fetch-site", "none")],
        &[("service-worker", "script")],
    ] {
        let answer = station.call("GET", "/api/v1/time", browser, "").await;
        assert_eq!(answer.status, 403, "{browser:?}");
    }
    assert_eq!(stranger.asked("/").len(), before);
    let own = [
        ("sec-fetch-site", "same-origin"),
        ("sec-fetch-dest", "empty"),
    ];
    assert_eq!(
        station.call("GET", "/api/v1/time", &own, "").await.status,
        200
    );
    // The page is opened from anywhere, and framed by nobody.
    let link = [
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-dest", "document"),
    ];
    assert_eq!(
        call(station.address, "GET", "/", &link, "").await.status,
        200
    );
    let frame = [
        ("sec-fetch-site", "same-origin"),
        ("sec-fetch-dest", "iframe"),
    ];
    assert_eq!(
        call(station.address, "GET", "/", &frame, "").await.status,
        403
    );
}

#[tokio::test]
async fn the_receiver_learns_nothing_of_this_machine_but_the_call() {
    let stranger = Stranger::start(Vec::new()).await;
    let (station, _files) = stranger.workstation().await;
    let origin = format!("http://{}", station.address);
    let headers = [
        ("cookie", "a=b"),
        ("referer", "http://127.0.0.1/#session=x"),
        ("user-agent", "x"),
        ("sec-fetch-site", "same-origin"),
        ("x-other", "1"),
        ("origin", &origin),
        ("authorization", "Bearer x"),
        ("accept", "application/json"),
        ("content-type", "application/jose"),
    ];
    station
        .call("POST", "/api/v1/asked", &headers, "body")
        .await;
    let asked = stranger.asked("/api/v1/asked");
    assert_eq!(
        names(asked[0].trim_end()),
        [
            "accept",
            "authorization",
            "content-length",
            "content-type",
            "host",
            "origin"
        ]
    );
    let receiver = stranger.address;
    assert!(
        asked[0].contains(&format!("host: {receiver}\r\n")),
        "{asked:?}"
    );
    assert!(asked[0].contains(&format!("origin: http://{receiver}\r\n")));
    assert!(!asked[0].contains(&station.secret.to_ascii_lowercase()));
    let protocols = station.protocols();
    let _ = Socket::open_at(station.address, Some(&protocols), Some(&origin)).await;
    let asked = stranger.asked("/api/v1/live");
    assert!(
        asked[0].contains("sec-websocket-protocol: fanal.v1\r\n"),
        "{asked:?}"
    );
}

/// What a WebSocket's client said and the answer's head, from a connection of its own.
async fn upgrade(station: &crate::workstation::Workstation, path: &str) -> (String, TcpStream) {
    let mut stream = TcpStream::connect(station.address).await.unwrap();
    let request = format!(
        "GET /api/v1/{path} HTTP/1.1\r\nhost: {}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         sec-websocket-protocol: {}\r\n\r\n",
        station.address,
        station.protocols()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let head = within("a head", super::stranger::head(&mut stream))
        .await
        .unwrap();
    (head.to_ascii_lowercase(), stream)
}

fn agreed(more: &str, frames: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n{more}\r\n"
    );
    [head.as_bytes(), frames].concat()
}

#[tokio::test]
async fn a_socket_carries_no_headers_and_no_message_longer_than_a_picture() {
    const CHOSEN: &str = "sec-websocket-protocol: fanal.v1\r\n";
    let commands: String = COMMANDS.iter().map(|line| format!("{line}\r\n")).collect();
    let long = [&[0x82, 127][..], &(64_u64 << 20).to_be_bytes(), &[0; 4096]].concat();
    let answers = [
        (
            "live",
            agreed(&format!("{CHOSEN}{commands}"), b"\x81\x02{}"),
        ),
        ("long", agreed(CHOSEN, &long)),
        ("other", agreed("sec-websocket-protocol: other\r\n", b"")),
        ("none", agreed("", b"")),
        (
            "deflate",
            agreed(
                &format!("{CHOSEN}sec-websocket-extensions: permessage-deflate\r\n"),
                b"",
            ),
        ),
    ];
    let answers = answers.map(|(name, answer)| (format!("/api/v1/{name}"), answer));
    let stranger = Stranger::start(answers.into()).await;
    let (station, _files) = stranger.workstation().await;
    let (head, mut stream) = upgrade(&station, "live").await;
    assert!(head.starts_with("http/1.1 101"), "{head}");
    is_sealed(&head);
    assert!(!head.contains("owned") && !head.contains("evil"), "{head}");
    for command in COMMANDS {
        assert!(
            !head.contains(&command.to_ascii_lowercase()),
            "{command} in {head}"
        );
    }
    let mut frame = [0; 4];
    within("a frame", stream.read_exact(&mut frame))
        .await
        .unwrap();
    assert_eq!(&frame, b"\x81\x02{}");
    // Not a byte of what the browser would have to gather: the socket ends.
    let (head, mut stream) = upgrade(&station, "long").await;
    assert!(head.starts_with("http/1.1 101"), "{head}");
    let mut rest = Vec::new();
    let _ = within("the end", stream.read_to_end(&mut rest)).await;
    assert!(rest.is_empty(), "{} bytes", rest.len());
    for path in ["other", "none", "deflate"] {
        let (head, _) = upgrade(&station, path).await;
        assert!(head.starts_with("http/1.1 502"), "{path}: {head}");
    }
}

/// Endless where they may be, and no trailers behind them.
#[tokio::test]
async fn events_come_as_they_are_sent() {
    let events = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=x\r\nset-cookie: a=b\r\n\
                  trailer: set-cookie\r\ntransfer-encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n0\r\nset-cookie: c=d\r\n\r\n";
    let stranger = Stranger::start(vec![("/api/v1/events".to_owned(), events.into())]).await;
    let (station, _files) = stranger.workstation().await;
    let answer = station.call("GET", "/api/v1/events", &[], "").await;
    assert_eq!(answer.status, 200);
    assert!(
        answer
            .head
            .contains("\r\ncontent-type: text/event-stream\r\n")
    );
    assert!(answer.body.contains("data: 1\n\n"), "{answer:?}");
    assert!(!answer.body.contains("cookie") && !answer.head.contains("cookie"));
    is_sealed(&answer.head);
}
