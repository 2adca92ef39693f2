//! The link over TCP with TLS 1.3, ALPN `fanal/1-tcp`, for networks that let no
//! UDP out: the same certificates, checks, streams and messages as over QUIC.
//!
//! [`record`] has the bytes, [`mux`] the decisions, [`driver`] moves bytes
//! between them and the socket, [`socket`] makes both ends. What is here are the
//! handles: they lock the [`mux::Mux`] for moments and wake the driver.
//!
//! One lost packet holds up every stream of a TCP connection, which is why it is
//! the fall-back. What can be kept of promise 7 is: no more is on its way than the
//! path holds, little waits in the kernel unsent, a record is made only when the
//! socket takes it, and what was reset is not sent.

mod driver;
mod mux;
mod record;
pub mod socket;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustls::pki_types::CertificateDer;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use self::mux::{CONTROL, Event, Mux, Read, Refused, Role};
use super::congestion::Known;
use super::stats::Snapshot;
use super::transport::{self, Closed, ReadError, WriteError};
use crate::media::wire::ABANDONED;

/// What a receiver says to a stream that nobody reads on.
const UNREAD: u32 = 0;

/// A connection: a handle, cheap to clone. It closes with its last clone and
/// stream.
#[derive(Clone, Debug)]
pub struct Connection(Arc<Handle>);

#[derive(Debug)]
struct Handle(Arc<Shared>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.act(|mux| mux.close(0, ""));
    }
}

/// What was found out about the peer at the handshake.
#[derive(Clone, Debug)]
struct Peer {
    address: SocketAddr,
    certificates: Vec<CertificateDer<'static>>,
    key_exchange: String,
}

/// Bytes and calls, for the metrics.
#[derive(Debug, Default)]
struct Counts {
    sent_bytes: AtomicU64,
    received_bytes: AtomicU64,
}

#[derive(Debug)]
struct Shared {
    inner: Mutex<Inner>,
    peer: Peer,
    counts: Counts,
    known: Arc<Known>,
    /// Told when a stream may be opened, and when the peer opened one.
    openable: Notify,
    incoming: Notify,
    over: CancellationToken,
}

#[derive(Debug)]
struct Inner {
    mux: Mux,
    driver: Option<Waker>,
    /// The socket takes nothing now: more to send is no news.
    blocked: bool,
    readers: BTreeMap<u64, Waker>,
    writers: BTreeMap<u64, Waker>,
}

