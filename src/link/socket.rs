//! The UDP socket of a link's end, with the parity of [`super::redundancy`] put in on
//! the way out and taken out on the way in. QUIC knows nothing of it.
//!
//! Where no peer is sent parity and none is expected, which is on all links but lossy
//! ones, it is one look at a flag for each call.
//!
//! | what waits | bound | when full |
//! |---|---|---|
//! | packets of an open block | 24, 2 ms | the sum is sent |
//! | a peer's last packets, kept while parity comes from it | 96 of 1 500 bytes | the oldest is forgotten |
//! | packets that were made again | 64 | the oldest is dropped: QUIC sends it again |
//! | peers | those with a link | – |

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, Runtime, TokioRuntime, UdpPoller};
use tokio::sync::Notify;

use super::redundancy::{Decoder, Encoder, Meter};
use super::stats::Snapshot;

/// How long a block stays open after its first packet: what leaves together is in it.
const BLOCK_OPEN: Duration = Duration::from_millis(2);
/// How long a peer's packets are kept after the last of its parity.
const KEEP_FOR: Duration = Duration::from_secs(10);
/// Packets made again that wait to be taken.
const MADE_LIMIT: usize = 64;

/// Steers the parity of one socket. Cheap to clone, usable from any thread.
#[derive(Clone, Debug)]
pub struct Parity {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    is_sending: AtomicBool,
    is_expecting: AtomicBool,
    sending: Mutex<BTreeMap<SocketAddr, Sending>>,
    receiving: Mutex<Receiving>,
    /// A block was opened.
    opened: Notify,
}

/// A peer that is sent parity.
#[derive(Debug, Default)]
struct Sending {
    block: usize,
    /// Longer ones are probes for a larger size: those that get lost must stay lost.
    mtu: usize,
    encoder: Encoder,
    bytes: u64,
}

#[derive(Debug, Default)]
struct Receiving {
    peers: BTreeMap<SocketAddr, Peer>,
    made: VecDeque<(RecvMeta, Vec<u8>)>,
}

/// A peer whose parity is taken.
#[derive(Debug, Default)]
struct Peer {
    decoder: Decoder,
    /// When parity came last: packets are kept only for that.
    parity_at: Option<Instant>,
    made: u64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Parity {
    /// Sends this peer a sum for each `block` packets of at most `mtu` bytes; `None`: none.
    pub fn send_to(&self, peer: SocketAddr, block: Option<usize>, mtu: u16) {
        let mut sending = lock(&self.shared.sending);
        match block {
            Some(block) => {
                let sending = sending.entry(peer).or_default();
                sending.block = block;
                sending.mtu = usize::from(mtu);
            }
            None => drop(sending.remove(&peer)),
        }
        let is_sending = !sending.is_empty();
        self.shared.is_sending.store(is_sending, Ordering::Relaxed);
    }

    /// Bytes of parity sent to this peer since it was sent any.
    pub fn sent_bytes(&self, peer: SocketAddr) -> u64 {
        lock(&self.shared.sending)
            .get(&peer)
            .map_or(0, |sending| sending.bytes)
    }

    /// Takes parity from this peer, or takes it no more: only from those that have
    /// proven who they are, for it costs memory.
    pub fn take_from(&self, peer: SocketAddr, takes: bool) {
        let mut receiving = lock(&self.shared.receiving);
        if takes {
            receiving.peers.entry(peer).or_default();
        } else {
            receiving.peers.remove(&peer);
        }
        let is_expecting = !receiving.peers.is_empty();
        self.shared
            .is_expecting
            .store(is_expecting, Ordering::Relaxed);
    }

    /// Packets of this peer made again so far.
    pub fn made(&self, peer: SocketAddr) -> u64 {
        lock(&self.shared.receiving)
            .peers
            .get(&peer)
            .map_or(0, |peer| peer.made)
    }
}

/// A link's peer whose parity is taken, for as long as this lives, wherever it moves.
#[derive(Debug)]
pub(super) struct Taking {
    parity: Parity,
    peer: SocketAddr,
    /// Packets made again at addresses before.
    before: u64,
}

impl Taking {
    pub(super) fn new(parity: Parity, peer: SocketAddr) -> Self {
        parity.take_from(peer, true);
        Self {
            parity,
            peer,
            before: 0,
        }
    }

