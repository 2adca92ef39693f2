//! Where viewers get a camera's pictures: a [`Source`] for each camera, a bounded queue
//! ([`Subscription`]) for each viewer, whether it speaks RTSP or is a browser.

use std::sync::Arc;

use super::packets::Packetised;
use super::unit::{AccessUnit, Configuration};
use crate::clock::Wall;
use crate::reason::Reason;

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
        /// Packets of the picture, made once for all viewers; see [`Packetised`].
        packets: Arc<Packetised>,
        /// Part of the kept group at joining: its time stamps are compressed.
        kept: bool,
    },
    /// Pictures were left out because this viewer was slow; a key frame follows.
    Skipped,
    /// The picture ends, for good: the grant ended, the codec changed, the daemon stops.
    End(Reason),
}
