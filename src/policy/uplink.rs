//! Shares the commune's uplink among its relays: which of a camera's streams
//! each relay carries, and why. Pure.
//!
//! One uplink serves all centres. What it may carry is the smallest of the
//! setting (`[uplink] max_bitrate`) and what the links gave while they were the
//! limit; [`HEADERS`] of it are the link's own. Where neither is known, everybody
//! gets what he prefers until pictures come late.
//!
//! The rules, in order:
//!
//! * an operator who asks for `main` or `sub` gets it. A `main` that does not fit
//!   stays `main` and loses pictures: that is what was asked for;
//! * every other relay first gets its smallest stream;
//! * then, by rank (class, then age), the full one where it fits. Beside a
//!   focused camera of the same centre the rest of the page prefers the sub-stream;
//! * down at once; up only into [`MARGIN`] of the budget, and not within
//!   [`DWELL`] of the last move unless the operator looks closer;
//! * who ranks higher never has less than who ranks lower and needs as much;
//! * what was measured grows old: after [`PROBE_AFTER`] one relay is tried above
//!   it; each failure doubles the wait, up to [`PROBE_AFTER_LIMIT`].

mod rate;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::format::cause::Cause;
pub use rate::Rate;

use crate::clock::Boot;
use crate::format::ids::{ProfileWish, ReceiverId};
use crate::media::relay::Class;
use crate::media::relay::{Profile, RelayId};

/// Bits per second of a full stream that was never measured.
pub const ASSUMED_MAIN: u64 = 4_000_000;
/// Bits per second of a sub-stream that was never measured.
pub const ASSUMED_SUB: u64 = 600_000;
/// What headers and retransmissions take of the uplink, in hundredths.
pub const HEADERS: u64 = 5;
/// A relay moves up only where all then fits in this part of the budget, in hundredths.
pub const MARGIN: u64 = 85;
/// Least time between a relay's move and its next one upwards.
pub const DWELL: Duration = Duration::from_secs(10);
/// How long what was measured is believed before one relay is tried above it.
pub const PROBE_AFTER: Duration = Duration::from_secs(60);
/// The longest such wait.
pub const PROBE_AFTER_LIMIT: Duration = Duration::from_secs(8 * 60);
/// A try is good when nothing came late for this long.
const PROBE_TRIAL: Duration = Duration::from_secs(20);
/// Moves take this long to show: lateness within it says nothing new.
const STEP: Duration = Duration::from_secs(2);

/// A relay of the gateway.
pub type Key = (ReceiverId, RelayId);

/// Bits per second of a camera's streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates {
    /// Of the full one.
    pub main: u64,
    /// Of the smaller one.
    pub sub: u64,
}

impl Rates {
    /// Of one of them.
    pub const fn of(self, profile: Profile) -> u64 {
        match profile {
            Profile::Main => self.main,
            Profile::Sub => self.sub,
        }
    }

    /// What the full stream takes more.
    const fn more(self) -> u64 {
        self.main.saturating_sub(self.sub)
    }
}

/// What a relay carries now, or is to move to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Which relay.
    pub key: Key,
    /// The stream.
    pub profile: Profile,
    /// Why.
    pub cause: Cause,
}

#[derive(Clone, Debug)]
struct Held {
    class: Class,
    /// Smaller: older.
    order: u64,
    wish: ProfileWish,
    has_sub: bool,
    rates: Rates,
    /// As last placed, and since when.
    placed: Option<(Profile, Cause)>,
    since: Boot,
    /// The operator looks closer since the last move.
    is_raised: bool,
    /// Stays where it is, why, and until when; `None`: for good.
    bar: Option<(Cause, Option<Boot>)>,
}

impl Held {
    fn profile(&self) -> Option<Profile> {
        self.placed.map(|(profile, _)| profile)
    }

    /// The stream that it has whatever the budget, if there is no choice.
    fn fixed(&self) -> Option<(Profile, Cause)> {
        match (self.wish, self.bar, self.profile()) {
            _ if !self.has_sub => Some((Profile::Main, Cause::NoSubStream)),
            (_, Some((cause, _)), Some(profile)) => Some((profile, cause)),
            (ProfileWish::Main, _, _) => Some((Profile::Main, Cause::Asked)),
            (ProfileWish::Sub, _, _) => Some((Profile::Sub, Cause::Asked)),
            (ProfileWish::Auto, _, _) => None,
        }
    }

