//! Cameras whose pictures go over the virtual link as the relay sends them, and what
//! becomes of them at the other end.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::support::path::Random;
use bytes::{Bytes, BytesMut};
use fanal::clock::Boot;
use fanal::link::priority::{self};
use fanal::media::backlog::{Backlog, Step};
use fanal::media::relay::{Class, Profile};
use fanal::media::turns::Turns;
use fanal::media::unit::{AccessUnit, Codec, Configuration, Group, UnitFlags};
use fanal::media::wire::{UNIT_HEADER, UnitHeader};
use quinn_proto::StreamId;

use super::world::World;

/// How long pictures must not have waited before parity is sent.
const WAITED: Duration = Duration::from_secs(2);
const LEAST_GRACE: Duration = Duration::from_millis(150);

/// What a camera gives: 25 pictures a second.
#[derive(Clone, Copy, Debug)]
pub(super) struct Source {
    pub(super) bitrate: u64,
    /// Pictures from one key frame to the next.
    pub(super) gop: u64,
}

impl Source {
    /// Bytes of a key frame and of another picture: 13 to 1, as limits of real clips.
    fn sizes(self) -> (usize, usize) {
        let group = self.bitrate * self.gop / 25 / 8;
        let small = group / (self.gop + 12);
        ((13 * small) as usize, small as usize)
    }
}

struct Writer {
    id: StreamId,
    pending: Bytes,
}

/// A camera and its relay.
struct Relay {
    source: Source,
    phase: Duration,
    next: u64,
    backlog: Backlog<Writer>,
    finishing: VecDeque<(StreamId, Boot)>,
    configuration: Arc<Configuration>,
}

/// A group at the receiver.
struct Incoming {
    relay: usize,
    group: u64,
    buffer: Vec<u8>,
    units: VecDeque<(i64, usize)>,
    began: Duration,
    over: bool,
}

/// What became of one camera's pictures.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    pub(super) sent: u64,
    /// Times from a picture's hand-in to its delivery.
    pub(super) transit: Vec<Duration>,
    last: Option<Duration>,
    pub(super) longest_gap: Duration,
    /// When the first picture came that was taken after [`Site::whole_since`], and the
    /// first one at all.
    pub(super) live: Option<Duration>,
    pub(super) again: Option<Duration>,
}

/// One direction of a stream of control messages beside the pictures: each is the time at
/// which it was said.
#[derive(Default)]
struct Control {
    id: Option<StreamId>,
    next: Duration,
    pending: Bytes,
    received: Vec<u8>,
    /// Times from a message to its arrival.
    delays: Vec<Duration>,
    /// When the last one came.
    last: Duration,
}

/// Between two control messages.
const CONTROL_EVERY: Duration = Duration::from_millis(200);
/// Bytes of one, as a relay's state has.
const CONTROL_BYTES: usize = 200;

pub(super) struct Site {
    pub(super) world: World,
    control: Control,
    /// What the receiver says.
    replies: Control,
    both_ways: Option<StreamId>,
    was_silent: bool,
    /// When a cut ended.
    pub(super) whole_since: Option<Duration>,
    relays: Vec<Relay>,
    turns: Turns<usize>,
    pub(super) gave_way: u64,
    incoming: BTreeMap<StreamId, Incoming>,
    owners: BTreeMap<StreamId, (usize, u64)>,
    current: Vec<(u64, bool)>,
    pub(super) seen: Vec<Seen>,
    random: Random,
    /// Before this nothing counts.
    pub(super) from: Duration,
    pub(super) media_bytes: u64,
}

impl Site {
    pub(super) fn new(world: World, sources: &[Source], seed: u64) -> Self {
        let count = sources.len() as u32;
        let relays = sources.iter().zip(0..).map(|(source, n)| Relay {
            source: *source,
            phase: Duration::from_millis(500)
                + Duration::from_micros(40_000 * n / u64::from(count)),
            next: 0,
            backlog: Backlog::new(),
            finishing: VecDeque::new(),
            configuration: Arc::new(Configuration {
                codec: Codec::H264,
                record: Bytes::new(),
                width: 0,
                height: 0,
            }),
        });
        Self {
            world,
            control: Control::default(),
            replies: Control::default(),
            both_ways: None,
            was_silent: false,
            whole_since: None,
            relays: relays.collect(),
            turns: Turns::default(),
            gave_way: 0,
            incoming: BTreeMap::new(),
            owners: BTreeMap::new(),
            current: vec![(0, true); sources.len()],
            seen: vec![Seen::default(); sources.len()],
            random: Random::new(seed),
            from: Duration::ZERO,
            media_bytes: 0,
        }
    }

