//! The RTSP server (RFC 2326): the receiver's output, and the simulator's
//! cameras. [`session`] decides (pure), the rest moves bytes.
//!
//! Who uses it implements [`Library`]: who may see what, and where the frames
//! come from.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use self::transport::Transport;
use crate::media::source::Source;
use crate::media::unit::Codec;
use crate::reason::Reason;
use crate::secret::Secret;

mod admission;
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
pub mod splice;
pub mod transport;

/// Who may see what: asked by the server for each DESCRIBE, SETUP and PLAY.
pub trait Library: Send + Sync + 'static {
    /// The password of this user, so that the server can check the Digest. `None`:
    /// there can be no such user at this address; the server goes through the same
    /// motions and answers 401. What the user may see is for [`Library::open`] to say.
    fn password(&self, user: &str, from: IpAddr) -> Option<Secret>;

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
    /// The codec that was described to the player, if one was: it can show no other.
    pub described: Option<Codec>,
}

/// Why a picture can't be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// The user may see nothing, or nothing any more: 401, as without credentials.
    Unauthorized,
    /// There is no such picture: 404.
    NotFound,
    /// What the user might see has ended, for this reason: 403.
    Ended(Reason),
    /// The picture does not come, for this reason; its status is the reason's.
    Refused(Reason),
}
