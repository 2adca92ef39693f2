//! The link: QUIC v1 (ALPN `fanal/1`) with mutual TLS 1.3 between a gateway and
//! a receiver. The gateway dials out. One bidirectional control stream, one
//! unidirectional stream per group of pictures.
//!
//! Where UDP does not get through, the same QUIC goes through a TCP connection on the
//! same port number ([`tunnel`]). The gateway tries UDP first, says so where it must do
//! without, and returns to it when it can ([`dial`]).
//!
//! All of it runs on the *frames* runtime; the control plane sends commands and
//! gets [`Event`]s over bounded channels.

pub mod accept;
mod claims;
pub mod congestion;
pub mod control;
pub mod dial;
pub mod endpoint;
mod ends;
mod exchange;
pub mod group;
mod handshakes;
pub mod meter;
pub mod priority;
pub mod probe;
mod reach;
pub mod redundancy;
mod session;
pub mod silence;
pub mod socket;
pub mod stats;
pub mod tls;
pub mod transport;
pub mod tunnel;
pub mod window;

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crate::clock::Boot;
use crate::format::designation::key_thumbprint;
use crate::format::ids::Sha256;
use congestion::Known;
use silence::{LOOK_EVERY, LOOK_IDLE, Silence, Standby};
use tokio::sync::watch;

pub use ends::{GivesGroups, TakesGroups};

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
    pub(crate) connection: transport::Connection,
    pub(crate) control: control::Sender,
    clock_offset: Arc<AtomicI64>,
    known: Arc<Known>,
    /// The send window that is set.
    send_window: Arc<AtomicU64>,
    giver: Arc<OnceLock<Arc<dyn GivesGroups>>>,
    relays: watch::Sender<usize>,
    /// An answer is overdue.
    silent: Arc<AtomicBool>,
    /// How long an answer is overdue or nothing has come; else nothing.
    unheard: watch::Sender<Duration>,
}

/// A relay that a link carries; counted until it is dropped.
#[derive(Debug)]
pub(crate) struct Carried(watch::Sender<usize>);

impl Drop for Carried {
    fn drop(&mut self) {
        self.0
            .send_modify(|relays| *relays = relays.saturating_sub(1));
    }
}

impl Link {
    fn new(connection: transport::Connection, known: Arc<Known>) -> Self {
        Self {
            control: control::Sender::new(connection.clone()),
            connection,
            clock_offset: Arc::default(),
            known,
            send_window: Arc::default(),
            giver: Arc::default(),
            relays: watch::Sender::new(0),
            silent: Arc::default(),
            unheard: watch::Sender::new(Duration::ZERO),
        }
    }

    /// What congestion control knows of the path.
    pub fn known(&self) -> &Known {
        &self.known
    }

    /// Bytes per second that the path carried while it was the limit; `None` where it
    /// never was.
    pub fn capacity(&self) -> Option<u64> {
        self.known.capacity()
    }

    /// Lets streams hand over a little more than may be under way; costs nothing while
    /// that stays as it is.
    pub(crate) fn fit_send_window(&self) {
        match self.known.window() {
            // Another congestion control, or nothing known yet: see the tick.
            0 => {}
            window => self.set_send_window(window),
        }
    }

    /// The same for a congestion window that QUIC tells.
    fn set_send_window(&self, window: u64) {
        let fits = endpoint::send_window(window);
        if self.send_window.swap(fits, Ordering::Relaxed) != fits {
            self.connection.set_send_window(fits);
        }
    }

    /// Bytes to hand over at a time.
    pub(crate) fn piece(&self) -> usize {
        match self.known.window() {
            0 => endpoint::piece(u64::MAX),
            window => endpoint::piece(window),
        }
    }

    /// Names who gives this link its groups; the first one named stays.
    pub(crate) fn set_giver(&self, giver: Arc<dyn GivesGroups>) {
        let _ = self.giver.set(giver);
    }

    /// Pictures may go on.
    fn go_on(&self) {
        if let Some(giver) = self.giver.get() {
            giver.go_on();
        }
    }

    /// Whether pictures waited for this link within this time.
    fn waited(&self, now: Boot, within: Duration) -> bool {
        self.giver
            .get()
            .is_some_and(|giver| giver.waited(now, within))
    }

    /// A control message waits for room: pictures let it go first.
    pub(crate) fn control_waits(&self) -> bool {
        self.control.is_busy() && self.connection.close_reason().is_none()
    }