    /// What it takes at least.
    fn least(&self) -> u64 {
        let profile = self.fixed().map_or(Profile::Sub, |(profile, _)| profile);
        self.rates.of(profile)
    }
}

/// What the links gave while they were the limit.
#[derive(Clone, Copy, Debug)]
struct Ceiling {
    bits: u64,
    since: Boot,
    /// The links measured it; else it was guessed from what came late.
    is_measured: bool,
}

/// A relay was let above the ceiling.
#[derive(Clone, Copy, Debug)]
struct Trial {
    since: Boot,
    before: u64,
}

/// The uplink. Feed it with `handle_*`, then take [`Uplink::allot`]. All rates
/// are bits per second.
#[derive(Clone, Debug)]
pub struct Uplink {
    limit: Option<u64>,
    measured: Option<u64>,
    ceiling: Option<Ceiling>,
    probe_after: Duration,
    trial: Option<Trial>,
    stepped: Option<Boot>,
    relays: BTreeMap<Key, Held>,
    next_order: u64,
}

impl Uplink {
    /// An uplink without relays; `limit` is the setting.
    pub const fn new(limit: Option<u64>) -> Self {
        Self {
            limit,
            measured: None,
            ceiling: None,
            probe_after: PROBE_AFTER,
            trial: None,
            stepped: None,
            relays: BTreeMap::new(),
            next_order: 0,
        }
    }

    /// A new setting.
    pub const fn handle_limit(&mut self, limit: Option<u64>) {
        self.limit = limit;
    }

    /// Settings were reloaded: what did not come about may do so now.
    pub fn handle_reload(&mut self) {
        for held in self.relays.values_mut() {
            held.bar = None;
        }
    }

    /// A relay begins; it is placed by the next [`Uplink::allot`].
    pub fn handle_start(&mut self, key: Key, wish: ProfileWish, has_sub: bool, now: Boot) {
        let order = self.next_order;
        self.next_order += 1;
        let held = Held {
            class: Class::Rest,
            order,
            wish,
            has_sub,
            rates: Rates {
                main: ASSUMED_MAIN,
                sub: ASSUMED_SUB,
            },
            placed: None,
            since: now,
            is_raised: false,
            bar: None,
        };
        self.relays.insert(key, held);
    }

    /// A relay ended.
    pub fn handle_stop(&mut self, key: &Key) {
        self.relays.remove(key);
        if self.relays.is_empty() {
            // What is known of the line is kept: the next one is tried against it,
            // at once where it is old.
            self.trial = None;
        }
    }

    /// What its operators want now, and whether the camera has a sub-stream.
    pub fn handle_wish(&mut self, key: &Key, wish: ProfileWish) {
        if let Some(held) = self.relays.get_mut(key) {
            held.wish = wish;
        }
    }

    /// Whether its camera has a sub-stream now.
    pub fn handle_streams(&mut self, key: &Key, has_sub: bool) {
        if let Some(held) = self.relays.get_mut(key)
            && std::mem::replace(&mut held.has_sub, has_sub) != has_sub
        {
            held.bar = None;
        }
    }

    /// How important it is now.
    pub fn handle_class(&mut self, key: &Key, class: Class) {
        if let Some(held) = self.relays.get_mut(key) {
            held.is_raised |= class > held.class;
            held.class = class;
        }
    }

    /// What its camera's streams take.
    pub fn handle_rates(&mut self, key: &Key, rates: Rates) {
        if let Some(held) = self.relays.get_mut(key) {
            held.rates = rates;
        }
    }

    /// A move did not come about: the relay stays with `profile`, for this cause,
    /// until then (`None`: for good).
    pub fn handle_barred(
        &mut self,
        key: &Key,
        profile: Profile,
        cause: Cause,
        until: Option<Boot>,
    ) {
        if let Some(held) = self.relays.get_mut(key) {
            held.placed = Some((profile, cause));
            held.bar = Some((cause, until));
        }
    }

    /// What all links together gave while they were the limit. The same figure
    /// again is no news.
    pub fn handle_measured(&mut self, bits: u64, now: Boot) {
        let is_news = self
            .measured
            .is_none_or(|known| known.abs_diff(bits) > known / 20);
        if !is_news {
            return;
        }
        self.measured = Some(bits);
        if self.trial.is_some() && net(bits) < self.demand() {
            self.trial = None;
            self.failed();
        }
        self.ceiling = Some(Ceiling {
            bits,
            since: now,
            is_measured: true,
        });
    }

