//! A connection between the two ends, and why it is over. It is QUIC's, over UDP or,
//! where that does not get through, through a tunnel ([`super::tunnel`]); all but its name
//! is the same.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use rustls::pki_types::CertificateDer;

use super::exchange::Agreed;
use super::stats::Snapshot;
use super::tunnel::Tunnel;
use super::{endpoint, window};
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

/// A connection to a peer whose certificate was verified. Cheap to clone; it
/// closes with its last clone and stream.
#[derive(Clone, Debug)]
pub struct Connection {
    quic: quinn::Connection,
    tunnel: Option<Arc<Tunnel>>,
}

impl From<quinn::Connection> for Connection {
    fn from(quic: quinn::Connection) -> Self {
        Self { quic, tunnel: None }
    }
}

impl std::ops::Deref for Connection {
    type Target = quinn::Connection;

    fn deref(&self) -> &quinn::Connection {
        &self.quic
    }
}

impl Connection {
    /// One through a tunnel.
    pub(super) const fn tunnelled(quic: quinn::Connection, tunnel: Arc<Tunnel>) -> Self {
        Self {
            quic,
            tunnel: Some(tunnel),
        }
    }

    /// What carries it.
    pub const fn transport(&self) -> Transport {
        match self.tunnel {
            None => Transport::Quic,
            Some(_) => Transport::Tcp,
        }
    }

    /// Its figures now.
    pub fn stats(&self) -> Snapshot {
        let mut snapshot = Snapshot::of(&self.quic);
        if let Some(tunnel) = &self.tunnel {
            // Losses are the kernel's, and so is the size of packets.
            snapshot.lost = 0;
            snapshot.mtu = 0;
            snapshot.sends = 0;
            snapshot.sent_bytes = tunnel.sent_bytes();
        }
        snapshot
    }

    /// The peer's certificates, leaf first.
    pub fn certificates(&self) -> Vec<CertificateDer<'static>> {
        self.quic
            .peer_identity()
            .and_then(|identity| identity.downcast::<Vec<CertificateDer<'static>>>().ok())
            .map_or_else(Vec::new, |chain| *chain)
    }

    /// The key exchange that was negotiated, such as `X25519MLKEM768`; empty
    /// where the connection does not say.
    pub fn key_exchange(&self) -> String {
        self.quic
            .handshake_data()
            .and_then(|data| data.downcast::<Agreed>().ok())
            .map(|agreed| format!("{:?}", agreed.0))
            .unwrap_or_default()
    }

    /// Closes it at once, telling the peer why; what is queued is thrown away.
    pub fn close(&self, reason: Reason, text: &str) {
        // quinn would forget why it was closed before.
        if self.quic.close_reason().is_some() {
            return;
        }
        window::open_for_close(self.quic.congestion_state());
        self.quic.close(reason.number().into(), text.as_bytes());
    }

    /// Sends something that the peer acknowledges, whatever is under way and unanswered.
    pub(super) fn probe(&self) {
        window::open_for_probe(self.quic.congestion_state(), Instant::now());
        // A peer of an older version takes no datagrams: QUIC's own probes must do.
        let _ = self.quic.send_datagram(Bytes::from_static(endpoint::PROBE));
    }

    /// Why it is over, if it is.
    pub fn close_reason(&self) -> Option<Closed> {
        self.quic.close_reason().map(Closed::from)
    }

    /// Waits until it is over, or can't go on: it is to be closed then.
    pub async fn closed(&self) -> Closed {
        let lost = async {
            match &self.tunnel {
                Some(tunnel) => tunnel.over().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // What the peer said last says more than that it hung up then.
            biased;
            error = self.quic.closed() => error.into(),
            cause = lost => Closed::Failed(cause),
        }
    }
}
