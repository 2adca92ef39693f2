//! The RTSP server (RFC 2326): the receiver's output, and the simulator's
//! cameras. [`session`] decides (pure), the rest moves bytes.
//!
//! Who uses it implements [`Library`]: who may see what, and where the frames
//! come from.

use std::net::SocketAddr;
use std::sync::Arc;

use self::transport::Transport;
use crate::clock::Wall;
use crate::media::unit::{AccessUnit, Configuration};
use crate::reason::Reason;
use crate::secret::Secret;

mod admission;
pub mod attempts;
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
mod splice;
pub mod transport;

/// Who may see what: asked by the server for each DESCRIBE, SETUP and PLAY.
pub trait Library: Send + Sync + 'static {
    /// The password of this user, so that the server can check the Digest. `None`:
    /// there can be no such user; the server goes through the same motions and
    /// answers 401. What the user may see is for [`Library::open`] to say.
    fn password(&self, user: &str) -> Option<Secret>;

    /// Whether anybody may play without credentials (the simulator's cameras).
    fn is_open(&self) -> bool {
        false
    }

    /// Opens the picture for this user: waits until one comes, at most some seconds
    /// (players give up after 5 to 10). Asked again at PLAY, for the camera may have
    /// gone since DESCRIBE.
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
    /// How the pictures go to the player: known at PLAY.
    pub transport: Option<Transport>,
}

/// Why a picture can't be opened: a reason and the RTSP status it maps to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenError {
    /// 403, 404, 453, 503.
    pub status: u16,
    /// The stable code, sent as `X-Reason`; `None` for a plain 404.
    pub reason: Option<Reason>,
}

/// One camera's pictures, shared by all its viewers.
pub trait Source: Send + Sync + std::fmt::Debug + 'static {
    /// What a decoder needs now.
    fn configuration(&self) -> Arc<Configuration>;

    /// Pictures in a second, where that is known.
    fn frame_rate(&self) -> Option<f64> {
        None
    }

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

    /// The camera's clock: its newest picture, whether delivered yet or not. `None`
    /// where it has given none.
    fn sampled(&self) -> Option<Sampled>;
}

/// Ties a stream's RTP time to the wall clock, for sender reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampled {
    /// The stream's synchronisation source.
    pub ssrc: u32,
    /// RTP time of a picture, 90 kHz.
    pub timestamp: u32,
    /// When the same picture was taken, by this machine's clock.
    pub at: Wall,
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