    /// Pictures of some relay come late. `sent` is what all links together sent
    /// of late.
    pub fn handle_late(&mut self, sent: u64, now: Boot) {
        let is_soon = self.stepped.is_some_and(|at| now.since(at) < STEP);
        let demand = gross(self.demand());
        // A link that carries nothing is cut, not narrow.
        if is_soon || sent < demand / 10 {
            return;
        }
        self.stepped = Some(now);
        let mut bits = sent.min(demand / 10 * 9);
        if let Some(trial) = self.trial.take() {
            self.failed();
            bits = bits.max(trial.before);
        } else if !self.can_move_down() {
            bits = sent;
        }
        let known = self.ceiling.map_or(u64::MAX, |ceiling| ceiling.bits);
        if known > bits {
            self.ceiling = Some(Ceiling {
                bits,
                since: now,
                is_measured: false,
            });
        } else if let Some(ceiling) = &mut self.ceiling {
            ceiling.since = now;
        }
    }

    fn failed(&mut self) {
        self.probe_after = (self.probe_after * 2).min(PROBE_AFTER_LIMIT);
    }

    fn can_move_down(&self) -> bool {
        self.relays
            .values()
            .any(|held| held.fixed().is_none() && held.profile() == Some(Profile::Main))
    }

    /// What the uplink may carry, headers included; `None` while it is not known.
    pub fn capacity(&self) -> Option<u64> {
        let measured = self.ceiling.map(|ceiling| ceiling.bits);
        match (self.limit, measured) {
            (Some(limit), Some(measured)) => Some(limit.min(measured)),
            (limit, measured) => limit.or(measured),
        }
    }

    /// The stream that a relay is placed on, and why.
    pub fn placed(&self, key: &Key) -> Option<(Profile, Cause)> {
        self.relays.get(key)?.placed
    }

    /// What the links measured of late, where it is less than the setting. What is
    /// older, or guessed from a bad moment, is no ground to refuse a request.
    pub fn measured(&self, now: Boot) -> Option<u64> {
        let ceiling = self.ceiling?;
        let is_less = self.limit.is_none_or(|limit| ceiling.bits < limit);
        let is_fresh = now.since(ceiling.since) < PROBE_AFTER;
        (ceiling.is_measured && is_fresh && is_less && !self.relays.is_empty())
            .then_some(ceiling.bits)
    }

    /// What the streams take that are placed now, without headers.
    pub fn demand(&self) -> u64 {
        let relays = self.relays.values();
        relays
            .map(|held| held.profile().map_or(0, |profile| held.rates.of(profile)))
            .sum()
    }

    /// What they would take if all had what they prefer, without headers.
    pub fn wanted(&self) -> u64 {
        let focused = self.focused();
        self.relays
            .iter()
            .map(|(key, held)| match held.fixed() {
                Some((profile, _)) => held.rates.of(profile),
                None if gives_way(key, held, &focused) => held.rates.sub,
                None => held.rates.main,
            })
            .sum()
    }

    /// Centres where one camera is looked at closely.
    fn focused(&self) -> BTreeSet<ReceiverId> {
        let relays = self.relays.iter();
        relays
            .filter(|(_, held)| held.class == Class::Focus)
            .map(|((centre, _), _)| centre.clone())
            .collect()
    }

    /// Places all relays; returns those whose stream or cause is new.
    pub fn allot(&mut self, now: Boot) -> Vec<Placed> {
        for held in self.relays.values_mut() {
            held.bar = held
                .bar
                .filter(|(_, until)| until.is_none_or(|at| now < at));
        }
        self.judge_trial(now);
        let plan = self.plan(now);
        let holds_down = plan.iter().any(|(.., cause)| *cause == Cause::Uplink);
        let is_old = |ceiling: &mut Ceiling| now.since(ceiling.since) >= self.probe_after;
        if !plan.is_empty() && !holds_down && self.trial.is_none() {
            self.ceiling.take_if(is_old);
        }
        let mut news = Vec::new();
        for (key, profile, cause) in plan {
            let Some(held) = self.relays.get_mut(&key) else {
                continue;
            };
            if held.placed == Some((profile, cause)) {
                continue;
            }
            if held.profile() != Some(profile) {
                held.since = now;
                held.is_raised = false;
            }
            held.placed = Some((profile, cause));
            news.push(Placed {
                key,
                profile,
                cause,
            });
        }
        news
    }

