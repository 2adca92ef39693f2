//! Whose picture goes next over a link that several relays share, and which of them
//! gives way when there is more than it carries.
//!
//! The rules:
//!
//! * the more important class first; within a class the picture that waits longest,
//!   whole: pictures that take turns by pieces would all be late;
//! * what waits may take as long as a quarter second to send, or as one key frame takes
//!   where that is more. Beyond, a relay of the least important class gives up the rest
//!   of its group: the one whose next key frame is nearest, since its picture is
//!   frozen for the shortest time. So cameras lose the ends of their groups in turn,
//!   and what is shown is shown in time;
//! * a relay that has the link to itself lets its pictures wait for nearly a second.
//!
//! Pure: time is passed in; `K` names a relay.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::clock::Boot;
use crate::media::relay::Class;

/// Time that what waits may take to send: at least, and at most.
const ALLOWED: (Duration, Duration) = (Duration::from_millis(250), Duration::from_millis(850));
/// The same for a relay that has the link to itself. Its picture is frozen from there
/// until its next key frame, and nobody else has the time that it leaves: each tenth of a
/// second more is worth a quarter of a second of pictures where 3.4 Mbit/s meet 2. With this
/// 95 % of the pictures are there within a second.
const ALLOWED_ALONE: Duration = Duration::from_millis(940);
/// How long a link must have been busy for its rate to be told by that.
const LEAST_BUSY: Duration = Duration::from_millis(100);
/// How long, for its rate to count for more than what is known otherwise.
const LONG_BUSY: Duration = Duration::from_millis(500);
/// Older than this counts for half.
const RATE_SPAN: Duration = Duration::from_secs(1);
/// Time between two that give way because nothing else helped.
const PAUSE: Duration = Duration::from_millis(100);

/// The state of one relay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Since when its next picture waits; `None`: nothing waits.
    pub since: Option<Boot>,
    /// Bytes of all its pictures that wait.
    pub bytes: usize,
    /// Whether it can give up the rest of its group.
    pub can_give_way: bool,
    /// When its next key frame is expected; `None` where its habit is not known.
    pub next_key: Option<Boot>,
    /// Bytes of its newest key frame.
    pub key_bytes: usize,
    /// Bytes per second of its key frames, and of what it can give up.
    pub rates: (usize, usize),
}

/// The relays of one link.
#[derive(Clone, Debug)]
pub struct Turns<K> {
    relays: BTreeMap<K, (Class, Standing)>,
    order: BTreeSet<(Reverse<Class>, Boot, K)>,
    bytes: usize,
    busy: Option<Busy>,
    /// When a relay gave way last.
    gave_way: Option<Boot>,
    /// When pictures last waited for longer than a moment.
    blocked: Option<Boot>,
}

/// Since when the link takes less than there is, and what it took.
#[derive(Clone, Copy, Debug)]
struct Busy {
    since: Boot,
    written: u64,
}

/// Bytes per second.
#[derive(Clone, Copy, Debug)]
struct Rate(u64);

impl Rate {
    /// How long so many bytes take.
    fn time(self, bytes: usize) -> Duration {
        let micros = bytes as u128 * 1_000_000 / u128::from(self.0);
        Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }
}

impl<K> Default for Turns<K> {
    fn default() -> Self {
        Self {
            relays: BTreeMap::new(),
            order: BTreeSet::new(),
            bytes: 0,
            busy: None,
            gave_way: None,
            blocked: None,
        }
    }
}

impl<K: Copy + Ord> Turns<K> {
    /// A relay's state now.
    pub fn set(&mut self, relay: K, class: Class, standing: Standing) {
        let now = (class, standing);
        let before = self.relays.insert(relay, now);
        let place =
            |(class, standing): (Class, Standing)| Some((Reverse(class), standing.since?, relay));
        let (from, to) = (before.and_then(place), place(now));
        if from != to {
            if let Some(from) = from {
                self.order.remove(&from);
            }
            if let Some(to) = to {
                self.order.insert(to);
            }
        }
        self.bytes += standing.bytes;
        self.bytes -= before.map_or(0, |(_, before)| before.bytes);
        self.rest();
    }

    /// A relay is over.
    pub fn remove(&mut self, relay: K) {
        if let Some((class, before)) = self.relays.remove(&relay) {
            if let Some(since) = before.since {
                self.order.remove(&(Reverse(class), since, relay));
            }
            self.bytes -= before.bytes;
        }
        self.rest();
    }

    /// A link without anything to send says nothing of its rate.
    fn rest(&mut self) {
        if self.order.is_empty() {
            self.busy = None;
            self.gave_way = None;
        }
    }

