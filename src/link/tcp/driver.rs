//! Moves a connection's bytes between its mux and its socket.
//!
//! A batch of records is made only once TLS has handed all of the one before to
//! the kernel, which takes no more while [`super::socket`]'s bound of unsent
//! bytes is reached. So what is late can be dropped until shortly before it leaves.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::Shared;
use super::record::BATCH;

/// Reads in a row before others have their turn.
const READS: usize = 32;
/// How long the last word may take to leave, and the peer to hang up.
const LINGER: Duration = Duration::from_secs(1);
/// What TLS 1.3 adds to a record: header, type and tag.
const TLS_OVERHEAD: u64 = 22;

struct Driver<S> {
    shared: Arc<Shared>,
    stream: S,
    input: Box<[u8]>,
    /// The batch under way, and how much of it TLS has taken.
    out: Vec<u8>,
    taken: usize,
    timer: Option<Pin<Box<Sleep>>>,
    /// Set once the connection is over: when to stop waiting.
    until: Option<Instant>,
    is_shut: bool,
}

/// Serves a connection until it is over.
pub(super) async fn drive<S>(shared: Arc<Shared>, stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let mut driver = Driver {
        shared,
        stream,
        input: vec![0; BATCH].into_boxed_slice(),
        out: Vec::new(),
        taken: 0,
        timer: None,
        until: None,
        is_shut: false,
    };
    std::future::poll_fn(|cx| driver.poll(cx)).await;
}

impl<S: AsyncRead + AsyncWrite + Unpin> Driver<S> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let now = Instant::now();
            self.shared.act(|mux| mux.handle_time(now));
            let is_open = self.shared.closed().is_none();
            if is_open {
                self.receive(cx, now);
            }
            let blocked = match self.transmit(cx, now) {
                Poll::Pending => true,
                Poll::Ready(Ok(())) => false,
                Poll::Ready(Err(error)) => {
                    self.shared.act(|mux| mux.lost(format!("TCP: {error}")));
                    return Poll::Ready(());
                }
            };
            if self.shared.closed().is_some() {
                if is_open {
                    // Once more: there may be a last word to say.
                    self.until = Some(now + LINGER);
                    continue;
                }
                let until = *self.until.get_or_insert(now + LINGER);
                if now >= until || (!blocked && self.part(cx).is_ready()) {
                    return Poll::Ready(());
                }
            }
            let deadline = {
                let mut inner = self.shared.lock();
                inner.mux.tell(&self.shared.known);
                inner.driver = Some(cx.waker().clone());
                inner.blocked = blocked;
                if !blocked && inner.mux.has_something() {
                    inner.driver = None;
                    continue;
                }
                self.until.or_else(|| inner.mux.deadline())
            };
            if self.wait(cx, deadline).is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// Takes what the socket has.
    fn receive(&mut self, cx: &mut Context<'_>, now: Instant) {
        for _ in 0..READS {
            let mut buffer = ReadBuf::new(&mut self.input);
            match Pin::new(&mut self.stream).poll_read(cx, &mut buffer) {
                Poll::Pending => return,
                Poll::Ready(Ok(())) if buffer.filled().is_empty() => {
                    let cause = "TCP: the peer hung up".to_owned();
                    self.shared.act(|mux| mux.lost(cause));
                    return;
                }
                Poll::Ready(Ok(())) => {
                    let bytes = buffer.filled();
                    let count = bytes.len() as u64 + TLS_OVERHEAD;
                    let received = &self.shared.counts.received_bytes;
                    received.fetch_add(count, Ordering::Relaxed);
                    self.shared.act(|mux| mux.handle_bytes(bytes, now));
                }
                Poll::Ready(Err(error)) => {
                    self.shared.act(|mux| mux.lost(format!("TCP: {error}")));
                    return;
                }
            }
        }
        cx.waker().wake_by_ref();
    }

    /// Sends until there is nothing more to say, or the socket takes no more.
    fn transmit(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<std::io::Result<()>> {
        loop {
            while self.taken < self.out.len() {
                let rest = &self.out[self.taken..];
                self.taken += ready!(Pin::new(&mut self.stream).poll_write(cx, rest))?;
            }
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.out.clear();
            self.taken = 0;
            let Self { shared, out, .. } = self;
            shared.act(|mux| mux.transmit(out, now));
            if self.out.is_empty() {
                // An idle link keeps no buffer.
                self.out = Vec::new();
                return Poll::Ready(Ok(()));
            }
            let count = self.out.len() as u64 + TLS_OVERHEAD;
            let sent = &self.shared.counts.sent_bytes;
            sent.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// Hangs up, and waits for the peer to: closing a socket that has unread
    /// bytes would take back the last word.
    fn part(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.is_shut {
            match ready!(Pin::new(&mut self.stream).poll_shutdown(cx)) {
                Ok(()) => self.is_shut = true,
                Err(_) => return Poll::Ready(()),
            }
        }
        loop {
            let mut buffer = ReadBuf::new(&mut self.input);
            match ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => {}
                _ => return Poll::Ready(()),
            }
        }
    }

    /// Waits for a deadline. A timer that comes too early is kept: most
    /// deadlines move on before they are reached.
    fn wait(&mut self, cx: &mut Context<'_>, deadline: Option<Instant>) -> Poll<()> {
        let Some(deadline) = deadline else {
            self.timer = None;
            return Poll::Pending;
        };
        let deadline = tokio::time::Instant::from_std(deadline);
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if timer.is_elapsed() || timer.deadline() > deadline {
            timer.as_mut().reset(deadline);
        }
        timer.as_mut().poll(cx)
    }
}