impl Shared {
    fn new(role: Role, peer: Peer) -> Self {
        Self {
            inner: Mutex::new(Inner {
                mux: Mux::new(role, Instant::now()),
                driver: None,
                blocked: false,
                readers: BTreeMap::new(),
                writers: BTreeMap::new(),
            }),
            peer,
            counts: Counts::default(),
            known: Arc::default(),
            openable: Notify::new(),
            incoming: Notify::new(),
            over: CancellationToken::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with the mux, and wakes whoever can go on because of it.
    fn act<T>(&self, action: impl FnOnce(&mut Mux) -> T) -> T {
        self.act_inner(|inner| action(&mut inner.mux))
    }

    fn act_inner<T>(&self, action: impl FnOnce(&mut Inner) -> T) -> T {
        let mut inner = self.lock();
        let result = action(&mut inner);
        let mut wakers = Vec::new();
        for event in inner.mux.take_events() {
            match event {
                Event::Readable(id) => wakers.extend(inner.readers.remove(&id)),
                Event::Writable(id) => wakers.extend(inner.writers.remove(&id)),
                Event::Incoming => self.incoming.notify_one(),
                Event::Openable => self.openable.notify_waiters(),
                Event::Closed => {
                    wakers.extend(std::mem::take(&mut inner.readers).into_values());
                    wakers.extend(std::mem::take(&mut inner.writers).into_values());
                    wakers.extend(inner.driver.take());
                    self.over.cancel();
                    self.openable.notify_waiters();
                    self.incoming.notify_one();
                }
            }
        }
        if !inner.blocked && inner.driver.is_some() && inner.mux.has_something() {
            wakers.extend(inner.driver.take());
        }
        drop(inner);
        for waker in wakers {
            waker.wake();
        }
        result
    }

    fn closed(&self) -> Option<Closed> {
        self.lock().mux.closed().cloned()
    }

    /// Why it is over; said where it must be.
    fn end(&self) -> Closed {
        self.closed().unwrap_or(Closed::Here)
    }
}

impl Connection {
    /// A connection and the task that moves its bytes over `stream`, which has
    /// its handshake behind it. The task ends with the connection.
    fn new<S>(role: Role, peer: Peer, stream: S) -> (Self, impl Future<Output = ()> + Send)
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send,
    {
        let shared = Arc::new(Shared::new(role, peer));
        let connection = Self(Arc::new(Handle(Arc::clone(&shared))));
        (connection, driver::drive(shared, stream))
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.0.0
    }

    /// The peer's address.
    pub fn remote_address(&self) -> SocketAddr {
        self.shared().peer.address
    }

    /// The peer's certificates, leaf first.
    pub fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.shared().peer.certificates
    }

    /// The key exchange that was negotiated.
    pub fn key_exchange(&self) -> &str {
        &self.shared().peer.key_exchange
    }

    /// The round trip, smoothed, with what waits in the kernel; zero until it was
    /// measured.
    pub fn rtt(&self) -> Duration {
        self.shared().lock().mux.rtt()
    }

    /// What is known of the path, as it becomes known.
    pub(super) fn known(&self) -> &Arc<Known> {
        &self.shared().known
    }

    /// Its figures now. What the kernel alone knows (window, packets lost) is 0.
    pub fn stats(&self) -> Snapshot {
        let counts = &self.shared().counts;
        let (asked, answered) = self.shared().lock().mux.asked();
        Snapshot {
            rtt: self.rtt(),
            window: 0,
            mtu: 0,
            lost: 0,
            datagrams: 0,
            sends: 0,
            sent_bytes: counts.sent_bytes.load(Ordering::Relaxed),
            received_datagrams: 0,
            received_bytes: counts.received_bytes.load(Ordering::Relaxed),
            asked,
            answered,
        }
    }

    /// Asks the peer for an answer: the kernel sends it when it thinks fit.
    pub(super) fn ask(&self) {
        self.shared().act(Mux::ask);
    }

    /// Closes it at once, telling the peer why.
    pub fn close(&self, code: u32, text: &str) {
        self.shared().act(|mux| mux.close(code, text));
    }

    /// Why it is over, if it is.
    pub fn close_reason(&self) -> Option<Closed> {
        self.shared().closed()
    }

    /// Waits until it is over.
    pub async fn closed(&self) -> Closed {
        self.shared().over.cancelled().await;
        self.shared().end()
    }

    /// Both ends of the control stream; to be taken once.
    pub(super) fn control(&self) -> (transport::SendStream, transport::RecvStream) {
        let send = SendStream {
            connection: self.clone(),
            id: CONTROL,
        };
        let receive = RecvStream::new(self.clone(), CONTROL);
        (
            transport::SendStream::Tcp(send),
            transport::RecvStream::Tcp(receive),
        )
    }

    /// Opens a stream, once the peer allows one more.
    pub async fn open_uni(&self) -> Result<SendStream, Closed> {
        loop {
            let more = self.shared().openable.notified();
            if let Some(closed) = self.close_reason() {
                return Err(closed);
            }
            if let Some(id) = self.shared().act(Mux::open) {
                return Ok(SendStream {
                    connection: self.clone(),
                    id,
                });
            }
            more.await;
        }
    }

    /// The next stream that the peer opens. One caller at a time.
    pub async fn accept_uni(&self) -> Result<RecvStream, Closed> {
        loop {
            if let Some(closed) = self.close_reason() {
                return Err(closed);
            }
            if let Some(id) = self.shared().act(Mux::accept) {
                return Ok(RecvStream::new(self.clone(), id));
            }
            self.shared().incoming.notified().await;
        }
    }

    /// How many streams the peer may have open at once.
    pub fn set_max_concurrent_uni_streams(&self, count: u32) {
        self.shared().act(|mux| mux.set_concurrent(count));
    }
}

/// The sending end of a stream. Dropped before it is finished, it is reset.
#[derive(Debug)]
pub struct SendStream {
    connection: Connection,
    id: u64,
}

impl SendStream {
    /// Changes its priority: larger numbers go first, at once.
    pub fn set_priority(&self, priority: i32) {
        let shared = self.connection.shared();
        shared.act(|mux| mux.set_priority(self.id, priority));
    }