    /// Whose turn it is.
    pub fn first(&self) -> Option<K> {
        self.order.first().map(|(_, _, relay)| *relay)
    }

    /// The link takes no more for now.
    pub fn blocked(&mut self, now: Boot) {
        let busy = self.busy.get_or_insert(Busy {
            since: now,
            written: 0,
        });
        if now.since(busy.since) >= LEAST_BUSY {
            self.blocked = Some(now);
        }
    }

    /// The link took so many bytes.
    pub fn wrote(&mut self, now: Boot, bytes: usize) {
        if let Some(busy) = &mut self.busy {
            busy.written += bytes as u64;
            let span = now.since(busy.since);
            if span > RATE_SPAN {
                busy.written /= 2;
                busy.since = busy.since.plus(span / 2);
            }
        }
    }

    /// The link was cut: what it took meanwhile is not what it carries.
    pub const fn forget_rate(&mut self) {
        self.busy = None;
    }

    /// Whether pictures waited for the link within this time.
    pub fn waited(&self, now: Boot, within: Duration) -> bool {
        self.blocked.is_some_and(|at| now.since(at) < within)
    }

    /// Bytes that wait, of all relays.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// What the link carries: `known` by its congestion control (bytes per second, with
    /// what QUIC adds), else by what it took while pictures waited.
    fn rate(&self, now: Boot, known: Option<u64>) -> Option<Rate> {
        let busy = self.busy?;
        let span = now.since(busy.since);
        let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX).max(1);
        let taken = busy.written.saturating_mul(1_000_000) / micros;
        let known = known.map(|known| (known * 19 / 20).max(1));
        let rate = match known {
            // A line that lets bursts through looks faster than it is.
            Some(known) if span >= LONG_BUSY => known.min(taken.max(1)),
            Some(known) => known,
            None if span >= LEAST_BUSY => taken,
            None => 0,
        };
        (rate > 0).then_some(Rate(rate))
    }

    /// A relay that must give up the rest of its group, if one must; it is taken to do
    /// so. For `known` see the congestion control's.
    pub fn victim(&mut self, now: Boot, known: Option<u64>) -> Option<K> {
        let rate = self.rate(now, known)?;
        // A key frame that is overdue may be as far away as any.
        let far = Boot(Duration::MAX);
        let due = |at: Option<Boot>| at.filter(|at| *at > now).unwrap_or(far);
        let (victim, (class, standing)) = self
            .relays
            .iter()
            .filter(|(_, (_, standing))| standing.can_give_way)
            .min_by_key(|(relay, (class, standing))| (*class, due(standing.next_key), **relay))?;
        // Less important ones are sent after it: for them it gives up nothing.
        let counted: Vec<Standing> = self
            .relays
            .values()
            .filter(|(other, _)| other >= class)
            .map(|(_, standing)| *standing)
            .collect();
        let key = counted.iter().map(|standing| standing.key_bytes).max();
        let key = key.unwrap_or(0);
        let allowed = match counted.len() {
            1 => ALLOWED_ALONE,
            _ => rate.time(key + key / 5).clamp(ALLOWED.0, ALLOWED.1),
        };
        let wait = rate.time(counted.iter().map(|standing| standing.bytes).sum());
        let (victim, gives) = (*victim, standing.rates.1);
        // What comes must be what goes, and more or less by what waits too little or too
        // long. A relay that is missed then does not give way.
        let comes: usize = counted
            .iter()
            .map(|s| s.rates.0 + if s.can_give_way { s.rates.1 } else { 0 })
            .sum();
        let without = rate.time(comes - gives);
        let may_come = (Duration::from_secs(1) + allowed * 2).saturating_sub(wait * 2);
        // What has hardly begun to wait may be a moment's hitch.
        let is_too_much = without > may_come && wait > allowed / 3;
        let is_rested = self.gave_way.is_none_or(|at| now.since(at) >= PAUSE);
        let is_late = wait > allowed && is_rested;
        if !is_too_much && !is_late {
            return None;
        }
        self.gave_way = Some(now);
        if let Some((_, standing)) = self.relays.get_mut(&victim) {
            standing.can_give_way = false;
        }
        Some(victim)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Boot {
        Boot(Duration::from_millis(ms))
    }

    fn standing(since: u64, bytes: usize, next_key: u64) -> Standing {
        Standing {
            since: Some(at(since)),
            bytes,
            can_give_way: true,
            next_key: Some(at(next_key)),
            key_bytes: 10_000,
            rates: (0, 1_000),
        }
    }

    #[test]
    fn the_more_important_goes_first_then_who_waits_longest() {
        let mut turns = Turns::default();
        assert_eq!(turns.first(), None);
        turns.set(1, Class::Rest, standing(5, 10, 0));
        turns.set(2, Class::Rest, standing(3, 10, 0));
        turns.set(3, Class::Focus, standing(9, 10, 0));
        assert_eq!((turns.first(), turns.bytes()), (Some(3), 30));
        turns.set(3, Class::Focus, Standing::default());
        assert_eq!(turns.first(), Some(2));
        turns.set(2, Class::Rest, standing(7, 20, 0));
        assert_eq!((turns.first(), turns.bytes()), (Some(1), 30));
        turns.remove(1);
        turns.set(2, Class::Mosaic, standing(7, 20, 0));
        turns.remove(2);
        assert_eq!((turns.first(), turns.bytes()), (None, 0));
    }

    /// A link that took 100 bytes a millisecond for 200 ms.
    fn busy() -> Turns<u32> {
        let mut turns = Turns::default();
        turns.blocked(at(0));
        turns.wrote(at(200), 20_000);
        turns
    }

    #[test]
    fn a_quarter_second_of_pictures_may_wait() {
        let mut turns = busy();
        turns.set(1, Class::Rest, standing(0, 25_000, 900));
        assert_eq!(turns.victim(at(200), None), None);
        turns.set(2, Class::Rest, standing(0, 1_000, 800));
        assert_eq!(
            turns.clone().victim(at(200), None),
            Some(2),
            "its key frame is nearer"
        );
        turns.set(2, Class::Focus, standing(0, 1_000, 800));
        assert_eq!(
            turns.clone().victim(at(200), None),
            Some(1),
            "it is less important"
        );
        let stubborn = Standing {
            can_give_way: false,
            ..standing(0, 26_000, 900)
        };
        turns.set(1, Class::Rest, stubborn);
        assert_eq!(
            turns.victim(at(200), None),
            None,
            "what is less important is sent after it anyway"
        );
    }

    #[test]
    fn as_many_give_way_as_make_what_comes_what_goes() {
        let mut turns = busy();
        let camera = |bytes, can_give_way| Standing {
            can_give_way,
            rates: (5_000, 20_000),
            ..standing(0, bytes, 900)
        };
        // 250 KB/s on 100: with a quarter second waiting four may stay, and one more
        // while less waits.
        for relay in 0..10 {
            turns.set(relay, Class::Rest, camera(2_500, true));
        }
        let mut gave = 0;
        while let Some(relay) = turns.victim(at(200), None) {
            turns.set(relay, Class::Rest, camera(2_500, false));
            gave += 1;
        }
        assert_eq!(gave, 7);
        assert_eq!(
            turns.victim(at(400), Some(300_000)),
            None,
            "it carries more now"
        );
    }

    #[test]
    fn a_link_for_less_than_a_key_frame_in_a_quarter_second_gets_more_time() {
        let long = |bytes| Standing {
            key_bytes: 50_000,
            ..standing(0, bytes, 900)
        };
        let mut turns = busy();
        turns.set(1, Class::Rest, long(60_000));
        turns.set(2, Class::Rest, Standing::default());
        assert_eq!(turns.victim(at(200), None), None);
        turns.set(1, Class::Rest, long(61_000));
        assert_eq!(turns.victim(at(200), None), Some(1));
    }

    #[test]
    fn a_relay_that_has_the_link_to_itself_may_wait_for_nearly_a_second() {
        let mut turns = busy();
        turns.set(1, Class::Rest, standing(0, 94_000, 1_500));
        assert_eq!(turns.victim(at(200), None), None);
        turns.set(1, Class::Rest, standing(0, 95_000, 1_500));
        assert_eq!(turns.victim(at(200), None), Some(1));
    }

    #[test]
    fn nobody_gives_way_while_the_rate_is_not_known() {
        let mut turns = Turns::default();
        turns.set(1, Class::Rest, standing(0, 1_000_000, 900));
        assert_eq!(turns.victim(at(500), None), None);
        turns.blocked(at(500));
        turns.wrote(at(550), 100);
        assert_eq!(turns.victim(at(550), None), None);
        assert_eq!(turns.clone().victim(at(600), None), Some(1));
        turns.set(1, Class::Rest, Standing::default());
        turns.set(1, Class::Rest, standing(0, 1_000_000, 900));
        assert_eq!(
            turns.victim(at(900), None),
            None,
            "a pause ends what was known"
        );
    }
}
