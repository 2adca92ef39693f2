//! Keeps the attestation's figures (interfaces.md 10): what went to each centre, under which
//! grants, and which cameras were open. Lives on the control thread; the frames thread counts
//! through [`Meter`]s, the metrics of the links and the [`SessionLog`].
//!
//! | what | bound | beyond |
//! |---|---|---|
//! | rows of a period | [`ROWS_DUE`] new ones | the period ends early |
//! | rows that one entry tells | [`MEDIA_ROWS`] | those with the fewest bytes are added up |

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::sessions::SessionLog;
use crate::clock::{Boot, Now, Wall};
use crate::format::ids::{CameraId, CentreId, GrantId};
use crate::format::statement::Received;
use crate::journal::attestation::{Attestation, Folded, Gap, MEDIA_ROWS, Media, Why};
use crate::journal::entry::Entry;
use crate::link::meter::{Counted, Meter};
use crate::media::relay::RelayId;
use crate::metrics;

/// The longest period, by the boot clock.
const LONGEST: Duration = Duration::from_secs(24 * 3_600);
/// So many new rows end a period before its time.
const ROWS_DUE: usize = 1_000;

/// The figures of all centres.
#[derive(Debug)]
pub(super) struct Attest {
    metrics: Arc<metrics::Gateway>,
    sessions: SessionLog,
    centres: BTreeMap<CentreId, Centre>,
    /// When the period began.
    since: Now,
    /// New rows and sessions in it.
    new: usize,
}

/// Of one centre.
#[derive(Debug)]
struct Centre {
    from: Wall,
    gap: Option<(Wall, Wall)>,
    links: Links,
    rows: BTreeMap<(GrantId, CameraId), Row>,
    /// For whom each relay counts.
    relays: BTreeMap<RelayId, (GrantId, CameraId)>,
}

/// What the links to one centre sent since the start.
#[derive(Clone, Copy, Debug, Default)]
struct Links {
    sent: u64,
    control: u64,
    idle: u64,
}

#[derive(Debug, Default)]
struct Row {
    meter: Arc<Meter>,
    told: Counted,
    received: Option<u64>,
    /// Bytes that were told one period ago.
    kept: u64,
    /// Whether a relay counts for it; one that does no more goes when it had nothing to tell.
    counts: bool,
}

