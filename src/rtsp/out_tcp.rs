//! What goes out through the RTSP connection: answers, and RTP interleaved with them.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// Send buffer asked of the kernel, in bytes; Linux grants twice that, with its own
/// overhead in it: about two key frames. More, and the kernel holds seconds of late
/// video that nobody can drop.
pub(super) const SEND_BUFFER: usize = 256 * 1024;

/// How much is read at once, in bytes.
const READ_STEP: usize = 4 * 1024;

/// Bytes on their way out, in order. Bounded by its user: pictures are added only
/// when it is empty, answers only below a limit.
#[derive(Debug)]
pub(super) struct Output {
    queue: VecDeque<Bytes>,
    bytes: usize,
    /// Something was written that may still stand in TLS's buffer.
    unflushed: bool,
    /// When the queue was last empty or moved.
    progress: Instant,
}

/// What happened on the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Io {
    /// Bytes were read; 0: the peer has closed its side.
    Read(usize),
    /// Everything queued is written.
    Written,
}

impl Output {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            queue: VecDeque::new(),
            bytes: 0,
            unflushed: false,
            progress: now,
        }
    }

    pub(super) fn push(&mut self, bytes: Bytes, now: Instant) {
        if self.queue.is_empty() {
            self.progress = now;
        }
        if !bytes.is_empty() {
            self.bytes += bytes.len();
            self.queue.push_back(bytes);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty() && !self.unflushed
    }

    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// How long the peer has taken nothing of what waits for it.
    pub(super) fn stalled_for(&self, now: Instant) -> Duration {
        if self.is_empty() {
            Duration::ZERO
        } else {
            now.saturating_duration_since(self.progress)
        }
    }

    fn poll_write<S: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while let Some(front) = self.queue.front_mut() {
            let written = ready!(Pin::new(&mut *stream).poll_write(context, front))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.progress = Instant::now();
            self.unflushed = true;
            self.bytes -= written;
            front.advance(written);
            if front.is_empty() {
                self.queue.pop_front();
            }
        }
        ready!(Pin::new(stream).poll_flush(context))?;
        self.unflushed = false;
        Poll::Ready(Ok(()))
    }
}

/// Writes what is queued and, up to `limit` bytes in `input`, reads; returns at
/// the first of both that is done. Cancel-safe.
pub(super) async fn drive<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    input: &mut BytesMut,
    limit: usize,
    output: &mut Output,
) -> io::Result<Io> {
    poll_fn(|context| {
        if !output.is_empty() && output.poll_write(stream, context)?.is_ready() {
            return Poll::Ready(Ok(Io::Written));
        }
        if input.len() >= limit {
            return Poll::Pending;
        }
        poll_read(stream, input, context)
    })
    .await
}

fn poll_read<S: AsyncRead + Unpin>(
    stream: &mut S,
    input: &mut BytesMut,
    context: &mut Context<'_>,
) -> Poll<io::Result<Io>> {
    let mut space = [0; READ_STEP];
    let mut buffer = ReadBuf::new(&mut space);
    ready!(Pin::new(stream).poll_read(context, &mut buffer))?;
    input.extend_from_slice(buffer.filled());
    Poll::Ready(Ok(Io::Read(buffer.filled().len())))
}
