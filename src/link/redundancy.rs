//! Parity for what is lost on a lossy link: a lost packet is made again from those
//! around it, a round trip sooner than it could be sent again.
//!
//! It works on whole UDP datagrams, below QUIC, which sees a packet that came a little
//! late. The gateway sums (exclusive or) the packets of a block, a few that leave
//! together, and sends the sum behind them; with all packets of a block but one and the
//! sum the receiver has the missing one. A block of one packet is that packet sent
//! twice. What is made wrongly, of forged sums for one, fails QUIC's own
//! authentication like any forged packet. A sum says nothing that the packets, which
//! have left, do not say; no packet is changed, and a peer that knows none of this
//! drops sums as no QUIC packets.
//!
//! Used only where packets get lost while the path has room ([`Meter`]).
//!
//! A sum is sent in pieces, for it is as long as the longest packet, and a datagram has
//! to name the packets as well. Big-endian:
//!
//! | field | bytes | |
//! |---|---|---|
//! | kind | 1 | [`KIND`]: RFC 9000 17.2, 17.3.1 set bit 0x40 in each packet, a sum does not |
//! | count | 1 | packets in the block, 1 to [`BLOCK_LIMIT`] |
//! | length | 2 | exclusive or of the packets' lengths |
//! | total | 2 | length of the whole sum |
//! | offset | 2 | where this piece begins in it |
//! | marks | 4 each | last four bytes of each packet, which its authentication tag makes unique |
//! | piece | the rest | |
//!
//! Pure: the socket around it is [`super::socket`].

use std::collections::VecDeque;
use std::time::Duration;

/// First byte of a sum.
pub const KIND: u8 = 0x21;
/// Most packets in a block.
pub const BLOCK_LIMIT: usize = 24;
/// Longest packet that takes part: the largest that a link sends.
pub const PACKET_LIMIT: usize = 1_500;
/// Longest piece of a sum: with its header it fits where the longest packet does.
const PIECE_LIMIT: usize = 1_000;
/// Bytes before the marks.
const HEADER: usize = 8;
/// Bytes of a mark.
const MARK: usize = 4;
/// Packets that a receiver remembers: several blocks, and what overtook them.
const REMEMBERED: usize = 96;
/// Pieces that wait for more packets of their block.
const WAITING: usize = 16;

/// What tells a packet from others.
fn mark(packet: &[u8]) -> Option<[u8; MARK]> {
    packet.last_chunk().copied()
}

fn add(sum: &mut [u8], packet: &[u8]) {
    for (sum, byte) in sum.iter_mut().zip(packet) {
        *sum ^= byte;
    }
}

/// Sums what is sent to one peer.
#[derive(Clone, Debug, Default)]
pub struct Encoder {
    marks: Vec<[u8; MARK]>,
    length: u16,
    sum: Vec<u8>,
}

impl Encoder {
    /// Nothing summed yet.
    pub const fn new() -> Self {
        Self {
            marks: Vec::new(),
            length: 0,
            sum: Vec::new(),
        }
    }

    /// A packet leaves. Gives the block's sum where it is the `block`th of it.
    pub fn sent(&mut self, packet: &[u8], block: usize) -> Vec<Vec<u8>> {
        let Some(mark) = mark(packet).filter(|_| packet.len() <= PACKET_LIMIT) else {
            return Vec::new();
        };
        if self.sum.len() < packet.len() {
            self.sum.resize(packet.len(), 0);
        }
        add(&mut self.sum, packet);
        self.length ^= packet.len() as u16;
        self.marks.push(mark);
        if self.marks.len() >= block.clamp(1, BLOCK_LIMIT) {
            self.flush()
        } else {
            Vec::new()
        }
    }

    /// Whether packets wait for their block's end.
    pub const fn is_open(&self) -> bool {
        !self.marks.is_empty()
    }

    /// Ends the block: its sum, as datagrams to send.
    pub fn flush(&mut self) -> Vec<Vec<u8>> {
        if self.marks.is_empty() {
            return Vec::new();
        }
        // Equal pieces: a longer first one would be lost no less often.
        let pieces = self.sum.len().div_ceil(PIECE_LIMIT);
        let size = self.sum.len().div_ceil(pieces);
        let datagrams = self
            .sum
            .chunks(size)
            .enumerate()
            .map(|(at, piece)| {
                let mut out = Vec::with_capacity(HEADER + self.marks.len() * MARK + piece.len());
                out.extend([KIND, self.marks.len() as u8]);
                for number in [self.length, self.sum.len() as u16, (at * size) as u16] {
                    out.extend(number.to_be_bytes());
                }
                out.extend(self.marks.as_flattened());
                out.extend(piece);
                out
            })
            .collect();
        *self = Self::new();
        datagrams
    }
}

