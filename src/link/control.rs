//! The control stream: JSON messages, each behind its length.
//!
//! One bidirectional stream, opened by the gateway, with the highest priority.
//! A message is a length in four bytes, big-endian, and as many bytes of JSON,
//! at most [`MESSAGE_LIMIT`]. A length of zero carries nothing: the gateway
//! opens the stream with one, which the receiver answers with another, so that
//! both know the other to be there and accepted before either says anything.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{BufMut, Bytes, BytesMut};
use quinn::{RecvStream, SendStream, WriteError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::transport::Connection;
use crate::allowance::Allowance;
use crate::format::control::MESSAGE_LIMIT;
use crate::reason::Reason;

/// Bytes of messages that may wait for a peer to take them.
pub const QUEUE_LIMIT: usize = 8 * 1024 * 1024;

/// Messages of a peer that are read at once, and in each second after that: what a gateway
/// says of a thousand grants at a new link, and more than it has to say later.
const MESSAGES: (u32, u32) = (4_096, 200);
/// The same in bytes.
const BYTES: (u32, u32) = (32 * 1024 * 1024, 1024 * 1024);

/// Queues control messages; usable from any thread, never waits.
#[derive(Clone, Debug)]
pub struct Sender {
    queue: Arc<Queue>,
    connection: Connection,
}

#[derive(Debug)]
struct Queue {
    waiting: Mutex<Waiting>,
    filled: Notify,
    /// A message waits, or is on its way out.
    is_busy: AtomicBool,
    sent: AtomicU64,
}

#[derive(Debug, Default)]
struct Waiting {
    messages: VecDeque<Bytes>,
    bytes: usize,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One message with its length before it; `None` where it is over its limit.
fn frame<M: Serialize>(message: &M) -> Option<Bytes> {
    let mut writer = BytesMut::with_capacity(256).writer();
    writer.get_mut().put_u32(0);
    if let Err(error) = serde_json::to_writer(&mut writer, message) {
        tracing::error!(%error, "control message can't be written");
        return None;
    }
    let mut bytes = writer.into_inner();
    let length = bytes.len() - 4;
    if length > MESSAGE_LIMIT {
        tracing::error!(length, limit = MESSAGE_LIMIT, "control message is too long");
        return None;
    }
    bytes[..4].copy_from_slice(&(length as u32).to_be_bytes());
    Some(bytes.freeze())
}

impl Sender {
    /// A queue for this connection's messages.
    pub(super) fn new(connection: Connection) -> Self {
        Self {
            queue: Arc::new(Queue {
                waiting: Mutex::default(),
                filled: Notify::new(),
                is_busy: AtomicBool::new(false),
                sent: AtomicU64::new(0),
            }),
            connection,
        }
    }

    /// Queues a message. A peer that lets [`QUEUE_LIMIT`] fill loses its link.
    pub fn send<M: Serialize>(&self, message: &M) {
        if let Some(bytes) = frame(message) {
            self.push(bytes);
        }
    }

    fn push(&self, bytes: Bytes) {
        let mut waiting = self.queue.lock();
        if waiting.bytes + bytes.len() > QUEUE_LIMIT {
            drop(waiting);
            tracing::warn!("the peer takes no control messages; closing its link");
            let text = "control messages are not taken";
            self.connection.close(Reason::ProtocolError, text);
            return;
        }
        waiting.bytes += bytes.len();
        waiting.messages.push_back(bytes);
        self.queue.is_busy.store(true, Ordering::Relaxed);
        drop(waiting);
        self.queue.filled.notify_one();
    }

    /// Bytes that were handed to the connection, or are about to be.
    pub(super) fn sent(&self) -> u64 {
        self.queue.sent.load(Ordering::Relaxed)
    }

    /// Whether a message waits for room on the link: pictures let it go first, for
    /// what streams may hand over is shared, whatever their priorities.
    pub(super) fn is_busy(&self) -> bool {
        self.queue.is_busy.load(Ordering::Relaxed)
    }

    /// Writes what is queued for as long as the stream lives; calls `written` each time
    /// nothing is left.
    pub(super) async fn write(&self, mut stream: SendStream, written: impl Fn()) -> WriteError {
        loop {
            let message = {
                let mut waiting = self.queue.lock();
                let message = waiting.messages.pop_front();
                waiting.bytes -= message.as_ref().map_or(0, Bytes::len);
                if message.is_none() {
                    self.queue.is_busy.store(false, Ordering::Relaxed);
                }
                message
            };
            if message.is_none() {
                written();
            }
            match message {
                Some(message) => {
                    let bytes = message.len() as u64;
                    self.queue.sent.fetch_add(bytes, Ordering::Relaxed);
                    if let Err(error) = stream.write_chunk(message).await {
                        return error;
                    }
                }
                None => self.queue.filled.notified().await,
            }
        }
    }
}

/// What ends the reading of control messages.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The stream or the link ended.
    #[error("control stream: {0}")]
    Stream(#[from] quinn::ReadExactError),
    /// The message is over its limit.
    #[error("control message of {0} bytes, at most {MESSAGE_LIMIT} allowed")]
    TooLong(usize),
    /// Not JSON, or a known type without its fields.
    #[error("control message can't be read: {0}")]
    Malformed(#[from] serde_json::Error),
}

/// Reads control messages, no faster than a peer has something to say: those of one that
/// floods wait on the wire, and cost nobody else anything.
#[derive(Debug)]
pub struct Receiver {
    stream: RecvStream,
    since: Instant,
    messages: Allowance,
    bytes: Allowance,
}

impl Receiver {
    /// Reads from this stream.
    pub(super) fn new(stream: RecvStream) -> Self {
        Self {
            stream,
            since: Instant::now(),
            messages: Allowance::new(MESSAGES.0, MESSAGES.1),
            bytes: Allowance::new(BYTES.0, BYTES.1),
        }
    }

    /// The next frame's bytes, empty ones too. Not cancel-safe.
    pub(super) async fn frame(&mut self) -> Result<Vec<u8>, ReadError> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).await?;
        let charge = u32::from_be_bytes(length);
        let length = usize::try_from(charge).unwrap_or(usize::MAX);
        if length > MESSAGE_LIMIT {
            return Err(ReadError::TooLong(length));
        }
        let now = self.since.elapsed();
        let wait = self.messages.charge(1, now);
        let wait = wait.max(self.bytes.charge(charge, now));
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        let mut bytes = vec![0; length];
        self.stream.read_exact(&mut bytes).await?;
        Ok(bytes)
    }

    /// The next message; types this version does not know come as their
    /// `Unknown`. Not cancel-safe.
    pub(super) async fn message<M: DeserializeOwned>(&mut self) -> Result<M, ReadError> {
        loop {
            let frame = self.frame().await?;
            if !frame.is_empty() {
                return Ok(serde_json::from_slice(&frame)?);
            }
        }
    }
}

/// The empty frame that opens the stream, and answers its opening.
pub(super) const OPENING: [u8; 4] = [0; 4];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_its_length_before_it() {
        let bytes = frame(&serde_json::json!({"type": "time", "echo": 1})).unwrap();
        assert_eq!(bytes[..4], [0, 0, 0, 24]);
        assert_eq!(&bytes[4..], br#"{"echo":1,"type":"time"}"#);
    }

    #[test]
    fn a_message_over_its_limit_is_not_sent() {
        assert!(frame(&"x".repeat(MESSAGE_LIMIT)).is_none());
        assert!(frame(&"x".repeat(MESSAGE_LIMIT - 2)).is_some());
    }
}
