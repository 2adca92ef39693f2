//! What a client must not be able to do, and what it is told.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fanal::media::unit::{AccessUnit, Codec, Configuration, UnitFlags};
use fanal::rtsp::server::{Limits, Notice};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::client::{Client, PATH, PATIENCE};
use super::server::{Film, Running, start};

/// A small picture without end, as fast as it is taken.
pub fn endless() -> Film {
    let unit = AccessUnit {
        flags: UnitFlags {
            key: true,
            ..UnitFlags::default()
        },
        pts: 0,
        captured: 0,
        data: Bytes::from([&[0, 0, 0x27, 0x10][..], &[0x65; 10_000]].concat()),
    };
    Film {
        configuration: Arc::new(Configuration {
            codec: Codec::H264,
            record: Bytes::new(),
            width: 0,
            height: 0,
        }),
        units: vec![unit],
        kept: 0,
        pause: Duration::ZERO,
        endless: true,
        silent: false,
    }
}

/// Two pictures, the first of them kept, and the end.
pub fn short() -> Film {
    let film = endless();
    let second = AccessUnit {
        pts: 3_600,
        ..film.units[0].clone()
    };
    Film {
        units: vec![film.units[0].clone(), second],
        kept: 1,
        endless: false,
        ..film
    }
}

fn quick() -> Limits {
    Limits {
        request_timeout: Duration::from_millis(150),
        session_timeout: Duration::from_millis(150),
        stall_timeout: Duration::from_millis(150),
        ..Limits::default()
    }
}

async fn server(film: Film, limits: Limits) -> Running {
    start(film, limits, None).await
}

#[tokio::test]
async fn a_slow_or_silent_client_is_closed() {
    let server = server(endless(), quick()).await;
    Client::connect(server.address).await.closed().await;
    for beginning in ["OPT", "OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n", "$"] {
        let mut client = Client::connect(server.address).await;
        client.stream.write_all(beginning.as_bytes()).await.unwrap();
        client.closed().await;
        assert!(client.input.is_empty());
    }
    // One that has spoken and falls silent, without a picture.
    let mut client = Client::connect(server.address).await;
    assert_eq!(client.ask("OPTIONS", "*", "").await.status, 200);
    client.closed().await;
}

