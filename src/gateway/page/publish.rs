//! What the page's clients are told, made once for all of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::view::View;
use super::{Ask, Page};
use crate::clock::Boot;
use crate::format::ids::CameraId;

/// Bit rates are measured this often; so is what changed without a sign of it.
const TICK: Duration = Duration::from_secs(2);
/// Least time between two looks: a storm of changes is told as one.
const GAP: Duration = Duration::from_millis(200);

/// The newest state.
#[derive(Debug, Default)]
pub(super) struct Snapshot {
    /// Who watches, what waits, what is cut, as JSON; it changes only when something did.
    pub(super) state: Arc<str>,
    /// The cameras' bit rates as JSON.
    pub(super) rates_text: Arc<str>,
    /// How far the journal came, as JSON.
    pub(super) journal: Arc<str>,
    rates: BTreeMap<CameraId, u64>,
}

impl Snapshot {
    /// Puts the bit rates into a view.
    pub(super) fn rate(&self, view: &mut View) {
        for relay in &mut view.relays {
            relay.bitrate = self.rates.get(&relay.row.camera).copied();
        }
    }
}

/// Bytes of each camera so far, and when that was.
#[derive(Default)]
struct Meter {
    at: Option<Boot>,
    bytes: BTreeMap<CameraId, u64>,
    rates: BTreeMap<CameraId, u64>,
}

impl Meter {
    fn measure(&mut self, view: &View, now: Boot) {
        let passed = self.at.map_or(TICK, |at| now.since(at));
        if passed < TICK / 2 {
            return;
        }
        let rows = view.relays.iter();
        let bytes: BTreeMap<CameraId, u64> = rows
            .map(|relay| (relay.row.camera.clone(), relay.row.bytes))
            .collect();
        let milliseconds = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX).max(1);
        let rated = bytes.iter().filter_map(|(camera, bytes)| {
            let before = self.bytes.get(camera)?;
            let grown = bytes.saturating_sub(*before);
            let rate = grown.saturating_mul(8_000) / milliseconds;
            Some((camera.clone(), rate))
        });
        self.rates = rated.collect();
        (self.at, self.bytes) = (Some(now), bytes);
    }
}

/// Publishes until it is dropped.
pub(super) async fn run(
    page: Arc<Page>,
    mut stirred: watch::Receiver<u64>,
    newest: watch::Sender<Arc<Snapshot>>,
) {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut meter = Meter::default();
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            Ok(()) = stirred.changed() => {}
        }
        // What stirred until now is seen by this look.
        stirred.mark_unchanged();
        let Ok(mut view) = page.ask(Ask::View).await else {
            continue;
        };
        meter.measure(&view, page.clock.now().boot);
        let rates_text = serde_json::to_string(&meter.rates).unwrap_or_default();
        // What changes by itself is told by times and rates.
        for relay in &mut view.relays {
            (relay.row.seconds_left, relay.row.bytes) = (0, 0);
        }
        for waiting in &mut view.waiting {
            waiting.seconds_left = 0;
        }
        let state = serde_json::to_string(&view).unwrap_or_default();
        let before = Arc::clone(&newest.borrow());
        let journal = format!(r#"{{"lines":{}}}"#, view.lines);
        let keep = |text: String, before: &Arc<str>| {
            if *text == **before {
                Arc::clone(before)
            } else {
                text.into()
            }
        };
        newest.send_replace(Arc::new(Snapshot {
            state: keep(state, &before.state),
            rates_text: keep(rates_text, &before.rates_text),
            journal: keep(journal, &before.journal),
            rates: meter.rates.clone(),
        }));
        tokio::time::sleep(GAP).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bit_rates_are_of_the_time_that_passed() {
        let row = serde_json::json!({"grant": uuid::Uuid::nil(), "camera": "quai",
            "centre": "corg-13", "operator": {"name": "A", "number": "1", "unit": "U"},
            "incident": "1", "grounds": "fire", "since": "", "until": "", "seconds_left": 1,
            "state": "live", "bytes": 0});
        let relay = super::super::view::Relay {
            row: serde_json::from_value(row).unwrap(),
            name: String::new(),
            grounds_fr: String::new(),
            grounds_en: String::new(),
            bitrate: None,
        };
        let mut view = View {
            relays: vec![relay],
            ..View::default()
        };
        let mut meter = Meter::default();
        let at = |milliseconds| Boot(Duration::from_millis(milliseconds));
        let mut rate = |bytes, milliseconds| {
            view.relays[0].row.bytes = bytes;
            meter.measure(&view, at(milliseconds));
            let snapshot = Snapshot {
                rates: meter.rates.clone(),
                ..Snapshot::default()
            };
            let mut seen = view.clone();
            snapshot.rate(&mut seen);
            seen.relays[0].bitrate
        };
        assert_eq!(rate(0, 10_000), None);
        assert_eq!(rate(250_000, 12_000), Some(1_000_000));
        // Too soon to say: the last figure stays.
        assert_eq!(rate(900_000, 12_500), Some(1_000_000));
        // A counter that began again is no rate.
        assert_eq!(rate(0, 14_500), Some(0));
    }
}
