//! Server-sent events, as a client of the API reads them.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::site::Site;
use crate::waiting::within;

/// Reads events of a stream that stays open.
pub struct Events {
    stream: TcpStream,
    text: String,
}

impl Events {
    pub async fn listen(site: &Site, token: &str) -> Self {
        Self::listen_at(site.addresses.console, token, &[]).await
    }

    pub async fn listen_at(address: SocketAddr, token: &str, more: &[(&str, &str)]) -> Self {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let mut request = format!(
            "GET /api/v1/events HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\n"
        );
        for (name, value) in more {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str("\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut events = Self {
            stream,
            text: String::new(),
        };
        events.next("ready").await;
        events
    }

    /// What came and was not asked for.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The data of the next event of this name.
    pub async fn next(&mut self, name: &str) -> serde_json::Value {
        let wanted = format!("event: {name}\n");
        loop {
            if let Some(at) = self.text.find(&wanted)
                && let Some(end) = self.text[at..].find("\n\n")
            {
                let event = self.text[at..at + end].to_owned();
                self.text.drain(..at + end);
                let data = event.split_once("data: ").unwrap().1;
                return serde_json::from_str(data).unwrap();
            }
            let mut bytes = [0; 4096];
            let read = within(name, self.stream.read(&mut bytes)).await.unwrap();
            assert!(read > 0, "the stream ended: {}", self.text);
            self.text
                .push_str(std::str::from_utf8(&bytes[..read]).unwrap());
        }
    }
}