    fn judge_trial(&mut self, now: Boot) {
        if self
            .trial
            .is_some_and(|trial| now.since(trial.since) >= PROBE_TRIAL)
        {
            self.trial = None;
            self.probe_after = PROBE_AFTER;
            // What was tried is known to fit; the next may be tried at once.
            if let Some(ceiling) = &mut self.ceiling {
                ceiling.since = Boot(now.0.saturating_sub(PROBE_AFTER));
            }
        }
    }

    fn plan(&mut self, now: Boot) -> Vec<(Key, Profile, Cause)> {
        let focused = self.focused();
        let mut ranked: Vec<(&Key, &Held)> = self.relays.iter().collect();
        ranked.sort_by_key(|(_, held)| (Reverse(held.class), held.order));
        let mut budget = self.capacity().map(net);
        let mut total: u64 = ranked.iter().map(|(_, held)| held.least()).sum();
        let mut may_try = self.trial.is_none()
            && self
                .ceiling
                .is_some_and(|ceiling| now.since(ceiling.since) >= self.probe_after);
        let mut tried = None;
        // The least that a higher one waits for: nobody below it gets nearly as much before.
        let mut waits: Option<u64> = None;
        let mut plan = Vec::with_capacity(ranked.len());
        let below = most_below(&ranked);
        for ((key, held), below) in ranked.iter().zip(below) {
            let (profile, cause) = if let Some(fixed) = held.fixed() {
                fixed
            } else if gives_way(key, held, &focused) {
                (Profile::Sub, Cause::Focus)
            } else {
                let after = total + held.rates.more();
                let is_main = held.profile() == Some(Profile::Main);
                let takes_over = below.is_some_and(|more| more >= held.rates.more());
                let is_first = waits.is_none_or(|more| held.rates.more() < more / 10 * 8);
                let is_rested = held.placed.is_none()
                    || held.is_raised
                    || now.since(held.since) >= DWELL
                    || takes_over;
                let is_ready = is_main || (is_first && is_rested);
                let fits = |budget: Option<u64>| {
                    let part = if is_main || takes_over { 100 } else { MARGIN };
                    budget.is_none_or(|budget| after <= budget / 100 * part)
                };
                let fits_setting = fits(self.limit.map(net));
                let tries = may_try && is_ready && !fits(budget) && fits_setting;
                if tries {
                    may_try = false;
                    let room = budget.map_or(after, |budget| budget + held.rates.more());
                    let room = room.max(after);
                    // What is tried goes above what was measured, and not above the setting.
                    let limit = self.limit.map(net);
                    budget = Some(limit.map_or(room, |limit| room.min(limit)));
                    tried = budget.map(gross);
                }
                if is_ready && (tries || fits(budget)) {
                    total = after;
                    let is_focus = held.class == Class::Focus;
                    let cause = if is_focus { Cause::Focus } else { Cause::Room };
                    (Profile::Main, cause)
                } else {
                    let more = held.rates.more();
                    waits = Some(waits.map_or(more, |least| least.min(more)));
                    (Profile::Sub, Cause::Uplink)
                }
            };
            plan.push(((*key).clone(), profile, cause));
        }
        if let (Some(bits), Some(ceiling)) = (tried, &mut self.ceiling) {
            self.trial = Some(Trial {
                since: now,
                before: ceiling.bits,
            });
            ceiling.bits = bits.max(ceiling.bits);
        }
        plan
    }
}

/// For each relay the most that one below it takes for its full picture and
/// could give up.
fn most_below(ranked: &[(&Key, &Held)]) -> Vec<Option<u64>> {
    let mut below = Vec::with_capacity(ranked.len());
    let mut most = None;
    for (_, held) in ranked.iter().rev() {
        below.push(most);
        if held.fixed().is_none() && held.profile() == Some(Profile::Main) {
            most = most.max(Some(held.rates.more()));
        }
    }
    below.reverse();
    below
}

/// Shares its page with a camera that is looked at closely.
fn gives_way((centre, _): &Key, held: &Held, focused: &BTreeSet<ReceiverId>) -> bool {
    held.class == Class::Mosaic && focused.contains(centre)
}

/// What of the uplink's bits is left for pictures.
const fn net(bits: u64) -> u64 {
    bits / 100 * (100 - HEADERS)
}

/// The uplink's bits that so many of pictures take.
const fn gross(bits: u64) -> u64 {
    bits / (100 - HEADERS) * 100 + 100
}