    /// Counts a relay that this link carries from now on.
    pub(crate) fn carry(&self) -> Carried {
        self.relays.send_modify(|relays| *relays += 1);
        Carried(self.relays.clone())
    }

    /// Relays that this link carries: at the gateway those that send, at the receiver
    /// those that are allowed.
    pub fn relays(&self) -> usize {
        *self.relays.borrow()
    }

    /// The receiver allows so many relays on this link.
    pub(crate) fn set_relays(&self, count: usize) {
        self.relays
            .send_if_modified(|relays| std::mem::replace(relays, count) != count);
    }

    /// Whether an answer of the peer is overdue: the path may be cut.
    pub fn is_silent(&self) -> bool {
        self.silent.load(Ordering::Relaxed)
    }

    /// Looks after a link that hears nothing ([`silence`]): probes, and tells the relays
    /// when it is heard again. Returns when a link that carries nothing has been silent for
    /// too long.
    async fn watch_silence(&self) {
        let mut silence = Silence::new(Instant::now());
        let mut relays = self.relays.subscribe();
        loop {
            let carries = *relays.borrow_and_update() > 0;
            let look = silence.look(Instant::now(), self.stats(), carries);
            if look.is_over {
                return;
            }
            let is_heard_again =
                self.silent.swap(look.is_silent, Ordering::Relaxed) && !look.is_silent;
            if let Some(giver) = self.giver.get().filter(|_| is_heard_again) {
                giver.heard_again();
            }
            if look.probe {
                self.connection.probe();
            }
            self.unheard.send_if_modified(|unheard| {
                let is_new = look.is_silent || !unheard.is_zero();
                *unheard = if look.is_silent {
                    look.silent_for
                } else {
                    Duration::ZERO
                };
                is_new
            });
            let wait = if carries { LOOK_EVERY } else { LOOK_IDLE };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                _ = relays.changed() => {}
            }
        }
    }

    /// How long an answer is overdue; zero where none is.
    pub fn unheard(&self) -> Duration {
        *self.unheard.borrow()
    }

    /// The same of a link that carries nothing: asks the peer, and tells how long its answers
    /// have been missing since it is asked. To be called again within a second.
    pub(crate) fn ask(&self, standby: &mut Option<Standby>) -> Duration {
        let (now, received) = (Instant::now(), self.stats().received_bytes);
        self.connection.probe();
        standby
            .get_or_insert_with(|| Standby::new(now, received))
            .unheard(now, received)
    }

    /// SHA-256 of the key in the peer's certificate (SubjectPublicKeyInfo, DER).
    pub fn peer_key(&self) -> Option<Sha256> {
        key_thumbprint(self.connection.certificates().first()?)
    }

    /// Waits until an answer is overdue for so long, or is and nothing has come for so long.
    async fn silent_for(&self, time: Duration) {
        let mut unheard = self.unheard.subscribe();
        // The sender lives as long as this.
        let _ = unheard.wait_for(|unheard| *unheard >= time).await;
    }

    /// Waits until the peer is heard, at once where it is not silent.
    async fn heard(&self) {
        let mut unheard = self.unheard.subscribe();
        let _ = unheard.wait_for(Duration::is_zero).await;
    }

    /// The peer's clock minus ours, in microseconds, as last measured; 0 until
    /// it is. Told, never followed.
    pub fn clock_offset_us(&self) -> i64 {
        self.clock_offset.load(Ordering::Relaxed)
    }

    fn set_clock_offset(&self, offset_us: i64) {
        self.clock_offset.store(offset_us, Ordering::Relaxed);
    }

    /// What carries it.
    pub const fn transport(&self) -> transport::Transport {
        self.connection.transport()
    }

    /// What the transport knows of the link now.
    pub fn stats(&self) -> stats::Snapshot {
        self.connection.stats()
    }

    /// The key exchange that was negotiated, such as `X25519MLKEM768`.
    pub fn key_exchange(&self) -> String {
        self.connection.key_exchange()
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

    /// Bytes of control messages handed to the connection, lengths included.
    pub fn control_sent(&self) -> u64 {
        self.control.sent()
    }

    /// Round-trip time now.
    pub fn rtt(&self) -> Duration {
        self.connection.rtt()
    }

    /// Closes the link, telling the peer why.
    pub fn close(&self, reason: crate::reason::Reason) {
        self.connection.close(reason, reason.code());
    }
}
