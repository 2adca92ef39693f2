//! The RTSP server (RFC 2326): the receiver's output, and the simulator's
//! cameras. [`session`] decides (pure), the rest moves bytes.
//!
//! Who uses it implements [`Library`]: who may see what, and where the frames
//! come from.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::media::unit::{AccessUnit, Configuration};
use crate::reason::Reason;
use crate::secret::Secret;

pub mod auth;
mod connection;
pub mod message;
mod out_tcp;
mod out_udp;
pub mod rtcp;
pub mod rtp;
pub mod sdp;
pub mod server;
pub mod session;

/// Who may see what: asked by the server for each DESCRIBE and SETUP.
pub trait Library: Send + Sync + 'static {
    /// The password of this user for this path (`commune/camera`), so that the
    /// server can check the Digest. `None`: no such user; the server goes through
    /// the same motions and answers 401.
    fn password(&self, user: &str, path: &str) -> Option<Secret>;

    /// Whether anybody may play without credentials (the simulator's cameras).
    fn is_open(&self) -> bool {
        false
    }

    /// Opens the picture for this user: waits until the first configuration is
    /// known, at most some seconds (players give up after 5 to 10).
    ///
    /// `viewer` is dropped by the server when the viewer goes away.
    fn open(&self, request: OpenRequest) -> Opening<'_>;
}

/// A picture being opened.
pub type Opening<'l> =
    std::pin::Pin<Box<dyn Future<Output = Result<Arc<dyn Source>, OpenError>> + Send + 'l>>;

/// Who asks for what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenRequest {
    /// The user, already authenticated; empty where the library is open.
    pub user: String,
    /// The path of the URL without its first `/`: `commune/camera`.
    pub path: String,
    /// Where the player is.
    pub peer: SocketAddr,
    /// `User-Agent`, bounded; empty where absent.
    pub user_agent: String,
}

/// Why a picture can't be opened: a reason and the RTSP status it maps to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenError {
    /// 401, 403, 404, 453, 503.
    pub status: u16,
    /// The stable code, sent as `X-Reason`; `None` for a plain 404.
    pub reason: Option<Reason>,
}

/// One camera's pictures, shared by all its viewers.
pub trait Source: Send + Sync + std::fmt::Debug + 'static {
    /// What a decoder needs now.
    fn configuration(&self) -> Arc<Configuration>;

    /// Joins: the subscription starts with the kept group, if there is one, and
    /// goes on with what comes.
    fn subscribe(&self) -> Box<dyn Subscription>;
}

/// A viewer's end of a bounded queue. Dropping it ends the viewing.
pub trait Subscription: Send + std::fmt::Debug {
    /// The next event; cancel-safe. After [`Event::End`] it is not called again.
    fn next(&mut self) -> std::pin::Pin<Box<dyn Future<Output = Event> + Send + '_>>;

    /// Takes another event that is there already, without waiting.
    fn try_next(&mut self) -> Option<Event>;
}

/// What a subscription delivers.
#[derive(Clone, Debug)]
pub enum Event {
    /// The next picture. A key frame comes first, and first after each skip.
    Unit {
        /// The picture.
        unit: Arc<AccessUnit>,
        /// Packets of the picture, made once for all viewers; see [`rtp::Packetised`].
        packets: Arc<rtp::Packetised>,
        /// Part of the kept group at joining: its time stamps are compressed.
        kept: bool,
    },
    /// Pictures were left out because this viewer was slow; a key frame follows.
    Skipped,
    /// The picture ends, for good: the grant ended, the codec changed, the daemon stops.
    End(Reason),
}
