//! WebDriver BiDi over a WebSocket (<https://w3c.github.io/webdriver-bidi/>): commands
//! one after the other, what the browser tells meanwhile kept for anyone who asks.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

/// An event: its method, and its parameters.
#[derive(Debug)]
pub struct Event {
    pub method: String,
    pub params: Value,
}

pub struct Connection {
    socket: WebSocketStream<TcpStream>,
    next: u64,
    events: Vec<Event>,
}

impl Connection {
    /// Connects to `ws://127.0.0.1:PORT/…`.
    pub async fn open(url: &str) -> Self {
        let request = url.into_client_request().unwrap();
        let authority = request.uri().authority().unwrap().as_str().to_owned();
        let stream = TcpStream::connect(&authority).await.unwrap();
        let (socket, _) = tokio_tungstenite::client_async(request, stream)
            .await
            .unwrap_or_else(|error| panic!("{url}: {error}"));
        Self {
            socket,
            next: 1,
            events: Vec::new(),
        }
    }

    /// Sends a command and waits for its answer: the result, or the error's text.
    pub async fn call(
        &mut self,
        method: &str,
        params: Value,
        patience: Duration,
    ) -> Result<Value, String> {
        let id = self.next;
        self.next += 1;
        let command = json!({ "id": id, "method": method, "params": params });
        self.socket
            .send(Message::text(command.to_string()))
            .await
            .unwrap_or_else(|error| panic!("{method}: {error}"));
        match tokio::time::timeout(patience, self.answer(id)).await {
            Ok(answer) => answer,
            Err(_) => Err(format!("{method} not answered within {patience:?}")),
        }
    }

    async fn answer(&mut self, id: u64) -> Result<Value, String> {
        loop {
            let mut message = self.message().await?;
            if message["type"] == "event" {
                self.events.push(Event {
                    method: message["method"].as_str().unwrap().to_owned(),
                    params: message["params"].take(),
                });
            } else if message["id"] == id {
                if message["type"] == "success" {
                    return Ok(message["result"].take());
                }
                return Err(format!("{}: {}", message["error"], message["message"]));
            }
        }
    }

    async fn message(&mut self) -> Result<Value, String> {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Text(text))) => {
                    return Ok(serde_json::from_str(&text).unwrap());
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(format!("the browser's connection: {error}")),
                None => return Err("the browser closed its connection".to_owned()),
            }
        }
    }

    /// What was told up to the last answer.
    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }
}
