//! The link: QUIC v1 (ALPN `fanal/1`) with mutual TLS 1.3 between a gateway and
//! a receiver. The gateway dials out. One bidirectional control stream, one
//! unidirectional stream per group of pictures.
//!
//! All of it runs on the *frames* runtime; the control plane sends commands and
//! gets [`Event`]s over bounded channels.

pub mod accept;
pub mod control;
pub mod dial;
pub mod endpoint;
pub mod group;
pub mod priority;
pub mod relay;
mod session;
pub mod stats;
pub mod tls;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// What a link tells the control plane. `M` is what the peer sends.
#[derive(Debug)]
pub enum Event<M> {
    /// A link to this peer is up; an older one, if any, is gone.
    Up {
        /// The peer's pinned name.
        peer: String,
        /// +1 for each link of this process: tells old events from new.
        session: u64,
        /// The link.
        link: Link,
    },
    /// The peer sent a control message.
    Message {
        /// The peer's name.
        peer: String,
        /// Which link.
        session: u64,
        /// The message.
        message: M,
    },
    /// The link is down.
    Down {
        /// The peer's name.
        peer: String,
        /// Which link.
        session: u64,
        /// Why, for people.
        cause: String,
    },
}

/// A live link: a handle, cheap to clone, usable from any thread.
#[derive(Clone, Debug)]
pub struct Link {
    pub(crate) connection: quinn::Connection,
    pub(crate) control: control::Sender,
    clock_offset: Arc<AtomicI64>,
}

impl Link {
    fn new(connection: quinn::Connection) -> Self {
        Self {
            control: control::Sender::new(connection.clone()),
            connection,
            clock_offset: Arc::default(),
        }
    }

    /// The peer's clock minus ours, in microseconds, as last measured; 0 until
    /// it is. Told, never followed.
    pub fn clock_offset_us(&self) -> i64 {
        self.clock_offset.load(Ordering::Relaxed)
    }

    fn set_clock_offset(&self, offset_us: i64) {
        self.clock_offset.store(offset_us, Ordering::Relaxed);
    }

    /// What QUIC knows of the link now.
    pub fn stats(&self) -> stats::Snapshot {
        stats::Snapshot::of(&self.connection)
    }

    /// The key exchange that was negotiated, such as `X25519MLKEM768`.
    pub fn key_exchange(&self) -> String {
        stats::key_exchange(&self.connection)
    }

    /// Where the peer is.
    pub fn peer_address(&self) -> std::net::SocketAddr {
        self.connection.remote_address()
    }

    /// Queues a control message; the queue is bounded in bytes, and a peer that
    /// lets it fill loses its link (`protocol_error`).
    pub fn send<M: serde::Serialize>(&self, message: &M) {
        self.control.send(message);
    }

    /// Round-trip time now.
    pub fn rtt(&self) -> Duration {
        self.connection.rtt()
    }

    /// Bytes per second that the path gave while it was the limit; `None` until
    /// that was seen. It says nothing of a path that was never full.
    pub fn capacity(&self) -> Option<u64> {
        None
    }

    /// Closes the link, telling the peer why.
    pub fn close(&self, reason: crate::reason::Reason) {
        self.connection
            .close(reason.number().into(), reason.code().as_bytes());
    }
}