    /// Runs to this time.
    pub(super) fn run(&mut self, until: Duration) {
        while self.world.now < until {
            let picture = self.relays.iter().map(Relay::due).min();
            let grace = self.grace();
            let deadlines = self.relays.iter().filter_map(|relay| {
                let tail = relay.finishing.front().map(|(_, at)| at.0);
                let late = relay.backlog.deadline(grace).map(|at| at.0);
                tail.into_iter().chain(late).min()
            });
            let turns = self
                .incoming
                .values()
                .map(|incoming| incoming.began + LEAST_GRACE);
            let now = self.world.now;
            let next = picture
                .into_iter()
                .chain([self.control.next, self.replies.next])
                .chain(deadlines)
                .chain(turns.filter(|at| *at > now))
                .chain(self.world.next())
                .min()
                .unwrap_or(until)
                .min(until);
            self.world.advance(next);
            self.pictures();
            self.say();
            self.send();
            self.world.drive();
            self.receive();
            self.world.drive();
        }
    }

    fn grace(&mut self) -> Duration {
        LEAST_GRACE.max(3 * self.world.gateway().rtt())
    }

    fn pictures(&mut self) {
        let now = Boot(self.world.now);
        for at in 0..self.relays.len() {
            while self.relays[at].due() <= now.0 {
                self.picture(at, now);
            }
        }
    }

    fn picture(&mut self, at: usize, now: Boot) {
        let relay = &mut self.relays[at];
        let number = relay.next;
        relay.next += 1;
        let shift = at as u64 * 7 % relay.source.gop;
        let is_key = number == 0 || (number + shift).is_multiple_of(relay.source.gop);
        let (key, small) = relay.source.sizes();
        let size = if is_key { key } else { small };
        // A quarter more or less.
        let size = size * 3 / 4 + self.random.number() as usize % (size / 2).max(1);
        if is_key {
            let group = Arc::new(Group {
                number: number + 1,
                epoch: 1,
                first_of_epoch: number == 0,
                open: false,
                kept: false,
                profile: Profile::Main,
                configuration: Arc::clone(&relay.configuration),
            });
            let mut lowered = Vec::new();
            relay
                .backlog
                .start(group, now, |writer| lowered.push(writer.id));
            for id in lowered {
                self.world.lower(id);
            }
        }
        let unit = AccessUnit {
            flags: UnitFlags {
                key: is_key,
                disposable: false,
                loss_before: false,
            },
            pts: number as i64,
            captured: now.0.as_micros() as i64,
            data: Bytes::from(vec![0; size]),
        };
        self.relays[at].backlog.push(Arc::new(unit), now);
        if now.0 >= self.from {
            self.seen[at].sent += 1;
        }
    }

    /// A control message in its time; what the link did not take of those before goes first.
    fn say(&mut self) {
        let now = self.world.now;
        if self.control.id.is_none() {
            self.control.id = self.world.open(priority::CONTROL);
        }
        self.control.say(now);
        if let Some(id) = self.control.id {
            self.world.write(id, &mut self.control.pending);
        }
        if self.both_ways.is_none() {
            self.both_ways = self.world.open_both_ways();
        }
        self.replies.say(now);
        if let Some(id) = self.both_ways {
            self.world.write_back(id, &mut self.replies.pending);
        }
    }

    /// When the last control message came: at the receiver, and at the gateway.
    pub(super) fn last_heard(&self) -> [Duration; 2] {
        [self.control.last, self.replies.last]
    }

    /// How long control messages took, the slowest last.
    pub(super) fn control_delays(&self) -> Vec<Duration> {
        let mut delays = self.control.delays.clone();
        delays.sort_unstable();
        delays
    }