    /// The peer's address now; gives the packets made again so far.
    pub(super) fn follow(&mut self, peer: SocketAddr) -> u64 {
        if peer != self.peer {
            self.before += self.parity.made(self.peer);
            self.parity.take_from(self.peer, false);
            self.parity.take_from(peer, true);
            self.peer = peer;
        }
        // Another link that had the same address may have taken it along.
        self.parity.take_from(peer, true);
        self.before + self.parity.made(peer)
    }
}

impl Drop for Taking {
    fn drop(&mut self) {
        self.parity.take_from(self.peer, false);
    }
}

/// What a gateway sends of parity to one centre.
#[derive(Debug)]
pub(super) struct Giving {
    parity: Parity,
    peer: SocketAddr,
    max_bitrate: Option<u64>,
    meter: Meter,
    began: Instant,
    /// When it was looked at last, and what was sent and lost by then.
    last: (Instant, Snapshot, u64),
    /// Packets that the centre made again.
    made: u64,
    bytes: u64,
}

impl Giving {
    /// None yet. `max_bitrate`: what the uplink may carry.
    pub(super) fn new(
        parity: Parity,
        peer: SocketAddr,
        max_bitrate: Option<u64>,
        stats: Snapshot,
    ) -> Self {
        let now = Instant::now();
        Self {
            parity,
            peer,
            max_bitrate,
            meter: Meter::new(),
            began: now,
            last: (now, stats, stats.lost),
            made: 0,
            bytes: 0,
        }
    }

    /// The centre made so many packets again since the link is up.
    pub(super) fn note_made(&mut self, packets: u64) {
        self.made = self.made.max(packets);
    }

    /// Called four times a second: as much parity as pays. `has_room`: nothing waits
    /// for the link. Gives the bytes of parity since the last call.
    pub(super) fn tick(&mut self, stats: Snapshot, has_room: bool) -> u64 {
        let now = Instant::now();
        let (at, before, lost_before) = self.last;
        // What was made again QUIC counts too where it gave up on it before.
        let lost = stats.lost.max(self.made);
        self.last = (now, stats, lost);
        let sent = stats.datagrams.saturating_sub(before.datagrams);
        let since = now.saturating_duration_since(self.began);
        let block = self.meter.note(since, sent, lost - lost_before);
        let bits = stats.sent_bytes.saturating_sub(before.sent_bytes) * 8;
        let took = now.saturating_duration_since(at).as_millis().max(1);
        let rate = u128::from(bits) * 1_000 / took;
        // A quarter more must fit.
        let fits = self
            .max_bitrate
            .is_none_or(|most| rate * 5 / 4 < u128::from(most));
        let total = self.parity.sent_bytes(self.peer);
        let bytes = total.saturating_sub(self.bytes);
        self.bytes = total;
        let block = block.filter(|_| has_room && fits);
        if block.is_none() {
            self.bytes = 0;
        }
        self.parity.send_to(self.peer, block, stats.mtu);
        bytes
    }
}

impl Drop for Giving {
    fn drop(&mut self) {
        self.parity.send_to(self.peer, None, 0);
    }
}

/// A socket with parity.
#[derive(Debug)]
pub(super) struct ParitySocket {
    inner: Arc<dyn AsyncUdpSocket>,
    shared: Arc<Shared>,
    /// Ends blocks that nothing more comes to.
    flusher: tokio::task::AbortHandle,
}

impl Drop for ParitySocket {
    fn drop(&mut self) {
        self.flusher.abort();
    }
}

impl ParitySocket {
    /// Puts parity over a socket. Must be called on the frames runtime.
    pub(super) fn wrap(socket: std::net::UdpSocket) -> io::Result<(Arc<Self>, Parity)> {
        let inner = TokioRuntime.wrap_udp_socket(socket)?;
        let shared = Arc::new(Shared {
            is_sending: AtomicBool::new(false),
            is_expecting: AtomicBool::new(false),
            sending: Mutex::default(),
            receiving: Mutex::default(),
            opened: Notify::new(),
        });
        let parity = Parity {
            shared: Arc::clone(&shared),
        };
        let socket = Arc::new_cyclic(|this: &Weak<Self>| Self {
            inner,
            flusher: tokio::spawn(flush(this.clone(), Arc::clone(&shared))).abort_handle(),
            shared,
        });
        Ok((socket, parity))
    }

