//! The relays of one link, taking turns: [`crate::media::turns`] decides, this wakes
//! whose turn it is.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::task::AtomicWaker;

use crate::clock::Boot;
use crate::link::{GivesGroups, Link};
use crate::media::relay::{Class, RelayId};
use crate::media::turns::{Standing, Turns};

/// A link and the turns that its relays take on it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct SharedLink {
    /// The link.
    pub link: Link,
    pub(super) turns: Arc<LinkTurns>,
}

impl SharedLink {
    /// Shares a link among relays: done once for each link, before its first relay.
    pub fn new(link: Link) -> Self {
        let turns = Arc::<LinkTurns>::default();
        link.set_giver(Arc::clone(&turns) as Arc<dyn GivesGroups>);
        Self { link, turns }
    }
}

/// A relay's place in the turns.
#[derive(Debug, Default)]
pub(super) struct Seat {
    /// Wakes the relay's task.
    pub(super) waker: AtomicWaker,
    gives_way: AtomicBool,
}

impl Seat {
    /// Whether the relay must give up the rest of its group; says so once.
    pub(super) fn take_gives_way(&self) -> bool {
        self.gives_way.swap(false, Ordering::Relaxed)
    }
}

/// The turns of one link. Usable from any thread; nothing waits under its lock, and
/// no relay's own lock is taken under it.
#[derive(Debug, Default)]
pub(super) struct LinkTurns {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    turns: Turns<RelayId>,
    seats: BTreeMap<RelayId, Arc<Seat>>,
}

impl LinkTurns {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A relay joins.
    pub(super) fn join(&self, relay: RelayId) -> Arc<Seat> {
        let seat = Arc::new(Seat::default());
        self.lock().seats.insert(relay, Arc::clone(&seat));
        seat
    }

    /// It is over. Nothing is done for a seat that a newer one has taken.
    pub(super) fn leave(&self, relay: RelayId, seat: &Arc<Seat>) {
        let mut inner = self.lock();
        let is_own = inner
            .seats
            .get(&relay)
            .is_some_and(|known| Arc::ptr_eq(known, seat));
        if is_own {
            inner.seats.remove(&relay);
            inner.turns.remove(relay);
            inner.wake_first(None);
        }
    }

    /// A relay's state now; says whether it is its turn, and wakes who has it else.
    pub(super) fn set(&self, relay: RelayId, class: Class, standing: Standing) -> bool {
        let mut inner = self.lock();
        let before = inner.turns.first();
        inner.turns.set(relay, class, standing);
        let first = inner.turns.first();
        if first != before {
            inner.wake_first(Some(relay));
        }
        first == Some(relay)
    }

    /// The link took so many bytes.
    pub(super) fn wrote(&self, now: Boot, bytes: usize) {
        self.lock().turns.wrote(now, bytes);
    }

    /// The link takes no more for now: a relay may have to give way. For `known` see
    /// the congestion control's.
    pub(super) fn blocked(&self, now: Boot, known: Option<u64>) {
        let mut inner = self.lock();
        inner.turns.blocked(now);
        while let Some(victim) = inner.turns.victim(now, known) {
            if let Some(seat) = inner.seats.get(&victim) {
                seat.gives_way.store(true, Ordering::Relaxed);
                seat.waker.wake();
            }
        }
    }
}

impl GivesGroups for LinkTurns {
    fn go_on(&self) {
        self.lock().wake_first(None);
    }

    fn heard_again(&self) {
        let mut inner = self.lock();
        // What the link took meanwhile says nothing of what it carries.
        inner.turns.forget_rate();
        for seat in inner.seats.values() {
            seat.waker.wake();
        }
    }

    fn waited(&self, now: Boot, within: Duration) -> bool {
        self.lock().turns.waited(now, within)
    }
}

impl Inner {
    fn wake_first(&self, except: Option<RelayId>) {
        if let Some(first) = self.turns.first().filter(|first| Some(*first) != except)
            && let Some(seat) = self.seats.get(&first)
        {
            seat.waker.wake();
        }
    }
}
