//! The connection that retina opens to the front.

use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use url::Url;

use super::message::{Piece, Reader};
use super::plain::{self, Notes};
use crate::gateway::cause;
use crate::media::unit::Codec;
use crate::policy::camera::{Failure, Step};
use crate::reason::Reason;

/// How long either side may take to accept what is written to it.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// Where retina finds the track.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) url: Url,
    pub(super) codec: Codec,
    pub(super) notes: Notes,
}

/// A request of retina's.
pub(super) struct Asked {
    pub(super) answer: bytes::Bytes,
    pub(super) plays: bool,
    pub(super) ends: bool,
}

/// retina's connection.
pub(super) struct Retina {
    input: OwnedReadHalf,
    out: OwnedWriteHalf,
    reader: Reader,
    token: String,
    codec: Codec,
}

impl Retina {
    pub(super) fn new(stream: TcpStream, url: &Url, codec: Codec) -> Result<Self, Failure> {
        if let Err(error) = stream.set_nodelay(true) {
            return Err(cause::from_io(&error, Step::Connecting));
        }
        let (input, out) = stream.into_split();
        Ok(Self {
            input,
            out,
            reader: Reader::new(super::fix::Fixes::default()),
            token: url.path().trim_start_matches('/').to_owned(),
            codec,
        })
    }

    /// The next request, with its answer. `None`: it is gone, or a stranger.
    /// Cancel-safe: what was read stays in the reader.
    pub(super) async fn asked(&mut self) -> Option<Asked> {
        loop {
            match self.reader.next() {
                Ok(Piece::Message(request)) => {
                    let (method, uri) = request.asked()?;
                    let number = request.text("CSeq").unwrap_or_default();
                    let served = plain::answer(method, uri, &number, &self.token, self.codec)?;
                    return Some(Asked {
                        answer: served.answer,
                        plays: method == "PLAY",
                        ends: served.ends,
                    });
                }
                Ok(Piece::Packet { .. } | Piece::Skipped { .. }) => {}
                Ok(Piece::Partial | Piece::Unfinished) => {
                    let read = self.input.read_buf(self.reader.space(1024)).await;
                    if !matches!(read, Ok(1..)) {
                        return None;
                    }
                }
                Err(_) => return None,
            }
        }
    }

    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        write(&mut self.out, bytes)
            .await
            .map_err(|_| cause::again(Reason::Internal, "its pictures were not taken"))
    }
}

/// A port on the loopback, and the URL with its token.
pub(super) async fn listen() -> std::io::Result<(TcpListener, Url)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let own = listener.local_addr()?;
    let mut token = [0; 16];
    getrandom::fill(&mut token).map_err(std::io::Error::other)?;
    let token: String = token.iter().map(|byte| format!("{byte:02x}")).collect();
    let url = Url::parse(&format!("rtsp://{own}/{token}")).map_err(std::io::Error::other)?;
    Ok((listener, url))
}

/// Writes all of it, or fails after a while.
pub(super) async fn write(out: &mut OwnedWriteHalf, bytes: &[u8]) -> std::io::Result<()> {
    match tokio::time::timeout(WRITE_TIMEOUT, out.write_all(bytes)).await {
        Ok(written) => written,
        Err(_) => Err(std::io::ErrorKind::TimedOut.into()),
    }
}