    /// Sums what was sent to a peer.
    fn sum(&self, transmit: &Transmit<'_>) {
        let mut sending = lock(&self.shared.sending);
        let Some(peer) = sending.get_mut(&transmit.destination) else {
            return;
        };
        let was_open = peer.encoder.is_open();
        let size = transmit.segment_size.unwrap_or(transmit.contents.len());
        let fits = |packet: &&[u8]| packet.len() <= peer.mtu;
        let packets: Vec<&[u8]> = transmit.contents.chunks(size.max(1)).filter(fits).collect();
        for packet in packets {
            for sum in peer.encoder.sent(packet, peer.block) {
                peer.bytes += self.send_sum(transmit.destination, &sum);
            }
        }
        if peer.encoder.is_open() && !was_open {
            self.shared.opened.notify_one();
        }
    }

    /// A sum that the socket does not take now is of no use later. Gives its bytes.
    fn send_sum(&self, peer: SocketAddr, sum: &[u8]) -> u64 {
        let transmit = Transmit {
            destination: peer,
            ecn: None,
            contents: sum,
            segment_size: None,
            src_ip: None,
        };
        match self.inner.try_send(&transmit) {
            Ok(()) => sum.len() as u64,
            Err(_) => 0,
        }
    }

    fn flush(&self) {
        let mut sending = lock(&self.shared.sending);
        for (address, peer) in sending.iter_mut() {
            for sum in peer.encoder.flush() {
                peer.bytes += self.send_sum(*address, &sum);
            }
        }
    }

    /// Takes parity out of what came, and packets of peers that send it into memory.
    fn filter(&self, buffer: &mut [u8], meta: &mut RecvMeta) {
        let mut receiving = lock(&self.shared.receiving);
        let Receiving { peers, made } = &mut *receiving;
        let Some(peer) = peers.get_mut(&meta.addr) else {
            return;
        };
        let now = Instant::now();
        let stride = meta.stride.max(1);
        let (mut from, mut to) = (0, 0);
        while from < meta.len {
            let end = meta.len.min(from + stride);
            let datagram = &buffer[from..end];
            let again = if Decoder::is_piece(datagram) {
                peer.parity_at = Some(now);
                peer.decoder.received_piece(datagram)
            } else {
                let keeps = peer
                    .parity_at
                    .is_some_and(|at| now.saturating_duration_since(at) < KEEP_FOR);
                let again = if keeps {
                    peer.decoder.received(datagram)
                } else {
                    if peer.parity_at.take().is_some() {
                        peer.decoder = Decoder::new();
                    }
                    Vec::new()
                };
                // Packets of one size follow each other without gaps.
                buffer.copy_within(from..end, to);
                to += end - from;
                again
            };
            for packet in again {
                peer.made += 1;
                if made.len() == MADE_LIMIT {
                    made.pop_front();
                }
                let (len, stride) = (packet.len(), packet.len());
                made.push_back((
                    RecvMeta {
                        len,
                        stride,
                        ..*meta
                    },
                    packet,
                ));
            }
            from = end;
        }
        meta.len = to;
    }

    /// Gives packets that were made again; how many.
    fn give(&self, bufs: &mut [IoSliceMut<'_>], meta: &mut [RecvMeta]) -> usize {
        let mut receiving = lock(&self.shared.receiving);
        let mut given = 0;
        while given < bufs.len().min(meta.len()) {
            let Some((of, packet)) = receiving.made.pop_front() else {
                break;
            };
            let Some(target) = bufs[given].get_mut(..packet.len()) else {
                continue;
            };
            target.copy_from_slice(&packet);
            meta[given] = of;
            given += 1;
        }
        given
    }
}

/// Ends open blocks a moment after they were opened.
async fn flush(socket: Weak<ParitySocket>, shared: Arc<Shared>) {
    loop {
        shared.opened.notified().await;
        tokio::time::sleep(BLOCK_OPEN).await;
        match socket.upgrade() {
            Some(socket) => socket.flush(),
            None => return,
        }
    }
}

impl AsyncUdpSocket for ParitySocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.inner).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.inner.try_send(transmit)?;
        if self.shared.is_sending.load(Ordering::Relaxed) {
            self.sum(transmit);
        }
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let expects = self.shared.is_expecting.load(Ordering::Relaxed);
        if expects {
            let given = self.give(bufs, meta);
            if given > 0 {
                return Poll::Ready(Ok(given));
            }
        }
        let count = ready!(self.inner.poll_recv(cx, bufs, meta))?;
        if expects {
            for (buffer, meta) in bufs.iter_mut().zip(meta.iter_mut()).take(count) {
                self.filter(buffer, meta);
            }
        }
        Poll::Ready(Ok(count))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.inner.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.inner.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.inner.may_fragment()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket() -> (Arc<ParitySocket>, Parity, SocketAddr) {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let address = socket.local_addr().unwrap();
        let (socket, parity) = ParitySocket::wrap(socket).unwrap();
        (socket, parity, address)
    }