#[tokio::test]
async fn keep_alives_alone_hold_no_place() {
    let limits = Limits {
        guest_timeout: Duration::from_millis(150),
        ..Limits::default()
    };
    let server = server(endless(), limits).await;
    let mut client = Client::connect(server.address).await;
    let mut answer = [0; 1024];
    let kept_alive = async {
        loop {
            let sent = client
                .stream
                .write_all(b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n");
            if sent.await.is_err() || !matches!(client.stream.read(&mut answer).await, Ok(1..)) {
                break;
            }
        }
    };
    timeout(PATIENCE, kept_alive).await.expect("closed");
}

#[tokio::test]
async fn what_is_too_large_or_no_rtsp_is_refused() {
    let server = server(endless(), Limits::default()).await;
    let mut client = Client::connect(server.address).await;
    client.stream.write_all(&[b'A'; 16 * 1024]).await.unwrap();
    assert_eq!(client.answer().await.status, 413);
    client.closed().await;
    for (sent, answer) in [
        (&b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"[..], "HTTP/1.1 501 "),
        // A tunnel of QuickTime's kind: it waits for an answer to the first half.
        (
            b"GET /commune/camera HTTP/1.0\nx-sessioncookie: 1\n",
            "HTTP/1.1 501 ",
        ),
        (b"OPTIONS *\r\n", "RTSP/1.0 400 "),
        (b"\x16\x03\x01\x02\x00\x01", ""),
    ] {
        let mut client = Client::connect(server.address).await;
        client.stream.write_all(sent).await.unwrap();
        // At once, and not after the ten seconds that a request may take.
        timeout(Duration::from_secs(5), client.closed())
            .await
            .expect("closed at once");
        let said = String::from_utf8_lossy(&client.input);
        assert!(
            said.starts_with(answer) && said.is_empty() == answer.is_empty(),
            "{said}"
        );
    }
    let refused = server.refused.lock().unwrap().clone();
    assert_eq!(refused, ["too_large", "http", "http", "malformed", "tls"]);
}

#[tokio::test]
async fn viewers_keep_their_places_and_guests_give_way() {
    let limits = Limits {
        per_address: 4,
        ..Limits::default()
    };
    let server = server(endless(), limits).await;
    let mut viewers = Vec::new();
    for _ in 0..3 {
        let mut viewer = Client::connect(server.address).await;
        viewer.set_up("0-1").await;
        viewers.push(viewer);
    }
    // Silent ones, and one that only asks for the options, take what is left in turn.
    let mut silent = Client::connect(server.address).await;
    let mut asking = Client::connect(server.address).await;
    silent.closed().await;
    assert_eq!(asking.ask("OPTIONS", "*", "").await.status, 200);
    let mut viewer = Client::connect(server.address).await;
    asking.closed().await;
    viewer.set_up("0-1").await;
    // All places are viewers' now.
    Client::connect(server.address).await.closed().await;
    for viewer in viewers.iter_mut().chain([&mut viewer]) {
        assert_eq!(viewer.ask("OPTIONS", "*", "").await.status, 200);
    }
    assert!(
        server
            .refused
            .lock()
            .unwrap()
            .iter()
            .all(|why| *why == "too_many_connections")
    );
    // A place given back can be had again, once the server has seen the end.
    drop(viewers);
    let mut tries = 0;
    loop {
        let mut client = Client::connect(server.address).await;
        let request = b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n";
        if client.stream.write_all(request).await.is_ok() && client.read_more().await > 0 {
            break;
        }
        tries += 1;
        assert!(tries < 1_000, "the place was not given back");
    }
}

#[tokio::test]
async fn a_wall_may_open_as_many_pictures_at_once_as_there_are_places() {
    let limits = Limits {
        per_address: 64,
        ..Limits::default()
    };
    let server = server(endless(), limits).await;
    // All connect before any has shown what it may see, as a VMS does at its start.
    let mut wall = Vec::new();
    for _ in 0..64 {
        wall.push(Client::connect(server.address).await);
    }
    for viewer in &mut wall {
        viewer.set_up("0-1").await;
    }
    assert!(server.refused.lock().unwrap().is_empty());
}

#[tokio::test]
async fn right_credentials_are_served_whatever_wrong_ones_came_before() {
    let server = server(endless(), Limits::default()).await;
    let mut guesser = Client::connect(server.address).await;
    assert_eq!(guesser.ask("DESCRIBE", PATH, "").await.status, 401);
    for guess in 0..10 {
        let password = guess.to_string();
        let answer = guesser
            .ask_as("grant", &password, "DESCRIBE", PATH, "")
            .await;
        assert_eq!(answer.status, 401, "{guess}");
    }
    let answer = guesser.ask_as("grant", "10", "DESCRIBE", PATH, "").await;
    assert_eq!(answer.status, 403);
    assert_eq!(answer.header("X-Reason"), "too_many_attempts");
    guesser.closed().await;
    // The same user at the same address, by the right password; and an ended one.
    let mut client = Client::connect(server.address).await;
    client.set_up("0-1").await;
    let mut client = Client::connect(server.address).await;
    for _ in 0..30 {
        let basic = "Authorization: Basic Og==\r\n";
        assert_eq!(client.ask("DESCRIBE", PATH, basic).await.status, 401);
        client.nonce.clear();
    }
    client.ask("DESCRIBE", PATH, "").await;
    for _ in 0..30 {
        let answer = client.ask_as("ended", "secret", "DESCRIBE", PATH, "").await;
        let told = (answer.status, answer.header("X-Reason").to_owned());
        assert_eq!(told, (403, "grant_expired".to_owned()));
    }
    assert_eq!(client.ask("DESCRIBE", PATH, "").await.status, 200);
    let refused = server.refused.lock().unwrap().clone();
    let count = |why| refused.iter().filter(|there| **there == why).count();
    assert_eq!(count("wrong_credentials"), 10);
    assert_eq!(count("too_many_attempts"), 1);
    assert_eq!(count("unreadable_credentials"), 30);
    assert_eq!(count("grant_expired"), 30);
    assert_eq!(refused.len(), 71, "{refused:?}");
}

#[tokio::test]
async fn an_ended_grant_is_told_why() {
    let server = server(endless(), Limits::default()).await;
    let mut client = Client::connect(server.address).await;
    client.ask("DESCRIBE", PATH, "").await;
    let answer = client.ask_as("ended", "secret", "DESCRIBE", PATH, "").await;
    assert_eq!(
        (answer.status, answer.header("X-Reason")),
        (403, "grant_expired")
    );
}

#[tokio::test]
async fn what_the_grant_does_not_hold_is_not_found() {
    let server = server(endless(), Limits::default()).await;
    let mut client = Client::connect(server.address).await;
    client.ask("DESCRIBE", PATH, "").await;
    for wrong in ["/trackID=1", "/video", "2", "/../other"] {
        let url = format!("{PATH}{wrong}");
        for method in ["DESCRIBE", "SETUP"] {
            let transport = "Transport: RTP/AVP/TCP\r\n";
            assert_eq!(
                client.ask(method, &url, transport).await.status,
                404,
                "{url}"
            );
        }
    }
    assert_eq!(
        client
            .ask_as("grant", "x", "DESCRIBE", PATH, "")
            .await
            .status,
        401
    );
}

#[tokio::test]
async fn the_end_of_a_grant_is_said_by_bye_and_the_connection_closes() {
    let mut server = server(short(), Limits::default()).await;
    let mut client = Client::connect(server.address).await;
    client.set_up("6-7").await;
    let played = client.ask("PLAY", PATH, "Range: npt=0.000-\r\n").await;
    assert_eq!(played.status, 200);
    assert_eq!(played.header("Range"), "npt=now-");
    client.closed().await;
    let mut sequences = Vec::new();
    let mut reports = Vec::new();
    while let Some((channel, packet)) = client.take_packet() {
        match channel {
            6 => sequences.push(u16::from_be_bytes([packet[2], packet[3]])),
            7 => reports.push(packet),
            other => panic!("channel {other}"),
        }
    }
    assert!(client.input.is_empty(), "cut in mid-packet");
    let info = played.header("RTP-Info");
    assert!(info.contains(&format!("seq={};", sequences[0])), "{info}");
    for pair in sequences.windows(2) {
        assert_eq!(
            pair[1],
            pair[0].wrapping_add(1),
            "kept and shared packets join"
        );
    }
    let last = reports.last().unwrap();
    let text = String::from_utf8_lossy(last);
    assert!(
        text.contains("grant_released"),
        "no reason in the last report"
    );
    server.wait_for(Notice::Gone).await;
}

#[tokio::test]
async fn a_stopping_server_says_why() {
    let film = Film {
        pause: Duration::from_millis(10),
        ..endless()
    };
    let mut server = server(film, Limits::default()).await;
    let mut client = Client::connect(server.address).await;
    client.set_up("0-1").await;
    client.ask("PLAY", PATH, "").await;
    server.wait_for(Notice::Playing).await;
    server.token.cancel();
    client.closed().await;
    assert!(String::from_utf8_lossy(&client.input).contains("shutting_down"));
    timeout(PATIENCE, &mut server.task).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_viewer_that_takes_nothing_is_closed_and_harms_no_other() {
    // Long enough for a busy machine to let the other viewer read.
    let limits = Limits {
        stall_timeout: Duration::from_secs(1),
        ..Limits::default()
    };
    let mut server = server(endless(), limits).await;
    let mut stopped = Client::connect(server.address).await;
    stopped.set_up("0-1").await;
    let mut other = Client::connect(server.address).await;
    other.set_up("0-1").await;
    stopped
        .stream
        .write_all(play(&stopped).as_bytes())
        .await
        .unwrap();
    assert_eq!(other.ask("PLAY", PATH, "").await.status, 200);
    let watched = tokio::spawn(async move {
        while other.read_more().await > 0 {
            other.input.clear();
        }
    });
    server.wait_for(Notice::Gone).await;
    assert!(!watched.is_finished(), "the other viewer was closed too");
    watched.abort();
    drop(stopped);
}

fn play(client: &Client) -> String {
    format!(
        "PLAY {PATH} RTSP/1.0\r\nCSeq: 99\r\nSession: {}\r\n\r\n",
        client.session
    )
}

#[tokio::test]
async fn over_udp_signs_of_life_keep_a_session_and_silence_ends_it() {
    let film = Film {
        pause: Duration::from_millis(5),
        ..endless()
    };
    let limits = Limits {
        session_timeout: Duration::from_secs(1),
        ..Limits::default()
    };
    let mut server = server(film, limits).await;
    let mut client = Client::connect(server.address).await;
    assert_eq!(client.ask("DESCRIBE", PATH, "").await.status, 401);
    assert_eq!(client.ask("DESCRIBE", PATH, "").await.status, 200);
    let (rtp, rtcp) = (udp().await, udp().await);
    let ports = (
        rtp.local_addr().unwrap().port(),
        rtcp.local_addr().unwrap().port(),
    );
    let transport = format!(
        "Transport: RTP/AVP;unicast;client_port={}-{}\r\n",
        ports.0, ports.1
    );
    let answer = client.ask("SETUP", PATH, &transport).await;
    assert_eq!(answer.status, 200);
    let server_port = answer
        .header("Transport")
        .rsplit('-')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    client.ask("PLAY", PATH, "").await;
    server.wait_for(Notice::Playing).await;

    // Reports for longer than two silences: the session lives on.
    let start = tokio::time::Instant::now();
    let mut packet = [0; 2_000];
    while start.elapsed() < Duration::from_millis(2_200) {
        timeout(PATIENCE, rtp.recv(&mut packet))
            .await
            .expect("the session ended")
            .unwrap();
        rtcp.send_to(b"report", ("127.0.0.1", server_port))
            .await
            .unwrap();
    }
    // Then none.
    client.closed().await;
    server.wait_for(Notice::Gone).await;
}

pub async fn udp() -> UdpSocket {
    UdpSocket::bind("127.0.0.1:0").await.unwrap()
}