/// A piece of a sum, as it came.
#[derive(Clone, Debug)]
struct Piece {
    marks: Vec<[u8; MARK]>,
    length: u16,
    offset: usize,
    sum: Vec<u8>,
}

impl Piece {
    fn parse(datagram: &[u8]) -> Option<Self> {
        let (header, rest) = datagram.split_first_chunk::<HEADER>()?;
        let [kind, count, l0, l1, t0, t1, o0, o1] = *header;
        let count = usize::from(count);
        if kind != KIND || !(1..=BLOCK_LIMIT).contains(&count) {
            return None;
        }
        let (marks, sum) = rest.split_at_checked(count * MARK)?;
        let total = usize::from(u16::from_be_bytes([t0, t1]));
        let offset = usize::from(u16::from_be_bytes([o0, o1]));
        if sum.is_empty() || total > PACKET_LIMIT || offset + sum.len() > total {
            return None;
        }
        Some(Self {
            marks: marks.as_chunks().0.to_vec(),
            length: u16::from_be_bytes([l0, l1]),
            offset,
            sum: sum.to_vec(),
        })
    }
}

/// A packet that is being made.
#[derive(Clone, Debug)]
struct Making {
    mark: [u8; MARK],
    bytes: Vec<u8>,
    /// Bytes of it that are known, each counted once: pieces do not overlap.
    known: usize,
    /// Where known pieces begin.
    offsets: Vec<usize>,
}

/// Makes lost packets of one peer.
#[derive(Clone, Debug, Default)]
pub struct Decoder {
    packets: VecDeque<([u8; MARK], Vec<u8>)>,
    waiting: VecDeque<Piece>,
    making: VecDeque<Making>,
}

impl Decoder {
    /// Nothing seen yet.
    pub const fn new() -> Self {
        Self {
            packets: VecDeque::new(),
            waiting: VecDeque::new(),
            making: VecDeque::new(),
        }
    }

    /// Whether a datagram is a piece of a sum and no QUIC packet.
    pub fn is_piece(datagram: &[u8]) -> bool {
        datagram.first() == Some(&KIND)
    }

    /// A packet came. It may complete a block: gives packets that were lost.
    pub fn received(&mut self, packet: &[u8]) -> Vec<Vec<u8>> {
        let Some(mark) = mark(packet).filter(|_| packet.len() <= PACKET_LIMIT) else {
            return Vec::new();
        };
        self.remember(mark, packet.to_vec());
        self.making.retain(|making| making.mark != mark);
        let is_awaited = self.waiting.iter().any(|piece| piece.marks.contains(&mark));
        if is_awaited { self.make() } else { Vec::new() }
    }

    /// A piece of a sum came: gives packets that were lost.
    pub fn received_piece(&mut self, datagram: &[u8]) -> Vec<Vec<u8>> {
        let Some(piece) = Piece::parse(datagram) else {
            return Vec::new();
        };
        if self.waiting.len() == WAITING {
            self.waiting.pop_front();
        }
        self.waiting.push_back(piece);
        self.make()
    }

    fn remember(&mut self, mark: [u8; MARK], packet: Vec<u8>) {
        if self.packets.len() == REMEMBERED {
            self.packets.pop_front();
        }
        self.packets.push_back((mark, packet));
    }

    fn packet(&self, mark: &[u8; MARK]) -> Option<&[u8]> {
        let mut newest_first = self.packets.iter().rev();
        newest_first
            .find(|(known, _)| known == mark)
            .map(|(_, packet)| packet.as_slice())
    }

    /// Makes what can be made; one packet may open the way to the next.
    fn make(&mut self) -> Vec<Vec<u8>> {
        let mut made = Vec::new();
        let mut at = 0;
        while at < self.waiting.len() {
            let missing: Vec<[u8; MARK]> = self.waiting[at]
                .marks
                .iter()
                .filter(|mark| self.packet(mark).is_none())
                .copied()
                .collect();
            match missing[..] {
                [] => drop(self.waiting.remove(at)),
                [mark] => {
                    if let Some(piece) = self.waiting.remove(at)
                        && let Some(packet) = self.apply(piece, mark)
                    {
                        self.remember(mark, packet.clone());
                        made.push(packet);
                        at = 0;
                    }
                }
                _ => at += 1,
            }
        }
        made
    }