impl Attest {
    /// Counting begins now, where the attestations in the journal end.
    pub(super) fn new<'a>(
        (metrics, sessions): (Arc<metrics::Gateway>, SessionLog),
        centres: impl Iterator<Item = &'a CentreId>,
        journal: &[(u64, Wall, Entry)],
        now: Now,
    ) -> Self {
        let mut ends: BTreeMap<CentreId, Wall> = BTreeMap::new();
        for (_, _, entry) in journal {
            if let Entry::Attestation(told) = entry
                && let Some(to) = Wall::from_rfc3339(&told.to)
            {
                ends.insert(told.centre.clone(), to);
            }
        }
        let mut attest = Self {
            metrics,
            sessions,
            centres: BTreeMap::new(),
            since: now,
            new: 0,
        };
        for centre in centres {
            let end = ends.get(centre).copied();
            let gap = end.filter(|end| *end < now.wall);
            let mut figures = Centre::new(end.unwrap_or(now.wall));
            figures.gap = gap.map(|end| (end, now.wall));
            attest.centres.insert(centre.clone(), figures);
        }
        attest
    }

    /// New settings name these centres. One that is gone keeps its figures until they are told.
    pub(super) fn set_centres<'a>(
        &mut self,
        centres: impl Iterator<Item = &'a CentreId>,
        now: Now,
    ) {
        for centre in centres {
            if !self.centres.contains_key(centre) {
                let mut figures = Centre::new(now.wall);
                figures.links = self.links(centre);
                self.centres.insert(centre.clone(), figures);
            }
        }
    }

    /// A relay's bytes count for this grant from now on; who counts them.
    pub(super) fn count(
        &mut self,
        centre: &CentreId,
        relay: RelayId,
        grant: GrantId,
        camera: &CameraId,
    ) -> Arc<Meter> {
        self.stop(centre, relay);
        let Some(figures) = self.centres.get_mut(centre) else {
            // Nothing is relayed to a centre that no agreement names.
            return Arc::default();
        };
        let key = (grant, camera.clone());
        figures.relays.insert(relay, key.clone());
        self.new += usize::from(!figures.rows.contains_key(&key));
        let row = figures.rows.entry(key).or_default();
        row.counts = true;
        Arc::clone(&row.meter)
    }

    /// A relay is over.
    pub(super) fn stop(&mut self, centre: &CentreId, relay: RelayId) {
        let figures = self.centres.get_mut(centre);
        if let Some(figures) = figures
            && let Some(key) = figures.relays.remove(&relay)
            && !figures.relays.values().any(|other| *other == key)
            && let Some(row) = figures.rows.get_mut(&key)
        {
            row.counts = false;
        }
    }

    /// What the centre signed to have received; durable.
    pub(super) fn received(&mut self, centre: &CentreId, grant: GrantId, received: Vec<Received>) {
        let Some(figures) = self.centres.get_mut(centre) else {
            return;
        };
        for one in received {
            let row = figures.rows.entry((grant, one.camera)).or_default();
            // Of several receivers each signs its own.
            row.received = Some(row.received.unwrap_or(0).saturating_add(one.bytes));
            self.new += 1;
        }
    }

    /// Whether the period is to end: at midnight (UTC) where the clock can be right, after 24
    /// hours, where there is much to tell, or at once where bytes left outside a grant.
    pub(super) fn is_due(&self, now: Now, is_plausible: bool) -> bool {
        let day = |wall: Wall| wall.seconds().div_euclid(86_400);
        let is_midnight = is_plausible && day(now.wall) > day(self.since.wall);
        is_midnight
            || self.age(now.boot) >= LONGEST
            || self.new.max(self.sessions.len()) >= ROWS_DUE
            || self.centres.values().any(Centre::has_outside)
    }

    fn age(&self, now: Boot) -> Duration {
        now.since(self.since.boot)
    }

    fn links(&self, centre: &CentreId) -> Links {
        let labels = [centre.as_str()];
        let metrics = &self.metrics;
        Links {
            sent: metrics
                .link_sent_bytes_total
                .with_label_values(&labels)
                .get(),
            control: metrics
                .link_control_bytes_total
                .with_label_values(&labels)
                .get(),
            idle: metrics
                .link_idle_seconds_total
                .with_label_values(&labels)
                .get(),
        }
    }

    /// Ends the period: one entry for each centre.
    pub(super) fn take(&mut self, now: Now) -> Vec<Entry> {
        let taken = self.sessions.take(now.wall);
        let metrics = Arc::clone(&self.metrics);
        self.since = now;
        self.new = 0;
        let links: Vec<Links> = self
            .centres
            .keys()
            .map(|centre| self.links(centre))
            .collect();
        let centres = self.centres.iter_mut().zip(links);
        let entries = centres.map(|((centre, figures), links)| {
            let (media, media_folded, ungranted) = figures.media();
            if ungranted > 0 {
                metrics.ungranted_bytes_total.inc_by(ungranted);
                tracing::error!(%centre, ungranted, "pictures left outside a grant: this is a fault of fanal's, please report it");
            }
            let before = std::mem::replace(&mut figures.links, links);
            let from = figures.from;
            figures.from = now.wall.max(from);
            // A session is told to the centre of its grant; one of no grant to all.
            let grants = &figures.rows;
            let is_of = |why: &Why| match why {
                Why::Grant(of) => grants.keys().any(|(grant, _)| grant == of),
                Why::Warm | Why::Probe => true,
            };
            let sessions = taken.sessions.iter().filter(|one| is_of(&one.why));
            let attestation = Attestation {
                from: from.rfc3339(),
                to: figures.from.rfc3339(),
                centre: centre.clone(),
                gap: figures.gap.take().map(|(from, to)| Gap {
                    from: from.rfc3339(),
                    to: to.rfc3339(),
                }),
                link_sent: links.sent - before.sent,
                control_sent: links.control - before.control,
                media,
                media_folded,
                ungranted,
                idle_seconds: links.idle - before.idle,
                camera_sessions: sessions.cloned().collect(),
                camera_sessions_folded: (taken.more > 0).then_some(taken.more),
            };
            figures.forget();
            Entry::Attestation(Box::new(attestation))
        });
        entries.collect()
    }
}

impl Centre {
    fn new(from: Wall) -> Self {
        Self {
            from,
            gap: None,
            links: Links::default(),
            rows: BTreeMap::new(),
            relays: BTreeMap::new(),
        }
    }

    /// Whether bytes left outside any grant that were not told yet.
    fn has_outside(&self) -> bool {
        let mut rows = self.rows.values();
        rows.any(|row| row.meter.counted().outside > row.told.outside)
    }

