//! Attacks of strangers who reach a port.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::chance::Chance;
use crate::doors::Doors;
use crate::tried::{Count, Pace, bytes, mutate};

/// The kinds, as they are printed.
pub(crate) const KINDS: [&str; 8] = [
    "slow heads",
    "web requests",
    "mutated requests",
    "slow RTSP",
    "RTSP requests",
    "datagrams at the link",
    "TCP at the link",
    "datagrams at the gateway",
];

/// Connections that one kind holds open.
const HELD: usize = 256;
/// How long an answer is waited for.
const ANSWER: Duration = Duration::from_millis(500);

/// One kind until its time is over.
pub(crate) async fn attack(
    kind: usize,
    doors: &Doors,
    mut pace: Pace,
    mut chance: Chance,
    count: &Count,
) {
    match kind {
        0 => hold(doors.web, b"GET / HTTP/1.1\r\nhost: ", pace, chance, count).await,
        1 => {
            while pace.turn().await {
                let text = web_request(doors.web, &mut chance);
                count.note(exchange(doors.web, &text).await);
            }
        }
        2 => {
            while pace.turn().await {
                let text = posted(doors.web, &mut chance);
                count.note(exchange(doors.web, &text).await);
            }
        }
        3 => hold(doors.rtsp, b"OPTIONS * RTSP/1.0\r\n", pace, chance, count).await,
        4 => {
            while pace.turn().await {
                let text = rtsp_request(doors.rtsp, &mut chance);
                count.note(exchange(doors.rtsp, &text).await);
            }
        }
        5 => datagrams(&[doors.link], pace, chance, count).await,
        6 => {
            while pace.turn().await {
                // The beginning of a TLS handshake, and what is none.
                let length = 8 + chance.index(2_000);
                let mut more = vec![0x16, 3, 1];
                more.extend(bytes(&mut chance, length));
                count.note(exchange(doors.link, &more).await);
            }
        }
        _ => datagrams(&doors.gateway, pace, chance, count).await,
    }
}

/// Connections that say a little and then nothing; the oldest makes room for the next.
async fn hold(at: SocketAddr, begin: &[u8], mut pace: Pace, mut chance: Chance, count: &Count) {
    let mut held = std::collections::VecDeque::new();
    while pace.turn().await {
        let stream = timeout(ANSWER, TcpStream::connect(at)).await;
        let Ok(Ok(mut stream)) = stream else {
            count.note(false);
            continue;
        };
        let length = chance.index(begin.len());
        let is_said = stream.write_all(&begin[..length]).await.is_ok();
        count.note(is_said);
        held.push_back(stream);
        if held.len() > HELD {
            held.pop_front();
        }
    }
}

/// Says something and waits a moment for an answer, of which a little is read.
async fn exchange(at: SocketAddr, text: &[u8]) -> bool {
    let exchange = async {
        let mut stream = TcpStream::connect(at).await?;
        stream.write_all(text).await?;
        let mut answer = [0; 1_024];
        stream.read(&mut answer).await
    };
    matches!(timeout(ANSWER, exchange).await, Ok(Ok(1..)))
}

fn web_request(at: SocketAddr, chance: &mut Chance) -> Vec<u8> {
    const PATHS: [&str; 8] = [
        "/api/v1/grants",
        "/api/v1/cameras?q=%00%ff",
        "/api/v1/live",
        "/api/v1/events",
        "/api/v1/places?q=rue",
        "/../../etc/passwd",
        "/page/app.js",
        "/api/v1/requests/0",
    ];
    let path = PATHS[chance.index(PATHS.len())];
    let token = "x".repeat(chance.index(20_000));
    let upgrade = if path.ends_with("live") {
        "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\nsec-websocket-protocol: fanal.v1\r\n"
    } else {
        ""
    };
    let text = format!(
        "GET {path} HTTP/1.1\r\nhost: {at}\r\nauthorization: Bearer {token}\r\n{upgrade}\r\n"
    );
    if chance.percent(50) {
        mutate(chance, text.as_bytes())
    } else {
        text.into_bytes()
    }
}

/// A request that looks like a signed one.
fn posted(at: SocketAddr, chance: &mut Chance) -> Vec<u8> {
    const HEAD: &str = "eyJhbGciOiJFUzI1NiIsInR5cCI6ImZhbmFsLXJlcXVlc3Qrand0IiwieDVjIjpbXX0";
    let claims = "e".repeat(chance.index(16_000));
    let body = mutate(chance, format!("{HEAD}.{claims}.AAAA").as_bytes());
    let head = format!(
        "POST /api/v1/requests HTTP/1.1\r\nhost: {at}\r\ncontent-type: application/jose\r\ncontent-length: {}\r\n\r\n",
        body.len() + chance.index(2)
    );
    [head.into_bytes(), body].concat()
}

fn rtsp_request(at: SocketAddr, chance: &mut Chance) -> Vec<u8> {
    const METHODS: [&str; 6] = [
        "OPTIONS", "DESCRIBE", "SETUP", "PLAY", "ANNOUNCE", "TEARDOWN",
    ];
    let method = METHODS[chance.index(METHODS.len())];
    let user = uuid::Uuid::from_u64_pair(1, chance.between(0, u64::MAX - 1));
    let text = format!(
        "{method} rtsp://{at}/berre-l-etang/camera-001 RTSP/1.0\r\nCSeq: 1\r\nAuthorization: Digest username=\"{user}\", realm=\"fanal\", nonce=\"0\", uri=\"*\", response=\"{}\"\r\n\r\n",
        "0".repeat(32)
    );
    match chance.index(3) {
        0 => mutate(chance, text.as_bytes()),
        // Data of a channel that nobody set up.
        1 => [vec![b'$', 0, 0xff, 0xff], bytes(chance, 2_000)].concat(),
        _ => text.into_bytes(),
    }
}

/// Datagrams like parity, like QUIC's first and later ones, and like nothing.
async fn datagrams(at: &[SocketAddr], mut pace: Pace, mut chance: Chance, count: &Count) {
    let Ok(socket) = UdpSocket::bind("127.0.0.1:0").await else {
        return;
    };
    let first = [fanal::link::redundancy::KIND, 0xc3, 0x43, 0x00];
    while pace.turn().await {
        let kind = first[chance.index(first.len())];
        let mut datagram = vec![kind];
        if kind == 0xc3 {
            // Version 1, connection ids of 8 bytes: an Initial, were it sealed right.
            datagram.extend([0, 0, 0, 1, 8]);
        }
        let least = if kind == 0xc3 { 1_200 } else { 0 };
        let length = chance.index(1_390).max(least);
        datagram.extend(bytes(&mut chance, length));
        let to = at[chance.index(at.len())];
        count.note(socket.send_to(&datagram, to).await.is_ok());
    }
}