    /// As the relays' tasks do, in turns.
    fn send(&mut self) {
        let now = Boot(self.world.now);
        let grace = self.grace();
        let is_silent = self.world.is_silent;
        if std::mem::replace(&mut self.was_silent, is_silent) && !is_silent {
            self.turns.forget_rate();
        }
        for at in 0..self.relays.len() {
            self.relays[at].backlog.set_away(is_silent, now);
            while self.relays[at]
                .finishing
                .front()
                .is_some_and(|(_, end)| *end <= now)
            {
                if let Some((id, _)) = self.relays[at].finishing.pop_front() {
                    self.world.reset(id);
                }
            }
            for writer in self.relays[at].backlog.expire(now, grace).reset {
                self.world.reset(writer.id);
            }
            self.finish(at, now, grace);
            self.note(at);
        }
        while let Some(at) = self.turns.first() {
            if !self.control.pending.is_empty() || !self.write(at, now) {
                if !is_silent {
                    self.turns.blocked(now);
                }
                break;
            }
            self.finish(at, now, grace);
            self.note(at);
        }
        let capacity = self.world.known.capacity();
        self.world.waits = self.turns.waited(now, WAITED);
        if is_silent {
            return;
        }
        while let Some(victim) = self.turns.victim(now, capacity) {
            self.relays[victim].backlog.give_way();
            self.gave_way += 1;
            self.finish(victim, now, grace);
            self.note(victim);
        }
    }

    fn note(&mut self, at: usize) {
        self.turns
            .set(at, Class::Rest, self.relays[at].backlog.standing());
    }

    /// Finishes what is all written.
    fn finish(&mut self, at: usize, now: Boot, grace: Duration) {
        let mut other = 0;
        while let Some(step) = self.relays[at].backlog.nth(other) {
            if let Step::Finish(n) = step {
                let writer = self.relays[at].backlog.remove(n).unwrap().writer.unwrap();
                self.world.finish(writer.id);
                self.relays[at]
                    .finishing
                    .push_back((writer.id, now.plus(grace)));
            } else {
                other += 1;
            }
        }
    }

    /// One picture of a relay; false where the link takes no more.
    fn write(&mut self, at: usize, now: Boot) -> bool {
        loop {
            let backlog = &mut self.relays[at].backlog;
            match backlog.nth(0) {
                None | Some(Step::Finish(_)) => return true,
                Some(Step::Open(n)) => {
                    let Some(id) = self.world.open(Class::Rest.number()) else {
                        return false;
                    };
                    let entry = backlog.entry(n).unwrap();
                    self.owners.insert(id, (at, entry.group.number));
                    entry.writer = Some(Writer {
                        id,
                        pending: Bytes::new(),
                    });
                }
                Some(Step::Write(n)) => {
                    let is_written = |entry: &Writer| entry.pending.is_empty();
                    let empty = backlog
                        .entry(n)
                        .unwrap()
                        .writer
                        .as_ref()
                        .is_some_and(is_written);
                    let unit = if empty { backlog.take_unit(n) } else { None };
                    let writer = backlog.entry(n).unwrap().writer.as_mut().unwrap();
                    if let Some(unit) = unit {
                        let mut bytes = BytesMut::from(&UnitHeader::encode(&unit, false)[..]);
                        bytes.extend_from_slice(&unit.data);
                        writer.pending = bytes.freeze();
                    }
                    let (id, mut pending) = (writer.id, writer.pending.clone());
                    let before = pending.len();
                    self.world.write(id, &mut pending);
                    self.turns.wrote(now, before - pending.len());
                    let entry = self.relays[at].backlog.entry(n).unwrap();
                    entry.wrote(before - pending.len());
                    let is_written = pending.is_empty();
                    entry.writer.as_mut().unwrap().pending = pending;
                    if is_written {
                        entry.written();
                    }
                    return is_written;
                }
            }
        }
    }

    fn receive(&mut self) {
        let now = self.world.now;
        for (id, _, _) in self.world.read() {
            if Some(id) == self.control.id {
                continue;
            }
            let (relay, group) = self.owners[&id];
            let incoming = Incoming {
                relay,
                group,
                buffer: Vec::new(),
                units: VecDeque::new(),
                began: now,
                over: false,
            };
            self.incoming.insert(id, incoming);
        }
        if let Some(id) = self.control.id {
            let (bytes, _) = self.world.read_stream(id);
            self.control.hear(&bytes, now, self.from);
        }
        if let Some(id) = self.both_ways {
            let bytes = self.world.read_back(id);
            self.replies.hear(&bytes, now, self.from);
        }
        let ids: Vec<StreamId> = self.incoming.keys().copied().collect();
        for id in ids {
            if self.incoming[&id].over {
                continue;
            }
            let (bytes, over) = self.world.read_stream(id);
            if let Some(incoming) = self.incoming.get_mut(&id) {
                incoming.take(&bytes);
                incoming.over = over.is_some();
            }
        }
        self.deliver(now);
    }