    /// Puts a piece into the one packet that its block lacks; gives it once it is whole.
    fn apply(&mut self, mut piece: Piece, missing: [u8; MARK]) -> Option<Vec<u8>> {
        for mark in &piece.marks {
            if let Some(packet) = self.packet(mark) {
                piece.length ^= packet.len() as u16;
                add(
                    &mut piece.sum,
                    packet.get(piece.offset..).unwrap_or_default(),
                );
            }
        }
        let length = usize::from(piece.length);
        if !(MARK..=PACKET_LIMIT).contains(&length) {
            return None;
        }
        let known = self.making.iter().position(|m| m.mark == missing);
        let at = known.unwrap_or_else(|| {
            if self.making.len() == WAITING {
                self.making.pop_front();
            }
            self.making.push_back(Making {
                mark: missing,
                bytes: vec![0; length],
                known: 0,
                offsets: Vec::new(),
            });
            self.making.len() - 1
        });
        let making = &mut self.making[at];
        if making.bytes.len() == length && !making.offsets.contains(&piece.offset) {
            let end = length.min(piece.offset + piece.sum.len());
            if let Some(target) = making.bytes.get_mut(piece.offset..end) {
                target.copy_from_slice(&piece.sum[..end - piece.offset]);
                making.known += end - piece.offset;
            }
            making.offsets.push(piece.offset);
        }
        if making.known < making.bytes.len() {
            return None;
        }
        let whole = self.making.remove(at)?.bytes;
        (mark(&whole) == Some(missing)).then_some(whole)
    }
}

/// How long loss is remembered: redundancy that ends too soon pays a round trip again.
const REMEMBER_LOSS: Duration = Duration::from_secs(60);
/// Over how many packets loss is looked at: fewer say little.
const LEAST_PACKETS: u64 = 200;
/// Part of the packets lost from which parity pays, and from which blocks are shorter.
const LOSS: (f64, f64) = (0.000_5, 0.02);
/// Packets in a block: on a link that loses few, and on one that loses many.
const BLOCKS: (usize, usize) = (10, 6);

/// Decides how much redundancy a link needs. Times are since some fixed moment.
#[derive(Clone, Debug, Default)]
pub struct Meter {
    sent: u64,
    lost: u64,
    /// The largest part that was lost of late, and when.
    worst: Option<(f64, Duration)>,
}

impl Meter {
    /// No loss known.
    pub const fn new() -> Self {
        Self {
            sent: 0,
            lost: 0,
            worst: None,
        }
    }

    /// So many packets were sent and lost since the last call. Gives the packets in a
    /// block; `None` where no parity is worth its bytes.
    pub fn note(&mut self, now: Duration, sent: u64, lost: u64) -> Option<usize> {
        self.sent += sent;
        self.lost += lost;
        if self.sent >= LEAST_PACKETS {
            #[allow(clippy::cast_precision_loss)] // some seconds' packets
            let part = self.lost as f64 / self.sent as f64;
            (self.sent, self.lost) = (0, 0);
            let is_worse = self.worst.is_none_or(|(worst, since)| {
                part >= worst || now.saturating_sub(since) > REMEMBER_LOSS
            });
            if is_worse {
                self.worst = Some((part, now));
            }
        }
        match self.worst {
            Some((part, _)) if part >= LOSS.1 => Some(BLOCKS.1),
            Some((part, _)) if part >= LOSS.0 => Some(BLOCKS.0),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A small seeded generator (SplitMix64): the same seed gives the same numbers.
    struct Random(u64);

    impl Random {
        const fn new(seed: u64) -> Self {
            Self(seed)
        }

        const fn number(&mut self) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = self.0;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^ (mixed >> 31)
        }
    }

    fn packet(random: &mut Random, length: usize) -> Vec<u8> {
        (0..length).map(|_| random.number() as u8 | 0x40).collect()
    }

    /// Packets of one block, and its sum.
    fn block(count: usize) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
        let mut random = Random::new(count as u64);
        let mut encoder = Encoder::new();
        let packets: Vec<Vec<u8>> = (0..count)
            .map(|n| packet(&mut random, if n % 3 == 2 { 60 } else { 1_452 }))
            .collect();
        for packet in &packets {
            assert!(encoder.sent(packet, BLOCK_LIMIT + 1).is_empty() || count == BLOCK_LIMIT);
        }
        (packets, encoder.flush())
    }

