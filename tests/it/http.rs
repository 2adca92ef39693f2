//! The HTTP loop: its limits, seen from the socket.

use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use fanal::http::{Limits, Listener, Peer, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

struct Served {
    address: std::net::SocketAddr,
    token: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

async fn start(limits: Limits) -> Served {
    let router = Router::new()
        .route("/echo", post(|body: String| async move { body }))
        .route(
            "/who",
            get(|axum::Extension(peer): axum::Extension<Peer>| async move {
                peer.address.ip().to_string()
            }),
        )
        .route("/never", get(std::future::pending::<&'static str>));
    let listener = Listener::bind(([127, 0, 0, 1], 0).into(), None)
        .await
        .unwrap();
    let address = listener.local_addr().unwrap();
    let token = CancellationToken::new();
    let task = tokio::spawn(serve(listener, router, limits, token.clone()));
    Served {
        address,
        token,
        task,
    }
}

async fn exchange(address: std::net::SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn answers_and_names_the_peer() {
    let served = start(Limits::default()).await;
    let answer = exchange(
        served.address,
        "GET /who HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n",
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.ends_with("127.0.0.1"), "{answer}");
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused() {
    let served = start(Limits {
        body: 8,
        ..Limits::default()
    })
    .await;
    let request = |body: &str| {
        format!(
            "POST /echo HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let answer = exchange(served.address, &request("12345678")).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let answer = exchange(served.address, &request("123456789")).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

#[tokio::test]
async fn a_slow_head_and_a_slow_body_lose_their_connection() {
    let served = start(Limits {
        head_timeout: Duration::from_millis(50),
        answer_timeout: Duration::from_millis(50),
        ..Limits::default()
    })
    .await;
    // Both end by themselves: reading to the end returns.
    let answer = exchange(served.address, "GET /who HTTP/1.1\r\nhost:").await;
    assert!(!answer.contains("200"), "{answer}");
    let answer = exchange(
        served.address,
        "POST /echo HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 9\r\n\r\n1",
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(
        answer.contains("\"reason\":\"malformed_request\""),
        "{answer}"
    );
}

#[tokio::test]
async fn an_end_waits_for_requests_no_longer_than_its_grace() {
    let served = start(Limits {
        grace: Duration::from_millis(50),
        ..Limits::default()
    })
    .await;
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    stream
        .write_all(b"GET /never HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await
        .unwrap();
    served.token.cancel();
    served.task.await.unwrap();
    let mut rest = Vec::new();
    // A reset or an end: either way the connection is over.
    let _ = stream.read_to_end(&mut rest).await;
    assert!(rest.is_empty());
    assert!(TcpStream::connect(served.address).await.is_err());
}
