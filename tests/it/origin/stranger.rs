//! A receiver that was stolen: it answers each path as the test says, byte for byte, and remembers
//! what it was asked. And ways from a browser to a workstation.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use fanal::certs::trial::Trial;
use fanal::clock::Clock;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::support::site::Place;
use crate::workstation::Workstation;

/// Path and answer.
pub type Answers = Vec<(String, Vec<u8>)>;

pub struct Stranger {
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    _tasks: JoinSet<()>,
}

/// An answer with a status line's end, header lines and a body.
pub fn answer(status: &str, headers: &[&str], body: &str) -> Vec<u8> {
    let mut text = format!("HTTP/1.1 {status}\r\nconnection: close\r\n");
    for header in headers {
        text.push_str(&format!("{header}\r\n"));
    }
    text.push_str(&format!("content-length: {}\r\n\r\n{body}", body.len()));
    text.into_bytes()
}

/// Reads up to the empty line behind a head.
pub async fn head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    String::from_utf8(head).ok()
}

impl Stranger {
    pub async fn start(answers: Answers) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let known = Arc::clone(&asked);
        let answers = Arc::new(answers);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.spawn(serve(stream, Arc::clone(&answers), Arc::clone(&known)));
                while connections.try_join_next().is_some() {}
            }
        });
        Self {
            address,
            asked,
            _tasks: tasks,
        }
    }

    /// The heads of what was asked for below this path, in lower case.
    pub fn asked(&self, below: &str) -> Vec<String> {
        let asked = self.asked.lock().unwrap();
        let is_it = |head: &&String| head.split(' ').nth(1).unwrap().starts_with(below);
        asked.iter().filter(is_it).cloned().collect()
    }

    /// An operator's workstation that was told to use it.
    pub async fn workstation(&self) -> (Workstation, Place) {
        let now = Clock::system().now().wall;
        let trial = Trial::new(now).unwrap();
        let operator = trial.simple_operator("13-1", "CORG 13", now).unwrap();
        let files = Place::new();
        let (key, cert) = (files.path("operator.key"), files.path("operator.pem"));
        std::fs::write(&key, operator.key.expose()).unwrap();
        std::fs::write(&cert, &operator.certificate).unwrap();
        let station = Workstation::start(self.address, &key, &cert, "en").await;
        (station, files)
    }
}

async fn serve(mut stream: TcpStream, answers: Arc<Answers>, asked: Arc<Mutex<Vec<String>>>) {
    let Some(head) = head(&mut stream).await else {
        return;
    };
    let path = head.split(' ').nth(1).unwrap().to_owned();
    asked.lock().unwrap().push(head.to_ascii_lowercase());
    let found = answers.iter().find(|(known, _)| *known == path);
    let json = ["content-type: application/json"];
    let answer = match (found, path.as_str()) {
        (Some((_, answer)), _) => answer.clone(),
        (None, "/api/v1/time") => {
            let now = Clock::system().now().wall;
            let time = json!({
                "now": now.rfc3339(), "unix_ms": now.0 / 1_000, "centre": "corg-13", "name": "CORG 13",
            });
            answer("200 OK", &json, &time.to_string())
        }
        (None, "/api/v1/console") => {
            let settings = json!({ "mode": "receiver", "centre": "corg-13", "name": "CORG 13" });
            answer("200 OK", &json, &settings.to_string())
        }
        (None, _) => answer("404 Not Found", &json, "{}"),
    };
    let _ = stream.write_all(&answer).await;
    // Until the other side has seen enough.
    let _ = stream.shutdown().await;
    let _ = stream.read_to_end(&mut Vec::new()).await;
}

/// What lies between a browser and a workstation and remembers what is asked for.
pub struct Between {
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    _tasks: JoinSet<()>,
}

impl Between {
    /// Passes all on.
    pub async fn listening(station: &Workstation) -> Self {
        Self::start(station, None).await
    }

    /// Takes all that the browser says of a call, so that it looks like a program's with the session's
    /// secret: what an answer would do in a browser that says nothing, or where the secret leaked.
    pub async fn silencing(station: &Workstation) -> Self {
        Self::start(station, Some(station.secret.clone())).await
    }

    async fn start(station: &Workstation, secret: Option<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (to, known) = (station.address, Arc::clone(&asked));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.spawn(pass(stream, to, secret.clone(), Arc::clone(&known)));
                while connections.try_join_next().is_some() {}
            }
        });
        Self {
            address,
            asked,
            _tasks: tasks,
        }
    }

    /// Whether this path was asked for.
    pub fn was_asked(&self, path: &str) -> bool {
        self.asked.lock().unwrap().iter().any(|asked| asked == path)
    }
}

async fn pass(
    mut browser: TcpStream,
    to: SocketAddr,
    secret: Option<String>,
    asked: Arc<Mutex<Vec<String>>>,
) {
    let Some(head) = head(&mut browser).await else {
        return;
    };
    let path = head.split(' ').nth(1).unwrap();
    asked.lock().unwrap().push(path.to_owned());
    let mut hidden = vec!["connection"];
    if secret.is_some() {
        hidden.extend(["sec-fetch-", "service-worker", "x-fanal-session"]);
    }
    let mut kept: Vec<&str> = head.trim_end().split("\r\n").collect();
    kept.retain(|line| {
        let line = line.to_ascii_lowercase();
        !hidden.iter().any(|name| line.starts_with(name))
    });
    let mut head = kept.join("\r\n");
    if let Some(secret) = secret {
        head.push_str(&format!("\r\nx-fanal-session: {secret}"));
    }
    head.push_str("\r\nconnection: close\r\n\r\n");
    let mut station = TcpStream::connect(to).await.unwrap();
    if station.write_all(head.as_bytes()).await.is_ok() {
        let _ = tokio::io::copy_bidirectional(&mut browser, &mut station).await;
    }
}