    async fn send(
        socket: &Arc<ParitySocket>,
        to: SocketAddr,
        contents: &[u8],
        segment: Option<usize>,
    ) {
        let mut poller = Arc::clone(socket).create_io_poller();
        std::future::poll_fn(|cx| poller.as_mut().poll_writable(cx))
            .await
            .unwrap();
        let transmit = Transmit {
            destination: to,
            ecn: None,
            contents,
            segment_size: segment,
            src_ip: None,
        };
        socket.try_send(&transmit).unwrap();
    }

    /// The next packets, as quinn would see them.
    async fn receive(socket: &ParitySocket) -> Vec<Vec<u8>> {
        let mut storage = vec![0; 65_536];
        let mut meta = [RecvMeta::default()];
        let count = std::future::poll_fn(|cx| {
            let mut bufs = [IoSliceMut::new(&mut storage)];
            socket.poll_recv(cx, &mut bufs, &mut meta)
        })
        .await
        .unwrap();
        assert_eq!(count, 1);
        storage[..meta[0].len]
            .chunks(meta[0].stride.max(1))
            .map(<[u8]>::to_vec)
            .collect()
    }

    /// Packets that begin as QUIC's do and end in different ways.
    fn packets(count: u8) -> Vec<Vec<u8>> {
        (0..count)
            .map(|n| {
                (0..1_200)
                    .map(|i| 0x40 | (n.wrapping_mul(31) ^ i as u8))
                    .collect()
            })
            .collect()
    }

    #[tokio::test]
    async fn a_lost_packet_reaches_quic_all_the_same() {
        let (from, parity, from_address) = socket();
        let (to, taking, to_address) = socket();
        // Loses one packet.
        let wire = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let wire_address = wire.local_addr().unwrap();
        parity.send_to(wire_address, Some(5), 1_452);
        taking.take_from(wire_address, true);
        let mut buffer = vec![0; 2_000];
        for (round, packets) in [packets(5), packets(7)[2..].to_vec()].iter().enumerate() {
            send(&from, wire_address, &packets.concat(), Some(1_200)).await;
            // Five packets and the sum's two pieces.
            for n in 0..7 {
                let (length, of) = wire.recv_from(&mut buffer).await.unwrap();
                assert_eq!(of, from_address);
                // Only once parity came are packets kept: the first round has no use of it.
                if n != 3 {
                    wire.send_to(&buffer[..length], to_address).await.unwrap();
                }
            }
            let wanted = if round == 0 { 4 } else { 5 };
            let mut came = Vec::new();
            while came.len() < wanted {
                came.extend(receive(&to).await);
            }
            let missing = packets.iter().filter(|packet| !came.contains(packet));
            assert_eq!(missing.count(), 5 - wanted);
            assert!(came.iter().all(|packet| packets.contains(packet)));
            if round == 0 {
                // What is left of the first round is its parity, which nobody sees.
                while lock(&to.shared.receiving).peers[&wire_address]
                    .parity_at
                    .is_none()
                {
                    assert!(receive(&to).await.is_empty());
                }
            }
        }
        assert_eq!(taking.made(wire_address), 1);
        assert!(parity.sent_bytes(wire_address) > 2_000);
    }

    #[tokio::test]
    async fn an_open_block_is_ended_though_nothing_more_is_sent() {
        let (from, parity, _) = socket();
        let to = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = to.local_addr().unwrap();
        parity.send_to(address, Some(20), 1_452);
        let packet = &packets(1)[0];
        send(&from, address, packet, None).await;
        let mut buffer = vec![0; 2_000];
        let length = to.recv(&mut buffer).await.unwrap();
        assert_eq!(&buffer[..length], packet);
        let length = to.recv(&mut buffer).await.unwrap();
        assert!(Decoder::is_piece(&buffer[..length]));
    }

    #[tokio::test]
    async fn parity_of_strangers_is_passed_on_and_costs_nothing() {
        let (from, parity, _) = socket();
        let (to, taking, to_address) = socket();
        parity.send_to(to_address, Some(1), 1_452);
        send(&from, to_address, &packets(1)[0], None).await;
        assert_eq!(receive(&to).await, packets(1));
        // QUIC drops what it does not know.
        assert!(Decoder::is_piece(&receive(&to).await[0]));
        assert_eq!(taking.made(to_address), 0);
        parity.send_to(to_address, None, 0);
        assert!(!from.shared.is_sending.load(Ordering::Relaxed));
    }
}
