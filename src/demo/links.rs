//! Short links to the demo's pages, whose addresses hold a key and its certificates in the fragment:
//! a server on loopback redirects to them. Its paths are random, for other users of this machine
//! reach it too.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::Context;
use base64::Engine;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Longest head of a request.
const HEAD_LIMIT: usize = 8 * 1024;
/// How long a browser may take to ask.
const PATIENCE: Duration = Duration::from_secs(5);
/// Pause after a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// Most connections at once.
const CONNECTIONS_LIMIT: usize = 16;

/// Serves a link for each address until the set is dropped.
///
/// # Errors
/// No port on loopback, or no random bytes.
pub async fn serve<const N: usize>(
    addresses: [String; N],
) -> anyhow::Result<([String; N], JoinSet<()>)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
    let listener = listener.context("no port for the links")?;
    let at = listener.local_addr()?;
    let mut paths = Vec::with_capacity(N);
    for address in addresses {
        let mut random = [0; 6];
        getrandom::fill(&mut random).map_err(std::io::Error::other)?;
        let path = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(random);
        paths.push((format!("/{path}"), address));
    }
    let mut links = paths.iter().map(|(path, _)| format!("http://{at}{path}"));
    let links = std::array::from_fn(|_| links.next().unwrap_or_default());
    let mut server = JoinSet::new();
    server.spawn(async move {
        let mut connections: JoinSet<()> = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept(), if connections.len() < CONNECTIONS_LIMIT => {
                    let Ok((stream, _)) = accepted else {
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                        continue;
                    };
                    let paths = paths.clone();
                    connections.spawn(async move {
                        // A browser that goes away gets nothing.
                        let _ = tokio::time::timeout(PATIENCE, answer(stream, &paths)).await;
                    });
                }
                Some(_) = connections.join_next() => {}
            }
        }
    });
    Ok((links, server))
}

async fn answer(mut stream: TcpStream, paths: &[(String, String)]) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") && head.len() < HEAD_LIMIT {
        if stream.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let head = String::from_utf8_lossy(&head);
    let mut words = head.split(' ');
    let wanted = (words.next() == Some("GET"))
        .then(|| words.next())
        .flatten();
    let found = paths.iter().find(|(path, _)| Some(path.as_str()) == wanted);
    let answer = match found {
        Some((_, address)) => format!("302 Found\r\nLocation: {address}"),
        None => "404 Not Found".to_owned(),
    };
    let answer = format!(
        "HTTP/1.1 {answer}\r\nCache-Control: no-store\r\nReferrer-Policy: no-referrer\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_short_link_leads_to_its_address_and_another_nowhere() {
        let long = format!("http://127.0.0.1:1/#demo={}", "k".repeat(900));
        let ([link], _server) = serve([long.clone()]).await.unwrap();
        assert!(link.len() < 40, "{link}");
        let place = link.strip_prefix("http://").unwrap();
        let (at, path) = place.split_once('/').unwrap();
        for (path, status, location) in [
            (path, "302 Found", Some(&long)),
            ("other", "404 Not Found", None),
        ] {
            let mut stream = TcpStream::connect(at).await.unwrap();
            let request = format!("GET /{path} HTTP/1.1\r\nHost: {at}\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status}\r\n")),
                "{answer}"
            );
            let led = answer
                .lines()
                .find_map(|line| line.strip_prefix("Location: "));
            assert_eq!(led, location.map(String::as_str));
        }
    }
}