    /// The rows that have something to tell, those beyond the bound added up, and the bytes that
    /// left outside any grant.
    fn media(&mut self) -> (Vec<Media>, Option<Folded>, u64) {
        let mut media = Vec::new();
        let mut outside = 0;
        for ((grant, camera), row) in &mut self.rows {
            let now = row.meter.counted();
            let before = std::mem::replace(&mut row.told, now);
            outside += now.outside - before.outside;
            let (sent, lost) = (now.passed - before.passed, now.lost - before.lost);
            if sent > 0 || lost > 0 || row.received.is_some() {
                media.push(Media {
                    grant: *grant,
                    camera: camera.clone(),
                    sent,
                    received: row.received,
                    lost,
                });
            }
        }
        let mut folded = None;
        if media.len() > MEDIA_ROWS {
            media.sort_by_key(|row| std::cmp::Reverse(row.sent));
            let rest = media.split_off(MEDIA_ROWS);
            folded = Some(Folded {
                rows: rest.len() as u64,
                sent: rest.iter().map(|row| row.sent).sum(),
            });
        }
        (media, folded, outside)
    }

    /// Forgets rows that have told all: those of relays that are over have one more period, for
    /// the frames thread may have written while this was counted.
    fn forget(&mut self) {
        self.rows.retain(|_, row| {
            let had_news = row.received.take().is_some() || row.told.passed > row.kept;
            row.kept = row.told.passed;
            row.counts || had_news
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400;

    fn centre(name: &str) -> CentreId {
        CentreId::new(name).unwrap()
    }

    fn camera(name: &str) -> CameraId {
        CameraId::new(name).unwrap()
    }

    fn grant(number: u128) -> GrantId {
        GrantId(uuid::Uuid::from_u128(number))
    }

    fn now(second: i64) -> Now {
        Now {
            wall: Wall::from_seconds(second),
            boot: Boot(Duration::from_secs(u64::try_from(second).unwrap())),
        }
    }

    fn attest(journal: &[(u64, Wall, Entry)], second: i64) -> Attest {
        let metrics = metrics::Gateway::new([], 0).unwrap();
        let counts = (Arc::new(metrics), SessionLog::default());
        let centres = [centre("corg-13"), centre("corg-84")];
        Attest::new(counts, centres.iter(), journal, now(second))
    }

    fn take(attest: &mut Attest, second: i64) -> Vec<Attestation> {
        let entries = attest.take(now(second)).into_iter();
        let told = entries.map(|entry| match entry {
            Entry::Attestation(told) => *told,
            other => panic!("{other:?}"),
        });
        told.collect()
    }

    #[test]
    fn each_centre_has_its_own_rows_and_its_own_sessions() {
        let mut attest = attest(&[], 100);
        let here = centre("corg-13");
        let meter = attest.count(&here, RelayId(1), grant(1), &camera("quai"));
        let at = Wall::from_seconds(110);
        attest.sessions.held_by(&camera("quai"), grant(1), at);
        attest.sessions.opened(&camera("quai"), false, at);
        attest.sessions.opened(&camera("warm"), true, at);
        meter.pass(700);
        meter.lose(20);
        let sent = attest
            .metrics
            .link_sent_bytes_total
            .with_label_values(&["corg-13"]);
        sent.inc_by(900);
        let told = take(&mut attest, 200);
        let row = |sent, received, lost| Media {
            grant: grant(1),
            camera: camera("quai"),
            sent,
            received,
            lost,
        };
        assert_eq!(told[0].media, [row(700, None, 20)]);
        assert_eq!((told[0].link_sent, told[1].link_sent), (900, 0));
        assert_eq!(
            (told[0].camera_sessions.len(), told[1].camera_sessions.len()),
            (2, 1)
        );
        assert_eq!(told[1].media, []);
        // Its end: what was written last and what the centre signed come in the next period.
        attest.stop(&here, RelayId(1));
        meter.pass(5);
        let received = Received {
            camera: camera("quai"),
            bytes: 690,
        };
        attest.received(&here, grant(1), vec![received]);
        let told = take(&mut attest, 300);
        assert_eq!(told[0].media, [row(5, Some(690), 0)]);
        assert_eq!(
            (&told[0].from, &told[0].to),
            (&now(200).wall.rfc3339(), &now(300).wall.rfc3339())
        );
        take(&mut attest, 400);
        assert!(attest.centres[&here].rows.is_empty(), "told and over");
    }

    #[test]
    fn a_relay_counts_for_one_grant_after_the_other() {
        let mut attest = attest(&[], 100);
        let here = centre("corg-13");
        let first = attest.count(&here, RelayId(1), grant(1), &camera("quai"));
        first.pass(10);
        let second = attest.count(&here, RelayId(1), grant(2), &camera("quai"));
        second.pass(20);
        let told = take(&mut attest, 200);
        let rows = told[0].media.iter().map(|row| (row.grant, row.sent));
        assert_eq!(rows.collect::<Vec<_>>(), [(grant(1), 10), (grant(2), 20)]);
    }

    #[test]
    fn a_period_follows_the_one_in_the_journal_and_names_the_gap() {
        let mut first = attest(&[], 100);
        let told = first.take(now(200));
        let journal: Vec<_> = told.into_iter().map(|entry| (1, Wall(0), entry)).collect();
        let mut second = attest(&journal, 500);
        let told = take(&mut second, 600);
        assert_eq!(told[0].from, now(200).wall.rfc3339());
        let gap = told[0].gap.clone().unwrap();
        assert_eq!(
            (gap.from, gap.to),
            (told[0].from.clone(), now(500).wall.rfc3339())
        );
        assert_eq!(take(&mut second, 700)[0].gap, None);
        // The clock went back: time is tiled all the same.
        let told = take(&mut second, 650);
        assert_eq!(
            (&told[0].from, &told[0].to),
            (&now(700).wall.rfc3339(), &now(700).wall.rfc3339())
        );
    }

    #[test]
    fn a_period_ends_at_midnight_after_a_day_or_with_much_to_tell() {
        let mut attest = attest(&[], DAY + 100);
        assert!(!attest.is_due(now(2 * DAY - 1), true));
        assert!(attest.is_due(now(2 * DAY), true));
        assert!(!attest.is_due(now(2 * DAY), false), "that clock is wrong");
        assert!(
            attest.is_due(now(2 * DAY + 100), false),
            "24 h have gone by"
        );
        for number in 0..u32::try_from(ROWS_DUE).unwrap() {
            assert!(!attest.is_due(now(DAY + 101), true));
            let id = grant(u128::from(number));
            attest.count(&centre("corg-13"), RelayId(number), id, &camera("quai"));
        }
        assert!(attest.is_due(now(DAY + 101), true));
    }

    #[test]
    fn bytes_outside_a_grant_end_the_period_at_once() {
        let mut attest = attest(&[], 100);
        let meter = attest.count(&centre("corg-13"), RelayId(1), grant(1), &camera("quai"));
        assert!(!attest.is_due(now(101), true));
        meter.pass_outside(7);
        assert!(attest.is_due(now(101), true));
        let told = take(&mut attest, 101);
        assert_eq!(told.iter().map(|one| one.ungranted).sum::<u64>(), 7);
        assert!(!attest.is_due(now(101), true), "told once");
    }

    #[test]
    fn the_most_that_is_told_fits_into_a_line() {
        let mut attest = attest(&[], 100);
        let here = centre("corg-13");
        let long = "x".repeat(63);
        for number in 0..u32::try_from(MEDIA_ROWS + 500).unwrap() {
            let id = grant(u128::MAX - u128::from(number));
            let meter = attest.count(&here, RelayId(number), id, &camera(&long));
            meter.pass(u64::MAX / 1_000_000);
            meter.lose(1 << 40);
            let received = Received {
                camera: camera(&long),
                bytes: u64::MAX / 2,
            };
            attest.received(&here, id, vec![received]);
            let at = Wall::from_seconds(200);
            attest.sessions.held_by(&camera(&long), id, at);
            attest.sessions.opened(&camera(&long), false, at);
            attest.sessions.closed(&camera(&long), at);
        }
        let told = take(&mut attest, 300).remove(0);
        assert_eq!(told.media.len(), MEDIA_ROWS);
        assert_eq!(
            told.media_folded.as_ref().map(|folded| folded.rows),
            Some(500)
        );
        assert!(told.camera_sessions_folded.is_some());
        let line = serde_json::to_vec(&Entry::Attestation(Box::new(told))).unwrap();
        let room = crate::format::chain::LINE_LIMIT - crate::journal::log::OVERHEAD;
        assert!(line.len() <= room, "{} of {room}", line.len());
    }
}
