//! What a client must not be able to do, and what it is told.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fanal::media::unit::{AccessUnit, Codec, Configuration, UnitFlags};
use fanal::rtsp::server::{Limits, Notice};
use md5::{Digest, Md5};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::server::{Film, Running, start};

const PATIENCE: Duration = Duration::from_secs(20);
const PATH: &str = "rtsp://127.0.0.1/commune/camera";

/// A small picture without end, as fast as it is taken.
fn endless() -> Film {
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
    }
}

/// Two pictures, the first of them kept, and the end.
fn short() -> Film {
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

/// A client that does as it is told.
struct Client {
    stream: TcpStream,
    input: Vec<u8>,
    nonce: String,
    session: String,
    sequence: u32,
}

struct Answer {
    status: u16,
    head: String,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        let start = format!("{name}: ");
        let line = self.head.lines().rfind(|line| line.starts_with(&start));
        line.map_or("", |line| &line[start.len()..])
    }
}

impl Client {
    async fn connect(address: SocketAddr) -> Self {
        Self {
            stream: TcpStream::connect(address).await.unwrap(),
            input: Vec::new(),
            nonce: String::new(),
            session: String::new(),
            sequence: 0,
        }
    }

    async fn read_more(&mut self) -> usize {
        let mut space = [0; 4_096];
        let read = timeout(PATIENCE, self.stream.read(&mut space))
            .await
            .expect("the server is silent");
        // A reset is an end as well.
        let read = read.unwrap_or(0);
        self.input.extend_from_slice(&space[..read]);
        read
    }

    /// Sends a request with Digest as VLC does, without qop, and reads the answer.
    async fn ask_as(
        &mut self,
        user: &str,
        password: &str,
        method: &str,
        url: &str,
        more: &str,
    ) -> Answer {
        self.sequence += 1;
        let hash = |text: String| -> String {
            Md5::digest(text)
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect()
        };
        let nonce = &self.nonce;
        let who = hash(format!("{user}:fanal:{password}"));
        let what = hash(format!("{method}:{url}"));
        let response = hash(format!("{who}:{nonce}:{what}"));
        let mut text = format!("{method} {url} RTSP/1.0\r\nCSeq: {}\r\n", self.sequence);
        if !nonce.is_empty() {
            text.push_str(&format!(
                "Authorization: Digest username=\"{user}\", realm=\"fanal\", nonce=\"{nonce}\", \
                 uri=\"{url}\", response=\"{response}\"\r\n"
            ));
        }
        if !self.session.is_empty() {
            text.push_str(&format!("Session: {}\r\n", self.session));
        }
        text.push_str(more);
        text.push_str("\r\n");
        self.stream.write_all(text.as_bytes()).await.unwrap();
        let answer = self.answer().await;
        if answer.status == 401 {
            let challenge = answer.header("WWW-Authenticate");
            assert!(
                challenge.contains("algorithm=MD5"),
                "MD5 stands last: {challenge}"
            );
            self.nonce = challenge
                .split("nonce=\"")
                .nth(1)
                .unwrap()
                .split('"')
                .next()
                .unwrap()
                .into();
        }
        let session = answer.header("Session").split(';').next().unwrap();
        self.session = session.to_owned();
        answer
    }

    async fn ask(&mut self, method: &str, url: &str, more: &str) -> Answer {
        self.ask_as("grant", "secret", method, url, more).await
    }

    /// The next answer; interleaved packets before it are passed over.
    async fn answer(&mut self) -> Answer {
        loop {
            while self.take_packet().is_some() {}
            let text = String::from_utf8_lossy(&self.input).into_owned();
            if !text.starts_with('$')
                && let Some((head, _)) = text.split_once("\r\n\r\n")
            {
                let head = head.to_owned();
                let length = head
                    .lines()
                    .find_map(|line| line.strip_prefix("Content-Length: "))
                    .map_or(0, |length| length.parse::<usize>().unwrap());
                if self.input.len() >= head.len() + 4 + length {
                    self.input.drain(..head.len() + 4 + length);
                    let status = head[9..12].parse().unwrap();
                    return Answer { status, head };
                }
            }
            assert!(
                self.read_more().await > 0,
                "closed before an answer: {text}"
            );
        }
    }

    /// An interleaved packet, if a whole one is there: its channel and bytes.
    fn take_packet(&mut self) -> Option<(u8, Vec<u8>)> {
        let (&[b'$', channel, high, low], rest) = self.input.split_first_chunk()? else {
            return None;
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        let packet = rest.get(..length)?.to_vec();
        self.input.drain(..4 + length);
        Some((channel, packet))
    }

    /// DESCRIBE and SETUP over TCP on these channels.
    async fn set_up(&mut self, channels: &str) {
        assert_eq!(self.ask("DESCRIBE", PATH, "").await.status, 401);
        assert_eq!(self.ask("DESCRIBE", PATH, "").await.status, 200);
        let transport = format!("Transport: RTP/AVP/TCP;unicast;interleaved={channels}\r\n");
        let track = format!("{PATH}/trackID=0");
        assert_eq!(self.ask("SETUP", &track, &transport).await.status, 200);
    }

    /// Reads until the server closes.
    async fn closed(&mut self) {
        while self.read_more().await > 0 {}
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
async fn what_is_too_large_or_no_rtsp_is_refused() {
    let server = server(endless(), Limits::default()).await;
    let mut client = Client::connect(server.address).await;
    client.stream.write_all(&[b'A'; 16 * 1024]).await.unwrap();
    assert_eq!(client.answer().await.status, 413);
    client.closed().await;
    let mut client = Client::connect(server.address).await;
    client
        .stream
        .write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        .await
        .unwrap();
    assert_eq!(client.answer().await.status, 400);
    client.closed().await;
}

#[tokio::test]
async fn connections_are_limited_by_address() {
    let limits = Limits {
        per_address: 2,
        ..Limits::default()
    };
    let server = server(endless(), limits).await;
    let mut first = Client::connect(server.address).await;
    let mut second = Client::connect(server.address).await;
    assert_eq!(first.ask("OPTIONS", "*", "").await.status, 200);
    assert_eq!(second.ask("OPTIONS", "*", "").await.status, 200);
    Client::connect(server.address).await.closed().await;
    // A place given back can be had again, once the server has seen the end.
    drop(first);
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
async fn guessing_ends_in_too_many_attempts() {
    let server = server(endless(), Limits::default()).await;
    let mut client = Client::connect(server.address).await;
    assert_eq!(client.ask("DESCRIBE", PATH, "").await.status, 401);
    for guess in 0..10 {
        let password = guess.to_string();
        let answer = client
            .ask_as("grant", &password, "DESCRIBE", PATH, "")
            .await;
        assert_eq!(answer.status, 401, "{guess}");
    }
    let answer = client.ask("DESCRIBE", PATH, "").await;
    assert_eq!(answer.status, 403, "even the right one waits now");
    assert_eq!(answer.header("X-Reason"), "too_many_attempts");
    client.closed().await;
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
async fn another_path_than_the_grants_own_is_no_use() {
    let server = server(endless(), Limits::default()).await;
    let mut client = Client::connect(server.address).await;
    let other = "rtsp://127.0.0.1/commune/other";
    client.ask("DESCRIBE", other, "").await;
    assert_eq!(client.ask("DESCRIBE", other, "").await.status, 401);
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

async fn udp() -> UdpSocket {
    UdpSocket::bind("127.0.0.1:0").await.unwrap()
}
