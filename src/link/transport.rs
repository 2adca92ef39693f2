//! The one seam between a link and what carries it: QUIC, or TCP with TLS where
//! UDP does not get through. Everything above uses these types; a match on two
//! variants is all that QUIC pays for it.

use std::net::SocketAddr;
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustls::pki_types::CertificateDer;

use super::exchange::Agreed;
use super::stats::Snapshot;
use super::{endpoint, tcp, window};
use crate::reason::Reason;

pub use crate::metrics::Transport;

/// Characters kept of what a peer gives as its reason.
const REASON_LIMIT: usize = 200;

/// Why a connection is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Closed {
    /// The peer closed it.
    ByPeer {
        /// A [`Reason`]'s number, or one that this version does not know.
        code: u64,
        /// In its words, without control characters, at most 200 characters.
        text: String,
    },
    /// This side closed it.
    Here,
    /// Nothing was heard for too long.
    Silent,
    /// The transport failed, and how.
    Failed(String),
}

impl Closed {
    /// Closed by the peer, with what it said.
    pub(super) fn by_peer(code: u64, reason: &[u8]) -> Self {
        let text = String::from_utf8_lossy(reason);
        let text = text.chars().filter(|c| !c.is_control());
        Self::ByPeer {
            code,
            text: text.take(REASON_LIMIT).collect(),
        }
    }

    /// The reason that the peer gave, if this version knows it.
    pub fn reason(&self) -> Option<Reason> {
        match self {
            Self::ByPeer { code, .. } => Reason::from_number(*code),
            Self::Here | Self::Silent | Self::Failed(_) => None,
        }
    }
}

impl std::fmt::Display for Closed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::ByPeer { code, text } => match Reason::from_number(*code) {
                Some(reason) if text.is_empty() => write!(f, "closed by the peer: {reason}"),
                Some(_) => write!(f, "closed by the peer: {text}"),
                None => write!(f, "closed by the peer: code {code}: {text}"),
            },
            Self::Here => f.write_str("closed by this side"),
            Self::Silent => {
                f.write_str("nothing heard from the peer for too long; is its network up?")
            }
            Self::Failed(cause) => f.write_str(cause),
        }
    }
}

impl std::error::Error for Closed {}

impl From<quinn::ConnectionError> for Closed {
    fn from(error: quinn::ConnectionError) -> Self {
        match error {
            quinn::ConnectionError::ApplicationClosed(close) => {
                Self::by_peer(close.error_code.into_inner(), &close.reason)
            }
            quinn::ConnectionError::LocallyClosed => Self::Here,
            quinn::ConnectionError::TimedOut => Self::Silent,
            other => Self::Failed(other.to_string()),
        }
    }
}

/// Why a stream can't be written on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// The peer wants no more of it.
    #[error("stopped by the peer with code {0}")]
    Stopped(u64),
    /// The connection is over.
    #[error(transparent)]
    Lost(Closed),
    /// It was finished or reset by this side.
    #[error("the stream is over")]
    Over,
}

impl From<quinn::WriteError> for WriteError {
    fn from(error: quinn::WriteError) -> Self {
        match error {
            quinn::WriteError::Stopped(code) => Self::Stopped(code.into_inner()),
            quinn::WriteError::ConnectionLost(error) => Self::Lost(error.into()),
            quinn::WriteError::ClosedStream | quinn::WriteError::ZeroRttRejected => Self::Over,
        }
    }
}

/// Why a stream can't be read on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The peer gave it up.
    #[error("reset by the peer with code {0}")]
    Reset(u64),
    /// The connection is over.
    #[error(transparent)]
    Lost(Closed),
    /// It ended before all that was wanted had come.
    #[error("the stream ended half way")]
    Short,
    /// It was stopped by this side.
    #[error("the stream is over")]
    Over,
}

impl From<quinn::ReadError> for ReadError {
    fn from(error: quinn::ReadError) -> Self {
        match error {
            quinn::ReadError::Reset(code) => Self::Reset(code.into_inner()),
            quinn::ReadError::ConnectionLost(error) => Self::Lost(error.into()),
            quinn::ReadError::ClosedStream
            | quinn::ReadError::IllegalOrderedRead
            | quinn::ReadError::ZeroRttRejected => Self::Over,
        }
    }
}

/// A connection to a peer whose certificate was verified. Cheap to clone; it
/// closes with its last clone and stream.
#[derive(Clone, Debug)]
pub enum Connection {
    /// QUIC.
    Quic(quinn::Connection),
    /// TCP with TLS.
    Tcp(tcp::Connection),
}

impl From<quinn::Connection> for Connection {
    fn from(connection: quinn::Connection) -> Self {
        Self::Quic(connection)
    }
}