    /// As the hub does: a group's turn comes when the one before is over, or a grace
    /// after it began.
    fn deliver(&mut self, now: Duration) {
        let mut by_group: Vec<(usize, u64, StreamId)> = self
            .incoming
            .iter()
            .map(|(id, incoming)| (incoming.relay, incoming.group, *id))
            .collect();
        by_group.sort_unstable();
        for (relay, group, id) in by_group {
            let Some(incoming) = self.incoming.get_mut(&id) else {
                continue;
            };
            let (current, is_over) = self.current[relay];
            let is_turn = is_over || now >= incoming.began + LEAST_GRACE;
            if group > current && is_turn {
                self.current[relay] = (group, false);
            }
            if self.current[relay].0 == group {
                while let Some((captured, bytes)) = incoming.units.pop_front() {
                    let sent = Duration::from_micros(captured as u64);
                    if sent >= self.from {
                        self.media_bytes += bytes as u64;
                        self.seen[relay].note(now, sent, self.whole_since);
                    }
                }
                self.current[relay].1 = incoming.over;
            }
            if incoming.over && group <= self.current[relay].0 {
                self.incoming.remove(&id);
            }
        }
    }

    pub(super) fn all(&self) -> Summary {
        let mut transit: Vec<Duration> = self
            .seen
            .iter()
            .flat_map(|seen| seen.transit.clone())
            .collect();
        transit.sort_unstable();
        let at = |part: f64| {
            let index = (transit.len() as f64 * part) as usize;
            let value = transit.get(index.min(transit.len().saturating_sub(1)));
            value.map_or(f64::NAN, |value| value.as_secs_f64() * 1e3)
        };
        let sent: u64 = self.seen.iter().map(|seen| seen.sent).sum();
        Summary {
            p50: at(0.5),
            p95: at(0.95),
            p99: at(0.99),
            worst: at(1.0),
            shown: transit.len() as f64 / sent as f64,
            freeze: self
                .seen
                .iter()
                .map(|seen| seen.longest_gap)
                .max()
                .unwrap_or_default(),
        }
    }
}

/// What became of all pictures; milliseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Summary {
    pub(super) p50: f64,
    pub(super) p95: f64,
    pub(super) p99: f64,
    pub(super) worst: f64,
    pub(super) shown: f64,
    pub(super) freeze: Duration,
}

impl Control {
    /// A message in its time, behind what the link did not take of those before.
    fn say(&mut self, now: Duration) {
        if now < self.next {
            return;
        }
        self.next = now + CONTROL_EVERY;
        let mut bytes = BytesMut::from(&self.pending[..]);
        bytes.extend_from_slice(&(now.as_micros() as u64).to_be_bytes());
        bytes.extend_from_slice(&[0; CONTROL_BYTES - 8]);
        self.pending = bytes.freeze();
    }

    fn hear(&mut self, bytes: &[u8], now: Duration, from: Duration) {
        self.received.extend_from_slice(bytes);
        while let Some(message) = self.received.get(..CONTROL_BYTES) {
            let said = Duration::from_micros(u64::from_be_bytes(message[..8].try_into().unwrap()));
            self.received.drain(..CONTROL_BYTES);
            if said >= from {
                self.delays.push(now - said);
                self.last = now;
            }
        }
    }
}

impl Relay {
    fn due(&self) -> Duration {
        self.phase + Duration::from_millis(40 * self.next)
    }
}

impl Incoming {
    fn take(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
        while let Some(header) = self.buffer.first_chunk::<UNIT_HEADER>() {
            let header = UnitHeader::decode(header).unwrap();
            let whole = UNIT_HEADER + header.length;
            if self.buffer.len() < whole {
                return;
            }
            self.buffer.drain(..whole);
            self.units.push_back((header.captured, header.length));
        }
    }
}

impl Seen {
    fn note(&mut self, now: Duration, sent: Duration, whole_since: Option<Duration>) {
        if let Some(since) = whole_since {
            self.again.get_or_insert(now - since);
            if sent >= since {
                self.live.get_or_insert(now - since);
            }
        }
        self.transit.push(now - sent);
        if let Some(last) = self.last.replace(now) {
            self.longest_gap = self.longest_gap.max(now - last);
        }
    }
}