    /// Hands chunks over without copying; ready once some bytes went.
    pub(super) fn poll_write_chunks(
        &mut self,
        cx: &mut Context<'_>,
        chunks: &mut [Bytes],
    ) -> Poll<Result<(), WriteError>> {
        let shared = self.connection.shared();
        shared.act_inner(|inner| {
            if let Some(closed) = inner.mux.closed() {
                return Poll::Ready(Err(WriteError::Lost(closed.clone())));
            }
            match inner.mux.write(self.id, chunks) {
                Ok(0) if chunks.iter().any(|chunk| !chunk.is_empty()) => {
                    inner.writers.insert(self.id, cx.waker().clone());
                    Poll::Pending
                }
                Ok(_) => Poll::Ready(Ok(())),
                Err(Refused::Stopped(code)) => Poll::Ready(Err(WriteError::Stopped(code.into()))),
                Err(Refused::Over) => Poll::Ready(Err(WriteError::Over)),
            }
        })
    }

    /// No more follows.
    pub fn finish(&mut self) {
        self.connection.shared().act(|mux| mux.finish(self.id));
    }

    /// Gives it up; says whether it was not over yet.
    pub fn reset(&mut self, code: u32) -> bool {
        let shared = self.connection.shared();
        shared.act(|mux| mux.reset(self.id, code))
    }
}

impl Drop for SendStream {
    fn drop(&mut self) {
        self.connection.shared().act_inner(|inner| {
            inner.writers.remove(&self.id);
            inner.mux.abandon(self.id, ABANDONED);
        });
    }
}

/// The receiving end of a stream. Dropped before its end, it is stopped.
#[derive(Debug)]
pub struct RecvStream {
    connection: Connection,
    id: u64,
    /// Read, and not wanted yet.
    rest: Bytes,
}

impl RecvStream {
    const fn new(connection: Connection, id: u64) -> Self {
        Self {
            connection,
            id,
            rest: Bytes::new(),
        }
    }

    /// What was left, or what has come.
    async fn more(&mut self) -> Result<Option<Bytes>, ReadError> {
        if self.rest.is_empty() {
            std::future::poll_fn(|cx| self.poll_read(cx)).await
        } else {
            Ok(Some(std::mem::take(&mut self.rest)))
        }
    }

    /// Fills the buffer. Not cancel-safe.
    pub(super) async fn read_exact(&mut self, mut buffer: &mut [u8]) -> Result<(), ReadError> {
        while !buffer.is_empty() {
            let Some(mut bytes) = self.more().await? else {
                return Err(ReadError::Short);
            };
            let piece = bytes.split_to(bytes.len().min(buffer.len()));
            let (now, later) = buffer.split_at_mut(piece.len());
            now.copy_from_slice(&piece);
            buffer = later;
            self.rest = bytes;
        }
        Ok(())
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, ReadError>> {
        let shared = self.connection.shared();
        shared.act_inner(|inner| {
            if let Some(closed) = inner.mux.closed() {
                return Poll::Ready(Err(ReadError::Lost(closed.clone())));
            }
            match inner.mux.read(self.id) {
                Read::Bytes(bytes) => Poll::Ready(Ok(Some(bytes))),
                Read::End => Poll::Ready(Ok(None)),
                Read::Reset(code) => Poll::Ready(Err(ReadError::Reset(code.into()))),
                Read::Over => Poll::Ready(Err(ReadError::Over)),
                Read::Blocked => {
                    inner.readers.insert(self.id, cx.waker().clone());
                    Poll::Pending
                }
            }
        })
    }

    /// All that has come, as one chunk; `None` at the end.
    pub(super) async fn read_chunks(
        &mut self,
        chunks: &mut [Bytes],
    ) -> Result<Option<usize>, ReadError> {
        let Some(first) = chunks.first_mut() else {
            return Ok(Some(0));
        };
        match self.more().await? {
            Some(bytes) => {
                *first = bytes;
                Ok(Some(1))
            }
            None => Ok(None),
        }
    }

    /// Tells the sender to stop, and why.
    pub fn stop(&mut self, code: u32) {
        self.connection.shared().act(|mux| mux.stop(self.id, code));
    }
}

impl Drop for RecvStream {
    fn drop(&mut self) {
        self.connection.shared().act_inner(|inner| {
            inner.readers.remove(&self.id);
            inner.mux.stop(self.id, UNREAD);
        });
    }
}