impl Connection {
    /// What carries it.
    pub const fn transport(&self) -> Transport {
        match self {
            Self::Quic(_) => Transport::Quic,
            Self::Tcp(_) => Transport::Tcp,
        }
    }

    /// The peer's address now.
    pub fn remote_address(&self) -> SocketAddr {
        match self {
            Self::Quic(connection) => connection.remote_address(),
            Self::Tcp(connection) => connection.remote_address(),
        }
    }

    /// Round-trip time now, smoothed.
    pub fn rtt(&self) -> Duration {
        match self {
            Self::Quic(connection) => connection.rtt(),
            Self::Tcp(connection) => connection.rtt(),
        }
    }

    /// Its figures now.
    pub fn stats(&self) -> Snapshot {
        match self {
            Self::Quic(connection) => Snapshot::of_quic(connection),
            Self::Tcp(connection) => connection.stats(),
        }
    }

    /// The peer's certificates, leaf first.
    pub fn certificates(&self) -> Vec<CertificateDer<'static>> {
        match self {
            Self::Quic(connection) => connection
                .peer_identity()
                .and_then(|identity| identity.downcast::<Vec<CertificateDer<'static>>>().ok())
                .map_or_else(Vec::new, |chain| *chain),
            Self::Tcp(connection) => connection.certificates().to_vec(),
        }
    }

    /// The key exchange that was negotiated, such as `X25519MLKEM768`; empty
    /// where the connection does not say.
    pub fn key_exchange(&self) -> String {
        match self {
            Self::Quic(connection) => connection
                .handshake_data()
                .and_then(|data| data.downcast::<Agreed>().ok())
                .map(|agreed| format!("{:?}", agreed.0))
                .unwrap_or_default(),
            Self::Tcp(connection) => connection.key_exchange().to_owned(),
        }
    }

    /// Closes it at once, telling the peer why; what is queued is thrown away.
    pub fn close(&self, reason: Reason, text: &str) {
        match self {
            Self::Quic(connection) => {
                window::open_for_close(connection.congestion_state());
                connection.close(reason.number().into(), text.as_bytes());
            }
            Self::Tcp(connection) => connection.close(reason.number(), text),
        }
    }

    /// Sends something that the peer acknowledges, whatever is under way and unanswered.
    /// Over TCP it waits for the kernel.
    pub(super) fn probe(&self) {
        match self {
            Self::Quic(connection) => {
                window::open_for_probe(connection.congestion_state(), Instant::now());
                // A peer of an older version takes no datagrams: QUIC's own probes must do.
                let _ = connection.send_datagram(Bytes::from_static(endpoint::PROBE));
            }
            Self::Tcp(connection) => connection.ask(),
        }
    }

    /// Why it is over, if it is.
    pub fn close_reason(&self) -> Option<Closed> {
        match self {
            Self::Quic(connection) => connection.close_reason().map(Closed::from),
            Self::Tcp(connection) => connection.close_reason(),
        }
    }

    /// Waits until it is over.
    pub async fn closed(&self) -> Closed {
        match self {
            Self::Quic(connection) => connection.closed().await.into(),
            Self::Tcp(connection) => connection.closed().await,
        }
    }

    /// Opens the control stream: the gateway's part, once.
    pub async fn open_control(&self) -> Result<(SendStream, RecvStream), Closed> {
        match self {
            Self::Quic(connection) => {
                let (send, receive) = connection.open_bi().await?;
                Ok((SendStream::Quic(send), RecvStream::Quic(receive)))
            }
            Self::Tcp(connection) => Ok(connection.control()),
        }
    }

    /// Waits for the control stream: the receiver's part, once.
    pub async fn accept_control(&self) -> Result<(SendStream, RecvStream), Closed> {
        match self {
            Self::Quic(connection) => {
                let (send, receive) = connection.accept_bi().await?;
                Ok((SendStream::Quic(send), RecvStream::Quic(receive)))
            }
            Self::Tcp(connection) => Ok(connection.control()),
        }
    }

    /// Opens a stream, once the peer allows one more.
    pub async fn open_uni(&self) -> Result<SendStream, Closed> {
        match self {
            Self::Quic(connection) => Ok(SendStream::Quic(connection.open_uni().await?)),
            Self::Tcp(connection) => connection.open_uni().await.map(SendStream::Tcp),
        }
    }

    /// The next stream that the peer opens.
    pub async fn accept_uni(&self) -> Result<RecvStream, Closed> {
        match self {
            Self::Quic(connection) => Ok(RecvStream::Quic(connection.accept_uni().await?)),
            Self::Tcp(connection) => connection.accept_uni().await.map(RecvStream::Tcp),
        }
    }