    #[test]
    fn any_one_packet_of_a_block_is_made_anew() {
        for count in 1..BLOCK_LIMIT {
            let (packets, sum) = block(count);
            assert!(sum.iter().all(|datagram| datagram.len() <= 1_452));
            for lost in 0..count {
                let mut decoder = Decoder::new();
                for (n, packet) in packets.iter().enumerate() {
                    if n != lost {
                        assert!(decoder.received(packet).is_empty());
                    }
                }
                let made: Vec<_> = sum
                    .iter()
                    .flat_map(|datagram| decoder.received_piece(datagram))
                    .collect();
                assert_eq!(made, [packets[lost].clone()], "{lost} of {count}");
            }
        }
    }

    #[test]
    fn a_sum_that_overtook_its_packets_waits_for_them() {
        let (packets, sum) = block(5);
        let mut decoder = Decoder::new();
        for datagram in &sum {
            assert!(decoder.received_piece(datagram).is_empty());
        }
        let made: Vec<_> = packets[..4]
            .iter()
            .flat_map(|packet| decoder.received(packet))
            .collect();
        assert_eq!(made, [packets[4].clone()]);
    }

    #[test]
    fn two_lost_packets_of_a_block_are_not_guessed() {
        let (packets, sum) = block(6);
        let mut decoder = Decoder::new();
        for packet in &packets[2..] {
            decoder.received(packet);
        }
        assert!(
            sum.iter()
                .all(|datagram| decoder.received_piece(datagram).is_empty())
        );
        // Sent again by QUIC under another number: no use. The same one late: it is.
        assert_eq!(decoder.received(&packets[0]), [packets[1].clone()]);
    }

    #[test]
    fn nothing_is_made_where_nothing_was_lost_or_a_piece_is() {
        let (packets, sum) = block(7);
        let mut decoder = Decoder::new();
        for packet in &packets {
            decoder.received(packet);
        }
        assert!(
            sum.iter()
                .all(|datagram| decoder.received_piece(datagram).is_empty())
        );
        let mut decoder = Decoder::new();
        for packet in &packets[1..] {
            decoder.received(packet);
        }
        assert_eq!(sum.len(), 2);
        assert!(decoder.received_piece(&sum[1]).is_empty());
    }

    #[test]
    fn damaged_pieces_make_nothing_false_and_do_not_panic() {
        let (packets, sum) = block(4);
        for datagram in &sum {
            for bit in 0..datagram.len() * 8 {
                let mut damaged = datagram.clone();
                damaged[bit / 8] ^= 1 << (bit % 8);
                let mut decoder = Decoder::new();
                for packet in &packets[1..] {
                    decoder.received(packet);
                }
                decoder.received_piece(&damaged);
            }
            for length in 0..datagram.len() {
                Decoder::new().received_piece(&datagram[..length]);
            }
        }
    }

    #[test]
    fn memory_stays_bounded_whatever_comes() {
        let mut random = Random::new(1);
        let mut decoder = Decoder::new();
        for _ in 0..2_000 {
            let length = random.number() as usize % 2_000;
            let bytes = packet(&mut random, length);
            decoder.received(&bytes);
            let mut piece = bytes;
            if let Some(first) = piece.first_mut() {
                *first = KIND;
            }
            if let Some(count) = piece.get_mut(1) {
                *count %= 8;
            }
            decoder.received_piece(&piece);
            assert!(decoder.packets.len() <= REMEMBERED);
            assert!(decoder.waiting.len() <= WAITING && decoder.making.len() <= WAITING);
        }
    }

    #[test]
    fn parity_follows_the_loss_and_outlasts_it_for_a_minute() {
        let mut meter = Meter::new();
        let at = Duration::from_secs;
        assert_eq!(meter.note(at(1), 10_000, 0), None);
        assert_eq!(meter.note(at(2), 100, 3), None);
        assert_eq!(meter.note(at(3), 200, 0), Some(BLOCKS.0));
        assert_eq!(meter.note(at(4), 1_000, 30), Some(BLOCKS.1));
        assert_eq!(meter.note(at(30), 1_000, 0), Some(BLOCKS.1));
        assert_eq!(meter.note(at(65), 1_000, 0), None);
    }
}
