//! A scripted RTSP client.

use std::net::SocketAddr;
use std::time::Duration;

use md5::{Digest, Md5};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

pub const PATIENCE: Duration = Duration::from_secs(20);
pub const PATH: &str = "rtsp://127.0.0.1/commune/camera";

/// A client that does as it is told.
pub struct Client {
    pub stream: TcpStream,
    pub input: Vec<u8>,
    pub nonce: String,
    pub session: String,
    sequence: u32,
}

pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        let start = format!("{name}: ");
        let line = self.head.lines().rfind(|line| line.starts_with(&start));
        line.map_or("", |line| &line[start.len()..])
    }
}

impl Client {
    pub async fn connect(address: SocketAddr) -> Self {
        Self {
            stream: TcpStream::connect(address).await.unwrap(),
            input: Vec::new(),
            nonce: String::new(),
            session: String::new(),
            sequence: 0,
        }
    }

    pub async fn read_more(&mut self) -> usize {
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
    pub async fn ask_as(
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
                "MD5 comes last: {challenge}"
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

    pub async fn ask(&mut self, method: &str, url: &str, more: &str) -> Answer {
        self.ask_as("grant", "secret", method, url, more).await
    }

    /// The next answer; interleaved packets before it are passed over.
    pub async fn answer(&mut self) -> Answer {
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
                    let whole: Vec<u8> = self.input.drain(..head.len() + 4 + length).collect();
                    let body = String::from_utf8_lossy(&whole[head.len() + 4..]).into_owned();
                    let status = head[9..12].parse().unwrap();
                    return Answer { status, head, body };
                }
            }
            assert!(
                self.read_more().await > 0,
                "closed before an answer: {text}"
            );
        }
    }

    /// An interleaved packet, if a whole one is there: its channel and bytes.
    pub fn take_packet(&mut self) -> Option<(u8, Vec<u8>)> {
        let (&[b'$', channel, high, low], rest) = self.input.split_first_chunk()? else {
            return None;
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        let packet = rest.get(..length)?.to_vec();
        self.input.drain(..4 + length);
        Some((channel, packet))
    }

    /// DESCRIBE and SETUP over TCP on these channels.
    pub async fn set_up(&mut self, channels: &str) {
        if self.nonce.is_empty() {
            assert_eq!(self.ask("DESCRIBE", PATH, "").await.status, 401);
        }
        assert_eq!(self.ask("DESCRIBE", PATH, "").await.status, 200);
        let transport = format!("Transport: RTP/AVP/TCP;unicast;interleaved={channels}\r\n");
        let track = format!("{PATH}/trackID=0");
        assert_eq!(self.ask("SETUP", &track, &transport).await.status, 200);
    }

    /// The next interleaved packet.
    pub async fn packet(&mut self) -> (u8, Vec<u8>) {
        loop {
            if let Some(packet) = self.take_packet() {
                return packet;
            }
            assert!(self.read_more().await > 0, "closed before a packet");
        }
    }

    /// Reads until the server closes.
    pub async fn closed(&mut self) {
        while self.read_more().await > 0 {}
    }
}
