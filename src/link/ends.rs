//! The two who use a link, as far as it must know them: who gives it groups of pictures
//! (the gateway's relays) and who takes them from it (the receiver's hub).

use std::fmt::Debug;
use std::pin::Pin;
use std::time::Duration;

use quinn::RecvStream;

use super::Link;
use crate::clock::Boot;
use crate::format::ids::CommuneId;

/// Gives groups to one link, and is told when it may. Must not block.
pub trait GivesGroups: Send + Sync + Debug {
    /// No control message waits for room any more: pictures may go on.
    fn go_on(&self);
    /// The peer is heard again after a silence.
    fn heard_again(&self);
    /// Whether pictures waited for the link within this time.
    fn waited(&self, now: Boot, within: Duration) -> bool;
}

/// Takes the groups of all links. Called on the frames runtime; must not block.
pub trait TakesGroups: Send + Sync + Debug {
    /// The commune has a new link.
    fn link_up(&self, commune: &CommuneId, link: &Link);
    /// A link of the commune is gone; a newer one may be up already.
    fn link_down(&self, commune: &CommuneId);
    /// Takes the group of one unidirectional stream; a task for each stream runs it.
    /// `clock_offset_us`: the gateway's clock minus ours, in microseconds.
    fn take_group(
        &self,
        commune: CommuneId,
        stream: RecvStream,
        clock_offset_us: i64,
    ) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}