    /// How many streams the peer may have open at once.
    pub fn set_max_concurrent_uni_streams(&self, count: u32) {
        match self {
            Self::Quic(connection) => connection.set_max_concurrent_uni_streams(count.into()),
            Self::Tcp(connection) => connection.set_max_concurrent_uni_streams(count),
        }
    }

    /// Bytes that streams may hand over before the network takes them. Over TCP
    /// each stream has a small bound of its own.
    pub(super) fn set_send_window(&self, bytes: u64) {
        match self {
            Self::Quic(connection) => connection.set_send_window(bytes),
            Self::Tcp(_) => {}
        }
    }
}

/// The sending end of a stream.
#[derive(Debug)]
pub enum SendStream {
    /// Of a QUIC connection.
    Quic(quinn::SendStream),
    /// Of a TCP connection.
    Tcp(tcp::SendStream),
}

impl From<quinn::SendStream> for SendStream {
    fn from(stream: quinn::SendStream) -> Self {
        Self::Quic(stream)
    }
}

impl SendStream {
    /// Changes its priority: larger numbers go first.
    pub fn set_priority(&self, priority: i32) {
        match self {
            // An error says that the stream is gone: nothing to order.
            Self::Quic(stream) => drop(stream.set_priority(priority)),
            Self::Tcp(stream) => stream.set_priority(priority),
        }
    }

    /// Hands chunks over without copying; those that were taken are empty then,
    /// one taken in part begins later. Ready with an error, or once some bytes went.
    pub fn poll_write_chunks(
        &mut self,
        cx: &mut Context<'_>,
        chunks: &mut [Bytes],
    ) -> Poll<Result<(), WriteError>> {
        match self {
            // Made anew for each poll: quinn documents that as cancel-safe, and
            // remembers the waker by stream.
            Self::Quic(stream) => pin!(stream.write_chunks(chunks))
                .poll(cx)
                .map(|written| written.map(drop).map_err(WriteError::from)),
            Self::Tcp(stream) => stream.poll_write_chunks(cx, chunks),
        }
    }

    /// Hands one chunk over, whole.
    pub async fn write_chunk(&mut self, chunk: Bytes) -> Result<(), WriteError> {
        let mut chunks = [chunk];
        while !chunks[0].is_empty() {
            std::future::poll_fn(|cx| self.poll_write_chunks(cx, &mut chunks)).await?;
        }
        Ok(())
    }

    /// No more follows: what was handed over is sent to its end.
    pub fn finish(&mut self) {
        match self {
            // An error says that the peer stopped the stream.
            Self::Quic(stream) => drop(stream.finish()),
            Self::Tcp(stream) => stream.finish(),
        }
    }

    /// Gives it up: nothing of it that is still here is sent. Says whether there
    /// was something to give up.
    pub fn reset(&mut self, code: u32) -> bool {
        match self {
            Self::Quic(stream) => stream.reset(code.into()).is_ok(),
            Self::Tcp(stream) => stream.reset(code),
        }
    }
}

/// The receiving end of a stream.
#[derive(Debug)]
pub enum RecvStream {
    /// Of a QUIC connection.
    Quic(quinn::RecvStream),
    /// Of a TCP connection.
    Tcp(tcp::RecvStream),
}

impl From<quinn::RecvStream> for RecvStream {
    fn from(stream: quinn::RecvStream) -> Self {
        Self::Quic(stream)
    }
}

impl RecvStream {
    /// The next chunks in order and how many they are; `None` at the end.
    pub async fn read_chunks(&mut self, chunks: &mut [Bytes]) -> Result<Option<usize>, ReadError> {
        match self {
            Self::Quic(stream) => Ok(stream.read_chunks(chunks).await?),
            Self::Tcp(stream) => stream.read_chunks(chunks).await,
        }
    }

    /// Fills the buffer. Not cancel-safe.
    pub async fn read_exact(&mut self, buffer: &mut [u8]) -> Result<(), ReadError> {
        match self {
            Self::Quic(stream) => stream
                .read_exact(buffer)
                .await
                .map_err(|error| match error {
                    quinn::ReadExactError::FinishedEarly(_) => ReadError::Short,
                    quinn::ReadExactError::ReadError(error) => error.into(),
                }),
            Self::Tcp(stream) => stream.read_exact(buffer).await,
        }
    }

    /// Tells the sender to stop, and why; what is buffered is thrown away.
    pub fn stop(&mut self, code: u32) {
        match self {
            // An error says that the stream is over already.
            Self::Quic(stream) => drop(stream.stop(code.into())),
            Self::Tcp(stream) => stream.stop(code),
        }
    }
}
